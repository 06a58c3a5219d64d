"""Nomograms from a Cox model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrs.stats import cox, nomogram, survival

EFFECTS = {
    "cea": {"Normal": 0, "Elevated": 1.0},
    "ypn": {"ypN0": 0.0, "ypN1": -0.5, "ypN2": 0.5},
    "dl_prob": nomogram.linear_effect([0, 0.5, 1, 1.5, 2], 2.0),
}


def example():
    return nomogram.nomogram(EFFECTS, cumulative_hazard=0.02)


def test_by_hand():
    # Ranges 1, 1 and 4: 25 points per unit. ypN1 is the lowest of its axis, so all contributions at 0 points
    # add up to -0.5. Elevated, ypN0, dl_prob 1.2 are 25 + 12.5 + 60 points, linear predictor 1 + 0 + 2.4.
    found = example()
    assert found.points_per_lp == 25
    assert found.lp_at_zero_points == -0.5
    assert found.axes["points"].tolist() == [0, 25, 12.5, 0, 25, 0, 25, 50, 75, 100]
    added = pd.DataFrame({"dl_prob": [2.4], "ypn": [0.0], "cea": [1.0]}, index=["row"])
    read = nomogram.points(found, added)
    assert read.loc["row"].to_dict() == pytest.approx({"cea": 25, "ypn": 12.5, "dl_prob": 60, "total": 97.5})
    assert nomogram.risk_at_points(found, read["total"]) == pytest.approx(1 - np.exp(-0.02 * np.exp(3.4)))


@given(total=st.lists(st.floats(-20, 160), min_size=1, max_size=5))
def test_points_and_risk_are_inverse(total):
    found = example()
    assert nomogram.points_at_risk(found, nomogram.risk_at_points(found, total)) == pytest.approx(total, abs=1e-6)


def test_equals_the_cox_model_it_is_made_of():
    generator = np.random.default_rng(0)
    x = pd.DataFrame({"a": generator.integers(0, 2, 80), "b": generator.random(80).round(2) * 2})
    time, event = generator.exponential(20 * np.exp(-x["b"])), generator.random(80) < 0.7
    fit = cox.cox_fit(time, event, x)
    lp = x.to_numpy() @ fit.coefficients
    baseline = cox.baseline_hazard(time, event, lp)
    horizon = float(np.median(time))
    hazard = survival.step(baseline["time"], baseline["cumulative_hazard"], horizon, start=0)
    effects = {
        c: nomogram.linear_effect(nomogram.axis_values(x[c]), k) for c, k in zip(x, fit.coefficients, strict=True)
    }
    found = nomogram.nomogram(effects, cumulative_hazard=float(hazard))
    total = nomogram.points(found, x * fit.coefficients)["total"]
    assert nomogram.risk_at_points(found, total) == pytest.approx(cox.risk_at(lp, baseline, horizon))
    assert nomogram.linear_predictor_at(found, total) == pytest.approx(lp)


def test_total_points_axis():
    axis = nomogram.total_points_axis(example())
    assert axis["total_points"].tolist() == list(range(0, 161, 20))  # the axes allow 150
    assert (axis["risk"] + axis["survival"]).to_numpy() == pytest.approx(1)


@pytest.mark.parametrize(
    ("low", "high", "n", "expected"),
    [
        # worked by hand from R's rule; the ranges of the reference data are held to R itself
        (0, 97, 5, [0, 20, 40, 60, 80, 100]),
        (1, 3, 10, [1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.4, 2.6, 2.8, 3]),
        (-1.2, 1.2, 5, [-1.5, -1, -0.5, 0, 0.5, 1, 1.5]),
        (0.001, 0.0043, 5, [0.001, 0.0015, 0.002, 0.0025, 0.003, 0.0035, 0.004, 0.0045]),
        (0, 0, 5, [-1, 0]),
    ],
)
def test_pretty(low, high, n, expected):
    assert nomogram.pretty(low, high, n=n) == pytest.approx(expected)


@given(low=st.floats(-1e6, 1e6), width=st.floats(0, 1e6), n=st.integers(1, 20))
def test_pretty_covers_the_range(low, width, n):
    ticks = nomogram.pretty(low, low + width, n=n)
    slack = 1e-9 * max(1, abs(low), width)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + width - slack


def test_axis_values():
    assert nomogram.axis_values([3, 1, 2, 2]).tolist() == [1, 2, 3]
    assert nomogram.axis_values(np.linspace(0.05, 1.93, 50)) == pytest.approx(np.arange(11) * 0.2)
    assert nomogram.axis_values([4.0, 4.0]).tolist() == [4]


def test_points_beyond_an_axis_go_on_as_on_it():
    # 2.5 on DL-prob's axis that ends at 2, and -0.5: 25 points for each half
    read = nomogram.points(example(), pd.DataFrame({"cea": [0.0, 0.0], "ypn": [0.0, 0.0], "dl_prob": [5.0, -1.0]}))
    assert read["dl_prob"].tolist() == [125, -25]


def formula_example():
    generator = np.random.default_rng(1)
    patients = pd.DataFrame({"age": generator.uniform(30, 80, 60).round()})
    for name, levels in {"stage": ["T3", "T4"], "cea": ["low", "high"]}.items():
        patients[name] = pd.Categorical(generator.choice(levels, 60), levels)
    return patients


def test_factors_that_interact_share_an_axis_and_a_function_bends_one():
    patients, formula = formula_example(), "stage * cea + np.log(age)"
    columns, terms = cox.design(formula, patients)
    assert terms == ["stage", "cea", "np.log(age)", "stage:cea"]
    beta = pd.Series([0.5, 0.25, 2.0, -1.0], index=columns.columns)
    assert [axis.name for axis in nomogram.axes_of(formula, patients)] == ["stage × cea", "age"]
    effects = nomogram.effects_of(formula, beta, patients, ticks={"age": [0, 40, 80]})
    assert effects["stage × cea"].to_dict() == {"T3, low": 0, "T3, high": 0.25, "T4, low": 0.5, "T4, high": -0.25}
    within = [age for age in (40, 80) if age <= patients["age"].max()]  # 0 has no logarithm, so that all lie inside
    assert effects["age"].to_dict() == pytest.approx({age: 2 * np.log(age) for age in within})
    added = nomogram.contributions(formula, beta, patients, patients)
    assert added.sum(axis=1).to_numpy() == pytest.approx(columns.to_numpy() @ beta.to_numpy())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nomogram.nomogram({}, cumulative_hazard=1), "effects must name at least one variable"),
        (
            lambda: nomogram.nomogram({"a": {0: 1.0, 1: 1.0}}, cumulative_hazard=1),
            "effects must change the linear predictor",
        ),
        (
            lambda: nomogram.nomogram({"a": {0: 1.0, 1: np.inf}}, cumulative_hazard=1),
            r"effects\['a'\] must hold finite",
        ),
        (
            lambda: nomogram.nomogram(EFFECTS, cumulative_hazard=0),
            "cumulative_hazard must be above 0; found 0",
        ),
        (
            lambda: nomogram.points_at_risk(example(), [0.5, 1.0]),
            r"risk must lie strictly inside \(0, 1\); found 1 at row 1",
        ),
        (lambda: nomogram.points_at_risk(example(), [-3.0]), r"risk must lie in \[0, 1\]; found -3 at row 0"),
        (lambda: nomogram.pretty(3, 1), "low must not lie above high; found 3 and 1"),
    ],
)  # fmt: skip
def test_error_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()
