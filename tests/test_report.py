"""Numbers keep their key, class and source; tables and figures carry their stamp."""

import csv
import json
import math
import os
import pickle
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from dlrs import config, report


def test_formatting():
    assert report.format_estimate(0.7204, 0.6604, 0.7806) == "0.720 (0.660-0.781)"
    assert report.format_estimate(-0.1, -0.3, 0.1, digits=2) == "-0.10 (-0.30 to 0.10)"
    assert report.format_estimate(math.nan, 0, 1) == "not estimable"
    assert report.format_p(0.0004) == "<0.001"
    assert report.format_p(0.0) == "<0.001"
    assert report.format_p(0.0123) == "0.012"
    assert report.format_p(math.nan) == "not estimable"
    assert report.format_count(7, 22) == "7/22 (31.8%)"
    assert [report.spell(name) for name in ("cea", "tumor_location")] == ["CEA", "Tumor location"]
    assert report.format_count(0, 0) == "0/0 (no patients)"


def test_the_layout_of_table_2():
    c = pd.DataFrame(dict(model="DLRS", cohort=["validation", "primary"], c=[0.7, 0.8], lower=0.6, upper=0.9))
    moved = dict(comparison="DLRS vs Clinical", cohort="primary", lower=-0.1, upper=0.5, p=0.0001)
    moved = pd.DataFrame([dict(measure="nri", value=0.2, **moved), dict(measure="idi", value=0.1, **moved)])
    assert report.table2_layout(c, moved).to_numpy().tolist() == [
        ["C-index (95% CI)", "", "", "", ""],
        ["DLRS", "0.800 (0.600-0.900)", "", "0.700 (0.600-0.900)", ""],
        ["NRI (95% CI)", "", "", "", ""],
        ["DLRS vs Clinical", "0.200 (-0.100 to 0.500)", "<0.001", "", ""],
        ["IDI (95% CI)", "", "", "", ""],
        ["DLRS vs Clinical", "0.100 (-0.100 to 0.500)", "<0.001", "", ""],
    ]
    assert report.table2_layout(c.assign(p=0.04), moved).loc[1, "P "] == "0.040"


def save(run, entries, **changes):
    (run / "interim").mkdir(exist_ok=True)
    source = run / "interim" / "a.csv"
    if not source.exists():
        source.write_text("x\n1\n", encoding="utf-8")
    options = dict(run_dir=run, notebook="04_signature", inputs=[source], provenance="SYNTHETIC") | changes
    return report.save_results(entries, **options)


def test_results_are_collected_until_an_input_changes(tmp_path):
    save(tmp_path, {"fig2.cutoff_dlrs": dict(value=1.25, seed=3)})
    entries, missing = report.collect(tmp_path)
    assert missing == []
    assert entries == {"fig2.cutoff_dlrs": {"value": 1.25, "seed": 3, "notebook": "04_signature", "class": "SYNTHETIC"}}
    assert json.loads((tmp_path / "results.json").read_text()) == entries
    (tmp_path / "interim" / "a.csv").write_text("x\n2\n", encoding="utf-8")
    entries, missing = report.collect(tmp_path)
    assert entries == {} and missing == ["fig2.cutoff_dlrs"]
    assert json.loads((tmp_path / "results_missing.json").read_text()) == missing


def test_two_notebooks_may_not_write_one_number(tmp_path):
    save(tmp_path, {"a": dict(value=1)})
    save(tmp_path, {"a": dict(value=1)}, notebook="05_nomogram")
    with pytest.raises(ValueError, match="a is written by two notebooks"):
        report.collect(tmp_path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (dict(p=0.1), "must each hold a value; found none at key"),
        (dict(value=math.nan), "must hold a reason; found none at key"),
        (dict(value=0.9, ci=[0.1, 0.2]), "ci must hold the value; found 0.9 outside"),
    ],
)
def test_an_incomplete_entry_is_refused(tmp_path, entry, message):
    with pytest.raises(ValueError, match=message):
        save(tmp_path, {"key": entry})


def test_an_unknown_class_is_refused(tmp_path):
    with pytest.raises(ValueError, match="provenance must be one of"):
        save(tmp_path, {"key": dict(value=1)}, provenance="OURS")


def test_what_cannot_be_estimated_keeps_its_reason(tmp_path):
    save(tmp_path, {"key": dict(value=math.nan, reason="no events")})
    entries, _ = report.collect(tmp_path)
    assert entries["key"]["value"] is None and entries["key"]["reason"] == "no events"


def test_a_table_is_stamped_and_its_text_escaped(tmp_path):
    tidy = pd.DataFrame({"level": ["<b>"], "n": [1 / 3]})
    report.save_table(tidy, tidy, "table9", run_dir=tmp_path, provenance="SYNTHETIC", caption="A & B", notes="<i>")
    again = pd.read_csv(tmp_path / "tables" / "table9.csv")
    assert again["class"].tolist() == ["SYNTHETIC"] and again["n"].tolist() == [1 / 3]
    page = (tmp_path / "tables" / "table9.html").read_text(encoding="utf-8")
    assert "cannot confirm the paper" in page and "<caption>A &amp; B</caption>" in page
    assert "&lt;b&gt;" in page and "&lt;i&gt;" in page and "<b>" not in page


def test_a_heading_that_is_an_identifier_is_spelt(tmp_path):
    tidy = pd.DataFrame({"n_high": [3], "DLRS (95% CI)": [0.7], "horizon_months": [36]})
    report.save_table(tidy, tidy, "t", run_dir=tmp_path, provenance="SYNTHETIC", caption="Table")
    text = (tmp_path / "tables" / "t.html").read_text()
    for heading in ("Patients, high risk", "DLRS (95% CI)", "Horizon months"):
        assert f"<th>{heading}</th>" in text
    assert (tmp_path / "tables" / "t.csv").read_text().startswith("n_high,")
    spelt = {"ypn_stage[T.ypN2]": "ypN stage: ypN2", "C(cea, Treatment('Normal'))[T.Elevated]": "CEA: Elevated"}
    assert {name: report.spell(name) for name in spelt} == spelt
    assert report.spell_identifier("age") == "age" and report.spell_identifier("P [two-sided]") == "P [two-sided]"


def test_no_cell_of_an_exported_table_is_a_formula_and_numbers_stay(tmp_path):
    bad = ["=cmd|' /C calc'!A0", "+1+1", "@SUM(A1)", "\t=1", "\r=1", "-x", "-0.5", "<script>alert(1)</script>"]
    tidy = pd.DataFrame({"centre": bad, "=level": pd.Categorical(bad), "difference": np.linspace(-1, 1, len(bad))})
    safe = [f"'{cell}" for cell in bad[:4]] + [" =1", "'-x", *bad[6:]]
    about = dict(run_dir=tmp_path, provenance="COHORT", caption=bad[0], notes=bad[-1])
    report.save_table(tidy, tidy, "table9", **about)
    report.save_csv(tidy, tmp_path / "tables" / "more.csv")
    report.save_csv(tidy, tmp_path / "interim" / "kept.csv")
    for name in ("table9", "more"):
        with open(tmp_path / "tables" / f"{name}.csv", newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        assert header[:3] == ["centre", "'=level", "difference"]
        assert [row[0] for row in rows] == [row[1] for row in rows] == safe
        assert [float(row[2]) for row in rows] == tidy["difference"].tolist()
    assert pd.read_csv(tmp_path / "interim" / "kept.csv")["centre"].tolist()[0] == bad[0]
    assert "<script" not in (tmp_path / "tables" / "table9.html").read_text(encoding="utf-8")


def test_small_counts_are_hidden_and_a_single_one_takes_the_next_smallest_with_it():
    frame = pd.DataFrame(
        {
            "cohort": ["primary"] * 4 + ["validation"] * 3,
            "n": [40, 3, 9, 0, 1, 4, 20],
            "percent": [76.9, 5.8, 17.3, 0.0, 4.0, 16.0, 80.0],
        }
    )
    told = report.masked(frame, ["n"], smallest=5, within=["cohort"], with_them=["percent"])
    assert told["n"].tolist() == [40, "<5", "not shown", 0, "<5", "<5", 20]
    assert told["percent"].notna().tolist() == [True, False, False, True, False, False, True]
    assert report.masked(frame, ["n"], smallest=0, within=["cohort"]) is frame
    # 2 of 12 at high risk: the 10 at low risk would tell, and with them the other level of each column
    two = pd.DataFrame({"factor": ["ct"] * 3, "n_high": [2, 30, 8], "n_low": [10, 40, 60]})
    told = report.masked(two, ["n_high", "n_low"], smallest=5, within=["factor"], parts=["n_high", "n_low"])
    assert told["n_high"].tolist() == ["<5", 30, "not shown"]
    assert told["n_low"].tolist() == ["not shown", 40, "not shown"]
    assert report.format_count("<5", 12) == "<5/12"


def test_results_that_are_shared_hold_no_small_count(tmp_path):
    entries = {
        "fig4.pcr.n": dict(value="<5", n=22),
        "cohort.variants.signet_ring.primary": dict(value=np.int64(3), n=170, percent=1.8),
        "cohort.n_primary": dict(value=170),
        "table2.cindex.ADC.primary": dict(value=0.7, ci=[0.6, 0.8], n=170),
        "fig4.pcr.share": dict(value=0.25, ci=[0.1, 0.4], n=4),
        "fig4.pcr.p": dict(value=0.0, n=170),
    }
    save(tmp_path, entries, smallest=5)
    saved, _ = report.collect(tmp_path)
    shown = [key for key, entry in saved.items() if entry["value"] is not None]
    assert sorted(shown) == ["cohort.n_primary", "fig4.pcr.p", "table2.cindex.ADC.primary"]
    lost = saved["cohort.variants.signet_ring.primary"]
    assert lost["percent"] is None and lost["n"] == 170 and lost["reason"] == "a count too small to show"
    assert saved["fig4.pcr.share"]["ci"] is None and saved["fig4.pcr.share"]["n"] is None


def test_a_figure_is_stamped_and_the_same_twice(tmp_path):
    for name in ["one", "two"]:
        fig, ax = plt.subplots()
        ax.plot([0, 1])
        report.save_figure(fig, "fig9", run_dir=tmp_path / name, provenance="SYNTHETIC")
        plt.close(fig)
    for ending in ["png", "svg"]:
        first, second = ((tmp_path / name / "figures" / f"fig9.{ending}").read_bytes() for name in ["one", "two"])
        assert first == second
    assert first.startswith(b"<?xml")


def test_a_missing_earlier_output_is_named(tmp_path):
    with pytest.raises(config.InputError, match="signature.json: the file is missing"):
        report.load_json(tmp_path / "signature.json")


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


def test_an_input_error_crosses_processes():
    error = config.InputError("a.csv", "found x", expected="y", remedy="Do z.", row=3, column="age")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is config.InputError
    assert str(again) == str(error) == "a.csv, row 3, column age: found x; expected y. Do z."


def test_streams_are_separate_and_repeatable():
    first = config.stream(1, "noise", "P001").random(3)
    assert (first == config.stream(1, "noise", "P001").random(3)).all()
    assert (first != config.stream(1, "noise", "P002").random(3)).any()
    assert (first != config.stream(2, "noise", "P001").random(3)).any()
