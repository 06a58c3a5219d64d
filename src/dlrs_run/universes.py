"""The multiverse of a finished run: gather the networks' probabilities, run notebook 06c and make its page."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import pandas as pd

from dlrs import cohort, config, multiverse, results
from dlrs.config import ROOT, in_words
from dlrs_run import evaluate

NOTEBOOK = "06c_multiverse"
PARTS = evaluate.sections("multiverse")


def networks(run: Path, also: dict[str, str]) -> dict:
    """Return notebook 06c's parameters that say which probabilities a run's patients have, and which not."""
    ids = set(pd.read_csv(run / "interim" / "patients.csv", dtype={"patient_id": str})["patient_id"])

    def theirs(path: Path) -> bool:
        return path.is_file() and ids <= set(pd.read_csv(path, dtype={"patient_id": str})["patient_id"])

    found, missing = dict(also), {}
    seeds = [path for path in sorted((ROOT / "runs").glob("bands/seed-*/interim/dl_prob.csv")) if theirs(path)]
    found |= {path.parents[1].name.replace("-", " "): str(path) for path in seeds}
    if not seeds:
        missing["other seeds"] = "python3 run.py bands"
    tables = [folder / "alternatives.csv" for folder in (run / "interim", ROOT / "data_synthetic")]
    tables = [str(path) for path in tables if theirs(path)]
    if not tables:
        missing["other choices about the images"] = "python3 run.py reproduce alternatives"
    return {"alternatives": tables[0] if tables else "", "others": found, "not_run": missing}


def one(run: Path, universe: str, files: dict) -> str:
    """Return a universe's choices and result in words."""
    choices = multiverse.read()
    patients = cohort.read_patients(run / "interim" / "patients.csv")
    trained = multiverse.networks(patients, run / "interim" / "dl_prob.csv", files["others"], files["alternatives"])
    name, levels = multiverse.find(choices, universe, list(trained))
    found = multiverse.table(choices, name, {levels["training"]: multiverse.Study(trained[levels["training"]])}, 0.05)
    row = found[found["universe"] == universe].iloc[0]
    lines = [f"{universe}: {choices.conclusions[name]['title']}"]
    for choice in choices.conclusions[name]["choices"]:
        choice_texts = choices.choices[choice]
        level = choice_texts["levels"].get(levels[choice], {"label": levels[choice], "why": "trained"})
        lines.append(f"  {choice_texts['label']}: {level['label']} ({level['why']})")
    estimate = results.format_estimate(row["estimate"], row["lower"], row["upper"])
    holds = "holds" if row["holds"] else "does not hold"
    return "\n".join([*lines, f"  Estimate {estimate}, {results.p_text(row['p'])}: it {holds}."])


@in_words
def main(arguments: list[str] | None = None) -> int:
    """Do as asked; 0 with a page or a universe, 1 where something is missing or impossible, 2 where the words are."""
    options = argparse.ArgumentParser(prog="python3 run.py multiverse", allow_abbrev=False)
    options.add_argument("--run", default="")
    options.add_argument("--out", default=str(ROOT / "runs" / "multiverse"))
    options.add_argument("--universe")
    options.add_argument("--also", action="append", default=[])
    args = options.parse_args(arguments)
    out = Path(args.out).resolve()
    try:
        run = config.run_folder(Path(args.run).resolve() if args.run else "")
        if any("=" not in word for word in args.also):
            raise evaluate.Usage("--also must be NAME=FILE, a table as dl_prob.csv.")
        files = networks(run, {name: str(Path(file).resolve()) for name, file in (w.split("=", 1) for w in args.also)})
        if args.universe:
            print(one(run, args.universe, files))
            return 0
        evaluate.clear(out, "multiverse.html", NOTEBOOK)
    except (ValueError, FileNotFoundError, evaluate.Usage) as why:
        print(why, file=sys.stderr)
        return 2 if isinstance(why, evaluate.Usage) else 1
    (out / "interim").mkdir(parents=True, exist_ok=True)
    for name in ("study.json", "patients.csv", "dl_prob.csv"):
        shutil.copyfile(run / "interim" / name, out / "interim" / name)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # many small products: threads would only wait for each other
    if evaluate.run_notebook(out, NOTEBOOK, {"run_dir": str(out), **files}):
        return 1
    provenance = results.load_json(out / "interim" / "study.json")["class"]
    rows = [("Run", config.display_path(run)), *((name, str(value)) for name, value in files.items() if value)]
    context = dict(notebook=NOTEBOOK, settings_are="The run that was analysed.", settings=rows)
    page, title = out / "multiverse.html", "All defensible analyses at once"
    evaluate.finish(page, title, PARTS, stamp=provenance, **context)
    return 0


if __name__ == "__main__":
    sys.exit(main())
