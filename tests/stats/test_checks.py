"""Bad input is refused with argument, expectation, finding and row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dlrs.stats import checks


def test_survival_returns_floats_and_booleans():
    time, event = checks.survival([1, 2], [1, 0])
    assert time.tolist() == [1.0, 2.0] and event.tolist() == [True, False]
    assert checks.survival(pd.Series([1.5]), pd.Series([True]))[1].dtype == bool


@pytest.mark.parametrize(
    ("time", "event", "message"),
    [
        ([1, np.nan], [1, 0], "time must hold finite numbers; found nan at row 1"),
        ([1, np.inf], [1, 0], "time must hold finite numbers; found inf at row 1"),
        ([1, -2], [1, 0], "time must not be negative; found -2 at row 1"),
        (["a", 2], [1, 0], "time must hold numbers; found 'a' at row 0"),
        ([[1, 2]], [1, 0], r"time must be one-dimensional; found shape \(1, 2\)"),
        ([], [], "time must have at least one row; found none"),
        ([1, 2], [1], r"event must have one value per row of time \(2\); found 1, so row 1 has no partner"),
        ([1, 2], [1, 0, 1], r"event must have one value per row of time \(2\); found 3, so row 2 has no partner"),
        ([1, 2], [1, 2], "event must be boolean or coded 0 and 1; found 2 at row 1"),
        ([1, 2], ["yes", "no"], "event must hold numbers; found 'yes' at row 0"),
        ([1, 2], [True, None], "event must hold"),
        ([1, 2], [1, np.nan], "event must hold finite numbers; found nan at row 1"),
    ],
)
def test_survival_names_what_is_wrong(time, event, message):
    with pytest.raises(ValueError, match=message):
        checks.survival(time, event)


def test_missing_values_of_pandas_are_refused():
    with pytest.raises(ValueError, match="event must hold finite numbers; found nan at row 1"):
        checks.survival([1, 2], pd.array([True, None], dtype="boolean"))


def test_prediction_and_risk():
    assert checks.prediction([-3, 7], 2).tolist() == [-3.0, 7.0]
    with pytest.raises(ValueError, match="score must hold finite numbers; found nan at row 0"):
        checks.prediction([np.nan, 7], 2, "score")
    with pytest.raises(ValueError, match=r"risk must lie in \[0, 1\]; found 1.37 at row 1"):
        checks.risk([0.2, 1.37], 2)
    with pytest.raises(ValueError, match=r"risk_new must lie in \[0, 1\]; found -0.1 at row 0"):
        checks.risk([-0.1, 0.37], 2, "risk_new")


@pytest.mark.parametrize("value", [0, 1])
def test_outcome_needs_both_classes(value):
    assert checks.outcome([0, 1]).tolist() == [False, True]
    with pytest.raises(ValueError, match=f"outcome must hold both classes; found {value} in every row"):
        checks.outcome([value, value])
    with pytest.raises(ValueError, match="outcome must hold finite numbers; found nan at row 1"):
        checks.outcome([value, np.nan])


@pytest.mark.parametrize(
    ("event", "horizon", "message"),
    [
        ([0, 1, 0], 7, r"horizon must lie within follow-up; found 7, but the longest follow-up is 6 at row 2"),
        ([0, 1, 0], 3, r"horizon must have an event at or before it; found none by 3, the first is at 4 in row 1"),
        ([0, 0, 0], 3, r"horizon must have an event at or before it; found no event in any row"),
        ([0, 1, 0], -1, r"horizon must be above 0; found -1"),
        ([0, 1, 0], np.nan, r"horizon must be a finite number; found nan"),
    ],
)
def test_horizon(event, horizon, message):
    assert checks.horizon([2, 4, 6], [0, 1, 0], 4) == 4.0
    with pytest.raises(ValueError, match=message):
        checks.horizon([2, 4, 6], event, horizon)


def test_a_refusal_becomes_the_reason_and_another_error_is_not_caught():
    assert checks.estimate_or_reason(checks.choice, "a", "name", ["a"]) == ("a", "")
    estimate, reason = checks.estimate_or_reason(checks.outcome, [0, 0])
    assert estimate is None and reason == "outcome must hold both classes; found 0 in every row, from row 0 on"
    with pytest.raises(TypeError, match="missing"):
        checks.estimate_or_reason(checks.outcome)
