"""Numbers keep their key, class and source; tables and figures carry their stamp."""

import json
import math
import os
import pickle
import subprocess
import sys

import matplotlib.pyplot as plt
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
