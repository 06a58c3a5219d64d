"""Survival arithmetic: cases worked by hand, limits, refusals. R's numbers are in test_reference.py."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from dlrs.stats import survival
from patients import follow_ups

# Six patients: events at 2, 3, 3 and 5, censored at 3 and 6.
TIME = np.array([2.0, 3, 3, 3, 5, 6])
EVENT = np.array([1, 1, 1, 0, 1, 0], dtype=bool)


def test_kaplan_meier_by_hand():
    # S(2) = 5/6; S(3) = 5/6 * 3/5 = 1/2 (five at risk, two events); S(5) = 1/2 * 1/2 = 1/4
    table = survival.kaplan_meier(TIME, EVENT)
    assert table["time"].tolist() == [2, 3, 5, 6]
    assert table["n_risk"].tolist() == [6, 5, 2, 1]
    assert table["n_event"].tolist() == [1, 2, 1, 0]
    assert table["n_censored"].tolist() == [0, 1, 0, 1]
    assert table["survival"].to_numpy() == approx([5 / 6, 1 / 2, 1 / 4, 1 / 4])
    # Greenwood at 3: 1/(6*5) + 2/(5*3) = 1/6
    assert table["std_err"][1] == approx(0.5 * np.sqrt(1 / 6))


def test_kaplan_meier_interval_by_hand():
    z, v = 1.959963984540054, 1 / 6  # S = 1/2 at 3
    at = survival.kaplan_meier(TIME, EVENT, at=[3]).iloc[0]
    spread = z * np.sqrt(v) / np.log(2)
    assert (at["lower"], at["upper"]) == approx((0.5 ** np.exp(spread), 0.5 ** np.exp(-spread)))


def test_kaplan_meier_at_times_counts_since_the_row_above():
    table = survival.kaplan_meier(TIME, EVENT, at=[0, 3, 4, 6])
    assert table["n_risk"].tolist() == [6, 5, 2, 1]
    assert table["n_event"].tolist() == [0, 3, 0, 1]
    assert table["n_censored"].tolist() == [0, 1, 0, 1]
    assert table["survival"].to_numpy() == approx([1, 0.5, 0.5, 0.25])


def test_kaplan_meier_past_follow_up_only_on_request():
    with pytest.raises(ValueError, match="at must lie within follow-up unless extend=True; found 9, but the longest"):
        survival.kaplan_meier(TIME, EVENT, at=[3, 9])
    last = survival.kaplan_meier(TIME, EVENT, at=[9], extend=True).iloc[0]
    assert (last["n_risk"], last["survival"]) == (0, 0.25)


def test_kaplan_meier_limits():
    nobody = survival.kaplan_meier([1, 2, 3], [0, 0, 0])  # all censored
    assert (nobody[["survival", "lower", "upper"]] == 1).all(axis=None) and (nobody["std_err"] == 0).all()
    everybody = survival.kaplan_meier([1, 1], [1, 1])  # all tied, all with the event: S = 0, Greenwood undefined
    assert everybody["survival"].tolist() == [0]
    assert everybody[["std_err", "lower", "upper"]].isna().all(axis=None)
    single = survival.kaplan_meier([4, 7], [1, 0])
    assert single["survival"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("time", "event", "expected"),
    [
        ([1, 2, 3, 4], [1, 1, 1, 1], 2.5),  # S = 1/2 from 2 to 3: its middle
        ([1, 2, 3, 4], [1, 1, 0, 0], 2.0),  # S = 1/2 for good
        ([1, 2, 3], [1, 1, 1], 2.0),
        ([1, 2, 3, 4], [1, 0, 0, 0], np.inf),  # never below 3/4
    ],
)
def test_median(time, event, expected):
    assert survival.median_survival(time, event).median == expected


def test_median_limits_are_where_the_limits_cross():
    curve = survival.kaplan_meier(TIME, EVENT)
    median = survival.median_survival(TIME, EVENT)
    assert median.lower == curve["time"][(curve["lower"] <= 0.5).argmax()]
    assert median.upper == np.inf and (curve["upper"] > 0.5).all()


def test_censoring_curves_by_hand():
    # One censoring at 3, five at risk, two events there: 1 - 1/3, the events gone first.
    at = [2, 3, 5]
    first = survival.censoring_survival(TIME, EVENT, at)
    assert first == approx([1, 2 / 3, 2 / 3])
    assert survival.censoring_survival(TIME, EVENT, at, before=True) == approx([1, 1, 2 / 3])
    assert survival.censoring_survival(TIME, EVENT, [6]) == approx([0])  # the last one is censored


def test_censoring_influence_is_the_derivative_of_the_weights():
    # K_k(u) is patient k's influence on -log G(u): reweight k a little and look at G (no ties here).
    rng = np.random.default_rng(3)
    time, event = np.arange(1.0, 13), rng.random(12) < 0.5
    values = rng.random(12)
    table = survival.risk_table(time, event)

    def minus_log_g(weight, u):
        left = weight[::-1].cumsum()[::-1]
        return ((~event & (time <= u)) * weight / left).sum()  # Nelson-Aalen, whose derivative is the same to 1/n

    n, step = time.size, 1e-6
    for k in (0, 5, 11):
        more = np.ones(n)
        more[k] += step
        slope = [n * (minus_log_g(more, u) - minus_log_g(np.ones(n), u)) / step for u in (4.0, 9.0)]
        assert [survival.censoring_influence_at(time, event, u)[k] for u in (4.0, 9.0)] == approx(slope, abs=1e-4)
    at = np.array([survival.censoring_influence_at(time, event, u - 0.5) for u in time])  # K_k(T_i-)
    assert survival.censoring_influence(time, event, values) == approx((values[:, None] * at).mean(axis=0))
    assert table.at_risk.tolist() == list(range(12, 0, -1))


def test_binary_outcome_at_the_horizon():
    # event at the horizon counts, censored at it is free of the event, censored before it is unknown
    outcome = survival.binary_outcome([10, 36, 36, 20, 40], [1, 1, 0, 0, 1], horizon=36)
    assert outcome[:3].tolist() == [1, 1, 0] and np.isnan(outcome[3]) and outcome[4] == 0
    with pytest.raises(ValueError, match="horizon must lie within follow-up; found 60"):
        survival.binary_outcome([10, 36], [1, 0], horizon=60)


@given(follow_ups(least=12), st.randoms(use_true_random=False))
def test_row_order_never_matters(data, random):
    time, event, x = data
    order = list(range(time.size))
    random.shuffle(order)
    curves = [survival.kaplan_meier(time[i], event[i]) for i in (slice(None), np.array(order))]
    pd.testing.assert_frame_equal(*curves)


def test_logrank_by_hand():
    # a: events at 1 and 3; b: event at 2, censored at 4. E_a = 2/4 + 1/3 + 1/2 = 4/3, V = 1/4 + 2/9 + 1/4 = 13/18
    test = survival.logrank([1, 3, 2, 4], [1, 1, 1, 0], ["a", "a", "b", "b"])
    assert test.groups["observed"].tolist() == [2, 1]
    assert test.groups["expected"].to_numpy() == approx([4 / 3, 5 / 3])
    assert test.chi2 == approx((2 / 3) ** 2 / (13 / 18)) and test.df == 1


def test_logrank_of_a_group_against_its_copy_is_zero():
    test = survival.logrank(np.tile(TIME, 2), np.tile(EVENT, 2), np.repeat([0, 1], 6))
    assert test.chi2 == approx(0, abs=1e-12) and test.p == approx(1)


def test_logrank_refusals():
    with pytest.raises(ValueError, match="group must hold at least two groups; found only 'a'"):
        survival.logrank([1, 2], [1, 1], ["a", "a"])
    with pytest.raises(ValueError, match="event must be true in at least one row"):
        survival.logrank([1, 2], [0, 0], ["a", "b"])
    with pytest.raises(ValueError, match="found nobody of 'b' under follow-up by the first one"):
        survival.logrank([5, 6, 1], [1, 1, 0], ["a", "a", "b"])
    with pytest.raises(ValueError, match="group must hold a label in every row; found none at row 1"):
        survival.logrank([5, 6, 1], [1, 1, 0], ["a", None, "b"])
