"""The checks that every statistic makes of its arguments before it computes.

A row in a message is the position in the arrays given, counted from 0 as in
``frame.iloc``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri

TIE = np.sqrt(np.finfo(float).eps)  # R's tolerance of times that differ by rounding only (survival::aeqSurv)
SINGLE = 2 * np.finfo(np.float32).eps  # of a time given and the same one in single precision


def aligned(statistic: Callable) -> Callable:
    """Let a statistic refuse patients' columns whose pandas indexes differ: rows are matched by position.

    Looks at the positional arguments, `offset` and `competing`; those named otherwise are options, not patients.
    """
    kinds = inspect.signature(statistic).parameters
    of_patients = [
        name for name, p in kinds.items() if p.kind is p.POSITIONAL_OR_KEYWORD or name in ("offset", "competing")
    ]

    @functools.wraps(statistic)
    def checked(*args, **options):
        given = dict(zip(of_patients, args, strict=False)) | {k: v for k, v in options.items() if k in of_patients}
        for name, value in [*given.items()]:
            if isinstance(value, Mapping):
                given |= {f"{name}[{key!r}]": part for key, part in given.pop(name).items()}
        same_index(**given)
        return statistic(*args, **options)

    return checked


def same_index(**columns) -> None:
    """Refuse Series and frames of the same length that list other patients, or the same in another order."""
    labelled = {name: c.index for name, c in columns.items() if isinstance(c, (pd.Series, pd.DataFrame))}
    for (first, labels), (name, later) in zip([*labelled.items()], [*labelled.items()][1:], strict=False):
        if len(labels) == len(later) and not labels.equals(later):
            row = next(
                k for k, (a, b) in enumerate(zip(labels, later, strict=True)) if a != b or type(a) is not type(b)
            )
            raise ValueError(
                f"{name} must have the index of {first}; found {later[row]!r} for {labels[row]!r} at row {row}: "
                f"align them, {name}.reindex({first}.index), or give arrays"
            )


def labels(values: ArrayLike, name: str, n: int) -> np.ndarray:
    """Return the `n` labels of a factor, none of them missing."""
    masked, array = np.ma.is_masked(values) and np.ma.getmaskarray(values), np.asarray(values)
    if array.shape != (n,):
        raise ValueError(f"{name} must have one label per row of time ({n}); found shape {array.shape}")
    missing = masked | pd.isna(array)
    if missing.any():
        raise ValueError(f"{name} must hold a label in every row; found none at row {int(missing.argmax())}")
    return array


def choice(value: str, name: str, allowed: Sequence[str]) -> str:
    """Return `value` when it is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; found {value!r}")
    return value


def inside(value: float, name: str, low: float, high: float) -> float:
    """Return an option that is one number strictly between two limits, of which the upper may be infinite."""
    if not low < number(value, name) < high:
        expected = f"be above {low:g}" if np.isinf(high) else f"lie between {low:g} and {high:g}"
        raise ValueError(f"{name} must {expected}; found {value:g}")
    return float(value)


def critical_value(level: float) -> float:
    """Return the normal quantile behind a two-sided interval of this coverage (1.96 for 0.95)."""
    return float(ndtri(0.5 + coverage(level) / 2))


def coverage(level: float) -> float:
    """Return the coverage of an interval, inside (0, 1)."""
    return inside(level, "level", 0, 1)


def number(value: float, name: str) -> float:
    """Return an option that is one finite number; None, a list, text and NaN are refused."""
    array = np.asarray(value, dtype=object)
    if array.ndim or isinstance(value, (bool, np.bool_, str)) or np.asarray(value).dtype.kind not in "iuf":
        raise ValueError(f"{name} must be one number; found {value!r}")
    if not np.isfinite(value):
        raise ValueError(f"{name} must be a finite number; found {value!r}")
    return float(value)


def whole_number(value: int, name: str) -> int:
    """Return an option that is a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a positive whole number; found {value!r}")
    return int(value)


def seed(value: int) -> int:
    """Return a seed, a whole number from 0 up."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"seed must be a whole number from 0 up; found {value!r}")
    return int(value)


def refuse(bad: np.ndarray, expected: str, values: np.ndarray) -> None:
    """Raise where a row is bad, with the first one's value."""
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{expected}; found {values[row]:g} at row {row}")


def _cells(values: ArrayLike, name: str) -> np.ndarray:
    """Return what is no array of numbers as one, cell by cell; None and NA are NaN."""
    cells = np.asarray(values, dtype=object)
    for row, cell in enumerate(cells.flat):
        if not (cell is None or cell is pd.NA or isinstance(cell, (Real, np.bool_))):
            raise ValueError(f"{name} must hold numbers; found {cell!r} at row {row}")
    return np.array([np.nan if cell is None or cell is pd.NA else cell for cell in cells.flat], float).reshape(
        cells.shape
    )


def _numbers(values: ArrayLike, name: str, n: int | None, like: str) -> np.ndarray:
    """Return a one-dimensional float array of `n` finite numbers, or say which row is wrong."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        row = int(np.ma.getmaskarray(values).argmax())
        raise ValueError(f"{name} must hold finite numbers; found a masked value at row {row}")
    try:
        array = np.asarray(values)
    except ValueError:  # lists of unlike lengths
        array = np.asarray(values, dtype=object)
    if array.dtype.kind in "mM":
        kind = "durations" if array.dtype.kind == "m" else "dates"
        first = f", {array.flat[0]} at row 0" if array.size else ""
        raise ValueError(f"{name} must hold numbers; found {kind}{first}: give months or years")
    array = array.astype(float) if array.dtype.kind in "biuf" else _cells(values, name)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional; found shape {array.shape}")
    if n is not None and array.size != n:
        first = min(array.size, n)
        raise ValueError(
            f"{name} must have one value per row of {like} ({n}); found {array.size}, so row {first} has no partner"
        )
    if array.size == 0:
        raise ValueError(f"{name} must have at least one row; found none")
    refuse(~np.isfinite(array), f"{name} must hold finite numbers", array)
    return array


def flag(values: ArrayLike, name: str, n: int | None = None, *, like: str = "time") -> np.ndarray:
    """Return a boolean array from booleans or the codes 0 and 1."""
    return codes(values, name, (0, 1), n, like=like) == 1


def codes(
    values: ArrayLike, name: str, allowed: Sequence[int], n: int | None = None, *, like: str = "time"
) -> np.ndarray:
    """Return an array that holds nothing but some codes."""
    array = _numbers(values, name, n, like)
    also, others = "boolean or " if len(allowed) == 2 else "", ", ".join(map(str, allowed[:-1]))
    refuse(~np.isin(array, allowed), f"{name} must be {also}coded {others} and {allowed[-1]}", array)
    return array


def survival(time: ArrayLike, event: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return follow-up times as floats and events as booleans.

    Times that differ by rounding only, as the same dates in years do, are joined as R's ``timefix`` joins them:
    neighbours that are within 1.5e-8 of the mean of the distinct times (and of 1) get the smallest time of their run.

    Parameters
    ----------
    time : array of shape (n,)
        Time from baseline to event or censoring; not negative.
    event : array of shape (n,)
        True (or 1) where the event was observed, False (or 0) where follow-up was censored.

    Raises
    ------
    ValueError
        On unequal lengths or indexes, NaN, a negative time or an event that is neither 0 nor 1.
    """
    same_index(time=time, event=event)
    time = _numbers(time, "time", None, "time")
    refuse(time < 0, "time must not be negative", time)
    event = flag(event, "event", time.size)
    distinct = np.unique(time)
    tied = np.diff(distinct) <= TIE * max(1.0, distinct.mean())
    if tied.any():
        starts = distinct[np.concatenate(([True], ~tied))]
        time = starts[np.searchsorted(starts, time, side="right") - 1]
    return time, event


def times(values: ArrayLike, name: str, onto: ArrayLike) -> np.ndarray:
    """Return one or several times to report as floats; one that equals an observed time in single precision is it.

    Parameters
    ----------
    values : float or array
        Finite numbers.
    onto : array of shape (k,)
        The observed times, in any order.
    """
    values = _numbers(values if np.ndim(values) else [values], name, None, "")
    distinct = np.unique(np.asarray(onto, dtype=float))
    after = np.searchsorted(distinct, values).clip(max=distinct.size - 1)
    before = (after - 1).clip(min=0)
    earlier = np.abs(values - distinct[before]) < np.abs(values - distinct[after])
    nearest = distinct[np.where(earlier, before, after)]
    return np.where(np.abs(nearest - values) <= SINGLE * np.abs(values), nearest, values)


def prediction(prediction: ArrayLike, n: int | None, name: str = "prediction", *, like: str = "time") -> np.ndarray:
    """Return a prediction (higher means higher risk) as finite floats, `n` of them as in the argument `like`."""
    return _numbers(prediction, name, n, like)


def columns(covariates: ArrayLike | pd.DataFrame, n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return covariates as an array of shape (n, p), and the names of its columns."""
    if np.ndim(covariates) > 1 and np.shape(covariates)[1] == 0:
        raise ValueError("covariates must have at least one column; found none")
    if isinstance(covariates, pd.DataFrame):
        names = tuple(map(str, covariates.columns))
        columns = [covariates.iloc[:, j].to_numpy() for j in range(len(names))]
    elif isinstance(covariates, pd.Series) and covariates.name is not None:
        names, columns = (str(covariates.name),), [covariates.to_numpy()]
    else:
        array = np.ma.asanyarray(covariates)  # masked cells are refused below, with their row
        array = array.reshape(-1, 1) if array.ndim == 1 else array
        if array.ndim != 2:
            raise ValueError(f"covariates must have one row a patient and one column each; found shape {array.shape}")
        names = tuple(f"x{j}" for j in range(array.shape[1]))
        columns = list(array.T)
    return np.column_stack([prediction(c, n, n_) for c, n_ in zip(columns, names, strict=True)]), names


def survival_and_prediction(
    time: ArrayLike, event: ArrayLike, values: ArrayLike, name: str = "prediction"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return follow-up as `survival` does and a prediction as `prediction` does; somebody must have had the event."""
    time, event = survival(time, event)
    if not event.any():
        raise ValueError(f"event must be true in at least one row; found none in {event.size} rows")
    return time, event, prediction(values, time.size, name)


def risk(risk: ArrayLike, n: int | None, name: str = "risk", *, like: str = "time") -> np.ndarray:
    """Return a probability of the event as floats in [0, 1], as `prediction` does; a linear predictor is refused."""
    array = _numbers(risk, name, n, like)
    refuse((array < 0) | (array > 1), f"{name} must lie in [0, 1]", array)
    return array


def outcome(outcome: ArrayLike) -> np.ndarray:
    """Return a binary outcome as booleans; both classes must be there."""
    array = flag(outcome, "outcome")
    if array.all() or not array.any():
        raise ValueError(f"outcome must hold both classes; found {int(array[0])} in every row, from row 0 on")
    return array


def within_follow_up(time: ArrayLike, horizon: float) -> float:
    """Return the horizon as a float when follow-up reaches it."""
    time = np.asarray(time, dtype=float)
    value = float(times(inside(horizon, "horizon", 0, np.inf), "horizon", time)[0])
    if value > time.max():
        raise ValueError(
            f"horizon must lie within follow-up; found {value:g}, but the longest follow-up is {time.max():g} "
            f"at row {int(time.argmax())}"
        )
    return value


def horizon(time: ArrayLike, event: ArrayLike, horizon: float) -> float:
    """Return the horizon as a float when follow-up reaches it and an event happened by then."""
    time, event = survival(time, event)
    value = within_follow_up(time, horizon)
    if not (event & (time <= value)).any():
        if not event.any():
            raise ValueError("horizon must have an event at or before it; found no event in any row")
        first = int(np.where(event, time, np.inf).argmin())
        raise ValueError(
            f"horizon must have an event at or before it; found none by {value:g}, "
            f"the first is at {time[first]:g} in row {first}"
        )
    return value


def estimate_or_reason(statistic: Callable, *args, **options) -> tuple[Any, str]:
    """Return an estimate, or why these patients do not allow it.

    Every statistic of this package refuses with a ValueError what it cannot estimate: one class only, no event,
    the same prediction in every row.

    Parameters
    ----------
    statistic
        What is called with the other arguments.

    Returns
    -------
    estimate : Any
        What `statistic` returns; None where it refuses.
    reason : str
        Empty, or the words of its refusal.

    Examples
    --------
    >>> estimate_or_reason(choice, "mean", "summary", ["mean", "median"])
    ('mean', '')
    >>> estimate_or_reason(outcome, [1, 1])[1]
    'outcome must hold both classes; found 1 in every row, from row 0 on'
    """
    try:
        return statistic(*args, **options), ""
    except ValueError as error:
        return None, str(error)


def parts_or_reason(statistic: Callable, parts: Mapping[str, str], *args, reason: str = "reason", **options) -> dict:
    """Return parts of an estimate as a row of a table, NaN where these patients do not allow it, and why.

    Parameters
    ----------
    statistic
        What is called with the other arguments.
    parts
        The row's names, each with the estimate's part, such as `{"slope": "slope", "gain": "events.value"}`.
    reason
        The row's name for the reason, empty where the estimate is finite.

    Examples
    --------
    >>> parts_or_reason(outcome, {"n": "size"}, [1, 0, 1])
    {'n': 3, 'reason': ''}
    >>> parts_or_reason(outcome, {"n": "size"}, [1])["n"]
    nan
    """
    found, why = estimate_or_reason(statistic, *args, **options)
    row = {name: np.nan if found is None else attrgetter(part)(found) for name, part in parts.items()}
    unknown = why or ("" if np.isfinite(list(row.values())).all() else "too few patients")
    return row | {reason: unknown}
