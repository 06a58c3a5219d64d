"""`cohort.yaml`, a hospital's description of its folder: read within bounds, and checked against one model."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from dlrs.cohort import VARIABLES, Variable, columns, levels

MAX_BYTES = 200_000  # the synthetic cohort's description, with three scanners, has 2,000
MAX_VALUES = 20_000  # with every alias written out
MAX_DEPTH = 20
MAX_SHOWN = 60  # characters of what was found
UNITS = {"time_months": ("months", "days", "weeks", "years"), "age": ("years", "months")}
DATES = ("surgery", "metastasis", "last_contact")
SECTIONS = ("columns", "codes", "units", "dates", "constants", "table")
LISTS = ("missing", "keep")
SMALL_CELL = 5  # patients: a smaller count may point to somebody


# ---------------------------------------------------------------- reading within bounds


class Unreadable(ValueError):
    """The file is no YAML that may be loaded; `found` and `expected` say why."""

    def __init__(self, found: str, expected: str = "a YAML mapping that describes the cohort"):
        super().__init__(found)
        self.found, self.expected = found, expected


def _check_events(text: str) -> None:
    """Refuse, before anything is built, what grows when it is loaded or is more than plain values.

    Raises
    ------
    Unreadable
        There are tags, merge keys, several documents, an alias of itself,
        more than `MAX_VALUES` values with all aliases written out, or values
        nested deeper than `MAX_DEPTH`.
    """
    sizes: dict[str, int] = {}  # of what each anchor names, written out
    open_, documents = [], 0  # [anchor, values so far] of what has begun
    for event in yaml.parse(text, yaml.SafeLoader):
        line = event.start_mark.line + 1
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            raise Unreadable(f"a second document begins in line {line}", "one document, without lines of `---`")
        if getattr(event, "tag", None) is not None:
            raise Unreadable(f"line {line} has the tag {event.tag[:MAX_SHOWN]}", "plain values without tags")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.style is None:
            raise Unreadable(f"line {line} has the merge key <<", "lines that are written out")
        added = 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append([event.anchor, 1])
            if len(open_) > MAX_DEPTH:
                raise Unreadable(f"line {line} is nested {len(open_)} deep", f"{MAX_DEPTH} levels at most")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, added = open_.pop()
            sizes |= {anchor: added} if anchor else {}
        elif isinstance(event, yaml.ScalarEvent):
            added = 1
            sizes |= {event.anchor: 1} if event.anchor else {}
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise Unreadable(f"line {line} has the alias *{event.anchor} within itself", "a value of its own")
            added = sizes[event.anchor]
        if open_:
            open_[-1][1] += added
        if added > MAX_VALUES or (open_ and open_[-1][1] > MAX_VALUES):
            raise Unreadable(f"line {line} makes more than {MAX_VALUES} values", f"{MAX_VALUES} at most")


def _twice(text: str) -> list[str]:
    """List the keys that a YAML mapping holds twice, of which a reader would silently take the last."""
    found, waiting, seen = [], [("", yaml.compose(text, yaml.SafeLoader))], set()
    while waiting:
        above, node = waiting.pop()
        if isinstance(node, yaml.MappingNode) and id(node) not in seen:
            seen.add(id(node))
            names = [str(key.value) for key, _ in node.value]
            found += [above + name for name in sorted(set(names)) if names.count(name) > 1]
            waiting += [(f"{above}{key.value}.", value) for key, value in node.value]
    return found


def load(path: Path) -> tuple[dict, list[str]]:
    """Return a description's plain values, and the keys that it holds twice; bounded in size, depth and expansion.

    YAML takes `No` for false and 01 for 1; codes are words, so sections and
    lists hold every word as it is written.

    Raises
    ------
    Unreadable
        The file is too large, not UTF-8, not YAML, or holds more than plain values.
    """
    if path.stat().st_size > MAX_BYTES:
        raise Unreadable(f"the file has {path.stat().st_size} bytes", f"{MAX_BYTES} at most")
    try:
        text = unicodedata.normalize("NFC", path.read_text(encoding="utf-8-sig"))
        _check_events(text)
        values, texts = yaml.safe_load(text), yaml.load(text, yaml.BaseLoader)
        twice = _twice(text)
    except UnicodeError as error:
        raise Unreadable("not UTF-8 text") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"not YAML ({' '.join(str(error).split())[:300]})") from error
    if not isinstance(values, dict):
        raise Unreadable("it is no mapping")
    sections = {name: texts[name] for name in (*SECTIONS, *LISTS, "variables") if texts.get(name)}
    others = {str(key): value for key, value in values.items() if key not in (*SECTIONS, *LISTS, "variables")}
    return others | sections, twice


# ---------------------------------------------------------------- the model


def _unknown(name: str, allowed: Sequence[str]) -> PydanticCustomError:
    near = get_close_matches(name, allowed, 1)
    return PydanticCustomError(
        "unknown", "{expected}", {"expected": f"{near[0]!r}?" if near else "one of " + ", ".join(allowed)}
    )


def _ours(name: str, info: ValidationInfo) -> str:
    """Refuse a name that is none of the cohort's variables, which have been read before."""
    variables = info.data.get("variables")
    allowed = columns(variables.joined() if variables else VARIABLES)
    if name not in allowed:
        raise _unknown(name, allowed)
    return name


def _covariate(name: str) -> str:
    allowed = columns(VARIABLES, "covariate")
    if name not in allowed:
        raise _unknown(name, allowed)
    return name


def _addable(name: str) -> str:
    if name in VARIABLES and VARIABLES[name].role != "covariate":
        raise PydanticCustomError("unknown", "taken", {"expected": "a name that the study does not use itself"})
    return name


def _number(word: Any) -> float:
    return float(word) if isinstance(word, str) else word


def _ascending(values: list) -> list:
    if any(high < low + 50 for low, high in pairwise(values)):
        raise ValueError
    return values


Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Word = Annotated[str, StringConstraints(max_length=200)]
Key = Annotated[Text, BeforeValidator(str)]  # a centre may be called 1
Number = Annotated[int | float, Field(allow_inf_nan=False)]
Ours = Annotated[Text, AfterValidator(_ours)]
# Words that formulas take as they are, and text that tables show.
OwnName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$"), AfterValidator(_addable)]
Shown = Annotated[str, StringConstraints(pattern=r"^[^\W_][^<>&`|\x00-\x1f]{0,99}$")]
Words = Annotated[float, BeforeValidator(_number)]  # as the sections' words are not yet numbers
Plain = bool | int | float | Word | None
Value = Plain | Annotated[list[Plain], Field(max_length=100)]
BValue = Annotated[Number, Field(ge=0, le=10_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Table(_Part):
    """How the table's file is written."""

    file: Annotated[str, StringConstraints(pattern=r"^[^/\\:]+\.(csv|xlsx|CSV|XLSX)$", max_length=200)] | None = Field(
        None, description="the name of a .csv or .xlsx file in this folder"
    )
    sheet: Text | None = Field(None, description="a sheet's name")
    separator: Literal[",", ";", "\t", "tab"] | None = Field(None, description="',', ';' or tab")
    decimal: Literal[",", "."] | None = Field(None, description="',' or '.'")
    encoding: Annotated[str, StringConstraints(pattern=r"^[\w-]{1,40}$")] | None = Field(
        None, description="utf-8, cp1252, latin-1 or another encoding's name"
    )
    date_order: Literal["dmy", "mdy", "ymd"] | None = Field(None, description="dmy, mdy or ymd")


class Dates(_Part):
    """The hospital's columns of dates, in place of time and event."""

    surgery: Text = Field(description="surgery, metastasis and last_contact")
    metastasis: Text = Field(description="surgery, metastasis and last_contact")
    last_contact: Text = Field(description="surgery, metastasis and last_contact")


class OwnVariable(_Part):
    """A variable of the cohort folder: with levels, or else a number."""

    label: Shown | None = Field(None, description="the name in tables and figures, plain text")
    levels: Annotated[list[Shown], Field(min_length=2, max_length=20)] | None = Field(
        None, description="`levels: [one, two]`, each once, in the order of the tables"
    )
    reference: Shown | None = Field(None, description="one of the levels")
    unit: Shown | None = Field(None, description="the unit of a number")
    range: Annotated[list[Words], Field(min_length=2, max_length=2)] | None = Field(
        None, description="`range: [lowest, highest]`"
    )

    @model_validator(mode="after")
    def _fits(self):
        if self.levels and (len(set(self.levels)) < len(self.levels) or self.reference not in (None, *self.levels)):
            expected = "levels each once, the reference among them"
        elif not self.levels and self.reference:
            expected = "`levels: [one, two]` where there is a reference"
        elif self.range and self.range[0] >= self.range[1]:
            expected = "`range: [lowest, highest]`"
        else:
            return self
        raise PydanticCustomError("definition", "definition", {"expected": expected})

    def variable(self, name: str) -> Variable:
        """Return what tables and models need of it."""
        label = self.label or name.replace("_", " ").capitalize()
        if self.levels:
            return Variable(label, "levels", "covariate", self.levels, self.reference or self.levels[0])
        return Variable(label, "number", "covariate", unit=self.unit or "", range=self.range or (-1e9, 1e9))


class Variables(_Part):
    """What the folder's table has beside the paper's variables, and what it has not."""

    add: dict[OwnName, OwnVariable] = Field({}, description="lines `name: {label: ..., levels: [...]}` below `add:`")
    leave_out: list[Annotated[Text, AfterValidator(_covariate)]] = Field(
        [], max_length=100, description="`leave_out: [one, two]`, covariates of the paper"
    )

    def joined(self) -> dict[str, Variable]:
        """Return the paper's variables with those of the folder, a changed one in its place."""
        added_variables = {name: added.variable(name) for name, added in self.add.items()}
        kept = {name: variable for name, variable in VARIABLES.items() if name not in self.leave_out}
        return {name: added_variables.get(name, variable) for name, variable in kept.items()} | added_variables


class Settings(_Part):
    """A cohort folder's description; every field's `description` is what a message says was expected."""

    name: Text = Field(description="`name:` and what reports call the cohort")
    class_: Literal["SYNTHETIC", "COHORT"] = Field(alias="class", description="SYNTHETIC or COHORT")
    share: bool = Field(False, description="true or false")
    small_cell: int = Field(SMALL_CELL, ge=2, le=1000, description="a whole number from 2 on")
    b_values: Annotated[list[BValue], Field(min_length=2, max_length=20), AfterValidator(_ascending)] | None = Field(
        None, description="two b-values or more in s/mm2, ascending: [0, 1000]"
    )
    acquisition: dict[Key, dict[Key, Value | dict[Key, Value]] | None] | None = Field(
        None, description="for each centre lines `name: text or number`, and such lines below t2w and dwi"
    )
    variables: Variables = Field(Variables(), description="`add:` and `leave_out:` below `variables:`")
    columns: dict[Text, Ours] = Field({}, description="lines `name: value` below `columns:`")
    codes: dict[Ours, dict[Word, Word]] = Field(
        {}, description="lines `their code: our level` below each of our columns"
    )
    units: dict[Text, Text] = Field({}, description="lines `name: value` below `units:`")
    dates: Dates | None = Field(None, description="lines `name: value` below `dates:`")
    constants: dict[Ours, Text] = Field({}, description="lines `name: value` below `constants:`")
    table: Table = Field(Table(), description="lines `name: value` below `table:`")
    missing: list[Word] = Field([], max_length=100, description="`missing: [one, two]`")
    keep: list[Text] = Field([], max_length=100, description="`keep: [one, two]`")
    # Of a generated cohort.
    seed: int | None = Field(None, ge=0, description="a whole number from 0 on")
    signal: Number | None = Field(None, ge=0, le=1, description="a number from 0 to 1")
    size_signal: Number | None = Field(None, ge=0, le=1, description="a number from 0 to 1")
    exact_counts: bool | None = Field(None, description="true or false")
    n_patients: int | None = Field(None, ge=1, description="a whole number from 1 on")

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (found, expected) for sections that each are well-formed and do not fit together."""
        given = [*self.columns.values(), *self.constants, *(("time_months", "event") if self.dates else ())]
        for name in sorted({name for name in given if given.count(name) > 1}):
            yield f"{name} has two sources", "one column, constant or date rule for each of our columns"
        known = levels(self.variables.joined())
        for name, codes in self.codes.items():
            for ours in sorted({ours for ours in codes.values() if ours} - set(known.get(name, codes.values()))):
                yield f"codes.{name} has {ours!r}", _unknown(ours, known[name]).context["expected"]
        for name, allowed in UNITS.items():
            unit = self.units.get(name, "").lower().split()
            if unit and unit[0] not in allowed:
                yield f"units.{name} is {' '.join(unit)!r}", "one of " + ", ".join(allowed)


SETTINGS = tuple(field.alias or name for name, field in Settings.model_fields.items())
TABLE_OPTIONS, VARIABLE_OPTIONS = tuple(Table.model_fields), tuple(OwnVariable.model_fields)
STAND_IN = {"name": "-", "class": "COHORT"}  # where they are missing or wrong and the table is looked at all the same


# ---------------------------------------------------------------- what is wrong


def short(value: Any) -> str:
    """Return a value as it may stand in a message."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _described(place: Sequence[str]) -> str:
    """Return the description of the field at a place, or of the one around it."""
    model, description = Settings, ""
    for part in place:
        named = {field.alias or name: field for name, field in model.model_fields.items()}
        if part not in named:
            break
        description = named[part].description
        inner = [
            kind
            for kind in (Table, Dates, Variables)
            if kind in (named[part].annotation, *_arms(named[part].annotation))
        ]
        if not inner:
            break
        model = inner[0]
    return description


def _arms(annotation) -> tuple:
    return getattr(annotation, "__args__", ())


def _found(error: dict, values: dict) -> tuple[list[str], str, str]:
    """Return place, found and expected of one of pydantic's errors; without what is at the place it would be gone."""
    place, value = [], values
    for part in map(str, error["loc"]):
        inside = {str(key): held for key, held in value.items()} if isinstance(value, dict) else {}
        inside = dict(zip(map(str, range(len(value))), value, strict=True)) if isinstance(value, list) else inside
        if part in inside:  # else the arm of a union, or a field that is not there
            place, value = [*place, part], inside[part]
    name, expected = ".".join(place), error.get("ctx", {}).get("expected")
    if error["type"] == "missing":
        lacking = str(error["loc"][-1])
        described = _described([*place, lacking])
        return place, f"{name} lacks {lacking}" if name else f"no {lacking}", described
    if error["type"] == "extra_forbidden":
        inner = VARIABLE_OPTIONS if len(place) > 2 else ("add", "leave_out")
        options = {"table": TABLE_OPTIONS, "dates": DATES, "variables": inner}[place[0]] if len(place) > 1 else SETTINGS
        text = f"{place[-1]!r} is no setting" if len(place) == 1 else f"{'.'.join(place[:-1])} has {place[-1]!r}"
        return place, text, _unknown(place[-1], options).context["expected"]
    if error["type"] == "unknown":  # a name that is not ours
        text = value if isinstance(value, str) and place[0] in ("columns", "variables") else place[-1]
        return place, f"{'.'.join(place[: 2 if place[0] == 'variables' else 1])} has {text!r}", expected
    if error["type"] == "definition":
        return place, f"{name} has a definition that does not fit", expected
    described = _described(place)
    if isinstance(value, dict | list) or error["type"] in ("dict_type", "list_type", "model_type"):
        return place, f"{name} is a {type(value).__name__}", described
    return place, f"{name} is {short(value)}", described


def _without(values: dict, place: Sequence[str]) -> dict:
    """Return the values without what stands at a place."""
    first, *rest = place
    kept = {key: value for key, value in values.items() if str(key) != first}
    if rest and isinstance(values.get(first), dict):
        kept[first] = _without(values[first], rest)
    return kept


def plain(settings: Settings) -> dict:
    """Return the description as plain values, with every section and list, though it be empty."""
    values = settings.model_dump(by_alias=True, exclude_none=True)
    return values | {"dates": values.get("dates", {})}


def check(values: dict) -> tuple[Settings, list[tuple[str, str, str]]]:
    """Hold a description's values against the model.

    Returns
    -------
    settings : Settings
        As far as the values can be followed; the rest is left out, so that the table can be looked at all the same.
    wrong : list of (code, found, expected)
        Every value that cannot be followed.
    """
    wrong: list[tuple[str, str, str]] = []
    values = {key: value for key, value in values.items() if value is not None}
    for _ in range(50):
        try:
            settings = Settings.model_validate(values)
        except ValidationError as error:
            problems: dict[tuple, tuple] = {}
            for fault in error.errors(include_url=False):
                place, found, expected = _found(fault, values)
                lacking = [str(fault["loc"][-1])] if fault["type"] == "missing" else []
                unknown = fault["type"] == "extra_forbidden" and len(place) == 1
                problems.setdefault((*place, *lacking), (place, found, expected, unknown))
            for where, (place, found, expected, unknown) in problems.items():
                if any(where == other[: len(where)] and where != other for other in problems):
                    continue  # of a union's arms the one that came furthest
                code = {"name": "settings-name", "class": "settings-class"}.get(where[0], "settings-mapping")
                wrong.append(("settings-unknown" if unknown else code, found, expected))
                values = values | {where[0]: STAND_IN[where[0]]} if where[0] in STAND_IN else _without(values, place)
        else:
            break
    else:
        settings = Settings.model_validate(STAND_IN)
    return settings, wrong + [("settings-mapping", *pair) for pair in settings.contradictions()]
