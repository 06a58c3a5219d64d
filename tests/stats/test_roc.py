"""ROC curves, AUC and cut-offs: cases worked by hand, limits, properties, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pytest import approx

from dlrs.stats import concordance, roc, survival
from patients import EVENT, SCORE, TIME, cohorts


def direct_auc(time, event, x, t, *, event_at_horizon="case"):
    """The double sums of the formula sheet, written out, with the exact influence function."""
    n = time.size
    case = event & ((time <= t) if event_at_horizon == "case" else (time < t))
    f = case / survival.censoring_survival(time, event, time, before=True)
    g = (time > t) / survival.censoring_survival(time, event, [t])[0]
    h = f[:, None] * g * ((x[:, None] > x) + 0.5 * (x[:, None] == x))
    auc = h.mean() / (f.mean() * g.mean())
    table = survival.risk_table(time, event)
    k = np.zeros((n, n))  # K_k(T_i-), rows k
    for row in range(n):
        for u, y, c in zip(table.time, table.at_risk, table.censored, strict=True):
            jump = ((time[row] == u and not event[row]) - (time[row] >= u) * c / y) / (y / n)
            k[row] += jump * (u < time)
    a, b = h.mean(axis=1), h.mean(axis=0)
    numerator = a + b - 2 * h.mean() + k @ a / n
    denominator = g.mean() * (f - f.mean() + k @ f / n) + f.mean() * (g - g.mean())
    influence = (numerator - auc * denominator) / (f.mean() * g.mean())
    return auc, influence.std(ddof=1) / np.sqrt(n)


@given(cohorts(least=8))
def test_auc_equals_the_double_sum(data):
    time, event, x = data
    for rule in ("case", "excluded"):
        table = roc.time_dependent_auc(time, event, x, times=[2, 5], event_at_horizon=rule)
        expected = [direct_auc(time, event, x, t, event_at_horizon=rule) for t in (2, 5)]
        assert table[["auc", "se"]].to_numpy() == approx(np.array(expected), abs=1e-12)


@given(cohorts(), st.randoms(use_true_random=False))
def test_row_order_never_matters(data, random):
    time, event, x = data
    order = list(range(time.size))
    random.shuffle(order)
    auc, shuffled = (
        roc.time_dependent_auc(time[i], event[i], x[i], times=[4, 8]) for i in (slice(None), np.array(order))
    )
    assert auc.to_numpy() == approx(shuffled.to_numpy(), rel=1e-9, nan_ok=True)


def test_auc_by_hand_and_the_event_at_the_horizon():
    # at 4: cases 1, 2, 4 (weights 1, 1, 2), control 5 (score 1), which all outrank
    assert roc.time_dependent_auc(TIME, EVENT, SCORE, times=4)["auc"].tolist() == [1]
    # scores 0, 1 | 9 for the control: the case at exactly 4 decides
    score = np.array([0.0, 1, 0, 0, 9, 5])
    counted = roc.time_dependent_auc(TIME, EVENT, score, times=4).iloc[0]
    left_out = roc.time_dependent_auc(TIME, EVENT, score, times=4, event_at_horizon="excluded").iloc[0]
    assert counted["auc"] == approx(2 / 4) and left_out["auc"] == approx(0)
    assert (counted["n_cases"], counted["n_controls"], counted["n_unknown"]) == (3, 1, 2)
    assert (left_out["n_cases"], left_out["n_controls"], left_out["n_unknown"]) == (2, 1, 3)


def test_without_ties_and_censoring_the_auc_is_the_binary_one():
    rng = np.random.default_rng(10)
    time, x = rng.exponential(size=50), rng.normal(size=50)
    event, t = np.ones(50, dtype=bool), float(np.median(time))
    table = roc.time_dependent_auc(time, event, x, times=t).iloc[0]
    assert table["auc"] == approx(roc.delong(time <= t, x).auc)


@given(cohorts(least=8))
def test_curve_starts_ends_rises_and_has_the_area(data):
    time, event, x = data
    for t, curve in roc.time_dependent_roc(time, event, x, times=[2, 5]).groupby("time"):
        tpr, fpr = curve["true_positive_rate"].to_numpy(), curve["false_positive_rate"].to_numpy()
        assert (tpr[0], fpr[0]) == (0, 0) and (tpr[-1], fpr[-1]) == approx((1, 1))
        assert (np.diff(tpr) >= -1e-15).all() and (np.diff(fpr) >= -1e-15).all()
        assert (np.diff(curve["cutoff"]) < 0).all() and curve["cutoff"].iloc[-1] == -np.inf
        area = ((tpr[1:] + tpr[:-1]) / 2 * np.diff(fpr)).sum()
        assert area == approx(roc.time_dependent_auc(time, event, x, times=t)["auc"][0])


def test_auc_comparison():
    rng = np.random.default_rng(12)
    a = rng.normal(size=120)
    time, b = rng.exponential(np.exp(-a)), a + rng.normal(size=120)
    event = rng.random(120) < 0.7
    table = roc.compare_time_dependent_auc(time, event, a, b, times=[0.5, 1.0])
    single = [roc.time_dependent_auc(time, event, s, times=[0.5, 1.0]) for s in (a, b)]
    assert table["difference"].to_numpy() == approx((single[0]["auc"] - single[1]["auc"]).to_numpy())
    same = roc.compare_time_dependent_auc(time, event, a, np.exp(a), times=[0.5])
    assert same[["difference", "se", "p"]].to_numpy().tolist() == [[0, 0, 1]]


def test_classification_by_hand():
    # at 3: cases rows 0, 1 (weight 1), controls rows 4, 5 (weight 1/G(3) = 2); cut at 2.5: rows 0, 2, 4 positive
    at = roc.classification_at(TIME, EVENT, SCORE, horizon=3, cutoff=2.5)
    assert (at.sensitivity, at.specificity) == approx((0.5, 0.5))
    assert (at.ppv, at.npv) == approx((1 / 3, 2 / 3))
    nobody = roc.classification_at(TIME, EVENT, SCORE, horizon=3, cutoff=9)
    assert (nobody.sensitivity, nobody.specificity) == (0, 1) and np.isnan(nobody.ppv) and np.isnan(nobody.se_ppv)
    assert nobody.npv == approx(4 / 6)


def test_standard_errors_of_classification_against_the_bootstrap():
    rng = np.random.default_rng(13)
    x = rng.normal(size=400)
    time, lost = rng.exponential(np.exp(-x)), rng.exponential(1.5, size=400)
    event, time = time <= lost, np.minimum(time, lost)
    at = roc.classification_at(time, event, x, horizon=0.8, cutoff=0.2)
    draws = np.array(
        [
            roc.classification_at(time[i], event[i], x[i], horizon=0.8, cutoff=0.2)[:4]
            for i in (rng.integers(0, 400, 400) for _ in range(400))
        ]
    )
    assert draws.std(axis=0) == approx(np.array(at[4:]), rel=0.15)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (9, "horizon must lie within follow-up; found 9, but the longest follow-up is 5 at row 5"),
        (0.5, "horizon must have an event at or before it; found none by 0.5, the first is at 1 in row 0"),
    ],
)
def test_times_outside_follow_up_are_refused(times, message):
    for function in (roc.time_dependent_auc, roc.time_dependent_roc):
        with pytest.raises(ValueError, match=message):
            function(TIME, EVENT, SCORE, times=times)
    with pytest.raises(ValueError, match=message):
        roc.classification_at(TIME, EVENT, SCORE, horizon=times, cutoff=2)


def test_a_cut_off_that_does_not_exist_classifies_nobody():
    with pytest.raises(ValueError, match="cutoff must be a finite number; found nan"):
        roc.classification_at(TIME, EVENT, SCORE, horizon=3, cutoff=float("nan"))


def test_without_ties_auc_and_uno_equal_those_of_scikit_survival():
    """Where events and censorings tie the censoring curves differ; notebook 06b shows by how much."""
    from sksurv.metrics import concordance_index_ipcw, cumulative_dynamic_auc
    from sksurv.util import Surv

    rng = np.random.default_rng(12)
    time, event, x = rng.exponential(10, 80), rng.random(80) < 0.6, rng.normal(size=80)
    follow_up = Surv.from_arrays(event, time)
    theirs, _ = cumulative_dynamic_auc(follow_up, follow_up, x, [5.0, 12.0])
    assert roc.time_dependent_auc(time, event, x, times=[5.0, 12.0])["auc"].to_numpy() == approx(theirs)
    uno = concordance.uno_concordance(time, event, x).c
    assert uno == approx(concordance_index_ipcw(follow_up, follow_up, x)[0])


def test_a_first_event_at_the_horizon_is_no_case_when_excluded():
    with pytest.raises(ValueError, match="times must have an event before them; found none before 1"):
        roc.time_dependent_auc(TIME, EVENT, SCORE, times=1, event_at_horizon="excluded")


def test_survivalroc_of_uncensored_data_is_the_empirical_auc():
    rng = np.random.default_rng(14)
    time, x = rng.exponential(size=60), rng.normal(size=60)
    event = np.ones(60, dtype=bool)
    km = roc.survivalroc_km(time, event, x, times=[0.5, 1.0])
    assert km["auc"].to_numpy() == approx([roc.delong(time <= t, x).auc for t in (0.5, 1.0)])
    assert km["survival"].to_numpy() == approx([(time > t).mean() for t in (0.5, 1.0)])
    two = (x > 0).astype(float)  # the neighbours of a patient are those with the same of the two predictions
    assert roc.survivalroc_nne(time, event, two, times=1.0)["auc"][0] == approx(roc.delong(time <= 1, two).auc)
    with pytest.raises(ValueError, match="times must leave somebody free of the event"):
        roc.survivalroc_km([1, 2, 2], [1, 1, 1], [1, 2, 3], times=2)


def test_roc_curve_by_hand():
    curve = roc.roc_curve([0, 0, 1, 1], [1, 2, 2, 4])
    assert curve["threshold"].tolist() == [-np.inf, 1.5, 3, np.inf]
    assert curve["sensitivity"].tolist() == [1, 1, 0.5, 0]
    assert curve["specificity"].tolist() == [0, 0.5, 1, 1]


def test_delong_by_hand():
    # placements: cases 0.4 -> 1/2, 0.9 -> 1; controls 0.1 -> 1, 0.6 -> 1/2; var = (1/8)/2 + (1/8)/2
    auc = roc.delong([0, 1, 0, 1], [0.1, 0.4, 0.6, 0.9])
    assert auc.auc == 0.75 and auc.se == approx(np.sqrt(1 / 8))
    assert (auc.n_events, auc.n_nonevents) == (2, 2)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=4, max_size=30))
def test_delong_properties(rows):
    y, x = (np.array(v) for v in zip(*[(True, 3), (True, 2), (False, 1), (False, 4), *rows], strict=True))
    up, down = roc.delong(y, x), roc.delong(y, -x)
    assert down.auc == approx(1 - up.auc) and down.se == approx(up.se)
    swapped = roc.delong(~y, x)
    assert swapped.auc == approx(1 - up.auc)
    curve = roc.roc_curve(y, x)
    area = -((curve["sensitivity"] + curve["sensitivity"].shift()) / 2 * (1 - curve["specificity"]).diff()).sum()
    assert area == approx(up.auc)
    comparison = roc.compare_delong(y, x, -x)
    assert comparison.difference == approx(2 * up.auc - 1)
    assume(up.se > 0)
    assert comparison.se == approx(2 * up.se)  # the two are perfectly opposed


def test_delong_limits():
    perfect = roc.delong([0, 0, 1, 1], [1, 2, 3, 4])
    assert perfect[:2] == (1, 0) and np.isnan(perfect[2:4]).all()
    useless = roc.delong([0, 0, 1, 1], [5, 5, 5, 5])
    assert useless[:2] == (0.5, 0)
    same = roc.compare_delong([0, 0, 1, 1], [1, 3, 2, 4], [10, 30, 20, 40])
    assert (same.difference, same.se, same.p) == (0, 0, 1)


def test_unpaired_comparison_is_welch():
    first, second = ([0, 1, 0, 1, 1], [1, 2, 3, 4, 5]), ([0, 0, 1, 1, 0, 1], [2, 1, 2, 4, 5, 6])
    test = roc.compare_delong_unpaired(*first, *second)
    v = [roc.delong(*group).se ** 2 for group in (first, second)]
    assert test.se == approx(np.sqrt(sum(v)))
    assert test.df == approx(sum(v) ** 2 / (v[0] ** 2 / 4 + v[1] ** 2 / 5))
    assert test.statistic == approx(test.difference / test.se)


def test_binary_refusals():
    with pytest.raises(ValueError, match="outcome must hold both classes; found 1 in every row"):
        roc.roc_curve([1, 1], [1, 2])
    with pytest.raises(ValueError, match="outcome must hold two rows of each class for a variance; found 1 events"):
        roc.delong([0, 0, 1], [1, 2, 3])
    with pytest.raises(ValueError, match="outcome must hold finite numbers; found nan at row 2"):
        roc.delong([0, 1, np.nan], [1, 2, 3])
    with pytest.raises(ValueError, match="b must have one value per row"):
        roc.compare_delong([0, 0, 1, 1], [1, 2, 3, 4], [1, 2])
    with pytest.raises(ValueError, match="predictions must overlap between the classes"):
        roc.compare_delong_unpaired([0, 0, 1, 1], [1, 2, 3, 4], [0, 0, 1, 1], [1, 2, 3, 4])


def test_youden_takes_the_lowest_of_tied_midpoints():
    # 0.15: 2/2 + 1/3; 0.25: 2/2 + 2/3 (largest); ties at 0.1 and 0.2 give one threshold each
    best = roc.youden_cutoff([0, 0, 0, 1, 1], [0.1, 0.2, 0.6, 0.3, 0.9])
    assert best.threshold == approx(0.25) and best.youden == approx(2 / 3)
    tied = roc.youden_cutoff([0, 1, 0, 1], [1, 2, 3, 4])  # 1.5 and 3.5 reach 1/2 alike
    assert tied.threshold == 1.5 and tied.thresholds.tolist() == [1.5, 3.5]
    perfect = roc.youden_cutoff([0, 0, 1], [1, 2, 3])
    assert (perfect.threshold, perfect.youden) == (2.5, 1.0)


def test_youden_refuses_what_cannot_be_cut():
    with pytest.raises(ValueError, match="prediction must differ between rows"):
        roc.youden_cutoff([0, 1], [3, 3])
    with pytest.raises(ValueError, match="outcome must hold both classes"):
        roc.youden_cutoff([1, 1], [3, 4])


def test_no_cut_off_where_events_have_the_lower_predictions():
    found, reason = roc.youden_or_reason([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1])
    assert np.isnan(found.threshold) and reason.startswith("no cut-off: no value separates the outcomes")
    assert roc.youden_or_reason([0, 1], [3, 3])[1].startswith("no cut-off: prediction must differ")
    assert roc.youden_or_reason([0, 0, 1], [1, 2, 3]) == (roc.youden_cutoff([0, 0, 1], [1, 2, 3]), "")


def test_a_cutoff_by_another_rule_has_its_accuracy_among_the_known():
    outcome, prediction = [0, 0, 1, np.nan], [0.1, 0.4, 0.6, 0.9]
    median, reason = roc.cutoff_by("median", outcome, prediction)
    assert (median.threshold, median.sensitivity, median.specificity, reason) == (0.5, 1, 1, "")
    fixed, _ = roc.cutoff_by(0.3, outcome, prediction)
    assert (fixed.threshold, fixed.sensitivity, fixed.specificity) == (0.3, 1, 0.5)
    assert roc.cutoff_by("Youden", outcome, prediction) == roc.youden_or_reason([0, 0, 1], [0.1, 0.4, 0.6])
    assert np.isnan(roc.cutoff_by(0.3, [0, 0], [0.1, 0.4])[0].sensitivity)
