"""Concordance: how often the patient with the higher prediction has the event first.

A prediction is any score, higher meaning higher risk. Where R packages differ, the default treats ties and the horizon
as the rest of this package does (events before censorings at the same time), and the others are an argument away.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from dlrs.stats import checks, resample, survival
from dlrs.stats.pairs import CELLS, Compared, Difference, compare_rows, difference_of, logit_interval

TiedPredictions = Literal["half", "drop"]
SameTime = Literal["event_first", "skip"]
Interval = Literal["logit", "jackknife", "noether", "conservative"]
MATRIX_ROWS = 5000  # patients up to whom a bootstrap keeps the pairs as a matrix


class Concordance(NamedTuple):
    """Concordance index with its interval; counts are of unordered pairs (of pair weights, when weighted).

    `p` is the two-sided test of C = 0.5. Limits and `p` are NaN where nothing tells how precise C is: a ranking that is
    perfect or perfectly wrong, or fewer than two patients with the event in the pairs. `tied_time` counts pairs of
    events at the same time, which are never comparable, `tied_both` those of them that also have the same prediction;
    they are not in each other.
    """

    c: float
    se: float
    lower: float
    upper: float
    p: float
    concordant: float
    discordant: float
    tied_prediction: float
    tied_time: float
    tied_both: float


class _Counted(NamedTuple):
    c: float
    concordant: float
    discordant: float
    tied: float
    same_time: float
    same_both: float
    balance: np.ndarray  # per row, concordant less discordant pairs that hold it
    comparable: np.ndarray  # per row, comparable pairs that hold it


def _count(pairs: Compared, tied_predictions: TiedPredictions) -> _Counted:
    checks.choice(tied_predictions, "tied_predictions", ("half", "drop"))
    drop = tied_predictions == "drop"
    comparable = pairs.comparable - pairs.tied if drop else pairs.comparable
    # every pair is in the sums of both its rows
    concordant, tied, total = pairs.concordant.sum() / 2, pairs.tied.sum() / 2, comparable.sum() / 2
    discordant = pairs.comparable.sum() / 2 - tied - concordant
    if total <= 0:
        raise ValueError(
            "event must make at least one comparable pair (a patient with the event and one known to be free of it "
            "for longer" + (", with different predictions)" if drop else ")") + "; found none"
        )
    return _Counted(
        c=float((1 + (concordant - discordant) / total) / 2),
        concordant=float(concordant),
        discordant=float(discordant),
        tied=float(tied),
        same_time=pairs.same_time - pairs.same_both,
        same_both=pairs.same_both,
        balance=2 * pairs.concordant + pairs.tied - pairs.comparable,
        comparable=comparable,
    )


def _jackknife(counted: _Counted) -> np.ndarray:
    """Influence of each row on C."""
    total = counted.comparable.sum() / 2
    return (counted.balance - (2 * counted.c - 1) * counted.comparable) / (2 * total)


@checks.aligned
def concordance(
    time: ArrayLike,
    event: ArrayLike,
    prediction: ArrayLike,
    *,
    interval: Interval = "logit",
    tied_predictions: TiedPredictions = "half",
    same_time: SameTime = "event_first",
    level: float = 0.95,
) -> Concordance:
    """Estimate Harrell's concordance index (C-index).

    Of all pairs of patients in which it is known who had the event first, the share in which that patient had the
    higher prediction. 0.5 is chance, 1 a perfect ranking; it says nothing about calibration.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    prediction : array of shape (n,)
        Higher means higher risk. (lifelines and Hmisc expect the opposite.)
    interval : {"logit", "jackknife", "noether", "conservative"}
        "logit": infinitesimal jackknife on the logit scale, with Student's t on as many degrees of freedom as there are
        events in the pairs, less one. "jackknife": the same standard error, normal limits. "noether": Pencina and
        D'Agostino's. "conservative": wider than 95 %, without a standard error (`se` is NaN). The last three are cut
        to [0, 1].
    tied_predictions : {"half", "drop"}
        A pair with equal predictions counts one half, or is left out.
    same_time : {"event_first", "skip"}
        An event and a censoring at the same time are a pair (the censored patient lived longer), or are not.
    level : float
        Coverage of the interval.

    Returns
    -------
    Concordance
        Estimate, standard error, limits, and the counts of pairs.

    Raises
    ------
    ValueError
        On bad arguments, no event, or no comparable pair.

    Notes
    -----
    Two events at the same time are never a pair. C = (concordant + tied/2) / comparable.
    C, standard error and counts equal R's ``survival::concordance(S ~ x, reverse = TRUE)``, with
    ``interval="jackknife"`` the limits too; ``interval="noether",
    same_time="skip"`` equals ``survcomp::concordance.index(outx = FALSE)``, with ``tied_predictions="drop"`` its
    default, and ``interval="conservative"`` its ``method = "conservative"``.
    Coverage in simulated studies: `validity_coverage` of 09d (reports/validity/tables). In the patients that
    a model was fitted on it is less, the estimate being too high there.
    n log n in time, linear in memory.

    References
    ----------
    Harrell et al., Stat Med 1996; Therneau and Watson 2015; Pencina and D'Agostino, Stat Med 2004.

    Examples
    --------
    >>> concordance([5, 8, 9, 12], [1, 1, 0, 0], [0.9, 0.3, 0.4, 0.1]).c
    0.8
    """
    checks.choice(interval, "interval", ("logit", "jackknife", "noether", "conservative"))
    time, event, prediction = checks.survival_and_prediction(time, event, prediction)
    ones = np.ones(time.size)
    counted = _count(compare_rows(time, event, prediction, ones, ones, same_time), tied_predictions)
    if interval == "conservative":
        return _concordance(counted, np.nan, (*_conservative(counted, time.size, level), np.nan))
    se = (_noether_se if interval == "noether" else _jackknife_se)(counted)
    if interval == "logit":
        return _concordance(counted, se, logit_interval(counted.c, se, level, _used_events(event, counted) - 1))
    half = checks.critical_value(level) * se
    if not se or _used_events(event, counted) < 2:
        return _concordance(counted, se, (np.nan, np.nan, np.nan))
    p = float(2 * ndtr(-abs(counted.c - 0.5) / se))
    return _concordance(counted, se, (max(counted.c - half, 0.0), min(counted.c + half, 1.0), p))


def _used_events(event: np.ndarray, counted: _Counted) -> int:
    """Count the patients with the event who are in a comparable pair."""
    return int((event & (counted.comparable > 0)).sum())


def _concordance(counted: _Counted, se: float, limits: tuple[float, float, float]) -> Concordance:
    return Concordance(
        counted.c,
        float(se),
        *limits,
        counted.concordant,
        counted.discordant,
        counted.tied,
        counted.same_time,
        counted.same_both,
    )


def _jackknife_se(counted: _Counted) -> float:
    return float(np.sqrt((_jackknife(counted) ** 2).sum()))


def _noether_se(counted: _Counted) -> float:
    n = counted.balance.size
    # half of each tied pair goes to either side, none of it when ties are dropped
    c, e = (counted.comparable + counted.balance) / 2, (counted.comparable - counted.balance) / 2
    pc, pd_ = c.sum() / (n * (n - 1)), e.sum() / (n * (n - 1))
    triples = n * (n - 1) * (n - 2)
    pcc, pdd, pcd = (c @ (c - 1)) / triples, (e @ (e - 1)) / triples, (c @ e) / triples
    v = 4 / (pc + pd_) ** 4 * (pd_**2 * pcc - 2 * pc * pd_ * pcd + pc**2 * pdd)
    return float(np.sqrt(max(v, 0.0) / n))


def _conservative(counted: _Counted, n: int, level: float) -> tuple[float, float]:
    z = checks.critical_value(level)
    w = 2 * z**2 * (n - 1) / counted.comparable.sum()
    middle, spread = w + 2 * counted.c, np.sqrt(w**2 + 4 * w * counted.c * (1 - counted.c))
    return max((middle - spread) / (2 * (1 + w)), 0.0), min((middle + spread) / (2 * (1 + w)), 1.0)


@checks.aligned
def uno_concordance(
    time: ArrayLike, event: ArrayLike, prediction: ArrayLike, *, horizon: float | None = None, level: float = 0.95
) -> Concordance:
    """Estimate Uno's concordance index, which does not depend on how patients were lost.

    Harrell's C drifts with the censoring; here each pair is weighted up by the chance that its earlier patient was
    still under observation, so that cohorts with different follow-up can be compared.

    Parameters
    ----------
    time, event, prediction : arrays of shape (n,)
        As in `concordance`.
    horizon : float, optional
        Only pairs whose earlier event is at or before it count: the C up to the horizon. Use one where the weights
        grow large towards the end of follow-up.
    level : float
        Coverage of the interval.

    Returns
    -------
    Concordance
        Counts are sums of pair weights.

    Notes
    -----
    Pair weight 1/G(T_i-)^2, G the censoring curve with events first; ties as in `concordance`. Equals R's
    ``survival::concordance(S ~ x, reverse = TRUE, timewt = "n/G2", ymax = horizon)``. The standard error
    (infinitesimal jackknife) treats G as known.

    References
    ----------
    Uno et al., Stat Med 2011.

    Examples
    --------
    >>> uno_concordance([5, 8, 9, 12], [1, 0, 1, 0], [0.9, 0.3, 0.4, 0.1]).c
    1.0
    """
    time, event, prediction = checks.survival_and_prediction(time, event, prediction)
    weight = survival.censoring_survival(time, event, time, before=True) ** -2.0
    if horizon is not None:
        weight = np.where(time <= checks.horizon(time, event, horizon), weight, 0.0)
    counted = _count(compare_rows(time, event, prediction, weight, np.ones(time.size), "event_first"), "half")
    se, used = _jackknife_se(counted), _used_events(event & (weight > 0), counted)
    return _concordance(counted, se, logit_interval(counted.c, se, level, used - 1))


@checks.aligned
def compare_concordance(
    time: ArrayLike,
    event: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    method: Literal["jackknife", "survcomp"] = "jackknife",
    level: float = 0.95,
) -> Difference:
    """Compare the concordance of two predictions on the same patients.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    a, b : arrays of shape (n,)
        The two predictions, higher meaning higher risk.
    method : {"jackknife", "survcomp"}
        "jackknife" (default): Harrell's C of each, and the covariance of the two from their influence on every
        patient; a z test. "survcomp": ``cindex.comp`` of R's survcomp, a t test with n - 1 df on C without
        tied predictions, which takes Spearman's correlation of the *predictions* for that of the C; R reports its
        **one-sided** P only, here `p_one_sided`, beside its two-sided twin `p`.
    level : float
        Coverage of the interval of the difference.

    Returns
    -------
    Difference
        C(a) - C(b); without error and P (jackknife) where a single event is in the pairs. For a paired bootstrap see
        `concordance_bootstrap`.

    Notes
    -----
    "jackknife" equals the joint covariance of R's ``survival::concordance(fitA, fitB)``.
    Coverage in simulated studies: `validity_coverage` of 09d (reports/validity/tables).

    References
    ----------
    Therneau and Watson 2015; Haibe-Kains et al., Bioinformatics 2008.
    """
    checks.choice(method, "method", ("jackknife", "survcomp"))
    time, event, a = checks.survival_and_prediction(time, event, a, "a")
    b = checks.prediction(b, time.size, "b")
    ones = np.ones(time.size)
    same_time, ties = ("event_first", "half") if method == "jackknife" else ("skip", "drop")
    counted = [_count(compare_rows(time, event, x, ones, ones, same_time), ties) for x in (a, b)]
    if method == "jackknife":
        influence = np.column_stack([_jackknife(k) for k in counted])
        if _used_events(event, counted[0]) < 2 and counted[0].c != counted[1].c:
            influence *= np.nan
        return difference_of(counted[0].c, counted[1].c, influence.T @ influence, level)
    se = np.array([_noether_se(k) for k in counted])
    from dlrs.stats import groups  # brings scipy's statistics, which nothing else here needs

    rho = groups.spearman(a, b).rho
    correlation = np.array([[1.0, rho], [rho, 1.0]])
    out = difference_of(counted[0].c, counted[1].c, correlation * np.outer(se, se), level, df=time.size - 1)
    # survcomp gives up when the two rankings are the same or each other's mirror
    return out._replace(p_one_sided=1.0, p=1.0) if abs(rho) >= 1 - 1e-12 else out


@checks.aligned
def concordance_bootstrap(
    time: ArrayLike,
    event: ArrayLike,
    predictions: ArrayLike,
    weights: ArrayLike,
) -> np.ndarray:
    """Compute Harrell's C of several models in many bootstrap samples at once, paired across models.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    predictions : array of shape (n, m) or (n,)
        One column a model, higher meaning higher risk.
    weights : array of shape (B, n)
        How often each patient was drawn, one row a bootstrap sample (``resample.bootstrap_weights``); any
        non-negative weights do.

    Returns
    -------
    array of shape (B, m)
        C per sample and model, ties as in `concordance` by default; differences between columns are paired. NaN in a
        sample without a comparable pair.

    Notes
    -----
    A patient drawn twice makes no pair with itself. The pairs of the original patients are compared once; each
    sample is then a quadratic form in its weights. Above some 5,000 patients it counts each sample with the n log n
    scan of `concordance` instead, so that memory stays linear.
    """
    time, event = checks.survival(time, event)
    predictions = np.ma.asanyarray(predictions)
    if predictions.ndim not in (1, 2) or predictions.shape[0] != time.size:
        raise ValueError(
            f"predictions must have one row per row of time ({time.size}); found shape {predictions.shape}"
        )
    columns = predictions.reshape(time.size, -1).T
    models = [checks.prediction(x, time.size, f"predictions[:, {k}]") for k, x in enumerate(columns)]
    weights = resample.check_weights(weights, time.size)
    by = _bootstrap_matrix if time.size <= MATRIX_ROWS else _bootstrap_scan
    concordant, comparable = by(time, event, models, weights)
    with np.errstate(invalid="ignore"):
        return np.where(comparable > 0, concordant / comparable, np.nan)


def _bootstrap_matrix(time, event, models, weights):
    """Weigh concordant and comparable pairs of every sample by matrix products, shape (B, m) each."""
    concordant = np.zeros((weights.shape[0], len(models)))
    comparable = np.zeros((weights.shape[0], 1))
    rows = np.flatnonzero(event)
    for block in np.array_split(rows, rows.size * time.size // CELLS + 1):
        later = (time > time[block, None]) | ((time == time[block, None]) & ~event)
        drawn = weights[:, block]
        comparable[:, 0] += np.einsum("bj,bj->b", drawn @ later.astype(float), weights)
        for k, x in enumerate(models):
            win = ((x[block, None] > x) & later) + 0.5 * ((x[block, None] == x) & later)
            concordant[:, k] += np.einsum("bj,bj->b", drawn @ win, weights)
    return concordant, comparable


def _bootstrap_scan(time, event, models, weights):
    """Weigh the same pairs by one scan over the sorted patients a sample and model."""
    concordant, comparable = np.empty((2, weights.shape[0], len(models)))
    for k, x in enumerate(models):
        for b, w in enumerate(weights):
            pairs = compare_rows(time, event, x, w, w, "event_first")
            concordant[b, k] = pairs.concordant.sum() / 2 + pairs.tied.sum() / 4
            comparable[b, k] = pairs.comparable.sum() / 2
    return concordant, comparable
