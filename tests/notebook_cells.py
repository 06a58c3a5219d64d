"""Run a notebook's cells in this process: for tests of many parameters and cohorts, where a kernel each is too slow."""

from __future__ import annotations

import json
import os
import warnings
from unittest import mock

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
from lifelines.exceptions import ConvergenceWarning
from matplotlib.text import Text

from dlrs.config import ROOT
from dlrs.results import Record

PROBABILITIES = ["t2w_prob", "adc_prob", "dl_prob"]


def run_cells(name, run, *, source=None, draw=None, edits=(), until=None, **parameters) -> dict[str, str]:
    """Run all cells as papermill would, of a notebook or another file in its place; return what figures and texts say.

    Figures are not written, unless `draw` takes them: a record, a figure and its name.

    `edits` are pairs of text, each found once, and what stands in its place; the last cell is one that holds `until`.
    """
    path = source or ROOT / "notebooks" / f"{name}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    for old, new in edits:
        assert sum(source.count(old) for source in sources) == 1, f"{name}: {old}"
        sources = [source.replace(old, new) for source in sources]
    namespace, said = {"__name__": "__main__", "In": []}, {}

    def figure(record, fig, figure_name):
        said[figure_name] = "\n".join(text.get_text() for text in fig.findobj(Text) if text.get_visible())
        if draw:
            draw(record, fig, figure_name)
        plt.close(fig)

    matplotlib.use("agg")

    def text(content):
        said["text"] = said.get("text", "") + content + "\n"

    undrawn = mock.patch.object(Record, "figure", figure), mock.patch("IPython.display.Markdown", text)
    set_stage = mock.patch.dict(os.environ, DLRS_STAGE=name)
    with matplotlib.rc_context(), warnings.catch_warnings(), undrawn[0], undrawn[1], set_stage:
        warnings.simplefilter("default", ConvergenceWarning)  # lifelines' advice on few patients; a page shows it
        for place, (cell, source) in enumerate(zip(cells, sources, strict=True), 1):
            if cell["cell_type"] == "code":
                exec(compile(source, f"{name}, cell {place}", "exec", dont_inherit=True), namespace)
                if until and until in source:
                    break
            if "parameters" in cell["metadata"].get("tags", []):
                namespace |= {"run_dir": str(run), **parameters}
                namespace["In"].append("# Parameters\n" + "\n".join(f"{k} = {v!r}" for k, v in parameters.items()))
    return said


def entries(run, *names):
    """Return the results entries of notebooks that ran to the end; every one without a value has its reason."""
    found = {}
    for name in names:
        part = json.loads((run / "results" / f"{name}.json").read_text(encoding="utf-8"))
        assert part["complete"], name
        found |= part["entries"]
    assert all(entry["reason"] for entry in found.values() if entry["value"] is None)
    return found


def write_patients(run, patients: pd.DataFrame, probabilities: pd.DataFrame) -> None:
    """Write a run's patients and the probabilities of those who are among them."""
    patients.to_csv(run / "interim" / "patients.csv", index=False)
    known = probabilities[probabilities["patient_id"].isin(patients["patient_id"])]
    known.to_csv(run / "interim" / "dl_prob.csv", index=False)
