"""Cox models: cases worked by hand, limits, refusals. R's numbers are in test_reference.py."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from dlrs.stats import cox, survival
from patients import follow_ups


def direct_log_likelihood(time, event, lp, ties):
    """The formula with its two sums written out."""
    total, risk = 0.0, np.exp(lp)
    for u in np.unique(time[event]):
        died = np.flatnonzero(event & (time == u))
        total += lp[died].sum()
        for k in range(died.size):
            share = k / died.size if ties == "efron" else 0
            total -= np.log(risk[time >= u].sum() - share * risk[died].sum())
    return total


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_reaches_the_maximum_of_the_written_out_likelihood(ties):
    rng = np.random.default_rng(11)
    x = rng.normal(size=(60, 2))
    time = np.ceil(8 * rng.exponential(np.exp(-x[:, 0]))).clip(max=20)
    event = rng.random(60) < 0.7
    fit = cox.cox_fit(time, event, x, ties=ties)
    at = direct_log_likelihood(time, event, x @ fit.coefficients, ties)
    assert fit.log_likelihood == approx(at, rel=1e-12)
    assert fit.log_likelihood_null == approx(direct_log_likelihood(time, event, np.zeros(60), ties), rel=1e-12)
    step = 1e-4
    for j in range(2):
        move = np.eye(2)[j] * step
        sides = [direct_log_likelihood(time, event, x @ (fit.coefficients + s * move), ties) for s in (1, -1)]
        assert (sides[0] - sides[1]) / (2 * step) == approx(0, abs=1e-5)
        curvature = (sides[0] + sides[1] - 2 * at) / step**2
        assert -curvature == approx(np.linalg.inv(fit.covariance)[j, j], rel=1e-4)


def test_cox_agrees_with_lifelines_on_efron():
    from lifelines import CoxPHFitter

    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"a": rng.normal(size=80), "b": rng.integers(0, 2, 80)})
    frame["time"] = np.ceil(10 * rng.exponential(np.exp(-frame["a"])))
    frame["event"] = rng.random(80) < 0.6
    theirs = CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-12})
    fit = cox.cox_fit(frame["time"], frame["event"], frame[["a", "b"]])
    table = cox.cox_table(fit)
    assert fit.coefficients == approx(theirs.params_.to_numpy(), rel=1e-7)
    assert table["se"].to_numpy() == approx(theirs.standard_errors_.to_numpy(), rel=1e-6)
    assert table["name"].tolist() == ["a", "b"]
    assert fit.likelihood_ratio.chi2 == approx(theirs.log_likelihood_ratio_test().test_statistic)


@pytest.fixture
def patients():
    rng = np.random.default_rng(6)
    frame = pd.DataFrame({"stage": pd.Categorical(rng.choice(["T3", "T4"], 60)), "age": rng.normal(60, 9, 60)})
    return frame.assign(time_months=rng.exponential(40, 60), event=rng.random(60) < 0.6)


def test_predictions_equal_those_of_lifelines_with_efrons_baseline(patients):
    from lifelines import CoxPHFitter

    fitted_on, formula = patients[:40], "stage + scale(age)"
    theirs = CoxPHFitter().fit(fitted_on, "time_months", "event", formula=formula, fit_options={"precision": 1e-12})
    columns, variables = cox.design(formula, fitted_on, patients)  # age scaled by the mean and SD of those 40
    assert list(columns) == ["stage[T.T4]", "scale(age)"] and variables == ["stage", "scale(age)"]
    fit = cox.cox_fit(fitted_on["time_months"], fitted_on["event"], columns[:40])
    found = cox.predict(fit, columns, fitted_on, horizon=24.0)
    assert found.linear_predictor == approx(theirs.predict_log_partial_hazard(patients).to_numpy(), abs=1e-7)
    uncentred = columns.to_numpy() @ theirs.params_.to_numpy()
    baseline = cox.baseline_hazard(fitted_on["time_months"], fitted_on["event"], uncentred[:40])
    assert found.risk == approx(cox.risk_at(uncentred, baseline, 24.0), rel=1e-6)
    assert found.saved["coefficients"] == approx(dict(theirs.params_), rel=1e-6)
    assert found.saved["means"] == approx(columns[:40].mean().to_dict())


def test_without_a_fit_every_patient_has_the_risk_of_all(patients):
    """Efron's baseline hazard at coefficient 0 is Nelson and Aalen's: sum of events / at risk up to the horizon."""
    found = cox.predict(None, patients[["age"]], patients[:40], horizon=24.0)
    curve = patients[:40].sort_values("time_months")
    hazard = (curve["event"] / np.arange(40, 0, -1))[curve["time_months"] <= 24].sum()
    assert found.risk == approx(np.full(60, 1 - np.exp(-hazard))) and not found.linear_predictor.any()
    assert found.saved["coefficients"] == {"age": 0.0}


def test_a_level_without_an_event_has_next_to_no_risk_and_the_others_the_limits_risk(patients):
    """T4 never has the event: its coefficient is minus infinity, and T3 patients are predicted as without T4's rows."""
    patients["event"] &= patients["stage"] == "T3"
    columns, _ = cox.design("stage + age", patients)
    fit = cox.cox_fit(patients["time_months"], patients["event"], columns, at_limit=True)
    found = cox.predict(fit, columns, patients, horizon=24.0)
    t3 = patients["stage"] == "T3"
    assert fit.coefficients[0] == -np.inf and found.saved["coefficients"]["stage[T.T4]"] == -20
    alone = patients.loc[t3]
    fit_t3 = cox.cox_fit(alone["time_months"], alone["event"], alone["age"])
    expected = cox.predict(fit_t3, alone[["age"]], alone, horizon=24.0).risk
    assert found.risk[t3] == approx(expected, rel=1e-6) and found.risk[~t3].max() < 1e-6


def test_cox_offset_holds_a_coefficient_at_one():
    rng = np.random.default_rng(8)
    x = rng.normal(size=50)
    time, event = rng.exponential(np.exp(-x)), rng.random(50) < 0.8
    free, held = cox.cox_fit(time, event, x), cox.cox_fit(time, event, x, offset=x)
    assert held.coefficients[0] == approx(free.coefficients[0] - 1)
    assert held.log_likelihood == approx(free.log_likelihood)


def test_cox_term_tests_leave_out_whole_factors():
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"age": rng.normal(60, 9, 70), "n1": rng.random(70) < 0.3, "n2": rng.random(70) < 0.2})
    time, event = rng.exponential(size=70), rng.random(70) < 0.7
    tests = cox.cox_term_tests(time, event, frame.astype(float), terms=["age", "n", "n"])
    assert tests["term"].tolist() == ["age", "n"] and tests["df"].tolist() == [1, 2]
    full = cox.cox_fit(time, event, frame.astype(float)).log_likelihood
    age = cox.cox_fit(time, event, frame["age"]).log_likelihood
    assert tests["chi2"][1] == approx(2 * (full - age))


def test_cox_refusals():
    time, event, x = [1, 2, 3, 4], [1, 1, 0, 1], np.array([0.0, 1, 0, 1])
    with pytest.raises(ValueError, match="event must be true in at least one row; found none in 4 rows"):
        cox.cox_fit(time, [0, 0, 0, 0], x)
    with pytest.raises(ValueError, match="covariates must vary among those at risk; found no variation in 'age'"):
        cox.cox_fit(time, event, pd.DataFrame({"age": [5, 5, 5, 5], "x": x}))
    with pytest.raises(ValueError, match="linear dependence among a, b"):
        cox.cox_fit(time, event, pd.DataFrame({"a": x, "b": 2 * x + 1}))
    with pytest.raises(ValueError, match="covariates must not separate the events; .* 'x' runs off"):
        cox.cox_fit([1, 2, 3, 4], [1, 1, 0, 0], pd.DataFrame({"x": [1, 1, 0, 0]}))
    with pytest.raises(ValueError, match="x0 must hold finite numbers; found nan at row 1"):
        cox.cox_fit(time, event, [0, np.nan, 1, 0])
    with pytest.raises(ValueError, match="ties must be one of efron, breslow; found 'exact'"):
        cox.cox_fit(time, event, x, ties="exact")


@given(follow_ups(least=12), st.randoms(use_true_random=False))
def test_row_order_never_matters(data, random):
    time, event, x = data
    order = list(range(time.size))
    random.shuffle(order)
    for ties in ("efron", "breslow"):
        tables = [cox.baseline_hazard(time[i], event[i], x[i] / 4, ties=ties) for i in (slice(None), np.array(order))]
        assert tables[0].to_numpy() == approx(tables[1].to_numpy(), rel=1e-12)


def test_baseline_by_hand():
    # Two events of three at time 1, linear predictors log 2, 0, 0. Efron: 1/4 + 1/(4 - 3/2); Breslow: 2/4.
    lp = np.log([2.0, 1, 1])
    efron = cox.baseline_hazard([1, 1, 2], [1, 1, 0], lp)
    assert efron["cumulative_hazard"].tolist() == approx([1 / 4 + 1 / 2.5, 1 / 4 + 1 / 2.5])
    breslow = cox.baseline_hazard([1, 1, 2], [1, 1, 0], lp, ties="breslow")
    assert breslow["hazard"].tolist() == approx([0.5, 0])


def test_risk_at():
    baseline = cox.baseline_hazard([1, 2], [1, 1], [0.0, 0.0])  # H0: 0.5 from 1, 1.5 from 2
    assert cox.risk_at([0, np.log(2)], baseline, 1) == approx([1 - np.exp(-0.5), 1 - np.exp(-1)])
    assert cox.risk_at([0], baseline, 0.5) == approx([0])
    with pytest.raises(ValueError, match=r"horizon must lie within the baseline's follow-up \(0 to 2\); found 3"):
        cox.risk_at([0], baseline, 3)


def test_proportional_hazards_that_hold_and_that_do_not():
    rng = np.random.default_rng(2)
    x = np.repeat([0.0, 1], 300)
    holds = rng.exponential(np.exp(-x))
    crosses = np.where(x == 1, rng.weibull(3, 600), rng.weibull(0.7, 600))
    event = np.ones(600, dtype=bool)
    p = [cox.ph_test(t, event, pd.DataFrame({"arm": x})).set_index("term")["p"] for t in (holds, crosses)]
    assert p[0]["arm"] > 0.05 and p[1]["arm"] < 1e-6
    assert p[0]["GLOBAL"] == approx(p[0]["arm"])


def a_level_without_an_event(n=170, exposed=10):
    rng = np.random.default_rng(3)
    level = np.repeat(["T0", "T1", "T2"], [(n - exposed) // 2, exposed, (n - exposed) // 2])
    time = np.minimum(rng.exponential(1 / np.where(level == "T2", 0.03, 0.015)), 60.0)
    event = (time < 60) & (level != "T1")
    return time, event, pd.get_dummies(pd.Series(level)).astype(float)[["T1", "T2"]]


def test_a_level_without_an_event_has_its_likelihood_ratio_test_and_no_hazard_ratio():
    time, event, design = a_level_without_an_event()
    # the limit is Cox's likelihood with the level's patients out of every risk set
    inside = design["T1"].to_numpy() == 0
    limit = cox.cox_fit(time[inside], event[inside], design.loc[inside, "T2"])
    null = cox.cox_fit(time, event, design["T2"]).log_likelihood_null
    tests = cox.cox_term_tests(time, event, design, terms=["stage", "stage"])
    assert tests["chi2"][0] == approx(2 * (limit.log_likelihood - null), rel=1e-7) and tests["df"][0] == 2
    table = cox.cox_table(cox.cox_fit(time, event, design, at_limit=True)).set_index("name")
    assert table.loc["T1", "hr"] == 0 and np.isnan(table.loc["T1", "hr_lower"])
    there = cox.cox_table(limit).iloc[0]
    assert table.loc["T2", "hr"] == approx(there["hr"], rel=1e-6) and table.loc["T2", "se"] == approx(
        there["se"], rel=1e-6
    )
    held = cox.ph_test(time, event, design, terms=["stage", "stage"])
    assert held["term"].tolist() == ["stage", "GLOBAL"] and held["p"].isna().all() and held["df"].tolist() == [2, 2]


def test_a_level_that_nobody_has_takes_no_degree_of_freedom():
    time, event, design = a_level_without_an_event()
    nobody = design.assign(T3=0.0)
    with_it = cox.cox_term_tests(time, event, nobody, terms=["stage", "stage", "stage"])
    assert with_it.equals(cox.cox_term_tests(time, event, design, terms=["stage", "stage"]))
    alone = cox.cox_term_tests(time, event, nobody[["T2", "T3"]], terms=["T2", "T3"]).set_index("term")
    assert alone.loc["T3", "df"] == 0 and np.isnan(alone.loc["T3", "p"]) and alone.loc["T2", "df"] == 1
    with pytest.raises(ValueError, match="covariates must vary between the rows"):
        cox.cox_term_tests(time, event, nobody[["T3"]])


@pytest.mark.parametrize(("n", "exposed"), [(235, 1), (1000, 2), (3000, 5)])
def test_separation_is_seen_however_few_are_exposed(n, exposed):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        dies, lost = rng.exponential(size=n), rng.exponential(2, size=n)
        time, event = np.minimum(dies, lost), dies <= lost
        z = np.zeros(n)
        z[rng.choice(np.flatnonzero(~event), exposed, replace=False)] = 1  # nobody exposed has the event
        with pytest.raises(ValueError, match="covariates must not separate the events"):
            cox.cox_fit(time, event, z)
        assert cox.cox_fit(time, event, z, at_limit=True).coefficients[0] == -np.inf


def test_added_value_is_the_model_with_the_addition_against_the_one_without():
    from lifelines import CoxPHFitter

    random = np.random.default_rng(5)
    lp, addition = random.normal(size=(2, 80))
    time = np.ceil(20 * random.exponential(np.exp(-0.4 * lp - 0.6 * addition)))
    event = random.random(80) < 0.7
    frame = pd.DataFrame({"time": time, "event": event, "lp": lp, "addition": addition})
    whole = CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-12})
    without = CoxPHFitter().fit(frame[["time", "event", "lp"]], "time", "event", fit_options={"precision": 1e-12})
    added = cox.added_value(time, event, lp, addition)
    row = whole.summary.loc["addition"]
    assert added.chi2 == approx(2 * (whole.log_likelihood_ - without.log_likelihood_), rel=1e-6)
    limits = [row["exp(coef)"], row["exp(coef) lower 95%"], row["exp(coef) upper 95%"]]
    assert list(added[3:]) == approx(limits, rel=1e-6)
    # neither the old model's centre and slope nor the addition's unit changes the test
    again = cox.added_value(time, event, 3 * lp + 7, addition / 2)
    assert (again.chi2, again.hr) == approx((added.chi2, added.hr**2), rel=1e-8)


def test_groups_are_compared_by_the_hazard_ratio_of_one_column():
    rng = np.random.default_rng(4)
    high = rng.random(120) < 0.4
    time, event = rng.exponential(20 / np.where(high, 3, 1)), rng.random(120) < 0.8
    found = cox.compare_groups(time, event, high, horizon=10)
    expected = cox.cox_table(cox.cox_fit(time, event, high.astype(float))).iloc[0]
    assert found[:3] == pytest.approx(tuple(expected[["hr", "hr_lower", "hr_upper"]]))
    assert found.survival_low == survival.kaplan_meier(time[~high], event[~high], at=10)["survival"].iloc[0]
    nobody = cox.compare_groups(time, event, np.zeros(120), horizon=10)
    assert np.isnan(nobody[:4]).all() and 0 < nobody.survival_low < 1


def test_interaction_is_the_likelihood_ratio_of_the_products():
    rng = np.random.default_rng(8)
    high, level = rng.random(300) < 0.5, rng.choice(["a", "b", "c"], 300)
    lp = np.where(level == "c", 1.5, 0.0) * high
    time, event = rng.exponential(10 / np.exp(lp)), rng.random(300) < 0.8
    found = cox.interaction(time, event, high, level)
    dummies = np.column_stack([level == "b", level == "c"]).astype(float)
    columns = np.column_stack([high, dummies, dummies * high[:, None]])
    expected = cox.cox_term_tests(time, event, columns, terms=["g", "f", "f", "product", "product"]).iloc[2]
    assert found == pytest.approx(tuple(expected[["chi2", "df", "p"]])) and found.p < 0.05
    only_high = np.where(level == "b", True, high)  # a level in which all are in the group has no product
    assert cox.interaction(time, event, only_high, level).df == 1
    with pytest.raises(ValueError, match="factor must have two levels with patients in and out of the group"):
        cox.interaction(time, event, level == "a", level)


def test_the_error_of_a_hazard_is_that_of_the_written_out_variance_and_of_rs_survfit():
    # Therneau and Grambsch, appendix E, data set 1, Efron: one death at 1, two at 6, one at 9.
    time, event, x = [9, 1, 1, 6, 6, 8], [1, 1, 0, 1, 1, 0], np.array([0.0, 1, 1, 1, 0, 0])
    fit = cox.cox_fit(time, event, x)
    r = np.exp(fit.coefficients[0])
    at_risk = np.array([[3 * r, 3], [r, 3], [r / 2, 2.5], [0, 1]])  # of x = 1 and x = 0, at each death
    jumps, means = 1 / at_risk.sum(axis=1), at_risk[:, 0] / at_risk.sum(axis=1)
    survfit = {(0.5, 1): 0.683036, (0.5, 6): 0.145743, (0.5, 9): 0.000198, (2, 1): 1.16e-03, (2, 6): 3.96e-22}
    for (new, until), r_lower in survfit.items():  # summary(survfit(fit, list(x = new)))$lower, R 4.1, conf.type log
        k, digits = {1: 1, 6: 3, 9: 4}[until], 1e-6 if r_lower > 0.1 else 5e-3  # as many as R prints
        hazard = jumps[:k].sum()
        slope = (jumps * (new - means))[:k].sum()
        variance = (jumps[:k] ** 2).sum() + slope**2 * fit.covariance[0, 0]
        error = cox.hazard_error(time, event, x, fit, horizon=until)
        away = new - error.center[0]
        assert error.variance + away**2 * error.covariance[0, 0] == approx(variance / hazard**2, rel=1e-10)
        spread = 1.959963984540054 * np.sqrt(variance) / hazard
        assert np.exp(-hazard * r**new * (1 + spread)) == approx(r_lower, rel=digits)
    with pytest.raises(ValueError, match="horizon must not lie before the first event"):
        cox.hazard_error(time, event, x, fit, horizon=0.5)
