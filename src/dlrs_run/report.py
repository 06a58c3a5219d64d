"""The report page: the answer, published numbers beside this run's, figures, tables, checklists, in one file."""

from __future__ import annotations

import datetime
import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import yaml

from dlrs import config, published, results
from dlrs.config import resolve, sha256
from dlrs_run import codebook, draft, pages
from dlrs_run.execute import masks_counts

LARGEST_SVG = 600_000  # bytes; a larger figure goes in as PNG with few colours
LARGEST_PAGE = 5_000_000  # bytes, so that it can be mailed
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
TRAINING = {"02_preprocessing", "03_train_T2W", "03_train_ADC", "08_image_robustness"}


class Run(NamedTuple):
    """What the page's parts are made from."""

    folder: Path
    results: dict  # key to entry, of stages whose inputs are still as they were
    provenance: str  # class of the patients
    failed: dict  # stage to message
    ending: str  # of the executed notebooks beside the page
    model_dir: str  # the released model, in a run that applied one

    @classmethod
    def read(cls, run_dir: str | Path, ending: str, model_dir: str) -> Run:
        folder = resolve(run_dir)
        results.set_decimals(masks_counts({"run_dir": run_dir}))
        found, _ = results.gather(folder)
        failed = {path.stem: path.read_text(encoding="utf-8") for path in (folder / "logs").glob("*.failed")}
        return cls(folder, found, published.class_of(found), failed, ending, model_dir)

    @property
    def stages(self) -> set[str]:
        """Return the stages whose results are those of this run."""
        return {entry["notebook"] for entry in self.results.values()}

    @property
    def kinds(self) -> tuple[str, str]:
        """Return the class of the patients, and whether models were fitted to them."""
        return self.provenance, "released" if self.model_dir else "fitted"

    @property
    def executed(self) -> set[str]:
        return {path.stem for path in (self.folder / "notebooks").glob("*.ipynb")}

    def link(self, stage: str, cell: str = "") -> dict[str, str]:
        """Return a link to a stage's executed notebook, and to the cell in it."""
        anchor = f"#cell-id={cell}" if cell and self.ending == "html" else ""
        href = f"notebooks/{stage}.{self.ending}{anchor}" if stage in self.executed else ""
        return dict(text=f"{stage}, {cell}" if cell else stage, href=href)

    def there(self, kind: str, ending: str) -> set[str]:
        return {path.stem for path in (self.folder / kind).glob(f"*.{ending}")}


def stage(
    run_dir: str | Path,
    cohort_dir: str = "data_synthetic",
    validity_dir: str = "reports/validity",
    model_dir: str = "",
    notebook_ending: str = "html",
) -> None:
    """Write `report.html` of a run, one file that needs no network; beside it draft, codebook and tables for Word.

    Parameters
    ----------
    run_dir
        The run's folder: `results/`, `tables/`, `figures/`, `logs/`, `models/` and the executed `notebooks/`.
    cohort_dir
        The cohort folder, for the hash of its table.
    validity_dir
        What the null simulation published, where it was run.
    model_dir
        The released model, in a run that applied one and fitted nothing.
    notebook_ending
        How executed notebooks beside the page end: html, or ipynb where none are converted.

    Raises
    ------
    ValueError
        The page is too large to mail.
    """
    run = Run.read(run_dir, notebook_ending, model_dir)
    text = page(run, cohort_dir=cohort_dir, validity=resolve(validity_dir), downloads=files_beside(run))
    if len(text.encode()) > LARGEST_PAGE:
        raise ValueError(f"report.html must stay below {LARGEST_PAGE} bytes; found {len(text.encode())}")
    config.write_text(run.folder / "report.html", text)
    print(f"report.html: {len(text.encode()) / 1e6:.2f} MB")


def files_beside(run: Run) -> dict[str, bytes]:
    """Write the codebook, the draft, and every table for Word and in LaTeX; return them, but LaTeX, by file name."""
    found = draft.write(run.folder, draft.texts(), run.results, run.kinds)
    for name in sorted(run.there("tables", "html")):
        stamp = results.STAMPS["PUBLISHED" if name.startswith("audit") else run.provenance]
        table = pages.read_table(run.folder / "tables" / f"{name}.html")
        found[f"{name}.docx"] = pages.docx(table, stamp=stamp)
        with config.whole_file(run.folder / "word" / f"{name}.docx") as partial:
            partial.write_bytes(found[f"{name}.docx"])
        config.write_text(run.folder / "latex" / f"{name}.tex", pages.latex(table, stamp=stamp))
    results.save_csv(codebook.of_run(run.folder), run.folder / "codebook.csv")
    return found | {"codebook.csv": (run.folder / "codebook.csv").read_bytes()}


def page(run: Run, *, cohort_dir: str, validity: Path, downloads: Mapping[str, bytes]) -> str:
    """Return the page's HTML; `downloads` are the files that it offers, by name."""
    texts = yaml.safe_load(resolve("paper/report.yaml").read_text(encoding="utf-8"))
    paper = config.published()
    rows = published.beside(run.results, paper, texts, released=bool(run.model_dir))
    people_of = people(run.results)
    figures, tables = figure_items(run, texts, people_of), table_items(run, texts, people_of, downloads)
    checks, scores = checklist_items(run, {item["name"] for item in [*figures, *tables]})
    parts = dict(title=texts["title"], stamp=results.STAMPS[run.provenance], provenance=run.provenance)
    parts |= dict(opening=[texts["opening"], *([texts["released"]] if run.model_dir else [])])
    parts |= dict(sections=texts["sections"], missing=missing_items(run, texts), overview=overview(run, texts))
    parts |= dict(findings=findings(run, paper, rows, validity), counted=counted(rows, texts, run.provenance))
    parts |= dict(offered=[_offer(name, downloads[name]) for name in ("draft.docx", "draft.md", "codebook.csv")])
    parts |= dict(tolerance=tolerance(run, paper, rows), limitations=limitations(run, validity))
    parts |= dict(groups=groups(run, rows, texts), answer=null_answer(validity, texts["null_simulation"]))
    parts |= dict(figures=figures, tables=tables, deviation=deviations(run, texts["deviation"]), audits=audits(run))
    parts |= dict(
        parity=parity(texts["parity"]), checks=checks, scores=scores, session=session(run, cohort_dir), times=times(run)
    )
    parts |= dict(nomogram=(run.folder / "nomogram.html").is_file())
    return pages.template("report.html").render(**parts)


# ---------------------------------------------------------------- the answer, and the numbers


def findings(run: Run, paper: Mapping, rows: pd.DataFrame, validity: Path) -> dict:
    """Return the sentences of the answer, and Table 2 beside the paper's."""
    controls, null = validity / "results.json", validity / "tables" / "validity_answer.csv"
    found = results.load_json(controls) if controls.is_file() else {}
    null = pd.read_csv(null) if null.is_file() else None
    sentences = published.answer(run.results, paper, validity=found, null=null)
    table2 = published.side_by_side(rows, run.results, found)
    return dict(texts=sentences, columns=list(table2), rows=table2.to_numpy().tolist())


def counted(rows: pd.DataFrame, texts: Mapping, provenance: str) -> list[str]:
    """Return how many entries were rerun and how many agree; what the cohort was made with is counted apart."""
    agreement = published.agreement(rows)
    (_, of_cohort), analysed = agreement.loc["set by the cohort"], agreement.drop("set by the cohort")
    names = {"counts": "counts and shares", "P values": "P values", "estimates": "estimates"}
    kinds = ", ".join(f"{r.same} of {r.of} {names[r.Index]}" for r in analysed.itertuples())
    same = rows[rows["same"].eq(True) & ~rows["set_by_cohort"]]
    parts = same["key"].str.split(".").str[0].map(lambda part: texts["groups"][part]["title"]).value_counts(sort=False)
    where = f", in {', '.join(f'{part} ({n})' for part, n in parts.items())}" if len(same) else ""
    return [
        f"{len(rows)} entries of the paper, {agreement['of'].sum()} of them rerun as one number. "
        f"Of {analysed['of'].sum()} that an analysis gives, {analysed['same'].sum()} would be printed the same: "
        f"{kinds}{where}. The estimates are AUC, C-index, NRI, IDI, hazard ratio and cut-off.",
        f"{of_cohort} further numbers (sizes, counts of Table 1 and P values that follow from them) are listed and not "
        f"counted as agreement: {texts['set_by'][provenance]}.",
        "The others are settings, words, or groups of numbers. Numbers of the primary cohort are in-sample and those "
        "of Fig. 4 pool both cohorts, in the paper and here.",
    ]


def tolerance(run: Run, paper: Mapping, rows: pd.DataFrame) -> dict:
    """Return how many numbers agree as what counts as agreement gets wider."""
    table = published.by_tolerance(rows, run.results, paper).rename_axis("Agreement").reset_index()
    heading = {"counts": "Counts and shares", "estimates": "Estimates"}
    return dict(columns=list(table.rename(columns=heading)), rows=table.fillna("").to_numpy().tolist())


def limitations(run: Run, validity: Path) -> list[list[str]]:
    """Return what limits this study, with the run's numbers and, for generated patients, those of the controls."""
    controls = validity / "results.json"
    known = results.load_json(controls) if controls.is_file() and run.provenance == "SYNTHETIC" else {}
    return draft.paragraphs(draft.texts()["limitations"], known | run.results, run.kinds)


def groups(run: Run, rows: pd.DataFrame, texts: Mapping) -> list[dict]:
    """Return the entries by section of the paper, each with links to the cell that made its number."""
    made_by = {}
    for name in run.stages & run.executed:
        keys = [key for key, entry in run.results.items() if entry["notebook"] == name]
        made_by |= pages.cells_of(run.folder / "notebooks" / f"{name}.ipynb", keys)
    found = []
    for name, group in texts["groups"].items():
        part = rows[rows["key"].str.split(".").str[0] == name]
        analysed = part[part["same"].notna() & ~part["set_by_cohort"]]
        text = (
            f"{len(part)} {'entry' if len(part) == 1 else 'entries'}, {part['same'].notna().sum()} rerun as one number"
        )
        if len(analysed):
            text += f"; {int(analysed['same'].sum())} of {len(analysed)} that an analysis gives are the same"
        items = [_row(run, row, made_by, texts["set_by"][run.provenance]) for row in part.to_dict("records")]
        found.append(dict(name=name, title=group["title"], open=group["open"], counted=text, rows=items))
    return found


def _row(run: Run, row: dict, made_by: Mapping[str, str], set_by: str) -> dict:
    verdict = "" if row["same"] is None else "same" if row["same"] else "differs"
    if verdict == "same" and row["set_by_cohort"]:
        verdict, row["why"] = "set", f"the same; not counted: {set_by}"
    links = [run.link(name, made_by.get(row["source"], "")) for name in row["stages"]]
    return row | dict(anchor=f"n-{row['key']}".replace(" ", "_"), verdict=verdict, links=links)


def null_answer(validity: Path, texts: Mapping) -> dict:
    """Return which of the paper's conclusions simulated studies with uninformative images reach, and how often."""
    answer, path = dict(texts=[texts["text"]], grids=[], by_model={}), validity / "tables" / "validity_answer"
    if not path.with_suffix(".csv").is_file():
        return answer | dict(texts=[texts["text"], texts["not_run"]])
    shares, table = pd.read_csv(path.with_suffix(".csv")), pages.read_table(path.with_suffix(".html"))
    by_chance = shares["nominal"].fillna(0.5)
    for model in published.null_models(shares):
        often = (shares[f"{model}_lower"] > by_chance) & (shares[model] >= 2 * by_chance)
        most = shares[model] > 0.5
        kinds = {
            "in most studies": most,
            "at least twice as often as by chance": ~most & often,
            "about as often as by chance, or less": ~most & ~often,
        }
        share = shares["cohort"] + " " + (100 * shares[model]).map("{:.0f}%".format)
        by_kind = {kind: share[rows].groupby(shares["conclusion"], sort=False) for kind, rows in kinds.items()}
        answer["by_model"][published.NULL_MODELS.get(model, model)] = {
            kind: "; ".join(f"{conclusion} ({cohorts})" for conclusion, cohorts in found.agg(", ".join).items())
            for kind, found in by_kind.items()
        }
    grid = dict(title=table.caption, columns=table.columns, rows=table.rows)
    return answer | dict(grids=[grid], texts=[texts["text"], table.notes])


# ---------------------------------------------------------------- figures and tables


def people(found: Mapping[str, Mapping]) -> dict[str, str]:
    """Return over whom a figure or table is: n and events of all patients, of the evaluable, and of each cohort."""

    def counts(cohort: str, key: str) -> str:
        n, events = (found.get(key, {}).get(name) for name in ("n", "value"))
        return f"{cohort} n = {n:.0f} ({events:.0f} with metastasis)" if None not in (n, events) else ""

    cohorts = ("primary", "validation")
    everybody = {name: counts(name, f"table1.distant_metastasis.levels.Yes.{name}") for name in cohorts}
    evaluable = filter(None, (counts(name, f"fig1.events.{name}") for name in cohorts))
    known = "; ".join(evaluable) + f", {early(found)}"
    texts = {"all": "; ".join(filter(None, everybody.values())), "known": known, "none": "Published numbers only"}
    return {name: f"{text[:1].upper()}{text[1:]}." for name, text in (texts | everybody).items()}


def early(found: Mapping[str, Mapping]) -> str:
    """Return notebook 04's horizon in words."""
    months = found.get("fig1.horizon_months", {}).get("value")
    return f"within {months:.0f} months" if months else "by the horizon"


def cutoff(found: Mapping[str, Mapping]) -> str:
    """Return how notebook 04 chose its cut-off, in words."""
    method = found.get("fig2.cutoff_dlrs", {}).get("method", "not chosen in this run")
    return f"{method}, for metastasis {early(found)}" if method.startswith("Youden") else method


def _offer(name: str, content: bytes) -> dict[str, str]:
    kind = {".csv": "text/csv", ".md": "text/markdown", ".docx": WORD}[Path(name).suffix]
    return dict(name=name, uri=pages.data_uri(content, kind))


def _file(path: Path) -> dict[str, str]:
    return _offer(path.name, path.read_bytes())


def _picture(run: Run, name: str) -> dict:
    uri = pages.picture_uri(run.folder / "figures", name, largest_svg=LARGEST_SVG)
    return dict(name=name, uri=uri) | pages.picture_size(run.folder / "figures", name)


def _listed(run: Run, texts: Mapping, kind: str, ending: str) -> dict[str, dict]:
    """Return what there is to show: what is listed and of this run, then what the run holds beyond the list."""
    names = run.there(kind, ending) - set(texts["not_shown"])
    listed = {name: item for name, item in texts[kind].items() if name in names and item["stage"] in run.stages}
    for name in sorted(names - set(texts[kind])):
        listed[name] = dict(title=name.replace("_", " "), people="all", caption="Beyond the paper.")
    return listed


def figure_items(run: Run, texts: Mapping, people_of: Mapping[str, str]) -> list[dict]:
    """Return the figures of this run, each with caption, data and the notebook that drew it."""
    items = []
    for name, item in _listed(run, texts, "figures", "svg").items():
        caption = item["caption"].replace("{early}", early(run.results)).replace("{cutoff}", cutoff(run.results))
        entry = dict(title=item["title"], caption=caption, people=people_of[item["people"]])
        entry["alt"] = f"{item['title']}: {caption} {entry['people']}"
        entry["links"] = [run.link(item["stage"])] if "stage" in item else []
        data = [run.folder / "tables" / f"{part}.csv" for part in item.get("data", [])]
        entry["files"] = [_file(path) for path in data if path.is_file()]  # a validation has no primary cohort
        items.append(entry | _picture(run, name))
    return items


def table_items(run: Run, texts: Mapping, people_of: Mapping[str, str], downloads: Mapping[str, bytes]) -> list[dict]:
    """Return the tables of this run as text, with their CSV (unrounded) and a Word document."""
    items = []
    for name, item in _listed(run, texts, "tables", "html").items():
        table = pages.read_table(run.folder / "tables" / f"{name}.html")
        word = _offer(f"{name}.docx", downloads[f"{name}.docx"])
        entry = dict(table._asdict(), name=f"t-{name}", title=item["title"], people=people_of[item["people"]])
        entry |= dict(open=item.get("open", False), files=[_file(run.folder / "tables" / f"{name}.csv"), word])
        items.append(entry | dict(links=[run.link(item["stage"])] if "stage" in item else []))
    return items


def overview(run: Run, texts: Mapping) -> dict | None:
    """Return the figure of published and rerun estimates, which 10_report draws."""
    if "published_and_rerun" not in run.there("figures", "svg"):
        return None
    n = len(published.estimates(run.results, config.published(), texts["overview"]))
    caption = "Published estimates and those of this run, one row each, with 95% intervals where there are any."
    alt = f"{n} estimates, published and rerun, with intervals; the tables below hold the same numbers."
    return dict(caption=caption, alt=alt) | _picture(run, "published_and_rerun")


# ---------------------------------------------------------------- what is missing


def missing_items(run: Run, texts: Mapping) -> list[dict]:
    """Return what this run lacks and why: figures and tables of stages whose results are not those of this run."""
    lacking: dict[str, list[str]] = {}
    for kind, ending in {"figures": "svg", "tables": "html"}.items():
        for name, item in texts[kind].items():
            if item["stage"] not in run.stages or name not in run.there(kind, ending):
                lacking.setdefault(item["stage"], []).append(item["title"])
    items = [dict(what=", ".join(names), why=why_missing(run, name)) for name, names in sorted(lacking.items())]
    return items + [dict(what=f"stage {name}", why=text) for name, text in run.failed.items() if name not in lacking]


def why_missing(run: Run, name: str) -> str:
    """Return why a stage's results are not those of this run."""
    if name in run.failed:
        return f"the stage {name} failed. {run.failed[name]}"
    if name in run.stages:
        return "nobody in this run belongs to that cohort"
    if run.model_dir:
        return f"a released model was applied here and nothing fitted, so that {name} has no part in it"
    if (run.folder / "results" / f"{name}.json").is_file():
        return f"a file that {name} was made from has changed or gone since; the same command runs it again"
    if name in TRAINING and not (run.folder / "models").is_dir():
        return f"{name} needs images and training; this run starts from probabilities that were computed before"
    if name == "08_image_robustness":
        return f"{name} trains further networks and was not part of this command; plain `reproduce` includes it"
    return f"the stage {name} has not run"


# ---------------------------------------------------------------- deviations, audit, agreement with R


def markdown_tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield headings and rows of each table of a Markdown text."""
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in block.strip().splitlines()]
        yield lines[0], lines[2:]


def deviations(run: Run, texts: Mapping) -> dict:
    """Return the two tables of deviations: what was computed, and what would need another training."""
    path = run.folder / "deviations.md"
    if "06b_deviations" not in run.stages or not path.is_file():
        why = f"Not computed in this run: {why_missing(run, '06b_deviations')}."
        return dict(texts=[texts["text"], why], grids=[])
    found = markdown_tables(path.read_text(encoding="utf-8"))
    grids = [dict(title=t, columns=c, rows=r) for t, (c, r) in zip(texts["grids"], found, strict=False)]
    return dict(texts=[texts["text"]], grids=grids)


def audits(run: Run) -> dict:
    """Return how many published numbers agree with the others, and the rows that do not."""
    if "00_paper_audit" not in run.stages:
        return dict(texts=[f"Not computed in this run: {why_missing(run, '00_paper_audit')}."], grids=[])
    audit = pd.read_csv(run.folder / "tables" / "audit.csv", keep_default_na=False)
    counts = ", ".join(f"{word}: {n}" for word, n in audit["agrees"].value_counts().items())
    text = (
        f"{len(audit)} published numbers and statements were recomputed from what else is published. Do they agree? "
        f"{counts}. A difference may have an innocent cause; each row that differs names one. "
        "The tables above hold all rows."
    )
    columns = {"item": "Item", "published": "Published", "finding": "The other numbers give"}
    columns |= {"innocent": "An innocent cause"}
    differ = audit.loc[audit["agrees"] == "no", list(columns)].astype(str).to_numpy().tolist()
    return dict(texts=[text], grids=[dict(title="Rows that differ", columns=list(columns.values()), rows=differ)])


def parity(titles: Mapping[str, str]) -> dict:
    """Return how many numbers are held to R's, by section, and the largest difference; `titles` name the sections."""
    compared = pd.read_csv(resolve("reports/parity.csv"), keep_default_na=False)
    compared = compared[compared["left_out_because"] == ""]
    rows = []
    for section, part in compared.groupby("section", sort=False):
        differences = part["largest_relative_difference"].replace("exact", "0").str.removeprefix("<").astype(float)
        largest = part.loc[differences.idxmax(), "largest_relative_difference"]
        rows.append([titles.get(section, section), len(part), int(part["numbers"].sum()), largest])
    text = (
        f"{compared['numbers'].sum()} numbers of three data sets are compared with R's, each with R's own call; "
        "PARITY.md in the repository lists them, and what cannot be compared."
    )
    columns = ["Section", "Quantities", "Numbers compared", "Largest relative difference"]
    return dict(columns=columns, rows=rows, texts=[text])


# ---------------------------------------------------------------- checklists


def checklist_items(run: Run, on_page: set[str]) -> tuple[list[dict], list[list]]:
    """Return the checklists, whose evidence becomes a link where this run has it, and a line of counts for each."""
    checks, scores = [], []
    for name, listed in pages.checklists(resolve("paper/checklists")).items():
        items, columns = listed["items"], listed.get("columns", {})
        proven, author = (sum(bool(item.get(kind)) for item in items) for kind in ("evidence", "author"))
        neither = sum(not item.get("evidence") and not item.get("author") for item in items)  # some items have both
        score = _score(items, columns) if name == "metrics" else "none"
        note = f"Score: {score}. Unclear items count as not met in the lower and as met in the upper figure."
        texts = [*([note] if name == "metrics" else []), *listed.get("notes", [])]
        scores.append([listed["title"], len(items), proven, author, neither, score])
        heading = {key: listed[key] for key in ("title", "source", "wording")}
        counts = f"{len(items)} items, {proven} with evidence, {author} for the author"
        entries = [_item(run, item, columns, on_page) for item in items]
        checks.append(
            heading | dict(name=name, texts=texts, counted=counts, columns=list(columns.values()), entries=entries)
        )
    return checks, scores


def _score(items: list[Mapping], columns: Mapping[str, str]) -> str:
    texts = []
    for subject in ("paper", "here"):
        low, high = pages.weighted_score(items, subject)
        reach = f"{low:.1f}%" if low == high else f"{low:.1f} to {high:.1f}%"
        texts.append(f"{columns[subject]}: {reach}")
    return "; ".join(texts)


def _item(run: Run, item: Mapping, columns: Mapping[str, str], on_page: set[str]) -> dict:
    author = "author must supply" if item.get("author") else ""
    note = "; ".join(filter(None, [author, item.get("note", "")]))
    links = [_evidence(run, path, on_page) for path in item.get("evidence", [])]
    found = [
        f"{label} {_number(run.results[key])}" for label, key in item.get("numbers", {}).items() if key in run.results
    ]
    cells = [item[name] for name in columns]
    return dict(n=item["n"], text=item["item"], cells=cells, links=links, note=note, found="; ".join(found))


def _number(entry: Mapping) -> str:
    """Write a number of the run with its interval; one that could not be estimated with its reason."""
    value, ci = entry["value"], entry.get("ci") or [None, None]
    if value is None:
        return f"{results.NOT_ESTIMABLE}: {entry['reason']}"
    return results.format_estimate(value, *ci) if isinstance(value, float) and value != round(value) else f"{value:.0f}"


def _evidence(run: Run, path: str, on_page: set[str]) -> dict[str, str]:
    if path == "paper/draft.yaml":
        return dict(text="Limitations", href="#limitations")
    kind, name = posixpath.split(path)
    anchor = f"t-{name}" if kind == "tables" else name
    if kind in ("tables", "figures"):
        return dict(text=path, href=f"#{anchor}" if anchor in on_page else "")
    wanted = name.removesuffix(".ipynb")
    ran = [name for name in sorted(run.executed) if kind == "notebooks" and published.source_of(name) == wanted]
    return run.link(ran[0]) if ran else dict(text=path, href="")


# ---------------------------------------------------------------- session information


def session(run: Run, cohort_dir: str) -> dict[str, str]:
    """Return what ran, on what, from what."""
    versions = config.session_information("numpy", "scipy", "pandas", "lifelines", "scikit-survival", "matplotlib")
    facts = {"commit": versions.pop("commit")}
    facts["page made at"] = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    facts |= {"machine": versions.pop("machine"), "python": versions.pop("python")}
    facts["packages"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    files = {
        "clinical table, SHA-256": resolve(cohort_dir) / "clinical.csv",
        "patients after reading, SHA-256": run.folder / "interim" / "patients.csv",
        "dl_prob.csv, SHA-256": run.folder / "interim" / "dl_prob.csv",
    }
    facts |= {name: sha256(path) for name, path in files.items() if path.is_file()}
    for path in sorted((run.folder / "models").glob("*/model.json")):
        model = json.loads(path.read_text(encoding="utf-8"))
        weights = [model["weights_sha256"], model["device"], model["precision"], f"torch {model['versions']['torch']}"]
        weights += [f"recipe {model['parameters']['recipe']}", f"seed {model['parameters']['seed']}"]
        facts[f"weights {path.parent.name}, SHA-256"] = ", ".join(weights)
    if run.model_dir:
        facts["released model, SHA-256"] = results.load_json(f"{run.model_dir}/model.json")["sha256"]
    seeds = {entry["seed"] for entry in run.results.values() if "seed" in entry}
    return facts | {"seeds of the numbers": ", ".join(map(str, sorted(seeds))) or "none"}


def times(run: Run) -> dict:
    """Return how long each stage took, from its log."""
    line = r"([\d.]+) s, ([\d.]+) s of processor time, peak memory ([\d.]+) GB"
    rows = []
    for path in sorted((run.folder / "logs").glob("*.log")):
        found = re.findall(line, path.read_text(encoding="utf-8"))
        if found:
            rows.append([path.stem, *found[-1]])
    return dict(columns=["Stage", "Seconds", "Seconds of processor time", "Peak memory, GB"], rows=rows)
