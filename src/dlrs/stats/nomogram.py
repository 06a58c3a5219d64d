"""A Cox model as a nomogram: points per variable, their sum, and what risk the sum stands for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dlrs.stats import checks, cox

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
    if checks.number(low, "low") > checks.number(high, "high"):
        raise ValueError(f"low must not lie above high; found {low:g} and {high:g}")
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
    return pd.Series(values * checks.number(coefficient, "coefficient"), index=values)


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
    checks.inside(cumulative_hazard, "cumulative_hazard", 0, np.inf)
    checks.number(center, "center")
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


class Axis(NamedTuple):
    """One axis of a nomogram: what it is called, its variables, and the terms of the formula that they are in."""

    name: str
    variables: list[str]
    terms: list[str]


def axes_of(formula: str, fitted_on: pd.DataFrame) -> list[Axis]:
    """Group a formula's variables into axes: variables of one interaction share an axis, all others have their own.

    Examples
    --------
    >>> frame = pd.DataFrame({"a": ["x", "y"], "b": ["u", "v"], "c": [1.0, 2.0]})
    >>> [axis.name for axis in axes_of("a*b + np.log(c)", frame)]
    ['a × b', 'c']
    """
    from formulaic import model_matrix

    axes: list[Axis] = []
    for term, found in model_matrix(formula, fitted_on).model_spec.term_variables.items():
        variables = [name for name in fitted_on.columns if name in {str(variable) for variable in found}]
        if not variables:
            continue
        joined = [axis for axis in axes if set(axis.variables) & set(variables)]
        names = list(dict.fromkeys([name for axis in joined for name in axis.variables] + variables))
        merged = Axis(" × ".join(names), names, [*(t for axis in joined for t in axis.terms), str(term)])
        place = axes.index(joined[0]) if joined else len(axes)
        axes = [axis for axis in axes if axis not in joined]
        axes.insert(place, merged)
    return axes


def contributions(
    formula: str, coefficients: pd.Series, fitted_on: pd.DataFrame, patients: pd.DataFrame
) -> pd.DataFrame:
    """Return what each axis adds to the linear predictor of each patient.

    Parameters
    ----------
    formula : str
        Of the model.
    coefficients : Series
        By column of `cox.design`.
    fitted_on, patients : DataFrame
        The patients of the fit, and those of the rows.

    Returns
    -------
    DataFrame
        One column an axis of `axes_of`, indexed as `patients`; the sum over a row is its linear predictor.
    """
    columns, terms = cox.design(formula, fitted_on, patients)
    added = columns * coefficients[columns.columns]
    of_term = pd.Series(terms, index=columns.columns)
    found = {axis.name: added.loc[:, of_term.isin(axis.terms)].sum(axis=1) for axis in axes_of(formula, fitted_on)}
    return pd.DataFrame(found, index=patients.index)


def effects_of(
    formula: str, coefficients: pd.Series, fitted_on: pd.DataFrame, *, ticks: Mapping[str, ArrayLike] | None = None
) -> dict[str, pd.Series]:
    """Return each axis's values with what they add to the linear predictor, for `nomogram`.

    Parameters
    ----------
    formula, coefficients, fitted_on
        As in `contributions`.
    ticks : mapping of variables to arrays, optional
        Values of a number's axis, by default those of `axis_values`; where a function of the number is not defined
        there, those within the range of `fitted_on`.

    Returns
    -------
    dict of Series
        Of a factor its levels, of factors that interact every combination (`cT4, Elevated`), of a number its ticks.
    """
    found = {}
    for axis in axes_of(formula, fitted_on):
        kinds = [fitted_on[name].dtype for name in axis.variables]
        if all(isinstance(kind, pd.CategoricalDtype) for kind in kinds):
            rows = list(itertools.product(*(kind.categories for kind in kinds)))
            values = [", ".join(map(str, row)) for row in rows]
        else:
            (name,) = axis.variables
            values = np.asarray((ticks or {}).get(name, axis_values(fitted_on[name])), dtype=float)
            within = values[(values >= fitted_on[name].min()) & (values <= fitted_on[name].max())]
            values = values if _defined(formula, fitted_on, name, values) else within
            if axis.terms == [name]:
                found[name] = linear_effect(values, coefficients[name])
                continue
            rows = [(value,) for value in values]
        grid = _grid(fitted_on, axis.variables, rows)
        added = contributions(formula, coefficients, fitted_on, grid)[axis.name]
        found[axis.name] = pd.Series(added.to_numpy(), index=values)
    return found


def _grid(fitted_on: pd.DataFrame, variables: Sequence[str], rows: Sequence[tuple]) -> pd.DataFrame:
    """Return one patient as often as there are rows, with these variables' values."""
    grid = fitted_on.iloc[[0] * len(rows)].reset_index(drop=True)
    for name, values in zip(variables, zip(*rows, strict=True), strict=True):
        grid[name] = pd.Series(list(values)).astype(fitted_on[name].dtype)
    return grid


def _defined(formula: str, fitted_on: pd.DataFrame, name: str, values: np.ndarray) -> bool:
    from formulaic.errors import FormulaicError

    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            columns, _ = cox.design(formula, fitted_on, _grid(fitted_on, [name], [(value,) for value in values]))
    except FormulaicError:
        return False
    return len(columns) == len(values) and bool(np.isfinite(columns.to_numpy(dtype=float)).all())


def points(nomogram: Nomogram, added: pd.DataFrame) -> pd.DataFrame:
    """Return the points of each patient, per axis and in total.

    Parameters
    ----------
    nomogram : Nomogram
        From `nomogram`.
    added : DataFrame
        One column an axis: what it adds to the linear predictor, from `contributions`. Beyond the ends of an axis
        the points are below 0 or above the axis's highest.

    Returns
    -------
    DataFrame
        The axes' points and "total", indexed as `added`.

    Examples
    --------
    >>> model = nomogram({"cea": {"Normal": 0, "Elevated": 1.0}, "dl_prob": linear_effect([0, 1, 2], 2.0)},
    ...                  cumulative_hazard=0.01)
    >>> points(model, pd.DataFrame({"cea": [1.0], "dl_prob": [3.0]})).to_numpy().tolist()
    [[25.0, 75.0, 100.0]]
    """
    lowest = nomogram.axes.groupby("variable", sort=False)["linear_predictor"].min()
    read = (added[lowest.index] - lowest) * nomogram.points_per_lp
    return read.assign(total=read.sum(axis=1))


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
    checks.refuse((risk == 0) | (risk == 1), "risk must lie strictly inside (0, 1)", risk)
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
