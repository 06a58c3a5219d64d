"""The stages of the study that are not notebooks: they make what a notebook starts from, or pass files on."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from dlrs import cohort, published
from dlrs.config import ROOT, InputError, copy_file, display_path, resolve, sha256, write_text
from dlrs.results import collect, load_json, save_csv, save_json, spell_identifier
from dlrs_site import intake

PUBLISHED_FOLDERS = {"tables": "*", "figures": "*.[ps][nv]g", "notebooks": "*.html", "word": "*.docx"}
PUBLISHED_FILES = ("results.json", "deviations.md", "draft.md", "codebook.csv", "*.html")
NOT_PUBLISHED = ("quality_sheet",)  # pictures of single patients, large ones


def trial_cohort(run_dir: str | Path, patients: int) -> None:
    """Write the tables of a few synthetic patients into `cohort/` of a trial run."""
    from dlrs.synthetic.cohort_folder import write_cohort

    write_cohort(resolve(run_dir) / "cohort", patients=patients, images=False)


def images(cohort_dir: str | Path) -> None:
    """Render a synthetic cohort's volumes, those that are not there yet."""
    from joblib import cpu_count

    from dlrs.synthetic import phantoms

    folder = resolve(cohort_dir)
    seed = intake.read_cohort(folder).settings["seed"]
    clinical, truth = (
        pd.read_csv(folder / name, dtype={"patient_id": str}, float_precision="round_trip")
        for name in ("clinical.csv", "truth.csv")
    )
    phantoms.write_images(folder / "images", clinical, truth, seed=seed, jobs=cpu_count())


def textures(
    run_dir: str | Path, cache_dir: str | Path = "cache", device: str = "auto", backbone_seed: int = 1
) -> None:
    """Pre-train a backbone on generated textures, once for all runs, and note which file it is."""
    from dlrs.imaging import textures

    # One thread: on two cores the boxes are cut beside it, and threads that wait for one another would starve.
    path = textures.pretrain_textures(resolve(cache_dir), {"seed": backbone_seed}, device=device, threads=1)
    save_json(
        {"file": path.name, "sha256": sha256(path)}, resolve(run_dir) / "interim" / f"textures-{backbone_seed}.json"
    )


def branches(run_dir: str | Path, names: list[str]) -> None:
    """Give each branch, in which the images' notebooks run again with another choice, the run's patients and class."""
    interim = resolve(run_dir) / "interim"
    for name in names:
        for file in ("patients.csv", "study.json"):
            copy_file(interim / file, interim / "branches" / name / "interim" / file)


def list_boxes_of(base: Path, interim: Path) -> None:
    """Write another run's list of boxes into a folder, which then reads that run's boxes where they lie."""
    boxes = pd.read_csv(base / "boxes.csv", dtype=str)
    boxes["file"] = [os.path.relpath(base / file, interim) for file in boxes["file"]]
    save_csv(boxes, interim / "boxes.csv")


def prepare_repeat(run_dir: str | Path, base_dir: str | Path) -> None:
    """Give a training that is repeated, a folder of its own, the patients and boxes of the first one."""
    interim, base = resolve(run_dir) / "interim", resolve(base_dir) / "interim"
    list_boxes_of(base, interim)
    for file in ("patients.csv", "study.json"):
        copy_file(base / file, interim / file)


def _joined(run_dir: Path, branch: str = "") -> pd.DataFrame:
    folder = run_dir / "interim" / (f"branches/{branch}/interim" if branch else "")
    t2w, adc = (pd.read_csv(folder / f"prob_{name}.csv", dtype={"patient_id": str}) for name in ("T2W", "ADC"))
    return cohort.join_probabilities(cohort.read_patients(run_dir / "interim" / "patients.csv"), t2w, adc)


def join(run_dir: str | Path) -> None:
    """Join the two networks' probabilities into `interim/dl_prob.csv`, from which the statistics start."""
    save_csv(_joined(resolve(run_dir)), resolve(run_dir) / "interim" / "dl_prob.csv")


def alternatives(run_dir: str | Path, names: list[str]) -> None:
    """Join the probabilities of every branch, and the run's own as `default`, into `interim/alternatives.csv`."""
    run_dir = resolve(run_dir)
    every = {"default": "", **{name.replace("_", " "): name for name in names}}
    joined = [cohort.tracks(_joined(run_dir, branch))[""].assign(alternative=name) for name, branch in every.items()]
    save_csv(pd.concat(joined), run_dir / "interim" / "alternatives.csv")


def frozen(run_dir: str | Path, cohort_dir: str | Path) -> None:
    """Take the cohort folder's committed probabilities instead of training; refuse them when they were changed."""
    source = resolve(cohort_dir) / "dl_prob.csv"
    note = source.with_name("dl_prob.csv.sha256")
    remedy = "Restore both files from git, or train with `python3 run.py reproduce` and take that with `accept`."
    for path in (source, note):
        if not path.is_file():
            raise InputError(display_path(path), "the file is missing", expected="a committed file", remedy=remedy)
    if sha256(source) != note.read_text(encoding="utf-8").split()[0]:
        problem = "its content was changed"
        raise InputError(display_path(source), problem, expected=f"the hash in {note.name}", remedy=remedy)
    copy_file(source, resolve(run_dir) / "interim" / "dl_prob.csv")


def nomogram_page(run_dir: str | Path) -> None:
    """Write `nomogram.html`, the model of notebook 05 to use in a browser."""
    from dlrs_run import calculator

    interim = resolve(run_dir) / "interim"
    predictions = pd.read_csv(interim / "predictions.csv", float_precision="round_trip")
    text = calculator.as_page(calculator.page_data(load_json(interim / "nomogram.json"), predictions))
    write_text(resolve(run_dir) / "nomogram.html", text)


def results(run_dir: str | Path) -> None:
    """Join the notebooks' numbers into `results.json` and say which are missing because their inputs changed."""
    entries, missing = collect(run_dir)
    print(f"{len(entries)} numbers, {len(missing)} missing")
    for key in missing:
        print(f"missing, since a file that it was made from has changed: {key}")


def pages(run_dir: str | Path, names: list[str]) -> None:
    """Turn executed notebooks of the run into HTML pages beside them, for readers without Jupyter."""
    from dlrs_run import pages

    folder = resolve(run_dir) / "notebooks"
    for before, name, after in zip(["", *names], names, [*names[1:], ""], strict=False):
        options = dict(title=name, spell=spell_identifier, before=before, after=after)
        write_text(folder / f"{name}.html", pages.notebook_page(folder / f"{name}.ipynb", **options))


PAGES = {
    "report.html": "The report",
    "nomogram.html": "The nomogram, to try",
    "word/draft.docx": "Methods and results as a draft (Word)",
    "draft.md": "Methods and results as a draft (Markdown)",
    "codebook.csv": "Codebook of every table's columns",
    "results.json": "Every number with its key",
}


def index(reports_dir: Path) -> str:
    """Return a page that links what lies in a published folder, so that the folder can be served as it is."""
    from dlrs_run import pages

    def links(folder: str, ending: str) -> dict[str, str]:
        found = sorted((reports_dir / folder).glob(f"*.{ending}"))
        return {path.stem: path.relative_to(reports_dir).as_posix() for path in found}

    def tables(folder: str, word: dict[str, str]) -> list[dict]:
        captions = {name: pages.read_table(reports_dir / href).caption for name, href in links(folder, "html").items()}
        return [
            dict(title=text, href=f"{folder}/{name}.html", word=word.get(name), name=name)
            for name, text in captions.items()
        ]

    named = [dict(title=title, href=name) for name, title in PAGES.items() if (reports_dir / name).is_file()]
    executed = links("notebooks", "html").items()
    notebooks = [dict(title=f"{name}: {_question(name)}".rstrip(": "), href=href) for name, href in executed]
    controls = tables("validity/tables", {})
    titles = {item["name"]: item["title"] for item in controls}
    figures = links("validity/figures", "svg").items()
    pictures = [dict(title=f"Figure: {titles.get(name, name.replace('_', ' '))}", href=href) for name, href in figures]
    parts = {"Pages": named, "Notebooks, executed": notebooks, "Tables": tables("tables", links("word", "docx"))}
    parts |= {"Controls and null simulation": [*controls, *pictures]}
    first = "figures/published_and_rerun.svg"
    return pages.template("index.html").render(
        title="Deep learning radiomic signature: reports",
        figure=first if (reports_dir / first).is_file() else "",
        parts=[dict(title=title, items=items) for title, items in parts.items()],
    )


def _question(stage: str) -> str:
    """Return the question of the notebook that a stage runs, or nothing."""
    from dlrs_run import pages

    path = ROOT / "notebooks" / f"{published.source_of(stage)}.ipynb"
    return pages.question_of(path) if path.is_file() else ""


def publish(run_dir: str | Path, reports_dir: str | Path) -> None:
    """Copy a run's tables, figures, results, pages and notebooks to `reports/`, where git shows what moved."""
    run_dir, reports_dir = resolve(run_dir), resolve(reports_dir)
    found = [path for folder, names in PUBLISHED_FOLDERS.items() for path in sorted((run_dir / folder).glob(names))]
    wanted = [path for path in found if path.stem not in NOT_PUBLISHED]
    wanted += [path for pattern in PUBLISHED_FILES for path in sorted(run_dir.glob(pattern))]
    copies = {reports_dir / path.relative_to(run_dir): path for path in wanted}
    for folder in PUBLISHED_FOLDERS:
        for stale in set((reports_dir / folder).glob("*")) - copies.keys():
            stale.unlink()
    for copy, path in copies.items():
        copy_file(path, copy)
    if (reports_dir / "report.html").is_file():
        write_text(reports_dir / "index.html", index(reports_dir))
    save_json(sorted(display_path(copy) for copy in copies), run_dir / "published.json")
