"""`group_comparisons`: tests of Table 1 between splits, risk groups and outcomes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dlrs.stats import groups
from parity import Context, Row, label

ROWS = [
    Row("*/continuous/*/mean0", "mean, group 0", "mean", "numpy.mean"),
    Row("*/continuous/*/sd0", "standard deviation, group 0", "sd", "numpy.std"),
    Row("*/continuous/*/mean1", "mean, group 1", "mean", "numpy.mean"),
    Row("*/continuous/*/sd1", "standard deviation, group 1", "sd", "numpy.std"),
    Row("*/continuous/*/W_group0", "Mann-Whitney U of group 0", "wilcox.test", "groups.mann_whitney"),
    Row("*/continuous/*/p_wilcoxon_correct", "Mann-Whitney P", "wilcox.test(exact=FALSE)", "groups.mann_whitney"),
    Row(
        "*/continuous/*/p_wilcoxon_nocorrect",
        "Mann-Whitney P without continuity correction",
        "wilcox.test(exact=FALSE, correct=FALSE)",
        "groups.mann_whitney(correction=False)",
    ),
    Row("*/categorical/*/rows", "levels", "rownames", "pandas.crosstab"),
    Row("*/categorical/*/table", "counts", "table", "pandas.crosstab", exact=True),
    Row("*/categorical/*/chi2", "Pearson's chi-square", "chisq.test(correct=FALSE)", "groups.chi_square"),
    Row("*/categorical/*/df", "degrees of freedom", "chisq.test", "groups.chi_square", exact=True),
    Row("*/categorical/*/p_chi2", "Pearson's P", "chisq.test(correct=FALSE)", "groups.chi_square"),
    Row("*/categorical/*/min_expected", "smallest expected count", "chisq.test", "groups.chi_square"),
    Row(
        "*/categorical/*/chi2_yates_if_2x2",
        "Yates's chi-square",
        "chisq.test(correct=TRUE)",
        "groups.chi_square(correction=True)",
    ),
    Row(
        "*/categorical/*/p_chi2_yates_if_2x2",
        "Yates's P",
        "chisq.test(correct=TRUE)",
        "groups.chi_square(correction=True)",
    ),
    Row("*/categorical/*/p_fisher", "Fisher's exact P, r x c", "fisher.test", "groups.fisher_freeman_halton"),
    Row("spearman_signature_primary/*/rho", "Spearman's rho", "cor.test", "groups.spearman"),
    Row("spearman_signature_primary/*/S", "sum of squared rank differences", "cor.test", "groups.spearman"),
    Row("spearman_signature_primary/*/p", "Spearman's P", "cor.test(exact=FALSE)", "groups.spearman"),
]


def compute(context: Context) -> dict:
    primary = context.primary
    known = primary[primary["binary"].notna()]
    comparisons = {
        "primary_vs_validation": (context.frame, "split"),
        "low_vs_high_primary": (primary, "high"),
        "binary_outcome_primary": (known, "binary"),
    }
    spec = context.spec
    out = {
        name: {
            "continuous": {v: continuous(rows[v], rows[group]) for v in spec["continuous"]},
            "categorical": {v: categorical(rows[v], rows[group]) for v in spec["categorical"]},
        }
        for name, (rows, group) in comparisons.items()
    }
    signature = spec["signature"]
    out["spearman_signature_primary"] = {
        v: spearman(primary[signature], primary[v])
        for v in [*spec["continuous"], *spec["categorical"]]
        if v != signature
    }
    return out


def continuous(values: pd.Series, group: pd.Series) -> dict:
    first, second = values[group == 0].to_numpy(float), values[group == 1].to_numpy(float)
    wilcoxon = groups.mann_whitney(first, second)
    return {
        "mean0": first.mean(),
        "sd0": np.std(first, ddof=1),
        "mean1": second.mean(),
        "sd1": np.std(second, ddof=1),
        "W_group0": wilcoxon.w,
        "p_wilcoxon_correct": wilcoxon.p,
        "p_wilcoxon_nocorrect": groups.mann_whitney(first, second, correction=False).p,
    }


def categorical(values: pd.Series, group: pd.Series) -> dict:
    table = pd.crosstab(values, group)
    pearson, yates = groups.chi_square(table), groups.chi_square(table, correction=True)
    return {
        "rows": [label(level) for level in table.index],
        "table": table.to_numpy(),
        "chi2": pearson.chi2,
        "df": pearson.df,
        "p_chi2": pearson.p,
        "min_expected": pearson.min_expected,
        "chi2_yates_if_2x2": yates.chi2,
        "p_chi2_yates_if_2x2": yates.p,
        "p_fisher": p_fisher(table),
    }


def p_fisher(table: pd.DataFrame) -> float | None:
    """Fisher's P, or None (a number that counts as missing) where the table is too big for us."""
    try:
        return groups.fisher_freeman_halton(table)
    except ValueError as error:
        if "small enough for an exact test" not in str(error):
            raise
        return None


def spearman(x: pd.Series, y: pd.Series) -> dict:
    found = groups.spearman(x, y)
    return {"rho": found.rho, "S": found.s, "p": found.p}
