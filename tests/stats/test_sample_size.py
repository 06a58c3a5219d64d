"""Sample sizes: the worked examples of the papers, and the sizes against simulated patients."""

import numpy as np
import pytest

from dlrs.stats import sample_size as size


def test_recurrent_thrombosis_needs_5143_patients():
    """Riley et al., BMJ 2020, example 2: 30 parameters, R2 0.051, rate 0.065 a year, follow-up 2.07, horizon 2."""
    assert size.shrinkage_size(30, 0.051) == 5143
    most = size.max_r2_survival(0.065, 2.07)
    assert round(most, 3) == 0.555 and round(0.051 / most, 3) == 0.092
    assert size.optimism_size(30, 0.051, most) == 1039
    assert size.overall_risk_size_survival(0.065, 2.07, 2) < 1039
    risk, lower, upper = size.overall_risk_survival(0.065, 2.07, 2, 5143)
    assert (round(risk, 3), round(lower, 3), round(upper, 3)) == (0.122, 0.113, 0.130)
    assert round(5143 * 0.065 * 2.07 / 30, 2) == 23.07


def test_pre_eclampsia_needs_5249_women():
    """Riley et al., BMJ 2020, example 1: 30 parameters, R2 0.05, 5 % have it."""
    assert size.shrinkage_size(30, 0.05) == 5249
    assert size.mean_error_size(0.05, 30) == 544
    assert size.overall_risk_size_binary(0.05) == 73
    assert size.mean_error_size(0.05, 31) is None


@pytest.mark.parametrize(
    ("parameters", "r2", "rate", "first", "second"),
    [
        (25, 0.051, 0.065, 4286, 866),
        (25, 0.065, 0.065, 3335, 859),
        (50, 0.051, 0.065, 8572, 1731),
        (25, 0.051, 0.1, 4286, 731),
    ],
)
def test_sizes_equal_pmsampsize(parameters, r2, rate, first, second):
    """The numbers that pmsampsize's own tests expect of type "s", follow-up 2.07; it rounds events up."""
    assert size.shrinkage_size(parameters, r2) == first
    assert abs(size.optimism_size(parameters, r2, size.max_r2_survival(rate, 2.07)) - second) <= 1


def test_chagas_needs_662_patients():
    """Riley et al., Stat Med 2019 part II, as in pmsampsize's help: 24 parameters, R2 0.288, 17.4 % have it."""
    most = size.max_r2_binary(0.174)
    assert size.shrinkage_size(24, 0.288) == 623
    assert size.optimism_size(24, 0.288, most) == 662
    assert size.overall_risk_size_binary(0.174) == 221


def test_valve_failure_needs_4252_for_c_and_905_for_o_e():
    """Riley et al., Stat Med 2021: 1.8 % events, C 0.8, O/E with an interval of width 1; their search rounds the SE."""
    assert size.c_size(0.8, 0.018, width=0.1) == 4252
    assert size.oe_size(0.018, width=1) == pytest.approx(905, abs=1)


def test_expected_shrinkage_turns_the_criterion_round():
    assert size.expected_shrinkage(30, 0.051, 5143) == pytest.approx(0.9, abs=1e-4)
    few = size.expected_shrinkage(30, 0.051, 60)
    assert 0.051 < few < 0.2 and size.shrinkage_size(30, 0.051, shrinkage=few - 1e-9) == 60


def test_r2_of_c_is_that_of_many_patients():
    """Logistic regression on the one normal predictor has the log-likelihood of its true model."""
    draw = np.random.default_rng(4)
    event = draw.random(400_000) < 0.174
    apart = np.sqrt(2) * 1.2265281  # C 0.89
    x = draw.standard_normal(event.size) + apart * event
    p = event.mean()
    log_odds = np.log(p / (1 - p)) - apart**2 / 2 + apart * x
    fitted = -np.logaddexp(0, np.where(event, -log_odds, log_odds)).mean()
    null = p * np.log(p) + (1 - p) * np.log(1 - p)
    assert size.r2_of_c_binary(0.89, 0.174) == pytest.approx(1 - np.exp(2 * (null - fitted)), abs=0.003)


def test_r2_of_c_survival_by_hand():
    """C 0.75: D = 1.375 + 0.1603 = 1.5353; R2_D = 0.9256/2.5706 = 0.3601; R2_OQ = 0.5923/1.2322 = 0.4807."""
    assert size.r2_of_c_survival(0.75, 0.1, 2) == pytest.approx(1 - (1 - 0.4807) ** 0.2, abs=2e-4)


def test_a_predictor_has_the_c_and_the_prevalence_asked_for():
    found = size.predictor_of(0.22, 0.75)
    assert (found.prevalence, found.c) == (pytest.approx(0.22, abs=1e-9), pytest.approx(0.75, abs=1e-9))


def test_slope_and_net_benefit_have_the_intervals_asked_for():
    """Their standard errors over simulated cohorts of the size that was computed."""
    predictor = size.predictor_of(0.25, 0.75)
    n = size.slope_size(predictor, width=0.5)
    m = size.net_benefit_size(predictor, threshold=0.2, width=0.3)
    draw, slopes, benefits = np.random.default_rng(8), [], []
    for _ in range(600):
        lp = draw.choice(predictor.lp, n, p=predictor.weight)
        y = draw.random(n) < 1 / (1 + np.exp(-lp))
        x, b = np.column_stack([np.ones(n), lp]), np.array([0.0, 1.0])
        for _ in range(6):
            mu = 1 / (1 + np.exp(-x @ b))
            b = b + np.linalg.solve(x.T @ (x * (mu * (1 - mu))[:, None]), x.T @ (y - mu))
        slopes.append(b[1])
        lp = draw.choice(predictor.lp, m, p=predictor.weight)
        y, high = draw.random(m) < 1 / (1 + np.exp(-lp)), lp >= np.log(0.2 / 0.8)
        benefits.append(((high & y).mean() - 0.25 * (high & ~y).mean()) / y.mean())
    assert 2 * 1.96 * np.std(slopes) == pytest.approx(0.5, rel=0.1)
    assert 2 * 1.96 * np.std(benefits) == pytest.approx(0.3, rel=0.1)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: size.shrinkage_size(0, 0.1), "parameters must be a positive whole number; found 0"),
        (lambda: size.shrinkage_size(5, 0.95), "r2 must lie between 0 and 0.9; found 0.95"),
        (lambda: size.c_size(0.4, 0.2, width=0.1), "c must lie between 0.5 and 1; found 0.4"),
        (lambda: size.max_r2_binary(1.2), "prevalence must lie between 0 and 1; found 1.2"),
        (lambda: size.overall_risk_size_survival(-1, 2, 2), "must be above 0; found -1"),
    ],
)
def test_impossible_arguments_are_named(ask, said):
    with pytest.raises(ValueError, match=said):
        ask()
