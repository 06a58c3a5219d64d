"""The clinical table: its columns, units and levels, and the patients that a study may use."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from numpy.typing import ArrayLike

from dlrs.config import InputError, display_path, resolve, write_text
from dlrs.stats import survival

DAYS_PER_MONTH = 30.4375
OUT_OF_FOLD = "_oof"  # ending of the second track's columns and result keys; see `tracks`


class Variable(NamedTuple):
    """A column of the clinical table; see the head of `paper/variables.yaml`."""

    label: str
    kind: str  # levels, number, event or text
    role: str  # id, centre, cohort, time, event, covariate or prediction
    levels: Sequence[str] = ()  # in the order of Table 1
    reference: str | None = None  # the first level of every model's contrasts
    unit: str = ""
    range: Sequence[float] | None = None  # lowest and highest, in the unit

    @property
    def categories(self) -> list[str]:
        """The levels with the reference first, then in their order; none of a number."""
        return self.levels and [self.reference, *(level for level in self.levels if level != self.reference)]


def read_variables(path: str | Path = "paper/variables.yaml") -> dict[str, Variable]:
    """Return the variables of the paper by name, in the order of its tables.

    Raises
    ------
    InputError
        A variable has levels without a reference among them.
    """
    found = {name: Variable(**fields) for name, fields in yaml.safe_load(resolve(path).read_text("utf-8")).items()}
    for name, variable in found.items():
        if variable.kind == "levels" and variable.reference not in variable.levels:
            problem, expected = f"{name} has the reference {variable.reference!r}", "one of its levels"
            raise InputError(display_path(resolve(path)), problem, expected=expected, remedy="Correct the file.")
    return found


VARIABLES = read_variables()


def columns(variables: Mapping[str, Variable], *roles: str) -> list[str]:
    """Return the columns of the clinical table, in order; those with one of `roles` where any is given."""
    return [name for name, v in variables.items() if (v.role in roles if roles else v.role != "prediction")]


def levels(variables: Mapping[str, Variable]) -> dict[str, list[str]]:
    """Return each variable's levels, the reference first."""
    return {name: v.categories for name, v in variables.items() if v.kind == "levels"}


def left_out(variables: Mapping[str, Variable]) -> list[str]:
    """Return the covariates of the paper that a cohort does not have."""
    return [name for name in columns(VARIABLES, "covariate") if name not in variables]


def has(variables: Mapping[str, Variable], name: str, *levels: str) -> bool:
    """Return whether a cohort has a variable, with these levels."""
    return name in variables and set(levels) <= set(variables[name].levels)


# Of the paper's variables. A cohort folder may have others: `read_settings(run_dir)["variables"]`.
LEVELS, COLUMNS, COVARIATES = levels(VARIABLES), columns(VARIABLES), columns(VARIABLES, "covariate")


def label(name: str, variables: Mapping[str, Variable] = VARIABLES) -> str:
    """Return a column's name as a table or figure writes it: `ypn_stage` is `ypN stage`."""
    variable = variables.get(name) or VARIABLES.get(name)
    return variable.label if variable else name.replace("_", " ").capitalize()


def typed(frame: pd.DataFrame, variables: Mapping[str, Variable] = VARIABLES) -> pd.DataFrame:
    """Return the table with numbers as numbers, events as booleans and levels as categories, the reference first."""
    frame = frame.copy()
    for name, variable in variables.items():
        if variable.kind == "levels":
            frame[name] = pd.Categorical(frame[name], categories=variable.categories)
        elif variable.kind == "number" and variable.role != "prediction":
            frame[name] = frame[name].astype(float)
        elif variable.kind == "event":
            frame[name] = pd.to_numeric(frame[name].astype(str).replace({"True": "1", "False": "0"})) == 1
    return frame


def complete_cases(patients: pd.DataFrame, columns: Sequence[str] = COVARIATES) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leave out the patients of whom a covariate is unknown, and count them by reason.

    Complete cases are the paper's choice. They are unbiased for a Cox model
    when being unknown does not depend on the outcome given the covariates,
    and cost precision; `impute` is the alternative.

    Parameters
    ----------
    patients
        One row a patient, with `cohort` and `columns`; unknown is NaN.
    columns
        The covariates that must be known.

    Returns
    -------
    kept : DataFrame
        Patients with every covariate, as they were, rows renumbered.
    excluded : DataFrame
        cohort, reason (`no cea`, `no age, no cea`), n; every patient counts once.

    Examples
    --------
    >>> table = pd.DataFrame({"cohort": ["primary"] * 3, "age": [61.0, np.nan, 70.0], "cea": ["Normal", None, None]})
    >>> complete_cases(table, ["age", "cea"])[1].values.tolist()
    [['primary', 'no age, no cea', 1], ['primary', 'no cea', 1]]
    """
    unknown = patients[list(columns)].isna()
    lacking = unknown.any(axis=1)
    reasons = [", ".join(f"no {name}" for name in unknown.columns[row]) for row in unknown[lacking].to_numpy()]
    out = pd.DataFrame({"cohort": patients.loc[lacking, "cohort"].astype(str).to_numpy(), "reason": reasons})
    excluded = out.groupby(["cohort", "reason"], as_index=False).size().rename(columns={"size": "n"})
    return patients[~lacking].reset_index(drop=True), excluded


def cumulative_hazard(time: ArrayLike, event: ArrayLike) -> np.ndarray:
    """Return each patient's Nelson-Aalen cumulative hazard at the end of follow-up, shape (n,).

    With the event it is what an imputation of covariates should know of the
    outcome (White and Royston 2009). Tied events share one step.

    Examples
    --------
    >>> cumulative_hazard([1.0, 2.0, 3.0], [1, 0, 1]).round(3).tolist()
    [0.333, 0.333, 1.333]
    """
    table = survival.risk_table(time, event)
    return survival.step(table.time, np.cumsum(table.events / table.at_risk), time, start=0.0)


def impute(
    patients: pd.DataFrame,
    covariates: Sequence[str] = COVARIATES,
    *,
    seed: int,
    n_imputations: int = 10,
    n_iterations: int = 5,
    n_donors: int = 5,
) -> list[pd.DataFrame]:
    """Fill unknown covariates several times over, so that what is unknown shows in the intervals.

    Every copy is analysed as if it were complete and the results are pooled
    by `pool`. Unbiased when being unknown depends on nothing but what is in
    the table; `complete_cases` is the paper's choice and the default.

    Parameters
    ----------
    patients
        As from `read_patients` of `clinical.csv`.
    covariates
        What may be unknown, numbers or categories.
    seed
        Seed of the draws.
    n_imputations
        Copies; as many as the percentage of incomplete patients is a usual choice.
    n_iterations
        Rounds of chained equations before each copy is taken.
    n_donors
        Patients with the nearest predictions, one of whose values is taken.

    Returns
    -------
    list of DataFrame
        The table without unknown covariates; what was known is unchanged.

    Raises
    ------
    ValueError
        A covariate is unknown of every patient of a cohort, or time or event is unknown.

    Notes
    -----
    Chained equations with predictive mean matching (statsmodels' MICE), each
    cohort by itself, so that no validation patient enters the primary cohort's imputation. The
    predictors are all other covariates, event and Nelson-Aalen hazard
    (White and Royston 2009). Levels are matched by their order in the table,
    so every value was seen in another patient; for levels without an order
    (histology) that is an approximation. Where predictors repeat each other the coefficients are
    not unique; the fitted values, all that is matched on, are. A round costs some 0.05 s a
    covariate with gaps and cohort.
    """
    from statsmodels.imputation.mice import MICEData
    from statsmodels.tools.sm_exceptions import SingularMatrixWarning

    class Chain(MICEData):
        """The same equations; statsmodels would parse a formula for each of them in each round."""

        def _split(self, name):
            exog = np.column_stack([np.ones(len(self.data)), self.data.drop(columns=name)])
            known, unknown = self.ix_obs[name], self.ix_miss[name]
            return self.data[name].to_numpy()[known], exog[known], exog[unknown]

        def get_fitting_data(self, name):
            return *self._split(name)[:2], {}, {}

        def get_split_data(self, name):
            return *self._split(name), {}, {}

    if patients[["time_months", "event"]].isna().any(axis=None):
        raise ValueError("patients must hold time_months and event of everybody; found empty ones")
    with_levels = {name for name in covariates if isinstance(patients[name].dtype, pd.CategoricalDtype)}
    copies = [patients.copy() for _ in range(n_imputations)]
    streams = np.random.SeedSequence(seed).spawn(patients["cohort"].nunique())
    for (name, part), stream in zip(patients.groupby("cohort", observed=True), streams, strict=True):
        codes = {c: part[c].cat.codes.where(part[c].notna()) for c in with_levels}
        coded = pd.DataFrame({c: codes.get(c, part[c]) for c in covariates}, dtype=float)
        unknown = coded.columns[coded.isna().any()]
        for column in unknown[coded[unknown].isna().all()]:
            raise ValueError(f"patients must hold {column} of somebody; found none in the {name} cohort")
        if unknown.empty:
            continue
        coded = coded.loc[:, coded.nunique() > 1]  # what is the same in everybody predicts nothing ...
        hazard = cumulative_hazard(part["time_months"], part["event"])
        data = coded.assign(event=part["event"].astype(float), hazard=hazard).reset_index(drop=True)
        chain = Chain(data, k_pmm=n_donors, rng=np.random.default_rng(stream))
        for copy in copies:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SingularMatrixWarning)
                chain.update_all(n_iterations)
            for column in unknown:
                if column not in coded:  # ... and is what everybody else has
                    values = part[column].fillna(part[column].dropna().iloc[0])
                elif column not in with_levels:
                    values = pd.Series(chain.data[column].to_numpy(), index=part.index)
                else:
                    codes = chain.data[column].astype(int)
                    values = pd.Series(part[column].cat.categories[codes], index=part.index)
                copy.loc[part.index, column] = values
    return copies


class Study(NamedTuple):
    """What a run starts from."""

    patients: pd.DataFrame  # one row a patient with every covariate; `row` = the row in the hospital's table
    excluded: pd.DataFrame  # cohort, reason, n: patients left out, by reason
    settings: dict  # as from `read_settings`


def read_settings(run_dir: str | Path) -> dict:
    """Return what the run's cohort is called, its class, and the smallest count that results may show.

    Parameters
    ----------
    run_dir
        The run's folder. Its `interim/study.json` was written by the intake stage.

    Returns
    -------
    dict
        name; class, SYNTHETIC or COHORT; smallest_count, of patients, 0 where
        every count may be shown; left_out, a list of cohort, reason and n;
        variables, by name, those of the paper with what the folder adds and
        leaves out; b_values and acquisition as the folder gives them; seed
        and signal where the cohort is synthetic.

    Raises
    ------
    InputError
        The file is missing.
    """
    path = resolve(run_dir) / "interim" / "study.json"
    if not path.is_file():
        remedy = "The first stage of `python3 run.py reproduce` writes it, or of `statistics` in runs/statistics."
        raise InputError(display_path(path), "the file is missing", expected="what intake writes", remedy=remedy)
    return _with_variables(json.loads(path.read_text(encoding="utf-8")))


def write_settings(settings: Mapping, run_dir: str | Path) -> None:
    """Write a run's `interim/study.json`, whole or not at all; `read_settings` reads it."""
    variables = {
        name: {k: v for k, v in variable._asdict().items() if v} for name, variable in settings["variables"].items()
    }
    text = json.dumps({**settings, "variables": variables}, indent=1, ensure_ascii=False)
    write_text(resolve(run_dir) / "interim" / "study.json", text)


def _with_variables(settings: dict) -> dict:
    variables = {name: Variable(**fields) for name, fields in (settings.get("variables") or {}).items()}
    return settings | {"variables": variables or VARIABLES}


def read_study(run_dir: str | Path) -> Study:
    """Read the patients of a run's cohort folder, and leave out those of whom a covariate is unknown.

    Parameters
    ----------
    run_dir
        The run's folder. Its `interim/clinical.csv` holds one row a patient,
        incomplete ones too (`read_patients` gives them all, for `impute`).

    Returns
    -------
    Study
        `excluded` counts those left out by `complete_cases`, and the other cohort's where one alone takes part.

    Raises
    ------
    InputError
        A file is missing.
    """
    settings = read_settings(run_dir)
    patients = read_patients(resolve(run_dir) / "interim" / "clinical.csv")
    patients, excluded = complete_cases(patients, columns(settings["variables"], "covariate"))
    if settings["left_out"]:
        excluded = pd.DataFrame([*settings["left_out"], *excluded.to_dict("records")])
    return Study(patients, excluded, settings)


def read_patients(path: str | Path) -> pd.DataFrame:
    """Read a run's table of patients: all of them in `clinical.csv`, the included ones in `patients.csv`.

    Numbers, events and levels are typed (see `typed`), by the variables of the `study.json` beside it, or the paper's
    where there is none; other columns that a hospital keeps stay text.
    """
    study, variables = Path(path).with_name("study.json"), VARIABLES
    if study.is_file():
        variables = _with_variables(json.loads(study.read_text(encoding="utf-8")))["variables"]
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    return typed(frame, variables).astype({"row": int} if "row" in frame else {})


def competing_events(patients: pd.DataFrame, column: str) -> pd.Series | None:
    """Return who had an event that excludes metastasis, such as death before it; None where the table does not tell.

    Parameters
    ----------
    patients
        From `read_patients`.
    column
        A column that the cohort folder keeps (`keep:`): 1 where the other event ended follow-up, else 0 or empty.

    Raises
    ------
    InputError
        Another value, or both events in one patient.
    """
    if column not in patients:
        return None
    found = pd.to_numeric(patients[column].fillna("0"), errors="coerce")
    wrong = ~found.isin([0, 1]) | ((found == 1) & patients["event"])
    if wrong.any():
        row, value = patients.loc[wrong, ["row", column]].iloc[0]
        what, expected = f"found {value!r}", "0, or 1 where the other event ended follow-up and event is 0"
        raise InputError(
            "the clinical table", what, expected=expected, remedy="Correct it.", row=int(row), column=column
        )
    return found == 1


def with_levels_of_primary(patients: pd.DataFrame, needed: Sequence[str]) -> pd.DataFrame:
    """Leave only levels that a primary patient has, so that no model has a column for a level that nobody has.

    Parameters
    ----------
    patients
        From `read_patients`: both cohorts, or the primary one.
    needed
        Variables of the models that are applied to the validation cohort.

    Returns
    -------
    DataFrame
        The same patients. In a variable that is not needed, a level that only validation patients have becomes NaN.

    Raises
    ------
    ValueError
        A validation patient has a level of a needed variable that no primary patient has: no model can say anything
        about it.
    """
    patients, primary = patients.copy(), patients["cohort"] == "primary"
    for name in [name for name in patients.select_dtypes("category") if name != "cohort"]:
        seen = [level for level in patients[name].cat.categories if (patients.loc[primary, name] == level).any()]
        unseen = patients[name].notna() & ~patients[name].isin(seen)
        if name in needed and unseen.any():
            raise ValueError(
                f"{name} must have in the validation cohort levels of the primary cohort; found {unseen.sum()} "
                f"patients with {patients.loc[unseen, name].iloc[0]}, which no primary patient has: join it with a "
                f"neighbouring level in the clinical table, or leave {name} out of clinical_formula, or "
                f"in cohort.yaml: `variables: {{leave_out: [{name}]}}`"
            )
        patients[name] = patients[name].cat.set_categories(seen)
    return patients


def join_probabilities(patients: pd.DataFrame, t2w: pd.DataFrame, adc: pd.DataFrame) -> pd.DataFrame:
    """Join the two networks' probabilities into the table that the statistics start from.

    Parameters
    ----------
    patients
        `patient_id` and `cohort`.
    t2w, adc
        `patient_id` and `prob`, the probability of metastasis within three years. Where both have `prob_oof`, that of
        primary patients is by networks that were neither trained on nor stopped by the patient; of validation patients
        it is `prob`.

    Returns
    -------
    DataFrame
        patient_id, cohort, t2w_prob, adc_prob and their sum dl_prob in [0, 2]; then the same with the ending `_oof`
        where there is a `prob_oof`.

    Raises
    ------
    ValueError
        A patient has no probability, or more than one; one sequence alone has `prob_oof`; a validation patient has
        another `prob_oof` than `prob`.
    """
    tables = {"t2w_prob": t2w, "adc_prob": adc}
    given = [name for name, table in tables.items() if "prob_oof" in table]
    if len(given) == 1:
        raise ValueError(f"prob_oof must be given for both sequences or for neither; found it for {given[0]} alone")
    joined = patients[["patient_id", "cohort"]]
    for end in ("", OUT_OF_FOLD) if given else ("",):
        for name, table in tables.items():
            probability = table[["patient_id", f"prob{end}"]].rename(columns={f"prob{end}": f"{name}{end}"})
            joined = joined.merge(probability, on="patient_id", how="left", validate="one_to_one")
            absent = joined[f"{name}{end}"].isna()
            if absent.any():
                raise ValueError(
                    f"{name}{end} must hold every patient; {absent.sum()} are missing, first at row {absent.argmax()}"
                )
            apart = (joined["cohort"] == "validation") & (joined[f"{name}{end}"] != joined[name])
            if apart.any():
                raise ValueError(
                    f"{name}{end} must equal {name} in validation patients, on whom no network was trained; "
                    f"{apart.sum()} differ, first at row {apart.argmax()}"
                )
        joined = joined.assign(**{f"dl_prob{end}": joined[f"t2w_prob{end}"] + joined[f"adc_prob{end}"]})
    return joined


def with_probabilities(patients: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """Add the probabilities of `dl_prob.csv` to the included patients.

    The file has those of both sequences and their sum, or one model's probability alone, as `dl_prob`; each once more
    with the ending `_oof` where there are out-of-fold probabilities (see `tracks`).

    Raises
    ------
    InputError
        The file lacks a column or a patient, or holds a probability outside its range.
    """
    file = display_path(path)
    table = pd.read_csv(path, dtype={"patient_id": str})
    limits = {"t2w_prob": 1.0, "adc_prob": 1.0, "dl_prob": 2.0}
    if not {"t2w_prob", "adc_prob"} & set(table):
        limits = {"dl_prob": 1.0}
    second = {f"{name}{OUT_OF_FOLD}": limit for name, limit in limits.items()}
    limits |= second if second.keys() & set(table) else {}
    remedy = "Train again with `python3 run.py reproduce`, or restore the committed file."
    absent = [name for name in ["patient_id", *limits] if name not in table]
    if absent:
        raise InputError(file, f"no column {', '.join(absent)}", expected="a table of probabilities", remedy=remedy)
    for name, limit in limits.items():
        bad = ~pd.to_numeric(table[name], errors="coerce").between(0, limit)
        if bad.any():
            place = int(bad.argmax())
            problem = f"found {table[name].iloc[place]}"
            raise InputError(file, problem, expected=f"0 to {limit:g}", remedy=remedy, row=place + 2, column=name)
    joined = patients.merge(table[["patient_id", *limits]], on="patient_id", how="left", validate="one_to_one")
    lacking = joined["dl_prob"].isna()
    if lacking.any():
        problem = f"{lacking.sum()} included patients have no probability"
        raise InputError(file, problem, expected="every included patient", remedy=remedy)
    return joined


def tracks(patients: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the patients once for each track of probabilities, by the ending of the track's columns and result keys.

    As published (`""`) a primary patient has the probability of networks that were trained on the patient, so that
    models fitted to it are in-sample twice. Out-of-fold (`"_oof"`) it is that of networks which were neither trained on
    nor stopped by the patient: the Cox models alone are in-sample. A validation patient has the same in both.

    Parameters
    ----------
    patients
        From `with_probabilities`, with predictions or without.

    Returns
    -------
    dict of DataFrame
        Without a column that ends in `_oof`: in the second track such probabilities, linear predictors and risks
        stand in the columns without the ending. One track where there are none.

    Examples
    --------
    >>> found = tracks(pd.DataFrame({"dl_prob": [0.9], "dl_prob_oof": [0.6]}))
    >>> {end: table.to_dict("list") for end, table in found.items()}
    {'': {'dl_prob': [0.9]}, '_oof': {'dl_prob': [0.6]}}
    """
    pattern = re.compile(rf"((?:t2w|adc|dl)_prob|(?:lp|risk)_\w+){OUT_OF_FOLD}")
    second = {match[1]: patients[name] for name in patients if (match := pattern.fullmatch(name))}
    published = patients.drop(columns=[f"{name}{OUT_OF_FOLD}" for name in second])
    return {"": published} | ({OUT_OF_FOLD: published.assign(**second)} if second else {})


def with_predictions(patients: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """Add the models' linear predictors and risks in `predictions.csv` to the included patients, to the last digit."""
    table = pd.read_csv(path, dtype={"patient_id": str}, float_precision="round_trip")
    return patients.merge(table.drop(columns="cohort"), on="patient_id", validate="one_to_one")
