"""What the report page is made of: published numbers beside rerun ones, the cell behind each, tables as files."""

from __future__ import annotations

import ast
import base64
import html
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import yaml

from dlrs.config import ROOT

# An entry with one of these among the parts of its key is an estimate, and an estimate needs an interval.
ESTIMATES = re.compile(r"cindex|t?d?auc(_\d+m)?|nri|idi|hr")
COUNTED = ("cohort", "table1", "audit")  # counts, shares of them, and checks of printed numbers
KINDS = ("counts", "P values", "estimates")


def kind_of(key: str) -> str:
    """Return what an entry is: one of `KINDS`.

    P values are those of models and curves. Those of Table 1 follow from its counts and are called counts with them,
    as are sizes and shares.
    """
    parts = key.split(".")
    if parts[0] not in COUNTED and (parts[-1] == "p" or "logrank_p" in parts):
        return "P values"
    is_estimate = any(map(ESTIMATES.fullmatch, parts)) or parts[-1].startswith("cutoff")
    return "estimates" if is_estimate and parts[0] not in COUNTED else "counts"


def of_this_run(results: Mapping[str, Mapping], key: str) -> tuple[str, Mapping | None]:
    """Return this run's entry, and its key, that is of the same kind as the paper's entry `key`; None without one.

    For the paper's "paired Student t test" of C-indices that is survcomp's one-sided P, not the jackknife's.
    """
    one_sided = f"{key.removesuffix('.p')}.p_survcomp_one_sided"
    return (one_sided, results[one_sided]) if one_sided in results else (key, results.get(key))


def published_entries(tree: Mapping, path: str = "", where: str = "") -> Iterator[tuple[str, dict]]:
    """Yield every entry of paper_results.yaml under its dotted key, spelt as in `results.json`.

    A mapping with a `value` is one entry with its `ci` and `p`; an `hr` takes the `ci` beside it; two values under
    `levels` are `.primary` and `.validation`; two under a name that starts with `dm_within` are value and `n`; another
    list, or words, become text. `where` is the table, figure or section it is printed in.
    """
    where = tree.get("where", where)
    for name, value in tree.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, Mapping) and "value" in value:
            yield here, {**value, "where": where}
        elif isinstance(value, Mapping):
            yield from published_entries(value, here, where)
        elif path.endswith(".levels"):
            for cohort, count in zip(("primary", "validation"), value, strict=True):
                yield f"{here}.{cohort}", {"value": count, "where": where}
        elif isinstance(value, list) and name.startswith("dm_within"):
            yield here, {"value": value[0], "n": value[1], "where": where}
        elif isinstance(value, list) and name != "ci":
            for place, part in enumerate(value if path == "" else [", ".join(map(str, value))]):
                yield f"{here}.{place}" if path == "" else here, {"value": part, "where": where}
        elif name not in ("ci", "where"):
            yield here, {"value": value, "where": where} | ({"ci": tree["ci"]} if name == "hr" else {})


def as_printed(value, least: int = 0) -> tuple[str, float]:
    """Return a published value as it is printed, with at least so many decimals, and half a unit of its last digit."""
    if isinstance(value, (str, int)):
        return str(value), 0.0
    decimals = max(least, len(str(value).partition(".")[2]))
    return f"{value:.{decimals}f}", 0.5 * 10.0**-decimals


def agrees(published, rerun: float, least: int = 0) -> bool:
    """Return whether a rerun number would be printed as the published one; `"<0.001"` is met by what lies below it."""
    if isinstance(published, str):
        return rerun < float(published.removeprefix("<"))
    return abs(rerun - published) <= as_printed(published, least)[1] + 1e-9


def incomplete_entries(results: Mapping[str, Mapping], notebooks: Iterable[str], classes: Iterable[str]) -> list[str]:
    """Return what is wrong with entries of `results.json`; an entry that is merely absent is not wrong.

    Every entry needs a known class and a source: a notebook that exists (03_train_T2W is a run of
    03_train_sequence). An interval is needed by estimates: entries with a value one part of whose key is `cindex`,
    `auc`, `tdauc_36m` or the like, `nri`, `idi` or `hr`. Counts, shares of counts, P values, parts of an NRI or IDI,
    settings and the audit's checks of printed numbers do not need one.
    """
    notebooks, classes = set(notebooks), set(classes)
    wrong = []
    for key, entry in results.items():
        parts = key.split(".")
        if entry.get("class") not in classes:
            wrong.append(f"{key}: no known class, found {entry.get('class')!r}")
        if source_of(entry.get("notebook", "")) not in notebooks:
            wrong.append(f"{key}: no source, found {entry.get('notebook')!r}")
        estimate = parts[0] not in COUNTED and parts[-1] != "p" and any(map(ESTIMATES.fullmatch, parts))
        if estimate and entry.get("value") is not None and None in (entry.get("ci") or [None]):
            wrong.append(f"{key}: an estimate without an interval")
    return wrong


def source_of(stage: str) -> str:
    """Return the notebook that a stage runs: 03_train_T2W is one of the runs of 03_train_sequence."""
    return re.sub(r"^03_train_.*", "03_train_sequence", stage)


def _spellings(code: str) -> Iterator[tuple[re.Pattern, int]]:
    """Yield what may be a key in a cell, f-strings with anything for their variables, and how much of it is spelt."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts = [node.value]
        else:
            continue
        spelt = "".join(part for part in parts if part)
        if "." in spelt and len(spelt) < 200:
            yield re.compile("".join(".+" if part is None else re.escape(part) for part in parts)), len(spelt)


def cells_of(notebook: str | Path, keys: Iterable[str]) -> dict[str, str]:
    """Return for each key the id of the notebook's cell that spells it most fully, or of the one that saves results."""
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    code = {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"}
    saving = next((name for name, text in code.items() if "save_results(" in text), "")
    spelt = [(length, name, pattern) for name, text in code.items() for pattern, length in _spellings(text)]
    found = {}
    for key in keys:
        fits = [(length, name) for length, name, pattern in spelt if pattern.fullmatch(key)]
        found[key] = max(fits, key=lambda fit: fit[0])[1] if fits else saving
    return found


def _without_progress(output: dict) -> bool:
    """Take the lines of progress bars out of an output; say whether anything is left of it."""
    if output.get("output_type") != "stream":
        return True
    text = "".join(output["text"])
    lines = [part for line in text.splitlines(keepends=True) for part in re.split(r"\r(?!\n)", line)]
    output["text"] = "".join(line for line in lines if not re.search(r"\d+%\|", line))
    return bool(output["text"].strip()) or output["name"] == "stdout"


def _readable(table: str, spell: Callable[[str], str]) -> str:
    """Spell the headings of a data frame's HTML that are identifiers, and leave empty what it calls NaN or None."""

    def heading(found: re.Match) -> str:
        return found[1] + html.escape(spell(html.unescape(found[2])), quote=False) + found[3]

    table = re.sub(r"(<th[^>]*>)([^<]+)(</th>)", heading, table)
    return re.sub(r"(<td[^>]*>)\s*(?:NaN|nan|None|NaT|&lt;NA&gt;)\s*(</td>)", r"\1\2", table)


def notebook_page(path: str | Path, *, title: str, spell: Callable[[str], str] = str) -> str:
    """Return an executed notebook as one light HTML page: no script, no request, pictures with few colours.

    Cells keep their ids as anchors (`#cell-id=cell-12`); the repository's own path and progress bars, which are in
    the logs, are taken out. `spell` says how a heading of a table is written.
    """
    import nbformat
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if _without_progress(output)]
        for output in cell.get("outputs", []):
            shown = output.get("data", {})
            if "text/html" in shown:
                shown["text/html"] = _readable("".join(shown["text/html"]), spell)
            picture = output.get("data", {}).get("image/png")
            if picture:
                output["data"]["image/png"] = base64.b64encode(few_colours(base64.b64decode(picture))).decode()
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    body = body.replace(f"{ROOT}/", "").replace('alt="No description has been provided for this image"', 'alt=""')
    light, dark = (HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("default", "github-dark"))
    return template("notebook.html").render(title=title, body=body, light=light, dark=dark)


class Table(NamedTuple):
    """A formatted table as `results.Record.table` wrote it."""

    caption: str
    notes: str
    columns: list[str]
    rows: list[list[str]]


def read_table(path: str | Path) -> Table:
    """Read a table's HTML page back as plain text."""
    page = Path(path).read_text(encoding="utf-8")
    table = ElementTree.fromstring(re.search(r"<table.*?</table>", page, re.DOTALL)[0])
    rows = [["".join(cell.itertext()).strip() for cell in row] for row in table.iter("tr")]
    notes = re.search(r'<p class="notes">(.*?)</p>', page, re.DOTALL)
    return Table(table.findtext("caption", ""), html.unescape(notes[1]) if notes else "", rows[0], rows[1:])


def docx(table: Table, *, stamp: str) -> bytes:
    """Return a table as a Word document: caption, header row repeated on every page, notes and class below."""
    import docx as word

    document = word.Document()
    for related in [*document.part.rels.values()]:  # themes, thumbnails and the like weigh more than the table
        if not related.reltype.endswith(("/styles", "/settings")):
            document.part.drop_rel(related.rId)
    document.add_paragraph(table.caption, style="Caption")
    grid = document.add_table(rows=0, cols=len(table.columns), style="Table Grid")
    for texts in [table.columns, *table.rows]:
        for cell, text in zip(grid.add_row()._tr.tc_lst, texts, strict=True):
            cell.p_lst[0].add_r().text = text
    properties = grid.rows[0]._tr.get_or_add_trPr()
    properties.append(word.oxml.OxmlElement("w:tblHeader"))
    for text in filter(None, [table.notes, stamp]):
        document.add_paragraph(text)
    saved, content = io.BytesIO(), io.BytesIO()
    document.save(saved)
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():  # without today's date, so that the same table gives the same bytes
            new.writestr(zipfile.ZipInfo(name), old.read(name), zipfile.ZIP_DEFLATED)
    return content.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """Return content as an address that holds it: `data:text/csv;base64,...`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def few_colours(png: bytes, *, widest: int = 1600, colours: int = 48) -> bytes:
    """Return a picture at most `widest` pixels wide, as PNG with a palette: about a third of the bytes."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > widest:
        picture = picture.resize((widest, round(picture.height * widest / picture.width)), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.quantize(colours, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return min(content.getvalue(), png, key=len)


def picture_uri(folder: str | Path, name: str, *, largest_svg: int) -> str:
    """Return a figure for an `<img>`: its SVG, or its PNG with few colours when the SVG has more bytes than allowed.

    The SVG is written out, not base64: a third smaller, and git can compress it.
    """
    svg = Path(folder) / f"{name}.svg"
    if svg.stat().st_size > largest_svg:
        return data_uri(few_colours(svg.with_suffix(".png").read_bytes(), colours=128), "image/png")
    text = svg.read_text(encoding="utf-8")
    text = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for sign, code in {"%": "%25", "#": "%23", '"': "%22" if "'" in text else "'", "<": "%3C", ">": "%3E"}.items():
        text = text.replace(sign, code)
    return "data:image/svg+xml," + re.sub(r"\s+", " ", text).strip().replace("&", "%26")


def picture_size(folder: str | Path, name: str) -> dict[str, int]:
    """Return a figure's `width` and `height` in CSS pixels, so that a page keeps its place before it is drawn."""
    head = (Path(folder) / f"{name}.svg").read_text(encoding="utf-8")
    points = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head).groups()
    return {side: round(float(length) * 4 / 3) for side, length in zip(("width", "height"), points, strict=True)}


def checklists(folder: str | Path) -> dict[str, dict]:
    """Return the checklists of a folder, by file name without ending, in the order of their `place`."""
    read = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).glob("*.yaml"))}
    return dict(sorted(read.items(), key=lambda item: item[1]["place"]))


def weighted_score(items: Iterable[Mapping], who: str) -> tuple[float, float]:
    """Return a score in percent, with items that are `unclear` counted as not met and as met.

    Score = sum of the weights of items answered `yes` / sum of the weights of all items that apply (METRICS,
    Kocak et al. 2024). An item answered `n/a` does not apply: its condition is not met.
    """
    weights = {"yes": 0.0, "no": 0.0, "unclear": 0.0, "n/a": 0.0}
    for item in items:
        weights[item[who]] += item["weight"]
    apply = weights["yes"] + weights["no"] + weights["unclear"]
    return 100 * weights["yes"] / apply, 100 * (weights["yes"] + weights["unclear"]) / apply


def template(name: str):
    """Return a page's template; what is put into it is escaped unless it is marked as safe there."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    options = dict(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    return jinja2.Environment(loader=loader, **options).get_template(name)
