"""ROC curves: of a known state, of the state at a horizon under censoring, and cut-offs on them.

A prediction is any score, higher meaning higher risk. An event at the horizon is an event.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dlrs.stats import checks, survival
from dlrs.stats.pairs import Difference, difference_of, logit_interval

EventAtHorizon = Literal["case", "excluded"]


class HorizonGroups(NamedTuple):
    """Inverse-probability weights of cases and controls at one time (0 outside the group), and how many they are."""

    cases: np.ndarray
    controls: np.ndarray
    n_cases: int
    n_controls: int


@checks.aligned
def horizon_groups(
    time: ArrayLike,
    event: ArrayLike,
    at: float,
    *,
    event_at_horizon: EventAtHorizon = "case",
    competing: ArrayLike | None = None,
) -> HorizonGroups:
    """Split patients into those with the event by a time and those free of it after, weighted for the others.

    Cases weigh 1/G(T-), controls 1/G(at), with G the censoring curve; the mean of the weights of the cases is the
    cumulative incidence, of the controls the survival. Patients lost before are in neither group. Those with a
    competing event by then are controls too, of weight 1/G(T-), since they never have the event of interest.
    """
    checks.choice(event_at_horizon, "event_at_horizon", ("case", "excluded"))
    time, event = checks.survival(time, event)
    at = checks.horizon(time, event, at)
    case = event & ((time <= at) if event_at_horizon == "case" else (time < at))
    other = np.zeros(time.size, bool) if competing is None else checks.flag(competing, "competing", time.size)
    either, other = event | other, other & (time <= at) & ~event
    control, before = survival.free_at(time, either, at)
    if not case.any():
        raise ValueError(f"times must have an event before them; found none before {at:g}")
    if not control.any():
        raise ValueError(f"times must leave somebody free of the event under observation; found nobody at {at:g}")
    g = survival.censoring_survival(time, either, np.where(case | other, time, 0.0), before=True)
    g_at = survival.censoring_survival(time, either, [at], before=before)[0]
    return HorizonGroups(case / g, control / g_at + other / g, int(case.sum()), int((control | other).sum()))


def _wins(place: np.ndarray, size: int, groups: HorizonGroups) -> tuple[np.ndarray, np.ndarray]:
    """Per case the weight of controls it outranks, per control that of cases that outrank it (ties one half)."""
    cases, controls = (np.bincount(place, weights=w, minlength=size) for w in (groups.cases, groups.controls))
    below = np.cumsum(controls) - controls / 2
    above = cases.sum() - np.cumsum(cases) + cases / 2
    return groups.cases * below[place], groups.controls * above[place]


def _auc_influence(time, event, at, groups: HorizonGroups, a, b) -> tuple[float, np.ndarray]:
    """AUC at one time and every patient's influence on it; `a`, `b` from `_wins`, `event` with competing ones."""
    n = time.size
    a, b = a / n, b / n
    f, g = groups.cases.mean(), groups.controls.mean()
    auc, later = a.mean() / (f * g), time > at

    def through_censoring(values):
        at_horizon = survival.censoring_influence_at(time, event, at) * (values @ later) / n
        return survival.censoring_influence(time, event, np.where(later, 0.0, values)) + at_horizon

    numerator = a + b - 2 * a.mean() + through_censoring(a + b)
    of_cases = groups.cases - f + through_censoring(groups.cases)
    denominator = g * of_cases + f * (groups.controls - g + through_censoring(groups.controls))
    return float(auc), (numerator - auc * denominator) / (f * g)


def _se(influence: np.ndarray) -> float:
    return float(influence.std(ddof=1) / np.sqrt(influence.size))


@checks.aligned
def time_dependent_roc(
    time: ArrayLike,
    event: ArrayLike,
    prediction: ArrayLike,
    *,
    times: ArrayLike,
    event_at_horizon: EventAtHorizon = "case",
) -> pd.DataFrame:
    """Draw the ROC curve of a prediction for the event by each of some times (cumulative cases, dynamic controls).

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    prediction : array of shape (n,)
        Higher means higher risk.
    times : float or array
        Horizons, within follow-up, with an event before and somebody under observation after each.
    event_at_horizon : {"case", "excluded"}
        An event exactly at the horizon makes a case (riskRegression, and `survival.binary_outcome`), or is in
        neither group (timeROC).

    Returns
    -------
    DataFrame
        ``time``, ``cutoff`` (descending; positive is prediction > cutoff), ``true_positive_rate``,
        ``false_positive_rate``; one row per distinct prediction, then one with cutoff -inf (everyone positive).

    Notes
    -----
    Patients lost before a time are in neither group; those left are weighted by 1/G(T-) (cases) and 1/G(t)
    (controls), G the censoring curve with events first. With ``event_at_horizon="excluded"`` the curve equals R's
    ``timeROC(weighting = "marginal")``.

    References
    ----------
    Uno et al., J Am Stat Assoc 2007; Hung and Chiang 2010; Blanche et al., Biom J 2013.
    """
    time, event, prediction = checks.survival_and_prediction(time, event, prediction)
    distinct, place = np.unique(prediction, return_inverse=True)
    frames = []
    for at in checks.times(times, "times", time):
        groups = horizon_groups(time, event, at, event_at_horizon=event_at_horizon)
        rates = []
        for weight in (groups.cases, groups.controls):
            mass = np.bincount(place, weights=weight, minlength=distinct.size)[::-1]
            rates.append(np.concatenate(([0.0], np.cumsum(mass) / mass.sum())))
        frames.append(
            pd.DataFrame(
                {
                    "time": at,
                    "cutoff": np.concatenate((distinct[::-1], [-np.inf])),
                    "true_positive_rate": rates[0],
                    "false_positive_rate": rates[1],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@checks.aligned
def time_dependent_auc(
    time: ArrayLike,
    event: ArrayLike,
    prediction: ArrayLike,
    *,
    times: ArrayLike,
    event_at_horizon: EventAtHorizon = "case",
    competing: ArrayLike | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Estimate the area under the time-dependent ROC curve, with standard error.

    The AUC at t is the chance that a patient with the event by t has a higher prediction than one free of it at t.

    Parameters
    ----------
    time, event, prediction, times, event_at_horizon
        As in `time_dependent_roc`.
    competing : array of shape (n,), optional
        Whether follow-up ended with an event that excludes the one of interest. By the time such a patient is one
        without the event (``riskRegression::Score`` with causes, AUC_2 of timeROC), and no longer censored.
    level
        As in `delong`, with the cases or controls at each time, whichever are fewer.

    Returns
    -------
    DataFrame
        ``time``, ``auc``, ``se``, ``lower``, ``upper``, ``n_cases``, ``n_controls``, ``n_unknown`` (lost before the
        time, and with "excluded" those with the event exactly at it).

    Notes
    -----
    Tied predictions count one half. The standard error is that of the influence function, the estimated weights
    included, exact when times tie. Both equal those of ``riskRegression::Score(metrics = "auc", cens.model = "km")``;
    with ``event_at_horizon="excluded"`` the AUC equals ``timeROC``'s, whose standard error takes tied times as
    distinct, in the order of the rows. n log n in time, linear in memory.
    Coverage in simulated studies: `validity_coverage` of 09d (reports/validity/tables).

    References
    ----------
    Blanche et al., Stat Med 2013; Hung and Chiang 2010.

    Examples
    --------
    >>> time_dependent_auc([5, 8, 9, 12], [1, 1, 0, 0], [0.9, 0.3, 0.4, 0.1], times=8)["auc"].tolist()
    [0.75]
    """
    time, event, prediction = checks.survival_and_prediction(time, event, prediction)
    rows = []
    for at, groups, auc, influence in _aucs(time, event, prediction, times, event_at_horizon, competing):
        se = _se(influence)
        unknown = time.size - groups.n_cases - groups.n_controls
        limits = logit_interval(auc, se, level, min(groups.n_cases, groups.n_controls) - 1)[:2]
        rows.append((at, auc, se, *limits, groups.n_cases, groups.n_controls, unknown))
    columns = ["time", "auc", "se", "lower", "upper", "n_cases", "n_controls", "n_unknown"]
    return pd.DataFrame(rows, columns=columns)


def _aucs(time, event, prediction, times, event_at_horizon, competing=None):
    either = event if competing is None else event | checks.flag(competing, "competing", time.size)
    distinct, place = np.unique(prediction, return_inverse=True)
    for at in checks.times(times, "times", time):
        groups = horizon_groups(time, event, at, event_at_horizon=event_at_horizon, competing=competing)
        wins = _wins(place, distinct.size, groups)
        yield float(at), groups, *_auc_influence(time, either, at, groups, *wins)


@checks.aligned
def compare_time_dependent_auc(
    time: ArrayLike,
    event: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    times: ArrayLike,
    event_at_horizon: EventAtHorizon = "case",
    competing: ArrayLike | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare the time-dependent AUC of two predictions on the same patients.

    Parameters
    ----------
    a, b : arrays of shape (n,)
        The two predictions, higher meaning higher risk.
    time, event, times, event_at_horizon, competing, level
        As in `time_dependent_auc`.

    Returns
    -------
    DataFrame
        ``time``, ``difference`` (a - b), ``se``, ``lower``, ``upper``, ``z``, ``p`` (two-sided); all but the difference
        are NaN where it rests on a single case or control.

    Notes
    -----
    The standard error is that of the difference of the two influence functions. Equals the AUC contrasts of
    ``riskRegression::Score``.
    """
    time, event, a = checks.survival_and_prediction(time, event, a, "a")
    b = checks.prediction(b, time.size, "b")
    rows = []
    both = (_aucs(time, event, x, times, event_at_horizon, competing) for x in (a, b))
    for (at, groups, auc_a, influence_a), (_, _, auc_b, influence_b) in zip(*both, strict=True):
        covariance = np.cov(influence_a, influence_b) / time.size
        if min(groups.n_cases, groups.n_controls) < 2 and auc_a != auc_b:
            covariance *= np.nan
        d = difference_of(auc_a, auc_b, covariance, level)
        rows.append((at, d.difference, d.se, d.lower, d.upper, d.statistic, d.p))
    return pd.DataFrame(rows, columns=["time", "difference", "se", "lower", "upper", "z", "p"])


class Classification(NamedTuple):
    """Accuracy of a cut-off for the event by a horizon, each with its standard error."""

    sensitivity: float
    specificity: float
    ppv: float
    npv: float
    se_sensitivity: float
    se_specificity: float
    se_ppv: float
    se_npv: float


@checks.aligned
def classification_at(
    time: ArrayLike,
    event: ArrayLike,
    prediction: ArrayLike,
    *,
    horizon: float,
    cutoff: float,
    event_at_horizon: EventAtHorizon = "case",
) -> Classification:
    """Estimate sensitivity, specificity and predictive values of a cut-off for the event by a horizon.

    Patients lost before the horizon are weighted for, not dropped.

    Parameters
    ----------
    time, event, prediction : arrays of shape (n,)
        As in `time_dependent_roc`.
    horizon : float
        Time by which the event counts.
    cutoff : float
        Positive is prediction > cutoff. Fix it on other patients than these.
    event_at_horizon
        As in `time_dependent_auc`.

    Returns
    -------
    Classification
        The predictive value of an empty group, and its standard error, are NaN (nobody is positive, or nobody
        negative).

    Notes
    -----
    With f, g the weights of cases and controls and 1 the positive ones: sensitivity = sum f 1 / sum f,
    PPV = sum f 1 / (sum f 1 + sum g 1). With ``event_at_horizon="excluded"`` the estimates equal R's
    ``timeROC::SeSpPPVNPV``. Standard errors: influence functions, the estimated weights included.
    """
    time, event, prediction = checks.survival_and_prediction(time, event, prediction)
    groups = horizon_groups(time, event, horizon, event_at_horizon=event_at_horizon)
    positive = prediction > checks.number(cutoff, "cutoff")
    f, g = groups.cases, groups.controls
    sensitivity = float((f * positive).sum() / f.sum())
    specificity = float((g * ~positive).sum() / g.sum())
    excess = f * (positive - sensitivity) / f.mean()
    influence_sensitivity = excess + survival.censoring_influence(time, event, excess)
    influence_specificity = g * (~positive - specificity) / g.mean()
    values = [_predictive_value(time, event, groups, positive, horizon, sick=True)]
    values.append(_predictive_value(time, event, groups, ~positive, horizon, sick=False))
    return Classification(
        sensitivity,
        specificity,
        values[0][0],
        values[1][0],
        _se(influence_sensitivity),
        _se(influence_specificity),
        values[0][1],
        values[1][1],
    )


def _predictive_value(time, event, groups, called, horizon, *, sick) -> tuple[float, float]:
    """PPV (sick) or NPV of the patients `called`, with standard error."""
    cases, controls = groups.cases * called, groups.controls * called
    case, control = cases.mean(), controls.mean()
    if case + control == 0:
        return float("nan"), float("nan")
    before = survival.free_at(time, event, horizon).before
    through_g = survival.censoring_influence_at(time, event, horizon, before=before) * control
    influence_case = cases - case + survival.censoring_influence(time, event, cases)
    influence_control = controls - control + through_g
    influence = (influence_case * control - case * influence_control) / (case + control) ** 2
    return float((case if sick else control) / (case + control)), _se(influence)


@checks.aligned
def survivalroc_km(time: ArrayLike, event: ArrayLike, prediction: ArrayLike, *, times: ArrayLike) -> pd.DataFrame:
    """Estimate the time-dependent AUC from Kaplan-Meier curves of the positives, as R's survivalROC ``method="KM"``.

    Kept for comparison with published work: the curve need not be monotone, and the inverse-weighted
    `time_dependent_auc` is preferable.

    Returns
    -------
    DataFrame
        ``time``, ``auc``, ``survival`` (Kaplan-Meier of all patients at that time).

    Notes
    -----
    Se(c) = (1 - S(t | x > c)) P(x > c) / (1 - S(t)), Sp(c) = 1 - S(t | x > c) P(x > c) / S(t).
    One pass over the patients per event time.

    References
    ----------
    Heagerty, Lumley and Pepe, Biometrics 2000.
    """
    time, event, prediction = checks.survival_and_prediction(time, event, prediction)
    rows = []
    for at in checks.times(times, "times", time):
        at = checks.horizon(time, event, at)
        pooled = _survival_at(time, event, at)
        distinct, place = np.unique(prediction, return_inverse=True)
        size = distinct.size

        def above(group, place=place, size=size):
            """Per distinct value c, how many of `group` have x > c."""
            counts = np.bincount(place[group], minlength=size)
            return counts.sum() - np.cumsum(counts)

        curve = np.ones(size)
        for u in np.unique(time[event & (time <= at)]):
            at_risk = above(time >= u)
            curve *= 1 - above((time == u) & event) / np.maximum(at_risk, 1)
        share = above(np.ones(time.size, dtype=bool)) / time.size
        sensitivity = np.append((1 - curve[:-1]) * share[:-1] / (1 - pooled), 0.0)
        specificity = np.append(1 - curve[:-1] * share[:-1] / pooled, 1.0)
        rows.append((at, _trapezoid(sensitivity, specificity), pooled))
    return pd.DataFrame(rows, columns=["time", "auc", "survival"])


@checks.aligned
def survivalroc_nne(time: ArrayLike, event: ArrayLike, prediction: ArrayLike, *, times: ArrayLike) -> pd.DataFrame:
    """Estimate the time-dependent AUC by nearest neighbours, as R's survivalROC ``method="NNE"``.

    Survival at each prediction is the Kaplan-Meier estimate among its neighbours, 0.25 n^-0.2 of the patients on *each*
    side, so that censoring may depend on the prediction.

    Returns
    -------
    DataFrame
        ``time``, ``auc``, ``survival``.

    Notes
    -----
    As in the R code, the width of the window's upper half is used for both halves. n^2 in time, linear in memory.

    References
    ----------
    Heagerty, Lumley and Pepe, Biometrics 2000; Akritas, Ann Stat 1994.
    """
    time, event, prediction = checks.survival_and_prediction(time, event, prediction)
    n = time.size
    span = 0.25 * n**-0.2
    order = np.argsort(prediction, kind="stable")
    x, t, e = prediction[order], time[order], event[order]
    distinct, start = np.unique(x, return_index=True)
    low, high = np.empty(distinct.size, dtype=int), np.empty(distinct.size, dtype=int)
    for k, (value, first) in enumerate(zip(distinct, start, strict=True)):
        apart = x - value
        width = apart[min(first + int(n * span + 0.5), n - 1)]
        low[k] = np.searchsorted(apart, -abs(width), side="left")
        high[k] = np.searchsorted(apart, width, side="right")
    place = np.searchsorted(distinct, x)
    rows = []
    for at in checks.times(times, "times", time):
        at = checks.horizon(time, event, at)
        pooled = _survival_at(time, event, at)
        local = np.ones(distinct.size)
        for u in np.unique(t[e & (t <= at)]):
            at_risk = np.concatenate(([0], np.cumsum(t >= u)))
            died = np.concatenate(([0], np.cumsum((t == u) & e)))
            local *= 1 - (died[high] - died[low]) / np.maximum(at_risk[high] - at_risk[low], 1)
        everyone = local[place].sum() / n
        beyond = np.searchsorted(x, distinct, side="right")
        share = (n - beyond) / n
        alive = np.append(np.cumsum(local[place][::-1])[::-1], 0.0)[beyond] / n
        sensitivity, specificity = (share - alive) / (1 - everyone), 1 - alive / everyone
        sensitivity[-1], specificity[-1] = 0.0, 1.0
        rows.append((at, _trapezoid(sensitivity, specificity), pooled))
    return pd.DataFrame(rows, columns=["time", "auc", "survival"])


def _survival_at(time, event, at: float) -> float:
    pooled = float(survival.kaplan_meier(time, event, at=[at])["survival"].iloc[0])
    if pooled == 0:
        raise ValueError(f"times must leave somebody free of the event; found nobody at {at:g}")
    return pooled


def _trapezoid(sensitivity: np.ndarray, specificity: np.ndarray) -> float:
    """Area under points that start at (1, 1) and end at (0, 0)."""
    x, y = np.concatenate(([1.0], 1 - specificity)), np.concatenate(([1.0], sensitivity))
    return float(((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2).sum())


@checks.aligned
def roc_curve(outcome: ArrayLike, prediction: ArrayLike) -> pd.DataFrame:
    """Draw the ROC curve of a prediction for a binary outcome.

    Parameters
    ----------
    outcome : array of shape (n,)
        Binary outcome, both classes present; leave out patients whose outcome is unknown.
    prediction : array of shape (n,)
        Higher means higher risk.

    Returns
    -------
    DataFrame
        ``threshold`` (-inf, midpoints of neighbouring distinct predictions, +inf; positive is prediction >=
        threshold), ``sensitivity``, ``specificity``. Equals ``pROC::roc(levels = c(0, 1), direction = "<")``.
    """
    return pd.DataFrame(_rates(outcome, prediction)._asdict())


class _Rates(NamedTuple):
    threshold: np.ndarray
    sensitivity: np.ndarray
    specificity: np.ndarray


def _rates(outcome: ArrayLike, prediction: ArrayLike) -> _Rates:
    """Return the points of `roc_curve`."""
    outcome = checks.outcome(outcome)
    prediction = checks.prediction(prediction, outcome.size, like="outcome")
    distinct, place = np.unique(prediction, return_inverse=True)
    threshold = np.concatenate(([-np.inf], (distinct[:-1] + distinct[1:]) / 2, [np.inf]))
    cases = np.bincount(place, weights=outcome, minlength=distinct.size).astype(int)
    controls = np.bincount(place, minlength=distinct.size) - cases
    positive = [np.concatenate((np.cumsum(c[::-1])[::-1], [0])) for c in (cases, controls)]
    return _Rates(threshold, positive[0] / cases.sum(), (controls.sum() - positive[1]) / controls.sum())


class BinaryAuc(NamedTuple):
    """Area under a binary ROC curve with DeLong's interval."""

    auc: float
    se: float
    lower: float
    upper: float
    n_events: int
    n_nonevents: int


def _placements(outcome: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per event the share of non-events it outranks, per non-event the share of events that outrank it."""
    cases, controls = x[outcome], x[~outcome]
    if min(cases.size, controls.size) < 2:
        raise ValueError(
            f"outcome must hold two rows of each class for a variance; found {cases.size} events and "
            f"{controls.size} non-events"
        )

    def share_below(values, others):
        others = np.sort(others)
        below = np.searchsorted(others, values, side="left") + np.searchsorted(others, values, side="right")
        return below / (2 * others.size)

    return share_below(cases, controls), 1 - share_below(controls, cases)


@checks.aligned
def delong(outcome: ArrayLike, prediction: ArrayLike, *, level: float = 0.95) -> BinaryAuc:
    """Estimate the area under a binary ROC curve, with DeLong's interval.

    The chance that a patient with the event has the higher prediction than one without; ties count one half.

    Parameters
    ----------
    outcome : array of shape (n,)
        Binary outcome, at least two rows of each class.
    prediction : array of shape (n,)
        Higher means higher risk. (pROC may turn the direction round; this does not.)
    level : float
        Coverage of the interval, which is on the logit scale, with Student's t on as many degrees of freedom as the
        smaller class has patients, less one.

    Returns
    -------
    BinaryAuc
        Limits are NaN where the classes do not overlap: an AUC of 1 or 0 has no standard error.

    Notes
    -----
    var = var(V10)/m + var(V01)/k with V the placements. AUC and standard error equal
    ``pROC::var(method = "delong")``, whose limits are the AUC plus and minus 1.96 of them. n log n in time.
    Coverage in simulated studies: `validity_coverage` of 09d (reports/validity/tables).

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, Biometrics 1988; Sun and Xu, IEEE Signal Process Lett 2014.

    Examples
    --------
    >>> delong([0, 0, 1, 1], [0.1, 0.4, 0.3, 0.9]).auc
    0.75
    """
    outcome = checks.outcome(outcome)
    v10, v01 = _placements(outcome, checks.prediction(prediction, outcome.size, like="outcome"))
    auc = float(v10.mean())
    se = float(np.sqrt(v10.var(ddof=1) / v10.size + v01.var(ddof=1) / v01.size))
    limits = logit_interval(auc, se, level, min(v10.size, v01.size) - 1)[:2]
    return BinaryAuc(auc, se, *limits, v10.size, v01.size)


@checks.aligned
def compare_delong(outcome: ArrayLike, a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Difference:
    """Compare the AUC of two predictions on the same patients by DeLong's z test.

    Parameters
    ----------
    outcome, a, b : arrays of shape (n,)
        Binary outcome and the two predictions, higher meaning higher risk.
    level : float
        Coverage of the interval of the difference.

    Returns
    -------
    Difference
        AUC(a) - AUC(b). Equals ``pROC::roc.test(method = "delong", paired = TRUE)``.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, Biometrics 1988.
    """
    outcome = checks.outcome(outcome)
    both = (checks.prediction(x, outcome.size, name, like="outcome") for x, name in ((a, "a"), (b, "b")))
    parts = [_placements(outcome, x) for x in both]
    covariance = sum(np.cov(va, vb) / va.size for va, vb in zip(*parts, strict=True))
    return difference_of(parts[0][0].mean(), parts[1][0].mean(), covariance, level)


def compare_delong_unpaired(
    outcome_a: ArrayLike, a: ArrayLike, outcome_b: ArrayLike, b: ArrayLike, *, level: float = 0.95
) -> Difference:
    """Compare the AUC in two different groups of patients by DeLong's t test with Welch's degrees of freedom.

    Returns
    -------
    Difference
        AUC in the first group less that in the second. Equals ``pROC::roc.test(method = "delong", paired = FALSE)``.

    Notes
    -----
    df = (v1 + v2)^2 / (v1^2/(N1 - 1) + v2^2/(N2 - 1)), N the patients of each group.
    """
    checks.coverage(level)
    first, second = delong(outcome_a, a), delong(outcome_b, b)
    v = np.array([first.se, second.se]) ** 2
    n = np.array([first.n_events + first.n_nonevents, second.n_events + second.n_nonevents])
    if not v.any():
        raise ValueError("predictions must overlap between the classes in one group at least; found none that do")
    df = v.sum() ** 2 / (v**2 / (n - 1)).sum()
    return difference_of(first.auc, second.auc, np.diag(v), level, df=df)


class YoudenCutoff(NamedTuple):
    """The cut-off with the largest sensitivity + specificity - 1; `thresholds` holds every one that reaches it."""

    threshold: float
    sensitivity: float
    specificity: float
    youden: float
    thresholds: np.ndarray


@checks.aligned
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
    threshold, sensitivity, specificity = _rates(outcome, prediction)
    if threshold.size == 2:
        raise ValueError("prediction must differ between rows to be cut in two; found one value in every row")
    total = sensitivity + specificity
    best = np.flatnonzero(total == total.max())
    first = best[0]
    return YoudenCutoff(
        float(threshold[first]),
        float(sensitivity[first]),
        float(specificity[first]),
        float(total[first] - 1),
        threshold[best],
    )


def youden_or_reason(outcome: ArrayLike, prediction: ArrayLike) -> tuple[YoudenCutoff, str]:
    """Return Youden's cut-off, or why there is none.

    Returns
    -------
    cutoff : YoudenCutoff
        From `youden_cutoff`; NaN throughout where there is no cut-off.
    reason : str
        Empty, or why: one class only, the same prediction in every row, or no prediction at which sensitivity plus
        specificity exceeds 1, as where patients with the event have the lower predictions.

    Examples
    --------
    >>> youden_or_reason([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1])[1]
    'no cut-off: no value separates the outcomes in the expected direction'
    """
    found, reason = checks.estimate_or_reason(youden_cutoff, outcome, prediction)
    if found and not np.isfinite(found.threshold):
        found, reason = None, "no value separates the outcomes in the expected direction"
    none = YoudenCutoff(np.nan, np.nan, np.nan, np.nan, np.array([]))
    return (found, "") if found else (none, f"no cut-off: {reason}")


CHOSEN_BY = {"Youden": "Youden's index, primary cohort", "median": "median of the primary cohort"}


@checks.aligned
def cutoff_by(rule: str | float, outcome: ArrayLike, prediction: ArrayLike) -> tuple[YoudenCutoff, str]:
    """Return the cut-off of a rule with its accuracy, or why there is none.

    Parameters
    ----------
    rule : "Youden", "median" or a number
        Youden's index of the patients whose outcome is known, the median prediction of all, or a fixed value.
    outcome : array of shape (n,)
        1, 0, or NaN where unknown.
    prediction : array of shape (n,)
        Higher means higher risk; high is above the cut-off.

    Returns
    -------
    cutoff : YoudenCutoff
        Sensitivity, specificity and index of the known at the cut-off; NaN where there is none, or one class only.
    reason : str
        As in `youden_or_reason`; empty with the other rules.

    Examples
    --------
    >>> cutoff_by("median", [0, 0, 1, float("nan")], [0.1, 0.4, 0.6, 0.9])[0][:3]
    (0.5, 1.0, 1.0)
    """
    prediction = checks.prediction(prediction, None)
    cells = np.ma.filled(np.ma.asanyarray(outcome, dtype=object), np.nan)
    known = ~pd.isna(cells)
    state = checks.flag(np.where(known, cells, 0), "outcome", prediction.size, like="prediction")
    outcome = np.where(known, state, np.nan)
    if rule == "Youden":
        return youden_or_reason(outcome[known], prediction[known])
    if isinstance(rule, str):
        checks.choice(rule, "rule", ("Youden", "median"))
    threshold = float(np.median(prediction)) if isinstance(rule, str) else checks.number(rule, "rule")
    high = prediction > threshold
    sides = high[outcome == 1], ~high[outcome == 0]
    sensitivity, specificity = (float(side.mean()) if side.size else np.nan for side in sides)
    index = sensitivity + specificity - 1
    return YoudenCutoff(threshold, sensitivity, specificity, index, np.array([threshold])), ""
