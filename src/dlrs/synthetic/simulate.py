"""The data-generating model of the synthetic cohort: covariates, survival times, views of the images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from dlrs.cohort import LEVELS
from dlrs.config import published, stream
from dlrs.stats import checks
from dlrs.synthetic.phantoms import ACQUISITION, rendered_parameters

DEFAULT_SEED = 20210621
COHORTS = ("primary", "validation")
HORIZON_MONTHS = 36.0
# The data-generating model: constant baseline hazard, log hazard ratios, each view's correlation with the latent risk.
BASELINE_PER_MONTH = 0.002
LATENT_LOG_HR = 1.5
CLINICAL_LOG_HR = {
    ("ct_stage", "cT4"): 0.80,
    ("cea", "Elevated"): 0.50,
    ("ypn_stage", "ypN1"): 0.50,
    ("ypn_stage", "ypN2"): 0.90,
}
VIEW_CORRELATION = {"t2w": 0.85, "adc": 0.60}
LOSS_PER_MONTH = 0.0015
# Surgery from August 2012 to March 2015; the primary centres' data were locked in March 2018, the third's in June 2019.
FOLLOW_UP_MONTHS = {"primary": (36.0, 67.0), "validation": (51.0, 82.0)}
# Node-negative patients by ypT stage. The paper prints only sums: 22 ypT0N0 and 65 ypT0-2N0 in both cohorts together.
YPN0 = {
    "primary": {("ypT0",): 17, ("ypT1", "ypT2"): 32, ("ypT3", "ypT4"): 64},
    "validation": {("ypT0",): 5, ("ypT1", "ypT2"): 11, ("ypT3", "ypT4"): 18},
}
CENTRES_OF = {"primary": {"A": 98, "B": 72}, "validation": {"C": 65}}
INDEPENDENT = (
    "centre", "histology", "gender", "tumor_location", "ct_stage", "cea", "surgical_approach", "ypt_stage",
    "adjuvant_chemotherapy", "adjuvant_radiotherapy",
)  # fmt: skip
CLINICAL_COLUMNS = (
    "patient_id", "centre", "cohort", "time_months", "event", "age", "gender", "tumor_location", "histology",
    "ct_stage", "lymph_node_status", "cea", "surgical_approach", "ypt_stage", "ypn_stage",
    "adjuvant_chemotherapy", "adjuvant_radiotherapy", "locoregional_recurrence",
)  # fmt: skip
LATENT_COLUMNS = (
    "latent_risk", "t2w_noise", "adc_noise", "clinical_linear_predictor", "linear_predictor", "risk_36m",
    "metastasis_months",
)  # fmt: skip
VIEW_COLUMNS = ("t2w_view", "adc_view", "image_score")


class Rates(NamedTuple):
    """What of the data-generating model a planned study may have otherwise: rates per month, range of follow-up."""

    baseline_per_month: float = BASELINE_PER_MONTH
    loss_per_month: float = LOSS_PER_MONTH
    follow_up_months: Mapping[str, tuple[float, float]] = FOLLOW_UP_MONTHS


RATES = Rates()


def _levels(score: np.ndarray, counts: dict[str, int], exact: bool) -> pd.Categorical:
    """Cut a standard normal score into levels, either at exact counts (by rank) or at their probabilities."""
    total, cumulative = sum(counts.values()), np.cumsum(list(counts.values()))
    if exact:
        codes = np.searchsorted(cumulative, np.argsort(np.argsort(score)), side="right")
    else:
        codes = np.searchsorted(ndtri(cumulative[:-1] / total), score)
    return pd.Categorical.from_codes(codes, categories=list(counts))


def _whole_year_ages(rng: np.random.Generator, n: int, mean: float, sd: float, exact: bool) -> np.ndarray:
    """Draw ages in whole years; with `exact`, move single years until mean and SD print as asked."""
    low, high = ndtr([-2.5, 2.5])
    score = ndtri(rng.uniform(low, high, n))
    if not exact:
        return np.rint(mean + sd * score).astype(int)
    age = np.rint(mean + sd * (score - score.mean()) / score.std(ddof=1)).astype(int)
    excess = age.sum() - round(mean * n)
    age[rng.choice(n, abs(excess), replace=False)] -= np.sign(excess)
    while abs(missing := sd - age.std(ddof=1)) > 0.004:
        older, younger = rng.choice(n, 2, replace=False)
        if age[older] < age[younger]:
            older, younger = younger, older
        moved = age.copy()
        moved[older] += np.sign(missing).astype(int)
        moved[younger] -= np.sign(missing).astype(int)
        if abs(sd - moved.std(ddof=1)) < abs(missing):
            age = moved
    return age


def _paper_counts(cohort: str) -> dict[str, dict[str, int]]:
    """Return the paper's number of patients at each level of each categorical column, for one cohort."""
    paper, place = published(), COHORTS.index(cohort)
    counts = {
        name: {level: pair[place] for level, pair in row["levels"].items()}
        for name, row in paper["table1"].items()
        if isinstance(row, dict) and "levels" in row
    }
    variants = {name: number[cohort] for name, number in paper["cohort"]["variants"].items()}
    common = paper["cohort"][f"n_{cohort}"] - sum(variants.values())
    return {**counts, "centre": CENTRES_OF[cohort], "histology": {"adenocarcinoma": common, **variants}}


def _covariates(rng: np.random.Generator, n: int, cohort: str, exact: bool) -> dict[str, np.ndarray]:
    """Draw every column that is known when follow-up starts."""
    counts, age = _paper_counts(cohort), published()["table1"]["age"][cohort]
    columns = {
        "age": _whole_year_ages(rng, n, age["mean"], age["sd"], exact),
        **{name: _levels(rng.standard_normal(n), counts[name], exact) for name in INDEPENDENT},
    }

    # Nodes: clinical and pathological status share a score; ypT stage fixes how many are node negative.
    node, severity = rng.standard_normal(n), rng.standard_normal(n)
    columns["lymph_node_status"] = _levels(
        0.5 * node + math.sqrt(0.75) * rng.standard_normal(n), counts["lymph_node_status"], exact
    )
    positive = np.zeros(n, bool)
    for stages, n_negative in YPN0[cohort].items():
        members = np.flatnonzero(np.isin(columns["ypt_stage"], stages))
        total = sum(counts["ypt_stage"][stage] for stage in stages)
        positive[members] = _levels(node[members], {"-": n_negative, "+": total - n_negative}, exact) == "+"
    ypn = np.zeros(n, int)
    upper = {stage: counts["ypn_stage"][stage] for stage in ("ypN1", "ypN2")}
    ypn[positive] = 1 + _levels(severity[positive], upper, exact).codes
    columns["ypn_stage"] = pd.Categorical.from_codes(ypn, categories=list(counts["ypn_stage"]))
    return columns


def _outcomes(
    rng: np.random.Generator, clinical_lp: np.ndarray, cohort: str, n_cohorts: int = 1, rates: Rates = RATES
) -> dict:
    """Draw latent risk, metastasis and follow-up for whole cohorts at a time: arrays (n_cohorts, n)."""
    shape = (n_cohorts, len(clinical_lp))
    latent = rng.standard_normal(shape)
    lp = clinical_lp + LATENT_LOG_HR * latent
    metastasis = rng.standard_exponential(shape) * np.exp(-lp) / rates.baseline_per_month
    mean_until_loss = 1 / rates.loss_per_month if rates.loss_per_month else math.inf
    seen = np.minimum(rng.uniform(*rates.follow_up_months[cohort], shape), rng.exponential(mean_until_loss, shape))
    return {
        "latent_risk": latent,
        "linear_predictor": lp,
        "metastasis_months": metastasis,
        # Rounded up to a tenth of a month: never zero, and nobody crosses the horizon.
        "time_months": np.ceil(10 * np.minimum(metastasis, seen)) / 10,
        "event": metastasis <= seen,
    }


def _outcomes_with_counts(rng: np.random.Generator, clinical_lp: np.ndarray, cohort: str) -> tuple[dict, int]:
    """Redraw whole cohorts until one has the paper's counts; return it and how many were drawn."""
    paper, batch = published(), 1000
    within, events = (
        paper["cohort"]["dm_within_3y"][cohort]["n"],
        paper["table1"]["distant_metastasis"]["levels"]["Yes"][COHORTS.index(cohort)],
    )
    lost = paper["cohort"][f"n_{cohort}"] - paper["cohort"]["binary_training_set"][cohort]
    for attempt in range(1000):
        drawn = _outcomes(rng, clinical_lp, cohort, batch)
        early = drawn["time_months"] < HORIZON_MONTHS
        fits = (
            ((drawn["event"] & early).sum(axis=1) == within)
            & (drawn["event"].sum(axis=1) == events)
            & ((~drawn["event"] & early).sum(axis=1) == lost)
            # Nobody at exactly the horizon, so that "< 36" and "<= 36" count alike.
            & (drawn["time_months"] != HORIZON_MONTHS).all(axis=1)
        )
        if fits.any():
            first = int(fits.argmax())
            return {name: values[first] for name, values in drawn.items()}, attempt * batch + first + 1
    raise RuntimeError(
        f"no {cohort} cohort with the paper's counts in a million draws; the data-generating model no longer suits them"
    )


def _draw(
    rng: np.random.Generator, n: int, cohort: str, *, signal: float, exact: bool = False, rates: Rates = RATES
) -> pd.DataFrame:
    """Draw `n` patients of one cohort: clinical columns, latents and views."""
    columns = _covariates(rng, n, cohort, exact)
    clinical_lp = sum(log_hr * np.asarray(columns[name] == level) for (name, level), log_hr in CLINICAL_LOG_HR.items())
    if exact:
        outcomes, _ = _outcomes_with_counts(rng, clinical_lp, cohort)
    else:
        outcomes = {name: values[0] for name, values in _outcomes(rng, clinical_lp, cohort, rates=rates).items()}
    lp = outcomes["linear_predictor"]
    score = 0.4 * (lp - lp.mean()) / lp.std() + math.sqrt(1 - 0.4**2) * rng.standard_normal(n)
    columns["locoregional_recurrence"] = _levels(-score, _paper_counts(cohort)["locoregional_recurrence"], exact)
    frame = pd.DataFrame(
        {
            "cohort": pd.Categorical([cohort], categories=COHORTS).repeat(n),
            **columns,
            **outcomes,
            "event": outcomes["event"].astype(int),
            "clinical_linear_predictor": clinical_lp,
            "risk_36m": -np.expm1(-HORIZON_MONTHS * rates.baseline_per_month * np.exp(lp)),
            "t2w_noise": rng.standard_normal(n),
            "adc_noise": rng.standard_normal(n),
        }
    )
    return frame.assign(**views(frame["latent_risk"], frame["t2w_noise"], frame["adc_noise"], signal=signal))


def views(latent_risk, t2w_noise, adc_noise, *, signal: float = 1.0) -> dict[str, np.ndarray]:
    """Return the two image views, which depend on the latent risk.

    A view is `c * latent + sqrt(1 - c**2) * noise` with `c = signal * VIEW_CORRELATION`; its own distribution is
    standard normal whatever the signal, so images of different signals look alike. `image_score` is the expected
    latent risk given both views of a cohort with signal 1: the best that any reader of the images could know.

    Parameters
    ----------
    latent_risk, t2w_noise, adc_noise : array_like, shape (n,)
        Independent standard normal values; higher latent risk means earlier metastasis.
    signal : float
        How much of the views depends on the latent risk, from 0 (nothing) to 1.

    Returns
    -------
    dict
        `t2w_view`, `adc_view`, `image_score`, each of shape (n,), higher meaning higher risk.

    Examples
    --------
    >>> views([1.0], [0.0], [0.0], signal=0.0)["t2w_view"]
    array([0.])
    """
    if not 0 <= signal <= 1:
        raise ValueError(f"signal must lie in [0, 1]; found {signal}")
    seen, weighted, precision = {}, 0.0, 1.0
    for name, noise in (("t2w", t2w_noise), ("adc", adc_noise)):
        full = VIEW_CORRELATION[name]
        known = signal * full
        seen[f"{name}_view"] = known * np.asarray(latent_risk) + math.sqrt(1 - known**2) * np.asarray(noise)
        weight = full / (1 - full**2)
        weighted, precision = weighted + weight * seen[f"{name}_view"], precision + weight * full
    return {**seen, "image_score": weighted / precision}


def draw_cohort(
    seed: int = DEFAULT_SEED,
    *,
    exact_counts: bool = True,
    signal: float = 1.0,
    size_signal: float = 0.0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw one study: the clinical table that a hospital would have, and the truth that nobody has.

    Parameters
    ----------
    seed : int
        The only seed; every purpose draws from its own stream.
    exact_counts : bool
        Whether all printed counts of the paper hold exactly. Times and latent risks of a whole cohort are then
        redrawn until they do; no time is ever edited.
    signal : float
        See `views`. It moves no column but the views and what is rendered from them.
    size_signal : float
        How much the tumour's size tells of the latent risk at signal 1, from 0 to 1 (`phantoms.rendered_parameters`);
        multiplied by `signal`.

    Returns
    -------
    clinical : DataFrame
        One row a patient, the columns of `clinical.csv` (times in months, event 1 = metastasis seen).
    truth : DataFrame
        `patient_id`, latents, linear predictors (log hazard), `risk_36m`, uncensored `metastasis_months`, views and
        rendered parameters; values rounded to 6 decimals, as in `truth.csv`.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    checks.seed(seed)
    if not 0 <= size_signal <= 1:
        raise ValueError(f"size_signal must lie in [0, 1]; found {size_signal}")
    sizes = {cohort: published()["cohort"][f"n_{cohort}"] for cohort in COHORTS}
    parts = [
        _draw(stream(int(seed), "cohort", cohort), n, cohort, signal=signal, exact=exact_counts)
        for cohort, n in sizes.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["patient_id"] = [f"P{number:03d}" for number in range(1, len(frame) + 1)]
    clinical = frame[list(CLINICAL_COLUMNS)].copy()
    for name in clinical.columns[clinical.dtypes == "category"]:
        clinical[name] = clinical[name].astype(str)
    painted = rendered_parameters(frame, size_signal=signal * size_signal)
    truth = frame[["patient_id", *LATENT_COLUMNS, *VIEW_COLUMNS]].assign(**painted)
    numeric = truth.columns.drop("patient_id")
    truth[numeric] = truth[numeric].round(6)
    return clinical, truth


def draw_studies(
    seed: int,
    n_studies: int,
    *,
    n_primary: int = 170,
    n_validation: int = 65,
    signal: float = 1.0,
    rates: Rates = RATES,
) -> pd.DataFrame:
    """Draw many studies with free counts and no images, for simulation studies of any size.

    Everything is drawn at once: a thousand studies take about a second, a million patients a few.

    Returns
    -------
    DataFrame
        One row a patient: `study` (0 ... n_studies - 1), the columns of `clinical.csv` but `patient_id` (levels as
        categories, the reference first; `event` boolean), the latents, and `t2w_view`, `adc_view`, `image_score`
        (higher = higher risk).

    Examples
    --------
    >>> draw_studies(1, 3, n_primary=20, n_validation=10).groupby("study").size().tolist()
    [30, 30, 30]
    """
    checks.seed(seed)
    if n_studies < 1 or min(n_primary, n_validation) < 1:
        raise ValueError(f"sizes must be 1 or more; found {n_studies} studies of {n_primary} and {n_validation}")
    sizes = {"primary": n_primary, "validation": n_validation}
    parts = [
        _draw(stream(seed, "studies", cohort), n * n_studies, cohort, signal=signal, rates=rates).assign(
            study=np.repeat(np.arange(n_studies), n)
        )
        for cohort, n in sizes.items()
    ]
    frame = pd.concat(parts, ignore_index=True).astype({"event": bool})
    for name in parts[0].columns[parts[0].dtypes == "category"]:
        frame[name] = pd.Categorical(frame[name], categories=LEVELS.get(name, list(ACQUISITION)))
    frame = frame.sort_values("study", kind="stable", ignore_index=True)
    return frame[["study", *CLINICAL_COLUMNS[1:], *LATENT_COLUMNS, *VIEW_COLUMNS]]
