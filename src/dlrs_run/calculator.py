"""The nomogram as a page to use: one file that loads nothing and holds no patient's values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dlrs.results import typeset
from dlrs.stats import checks, survival
from dlrs.templates import template

TEMPLATES = Path(__file__).parent / "templates"
SMALLEST_BIN = 5  # patients, where the cohort has no `small_cell` of its own: below it a count can point to somebody
WARNINGS = {
    "SYNTHETIC": "Trained on synthetic patients: its risks apply to no real patient and cannot confirm the paper.",
    "COHORT": "Trained on this site's own patients, not the paper's: not for decisions about any patient.",
}
NOT_ESTIMABLE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Nomogram, research use only</title></head><body>
<p><strong>Research use only.</strong> {warning}</p>
<p>The nomogram is not estimable in these patients; notebook 05 gives the reason.</p></body></html>
"""


def risk_bins(risk: ArrayLike, *, width: float = 0.05, at_least: int = SMALLEST_BIN) -> list[list]:
    """Count risks in bins that are joined until each holds several patients.

    Parameters
    ----------
    risk : array of shape (n,)
        Probabilities.
    width : float
        Of the narrowest bin; 1 is a multiple of it.
    at_least : int
        Patients that a bin must hold.

    Returns
    -------
    list of [lower, upper, count]
        Ascending and without gaps from 0 to the last risk; none when there are fewer than `at_least` patients.

    Examples
    --------
    >>> risk_bins([0.1, 0.2, 0.3, 0.6, 0.7], width=0.25, at_least=2)
    [[0.0, 0.25, 2], [0.25, 0.75, 3]]
    """
    edges = np.linspace(0, 1, round(1 / width) + 1).round(10).tolist()
    counts = np.histogram(checks.risk(risk, None), edges)[0].tolist()
    bins: list[list] = []
    lower, last, waiting = 0.0, 0.0, 0
    for upper, count in zip(edges[1:], counts, strict=True):
        waiting += count
        if waiting >= at_least:
            bins.append([lower, upper, waiting])
            lower, waiting = upper, 0
        last = upper if count else last
    if waiting and bins:
        bins[-1][1:] = [last, bins[-1][2] + waiting]
    return bins


def _variable(term: str, saved: Mapping) -> dict:
    """Return what the page needs of one variable: its levels, or its range, coefficient and where patients lie."""
    label = next(scale["label"] for scale in saved["scales"] if scale.get("variable") == term)
    if term not in saved["seen"]:
        return {"name": term, "label": label, "levels": [[str(k), v] for k, v in saved["effects"][term].items()]}
    ticks = sorted(float(tick) for tick in saved["effects"][term])
    low, high = ticks[0], ticks[-1]
    fine = (ticks[1] - ticks[0]) / 4  # rounded outwards to this, the smallest and largest value are nobody's
    seen = [max(low, math.floor(saved["seen"][term][0] / fine) * fine), math.ceil(saved["seen"][term][1] / fine) * fine]
    step = round((high - low) / 200, 6)
    slider = [math.floor(round(seen[0] / step, 6)) * step, math.ceil(round(min(high, seen[1]) / step, 6)) * step]
    where = f"From {low:g} to {high:g}; the slider covers what was observed, {slider[0]:g} to {slider[1]:g}." + (
        " The sum of the two networks' probabilities." if term == "dl_prob" and high > 1 else ""
    )
    return {
        "name": term,
        "label": label,
        "levels": None,
        "hint": where,
        "range": [low, high],
        "coefficient": saved["coefficients"].get(term),
        "curve": saved.get("curves", {}).get(term),  # of a function of the number: values, and what each adds
        "ticks": [[tick, added] for tick, added in saved["effects"][term].items()],
        "seen": [round(seen[0], 6), round(min(high, seen[1]), 6)],
        "slider": [round(end, 6) for end in slider],
        "slider_step": step,
    }


def page_data(saved: Mapping, predictions: pd.DataFrame) -> dict:
    """Return what the page holds: the model, Fig. 3a's axes, and the cohorts' risks in bins.

    Parameters
    ----------
    saved : mapping
        Notebook 05's `interim/nomogram.json`; its `smallest_count` is the cohort's `small_cell` where results are
        shared, and the least that a bin may hold.
    predictions : DataFrame
        Its `interim/predictions.csv`: `cohort` and `risk_Nomogram`.

    Returns
    -------
    dict
        Of plain values; the class alone where no nomogram could be made. The baseline hazard is read at whole months
        and at the horizon, since its own steps are patients' times; survival at those months is the Cox model's to
        the last digits.
    """
    if saved["points_per_lp"] is None:
        return {"class": saved["class"]}
    at_least = saved.get("smallest_count") or SMALLEST_BIN
    baseline, horizon = saved["baseline"], saved["horizon_months"]
    months = np.union1d(np.arange(math.floor(baseline["time"][-1]) + 1), [horizon])
    hazard = survival.step(baseline["time"], baseline["cumulative_hazard"], months, start=0.0)
    return {
        "class": saved["class"],
        "horizon_months": horizon,
        "cutoff_risk": saved["cutoff_risk"],
        "cutoff_chosen_by": saved.get("cutoff_chosen_by", "Youden's index"),
        "variables": [_variable(term, saved) for term in saved["effects"]],
        "points_per_lp": saved["points_per_lp"],
        "points_end": saved["points_end"],
        "total_points_end": saved["total_points_end"],
        "scales": saved["scales"],
        "months": [int(month) if month == int(month) else month for month in months.tolist()],
        "cumulative_hazard": hazard.tolist(),
        "center": saved.get("center", 0.0),
        "interval": saved.get("interval"),
        "smallest_bin": at_least,
        "cohorts": [
            {"name": str(name), "n": len(group), "bins": risk_bins(group["risk_Nomogram"], at_least=at_least)}
            for name, group in predictions.groupby("cohort")
        ],
    } | ({"track": "as published"} if "out_of_fold" in saved else {})


def as_page(data: Mapping) -> str:
    """Return the page of a model; text from the data is escaped."""
    if "horizon_months" not in data:
        return NOT_ESTIMABLE.format(warning=WARNINGS[data["class"]])
    horizon = data["horizon_months"]
    primary = next(entry["n"] for entry in data["cohorts"] if entry["name"] == "primary")
    people = f"{primary} {'synthetic ' * (data['class'] == 'SYNTHETIC')}patients, the primary cohort"
    track = ", with in-sample probabilities as published; a release holds the model of out-of-fold ones"
    return template(TEMPLATES / "nomogram.html").render(
        data=data,
        typeset=typeset,
        warning=WARNINGS[data["class"]],
        horizon=f"{horizon:g}",
        fitted=f"Fitted on {people}{track * ('track' in data)}.",
        hazard=f"{data['cumulative_hazard'][data['months'].index(horizon)]:.6g}",
    )
