"""`counts`: what the splits hold."""

from __future__ import annotations

from dlrs.stats import survival
from parity import Context, Row

ROWS = [Row("*/*", "patients, events, binary outcome and ties", "nrow, sum, unique, duplicated", "numpy", exact=True)]


def compute(context: Context) -> dict:
    out = {}
    for split, rows in context.splits.items():
        outcome = survival.binary_outcome(rows["time"], rows["event"], horizon=context.horizon)
        known = outcome == outcome
        out[split] = {
            "n": len(rows),
            "events": int(rows["event"].sum()),
            "binary_n": int(known.sum()),
            "binary_events": int(outcome[known].sum()),
            "censored_before_horizon": int((~known).sum()),
            "distinct_times": rows["time"].nunique(),
            "tied_event_times": int(rows.loc[rows["event"], "time"].duplicated().sum()),
        }
    return out
