"""What a statistic makes of arguments that are not what they should be: the value, or a sentence that names them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dlrs.stats import (
    calibration,
    checks,
    concordance,
    cox,
    decision,
    groups,
    reclassification,
    resample,
    roc,
    survival,
)
from dlrs.stats.competing import cumulative_incidence, pseudo_regression

RNG = np.random.default_rng(1)
X = pd.Series(RNG.normal(size=80), index=[f"H{i:03d}" for i in range(80)])
BASELINE = pd.DataFrame({"time": [1], "cumulative_hazard": [1]})
TIME = pd.Series(RNG.exponential(20 / np.exp(X)), index=X.index)
EVENT = pd.Series(RNG.random(80) < 0.6, index=X.index)
RISK = 1 / (1 + np.exp(-X))
OTHERS = X.sample(frac=1, random_state=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: survival.kaplan_meier(TIME, EVENT[::-1]),
        lambda: survival.logrank(TIME, EVENT, OTHERS > 0),
        lambda: concordance.concordance(TIME, EVENT, OTHERS),
        lambda: concordance.concordance(TIME, event=EVENT, prediction=OTHERS),
        lambda: concordance.compare_concordance(TIME, EVENT, X, OTHERS),
        lambda: concordance.concordance_bootstrap(TIME, EVENT, OTHERS.to_frame(), np.ones((1, 80))),
        lambda: cox.cox_fit(TIME, EVENT, OTHERS.to_frame("x")),
        lambda: cox.cox_fit(TIME, EVENT, X, offset=OTHERS),
        lambda: cox.added_value(TIME, EVENT, X, OTHERS),
        lambda: roc.delong(EVENT, OTHERS),
        lambda: roc.time_dependent_auc(TIME, EVENT, OTHERS, times=10),
        lambda: calibration.brier_score(TIME, EVENT, RISK[::-1], horizon=10),
        lambda: reclassification.idi(EVENT, RISK, RISK[::-1]),
        lambda: decision.decision_curve_censored(TIME, EVENT, {"A": RISK, "B": RISK[::-1]}, horizon=10, thresholds=0.2),
        lambda: cumulative_incidence(TIME, EVENT[::-1].astype(int), horizon=10),
        lambda: groups.spearman(X, OTHERS),
    ],
)
def test_patients_in_another_order_are_refused(call):
    with pytest.raises(ValueError, match=r"must have the index of \S+; found 'H\d+' for 'H000' at row 0: align them"):
        call()


def test_the_same_patients_are_taken_by_position_whatever_they_are_given_as():
    expected = concordance.concordance(TIME, EVENT, X)
    assert concordance.concordance(TIME, EVENT, X.to_numpy()) == expected
    assert concordance.concordance(TIME.astype(object), EVENT.astype(object), X.astype(object)) == expected
    assert concordance.concordance(TIME, EVENT.astype("boolean"), X.astype("Float64")) == expected


DATES = pd.date_range("2020-01-01", periods=3)


@pytest.mark.parametrize(
    ("time", "event", "message"),
    [
        (DATES, [1, 0, 1], r"time must hold numbers; found dates, 2020-01-01\S* at row 0: give months or years"),
        (pd.Series(DATES - DATES[0]), [1, 0, 1], "time must hold numbers; found durations, 0 nanoseconds at row 0"),
        (["1", "2", "3"], [1, 0, 1], "time must hold numbers; found '1' at row 0"),
        ([1, 2, 3], ["1", "0", "1"], "event must hold numbers; found '1' at row 0"),
        ([1, 2 + 1j, 3], [1, 0, 1], "time must hold numbers; found"),
        ([1, [2], 3], [1, 0, 1], r"time must hold numbers; found \[2\] at row 1"),
        (
            np.ma.masked_array([1, 2, 3], [0, 1, 0]),
            [1, 0, 1],
            "time must hold finite numbers; found a masked value at row 1",
        ),
        ([1, 2, 3], [1, 2, 1], "event must be boolean or coded 0 and 1; found 2 at row 1"),
        ([1, 2, 3], None, r"event must be one-dimensional; found shape \(\)"),
        ([1, 2, 3], pd.array([1, None, 0], dtype="Int64"), "event must hold finite numbers; found nan at row 1"),
    ],
)
def test_what_numpy_would_turn_into_numbers(time, event, message):
    with pytest.raises(ValueError, match=message):
        survival.kaplan_meier(time, event)


SIX = [1, 2, 3, 4, 5, 6], [1, 0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: survival.kaplan_meier(*SIX, at=[np.nan]), "at must hold finite numbers; found nan at row 0"),
        (lambda: survival.kaplan_meier(*SIX, at="late"), "at must hold numbers; found 'late' at row 0"),
        (lambda: survival.censoring_survival(*SIX, [np.nan]), "at must hold finite numbers"),
        (lambda: roc.time_dependent_auc(*SIX, SIX[0], times=[[2, 4]]), "times must be one-dimensional"),
        (lambda: roc.time_dependent_auc(*SIX, SIX[0], times=np.nan), "times must hold finite numbers"),
        (lambda: roc.classification_at(*SIX, SIX[0], horizon=4, cutoff=np.nan), "cutoff must be a finite number"),
        (lambda: roc.classification_at(*SIX, SIX[0], horizon=4, cutoff=None), "cutoff must be one number; found None"),
        (lambda: calibration.null_risk(*SIX, horizon=None), "horizon must be one number; found None"),
        (lambda: calibration.null_risk(*SIX, horizon=[1, 3]), r"horizon must be one number; found \[1, 3\]"),
        (lambda: calibration.null_risk(*SIX, horizon="3"), "horizon must be one number; found '3'"),
        (lambda: cumulative_incidence([1, 2, 3], [1, np.nan, 2], horizon=2), "cause must hold finite numbers"),
        (lambda: cumulative_incidence([1, 2, 3], [1, 3, 2], horizon=2), "cause must be coded 0, 1 and 2"),
        (lambda: cumulative_incidence([1, 2, 3], [1, 0, 2], horizon=np.nan), "horizon must be a finite number"),
        (lambda: concordance.concordance(*SIX, SIX[0], level=None), "level must be one number; found None"),
        (lambda: decision.decision_curve([0, 1], [0.1, 0.2], thresholds=np.nan), "thresholds must hold finite numbers"),
        (lambda: reclassification.category_moves([0.1], [0.2], cutoffs=[np.nan]), "cutoffs must hold finite numbers"),
        (lambda: calibration.grouped_calibration(*SIX, [0.1] * 6, horizon=4, n_groups=4.0), "n_groups must be"),
        (lambda: cox.risk_at([0.0], BASELINE, None), "horizon must be one number"),
        (lambda: cox.cox_fit(*SIX, pd.DataFrame(index=range(6))), "covariates must have at least one column"),
        (lambda: cox.ph_test([2] * 6, SIX[1], SIX[0]), "event must happen at different"),
        (lambda: survival.logrank([5, 5, 5, 3], [1, 1, 1, 0], [0, 0, 1, 1]), "group must be compared at an event"),
        (lambda: survival.logrank([1, 2, 3], [1, 1, 1], np.array(["a", 1, "a"], dtype=object)), "labels of one kind"),
        (lambda: calibration.brier_score([1, 2, 3], [1, 0, 1], [0.9, 0.5, 0.1], horizon=3), "must leave somebody free"),
        (lambda: concordance.concordance_bootstrap(*SIX, SIX[0], np.full((1, 6), np.nan)), "weights must be finite"),
        (lambda: groups.spearman([1, 1, 1], [1, 2, 3]), "x must vary; found 1 in every row"),
        (lambda: resample.bootstrap_weights(3.0, 2, seed=1), "n must be a positive whole number"),
    ],
)  # fmt: skip
def test_options_that_are_no_numbers_are_named(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert not isinstance(caught.value, np.linalg.LinAlgError)


@pytest.mark.parametrize("test", [cox.cox_term_tests, cox.ph_test])
@pytest.mark.parametrize("terms", [["a"], ["a", "b", "c"], "ab"])
def test_a_name_for_every_column(test, terms):
    with pytest.raises(ValueError, match="terms must name a variable for each of 2 columns; found"):
        test(TIME.to_numpy(), EVENT.to_numpy(), RNG.normal(size=(80, 2)), terms=terms)


# R's vignette tiedtimes: 30 patients whose follow-up in days and in years comes from the same dates
DAY = pd.to_timedelta(np.arange(1, 31), "D")
ENROLLED = pd.Timestamp("1993-03-10") + DAY
END = pd.Timestamp("1996-10-21") + DAY + pd.to_timedelta(np.tile(np.arange(1, 11), 3), "D")
BORN = pd.Timestamp("1953-03-10")
IN_DAYS = (END - ENROLLED).days.to_numpy(float)
IN_YEARS = (END - BORN).days.to_numpy() / 365.25 - (ENROLLED - BORN).days.to_numpy() / 365.25
STATUS, MARKER = np.tile([0, 1], 15), np.arange(1.0, 31)


@pytest.mark.parametrize(
    "answer",
    [
        lambda t: len(survival.kaplan_meier(t, STATUS)),
        lambda t: cox.cox_fit(t, STATUS, MARKER).coefficients[0],
        lambda t: concordance.concordance(t, STATUS, MARKER).c,
        lambda t: survival.logrank(t, STATUS, MARKER % 3).chi2,
        lambda t: cox.ph_test(t, STATUS, MARKER)["p"].iloc[0],
        lambda t: concordance.concordance_bootstrap(t, STATUS, MARKER, np.ones((1, 30)))[0, 0],
        lambda t: roc.time_dependent_auc(t, STATUS, MARKER, times=t[21])["auc"].iloc[0],
        lambda t: cox.risk_at([0.0], cox.baseline_hazard(t, STATUS, MARKER * 0), t[21])[0],
        lambda t: survival.kaplan_meier(t, STATUS, at=t[21])["survival"].iloc[0],
        lambda t: decision.decision_curve_censored(t, STATUS, MARKER / 31, horizon=t[21], thresholds=0.3).iat[0, 2],
        lambda t: cumulative_incidence(t, STATUS + (MARKER > 20) * STATUS, horizon=t[21]).risk,
    ],
)  # fmt: skip
def test_days_and_years_of_the_same_dates_agree(answer):
    assert answer(IN_YEARS) == pytest.approx(answer(IN_DAYS), rel=1e-12)


def test_times_are_joined_as_by_rs_timefix():
    time, _ = checks.survival([1.0, 1.0 + 1e-9, 1.0 + 2e-9, 2.0, 0.0], [1, 0, 1, 1, 1])
    assert time.tolist() == [1.0, 1.0, 1.0, 2.0, 0.0]
    assert checks.survival([0.001, 0.0010001], [1, 1])[0].tolist() == [0.001, 0.0010001]


def test_the_horizon_is_the_time_that_it_equals_but_for_rounding():
    assert survival.binary_outcome([3 * 1.1, 1.0, 5.0], [1, 1, 0], horizon=3.3)[0] == 1
    single = np.array([36.1, 1.0, 50.0], dtype=np.float32)
    assert survival.binary_outcome(single, [0, 1, 0], horizon=36.1)[0] == 0
    assert survival.kaplan_meier([3 * 1.1, 5], [1, 0], at=3.3)["survival"].tolist() == [0.5]


def test_at_the_administrative_end_of_follow_up_the_value_is_that_of_a_moment_earlier():
    rng = np.random.default_rng(3)
    x = rng.normal(size=300)
    all_time, lost = rng.exponential(6 / np.exp(x)), rng.uniform(0, 20, 300)
    time = np.minimum(np.minimum(all_time, lost), 5.0)
    event, risk = (all_time <= lost) & (all_time < 5), 1 / (1 + np.exp(-x))
    for statistic in (
        lambda h: calibration.brier_score(time, event, risk, horizon=h)[:4],
        lambda h: calibration.compare_brier(time, event, risk, risk**2, horizon=h)[:4],
        lambda h: roc.time_dependent_auc(time, event, x, times=h).iloc[0, 1:7],
        lambda h: roc.classification_at(time, event, x, horizon=h, cutoff=0.0),
        lambda h: reclassification.idi_censored(time, event, risk, risk**2, horizon=h)[:4],
        lambda h: reclassification.nri_continuous_censored(time, event, risk, risk[::-1], horizon=h, method="ipw")[:4],
    ):
        earlier = float(np.nextafter(time[time < 5].max(), 9)) + 1e-3
        assert np.allclose(statistic(5.0), statistic(earlier), rtol=1e-9)
    with pytest.raises(ValueError, match="horizon must leave somebody free of the event"):
        calibration.brier_score([1, 2, 3, 4], [1, 0, 1, 1], [0.9, 0.5, 0.1, 0.2], horizon=4)


def test_no_certainty_from_almost_nobody():
    two = concordance.concordance([1, 2], [1, 0], [1, 0])
    assert two.c == 1 and np.isnan([two.lower, two.upper, two.p]).all()
    one_event = concordance.concordance([1, 2, 3, 4], [1, 0, 0, 0], [3, 4, 1, 2])
    assert 0 < one_event.c < 1 and np.isnan([one_event.lower, one_event.upper, one_event.p]).all()
    for interval in ("logit", "jackknife", "noether"):
        few = concordance.concordance(range(1, 9), [1] * 8, range(8, 0, -1), interval=interval)
        assert few.c == 1 and np.isnan([few.lower, few.upper, few.p]).all()
    difference = concordance.compare_concordance([1, 2, 3], [1, 1, 0], [3, 2, 1], [1, 2, 3])
    assert difference.difference == 1 and np.isnan([difference.lower, difference.p]).all()
    areas = roc.compare_delong([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1])
    assert areas.difference == 1 and np.isnan([areas.upper, areas.p]).all()
    area = roc.time_dependent_auc([1, 2, 3, 4], [1, 1, 0, 0], [4, 3, 2, 1], times=2).iloc[0]
    assert area["auc"] == 1 and np.isnan(area[["lower", "upper"]]).all()
    nri = reclassification.nri_continuous([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4], [0.2, 0.1, 0.3, 0.5])
    assert np.isnan([nri.lower, nri.events.lower]).all() and nri.events.p == pytest.approx(0.3173, abs=1e-4)
    idi = reclassification.idi([0, 0, 1, 1], [0.1, 0.2, 0.5, 0.6], [0.0, 0.1, 0.6, 0.7])
    assert idi.value == pytest.approx(0.2) and idi.p > 0.01 or np.isnan(idi.p)


def test_no_certainty_of_a_difference_from_a_single_event():
    """Three patients, one event: the two rankings differ, and nothing says how much others would."""
    time, event, a, b = [3.0, 6.0, 11.0], [1, 0, 0], [0.7, 0.4, 0.2], [0.1, 0.4, 0.2]
    area = roc.compare_time_dependent_auc(time, event, a, b, times=6.0).iloc[0]
    assert area["difference"] == 1 and area[["lower", "upper", "p"]].isna().all()
    ranking = concordance.compare_concordance(time, event, a, b)
    assert ranking.difference == 1 and np.isnan([ranking.lower, ranking.p]).all()
    brier = calibration.compare_brier(time, event, a, b, horizon=6.0)
    assert brier.difference < 0 and np.isnan([brier.lower, brier.p]).all()
    score = calibration.brier_score(time, event, a, horizon=6.0)
    assert score.brier > 0 and np.isnan([score.lower, score.upper, score.ipa_lower]).all()
    assert calibration.compare_brier(time, event, a, a, horizon=6.0).p == 1
    group = calibration.grouped_calibration(
        range(1, 9), [1, 1, 1, 0, 0, 0, 0, 0], X[:8].rank() / 9, horizon=4, n_groups=2
    )
    assert (group.loc[group["observed"] == 0, ["lower", "upper"]].isna().all(axis=1)).all()
    with pytest.raises(ValueError, match="covariates must tell patients apart") as caught:
        pseudo_regression([7.0, 7, 7], [1, 0, 0], [0.1, 0.2, 0.3], horizon=7.0)
    assert type(caught.value) is ValueError


def test_a_share_moved_stays_a_share():
    time, event = [3, 5, 8, 12, 20, 30, 40, 50], [1, 1, 0, 1, 0, 1, 0, 0]
    risk = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    nri = reclassification.nri_continuous_censored(time, event, risk, risk[::-1], horizon=25)
    assert -2 <= nri.value <= 2 and np.isnan([nri.lower, nri.upper, nri.p]).all()
    assert all(0 <= share <= 1 for share in nri[8:])


def test_separation_is_found_in_large_samples_and_of_two_columns_together():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        event_time, lost = rng.exponential(size=2000), rng.exponential(2, size=2000)
        time, event = np.minimum(event_time, lost), event_time <= lost
        z = np.zeros(2000)
        z[rng.choice(np.flatnonzero(~event), 3, replace=False)] = 1
        other = rng.normal(size=2000)
        for covariates in (z, np.column_stack([other, other + z])):
            with pytest.raises(ValueError, match="covariates must not separate the events"):
                cox.cox_fit(time, event, covariates)


def test_a_calibration_curve_that_runs_off_is_refused():
    """28 patients, 4 events, risks from 4e-11 to 0.68 as a nomogram with a separated factor gives them: no spline."""
    low = [4.1e-11, 9e-11, 9.7e-11, 9.8e-11, 1e-10, 1.2e-10, 1.3e-10, 2.9e-10, 3.7e-10, 6.4e-10, 6.5e-10, 9.2e-10]
    risk = [*low, 9.7e-10, 3.4e-9, 3.5e-9, 0.031, 0.032, 0.039, 0.072, 0.074, 0.11, 0.13, 0.17]
    risk += [0.2, 0.24, 0.24, 0.47, 0.68]
    time = [63.8, 55.2, 36.8, 47.4, 58.8, 38.6, 48.3, 59.2, 47.6, 56.0, 55.6, 54.5, 65.9, 56.1, 53.0, 62.6, 46.9, 47.4]
    time += [23.5, 66.3, 58.0, 57.6, 57.2, 6.2, 64.4, 12.1, 14.6, 51.1]
    event = np.isin(np.arange(28), [22, 23, 25, 26])
    with pytest.raises(ValueError, match="risk must not separate the events to be smoothed"):
        calibration.smooth_calibration(time, event, risk, horizon=36)
    found = calibration.summary(time, event, risk, horizon=36)
    assert np.isnan(found["ici"]) and found["reason"] and found["ratio"] > 1
