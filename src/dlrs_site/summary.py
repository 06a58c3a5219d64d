"""What a hospital hands on of a validation, sums without a patient's row, and several hospitals' sums pooled.

Follow-up is cut at the model's horizon. Every count of patients, of events, of those lost to follow-up and of those
free of the event, and every difference of two such counts, is 0 or at least `small_cell` of cohort.yaml: what would
tell a smaller one is joined with its neighbour or left out.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError
from scipy.special import expit, logit

from dlrs import cohort, results
from dlrs.config import InputError, display_path, in_words, resolve
from dlrs.stats import calibration, checks, pooled
from dlrs.stats.pooled import Estimate
from dlrs_site import release
from dlrs_site.manifest import CohortClass, Count, Digest, Horizon, Label, Part

MODELS = ("Nomogram", "Clinical", "DLRS")
CUTOFFS = {"Nomogram": "risk_Nomogram", "DLRS": "dl_prob"}  # the score that each cut-off is of
EDGES = (6.0, 12.0, 18.0, 24.0, 30.0)  # months, of the life table's intervals
THRESHOLDS = (0.2, 0.3, 0.1, 0.4, 0.5)  # of the decision curve, in the order in which they are kept
MAX_BYTES = 100_000
AGAIN = "Get the file again from its hospital, where `python3 run.py validate` with --summary writes it."
Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)]
Positive = Annotated[float, Field(allow_inf_nan=False, gt=0, le=1e15)]
Square = Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e15)]


class Interval(Part):
    """Events and losses after one month and up to another."""

    after: Square
    until: Horizon
    events: Count
    lost: Count


class Discrimination(Part):
    """See `pooled.concordance_sums`."""

    balance: Finite
    comparable: Positive
    balance_balance: Square
    balance_comparable: Finite
    comparable_comparable: Positive


class Calibration(Part):
    """See `pooled.risk_sums`."""

    expected: Positive
    observed: Positive
    variance: Square


class Score(Part):
    """See `pooled.score_sums`."""

    score: Finite
    information: Positive


class Slope(Score):
    """The score at a slope of 1, and the hospital's own slope where it can be estimated."""

    value: Finite | None
    se: Positive | None


class Sides(Score):
    """Patients above the released cut-off, how many had the event, and the log-rank score against those below."""

    high: Count
    high_events: Count


class NetBenefit(Part):
    """See `pooled.net_benefit_sums`."""

    n: Positive
    model: Finite
    model_variance: Square
    all: Finite
    all_variance: Square


class Model(Part):
    """One model's sums; `cutoff` is none where a side of it is too small."""

    discrimination: Discrimination
    calibration: Calibration
    slope: Slope
    cutoff: Sides | None
    net_benefit: dict[Literal["0.1", "0.2", "0.3", "0.4", "0.5"], NetBenefit]


class Summary(Part):
    """A hospital's file."""

    format: Literal[1]
    site: Label
    class_: CohortClass = Field(alias="class")
    model: Digest
    horizon_months: Horizon
    smallest_count: Annotated[int, Field(ge=2, le=1000)]
    few_lost_left_out: bool
    patients: Count
    events: Count
    life_table: Annotated[list[Interval], Field(min_length=1, max_length=len(EDGES) + 1)]
    models: dict[Literal["Nomogram", "Clinical", "DLRS"], Model]


# ---------------------------------------------------------------- one hospital


def _kept(masks: Mapping[str, np.ndarray], kinds: Sequence[np.ndarray], smallest: int) -> list[str]:
    """Choose masks, in their order, as long as they cut the patients into cells without a small count.

    Parameters
    ----------
    masks
        By name, boolean arrays of shape (n,).
    kinds
        Boolean arrays of shape (n,): each one's number in a cell is 0 or at least `smallest`.

    Returns
    -------
    list of str
        With all of them told, every count that sums and differences give is one of joined cells.
    """
    kept, cell = [], np.zeros(kinds[0].size, dtype=int)
    for name, mask in masks.items():
        finer = 2 * cell + mask
        finer = np.unique(finer, return_inverse=True)[1]
        counts = np.concatenate([np.bincount(finer[kind], minlength=1) for kind in kinds])
        if not ((counts > 0) & (counts < smallest)).any():
            kept, cell = [*kept, name], finer
    return kept


def sums(patients: pd.DataFrame, *, horizon: float, cutoffs: Mapping[str, float], smallest: int) -> dict:
    """Return what a summary holds of the patients.

    Parameters
    ----------
    patients
        `time_months`, `event`, `dl_prob`, and `lp_` and `risk_` of each model; risks are of the event by `horizon`.
    horizon
        In months.
    cutoffs
        Above them a patient is at high risk, by the score's name.
    smallest
        The smallest count that may leave.

    Raises
    ------
    ValueError
        Fewer than `smallest` patients had the event by the horizon, or were free of it then.

    Notes
    -----
    Fewer than `smallest` patients who were lost before the horizon are left out of everything, and that is said: their
    number would follow from any Kaplan-Meier estimate. No such estimate of the cut-off's sides is in the file, so that
    losses on either side may be few.
    """

    def cut(patients):
        time, event = patients["time_months"].to_numpy(float), patients["event"].to_numpy(bool)
        event = event & (time <= horizon)
        return np.minimum(time, horizon), event, ~event & (time < horizon)

    lost = cut(patients)[2]
    few = bool(0 < lost.sum() < smallest)
    patients = patients[~lost] if few else patients
    time, event, lost = cut(patients)
    kinds = (event, lost, ~event & ~lost)
    for kind, what in ((event, "had the event by then"), (kinds[2], "were free of it then")):
        if kind.sum() < smallest:
            raise ValueError(f"fewer than {smallest} patients {what} ({horizon:g} months)")
    later = {edge: time > edge for edge in EDGES if edge < horizon}
    edges = [0.0, *sorted(_kept(later, kinds[:2], smallest)), float(horizon)]
    table = []
    for after, until in zip(edges, edges[1:], strict=False):
        within = (time > after if after else time >= 0) & (time <= until)
        table.append(dict(after=after, until=until, events=int(event[within].sum()), lost=int(lost[within].sum())))
    models = {}
    for name in MODELS:
        risk, score = patients[f"risk_{name}"].to_numpy(), patients[f"lp_{name}"].to_numpy()
        masks = {str(threshold): risk >= threshold for threshold in THRESHOLDS}
        masks = {threshold: masks[threshold] for threshold in _kept(masks, kinds[1:], smallest)}
        if name in CUTOFFS:
            masks = {"cutoff": (patients[CUTOFFS[name]] > cutoffs[CUTOFFS[name]]).to_numpy()} | masks
        kept = _kept(masks, (event, ~event), smallest)
        slope = checks.estimate_or_reason(calibration.calibration_slope, time, event, score)[0]
        models[name] = {
            "discrimination": pooled.concordance_sums(time, event, score),
            "calibration": pooled.risk_sums(time, event, risk, horizon=horizon),
            "slope": pooled.score_sums(time, event, score, at=1.0)
            | dict(value=slope.slope if slope else None, se=slope.se if slope else None),
            "cutoff": None,
            "net_benefit": {
                threshold: pooled.net_benefit_sums(time, event, risk, horizon=horizon, threshold=float(threshold))
                for threshold in sorted(set(kept) - {"cutoff"})
            },
        }
        if "cutoff" in kept and 0 < masks["cutoff"].sum() < time.size:
            high = masks["cutoff"]
            counts = dict(high=int(high.sum()), high_events=int(event[high].sum()))
            models[name]["cutoff"] = pooled.score_sums(time, event, high.astype(float), at=0.0) | counts
    counts = dict(few_lost_left_out=few, patients=int(time.size), events=int(event.sum()))
    return counts | {"life_table": table, "models": models}


def write(run_dir: str | Path, model_dir: str | Path) -> Path:
    """Write `summary.json` of a finished validation, and return its path.

    Raises
    ------
    InputError
        There are too few patients for anything to leave.
    """
    run, model = resolve(run_dir), release.load(model_dir)
    settings, interim = cohort.read_settings(run), run / "interim"
    patients = cohort.with_probabilities(cohort.read_patients(interim / "patients.csv"), interim / "dl_prob.csv")
    patients = cohort.with_predictions(patients, interim / "predictions.csv")
    options = dict(horizon=model["horizon_months"], smallest=settings["small_cell"])
    try:
        found = sums(patients, cutoffs=model["cutoffs"], **options)
    except ValueError as error:
        remedy = "No summary is written. Follow up longer, or join patients of several hospitals in one folder."
        expected = f"{options['smallest']} at least of both"
        raise InputError(display_path(run), str(error), expected=expected, remedy=remedy) from error
    site = re.sub(r"^[\W_]+|[<>&`|\x00-\x1f]", "", settings["name"])[:200] or "unnamed"
    head = {"format": 1, "site": site, "class": settings["class"], "model": model["sha256"]}
    head |= {"horizon_months": options["horizon"], "smallest_count": options["smallest"]}
    Summary.model_validate(head | found)
    results.save_json(head | found, run / "summary.json")
    return run / "summary.json"


# ---------------------------------------------------------------- several hospitals


def read(path: str | Path) -> Summary:
    """Read a hospital's file.

    Raises
    ------
    InputError
        It is none, or an entry has another kind or range.
    """
    try:
        text = Path(path).read_text(encoding="utf-8") if Path(path).stat().st_size <= MAX_BYTES else ""
        return Summary.model_validate_json(text)
    except FileNotFoundError as error:
        remedy = "Correct the path; `python3 run.py validate` with --summary writes the file."
        raise InputError(display_path(path), "the file is missing", expected="a summary", remedy=remedy) from error
    except (OSError, UnicodeError, ValidationError) as error:
        wrong = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(map(str, wrong["loc"])) or "the file"
        found = f"{place} is not as expected ({wrong['msg']})"
        raise InputError(display_path(path), found, expected="a summary of a validation", remedy=AGAIN) from error


def read_all(paths: Sequence[str | Path]) -> list[Summary]:
    """Read several hospitals' files; they must be of one model, and of one hospital each.

    Raises
    ------
    InputError
        See `read`.
    """
    sites = [read(path) for path in paths]
    first = sites[0]
    for place, (path, site) in enumerate(zip(paths, sites, strict=True)):
        if (site.model, site.horizon_months) != (first.model, first.horizon_months):
            found, expected = "is of another model or horizon", f"the model of {display_path(paths[0])}"
            raise InputError(display_path(path), found, expected=expected, remedy="Pool the files of one release.")
        if any(site.model_copy(update={"site": other.site}) == other for other in sites[:place]):
            found = "holds the numbers of a file before it"
            raise InputError(display_path(path), found, expected="each hospital once", remedy="Leave one of them out.")
    if len({site.site for site in sites}) < len(sites):
        sites = [site.model_copy(update={"site": f"{n}: {site.site}"[:200]}) for n, site in enumerate(sites, start=1)]
    return sites


class Measure(NamedTuple):
    """A quantity: sums and own estimates by site, how both are pooled, and the way back to the scale that is shown."""

    model: str
    measure: str
    parts: dict[str, dict]
    own: dict[str, Estimate | None]
    stratified: Callable
    back: Callable
    p: Callable | None = None


def _logit(estimate: Estimate) -> Estimate:
    c = min(max(estimate.value, 1e-9), 1 - 1e-9)
    return Estimate(float(logit(c)), estimate.se / (c * (1 - c)))


def measures(sites: Sequence[Summary]) -> list[Measure]:
    """List every quantity that at least one site has, each on its scale."""
    found = []
    one = lambda function: lambda parts: {name: function([part]) for name, part in parts.items()}  # noqa: E731

    def add(model, measure, parts, stratified, back, own=None, p=None):
        parts = {name: part.model_dump() for name, part in parts.items() if part is not None}
        if parts:
            own = (own or one(stratified))(parts)
            fields = dict(model=model, measure=measure, parts=parts, own=own)
            found.append(Measure(**fields, stratified=stratified, back=back, p=p))

    def slopes(parts):
        return {name: Estimate(s["value"], s["se"]) if s["se"] else None for name, s in parts.items()}

    for name in MODELS:
        of = {site.site: site.models[name] for site in sites if name in site.models}
        c = {site: m.discrimination for site, m in of.items()}
        add(name, "C-index", c, lambda parts: _logit(pooled.concordance_of(parts)), expit)
        oe = {site: m.calibration for site, m in of.items()}
        add(name, "observed / expected", oe, pooled.observed_expected_of, np.exp)
        at_one, at_none = (
            dict(
                stratified=lambda parts, at=at: pooled.score_of(parts, at=at)[0],
                p=lambda parts, at=at: pooled.score_of(parts, at=at)[1].p,
            )
            for at in (1.0, 0.0)
        )
        add(name, "calibration slope", {s: m.slope for s, m in of.items()}, back=float, own=slopes, **at_one)
        add(name, "hazard ratio above the cut-off", {s: m.cutoff for s, m in of.items()}, back=np.exp, **at_none)
        for threshold in sorted(map(str, THRESHOLDS)):
            parts = {site: m.net_benefit.get(threshold) for site, m in of.items()}
            for strategy, words in (("model", ""), ("all", " of treating all")):
                words = f"net benefit{words} at {threshold}"
                add(name, words, parts, lambda parts, s=strategy: pooled.net_benefit_of(parts, s), float)
    return found


def pool(measure: Measure, left_out: str = "") -> dict:
    """Return one quantity's stratified and random-effects results, of all sites that have it or without one."""
    parts = [part for site, part in measure.parts.items() if site != left_out]
    own = [estimate for site, estimate in measure.own.items() if site != left_out and estimate and estimate.se > 0]
    row = dict(model=measure.model, measure=measure.measure, sites=len(parts))
    try:
        estimate = measure.stratified(parts)
    except ValueError:
        return row
    low, high = pooled.limits(estimate)
    row |= {
        name: float(measure.back(v)) for name, v in (("stratified", estimate.value), ("lower", low), ("upper", high))
    }
    row |= {"p": measure.p(parts)} if measure.p else {}
    if len(own) > 1:
        found = pooled.random_effects(own)
        names = ("mean", "lower", "upper", "prediction_lower", "prediction_upper")
        row |= {f"random_{name}": float(measure.back(getattr(found, name))) for name in names}
        row |= dict(random_sites=len(own), tau2=found.tau2, i2=found.i2)
    return row


def life_table(sites: Sequence[Summary]) -> pd.DataFrame:
    """Return numbers at risk, events and losses of all sites, in the intervals that every site's file holds."""
    edges = sorted(set.intersection(*({i.until for i in site.life_table} for site in sites)))
    rows, at_risk, after = [], sum(site.patients for site in sites), 0.0
    for until in edges:
        within = [i for site in sites for i in site.life_table if after < i.until <= until]
        events, lost = sum(i.events for i in within), sum(i.lost for i in within)
        rows.append(dict(after_months=after, until_months=until, at_risk=at_risk, events=events, lost=lost))
        at_risk, after = at_risk - events - lost, until
    return pd.DataFrame(rows)


def pool_files(paths: Sequence[str | Path], out: str | Path) -> pd.DataFrame:
    """Write `pooled.csv`, `leave_one_out.csv`, `life_table.csv` and `sites.csv` into a folder; return the first.

    Raises
    ------
    InputError
        A file is no summary, or of another model.
    """
    sites, out = read_all(paths), Path(out)
    found = measures(sites)
    table = pd.DataFrame([pool(measure) for measure in found])
    without = [dict(left_out=s, **pool(m, s)) for m in found for s in m.parts if len(m.parts) > 1]
    listed = [site.model_dump(by_alias=True, exclude={"models", "life_table"}) for site in sites]
    tables = {"pooled": table, "leave_one_out": pd.DataFrame(without), "life_table": life_table(sites)}
    for name, frame in (tables | {"sites": pd.DataFrame(listed)}).items():
        results.save_csv(frame, out / f"{name}.csv")
    return table


@in_words
def main(arguments: list[str] | None = None) -> int:
    """Run the command line: `python -m dlrs_site.summary write RUN --model MODEL`, or `pool FILE... --out FOLDER`."""
    parser = argparse.ArgumentParser(prog="python -m dlrs_site.summary", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write", help="write summary.json of a finished validation")
    writing.add_argument("run")
    writing.add_argument("--model", required=True)
    pooling = commands.add_parser("pool", help="pool several hospitals' summaries")
    pooling.add_argument("summaries", nargs="+")
    pooling.add_argument("--out", required=True)
    args = parser.parse_args(arguments)
    if args.command == "write":
        written = write(Path(args.run).resolve(), Path(args.model).resolve())
        print(f"{display_path(written)}: sums of this validation without a patient's row")
        return 0
    out = Path(args.out).resolve()
    table = pool_files(args.summaries, out)
    main_rows = table[~table["measure"].str.startswith("net benefit")]
    print(main_rows.dropna(axis=1, how="all").to_string(index=False, float_format="{:.3f}".format))
    print(f"{display_path(out)}: pooled.csv, leave_one_out.csv, life_table.csv and sites.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())
