"""The notebooks, the nomogram's page and the report end on cohorts that allow little, and say what is not estimable."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from dlrs import cohort, results
from dlrs.config import ROOT
from dlrs_run import pages, report, stages
from dlrs_site import intake
from notebook_cells import PROBABILITIES, entries, run_cells, write_patients

pytestmark = pytest.mark.slow
SILLY = re.compile(
    r"\b(?:nan|None|inf)\b|(?<![\d.])1 (?:patients|metastases|events)\b|(?:of|in|to|from) not estimable|"
    r"not estimable, not estimable|\b0 of 0\b"
)
CHAIN = ["04_signature", "05_nomogram", "06_evaluation", "06b_deviations", "07_subgroups"]


def models_of(run, patients, probabilities):
    """Run 04 and 05 on these probabilities and return their entries."""
    table = patients[["patient_id", "cohort"]].assign(**probabilities)
    table.to_csv(run / "interim" / "dl_prob.csv", index=False)
    run_cells("04_signature", run, n_boot=20)
    run_cells("05_nomogram", run)
    return entries(run, "04_signature", "05_nomogram")


@pytest.fixture
def run(cohort_read, tmp_path):
    return shutil.copytree(cohort_read, tmp_path / "run")


def test_probabilities_that_rank_the_wrong_way_round_have_no_cut_off(run):
    committed = pd.read_csv(ROOT / "data_synthetic" / "dl_prob.csv", dtype={"patient_id": str})
    turned = {name: (2 if name == "dl_prob" else 1) - committed[name] for name in PROBABILITIES}
    found = models_of(run, committed, turned)
    for key in ["fig2.cutoff_dlrs", "fig2.n_high.validation", "fig2.logrank_p.primary"]:
        assert found[key]["value"] is None and "no cut-off: no value separates" in found[key]["reason"]
    assert 0 < found["fig1.auc.DL-prob.primary"]["value"] < 0.5
    assert json.loads((run / "interim/signature.json").read_text())["cutoff_dl_prob"] is None
    table_s2 = pd.read_csv(run / "tables/tableS2.csv")
    assert table_s2[["high", "low", "p"]].isna().all(axis=None) and len(table_s2) > 50
    assert found["cox.dl_prob_in_combination.hr"]["value"] < 1  # higher probability, lower hazard
    assert found["fig3.cutoff_nomogram"]["value"] > 0 and found["fig3.points_per_unit_dl_prob"]["value"] < 0


def test_a_constant_network_has_auc_one_half_and_no_signature(run):
    patients = pd.read_csv(run / "interim" / "patients.csv", dtype={"patient_id": str})
    found = models_of(run, patients, {"t2w_prob": 0.5, "adc_prob": 0.5, "dl_prob": 1.0})
    assert found["fig1.auc.DL-prob.validation"]["value"] == 0.5
    assert "prediction must differ" in found["fig2.cutoff_dlrs"]["reason"]
    assert "found no variation in 'dl_prob'" in found["cox.combination_terms.dl_prob"]["reason"]
    assert "no cut-off" in found["fig3.cutoff_nomogram"]["reason"]
    signature = pd.read_csv(run / "interim" / "signature.csv")
    assert signature["risk_DLRS"].nunique() == 1 and 0.1 < signature["risk_DLRS"].iloc[0] < 0.4
    assert (signature["lp_DLRS"] == 0).all() and not signature["high"].any()
    assert found["cox.clinical_model_terms.ct_stage[T.cT4]"]["value"] > 1  # the clinical model is not affected


def test_imputed_values_are_nearer_to_all_known_than_complete_cases(run):
    committed = pd.read_csv(ROOT / "data_synthetic" / "dl_prob.csv", dtype={"patient_id": str})
    models_of(run, committed, {name: committed[name] for name in PROBABILITIES})
    run_cells("06b_deviations", run)
    found = pd.read_csv(run / "tables" / "deviations.csv").query("topic == 'missing values'")
    bias = found.assign(bias=found["difference"].abs()).groupby("alternative")["bias"].agg(["mean", "size"])
    assert bias["size"].to_dict() == {"complete cases": 5, "imputed": 5}
    assert bias.loc["imputed", "mean"] < bias.loc["complete cases", "mean"] / 2
    entry = entries(run, "06b_deviations")["deviations.missing values.log hazard ratio, DL-prob.imputed"]
    assert entry["cohort"] == "primary" and entry["n"] == 170


def test_the_example_of_three_patients_reaches_the_end(tmp_path):
    run = tmp_path / "run"
    intake.stage(run, ROOT / "src" / "dlrs_site" / "templates" / "new_cohort")
    run_cells("01_cohort", run, cohort_dir="")
    patients = pd.read_csv(run / "interim" / "patients.csv", dtype={"patient_id": str})
    values = {"t2w_prob": [0.1, 0.3, 0.2], "adc_prob": [0.1, 0.4, 0.2], "dl_prob": [0.2, 0.7, 0.4]}
    write_patients(run, patients, patients[["patient_id", "cohort"]].assign(**values))
    for name in CHAIN:
        run_cells(name, run, **({"n_boot": 20} if name in ("04_signature", "06_evaluation") else {}))
    stages.nomogram_page(run)
    found = entries(run, *CHAIN)
    assert "both classes" in found["fig1.auc.DL-prob.validation"]["reason"]
    assert found["fig2.cutoff_dlrs"]["value"] == pytest.approx(0.45)  # between 0.2 without and 0.7 with metastasis
    assert found["cox.combination_terms.dl_prob"]["value"] is None
    missing = ["table2.cindex.Nomogram.validation", "table2.nri.Nomogram vs Clinical.validation", "fig4.pcr.p"]
    missing += ["fig4.pcr.high_risk", "fig3.snb_20.Nomogram.validation", "deviations.C-index.C of the nomogram.Uno"]
    for key in missing:
        assert found[key]["value"] is None, key
    assert found["table2.cindex.DLRS.primary"]["value"] == 1  # the higher of two probabilities has the metastasis
    run_cells("10_report", run)
    report.stage(run)
    for page in [*(run / "tables").glob("*.html"), run / "nomogram.html", run / "report.html"]:
        assert not re.search(r">[^<>]*\b(nan|None)\b[^<>]*<", page.read_text(encoding="utf-8")), page.name
    assert "not estimable" in (run / "tables" / "table2.html").read_text(encoding="utf-8")
    assert "The nomogram is not estimable" in (run / "nomogram.html").read_text(encoding="utf-8")
    assert (run / "tables/tableS3.html").is_file()


def of_few(patients, probabilities):
    return patients.groupby("cohort").head(8), probabilities


def of_one_centre(patients, probabilities):
    alone = patients[patients["centre"] == patients["centre"].iloc[0]]
    return alone.assign(cohort=np.where(np.arange(len(alone)) % 3, "primary", "validation")), probabilities


def nearly_separated(patients, probabilities):
    """Give patients with metastasis slightly higher probabilities, nearly all: a hazard ratio beyond e^300."""
    event = patients.set_index("patient_id")["event"].reindex(probabilities["patient_id"]).to_numpy() == "True"
    noise = np.random.default_rng(0).uniform(0, 0.004, len(event))
    half = np.where(event, 0.5, 0.498) + noise
    return patients, probabilities.assign(t2w_prob=half, adc_prob=half, dl_prob=2 * half)


def of_one_day(patients, probabilities):
    return patients.assign(time_months="36.0"), probabilities


def of_patients_alike(patients, probabilities):
    known = [name for name, variable in cohort.VARIABLES.items() if variable.role == "covariate" and name in patients]
    return patients.assign(**{name: patients[name].mode()[0] for name in known}), probabilities


def with_factors_that_no_primary_patient_differs_in(patients, probabilities):
    alike = {"cea": "Normal", "ct_stage": "cT3", "ypn_stage": "ypN0"}
    primary = patients["cohort"] == "primary"
    same = {name: patients[name].mask(primary, level) for name, level in alike.items()}
    return patients.assign(**same), probabilities


def without_events_in_validation(patients, probabilities):
    return patients.assign(event=patients["event"].where(patients["cohort"] == "primary", "False")), probabilities


def without_events(patients, probabilities):
    return patients.assign(event="False"), probabilities


def with_one_event(patients, probabilities):
    first = patients.index == patients.index[patients["event"] == "True"][0]
    return patients.assign(event=np.where(first, "True", "False")), probabilities


COHORTS = [of_few, of_one_centre, nearly_separated, of_one_day, of_patients_alike, with_one_event, without_events,
           with_factors_that_no_primary_patient_differs_in, without_events_in_validation]  # fmt: skip


@pytest.mark.parametrize("cohort_of", COHORTS, ids=lambda function: function.__name__)
def test_a_cohort_that_allows_little_reaches_the_end(run, cohort_of):
    patients = pd.read_csv(run / "interim" / "patients.csv", dtype=str, keep_default_na=False)
    probabilities = pd.read_csv(ROOT / "data_synthetic" / "dl_prob.csv", dtype={"patient_id": str})
    write_patients(run, *cohort_of(patients, probabilities))
    for name in CHAIN:
        said = run_cells(name, run, **({"n_boot": 20} if name in ("04_signature", "06_evaluation") else {}))
        assert not SILLY.findall("\n".join(said.values())), name
    stages.nomogram_page(run)
    found = entries(run, *CHAIN)
    for table in (run / "tables").glob("*.html"):
        assert not re.search(r">[^<>]*\b(nan|None|inf)\b[^<>]*<", table.read_text(encoding="utf-8")), table.name
    saved = results.load_json(run / "interim" / "nomogram.json")
    if cohort_of is without_events:
        assert found["table2.cindex.Nomogram.primary"]["value"] is None and saved["points_per_lp"] is None
        assert set(pd.read_csv(run / "interim" / "predictions.csv")["risk_Nomogram"]) == {0}
    elif cohort_of is with_factors_that_no_primary_patient_differs_in:
        assert saved["formula"] == "dl_prob" and set(saved["clinical_coefficients"]) == set()
        assert found["cox.univariate_lrt.cea"]["reason"] == "the same in every primary patient"
        page = pages.read_table(run / "tables" / "tableS3.html")
        assert ["not estimable"] in [row[1:2] for row in page.rows if row[0] == "Elevated"]
    elif cohort_of is nearly_separated:
        assert saved["points_per_lp"] > 0 and abs(saved["coefficients"]["dl_prob"]) > 300
    else:
        assert found["table2.cindex.DLRS.primary"]["value"] is not None
