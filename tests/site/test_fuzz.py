"""Files cut short and with bits flipped, one role after the other: read or refused in words, nothing else raised."""

import random
import warnings

import nibabel as nib
import numpy as np
import pytest
from test_other_files import ROWS, workbook

from dicom_files import ge, multi_frame, save, segmentation, single_slices
from dlrs.config import InputError
from dlrs.imaging import dicom, volumes
from dlrs_site import intake, privacy

N_DAMAGED = 5000  # of each role, half of them cut and half flipped
SHAPE, AFFINE = (12, 10, 4), np.diag([2.0, 2.0, 5.0, 1.0])
ON = volumes.Volume(np.ones(SHAPE, dtype=np.float32), AFFINE, (2.0, 2.0, 5.0), "RAS")


def made(seed, most=900):
    return nib.Nifti1Image(np.random.default_rng(seed).integers(0, most, SHAPE).astype(np.int16), AFFINE)


def read(path, **more):
    """Read a volume as study and doctor do, and its header as the search for names does."""
    privacy._header_texts([path])
    try:
        volumes.read_stored(path, **more)
    except dicom.Unusable as error:
        return str(error)


def study(path):
    try:
        intake.read_cohort(path.parent)
    except InputError as error:
        return str(error)


def series(folder):
    save(single_slices({None: made(1)}, "P1", "t2w"), folder / "t2w")
    return folder / "t2w" / "IM0003", lambda _: read(folder / "t2w")


def two_b_values(folder):
    save(single_slices({0: made(1), 1000: made(2)}, "P1", "dwi", say=ge), folder / "dwi")
    return folder / "dwi" / "IM0007", lambda _: read(folder / "dwi", b_value=1000)


def enhanced(folder):
    return save(multi_frame({None: made(1)}, "P1", "t2w"), folder / "t2w.dcm"), read


def mask(folder):
    source = single_slices({None: made(1)}, "P1", "t2w")
    seg = segmentation(made(3, 2), source, "P1", "t2w_roi")
    return save(seg, folder / "t2w_roi.dcm"), lambda path: read(path, on=ON)


def nifti(folder, name="t2w.nii.gz"):
    nib.save(made(1), folder / name)
    return folder / name, read


def plain_nifti(folder):
    return nifti(folder, "t2w.nii")


def b_values(folder):
    nib.save(nib.funcs.concat_images([made(1), made(2)]), folder / "dwi.nii")
    (folder / "dwi.bval").write_text("0 1000\n")
    return folder / "dwi.bval", lambda _: read(folder / "dwi.nii", b_value=1000)


def settings(folder):
    cohort_dir = folder.parents[1]
    (cohort_dir / "clinical.csv").write_text(",".join(ROWS) + "\n" + ",".join(ROWS.values()) + "\n")
    return cohort_dir / "cohort.yaml", study


def table(folder):
    settings(folder)
    return folder.parents[1] / "clinical.csv", study


def spreadsheet(folder):
    workbook(folder.parents[1], lambda sheet: None)
    return folder.parents[1] / "clinical.xlsx", study


DICOM = (series, two_b_values, enhanced, mask)
ROLES = [series, two_b_values, enhanced, mask, nifti, plain_nifti, b_values, settings, table, spreadsheet]


def fuzz(role, tmp_path, n, seed=11):
    """Damage a role's file n times; return how often it was read all the same, and how often refused."""
    folder = tmp_path / "images" / "P1"
    folder.mkdir(parents=True)
    (tmp_path / "cohort.yaml").write_text("name: Test\nclass: COHORT\nb_values: [0, 1000]\n")
    path, reader = role(folder)
    good, draw, refused = path.read_bytes(), random.Random(seed), 0
    for turn in range(n):
        damaged = bytearray(good)
        reach = min(len(good), 4000 if turn % 4 < 2 else len(good))  # the header more often than the pixels
        if turn % 2:
            damaged = damaged[: draw.randrange(reach)]
        else:
            damaged[draw.randrange(reach)] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the readers, about what was damaged
            refused += reader(path) is not None
    return n - refused, refused


@pytest.mark.parametrize("role", ROLES)
def test_some_cuts_and_flips_are_read_or_refused(role, tmp_path):
    read_, refused = fuzz(role, tmp_path, 40)
    assert refused > (15 if role in DICOM else 5)  # what is cut short is never passed over


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_cuts_and_flips_are_read_or_refused(role, tmp_path):
    read_, refused = fuzz(role, tmp_path, N_DAMAGED)
    print(f"{role.__name__}: {N_DAMAGED} damaged, {read_} read, {refused} refused")
    assert refused > N_DAMAGED // 10
