"""The codebook of a run: what each column of each of its CSV files holds, and in which unit."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import yaml

from dlrs import cohort, config, results


@functools.cache
def words() -> dict:
    """Return `paper/columns.yaml`."""
    return yaml.safe_load(config.resolve("paper/columns.yaml").read_text(encoding="utf-8"))


def describe(name: str, variables: Mapping[str, cohort.Variable] = cohort.VARIABLES) -> tuple[str, str] | None:
    """Return a column's label and unit, or None where no word is known for it.

    A name is looked for among the columns, then without a suffix such as `_lower`, then without a prefix such as
    `multivariable_`; a P value has no unit of what it tests.

    Examples
    --------
    >>> describe("multivariable_hr_lower")
    ('Hazard ratio, multivariable Cox model, lower limit of the 95% interval', 'ratio')
    >>> describe("age"), describe("p_jackknife"), describe("xyz")
    (('Age', 'years'), ('P value: joint jackknife', '0 to 1'), None)
    """
    variable = variables.get(name)
    if variable and variable.role != "prediction":
        return variable.label, variable.unit
    for unit, columns in words()["columns"].items():
        if name in columns:
            return columns[name], unit
    for suffix, form in words()["suffixes"].items():
        if name.endswith(suffix) and (found := describe(name.removesuffix(suffix), variables)):
            return form.format(found[0]), "0 to 1" if suffix == "_p" else found[1]
    for prefix, form in words()["prefixes"].items():
        if name.startswith(prefix) and (found := describe(name.removeprefix(prefix), variables)):
            return form.format(found[0]), found[1]
    for prefix, (form, unit) in words()["models"].items():
        if name.startswith(prefix):
            return form.format(name.removeprefix(prefix)), unit
    return None


def of_run(folder: Path) -> pd.DataFrame:
    """Return a row for each column of each CSV file in `tables/` and `interim/` of a run.

    Returns
    -------
    DataFrame
        file, column, label, unit, kind (number, yes or no, text, empty). Variables are those of the run's `study.json`.
        A column without a word in `paper/columns.yaml` has its name, spelt out, as label.
    """
    rows, variables = [], cohort.VARIABLES
    if (folder / "interim" / "study.json").is_file():
        variables = cohort.VARIABLES | cohort.read_settings(folder)["variables"]
    for path in sorted([*(folder / "tables").glob("*.csv"), *(folder / "interim").glob("*.csv")]):
        frame = pd.read_csv(path)
        for name, column in frame.items():
            label, unit = describe(name, variables) or (results.spell(name, variables), "")
            kinds = {"b": "yes or no", "O": "text"}
            kind = "empty" if column.isna().all() else kinds.get(column.dtype.kind, "number")
            row = dict(column=name, label=label, unit=unit, kind=kind)
            rows.append(dict(file=str(path.relative_to(folder))) | row)
    return pd.DataFrame(rows, columns=["file", "column", "label", "unit", "kind"])
