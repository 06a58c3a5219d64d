# The study: from patients and their probabilities to every number, table and figure of the main paper.

# Folder -> rule -> the choices in which it differs from the study: filled by the parts that repeat some of its rules.
CHANGED = {}


def changed(rule, notebook, **given):
    """The parameters of a rule in each folder that it works in."""
    return lambda wildcards: parameters(notebook, **given | CHANGED.get(wildcards.at, {}).get(rule, {}))


# The other choices' probabilities: this run's, or those that were committed with the cohort.
TRIED = [str(path) for path in [COHORT / "alternatives.csv"] if path.is_file()]
if PART == "alternatives" or Path("interim/alternatives.csv").is_file():
    TRIED = ["interim/alternatives.csv"]
PANELS = {"primary": "bdf", "validation": "ceg"}


rule audit:
    input:
        sources=repository("notebooks/00_paper_audit.ipynb", *STATISTICS),
        printed=repository("paper/paper_results.yaml", "paper/printed_percentages.yaml"),
    output:
        table("audit", "audit_table1_p"),
        figure("audit"),
        "{at}results/00_paper_audit.json",
    log:
        "{at}notebooks/00_paper_audit.ipynb",
    params:
        stage="{at}00_paper_audit",
        values=parameters("00_paper_audit"),
    shell:
        run("00_paper_audit")


# A hospital's own names, codes and units are turned into the study's here; notebooks see only that table.
rule intake:
    input:
        f"{COHORT}/cohort.yaml",
        FOLDER.tables,
        sources=repository("src/dlrs_site/intake.py", "src/dlrs"),
    output:
        "{at}interim/clinical.csv",
        "{at}interim/study.json",
    wildcard_constraints:
        at=THE_RUN,
    params:
        stage="{at}intake",
        values=parameters(**ONLY),
    shell:
        run("dlrs_site.intake.stage")


rule cohort:
    input:
        "{at}interim/clinical.csv",
        "{at}interim/study.json",
        [f"{COHORT}/images/manifest.json"] if FOLDER.synthetic and PART != "statistics" else [],
        sources=repository("notebooks/01_cohort.ipynb", *STATISTICS, "src/dlrs/imaging/volumes.py"),
    output:
        "{at}interim/patients.csv",
        table("table1", "tableS1", "missing_values"),
        figure("figS1"),
        "{at}results/01_cohort.json",
    log:
        "{at}notebooks/01_cohort.ipynb",
    wildcard_constraints:
        at=THE_RUN,
    params:
        stage="{at}01_cohort",
        values=parameters("01_cohort"),
    shell:
        run("01_cohort")


rule signature:
    input:
        "{at}interim/study.json",
        "{at}interim/patients.csv",
        "{at}interim/dl_prob.csv",
        sources=repository("notebooks/04_signature.ipynb", *STATISTICS),
    output:
        "{at}interim/signature.json",
        "{at}interim/signature.csv",
        table("tableS2", "centres", "figS6_correlation"),
        figure("fig1", "fig2", "figS3", "figS5", "figS6_correlation"),
        "{at}results/04_signature.json",
    log:
        "{at}notebooks/04_signature.ipynb",
    params:
        stage="{at}04_signature",
        values=parameters("04_signature"),
    shell:
        run("04_signature")


rule nomogram:
    input:
        "{at}interim/study.json",
        "{at}interim/patients.csv",
        "{at}interim/dl_prob.csv",
        "{at}interim/signature.csv",
        "{at}interim/signature.json",
        sources=repository("notebooks/05_nomogram.ipynb", *STATISTICS),
    output:
        "{at}interim/predictions.csv",
        "{at}interim/nomogram.json",
        table("cox", "equation", "tableS3", "nomogram_points", "nomogram_total"),
        figure("fig3a", "stability"),
        "{at}results/05_nomogram.json",
    log:
        "{at}notebooks/05_nomogram.ipynb",
    params:
        stage="{at}05_nomogram",
        values=parameters("05_nomogram"),
    shell:
        run("05_nomogram")


rule nomogram_page:
    input:
        "{at}interim/nomogram.json",
        "{at}interim/predictions.csv",
        sources=repository(
            "src/dlrs_run/stages.py", "src/dlrs_run/calculator.py", "src/dlrs_run/templates/nomogram.html", "src/dlrs"
        ),
    output:
        "{at}nomogram.html",
    params:
        stage="{at}nomogram_page",
        values=parameters(),
    shell:
        run("dlrs_run.stages.nomogram_page")


rule evaluation:
    input:
        "{at}interim/study.json",
        "{at}interim/patients.csv",
        "{at}interim/dl_prob.csv",
        "{at}interim/predictions.csv",
        "{at}interim/nomogram.json",
        sources=repository("notebooks/06_evaluation.ipynb", *STATISTICS),
        # Table 2 prints the range over training seeds that the controls published
        controls=lambda wildcards: [] if wildcards.at else sorted(map(str, ROOT.glob("reports/validity/results.json"))),
    output:
        table(
            "table2",
            "cindex_comparison",
            "calibration",
            "decision_difference",
            "performance_by_group",
            "validation_size",
        ),
        figure("fig3", "calibration", "decision_difference"),
        [
            f"{{at}}tables/{name}_{cohort}.csv"
            for name in ("decision_curves", "roc_components_impact")
            for cohort in FOLDER.cohorts
        ],
        figure(*(f"fig3{panel}" for cohort in FOLDER.cohorts for panel in PANELS[cohort])),
        "{at}results/06_evaluation.json",
    log:
        "{at}notebooks/06_evaluation.ipynb",
    params:
        stage="{at}06_evaluation",
        values=parameters("06_evaluation"),
    shell:
        run("06_evaluation")


rule deviations:
    input:
        "{at}interim/study.json",
        "{at}interim/patients.csv",
        "{at}interim/dl_prob.csv",
        "{at}interim/predictions.csv",
        "{at}interim/signature.json",
        "{at}interim/nomogram.json",
        TRIED,
        sources=repository("notebooks/06b_deviations.ipynb", *STATISTICS),
    output:
        table("deviations"),
        "{at}deviations.md",
        "{at}results/06b_deviations.json",
    log:
        "{at}notebooks/06b_deviations.ipynb",
    params:
        stage="{at}06b_deviations",
        values=parameters("06b_deviations", **{"alternatives": display_path(RUN / name) for name in TRIED}),
    shell:
        run("06b_deviations")


rule subgroups:
    input:
        "{at}interim/study.json",
        "{at}interim/patients.csv",
        "{at}interim/predictions.csv",
        "{at}interim/nomogram.json",
        sources=repository("notebooks/07_subgroups.ipynb", *STATISTICS),
    output:
        table("fig4_counts", "figS4_strata"),
        figure("fig4", "figS4", "figS4_forest"),
        "{at}results/07_subgroups.json",
    log:
        "{at}notebooks/07_subgroups.ipynb",
    params:
        stage="{at}07_subgroups",
        values=parameters("07_subgroups"),
    shell:
        run("07_subgroups")
