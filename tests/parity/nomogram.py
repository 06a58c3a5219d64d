"""`nomogram`: rms's nomogram of the combined model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dlrs.stats import cox, nomogram, survival
from parity import Context, Row, label

RMS = "rms::nomogram"
# where the fits stop: cph as it was called, cph and coxph by default
CPH, CPH_DEFAULT, COXPH = 1e-11, 1e-4, 1e-9

ROWS = [
    Row("model", "name", "", ""),
    Row("coef", "coefficients", "rms::cph(eps=1e-11)", "cox.cox_fit"),
    Row("coef_with_default_eps", "coefficients, not converged", "rms::cph", "cox.cox_fit(tolerance=1e-4)"),
    Row("center", "mean linear predictor", "rms::cph", "numpy.mean"),
    Row("variables/*/values", "ticks", RMS, "nomogram.axis_values"),
    Row("variables/*/Xbeta", "contribution to the linear predictor", RMS, "nomogram.linear_effect"),
    Row("variables/*/points", "points", RMS, "nomogram.nomogram"),
    Row("points_per_lp", "points per unit of the linear predictor", RMS, "nomogram.nomogram"),
    Row("lp_at_zero_points", "linear predictor at 0 points", RMS, "nomogram.nomogram"),
    Row("total_points_axis", "axis of total points, to the last patient's", RMS, "nomogram.pretty"),
    Row("lp_at_total_points", "linear predictor on it", RMS, "nomogram.linear_predictor_at"),
    Row("survival_at_total_points", "survival on it", "rms::Survival", "nomogram.risk_at_points"),
    Row("rms_S_at_lp0_horizon", "survival at the mean linear predictor", "rms::Survival", "nomogram.nomogram"),
    Row("rms_risk_first_rows", "risk of five patients", "rms::Survival", "nomogram.points, nomogram.risk_at_points"),
    Row("survival_package_risk_first_rows", "risk of five patients", "coxph, basehaz", "cox.risk_at"),
]


def compute(context: Context) -> dict:
    rows, horizon = context.primary, context.horizon
    x, terms, owner = context.design(rows, context.combined)
    fit = cox.cox_fit(rows["time"], rows["event"], x, tolerance=CPH)
    default = cox.cox_fit(rows["time"], rows["event"], x, tolerance=CPH_DEFAULT)
    center = float(x.mean(axis=0) @ fit.coefficients)

    effects, here_of = {}, {}
    for variable in context.combined:
        here = [fit.coefficients[j] for j, name in enumerate(owner) if name == variable]
        if variable in context.spec["factors"]:
            levels = [label(level) for level in sorted(context.frame[variable].unique())]
            effects[variable] = dict(zip(levels, [0.0, *here], strict=True))
        else:
            here_of[variable] = here[0]
            effects[variable] = nomogram.linear_effect(nomogram.axis_values(rows[variable]), here[0])
    hazard = hazard_at(rows, x @ fit.coefficients, horizon)
    model = nomogram.nomogram(effects, cumulative_hazard=hazard)

    # rms centres the linear predictor, and draws the axis to the end of a rounded axis of the patients' ones
    centred = x @ fit.coefficients - center
    highest = nomogram.pretty(centred.min(), centred.max())[-1] + center
    end = max(model.axes["points"].max(), (highest - model.lp_at_zero_points) * model.points_per_lp)
    total = nomogram.pretty(0.0, float(end))
    first = rows.head(5)
    added = {
        variable: [effect[label(value)] if variable in context.spec["factors"] else here_of[variable] * value
                   for value in first[variable]]
        for variable, effect in effects.items()
    }  # fmt: skip
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
            for variable, axis in model.axes.groupby("variable")
        },
        "points_per_lp": model.points_per_lp,
        "lp_at_zero_points": model.lp_at_zero_points - center,
        "total_points_axis": total,
        "lp_at_total_points": nomogram.linear_predictor_at(model, total) - center,
        "survival_at_total_points": 1 - nomogram.risk_at_points(model, total),
        "rms_S_at_lp0_horizon": np.exp(-model.cumulative_hazard * np.exp(center)),
        "rms_risk_first_rows": nomogram.risk_at_points(model, nomogram.points(model, pd.DataFrame(added))["total"]),
        "survival_package_risk_first_rows": coxph_risk(rows, x, horizon)[:5],
    }


def hazard_at(rows: pd.DataFrame, lp: np.ndarray, horizon: float) -> float:
    baseline = cox.baseline_hazard(rows["time"], rows["event"], lp)
    return float(survival.step(baseline["time"], baseline["cumulative_hazard"], horizon, start=0.0))


def coxph_risk(rows: pd.DataFrame, x: np.ndarray, horizon: float) -> np.ndarray:
    lp = x @ cox.cox_fit(rows["time"], rows["event"], x, tolerance=COXPH).coefficients
    baseline = cox.baseline_hazard(rows["time"], rows["event"], lp)
    return cox.risk_at(lp, baseline, horizon)
