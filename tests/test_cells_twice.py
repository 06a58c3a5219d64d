"""Any cell may be run again: a notebook with every cell run twice gives the same numbers and tables."""

import copy
import json
import shutil

import nbformat
import papermill
import pytest

from dlrs.config import ROOT
from dlrs_site import intake

CHAIN = ["00_paper_audit", "01_cohort", "04_signature", "05_nomogram", "06_evaluation", "07_subgroups"]


def execute(path, run):
    papermill.execute_notebook(
        path,
        run / path.name,
        parameters={"run_dir": str(run)} | ({"cohort_dir": ""} if path.stem == "01_cohort" else {}),
        cwd=ROOT / "notebooks",
        progress_bar=False,
    )


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Run the statistics once, cell by cell in order, and note what is wrong with the figures' layout."""
    run = tmp_path_factory.mktemp("once")
    intake.stage(run, "data_synthetic")
    shutil.copy(ROOT / "data_synthetic" / "dl_prob.csv", run / "interim")
    for name in CHAIN:
        path = tmp_path_factory.mktemp(name) / f"{name}.ipynb"
        nbformat.write(watched(name, run), path)
        execute(path, run)
    return run


def watched(name, run):
    """Return a notebook whose recorded figures are looked at for overlapping, cut-off and tiny texts."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    first = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])) + 1
    watch = f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\nimport figure_faults\n"
    cell = nbformat.v4.new_code_cell(f"{watch}figure_faults.watch({str(run / 'figure_faults.json')!r})")
    notebook.cells.insert(first, cell)
    return notebook


def doubled(name):
    """Return a notebook in which every code cell but the parameters stands twice."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            again = copy.deepcopy(cell)
            again["id"] = f"{cell['id']}-again"
            cells.append(again)
    notebook.cells = cells
    return notebook


@pytest.mark.parametrize("name", CHAIN)
def test_every_cell_may_be_run_again(once, tmp_path, name):
    run = tmp_path / "twice"
    shutil.copytree(once, run)
    for part in ["results", "tables"]:
        shutil.rmtree(run / part)
    path = tmp_path / f"{name}.ipynb"
    nbformat.write(doubled(name), path)
    execute(path, run)
    found = json.loads((run / "results" / f"{name}.json").read_text())["entries"]
    assert found == json.loads((once / "results" / f"{name}.json").read_text())["entries"]
    for table in (run / "tables").glob("*"):
        assert table.read_bytes() == (once / "tables" / table.name).read_bytes(), table.name


def test_no_figure_has_texts_on_one_another_cut_off_or_too_small(once):
    found = json.loads((once / "figure_faults.json").read_text())
    assert {path.stem for path in (once / "figures").glob("*.svg")} == set(found) >= {"audit", "fig1", "fig3a", "figS5"}
    assert not {name: faults for name, faults in found.items() if faults}
