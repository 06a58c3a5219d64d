# What the design would find had the images known nothing: simulated studies, controls trained anew, notebook 09.
BASE = ROOT / str(config.get("base_dir", "runs/default"))  # the finished run that the controls start from
BASE_DIR = display_path(BASE)
QUESTIONS = "dial null crossfit coverage seeds shortcuts expected".split()
ASKED = str(config.get("only", ",".join(QUESTIONS))).split(",")
if set(ASKED) - set(QUESTIONS):
    stop(f"The questions are {', '.join(QUESTIONS)}; found {', '.join(sorted(set(ASKED) - set(QUESTIONS)))}.")
WANTED = config.get(
    "controls",
    {"permuted": 10, "folds": 5, "signals": [0.0, 0.25, 0.5], "altered": ["shuffled", "mask"], "centre": True},
)
N_FOLDS = WANTED.get("folds", 0) if "crossfit" in ASKED else 0
N_REPLICATES = config.get("n_replicates", 2000)

# Control -> what it is made with. Its folder is laid out like a run's, with `boxes`, `train` and more of the study.
FOLDS = {f"fold-{number}": {"fold": [number, N_FOLDS]} for number in range(1, N_FOLDS + 1)}
SIGNALS = {f"signal-{value:g}": {"signal": value} for value in WANTED.get("signals", []) if "dial" in ASKED}
ALTERED = {name: {"altered": name} for name in WANTED.get("altered", []) if "shortcuts" in ASKED}
PERMUTED = {f"permuted-{n}": {} for n in range(1, WANTED.get("permuted", 0) + 1) if "shortcuts" in ASKED}
CONTROLS = PERMUTED | ALTERED | SIGNALS | FOLDS
for number, name in enumerate(PERMUTED, 1):
    CHANGED[f"interim/controls/{name}/"] = {"train": {"permute_target": True, "seed": number}}
for name in SIGNALS:
    own = {"cohort_dir": display_path(RUN / "interim" / "controls" / name / "cohort")}
    CHANGED[f"interim/controls/{name}/"] = {"boxes": own}


def of_the_base(*names):
    return there(*(BASE / "interim" / name for name in names))


def joined(controls):
    return [f"interim/controls/{name}/interim/dl_prob.csv" for name in controls]


def control_parameters(wildcards):
    return parameters(base_dir=BASE_DIR, name=wildcards.control, **CONTROLS[wildcards.control])


STUDIES = repository("src/dlrs/synthetic", *STATISTICS)


rule control:
    input:
        of_the_base("patients.csv"),
        lambda wildcards: [] if wildcards.control in ALTERED else of_the_base("boxes.csv"),
        sources=repository("src/dlrs/synthetic", "src/dlrs/imaging"),
    output:
        "interim/controls/{control}/interim/patients.csv",
        "interim/controls/{control}/interim/boxes.csv",
    wildcard_constraints:
        control=r"permuted-\d+|fold-\d+|shuffled|mask",
    params:
        stage="{control}",
        values=control_parameters,
    shell:
        run("dlrs.synthetic.studies.prepare_control")


rule control_images:
    input:
        of_the_base("patients.csv"),
        sources=repository("src/dlrs/synthetic", "src/dlrs/imaging"),
    output:
        "interim/controls/{control}/interim/patients.csv",
        temp("interim/controls/{control}/cohort/images/manifest.json"),  # control_joined drops the volumes
    wildcard_constraints:
        control="signal-[^/]+",
    params:
        stage="{control}",
        values=control_parameters,
    shell:
        run("dlrs.synthetic.studies.prepare_control")


rule control_joined:
    input:
        "interim/controls/{control}/interim/patients.csv",
        "interim/controls/{control}/interim/prob_T2W.csv",
        "interim/controls/{control}/interim/prob_ADC.csv",
        sources=STUDIES,
    output:
        "interim/controls/{control}/interim/dl_prob.csv",
    wildcard_constraints:
        control="(?!crossfit/)[^/]+",
    params:
        stage="{control}_joined",
        values=lambda wildcards: parameters(name=wildcards.control),
    shell:
        run("dlrs.synthetic.studies.finish_control")


rule crossfit:
    input:
        joined(FOLDS),
        of_the_base("patients.csv", "dl_prob.csv"),
        sources=STUDIES,
    output:
        "interim/controls/crossfit/interim/patients.csv",
        "interim/controls/crossfit/interim/dl_prob.csv",
    params:
        stage="crossfit",
        values=parameters(base_dir=BASE_DIR, n_folds=N_FOLDS),
    shell:
        run("dlrs.synthetic.studies.join_folds")


rule centre:
    input:
        of_the_base("patients.csv", "boxes.csv"),
        there(*(BASE / "models" / sequence / "model.safetensors" for sequence in SEQUENCES)),
        sources=STUDIES + repository("src/dlrs/imaging"),
    output:
        "parts/centre.csv",
    params:
        stage="centre",
        values=parameters(base_dir=BASE_DIR),
    shell:
        run("dlrs.synthetic.studies.centre_from_features")


rule null:
    input:
        joined(PERMUTED),
        sources=STUDIES,
    output:
        "parts/null.csv",
    threads: workflow.cores or 1
    params:
        stage="null",
        values=parameters(n_replicates=N_REPLICATES),
    shell:
        run("dlrs.synthetic.studies.null_study")


rule dial:
    input:
        joined(PERMUTED),
        sources=STUDIES,
    output:
        "parts/dial.csv",
    threads: workflow.cores or 1
    params:
        stage="dial",
        values=parameters(n_replicates=N_REPLICATES // 10),
    shell:
        run("dlrs.synthetic.studies.dial_study")


rule coverage:
    input:
        joined(PERMUTED),
        sources=STUDIES,
    output:
        "parts/coverage.csv",
    threads: workflow.cores or 1
    params:
        stage="coverage",
        values=parameters(n_replicates=config.get("n_intervals", 400)),
    shell:
        run("dlrs.synthetic.studies.coverage_study")


# What each question makes; a notebook of its own would read no more than its entry.
CROSSFIT = [f"interim/controls/crossfit/results/{name}.json" for name in REFITTED]
MADE_FOR = {
    "null": ["parts/null.csv"],
    "dial": ["parts/dial.csv", *joined(SIGNALS)],
    "coverage": ["parts/coverage.csv"],
    "shortcuts": [*joined(PERMUTED | ALTERED), *(["parts/centre.csv"] if WANTED.get("centre") else [])],
    "crossfit": CROSSFIT if N_FOLDS else [],
}
ANSWERS = [name for question in ASKED for name in MADE_FOR.get(question, [])]


rule validity:
    input:
        of_the_base("patients.csv", "dl_prob.csv"),
        ANSWERS,
        sources=repository("notebooks/09_validity.ipynb", "src/dlrs_run/expected.py") + STUDIES,
    output:
        table("validity"),
        "{at}results/09_validity.json",
    log:
        "{at}notebooks/09_validity.ipynb",
    params:
        stage="{at}09_validity",
        values=parameters("09_validity", base_dir=BASE_DIR),
    shell:
        run("09_validity")


MADE = made("validity") + ANSWERS
