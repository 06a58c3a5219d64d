"""`km_subgroups_whole_cohort`: high against low risk inside each level of a variable, both splits pooled."""

from __future__ import annotations

from parity import Context, Row, label
from parity.km import logrank, logrank_rows

ROWS = [
    Row("*/n", "patients", "nrow", "len", exact=True),
    Row("*/n_high", "patients at high risk", "sum", "numpy", exact=True),
    *logrank_rows("*/logrank_risk_group"),
]


def compute(context: Context) -> dict:
    variable = context.spec["subset_var"]
    out = {}
    for value, rows in context.frame.groupby(variable):
        out[f"{variable}={label(value)}"] = {
            "n": len(rows),
            "n_high": int(rows["high"].sum()),
            "logrank_risk_group": logrank(rows, rows["high"]),
        }
    return out
