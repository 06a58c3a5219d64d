"""`nri_idi`: reclassification of the clinical model by the combined one and by the signature."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dlrs.stats import cox, reclassification
from parity import Context, Row

COXPH = 1e-9  # where coxph stops
GRID = 1e-6  # survIDINRI sums in single precision on a grid
COVERAGE_OF_1_96 = 0.950004209703559  # PredictABEL's limits are 1.96 standard errors

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
        "*/*/reclassification_tables_rows_old_columns_new/*",
        "reclassification table",
        "PredictABEL::reclassification",
        "reclassification.reclassification_table",
        exact=True,
    ),
    Row(
        "*/*/PredictABEL_printed/nri_categorical/*",
        "categorical NRI as printed (four decimals, P five)",
        "PredictABEL::reclassification",
        "reclassification.nri_categorical",
    ),
    Row(
        "*/*/PredictABEL_printed/nri_continuous/*",
        "continuous NRI as printed (four decimals, P five)",
        "PredictABEL::reclassification",
        "reclassification.nri_continuous",
    ),
    Row(
        "*/*/PredictABEL_printed/idi/*",
        "IDI as printed (four decimals, P five)",
        "PredictABEL::reclassification",
        "reclassification.idi",
    ),
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
        'reclassification.nri_categorical_censored(method="ipw", weighting="nricens")',
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
        'reclassification.nri_continuous_censored(method="ipw", weighting="nricens")',
    ),
    Row("*/*/nribin_category/*", "categorical NRI", "nricens::nribin", "reclassification.nri_categorical"),
    Row("*/*/nribin_diff0/*", "continuous NRI", 'nricens::nribin(updown="diff")', "reclassification.nri_continuous"),
    Row(
        "*/*/survIDINRI_external_risks/*",
        "IDI, half the NRI, median improvement, censored",
        "survIDINRI:::IDI.FUN",
        "reclassification.idi_survidinri",
        tolerance=GRID,
    ),
    Row("survIDINRI_IDI_INF/*/npert", "perturbations", "spec", "spec"),
    Row("survIDINRI_IDI_INF/*/seed", "seed", "spec", "spec"),
    Row(
        "survIDINRI_IDI_INF/*/cumhaz*",
        "interpolated baseline hazard of the refitted models",
        "survIDINRI::IDI.INF",
        "reclassification.idi_survidinri_refit",
    ),
    Row(
        "survIDINRI_IDI_INF/*/m*",
        "IDI, half the NRI, median improvement of the refitted models",
        "survIDINRI::IDI.INF",
        "reclassification.idi_survidinri_refit",
        tolerance=GRID,
    ),
    Row(
        "survIDINRI_IDI_INF/*/m*/estimate",
        "IDI, half the NRI, median improvement of the refitted models",
        "survIDINRI::IDI.INF",
        "reclassification.idi_survidinri_refit",
        tolerance=GRID,
    ),
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
    out["survIDINRI_IDI_INF"] = {split: refitted(context, rows) for split, rows in context.splits.items()}
    return out


def comparison(rows: pd.DataFrame, new: str, horizon: float, cutoffs: list[float]) -> dict:
    known = rows[rows["binary"].notna()]
    outcome, old_risk, new_risk = known["binary"], known["risk_clinical"], known[new]
    categorical = reclassification.nri_categorical(outcome, old_risk, new_risk, cutoffs=cutoffs)
    continuous = reclassification.nri_continuous(outcome, old_risk, new_risk)
    idi = reclassification.idi(outcome, old_risk, new_risk)
    everybody = (rows["time"], rows["event"], rows["risk_clinical"], rows[new])
    wide = {"level": COVERAGE_OF_1_96}
    return {
        "improveProb": improve_prob(outcome, continuous, idi),
        "cutoffs": cutoffs,
        "reclassification_tables_rows_old_columns_new": {
            name: reclassification.reclassification_table(
                old_risk[outcome == z], new_risk[outcome == z], cutoffs=cutoffs
            ).to_numpy()
            for name, z in (("absent", 0), ("present", 1))
        },
        "PredictABEL_printed": {
            "nri_categorical": printed(
                reclassification.nri_categorical(outcome, old_risk, new_risk, cutoffs=cutoffs, **wide)
            ),
            "nri_continuous": printed(reclassification.nri_continuous(outcome, old_risk, new_risk, **wide)),
            "idi": printed(reclassification.idi(outcome, old_risk, new_risk, **wide)),
        },
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
                    *everybody, horizon=horizon, cutoffs=cutoffs, method=method, weighting="nricens"
                )
            )
            for method in ("km", "ipw")
        },
        **{
            f"nricens_diff0_{method}": shares(
                reclassification.nri_continuous_censored(
                    *everybody, horizon=horizon, method=method, weighting="nricens"
                )
            )
            for method in ("km", "ipw")
        },
        "nribin_category": shares(categorical),
        "nribin_diff0": shares(continuous),
        "survIDINRI_external_risks": external(reclassification.idi_survidinri(*everybody, horizon=horizon)),
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


def printed(found) -> dict:
    limits = {"estimate": found.value, "lower": found.lower, "upper": found.upper}
    return {name: round(value, 4) for name, value in limits.items()} | {"p": round(found.p, 5)}


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


def external(found: reclassification.SurvIdiNri) -> dict:
    return {**found._asdict(), "median_diff": found.median_difference}


def refitted(context: Context, rows: pd.DataFrame) -> dict:
    designs = [context.design(rows, variables)[0] for variables in (context.clinical, context.combined)]
    found = reclassification.idi_survidinri_refit(rows["time"], rows["event"], *designs, horizon=context.horizon)
    e = found.estimates
    parts = {
        "m1": ("idi", [e.idi, e.idi_events, e.idi_nonevents]),
        "m2": ("nri_half", [e.nri_half, e.nri_events_half, e.nri_nonevents_half]),
        "m3": ("median", [e.median_difference, e.median_events, e.median_nonevents]),
    }
    return {
        "npert": context.spec["idi_npert"],
        "seed": 1,
        "cumhaz_t0_interpolated_old": found.cumulative_hazard_old,
        "cumhaz_t0_interpolated_new": found.cumulative_hazard_new,
        **{f"{m}_{name}": {"estimate": values[0]} for m, (name, values) in parts.items()},
        "m1_parts_est_events_nonevents": np.array(parts["m1"][1]),
        "m2_parts": np.array(parts["m2"][1]),
        "m3_parts": np.array(parts["m3"][1]),
    }
