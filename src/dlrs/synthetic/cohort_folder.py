"""A synthetic cohort folder: table, truth and description, written once."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from dlrs.config import InputError, display_path, in_words, resolve
from dlrs.synthetic.phantoms import ACQUISITION, B_VALUES, write_if_changed, write_images
from dlrs.synthetic.simulate import DEFAULT_SEED, HORIZON_MONTHS, draw_cohort


def _spread(clinical: pd.DataFrame, n: int) -> pd.Index:
    """Choose `n` patients evenly over cohort and metastasis within three years, so that a small run has both."""
    if not 1 <= n <= len(clinical):
        raise ValueError(f"patients must lie between 1 and {len(clinical)}; found {n}")
    early = (clinical["event"] == 1) & (clinical["time_months"] <= HORIZON_MONTHS)
    order = clinical.assign(early=early).sort_values(["cohort", "early"], kind="stable").index
    return order[np.arange(n) * len(clinical) // n].sort_values()


def _description(seed: int, signal: float, size_signal: float, exact_counts: bool, n_patients: int) -> str:
    """Return the text of `cohort.yaml`."""
    settings = {
        "name": "Synthetic rectal cancer cohort",
        "class": "SYNTHETIC",
        "seed": int(seed),
        "signal": float(signal),
        "size_signal": float(size_signal),
        "exact_counts": exact_counts,
        "n_patients": n_patients,
        "units": {
            "time_months": "months since surgery", "age": "years", "length": "mm", "adc": "1e-6 mm2/s",
            "b_values": "s/mm2",
        },
        "codes": {},
        "b_values": list(B_VALUES),
        "acquisition": ACQUISITION,
    }  # fmt: skip
    text = yaml.safe_dump(json.loads(json.dumps(settings)), sort_keys=False, width=110, default_flow_style=None)
    return "# Generated patients and phantoms: no number made from this folder can confirm a clinical finding.\n" + text


def write_cohort(
    folder: str | Path,
    *,
    seed: int = DEFAULT_SEED,
    signal: float = 1.0,
    size_signal: float = 0.0,
    exact_counts: bool = True,
    patients: int | None = None,
    jobs: int = 2,
    tables: bool = True,
    images: bool = True,
) -> int:
    """Write a synthetic cohort folder: `cohort.yaml`, `clinical.csv`, `truth.csv` and the phantoms.

    Called again it does nothing but check; with another seed or signal it renders anew; after a kill it goes on where
    it stopped. Bytes are the same for any number of jobs.

    Parameters
    ----------
    folder : path
        Relative paths are taken from the repository's root.
    patients : int, optional
        Write only so many of the 235, spread over both cohorts and outcomes (for trial runs).
    tables, images : bool
        Leave out the one or the other. Images alone need tables of the same seed to lie there already, or none.

    Returns
    -------
    int
        How many patients were rendered.

    Raises
    ------
    InputError
        If the folder holds a cohort that is not synthetic, or images alone would not belong to its tables.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more; found {jobs}")
    folder = resolve(folder)
    description = folder / "cohort.yaml"
    if (
        description.is_file()
        and (yaml.safe_load(description.read_text(encoding="utf-8")) or {}).get("class") != "SYNTHETIC"
    ):
        raise InputError(
            display_path(description), "the folder holds a cohort that is not synthetic", expected="class: SYNTHETIC",
            remedy="Give another folder: nothing was written.",
        )  # fmt: skip
    clinical, truth = draw_cohort(seed, exact_counts=exact_counts, signal=signal, size_signal=size_signal)
    if patients is not None:
        chosen = _spread(clinical, patients)
        clinical, truth = (table.loc[chosen].reset_index(drop=True) for table in (clinical, truth))
    texts = {
        "cohort.yaml": _description(seed, signal, size_signal, exact_counts and patients is None, len(clinical)),
        "clinical.csv": clinical.to_csv(index=False, lineterminator="\n"),
        "truth.csv": truth.to_csv(index=False, lineterminator="\n"),
    }
    for name, text in texts.items():
        if tables:
            write_if_changed(folder / name, text)
        elif (folder / name).is_file() and (folder / name).read_text(encoding="utf-8") != text:
            raise InputError(
                display_path(folder / name), "the table belongs to other parameters than the images asked for",
                expected=f"the table of seed {seed} and signal {signal:g}", remedy="Write tables and images together.",
            )  # fmt: skip
    return write_images(folder / "images", clinical, truth, seed=seed, jobs=jobs) if images else 0


@in_words
def main(arguments: list[str] | None = None) -> int:
    """Run the command line: `python -m dlrs.synthetic.cohort_folder --out FOLDER --seed N --signal S`."""
    parser = argparse.ArgumentParser(
        prog="python -m dlrs.synthetic.cohort_folder", description="Write a synthetic cohort folder."
    )
    parser.add_argument("--out", default="data_synthetic", help="folder to write (default: data_synthetic)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="the only seed (default: %(default)s)")
    parser.add_argument("--signal", type=float, default=1.0, help="what images know of the risk, 0 to 1 (default: 1)")
    parser.add_argument(
        "--size-signal", type=float, default=0.0, help="what tumour size knows of it, 0 to 1 (default: 0)"
    )
    parser.add_argument("--free-counts", action="store_true", help="do not hold the counts to the paper's")
    parser.add_argument("--patients", type=int, help="write only so many patients, for trial runs")
    parser.add_argument("--jobs", type=int, default=2, help="processes that render (default: 2)")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--tables-only", action="store_true", help="no images")
    only.add_argument("--images-only", action="store_true", help="leave the tables as they are")
    args = parser.parse_args(arguments)
    try:
        rendered = write_cohort(
            args.out,
            seed=args.seed,
            signal=args.signal,
            size_signal=args.size_signal,
            exact_counts=not args.free_counts,
            patients=args.patients,
            jobs=args.jobs,
            tables=not args.images_only,
            images=not args.tables_only,
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{display_path(resolve(args.out))}: {rendered} patients rendered, the rest was in place")
    return 0


if __name__ == "__main__":
    sys.exit(main())
