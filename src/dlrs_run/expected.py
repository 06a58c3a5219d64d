"""What a run is held to: the statistics to the last digits, a fresh training to bands measured over seeds."""

from __future__ import annotations

import json
import math
import re
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dlrs.bands import RELATIVE, bands, hold_to_bands
from dlrs.config import InputError, copy_file, display_path, resolve, sha256, whole_file, write_text
from dlrs.results import NOT_SHOWN, format_estimate, format_p, load_json, spell

EXPECTED = "reports/expected.json"
FROZEN = "data_synthetic/dl_prob.csv"
ALTERNATIVES = "data_synthetic/alternatives.csv"
ABSOLUTE = 1e-12
BAND_RULE = (
    "mean +- reach * sd * sqrt(1 + 1/n) over n seeds, with one reach for all numbers: the largest distance, in those "
    "units, of any number of any seed from the other seeds. A number of one more training then lies outside by chance "
    "in at most about one of n + 1 trainings. No check where a band holds the value of a model without information"
)


def _leaves(entries, path: str = "") -> dict[str, object]:
    """Return every single number and word of nested results with its path."""
    if isinstance(entries, Mapping):
        parts = entries.items()
    elif isinstance(entries, list):
        parts = enumerate(entries)
    else:
        return {path: entries}
    return {k: v for name, part in parts for k, v in _leaves(part, f"{path}/{name}" if path else str(name)).items()}


def _same(expected, found) -> bool:
    numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (expected, found))
    return abs(expected - found) <= RELATIVE * abs(expected) + ABSOLUTE if numbers else expected == found


def differences(expected: Mapping, found: Mapping) -> list[tuple[str, object, object]]:
    """List what moved between two sets of results.

    Parameters
    ----------
    expected, found
        Key to entry, as in `results.json`.

    Returns
    -------
    list of (place, expected, found)
        `place` is the key and the field, as in `table2.cindex.DLRS.validation/ci/0`. Numbers count as equal within
        1e-8 of the expected one plus 1e-12; "missing" and "new" stand for a value that is on one side only.
    """
    before, now = _leaves(expected), _leaves(found)
    moved = [(place, before[place], now.get(place, "missing")) for place in before]
    moved += [(place, "new", now[place]) for place in now if place not in before]
    return [(place, a, b) for place, a, b in moved if not _same(a, b)]


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


def unfounded(page: pd.DataFrame, tidy: pd.DataFrame) -> list[str]:
    """List what a table's page shows and its own frame does not hold.

    Parameters
    ----------
    page
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
    titles = [str(title) for title in page.columns]
    found, heading = [], ""
    for title in titles:
        for n in re.findall(r"n ?= ?(\d+)", title):
            if not any(row.has(n, percent=False) for row in rows):
                found.append(f"the heading {title!r} counts {n} patients, the frame nowhere")
    for place, cells in enumerate(page.astype(object).where(page.notna(), "").itertuples(index=False)):
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
        if best == 0 and len(rows) == len(page):
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
            limit = float(n.replace("−", "-"))
            held = any(((row.numbers < limit) if sign == "<" else (row.numbers > limit)).any() for row in rows)
        else:
            held = shares.get(n) == n or any(row.has(n, percent=percent) for row in rows)
        if not held:
            wrong.append(n)
    return wrong


def pages_and_frames(folder: str | Path) -> list[str]:
    """List what the table pages of a folder show and the CSV files beside them do not hold.

    Returns
    -------
    list of str
        Empty when every label and number of every page is its own frame's, see `unfounded`. Cells and headings
        that were not spelt out (`ct_stage[T.cT4]`, `n_high`, `nan`) are listed as well.
    """
    from dlrs_run import pages

    found = []
    for path in sorted(Path(folder).glob("*.html")):
        table = pages.read_table(path)
        page, tidy = pd.DataFrame(table.rows, columns=table.columns), pd.read_csv(path.with_suffix(".csv"))
        found += [f"{path.name}: {fault}" for fault in unfounded(page, tidy) + unspelt(table)]
    return found


def unspelt(table) -> list[str]:
    """List headings and cells of a page's table that are code, not words: raw names, `nan`, lists, endless digits.

    Parameters
    ----------
    table : pages.Table
        As `pages.read_table` returns it.
    """
    found = [f"the heading {title!r} is a raw name" for title in table.columns if re.search(r"\w_\w|\[T\.", title)]
    found += [f"column {place + 1} has no heading" for place, title in enumerate(table.columns) if not title]
    for place, title in enumerate(table.columns):
        if table.rows and not any(row[place] for row in table.rows):
            found.append(f"the column {title!r} is empty")
    raw = re.compile(r"\[T\.|\bnan\b|^\[.*\]$|\d\.\d{10,}")
    cells = [cell for row in table.rows for cell in row]
    return found + [f"the cell {cell!r} is raw" for cell in dict.fromkeys(cells) if raw.search(cell)]


SHOWN = 6  # moved entries that the terminal shows; the file has all


def _entry(entry: Mapping | str) -> str:
    """Return an entry as one reads it, `0.126 (0.034 to 0.218), P 0.007`."""
    if isinstance(entry, str):
        return entry
    text = format_estimate(entry.get("value"), *(entry.get("ci") or (None, None)))
    if not isinstance(entry.get("value"), float):
        text = str(entry.get("value"))
    return text + (f", P {format_p(entry['p'], 4)}" if isinstance(entry.get("p"), (int, float)) else "")


def moved_entries(expected: Mapping, found: Mapping) -> pd.DataFrame:
    """Return one row an entry that moved: `key`, `what` (moved, new or missing), `fields`, `expected`, `found`."""
    rows: dict[str, dict] = {}
    for place, a, b in differences(expected, found):
        key, field = place.rsplit("/", place.count("/"))[0], place.partition("/")[2]
        change = "new" if key not in expected else "missing" if key not in found else "moved"
        row = dict(key=key, what=change, fields=[], expected=expected.get(key, "-"), found=found.get(key, "-"))
        rows.setdefault(key, row)["fields"].append(f"{field}: {a} -> {b}" if change == "moved" else field)
    for row in rows.values():
        same = _entry(row["expected"]) == _entry(row["found"])  # what moved is not what is printed
        row |= dict(expected=_entry(row["expected"]), found=_entry(row["found"]), fields="; ".join(row["fields"]))
        row["line"] = row["fields"] if same else f"{row['expected']} -> {row['found']}"
    return pd.DataFrame(list(rows.values()), columns=["key", "what", "expected", "found", "fields", "line"])


def figure_sizes(run_dir: str | Path) -> dict[str, list[int]]:
    """Return width and height in pixels of a run's figures by name, read from the PNG files' heads."""
    sizes = {}
    for path in sorted(Path(run_dir).glob("figures/*.png")):
        with open(path, "rb") as file:
            head = file.read(24)
        complete = head[:8] == b"\x89PNG\r\n\x1a\n" and path.with_suffix(".svg").is_file()
        sizes[path.stem] = list(struct.unpack(">II", head[16:24])) if complete else [0, 0]
    return sizes


def check(run_dir: str, default_dir: str) -> int:
    """Compare a statistics run with what is expected, and the default run's training with the bands, in a few lines.

    The summary comes first; then an entry a line, at most `SHOWN`; the whole list is `check.csv` in the run. The last
    line says what to do. Pages are held to their tables' files, figures to their sizes.
    """
    expected = load_json(resolve(EXPECTED), "Write it with `python3 run.py accept`.")
    found = load_json(Path(run_dir) / "results.json", "Run the statistics.")
    moved = moved_entries(expected["statistics"], found)
    frozen = sha256(resolve(FROZEN)) == expected["dl_prob_sha256"]
    pages = pages_and_frames(Path(run_dir) / "tables")
    sizes, wanted = figure_sizes(run_dir), expected.get("figures", {})
    figures = [
        f"{name}: expected {a}, found {sizes.get(name, 'none')}" for name, a in wanted.items() if sizes.get(name) != a
    ]
    words = _bands_in_words(expected, Path(default_dir) / "results.json")
    outside = words.pop("outside")
    counts = moved["what"].value_counts()
    n_pages = len(list((Path(run_dir) / "tables").glob("*.html")))
    print(
        f"{len(expected['statistics'])} numbers: "
        + ", ".join(f"{counts.get(change, 0)} {change}" for change in ("moved", "new", "missing"))
        + f". {n_pages} table pages: {len(pages)} faults. {len(wanted)} figures: {len(figures)} faults. {words['said']}"
    )
    if not frozen:
        print(f"moved    {FROZEN}: it is not the file that the expected numbers were made from")
    for row in moved[moved["what"] == "moved"].head(SHOWN).itertuples():
        print(f"moved    {row.key}  {row.line}")
    for change in ("new", "missing"):
        keys = moved.loc[moved["what"] == change, "key"].tolist()
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            print(f"{change:8} {', '.join(keys[:3])}{more}")
    for kind, faults in {"page": pages, "figure": figures, "outside": outside}.items():
        for fault in faults[:3]:
            print(f"{kind:8} {fault}")
        if len(faults) > 3:
            print(f"{kind:8} and {len(faults) - 3} more")
    wrong = bool(len(moved) or not frozen or pages or figures or outside)
    if wrong:
        with whole_file(Path(run_dir) / "check.csv") as partial:
            moved.drop(columns="line").to_csv(partial, index=False)
        print(f"All of it: {display_path(Path(run_dir) / 'check.csv')}")
        print("Meant? `python3 run.py accept` takes it as expected.", end=" ")
        print("Not meant? `git diff` shows what was changed, `git checkout notebooks src` takes it back.")
    return int(wrong)


def _bands_in_words(expected: Mapping, trained: Path) -> dict:
    """Hold a finished training to the bands: one sentence, and the numbers that are outside."""
    if not trained.is_file() or not expected["bands"]:
        return {
            "said": "Training: not checked, there is no " + ("band." if trained.is_file() else "default run."),
            "outside": [],
        }
    verdicts = hold_to_bands(expected["bands"]["numbers"], load_json(trained, ""))
    outside = [f"{key}: {words}" for key, verdict, words in verdicts if verdict == "outside"]
    n = {verdict: sum(v == verdict for _, v, _ in verdicts) for verdict in ("inside", "outside", "no check")}
    seeds = max((band["n"] for band in expected["bands"]["numbers"].values()), default=0)
    by_chance = f"by chance at most one training in {seeds + 1}"
    text = f"Training: {n['inside']} numbers inside their bands, {n['outside']} outside ({by_chance})"
    return {"said": f"{text}, {n['no check']} bands too wide to check.", "outside": outside}


def freeze(default_dir: str) -> int:
    """Make a finished run's probabilities the committed ones, with their hash; those of other choices too, if tried."""
    source, target = Path(default_dir) / "interim" / "dl_prob.csv", resolve(FROZEN)
    if not (Path(default_dir) / "results.json").is_file():
        print(f"{display_path(default_dir)} is not complete; {FROZEN} stays as it is")
        return 0
    copy_file(source, target)
    write_text(target.with_name("dl_prob.csv.sha256"), f"{sha256(target)}  dl_prob.csv\n")
    tried = source.with_name("alternatives.csv")
    if tried.is_file():
        copy_file(tried, resolve(ALTERNATIVES))
    print(f"{FROZEN} is now that of {display_path(default_dir)}")
    return 0


def accept(run_dir: str, *band_runs: str) -> int:
    """Write reports/expected.json from the statistics' results and, where given, from the runs at several seeds."""
    path = resolve(EXPECTED)
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"bands": {}}
    results = load_json(Path(run_dir) / "results.json", "Run the statistics.")
    measured = before["bands"]
    if band_runs:
        runs = [load_json(Path(run) / "results.json", "Run `python3 run.py bands` to its end.") for run in band_runs]
        measured = {"rule": BAND_RULE, "numbers": bands(runs)}
    content = {"dl_prob_sha256": sha256(resolve(FROZEN)), "bands": measured, "statistics": results}
    content["figures"] = figure_sizes(run_dir)
    write_text(path, json.dumps(content, indent=1, sort_keys=True) + "\n")
    print(f"{EXPECTED}: {len(results)} numbers, {len(measured.get('numbers', {}))} bands")
    return 0


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    try:
        sys.exit({"check": check, "freeze": freeze, "accept": accept}[command](*words))
    except (InputError, ValueError) as error:
        sys.exit(str(error))
