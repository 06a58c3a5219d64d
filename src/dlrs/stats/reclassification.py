"""Whether a new model moves patients in the right direction: net reclassification and integrated discrimination.

Everything compares an old and a new risk (probabilities) of the same patients. NRI and IDI can be
positive for a marker that adds nothing, the continuous NRI most easily (Hilden and Gerds 2014;
Pepe et al. 2015): read them beside net benefit, and never from the patients the model was fitted on.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from dlrs.stats import checks, survival

Method = Literal["km", "ipw"]
Variance = Literal["unpooled", "null"]


class Estimate(NamedTuple):
    """An estimate with standard error, Wald limits, z and two-sided P; NaN where nothing tells how precise it is."""

    value: float
    se: float
    lower: float
    upper: float
    z: float
    p: float


class Nri(NamedTuple):
    """A net reclassification improvement, its two parts, and the four shares that make them up."""

    value: float
    se: float
    lower: float
    upper: float
    z: float
    p: float
    events: Estimate
    nonevents: Estimate
    up_events: float
    down_events: float
    up_nonevents: float
    down_nonevents: float


class Idi(NamedTuple):
    """An integrated discrimination improvement and its two parts."""

    value: float
    se: float
    lower: float
    upper: float
    z: float
    p: float
    events: Estimate
    nonevents: Estimate


def _estimate(value: float, se: float, level: float, null_se: float | None = None) -> Estimate:
    """Return an estimate; `null_se` is the standard error of the test where it is not that of the interval."""
    null_se = se if null_se is None else null_se
    # a model against itself moves nobody: value and error are 0, and so is z; otherwise no spread is no information
    se, null_se = (np.nan if spread == 0 and value else spread for spread in (se, null_se))
    half, z = checks.critical_value(level) * se, value / null_se if null_se else 0.0
    return Estimate(*map(float, (value, se, value - half, value + half, z, 2 * stats.norm.sf(abs(z)))))


def _categories(risk: np.ndarray, cutoffs: np.ndarray) -> np.ndarray:
    return np.searchsorted(cutoffs, risk, side="right")


def _cutoffs(cutoffs: ArrayLike) -> np.ndarray:
    array = checks.prediction(cutoffs if np.ndim(cutoffs) else [cutoffs], None, "cutoffs")
    if not ((array > 0) & (array < 1)).all() or (np.diff(array) <= 0).any():
        raise ValueError(f"cutoffs must be ascending risks inside (0, 1); found {array.tolist()}")
    return array


@checks.aligned
def category_moves(old_risk: ArrayLike, new_risk: ArrayLike, *, cutoffs: ArrayLike) -> np.ndarray:
    """Return 1 where the new model puts a patient in a higher risk category, -1 where in a lower one, else 0.

    Parameters
    ----------
    old_risk, new_risk : array of shape (n,)
        Probability of the event by either model, not linear predictors.
    cutoffs : array
        Ascending risks; a risk equal to a cut-off belongs to the category above it, [a, b).

    Returns
    -------
    numpy.ndarray of shape (n,)
        -1, 0 or 1.

    Examples
    --------
    >>> category_moves([0.1, 0.2, 0.5], [0.3, 0.1, 0.6], cutoffs=[0.2])
    array([ 1, -1,  0])
    """
    old, new = _risks(old_risk, new_risk)
    cutoffs = _cutoffs(cutoffs)
    return np.sign(_categories(new, cutoffs) - _categories(old, cutoffs))


@checks.aligned
def moves(old_risk: ArrayLike, new_risk: ArrayLike) -> np.ndarray:
    """Return 1 where the new model gives a patient a higher risk, -1 where a lower one, 0 where the same.

    Parameters
    ----------
    old_risk, new_risk : array of shape (n,)
        Probability of the event by either model.

    Examples
    --------
    >>> moves([0.1, 0.2, 0.5], [0.3, 0.1, 0.5])
    array([ 1, -1,  0])
    """
    old, new = _risks(old_risk, new_risk)
    return np.sign(new - old).astype(int)


def _risks(
    old_risk: ArrayLike, new_risk: ArrayLike, n: int | None = None, like: str = "outcome"
) -> tuple[np.ndarray, np.ndarray]:
    old = checks.risk(old_risk, n, "old_risk", like=like)
    return old, checks.risk(new_risk, old.size, "new_risk", like="old_risk")


@checks.aligned
def nri_categorical(
    outcome: ArrayLike,
    old_risk: ArrayLike,
    new_risk: ArrayLike,
    *,
    cutoffs: ArrayLike,
    variance: Variance = "null",
    level: float = 0.95,
) -> Nri:
    """Return the categorical net reclassification improvement for a binary outcome.

    The share of events moved to a higher risk category minus the share moved to a lower one, plus
    the reverse for non-events. It is a sum of two shares, not a share: it ranges from -2 to 2.

    Parameters
    ----------
    outcome : array of shape (n,)
        Whether the event happened; patients with unknown outcome must be left out.
    old_risk, new_risk : array of shape (n,)
        Probability of the event by either model, not linear predictors.
    cutoffs : array
        Ascending risks that separate the categories [a, b).
    variance : {"null", "unpooled"}
        Of the test. Per class of n patients with shares up and down: "null" is (up + down) / n, the variance where the
        new model moves nobody in the right direction more often (Pencina 2008); "unpooled" is
        ((up + down) - (up - down)^2) / n (Hmisc, PredictABEL), which rejects too often. Standard errors and limits are
        always the unpooled ones.
    level : float
        Coverage of the Wald interval.

    Returns
    -------
    Nri
        `events` = up - down among events, `nonevents` = down - up among non-events, value their sum. Where every
        patient of a class was moved the same way, as one event alone always is, its standard error and limits, and
        those of the sum, are NaN.

    Raises
    ------
    ValueError
        On risks outside [0, 1], unequal lengths, or one class only.

    Notes
    -----
    Standard errors ignore that the models were fitted. With ``variance="unpooled"`` equals ``Hmisc::improveProb`` of
    the category indices and ``PredictABEL::reclassification``, whose limits use 1.96 and whose P is rounded; the
    point estimates equal ``nricens::nribin(updown = "category")``. A model against itself: 0, z 0, P 1.

    References
    ----------
    Pencina MJ et al. Stat Med 2008;27:157-172. Pencina MJ et al. Stat Med 2011;30:11-21.

    Examples
    --------
    >>> nri_categorical([0, 0, 1, 1], [0.3, 0.1, 0.1, 0.4], [0.1, 0.1, 0.3, 0.4], cutoffs=[0.2]).value
    1.0
    """
    outcome = checks.outcome(outcome)
    old, new = _risks(old_risk, new_risk, outcome.size)
    return _nri(outcome, category_moves(old, new, cutoffs=cutoffs), variance, level)


@checks.aligned
def nri_continuous(
    outcome: ArrayLike,
    old_risk: ArrayLike,
    new_risk: ArrayLike,
    *,
    variance: Variance = "null",
    level: float = 0.95,
) -> Nri:
    """Return the continuous (category-free) net reclassification improvement for a binary outcome.

    As `nri_categorical`, any change of risk counting as a move: a difference in the last digit
    weighs as much as one of 50 %.

    Parameters
    ----------
    outcome, old_risk, new_risk, variance, level
        As in `nri_categorical`.

    Returns
    -------
    Nri

    Notes
    -----
    With ``variance="unpooled"`` equals ``Hmisc::improveProb``, PredictABEL's "NRI(Continuous)" and
    ``nribin(updown = "diff", cut = 0)``.

    References
    ----------
    Pencina MJ et al. Stat Med 2011;30:11-21. Hilden J, Gerds TA. Stat Med 2014;33:3405-3414.

    Examples
    --------
    >>> nri_continuous([0, 0, 1, 1], [0.3, 0.1, 0.1, 0.4], [0.1, 0.2, 0.3, 0.5]).value
    1.0
    """
    outcome = checks.outcome(outcome)
    old, new = _risks(old_risk, new_risk, outcome.size)
    return _nri(outcome, moves(old, new), variance, level)


def _nri(outcome: np.ndarray, move: np.ndarray, variance: str, level: float) -> Nri:
    checks.choice(variance, "variance", ("null", "unpooled"))
    up, down = (np.array([(move[c] == sign).mean() for c in (outcome, ~outcome)]) for sign in (1, -1))
    n = np.array([outcome.sum(), (~outcome).sum()])
    se = np.sqrt((up + down - (up - down) ** 2) / n)
    se[(se < 1e-7) & (up != down)] = np.nan  # one patient, or all moved the same way
    null = np.sqrt((up + down) / n) if variance == "null" else se
    return _combine(up, down, se, np.hypot(*se), level, null)


def _combine(up, down, se, se_total, level, null=(None, None)) -> Nri:
    """Return the result from shares up and down, and standard errors, of events and of non-events."""
    parts = up[0] - down[0], down[1] - up[1]
    total = _estimate(parts[0] + parts[1], se_total, level, None if null[0] is None else np.hypot(*null))
    events, nonevents = (_estimate(v, s, level, z) for v, s, z in zip(parts, se, null, strict=True))
    return Nri(*total, events, nonevents, *map(float, (up[0], down[0], up[1], down[1])))


@checks.aligned
def idi(outcome: ArrayLike, old_risk: ArrayLike, new_risk: ArrayLike, *, level: float = 0.95) -> Idi:
    """Return the integrated discrimination improvement for a binary outcome.

    By how much the new model widens the distance between the mean risks of events and non-events.

    Parameters
    ----------
    outcome, old_risk, new_risk, level
        As in `nri_categorical`; at least two patients in each class.

    Returns
    -------
    Idi
        `events`: mean change of risk among events; `nonevents`: minus the mean change among
        non-events; value their sum.

    Notes
    -----
    ``SE^2 = var(d | event) / n1 + var(d | non-event) / n0`` with n - 1 variances of the change d.
    Equals ``Hmisc::improveProb`` (its improveSens and improveSpec) and PredictABEL.
    Coverage in simulated studies: `validity_coverage` of 09d (reports/validity/tables).

    References
    ----------
    Pencina MJ et al. Stat Med 2008;27:157-172.

    Examples
    --------
    >>> round(idi([0, 0, 1, 1], [0.3, 0.1, 0.1, 0.4], [0.1, 0.2, 0.3, 0.5]).value, 4)
    0.2
    """
    outcome = checks.outcome(outcome)
    old, new = _risks(old_risk, new_risk, outcome.size)
    changes = [(new - old)[c] for c in (outcome, ~outcome)]
    for name, change in zip(("events", "non-events"), changes, strict=True):
        if change.size < 2:
            raise ValueError(f"outcome must hold at least two {name} for a standard error; found {change.size}")
    parts = changes[0].mean(), -changes[1].mean()
    se = [np.sqrt(change.var(ddof=1) / change.size) for change in changes]
    return _idi(parts, se, np.hypot(*se), level)


def _idi(parts, se, se_total, level) -> Idi:
    total = _estimate(parts[0] + parts[1], se_total, level)
    return Idi(*total, *(_estimate(v, s, level) for v, s in zip(parts, se, strict=True)))


@checks.aligned
def nri_categorical_censored(
    time: ArrayLike,
    event: ArrayLike,
    old_risk: ArrayLike,
    new_risk: ArrayLike,
    *,
    horizon: float,
    cutoffs: ArrayLike,
    method: Method = "km",
    level: float = 0.95,
) -> Nri:
    """Return the categorical net reclassification improvement by a horizon when follow-up is censored.

    As `nri_categorical`, where an event is one by the horizon and patients lost before it are not
    left out.

    Parameters
    ----------
    time, event : array of shape (n,)
        Follow-up, and whether the event was observed.
    old_risk, new_risk : array of shape (n,)
        Probability of an event by `horizon` by either model, not linear predictors.
    horizon : float
        In the units of `time`; an event at exactly the horizon is one.
    cutoffs : array
        Ascending risks that separate the categories [a, b).
    method : {"km", "ipw"}
        "km": Kaplan-Meier inside the patients moved up and those moved down, so censoring may depend
        on the move; a share that leaves [0, 1], as it can in few patients, is taken as 0 or 1, without an
        interval. "ipw": events weigh 1/G(T-), patients seen beyond the horizon equally;
        censoring must not depend on the risks.
    level : float
        Coverage of the Wald interval.

    Returns
    -------
    Nri
        Shares up and down given an event by the horizon (`up_events`, ...) and given none.

    Raises
    ------
    ValueError
        On risks outside [0, 1], unequal lengths, a horizon past follow-up or without an event before it.

    Notes
    -----
    "km": ``P(up | event) = (1 - S_up) P(up) / (1 - S)``, ``P(up | none) = S_up P(up) / S`` at the
    horizon; a group's curve that ends earlier is carried on. Standard errors: infinitesimal
    jackknife, that is the influence of each patient on shares, curves and censoring weights (R has
    only the bootstrap). Estimates equal ``nricens::nricens(point.method = method, updown = "category")``, for "ipw"
    where no event and censoring tie: nricens reads G at each time, with both leaving from the same risk set.

    References
    ----------
    Pencina MJ, D'Agostino RB, Steyerberg EW. Stat Med 2011;30:11-21. Uno H et al. Stat Med 2013;32:2430-2442.

    Examples
    --------
    >>> found = nri_categorical_censored(
    ...     [1, 2, 3, 5, 6, 7], [1, 0, 1, 0, 1, 0], [0.1, 0.3, 0.3, 0.1, 0.3, 0.3],
    ...     [0.3, 0.3, 0.3, 0.1, 0.1, 0.3], horizon=4, cutoffs=[0.2],
    ... )
    >>> round(found.value, 4)
    0.7111
    """
    old, new = _risks(old_risk, new_risk)
    move = category_moves(old, new, cutoffs=cutoffs)
    return _nri_censored(time, event, move, horizon, method, level)


@checks.aligned
def nri_continuous_censored(
    time: ArrayLike,
    event: ArrayLike,
    old_risk: ArrayLike,
    new_risk: ArrayLike,
    *,
    horizon: float,
    method: Method = "km",
    level: float = 0.95,
) -> Nri:
    """Return the continuous net reclassification improvement by a horizon when follow-up is censored.

    Parameters
    ----------
    time, event, old_risk, new_risk, horizon, method, level
        As in `nri_categorical_censored`; any change of risk counts as a move.

    Returns
    -------
    Nri

    Notes
    -----
    Estimates equal ``nricens::nricens(updown = "diff", cut = 0)``, for "ipw" as in `nri_categorical_censored`.
    survIDINRI prints half of an IPW version in which an event at the horizon counts as none.

    References
    ----------
    Pencina MJ, D'Agostino RB, Steyerberg EW. Stat Med 2011;30:11-21. Uno H et al. Stat Med 2013;32:2430-2442.
    """
    old, new = _risks(old_risk, new_risk)
    return _nri_censored(time, event, moves(old, new), horizon, method, level)


def _nri_censored(time, event, move, horizon, method, level) -> Nri:
    time, event = checks.survival(time, event)
    horizon = checks.horizon(time, event, horizon)
    checks.prediction(move, time.size, "new_risk")
    checks.choice(method, "method", ("km", "ipw"))
    groups = [move == 1, move == -1]
    if method == "km":
        (up, d_up), (down, d_down) = (_km_shares(time, event, group, horizon) for group in groups)
    else:
        weights = _ipcw(time, event, horizon)
        (up, d_up), (down, d_down) = (_ipw_means(time, event, group, weights, horizon) for group in groups)
    influence = np.array([[1.0], [-1.0]]) * (d_up - d_down)
    low, high = np.minimum(up, down), np.maximum(up, down)
    influence[(low < -1e-9) | (high > 1 + 1e-9)] = np.nan  # Kaplan-Meier estimates that do not fit together
    up, down = np.clip(up, 0, 1), np.clip(down, 0, 1)
    se = np.sqrt((influence**2).sum(axis=1))
    return _combine(up, down, se, np.sqrt((influence.sum(axis=0) ** 2).sum()), level)


def _km_shares(time, event, group, horizon) -> tuple[np.ndarray, np.ndarray]:
    """Return P(group | event), P(group | none) by Kaplan-Meier, and each patient's influence on them, shape (2, n)."""
    n = time.size
    survival_all, d_all = _km_influence(time, event, np.ones(n, dtype=bool), horizon)
    share = group.mean()
    if share == 0:
        return np.zeros(2), np.zeros((2, n))
    survival_group, d_group = _km_influence(time, event, group, horizon)
    of_all = np.array([1 - survival_all, survival_all])
    if of_all[1] == 0:
        raise ValueError(f"horizon must leave somebody without the event; found survival 0 at {horizon:g}")
    of_group, sign = np.array([1 - survival_group, survival_group]), np.array([[-1.0], [1.0]])
    value = of_group * share / of_all
    d_share = (group - share) / n
    influence = (sign * d_group * share + of_group[:, None] * d_share - value[:, None] * sign * d_all) / of_all[:, None]
    return value, influence


def _km_influence(time, event, group, horizon) -> tuple[float, np.ndarray]:
    """Return Kaplan-Meier's survival of a group at the horizon, and its derivative by each patient's weight."""
    table = survival.risk_table(time[group], event[group])
    used = table.time <= horizon
    left = table.at_risk - table.events
    value = float(np.prod(1 - table.events[used] / table.at_risk[used]))
    derivative = np.zeros(time.size)
    if value > 0:  # a curve that has come down to 0 stays there under small changes of weight
        greenwood = np.cumsum(np.where(used, table.events / np.where(used, table.at_risk * left, 1), 0))
        place = np.searchsorted(table.time, time[group])
        died = event[group] & (time[group] <= horizon)
        derivative[group] = value * (greenwood[place] - died / np.where(died, left[place], 1))
    return value, derivative


def _ipcw(time, event, horizon) -> np.ndarray:
    """Return 1/G(T-) for events by the horizon, 0 for the others."""
    case = event & (time <= horizon)
    weights = np.zeros(time.size)
    weights[case] = 1 / survival.censoring_survival(time, event, time[case], before=True)
    return weights


def _ipw_means(time, event, values, weights, horizon) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of `values` given an event, and given none, and each patient's influence on them."""
    later = survival.free_at(time, event, horizon).mask
    if not later.any():
        raise ValueError(f"horizon must leave somebody free of the event; found nobody followed to {horizon:g}")
    means = np.array([weights @ values / weights.sum(), values[later].mean()])
    away = weights * (values - means[0])
    through_censoring = survival.censoring_influence(time, event, away)
    influence = [(away + through_censoring) / weights.sum(), later * (values - means[1]) / later.sum()]
    return means, np.array(influence)


@checks.aligned
def idi_censored(
    time: ArrayLike,
    event: ArrayLike,
    old_risk: ArrayLike,
    new_risk: ArrayLike,
    *,
    horizon: float,
    level: float = 0.95,
) -> Idi:
    """Return the integrated discrimination improvement by a horizon when follow-up is censored.

    Parameters
    ----------
    time, event, old_risk, new_risk, horizon, level
        As in `nri_categorical_censored`.

    Returns
    -------
    Idi
        `events`: weighted mean change of risk among events by the horizon; `nonevents`: minus the
        mean change among patients seen beyond it; value their sum.

    Notes
    -----
    Events weigh 1/G(T-), events leaving before censorings. Standard errors: infinitesimal jackknife
    through the weights. survIDINRI refits both models to the patients it is given, sums on a grid of 2000 points and
    takes its limits from random perturbations.

    References
    ----------
    Uno H, Tian L, Cai T, Kohane IS, Wei LJ. Stat Med 2013;32:2430-2442.

    Examples
    --------
    >>> round(idi_censored([1, 2, 3, 5], [1, 0, 1, 0], [0.1] * 4, [0.3, 0.2, 0.4, 0.1], horizon=4).value, 4)
    0.26
    """
    time, event = checks.survival(time, event)
    horizon = checks.horizon(time, event, horizon)
    old, new = _risks(old_risk, new_risk, time.size, "time")
    means, influence = _ipw_means(time, event, new - old, _ipcw(time, event, horizon), horizon)
    influence[1] *= -1
    se = np.sqrt((influence**2).sum(axis=1))
    return _idi((means[0], -means[1]), se, np.sqrt((influence.sum(axis=0) ** 2).sum()), level)
