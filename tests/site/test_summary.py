"""Summaries of a validation: that they pool to the stratified analysis of the whole and tell nothing of a patient."""

import itertools
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.duration.survfunc import SurvfuncRight
from statsmodels.stats.meta_analysis import combine_effects

from dlrs import cohort, results
from dlrs.config import ROOT
from dlrs.stats import calibration, concordance, pooled
from dlrs_site import intake, summary

HORIZON, SMALLEST = 36.0, 5
CUTOFFS = {"dl_prob": 0.8, "risk_Nomogram": 0.3}


def made(n=600, seed=4):
    """Patients of three sites of different size and risk; times in days, as months, so that some tie."""
    draw = np.random.default_rng(seed)
    site = draw.choice(3, n, p=[0.5, 0.3, 0.2])
    patients = pd.DataFrame({"site": site, "dl_prob": draw.uniform(0, 2, n).round(3)})
    predictors = {"DLRS": patients["dl_prob"] - 1, "Clinical": draw.normal(0, 0.6, n).round(2)}
    predictors["Nomogram"] = predictors["DLRS"] + predictors["Clinical"]
    hazard = 0.009 * np.exp(predictors["Nomogram"] * 0.8 + 0.3 * (site - 1))
    time = np.ceil(draw.exponential(1 / hazard) * 30.4375) / 30.4375
    lost = np.ceil(draw.uniform(5, 110, n) * 30.4375) / 30.4375
    patients["event"], patients["time_months"] = time <= lost, np.minimum(time, lost)
    for name, predictor in predictors.items():
        patients[f"lp_{name}"], patients[f"risk_{name}"] = predictor, 1 - np.exp(-0.3 * np.exp(predictor))
    return patients


def file_of(patients, name="A", **other):
    found = summary.sums(patients, horizon=HORIZON, cutoffs=CUTOFFS, smallest=SMALLEST)
    head = {"format": 1, "site": name, "class": "COHORT", "model": "0" * 64}
    return head | {"horizon_months": HORIZON, "smallest_count": SMALLEST} | found | other


@pytest.fixture(scope="module")
def patients():
    return made()


@pytest.fixture
def files(patients, tmp_path):
    for site, part in patients.groupby("site"):
        (tmp_path / f"{site}.json").write_text(json.dumps(file_of(part, f"Hospital {site}")))
    return sorted(tmp_path.glob("*.json"))


def cut(patients):
    event = patients["event"] & (patients["time_months"] <= HORIZON)
    return patients["time_months"].clip(upper=HORIZON).to_numpy(), event.to_numpy()


def test_sites_pool_to_the_stratified_analysis_of_the_whole(patients, files, tmp_path):
    table = summary.pool_files(files, tmp_path / "out").set_index(["model", "measure"])
    time, event = cut(patients)
    site, risk = patients["site"].to_numpy(), patients["risk_Nomogram"].to_numpy()
    score = patients["lp_Nomogram"].to_numpy()
    later = (time[:, None] < time) | ((time[:, None] == time) & ~event)
    pairs = event[:, None] & later & (site[:, None] == site)
    right = (score[:, None] > score) + 0.5 * (score[:, None] == score)
    found = table.loc["Nomogram", "C-index"]
    assert found["stratified"] == pytest.approx((pairs * right).sum() / pairs.sum(), abs=1e-10)
    observed = sum(
        part.sum() * (1 - SurvfuncRight(time[part], event[part]).surv_prob[-1])
        for part in (site == s for s in range(3))
    )
    found = table.loc["Nomogram", "observed / expected"]
    assert found["stratified"] == pytest.approx(observed / risk.sum(), abs=1e-10)
    high = (risk > CUTOFFS["risk_Nomogram"]).astype(float)
    for measure, covariate, at in (("calibration slope", score, 1.0), ("hazard ratio above the cut-off", high, 0.0)):
        model = PHReg(time, covariate[:, None], event, strata=site, ties="efron")
        slope, information = model.score([at])[0], -model.hessian([at])[0, 0]
        wanted = at + slope / information
        found = table.loc["Nomogram", measure]
        assert found["stratified"] == pytest.approx(np.exp(wanted) if at == 0 else wanted, abs=1e-10)
        logs = np.log(found[["lower", "upper"]].astype(float)) if at == 0 else found[["lower", "upper"]]
        assert np.ptp(logs) / 2 == pytest.approx(1.959963984540054 / np.sqrt(information), abs=1e-10)
    benefit = [name for name in table.loc["Nomogram"].index if name.startswith("net benefit at")]
    assert benefit
    for name in benefit:
        threshold, total = float(name.split()[-1]), 0.0
        for part in (site == s for s in range(3)):
            q = part & (risk >= threshold)
            r = 1 - SurvfuncRight(time[q], event[q]).surv_prob[-1]
            total += q.sum() * (r - threshold / (1 - threshold) * (1 - r))
        if table.loc[("Nomogram", name), "sites"] == 3:
            assert table.loc[("Nomogram", name), "stratified"] == pytest.approx(total / len(patients), abs=1e-10)


def test_one_sites_sums_are_its_own_analysis(patients):
    part = patients[patients["site"] == 0]
    time, event = cut(part)
    own = concordance.concordance(time, event, part["lp_DLRS"])
    found = pooled.concordance_of([pooled.concordance_sums(time, event, part["lp_DLRS"])])
    assert found == pytest.approx((own.c, own.se), abs=1e-12)
    own = calibration.observed_expected_at(time, event, part["risk_DLRS"], horizon=HORIZON)
    found = pooled.observed_expected_of([pooled.risk_sums(time, event, part["risk_DLRS"], horizon=HORIZON)])
    assert found == pytest.approx((own.intercept, own.se), abs=1e-12)


def test_the_error_of_net_benefit_is_that_of_repeated_samples():
    time, event, benefits, said = [], [], [], []
    for seed in range(60):
        part = made(300, seed)
        time, event = cut(part)
        sums = pooled.net_benefit_sums(time, event, part["risk_Nomogram"], horizon=HORIZON, threshold=0.3)
        estimate = pooled.net_benefit_of([sums])
        benefits.append(estimate.value)
        said.append(estimate.se)
    assert np.mean(said) / np.std(benefits, ddof=1) == pytest.approx(1, abs=0.25)


def test_random_effects_are_those_of_metafor():
    """rma(yi, vi, method = "PM", test = "knha") of metafor 4.4 for its own data BCG (dat.bcg, log risk ratios)."""
    y = [
        -0.8893,
        -1.5854,
        -1.3481,
        -1.4416,
        -0.2175,
        -0.7861,
        -1.6209,
        0.0120,
        -0.4694,
        -1.3713,
        -0.3394,
        0.4459,
        -0.0173,
    ]
    v = [0.3256, 0.1946, 0.4154, 0.0200, 0.0512, 0.0069, 0.2230, 0.0040, 0.0564, 0.0730, 0.0124, 0.5325, 0.0714]
    found = pooled.random_effects([pooled.Estimate(a, b**0.5) for a, b in zip(y, v, strict=True)])
    assert (found.tau2, found.mean) == pytest.approx((0.318, -0.715), abs=2e-3)
    twin = combine_effects(np.array(y), np.array(v), method_re="iterated")
    assert (found.tau2, found.mean, found.i2) == pytest.approx((twin.tau2, twin.mean_effect_re, twin.i2), abs=1e-5)
    assert found.se == pytest.approx(twin.sd_eff_w_re_hksj, rel=1e-4)
    assert found.prediction_lower < found.lower < found.mean < found.upper < found.prediction_upper
    two = pooled.random_effects([pooled.Estimate(0.1, 0.1), pooled.Estimate(0.3, 0.1)])
    assert np.isnan(two.prediction_lower) and two.lower < 0.2 < two.upper


def test_without_one_site_is_the_analysis_of_the_others(files, tmp_path):
    summary.pool_files(files, tmp_path / "out")
    without = pd.read_csv(tmp_path / "out" / "leave_one_out.csv").set_index(["model", "measure", "left_out"])
    others = summary.pool_files(files[1:], tmp_path / "others").set_index(["model", "measure"])
    for measure in ("C-index", "calibration slope"):
        left, right = without.loc[("DLRS", measure, "Hospital 0")], others.loc[("DLRS", measure)]
        for name in ("stratified", "random_mean", "p", "tau2"):
            assert left[name] == pytest.approx(right[name], rel=1e-12, nan_ok=True)
    life = pd.read_csv(tmp_path / "out" / "life_table.csv")
    assert life["until_months"].iloc[-1] == HORIZON and life["at_risk"].iloc[0] == 600


# ---------------------------------------------------------------- what it tells of a patient


@pytest.mark.parametrize("seed", range(6))
def test_no_count_and_no_difference_of_counts_is_small(seed):
    n_seen = 0
    for _, part in made(220 + 60 * seed, seed).groupby("site"):
        try:
            found = file_of(part)
        except ValueError:
            continue
        n_seen += 1
        time, event = cut(part)
        lost = ~event & (time < HORIZON)
        if found["few_lost_left_out"]:
            part, time, event, lost = (x[~lost] for x in (part, time, event, lost))
        assert lost.sum() == 0 or lost.sum() >= SMALLEST
        free, rows = ~event & ~lost, [[x["events"], x["lost"]] for x in found["life_table"]]
        counts = [count for row in rows for count in row]
        assert sum(row[0] for row in rows) == found["events"] and sum(row[1] for row in rows) == lost.sum()
        for name, model in found["models"].items():  # all cells that the cut-off and the thresholds make
            risk = part[f"risk_{name}"].to_numpy()
            groups, kinds = [risk >= float(threshold) for threshold in model["net_benefit"]], (event, lost, free)
            for _ in range(2):
                for sides in itertools.product(*[(group, ~group) for group in groups]):
                    cell = np.logical_and.reduce([np.ones(len(part), dtype=bool), *sides])
                    counts += [int((cell & kind).sum()) for kind in kinds]
                if model["cutoff"]:
                    score = summary.CUTOFFS[name]
                    groups, kinds = [*groups, part[score].to_numpy() > CUTOFFS[score]], (event, ~event)
                    assert model["cutoff"]["high"] == groups[-1].sum()
        assert not [count for count in counts if 0 < count < SMALLEST]
    assert n_seen


def test_a_patients_time_is_told_no_better_than_its_interval(patients):
    """All times of half a year moved into its first or last twentieth, in the same order: the file stays the same."""
    part = patients[patients["site"] == 0].reset_index(drop=True)
    found = file_of(part)
    edges = np.array([0.0, *summary.EDGES, HORIZON])
    time = part["time_months"].to_numpy()
    inside = (time > 0) & (time < HORIZON) & ~np.isin(time, edges)
    place = np.searchsorted(edges, time[inside], side="left")
    low, high = edges[place - 1], edges[place]
    rank = np.unique(time[inside], return_inverse=True)[1] / inside.sum()
    for start in (0.001, 0.949):
        moved = time.copy()
        moved[inside] = low + (high - low) * (start + 0.05 * rank)
        assert file_of(part.assign(time_months=moved)) == found
    later = part["time_months"] > HORIZON
    assert file_of(part.assign(time_months=np.where(later, 500.0, part["time_months"]))) == found


def test_too_few_patients_are_refused_and_few_losses_left_out(patients):
    part = patients[patients["site"] == 2]
    time, event = cut(part)
    with pytest.raises(ValueError, match="fewer than 5 patients had the event by then"):
        file_of(part[~event | (np.cumsum(event) <= 4)])
    lost = ~event & (time < HORIZON)
    found = file_of(part[~lost | (np.cumsum(lost) <= 3)])
    assert found["few_lost_left_out"] and found["patients"] == len(part) - lost.sum()


def test_a_finished_validation_writes_its_file_and_a_small_one_none(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    intake.stage(run, ROOT / "data_synthetic", only="validation")
    study = cohort.read_study(run).patients
    shutil.copy(ROOT / "data_synthetic" / "dl_prob.csv", run / "interim")
    predictions = made(len(study)).filter(regex="lp_|risk_").assign(**study[["patient_id", "cohort"]])
    predictions.to_csv(run / "interim" / "predictions.csv", index=False)
    released = {"horizon_months": HORIZON, "sha256": "0" * 64, "cutoffs": CUTOFFS}
    monkeypatch.setattr(summary.release, "load", lambda folder: released if folder == tmp_path / "released" else {})
    monkeypatch.chdir(tmp_path)  # from where relative paths are counted, as a user writes them
    for patients, status in ((study, 0), (study[~study["event"]], 1)):
        results.save_csv(patients, run / "interim" / "patients.csv")
        assert summary.main(["write", "run", "--model", "released"]) == status
    assert "No summary is written. Follow up longer" in capsys.readouterr().err
    text = (run / "summary.json").read_text()
    assert summary.read(run / "summary.json").smallest_count == 5
    assert not [patient for patient in study["patient_id"] if f'"{patient}"' in text]


def test_paths_are_those_of_the_folder_where_the_user_is(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(files[0].parent)
    assert summary.main(["pool", *(file.name for file in files), "--out", "together"]) == 0
    assert (files[0].parent / "together" / "pooled.csv").is_file()
    assert summary.main(["pool", "nowhere.json", "--out", "other"]) == 1
    assert "nowhere.json: the file is missing; expected a summary" in capsys.readouterr().err


def test_a_full_disk_is_one_sentence(files, tmp_path):
    code = (
        "import resource, signal, sys\nfrom dlrs_site import summary\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    )
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\nsys.exit(summary.main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "pool", *map(str, files), "--out", str(tmp_path / "out")]
    ran = subprocess.run(words, capture_output=True, text=True)
    assert ran.returncode == 2 and ran.stderr.count("\n") == 1, ran.stderr
    assert "File too large. Free some space, or give another folder" in ran.stderr
    assert not list((tmp_path / "out").glob("*.csv"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"patients": -1}, "patients is not as expected"),
        ({"site": "<script>"}, "site is not as expected"),
        ({"extra": 1}, "extra is not as expected"),
        ({"model": "1" * 64}, "is of another model or horizon"),
        ({"events": True}, "events is not as expected"),
        ({"site": "Hospital 9"}, "holds the numbers of a file before it"),
        (None, "the file is not as expected"),
    ],
)
def test_a_file_that_does_not_fit_is_one_sentence(files, tmp_path, capsys, change, said):
    content = json.loads(files[0].read_text())
    files[2].write_text(json.dumps(content | change) if change else "[" * 100_001)
    assert summary.main(["pool", *map(str, files), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert said in error and str(files[2]) in error and not (tmp_path / "out").exists()
