"""The recorder: what a notebook hands it is what the CSV, the page, results.json and the figure show."""

import csv
import json
import os
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from dlrs import config, results

FRAME = pd.DataFrame(
    {
        "model": ["Nomogram", "DLRS", "Nomogram", "DLRS"],
        "cohort": ["primary", "primary", "validation", "validation"],
        "c": [0.7654, 0.7, 0.675, np.nan],
        "lower": [0.7, 0.6, 0.6, np.nan],
        "upper": [0.8, 0.8, 0.75, np.nan],
        "p": [0.00001, 0.02, 0.04999, np.nan],
        "n": [170, 170, 65, 65],
    }
)


@pytest.fixture
def record(tmp_path, monkeypatch):
    monkeypatch.setenv("DLRS_STAGE", "06_evaluation")
    (tmp_path / "interim").mkdir()
    (tmp_path / "interim/study.json").write_text('{"class": "SYNTHETIC", "smallest_count": 0}')
    (tmp_path / "interim/patients.csv").write_text("patient_id\n1\n")
    return results.start(tmp_path, "06_evaluation", inputs=["interim/patients.csv"])


def entries_of(folder, notebook="06_evaluation"):
    return json.loads((folder / f"results/{notebook}.json").read_text())["entries"]


# ---------------------------------------------------------------- numbers


def test_a_number_a_row_with_the_key_of_the_paper(record, tmp_path):
    key = "table2.cindex.{model}.{cohort}"
    record.numbers(FRAME, key, value="c", ci=("lower", "upper"), p="p", n="n", method="Harrell", reason="no events")
    found = entries_of(tmp_path)
    assert found["table2.cindex.Nomogram.primary"] == dict(
        value=0.7654, ci=[0.7, 0.8], cohort="primary", model="Nomogram", p=0.00001, n=170, method="Harrell"
    ) | {"notebook": "06_evaluation", "class": "SYNTHETIC"}
    missing = found["table2.cindex.DLRS.validation"]
    assert missing["value"] is None and missing["reason"] == "no events"


def test_a_key_writes_a_name_in_small_letters_and_digits(record):
    frame = pd.DataFrame({"finding": ["NRI, Nomogram against clinical"], "signal": [0.25], "share": [0.5]})
    record.numbers(frame, "validity.{finding:key}.{signal:g}.share", value="share", seed=1)
    assert list(record.entries) == ["validity.nri_nomogram_against_clinical.0.25.share"]


def test_a_share_is_written_in_percent_and_nothing_where_there_is_none():
    row = dict(any=0.125, any_lower=0.096, any_upper=0.161, better=np.nan, better_lower=np.nan, better_upper=np.nan)
    assert results.percent("any")(row) == "12.5 (9.6 to 16.1)"
    assert results.percent("better")(row) == ""


def test_recording_again_replaces(record, tmp_path):
    record.number("fig2.cutoff_dlrs", 1.5, n=162)
    record.number("fig2.cutoff_dlrs", 1.25, n=162)
    assert entries_of(tmp_path)["fig2.cutoff_dlrs"]["value"] == 1.25


def test_what_cannot_be_right_is_refused(record):
    with pytest.raises(ValueError, match="must hold a reason; found none at a.b"):
        record.number("a.b", float("nan"))
    with pytest.raises(ValueError, match=r"ci must hold the value; found 0.5 outside \[0.6, 0.7\] at a.b"):
        record.number("a.b", 0.5, ci=[0.6, 0.7])
    with pytest.raises(ValueError, match="provenance must be one of PUBLISHED"):
        results.start(record.run_dir, "00_paper_audit", provenance="OURS")


def test_numbers_count_once_their_notebook_has_ended(record, tmp_path):
    record.number("fig3.n.primary", 170)
    assert results.collect(tmp_path) == ({}, ["fig3.n.primary"])
    assert record.finish("numpy")["numpy"] == np.__version__
    entries, missing = results.collect(tmp_path)
    assert list(entries) == ["fig3.n.primary"] and not missing
    (tmp_path / "interim/patients.csv").write_text("patient_id\n2\n")
    assert results.collect(tmp_path) == ({}, ["fig3.n.primary"])


def test_small_counts_are_left_out_of_a_shared_record(record, tmp_path):
    record.smallest = 5
    record.number("table1.cea.levels.Elevated.primary", 3, n=170, percent=1.8)
    entry = entries_of(tmp_path)["table1.cea.levels.Elevated.primary"]
    assert entry["value"] is None and entry["percent"] is None and entry["reason"] == "a count too small to show"


# ---------------------------------------------------------------- tables


def test_page_and_csv_come_from_one_frame(record, tmp_path):
    columns = {"Model": "model", "{cohort}": results.estimate("c"), "P, {cohort}": results.p_value()}
    page = record.table(FRAME, "table2", columns=columns, caption="Table 2 <C>", notes="n & m")
    assert page.columns.tolist() == ["Model", "primary", "P, primary", "validation", "P, validation"]
    assert page.values.tolist() == [
        ["Nomogram", "0.765 (0.700 to 0.800)", "<0.001", "0.675 (0.600 to 0.750)", "0.050"],
        ["DLRS", "0.700 (0.600 to 0.800)", "0.020", "not estimable", "not estimable"],
    ]
    shown = pd.read_html(tmp_path / "tables/table2.html")[0]
    assert shown.astype(str).values.tolist() == page.values.tolist()
    csv = pd.read_csv(tmp_path / "tables/table2.csv")
    pd.testing.assert_frame_equal(csv.drop(columns="class"), FRAME)
    assert set(csv["class"]) == {"SYNTHETIC"}
    text = (tmp_path / "tables/table2.html").read_text()
    assert (
        "<caption>Table 2 &lt;C&gt;</caption>" in text and "n &amp; m" in text and results.STAMPS["SYNTHETIC"] in text
    )


def test_a_text_that_is_not_repeated_stands_in_the_first_of_its_rows():
    frame = pd.DataFrame({"a": ["x", "x", "y", "x"], "b": [1, 2, 2, 2], "s": ["one", "one", "one", "two"]})
    page = results.layout(frame, {"A": "a", "B": results.number("b", 0)}, once=["A", "B"])
    assert page.values.tolist() == [["x", "1"], ["", "2"], ["y", ""], ["x", ""]]
    page = results.layout(frame, {"A": "a"}, sections="s", once=["A"])
    assert page["A"].tolist() == ["one", "x", "", "y", "two", "x"]
    page = results.layout(frame, {"Row": lambda row: "-", "A": "a"}, sections="s", once=["A"])
    assert page.values.tolist() == [["one", ""], ["-", "x"], ["-", ""], ["-", "y"], ["two", "x"], ["-", ""]]


def test_sections_have_a_heading_row_that_alone_shows_what_belongs_to_all(record):
    frame = pd.DataFrame(
        {
            "characteristic": ["gender"] * 4 + ["ct_stage"] * 2,
            "level": ["Male", "Male", "Female", "Female", "cT3", "cT3"],
            "cohort": ["primary", "validation"] * 3,
            "n": [121, 44, 49, "<5", 130, 29],
            "of": [170, 65] * 3,
            "percent": [71.18, 67.69, 28.82, np.nan, 76.47, 44.62],
            "p": [0.634] * 4 + [0.00001] * 2,
        }
    )
    columns = {"Characteristic": "level", "{cohort} (n = {of})": results.share(), "P": results.p_value()}
    page = results.layout(frame, columns, sections=results.label("characteristic"), once=["P"])
    assert page.columns.tolist() == ["Characteristic", "primary (n = 170)", "validation (n = 65)", "P"]
    assert page.values.tolist() == [
        ["Gender", "", "", "0.634"],
        ["Male", "121 (71.18%)", "44 (67.69%)", ""],
        ["Female", "49 (28.82%)", "<5", ""],
        ["cT stage", "", "", "<0.001"],
        ["cT3", "130 (76.47%)", "29 (44.62%)", ""],
    ]
    assert page.attrs["sections"] == [0, 3]
    record.table(frame, "table1", columns=columns, sections=results.label("characteristic"), once=["P"], caption="1")
    rows = (record.run_dir / "tables/table1.html").read_text().split("<tbody>")[1].split("<tr")[1:]
    assert [row.startswith(' class="section"') for row in rows] == [True, False, False, True, False]
    shown = pd.read_html(record.run_dir / "tables/table1.html", keep_default_na=False)[0]
    assert shown.astype(str).values.tolist() == page.values.tolist()


def test_a_models_column_is_named_by_variable_and_level_and_probabilities_are_never_0_or_1():
    frame = pd.DataFrame({"x": ["ypn_stage[T.ypN1]", "dl_prob", "age", "cea"], "risk": [0.99999, 1e-9, 0.25, 1.0]})
    page = results.layout(frame, {"X": results.label("x"), "Risk": results.probability("risk")})
    assert page["X"].tolist() == ["ypN stage ypN1", "DL-prob", "Age", "CEA"]
    assert page["Risk"].tolist() == [">0.999", "<0.001", "0.250", ">0.999"]


def test_measures_of_one_frame_stand_under_headings_with_estimate_and_p_of_a_cohort_side_by_side():
    """Table 2: the C-index has no P, and one cohort has no IDI."""
    frame = pd.DataFrame(
        {
            "measure": ["C-index", "C-index", "IDI", "C-index"],
            "row": ["DLRS", "DLRS", "DLRS vs Clinical", "ADC"],
            "cohort": ["validation", "primary", "primary", "primary"],
            "value": [0.7, 0.8, 0.1, 0.6],
            "lower": [0.6, 0.7, -0.1, 0.5],
            "upper": [0.8, 0.9, 0.3, 0.7],
            "p": [np.nan, np.nan, 1e-5, np.nan],
        }
    )
    columns = {
        "Model": "row",
        "{cohort}": results.estimate("value"),
        "P, {cohort}": lambda row: "" if row["measure"] == "C-index" else results.format_p(row["p"]),
    }
    page = results.layout(frame, columns, sections="measure")
    assert page.columns.tolist() == ["Model", "validation", "P, validation", "primary", "P, primary"]
    assert page.values.tolist() == [
        ["C-index", "", "", "", ""],
        ["DLRS", "0.700 (0.600 to 0.800)", "", "0.800 (0.700 to 0.900)", ""],
        ["ADC", "", "", "0.600 (0.500 to 0.700)", ""],
        ["IDI", "", "", "", ""],
        ["DLRS vs Clinical", "", "", "0.100 (−0.100 to 0.300)", "<0.001"],
    ]


def test_numbers_of_unlike_magnitudes_get_digits_that_mean_something():
    values = [6.951e-4, -0.5129, 1.2e-7, -2e-5, -3e-16, 428.784, -15, 6.061, np.nan]
    page = results.layout(pd.DataFrame({"x": values}), {"X": results.significant("x")})
    written = ["0.0007", "−0.513", "<0.0001", ">−0.0001", "0", "429", "−15", "6.06", "not estimable"]
    assert page["X"].tolist() == written


def test_a_wide_interval_is_printed_to_four_digits_of_its_largest_number():
    written = [results.format_estimate(*x) for x in [(428.784, 59.16, 3107.763), (21.904, 5.242, 91.535)]]
    assert written == ["429 (59 to 3108)", "21.90 (5.24 to 91.53)"]
    assert results.format_estimate(-0.0251, -0.2049, 0.1556) == "−0.025 (−0.205 to 0.156)"


def test_pages_and_cells_have_minus_signs_and_files_have_hyphens(record):
    frame = pd.DataFrame({"level": ["a", "b"], "x": [-0.25, -2.0], "text": ["−0.5 (-1 to 2)", "T0-2, -3"]})
    columns = {"Level": "level", "X": "x", "Text": "text", "Y": lambda row: f"{row['x']:.1f} / {row['x']:.1f}"}
    page = record.table(frame, "signs", columns=columns, caption="Signs")
    assert page["X"].tolist() == ["−0.250", "−2"] and page["Text"].tolist() == ["−0.5 (−1 to 2)", "T0-2, −3"]
    assert page["Y"].tolist() == ["−0.2 / −0.2", "−2.0 / −2.0"] and results._short(-0.1234) == "−0.123"
    record.number("signs.x", -0.25, method="difference −0.25")
    record.finish()
    assert "−" in (record.run_dir / "tables/signs.html").read_text(encoding="utf-8")
    files = [record.run_dir / "tables/signs.csv", *(record.run_dir / "results").glob("*.json")]
    assert len(files) == 2 and all(path.read_bytes().isascii() for path in files)
    assert "u2212" not in files[1].read_text()


def test_rows_that_look_alike_stay_apart_where_nothing_is_side_by_side():
    frame = pd.DataFrame({"x": [0.5001, 0.5002]})
    assert results.layout(frame, {"Value": results.number("x", 2)})["Value"].tolist() == ["0.50", "0.50"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (3.0, "3"),
        (float("nan"), "not estimable"),
        (0.12345, "0.123"),
        (True, "yes"),
        (None, ""),
        ("cT4", "cT4"),
        (0.0, "0.000"),
    ],
)
def test_a_column_named_alone_is_written_plainly(value, text):
    assert results.layout(pd.DataFrame({"x": [value]}, dtype=object), {"X": "x"}).iat[0, 0] == text


# ---------------------------------------------------------------- figures, and runs by hand


def test_a_figure_is_stamped_once_and_saved_twice(record, tmp_path):
    fig, ax = plt.subplots(layout="constrained")
    ax.plot([0, 1])
    record.figure(fig, "fig3b")
    record.figure(fig, "fig3b")
    assert [text.get_text() for text in fig.texts] == [results.STAMPS["SYNTHETIC"]]
    assert (tmp_path / "figures/fig3b.png").stat().st_size > 5000
    assert (tmp_path / "figures/fig3b.svg").read_text().rstrip().endswith("</svg>")
    plt.close(fig)


def test_a_figure_is_a_pdf_with_letters_in_the_run_that_asks_for_it_only(record, tmp_path, monkeypatch):
    fig, ax = plt.subplots(layout="constrained")
    ax.set_title("Sensitivity")
    record.figure(fig, "fig3b")
    assert not (tmp_path / "figures/fig3b.pdf").exists()
    monkeypatch.setenv("DLRS_PDF", str(tmp_path))
    record.figure(fig, "fig3b")
    content = (tmp_path / "figures/fig3b.pdf").read_bytes()
    assert content.startswith(b"%PDF") and b"/FontFile2" in content and b"/CreationDate" not in content
    plt.close(fig)


def test_a_notebook_run_by_hand_marks_what_is_older(record, tmp_path, monkeypatch):
    record.number("fig3.n.primary", 170)
    record.finish()
    results.collect(tmp_path)
    (tmp_path / "report.html").write_text('<html><body class="x"><h1>Report</h1></body></html>')
    monkeypatch.delenv("DLRS_STAGE")
    assert "by_hand" not in json.loads((tmp_path / "results/06_evaluation.json").read_text())
    for _ in range(2):
        results.start(tmp_path, "06_evaluation").finish()
    assert json.loads((tmp_path / "results/06_evaluation.json").read_text())["by_hand"] is True
    page = (tmp_path / "report.html").read_text()
    assert page.count("Older than 06_evaluation") == 1 and page.startswith('<html><body class="x"><p class="older"')
    assert "run again by hand" in json.loads((tmp_path / "results.json").read_text())["fig3.n.primary"]["older"]


def test_a_run_without_its_first_stage_is_named(tmp_path):
    with pytest.raises(results.InputError, match="study.json: the file is missing"):
        results.start(tmp_path, "06_evaluation")


def test_small_counts_are_hidden_and_a_single_one_takes_the_next_smallest_with_it():
    frame = pd.DataFrame(
        {
            "cohort": ["primary"] * 4 + ["validation"] * 3,
            "n": [40, 3, 9, 0, 1, 4, 20],
            "percent": [76.9, 5.8, 17.3, 0.0, 4.0, 16.0, 80.0],
        }
    )
    told = results.masked(frame, ["n"], smallest=5, within=["cohort"], with_them=["percent"])
    assert told["n"].tolist() == [40, "<5", "not shown", 0, "<5", "<5", 20]
    assert told["percent"].notna().tolist() == [True, False, False, True, False, False, True]
    assert results.masked(frame, ["n"], smallest=0, within=["cohort"]) is frame
    # 2 of 12 at high risk: the 10 at low risk would tell, and with them the other level of each column
    two = pd.DataFrame({"factor": ["ct"] * 3, "n_high": [2, 30, 8], "n_low": [10, 40, 60]})
    told = results.masked(two, ["n_high", "n_low"], smallest=5, within=["factor"], parts=["n_high", "n_low"])
    assert told["n_high"].tolist() == ["<5", 30, "not shown"]
    assert told["n_low"].tolist() == ["not shown", 40, "not shown"]
    assert results.format_count("<5", 12) == "<5/12"


def test_a_missing_earlier_output_is_named(tmp_path):
    with pytest.raises(config.InputError, match="signature.json: the file is missing"):
        results.load_json(tmp_path / "signature.json")


def test_a_killed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old", encoding="utf-8")
    code = (
        "import os, sys\nfrom dlrs.config import whole_file\n"
        "with whole_file(sys.argv[1]) as partial:\n    partial.write_text('half'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, os.fspath(path)])
    assert done.returncode == -9
    assert path.read_text(encoding="utf-8") == "old"


def test_an_empty_run_dir_is_the_newest_finished_run(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "ROOT", tmp_path)
    with pytest.raises(config.InputError, match=r"no run is finished.*`python3 run.py statistics`") as refused:
        config.run_folder()
    assert len(str(refused.value).splitlines()) == 1
    for age, name in enumerate(["newest", "older", "unfinished", "validity"]):
        (tmp_path / "runs" / name / "interim").mkdir(parents=True)
        if name != "validity":
            (tmp_path / "runs" / name / "interim" / "patients.csv").touch()
        if name != "unfinished":
            (tmp_path / "runs" / name / "results.json").touch()
            os.utime(tmp_path / "runs" / name / "results.json", (1e9 - age, 1e9 - age))
    os.utime(tmp_path / "runs" / "validity" / "results.json", (2e9, 2e9))  # no run of the study's notebooks
    assert config.run_folder() == config.run_folder("") == tmp_path / "runs" / "newest"
    assert config.run_folder("runs/unfinished") == tmp_path / "runs" / "unfinished"
    with pytest.raises(config.InputError, match="runs/missing: there is no such folder"):
        config.run_folder("runs/missing")


def test_two_notebooks_may_not_write_one_number(tmp_path, monkeypatch):
    monkeypatch.setenv("DLRS_STAGE", "x")
    for notebook in ("04_signature", "05_nomogram"):
        record = results.start(tmp_path, notebook, provenance="SYNTHETIC")
        record.number("a", 1)
        record.finish()
    with pytest.raises(ValueError, match="a is written by two notebooks"):
        results.collect(tmp_path)


def test_no_cell_of_an_exported_table_is_a_formula_and_numbers_stay(tmp_path):
    bad = ["=cmd|' /C calc'!A0", "+1+1", "@SUM(A1)", "\t=1", "\r=1", "-x", "-0.5", "<script>alert(1)</script>"]
    tidy = pd.DataFrame({"centre": bad, "=level": pd.Categorical(bad), "difference": np.linspace(-1, 1, len(bad))})
    safe = [f"'{cell}" for cell in bad[:4]] + [" =1", "'-x", *bad[6:]]
    record = results.start(tmp_path, "table9", provenance="COHORT")
    record.table(tidy, "table9", columns={"Centre": "centre", "Level": "=level"}, caption=bad[0], notes=bad[-1])
    results.save_csv(tidy, tmp_path / "tables" / "more.csv")
    results.save_csv(tidy, tmp_path / "interim" / "kept.csv")
    for name in ("table9", "more"):
        with open(tmp_path / "tables" / f"{name}.csv", newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        assert header[:3] == ["centre", "'=level", "difference"]
        assert [row[0] for row in rows] == [row[1] for row in rows] == safe
        assert [float(row[2]) for row in rows] == tidy["difference"].tolist()
    assert pd.read_csv(tmp_path / "interim" / "kept.csv")["centre"].tolist()[0] == bad[0]
    assert "<script" not in (tmp_path / "tables" / "table9.html").read_text(encoding="utf-8")


def test_results_that_are_shared_hold_no_small_count(record, tmp_path):
    record.smallest = 5
    record.number("fig4.pcr.n", "<5", n=22)
    record.number("cohort.n_primary", 170)
    record.number("table2.cindex.ADC.primary", 0.7, ci=[0.6, 0.8], n=170)
    record.number("fig4.pcr.share", 0.25, ci=[0.1, 0.4], n=4)
    record.number("fig4.pcr.p", 0.0, n=170)
    saved = entries_of(tmp_path)
    shown = [key for key, entry in saved.items() if entry["value"] is not None]
    assert sorted(shown) == ["cohort.n_primary", "fig4.pcr.p", "table2.cindex.ADC.primary"]
    assert saved["fig4.pcr.share"]["ci"] is None and saved["fig4.pcr.share"]["n"] is None


def test_names_are_spelt_as_in_the_field():
    spelt = {"ypn_stage[T.ypN2]": "ypN stage ypN2", "C(cea, Treatment('Normal'))[T.Elevated]": "CEA Elevated"}
    spelt |= {"ct_stage[T.cT4]:cea[T.Elevated]": "cT stage cT4 × CEA Elevated", "bs(age, 3)[2]": "bs(Age, 3), column 2"}
    spelt |= {"dl_prob": "DL-prob", "n_high": "Patients, high risk", "horizon_months": "Horizon months"}
    assert {name: results.spell(name) for name in spelt} == spelt
    assert results.spell_identifier("age") == "age" and results.spell_identifier("P [two-sided]") == "P [two-sided]"
    assert results.spell_identifier("n_high") == "Patients, high risk"


def test_frames_that_cells_show_have_three_digits(tmp_path):
    results.start(tmp_path, "06_evaluation", provenance="SYNTHETIC")
    frame = pd.DataFrame({"c": [0.799419, 36.0], "p": [0.000412345, np.nan], "months": [123.45678, 100000.0]})
    cells = [line.split() for line in str(frame).splitlines()[1:]]
    assert cells == [["0", "0.799", "0.000412", "123.457"], ["1", "36", "NaN", "100000"]]


def test_frames_that_cells_show_have_a_dash_where_there_is_no_value():
    frame = pd.DataFrame({"hr": [np.inf, 0.25], "p": [np.nan, 0.04], "why": [None, "x"], "n": [1, 2]})
    with pd.option_context("display.float_format", results._short):
        shown = results._as_html(frame)
    assert re.findall(r"<td>(.*?)</td>", shown) == ["∞", "–", "–", "1", "0.25", "0.04", "x", "2"]
