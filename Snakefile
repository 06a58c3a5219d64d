# The study as a graph: which stage reads and writes what. `run.py` starts this inside a run's folder, so paths without
# a prefix lie there; {root} is the repository and {cohort} the cohort folder.
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from dlrs.config import InputError, display_path
from dlrs_run.execute import check_parameters, declared, die_with

ROOT, RUN = Path(workflow.basedir), Path.cwd()
if "DLRS_PARENT" in os.environ:
    die_with(int(os.environ.pop("DLRS_PARENT")))

# What a profile may set: cost and place, never a statistical choice. Each goes to the notebooks that declare it;
# `patients` is how many of the synthetic ones a trial run renders.
COST_AND_PLACE = {"box_sizes", "cohort_dir", "controls", "device", "jobs", "max_epochs", "n_boot", "n_intervals", "n_replicates", "patients", "weights"}
SET_BY_RUN_PY = {"base_dir", "model_dir", "only", "part", "publish", "recalibrate", "training_seed"}


def stop(message):
    """End before any stage starts; `run.py` shows the message."""
    Path("logs/refused").write_text(str(message), encoding="utf-8")
    raise WorkflowError(str(message))


# ---------------------------------------------------------------- what was asked for

unknown = sorted(set(config) - COST_AND_PLACE - SET_BY_RUN_PY - {"stages"})
if unknown:
    known = ", ".join(sorted(COST_AND_PLACE))
    stop(f"A profile may set {known}, not {', '.join(unknown)}: statistical choices are made in the notebooks.")
PART = config.get("part", "all")
TEXTURES = config.get("weights", "textures") == "textures"
COHORT = ROOT / str(config.get("cohort_dir", "data_synthetic"))
if "patients" in config and "cohort_dir" not in config:
    from dlrs.synthetic.cohort_folder import write_cohort

    COHORT = RUN / "cohort"
    write_cohort(COHORT, patients=config["patients"], images=False)
if not (COHORT / "cohort.yaml").is_file():
    stop(f"{display_path(COHORT / 'cohort.yaml')} is missing; a cohort folder holds it, clinical.csv and images/.")
MODEL = ROOT / str(config.get("model_dir", ""))  # the release that `validate` applies
if PART == "validate":
    from dlrs_site.release import load

    if Path("models").exists():
        stop(f"{display_path(RUN)} holds a run that trained; give another folder to validate in.")
    try:
        RELEASED = load(MODEL)
    except InputError as error:
        stop(error)
ONLY = {"only": "validation"} if PART == "validate" else {}  # other patients of the folder are left out and counted
present = ["primary", "validation"]
if (COHORT != ROOT / "data_synthetic" and COHORT != RUN / "cohort") or ONLY:
    from dlrs.cohort import complete_cases
    from dlrs_site.intake import read_cohort

    try:
        present = sorted(complete_cases(read_cohort(COHORT, **ONLY).patients)[0]["cohort"].unique())
    except InputError as error:
        stop(error)
    if present == ["validation"] and not ONLY:
        stop(
            f"{display_path(COHORT)} holds a validation cohort only, so there is nobody to train on. "
            "A validation cohort alone is for a model that exists already: `python3 run.py validate`."
        )
not_tables = {COHORT / name for name in ("truth.csv", "dl_prob.csv", "alternatives.csv")}
TABLES = [str(path) for path in sorted({*COHORT.glob("*.csv"), *COHORT.glob("*.xlsx")} - not_tables)]
PHANTOMS = (COHORT / "truth.csv").is_file()  # then a stage renders the images; a hospital's own lie there already
IS_COHORT = False
if not PHANTOMS:
    from dlrs_site.intake import read_class

    IS_COHORT = read_class(COHORT) == "COHORT"
IMAGES = PART != "statistics"
if IMAGES and not PHANTOMS and not (COHORT / "images").is_dir():
    stop(f"{display_path(COHORT / 'images')} is missing; it holds a folder of images for each patient.")

# ---------------------------------------------------------------- the stages


def table(*names):
    return [f"tables/{name}.{ending}" for name in names for ending in ("csv", "html")]


def figure(*names):
    return [f"figures/{name}.{ending}" for name in names for ending in ("png", "svg")]


BASE = ROOT / str(config.get("base_dir", "runs/default"))  # the finished run that the controls start from
QUESTIONS = "dial null crossfit coverage seeds shortcuts expected".split()


def of_the_base(*names):
    return [str(BASE / "interim" / name) for name in names]


def control(name, parameters={}, reads=[], training={}):
    """The stages of one control: what it is made from, its two networks, and their probabilities joined."""
    folder = f"interim/controls/{name}"
    here = {"run_dir": display_path(RUN / folder)}
    base = {"base_dir": display_path(BASE), "name": name}
    boxed = "signal" not in parameters
    made = [f"{folder}/interim/{name}" for name in ("patients.csv", "study.json")]
    made += [*([f"{folder}/interim/boxes.csv"] if boxed else [f"{folder}/cohort/images/manifest.json"])]
    dropped = [] if boxed else made[2:]  # finish_control deletes the volumes
    yield dict(name=name, function="dlrs.synthetic.studies.prepare_control", parameters=base | parameters, reads=reads, writes=made, dropped=dropped, costly=True)
    if not boxed:
        place = here | {"cohort_dir": f"{here['run_dir']}/cohort"}
        made = made[:2] + [f"{folder}/interim/boxes.csv"]
        yield dict(name=f"{name}_boxes", notebook="02_preprocessing", parameters=place, reads=[made[0], f"{folder}/cohort/images/manifest.json"], writes=made[2:], costly=True)
    for sequence in ("T2W", "ADC"):
        writes = [f"{folder}/interim/prob_{sequence}.csv"]
        about = here | training | {"sequence": sequence}
        yield dict(name=f"{name}_{sequence}", notebook="03_train_sequence", parameters=about, reads=made, writes=writes, costly=True, keep=True)
    probs = [f"{folder}/interim/prob_{sequence}.csv" for sequence in ("T2W", "ADC")]
    yield dict(name=f"{name}_joined", function="dlrs.synthetic.studies.finish_control", parameters={"name": name}, reads=[made[0], *probs], writes=[f"{folder}/interim/dl_prob.csv"])


def validity():
    """The stages of notebook 09: each question's own, then the notebook, which reads whatever is there."""
    full = {"permuted": 10, "folds": 5, "signals": [0.0, 0.25, 0.5], "altered": ["shuffled", "mask"], "centre": True}
    asked = config.get("controls", full)
    wanted = [name for name in str(config.get("only", ",".join(QUESTIONS))).split(",")]
    if set(wanted) - set(QUESTIONS):
        stop(f"The questions are {', '.join(QUESTIONS)}; found {', '.join(sorted(set(wanted) - set(QUESTIONS)))}.")
    boxes, found, base = of_the_base("patients.csv", "boxes.csv"), [], {"base_dir": display_path(BASE)}
    if "shortcuts" in wanted:
        for number in range(1, asked.get("permuted", 0) + 1):
            found += control(f"permuted-{number}", reads=boxes, training={"permute_target": True, "seed": number})
        for name in asked.get("altered", []):
            found += control(name, {"altered": name}, boxes[:1])
        if asked.get("centre"):
            reads = [*boxes, *(str(BASE / "models" / s / "model.safetensors") for s in ("T2W", "ADC"))]
            found.append(dict(name="centre", function="dlrs.synthetic.studies.centre_from_features", parameters=base, reads=reads, writes=["parts/centre.csv"]))
    if "dial" in wanted:
        for signal in asked.get("signals", []):
            found += control(f"signal-{signal:g}", {"signal": signal}, boxes[:1])
    n_folds = asked.get("folds", 0)
    if "crossfit" in wanted and n_folds:
        for number in range(1, n_folds + 1):
            found += control(f"fold-{number}", {"fold": [number, n_folds]}, boxes)
        folder = "interim/controls/crossfit"
        probs = [f"interim/controls/fold-{number}/interim/dl_prob.csv" for number in range(1, n_folds + 1)]
        made = [f"{folder}/interim/{name}" for name in ("patients.csv", "dl_prob.csv", "study.json")]
        found.append(dict(name="crossfit", function="dlrs.synthetic.studies.join_folds", parameters=base | {"n_folds": n_folds}, reads=[*probs, *of_the_base("patients.csv", "dl_prob.csv")], writes=made))
        for number, writes in {"04_signature": "signature.csv", "05_nomogram": "predictions.csv", "06_evaluation": ""}.items():
            writes = [f"{folder}/results/{number}.json", *([f"{folder}/interim/{writes}"] if writes else [])]
            found.append(dict(name=f"crossfit_{number}", notebook=number, parameters={"run_dir": display_path(RUN / folder)}, reads=made, writes=writes))
            made = made + writes[1:]
    by_heart = [s["writes"][0] for s in found if s["name"].startswith("permuted") and s["name"].endswith("joined")]
    n = {"null": config.get("n_replicates", 2000), "dial": config.get("n_replicates", 2000) // 10, "coverage": config.get("n_intervals", 400)}
    for part, n_replicates in n.items():
        if part in wanted:
            about = dict(parameters=base | {"n_replicates": n_replicates}, reads=[*by_heart, *of_the_base("dl_prob.csv")], writes=[f"parts/{part}.csv"])
            found.append(dict(name=part, function=f"dlrs.synthetic.studies.{part}_study", threads=workflow.cores or 1, **about))
    reads = [*of_the_base("patients.csv", "dl_prob.csv"), *(name for stage in found for name in stage["writes"] if "boxes.csv" not in name and "manifest" not in name)]
    found.append(dict(name="09_validity", parameters=base, reads=reads, writes=[*table("validity"), "results/09_validity.json"]))
    return found


# A stage is a notebook or a function. It runs again when a file that it reads has changed, its notebook, a module of the
# package that it uses, or a parameter. Of interim/study.json the trainings read the class alone, so it is no input of
# theirs: whether results are shared is no reason to train again. No stage writes a tracked file: in a fresh clone nothing
# would be left to do.
# `main` makes what the paper itself shows, `all` the supplement's trainings too, `alternatives` trains with other choices
# about the images, `statistics` starts from probabilities, `validate` from a released model.
ALL, ALTERNATIVES, STATISTICS, VALIDATE = ["all"], ["alternatives"], ["statistics"], ["validate"]
MAIN = ["main"] + ALL + ALTERNATIVES
BOTH = MAIN + STATISTICS
# A branch is the same patients through notebooks 02 and 03 once more with another choice, in a folder of its own.
SIZES = {f"size_{size}": {"box_size": size} for size in config.get("box_sizes", [56, 84])}
CHOICES = {
    "all slices with ROI": {"n_slices": 40},
    "z-score over the whole box": {"zscore": "box"},
    "voxels outside the ROI set to 0": {"keep_outside_roi": False},
    "a larger share held out to stop early": {"heldout_share": 0.35},
}
BRANCHES = SIZES if PART == "all" else CHOICES if PART == "alternatives" else {}
BRANCHES = {name.replace(" ", "_"): changed for name, changed in BRANCHES.items()}
IMAGE_CHOICES = {} if "stages" in config else declared(ROOT / "notebooks" / "02_preprocessing.ipynb")
# The other choices' probabilities: this run's, or those that were committed with the cohort.
tried = ["interim/alternatives.csv"] if PART == "alternatives" or Path("interim/alternatives.csv").is_file() else []
tried = tried or (["{cohort}/alternatives.csv"] if (COHORT / "alternatives.csv").is_file() else [])
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
        function="dlrs_run.stages.images",
        reads=["{cohort}/cohort.yaml", *TABLES, "{cohort}/truth.csv"],
        writes=["{cohort}/images/manifest.json"],
        parts=MAIN + VALIDATE if PHANTOMS else [],
    ),
    dict(
        name="intake",
        function="dlrs_site.intake.stage",
        parameters=ONLY,
        reads=["{cohort}/cohort.yaml", *TABLES],
        writes=["interim/clinical.csv", "interim/study.json"],
        parts=BOTH + VALIDATE,
    ),
    dict(
        name="01_cohort",
        reads=["interim/clinical.csv", "interim/study.json", *(["{cohort}/images/manifest.json"] if PHANTOMS and IMAGES else [])],
        writes=["interim/patients.csv", *table("table1", "tableS1"), *figure("figS1"), "results/01_cohort.json"],
        parts=BOTH + VALIDATE,
    ),
    dict(
        name="02_preprocessing",
        parameters=RELEASED["preprocessing"] if PART == "validate" else {},
        reads=["interim/patients.csv", *(["{cohort}/images/manifest.json"] if PHANTOMS else [])],
        watches=[] if PHANTOMS else ["{cohort}/images"],
        writes=["interim/boxes.csv", *figure("quality_sheet"), "results/02_preprocessing.json"],
        costly=True,
        parts=MAIN + VALIDATE,
    ),
    dict(
        name="textures",
        function="dlrs_run.stages.textures",
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
    *(
        dict(
            name=f"predict_{sequence}",
            function="dlrs_site.release.probabilities",
            parameters={"sequence": sequence, "model_dir": display_path(MODEL)},
            reads=["{model}/model.json", "interim/patients.csv", "interim/boxes.csv"],
            writes=[f"interim/prob_{sequence}.csv"],
            parts=VALIDATE,
        )
        for sequence in ("T2W", "ADC")
    ),
    dict(
        name="join",
        function="dlrs_run.stages.join",
        reads=["interim/patients.csv", "interim/prob_T2W.csv", "interim/prob_ADC.csv"],
        writes=["interim/dl_prob.csv"],
        parts=MAIN + VALIDATE,
    ),
    dict(
        name="apply",
        function="dlrs_site.release.apply",
        parameters={"model_dir": display_path(MODEL)},
        reads=["{model}/model.json", "interim/patients.csv", "interim/dl_prob.csv"],
        writes=["interim/predictions.csv", "interim/nomogram.json"],
        parts=VALIDATE,
    ),
    dict(
        name="frozen",
        function="dlrs_run.stages.frozen",
        reads=["{cohort}/dl_prob.csv", "{cohort}/dl_prob.csv.sha256"],
        writes=["interim/dl_prob.csv"],
        parts=STATISTICS,
    ),
    dict(
        name="04_signature",
        reads=["interim/study.json", "interim/patients.csv", "interim/dl_prob.csv"],
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
        reads=[
            "interim/study.json",
            *("interim/patients.csv", "interim/dl_prob.csv"),
            *("interim/signature.csv", "interim/signature.json"),
        ],
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
        name="nomogram_page",
        function="dlrs_run.stages.nomogram_page",
        reads=["interim/nomogram.json", "interim/predictions.csv", "{root}/src/dlrs_run/templates/nomogram.html"],
        writes=["nomogram.html"],
        parts=BOTH,
    ),
    dict(
        name="06_evaluation",
        reads=[
            "interim/study.json",
            *(f"interim/{name}.csv" for name in ("patients", "dl_prob", "predictions")),
            "interim/nomogram.json",
        ],
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
        parts=BOTH + VALIDATE,
    ),
    dict(
        name="06b_deviations",
        parameters={"alternatives": display_path(Path(name.format(cohort=COHORT)).absolute()) for name in tried},
        reads=[
            "interim/study.json",
            *(f"interim/{name}" for name in ("patients.csv", "dl_prob.csv", "predictions.csv")),
            *("interim/signature.json", "interim/nomogram.json"),
            *tried,
        ],
        writes=[*table("deviations"), "deviations.md", "results/06b_deviations.json"],
        parts=BOTH,
    ),
    dict(
        name="07_subgroups",
        reads=["interim/study.json", "interim/patients.csv", "interim/predictions.csv", "interim/nomogram.json"],
        writes=[*table("fig4_counts", "figS4_strata"), *figure("fig4", "figS4"), "results/07_subgroups.json"],
        parts=BOTH + VALIDATE,
    ),
    dict(
        name="11_validation",
        parameters={"model_dir": display_path(MODEL), "recalibrate": bool(config.get("recalibrate", False))},
        reads=["interim/study.json", "{model}/model.json", *(f"interim/{name}.csv" for name in ("patients", "dl_prob", "predictions"))],
        writes=[
            *table("external_calibration", "external_cutoffs"),
            *figure("external_calibration", "external_cutoffs"),
            "results/11_validation.json",
        ],
        parts=VALIDATE,
    ),
    dict(
        name="branches",
        function="dlrs_run.stages.branches",
        parameters={"names": list(BRANCHES)},
        reads=["interim/study.json", "interim/patients.csv"],
        writes=[f"interim/branches/{branch}/interim/{name}" for branch in BRANCHES for name in ("patients.csv", "study.json")],
        parts=ALL + ALTERNATIVES,
    ),
    *(
        dict(
            name=f"02_preprocessing_{branch}",
            notebook="02_preprocessing",
            within=f"interim/branches/{branch}",
            parameters={k: v for k, v in changed.items() if k in IMAGE_CHOICES},
            reads=[
                f"interim/branches/{branch}/interim/patients.csv",
                *(["{cohort}/images/manifest.json"] if PHANTOMS else []),
            ],
            watches=[] if PHANTOMS else ["{cohort}/images"],
            writes=[f"interim/branches/{branch}/interim/boxes.csv"],
            costly=True,
            can_wait=True,
            parts=ALL + ALTERNATIVES,
        )
        for branch, changed in BRANCHES.items()
    ),
    *(
        dict(
            name=f"03_train_{sequence}_{branch}",
            notebook="03_train_sequence",
            within=f"interim/branches/{branch}",
            parameters={"sequence": sequence} | {k: v for k, v in changed.items() if k not in IMAGE_CHOICES},
            reads=[
                f"interim/branches/{branch}/interim/patients.csv",
                f"interim/branches/{branch}/interim/boxes.csv",
                *(["interim/textures.json"] if TEXTURES else []),
            ],
            writes=[f"interim/branches/{branch}/interim/prob_{sequence}.csv"],
            trains=True,
            costly=True,
            keep=True,
            can_wait=True,
            parts=ALL + ALTERNATIVES,
        )
        for branch, changed in BRANCHES.items()
        for sequence in ("T2W", "ADC")
    ),
    dict(
        name="alternatives",
        function="dlrs_run.stages.alternatives",
        parameters={"names": list(BRANCHES)},
        reads=[
            "interim/patients.csv",
            *(f"interim/prob_{sequence}.csv" for sequence in ("T2W", "ADC")),
            *(f"interim/branches/{b}/interim/prob_{sequence}.csv" for b in BRANCHES for sequence in ("T2W", "ADC")),
        ],
        writes=["interim/alternatives.csv"],
        parts=ALTERNATIVES,
    ),
    dict(
        name="08_image_robustness",
        parameters={"box_sizes": [changed["box_size"] for changed in SIZES.values()]},
        reads=[
            "interim/study.json",
            "interim/patients.csv",
            "interim/boxes.csv",
            "results/02_preprocessing.json",
            *(f"models/{sequence}/model.{ending}" for sequence in ("T2W", "ADC") for ending in ("safetensors", "json")),
            *(f"interim/prob_{sequence}.csv" for sequence in ("T2W", "ADC")),
            *(f"interim/branches/{b}/interim/prob_{sequence}.csv" for b in BRANCHES for sequence in ("T2W", "ADC")),
        ],
        writes=[*table("figS2", "figS6_gradcam"), *figure("figS2", "figS6_gradcam"), "results/08_image_robustness.json"],
        costly=True,
        parts=ALL,
    ),
]
stages = validity() if PART == "validity" else [stage for stage in STAGES if PART in stage.get("parts", MAIN)]

# The last stages depend on what all the others write.
outcomes = [name for stage in stages for name in stage["writes"] if name.startswith(("results/", "tables/", "figures/"))]
numbers = [name for name in outcomes if name.startswith("results/")]
if numbers:
    joined = ["results.json", "results_missing.json"]
    stages.append(dict(name="results", function="dlrs_run.stages.results", reads=numbers, writes=joined))
    pages = [name for stage in stages for name in stage["writes"] if name.endswith(".html") and "/" not in name]
    executed = ["09_validity"] if PART == "validity" else []
    if "stages" not in config and PART in BOTH + VALIDATE and "training_seed" not in config:  # a seed's numbers suffice
        executed = [stage["name"] for stage in stages if "function" not in stage and "within" not in stage]
        found = [*ROOT.glob("reports/validity/tables/validity_answer.*"), *ROOT.glob("reports/validity/results.json")]
        data = ["paper/paper_results.yaml", "paper/report.yaml", *(str(path.relative_to(ROOT)) for path in sorted(found))]
        reads = [*outcomes, *joined, *(f"{{root}}/{name}" for name in data)]
        released = {"model_dir": display_path(MODEL)} if ONLY else {}
        overview = figure("published_and_rerun")
        stages.append(dict(name="10_report", parameters=released, reads=reads, writes=overview))
        data = ["reports/parity.csv", "src/dlrs_run/pages.py", "src/dlrs_run/templates/report.html"]
        data += sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("paper/checklists/*.yaml"))
        reads = [*reads, *pages, *overview, *(f"{{root}}/{name}" for name in data)]
        page = dict(name="report", function="dlrs_run.report.stage", reads=reads, writes=["report.html"])
        stages.append(page | dict(parameters=released | {"notebook_ending": "html" if IMAGES else "ipynb"}))
        pages.append("report.html")
        executed.append("10_report")
    if executed and IMAGES:  # where minutes go by anyway; the statistics alone are to take seconds
        reads = [*outcomes, *pages, "{root}/src/dlrs_run/templates/notebook.html"]
        writes = [f"notebooks/{name}.html" for name in executed]
        converted = dict(name="pages", function="dlrs_run.stages.pages", parameters={"names": executed})
        stages.append(converted | dict(reads=reads, writes=writes))
        pages += writes
    if IS_COHORT:  # nothing that names a patient leaves: the last stage looks, and stops the run where it finds any
        reads = [*outcomes, *joined, *pages]
        stages.append(dict(name="private", function="dlrs_site.privacy.stage", reads=reads, writes=["interim/privacy.json"]))
    if config.get("publish"):
        reads = [*outcomes, *joined, *pages]
        to = {"reports_dir": display_path(ROOT / "reports" / ("validity" if PART == "validity" else ""))}
        publish = dict(name="publish", function="dlrs_run.stages.publish", parameters=to, reads=reads)
        stages.append(publish | dict(writes=["published.json"]))


def target_of(stage):
    """A stage's notebook as a path, or its function by name."""
    return stage.get("function") or str(ROOT / "notebooks" / f"{stage.get('notebook', stage['name'])}.ipynb")


def files(names):
    return [name.format(root=ROOT, cohort=COHORT, model=MODEL) for name in names]


# The rooms of the package that a stage's code lives in: it runs again when a file there has changed. A costly stage is
# not repeated for how numbers are judged and shown.
ROOMS = {"costly": ["dlrs/imaging"], "else": ["dlrs", "dlrs/stats"]}


def sources_of(stage):
    """The stage's notebook or module, and the files of the rooms that it uses."""
    rooms = ROOMS["costly" if stage.get("costly") else "else"]
    files = [str(path) for room in rooms for path in sorted((ROOT / "src" / room).glob("*.py"))]
    if "function" in stage:
        own = ROOT / "src" / Path(*stage["function"].split(".")[:-1]).with_suffix(".py")
        return sorted({str(own), *files})
    return [target_of(stage), *files]


def listing_of(folders):
    """A hash of the names, sizes and times of all files in folders too large to read, as a hospital's images are."""
    paths = (path for folder in files(folders) for path in sorted(Path(folder).rglob("*")) if path.is_file())
    listed = [(str(path.relative_to(COHORT)), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


profile = {name: value for name, value in config.items() if name in COST_AND_PLACE - {"cohort_dir", "patients", "controls", "n_intervals", "n_replicates"}}
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
if ignored_by_all and IMAGES and PART != "validate":
    stop(f"No notebook declares {', '.join(sorted(ignored_by_all))}: correct the profile.")

written = {name for stage in stages for name in files(stage["writes"])}
for name in (name for stage in stages for name in files(stage.get("reads", []))):
    if name not in written and not Path(name).is_file():
        stop(f"{display_path(name)} is missing; restore it, or see the data dictionary in data_synthetic/.")

# ---------------------------------------------------------------- the rules

# None of these is a parameter of a rule, since a change of them is no reason to run anything again.
PYTHON, PROCESS, RUN_DIR = sys.executable, os.getpid(), display_path(RUN)
os.environ["DLRS_STAGES"] = " ".join(stage["name"] for stage in stages)


# A run that stops half-way says on its page what is missing and why.
onerror:
    last = [stage for stage in stages if stage["name"] in ("10_report", "report")]
    if any(path.stem not in ("10_report", "report") for path in Path("logs").glob("*.failed")):
        for stage in last:
            command = [PYTHON, "-m", "dlrs_run.execute", target_of(stage), "--name", stage["name"], "--run", RUN_DIR]
            subprocess.run([*command, "--parameters", json.dumps(PARAMETERS[stage["name"]])])


rule all:
    input:
        [name for stage in stages for name in files(stage["writes"]) if name not in files(stage.get("dropped", []))],


for stage in stages:

    rule:
        name:
            f"stage_{stage['name']}"
        input:
            files(stage.get("reads", [])),
            sources=sources_of(stage),
        output:
            [temp(name) if name in files(stage.get("dropped", [])) else name for name in files(stage["writes"])],
        log:
            [] if "function" in stage else f"notebooks/{stage['name']}.ipynb",
        params:
            what=target_of(stage),
            stage=stage["name"],
            within=stage.get("within", ""),
            values=json.dumps(PARAMETERS[stage["name"]], sort_keys=True),
            listing=listing_of(stage.get("watches", [])),
            keep="--keep" if stage.get("keep") else "",
        priority: 0 if stage.get("can_wait") else 1
        threads: stage.get("threads", 1)
        shell:
            "exec {PYTHON:q} -m dlrs_run.execute {params.what:q} --name {params.stage}"
            " --run {RUN_DIR:q} --within={params.within:q} --parameters {params.values:q} --parent {PROCESS}"
            " --inputs {input:q} --outputs {output:q} {params.keep}"
