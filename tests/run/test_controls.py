"""Controls of the whole chain are trained on what they should be, and read back as such."""

import numpy as np
import pandas as pd
import pytest

from dlrs import cohort
from dlrs.config import ROOT, stream
from dlrs.stats import concordance
from dlrs.stats.survival import binary_outcome
from dlrs.synthetic import chain
from dlrs_run import controls
from dlrs_site import intake


def test_the_c_index_within_strata_counts_no_pair_across_them():
    time, event = [1, 2, 3, 4, 5, 6], [1, 1, 0, 1, 1, 0]
    prediction, fold = [3, 2, 1, 10, 30, 20], [1, 1, 1, 2, 2, 2]
    # fold 1: three pairs, all concordant; fold 2: (4, 5) and (4, 6) discordant, (5, 6) concordant
    c, lower, upper = chain.concordance_within(time, event, prediction, fold)
    assert c == pytest.approx(4 / 6) and 0 <= lower < c < upper <= 1
    c, *_ = chain.concordance_within([*time, 7, 8], [*event, 0, 0], [*prediction, 0, 0], [*fold, 3, 3])
    assert c == pytest.approx(4 / 6)  # a stratum without an event adds nothing
    whole = concordance.concordance(time, event, prediction, interval="jackknife")
    assert chain.concordance_within(time, event, prediction, [1] * 6) == pytest.approx(
        (whole.c, whole.lower, whole.upper)
    )


def test_images_go_to_the_patients_whose_outcomes_were_their_labels():
    patients = intake.read_cohort(ROOT / "data_synthetic").patients
    outcome = binary_outcome(patients["time_months"], patients["event"], horizon=36)
    known = (patients["cohort"] == "primary").to_numpy() & ~np.isnan(outcome)
    labels = stream(4, "permuted target").permutation(outcome[known])  # as notebook 03 does it
    rows, of = chain.permuted_rows(patients, 4, horizon_months=36.0)
    assert np.array_equal(outcome[of], labels) and np.array_equal(rows, np.flatnonzero(known))
    labelled = np.full(len(patients), 0.5)
    labelled[known] = labels
    exchanged = chain.exchange_images(patients.assign(dl_prob=labelled), 4, horizon_months=36.0)
    assert np.array_equal(exchanged["dl_prob"].to_numpy()[known], outcome[known])
    validation = (patients["cohort"] == "validation").to_numpy()
    assert sorted(exchanged["dl_prob"][validation]) == sorted(labelled[validation])


def test_a_level_is_predicted_where_features_hold_it():
    rng = np.random.default_rng(1)
    level = np.repeat(["A", "B", "C"], 60)
    noise = rng.standard_normal((180, 40))
    assert (controls.predict_level(noise, level, seed=1) == level).mean() < 0.5
    noise[:, 3] += 4 * (level == "B")
    noise[:, 7] += 4 * (level == "C")
    assert (controls.predict_level(noise, level, seed=1) == level).mean() > 0.9


def test_a_control_starts_from_the_base_runs_patients_and_boxes(tmp_path):
    base, run = tmp_path / "base", tmp_path / "run"
    (base / "interim" / "boxes").mkdir(parents=True)
    intake.stage(base, ROOT / "data_synthetic")
    patients = cohort.read_study(base).patients
    patients.to_csv(base / "interim" / "patients.csv", index=False)
    (base / "interim" / "boxes" / "x.npy").write_bytes(b"")
    boxes = pd.DataFrame(dict(patient_id=patients["patient_id"], sequence="T2W", file="boxes/x.npy", sha256="0"))
    boxes.to_csv(base / "interim" / "boxes.csv", index=False)
    controls.prepare_control(run, base, "data_synthetic", "permuted-2")
    interim = run / "interim" / "controls" / "permuted-2" / "interim"
    pd.testing.assert_frame_equal(cohort.read_patients(interim / "patients.csv"), patients)
    assert (interim / pd.read_csv(interim / "boxes.csv")["file"][0]).resolve() == base / "interim" / "boxes" / "x.npy"
