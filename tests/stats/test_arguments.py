"""Every statistic with every kind of argument that it cannot use: a sentence that names the argument, never a number.

A new statistic joins `CALLS`; `test_every_statistic_is_here` finds the ones that did not.
"""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest

from dlrs.stats import (
    calibration,
    competing,
    concordance,
    cox,
    decision,
    groups,
    nomogram,
    reclassification,
    resample,
    roc,
    sample_size,
    stability,
    survival,
)

N, RNG = 40, np.random.default_rng(5)
IDS = pd.Index([f"P{k:02d}" for k in range(N)])
X, Z = (pd.Series(RNG.normal(size=N), IDS) for _ in "xz")
TIME = pd.Series(RNG.exponential(20 / np.exp(X)).round(3) + 0.1, IDS)
EVENT = pd.Series(RNG.random(N) < 0.6, IDS)
RISK = 1 / (1 + np.exp(-X))
OTHER = ~EVENT & (TIME > 10)
COLUMNS, WEIGHTS, PREDICTOR = pd.DataFrame({"x": X, "z": Z}), np.ones((2, N)), sample_size.predictor_of(0.2, 0.7)
BASELINE = pd.DataFrame({"time": [1.0, 5, 12], "cumulative_hazard": [0.1, 0.2, 0.3]})

FOLLOWED = dict(time=TIME, event=EVENT)
BY = FOLLOWED | dict(horizon=12.0)
RISKS = dict(old_risk=RISK, new_risk=RISK * 0.7 + 0.1)
CAUSES = dict(time=TIME, cause=EVENT + 2 * OTHER, horizon=12.0)
TABLE = dict(table=[[5, 6], [7, 8]])
AREAS = dict(times=[5.0, 12.0], competing=OTHER, level=0.9)

CALLS = {
    survival.risk_table: FOLLOWED,
    survival.kaplan_meier: FOLLOWED | dict(at=[2.0, 5.0], level=0.9),
    survival.median_survival: FOLLOWED | dict(level=0.9),
    survival.censoring_survival: FOLLOWED | dict(at=[2.0, 5.0]),
    survival.binary_outcome: BY,
    survival.logrank: FOLLOWED | dict(group=(X > 0).map({True: "a", False: "b"})),
    concordance.concordance: FOLLOWED | dict(prediction=X, level=0.9),
    concordance.uno_concordance: BY | dict(prediction=X, level=0.9),
    concordance.compare_concordance: FOLLOWED | dict(a=X, b=Z, level=0.9),
    concordance.concordance_bootstrap: FOLLOWED | dict(predictions=COLUMNS, weights=WEIGHTS),
    roc.horizon_groups: FOLLOWED | dict(at=12.0, competing=OTHER),
    roc.time_dependent_roc: FOLLOWED | dict(prediction=X, times=[5.0, 12.0]),
    roc.time_dependent_auc: FOLLOWED | AREAS | dict(prediction=X),
    roc.compare_time_dependent_auc: FOLLOWED | AREAS | dict(a=X, b=Z),
    roc.classification_at: BY | dict(prediction=X, cutoff=0.1),
    roc.survivalroc_km: FOLLOWED | dict(prediction=X, times=[12.0]),
    roc.survivalroc_nne: FOLLOWED | dict(prediction=X, times=[12.0]),
    roc.roc_curve: dict(outcome=EVENT, prediction=X),
    roc.delong: dict(outcome=EVENT, prediction=X, level=0.9),
    roc.compare_delong: dict(outcome=EVENT, a=X, b=Z, level=0.9),
    roc.youden_cutoff: dict(outcome=EVENT, prediction=X),
    roc.cutoff_by: dict(rule="median", outcome=EVENT, prediction=X),
    competing.restricted_mean: BY,
    competing.cumulative_incidence: CAUSES | dict(level=0.9),
    competing.incidence_influence: CAUSES,
    competing.pseudo_regression: CAUSES | dict(covariates=COLUMNS),
    cox.cox_fit: FOLLOWED | dict(covariates=COLUMNS, offset=RISK, tolerance=1e-9),
    cox.cox_term_tests: FOLLOWED | dict(covariates=COLUMNS),
    cox.added_value: FOLLOWED | dict(linear_predictor=X, addition=Z, level=0.9),
    cox.baseline_hazard: FOLLOWED | dict(linear_predictor=X),
    cox.risk_at: dict(linear_predictor=X, baseline=BASELINE, horizon=12.0),
    cox.hazard_error: BY | dict(covariates=COLUMNS, fit=cox.cox_fit(TIME, EVENT, COLUMNS)),
    cox.ph_test: FOLLOWED | dict(covariates=COLUMNS),
    cox.compare_groups: BY | dict(high=X > 0),
    cox.interaction: FOLLOWED | dict(high=X > 0, factor=pd.Series(np.tile(["u", "v"], N // 2), IDS)),
    calibration.null_risk: BY | dict(competing=OTHER),
    calibration.brier_score: BY | dict(risk=RISK, competing=OTHER, level=0.9),
    calibration.compare_brier: BY | dict(first=RISK, second=RISK**2, competing=OTHER, level=0.9),
    calibration.calibration_slope: FOLLOWED | dict(linear_predictor=X, level=0.9),
    calibration.observed_expected_at: BY | dict(risk=RISK, competing=OTHER, level=0.9),
    calibration.smooth_calibration: BY | dict(risk=RISK),
    calibration.calibration_curve: BY | dict(risk=RISK, at=[0.3, 0.5], competing=OTHER),
    calibration.calibration_band: BY | dict(risk=RISK, weights=WEIGHTS, level=0.9),
    calibration.smooth_draws: BY | dict(risk=RISK, weights=WEIGHTS, at=[0.3, 0.5]),
    calibration.grouped_calibration: BY | dict(risk=RISK, n_groups=3, level=0.9),
    calibration.spline_knots: dict(x=X),
    calibration.spline_basis: dict(x=X, knots=[-1.0, 0.0, 1.0]),
    decision.decision_curve: dict(outcome=EVENT, risk=RISK, thresholds=[0.1, 0.3]),
    decision.decision_curve_censored: BY | dict(risk=RISK, thresholds=[0.1, 0.3], competing=OTHER),
    decision.decision_curve_censored_bootstrap: BY | dict(risk=RISK, weights=WEIGHTS, thresholds=[0.1]),
    reclassification.category_moves: RISKS | dict(cutoffs=[0.3]),
    reclassification.moves: RISKS,
    reclassification.nri_categorical: RISKS | dict(outcome=EVENT, cutoffs=[0.3], level=0.9),
    reclassification.nri_continuous: RISKS | dict(outcome=EVENT, level=0.9),
    reclassification.idi: RISKS | dict(outcome=EVENT, level=0.9),
    reclassification.nri_categorical_censored: BY | RISKS | dict(cutoffs=[0.3], level=0.9),
    reclassification.nri_continuous_censored: BY | RISKS | dict(level=0.9),
    reclassification.idi_censored: BY | RISKS | dict(level=0.9),
    groups.mann_whitney: dict(first=X, second=Z),
    groups.spearman: dict(x=X, y=Z),
    groups.holm: dict(p_values=[0.01, 0.2]),
    groups.chi_square: TABLE,
    groups.likelihood_ratio: TABLE,
    groups.fisher_freeman_halton: TABLE,
    groups.exact_chi_square: TABLE,
    groups.standardised_difference: TABLE,
    stability.refit_cox: BY | dict(covariates=COLUMNS, n_boot=2, seed=1),
    stability.instability: dict(risk=RISK, refits=np.array([RISK, RISK**2]), cutoff=0.3, level=0.9),
    resample.bootstrap_weights: dict(n=4, n_boot=2, seed=1),
    resample.interval: dict(estimates=[0.1, 0.2, 0.3], level=0.9),
    resample.two_sided_p: dict(differences=[0.1, -0.2]),
    nomogram.pretty: dict(low=0.0, high=1.0),
    nomogram.linear_effect: dict(values=[0.0, 1], coefficient=0.3),
    nomogram.nomogram: dict(effects={"a": {"x": 0, "y": 1.0}}, cumulative_hazard=0.1, center=0.0),
    sample_size.max_r2_binary: dict(prevalence=0.2),
    sample_size.max_r2_survival: dict(rate=0.1, mean_follow_up=3.0),
    sample_size.shrinkage_size: dict(parameters=5, r2=0.1, shrinkage=0.9),
    sample_size.optimism_size: dict(parameters=5, r2=0.1, max_r2=0.5, difference=0.05),
    sample_size.expected_shrinkage: dict(parameters=5, r2=0.1, n=200),
    sample_size.overall_risk_size_binary: dict(prevalence=0.2, margin=0.05),
    sample_size.overall_risk_survival: dict(rate=0.1, mean_follow_up=3.0, horizon=3.0, n=100),
    sample_size.overall_risk_size_survival: dict(rate=0.1, mean_follow_up=3.0, horizon=3.0, margin=0.05),
    sample_size.mean_error_size: dict(prevalence=0.2, parameters=5, error=0.05),
    sample_size.r2_of_c_binary: dict(c=0.7, prevalence=0.2),
    sample_size.r2_of_c_survival: dict(c=0.7, rate=0.1, mean_follow_up=3.0),
    sample_size.predictor_of: dict(prevalence=0.2, c=0.7),
    sample_size.oe_size: dict(prevalence=0.2, width=0.3),
    sample_size.c_size: dict(c=0.7, prevalence=0.2, width=0.1),
    sample_size.slope_size: dict(predictor=PREDICTOR, width=0.3),
    sample_size.net_benefit_size: dict(predictor=PREDICTOR, threshold=0.2, width=0.3),
}
LABELS = {"group", "factor"}
COUNTS = {"n_groups", "n_boot", "parameters"}
LISTS = {"times", "at", "thresholds", "cutoffs", "knots", "p_values", "estimates", "differences", "values"}
NOT_MADE = {"p_values", "estimates", "differences"}  # where NaN stands for a test or a refit that could not be made
DATES = pd.date_range("2020-01-01", periods=N)
NAMED = {
    "at": "at|horizon",
    "times": "times|horizon",
    "covariates": r"covariates|x\d?",
    "predictions": r"predictions|x\d?",
}
ONE_LENGTH = {
    cox.risk_at,
    calibration.spline_knots,
    calibration.spline_basis,
    groups.mann_whitney,
    stability.instability,
}


def with_cell(column, value):
    """Return a column, or the first of a frame, with another value at row 3."""
    changed = column.astype(object).copy()
    changed.iloc[(3, 0) if column.ndim == 2 else 3] = value
    return changed


def bad_columns(statistic, name, column):
    """Yield what a column of patients must not be."""
    missing_allowed = statistic is roc.cutoff_by and name == "outcome"  # a state that is not known
    if not missing_allowed:
        yield from (with_cell(column, value) for value in (np.nan, None, pd.NA))
        yield np.ma.masked_array(column.to_numpy(), np.arange(column.size).reshape(column.shape) == 3)
    yield from (np.array([]), np.array([], dtype="datetime64[D]"), 1.0)
    if name not in {"competing", "offset"}:
        yield None
    if name not in LABELS:
        yield from (with_cell(column, value) for value in (np.inf, "late"))
        yield from (pd.Series(DATES, IDS), np.tile(column.to_numpy(), (1, 2, 1)), column.to_numpy() + 1j)
    if statistic not in ONE_LENGTH:
        yield from (column.iloc[:-1].to_numpy(), column.sample(frac=1, random_state=0))


def bad_values(statistic, name, value):
    """Yield what an argument must not be."""
    if isinstance(value, (pd.Series, pd.DataFrame)) and name != "baseline":
        yield from bad_columns(statistic, name, value)
    elif name in COUNTS:
        yield from (0, -1, 2.5, None, "3", np.nan, [1], True)
    elif name in LISTS and np.ndim(value):
        yield from ([], ["a"], DATES, np.array([[["a"]]]))[name == "p_values" :]
        yield from (
            () if name in NOT_MADE else ([np.nan], [[0.1, 0.2]], np.ma.masked_array([0.2, 0.3], [0, 1]), [np.inf])
        )
        yield from ([0.1, 1.5], [-0.1]) if name in {"thresholds", "p_values"} else ()
    elif name == "weights":
        yield from (WEIGHTS * np.nan, -WEIGHTS, WEIGHTS[:, :-1], WEIGHTS * 0, WEIGHTS[0], WEIGHTS * np.inf, None)
    elif name == "table":
        yield from ([[1, np.nan], [2, 3]], [[1, -1], [2, 3]], [[1.5, 1], [2, 3]], [1, 2], None, [["a", "b"]], [])
        yield np.ma.masked_array([[5, 6], [7, 8]], [[0, 1], [0, 0]])
    elif name == "refits":
        yield from (np.full((1, N), np.nan), np.full((1, N), 1.4), np.zeros((2, N - 1)), None)
    elif name == "rule":
        yield from ("youden", None, np.nan, [1], True)
    elif isinstance(value, float):
        yield from (np.nan, np.inf, -np.inf, "3", [1.0, 2.0], True, DATES[0], pd.NA)
        yield from () if name in {"cutoff", "span"} or statistic is concordance.uno_concordance else (None,)
        yield from (-1.0, 0.0) if name in {"level", "span", "width", "margin", "rate", "prevalence"} else ()
        yield from (95.0,) if name == "level" else (-1.0,) if name == "horizon" else ()


RAW = ("operands", "could not", "truth value", "inhomogeneous", "shapes", "concatenate", "zero-size", "reshape", "f(a)")


@pytest.mark.parametrize("statistic", CALLS, ids=lambda statistic: f"{statistic.__module__}.{statistic.__name__}")
def test_what_cannot_be_is_refused_by_name(statistic):
    arguments = CALLS[statistic]
    statistic(**arguments)
    for name, value in arguments.items():
        named = rf"\b({NAMED.get(name, name)}|{name}\[.*)\b"
        for bad in bad_values(statistic, name, value):
            with pytest.raises(ValueError, match=named) as caught:
                pytest.fail(f"{name} = {bad!r} gives {statistic(**(arguments | {name: bad}))!r}")
            assert type(caught.value) is ValueError and not any(part in str(caught.value) for part in RAW), caught.value


def test_every_statistic_is_here():
    rooms = [survival, concordance, roc, calibration, competing, cox, decision, groups, reclassification, stability]
    found = {f for room in rooms for f in vars(room).values() if getattr(f, "__module__", "") == room.__name__}
    patients = {"time", "outcome", "prediction", "old_risk", "table"}
    functions = {f for f in found if inspect.isfunction(f) and not f.__name__.startswith("_")}
    public = {f for f in functions if patients & {*inspect.signature(f).parameters}}
    checked_elsewhere = {
        survival.censoring_influence,  # parts of standard errors, of arguments that were checked
        survival.censoring_influence_at,
        survival.free_at,
        cox.score_and_information,  # a part of `pooled`'s sums
        calibration.summary,  # gives refusals as reasons, as the next does
        roc.youden_or_reason,
        roc.compare_delong_unpaired,  # `delong` of two groups
    }
    assert public - checked_elsewhere == public & {*CALLS}
