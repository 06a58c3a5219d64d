"""How much of the evidence survives when the truth is known: simulated studies, and controls of the whole chain.

A simulated study has a clinical table and a probability per patient, no images; thousands take minutes. A control is
a training of the networks on something that should, or should not, be informative.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, cpu_count, delayed
from numpy.typing import ArrayLike
from scipy.special import chdtrc, expit, ndtr, ndtri
from scipy.stats import binomtest

from dlrs import cohort
from dlrs.config import resolve, stream, whole_file
from dlrs.stats import calibration, checks, concordance, cox, decision, reclassification, resample, roc, survival
from dlrs.synthetic import cohort_folder, simulate

HORIZON_MONTHS = simulate.HORIZON_MONTHS
TIMES_MONTHS = (12.0, 24.0, 36.0)
CLINICAL = ("ct_stage", "cea", "ypn_stage")  # the paper's formula
MODELS = {
    "Nomogram": (*CLINICAL, "dl_prob"),
    "Clinical": CLINICAL,
    "DLRS": ("dl_prob",),
    "T2W": ("t2w_prob",),
    "ADC": ("adc_prob",),
}
SIGNALS = (0.0, 0.25, 0.5, 1.0)
JUDGED = ("Nomogram", "Clinical", "DLRS")
CHUNK = 100  # studies drawn at once; part of what a replicate's numbers depend on, unlike the number of workers
# Mean and spread of the log odds that the default run's networks give; a view's own spread is 1.
LOG_ODDS = {"t2w": (-1.7, 1.0), "adc": (-1.3, 0.8)}


def probabilities(study: pd.DataFrame, *, overfit: Mapping[str, float] | None = None) -> np.ndarray:
    """Return DL-prob of a simulated study: each view on the scale of a network's probability, summed.

    Parameters
    ----------
    study
        From `simulate.draw_studies`: `t2w_view`, `adc_view`, `cohort`, `time_months`, `event`.
    overfit : mapping of `t2w` and `adc` to a shift, optional
        What the networks have learnt by heart: by how many standard deviations of a view the primary patients with
        metastasis by the horizon are moved up. See `shift_of_auc`. Validation patients, and primary ones without or
        with unknown metastasis, stay where they are.

    Returns
    -------
    array of shape (n,)
        In [0, 2], higher meaning higher risk.
    """
    early = study["event"].to_numpy(bool) & (study["time_months"].to_numpy() <= HORIZON_MONTHS)
    taught = early & (study["cohort"] == "primary").to_numpy()
    total = np.zeros(len(study))
    for view, (mean, spread) in LOG_ODDS.items():
        total += expit(mean + spread * (study[f"{view}_view"].to_numpy() + (overfit or {}).get(view, 0.0) * taught))
    return total


def best_reader(latents: pd.DataFrame, *, signal: float) -> np.ndarray:
    """Return the expected latent risk given both views of images of this signal: the best that any reader can know.

    Parameters
    ----------
    latents
        `latent_risk`, `t2w_noise`, `adc_noise`, as in `truth.csv`.
    signal
        See `simulate.views`; at 0 everybody's expectation is 0.

    Returns
    -------
    array of shape (n,)
        sum w v / (1 + sum w c), with c the view's correlation with the latent risk and w = c / (1 - c^2).
    """
    seen = simulate.views(latents["latent_risk"], latents["t2w_noise"], latents["adc_noise"], signal=signal)
    weighted, precision = np.zeros(len(latents)), 1.0
    for view, full in simulate.VIEW_CORRELATION.items():
        c = signal * full
        weighted, precision = weighted + c / (1 - c**2) * seen[f"{view}_view"], precision + c**2 / (1 - c**2)
    return weighted / precision


def shift_of_auc(auc: float) -> float:
    """Return by how many standard deviations two normal groups of equal spread are apart when the AUC is `auc`."""
    return float(np.sqrt(2) * ndtri(auc))


def _design(patients: pd.DataFrame, terms: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return a model's columns, a factor's levels against its first, and their names."""
    columns, names = [], []
    for term in terms:
        levels = cohort.LEVELS.get(term)
        for level in levels[1:] if levels else [None]:
            columns.append((patients[term] == level).to_numpy(float) if levels else patients[term].to_numpy(float))
            names.append(level or term)
    return np.column_stack(columns), names


class Model(NamedTuple):
    """A Cox model of the primary cohort, ready to be applied."""

    terms: tuple[str, ...]
    names: list[str]
    fit: cox.CoxFit
    baseline: pd.DataFrame


class Models(NamedTuple):
    """What notebooks 04 and 05 learn on the primary cohort."""

    cox: dict[str, Model]
    cutoff: float  # Youden's, on DL-prob


def fit_models(primary: pd.DataFrame) -> Models:
    """Fit the study's Cox models (Efron's ties) and cut-off on the primary cohort, as notebooks 04 and 05 do.

    Parameters
    ----------
    primary
        `time_months`, `event`, `dl_prob` and the factors of `CLINICAL`.

    Raises
    ------
    ValueError
        Where a model has no maximum, as when a factor's level has no event.
    """
    time, event = checks.survival(primary["time_months"], primary["event"])
    fitted = {}
    for name, terms in MODELS.items():
        if not set(terms) <= set(primary.columns):  # a simulated study has no probability of each sequence
            continue
        x, names = _design(primary, terms)
        fit = cox.cox_fit(time, event, x, tolerance=1e-9)
        fitted[name] = Model(terms, names, fit, cox.baseline_hazard(time, event, x @ fit.coefficients))
    outcome = survival.binary_outcome(time, event, horizon=HORIZON_MONTHS)
    known = ~np.isnan(outcome)
    return Models(fitted, roc.youden_cutoff(outcome[known], primary["dl_prob"].to_numpy()[known]).threshold)


class Judged(NamedTuple):
    """One cohort with what the models say about it."""

    time: np.ndarray
    event: np.ndarray
    outcome: np.ndarray  # by the horizon, NaN where unknown
    dl_prob: np.ndarray
    lp: dict[str, np.ndarray]
    risk: dict[str, np.ndarray]  # by the horizon


def judge(models: Models, patients: pd.DataFrame, *, horizon: float = HORIZON_MONTHS) -> Judged:
    """Apply the models to a cohort; nothing is learnt."""
    time, event = checks.survival(patients["time_months"], patients["event"])
    lp = {name: _design(patients, m.terms)[0] @ m.fit.coefficients for name, m in models.cox.items()}
    risk = {name: cox.risk_at(lp[name], m.baseline, horizon) for name, m in models.cox.items()}
    outcome = survival.binary_outcome(time, event, horizon=horizon)
    return Judged(time, event, outcome, patients["dl_prob"].to_numpy(), lp, risk)


def by_cohort(study: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the study's two cohorts by name."""
    return {name: study[(study["cohort"] == name).to_numpy()] for name in simulate.COHORTS}


def findings(study: pd.DataFrame, generator: np.random.Generator, *, n_boot: int = 200) -> pd.DataFrame:
    """Return every test by which the paper, or a reader, may call the images informative, on one study.

    Parameters
    ----------
    study
        Both cohorts with `dl_prob`: simulated, or a run's patients.
    generator, n_boot
        Of the paired bootstrap of the difference of two C-indices.

    Returns
    -------
    DataFrame
        ``finding``, ``cohort``, ``sides`` of the test (0: none), ``estimate`` (positive speaks for the images),
        ``p``. NRI and IDI are the binary ones of notebook 06, at 36 months; `survcomp` is the one-sided test that the
        paper probably used; log-rank compares the groups of Youden's cut-off, chosen on the primary cohort; net
        benefit is at a risk of 20 %. NaN where a cohort does not allow the test.
    """
    groups = by_cohort(study)
    models = fit_models(groups["primary"])
    nomogram, clinical = (models.cox[name].fit for name in ("Nomogram", "Clinical"))
    p = chdtrc(1, 2 * (nomogram.log_likelihood - clinical.log_likelihood))
    rows = [("DL-prob in the Cox model, likelihood ratio", "primary", 2, nomogram.coefficients[-1], p)]
    for name, group in groups.items():
        rows += [
            (finding, name, *values) for finding, *values in _findings(judge(models, group), models, n_boot, generator)
        ]
    return pd.DataFrame(rows, columns=["finding", "cohort", "sides", "estimate", "p"])


def _findings(j: Judged, models: Models, n_boot: int, generator: np.random.Generator):
    known = ~np.isnan(j.outcome)
    outcome = j.outcome[known]
    for new in ("Nomogram", "DLRS"):
        old_risk, new_risk = j.risk["Clinical"][known], j.risk[new][known]
        for measure, function in {"NRI": reclassification.nri_continuous, "IDI": reclassification.idi}.items():
            found = function(outcome, old_risk, new_risk)
            yield f"{measure}, {new} against clinical", 2, found.value, found.p
    for other in ("Clinical", "DLRS"):
        pair, versus = (j.lp["Nomogram"], j.lp[other]), f"C-index, Nomogram against {other.replace('Cli', 'cli')}"
        survcomp = concordance.compare_concordance(j.time, j.event, *pair, method="survcomp")
        yield f"{versus}: survcomp, one-sided", 1, survcomp.difference, survcomp.p_one_sided
        yield f"{versus}: survcomp, two-sided", 2, survcomp.difference, survcomp.p
        jackknife = concordance.compare_concordance(j.time, j.event, *pair)
        yield f"{versus}: joint jackknife", 2, jackknife.difference, jackknife.p
        weights = resample.bootstrap_weights(j.time.size, n_boot, seed=generator)
        resampled = concordance.concordance_bootstrap(j.time, j.event, np.column_stack(pair), weights)
        p = resample.two_sided_p(resampled[:, 0] - resampled[:, 1])
        yield f"{versus}: paired bootstrap", 2, jackknife.difference, p
    area = roc.delong(outcome, j.dl_prob[known])
    yield "AUC of DL-prob, DeLong", 2, area.auc - 0.5, _normal_p(area.auc - 0.5, area.se)
    high = j.dl_prob > models.cutoff
    if 0 < high.sum() < high.size:
        test = survival.logrank(j.time, j.event, high)
        above = test.groups.set_index("group").loc[True]
        yield "Youden's cut-off, log-rank", 2, above["observed"] - above["expected"], test.p
    else:
        yield "Youden's cut-off, log-rank", 2, np.nan, np.nan
    benefit = {name: _net_benefit(j, name, np.ones((1, j.time.size)), [0.2])[0, 0] for name in ("Nomogram", "Clinical")}
    yield "Net benefit, Nomogram above clinical", 0, benefit["Nomogram"] - benefit["Clinical"], np.nan


def _normal_p(value: float, se: float) -> float:
    return float(2 * ndtr(-abs(value / se))) if se > 0 else float(value == 0)


def _net_benefit(j: Judged, name: str, weights: np.ndarray, thresholds: ArrayLike, quantity: str = "net_benefit"):
    options = dict(horizon=HORIZON_MONTHS, thresholds=thresholds, quantities=[quantity])
    return decision.decision_curve_censored_bootstrap(j.time, j.event, j.risk[name], weights, **options)[quantity]


def performance(
    models: Models, patients: pd.DataFrame, *, n_boot: int = 0, seed: int | np.random.Generator = 0
) -> pd.DataFrame:
    """Return the performance of fitted models in a cohort, each number with the 95 % interval that the study prints.

    Parameters
    ----------
    models
        From `fit_models`.
    patients
        The cohort that they are judged in.
    n_boot, seed
        Of the bootstrap bands of the decision curves; without resamples their limits are NaN.

    Returns
    -------
    DataFrame
        ``quantity``, ``estimate``, ``lower``, ``upper``. Intervals: C-index, infinitesimal jackknife; AUC(t), inverse
        weighting and influence function; AUC, DeLong; NRI, IDI, calibration slope, Wald; net benefit and its parts,
        percentile bootstrap. In 400 simulated studies they held the fitted model's value too seldom, against 95 %: in
        the primary cohort, where models are judged on the patients they were fitted on, C-index of the nomogram 88 %,
        Brier score 84 %, calibration slope 85 %; in 65 validation patients AUC(12 months) 88 %, AUC(24 and 36 months)
        91 and 92 %, IDI 92 %, net benefit at 30 % 93 % (`reports/validity/tables/validity_coverage.csv`).
    """
    return pd.DataFrame(
        _performance(judge(models, patients), n_boot, seed), columns=["quantity", "estimate", "lower", "upper"]
    )


def _performance(j: Judged, n_boot: int, seed):
    data, known = (j.time, j.event), ~np.isnan(j.outcome)
    for name in JUDGED:
        c = concordance.concordance(*data, j.lp[name])
        yield f"C-index, {name}", c.c, c.lower, c.upper
    d = concordance.compare_concordance(*data, j.lp["Nomogram"], j.lp["Clinical"])
    yield "Difference of C-indices, Nomogram less Clinical", d.difference, d.lower, d.upper
    c = concordance.uno_concordance(*data, j.lp["Nomogram"])
    yield "Uno's C, Nomogram", c.c, c.lower, c.upper
    for r in roc.time_dependent_auc(*data, j.lp["DLRS"], times=TIMES_MONTHS).itertuples():
        yield f"AUC({r.time:.0f} months), DLRS", r.auc, r.lower, r.upper
    area = roc.delong(j.outcome[known], j.dl_prob[known])
    yield "AUC, DL-prob", area.auc, area.lower, area.upper
    for new in ("Nomogram", "DLRS"):
        pair = j.outcome[known], j.risk["Clinical"][known], j.risk[new][known]
        for measure, function in {"NRI": reclassification.nri_continuous, "IDI": reclassification.idi}.items():
            found = function(*pair)
            yield f"{measure}, {new} against Clinical", found.value, found.lower, found.upper
    for name in ("Nomogram", "Clinical"):
        slope = calibration.calibration_slope(*data, j.lp[name])
        yield f"Calibration slope, {name}", slope.slope, slope.lower, slope.upper
    ratio = calibration.observed_expected_at(*data, j.risk["Nomogram"], horizon=HORIZON_MONTHS)
    yield "Log of observed over expected, Nomogram", ratio.intercept, ratio.lower, ratio.upper
    brier = calibration.brier_score(*data, j.risk["Nomogram"], horizon=HORIZON_MONTHS)
    yield "Brier score, Nomogram", brier.brier, brier.lower, brier.upper
    ones = np.ones((1, j.time.size))
    weights = resample.bootstrap_weights(j.time.size, n_boot, seed=seed) if n_boot else None
    for quantity, label in {"net_benefit": "Net benefit", "tpr": "Sensitivity", "fpr": "1 - specificity"}.items():
        thresholds = [0.1, 0.2, 0.3] if quantity == "net_benefit" else [0.2]
        values = _net_benefit(j, "Nomogram", ones, thresholds, quantity)[0]
        limits = np.full((2, len(thresholds)), np.nan)
        if n_boot:
            limits = np.array(resample.interval(_net_benefit(j, "Nomogram", weights, thresholds, quantity))[:2])
        for threshold, value, lower, upper in zip(thresholds, values, *limits, strict=True):
            yield f"{label} at {100 * threshold:.0f} %, Nomogram", value, lower, upper


def coefficients(models: Models) -> pd.DataFrame:
    """Return the nomogram's log hazard ratios with Wald intervals, in the columns of `performance`."""
    model = models.cox["Nomogram"]
    table = cox.cox_table(model.fit)
    half = checks.critical_value(0.95) * table["se"]
    names = [f"Log hazard ratio, {name}" for name in model.names]
    return pd.DataFrame(
        dict(quantity=names, estimate=table["coef"], lower=table["coef"] - half, upper=table["coef"] + half)
    )


def _studies(chunk: int, n: int, seed: int, signal: float, overfit: Mapping[str, float] | None):
    """Yield (replicate, study) of one chunk of simulated studies of 170 and 65 patients."""
    drawn = simulate.draw_studies(int(stream(seed, "studies", chunk).integers(2**31)), CHUNK, signal=signal)
    drawn["dl_prob"] = probabilities(drawn, overfit=overfit)
    for number, study in drawn.groupby("study"):
        if number < n:
            yield chunk * CHUNK + number, study.reset_index(drop=True)


def _replicate(function, chunk, n, seed, law) -> list[pd.DataFrame]:
    frames = []
    for replicate, study in _studies(chunk, n, seed, **law):
        try:
            found = function(study, stream(seed, "replicate", replicate))
        except ValueError as error:  # a study that the paper could not have analysed, such as a level without an event
            found = pd.DataFrame({"reason": [str(error)]})
        frames.append(found.assign(replicate=replicate))
    return frames


def replicates(
    function,
    n_replicates: int,
    *,
    seed: int,
    signal: float = 0.0,
    overfit: Mapping[str, float] | None = None,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """Apply an analysis to many simulated studies, spread over processes.

    Parameters
    ----------
    function : callable
        Of (study, random generator); returns a DataFrame.
    n_replicates
        How many studies; the first of them do not depend on how many there are.
    seed
        Of everything: chunk and replicate have their own streams, so that the result does not depend on `n_jobs`.
    signal, overfit
        The law: what the views know (`simulate.views`), and what was learnt by heart (`probabilities`).
    n_jobs
        Processes.

    Returns
    -------
    DataFrame
        What `function` returned, with ``replicate``; where it raised a ValueError one row with its ``reason``.
    """
    law = dict(signal=signal, overfit=overfit)
    sizes = [min(CHUNK, n_replicates - done) for done in range(0, n_replicates, CHUNK)]
    tasks = (delayed(_replicate)(function, chunk, n, seed, law) for chunk, n in enumerate(sizes))
    frames = [frame for chunk in Parallel(n_jobs=n_jobs)(tasks) for frame in chunk]
    return pd.concat(frames, ignore_index=True)


def share(count: int, n: int) -> tuple[float, float, float]:
    """Return a share with its exact (Clopper and Pearson's) 95 % interval; NaN of nobody."""
    if n == 0:
        return (np.nan,) * 3
    limits = binomtest(int(count), int(n)).proportion_ci(method="exact")
    return count / n, float(limits.low), float(limits.high)


def rejections(
    found: pd.DataFrame, *, by: Sequence[str] = ("finding", "cohort", "sides"), level: float = 0.05
) -> pd.DataFrame:
    """Count how often a finding is significant, for and against the images apart.

    Parameters
    ----------
    found
        `findings` of many studies.
    by
        Columns that say which test it is; with `sides` among them.
    level
        P below it is significant.

    Returns
    -------
    DataFrame
        One row a test: ``n`` (studies that allowed it), ``undefined``; ``better``, ``worse`` and ``any`` as shares
        with exact limits (``better_lower`` ...); ``nominal``, the share that a valid test has of `any` when nothing
        is there; ``positive``, the share of estimates above 0 whatever their P. A one-sided test cannot come out worse.
    """
    rows = []
    for keys, one in found.dropna(subset=["finding"]).groupby(list(by), sort=False):
        about = dict(zip(by, keys, strict=True))
        defined = one[one["estimate"].notna() & (one["p"].notna() | (one["sides"] == 0))]
        significant = defined["p"] < level
        row = about | dict(
            n=len(defined), undefined=len(one) - len(defined), nominal=level if about["sides"] else np.nan
        )
        up = defined["estimate"] > 0
        counts = dict(
            better=significant & up, worse=significant & ~up & (defined["sides"] == 2), any=significant, positive=up
        )
        for name, hits in counts.items():
            tested = about["sides"] or name == "positive"
            row |= dict(
                zip(
                    [name, f"{name}_lower", f"{name}_upper"],
                    share(hits.sum(), len(defined) if tested else 0),
                    strict=True,
                )
            )
        rows.append(row)
    return pd.DataFrame(rows)


class Targets(NamedTuple):
    """A very large cohort of each kind, whose patients share the law of the small ones, and what is fitted there."""

    cohorts: dict[str, pd.DataFrame]
    coefficients: pd.Series
    cutoff: float


def large_cohorts(n: int, *, seed: int, signal: float) -> Targets:
    """Draw the very large cohorts in which a fitted model's value is read off; nobody in them was learnt by heart."""
    study = simulate.draw_studies(
        int(stream(seed, "large").integers(2**31)), 1, n_primary=n, n_validation=n, signal=signal
    )
    groups = by_cohort(study.assign(dl_prob=probabilities(study)))
    models = fit_models(groups["primary"])
    return Targets(groups, coefficients(models).set_index("quantity")["estimate"], models.cutoff)


def interval_replicate(
    study: pd.DataFrame, generator: np.random.Generator, *, targets: Targets, n_boot: int
) -> pd.DataFrame:
    """Return every printed interval of one study beside what it should hold.

    The target of a model's performance is that of the model as fitted on this study's primary cohort, in the very
    large cohort; of a log hazard ratio or the cut-off, the value found when the whole law is the primary cohort.

    Returns
    -------
    DataFrame
        `performance`'s columns, ``cohort`` and ``target``.
    """
    groups = by_cohort(study)
    models = fit_models(groups["primary"])
    frames = []
    for name, group in groups.items():
        found = performance(models, group, n_boot=n_boot, seed=generator)
        target = performance(models, targets.cohorts[name])["estimate"]
        frames.append(found.assign(cohort=name, target=target.to_numpy()))
    fitted = coefficients(models)
    frames.append(fitted.assign(cohort="primary", target=targets.coefficients[fitted["quantity"]].to_numpy()))
    frames.append(_cutoff_interval(groups["primary"], models.cutoff, n_boot, generator).assign(target=targets.cutoff))
    return pd.concat(frames, ignore_index=True)


def _cutoff_interval(primary: pd.DataFrame, cutoff: float, n_boot: int, generator) -> pd.DataFrame:
    outcome = survival.binary_outcome(primary["time_months"], primary["event"], horizon=HORIZON_MONTHS)
    known = ~np.isnan(outcome)
    outcome, prob = outcome[known], primary["dl_prob"].to_numpy()[known]
    weights = resample.bootstrap_weights(outcome.size, n_boot, seed=generator)
    again = [roc.youden_cutoff(outcome.repeat(w), prob.repeat(w)).threshold for w in weights]
    limits = resample.interval(again)
    about = dict(quantity="Youden's cut-off on DL-prob", estimate=cutoff, lower=limits.lower, upper=limits.upper)
    return pd.DataFrame([about | dict(cohort="primary")])


def coverage(intervals: pd.DataFrame, *, by: Sequence[str] = ("quantity", "cohort")) -> pd.DataFrame:
    """Return how often intervals hold what they should.

    Parameters
    ----------
    intervals
        ``estimate``, ``lower``, ``upper``, ``target`` and the columns `by`.

    Returns
    -------
    DataFrame
        One row a quantity: ``n``, ``undefined``, ``coverage`` with exact limits ``coverage_lower`` and
        ``coverage_upper``, its Monte Carlo standard error ``mc_se``; ``below`` and ``above``, how often the whole
        interval lies below or above the target; ``bias``, mean estimate less mean target, and ``width``.
    """
    rows = []
    for keys, one in intervals.groupby(list(by), sort=False):
        used = one[np.isfinite(one[["estimate", "lower", "upper", "target"]]).all(axis=1)]
        n, below, above = len(used), (used["upper"] < used["target"]).sum(), (used["lower"] > used["target"]).sum()
        value, low, high = share(n - below - above, n)
        rows.append(
            dict(zip(by, keys, strict=True))
            | dict(n=n, undefined=len(one) - n, coverage=value, coverage_lower=low, coverage_upper=high)
            | dict(
                mc_se=np.sqrt(value * (1 - value) / n) if n else np.nan,
                below=below / max(n, 1),
                above=above / max(n, 1),
            )
            | dict(bias=(used["estimate"] - used["target"]).mean(), width=(used["upper"] - used["lower"]).mean())
        )
    return pd.DataFrame(rows)


def restricted_mean(time: ArrayLike, event: ArrayLike, *, horizon: float) -> tuple[float, float]:
    """Return the mean time free of the event up to a horizon, and its standard error.

    The area under the Kaplan-Meier curve; its difference between two groups is in months and needs no proportional
    hazards. Var = sum over event times of (area from there to the horizon)^2 D / (Y (Y - D)), as in R's survRM2.

    Examples
    --------
    >>> restricted_mean([1, 2, 4], [1, 1, 0], horizon=3)[0]
    2.0
    """
    time, event = checks.survival(time, event)
    horizon = checks.horizon(time, event, horizon)
    table = survival.risk_table(time, event)
    early = (table.time <= horizon) & (table.events > 0)
    at, y, d = table.time[early], table.at_risk[early], table.events[early]
    curve = np.cumprod(1 - d / y)
    pieces = np.concatenate(([1.0], curve)) * np.diff(np.concatenate(([0.0], at, [horizon])))
    rest = np.cumsum(pieces[::-1])[::-1][1:]  # area from each event time on
    spread = np.divide(d, y * (y - d), out=np.zeros(d.size), where=y > d)
    return float(pieces.sum()), float(np.sqrt((rest**2 * spread).sum()))


def cumulative_incidence(time: ArrayLike, cause: ArrayLike, *, horizon: float) -> float:
    """Return the probability of the event by a horizon where another event may come first (Aalen and Johansen).

    Parameters
    ----------
    time : array of shape (n,)
        Follow-up time.
    cause : array of shape (n,)
        0 censored, 1 the event, 2 what competes with it, such as death before metastasis.
    horizon : float
        In the units of `time`.

    Returns
    -------
    float
        sum S(t-) D1/Y, S the Kaplan-Meier curve of either event. Without any 2 it is one minus Kaplan-Meier.

    Examples
    --------
    >>> cumulative_incidence([1, 2, 3, 4], [2, 1, 0, 1], horizon=3)
    0.25
    """
    cause = np.asarray(cause)
    time, either = checks.survival(time, cause > 0)
    table, of_interest = survival.risk_table(time, either), survival.risk_table(time, cause == 1)
    before = np.concatenate(([1.0], np.cumprod(1 - table.events / table.at_risk)[:-1]))
    return float((before * of_interest.events / table.at_risk)[table.time <= horizon].sum())


def formula_score(patients: pd.DataFrame, formula: str, codes: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    """Return a published formula's value for each patient.

    Parameters
    ----------
    patients
        Clinical columns.
    formula
        Arithmetic on columns, as `pandas.DataFrame.eval` reads it; higher must mean higher risk.
    codes
        Column to level to number, for the columns that hold levels.

    Returns
    -------
    array of shape (n,)

    Raises
    ------
    ValueError
        A level without a number.

    Examples
    --------
    >>> patients = pd.DataFrame({"stage": ["T3", "T4"], "age": [50, 60]})
    >>> formula_score(patients, "10 * stage + age", {"stage": {"T3": 3, "T4": 4}})
    array([ 80., 100.])
    """
    coded = patients.copy()
    for name, numbers in codes.items():
        coded[name] = pd.to_numeric(patients[name].astype(str).map(numbers))
        if coded[name].isna().any():
            row = int(coded[name].isna().argmax())
            raise ValueError(f"codes must hold every level; found {patients[name].iloc[row]!r} of {name} at row {row}")
    return coded.eval(formula).to_numpy(dtype=float)


def optimism(primary: pd.DataFrame, *, n_boot: int = 200, seed: int) -> pd.DataFrame:
    """Return by how much the primary cohort flatters the statistical stages: Harrell's bootstrap.

    Cox models, baseline and cut-off are fitted again on each resample and judged in it and in the original cohort;
    optimism is the mean difference. The networks are not trained again, so that what they learnt by heart stays in
    both: this is a lower limit of the whole chain's optimism.

    Parameters
    ----------
    primary
        As in `fit_models`.
    n_boot, seed
        Resamples, and what they are drawn from.

    Returns
    -------
    DataFrame
        ``quantity``, ``apparent``, ``optimism``, ``corrected``, ``n_used`` resamples (those with a maximum).
    """

    def both(rows, generator):
        drawn = primary.iloc[rows]
        try:
            models = fit_models(drawn)
            return performance(models, drawn)["estimate"] - performance(models, primary)["estimate"]
        except ValueError:
            return np.full(len(apparent), np.nan)

    apparent = performance(fit_models(primary), primary)
    found = resample.refit_bootstrap(both, len(primary), n_boot=n_boot, seed=seed)
    mean = np.nanmean(found, axis=0)
    return pd.DataFrame(
        {
            "quantity": apparent["quantity"],
            "apparent": apparent["estimate"],
            "optimism": mean,
            "corrected": apparent["estimate"] - mean,
            "n_used": np.isfinite(found).sum(axis=0),
        }
    )


def control_folder(run_dir: str | Path, name: str) -> Path:
    """Return the folder of one control; it names patients, so it lies under `interim/`."""
    return resolve(run_dir) / "interim" / "controls" / name


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    with whole_file(path) as partial:
        frame.to_csv(partial, index=False)


def prepare_control(
    run_dir: str | Path,
    base_dir: str | Path,
    cohort_dir: str | Path,
    name: str,
    fold: list[int] | None = None,
    signal: float | None = None,
    altered: str | None = None,
    seed: int = simulate.DEFAULT_SEED,
) -> None:
    """Write what notebook 03 trains one control on: `patients.csv` and, but for a signal, `boxes.csv`.

    Parameters
    ----------
    run_dir
        The run of the controls; the files go to its `control_folder`.
    base_dir
        A finished run, whose patients and boxes the control starts from.
    cohort_dir
        The base run's cohort folder.
    name
        The control's name.
    fold : [number, of how many], optional
        Patients of this part of the primary cohort are called validation, so that the network does not learn from
        them; parts are drawn within those with, without and with unknown metastasis by the horizon.
    signal
        Render the cohort's phantoms anew, with images that know so much (see `simulate.views`).
    altered : {"shuffled", "mask"}, optional
        Boxes made from volumes whose voxels inside the ROI are shuffled, or that hold the ROI's mask and nothing else.
    seed
        Draws folds and shuffles.
    """
    base, folder = resolve(base_dir) / "interim", control_folder(run_dir, name)
    interim = folder / "interim"
    patients = cohort.read_patients(base / "patients.csv")
    if fold:
        outcome = survival.binary_outcome(patients["time_months"], patients["event"], horizon=HORIZON_MONTHS)
        primary = np.flatnonzero((patients["cohort"] == "primary").to_numpy())
        part = folds(np.where(np.isnan(outcome), 2, outcome)[primary], fold[1], seed=seed)
        patients.loc[patients.index[primary[part == fold[0] - 1]], "cohort"] = "validation"
    _write_csv(patients, interim / "patients.csv")
    settings = cohort.read_settings(base_dir)
    cohort.write_settings(settings | ({} if signal is None else {"signal": signal}), folder)
    if signal is not None:
        cohort_folder.write_cohort(folder / "cohort", seed=settings["seed"], signal=signal, jobs=os.cpu_count() or 1)
    elif altered:
        _write_csv(_altered_boxes(resolve(cohort_dir), patients, interim, altered, seed), interim / "boxes.csv")
    else:
        boxes = pd.read_csv(base / "boxes.csv", dtype={"patient_id": str})
        boxes["file"] = [os.path.relpath(base / file, interim) for file in boxes["file"]]
        _write_csv(boxes, interim / "boxes.csv")


def folds(strata: np.ndarray, n_folds: int, *, seed: int) -> np.ndarray:
    """Return each patient's part, 0 to n_folds - 1, parts of each stratum being equal to one patient."""
    part = np.empty(len(strata), dtype=int)
    for value in np.unique(strata):
        rows = np.flatnonzero(np.asarray(strata) == value)
        part[stream(seed, "folds", str(value)).permutation(rows)] = np.arange(rows.size) % n_folds
    return part


def _altered_boxes(cohort_dir: Path, patients: pd.DataFrame, interim: Path, kind: str, seed: int) -> pd.DataFrame:
    from dlrs.config import sha256
    from dlrs.imaging import cropping, volumes

    rows = []
    for patient in patients["patient_id"]:
        for sequence in volumes.SEQUENCES:
            found = volumes.read_sequence(cohort_dir / "images" / patient, sequence)
            volume = found.volume.array.astype(np.float32)
            if kind == "mask":
                volume = found.roi.astype(np.float32)
            elif kind == "shuffled":
                volume[found.roi] = stream(seed, "shuffled", patient, sequence).permutation(volume[found.roi])
            else:
                raise ValueError(f"altered must be mask or shuffled; found {kind!r}")
            path = interim / "boxes" / sequence / f"{patient}.npy"
            with whole_file(path) as partial:
                np.save(partial, cropping.make_box(volume, found.roi).array)
            file = str(path.relative_to(interim))
            rows.append(dict(patient_id=patient, sequence=sequence, file=file, sha256=sha256(path)))
    return pd.DataFrame(rows)


def finish_control(run_dir: str | Path, name: str) -> None:
    """Join a control's two networks into `dl_prob.csv`, and drop what is large: networks, boxes, volumes."""
    folder = control_folder(run_dir, name)
    interim = folder / "interim"
    patients = cohort.read_patients(interim / "patients.csv")
    t2w, adc = (pd.read_csv(interim / f"prob_{s}.csv", dtype={"patient_id": str}) for s in ("T2W", "ADC"))
    _write_csv(cohort.join_probabilities(patients, t2w, adc), interim / "dl_prob.csv")
    for large in (folder / "models", interim / "boxes", folder / "cohort"):
        shutil.rmtree(large, ignore_errors=True)


def join_folds(run_dir: str | Path, base_dir: str | Path, n_folds: int) -> None:
    """Write the control `crossfit`: no primary patient has a probability from a network that has seen him or her.

    Primary patients get that of the fold that left them out, validation patients that of the base run's networks.
    """
    base = resolve(base_dir) / "interim"
    joined = pd.read_csv(base / "dl_prob.csv", dtype={"patient_id": str}).set_index("patient_id")
    columns = ["t2w_prob", "adc_prob", "dl_prob"]
    for number in range(1, n_folds + 1):
        interim = control_folder(run_dir, f"fold-{number}") / "interim"
        part = pd.read_csv(interim / "dl_prob.csv", dtype={"patient_id": str}).set_index("patient_id")
        left_out = (part["cohort"] == "validation") & (joined["cohort"] == "primary").reindex(part.index)
        joined.loc[part.index[left_out], columns] = part.loc[left_out, columns]
    interim = control_folder(run_dir, "crossfit") / "interim"
    _write_csv(joined.reset_index(), interim / "dl_prob.csv")
    _write_csv(cohort.read_patients(base / "patients.csv"), interim / "patients.csv")
    cohort.write_settings(cohort.read_settings(base_dir), interim.parent)


def taught_by(patients: pd.DataFrame, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return whose outcome each patient's images were taught with when notebook 03 permuted the target.

    Returns
    -------
    rows, of : arrays
        Rows of the primary patients with a known outcome, and for each the row whose outcome was used.
    """
    outcome = survival.binary_outcome(patients["time_months"], patients["event"], horizon=HORIZON_MONTHS)
    rows = np.flatnonzero((patients["cohort"] == "primary").to_numpy() & ~np.isnan(outcome))
    return rows, rows[stream(seed, "permuted target").permutation(rows.size)]


def exchange_images(patients: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Give the images of a control with permuted target to the patients whose outcomes they were taught with.

    Outcomes and clinical factors then belong together, and the images to neither: a study of the whole chain in which
    they know nothing, and in which the networks have learnt what they could by heart. In the validation cohort images
    are exchanged at random.

    Parameters
    ----------
    patients
        A run's patients with the control's probabilities.
    seed
        The control's, with which notebook 03 permuted.
    """
    columns = [name for name in ("t2w_prob", "adc_prob", "dl_prob") if name in patients]
    exchanged, source = patients.copy(), np.arange(len(patients))
    rows, of = taught_by(patients, seed)
    source[of] = rows
    others = np.flatnonzero((patients["cohort"] == "validation").to_numpy())
    source[others] = stream(seed, "exchanged images").permutation(others)
    exchanged[columns] = patients[columns].to_numpy()[source]
    return exchanged


def permuted_controls(run_dir: str | Path) -> pd.DataFrame:
    """Return what each network taught with permuted outcomes came to.

    Returns
    -------
    DataFrame
        ``control``, ``seed``, ``sequence``; ``training_auc`` in the primary cohort against the outcomes that were
        taught, ``auc`` in the validation cohort against the true ones.
    """
    rows = []
    for folder in sorted(control_folder(run_dir, "").glob("permuted-*")):
        if not (folder / "interim" / "patients.csv").is_file():
            continue
        patients, seed = cohort.read_patients(folder / "interim" / "patients.csv"), int(folder.name.split("-")[1])
        outcome = survival.binary_outcome(patients["time_months"], patients["event"], horizon=HORIZON_MONTHS)
        judged = np.flatnonzero((patients["cohort"] == "validation").to_numpy() & ~np.isnan(outcome))
        taught, of = taught_by(patients, seed)
        probs = {}
        for sequence in ("T2W", "ADC"):
            path = folder / "interim" / f"prob_{sequence}.csv"
            if path.is_file():
                table = pd.read_csv(path, dtype={"patient_id": str}).set_index("patient_id")
                probs[sequence] = table.loc[patients["patient_id"], "prob"].to_numpy()
        if len(probs) == 2:
            probs["DL-prob"] = sum(probs.values())
        for sequence, prob in probs.items():
            areas = roc.delong(outcome[of], prob[taught]).auc, roc.delong(outcome[judged], prob[judged]).auc
            rows.append((folder.name, seed, sequence, *areas))
    return pd.DataFrame(rows, columns=["control", "seed", "sequence", "training_auc", "auc"])


def learnt_by_heart(run_dir: str | Path) -> dict[str, float]:
    """Return the shift of each view that gives the training AUC of the permuted controls, for `probabilities`.

    Empty where a sequence has no such control yet.
    """
    found = permuted_controls(run_dir).groupby("sequence")["training_auc"].mean()
    if not {"T2W", "ADC"} <= set(found.index):
        return {}
    return {view: shift_of_auc(found[view.upper()]) for view in LOG_ODDS}


def centre_from_features(run_dir: str | Path, base_dir: str | Path, seed: int = simulate.DEFAULT_SEED) -> None:
    """Predict each patient's centre from the 512 features before the networks' last layer; write `parts/centre.csv`.

    Ridge regression of the centres' indicators on standardised features, judged on patients left out (10 folds).
    """
    from dlrs.imaging import gradcam, resnet, training

    base = resolve(base_dir)
    patients = cohort.read_patients(base / "interim" / "patients.csv")
    rows = []
    for sequence in ("T2W", "ADC"):
        network, _ = resnet.load_model(base / "models" / sequence)
        boxes = training.load_boxes(base / "interim" / "boxes.csv", sequence, patients["patient_id"])
        features = gradcam.features(network, boxes)
        guess = predict_level(features, patients["centre"].to_numpy(), seed=seed)
        rows += [(sequence, of, g) for of, g in zip(patients["centre"], guess, strict=True)]
    _write_csv(pd.DataFrame(rows, columns=["sequence", "centre", "guess"]), resolve(run_dir) / "parts" / "centre.csv")


def predict_level(features: np.ndarray, level: np.ndarray, *, seed: int, n_folds: int = 10, ridge: float = 100.0):
    """Return each row's level as predicted from the rows of other folds, by ridge regression on indicators."""
    names = np.unique(level)
    target = (level[:, None] == names).astype(float)
    part, guess = folds(level, n_folds, seed=seed), np.empty(level.size, dtype=level.dtype)
    for fold in range(n_folds):
        learn, left_out = part != fold, part == fold
        mean, spread = features[learn].mean(axis=0), features[learn].std(axis=0)
        x = (features - mean) / np.where(spread > 0, spread, 1)
        gram = x[learn] @ x[learn].T + ridge * np.eye(learn.sum())
        weights = np.linalg.solve(gram, target[learn] - target[learn].mean(axis=0))
        guess[left_out] = names[(x[left_out] @ x[learn].T @ weights + target[learn].mean(axis=0)).argmax(axis=1)]
    return guess


def null_study(
    run_dir: str | Path, n_replicates: int, jobs: int | None = None, seed: int = simulate.DEFAULT_SEED
) -> None:
    """Write `parts/null.csv`: all findings of many studies whose images know nothing, under both nulls."""
    laws = {"independent": None, "learnt by heart": learnt_by_heart(run_dir) or None}
    frames = [
        replicates(findings, n_replicates, seed=seed, overfit=overfit, n_jobs=jobs or cpu_count()).assign(law=law)
        for law, overfit in laws.items()
        if overfit or law == "independent"
    ]
    _write_csv(pd.concat(frames), resolve(run_dir) / "parts" / "null.csv")


def dial_study(
    run_dir: str | Path, n_replicates: int, jobs: int | None = None, seed: int = simulate.DEFAULT_SEED
) -> None:
    """Write `parts/dial.csv`: all findings of studies whose readers see both views of each signal undimmed."""
    frames = [
        replicates(findings, n_replicates, seed=seed, signal=signal, n_jobs=jobs or cpu_count()).assign(signal=signal)
        for signal in SIGNALS
    ]
    _write_csv(pd.concat(frames), resolve(run_dir) / "parts" / "dial.csv")


def coverage_study(
    run_dir: str | Path,
    n_replicates: int,
    jobs: int | None = None,
    n_boot: int = 200,
    seed: int = simulate.DEFAULT_SEED,
) -> None:
    """Write `parts/coverage.csv`: the printed intervals of many studies beside what they should hold."""
    targets = large_cohorts(10_000, seed=seed, signal=1.0)
    laws = {"honest": None, "learnt by heart": learnt_by_heart(run_dir) or None}
    function = partial(interval_replicate, targets=targets, n_boot=n_boot)
    frames = [
        replicates(function, n_replicates, seed=seed, signal=1.0, overfit=overfit, n_jobs=jobs or cpu_count()).assign(
            law=law
        )
        for law, overfit in laws.items()
        if overfit or law == "honest"
    ]
    _write_csv(pd.concat(frames), resolve(run_dir) / "parts" / "coverage.csv")
