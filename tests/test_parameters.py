"""Parameters as people write them: each runs and is labelled, or is refused in one sentence beforehand."""

import html
import json
import re
import shutil

import pandas as pd
import papermill
import pytest

from dlrs import cohort, results
from dlrs.config import ROOT, InputError
from dlrs_run import report, stages
from dlrs_site import intake, release
from notebook_cells import entries, run_cells

pytestmark = pytest.mark.slow
QUICK = {"04_signature": {"n_boot": 10}, "05_nomogram": {"n_boot": 10, "n_refit": 10}, "06_evaluation": {"n_boot": 10}}
WRONG = [
    ("04_signature", {"horizon_months": -3}, "horizon_months is -3; expected months above 0"),
    ("04_signature", {"horizon_months": "36"}, "horizon_months is '36'; expected months above 0"),
    ("04_signature", {"times_months": []}, "times_months is \\[\\]; expected months above 0, at most 600"),
    ("04_signature", {"times_months": [36, 12]}, "expected months above 0, at most 600, each once and ascending"),
    ("04_signature", {"n_boot": 0}, "n_boot is 0; expected 10 resamples or more"),
    ("04_signature", {"n_boot": 99.5}, "n_boot is 99.5; expected 10 resamples or more"),
    ("04_signature", {"cutoff_rule": "mean"}, "cutoff_rule is 'mean'; expected Youden, median, or a number"),
    ("04_signature", {"horizn_months": 24}, "no parameter horizn_months; .* Did you mean horizon_months?"),
    ("05_nomogram", {"significance": 0}, "significance is 0; expected a P value above 0"),
    ("05_nomogram", {"clinical_formula": "ct_stag + cea"}, "clinical_formula has ct_stag; .* Did you mean ct_stage?"),
    ("05_nomogram", {"clinical_formula": "ct_stage +"}, "clinical_formula is 'ct_stage \\+ '; expected a formula"),
    ("05_nomogram", {"clinical_formula": "event ~ cea"}, "expected covariates joined by"),
    ("05_nomogram", {"clinical_formula": "cea - 1"}, "expected covariates joined by"),
    ("05_nomogram", {"clinical_formula": "cea + dl_prob"}, "clinical_formula has dl_prob; expected of gender"),
    ("05_nomogram", {"clinical_formula": "age * cea"}, "an interaction of a number, age × cea"),
    ("05_nomogram", {"clinical_formula": "cr(age, 3)"}, "Write cr\\(age, 3, constraints='center'\\)"),
    ("05_nomogram", {"n_refit": 0}, "n_refit is 0; expected 10 resamples or more"),
    ("06_evaluation", {"n_band": 0}, "n_band is 0; expected 10 resamples or more"),
    ("06_evaluation", {"calibration_months": []}, "calibration_months is \\[\\]; expected months above 0, at most 600"),
    ("01_cohort", {"horizon_months": 100}, "horizon_months has 100; expected months up to 81.5, the longest follow-up"),
    ("04_signature", {"horizon_months": 100}, "horizon_months has 100; expected months up to 81.5, the longest"),
    ("05_nomogram", {"horizon_months": 100}, "horizon_months has 100; expected months up to 66.9, the longest"),
    ("06_evaluation", {"horizon_months": 100}, "horizon_months has 100; expected months up to 66.9, the longest"),
    ("06_evaluation", {"calibration_months": [12, 70]}, "calibration_months has 70; expected months up to 66.9"),
    ("06b_deviations", {"n_draws": 0}, "n_draws is 0; expected 1 or more"),
    ("00_paper_audit", {"n_simulated": 0}, "n_simulated is 0; expected 1000 simulated cohorts or more"),
    ("00_paper_audit", {"r2_assumed": [2.0]}, "r2_assumed is \\[2.0\\]; expected values of R2 above 0, at most 0.9"),
    ("01_cohort", {"horizon_months": 0}, "horizon_months is 0; expected months above 0"),
    ("06_evaluation", {"threshold_step": 0}, "threshold_step is 0; expected a step above 0, at most 0.5"),
    ("06_evaluation", {"nri_cutoffs": [0.3, 0.1]}, "expected risks between 0 and 1, each once and ascending"),
    ("06_evaluation", {"nri_cutoffs": [20]}, "nri_cutoffs is \\[20\\]; expected risks between 0 and 1"),
    ("06b_deviations", {"cohort_judged": "test"}, "cohort_judged is 'test'; expected primary or validation"),
    ("07_subgroups", {"subgroups": ["sex"]}, "subgroups has sex; expected of pcr, downstaging, .*gender"),
    ("07_subgroups", {"subgroups": []}, "subgroups is \\[\\]; expected one name or more"),
    ("07_subgroups", {"smallest_group": True}, "smallest_group is True; expected 1 patient or more"),
    ("06_evaluation", {"calibration_months": "12"}, "calibration_months is '12'; expected months above 0"),
    (
        "06b_deviations",
        {"alternatives": "none.csv"},
        "alternatives is 'none.csv'; expected a file that is there",
    ),
    ("06c_multiverse", {"choices": "none.yaml"}, "choices is 'none.yaml'; expected a file that is there"),
    ("06c_multiverse", {"others": {"seed 2": "none.csv"}}, "others is {'seed 2': 'none.csv'}; expected a file that"),
    ("06c_multiverse", {"significance": 5}, "significance is 5; expected a P value above 0, at most 1"),
    ("07_subgroups", {"at_risk_months": [0, -12]}, "at_risk_months is \\[0, -12\\]; expected months from 0 to 600"),
    ("10_report", {"texts_file": "none.yaml"}, "texts_file is 'none.yaml'; expected a file that is there"),
    ("11_validation", {"n_groups": 1}, "n_groups is 1; expected 2 to 20 groups"),
    ("11_validation", {"recalibrate": "yes"}, "recalibrate is 'yes'; expected a value of type bool"),
    ("11_validation", {"times_months": [0, 12]}, "times_months is \\[0, 12\\]; expected months above 0"),
    ("12_evaluate", {"time_unit": "weeks"}, "time_unit is 'weeks'; expected days, months or years"),
    ("12_evaluate", {"horizon": 0}, "horizon is 0; expected a time above 0"),
    ("12_evaluate", {"threshold": 20}, "threshold is 20; expected risks between 0 and 1"),
    ("12_evaluate", {"decimal": ";"}, "decimal is ';'; expected a point or a comma"),
    ("12_evaluate", {"table": "none.csv"}, "table is 'none.csv'; expected a file that is there, or nothing"),
    ("12_evaluate", {"n_boot_curve": 1}, "n_boot_curve is 1; expected 10 resamples or more"),
    ("13_plan", {"settings": "none.yaml"}, "settings is 'none.yaml'; expected a file that is there"),
    ("13_plan", {"signals": [0.5, 2]}, "signals is \\[0.5, 2\\]; expected signal strengths from 0 to 1"),
    ("13_plan", {"jobs": 0}, "jobs is 0; expected a number of processes, or -1"),
    ("13_plan", {"n_null": 0}, "n_null is 0; expected 1 or more"),
    ("13_plan", {"clinical_formula": "ct_stag+cea"}, "clinical_formula has ct_stag; .* Did you mean ct_stage?"),
]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Return a run of 01, 04 and 05 with the committed probabilities."""
    run = tmp_path_factory.mktemp("fitted") / "run"
    intake.stage(run, "data_synthetic")
    shutil.copy(ROOT / "data_synthetic" / "dl_prob.csv", run / "interim")
    run_cells("01_cohort", run, cohort_dir="")
    run_cells("04_signature", run, **QUICK["04_signature"])
    run_cells("05_nomogram", run, **QUICK["05_nomogram"])
    return run


@pytest.fixture
def run(fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "run")
    return tmp_path / "run"


def read(path):
    return html.unescape(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "parameters", "said"), WRONG)
def test_what_a_parameter_cannot_be_is_refused_before_anything_is_computed(fitted, name, parameters, said):
    before = {path: path.stat().st_mtime_ns for path in fitted.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=said) as refused:
        run_cells(name, fitted, **parameters)
    assert "\n" not in str(refused.value)
    assert before == {path: path.stat().st_mtime_ns for path in fitted.rglob("*") if path.is_file()}


def test_papermill_itself_passes_on_no_name_that_the_notebook_does_not_have(fitted, tmp_path):
    options = dict(parameters={"run_dir": str(fitted), "subgrups": ["pcr"]}, cwd=ROOT / "notebooks", progress_bar=False)
    with pytest.raises(papermill.PapermillExecutionError, match="no parameter subgrups; .* Did you mean subgroups?"):
        papermill.execute_notebook(ROOT / "notebooks" / "07_subgroups.ipynb", tmp_path / "out.ipynb", **options)


@pytest.mark.parametrize(
    ("formula", "labels"),
    [
        ("ct_stage+cea", ["cT stage", "CEA"]),
        ("ct_stage * cea", ["cT stage × CEA", "cT4, Elevated"]),
        ("np.log(age) + cea", ["Age", "CEA"]),
        ("bs(age, 3, extrapolation='extend')", ["Age"]),
        ("C(ypt_stage)", ["ypT stage", "ypT4"]),
    ],
)
def test_a_formula_as_people_write_it_is_fitted_drawn_and_labelled(run, formula, labels):
    drawn = run_cells("05_nomogram", run, clinical_formula=formula, **QUICK["05_nomogram"])
    found, saved = entries(run, "05_nomogram"), results.load_json(run / "interim" / "nomogram.json")
    assert all(label in drawn["fig3a"] and label in read(run / "tables" / "nomogram_points.html") for label in labels)
    assert (
        saved["formula"].replace(" ", "") == f"{formula} + dl_prob".replace(" ", "")
        and found["cox.dl_prob_in_combination.hr"]["value"] > 1
    )
    stages.nomogram_page(run)
    assert labels[0] in read(run / "nomogram.html")
    covariates = re.findall(r"<td>(?:Clinical|Combination)</td>\s*<td>(.*?)</td>", read(run / "tables" / "cox.html"))
    assert covariates and not any(re.search(r"\[|_|:", covariate) for covariate in covariates)
    if "*" in formula:
        assert found["cox.combination_lrt.ct_stage:cea"]["value"] >= 0
        assert "interaction ct_stage:cea" in found["cox.combination_lrt.ct_stage"]["reason"]
        with pytest.raises(release.Unfit, match="ct_stage"):
            release._check_levels("Nomogram", saved["coefficients"], cohort.VARIABLES)


def test_a_validation_patient_beyond_the_primary_range_is_listed_and_does_not_stop(run):
    patients = pd.read_csv(run / "interim" / "patients.csv", dtype=str, keep_default_na=False)
    last = patients.index[patients["cohort"] == "validation"][-1]
    patients.loc[last, "age"] = "104"
    patients.to_csv(run / "interim" / "patients.csv", index=False)
    run_cells("05_nomogram", run, clinical_formula="age + cea", **QUICK["05_nomogram"])
    assert "patients beyond the ends of the axis of Age" in read(run / "tables" / "nomogram_points.html")
    with pytest.raises(InputError, match="a spline that ends with the primary patients.* extrapolation='extend'"):
        run_cells("05_nomogram", run, clinical_formula="bs(age, 3)", **QUICK["05_nomogram"])


def test_times_of_the_roc_curves_name_keys_and_legends(run):
    drawn = run_cells("04_signature", run, times_months=[12, 36, 60], **QUICK["04_signature"])
    found = entries(run, "04_signature")
    times = {key.split(".")[1] for key in found if key.startswith("fig2.tdauc")}
    assert times == {"tdauc_12m", "tdauc_36m", "tdauc_60m"}
    assert all(f"{months} months" in drawn["fig2"] for months in (12, 36, 60)) and "24 months" not in drawn["fig2"]


@pytest.mark.parametrize(
    ("rule", "method", "words"),
    [("median", "median on", "median of the primary cohort"), (0.4, "fixed value on", "fixed in advance")],
)
def test_another_cutoff_rule_has_its_own_interval_and_label_everywhere(run, rule, method, words):
    drawn = run_cells("04_signature", run, cutoff_rule=rule, **QUICK["04_signature"])
    run_cells("05_nomogram", run, cutoff_rule=rule if isinstance(rule, str) else 0.25, **QUICK["05_nomogram"])
    drawn |= run_cells("07_subgroups", run)
    run_cells("06_evaluation", run, **QUICK["06_evaluation"])
    run_cells("06b_deviations", run)
    found = entries(run, "04_signature", "05_nomogram", "07_subgroups")
    patients = pd.read_csv(run / "interim" / "signature.csv").query("cohort == 'primary'")
    cutoff = found["fig2.cutoff_dlrs"]
    assert cutoff["value"] == pytest.approx(patients["dl_prob"].median() if rule == "median" else rule)
    for key in ["fig2.cutoff_dlrs", "fig3.cutoff_nomogram"]:
        assert found[key]["method"].startswith(method)
        assert (found[key]["ci"] == [None, None]) == (rule != "median")
    assert f"({method.removesuffix(' on')})" in drawn["fig2"]
    for table in ["tableS2", "fig4_counts", "figS4_strata"]:
        text = read(run / "tables" / f"{table}.html")
        assert words in text and "Youden" not in text
    stages.nomogram_page(run)
    assert f"({words})" in read(run / "nomogram.html")
    deviations = pd.read_csv(run / "tables" / "deviations.csv").query("topic == 'cut-off'")
    assert not deviations["default"].str.contains("Youden").any()
    assert "Youden on DL-prob" in set(deviations["alternative"])
    assert report.cutoff(found) == f"{method} DL-prob"


def test_a_step_that_does_not_divide_the_thresholds_keeps_those_of_the_results(run):
    run_cells("06_evaluation", run, threshold_step=0.03, **QUICK["06_evaluation"])
    found = entries(run, "06_evaluation")
    run_cells("06_evaluation", run, threshold_step=0.01, **QUICK["06_evaluation"])
    keys = [key for key in found if key.startswith("fig3.snb_")]
    assert len(keys) == 4 * (3 + 1) * 2  # thresholds, models and the difference of two, cohorts
    assert {key: found[key]["value"] for key in keys} == {
        key: entries(run, "06_evaluation")[key]["value"] for key in keys
    }


def test_the_categorical_nri_has_its_label_and_its_table(run):
    run_cells("06_evaluation", run, nri_cutoffs=[0.1, 0.3], **QUICK["06_evaluation"])
    entry = entries(run, "06_evaluation")["table2.nri_categorical.Nomogram vs Clinical.validation"]
    assert entry["method"].startswith("categorical") and "0.1 and 0.3" in read(run / "tables" / "table2.html")
    table = pd.read_csv(run / "tables" / "reclassification.csv").query("cohort == 'validation' and model == 'Nomogram'")
    order = ["0 to below 0.1", "0.1 to below 0.3", "0.3 or more"]
    parts = {}
    for outcome, part in table.groupby("outcome"):
        place = part["new"].map(order.index) - part["clinical"].map(order.index)
        parts[outcome] = (part["n"] * place.map(lambda x: (x > 0) - (x < 0))).sum() / part["n"].sum()
    assert parts["metastasis"] - parts["no metastasis"] == pytest.approx(entry["value"])
    assert table["n"].sum() == entry["n"]
    assert "New model: 0.3 or more" in read(run / "tables" / "reclassification.html")
    run_cells("06_evaluation", run, **QUICK["06_evaluation"])
    assert not (run / "tables" / "reclassification.csv").exists()


@pytest.mark.parametrize(("subgroups", "n"), [(["pcr", "downstaging", "gender"], 6), (["pcr"], 2), (["ypt_stage"], 5)])
def test_subgroups_of_fig_4_are_drawn_counted_and_named(run, subgroups, n):
    drawn = run_cells("07_subgroups", run, subgroups=subgroups)["fig4"]
    found = entries(run, "07_subgroups")
    sizes = {key: entry["value"] for key, entry in found.items() if re.fullmatch(r"fig4\.\w+\.n", key)}
    assert len(sizes) == n and len(pd.read_csv(run / "tables" / "fig4_counts.csv")) == 2 * n
    if "gender" in subgroups:
        assert (
            sizes["fig4.gender_male.n"] + sizes["fig4.gender_female.n"] == sizes["fig4.pcr.n"] + sizes["fig4.non_pcr.n"]
        )
        assert "Gender: Female" in drawn and "Gender: Female" in read(run / "tables" / "fig4_counts.html")


def test_a_stricter_screening_names_its_threshold(run):
    run_cells("05_nomogram", run, significance=0.001, **QUICK["05_nomogram"])
    assert "P below 0.001 alone" in read(run / "tables" / "tableS3.html")
    assert json.loads((run / "results" / "05_nomogram.json").read_text())["complete"]
