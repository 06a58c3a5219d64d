"""The clinical table: its columns, units and levels, and the patients that a study may use."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from dlrs.config import InputError, display_path

# The first level is the reference of every model formula.
LEVELS: dict[str, list[str]] = {
    "cohort": ["primary", "validation"],
    "gender": ["Male", "Female"],
    "tumor_location": ["High", "Mid", "Low"],
    "histology": ["adenocarcinoma", "mucinous", "signet_ring"],
    "ct_stage": ["cT3", "cT4"],
    "lymph_node_status": ["negative", "positive"],
    "cea": ["Normal", "Elevated"],
    "surgical_approach": ["Laparotomy", "Laparoscopy"],
    "ypt_stage": ["ypT0", "ypT1", "ypT2", "ypT3", "ypT4"],
    "ypn_stage": ["ypN0", "ypN1", "ypN2"],
    "adjuvant_chemotherapy": ["No", "Yes"],
    "adjuvant_radiotherapy": ["No", "Yes"],
    "locoregional_recurrence": ["No", "Yes"],
}
NUMBERS = {"time_months": (0.0, 600.0), "age": (0.0, 120.0), "event": (0.0, 1.0)}
COLUMNS = ["patient_id", "centre", "time_months", "event", "age", *LEVELS]


class Cohort(NamedTuple):
    """A cohort folder's table and its description."""

    patients: pd.DataFrame  # one row a patient, levels as categories, `row` = the row in clinical.csv
    settings: dict  # cohort.yaml
    folder: Path

    @property
    def provenance(self) -> str:
        """SYNTHETIC or COHORT: the class that every number made from this folder carries."""
        return self.settings["class"]


def _schema():
    import pandera.pandas as pa

    def column(check, expected: str, dtype=None):
        return pa.Column(dtype, pa.Check(check, error=expected), nullable=False, coerce=False)

    columns = {
        name: column(lambda s, levels=levels: s.isin(levels), "one of " + ", ".join(levels))
        for name, levels in LEVELS.items()
    }
    for name, (low, high) in NUMBERS.items():
        expected = "0 or 1" if name == "event" else f"a number from {low:g} to {high:g}"

        def fits(values, low=low, high=high, whole=name == "event"):
            number = pd.to_numeric(values, errors="coerce")
            return number.between(low, high) & (number.isin([0, 1]) if whole else True)

        columns[name] = column(fits, expected)
    named = "letters, digits, dot, hyphen and underscore, starting with a letter or digit"
    columns["patient_id"] = column(lambda s: s.astype(str).str.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*"), named)
    columns["centre"] = column(lambda s: s.astype(str).str.strip() != "", "the centre's name")
    return pa.DataFrameSchema(columns, strict=False)


def _problems(frame: pd.DataFrame) -> list[tuple[int, str, str, str]]:
    """List (row, column, found, expected) for every cell of the table that breaks a rule."""
    import pandera.errors

    found = []
    try:
        _schema().validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        for case in errors.failure_cases.itertuples():
            row = int(case.index) + 2
            value = frame.at[case.index, case.column]
            empty = pd.isna(value) or str(value).strip() == ""
            expected = str(case.check) if case.check != "not_nullable" else "a value"
            found.append((row, case.column, "is empty" if empty else f"found {value!r}", expected))
    twice = frame["patient_id"].duplicated(keep=False) & frame["patient_id"].notna()
    for index in frame.index[twice & frame["patient_id"].duplicated()]:
        same = frame.index[frame["patient_id"] == frame.at[index, "patient_id"]]
        other = int(same[0]) + 2
        both = frame.loc[same, "cohort"].nunique() > 1
        what = "the patient of row {} again{}".format(other, ", in the other cohort" if both else "")
        found.append((int(index) + 2, "patient_id", what, "each patient once and in one cohort"))
    unique = {}
    for row, column, what, expected in found:  # an empty cell breaks two rules and is said once
        unique.setdefault((row, column), (what, expected))
    return [(row, column, *rest) for (row, column), rest in sorted(unique.items())]


def read_clinical(path: str | Path) -> pd.DataFrame:
    """Read and check a clinical table.

    Parameters
    ----------
    path
        CSV with the columns of `COLUMNS`; times in months since surgery,
        event 1 = distant metastasis, levels spelt as in `LEVELS`.

    Returns
    -------
    DataFrame
        One row a patient. Level columns are categories whose first level is
        the reference; `event` is boolean; `row` is the row in the file.

    Raises
    ------
    InputError
        Names file, row and column of every cell that is wrong (the first
        twenty), what was found and what was expected.
    """
    path = Path(path)
    shown = display_path(path)
    if not path.is_file():
        remedy = "Give the folder that holds clinical.csv, or make a synthetic one with `python3 run.py cohort`."
        raise InputError(shown, "the file is missing", expected="a clinical table", remedy=remedy)
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    missing = [name for name in COLUMNS if name not in frame]
    if missing:
        what = f"no column {', '.join(missing)}; the file has {', '.join(frame.columns)}"
        remedy = "Rename or add the columns; the data dictionary in data_synthetic describes them."
        raise InputError(shown, what, expected="all of " + ", ".join(COLUMNS), remedy=remedy)
    frame = frame.replace("", np.nan)
    problems = _problems(frame)
    if problems:
        row, column, what, expected = problems[0]
        others = "".join(f"\n  row {r}, column {c}: {w}; expected {e}." for r, c, w, e in problems[1:20])
        unsaid = f"\n  and {len(problems) - 20} more." if len(problems) > 20 else ""
        remedy = "Correct the table and start again; nothing was computed from it." + others + unsaid
        raise InputError(shown, what, expected=expected, remedy=remedy, row=row, column=column)
    return typed(frame.assign(row=np.arange(len(frame)) + 2))


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with numbers as numbers, events as booleans and levels as categories."""
    frame = frame.copy()
    for name, levels in LEVELS.items():
        frame[name] = pd.Categorical(frame[name], categories=levels)
    frame["time_months"] = frame["time_months"].astype(float)
    frame["age"] = frame["age"].astype(float)
    frame["event"] = frame["event"].replace({"True": 1, "False": 0}).astype(int).astype(bool)
    return frame


def read_cohort(folder: str | Path) -> Cohort:
    """Read a cohort folder: `cohort.yaml` and the checked `clinical.csv`.

    Raises
    ------
    InputError
        A file is missing or wrong; the message names file, row and column.
    """
    folder = Path(folder)
    about = folder / "cohort.yaml"
    shown = display_path(about)
    if not about.is_file():
        remedy = "See data_synthetic/cohort.yaml for an example."
        raise InputError(shown, "the file is missing", expected="a description of the cohort", remedy=remedy)
    try:
        settings = yaml.safe_load(about.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        what = f"not YAML ({str(error).splitlines()[0]})"
        raise InputError(shown, what, expected="a YAML mapping", remedy="Correct the file.") from error
    provenance = settings.get("class") if isinstance(settings, dict) else None
    if provenance not in ("SYNTHETIC", "COHORT"):
        remedy = "Set `class: COHORT` for patients, `class: SYNTHETIC` for generated ones."
        raise InputError(shown, f"class is {provenance!r}", expected="SYNTHETIC or COHORT", remedy=remedy)
    return Cohort(read_clinical(folder / "clinical.csv"), settings, folder)


def read_patients(path: str | Path) -> pd.DataFrame:
    """Read back the table of included patients that notebook 01 wrote."""
    return typed(pd.read_csv(path, dtype={"patient_id": str, "centre": str}))


def join_probabilities(patients: pd.DataFrame, t2w: pd.DataFrame, adc: pd.DataFrame) -> pd.DataFrame:
    """Join the two networks' probabilities into the table that the statistics start from.

    Parameters
    ----------
    patients
        `patient_id` and `cohort`.
    t2w, adc
        `patient_id` and `prob`, the probability of metastasis within three years.

    Returns
    -------
    DataFrame
        patient_id, cohort, t2w_prob, adc_prob and their sum dl_prob in [0, 2].

    Raises
    ------
    ValueError
        A patient has no probability, or more than one.
    """
    joined = patients[["patient_id", "cohort"]]
    for name, table in {"t2w_prob": t2w, "adc_prob": adc}.items():
        one = table[["patient_id", "prob"]].rename(columns={"prob": name})
        joined = joined.merge(one, on="patient_id", how="left", validate="one_to_one")
        absent = joined[name].isna()
        if absent.any():
            raise ValueError(
                f"{name} must hold every patient; {absent.sum()} are missing, first at row {absent.argmax()}"
            )
    return joined.assign(dl_prob=joined["t2w_prob"] + joined["adc_prob"])


def with_probabilities(patients: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """Add the probabilities of `dl_prob.csv` to the included patients.

    Raises
    ------
    InputError
        The file lacks a column or a patient, or holds a probability outside its range.
    """
    shown = display_path(path)
    table = pd.read_csv(path, dtype={"patient_id": str})
    limits = {"t2w_prob": 1.0, "adc_prob": 1.0, "dl_prob": 2.0}
    remedy = "Train again with `python3 run.py reproduce`, or restore the committed file."
    absent = [name for name in ["patient_id", *limits] if name not in table]
    if absent:
        raise InputError(shown, f"no column {', '.join(absent)}", expected="a table of probabilities", remedy=remedy)
    for name, limit in limits.items():
        bad = ~table[name].between(0, limit)
        if bad.any():
            place = int(bad.argmax())
            what = f"found {table[name].iloc[place]}"
            raise InputError(shown, what, expected=f"0 to {limit:g}", remedy=remedy, row=place + 2, column=name)
    joined = patients.merge(table[["patient_id", *limits]], on="patient_id", how="left", validate="one_to_one")
    lacking = joined["dl_prob"].isna()
    if lacking.any():
        what = f"{lacking.sum()} included patients have no probability"
        raise InputError(shown, what, expected="every included patient", remedy=remedy)
    return joined
