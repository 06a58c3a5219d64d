# The study as a graph: which stage reads and writes what. `run.py` starts this inside a run's folder, so paths without
# a prefix lie there; {root} is the repository and {cohort} the cohort folder.
import hashlib
import json
import os
import sys
from pathlib import Path

from dlrs.config import InputError, display_path
from dlrs.execute import check_parameters, declared, die_with, used_modules

ROOT, RUN = Path(workflow.basedir), Path.cwd()
if "DLRS_PARENT" in os.environ:
    die_with(int(os.environ.pop("DLRS_PARENT")))

# What a profile may set: cost and place, never a statistical choice. Each goes to the notebooks that declare it;
# `patients` is how many of the synthetic ones a trial run renders.
COST_AND_PLACE = {"cohort_dir", "device", "jobs", "max_epochs", "n_boot", "patients", "weights"}
SET_BY_RUN_PY = {"part", "publish", "training_seed"}


def stop(message):
    """End before any stage starts; `run.py` shows the message."""
    Path("logs/refused").write_text(str(message), encoding="utf-8")
    raise WorkflowError(str(message))


# ---------------------------------------------------------------- what was asked for

unknown = sorted(set(config) - COST_AND_PLACE - SET_BY_RUN_PY - {"stages"})
if unknown:
    known = ", ".join(sorted(COST_AND_PLACE))
    stop(f"A profile may set {known}, not {', '.join(unknown)}: statistical choices are made in the notebooks.")
PART = config.get("part", "main")
TEXTURES = config.get("weights", "textures") == "textures"
COHORT = ROOT / str(config.get("cohort_dir", "data_synthetic"))
if "patients" in config and "cohort_dir" not in config:
    from dlrs.simulate import write_cohort

    COHORT = RUN / "cohort"
    write_cohort(COHORT, patients=config["patients"], images=False)
if not (COHORT / "cohort.yaml").is_file():
    stop(f"{display_path(COHORT / 'cohort.yaml')} is missing; a cohort folder holds it, clinical.csv and images/.")
present = ["primary", "validation"]
if COHORT != ROOT / "data_synthetic" and COHORT != RUN / "cohort":
    from dlrs.cohort import read_cohort

    try:
        present = sorted(read_cohort(COHORT).patients["cohort"].unique())
    except InputError as error:
        stop(error)
    if present == ["validation"]:
        stop(
            f"{display_path(COHORT)} holds a validation cohort only, so there is nobody to train on. "
            "A validation cohort alone is for a model that exists already."
        )
not_tables = {COHORT / "truth.csv", COHORT / "dl_prob.csv"}
TABLES = [str(path) for path in sorted({*COHORT.glob("*.csv"), *COHORT.glob("*.xlsx")} - not_tables)]
PHANTOMS = (COHORT / "truth.csv").is_file()  # then a stage renders the images; a hospital's own lie there already
if PART == "main" and not PHANTOMS and not (COHORT / "images").is_dir():
    stop(f"{display_path(COHORT / 'images')} is missing; it holds a folder of images for each patient.")

# ---------------------------------------------------------------- the stages


def table(*names):
    return [f"tables/{name}.{ending}" for name in names for ending in ("csv", "html")]


def figure(*names):
    return [f"figures/{name}.{ending}" for name in names for ending in ("png", "svg")]


# A stage is a notebook or a function. It runs again when a file that it reads has changed, its notebook, a module of the
# package that it uses, or a parameter. No stage writes a tracked file: in a fresh clone nothing would be left to do.
MAIN, BOTH, STATISTICS = ["main"], ["main", "statistics"], ["statistics"]
STAGES = config.get("stages") or [
    dict(
        name="00_paper_audit",
        reads=["{root}/paper/paper_results.yaml", "{root}/paper/printed_percentages.yaml"],
        writes=[*table("audit", "audit_table1_p"), *figure("audit"), "results/00_paper_audit.json"],
        can_wait=True,
        parts=BOTH,
    ),
    dict(
        name="images",
        function="dlrs.stages.images",
        reads=["{cohort}/cohort.yaml", *TABLES, "{cohort}/truth.csv"],
        writes=["{cohort}/images/manifest.json"],
        parts=MAIN if PHANTOMS else [],
    ),
    dict(
        name="01_cohort",
        reads=["{cohort}/cohort.yaml", *TABLES, *(["{cohort}/images/manifest.json"] if PHANTOMS and PART == "main" else [])],
        writes=["interim/patients.csv", *table("table1", "tableS1"), *figure("figS1"), "results/01_cohort.json"],
        parts=BOTH,
    ),
    dict(
        name="02_preprocessing",
        reads=["interim/patients.csv", *(["{cohort}/images/manifest.json"] if PHANTOMS else [])],
        watches=[] if PHANTOMS else ["{cohort}/images"],
        writes=["interim/boxes.csv", *figure("quality_sheet"), "results/02_preprocessing.json"],
        costly=True,
        parts=MAIN,
    ),
    dict(
        name="textures",
        function="dlrs.stages.textures",
        writes=["interim/textures.json"],
        parts=MAIN if TEXTURES else [],
        costly=True,
    ),
    *(
        dict(
            name=f"03_train_{sequence}",
            notebook="03_train_sequence",
            parameters={"sequence": sequence},
            reads=["interim/patients.csv", "interim/boxes.csv", *(["interim/textures.json"] if TEXTURES else [])],
            writes=[
                f"interim/prob_{sequence}.csv",
                *(f"models/{sequence}/{name}" for name in ("model.safetensors", "model.json", "loss.csv")),
                *figure(f"loss_{sequence}"),
                f"results/03_train_{sequence}.json",
            ],
            trains=True,
            costly=True,
            keep=True,
            parts=MAIN,
        )
        for sequence in ("T2W", "ADC")
    ),
    dict(
        name="join",
        function="dlrs.stages.join",
        reads=["interim/patients.csv", "interim/prob_T2W.csv", "interim/prob_ADC.csv"],
        writes=["interim/dl_prob.csv"],
        parts=MAIN,
    ),
    dict(
        name="frozen",
        function="dlrs.stages.frozen",
        reads=["{cohort}/dl_prob.csv", "{cohort}/dl_prob.csv.sha256"],
        writes=["interim/dl_prob.csv"],
        parts=STATISTICS,
    ),
    dict(
        name="04_signature",
        reads=["interim/patients.csv", "interim/dl_prob.csv"],
        writes=[
            "interim/signature.json",
            "interim/signature.csv",
            *table("tableS2", "centres", "figS6_correlation"),
            *figure("fig1", "fig2", "figS3", "figS5", "figS6_correlation"),
            "results/04_signature.json",
        ],
        parts=BOTH,
    ),
    dict(
        name="05_nomogram",
        reads=["interim/patients.csv", "interim/dl_prob.csv", "interim/signature.csv"],
        writes=[
            "interim/predictions.csv",
            "interim/nomogram.json",
            *table("cox", "tableS3", "nomogram_points", "nomogram_total"),
            *figure("fig3a"),
            "results/05_nomogram.json",
        ],
        parts=BOTH,
    ),
    dict(
        name="06_evaluation",
        reads=["interim/patients.csv", "interim/predictions.csv"],
        writes=[
            *table("table2", "cindex_comparison"),
            *(
                f"tables/{name}_{cohort}.csv"
                for name in ("decision_curves", "roc_components_impact")
                for cohort in present
            ),
            *figure(*(f"fig3{panel}" for cohort in present for panel in {"primary": "bdf", "validation": "ceg"}[cohort])),
            "results/06_evaluation.json",
        ],
        parts=BOTH,
    ),
    dict(
        name="06b_deviations",
        reads=[f"interim/{name}" for name in ("patients.csv", "dl_prob.csv", "predictions.csv", "signature.json", "nomogram.json")],
        writes=[*table("deviations"), "deviations.md", "results/06b_deviations.json"],
        parts=BOTH,
    ),
    dict(
        name="07_subgroups",
        reads=["interim/patients.csv", "interim/predictions.csv", "interim/nomogram.json"],
        writes=[*table("fig4_counts", "figS4_strata"), *figure("fig4", "figS4"), "results/07_subgroups.json"],
        parts=BOTH,
    ),
]
stages = [stage for stage in STAGES if PART in stage.get("parts", MAIN)]

# The last stages depend on what all the others write.
outcomes = [name for stage in stages for name in stage["writes"] if name.startswith(("results/", "tables/", "figures/"))]
numbers = [name for name in outcomes if name.startswith("results/")]
if numbers:
    joined = ["results.json", "results_missing.json"]
    stages.append(dict(name="results", function="dlrs.stages.results", reads=numbers, writes=joined))
    if config.get("publish"):
        reads = [*outcomes, *joined]
        to = {"reports_dir": display_path(ROOT / "reports")}
        publish = dict(name="publish", function="dlrs.stages.publish", parameters=to, reads=reads)
        stages.append(publish | dict(writes=["published.json"]))


def target_of(stage):
    """A stage's notebook as a path, or its function by name."""
    return stage.get("function") or str(ROOT / "notebooks" / f"{stage.get('notebook', stage['name'])}.ipynb")


def files(names):
    return [name.format(root=ROOT, cohort=COHORT) for name in names]


def sources_of(stage):
    """The notebook and the modules that it uses; a costly stage is not repeated for how tables and figures look."""
    ignored = {"plots.py", "report.py"} if stage.get("costly") else set()
    modules = [str(path) for path in used_modules(target_of(stage)) if path.name not in ignored]
    return modules if "function" in stage else [target_of(stage), *modules]


def listing_of(folders):
    """A hash of the names, sizes and times of all files in folders too large to read, as a hospital's images are."""
    paths = (path for folder in files(folders) for path in sorted(Path(folder).rglob("*")) if path.is_file())
    listed = [(str(path.relative_to(COHORT)), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


profile = {name: value for name, value in config.items() if name in COST_AND_PLACE - {"cohort_dir", "patients"}}
ignored_by_all = set(profile)


def parameters_of(stage):
    """The stage's own parameters, and those of the profile that it declares."""
    offered = {"cohort_dir": display_path(COHORT), **profile}
    if "function" in stage:
        return offered | stage.get("parameters", {})
    names = declared(target_of(stage))
    ignored_by_all.difference_update(names)
    given = {name: value for name, value in offered.items() if name in names} | stage.get("parameters", {})
    given |= {"seed": config["training_seed"]} if "training_seed" in config and stage.get("trains") else {}
    check_parameters(target_of(stage), {"run_dir": "", **given})
    return given


try:
    PARAMETERS = {stage["name"]: parameters_of(stage) for stage in stages}
except InputError as error:
    stop(error)
except FileNotFoundError as error:
    stop(f"{display_path(error.filename)} is missing.")
if ignored_by_all and PART == "main":
    stop(f"No notebook declares {', '.join(sorted(ignored_by_all))}: correct the profile.")

written = {name for stage in stages for name in files(stage["writes"])}
for name in (name for stage in stages for name in files(stage.get("reads", []))):
    if name not in written and not Path(name).is_file():
        stop(f"{display_path(name)} is missing; restore it, or see the data dictionary in data_synthetic/.")

# ---------------------------------------------------------------- the rules

# None of these is a parameter of a rule, since a change of them is no reason to run anything again.
PYTHON, PROCESS, RUN_DIR = sys.executable, os.getpid(), display_path(RUN)
os.environ["DLRS_STAGES"] = " ".join(stage["name"] for stage in stages)


rule all:
    input:
        [name for stage in stages for name in files(stage["writes"])],


for stage in stages:

    rule:
        name:
            f"stage_{stage['name']}"
        input:
            files(stage.get("reads", [])),
            sources=sources_of(stage),
        output:
            files(stage["writes"]),
        log:
            [] if "function" in stage else f"notebooks/{stage['name']}.ipynb",
        params:
            what=target_of(stage),
            stage=stage["name"],
            values=json.dumps(PARAMETERS[stage["name"]], sort_keys=True),
            listing=listing_of(stage.get("watches", [])),
            keep="--keep" if stage.get("keep") else "",
        priority: 0 if stage.get("can_wait") else 1
        shell:
            "exec {PYTHON:q} -m dlrs.execute {params.what:q} --name {params.stage}"
            " --run {RUN_DIR:q} --parameters {params.values:q} --parent {PROCESS}"
            " --inputs {input:q} --outputs {output:q} {params.keep}"
