"""Concordance: cases worked by hand, limits, properties, refusals. R's numbers are in test_reference.py."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from dlrs.stats import concordance, groups, resample
from patients import EVENT, SCORE, TIME, cohorts


def pairs_one_by_one(time, event, x, *, censored_later=True, own=None):
    """Weight of concordant, discordant and tied pairs, by the definition."""
    sums = np.zeros(3)
    own = np.ones(time.size) if own is None else own
    for i in range(time.size):
        for j in range(time.size):
            later = time[i] < time[j] or (censored_later and time[i] == time[j] and not event[j])
            if i != j and event[i] and later:
                sums[0 if x[i] > x[j] else 1 if x[i] < x[j] else 2] += own[i]
    return sums


def test_concordance_by_hand():
    # row 0 (5) beats all five; row 1 (2) loses to 3, ties with 2, loses to 4, beats 1; row 4 (4) beats 1
    c = concordance.concordance(TIME, EVENT, SCORE)
    assert (c.concordant, c.discordant, c.tied_prediction) == (7, 2, 1)
    assert c.c == 0.75
    # survcomp's rules: the pair at time 2 is none, the tie is dropped: 7 against 1
    survcomp = concordance.concordance(TIME, EVENT, SCORE, same_time="skip", tied_predictions="drop")
    assert survcomp.c == 7 / 8


def test_jackknife_by_hand():
    # D = 2C - 1 = 1/2 over 10 pairs; per row (concordant - discordant, pairs): sum to twice the pairs
    balance = np.array([5, 1 - 2 + 1, 1 - 1, 1, 1 - 1 + 1, 1 + 1 + 1])
    pairs = np.array([5, 5, 2, 2, 3, 3])
    assert balance.sum() == 10 and pairs.sum() == 20
    influence = (balance - 0.5 * pairs) / 20
    assert concordance.concordance(TIME, EVENT, SCORE).se == approx(np.sqrt((influence**2).sum()))


@given(cohorts())
def test_counts_equal_the_definition(data):
    time, event, x = data
    for same_time in ("event_first", "skip"):
        c = concordance.concordance(time, event, x, same_time=same_time)
        assert [c.concordant, c.discordant, c.tied_prediction] == pairs_one_by_one(
            time, event, x, censored_later=same_time == "event_first"
        ).tolist()
    alike = (time[:, None] == time) & event & event[:, None]
    same = (x[:, None] == x) & alike
    assert c.tied_both == (same.sum() - event.sum()) / 2
    assert c.tied_time == alike.sum() / 2 - same.sum() / 2


def test_concordance_of_many_patients_is_exact_and_linear_in_memory():
    from lifelines.utils import concordance_index

    rng = np.random.default_rng(1)
    time, event = rng.integers(1, 300, 40_000).astype(float), rng.random(40_000) < 0.4
    x = rng.integers(0, 500, 40_000).astype(float)
    c = concordance.concordance(time, event, x)
    assert c.c == approx(concordance_index(time, -x, event), abs=1e-14)
    assert all(count == int(count) for count in (c.concordant, c.discordant, c.tied_prediction, c.tied_time))


@given(cohorts())
def test_negated_score_mirrors(data):
    time, event, x = data
    up, down = concordance.concordance(time, event, x), concordance.concordance(time, event, -x)
    assert down.c == approx(1 - up.c) and down.se == approx(up.se, abs=1e-15)
    assert (down.lower, down.upper) == approx((1 - up.upper, 1 - up.lower), nan_ok=True)
    uno = [concordance.uno_concordance(time, event, s) for s in (x, -x)]
    assert uno[0].c == approx(1 - uno[1].c)


@given(cohorts(), st.randoms(use_true_random=False))
def test_row_order_never_matters(data, random):
    time, event, x = data
    order = list(range(time.size))
    random.shuffle(order)
    for interval in ("logit", "jackknife", "noether", "conservative"):
        c, shuffled = (
            concordance.concordance(time[i], event[i], x[i], interval=interval) for i in (slice(None), np.array(order))
        )
        assert c == approx(shuffled, nan_ok=True)


def test_perfect_useless_and_reversed():
    time, event = np.arange(1.0, 9), np.ones(8, dtype=bool)
    perfect = concordance.concordance(time, event, -time)
    assert perfect[:2] == (1, 0) and np.isnan(perfect[2:5]).all()
    assert concordance.concordance(time, event, time).c == 0
    useless = concordance.concordance(time, event, np.zeros(8))  # all tied
    assert useless[:2] == (0.5, 0) and np.isnan(useless[2:5]).all()
    assert concordance.concordance([3, 5], [1, 0], [2, 1]).c == 1  # a single event


def test_concordance_refusals():
    with pytest.raises(ValueError, match="event must be true in at least one row; found none in 2 rows"):
        concordance.concordance([1, 2], [0, 0], [1, 2])
    with pytest.raises(ValueError, match="event must make at least one comparable pair"):
        concordance.concordance([1, 2], [0, 1], [1, 2])  # the only event comes last
    with pytest.raises(ValueError, match="with different predictions"):
        concordance.concordance([1, 2], [1, 0], [1, 1], tied_predictions="drop")
    with pytest.raises(ValueError, match="prediction must hold finite numbers; found nan at row 1"):
        concordance.concordance([1, 2], [1, 0], [1, np.nan])
    with pytest.raises(ValueError, match="interval must be one of logit, jackknife, noether, conservative; found 'x'"):
        concordance.concordance([1, 2], [1, 0], [1, 2], interval="x")
    with pytest.raises(ValueError, match="level must lie between 0 and 1; found 95"):
        concordance.concordance([1, 2], [1, 0], [1, 2], level=95)


def test_uno_by_hand():
    # G just before 1, 2, 4: 1, 1, 1 (1 - 1/4)(1 - 1/3) = 1/2; so the pair of row 4 weighs 4
    c = concordance.uno_concordance(TIME, EVENT, SCORE)
    assert c.concordant == approx(6 + 4) and c.discordant == approx(2) and c.tied_prediction == approx(1)
    assert c.c == approx(10.5 / 13)
    early = concordance.uno_concordance(TIME, EVENT, SCORE, horizon=3)
    assert early.c == approx(6.5 / 9)


def test_uno_without_censoring_is_harrell():
    rng = np.random.default_rng(6)
    time, x = rng.exponential(size=40), rng.normal(size=40)
    event = np.ones(40, dtype=bool)
    assert concordance.uno_concordance(time, event, x) == approx(concordance.concordance(time, event, x))


def test_comparison_of_two_predictions():
    rng = np.random.default_rng(7)
    a = rng.normal(size=80)
    time, event, b = rng.exponential(np.exp(-2 * a)), rng.random(80) < 0.7, a + rng.normal(size=80)
    jackknife = concordance.compare_concordance(time, event, a, b)
    singles = [concordance.concordance(time, event, s) for s in (a, b)]
    assert jackknife.difference == approx(singles[0].c - singles[1].c)
    assert np.sqrt(np.diag(jackknife.covariance)) == approx([s.se for s in singles])
    assert jackknife.p == approx(2 * jackknife.p_one_sided)
    mirrored = concordance.compare_concordance(time, event, b, a)
    assert mirrored.difference == approx(-jackknife.difference) and mirrored.p == approx(jackknife.p)
    assert mirrored.p_one_sided == approx(1 - jackknife.p_one_sided)
    t = concordance.compare_concordance(time, event, a, b, method="survcomp")
    assert t.df == 79 and t.p == approx(2 * t.p_one_sided)
    expected = t.covariance[0, 1] / np.sqrt(t.covariance[0, 0] * t.covariance[1, 1])
    assert groups.spearman(a, b).rho == approx(expected)


@pytest.mark.parametrize("method", ["jackknife", "survcomp"])
def test_a_prediction_does_not_differ_from_itself(method):
    same = concordance.compare_concordance(TIME, EVENT, SCORE, SCORE * 2 + 1, method=method)
    assert (same.difference, same.se, same.p) == (0, 0, 1)


def test_bootstrap_equals_resampled_rows(monkeypatch):
    rng = np.random.default_rng(9)
    time, event = rng.integers(1, 12, 40).astype(float), rng.random(40) < 0.5
    x = rng.integers(0, 9, (40, 3)).astype(float)
    weights = resample.bootstrap_weights(40, 25, seed=3)
    ours = concordance.concordance_bootstrap(time, event, x, weights)
    rows = [np.repeat(np.arange(40), w) for w in weights]
    expected = [[concordance.concordance(time[i], event[i], m[i]).c for m in x.T] for i in rows]
    assert ours == approx(np.array(expected))
    monkeypatch.setattr(concordance, "CELLS", 100)  # several blocks
    assert concordance.concordance_bootstrap(time, event, x, weights) == approx(ours)
    monkeypatch.setattr(concordance, "MATRIX_ROWS", 10)  # too many patients for a matrix
    assert concordance.concordance_bootstrap(time, event, x, weights) == approx(ours)


def test_bootstrap_of_ones_is_the_estimate_and_nothing_to_compare_is_nan():
    ones = concordance.concordance_bootstrap(TIME, EVENT, SCORE, np.ones((1, 6)))
    assert ones.tolist() == [[0.75]]
    only_censored = np.where(EVENT, 0, 2)[None]
    assert np.isnan(concordance.concordance_bootstrap(TIME, EVENT, SCORE, only_censored)).all()


def test_bootstrap_refusals():
    with pytest.raises(
        ValueError, match=r"weights must have one row per resample and one column per patient \(6\); found \(6,\)"
    ):
        concordance.concordance_bootstrap(TIME, EVENT, SCORE, np.ones(6))
    with pytest.raises(ValueError, match="weights must be not negative; found -1.0 at row 0, column 2"):
        concordance.concordance_bootstrap(TIME, EVENT, SCORE, np.array([[1, 1, -1, 1, 1, 1]]))
    with pytest.raises(ValueError, match=r"predictions\[:, 1\] must hold finite numbers; found nan at row 0"):
        concordance.concordance_bootstrap(TIME, EVENT, np.full((6, 2), [1, np.nan]), np.ones((1, 6)))
    with pytest.raises(ValueError, match=r"predictions must have one row per row of time \(6\); found shape \(5,\)"):
        concordance.concordance_bootstrap(TIME, EVENT, SCORE[1:], np.ones((1, 6)))


def test_frames_and_lists_do_as_well_as_arrays():
    frame = pd.DataFrame({"time": TIME, "event": EVENT.astype(int), "x": SCORE}, index=list("abcdef"))
    expected = concordance.concordance(TIME, EVENT, SCORE)
    assert concordance.concordance(frame["time"], frame["event"], frame["x"]) == expected
    assert concordance.concordance(TIME.tolist(), EVENT.tolist(), SCORE.tolist()) == expected
    boot = concordance.concordance_bootstrap(frame["time"], frame["event"], frame[["x"]], np.ones((2, 6)))
    assert boot.tolist() == [[0.75], [0.75]]
