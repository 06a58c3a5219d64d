"""What a notebook's parameters may be: another name, type or range is refused before anything is computed."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import UnionType
from typing import Any

import numpy as np
import pandas as pd

from dlrs.config import InputError, did_you_mean, resolve
from dlrs.stats import cox, nomogram

NO_COVARIATES = {"cohort", "time_months", "t2w_prob", "adc_prob", "dl_prob", "binary"}

MAY_BE_EMPTY = {"nri_cutoffs", "other_horizons_months"}


def is_file(name: str) -> bool:
    """Say whether a file is there; a relative path is one from the repository's root."""
    return resolve(name).is_file()


RANGES: dict[str, tuple[Callable[[Any], bool], tuple[str, ...]]] = {
    "months above 0, at most 600": (
        lambda x: 0 < x <= 600,
        ("horizon_months", "times_months", "other_horizons_months", "restricted_months", "calibration_months"),
    ),
    "months from 0 to 600": (lambda x: 0 <= x <= 600, ("at_risk_months",)),
    "risks between 0 and 1": (
        lambda x: 0 < x < 1,
        ("threshold", "threshold_risk", "highest_threshold", "cutoffs_risk", "nri_cutoffs", "thresholds"),
    ),
    "a P value above 0, at most 1": (lambda x: 0 < x <= 1, ("significance",)),
    "a step above 0, at most 0.5": (lambda x: 0 < x <= 0.5, ("threshold_step",)),
    "10 resamples or more": (lambda x: x >= 10, ("n_boot", "n_refit", "n_band", "n_boot_curve")),
    "1 patient or more": (lambda x: x >= 1, ("population", "smallest_group", "most_resampled")),
    "1 or more": (lambda x: x >= 1, ("n_draws", "n_optimism", "n_null", "n_power")),
    "2 to 20 groups": (lambda x: 2 <= x <= 20, ("n_groups",)),
    "a number of processes, or -1": (lambda x: x >= 1 or x == -1, ("jobs",)),
    "signal strengths from 0 to 1": (lambda x: 0 <= x <= 1, ("signals",)),
    "a time above 0": (lambda x: 0 < x < math.inf, ("horizon",)),
    "days, months or years": (lambda x: x in ("days", "months", "years"), ("time_unit",)),
    "a point or a comma": (lambda x: x in (".", ","), ("decimal",)),
    "a file that is there": (
        is_file,
        ("published_file", "percentages_file", "texts_file", "choices", "settings", "probabilities", "others"),
    ),
    "a file that is there, or nothing": (lambda x: not x or is_file(x), ("alternatives", "table")),
    "1000 simulated cohorts or more": (lambda x: x >= 1000, ("n_simulated",)),
    "a log hazard ratio above 0, at most 10": (lambda x: 0 < x <= 10, ("largest_effect",)),
    "a distance from 0.001 to 0.1": (lambda x: 0.001 <= x <= 0.1, ("window",)),
    "values of R2 above 0, at most 0.9": (lambda x: 0 < x <= 0.9, ("r2_assumed",)),
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

    A list must hold such values in ascending order, each once, a dictionary such values by any names.

    Examples
    --------
    >>> unfit("n_boot", 0), unfit("n_boot", 1000), unfit("times_months", [36, 12])
    ('10 resamples or more', '', 'months above 0, at most 600, each once and ascending')
    """
    if name not in RULES:
        return ""
    expected, allowed = RULES[name]
    try:
        if isinstance(value, Mapping):
            return "" if all(map(allowed, value.values())) else expected
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
            remedy = did_you_mean(name, kinds, "Correct its name where it is passed on.")
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
            remedy = did_you_mean(word, allowed, "Correct the parameter.")
            raise InputError("parameters", f"{name} has {word}", expected=f"of {', '.join(allowed)}", remedy=remedy)


def within_follow_up(name: str, months: float | Sequence[float], longest: float) -> None:
    """Refuse a time beyond the longest follow-up, both in months.

    Examples
    --------
    >>> within_follow_up("horizon_months", 36.0, 81.5)
    """
    for time in np.atleast_1d(months):
        if time > longest:
            expected = f"months up to {longest:g}, the longest follow-up"
            raise InputError("parameters", f"{name} has {time:g}", expected=expected, remedy="Take an earlier time.")


def check_formula(name: str, formula: str, primary: pd.DataFrame, patients: pd.DataFrame) -> list[str]:
    """Refuse a formula that the study's models and nomogram cannot have; return the variables of one that they can.

    Parameters
    ----------
    name
        The parameter's name.
    formula
        Right-hand side of covariates: factors, numbers, functions of a number, interactions of factors.
    primary, patients
        The patients of the fit, and all that the model is applied to.

    Raises
    ------
    InputError
        One sentence: what the formula has, and what it may have.
    """
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    def refuse(found, expected, remedy="Correct the formula."):
        raise InputError("parameters", f"{name} {found}", expected=expected, remedy=remedy)

    factors = list(primary.select_dtypes("category"))
    covariates = [c for c in [*factors, *primary.select_dtypes("float")] if c not in NO_COVARIATES]
    try:
        parsed = Formula(formula)
        named = {word for word in re.findall(r"[^\W\d]\w*", formula) if word in primary}  # formulaic: not those of bs()
        variables = [] if hasattr(parsed, "rhs") else sorted({*map(str, parsed.required_variables), *named})
    except FormulaicError as error:
        refuse(f"is {formula!r}", f"a formula such as ct_stage + cea: {str(error).split(chr(10))[0].split('  ')[0]}")
    among(name, variables, covariates)
    if not variables or "1" not in map(str, parsed):
        refuse(f"is {formula!r}", "covariates joined by +, with no outcome before them and no -1 after")
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            columns, terms = cox.design(formula, primary)
            everybody, _ = cox.design(formula, primary, patients)
    except FormulaicError as error:
        beyond = "extrapolation" in str(error)
        problem = "has a spline that ends with the primary patients" if beyond else "has a part that fails on the table"
        remedy = "Write bs(age, 3, extrapolation='extend')." if beyond else "Correct the formula."
        refuse(problem, "one that is defined for every patient", remedy)
    if len(everybody) < len(patients) or not np.isfinite(everybody.to_numpy(dtype=float)).all():
        refuse(f"is {formula!r}", "finite values in every patient", "A logarithm of 0 has none.")
    for axis in nomogram.axes_of(formula, primary):
        if len(axis.variables) > 1 and not set(axis.variables) <= set(factors):
            remedy = "Cut the number into levels in the clinical table."
            refuse(f"has an interaction of a number, {axis.name}", "interactions of factors", remedy)
    for term in dict.fromkeys(terms):
        part = columns.loc[:, [t == term for t in terms]].assign(constant=1.0)
        if term.endswith(")") and part.shape[1] > 2 and np.linalg.matrix_rank(part) < part.shape[1]:
            remedy = "Write cr(age, 3, constraints='center')."
            refuse(f"has {term}, whose columns add up to a constant", "columns that do not", remedy)
    return variables
