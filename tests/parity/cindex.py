"""`cindex`: concordance of every marker, and comparisons of two."""

from __future__ import annotations

import numpy as np

from dlrs.stats import concordance, groups
from parity import Context, Row

M = "*/markers/*"
C = "*/comparisons/*"
SURVIVAL = "concordance(S ~ x, reverse = TRUE)"
UNO = 'concordance(S ~ x, reverse = TRUE, timewt = "n/G2")'
UNO_H = 'concordance(..., timewt = "n/G2", ymax = h)'
HARRELL = "concordance.concordance"
NOETHER = 'concordance.concordance(interval="noether", same_time="skip")'
COMPARE = "concordance.compare_concordance"
COUNTS = ("concordant", "discordant", "tied.x", "tied.y", "tied.xy")

ROWS = [
    Row(f"{M}/survival/c", "Harrell's C", SURVIVAL, HARRELL),
    Row(f"{M}/survival/se", "its standard error, infinitesimal jackknife", SURVIVAL, HARRELL),
    Row(f"{M}/survival/*_normal", "its normal limits, uncut", "c -/+ qnorm(.975) se", HARRELL),
    *(Row(f"{M}/survival/{k}", f"pairs: {k}", SURVIVAL, HARRELL, exact=True) for k in COUNTS),
    Row(f"{M}/survival_uno_n_G2/c", "Uno's C", UNO, "concordance.uno_concordance"),
    Row(f"{M}/survival_uno_n_G2/se", "its standard error", UNO, "concordance.uno_concordance"),
    *(Row(f"{M}/survival_uno_n_G2/{k}", f"weighted pairs: {k}", UNO, "concordance.uno_concordance") for k in COUNTS),
    Row(f"{M}/survival_uno_n_G2_ymax_horizon/c", "Uno's C up to h", UNO_H, "concordance.uno_concordance(horizon=)"),
    Row(f"{M}/survival_uno_n_G2_ymax_horizon/se", "its standard error", UNO_H, "concordance.uno_concordance(horizon=)"),
    Row(f"{M}/survival_uno_n_G2_ymax_horizon/*", "weighted pairs", UNO_H, "concordance.uno_concordance(horizon=)"),
    *(
        row
        for name, call, ours in (
            ("hmisc_rcorr_cens", "rcorr.cens(-x, S)", HARRELL),
            ("hmisc_rcorr_cens_outx", "rcorr.cens(-x, S, outx = TRUE)", f'{HARRELL}(tied_predictions="drop")'),
        )
        for row in (
            Row(f"{M}/{name}/c", "C", call, ours),
            Row(f"{M}/{name}/dxy", "Somers' D = 2 C - 1", call, ours),
            Row(f"{M}/{name}/*", "ordered pairs", call, ours, exact=True),
        )
    ),
    *(
        row
        for name, call, ours in (
            (
                "survcomp_noether_outx_true",
                'concordance.index(x, time, event, method = "noether")',
                f'{NOETHER[:-1]}, tied_predictions="drop")',
            ),
            ("survcomp_noether_outx_false", 'concordance.index(..., method = "noether", outx = FALSE)', NOETHER),
        )
        for row in (
            Row(f"{M}/{name}/c", "C", call, ours),
            Row(f"{M}/{name}/se", "standard error, Noether", call, ours),
            Row(f"{M}/{name}/lower", "lower limit, cut to [0, 1]", call, ours),
            Row(f"{M}/{name}/upper", "upper limit, cut to [0, 1]", call, ours),
            Row(f"{M}/{name}/p", "P of C = 0.5", call, ours),
            Row(f"{M}/{name}/comparable_pairs_twice", "comparable pairs, twice", call, ours, exact=True),
        )
    ),
    Row(
        f"{M}/survcomp_conservative/*",
        "C with conservative limits",
        'concordance.index(..., method = "conservative")',
        'concordance.concordance(interval="conservative", same_time="skip", tied_predictions="drop")',
    ),
    Row(f"{C}/survcomp/p_one_sided", "one-sided P", "cindex.comp", f'{COMPARE}(method="survcomp")'),
    Row(f"{C}/survcomp/p_two_sided", "two-sided P", "2 pt(-|t|)", f'{COMPARE}(method="survcomp")'),
    Row(f"{C}/survcomp/t", "t", "cindex.comp", f'{COMPARE}(method="survcomp")'),
    Row(f"{C}/survcomp/df", "degrees of freedom", "cindex.comp", f'{COMPARE}(method="survcomp")', exact=True),
    Row(f"{C}/survcomp/spearman", "correlation of the scores", 'cor(method = "spearman")', "groups.spearman"),
    Row(f"{C}/survival_joint/diff", "difference of two C", "concordance(fitA, fitB)", COMPARE),
    Row(f"{C}/survival_joint/se", "its standard error", "concordance(fitA, fitB)", COMPARE),
    Row(f"{C}/survival_joint/z", "z", "concordance(fitA, fitB)", COMPARE),
    Row(f"{C}/survival_joint/p", "two-sided P", "concordance(fitA, fitB)", COMPARE),
    Row(f"{C}/survival_joint/vcov", "covariance of the two C", "vcov(concordance(fitA, fitB))", COMPARE),
]


def survival(c: concordance.Concordance) -> dict:
    counts = (c.concordant, c.discordant, c.tied_prediction, c.tied_time, c.tied_both)
    return {"c": c.c, "se": c.se, **dict(zip(COUNTS, counts, strict=True))}


def hmisc(time, event, x, tied_predictions) -> dict:
    c = concordance.concordance(time, event, x, tied_predictions=tied_predictions)
    relevant = 2 * (c.concordant + c.discordant)
    # outx drops every pair with tied scores, comparable or not
    pairs, never = len(x) * (len(x) - 1), 2 * c.tied_time
    concordant = 2 * c.concordant
    if tied_predictions == "half":
        relevant += 2 * c.tied_prediction
        concordant += c.tied_prediction
        never += 2 * c.tied_both
    else:
        _, alike = np.unique(x, return_counts=True)
        pairs -= int((alike * (alike - 1)).sum())
    return {
        "c": c.c,
        "dxy": 2 * c.c - 1,
        "relevant": relevant,
        "concordant": concordant,
        "uncertain": pairs - relevant - never,
    }


def survcomp(c: concordance.Concordance, tied_predictions: str) -> dict:
    pairs = c.concordant + c.discordant + (c.tied_prediction if tied_predictions == "half" else 0)
    return {"c": c.c, "se": c.se, "lower": c.lower, "upper": c.upper, "p": c.p, "comparable_pairs_twice": 2 * pairs}


def marker(time, event, x, horizon: float) -> dict:
    def c_index(**options):
        return concordance.concordance(time, event, x, **options)

    harrell = c_index()
    half = 1.959963984540054 * harrell.se
    survcomp_default = {"same_time": "skip", "tied_predictions": "drop"}
    conservative = c_index(interval="conservative", **survcomp_default)
    return {
        "survival": {**survival(harrell), "lower_normal": harrell.c - half, "upper_normal": harrell.c + half},
        "survival_uno_n_G2": survival(concordance.uno_concordance(time, event, x)),
        "survival_uno_n_G2_ymax_horizon": survival(concordance.uno_concordance(time, event, x, horizon=horizon)),
        "hmisc_rcorr_cens": hmisc(time, event, x, "half"),
        "hmisc_rcorr_cens_outx": hmisc(time, event, x, "drop"),
        "survcomp_noether_outx_true": survcomp(c_index(interval="noether", **survcomp_default), "drop"),
        "survcomp_noether_outx_false": survcomp(c_index(interval="noether", same_time="skip"), "half"),
        "survcomp_conservative": {"c": conservative.c, "lower": conservative.lower, "upper": conservative.upper},
    }


def comparison(time, event, a, b) -> dict:
    joint = concordance.compare_concordance(time, event, a, b)
    t = concordance.compare_concordance(time, event, a, b, method="survcomp")
    return {
        "survcomp": {
            "p_one_sided": t.p_one_sided,
            "p_two_sided": t.p,
            "t": t.statistic,
            "df": t.df,
            "spearman": groups.spearman(a, b).rho,
        },
        "survival_joint": {
            "diff": joint.difference,
            "se": joint.se,
            "z": joint.statistic,
            "p": joint.p,
            "vcov": joint.covariance,
        },
    }


def compute(context: Context) -> dict:
    pairs = (("combined", "clinical"), ("combined", "signature"), ("signature", "clinical"))
    out = {}
    for split, rows in context.splits.items():
        follow_up = rows["time"], rows["event"]
        x = {m: context.marker(rows, m) for m in context.markers}
        out[split] = {
            "markers": {m: marker(*follow_up, x[m], context.horizon) for m in x},
            "comparisons": {f"{a}_vs_{b}": comparison(*follow_up, x[a], x[b]) for a, b in pairs},
        }
    return out
