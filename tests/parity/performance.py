"""`performance`: riskRegression's scores, and calibration of the clinical and the combined model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dlrs.stats import calibration, roc
from parity import Context, Row

SCORE, AUC = "riskRegression::Score", "roc.time_dependent_auc"
SMOOTH = "calibration.smooth_calibration"
COXPH, CPH = 1e-9, 1e-11  # where the fits stop: coxph by default, cph as it was called
ROWS = [
    Row("*/riskRegression/auc/*/*", "AUC at the horizon: value, SE", SCORE, AUC),
    Row("*/riskRegression/auc_contrasts/*/*", "difference of AUC, SE, P", SCORE, "roc.compare_time_dependent_auc"),
    Row("*/riskRegression/brier/*/ipa", "index of prediction accuracy", SCORE, "calibration.brier_score"),
    Row("*/riskRegression/brier/*/*", "Brier score: value, SE, limits", SCORE, "calibration.brier_score"),
    Row(
        "*/riskRegression/brier_contrasts/*/*", "difference of Brier scores, SE, P", SCORE, "calibration.compare_brier"
    ),
    Row("*/*/slope", "calibration slope", "coxph(S ~ lp)", "calibration.calibration_slope"),
    Row("*/*/slope_se", "its standard error", "coxph(S ~ lp)", "calibration.calibration_slope"),
    Row("*/*/slope_eq_1_wald_chi2", "Wald test of slope = 1", "coxph(S ~ lp)", "calibration.calibration_slope"),
    Row(
        "*/*/slope_eq_1_lrt_*",
        "likelihood-ratio test of slope = 1",
        "coxph(S ~ lp + offset(lp))",
        "calibration.calibration_slope",
    ),
    Row("*/*/mean_predicted_risk_horizon", "mean risk", "mean", "calibration.observed_expected_at"),
    Row("*/*/km_risk_horizon", "Kaplan-Meier risk", "survfit", "calibration.observed_expected_at"),
    Row("*/*/oe_ratio_horizon", "their ratio", "survfit", "calibration.observed_expected_at"),
    Row("*/*/ici/knots_cll", "spline knots", "Hmisc::rcspline.eval", "calibration.spline_knots"),
    Row("*/*/ici/coef", "spline coefficients", "rms::cph(rcs)", SMOOTH),
    Row("*/*/ici/ici_with_survival_package", "ICI", "survival::coxph", SMOOTH),
    Row("*/*/ici/*", "ICI, E50, E90, Emax", "rms::cph(rcs), survest", SMOOTH),
    Row("*/*/quartile_groups/n", "patients per quartile of risk", "cut", "calibration.grouped_calibration", exact=True),
    Row(
        "*/*/quartile_groups/*",
        "quartile groups: edges, predicted and Kaplan-Meier risk, SE",
        "quantile, survfit",
        "calibration.grouped_calibration",
    ),
]


def compute(context: Context) -> dict:
    return {split: one_split(rows, context.horizon) for split, rows in context.splits.items()}


def one_split(rows: pd.DataFrame, horizon: float) -> dict:
    return {
        "riskRegression": scores(rows, horizon),
        **{name: calibrated(rows, name, horizon) for name in ("clinical", "combined")},
    }


def scores(rows: pd.DataFrame, horizon: float) -> dict:
    time, event = rows["time"], rows["event"]
    null = np.full(len(rows), calibration.null_risk(time, event, horizon=horizon))
    risks = {"Null_model": null, "clinical": rows["risk_clinical"], "combined": rows["risk_combined"]}
    out: dict = {"auc": {}, "brier": {}, "auc_contrasts": {}, "brier_contrasts": {}}
    for name in ("clinical", "combined"):
        found = roc.time_dependent_auc(time, event, risks[name], times=horizon).iloc[0]
        out["auc"][name] = found[["auc", "se"]].to_dict()
    difference = roc.compare_time_dependent_auc(time, event, risks["combined"], risks["clinical"], times=horizon)
    out["auc_contrasts"]["combined_minus_clinical"] = contrast(difference.iloc[0])
    for name, risk in risks.items():
        out["brier"][name] = calibration.brier_score(time, event, risk, horizon=horizon)._asdict()
    for first, second in (("clinical", "Null_model"), ("combined", "Null_model"), ("combined", "clinical")):
        found = calibration.compare_brier(time, event, risks[first], risks[second], horizon=horizon)
        out["brier_contrasts"][f"{first}_minus_{second}"] = contrast(pd.Series(found._asdict()))
    return out


def contrast(found: pd.Series) -> dict:
    return {"delta": found["difference"], "se": found["se"], "p": found["p"]}


def calibrated(rows: pd.DataFrame, name: str, horizon: float) -> dict:
    time, event = rows["time"], rows["event"]
    lp, risk = rows[f"lp_{name}"], rows[f"risk_{name}"]
    slope = calibration.calibration_slope(time, event, lp, tolerance=COXPH)
    at_horizon = calibration.observed_expected_at(time, event, risk, horizon=horizon)
    groups = calibration.grouped_calibration(time, event, risk, horizon=horizon)
    return {
        "slope": slope.slope,
        "slope_se": slope.se,
        "slope_eq_1_wald_chi2": slope.wald_chi2,
        "slope_eq_1_lrt_chi2": slope.likelihood_ratio_chi2,
        "slope_eq_1_lrt_p": slope.likelihood_ratio_p,
        "mean_predicted_risk_horizon": at_horizon.expected,
        "km_risk_horizon": at_horizon.observed,
        "oe_ratio_horizon": at_horizon.ratio,
        "ici": smooth(time, event, risk, horizon),
        "quartile_groups": {
            "breaks": np.append(groups["risk_from"], groups["risk_to"].iloc[-1]),
            "n": groups["n"].to_numpy(),
            "mean_predicted": groups["mean_predicted"].to_numpy(),
            "km_risk": groups["observed"].to_numpy(),
            "km_se": ["undefined" if np.isnan(se) else se for se in groups["se"]],
        },
    }


def smooth(time, event, risk, horizon: float) -> dict:
    """ICI; from fewer than eight distinct predictions, or from a certain one, R makes none either."""
    if risk.nunique() < 8 or not risk.between(0, 1, inclusive="neither").all():
        return {}
    found = calibration.smooth_calibration(time, event, risk, horizon=horizon, tolerance=CPH)
    with_coxph = calibration.smooth_calibration(time, event, risk, horizon=horizon, tolerance=COXPH)
    return {
        "knots_cll": found.knots,
        "coef": found.coefficients,
        "ici": found.ici,
        "e50": found.e50,
        "e90": found.e90,
        "emax": found.emax,
        "ici_with_survival_package": with_coxph.ici,
    }
