"""The checks that every statistic makes of its arguments before it computes.

A row in a message is the position in the arrays given, counted from 0 as in
``frame.iloc``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri


def choice(value: str, name: str, allowed: Sequence[str]) -> str:
    """Return `value` when it is one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; found {value!r}")
    return value


def critical_value(level: float) -> float:
    """Return the normal quantile behind a two-sided interval of this coverage (1.96 for 0.95)."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; found {level!r}")
    return float(ndtri(0.5 + level / 2))


def _numbers(values: ArrayLike, name: str, n: int | None, like: str) -> np.ndarray:
    """Return a one-dimensional float array of `n` finite numbers, or say which row is wrong."""
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        for row, value in enumerate(np.asarray(values, dtype=object).ravel()):
            try:
                float(value)
            except (TypeError, ValueError):
                raise ValueError(f"{name} must hold numbers; found {value!r} at row {row}") from None
        raise
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional; found shape {array.shape}")
    if n is not None and array.size != n:
        first = min(array.size, n)
        raise ValueError(
            f"{name} must have one value per row of {like} ({n}); found {array.size}, so row {first} has no partner"
        )
    if array.size == 0:
        raise ValueError(f"{name} must have at least one row; found none")
    bad = ~np.isfinite(array)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{name} must hold finite numbers; found {array[row]} at row {row}")
    return array


def flag(values: ArrayLike, name: str, n: int | None = None, *, like: str = "time") -> np.ndarray:
    """Return a boolean array from booleans or the codes 0 and 1."""
    array = _numbers(values, name, n, like)
    bad = (array != 0) & (array != 1)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{name} must be boolean or coded 0 and 1; found {array[row]:g} at row {row}")
    return array == 1


def survival(time: ArrayLike, event: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return follow-up times as floats and events as booleans.

    Parameters
    ----------
    time : array of shape (n,)
        Time from baseline to event or censoring; not negative.
    event : array of shape (n,)
        True (or 1) where the event was observed, False (or 0) where follow-up was censored.

    Raises
    ------
    ValueError
        On unequal lengths, NaN, a negative time or an event that is neither 0 nor 1.
    """
    time = _numbers(time, "time", None, "time")
    if (time < 0).any():
        row = int((time < 0).argmax())
        raise ValueError(f"time must not be negative; found {time[row]:g} at row {row}")
    return time, flag(event, "event", time.size)


def prediction(prediction: ArrayLike, n: int, name: str = "prediction") -> np.ndarray:
    """Return a prediction (higher means higher risk) as `n` finite floats."""
    return _numbers(prediction, name, n, "time")


def survival_and_prediction(
    time: ArrayLike, event: ArrayLike, values: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return follow-up as `survival` does and a prediction as `prediction` does; somebody must have had the event."""
    time, event = survival(time, event)
    if not event.any():
        raise ValueError(f"event must be true in at least one row; found none in {event.size} rows")
    return time, event, prediction(values, time.size)


def risk(risk: ArrayLike, n: int, name: str = "risk") -> np.ndarray:
    """Return a probability of the event as `n` floats in [0, 1]; a linear predictor is refused."""
    array = _numbers(risk, name, n, "time")
    bad = (array < 0) | (array > 1)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{name} must lie in [0, 1]; found {array[row]:g} at row {row}")
    return array


def outcome(outcome: ArrayLike) -> np.ndarray:
    """Return a binary outcome as booleans; both classes must be there."""
    array = flag(outcome, "outcome")
    if array.all() or not array.any():
        raise ValueError(f"outcome must hold both classes; found {int(array[0])} in every row, from row 0 on")
    return array


def horizon(time: ArrayLike, event: ArrayLike, horizon: float) -> float:
    """Return the horizon as a float when follow-up reaches it and an event happened by then."""
    time, event = survival(time, event)
    value = float(horizon)
    if not np.isfinite(value) or value <= 0:
        raise ValueError(f"horizon must be a positive number; found {horizon!r}")
    if value > time.max():
        raise ValueError(
            f"horizon must lie within follow-up; found {value:g}, but the longest follow-up is {time.max():g} "
            f"at row {int(time.argmax())}"
        )
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
