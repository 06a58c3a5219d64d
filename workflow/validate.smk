# A released model applied to a cohort that it has not seen; nothing is fitted.
from dlrs_site import release

MODEL = ROOT / str(config["model_dir"])
if Path("models").exists():
    stop(f"{display_path(RUN)} holds a run that trained; give another folder to validate in.")
try:
    CHANGED[""] = {"boxes": release.load(MODEL)["preprocessing"]}
    release.fits(MODEL, COHORT, FOLDER.variables)
except InputError as error:
    stop(error)


# The release's networks and Cox models stand in for those that the study trains and fits.
ruleorder: predict > train
ruleorder: apply > nomogram


rule predict:
    input:
        f"{MODEL}/model.json",
        "{at}interim/patients.csv",
        "{at}interim/boxes.csv",
        sources=repository("src/dlrs_site/release.py", "src/dlrs", "src/dlrs/imaging"),
    output:
        "{at}interim/prob_{sequence}.csv",
    params:
        stage="{at}predict_{sequence}",
        values=lambda wildcards: parameters(sequence=wildcards.sequence, model_dir=display_path(MODEL)),
    shell:
        run("dlrs_site.release.probabilities")


rule apply:
    input:
        f"{MODEL}/model.json",
        "{at}interim/patients.csv",
        "{at}interim/dl_prob.csv",
        sources=repository("src/dlrs_site/release.py", "src/dlrs", "src/dlrs/stats"),
    output:
        "{at}interim/predictions.csv",
        "{at}interim/nomogram.json",
    params:
        stage="{at}apply",
        values=parameters(model_dir=display_path(MODEL)),
    shell:
        run("dlrs_site.release.apply")


rule external_validation:
    input:
        f"{MODEL}/model.json",
        "{at}interim/study.json",
        "{at}interim/patients.csv",
        "{at}interim/dl_prob.csv",
        "{at}interim/predictions.csv",
        sources=repository("notebooks/11_validation.ipynb", *STATISTICS, "src/dlrs_site/release.py"),
    output:
        table("external_calibration", "external_cutoffs"),
        figure("external_calibration", "external_cutoffs"),
        "{at}results/11_validation.json",
    log:
        "{at}notebooks/11_validation.ipynb",
    params:
        stage="{at}11_validation",
        values=parameters(
            "11_validation", model_dir=display_path(MODEL), recalibrate=bool(config.get("recalibrate", False))
        ),
    shell:
        run("11_validation")


RULES = ["intake", "cohort", "boxes", "predict", "join", "apply", "evaluation", "subgroups", "external_validation"]
MADE = made(*RULES) + made("images") * FOLDER.synthetic
