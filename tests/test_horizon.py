"""Notebooks at other horizons than 36 months: risks are those of the horizon asked for, and every label names it."""

from __future__ import annotations

import html
import json
import re
import shutil

import pandas as pd
import papermill
import pytest

from dlrs import results
from dlrs.config import ROOT
from dlrs_run import report as report_page
from dlrs_run import stages
from executed import entries, execute

pytestmark = pytest.mark.slow
# Nothing but the horizon can say 36 months: neither the times of the ROC curves nor those of the numbers at risk.
OTHERWISE = {
    "04_signature": {"times_months": [12.0, 48.0], "at_risk_months": [0, 12, 24, 48, 60], "n_boot": 20},
    "06_evaluation": {"n_boot": 20},
    "07_subgroups": {"at_risk_months": [0, 12, 24, 48, 60]},
}
CHAIN = ["04_signature", "05_nomogram", "06_evaluation", "06b_deviations", "07_subgroups"]
NAMES_36 = re.compile(
    r"(?<![\d.])36(\.0)?[ _-]?m(onths?)?\b|(?<![\d.])3[ -]?y(ears?)?(?![a-z])|three[ -]years?", re.IGNORECASE
)


def run_notebook(folder, name, **parameters):
    return execute(name, folder, **OTHERWISE.get(name, {}), **parameters)


@pytest.fixture(scope="module")
def fitted(cohort_read, tmp_path_factory):
    """Return a run whose models were fitted at 36 months."""
    folder = tmp_path_factory.mktemp("fitted") / "run"
    shutil.copytree(cohort_read, folder)
    for name in ("04_signature", "05_nomogram"):
        run_notebook(folder, name)
    return folder


@pytest.fixture(scope="module", params=[24.0, 60.0])
def other(request, cohort_read, tmp_path_factory):
    """Return a run of 04 to 07 and 06b at another horizon, and the horizon."""
    folder = tmp_path_factory.mktemp("other") / "run"
    shutil.copytree(cohort_read, folder)
    for name in CHAIN:
        parameters = {"run_dir": str(folder), "horizon_months": request.param} | OTHERWISE.get(name, {})
        source, saved = ROOT / "notebooks" / f"{name}.ipynb", folder / f"{name}.ipynb"  # its outputs are read
        papermill.execute_notebook(source, saved, parameters=parameters, cwd=ROOT / "notebooks", progress_bar=False)
    stages.nomogram_page(folder)
    return folder, request.param


def test_the_evaluation_alone_at_24_months_gives_the_deviations_row_for_24_months(fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "run")
    run_notebook(tmp_path / "run", "06_evaluation", horizon_months=24.0)
    run_notebook(tmp_path / "run", "06b_deviations")
    ours, theirs = entries(tmp_path / "run", "06_evaluation"), entries(tmp_path / "run", "06b_deviations")
    for measure in ("NRI", "IDI"):
        found = ours[f"table2.{measure.lower()}.Nomogram vs Clinical.validation"]["value"]
        row = theirs[f"deviations.{measure}.{measure}, nomogram against clinical.horizon 24 months"]
        assert found == pytest.approx(row["value"], rel=1e-9)
        assert found != pytest.approx(row["default"], rel=1e-3)


def test_the_evaluation_alone_equals_all_notebooks_at_that_horizon(fitted, other, tmp_path):
    folder, horizon = other
    shutil.copytree(fitted, tmp_path / "run")
    run_notebook(tmp_path / "run", "06_evaluation", horizon_months=horizon)
    alone, together = entries(tmp_path / "run", "06_evaluation"), entries(folder, "06_evaluation")
    assert alone.keys() == together.keys()
    for key, entry in together.items():
        if "two_categories" not in key:  # by the cut-off, which keeps the horizon that it was chosen at
            value = entry["value"]  # none where nothing could be estimated
            assert alone[key]["value"] == (value if value is None else pytest.approx(value, rel=1e-9)), key
    for run, months in [(tmp_path / "run", 36.0), (folder, horizon)]:
        assert f"cut-off for the risk within {months:g} months" in (run / "tables" / "table2.html").read_text()


def test_a_cutoff_keeps_the_horizon_that_it_was_chosen_at(fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "run")
    pages, high = {}, {}
    for horizon in (36.0, 24.0):
        run_notebook(tmp_path / "run", "07_subgroups", horizon_months=horizon)
        pages[horizon] = html.unescape((tmp_path / "run/tables/fig4_counts.html").read_text())
        high[horizon] = {
            k: e["value"] for k, e in entries(tmp_path / "run", "07_subgroups").items() if k.endswith("_risk")
        }
    cutoff = results.load_json(tmp_path / "run/interim/nomogram.json")["cutoff_risk"]
    assert f"High risk: a risk of metastasis within 36 months above {cutoff:.3f}" in pages[24.0]
    assert "Metastasis within 24 months" in pages[24.0] and "lost before 24 months" in pages[24.0]
    groups = [k for k in high[36.0] if "dm_within" not in k]
    assert groups and all(high[36.0][k] == high[24.0][k] for k in groups)
    assert "fig4.pcr.dm_within_3y_of_high_risk" in high[36.0] and "fig4.pcr.dm_within_24m_of_high_risk" in high[24.0]


def texts(folder):
    """Yield where something is written and what: tables, keys and methods, figures, pages and printed outputs."""
    mine = {name: entries(folder, name) for name in CHAIN}
    for name, found in mine.items():
        yield from ((f"results of {name}", text) for text in (*found, *(e.get("method", "") for e in found.values())))
    for path in sorted((folder / "tables").glob("*")):
        if path.stem not in ("table1", "tableS1", "equation"):  # of notebook 01; the equation has months of its own
            yield path.name, html.unescape(path.read_text())
    for path in sorted((folder / "figures").glob("*.svg")):
        if path.stem != "figS1":
            words = re.findall(r"<text[^>]*>(.*?)</text>", path.read_text(), re.DOTALL)
            assert words, path
            yield path.name, "\n".join(html.unescape(word) for word in words)
    yield "deviations.md", (folder / "deviations.md").read_text()
    yield "nomogram.html", (folder / "nomogram.html").read_text()
    for name in CHAIN:
        for cell in json.loads((folder / f"{name}.ipynb").read_text())["cells"]:
            of_the_equation = "record.table(equation" in "".join(cell["source"])
            for output in [] if of_the_equation else cell.get("outputs", []):
                said = output.get("data", {}).get(
                    "text/html", output.get("data", {}).get("text/plain", output.get("text"))
                )
                yield f"{name}, printed", "".join(said or [])


def test_no_label_caption_column_or_key_names_36_months(other):
    folder, horizon = other
    said = list(texts(folder))
    wrong = [(where, match.group(), text[max(0, match.start() - 60) : match.end() + 30]) for where, text in said
             for match in NAMES_36.finditer(text)]  # fmt: skip
    assert not wrong
    named = {where for where, text in said if f"{horizon:.0f} months" in text}
    assert {f"fig3{panel}.svg" for panel in "abcdefg"} <= named
    assert {f"{name}.html" for name in ("table2", "tableS2", "fig4_counts", "figS4_strata", "deviations")} <= named
    keys = {key for name in CHAIN for key in entries(folder, name)}
    assert f"fig4.pcr.dm_within_{horizon:.0f}m_of_high_risk" in keys
    assert f"table2.auc_{horizon:.0f}m.Nomogram.validation" in keys


def test_the_deviations_do_not_set_a_horizon_beside_itself(other):
    table = pd.read_csv(other[0] / "tables" / "deviations.csv")
    assert (table["default"] != table["alternative"]).all()
    horizons = table.query("default.str.startswith('horizon ')", engine="python")
    assert set(horizons["default"]) == {f"horizon {other[1]:.0f} months"} and len(horizons) >= 1


def test_the_report_names_the_horizon_of_the_notebooks(other):
    folder, horizon = other
    (folder / "notebooks").mkdir(exist_ok=True)
    run_notebook(folder, "10_report")
    report_page.stage(folder)
    page = (folder / "report.html").read_text()
    captions = re.findall(r"<figcaption>.*?</figcaption>", page, re.DOTALL)
    of_fig1 = [text for text in captions if "ROC curves of the networks' probabilities" in text.replace("&#39;", "'")]
    assert len(of_fig1) == 1 and f"within {horizon:.0f} months" in of_fig1[0]
    assert not [text for text in captions if NAMES_36.search(text)]
