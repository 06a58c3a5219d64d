"""How fast the metrics are beside the code a user would otherwise take: ``python benchmarks/bench_metrics.py``.

Everything runs side by side in one process; a time is the median of several runs, in seconds of wall clock and of
processor time. The bounds are those that the project set itself.
"""

from __future__ import annotations

import argparse
import time as clock
import tracemalloc
from collections.abc import Callable

import numpy as np
import pandas as pd

from dlrs.stats import concordance, resample, roc, survival


def seconds(run: Callable, repeats: int) -> tuple[float, float]:
    """Median wall-clock and processor time of a call, after one call that is not counted."""
    run()
    taken = []
    for _ in range(repeats):
        start = clock.perf_counter(), clock.process_time()
        run()
        taken.append((clock.perf_counter() - start[0], clock.process_time() - start[1]))
    return tuple(np.median(taken, axis=0))


def cohort(n: int, rng: np.random.Generator, decimals: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times and scores with ties; a score that ranks somewhat."""
    x = rng.normal(size=n)
    time = rng.exponential(60 * np.exp(-0.7 * x))
    lost = rng.exponential(90, size=n)
    return np.round(np.minimum(time, lost), decimals), time <= lost, np.round(x, decimals + 1)


def peak_mib(run: Callable) -> float:
    tracemalloc.start()
    run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 2**20


def direct_auc(time, event, x, t) -> tuple[float, float]:
    """The formula's double sums written out: AUC at t and its standard error, every patient against every other."""
    n = time.size
    g = survival.censoring_survival(time, event, time, before=True)
    f = (event & (time <= t)) / g
    c = (time > t) / survival.censoring_survival(time, event, [t])
    h = f[:, None] * c * ((x[:, None] > x) + 0.5 * (x[:, None] == x))
    table = survival.risk_table(time, event)
    jump = ((time[:, None] == table.time) & ~event[:, None]) - (time[:, None] >= table.time) * (
        table.censored / table.at_risk
    )
    k = np.cumsum(jump / (table.at_risk / n), axis=1)
    k_before = np.column_stack((np.zeros(n), k))[:, np.searchsorted(table.time, time)]
    a, b, big_f, s = h.mean(axis=1), h.mean(axis=0), f.mean(), c.mean()
    auc = h.mean() / (big_f * s)
    numerator = a + b - 2 * h.mean() + (k_before * a).mean(axis=1)
    denominator = s * (f - big_f + (k_before * f).mean(axis=1)) + big_f * (c - s)
    influence = (numerator - auc * denominator) / (big_f * s)
    return auc, influence.std(ddof=1) / np.sqrt(n)


def bench_concordance(rng, repeats, n: int):
    from lifelines.utils import concordance_index

    time, event, x = cohort(n, rng, 1)
    start = clock.perf_counter()
    first = concordance.concordance(time, event, x).c
    compiled = clock.perf_counter() - start
    assert abs(first - concordance_index(time, -x, event)) < 1e-12
    yield (
        f"C-index with standard error, n = {n:,}",
        "lifelines",
        8,
        (
            lambda: concordance_index(time, -x, event),
            lambda: concordance.concordance(time, event, x),
        ),
        f"first call, compiled code loaded or made: {compiled:.1f} s",
    )


def bench_auc(rng, repeats, n: int):
    time, event, x = cohort(n, rng, 1)
    times = np.quantile(time[event], [0.3, 0.5, 0.7])
    ours = roc.time_dependent_auc(time, event, x, times=times)
    theirs = np.array([direct_auc(time, event, x, t) for t in times])
    assert np.allclose(ours[["auc", "se"]], theirs, rtol=1e-9)
    yield (
        f"time-dependent AUC at three times with standard errors, n = {n:,}",
        "the double sums in NumPy",
        20,
        (
            lambda: [direct_auc(time, event, x, t) for t in times],
            lambda: roc.time_dependent_auc(time, event, x, times=times),
        ),
        "",
    )


def bench_bootstrap(rng, repeats, samples: int):
    from lifelines.utils import concordance_index

    time, event, x = cohort(235, rng, 1)
    models = np.column_stack([np.round(x + rng.normal(size=x.size) * k, 2) for k in (0, 0.5, 1, 2, 4)])
    weights = resample.bootstrap_weights(x.size, samples, seed=1)
    rows = [np.repeat(np.arange(x.size), w) for w in weights]

    def loop():
        return np.array([[concordance_index(time[i], -m[i], event[i]) for m in models.T] for i in rows])

    assert np.allclose(loop(), concordance.concordance_bootstrap(time, event, models, weights), atol=1e-12)
    yield (
        f"{samples:,} bootstraps of Harrell's C, five models, paired, n = 235",
        "a loop over lifelines",
        30,
        (
            loop,
            lambda: concordance.concordance_bootstrap(time, event, models, weights),
        ),
        "",
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=5, help="runs behind each median")
    arguments.add_argument("--scale", type=float, default=1.0, help="share of the full sizes, for a quick look")
    options = arguments.parse_args()
    rng = np.random.default_rng(20210621)
    size = {name: int(n * options.scale) for name, n in (("c", 1_000_000), ("auc", 2000), ("boot", 1000))}
    parts = (
        bench_concordance(rng, options.repeats, size["c"]),
        bench_auc(rng, options.repeats, size["auc"]),
        bench_bootstrap(rng, options.repeats, size["boot"]),
    )
    rows = []
    for part in parts:
        for what, against, least, (theirs, ours), note in part:
            slow, fast = seconds(theirs, options.repeats), seconds(ours, options.repeats)
            print(f"{what}\n    against {against}: {slow[0]:.4g} s ({slow[1]:.4g} s of processor)")
            print(f"    ours: {fast[0]:.4g} s ({fast[1]:.4g} s); {slow[0] / fast[0]:.1f} times, at least {least}")
            if note:
                print(f"    {note}")
            rows.append((what, against, slow[0], fast[0], slow[0] / fast[0], slow[1] / fast[1], least))
    columns = ["what", "against", "theirs_s", "ours_s", "times_faster", "times_less_processor", "at_least"]
    print()
    print(pd.DataFrame(rows, columns=columns).to_string(index=False, float_format="{:.4g}".format))
    print("\npeak memory of concordance(), MiB:")
    for n in (size["c"] // 4, size["c"] // 2, size["c"]):
        time, event, x = cohort(n, rng, 1)
        print(f"    n = {n:>9,}: {peak_mib(lambda: concordance.concordance(time, event, x)):.0f}")  # noqa: B023


if __name__ == "__main__":
    main()
