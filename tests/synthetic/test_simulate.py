"""The synthetic cohort: the paper's counts for any seed, times from the model, phantoms that carry what they should."""

import gzip
import json
import os
import re
import shutil
import signal as signals
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from pandas.testing import assert_frame_equal
from scipy.ndimage import binary_dilation
from scipy.stats import skew

from dlrs.config import ROOT, InputError, published, sha256, stream
from dlrs.stats import concordance, cox, roc
from dlrs.synthetic import cohort_folder, phantoms, simulate

DICTIONARY = (ROOT / "data_synthetic/data_dictionary.md").read_text(encoding="utf-8")
LOW_RISK = {
    name: float(v[0]) for name, v in phantoms.rendered_parameters({"t2w_view": [-1.5], "adc_view": [-1.5]}).items()
}
HIGH_RISK = {
    name: float(v[0]) for name, v in phantoms.rendered_parameters({"t2w_view": [1.5], "adc_view": [1.5]}).items()
}


@pytest.fixture(scope="module")
def default():
    return simulate.draw_cohort()


@pytest.fixture(scope="module")
def studies():
    return simulate.draw_studies(3, 100)


# ---------------------------------------------------------------- clinical tables


@pytest.mark.parametrize("seed", [0, 1, 7, 123456789, simulate.DEFAULT_SEED])
def test_every_count_of_the_paper_holds_for_any_seed(seed):
    clinical, truth = simulate.draw_cohort(seed)
    paper = published()
    assert list(clinical.columns) == list(simulate.CLINICAL_COLUMNS) and clinical.notna().all(axis=None)
    assert clinical["patient_id"].tolist() == [f"P{i:03d}" for i in range(1, 236)] == truth["patient_id"].tolist()
    by_cohort = {name: clinical[clinical["cohort"] == name] for name in simulate.COHORTS}
    for which, (name, rows) in enumerate(by_cohort.items()):
        assert len(rows) == paper["cohort"][f"n_{name}"]
        for column, row in paper["table1"].items():
            if isinstance(row, dict) and "levels" in row and column != "distant_metastasis":
                found = rows[column].value_counts()
                assert {level: found.get(level, 0) for level in row["levels"]} == {
                    level: counts[which] for level, counts in row["levels"].items()
                }, column
        age = paper["table1"]["age"][name]
        assert (round(rows["age"].mean(), 2), round(rows["age"].std(), 2)) == (age["mean"], age["sd"])
        for variant, counts in paper["cohort"]["variants"].items():
            assert (rows["histology"] == variant).sum() == counts[name]
        assert rows["event"].sum() == paper["table1"]["distant_metastasis"]["levels"]["Yes"][which]
        early = rows["time_months"] < 36
        assert (early & (rows["event"] == 1)).sum() == paper["cohort"]["dm_within_3y"][name]["n"]
        assert (early & (rows["event"] == 0)).sum() == len(rows) - paper["cohort"]["binary_training_set"][name]
    overall = paper["cohort"]["age_all"]
    assert (round(clinical["age"].mean(), 2), round(clinical["age"].std(), 2)) == (overall["mean"], overall["sd"])
    node_negative = clinical["ypn_stage"] == "ypN0"
    assert (node_negative & (clinical["ypt_stage"] == "ypT0")).sum() == paper["fig4"]["pcr"]["n"]
    downstaged = node_negative & clinical["ypt_stage"].isin(["ypT0", "ypT1", "ypT2"])
    assert downstaged.sum() == paper["fig4"]["downstaging"]["n"]
    assert not (clinical["time_months"] == 36).any()
    assert set(clinical.groupby("cohort")["centre"].unique().loc["validation"]) == {"C"}


def test_no_time_is_edited(default):
    clinical, truth = default
    seen = (clinical["event"] == 1).to_numpy()
    metastasis, months = truth["metastasis_months"].to_numpy(), clinical["time_months"].to_numpy()
    # An event stands at the model's own time, rounded up to a tenth; a censored patient's lies later.
    np.testing.assert_allclose(months[seen], np.ceil(10 * metastasis[seen]) / 10, atol=1e-9)
    assert (metastasis[~seen] > months[~seen] - 0.1).all()
    assert ((10 * months) % 1 < 1e-9).any() and (months > 0).all()


def test_same_seed_same_bytes_and_another_seed_other_patients(default):
    again = simulate.draw_cohort()
    for one, other in zip(default, again, strict=True):
        assert one.to_csv(index=False) == other.to_csv(index=False)
    assert not simulate.draw_cohort(5)[0].equals(default[0])


def test_signal_moves_views_only(default):
    clinical, truth = default
    blind_clinical, blind = simulate.draw_cohort(signal=0.0)
    assert_frame_equal(clinical, blind_clinical)
    follows = ["t2w_view", "adc_view", "image_score", *phantoms.rendered_parameters(truth)]
    assert_frame_equal(truth.drop(columns=follows), blind.drop(columns=follows))
    np.testing.assert_array_equal(blind["t2w_view"], truth["t2w_noise"])
    np.testing.assert_array_equal(blind["adc_view"], truth["adc_noise"])


def test_committed_tables_are_those_of_the_default_seed(default):
    folder = ROOT / "data_synthetic"
    assert (folder / "clinical.csv").read_text() == default[0].to_csv(index=False, lineterminator="\n")
    # Last digits of exp() and log() may differ between processors; nothing else may.
    assert_frame_equal(pd.read_csv(folder / "truth.csv"), default[1], rtol=0, atol=2e-6)
    about = yaml.safe_load((folder / "cohort.yaml").read_text())
    assert about["class"] == "SYNTHETIC" and about["seed"] == simulate.DEFAULT_SEED and about["exact_counts"] is True


def test_a_large_free_cohort_gives_the_law_back():
    from dlrs.stats.cox import cox_fit

    frame = simulate.draw_studies(11, 1, n_primary=20_000, n_validation=20_000)
    names = list(simulate.CLINICAL_LOG_HR)
    design = np.column_stack([frame["latent_risk"], *(frame[column] == level for column, level in names)]).astype(float)
    fit = cox_fit(frame["time_months"], frame["event"], design)
    error = np.sqrt(np.diag(fit.covariance))
    expected = [simulate.LATENT_LOG_HR, *simulate.CLINICAL_LOG_HR.values()]
    assert (np.abs(fit.coefficients - expected) < 4 * error).all() and error.max() < 0.05
    # Constant baseline: events / sum of exp(lp) x time. Times are rounded up by 0.05 on average.
    exposure = (np.exp(frame["linear_predictor"]) * (frame["time_months"] - 0.05)).sum()
    assert frame["event"].sum() / exposure == pytest.approx(simulate.BASELINE_PER_MONTH, rel=0.05)


def test_free_counts_scatter_round_the_papers(studies):
    paper = published()
    for which, name in enumerate(simulate.COHORTS):
        rows = studies[studies["cohort"] == name]
        n = len(rows) // 100
        assert n == paper["cohort"][f"n_{name}"]
        for column in ("ct_stage", "ypt_stage", "ypn_stage", "lymph_node_status", "locoregional_recurrence"):
            wanted = pd.Series({k: v[which] / n for k, v in paper["table1"][column]["levels"].items()})
            error = np.sqrt(wanted * (1 - wanted) / len(rows))
            found = rows[column].value_counts(normalize=True).reindex(wanted.index)
            assert (abs(found - wanted) < 4.5 * error).all(), column
        early = rows["time_months"] < 36
        within = paper["cohort"]["dm_within_3y"][name]["n"]
        assert (early & rows["event"]).sum() / 100 == pytest.approx(within, abs=2.6)
        per_study = rows.groupby("study")["event"].sum()
        assert per_study.nunique() > 5
    assert studies["event"].dtype == bool and list(studies["ct_stage"].cat.categories) == ["cT3", "cT4"]


def test_views_look_alike_for_every_signal_and_know_what_they_should():
    rng = np.random.default_rng(4)
    latent, one, two = rng.standard_normal((3, 40_000))
    for signal in (0.0, 0.5, 1.0):
        seen = simulate.views(latent, one, two, signal=signal)
        for name, full in simulate.VIEW_CORRELATION.items():
            view = seen[f"{name}_view"]
            assert view.mean() == pytest.approx(0, abs=0.02) and view.std() == pytest.approx(1, abs=0.02)
            assert np.corrcoef(view, latent)[0, 1] == pytest.approx(signal * full, abs=0.02)
    # By hand: weights c / (1 - c^2) = 0.85 / 0.2775 and 0.6 / 0.64; score = their sum over 1 + sum of c x weight.
    score = simulate.views([1.0], [0.0], [0.0])["image_score"][0]
    assert score == pytest.approx((0.85**2 / 0.2775 + 0.36 / 0.64) / (1 + 0.85**2 / 0.2775 + 0.36 / 0.64))


def test_dictionary_states_what_the_truth_allows():
    """20 000 patients of each cohort: Harrell's C under its own follow-up, AUC from the uncensored times."""
    found = []
    for cohort in simulate.COHORTS:
        frame = simulate._draw(stream(1, "ceiling", cohort), 20_000, cohort, signal=1.0)
        clinical, both = frame["clinical_linear_predictor"], simulate.LATENT_LOG_HR * frame["image_score"]
        predictors = {"truth": frame["linear_predictor"], "images and clinical": clinical + both, "both images": both}
        predictors |= {"T2W": frame["t2w_view"], "ADC": frame["adc_view"], "clinical": clinical}
        within = frame["metastasis_months"] <= simulate.HORIZON_MONTHS
        for name, predictor in predictors.items():
            c = concordance.concordance(frame["time_months"], frame["event"], predictor).c
            found.append((name, cohort, c, roc.delong(within, predictor).auc))
    rows = re.findall(r"^\| ([\w ]+) \| (primary|validation) \| (0\.\d{3}) \| (0\.\d{3}) \|$", DICTIONARY, re.M)
    stated = pd.DataFrame(rows).astype({2: float, 3: float})
    assert len(stated) == 12
    assert_frame_equal(stated, pd.DataFrame(found), rtol=0, atol=0.0011)


def validation_cindex(n_studies, *, signal=1.0):
    """C-index in the validation cohort of the clinical factors with all that the phantoms carry, study by study."""
    names = [f"{name}[T.{level}]" for name, level in simulate.CLINICAL_LOG_HR] + ["image_score"]
    found = []
    for _, study in simulate.draw_studies(2, n_studies, signal=signal).groupby("study"):
        fitted_on, judged = (study[study["cohort"] == cohort] for cohort in simulate.COHORTS)
        x, follow_up = cox.columns_named(names, fitted_on), (fitted_on["time_months"], fitted_on["event"])
        coefficients = cox.cox_fit(*follow_up, x, at_limit=True).coefficients.clip(-20, 20)
        prediction = cox.columns_named(names, judged) @ coefficients
        found.append(concordance.concordance(judged["time_months"], judged["event"], prediction).c)
    return np.array(found)


def test_the_truth_gives_the_validation_cindex_that_the_design_asks_for():
    found = validation_cindex(120)
    stated = float(re.search(r"mean validation C-index of \*\*(0\.\d{3})\*\*", DICTIONARY)[1])
    error = found.std(ddof=1) / np.sqrt(len(found))
    assert 0.74 <= stated <= 0.78 and abs(found.mean() - stated) < 3 * error


def test_uninformative_images_leave_the_clinical_factors():
    assert 0.54 < validation_cindex(40, signal=0.0).mean() < 0.62


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed must be a whole number from 0 up; found -1"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"signal": 1.2}, r"signal must lie in \[0, 1\]; found 1.2"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate.draw_cohort(**arguments)


def test_studies_need_patients():
    with pytest.raises(ValueError, match="sizes must be 1 or more; found 2 studies of 170 and 0"):
        simulate.draw_studies(1, 2, n_validation=0)
    with pytest.raises(ValueError, match="seed must be a whole number"):
        simulate.draw_studies(-1, 2)


# ---------------------------------------------------------------- phantoms


@pytest.mark.parametrize("centre", ["A", "B", "C"])
def test_volumes_have_the_geometry_of_their_centre(centre):
    volumes = phantoms.render_patient("P900", centre, LOW_RISK, seed=1)
    assert set(volumes) == set(phantoms.FILES)
    for name, volume in volumes.items():
        sequence = phantoms.ACQUISITION[centre][name[:3]]
        image = nib.Nifti1Image.from_bytes(gzip.decompress(phantoms._nifti(volume, sequence["axes"])))
        assert "".join(nib.aff2axcodes(image.affine)) == sequence["axes"]
        slice_axis = next(i for i, axis in enumerate(sequence["axes"]) if axis in "SI")
        pitch = sequence["slice_thickness_mm"] + sequence["slice_gap_mm"]
        spacing = np.array(image.header.get_zooms())
        assert spacing[slice_axis] == pytest.approx(pitch)
        np.testing.assert_allclose(np.delete(spacing, slice_axis), sequence["voxel_mm"], rtol=1e-5)
        assert np.delete(image.shape, slice_axis).tolist() == sequence["matrix"]
        assert image.header.get_xyzt_units()[0] == "mm" and bytes(image.header["descrip"]).startswith(b"SYNTHETIC")
        tilt = np.degrees(np.arcsin(np.abs(volume.affine[1, 2]) / pitch))
        low, high = sorted(np.abs(sequence["oblique_degrees"]))
        assert low - 1e-6 <= tilt <= high + 1e-6
        canonical = nib.as_closest_canonical(image)
        np.testing.assert_array_equal(np.asarray(canonical.dataobj), volume.data)
        np.testing.assert_allclose(canonical.affine, volume.affine, atol=1e-4)
    t2w, dwi = volumes["t2w_roi.nii.gz"], volumes["dwi_roi.nii.gz"]
    assert t2w.data.shape == volumes["t2w.nii.gz"].data.shape != dwi.data.shape
    for roi in (t2w, dwi):
        slices = np.flatnonzero(roi.data.any(axis=(0, 1)))
        assert set(np.unique(roi.data)) == {0, 1} and np.array_equal(slices, np.arange(slices[0], slices[-1] + 1))


def test_dwi_follows_its_b_values():
    volumes = phantoms.render_patient("P901", "C", HIGH_RISK, seed=1)
    b0, b1000, roi = (volumes[f"dwi_{name}.nii.gz"].data for name in ("b0", "b1000", "roi"))
    adc = -1e3 * np.log(b1000[roi == 1] / b0[roi == 1])
    assert 600 < np.quantile(adc, 0.05) < np.median(adc) < np.quantile(adc, 0.95) < 1900
    faint = phantoms.render_patient("P901", "C", LOW_RISK, seed=1)
    flat = -1e3 * np.log(faint["dwi_b1000.nii.gz"].data[roi == 1] / faint["dwi_b0.nii.gz"].data[roi == 1])
    assert np.quantile(flat, 0.2) > 1.2 * np.quantile(adc, 0.2)  # no core without a view of risk


def test_parameters_change_pixels_of_the_tumour_only():
    low, high = (phantoms.render_patient("P902", "B", look, seed=1) for look in (LOW_RISK, HIGH_RISK))
    for name in ("t2w", "dwi_b1000"):
        roi = low[f"{name[:3]}_roi.nii.gz"].data
        np.testing.assert_array_equal(roi, high[f"{name[:3]}_roi.nii.gz"].data)
        changed = low[f"{name}.nii.gz"].data != high[f"{name}.nii.gz"].data
        assert changed[roi == 1].mean() > 0.3 and not changed[~binary_dilation(roi, iterations=8)].any()
    np.testing.assert_array_equal(low["dwi_b0.nii.gz"].data, high["dwi_b0.nii.gz"].data)


def _smoothness(volumes, lag=12) -> float:
    """Return the texture's autocorrelation at 12 pixels on boxes of 112 x 112, by nothing but NumPy."""
    image, roi = volumes["t2w.nii.gz"].data, volumes["t2w_roi.nii.gz"].data == 1
    found = []
    for z in np.flatnonzero(roi.any(axis=(0, 1))):
        i, j = (np.flatnonzero(roi[:, :, z].any(axis=axis)) for axis in (1, 0))
        rows, columns = (np.linspace(edge[0], edge[-1], 112).round().astype(int) for edge in (i, j))
        inside = roi[np.ix_(rows, columns, [z])][:, :, 0]
        box = image[np.ix_(rows, columns, [z])][:, :, 0].astype(float)
        box -= box[inside].mean()
        for x, mask in ((box, inside), (box.T, inside.T)):
            both = mask[lag:] & mask[:-lag]
            found.append((x[lag:] * x[:-lag])[both].mean() / box[inside].var())
    return float(np.mean(found))


def test_texture_survives_boxing_and_resizing():
    views = np.linspace(-2, 2, 12)
    looks = phantoms.rendered_parameters({"t2w_view": views, "adc_view": np.zeros(12)})
    found = [
        _smoothness(phantoms.render_patient(f"P{i}", "ABC"[i % 3], {k: float(v[i]) for k, v in looks.items()}, seed=2))
        for i in range(12)
    ]
    assert np.corrcoef(found, views)[0, 1] > 0.8


def test_t2w_tells_the_risk_by_its_pattern_and_not_by_its_grey_values():
    gained, spread, skewness = [], [], []
    for number in range(6):
        low, high = (phantoms.render_patient(f"P{number}", "ABC"[number % 3], k, seed=4) for k in (LOW_RISK, HIGH_RISK))
        roi = low["t2w_roi.nii.gz"].data == 1
        assert np.array_equal(roi, high["t2w_roi.nii.gz"].data == 1)
        before, after = (volumes["t2w.nii.gz"].data[roi].astype(float) for volumes in (low, high))
        gained.append(_smoothness(high) - _smoothness(low))
        spread.append(after.std() / before.std())
        skewness.append(skew(after) - skew(before))
    # between a view of -1.5 and one of 1.5, of the same tumours: the pattern changes in all, their histogram hardly
    assert min(gained) > 0.1
    assert abs(np.mean(spread) - 1) < 0.03 and np.abs(np.array(spread) - 1).max() < 0.1
    assert abs(np.mean(skewness)) < 0.1


def test_tumour_size_tells_of_the_risk_only_where_it_is_asked_to():
    clinical, truth = simulate.draw_cohort(3)
    again, told = simulate.draw_cohort(3, size_signal=1.0)
    assert (truth["tumour_size"] == 1).all()
    pd.testing.assert_frame_equal(clinical, again)
    pd.testing.assert_frame_equal(truth.drop(columns="tumour_size"), told.drop(columns="tumour_size"))
    np.testing.assert_allclose(np.log(told["tumour_size"]), 0.3 * told["latent_risk"], atol=2e-6)
    _, half = simulate.draw_cohort(3, signal=0.5, size_signal=1.0)
    np.testing.assert_allclose(np.log(half["tumour_size"]), 0.15 * half["latent_risk"], atol=2e-6)
    assert (simulate.draw_cohort(3, signal=0.0, size_signal=1.0)[1]["tumour_size"] == 1).all()
    with pytest.raises(ValueError, match=r"size_signal must lie in \[0, 1\]; found 2"):
        simulate.draw_cohort(3, size_signal=2)
    long, short = (
        phantoms.render_patient("P1", "A", LOW_RISK | {"tumour_size": size}, seed=1)["t2w_roi.nii.gz"].data
        for size in (1.5, 1.0)
    )
    slices = [mask.any(axis=(0, 1)).sum() for mask in (long, short)]
    assert slices[0] > 1.3 * slices[1]


def test_some_tumours_span_more_than_twenty_slices_and_most_fewer():
    lengths = np.array([phantoms._anatomy(stream(1, "anatomy", f"P{i:03d}"))["length"] for i in range(1, 236)])
    spans = lengths / 3.3
    assert 0.02 < (spans > 22).mean() < 0.3


def test_an_unknown_centre_is_named():
    with pytest.raises(ValueError, match="centre must be one of A, B, C; found 'D'"):
        phantoms.render_patient("P001", "D", LOW_RISK, seed=1)


# ---------------------------------------------------------------- cohort folder


def _hashes(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    assert cohort_folder.write_cohort(folder, patients=3, jobs=1) == 3
    return folder


def test_a_second_call_does_nothing(small):
    before = {p: p.stat().st_mtime_ns for p in small.rglob("*.[ngcyj]*") if p.name != "manifest.json"}
    assert cohort_folder.write_cohort(small, patients=3, jobs=1) == 0
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_a_few_patients_come_from_both_cohorts_and_outcomes(small):
    whole = simulate.draw_cohort()[0]
    few = whole.loc[cohort_folder._spread(whole, 24)]
    early = few["event"].eq(1) & few["time_months"].lt(36)
    # By hand: 24 x 170 / 235 = 17.4 and 24 x 65 / 235 = 6.6 patients, of whom 3.7 and 1.9 early.
    counts = early.groupby(few["cohort"]).agg(["size", "sum"])
    assert counts["size"].sum() == 24 and counts.loc["primary", "size"] in (17, 18)
    assert counts.loc["primary", "sum"] in (3, 4) and counts.loc["validation", "sum"] in (1, 2)
    clinical = pd.read_csv(small / "clinical.csv")
    same = whole.set_index("patient_id").loc[clinical["patient_id"]].reset_index()
    assert_frame_equal(clinical, same, check_dtype=False)
    assert yaml.safe_load((small / "cohort.yaml").read_text())["exact_counts"] is False


def test_bytes_do_not_depend_on_the_number_of_jobs(small, tmp_path):
    cohort_folder.write_cohort(tmp_path, patients=3, jobs=2)
    assert _hashes(tmp_path) == _hashes(small)


def test_manifest_lists_what_is_there(small):
    said = json.loads((small / "images/manifest.json").read_text())["patients"]
    assert set(said) == set(pd.read_csv(small / "clinical.csv")["patient_id"])
    for patient, record in said.items():
        for name, file in record["files"].items():
            path = small / "images" / patient / name
            assert path.stat().st_size == file["bytes"] and sha256(path) == file["sha256"]
            image = nib.load(path)
            assert image.get_data_dtype() in (np.int16, np.uint8)


def test_a_damaged_file_and_a_missing_folder_are_rendered_again(small):
    whole = _hashes(small / "images")
    first, second, *_ = sorted(p for p in (small / "images").iterdir() if p.is_dir())
    time.sleep(0.01)
    damaged = bytearray((first / "t2w.nii.gz").read_bytes())
    damaged[5000] ^= 1  # same size
    (first / "t2w.nii.gz").write_bytes(damaged)
    (second / "dwi_b0.nii.gz").unlink()
    assert cohort_folder.write_cohort(small, patients=3, jobs=1) == 2
    assert _hashes(small / "images") == whole


def test_another_signal_renders_anew_and_other_patients_go(small, tmp_path):
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    informative = _hashes(tmp_path)
    assert cohort_folder.write_cohort(tmp_path, patients=3, jobs=1, signal=0.0) == 3
    blind = _hashes(tmp_path)
    assert informative["clinical.csv"] == blind["clinical.csv"] and informative["truth.csv"] != blind["truth.csv"]
    roi = [name for name in informative if name.endswith("roi.nii.gz")]
    t2w = [name for name in informative if name.endswith("t2w.nii.gz")]
    assert len(roi) == 6 and all(informative[name] == blind[name] for name in roi)
    assert len(t2w) == 3 and all(informative[name] != blind[name] for name in t2w)
    cohort_folder.write_cohort(tmp_path, patients=1, jobs=1)
    assert len([p for p in (tmp_path / "images").iterdir() if p.is_dir()]) == 1


def test_a_killed_run_leaves_no_half_folder_and_goes_on(small, tmp_path):
    command = [
        sys.executable,
        "-m",
        "dlrs.synthetic.cohort_folder",
        "--out",
        str(tmp_path),
        "--patients",
        "3",
        "--jobs",
        "1",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        # Kill in the middle of a patient: while a half-written folder lies there.
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("images/.partial-*/t2w.nii.gz")) and time.monotonic() < deadline:
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signals.SIGKILL)
        process.wait()
    assert not (tmp_path / "images/manifest.json").exists()
    for folder in tmp_path.glob("images/P*"):
        assert {p.name for p in folder.iterdir()} == {*phantoms.FILES, phantoms.RECORD}
    assert 1 <= cohort_folder.write_cohort(tmp_path, patients=3, jobs=1) <= 3
    assert not list(tmp_path.glob("images/.partial-*"))
    assert _hashes(tmp_path) == _hashes(small)


def test_a_failing_patient_stops_the_run_and_is_not_taken_for_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(phantoms, "_nifti", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        cohort_folder.write_cohort(tmp_path, patients=2, jobs=1)
    assert not list(tmp_path.glob("images/P*")) and not (tmp_path / "images/manifest.json").exists()


def test_a_hospitals_folder_is_never_written_to(tmp_path):
    (tmp_path / "cohort.yaml").write_text("class: COHORT\n")
    with pytest.raises(InputError, match="holds a cohort that is not synthetic"):
        cohort_folder.write_cohort(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["cohort.yaml"]


def test_images_alone_must_belong_to_the_tables(tmp_path):
    cohort_folder.write_cohort(tmp_path, images=False)
    assert not (tmp_path / "images").exists()
    with pytest.raises(InputError, match="belongs to other parameters"):
        cohort_folder.write_cohort(tmp_path, seed=3, tables=False)


def test_command_line_says_what_is_wrong(tmp_path, capsys):
    assert cohort_folder.main(["--out", str(tmp_path), "--signal", "2"]) == 2
    assert "signal must lie in [0, 1]" in capsys.readouterr().err
    assert cohort_folder.main(["--out", str(tmp_path), "--patients", "999"]) == 2
    assert "patients must lie between 1 and 235; found 999" in capsys.readouterr().err
    assert cohort_folder.main(["--out", str(tmp_path), "--jobs", "0"]) == 2
    assert cohort_folder.main(["--out", str(tmp_path), "--tables-only", "--free-counts"]) == 0
    about = yaml.safe_load((tmp_path / "cohort.yaml").read_text())
    assert about["exact_counts"] is False and len(pd.read_csv(tmp_path / "clinical.csv")) == 235
