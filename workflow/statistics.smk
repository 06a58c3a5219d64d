# The statistics alone start from the probabilities that were committed with the cohort.


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
