"""Pairs of patients: compared as a matrix or by a compiled scan, and the difference of two estimates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.special import expit, ndtr, stdtr, stdtrit

from dlrs.stats import checks


@njit(cache=True, inline="always")
def _add(tree, equal, rank, weight):
    """Enter a weight at a rank of the Fenwick tree."""
    equal[rank] += weight
    k = rank + 1
    while k < tree.size:
        tree[k] += weight
        k += k & -k


@njit(cache=True, inline="always")
def _below(tree, rank):
    """Weight entered at lower ranks."""
    weight = 0.0
    while rank > 0:
        weight += tree[rank]
        rank -= rank & -rank
    return weight


@njit(cache=True)
def scan_pairs(time, event, rank, first, second, n_ranks, censored_later):
    """Weigh the comparable pairs of rows sorted by time: n log n in time, linear in memory.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Ascending times; whether the event was observed.
    rank : int array of shape (n,)
        Place of the prediction among its `n_ranks` distinct values.
    first, second : arrays of shape (n,)
        A pair weighs ``first`` of the row with the event times ``second`` of the row that outlives it.
    censored_later : bool
        Whether a censoring at the time of an event outlives it.

    Returns
    -------
    array of shape (3, n), float, float
        Per row the weight of concordant, tied and all comparable pairs that hold it; the weight of pairs of events
        at the same time, and of those among them that have the same prediction.
    """
    n = time.size
    sums = np.zeros((3, n))
    tree, equal, total = np.zeros(n_ranks + 1), np.zeros(n_ranks), 0.0
    end = n
    while end > 0:  # backwards: each event against those who outlive it
        start = end - 1
        while start > 0 and time[start - 1] == time[start]:
            start -= 1
        if censored_later:
            for j in range(start, end):
                if not event[j]:
                    _add(tree, equal, rank[j], second[j])
                    total += second[j]
        for i in range(start, end):
            if event[i]:
                sums[0, i] = first[i] * _below(tree, rank[i])
                sums[1, i] = first[i] * equal[rank[i]]
                sums[2, i] = first[i] * total
        for j in range(start, end):
            if event[j] or not censored_later:
                _add(tree, equal, rank[j], second[j])
                total += second[j]
        end = start

    tree[:], equal[:], total = 0.0, 0.0, 0.0
    seen = np.zeros(n_ranks)
    same_time = same_both = 0.0
    start = 0
    while start < n:  # forwards: each row against the events that it outlives
        end = start + 1
        while end < n and time[end] == time[start]:
            end += 1
        at_time = 0.0
        for stage in range(2):
            for j in range(start, end):
                # a censored row that outlives the events of its own time waits for the second round
                if (event[j] or not censored_later) == (stage == 0):
                    sums[0, j] += second[j] * (total - _below(tree, rank[j]) - equal[rank[j]])
                    sums[1, j] += second[j] * equal[rank[j]]
                    sums[2, j] += second[j] * total
            if stage == 0:
                for i in range(start, end):
                    if event[i]:
                        same_time += first[i] * at_time
                        same_both += first[i] * seen[rank[i]]
                        at_time += second[i]
                        seen[rank[i]] += second[i]
                for i in range(start, end):
                    if event[i]:
                        seen[rank[i]] = 0.0
                        _add(tree, equal, rank[i], first[i])
                        total += first[i]
        start = end
    return sums, same_time, same_both


# Up to MATRIX cells (event rows times rows) the pairs are compared as one matrix; beyond, a compiled scan over the
# sorted rows takes over: n log n, a hundred times as quick at 2,500 rows, and worth numba's second of loading. CELLS
# are held at once where a bootstrap keeps the matrix in blocks.
MATRIX, CELLS = 2**18, 2**22


class Difference(NamedTuple):
    """First minus second of two estimates.

    `p` is two-sided; `p_one_sided` is for the alternative that the first is larger. `statistic` is z, or t where
    `df` is finite. Standard error, limits and P are NaN where the estimates differ but have no error of their own, as
    in few patients. `covariance` is that of the two estimates, of shape (2, 2).
    """

    difference: float
    se: float
    lower: float
    upper: float
    statistic: float
    df: float
    p: float
    p_one_sided: float
    covariance: np.ndarray


def difference_of(first: float, second: float, covariance: np.ndarray, level: float, df: float = np.inf) -> Difference:
    """Compare two estimates with this covariance, by a z test, or a t test where `df` is finite."""
    difference = float(first - second)
    se = float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0)))
    if se <= 1e-9 * np.sqrt(np.trace(covariance)):  # the same ranking twice; what is left is rounding
        se = 0.0
    if se == 0 and abs(difference) > 1e-12:  # two rankings without an error of their own: of few patients, or perfect
        se = np.nan
    statistic = difference / se if se else 0.0
    tail = ndtr if np.isinf(df) else lambda t: stdtr(df, t)
    half = se * (checks.critical_value(level) if np.isinf(df) else float(stdtrit(df, 0.5 + level / 2)))
    return Difference(
        difference,
        se,
        difference - half,
        difference + half,
        float(statistic),
        float(df),
        float(2 * tail(-abs(statistic))),
        float(tail(-statistic)),
        covariance,
    )


def logit_interval(value: float, se: float, level: float, df: float = np.inf) -> tuple[float, float, float]:
    """Return limits of a C-index or AUC from its logit, and the two-sided P of its being one half.

    The normal interval of the estimate itself covers too seldom in small groups and may leave [0, 1]. The standard
    error of the logit is ``se / (value (1 - value))``; with `df` the quantile is Student's, which few events need.

    Returns
    -------
    lower, upper, p : float
        NaN where there is nothing to tell them from: an estimate of 0 or 1, whose standard error is 0 whatever the
        number of patients, or no degree of freedom.

    References
    ----------
    Pepe MS. The Statistical Evaluation of Medical Tests. Oxford, 2003, section 5.2; Newcombe RG. Stat Med
    2006;25:559-573.
    """
    checks.coverage(level)
    if not (1e-9 < value < 1 - 1e-9 and se > 1e-9 and df >= 1):  # 0 but for rounding
        return np.nan, np.nan, np.nan
    logit, spread = np.log(value / (1 - value)), se / (value * (1 - value))
    half = stdtrit(df, 0.5 + level / 2) * spread if np.isfinite(df) else checks.critical_value(level) * spread
    p = 2 * (stdtr(df, -abs(logit) / spread) if np.isfinite(df) else ndtr(-abs(logit) / spread))
    return float(expit(logit - half)), float(expit(logit + half)), float(p)


class Compared(NamedTuple):
    """Per row, the weight of the comparable pairs that hold it; in all, of pairs of events at the same time."""

    concordant: np.ndarray
    tied: np.ndarray
    comparable: np.ndarray
    same_time: float
    same_both: float


def compare_rows(time, event, prediction, first, second, same_time) -> Compared:
    """Weigh every comparable pair (i, j): row i has the event, row j is known to be free of it for longer.

    A pair weighs ``first[i] * second[j]``. It is concordant when i has the higher prediction.
    """
    checks.choice(same_time, "same_time", ("event_first", "skip"))
    censored_later = same_time == "event_first"
    if int(event.sum()) * time.size <= MATRIX:
        return _compare_all(time, event, prediction, first, second, censored_later)

    order = np.argsort(time)
    distinct, rank = np.unique(prediction[order], return_inverse=True)
    sums, *same = scan_pairs(
        time[order], event[order], rank, first[order], second[order], distinct.size, censored_later
    )
    sorted_back = np.empty(sums.shape)
    for row, values in zip(sorted_back, sums, strict=True):
        row[order] = values
    return Compared(*sorted_back, *same)


def _compare_all(time, event, prediction, first, second, censored_later) -> Compared:
    """Compare every event with every row, as one matrix."""
    rows = np.flatnonzero(event)
    t, x = time[rows, None], prediction[rows, None]
    weight = first[rows, None] * second
    later = (t < time) | ((t == time) & ~event) if censored_later else t < time
    sums = np.empty((3, time.size))
    for k, hit in enumerate((later & (x > prediction), later & (x == prediction), later)):
        pair = weight * hit
        sums[k] = pair.sum(axis=0)
        sums[k, rows] += pair.sum(axis=1)
    # each pair of simultaneous events once: the upper triangle among the events
    simultaneous = np.triu((t == time[rows]) * weight[:, rows], k=1)
    return Compared(*sums, float(simultaneous.sum()), float((simultaneous * (x == prediction[rows])).sum()))
