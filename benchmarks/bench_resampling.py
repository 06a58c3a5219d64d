"""How fast whole bootstraps of decision curves are: ``python benchmarks/bench_resampling.py``.

Everything runs side by side in one process; a time is the median of several runs, in seconds of wall clock and of
processor time. Ours includes drawing the resamples, the loops are given theirs. The bounds are those that the
project set itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from bench_metrics import cohort, peak_mib, seconds
from dlrs.stats import calibration, decision, groups, reclassification, resample

N = 235
THRESHOLDS = np.arange(101) / 100
SHOWN = ("net_benefit", "tpr", "fpr")
CUTOFFS = [0.15, 0.3]


def patients(rng: np.random.Generator, n: int):
    """Follow-up, outcome at a horizon, and an old and a new risk that is a little better."""
    time, event, x = cohort(n, rng, 1)
    horizon = float(np.quantile(time, 0.6))
    outcome = event & (time <= horizon)
    old, new = (1 / (1 + np.exp(2 - 0.9 * x + noise * rng.normal(size=n))) for noise in (1.0, 0.5))
    return time, event, outcome, old.round(4), new.round(4), horizon


def bench_decision(rng, samples: int) -> Iterator[tuple]:
    time, event, _, _, risk, horizon = patients(rng, N)
    options = dict(horizon=horizon, thresholds=THRESHOLDS[:-1])
    weights = resample.bootstrap_weights(N, samples, seed=1)
    rows = [np.repeat(np.arange(N), w) for w in weights]

    def ours():
        drawn = resample.bootstrap_weights(N, samples, seed=1)
        return decision.decision_curve_censored_bootstrap(time, event, risk, drawn, quantities=SHOWN, **options)

    def loop():
        return [decision.decision_curve_censored(time[i], event[i], risk[i], **options) for i in rows]

    whole = ours()
    for place, curve in enumerate(loop()):
        single = curve.loc[curve["strategy"] == "model", list(SHOWN)].to_numpy().T
        assert np.allclose([whole[quantity][place] for quantity in SHOWN], single, atol=1e-9, equal_nan=True)
    what = f"{samples:,} bootstraps of net benefit, TPR and FPR, 100 thresholds, n = {N}"
    yield what, "a loop over decision_curve_censored", 50, loop, ours, 1
    frames = [pd.DataFrame({"time": time[i], "event": event[i], "risk": risk[i]}) for i in rows[:20]]

    def dcurves_loop():
        from dcurves import dca

        asked = dict(outcome="event", modelnames=["risk"], time=horizon, time_to_outcome_col="time")
        return [dca(data=frame, thresholds=THRESHOLDS[:-1], **asked) for frame in frames]

    yield what, f"a loop over dcurves (20 of {samples:,}, scaled up)", 50, dcurves_loop, ours, samples / 20


def at_scale(rng, n: int) -> Iterator[tuple[str, Callable]]:
    """One call each on a registry's number of patients."""
    time, event, outcome, old, new, horizon = patients(rng, n)
    at = dict(horizon=horizon)
    yield "decision_curve, 101 thresholds", lambda: decision.decision_curve(outcome, new, thresholds=THRESHOLDS)
    yield (
        "decision_curve_censored, 101 thresholds",
        lambda: decision.decision_curve_censored(time, event, new, thresholds=THRESHOLDS, **at),
    )
    yield "nri_categorical", lambda: reclassification.nri_categorical(outcome, old, new, cutoffs=CUTOFFS)
    yield (
        "nri_categorical_censored, km",
        lambda: reclassification.nri_categorical_censored(time, event, old, new, cutoffs=CUTOFFS, **at),
    )
    yield "idi_censored", lambda: reclassification.idi_censored(time, event, old, new, **at)
    yield "brier_score", lambda: calibration.brier_score(time, event, new, **at)
    yield "smooth_calibration", lambda: calibration.smooth_calibration(time, event, np.clip(new, 1e-4, 0.9999), **at)
    yield "mann_whitney", lambda: groups.mann_whitney(new[outcome], new[~outcome])
    yield (
        "one bootstrap resample of the net benefit",
        lambda: decision.decision_curve_censored_bootstrap(
            time, event, new, resample.bootstrap_weights(n, 1, seed=1), thresholds=THRESHOLDS, quantities=SHOWN, **at
        ),
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=5, help="runs behind each median")
    arguments.add_argument("--samples", type=int, default=1000, help="bootstrap resamples")
    arguments.add_argument("--patients", type=int, default=1_000_000, help="patients of the calls at scale")
    options = arguments.parse_args()
    rng = np.random.default_rng(20210621)
    rows = []
    for what, against, least, theirs, ours, scale in bench_decision(rng, options.samples):
        slow, fast = np.array(seconds(theirs, options.repeats)) * scale, seconds(ours, options.repeats)
        rows.append((what, against, slow[0], fast[0], slow[0] / fast[0], slow[1] / fast[1], least))
    columns = ["what", "against", "theirs_s", "ours_s", "times_faster", "times_less_processor", "at_least"]
    print(pd.DataFrame(rows, columns=columns).to_string(index=False, float_format="{:.4g}".format))
    rows = []
    for n in (options.patients // 4, options.patients):
        for what, call in at_scale(rng, n):
            rows.append((what, n, *seconds(call, 1), peak_mib(call)))
    columns = ["one call", "patients", "seconds", "processor_s", "peak_MiB"]
    print()
    print(pd.DataFrame(rows, columns=columns).to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
