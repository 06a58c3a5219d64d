# What the design finds with uninformative images: simulated studies, controls trained anew, notebooks 09a-09i.
BASE = ROOT / str(config.get("base_dir", "runs/default"))  # the finished run that the controls start from
BASE_DIR = display_path(BASE)
QUESTIONS = "dial null crossfit coverage seeds shortcuts expected multiverse".split()
ASKED = str(config.get("only", ",".join(QUESTIONS))).split(",")
if set(ASKED) - set(QUESTIONS):
    stop(f"The questions are {', '.join(QUESTIONS)}; found {', '.join(sorted(set(ASKED) - set(QUESTIONS)))}.")
WANTED = config.get(
    "controls",
    {"permuted": 10, "signals": [0.0, 0.25, 0.5], "altered": ["shuffled", "mask"], "centre": True},
)
N_REPLICATES = config.get("n_replicates", 2000)

# Control -> what it is made with. Its folder is laid out like a run's, with `boxes`, `train` and more of the study.
SIGNALS = {f"signal-{value:g}": {"signal": value} for value in WANTED.get("signals", []) if "dial" in ASKED}
ALTERED = {name: {"altered": name} for name in WANTED.get("altered", []) if "shortcuts" in ASKED}
PERMUTED = {f"permuted-{n}": {} for n in range(1, WANTED.get("permuted", 0) + 1) if "shortcuts" in ASKED}
CONTROLS = PERMUTED | ALTERED | SIGNALS
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


STUDY = of_the_base("study.json", "patients.csv", "dl_prob.csv")
with open(STUDY[-1], encoding="utf-8") as probabilities:
    OUT_OF_FOLD = "dl_prob_oof" in probabilities.readline()  # not of the recipe `published`
JUDGING = repository("src/dlrs/synthetic", *STATISTICS)


rule control:
    input:
        of_the_base("study.json", "patients.csv"),
        lambda wildcards: [] if wildcards.control in ALTERED else of_the_base("boxes.csv"),
        sources=repository("src/dlrs_run/controls.py", "src/dlrs/synthetic", "src/dlrs/imaging"),
    output:
        "interim/controls/{control}/interim/study.json",
        "interim/controls/{control}/interim/patients.csv",
        "interim/controls/{control}/interim/boxes.csv",
    wildcard_constraints:
        control=r"permuted-\d+|shuffled|mask",
    params:
        stage="{control}",
        values=control_parameters,
    shell:
        run("dlrs_run.controls.prepare_control")


rule control_images:
    input:
        of_the_base("study.json", "patients.csv"),
        sources=repository("src/dlrs_run/controls.py", "src/dlrs/synthetic", "src/dlrs/imaging"),
    output:
        "interim/controls/{control}/interim/study.json",
        "interim/controls/{control}/interim/patients.csv",
        temp("interim/controls/{control}/cohort/images/manifest.json"),  # control_joined drops the volumes
    wildcard_constraints:
        control="signal-[^/]+",
    params:
        stage="{control}",
        values=control_parameters,
    shell:
        run("dlrs_run.controls.prepare_control")


rule control_joined:
    input:
        "interim/controls/{control}/interim/patients.csv",
        "interim/controls/{control}/interim/prob_T2W.csv",
        "interim/controls/{control}/interim/prob_ADC.csv",
        sources=repository("src/dlrs_run/controls.py", "src/dlrs"),
    output:
        "interim/controls/{control}/interim/dl_prob.csv",
    wildcard_constraints:
        control="[^/]+",
    params:
        stage="{control}_joined",
        values=lambda wildcards: parameters(name=wildcards.control),
    shell:
        run("dlrs_run.controls.finish_control")


rule centre:
    input:
        of_the_base("patients.csv", "boxes.csv"),
        there(*(BASE / "models" / sequence / "model.safetensors" for sequence in SEQUENCES)),
        sources=repository("src/dlrs_run/controls.py", "src/dlrs/imaging"),
    output:
        "parts/centre.csv",
    params:
        stage="centre",
        values=parameters(base_dir=BASE_DIR),
    shell:
        run("dlrs_run.controls.centre_from_features")


TITLES = {"shuffled": "Voxels shuffled inside the ROI", "mask": "Mask only"}
BANDS = ROOT / str(config.get("bands_dir", "runs/bands"))
SEEDS = sorted(str(path) for path in BANDS.glob("seed-*/results.json"))


rule null_simulation:
    input:
        STUDY,
        joined(PERMUTED),
        sources=repository("notebooks/09a_null_simulation.ipynb") + JUDGING,
    output:
        table("validity_null"),
        figure("validity_null"),
        "{at}results/09a_null_simulation.json",
    log:
        "{at}notebooks/09a_null_simulation.ipynb",
    threads: workflow.cores or 1
    params:
        stage="{at}09a_null_simulation",
        values=parameters("09a_null_simulation", base_dir=BASE_DIR, n_replicates=N_REPLICATES),
    shell:
        run("09a_null_simulation")


rule signal_dial:
    input:
        STUDY,
        joined(SIGNALS),
        sources=repository("notebooks/09b_signal_dial.ipynb") + JUDGING,
    output:
        table("validity_dial_simulated", "validity_dial"),
        figure("validity_dial"),
        "{at}results/09b_signal_dial.json",
    log:
        "{at}notebooks/09b_signal_dial.ipynb",
    threads: workflow.cores or 1
    params:
        stage="{at}09b_signal_dial",
        values=parameters(
            "09b_signal_dial",
            base_dir=BASE_DIR,
            n_replicates=N_REPLICATES // 10,
            trained_signals=WANTED.get("signals", []),
        ),
    shell:
        run("09b_signal_dial")


rule cross_fitting:
    input:
        STUDY,
        of_the_base("nomogram.json"),
        of_the_base("prob_T2W.csv") if OUT_OF_FOLD else [],
        there(*(BASE / "results" / f"{name}.json" for name in REFITTED)),
        sources=repository("notebooks/09c_cross_fitting.ipynb") + JUDGING,
    output:
        table("validity_crossfit"),
        figure("validity_crossfit"),
        "{at}results/09c_cross_fitting.json",
    log:
        "{at}notebooks/09c_cross_fitting.ipynb",
    params:
        stage="{at}09c_cross_fitting",
        values=parameters("09c_cross_fitting", base_dir=BASE_DIR),
    shell:
        run("09c_cross_fitting")


rule interval_coverage:
    input:
        STUDY,
        joined(PERMUTED),
        sources=repository("notebooks/09d_interval_coverage.ipynb") + JUDGING,
    output:
        table("validity_coverage"),
        figure("validity_coverage"),
        "{at}results/09d_interval_coverage.json",
    log:
        "{at}notebooks/09d_interval_coverage.ipynb",
    threads: workflow.cores or 1
    params:
        stage="{at}09d_interval_coverage",
        values=parameters("09d_interval_coverage", base_dir=BASE_DIR, n_replicates=config.get("n_intervals", 400)),
    shell:
        run("09d_interval_coverage")


rule training_seeds:
    input:
        STUDY,
        joined(PERMUTED),
        SEEDS,
        str(BASE / "results.json"),
        sources=repository("notebooks/09e_training_seeds.ipynb") + JUDGING,
    output:
        table("validity_seeds"),
        figure("validity_seeds"),
        "{at}results/09e_training_seeds.json",
    log:
        "{at}notebooks/09e_training_seeds.ipynb",
    params:
        stage="{at}09e_training_seeds",
        values=parameters("09e_training_seeds", base_dir=BASE_DIR, bands_dir=display_path(BANDS)),
    shell:
        run("09e_training_seeds")


rule negative_controls:
    input:
        STUDY,
        joined(PERMUTED | ALTERED),
        of_the_base("boxes.csv"),
        "parts/centre.csv",
        sources=repository("notebooks/09f_negative_controls.ipynb") + JUDGING,
    output:
        table("validity_shortcuts", "validity_null_chain"),
        figure("validity_shortcuts"),
        "{at}results/09f_negative_controls.json",
    log:
        "{at}notebooks/09f_negative_controls.ipynb",
    params:
        stage="{at}09f_negative_controls",
        values=parameters("09f_negative_controls", base_dir=BASE_DIR, altered={name: TITLES[name] for name in ALTERED}),
    shell:
        run("09f_negative_controls")


rule calibration_optimism:
    input:
        STUDY,
        str(BASE / "interim" / "predictions.csv"),
        sources=repository("notebooks/09g_calibration_optimism.ipynb") + JUDGING,
    output:
        table("validity_expected", "validity_optimism", "validity_restricted_mean", "validity_comparator"),
        figure("validity_expected"),
        "{at}results/09g_calibration_optimism.json",
    log:
        "{at}notebooks/09g_calibration_optimism.ipynb",
    params:
        stage="{at}09g_calibration_optimism",
        values=parameters("09g_calibration_optimism", base_dir=BASE_DIR),
    shell:
        run("09g_calibration_optimism")


rule multiverse_null:
    input:
        STUDY,
        joined(PERMUTED),
        sources=repository("notebooks/09i_multiverse_null.ipynb", "paper/multiverse.yaml") + JUDGING,
    output:
        table("validity_multiverse", "validity_multiverse_search", "validity_multiverse_chain"),
        figure("validity_multiverse"),
        "{at}results/09i_multiverse_null.json",
    log:
        "{at}notebooks/09i_multiverse_null.ipynb",
    threads: workflow.cores or 1
    params:
        stage="{at}09i_multiverse_null",
        values=parameters("09i_multiverse_null", base_dir=BASE_DIR, n_replicates=N_REPLICATES // 10),
    shell:
        run("09i_multiverse_null")


# The questions that were asked and can be answered; 09h says of the others that they were not run.
ANSWERED = {
    "null_simulation": "null" in ASKED,
    "signal_dial": "dial" in ASKED,
    "cross_fitting": "crossfit" in ASKED and OUT_OF_FOLD,
    "interval_coverage": "coverage" in ASKED,
    "training_seeds": "seeds" in ASKED and len(SEEDS) >= 4,
    "negative_controls": len(PERMUTED) > 0 and bool(WANTED.get("centre")),
    "calibration_optimism": "expected" in ASKED,
    "multiverse_null": "multiverse" in ASKED,
}
ANSWERS = made(*(rule for rule, can_be in ANSWERED.items() if can_be))


rule answer:
    input:
        [name for name in ANSWERS if not name.startswith("figures/")],
        sources=repository("notebooks/09h_answer.ipynb") + JUDGING,
    output:
        table("validity", "validity_faults", "validity_answer"),
        "{at}results/09h_answer.json",
    log:
        "{at}notebooks/09h_answer.ipynb",
    params:
        stage="{at}09h_answer",
        values=parameters("09h_answer", base_dir=BASE_DIR),
    shell:
        run("09h_answer")


MADE = ANSWERS + made("answer")
