"""What a notebook's parameters may be: another name, type or range is refused before anything is computed."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import UnionType
from typing import Any

from dlrs.config import InputError

MAY_BE_EMPTY = {"nri_cutoffs", "other_horizons_months"}
RANGES: dict[str, tuple[Callable[[Any], bool], tuple[str, ...]]] = {
    "months above 0, at most 600": (
        lambda x: 0 < x <= 600,
        ("horizon_months", "times_months", "other_horizons_months", "restricted_months"),
    ),
    "months from 0 to 600": (lambda x: 0 <= x <= 600, ("at_risk_months",)),
    "risks between 0 and 1": (lambda x: 0 < x < 1, ("threshold_risk", "cutoffs_risk", "nri_cutoffs", "thresholds")),
    "a P value above 0, at most 1": (lambda x: 0 < x <= 1, ("significance",)),
    "a step above 0, at most 0.5": (lambda x: 0 < x <= 0.5, ("threshold_step",)),
    "10 resamples or more": (lambda x: x >= 10, ("n_boot",)),
    "1 patient or more": (lambda x: x >= 1, ("population", "smallest_group")),
    "a whole number from 0 to 4294967295": (lambda x: 0 <= x < 2**32, ("seed",)),
    "one name or more": (lambda x: isinstance(x, str), ("subgroups",)),
    "primary or validation": (lambda x: x in ("primary", "validation"), ("cohort_judged",)),
    "Youden, median, or a number": (
        lambda x: x in ("Youden", "median") or (not isinstance(x, str) and math.isfinite(x)),
        ("cutoff_rule",),
    ),
}
RULES = {name: (expected, allowed) for expected, (allowed, names) in RANGES.items() for name in names}


def unfit(name: str, value: Any) -> str:
    """Return what was expected where a value of the right type is none that the parameter may have, or nothing.

    A list must hold such values in ascending order, each once.

    Examples
    --------
    >>> unfit("n_boot", 0), unfit("n_boot", 1000), unfit("times_months", [36, 12])
    ('10 resamples or more', '', 'months above 0, at most 600, each once and ascending')
    """
    if name not in RULES:
        return ""
    expected, allowed = RULES[name]
    try:
        if not isinstance(value, list):
            return "" if allowed(value) else expected
        fit = all(allowed(x) and not isinstance(x, bool) for x in value)
        words = value and isinstance(value[0], str)
        ordered = value == (list(dict.fromkeys(value)) if words else sorted(set(value)))
    except TypeError:  # a word among numbers
        fit = ordered = False
    if fit and ordered and (value or name in MAY_BE_EMPTY):
        return ""
    return f"{expected}, each once" + ("" if name == "subgroups" else " and ascending")


def of_kind(value: Any, kind: type | UnionType) -> bool:
    """Say whether a value is of an annotated type: a whole number is a float too, True is no number."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) or (isinstance(value, int) and isinstance(1.0, kind))


def check(notebook: Mapping[str, Any]) -> None:
    """Refuse a parameter that the notebook does not declare, or a value that it cannot use.

    Parameters
    ----------
    notebook
        Its `globals()`: the parameters, annotated with their types, and IPython's history of cells, in which
        papermill's own cell shows the names that were passed on.

    Raises
    ------
    InputError
        Names the parameter, its value, and what it could have been.
    """
    kinds = {name: kind for name, kind in notebook["__annotations__"].items() if name in notebook}
    where = "Correct it in the notebook's second cell, or where it is passed on."
    for name in passed_on(notebook.get("In", ())):
        if name not in kinds:
            close = difflib.get_close_matches(name, kinds, n=1)
            remedy = f"Did you mean {close[0]}?" if close else "Correct its name where it is passed on."
            raise InputError("parameters", f"no parameter {name}", expected=f"one of {', '.join(kinds)}", remedy=remedy)
    for name, kind in kinds.items():
        value = notebook[name]
        named = getattr(kind, "__name__", str(kind))
        expected = unfit(name, value) if of_kind(value, kind) else RULES.get(name, [f"a value of type {named}"])[0]
        if expected:
            raise InputError("parameters", f"{name} is {value!r}", expected=expected, remedy=where)


def passed_on(cells: Iterable[str]) -> list[str]:
    """Return the names that papermill's cell assigns, of all cells that ran.

    >>> passed_on(["x: int = 1", "# Parameters\\nx = 2\\ny = 3\\n"])
    ['x', 'y']
    """
    trees = [ast.parse(cell) for cell in cells if cell.startswith("# Parameters\n")]
    assigned = [line.targets for tree in trees for line in tree.body if isinstance(line, ast.Assign)]
    return [target.id for targets in assigned for target in targets if isinstance(target, ast.Name)]


def among(name: str, value: str | Sequence[str], allowed: Sequence[str]) -> None:
    """Refuse names that the run's data do not have, one sentence for the first of them.

    Examples
    --------
    >>> among("subgroups", ["pcr"], ["pcr", "gender"])
    """
    for word in [value] if isinstance(value, str) else value:
        if word not in allowed:
            close = difflib.get_close_matches(word, allowed, n=1)
            remedy = f"Did you mean {close[0]}?" if close else "Correct the parameter."
            raise InputError("parameters", f"{name} has {word}", expected=f"of {', '.join(allowed)}", remedy=remedy)
