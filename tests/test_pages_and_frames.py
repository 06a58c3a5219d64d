"""Every page of a table is made from its own frame: its labels and numbers are those of the CSV beside it."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from dlrs import results
from dlrs.config import ROOT
from dlrs_run import expected, pages
from dlrs_site import intake
from executed import execute

FOLDERS = sorted({path.parent for path in (ROOT / "reports").glob("**/tables/*.html")})
NOTEBOOKS = ["01_cohort", "04_signature", "05_nomogram"]


def run_notebooks(cohort_dir, run, names=NOTEBOOKS):
    """Run notebooks on a cohort folder, with the committed probabilities of its patients."""
    intake.stage(run, cohort_dir)
    patients = pd.read_csv(cohort_dir / "clinical.csv", dtype=str)["patient_id"]
    probabilities = pd.read_csv(ROOT / "data_synthetic" / "dl_prob.csv", dtype=str)
    probabilities[probabilities["patient_id"].isin(patients)].to_csv(run / "interim" / "dl_prob.csv", index=False)
    for name in names:
        execute(name, run, **({"cohort_dir": str(cohort_dir)} if name == "01_cohort" else {}))
    return run


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    """Run 01, 04 and 05 on a cohort with a level without an event, one that nobody has, and small counts hidden."""
    folder = tmp_path_factory.mktemp("cohort")
    table = pd.read_csv(ROOT / "data_synthetic" / "clinical.csv", dtype=str)
    event = table["event"].str.lower().isin(["1", "true"]) & (table["cohort"] == "primary")
    table = table[~(event & table["tumor_location"].eq("High"))]
    table = table.replace({"ypt_stage": {"ypT4": "ypT3"}, "ypn_stage": {"ypN2": "ypN1"}})
    table.to_csv(folder / "clinical.csv", index=False)
    settings = {"name": "awkward", "class": "COHORT", "share": True, "small_cell": 8, "b_values": [0, 800]}
    (folder / "cohort.yaml").write_text(yaml.safe_dump(settings))
    return run_notebooks(folder, tmp_path_factory.mktemp("run") / "awkward")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(ROOT).as_posix())
def test_committed_pages_hold_what_their_files_hold(folder):
    assert expected.pages_and_frames(folder) == []


@pytest.mark.slow
def test_pages_of_an_awkward_cohort_hold_what_their_files_hold(awkward):
    assert {path.stem for path in (awkward / "tables").glob("*.html")} >= {"table1", "tableS1", "tableS3", "cox"}
    assert expected.pages_and_frames(awkward / "tables") == []


@pytest.mark.slow
def test_table_1_has_age_and_no_row_of_table_s1(awkward):
    shown = pages.read_table(awkward / "tables" / "table1.html")
    assert shown.columns[0] == "Characteristic" and [row[0] for row in shown.rows[:2]] == ["Age", "years, mean ± SD"]
    age = pd.read_csv(awkward / "tables" / "table1.csv").query("characteristic == 'age'").set_index("cohort")
    of_primary = age.loc["primary"]
    assert shown.rows[1][1] == f"{of_primary['mean']:.2f} ± {of_primary['sd']:.2f}"
    assert shown.rows[0][shown.columns.index("P")] == results.format_p(float(of_primary["p"]))
    assert of_primary["test"] == "mann_whitney"
    labels = [row[0] for row in pages.read_table(awkward / "tables" / "tableS1.html").rows]
    assert "b-values, s/mm²" in labels and not set(labels) & {row[0] for row in shown.rows}


@pytest.mark.slow
def test_the_screening_goes_on_past_what_is_not_estimable(awkward):
    rows = {row[0].split(" (reference")[0]: row for row in pages.read_table(awkward / "tables" / "tableS3.html").rows}
    # High has no event: its ratio to the largest level is not estimable, the test of the factor is
    assert rows["High"][1] == "not estimable"
    assert 0 < float(rows["Tumour location"][2]) < 1
    assert rows["Tumour location"][-1] == "not estimable"
    assert "ypT0" in rows and not {"ypT3", "ypT4", "ypN2"} & set(rows)  # ypT3 is the reference, the others are nobody's
    nomogram = json.loads((awkward / "interim" / "nomogram.json").read_text())
    assert list(nomogram["effects"]["ypn_stage"]) == ["ypN0", "ypN1"] and nomogram["smallest_count"] == 8


@pytest.mark.slow
def test_the_hazard_ratio_of_dl_prob_is_shown_per_unit_per_standard_deviation_and_per_tenth(awkward):
    table = pd.read_csv(awkward / "tables" / "cox.csv").query("covariate == 'dl_prob'").set_index("per")
    patients = pd.read_csv(awkward / "interim" / "patients.csv", dtype={"patient_id": str})
    probabilities = pd.read_csv(awkward / "interim" / "dl_prob.csv", dtype={"patient_id": str})
    primary = patients.query("cohort == 'primary'").merge(probabilities[["patient_id", "dl_prob"]])
    sd = primary["dl_prob"].std()
    assert table["units"].tolist() == pytest.approx([1, sd, 0.1])
    coefficient = json.loads((awkward / "interim" / "nomogram.json").read_text())["coefficients"]["dl_prob"]
    ratios = np.exp(coefficient * np.array([1, sd, 0.1]))
    assert table["hr"].tolist() == pytest.approx(ratios.round(2).tolist())  # two decimals, since counts are hidden
    assert (table["hr_lower"] < table["hr"]).all() and (table["hr"] < table["hr_upper"]).all()
    entries = json.loads((awkward / "results" / "05_nomogram.json").read_text())["entries"]
    per_sd = entries["cox.dl_prob_in_combination.hr_per_sd"]
    assert per_sd["value"] == pytest.approx(table.loc["standard deviation", "hr"])
    assert f"per standard deviation ({sd:.3f})" in {
        row[2] for row in pages.read_table(awkward / "tables/cox.html").rows
    }


FRAME = pd.DataFrame(
    {
        "ct_stage": ["cT3", "cT4"],
        "n": [40, 9],
        "of": [49, 49],
        "c": [0.7149, 0.6034],
        "lower": [-0.01, 0.5],
        "p": [4e-5, 0.25],
    }
)


def page_of(**changes):
    columns = {
        "cT stage": ["cT3", "cT4"],
        "n": ["40/49 (81.6%)", "<10"],
        "C": ["0.715 (-0.010 to 0.71)", "0.603 (0.500-0.6)"],
        "P": ["<0.001", "0.250"],
    }
    return pd.DataFrame(columns | changes)


def test_roundings_shares_and_bounds_of_the_row_are_its_numbers():
    assert expected.unfounded(page_of(), FRAME) == []
    assert expected.unfounded(page_of().rename(columns={"n": "Patients (n=49)"}), FRAME) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"C": ["0.714", "0.603"]}, "0.714 in the row 'cT3', column 'C'"),
        ({"C": ["0.603", "0.715"]}, "0.603 in the row 'cT3', column 'C'"),
        ({"n": ["40/49 (82.6%)", "9"]}, "82.6 in the row 'cT3', column 'n'"),
        ({"P": ["<0.001", "<0.001"]}, "0.001 in the row 'cT4', column 'P'"),
        ({"cT stage": ["cT3", "Repetition time"]}, "the row 'Repetition time' is not in the frame"),
        ({"P (n=50)": ["", ""]}, "the heading 'P (n=50)' counts 50 patients"),
    ],
)
def test_a_label_or_number_from_elsewhere_is_named(changes, fault):
    assert any(fault in found for found in expected.unfounded(page_of(**changes), FRAME))


def test_raw_names_and_cells_are_listed(tmp_path):
    cells = {"": "", "n_high": "3", "cT": "0.123456789012", "at": "nan", "b": "[0, 1]"}
    columns = {heading: lambda row, text=text: text for heading, text in cells.items()}
    record = results.start(tmp_path, "table9", provenance="SYNTHETIC")
    record.table(pd.DataFrame({"n_high": [3]}), "table9", columns=columns, caption="")
    found = "\n".join(expected.unspelt(pages.read_table(tmp_path / "tables" / "table9.html")))
    for fault in ["'n_high' is a raw", "column 1 has no heading", "0.123456789012", "'nan'", "'[0, 1]'"]:
        assert fault in found


def test_the_check_stops_where_a_page_was_changed(tmp_path):
    for ending in ["html", "csv"]:
        (tmp_path / f"cox.{ending}").write_bytes((ROOT / "reports" / "tables" / f"cox.{ending}").read_bytes())
    ratio = pages.read_table(tmp_path / "cox.html").rows[0][-1]
    text = (tmp_path / "cox.html").read_text(encoding="utf-8").replace(ratio, "99.000 (1.000-100.000)", 1)
    (tmp_path / "cox.html").write_text(text, encoding="utf-8")
    assert any("99.000 in the row 'Clinical'" in fault for fault in expected.pages_and_frames(tmp_path))
