"""Decision curves for binary and censored outcomes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrs.stats import decision, resample, roc

THRESHOLDS = np.arange(101) / 100


def rows_of(curve: pd.DataFrame, strategy: str = "model") -> pd.DataFrame:
    return curve[curve["strategy"] == strategy].reset_index(drop=True)


def cohort(n=60, seed=0):
    generator = np.random.default_rng(seed)
    time = generator.exponential(30, n).round(1) + 0.1
    return time, generator.random(n) < 0.6, generator.random(n).round(2)


def test_by_hand():
    # Risks 0.1 0.4 | 0.2 0.9 (non-events | events). At 0.2 the patients with 0.4, 0.2 and 0.9 are at high risk:
    # true positives 2/4, false positives 1/4, odds 0.25: NB = 0.5 - 0.25 / 4 = 0.4375; sNB = NB / 0.5.
    curve = rows_of(decision.decision_curve([0, 0, 1, 1], [0.1, 0.4, 0.2, 0.9], thresholds=[0.2]))
    expected = {
        "threshold": 0.2,
        "net_benefit": 0.4375,
        "standardized_net_benefit": 0.875,
        "tpr": 1,
        "fpr": 0.5,
        "fnr": 0,
        "tnr": 0.5,
        "high_risk": 0.75,
        "true_positive": 0.5,
        "true_negative": 0.25,
        "high_risk_per_1000": 750,
        "high_risk_with_event_per_1000": 500,
    }
    assert curve.drop(columns="strategy").iloc[0].to_dict() == pytest.approx(expected)


def test_censored_by_hand():
    # At high risk (>= 0.2): times 2 event, 3 censored, 4 event, 9 event. KM at 5: 3/4 * 1/2 = 3/8, so R = 5/8,
    # q = 4/5: NB = 0.5 - 0.25 * 0.3. All five (one more, censored at 7): KM = 4/5 * 2/3 = 8/15.
    time, event, risk = [2, 3, 4, 9, 7], [1, 0, 1, 1, 0], [0.5, 0.2, 0.3, 0.9, 0.1]
    curve = decision.decision_curve_censored(time, event, risk, horizon=5, thresholds=[0.2])
    model, everybody = rows_of(curve).iloc[0], rows_of(curve, "all").iloc[0]
    assert model["true_positive"] == pytest.approx(0.5)
    assert model["net_benefit"] == pytest.approx(0.5 - 0.25 * 0.3)
    # sensitivity, specificity: 1/5 for the event at 2, 1/5 over G = 3/4 for the one at 4; 4/15 for each of 9 and 7
    assert model["tpr"] == pytest.approx(1)
    assert model["fpr"] == pytest.approx(0.5)
    assert model["high_risk_with_event_per_1000"] == pytest.approx(1000 * 7 / 15)
    assert everybody["net_benefit"] == pytest.approx(7 / 15 - 0.25 * 8 / 15)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 500), n=st.integers(4, 40))
def test_treating_all_and_none(seed, n):
    generator = np.random.default_rng(seed)
    outcome = generator.random(n) < 0.5
    outcome[:2] = [True, False]
    curve = decision.decision_curve(outcome, generator.random(n), thresholds=THRESHOLDS[:-1])
    rho, odds = outcome.mean(), THRESHOLDS[:-1] / (1 - THRESHOLDS[:-1])
    assert rows_of(curve, "all")["net_benefit"].to_numpy() == pytest.approx(rho - odds * (1 - rho))
    assert (rows_of(curve, "none")["net_benefit"] == 0).all()
    model = rows_of(curve)
    assert model["net_benefit"].iloc[0] == pytest.approx(rho)  # at threshold 0 everybody is treated
    assert (model["net_benefit"] <= rho + 1e-12).all()
    assert (model["tpr"] + model["fnr"]).to_numpy() == pytest.approx(1)
    assert (model["fpr"] + model["tnr"]).to_numpy() == pytest.approx(1)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 500))
def test_order_of_rows_never_matters_and_ones_change_nothing(seed):
    time, event, risk = cohort(seed=seed)
    event[time.argmin()] = True
    outcome, horizon = (time <= 20) & event, 20.0
    if outcome.all() or not outcome.any():
        return
    mixed = np.random.default_rng(seed).permutation(time.size)
    ones = np.ones((1, time.size))
    binary = decision.decision_curve(outcome, risk, thresholds=THRESHOLDS)
    pd.testing.assert_frame_equal(binary, decision.decision_curve(outcome[mixed], risk[mixed], thresholds=THRESHOLDS))
    censored = decision.decision_curve_censored(time, event, risk, horizon=horizon, thresholds=THRESHOLDS)
    again = decision.decision_curve_censored(
        time[mixed], event[mixed], risk[mixed], horizon=horizon, thresholds=THRESHOLDS
    )
    pd.testing.assert_frame_equal(censored, again)
    weighted_censored = decision.decision_curve_censored_bootstrap(
        time, event, risk, ones, horizon=horizon, thresholds=THRESHOLDS
    )
    for quantity in decision.QUANTITIES:
        assert weighted_censored[quantity][0] == pytest.approx(rows_of(censored)[quantity].to_numpy(), nan_ok=True)


def test_without_censoring_both_versions_agree():
    time, _, risk = cohort(40)
    event = np.ones(40, dtype=bool)
    censored = decision.decision_curve_censored(time, event, risk, horizon=25, thresholds=THRESHOLDS)
    binary = decision.decision_curve(time <= 25, risk, thresholds=THRESHOLDS)
    # two computations of the same shares: near threshold 1 the odds magnify their rounding
    keep = binary["threshold"] < 0.99
    pd.testing.assert_frame_equal(censored[keep], binary[keep], rtol=1e-9, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2000), n=st.integers(8, 60))
def test_shares_at_high_risk_never_rise_with_the_threshold_nor_leave_0_to_1(seed, n):
    time, event, risk = cohort(n, seed=seed)
    time, risk = np.ceil(time / 4), (risk / (1 + time / 60)).round(2)  # ties, and risks that know something
    horizon = float(np.quantile(time, 0.6))
    if not (event & (time <= horizon)).any() or time.max() <= horizon:
        return
    weights = np.vstack([np.ones(n), resample.bootstrap_weights(n, 30, seed=seed)])
    found = decision.decision_curve_censored_bootstrap(
        time, event, risk, weights, horizon=horizon, thresholds=THRESHOLDS
    )
    for name, top in {"tpr": 1, "fpr": 1, "high_risk_with_event_per_1000": found["high_risk_per_1000"]}.items():
        values = found[name]
        ok = np.isfinite(values)
        assert (values[ok] >= -1e-12).all() and (values <= np.asarray(top))[ok].all()
        for row, known in zip(values, ok, strict=True):
            assert (np.diff(row[known]) <= 1e-9).all()
    assert found["tpr"][0, 0] == pytest.approx(1) and found["fpr"][0, 0] == pytest.approx(1)


def test_sensitivity_and_specificity_are_those_of_the_time_dependent_roc_curve():
    time, event, risk = cohort(80, seed=4)
    curve_at = roc.time_dependent_roc(time, event, risk, times=[24.03])
    curve = rows_of(decision.decision_curve_censored(time, event, risk, horizon=24.03, thresholds=THRESHOLDS))
    for threshold, tpr, fpr in curve[["threshold", "tpr", "fpr"]].dropna().to_numpy():
        # the ROC curve is positive above its cut-off, this one from the threshold on
        positive = curve_at[curve_at["cutoff"] < threshold - 1e-9]
        assert (tpr, fpr) == pytest.approx(tuple(positive.iloc[0, 2:]) if len(positive) else (1, 1))


def test_resamples_equal_the_same_patients_repeated():
    time, event, risk = cohort(40)
    weights = resample.bootstrap_weights(40, 20, seed=3)
    censored = decision.decision_curve_censored_bootstrap(time, event, risk, weights, horizon=25, thresholds=THRESHOLDS)
    for row, counts in enumerate(weights):
        drawn = np.repeat(np.arange(40), counts)
        other = rows_of(
            decision.decision_curve_censored(time[drawn], event[drawn], risk[drawn], horizon=25, thresholds=THRESHOLDS)
        )
        for quantity in decision.QUANTITIES:
            assert censored[quantity][row][:-1] == pytest.approx(other[quantity].to_numpy()[:-1], nan_ok=True)


def test_perfect_and_useless_models():
    outcome = np.array([0, 0, 0, 1, 1])
    perfect = rows_of(decision.decision_curve(outcome, outcome.astype(float), thresholds=THRESHOLDS[1:]))
    assert perfect["standardized_net_benefit"].to_numpy() == pytest.approx(1)
    curve = decision.decision_curve(outcome, np.full(5, 0.4), thresholds=THRESHOLDS)
    low, high = curve["threshold"] <= 0.4, curve["threshold"] > 0.4
    assert (rows_of(curve[low])["net_benefit"] == rows_of(curve[low], "all")["net_benefit"]).all()
    assert (rows_of(curve[high])["net_benefit"] == 0).all()


def test_thresholds_zero_and_one():
    curve = decision.decision_curve([0, 1, 1], [1.0, 1.0, 0.5], thresholds=[0, 1])
    assert rows_of(curve)["net_benefit"].tolist() == [pytest.approx(2 / 3), -np.inf]
    assert rows_of(curve, "all")["net_benefit"].tolist() == [pytest.approx(2 / 3), -np.inf]
    curve = decision.decision_curve([0, 1, 1], [0.2, 1.0, 0.5], thresholds=[1])
    assert rows_of(curve)["net_benefit"].tolist() == [pytest.approx(1 / 3)]


def test_high_risk_group_lost_before_the_horizon_is_not_estimable():
    # from 0.5 on: one event at 2, one censored at 3, so nobody is seen at 5; from 0.8 on nobody is left
    time, event, risk = [2, 3, 6, 8], [1, 0, 0, 1], [0.5, 0.7, 0.1, 0.2]
    curve = decision.decision_curve_censored(time, event, risk, horizon=5, thresholds=[0.1, 0.5, 0.8])
    model = rows_of(curve)
    assert np.isnan(model["net_benefit"]).tolist() == [False, True, False]
    assert model["high_risk"].isna().tolist() == [False, True, False]
    assert model["net_benefit"].iloc[2] == 0


def test_bands():
    time, event, risk = cohort()
    weights = resample.bootstrap_weights(60, 200, seed=1)
    thresholds, options = [0.2, 0.6], {"horizon": 20}
    replicates = decision.decision_curve_censored_bootstrap(
        time, event, risk, weights, thresholds=thresholds, quantities=["tpr"], **options
    )
    frame = decision.bands(replicates, thresholds=thresholds)
    assert frame.columns.tolist() == ["quantity", "threshold", "lower", "upper", "n_used", "n_undefined"]
    value = rows_of(decision.decision_curve_censored(time, event, risk, thresholds=thresholds, **options))["tpr"]
    assert ((frame["lower"] < value) & (value < frame["upper"])).all()
    # the same model against itself has no difference on any resample
    same = {name: values - values for name, values in replicates.items()}
    assert (decision.bands(same, thresholds=thresholds)[["lower", "upper"]] == 0).all(axis=None)


def test_resample_whose_high_risk_group_is_lost_is_undefined_and_counted():
    # in the first resample the only patient from 0.5 on is lost at 3, before the horizon
    time, event, risk = [2, 3, 6, 8], [1, 0, 0, 1], [0.1, 0.7, 0.1, 0.8]
    weights = np.array([[1, 2, 1, 0], [1, 1, 1, 1]])
    replicates = decision.decision_curve_censored_bootstrap(time, event, risk, weights, horizon=5, thresholds=[0.5])
    assert np.isnan(replicates["net_benefit"][:, 0]).tolist() == [True, False]
    frame = decision.bands(replicates, thresholds=[0.5]).set_index("quantity")
    assert frame.loc["net_benefit", "n_undefined"] == 1


def test_several_models_share_the_reference_strategies():
    curve = decision.decision_curve([0, 1], {"a": [0.1, 0.9], "b": [0.9, 0.1]}, thresholds=[0.5])
    assert curve["strategy"].tolist() == ["a", "b", "all", "none"]
    assert curve["net_benefit"].tolist() == [0.5, -0.5, 0, 0]


GOOD = {"outcome": [0, 1], "risk": [0.5, 1], "thresholds": [0.1]}
CENSORED = {"time": [1, 2, 3], "event": [1, 0, 1], "risk": [0.1, 0.2, 0.3], "horizon": 2, "thresholds": [0.1]}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"risk": [0.5, 1.37]}, r"risk must lie in \[0, 1\]; found 1.37 at row 1"),
        ({"risk": {"a": [0.5, -1]}}, r"risk\['a'\] must lie in"),
        ({"risk": {"all": [0.5, 1]}}, "found 'all'"),
        ({"risk": [0.5]}, "risk must have one value per row"),
        ({"outcome": [1, 1]}, "outcome must hold both classes"),
        ({"outcome": [1, 2]}, "outcome must be boolean or coded 0 and 1; found 2 at row 1"),
        ({"thresholds": [0.1, 1.2]}, r"thresholds must lie in \[0, 1\]; found 1.2 at row 1"),
        ({"thresholds": []}, "thresholds must have at least one row"),
    ],
)
def test_binary_error_messages(wrong, message):
    with pytest.raises(ValueError, match=message):
        decision.decision_curve(**GOOD | wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"horizon": 5}, "horizon must lie within follow-up; found 5, but the longest follow-up is 3 at row 2"),
        ({"horizon": 0.5}, "horizon must have an event at or before it"),
        ({"event": [0, 0, 0]}, "found no event in any row"),
        ({"time": [1, -2, 3]}, "time must not be negative; found -2 at row 1"),
        ({"event": [1, 0]}, "event must have one value per row"),
        ({"risk": [0.1, np.nan, 0.3]}, "risk must hold finite numbers; found nan at row 1"),
    ],
)
def test_censored_error_messages(wrong, message):
    with pytest.raises(ValueError, match=message):
        decision.decision_curve_censored(**CENSORED | wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weights": np.ones((3, 2))}, r"one column per patient \(3\)"),
        ({"weights": [[1, -1, 0]]}, "weights must be not negative; found -1.0 at row 0, column 1"),
        ({"weights": [[1, np.nan, 1]]}, "weights must be finite; found nan at row 0, column 1"),
        ({"weights": [[1, 1, 1], [0, 0, 0]]}, "weights must count a patient in every row; found none in row 1"),
        ({"quantities": ["ppv"]}, "quantities must be among .* found 'ppv'"),
    ],
)
def test_bootstrap_error_messages(wrong, message):
    with pytest.raises(ValueError, match=message):
        decision.decision_curve_censored_bootstrap(**CENSORED | {"weights": [[1, 1, 1]]} | wrong)


def test_bands_must_be_of_these_thresholds():
    with pytest.raises(ValueError, match="thresholds must be those of the replicates"):
        decision.bands({"tpr": np.ones((5, 3))}, thresholds=[0.1])
