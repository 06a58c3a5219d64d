"""Optimism and instability of a Cox model by refits."""

from __future__ import annotations

import numpy as np
import pytest

from dlrs.stats import calibration, concordance, cox, stability


def patients(n, p, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    time, lost = rng.exponential(20 / np.exp(x[:, 0])), rng.exponential(40, n)
    return np.minimum(time, lost), time <= lost, x


def test_many_covariates_are_more_optimistic_than_one():
    found = {}
    for p in (1, 12):
        time, event, x = patients(80, p, 1)
        found[p] = np.nanmean(stability.refit_cox(time, event, x, horizon=10, n_boot=40, seed=3).optimism, axis=0)
    assert (found[12] > found[1]).all() and found[12][1] > 0.1 > abs(found[1][1])


def test_the_corrected_c_is_nearer_to_that_of_new_patients():
    time, event, x = patients(80, 12, 1)
    fit = cox.cox_fit(time, event, x)
    apparent = concordance.concordance(time, event, x @ fit.coefficients).c
    refits = stability.refit_cox(time, event, x, horizon=10, n_boot=40, seed=3)
    new_time, new_event, new_x = patients(3000, 12, 2)
    lp = new_x @ fit.coefficients
    truth = concordance.concordance(new_time, new_event, lp).c
    slope = calibration.calibration_slope(new_time, new_event, lp).slope
    corrected = np.array([apparent, 1.0]) - np.nanmean(refits.optimism, axis=0)
    assert abs(corrected[0] - truth) < abs(apparent - truth) and abs(corrected[1] - slope) < abs(1 - slope)


def test_one_seed_gives_one_answer_and_its_risks_scatter_around_the_models():
    time, event, x = patients(100, 2, 5)
    first, again = (stability.refit_cox(time, event, x, horizon=10, n_boot=20, seed=7) for _ in range(2))
    assert np.array_equal(first.risk, again.risk, equal_nan=True)
    lp = x @ cox.cox_fit(time, event, x).coefficients
    risk = cox.risk_at(lp, cox.baseline_hazard(time, event, lp), 10)
    found = stability.instability(risk, first.risk, cutoff=0.3)
    assert found["risk"].between(found["lower"] - 0.1, found["upper"] + 0.1).all() and 0 < found["mape"].mean() < 0.1
    near = np.abs(risk - 0.3) < 0.03
    assert found["reclassified"][near].mean() > found["reclassified"][~near].mean()


def test_a_model_without_a_fit_in_a_resample_is_left_out():
    time, event, x = patients(30, 1, 9)
    rare = np.zeros(30)
    rare[np.flatnonzero(event)[:1]] = 1.0
    refits = stability.refit_cox(time, event, np.column_stack([x, rare]), horizon=5, n_boot=30, seed=1)
    assert 0 < np.isnan(refits.risk).all(axis=1).sum() < 30
    assert np.isfinite(stability.instability(np.full(30, 0.2), refits.risk)["mape"]).all()


def test_refusals():
    with pytest.raises(ValueError, match=r"refits must have a row a refit and a column a patient \(2\); found \(2,\)"):
        stability.instability([0.1, 0.2], [0.1, 0.2])
    with pytest.raises(ValueError, match="refits must hold at least one model; found none"):
        stability.instability([0.1, 0.2], [[np.nan, 0.2]])
    with pytest.raises(ValueError, match="cutoff must be a finite number"):
        stability.instability([0.1, 0.2], [[0.1, 0.2]], cutoff=np.nan)
