"""Read a table of follow-up and somebody's predictions, of any disease and any model, and check it before it is used.

What cannot be is a finding, and then nothing is computed; what is only strange is a warning. Units, direction and
kind of a prediction are stated by the person who gives the table and checked here, never guessed.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from dlrs.config import InputError
from dlrs.stats import concordance

A_YEAR = {"days": 365.25, "months": 12.0, "years": 1.0}
KINDS = ("risk", "survival", "score")
STATES = {"censored": 0, "event": 1, "competing": 2}
PLAIN_CODES = {"0": 0, "1": 1, "false": 0, "true": 1}
MISSING = {"", "na", "n/a", "#n/a", "nan", "null", "none", ".", "-", "<na>"}
ALL = "all"  # the one cohort of a table without cohorts
WITH_COMMA = r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?"
ROWS_NAMED = 5
MOST_COHORTS = 12
TOO_GOOD = 0.98  # C above which a prediction is hardly one


class Finding(NamedTuple):
    """Something wrong with the table; `row` as a spreadsheet shows it, the header being row 1."""

    code: str
    found: str
    expected: str
    remedy: str
    column: str = ""
    row: int | None = None

    def text(self, file: str = "") -> str:
        """Return it as one sentence."""
        row = f"row {self.row}" if self.row else ""
        place = ", ".join(filter(None, [file, row, f"column {self.column}" if self.column else ""]))
        return f"{place}: {self.found}; expected {self.expected}. {self.remedy}".removeprefix(": ")


class Findings(InputError):
    """Everything that makes a table impossible to evaluate; `findings` lists it."""

    def __init__(self, file: str, findings: Sequence[Finding]):
        self.file, self.findings = file, list(findings)
        ValueError.__init__(self, "\n".join(finding.text(file) for finding in findings))


class Roles(NamedTuple):
    """What the columns of a table are; the fields are the keys of a mapping file as well."""

    time: str
    time_unit: str
    event: str
    horizon: float  # in `time_unit`
    risk: Sequence[str] = ()  # probability of the event by the horizon
    survival: Sequence[str] = ()  # probability of being free of it at the horizon
    score: Sequence[str] = ()  # any number, higher means higher risk
    id: str = ""
    cohort: str = ""
    centre: str = ""
    clinical: Sequence[str] = ()
    decimal: str = "."  # mark of the numbers' decimals, a point or a comma
    codes: Mapping[str, Sequence] = {}  # censored, event, competing: the codes of `event`; empty: 0 and 1

    def predictions(self) -> dict[str, str]:
        """Return the kind of each column that holds a prediction."""
        return {name: kind for kind in KINDS for name in getattr(self, kind)}

    def columns(self) -> list[str]:
        """Return every column that is named, in a fixed order."""
        named = [self.id, self.time, self.event, *self.predictions(), self.cohort, self.centre, *self.clinical]
        return [name for name in named if name]


class Table(NamedTuple):
    """A table that can be evaluated: complete rows only, all frames in the same order."""

    patients: pd.DataFrame  # row, time, event (bool), state (0 censored, 1 event, 2 competing), cohort, centre
    predictions: pd.DataFrame  # a column a prediction; survival is turned into risk
    kinds: dict[str, str]  # of each prediction as it is in the frame: risk or score
    clinical: pd.DataFrame
    left_out: pd.DataFrame  # row, reason
    warnings: list[Finding]


# ---------------------------------------------------------------- reading


def read_map(path: str | Path) -> dict:
    """Read a mapping file: YAML, `name: value`, with the names of `Roles`' fields and of notebook 12's parameters.

    Raises
    ------
    Findings
        The file is missing or is no mapping, or holds a key twice.
    """
    path = Path(path)
    remedy = "Write lines such as `time: days` and `risk: [model_a, model_b]`."
    try:
        text = path.read_text(encoding="utf-8-sig")
        problem, nodes = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except FileNotFoundError:
        finding = Finding("map-missing", "there is no such file", "a YAML file", "Correct --map.")
        raise Findings(path.name, [finding]) from None
    except (yaml.YAMLError, UnicodeError) as error:
        found = f"it cannot be read ({' '.join(str(error).split())[:120]})"
        raise Findings(path.name, [Finding("map-unreadable", found, "YAML in UTF-8", remedy)]) from None
    if not isinstance(problem, dict):
        raise Findings(path.name, [Finding("map-no-mapping", "it is no mapping", "lines `name: value`", remedy)])
    keys = [str(key.value) for key, _ in nodes.value]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        finding = Finding("map-twice", f"{twice[0]} is there twice", "each key once", "Keep one of them.")
        raise Findings(path.name, [finding])
    if "codes" in problem:  # as they are written: YAML takes `no` for false and 01 for 1
        problem["codes"] = yaml.load(text, yaml.BaseLoader)["codes"]
    if isinstance(codes := problem.get("codes"), dict) and codes and {*map(str, codes.values())} <= {*STATES}:
        problem["codes"] = {state: [code for code, name in codes.items() if name == state] for state in codes.values()}
    return {str(name).replace("-", "_"): value for name, value in problem.items()}


def read_text(path: str | Path) -> tuple[pd.DataFrame, list[Finding]]:
    """Return a table's cells as text, its rows numbered as a spreadsheet shows them, and warnings.

    Raises
    ------
    Findings
        The file is missing, of another kind, unreadable or without rows, or two of its columns have one name.
    """
    path, doubts = Path(path), []
    as_csv = "Save the table as CSV in UTF-8 or as XLSX."
    options = dict(header=None, dtype=str, keep_default_na=False)
    try:
        if path.suffix.lower() == ".xlsx":
            with pd.ExcelFile(path) as book:
                if len(book.sheet_names) > 1:
                    found, expected = f"there are {len(book.sheet_names)} sheets", "one sheet"
                    doubts.append(Finding("sheets", found, expected, "The first one was read; check that it is it."))
                cells = book.parse(book.sheet_names[0], **options)
        elif path.suffix.lower() in (".csv", ".tsv", ".txt"):
            with open(path, encoding="utf-8-sig") as file:
                header = file.readline()
            mark = max(",;\t", key=header.count)
            cells = pd.read_csv(path, sep=mark, encoding="utf-8-sig", skip_blank_lines=False, **options)
        elif path.suffix.lower() in (".parquet", ".pq"):
            cells = _from_parquet(path)
        else:
            problem, expected = f"its ending is {path.suffix.lower() or 'none'}", ".csv, .tsv, .xlsx or .parquet"
            raise Findings(path.name, [Finding("file-kind", problem, expected, as_csv)])
    except Findings:
        raise
    except FileNotFoundError:
        finding = Finding("file-missing", "there is no such file", "a table", "Correct its path.")
        raise Findings(path.name, [finding]) from None
    except pd.errors.EmptyDataError:
        raise Findings(path.name, [Finding("empty", "the file is empty", "a header and rows", as_csv)]) from None
    except pd.errors.ParserError as error:
        found = f"a row has more cells than the header ({' '.join(str(error).split())[-60:]})"
        remedy = "Put text with commas into quotes; write numbers with decimal points."
        raise Findings(path.name, [Finding("cells", found, "as many cells in every row", remedy)]) from None
    except (UnicodeError, ValueError, OSError, KeyError) as error:
        found = f"it cannot be read ({' '.join(str(error).split())[:120]})"
        raise Findings(path.name, [Finding("unreadable", found, "CSV in UTF-8, XLSX or Parquet", as_csv)]) from None
    return _with_header(path.name, cells), doubts


def _from_parquet(path: Path) -> pd.DataFrame:
    """Return a Parquet file's cells as text, the names of its columns in front."""
    path.stat()
    try:
        frame = pd.read_parquet(path, engine="fastparquet")
    except Exception as error:  # of many kinds, as the damage is
        raise ValueError(f"{type(error).__name__}: {error}") from error
    frame = frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()
    filled = frame.notna()
    text = frame.astype(object).where(filled, "").map(lambda x: x.decode() if isinstance(x, bytes) else str(x))
    head = pd.DataFrame([[str(name) for name in frame.columns]], columns=text.columns)
    return pd.concat([head, text], ignore_index=True).set_axis(range(len(text.columns)), axis=1)


def _with_header(file: str, cells: pd.DataFrame) -> pd.DataFrame:
    names = cells.iloc[0].fillna("").str.strip() if len(cells) else pd.Series([], dtype=str)
    rows = cells.iloc[1:].fillna("").apply(lambda column: column.str.strip())
    rows = rows.set_axis(names, axis=1).set_axis(np.arange(2, len(rows) + 2), axis=0)
    twice = [name for name in names[names.duplicated()].unique() if name]
    if twice:
        finding = Finding("header-twice", "two columns have this name", "each name once", "Rename one.", twice[0])
        raise Findings(file, [finding])
    rows = rows[(rows != "").any(axis=1)]
    if rows.empty:
        raise Findings(file, [Finding("empty", "there is no row below the header", "a row a patient", "Add them.")])
    return rows


# ---------------------------------------------------------------- checking


def check(roles: Roles, text: pd.DataFrame) -> tuple[Table | None, list[Finding]]:
    """Check a table's cells against what the columns are said to be.

    Parameters
    ----------
    roles
        Which column is what.
    text
        From `read_text`.

    Returns
    -------
    table
        None where there is a finding.
    findings
        What makes the table impossible to evaluate, all of it that can be seen at once.

    Notes
    -----
    Rows without time, event, cohort or one of the predictions are left out of every analysis, so that
    predictions are compared in the same patients.
    """
    findings = [*_settings(roles), *_columns(roles, text)]
    if findings:
        return None, findings
    if roles.decimal == ",":
        text = text.apply(lambda column: column.mask(column.str.fullmatch(WITH_COMMA), column.str.replace(",", ".")))
    empty = text.apply(lambda column: column.str.lower().isin(MISSING))
    time, more = _numbers(text[roles.time], empty[roles.time])
    findings += more
    numbers = {}
    for name in roles.predictions():
        numbers[name], more = _numbers(text[name], empty[name])
        findings += more
    state, more = _states(roles, text[roles.event], empty[roles.event])
    findings += [*more, *_times(roles, time, state), *_patients(roles, text, empty), *_probabilities(roles, numbers)]
    if findings:
        return None, findings
    needed = [roles.time, roles.event, *numbers, *([roles.cohort] if roles.cohort else [])]
    lost = empty[needed]
    left_out = pd.DataFrame({"row": text.index, "reason": _reasons(lost)})[lost.any(axis=1).to_numpy()]
    kept = ~lost.any(axis=1)
    labels = {name: text[column][kept] if column else ALL for name, column in _labels(roles).items()}
    patients = pd.DataFrame({"row": text.index[kept], "time": time[kept], "event": state[kept] == 1}, text.index[kept])
    patients = patients.assign(state=state[kept].astype(int), **labels)
    patients["centre"] = patients["centre"].replace(dict.fromkeys(MISSING, "not stated"))
    frame = pd.DataFrame({n: 1 - x[kept] if n in roles.survival else x[kept] for n, x in numbers.items()})
    kinds = {name: "score" if kind == "score" else "risk" for name, kind in roles.predictions().items()}
    clinical = text.loc[kept, list(roles.clinical)].mask(empty.loc[kept, list(roles.clinical)])
    table = Table(patients, frame, kinds, clinical, left_out.reset_index(drop=True), [])
    findings = _usable(roles, table)
    return (None, findings) if findings else (table._replace(warnings=_doubts(roles, table, text)), [])


def read(path: str | Path, roles: Roles) -> Table:
    """Read and check a table.

    Raises
    ------
    Findings
        What makes it impossible to evaluate; nothing is computed then.
    """
    text, doubts = read_text(path)
    table, findings = check(roles, text)
    if findings:
        raise Findings(Path(path).name, findings)
    return table._replace(warnings=[*doubts, *table.warnings])


def key(name: str) -> str:
    """Return a column's or cohort's name as it stands in a result's key.

    >>> key("Model A, v1.2")
    'Model_A_v1_2'
    """
    return re.sub(r"\W+", "_", str(name)).strip("_") or "unnamed"


def _labels(roles: Roles) -> dict[str, str]:
    return {"cohort": roles.cohort, "centre": roles.centre}


def _reasons(lost: pd.DataFrame) -> list[str]:
    """Say for each row which cells are empty."""
    found = np.full(len(lost), "", dtype=object)
    for name in lost:
        found[lost[name].to_numpy()] += f", {name}"
    return [f"no {names[2:]}" if names else "" for names in found]


def _settings(roles: Roles) -> list[Finding]:
    """Check what is said about the table before it is looked at."""
    found = []
    if roles.time_unit not in A_YEAR:
        problem = f"the time's unit is {roles.time_unit or 'not given'}"
        found.append(Finding("time-unit", problem, "days, months or years", "Say it with --time-unit.", roles.time))
    horizon = roles.horizon
    if isinstance(horizon, bool) or not isinstance(horizon, (int, float)) or not 0 < horizon < np.inf:
        problem = f"the horizon is {horizon!r}"
        found.append(Finding("horizon", problem, "a positive number in the time's unit", "Correct --horizon."))
    if not roles.predictions():
        remedy = "Name its column with --risk, --survival or --score."
        found.append(Finding("no-prediction", "no prediction is named", "one or several", remedy))
    if roles.decimal not in (".", ","):
        remedy = "Correct `decimal:`."
        found.append(Finding("decimal", f"decimal is {roles.decimal!r}", "'.' or ','", remedy))
    unknown = [name for name in roles.codes if name not in STATES]
    if unknown:
        problem = f"codes has {unknown[0]}"
        found.append(Finding("codes", problem, "censored, event and competing", "Correct `codes:`.", roles.event))
    coded = [
        str(code) for value in roles.codes.values() for code in (value if isinstance(value, (list, tuple)) else [value])
    ]
    for code in sorted({code for code in coded if coded.count(code) > 1}):
        found.append(Finding("codes", f"{code} has two meanings", "each code once", "Correct `codes:`.", roles.event))
    for frame in (list(roles.predictions()), list(roles.clinical)):
        keys = [key(name) for name in frame]
        twins = [name for name in frame if keys.count(key(name)) > 1]
        if twins:
            problem = f"{twins[0]} and {twins[1]} differ in signs only" if len(twins) > 1 else "a name is there twice"
            found.append(Finding("names", problem, "names that differ in a letter or digit", "Rename one.", twins[0]))
    return found


def _columns(roles: Roles, text: pd.DataFrame) -> list[Finding]:
    """Every column that is named is there, and is one thing only."""
    found, names = [], roles.columns()
    for name in dict.fromkeys(names):
        if name not in text.columns:
            close = difflib.get_close_matches(name, [c for c in text.columns if c], n=1)
            remedy = f"Did you mean {close[0]}?" if close else "Correct the option that names it."
            problem = "there is no such column"
            found.append(Finding("column-missing", problem, f"one of {', '.join(filter(None, text))}", remedy, name))
    several = [roles.id, roles.time, roles.event, roles.cohort, roles.centre, *roles.clinical]
    several = [name for name in [*several, *(name for kind in KINDS for name in getattr(roles, kind))] if name]
    for name in dict.fromkeys(name for name in several if several.count(name) > 1):
        found.append(Finding("column-twice", "it is named for two things", "a column for each", "Name another.", name))
    return found


def _named(rows: Sequence[int]) -> str:
    """List the first rows of several."""
    problem = ", ".join(map(str, rows[:ROWS_NAMED]))
    return f"{len(rows)} rows: {problem}{', ...' if len(rows) > ROWS_NAMED else ''}"


def _at(bad: pd.Series, code: str, found: str, expected: str, remedy: str, column: str) -> list[Finding]:
    """Return one finding for all rows where `bad` is true, which names the first."""
    rows = bad.index[bad].tolist()
    more = f" ({_named(rows)})" if len(rows) > 1 else ""
    return [Finding(code, found + more, expected, remedy, column, rows[0])] if rows else []


def _numbers(cells: pd.Series, empty: pd.Series) -> tuple[pd.Series, list[Finding]]:
    """Return a column as numbers, NaN where it is empty."""
    values = pd.to_numeric(cells.mask(empty), errors="coerce").astype(float)
    values[values.notna()] = cells[values.notna()].map(float)  # to_numeric is wrong in the last digit
    text = values.isna() & ~empty
    comma = text & cells.str.fullmatch(WITH_COMMA)
    percent = text & cells.str.fullmatch(r"[\d.,]+ ?%")
    date = text & cells.str.match(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")
    name, other, found = cells.name, text & ~comma & ~percent & ~date, []
    points = "Replace decimal commas by points, or write `decimal: ','` into a mapping file (--map)."
    for kind, code, expected, remedy in [
        (comma, "decimal-comma", "a number with a decimal point", points),
        (percent, "percent", "a number without a sign", "Remove the percent signs and divide by 100."),
        (date, "date", "a number", "Compute the time from baseline to the date in days."),
        (other, "text", "a number", "Correct the cell, or leave it empty where it is not known."),
        (np.isinf(values), "infinite", "a finite number", "Correct the cell, or leave it empty."),
    ]:
        first = cells[kind].iloc[0][:30] if kind.any() else ""
        found += _at(kind, code, f"it holds {first!r}", expected, remedy, name)
    return values, found


def _states(roles: Roles, cells: pd.Series, empty: pd.Series) -> tuple[pd.Series, list[Finding]]:
    """Return the event's state: 0 censored, 1 event, 2 competing; NaN where it is empty or has another code."""
    plain = cells.str.lower().str.replace(r"\.0+$", "", regex=True)
    codes = dict(PLAIN_CODES)
    if roles.codes:
        listed = {name: value if isinstance(value, (list, tuple)) else [value] for name, value in roles.codes.items()}
        codes = {str(code).lower(): STATES[name] for name, values in listed.items() for code in values}
    state = plain.map(codes)
    unknown = state.isna() & ~empty
    seen = sorted(plain[~empty].unique())
    if set(seen) == {"1", "2"} and not roles.codes:
        problem, expected = "it is coded 1 and 2", "0 for censored and 1 for the event"
        remedy = "Recode it, or write `codes: {censored: 1, event: 2}` into a mapping file (--map)."
        return state, _at(unknown, "event-12", problem, expected, remedy, cells.name)
    first = cells[unknown].iloc[0][:30] if unknown.any() else ""
    expected = f"one of {', '.join(codes)}"
    remedy = "Say what it means in a mapping file: `codes: {censored: [0], event: [1], competing: [2]}`."
    return state, _at(unknown, "event-code", f"it holds {first!r}", expected, remedy, cells.name)


def _times(roles: Roles, time: pd.Series, state: pd.Series) -> list[Finding]:
    """Times are those of a person's life."""
    longest = A_YEAR[roles.time_unit] * 100
    remedy = "Correct the date of baseline or of the last follow-up."
    found = _at(time < 0, "negative", f"{time.min():g} is negative", "a time from baseline on", remedy, roles.time)
    remedy = "A prediction needs patients who have not had the event yet: leave them out or correct the time."
    at_zero = (time == 0) & (state > 0)
    found += _at(at_zero, "event-at-zero", "the event is at time 0", "an event after baseline", remedy, roles.time)
    problem = f"{time.max():g} {roles.time_unit} are {time.max() / longest * 100:.0f} years"
    remedy = "Correct --time-unit: these look like days." if roles.time_unit != "days" else "Correct the time."
    return found + _at(time > longest, "time-unit", problem, "at most a hundred years", remedy, roles.time)


def _patients(roles: Roles, text: pd.DataFrame, empty: pd.DataFrame) -> list[Finding]:
    """A patient is one row, in one cohort."""
    if not roles.id:
        return []
    known = text.loc[~empty[roles.id]]
    repeated = known[roles.id].duplicated(keep=False)
    if not repeated.any():
        return []
    cohorts = known[repeated].groupby(roles.id)[roles.cohort].nunique() if roles.cohort else pd.Series(dtype=int)
    in_two = repeated & known[roles.id].isin(cohorts.index[cohorts > 1])
    remedy = "Keep each patient in one cohort: those seen in training cannot judge a model."
    found = _at(in_two, "two-cohorts", "the patient is in two cohorts", "each patient in one", remedy, roles.id)
    problem, remedy = "the patient is there twice", "Keep one row a patient."
    return found + _at(repeated & ~in_two, "patient-twice", problem, "each patient once", remedy, roles.id)


def _probabilities(roles: Roles, numbers: Mapping[str, pd.Series]) -> list[Finding]:
    """Risks and survival probabilities lie between 0 and 1."""
    found = []
    for name, kind in roles.predictions().items():
        if kind == "score":
            continue
        values = numbers[name]
        outside = (values < 0) | (values > 1)
        percent = outside.any() and values.min() >= 0 and 1 < values.max() <= 100 and values.median() > 1
        problem = f"it holds {values[outside].iloc[0]:g}" if outside.any() else ""
        remedy = f"Give it with --score if it is no probability; as --{kind} it must be one."
        if percent:
            problem, remedy = f"values up to {values.max():g} look like percents", "Divide them by 100."
        code = "percent" if percent else "no-probability"
        found += _at(outside, code, problem, "a probability between 0 and 1", remedy, name)
    return found


def _usable(roles: Roles, table: Table) -> list[Finding]:
    """What is left of the table can be evaluated at all."""
    patients, found = table.patients, []
    if patients.empty:
        problem = "no row has time, event and every prediction"
        remedy = "Fill in the cells, or name fewer predictions."
        return [Finding("nothing-left", problem, "complete rows", remedy, table.left_out["reason"].mode()[0][3:])]
    if not patients["event"].any():
        remedy = "Check the event's codes and the outcome."
        return [Finding("no-event", "nobody has the event", "some patients with it", remedy, roles.event)]
    if patients["event"].all():
        remedy = "Include those who were censored; if nobody was, check the event's codes."
        found.append(Finding("one-class", "every patient has the event", "also patients without", remedy, roles.event))
    if patients["cohort"].nunique() > MOST_COHORTS:
        problem, remedy = f"it holds {patients['cohort'].nunique()} cohorts", "Name centres with --centre."
        found.append(Finding("cohorts", problem, f"at most {MOST_COHORTS}", remedy, roles.cohort))
    longest = patients["time"].max()
    if roles.horizon > longest:
        problem = f"the horizon is {roles.horizon:g}, the longest follow-up {longest:g} {roles.time_unit}"
        remedy = "Choose an earlier --horizon, or check its unit and --time-unit."
        found.append(Finding("horizon-late", problem, "a horizon within follow-up", remedy, roles.time))
    elif not (patients["event"] & (patients["time"] <= roles.horizon)).any():
        first = patients.loc[patients["event"], "time"].min()
        problem = f"no event by {roles.horizon:g} {roles.time_unit}, the first is at {first:g}"
        remedy = "Choose a later --horizon, or check its unit."
        found.append(Finding("horizon-early", problem, "events by the horizon", remedy, roles.time))
    for name, kind in table.kinds.items():
        values = table.predictions[name]
        if values.nunique() == 1 and kind == "score":
            problem, remedy = f"it is {values.iloc[0]:g} in every row", "Name another column."
            found.append(Finding("constant", problem, "a score that differs between patients", remedy, name))
        if set(values.unique()) == {0, 1} and (values == patients["event"]).all():
            problem, remedy = f"it equals {roles.event} in every row", "Name the prediction's column."
            found.append(Finding("is-the-event", problem, "a prediction made before the outcome", remedy, name))
    return found


# ---------------------------------------------------------------- doubts


def discrimination_times(patients: pd.DataFrame) -> pd.Series:
    """Return times in which a patient with a competing event outlives everybody: he or she never has the event.

    For the concordance of Wolbers et al. (Epidemiology 2009;20:555-561); without competing events nothing changes.
    """
    return patients["time"].mask(patients["state"] == 2, patients["time"].max() + 1)


def _doubts(roles: Roles, table: Table, text: pd.DataFrame) -> list[Finding]:
    """Return values that are possible and implausible."""
    return [*_strange_rows(roles, table, text), *_strange_cohorts(roles, table), *_strange_predictions(roles, table)]


def _strange_rows(roles: Roles, table: Table, text: pd.DataFrame) -> list[Finding]:
    patients, found = table.patients, []
    if not roles.id:
        equal = text[roles.columns()].duplicated(keep=False)
        remedy = "Name the patients' column with --id, so that duplicates can be told from equal patients."
        found += _at(equal, "equal-rows", "rows are equal in every named column", "one row a patient", remedy, "")
    zero = patients["time"] == 0
    remedy = "They carry no information; check the dates."
    found += _at(zero, "zero", "follow-up ends at time 0", "some follow-up", remedy, roles.time)
    years = patients["time"].max() / A_YEAR[roles.time_unit]
    if years < 1:
        problem = f"the longest follow-up is {patients['time'].max():g} {roles.time_unit}"
        remedy = "Check --time-unit: are these months or years?"
        found.append(Finding("time-short", problem, "months or years of follow-up", remedy, roles.time))
    for name in filter(None, [roles.id, roles.cohort, roles.centre, *roles.clinical]):
        levels = pd.Series(text[name].unique())
        levels = levels[~levels.str.lower().isin(MISSING)]
        folded = levels.str.casefold()
        alike = levels[folded.isin(folded[folded.duplicated()].head(1))].tolist()
        if alike:
            kind = "patient" if name == roles.id else "level"
            problem, remedy = (
                f"{' and '.join(sorted(alike))} differ in capitals only",
                f"They are taken for two {kind}s.",
            )
            rarer = text.index[text[name] == min(alike, key=text[name].tolist().count)][0]
            found.append(Finding("spelling", problem, f"one spelling a {kind}", remedy, name, int(rarer)))
    for name in text.columns:
        index = pd.to_numeric(text[name], errors="coerce") if name.lower() in ("", "index", "unnamed: 0") else None
        if index is not None and index.is_unique and not index.is_monotonic_increasing:
            ordered = np.sort(index)
            if index.notna().all() and np.array_equal(ordered, np.arange(len(index)) + ordered[0]):
                problem = "a saved row index is not in order"
                remedy = "If predictions were joined by position, join them by patient again."
                found.append(Finding("index-shuffled", problem, "rows in their own order", remedy, name or "(no name)"))
    return found


def _strange_cohorts(roles: Roles, table: Table) -> list[Finding]:
    found = []
    for name, group in table.patients.groupby("cohort", sort=False):
        early = int((group["event"] & (group["time"] <= roles.horizon)).sum())
        if roles.horizon > group["time"].max():
            problem = f"follow-up of {name} ends at {group['time'].max():g} {roles.time_unit}"
            remedy = "What belongs to the horizon is not estimable there."
            found.append(Finding("cohort-short", problem, "follow-up to the horizon", remedy, roles.cohort))
        elif early < 10:
            problem = f"{name} has fewer than 10 events by the horizon"
            remedy = "Read its intervals, not its estimates."
            found.append(Finding("few-events", problem, "ten or more", remedy, roles.cohort))
    return found


def _strange_predictions(roles: Roles, table: Table) -> list[Finding]:
    found, time = [], discrimination_times(table.patients)
    for name, kind in table.kinds.items():
        values = table.predictions[name]
        edge = (values <= 0) | (values >= 1)
        if kind == "risk" and edge.any():
            remedy = "Calibration slope and curve are not estimable."
            found += _at(edge, "risk-edge", "the risk is exactly 0 or 1", "risks between", remedy, name)
        if values.nunique() == 1:
            remedy = "It ranks nobody; only its level can be judged."
            found.append(Finding("constant", f"it is {values.iloc[0]:g} in every row", "risks", remedy, name))
            continue
        c = concordance.concordance(time, table.patients["event"], values)
        remedy = {"risk": "Is it survival (--survival)?", "survival": "Is it a risk (--risk)?"}
        remedy |= {"score": "Is a higher score a lower risk? Then give its negative."}
        if c.upper < 0.5:
            problem = f"C is {c.c:.3f} ({c.lower:.3f} to {c.upper:.3f}), below chance"
            direction = remedy[roles.predictions()[name]]
            found.append(Finding("direction", problem, "higher values in patients with early events", direction, name))
        elif c.c > TOO_GOOD or _separates(table.patients, values, roles.horizon):
            problem = f"C is {c.c:.3g}, and it separates those with the event by the horizon from the others"
            problem = f"C is {c.c:.3g}: it ranks nearly every pair rightly" if c.c > TOO_GOOD else problem
            found.append(
                Finding("outcome", problem, "a prediction made before the outcome", "Is it made from it?", name)
            )
    return found + _alike(table.predictions)


def _separates(patients: pd.DataFrame, values: pd.Series, horizon: float) -> bool:
    """Say whether ten or more patients with the event by the horizon have higher values than all free of it then."""
    early = patients["event"] & (patients["time"] <= horizon)
    free = ~early & ((patients["time"] >= horizon) | (patients["state"] == 2))
    return bool(early.sum() >= 10 and free.sum() >= 10 and values[early].min() > values[free].max())


def _alike(values: pd.DataFrame) -> list[Finding]:
    """Warn of two predictions that are the same, or one minus each other."""
    found, names = [], list(values)
    for place, name in enumerate(names):
        for earlier in names[:place]:
            if values[name].equals(values[earlier]):
                problem, remedy = f"it equals {earlier} in every row", "Name another column, or one of them only."
            elif np.allclose(values[name] + values[earlier], 1, atol=1e-9):
                problem, remedy = f"it is 1 - {earlier} in every row", "Is one of them survival (--survival)?"
            else:
                continue
            found.append(Finding("alike", problem, "two predictions", remedy, name))
    return found
