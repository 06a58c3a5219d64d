"""The one bootstrap engine: counts drawn once, shared by every model and statistic that is compared.

A resample of `n` patients is a row of `n` counts: how often each patient was drawn. Statistics
that accept such `weights` of shape (n_boot, n) compute all resamples in a few matrix operations,
and two models given the same weights are compared on the same resampled patients (paired).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dlrs.stats import checks


class Interval(NamedTuple):
    """Percentile limits, and how many resamples they rest on."""

    lower: np.ndarray | float
    upper: np.ndarray | float
    n_used: np.ndarray | int
    n_undefined: np.ndarray | int


def _generator(seed: int | np.random.Generator) -> np.random.Generator:
    """Return a generator; a seed is asked for, so that no statistic draws one by itself."""
    return seed if isinstance(seed, np.random.Generator) else np.random.default_rng(checks.seed(seed))


def bootstrap_weights(n: int, n_boot: int, *, seed: int | np.random.Generator) -> np.ndarray:
    """Return how often each of `n` patients was drawn in each of `n_boot` resamples.

    Give the same matrix to every model and every statistic of one comparison: the resamples are
    then paired, and the interval of a difference takes the models' correlation into account.

    Parameters
    ----------
    n : int
        Number of patients.
    n_boot : int
        Number of resamples.
    seed : int or numpy.random.Generator
        Where the draws come from; a generator is advanced.

    Returns
    -------
    numpy.ndarray of shape (n_boot, n)
        Whole numbers; every row sums to `n`.

    Raises
    ------
    ValueError
        When a count is not positive, or `seed` is no seed.

    References
    ----------
    Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall, 1993, chapter 6.

    Examples
    --------
    >>> bootstrap_weights(5, 3, seed=1).sum(axis=1)
    array([5, 5, 5])
    """
    n, n_boot = checks.whole_number(n, "n"), checks.whole_number(n_boot, "n_boot")
    drawn = _generator(seed).integers(0, n, size=(n_boot, n)) + n * np.arange(n_boot)[:, None]
    return np.bincount(drawn.ravel(), minlength=n_boot * n).reshape(n_boot, n)


def refit_bootstrap(
    refit: Callable[[np.ndarray, np.random.Generator], ArrayLike],
    n: int,
    *,
    n_boot: int = 200,
    seed: int,
) -> np.ndarray:
    """Return what a whole refit gives on `n_boot` resamples.

    For everything that weights cannot carry: variable selection, penalties, cut-offs, optimism.

    Parameters
    ----------
    refit : callable
        ``refit(rows, generator)`` returns numbers, always equally many; `rows` of shape (n,) are
        the drawn patients as positions (repeats included), `generator` is this resample's own.
    n, n_boot
        As in `bootstrap_weights`.
    seed : int
        Each resample gets its own child of this seed (`numpy.random.SeedSequence.spawn`), so the
        first resamples do not depend on how many follow.

    Returns
    -------
    numpy.ndarray of shape (n_boot, ...)
        What `refit` returned, resamples in order. A refit that cannot be made on a resample should
        return NaN: `interval` counts it. An exception stops the whole bootstrap.

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 4.0, 8.0])
    >>> refit_bootstrap(lambda rows, generator: x[rows].max(), 4, n_boot=3, seed=1).shape
    (3,)
    """
    n, n_boot = checks.whole_number(n, "n"), checks.whole_number(n_boot, "n_boot")

    def refit_once(child: np.random.SeedSequence):
        generator = np.random.default_rng(child)
        return refit(generator.integers(0, n, size=n), generator)

    children = np.random.SeedSequence(checks.seed(seed)).spawn(n_boot)
    return np.stack([np.asarray(refit_once(child), dtype=float) for child in children])


def _draws(values: ArrayLike, name: str) -> np.ndarray:
    """Return estimates on resamples as floats, NaN where masked."""
    array = np.ma.asanyarray(values)
    if array.dtype.kind not in "biuf" or array.ndim == 0 or array.shape[0] == 0:
        raise ValueError(f"{name} must hold a number, or a row of numbers, per resample; found {values!r}")
    return np.ma.filled(array.astype(float), np.nan)


def interval(estimates: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return percentile limits of bootstrap estimates, and how many resamples were undefined.

    Parameters
    ----------
    estimates : array of shape (n_boot, ...)
        Of a statistic that takes `bootstrap_weights`, or from `refit_bootstrap`; NaN or infinite where undefined.
    level : float
        Coverage, inside (0, 1).

    Returns
    -------
    Interval
        `lower`, `upper`, `n_used`, `n_undefined`, each of the estimates' shape without the first
        axis. Undefined resamples are left out of the quantiles (type 7, the default of R and NumPy) and counted;
        where all are undefined the limits are NaN and `n_used` is 0.

    References
    ----------
    Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall, 1993, chapter 13.

    Examples
    --------
    >>> interval(np.arange(101.0), level=0.9)[:2]
    (5.0, 95.0)
    """
    values = _draws(estimates, "estimates")
    tail = round((1 - checks.coverage(level)) / 2, 12)  # 0.025, not 0.025 and a bit
    flat = values.reshape(values.shape[0], -1)
    used = np.isfinite(flat)
    limits = np.full((2, flat.shape[1]), np.nan)
    all_used = used.all(axis=0)
    if all_used.any():
        limits[:, all_used] = np.quantile(flat[:, all_used], [tail, 1 - tail], axis=0)
    for column in np.flatnonzero(~all_used & used.any(axis=0)):
        limits[:, column] = np.quantile(flat[used[:, column], column], [tail, 1 - tail])
    n_used = used.sum(axis=0)
    shape = values.shape[1:]
    parts = (limits[0], limits[1], n_used, flat.shape[0] - n_used)
    return Interval(*(part.reshape(shape) if shape else part[0].item() for part in parts))


def two_sided_p(differences: ArrayLike) -> np.ndarray | float:
    """Return a two-sided bootstrap P value of a difference: twice the smaller share beyond zero.

    Parameters
    ----------
    differences : array of shape (n_boot, ...)
        Paired differences between two models on the same resamples; undefined ones are left out.

    Returns
    -------
    float or numpy.ndarray
        ``min(1, 2 (1 + min(#{d <= 0}, #{d >= 0})) / (1 + m))`` with m defined differences: never 0,
        since no number of resamples shows that. 1 where none is defined.

    References
    ----------
    Davison AC, Hinkley DV. Bootstrap Methods and their Application. Cambridge, 1997, section 4.4.

    Examples
    --------
    >>> two_sided_p([0.1, 0.2, 0.3, -0.1])
    0.8
    """
    values = _draws(differences, "differences")
    used = np.isfinite(values)
    beyond = np.minimum((used & (values <= 0)).sum(axis=0), (used & (values >= 0)).sum(axis=0))
    p = np.minimum(1.0, 2 * (1 + beyond) / (1 + used.sum(axis=0)))
    return p if p.ndim else float(p)


def check_weights(weights: ArrayLike, n: int) -> np.ndarray:
    """Return weights as floats of shape (B, n), none negative and no row without a patient, or say what is wrong."""
    array = np.ma.filled(np.ma.asanyarray(weights).astype(float), np.nan)
    if array.ndim != 2 or array.shape[1] != n or array.shape[0] == 0:
        raise ValueError(
            f"weights must have one row per resample and one column per patient ({n}); found {array.shape}"
        )
    for bad, expected in ((~np.isfinite(array), "finite"), (array < 0, "not negative")):
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(f"weights must be {expected}; found {array[row, column]} at row {row}, column {column}")
    if not array.any(axis=1).all():
        raise ValueError(
            f"weights must count a patient in every row; found none in row {int(array.any(axis=1).argmin())}"
        )
    return array


def survival_at(time: np.ndarray, event: np.ndarray, weights: np.ndarray, horizon: float) -> np.ndarray:
    """Return Kaplan-Meier's survival at a horizon on every resample.

    Parameters
    ----------
    time, event : array of shape (n,)
        Follow-up, and whether the event was observed; checked by the caller.
    weights : array of shape (B, n)
        How often each patient counts; all 0 where a group has nobody in a resample.
    horizon : float
        In the units of `time`.

    Returns
    -------
    numpy.ndarray of shape (B,)
        ``prod(1 - D(u) / Y(u))`` over event times u up to the horizon, D and Y weighted, events
        before censorings. Where follow-up ends earlier the last value is carried on (R's
        ``summary(survfit, extend = TRUE)``); NaN where nobody is drawn.

    References
    ----------
    Kaplan EL, Meier P. J Am Stat Assoc 1958;53:457-481.

    Examples
    --------
    >>> survival_at(np.array([1, 2, 3]), np.array([1, 0, 1]), np.array([[1, 1, 2.0], [0, 2, 1]]), horizon=2)
    array([0.75, 1.  ])
    """
    sets = _risk_sets(time, weights, horizon)
    survival = np.prod(1 - sets.leaving(event) / sets.at_risk, axis=1) if sets.rows.size else 1.0
    return np.where(weights.any(axis=1), survival, np.nan)


class _RiskSets(NamedTuple):
    """Patients in the order of their times, how often each was drawn, and who is at risk at each distinct time."""

    rows: np.ndarray
    first: np.ndarray  # of `rows`, the first of each distinct time
    drawn: np.ndarray
    at_risk: np.ndarray  # 1 where nobody is left

    def leaving(self, who: np.ndarray) -> np.ndarray:
        """Count those of whom `who` is true at each distinct time."""
        return np.add.reduceat(self.drawn * who[self.rows], self.first, axis=1)


def _risk_sets(time: np.ndarray, weights: np.ndarray, until: float = np.inf) -> _RiskSets:
    rows = np.flatnonzero(time <= until)
    rows = rows[np.argsort(time[rows], kind="stable")]
    first, drawn = np.flatnonzero(np.diff(time[rows], prepend=-np.inf)), weights[:, rows]
    at_risk = (weights.sum(axis=1, keepdims=True) - np.cumsum(drawn, axis=1) + drawn)[:, first]
    return _RiskSets(rows, first, drawn, np.where(at_risk > 0, at_risk, 1))


def incidence_at(
    time: np.ndarray, event: np.ndarray, competing: np.ndarray | None, weights: np.ndarray, horizon: float
) -> np.ndarray:
    """Return the risk of the event by a horizon on every resample, Aalen-Johansen's where events compete.

    Parameters
    ----------
    time, event, weights, horizon
        As in `survival_at`.
    competing : array of shape (n,) or None
        Whether an event came that excludes the one of interest.

    Returns
    -------
    numpy.ndarray of shape (B,)
        ``sum S(u-) D1(u) / Y(u)``; without competing events one minus `survival_at`.

    Examples
    --------
    >>> time, event, other = np.arange(1.0, 5), np.array([0, 1, 0, 1]) == 1, np.array([1, 0, 0, 0]) == 1
    >>> incidence_at(time, event, other, np.ones((1, 4)), horizon=3)
    array([0.25])
    """
    if competing is None:
        return 1 - survival_at(time, event, weights, horizon)
    sets, risk = _risk_sets(time, weights, horizon), 0.0
    if sets.rows.size:
        of_interest, either = (sets.leaving(cause) / sets.at_risk for cause in (event, event | competing))
        after = np.cumprod(1 - either, axis=1)
        before = np.column_stack([np.ones(len(weights)), after[:, :-1]])
        risk = (before * of_interest).sum(axis=1)
    return np.where(weights.any(axis=1), risk, np.nan)


def censoring_before(time: np.ndarray, event: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return G(T-), the probability of being under observation just before each patient's time, on every resample.

    Parameters
    ----------
    time, event, weights
        As in `survival_at`.

    Returns
    -------
    numpy.ndarray of shape (B, n)
        Kaplan-Meier's estimate for censoring, those with an event at a time having left before the
        censorings at it (``survival.censoring_survival`` with its default ties, weighted).

    Examples
    --------
    >>> censoring_before(np.array([1, 2, 2, 3]), np.array([1, 1, 0, 1]) == 1, np.ones((1, 4)))
    array([[1. , 1. , 1. , 0.5]])
    """
    sets = _risk_sets(time, weights)
    left = sets.at_risk - sets.leaving(event)
    curve = np.ones((len(weights), sets.first.size + 1))
    np.cumprod(1 - sets.leaving(~event) / np.where(left > 0, left, 1), axis=1, out=curve[:, 1:])
    return curve[:, np.searchsorted(time[sets.rows[sets.first]], time)]


def folds(strata: ArrayLike, n_folds: int, *, seed: int | np.random.Generator) -> np.ndarray:
    """Divide patients into folds of equal size, to one patient, within each stratum.

    Parameters
    ----------
    strata : array of shape (n,)
        Values that name each patient's stratum, none missing.
    n_folds : int
        2 or more.

    Returns
    -------
    integer array of shape (n,)
        1 to n_folds.

    Examples
    --------
    >>> np.bincount(folds(np.repeat([0, 1], [10, 4]), 2, seed=1)).tolist()
    [0, 7, 7]
    """
    if n_folds < 2:
        raise ValueError(f"n_folds must be 2 or more; found {n_folds}")
    strata, rng = np.asarray(strata), _generator(seed)
    fold = np.empty(len(strata), dtype=int)
    for value in np.unique(strata):
        rows = np.flatnonzero(strata == value)
        fold[rng.permutation(rows)] = 1 + np.arange(rows.size) % n_folds
    return fold
