"""A hospital's table and its description: read as written, checked cell by cell, turned into the study's own table."""

from __future__ import annotations

import codecs
import csv
import datetime
import io
import re
import unicodedata
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from dlrs.cohort import (
    DAYS_PER_MONTH,
    OUT_OF_FOLD,
    VARIABLES,
    Variable,
    columns,
    complete_cases,
    typed,
    write_settings,
)
from dlrs.config import InputError, display_path, resolve
from dlrs.results import counted, save_csv
from dlrs_site.settings import DATES, STAND_IN, Settings, Unreadable, check, load, plain

# Theirs times the first over the second is in our unit, months for time and years for age.
UNITS = {
    "time_months": {"months": (1, 1), "days": (1, DAYS_PER_MONTH), "weeks": (7, DAYS_PER_MONTH), "years": (12, 1)},
    "age": {"years": (1, 1), "months": (1, 12)},
}
MAX_EMPTIED = 10_000  # rows of formulas without value below the last that holds something
EARLIEST = datetime.date(1980, 1, 1)  # before it there was no MRI of anybody
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
HANDED_ON = ("name", "class", "seed", "signal", "b_values", "acquisition")  # to the notebooks, in interim/study.json
B_VALUES = [0.0, 1000.0]  # s/mm2 (paper)
# What people write for a value that is not known; it is taken for that once cohort.yaml declares it.
UNKNOWN_WORDS = {
    "na", "n/a", "nan", "null", "none", ".", "-", "--", "?", "unknown", "missing", "nk", "k.a.", "99", "999", "#n/a",
    "#nv",
}  # fmt: skip
UNKNOWN_WORDS |= {"\u672a\u77e5", "\u4e0d\u8be6", "\u4e0d\u660e", "\u7f3a\u5931", "inconnu", "unbekannt"}
PROBABILITIES = "dl_prob.csv"  # a folder's own probabilities, from which the statistics start
SEQUENCE_COLUMNS = ("t2w_prob", "adc_prob")
ROUNDED = 0.011  # DL-prob's distance from the sum of two probabilities that are written with two decimals
CORRECT = "Correct the table and start again; nothing was computed from it."
DESCRIBE = "Correct cohort.yaml; `python3 run.py new-cohort FOLDER` writes an example with every setting explained."


class Cohort(NamedTuple):
    """A cohort folder's table and its description."""

    patients: pd.DataFrame  # one row a patient, incomplete ones too; `row` = the row in the table's file
    settings: dict  # cohort.yaml
    left_out: list[dict]  # cohort, reason, n: patients of the other cohort, where one alone was asked for
    variables: Mapping[str, Variable] = VARIABLES  # those of the paper, with what the folder adds and leaves out


class Problem(NamedTuple):
    """Something wrong with cohort.yaml or the table; `row` as a spreadsheet shows it, the header being row 1."""

    code: str
    file: str
    found: str
    expected: str
    remedy: str = CORRECT
    row: int | None = None
    column: str | None = None


class Survey(NamedTuple):
    """All that could be read of a cohort folder's description and table, and everything wrong with them."""

    settings: dict  # cohort.yaml, empty where it cannot be read
    patients: pd.DataFrame  # our columns as text, as far as they are there, empty cells as NaN, and `row`
    problems: list[Problem]
    file: str  # the table's name in the folder
    variables: Mapping[str, Variable] = VARIABLES
    assumed: Mapping[str, str] = {}  # what `table:` of cohort.yaml would say, where it was found out
    remarks: Sequence[Problem] = ()  # what is allowed and doubtful about the table's file


def _read_settings(folder: Path) -> tuple[dict, dict, list[Problem]]:
    """Return what cohort.yaml says, the same with every section that it leaves out, and what is wrong with it."""
    file, path = "cohort.yaml", folder / "cohort.yaml"
    stand_in = plain(Settings(**STAND_IN)) | {"variables": VARIABLES}
    if not path.is_file():
        remedy, expected = "See data_synthetic/cohort.yaml. " + DESCRIBE, "a YAML mapping that describes the cohort"
        return {}, stand_in, [Problem("settings-missing", file, "the file is missing", expected, remedy)]
    try:
        values, twice = load(path)
    except Unreadable as error:
        return {}, stand_in, [Problem("settings-unreadable", file, error.found, error.expected, DESCRIBE)]
    settings, wrong = check(values)
    wrong += [("settings-mapping", f"{key} is there twice", "each key once") for key in twice]
    remedies = {"settings-class": "Set `class: COHORT` for patients, `class: SYNTHETIC` for generated ones."}
    problems = [Problem(code, file, found, expected, remedies.get(code, DESCRIBE)) for code, found, expected in wrong]
    followed = plain(settings)
    known_keys = {key: value for key, value in followed.items() if key in values}
    return known_keys, followed | {"variables": settings.variables.joined()}, problems


def _table_file(folder: Path, settings: dict) -> tuple[str, Problem | None]:
    """Choose the table's file: the one declared, else clinical.csv or clinical.xlsx."""
    declared = settings["table"].get("file")
    names = [declared] if declared else ["clinical.csv", "clinical.xlsx"]
    present = [name for name in names if (folder / name).is_file()]
    if len(present) == 1:
        return present[0], None
    expected = "a clinical table"
    if present:
        remedy = "Remove one, or name the one that is meant: `table: {file: clinical.xlsx}` in cohort.yaml."
        problem = "clinical.csv and clinical.xlsx are both there"
        return names[0], Problem("table-twice", names[0], problem, expected, remedy)
    remedy = (
        "Give the folder that holds clinical.csv, or make a synthetic one with `python3 run.py cohort --out FOLDER`."
    )
    others = sorted(path.name for path in folder.glob("clinical.*") if path.is_file())
    if others:
        remedy = "Save it as .xlsx or .csv."
    problem = "the file is missing" + (f"; there is {others[0]}" if others else "")
    return names[0], Problem("table-missing", names[0], problem, expected, remedy)


def _as_text(value) -> str:
    """Return a spreadsheet's cell as the text that a CSV of it would hold."""
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    if isinstance(value, int | float) and abs(value) >= 1e15:
        return repr(float(value))  # Excel keeps 15 digits: an identifier of more is no longer itself, and is refused
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


class _Unreadable(Exception):
    """The table's file is not what it should be."""

    def __init__(self, found: str, expected: str, code: str = "table-unreadable"):
        super().__init__(found)
        self.found, self.expected, self.code = found, expected, code


def _xlsx_rows(path: Path, settings: dict) -> tuple[list[list[str]], list[int], list[str]]:
    """Return the rows of the one sheet that is not empty, or of the one declared; hidden rows; formulas without value.

    The sheet is streamed: a formatted cell in the last row would make the
    reader fill a million rows above it.
    """
    import openpyxl

    try:
        book = openpyxl.load_workbook(path, data_only=True, read_only=True)
        filled = {}
        for sheet in book.worksheets:
            rows = _filled(sheet.values)
            hidden, unvalued = _hidden_and_unvalued(path, sheet, len(rows))
            all_hidden = sheet.sheet_state != "visible"
            filled[sheet.title] = rows, [*range(1, len(rows) + 1)] if all_hidden else hidden, unvalued
        book.close()
    except zipfile.BadZipFile as error:
        kinds = "an old .xls, a web page or a file with a password may be under this name"
        raise _Unreadable(f"is no XLSX workbook: {kinds}", "an XLSX workbook") from error
    except Exception as error:  # a damaged archive makes the reader raise a dozen different kinds
        raise _Unreadable(f"cannot be read ({type(error).__name__})", "an XLSX workbook") from error
    filled = {name: found for name, found in filled.items() if found[0]}
    wanted = settings["table"].get("sheet")
    if wanted in filled or (wanted is None and len(filled) == 1):
        return filled[wanted or next(iter(filled))]
    expected = f"a sheet {wanted!r}" if wanted else "one, or its name in cohort.yaml: `table: {sheet: NAME}`"
    raise _Unreadable("the sheets that are not empty are " + (", ".join(filled) or "none"), expected)


def _filled(values) -> list[list[str]]:
    """Return a sheet's rows as text down to the last one that holds something."""
    rows, empty = [], 0
    for row in values:
        if all(cell is None for cell in row):
            empty += 1
            continue
        rows += [[] for _ in range(empty)]
        empty = 0
        rows.append([_as_text(cell) for cell in row])
    while rows and not any(rows[-1]):
        rows.pop()
    return rows


def _hidden_and_unvalued(path: Path, sheet, n_rows: int) -> tuple[list[int], list[str]]:
    """Return a sheet's hidden rows, and the cells whose formula was saved without its value (such as F2).

    Rows far below the last that holds something are not looked at.
    """
    hidden, unvalued = [], []
    with zipfile.ZipFile(path) as archive, archive.open(sheet._worksheet_path) as file:
        for _, row in ElementTree.iterparse(file):
            if not row.tag.endswith("}row"):
                continue
            if int(row.get("r", 0)) > n_rows + MAX_EMPTIED:
                break
            if row.get("hidden") in ("1", "true"):
                hidden.append(int(row.get("r", 0)))
            for cell in row:
                parts = {part.tag.rsplit("}", 1)[1]: part.text for part in cell}
                if "f" in parts and not parts.get("v"):
                    unvalued.append(cell.get("r", ""))
            row.clear()
    return hidden, unvalued


def _csv_text(path: Path, settings: dict) -> str:
    """Return a CSV file's text: UTF-8 or UTF-16 by its mark, anything else as declared."""
    raw, encoding = path.read_bytes(), settings["table"].get("encoding")
    if encoding is None:
        encoding = "utf-16" if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except (UnicodeError, LookupError) as error:
        expected = "UTF-8, or its encoding in cohort.yaml: `table: {encoding: cp1252}` (gb18030 of Chinese programs)"
        raise _Unreadable(f"is not {encoding.removesuffix('-sig').upper()} text", expected) from error
    if "\0" in text:
        raise _Unreadable("is no text file, or UTF-16 without its mark", "a CSV file in UTF-8")
    return text


def _csv_rows(text: str, separator: str) -> list[list[str]]:
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise _Unreadable(f"is no CSV ({error})", "a CSV file") from error
    return [[cell.strip() for cell in line] for line in lines]


def _separator(text: str, settings: dict, wanted: set[str]) -> str:
    """Return the declared separator, or the one that cuts the header into names that we know; others leave it whole."""
    declared = settings["table"].get("separator")
    if declared:
        return "\t" if declared == "tab" else declared
    header = text.split("\n", 1)[0]
    hits = {mark: len(wanted & set((_csv_rows(header, mark) or [[]])[0])) for mark in SEPARATORS}
    best = [mark for mark, n in hits.items() if n == max(hits.values())]
    if len(best) > 1:  # no name or one: the mark that is there at all
        best = [mark for mark in best if mark in header]
    if len(best) > 1:
        problem = "the columns may be separated by " + " or ".join(SEPARATORS[mark] for mark in best)
        expected = "one, or which it is in cohort.yaml: `table: {separator: ';'}`"
        raise _Unreadable(problem, expected, "table-separator")
    return best[0] if best else ","


def _read_raw(path: Path, settings: dict, wanted: set[str]) -> tuple[pd.DataFrame, list[Problem]]:
    """Return the table as text under its own column names, and what is wrong with its form.

    The index is the row in the file; `attrs["separator"]` is the CSV's, None for a spreadsheet.
    """
    file, separator, rows, first, hidden, unvalued = path.name, None, [], 1, [], []
    try:
        if path.suffix.lower() == ".xlsx":
            rows, hidden, unvalued = _xlsx_rows(path, settings)
        else:
            text = _csv_text(path, settings)
            separator_line = re.match(r"\"?sep=([,;\t])\"?[ \t]*\r?\n", text, re.IGNORECASE)  # Excel's own first line
            first += bool(separator_line)
            separator = separator_line[1] if separator_line else _separator(text, settings, wanted)
            rows = _csv_rows(text, separator)
    except _Unreadable as error:
        remedy = "Export it again, or declare in cohort.yaml what it is."
        return pd.DataFrame(), [Problem(error.code, file, error.found, error.expected, remedy)]
    rows = [[unicodedata.normalize("NFC", cell) for cell in row] for row in rows]
    known = [len(wanted & set(row)) for row in rows[:10]]
    heading = next((n for n, count in enumerate(known, start=1) if count > 2), first)
    if heading > first and known[first - 1] < known[heading - 1]:
        problem, remedy = f"the columns' names are in row {heading}", "Remove what stands above the names."
        if known[first - 1]:
            problem, remedy = f"the columns' names are in rows {first} to {heading}", "Give each its name in one row."
        return pd.DataFrame(), [Problem("table-columns", file, problem, f"them in row {first}", remedy)]
    names, problems, body = (rows[first - 1 :] or [[]])[0], [], {}
    names = [name if name in wanted else " ".join(name.split()) for name in names]
    for place in unvalued:
        column, row = re.fullmatch(r"([A-Z]*)(\d*)", place).groups()
        remedy = "Open the workbook in a spreadsheet program and save it, or write the values."
        problem = f"column {column} holds a formula that was saved without its value"
        problems.append(Problem("cell-formula", file, problem, "a value", remedy, int(row or 0) or None))
    while names and not names[-1]:
        names = names[:-1]
    for name in sorted({name for name in names if name in wanted and names.count(name) > 1}):
        problems.append(Problem("table-columns", file, f"column {name!r} is there twice", "each column once"))
    for number, row in enumerate(rows[first:], start=first + 1):
        if not any(row):
            continue
        if len(row) < len(names) or any(row[len(names) :]):
            problem = f"{len(row)} cells"
            remedy = "A separator or line break inside a cell needs quotes around it; export the table again."
            problems.append(Problem("table-row", file, problem, f"{len(names)}, as the header has", remedy, number))
        body[number] = (row + [""] * len(names))[: len(names)]
    if rows and not names:
        problems.append(Problem("table-columns", file, "the first row is empty", "the columns' names there"))
    elif not body:
        problems.append(Problem("table-empty", file, "no patients", "one row a patient below the header"))
    frame = pd.DataFrame.from_dict(body, orient="index", columns=names, dtype=object)
    frame = frame.loc[:, ~frame.columns.duplicated()]
    frame.attrs["separator"] = separator
    frame.attrs["hidden"] = [row for row in hidden if row in body]
    return frame, problems


def _recode(values: pd.Series, codes: dict[str, str]) -> pd.Series:
    """Replace codes by levels; 1.0 is the code 1."""
    code = values.where(values.isin(codes), values.str.replace(r"\.0+$", "", regex=True))
    return code.map(codes).where(code.isin(codes), values)


def _decimal_points(values: pd.Series, decimal: str | None, separator: str | None) -> tuple[pd.Series, list]:
    """Return a column of numbers with decimal points, and (row, found, expected) for marks that may mean two things."""
    comma, point = values.str.contains(",", regex=False), values.str.contains(".", regex=False)
    if decimal == ",":
        wrong = [(row, f"found {values[row]!r}", "a number with a decimal comma") for row in values.index[point]]
        return values.str.replace(",", "."), wrong
    if decimal == "." or not (comma | point).any():
        return values, []
    expected = "one decimal mark, or which it is in cohort.yaml: `table: {decimal: ','}`"
    if comma.any() and point.any():
        return values, [(None, f"both {values[comma].iloc[0]!r} and {values[point].iloc[0]!r}", expected)]
    marked = values[comma | point]
    # Semicolons separate cells where commas are decimal; there 1.234 may be a thousand, as 1,234 may elsewhere.
    doubtful = comma.any() if separator != ";" else point.any()
    if doubtful and marked.str.fullmatch(r"\d{1,3}([.,]\d{3})+").all():
        problem = f"{marked.iloc[0]!r} and the like, which may be thousands or have three decimals"
        return values, [(None, problem, expected)]
    return values.str.replace(",", "."), []


def _date_order(texts: pd.Series) -> str | None:
    """Find out whether dates start with the day, the month or the year; None where they do not say."""
    parts = texts.str.extract(r"^(\d+)([./-])(\d+)[./-](\d+)").dropna()
    if len(parts) == 0 or (parts[0].str.len() == 4).all():
        return "ymd"
    first, second = parts[0].astype(int) > 12, parts[2].astype(int) > 12
    day_first, month_first = (first & ~second).any(), (second & ~first).any()
    if day_first != month_first:
        return "dmy" if day_first else "mdy"
    return "dmy" if not month_first and (parts[1] == ".").all() else None  # dots stand in dates with the day first


def _read_dates(raw: pd.DataFrame, settings: dict, file: str) -> tuple[pd.DataFrame, list[Problem]]:
    """Return surgery, metastasis and last_contact as dates (NaT where empty or wrong)."""
    texts = pd.DataFrame({name: raw[settings["dates"][name]] for name in DATES})
    everything = pd.concat([texts[name] for name in DATES])
    order, problems = settings["table"].get("date_order") or _date_order(everything[everything != ""]), []
    if order is None:
        example = everything[everything != ""].iloc[0]
        remedy = "Say it in cohort.yaml: `table: {date_order: dmy}` (day first), mdy or ymd."
        problem = f"{example!r} and the other dates do not tell day from month"
        one_way, column = "dates that can be read in one way", settings["dates"]["surgery"]
        found = Problem("date-ambiguous", file, problem, one_way, remedy, column=column)
        return pd.DataFrame(index=raw.index, columns=list(DATES), dtype="datetime64[ns]"), [found]
    pattern = {"d": r"(?P<d>\d{1,2})", "m": r"(?P<m>\d{1,2})", "y": r"(?P<y>\d{4})"}
    form = "[./-]".join(pattern[part] for part in order) + r"([ T][\d:.]*)?"
    names = {"dmy": "day, month, year", "mdy": "month, day, year", "ymd": "year-month-day"}

    def read(text: str, row: int, column: str):
        if text == "":
            return pd.NaT
        match = re.fullmatch(form, text)
        try:
            date = datetime.date(*(int(match[part]) for part in "ymd")) if match else None
        except ValueError:
            date = None
        if date is None:
            expected = f"a date with a four-digit year ({names[order]})"
            problems.append(Problem("date-unreadable", file, f"found {text!r}", expected, row=row, column=column))
        elif not EARLIEST <= date <= datetime.date.today():
            expected = f"a date from {EARLIEST} to today"
            problems.append(Problem("date-implausible", file, f"found {text!r}", expected, row=row, column=column))
        return pd.NaT if date is None else pd.Timestamp(date)

    dates = {name: [read(text, row, settings["dates"][name]) for row, text in texts[name].items()] for name in DATES}
    return pd.DataFrame(dates, index=raw.index, dtype="datetime64[ns]"), problems


def _from_dates(raw: pd.DataFrame, settings: dict, file: str) -> tuple[dict[str, pd.Series], list[Problem]]:
    """Return time_months and event, and which dates contradict each other.

    Time runs from surgery to metastasis, else to the last contact; the event is a date of metastasis.
    """
    dates, problems = _read_dates(raw, settings, file)
    surgery, metastasis, last = (dates[name] for name in DATES)
    columns = settings["dates"]
    rules = [
        ("date-order", last < surgery, "last_contact", "the last contact is before surgery"),
        ("date-order", metastasis < surgery, "metastasis", "metastasis is before surgery"),
        ("event-after-last-contact", metastasis > last, "metastasis", "metastasis is after the last contact"),
    ]
    expected = "surgery, then metastasis, then last contact"
    for code, broken, name, fault in rules:
        problems += [Problem(code, file, fault, expected, row=row, column=columns[name]) for row in raw.index[broken]]
    empty = {name: raw[columns[name]] == "" for name in DATES}
    empty["last_contact"] &= empty["metastasis"]  # a metastasis ends the follow-up that we need
    for name in ("surgery", "last_contact"):
        for row in raw.index[empty[name]]:
            problems.append(Problem("cell-empty", file, "is empty", "a date", row=row, column=columns[name]))
    months = (metastasis.fillna(last) - surgery).dt.days / DAYS_PER_MONTH
    months[months.index.isin([problem.row for problem in problems])] = np.nan
    event = metastasis.notna().map({True: "1", False: "0"})
    return {"time_months": months.map(repr).where(months.notna(), ""), "event": event}, problems


def _translate(raw: pd.DataFrame, settings: dict, file: str) -> tuple[pd.DataFrame, list[Problem], set]:
    """Return our columns as text, what could not be translated, and the (row, our column) that this concerns."""
    ours_in_order = [*columns(settings["variables"]), *settings["keep"]]
    source = {name: name for name in ours_in_order}
    source |= {ours: theirs for theirs, ours in settings["columns"].items() if ours in source}
    for name in [*settings["constants"], *(("time_months", "event") if settings["dates"] else ())]:
        source.pop(name, None)
    needed = [*source.values(), *settings["dates"].values()]
    absent = [theirs for theirs in needed if theirs not in raw]
    problems: list[Problem] = []
    if absent:
        fault = f"no column {', '.join(absent)}; the file has {', '.join(raw.columns)}"
        remedy = "Rename or add the columns, or map yours in cohort.yaml under `columns:`."
        measured = set(columns(settings["variables"], "covariate"))
        unmeasured = [name for name, theirs in source.items() if theirs in absent and name in measured]
        if unmeasured:
            remedy += f" What you do not have: `variables: {{leave_out: [{', '.join(unmeasured)}]}}`."
        problems.append(Problem("table-columns", file, fault, "all of " + ", ".join(needed), remedy))
    cells = raw.mask(raw.isin(settings["missing"]), "")
    frame = pd.DataFrame({ours: cells[theirs] for ours, theirs in source.items() if theirs in raw}, index=raw.index)
    frame, silent = frame.assign(**settings["constants"]), set()
    if set(DATES) <= set(settings["dates"]) and not set(settings["dates"].values()) & set(absent):
        computed, wrong = _from_dates(cells, settings, file)
        frame, problems = frame.assign(**computed), problems + wrong
        silent |= {(problem.row, name) for problem in wrong for name in computed}
    for name, codes in settings["codes"].items():
        if name in frame:
            frame[name] = _recode(frame[name], codes)
    for name in [name for name, variable in settings["variables"].items() if variable.kind == "number"]:
        units = UNITS.get(name, {})
        if name not in frame or (settings["dates"] and name == "time_months"):
            continue
        decimal, separator = settings["table"].get("decimal"), raw.attrs["separator"]
        frame[name], wrong = _decimal_points(frame[name], decimal, separator)
        for row, fault, expected in wrong:
            code = "cell-value" if row else "table-decimal"
            problems.append(Problem(code, file, fault, expected, row=row, column=source.get(name, name)))
            silent.add((row, name))
        times, over = units.get((settings["units"].get(name, "").lower().split() or [""])[0], (1, 1))
        if times != over:
            number = pd.to_numeric(frame[name], errors="coerce") * times / over
            frame[name] = number.map(repr).where(number.notna(), frame[name])
    frame = frame[[name for name in ours_in_order if name in frame]]
    return frame.mask(frame == ""), problems, silent


def _schema(names: Sequence[str], may_lack: Sequence[str], variables: Mapping[str, Variable]):
    import pandera.pandas as pa

    def column(name: str, check, expected: str):
        return pa.Column(None, pa.Check(check, error=expected), nullable=name in may_lack, coerce=False)

    rules = {}
    for name, variable in variables.items():
        if variable.kind == "levels":
            allowed = variable.categories
            rules[name] = column(name, lambda s, allowed=allowed: s.isin(allowed), "one of " + ", ".join(allowed))
        if variable.kind not in ("number", "event"):
            continue
        low, high = (0, 1) if variable.kind == "event" else variable.range
        expected = "0 or 1" if variable.kind == "event" else f"a number from {low:g} to {high:g}"

        def fits(values, low=low, high=high, integer=variable.kind == "event"):
            number = pd.to_numeric(values, errors="coerce")
            return number.between(low, high) & (number.isin([0, 1]) if integer else True)

        rules[name] = column(name, fits, expected)
    named = "letters, digits, dot, hyphen and underscore, starting with a letter or digit"
    rules["patient_id"] = column(
        "patient_id", lambda s: s.astype(str).str.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*"), named
    )
    rules["centre"] = column("centre", lambda s: s.astype(str).str.strip() != "", "the centre's name")
    return pa.DataFrameSchema({name: rules[name] for name in names}, strict=False)


def _cell_problems(
    frame: pd.DataFrame, file: str, may_lack: Sequence[str], variables: Mapping[str, Variable]
) -> list[Problem]:
    """List every cell of the table that breaks a rule, once; the index is the row, columns carry our names."""
    import pandera.errors

    found: dict = {}
    try:
        _schema([name for name in columns(variables) if name in frame], may_lack, variables).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        wrong = dict(list(errors.failure_cases.groupby("column")["failure_case"]))
        for case in errors.failure_cases.itertuples():
            value = frame.at[case.index, case.column]
            expected = str(case.check) if case.check != "not_nullable" else "a value"
            code, fault = ("cell-empty", "is empty") if pd.isna(value) else ("cell-value", f"found {value!r}")
            code = "patient-id" if case.column == "patient_id" and code == "cell-value" else code
            remedy = CORRECT
            if code == "cell-value" and variables[case.column].kind in ("levels", "event"):
                found_codes = wrong[case.column] if variables[case.column].kind == "levels" else frame[case.column]
                codes = sorted(found_codes.dropna().unique(), key=str)[:6]
                means = ", ".join(f"{code!r}: ..." for code in codes)
                remedy = f"Correct it, or say in cohort.yaml what it means: `codes: {{{case.column}: {{{means}}}}}`."
            if code == "cell-value" and str(value).strip().casefold() in UNKNOWN_WORDS:
                remedy = f"If it stands for unknown, declare it in cohort.yaml: `missing: [{str(value)!r}]`."
            problem = Problem(code, file, fault, expected, remedy, int(case.index), case.column)
            found.setdefault((problem.row, problem.column), problem)  # an empty cell breaks two rules, said once
    if "patient_id" in frame:
        named = frame[frame["patient_id"].notna()]
        for row in named.index[named["patient_id"].duplicated()]:
            rows_of_patient = named[named["patient_id"] == named.at[row, "patient_id"]]
            both = "cohort" in frame and rows_of_patient["cohort"].nunique() > 1
            fault = f"the patient of row {rows_of_patient.index[0]} again{', in the other cohort' if both else ''}"
            code = "patient-in-both-cohorts" if both else "patient-twice"
            expected = "each patient once and in one cohort"
            found[row, "patient_id"] = Problem(code, file, fault, expected, row=row, column="patient_id")
    return [found[place] for place in sorted(found)]


def survey(folder: str | Path) -> Survey:
    """Read what can be read of a cohort's description and table, and list everything that is wrong with them.

    Nothing is raised for a wrong folder, so that a person sees all of it at
    once. `read_cohort` raises instead.

    Returns
    -------
    Survey
        The table's cells are text, translated to our columns, levels and
        units; a cell that could not be translated is as it was.

    Notes
    -----
    Covariates may be empty where the class is COHORT (see `complete_cases`);
    a generated table has no empty cell.
    """
    folder = Path(folder)
    settings, joined, problems = _read_settings(folder)
    file, problem = _table_file(folder, joined)
    if problem:
        return Survey(settings, pd.DataFrame({"row": pd.Series(dtype=int)}), [*problems, problem], file)
    may_lack = columns(joined["variables"], "covariate") if settings.get("class") == "COHORT" else []
    patients, wrong, assumed = _survey_table(folder / file, joined, may_lack)
    hidden = patients.attrs.get("hidden", [])
    fault = f"{len(hidden)} rows are hidden by a filter or by hand, the first is row {min(hidden, default=0)}"
    remarks = [Problem("rows-hidden", file, fault, "all rows shown")] if hidden else []
    return Survey(settings, patients, problems + wrong, file, joined["variables"], assumed, remarks)


def _assumed(raw: pd.DataFrame, settings: dict) -> dict[str, str]:
    """Return how the table was read where cohort.yaml does not say it and it is not the plain form."""
    found, declared = {}, settings["table"]
    if raw.attrs["separator"] not in (None, ","):
        found["separator"] = "tab" if raw.attrs["separator"] == "\t" else raw.attrs["separator"]
    theirs = {ours: name for name, ours in settings["columns"].items()}
    numbers = [theirs.get(name, name) for name, variable in settings["variables"].items() if variable.kind == "number"]
    read = {name: _decimal_points(raw[name], None, raw.attrs["separator"]) for name in numbers if name in raw}
    if any(not wrong and (values != raw[name]).any() for name, (values, wrong) in read.items()):
        found["decimal"] = ","
    dates = [raw[name] for name in settings["dates"].values() if name in raw]
    if dates:
        texts = pd.concat(dates)
        found["date_order"] = _date_order(texts[texts != ""]) or "ymd"
    return {name: value for name, value in found.items() if name not in declared and value != "ymd"}


def _survey_table(path: Path, settings: dict, may_lack: Sequence[str]) -> tuple[pd.DataFrame, list[Problem], dict]:
    """Return the translated table, all that is wrong with it under the file's own names, and how it was read."""
    wanted = {*columns(settings["variables"]), *settings["columns"], *settings["dates"].values()}
    raw, form = _read_raw(path, settings, wanted)
    if raw.empty:
        return pd.DataFrame({"row": pd.Series(dtype=int)}), form, {}
    frame, wrong, silent = _translate(raw, settings, path.name)
    theirs = {ours: name for name, ours in settings["columns"].items()}
    cells = [
        problem._replace(column=theirs.get(problem.column, problem.column))
        for problem in _cell_problems(frame, path.name, may_lack, settings["variables"])
        if not {(problem.row, problem.column), (None, problem.column)} & silent
    ]
    patients = frame.assign(row=frame.index).reset_index(drop=True)
    patients.attrs["hidden"] = raw.attrs["hidden"]
    return patients, [*form, *wrong, *cells], _assumed(raw, settings)


class Probabilities(NamedTuple):
    """What a folder's own `dl_prob.csv` holds, what is wrong with it, and what is doubtful."""

    table: pd.DataFrame  # patient_id and dl_prob, before it t2w_prob and adc_prob where there are both; then `_oof`'s
    problems: Sequence[Problem] = ()
    remarks: Sequence[Problem] = ()


def survey_probabilities(folder: str | Path, patients: pd.DataFrame) -> Probabilities:
    """Read a folder's own `dl_prob.csv`, and list everything that is wrong with it or doubtful.

    Parameters
    ----------
    folder
        The cohort folder.
    patients
        The patients of its table: `patient_id`, `cohort` and `row`.

    Returns
    -------
    Probabilities
        Numbers; without a dl_prob of its own the sum of the two sequences' probabilities. The same with the ending
        `_oof` where the file has out-of-fold probabilities.

    Notes
    -----
    Wrong are a patient without probability or with two, an empty cell, a number that is no probability, out-of-fold
    probabilities of one sequence alone or other ones of a validation patient; doubtful is a row of nobody in the table.
    """
    file, second = PROBABILITIES, [f"{name}{OUT_OF_FOLD}" for name in (*SEQUENCE_COLUMNS, "dl_prob")]
    columns_named = "patient_id and dl_prob, or patient_id, t2w_prob and adc_prob"
    if not (Path(folder) / file).is_file():
        remedy = "Put it beside the clinical table, a row a patient; each probability from 0 to 1."
        missing = Problem("probabilities-missing", file, "the file is missing", columns_named, remedy)
        return Probabilities(pd.DataFrame(), [missing])
    settings = _read_settings(Path(folder))[1]
    theirs = {name: ours for name, ours in settings["columns"].items() if ours == "patient_id"}
    wanted = {"patient_id", *SEQUENCE_COLUMNS, "dl_prob", *second, *theirs}
    raw, problems = _read_raw(Path(folder) / file, settings | {"table": {}}, wanted)
    if raw.empty:
        return Probabilities(pd.DataFrame(), problems)
    raw, separator = raw.rename(columns=theirs), raw.attrs["separator"]
    names = [name for name in (*SEQUENCE_COLUMNS, "dl_prob") if name in raw]
    if "patient_id" not in raw or not ({"dl_prob"} <= set(names) or set(SEQUENCE_COLUMNS) <= set(names)):
        problem = f"the columns are {', '.join(raw.columns)}"
        remedy = "Name the columns so; a model's one probability is dl_prob."
        problems.append(Problem("table-columns", file, problem, columns_named, remedy))
        return Probabilities(pd.DataFrame(), problems)
    names = names if set(SEQUENCE_COLUMNS) <= set(names) else ["dl_prob"]
    table, raw = raw[["patient_id"]].copy(), raw.mask(raw.isin(settings["missing"]), "")
    two, ends = len(names) > 1, ["", *([OUT_OF_FOLD] if set(second) & set(raw) else [])]
    needed = [f"{name}{end}" for end in ends[1:] for name in (SEQUENCE_COLUMNS if two else ["dl_prob"])]
    if absent := [name for name in needed if name not in raw]:
        found, remedy = [name for name in second if name in raw], "Give all of them, or none: then there is one track."
        problem = f"of the out-of-fold columns there is {', '.join(found)} without {', '.join(absent)}"
        problems.append(Problem("table-columns", file, problem, f"{' and '.join(needed)} as well", remedy))
        ends = [""]
    for end in ends:
        total = f"dl_prob{end}"
        for name in [f"{name}{end}" for name in (*SEQUENCE_COLUMNS, "dl_prob") if f"{name}{end}" in raw]:
            if two or name == total:
                table[name], wrong = _probabilities(raw[name], 2.0 if two and name == total else 1.0, separator)
                problems += wrong
        if two:
            both = [f"{name}{end}" for name in SEQUENCE_COLUMNS]
            problems += _sum(table, both, total)
        problems += _alike_in_validation(table, patients, end) if end else []
    wrong, remarks = _same_patients(table["patient_id"], patients)
    return Probabilities(table, [*problems, *wrong], remarks)


def _sum(table: pd.DataFrame, both: Sequence[str], total: str) -> list[Problem]:
    """Add the sum of two probabilities to the table, or say where the one that is there differs from it."""
    made = table[[*both]].sum(axis=1, skipna=False)
    table[total] = table.get(total, made)
    apart = table.index[(table[total] - made).abs() > ROUNDED]
    if not len(apart):
        return []
    problem = f"found {table.at[apart[0], total]:g} beside {made[apart[0]]:g}, and so in {len(apart)} rows"
    remedy = f"Leave {total} out: it is computed from the other two."
    return [Problem("cell-value", PROBABILITIES, problem, " + ".join(both), remedy, apart[0], total)]


def _alike_in_validation(table: pd.DataFrame, patients: pd.DataFrame, end: str) -> list[Problem]:
    """Say where a validation patient, on whom nothing was trained, has another out-of-fold probability."""
    judged = table["patient_id"].isin(patients.loc[patients["cohort"] == "validation", "patient_id"])
    problems = []
    for name in [name.removesuffix(end) for name in table if name.endswith(end)]:
        apart = table.index[judged & ((table[name] - table[f"{name}{end}"]).abs() > 1e-9)]
        if len(apart):
            found = f"found {table.at[apart[0], f'{name}{end}']:g} in a validation patient, and so in {len(apart)} rows"
            remedy = "No network was trained on validation patients: give them the same probability in both columns."
            expected = f"{table.at[apart[0], name]:g}, as in {name}"
            problems.append(Problem("cell-value", PROBABILITIES, found, expected, remedy, apart[0], f"{name}{end}"))
    return problems


def _probabilities(cells: pd.Series, highest: float, separator: str | None) -> tuple[pd.Series, list[Problem]]:
    """Return a column as numbers, and every cell that holds no probability, percents as one problem."""
    file, name, expected = PROBABILITIES, cells.name, f"a probability from 0 to {highest:g}"
    points, wrong = _decimal_points(cells, None, separator)
    problems = [Problem("cell-value", file, problem, limits, row=row, column=name) for row, problem, limits in wrong]
    values = pd.to_numeric(points, errors="coerce").astype(float)
    values[values.notna()] = points[values.notna()].map(float)  # to_numeric is wrong in the last digit
    outside = values.notna() & ~values.between(0, highest)
    if values.min() >= 0 and highest < values.max() <= 100 * highest and values.median() > highest:
        problem, remedy = f"values up to {values.max():g} look like percents", "Divide the column by 100."
        return values, [*problems, Problem("cell-value", file, problem, expected, remedy, column=name)]
    remedy = "Correct it. A sum of two probabilities is given as the two, in t2w_prob and adc_prob."
    for row in values.index[outside | (values.isna() & (cells != ""))]:
        problems.append(Problem("cell-value", file, f"found {cells[row]!r}", expected, remedy, row, name))
    remedy = "Fill it in, or leave the patient out of both tables."
    problems += [
        Problem("cell-empty", file, "is empty", expected, remedy, row, name) for row in cells.index[cells == ""]
    ]
    return values, problems


def _same_patients(named: pd.Series, patients: pd.DataFrame) -> tuple[list[Problem], list[Problem]]:
    """List who has no probability or several, and, as remarks, rows of nobody in the clinical table."""
    file, problems = PROBABILITIES, []
    for row in named.index[named.duplicated() & (named != "")]:
        problem = f"the patient of row {named.index[named == named[row]][0]} again"
        problems.append(Problem("patient-twice", file, problem, "each patient once", row=row, column="patient_id"))
    rows = patients.get("patient_id", pd.Series(dtype=str)).dropna().astype(str)
    unused = named.index[~named.isin(rows)]
    lacking = rows[~rows.isin(named)]
    if len(lacking):
        first = patients.at[lacking.index[0], "row"]
        problem = f"no row for {counted(len(lacking), 'patient')} of the clinical table, the first in row {first} there"
        alike = {named[row].casefold().lstrip("0"): row for row in unused}
        near = alike.get(lacking.iloc[0].casefold().lstrip("0"))
        problem += f"; is that row {near} here?" if near else ""
        remedy = "Spell patient_id alike in both tables, or leave the patients out of the clinical one."
        problems.append(Problem("probability-lacking", file, problem, "every patient", remedy, column="patient_id"))
    problem = f"{len(unused)} rows are of no patient of the clinical table, the first is row {min(unused, default=0)}"
    remarks = [Problem("probabilities-unused", file, problem, "the table's patients")] if len(unused) else []
    return problems, remarks


def _refuse(folder: Path, problems: list[Problem]) -> None:
    """Raise InputError with the first problem and up to nineteen others."""
    if not problems:
        return

    def place(problem: Problem) -> str:
        at = [f"row {problem.row}"] if problem.row else []
        return ", ".join([*at, *([f"column {problem.column}"] if problem.column else [])] or [problem.file])

    # What is raised may end in a log: an identifier that cannot be used is not repeated there.
    problems = [p._replace(found="no name that can be used") if p.code == "patient-id" else p for p in problems]
    first, *rest = problems
    others = "".join(f"\n  {place(problem)}: {problem.found}; expected {problem.expected}." for problem in rest[:19])
    unsaid = f"\n  and {len(rest) - 19} more." if len(rest) > 19 else ""
    raise InputError(
        display_path(folder / first.file),
        first.found,
        expected=first.expected,
        remedy=first.remedy + others + unsaid,
        row=first.row,
        column=first.column,
    )


def read_class(folder: str | Path) -> str:
    """Return the class that a cohort folder's numbers carry, SYNTHETIC or COHORT, without reading its table.

    Raises
    ------
    InputError
        cohort.yaml is missing or wrong.
    """
    settings, _, problems = _read_settings(Path(folder))
    _refuse(Path(folder), problems)
    return settings["class"]


def read_cohort(folder: str | Path, *, only: str | None = None) -> Cohort:
    """Read a cohort folder: `cohort.yaml` and the checked clinical table, in our columns, levels and units.

    Parameters
    ----------
    folder
        Holds cohort.yaml, and clinical.csv or clinical.xlsx.
    only
        `primary` or `validation`: leave out the other cohort's patients.

    Returns
    -------
    Cohort
        Unknown covariates are empty (see `dlrs.cohort.complete_cases` and `impute`).

    Raises
    ------
    InputError
        A file is missing or wrong; the message names file, row and column.
    """
    folder = Path(folder)
    found = survey(folder)
    _refuse(folder, found.problems)
    patients = typed(found.patients, found.variables)
    if not only:
        return Cohort(patients, found.settings, [], found.variables)
    others = patients["cohort"] != only
    if others.all():
        fault, remedy = f"nobody is {only}", f"Write {only} there, or `constants: {{cohort: {only}}}` in cohort.yaml."
        problem = Problem("cohort-empty", found.file, fault, f"patients of the {only} cohort", remedy, column="cohort")
        _refuse(folder, [problem])
    counts = patients.loc[others, "cohort"].astype(str).value_counts()
    left_out = [dict(cohort=name, reason=f"not in the {only} cohort", n=int(n)) for name, n in counts.items()]
    patients = patients[~others].reset_index(drop=True)
    patients = patients.assign(cohort=patients["cohort"].cat.remove_unused_categories())
    return Cohort(patients, found.settings, left_out, found.variables)


def stage(run_dir: str | Path, cohort_dir: str | Path, only: str = "") -> None:
    """Write what the notebooks start from, `interim/clinical.csv` and `interim/study.json`.

    `dlrs.cohort.read_study` and `read_settings` read them.

    Parameters
    ----------
    run_dir
        The run's folder.
    cohort_dir
        The cohort folder, in the hospital's own dialect.
    only : {"", "primary", "validation"}
        Leave out the other cohort's patients; they are counted in `left_out`.

    Raises
    ------
    InputError
        A file is missing or wrong, or no patient has every covariate.

    Notes
    -----
    `smallest_count` is the smallest count of patients that results may show,
    0 where every count may be shown: `small_cell` (5) of cohort.yaml where
    the class is COHORT and `share: true`, so that the results are exported;
    `small_cell` is that of a summary, which always leaves.
    """
    folder, interim = resolve(cohort_dir), resolve(run_dir) / "interim"
    patients, settings, left_out, variables = read_cohort(folder, only=only or None)
    joined = _read_settings(folder)[1]
    if complete_cases(patients, columns(variables, "covariate"))[0].empty:
        file, problem = _table_file(folder, joined)[0], "no patient has every covariate"
        _refuse(folder, [Problem("covariate-missing", file, problem, "complete patients", "Fill in the table.")])
    shared = joined["class"] == "COHORT" and joined["share"]
    study = {name: settings[name] for name in HANDED_ON if name in settings}
    study |= {"smallest_count": joined["small_cell"] if shared else 0, "small_cell": joined["small_cell"]}
    study |= {"left_out": left_out}
    save_csv(patients, interim / "clinical.csv")
    write_settings(study | {"variables": variables}, run_dir)


def probabilities(run_dir: str | Path, cohort_dir: str | Path) -> None:
    """Write a cohort folder's own probabilities to `interim/dl_prob.csv`, from which the statistics start.

    Parameters
    ----------
    run_dir
        The run's folder, with the `interim/clinical.csv` that `stage` wrote.
    cohort_dir
        The cohort folder, with its `dl_prob.csv`; no hash of it is asked for.

    Raises
    ------
    InputError
        The file is missing, or something is wrong with it; see `survey_probabilities`.
    """
    interim = resolve(run_dir) / "interim"
    patients = pd.read_csv(interim / "clinical.csv", dtype=str)[["patient_id", "cohort", "row"]]
    found = survey_probabilities(resolve(cohort_dir), patients)
    _refuse(resolve(cohort_dir), [*found.problems])
    save_csv(patients.drop(columns="row").merge(found.table, on="patient_id"), interim / PROBABILITIES)
