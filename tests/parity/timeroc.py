"""`timeroc`: time-dependent ROC curves of every marker, comparisons, and the risk cut-off's accuracy."""

from __future__ import annotations

import numpy as np

from dlrs.stats import roc, survival
from parity import Context, Row
from parity.risk_cut import cutoff

TIMEROC = {"event_at_horizon": "excluded"}
M = "*/markers/*"
CALL = 'timeROC(T, delta, marker, cause = 1, weighting = "marginal", times, iid = TRUE)'
AUC = 'roc.time_dependent_auc(event_at_horizon="excluded")'
CURVE = 'roc.time_dependent_roc(event_at_horizon="excluded")'
CUT = "SeSpPPVNPV(cutpoint, marker = risk_combined, times = h, iid = TRUE)"
AT = 'roc.classification_at(event_at_horizon="excluded")'
ROWS = [
    Row(f"{M}/times", "times", "spec$times", "-"),
    Row(f"{M}/auc", "time-dependent AUC", CALL, AUC),
    Row(f"{M}/cases", "cases", CALL, AUC, exact=True),
    Row(f"{M}/controls", "controls", CALL, AUC, exact=True),
    Row(f"{M}/censored", "patients in neither group", CALL, AUC, exact=True),
    Row(f"{M}/cumulative_incidence", "weight of the cases", CALL, "survival.censoring_survival"),
    Row(f"{M}/surv_prob", "weight of the controls", CALL, "survival.censoring_survival"),
    Row(f"{M}/ipcw_at_times", "censoring curve at t", "pec::ipcw", "survival.censoring_survival"),
    Row(f"{M}/cutpoints", "cut-offs", "sort(unique(x), decreasing = TRUE)", CURVE),
    Row(f"{M}/tp", "sensitivity", CALL, CURVE),
    Row(f"{M}/fp", "1 - specificity", CALL, CURVE),
    Row(f"{M}/youden_max", "largest Youden index", "max(TP - FP)", CURVE),
    Row(f"{M}/youden_first_index", "its place", "max.col", CURVE, exact=True),
    Row(f"{M}/survivalROC_KM_auc", "AUC, Kaplan-Meier", 'survivalROC(method = "KM")', "roc.survivalroc_km"),
    Row(f"{M}/survivalROC_NNE_auc", "AUC, neighbours", 'survivalROC(method = "NNE")', "roc.survivalroc_nne"),
    Row(f"{M}/survivalROC_span", "share of neighbours", "0.25 n^-0.2", "roc.survivalroc_nne"),
    Row("*/comparisons/*/diff", "difference of two AUC", "AUC_A - AUC_B", "roc.compare_time_dependent_auc"),
    Row("*/at_risk_cut/time", "horizon", "spec$horizon", "-"),
    Row("*/at_risk_cut/cutpoint", "cut-off", 'coords(roc, "best")', "roc.youden_cutoff"),
    Row("*/at_risk_cut/tp", "sensitivity of the risk groups", CUT, AT),
    Row("*/at_risk_cut/fp", "1 - specificity of the risk groups", CUT, AT),
    Row("*/at_risk_cut/ppv", "positive predictive value", CUT, AT),
    Row("*/at_risk_cut/npv", "negative predictive value", CUT, AT),
]


def first_best(time, event, x, at: float) -> int:
    """Place of the largest Youden index, the first of ties.

    Cut-offs that tie on paper differ in the last bit, so that the arithmetic decides: R sums single rows, sorted by
    time and then by marker, in extended precision.
    """
    time, x = np.asarray(time), np.asarray(x)
    by_time = np.argsort(time, kind="stable")
    order = by_time[np.argsort(-x[by_time], kind="stable")]
    before = survival.censoring_survival(time, event, time, before=True)
    case, control = np.asarray(event) & (time < at), time > at
    rates = []
    for who, g in ((case, before), (control, survival.censoring_survival(time, event, np.full(len(x), at)))):
        w = np.where(who[order], 1 / (g[order] * len(x)), 0.0).astype(np.longdouble)
        rates.append(np.concatenate(([0.0], np.cumsum(w).astype(float))) / float(w.sum()))
    new = np.append(np.diff(x[order], prepend=np.inf) != 0, True)
    return int(np.argmax((rates[0] - rates[1])[new]))


def marker(time, event, x, times) -> dict:
    table = roc.time_dependent_auc(time, event, x, times=times, **TIMEROC)
    curves = roc.time_dependent_roc(time, event, x, times=times, event_at_horizon="excluded")
    by_time = [curve for _, curve in curves.groupby("time")]
    tp = [c["true_positive_rate"].to_numpy() for c in by_time]
    fp = [c["false_positive_rate"].to_numpy() for c in by_time]
    youden = [t - f for t, f in zip(tp, fp, strict=True)]
    groups = [roc.horizon_groups(time, event, t, event_at_horizon="excluded") for t in times]
    return {
        "auc": table["auc"],
        "cases": table["n_cases"],
        "controls": table["n_controls"],
        "censored": table["n_unknown"],
        "cumulative_incidence": [g.cases.mean() for g in groups],
        "surv_prob": [g.controls.mean() for g in groups],
        "ipcw_at_times": [1 / g.controls.max() for g in groups],
        "cutpoints": by_time[0]["cutoff"].to_numpy()[:-1],
        "tp": tp,
        "fp": fp,
        "youden_max": [y.max() for y in youden],
        "youden_first_index": [first_best(time, event, x, t) for t in times],
        "survivalROC_KM_auc": roc.survivalroc_km(time, event, x, times=times)["auc"],
        "survivalROC_NNE_auc": roc.survivalroc_nne(time, event, x, times=times)["auc"],
        "survivalROC_span": 0.25 * len(x) ** -0.2,
    }


def comparison(time, event, a, b, times) -> dict:
    table = roc.compare_time_dependent_auc(time, event, a, b, times=times, **TIMEROC)
    return {"diff": table["difference"]}


def compute(context: Context) -> dict:
    times, cut = sorted(context.spec["times"]), cutoff(context).threshold
    pairs = (("combined", "clinical"), ("signature", "clinical"))
    out = {}
    for split, rows in context.splits.items():
        follow_up = rows["time"], rows["event"]
        x = {m: context.marker(rows, m) for m in context.markers}
        at = roc.classification_at(*follow_up, rows["risk_combined"], horizon=context.horizon, cutoff=cut, **TIMEROC)
        out[split] = {
            "markers": {m: {"times": context.spec["times"], **marker(*follow_up, x[m], times)} for m in x},
            "comparisons": {f"{a}_vs_{b}": comparison(*follow_up, x[a], x[b], times) for a, b in pairs},
            "at_risk_cut": {
                "time": context.horizon,
                "cutpoint": cut,
                "tp": at.sensitivity,
                "fp": 1 - at.specificity,
                "ppv": at.ppv,
                "npv": at.npv,
            },
        }
    return out
