"""`first_row_risk_at_times`: the first patient's risk from the two Cox models."""

from __future__ import annotations

import numpy as np

from parity import Context, Row
from parity.cox import baseline, cumulative_hazard

ROWS = [
    Row("id", "identity of the first row", "D$id[1]", "-", exact=True),
    Row("times", "times", "spec$times", "-"),
    Row(
        "*",
        "risk at a horizon",
        "1 - exp(-H0(t) exp(lp)), H0 from basehaz(coxph(...), centered = FALSE)",
        "cox.baseline_hazard, as cox.risk_at",
    ),
]


def compute(context: Context) -> dict:
    first = context.frame.iloc[0]
    out = {"id": int(first["id"]), "times": context.spec["times"]}
    for model, variables in {"clinical": context.clinical, "combined": context.combined}.items():
        # R reads the hazard past the last follow-up as constant, which risk_at refuses
        hazard = cumulative_hazard(baseline(context, variables, "efron"), context.spec["times"])
        out[model] = -np.expm1(-hazard * np.exp(first[f"lp_{model}"]))
    return out
