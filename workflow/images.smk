# From images to probabilities: boxes, two networks, and what they say of each patient.
if not FOLDER.synthetic and not (COHORT / "images").is_dir():
    stop(f"{display_path(COHORT / 'images')} is missing; it holds a folder of images for each patient.")
TEXTURES = config.get("weights", "textures") == "textures"


def backbone_of(at):
    """The note of the backbone that a training starts from."""
    seed = CHANGED.get(at, {}).get("train", {}).get("backbone_seed", 1)
    return [f"interim/textures-{seed}.json"] if TEXTURES else []


def listing(folder):
    """A hash of the names, sizes and times of all files in a folder too large to read, as a hospital's images are."""
    paths = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    listed = [(str(path.relative_to(COHORT)), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def manifest(at):
    """The list of a synthetic cohort's volumes; a control may have its own. A hospital's images are there already."""
    own = at.startswith("interim/controls/")
    return [f"{at}cohort/images/manifest.json" if own else f"{COHORT}/images/manifest.json"] if FOLDER.synthetic else []


if TRIAL:

    rule trial_cohort:
        input:
            sources=repository("src/dlrs_run/stages.py", "src/dlrs/synthetic"),
        output:
            f"{COHORT}/cohort.yaml",
            f"{COHORT}/clinical.csv",
            f"{COHORT}/truth.csv",
        params:
            stage="trial_cohort",
            values=parameters(patients=config["patients"]),
        shell:
            run("dlrs_run.stages.trial_cohort")


rule images:
    input:
        f"{COHORT}/cohort.yaml",
        FOLDER.tables,
        f"{COHORT}/truth.csv",
        sources=repository("src/dlrs_run/stages.py", "src/dlrs/synthetic"),
    output:
        f"{COHORT}/images/manifest.json",
    params:
        stage="images",
        values=parameters(),
    shell:
        run("dlrs_run.stages.images")


# The stages of the images are not repeated for how numbers are judged and shown.
rule boxes:
    input:
        "{at}interim/patients.csv",
        lambda wildcards: manifest(wildcards.at),
        sources=repository("notebooks/02_preprocessing.ipynb", "src/dlrs/imaging"),
    output:
        "{at}interim/boxes.csv",
        figure("quality_sheet"),
        "{at}results/02_preprocessing.json",
    log:
        "{at}notebooks/02_preprocessing.ipynb",
    wildcard_constraints:
        at=THE_RUN,
    priority: 1
    params:
        stage="{at}02_preprocessing",
        values=changed("boxes", "02_preprocessing"),
        listing=lambda wildcards: "" if FOLDER.synthetic else listing(COHORT / "images"),
    shell:
        run("02_preprocessing")


rule textures:
    input:
        sources=repository("src/dlrs_run/stages.py", "src/dlrs/imaging"),
    output:
        "interim/textures-{backbone}.json",
    wildcard_constraints:
        backbone=r"\d+",
    priority: 1
    params:
        stage="textures_{backbone}",
        values=lambda wildcards: parameters(backbone_seed=int(wildcards.backbone)),
    shell:
        run("dlrs_run.stages.textures")


rule train:
    input:
        "{at}interim/patients.csv",
        "{at}interim/boxes.csv",
        lambda wildcards: backbone_of(wildcards.at),
        sources=repository("notebooks/03_train_sequence.ipynb", "src/dlrs/imaging"),
    output:
        "{at}interim/prob_{sequence}.csv",
        "{at}models/{sequence}/model.safetensors",
        "{at}models/{sequence}/model.json",
        "{at}models/{sequence}/loss.csv",
        "{at}figures/loss_{sequence}.png",
        "{at}figures/loss_{sequence}.svg",
        "{at}results/03_train_{sequence}.json",
    log:
        "{at}notebooks/03_train_{sequence}.ipynb",
    wildcard_constraints:
        at=rf"{THE_RUN}|seed-\d+/",
    priority: 1
    params:
        stage="{at}03_train_{sequence}",
        values=lambda wildcards: changed("train", "03_train_sequence", sequence=wildcards.sequence)(wildcards),
    shell:
        run("03_train_sequence", keep=True)


# In the branches and controls, which can wait, less is kept: the boxes' list and the probabilities.
use rule boxes as boxes_again with:
    output:
        "{at}interim/boxes.csv",
    wildcard_constraints:
        at="interim/(branches/[^/]+(?<!_again)|controls/signal-[^/]+)/",
    priority: 0


use rule train as train_again with:
    output:
        "{at}interim/prob_{sequence}.csv",
    wildcard_constraints:
        at="interim/(branches|controls)/[^/]+/",
    priority: 0


rule join:
    input:
        "{at}interim/patients.csv",
        "{at}interim/prob_T2W.csv",
        "{at}interim/prob_ADC.csv",
        sources=repository("src/dlrs_run/stages.py", "src/dlrs"),
    output:
        "{at}interim/dl_prob.csv",
    wildcard_constraints:
        at=rf"{THE_RUN}|seed-\d+/",
    params:
        stage="{at}join",
        values=parameters(),
    shell:
        run("dlrs_run.stages.join")
