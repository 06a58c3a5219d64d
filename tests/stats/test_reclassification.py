"""Net reclassification and integrated discrimination."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weighted
from dlrs.stats import reclassification

CUTOFFS = [0.2, 0.4]


def cohort(n=80, seed=0):
    generator = np.random.default_rng(seed)
    time = generator.exponential(40, n).round() + 1
    event = generator.random(n) < 0.6
    old = generator.random(n).round(2) * 0.6
    new = np.clip(old + 0.2 * event * (time < 36) + generator.normal(0, 0.1, n), 0, 1).round(2)
    return time, event, old, new


def test_categorical_by_hand():
    # Five events: two up, one down, two stay; four non-events: none up, one down, three stay; cut-off 0.2.
    # events 2/5 - 1/5, variance (3/5 - 1/25) / 5; non-events 1/4, variance (1/4 - 1/16) / 4.
    old = [0.1, 0.1, 0.3, 0.3, 0.1, 0.3, 0.1, 0.1, 0.3]
    new = [0.3, 0.2, 0.1, 0.4, 0.15, 0.1, 0.1, 0.15, 0.3]
    outcome = [1] * 5 + [0] * 4
    found = reclassification.nri_categorical(outcome, old, new, cutoffs=[0.2])
    assert found.events.value == pytest.approx(1 / 5)
    assert found.events.se == pytest.approx(np.sqrt((3 / 5 - 1 / 25) / 5))
    assert found.nonevents.value == pytest.approx(1 / 4)
    assert found.nonevents.se == pytest.approx(np.sqrt((1 / 4 - 1 / 16) / 4))
    assert found.value == pytest.approx(0.45)
    assert found.se == pytest.approx(np.hypot(found.events.se, found.nonevents.se))
    assert found.upper - found.value == pytest.approx(1.959964 * found.se, rel=1e-6)
    assert (found.up_events, found.down_events, found.up_nonevents, found.down_nonevents) == (0.4, 0.2, 0, 0.25)
    assert found.events.z == pytest.approx(1 / 5 / np.sqrt(3 / 5 / 5))  # tested by the null variance
    unpooled = reclassification.nri_categorical(outcome, old, new, cutoffs=[0.2], variance="unpooled")
    assert unpooled.events.z == pytest.approx(found.events.value / found.events.se)
    assert unpooled[:4] == found[:4]


def test_idi_by_hand():
    # events change by 0.2 and 0.4 (mean 0.3, variance 0.02), non-events by -0.1 and 0 and 0.1 (0, 0.01)
    found = reclassification.idi([1, 1, 0, 0, 0], [0.5, 0.5, 0.3, 0.3, 0.3], [0.7, 0.9, 0.2, 0.3, 0.4])
    assert found.value == pytest.approx(0.3)
    assert found.events.se == pytest.approx(np.sqrt(0.02 / 2))
    assert found.nonevents.value == pytest.approx(0)
    assert found.nonevents.se == pytest.approx(np.sqrt(0.01 / 3))
    assert found.se == pytest.approx(np.sqrt(0.01 + 0.01 / 3))


def test_a_risk_at_the_cutoff_belongs_to_the_category_above():
    assert reclassification.category_moves([0.1, 0.2, 0.19], [0.2, 0.1, 0.19], cutoffs=[0.2]).tolist() == [1, -1, 0]


def test_km_by_hand():
    # Times 1e 2c 3e 5c 6e 7c, horizon 4: S = 5/6 * 3/4 = 5/8. Up: patients 1, 3 (events) and 5: S_up = 2/3 * 1/2
    # = 1/3. Down: patient 4, S_down = 1. Shares 1/2 and 1/6.
    # P(up|event) = (2/3)(1/2)/(3/8) = 8/9, P(up|none) = (1/3)(1/2)/(5/8) = 4/15; P(down|event) = 0,
    # P(down|none) = (1/6)/(5/8) = 4/15.
    time, event = [1, 2, 3, 5, 6, 7], [1, 0, 1, 0, 1, 0]
    old, new = [0.1, 0.3, 0.1, 0.3, 0.1, 0.3], [0.3, 0.3, 0.3, 0.1, 0.3, 0.3]
    for found in (
        reclassification.nri_categorical_censored(time, event, old, new, horizon=4, cutoffs=[0.2]),
        reclassification.nri_continuous_censored(time, event, old, new, horizon=4),
    ):
        assert (found.up_events, found.down_events) == pytest.approx((8 / 9, 0))
        assert (found.up_nonevents, found.down_nonevents) == pytest.approx((4 / 15, 4 / 15))
        assert found.value == pytest.approx(8 / 9)


def test_ipw_by_hand():
    # Same patients: censoring curve drops at 2 to 4/5, so the events at 1 and 3 weigh 1 and 5/4, the patients
    # beyond 4 equally. Changes: 0.2, 0.2 among events; -0.2, 0.2, 0 beyond the horizon.
    time, event = [1, 2, 3, 5, 6, 7], [1, 0, 1, 0, 1, 0]
    old, new = [0.1, 0.3, 0.1, 0.3, 0.1, 0.3], [0.3, 0.3, 0.05, 0.1, 0.3, 0.3]
    found = reclassification.nri_continuous_censored(time, event, old, new, horizon=4, method="ipw")
    assert (found.up_events, found.down_events) == pytest.approx((4 / 9, 5 / 9))
    assert (found.up_nonevents, found.down_nonevents) == pytest.approx((1 / 3, 1 / 3))
    idi = reclassification.idi_censored(time, event, old, new, horizon=4)
    assert idi.events.value == pytest.approx((0.2 - 0.05 * 5 / 4) / (9 / 4))
    assert idi.nonevents.value == pytest.approx(0)


def test_the_event_leaves_before_a_censoring_at_its_time():
    # events by 4 at 1 (down) and 3, or 2 together with a censoring (up)
    old, new, event = [0.1] * 5, [0.05, 0.05, 0.3, 0.1, 0.2], [1, 0, 1, 0, 1]
    options = {"horizon": 4, "method": "ipw"}
    apart = reclassification.nri_continuous_censored([1, 2, 3, 5, 6], event, old, new, **options)
    assert apart.up_events == pytest.approx((4 / 3) / (7 / 3))  # G(3-) is 3/4
    tied = reclassification.nri_continuous_censored([1, 2, 2, 5, 6], event, old, new, **options)
    assert tied.up_events == pytest.approx(1 / 2)  # G(2-) is 1


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 300))
def test_a_model_against_itself_gives_zero(seed):
    time, event, old, _ = cohort(40, seed)
    outcome, horizon = event, float(np.median(time))
    event[time.argmin()] = True
    for found in (
        reclassification.nri_categorical(outcome, old, old, cutoffs=CUTOFFS),
        reclassification.nri_continuous(outcome, old, old),
        reclassification.idi(outcome, old, old),
        reclassification.nri_categorical_censored(time, event, old, old, horizon=horizon, cutoffs=CUTOFFS),
        reclassification.nri_continuous_censored(time, event, old, old, horizon=horizon, method="ipw"),
        reclassification.idi_censored(time, event, old, old, horizon=horizon),
    ):
        assert found[:6] == (0, 0, 0, 0, 0, 1)
        assert found.events == (0, 0, 0, 0, 0, 1)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 300))
def test_swapping_models_changes_the_sign_and_order_never_matters(seed):
    time, event, old, new = cohort(50, seed)
    event[time.argmin()] = True
    horizon = float(np.quantile(time, 0.6))
    mixed = np.random.default_rng(seed).permutation(time.size)
    for function, arrays, options in (
        (reclassification.nri_categorical, (event,), {"cutoffs": CUTOFFS}),
        (reclassification.nri_continuous, (event,), {}),
        (reclassification.idi, (event,), {}),
        (reclassification.nri_categorical_censored, (time, event), {"horizon": horizon, "cutoffs": CUTOFFS}),
        (reclassification.nri_continuous_censored, (time, event), {"horizon": horizon, "method": "ipw"}),
        (reclassification.idi_censored, (time, event), {"horizon": horizon}),
    ):
        there = function(*arrays, old, new, **options)
        back = function(*arrays, new, old, **options)
        again = function(*(a[mixed] for a in arrays), old[mixed], new[mixed], **options)
        assert (back.value, back.se) == pytest.approx((-there.value, there.se), nan_ok=True)
        assert again[:6] == pytest.approx(there[:6], nan_ok=True)
        assert there.value == pytest.approx(there.events.value + there.nonevents.value)


def test_without_censoring_the_versions_agree():
    time, _, old, new = cohort(60)
    event, outcome, horizon = np.ones(60, dtype=bool), time <= 30, 30
    binary = reclassification.nri_categorical(outcome, old, new, cutoffs=CUTOFFS)
    for method in ("km", "ipw"):
        censored = reclassification.nri_categorical_censored(
            time, event, old, new, horizon=horizon, cutoffs=CUTOFFS, method=method
        )
        assert censored[8:] == pytest.approx(binary[8:])
        assert censored.value == pytest.approx(binary.value)
        # the infinitesimal jackknife is then the unpooled variance
        assert (censored.events.se, censored.se) == pytest.approx((binary.events.se, binary.se))
    idi = reclassification.idi_censored(time, event, old, new, horizon=horizon)
    assert idi.value == pytest.approx(reclassification.idi(outcome, old, new).value)


@pytest.mark.parametrize("method", ["km", "ipw"])
def test_standard_errors_are_the_infinitesimal_jackknife(method):
    time, event, old, new = cohort(60, seed=4)
    move = reclassification.category_moves(old, new, cutoffs=CUTOFFS)

    def nri(weights):
        up, down = (
            weighted.km_shares(time, event, move == sign, weights, 36)
            if method == "km"
            else weighted.ipw_means(time, event, move == sign, weights, 36)
            for sign in (1, -1)
        )
        parts = up[0] - down[0], down[1] - up[1]
        return [sum(parts), *parts]

    found = reclassification.nri_categorical_censored(time, event, old, new, horizon=36, cutoffs=CUTOFFS, method=method)
    assert nri(np.ones(60)) == pytest.approx([found.value, found.events.value, found.nonevents.value])
    influence = weighted.influences(nri, 60)
    ours = [found.se, found.events.se, found.nonevents.se]
    # inverse weighting divides by patients at risk with those who have the event at the same time, as riskRegression
    assert ours == pytest.approx(np.sqrt((influence**2).sum(axis=0)), rel=1e-6 if method == "km" else 1e-3)


def test_idi_standard_error_is_the_infinitesimal_jackknife():
    time, event, old, new = cohort(60, seed=4)

    def idi(weights):
        events, nonevents = weighted.ipw_means(time, event, new - old, weights, 36)
        return [events - nonevents, events, -nonevents]

    found = reclassification.idi_censored(time, event, old, new, horizon=36)
    assert idi(np.ones(60)) == pytest.approx([found.value, found.events.value, found.nonevents.value])
    influence = weighted.influences(idi, 60)
    ours = [found.se, found.events.se, found.nonevents.se]
    assert ours == pytest.approx(np.sqrt((influence**2).sum(axis=0)), rel=1e-3)


def test_limits():
    outcome = np.array([1, 1, 0, 0])
    perfect = reclassification.nri_categorical(outcome, [0.1, 0.1, 0.9, 0.9], [0.9, 0.9, 0.1, 0.1], cutoffs=[0.5])
    assert perfect.value == 2
    assert np.isnan([perfect.se, perfect.lower, perfect.upper, perfect.events.upper]).all()
    assert perfect.z == pytest.approx(2) and perfect.p == pytest.approx(0.0455, abs=1e-4)  # 2 / sqrt(1/2 + 1/2)
    assert reclassification.idi(outcome, [0.5] * 4, outcome.astype(float)).value == 1
    # all tied: one old and one new risk for everybody moves both classes alike
    assert reclassification.nri_continuous(outcome, [0.1] * 4, [0.3] * 4).value == 0
    # nobody moved down: an empty group
    found = reclassification.nri_continuous_censored(
        [1, 2, 3, 9], [1, 1, 0, 0], [0.1] * 4, [0.3, 0.2, 0.1, 0.1], horizon=5
    )
    assert found.down_events == 0
    # a single event
    assert reclassification.nri_continuous([1, 0, 0], [0.1] * 3, [0.3, 0.1, 0.0]).value == pytest.approx(1.5)


GOOD = {"outcome": [0, 1, 1], "old_risk": [0.1, 0.2, 0.3], "new_risk": [0.2, 0.2, 0.4], "cutoffs": [0.25]}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"new_risk": [0.2, 1.37, 0.4]}, r"new_risk must lie in \[0, 1\]; found 1.37 at row 1"),
        ({"old_risk": [0.2, np.nan, 0.4]}, "old_risk must hold finite numbers; found nan at row 1"),
        ({"old_risk": [0.2, 0.3]}, "old_risk must have one value per row"),
        ({"outcome": [1, 1, 1]}, "outcome must hold both classes"),
        ({"cutoffs": [0.3, 0.2]}, r"cutoffs must be ascending risks inside \(0, 1\); found \[0.3, 0.2\]"),
        ({"cutoffs": []}, "cutoffs must have at least one row"),
        ({"variance": "pooled"}, "variance must be .* found 'pooled'"),
        ({"level": 95}, "level must lie between 0 and 1; found 95"),
    ],
)
def test_binary_error_messages(wrong, message):
    with pytest.raises(ValueError, match=message):
        reclassification.nri_categorical(**GOOD | wrong)


def test_idi_needs_two_of_each():
    with pytest.raises(ValueError, match="at least two non-events for a standard error; found 1"):
        reclassification.idi([0, 1, 1], [0.1, 0.2, 0.3], [0.2, 0.2, 0.4])


CENSORED = {
    "time": [1, 2, 3, 4],
    "event": [1, 0, 1, 0],
    "old_risk": [0.1, 0.2, 0.3, 0.3],
    "new_risk": [0.2, 0.2, 0.4, 0.1],
    "horizon": 3,
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"horizon": 9}, "horizon must lie within follow-up"),
        ({"horizon": 0.5}, "horizon must have an event at or before it"),
        ({"method": "KM"}, "method must be one of km, ipw; found 'KM'"),
        ({"event": [1, 1, 1, 1], "horizon": 4}, "horizon must leave somebody without the event"),
        ({"time": [1, 2, 3]}, "event must have one value per row"),
        ({"old_risk": [0.1, 0.2, 0.3], "new_risk": [0.2, 0.2, 0.4]}, "new_risk must have one value per row"),
        ({"event": [1, 2, 1, 0]}, "event must be boolean or coded 0 and 1; found 2 at row 1"),
    ],
)
def test_censored_error_messages(wrong, message):
    with pytest.raises(ValueError, match=message):
        reclassification.nri_continuous_censored(**CENSORED | wrong)
