"""Every number that R wrote into a reference file, computed again with dlrs and compared.

A module of this package stands for one top-level key of the reference JSON. It has

``compute(context)``
    a nested dict that mirrors the JSON below that key (it may hold more, never less), and
``ROWS``
    one `Row` per quantity: where it stands in the JSON, which R call made it, what computes it here.

Nothing here knows a particular data set: names, levels, sizes and horizons come from the
`spec` and the CSV beside the JSON.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
from dataclasses import dataclass, field
from functools import cache, cached_property
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

RELATIVE, ABSOLUTE = 1e-7, 1e-12

NOT_COMPARED = {
    "spec": "input",
    "software": "package versions",
    "dataset": "name",
    "scores": "input of every statistic after the Cox fits",
    "bootstrap": "random",
    "uno_delta_perturbation_primary": "random",
}
NOT_USED = Path(__file__).with_name("not_used.yaml")


def _regex(pattern: str) -> re.Pattern:
    """A path: `*` is one key, `**` any number of them."""
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(p, re.escape(p)) for p in parts))


@dataclass(frozen=True)
class NotUsed:
    """Numbers of a section that stand for nothing the study uses, and why."""

    section: str
    path: str
    reason: str

    @cached_property
    def regex(self) -> re.Pattern:
        return _regex(self.path)


@cache
def not_used() -> list[NotUsed]:
    """What `not_used.yaml` lists."""
    return [NotUsed(**entry) for entry in yaml.safe_load(NOT_USED.read_text(encoding="utf-8"))]


@dataclass(frozen=True)
class Row:
    """One quantity; `pattern` is its path below the section: `*` one key, `**` any number, list positions dropped."""

    pattern: str
    quantity: str
    r: str
    ours: str
    exact: bool = False  # a count: no tolerance
    tolerance: float = RELATIVE  # looser only where the README says so

    @cached_property
    def regex(self) -> re.Pattern:
        return _regex(self.pattern)


@dataclass
class Context:
    """One data set: the CSV's rows with the scores that R used, and the spec."""

    name: str
    folder: Path
    spec: dict
    frame: pd.DataFrame

    @property
    def horizon(self) -> float:
        return float(self.spec["horizon"])

    @property
    def clinical(self) -> list[str]:
        return list(self.spec["clinical"])

    @property
    def combined(self) -> list[str]:
        return [*self.clinical, self.spec["signature"]]

    @property
    def splits(self) -> dict[str, pd.DataFrame]:
        """The two splits, rows in CSV order and numbered from 0."""
        return {
            name: self.frame[self.frame["split"] == code].reset_index(drop=True)
            for code, name in enumerate(("primary", "validation"))
        }

    @property
    def primary(self) -> pd.DataFrame:
        return self.splits["primary"]

    @property
    def markers(self) -> list[str]:
        return ["signature", "clinical", "combined", *self.spec.get("extra_markers", [])]

    def marker(self, rows: pd.DataFrame, name: str) -> np.ndarray:
        """The marker's values; the clinical and the combined one are linear predictors."""
        column = {"signature": self.spec["signature"], "clinical": "lp_clinical", "combined": "lp_combined"}
        return rows[column.get(name, name)].to_numpy(float)

    def design(self, rows: pd.DataFrame, variables: list[str]) -> tuple[np.ndarray, list[str], list[str]]:
        """Model matrix without intercept, its terms (``ypN=1``) and the variable that each column belongs to."""
        columns, terms, owner = [], [], []
        for variable in variables:
            if variable in self.spec.get("factors", []):
                for level in sorted(self.frame[variable].unique())[1:]:
                    columns.append((rows[variable] == level).to_numpy(float))
                    terms.append(f"{variable}={label(level)}")
                    owner.append(variable)
            else:
                columns.append(rows[variable].to_numpy(float))
                terms.append(variable)
                owner.append(variable)
        return np.column_stack(columns), terms, owner


@dataclass
class Result:
    """What one section of one data set came to: of the `numbers` that the study uses, how many are `checked`."""

    dataset: str
    section: str
    numbers: int = 0
    checked: int = 0
    not_used: dict[str, int] = field(default_factory=dict)  # path of not_used.yaml -> numbers
    disagreements: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    largest: dict[str, tuple[float, int]] = field(default_factory=dict)  # pattern -> difference, numbers compared


def label(value) -> str:
    """A level as R prints it: ``1``, not ``1.0``."""
    return f"{value:.15g}" if isinstance(value, Real) else str(value)


def reference_dir() -> Path:
    """The folder named by REFERENCE_DIR, or tests/reference."""
    return Path(os.environ.get("REFERENCE_DIR") or Path(__file__).parents[1] / "reference").resolve()


def datasets(folder: Path | None = None) -> list[str]:
    """Every NAME of the folder that has both NAME.json and NAME.csv."""
    folder = folder or reference_dir()
    return sorted(p.stem for p in folder.glob("*.json") if p.with_suffix(".csv").exists())


def reference(name: str, folder: Path | None = None) -> dict:
    """R's numbers for one data set."""
    return json.loads(((folder or reference_dir()) / f"{name}.json").read_text(encoding="utf-8"))


def context(name: str, folder: Path | None = None) -> Context:
    """Read one data set: CSV, spec, and R's scores as the input of all that follows the Cox fits."""
    folder = folder or reference_dir()
    stored = reference(name, folder)
    frame = pd.read_csv(folder / f"{name}.csv", float_precision="round_trip")
    scores = pd.DataFrame(stored["scores"])
    if not (frame["id"].to_numpy() == scores["id"].to_numpy()).all():
        raise ValueError(f"{name}: scores must stand in the order of the CSV's rows")
    frame["event"] = frame["event"] == 1
    for column in scores.columns.drop(["id", "binary"]):
        frame[column] = scores[column].to_numpy()
    # the horizon's outcome: 1, 0, or NaN where censored before it (R's README: scores.binary)
    frame["binary"] = scores["binary"].where(scores["binary"] >= 0).to_numpy(float)
    return Context(name, folder, stored["spec"], frame)


def sections(stored: dict) -> list[str]:
    """The top-level keys that hold numbers to compare."""
    return [k for k in stored if k not in NOT_COMPARED and any(True for _ in leaves(stored[k], (k,)))]


def leaves(node, path: tuple[str | int, ...] = ()):
    """Yield path and value of every number below `node`."""
    for leaf, value in _walk(node, path):
        if isinstance(value, Real) and not isinstance(value, bool):
            yield leaf, value


def _walk(node, path):
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if items is None:
        yield path, node
    else:
        for key, value in items:
            yield from _walk(value, (*path, key))


def _keys(path) -> str:
    return "/".join(key for key in path if isinstance(key, str))


def _find(node, path):
    """Our value at R's path, or None."""
    for key in path:
        node = node.to_numpy() if isinstance(node, pd.Series) else node
        if isinstance(node, dict):
            key = key if key in node else str(key).strip()
            node = node.get(key)
        elif isinstance(node, (list, tuple, np.ndarray)) and isinstance(key, int) and key < len(node):
            node = node[key]
        else:
            return None
    return node


def module(section: str):
    """The module that computes a top-level key, or None when nobody knows the key."""
    name = f"{__name__}.{section}"
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


def compare(data: Context, stored: dict, section: str) -> Result:
    """Compute one section and hold every number (and word) of R's against ours."""
    result = Result(data.name, section)
    code, unused = module(section), [entry for entry in not_used() if entry.section == section]
    rows = code.ROWS if code else []
    try:
        ours = code.compute(data) if code else {}
    except (ValueError, ArithmeticError, LookupError) as error:
        # the section counts as not computed and fails, but the other sections' lines are still printed
        ours = {}
        result.missing.append(f"{section}: {type(error).__name__}: {error}")
    for path, theirs in _walk(stored[section], ()):
        if theirs is None:  # R had no number there
            continue
        number = isinstance(theirs, Real) and not isinstance(theirs, bool)
        with_positions = "/".join(map(str, path))
        entry = next((e for e in unused if any(map(e.regex.fullmatch, (_keys(path), with_positions)))), None)
        if entry:
            result.not_used[entry.path] = result.not_used.get(entry.path, 0) + number
            continue
        result.numbers += number
        where = f"{section}/{with_positions}"
        row = next((r for r in rows if r.regex.fullmatch(_keys(path))), None)
        if row is None:
            if number:
                result.missing.append(f"{where}: no row says what this is")
            continue
        mine = _find(ours, path)
        if mine is None:
            if number:
                result.missing.append(f"{where}: not computed (R has {theirs!r})")
        elif not number:
            if not isinstance(mine, str) or mine.strip() != str(theirs).strip():
                result.disagreements.append(f"{where}: R {theirs!r}, ours {mine!r}")
        else:
            _hold(result, row, where, mine, theirs)
    return result


def _hold(result: Result, row: Row, where: str, mine, theirs) -> None:
    mine = float(mine) if isinstance(mine, (Real, np.generic)) and not isinstance(mine, str) else float("nan")
    allowed = 0.0 if row.exact else row.tolerance * abs(theirs) + ABSOLUTE
    difference = abs(mine - theirs)
    if not difference <= allowed:
        result.disagreements.append(f"{where}: R {theirs!r}, ours {mine!r}, difference {difference:.2g}")
        return
    result.checked += 1
    # at R = 0 the absolute part of the tolerance decides, so it stands in the scale as well
    relative = 0.0 if row.exact else difference / (abs(theirs) + ABSOLUTE / RELATIVE)
    largest, count = result.largest.get(row.pattern, (0.0, 0))
    result.largest[row.pattern] = max(largest, relative), count + 1
