"""`cox_univariate`: one variable at a time, fitted on primary."""

from __future__ import annotations

from parity import Context
from parity.cox import fit_rows, summary

ROWS = fit_rows("*/*")


def compute(context: Context) -> dict:
    variables = dict.fromkeys([*context.spec["univariate"], context.spec["signature"]])
    return {ties: {v: summary(context, context.primary, [v], ties) for v in variables} for ties in ("efron", "breslow")}
