"""Survival arithmetic that the rest stands on: Kaplan-Meier, censoring, the outcome at a horizon, log-rank."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from dlrs.stats import checks


class RiskTable(NamedTuple):
    """Per distinct time: patients at risk just before it, events and censorings at it."""

    time: np.ndarray
    at_risk: np.ndarray
    events: np.ndarray
    censored: np.ndarray


def risk_table(time: ArrayLike, event: ArrayLike) -> RiskTable:
    """Count patients at risk, events and censorings at every distinct time.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.

    Returns
    -------
    RiskTable
        ``time`` ascending; ``at_risk`` is the number with time >= that time.
    """
    time, event = checks.survival(time, event)
    distinct, place = np.unique(time, return_inverse=True)
    leaving = np.bincount(place, minlength=distinct.size)
    events = np.bincount(place, weights=event, minlength=distinct.size).astype(int)
    return RiskTable(distinct, time.size - np.cumsum(leaving) + leaving, events, leaving - events)


def step(times: ArrayLike, values: ArrayLike, at: ArrayLike, *, start: float, before: bool = False) -> np.ndarray:
    """Read a right-continuous step function at some times.

    Parameters
    ----------
    times, values : arrays of shape (k,)
        Ascending jump times and the value from each jump on.
    at : array
        Where to read it.
    start : float
        Value before the first jump (1 for a survival curve, 0 for a cumulative hazard).
    before : bool
        Read the value just before each time instead of at it.
    """
    index = np.searchsorted(times, at, side="left" if before else "right")
    return np.concatenate(([start], np.asarray(values, dtype=float)))[index]


def kaplan_meier(
    time: ArrayLike,
    event: ArrayLike,
    *,
    at: ArrayLike | None = None,
    extend: bool = False,
    level: float = 0.95,
) -> pd.DataFrame:
    """Estimate survival over time with Kaplan and Meier's product-limit estimator.

    The survival at t is the share of patients expected to be free of the event at t if nobody were lost.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    at : array, optional
        Times to report; by default every distinct time.
    extend : bool
        Whether a time of `at` past the last follow-up repeats the last value (with ``n_risk`` 0), as R's
        ``summary(survfit, extend = TRUE)`` does, or is refused.
    level : float
        Coverage of the interval. Its scale is log(-log S), which stays inside [0, 1] and keeps its coverage in small
        groups (Borgan and Liestol 1990); survfit's default is log S.

    Returns
    -------
    DataFrame
        ``time``, ``n_risk`` (time >= t), ``n_event`` and ``n_censored`` (since the row above), ``survival``,
        ``std_err`` (of S, Greenwood), ``lower``, ``upper``. Where S is 0 Greenwood's variance does not exist:
        ``std_err``, ``lower`` and ``upper`` are NaN there, as in R.

    Raises
    ------
    ValueError
        On bad times or events, or a time of `at` past the last follow-up.

    Notes
    -----
    S(t) = prod_{u <= t} (1 - D(u)/Y(u)); var log S = sum D / (Y (Y - D)). Events come before censorings at the
    same time. Equals ``survival::survfit(conf.type = "log-log")`` of R.

    References
    ----------
    Kaplan and Meier, J Am Stat Assoc 1958; Greenwood 1926.

    Examples
    --------
    >>> kaplan_meier([1, 2, 2, 3], [1, 1, 0, 1])["survival"].tolist()
    [0.75, 0.5, 0.0]
    """
    z = checks.critical_value(level)
    table = risk_table(time, event)
    survival = np.cumprod(1 - table.events / table.at_risk)
    with np.errstate(divide="ignore"):
        greenwood = np.cumsum(table.events / (table.at_risk * (table.at_risk - table.events)), dtype=float)
    counts = np.cumsum([table.events, table.censored], axis=1)
    times = table.time
    n_risk = table.at_risk
    if at is not None:
        times = np.sort(checks.times(at, "at", table.time))
        if times[-1] > table.time[-1] and not extend:
            raise ValueError(
                f"at must lie within follow-up unless extend=True; found {times[-1]:g}, "
                f"but the longest follow-up is {table.time[-1]:g}"
            )
        last = np.searchsorted(table.time, times, side="right")
        n_risk = np.concatenate((table.at_risk, [0]))[np.searchsorted(table.time, times, side="left")]
        survival = np.concatenate(([1.0], survival))[last]
        greenwood = np.concatenate(([0.0], greenwood))[last]
        counts = np.column_stack((np.zeros(2, dtype=int), counts))[:, last]
    n_event, n_censored = np.diff(counts, axis=1, prepend=0)
    std_err, lower, upper = _km_interval(survival, greenwood, z)
    return pd.DataFrame(
        {
            "time": times,
            "n_risk": n_risk,
            "n_event": n_event,
            "n_censored": n_censored,
            "survival": survival,
            "std_err": std_err,
            "lower": lower,
            "upper": upper,
        }
    )


def _km_interval(survival, greenwood, z):
    """Standard error and limits of S; NaN where S is 0."""
    empty, full = survival == 0, survival == 1
    s = np.where(empty | full, 0.5, survival)
    root = np.sqrt(np.where(empty, 0.0, greenwood))
    spread = z * root / np.log(s)
    limits = (np.where(full, 1.0, np.clip(s ** np.exp(x), 0, 1)) for x in (-spread, spread))
    lower, upper = (np.where(empty, np.nan, limit) for limit in limits)
    return np.where(empty, np.nan, survival * root), lower, upper


class Median(NamedTuple):
    """Median survival time with its limits; ``inf`` means that the curve does not come down to one half."""

    median: float
    lower: float
    upper: float


def median_survival(time: ArrayLike, event: ArrayLike, *, level: float = 0.95) -> Median:
    """Read the median survival time, and its limits, off the Kaplan-Meier curve.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    level
        As in `kaplan_meier`; the limits are where the curve's own limits cross one half.

    Returns
    -------
    Median
        ``inf`` for what is not reached, as in lifelines (R prints NA).

    Notes
    -----
    Where S equals 0.5 exactly over an interval the median is the middle of that interval, and its start if the curve
    never drops again: R's ``summary(survfit)$table``.

    References
    ----------
    Brookmeyer and Crowley, Biometrics 1982.

    Examples
    --------
    >>> median_survival([1, 2, 3, 4], [1, 1, 1, 1]).median
    2.5
    """
    curve = kaplan_meier(time, event, level=level)
    return Median(*(_crossing(curve["time"], curve[name]) for name in ("survival", "lower", "upper")))


def _crossing(times: pd.Series, values: pd.Series) -> float:
    # R's tolerance for "equal to one half", sqrt of the machine epsilon
    tolerance = np.sqrt(np.finfo(float).eps)
    t, y = times.to_numpy(), values.to_numpy()
    low = ~np.isnan(y) & (y < 0.5 + tolerance)
    if not low.any():
        return float("inf")
    first = int(low.argmax())
    if abs(y[first] - 0.5) >= tolerance:
        return float(t[first])
    drops = np.flatnonzero(low & (y < y[first]))
    return float((t[first] + t[drops[0]]) / 2 if drops.size else t[first])


def censoring_survival(time: ArrayLike, event: ArrayLike, at: ArrayLike, *, before: bool = False) -> np.ndarray:
    """Estimate the probability of still being under observation (not censored), the G of inverse weighting.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    at : array
        Times at which G is read.
    before : bool
        True reads G(t-), just before each time: what a patient with an event at t had to survive.

    Returns
    -------
    array
        G at each time, in the order of `at`.

    Notes
    -----
    Those with the event at a time have left before the censorings at it, 1 - C/(Y - D), as the order "event, then
    censoring" of the Kaplan-Meier curve implies (R: prodlim, timeROC, riskRegression, pec, survival's n/G2). R's
    ``survfit(Surv(time, 1 - event))``, survC1, nricens and scikit-survival take both from the same risk set, 1 - C/Y,
    which differs where events and censorings tie.

    Examples
    --------
    >>> censoring_survival([1, 2, 2, 3], [1, 1, 0, 1], [2, 2.5]).tolist()
    [0.5, 0.5]
    """
    table = risk_table(time, event)
    curve = np.cumprod(1 - table.censored / np.maximum(table.at_risk - table.events, 1))
    return step(table.time, curve, checks.times(at, "at", table.time), start=1.0, before=before)


def censoring_influence(time: ArrayLike, event: ArrayLike, values: ArrayLike) -> np.ndarray:
    """Return what each patient adds to a weighted mean through the estimated censoring curve.

    For patient k this is (1/n) sum_i values_i K_k(T_i-), with K_k(u) = sum_{v <= u} [1(T_k = v, censored) -
    1(T_k >= v) C(v)/Y(v)] / (Y(v)/n), the influence of k on -log G. It is the term that the standard errors of
    inverse-weighted AUC, Brier score, sensitivity and the like need beside their plain part, exact when times tie.
    Sums once over the sorted times, so that memory is linear. Checked against R's riskRegression.
    """
    time, event = checks.survival(time, event)
    values = checks.prediction(values, time.size, "values")
    table = risk_table(time, event)
    place = np.searchsorted(table.time, time)
    totals = np.bincount(place, weights=values, minlength=table.time.size)
    after = totals[::-1].cumsum()[::-1] - totals  # sum of values with T > v
    drift = np.cumsum(table.censored * after / table.at_risk**2)
    return np.where(event, 0.0, (after / table.at_risk)[place]) - drift[place]


def censoring_influence_at(time: ArrayLike, event: ArrayLike, at: float, *, before: bool = False) -> np.ndarray:
    """Return K_k(at) of `censoring_influence`: each patient's influence on -log G at one time, or just before it."""
    time, event = checks.survival(time, event)
    table, at = risk_table(time, event), checks.number(at, "at")
    place = np.searchsorted(table.time, time)
    counted = (table.time < at) if before else (table.time <= at)
    drift = np.cumsum(counted * table.censored / table.at_risk**2)
    jump = np.where(event, 0.0, counted[place] / table.at_risk[place])
    return time.size * (jump - drift[place])


class Free(NamedTuple):
    """Who is known to be free of the event at a horizon; `before` says that G is read just before it, not at it."""

    mask: np.ndarray
    before: bool


def free_at(time: ArrayLike, event: ArrayLike, horizon: float) -> Free:
    """Find the patients known to be free of the event at a horizon, for inverse weighting by 1/G.

    Those followed beyond it, weighted by 1/G(horizon), as in R's riskRegression and timeROC. Where nobody is, because
    follow-up was ended for all at the horizon, those censored exactly at it are, weighted by 1/G(horizon-): the value
    at a horizon a moment earlier.
    """
    time, event = checks.survival(time, event)
    beyond = time > horizon
    return Free(beyond if beyond.any() else (time >= horizon) & ~event, not beyond.any())


def binary_outcome(time: ArrayLike, event: ArrayLike, *, horizon: float) -> np.ndarray:
    """Turn follow-up into the outcome at a horizon: 1 event by then, 0 free of it, NaN lost before it.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    horizon : float
        In the units of `time`.

    Returns
    -------
    array of shape (n,)
        1.0 where the event came at or before the horizon; 0.0 where follow-up reached it without the event
        (censored exactly at the horizon counts as free); NaN where follow-up ended before it. Leaving the NaN
        rows out, as binary statistics must, is only unbiased when few are lost.

    Examples
    --------
    >>> binary_outcome([10, 36, 36, 20, 40], [1, 1, 0, 0, 1], horizon=36).tolist()
    [1.0, 1.0, 0.0, nan, 0.0]
    """
    time, event = checks.survival(time, event)
    horizon = checks.within_follow_up(time, horizon)
    return np.where(event & (time <= horizon), 1.0, np.where(time >= horizon, 0.0, np.nan))


class Test(NamedTuple):
    """A chi-square test."""

    chi2: float
    df: int
    p: float


Test.__test__ = False  # pytest must not collect it


def chi2_test(chi2: float, df: int) -> Test:
    """Return a chi-square statistic with its upper tail probability."""
    return Test(float(chi2), int(df), float(chdtrc(df, chi2)))


class LogRank(NamedTuple):
    """Log-rank test; `groups` has one row per group: group, n, observed, expected."""

    chi2: float
    df: int
    p: float
    groups: pd.DataFrame


@checks.aligned
def logrank(time: ArrayLike, event: ArrayLike, group: ArrayLike) -> LogRank:
    """Compare the survival of two or more groups.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    group : array of shape (n,)
        Labels of at least two groups.

    Returns
    -------
    LogRank
        Two-sided chi-square with groups - 1 df; observed and expected events.

    Raises
    ------
    ValueError
        On one group only, no event, or a group of which nobody was at risk at any event.

    Notes
    -----
    E_g = sum D Y_g/Y; V_gh = sum D (Y - D)/(Y - 1) Y_g/Y (1(g = h) - Y_h/Y). Equals R's ``survdiff``.

    References
    ----------
    Mantel, Cancer Chemother Rep 1966; Peto and Peto, J R Stat Soc A 1972.
    """
    time, event = checks.survival(time, event)
    group = checks.labels(group, "group", time.size)
    try:
        labels, member = np.unique(group, return_inverse=True)
    except TypeError:  # numbers among texts have no order
        other = next(k for k, label in enumerate(group) if type(label) is not type(group[0]))
        raise ValueError(
            f"group must hold labels of one kind; found {group[0]!r} at row 0 and {group[other]!r} at row {other}"
        ) from None
    if labels.size < 2:
        raise ValueError(f"group must hold at least two groups; found only {str(labels[0])!r}")
    table = risk_table(time, event)
    if not event.any():
        raise ValueError(f"event must be true in at least one row; found none in {event.size} rows")
    place = np.searchsorted(table.time, time)
    left = np.zeros((table.time.size, labels.size))
    died = np.zeros_like(left)
    np.add.at(left, (place, member), 1.0)
    np.add.at(died, (place, member), event.astype(float))
    at_risk = left[::-1].cumsum(axis=0)[::-1]
    keep = table.events > 0
    y, d, share = table.at_risk[keep], table.events[keep], at_risk[keep] / table.at_risk[keep, None]
    observed = died[keep].sum(axis=0)
    expected = d @ share
    if (expected == 0).any():
        empty = labels[int((expected == 0).argmax())]
        raise ValueError(
            f"group must be at risk at an event; found nobody of {str(empty)!r} under follow-up by the first one"
        )
    spread = d * (y - d) / np.maximum(y - 1, 1)
    variance = np.diag(spread @ share) - share.T @ (spread[:, None] * share)
    excess = (observed - expected)[1:]
    if np.linalg.matrix_rank(variance[1:, 1:]) < labels.size - 1:
        raise ValueError("group must be compared at an event that some of those at risk outlive; found none that does")
    chi2 = excess @ np.linalg.solve(variance[1:, 1:], excess)
    groups = pd.DataFrame({"group": labels, "n": np.bincount(member), "observed": observed, "expected": expected})
    return LogRank(*chi2_test(chi2, labels.size - 1), groups)
