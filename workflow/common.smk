# What every part shares: what was asked for, what is refused before anything starts, and how a stage is run.
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from dlrs.config import InputError, display_path
from dlrs_run import folder
from dlrs_run.execute import check_parameters, declared, die_with, label

ROOT = Path(workflow.basedir)
if Path.cwd() == ROOT:  # Snakemake called by hand, as in `snakemake fig2`

    workdir: str(ROOT / "runs" / "default")


RUN = Path.cwd()
if "DLRS_PARENT" in os.environ:
    die_with(int(os.environ.pop("DLRS_PARENT")), grace=float(os.environ.pop("DLRS_GRACE", 0)))

# What a profile may set: cost and place, never a statistical choice. Each goes to the notebooks that declare it;
# `patients` is how many synthetic ones a trial run has, and the last three are for the stages of `validity`.
TO_NOTEBOOKS = {"again", "box_sizes", "device", "jobs", "max_epochs", "n_boot", "recipe", "weights"}
COST_AND_PLACE = TO_NOTEBOOKS | {"cohort_dir", "patients", "controls", "n_intervals", "n_replicates"}
SET_BY_RUN_PY = {"bands_dir", "base_dir", "model_dir", "only", "part", "publish", "recalibrate", "seeds"}


def stop(message):
    """End before any stage starts; `run.py` shows the message."""
    Path("logs").mkdir(exist_ok=True)
    Path("logs/refused").write_text(str(message), encoding="utf-8")
    raise WorkflowError(str(message))


def repository(*names):
    """Files of the repository, and of its folders the modules and data files: a stage runs again when one changes."""
    found = []
    for path in (ROOT / name for name in names):
        inside = sorted(file for file in path.glob("*.*") if file.suffix in (".py", ".yaml", ".html"))
        found += [str(file) for file in inside or [path]]
    return there(*found)


def there(*paths):
    """The paths of files that no stage makes, which therefore have to be there."""
    for path in paths:
        if not Path(path).is_file():
            stop(f"{display_path(path)} is missing; restore it, or see the data dictionary in data_synthetic/.")
        if os.stat(path).st_mtime > time.time() + 60:  # what is made from it would be older, which Snakemake refuses
            stop(
                f"{display_path(path)} is dated in the future: set the clock right, or give it today's date (`touch`)."
            )
    return list(paths)


# ---------------------------------------------------------------- what was asked for

unknown = sorted(set(config) - COST_AND_PLACE - SET_BY_RUN_PY)
if unknown:
    known = ", ".join(sorted(COST_AND_PLACE))
    stop(f"A profile may set {known}, not {', '.join(unknown)}: statistical choices are made in the notebooks.")
PROFILE = {name: value for name, value in config.items() if name in TO_NOTEBOOKS}
ignored = set(PROFILE).difference(*(declared(path) for path in ROOT.glob("notebooks/*.ipynb")))
if ignored:
    stop(f"No notebook declares {', '.join(sorted(ignored))}: correct the profile.")
PART = config.get("part", "all")
ONLY = {"only": "validation"} if PART == "validate" else {}  # other patients of the folder are left out and counted
TRIAL = "patients" in config and "cohort_dir" not in config
COHORT = RUN / "cohort" if TRIAL else ROOT / str(config.get("cohort_dir", "data_synthetic"))
if set("{}") & set(f"{ROOT}{COHORT}{config.get('model_dir', '')}"):
    stop(
        "The name of a folder above this repository, the cohort or the model holds a brace, which Snakemake takes for a "
        "pattern: rename the folder, or give a link to it. The run's own folder may have any name."
    )
if not TRIAL and not (COHORT / "cohort.yaml").is_file():
    stop(f"{display_path(COHORT / 'cohort.yaml')} is missing; a cohort folder holds it, clinical.csv and images/.")
try:
    FOLDER = folder.trial(RUN) if TRIAL else folder.look_at(COHORT, **ONLY, committed=COHORT == ROOT / "data_synthetic")
except InputError as error:
    stop(error)
if not TRIAL:
    there(COHORT / "cohort.yaml", *FOLDER.tables)
if FOLDER.cohorts == ["validation"] and not ONLY:
    stop(
        f"{display_path(COHORT)} holds a validation cohort only, so there is nobody to train on. "
        "A validation cohort alone is for a model that exists already: `python3 run.py validate`."
    )

# ---------------------------------------------------------------- a stage

# A stage is a notebook or a function. It runs again when a file that it reads has changed, its code, or a parameter.
# `at` is the folder that it works in: the run's own, or one below it that is laid out like a run. No stage writes a
# tracked file: in a fresh clone nothing would be left to do.
STATISTICS = ["src/dlrs", "src/dlrs/stats"]  # the rooms behind a notebook of statistics
SEQUENCES = ["T2W", "ADC"]
REFITTED = ["04_signature", "05_nomogram", "06_evaluation"]  # what other probabilities, of a seed or by folds, change
THE_RUN = "()"  # of `at`: the run's own folder only


wildcard_constraints:
    at=r"|seed-\d+/|interim/(branches|controls)/[^/]+/",
    sequence="T2W|ADC",


def table(*names):
    return [f"{{at}}tables/{name}.{ending}" for name in names for ending in ("csv", "html")]


def figure(*names):
    return [f"{{at}}figures/{name}.{ending}" for name in names for ending in ("png", "svg")]


def made(*names, **wildcards):
    """The files that rules make in the run's own folder."""
    patterns = [str(name) for rule in names for name in getattr(rules, rule).output]
    return expand(patterns, **{"at": "", "sequence": SEQUENCES} | wildcards)


def parameters(notebook=None, **given):
    """A stage's own parameters as JSON, with those of the profile that its notebook declares; a function gets all."""
    offered = {"cohort_dir": display_path(COHORT), **PROFILE}
    if notebook:
        [path] = repository(f"notebooks/{notebook}.ipynb")
        names = declared(path)
        given = {name: value for name, value in offered.items() if name in names} | given
        try:
            check_parameters(path, {"run_dir": "", **given})
        except InputError as error:
            stop(error)
        return json.dumps(given, sort_keys=True)
    return json.dumps(offered | given, sort_keys=True)


# None of these is a parameter of a rule, since a change of them is no reason to run anything again.
PYTHON, PROCESS, RUN_DIR, NOTEBOOKS = sys.executable, os.getpid(), display_path(RUN), str(ROOT / "notebooks")


def run(what, keep=False):
    """The shell command of a rule: a notebook by its name, or a function by its module and name."""
    target = what if what.startswith("dlrs") else f"{{NOTEBOOKS:q}}/{what}.ipynb"
    return (
        f"exec {{PYTHON:q}} -m dlrs_run.execute {target} --name {{params.stage:q}} --run {{RUN_DIR:q}}"
        " --parameters {params.values:q} --parent {PROCESS} --inputs {input:q} --outputs {output:q}"
        + (" --keep" if keep else "")
    )


onstart:
    order = [rule.name for rule in workflow.rules]
    levels = [sorted(level, key=lambda job: order.index(job.rule.name)) for level in workflow.dag.toposorted()]
    names = [job.params.get("stage") for level in levels for job in level]
    os.environ["DLRS_STAGES"] = " ".join(label(name) for name in names if name)
