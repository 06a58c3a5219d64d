"""The stages between the notebooks: what they pass on, what they refuse."""

import json
import re

import pandas as pd
import pytest

from dlrs import cohort
from dlrs.config import InputError, sha256
from dlrs_run import stages


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dl_prob.csv").write_text("patient_id,cohort,t2w_prob,adc_prob,dl_prob\nP001,primary,0.25,0.5,0.75\n")
    (tmp_path / "dl_prob.csv.sha256").write_text(sha256(tmp_path / "dl_prob.csv") + "  dl_prob.csv\n")
    return tmp_path


def test_probabilities_are_joined_by_patient(tmp_path, monkeypatch):
    interim = tmp_path / "interim"
    interim.mkdir()
    monkeypatch.setattr(
        cohort, "read_patients", lambda path: pd.DataFrame({"patient_id": ["1", "2"], "cohort": ["primary"] * 2})
    )
    (interim / "prob_T2W.csv").write_text("patient_id,prob\n2,0.5\n1,0.25\n")
    (interim / "prob_ADC.csv").write_text("patient_id,prob\n1,0.125\n2,1\n")
    stages.join(tmp_path)
    joined = pd.read_csv(interim / "dl_prob.csv")
    assert joined.columns.tolist() == ["patient_id", "cohort", "t2w_prob", "adc_prob", "dl_prob"]
    assert joined["dl_prob"].tolist() == [0.375, 1.5]
    (interim / "prob_T2W.csv").write_text("patient_id,prob,prob_oof\n2,0.5,0.25\n1,0.25,0.125\n")
    (interim / "prob_ADC.csv").write_text("patient_id,prob,prob_oof\n1,0.125,0.5\n2,1,0.5\n")
    stages.join(tmp_path)
    assert pd.read_csv(interim / "dl_prob.csv")["dl_prob_oof"].tolist() == [0.625, 0.75]
    stages.alternatives(tmp_path, [])
    assert pd.read_csv(interim / "alternatives.csv").columns.tolist() == [*joined.columns, "alternative"]


def test_branches_have_the_runs_patients_and_alternatives_hold_the_runs_own_first(tmp_path, monkeypatch):
    interim = tmp_path / "interim"
    interim.mkdir()
    (interim / "patients.csv").write_text("the patients")
    (interim / "study.json").write_text("the class")
    stages.branches(tmp_path, ["no_z-score"])
    branch = interim / "branches" / "no_z-score" / "interim"
    assert (branch / "patients.csv").read_text() == "the patients"
    assert (branch / "study.json").read_text() == "the class"
    monkeypatch.setattr(cohort, "read_patients", lambda _: pd.DataFrame({"patient_id": ["1"], "cohort": ["primary"]}))
    for folder, probability in ((interim, 0.25), (branch, 0.5)):
        for sequence in ("T2W", "ADC"):
            (folder / f"prob_{sequence}.csv").write_text(f"patient_id,prob\n1,{probability}\n")
    stages.alternatives(tmp_path, ["no_z-score"])
    found = pd.read_csv(interim / "alternatives.csv")
    assert dict(zip(found["alternative"], found["dl_prob"], strict=True)) == {"default": 0.5, "no z-score": 1.0}


def test_a_seed_starts_from_the_patients_and_boxes_of_a_finished_run(tmp_path):
    base, seed = tmp_path / "base" / "interim", tmp_path / "bands" / "seed-1"
    (base / "boxes").mkdir(parents=True)
    (base / "boxes" / "1.npy").write_text("a box")
    (base / "boxes.csv").write_text("patient_id,sequence,file,sha256\n01,T2W,boxes/1.npy,ab\n")
    for file in ("patients.csv", "study.json"):
        (base / file).write_text(file)
    stages.prepare_repeat(seed, tmp_path / "base")
    boxes = pd.read_csv(seed / "interim" / "boxes.csv", dtype=str)
    assert (seed / "interim" / boxes["file"][0]).read_text() == "a box" and boxes["patient_id"][0] == "01"
    assert all((seed / "interim" / file).read_text() == file for file in ("patients.csv", "study.json"))


def test_a_trial_cohort_has_patients_of_both_cohorts_and_no_images(tmp_path):
    stages.trial_cohort(tmp_path, patients=12)
    assert sorted(path.name for path in (tmp_path / "cohort").iterdir()) == ["clinical.csv", "cohort.yaml", "truth.csv"]
    table = pd.read_csv(tmp_path / "cohort" / "clinical.csv")
    assert len(table) == 12 and set(table["cohort"]) == {"primary", "validation"}


def test_frozen_probabilities_are_those_that_were_committed(folder):
    stages.frozen(folder / "run", folder)
    assert sha256(folder / "run" / "interim" / "dl_prob.csv") == sha256(folder / "dl_prob.csv")


def test_frozen_probabilities_that_were_changed_are_refused(folder):
    (folder / "dl_prob.csv").write_text("patient_id,cohort,t2w_prob,adc_prob,dl_prob\nP001,primary,0.25,0.5,0.76\n")
    with pytest.raises(InputError, match="its content was changed; expected the hash in dl_prob.csv.sha256"):
        stages.frozen(folder / "run", folder)
    (folder / "dl_prob.csv").unlink()
    with pytest.raises(InputError, match="dl_prob.csv: the file is missing"):
        stages.frozen(folder / "run", folder)
    assert not (folder / "run").exists()


def test_published_are_tables_figures_results_and_pages_and_nothing_of_patients(tmp_path):
    run, reports = tmp_path / "run", tmp_path / "reports"
    made = ("tables/table1.csv", "figures/fig1.png", "interim/patients.csv", "results.json", "report.html")
    for name in (*made, "notebooks/01.html", "notebooks/01.ipynb"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    for name in ("tables/table0.csv", "expected.json", "deviations.md"):
        (reports / name).parent.mkdir(parents=True, exist_ok=True)
        (reports / name).write_text(name)
    stages.publish(run, reports)
    found = sorted(str(path.relative_to(reports)) for path in reports.rglob("*") if path.is_file())
    assert found == [
        "deviations.md", "expected.json", "figures/fig1.png", "index.html", "notebooks/01.html", "report.html",
        "results.json",
        "tables/table1.csv",
    ]  # fmt: skip
    assert len(json.loads((run / "published.json").read_text())) == 5


def test_results_say_which_numbers_are_missing(tmp_path, capsys):
    (tmp_path / "results").mkdir()
    (tmp_path / "made_from.csv").write_text("1")
    inputs = {"made_from.csv": sha256(tmp_path / "made_from.csv")}
    part = {"complete": True, "inputs": inputs, "entries": {"a.b": {"value": 1}}}
    (tmp_path / "results" / "n.json").write_text(json.dumps(part))
    stages.results(tmp_path)
    (tmp_path / "made_from.csv").write_text("2")
    stages.results(tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "1 numbers, 0 missing",
        "0 numbers, 1 missing",
        "missing, since a file that it was made from has changed: a.b",
    ]


def test_the_index_of_what_is_published_links_all_of_it_and_nothing_else(tmp_path):
    run, reports = tmp_path / "run", tmp_path / "reports"
    for name in ("report.html", "draft.md", "word/table1.docx", "notebooks/06_evaluation.html", "tables/table1.csv"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    page = "<table><caption>Characteristics &amp; more.</caption><tr><th>Age</th></tr></table>"
    (run / "tables" / "table1.html").write_text(page)
    (reports / "validity" / "tables").mkdir(parents=True)
    (reports / "validity" / "tables" / "validity_null.html").write_text(page)
    stages.publish(run, reports)
    text = (reports / "index.html").read_text()
    linked = set(re.findall(r'href="([^"]+)"', text))
    assert linked == {
        "report.html", "draft.md", "notebooks/06_evaluation.html", "tables/table1.html", "word/table1.docx",
        "validity/tables/validity_null.html",
    }  # fmt: skip
    assert all((reports / name).is_file() for name in linked) and ">Characteristics &amp; more.<" in text
    assert "06_evaluation: How well do the five models rank patients" in text
