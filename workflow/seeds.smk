# The study trained again at other seeds, of backbone and folds, each in a folder of its own, on the patients and boxes of a
# finished run.
BASE = ROOT / str(config.get("base_dir", "runs/default"))
SEEDS = [f"seed-{number}/" for number in range(1, int(config.get("seeds", 5)) + 1)]
CHANGED.update({at: {"train": {"seed": n, "backbone_seed": n + 1}} for n, at in enumerate(SEEDS, 1)})


rule seed:
    input:
        there(*(BASE / "interim" / name for name in ("study.json", "patients.csv", "boxes.csv"))),
        sources=repository("src/dlrs_run/stages.py"),
    output:
        "{at}interim/study.json",
        "{at}interim/patients.csv",
        "{at}interim/boxes.csv",
    wildcard_constraints:
        at=r"seed-\d+/",
    params:
        stage="{at}seed",
        values=parameters(base_dir=display_path(BASE)),
    shell:
        run("dlrs_run.stages.prepare_repeat")


MADE = made("seed", "train", "join", "signature", "nomogram", "evaluation", at=SEEDS) + expand(
    "{at}results.json", at=SEEDS
)
