"""Survival arithmetic that the rest stands on: Kaplan-Meier, censoring, Cox risk at a horizon, log-rank, cut-offs.

lifelines' ``CoxPHFitter`` stays the fitter on the notebooks' pages. `cox_fit` is here for what it does not give:
Breslow's ties, the per-term likelihood-ratio test, R's stopping rule, and refits by the thousand. The baseline
hazard is ours because lifelines' is Breslow's whatever the ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import chdtrc, ndtr

from dlrs import checks

Ties = Literal["efron", "breslow"]
CensoringTies = Literal["events_first", "together", "nelson_aalen"]
KmInterval = Literal["log-log", "log", "plain"]


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
    interval: KmInterval = "log-log",
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
    interval : {"log-log", "log", "plain"}
        Scale of the interval. log-log stays inside [0, 1] and keeps its coverage in small groups (Borgan and
        Liestol 1990); "log" is survfit's default, "plain" is S +/- z se cut to [0, 1].
    level : float
        Coverage of the interval.

    Returns
    -------
    DataFrame
        ``time``, ``n_risk`` (time >= t), ``n_event`` and ``n_censored`` (since the row above), ``survival``,
        ``std_err`` (of S, Greenwood), ``lower``, ``upper``. Where S is 0 Greenwood's variance does not exist:
        ``std_err``, ``lower`` and ``upper`` are NaN there, as in R.

    Raises
    ------
    ValueError
        On bad times or events, an unknown interval, or a time of `at` past the last follow-up.

    Notes
    -----
    S(t) = prod_{u <= t} (1 - D(u)/Y(u)); var log S = sum D / (Y (Y - D)). Events come before censorings at the
    same time. Equals ``survival::survfit(conf.type = interval)`` of R.

    References
    ----------
    Kaplan and Meier, J Am Stat Assoc 1958; Greenwood 1926.

    Examples
    --------
    >>> kaplan_meier([1, 2, 2, 3], [1, 1, 0, 1])["survival"].tolist()
    [0.75, 0.5, 0.0]
    """
    checks.choice(interval, "interval", ("log-log", "log", "plain"))
    z = checks.critical_value(level)
    table = risk_table(time, event)
    survival = np.cumprod(1 - table.events / table.at_risk)
    with np.errstate(divide="ignore"):
        greenwood = np.cumsum(table.events / (table.at_risk * (table.at_risk - table.events)), dtype=float)
    counts = np.cumsum([table.events, table.censored], axis=1)
    times = table.time
    n_risk = table.at_risk
    if at is not None:
        times = np.sort(np.asarray(at, dtype=float).ravel())
        if times.size and times[-1] > table.time[-1] and not extend:
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
    std_err, lower, upper = _km_interval(survival, greenwood, interval, z)
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


def _km_interval(survival, greenwood, interval, z):
    """Standard error and limits of S; NaN where S is 0."""
    zero, one = survival == 0, survival == 1
    s = np.where(zero | one, 0.5, survival)
    root = np.sqrt(np.where(zero, 0.0, greenwood))
    if interval == "plain":
        lower, upper = s - z * s * root, s + z * s * root
    elif interval == "log":
        lower, upper = s * np.exp(-z * root), s * np.exp(z * root)
    else:
        spread = z * root / np.log(s)
        lower, upper = s ** np.exp(-spread), s ** np.exp(spread)
    lower, upper = (np.where(one, 1.0, np.clip(limit, 0, 1)) for limit in (lower, upper))
    lower, upper = (np.where(zero, np.nan, limit) for limit in (lower, upper))
    return np.where(zero, np.nan, survival * root), lower, upper


class Median(NamedTuple):
    """Median survival time with its limits; ``inf`` means that the curve does not come down to one half."""

    median: float
    lower: float
    upper: float


def median_survival(
    time: ArrayLike, event: ArrayLike, *, interval: KmInterval = "log-log", level: float = 0.95, flat: str = "next_drop"
) -> Median:
    """Read the median survival time, and its limits, off the Kaplan-Meier curve.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    interval, level
        As in `kaplan_meier`; the limits are where the curve's own limits cross one half.
    flat : {"next_drop", "last_time"}
        When S equals 0.5 exactly over an interval, the median is the middle of that interval. If the curve never
        drops again, "next_drop" takes its start (R's ``summary(survfit)$table``), "last_time" the middle between
        its start and the last follow-up (R's ``quantile(survfit, 0.5)``).

    Returns
    -------
    Median
        ``inf`` for what is not reached, as in lifelines (R prints NA).

    References
    ----------
    Brookmeyer and Crowley, Biometrics 1982.

    Examples
    --------
    >>> median_survival([1, 2, 3, 4], [1, 1, 1, 1]).median
    2.5
    """
    checks.choice(flat, "flat", ("next_drop", "last_time"))
    curve = kaplan_meier(time, event, interval=interval, level=level)
    return Median(*(_crossing(curve["time"], curve[name], flat) for name in ("survival", "lower", "upper")))


def _crossing(times: pd.Series, values: pd.Series, flat: str) -> float:
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
    if drops.size:
        return float((t[first] + t[drops[0]]) / 2)
    return float((t[first] + t[-1]) / 2) if flat == "last_time" else float(t[first])


def censoring_survival(
    time: ArrayLike, event: ArrayLike, at: ArrayLike, *, before: bool = False, ties: CensoringTies = "events_first"
) -> np.ndarray:
    """Estimate the probability of still being under observation (not censored), the G of inverse weighting.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    at : array
        Times at which G is read.
    before : bool
        True reads G(t-), just before each time: what a patient with an event at t had to survive.
    ties : {"events_first", "together", "nelson_aalen"}
        How events and censorings at the same time are treated. "events_first" (default): those with the event have
        left before the censorings, 1 - C/(Y - D), as the order "event, then censoring" of the Kaplan-Meier curve
        implies (R: prodlim, timeROC, riskRegression, pec, survival's n/G2). "together": 1 - C/Y (R:
        ``survfit(Surv(time, 1 - event))``, survC1, nricens; scikit-survival). "nelson_aalen": exp(-sum C/Y)
        (survIDINRI). Without event-censoring ties the first two coincide.

    Returns
    -------
    array
        G at each time, in the order of `at`.

    Examples
    --------
    >>> censoring_survival([1, 2, 2, 3], [1, 1, 0, 1], [2, 2.5]).tolist()
    [0.5, 0.5]
    """
    checks.choice(ties, "ties", ("events_first", "together", "nelson_aalen"))
    table = risk_table(time, event)
    if ties == "nelson_aalen":
        curve = np.exp(-np.cumsum(table.censored / table.at_risk))
    else:
        left = table.at_risk - table.events if ties == "events_first" else table.at_risk
        curve = np.cumprod(1 - table.censored / np.maximum(left, 1))
    return step(table.time, curve, np.asarray(at, dtype=float), start=1.0, before=before)


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
    here = np.bincount(place, weights=values, minlength=table.time.size)
    after = here[::-1].cumsum()[::-1] - here  # sum of values with T > v
    drift = np.cumsum(table.censored * after / table.at_risk**2)
    return np.where(event, 0.0, (after / table.at_risk)[place]) - drift[place]


def censoring_influence_at(time: ArrayLike, event: ArrayLike, at: float) -> np.ndarray:
    """Return K_k(at) of `censoring_influence`: each patient's influence on -log G at one time."""
    time, event = checks.survival(time, event)
    table = risk_table(time, event)
    place = np.searchsorted(table.time, time)
    drift = np.cumsum(table.censored / table.at_risk**2)
    up_to = step(table.time, drift, np.minimum(time, at), start=0.0)
    jump = np.where(event | (time > at), 0.0, 1 / table.at_risk[place])
    return time.size * (jump - up_to)


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
    horizon = checks.horizon(time, event, horizon)
    return np.where(event & (time <= horizon), 1.0, np.where(time >= horizon, 0.0, np.nan))


class RocPoints(NamedTuple):
    """Counts of a binary ROC curve: a patient is positive when the prediction is >= the threshold."""

    threshold: np.ndarray
    true_positive: np.ndarray
    false_positive: np.ndarray
    n_events: int
    n_nonevents: int


def roc_points(outcome: ArrayLike, prediction: ArrayLike) -> RocPoints:
    """Count true and false positives at every threshold that matters.

    Thresholds ascend from -inf over the midpoints of neighbouring distinct predictions to +inf, as in R's pROC.
    """
    outcome = checks.outcome(outcome)
    prediction = checks.prediction(prediction, outcome.size)
    distinct, place = np.unique(prediction, return_inverse=True)
    threshold = np.concatenate(([-np.inf], (distinct[:-1] + distinct[1:]) / 2, [np.inf]))
    cases = np.bincount(place, weights=outcome, minlength=distinct.size).astype(int)
    controls = np.bincount(place, minlength=distinct.size) - cases
    positive = [np.concatenate((np.cumsum(c[::-1])[::-1], [0])) for c in (cases, controls)]
    return RocPoints(threshold, *positive, int(outcome.sum()), int((~outcome).sum()))


class YoudenCutoff(NamedTuple):
    """The cut-off with the largest sensitivity + specificity - 1; `thresholds` holds every one that reaches it."""

    threshold: float
    sensitivity: float
    specificity: float
    youden: float
    thresholds: np.ndarray


def youden_cutoff(outcome: ArrayLike, prediction: ArrayLike) -> YoudenCutoff:
    """Find the cut-off at which sensitivity plus specificity is largest.

    Parameters
    ----------
    outcome : array of shape (n,)
        Binary outcome, both classes present; leave out patients whose outcome is unknown.
    prediction : array of shape (n,)
        Higher means higher risk; positive is prediction >= threshold (no prediction equals a midpoint, so
        > gives the same groups).

    Returns
    -------
    YoudenCutoff
        The lowest of tied thresholds, which are the midpoints between neighbouring predictions. A cut-off chosen
        on the patients it is judged on flatters itself: apply it to others.

    Raises
    ------
    ValueError
        When only one class is there, or every prediction is the same.

    Notes
    -----
    Equals ``pROC::coords(r, "best", best.method = "youden")``, which adds 1 to the index and keeps every
    threshold at the floating-point maximum.

    References
    ----------
    Youden, Cancer 1950.

    Examples
    --------
    >>> youden_cutoff([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.9]).threshold
    0.5
    """
    points = roc_points(outcome, prediction)
    if points.threshold.size == 2:
        raise ValueError("prediction must differ between rows to be cut in two; found one value in every row")
    sensitivity = points.true_positive / points.n_events
    specificity = (points.n_nonevents - points.false_positive) / points.n_nonevents
    total = sensitivity + specificity
    best = np.flatnonzero(total == total.max())
    first = best[0]
    return YoudenCutoff(
        float(points.threshold[first]),
        float(sensitivity[first]),
        float(specificity[first]),
        float(total[first] - 1),
        points.threshold[best],
    )


# ---------------------------------------------------------------------------------------------------- Cox


class _RiskSets(NamedTuple):
    """Rows sorted by time; `first` is each row's first row of the same time, `events` the rows with the event."""

    order: np.ndarray
    first: np.ndarray
    last: np.ndarray
    event: np.ndarray
    events: np.ndarray
    fraction: np.ndarray
    block: np.ndarray


def _risk_sets(time: np.ndarray, event: np.ndarray, ties: Ties) -> _RiskSets:
    checks.choice(ties, "ties", ("efron", "breslow"))
    if not event.any():
        raise ValueError(f"event must be true in at least one row; found none in {event.size} rows")
    order = np.argsort(time, kind="stable")
    sorted_time, sorted_event = time[order], event[order]
    first = np.searchsorted(sorted_time, sorted_time, side="left")
    last = np.searchsorted(sorted_time, sorted_time, side="right")
    events = np.flatnonzero(sorted_event)
    _, block, tied = np.unique(first[events], return_inverse=True, return_counts=True)
    nth = np.arange(events.size) - np.searchsorted(block, block)
    fraction = nth / tied[block] if ties == "efron" else np.zeros(events.size)
    return _RiskSets(order, first, last, sorted_event, events, fraction, block)


def _event_sums(sets: _RiskSets, values: np.ndarray) -> np.ndarray:
    """Per event: the risk set's sum of `values` less Efron's share of the tied events' sum (A_m of the formulas)."""
    suffix = np.cumsum(values[::-1], axis=0)[::-1]
    tied = np.zeros((sets.block[-1] + 1, *values.shape[1:]))
    np.add.at(tied, sets.block, values[sets.events])
    fraction = sets.fraction.reshape(-1, *([1] * (values.ndim - 1)))
    return suffix[sets.first[sets.events]] - fraction * tied[sets.block]


def _exposure(sets: _RiskSets, per_event: np.ndarray) -> np.ndarray:
    """Per row: the sum of `per_event` over the events whose risk set holds the row, Efron's share taken off."""
    jumps = np.zeros(sets.order.size)
    jumps[sets.events] = per_event
    total = np.cumsum(jumps)[sets.last - 1]
    share = np.bincount(sets.block, weights=sets.fraction * per_event)
    total[sets.events] -= share[sets.block]
    return total


class _Moments(NamedTuple):
    log_likelihood: float
    score: np.ndarray
    a0: np.ndarray
    mean: np.ndarray
    risk: np.ndarray


def _moments(sets: _RiskSets, x: np.ndarray, lp: np.ndarray) -> _Moments:
    shift = lp.max()
    risk = np.exp(lp - shift)
    a0 = _event_sums(sets, risk)
    mean = _event_sums(sets, risk[:, None] * x) / a0[:, None]
    log_likelihood = lp[sets.events].sum() - (np.log(a0) + shift).sum()
    return _Moments(float(log_likelihood), (x[sets.events] - mean).sum(axis=0), a0, mean, risk)


def _information(sets: _RiskSets, x: np.ndarray, m: _Moments, weight: np.ndarray | None = None) -> np.ndarray:
    """Sum over events of weight times the covariance of x in the risk set, without a matrix per event."""
    weight = np.ones(m.a0.size) if weight is None else weight
    exposure = m.risk * _exposure(sets, weight / m.a0)
    return x.T @ (exposure[:, None] * x) - m.mean.T @ (weight[:, None] * m.mean)


class Test(NamedTuple):
    """A chi-square test."""

    chi2: float
    df: int
    p: float


Test.__test__ = False  # pytest must not collect it


def _test(chi2: float, df: int) -> Test:
    return Test(float(chi2), int(df), float(chdtrc(df, chi2)))


class CoxFit(NamedTuple):
    """A fitted Cox model; `terms` names the variable that each column belongs to."""

    names: tuple[str, ...]
    terms: tuple[str, ...]
    coefficients: np.ndarray
    covariance: np.ndarray
    log_likelihood: float
    log_likelihood_null: float
    likelihood_ratio: Test
    wald: Test
    score: Test
    aic: float
    n: int
    n_events: int
    iterations: int


def _columns(covariates, n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    if isinstance(covariates, pd.DataFrame):
        names = tuple(map(str, covariates.columns))
        columns = [covariates[c].to_numpy() for c in covariates.columns]
    elif isinstance(covariates, pd.Series) and covariates.name is not None:
        names, columns = (str(covariates.name),), [covariates.to_numpy()]
    else:
        array = np.asarray(covariates)
        array = array.reshape(-1, 1) if array.ndim == 1 else array
        names = tuple(f"x{j}" for j in range(array.shape[1]))
        columns = list(array.T)
    return np.column_stack([checks.prediction(c, n, n_) for c, n_ in zip(columns, names, strict=True)]), names


def cox_fit(
    time: ArrayLike,
    event: ArrayLike,
    covariates: ArrayLike | pd.DataFrame,
    *,
    ties: Ties = "efron",
    terms: Sequence[str] | None = None,
    offset: ArrayLike | None = None,
    tolerance: float = 1e-12,
    max_iterations: int = 50,
) -> CoxFit:
    """Fit Cox's proportional hazards model by Newton's method.

    A coefficient is the log hazard ratio of one unit more of the covariate, the others held.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    covariates : DataFrame or array of shape (n, p) or (n,)
        Numbers only: code factors as 0/1 columns first.
    ties : {"efron", "breslow"}
        Treatment of events at the same time. Efron's is R's and lifelines' default and the closer one to the exact
        likelihood; Breslow's is scikit-survival's default.
    terms : sequence of p names, optional
        The variable that each column belongs to, for `cox_term_tests`; by default each column is its own.
    offset : array of shape (n,), optional
        Part of the linear predictor with coefficient 1.
    tolerance : float
        Stop when the log-likelihood changes by less than this share: R's ``coxph`` stops at 1e-9 and rms's ``cph``
        at 1e-4, which leaves the last digits, or the fourth one, to the stopping rule. Use theirs to equal them.
    max_iterations : int
        Newton steps before giving up.

    Returns
    -------
    CoxFit
        Coefficients, covariance (inverse information), log-likelihoods and the three global tests. See
        `cox_table` for hazard ratios with intervals.

    Raises
    ------
    ValueError
        On bad arguments, no event, columns that say the same thing, or a likelihood without a maximum (a covariate
        that separates the events).

    Notes
    -----
    Equals ``survival::coxph(ties =)``. Efron's log-likelihood: sum over event times of sum_D x'b -
    sum_{k < D} log(sum_R r - k/D sum_D r), r = exp(x'b); Breslow's has k/D = 0.

    References
    ----------
    Cox, J R Stat Soc B 1972; Efron, J Am Stat Assoc 1977; Breslow, Biometrics 1974.

    Examples
    --------
    >>> fit = cox_fit([1, 2, 3, 4], [1, 1, 1, 0], [1, 0, 1, 0])
    >>> round(float(fit.coefficients[0]), 4)
    0.9406
    """
    time, event = checks.survival(time, event)
    x, names = _columns(covariates, time.size)
    offset = np.zeros(time.size) if offset is None else checks.prediction(offset, time.size, "offset")
    sets = _risk_sets(time, event, ties)
    # centring changes no coefficient and keeps exp() in range
    x, offset = (x - x.mean(axis=0))[sets.order], offset[sets.order]
    beta = np.zeros(x.shape[1])
    now = null = _moments(sets, x, offset)
    information = null_information = _information(sets, x, null)
    _full_rank(null_information, x, names)
    for iterations in range(1, max_iterations + 1):  # noqa: B007
        move = np.linalg.solve(information, now.score)
        new = _moments(sets, x, offset + x @ (beta + move))
        while new.log_likelihood < now.log_likelihood - abs(now.log_likelihood) * 1e-10:
            move /= 2
            new = _moments(sets, x, offset + x @ (beta + move))
        beta = beta + move
        converged = abs(1 - now.log_likelihood / new.log_likelihood) <= tolerance if new.log_likelihood else True
        now, information = new, _information(sets, x, new)
        if converged:
            break
    # on the way to infinity the likelihood is flat: next to no information is left
    if not converged or (np.diag(information) < 1e-9 * np.diag(null_information)).any():
        name = names[int(np.abs(beta * np.sqrt(np.diag(null_information))).argmax())]
        raise ValueError(
            f"covariates must not separate the events; found no maximum of the likelihood, {name!r} runs off"
        )
    df, rise = beta.size, 2 * (now.log_likelihood - null.log_likelihood)
    return CoxFit(
        names=names,
        terms=names if terms is None else tuple(terms),
        coefficients=beta,
        covariance=np.linalg.inv(information),
        log_likelihood=now.log_likelihood,
        log_likelihood_null=null.log_likelihood,
        likelihood_ratio=_test(rise, df),
        wald=_test(beta @ information @ beta, df),
        score=_test(null.score @ np.linalg.solve(null_information, null.score), df),
        aic=2 * df - 2 * now.log_likelihood,
        n=time.size,
        n_events=int(event.sum()),
        iterations=iterations,
    )


def _full_rank(information: np.ndarray, x: np.ndarray, names: tuple[str, ...]) -> None:
    scale = np.sqrt(np.diag(information).clip(min=0))
    flat = np.flatnonzero(scale <= 1e-9 * np.abs(x).max(axis=0, initial=0) + 1e-300)
    if flat.size:
        raise ValueError(f"covariates must vary among those at risk; found no variation in {names[flat[0]]!r}")
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    if values[0] < 1e-10:
        same = [n for n, v in zip(names, vectors[:, 0], strict=True) if abs(v) > 1e-6]
        raise ValueError(f"covariates must not repeat each other; found a linear dependence among {', '.join(same)}")


def cox_table(fit: CoxFit, *, level: float = 0.95) -> pd.DataFrame:
    """List a Cox model's coefficients and hazard ratios with Wald intervals.

    Returns
    -------
    DataFrame
        ``name``, ``term``, ``coef``, ``se``, ``hr``, ``hr_lower``, ``hr_upper``, ``z``, ``p`` (two-sided).
    """
    se = np.sqrt(np.diag(fit.covariance))
    z, c = fit.coefficients / se, checks.critical_value(level)
    return pd.DataFrame(
        {
            "name": fit.names,
            "term": fit.terms,
            "coef": fit.coefficients,
            "se": se,
            "hr": np.exp(fit.coefficients),
            "hr_lower": np.exp(fit.coefficients - c * se),
            "hr_upper": np.exp(fit.coefficients + c * se),
            "z": z,
            "p": 2 * ndtr(-np.abs(z)),
        }
    )


def cox_term_tests(
    time: ArrayLike,
    event: ArrayLike,
    covariates: ArrayLike | pd.DataFrame,
    *,
    terms: Sequence[str] | None = None,
    **options,
) -> pd.DataFrame:
    """Test each variable of a Cox model by leaving it out: the per-term likelihood-ratio test.

    A factor's columns are left out together, so that a variable with three levels gets one P with 2 df.

    Parameters
    ----------
    time, event, covariates, terms
        As in `cox_fit`; columns with the same term are one variable.
    **options
        Passed on to `cox_fit`.

    Returns
    -------
    DataFrame
        ``term``, ``chi2`` = 2 (l_full - l_without), ``df``, ``p``. Equals R's ``drop1(fit, test = "Chisq")``.
    """
    fit = cox_fit(time, event, covariates, terms=terms, **options)
    x, _ = _columns(covariates, fit.n)
    rows = []
    for term in dict.fromkeys(fit.terms):
        rest = np.array([t != term for t in fit.terms])
        without = cox_fit(time, event, x[:, rest], **options).log_likelihood if rest.any() else fit.log_likelihood_null
        rows.append((term, *_test(2 * (fit.log_likelihood - without), (~rest).sum())))
    return pd.DataFrame(rows, columns=["term", "chi2", "df", "p"])


def baseline_hazard(
    time: ArrayLike, event: ArrayLike, linear_predictor: ArrayLike, *, ties: Ties = "efron"
) -> pd.DataFrame:
    """Estimate the cumulative hazard of a patient whose linear predictor is 0.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up of the patients on whom the model was fitted.
    linear_predictor : array of shape (n,)
        Sum of coefficient times covariate, uncentred, for the same patients. lifelines centres: use
        ``log_partial_hazard`` only if the same centred values are given to `risk_at`.
    ties : {"efron", "breslow"}
        Must be the ties of the fit. lifelines' own baseline is Breslow's whatever the fit.

    Returns
    -------
    DataFrame
        ``time`` (every distinct time), ``hazard`` (the jump), ``cumulative_hazard`` (right-continuous).

    Notes
    -----
    Jump at u: sum_{k < D} 1/(sum_R r - k/D sum_D r). Equals ``basehaz(coxph(ties =), centered = FALSE)``.

    Examples
    --------
    >>> baseline_hazard([1, 2], [1, 1], [0.0, 0.0])["cumulative_hazard"].tolist()
    [0.5, 1.5]
    """
    time, event = checks.survival(time, event)
    lp = checks.prediction(linear_predictor, time.size, "linear_predictor")
    sets = _risk_sets(time, event, ties)
    shift = lp.max()
    jumps = np.zeros(time.size)
    jumps[sets.events] = np.exp(-shift) / _event_sums(sets, np.exp(lp[sets.order] - shift))
    starts = np.unique(sets.first)
    hazard = np.add.reduceat(jumps, starts)
    return pd.DataFrame({"time": time[sets.order][starts], "hazard": hazard, "cumulative_hazard": np.cumsum(hazard)})


def risk_at(linear_predictor: ArrayLike, baseline: pd.DataFrame, horizon: float) -> np.ndarray:
    """Turn a Cox model's linear predictor into the probability of the event by a horizon.

    Parameters
    ----------
    linear_predictor : array of shape (n,)
        On the same scale (centring) as the one `baseline` was made with; any patients.
    baseline : DataFrame
        From `baseline_hazard`, made on the patients of the fit.
    horizon : float
        Within the follow-up of those patients.

    Returns
    -------
    array of shape (n,)
        1 - exp(-H0(horizon) exp(linear_predictor)), in [0, 1].
    """
    lp = np.asarray(linear_predictor, dtype=float).ravel()
    lp = checks.prediction(lp, lp.size, "linear_predictor")
    last = float(baseline["time"].iloc[-1])
    if not 0 <= horizon <= last:
        raise ValueError(f"horizon must lie within the baseline's follow-up (0 to {last:g}); found {horizon!r}")
    h0 = step(baseline["time"], baseline["cumulative_hazard"], horizon, start=0.0)
    return -np.expm1(-h0 * np.exp(lp))


def ph_test(
    time: ArrayLike,
    event: ArrayLike,
    covariates: ArrayLike | pd.DataFrame,
    *,
    terms: Sequence[str] | None = None,
    transform: Literal["km", "identity"] = "km",
    ties: Ties = "efron",
    tolerance: float = 1e-12,
) -> pd.DataFrame:
    """Test whether hazard ratios stay the same over time (proportional hazards).

    A small P says that the effect of the variable changes with time, so that one hazard ratio is an average.

    Parameters
    ----------
    time, event, covariates, terms, ties, tolerance
        As in `cox_fit`.
    transform : {"km", "identity"}
        The clock on which the effect might drift: 1 - S(t-) or t itself.

    Returns
    -------
    DataFrame
        ``term`` (the variables, then ``GLOBAL``), ``chi2``, ``df``, ``p``.

    Notes
    -----
    Score test of added covariates g(t) x at coefficient 0, with g centred over the events: the test of R's
    ``cox.zph`` since survival 3.0. lifelines' ``proportional_hazard_test`` is the older approximate one.

    References
    ----------
    Grambsch and Therneau, Biometrika 1994.
    """
    checks.choice(transform, "transform", ("km", "identity"))
    fit = cox_fit(time, event, covariates, terms=terms, ties=ties, tolerance=tolerance)
    time, event = checks.survival(time, event)
    x, _ = _columns(covariates, time.size)
    sets = _risk_sets(time, event, ties)
    x = (x - x.mean(axis=0))[sets.order]
    when = time[sets.order][sets.events]
    if transform == "km":
        curve = kaplan_meier(time, event)
        when = 1 - step(curve["time"], curve["survival"], when, start=1.0, before=True)
    g = when - when.mean()
    m = _moments(sets, x, x @ fit.coefficients)
    score = g @ (x[sets.events] - m.mean)
    i11, i12, i22 = (_information(sets, x, m, w) for w in (None, g, g**2))
    rows = []
    for term in [*dict.fromkeys(fit.terms), "GLOBAL"]:
        j = np.array([term in (t, "GLOBAL") for t in fit.terms])
        schur = i22[np.ix_(j, j)] - i12[j] @ np.linalg.solve(i11, i12[:, j])
        rows.append((term, *_test(score[j] @ np.linalg.solve(schur, score[j]), j.sum())))
    return pd.DataFrame(rows, columns=["term", "chi2", "df", "p"])


# ------------------------------------------------------------------------------------------------ log-rank


class LogRank(NamedTuple):
    """Log-rank test; `groups` has one row per group: group, n, observed, expected."""

    chi2: float
    df: int
    p: float
    groups: pd.DataFrame


def logrank(time: ArrayLike, event: ArrayLike, group: ArrayLike, *, rho: float = 0.0) -> LogRank:
    """Compare the survival of two or more groups.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    group : array of shape (n,)
        Labels of at least two groups.
    rho : float
        0: log-rank (every event weighs the same). 1: Peto and Peto's test (weight S(t-), early events count more).

    Returns
    -------
    LogRank
        Two-sided chi-square with groups - 1 df; observed and expected events (weighted by S(t-)^rho).

    Raises
    ------
    ValueError
        On one group only, no event, or a group of which nobody was at risk at any event.

    Notes
    -----
    E_g = sum D Y_g/Y; V_gh = sum D (Y - D)/(Y - 1) Y_g/Y (1(g = h) - Y_h/Y). Equals R's ``survdiff(rho =)``.

    References
    ----------
    Mantel, Cancer Chemother Rep 1966; Peto and Peto, J R Stat Soc A 1972; Harrington and Fleming, Biometrika 1982.
    """
    time, event = checks.survival(time, event)
    group = np.asarray(group)
    if group.shape != time.shape:
        raise ValueError(f"group must have one label per row of time ({time.size}); found shape {group.shape}")
    if pd.isna(group).any():
        raise ValueError(f"group must hold a label in every row; found none at row {int(pd.isna(group).argmax())}")
    labels, member = np.unique(group, return_inverse=True)
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
    curve = np.cumprod(1 - table.events / table.at_risk)
    weight = step(table.time, curve, table.time[keep], start=1.0, before=True) ** rho
    observed = weight @ died[keep]
    expected = (weight * d) @ share
    if (expected == 0).any():
        empty = labels[int((expected == 0).argmax())]
        raise ValueError(
            f"group must be at risk at an event; found nobody of {str(empty)!r} under follow-up by the first one"
        )
    spread = weight**2 * d * (y - d) / np.maximum(y - 1, 1)
    variance = np.diag(spread @ share) - share.T @ (spread[:, None] * share)
    excess = (observed - expected)[1:]
    chi2 = excess @ np.linalg.solve(variance[1:, 1:], excess)
    groups = pd.DataFrame({"group": labels, "n": np.bincount(member), "observed": observed, "expected": expected})
    return LogRank(*_test(chi2, labels.size - 1), groups)
