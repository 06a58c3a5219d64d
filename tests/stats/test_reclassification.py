"""Net reclassification and integrated discrimination."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parity
from dlrs.stats import reclassification, resample

CUTOFFS = [0.2, 0.4]
REFERENCE = Path(__file__).parent / "reference"


def cohort(n=80, seed=0):
    generator = np.random.default_rng(seed)
    time = generator.exponential(40, n).round() + 1
    event = generator.random(n) < 0.6
    old = generator.random(n).round(2) * 0.6
    new = np.clip(old + 0.2 * event * (time < 36) + generator.normal(0, 0.1, n), 0, 1).round(2)
    return time, event, old, new


def derivative(replicates, n, step=1e-5):
    """Numerical influence of every patient: the change of a weighted statistic with the patient's weight."""
    ones, own = np.ones((n, n)), np.eye(n)
    return (replicates(ones + step * own) - replicates(ones - step * own)) / (2 * step)


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
    null = reclassification.nri_categorical(outcome, old, new, cutoffs=[0.2], variance="null")
    assert null.events.se == pytest.approx(np.sqrt(3 / 5 / 5))
    assert null.value == found.value


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
    table = reclassification.reclassification_table([0.1, 0.2, 1.0], [0.2, 0.2, 0.0], cutoffs=[0.2])
    assert table.loc["[0, 0.2)", "[0.2, 1]"] == 1
    assert table.loc["[0.2, 1]"].tolist() == [1, 1]


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


def test_weighting_differs_only_where_an_event_and_a_censoring_tie():
    # events by 4 at 1 (down) and 3, or 2 together with a censoring (up)
    old, new, event = [0.1] * 5, [0.05, 0.05, 0.3, 0.1, 0.2], [1, 0, 1, 0, 1]

    def up_events(time, weighting):
        return reclassification.nri_continuous_censored(
            time, event, old, new, horizon=4, method="ipw", weighting=weighting
        ).up_events

    # apart: G is 3/4 at 3 and before it
    assert up_events([1, 2, 3, 5, 6], "default") == pytest.approx((4 / 3) / (7 / 3))
    assert up_events([1, 2, 3, 5, 6], "nricens") == pytest.approx((4 / 3) / (7 / 3))
    # tied at 2: G(2-) is 1, nricens' G(2) is 3/4
    assert up_events([1, 2, 2, 5, 6], "default") == pytest.approx(1 / 2)
    assert up_events([1, 2, 2, 5, 6], "nricens") == pytest.approx((4 / 3) / (7 / 3))


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
        assert (back.value, back.se) == pytest.approx((-there.value, there.se))
        assert again[:6] == pytest.approx(there[:6])
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
    found = reclassification.nri_categorical_censored(time, event, old, new, horizon=36, cutoffs=CUTOFFS, method=method)
    move = reclassification.category_moves(old, new, cutoffs=CUTOFFS)
    influence = derivative(
        lambda w: reclassification.nri_censored_bootstrap(time, event, move, w, horizon=36, method=method), 60
    )
    ours = [found.se, found.events.se, found.nonevents.se]
    # inverse weighting divides by patients at risk with those who have the event at the same time, as riskRegression
    assert ours == pytest.approx(np.sqrt((influence**2).sum(axis=0)), rel=1e-6 if method == "km" else 1e-3)


def test_idi_standard_error_is_the_infinitesimal_jackknife():
    time, event, old, new = cohort(60, seed=4)
    found = reclassification.idi_censored(time, event, old, new, horizon=36)
    influence = derivative(lambda w: reclassification.idi_censored_bootstrap(time, event, old, new, w, horizon=36), 60)
    ours = [found.se, found.events.se, found.nonevents.se]
    assert ours == pytest.approx(np.sqrt((influence**2).sum(axis=0)), rel=1e-3)


def test_ones_change_nothing():
    time, event, old, new = cohort()
    ones, move = np.ones((1, 80)), reclassification.category_moves(old, new, cutoffs=CUTOFFS)
    pairs = [
        (
            reclassification.nri_bootstrap(event, move, ones),
            reclassification.nri_categorical(event, old, new, cutoffs=CUTOFFS),
        ),
        (
            reclassification.nri_bootstrap(event, reclassification.moves(old, new), ones),
            reclassification.nri_continuous(event, old, new),
        ),
        (reclassification.idi_bootstrap(event, old, new, ones), reclassification.idi(event, old, new)),
        (
            reclassification.idi_censored_bootstrap(time, event, old, new, ones, horizon=36),
            reclassification.idi_censored(time, event, old, new, horizon=36),
        ),
    ]
    for method in ("km", "ipw"):
        single = reclassification.nri_categorical_censored(
            time, event, old, new, horizon=36, cutoffs=CUTOFFS, method=method
        )
        pairs.append(
            (reclassification.nri_censored_bootstrap(time, event, move, ones, horizon=36, method=method), single)
        )
    for replicate, single in pairs:
        assert replicate[0] == pytest.approx([single.value, single.events.value, single.nonevents.value])


def test_resamples_equal_the_same_patients_repeated():
    time, event, old, new = cohort(50)
    weights = resample.bootstrap_weights(50, 10, seed=2)
    move = reclassification.category_moves(old, new, cutoffs=CUTOFFS)
    binary = reclassification.nri_bootstrap(event, move, weights)
    idi = reclassification.idi_bootstrap(event, old, new, weights)
    censored_idi = reclassification.idi_censored_bootstrap(time, event, old, new, weights, horizon=30)
    for row, counts in enumerate(weights):
        d = np.repeat(np.arange(50), counts)
        assert binary[row, 0] == pytest.approx(
            reclassification.nri_categorical(event[d], old[d], new[d], cutoffs=CUTOFFS).value
        )
        assert idi[row, 0] == pytest.approx(reclassification.idi(event[d], old[d], new[d]).value)
        assert censored_idi[row, 0] == pytest.approx(
            reclassification.idi_censored(time[d], event[d], old[d], new[d], horizon=30).value
        )
        for method in ("km", "ipw"):
            many = reclassification.nri_censored_bootstrap(time, event, move, weights, horizon=30, method=method)
            one = reclassification.nri_categorical_censored(
                time[d], event[d], old[d], new[d], horizon=30, cutoffs=CUTOFFS, method=method
            )
            assert many[row] == pytest.approx([one.value, one.events.value, one.nonevents.value])


@pytest.mark.parametrize("name", parity.datasets(REFERENCE))
def test_bootstrap_equals_that_of_nricens_within_monte_carlo_error(name):
    data, r = (
        parity.context(name, REFERENCE),
        parity.reference(name, REFERENCE)["bootstrap"]["nricens_category_km_primary"],
    )
    rows = data.primary
    move = reclassification.category_moves(
        rows["risk_clinical"], rows["risk_combined"], cutoffs=data.spec["nri_cutoffs"]
    )
    weights = resample.bootstrap_weights(len(rows), 2000, seed=1)
    ours = reclassification.nri_censored_bootstrap(rows["time"], rows["event"], move, weights, horizon=data.horizon)
    limits = resample.interval(ours)
    for column, part in enumerate(("nri", "nri_events", "nri_nonevents")):
        # their limits rest on 300 resamples: 4 % of the interval's width is one standard error
        error = 0.2 * (limits.upper[column] - limits.lower[column])
        assert abs(limits.lower[column] - r[part]["Lower"]) < error
        assert abs(limits.upper[column] - r[part]["Upper"]) < error


def test_limits():
    outcome = np.array([1, 1, 0, 0])
    perfect = reclassification.nri_categorical(outcome, [0.1, 0.1, 0.9, 0.9], [0.9, 0.9, 0.1, 0.1], cutoffs=[0.5])
    assert perfect.value == 2
    assert perfect.se == 0
    assert perfect.z == np.inf
    assert perfect.p == 0
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


def test_resample_without_a_class_is_undefined():
    weights = [[1, 0, 1, 0], [1, 1, 1, 1]]
    found = reclassification.nri_bootstrap([0, 1, 0, 1], [1, 1, -1, 0], weights)
    assert np.isnan(found[0, 0])
    assert np.isfinite(found[1]).all()
    censored = reclassification.nri_censored_bootstrap(
        [1, 2, 8, 9], [1, 1, 0, 0], [1, 1, -1, 0], [[0, 0, 2, 2]], horizon=5
    )
    assert np.isnan(censored[0, 0])


def test_survidinri_by_hand():
    # No censoring before 4: events at 1 and 3 change by 0.2 and 0.4, patients seen at 4 or later by -0.2 and 0:
    # IDI 0.3 - (-0.1), P(D > 0) 1 and 0; an event at exactly 4 counts as none. On the grid to about 1e-3.
    found = reclassification.idi_survidinri([1, 3, 4, 6], [1, 1, 1, 0], [0.3] * 4, [0.5, 0.7, 0.1, 0.3], horizon=4)
    assert found.idi == pytest.approx(0.4, abs=1e-3)
    assert (found.nri_half, found.nri_events_half, found.nri_nonevents_half) == (1, 1, 0)
    assert found.median_difference == pytest.approx(0.4, abs=1e-3)


GOOD = {"outcome": [0, 1, 1], "old_risk": [0.1, 0.2, 0.3], "new_risk": [0.2, 0.2, 0.4], "cutoffs": [0.25]}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"new_risk": [0.2, 1.37, 0.4]}, r"new_risk must lie in \[0, 1\]; found 1.37 at row 1"),
        ({"old_risk": [0.2, np.nan, 0.4]}, "old_risk must hold finite numbers; found nan at row 1"),
        ({"old_risk": [0.2, 0.3]}, "old_risk must have one value per row"),
        ({"outcome": [1, 1, 1]}, "outcome must hold both classes"),
        ({"cutoffs": [0.3, 0.2]}, r"cutoffs must be ascending risks inside \(0, 1\); found \[0.3, 0.2\]"),
        ({"cutoffs": []}, "cutoffs must be ascending"),
        ({"variance": "pooled"}, "variance must be .* found 'pooled'"),
        ({"level": 95}, r"level must lie inside \(0, 1\); found 95"),
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
        ({"method": "KM"}, 'method must be "km" or "ipw"'),
        ({"method": "ipw", "weighting": "R"}, 'weighting must be "default" or "nricens"'),
        ({"method": "ipw", "horizon": 4}, "horizon must be passed by a patient"),
        ({"event": [1, 1, 1, 1], "horizon": 4}, "horizon must leave somebody without the event"),
        ({"time": [1, 2, 3]}, "event must have one value per row"),
        ({"old_risk": [0.1, 0.2, 0.3], "new_risk": [0.2, 0.2, 0.4]}, "new_risk must have one value per row"),
        ({"event": [1, 2, 1, 0]}, "event must be boolean or coded 0 and 1; found 2 at row 1"),
    ],
)
def test_censored_error_messages(wrong, message):
    with pytest.raises(ValueError, match=message):
        reclassification.nri_continuous_censored(**CENSORED | wrong)
