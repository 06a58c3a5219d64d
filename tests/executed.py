"""Notebooks as tests execute them."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import papermill

from dlrs.config import ROOT
from dlrs_run.execute import saved_now_and_then


def execute(name: str, run: Path, *, source: Path | None = None, **parameters) -> dict:
    """Execute a notebook, or another file in its place, for the folder of a run, and return its entries."""
    papermill.execute_notebook(
        source or ROOT / "notebooks" / f"{name}.ipynb",
        run / f"{name}.ipynb",
        parameters={"run_dir": str(run), **parameters},
        cwd=ROOT / "notebooks",
        progress_bar=False,
        engine_name=saved_now_and_then(),
    )
    return entries(run, name)


def watched(name: str, run: Path) -> Path:
    """Return a copy of a notebook that notes texts overlapping, cut off or tiny in the figures that it records."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    first = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])) + 1
    watch = f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\nimport figure_faults\n"
    cell = nbformat.v4.new_code_cell(f"{watch}figure_faults.watch({str(run / 'figure_faults.json')!r})")
    notebook.cells.insert(first, cell)
    nbformat.write(notebook, run / f"{name}-watched.ipynb")
    return run / f"{name}-watched.ipynb"


def entries(run: Path, name: str) -> dict:
    """Return the entries that a notebook left in a run."""
    return json.loads((run / "results" / f"{name}.json").read_text(encoding="utf-8"))["entries"]


def write_notebook(path: Path, *cells: str, parameters: str) -> Path:
    """Write a notebook of code cells below one of parameters."""
    tags = [{"tags": ["parameters"]}, *({} for _ in cells)]
    made = [
        {"cell_type": "code", "id": f"c{i}", "metadata": tag, "source": source, "outputs": [], "execution_count": None}
        for i, (source, tag) in enumerate(zip([parameters, *cells], tags, strict=True))
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    return path
