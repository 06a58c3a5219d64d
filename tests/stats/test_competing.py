"""Restricted means and competing risks: by hand, against other packages, and as derivatives."""

import numpy as np
import pytest
import statsmodels.api as sm
from sksurv.nonparametric import cumulative_incidence_competing_risks
from statsmodels.tools.sm_exceptions import DomainWarning

from dlrs.stats import calibration, competing, decision, resample, roc, survival

HORIZON = 3.0


def cohort(n=60, seed=5, lost=True):
    """Return rounded, tied times of an event that follows a risk, deaths that do not, and losses."""
    draw = np.random.default_rng(seed)
    risk = draw.uniform(0.05, 0.7, n)
    first = np.column_stack([draw.exponential(-HORIZON / np.log1p(-risk)), draw.exponential(6, n)])
    until = draw.uniform(1, 6, n) if lost else np.full(n, 7.0)
    cause = np.where(first.min(axis=1) < until, first.argmin(axis=1) + 1, 0)
    return np.maximum(np.minimum(first.min(axis=1), until).round(1), 0.1), cause, risk


def test_restricted_mean_and_competing_risks_by_hand():
    time = np.array([3.0, 10.0, 20.0, 40.0, 50.0])
    mean, se = competing.restricted_mean(time, np.ones(5), horizon=36)
    cut = np.minimum(time, 36)
    assert mean == pytest.approx(cut.mean()) and se == pytest.approx(cut.std() / np.sqrt(5))
    cause = [1, 2, 0, 1, 2]
    # 1/5 at 3; then 4/5 stay, 3/5 after the death at 10; at 40 half of those two at risk: 3/5 * 1/2
    assert competing.cumulative_incidence(time, cause, horizon=36).risk == pytest.approx(0.2)
    assert competing.cumulative_incidence(time, cause, horizon=40).risk == pytest.approx(0.5)
    alone = [1, 0, 0, 1, 0]
    survival_40 = survival.kaplan_meier(time, alone, at=[40])["survival"].item()
    assert competing.cumulative_incidence(time, alone, horizon=40).risk == pytest.approx(1 - survival_40)
    with pytest.raises(ValueError, match=r"horizon must lie within follow-up; found 51, the longest is 50"):
        competing.cumulative_incidence(time, [1, 2, 0, 1, 0], horizon=51)
    assert competing.cumulative_incidence(time, cause, horizon=51).risk == pytest.approx(0.5)  # nobody is left


def test_incidence_and_its_interval_are_those_of_scikit_survival():
    time, cause, _ = cohort(200)
    at, curves, limits = cumulative_incidence_competing_risks(cause, time, conf_type="log-log")
    place = np.searchsorted(at, HORIZON, side="right") - 1
    found = competing.cumulative_incidence(time, cause, horizon=HORIZON)
    assert found.risk == pytest.approx(curves[1][place], abs=1e-12)
    assert found[2:] == pytest.approx(limits[1][:, place], abs=0.006)  # its variance is Dinse's, not the jackknife's


def test_without_losses_the_error_is_that_of_a_proportion():
    time, cause, _ = cohort(lost=False)
    p = ((cause == 1) & (time <= HORIZON)).mean()
    found = competing.cumulative_incidence(time, cause, horizon=HORIZON)
    assert found[:2] == pytest.approx((p, np.sqrt(p * (1 - p) / time.size)), abs=1e-12)


def statistics(time, cause, risk):
    """Return statistics that have standard errors, and those errors."""
    event, other = cause == 1, cause == 2
    options = dict(horizon=HORIZON, competing=other)
    incidence = competing.cumulative_incidence(time, cause, horizon=HORIZON)
    auc = roc.time_dependent_auc(time, event, risk, times=[HORIZON], competing=other).iloc[0]
    better = roc.compare_time_dependent_auc(time, event, risk, risk**2 - risk, times=[HORIZON], competing=other).iloc[0]
    brier = calibration.brier_score(time, event, risk, **options)
    gain = calibration.compare_brier(time, event, risk, risk / 2, **options)
    ipa_se = (brier.ipa - brier.ipa_lower) / 1.959963984540054
    values = incidence.risk, auc["auc"], better["difference"], brier.brier, gain.difference, brier.ipa
    return np.array(values), np.array([incidence.se, auc["se"], better["se"], brier.se, gain.se, ipa_se])


def test_standard_errors_are_those_of_the_derivative_by_each_patients_weight():
    """A patient's influence is n times the derivative by his or her weight; here by counting one once more in many."""
    time, cause, risk = cohort()
    n, times = time.size, 60
    once, errors = statistics(time, cause, risk)
    rows = [np.append(np.tile(np.arange(n), times), k) for k in range(n)]
    influence = np.array([statistics(time[r], cause[r], risk[r])[0] - once for r in rows]) * (n * times + 1)
    by_derivative = influence.std(axis=0, ddof=1) / np.sqrt(n)
    assert errors == pytest.approx(by_derivative, rel=0.02)


def test_without_losses_every_measure_is_the_binary_one():
    time, cause, risk = cohort(lost=False)
    event, other, y = cause == 1, cause == 2, (cause == 1) & (time <= HORIZON)
    options = dict(horizon=HORIZON, competing=other)
    auc = roc.time_dependent_auc(time, event, risk, times=[HORIZON], competing=other)["auc"].item()
    assert auc == pytest.approx(roc.delong(y, risk).auc, abs=1e-12)
    brier = calibration.brier_score(time, event, risk, **options)
    assert brier.brier == pytest.approx(((y - risk) ** 2).mean(), abs=1e-12)
    assert brier.ipa == pytest.approx(1 - ((y - risk) ** 2).mean() / y.var(), abs=1e-12)
    ratio = calibration.observed_expected_at(time, event, risk, **options)
    assert ratio.ratio == pytest.approx(y.mean() / risk.mean(), abs=1e-12)
    assert ratio.se == pytest.approx(np.sqrt((1 - y.mean()) / y.sum()), abs=1e-12)
    at = [0.1, 0.3, 0.5]
    censored = decision.decision_curve_censored(time, event, risk, thresholds=at, **options)
    for column in set(censored.columns) - {"strategy"}:
        expected = decision.decision_curve(y, risk, thresholds=at)[column]
        assert censored[column].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-9), column


def test_without_a_competing_event_nothing_changes():
    time, cause, risk = cohort()
    event, nobody = cause == 1, np.zeros(time.size, bool)
    options = dict(horizon=HORIZON, competing=nobody)
    assert calibration.brier_score(time, event, risk, **options) == pytest.approx(
        calibration.brier_score(time, event, risk, horizon=HORIZON), abs=1e-12
    )
    with_it, without = (
        decision.decision_curve_censored(time, event, risk, horizon=HORIZON, thresholds=[0.2], competing=c)
        for c in (nobody, None)
    )
    assert with_it.iloc[:, 1:].to_numpy() == pytest.approx(without.iloc[:, 1:].to_numpy(), abs=1e-12)
    ratios = [calibration.observed_expected_at(time, event, risk, horizon=HORIZON, competing=c) for c in (nobody, None)]
    assert ratios[0].ratio == pytest.approx(ratios[1].ratio, abs=1e-12)
    assert ratios[0].se == pytest.approx(ratios[1].se, rel=0.02)  # jackknife and Greenwood


def test_net_benefit_with_competing_deaths_by_hand_and_on_resamples():
    time, cause, risk = np.array([1.0, 2, 3, 4, 5]), np.array([2, 1, 0, 1, 0]), np.array([0.5, 0.6, 0.1, 0.4, 0.5])
    event, other = cause == 1, cause == 2
    options = dict(horizon=4, thresholds=[0.25], competing=other)
    # Four at high risk: 3/4 are left after the death at 1, of whom one in three at 2 and one of two at 4: 1/4 + 1/4.
    benefit = 4 / 5 * 0.5 - 0.25 / 0.75 * 4 / 5 * 0.5
    curve = decision.decision_curve_censored(time, event, risk, **options)
    assert curve.set_index("strategy")["net_benefit"]["model"] == pytest.approx(benefit)
    time, cause, risk = cohort()
    drawn = np.random.default_rng(1).integers(0, time.size, time.size)
    weights = np.bincount(drawn, minlength=time.size)[None]
    options = dict(horizon=HORIZON, thresholds=[0.2, 0.4])
    by_weight = decision.decision_curve_censored_bootstrap(
        time, cause == 1, risk, weights, competing=cause == 2, **options
    )
    again = decision.decision_curve_censored(
        time[drawn], cause[drawn] == 1, risk[drawn], competing=cause[drawn] == 2, **options
    )
    for name in ("net_benefit", "standardized_net_benefit", "tpr", "fpr"):
        assert by_weight[name][0] == pytest.approx(again[again["strategy"] == "model"][name].to_numpy(), abs=1e-12)
    incidence = resample.incidence_at(time, cause == 1, cause == 2, np.ones((1, time.size)), HORIZON)
    assert incidence.item() == pytest.approx(competing.cumulative_incidence(time, cause, horizon=HORIZON).risk)


def test_pseudo_values_and_their_regression():
    """The mean pseudo-value is the risk; the regression is R's glm(quasi(link = "cloglog")), here statsmodels'."""
    time, cause, risk = cohort(300)
    found, influence = competing.incidence_influence(time, cause, horizon=HORIZON)
    assert influence.mean() == pytest.approx(0, abs=1e-12)
    rest = np.delete(np.arange(300), 7)
    without = competing.cumulative_incidence(time[rest], cause[rest], horizon=HORIZON).risk
    assert found + influence[7] == pytest.approx(300 * found - 299 * without, abs=0.005)
    x = np.log(-np.log1p(-risk))
    b, covariance = competing.pseudo_regression(time, cause, x, horizon=HORIZON)
    family = sm.families.Gaussian(sm.families.links.CLogLog(), check_link=False)
    with pytest.warns(DomainWarning):  # pseudo-values may lie outside 0 and 1
        model = sm.GLM(found + influence, sm.add_constant(x), family=family)
    fit = model.fit(start_params=b, tol=1e-12)
    scores, bread = model.score_obs(fit.params, scale=1), fit.normalized_cov_params  # the expected information, as in R
    assert b == pytest.approx(fit.params, abs=1e-6)
    assert covariance == pytest.approx(bread @ scores.T @ scores @ bread * 300 / 299, rel=1e-5)


def test_smooth_calibration_with_competing_deaths_finds_the_true_risk():
    """Risks that ignore the deaths are too high; the curve returns the risk with deaths, known in closed form."""
    time, cause, risk = cohort(20000, lost=True)
    rate = -np.log1p(-risk) / HORIZON
    true = rate / (rate + 1 / 6) * -np.expm1(-(rate + 1 / 6) * HORIZON)
    event, other = cause == 1, cause == 2
    found = calibration.smooth_calibration(time, event, risk, horizon=HORIZON, competing=other)
    assert found.observed == pytest.approx(true, abs=0.04) and np.abs(found.observed - true).mean() < 0.012
    assert found.ici == pytest.approx((risk - true).mean(), abs=0.012)
    at = [0.2, 0.5]
    curve = calibration.calibration_curve(time, event, risk, horizon=HORIZON, at=at, competing=other)
    assert curve["observed"].tolist() == pytest.approx(np.interp(at, np.sort(risk), np.sort(found.observed)), abs=1e-3)


def test_an_event_is_of_one_kind():
    time, cause, risk = cohort()
    with pytest.raises(ValueError, match="competing must be false where event is true; found both at row"):
        calibration.brier_score(time, cause == 1, risk, horizon=HORIZON, competing=cause > 0)
