"""Where a stage of `statistics` spends its processor time: ``python benchmarks/bench_study.py [RUN]``.

Each notebook's cells run once more, in a process of their own, on a copy of a finished run (runs/statistics). Seconds
of processor time: `import` is the cells before the data, `draw` the figures in all their formats, `write` tables and
numbers, `compute` the rest. Each stage pays `start` on top: Python, papermill and a kernel, of a notebook that does
nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dlrs import results

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ("00_paper_audit", "01_cohort", "04_signature", "05_nomogram", "06_evaluation", "06b_deviations")
NOTEBOOKS += ("07_subgroups", "10_report")
PARTS = ("import", "compute", "draw", "write")


def measured(notebook: str, run_dir: str) -> dict[str, float]:
    """Run a notebook's cells here and return the seconds of each part."""
    spent, within = dict.fromkeys(PARTS, 0.0), []

    def counted(function, part):
        def wrapped(*args, **options):
            if within:  # a part calls another: the outer one counts
                return function(*args, **options)
            within.append(part)
            began = time.process_time()
            try:
                return function(*args, **options)
            finally:
                spent[part] += time.process_time() - began
                within.pop()

        return wrapped

    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    code, heading = [], ""
    for cell in cells:
        source = "".join(cell["source"])
        heading = source.split("\n")[0] if source.startswith("## ") else heading
        code += [(heading, source)] if cell["cell_type"] == "code" else []
    os.chdir(ROOT / "notebooks")
    names = {"__name__": "__main__"}
    for place, (heading, source) in enumerate(code):
        exec(compile(source, f"{notebook}, code cell {place + 1}", "exec", dont_inherit=True), names)
        if place == 0:
            names["run_dir"] = run_dir
        if heading == "## Imports":
            spent["import"] = time.process_time()  # the process's own start counts
            saved = [
                (results.Record, "table"),
                (results.Record, "_write"),
                (results, "save_csv"),
                (results, "save_json"),
            ]
            for owner, name in ((results.Record, "figure"), *saved):
                setattr(owner, name, counted(getattr(owner, name), "draw" if name == "figure" else "write"))
    spent["compute"] = time.process_time() - sum(spent.values())
    return spent


def start() -> float:
    """Return what a stage costs whose notebook does nothing."""
    empty = {"cells": [], "metadata": {"kernelspec": {"name": "python3", "display_name": "dlrs", "language": "python"}}}
    parameters = {"cell_type": "code", "id": "p", "metadata": {"tags": ["parameters"]}, "outputs": []}
    empty["cells"] = [parameters | {"source": 'run_dir: str = ""  # folder', "execution_count": None}]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "empty.ipynb").write_text(json.dumps(empty | {"nbformat": 4, "nbformat_minor": 5}))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "dlrs_run.execute", "empty.ipynb", "--name", "empty", "--run", folder]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="?", default=str(ROOT / "runs" / "statistics"), help="a finished run")
    parser.add_argument("--notebook", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.notebook:
        print(json.dumps(measured(asked.notebook, asked.run)))
        return
    if not (Path(asked.run) / "results.json").is_file():
        sys.exit(f"{asked.run} is not a finished run: `python3 run.py statistics` makes one.")
    print(f"{'stage':16}" + "".join(f"{part:>9}" for part in (*PARTS, "sum")))
    total = dict.fromkeys(PARTS, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(asked.run, Path(folder) / "run")
        for notebook in NOTEBOOKS:
            command = [sys.executable, __file__, str(copy), "--notebook", notebook]
            environment = {**os.environ, "MPLBACKEND": "agg", "DLRS_STAGE": notebook}
            ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            spent = json.loads(ran.stdout.splitlines()[-1])
            total = {part: total[part] + spent[part] for part in PARTS}
            print(f"{notebook:16}" + "".join(f"{s:9.2f}" for s in (*spent.values(), sum(spent.values()))), flush=True)
    print(f"{'all':16}" + "".join(f"{s:9.2f}" for s in (*total.values(), sum(total.values()))))
    print(f"start, of each   {start():.2f}")


if __name__ == "__main__":
    main()
