"""Simulated studies follow their law, controls are taught what they should be, notebook 09 says what is missing."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import papermill
import pytest
from joblib import parallel_config
from lifelines import CoxPHFitter
from scipy.stats import binom, norm

from dlrs import cohort
from dlrs.config import ROOT, stream
from dlrs.stats import concordance, roc, survival
from dlrs.stats.survival import binary_outcome
from dlrs.synthetic import simulate, studies
from dlrs_site import intake


def light(study, generator):
    """Three tests of nothing: the likelihood ratio of DL-prob, its AUC in validation, log-rank of a split in halves."""
    groups = studies.by_cohort(study)
    models = studies.fit_models(groups["primary"])
    ratio = 2 * (models.cox["Nomogram"].fit.log_likelihood - models.cox["Clinical"].fit.log_likelihood)
    judged = studies.judge(models, groups["validation"])
    known = ~np.isnan(judged.outcome)
    area = roc.delong(judged.outcome[known], judged.dl_prob[known])
    split = survival.logrank(judged.time, judged.event, judged.dl_prob > np.median(judged.dl_prob))
    return pd.DataFrame({"ratio": [ratio], "z": [(area.auc - 0.5) / area.se], "split": [split.p]})


@pytest.fixture(scope="module")
def nothing():
    return studies.replicates(light, 400, seed=7)


def test_valid_tests_reject_at_their_level_when_nothing_is_there(nothing):
    low, high = binom.ppf([0.0005, 0.9995], len(nothing), 0.05)
    assert low <= (nothing["ratio"] > 3.841459).sum() <= high
    assert low <= (nothing["split"] < 0.05).sum() <= high


def test_replicates_depend_neither_on_workers_nor_on_how_many_there_are(nothing):
    with parallel_config(backend="threading"):  # processes take longer to start than this test
        two = studies.replicates(light, studies.CHUNK + 1, seed=7, n_jobs=2)
    pd.testing.assert_frame_equal(two, nothing.iloc[: studies.CHUNK + 1])
    assert not nothing["ratio"].duplicated().any()


def test_what_is_learnt_by_heart_has_the_training_auc_asked_for_and_is_unknown_elsewhere():
    drawn = simulate.draw_studies(3, 1, n_primary=20_000, n_validation=20_000, signal=0.0)
    shift = studies.shift_of_auc(0.8)
    assert norm.cdf(shift / np.sqrt(2)) == pytest.approx(0.8)
    drawn["dl_prob"] = studies.probabilities(drawn, overfit={"t2w": shift, "adc": shift})
    drawn["t2w_only"] = studies.probabilities(drawn, overfit={"t2w": 50.0})
    areas = {}
    for name, group in studies.by_cohort(drawn).items():
        outcome = binary_outcome(group["time_months"], group["event"], horizon=36)
        known = ~np.isnan(outcome)
        areas[name] = roc.delong(outcome[known], group["dl_prob"][known])
        assert (roc.delong(outcome[known], group["t2w_only"][known]).auc > 0.95) == (name == "primary")
    # two independent views, each 1.19 standard deviations apart: their sum is sqrt(2) times that
    assert areas["primary"].auc == pytest.approx(norm.cdf(shift), abs=0.015)
    assert abs(areas["validation"].auc - 0.5) < 3 * areas["validation"].se


def test_the_models_are_those_of_the_notebooks():
    study = simulate.draw_studies(5, 1)
    study["dl_prob"] = studies.probabilities(study)
    groups = studies.by_cohort(study)
    models = studies.fit_models(groups["primary"])
    formula = "ct_stage + cea + ypn_stage + dl_prob"
    fit = CoxPHFitter().fit(
        groups["primary"], "time_months", "event", formula=formula, fit_options={"precision": 1e-12}
    )
    ours = models.cox["Nomogram"].fit.coefficients
    names = ["ct_stage[T.cT4]", "cea[T.Elevated]", "ypn_stage[T.ypN1]", "ypn_stage[T.ypN2]", "dl_prob"]
    np.testing.assert_allclose(ours, fit.params_[names], rtol=1e-6)
    found = studies.findings(study, stream(1, "test"), n_boot=20)
    assert set(found["cohort"]) == {"primary", "validation"} and found["finding"].nunique() == 16
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
    targets = studies.large_cohorts(3000, seed=1, signal=1.0)
    study = simulate.draw_studies(9, 1)
    study["dl_prob"] = studies.probabilities(study)
    found = studies.interval_replicate(study, stream(1, "x"), targets=targets, n_boot=20)
    models = studies.fit_models(studies.by_cohort(study)["primary"])
    large = targets.cohorts["validation"]
    judged = studies.judge(models, large)
    c = concordance.concordance(large["time_months"], large["event"], judged.lp["Nomogram"]).c
    row = found.query("quantity == 'C-index, Nomogram' and cohort == 'validation'").iloc[0]
    assert row["target"] == c and row["lower"] < row["estimate"] < row["upper"]
    assert found[["estimate", "target"]].notna().all().all()
    hazard = found[found["quantity"] == "Log hazard ratio, dl_prob"]
    assert hazard["target"].item() == targets.coefficients["Log hazard ratio, dl_prob"]


def test_restricted_mean_and_competing_risks_by_hand():
    time = np.array([3.0, 10.0, 20.0, 40.0, 50.0])
    mean, se = studies.restricted_mean(time, np.ones(5), horizon=36)
    cut = np.minimum(time, 36)
    assert mean == pytest.approx(cut.mean()) and se == pytest.approx(cut.std() / np.sqrt(5))
    cause = [1, 2, 0, 1, 2]
    # 1/5 at 3; then 4/5 stay, 3/5 after the death at 10; at 40 half of those two at risk: 3/5 * 1/2
    assert studies.cumulative_incidence(time, cause, horizon=36) == pytest.approx(0.2)
    assert studies.cumulative_incidence(time, cause, horizon=40) == pytest.approx(0.5)
    alone = [1, 0, 0, 1, 0]
    survival_40 = survival.kaplan_meier(time, alone, at=[40])["survival"].item()
    assert studies.cumulative_incidence(time, alone, horizon=40) == pytest.approx(1 - survival_40)


def test_a_published_formula_is_applied_as_printed():
    patients = pd.DataFrame(dict(ct_stage=["cT3", "cT4"], ypt_stage=["ypT0", "ypT4"], ypn_stage=["ypN0", "ypN2"]))
    digit = {name: {level: float(level[-1]) for level in cohort.LEVELS[name]} for name in patients}
    score = studies.formula_score(patients, "(5 * ypn_stage - 3 * (ct_stage - ypt_stage) + 12) ** 2 / 9.61", digit)
    assert score.round(2).tolist() == [0.94, 50.36]  # the score's best and nearly worst patient
    with pytest.raises(ValueError, match=r"codes must hold every level; found 'cT4' of ct_stage at row 1"):
        studies.formula_score(patients, "ct_stage", {"ct_stage": {"cT3": 3}})


def test_images_go_to_the_patients_whose_outcomes_they_were_taught_with():
    patients = intake.read_cohort(ROOT / "data_synthetic").patients
    outcome = binary_outcome(patients["time_months"], patients["event"], horizon=36)
    known = (patients["cohort"] == "primary").to_numpy() & ~np.isnan(outcome)
    learnt = stream(4, "permuted target").permutation(outcome[known])  # as notebook 03 does it
    rows, of = studies.taught_by(patients, 4)
    assert np.array_equal(outcome[of], learnt) and np.array_equal(rows, np.flatnonzero(known))
    taught = np.full(len(patients), 0.5)
    taught[known] = learnt
    exchanged = studies.exchange_images(patients.assign(dl_prob=taught), 4)
    assert np.array_equal(exchanged["dl_prob"].to_numpy()[known], outcome[known])
    validation = (patients["cohort"] == "validation").to_numpy()
    assert sorted(exchanged["dl_prob"][validation]) == sorted(taught[validation])


def test_folds_are_equal_within_strata_and_a_level_is_predicted_where_features_hold_it():
    strata = np.repeat([0, 1, 2], [126, 36, 8])
    part = studies.folds(strata, 5, seed=1)
    sizes = pd.crosstab(strata, part).to_numpy()
    assert sizes.sum() == 170 and (np.ptp(sizes, axis=1) <= 1).all()
    rng = np.random.default_rng(1)
    level = np.repeat(["A", "B", "C"], 60)
    noise = rng.standard_normal((180, 40))
    assert (studies.predict_level(noise, level, seed=1) == level).mean() < 0.5
    noise[:, 3] += 4 * (level == "B")
    noise[:, 7] += 4 * (level == "C")
    assert (studies.predict_level(noise, level, seed=1) == level).mean() > 0.9


def test_a_control_starts_from_the_base_runs_patients_and_boxes(tmp_path):
    base, run = tmp_path / "base", tmp_path / "run"
    (base / "interim" / "boxes").mkdir(parents=True)
    patients = intake.read_cohort(ROOT / "data_synthetic").patients
    patients.to_csv(base / "interim" / "patients.csv", index=False)
    (base / "interim" / "boxes" / "x.npy").write_bytes(b"")
    boxes = pd.DataFrame(dict(patient_id=patients["patient_id"], sequence="T2W", file="boxes/x.npy", sha256="0"))
    boxes.to_csv(base / "interim" / "boxes.csv", index=False)
    studies.prepare_control(run, base, "data_synthetic", "fold-2", fold=[2, 5])
    interim = run / "interim" / "controls" / "fold-2" / "interim"
    made = cohort.read_patients(interim / "patients.csv")
    assert ((patients["cohort"] == "primary") & (made["cohort"] == "validation")).sum() == pytest.approx(34, abs=1)
    assert (made.loc[patients["cohort"] == "validation", "cohort"] == "validation").all()
    assert (interim / pd.read_csv(interim / "boxes.csv")["file"][0]).resolve() == base / "interim" / "boxes" / "x.npy"


def test_the_notebook_answers_what_it_can_and_says_what_was_not_run(tmp_path):
    base, run = tmp_path / "base" / "interim", tmp_path / "run"
    base.mkdir(parents=True)
    intake.read_cohort(ROOT / "data_synthetic").patients.to_csv(base / "patients.csv", index=False)
    shutil.copy(ROOT / "data_synthetic" / "dl_prob.csv", base)
    studies.null_study(run, 4, jobs=1)
    papermill.execute_notebook(
        ROOT / "notebooks" / "09_validity.ipynb",
        tmp_path / "09_validity.ipynb",
        parameters=dict(
            run_dir=os.fspath(run),
            base_dir=os.fspath(base.parent),
            bands_dir=os.fspath(run),
            times_months=[36.0],
            n_boot=3,
        ),
        cwd=ROOT / "notebooks",
        progress_bar=False,
    )
    entries = json.loads((run / "results" / "09_validity.json").read_text(encoding="utf-8"))["entries"]
    wanted = {"null": True, "crossfit": None, "coverage": None, "seeds": None, "expected": True}
    assert {name: entries[f"validity.run.{name}"]["value"] for name in wanted} == wanted
    assert entries["validity.null.independent.nri_nomogram_against_clinical.validation.any"]["n"] == 4
    assert "validity.shortcuts.permuted_labels.auc" not in entries
    assert (run / "tables" / "validity_answer.html").is_file() and (run / "figures" / "validity_expected.png").is_file()
    shown = pd.read_csv(run / "tables" / "validity.csv").set_index("question")["found"]
    assert shown["crossfit"] == shown["coverage"] == "not run"
