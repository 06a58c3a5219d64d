"""`binary_roc`: ROC curves of the outcome at the horizon, patients lost before it left out."""

from __future__ import annotations

import numpy as np

from dlrs.stats import roc
from parity import Context, Row

M = "*/markers/*"
ROC = 'roc(y, x, levels = c(0, 1), direction = "<")'
BEST = 'coords(r, "best", best.method = "youden")'
PAIRED = 'roc.test(method = "delong", paired = TRUE)'
UNPAIRED = 'roc.test(method = "delong", paired = FALSE)'
ROWS = [
    Row("*/n", "patients", "nrow", "len", exact=True),
    Row("*/n_events", "events", "sum", "sum", exact=True),
    Row(f"{M}/auc", "AUC", ROC, "roc.delong"),
    Row(f"{M}/var_delong", "its variance", 'var(r, method = "delong")', "roc.delong"),
    Row(f"{M}/wilcoxon_auc", "Wilcoxon's U as an AUC", "wilcox.test(x1, x0)$statistic / (n1 n0)", "roc.delong"),
    Row(f"{M}/best/threshold", "Youden cut-offs", BEST, "roc.youden_cutoff"),
    Row(f"{M}/best/youden", "sensitivity + specificity", BEST, "roc.youden_cutoff"),
    Row(f"{M}/best/*", "sensitivity and specificity there", BEST, "roc.roc_curve"),
    Row(f"{M}/thresholds_within_1e9_of_best", "nearly best cut-offs", ROC, "roc.roc_curve"),
    Row(f"{M}/roc/thresholds_finite", "thresholds", ROC, "roc.roc_curve"),
    Row(f"{M}/roc/*", "sensitivity, specificity", ROC, "roc.roc_curve"),
    Row("*/paired/*/*", "comparison of two AUC", PAIRED, "roc.compare_delong"),
    Row("*/unpaired/values", "the two subsets", "sort(unique())", "numpy"),
    Row("*/unpaired/*", "comparison of AUC in two subsets", UNPAIRED, "roc.compare_delong_unpaired"),
]


def marker(y, x) -> dict:
    auc, curve, best = roc.delong(y, x), roc.roc_curve(y, x), roc.youden_cutoff(y, x)
    total = curve["sensitivity"] + curve["specificity"]
    there = curve["threshold"].isin(best.thresholds)
    return {
        "auc": auc.auc,
        "var_delong": auc.se**2,
        "wilcoxon_auc": auc.auc,
        "best": {
            "threshold": best.thresholds,
            "youden": total[there].tolist(),
            "sensitivity": curve.loc[there, "sensitivity"].tolist(),
            "specificity": curve.loc[there, "specificity"].tolist(),
        },
        "thresholds_within_1e9_of_best": curve["threshold"][total > total.max() - 1e-9].tolist(),
        "roc": {
            "thresholds_finite": curve["threshold"][np.isfinite(curve["threshold"])].tolist(),
            "sensitivity": curve["sensitivity"].to_numpy(),
            "specificity": curve["specificity"].to_numpy(),
        },
    }


def paired(y, a, b) -> dict:
    test = roc.compare_delong(y, a, b)
    return {"z": test.statistic, "p": test.p, "cov": test.covariance[0, 1]}


def unpaired(context: Context, rows) -> dict:
    variable, signature = context.spec["subset_var"], context.spec["signature"]
    values = sorted(rows[variable].unique())[:2]
    parts = [(part["binary"], part[signature]) for part in (rows[rows[variable] == v] for v in values)]
    if len(parts) < 2 or any(min((y == 1).sum(), (y == 0).sum()) < 2 for y, _ in parts):
        return {}  # R leaves it out as well
    test = roc.compare_delong_unpaired(*parts[0], *parts[1])
    single = [roc.delong(*part) for part in parts]
    return {
        "marker": "signature",
        "subset_var": variable,
        "values": [float(v) for v in values],
        "auc": [s.auc for s in single],
        "var": np.diag(test.covariance),
        "D": test.statistic,
        "df": test.df,
        "p": test.p,
    }


def compute(context: Context) -> dict:
    risks = {"clinical": "risk_clinical", "combined": "risk_combined"}
    pairs = (("combined", "clinical"), ("signature", "clinical"))
    out = {}
    for split, everyone in context.splits.items():
        rows = everyone.dropna(subset="binary").reset_index(drop=True)
        y = rows["binary"]
        x = {m: rows[risks[m]].to_numpy() if m in risks else context.marker(rows, m) for m in context.markers}
        out[split] = {
            "n": len(rows),
            "n_events": int(y.sum()),
            "markers": {m: marker(y, x[m]) for m in x},
            "paired": {f"{a}_vs_{b}": paired(y, x[a], x[b]) for a, b in pairs},
            "unpaired": unpaired(context, rows),
        }
    return out
