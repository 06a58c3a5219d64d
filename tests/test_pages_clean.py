"""The pages that are committed show no warning, no path of a machine, no error stream, no identifier as a heading."""

import html
import re
from pathlib import Path

import pytest

from dlrs_run import pages

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "reports").rglob("*.html"))
ABSOLUTE = r"(?<![\w.:/~-])/(?:tmp|var|home|root|Users|usr|opt|mnt|work|private|scratch)/[^\s<\"']+"
NOT_A_NUMBER = re.compile(r"\s*(?:nan|NaN|NaT|None|<NA>|inf|-inf)\s*")
WARNINGS = r"\b\w+Warning: |\bWARNING\b|\bwarnings\.warn\("


def faults(page: str) -> list[str]:
    """Return what a page of results should not show, each with an example."""
    body = re.sub(r"<(script|style|svg)\b.*?</\1>", "", page, flags=re.DOTALL)
    body = re.sub(r"data:[\w/.+-]+;base64,[\w+/=]+", "", body)
    outputs = re.sub(r'<div class="[^"]*(?:input_area|highlight)[^"]*">\s*<pre>.*?</pre>', "", body, flags=re.DOTALL)
    text = html.unescape(re.sub(r"<[^>]+>", " ", outputs))
    found = [f"warning: {match}" for match in re.findall(WARNINGS, text)]
    found += [f"absolute path: {match}" for match in re.findall(ABSOLUTE, text)]
    found += [f"error stream: {match}" for match in re.findall(r'class="[^"]*stderr[^"]*"', outputs)]
    found += [f"progress bar: {match}" for match in re.findall(r"\d+%\|", text)]
    for kind, cell in re.findall(r"<(th|td)\b[^>]*>(.*?)</\1>", outputs, flags=re.DOTALL):
        shown = html.unescape(re.sub(r"<code>.*?</code>|<[^>]+>", "", cell, flags=re.DOTALL)).strip()
        if kind == "th" and re.search(r"\w_\w|\w\[.+\]", shown):
            found.append(f"identifier as heading: {shown}")
        if NOT_A_NUMBER.fullmatch(shown) or re.search(r"\bnan\b", shown, re.IGNORECASE):
            found.append(f"not a number: {shown}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT / "reports")))
def test_a_page_shows_results_and_nothing_of_their_making(page):
    found = faults(page.read_text(encoding="utf-8"))
    assert not found, f"{len(found)} in all, such as {found[:5]}"


@pytest.mark.parametrize("page", [path for path in PAGES if path.parent.name == "tables"], ids=lambda path: path.stem)
def test_every_column_of_a_table_has_a_cell(page):
    table = pages.read_table(page)
    assert [heading for heading, *cells in zip(table.columns, *table.rows, strict=True) if not any(cells)] == []


def test_there_are_pages_of_every_kind():
    kinds = {str(page.parent.relative_to(ROOT / "reports")) for page in PAGES}
    assert {".", "tables", "notebooks", "validity/tables", "validity/notebooks"} <= kinds


@pytest.mark.parametrize(
    ("piece", "fault"),
    [
        ("<pre>3.py:6: DtypeWarning: Columns (6) have mixed types</pre>", "warning: DtypeWarning: "),
        ("<p>read from /home/me/study/clinical.csv</p>", "absolute path: /home/me/study/clinical.csv"),
        ('<div class="output_subarea output_stderr"><pre>x</pre></div>', "error stream: "),
        ("<pre>ROIs:  11%|#1        | 1/9</pre>", "progress bar: 11%|"),
        ("<table><tr><th>p_jackknife</th></tr></table>", "identifier as heading: p_jackknife"),
        ("<table><tr><th>ct_stage[T.cT4]</th></tr></table>", "identifier as heading: ct_stage[T.cT4]"),
        ("<table><tr><td>67.00 ± nan</td></tr></table>", "not a number: 67.00 ± nan"),
        ("<table><tr><td>NaN</td></tr></table>", "not a number: NaN"),
    ],
)
def test_each_kind_of_fault_is_found(piece, fault):
    assert any(found.startswith(fault) for found in faults(f"<body>{piece}</body>"))


def test_code_links_and_stage_names_are_no_faults():
    code = '<div class="highlight hl-ipython3"><pre>x = float("nan")  # /home/me/x</pre></div>'
    page = (
        f'{code}<table><tr><th><code>fig2.n_high</code></th><td><a href="/a">runs/default/tables</a></td></tr></table>'
    )
    assert not faults(page)
