"""Simulated studies by the thousand: the analysis of notebooks 04 to 06 repeated on data of a known truth.

A simulated study has a clinical table and a probability per patient, no images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import chdtrc, expit, logit, ndtr, ndtri
from scipy.stats import binom, binomtest

from dlrs import cohort, multiverse
from dlrs.config import stream
from dlrs.stats import calibration, checks, concordance, cox, decision, reclassification, resample, roc, survival
from dlrs.synthetic import simulate

VIEWS = ("t2w", "adc")
JUDGED = ("Nomogram", "Clinical", "DLRS")
# The sound test of added value: neither the clinical model nor the networks were fitted on these patients.
ADDED_VALUE = "DL-prob added to the clinical linear predictor, likelihood ratio"
CHUNK = 100  # studies drawn at once; part of what a replicate's numbers depend on, unlike the number of workers
LogOdds = Mapping[str, tuple[float, float]]  # of each view: mean, standard deviation


def log_odds(probabilities: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of each network's log odds in the validation cohort, for `probabilities`.

    Parameters
    ----------
    probabilities
        A run's `dl_prob.csv`: ``cohort``, ``t2w_prob``, ``adc_prob``. Patients whom the networks were trained on are
        left out: `overfit` describes what is particular to them.
    """
    unseen = probabilities[probabilities["cohort"] == "validation"]
    scales = {view: logit(unseen[f"{view}_prob"].to_numpy(float)) for view in VIEWS}
    return {view: (float(values.mean()), float(values.std(ddof=1))) for view, values in scales.items()}


def probabilities(
    study: pd.DataFrame,
    log_odds: LogOdds,
    *,
    overfit: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Return DL-prob of a simulated study: each view on the scale of a network's probability, summed.

    Parameters
    ----------
    study
        From `simulate.draw_studies`: `t2w_view`, `adc_view`, `cohort`, `time_months`, `event`.
    log_odds : mapping of `t2w` and `adc` to mean and standard deviation
        The scale of each network's log odds, as the function `log_odds` takes it from a run; a view has mean 0, SD 1.
    overfit : mapping of `t2w` and `adc` to a shift, optional
        By how many standard deviations of a view the primary patients with metastasis within 36 months are moved up, as
        overfitted networks move the patients that they were trained on. See `shift_of_auc`. Validation patients, and
        primary ones without or with unknown metastasis, stay where they are.

    Returns
    -------
    array of shape (n,)
        In [0, 2], higher meaning higher risk.
    """
    return sum(view_probabilities(study, log_odds, overfit=overfit).values())


def view_probabilities(
    study: pd.DataFrame,
    log_odds: LogOdds,
    *,
    overfit: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray]:
    """Return the probability of each view, whose sum `probabilities` is; arguments as there."""
    early = study["event"].to_numpy(bool) & (study["time_months"].to_numpy() <= simulate.HORIZON_MONTHS)
    moved = early & (study["cohort"] == "primary").to_numpy()
    return {
        view: expit(mean + sd * (study[f"{view}_view"].to_numpy() + (overfit or {}).get(view, 0.0) * moved))
        for view, (mean, sd) in log_odds.items()
    }


def best_reader(latents: pd.DataFrame, *, signal: float) -> np.ndarray:
    """Return the expected latent risk given both views at this signal strength: the best possible prediction.

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


def overfit_shifts(permuted: pd.DataFrame) -> dict[str, float]:
    """Return the shift of each view that gives the mean training AUC of the permuted controls.

    Parameters
    ----------
    permuted
        From `chain.permuted_controls`: ``sequence``, ``training_auc``.

    Returns
    -------
    dict
        For `probabilities`; empty where a sequence has no such control yet.
    """
    found = permuted.groupby("sequence")["training_auc"].mean()
    if not {"T2W", "ADC"} <= set(found.index):
        return {}
    return {view: shift_of_auc(found[view.upper()]) for view in VIEWS}


def shifts_of_c(
    c: Mapping[str, float] | float, *, seed: int, log_odds: LogOdds | None = None, n: int = 10_000
) -> dict[str, float]:
    """Return the shift of each view that gives uninformative scores this C-index in the primary cohort.

    Parameters
    ----------
    c : mapping of `t2w` and `adc` to a C-index, or one C-index
        Such as those that a paper prints for the patients of the training. A single one is that of DL-prob, both views
        moved alike.
    seed, n
        Of the large primary cohort in which it is solved for.
    log_odds
        As in `probabilities`, for the C-index of DL-prob.
    """
    drawn = by_cohort(simulate.draw_studies(seed, 1, n_primary=n, n_validation=2, signal=0.0))["primary"]
    time, event = checks.survival(drawn["time_months"], drawn["event"])
    early = event & (time <= simulate.HORIZON_MONTHS)

    def solve(score, wanted):
        def missing(shift):
            return concordance.concordance(time, event, score(shift)).c - wanted

        if missing(20.0) < 0:
            raise ValueError(
                f"c must be reached by moving up the patients with early metastasis; found {wanted:g}, above "
                f"{missing(20.0) + wanted:.3f}, which is reached when all of them have the highest scores"
            )
        return float(brentq(missing, 0.0, 20.0, xtol=1e-3))

    if isinstance(c, Mapping):
        return {view: solve(lambda shift, v=view: drawn[f"{v}_view"] + shift * early, c[view]) for view in c}
    shift = solve(lambda shift: probabilities(drawn, log_odds, overfit=dict.fromkeys(VIEWS, shift)), c)
    return dict.fromkeys(VIEWS, shift)


class Design(NamedTuple):
    """The choices of notebooks 03 to 06 that are repeated on every simulated study."""

    clinical: Sequence[str]  # factors of the clinical model
    horizon_months: float  # at which risks and outcomes are taken
    times_months: Sequence[float] = ()  # times of the AUC, for `performance`
    threshold: float = np.nan  # risk at which net benefit, sensitivity and specificity are judged
    thresholds: Sequence[float] = ()  # risks at which net benefit has an interval, for `performance`
    n_boot: int = 0  # resamples behind a bootstrap P value or interval

    @property
    def models(self) -> dict[str, tuple[str, ...]]:
        """The terms of each Cox model."""
        alone = {"DLRS": ("dl_prob",), "T2W": ("t2w_prob",), "ADC": ("adc_prob",)}
        return {"Nomogram": (*self.clinical, "dl_prob"), "Clinical": tuple(self.clinical), **alone}


def _names(terms: Sequence[str]) -> list[str]:
    """Return the names of a model's columns, a factor's levels against its first; see `cox.columns_named`."""
    return [name for term in terms for name in [f"{term}[T.{x}]" for x in cohort.LEVELS.get(term, ())[1:]] or [term]]


class Model(NamedTuple):
    """A Cox model of the primary cohort, ready to be applied."""

    fit: cox.CoxFit
    baseline: pd.DataFrame


class Models(NamedTuple):
    """What notebooks 04 and 05 fit on the primary cohort."""

    cox: dict[str, Model]
    cutoff: float  # Youden's, on DL-prob
    design: Design


def fit_models(primary: pd.DataFrame, design: Design) -> Models:
    """Fit the study's Cox models (Efron's ties) and cut-off on the primary cohort, as notebooks 04 and 05 do.

    Parameters
    ----------
    primary
        `time_months`, `event`, `dl_prob` and the clinical factors.
    design
        The clinical factors, and the horizon of the cut-off.

    Raises
    ------
    ValueError
        Where a model has no maximum, as when a factor's level has no event.
    """
    time, event = checks.survival(primary["time_months"], primary["event"])
    models = {}
    for name, terms in design.models.items():
        if not set(terms) <= set(primary.columns):  # a simulated study has no probability of each sequence
            continue
        x = pd.DataFrame(cox.columns_named(_names(terms), primary), columns=_names(terms))
        fit = cox.cox_fit(time, event, x, tolerance=1e-9)
        models[name] = Model(fit, cox.baseline_hazard(time, event, x.to_numpy() @ fit.coefficients))
    outcome = survival.binary_outcome(time, event, horizon=design.horizon_months)
    known = ~np.isnan(outcome)
    cutoff = roc.youden_cutoff(outcome[known], primary["dl_prob"].to_numpy()[known]).threshold
    return Models(models, cutoff, design)


class Judged(NamedTuple):
    """One cohort with the models' predictions."""

    time: np.ndarray
    event: np.ndarray
    outcome: np.ndarray  # by the horizon, NaN where unknown
    dl_prob: np.ndarray
    lp: dict[str, np.ndarray]
    risk: dict[str, np.ndarray]  # by the horizon


def judge(models: Models, patients: pd.DataFrame, *, horizon: float | None = None) -> Judged:
    """Apply the models to a cohort, refitting nothing, at the design's horizon or another."""
    horizon = models.design.horizon_months if horizon is None else horizon
    time, event = checks.survival(patients["time_months"], patients["event"])
    lp = {name: cox.columns_named(m.fit.names, patients) @ m.fit.coefficients for name, m in models.cox.items()}
    risk = {name: cox.risk_at(lp[name], m.baseline, horizon) for name, m in models.cox.items()}
    outcome = survival.binary_outcome(time, event, horizon=horizon)
    return Judged(time, event, outcome, patients["dl_prob"].to_numpy(), lp, risk)


def by_cohort(study: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the study's two cohorts by name."""
    return {name: study[(study["cohort"] == name).to_numpy()] for name in simulate.COHORTS}


def findings(study: pd.DataFrame, generator: np.random.Generator, *, design: Design) -> pd.DataFrame:
    """Return every test by which the paper, or a reader, may call the images informative, on one study.

    Parameters
    ----------
    study
        Both cohorts with `dl_prob`: simulated, or a run's patients.
    generator
        Of the paired bootstrap of the difference of two C-indices.
    design
        Clinical factors, horizon, threshold and resamples.

    Returns
    -------
    DataFrame
        ``finding``, ``cohort``, ``sides`` of the test (0: none), ``estimate`` (positive: in favour of the images),
        ``p``. NRI and IDI are those of notebook 06, in the evaluable; `survcomp` is the one-sided test that the paper
        probably used; log-rank compares the groups of Youden's cut-off, chosen on the primary cohort; net benefit is at
        the threshold. NaN where a cohort does not allow the test.
    """
    groups = by_cohort(study)
    models = fit_models(groups["primary"], design)
    nomogram, clinical = (models.cox[name].fit for name in ("Nomogram", "Clinical"))
    p = chdtrc(1, 2 * (nomogram.log_likelihood - clinical.log_likelihood))
    rows = [("DL-prob in the Cox model, likelihood ratio", "primary", 2, nomogram.coefficients[-1], p)]
    for name, group in groups.items():
        judged = judge(models, group)
        rows += [(finding, name, *values) for finding, *values in _findings(judged, models, generator)]
        if name == "validation":
            rows.append((ADDED_VALUE, name, 2, *_added_value(judged)))
    return pd.DataFrame(rows, columns=["finding", "cohort", "sides", "estimate", "p"])


def _added_value(j: Judged) -> tuple[float, float]:
    """Return the log hazard ratio of DL-prob next to the clinical linear predictor, and P; NaN without a maximum."""
    try:
        added = cox.added_value(j.time, j.event, j.lp["Clinical"], j.dl_prob)
    except ValueError:  # few events of few patients, separated by one of the two
        return np.nan, np.nan
    return float(np.log(added.hr)), added.p


def _findings(j: Judged, models: Models, generator: np.random.Generator):
    design = models.design
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
        weights = resample.bootstrap_weights(j.time.size, design.n_boot, seed=generator)
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
    ones = np.ones((1, j.time.size))
    benefit = {name: _net_benefit(j, name, ones, [design.threshold], design)[0, 0] for name in ("Nomogram", "Clinical")}
    yield "Net benefit, Nomogram above clinical", 0, benefit["Nomogram"] - benefit["Clinical"], np.nan


def _normal_p(value: float, se: float) -> float:
    return float(2 * ndtr(-abs(value / se))) if se > 0 else np.nan


def _net_benefit(
    j: Judged, name: str, weights: np.ndarray, thresholds: ArrayLike, design: Design, quantity: str = "net_benefit"
) -> np.ndarray:
    options = dict(horizon=design.horizon_months, thresholds=thresholds, quantities=[quantity])
    return decision.decision_curve_censored_bootstrap(j.time, j.event, j.risk[name], weights, **options)[quantity]


def performance(
    models: Models, patients: pd.DataFrame, *, n_boot: int = 0, seed: int | np.random.Generator = 0
) -> pd.DataFrame:
    """Return the performance of fitted models in a cohort, each number with the 95% interval that the study prints.

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
        weighting and influence function; AUC, DeLong (these three on the logit scale with Student's t);
        NRI, IDI, calibration slope, Wald; net benefit and its parts,
        percentile bootstrap. `09d_interval_coverage` reports in how many simulated studies they cover the fitted
        model's value: nominal 95%, less for AUC(t) in 65 patients, and for every measure of a fitted model in the
        patients that it was fitted on (`reports/validity/tables/validity_coverage.csv`).
    """
    rows = _performance(judge(models, patients), models.design, n_boot, seed)
    return pd.DataFrame(rows, columns=["quantity", "estimate", "lower", "upper"])


def _performance(j: Judged, design: Design, n_boot: int, seed):
    data, known = (j.time, j.event), ~np.isnan(j.outcome)
    for name in JUDGED:
        c = concordance.concordance(*data, j.lp[name])
        yield f"C-index, {name}", c.c, c.lower, c.upper
    d = concordance.compare_concordance(*data, j.lp["Nomogram"], j.lp["Clinical"])
    yield "Difference of C-indices, Nomogram less Clinical", d.difference, d.lower, d.upper
    c = concordance.uno_concordance(*data, j.lp["Nomogram"], horizon=design.horizon_months)
    yield "Uno's C, Nomogram", c.c, c.lower, c.upper
    for r in roc.time_dependent_auc(*data, j.lp["DLRS"], times=design.times_months).itertuples():
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
    ratio = calibration.observed_expected_at(*data, j.risk["Nomogram"], horizon=design.horizon_months)
    yield "Log of observed over expected, Nomogram", ratio.intercept, ratio.lower, ratio.upper
    brier = calibration.brier_score(*data, j.risk["Nomogram"], horizon=design.horizon_months)
    yield "Brier score, Nomogram", brier.brier, brier.lower, brier.upper
    ones = np.ones((1, j.time.size))
    weights = resample.bootstrap_weights(j.time.size, n_boot, seed=seed) if n_boot else None
    for quantity, label in {"net_benefit": "Net benefit", "tpr": "Sensitivity", "fpr": "1 - specificity"}.items():
        thresholds = design.thresholds if quantity == "net_benefit" else (design.threshold,)
        values = _net_benefit(j, "Nomogram", ones, thresholds, design, quantity)[0]
        limits = np.full((2, len(thresholds)), np.nan)
        if n_boot:
            limits = np.array(resample.interval(_net_benefit(j, "Nomogram", weights, thresholds, design, quantity))[:2])
        for threshold, value, lower, upper in zip(thresholds, values, *limits, strict=True):
            yield f"{label} at {100 * threshold:.0f}%, Nomogram", value, lower, upper


def coefficients(models: Models) -> pd.DataFrame:
    """Return the nomogram's log hazard ratios with Wald intervals, in the columns of `performance`."""
    fit = models.cox["Nomogram"].fit
    table = cox.cox_table(fit)
    half = checks.critical_value(0.95) * table["se"]
    names = [f"Log hazard ratio, {name.split('[T.')[-1].removesuffix(']')}" for name in fit.names]
    return pd.DataFrame(
        dict(quantity=names, estimate=table["coef"], lower=table["coef"] - half, upper=table["coef"] + half)
    )


def label(quantity: str) -> str:
    """Return a quantity of `performance` or `coefficients` as tables and figures write it.

    Examples
    --------
    >>> label("Log hazard ratio, Elevated"), label("Log hazard ratio, dl_prob"), label("1 - specificity at 20%")
    ('Log hazard ratio, CEA Elevated', 'Log hazard ratio, DL-prob', '1 − specificity at 20%')
    """
    measure, _, name = quantity.rpartition(", ")
    if measure != "Log hazard ratio":
        return quantity.replace(" - ", " − ")
    factor = next((factor for factor, levels in cohort.LEVELS.items() if name in levels), None)
    return f"{measure}, {f'{cohort.label(factor)} {name}' if factor else cohort.label(name)}"


def optimism(primary: pd.DataFrame, *, design: Design, n_boot: int = 200, seed: int) -> pd.DataFrame:
    """Return the optimism of the statistical stages in the primary cohort, by Harrell's bootstrap.

    Cox models, baseline and cut-off are fitted again on each resample and judged in it and in the original cohort;
    optimism is the mean difference. The networks are not trained again, so that their overfitting is in both: this is
    a lower limit of the whole chain's optimism.

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
            models = fit_models(drawn, design)
            return performance(models, drawn)["estimate"] - performance(models, primary)["estimate"]
        except ValueError:
            return np.full(len(apparent), np.nan)

    apparent = performance(fit_models(primary, design), primary)
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


def _studies(chunk: int, n: int, seed: int, log_odds: LogOdds, overfit: Mapping[str, float] | None, **drawn_with):
    """Yield (replicate, study) of one chunk of simulated studies."""
    drawn = simulate.draw_studies(int(stream(seed, "studies", chunk).integers(2**31)), CHUNK, **drawn_with)
    drawn["dl_prob"] = probabilities(drawn, log_odds, overfit=overfit)
    for number, study in drawn.groupby("study"):
        if number < n:
            yield chunk * CHUNK + number, study.reset_index(drop=True)


def _replicate(function, chunk: int, n: int, seed: int, model: dict) -> list[pd.DataFrame]:
    frames = []
    for replicate, study in _studies(chunk, n, seed, **model):
        try:
            found = function(study, stream(seed, "replicate", replicate))
        except ValueError as error:  # a study that the paper could not have analysed, such as a level without an event
            found = pd.DataFrame({"reason": [str(error)]})
        frames.append(found.assign(replicate=replicate))
    return frames


def replicates(
    function: Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame],
    n_replicates: int,
    *,
    seed: int,
    log_odds: LogOdds,
    signal: float = 0.0,
    overfit: Mapping[str, float] | None = None,
    n_jobs: int = 1,
    **drawn_with,
) -> pd.DataFrame:
    """Apply an analysis to many simulated studies, spread over processes.

    Parameters
    ----------
    function
        Of (study, random generator), with its other arguments bound by `functools.partial`.
    n_replicates
        How many studies; the first of them do not depend on how many there are.
    seed
        Of everything: chunk and replicate have their own streams, so that the result does not depend on `n_jobs`.
    log_odds, signal, overfit
        The data-generating model: scale of the probabilities (`log_odds`), signal strength (`simulate.views`) and
        overfitting (`probabilities`).
    n_jobs
        Processes.
    **drawn_with
        Sizes and `rates` of other studies than the paper's, see `simulate.draw_studies`.

    Returns
    -------
    DataFrame
        What `function` returned, with ``replicate``; where it raised a ValueError one row with its ``reason``.
    """
    model = dict(signal=signal, log_odds=log_odds, overfit=overfit, **drawn_with)
    sizes = [min(CHUNK, n_replicates - done) for done in range(0, n_replicates, CHUNK)]
    tasks = (delayed(_replicate)(function, chunk, n, seed, model) for chunk, n in enumerate(sizes))
    frames = [frame for chunk in Parallel(n_jobs=n_jobs)(tasks) for frame in chunk]
    return pd.concat(frames, ignore_index=True)


def signature_c(study: pd.DataFrame, generator: np.random.Generator | None) -> pd.DataFrame:
    """Return Harrell's C of DL-prob in both cohorts of a study, for `replicates`: ``cohort``, ``c``."""
    groups = by_cohort(study).items()
    c = {name: concordance.concordance(x["time_months"], x["event"], x["dl_prob"]).c for name, x in groups}
    return pd.DataFrame(list(c.items()), columns=["cohort", "c"])


def in_favour(
    study: pd.DataFrame,
    generator: np.random.Generator | None,
    *,
    universes: pd.DataFrame,
    choices: multiverse.Multiverse,
    log_odds: LogOdds | None = None,
    overfit: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Return P of every universe of a multiverse where its estimate is in favour of the images, else 1, in one row.

    Parameters
    ----------
    study
        Both cohorts; without `log_odds` with `t2w_prob`, `adc_prob` and `dl_prob`.
    generator
        Nothing is drawn; as `replicates` hands it on.
    universes
        `multiverse.universes` of each conclusion, with ``conclusion``.
    choices, log_odds, overfit
        The multiverse, and the data-generating model as in `view_probabilities`.

    Returns
    -------
    DataFrame
        A column a universe; 1 where the study does not allow it.
    """
    if log_odds is not None:
        views = view_probabilities(study, log_odds, overfit=overfit)
        study = study.assign(**{f"{name}_prob": values for name, values in views.items()})
    shared, columns = multiverse.Study(study), {}
    for conclusion, frame in universes.groupby("conclusion", sort=False):
        found = multiverse.evaluate(choices, conclusion, shared)
        names = [name for name in choices.conclusions[conclusion]["choices"] if name not in multiverse.FIXED]
        for universe, path in zip(frame["universe"], frame[names].itertuples(index=False, name=None), strict=True):
            estimate, _, _, p = found[path]
            columns[universe] = float(p) if estimate > 0 else 1.0
    return pd.DataFrame([columns]).fillna(1.0)


def search(p: np.ndarray, tried: Sequence[int], *, level: float = 0.05, generator: np.random.Generator) -> pd.DataFrame:
    """Return how often the best of k analyses is significant, and the level at which that is rare enough.

    Parameters
    ----------
    p : array of shape (studies, universes)
        P of each universe in each study, 1 where it is not in favour.
    tried
        Numbers of analyses; those above the universes count as all of them.
    level
        P below it is significant; also the share of studies that a corrected level is to hold.
    generator
        Draws, for every study anew, which analyses are tried; k are among those of a larger number.

    Returns
    -------
    DataFrame
        ``k``; ``some``, the share of studies whose smallest P is below `level`, with exact limits; ``level``, the
        largest P that is smallest in at most that share of studies, with exact limits from the order statistics.
    """
    n, most = p.shape
    smallest = np.minimum.accumulate(generator.permuted(p, axis=1), axis=1)
    ranks = [int(binom.ppf(q, n, level)) for q in (0.025, 0.975)]
    rows = []
    for k in dict.fromkeys(min(k, most) for k in [*tried, most]):
        best = np.sort(smallest[:, k - 1])
        limits = best[[max(int(level * n) - 1, 0), max(ranks[0] - 1, 0), min(ranks[1], n - 1)]]
        rows.append((k, *share((best < level).sum(), n), *limits))
    return pd.DataFrame(rows, columns=["k", "some", "some_lower", "some_upper", "level", "level_lower", "level_upper"])


def share(count: int, n: int) -> tuple[float, float, float]:
    """Return a share with its exact (Clopper and Pearson's) 95% interval; NaN of nobody."""
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
    for keys, of_test in found.dropna(subset=["finding"]).groupby(list(by), sort=False):
        row = dict(zip(by, keys, strict=True))
        defined = of_test[of_test["estimate"].notna() & (of_test["p"].notna() | (of_test["sides"] == 0))]
        significant = defined["p"] < level
        sides = row["sides"]
        row |= dict(n=len(defined), undefined=len(of_test) - len(defined), nominal=level if sides else np.nan)
        up = defined["estimate"] > 0
        counts = dict(
            better=significant & up, worse=significant & ~up & (defined["sides"] == 2), any=significant, positive=up
        )
        for name, hits in counts.items():
            n = len(defined) if sides or name == "positive" else 0
            row |= dict(zip([name, f"{name}_lower", f"{name}_upper"], share(hits.sum(), n), strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


class Targets(NamedTuple):
    """A very large cohort of each kind from the same data-generating model, and what is fitted there."""

    cohorts: dict[str, pd.DataFrame]
    coefficients: pd.Series
    cutoff: float


def large_cohorts(n: int, *, seed: int, signal: float, log_odds: LogOdds, design: Design) -> Targets:
    """Draw the very large cohorts in which a fitted model's value is read off; no network was trained on them."""
    study = simulate.draw_studies(
        int(stream(seed, "large").integers(2**31)), 1, n_primary=n, n_validation=n, signal=signal
    )
    groups = by_cohort(study.assign(dl_prob=probabilities(study, log_odds)))
    models = fit_models(groups["primary"], design)
    return Targets(groups, coefficients(models).set_index("quantity")["estimate"], models.cutoff)


def interval_replicate(
    study: pd.DataFrame, generator: np.random.Generator, *, targets: Targets, design: Design
) -> pd.DataFrame:
    """Return every printed interval of one study with the value that it should cover.

    The target of a model's performance is that of the model as fitted on this study's primary cohort, in the very
    large cohort; of a log hazard ratio or the cut-off, the value fitted in the very large cohort.

    Returns
    -------
    DataFrame
        `performance`'s columns, ``cohort`` and ``target``.
    """
    groups = by_cohort(study)
    models = fit_models(groups["primary"], design)
    frames = []
    for name, group in groups.items():
        found = performance(models, group, n_boot=design.n_boot, seed=generator)
        target = performance(models, targets.cohorts[name])["estimate"]
        frames.append(found.assign(cohort=name, target=target.to_numpy()))
    fitted = coefficients(models)
    frames.append(fitted.assign(cohort="primary", target=targets.coefficients[fitted["quantity"]].to_numpy()))
    frames.append(_cutoff_interval(groups["primary"], models, generator).assign(target=targets.cutoff))
    return pd.concat(frames, ignore_index=True)


def _cutoff_interval(primary: pd.DataFrame, models: Models, generator: np.random.Generator) -> pd.DataFrame:
    horizon = models.design.horizon_months
    outcome = survival.binary_outcome(primary["time_months"], primary["event"], horizon=horizon)
    known = ~np.isnan(outcome)
    outcome, prob = outcome[known], primary["dl_prob"].to_numpy()[known]
    weights = resample.bootstrap_weights(outcome.size, models.design.n_boot, seed=generator)
    again = [roc.youden_cutoff(outcome.repeat(w), prob.repeat(w)).threshold for w in weights]
    limits = resample.interval(again)
    row = dict(quantity="Youden's cut-off on DL-prob", estimate=models.cutoff)
    return pd.DataFrame([row | dict(lower=limits.lower, upper=limits.upper, cohort="primary")])


def coverage(intervals: pd.DataFrame, *, by: Sequence[str] = ("quantity", "cohort")) -> pd.DataFrame:
    """Return how often intervals cover their targets.

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
    for keys, of_quantity in intervals.groupby(list(by), sort=False):
        used = of_quantity[np.isfinite(of_quantity[["estimate", "lower", "upper", "target"]]).all(axis=1)]
        n, below, above = len(used), (used["upper"] < used["target"]).sum(), (used["lower"] > used["target"]).sum()
        value, low, high = share(n - below - above, n)
        rows.append(
            dict(zip(by, keys, strict=True))
            | dict(n=n, undefined=len(of_quantity) - n, coverage=value, coverage_lower=low, coverage_upper=high)
            | dict(
                mc_se=np.sqrt(value * (1 - value) / n) if n else np.nan,
                below=below / max(n, 1),
                above=above / max(n, 1),
            )
            | dict(bias=(used["estimate"] - used["target"]).mean(), width=(used["upper"] - used["lower"]).mean())
        )
    return pd.DataFrame(rows)
