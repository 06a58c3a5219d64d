"""Estimators that take fractional case weights, written out by their definitions: what an influence is the slope of."""

from __future__ import annotations

import numpy as np


def influences(statistic, n: int, step: float = 1e-5) -> np.ndarray:
    """Return by how much `statistic` (of n case weights) changes with the weight of each patient, shape (n, ...)."""
    own = step * np.eye(n)
    return np.array([(np.asarray(statistic(1 + w)) - np.asarray(statistic(1 - w))) / (2 * step) for w in own])


def survival_at(time, event, weights, horizon: float) -> float:
    """Kaplan-Meier's estimate."""
    value = 1.0
    for u in np.unique(time[event & (time <= horizon)]):
        value *= 1 - weights[(time == u) & event].sum() / weights[time >= u].sum()
    return value


def under_observation(time, event, weights, at: float, *, before: bool = True) -> float:
    """Kaplan-Meier's estimate for censoring, just before (or at) a time; events leave before censorings."""
    value = 1.0
    for u in np.unique(time[~event & ((time < at) if before else (time <= at))]):
        here = time == u
        value *= 1 - weights[here & ~event].sum() / (weights[time >= u].sum() - weights[here & event].sum())
    return value


def km_shares(time, event, group, weights, horizon: float) -> tuple[float, float]:
    """Share of a group among those with the event by the horizon, and among those without (Pencina 2011)."""
    of_all = survival_at(time, event, weights, horizon)
    of_group = survival_at(time[group], event[group], weights[group], horizon)
    share = weights[group].sum() / weights.sum()
    return (1 - of_group) * share / (1 - of_all), of_group * share / of_all


def ipw_means(time, event, values, weights, horizon: float) -> tuple[float, float]:
    """Mean of values among events by the horizon (inverse weights), and among patients seen beyond it (Uno 2013)."""
    case, later = event & (time <= horizon), time > horizon
    of_cases = weights[case] / [under_observation(time, event, weights, t) for t in time[case]]
    return of_cases @ values[case] / of_cases.sum(), weights[later] @ values[later] / weights[later].sum()


def brier(time, event, risk, weights, horizon: float) -> float:
    """Brier score with inverse weights (Graf 1999)."""
    case, later = event & (time <= horizon), time > horizon
    of_cases = weights[case] / [under_observation(time, event, weights, t) for t in time[case]]
    of_later = weights[later] / under_observation(time, event, weights, horizon, before=False)
    return (of_cases @ (1 - risk[case]) ** 2 + of_later @ risk[later] ** 2) / weights.sum()
