"""`cox`: the clinical and the combined model, fitted on primary, with both treatments of ties."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dlrs.stats import cox, survival
from parity import Context, Row

# coxph stops when the log-likelihood changes by less than 1e-9 of itself; the last digits depend on it
COXPH = 1e-9
FIT = "coxph(S ~ ., data = P, ties =)"


def fit_rows(at: str) -> list[Row]:
    """What `cox_summary` of the R script writes; `at` is the path of one fit."""
    cox, table = "cox.cox_fit", "cox.cox_table"
    return [
        Row(f"{at}/terms", "names of the coefficients", FIT, cox),
        Row(f"{at}/coef", "Cox coefficient", FIT, cox),
        Row(f"{at}/se", "standard error of a coefficient", f"summary({FIT})", table),
        Row(f"{at}/hr", "hazard ratio", f"summary({FIT})", table),
        Row(f"{at}/hr_lower", "hazard ratio, lower limit", f"summary({FIT})", table),
        Row(f"{at}/hr_upper", "hazard ratio, upper limit", f"summary({FIT})", table),
        Row(f"{at}/z", "Wald z", f"summary({FIT})", table),
        Row(f"{at}/p", "Wald P", f"summary({FIT})", table),
        Row(f"{at}/vcov", "covariance of the coefficients", f"vcov({FIT})", cox),
        Row(f"{at}/means", "means that coxph centres at", "fit$means", "numpy.mean"),
        Row(f"{at}/loglik_null", "log-likelihood at 0", "fit$loglik[1]", cox),
        Row(f"{at}/loglik", "log-likelihood", "fit$loglik[2]", cox),
        Row(f"{at}/lrt/*", "global likelihood-ratio test", "summary(fit)$logtest", cox),
        Row(f"{at}/wald/*", "global Wald test", "summary(fit)$waldtest", cox),
        Row(f"{at}/score/*", "global score test", "summary(fit)$sctest", cox),
        Row(f"{at}/aic", "AIC", "AIC(fit)", cox),
        Row(f"{at}/n", "patients", "fit$n", cox, exact=True),
        Row(f"{at}/nevent", "events", "fit$nevent", cox, exact=True),
    ]


ROWS = [
    *fit_rows("*/*"),
    Row(
        "*/*/drop1/*/*",
        "likelihood-ratio test of one variable",
        'drop1(fit, test = "Chisq")',
        "cox.cox_term_tests",
    ),
    Row(
        "*/*/baseline_cumhaz/*",
        "baseline cumulative hazard at 0",
        "basehaz(fit, centered = FALSE)",
        "cox.baseline_hazard",
    ),
    Row("*/*/zph_km/*/*", "proportional hazards, 1 - S(t-)", 'cox.zph(fit, transform = "km")', "cox.ph_test"),
]


def tests(frame: pd.DataFrame) -> dict:
    return {row.term: {"chi2": row.chi2, "df": row.df, "p": row.p} for row in frame.itertuples()}


def summary(context: Context, rows: pd.DataFrame, variables: list[str], ties: str) -> dict:
    x, names, terms = context.design(rows, variables)
    fit = cox.cox_fit(rows["time"], rows["event"], x, ties=ties, terms=terms, tolerance=COXPH)
    table = cox.cox_table(fit)
    flags = np.isin(x, (-1, 0, 1)).all(axis=0)  # coxph leaves such columns uncentred
    return {
        "terms": names,
        **{column: table[column].tolist() for column in ("coef", "se", "hr", "hr_lower", "hr_upper", "z", "p")},
        "vcov": fit.covariance,
        "means": np.where(flags, 0.0, x.mean(axis=0)),
        "loglik_null": fit.log_likelihood_null,
        "loglik": fit.log_likelihood,
        "lrt": fit.likelihood_ratio._asdict(),
        "wald": fit.wald._asdict(),
        "score": fit.score._asdict(),
        "aic": fit.aic,
        "n": fit.n,
        "nevent": fit.n_events,
    }


def baseline(context: Context, variables: list[str], ties: str) -> pd.DataFrame:
    """Baseline hazard of a model fitted on primary."""
    rows = context.primary
    x, _, _ = context.design(rows, variables)
    fit = cox.cox_fit(rows["time"], rows["event"], x, ties=ties, tolerance=COXPH)
    return cox.baseline_hazard(rows["time"], rows["event"], x @ fit.coefficients, ties=ties)


def cumulative_hazard(baseline: pd.DataFrame, at) -> np.ndarray:
    return survival.step(baseline["time"], baseline["cumulative_hazard"], at, start=0.0)


def compute(context: Context) -> dict:
    rows = context.primary
    out = {}
    for model, variables in {"clinical": context.clinical, "combined": context.combined}.items():
        x, _, terms = context.design(rows, variables)
        times = [t for t in context.spec["km_times"] if t > 0]
        for ties in ("efron", "breslow"):
            options = {"terms": terms, "ties": ties, "tolerance": COXPH}
            follow_up = (rows["time"], rows["event"], x)
            out.setdefault(model, {})[ties] = {
                **summary(context, rows, variables, ties),
                "drop1": tests(cox.cox_term_tests(*follow_up, **options)),
                "baseline_cumhaz": {
                    "time": times,
                    "cumhaz": cumulative_hazard(baseline(context, variables, ties), times),
                },
                "zph_km": tests(cox.ph_test(*follow_up, **options)),
            }
    return out
