"""Brier scores and calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weighted
from dlrs.stats import calibration, checks, cox, resample


def cohort(n=150, seed=0):
    generator = np.random.default_rng(seed)
    lp = 0.7 * generator.normal(size=n)
    time = (generator.exponential(40 * np.exp(-lp)) + 1).round()
    lost = generator.exponential(80, n).round() + 1
    risk = 1 - np.exp(-36 / 40 * np.exp(lp))
    return np.minimum(time, lost), time <= lost, risk, lp


def test_brier_by_hand():
    # Times 1 event, 2 lost, 3 event, 4 free; horizon 3. G drops to 2/3 at 2, so the weights are 1, 0, 3/2, 3/2:
    # (0.2^2 + 1.5 * 0.4^2 + 1.5 * 0.2^2) / 4 = (0.04 + 0.24 + 0.06) / 4
    found = calibration.brier_score([1, 2, 3, 4], [1, 0, 1, 0], [0.8, 0.1, 0.6, 0.2], horizon=3)
    assert found.brier == pytest.approx(0.085)
    # Kaplan-Meier: 3/4 * 1/2 = 3/8, null risk 5/8: (9/64 + 1.5 * 9/64 + 1.5 * 25/64) / 4
    assert calibration.null_risk([1, 2, 3, 4], [1, 0, 1, 0], horizon=3) == pytest.approx(5 / 8)
    assert found.null == pytest.approx((2.5 * 9 + 1.5 * 25) / 64 / 4)
    assert found.ipa == pytest.approx(1 - 0.085 / found.null)


def test_brier_limits():
    time, event = [1, 2, 5, 6], [1, 1, 0, 0]
    perfect = calibration.brier_score(time, event, [1, 1, 0, 0], horizon=3)
    assert perfect[:2] == (0, 0) and np.isnan(perfect[2:4]).all()  # nothing tells how precise it is
    assert perfect.ipa == 1
    assert calibration.brier_score(time, event, [0, 0, 1, 1], horizon=3).brier == 1
    assert calibration.brier_score(time, event, [0.5] * 4, horizon=3).ipa == 0
    same = calibration.compare_brier(time, event, [0.2] * 4, [0.2] * 4, horizon=3)
    assert same == (0, 0, 0, 0, 0, 1)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 200))
def test_order_of_rows_never_matters(seed):
    time, event, risk, lp = cohort(60, seed)
    mixed = np.random.default_rng(seed).permutation(60)
    horizon = float(np.quantile(time, 0.7))
    event[time.argmin()] = True
    there = calibration.brier_score(time, event, risk, horizon=horizon)
    assert calibration.brier_score(time[mixed], event[mixed], risk[mixed], horizon=horizon) == pytest.approx(there)
    slope = calibration.calibration_slope(time, event, lp)
    assert calibration.calibration_slope(time[mixed], event[mixed], lp[mixed]) == pytest.approx(slope, abs=1e-6)


def test_brier_error_is_the_infinitesimal_jackknife():
    time, event, risk, _ = cohort(80)
    time = time + np.linspace(0, 0.4, 80)
    found = calibration.brier_score(time, event, risk, horizon=36)
    assert weighted.brier(time, event, risk, np.ones(80), 36) == pytest.approx(found.brier)
    influence = weighted.influences(lambda w: weighted.brier(time, event, risk, w, 36), 80)
    # n - 1 in the standard deviation; riskRegression's steps of censoring are C/Y, the jackknife's -log(1 - C/Y)
    assert found.se == pytest.approx(np.sqrt((influence**2).sum() * 80 / 79), rel=1e-3)


def test_comparison_is_paired():
    time, event, risk, _ = cohort()
    other = np.clip(risk + 0.05, 0, 1)
    found = calibration.compare_brier(time, event, risk, other, horizon=36)
    alone = [calibration.brier_score(time, event, r, horizon=36) for r in (risk, other)]
    assert found.difference == pytest.approx(alone[0].brier - alone[1].brier)
    assert found.se < np.hypot(alone[0].se, alone[1].se)
    back = calibration.compare_brier(time, event, other, risk, horizon=36)
    assert (back.z, back.p) == pytest.approx((-found.z, found.p))


def test_slope_is_one_where_the_model_was_fitted_and_its_inverse_scale_elsewhere():
    time, event, _, lp = cohort()
    fit = cox.cox_fit(time, event, lp)
    own = calibration.calibration_slope(time, event, lp * fit.coefficients[0])
    assert own.slope == pytest.approx(1)
    assert own.likelihood_ratio_chi2 == pytest.approx(0, abs=1e-8)
    assert own.wald_p == pytest.approx(1)
    too_extreme = calibration.calibration_slope(time, event, 2 * lp * fit.coefficients[0])
    assert too_extreme.slope == pytest.approx(0.5)
    assert too_extreme.wald_p < 0.01
    assert too_extreme.likelihood_ratio_p == pytest.approx(too_extreme.wald_p, abs=0.01)


def test_observed_expected_at_by_hand():
    # Kaplan-Meier risk 5/8 over a mean risk of 0.5; Greenwood: S sqrt(1/(4*3) + 1/(2*1)) with S = 3/8
    found = calibration.observed_expected_at([1, 2, 3, 4], [1, 0, 1, 0], [0.4, 0.6, 0.7, 0.3], horizon=3)
    assert found.ratio == pytest.approx(1.25)
    assert found.se == pytest.approx(3 / 8 * np.sqrt(1 / 12 + 1 / 2) / (5 / 8))
    assert np.exp(found.lower) < found.ratio < np.exp(found.upper)


def test_spline_by_hand():
    # Knots 0, 1, 2: below 0 the bend is 0; at 1 it is 1/4; at 3, beyond the knots,
    # (27 + (1 - 0) * 1 - (2 - 0) * 8) / 4 = 12 / 4, and its slope is constant from 2 on.
    basis = calibration.spline_basis([-1, 1, 3, 4, 5], [0, 1, 2])
    assert basis[:, 0].tolist() == [-1, 1, 3, 4, 5]
    assert basis[:3, 1].tolist() == [0, 0.25, 3]
    assert np.diff(basis[2:, 1]) == pytest.approx([1.5, 1.5])


def test_knots():
    assert calibration.spline_knots(np.arange(101)).tolist() == [10, 50, 90]
    assert calibration.spline_knots(np.arange(51)).tolist() == [4, 25, 46]  # 5th from either end
    tied = np.concatenate([np.zeros(70), np.arange(60)])
    assert calibration.spline_knots(tied).size >= 3


def test_smooth_calibration_finds_a_well_calibrated_model_calibrated():
    time, event, risk, _ = cohort(3000)
    good = calibration.smooth_calibration(time, event, risk, horizon=36)
    assert good.ici < 0.03
    assert good.e50 <= good.e90 <= good.emax
    too_high = 1 - (1 - risk) ** 2
    bad = calibration.smooth_calibration(time, event, too_high, horizon=36)
    assert bad.ici > 0.1
    # the same order and the same spread on the complementary log-log scale: the same smoothed risks
    assert bad.observed == pytest.approx(good.observed, abs=1e-6)
    curve = calibration.calibration_curve(time, event, too_high, horizon=36, at=too_high[:5])
    assert curve["observed"].to_numpy() == pytest.approx(bad.observed[:5])
    assert (curve["observed"] < curve["predicted"]).all()


def test_grouped_calibration_by_hand():
    # risks 0.2 0.4 | 0.6 0.8 (edges 0.2, 0.5, 0.8); no censoring by 3: one of two, then two of two had the event
    found = calibration.grouped_calibration([1, 9, 2, 3], [1, 0, 1, 1], [0.2, 0.4, 0.6, 0.8], horizon=3, n_groups=2)
    assert found["n"].tolist() == [2, 2]
    assert found["mean_predicted"].tolist() == pytest.approx([0.3, 0.7])
    assert found["observed"].tolist() == [0.5, 1]
    assert found["se"].iloc[0] == pytest.approx(0.5 * np.sqrt(1 / 2))
    assert np.isnan(found["se"].iloc[1])
    assert found["lower"].iloc[0] < 0.5 < found["upper"].iloc[0]


def test_tied_risks_give_fewer_groups():
    time, event, _, _ = cohort(40)
    risk = np.repeat([0.1, 0.5], [30, 10])  # quartiles 0.1, 0.1, 0.1, 0.2, 0.5
    assert calibration.grouped_calibration(time, event, risk, horizon=30)["n"].tolist() == [30, 10]


GOOD = {"time": [1, 2, 3, 4], "event": [1, 0, 1, 0], "risk": [0.8, 0.1, 0.6, 0.2], "horizon": 3}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"risk": [0.8, 1.37, 0.6, 0.2]}, r"risk must lie in \[0, 1\]; found 1.37 at row 1"),
        ({"risk": [0.8, 0.1]}, "risk must have one value per row"),
        ({"horizon": 9}, "horizon must lie within follow-up"),
        ({"event": [0, 0, 0, 0]}, "found no event in any row"),
        ({"time": [1, np.nan, 3, 4]}, "time must hold finite numbers; found nan at row 1"),
        ({"level": 0}, "level must lie between 0 and 1; found 0"),
    ],
)
def test_brier_error_messages(wrong, message):
    with pytest.raises(ValueError, match=message):
        calibration.brier_score(**GOOD | wrong)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration.smooth_calibration(**GOOD | {"risk": [0.8, 0.0, 0.6, 0.2]}), "found 0 at row 1"),
        (lambda: calibration.smooth_calibration(**GOOD), "x must have at least six rows; found 4"),
        (lambda: calibration.calibration_curve(**GOOD, at=[0.5, 1.0]), "found 1 at row 1|at least six rows"),
        (lambda: calibration.spline_knots(np.ones(8)), "at least three knots"),
        (
            lambda: calibration.grouped_calibration(**GOOD | {"risk": [0.3] * 4}),
            "risk must vary to be grouped; found 0.3",
        ),
        (lambda: calibration.observed_expected_at([1, 2], [1, 1], [0.1, 0.2], horizon=2), "found survival 0 at 2"),
        (lambda: calibration.calibration_slope([1, 2, 3], [1, 1, 0], [1.0, 1.0, 1.0]), "'linear_predictor'"),
    ],
)  # fmt: skip
def test_error_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_band_holds_the_curve_and_few_levels_have_none():
    time, event, risk, _ = cohort(120, 3)
    weights = resample.bootstrap_weights(120, 30, seed=1)
    band = calibration.calibration_band(time, event, risk, weights, horizon=float(np.median(time)))
    inner = band[band["predicted"].between(*np.quantile(risk, [0.2, 0.8]))]
    assert (inner["lower"] <= inner["observed"]).all() and (inner["observed"] <= inner["upper"]).all()
    assert band["predicted"].iloc[[0, -1]].tolist() == pytest.approx(np.quantile(risk, [0.02, 0.98]).tolist())
    levels = np.where(risk > 0.5, 0.6, 0.2)
    assert calibration.calibration_band(time, event, levels, weights, horizon=float(np.median(time))).empty


def test_the_summary_says_why_a_measure_is_missing():
    time, event, risk, _ = cohort(120, 3)
    horizon = float(np.median(time))
    row = calibration.summary(time, event, risk, horizon=horizon)
    ratio = calibration.observed_expected_at(time, event, risk, horizon=horizon)
    assert row["ratio"] == ratio.ratio and row["upper"] == pytest.approx(np.exp(ratio.upper))
    assert row["ici"] == calibration.smooth_calibration(time, event, risk, horizon=horizon).ici and row["reason"] == ""
    few = calibration.summary(time, event, np.where(risk > 0.5, 0.6, 0.2), horizon=horizon)
    assert np.isnan(few["ici"]) and np.isfinite(few["ratio"]) and "at least three knots" in few["reason"]
    none = calibration.summary(time, np.zeros(120), risk, horizon=horizon)
    assert np.isnan(none["ratio"]) and none["reason"].startswith("horizon must have an event")


@pytest.mark.parametrize(("n", "digits"), [(150, 9), (150, 1), (40, 9)])
def test_a_curve_of_weights_is_that_of_the_resampled_rows(n, digits):
    """Tied times, tied risks and few patients: curve and ICI of the resampled rows, or none."""
    draw = np.random.default_rng(n + digits)
    x = draw.normal(size=n)
    all_time, lost = draw.exponential(40 / np.exp(x)), draw.uniform(10, 90, n)
    time, event = np.ceil(np.minimum(all_time, lost)), all_time <= lost
    risk = (1 - np.exp(-0.9 * np.exp(0.7 * x))).round(digits).clip(0.02, 0.98)
    weights, at = resample.bootstrap_weights(n, 25, seed=1), [0.3, 0.5]
    curves, ici = calibration.smooth_draws(time, event, risk, weights, horizon=30.0, at=at)
    for k, counts in enumerate(weights):
        rows = np.repeat(np.arange(n), counts)
        data = time[rows], event[rows], risk[rows]
        alone, _ = checks.estimate_or_reason(calibration.calibration_curve, *data, horizon=30.0, at=at)
        if alone is None:
            assert np.isnan(curves[k]).all() and np.isnan(ici[k])
        else:
            np.testing.assert_allclose(curves[k], alone["observed"], rtol=1e-9)
            assert ici[k] == pytest.approx(calibration.smooth_calibration(*data, horizon=30.0).ici, rel=1e-9)


def test_a_steep_spline_of_few_patients_has_a_distance_at_every_scale_of_the_risks():
    """Its coefficient of 400 puts log hazards near -1000, whose exponential is 0; centred it is a number."""
    time = [10.3, 15.7, 23.1, 33.5, 33.6, 42.2, 44.8, 47.3, 51.3, 54.8, 60.3, 61.7, 65.7, 68.0, 68.1, 78.0]
    event = [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    risk = [129, 163, 163, 52, 129, 129, 129, 85, 161, 62, 62, 135, 202, 85, 129, 107]
    at_12 = np.array(risk) / 1000
    later = 1 - (1 - at_12) ** 1.9  # the same predictor with a higher baseline: the same smoothed risks
    low, high = (calibration.smooth_calibration(time, event, r, horizon=12.0) for r in (at_12, later))
    assert np.isfinite(low.ici) and low.observed == pytest.approx(high.observed, abs=1e-6)
