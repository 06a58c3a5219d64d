"""Notebooks as tests execute them."""

from __future__ import annotations

import json
from pathlib import Path

from dlrs.results import Record
from notebook_cells import run_cells


def execute(name: str, run: Path, *, draw=Record.figure, **options) -> dict:
    """Execute a notebook's cells in this process, for the folder of a run, figures written; return its entries."""
    run_cells(name, run, draw=draw, **options)
    return entries(run, name)


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
