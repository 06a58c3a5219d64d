"""Counting comparable pairs of many patients: the one compiled piece, imported only when there are thousands."""

from __future__ import annotations

import numpy as np
from numba import njit


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
        here = 0.0
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
                        same_time += first[i] * here
                        same_both += first[i] * seen[rank[i]]
                        here += second[i]
                        seen[rank[i]] += second[i]
                for i in range(start, end):
                    if event[i]:
                        seen[rank[i]] = 0.0
                        _add(tree, equal, rank[i], first[i])
                        total += first[i]
        start = end
    return sums, same_time, same_both
