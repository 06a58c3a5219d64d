"""A Cox model as a nomogram: points per variable, their sum, and what risk the sum stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dlrs.stats import checks

MAX_POINTS = 100.0  # of the longest axis


class Nomogram(NamedTuple):
    """What is needed to draw a nomogram and to read it.

    `axes` has one row per tick: variable, value, linear_predictor (what the value adds), points.
    A total of t points is the linear predictor ``lp_at_zero_points + t / points_per_lp``, and its
    survival ``exp(-cumulative_hazard exp(linear predictor - center))``.
    """

    axes: pd.DataFrame
    points_per_lp: float
    lp_at_zero_points: float
    cumulative_hazard: float
    center: float = 0.0


def pretty(low: float, high: float, *, n: int = 10) -> np.ndarray:
    """Return about `n` intervals of round numbers that cover a range, as R's ``pretty`` does.

    Parameters
    ----------
    low, high : float
        The range, low <= high.
    n : int
        Intervals wanted; the step is 1, 2 or 5 times a power of ten.

    Examples
    --------
    >>> pretty(0.3, 9.2, n=5)
    array([ 0.,  2.,  4.,  6.,  8., 10.])
    """
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(f"low and high must be finite and ascending; found {low!r} and {high!r}")
    width, largest = high - low, max(abs(low), abs(high))
    # constants of R's rule: bias towards larger steps, and towards 5
    bias, bias5 = 1.5, 0.5 + 1.5 * 1.5
    flat = largest == 0 or width < largest * (1 + 1 / (1 + bias)) * n * np.finfo(float).eps * 3
    if flat:
        cell = 1.0 if largest == 0 else largest
        cell = 0.75 * (9 + cell / 10 if cell > 10 else cell) / max(n // 3, 1)
    else:
        cell = width / n
    base = 10.0 ** np.floor(np.log10(max(cell, 20 * np.finfo(float).tiny)))
    unit = base
    for factor, push in ((2, bias), (5, bias5), (10, bias)):
        if factor * base - cell < push * (cell - unit):
            unit = factor * base
        else:
            break
    first, last = np.floor(low / unit + 1e-10), np.ceil(high / unit - 1e-10)
    missing = int(0.5 + n // 3 - (last - first))
    if missing > 0:
        if first >= 0:
            last, first = last + missing // 2, first - missing // 2 - missing % 2
        else:
            first, last = first - missing // 2, last + missing // 2 + missing % 2
    return np.arange(first, last + 1) * unit


def axis_values(x: ArrayLike, *, n: int = 10) -> np.ndarray:
    """Return the ticks of a numeric variable's axis: its values if few, else round numbers.

    Parameters
    ----------
    x : array of shape (m,)
        The variable in the patients of the fit.
    n : int
        Up to this many distinct values are ticks themselves; more are covered by `pretty`.

    Returns
    -------
    numpy.ndarray
        Ascending; the ticks that rms's ``nomogram`` takes from its ``datadist``.

    Examples
    --------
    >>> axis_values([1, 3, 2, 3])
    array([1., 2., 3.])
    """
    distinct = np.unique(checks.prediction(x, None, "x"))
    return distinct if distinct.size <= n else pretty(distinct[0], distinct[-1], n=n)


def linear_effect(values: ArrayLike, coefficient: float) -> pd.Series:
    """Return what each value of a numeric variable adds to the linear predictor.

    Parameters
    ----------
    values : array
        Ticks of the axis, from `axis_values`.
    coefficient : float
        Log hazard ratio per unit.

    Examples
    --------
    >>> linear_effect([0, 1, 2], 0.5).tolist()
    [0.0, 0.5, 1.0]
    """
    values = checks.prediction(values, None, "values")
    return pd.Series(values * float(coefficient), index=values)


def nomogram(
    effects: Mapping[str, Mapping | pd.Series],
    *,
    cumulative_hazard: float,
    center: float = 0.0,
) -> Nomogram:
    """Turn a Cox model into points.

    The variable that can change the linear predictor most spans 100 points; every other one is
    drawn to the same scale, so that a point means the same everywhere.

    Parameters
    ----------
    effects : mapping of variable names to {value: contribution}
        Per variable what each value on its axis adds to the linear predictor: `linear_effect` for a
        number, ``{"ypN0": 0, "ypN1": 0.68}`` for a factor (reference level included).
    cumulative_hazard : float
        Cumulative hazard at the horizon of a patient whose contributions add up to `center`
        (`cox.baseline_hazard`).
    center : float
        Linear predictor inside the data, such as the patients' mean. Where all contributions are 0 may lie so
        far outside that no hazard there is a number.

    Returns
    -------
    Nomogram

    Raises
    ------
    ValueError
        Without a variable that changes anything, on a contribution that is no number, or a cumulative
        hazard that is not positive.

    Notes
    -----
    ``points = (contribution - smallest of the variable) * 100 / largest range``. Equals rms's
    ``nomogram(fit)``, whose linear predictor is centred at the patients' mean; points and risks are the same.

    References
    ----------
    Harrell FE. Regression Modeling Strategies. Springer, 2nd ed 2015, section 5.3.
    Iasonos A et al. J Clin Oncol 2008;26:1364-1370.

    Examples
    --------
    >>> model = nomogram({"cea": {"Normal": 0, "Elevated": 1.0}, "dl_prob": linear_effect([0, 1, 2], 2.0)},
    ...                  cumulative_hazard=0.01)
    >>> model.axes["points"].tolist()
    [0.0, 25.0, 0.0, 50.0, 100.0]
    """
    if not effects:
        raise ValueError("effects must name at least one variable; found none")
    if not np.isfinite(cumulative_hazard) or cumulative_hazard <= 0:
        raise ValueError(f"cumulative_hazard must be a positive number; found {cumulative_hazard!r}")
    frames, lowest, widest = [], 0.0, 0.0
    for variable, effect in effects.items():
        effect = pd.Series(effect)
        added = checks.prediction(effect.to_numpy(), None, f"effects[{variable!r}]")
        frame = pd.DataFrame({"value": effect.index.to_numpy(dtype=object), "linear_predictor": added})
        frame.insert(0, "variable", variable)
        frames.append(frame.assign(points=added - added.min()))
        lowest, widest = lowest + added.min(), max(widest, np.ptp(added))
    if widest == 0:
        raise ValueError("effects must change the linear predictor along an axis; found none that does")
    scale = MAX_POINTS / widest
    axes = pd.concat(frames, ignore_index=True)
    axes["points"] *= scale
    return Nomogram(axes, float(scale), float(lowest), float(cumulative_hazard), float(center))


def points(nomogram: Nomogram, patients: pd.DataFrame) -> pd.DataFrame:
    """Return the points of each patient, per variable and in total.

    Parameters
    ----------
    nomogram : Nomogram
        From `nomogram`.
    patients : DataFrame
        One column per variable. Numbers are read between ticks; labels must be ticks.

    Returns
    -------
    pandas.DataFrame
        The variables' points and "total", indexed as `patients`.

    Raises
    ------
    ValueError
        When a variable is missing, a label unknown, or a number lies outside its axis.

    Examples
    --------
    >>> model = nomogram({"cea": {"Normal": 0, "Elevated": 1.0}, "dl_prob": linear_effect([0, 1, 2], 2.0)},
    ...                  cumulative_hazard=0.01)
    >>> points(model, pd.DataFrame({"cea": ["Elevated"], "dl_prob": [1.5]})).to_numpy().tolist()
    [[25.0, 75.0, 100.0]]
    """
    read = {}
    for variable, axis in nomogram.axes.groupby("variable", sort=False):
        if variable not in patients:
            raise ValueError(f"patients must have the column {variable!r}; found {', '.join(map(str, patients))}")
        read[variable] = _read(axis, patients[variable], str(variable))
    frame = pd.DataFrame(read, index=patients.index)
    return frame.assign(total=frame.sum(axis=1))


def _read(axis: pd.DataFrame, values: pd.Series, variable: str) -> np.ndarray:
    ticks = axis["value"].tolist()
    if any(isinstance(tick, str) for tick in ticks):
        known = dict(zip(ticks, axis["points"], strict=True))
        for row, value in enumerate(values):
            if value not in known:
                raise ValueError(
                    f"{variable} must be one of {', '.join(map(str, ticks))}; found {value!r} at row {row}"
                )
        return np.array([known[value] for value in values])
    x = checks.prediction(values, None, variable)
    axis = axis.sort_values("value")
    at = axis["value"].to_numpy(float)
    outside = (x < at[0]) | (x > at[-1])
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(f"{variable} must lie on its axis, {at[0]:g} to {at[-1]:g}; found {x[row]:g} at row {row}")
    return np.interp(x, at, axis["points"].to_numpy())


def linear_predictor_at(nomogram: Nomogram, total_points: ArrayLike) -> np.ndarray:
    """Return the linear predictor, on the nomogram's scale, that a total of points stands for."""
    return nomogram.lp_at_zero_points + np.asarray(total_points, dtype=float) / nomogram.points_per_lp


def risk_at_points(nomogram: Nomogram, total_points: ArrayLike) -> np.ndarray:
    """Return the probability of the event by the horizon that a total of points stands for.

    Parameters
    ----------
    nomogram : Nomogram
        From `nomogram`.
    total_points : array
        Sum of the variables' points, for instance ``points(...)["total"]``.

    Returns
    -------
    numpy.ndarray
        ``1 - exp(-cumulative_hazard exp(linear predictor - center))``; equals the Cox model's own risk.

    Examples
    --------
    >>> model = nomogram({"x": linear_effect([0, 1], 2.0)}, cumulative_hazard=0.1)
    >>> risk_at_points(model, [0, 100]).round(4).tolist()
    [0.0952, 0.5224]
    """
    with np.errstate(over="ignore"):  # an infinite hazard is a risk of 1
        ratio = np.exp(linear_predictor_at(nomogram, total_points) - nomogram.center)
    return -np.expm1(-nomogram.cumulative_hazard * ratio)


def points_at_risk(nomogram: Nomogram, risk: ArrayLike) -> np.ndarray:
    """Return the total of points that a risk stands for: where a risk axis has its ticks.

    Parameters
    ----------
    nomogram : Nomogram
        From `nomogram`.
    risk : array
        Probability of the event by the horizon, strictly inside (0, 1).

    Returns
    -------
    numpy.ndarray
        The inverse of `risk_at_points`; negative or beyond the axes for risks that no patient can have.

    Examples
    --------
    >>> model = nomogram({"x": linear_effect([0, 1], 2.0)}, cumulative_hazard=0.1)
    >>> points_at_risk(model, risk_at_points(model, [40.0])).round(6).tolist()
    [40.0]
    """
    risk = checks.risk(np.atleast_1d(risk), None)
    if ((risk == 0) | (risk == 1)).any():
        row = int(((risk == 0) | (risk == 1)).argmax())
        raise ValueError(f"risk must lie strictly inside (0, 1); found {risk[row]:g} at row {row}")
    lp = nomogram.center + np.log(-np.log1p(-risk) / nomogram.cumulative_hazard)
    return (lp - nomogram.lp_at_zero_points) * nomogram.points_per_lp


def total_points_axis(nomogram: Nomogram, *, n: int = 10) -> pd.DataFrame:
    """Return the axis of total points, up to the highest total that the axes allow, with what its ticks stand for.

    Parameters
    ----------
    nomogram : Nomogram
        From `nomogram`.
    n : int
        Ticks wanted.

    Returns
    -------
    pandas.DataFrame
        total_points, linear_predictor, survival, risk (both at the horizon).
    """
    highest = nomogram.axes.groupby("variable")["points"].max().sum()
    total = pretty(0.0, float(highest), n=n)
    risk = risk_at_points(nomogram, total)
    return pd.DataFrame(
        {
            "total_points": total,
            "linear_predictor": linear_predictor_at(nomogram, total),
            "survival": 1 - risk,
            "risk": risk,
        }
    )
