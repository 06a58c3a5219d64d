# The last stages. They depend on MADE, the files that the part makes: its numbers joined, pages, a look for names of
# patients in what is to be shown, and what is published.
OUTCOMES = [name for name in MADE if name.startswith(("results/", "tables/", "figures/"))]
NUMBERS = [name for name in OUTCOMES if name.startswith("results/")]
JOINED = ["results.json", "results_missing.json"] if NUMBERS else []  # seeds have theirs
WITH_REPORT = PART not in ("validity", "seeds")
READ = [Path(name).stem for name in NUMBERS] + ["10_report"] * WITH_REPORT  # notebooks, as executed
PAGES = [name for name in MADE if name.endswith(".html")]
CONVERTED = [f"notebooks/{name}.html" for name in READ if PART != "statistics"]  # those are to take seconds
SHOWN = [*OUTCOMES, *JOINED, *PAGES, *["report.html"] * WITH_REPORT, *CONVERTED]
LAST = [*JOINED, *["report.html"] * WITH_REPORT, *CONVERTED]
LAST += ["interim/privacy.json"] * FOLDER.private + ["published.json"] * bool(config.get("publish"))
RELEASED = {"model_dir": display_path(MODEL)} if PART == "validate" else {}
COMPARED = parameters("10_report", **RELEASED)
REPORT = parameters(notebook_ending="ipynb" if PART == "statistics" else "html", **RELEASED)


rule results:
    input:
        lambda wildcards: (
            expand("{at}results/{name}.json", at=wildcards.at, name=REFITTED) if wildcards.at else NUMBERS
        ),
        sources=repository("src/dlrs_run/stages.py", "src/dlrs"),
    output:
        "{at}results.json",
        "{at}results_missing.json",
    params:
        stage="{at}results",
        values=parameters(),
    shell:
        run("dlrs_run.stages.results")


rule comparison:
    input:
        OUTCOMES,
        JOINED,
        sources=repository("notebooks/10_report.ipynb", "src/dlrs"),
        beside=repository("paper/paper_results.yaml", "paper/report.yaml"),
        validity=sorted(
            str(path)
            for name in ("tables/validity_answer.*", "results.json")
            for path in ROOT.glob(f"reports/validity/{name}")
        ),
    output:
        figure("published_and_rerun"),
        "{at}results/10_report.json",
    log:
        "{at}notebooks/10_report.ipynb",
    wildcard_constraints:
        at=THE_RUN,
    params:
        stage="10_report",
        values=COMPARED,
    shell:
        run("10_report")


rule report:
    input:
        OUTCOMES,
        JOINED,
        PAGES,
        made("comparison"),
        sources=repository(
            "src/dlrs_run/report.py",
            "src/dlrs_run/pages.py",
            "src/dlrs_run/draft.py",
            "src/dlrs_run/codebook.py",
            "src/dlrs",
        ),
        beside=repository("paper", "reports/parity.csv"),
        template=repository("src/dlrs_run/templates/report.html"),
    output:
        "report.html",
        "draft.md",
        "codebook.csv",
        "word/draft.docx",
    params:
        stage="report",
        values=REPORT,
    shell:
        run("dlrs_run.report.stage")


rule pages:
    input:
        OUTCOMES,
        PAGES,
        ["report.html"] if WITH_REPORT else [],
        sources=repository("src/dlrs_run/stages.py", "src/dlrs_run/pages.py", "src/dlrs_run/templates/notebook.html"),
    output:
        CONVERTED,
    params:
        stage="pages",
        values=parameters(names=READ),
    shell:
        run("dlrs_run.stages.pages")


rule private:
    input:
        SHOWN,
        sources=repository("src/dlrs_site/privacy.py"),
    output:
        "interim/privacy.json",
    params:
        stage="private",
        values=parameters(),
    shell:
        run("dlrs_site.privacy.stage")


rule publish:
    input:
        SHOWN,
        sources=repository("src/dlrs_run/stages.py"),
    output:
        "published.json",
    params:
        stage="publish",
        values=parameters(reports_dir=display_path(ROOT / "reports" / ("validity" if PART == "validity" else ""))),
    shell:
        run("dlrs_run.stages.publish")


# A run that stops half-way says on its page what is missing and why.
onerror:
    last = {"10_report": (f"{NOTEBOOKS}/10_report.ipynb", COMPARED), "report": ("dlrs_run.report.stage", REPORT)}
    if WITH_REPORT and any(path.stem not in last for path in Path("logs").glob("*.failed")):
        for name, (what, values) in last.items():
            command = [PYTHON, "-m", "dlrs_run.execute", what, "--name", name]
            subprocess.run([*command, "--run", RUN_DIR, "--parameters", values])
