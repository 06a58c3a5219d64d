"""The multiverse's statistics are those of dlrs.stats, its choices are checked, and its ids lead back to universes."""

import numpy as np
import pandas as pd
import pytest
import yaml

from dlrs import cohort, config, multiverse
from dlrs.config import ROOT, InputError
from dlrs.stats import concordance, cox, decision, reclassification, roc, survival
from dlrs_site import intake

CLINICAL = "ct_stage + cea + ypn_stage"


@pytest.fixture(scope="module")
def patients():
    read = intake.read_cohort(ROOT / "data_synthetic").patients
    return cohort.with_probabilities(cohort.typed(read), ROOT / "data_synthetic" / "dl_prob.csv")


@pytest.fixture(scope="module")
def choices():
    return multiverse.read()


@pytest.fixture(scope="module")
def found(choices, patients):
    study = multiverse.Study(patients)
    return {name: multiverse.evaluate(choices, name, study) for name in choices.conclusions}


class Fitted:
    """The models of notebooks 04 and 05, by the package's own functions."""

    def __init__(self, patients, joined="dl_prob"):
        self.primary = (patients["cohort"] == "primary").to_numpy()
        self.lp, self.base = {}, {}
        for name, formula in {"Clinical": CLINICAL, "Nomogram": f"{CLINICAL} + {joined}", "DLRS": joined}.items():
            x = cox.design(formula, patients)[0].to_numpy(float)
            data = patients["time_months"][self.primary], patients["event"][self.primary]
            fit = cox.cox_fit(*data, x[self.primary])
            self.lp[name] = np.round((x - x[self.primary].mean(axis=0)) @ fit.coefficients, 10)
            self.base[name] = cox.baseline_hazard(*data, self.lp[name][self.primary])

    def risk(self, name, horizon):
        return cox.risk_at(self.lp[name], self.base[name], horizon)


@pytest.fixture(scope="module")
def fitted(patients):
    return {
        "sum": Fitted(patients),
        "two": Fitted(patients, "t2w_prob + adc_prob"),
        "adc": Fitted(patients, "adc_prob"),
    }


def judged(patients, name):
    rows = np.ones(len(patients), bool) if name == "both" else (patients["cohort"] == name).to_numpy()
    return rows, patients["time_months"].to_numpy()[rows], patients["event"].to_numpy(bool)[rows]


def same(row, value, lower=None, upper=None, p=None):
    for mine, theirs in zip(row, (value, lower, upper, p), strict=True):
        assert theirs is None or mine == pytest.approx(theirs, rel=1e-6, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("joined", ["sum", "two", "adc"])
@pytest.mark.parametrize("where", ["validation", "primary", "both"])
def test_discrimination(patients, found, fitted, joined, where):
    rows, time, event = judged(patients, where)
    x, row = fitted[joined].lp["DLRS"][rows], found["predicts"]
    c = concordance.concordance(time, event, x)
    same(row[joined, where, "harrell", "all follow-up"], c.c - 0.5, c.lower - 0.5, c.upper - 0.5, c.p)
    c = concordance.concordance(time, event, x, interval="noether", tied_predictions="drop", same_time="skip")
    same(row[joined, where, "survcomp", "all follow-up"], c.c - 0.5, c.lower - 0.5, c.upper - 0.5)
    for horizon in (24.0, 36.0, 48.0):
        at = f"{horizon:.0f} months"
        c = concordance.concordance(np.minimum(time, horizon), event & (time <= horizon), x)
        same(row[joined, where, "harrell", at], c.c - 0.5, c.lower - 0.5, c.upper - 0.5)
        c = concordance.uno_concordance(time, event, x, horizon=horizon)
        same(row[joined, where, "uno", at], c.c - 0.5, c.lower - 0.5, c.upper - 0.5, c.p)
        auc = roc.time_dependent_auc(time, event, x, times=[horizon]).iloc[0]
        same(row[joined, where, "auc_ipcw", at], auc["auc"] - 0.5, auc["lower"] - 0.5, auc["upper"] - 0.5)
        same(row[joined, where, "auc_km", at], roc.survivalroc_km(time, event, x, times=[horizon])["auc"][0] - 0.5)
        same(row[joined, where, "auc_nne", at], roc.survivalroc_nne(time, event, x, times=[horizon])["auc"][0] - 0.5)
        state = survival.binary_outcome(time, event, horizon=horizon)
        known = ~np.isnan(state)
        auc = roc.delong(state[known], x[known])
        same(row[joined, where, "auc_left_out", at], auc.auc - 0.5, auc.lower - 0.5, auc.upper - 0.5)
        auc = roc.delong(np.nan_to_num(state), x)
        same(row[joined, where, "auc_as_free", at], auc.auc - 0.5, auc.lower - 0.5, auc.upper - 0.5)


@pytest.mark.parametrize("joined", ["sum", "two"])
@pytest.mark.parametrize("where", ["validation", "primary", "both"])
def test_gains(patients, found, fitted, joined, where):
    rows, time, event = judged(patients, where)
    model, row = fitted[joined], found["improves"]
    lp = model.lp["Nomogram"][rows], model.lp["Clinical"][rows]
    d = concordance.compare_concordance(time, event, *lp)
    same(row[joined, where, "c_jackknife", "weighted", "all follow-up"], d.difference, d.lower, d.upper, d.p)
    d = concordance.compare_concordance(time, event, *lp, method="survcomp")
    same(row[joined, where, "c_survcomp_one_sided", "weighted", "all follow-up"], d.difference, p=d.p_one_sided)
    same(row[joined, where, "c_survcomp_two_sided", "weighted", "all follow-up"], d.difference, p=d.p)
    state = survival.binary_outcome(*(patients[c][model.primary] for c in ("time_months", "event")), horizon=36)
    own, known = model.risk("Nomogram", 36.0)[model.primary], ~np.isnan(state)
    cutoff = roc.youden_cutoff(state[known], own[known]).threshold
    for horizon in (24.0, 36.0, 48.0):
        at = f"{horizon:.0f} months"
        old, new = (model.risk(name, horizon)[rows] for name in ("Clinical", "Nomogram"))
        two = [model.risk(name, 36.0)[rows] for name in ("Clinical", "Nomogram")]
        state = survival.binary_outcome(time, event, horizon=horizon)
        for lost, outcome in {"left_out": state, "as_free": np.nan_to_num(state)}.items():
            seen = ~np.isnan(outcome)
            binary = [
                ("nri_continuous", reclassification.nri_continuous(outcome[seen], old[seen], new[seen])),
                ("idi", reclassification.idi(outcome[seen], old[seen], new[seen])),
            ]
            for gain, risks, cuts in (("nri_two", two, [cutoff]), ("nri_three", (old, new), [0.1, 0.3])):
                pair = [risk[seen] for risk in risks]
                binary.append((gain, reclassification.nri_categorical(outcome[seen], *pair, cutoffs=cuts)))
            for gain, e in binary:
                same(row[joined, where, gain, lost, at], e.value, e.lower, e.upper, e.p)
            curve = decision.decision_curve(outcome[seen], {"old": old[seen], "new": new[seen]}, thresholds=[0.2])
            benefit = curve.set_index("strategy")["net_benefit"]
            same(row[joined, where, "benefit_20", lost, at], benefit["new"] - benefit["old"])
        for lost, method in {"kaplan_meier": "km", "weighted": "ipw"}.items():
            options = dict(horizon=horizon, method=method)
            e = reclassification.nri_continuous_censored(time, event, old, new, **options)
            same(row[joined, where, "nri_continuous", lost, at], e.value, e.lower, e.upper, e.p)
            e = reclassification.nri_categorical_censored(time, event, *two, cutoffs=[cutoff], **options)
            same(row[joined, where, "nri_two", lost, at], e.value, e.lower, e.upper, e.p)
        e = reclassification.idi_censored(time, event, old, new, horizon=horizon)
        same(row[joined, where, "idi", "weighted", at], e.value, e.lower, e.upper, e.p)
        risks = {"old": old, "new": new}
        curve = decision.decision_curve_censored(time, event, risks, horizon=horizon, thresholds=[0.1])
        benefit = curve.set_index("strategy")["net_benefit"]
        same(row[joined, where, "benefit_10", "kaplan_meier", at], benefit["new"] - benefit["old"])


def test_net_benefits_error_is_that_of_the_bootstrap(patients, found, fitted):
    rows, time, event = judged(patients, "both")
    draw, values = np.random.default_rng(5), []
    risks = [fitted["sum"].risk(name, 36.0)[rows] for name in ("Nomogram", "Clinical")]
    weights = draw.multinomial(time.size, np.full(time.size, 1 / time.size), 400)
    options = dict(horizon=36.0, thresholds=[0.2], quantities=["net_benefit"])
    values = [decision.decision_curve_censored_bootstrap(time, event, r, weights, **options) for r in risks]
    spread = (values[0]["net_benefit"] - values[1]["net_benefit"]).std()
    row = found["improves"]["sum", "both", "benefit_20", "kaplan_meier", "36 months"]
    assert (row[2] - row[1]) / 3.92 == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize("where", ["validation", "primary"])
def test_risk_groups(patients, found, fitted, where):
    rows, time, event = judged(patients, where)
    model = fitted["sum"]
    state = survival.binary_outcome(*(patients[c][model.primary] for c in ("time_months", "event")), horizon=36)
    known = ~np.isnan(state)
    own, score = patients["dl_prob"].to_numpy()[model.primary], patients["dl_prob"].to_numpy()
    for cutoff, threshold in {
        "youden_left_out": roc.youden_cutoff(state[known], own[known]).threshold,
        "youden_as_free": roc.youden_cutoff(np.nan_to_num(state), own).threshold,
        "median": np.median(own),
        "printed": config.published()["fig2"]["cutoff_dlrs"],
    }.items():
        high = (score > threshold)[rows]
        row = found["divides"]["sum", where, cutoff, "36 months", "score"]
        if high.any() and not high.all():
            same(row, row[0], None, None, survival.logrank(time, event, high).p)
        else:
            assert np.isnan(row).all()
    risk = model.risk("DLRS", 36.0)
    threshold = roc.youden_cutoff(state[known], risk[model.primary][known]).threshold
    row = found["divides"]["sum", where, "youden_left_out", "36 months", "risk"]
    same(row, row[0], None, None, survival.logrank(time, event, (risk > threshold)[rows]).p)


def test_a_factor_of_its_own(patients, found):
    rows, time, event = judged(patients, "primary")
    for ties in ("efron", "breslow"):
        columns = cox.design(f"{CLINICAL} + dl_prob", patients)[0][rows]
        tests = cox.cox_term_tests(time, event, columns, ties=ties).set_index("term")
        p = found["independent"]["sum", "primary", "three", ties, "likelihood_ratio"][3]
        assert p == pytest.approx(tests.loc["dl_prob", "p"], rel=1e-4)
        table = cox.cox_table(cox.cox_fit(time, event, columns, ties=ties)).set_index("name")
        row = found["independent"]["sum", "primary", "three", ties, "wald"]
        same(row, table.loc["dl_prob", "coef"] * columns["dl_prob"].std(), p=None)
        assert row[3] == pytest.approx(table.loc["dl_prob", "p"], rel=1e-4)


def test_responders_hold_where_all_four_do(patients, found, fitted):
    rows, time, event = judged(patients, "both")
    model = fitted["sum"]
    state = survival.binary_outcome(*(patients[c][model.primary] for c in ("time_months", "event")), horizon=36)
    known = ~np.isnan(state)
    risk = model.risk("Nomogram", 36.0)
    high = risk > roc.youden_cutoff(state[known], risk[model.primary][known]).threshold
    pcr = ((patients["ypt_stage"] == "ypT0") & (patients["ypn_stage"] == "ypN0")).to_numpy()
    down = (patients["ypt_stage"].isin(["ypT0", "ypT1", "ypT2"]) & (patients["ypn_stage"] == "ypN0")).to_numpy()
    worst = max(survival.logrank(time[g], event[g], high[g]).p for g in (pcr, ~pcr, down, ~down))
    row = found["responders"]["sum", "both", "youden_left_out", "36 months", "risk", "ypT0 ypN0"]
    assert row[3] == pytest.approx(worst, rel=1e-6)


def test_every_universe_has_its_row_and_none_is_impossible(choices, found):
    total = 0
    for name, about in choices.conclusions.items():
        frame = multiverse.universes(choices, name)
        paths = list(frame[[c for c in about["choices"] if c != "training"]].itertuples(index=False, name=None))
        assert set(paths) == set(found[name]) and len(set(paths)) == len(paths) == frame["universe"].nunique()
        paper = tuple(about["paper"][c] for c in about["choices"] if c != "training")
        assert paper in found[name]
        total += len(paths)
    assert 5 * total >= 5000


def test_an_id_leads_back_and_another_versions_does_not(choices):
    frame = multiverse.universes(choices, "divides", ["this run", "seed 3"])
    row = frame.iloc[-7]
    numbers = set(multiverse.universes(choices, "divides")["universe"].str.split("-").str[2])
    gone = min({f"{number:04d}" for number in range(500)} - numbers)
    name, found = multiverse.find(choices, row["universe"], ["this run", "seed 3"])
    assert name == "divides" and found.equals(row)
    for wrong, said in {
        "divides": "A universe is named",
        row["universe"].replace(choices.version, "abcdef"): "is of version abcdef",
        row["universe"]: "needs networks that are not here; there are this_run",
        f"divides-{choices.version}-{gone}-this_run": "is no possible universe",
    }.items():
        with pytest.raises(ValueError, match=said):
            multiverse.find(choices, wrong, ["this run"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["choices"]["ties"].update(levels={}), "the choice ties has no levels"),
        (lambda d: d["choices"]["ties"]["levels"]["efron"].pop("why"), "ties, efron"),
        (lambda d: d["conclusions"]["divides"]["choices"].append("colour"), "divides has the choice colour"),
        (lambda d: d["conclusions"]["divides"]["paper"].update(scale="pound"), "the paper's scale: pound"),
        (lambda d: d["impossible"][0]["when"].update(horizon=["never"]), "impossible: horizon never"),
    ],
)
def test_wrong_choices_stop(tmp_path, change, said):
    content = yaml.safe_load((ROOT / "paper" / "multiverse.yaml").read_text(encoding="utf-8"))
    change(content)
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(InputError, match=said):
        multiverse.read(tmp_path / "m.yaml")


def test_it_agrees_with_the_deviations_one_at_a_time(choices, found):
    """Rows of 06b, of the committed probabilities, are universes."""
    rows = pd.read_csv(ROOT / "reports" / "tables" / "deviations.csv").set_index(["topic", "alternative"]).sort_index()
    ours = (
        pd.read_csv(ROOT / "reports" / "tables" / "deviations.csv").set_index(["quantity", "alternative"]).sort_index()
    )
    value = rows["alternative_value"]
    x, gain = found["predicts"], found["improves"]
    at, v = "36 months", "validation"
    auc = {"Kaplan-Meier (survivalROC)": "auc_km", "nearest neighbours (survivalROC)": "auc_nne"}
    auc |= {"lost patients left out (binary)": "auc_left_out"}
    for name, level in auc.items():
        assert x["sum", v, level, at][0] + 0.5 == pytest.approx(value["time-dependent ROC", name], abs=1e-9)
    nri = {
        "two categories, at the nomogram's cut-off": ("nri_two", "left_out", at),
        "3 categories": ("nri_three", "left_out", at),
        "continuous, censored (Kaplan-Meier)": ("nri_continuous", "kaplan_meier", at),
        "continuous, censored (IPW)": ("nri_continuous", "weighted", at),
        "horizon 24 months": ("nri_continuous", "left_out", "24 months"),
        "horizon 48 months": ("nri_continuous", "left_out", "48 months"),
    }
    for name, path in nri.items():
        assert gain["sum", v, *path][0] == pytest.approx(value["NRI", name], abs=1e-9)
    assert gain["sum", v, "idi", "weighted", at][0] == pytest.approx(value["IDI", "censored (IPW)"], abs=1e-9)
    for name, level in {"one-sided": "c_survcomp_one_sided", "two-sided": "c_survcomp_two_sided"}.items():
        p = ours.loc[("P, nomogram against Clinical", f"survcomp, {name}"), "alternative_value"]
        assert gain["sum", v, level, "weighted", "all follow-up"][3] == pytest.approx(p, rel=1e-6)
    for name, level in {"two covariates": "two", "T2W alone": "t2w"}.items():
        c = x[level, v, "harrell", "all follow-up"][0] + 0.5
        assert c == pytest.approx(value["DL-prob", name], abs=1e-9)
    p = ours["alternative_value"]["log-rank P of DLRS groups"]
    divided = found["divides"]
    assert divided["sum", v, "median", at, "score"][3] == pytest.approx(p["median of the primary cohort"], rel=1e-6)
    assert divided["sum", v, "youden_left_out", at, "risk"][3] == pytest.approx(p["Youden on the risk"], rel=1e-6)
    assert np.isnan(divided["sum", v, "printed", at, "score"][3]) and np.isnan(p["the paper's number on DL-prob"])


def test_parts_of_variance_by_hand():
    """y = a + 2ab - b with a, b in (0, 1): variance 0.6875."""
    frame = pd.DataFrame({"a": [0, 0, 1, 1], "b": [0, 1, 0, 1], "c": 1, "y": [0.0, -1, 1, 2]})
    found = multiverse.parts(frame, ["a", "b", "c"], "y").set_index("choice")
    variance = np.var([0, -1, 1, 2])
    assert found.loc["a", "alone"] == pytest.approx(1.0**2 / variance)  # means -0.5 and 1.5
    assert found.loc["b", "alone"] == pytest.approx(0.0)  # means 0.5 and 0.5
    assert found.loc["b", "interactions"] == pytest.approx(0.25 / variance)
    assert np.isnan(found.loc["c", "alone"])
