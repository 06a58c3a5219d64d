"""What leaves a notebook: numbers with their keys, tables, figures, each stamped with its class."""

from __future__ import annotations

import html
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dlrs.config import InputError, display_path, resolve, sha256, whole_file

CLASSES = ("PUBLISHED", "SYNTHETIC", "COHORT")
STAMPS = {
    "PUBLISHED": "PUBLISHED: printed in Liu et al. 2021 or recomputed from what is printed there",
    "SYNTHETIC": "SYNTHETIC: generated patients, cannot confirm the paper",
    "COHORT": "COHORT: this site's own patients, not the paper's",
}


NAMES = {
    "ct_stage": "cT stage",
    "cea": "CEA",
    "ypt_stage": "ypT stage",
    "ypn_stage": "ypN stage",
    "dl_prob": "DL-prob",
    "event": "Distant metastasis",
    "tumor_location": "Tumour location",
    "t2w_prob": "T2W probability",
    "adc_prob": "ADC probability",
    "uno_c": "Uno's C",
    "n_high": "Patients, high risk",
    "n_low": "Patients, low risk",
    "n_used": "Replicates used",
    "events_high": "Events, high risk",
    "events_low": "Events, low risk",
    "p_jackknife": "P, jackknife",
    "p_bootstrap": "P, bootstrap",
    "p_survcomp_one_sided": "P, survcomp, one-sided",
    "p_survcomp_two_sided": "P, survcomp, two-sided",
}


def spell(column: str) -> str:
    """Return a column's name as a table or figure writes it: `ypn_stage` is `ypN stage`.

    Examples
    --------
    >>> spell("ct_stage[T.cT4]")
    'cT stage cT4'
    """
    column, level = re.match(r"(.*?)(?:\[T\.(.*)\])?$", column).groups()
    if level:
        return f"{spell(column)} {level}"
    return NAMES.get(column, column.replace("_", " ").capitalize())


def horizon_key(months: float) -> str:
    """Return how a result's key names a horizon: `3y` for 36 months, as the paper's numbers are filed, else `24m`."""
    return "3y" if months == 36 else f"{months:g}m"


def spell_identifier(text: str) -> str:
    """Spell a heading that is an identifier, with an underscore or a bracket; leave every other as it is."""
    return spell(text) if re.fullmatch(r"\w*_\w*|[^\s\[]+\[\S+\]", text) else text


def format_number(value: float, digits: int = 3) -> str:
    """Return a number for a table; what could not be estimated is said so."""
    return f"{value:.{digits}f}" if value is not None and math.isfinite(value) else "not estimable"


def format_estimate(value: float, lower: float, upper: float, digits: int = 3) -> str:
    """Return `0.720 (0.660-0.780)`; negative limits are joined by `to`."""
    if not all(math.isfinite(x) for x in (value, lower, upper)):
        return format_number(value, digits)
    joint = " to " if lower < 0 or upper < 0 else "-"
    return f"{value:.{digits}f} ({lower:.{digits}f}{joint}{upper:.{digits}f})"


def format_p(p: float, digits: int = 3) -> str:
    """Return a P value for a table: `0.012`, `<0.001`, never `0.000`."""
    if p is None or not math.isfinite(p):
        return "not estimable"
    return f"<{10**-digits:.{digits}f}" if p < 10**-digits else f"{p:.{digits}f}"


def format_probability(p: float, digits: int = 3) -> str:
    """Return a probability for a table: `0.012`, and `<0.001` or `>0.999` where it would be printed as 0 or 1."""
    if p is not None and 1 - 10**-digits < p < 1:
        return f">{1 - 10**-digits:.{digits}f}"
    return format_p(p, digits)


def format_count(count: int | str, total: int | str, digits: int = 1) -> str:
    """Return `7/22 (31.8%)`; a share of nobody is said so, and a count that is hidden leaves its share out."""
    if isinstance(count, str) or isinstance(total, str):
        return f"{count}/{total}"
    return f"{count}/{total} ({100 * count / total:.{digits}f}%)" if total else "0/0 (no patients)"


def format_shares(frame: pd.DataFrame, name: str) -> list[str]:
    """Return the shares of a column in percent with their limits, `12.5 (9.6 to 16.1)`; `-` where there is none.

    Parameters
    ----------
    frame
        Columns `name`, `<name>_lower` and `<name>_upper`, from 0 to 1.
    """
    rows = 100 * frame[[name, f"{name}_lower", f"{name}_upper"]].to_numpy(float)
    return [f"{x:.1f} ({low:.1f} to {high:.1f})" if np.isfinite(x) else "-" for x, low, high in rows]


def key(*words: str) -> str:
    """Return a key of `results.json`: words in lower case, joined by dots, other signs than letters and digits as `_`.

    Examples
    --------
    >>> key("validity", "null", "NRI, Nomogram against clinical")
    'validity.null.nri_nomogram_against_clinical'
    """
    return ".".join(re.sub("[^a-z0-9]+", "_", str(word).lower()).strip("_") for word in words)


def _plain(value):
    """Turn NumPy values into what JSON holds; a number that is not finite has no place there."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _without_small(entry: Mapping, smallest: int) -> dict:
    """Leave out of an entry what `masked` has hidden, and whole numbers from 1 to one below `smallest`."""
    if not smallest:
        return dict(entry)

    def hidden(value) -> bool:
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        return value == NOT_SHOWN or (isinstance(value, str) and value[:1] == "<") or (whole and 0 < value < smallest)

    lost = [name for name in ("value", "n", "of") if name in entry and hidden(entry[name])]
    if not lost:
        return dict(entry)
    made_from_it = ["percent", *(["value", "ci"] if isinstance(entry.get("value"), float) else [])]
    kept = {name: None if name in (*lost, *made_from_it) else value for name, value in entry.items()}
    return kept | ({"reason": "a count too small to show"} if kept.get("value") is None else {})


def save_results(
    entries: Mapping[str, Mapping],
    *,
    run_dir: str | Path,
    notebook: str,
    inputs: Iterable[str | Path],
    provenance: str,
    smallest: int = 0,
) -> None:
    """Write one notebook's numbers, with the hashes of what they were made from.

    Parameters
    ----------
    entries
        Key (the path in paper_results.yaml joined by dots) to an entry: value,
        ci, p, n, cohort, model, method, seed, those that apply. A value that
        could not be estimated is None or NaN and has a `reason`.
    run_dir
        The run's folder; the file is `results/<notebook>.json` in it.
    notebook
        The notebook's name without ending.
    inputs
        The files that the numbers depend on, inside the run's folder.
    provenance
        PUBLISHED, SYNTHETIC or COHORT.
    smallest
        From `cohort.smallest_count`: a smaller whole number among value, n
        and of is left out, with the interval and the percentage made from it.

    Raises
    ------
    ValueError
        An unknown class, an entry without a value, or an interval that does not hold its estimate.
    """
    if provenance not in CLASSES:
        raise ValueError(f"provenance must be one of {', '.join(CLASSES)}; found {provenance!r}")
    run_dir = resolve(run_dir)
    checked = {}
    for key, entry in entries.items():
        entry = _plain(_without_small(entry, smallest))
        if "value" not in entry:
            raise ValueError(f"entries must each hold a value; found none at {key}")
        if entry["value"] is None and not entry.get("reason"):
            raise ValueError(f"entries without an estimate must hold a reason; found none at {key}")
        ci, value = entry.get("ci"), entry["value"]
        if ci and None not in ci and value is not None and not ci[0] - 1e-9 <= value <= ci[1] + 1e-9:
            raise ValueError(f"ci must hold the value; found {value} outside {ci} at {key}")
        checked[key] = {**entry, "notebook": notebook, "class": provenance}
    hashes = {os.path.relpath(resolve(path), run_dir): sha256(resolve(path)) for path in inputs}
    path = run_dir / "results" / f"{notebook}.json"
    with whole_file(path) as partial:
        partial.write_text(json.dumps({"inputs": hashes, "entries": checked}, indent=1), encoding="utf-8")


def gather(run_dir: str | Path) -> tuple[dict, list[str]]:
    """Read the notebooks' numbers.

    Returns
    -------
    entries
        Key to entry, of every notebook whose inputs are still as they were.
    missing
        Keys dropped because a file they were made from has changed or gone.
    """
    run_dir = resolve(run_dir)
    entries: dict = {}
    missing: list[str] = []
    for path in sorted((run_dir / "results").glob("*.json")):
        part = json.loads(path.read_text(encoding="utf-8"))
        files = {run_dir / name: digest for name, digest in part["inputs"].items()}
        if all(file.is_file() and sha256(file) == digest for file, digest in files.items()):
            twice = entries.keys() & part["entries"].keys()
            if twice:
                raise ValueError(f"results must have one source; {sorted(twice)[0]} is written by two notebooks")
            entries |= part["entries"]
        else:
            missing += part["entries"].keys()
    return entries, missing


def collect(run_dir: str | Path) -> tuple[dict, list[str]]:
    """Join the notebooks' numbers into `results.json`, and list those dropped in `results_missing.json`."""
    entries, missing = gather(run_dir)
    run_dir = resolve(run_dir)
    for name, content in {"results.json": entries, "results_missing.json": sorted(missing)}.items():
        with whole_file(run_dir / name) as partial:
            partial.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    return entries, missing


NOT_SHOWN = "not shown"


def masked(
    frame: pd.DataFrame,
    counts: Sequence[str],
    *,
    smallest: int,
    within: Sequence[str] = (),
    parts: Sequence[str] = (),
    with_them: Sequence[str] = (),
) -> pd.DataFrame:
    """Hide counts of patients that are so small that they may point to somebody.

    Parameters
    ----------
    frame
        One row a group of patients.
    counts
        Columns that count patients.
    smallest
        From `cohort.smallest_count`: counts from 1 to one below it are hidden;
        with 0 the table comes back as it is.
    within
        Columns that say which rows add up to a total that is known.
    parts
        Two or more of `counts` that add up to another one in their row.
    with_them
        Columns computed from the counts, emptied in rows that lose one.

    Returns
    -------
    DataFrame
        Small counts are `<5`. Where a single one of a sum is hidden, which
        its total would tell, the next smallest is hidden too, as `not shown`.

    Notes
    -----
    Sums inside one table are looked after; what two tables tell together,
    such as a group and the same group without some patients, is not.

    Examples
    --------
    >>> table = pd.DataFrame({"level": ["cT3", "cT4", "cT2"], "n": [40, 3, 9], "all": "x"})
    >>> masked(table, ["n"], smallest=5, within=["all"])["n"].tolist()
    [40, '<5', 'not shown']
    """
    if not smallest:
        return frame
    frame = frame.copy()
    values = frame[list(counts)].astype(float)
    small = (values > 0) & (values < smallest)
    hidden = small.copy()
    groups = list(frame.groupby(list(within), observed=True, sort=False).indices.values()) if within else []
    columns = [values.columns.get_loc(name) for name in parts]
    sums = [[(row, place) for row in rows] for rows in groups for place in range(len(values.columns))]
    sums += [[(row, place) for place in columns] for row in range(len(values)) if columns]
    cover, before = hidden.to_numpy(copy=True), -1
    while cover.sum() != before:  # hiding one more may leave it alone in another sum
        before = cover.sum()
        for cells in sums:
            open_ = [cell for cell in cells if not cover[cell]]
            if len(open_) == len(cells) - 1 and open_:
                cover[min(open_, key=lambda cell: (values.iat[cell] == 0, values.iat[cell]))] = True
    for place, name in enumerate(values.columns):
        shown = frame[name].astype(object)
        shown[cover[:, place]] = NOT_SHOWN
        shown[small[name]] = f"<{smallest}"
        frame[name] = shown
    for name in with_them:
        frame[name] = frame[name].mask(pd.Series(cover.any(axis=1), index=frame.index))
    return frame


FORMULA = ("=", "+", "-", "@", "\t")


def table2_layout(discrimination: pd.DataFrame, reclassified: pd.DataFrame) -> pd.DataFrame:
    """Return discrimination and reclassification formatted in the rows of the paper's Table 2.

    Parameters
    ----------
    discrimination
        ``model``, ``cohort``, ``c``, ``lower``, ``upper``; ``p`` where the C-index was tested.
    reclassified
        ``comparison``, ``measure`` (`nri` or `idi`), ``cohort``, ``value``, ``lower``, ``upper``, ``p``.

    Returns
    -------
    DataFrame
        ``Model``, ``Primary``, ``P``, ``Validation``, ``P `` as text, below a heading each for C-index, NRI and IDI; a
        cohort that is not there stays empty.
    """
    parts = [("C-index (95% CI)", discrimination.rename(columns={"model": "row", "c": "value"}))]
    for measure, title in {"nri": "NRI (95% CI)", "idi": "IDI (95% CI)"}.items():
        one = reclassified[reclassified["measure"] == measure]
        parts.append((title, one.rename(columns={"comparison": "row"})))
    shown = []
    for title, part in parts:
        shown.append([title, "", "", "", ""])
        for name in part["row"].unique():
            cells = {"primary": ["", ""], "validation": ["", ""]}
            for r in part[part["row"] == name].itertuples():
                p = format_p(r.p) if "p" in part else ""
                cells[r.cohort] = [format_estimate(r.value, r.lower, r.upper), p]
            shown.append([name, *cells["primary"], *cells["validation"]])
    return pd.DataFrame(shown, columns=["Model", "Primary", "P", "Validation", "P "])


def exportable(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose text no spreadsheet takes for a formula: such a cell gets an apostrophe in front.

    Numbers stay as they are, also negative ones that are written as text.

    Examples
    --------
    >>> exportable(pd.DataFrame({"centre": ["=1+1", "A", "-2.5"], "n": [-1, 2, 3]})).values.tolist()
    [["'=1+1", -1], ['A', 2], ['-2.5', 3]]
    """

    def safe(cell):
        if not isinstance(cell, str):
            return cell
        cell = cell.replace("\r", " ")  # a writer leaves it unquoted, and a reader starts a row there
        if not cell.startswith(FORMULA):
            return cell
        try:
            float(cell)
        except ValueError:
            return f"'{cell}"
        return cell if cell[0] in "+-" else f"'{cell}"

    text = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
    return frame.assign(**{c: [safe(cell) for cell in frame[c]] for c in text}).rename(columns=safe)


TABLE_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
       color: #1c1c1c; background: #fff }}
table {{ border-collapse: collapse; width: 100% }}
caption {{ text-align: left; font-weight: 600; padding: .4rem 0 }}
th, td {{ padding: .3rem .7rem; text-align: left; vertical-align: top; border-bottom: 1px solid #ddd }}
td {{ font-variant-numeric: tabular-nums }}
thead th {{ border-top: 2px solid #333; border-bottom: 1px solid #333 }}
tbody tr:last-child td {{ border-bottom: 2px solid #333 }}
.stamp {{ font-size: .85rem; letter-spacing: .02em; color: #8a3b00 }}
.notes {{ font-size: .85rem; color: #444 }}
</style></head><body>
<p class="stamp">{stamp}</p>
{table}
<p class="notes">{notes}</p>
</body></html>
"""


WORD = re.compile(r"[^\W\d_]+\d*")
NUMBER = re.compile(r"(?<![\w.])[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?!\w|\.\d)")


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


class _Row(NamedTuple):
    """What one row of a tidy table holds: its words, as written and as `spell` writes them, and its numbers."""

    words: frozenset[str]
    texts: frozenset[str]
    numbers: np.ndarray

    @classmethod
    def of(cls, cells: Iterable) -> _Row:
        cells = [cell for cell in cells if not (isinstance(cell, float) and math.isnan(cell)) and cell is not None]
        texts = [str(cell) for cell in cells if not isinstance(cell, (int, float, np.number, np.bool_))]
        numbers = [float(cell) for cell in cells if isinstance(cell, (int, float, np.number, np.bool_))]
        numbers += [float(n.replace("−", "-")) for text in texts for n in NUMBER.findall(text)]
        named = [text for text in texts if text != NOT_SHOWN]
        words = {word for text in named for form in (text, spell(text)) for word in _words(form)}
        return cls(frozenset(words), frozenset(texts), np.array(numbers, dtype=float))

    def has(self, number: str, *, percent: bool) -> bool:
        """Say whether a printed number is one of the row's, rounded to its digits, or with `percent` times 100."""
        digits = len(number.partition("e")[0].partition(".")[2]) - int(number.partition("e")[2] or 0)
        printed, half = float(number.replace("−", "-")), 0.5 * 10.0**-digits
        factors = (1.0, 100.0) if percent else (1.0,)
        return any((np.abs(f * self.numbers - printed) <= half * (1 + 1e-6)).any() for f in factors)


def unfounded(shown: pd.DataFrame, tidy: pd.DataFrame) -> list[str]:
    """List what a table's page shows and its own frame does not hold.

    Parameters
    ----------
    shown
        The table formatted for reading, in any layout: cohorts side by side, levels below the row that names their
        factor. A row's label is its first cell that is not empty; what stands in parentheses explains.
    tidy
        The frame that goes to the CSV.

    Returns
    -------
    list of str
        One sentence for every row label with a word that is neither in a text cell nor in a column name of the frame,
        and for every number that is no rounding of a number in the frame's rows with the same words. Numbers of
        patients in a heading, `(n=170)`, count as well. On a page with a percent sign 31.8 may stand for 0.318, and
        in `7/22 (31.8%)` for the share itself.
    """
    rows = [_Row.of(cells) for cells in tidy.itertuples(index=False)]
    named = {word for name in tidy.columns for form in (str(name), spell(str(name))) for word in _words(form)}
    known = "|".join(sorted(named.union(*(row.words for row in rows)))) if rows else ""
    titles = [str(title) for title in shown.columns]
    found, heading = [], ""
    for title in titles:
        for n in re.findall(r"n ?= ?(\d+)", title):
            if not any(row.has(n, percent=False) for row in rows):
                found.append(f"the heading {title!r} counts {n} patients, the frame nowhere")
    for place, cells in enumerate(shown.astype(object).where(shown.notna(), "").itertuples(index=False)):
        texts = [str(cell).strip() for cell in cells]
        label = next(filter(None, texts), "")
        strange = [word for word in _words(re.sub(r"\(.*?\)", "", label)) if word not in known]
        if strange:
            found.append(f"the row {label!r} is not in the frame, which holds no {strange[0]!r}")
            continue
        if sum(bool(text) for text in texts) <= 2 and texts[0] and not any(map(NUMBER.findall, texts[1:-1])):
            heading = label
        words = {word for text in [heading, *texts] if text != NOT_SHOWN for word in _words(text)}
        scores = [len(words & row.words) for row in rows]
        best = max(scores, default=0)
        like = [row for row, score in zip(rows, scores, strict=True) if score == best]
        if best == 0 and len(rows) == len(shown):
            like = [rows[place]]
        percent = any("%" in text for text in [*titles, *texts])
        for text, title in zip(texts, titles, strict=True):
            wrong = _unfounded_numbers(text.replace("95% CI", ""), like, percent=percent)
            found += [
                f"{n} in the row {label!r}, column {title!r}, is not in the frame's rows of that name" for n in wrong
            ]
    return found


def _unfounded_numbers(text: str, rows: Sequence[_Row], *, percent: bool) -> list[str]:
    """Return the numbers of a cell that none of the rows holds."""
    if any(text in row.texts for row in rows):
        return []
    shares = {}
    for count, total, share in re.findall(r"(\d+)/(\d+) \(([\d.]+)%\)", text):
        shares[share] = f"{100 * int(count) / int(total):.{len(share.partition('.')[2])}f}" if int(total) else ""
    wrong = []
    for sign, n in re.findall(rf"([<>])? ?({NUMBER.pattern})", text):
        if sign:
            held = any(((row.numbers < float(n)) if sign == "<" else (row.numbers > float(n))).any() for row in rows)
        else:
            held = shares.get(n) == n or any(row.has(n, percent=percent) for row in rows)
        if not held:
            wrong.append(n)
    return wrong


def save_table(
    tidy: pd.DataFrame,
    shown: pd.DataFrame,
    name: str,
    *,
    run_dir: str | Path,
    provenance: str,
    caption: str,
    notes: str = "",
) -> None:
    """Write a table twice: computed and unrounded as CSV, formatted as an HTML page.

    Parameters
    ----------
    tidy
        One number a cell, unrounded; a `class` column is added.
    shown
        The same table formatted for reading, made from `tidy`; text is escaped.
    name
        The table's name in the paper: `table1`, `tableS2`.
    caption, notes
        Above and below the table.

    Raises
    ------
    ValueError
        A row of `shown` has a label that `tidy` does not hold: it is another table. `dlrs.expected check` holds the
        numbers as well, see `unfounded`.
    """
    for fault in unfounded(shown, tidy):
        if fault.startswith("the row"):
            raise ValueError(f"shown must be made from the frame that is saved as {name}.csv; {fault}")
    folder = resolve(run_dir) / "tables"
    with whole_file(folder / f"{name}.csv") as partial:
        exportable(tidy.assign(**{"class": provenance})).to_csv(partial, index=False)
    shown = shown.rename(columns=lambda name: spell_identifier(str(name)))
    body = shown.to_html(index=False, border=0, escape=True, na_rep="")
    body = body.replace(">\n  <thead", f">\n  <caption>{html.escape(caption)}</caption>\n  <thead", 1)
    page = TABLE_PAGE.format(title=html.escape(name), stamp=STAMPS[provenance], table=body, notes=html.escape(notes))
    with whole_file(folder / f"{name}.html") as partial:
        partial.write_text(page, encoding="utf-8")


def save_figure(fig, name: str, *, run_dir: str | Path, provenance: str) -> None:
    """Write a figure as PNG and SVG, stamped with its class at the lower edge; a notebook shows it and closes it."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    folder = resolve(run_dir) / "figures"
    if fig.get_layout_engine() is not None:  # leave a line free for the stamp
        strip = 0.22 / fig.get_figheight()
        fig.get_layout_engine().set(rect=(0, strip, 1, 1 - strip))
        fig.draw_without_rendering()
        fig.set_layout_engine("none")  # laid out once; each further time would cost as much as drawing
    fig.text(0.995, 0.003, STAMPS[provenance], ha="right", va="bottom", fontsize=7, color="#8a3b00")
    # By the canvases themselves: `savefig`, and a notebook's own display, would draw everything twice.
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        with whole_file(folder / f"{name}.svg") as partial:
            FigureCanvasSVG(fig).print_svg(partial, metadata={"Date": None})
        fig.set_dpi(200)
        with whole_file(folder / f"{name}.png") as partial:
            FigureCanvasAgg(fig).print_png(partial, metadata={"Software": None})
    if "inline" in matplotlib.get_backend():
        _show(folder / f"{name}.png", fig)


def _show(path: Path, fig) -> None:
    """Show a saved picture at half its size below the cell, where the figure itself then no longer appears."""
    from io import BytesIO

    import matplotlib.pyplot as plt
    from IPython.display import Image, display
    from PIL import Image as Picture

    with Picture.open(path) as picture, BytesIO() as half:
        picture.reduce(2).convert("P", palette=Picture.Palette.ADAPTIVE).save(half, "PNG", optimize=True)
        display(Image(half.getvalue()))
    plt.close(fig)


def save_json(content, path: str | Path) -> None:
    """Write plain values as JSON, whole or not at all."""
    with whole_file(resolve(path)) as partial:
        partial.write_text(json.dumps(_plain(content), indent=1), encoding="utf-8")


def load_json(path: str | Path):
    """Read what an earlier notebook wrote; say which step is missing when it is not there."""
    path = resolve(path)
    if not path.is_file():
        remedy = "Run the notebook that writes it first, or `python3 run.py statistics`."
        raise InputError(
            display_path(path), "the file is missing", expected="an earlier notebook's output", remedy=remedy
        )
    return json.loads(path.read_text(encoding="utf-8"))


def save_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table, numbers to the last digit, whole or not at all; outside `interim/` its text is no formula."""
    path = resolve(path)
    frame = frame if "interim" in path.parts else exportable(frame)
    with whole_file(path) as partial:
        frame.to_csv(partial, index=False)
