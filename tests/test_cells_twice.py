"""Any cell may be run again: a notebook with every cell run twice gives the same numbers and tables."""

import copy
import json
import shutil

import nbformat
import pytest

from dlrs.config import ROOT
from executed import entries, execute

pytestmark = pytest.mark.slow
CHAIN = ["00_paper_audit", "01_cohort", "04_signature", "05_nomogram", "06_evaluation", "07_subgroups"]


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
def test_every_cell_may_be_run_again(statistics, tmp_path, name):
    run = tmp_path / "twice"
    shutil.copytree(statistics, run)
    for part in ["results", "tables"]:
        shutil.rmtree(run / part)
    path = tmp_path / f"{name}.ipynb"
    nbformat.write(doubled(name), path)
    where = {"cohort_dir": ""} if name == "01_cohort" else {}
    assert execute(name, run, source=path, **where) == entries(statistics, name)
    for table in (run / "tables").glob("*"):
        assert table.read_bytes() == (statistics / "tables" / table.name).read_bytes(), table.name


def test_no_figure_has_texts_on_one_another_cut_off_or_too_small(statistics):
    found = json.loads((statistics / "figure_faults.json").read_text())
    figures = {path.stem for path in (statistics / "figures").glob("*.svg")}
    assert figures == set(found) >= {"audit", "fig1", "fig3a", "figS5"}
    assert not {name: faults for name, faults in found.items() if faults}
