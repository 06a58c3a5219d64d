"""The one bootstrap engine: counts drawn once, shared by every model and statistic that is compared.

A resample of `n` patients is a row of `n` counts: how often each patient was drawn. Statistics
that accept such `weights` of shape (n_boot, n) compute all resamples in a few matrix operations,
and two models given the same weights are compared on the same resampled patients (paired).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike

CELLS = 2**24  # counts held at once when no batch size is given: 128 MiB


class Interval(NamedTuple):
    """Percentile limits, and how many resamples they rest on."""

    lower: np.ndarray | float
    upper: np.ndarray | float
    n_used: np.ndarray | int
    n_undefined: np.ndarray | int


def _generator(seed: int | np.random.Generator) -> np.random.Generator:
    """Return a generator; a seed is asked for, so that no statistic draws one by itself."""
    if isinstance(seed, np.random.Generator):
        return seed
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and seed >= 0:
        return np.random.default_rng(int(seed))
    raise ValueError(f"seed must be a non-negative integer or a numpy Generator; found {seed!r}")


def _count(value: int, name: str) -> int:
    """Return `value` as a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a positive whole number; found {value!r}")
    return int(value)


class _Strata(NamedTuple):
    order: np.ndarray | None  # rows sorted by stratum; None when there is one stratum
    first: np.ndarray | int  # place in `order` where the stratum of each drawn place begins
    size: np.ndarray | int  # patients in that stratum


def _strata(n: int, strata: ArrayLike | None) -> _Strata:
    if strata is None:
        return _Strata(None, 0, n)
    labels = np.asarray(strata)
    if labels.shape != (n,):
        raise ValueError(f"strata must have one label per patient ({n}); found shape {labels.shape}")
    _, code = np.unique(labels, return_inverse=True)
    sizes = np.bincount(code)
    sorted_code = np.sort(code)
    return _Strata(np.argsort(code, kind="stable"), (np.cumsum(sizes) - sizes)[sorted_code], sizes[sorted_code])


def _rows(generator: np.random.Generator, n: int, strata: _Strata, n_boot: int) -> np.ndarray:
    """Draw the rows of `n_boot` resamples; the stream does not depend on how many are drawn per call."""
    place = strata.first + generator.integers(0, strata.size, size=(n_boot, n))
    return place if strata.order is None else strata.order[place]


def _weights(generator: np.random.Generator, n: int, strata: _Strata, n_boot: int) -> np.ndarray:
    flat = _rows(generator, n, strata, n_boot) + n * np.arange(n_boot)[:, None]
    return np.bincount(flat.ravel(), minlength=n_boot * n).reshape(n_boot, n)


def bootstrap_weights(
    n: int, n_boot: int, *, seed: int | np.random.Generator, strata: ArrayLike | None = None
) -> np.ndarray:
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
    strata : array of shape (n,), optional
        Labels within which patients are drawn, so that every resample has as many of each (for
        instance events and non-events, or centres).

    Returns
    -------
    numpy.ndarray of shape (n_boot, n)
        Whole numbers; every row sums to `n`.

    Raises
    ------
    ValueError
        When a count is not positive, `strata` has another length, or `seed` is no seed.

    References
    ----------
    Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall, 1993, chapter 6.

    Examples
    --------
    >>> bootstrap_weights(5, 3, seed=1).sum(axis=1)
    array([5, 5, 5])
    """
    n, n_boot = _count(n, "n"), _count(n_boot, "n_boot")
    return _weights(_generator(seed), n, _strata(n, strata), n_boot)


def bootstrap(
    statistic: Callable[[np.ndarray], ArrayLike],
    n: int,
    *,
    n_boot: int = 1000,
    seed: int | np.random.Generator,
    strata: ArrayLike | None = None,
    batch: int | None = None,
) -> np.ndarray:
    """Return a statistic on `n_boot` resamples of `n` patients, a batch of resamples at a time.

    Parameters
    ----------
    statistic : callable
        Maps weights of shape (B, n) to estimates of shape (B,) or (B, ...). Several models at
        once make a paired comparison: return one column per model.
    n, n_boot, seed, strata
        As in `bootstrap_weights`; the resamples are those that it returns for the same seed.
    batch : int, optional
        Resamples computed at once; by default as many as keep the counts under 128 MiB.
        It changes memory and speed, never the result.

    Returns
    -------
    numpy.ndarray of shape (n_boot, ...)
        Estimates; NaN where the statistic is undefined on a resample.

    Raises
    ------
    ValueError
        As `bootstrap_weights`, and when the statistic does not return one row per resample.

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 4.0, 8.0])
    >>> bootstrap(lambda weights: weights @ x / 4, 4, n_boot=3, seed=1).shape
    (3,)
    """
    n, n_boot = _count(n, "n"), _count(n_boot, "n_boot")
    batch = max(1, CELLS // n) if batch is None else _count(batch, "batch")
    generator, drawn_from = _generator(seed), _strata(n, strata)
    parts = []
    for done in range(0, n_boot, batch):
        size = min(batch, n_boot - done)
        estimates = np.asarray(statistic(_weights(generator, n, drawn_from, size)), dtype=float)
        if estimates.ndim == 0 or estimates.shape[0] != size:
            raise ValueError(
                f"statistic must return one row per resample ({size}); found an array of shape {estimates.shape}"
            )
        parts.append(estimates)
    return np.concatenate(parts)


def refit_bootstrap(
    refit: Callable[[np.ndarray, np.random.Generator], ArrayLike],
    n: int,
    *,
    n_boot: int = 200,
    seed: int,
    strata: ArrayLike | None = None,
    n_jobs: int = 1,
) -> np.ndarray:
    """Return what a whole refit gives on `n_boot` resamples, spread over processes.

    For everything that weights cannot carry: variable selection, penalties, cut-offs, optimism.

    Parameters
    ----------
    refit : callable
        ``refit(rows, generator)`` returns numbers, always equally many; `rows` of shape (n,) are
        the drawn patients as positions (repeats included), `generator` is this resample's own.
    n, n_boot, strata
        As in `bootstrap_weights`.
    seed : int
        Each resample gets its own child of this seed (`numpy.random.SeedSequence.spawn`), so the
        result does not depend on the number of workers or on the order in which they finish.
    n_jobs : int
        Processes; ``joblib.parallel_config`` puts another backend underneath.

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
    n, n_boot = _count(n, "n"), _count(n_boot, "n_boot")
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be a non-negative integer; found {seed!r}")
    drawn_from = _strata(n, strata)
    children = np.random.SeedSequence(int(seed)).spawn(n_boot)
    results = Parallel(n_jobs=n_jobs)(delayed(_refit_once)(refit, n, drawn_from, child) for child in children)
    return np.stack([np.asarray(result, dtype=float) for result in results])


def _refit_once(refit, n: int, drawn_from: _Strata, child: np.random.SeedSequence):
    generator = np.random.default_rng(child)
    return refit(_rows(generator, n, drawn_from, 1)[0], generator)


def interval(estimates: ArrayLike, *, level: float = 0.95, quantile_type: int = 7) -> Interval:
    """Return percentile limits of bootstrap estimates, and how many resamples were undefined.

    Parameters
    ----------
    estimates : array of shape (n_boot, ...)
        From `bootstrap` or `refit_bootstrap`; NaN or infinite where undefined.
    level : float
        Coverage, inside (0, 1).
    quantile_type : {7, 1}
        Hyndman and Fan's type: 7 interpolates linearly (default of R and NumPy), 1 is the inverse
        of the empirical distribution (as rmda's decision curves).

    Returns
    -------
    Interval
        `lower`, `upper`, `n_used`, `n_undefined`, each of the estimates' shape without the first
        axis. Undefined resamples are left out of the quantiles and counted; where all are
        undefined the limits are NaN and `n_used` is 0.

    References
    ----------
    Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall, 1993, chapter 13.
    Hyndman RJ, Fan Y. Sample quantiles in statistical packages. Am Stat 1996;50:361-365.

    Examples
    --------
    >>> interval(np.arange(101.0), level=0.9)[:2]
    (5.0, 95.0)
    """
    values = np.asarray(estimates, dtype=float)
    if values.ndim == 0 or values.shape[0] == 0:
        raise ValueError(f"estimates must hold one row per resample; found shape {values.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie inside (0, 1); found {level!r}")
    if quantile_type not in (7, 1):
        raise ValueError(f"quantile_type must be 7 or 1; found {quantile_type!r}")
    method = {7: "linear", 1: "inverted_cdf"}[quantile_type]
    tail = round((1 - level) / 2, 12)  # 0.025, not 0.025 and a bit: type 1 jumps there
    flat = values.reshape(values.shape[0], -1)
    used = np.isfinite(flat)
    limits = np.full((2, flat.shape[1]), np.nan)
    whole = used.all(axis=0)
    if whole.any():
        limits[:, whole] = np.quantile(flat[:, whole], [tail, 1 - tail], axis=0, method=method)
    for column in np.flatnonzero(~whole & used.any(axis=0)):
        limits[:, column] = np.quantile(flat[used[:, column], column], [tail, 1 - tail], method=method)
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
    values = np.asarray(differences, dtype=float)
    used = np.isfinite(values).sum(axis=0)
    beyond = np.minimum((values <= 0).sum(axis=0), (values >= 0).sum(axis=0))
    p = np.minimum(1.0, 2 * (1 + beyond) / (1 + used))
    return p if p.ndim else float(p)


def check_weights(weights: ArrayLike, n: int) -> np.ndarray:
    """Return weights as floats of shape (B, n), none negative and no row without a patient, or say what is wrong."""
    array = np.asarray(weights, dtype=float)
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
    early = np.flatnonzero(time <= horizon)
    early = early[np.argsort(time[early], kind="stable")]
    here = weights[:, early]
    at_risk = weights.sum(axis=1, keepdims=True) - np.cumsum(here, axis=1) + here
    survival = np.ones(len(weights))
    if early.size:
        first = np.flatnonzero(np.diff(time[early], prepend=-np.inf))
        deaths = np.add.reduceat(here * event[early], first, axis=1)
        at_risk = at_risk[:, first]
        survival = np.prod(1 - deaths / np.where(at_risk > 0, at_risk, 1), axis=1)
    return np.where(weights.any(axis=1), survival, np.nan)
