# The supplement's trainings: the same patients through `boxes` and `train` once more, each branch with another choice.
SIZES = {f"size_{size}": {"boxes": {"box_size": size}} for size in config.get("box_sizes", [56, 84])}
# The study's own boxes a second time, from another backbone and other folds: what a training alone changes.
AGAIN = {"own_again": {"train": {"backbone_seed": 2, "seed": 2}}} if config.get("again", True) else {}
CHOICES = {
    "all slices with ROI": {"boxes": {"n_slices": 40}},
    "z-score over the whole box": {"boxes": {"zscore": "box"}},
    "voxels outside the ROI set to 0": {"boxes": {"keep_outside_roi": False}},
    "one network, stopped early, as published": {"train": {"recipe": "published"}},
}
BRANCHES = SIZES | AGAIN if PART == "all" else {name.replace(" ", "_"): choice for name, choice in CHOICES.items()}
FOLDERS = [f"interim/branches/{branch}/" for branch in BRANCHES]
CHANGED.update(zip(FOLDERS, BRANCHES.values()))
ALL_PROBABILITIES = expand("{at}interim/prob_{sequence}.csv", at=["", *FOLDERS], sequence=SEQUENCES)


BOXED = [folder for folder, branch in zip(FOLDERS, BRANCHES) if branch not in AGAIN]


rule branches:
    input:
        "interim/study.json",
        "interim/patients.csv",
        sources=repository("src/dlrs_run/stages.py"),
    output:
        expand("{at}interim/{name}", at=BOXED, name=["patients.csv", "study.json"]),
    params:
        stage="branches",
        values=parameters(names=[name for name in BRANCHES if name not in AGAIN]),
    shell:
        run("dlrs_run.stages.branches")


rule again:
    input:
        "interim/study.json",
        "interim/patients.csv",
        "interim/boxes.csv",
        sources=repository("src/dlrs_run/stages.py"),
    output:
        "interim/branches/own_again/interim/study.json",
        "interim/branches/own_again/interim/patients.csv",
        "interim/branches/own_again/interim/boxes.csv",
    params:
        stage="interim/branches/own_again/again",
        values=parameters(base_dir=display_path(RUN)),
    shell:
        run("dlrs_run.stages.prepare_repeat")


if PART == "alternatives":

    rule alternatives:
        input:
            "interim/patients.csv",
            ALL_PROBABILITIES,
            sources=repository("src/dlrs_run/stages.py", "src/dlrs"),
        output:
            "interim/alternatives.csv",
        params:
            stage="alternatives",
            values=parameters(names=list(BRANCHES)),
        shell:
            run("dlrs_run.stages.alternatives")

    LAST_OF_THEM = made("alternatives")

else:

    rule robustness:
        input:
            "interim/study.json",
            "interim/patients.csv",
            "interim/boxes.csv",
            "results/02_preprocessing.json",
            expand("models/{sequence}/model.{ending}", sequence=SEQUENCES, ending=["safetensors", "json"]),
            ALL_PROBABILITIES,
            sources=repository("notebooks/08_image_robustness.ipynb", "src/dlrs/imaging"),
        output:
            table("figS2", "figS6_gradcam"),
            figure("figS2", "figS6_gradcam"),
            "{at}results/08_image_robustness.json",
        log:
            "{at}notebooks/08_image_robustness.ipynb",
        threads: 2
        params:
            stage="{at}08_image_robustness",
            values=parameters(
                "08_image_robustness", box_sizes=[choice["boxes"]["box_size"] for choice in SIZES.values()]
            ),
        shell:
            run("08_image_robustness")

    LAST_OF_THEM = made("robustness")


SUPPLEMENT = made("branches") + made("boxes_again", at=BOXED) + made("train_again", at=FOLDERS) + LAST_OF_THEM
