"""Notebooks 01, 04 and 05 end on cohorts that allow little, and give the reason for each estimate that is missing."""

import json
import shutil

import pandas as pd
import pytest

from dlrs.config import ROOT
from dlrs_site import intake
from executed import execute

pytestmark = pytest.mark.slow
PROBABILITIES = ["t2w_prob", "adc_prob", "dl_prob"]


def models_of(run, patients, probabilities):
    """Run 04 and 05 on these probabilities and return their entries."""
    table = patients[["patient_id", "cohort"]].assign(**probabilities)
    table.to_csv(run / "interim" / "dl_prob.csv", index=False)
    entries = execute("04_signature", run, n_boot=20) | execute("05_nomogram", run)
    for name in ["04_signature", "05_nomogram"]:
        assert json.loads((run / "results" / f"{name}.json").read_text())["complete"]
    assert all(entry["reason"] for entry in entries.values() if entry["value"] is None)
    return entries


@pytest.fixture
def run(cohort_read, tmp_path):
    return shutil.copytree(cohort_read, tmp_path / "run")


def test_probabilities_that_rank_the_wrong_way_round_have_no_cut_off(run):
    committed = pd.read_csv(ROOT / "data_synthetic" / "dl_prob.csv", dtype={"patient_id": str})
    turned = {name: (2 if name == "dl_prob" else 1) - committed[name] for name in PROBABILITIES}
    entries = models_of(run, committed, turned)
    for key in ["fig2.cutoff_dlrs", "fig2.n_high.validation", "fig2.logrank_p.primary"]:
        assert entries[key]["value"] is None and "no cut-off: no value separates" in entries[key]["reason"]
    assert 0 < entries["fig1.auc.DL-prob.primary"]["value"] < 0.5
    assert json.loads((run / "interim/signature.json").read_text())["cutoff_dl_prob"] is None
    table_s2 = pd.read_csv(run / "tables/tableS2.csv")
    assert table_s2[["high", "low", "p"]].isna().all(axis=None) and len(table_s2) > 50
    assert entries["cox.dl_prob_in_combination.hr"]["value"] < 1  # higher probability, lower hazard
    assert entries["fig3.cutoff_nomogram"]["value"] > 0 and entries["fig3.points_per_unit_dl_prob"]["value"] < 0


def test_a_constant_network_has_auc_one_half_and_no_signature(run):
    patients = pd.read_csv(run / "interim" / "patients.csv", dtype={"patient_id": str})
    entries = models_of(run, patients, {"t2w_prob": 0.5, "adc_prob": 0.5, "dl_prob": 1.0})
    assert entries["fig1.auc.DL-prob.validation"]["value"] == 0.5
    assert "prediction must differ" in entries["fig2.cutoff_dlrs"]["reason"]
    assert "found no variation in 'dl_prob'" in entries["cox.combination_terms.dl_prob"]["reason"]
    assert "no cut-off" in entries["fig3.cutoff_nomogram"]["reason"]
    signature = pd.read_csv(run / "interim" / "signature.csv")
    assert signature["risk_DLRS"].nunique() == 1 and 0.1 < signature["risk_DLRS"].iloc[0] < 0.4
    assert (signature["lp_DLRS"] == 0).all() and not signature["high"].any()
    assert entries["cox.clinical_model_terms.ct_stage[T.cT4]"]["value"] > 1  # the clinical model is not affected


def test_the_example_of_three_patients_reaches_the_end(tmp_path):
    run = tmp_path / "run"
    intake.stage(run, ROOT / "src" / "dlrs_site" / "templates" / "new_cohort")
    execute("01_cohort", run, cohort_dir="")
    patients = pd.read_csv(run / "interim" / "patients.csv", dtype={"patient_id": str})
    values = {"t2w_prob": [0.1, 0.3, 0.2], "adc_prob": [0.1, 0.4, 0.2], "dl_prob": [0.2, 0.7, 0.4]}
    entries = models_of(run, patients, values)
    assert "both classes" in entries["fig1.auc.DL-prob.validation"]["reason"]
    assert entries["fig2.cutoff_dlrs"]["value"] == pytest.approx(0.45)  # between 0.2 without and 0.7 with metastasis
    assert entries["cox.combination_terms.dl_prob"]["value"] is None
    assert (run / "figures/fig3a.png").is_file() and (run / "tables/tableS3.html").is_file()
