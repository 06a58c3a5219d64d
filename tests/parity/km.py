"""`km`: Kaplan-Meier curves, log-rank tests."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dlrs.stats import cox, survival
from parity import Context, Row, label
from parity.cox import COXPH

CURVE = "summary(survfit(conf.type =), times =, extend = TRUE)"
ROWS = [
    Row("*/*/*/*/time", "times", CURVE, "survival.kaplan_meier"),
    Row("*/*/*/*/n_risk", "patients at risk", CURVE, "survival.kaplan_meier", exact=True),
    Row("*/*/*/*/surv", "survival", CURVE, "survival.kaplan_meier"),
    Row("*/*/*/*/std_err", "standard error of survival", CURVE, "survival.kaplan_meier"),
    Row("*/*/log-log/*/lower", "lower limit, log-log", CURVE, "survival.kaplan_meier"),
    Row("*/*/log-log/*/upper", "upper limit, log-log", CURVE, "survival.kaplan_meier"),
    Row("*/*/*/*/median*", "median and its limits", "summary(survfit())$table", "survival.median_survival"),
]


def logrank_rows(at: str) -> list[Row]:
    test = "survdiff(S ~ group)"
    return [
        Row(f"{at}/groups", "log-rank: groups", test, "survival.logrank"),
        Row(f"{at}/n", "log-rank: patients", test, "survival.logrank", exact=True),
        Row(f"{at}/observed", "log-rank: observed events", test, "survival.logrank"),
        Row(f"{at}/expected", "log-rank: expected events", test, "survival.logrank"),
        Row(f"{at}/*", "log-rank: chi-square, df, P", test, "survival.logrank"),
    ]


ROWS += [
    *logrank_rows("*/logrank_risk_group"),
    *logrank_rows("*/logrank_group_k"),
    Row("*/cox_high_vs_low/*", "Cox model of high against low risk", "coxph(S ~ high)", "cox.cox_fit"),
]


def curves(rows: pd.DataFrame, group: pd.Series, times: list[float]) -> dict:
    out = {}
    for interval in ("log", "log-log", "plain"):
        for value in sorted(group.unique()):
            follow_up = rows.loc[group == value, ["time", "event"]]
            out.setdefault(interval, {})[label(value)] = curve(*follow_up.to_numpy().T.astype(float), times)
    return out


def curve(time, event, times) -> dict:
    table = survival.kaplan_meier(time, event, at=times, extend=True)
    median = survival.median_survival(time, event)

    def words(values, word):
        return [float(v) if np.isfinite(v) else word for v in values]

    return {
        "time": table["time"].tolist(),
        "n_risk": table["n_risk"].tolist(),
        "surv": table["survival"].tolist(),
        "std_err": words(table["std_err"], "undefined"),
        "lower": words(table["lower"], "undefined"),
        "upper": words(table["upper"], "undefined"),
        **dict(zip(("median", "median_lower", "median_upper"), words(median, "not_reached"), strict=True)),
    }


def logrank(rows: pd.DataFrame, group: pd.Series) -> dict:
    test = survival.logrank(rows["time"], rows["event"], group)
    return {
        "groups": [label(g) for g in test.groups["group"]],
        **{column: test.groups[column].tolist() for column in ("n", "observed", "expected")},
        "chi2": test.chi2,
        "df": test.df,
        "p": test.p,
    }


def high_against_low(rows: pd.DataFrame) -> dict:
    table = cox.cox_table(cox.cox_fit(rows["time"], rows["event"], rows["high"].astype(float), tolerance=COXPH))
    return {column: table[column].tolist() for column in ("coef", "se", "hr", "hr_lower", "hr_upper", "p")}


def compute(context: Context) -> dict:
    times, group_k = context.spec["km_times"], context.spec["group_k"]
    out = {}
    for split, rows in context.splits.items():
        out[split] = {
            "all": curves(rows, pd.Series("all", index=rows.index), times),
            "risk_group": curves(rows, rows["high"], times),
            "group_k": curves(rows, rows[group_k], times),
            "logrank_risk_group": logrank(rows, rows["high"]),
            "logrank_group_k": logrank(rows, rows[group_k]),
            "cox_high_vs_low": high_against_low(rows),
        }
    return out
