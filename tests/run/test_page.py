"""The report page: every published number beside its rerun, nothing of another run, nothing that asks the network."""

import base64
import html
import io
import json
import re
import shutil
import subprocess
import zipfile
from urllib.parse import unquote
from xml.etree import ElementTree

import nbformat
import pandas as pd
import pytest
from PIL import Image

import accessibility
from dlrs import config, published, results
from dlrs import results as results_module
from dlrs.config import ROOT, sha256
from dlrs_run import pages
from dlrs_run import report as report_page
from notebook_cells import run_cells

SCRIPT = "<script>alert('centre')</script>"
LISTED = pages.checklists(ROOT / "paper" / "checklists")


# ---------------------------------------------------------------- the cell behind a number


def test_the_cell_that_spells_a_key_most_fully_made_it(tmp_path):
    sources = [
        "record = start()",
        'for name in names:\n    entries[f"table2.cindex.{name}.primary"] = 1\n    entries[f"table2.{name}"] = 2',
        'record.number("table2.n", 3)',
        'record.numbers(frame, "fig4.{group}.n", value="n")\nrecord.numbers(frame, f"fig4.{{group}}.{x}", value="p")',
        "record.finish()",
    ]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "n.ipynb")
    expected = {"table2.cindex.DLRS.primary": "cell-1", "table2.n": "cell-2", "elsewhere": "cell-4"}
    expected |= {"fig4.pcr.n": "cell-3", "fig4.pcr.p": "cell-3"}
    assert pages.cells_of(tmp_path / "n.ipynb", expected) == expected


# ---------------------------------------------------------------- tables, pictures, notebooks


def save_table(frame, name, *, run_dir, provenance, caption, notes=""):
    record = results.start(run_dir, name, provenance=provenance)
    record.table(frame, name, columns={column: column for column in frame}, caption=caption, notes=notes)


def test_a_table_comes_back_as_text_and_goes_into_word(tmp_path):
    import pandas as pd

    shown = pd.DataFrame({"Centre": [SCRIPT, "B"], "P": ["<0.001", "0.5"]})
    about = dict(run_dir=tmp_path, provenance="SYNTHETIC", caption="Table 9. A & B", notes="n < 3")
    save_table(shown, "table9", **about)
    table = pages.read_table(tmp_path / "tables" / "table9.html")
    assert table == ("Table 9. A & B", "n < 3", ["Centre", "P"], [[SCRIPT, "<0.001"], ["B", "0.5"]], ())
    content = pages.docx(table, stamp="SYNTHETIC")
    assert content == pages.docx(table, stamp="SYNTHETIC"), "the same table must give the same bytes"
    import docx

    document = docx.Document(io.BytesIO(content))
    cells = [[cell.text for cell in row.cells] for row in document.tables[0].rows]
    assert cells == [["Centre", "P"], [SCRIPT, "<0.001"], ["B", "0.5"]]
    assert [p.text for p in document.paragraphs] == ["Table 9. A & B", "n < 3", "SYNTHETIC"]
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None


def test_rows_that_head_others_are_bold_on_every_page(tmp_path):
    import docx
    import pandas as pd

    frame = pd.DataFrame({"factor": ["cea", "cea"], "level": ["Normal", "Elevated"], "p": [0.1, 0.1]})
    record = results.start(tmp_path, "09h_answer", provenance="SYNTHETIC")
    columns = {"Level": "level", "P": results.p_value()}
    record.table(frame, "cea", columns=columns, sections=results.label("factor"), once=["P"], caption="CEA")
    table = pages.read_table(tmp_path / "tables" / "cea.html")
    assert table.rows == [["CEA", "0.100"], ["Normal", ""], ["Elevated", ""]] and table.sections == (0,)
    word = docx.Document(io.BytesIO(pages.docx(table, stamp="SYNTHETIC"))).tables[0]
    bold = [[bool(cell.paragraphs[0].runs[0].bold) for cell in row.cells] for row in word.rows]
    assert bold == [[True, True], [True, True], [False, False], [False, False]]
    assert r"\textbf{CEA} & \textbf{0.100} \\" in pages.latex(table, stamp="SYNTHETIC")


def unbalanced(text, columns):
    """Return what would stop LaTeX: braces, environments or cells that do not add up, and its own signs in a text."""
    bare = re.sub(r"\\[\\&%$#_{}]", "", text)
    faults = ["braces"] if bare.count("{") != bare.count("}") else []
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    faults += ["environments"] if begun != ended[::-1] else []
    body = re.search(r"toprule\n(.*)\\bottomrule", text, re.DOTALL)[1].splitlines()
    for line in (line for line in body if line != r"\midrule"):
        bare = re.sub(r"\\[&%$#_{}]", "", line)
        cells = columns if bare.startswith(r"\multicolumn") else bare.count("&") + 1
        wrong = cells != columns or not bare.endswith(r"\\") or re.search(r"[%#_]", bare) or bare.count("$") % 2
        faults += [line] if wrong else []
    return faults


def test_a_table_goes_into_latex_whole(tmp_path):
    rows = [["A & B_1", ""], ["50% #1 {x} ~ ^ \\ $", "−0.03 (−0.1 to 0.2)"], ["cT4 [T.x] × y ≥ 2", "<0.001"]]
    text = pages.latex(
        pages.Table("Caption 5%", "Notes_1", ["Level", "Estimate"], rows, (0,)), stamp="SYNTHETIC: a & b"
    )
    assert not unbalanced(text, 2)
    assert r"\multicolumn{2}{l}{\textbf{A \& B\_1}} \\" in text and r"$-$0.03 ($-$0.1 to 0.2) \\" in text
    assert text.index("Caption") < text.index("toprule") < text.index(r"Notes\_1") < text.index(r"SYNTHETIC: a \& b")
    for path in sorted((ROOT / "reports" / "tables").glob("*.html")):
        table = pages.read_table(path)
        written = pages.latex(table, stamp="SYNTHETIC")
        assert not unbalanced(written, len(table.columns)), path.name
        assert written.isascii() or set(written) - set(map(chr, range(256))) <= set("’“”"), path.name
    if tex := shutil.which("pdflatex"):
        whole = r"\documentclass{article}\usepackage{booktabs,textcomp}\begin{document}" + text + r"\end{document}"
        (tmp_path / "t.tex").write_text(whole, encoding="utf-8")
        subprocess.run([tex, "-interaction=batchmode", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True)


def test_a_figure_goes_in_as_svg_or_as_a_smaller_png(tmp_path):
    svg = '<?xml version="1.0"?><!-- 50 % --><svg xmlns="http://www.w3.org/2000/svg"><metadata>who</metadata>\n'
    svg += '<path style="fill: #0072b2" d="M 1 2\nL 3 4"/></svg>'
    (tmp_path / "fig1.svg").write_text(svg, encoding="utf-8")
    Image.effect_noise((2000, 300), 90).convert("RGB").save(tmp_path / "fig1.png")
    uri = pages.picture_uri(tmp_path, "fig1", largest_svg=10_000)
    assert not set('#<>" \n') & set(uri.removeprefix("data:image/svg+xml,").replace(" ", ""))
    drawing = ElementTree.fromstring(unquote(uri.partition(",")[2]))
    assert drawing[0].attrib == {"style": "fill: #0072b2", "d": "M 1 2 L 3 4"} and len(drawing) == 1
    uri = pages.picture_uri(tmp_path, "fig1", largest_svg=10)
    content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(content)).size == (1600, 240)
    assert len(content) < (tmp_path / "fig1.png").stat().st_size


def test_an_executed_notebook_becomes_a_page_without_script_or_path(tmp_path):
    output = nbformat.v4.new_output("stream", text=f"read {ROOT}/paper, and {SCRIPT}")
    cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell("x = 1", outputs=[output])]
    cells[1]["id"] = "cell-02"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "n.ipynb")
    text = pages.notebook_page(tmp_path / "n.ipynb", title="n")
    assert 'id="cell-id=cell-02"' in text and "read paper" in text and str(ROOT) not in text
    assert "<script" not in text and not re.search(r"(src|href)=.https?:", text)


def notebook_for_reading(folder):
    card = "# 06 Evaluation\n\n**Question.** How well do the models rank?\n\n**Reads.** Nothing."
    frame = pd.DataFrame({f"column_{n}": [0.123456] * 3 for n in range(30)})
    shown = nbformat.v4.new_output("execute_result", data={"text/html": frame.to_html(), "text/plain": "frame"})
    code = nbformat.v4.new_code_cell("for x in range(3):  # a comment\n    print(f'{x}', None)", outputs=[shown])
    text = nbformat.v4.new_markdown_cell
    cells = [text(card), text("## Analysis\n\n### Table 2 & more"), code, text("## Answer")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "06.ipynb")
    return pages.notebook_page(folder / "06.ipynb", title="06_evaluation", before="05_nomogram", after="07_subgroups")


def test_a_notebooks_page_says_its_question_has_contents_neighbours_and_code_that_folds(tmp_path):
    text = notebook_for_reading(tmp_path)
    assert "<title>06_evaluation: How well do the models rank?</title>" in text
    contents = re.search(r'<nav class="contents".*?</nav>', text, re.DOTALL)[0]
    links = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', contents)
    assert [label for _, label in links] == ["Analysis", "Table 2 &amp; more", "Answer"]
    assert all(f'id="{anchor}"' in text for anchor, _ in links)
    assert text.count('<a rel="prev" href="05_nomogram.html">') == text.count('href="07_subgroups.html"') == 2
    folding = re.findall(r'<details class="input" open><summary>Code</summary>.*?</details>', text, re.DOTALL)
    assert len(folding) == 1 and "range" in folding[0]
    assert text.count("<div") == text.count("</div>")
    assert "rel=" not in pages.notebook_page(tmp_path / "06.ipynb", title="06_evaluation")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_notebooks_page_has_no_serious_fault_of_access(browser, tmp_path, scheme):
    (tmp_path / "06.html").write_text(notebook_for_reading(tmp_path), encoding="utf-8")
    assert accessibility.serious(browser, tmp_path / "06.html", scheme=scheme) == []


def test_a_notebooks_page_has_no_progress_bars_and_spells_what_a_frame_calls_by_its_column(tmp_path):
    def stream(name, text):
        return nbformat.v4.new_output("stream", name=name, text=text)

    bars = [stream("stderr", f"\rROIs:  {n}%|#   | {n}/9 [00:00<?, ?patient/s]") for n in (0, 11, 99)]
    bars += [stream("stderr", "\n"), stream("stderr", "\repochs: 5%|# |\nUserWarning: the optimiser stopped early\n")]
    frame = pd.DataFrame({"p_jackknife": [0.5, None], "plain": ["None", "a"]}, index=["ct_stage[T.cT4]", "A & B"])
    shown = nbformat.v4.new_output("execute_result", data={"text/html": frame.to_html(), "text/plain": "frame"})
    cell = nbformat.v4.new_code_cell("x = 1", outputs=[*bars, stream("stdout", "50% of them\n"), shown])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "n.ipynb")
    text = pages.notebook_page(tmp_path / "n.ipynb", title="n", spell=results.spell_identifier)
    assert "%|" not in text and "50% of them" in text
    assert text.count("output_stderr") == 1 and "the optimiser stopped early" in text  # a warning is not hidden
    for heading in ("P, jackknife", "plain", "cT stage cT4", "A &amp; B"):
        assert f"<th>{heading}</th>" in text
    assert "<td></td>" in text and "NaN" not in text


# ---------------------------------------------------------------- checklists

SIZES = {"tripod_ai": 52, "claim": 44, "clear": 58, "metrics": 30, "probast_ai": 34}


def test_checklists_have_all_their_items_once():
    assert {name: len(listed["items"]) for name, listed in LISTED.items() if name in SIZES} == SIZES
    assert set(LISTED) == {*SIZES, "model_card"}
    for name, listed in LISTED.items():
        numbers = [str(item["n"]) for item in listed["items"]]
        assert len(set(numbers)) == len(numbers), name
    mains = {re.match(r"\d+", str(item["n"]))[0] for item in LISTED["tripod_ai"]["items"]}
    assert len(mains) == 27


def declared_outputs():
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow").glob("*.smk")))
    for kind, folder in {"table": "tables", "figure": "figures"}.items():
        for names in re.findall(rf"\b{kind}\(([^*)]*?)\)", text):
            yield from (f"{folder}/{name}" for name in re.findall(r'"(\w+)"', names))
    yield from (f"figures/fig3{panel}" for panel in "bcdefg")


@pytest.mark.parametrize("name", LISTED)
def test_each_item_has_evidence_that_exists_or_says_what_is_missing(name):
    outputs = set(declared_outputs())
    for item in LISTED[name]["items"]:
        said = item.get("author") or item.get("note")
        assert item.get("evidence") or said or item.get("here") == "n/a", (
            f"{name} {item['n']}: neither evidence nor a word"
        )
        for path in item.get("evidence", []):
            assert path in outputs or (ROOT / path).exists(), f"{name} {item['n']}: {path}"


def test_a_weighted_score_leaves_out_what_does_not_apply():
    # Weights 0.1 yes, 0.2 no, 0.1 unclear, 0.6 not applicable: 0.1 of 0.4, at best 0.2 of 0.4.
    answers = zip([0.1, 0.2, 0.1, 0.6], ["yes", "no", "unclear", "n/a"], strict=True)
    score = pages.weighted_score([dict(weight=weight, paper=answer) for weight, answer in answers], "paper")
    assert score == pytest.approx((25, 50))


# ---------------------------------------------------------------- the page itself


def run_folder(folder, change=lambda entries: None):
    """A run that stopped: 01 is done, 05 failed, and 06 is of yesterday, since what it was made from is gone."""
    everything = json.loads((ROOT / "reports" / "results.json").read_text(encoding="utf-8"))
    for name in ("interim", "results", "logs", "notebooks"):
        (folder / name).mkdir(parents=True)
    (folder / "interim" / "patients.csv").write_text("x\n", encoding="utf-8")
    digest = {"01_cohort": sha256(folder / "interim" / "patients.csv"), "06_evaluation": "0" * 64}
    change(everything)
    for stage, made_from in digest.items():
        entries = {key: entry for key, entry in everything.items() if entry["notebook"] == stage}
        part = {"complete": True, "inputs": {"interim/patients.csv": made_from}, "entries": entries}
        (folder / "results" / f"{stage}.json").write_text(json.dumps(part), encoding="utf-8")
    (folder / "logs" / "05_nomogram.failed").write_text("ValueError: <b>no events</b>", encoding="utf-8")
    (folder / "logs" / "01_cohort.log").write_text("9.1 s, 8.2 s of processor time, peak memory 0.26 GB\n")
    import pandas as pd

    scanner = pd.DataFrame({"Centre": [SCRIPT], "TR": ["3000"]})
    save_table(scanner, "tableS1", run_dir=folder, provenance="SYNTHETIC", caption="Table S1.")
    answer = pd.DataFrame({"conclusion": ["NRI is better", "C is better"], "cohort": ["primary", "validation"]})
    answer = answer.assign(nominal=0.025, noise=[0.9, 0.03], noise_lower=[0.8, 0.02], noise_upper=[0.95, 0.04])
    about = dict(run_dir=folder / "validity", provenance="SYNTHETIC", caption="Reached although nothing is there.")
    save_table(answer, "validity_answer", **about)
    (folder / "figures").mkdir()
    for name in ("figS1", "fig3a"):
        for ending in ("png", "svg"):
            (folder / "figures" / f"{name}.{ending}").write_bytes(
                (ROOT / "reports" / "figures" / f"{name}.{ending}").read_bytes()
            )
    (folder / "notebooks" / "01_cohort.ipynb").write_bytes((ROOT / "notebooks" / "01_cohort.ipynb").read_bytes())
    return folder


def execute(folder):
    validity = str(folder / "validity")
    run_cells("10_report", folder, draw=results.Record.figure, validity_dir=validity)
    report_page.stage(run_dir=str(folder), validity_dir=validity)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return execute(run_folder(tmp_path_factory.mktemp("stopped")))


def test_an_incomplete_run_says_what_is_missing_and_why(text):
    lacks = re.search(r'<section id="missing">.*?</section>', text, re.DOTALL)[0]
    assert "Fig. 3a" in lacks and "05_nomogram failed" in lacks and "&lt;b&gt;no events" in lacks
    assert "was made from has changed or gone" in lacks and "Table 2" in lacks
    assert "needs images and training; this run starts from probabilities" in lacks
    assert 'id="fig3a"' not in text and 'id="figS1"' in text, "a figure of yesterday is shown, or one of today is not"


def test_the_answer_says_what_the_design_finds_when_nothing_is_there(text):
    said = re.search(r'<section id="answer">.*?</section>', text, re.DOTALL)[0]
    assert "<b>in most studies</b>: NRI is better (primary 90%)" in said
    assert "<b>about as often as by chance, or less</b>: C is better (validation 3%)" in said
    assert "Reached although nothing is there." in said and "Not answered yet" not in said


def test_every_published_entry_has_its_row_with_class_and_source(text):
    entries = dict(published.published_entries(config.published()))
    assert len(re.findall(r'<tr id="n-', text)) == len(entries)
    row = re.search(r'<tr id="n-cohort.n_total">.*?</tr>', text)[0]
    assert ">235<" in row and "SYNTHETIC" not in row and "the same; not counted" in row
    headings = re.findall(r'<th scope="col">(This run[^<]*)</th>', text)
    assert headings and set(headings) == {"This run (SYNTHETIC)"}  # the class once a table
    assert re.search(r'href="notebooks/01_cohort\.html#cell-id=cell-\d+"', row)
    assert "missing in this run" in re.search(r'<tr id="n-table2.cindex.DLRS.validation">.*?</tr>', text)[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The page of the committed numbers, all of them."""
    folder = tmp_path_factory.mktemp("whole")
    everything = json.loads((ROOT / "reports" / "results.json").read_text(encoding="utf-8"))
    (folder / "results").mkdir()
    for stage in {entry["notebook"] for entry in everything.values()}:
        entries = {key: entry for key, entry in everything.items() if entry["notebook"] == stage}
        part = {"complete": True, "inputs": {}, "entries": entries}
        (folder / "results" / f"{stage}.json").write_text(json.dumps(part), encoding="utf-8")
    for name in ("tables", "figures"):
        shutil.copytree(ROOT / "reports" / name, folder / name)
    return everything, execute(folder)


def test_what_the_generator_was_made_to_hit_is_never_counted_as_agreement(whole):
    results, said = whole
    same = re.findall(r"(\d+) of \d+ (?:counts and shares|P values|estimates)", said)
    assert sum(map(int, same)) == len(re.findall(r'class="same"', said))
    apart = len(re.findall(r'class="set"', said))
    assert apart >= 100 and "the generator was made to hit them" in said
    row = re.search(r'<tr id="n-table1.cea.p">.*?</tr>', said)[0]
    assert 'class="set"' in row and "not counted" in row
    assert "would be printed the same, " not in said and "Expected reason for a difference" in said


def test_the_first_screen_holds_the_answer_table_2_and_the_first_figure(whole):
    results, said = whole
    first = re.search(r'<section id="findings">.*?</section>', said, re.DOTALL)[0]
    assert said.index('id="findings"') < said.index("<nav") < said.index('id="numbers"')
    entry = results["table2.cindex.Nomogram.validation"]
    rerun = results_module.format_estimate(entry["value"], *entry["ci"])
    assert f"Harrell&#39;s C was {rerun} for the nomogram" in first and f"<td>{rerun}</td>" in first
    assert "<td>0.775 (0.695 to 0.856)</td>" in first and 'id="published_and_rerun"' in first


def test_a_row_says_its_class_where_it_is_not_the_runs(whole):
    said = whole[1]
    row = re.search(r'<tr id="n-fig4.pcr.p">.*?</tr>', said)[0]
    assert "SYNTHETIC" not in row and " (SYNTHETIC)</td>" not in said
    assert said.count(" (PUBLISHED)</td>") == 9  # numbers that are recomputed from what is printed


def test_beside_the_papers_t_test_stands_the_same_kind_of_test(whole):
    results, said = whole
    row = re.search(r'<tr id="n-cindex_comparison.Nomogram_vs_Clinical.p">.*?</tr>', said)[0]
    one_sided = results["cindex_comparison.Nomogram vs Clinical.p_survcomp_one_sided"]["value"]
    assert f"{html.escape(results_module.format_p(one_sided))} (survcomp, one-sided)" in row
    assert results_module.format_p(results["cindex_comparison.Nomogram vs Clinical.p"]["value"]) not in row


def test_text_from_the_data_is_escaped(text):
    assert "<script" not in text and "&lt;script&gt;alert" in text


def test_the_page_asks_nobody_and_its_links_lead_somewhere(text):
    assert not re.search(r"(src|href)=.https?:|url\(|@import", re.sub(r'"data:[^"]*"', '""', text))
    ids = set(re.findall(r'id="([^"]+)"', text))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= ids
    beside = {link.partition("#")[0] for link in re.findall(r'href="(?!#|data:)([^"]+)"', text)}
    assert beside == {"notebooks/01_cohort.html"}


def test_the_page_can_be_read_without_eyes_and_with_a_keyboard(text):
    assert all(re.search(r'alt="[^"]{10,}"', image) for image in re.findall(r"<img[^>]*>", text))
    assert re.findall(r"<th(?! scope=)[ >]", text) == []
    assert '<html lang="en">' in text and len(text.encode()) < 5e6
    assert all('tabindex="0"' in part for part in re.findall(r'<div class="wide[^>]*>', text))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["index.html", "tables/table2.html"])
def test_the_committed_index_and_tables_have_no_serious_fault_of_access(browser, name):
    assert accessibility.serious(browser, ROOT / "reports" / name) == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 390)])
def test_the_page_has_no_serious_fault_of_access(browser, text, tmp_path, scheme, width):
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    assert accessibility.serious(browser, tmp_path / "report.html", scheme=scheme, width=width) == []


PRINTED = """() => [...document.querySelectorAll("table")].flatMap((table) => {
  const wide = table.getBoundingClientRect().right > document.documentElement.clientWidth + 1 ? ["a table is cut"] : [];
  const lines = (cell) => { const all = document.createRange(); all.selectNodeContents(cell);
    return new Set([...all.getClientRects()].map((line) => Math.round(line.top))).size; };
  const number = (cell) => /^[<>]?[0-9.]+$/.test(cell.textContent.trim());
  const broken = [...table.querySelectorAll("td")].filter((cell) => number(cell) && lines(cell) > 1);
  return [...wide, ...broken.map((cell) => `${cell.textContent} is broken`)]; })"""


@pytest.mark.slow
@pytest.mark.parametrize("millimetres", [186, 196])
def test_on_paper_no_table_is_cut_and_no_number_broken(browser, whole, tmp_path, millimetres):
    """The width of A4 and of letter paper less Chromium's margins."""
    (tmp_path / "report.html").write_text(whole[1], encoding="utf-8")
    tab = browser.new_page(viewport={"width": round(millimetres / 25.4 * 96), "height": 1000})
    tab.goto((tmp_path / "report.html").as_uri())
    tab.emulate_media(media="print")
    assert tab.evaluate(PRINTED) == []
    tab.close()


def test_an_estimate_without_an_interval_stops_the_build(tmp_path):
    def damage(entries):
        entries["table2.cindex.DLRS.validation"] = {"class": "SYNTHETIC", "notebook": "01_cohort", "value": 0.7}

    with pytest.raises(ValueError, match="an estimate without an interval"):
        run_cells("10_report", run_folder(tmp_path / "run", damage))


def test_published_pages_name_no_patient_and_no_folder_of_this_machine():
    patients = re.findall(r"^(\w+),", (ROOT / "data_synthetic" / "clinical.csv").read_text(), re.MULTILINE)[1:]
    named = re.compile(rf"\b({'|'.join(patients)})\b|{re.escape(str(ROOT))}/")
    for path in [*ROOT.glob("reports/*.html"), *ROOT.glob("reports/notebooks/*.html")]:
        said = re.sub(r'"data:[^"]*"', '""', path.read_text(encoding="utf-8"))
        assert not named.search(said), path.name


def test_an_items_numbers_are_those_of_the_run():
    found = {"a": {"value": 0.5, "ci": [0.4, 0.6]}, "b": {"value": None, "reason": "one class only"}, "c": {"value": 3}}
    run = report_page.Run(ROOT, found, "SYNTHETIC", {}, ".html", "")
    item = dict(n="1", item="Performance", numbers={"C": "a", "AUC": "b", "n": "c", "of a stage that did not run": "d"})
    entry = report_page._item(run, item, {}, set())
    assert entry["found"] == "C 0.500 (0.400 to 0.600); AUC not estimable: one class only; n 3"
    for listed in LISTED.values():
        keys = [key for item in listed["items"] for key in item.get("numbers", {}).values()]
        assert len(set(keys)) == len(keys) and all(re.fullmatch(r"\w+(\.[\w -]+)+", key) for key in keys)


def test_limitations_are_a_section_of_their_own_with_the_runs_numbers(whole):
    results, said = whole
    section = re.search(r'<section id="limitations">.*?</section>', said, re.DOTALL)[0]
    needed = results["validation_size.events_needed.c_index"]
    assert f"of width {needed['target']:g} would need {needed['value']:.0f} events" in section
    slope = results["calibration.slope.Nomogram.validation"]["value"]
    assert f"calibration slope of the nomogram in the validation cohort was {slope:.2f}" in section
    for name in ("tripod_ai", "claim", "clear"):
        listed = re.search(rf'<details id="checklist-{name}">.*?</details>', said, re.DOTALL)[0]
        assert '<a href="#limitations">Limitations</a>' in listed, name


def test_the_count_of_agreeing_entries_is_shown_by_tolerance(whole):
    table = re.search(r'aria-label="Agreement and tolerance".*?</table>', whole[1], re.DOTALL)[0]
    rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>', table)
    assert rows[0][0] == "as printed" and {row[0] for row in rows} >= {"within the published interval"}
    same = [int(row[3].partition(" of ")[0]) for row in rows if row[0].startswith("relative difference")]
    assert len(same) == 4 and same == sorted(same)


def test_a_run_holds_the_draft_the_codebook_and_every_table_for_word(text, whole, tmp_path):
    folder = run_folder(tmp_path / "run")
    said = execute(folder)
    offered = set(re.findall(r'download="([^"]+)"', said))
    assert offered >= {"draft.docx", "draft.md", "codebook.csv", "tableS1.docx"}
    assert {path.name for path in (folder / "word").iterdir()} == {"draft.docx", "tableS1.docx"}
    assert {path.name for path in (folder / "latex").iterdir()} == {"tableS1.tex"}
    assert "170 in the primary cohort" in (folder / "draft.md").read_text()
    assert set(pd.read_csv(folder / "codebook.csv")["file"]) == {"interim/patients.csv", "tables/tableS1.csv"}
