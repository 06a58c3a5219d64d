"""`nomogram`: rms's nomogram of the combined model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dlrs.stats import cox, nomogram, survival
from parity import Context, Row, label

RMS = "rms::nomogram"
# where the fits stop: cph as it was called, cph and coxph by default
CPH, CPH_DEFAULT, COXPH = 1e-11, 1e-4, 1e-9
TICKS = [0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05]

ROWS = [
    Row("model", "name", "", ""),
    Row("coef", "coefficients", "rms::cph(eps=1e-11)", "survival.cox_fit"),
    Row("coef_with_default_eps", "coefficients, not converged", "rms::cph", "survival.cox_fit(tolerance=1e-4)"),
    Row("center", "mean linear predictor", "rms::cph", "numpy.mean"),
    Row("variables/*/values", "ticks", RMS, "nomogram.axis_values"),
    Row("variables/*/Xbeta", "contribution to the linear predictor", RMS, "nomogram.linear_effect"),
    Row("variables/*/points", "points", RMS, "nomogram.nomogram"),
    Row("points_per_lp", "points per unit of the linear predictor", RMS, "nomogram.nomogram"),
    Row("lp_at_zero_points", "linear predictor at 0 points", RMS, "nomogram.nomogram"),
    Row("total_points_axis", "axis of total points", RMS, "nomogram.total_points_axis"),
    Row("lp_at_total_points", "linear predictor on it", RMS, "nomogram.total_points_axis"),
    Row("survival_at_total_points", "survival on it", "rms::Survival", "nomogram.total_points_axis"),
    Row("survival_axis/*", "axis of survival", RMS, "nomogram.survival_axis_as_rms"),
    Row("rms_S_at_lp0_horizon", "survival at the mean linear predictor", "rms::Survival", "nomogram.nomogram"),
    Row("rms_risk_first_rows", "risk of five patients", "rms::Survival", "nomogram.points, nomogram.risk_at_points"),
    Row("survival_package_risk_first_rows", "risk of five patients", "coxph, basehaz", "survival.risk_at"),
]


def compute(context: Context) -> dict:
    rows, horizon = context.primary, context.horizon
    x, terms, owner = context.design(rows, context.combined)
    fit = cox.cox_fit(rows["time"], rows["event"], x, tolerance=CPH)
    default = cox.cox_fit(rows["time"], rows["event"], x, tolerance=CPH_DEFAULT)
    center = float(x.mean(axis=0) @ fit.coefficients)

    effects = {}
    for variable in context.combined:
        here = [fit.coefficients[j] for j, name in enumerate(owner) if name == variable]
        if variable in context.spec["factors"]:
            levels = [label(level) for level in sorted(context.frame[variable].unique())]
            effects[variable] = dict(zip(levels, [0.0, *here], strict=True))
        else:
            effects[variable] = nomogram.linear_effect(nomogram.axis_values(rows[variable]), here[0])
    hazard = hazard_at(rows, x @ fit.coefficients, horizon)
    made = nomogram.nomogram(effects, cumulative_hazard=hazard, center=center)

    centred = x @ fit.coefficients - center
    total = nomogram.total_points_axis(made, linear_predictor=centred)
    ticks = nomogram.survival_axis_as_rms(made, TICKS, linear_predictor=centred)
    first = rows.head(5).copy()
    for variable in context.spec["factors"]:
        if variable in effects:
            first[variable] = [label(level) for level in first[variable]]
    return {
        "model": "combined",
        "coef": fit.coefficients,
        "coef_with_default_eps": default.coefficients,
        "center": center,
        "variables": {
            variable: {
                "values": axis["value"].tolist(),
                "Xbeta": axis["linear_predictor"].to_numpy(),
                "points": axis["points"].to_numpy(),
            }
            for variable, axis in made.axes.groupby("variable")
        },
        "points_per_lp": made.points_per_lp,
        "lp_at_zero_points": made.lp_at_zero_points,
        "total_points_axis": total["total_points"].to_numpy(),
        "lp_at_total_points": total["linear_predictor"].to_numpy(),
        "survival_at_total_points": total["survival"].to_numpy(),
        "survival_axis": {
            "survival": [label(s) for s in ticks["survival"]],
            "total_points": ticks["total_points"].to_numpy(),
        },
        "rms_S_at_lp0_horizon": np.exp(-made.cumulative_hazard),
        "rms_risk_first_rows": nomogram.risk_at_points(made, nomogram.points(made, first)["total"]),
        "survival_package_risk_first_rows": coxph_risk(rows, x, horizon)[:5],
    }


def hazard_at(rows: pd.DataFrame, lp: np.ndarray, horizon: float) -> float:
    baseline = cox.baseline_hazard(rows["time"], rows["event"], lp)
    return float(survival.step(baseline["time"], baseline["cumulative_hazard"], horizon, start=0.0))


def coxph_risk(rows: pd.DataFrame, x: np.ndarray, horizon: float) -> np.ndarray:
    lp = x @ cox.cox_fit(rows["time"], rows["event"], x, tolerance=COXPH).coefficients
    baseline = cox.baseline_hazard(rows["time"], rows["event"], lp)
    return cox.risk_at(lp, baseline, horizon)
