"""Times and risks without proportional hazards: restricted means, and events that compete with one another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from dlrs.stats import checks, survival


@checks.aligned
def restricted_mean(time: ArrayLike, event: ArrayLike, *, horizon: float) -> tuple[float, float]:
    """Return the mean time free of the event up to a horizon, and its standard error.

    The area under the Kaplan-Meier curve; its difference between two groups is in months and needs no proportional
    hazards. Var = sum over event times of (area from there to the horizon)^2 D / (Y (Y - D)), as in R's survRM2.

    Examples
    --------
    >>> restricted_mean([1, 2, 4], [1, 1, 0], horizon=3)[0]
    2.0
    """
    time, event = checks.survival(time, event)
    horizon = checks.horizon(time, event, horizon)
    table = survival.risk_table(time, event)
    early = (table.time <= horizon) & (table.events > 0)
    at, y, d = table.time[early], table.at_risk[early], table.events[early]
    curve = np.cumprod(1 - d / y)
    pieces = np.concatenate(([1.0], curve)) * np.diff(np.concatenate(([0.0], at, [horizon])))
    rest = np.cumsum(pieces[::-1])[::-1][1:]  # area from each event time on
    spread = np.divide(d, y * (y - d), out=np.zeros(d.size), where=y > d)
    return float(pieces.sum()), float(np.sqrt((rest**2 * spread).sum()))


class Incidence(NamedTuple):
    """A cumulative incidence at a horizon, with its standard error and interval."""

    risk: float
    se: float
    lower: float
    upper: float


@checks.aligned
def cumulative_incidence(time: ArrayLike, cause: ArrayLike, *, horizon: float, level: float = 0.95) -> Incidence:
    """Return the probability of the event by a horizon where another event may come first (Aalen and Johansen).

    Parameters
    ----------
    time : array of shape (n,)
        Follow-up time.
    cause : array of shape (n,)
        0 censored, 1 the event, 2 what competes with it, such as death before metastasis.
    horizon : float
        In the units of `time`, within follow-up unless everybody had one of the events before.
    level : float
        Coverage of the interval.

    Returns
    -------
    Incidence
        `risk` = sum S(t-) D1/Y, S the Kaplan-Meier curve of either event; without any 2 it is one minus Kaplan-Meier.
        `se` is the infinitesimal jackknife's, as in ``survfit(Surv(time, factor(cause)) ~ 1)``; limits on the scale
        log(-log(1 - risk)), NaN where the risk is 0 or 1.

    References
    ----------
    Aalen OO, Johansen S. Scand J Stat 1978;5:141-150.

    Examples
    --------
    >>> cumulative_incidence([1, 2, 3, 4], [2, 1, 0, 1], horizon=3).risk
    0.25
    """
    risk, influence = incidence_influence(time, cause, horizon=horizon)
    se = float(np.sqrt((influence**2).sum()) / influence.size)
    if not 0 < risk < 1 or se == 0:
        return Incidence(risk, se, np.nan, np.nan)
    spread = np.exp(np.array([-1, 1]) * checks.critical_value(level) * se / ((1 - risk) * -np.log1p(-risk)))
    lower, upper = 1 - (1 - risk) ** spread
    return Incidence(risk, se, float(lower), float(upper))


@checks.aligned
def incidence_influence(time: ArrayLike, cause: ArrayLike, *, horizon: float) -> tuple[float, np.ndarray]:
    """Return the Aalen-Johansen risk at a horizon, and every patient's influence on it.

    The influence is n times the derivative with respect to the patient's weight; risk + influence are pseudo-values
    as R's ``survival::pseudo`` makes them, whose mean is the risk and which regression may take for outcomes
    (Andersen PK, Perme MP. Stat Methods Med Res 2010;19:71-99). n log n in time, linear in memory.
    """
    checks.same_index(time=time, cause=cause)
    cause = checks.codes(cause, "cause", (0, 1, 2))
    checks.prediction(time, cause.size, "time", like="cause")
    time, either = checks.survival(time, cause > 0)
    horizon = float(checks.times(checks.inside(horizon, "horizon", 0, np.inf), "horizon", time)[0])
    table, of_interest = survival.risk_table(time, either), survival.risk_table(time, cause == 1)
    y, d, early = table.at_risk, table.events, table.time <= horizon
    if time.max() < horizon and y[-1] > d[-1]:
        raise ValueError(f"horizon must lie within follow-up; found {horizon:g}, the longest is {table.time[-1]:g}")
    before = np.concatenate(([1.0], np.cumprod(1 - d / y)[:-1])) * early
    steps = before * of_interest.events / y
    risk = steps.sum()
    later = np.divide((risk - steps.cumsum()) * early, y - d, out=np.zeros(y.size), where=y > d)  # lost by leaving here
    place = np.searchsorted(table.time, time)
    jump = np.where(cause == 1, (before / y)[place], 0.0) - np.where(either, later[place], 0.0)
    return float(risk), time.size * (jump - np.cumsum((steps - later * d) / y)[place])


@checks.aligned
def pseudo_regression(
    time: ArrayLike, cause: ArrayLike, covariates: ArrayLike, *, horizon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Regress the risk at a horizon on covariates where another event may come first.

    Parameters
    ----------
    time, cause, horizon
        As in `cumulative_incidence`.
    covariates : array of shape (n, k)
        Without a constant, which is added in front.

    Returns
    -------
    coefficients, covariance
        Of log(-log(1 - risk)) = b0 + b x; the covariance is the sandwich, n / (n - 1) times.

    Notes
    -----
    Least squares of pseudo-values on 1 - exp(-exp(b0 + b x)), by Gauss and Newton:
    ``glm(pseudo ~ x, quasi(link = "cloglog"))`` with sandwich's ``vcovCL(cluster = id)``.

    References
    ----------
    van Geloven N et al. BMJ 2022;377:e069249. Klein JP, Andersen PK. Biometrics 2005;61:223-229.
    """
    risk, influence = incidence_influence(time, cause, horizon=horizon)
    if not 0 < risk < 1:
        raise ValueError(f"horizon must have an event at or before it; found a risk of {risk:g} at {horizon:g}")
    x = np.column_stack([np.ones(influence.size), checks.columns(covariates, influence.size)[0]])

    def residual(b):
        return -np.expm1(-np.exp(np.minimum(x @ b, 30))) - (risk + influence)

    def slopes(b):
        eta = np.minimum(x @ b, 30)
        return x * np.exp(eta - np.exp(eta))[:, None]

    start = np.zeros(x.shape[1])
    start[0] = np.log(-np.log1p(-risk))
    found = optimize.least_squares(residual, start, slopes, x_scale="jac", method="lm", xtol=1e-12, ftol=1e-14)
    by, r = slopes(found.x), residual(found.x)
    squares = by.T @ by
    if not found.success or min(np.linalg.matrix_rank(matrix) for matrix in (by, squares)) < by.shape[1]:
        raise ValueError("covariates must tell patients apart; found no regression of the risk on them")
    bread = np.linalg.inv(squares)
    meat = (by * r[:, None]).T @ (by * r[:, None]) * r.size / (r.size - 1)
    return found.x, bread @ meat @ bread
