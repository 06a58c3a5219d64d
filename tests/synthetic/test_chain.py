"""The acceptance criterion of the permutation control finds planted leaks, and seldom cries without one."""

from __future__ import annotations

import numpy as np
import pytest

from dlrs.stats import roc
from dlrs.synthetic import chain

SIZE, EVENTS = 62, 22
OUTCOME = np.random.default_rng(0).permutation(np.arange(SIZE) < EVENTS)


def controls(n, leak, seed):
    """Predictions of networks that share the patients' images; `leak` of the outcome gets into each."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=SIZE)  # what all networks see alike, whatever they were trained on
    return [0.7 * image + rng.normal(size=SIZE) + leak * OUTCOME for _ in range(n)]


def gate(predictions, **options):
    return chain.permutation_criterion(OUTCOME, predictions, seed=1, n_permutations=999, **options)


def test_the_mean_is_that_of_the_controls_aucs_and_p_counts_the_observed_one():
    predictions = controls(4, 0.0, 2)
    found = gate(predictions)
    assert found.mean == pytest.approx(np.mean([roc.delong(OUTCOME, x).auc for x in predictions]))
    perfect = gate([OUTCOME.astype(float)])
    assert perfect.mean == 1 and perfect.p == pytest.approx(1 / 1000)


def test_the_level_holds_although_the_controls_share_their_patients():
    rejected = np.mean([gate(controls(5, 0.0, seed)).p < 0.05 for seed in range(120)])
    by_error = []  # three standard errors over controls, which takes them for independent
    for seed in range(120):
        areas = [roc.delong(OUTCOME, x).auc for x in controls(5, 0.0, seed)]
        by_error.append(abs(np.mean(areas) - 0.5) > 3 * np.std(areas, ddof=1) / np.sqrt(5))
    assert rejected <= 0.1 < np.mean(by_error)


def test_the_level_holds_where_controls_read_a_true_pattern_to_either_side():
    """Permuted labels agree by chance with what is easily read in the images, and the outcome depends on it."""
    pattern = np.random.default_rng(1).normal(size=SIZE) + 1.2 * OUTCOME

    def read(seed):
        rng = np.random.default_rng(seed)
        return [rng.normal() * pattern + 0.5 * rng.normal(size=SIZE) for _ in range(10)]

    found = [gate(read(seed)) for seed in range(120)]
    assert np.mean([g.p < 0.05 for g in found]) <= 0.1 < np.mean([abs(g.mean - 0.5) > 1.96 * g.null_sd for g in found])
    assert np.mean([g.mean for g in found]) == pytest.approx(0.5, abs=0.03)
    single = gate(read(1)[:1])
    assert np.isnan(single.se) and 0 < single.p <= 1


def test_a_leak_of_the_outcome_is_found_as_often_as_the_power_says():
    found = [gate(controls(5, 0.75, seed), leak=0.67) for seed in range(60)]
    assert np.mean([g.mean for g in found]) == pytest.approx(0.67, abs=0.03)
    assert np.mean([g.p < 0.05 for g in found]) == pytest.approx(np.mean([g.power for g in found]), abs=0.15)
    assert all(g.detectable > 0.5 for g in found)


def test_validation_patients_among_those_trained_on_are_found():
    rng = np.random.default_rng(5)
    trained_on = rng.choice(SIZE, 20, replace=False)  # a third of them, reproduced by an overfitted network
    leaking = controls(5, 0.0, 7)
    for prediction in leaking:
        prediction[trained_on] += 4 * (OUTCOME[trained_on] - 0.5)
    assert gate(controls(5, 0.0, 7)).p > 0.05 > gate(leaking).p


def test_a_direction_chosen_in_validation_is_found():
    scores = [np.random.default_rng(seed).normal(size=SIZE) for seed in range(40)]
    turned = [x if roc.delong(OUTCOME, x).auc > 0.5 else -x for x in scores]
    assert gate(scores).p > 0.05 > gate(turned).p


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="outcome must hold both classes"):
        chain.permutation_criterion(np.ones(5), [np.arange(5.0)], seed=1)
