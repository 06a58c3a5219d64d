"""Times and risks without proportional hazards: restricted means, and events that compete with one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from dlrs.stats import checks, survival


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


def cumulative_incidence(time: ArrayLike, cause: ArrayLike, *, horizon: float) -> float:
    """Return the probability of the event by a horizon where another event may come first (Aalen and Johansen).

    Parameters
    ----------
    time : array of shape (n,)
        Follow-up time.
    cause : array of shape (n,)
        0 censored, 1 the event, 2 what competes with it, such as death before metastasis.
    horizon : float
        In the units of `time`.

    Returns
    -------
    float
        sum S(t-) D1/Y, S the Kaplan-Meier curve of either event. Without any 2 it is one minus Kaplan-Meier.

    Examples
    --------
    >>> cumulative_incidence([1, 2, 3, 4], [2, 1, 0, 1], horizon=3)
    0.25
    """
    cause = np.asarray(cause)
    time, either = checks.survival(time, cause > 0)
    table, of_interest = survival.risk_table(time, either), survival.risk_table(time, cause == 1)
    before = np.concatenate(([1.0], np.cumprod(1 - table.events / table.at_risk)[:-1]))
    return float((before * of_interest.events / table.at_risk)[table.time <= horizon].sum())
