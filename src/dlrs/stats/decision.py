"""Decision curves: what treating patients above a risk threshold is worth, for binary and for censored outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dlrs.stats import checks, resample

CELLS = 2**22  # indicators held at once, so that memory stays linear in patients: 32 MiB

QUANTITIES = (
    "net_benefit", "standardized_net_benefit", "tpr", "fpr", "fnr", "tnr", "high_risk", "true_positive",
    "true_negative", "high_risk_per_1000", "high_risk_with_event_per_1000",
)  # fmt: skip


@checks.aligned
def decision_curve(
    outcome: ArrayLike,
    risk: ArrayLike | Mapping[str, ArrayLike],
    *,
    thresholds: ArrayLike,
) -> pd.DataFrame:
    """Return the decision curve of one or several models for a binary outcome.

    Net benefit weighs the patients rightly treated against those treated in vain, at the exchange
    rate that a doctor who treats from that risk on has in mind. The model with the highest curve at
    the relevant thresholds is the one to use; one below "all" or "none" does harm.

    Parameters
    ----------
    outcome : array of shape (n,)
        Whether the event happened; patients with unknown outcome must be left out.
    risk : array of shape (n,), or mapping of names to such arrays
        Probability of the event, not a linear predictor. A single array is called "model".
    thresholds : array of shape (T,)
        Risks in [0, 1] from which on one would treat; a risk equal to the threshold is treated.

    Returns
    -------
    pandas.DataFrame
        One row per strategy (the models' names, then "all" and "none") and threshold:
        strategy, threshold, net_benefit, standardized_net_benefit (1 is perfect), tpr and fpr
        (share of events and of non-events at high risk), fnr and tnr (at low risk), high_risk
        (share of patients), true_positive and true_negative (share of patients: rmda's DP and
        nonDP), high_risk_per_1000 and high_risk_with_event_per_1000 (clinical impact).

    Raises
    ------
    ValueError
        When a risk or threshold lies outside [0, 1], or the outcome has one class only.

    Notes
    -----
    With prevalence rho, ``NB = tpr rho - p / (1 - p) fpr (1 - rho)`` and ``sNB = NB / rho``. At
    threshold 1 NB is its limit: tpr rho when no non-event is treated, else -inf (rmda gives NaN).
    Equals dcurves, and ``rmda::decision_curve(fitted.risk = TRUE)`` but for risks equal to a threshold, which rmda
    counts neither as treated nor as not.

    References
    ----------
    Vickers AJ, Elkin EB. Med Decis Making 2006;26:565-574. Kerr KF et al. J Clin Oncol 2016;34:2534-2540.

    Examples
    --------
    >>> curve = decision_curve([0, 0, 1, 1], [0.1, 0.4, 0.3, 0.9], thresholds=[0.2])
    >>> curve.loc[curve["strategy"] == "model", "net_benefit"].round(4).tolist()
    [0.4375]
    """
    outcome, thresholds = checks.outcome(outcome), _thresholds(thresholds)
    events, curves = np.array([[outcome.mean()]]), {}
    for name, values in _models(risk, outcome.size, "outcome").items():
        shares = [[((values >= threshold) & group).mean() for threshold in thresholds] for group in (outcome, ~outcome)]
        curves[name] = _quantities(QUANTITIES, thresholds, events, *np.array(shares)[:, None])
    return _frame(curves | _reference_strategies(events, thresholds), thresholds)


@checks.aligned
def decision_curve_censored(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike | Mapping[str, ArrayLike],
    *,
    horizon: float,
    thresholds: ArrayLike,
    competing: ArrayLike | None = None,
) -> pd.DataFrame:
    """Return the decision curve of one or several models for an outcome with censoring.

    Every patient counts, those lost before the horizon too: among the patients at high risk the
    share with an event by the horizon is one minus their Kaplan-Meier estimate.

    Parameters
    ----------
    time, event : array of shape (n,)
        Follow-up, and whether the event was observed.
    risk : array of shape (n,), or mapping of names to such arrays
        Probability of an event by `horizon`, not a linear predictor. A single array is called "model".
    horizon : float
        In the units of `time`; within follow-up, an event at exactly the horizon counts.
    thresholds : array of shape (T,)
        Risks in [0, 1]; a patient is at high risk from the threshold on.
    competing : array of shape (n,), optional
        Whether follow-up ended with an event that excludes the one of interest, such as death. Risks are then
        Aalen and Johansen's cumulative incidences in place of one minus Kaplan-Meier.

    Returns
    -------
    pandas.DataFrame
        As `decision_curve`. Where all patients at high risk are lost before the horizon, so that their
        Kaplan-Meier curve does not reach it, the row holds NaN. tpr, fpr, fnr, tnr and
        high_risk_with_event_per_1000 weigh each known state by the inverse of the probability of being
        observed: shares between 0 and 1 that never rise with the threshold (fnr and tnr never fall). The
        last is at most high_risk_per_1000. The others come from the Kaplan-Meier estimate at high risk.

    Raises
    ------
    ValueError
        When a risk or threshold lies outside [0, 1], or the horizon beyond follow-up.

    Notes
    -----
    With q the share of patients at high risk and R = 1 - KM(horizon | high risk):
    ``NB = q R - p / (1 - p) q (1 - R)``. Equals ``dcurves::dca(Surv(time, event) ~ risk, time = horizon)``
    where that has an estimate (it has none where the first follow-up time of the patients at high risk lies
    behind the horizon, or the last one is an event before it); its tp_rate is true_positive here, not the sensitivity.

    ``q R / (1 - KM)`` is no sensitivity: R comes from each threshold's own patients, so that it may exceed 1
    and rise with the threshold (Heagerty, Lumley and Pepe). ``tpr = sum 1(high, event by the horizon) / G(T-)``
    over the same sum of all patients, and ``fpr`` likewise over those free of the event at the horizon: the
    sensitivity and specificity of `metrics.time_dependent_roc`, those lost exactly at the horizon known to be
    free. The censoring curve G is that of all patients,
    which asks that being lost has nothing to do with the risk. The count with event is the same numerator,
    at most q.

    References
    ----------
    Vickers AJ, Cronin AM, Elkin EB, Gonen M. BMC Med Inform Decis Mak 2008;8:53. Heagerty PJ, Lumley T, Pepe MS.
    Biometrics 2000;56:337-344. Uno H, Cai T, Tian L, Wei LJ. J Am Stat Assoc 2007;102:527-537.

    Examples
    --------
    >>> curve = decision_curve_censored([5, 2, 3, 6], [0, 1, 1, 0], [0.1, 0.4, 0.3, 0.9], horizon=4, thresholds=[0.2])
    >>> curve.loc[curve["strategy"] == "model", "net_benefit"].round(4).tolist()
    [0.4375]
    """
    time, event = checks.survival(time, event)
    horizon, thresholds = checks.horizon(time, event, horizon), _thresholds(thresholds)
    ones = np.ones((1, time.size))
    curves = {
        name: _curve_censored(time, event, values, ones, horizon, thresholds, competing=competing)
        for name, values in _models(risk, time.size).items()
    }
    events = resample.incidence_at(time, event, _flags(competing, time), ones, horizon)[:, None]
    curves |= _reference_strategies(events, thresholds)
    return _frame(curves, thresholds)


@checks.aligned
def decision_curve_censored_bootstrap(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    weights: ArrayLike,
    *,
    horizon: float,
    thresholds: ArrayLike,
    quantities: Sequence[str] = QUANTITIES,
    competing: ArrayLike | None = None,
) -> dict[str, np.ndarray]:
    """Return the decision curve of one model for a censored outcome on every resample.

    Parameters
    ----------
    time, event, risk, horizon, thresholds, competing
        As in `decision_curve_censored`, one model.
    weights : array of shape (B, n)
        From `resample.bootstrap_weights`; the same for every model that is compared.
    quantities : sequence of str
        Which columns of `decision_curve` to compute.

    Returns
    -------
    dict of arrays of shape (B, T)
        One per quantity; NaN where a resample's patients at high risk are all lost before the
        horizon. `bands` counts them.
    """
    time, event = checks.survival(time, event)
    horizon = checks.horizon(time, event, horizon)
    risk, weights = checks.risk(risk, time.size), resample.check_weights(weights, time.size)
    return _curve_censored(time, event, risk, weights, horizon, _thresholds(thresholds), quantities, competing)


def bands(replicates: Mapping[str, np.ndarray], *, thresholds: ArrayLike, level: float = 0.95) -> pd.DataFrame:
    """Return pointwise bootstrap limits of a decision curve.

    Parameters
    ----------
    replicates : mapping of names to arrays of shape (B, T)
        From `decision_curve_censored_bootstrap`, or differences of two.
    thresholds : array of shape (T,)
        The thresholds that they were computed at.
    level : float
        Coverage at one threshold; not of the whole curve at once.

    Returns
    -------
    pandas.DataFrame
        One row per quantity and threshold: quantity, threshold, lower, upper, n_used, n_undefined
        (resamples without an estimate there). Percentile limits, quantile type 7.
    """
    thresholds = _thresholds(thresholds)
    if not replicates:
        raise ValueError("replicates must hold at least one quantity; found none")
    frames = []
    for quantity, values in replicates.items():
        limits = resample.interval(values, level=level)
        if np.shape(limits.lower) != thresholds.shape:
            raise ValueError(
                f"thresholds must be those of the replicates ({np.shape(limits.lower)}); found {thresholds.shape}"
            )
        frames.append(pd.DataFrame({"quantity": quantity, "threshold": thresholds, **limits._asdict()}))
    return pd.concat(frames, ignore_index=True)


def _thresholds(thresholds: ArrayLike) -> np.ndarray:
    return checks.risk(thresholds if np.ndim(thresholds) else [thresholds], None, "thresholds")


def _models(risk, n: int, like: str = "time") -> dict[str, np.ndarray]:
    if isinstance(risk, Mapping):
        taken = {"all", "none"} & set(risk)
        if taken:
            raise ValueError(f'risk must not name a model "all" or "none"; found {taken.pop()!r}')
        return {name: checks.risk(values, n, f"risk[{name!r}]", like=like) for name, values in risk.items()}
    return {"model": checks.risk(risk, n, like=like)}


def _flags(competing, time) -> np.ndarray | None:
    return None if competing is None else checks.flag(competing, "competing", time.size)


def _curve_censored(
    time, event, risk, weights, horizon, thresholds, wanted=QUANTITIES, competing=None
) -> dict[str, np.ndarray]:
    """Return the quantities of a censored outcome, each of shape (B, T)."""
    order, other = np.argsort(time, kind="stable"), _flags(competing, time)
    time, event, risk, weights = time[order], event[order], risk[order], weights[:, order]
    other = None if other is None else other[order]
    either = event if other is None else event | other
    total = weights.sum(axis=1)
    share, with_event = np.zeros((2, len(weights), thresholds.size))
    ascending = np.argsort(thresholds, kind="stable")
    high = np.arange(time.size)  # patients at high risk: fewer with every threshold
    previous = None
    for place in ascending:
        kept = high[risk[high] >= thresholds[place]]
        if previous is not None and kept.size == high.size:
            share[:, place], with_event[:, place] = share[:, previous], with_event[:, previous]
        elif kept.size:
            drawn = weights[:, kept]
            survival = resample.survival_at(time[kept], either[kept], drawn, horizon)
            rival = None if other is None else other[kept]
            incidence = (
                1 - survival if rival is None else resample.incidence_at(time[kept], event[kept], rival, drawn, horizon)
            )
            share[:, place] = drawn.sum(axis=1) / total
            unknown = ~drawn[:, time[kept] >= horizon].any(axis=1) & (survival > 0)
            with_event[:, place] = np.where(share[:, place] == 0, 0.0, np.where(unknown, np.nan, incidence))
        high, previous = kept, place
    events = resample.incidence_at(time, event, other, weights, horizon)[:, None]
    true_positive = share * with_event
    found = _quantities(wanted, thresholds, events, true_positive, share - true_positive)
    if set(wanted) & {"tpr", "fpr", "fnr", "tnr", "high_risk_with_event_per_1000"}:
        known = _known_states(time, event, other, risk, weights, horizon, thresholds)
        with_event, without = np.where(np.isnan(true_positive), np.nan, known)
        with np.errstate(divide="ignore", invalid="ignore"):  # a resample without a class
            tpr, fpr = np.minimum([with_event / events, without / (1 - events)], 1)  # above 1 by rounding only
        rates = {"tpr": tpr, "fpr": fpr, "fnr": 1 - tpr, "tnr": 1 - fpr}
        rates["high_risk_with_event_per_1000"] = 1000 * np.minimum(with_event, share)
        found |= {name: values for name, values in rates.items() if name in found}
    return found


def _known_states(time, event, competing, risk, weights, horizon, thresholds) -> np.ndarray:
    """Return the shares at high risk with the event by the horizon, and without it then, (2, B, T).

    Known states count 1/G, so that over all patients they add up to the risk, and to one minus it.
    """
    other = np.zeros(time.size, bool) if competing is None else competing
    either, early = event | other, event & (time <= horizon)
    other = other & (time <= horizon)
    free = (time >= horizon) & ~early & ~other
    share = weights / weights.sum(axis=1, keepdims=True)
    before = resample.censoring_before(time, either, weights)
    survival = resample.survival_at(time, either, weights, horizon)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample in which nobody reaches the horizon
        with_event = np.where(share * early > 0, share * early / before, 0.0)
        without = share * free * (survival / (share @ free)[:, None])  # alike: 1/G just before the horizon
        without += np.where(share * other > 0, share * other / before, 0.0)
    sums = np.zeros((2, len(weights), thresholds.size))
    step = max(1, CELLS // thresholds.size)
    for start in range(0, time.size, step):
        part = slice(start, start + step)
        high = (risk[part, None] >= thresholds).astype(float)
        sums += with_event[:, part] @ high, without[:, part] @ high
    return sums


def _quantities(wanted, thresholds, events, true_positive, false_positive) -> dict[str, np.ndarray]:
    """Return the wanted quantities from shares of all patients, shape (B, T)."""
    nonevents = 1 - events

    def net_benefit():
        harm = false_positive * (thresholds / (1 - thresholds))
        return true_positive - np.where(false_positive == 0, 0.0, harm)

    formulas = {
        "net_benefit": net_benefit,
        "standardized_net_benefit": lambda: net_benefit() / events,
        "tpr": lambda: true_positive / events,
        "fpr": lambda: false_positive / nonevents,
        "fnr": lambda: (events - true_positive) / events,
        "tnr": lambda: (nonevents - false_positive) / nonevents,
        "high_risk": lambda: true_positive + false_positive,
        "true_positive": lambda: true_positive,
        "true_negative": lambda: nonevents - false_positive,
        "high_risk_per_1000": lambda: 1000 * (true_positive + false_positive),
        "high_risk_with_event_per_1000": lambda: 1000 * true_positive,
    }
    unknown = [name for name in wanted if name not in formulas]
    if unknown:
        raise ValueError(f"quantities must be among {', '.join(formulas)}; found {unknown[0]!r}")
    with np.errstate(divide="ignore", invalid="ignore"):  # threshold 1, and a resample without a class
        return {name: formulas[name]() for name in wanted}


def _reference_strategies(events: np.ndarray, thresholds: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Return the quantities of treating everybody and nobody; `events` of shape (B, 1) is the share with an event."""
    everyone = np.ones_like(thresholds)
    return {
        "all": _quantities(QUANTITIES, thresholds, events, events * everyone, (1 - events) * everyone),
        "none": _quantities(QUANTITIES, thresholds, events, 0 * events * everyone, 0 * events * everyone),
    }


def _frame(curves: dict[str, dict[str, np.ndarray]], thresholds: np.ndarray) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"strategy": name, "threshold": thresholds} | {q: values[0] for q, values in curve.items()})
        for name, curve in curves.items()
    ]
    return pd.concat(frames, ignore_index=True)
