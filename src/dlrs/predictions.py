"""Read a table of follow-up and somebody's predictions, of any disease and any model, and check it before it is used.

What cannot be is a finding, and then nothing is computed; what is only strange is a warning. Units, direction and
kind of a prediction are stated by the person who gives the table and checked here, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from dlrs.config import InputError, did_you_mean
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


TEXTS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def _finding(code: str, found: str, column: str = "", row: int | None = None, **texts: str) -> Finding:
    """Return a finding with what `predictions.yaml` says of its code, but for the `expected` or `remedy` given here."""
    return Finding(code, found, **TEXTS[code] | texts, column=column, row=row)


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
    try:
        text = path.read_text(encoding="utf-8-sig")
        problem, nodes = yaml.safe_load(text), yaml.compose(text, yaml.SafeLoader)
    except FileNotFoundError:
        raise Findings(path.name, [_finding("map-missing", "there is no such file")]) from None
    except (yaml.YAMLError, UnicodeError) as error:
        found = f"it cannot be read ({' '.join(str(error).split())[:120]})"
        raise Findings(path.name, [_finding("map-unreadable", found)]) from None
    if not isinstance(problem, dict):
        raise Findings(path.name, [_finding("map-no-mapping", "it is no mapping")])
    keys = [str(key.value) for key, _ in nodes.value]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise Findings(path.name, [_finding("map-twice", f"{twice[0]} is there twice")])
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
    options = dict(header=None, dtype=str, keep_default_na=False)
    try:
        if path.suffix.lower() == ".xlsx":
            with pd.ExcelFile(path) as book:
                if len(book.sheet_names) > 1:
                    doubts.append(_finding("sheets", f"there are {len(book.sheet_names)} sheets"))
                cells = book.parse(book.sheet_names[0], **options)
        elif path.suffix.lower() in (".csv", ".tsv", ".txt"):
            with open(path, encoding="utf-8-sig") as file:
                header = file.readline()
            mark = max(",;\t", key=header.count)
            cells = pd.read_csv(path, sep=mark, encoding="utf-8-sig", skip_blank_lines=False, **options)
        elif path.suffix.lower() in (".parquet", ".pq"):
            cells = _from_parquet(path)
        else:
            raise Findings(path.name, [_finding("file-kind", f"its ending is {path.suffix.lower() or 'none'}")])
    except Findings:
        raise
    except FileNotFoundError:
        raise Findings(path.name, [_finding("file-missing", "there is no such file")]) from None
    except pd.errors.EmptyDataError:
        raise Findings(path.name, [_finding("empty", "the file is empty")]) from None
    except pd.errors.ParserError as error:
        found = f"a row has more cells than the header ({' '.join(str(error).split())[-60:]})"
        raise Findings(path.name, [_finding("cells", found)]) from None
    except (UnicodeError, ValueError, OSError, KeyError) as error:
        found = f"it cannot be read ({' '.join(str(error).split())[:120]})"
        raise Findings(path.name, [_finding("unreadable", found)]) from None
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
        raise Findings(file, [_finding("header-twice", "two columns have this name", twice[0])])
    rows = rows[(rows != "").any(axis=1)]
    if rows.empty:
        texts = dict(expected="a row a patient", remedy="Add them.")
        raise Findings(file, [_finding("empty", "there is no row below the header", **texts)])
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
        found.append(_finding("time-unit", problem, roles.time))
    horizon = roles.horizon
    if isinstance(horizon, bool) or not isinstance(horizon, (int, float)) or not 0 < horizon < np.inf:
        found.append(_finding("horizon", f"the horizon is {horizon!r}"))
    if not roles.predictions():
        found.append(_finding("no-prediction", "no prediction is named"))
    if roles.decimal not in (".", ","):
        found.append(_finding("decimal", f"decimal is {roles.decimal!r}"))
    unknown = [name for name in roles.codes if name not in STATES]
    if unknown:
        found.append(_finding("codes", f"codes has {unknown[0]}", roles.event))
    coded = [
        str(code) for value in roles.codes.values() for code in (value if isinstance(value, (list, tuple)) else [value])
    ]
    for code in sorted({code for code in coded if coded.count(code) > 1}):
        found.append(_finding("codes", f"{code} has two meanings", roles.event, expected="each code once"))
    for frame in (list(roles.predictions()), list(roles.clinical)):
        keys = [key(name) for name in frame]
        twins = [name for name in frame if keys.count(key(name)) > 1]
        if twins:
            problem = f"{twins[0]} and {twins[1]} differ in signs only" if len(twins) > 1 else "a name is there twice"
            found.append(_finding("names", problem, twins[0]))
    return found


def _columns(roles: Roles, text: pd.DataFrame) -> list[Finding]:
    """Every column that is named is there, and is one thing only."""
    found, names = [], roles.columns()
    for name in dict.fromkeys(names):
        if name not in text.columns:
            remedy = did_you_mean(name, filter(None, text), "Correct the option that names it.")
            problem = "there is no such column"
            found.append(Finding("column-missing", problem, f"one of {', '.join(filter(None, text))}", remedy, name))
    several = [roles.id, roles.time, roles.event, roles.cohort, roles.centre, *roles.clinical]
    several = [name for name in [*several, *(name for kind in KINDS for name in getattr(roles, kind))] if name]
    for name in dict.fromkeys(name for name in several if several.count(name) > 1):
        found.append(_finding("column-twice", "it is named for two things", name))
    return found


def _named(rows: Sequence[int]) -> str:
    """List the first rows of several."""
    problem = ", ".join(map(str, rows[:ROWS_NAMED]))
    return f"{len(rows)} rows: {problem}{', ...' if len(rows) > ROWS_NAMED else ''}"


def _at(bad: pd.Series, code: str, found: str, column: str, **texts: str) -> list[Finding]:
    """Return one finding for all rows where `bad` is true, which names the first."""
    rows = bad.index[bad].tolist()
    more = f" ({_named(rows)})" if len(rows) > 1 else ""
    return [_finding(code, found + more, column, rows[0], **texts)] if rows else []


def _numbers(cells: pd.Series, empty: pd.Series) -> tuple[pd.Series, list[Finding]]:
    """Return a column as numbers, NaN where it is empty."""
    values = pd.to_numeric(cells.mask(empty), errors="coerce").astype(float)
    values[values.notna()] = cells[values.notna()].map(float)  # to_numeric is wrong in the last digit
    text = values.isna() & ~empty
    comma = text & cells.str.fullmatch(WITH_COMMA)
    percent = text & cells.str.fullmatch(r"[\d.,]+ ?%")
    date = text & cells.str.match(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")
    name, other, found = cells.name, text & ~comma & ~percent & ~date, []
    kinds = {"decimal-comma": comma, "percent": percent, "date": date, "text": other, "infinite": np.isinf(values)}
    for code, kind in kinds.items():
        first = cells[kind].iloc[0][:30] if kind.any() else ""
        found += _at(kind, code, f"it holds {first!r}", name)
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
        return state, _at(unknown, "event-12", "it is coded 1 and 2", cells.name)
    first = cells[unknown].iloc[0][:30] if unknown.any() else ""
    return state, _at(unknown, "event-code", f"it holds {first!r}", cells.name, expected=f"one of {', '.join(codes)}")


def _times(roles: Roles, time: pd.Series, state: pd.Series) -> list[Finding]:
    """Times are those of a person's life."""
    longest = A_YEAR[roles.time_unit] * 100
    found = _at(time < 0, "negative", f"{time.min():g} is negative", roles.time)
    found += _at((time == 0) & (state > 0), "event-at-zero", "the event is at time 0", roles.time)
    problem = f"{time.max():g} {roles.time_unit} are {time.max() / longest * 100:.0f} years"
    texts = dict(expected="at most a hundred years", remedy="Correct the time.")
    texts |= dict(remedy="Correct --time-unit: these look like days.") if roles.time_unit != "days" else {}
    return found + _at(time > longest, "time-unit", problem, roles.time, **texts)


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
    found = _at(in_two, "two-cohorts", "the patient is in two cohorts", roles.id)
    return found + _at(repeated & ~in_two, "patient-twice", "the patient is there twice", roles.id)


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
        texts = dict(expected=TEXTS["no-probability"]["expected"], remedy=remedy)
        found += _at(outside, "percent" if percent else "no-probability", problem, name, **texts)
    return found


def _usable(roles: Roles, table: Table) -> list[Finding]:
    """What is left of the table can be evaluated at all."""
    patients, found = table.patients, []
    if patients.empty:
        problem = "no row has time, event and every prediction"
        return [_finding("nothing-left", problem, table.left_out["reason"].mode()[0][3:])]
    if not patients["event"].any():
        return [_finding("no-event", "nobody has the event", roles.event)]
    if patients["event"].all():
        found.append(_finding("one-class", "every patient has the event", roles.event))
    if patients["cohort"].nunique() > MOST_COHORTS:
        problem, expected = f"it holds {patients['cohort'].nunique()} cohorts", f"at most {MOST_COHORTS}"
        found.append(_finding("cohorts", problem, roles.cohort, expected=expected))
    longest = patients["time"].max()
    if roles.horizon > longest:
        problem = f"the horizon is {roles.horizon:g}, the longest follow-up {longest:g} {roles.time_unit}"
        found.append(_finding("horizon-late", problem, roles.time))
    elif not (patients["event"] & (patients["time"] <= roles.horizon)).any():
        first = patients.loc[patients["event"], "time"].min()
        problem = f"no event by {roles.horizon:g} {roles.time_unit}, the first is at {first:g}"
        found.append(_finding("horizon-early", problem, roles.time))
    for name, kind in table.kinds.items():
        values = table.predictions[name]
        if values.nunique() == 1 and kind == "score":
            found.append(_finding("constant", f"it is {values.iloc[0]:g} in every row", name))
        if set(values.unique()) == {0, 1} and (values == patients["event"]).all():
            found.append(_finding("is-the-event", f"it equals {roles.event} in every row", name))
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
        found += _at(equal, "equal-rows", "rows are equal in every named column", "")
    found += _at(patients["time"] == 0, "zero", "follow-up ends at time 0", roles.time)
    years = patients["time"].max() / A_YEAR[roles.time_unit]
    if years < 1:
        problem = f"the longest follow-up is {patients['time'].max():g} {roles.time_unit}"
        found.append(_finding("time-short", problem, roles.time))
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
                found.append(_finding("index-shuffled", "a saved row index is not in order", name or "(no name)"))
    return found


def _strange_cohorts(roles: Roles, table: Table) -> list[Finding]:
    found = []
    for name, group in table.patients.groupby("cohort", sort=False):
        early = int((group["event"] & (group["time"] <= roles.horizon)).sum())
        if roles.horizon > group["time"].max():
            problem = f"follow-up of {name} ends at {group['time'].max():g} {roles.time_unit}"
            found.append(_finding("cohort-short", problem, roles.cohort))
        elif early < 10:
            found.append(_finding("few-events", f"{name} has fewer than 10 events by the horizon", roles.cohort))
    return found


def _strange_predictions(roles: Roles, table: Table) -> list[Finding]:
    found, time = [], discrimination_times(table.patients)
    for name, kind in table.kinds.items():
        values = table.predictions[name]
        edge = (values <= 0) | (values >= 1)
        if kind == "risk" and edge.any():
            found += _at(edge, "risk-edge", "the risk is exactly 0 or 1", name)
        if values.nunique() == 1:
            texts = dict(expected="risks", remedy="It ranks nobody; only its level can be judged.")
            found.append(_finding("constant", f"it is {values.iloc[0]:g} in every row", name, **texts))
            continue
        c = concordance.concordance(time, table.patients["event"], values)
        remedy = {"risk": "Is it survival (--survival)?", "survival": "Is it a risk (--risk)?"}
        remedy |= {"score": "Is a higher score a lower risk? Then give its negative."}
        if c.upper < 0.5:
            problem = f"C is {c.c:.3f} ({c.lower:.3f} to {c.upper:.3f}), below chance"
            found.append(_finding("direction", problem, name, remedy=remedy[roles.predictions()[name]]))
        elif c.c > TOO_GOOD or _separates(table.patients, values, roles.horizon):
            problem = f"C is {c.c:.3g}, and it separates those with the event by the horizon from the others"
            problem = f"C is {c.c:.3g}: it ranks nearly every pair rightly" if c.c > TOO_GOOD else problem
            found.append(_finding("outcome", problem, name))
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
            found.append(_finding("alike", problem, name, remedy=remedy))
    return found
