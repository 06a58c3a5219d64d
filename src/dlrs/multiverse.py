"""All defensible analyses of one study at once: the choices, the universes, and their statistics without repetition.

The statistics are those of `dlrs.stats`; log-rank tests, Kaplan-Meier curves and survivalROC's standard errors are
written for many risk groups at a time.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from scipy.special import chdtrc, ndtr, ndtri

from dlrs import cohort
from dlrs.config import InputError, display_path, published, resolve
from dlrs.predictions import key
from dlrs.stats import checks, concordance, cox, pairs, reclassification, roc, survival

COHORTS = ("primary", "validation")
FIXED = ("training",)  # a choice whose levels are the probabilities that there are
CATEGORIES = {"nri_two": None, "nri_three": (0.1, 0.3)}  # cut-offs; None: the nomogram's own
THRESHOLDS = {"benefit_10": 0.1, "benefit_20": 0.2, "benefit_30": 0.3}
LIMITS = (0.1, 0.9)  # between which shares of the patients the best log-rank cut-off lies
NOT_ESTIMABLE = (np.nan,) * 4
CLINICAL = ("ct_stage", "cea", "ypn_stage")


# ---------------------------------------------------------------- choices


class Multiverse(NamedTuple):
    """Conclusions, choices with their levels, and impossible combinations, as `paper/multiverse.yaml` has them."""

    conclusions: dict[str, dict]
    choices: dict[str, dict]
    impossible: list[dict]
    version: str  # of the universes' numbers: changes with the choices, levels and what is impossible


def read(path: str | Path = "paper/multiverse.yaml") -> Multiverse:
    """Read the choices.

    Raises
    ------
    InputError
        A choice without levels, a level without a reason, or a name that is not there.
    """
    path = resolve(path)
    data = yaml.safe_load(path.read_text(encoding="utf-8"))

    def stop(found, expected):
        raise InputError(display_path(path), found, expected=expected, remedy="Correct it.")

    for name, choice in data["choices"].items():
        levels = choice.get("levels") or {}
        if not levels and name not in FIXED:
            stop(f"the choice {name} has no levels", "at least one level with `label`, `why` and `who`")
        for level, level_texts in levels.items():
            if not isinstance(level_texts, dict) or {"label", "why", "who"} - set(level_texts):
                stop(f"{name}, {level}: {level_texts!r}", "`label`, `why` and `who`")
    for name, conclusion in data["conclusions"].items():
        unknown = [choice for choice in conclusion["choices"] if choice not in data["choices"]]
        if unknown:
            stop(f"{name} has the choice {unknown[0]}", f"one of {', '.join(data['choices'])}")
        for choice, level in conclusion["paper"].items():
            if choice not in FIXED and level not in data["choices"][choice]["levels"]:
                stop(f"{name}, the paper's {choice}: {level}", f"one of {', '.join(data['choices'][choice]['levels'])}")
    for entry in data["impossible"]:
        for choice, levels in entry["when"].items():
            known = data["conclusions"] if choice == "conclusion" else data["choices"].get(choice, {}).get("levels", {})
            if set(levels) - set(known):
                stop(f"impossible: {choice} {sorted(set(levels) - set(known))[0]}", f"one of {', '.join(known)}")
    numbered = [
        {name: entry["choices"] for name, entry in data["conclusions"].items()},
        {name: list(entry["levels"]) for name, entry in data["choices"].items()},
        [entry["when"] for entry in data["impossible"]],
    ]
    version = hashlib.sha256(json.dumps(numbered).encode()).hexdigest()[:6]
    return Multiverse(data["conclusions"], data["choices"], data["impossible"], version)


def universes(multiverse: Multiverse, conclusion: str, training: Sequence[str] = ("this run",)) -> pd.DataFrame:
    """Return the possible universes of a conclusion: a column a choice, and `universe`, the id.

    Parameters
    ----------
    training
        The names of the networks' probabilities that there are.

    Returns
    -------
    DataFrame
        Every combination that is not impossible. The id holds conclusion, version, number and training; a number means
        the same whichever networks there are.
    """
    described = multiverse.conclusions[conclusion]
    names = [name for name in described["choices"] if name not in FIXED]
    paths = itertools.product(*(multiverse.choices[name]["levels"] for name in names))
    rows = [(number, *path) for number, path in enumerate(paths) if possible(multiverse, conclusion, names, path)]
    frame = pd.DataFrame(rows, columns=["number", *names])
    frames = [frame.assign(training=name) for name in training]
    frame = pd.concat(frames, ignore_index=True)
    ids = [
        f"{conclusion}-{multiverse.version}-{n:04d}-{key(t.lower())}"
        for n, t in zip(frame["number"], frame["training"], strict=True)
    ]
    return frame[described["choices"]].assign(universe=ids)


def possible(multiverse: Multiverse, conclusion: str, names: Sequence[str], path: Sequence[str]) -> bool:
    """Whether a combination of levels makes sense."""
    levels = dict(zip(names, path, strict=True)) | {"conclusion": conclusion}
    return not any(
        all(levels.get(choice) in listed for choice, listed in rule["when"].items()) for rule in multiverse.impossible
    )


def find(multiverse: Multiverse, universe: str, training: Sequence[str]) -> tuple[str, pd.Series]:
    """Return a universe by its id: the conclusion, and its levels.

    Raises
    ------
    ValueError
        In one sentence: no id, of another version, of networks that are not there, or an impossible number.
    """
    parts = universe.split("-", 3)
    if len(parts) != 4 or parts[0] not in multiverse.conclusions:
        raise ValueError(f"A universe is named CONCLUSION-VERSION-NUMBER-NETWORKS, not {universe!r}.")
    if parts[1] != multiverse.version:
        raise ValueError(
            f"{universe} is of version {parts[1]} of the choices, which now are version {multiverse.version}: "
            "look its choices up in the table that it stands in."
        )
    by_slug = {key(name.lower()): name for name in training}
    if parts[3] not in by_slug:
        raise ValueError(f"{universe} needs networks that are not here; there are {', '.join(by_slug)}.")
    all_of_them = universes(multiverse, parts[0], [by_slug[parts[3]]])
    row = all_of_them[all_of_them["universe"] == universe]
    if row.empty:
        raise ValueError(f"{universe} is no possible universe of {parts[0]}: its number is that of none.")
    return parts[0], row.iloc[0]


# ---------------------------------------------------------------- statistics for many columns at once


class Steps(NamedTuple):
    """Event times up to a horizon, and who is at risk: shared by all groups of the same patients."""

    at_risk: np.ndarray  # (events, n) boolean
    died: np.ndarray  # (events, n) boolean


def _steps(time: np.ndarray, event: np.ndarray, horizon: float = np.inf) -> Steps:
    at = np.unique(time[event & (time <= horizon)])[:, None]
    return Steps((time >= at).astype(float), ((time == at) & event).astype(float))


def logrank(time: np.ndarray, event: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return observed less expected events at high risk, and its variance, for many groupings, shape (k,).

    Parameters
    ----------
    high : boolean array of shape (n, k)
        Who is at high risk, a column a grouping.

    Notes
    -----
    As `survival.logrank` of each column; a variance of 0 means that one group is empty.
    """
    steps, high = _steps(time, event), high.astype(float)
    y, d = steps.at_risk.sum(axis=1), steps.died.sum(axis=1)
    share = steps.at_risk @ high / y[:, None]
    spread = d * (y - d) / np.maximum(y - 1, 1)
    return event @ high - d @ share, spread @ (share * (1 - share))


def kaplan_meier(
    time: np.ndarray, event: np.ndarray, group: np.ndarray, horizon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return survival at the horizon in many groups, shape (k,), and each patient's influence on it, shape (n, k).

    A curve that ends before the horizon is carried on; an empty group survives. As `reclassification`'s, by columns.
    """
    steps, group = _steps(time, event, horizon), group.astype(float)
    y, d = steps.at_risk @ group, steps.died @ group
    value = np.prod(1 - d / np.maximum(y, 1), axis=0)
    left = np.maximum(y - d, 1)
    hazard = np.where(y > 0, d / (np.maximum(y, 1) * left), 0.0)
    influence = value * group * (steps.at_risk.T @ hazard - steps.died.T @ (1 / left))
    return value, np.where(value > 0, influence, 0.0)


def auc_survivalroc(
    time: np.ndarray, event: np.ndarray, prediction: np.ndarray, horizon: float, *, neighbours: bool
) -> tuple[float, float]:
    """Return survivalROC's AUC at the horizon and its standard error by the infinitesimal jackknife.

    `roc.survivalroc_km` or, with `neighbours`, `roc.survivalroc_nne`, whose windows count as fixed.
    """
    n, distinct = time.size, np.unique(prediction)
    above = (prediction[:, None] > distinct).astype(float)
    share = above.mean(axis=0)
    if neighbours:
        place = np.searchsorted(distinct, prediction)
        local, d_local = kaplan_meier(time, event, _windows(prediction, distinct), horizon)
        pooled, alive = local[place].mean(), local[place] @ above / n
    else:
        (pooled,), d_pooled = kaplan_meier(time, event, np.ones((n, 1)), horizon)
        local, d_local = kaplan_meier(time, event, above, horizon)
        alive = local * share
    if not 0 < pooled < 1:
        raise ValueError("everybody or nobody has the event by the horizon")
    sensitivity, specificity = (share - alive) / (1 - pooled), 1 - alive / pooled
    sensitivity[-1], specificity[-1] = 0, 1
    x, y = np.append(1, 1 - specificity), np.append(1, sensitivity)
    area = ((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2).sum()
    # What the area gains with each point's sensitivity and specificity; the last point is fixed.
    by_sensitivity = np.append(x[:-2] - x[2:], 0) / 2
    by_specificity = np.append(y[2:] - y[:-2], 0) / -2
    by_alive = -by_sensitivity / (1 - pooled) - by_specificity / pooled
    by_pooled = by_sensitivity @ sensitivity / (1 - pooled) + by_specificity @ (alive / pooled**2)
    by_share = by_sensitivity / (1 - pooled)
    if neighbours:
        own_part = np.bincount(place, weights=above @ by_alive + by_pooled, minlength=distinct.size) / n
        influence = (local[place] * (above @ by_alive) - alive @ by_alive) / n + d_local @ own_part
        influence += by_pooled * (local[place] - pooled) / n
    else:
        influence = d_local @ (by_alive * share) + by_pooled * d_pooled[:, 0]
        by_share = by_share + by_alive * local
    influence += (above @ by_share - share @ by_share) / n
    return float(area), float(np.sqrt((influence**2).sum()))


def _windows(prediction: np.ndarray, distinct: np.ndarray) -> np.ndarray:
    """Return who is a neighbour of each distinct prediction, shape (n, m), as R's survivalROC."""
    n, x = prediction.size, np.sort(prediction)
    upper = np.minimum(np.searchsorted(x, distinct) + int(0.25 * n**-0.2 * n + 0.5), n - 1)
    width = np.abs(x[upper] - distinct)
    apart = prediction[:, None] - distinct
    return ((apart >= -width) & (apart <= width)).astype(float)


def youden(prediction: np.ndarray, case: np.ndarray, control: np.ndarray) -> tuple[float, float] | None:
    """Return the two neighbouring values between which sensitivity plus specificity is largest, by weights.

    The lowest of several, as `roc.youden_cutoff`; None where no cut between two values is better than none.
    """
    distinct, place = np.unique(prediction, return_inverse=True)
    case, control = (np.bincount(place, weights=w, minlength=distinct.size) / w.sum() for w in (case, control))
    total = np.round(1 - np.cumsum(case) + np.cumsum(control), 12)[:-1]
    if not total.size or total.max() <= 1:
        return None
    at = int(total.argmax())
    return distinct[at], distinct[at + 1]


# ---------------------------------------------------------------- one study


class _Model(NamedTuple):
    lp: np.ndarray  # of all patients
    baseline: tuple[np.ndarray, np.ndarray]  # times, cumulative hazard

    def risk(self, horizon: float) -> np.ndarray:
        h0 = survival.step(*self.baseline, horizon, start=0.0)
        return -np.expm1(-h0 * np.exp(self.lp))


def _row(value, se, p=None):
    """Return estimate, limits and P, two-sided unless it is given."""
    half = checks.critical_value(0.95) * se
    if p is None:  # a model against itself moves nobody; otherwise no spread is no information
        p = 2 * ndtr(-abs(value / se)) if se > 0 else 1.0 if value == 0 == se else np.nan
    return value, value - half, value + half, p


def _columns(study: pd.DataFrame, names: Iterable[str]) -> np.ndarray:
    """Return a model's columns: a factor's levels against its first, numbers as they are."""
    return cox.design(" + ".join(names), study)[0].to_numpy(float)


class Study:
    """One study's patients and one set of probabilities, with the models that all its universes share.

    Parameters
    ----------
    patients
        `cohort`, `time_months`, `event`, the clinical factors as categories, `t2w_prob`, `adc_prob`, `dl_prob`.
    """

    def __init__(self, patients: pd.DataFrame):
        self.patients = patients
        self.time, self.event = checks.survival(patients["time_months"], patients["event"])
        primary = (patients["cohort"] == "primary").to_numpy()
        rows = {"primary": primary, "validation": ~primary, "both": np.ones(primary.size, bool)}
        self.rows = {name: np.flatnonzero(mask) for name, mask in rows.items() if mask.any()}
        scores = {name: patients[f"{name}_prob"].to_numpy(float)[:, None] for name in ("t2w", "adc")}
        dl_prob = patients["dl_prob"].to_numpy(float)[:, None]
        self.scores = {"sum": dl_prob, "two": np.hstack([scores["t2w"], scores["adc"]]), **scores}
        clinical = _columns(patients, CLINICAL)
        clinical = clinical[:, np.ptp(clinical[self.rows["primary"]], axis=0) > 0]
        self.clinical = self._fit(clinical)
        self.dlrs = {name: self._fit(x) for name, x in self.scores.items()}
        self.nomogram = {name: self._fit(np.hstack([clinical, x])) for name, x in self.scores.items()}

    def _fit(self, x: np.ndarray) -> _Model:
        time, event = (v[self.rows["primary"]] for v in (self.time, self.event))
        fit = cox.cox_fit(time, event, x[self.rows["primary"]], tolerance=1e-9)
        lp = np.round((x - x[self.rows["primary"]].mean(axis=0)) @ fit.coefficients, 10)
        baseline = cox.baseline_hazard(time, event, lp[self.rows["primary"]])
        return _Model(lp, (baseline["time"].to_numpy(), baseline["cumulative_hazard"].to_numpy()))

    def data(self, patients: str, horizon: float | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return time and event of a group, censored at a horizon, and its rows."""
        rows = self.rows[patients]
        time, event = self.time[rows], self.event[rows]
        if horizon is not None:
            time, event = np.minimum(time, horizon), event & (time <= horizon)
        return time, event, rows

    def states(self, patients: str, lost: str, horizon: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights of those with the event by the horizon and of those without."""
        time, event, _ = self.data(patients)
        if lost == "weighted":
            groups = roc.horizon_groups(time, event, horizon)
            return groups.cases, groups.controls
        case = event & (time <= horizon)
        known = case | (time >= horizon) if lost == "left_out" else np.ones(time.size, bool)
        return case.astype(float), (known & ~case).astype(float)


def months(horizon: str) -> float | None:
    """Return a horizon's months; None for all follow-up."""
    return None if horizon.startswith("all") else float(horizon.split()[0])


def predicts(study: Study, levels: Mapping[str, Sequence[str]]) -> Iterator[tuple[tuple, tuple]]:
    """Yield (joined, patients, measure, horizon) and estimate above 0.5 with limits and P."""
    for patients, horizon in itertools.product(levels["patients"], levels["horizon"]):
        at = months(horizon)
        (time, event, rows), everybody = study.data(patients, at), study.data(patients)[:2]
        x = np.array([study.dlrs[name].lp[rows] for name in levels["joined"]])
        for name, score in zip(levels["joined"], x, strict=True):
            for measure, row in _c_indices(time, event, everybody, score, at):
                yield (name, patients, measure, horizon), row
        for measure, (values, errors, fewer) in _aucs(study, patients, x, at).items() if at is not None else ():
            for name, value, se in zip(levels["joined"], values, errors, strict=True):
                yield (name, patients, measure, horizon), _above_half(float(value), float(se), fewer)


def _c_indices(time, event, everybody, score, at):
    survcomp = dict(interval="noether", tied_predictions="drop", same_time="skip")
    for measure, data, options in [
        ("harrell", (concordance.concordance, time, event, score), {}),
        ("uno", (concordance.uno_concordance, *everybody, score), dict(horizon=at)),
        ("survcomp", (concordance.concordance, time, event, score), survcomp),
    ]:
        c, _ = checks.estimate_or_reason(*data, **options)
        if c is None:
            yield measure, NOT_ESTIMABLE
        elif measure == "survcomp":  # normal limits, not cut to [0, 1]
            yield measure, _row(c.c - 0.5, c.se)
        else:
            yield measure, (c.c - 0.5, c.lower - 0.5, c.upper - 0.5, c.p)


def _above_half(value: float, se: float, fewer: int) -> tuple:
    """Return by how much an AUC is above one half; `fewer` events or controls."""
    lower, upper, p = pairs.logit_interval(value, se, 0.95, fewer - 1)
    return value - 0.5, lower - 0.5, upper - 0.5, p


def _aucs(study: Study, patients: str, x: np.ndarray, at: float) -> dict[str, tuple]:
    time, event, _ = study.data(patients)
    states = {lost: study.states(patients, lost, at) for lost in ("weighted", "left_out", "as_free")}
    fewer = {lost: int(min((case > 0).sum(), (control > 0).sum())) for lost, (case, control) in states.items()}
    at_time = [roc.time_dependent_auc(time, event, score, times=[at]).iloc[0] for score in x]
    found = {"auc_ipcw": ([row["auc"] for row in at_time], [row["se"] for row in at_time], fewer["weighted"])}
    for measure, neighbours in {"auc_km": False, "auc_nne": True}.items():
        both = [auc_survivalroc(time, event, score, at, neighbours=neighbours) for score in x]
        found[measure] = (*zip(*both, strict=True), fewer["weighted"])
    for measure, lost in {"auc_left_out": "left_out", "auc_as_free": "as_free"}.items():
        case, control = states[lost]
        known = case + control > 0
        both = [roc.delong(case[known] > 0, score[known])[:2] for score in x]
        found[measure] = (*zip(*both, strict=True), fewer[lost])
    return found


def _groupings(study: Study, models: Mapping[str, _Model], levels: Mapping[str, Sequence[str]], printed: bool):
    """Return (joined, cut-off, horizon, scale) of each grouping that there is, and who is at high risk, (n, k)."""
    primary = study.rows["primary"]
    keys, columns = [], []
    for name, model in models.items():
        primary_lp = model.lp[primary]
        for cutoff, horizon in itertools.product(levels["cutoff"], levels["horizon"]):
            by_state = cutoff.startswith("youden")
            if cutoff == "printed" or (months(horizon) is None if by_state else horizon != "36 months"):
                continue
            found = _between(study, primary_lp, cutoff, months(horizon))
            for scale in levels["scale"]:
                values = model.lp if scale == "score" else model.risk(months(horizon))
                a, b = (np.nan, np.nan) if found is None else (values[primary[primary_lp == edge][0]] for edge in found)
                keys.append((name, cutoff, horizon, scale))
                columns.append(values > (a + b) / 2)
    if printed:
        keys.append(("sum", "printed", "36 months", "score"))
        columns.append(study.scores["sum"][:, 0] > _printed_cutoff())
    return keys, np.column_stack(columns)


@functools.cache
def _printed_cutoff() -> float:
    return published()["fig2"]["cutoff_dlrs"]


def _between(study: Study, values: np.ndarray, cutoff: str, horizon: float) -> tuple[float, float] | None:
    """Return the neighbouring values of the primary cohort between which a rule cuts."""
    distinct = np.unique(values)
    if cutoff.startswith("youden"):
        lost = {"youden_left_out": "left_out", "youden_as_free": "as_free", "youden_ipcw": "weighted"}[cutoff]
        return youden(values, *study.states("primary", lost, horizon))
    if cutoff == "logrank":
        cuts = distinct[:-1]
        share = (values[:, None] > cuts).mean(axis=0)
        cuts = cuts[(share >= LIMITS[0]) & (share <= LIMITS[1])]
        excess, variance = logrank(*study.data("primary")[:2], values[:, None] > cuts)
        at = int(np.searchsorted(distinct, cuts[(excess**2 / np.where(variance > 0, variance, np.inf)).argmax()]))
    else:  # those above the quantile are at high risk
        quantile = np.quantile(values, {"median": 0.5, "third": 2 / 3}[cutoff])
        at = int(np.searchsorted(distinct, quantile, side="right")) - 1
    return (distinct[at], distinct[at + 1]) if 0 <= at < distinct.size - 1 else None


def _logrank_rows(time, event, high):
    """Return estimate (log hazard ratio of Peto), limits and P of each grouping; NaN where a group is empty."""
    excess, variance = logrank(time, event, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        value, se = excess / variance, 1 / np.sqrt(variance)
    empty = ~(variance > 0) | high.all(axis=0) | ~high.any(axis=0)
    return [NOT_ESTIMABLE if missing else _row(v, s) for v, s, missing in zip(value, se, empty, strict=True)]


def divides(study: Study, levels: Mapping[str, Sequence[str]]) -> Iterator[tuple[tuple, tuple]]:
    """Yield (joined, patients, cutoff, horizon, scale) and Peto's log hazard ratio with limits and log-rank P."""
    models = {name: study.dlrs[name] for name in levels["joined"]}
    keys, high = _groupings(study, models, levels, "printed" in levels["cutoff"])
    for patients in levels["patients"]:
        time, event, rows = study.data(patients)
        for (name, *rest), row in zip(keys, _logrank_rows(time, event, high[rows]), strict=True):
            yield (name, patients, *rest), row


def responders(study: Study, levels: Mapping[str, Sequence[str]]) -> Iterator[tuple[tuple, tuple]]:
    """Yield (joined, patients, cutoff, horizon, scale, pcr) and the row of the group that is divided least."""
    models = {name: study.nomogram[name] for name in levels["joined"]}
    keys, high = _groupings(study, models, levels, False)
    ypt, node_free = study.patients["ypt_stage"].to_numpy(str), study.patients["ypn_stage"].to_numpy(str) == "ypN0"
    downstaged = np.isin(ypt, ["ypT0", "ypT1", "ypT2"]) & node_free
    pcr = {"ypT0 ypN0": (ypt == "ypT0") & node_free, "ypT0": ypt == "ypT0"}
    for patients in levels["patients"]:
        time, event, rows = study.data(patients)
        groups = {"down": downstaged, "not": ~downstaged} | {n: m for n, m in pcr.items() if n in levels["pcr"]}
        groups |= {f"no {n}": ~m for n, m in pcr.items() if n in levels["pcr"]}
        found = {n: _logrank_rows(time[m[rows]], event[m[rows]], high[rows][m[rows]]) for n, m in groups.items()}
        for definition in levels["pcr"]:
            four = zip(*(found[n] for n in ("down", "not", definition, f"no {definition}")), strict=True)
            for (name, *rest), rows_of_it in zip(keys, four, strict=True):
                yield (name, patients, *rest, definition), _least(rows_of_it)


def _least(rows: Sequence[tuple]) -> tuple:
    """Return the row with the smallest signed z; not estimable where one of them is not."""
    if any(np.isnan(row[3]) for row in rows):
        return NOT_ESTIMABLE
    return min(rows, key=lambda row: np.sign(row[0]) * (1 - row[3]))


def independent(study: Study, levels: Mapping[str, Sequence[str]]) -> Iterator[tuple[tuple, tuple]]:
    """Yield (joined, patients, adjusted, ties, test) and the score's log hazard ratio per SD with limits and P.

    Of two covariates: the sum of the two coefficients per SD, without limits, and the P of both.
    """
    adjust = {"three": CLINICAL, "five": (*CLINICAL, "age", "gender")}
    for patients, adjusted in itertools.product(levels["patients"], levels["adjusted"]):
        time, event, rows = study.data(patients)
        known = _columns(study.patients, adjust[adjusted])[rows]
        known = known[:, np.ptp(known, axis=0) > 0]
        for ties in levels["ties"]:
            options = dict(ties=ties, tolerance=1e-9)
            without, reason = checks.estimate_or_reason(cox.cox_fit, time, event, known, **options)
            for name in levels["joined"]:
                x = study.scores[name][rows]
                x = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
                fit, why = checks.estimate_or_reason(cox.cox_fit, time, event, np.hstack([known, x]), **options)
                for test in levels["test"]:
                    no_estimate = reason or why
                    row = NOT_ESTIMABLE if no_estimate else _coefficient(fit, without, x.shape[1], test)
                    yield (name, patients, adjusted, ties, test), row


def _coefficient(fit: cox.CoxFit, without: cox.CoxFit, df: int, test: str) -> tuple:
    b, v = fit.coefficients[-df:], fit.covariance[-df:, -df:]
    chi2 = (
        2 * (fit.log_likelihood - without.log_likelihood) if test == "likelihood_ratio" else b @ np.linalg.solve(v, b)
    )
    value, p = float(b.sum()), float(chdtrc(df, max(chi2, 0.0)))
    return (value, np.nan, np.nan, p) if df > 1 else _row(value, float(np.sqrt(v[0, 0])), p)


def improves(study: Study, levels: Mapping[str, Sequence[str]]) -> Iterator[tuple[tuple, tuple]]:
    """Yield (joined, patients, gain, lost, horizon) and nomogram less clinical model with limits and P."""
    for name in levels["joined"]:
        cutoff = _nomogram_cutoff(study, study.nomogram[name])
        for patients, horizon in itertools.product(levels["patients"], levels["horizon"]):
            for (gain, lost), row in _gains(study, patients, months(horizon), study.nomogram[name], cutoff):
                if gain in levels["gain"]:
                    yield (name, patients, gain, lost, horizon), row


def _nomogram_cutoff(study: Study, model: _Model) -> float:
    """Return the nomogram's cut-off on its risk at 36 months, as notebook 05 has it; NaN where there is none."""
    primary = study.rows["primary"]
    found = youden(model.risk(36.0)[primary], *study.states("primary", "left_out", 36.0))
    return np.nan if found is None else sum(found) / 2


def _gains(study: Study, patients: str, at: float | None, nomogram: _Model, cutoff: float):
    """Yield (gain, how those lost are treated) and the nomogram's gain over the clinical model."""
    time, event, rows = study.data(patients, at)
    scores = nomogram.lp[rows], study.clinical.lp[rows]
    d = concordance.compare_concordance(time, event, *scores)
    yield ("c_jackknife", "weighted"), (d.difference, d.lower, d.upper, d.p)
    d = concordance.compare_concordance(time, event, *scores, method="survcomp")
    yield ("c_survcomp_one_sided", "weighted"), _row(d.difference, d.se, d.p_one_sided)
    yield ("c_survcomp_two_sided", "weighted"), _row(d.difference, d.se, d.p)
    if at is None:
        return
    time, event, rows = study.data(patients)
    risks, at_36 = ([model.risk(t)[rows] for model in (study.clinical, nomogram)] for t in (at, 36.0))
    binary, censored = reclassification.nri_categorical, reclassification.nri_categorical_censored
    continuous = reclassification.nri_continuous, reclassification.nri_continuous_censored
    nris = {
        "nri_continuous": (*continuous, risks, {}),
        "nri_three": (binary, censored, risks, dict(cutoffs=CATEGORIES["nri_three"])),
        "nri_two": (binary, censored, at_36, dict(cutoffs=[cutoff])),  # its cut-off is one of risks at 36 months
    }
    for lost in ("left_out", "as_free"):
        case, control = (w > 0 for w in study.states(patients, lost, at))
        known = case | control
        for gain, (nri, _, pair, options) in nris.items():
            yield (gain, lost), _reclassified(nri, case[known], *(risk[known] for risk in pair), **options)
        yield ("idi", lost), _reclassified(reclassification.idi, case[known], *(risk[known] for risk in risks))
        for gain, threshold in THRESHOLDS.items():
            yield (gain, lost), _benefit_known(*risks, threshold, case, control)
    for gain, (_, nri, pair, options) in nris.items():
        for lost, method in {"kaplan_meier": "km", "weighted": "ipw"}.items():
            yield (gain, lost), _reclassified(nri, time, event, *pair, horizon=at, method=method, **options)
    yield ("idi", "weighted"), _reclassified(reclassification.idi_censored, time, event, *risks, horizon=at)
    yield from _benefits_censored(time, event, at, *risks)


def _reclassified(measure, *data, **options) -> tuple:
    found, _ = checks.estimate_or_reason(measure, *data, **options)
    return NOT_ESTIMABLE if found is None else (found.value, found.lower, found.upper, found.p)


def _benefit_known(old, new, threshold, case, control):
    """Difference of net benefits, its error that of a mean."""
    known = case | control
    worth = np.where(case, 1.0, -threshold / (1 - threshold))[known]
    each = ((new >= threshold).astype(float) - (old >= threshold))[known] * worth
    return _row(float(each.mean()), float(each.std(ddof=1) / np.sqrt(known.sum())))


def _benefits_censored(time, event, at, old, new):
    """Differences of net benefits through Kaplan-Meier at high risk, errors by the infinitesimal jackknife."""
    for gain, threshold in THRESHOLDS.items():
        high = np.column_stack([old >= threshold, new >= threshold]).astype(float)
        value, influence = kaplan_meier(time, event, high, at)
        share, d_share = high.mean(axis=0), (high - high.mean(axis=0)) / time.size
        free, d_free = value * share, influence * share + value * d_share  # at high risk and free of it, of all
        odds = threshold / (1 - threshold)
        benefit, d_benefit = share - free - odds * free, d_share - (1 + odds) * d_free
        yield (gain, "kaplan_meier"), _row(float(np.diff(benefit)[0]), float(np.linalg.norm(np.diff(d_benefit))))


STATISTICS = {f.__name__: f for f in (predicts, divides, independent, improves, responders)}


def evaluate(multiverse: Multiverse, conclusion: str, patients: pd.DataFrame | Study) -> dict[tuple, tuple]:
    """Return estimate, limits and P of every universe of a conclusion, by its levels but the training.

    Parameters
    ----------
    patients
        See `Study`; one that is made already shares its models.

    Returns
    -------
    dict
        Levels in the order of the conclusion's choices to (estimate, lower, upper, P). The estimate is positive when
        it is in favour; NaN where the patients do not allow it. An estimate in favour with P below 0.05 holds.
    """
    study = patients if isinstance(patients, Study) else Study(patients)
    levels = {name: list(multiverse.choices[name]["levels"]) for name in multiverse.conclusions[conclusion]["choices"]}
    levels["patients"] = [name for name in levels["patients"] if name in study.rows]
    return dict(STATISTICS[conclusion](study, levels))


def signed_z(estimate: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Return P as a normal deviate with the sign of the estimate: one scale for every measure; cut at 8."""
    return np.sign(estimate) * np.minimum(-ndtri(np.maximum(p, 1e-300) / 2), 8.0)


def parts(frame: pd.DataFrame, choices: Sequence[str], value: str) -> pd.DataFrame:
    """Return how much each choice moves a quantity over the universes: parts of its variance.

    Parameters
    ----------
    frame
        One row a universe, a column a choice, and `value` without gaps.

    Returns
    -------
    DataFrame
        ``choice``, ``alone``: the variance of the means by this choice, and ``total``: the mean variance that is left
        when all other choices are fixed, both as shares of the variance; ``interactions`` is total less alone, what it
        does together with others. Impossible combinations make choices overlap, so that parts need not add up and the
        last may be negative (Sobol's indices are those of a full factorial).
    """
    variance, rows = frame[value].var(ddof=0), []
    for choice in choices:
        others = [name for name in choices if name != choice]
        if not variance > 0 or frame[choice].nunique() < 2:
            rows.append((choice, np.nan, np.nan))
            continue
        means = frame.groupby(choice)[value].transform("mean")
        left = frame[value] - frame.groupby(others)[value].transform("mean")
        rows.append((choice, means.var(ddof=0) / variance, (left**2).mean() / variance))
    found = pd.DataFrame(rows, columns=["choice", "alone", "total"])
    return found.assign(interactions=found["total"] - found["alone"])


def networks(
    patients: pd.DataFrame, of_run: str | Path, others: Mapping[str, str | Path], alternatives: str | Path = ""
):
    """Return the patients with each network's probabilities, by name: `this run`, `out-of-fold`, and the others.

    Parameters
    ----------
    patients
        Included patients, without probabilities.
    of_run, others
        Tables as `dl_prob.csv`: this run's, in both tracks where it has two, and by name those of other seeds.
    alternatives
        A table of several, named in its column `alternative`; empty: none.
    """
    tracks = cohort.tracks(cohort.with_probabilities(patients, of_run))
    found = {{"": "this run", "_oof": "out-of-fold"}[end]: of_track for end, of_track in tracks.items()}
    if alternatives:
        table = pd.read_csv(resolve(alternatives), dtype={"patient_id": str})
        columns = ["patient_id", "t2w_prob", "adc_prob", "dl_prob"]
        for name, rows in table.groupby("alternative", sort=False):
            if not set(patients["patient_id"]) <= set(rows["patient_id"]):
                found_here = f"{name} lacks included patients"
                raise InputError(display_path(alternatives), found_here, expected="all of them", remedy="Train again.")
            name = "trained again" if name == "default" else name
            found[name] = patients.merge(rows[columns], on="patient_id", validate="one_to_one")
    return found | {name: cohort.with_probabilities(patients, resolve(path)) for name, path in others.items()}


def table(multiverse: Multiverse, conclusion: str, studies: Mapping[str, Study], significance: float) -> pd.DataFrame:
    """Return a conclusion's universes with their results, for each network's study.

    Returns
    -------
    DataFrame
        As `universes`, with ``conclusion``, ``estimate``, ``lower``, ``upper``, ``p``, ``z`` (`signed_z`), ``holds``:
        in favour with P below `significance`; ``paper``: whether it is the paper's own path.
    """
    described = multiverse.conclusions[conclusion]
    names = [name for name in described["choices"] if name not in FIXED]
    frames = []
    for training, study in studies.items():
        found, frame = evaluate(multiverse, conclusion, study), universes(multiverse, conclusion, [training])
        frame = frame[frame["patients"].isin(study.rows)]
        rows = [found[path] for path in frame[names].itertuples(index=False, name=None)]
        frames.append(frame.assign(**dict(zip(["estimate", "lower", "upper", "p"], np.array(rows).T, strict=True))))
    frame = pd.concat(frames, ignore_index=True).assign(conclusion=conclusion)
    frame["z"] = signed_z(frame["estimate"].to_numpy(), frame["p"].to_numpy())
    frame["holds"] = (frame["estimate"] > 0) & (frame["p"] < significance)
    frame["paper"] = (frame[list(described["paper"])] == pd.Series(described["paper"])).all(axis=1)
    return frame
