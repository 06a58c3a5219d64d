"""Survival arithmetic that everything else stands on: Kaplan-Meier, censoring, Cox risk at a horizon, cut-offs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from dlrs import checks


def binary_outcome(time: ArrayLike, event: ArrayLike, *, horizon: float) -> np.ndarray:
    """Return 1 for an event by `horizon`, 0 for no event by then, NaN for unknown."""
    time, event = checks.survival(time, event)
    horizon = checks.horizon(time, event, horizon)
    return np.where(event & (time <= horizon), 1.0, np.where(time >= horizon, 0.0, np.nan))
