"""`decision_curve`: rmda on the binary outcome, dcurves on the censored one."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dlrs.stats import decision
from parity import Context, Row

RMDA, BINARY = "rmda::decision_curve", "decision.decision_curve"
DCURVES, CENSORED = "dcurves::dca(Surv)", "decision.decision_curve_censored"
COLUMNS = {
    "TPR": "tpr",
    "FPR": "fpr",
    "FNR": "fnr",
    "TNR": "tnr",
    "prob_high_risk": "high_risk",
    "DP": "true_positive",
    "nonDP": "true_negative",
    "per1000_high_risk": "high_risk_per_1000",
    "per1000_high_risk_with_event": "high_risk_with_event_per_1000",
}

ROWS = [
    Row("*/thresholds", "thresholds", "seq(0, 1, .01)", "numpy.arange"),
    Row("*/*/NB_0_to_0.99", "net benefit, binary outcome", RMDA, BINARY),
    Row("*/*/sNB_0_to_0.99", "standardized net benefit, binary outcome", RMDA, BINARY),
    *(Row(f"*/*/{theirs}", f"{ours}, binary outcome", RMDA, BINARY) for theirs, ours in COLUMNS.items()),
    Row("*/*/rho", "prevalence", RMDA, "numpy.mean"),
    Row("*/dcurves_survival/*/threshold", "thresholds with an estimate, censored outcome", DCURVES, CENSORED),
    Row("*/dcurves_survival/*/net_benefit", "net benefit, censored outcome", DCURVES, CENSORED),
    Row("*/dcurves_survival/*/tp_rate", "true positives per patient, censored outcome", DCURVES, CENSORED),
    Row("*/dcurves_survival/*/fp_rate", "false positives per patient, censored outcome", DCURVES, CENSORED),
    Row("*/dcurves_survival/*/pos_rate", "prevalence at the horizon, censored outcome", DCURVES, CENSORED),
    Row(
        "*/dcurves_survival/*/thresholds_undefined_in_dcurves",
        "thresholds without an estimate, censored outcome",
        DCURVES,
        CENSORED,
    ),
]


def compute(context: Context) -> dict:
    return {split: one_split(rows, context.horizon) for split, rows in context.splits.items()}


def one_split(rows: pd.DataFrame, horizon: float) -> dict:
    thresholds = np.arange(101) / 100
    known = rows[rows["binary"].notna()]
    risks = {"clinical": known["risk_clinical"], "combined": known["risk_combined"]}
    # rmda treats above a threshold, we from it on: the next number up is the same
    above = np.nextafter(thresholds, 1)
    curves = decision.decision_curve(known["binary"], risks, thresholds=above)
    out: dict = {"thresholds": thresholds}
    for name, curve in curves.groupby("strategy"):
        out[name] = {
            "NB_0_to_0.99": curve["net_benefit"].to_numpy()[:100],
            "sNB_0_to_0.99": curve["standardized_net_benefit"].to_numpy()[:100],
            "rho": known["binary"].mean(),
            **{key: curve[column].to_numpy() for key, column in COLUMNS.items()},
        }
    out["dcurves_survival"] = censored(rows, horizon, thresholds[:100])
    return out


def censored(rows: pd.DataFrame, horizon: float, thresholds: np.ndarray) -> dict:
    risks = {name: rows[name] for name in ("risk_clinical", "risk_combined")}
    curves = decision.decision_curve_censored(
        rows["time"], rows["event"], risks, horizon=horizon, thresholds=thresholds
    )
    pos_rate = curves.loc[curves["strategy"] == "all", "true_positive"].iloc[0]
    out = {}
    for name, curve in curves.groupby("strategy"):
        known = np.isfinite(curve["net_benefit"]).to_numpy()
        if name in risks:
            known &= [dcurves_estimates(rows["time"][rows[name] >= t], horizon) for t in thresholds]
        found = curve[known]
        out[name] = {
            "threshold": found["threshold"].to_numpy(),
            "net_benefit": found["net_benefit"].to_numpy(),
            "tp_rate": found["true_positive"].to_numpy(),
            "fp_rate": (found["high_risk"] - found["true_positive"]).to_numpy(),
            "pos_rate": pos_rate,
            "thresholds_undefined_in_dcurves": curve.loc[~known, "threshold"].to_numpy(),
        }
    return out


def dcurves_estimates(time: pd.Series, horizon: float) -> bool:
    """Whether dcurves gives a number for patients at high risk: none where all of them are seen on one side of h."""
    return time.empty or time.min() <= horizon <= time.max()
