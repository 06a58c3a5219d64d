"""Whether predicted risks are right: Brier score, calibration in the large, slope, and curves at a horizon."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from dlrs.stats import checks, cox, resample, survival
from dlrs.stats import competing as competing_risks


class Brier(NamedTuple):
    """A Brier score with its interval; `ipa` is the share of the null model's score that is gained."""

    brier: float
    se: float
    lower: float
    upper: float
    ipa: float
    null: float
    ipa_lower: float
    ipa_upper: float


class BrierDifference(NamedTuple):
    """First minus second Brier score; negative when the first model is better."""

    difference: float
    se: float
    lower: float
    upper: float
    z: float
    p: float


class Slope(NamedTuple):
    """A calibration slope, and tests of its being 1."""

    slope: float
    se: float
    lower: float
    upper: float
    wald_chi2: float
    wald_p: float
    likelihood_ratio_chi2: float
    likelihood_ratio_p: float


class ObservedExpected(NamedTuple):
    """Observed over expected, and the same as a calibration intercept (log scale) with its interval."""

    observed: float
    expected: float
    ratio: float
    intercept: float
    se: float
    lower: float
    upper: float


class SmoothCalibration(NamedTuple):
    """Smoothed observed risks and how far the predicted ones lie from them."""

    ici: float
    e50: float
    e90: float
    emax: float
    observed: np.ndarray
    knots: np.ndarray
    coefficients: np.ndarray


@checks.aligned
def null_risk(time: ArrayLike, event: ArrayLike, *, horizon: float, competing: ArrayLike | None = None) -> float:
    """Return the Kaplan-Meier risk of an event by a horizon: the prediction of a model without covariates.

    Parameters
    ----------
    time, event : array of shape (n,)
        Follow-up, and whether the event was observed.
    horizon : float
        In the units of `time`.
    competing : array of shape (n,), optional
        Whether follow-up ended with an event that excludes the one of interest; the risk is then Aalen-Johansen's.

    Examples
    --------
    >>> null_risk([1, 2, 3, 4], [1, 0, 1, 0], horizon=3)
    0.625
    """
    time, event = checks.survival(time, event)
    horizon = checks.horizon(time, event, horizon)
    if competing is not None:
        return competing_risks.cumulative_incidence(time, _cause(event, competing), horizon=horizon).risk
    return float(1 - survival.kaplan_meier(time, event, at=[horizon])["survival"].iloc[0])


def _cause(event: np.ndarray, competing: ArrayLike) -> np.ndarray:
    """Return 1 for the event, 2 for what competes with it, 0 for neither."""
    competing = checks.flag(competing, "competing", event.size)
    both = event & competing
    if both.any():
        raise ValueError(f"competing must be false where event is true; found both at row {int(both.argmax())}")
    return event + 2 * competing


@checks.aligned
def brier_score(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    *,
    horizon: float,
    competing: ArrayLike | None = None,
    level: float = 0.95,
) -> Brier:
    """Return the Brier score at a horizon under censoring, and the index of prediction accuracy.

    The expected squared distance between predicted risk and what happened (1 event by the horizon,
    0 none); 0 is perfect, and 0.25 is a risk of one half for everybody. It mixes calibration and discrimination.

    Parameters
    ----------
    time, event : array of shape (n,)
        Follow-up, and whether the event was observed.
    risk : array of shape (n,)
        Probability of an event by `horizon`, not a linear predictor.
    horizon : float
        In the units of `time`; an event at exactly the horizon counts.
    competing : array of shape (n,), optional
        As in `null_risk`: such a patient is known not to have the event of interest by the horizon.
    level : float
        Coverage of the interval.

    Returns
    -------
    Brier
        `se` and limits (cut to [0, 1]) from the influence function, NaN where a single patient has the event by the
        horizon or is known to be free of it; `ipa` = 1 - brier / null, where
        `null` is the score of `null_risk` in the same patients, with limits by the delta method.

    Raises
    ------
    ValueError
        On a risk outside [0, 1], unequal lengths, a horizon past follow-up or without an event before it.

    Notes
    -----
    Mean of ``(1 - risk)^2 / G(T-)`` over events by the horizon, ``risk^2 / G(T-)`` over competing events by then,
    ``risk^2 / G(horizon)`` over patients seen beyond it (`survival.free_at`), 0 over those lost before. G is
    Kaplan-Meier's estimate for censoring, events leaving first. The standard error includes the estimation of G, also
    when times tie. Equals
    ``riskRegression::Score(metrics = "brier", cens.model = "km", summary = "ipa")``; scikit-survival
    differs where events and censorings tie.
    Coverage in simulated studies: `validity_coverage` of 09d (reports/validity/tables). In the patients that
    the model was fitted on it is less, the score being too low there.

    References
    ----------
    Graf E et al. Stat Med 1999;18:2529-2545. Gerds TA, Schumacher M. Biom J 2006;48:1029-1040.
    Kattan MW, Gerds TA. Diagn Progn Res 2018;2:7.

    Examples
    --------
    >>> found = brier_score([1, 2, 3, 4], [1, 0, 1, 0], [0.8, 0.1, 0.6, 0.2], horizon=3)
    >>> round(found.brier, 4)
    0.085
    """
    time, event, risk, horizon = _arguments(time, event, risk, horizon)
    score, influence = _brier(time, event, risk, horizon, competing)
    alike = np.full(time.size, null_risk(time, event, horizon=horizon, competing=competing))
    null, influence_null = _brier(time, event, alike, horizon, competing)
    if null == 0:
        raise ValueError(f"horizon must leave somebody free of the event; found survival 0 at {horizon:g}")
    # The null risk makes the null score least, so that its own estimation adds nothing to the first order.
    of_ipa = (score / null * influence_null - influence) / null
    few = _too_few(time, event, horizon)
    se, se_ipa = (np.nan if few else float(x.std(ddof=1) / np.sqrt(time.size)) for x in (influence, of_ipa))
    z, ipa = checks.critical_value(level) * (1 if se > 0 else np.nan), 1 - score / null
    lower, upper = np.clip([score - z * se, score + z * se], 0, 1)
    return Brier(
        score, se, float(lower), float(upper), ipa, null, ipa - z * se_ipa, float(np.minimum(1, ipa + z * se_ipa))
    )


@checks.aligned
def compare_brier(
    time: ArrayLike,
    event: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    horizon: float,
    competing: ArrayLike | None = None,
    level: float = 0.95,
) -> BrierDifference:
    """Compare the Brier scores of two models in the same patients.

    Parameters
    ----------
    time, event, horizon, competing, level
        As in `brier_score`.
    first, second : array of shape (n,)
        Probability of an event by `horizon` by either model; for the null model ``np.full(n, null_risk(...))``.

    Returns
    -------
    BrierDifference
        First minus second, with the standard error of the difference of influence functions; z test.

    Notes
    -----
    Equals the Brier contrasts of ``riskRegression::Score``.
    """
    time, event, first, horizon = _arguments(time, event, first, horizon, "first")
    second = checks.risk(second, time.size, "second")
    (a, influence_a), (b, influence_b) = (_brier(time, event, x, horizon, competing) for x in (first, second))
    difference, spread = a - b, influence_a - influence_b
    few = _too_few(time, event, horizon) and difference
    se = np.nan if few else float(spread.std(ddof=1) / np.sqrt(time.size)) if difference else 0.0
    se = np.nan if se == 0 and difference else se
    half, z = checks.critical_value(level) * se, difference / se if se else 0.0
    return BrierDifference(
        difference, se, difference - half, difference + half, float(z), float(2 * stats.norm.sf(abs(z)))
    )


def _arguments(time, event, risk, horizon, name="risk"):
    time, event = checks.survival(time, event)
    return time, event, checks.risk(risk, time.size, name), checks.horizon(time, event, horizon)


def _too_few(time: np.ndarray, event: np.ndarray, horizon: float) -> bool:
    """Say whether a single patient has the event by the horizon, or is followed beyond it or to it without one."""
    early = event & (time <= horizon)
    return min(int(early.sum()), int(((time >= horizon) & ~early).sum())) < 2


def _brier(time, event, risk, horizon, competing=None) -> tuple[float, np.ndarray]:
    """Return the score, and every patient's influence on it."""
    either = event if competing is None else _cause(event, competing) > 0
    known, (later, before) = either & (time <= horizon), survival.free_at(time, either, horizon)
    loss = np.zeros(time.size)
    loss[known] = (event - risk)[known] ** 2 / survival.censoring_survival(time, either, time[known], before=True)
    if later.any():
        loss[later] = risk[later] ** 2 / survival.censoring_survival(time, either, horizon, before=before)
    through_known = survival.censoring_influence(time, either, np.where(known, loss, 0.0))
    through_later = survival.censoring_influence_at(time, either, horizon, before=before) * (later @ loss) / time.size
    return float(loss.mean()), loss - loss.mean() + through_known + through_later


@checks.aligned
def calibration_slope(
    time: ArrayLike,
    event: ArrayLike,
    linear_predictor: ArrayLike,
    *,
    level: float = 0.95,
    tolerance: float = 1e-12,
) -> Slope:
    """Return the slope of a Cox model's linear predictor in new patients.

    Below 1 the predictions are too extreme (overfitting), above 1 too timid; 1 in the patients the
    model was fitted on, by construction.

    Parameters
    ----------
    time, event : array of shape (n,)
        Follow-up, and whether the event was observed.
    linear_predictor : array of shape (n,)
        Sum of coefficients times covariates, not a risk.
    level : float
        Coverage of the Wald interval.
    tolerance : float
        Where the fit stops (`cox.cox_fit`); R's ``coxph`` stops at 1e-9.

    Returns
    -------
    Slope
        `wald_*` and `likelihood_ratio_*` test slope = 1.

    Notes
    -----
    Cox regression on the linear predictor alone (Efron's ties), the likelihood-ratio test with it as an
    offset as well. Equals ``coxph(S ~ lp)`` and ``coxph(S ~ lp + offset(lp))``.

    References
    ----------
    van Houwelingen HC. Stat Med 2000;19:3401-3415. Crowson CS et al. Stat Methods Med Res 2016;25:1692-1706.

    Examples
    --------
    >>> round(calibration_slope([1, 2, 3, 4], [1, 1, 1, 0], [1.0, 0.0, 2.0, 0.0]).slope, 4)
    0.221
    """
    time, event = checks.survival(time, event)
    lp = checks.prediction(linear_predictor, time.size, "linear_predictor")
    covariate = pd.Series(lp, name="linear_predictor")
    fit = cox.cox_fit(time, event, covariate, tolerance=tolerance)
    slope, se = float(fit.coefficients[0]), float(np.sqrt(fit.covariance[0, 0]))
    offset = cox.cox_fit(time, event, covariate, offset=lp, tolerance=tolerance).likelihood_ratio
    wald = ((slope - 1) / se) ** 2
    half = checks.critical_value(level) * se
    return Slope(slope, se, slope - half, slope + half, wald, float(stats.chi2.sf(wald, 1)), offset.chi2, offset.p)


@checks.aligned
def observed_expected_at(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    *,
    horizon: float,
    competing: ArrayLike | None = None,
    level: float = 0.95,
) -> ObservedExpected:
    """Return the observed risk at a horizon over the mean predicted risk.

    Parameters
    ----------
    time, event, risk, horizon, competing, level
        As in `brier_score`.

    Returns
    -------
    ObservedExpected
        `observed` = 1 - KM(horizon), or with competing events Aalen and Johansen's cumulative incidence;
        `expected` = mean risk; `intercept` is the log of their ratio, its `se` the standard error of the observed
        risk (Greenwood's, or the infinitesimal jackknife's) over that risk, the predictions taken as fixed.

    Raises
    ------
    ValueError
        As `brier_score`, and when Kaplan-Meier's estimate is 0, where Greenwood's error does not exist.

    Notes
    -----
    Coverage in simulated studies: `validity_coverage` of 09d (reports/validity/tables).

    References
    ----------
    McLernon DJ et al. Ann Intern Med 2023;176:105-114. With competing events: van Geloven N et al. BMJ
    2022;377:e069249; Debray TPA et al. BMJ 2017;356:i6460.

    Examples
    --------
    >>> observed_expected_at([1, 2, 3, 4], [1, 0, 1, 0], [0.25] * 4, horizon=3).ratio
    2.5
    """
    time, event, risk, horizon = _arguments(time, event, risk, horizon)
    if competing is not None:
        observed, se = competing_risks.cumulative_incidence(time, _cause(event, competing), horizon=horizon)[:2]
    else:
        at = survival.kaplan_meier(time, event, at=[horizon]).iloc[0]
        observed, se = 1 - float(at["survival"]), float(at["std_err"])
    if observed == 1:
        raise ValueError(f"horizon must leave somebody without the event; found survival 0 at {horizon:g}")
    expected = float(risk.mean())
    if expected == 0:
        raise ValueError("risk must be positive in some row; found 0 in every one")
    intercept, se = float(np.log(observed / expected)), se / observed
    half = checks.critical_value(level) * se
    return ObservedExpected(observed, expected, observed / expected, intercept, se, intercept - half, intercept + half)


def spline_knots(x: ArrayLike) -> np.ndarray:
    """Return three knots of a restricted cubic spline where R's Hmisc puts them.

    Parameters
    ----------
    x : array of shape (n,)
        Values to be spread over.

    Returns
    -------
    numpy.ndarray
        The 10 %, 50 % and 90 % quantiles (type 7); with fewer than 100 values the 5th smallest and 5th
        largest stand for the outer two. Where ties make quantiles coincide, six quantiles from 10 % to
        90 % are taken, and more than three knots may come of it.

    Raises
    ------
    ValueError
        With fewer than six values, or when fewer than three knots differ.

    References
    ----------
    Harrell FE. Regression Modeling Strategies. Springer, 2nd ed 2015, section 2.4.6.
    """
    x = np.sort(checks.prediction(x, None, "x"))
    if x.size < 6:
        raise ValueError(f"x must have at least six rows; found {x.size}")
    knots = np.quantile(x, [0.1, 0.5, 0.9])
    if np.unique(knots).size < 3:
        knots = np.quantile(x, np.linspace(0.1, 0.9, 6))
    if np.unique(knots).size >= 3 and x.size < 100:
        knots[0], knots[2] = x[4], x[-5]
    knots = np.unique(knots)
    if knots.size < 3:
        raise ValueError(f"x must spread over at least three knots; found only {knots.tolist()}")
    return knots


def spline_basis(x: ArrayLike, knots: ArrayLike) -> np.ndarray:
    """Return the restricted cubic spline basis: x itself, and a cubic term per knot but the last two.

    Parameters
    ----------
    x : array of shape (n,)
        Where to evaluate it.
    knots : array of shape (k,)
        Ascending, at least three; beyond the outer ones the curve is a straight line.

    Returns
    -------
    numpy.ndarray of shape (n, k - 1)
        Divided by the squared distance of the outer knots: ``rcspline.eval(x, knots, inclx = TRUE)``.

    References
    ----------
    Stone CJ, Koo CY. Proc Stat Comp Sect ASA 1985:45-48.
    """
    x, knots = checks.prediction(x, None, "x")[:, None], checks.prediction(knots, None, "knots")
    if knots.size < 3 or (np.diff(knots) <= 0).any():
        raise ValueError(f"knots must be three or more and ascending; found {knots.tolist()}")

    def cube(knot):
        return np.maximum(x - knot, 0) ** 3

    inner, before_last, last = knots[:-2], knots[-2], knots[-1]
    bend = cube(inner) + ((before_last - inner) * cube(last) - (last - inner) * cube(before_last)) / (
        last - before_last
    )
    return np.hstack([x, bend / (last - knots[0]) ** 2])


@checks.aligned
def smooth_calibration(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    *,
    horizon: float,
    competing: ArrayLike | None = None,
    tolerance: float = 1e-12,
) -> SmoothCalibration:
    """Return smoothed observed risks at a horizon and the integrated calibration index.

    ICI is the mean distance between predicted and smoothed observed risk, in units of risk; E50 and E90
    are the median and the 90 % quantile of the distance.

    Parameters
    ----------
    time, event, horizon, competing
        As in `brier_score`.
    risk : array of shape (n,)
        Probability of an event by `horizon`, strictly inside (0, 1).
    tolerance : float
        Where the fit stops (`cox.cox_fit`); R's ``coxph`` stops at 1e-9, rms's ``cph`` at 1e-4.

    Returns
    -------
    SmoothCalibration
        `observed` has one smoothed risk per patient; `knots` are on the scale log(-log(1 - risk)).

    Raises
    ------
    ValueError
        As `brier_score`, and when a risk is exactly 0 or 1, the risks take too few values for a spline, or the spline
        separates patients with an event from those without.

    Notes
    -----
    Cox regression (Efron's ties and baseline) on a restricted cubic spline of log(-log(1 - risk)) with
    three knots (`spline_knots`); quantiles type 7. Equals rms's ``cph(S ~ rcs(cll, 3))`` with the same tolerance.
    With competing events pseudo-values are regressed on the same spline (`competing.pseudo_regression`).

    References
    ----------
    Austin PC, Harrell FE, van Klaveren D. Stat Med 2020;39:2714-2742. van Geloven N et al. BMJ 2022;377:e069249.
    """
    time, event, risk, horizon = _arguments(time, event, risk, horizon)
    knots, coefficients, risk_of = _smooth_fit(time, event, risk, horizon, competing, tolerance)
    observed = risk_of(spline_basis(_cloglog(risk), knots) @ coefficients)
    distance = np.abs(observed - risk)
    e50, e90 = np.quantile(distance, [0.5, 0.9])
    return SmoothCalibration(
        float(distance.mean()), float(e50), float(e90), float(distance.max()), observed, knots, coefficients
    )


@checks.aligned
def calibration_curve(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    *,
    horizon: float,
    at: ArrayLike,
    competing: ArrayLike | None = None,
) -> pd.DataFrame:
    """Return the smooth calibration curve at a horizon, for drawing.

    Parameters
    ----------
    time, event, risk, horizon, competing
        As in `smooth_calibration`.
    at : array
        Predicted risks inside (0, 1) at which to read the curve; outside the observed range it extrapolates.

    Returns
    -------
    pandas.DataFrame
        predicted (`at`), observed; on the diagonal the model is calibrated, below it overpredicts.
    """
    time, event, risk, horizon = _arguments(time, event, risk, horizon)
    at = checks.risk(at, None, "at")
    knots, coefficients, risk_of = _smooth_fit(time, event, risk, horizon, competing)
    observed = risk_of(spline_basis(_cloglog(at, "at"), knots) @ coefficients)
    return pd.DataFrame({"predicted": at, "observed": observed})


@checks.aligned
def calibration_band(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, weights: ArrayLike, *, horizon: float, level: float = 0.95
) -> pd.DataFrame:
    """Return the smooth calibration curve over the bulk of the risks with a pointwise bootstrap band.

    Parameters
    ----------
    time, event, risk, horizon
        As in `smooth_calibration`.
    weights : array of shape (B, n)
        How often each patient was drawn (`resample.bootstrap_weights`); the spline is fitted again on each resample.
    level : float
        Coverage at one risk, not of the whole curve.

    Returns
    -------
    pandas.DataFrame
        predicted, from the 2nd to the 98th percentile of the risks, observed, lower, upper; without rows where the
        risks take too few values for a spline.
    """
    time, event, risk, horizon = _arguments(time, event, risk, horizon)
    grid = np.linspace(*np.quantile(risk, [0.02, 0.98]), 60)
    curve, _ = checks.estimate_or_reason(calibration_curve, time, event, risk, horizon=horizon, at=grid)
    if curve is None:
        return pd.DataFrame(columns=["predicted", "observed", "lower", "upper"], dtype=float)
    draws, _ = smooth_draws(time, event, risk, weights, horizon=horizon, at=grid)
    limits = resample.interval(draws, level=level)
    return curve.assign(lower=limits.lower, upper=limits.upper)


@checks.aligned
def smooth_draws(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    weights: ArrayLike,
    *,
    horizon: float,
    at: ArrayLike,
    competing: ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit the smooth calibration curve again on every resample.

    Parameters
    ----------
    time, event, risk, horizon, at, competing
        As in `calibration_curve`.
    weights : array of shape (B, n)
        How often each patient was drawn, whole numbers (`resample.bootstrap_weights`).

    Returns
    -------
    curves : array of shape (B, len(at))
        Observed risk; NaN where a resample has no curve.
    ici : array of shape (B,)
        Integrated calibration index of each resample in its own patients.
    """
    time, event, risk, horizon = _arguments(time, event, risk, horizon)
    at, counts = checks.risk(at, None, "at"), resample.check_weights(weights, time.size).astype(int)
    flags = None if competing is None else checks.flag(competing, "competing", time.size)
    points = _cloglog(np.append(at, risk))

    def curve(rows):
        checks.horizon(time[rows], event[rows], horizon)
        rival = None if flags is None else flags[rows]
        knots, coefficients, risk_of = _smooth_fit(time[rows], event[rows], risk[rows], horizon, rival)
        return risk_of(spline_basis(points, knots) @ coefficients)

    draws = np.full((len(counts), points.size), np.nan)
    for draw, count in zip(draws, counts, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):  # a separated resample runs off before it is refused
            again, _ = checks.estimate_or_reason(curve, np.repeat(np.arange(time.size), count))
        draw[:] = np.nan if again is None else again
    distance = np.abs(draws[:, at.size :] - risk)
    return draws[:, : at.size], (distance * counts).sum(axis=1) / counts.sum(axis=1)


@checks.aligned
def summary(time: ArrayLike, event: ArrayLike, risk: ArrayLike, *, horizon: float) -> dict:
    """Return observed over expected risk with its interval and the ICI at a horizon; NaN with a reason where not.

    Keys: ``observed``, ``expected``, ``ratio``, ``lower``, ``upper`` (`observed_expected_at`), ``ici``
    (`smooth_calibration`), ``reason``.
    """
    checks.inside(horizon, "horizon", 0, np.inf)
    ratio, no_ratio = checks.estimate_or_reason(observed_expected_at, time, event, risk, horizon=horizon)
    smooth, no_curve = checks.estimate_or_reason(smooth_calibration, time, event, risk, horizon=horizon)
    row = dict.fromkeys(["observed", "expected", "ratio", "lower", "upper"], np.nan)
    if ratio:
        row = dict(observed=ratio.observed, expected=ratio.expected, ratio=ratio.ratio)
        row |= dict(lower=float(np.exp(ratio.lower)), upper=float(np.exp(ratio.upper)))
    return row | dict(ici=smooth.ici if smooth else np.nan, reason=no_ratio or no_curve)


def _cloglog(risk: np.ndarray, name: str = "risk") -> np.ndarray:
    checks.refuse((risk <= 0) | (risk >= 1), f"{name} must lie strictly inside (0, 1) to be smoothed", risk)
    return np.log(-np.log1p(-risk))


LARGEST_LOG_RATIO = 500.0  # beyond it exp() overflows, and no such hazard ratio is estimated from patients


def _smooth_fit(time, event, risk, horizon, competing=None, tolerance=1e-12):
    """Return knots, coefficients of the basis, and what turns their sum into a risk at the horizon."""
    x = _cloglog(risk)
    knots = spline_knots(x)
    basis = spline_basis(x, knots)
    if competing is not None:
        constant, *b = competing_risks.pseudo_regression(time, _cause(event, competing), basis, horizon=horizon)[0]
        return knots, np.array(b), lambda lp: -np.expm1(-np.exp(constant + lp))
    fit = cox.cox_fit(time, event, basis, tolerance=tolerance)
    lp = basis @ fit.coefficients
    if np.ptp(lp) > LARGEST_LOG_RATIO:
        raise ValueError(
            f"risk must not separate the events to be smoothed; found hazards apart by a factor of e^{np.ptp(lp):.0f}"
        )
    centre = lp.mean() if np.abs(lp).max() > LARGEST_LOG_RATIO else 0.0  # a steep spline lies far from 0
    baseline = cox.baseline_hazard(time, event, lp - centre)
    return knots, fit.coefficients, lambda lp: cox.risk_at(lp - centre, baseline, horizon)


@checks.aligned
def grouped_calibration(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    *,
    horizon: float,
    n_groups: int = 4,
    level: float = 0.95,
) -> pd.DataFrame:
    """Return mean predicted and Kaplan-Meier risk at a horizon in groups of predicted risk.

    Parameters
    ----------
    time, event, risk, horizon, level
        As in `brier_score`.
    n_groups : int
        Groups between quantiles (type 7) of the risk; fewer come out where tied risks make quantiles equal.

    Returns
    -------
    pandas.DataFrame
        risk_from, risk_to (group (from, to], the first including its lower end), n, mean_predicted, observed,
        se (Greenwood's), lower, upper (log-log). Where a group's curve has come down to 0, se and limits do
        not exist and are NaN, limits also in a group without an event; where follow-up ends early the curve is
        carried on.

    Raises
    ------
    ValueError
        As `brier_score`, and when all risks are equal.

    Examples
    --------
    >>> groups = grouped_calibration([1, 2, 3, 4], [1, 0, 1, 0], [0.8, 0.6, 0.3, 0.2], horizon=3, n_groups=2)
    >>> groups["observed"].tolist()
    [0.5, 0.5]
    """
    time, event, risk, horizon = _arguments(time, event, risk, horizon)
    edges = np.unique(np.quantile(risk, np.linspace(0, 1, checks.whole_number(n_groups, "n_groups") + 1)))
    if edges.size < 2:
        raise ValueError(f"risk must vary to be grouped; found {risk[0]:g} in every row")
    group = np.maximum(np.searchsorted(edges, risk, side="left"), 1) - 1
    rows = []
    for place in np.unique(group):
        members = group == place
        at = survival.kaplan_meier(time[members], event[members], at=[horizon], level=level, extend=True).iloc[0]
        observed = (1 - at["survival"], at["std_err"], 1 - at["upper"], 1 - at["lower"])
        if at["survival"] == 1:  # without an event Greenwood's error is 0, and an interval would be none
            observed = (0.0, 0.0, np.nan, np.nan)
        rows.append((edges[place], edges[place + 1], int(members.sum()), risk[members].mean(), *observed))
    columns = ["risk_from", "risk_to", "n", "mean_predicted", "observed", "se", "lower", "upper"]
    return pd.DataFrame(rows, columns=columns)
