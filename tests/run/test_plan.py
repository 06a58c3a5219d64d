"""`plan`: settings in, one page out; an impossible plan stops before anything runs."""

import json
import re

import pytest

from dlrs.config import ROOT
from dlrs_run import evaluate, plan


@pytest.fixture
def few(monkeypatch):
    """The notebook with a few simulated studies only."""
    whole = evaluate.run_notebook
    few = dict(n_optimism=4, n_null=6, n_power=3, n_boot=10, signals=[0.5, 1.0], jobs=1)
    monkeypatch.setattr(evaluate, "run_notebook", lambda out, name, values: whole(out, name, values | few))


@pytest.mark.slow
def test_a_plan_has_a_page_of_numbers(few, tmp_path):
    out = tmp_path / "out"
    assert plan.main([f"--settings={ROOT / 'paper' / 'plan_example.yaml'}", f"--out={out}"]) == 0
    page = (out / "plan.html").read_text(encoding="utf-8")
    assert all(f"<h2>{title}</h2>" in page for title in plan.PARTS) and page.count("<img") == 1
    assert "SYNTHETIC" in page and "12_evaluate" not in page and "nan" not in re.sub("<[^>]*>", "", page)
    entries = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert entries["plan.development.shrinkage_of_at_least_0_9"]["value"] == 882
    assert entries["plan.null.independent.nri_nomogram_against_clinical.validation.any"]["n"] == 6
    assert {entry["class"] for entry in entries.values()} == {"SYNTHETIC"}
    assert plan.main([f"--settings={ROOT / 'paper' / 'none.yaml'}", f"--out={out}"]) == 1
    assert (out / "plan.html").is_file()


def test_an_impossible_plan_and_a_folder_of_something_else(tmp_path, capsys):
    text = (ROOT / "paper" / "plan_example.yaml").read_text(encoding="utf-8")
    (tmp_path / "plan.yaml").write_text(text.replace("events: 42", "events: 420"))
    assert plan.main([f"--settings={tmp_path / 'plan.yaml'}", f"--out={tmp_path / 'out'}"]) == 1
    assert "events is 420, patients 170" in capsys.readouterr().err and not (tmp_path / "out").exists()
    whole = f"--settings={ROOT / 'paper' / 'plan_example.yaml'}"
    assert plan.main([whole, f"--out={tmp_path}"]) == 2
    assert "holds other files" in capsys.readouterr().err
