"""What leaves a notebook: each number with its key, each table with its page, each figure, stamped with their class.

A notebook starts one record and hands it every number, table and figure in the cell that makes it. A table's page is
laid out from the frame that goes to its CSV, so that the two cannot differ.
"""

from __future__ import annotations

import html
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dlrs import cohort
from dlrs.config import InputError, display_path, made_by, resolve, session_information, sha256, whole_file, write_text
from dlrs.templates import template

STAMPS = {
    "PUBLISHED": "PUBLISHED: printed in Liu et al. 2021 or recomputed from what is printed there",
    "SYNTHETIC": "SYNTHETIC: generated patients, cannot confirm the paper",
    "COHORT": "COHORT: this site's own patients, not the paper's",
}
DECIMALS, SHARED_DECIMALS = 3, 2  # of estimates, also where small counts are hidden, see `coarse`
_decimals = DECIMALS
NOT_SHOWN = "not shown"  # a count hidden because another one could be computed from it
NOT_ESTIMABLE = "not estimable"
NOT_HERE = "not in this cohort"  # stands in a table for what the paper has and this cohort's folder does not
FORMULA = ("=", "+", "-", "@", "\t")  # with which a spreadsheet begins one
Cell = Callable[[Mapping], str]


# ---------------------------------------------------------------- numbers as text


# Columns of results that are no variables, as tables write them.
NAMES = {
    "uno_c": "Uno's C",
    "auc": "AUC",
    "auc_lower": "AUC, lower limit",
    "auc_upper": "AUC, upper limit",
    "ppv": "Positive predictive value",
    "npv": "Negative predictive value",
    "n_high": "Patients, high risk",
    "n_low": "Patients, low risk",
    "n_used": "Replicates used",
    "p_jackknife": "P, jackknife",
    "p_bootstrap": "P, bootstrap",
    "p_survcomp_one_sided": "P, survcomp, one-sided",
    "p_survcomp_two_sided": "P, survcomp, two-sided",
}


def spell(name: str, variables: Mapping[str, cohort.Variable] = cohort.VARIABLES) -> str:
    """Return a column's or level's name as tables and figures write it: `ypn_stage` is `ypN stage`.

    `variables` are the paper's, or those of a cohort (see `Record.spell`).

    Examples
    --------
    >>> spell("ct_stage[T.cT4]"), spell("np.log(age)"), spell("ct_stage:cea")
    ('cT stage cT4', 'np.log(Age)', 'cT stage × CEA')
    """
    parts = re.split(r"(?<=[\w\])]):(?=\w)| × ", name)
    if len(parts) > 1:  # an interaction
        return " × ".join(spell(part, variables) for part in parts)
    if coded := re.fullmatch(r"(?:C\()?(\w+)[^\[]*\[T\.(.*)\]", name):
        return f"{spell(coded[1], variables)} {coded[2]}"
    if function := re.fullmatch(r"([\w.]+\(.*\))(?:\[(.*)\])?", name):  # log(age), or a column of bs(age, 3)
        known = rf"\b({'|'.join(variables)})\b"
        words = re.sub(known, lambda word: cohort.label(word[0], variables), function[1])
        return words + (f", column {function[2]}" if function[2] else "")
    return NAMES.get(name) or cohort.label(name, variables)


def spell_identifier(text: str) -> str:
    """Spell a heading that is an identifier, with an underscore or a bracket; leave every other as it is."""
    return spell(text) if re.fullmatch(r"\w*_\w*|[^\s\[]+\[\S+\]", text) else text


def key_word(text: str) -> str:
    """Return a name as a key writes it: in lower case, other signs than letters and digits as `_`.

    Examples
    --------
    >>> key_word("NRI, Nomogram against clinical")
    'nri_nomogram_against_clinical'
    """
    return re.sub("[^a-z0-9]+", "_", str(text).lower()).strip("_")


class _Field(str):
    """A frame's text in a key; with the format `key` as `key_word` writes it."""

    def __format__(self, spec: str) -> str:
        return key_word(self) if spec == "key" else super().__format__(spec)


def horizon_key(months: float) -> str:
    """Return how a result's key names a horizon: `3y` for 36 months, as the paper's numbers are filed, else `24m`."""
    return "3y" if months == 36 else f"{months:g}m"


def set_decimals(smallest: int) -> None:
    """Write estimates with as many decimals as a run's results have, whose counts below `smallest` are hidden."""
    global _decimals
    _decimals = SHARED_DECIMALS if smallest else DECIMALS


def typeset(text: str) -> str:
    """Return text with a minus sign for each hyphen before a number; files of data keep the hyphen, see `plain_signs`.

    Examples
    --------
    >>> typeset("-0.025 (-.205 to 0.156), ypT0-2, 2021-06-21")
    '−0.025 (−.205 to 0.156), ypT0-2, 2021-06-21'
    """
    return re.sub(r"(?<![\w.)])-(?=\.?\d)", "−", text)


def plain_signs(text: str) -> str:
    """Return text with a hyphen for each minus sign, as R, Python and spreadsheets read a number."""
    return text.replace("−", "-")


def format_number(value: float, digits: int | None = None) -> str:
    """Return `0.720`, never `−0.000`; what could not be estimated is `not estimable`, and a note stays as it is."""
    if isinstance(value, str):
        return value
    digits = _decimals if digits is None else digits
    return typeset(f"{value:z.{digits}f}") if value is not None and math.isfinite(value) else NOT_ESTIMABLE


def format_estimate(value: float, lower: float, upper: float, digits: int | None = None) -> str:
    """Return `0.720 (0.660 to 0.780)`, without the parenthesis where there is no interval.

    The largest of the three gets four significant digits at most, the others as many decimals: `429 (59 to 3108)`.
    """
    digits = _decimals if digits is None else digits
    if isinstance(value, str) or not all(x is not None and math.isfinite(x) for x in (value, lower, upper)):
        return format_number(value, digits)
    largest = max(map(abs, (value, lower, upper)))
    digits = min(digits, max(0, 3 - math.floor(math.log10(largest)))) if largest else digits
    return "{} ({} to {})".format(*(format_number(x, digits) for x in (value, lower, upper)))


def format_p(p: float, digits: int = 3) -> str:
    """Return a P value: `0.012`, `<0.001`, never `0.000`."""
    if isinstance(p, str):
        return p
    if p is None or not math.isfinite(p):
        return NOT_ESTIMABLE
    return f"<{10**-digits:.{digits}f}" if p < 10**-digits else f"{p:.{digits}f}"


def p_text(p: float | str) -> str:
    """Return a P value in running text and figures: `P = 0.012`, `P < 0.001`.

    Examples
    --------
    >>> p_text(0.0123), p_text(0.00001), p_text("<0.0001"), p_text(float("nan"))
    ('P = 0.012', 'P < 0.001', 'P < 0.0001', 'P not estimable')
    """
    text = format_p(p)
    sign = "" if not text[-1].isdigit() else "< " if text[0] == "<" else "= "
    return f"P {sign}{text.lstrip('< ')}"


def groups_text(found, p: float, horizon_months: float) -> str:
    """Write what `dlrs.stats.cox.compare_groups` finds, and the log-rank P: two lines for below a figure."""
    survivals = [
        f"{100 * s:.0f}%" if math.isfinite(s) else NOT_ESTIMABLE for s in (found.survival_high, found.survival_low)
    ]
    ratio = [found.hr, found.lower, found.upper] if 0 < found.hr < math.inf else [math.nan] * 3
    at = f"at {horizon_months:.0f} months {survivals[0]} (high risk) and {survivals[1]} (low risk)"
    return f"HR {format_estimate(*ratio, digits=2)}, log-rank {p_text(p)}\n{at}"


def counted(n: int | str, one: str) -> str:
    """Return a count with its noun, in the singular for one.

    Examples
    --------
    >>> counted(1, "metastasis"), counted(0, "event"), counted("<5", "patient")
    ('1 metastasis', '0 events', '<5 patients')
    """
    many = one[:-2] + "es" if one.endswith("sis") else one + "s"
    return f"{n} {one if str(n) == '1' else many}"


def listed(texts: Iterable[str], between: str = ", ") -> str:
    """Join texts; where nothing could be estimated that is said once.

    Examples
    --------
    >>> listed(["0.1", "0.2"], " to "), listed([NOT_ESTIMABLE, NOT_ESTIMABLE])
    ('0.1 to 0.2', 'not estimable')
    """
    texts = list(texts)
    return NOT_ESTIMABLE if set(texts) == {NOT_ESTIMABLE} else between.join(texts)


def format_count(count: int | str, total: int | str) -> str:
    """Return `7/22 (31.8%)`; a hidden count leaves its share out."""
    if isinstance(count, str) or isinstance(total, str):
        return f"{count}/{total}"
    if not math.isfinite(count):
        return NOT_ESTIMABLE
    return f"{count}/{total} ({100 * count / total:.1f}%)" if total else "0/0 (no patients)"


# ---------------------------------------------------------------- cells of a table's page, made from a row of its frame


def number(value: str, digits: int | None = None) -> Cell:
    """Write a column's number with so many decimals."""
    return lambda row: format_number(row[value], digits)


def estimate(value: str, lower: str = "lower", upper: str = "upper", digits: int | None = None) -> Cell:
    """Write a column's number with its interval."""
    return lambda row: format_estimate(row[value], row[lower], row[upper], digits)


def significant(value: str) -> Cell:
    """Write a column's number with three significant digits and four decimals at most, for unlike magnitudes."""

    def cell(row):
        x = row[value]
        if isinstance(x, str) or not math.isfinite(x) or x == round(x):
            return format_number(x, 0)
        if abs(x) < 5e-5:
            return "0" if abs(x) < 1e-12 else "<0.0001" if x > 0 else ">−0.0001"
        return format_number(x, min(4, max(0, 2 - math.floor(math.log10(abs(x))))))

    return cell


def p_value(p: str = "p") -> Cell:
    """Write a column's P value."""
    return lambda row: format_p(row[p])


def probability(p: str) -> Cell:
    """Write a column's probability, `<0.001` or `>0.999` where it would be printed as 0 or 1."""
    return lambda row: ">0.999" if row[p] > 0.999 else format_p(row[p])


def count(n: str = "n", of: str = "of") -> Cell:
    """Write two columns as `7/22 (31.8%)`."""
    return lambda row: format_count(row[n], row[of])


def share(n: str = "n", percent: str = "percent") -> Cell:
    """Write a count and its percentage as `36 (21.18%)`; a hidden count has no percentage."""

    def cell(row):
        return (
            str(row[n])
            if isinstance(row[n], str) or row[percent] != row[percent]
            else f"{row[n]:.0f} ({row[percent]:.2f}%)"
        )

    return cell


def percent(value: str) -> Cell:
    """Write a column's share, from 0 to 1, in percent with its limits `<value>_lower` and `<value>_upper`.

    `12.5 (9.6 to 16.1)`; nothing where there is no share.
    """

    def cell(row):
        limits = [100 * row[f"{value}{end}"] for end in ("", "_lower", "_upper")]
        return format_estimate(*limits, 1) if math.isfinite(limits[0]) else ""

    return cell


def label(name: str) -> Cell:
    """Write a column's value as a word of the field."""
    return lambda row: spell(str(row[name]))


def _cell(spec: str | Cell) -> Cell:
    """Return what writes a cell: a column's own value where only its name is given."""
    if callable(spec):
        return lambda row: typeset(str(spec(row)))

    def plain(row):
        value = row[spec]
        if isinstance(value, (bool, np.bool_)):
            return "yes" if value else "no"
        if isinstance(value, (float, np.floating)):
            is_whole = math.isfinite(value) and value == round(value) and abs(value) >= 1
            return format_number(value, 0 if is_whole else None)
        return "" if value is None else typeset(str(value))

    return plain


def layout(
    frame: pd.DataFrame,
    columns: Mapping[str, str | Cell],
    *,
    sections: str | Cell | None = None,
    once: Sequence[str] = (),
) -> pd.DataFrame:
    """Return a frame's rows as text, in the columns of a page.

    Parameters
    ----------
    frame
        One row a computed number or group of numbers.
    columns
        Heading to what stands below it: a column of `frame`, or a function of
        a row (`estimate("c")`). A heading with a field in braces
        (`"{cohort} (n = {of})"`) becomes a column for each of its values,
        neighbouring headings of the same value side by side; rows that are
        equal in the other columns are then joined.
    sections
        A column, or a function of a row, each value of which gets a heading row.
    once
        Headings whose text is not repeated: it stands in a section's heading row where the whole section has the
        same, else in the first of neighbouring rows that have the same.

    Returns
    -------
    DataFrame
        Text only; `""` where a row has nothing to show. `attrs["sections"]` lists the places of heading rows.
    """
    cells = {heading: _cell(spec) for heading, spec in columns.items()}
    section = _cell(sections) if sections is not None else None
    wide, first = any("{" in heading for heading in cells), next(iter(columns))
    rows: dict[tuple, dict[str, str]] = {}
    for place, row in enumerate(frame.to_dict("records")):
        texts = {h: cell(row) for h, cell in cells.items() if "{" not in h and h not in once}
        top = section(row) if section else ""
        if section:
            rows.setdefault((top,), {first: top})
        key = (top, *(texts.values() if wide else [place]))
        line = rows.setdefault(key, texts | {h: cells[h](row) for h in once})
        for heading, cell in cells.items():
            if "{" in heading:
                line[heading.format(**row)] = cell(row)
    order = {top: place for place, top in enumerate(dict.fromkeys(key[0] for key in rows))}
    rows = {key: rows[key] for key in sorted(rows, key=lambda key: order[key[0]])}  # a section's rows stay together
    for top, heading in itertools.product(order, once):
        lines = [line for key, line in rows.items() if key[0] == top and len(key) > 1]
        above = None
        if section and heading != first and len({line[heading] for line in lines}) == 1:
            rows[(top,)][heading] = above = lines[0][heading]
        for line in lines:
            text = line[heading]
            line[heading], above = "" if text == above else text, text
    headings: list[str] = []
    for repeated, group in itertools.groupby(columns, key=lambda heading: "{" in heading):
        neighbours = list(group)  # those with fields stay together: estimate and P of a cohort, then of the next
        rows_of = frame.to_dict("records") if repeated else [{}]
        found = [heading.format(**row) if repeated else heading for row in rows_of for heading in neighbours]
        headings += [name for name in dict.fromkeys(found) if name not in headings]
    page = pd.DataFrame(list(rows.values()), columns=headings).fillna("")
    page.attrs["sections"] = [place for place, key in enumerate(rows) if section and len(key) == 1]
    return page


# ---------------------------------------------------------------- small counts


def masked(
    frame: pd.DataFrame,
    counts: Sequence[str],
    *,
    smallest: int,
    within: Sequence[str] = (),
    across: Sequence[str] = (),
    parts: Sequence[str] = (),
    elsewhere: Sequence[bool] | None = None,
    with_them: Sequence[str] = (),
    tests: Sequence[str] = (),
    tested: Sequence[str] = (),
) -> pd.DataFrame:
    """Hide counts of patients that are so small that they may point to somebody, and what they would follow from.

    Parameters
    ----------
    frame
        One row a group of patients.
    counts
        Columns that count patients.
    smallest
        From `cohort.smallest_count`: counts from 1 to one below it are hidden;
        with 0 the table comes back as it is.
    within, across
        Columns that say which rows add up to a total that is known, in one way or in two.
    parts
        Two or more of `counts` that add up to another one in their row.
    elsewhere
        True in rows that another table hides, so that they are hidden here too; see `Record.hidden_levels`.
    with_them
        Columns computed from the counts, emptied in rows that lose one.
    tests, tested
        Columns such as P, computed from all counts of the rows that are equal in the columns `tested`; not shown where
        one of those is hidden, since an exact P and the totals give it away.

    Returns
    -------
    DataFrame
        Small counts are `<5`. Where a single one of a sum is hidden, which its total would tell, the next smallest is
        hidden too, as `not shown`; and so on until no small count has one possible value only (complementary cell
        suppression). Where nothing is left to hide, a small count is `not shown` itself.

    Notes
    -----
    A reader is taken to know every total, and that what is `not shown` is not small: with bounds from 1 to 4, from 5 on
    and the sums, each cell's bounds are tightened until they stay. Several tables together are looked after by
    `elsewhere` and by a test that solves for the hidden counts of a run.

    Examples
    --------
    >>> table = pd.DataFrame({"level": ["cT3", "cT4", "cT2"], "n": [40, 3, 9], "all": "x"})
    >>> masked(table, ["n"], smallest=5, within=["all"])["n"].tolist()
    [40, '<5', 'not shown']
    """
    if not smallest:
        return frame
    frame = frame.copy()
    values = frame[list(counts)].to_numpy(dtype=float)
    small = (values > 0) & (values < smallest)
    cover = small.copy()
    if elsewhere is not None:
        cover[np.asarray(elsewhere, dtype=bool)] = True
    rows = [list(of) for by in (within, across) if by for of in frame.groupby(list(by), observed=True).indices.values()]
    columns = [list(counts).index(name) for name in parts]
    sums = [[(row, place) for row in of] for of in rows for place in range(len(counts))]
    sums += [[(row, place) for place in columns] for row in range(len(frame)) if columns]
    vague = _cover_sums(values, small, cover, sums, smallest)
    for place, name in enumerate(counts):
        texts = frame[name].astype(object)
        texts[cover[:, place]] = NOT_SHOWN
        texts[(small & ~vague)[:, place]] = f"<{smallest}"
        frame[name] = texts
    lost = pd.Series(cover.any(axis=1), index=frame.index)
    for name in with_them:
        frame[name] = frame[name].mask(lost)
    if tests:
        lost = lost.groupby([frame[name] for name in tested], observed=True).transform("any")
        for name in tests:
            frame[name] = frame[name].astype(object).mask(lost, NOT_SHOWN)
    return frame


def _cover_sums(values: np.ndarray, small: np.ndarray, cover: np.ndarray, sums: list, smallest: int) -> np.ndarray:
    """Extend `cover` in place until no small count follows from the sums; return those that lose their bounds too."""
    vague = np.zeros_like(small)
    while True:
        before = -1
        while cover.sum() != before:  # hiding one more may leave it alone in another sum
            before = cover.sum()
            for cells in sums:
                open_ = [cell for cell in cells if not cover[cell]]
                if len(open_) == len(cells) - 1 and open_:
                    cover[min(open_, key=lambda cell: (values[cell] == 0, values[cell]))] = True
        known = _told(values, small, cover, vague, sums, smallest)
        if not known:
            return vague
        open_ = [cell for cell in known if not cover[cell]]
        if not open_ and all(vague[cell] for cell in known):
            open_ = list(zip(*np.nonzero(~cover), strict=True))
            known = list(zip(*np.nonzero(~vague), strict=True))
        if open_:
            cover[min(open_, key=lambda cell: (values[cell] == 0, values[cell]))] = True
        elif known:
            vague[tuple(zip(*known, strict=True))] = True
        else:
            return vague  # the totals alone give the count away


def _told(values, small, cover, vague, sums, smallest) -> list:
    """Return the cells of a sum that leaves a small count one value only; none where every sum leaves two."""
    low, high = values.copy(), values.copy()
    low[cover], high[cover] = np.where(values[cover] > 0, smallest, 0), np.where(values[cover] > 0, np.inf, 0)
    low[small], high[small] = 1, smallest - 1
    low[vague], high[vague] = 0, np.inf
    changed = True
    while changed:
        before = np.array([low, high])
        for cells in sums:
            total = sum(values[cell] for cell in cells)
            for cell in cells:
                others = [other for other in cells if other != cell]
                low[cell] = max(low[cell], total - sum(high[other] for other in others))
                high[cell] = min(high[cell], total - sum(low[other] for other in others))
                if small[cell] and low[cell] == high[cell]:
                    return cells
        changed = not np.array_equal(before, [low, high], equal_nan=True)
    return []


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
        cell = plain_signs(cell).replace("\r", " ")  # a writer leaves it unquoted, and a reader starts a row there
        if not cell.startswith(FORMULA):
            return cell
        try:
            float(cell)
        except ValueError:
            return f"'{cell}"
        return cell if cell[0] in "+-" else f"'{cell}"

    text = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
    return frame.assign(**{c: [safe(cell) for cell in frame[c]] for c in text}).rename(columns=safe)


# ---------------------------------------------------------------- the record


def _plain(value):
    """Turn NumPy values into what JSON holds; numbers in text have ASCII signs, one that is not finite is None."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return plain_signs(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def shown_count(n, smallest: int, totals: Iterable[int] = ()):
    """Return a count as it may be shown: `<5` where it is small, `not shown` where what it leaves of a total is.

    Examples
    --------
    >>> shown_count(3, 5), shown_count(58, 5, [60]), shown_count(50, 5, [60])
    ('<5', 'not shown', 50)
    """
    if isinstance(n, bool) or not isinstance(n, (int, float, np.number)) or n != n or n != int(n):
        return n
    if 0 < n < smallest:
        return f"<{smallest}"
    return NOT_SHOWN if any(0 < total - n < smallest for total in totals) else n


MODEL = {"equation", "nomogram_points", "nomogram_total"}  # tables by which somebody else computes the risk


def coarse(value, name: str):
    """Return an estimate of a shared run to two decimals, a P to three; a count or cut-off stays as it is.

    To its last digit an AUC, a share or a Kaplan-Meier estimate is a fraction that tells of how many patients it is.

    Examples
    --------
    >>> coarse(31 / 45, "value"), coarse(0.00002, "p_holm"), coarse(31.0, "n"), coarse(0.4155, "cutoff")
    (0.69, 0.0005, 31.0, 0.4155)
    """
    if not isinstance(value, (float, np.floating)) or not np.isfinite(value) or value == round(value):
        return value
    if name in ("cutoff", "threshold", "units"):
        return value
    return max(round(float(value), 3), 0.0005) if re.match(r"p(_|$)", name) else round(float(value), SHARED_DECIMALS)


def _without_small(entry: Mapping, smallest: int, totals: Sequence[int] = ()) -> dict:
    """Leave out of an entry what `masked` has hidden, and numbers of patients that `shown_count` hides."""
    if not smallest:
        return dict(entry)
    whole = [of for of in (entry.get("n"), entry.get("of")) if isinstance(of, (int, np.integer))]

    def hidden(name, of) -> bool:
        value = entry.get(name)
        shown = shown_count(value, smallest, of) if isinstance(value, (int, np.integer)) else value
        return isinstance(shown, str) and (shown == NOT_SHOWN or shown[:1] == "<")

    lost = [name for name in ("value", "n", "of", "p") if hidden(name, whole if name == "value" else ())]
    made_from_it = ["percent", *(["value", "ci"] if isinstance(entry.get("value"), float) else [])] if lost else []
    near = [name for name in ("n", "of") if hidden(name, totals)]
    kept = {name: None if name in (*lost, *near, *made_from_it) else value for name, value in entry.items()}
    return kept | ({"reason": "a count too small to show"} if lost and kept.get("value") is None else {})


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


class Record:
    """What one notebook records of one run; recording the same key or name again replaces it."""

    def __init__(
        self,
        run_dir: Path,
        notebook: str,
        inputs: Sequence[Path],
        provenance: str,
        smallest: int,
        variables: Mapping[str, cohort.Variable] = cohort.VARIABLES,
    ):
        if provenance not in STAMPS:
            raise ValueError(f"provenance must be one of {', '.join(STAMPS)}; found {provenance!r}")
        self.run_dir, self.notebook, self.inputs = run_dir, notebook, list(inputs)
        self.provenance, self.smallest, self.variables = provenance, smallest, variables
        self.entries: dict[str, dict] = {}
        self.totals: list[int] = []  # of the cohorts, where small counts are hidden: what is left of them may be small

    def spell(self, name: str) -> str:
        """Return a column's or level's name as tables and figures write it, a cohort's own variables by their label."""
        return spell(name, self.variables)

    def label(self, name: str) -> Cell:
        """Write a column's value as `spell` does."""
        return lambda row: self.spell(str(row[name]))

    def number(self, key: str, value, **fields) -> None:
        """Record one number: `key` is its path in paper_results.yaml joined by dots.

        Parameters
        ----------
        key
            The path of the published number, or one of the same kind.
        value
            The number; None or NaN where it could not be estimated, `NOT_HERE` where the cohort has not what it is of.
        **about
            ci, p, n, cohort, model, method, seed, those that apply; `reason`
            is kept where there is no value and must be there then.

        Raises
        ------
        ValueError
            No value and no reason, or an interval that does not hold the value.
        """
        self._add({key: {"value": value, **fields}})

    def numbers(self, frame: pd.DataFrame, key: str, *, value: str, ci: Sequence[str] = (), **fields) -> None:
        """Record a number a row.

        Parameters
        ----------
        frame
            One row a number.
        key
            The key with columns in braces: `"table2.cindex.{model}.{cohort}"`;
            `"{finding:key}"` writes the column's text as `key_word` does.
        value
            The column that holds the number.
        ci
            The two columns that hold its interval.
        **about
            What else an entry says (`p`, `n`, `method`, `reason`): a column of
            `frame`, or the same for every row. `cohort` and `model` are taken
            from columns of that name.
        """
        fields = {name: name for name in ("cohort", "model") if name in frame} | fields
        found = {}
        for row in frame.to_dict("records"):
            entry = {"value": row[value]} | ({"ci": [row[name] for name in ci]} if ci else {})
            entry |= {k: row[v] if isinstance(v, str) and v in row else v for k, v in fields.items()}
            words = {name: _Field(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
            found[key.format(**words)] = entry
        self._add(found)

    def _add(self, entries: Mapping[str, Mapping]) -> None:
        for key, entry in entries.items():
            if isinstance(entry["value"], str) and entry["value"] == NOT_HERE:
                fields = {name: kept for name, kept in entry.items() if name not in ("ci", "p", "percent")}
                fields = {name: kept for name, kept in fields.items() if not isinstance(kept, str) or kept != NOT_HERE}
                entry = fields | dict(value=None, reason=NOT_HERE)
            entry = _plain(_without_small(entry, self.smallest, self.totals))
            if self.smallest and "cutoff" not in key:
                last = key.rsplit(".", 1)[-1]
                entry = {k: coarse(v, last if k == "value" else k) for k, v in entry.items()}
                entry |= {"ci": [coarse(end, "ci") for end in entry["ci"]]} if entry.get("ci") else {}
            value, ci = entry["value"], entry.get("ci")
            if value is None and not entry.get("reason"):
                raise ValueError(f"entries without an estimate must hold a reason; found none at {key}")
            if value is not None:
                entry.pop("reason", None)
            if ci and None not in ci and value is not None and not ci[0] - 1e-9 <= value <= ci[1] + 1e-9:
                raise ValueError(f"ci must hold the value; found {value} outside {ci} at {key}")
            self.entries[key] = {**entry, "notebook": self.notebook, "class": self.provenance}
        self._write(complete=False)

    def _write(self, *, complete: bool) -> None:
        hashes = {os.path.relpath(path, self.run_dir): sha256(path) for path in self.inputs}
        content = {"complete": complete, "inputs": hashes, "entries": self.entries}
        if "DLRS_STAGE" not in os.environ:
            content["by_hand"] = True  # the next run of the command makes this notebook's numbers again
        save_json(content, self.run_dir / "results" / f"{self.notebook}.json")

    def masked(self, frame: pd.DataFrame, counts: Sequence[str], **sums) -> pd.DataFrame:
        """Hide the small counts of a table that is to be shared; see `masked`."""
        return masked(frame, counts, smallest=self.smallest, **sums)

    def hidden_levels(self) -> set[tuple[str, str, str]]:
        """Return characteristic, level and cohort of each count that Table 1 hides; none where all are shown."""
        if not self.smallest:
            return set()
        table1 = pd.read_csv(self.run_dir / "tables" / "table1.csv", dtype=str, keep_default_na=False)
        hidden = table1[table1["n"].str.contains(f"<|{NOT_SHOWN}")]
        return set(hidden[["characteristic", "level", "cohort"]].itertuples(index=False, name=None))

    def table(
        self,
        frame: pd.DataFrame,
        name: str,
        *,
        columns: Mapping[str, str | Cell],
        caption: str,
        notes: str = "",
        sections: str | Cell | None = None,
        once: Sequence[str] = (),
    ) -> pd.DataFrame:
        """Write a table twice, unrounded as CSV and laid out as a page, and return what the page shows.

        Parameters
        ----------
        frame
            One kind of row, one number a cell; a `class` column is added.
        name
            The table's name in the paper: `table1`, `tableS2`.
        columns, sections, once
            The page's columns, see `layout`.
        caption, notes
            Above and below the table.
        """
        frame = self._shown(frame, name)
        page = layout(frame, columns, sections=sections, once=once)
        folder = self.run_dir / "tables"
        with whole_file(folder / f"{name}.csv") as partial:
            exportable(frame.assign(**{"class": self.provenance})).to_csv(partial, index=False)
        head, *lines = page.to_html(index=False, border=0, escape=True).split("<tr>")
        marked = dict.fromkeys(page.attrs["sections"], '<tr class="section">')
        body = head + "".join(marked.get(place, "<tr>") + line for place, line in enumerate(lines))
        body = body.replace(">\n  <thead", f">\n  <caption>{html.escape(caption)}</caption>\n  <thead", 1)
        texts = dict(title=html.escape(caption), stamp=STAMPS[self.provenance], table=body, notes=html.escape(notes))
        write_text(folder / f"{name}.html", template(Path(__file__).with_name("table.html")).render(texts) + "\n")
        page.index = [""] * len(page)
        return page

    def csv(self, frame: pd.DataFrame, name: str) -> None:
        """Write a table that has no page, such as the points of a curve."""
        save_csv(self._shown(frame, name).assign(**{"class": self.provenance}), self.run_dir / "tables" / f"{name}.csv")

    def _shown(self, frame: pd.DataFrame, name: str) -> pd.DataFrame:
        """Hide numbers of patients, `n`, that are a few less than a cohort's, and digits that would tell them."""
        if not self.smallest:
            return frame
        frame = frame.assign(n=[self.count(n) for n in frame["n"]]) if "n" in frame else frame
        rounded = {} if name in MODEL else {c: [coarse(x, str(c)) for x in frame[c]] for c in frame}
        return frame.assign(**rounded)

    def count(self, n, of: int | None = None):
        """Return a number of patients as it may be shown, of `of` patients or of a cohort; see `shown_count`."""
        return shown_count(n, self.smallest, self.totals if of is None else [of]) if self.smallest else n

    def few(self, share: pd.Series, of: int) -> pd.Series:
        """Say which shares of `of` patients are of a small count, or leave one."""
        return pd.Series([isinstance(self.count(round(n), of), str) for n in share.fillna(0) * of], index=share.index)

    def figure(self, fig, name: str) -> None:
        """Write a figure as PNG (300 dpi) and SVG (editable text), stamped with its class, and show it.

        In the run that `DLRS_PDF` names, which `reproduce` sets, as PDF with editable text too, which takes long.
        """
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_pdf import FigureCanvasPdf
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        folder = self.run_dir / "figures"
        if not any(text.get_text() == STAMPS[self.provenance] for text in fig.texts):
            if fig.get_layout_engine() is not None:  # leave a line free for the stamp
                strip = 0.16 / fig.get_figheight()
                fig.get_layout_engine().set(rect=(0, strip, 1, 1 - strip))
                fig.get_layout_engine().execute(fig)
                fig.set_layout_engine("none")  # laid out once; each further time would cost as much as drawing
            fig.text(0.995, 0.003, STAMPS[self.provenance], ha="right", va="bottom", fontsize=6, color="#8a3b00")
        # By the canvases themselves: `savefig`, and a notebook's own display, would draw everything twice.
        with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "pdf.fonttype": 42}):
            with whole_file(folder / f"{name}.svg") as partial:
                FigureCanvasSVG(fig).print_svg(partial, metadata={"Date": None})
            if os.environ.get("DLRS_PDF") == str(self.run_dir):
                with whole_file(folder / f"{name}.pdf") as partial:
                    FigureCanvasPdf(fig).print_pdf(partial, metadata={"CreationDate": None})
            fig.set_dpi(300)
            with whole_file(folder / f"{name}.png") as partial:
                FigureCanvasAgg(fig).print_png(partial, metadata={"Software": None})
        if "inline" in matplotlib.get_backend():
            _show(folder / f"{name}.png", fig)

    def finish(self, *packages: str) -> dict[str, str]:
        """Say that everything is recorded, and return the session information; without it the numbers do not count."""
        self._write(complete=True)
        return session_information(*packages)


def _short(value: float) -> str:
    """Write a number with three decimals at most, and three digits where it is small."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return typeset(f"{value:.3g}" if abs(value) < 1 else f"{round(value, 3):.10g}")


def _as_html(frame: pd.DataFrame) -> str:
    """Lay out a frame that a cell shows; what there is no value of is a dash."""
    rows, columns = (pd.get_option(f"display.max_{name}") for name in ("rows", "columns"))
    known = frame.where(frame.notna(), float("nan"))
    return known.to_html(max_rows=rows, max_cols=columns, na_rep="–", notebook=True, show_dimensions=False)


def start(run_dir: str | Path, notebook: str, *, inputs: Iterable[str] = (), provenance: str = "") -> Record:
    """Begin a notebook's record.

    Parameters
    ----------
    run_dir
        The run's folder; numbers go to `results/<notebook>.json` in it.
    notebook
        The notebook's name without ending.
    inputs
        The run's files that the numbers depend on, relative to its folder.
    provenance
        PUBLISHED, SYNTHETIC or COHORT; from the run's `interim/study.json` where it is not given.

    Raises
    ------
    InputError
        One of the inputs is missing.

    Notes
    -----
    Started by hand, it marks the run's `results.json` and pages as older than this notebook. Frames that cells show
    are printed with three digits from then on.
    """
    pd.set_option("display.float_format", _short)  # of frames that cells show; files keep every digit
    pd.set_option("display.max_colwidth", None)
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()):
        shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, _as_html)
    run_dir = resolve(run_dir)
    files, smallest, variables = [run_dir / name for name in inputs], 0, cohort.VARIABLES
    for path in files:
        if not path.is_file():
            remedy = f"`python3 run.py {made_by(notebook)}` makes it."
            raise InputError(display_path(path), "the file is missing", expected="an earlier stage's", remedy=remedy)
    if not provenance:
        study = cohort.read_settings(run_dir)
        provenance, smallest, variables = study["class"], study["smallest_count"], study["variables"]
    if "DLRS_STAGE" not in os.environ:
        mark_older(run_dir, notebook)
    record = Record(run_dir, notebook, files, provenance, smallest, variables)
    set_decimals(smallest)
    if smallest and (run_dir / "interim" / "patients.csv").is_file():
        sizes = cohort.read_patients(run_dir / "interim" / "patients.csv")["cohort"].value_counts()
        record.totals = [int(n) for n in (*sizes, sizes.sum()) if n]
    return record


OLDER = '<p class="older" style="background:#8a3b00;color:#fff;padding:.6rem 1rem;margin:0">{}</p>'


def mark_older(run_dir: Path, notebook: str) -> None:
    """Say on a finished run's pages, and beside its numbers, that a notebook was run again since."""
    path = run_dir / "results.json"
    if not path.is_file():
        return
    warning = (
        f"Older than {notebook}, which was run again by hand: run the rest, or the command that made this run, again."
    )
    entries = json.loads(path.read_text(encoding="utf-8"))
    save_json({k: e | ({"older": warning} if e["notebook"] == notebook else {}) for k, e in entries.items()}, path)
    for page in (*run_dir.glob("*.html"), *run_dir.glob("notebooks/*.html")):
        text = page.read_text(encoding="utf-8")
        if warning not in text:
            write_text(page, re.sub(r"(<body[^>]*>)", lambda m: m[1] + OLDER.format(warning), text, count=1))


# ---------------------------------------------------------------- all notebooks of a run


def gather(run_dir: str | Path) -> tuple[dict, list[str]]:
    """Read the notebooks' numbers.

    Returns
    -------
    entries
        Key to entry, of every notebook that ran to its end and whose inputs are still as they were.
    missing
        Keys left out because a file they were made from has changed or gone, or their notebook stopped half-way.
    """
    run_dir = resolve(run_dir)
    entries: dict = {}
    missing: list[str] = []
    for path in sorted((run_dir / "results").glob("*.json")):
        part = json.loads(path.read_text(encoding="utf-8"))
        files = {run_dir / name: digest for name, digest in part["inputs"].items()}
        if part["complete"] and all(file.is_file() and sha256(file) == digest for file, digest in files.items()):
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
        write_text(run_dir / name, json.dumps(content, indent=1, sort_keys=True))
    return entries, missing


# ---------------------------------------------------------------- files


def save_json(content, path: str | Path) -> None:
    """Write plain values as JSON, whole or not at all."""
    write_text(resolve(path), json.dumps(_plain(content), indent=1))


def load_json(path: str | Path, remedy: str = "Run the notebook that writes it first, or `python3 run.py statistics`."):
    """Read what an earlier notebook wrote; say which step is missing when it is not there."""
    path = resolve(path)
    if not path.is_file():
        raise InputError(display_path(path), "the file is missing", expected="an earlier stage's output", remedy=remedy)
    return json.loads(path.read_text(encoding="utf-8"))


def save_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table, numbers to the last digit, whole or not at all; outside `interim/` its text is no formula."""
    path = resolve(path)
    frame = frame if "interim" in path.parts else exportable(frame)
    with whole_file(path) as partial:
        frame.to_csv(partial, index=False)
