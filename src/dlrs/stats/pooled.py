"""Several sites analysed together from sums: each site's own, what follows from them exactly, and random effects.

All sums depend on the order of follow-up times, not on the times, and are of one site's patients only: an analysis that
is stratified by site compares patients of one site, so that its numbers are sums over the sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import ndtri, stdtrit

from dlrs.stats import checks, cox, decision, survival
from dlrs.stats.pairs import compare_rows

Sums = Mapping[str, float]


class Estimate(NamedTuple):
    """An estimate with its standard error, on the scale on which it is normal."""

    value: float
    se: float


class RandomEffects(NamedTuple):
    """The mean over sites with its limits, the variance between them, and limits for a site yet unseen."""

    mean: float
    se: float
    lower: float
    upper: float
    tau2: float
    i2: float
    prediction_lower: float
    prediction_upper: float


def concordance_sums(time: ArrayLike, event: ArrayLike, prediction: ArrayLike) -> dict[str, float]:
    """Return the sums of which Harrell's C and its standard error are made.

    Parameters
    ----------
    time, event, prediction : arrays of shape (n,)
        As in `concordance.concordance`.

    Returns
    -------
    dict
        Over patients: `comparable` pairs that hold the patient and `balance`, concordant less discordant ones, with
        their squares and product. Each pair is in two patients' sums.
    """
    time, event, prediction = checks.survival_and_prediction(time, event, prediction)
    ones = np.ones(time.size)
    pairs = compare_rows(time, event, prediction, ones, ones, "event_first")
    balance, comparable = 2 * pairs.concordant + pairs.tied - pairs.comparable, pairs.comparable
    return {
        "balance": float(balance.sum()),
        "comparable": float(comparable.sum()),
        "balance_balance": float(balance @ balance),
        "balance_comparable": float(balance @ comparable),
        "comparable_comparable": float(comparable @ comparable),
    }


def concordance_of(sites: Sequence[Sums]) -> Estimate:
    """Return C over all pairs of patients of one site, with the infinitesimal jackknife's standard error.

    Notes
    -----
    Of one site the C and standard error of `concordance.concordance`; of several those of R's
    ``survival::concordance(S ~ x + strata(site), reverse = TRUE)``.
    """
    total = _added(sites)
    d = total["balance"] / total["comparable"]  # Somers' D
    spread = total["balance_balance"] - 2 * d * total["balance_comparable"] + d**2 * total["comparable_comparable"]
    return Estimate((1 + d) / 2, float(np.sqrt(max(spread, 0.0)) / total["comparable"]))


def score_sums(time: ArrayLike, event: ArrayLike, covariate: ArrayLike, *, at: float) -> dict[str, float]:
    """Return the first derivative of Cox's log partial likelihood, and the information, at one coefficient.

    Parameters
    ----------
    time, event, covariate : arrays of shape (n,)
        Follow-up, whether the event was observed, and one number a patient.
    at : float
        The coefficient: 1 for a linear predictor's calibration slope, 0 for a group's log-rank test.
    """
    time, event, covariate = checks.survival_and_prediction(time, event, covariate)
    return dict(zip(("score", "information"), cox.score_and_information(time, event, covariate, at), strict=True))


def score_of(sites: Sequence[Sums], *, at: float) -> tuple[Estimate, survival.Test]:
    """Return the coefficient one Newton step from `at`, and the score test of its being `at`, stratified by site."""
    total = _added(sites)
    estimate = Estimate(at + total["score"] / total["information"], float(total["information"] ** -0.5))
    return estimate, survival.chi2_test(total["score"] ** 2 / total["information"], 1)


def risk_sums(time: ArrayLike, event: ArrayLike, risk: ArrayLike, *, horizon: float) -> dict[str, float]:
    """Return expected and observed (Kaplan-Meier) numbers of patients with the event by a horizon.

    Returns
    -------
    dict
        `expected`, the sum of risks; `observed` = n (1 - KM(horizon)), and Greenwood's `variance` of it.
    """
    time, event = checks.survival(time, event)
    risk, n = checks.risk(risk, time.size), time.size
    at = survival.kaplan_meier(time, event, at=[horizon], extend=True).iloc[0]
    variance = 0.0 if at["survival"] == 0 else float(at["std_err"] ** 2)  # where all had it Greenwood's does not exist
    return {
        "expected": float(risk.sum()),
        "observed": float(n * (1 - at["survival"])),
        "variance": n**2 * variance,
    }


def observed_expected_of(sites: Sequence[Sums]) -> Estimate:
    """Return the log of observed over expected, the predictions taken as fixed."""
    total = _added(sites)
    if not total["observed"] > 0:
        raise ValueError(f"observed must be above 0; found {total['observed']:g}")
    return Estimate(float(np.log(total["observed"] / total["expected"])), total["variance"] ** 0.5 / total["observed"])


def net_benefit_sums(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, *, horizon: float, threshold: float
) -> dict[str, float]:
    """Return n times the net benefit of treating from a threshold on, n times that of treating all, and variances.

    Notes
    -----
    With q the share at high risk and R their risk, NB = q ((1 + w) R - w), w = threshold / (1 - threshold); q is
    binomial and R, given who is at high risk, has Greenwood's variance:
    var NB = ((1 + w) R - w)^2 q (1 - q) / n + q^2 (1 + w)^2 var R.
    """
    time, event = checks.survival(time, event)
    risk, n, w = checks.risk(risk, time.size), time.size, threshold / (1 - threshold)
    curve = decision.decision_curve_censored(time, event, risk, horizon=horizon, thresholds=[threshold])
    benefit = curve.set_index("strategy")["net_benefit"]
    high, found = risk >= threshold, {"n": float(n)}
    for name, strategy, part in (("model", "model", high), ("all", "all", np.ones(n, dtype=bool))):
        q, variance = part.mean(), 0.0
        if q > 0:
            at = survival.kaplan_meier(time[part], event[part], at=[horizon], extend=True).iloc[0]
            gain, greenwood = (1 + w) * (1 - at["survival"]) - w, np.nan_to_num(at["std_err"]) ** 2
            variance = gain**2 * q * (1 - q) / n + (q * (1 + w)) ** 2 * greenwood
        found |= {name: float(n * benefit[strategy]), f"{name}_variance": float(n**2 * variance)}
    return found


def net_benefit_of(sites: Sequence[Sums], strategy: str = "model") -> Estimate:
    """Return the net benefit over all sites' patients, risks at high risk estimated site by site."""
    total = _added(sites)
    return Estimate(total[strategy] / total["n"], total[f"{strategy}_variance"] ** 0.5 / total["n"])


def _added(sites: Sequence[Sums]) -> dict[str, float]:
    if not sites:
        raise ValueError("sites must hold at least one; found none")
    return {name: sum(site[name] for site in sites) for name in sites[0]}


def limits(estimate: Estimate, *, level: float = 0.95) -> tuple[float, float]:
    """Return normal limits."""
    half = float(ndtri(0.5 + checks.coverage(level) / 2)) * estimate.se
    return estimate.value - half, estimate.value + half


def random_effects(sites: Sequence[Estimate], *, level: float = 0.95) -> RandomEffects:
    """Return a random-effects meta-analysis of one estimate a site.

    Parameters
    ----------
    sites
        Two or more, on a scale on which they are near normal: C on the logit scale, ratios as logarithms.
    level : float
        Coverage of both intervals.

    Returns
    -------
    RandomEffects
        `lower` and `upper` are of the mean; the prediction limits are where a further site's true value is expected,
        NaN of fewer than three sites.

    Notes
    -----
    Paule and Mandel's variance between sites, Hartung and Knapp's interval (t with k - 1 degrees of freedom),
    prediction by t with k - 2. Equals R's ``metafor::rma(method = "PM", test = "knha")`` but for the prediction.

    References
    ----------
    Paule RC, Mandel J. J Res Natl Bur Stand 1982;87:377-385. Hartung J, Knapp G. Stat Med 2001;20:3875-3889. Higgins
    JPT et al. J R Stat Soc A 2009;172:137-159. Debray TPA et al. BMJ 2017;356:i6460.
    """
    values, errors = np.array([(site.value, site.se) for site in sites], dtype=float).T
    if values.size < 2 or not (np.isfinite(values).all() and np.isfinite(errors).all() and (errors > 0).all()):
        raise ValueError(f"sites must be two or more estimates with standard errors; found {len(sites)}")
    k, tail = values.size, 0.5 + checks.coverage(level) / 2

    def around(tau2):
        """Return the weights, their mean, and the weighted squares around it."""
        weights = 1 / (errors**2 + tau2)
        mean = float(weights @ values / weights.sum())
        return weights, mean, float(weights @ (values - mean) ** 2)

    q, highest = around(0.0)[2], np.ptp(values) ** 2 * k
    tau2 = float(brentq(lambda tau2: around(tau2)[2] - (k - 1), 0.0, highest, xtol=1e-14)) if q > k - 1 else 0.0
    weights, mean, squares = around(tau2)
    se = float(np.sqrt(squares / (k - 1) / weights.sum()))
    half = stdtrit(k - 1, tail) * se
    further = stdtrit(k - 2, tail) * np.sqrt(tau2 + 1 / weights.sum()) if k > 2 else np.nan
    i2 = max(1 - (k - 1) / q, 0.0) if q > 0 else 0.0
    return RandomEffects(mean, se, mean - half, mean + half, tau2, i2, mean - further, mean + further)
