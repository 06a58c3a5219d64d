"""`evaluate`: a table of predictions in, one page out; on real patients it gives the published number."""

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import accessibility
from dlrs.config import ROOT
from dlrs.stats import calibration, competing, concordance, cox, decision, roc
from dlrs_run import evaluate

N = 120


def made(seed=3):
    """Patients whose rate follows a marker, a model that knows it, and one that knows half of it."""
    draw = np.random.default_rng(seed)
    marker, noise = draw.normal(size=(2, N))
    until, lost = draw.exponential(900 * np.exp(-marker)), draw.uniform(400, 2000, N)
    frame = pd.DataFrame({"patient": [f"Q{i:03d}" for i in range(N)], "days": np.ceil(np.minimum(until, lost))})
    frame["event"] = (until <= lost).astype(int)
    frame["good"] = 1 - np.exp(-730 / 900 * np.exp(marker))
    frame["half"] = 1 - np.exp(-730 / 900 * np.exp((marker + noise) / 2))
    frame["points"] = marker.round(2)
    return frame.assign(hospital=np.where(draw.random(N) < 0.5, "north", "south"), sex=draw.choice(["f", "m"], N))


OPTIONS = ["--id=patient", "--time=days", "--time-unit=days", "--event=event", "--horizon=730"]


def run(folder, frame, *words):
    table = folder / "table.csv"
    frame.to_csv(table, index=False)
    return evaluate.main([str(table), f"--out={folder / 'out'}", *OPTIONS, *words])


def entries(folder):
    return json.loads((folder / "out" / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Two risks and a score, small counts hidden, two quick settings from a mapping file."""
    folder = tmp_path_factory.mktemp("judged")
    (folder / "map.yaml").write_text("n_boot: 100\nn_boot_curve: 20\nthreshold: 0.3\nmodel: sex + points\n")
    words = ["--risk=good", "--risk=half", "--score=points", "--centre=hospital", f"--map={folder / 'map.yaml'}"]
    assert run(folder, made(), *words) == 0
    return folder


def test_the_numbers_are_those_of_the_statistics(judged):
    found, frame = entries(judged), made()
    data = frame["days"], frame["event"]
    c = concordance.concordance(*data, frame["points"])
    assert found["evaluate.cindex.points.all"]["value"] == pytest.approx(c.c, abs=1e-12)
    assert found["evaluate.cindex.points.all"]["ci"] == pytest.approx([c.lower, c.upper], abs=1e-12)
    known = frame[(frame["event"] == 1) & (frame["days"] <= 730) | (frame["days"] >= 730)]
    auc = roc.delong((known["event"] == 1) & (known["days"] <= 730), known["half"])
    entry = found["evaluate.auc_known.half.all"]
    assert (entry["value"], entry["n"]) == (pytest.approx(auc.auc, abs=1e-12), len(known))
    slope = calibration.calibration_slope(*data, np.log(-np.log1p(-frame["good"])))
    assert found["evaluate.calibration_slope.good.all"]["value"] == pytest.approx(slope.slope, abs=1e-9)
    brier = calibration.compare_brier(*data, frame["good"], frame["half"], horizon=730)
    assert found["evaluate.brier_difference.good_vs_half.all"]["p"] == pytest.approx(brier.p, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_page_has_no_serious_fault_of_access(browser, judged, scheme, width):
    assert accessibility.serious(browser, judged / "out" / "evaluate.html", scheme=scheme, width=width) == []


def test_every_measure_of_the_issue_has_its_key(judged):
    measures = ["auc_known", "cindex", "auc_time", "calibration_slope", "oe_ratio", "brier"]
    found = entries(judged)
    assert all(found[f"evaluate.{measure}.good.all"]["value"] is not None for measure in measures)
    difference = found["evaluate.net_benefit_difference.good_vs_half.all"]
    assert difference["ci"][0] <= difference["value"] <= difference["ci"][1]
    assert {entry["class"] for entry in found.values()} == {"COHORT"}


def test_differences_between_models_have_bands_and_a_sentence(judged):
    bands = pd.read_csv(judged / "out" / "tables" / "net_benefit_bands.csv")
    assert set(bands["comparison"]) == {"good", "half", "good vs half", "good vs treat all", "half vs treat all"}
    inside = bands.dropna()
    assert len(inside) > 100 and (inside["lower"] <= inside["upper"]).all()
    at = inside[(inside["threshold"] == 0.3) & (inside["comparison"] == "good vs half")]["value"].item()
    assert entries(judged)["evaluate.net_benefit_difference.good_vs_half.all"]["value"] == pytest.approx(at, abs=1e-12)
    page = (judged / "out" / "evaluate.html").read_text(encoding="utf-8")
    assert re.search(r"good against half: difference in C 0\.\d\d \(.*\), good is better", page)
    for measure in ("ici", "ipa"):
        assert None not in entries(judged)[f"evaluate.{measure}.half.all"]["ci"]


def test_a_cox_model_of_columns_is_drawn_as_a_nomogram(judged):
    frame = made()
    frame["sex"] = pd.Categorical(frame["sex"], frame["sex"].value_counts().index)  # the most frequent is the reference
    design, _ = cox.design("sex + points", frame)
    fit = cox.cox_fit(frame["days"], frame["event"], design)
    table = pd.read_csv(judged / "out" / "tables" / "cox_model.csv")
    assert table["name"].tolist() == list(design) and table["coef"].to_numpy() == pytest.approx(
        fit.coefficients, abs=1e-9
    )
    lp = design.to_numpy() @ fit.coefficients
    c = concordance.concordance(frame["days"], frame["event"], lp).c
    assert entries(judged)["evaluate.model_cindex.all"]["value"] == pytest.approx(c, abs=1e-9)
    points, total = (pd.read_csv(judged / "out" / "tables" / f"nomogram_{name}.csv") for name in ("points", "total"))
    axis = points[points["variable"] == "points"]
    own = np.interp(frame["points"], axis["value"].astype(float), axis["points"])
    sex = points[points["variable"] == "sex"].set_index("value")["points"]
    read = np.interp(own + frame["sex"].astype(str).map(sex), total["total_points"], total["linear_predictor"])
    assert read == pytest.approx(lp, abs=1e-9)
    page = (judged / "out" / "evaluate.html").read_text(encoding="utf-8")
    assert 'id="Nomogram"' in page and "Cox model of sex + points, fitted in all" in page


def test_a_score_has_no_calibration_and_that_is_said(judged):
    for measure in ("calibration_slope", "oe_ratio", "brier", "ici"):
        entry = entries(judged)[f"evaluate.{measure}.points.all"]
        assert entry["value"] is None and "a score is no probability" in entry["reason"]
    page = (judged / "out" / "evaluate.html").read_text(encoding="utf-8")
    assert "It is a score, so that calibration does not apply." in page


def test_the_page_needs_no_other_file_and_names_no_patient(judged):
    page = (judged / "out" / "evaluate.html").read_text(encoding="utf-8")
    assert page.index('id="answer"') < page.index('id="Discrimination"')
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "<script" not in page
    for path in (judged / "out").rglob("*"):
        if path.suffix in {".html", ".json", ".csv", ".tex", ".ipynb", ".log"}:
            assert not re.search(r"\bQ\d{3}\b", path.read_text(encoding="utf-8")), path.name


def test_tables_come_as_csv_word_and_latex(judged):
    tables = judged / "out" / "tables"
    names = {path.stem for path in tables.glob("*.html")}
    assert names >= {"follow_up", "discrimination", "calibration", "net_benefit", "risk_groups", "centres", "subgroups"}
    assert names == {path.stem for path in tables.glob("*.docx")} == {path.stem for path in tables.glob("*.tex")}
    with open(tables / "follow_up.csv", newline="", encoding="utf-8") as file:
        assert [row["n"] for row in csv.DictReader(file)] == [str(N)]
    assert r"\begin{tabular}" in (tables / "calibration.tex").read_text(encoding="utf-8")
    book = pd.read_csv(judged / "out" / "codebook.csv", keep_default_na=False)
    of_tables = book[book["file"].str.startswith("tables/")]
    assert set(of_tables["file"]) == {f"tables/{path.name}" for path in tables.glob("*.csv")}
    assert not (numbers := of_tables[(of_tables["kind"] == "number") & (of_tables["unit"] == "")]).size, numbers


def test_findings_leave_a_page_and_nothing_else(tmp_path, capsys):
    frame = made()
    frame.loc[4, "days"] = -1
    frame["good"] *= 100
    assert run(tmp_path, frame, "--risk=good") == 1
    said, page = capsys.readouterr().err, (tmp_path / "out" / "evaluate.html").read_text(encoding="utf-8")
    assert "row 6, column days: -1 is negative" in said and "look like percents" in said
    assert "Nothing was computed" in page and "look like percents" in page
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["evaluate.html"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--time=days", "--event=event", "--horizon=730", "--risk=good"], "--time-unit: missing"),
        ([*OPTIONS], "no prediction"),
    ],
)
def test_usage_is_2(tmp_path, capsys, words, said):
    made().to_csv(tmp_path / "table.csv", index=False)
    assert evaluate.main([str(tmp_path / "table.csv"), f"--out={tmp_path / 'out'}", *words]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_an_unknown_setting_is_2_and_names_the_known_ones(tmp_path, capsys):
    (tmp_path / "map.yaml").write_text("horizont: 3\n")
    assert run(tmp_path, made(), "--risk=good", f"--map={tmp_path / 'map.yaml'}") == 2
    assert "no setting horizont; there are" in capsys.readouterr().err


def test_a_folder_with_other_files_is_left_alone(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert run(tmp_path, made(), "--risk=good") == 2
    assert "holds other files" in capsys.readouterr().err
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_competing_events_are_neither_censored_nor_ignored(tmp_path):
    frame = made()
    frame.loc[frame.index[frame["event"] == 0][::3], "event"] = 2
    (tmp_path / "map.yaml").write_text("codes: {censored: 0, event: 1, competing: 2}\nn_boot_curve: 20\n")
    assert run(tmp_path, frame, "--risk=good", f"--map={tmp_path / 'map.yaml'}") == 0
    found = entries(tmp_path)
    risk = competing.cumulative_incidence(frame["days"], frame["event"], horizon=730).risk
    expected = risk / frame["good"].mean()
    assert found["evaluate.oe_ratio.good.all"]["value"] == pytest.approx(expected, abs=1e-12)
    assert found["evaluate.competing.all"]["value"] == (frame["event"] == 2).sum()
    state = frame[(frame["event"] > 0) & (frame["days"] <= 730) | (frame["days"] >= 730)]
    auc = roc.delong((state["event"] == 1) & (state["days"] <= 730), state["good"])
    assert found["evaluate.auc_known.good.all"]["value"] == pytest.approx(auc.auc, abs=1e-12)
    assert "competing events" in found["evaluate.uno_c.good.all"]["reason"]
    event, other = frame["event"] == 1, frame["event"] == 2
    data = (frame["days"], event, frame["good"])
    brier = calibration.brier_score(*data, horizon=730, competing=other)
    assert found["evaluate.ipa.good.all"]["value"] == pytest.approx(brier.ipa, abs=1e-12)
    at = roc.time_dependent_auc(*data, times=[730], competing=other)["auc"].item()
    assert found["evaluate.auc_time.good.all"]["value"] == pytest.approx(at, abs=1e-12)
    curve = decision.decision_curve_censored(*data, horizon=730, thresholds=[0.1], competing=other)
    benefit = curve.set_index("strategy")["standardized_net_benefit"]["model"]
    assert found["evaluate.net_benefit.good.all"]["value"] == pytest.approx(benefit, abs=1e-12)
    for measure in ("oe_ratio", "calibration_slope", "ici", "brier", "ipa", "auc_time", "net_benefit"):
        entry = found[f"evaluate.{measure}.good.all"]
        assert entry["ci"][0] <= entry["value"] <= entry["ci"][1], measure
    assert (tmp_path / "out" / "figures" / "calibration.png").is_file()
    assert (tmp_path / "out" / "figures" / "risk_groups.png").is_file()


def test_small_counts_are_hidden_where_asked(tmp_path):
    frame = made()
    frame["hospital"] = np.where(np.arange(N) < 3, "tiny", frame["hospital"])
    (tmp_path / "map.yaml").write_text("most_resampled: 100\n")  # so that there are no bands
    words = ["--centre=hospital", "--smallest-count=5", f"--map={tmp_path / 'map.yaml'}"]
    assert run(tmp_path, frame, "--risk=good", *words) == 0
    bands = pd.read_csv(tmp_path / "out" / "tables" / "net_benefit_bands.csv")
    assert bands["value"].notna().any() and bands[["lower", "upper"]].isna().all(axis=None)
    assert entries(tmp_path)["evaluate.cindex_by_centre.good.tiny"]["value"] is None
    with open(tmp_path / "out" / "tables" / "centres.csv", newline="", encoding="utf-8") as file:
        tiny = [row for row in csv.DictReader(file) if row["centre"] == "tiny"]
    assert tiny and all(row["n"] == "<5" and row["value"] == row["lower"] == row["upper"] == "" for row in tiny)
    assert {row["reason"] for row in tiny} == {"a count too small to show"}


# ---------------------------------------------------------------- real patients


def real_table():
    """Return the table of real patients beside the checkout, or where DLRS_SHARED says; it is not ours to commit."""
    places = [Path(os.environ.get("DLRS_SHARED", ROOT.parent / "shared")), ROOT.parent / "shared"]
    found = [path for place in places if (path := place / "real" / "head_neck_dm.csv").is_file()]
    if not found:
        pytest.skip("no ../shared/real/head_neck_dm.csv beside the checkout, and DLRS_SHARED names no such folder")
    return found[0]


def test_real_patients_give_the_published_auc(tmp_path):
    """The source's log has 0.8907563025210083 for 109 external patients, 7 with a metastasis within 730 days."""
    words = ["--id=patient", "--time=days", "--time-unit=days", "--event=event", "--risk=cnn_prob", "--horizon=730"]
    words += ["--cohort=cohort", "--centre=centre", f"--out={tmp_path / 'out'}"]
    assert evaluate.main([str(real_table()), *words]) == 0
    found = entries(tmp_path)
    auc = found["evaluate.auc_known.cnn_prob.external"]
    assert auc["value"] == pytest.approx(0.8907563025210083, abs=1e-12) and auc["n"] == 109
    assert found["evaluate.events_by_horizon.external"]["value"] == 7
    assert found["evaluate.auc_known.cnn_prob.tuning"]["value"] == pytest.approx(0.8941, abs=5e-5)
    assert found["evaluate.cindex.cnn_prob.external"]["value"] == pytest.approx(0.854, abs=5e-4)
    table = pd.read_csv(real_table()).dropna(subset=["days"])
    external = table[table["cohort"] == "external"]
    columns = (external[name] for name in ("days", "event", "cnn_prob"))
    plain = concordance.concordance(*columns, interval="jackknife")
    assert (plain.lower, plain.upper) == pytest.approx((0.766, 0.941), abs=5e-4)
    ours = found["evaluate.cindex.cnn_prob.external"]["ci"]
    assert ours[0] < plain.lower and ours[1] < plain.upper  # on the logit scale, with few events
    left_out = pd.read_csv(tmp_path / "out" / "tables" / "left_out.csv")
    assert left_out[["row", "reason"]].values.tolist() == [[87, "no days"], [151, "no days"]]
