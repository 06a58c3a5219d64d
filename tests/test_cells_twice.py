"""Any cell may be run again with the same numbers and tables; figures and tables of the main notebooks as they are."""

import copy
import json
import shutil

import nbformat
import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from dlrs.config import ROOT
from dlrs_run import pages
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


def test_every_figure_can_be_printed(statistics):
    found = json.loads((statistics / "figure_faults.json").read_text())
    figures = {path.stem for path in (statistics / "figures").glob("*.svg")}
    assert figures == set(found) >= {"audit", "fig1", "fig3", "fig3a", "figS5"}
    assert not {name: faults for name, faults in found.items() if faults}


@pytest.mark.parametrize(
    ("table", "of", "p"),
    [
        ("table1", ["characteristic"], "p"),
        ("tableS2", ["cohort", "characteristic"], "p"),
        ("tableS3", ["term"], "univariate_p"),
        ("figS4_strata", ["factor", "level"], "p"),
    ],
)
def test_tables_of_several_tests_have_holms_p_beside(statistics, table, of, p):
    found = pd.read_csv(statistics / "tables" / f"{table}.csv").drop_duplicates(of).dropna(subset=p)
    assert len(found) >= 10 and np.allclose(found[f"{p}_holm"], multipletests(found[p], method="holm")[1])
    assert "P (Holm)" in pages.read_table(statistics / "tables" / f"{table}.html").columns
