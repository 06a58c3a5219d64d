# The study as a graph: which rule makes which files from which. `run.py` starts this inside a run's folder, where paths
# without a prefix lie; by hand, `snakemake fig2` does so inside runs/default. workflow/ has the rules, a file for each part:
# `main` makes what the paper itself shows, `all` the supplement's trainings too, `alternatives` trains with other choices
# about the images, `statistics` starts from probabilities, `validate` from a released model, `seeds` and `validity` from a
# finished run.
import re

PARTS = ["all", "main", "alternatives", "statistics", "seeds", "validity", "validate"]


include: "workflow/common.smk"
include: "workflow/study.smk"


JUDGED = made(
    "audit", "intake", "cohort", "signature", "nomogram", "nomogram_page", "evaluation", "deviations", "subgroups"
)
if PART == "statistics":

    include: "workflow/statistics.smk"

    MADE = JUDGED + made(START)

else:

    include: "workflow/images.smk"

    TRAINED = made("boxes", "train", "join") + made("images") * FOLDER.synthetic
    MADE = JUDGED + TRAINED


if PART in ("all", "alternatives"):

    include: "workflow/supplement.smk"

    MADE += SUPPLEMENT

elif PART in ("seeds", "validity", "validate"):

    include: f"workflow/{PART}.smk"


include: "workflow/results.smk"


rule all:
    default_target: True
    input:
        MADE,
        LAST,


# Each notebook, and each table and figure that the paper names, can be asked for: `snakemake 04_signature table2 fig3`.
TARGETS = {Path(name).stem: [name] for name in NUMBERS} | {"10_report": made("comparison")}
for name in MADE:
    for item in {Path(name).stem, *re.findall(r"/((?:fig|table)S?\d+)", name)}:
        if re.match(r"(fig|table)S?\d", item):
            TARGETS.setdefault(item, []).append(name)
for name, files in TARGETS.items():

    rule:
        name:
            name
        input:
            files,
