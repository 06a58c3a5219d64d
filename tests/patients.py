"""Small cohorts with ties, for the tests of the statistics."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

# Events at 1, 2 and 4, censored at 2, 3 and 5. Comparable: 1 with all five, 2 with its censored twin, 3, 4 and 5,
# 4 with 5: ten pairs.
TIME = np.array([1.0, 2, 2, 3, 4, 5])
EVENT = np.array([1, 1, 0, 0, 1, 0], dtype=bool)
SCORE = np.array([5.0, 2, 3, 2, 4, 1])


@st.composite
def cohorts(draw, least=6, most=30):
    """Times and scores with ties, at least one comparable pair whatever the ties."""
    n = draw(st.integers(least, most))
    time = draw(st.lists(st.integers(1, 8), min_size=n - 2, max_size=n - 2))
    event = draw(st.lists(st.booleans(), min_size=n - 2, max_size=n - 2))
    x = draw(st.lists(st.integers(-3, 3), min_size=n - 2, max_size=n - 2))
    return np.array([0.5, 9, *time]), np.array([True, False, *event]), np.array([1, 0, *x], dtype=float)


@st.composite
def follow_ups(draw, least=4):
    """Times with ties, at least one event and one that is not."""
    n = draw(st.integers(least, 25))
    time = draw(st.lists(st.integers(1, 12), min_size=n, max_size=n))
    event = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    event[0], event[1] = True, False
    x = draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n))
    return np.array(time, dtype=float), np.array(event), np.array(x, dtype=float)
