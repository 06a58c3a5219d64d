"""A hospital's way through all commands: its folder is checked, studied, searched, released and applied elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import hospital
from dlrs import cohort
from dlrs.config import ROOT
from dlrs.imaging import volumes

PRIVATE = {"interim", "models", "kept", "doctor", ".snakemake", ".lock"}


def command(*words) -> str:
    """Run `run.py` with these words in a process of its own and return what it says."""
    start = f"import sys, run; run.set_up = lambda *_: {sys.executable!r}; sys.exit(run.main(sys.argv[1:]))"
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    ran = subprocess.run(
        [sys.executable, "-c", start, *map(str, words)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def boxes_and_volumes_are_those_that_were_drawn(own, run, drawn):
    """Hold boxes, ADC and orientation to arrays that NumPy cut and computed."""
    boxes = pd.read_csv(run / "interim" / "boxes.csv", dtype={"patient_id": str})
    known = set(cohort.read_patients(run / "interim" / "patients.csv")["patient_id"])
    assert set(boxes["patient_id"]) == known and len(known) == 38  # two lack their CEA
    for row in boxes.itertuples():
        image, roi = drawn[row.patient_id][row.sequence]
        box, wanted = np.load(run / "interim" / row.file), hospital.box(image, roi, 112)
        np.testing.assert_allclose(box, wanted, atol=2e-4)
        assert min(np.abs(box - turned).max() for turned in (wanted[:, ::-1], wanted[:, :, ::-1])) > 0.5
    for patient in sorted(known)[::7]:
        for sequence, (image, roi) in drawn[patient].items():
            found = volumes.read_sequence(own / "images" / patient, sequence)
            ras = (slice(None, None, -1), slice(None, None, -1), slice(None))
            np.testing.assert_array_equal(found.roi, roi.transpose(2, 1, 0)[ras])
            np.testing.assert_allclose(found.volume.array, image.transpose(2, 1, 0)[ras], rtol=1e-5, atol=1e-3)


def nothing_that_leaves_holds(secrets, folder):
    files = [path for path in folder.rglob("*") if path.is_file() and not PRIVATE & set(path.relative_to(folder).parts)]
    assert files
    for path in files:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path.relative_to(folder)


@pytest.mark.imaging
@pytest.mark.slow
def test_a_hospitals_cohort_goes_through_all_commands(tmp_path):
    odd = tmp_path / "Südklinik's 100 % 上海"
    odd.mkdir()
    example, own, run, model, applied = (odd / name for name in ("example", "own", "run", "model", "applied"))
    command("new-cohort", example)
    assert "0 errors" in command("check-cohort", example, "--out", odd / "example pages")

    drawn, secrets = hospital.write(own)
    said = command("check-cohort", own, "--out", odd / "pages")
    assert "0 errors" in said and not [name for name in drawn if name in said]
    command("reproduce", "--cohort", own, "--out", run, "--profile", "smoke")
    boxes_and_volumes_are_those_that_were_drawn(own, run, drawn)
    assert "none of 40 identifiers" in command("check-private", run, "--cohort", own)
    nothing_that_leaves_holds(secrets, run)

    command("release", "--run", run, "--out", model)
    nothing_that_leaves_holds(secrets, model)
    command("validate", "--model", model, "--cohort", own, "--out", applied, "--profile", "smoke")
    nothing_that_leaves_holds(secrets, applied)
    there, here = (
        pd.read_csv(folder / "interim" / "predictions.csv", index_col="patient_id") for folder in (run, applied)
    )
    assert len(here) == 16 and set(here["cohort"]) == {"validation"}
    for name in ("lp_Clinical", "lp_Nomogram"):  # a release holds the models of the second track
        np.testing.assert_allclose(here[name], there.loc[here.index, f"{name}_oof"], atol=1e-5)
