"""Simulated studies follow their data-generating model, and findings and intervals are counted right."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from lifelines import CoxPHFitter
from scipy.stats import binom, chi2, norm

from dlrs import multiverse
from dlrs.config import ROOT, stream
from dlrs.stats import concordance, roc, survival
from dlrs.stats.survival import binary_outcome
from dlrs.synthetic import simulate, studies

SCALE = {"t2w": (-1.8, 0.6), "adc": (-1.6, 0.7)}  # mean and SD of the log odds
DESIGN = studies.Design(["ct_stage", "cea", "ypn_stage"], 36.0, [12.0, 24.0, 36.0], 0.2, [0.1, 0.2, 0.3], n_boot=20)


def light(study, generator):
    """Three tests under the null: likelihood ratio of DL-prob, its AUC in validation, log-rank of a split in halves."""
    groups = studies.by_cohort(study)
    models = studies.fit_models(groups["primary"], DESIGN)
    ratio = 2 * (models.cox["Nomogram"].fit.log_likelihood - models.cox["Clinical"].fit.log_likelihood)
    judged = studies.judge(models, groups["validation"])
    known = ~np.isnan(judged.outcome)
    area = roc.delong(judged.outcome[known], judged.dl_prob[known])
    split = survival.logrank(judged.time, judged.event, judged.dl_prob > np.median(judged.dl_prob))
    return pd.DataFrame({"ratio": [ratio], "z": [(area.auc - 0.5) / area.se], "split": [split.p]})


@pytest.fixture(scope="module")
def under_the_null():
    return studies.replicates(light, 400, seed=7, log_odds=SCALE)


def test_valid_tests_reject_at_their_level_under_the_null(under_the_null):
    low, high = binom.ppf([0.0005, 0.9995], len(under_the_null), 0.05)
    assert low <= (under_the_null["ratio"] > 3.841459).sum() <= high
    assert low <= (under_the_null["split"] < 0.05).sum() <= high


def test_replicates_depend_neither_on_workers_nor_on_how_many_there_are(under_the_null):
    with parallel_config(backend="threading"):  # processes take longer to start than this test
        two = studies.replicates(light, studies.CHUNK + 1, seed=7, log_odds=SCALE, n_jobs=2)
    same = under_the_null.iloc[: studies.CHUNK + 1].dropna(axis=1, how="all")  # `reason`, of a later replicate
    pd.testing.assert_frame_equal(two, same)
    assert not under_the_null["ratio"].dropna().duplicated().any()


def test_overfitted_probabilities_have_the_training_auc_asked_for_and_are_noise_in_validation():
    drawn = simulate.draw_studies(3, 1, n_primary=20_000, n_validation=20_000, signal=0.0)
    shift = studies.shift_of_auc(0.8)
    assert norm.cdf(shift / np.sqrt(2)) == pytest.approx(0.8)
    drawn["dl_prob"] = studies.probabilities(drawn, SCALE, overfit={"t2w": shift, "adc": shift})
    drawn["t2w_only"] = studies.probabilities(drawn, SCALE, overfit={"t2w": 50.0})
    areas = {}
    for name, group in studies.by_cohort(drawn).items():
        outcome = binary_outcome(group["time_months"], group["event"], horizon=36)
        known = ~np.isnan(outcome)
        areas[name] = roc.delong(outcome[known], group["dl_prob"][known])
        assert (roc.delong(outcome[known], group["t2w_only"][known]).auc > 0.95) == (name == "primary")
    # two independent views, each 1.19 standard deviations apart: their sum is sqrt(2) times that
    assert areas["primary"].auc == pytest.approx(norm.cdf(shift), abs=0.015)
    assert abs(areas["validation"].auc - 0.5) < 3 * areas["validation"].se


def test_the_scale_of_simulated_probabilities_is_that_of_the_runs_validation_cohort():
    probs = pd.DataFrame(dict(cohort=["validation", "validation", "primary"], t2w_prob=[0.5, 0.2, 0.9], adc_prob=0.25))
    scale = studies.log_odds(probs)
    # log odds 0 and log(1/4) of T2W; the primary patient, whom the networks were trained on, does not count
    assert scale["t2w"] == pytest.approx((np.log(0.25) / 2, np.log(4) / np.sqrt(2)))
    assert scale["adc"] == pytest.approx((np.log(1 / 3), 0))
    probs = pd.read_csv(ROOT / "data_synthetic" / "dl_prob.csv")
    study = simulate.draw_studies(5, 1, n_primary=20_000, n_validation=20_000, signal=1.0)
    drawn = studies.probabilities(study, studies.log_odds(probs))
    observed = probs.loc[probs["cohort"] == "validation", "dl_prob"]
    assert abs(drawn.mean() - observed.mean()) < 0.02 and 0.8 < drawn.std() / observed.std() < 1.25


def test_added_value_in_validation_is_one_of_the_findings():
    study = simulate.draw_studies(5, 1)
    study["dl_prob"] = studies.probabilities(study, SCALE)
    found = studies.findings(study, stream(1, "test"), design=DESIGN).query("finding == @studies.ADDED_VALUE")
    models = studies.fit_models(studies.by_cohort(study)["primary"], DESIGN)
    j = studies.judge(models, studies.by_cohort(study)["validation"])
    new = pd.DataFrame(dict(time=j.time, event=j.event, lp=j.lp["Clinical"], dl_prob=j.dl_prob))
    full, without = (
        CoxPHFitter().fit(new[columns], "time", "event") for columns in (list(new), ["time", "event", "lp"])
    )
    ratio = 2 * (full.log_likelihood_ - without.log_likelihood_)
    assert found["cohort"].tolist() == ["validation"] and found["sides"].tolist() == [2]
    assert found["p"].item() == pytest.approx(chi2.sf(ratio, 1), rel=1e-6)
    assert found["estimate"].item() == pytest.approx(full.params_["dl_prob"], rel=1e-5)


def test_the_models_are_those_of_the_notebooks():
    study = simulate.draw_studies(5, 1)
    study["dl_prob"] = studies.probabilities(study, SCALE)
    groups = studies.by_cohort(study)
    models = studies.fit_models(groups["primary"], DESIGN)
    formula = "ct_stage + cea + ypn_stage + dl_prob"
    fit = CoxPHFitter().fit(
        groups["primary"], "time_months", "event", formula=formula, fit_options={"precision": 1e-12}
    )
    ours = models.cox["Nomogram"].fit.coefficients
    names = ["ct_stage[T.cT4]", "cea[T.Elevated]", "ypn_stage[T.ypN1]", "ypn_stage[T.ypN2]", "dl_prob"]
    np.testing.assert_allclose(ours, fit.params_[names], rtol=1e-6)
    found = studies.findings(study, stream(1, "test"), design=DESIGN)
    assert set(found["cohort"]) == {"primary", "validation"} and found["finding"].nunique() == 17
    wald = fit.summary.loc["dl_prob", "z"]
    ratio = found.query("finding == 'DL-prob in the Cox model, likelihood ratio'").iloc[0]
    assert np.sign(ratio["estimate"]) == np.sign(wald) and ratio["p"] == pytest.approx(2 * norm.sf(abs(wald)), abs=0.02)


def test_significantly_better_and_significantly_worse_are_counted_apart():
    rows = [("t", "primary", 2, e, p) for e, p in [(1, 0.01), (-1, 0.01), (-2, 0.04), (1, 0.5), (np.nan, np.nan)]]
    rows += [("one", "primary", 1, e, p) for e, p in [(1, 0.01), (-1, 0.99)]]
    rows += [("none", "primary", 0, e, np.nan) for e in (1, 1, -1, -1)]
    found = pd.DataFrame(rows, columns=["finding", "cohort", "sides", "estimate", "p"])
    counted = studies.rejections(found).set_index("finding")
    t = counted.loc["t"]
    assert (t["n"], t["undefined"], t["better"], t["worse"], t["any"]) == (4, 1, 0.25, 0.5, 0.75)
    assert t["better_lower"] == pytest.approx(0.00631, abs=1e-5)  # Clopper-Pearson of 1 in 4
    assert counted.loc["one", "worse"] == 0 and counted.loc["one", "better"] == 0.5
    assert np.isnan(counted.loc["none", "any"]) and counted.loc["none", "positive"] == 0.5


def test_coverage_finds_that_of_textbook_intervals():
    rng, n = np.random.default_rng(2), 4000
    means = rng.normal(3, 1, size=n)
    z = pd.DataFrame(dict(quantity="z", cohort="a", estimate=means, lower=means - 1.96, upper=means + 1.96, target=3.0))
    # Wald's interval of a share: 20 patients at 0.1 are covered 0.876 of the time, by summing the binomial
    k = np.arange(21)
    half = 1.96 * np.sqrt(k / 20 * (1 - k / 20) / 20)
    exact = binom.pmf(k, 20, 0.1)[(k / 20 - half <= 0.1) & (k / 20 + half >= 0.1)].sum()
    assert exact == pytest.approx(0.876, abs=0.001)
    hits = rng.binomial(20, 0.1, size=n)
    wald = pd.DataFrame(dict(quantity="wald", cohort="a", estimate=hits / 20, target=0.1))
    wald["lower"], wald["upper"] = wald["estimate"] - half[hits], wald["estimate"] + half[hits]
    wald.loc[0, "lower"] = np.nan
    found = studies.coverage(pd.concat([z, wald])).set_index("quantity")
    for name, truth in {"z": 0.95, "wald": exact}.items():
        r = found.loc[name]
        assert abs(r["coverage"] - truth) < 4 * r["mc_se"]
        assert r["coverage"] + r["below"] + r["above"] == pytest.approx(1)
    assert found.loc["wald", "undefined"] == 1 and found.loc["wald", "below"] > 5 * found.loc["wald", "above"]


def test_an_intervals_target_is_the_fitted_models_value_in_a_large_cohort():
    targets = studies.large_cohorts(3000, seed=1, signal=1.0, log_odds=SCALE, design=DESIGN)
    study = simulate.draw_studies(9, 1)
    study["dl_prob"] = studies.probabilities(study, SCALE)
    found = studies.interval_replicate(study, stream(1, "x"), targets=targets, design=DESIGN)
    models = studies.fit_models(studies.by_cohort(study)["primary"], DESIGN)
    large = targets.cohorts["validation"]
    judged = studies.judge(models, large)
    c = concordance.concordance(large["time_months"], large["event"], judged.lp["Nomogram"]).c
    row = found.query("quantity == 'C-index, Nomogram' and cohort == 'validation'").iloc[0]
    assert row["target"] == c and row["lower"] < row["estimate"] < row["upper"]
    assert found[["estimate", "target"]].notna().all().all()
    hazard = found[found["quantity"] == "Log hazard ratio, dl_prob"]
    assert hazard["target"].item() == targets.coefficients["Log hazard ratio, dl_prob"]


def test_the_shift_of_a_c_index_gives_it():
    wanted = {"t2w": 0.85, "adc": 0.65}
    shift = studies.shifts_of_c(wanted, seed=3, n=4000)
    drawn = simulate.draw_studies(11, 1, n_primary=8000, n_validation=2, signal=0.0)
    views = studies.view_probabilities(drawn, SCALE, overfit=shift)
    primary = (drawn["cohort"] == "primary").to_numpy()
    for view, c in wanted.items():
        found = concordance.concordance(*(drawn[k][primary] for k in ("time_months", "event")), views[view][primary])
        assert found.c == pytest.approx(c, abs=0.02)
    assert (sum(views.values()) == studies.probabilities(drawn, SCALE, overfit=shift)).all()


def test_studies_are_as_overfitted_as_their_c_index_says_and_noise_in_validation():
    shift = studies.shifts_of_c(0.851, log_odds=SCALE, seed=3)
    found = studies.replicates(studies.signature_c, 200, seed=7, log_odds=SCALE, overfit=shift)
    c = found.groupby("cohort")["c"].agg(["mean", "sem"])
    assert shift["t2w"] == shift["adc"] and c.loc["primary", "mean"] == pytest.approx(0.851, abs=0.006)
    assert abs(c.loc["validation", "mean"] - 0.5) < 3 * c.loc["validation", "sem"]
    # 1 is out of reach: patients whose metastasis was seen after 36 months are not moved up
    with pytest.raises(ValueError, match=r"c must be reached .* found 0.95, above 0\.8"):
        studies.shifts_of_c(0.95, log_odds=SCALE, seed=3, n=1000)


def groups_of_cutoff(study, generator, *, chosen_in):
    """Log-rank test of the risk groups in validation, by Youden's cut-off of one of the two cohorts."""
    groups = studies.by_cohort(study)
    outcome = binary_outcome(*(groups[chosen_in][name] for name in ("time_months", "event")), horizon=36)
    known, judged = ~np.isnan(outcome), groups["validation"]
    cutoff = roc.youden_cutoff(outcome[known], groups[chosen_in]["dl_prob"][known]).threshold
    row = dict(finding="Youden's cut-off, log-rank", cohort="validation", sides=2, estimate=np.nan, p=np.nan)
    high = judged["dl_prob"] > cutoff
    if 0 < high.sum() < len(high):
        test = survival.logrank(judged["time_months"], judged["event"], high)
        above = test.groups.set_index("group").loc[True]
        row |= dict(estimate=above["observed"] - above["expected"], p=test.p)
    return pd.DataFrame([row])


def test_a_cut_off_that_was_chosen_in_validation_is_found_by_the_null_simulation():
    """Notebook 09h lists a test as a fault from twice its nominal level on, its interval above it."""
    listed = {}
    for which in simulate.COHORTS:
        analyse = partial(groups_of_cutoff, chosen_in=which)
        rate = studies.rejections(studies.replicates(analyse, 200, seed=7, log_odds=SCALE)).iloc[0]
        listed[which] = bool(rate["any_lower"] > rate["nominal"] and rate["any"] >= 2 * rate["nominal"])
    assert listed == {"primary": False, "validation": True}


def test_a_search_of_independent_analyses_is_as_sidak_says():
    """k independent P values: 1 - 0.95^k have one below 0.05; the level that holds 5 % is 1 - 0.95^(1/k)."""
    p = np.random.default_rng(2).random((4000, 30))
    found = studies.search(p, [1, 5, 20, 99], generator=stream(1, "search")).set_index("k")
    assert found.index.tolist() == [1, 5, 20, 30]
    for k, row in found.iterrows():
        assert row["some_lower"] < 1 - 0.95**k < row["some_upper"]
        assert row["level_lower"] <= 1 - 0.95 ** (1 / k) <= row["level_upper"]
    alike = studies.search(p[:, [0] * 30], [1, 30], generator=stream(1, "search"))
    assert alike["some"].nunique() == 1  # analyses that say the same gain nothing by searching


def test_every_universe_of_a_simulated_study_has_its_p():
    choices = multiverse.read()
    universes = pd.concat([multiverse.universes(choices, name).assign(conclusion=name) for name in choices.conclusions])
    drawn = simulate.draw_studies(3, 2, signal=0.0).assign(dl_prob=lambda d: studies.probabilities(d, SCALE))
    one = drawn[drawn["study"] == 1].reset_index(drop=True)
    given = dict(universes=universes, choices=choices)
    found = studies.in_favour(one, None, log_odds=SCALE, **given)
    assert found.columns.tolist() == universes["universe"].tolist() and found.iloc[0].between(0, 1).all()
    views = {f"{name}_prob": values for name, values in studies.view_probabilities(one, SCALE).items()}
    pd.testing.assert_frame_equal(studies.in_favour(one.assign(**views), None, **given), found)
    row = multiverse.evaluate(choices, "predicts", one.assign(**views))["sum", "validation", "harrell", "all follow-up"]
    first = universes[(universes["conclusion"] == "predicts") & (universes["horizon"] == "all follow-up")].iloc[0]
    assert (first["joined"], first["patients"], first["measure"]) == ("sum", "validation", "harrell")
    assert found[first["universe"]][0] == pytest.approx(row[3] if row[0] > 0 else 1.0)
