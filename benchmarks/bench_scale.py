"""How time and memory grow with the number of patients: ``python benchmarks/bench_scale.py [--out FILE]``.

Statistics: processor seconds and peak memory of one call each, up to 10,000 patients; `power` is the growth between the
last two numbers (1: linear). Images: `check-cohort` and the boxes of notebook 02 on the first patients of a cohort with
rendered images, one process each; the last row is extrapolated from the line through those measured.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time as clock
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from bench_metrics import peak_mib
from bench_resampling import THRESHOLDS, patients
from dlrs.stats import (
    calibration,
    concordance,
    cox,
    decision,
    groups,
    nomogram,
    pooled,
    reclassification,
    resample,
    roc,
    stability,
    survival,
)

ROOT = Path(__file__).resolve().parents[1]
SIZES = (2500, 5000, 10_000)
IMAGES = (20, 40, 80)
AIM = 1000  # patients with images
COLUMNS = ["what", "patients", "processor_s", "peak_MiB", "ms_per_patient", "power"]


def calls(n: int) -> Iterator[tuple[str, Callable]]:
    """Every kind of statistic that the notebooks call, on n patients."""
    rng = np.random.default_rng(1)
    time, event, outcome, old, new, horizon = patients(rng, n)
    at, x = dict(horizon=horizon), rng.normal(size=(n, 6))
    both = np.column_stack([old, new])
    levels = rng.integers(0, 3, n)

    def weights(b):
        return resample.bootstrap_weights(n, b, seed=1)

    yield "kaplan_meier", lambda: survival.kaplan_meier(time, event)
    yield "logrank", lambda: survival.logrank(time, event, levels)
    yield "cox_fit, 6 columns", lambda: cox.cox_fit(time, event, x)
    yield "ph_test, 6 columns", lambda: cox.ph_test(time, event, x)
    yield "baseline_hazard", lambda: cox.baseline_hazard(time, event, x[:, 0])
    yield "refit_cox, 10 bootstraps", lambda: stability.refit_cox(time, event, x, horizon=horizon, n_boot=10, seed=1)
    yield "concordance", lambda: concordance.concordance(time, event, new)
    yield "uno_concordance", lambda: concordance.uno_concordance(time, event, new, **at)
    yield "compare_concordance", lambda: concordance.compare_concordance(time, event, old, new)
    yield (
        "concordance_bootstrap, 10 bootstraps",
        lambda: concordance.concordance_bootstrap(time, event, both, weights(10)),
    )
    yield "time_dependent_auc", lambda: roc.time_dependent_auc(time, event, new, times=[horizon])
    yield "compare_time_dependent_auc", lambda: roc.compare_time_dependent_auc(time, event, old, new, times=[horizon])
    yield "time_dependent_roc", lambda: roc.time_dependent_roc(time, event, new, times=[horizon])
    yield "delong", lambda: roc.delong(outcome, new)
    yield "compare_delong", lambda: roc.compare_delong(outcome, old, new)
    yield "youden_cutoff", lambda: roc.youden_cutoff(outcome, new)
    yield "survivalroc_nne", lambda: roc.survivalroc_nne(time, event, new, times=[horizon])
    yield "brier_score", lambda: calibration.brier_score(time, event, new, **at)
    yield "smooth_calibration", lambda: calibration.smooth_calibration(time, event, np.clip(new, 1e-4, 0.9999), **at)
    yield "calibration_slope", lambda: calibration.calibration_slope(time, event, np.log(new / (1 - new) + 1e-9))
    yield "nri_categorical", lambda: reclassification.nri_categorical(outcome, old, new, cutoffs=[0.15, 0.3])
    yield "nri_continuous_censored", lambda: reclassification.nri_continuous_censored(time, event, old, new, **at)
    yield "idi_censored", lambda: reclassification.idi_censored(time, event, old, new, **at)
    yield (
        "decision_curve_censored, 100 thresholds",
        lambda: decision.decision_curve_censored(time, event, new, thresholds=THRESHOLDS[:-1], **at),
    )
    yield (
        "decision_curve_censored_bootstrap, 10 bootstraps",
        lambda: decision.decision_curve_censored_bootstrap(
            time, event, new, weights(10), thresholds=THRESHOLDS[:-1:5], **at
        ),
    )
    yield "mann_whitney", lambda: groups.mann_whitney(new[outcome], new[~outcome])
    yield "spearman", lambda: groups.spearman(old, new)
    frame = pd.DataFrame(x, columns=[f"x{k}" for k in range(6)]).assign(time_months=time, event=event)
    yield "nomogram: effects of 6 variables", lambda: nomogram.axes_of("+".join(frame.columns[:6]), frame)
    yield "sums of a summary (C)", lambda: pooled.concordance_sums(time, event, new)


def statistics(sizes=SIZES) -> list[tuple]:
    rows = []
    for n in sizes:
        for what, call in calls(n):
            if n == sizes[0]:
                call()  # what compiles does so once
            started = clock.process_time()
            call()
            spent = clock.process_time() - started
            rows.append((what, n, spent, peak_mib(call), 1000 * spent / n, np.nan))
    return rows


def _check(folder: str) -> None:
    from dlrs_site import doctor

    doctor.write_report(doctor.check(folder, jobs=1), Path(folder) / "pages")


def _boxes(folder: str) -> None:
    from dlrs.imaging import cropping
    from dlrs_site import intake

    table = intake.read_cohort(folder).patients
    cropping.build_boxes(folder, table, Path(folder) / "run", jobs=1, progress=False)


def _alone(function: Callable, folder: str, answer) -> None:
    function(folder)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    answer.send((sum(u.ru_utime + u.ru_stime for u in usage), max(u.ru_maxrss for u in usage) / 1024))


def images(source: Path, sizes=IMAGES) -> list[tuple]:
    """Measure check and boxes in a fresh process on a copy, by hard links, of the first patients."""
    rows = []
    for what, function in (("check-cohort", _check), ("boxes", _boxes)):
        measured = []
        for n in sizes:
            with tempfile.TemporaryDirectory(dir=source.parent) as made:
                folder = Path(made)
                shutil.copy(source / "cohort.yaml", folder)
                table = pd.read_csv(source / "clinical.csv", dtype=str).iloc[:n]
                table.to_csv(folder / "clinical.csv", index=False)
                for patient in table["patient_id"]:
                    shutil.copytree(source / "images" / patient, folder / "images" / patient, copy_function=_link)
                ours, theirs = get_context("spawn").Pipe()
                process = get_context("spawn").Process(target=_alone, args=(function, made, theirs))
                process.start()
                theirs.close()
                spent, peak = ours.recv()
                process.join()
            measured.append((n, spent, peak))
            rows.append((what, n, spent, peak, 1000 * spent / n, np.nan))
        n, spent, peak = np.array(measured).T
        later = [np.polyval(np.polyfit(n, values, 1), AIM) for values in (spent, peak)]
        rows.append((f"{what}, extrapolated", AIM, *later, 1000 * later[0] / AIM, np.nan))
    return rows


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def with_power(rows: list[tuple]) -> pd.DataFrame:
    """Add the growth of the processor time between the last two measured numbers of patients."""
    table = pd.DataFrame(rows, columns=COLUMNS)
    measured = table[~table["what"].str.endswith("extrapolated")]
    for _, part in measured.groupby("what", sort=False):
        (small, large) = part.index[-2:]
        growth = np.log(table.at[large, "processor_s"] / table.at[small, "processor_s"])
        table.loc[large, "power"] = growth / np.log(table.at[large, "patients"] / table.at[small, "patients"])
    return table


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"), help="the result file")
    arguments.add_argument("--cohort", type=Path, default=ROOT / "data_synthetic", help="a cohort with rendered images")
    arguments.add_argument("--statistics-only", action="store_true")
    options = arguments.parse_args()
    rows = statistics()
    if not options.statistics_only:
        rows += images(options.cohort.resolve())
    table = with_power(rows)
    table.round(4).to_csv(options.out, index=False)
    print(table[table["power"].notna() | table["what"].str.endswith("extrapolated")].to_string(index=False))


if __name__ == "__main__":
    sys.exit(main())
