"""Evaluate a table of predictions: check it, run notebook 12 on it, and make one page of what came out."""

from __future__ import annotations

import argparse
import contextlib
import html
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from dlrs import predictions, results
from dlrs.config import ROOT, Usage, in_words, resolve, write_text
from dlrs_run import codebook, execute, pages

NOTEBOOK = "12_evaluate"
# Each setting of a mapping file, and the notebook's parameter that it becomes.
PARAMETERS = {name: f"{name}_column" for name in ("time", "event", "id", "cohort", "centre")}
PARAMETERS |= {name: f"{name}_columns" for name in ("risk", "survival", "score", "clinical")}
PARAMETERS |= {name: name for name in ("time_unit", "horizon", "codes", "learn_in", "cutoffs", "model", "threshold")}
PARAMETERS |= {name: name for name in ("decimal", "n_boot", "n_boot_curve", "most_resampled", "seed")}
LISTS = ("risk", "survival", "score", "clinical", "cutoffs")
NUMBERS = {"horizon": float, "threshold": float, "cutoffs": float}
NEEDED = ("time", "time_unit", "event", "horizon")
EMPTY = {"id": "", "cohort": "", "centre": "", "model": "", "decimal": ".", "codes": {}, **dict.fromkeys(LISTS)}
MOST_ROWS = 100  # of a table on the page
LARGEST_SVG = 300_000  # bytes of a figure on the page; a larger one is shown as PNG


def parser() -> argparse.ArgumentParser:
    """Return the command line, that of `run.py evaluate`."""
    options = argparse.ArgumentParser(prog="python3 run.py evaluate", allow_abbrev=False)
    options.add_argument("table")
    options.add_argument("--out", required=True)
    for name in ("id", "time", "time-unit", "event", "cohort", "centre", "clinical", "model", "map"):
        options.add_argument(f"--{name}")
    for name in ("risk", "survival", "score"):
        options.add_argument(f"--{name}", action="append")
    options.add_argument("--horizon", type=float)
    options.add_argument("--smallest-count", type=int)
    return options


def settings(args: argparse.Namespace) -> dict:
    """Return what is said about the table: the mapping file's lines, and the options, which go before them.

    Raises
    ------
    Usage
        A setting is unknown, of another kind or missing.
    predictions.Findings
        The mapping file cannot be read.
    """
    chosen = predictions.read_map(args.map) if args.map else {}
    known = {*PARAMETERS, "smallest_count"}
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise Usage(f"{args.map}: there is no setting {unknown[0]}; there are {', '.join(sorted(known))}.")
    options = {name: getattr(args, name) for name in known if getattr(args, name, None) is not None}
    if "clinical" in options:
        options["clinical"] = options["clinical"].split(",")
    chosen = EMPTY | {"smallest_count": 0} | chosen | options
    for name in LISTS:
        value = chosen[name]
        chosen[name] = [] if value is None else value if isinstance(value, list) else [value]
    for name in ("risk", "survival", "score", "clinical"):
        chosen[name] = [str(column) for column in chosen[name]]  # a column may be called 1
    missing = [name for name in NEEDED if chosen.get(name) in (None, "")]
    if missing:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise Usage(f"{words}: missing; give it as an option or in the file of --map.")
    if not any(chosen[kind] for kind in predictions.KINDS):
        raise Usage("no prediction: name a column with --risk, --survival or --score.")
    for name, kind in NUMBERS.items():
        with contextlib.suppress(KeyError):
            try:
                numbers = [kind(value) for value in chosen[name]] if name in LISTS else kind(chosen[name])
            except (TypeError, ValueError):
                raise Usage(f"{name} must be a number; found {chosen[name]!r}.") from None
            chosen[name] = numbers
    in_model = [name.strip() for name in str(chosen["model"]).split("+") if name.strip()]
    predicted = [name for kind in predictions.KINDS for name in chosen[kind]]
    chosen["clinical"] += [name for name in in_model if name not in (*chosen["clinical"], *predicted)]
    if not isinstance(chosen["codes"], dict):
        raise Usage("codes must say `{censored: 0, event: 1}`, and `competing:` where there are such.")
    return chosen


def roles(chosen: Mapping) -> predictions.Roles:
    """Return what the columns are."""
    return predictions.Roles(**{name: chosen[name] for name in predictions.Roles._fields})


def answer_page(text: str) -> str:
    """Return the notebook's answer as HTML: its paragraphs, lists and bold words."""
    blocks, in_list = [], False
    for line in text.splitlines():
        item = line.startswith("- ")
        if item != in_list:
            blocks.append("<ul>" if item else "</ul>")
            in_list = item
        text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(line.removeprefix("- "), quote=False))
        blocks.append(f"<li>{text}</li>" if item else f"<p>{text}</p>" if text else "")
    return "\n".join([*blocks, "</ul>" if in_list else ""])


def shortened(table: pages.Table) -> pages.Table:
    """Return a table's first rows, where it has too many to be read, and say so."""
    if len(table.rows) <= MOST_ROWS:
        return table
    notes = f"{table.notes} The first {MOST_ROWS} of {len(table.rows)} rows; the CSV holds all.".strip()
    return table._replace(rows=table.rows[:MOST_ROWS], notes=notes)


def sections(command: str) -> dict[str, dict]:
    """Return the sections of a command's page, each with its `tables`, its `figures` and a `text`."""
    return yaml.safe_load(resolve("paper/sections.yaml").read_text(encoding="utf-8"))[command]


PARTS = sections("evaluate")


def part(out: Path, title: str, tables: Sequence[str] = (), figures: Sequence[str] = (), text: str = "") -> dict:
    """Return a section of the page: those of its tables and figures that there are."""
    frames = [
        shortened(pages.read_table(path)) for name in tables if (path := out / "tables" / f"{name}.html").is_file()
    ]
    drawn = [name for name in figures if (out / "figures" / f"{name}.svg").is_file()]
    images = [
        dict(uri=pages.picture_uri(out / "figures", name, largest_svg=LARGEST_SVG), alt=f"{title}: {text}")
        | pages.picture_size(out / "figures", name)
        for name in drawn
    ]
    return dict(id=predictions.key(title), title=title, text=text, tables=[t for t in frames if t.rows], figures=images)


def write_page(path: Path, title: str, *, stamp: str = "COHORT", notebook: str = NOTEBOOK, **content) -> None:
    """Write the page of an answer or of findings."""
    context = dict(title=title, stamp=results.STAMPS[stamp], notebook=notebook, findings=[])
    context |= {"settings_are": "What was said about the table."} | content
    write_text(path, pages.template("evaluate.html").render(**context))


def write_tables(out: Path, stamp: str = "COHORT") -> None:
    """Write each table of the run as a Word document and in LaTeX, and the codebook of their columns."""
    for path in sorted((out / "tables").glob("*.html")):
        table = pages.read_table(path)
        path.with_suffix(".docx").write_bytes(pages.docx(table, stamp=results.STAMPS[stamp]))
        path.with_suffix(".tex").write_text(pages.latex(table, stamp=results.STAMPS[stamp]), encoding="utf-8")
    results.save_csv(codebook.of_run(out), out / "codebook.csv")


def finish(page: Path, title: str, parts: Mapping[str, Mapping], *, stamp: str = "COHORT", **context) -> None:
    """Write what an executed notebook leaves beside its results: tables for Word and LaTeX, and the page."""
    write_tables(page.parent, stamp)
    answer = answer_page(results.load_json(page.parent / "interim" / "answer.json"))
    found = [part(page.parent, name, **content) for name, content in parts.items()]
    found = [section for section in found if section["tables"] or section["figures"]]
    write_page(page, title, stamp=stamp, answer=answer, parts=found, **context)
    print(f"{page}: the answer, tables and figures; results.json holds every number.")


def clear(out: Path, page: str = "evaluate.html", notebook: str = NOTEBOOK) -> None:
    """Take away what an earlier evaluation left in the folder; refuse a folder that holds something else."""
    earlier = (out / page).is_file() or (out / "logs" / f"{notebook}.log").is_file()
    if out.is_dir() and any(out.iterdir()) and not earlier:
        raise Usage(f"{out} holds other files: name a new folder, or that of an earlier run of this, with --out.")
    for name in ("tables", "figures", "results", "notebooks", "interim", "logs"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in (page, "results.json", "results_missing.json", "codebook.csv"):
        (out / name).unlink(missing_ok=True)


def run_notebook(out: Path, name: str, values: Mapping) -> int:
    """Run a notebook into a folder of its own and join its numbers; where it fails say why and return 1."""
    with contextlib.closing(execute.Stage(name, out / "logs")) as stage:
        notebook, executed = ROOT / "notebooks" / f"{name}.ipynb", out / "notebooks" / f"{name}.ipynb"
        if execute.run_stage(str(notebook), executed, values, stage):
            print((out / "logs" / f"{name}.failed").read_text(encoding="utf-8"), file=sys.stderr)
            return 1
    results.collect(out)
    return 0


def evaluate(table: Path, out: Path, chosen: Mapping) -> int:
    """Check a table and, where it can be, evaluate it; return the exit status."""
    clear(out)
    out.mkdir(parents=True, exist_ok=True)
    page, title = out / "evaluate.html", f"Evaluation of {table.name}"
    try:
        predictions.read(table, roles(chosen))
    except predictions.Findings as found:
        write_page(page, title, findings=found.findings)
        print(f"{found}\n\nNothing was computed; {out / 'evaluate.html'} lists what was found.", file=sys.stderr)
        return 1
    study = {"class": "COHORT", "smallest_count": chosen["smallest_count"]}
    results.save_json(study, out / "interim" / "study.json")
    values = {PARAMETERS[name]: value for name, value in chosen.items() if name in PARAMETERS}
    values |= {"run_dir": str(out), "table": str(table)}
    if run_notebook(out, NOTEBOOK, values):
        return 1
    rows = [(name, ", ".join(map(str, v)) if isinstance(v, list) else str(v)) for name, v in chosen.items() if v]
    finish(page, title, PARTS, settings=rows)
    return 0


@in_words
def main(arguments: list[str] | None = None) -> int:
    """Evaluate as asked; 0 with a page of results, 1 with one of findings, 2 where the words make no sense."""
    args = parser().parse_args(arguments)
    table, out = Path(args.table).resolve(), Path(args.out).resolve()
    return evaluate(table, out, settings(args))


if __name__ == "__main__":
    sys.exit(main())
