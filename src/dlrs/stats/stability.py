"""How far a Cox model depends on the sample that it was fitted on: optimism and instability by refits on resamples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dlrs.stats import calibration, checks, concordance, cox, resample


class Refits(NamedTuple):
    """What refits on bootstrap resamples say of the original patients; NaN where a resample allows no fit.

    `risk` (B, n) is each patient's risk at the horizon by each refit; `optimism` (B, 2) by how much C-index and
    calibration slope of a refit are better in its own resample than in the original patients.
    """

    risk: np.ndarray
    optimism: np.ndarray


@checks.aligned
def refit_cox(
    time: ArrayLike, event: ArrayLike, covariates: ArrayLike | pd.DataFrame, *, horizon: float, n_boot: int, seed: int
) -> Refits:
    """Fit a Cox model again on bootstrap resamples of its patients and apply each refit to the original patients.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up of the patients that the model is fitted on.
    covariates : DataFrame or array of shape (n, p)
        The model's columns (`cox.design`); which of them are in the model is not decided again.
    horizon : float
        Time of the risks.
    n_boot, seed
        Resamples, and what they are drawn from.

    Returns
    -------
    Refits
        The apparent value less the mean optimism is Harrell's optimism-corrected one. A covariate that was itself
        fitted on these patients, such as a network's probability, is taken as it is: its own optimism stays in.

    References
    ----------
    Harrell FE, Lee KL, Mark DB. Stat Med 1996;15:361-387. Riley RD, Collins GS. Biom J 2023;65:2200302.
    """
    time, event = checks.survival(time, event)
    x, _ = checks.columns(covariates, time.size)
    checks.inside(horizon, "horizon", 0, np.inf)

    def performance(lp, rows):
        c = concordance.concordance(time[rows], event[rows], lp[rows]).c
        return np.array([c, calibration.calibration_slope(time[rows], event[rows], lp[rows]).slope])

    def refitted(rows):
        lp = x @ cox.cox_fit(time[rows], event[rows], x[rows]).coefficients
        baseline = cox.baseline_hazard(time[rows], event[rows], lp[rows])
        return np.append(cox.risk_at(lp, baseline, horizon), performance(lp, rows) - performance(lp, slice(None)))

    def once(rows, generator):
        with np.errstate(over="ignore", invalid="ignore"):  # a separated resample runs off before it is refused
            found, _ = checks.estimate_or_reason(refitted, rows)
        return np.full(time.size + 2, np.nan) if found is None else found

    found = resample.refit_bootstrap(once, time.size, n_boot=n_boot, seed=seed)
    return Refits(found[:, :-2], found[:, -2:])


def instability(
    risk: ArrayLike, refits: ArrayLike, *, cutoff: float | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Measure how much each patient's risk depends on the sample that the model was fitted on.

    Parameters
    ----------
    risk : array of shape (n,)
        By the model itself.
    refits : array of shape (B, n)
        By its refits (`refit_cox`), or by models of other training seeds; rows of NaN are left out.
    cutoff : float, optional
        Above it a patient is at high risk.
    level : float
        Of the interval of a patient's risks.

    Returns
    -------
    DataFrame
        A row a patient: ``risk``, ``lower`` and ``upper`` (percentiles over refits), ``mape`` (mean absolute difference
        of refits and model, in units of risk; its mean over patients is the model's), ``reclassified`` (share of refits
        that put the patient on the other side of the cut-off; NaN without one).

    References
    ----------
    Riley RD, Collins GS. Biom J 2023;65:2200302, sections 3 and 4.

    Examples
    --------
    >>> found = instability([0.2, 0.5], [[0.1, 0.6], [0.3, 0.4]], cutoff=0.45)
    >>> found["mape"].round(3).tolist(), found["reclassified"].tolist()
    ([0.1, 0.1], [0.0, 0.5])
    """
    risk = checks.risk(risk, None)
    refits = np.asarray(refits, dtype=float)
    if refits.ndim != 2 or refits.shape[1] != risk.size:
        raise ValueError(f"refits must have a row a refit and a column a patient ({risk.size}); found {refits.shape}")
    refits = refits[np.isfinite(refits).all(axis=1)]
    if not len(refits):
        raise ValueError("refits must hold at least one model; found none")
    checks.risk(refits.ravel(), None, "refits")
    limits, other = resample.interval(refits, level=level), np.full(risk.size, np.nan)
    if cutoff is not None:
        checks.number(cutoff, "cutoff")
        other = ((refits > cutoff) != (risk > cutoff)).mean(axis=0)
    columns = dict(risk=risk, lower=limits.lower, upper=limits.upper, mape=np.abs(refits - risk).mean(axis=0))
    return pd.DataFrame(columns | {"reclassified": other})
