"""Bands for the headline numbers of one more training, from trainings at several seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

RELATIVE = 1e-8  # a number that varies by less than this share of it is the same but for rounding
# Headline numbers that depend on the training, with the value of an uninformative model.
HEADLINES = {"fig1.auc.": 0.5, "fig2.tdauc_36m.": 0.5, "table2.cindex.": 0.5, "table2.nri.": 0.0, "table2.idi.": 0.0}
NO_BAND = ".validation_oof"  # signatures of the second track rank these patients as the published ones do


def bands(runs: list[Mapping]) -> dict[str, dict]:
    """Return a band for every headline number, from the results of runs at several seeds.

    A training is stopped when any of its numbers is outside, so the bands hold for all of them at once. Each seed is
    held to the others: its largest distance, over the numbers, in units of what one more draw varies by,
    |x - mean| / (sd sqrt(1 + 1/(n-1))). The reach is the largest such distance of any seed. Were one more training
    exchangeable with the n, its distance would be the largest of n + 1 once in n + 1 times, whatever the numbers'
    distribution and however they hang together (the conformal argument; Barber et al., Ann Stat 2021, for leaving out).
    Being held to one seed fewer makes the n distances a little larger, so that it is stopped rather less often.

    Parameters
    ----------
    runs
        Results of at least three runs that differ in the training's seed only. With 20, up to about one training in 21
        is stopped although nothing but chance differs.

    Returns
    -------
    dict
        Key to `low`, `high`, `mean`, `sd`, `n` and `knows_nothing`: the value that a model without any information
        has. A number that is the same in all runs, but for rounding, does not depend on the training and has no band.

    Raises
    ------
    ValueError
        Fewer than three runs, or all but one agree in a number.
    """
    if len(runs) < 3:
        raise ValueError(f"runs must be at least three for a band; found {len(runs)}")
    values = {}
    for key in sorted(runs[0]):
        if key.startswith(tuple(HEADLINES)) and not key.endswith(NO_BAND):
            value = np.array([run.get(key, {}).get("value") for run in runs], dtype=float)  # None becomes NaN
            if np.ptp(value) > RELATIVE * np.abs(value).max():
                values[key] = value
    reach = max((_farthest(key, value) for key, value in values.items()), default=0.0)
    found = {}
    for key, value in values.items():
        mean, sd, n = value.mean(), value.std(ddof=1), len(value)
        half = reach * sd * np.sqrt(1 + 1 / n)
        knows_nothing = next(number for prefix, number in HEADLINES.items() if key.startswith(prefix))
        found[key] = dict(low=mean - half, high=mean + half, mean=mean, sd=sd, n=n, knows_nothing=knows_nothing)
    return found


def _farthest(key: str, value: np.ndarray) -> float:
    """Return the largest distance of one value from the others, in units of what one more draw of them varies by."""
    n = len(value)
    others = (value.sum() - value) / (n - 1)
    spread = np.array([np.delete(value, i).std(ddof=1) for i in range(n)])
    if not spread.all():
        raise ValueError(f"runs must vary; found the same {key} in all but one of {n}: train at more seeds")
    return float(np.max(np.abs(value - others) / (spread * np.sqrt(1 + 1 / (n - 1)))))


def hold_to_bands(bands: Mapping[str, Mapping], results: Mapping) -> list[tuple[str, str, str]]:
    """Return (key, verdict, words) for every band: `inside`, `outside` or `no check`."""
    verdicts = []
    for key, band in bands.items():
        value = results.get(key, {}).get("value")
        words = f"{value if value is None else round(value, 4)} in {band['low']:.4f} to {band['high']:.4f}"
        if value is None:
            verdict = "outside"
        elif band["low"] <= band["knows_nothing"] <= band["high"]:
            verdict = "no check"
        else:
            verdict = "inside" if band["low"] <= value <= band["high"] else "outside"
        verdicts.append((key, verdict, words))
    return verdicts
