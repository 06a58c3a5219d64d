"""Stages that make the controls of the whole chain: what a control is trained on, and its probabilities joined."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from dlrs import cohort
from dlrs.config import resolve, stream, whole_file
from dlrs.results import save_csv
from dlrs.stats import resample
from dlrs.synthetic import cohort_folder, simulate
from dlrs.synthetic.chain import control_folder
from dlrs_run.stages import list_boxes_of

N_FOLDS, RIDGE = 10, 100.0  # of the regression that predicts a patient's centre from a network's features


def prepare_control(
    run_dir: str | Path,
    base_dir: str | Path,
    cohort_dir: str | Path,
    name: str,
    signal: float | None = None,
    altered: str | None = None,
    seed: int = simulate.DEFAULT_SEED,
) -> None:
    """Write what notebook 03 trains one control on: `patients.csv` and, but for a signal, `boxes.csv`.

    Parameters
    ----------
    run_dir
        The run of the controls; the files go to its `control_folder`.
    base_dir
        A finished run, whose patients and boxes the control starts from.
    cohort_dir
        The base run's cohort folder.
    name
        The control's name.
    signal
        Render the cohort's phantoms anew at this signal strength (see `simulate.views`).
    altered : {"shuffled", "mask"}, optional
        Boxes made from volumes whose voxels inside the ROI are shuffled, or that hold the ROI's mask and nothing else.
    seed
        Draws the shuffles.
    """
    base, folder = resolve(base_dir) / "interim", control_folder(run_dir, name)
    interim = folder / "interim"
    patients = cohort.read_patients(base / "patients.csv")
    save_csv(patients, interim / "patients.csv")
    settings = cohort.read_settings(base_dir)
    cohort.write_settings(settings | ({} if signal is None else {"signal": signal}), folder)
    if signal is not None:
        cohort_folder.write_cohort(folder / "cohort", seed=settings["seed"], signal=signal, jobs=os.cpu_count() or 1)
    elif altered:
        save_csv(_altered_boxes(resolve(cohort_dir), patients, interim, altered, seed), interim / "boxes.csv")
    else:
        list_boxes_of(base, interim)


def _altered_boxes(cohort_dir: Path, patients: pd.DataFrame, interim: Path, kind: str, seed: int) -> pd.DataFrame:
    from dlrs.config import sha256
    from dlrs.imaging import cropping, volumes

    rows, b_values = [], cohort.read_settings(interim.parent).get("b_values") or volumes.B_VALUES
    for patient in patients["patient_id"]:
        for sequence in volumes.SEQUENCES:
            found = volumes.read_sequence(cohort_dir / "images" / patient, sequence, b_values=b_values)
            volume = found.volume.array.astype(np.float32)
            if kind == "mask":
                volume = found.roi.astype(np.float32)
            elif kind == "shuffled":
                volume[found.roi] = stream(seed, "shuffled", patient, sequence).permutation(volume[found.roi])
            else:
                raise ValueError(f"altered must be mask or shuffled; found {kind!r}")
            path = interim / "boxes" / sequence / f"{patient}.npy"
            with whole_file(path) as partial:
                np.save(partial, cropping.make_box(volume, found.roi).array)
            file = str(path.relative_to(interim))
            rows.append(dict(patient_id=patient, sequence=sequence, file=file, sha256=sha256(path)))
    return pd.DataFrame(rows)


def finish_control(run_dir: str | Path, name: str) -> None:
    """Join a control's probabilities into `dl_prob.csv`, and delete networks, boxes and volumes."""
    folder = control_folder(run_dir, name)
    interim = folder / "interim"
    patients = cohort.read_patients(interim / "patients.csv")
    t2w, adc = (pd.read_csv(interim / f"prob_{s}.csv", dtype={"patient_id": str}) for s in ("T2W", "ADC"))
    save_csv(cohort.join_probabilities(patients, t2w, adc), interim / "dl_prob.csv")
    for large in (folder / "models", interim / "boxes", folder / "cohort"):
        shutil.rmtree(large, ignore_errors=True)


def centre_from_features(run_dir: str | Path, base_dir: str | Path, seed: int = simulate.DEFAULT_SEED) -> None:
    """Predict each patient's centre from the 512 features before the networks' last layer; write `parts/centre.csv`.

    Ridge regression of the centres' indicators on standardised features, judged on patients left out (10 folds).
    """
    from dlrs.imaging import resnet, training

    base = resolve(base_dir)
    patients = cohort.read_patients(base / "interim" / "patients.csv")
    rows = []
    for sequence in ("T2W", "ADC"):
        network, _ = resnet.load_model(base / "models" / sequence)
        boxes = training.load_boxes(base / "interim" / "boxes.csv", sequence, patients["patient_id"])
        reader = next(network.children()) if isinstance(network, resnet.Ensemble) else network
        features = training.features(reader[:-1], boxes)
        guess = predict_level(features, patients["centre"].to_numpy(), seed=seed)
        rows += [(sequence, centre, g) for centre, g in zip(patients["centre"], guess, strict=True)]
    save_csv(pd.DataFrame(rows, columns=["sequence", "centre", "guess"]), resolve(run_dir) / "parts" / "centre.csv")


def predict_level(features: np.ndarray, level: np.ndarray, *, seed: int) -> np.ndarray:
    """Return each row's level as predicted from the rows of other folds, by ridge regression on indicators."""
    names = np.unique(level)
    target = (level[:, None] == names).astype(float)
    part, guess = resample.folds(level, N_FOLDS, seed=seed), np.empty(level.size, dtype=level.dtype)
    for fold in range(1, N_FOLDS + 1):
        learn, left_out = part != fold, part == fold
        mean, spread = features[learn].mean(axis=0), features[learn].std(axis=0)
        x = (features - mean) / np.where(spread > 0, spread, 1)
        gram = x[learn] @ x[learn].T + RIDGE * np.eye(learn.sum())
        weights = np.linalg.solve(gram, target[learn] - target[learn].mean(axis=0))
        guess[left_out] = names[(x[left_out] @ x[learn].T @ weights + target[learn].mean(axis=0)).argmax(axis=1)]
    return guess
