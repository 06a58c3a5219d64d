"""Arithmetic on printed numbers: what a paper's own figures imply about each other, without any patient's data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

VERDICTS = ("no", "no claim", "cannot be checked", "yes")  # in the order in which a reader wants them
Z95 = float(stats.norm.ppf(0.975))
CENSORINGS = ("mixed", "before late events", "after late events")


class Claim(NamedTuple):
    """One published number beside what the other published numbers give for it; see `claim`."""

    key: str
    item: str
    where: str
    published: str
    recomputed: float
    lower: float
    upper: float
    finding: str
    agrees: str
    assumed: str
    innocent: str


def claim(
    key: str,
    item: str,
    where: str,
    published: str,
    agrees: bool | str | None,
    finding: str,
    *,
    recomputed: float = math.nan,
    lower: float = math.nan,
    upper: float = math.nan,
    assumed: str = "",
    innocent: str = "",
) -> Claim:
    """Return one row of the audit.

    Parameters
    ----------
    key
        The number's path in paper_results.yaml, joined by dots; unique in an audit.
    item, where
        What the row is about, and where the paper prints it.
    published
        As printed, or what is said.
    agrees
        True, False, None where it cannot be checked, or "no claim" where
        something is set beside a number of which the paper says nothing.
    finding
        What the other numbers give, rounded or in words, for reading.
    recomputed, lower, upper
        The same unrounded, where it is one number, and its interval.
    assumed, innocent
        What the recomputation takes for granted; how a difference can come about without an error that matters.

    Raises
    ------
    ValueError
        When `agrees` is none of these, or a row that differs offers no innocent explanation.
    """
    word = {True: "yes", False: "no", None: "cannot be checked"}.get(agrees, agrees)
    if word not in VERDICTS:
        raise ValueError(f"agrees must be True, False, None or 'no claim'; found {agrees!r} at {key}")
    if word == "no" and not innocent:
        raise ValueError(f"innocent must offer an explanation where a number differs; found none at {key}")
    numbers = (float(recomputed), float(lower), float(upper))
    return Claim(key, item, where, str(published), *numbers, finding, word, assumed, innocent)


def percentage(
    key: str, item: str, where: str, printed: float, count: int, n: int, *, decimals: int, interval: bool = False
) -> Claim:
    """Return the row of a printed percentage; on request with the exact (Clopper-Pearson) and Wilson 95 % interval."""
    ours, lower, upper = 100 * count / n, math.nan, math.nan
    finding = f"{ours:.{decimals}f}%"
    if interval:
        (lower, upper), wilson = (
            [100 * x for x in proportion_confint(count, n, method=method)] for method in ("beta", "wilson")
        )
        finding += f"; exact {lower:.1f} to {upper:.1f}%, Wilson {wilson[0]:.1f} to {wilson[1]:.1f}%"
    return claim(
        key,
        f"{item}: {count} of {n}",
        where,
        f"{as_printed(printed, decimals)}%",
        matches(printed, ours, decimals=decimals),
        finding,
        recomputed=ours,
        lower=lower,
        upper=upper,
        innocent="a count or a percentage corrected in one place only, or another denominator",
    )


def total(key: str, item: str, where: str, printed: int, parts: Sequence[int]) -> Claim:
    """Return the row of a printed total beside the sum of its parts."""
    ours = sum(parts)
    finding = f"{' + '.join(map(str, parts))} = {ours}"
    innocent = "patients with a missing value, or not classified"
    return claim(key, item, where, printed, ours == printed, finding, recomputed=ours, innocent=innocent)


def centred(key: str, item: str, where: str, value: float, ci: Sequence[float], *, log: bool = False) -> Claim:
    """Return the row that asks whether a printed estimate lies in the middle of its 95 % interval.

    Everything is on the log scale for a ratio (`log`).
    """
    found, (lower, upper) = read_interval(value, *ci, log=log), ci
    middle = math.sqrt(lower * upper) if log else (lower + upper) / 2
    finding = f"middle {middle:.4f}, SE {found.se:.4f}" + (" (log scale)" if log else "")
    if not found.symmetric:
        mirrored = [value**2 / x if log else 2 * value - x for x in (upper, lower)]
        finding += f"; symmetric would be {mirrored[0]:.3f} to {upper:.3f} or {lower:.3f} to {mirrored[1]:.3f}"
    return claim(
        key,
        f"{item}: estimate in the middle of its interval",
        where,
        f"{value:.3f} ({lower:.3f} to {upper:.3f})",
        found.symmetric,
        finding,
        recomputed=middle,
        lower=lower,
        upper=upper,
        assumed="estimate +/- 1.96 SE" + (" on the log scale" if log else ""),
        innocent="a slip in one limit, or another kind of interval (bootstrap, profile likelihood)",
    )


def p_of_interval(
    key: str, item: str, where: str, p: float | str, value: float, ci: Sequence[float], *, log: bool = False
) -> Claim:
    """Return the row of a printed P beside that of the z test which the estimate's 95 % interval implies."""
    found = read_interval(value, *ci, log=log)
    p_text = f"{found.p:.3f}" if found.p >= 0.001 else "<0.001"
    return claim(
        key,
        f"{item}: P from the interval",
        where,
        as_printed(p),
        matches(p, found.p_low, found.p_high),
        f"z {found.z:.2f}, P {p_text}",
        recomputed=found.p,
        assumed="z test with the standard error of the interval",
        innocent="another test (likelihood ratio, bootstrap)",
    )


def _printed_decimals(published: float, decimals: int) -> int:
    """Return how many decimals were printed: at least `decimals`, more where the number has more."""
    while not math.isclose(round(published, decimals), published, rel_tol=0, abs_tol=1e-12):
        decimals += 1
    return decimals


def as_printed(published: float | str, decimals: int = 3) -> str:
    """Return a number with the decimals it was printed with: 0.06 as `0.060`, 0.0059 as it is, `<0.001` as it is."""
    if isinstance(published, str):
        return published
    return f"{published:.{_printed_decimals(published, decimals)}f}"


def matches(published: float | str, low: float, high: float | None = None, *, decimals: int = 3) -> bool:
    """Return whether a recomputed number, or any from `low` to `high`, would be printed as `published`.

    A printed bound such as `"<0.001"` is met by a number below it. A number
    exactly half-way between two printed ones matches both.
    """
    high = low if high is None else high
    if isinstance(published, str):
        return low < float(published.removeprefix("<"))
    half = 0.5 * 10.0 ** -_printed_decimals(published, decimals) + 1e-9
    return low - half <= published <= high + half


class PrintedInterval(NamedTuple):
    """What a printed 95 % interval implies; see `read_interval`."""

    se: float
    se_low: float
    se_high: float
    off_centre: float
    tolerance: float
    symmetric: bool
    z: float
    p: float
    p_low: float
    p_high: float


def read_interval(value: float, lower: float, upper: float, *, log: bool = False) -> PrintedInterval:
    """Return the standard error, symmetry and P that a printed 95 % interval implies.

    Parameters
    ----------
    value, lower, upper
        As printed, with three decimals.
    log
        True for a ratio: everything is on the log scale, and P tests a ratio of 1 instead of a difference of 0.

    Returns
    -------
    PrintedInterval
        `se` = width / (2 * 1.96) and its range over everything that rounds to what is printed; `off_centre`, the
        estimate minus the interval's middle, and the largest such `tolerance` that rounding alone can make;
        `symmetric`; `z` = estimate / se, its two-sided P and the range of P by rounding.

    Raises
    ------
    ValueError
        When the interval does not hold its estimate, or a ratio is not positive.

    Examples
    --------
    >>> round(read_interval(0.599, 0.501, 0.697).se, 3)
    0.05
    """
    if not lower < upper or not lower <= value <= upper:
        raise ValueError(f"the interval must hold its estimate; found {value} with {lower} to {upper}")
    half = 0.0005
    if log and lower <= half:
        raise ValueError(f"lower must be positive for a ratio; found {lower}")
    scale = math.log if log else float
    (v_low, v, v_high), (l_low, l, l_high), (u_low, u, u_high) = (
        (scale(x - half), scale(x), scale(x + half)) for x in (value, lower, upper)
    )
    se, se_low, se_high = ((b - a) / (2 * Z95) for a, b in ((l, u), (l_high, u_low), (l_low, u_high)))
    off_centre = v - (l + u) / 2
    tolerance = (v_high - v_low) / 2 + (l_high - l_low + u_high - u_low) / 4 + 1e-9
    nearest, farthest = sorted((abs(v_low), abs(v_high)))
    z = [v / se, farthest / max(se_low, 1e-12), (0.0 if v_low <= 0 <= v_high else nearest) / se_high]
    p, p_low, p_high = (float(2 * stats.norm.sf(abs(x))) for x in z)
    return PrintedInterval(
        se, max(se_low, 0.0), se_high, off_centre, tolerance, abs(off_centre) <= tolerance, z[0], p, p_low, p_high
    )


def pooled_mean_sd(n: tuple, mean: tuple, sd: tuple) -> tuple[float, float]:
    """Return mean and SD (n - 1) of groups taken together, from each group's n, mean and SD.

    The sum of squares is that within the groups plus that of the groups' means about the common mean.
    """
    n, mean, sd = (np.asarray(x, dtype=float) for x in (n, mean, sd))
    common = (n * mean).sum() / n.sum()
    squares = ((n - 1) * sd**2 + n * (mean - common) ** 2).sum()
    return float(common), float(np.sqrt(squares / (n.sum() - 1)))


def smallest_nri_se(nri: float, n_events: int, n_nonevents: int) -> float:
    """Return the smallest standard error that a continuous NRI of this size can have.

    A continuous NRI counts any change of risk, so every patient moves up or
    down. With a = P(up) - P(down) among events and b = P(down) - P(up) among
    non-events, ``NRI = a + b`` and the variance is
    ``(1 - a^2) / n_events + (1 - b^2) / n_nonevents``. It is smallest at an end of the possible a, since it is
    concave in a. Patients whose risk is exactly the same in both models would
    make it smaller; a categorical NRI can be far below.

    References
    ----------
    Pencina MJ et al. Stat Med 2011;30:11-21; the variance is that of ``Hmisc::improveProb``.

    Examples
    --------
    >>> round(smallest_nri_se(0.599, 36, 126), 3)
    0.082
    """
    if not abs(nri) <= 2:
        raise ValueError(f"nri must lie in [-2, 2]; found {nri}")
    ends = max(-1.0, nri - 1), min(1.0, nri + 1)
    return math.sqrt(min((1 - a**2) / n_events + (1 - (nri - a) ** 2) / n_nonevents for a in ends))


def implied_correlation(
    difference: float, se_first: float, se_second: float, p: float, df: int, *, sides: int
) -> float:
    """Return the correlation that two estimates must have for a paired t test to give this P.

    Parameters
    ----------
    difference, se_first, se_second
        First estimate minus second, and their standard errors.
    p, df, sides
        P, degrees of freedom (n - 1), and 1 or 2 for the alternatives tested.

    Returns
    -------
    float
        r in ``t = difference / sqrt(se1^2 + se2^2 - 2 r se1 se2)``. Outside [-1, 1] the P is not possible, nor where
        it is NaN: a one-sided P on the wrong side of 0.5 for the difference's sign.

    Notes
    -----
    ``survcomp::cindex.comp`` is this test, one-sided, with the Spearman correlation of the two scores for r.

    References
    ----------
    Haibe-Kains B et al. Bioinformatics 2008;24:2200-2208.
    """
    if sides not in (1, 2):
        raise ValueError(f"sides must be 1 or 2; found {sides!r}")
    t = stats.t.isf(p / sides, df)
    if t * difference <= 0:
        return math.nan
    se_difference = difference / t
    return float((se_first**2 + se_second**2 - se_difference**2) / (2 * se_first * se_second))


def cindex_outside_auc(
    cindex: float, auc: float, *, early: int, lost: int, late: int, free: int
) -> tuple[float, float]:
    """Return how well the pairs that a C-index counts and an AUC does not must be ordered, for both to hold.

    Parameters
    ----------
    cindex, auc
        Of one score, in the same patients.
    early, lost, late, free
        Patients with the event by the horizon, lost before it, with the event
        after it, and censored after it. The AUC compares `early` with `late`
        and `free`.

    Returns
    -------
    tuple of float
        Mean concordance of the other pairs, lowest and highest over where the
        censorings can lie among the events. 0.5 is chance.

    Notes
    -----
    Other pairs: early with early, early with lost (none, or all), late with late, late with free (none, or all).
    ``C (A + O) = AUC A + x O`` with A and O the pairs inside and outside the AUC, without ties in the score.
    """
    inside = early * (late + free)
    fewest = early * (early - 1) / 2 + late * (late - 1) / 2
    most = fewest + early * lost + late * free
    found = [cindex - (auc - cindex) * inside / outside for outside in (fewest, most)]
    return min(found), max(found)


def cohorts_under_ph(
    linear_predictor: np.ndarray,
    *,
    early: int,
    lost: int,
    late: int,
    free: int,
    censoring: str,
    generator: np.random.Generator,
) -> pd.DataFrame:
    """Return AUC at the horizon and Harrell's C of many cohorts that obey proportional hazards and have these counts.

    Parameters
    ----------
    linear_predictor : array of shape (n_cohorts, n)
        The score of each patient, log hazard ratio; higher means higher risk.
    early, lost, late, free
        Patients with the event by the horizon, lost before it, with the event after it, and censored after it.
    censoring
        Where the censorings after the horizon lie: mixed with the late
        events in random order, all before, or all after them. Those lost
        before the horizon lie at random among the early events.
    generator
        Source of the random numbers.

    Returns
    -------
    DataFrame
        One row a cohort: `auc` (early events against all who passed the horizon, the lost left out), `cindex`.

    Raises
    ------
    ValueError
        When the counts do not add up to n, or `censoring` is unknown.

    Notes
    -----
    Under proportional hazards the order of events does not depend on the
    baseline hazard: the next event is patient i's with probability
    exp(lp_i) / sum over those at risk of exp(lp). At every event the patient
    at risk with the smallest exponential time is taken, at every censoring a
    random one (progressive censoring, independent of the score).
    """
    n_cohorts, n = linear_predictor.shape
    if early + lost + late + free != n:
        raise ValueError(f"early, lost, late and free must add up to n ({n}); found {early + lost + late + free}")
    if censoring not in CENSORINGS:
        raise ValueError(f"censoring must be one of {', '.join(CENSORINGS)}; found {censoring!r}")
    first = generator.permuted(np.tile(np.arange(early + lost) < early, (n_cohorts, 1)), axis=1)
    second = np.tile(np.arange(late + free) < late, (n_cohorts, 1))
    if censoring == "mixed":
        second = generator.permuted(second, axis=1)
    elif censoring == "before late events":
        second = second[:, ::-1]
    event = np.hstack([first, second])
    time = np.log(generator.exponential(size=(n_cohorts, n))) - linear_predictor  # logs, against overflow
    lot = generator.random((n_cohorts, n))
    rows, score = np.arange(n_cohorts), np.empty((n_cohorts, n))
    for place in range(n):
        taken = np.where(event[:, place], time.argmin(axis=1), lot.argmin(axis=1))
        score[:, place] = linear_predictor[rows, taken]
        time[rows, taken] = lot[rows, taken] = np.inf
    higher = np.zeros((n_cohorts, n))  # of those after each patient, how many have a lower score, a tie half
    by_horizon = np.zeros((n_cohorts, early + lost))
    for place in range(n - 1):
        over = np.sign(score[:, [place]] - score[:, place + 1 :]) / 2 + 0.5
        higher[:, place] = over.sum(axis=1)
        if place < early + lost:
            by_horizon[:, place] = over[:, early + lost - place - 1 :].sum(axis=1)
    pairs = (event * np.arange(n - 1, -1, -1)).sum(axis=1)
    auc = (by_horizon * first).sum(axis=1) / (early * (late + free))
    return pd.DataFrame({"auc": auc, "cindex": (higher * event).sum(axis=1) / pairs})
