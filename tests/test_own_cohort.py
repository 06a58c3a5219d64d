"""A hospital's own table and probabilities, with variables that the paper has not and without some that it has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from sksurv.nonparametric import cumulative_incidence_competing_risks

from dlrs import cohort, results
from dlrs.config import ROOT, InputError
from dlrs.stats import groups
from dlrs_site import doctor, intake
from notebook_cells import entries, run_cells, write_patients
from test_run import load_run

SETTINGS = """name: North hospital
class: COHORT
columns: {Patient: patient_id, EMVI status: emvi}
codes: {emvi: {0: absent, 1: present}}
variables:
  add:
    emvi: {label: EMVI, levels: [absent, present]}
    mrf_mm: {label: Distance to MRF, unit: mm, range: [0, 50]}
  leave_out: [ypt_stage]
"""


def spoilt(folder: Path, change) -> list[doctor.Finding]:
    """Change the folder's probabilities and return what the check says of them."""
    table = pd.read_csv(folder / "dl_prob.csv", dtype=str)
    change(table).to_csv(folder / "dl_prob.csv", index=False)
    return [found for found in doctor.check(folder, statistics=True).findings if found.file == "dl_prob.csv"]


@pytest.fixture(scope="module")
def north(tmp_path_factory):
    """Write the synthetic patients as a hospital that measures EMVI and the MRF and does not stage ypT."""
    folder, rng = tmp_path_factory.mktemp("north"), np.random.default_rng(3)
    table, probabilities = (pd.read_csv(ROOT / "data_synthetic" / f"{name}.csv") for name in ("clinical", "dl_prob"))
    probabilities = probabilities.filter(regex="(?<!_oof)$")
    names = {patient: f"N1-{number:04d}" for number, patient in enumerate(rng.permutation(table["patient_id"]))}
    table["EMVI status"], table["mrf_mm"] = rng.choice([0, 1], len(table)), rng.uniform(0, 20, len(table)).round(1)
    table["patient_id"], probabilities["patient_id"] = (t["patient_id"].map(names) for t in (table, probabilities))
    table.drop(columns="ypt_stage").rename(columns={"patient_id": "Patient"}).to_csv(
        folder / "clinical.csv", index=False
    )
    probabilities.iloc[::-1].to_csv(folder / "both.csv", index=False)
    one = probabilities[["patient_id"]].assign(dl_prob=probabilities["dl_prob"] / 2)
    one.iloc[::-1].to_csv(folder / "dl_prob.csv", index=False)
    (folder / "cohort.yaml").write_text(SETTINGS, encoding="utf-8")
    return folder


@pytest.fixture
def folder(north, tmp_path):
    """Copy that folder, with the probabilities of both sequences."""
    own = shutil.copytree(north, tmp_path / "own")
    (own / "both.csv").replace(own / "dl_prob.csv")
    return own


@pytest.mark.parametrize(("empty", "said"), [(["age"], ": age is empty in all of them"), (["cea", "gender"], "")])
def test_a_cohort_without_a_complete_patient_is_an_error_of_the_check(folder, empty, said):
    """In the validation cohort: each of the columns is empty in a part of the patients, together in all."""
    table = pd.read_csv(folder / "clinical.csv", dtype=str, keep_default_na=False)
    for place, name in enumerate(empty):
        table.loc[(table["cohort"] == "validation") & (table.index % len(empty) == place), name] = ""
    table.to_csv(folder / "clinical.csv", index=False)
    errors = [f for f in doctor.check(folder, statistics=True).findings if f.severity == "error"]
    assert [f.message for f in errors] == [f"no patient of the validation cohort has every covariate{said}"]
    assert "leave_out" in errors[0].remedy


# ---------------------------------------------------------------- the probabilities


def cell(column: str, value):
    return lambda table: table.assign(**{column: [*table[column][:3], value, *table[column][4:]]})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (cell("t2w_prob", "1.2"), ["row 5: column t2w_prob: found '1.2'; expected a probability from 0 to 1"]),
        (cell("adc_prob", "-0.1"), ["row 5: column adc_prob: found '-0.1'; expected a probability"]),
        (cell("adc_prob", "high"), ["row 5: column adc_prob: found 'high'; expected a probability"]),
        (cell("adc_prob", ""), ["row 5: column adc_prob: is empty; expected a probability"]),
        (
            lambda t: t.drop(columns="dl_prob").assign(t2w_prob=100 * t["t2w_prob"].astype(float)),
            ["column t2w_prob: values up to 53.6098 look like percents; expected a probability from 0 to 1"],
        ),
        (lambda t: t.drop(index=3), ["no row for 1 patient of the clinical table, the first in row"]),
        (
            lambda t: t.assign(patient_id=t["patient_id"].str.lower()),
            [
                "no row for 235 patients of the clinical table, the first in row 2 there; is that row 236 here?",
                "235 rows",
            ],
        ),
        (lambda t: pd.concat([t, t.iloc[[3]]]), ["row 237: column patient_id: the patient of row 5 again"]),
        (lambda t: t.drop(columns=["adc_prob", "dl_prob"]), ["the columns are patient_id, cohort, t2w_prob; expected"]),
        (lambda t: t.assign(dl_prob="0.4"), ["row 2: column dl_prob: found 0.4 beside", "and so in 2"]),
        (lambda t: t[["patient_id", "dl_prob"]].assign(dl_prob="1.3"), ["look like percents"]),
        (lambda t: t.iloc[:0], ["no patients; expected one row a patient"]),
    ],
)
def test_each_mistake_in_the_probabilities_is_named_before_anything_runs(folder, change, said):
    found = spoilt(folder, change)
    text = "\n".join(f"row {f.row}: {f.message}" if f.row else f.message for f in found)
    assert all(part in text for part in said), text
    assert any(f.severity == "error" for f in found) and all(f.remedy for f in found)
    patients = intake.survey(folder).patients
    with pytest.raises(intake.InputError) as error:
        intake._refuse(folder, intake.survey_probabilities(folder, patients).problems)
    assert "N1-" not in str(error.value) and "n1-" not in str(error.value)


BOTH = ("t2w_prob", "adc_prob", "dl_prob")


def two_tracks(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of probabilities with out-of-fold ones: in primary patients nine tenths of the others."""
    numbers = table[[name for name in BOTH if name in table]].astype(float)
    less = numbers.mul(np.where(table["cohort"] == "primary", 0.9, 1.0), axis=0) if "cohort" in table else numbers
    return table.assign(**less.add_suffix("_oof"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (cell("t2w_prob_oof", 1.2), "row 5: column t2w_prob_oof: found '1.2'; expected a probability from 0 to 1"),
        (cell("adc_prob_oof", "high"), "row 5: column adc_prob_oof: found 'high'; expected a probability"),
        (cell("adc_prob_oof", ""), "row 5: column adc_prob_oof: is empty; expected a probability"),
        (cell("dl_prob_oof", 1.9), "column dl_prob_oof: found 1.9 beside"),
        (lambda t: t.drop(columns="adc_prob_oof"), "there is t2w_prob_oof, dl_prob_oof without adc_prob_oof"),
        (
            lambda t: t.assign(t2w_prob_oof=0.123, dl_prob_oof=0.123 + t["adc_prob_oof"]),
            "column t2w_prob_oof: found 0.123 in a validation patient, and so in 65 rows",
        ),
        (
            lambda t: t[["patient_id", "dl_prob"]].assign(dl_prob="0.5", t2w_prob_oof="0.5"),
            "there is t2w_prob_oof without dl_prob_oof; expected dl_prob_oof as well",
        ),
    ],
)
def test_each_mistake_in_out_of_fold_probabilities_is_named(folder, change, said):
    found = spoilt(folder, lambda table: change(two_tracks(table)))
    text = "\n".join(f"row {f.row}: {f.message}" if f.row else f.message for f in found)
    assert said in text, text
    assert all(f.severity == "error" and f.remedy for f in found)


def test_out_of_fold_probabilities_are_taken_over_and_their_sum_is_made(folder):
    assert spoilt(folder, two_tracks) == []
    given = pd.read_csv(folder / "dl_prob.csv")
    given.drop(columns=["dl_prob", "dl_prob_oof"]).to_csv(folder / "dl_prob.csv", index=False)
    found = intake.survey_probabilities(folder, intake.survey(folder).patients)
    assert not found.problems
    assert found.table.columns.tolist() == ["patient_id", *BOTH, *(f"{name}_oof" for name in BOTH)]
    assert np.array_equal(found.table["dl_prob_oof"], given["t2w_prob_oof"] + given["adc_prob_oof"])
    alone = given[["patient_id", "dl_prob"]].assign(dl_prob=given["dl_prob"] / 2)
    alone.assign(dl_prob_oof=alone["dl_prob"]).to_csv(folder / "dl_prob.csv", index=False)
    found = intake.survey_probabilities(folder, intake.survey(folder).patients)
    assert not found.problems and found.table.columns.tolist() == ["patient_id", "dl_prob", "dl_prob_oof"]


def test_rows_of_nobody_are_left_out_and_told(folder):
    extra = pd.DataFrame([["N1-9999", "primary", "0.1", "0.2", "0.3"]])
    found = spoilt(folder, lambda t: pd.concat([t, extra.set_axis(t.columns, axis=1)]))
    assert [(f.severity, f.code) for f in found] == [("warning", "probabilities-unused")]
    assert "1 rows are of no patient of the clinical table, the first is row 237" in found[0].message


def test_decimal_commas_are_read_and_the_sum_is_made(folder):
    table = pd.read_csv(folder / "dl_prob.csv").drop(columns=["cohort", "dl_prob"])
    table.to_csv(folder / "dl_prob.csv", index=False, sep=";", decimal=",")
    found = intake.survey_probabilities(folder, intake.survey(folder).patients)
    assert not found.problems and np.array_equal(found.table["t2w_prob"], table["t2w_prob"])
    assert np.array_equal(found.table["dl_prob"], table["t2w_prob"] + table["adc_prob"])


def test_a_folder_without_images_starts_from_its_probabilities(folder, tmp_path, monkeypatch, capsys):
    codes = [found.code for found in doctor.check(folder).findings if found.severity == "warning"]
    assert "images-not-there" in codes and not [f for f in doctor.check(folder).findings if f.severity == "error"]
    run, asked = load_run(ROOT), []
    monkeypatch.setattr(run, "study", lambda run_dir, *targets, **settings: asked.append((run_dir, targets, settings)))
    monkeypatch.setattr(run, "call", lambda *words, **_: asked.append(words) or 0)
    for command in (["statistics"], ["reproduce"], ["reproduce", "table2"]):
        assert run.main([*command, "--cohort", str(folder), "--out", str(tmp_path / "out")]) == 0
        examined, (run_dir, targets, settings) = asked
        assert examined[-2:] == ("--once", "--statistics") and run_dir == tmp_path / "out"
        assert settings["part"] == "statistics" and settings["cohort_dir"] == folder
        assert targets == (("table2",) if "table2" in command else ())
        said = capsys.readouterr().out
        assert ("holds dl_prob.csv and no images: the statistics alone are run" in said) == (command[0] == "reproduce")
        asked.clear()
    assert run.main(["statistics", "--cohort", str(folder)]) == 1
    assert run.main(["reproduce", "alternatives", "--cohort", str(folder), "--out", str(tmp_path / "out")]) == 1
    assert "holds no images" in capsys.readouterr().err and not asked


def test_a_column_of_codes_and_one_that_is_not_there_are_told_with_the_remedy(folder):
    table = pd.read_csv(folder / "clinical.csv").drop(columns="cea")
    table["ct_stage"] = np.arange(len(table)) % 3
    table.to_csv(folder / "clinical.csv", index=False)
    remedies = {found.code: found.remedy for found in intake.survey(folder).problems}
    assert "`variables: {leave_out: [cea]}`" in remedies["table-columns"]
    assert "`codes: {ct_stage: {'0': ..., '1': ..., '2': ...}}`" in remedies["cell-value"]


# ---------------------------------------------------------------- the whole way


@pytest.fixture(scope="module")
def made(north, tmp_path_factory):
    """Run `statistics --cohort` on the hospital that has one probability a patient."""
    out = tmp_path_factory.mktemp("runs") / "north"
    words = ["statistics", "--cohort", str(north), "--out", str(out), "--profile", "smoke"]
    start = f"import sys, run; run.set_up = lambda *_: {sys.executable!r}; sys.exit(run.main({words!r}))"
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    ran = subprocess.run(
        [sys.executable, "-c", start], cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return out


def rows_of(made: Path, table: str) -> list[list[str]]:
    """Return the rows of a table's page, each its cells."""
    text = (made / "tables" / f"{table}.html").read_text(encoding="utf-8")
    return [re.findall(r"<td>(.*?)</td>", row) for row in text.split("<tr")[2:]]


@pytest.mark.slow
def test_its_tables_show_what_it_adds_and_say_what_it_has_not(made):
    for table in ("table1", "tableS2", "tableS3"):
        rows = rows_of(made, table)
        heads = [row[0] for row in rows]
        names = {"EMVI", "ypT stage", "Distance to MRF"}
        if table == "tableS2":
            names = {f"{name}, {cohort} cohort" for name in names for cohort in ("primary", "validation")}
        assert names <= set(heads), table
        absent = [row for row in rows if row[0] in ("ypT1", "ypT4")]
        assert len(absent) >= 2 and all(results.NOT_HERE in row for row in absent)
    strata = rows_of(made, "figS4_strata")
    assert ["EMVI", "present"] in [row[:2] for row in strata]
    assert all(row[2:] == [results.NOT_HERE] * 8 for row in strata if row[0] == "ypT stage")
    assert {tuple(row[2:]) for row in rows_of(made, "fig4_counts")} == {(results.NOT_HERE,) * 3}
    assert [row[1:] for row in rows_of(made, "table2") if row[0] == "T2W"] == [
        [results.NOT_HERE, "", results.NOT_HERE, ""]
    ]
    heat_map = {tuple(row[:2]): row[2] for row in rows_of(made, "figS6_correlation")}
    assert heat_map["T2W-prob", "EMVI"] == heat_map["DL-prob", "ypT stage"] == results.NOT_HERE
    assert -1 < float(heat_map["DL-prob", "Distance to MRF"]) < 1


@pytest.mark.slow
def test_its_numbers_are_those_of_its_patients(made, north):
    table = pd.read_csv(north / "clinical.csv").set_index("Patient")
    counts = pd.read_csv(made / "tables" / "table1.csv").query("characteristic == 'emvi'")
    there = pd.crosstab(table["EMVI status"].map({0: "absent", 1: "present"}), table["cohort"])
    assert {(r.level, r.cohort): int(r.n) for r in counts.itertuples()} == there.stack().to_dict()
    primary = table[table["cohort"] == "primary"].rename(columns={"EMVI status": "emvi"})
    fit = CoxPHFitter().fit(primary, "time_months", "event", formula="emvi", fit_options={"precision": 1e-12})
    ratio = pd.read_csv(made / "tables" / "tableS3.csv").query("term == 'emvi'")["hr"].astype(float).item()
    assert ratio == pytest.approx(fit.hazard_ratios_["emvi"], rel=1e-6)  # lifelines stops a little before the maximum
    used = pd.read_csv(made / "interim" / "dl_prob.csv").set_index("patient_id")["dl_prob"]
    given = pd.read_csv(north / "dl_prob.csv").set_index("patient_id")["dl_prob"]
    pd.testing.assert_series_equal(used.sort_index(), given.sort_index(), check_exact=True)
    means = json.loads((made / "results.json").read_text())["table1.mrf_mm.validation.mean"]
    assert means["value"] == pytest.approx(table.query("cohort == 'validation'")["mrf_mm"].mean())


@pytest.mark.slow
def test_its_report_says_what_is_not_there_and_names_nobody(made):
    entries = json.loads((made / "results.json").read_text())
    absent = ["table1.ypt_stage.levels.ypT0.primary", "fig4.pcr.n", "fig4.pcr.p", "fig1.auc.T2W.validation"]
    absent += ["table2.cindex.ADC.validation", "fig2.tdauc_36m.DLRS.validation"]
    for key in absent[:-1]:
        assert entries[key]["value"] is None and entries[key]["reason"] == results.NOT_HERE, key
    assert entries[absent[-1]]["value"] > 0.5
    report = (made / "report.html").read_text(encoding="utf-8")
    rows = dict(
        re.findall(r'id="n-(fig4\.pcr\.n|table2\.cindex\.ADC\.validation)".*?(not in this cohort)', report, re.DOTALL)
    )
    assert len(rows) == 2 and "Ypt stage" not in report and "Emvi" not in report
    assert json.loads((made / "interim" / "privacy.json").read_text())["n_identifiers"] == 235
    assert (made / "nomogram.html").is_file() and json.loads((made / "results_missing.json").read_text()) == []


@pytest.mark.slow
def test_who_died_without_metastasis_is_told_and_taken_into_account(cohort_read, tmp_path):
    """A third of those lost died early: the risk is Aalen and Johansen's, as scikit-survival has it."""
    run = shutil.copytree(cohort_read, tmp_path / "run")
    patients = pd.read_csv(run / "interim" / "patients.csv", dtype=str, keep_default_na=False)
    died = (patients["event"] == "False") & (np.arange(len(patients)) % 3 == 0)
    patients.loc[died, "time_months"] = (patients.loc[died, "time_months"].astype(float) / 3).round(1).astype(str)
    probabilities = pd.read_csv(run / "interim" / "dl_prob.csv", dtype={"patient_id": str})
    write_patients(run, patients.assign(competing_event=died.astype(int).astype(str)), probabilities)
    for name in ("04_signature", "05_nomogram", "06_evaluation"):
        run_cells(name, run, n_boot=20)
    table = pd.read_csv(run / "tables" / "competing_events.csv")
    assert (table.query("months == 36")["risk"] < table.query("months == 36")["kaplan_meier"] - 0.01).all()
    found = entries(run, "06_evaluation")
    for name, group in patients.assign(cause=(patients["event"] == "True") + 2 * died).groupby("cohort"):
        time = group["time_months"].astype(float)
        at, incidence = cumulative_incidence_competing_risks(group["cause"].to_numpy(int), time.to_numpy())
        risk = found[f"competing.risk.36m.{name}"]
        assert risk["value"] == pytest.approx(incidence[1][at <= 36][-1])
        ratio = found[f"competing.observed_expected.36m.Nomogram.{name}"]
        assert risk["ci"][0] < risk["value"] < risk["ci"][1] and ratio["ci"][0] < ratio["value"] < ratio["ci"][1]
        assert ratio["value"] < found[f"calibration.observed_expected.36m.Nomogram.{name}"]["value"]
        assert 0 < found[f"competing.snb_20.Nomogram.{name}"]["value"] < 1


@pytest.mark.parametrize(("value", "row"), [("2", 4), ("yes", 4), ("1", 3)])
def test_a_competing_event_is_told_by_0_and_1_and_excludes_metastasis(value, row):
    patients = pd.DataFrame(dict(row=[2, 3, 4], event=[False, True, False], competing_event=["1", None, "0"]))
    assert cohort.competing_events(patients, "competing_event").tolist() == [True, False, False]
    assert cohort.competing_events(patients, "died") is None
    patients.loc[row - 2, "competing_event"] = value
    with pytest.raises(
        InputError, match=rf"row {row}, column competing_event: found '{value}'; expected 0, or 1 where"
    ):
        cohort.competing_events(patients, "competing_event")


# ---------------------------------------------------------------- what is shared


def p_of(test: str, cells: np.ndarray) -> float:
    """Return P of one of Table 1's tests, from the counts of two levels in two cohorts."""
    tests = {"fisher_freeman_halton": groups.fisher_freeman_halton, "exact_chi_square": groups.exact_chi_square}
    return tests[test](cells) if test in tests else groups.chi_square(cells, correction=True).p


def solutions(rows: pd.DataFrame, pooled: dict[str, str]) -> list[tuple[int, int]]:
    """List the counts of a factor's first level in the two cohorts that agree with all that is shown of it.

    `rows` are Table 1's, of a factor with two levels; `pooled` holds Fig. S4's counts of both cohorts by level.
    """

    def agrees(n: int, shown: str) -> bool:
        return n == int(float(shown)) if shown[:1].isdigit() else 0 < n < 5 if shown[:1] == "<" else True

    first, second = rows["level"].unique()
    shown = {(row.cohort, row.level): row.n for row in rows.itertuples()}
    of = {row.cohort: int(row.of) for row in rows.itertuples()}
    possible = [
        [n for n in range(of[c] + 1) if agrees(n, shown[c, first]) and agrees(of[c] - n, shown[c, second])]
        for c in ("primary", "validation")
    ]
    found = [pair for pair in product(*possible) if first not in pooled or agrees(sum(pair), pooled[first])]
    test, p = rows["test"].iloc[0], pd.to_numeric(rows["p"], errors="coerce").iloc[0]
    if np.isnan(p):
        return found
    sizes = np.array([of["primary"], of["validation"]])
    return [pair for pair in found if np.isclose(p_of(test, np.array([pair, sizes - pair])), p, rtol=1e-9)]


@pytest.mark.slow
def test_a_hidden_count_does_not_follow_from_p_or_from_both_cohorts_together(tmp_path):
    """Three patients of a level in the primary cohort, in four factors: each count is solved for from what is shown."""
    own, run = tmp_path / "own", tmp_path / "run"
    own.mkdir()
    table = pd.read_csv(ROOT / "data_synthetic" / "clinical.csv")
    primary = table["cohort"] == "primary"
    rare = {"lymph_node_status": "negative", "adjuvant_radiotherapy": "Yes", "gender": "Female", "ct_stage": "cT4"}
    for name, level in rare.items():
        other = next(one for one in cohort.LEVELS[name] if one != level)
        table.loc[primary, name] = np.where(np.arange(primary.sum()) < 3, level, other)
    table.to_csv(own / "clinical.csv", index=False)
    (own / "cohort.yaml").write_text("name: Here\nclass: COHORT\nshare: true\n")
    intake.stage(run, own)
    results.save_csv(cohort.read_study(run).patients, run / "interim" / "patients.csv")
    predictions = table[["patient_id", "cohort"]].assign(lp_Nomogram=0.0, risk_Nomogram=table["age"] / 100)
    results.save_csv(predictions, run / "interim" / "predictions.csv")
    results.save_json(dict(cutoff_risk=0.6, horizon_months=36.0), run / "interim" / "nomogram.json")
    for name in ("01_cohort", "07_subgroups"):
        run_cells(name, run)
    shown = pd.read_csv(run / "tables" / "table1.csv", dtype=str, keep_default_na=False)
    strata = pd.read_csv(run / "tables" / "figS4_strata.csv", dtype=str, keep_default_na=False)
    for name in rare:
        of_it = strata[strata["factor"] == name]
        rows = shown[shown["characteristic"] == name]
        assert "<5" in set(rows["n"]) and len(solutions(rows, dict(zip(of_it["level"], of_it["n"], strict=True)))) > 1
    assert set(shown.loc[~shown["characteristic"].isin([*rare, "age"]), "n"]) >= {"<5"}
    entries = json.loads((run / "results" / "01_cohort.json").read_text())["entries"]
    hidden = entries["table1.gender.p"]
    assert hidden["value"] is None and hidden["p"] is None and hidden["reason"] == "a count too small to show"
    assert 0 < entries["table1.cea.p"]["value"] < 1
