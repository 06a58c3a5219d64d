"""What pages are made of: the cell behind a number, executed notebooks, tables and figures as files, checklists."""

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

from dlrs import templates
from dlrs.config import ROOT, made_by


def _spellings(code: str) -> Iterator[tuple[re.Pattern, int]]:
    """Yield what may be a key in a cell, with anything for variables and `{columns}`, and how much of it is spelt."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        parts = re.split(r"\{\w*\}", text)
        spelt = "".join(parts)
        if "." in spelt and len(spelt) < 200:
            yield re.compile(".+".join(map(re.escape, parts))), len(spelt)


def cells_of(notebook: str | Path, keys: Iterable[str]) -> dict[str, str]:
    """Return for each key the id of the cell that spells it most fully, or of the one that ends the record."""
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    code = {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"}
    saving = next((name for name, text in code.items() if re.search(r"save_results\(|record\.finish\(", text)), "")
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
    table = re.sub(r"<th[^>]*></th>", "<td></td>", table)  # the corner of a frame's headings names nothing
    table = re.sub(r"(<td[^>]*>)\s*(?:NaN|nan|None|NaT|&lt;NA&gt;)\s*(</td>)", r"\1\2", table)
    return re.sub(r"(?<=<td>)-(?=\d)", "−", table)  # a whole number, which pandas writes by itself


def question_of(notebook: str | Path) -> str:
    """Return the question on a notebook's card, or nothing where it has none."""
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    card = "".join(cells[0]["source"]) if cells else ""
    question = re.search(r"\*\*Question\.\*\*(.*?)(?:\n\n|$)", card, flags=re.DOTALL)
    return " ".join(question[1].split()) if question else ""


CODE = re.compile(
    r'<div class="input">\n<div class="prompt.*?</div>\n(<div class="inner_cell">.*?</pre></div>'
    r"\n</div>\n</div>)\n</div>",
    re.DOTALL,
)
HEADING = re.compile(r'<h([23]) id="([^"]+)">(.*?)<a class="anchor-link"', re.DOTALL)


def notebook_page(
    path: str | Path, *, title: str, spell: Callable[[str], str] = str, before: str = "", after: str = ""
) -> str:
    """Return an executed notebook as one light HTML page: no script, no request, pictures with few colours.

    Cells keep their ids as anchors (`#cell-id=cell-12`); the repository's own path and progress bars, which are in
    the logs, are taken out. Code folds. `spell` says how a heading of a table is written; `before` and `after` are the
    notebooks whose pages are linked as the previous and the next one.
    """
    import nbformat
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if _without_progress(output)]
        for output in cell.get("outputs", []):
            formats = output.get("data", {})
            if "text/html" in formats:
                formats["text/html"] = _readable("".join(formats["text/html"]), spell)
            picture = output.get("data", {}).get("image/png")
            if picture:
                output["data"]["image/png"] = base64.b64encode(few_colours(base64.b64decode(picture))).decode()
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    body = body.replace(f"{ROOT}/", "").replace('alt="No description has been provided for this image"', 'alt=""')
    body = body.replace(
        '<div class="output_html', '<div tabindex="0" role="group" aria-label="Output" class="output_html'
    )
    body = CODE.sub(r'<details class="input" open><summary>Code</summary>\1</details>', body)
    contents = [
        dict(level=level, href=f"#{html.unescape(name)}", text=text) for level, name, text in HEADING.findall(body)
    ]
    light, dark = (HtmlFormatter(style=name).get_style_defs(".highlight") for name in ("default", "github-dark"))
    return template("notebook.html").render(
        title=f"{title}: {question}" if (question := question_of(path)) else title,
        **dict(body=body, light=light, dark=dark, contents=contents, before=before, after=after),
    )


class Table(NamedTuple):
    """A formatted table as `results.Record.table` wrote it."""

    caption: str
    notes: str
    columns: list[str]
    rows: list[list[str]]
    sections: tuple[int, ...] = ()  # places of the rows that head the ones below


def read_table(path: str | Path) -> Table:
    """Read a table's HTML page back as plain text."""
    page = Path(path).read_text(encoding="utf-8")
    table = ElementTree.fromstring(re.search(r"<table.*?</table>", page, re.DOTALL)[0])
    rows = [["".join(cell.itertext()).strip() for cell in row] for row in table.iter("tr")]
    sections = tuple(place for place, row in enumerate(table.iter("tr"), -1) if row.get("class") == "section")
    notes = re.search(r'<p class="notes">(.*?)</p>', page, re.DOTALL)
    return Table(table.findtext("caption", ""), html.unescape(notes[1]) if notes else "", rows[0], rows[1:], sections)


def docx(table: Table, *, stamp: str) -> bytes:
    """Return a table as a Word document: caption, header row repeated on every page, headings bold, notes and class."""
    import docx as word

    document = _document()
    document.add_paragraph(table.caption, style="Caption")
    grid = document.add_table(rows=0, cols=len(table.columns), style="Table Grid")
    for place, texts in enumerate([table.columns, *table.rows], -1):
        for cell, text in zip(grid.add_row()._tr.tc_lst, texts, strict=True):
            run = cell.p_lst[0].add_r()
            run.text = text
            if place == -1 or place in table.sections:
                run.get_or_add_rPr().append(word.oxml.OxmlElement("w:b"))
    properties = grid.rows[0]._tr.get_or_add_trPr()
    properties.append(word.oxml.OxmlElement("w:tblHeader"))
    for text in filter(None, [table.notes, stamp]):
        document.add_paragraph(text)
    return _saved(document)


def latex(table: Table, *, stamp: str) -> str:
    """Return a table in LaTeX with booktabs' rules: caption above, a section's row in bold, notes and class below."""
    width = len(table.columns)

    def line(row, heads=False):
        if heads and width > 1 and not any(row[1:]):
            return rf"\multicolumn{{{width}}}{{l}}{{\textbf{{{_latex(row[0])}}}}} \\"
        return " & ".join(rf"\textbf{{{cell}}}" if heads and cell else cell for cell in map(_latex, row)) + r" \\"

    below = [rf"\par\smallskip\footnotesize {_latex(text)}" for text in filter(None, [table.notes, stamp])]
    begin = [r"% \usepackage{booktabs, textcomp}", r"\begin{table}", rf"\caption{{{_latex(table.caption)}}}"]
    begin += [rf"\begin{{tabular}}{{{'l' * width}}}", r"\toprule", line(table.columns), r"\midrule"]
    end = [r"\bottomrule", r"\end{tabular}", *below, r"\end{table}", ""]
    body = [line(row, place in table.sections) for place, row in enumerate(table.rows)]
    return "\n".join([*begin, *body, *end])


def _latex(text: str) -> str:
    """Return text as LaTeX prints it."""
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\n": " "}
    signs |= {sign: "\\" + sign for sign in "&%$#_{}"} | {"<": "$<$", ">": "$>$", "×": r"$\times$", "−": "$-$"}
    signs |= {"≤": r"$\le$", "≥": r"$\ge$", "±": r"$\pm$", "–": "--", "[": "{[}", "]": "{]}"}
    return "".join(signs.get(sign, sign) for sign in text)


def docx_text(parts: Mapping[str, Iterable[str]], *, stamp: str) -> bytes:
    """Return paragraphs under their headings as a Word document, the class of their numbers above."""
    document = _document()
    document.add_paragraph(stamp)
    for heading, paragraphs in parts.items():
        document.add_heading(heading, level=1)
        for text in paragraphs:
            document.add_paragraph(text)
    return _saved(document)


def _document():
    """Return an empty Word document without themes, thumbnails and the like, which weigh more than a table."""
    import docx as word

    document = word.Document()
    for related in [*document.part.rels.values()]:
        if not related.reltype.endswith(("/styles", "/settings")):
            document.part.drop_rel(related.rId)
    return document


def _saved(document) -> bytes:
    """Return a Word document without today's date, so that the same content gives the same bytes."""
    saved, content = io.BytesIO(), io.BytesIO()
    document.save(saved)
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), old.read(name), zipfile.ZIP_DEFLATED)
    return content.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """Return content as an address that holds it: `data:text/csv;base64,...`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def few_colours(png: bytes, *, colours: int = 48) -> bytes:
    """Return a picture at most 1,600 pixels wide, as PNG with a palette: about a third of the bytes."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.width > 1600:
        picture = picture.resize((1600, round(picture.height * 1600 / picture.width)), Image.Resampling.LANCZOS)
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


def weighted_score(items: Iterable[Mapping], subject: str) -> tuple[float, float]:
    """Return a score in percent, with items that are `unclear` counted as not met and as met.

    Score = sum of the weights of items answered `yes` / sum of the weights of all items that apply (METRICS,
    Kocak et al. 2024). An item answered `n/a` does not apply: its condition is not met.
    """
    weights = {"yes": 0.0, "no": 0.0, "unclear": 0.0, "n/a": 0.0}
    for item in items:
        weights[item[subject]] += item["weight"]
    apply = weights["yes"] + weights["no"] + weights["unclear"]
    return 100 * weights["yes"] / apply, 100 * (weights["yes"] + weights["unclear"]) / apply


def template(name: str):
    """Return a page's template; what is put into it is escaped unless it is marked as safe there."""
    return templates.template(Path(__file__).parent / "templates" / name, trim_blocks=True)


# ---------------------------------------------------------------- the notebooks' list

START = """# Notebooks

Each answers one question; open one and choose *Run*, *Run All Cells*. An empty `run_dir` is the newest finished run; a
missing run is named with the command that makes it. What a notebook run by hand changed is marked in the run's report
until the rest is run again. `python3 run.py clean` takes the outputs out.

| notebook | question | made by `python3 run.py` |
|---|---|---|
"""


def start_page() -> str:
    """Return notebooks/README.md, on which JupyterLab opens: each notebook with its question and its command."""
    text = START
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text += f"| [{path.stem}]({path.name}) | {question_of(path)} | `{made_by(path.stem)}` |\n"
    return text


if __name__ == "__main__":
    print(start_page(), end="")
