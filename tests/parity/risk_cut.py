"""`risk_cut`: the cut-off that makes the risk groups."""

from __future__ import annotations

from dlrs.stats import roc
from parity import Context, Row

ROWS = [
    Row("threshold", "Youden cut-off", 'coords(roc, "best", best.method = "youden")', "roc.youden_cutoff"),
    Row("all_best_thresholds", "all Youden cut-offs", 'coords(roc, "best")', "roc.youden_cutoff"),
    Row("n_high_*", "patients above the cut-off", "sum(risk > cut)", "numpy", exact=True),
]


def cutoff(context: Context) -> roc.YoudenCutoff:
    """Youden cut-off of the combined risk for the binary outcome in primary."""
    known = context.primary.dropna(subset="binary")
    return roc.youden_cutoff(known["binary"], known["risk_combined"])


def compute(context: Context) -> dict:
    best = cutoff(context)
    return {
        "threshold": best.threshold,
        "all_best_thresholds": best.thresholds,
        **{f"n_high_{s}": int((rows["risk_combined"] > best.threshold).sum()) for s, rows in context.splits.items()},
    }
