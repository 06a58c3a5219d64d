"""Discrimination: cases worked by hand, limits, properties, refusals. R's numbers are in test_reference.py."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pytest import approx

from dlrs.stats import concordance, pairs, resample, roc, survival

# Events at 1, 2 and 4, censored at 2, 3 and 5. Comparable: 1 with all five, 2 with its censored twin, 3, 4 and 5,
# 4 with 5: ten pairs.
TIME = np.array([1.0, 2, 2, 3, 4, 5])
EVENT = np.array([1, 1, 0, 0, 1, 0], dtype=bool)
SCORE = np.array([5.0, 2, 3, 2, 4, 1])


def pairs_one_by_one(time, event, x, *, censored_later=True, own=None):
    """Weight of concordant, discordant and tied pairs, by the definition."""
    sums = np.zeros(3)
    own = np.ones(time.size) if own is None else own
    for i in range(time.size):
        for j in range(time.size):
            later = time[i] < time[j] or (censored_later and time[i] == time[j] and not event[j])
            if i != j and event[i] and later:
                sums[0 if x[i] > x[j] else 1 if x[i] < x[j] else 2] += own[i]
    return sums


@st.composite
def cohorts(draw, least=6, most=30):
    """Times and scores with ties, at least one comparable pair whatever the ties."""
    n = draw(st.integers(least, most))
    time = draw(st.lists(st.integers(1, 8), min_size=n - 2, max_size=n - 2))
    event = draw(st.lists(st.booleans(), min_size=n - 2, max_size=n - 2))
    x = draw(st.lists(st.integers(-3, 3), min_size=n - 2, max_size=n - 2))
    return np.array([0.5, 9, *time]), np.array([True, False, *event]), np.array([1, 0, *x], dtype=float)


# ------------------------------------------------------------------------------------------ concordance


def test_concordance_by_hand():
    # row 0 (5) beats all five; row 1 (2) loses to 3, ties with 2, loses to 4, beats 1; row 4 (4) beats 1
    c = concordance.concordance(TIME, EVENT, SCORE)
    assert (c.concordant, c.discordant, c.tied_prediction) == (7, 2, 1)
    assert c.c == 0.75
    # survcomp's rules: the pair at time 2 is none, the tie is dropped: 7 against 1
    survcomp = concordance.concordance(TIME, EVENT, SCORE, same_time="skip", tied_predictions="drop")
    assert survcomp.c == 7 / 8


def test_jackknife_by_hand():
    # D = 2C - 1 = 1/2 over 10 pairs; per row (concordant - discordant, pairs): sum to twice the pairs
    balance = np.array([5, 1 - 2 + 1, 1 - 1, 1, 1 - 1 + 1, 1 + 1 + 1])
    pairs = np.array([5, 5, 2, 2, 3, 3])
    assert balance.sum() == 10 and pairs.sum() == 20
    influence = (balance - 0.5 * pairs) / 20
    assert concordance.concordance(TIME, EVENT, SCORE).se == approx(np.sqrt((influence**2).sum()))


@given(cohorts())
def test_counts_equal_the_definition(data):
    time, event, x = data
    for same_time in ("event_first", "skip"):
        c = concordance.concordance(time, event, x, same_time=same_time)
        assert [c.concordant, c.discordant, c.tied_prediction] == pairs_one_by_one(
            time, event, x, censored_later=same_time == "event_first"
        ).tolist()
    alike = (time[:, None] == time) & event & event[:, None]
    same = (x[:, None] == x) & alike
    assert c.tied_both == (same.sum() - event.sum()) / 2
    assert c.tied_time == alike.sum() / 2 - same.sum() / 2


@given(cohorts(most=60))
def test_scan_and_matrix_agree(data):
    time, event, x = data
    rng = np.random.default_rng(time.size)
    case_weights, by_time = rng.random(time.size), rng.random(10)[time.astype(int)]
    for same_time, first, second in (
        ("event_first", case_weights, case_weights),
        ("skip", case_weights, case_weights),
        ("event_first", by_time, np.ones(time.size)),
    ):
        arguments = time, event, x, first, second, same_time
        matrix = pairs.compare_rows(*arguments)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pairs, "CELLS", 0)
            scan = pairs.compare_rows(*arguments)
        for ours, theirs in zip(scan, matrix, strict=True):
            assert ours == approx(theirs, rel=1e-9, abs=1e-9)


def test_concordance_of_many_patients_is_exact_and_linear_in_memory():
    from lifelines.utils import concordance_index

    rng = np.random.default_rng(1)
    time, event = rng.integers(1, 300, 40_000).astype(float), rng.random(40_000) < 0.4
    x = rng.integers(0, 500, 40_000).astype(float)
    c = concordance.concordance(time, event, x)
    assert c.c == approx(concordance_index(time, -x, event), abs=1e-14)
    assert all(count == int(count) for count in (c.concordant, c.discordant, c.tied_prediction, c.tied_time))


@given(cohorts())
def test_negated_score_mirrors(data):
    time, event, x = data
    up, down = concordance.concordance(time, event, x), concordance.concordance(time, event, -x)
    assert down.c == approx(1 - up.c) and down.se == approx(up.se, abs=1e-15)
    assert (down.lower, down.upper) == approx((1 - up.upper, 1 - up.lower))
    uno = [concordance.uno_concordance(time, event, s) for s in (x, -x)]
    assert uno[0].c == approx(1 - uno[1].c)


@given(cohorts(), st.randoms(use_true_random=False))
def test_row_order_never_matters(data, random):
    time, event, x = data
    order = list(range(time.size))
    random.shuffle(order)
    for interval in ("jackknife", "noether", "quade", "conservative"):
        c, shuffled = (
            concordance.concordance(time[i], event[i], x[i], interval=interval) for i in (slice(None), np.array(order))
        )
        assert c == approx(shuffled, nan_ok=True)
    auc, shuffled = (
        roc.time_dependent_auc(time[i], event[i], x[i], times=[4, 8]) for i in (slice(None), np.array(order))
    )
    assert auc.to_numpy() == approx(shuffled.to_numpy(), rel=1e-9)


@given(cohorts())
def test_weights_of_ones_equal_no_weights_and_twos_equal_doubling(data):
    time, event, x = data
    plain = concordance.concordance(time, event, x)
    assert concordance.concordance(time, event, x, weights=np.ones(time.size)) == approx(plain)
    twice = concordance.concordance(*(np.repeat(v, 2) for v in data))
    weighted = concordance.concordance(time, event, x, weights=np.full(time.size, 2))
    assert weighted.c == approx(twice.c) and weighted.concordant == twice.concordant


def test_perfect_useless_and_reversed():
    time, event = np.arange(1.0, 9), np.ones(8, dtype=bool)
    assert concordance.concordance(time, event, -time)[:5] == (1, 0, 1, 1, 0)
    assert concordance.concordance(time, event, time).c == 0
    useless = concordance.concordance(time, event, np.zeros(8))  # all tied
    assert useless[:5] == (0.5, 0, 0.5, 0.5, 1)
    assert concordance.concordance([3, 5], [1, 0], [2, 1]).c == 1  # a single event


def test_concordance_refusals():
    with pytest.raises(ValueError, match="event must be true in at least one row; found none in 2 rows"):
        concordance.concordance([1, 2], [0, 0], [1, 2])
    with pytest.raises(ValueError, match="event must make at least one comparable pair"):
        concordance.concordance([1, 2], [0, 1], [1, 2])  # the only event comes last
    with pytest.raises(ValueError, match="with different predictions"):
        concordance.concordance([1, 2], [1, 0], [1, 1], tied_predictions="drop")
    with pytest.raises(ValueError, match="prediction must hold finite numbers; found nan at row 1"):
        concordance.concordance([1, 2], [1, 0], [1, np.nan])
    with pytest.raises(ValueError, match="weights must not be negative; found -1 at row 0"):
        concordance.concordance([1, 2], [1, 0], [1, 2], weights=[-1, 1])
    with pytest.raises(ValueError, match="interval must be one of jackknife, noether, quade, conservative; found 'x'"):
        concordance.concordance([1, 2], [1, 0], [1, 2], interval="x")
    with pytest.raises(ValueError, match="level must lie between 0 and 1; found 95"):
        concordance.concordance([1, 2], [1, 0], [1, 2], level=95)


def test_uno_by_hand():
    # G just before 1, 2, 4: 1, 1, 1 (1 - 1/4)(1 - 1/3) = 1/2; so the pair of row 4 weighs 4
    c = concordance.uno_concordance(TIME, EVENT, SCORE)
    assert c.concordant == approx(6 + 4) and c.discordant == approx(2) and c.tied_prediction == approx(1)
    assert c.c == approx(10.5 / 13)
    early = concordance.uno_concordance(TIME, EVENT, SCORE, horizon=3)
    assert early.c == approx(6.5 / 9)
    assert concordance.uno_concordance_survc1(TIME, EVENT, SCORE, horizon=4) == approx(6.5 / 8)
    with pytest.raises(ValueError, match="horizon must have an event before it; found none before 1"):
        concordance.uno_concordance_survc1(TIME, EVENT, SCORE, horizon=1)


def test_uno_without_censoring_is_harrell():
    rng = np.random.default_rng(6)
    time, x = rng.exponential(size=40), rng.normal(size=40)
    event = np.ones(40, dtype=bool)
    assert concordance.uno_concordance(time, event, x) == approx(concordance.concordance(time, event, x))


def test_comparison_of_two_predictions():
    rng = np.random.default_rng(7)
    a = rng.normal(size=80)
    time, event, b = rng.exponential(np.exp(-2 * a)), rng.random(80) < 0.7, a + rng.normal(size=80)
    jackknife = concordance.compare_concordance(time, event, a, b)
    singles = [concordance.concordance(time, event, s) for s in (a, b)]
    assert jackknife.difference == approx(singles[0].c - singles[1].c)
    assert np.sqrt(np.diag(jackknife.covariance)) == approx([s.se for s in singles])
    assert jackknife.p == approx(2 * jackknife.p_one_sided)
    mirrored = concordance.compare_concordance(time, event, b, a)
    assert mirrored.difference == approx(-jackknife.difference) and mirrored.p == approx(jackknife.p)
    assert mirrored.p_one_sided == approx(1 - jackknife.p_one_sided)
    t = concordance.compare_concordance(time, event, a, b, method="survcomp")
    assert t.df == 79 and t.p == approx(2 * t.p_one_sided)
    expected = t.covariance[0, 1] / np.sqrt(t.covariance[0, 0] * t.covariance[1, 1])
    assert concordance.spearman(a, b) == approx(expected)


@pytest.mark.parametrize("method", ["jackknife", "survcomp"])
def test_a_prediction_does_not_differ_from_itself(method):
    same = concordance.compare_concordance(TIME, EVENT, SCORE, SCORE * 2 + 1, method=method)
    assert (same.difference, same.se, same.p) == (0, 0, 1)


def test_pairwise_superiority_by_hand():
    # a as in the test above: concordant 7, discordant 2, tied 1. b reversed: concordant where a is discordant.
    s = concordance.pairwise_superiority(TIME, EVENT, SCORE, -SCORE)
    assert (s.a_better, s.b_better) == approx((0.7, 0.2))
    assert s.difference == approx(0.5)
    wider = concordance.pairwise_superiority(TIME, EVENT, 2 * SCORE, SCORE, rule="differences")
    assert (wider.a_better, wider.b_better) == approx((0.7, 0.2))  # further apart, rightly or wrongly
    assert concordance.pairwise_superiority(TIME, EVENT, 2 * SCORE, SCORE).difference == 0


# -------------------------------------------------------------------------------------------- bootstrap


@pytest.mark.parametrize("tied_predictions", ["half", "drop"])
@pytest.mark.parametrize("same_time", ["event_first", "skip"])
def test_bootstrap_equals_resampled_rows(tied_predictions, same_time, monkeypatch):
    rng = np.random.default_rng(9)
    time, event = rng.integers(1, 12, 40).astype(float), rng.random(40) < 0.5
    x = rng.integers(0, 9, (40, 3)).astype(float)
    weights = resample.bootstrap_weights(40, 25, seed=3)
    options = {"tied_predictions": tied_predictions, "same_time": same_time}
    ours = concordance.concordance_bootstrap(time, event, x, weights, **options)
    rows = [np.repeat(np.arange(40), w) for w in weights]
    expected = [[concordance.concordance(time[i], event[i], m[i], **options).c for m in x.T] for i in rows]
    assert ours == approx(np.array(expected))
    monkeypatch.setattr(concordance, "CELLS", 100)  # several blocks
    assert concordance.concordance_bootstrap(time, event, x, weights, **options) == approx(ours)
    monkeypatch.setattr(concordance, "MATRIX_ROWS", 10)  # too many patients for a matrix
    assert concordance.concordance_bootstrap(time, event, x, weights, **options) == approx(ours)


def test_bootstrap_of_ones_is_the_estimate_and_nothing_to_compare_is_nan():
    ones = concordance.concordance_bootstrap(TIME, EVENT, SCORE, np.ones((1, 6)))
    assert ones.tolist() == [[0.75]]
    only_censored = np.where(EVENT, 0, 2)[None]
    assert np.isnan(concordance.concordance_bootstrap(TIME, EVENT, SCORE, only_censored)).all()


def test_bootstrap_refusals():
    with pytest.raises(ValueError, match=r"weights must have shape \(samples, 6\); found \(6,\)"):
        concordance.concordance_bootstrap(TIME, EVENT, SCORE, np.ones(6))
    with pytest.raises(ValueError, match="weights must not be negative; found -1.0 in sample 0 at row 2"):
        concordance.concordance_bootstrap(TIME, EVENT, SCORE, np.array([[1, 1, -1, 1, 1, 1]]))
    with pytest.raises(ValueError, match=r"predictions\[:, 1\] must hold finite numbers; found nan at row 0"):
        concordance.concordance_bootstrap(TIME, EVENT, np.full((6, 2), [1, np.nan]), np.ones((1, 6)))
    with pytest.raises(ValueError, match=r"predictions must have one row per row of time \(6\); found shape \(5,\)"):
        concordance.concordance_bootstrap(TIME, EVENT, SCORE[1:], np.ones((1, 6)))


# ----------------------------------------------------------------------------------- time-dependent ROC


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
    variants = [roc.time_dependent_auc(time, event, x, times=t, variance=v)["se"][0] for v in ("exact", "row_order")]
    assert variants[0] == approx(variants[1], rel=0.05)


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
        (5, "times must leave somebody under observation; found nobody with time > 5"),
    ],
)
def test_times_outside_follow_up_are_refused(times, message):
    for function in (roc.time_dependent_auc, roc.time_dependent_roc):
        with pytest.raises(ValueError, match=message):
            function(TIME, EVENT, SCORE, times=times)
    with pytest.raises(ValueError, match=message):
        roc.classification_at(TIME, EVENT, SCORE, horizon=times, cutoff=2)


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
    # with every patient a neighbour of every other the prediction is of no use
    nne = roc.survivalroc_nne(time, event, x, times=1.0, span=1.0)["auc"][0]
    assert nne == approx(0.5, abs=0.1)
    with pytest.raises(ValueError, match="times must leave somebody free of the event"):
        roc.survivalroc_km([1, 2, 2], [1, 1, 1], [1, 2, 3], times=2)


# ------------------------------------------------------------------------------------------- binary ROC


def test_roc_curve_by_hand():
    curve = roc.roc_curve([0, 0, 1, 1], [1, 2, 2, 4])
    assert curve["threshold"].tolist() == [-np.inf, 1.5, 3, np.inf]
    assert curve["sensitivity"].tolist() == [1, 1, 0.5, 0]
    assert curve["specificity"].tolist() == [0, 0.5, 1, 1]


def test_delong_by_hand():
    # placements: cases 0.4 -> 1/2, 0.9 -> 1; controls 0.1 -> 1, 0.6 -> 1/2; var = (1/8)/2 + (1/8)/2
    auc = roc.delong([0, 1, 0, 1], [0.1, 0.4, 0.6, 0.9])
    assert auc.auc == 0.75 and auc.se == approx(np.sqrt(1 / 8))
    assert (auc.lower, auc.upper) == (approx(0.75 - 1.959963984540054 * np.sqrt(1 / 8)), 1)
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
    assert perfect[:4] == (1, 0, 1, 1)
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


def test_binary_classification():
    at = roc.binary_classification([0, 0, 1, 1], [1, 3, 2, 4], threshold=3)
    assert (at.tp, at.fp, at.tn, at.fn) == (1, 1, 1, 1) and at.accuracy == 0.5
    nobody = roc.binary_classification([0, 0, 1, 1], [1, 3, 2, 4], threshold=9)
    assert np.isnan(nobody.ppv) and nobody.npv == 0.5


def test_frames_and_lists_do_as_well_as_arrays():
    frame = pd.DataFrame({"time": TIME, "event": EVENT.astype(int), "x": SCORE}, index=list("abcdef"))
    expected = concordance.concordance(TIME, EVENT, SCORE)
    assert concordance.concordance(frame["time"], frame["event"], frame["x"]) == expected
    assert concordance.concordance(TIME.tolist(), EVENT.tolist(), SCORE.tolist()) == expected
    boot = concordance.concordance_bootstrap(frame["time"], frame["event"], frame[["x"]], np.ones((2, 6)))
    assert boot.tolist() == [[0.75], [0.75]]
