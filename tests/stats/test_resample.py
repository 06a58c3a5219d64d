"""The bootstrap engine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrs.stats import resample, survival


def test_weights_by_hand():
    # default_rng(1).integers(0, 4) draws 1 2 3 3 | 0 0 3 3 ... for four patients;
    # the first resample holds patient 1 once, 2 once, 3 twice, the second patient 0 twice, 3 twice.
    draws = np.random.default_rng(1).integers(0, 4, size=(2, 4))
    weights = resample.bootstrap_weights(4, 2, seed=1)
    assert draws.tolist() == [[1, 2, 3, 3], [0, 0, 3, 3]]
    assert weights.tolist() == [[0, 1, 1, 2], [2, 0, 0, 2]]


@given(n=st.integers(1, 40), n_boot=st.integers(1, 20), seed=st.integers(0, 2**32))
def test_rows_sum_to_n(n, n_boot, seed):
    weights = resample.bootstrap_weights(n, n_boot, seed=seed)
    assert weights.shape == (n_boot, n)
    assert (weights.sum(axis=1) == n).all()


def test_generator_is_advanced_and_equals_its_seed():
    generator = np.random.default_rng(8)
    first = resample.bootstrap_weights(6, 3, seed=generator)
    assert (first == resample.bootstrap_weights(6, 3, seed=8)).all()
    assert (first != resample.bootstrap_weights(6, 3, seed=generator)).any()


def test_bootstrap_of_a_mean_has_the_standard_error_of_a_mean():
    x = np.random.default_rng(0).normal(size=50)
    weights = resample.bootstrap_weights(50, 4000, seed=1)
    estimates = weights @ x / 50
    assert estimates.std() == pytest.approx(x.std() / np.sqrt(50), rel=0.05)


def test_the_first_resamples_do_not_depend_on_how_many_follow():
    def spread(rows, generator):
        return [rows.mean(), rows.max(), generator.random()]

    twelve = resample.refit_bootstrap(spread, 9, n_boot=12, seed=4)
    assert twelve.shape == (12, 3) and len(np.unique(twelve[:, 2])) == 12
    assert (resample.refit_bootstrap(spread, 9, n_boot=5, seed=4) == twelve[:5]).all()


def test_interval_by_hand():
    # 0, 1, ..., 10: type 7 puts the 5 % and 95 % points at 0.05 * 10 and 0.95 * 10
    values = np.arange(11.0)[::-1]
    assert resample.interval(values, level=0.9) == pytest.approx((0.5, 9.5, 11, 0))
    assert resample.interval(np.ones((4, 5, 3))).lower.shape == (5, 3)


def test_undefined_resamples_are_counted():
    estimates = np.array([[1.0, np.nan, np.nan], [2.0, 5.0, np.inf], [3.0, 7.0, np.nan]])
    found = resample.interval(estimates, level=0.5)
    assert found.n_undefined.tolist() == [0, 1, 3]
    assert found.n_used.tolist() == [3, 2, 0]
    assert found.lower[:2].tolist() == [1.5, 5.5]
    assert np.isnan(found.lower[2])
    assert np.isnan(found.upper[2])


def test_two_sided_p_by_hand():
    # 9 of 10 above zero, 1 below: 2 (1 + 1) / (1 + 10); never 0, and 1 for a model against itself
    assert resample.two_sided_p([1.0] * 9 + [-1.0]) == pytest.approx(4 / 11)
    assert resample.two_sided_p(np.ones(99)) == pytest.approx(2 / 100)
    assert resample.two_sided_p(np.zeros(50)) == 1
    assert resample.two_sided_p([[1.0, np.nan], [2.0, np.nan]]).tolist() == [2 / 3, 1]


def test_survival_at_by_hand():
    # events at 1 and 3, censored at 2 (after an event at 2 would be): S(2) = 2/3, S(3) = 2/3 * 0;
    # the second resample has the patient of time 1 not at all and the censored one twice: S(2) = 1;
    # in the third nobody is drawn. Past follow-up the last value is carried on.
    time, event = np.array([2.0, 3, 1]), np.array([False, True, True])
    weights = np.array([[1.0, 1, 1], [2, 1, 0], [0, 0, 0]])
    assert resample.survival_at(time, event, weights, 2) == pytest.approx([2 / 3, 1, np.nan], nan_ok=True)
    assert resample.survival_at(time, event, weights, 9)[:2].tolist() == [0, 0]
    assert resample.survival_at(time, event, weights, 0.5)[:2].tolist() == [1, 1]


@given(seed=st.integers(0, 200))
def test_survival_at_equals_kaplan_meier_of_repeated_patients(seed):
    generator = np.random.default_rng(seed)
    time, event = generator.integers(1, 9, 15).astype(float), generator.random(15) < 0.6
    weights = resample.bootstrap_weights(15, 4, seed=seed)
    ours = resample.survival_at(time, event, weights.astype(float), 5)
    for row, counts in enumerate(weights):
        drawn = np.repeat(np.arange(15), counts)
        curve = survival.kaplan_meier(time[drawn], event[drawn], at=[5], extend=True)
        assert ours[row] == pytest.approx(curve["survival"].iloc[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: resample.bootstrap_weights(0, 5, seed=1), "n must be a positive whole number; found 0"),
        (lambda: resample.bootstrap_weights(5, 2.5, seed=1), "n_boot must be a positive whole number; found 2.5"),
        (lambda: resample.bootstrap_weights(5, 5, seed=None), "seed must be a whole number from 0 up"),
        (lambda: resample.bootstrap_weights(5, 5, seed=-1), "seed must be a whole number from 0 up"),
        (
            lambda: resample.refit_bootstrap(max, 3, seed=np.random.default_rng(1)),
            "seed must be a whole number from 0 up",
        ),
        (lambda: resample.interval([1.0], level=95), r"level must lie between 0 and 1; found 95"),
        (lambda: resample.interval([]), "a row of numbers, per resample"),
    ],
)
def test_error_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()
