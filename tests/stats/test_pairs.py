"""Pairs of patients compared as a matrix and by the compiled scan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from pytest import approx

from dlrs.stats import pairs
from patients import cohorts


@given(cohorts(most=60))
def test_scan_and_matrix_agree(data):
    time, event, x = data
    rng = np.random.default_rng(time.size)
    case_weights, by_time = rng.random(time.size), rng.random(10)[time.astype(int)]
    for same_time, first, second in (
        ("event_first", case_weights, case_weights),
        ("skip", case_weights, case_weights),
        ("event_first", by_time, np.ones(time.size)),
    ):
        arguments = time, event, x, first, second, same_time
        matrix = pairs.compare_rows(*arguments)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pairs, "MATRIX", 0)
            scan = pairs.compare_rows(*arguments)
        for ours, theirs in zip(scan, matrix, strict=True):
            assert ours == approx(theirs, rel=1e-9, abs=1e-9)
