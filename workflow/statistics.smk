# The statistics alone start from probabilities: those that were committed with the synthetic cohort, held to their hash,
# or a cohort folder's own.
START = "frozen" if COHORT == ROOT / "data_synthetic" else "probabilities"
if START == "frozen":

    rule frozen:
        input:
            there(COHORT / "dl_prob.csv", COHORT / "dl_prob.csv.sha256"),
            sources=repository("src/dlrs_run/stages.py"),
        output:
            "{at}interim/dl_prob.csv",
        params:
            stage="{at}frozen",
            values=parameters(),
        shell:
            run("dlrs_run.stages.frozen")

else:

    rule probabilities:
        input:
            "{at}interim/clinical.csv",
            f"{COHORT}/cohort.yaml",
            there(COHORT / "dl_prob.csv"),
            sources=repository("src/dlrs_site/intake.py", "src/dlrs"),
        output:
            "{at}interim/dl_prob.csv",
        params:
            stage="{at}probabilities",
            values=parameters(),
        shell:
            run("dlrs_site.intake.probabilities")
