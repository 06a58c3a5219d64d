"""`nri_idi`: reclassification of the clinical model by the combined one and by the signature."""

from __future__ import annotations

import pandas as pd

from dlrs.stats import cox, reclassification
from parity import Context, Row

COXPH = 1e-9  # where coxph stops
ROWS = [
    Row("*/*/improveProb/n", "patients", "Hmisc::improveProb", "numpy", exact=True),
    Row("*/*/improveProb/na", "events", "Hmisc::improveProb", "numpy", exact=True),
    Row("*/*/improveProb/nb", "non-events", "Hmisc::improveProb", "numpy", exact=True),
    Row("*/*/improveProb/*idi*", "IDI: value, SE, z, P", "Hmisc::improveProb", "reclassification.idi"),
    Row(
        "*/*/improveProb/improve*", "IDI: parts of events and non-events", "Hmisc::improveProb", "reclassification.idi"
    ),
    Row(
        "*/*/improveProb/*",
        "continuous NRI: value, parts, shares, SE, z, P",
        "Hmisc::improveProb",
        "reclassification.nri_continuous",
    ),
    Row("*/*/cutoffs", "cut-offs", "spec", "spec"),
    Row(
        "*/*/PredictABEL_unrounded_categorical/*",
        "categorical NRI: value, parts, SE, z, P",
        "PredictABEL, before rounding",
        "reclassification.nri_categorical",
    ),
    Row(
        "*/*/nricens_category_km/*",
        "categorical NRI, censored, Kaplan-Meier",
        'nricens::nricens(point.method="km")',
        "reclassification.nri_categorical_censored",
    ),
    Row(
        "*/*/nricens_category_ipw/*",
        "categorical NRI, censored, inverse weighting",
        'nricens::nricens(point.method="ipw")',
        'reclassification.nri_categorical_censored(method="ipw")',
    ),
    Row(
        "*/*/nricens_diff0_km/*",
        "continuous NRI, censored, Kaplan-Meier",
        'nricens::nricens(updown="diff", point.method="km")',
        "reclassification.nri_continuous_censored",
    ),
    Row(
        "*/*/nricens_diff0_ipw/*",
        "continuous NRI, censored, inverse weighting",
        'nricens::nricens(updown="diff", point.method="ipw")',
        'reclassification.nri_continuous_censored(method="ipw")',
    ),
    Row("*/*/nribin_category/*", "categorical NRI", "nricens::nribin", "reclassification.nri_categorical"),
    Row("*/*/nribin_diff0/*", "continuous NRI", 'nricens::nribin(updown="diff")', "reclassification.nri_continuous"),
]


def compute(context: Context) -> dict:
    signature = context.spec["signature"]
    primary, horizon = context.primary, context.horizon
    fit = cox.cox_fit(primary["time"], primary["event"], primary[signature], tolerance=COXPH)

    def lp(rows):
        return rows[signature].to_numpy(float) * fit.coefficients[0]

    baseline = cox.baseline_hazard(primary["time"], primary["event"], lp(primary))
    out: dict = {}
    for split, rows in context.splits.items():
        rows = rows.assign(risk_signature=cox.risk_at(lp(rows), baseline, horizon).round(14))
        out[split] = {
            f"{new}_vs_clinical": comparison(rows, f"risk_{new}", horizon, context.spec["nri_cutoffs"])
            for new in ("combined", "signature")
        }
    return out


def comparison(rows: pd.DataFrame, new: str, horizon: float, cutoffs: list[float]) -> dict:
    known = rows[rows["binary"].notna()]
    outcome, old_risk, new_risk = known["binary"], known["risk_clinical"], known[new]
    categorical = reclassification.nri_categorical(outcome, old_risk, new_risk, cutoffs=cutoffs, variance="unpooled")
    continuous = reclassification.nri_continuous(outcome, old_risk, new_risk, variance="unpooled")
    idi = reclassification.idi(outcome, old_risk, new_risk)
    everybody = (rows["time"], rows["event"], rows["risk_clinical"], rows[new])
    # nricens weighs by 1/G(T) with events and censorings in one risk set: ours, if those censored leave a moment before
    before = (rows["time"].where(rows["event"], rows["time"] * (1 - 1e-6)), *everybody[1:])
    follow_up = {"km": everybody, "ipw": before}
    return {
        "improveProb": improve_prob(outcome, continuous, idi),
        "cutoffs": cutoffs,
        "PredictABEL_unrounded_categorical": {
            "nri": categorical.value,
            "se": categorical.se,
            "z": categorical.z,
            "p": categorical.p,
            "nri_ev": categorical.events.value,
            "se_ev": categorical.events.se,
            "nri_ne": categorical.nonevents.value,
            "se_ne": categorical.nonevents.se,
        },
        **{
            f"nricens_category_{method}": shares(
                reclassification.nri_categorical_censored(
                    *follow_up[method], horizon=horizon, cutoffs=cutoffs, method=method
                )
            )
            for method in ("km", "ipw")
        },
        **{
            f"nricens_diff0_{method}": shares(
                reclassification.nri_continuous_censored(*follow_up[method], horizon=horizon, method=method)
            )
            for method in ("km", "ipw")
        },
        "nribin_category": shares(categorical),
        "nribin_diff0": shares(continuous),
    }


def improve_prob(outcome, nri: reclassification.Nri, idi: reclassification.Idi) -> dict:
    out = {
        "n": len(outcome),
        "na": int(outcome.sum()),
        "nb": int((1 - outcome).sum()),
        "pup.ev": nri.up_events,
        "pup.ne": nri.up_nonevents,
        "pdown.ev": nri.down_events,
        "pdown.ne": nri.down_nonevents,
        "improveSens": idi.events.value,
        "improveSpec": idi.nonevents.value,
    }
    for name, found in (("nri", nri), ("nri.ev", nri.events), ("nri.ne", nri.nonevents), ("idi", idi)):
        out |= {name: found.value, f"se.{name}": found.se, f"z.{name}": found.z, f"p_two_sided.{name}": found.p}
    return out


def shares(nri: reclassification.Nri) -> dict:
    return {
        "nri": nri.value,
        "nri_events": nri.events.value,
        "nri_nonevents": nri.nonevents.value,
        "p_up_case": nri.up_events,
        "p_down_case": nri.down_events,
        "p_down_ctrl": nri.down_nonevents,
        "p_up_ctrl": nri.up_nonevents,
    }
