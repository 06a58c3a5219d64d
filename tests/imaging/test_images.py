"""Volumes, ADC and boxes, on hand-made volumes and on the scanner files that pydicom and nibabel ship."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from dlrs.config import InputError, sha256
from dlrs.imaging import cropping, volumes

SHAPE = (30, 26, 24)
AFFINE = np.array([[0.8, 0, 0, -12.0], [0, 0.8, 0, -9.5], [0, 0, 4.0, 31.0], [0, 0, 0, 1]])
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
NIBABEL_FILES = Path(nib.__file__).parent / "tests" / "data"


def anatomy(seed: int = 1) -> dict[str, np.ndarray]:
    """Volumes of one patient in RAS: whole-number signals, and an ROI of 22 slices that narrows to both ends."""
    draw = np.random.default_rng(seed)
    roi = np.zeros(SHAPE, dtype=np.uint8)
    for z in range(1, 23):
        half = 9 - abs(z - 11) // 2
        roi[14 - half : 14 + half, 12 - half // 2 : 12 + half // 2, z] = 1
    b0 = draw.integers(200, 900, SHAPE)
    return {
        "t2w": draw.integers(10, 1000, SHAPE).astype(np.int16),
        "t2w_roi": roi,
        "dwi_b0": b0.astype(np.int16),
        "dwi_b1000": (b0 * draw.uniform(0.2, 0.6, SHAPE)).astype(np.int16),
        "dwi_roi": roi[:, :, ::-1].copy(),
    }


def save(array: np.ndarray, path: Path, *, stored: str = "RAS", affine: np.ndarray = AFFINE) -> None:
    """Write an array that is in RAS so that it lies in the file in another orientation."""
    turn = axcodes2ornt(tuple(stored))
    turn = nib.orientations.ornt_transform(axcodes2ornt(("R", "A", "S")), turn)
    image = nib.Nifti1Image(apply_orientation(array, turn), affine @ inv_ornt_aff(turn, array.shape))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(path)


def save_patient(folder: Path, volumes: dict[str, np.ndarray], *, stored: str = "RAS") -> Path:
    for name, array in volumes.items():
        save(array, folder / f"{name}.nii.gz", stored=stored)
    return folder


def save_series(array: np.ndarray, folder: Path, *, affine: np.ndarray = AFFINE, shuffled: bool = False) -> Path:
    """Write a RAS array as a DICOM series of axial slices, rows to the back and columns to the patient's left."""
    folder.mkdir(parents=True)
    spacing = nib.affines.voxel_sizes(affine)
    corner = affine @ [array.shape[0] - 1, array.shape[1] - 1, 0, 1]
    series = generate_uid(entropy_srcs=[folder.name])
    order = np.random.default_rng(3).permutation(array.shape[2]) if shuffled else np.arange(array.shape[2])
    for z in range(array.shape[2]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[folder.name, str(z)])
        slice_ = FileDataset(str(folder), {}, file_meta=meta, preamble=b"\0" * 128)
        slice_.SOPClassUID, slice_.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.SeriesInstanceUID, slice_.Modality, slice_.InstanceNumber = series, "MR", int(order[z]) + 1
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        slice_.ImagePositionPatient = [float(-corner[0]), float(-corner[1]), float(corner[2] + z * spacing[2])]
        slice_.PixelSpacing, slice_.SliceThickness = [float(spacing[1]), float(spacing[0])], float(spacing[2])
        pixels = np.ascontiguousarray(array[::-1, ::-1, z].T.astype(np.uint16))
        slice_.Rows, slice_.Columns = pixels.shape
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 0
        slice_.PixelData = pixels.tobytes()
        slice_.save_as(folder / f"slice{order[z]:03d}.dcm", enforce_file_format=True)
    return folder


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """Four patients in three orientations."""
    folder = tmp_path_factory.mktemp("cohort")
    for number, stored in enumerate(["RAS", "LPS", "PIR", "RAS"], start=1):
        save_patient(folder / "images" / f"P{number:03d}", anatomy(number), stored=stored)
    return folder


def table(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"patient_id": names, "row": [int(name[1:]) + 1 for name in names]})


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("stored", ["RAS", "LPS", "PIR", "SAL"])
def test_a_volume_comes_back_in_ras_with_its_spacing_whatever_its_order_in_the_file(tmp_path, stored):
    array = anatomy()["t2w"]
    save(array, tmp_path / "t2w.nii.gz", stored=stored)
    volume = volumes.read_volume(tmp_path / "t2w.nii.gz")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    assert volume.spacing_mm == pytest.approx((0.8, 0.8, 4.0)) and volume.stored == stored
    assert volume.array.dtype == np.float32


def test_an_oblique_volume_keeps_its_grid_and_its_affine(tmp_path):
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    save(anatomy()["t2w"], tmp_path / "t2w.nii.gz", affine=turn @ AFFINE)
    volume = volumes.read_volume(tmp_path / "t2w.nii.gz")
    np.testing.assert_array_equal(volume.array, anatomy()["t2w"])
    np.testing.assert_allclose(volume.affine, turn @ AFFINE, atol=1e-5)


def test_scaled_and_single_frame_four_dimensional_niftis_are_read(tmp_path):
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1), AFFINE)
    image.header.set_slope_inter(0.5, 10)
    image.to_filename(tmp_path / "a.nii")
    volume = volumes.read_volume(tmp_path / "a.nii")
    assert volume.array.shape == (2, 3, 4)
    assert volume.array.min() == pytest.approx(10, abs=0.5) and volume.array.max() == pytest.approx(21.5, abs=0.5)


@pytest.mark.parametrize(
    ("file", "shape", "spacing", "stored"),
    [
        ("anatomical.nii", (33, 41, 25), (2, 2, 2), "LAS"),
        ("reoriented_anat_moved.nii", (21, 26, 22), (4, 4, 4), "RAS"),
    ],
)
def test_real_niftis_of_nibabel_are_read(file, shape, spacing, stored):
    volume = volumes.read_volume(NIBABEL_FILES / file)
    assert volume.array.shape == shape and volume.stored == stored
    assert volume.spacing_mm == pytest.approx(spacing)
    direct = nib.as_closest_canonical(nib.load(NIBABEL_FILES / file))
    np.testing.assert_array_equal(volume.array, direct.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(volume.affine, direct.affine)


def real_series(folder: Path, files: list[Path]) -> Path:
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder / file.name)
    return folder


def test_a_real_ct_series_of_pydicom_is_read_in_the_order_of_its_positions(tmp_path):
    files = sorted((PYDICOM_FILES / "dicomdirtests" / "98892001" / "CT5N").iterdir())
    volume = volumes.read_volume(real_series(tmp_path / "t2w", files))
    slices = sorted((pydicom.dcmread(f) for f in files), key=lambda s: s.ImagePositionPatient[2])
    assert volume.array.shape == (16, 16, 5) and volume.spacing_mm == pytest.approx((0.488281, 0.488281, 2.5))
    for z, slice_ in enumerate(slices):
        hounsfield = slice_.pixel_array * float(slice_.RescaleSlope) + float(slice_.RescaleIntercept)
        np.testing.assert_allclose(volumes.axial(volume.array, z), hounsfield)
        left, back, up = slice_.ImagePositionPatient  # centre of the first pixel: the patient's right, to the front
        np.testing.assert_allclose(volume.affine @ [15, 15, z, 1], [-left, -back, up, 1], atol=1e-3)


def test_real_siemens_mosaics_of_nibabel_are_refused_as_mosaics(tmp_path):
    """Their 48 slices of 128 x 128 lie on one picture; stacked as two slices they would show nobody's anatomy."""
    files = [NIBABEL_FILES / "0.dcm", NIBABEL_FILES / "1.dcm"]
    with pytest.raises(InputError, match="is a Siemens mosaic, all slices on one picture: convert it with dcm2niix"):
        volumes.read_volume(real_series(tmp_path / "dwi_b0", files))


@pytest.mark.parametrize(
    ("file", "spacing"), [("MR_small.dcm", (0.3125, 0.3125, 0.8)), ("CT_small.dcm", (0.661468, 0.661468, 5.0))]
)
def test_a_lone_real_slice_takes_its_thickness_from_the_header(tmp_path, file, spacing):
    volume = volumes.read_volume(real_series(tmp_path / "t2w", [PYDICOM_FILES / file]))
    assert volume.spacing_mm == pytest.approx(spacing) and volume.array.shape[2] == 1
    slice_ = pydicom.dcmread(PYDICOM_FILES / file)
    expected = slice_.pixel_array * float(slice_.get("RescaleSlope", 1)) + float(slice_.get("RescaleIntercept", 0))
    np.testing.assert_allclose(volumes.axial(volume.array, 0), expected)


def series_of(*parts: str) -> list[Path]:
    return sorted((PYDICOM_FILES / "dicomdirtests").joinpath(*parts).iterdir())


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (lambda: series_of("98892003", "MR700"), "differ in ImageOrientationPatient"),  # a radial scan
        (lambda: series_of("77654033", "CT2"), "mm between slices"),
        (lambda: series_of("98892003", "MR1"), "at one place|differ in SeriesInstanceUID"),
        (lambda: series_of("77654033", "CR1"), "slices with position"),
        (lambda: [PYDICOM_FILES / "MR_truncated.dcm"], "do not fit its header"),
        (lambda: [PYDICOM_FILES / "rtplan.dcm"], "slices with position"),
        (lambda: [NIBABEL_FILES / "README.rst"], "cannot be read"),
    ],
)
def test_real_dicom_that_is_no_stack_is_refused(tmp_path, files, found):
    folder = real_series(tmp_path / "t2w", files())
    with pytest.raises(InputError, match=found) as error:
        volumes.read_volume(folder, name="images/P001/t2w")
    assert str(error.value).startswith("images/P001/t2w: ") and "expected a readable" in str(error.value)


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("functional.nii", r"has shape \(17, 21, 3, 20\), not three dimensions"),
        ("example4d.nii.gz", r"has shape \(128, 96, 24, 2\), not three dimensions"),
        ("resampled_anat_moved.nii", "153 of 1071 voxels are NaN or infinite"),
        ("analyze.hdr", "cannot be read"),
        ("test.mgz", "cannot be read"),
    ],
)
def test_real_files_that_are_no_sound_volume_are_refused(tmp_path, file, found):
    source = NIBABEL_FILES / file
    if file == "test.mgz":  # a volume of another kind under a NIfTI name
        source = shutil.copy(source, tmp_path / "wrong.nii.gz")
    with pytest.raises(InputError, match=found):
        volumes.read_volume(source)


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_dicom_series_and_its_nifti_twin_give_the_same_boxes(tmp_path, shuffled):
    arrays = anatomy()
    nifti = save_patient(tmp_path / "images" / "P001", arrays)
    dicom = tmp_path / "images" / "P002"
    for name, array in arrays.items():
        if name.endswith("roi"):
            save(array, dicom / f"{name}.nii.gz", stored="LPS")
        else:
            save_series(array, dicom / name, shuffled=shuffled)
    for sequence in volumes.SEQUENCES:
        one, two = (volumes.read_sequence(folder, sequence) for folder in (nifti, dicom))
        np.testing.assert_allclose(two.volume.affine, one.volume.affine, atol=1e-4)
        boxes = [cropping.make_box(s.volume.array, s.roi).array for s in (one, two)]
        np.testing.assert_array_equal(*boxes)
        assert (one.source, two.source) == ("NIfTI", "DICOM")


# ---------------------------------------------------------------- ADC


def test_adc_is_exact_and_says_where_it_could_not_be_computed():
    # S0 = 1000, S1000 = 1000 exp(-1.5): ADC = 1.5e-3 mm2/s = 1500. S1000 = S0: 0. Noise above S0: negative, kept.
    low = np.array([1000.0, 500.0, 100.0, 0.0, 300.0, -5.0, 0.0])
    high = np.array([1000 * np.exp(-1.5), 500.0, 200.0, 50.0, 0.0, 10.0, 0.0])
    adc, nonpositive = volumes.adc_map(low, high)
    np.testing.assert_allclose(adc, [1500, 0, -1000 * np.log(2), 0, 0, 0, 0], rtol=1e-6)
    assert nonpositive.tolist() == [False, False, False, True, True, True, True]
    assert volumes.adc_map(low, high, nonpositive_value=-1.0)[0][3:].tolist() == [-1.0] * 4
    np.testing.assert_allclose(volumes.adc_map(low, high, b_low=200, b_high=1000)[0][0], 1500 * 1000 / 800, rtol=1e-6)


def test_adc_refuses_signals_that_do_not_belong_together():
    with pytest.raises(ValueError, match=r"high must have the shape of low, \(2,\); found \(3,\)"):
        volumes.adc_map(np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match=r"b_high must exceed b_low \(1000\); found 0"):
        volumes.adc_map(np.ones(2), np.ones(2), b_low=1000, b_high=0)


def test_a_finished_adc_map_takes_the_place_of_the_signals(tmp_path):
    arrays = anatomy()
    folder = save_patient(tmp_path / "P001", arrays)
    computed = volumes.read_sequence(folder, "ADC")
    for name in ("dwi_b0", "dwi_b1000"):
        (folder / f"{name}.nii.gz").unlink()
    save(computed.volume.array, folder / "adc.nii.gz")
    given = volumes.read_sequence(folder, "ADC")
    np.testing.assert_array_equal(given.volume.array, computed.volume.array)
    np.testing.assert_array_equal(given.roi, arrays["dwi_roi"] > 0)
    assert volumes.check_images(folder, "ADC") == ""


@pytest.mark.parametrize("b_values", [[0, 800], [50, 800], [0.0, 1000.0], [50, 400, 800], [0, 50, 400, 1000]])
def test_adc_is_the_truth_for_every_pair_of_b_values_and_for_the_fit(tmp_path, b_values):
    truth = np.random.default_rng(2).uniform(300, 2500, SHAPE)
    signal = np.random.default_rng(3).uniform(4000, 9000, SHAPE)
    names = volumes.SIGNALS if b_values in ([0, 800], [0.0, 1000.0]) else [f"dwi_b{b:g}" for b in b_values]
    for name, b in zip(names, b_values, strict=True):
        save((signal * np.exp(-truth * b / 1e6)).astype(np.float32), tmp_path / f"{name}.nii.gz")
    save(anatomy()["dwi_roi"], tmp_path / "dwi_roi.nii.gz")
    found = volumes.read_sequence(tmp_path, "ADC", b_values=b_values)
    np.testing.assert_allclose(found.volume.array, truth, rtol=1e-3)
    assert not found.nonpositive.any()
    assert volumes.check_images(tmp_path, "ADC", b_values=b_values) == ""


def test_a_fit_without_a_positive_signal_at_one_b_value_is_no_adc():
    adc, nonpositive = volumes.adc_fit([np.full(2, 900.0), np.array([500.0, 0.0]), np.full(2, 300.0)], [0, 500, 1000])
    assert nonpositive.tolist() == [False, True] and adc[1] == 0
    assert adc[0] == pytest.approx(1e6 * np.log(3) / 1000)
    with pytest.raises(ValueError, match="b_values must be two or more, one a signal; found 1 for 1"):
        volumes.adc_fit([np.ones(2)], [0])


# ---------------------------------------------------------------- boxes


def test_the_box_holds_the_rectangle_of_the_roi_turned_as_a_radiologist_sees_it():
    # One slice, an L-shaped ROI: x 1-2, y 1-3. Front (y = 3) is the first row, the patient's right (x = 2) the
    # first column: rows y = 3, 2, 1 and columns x = 2, 1 of image = 10 x + y.
    image = np.zeros((4, 5, 1))
    image[...] = 10 * np.arange(4)[:, None, None] + np.arange(5)[None, :, None]
    roi = np.zeros((4, 5, 1), dtype=bool)
    roi[1, 1:4, 0] = roi[2, 1, 0] = True
    patch = np.array([[23, 13], [22, 12], [21, 11]], dtype=float)
    box = cropping.make_box(image, roi, box_size=6, n_slices=3, interpolation="nearest")
    expected = np.kron(patch, np.ones((2, 3)))
    np.testing.assert_allclose(box.array[0], (expected - 17) / np.std(patch), rtol=1e-6)
    assert box.array.shape == (3, 6, 6) and box.array.dtype == np.float32
    assert not box.array[1:].any() and box.slices.tolist() == [0]
    # Without what lies beside the ROI: its four voxels are 11, 12, 13, 21; the two others become 0.
    inside = np.array([13, 12, 11, 21.0])
    cut = cropping.make_box(image, roi, box_size=6, n_slices=1, interpolation="nearest", keep_outside_roi=False).array[
        0
    ]
    kept = np.kron([[0, 1], [0, 1], [1, 1]], np.ones((2, 3))) > 0
    weights = np.array([6, 6, 6, 6])
    mean = np.average(inside, weights=weights)
    np.testing.assert_allclose(cut[kept], ((expected - mean) / inside.std())[kept], rtol=1e-6)
    assert not cut[~kept].any()


@pytest.mark.parametrize(("size", "first", "last"), [(4, [0, 0.25, 0.75, 1], 1), (1, [0.5], None)])
def test_bilinear_resizing_matches_the_pixels_corners(size, first, last):
    # Two pixels 0 and 1 of width 2 on four of width 1: centres at -0.25, 0.25, 0.75, 1.25 of the old grid.
    patch = np.array([[0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_allclose(cropping.resize(patch, size)[0], first)


def test_shrinking_averages_instead_of_skipping():
    checkers = np.indices((40, 40)).sum(axis=0) % 2
    assert np.ptp(cropping.resize(checkers, 10)[2:-2, 2:-2]) < 0.1


def test_zscore_scopes():
    arrays = anatomy()
    image, roi = arrays["t2w"].astype(float), arrays["t2w_roi"] > 0
    by_slice = cropping.make_box(image, roi).array
    np.testing.assert_allclose(by_slice.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(by_slice.std(axis=(1, 2)), 1, atol=1e-5)
    whole = cropping.make_box(image, roi, zscore="box").array
    assert abs(whole.mean()) < 1e-5 and whole.std() == pytest.approx(1, abs=1e-5)
    assert np.ptp(whole.std(axis=(1, 2))) > 0.01
    # The ROI is a rectangle in every slice, so nearest neighbour at a whole multiple keeps the ROI's own values.
    chosen = cropping.select_slices(roi)
    values = image[:, :, chosen][roi[:, :, chosen]]
    centre = cropping.make_box(image, roi, zscore="roi", interpolation="nearest").array
    patch = volumes.axial(image, chosen[0])[cropping.rectangle(volumes.axial(roi, chosen[0]))]
    assert centre[0].max() == pytest.approx((patch.max() - values.mean()) / values.std(), rel=1e-5)


def test_the_twenty_largest_slices_come_in_anatomical_order():
    roi = np.zeros((10, 10, 30), dtype=bool)
    areas = np.r_[0, np.arange(1, 26), 0, 0, 30, 5]  # z = 1-25 with areas 1-25, z = 28 with 30, z = 29 with 5
    for z, area in enumerate(areas):
        roi[:, :, z].flat[:area] = True
    chosen = cropping.select_slices(roi, 20)
    assert chosen.tolist() == [*range(7, 26), 28]  # area 7 up, and 28
    assert cropping.select_slices(roi, 3).tolist() == [24, 25, 28]
    same = np.ones((3, 3, 5), dtype=bool)
    assert cropping.select_slices(same, 2).tolist() == [0, 1]  # equal areas: nearer the feet first
    box = cropping.make_box(np.random.default_rng(0).normal(size=roi.shape), roi)
    assert box.n_roi_slices == 27 and len(box.slices) == 20


def test_fewer_slices_are_padded_with_zeros_at_the_end():
    roi = np.zeros((12, 12, 9), dtype=bool)
    roi[3:9, 2:10, 4:7] = True
    box = cropping.make_box(np.random.default_rng(0).normal(size=roi.shape), roi)
    assert box.array.shape == (20, 112, 112) and box.slices.tolist() == [4, 5, 6]
    assert box.array[:3].any(axis=(1, 2)).all() and not box.array[3:].any()


def test_a_slice_without_contrast_becomes_zero_and_is_counted():
    image = np.random.default_rng(0).normal(size=(8, 8, 3)) + 137.3
    roi = np.zeros(image.shape, dtype=bool)
    roi[2:6, 2:6, :] = True
    image[2:6, 2:6, 1] = 137.3
    box = cropping.make_box(image, roi, n_slices=3)
    assert box.n_constant == 1 and not box.array[1].any() and box.array[[0, 2]].any(axis=(1, 2)).all()


def test_unknown_options_and_masks_that_do_not_fit_are_refused():
    image, roi = np.ones((4, 4, 2)), np.ones((4, 4, 2), dtype=bool)
    with pytest.raises(ValueError, match="interpolation must be one of bilinear, bicubic, nearest; found 'cubic'"):
        cropping.make_box(image, roi, interpolation="cubic")
    with pytest.raises(ValueError, match="zscore must be one of slice, box, roi; found 'none'"):
        cropping.make_box(image, roi, zscore="none")
    with pytest.raises(ValueError, match="n_slices must be a whole number from 1 on; found 0"):
        cropping.make_box(image, roi, n_slices=0)
    with pytest.raises(ValueError, match="found an empty one"):
        cropping.make_box(image, ~roi)
    with pytest.raises(ValueError, match=r"found shape \(4, 4, 1\)"):
        cropping.make_box(image, roi[:, :, :1])


def test_an_roi_grows_shrinks_and_moves_by_millimetres():
    roi = np.zeros((20, 20, 2), dtype=bool)
    roi[8:13, 8:13, 0] = True
    spacing = (1.0, 2.0, 5.0)
    grown = cropping.adjust_roi(roi, spacing, grow_mm=2.0)
    assert cropping.rectangle(grown[:, :, 0]) == (slice(6, 15), slice(7, 14)) and not grown[:, :, 1].any()
    assert cropping.rectangle(cropping.adjust_roi(roi, spacing, grow_mm=-2.0)[:, :, 0]) == (slice(10, 11), slice(9, 12))
    moved = cropping.adjust_roi(roi, spacing, shift_mm=(3.0, -4.0))
    assert cropping.rectangle(moved[:, :, 0]) == (slice(11, 16), slice(6, 11))
    assert cropping.adjust_roi(roi, spacing, shift_mm=(9.0, 0.0)).sum() == 3 * 5  # two of five columns leave the image
    np.testing.assert_array_equal(cropping.adjust_roi(roi, spacing), roi)
    assert not cropping.adjust_roi(roi, spacing, grow_mm=-9.0).any()
    # Voxels of 2.5 mm: an outline that moves by 2 mm passes the centres of the next ones, by 1 mm it does not.
    coarse = (2.5, 2.5, 4.0)
    sizes = [cropping.adjust_roi(roi, coarse, grow_mm=grow).sum() for grow in (-2.0, -1.0, 1.0, 2.0)]
    assert sizes[0] < sizes[1] == roi.sum() == sizes[2] < sizes[3]


def one_voxel(where: str) -> dict[str, np.ndarray]:
    """A patient whose ROI is one voxel: on one slice, or altogether, in T2W and DWI."""
    volumes = anatomy()
    for name in ("t2w_roi", "dwi_roi"):
        roi = volumes[name] if where == "slice" else np.zeros(SHAPE, dtype=np.uint8)
        roi[:, :, 12] = 0
        roi[14, 12, 12] = 1
        volumes[name] = roi
    return volumes


@pytest.mark.parametrize("stored", ["RAS", "LPS"])
@pytest.mark.parametrize("where", ["slice", "tumour"])
def test_a_roi_of_one_voxel_is_boxed_and_drawn(tmp_path, where, stored, recwarn):
    from dlrs.imaging import gradcam
    from dlrs_site import doctor

    folder = save_patient(tmp_path / "images" / "P001", one_voxel(where), stored=stored)
    index = build(tmp_path, tmp_path / "interim" / "boxes", ["P001"])
    assert index["n_constant_slices"].tolist() == [0, 0] if where == "slice" else [1, 1]
    samples = cropping.read_samples(tmp_path, table("P001"), jobs=1)
    boxes = [np.load(tmp_path / "interim" / file) for file in index["file"]]
    cropping.quality_sheet(samples, boxes, ["row 2"] * 2).canvas.draw()
    image = volumes.read_sequence(folder, "T2W")
    assert gradcam.roi_box(image.roi, box_size=28)[0].any()
    gradcam.overlay(boxes[0][0], gradcam.roi_box(image.roi)[0], np.ones((4, 4)))
    found = {finding.code for finding in doctor._examine_patient(folder, 2).findings}
    assert ("roi-tiny" in found) == (where == "tumour") and not any("refused" in code for code in found)
    assert not [str(w.message) for w in recwarn if issubclass(w.category, UserWarning)]


def test_a_view_of_one_voxel_is_handed_on_with_plain_strides():
    volume = np.arange(24.0).reshape(2, 3, 4)
    mask = np.zeros((2, 3, 4), dtype=bool)
    mask[1, 2, 3] = True
    patch = volumes.axial(volume, 3)[cropping.rectangle(volumes.axial(mask, 3))]
    assert min(patch.strides) < 0 and np.ascontiguousarray(patch, dtype=float).strides == patch.strides
    assert volumes.own_copy(patch).strides == (4, 4)
    assert (cropping.resize(patch, 4) == volume[1, 2, 3]).all()


@pytest.mark.parametrize("shape", [(1, 26, 24), (30, 1, 24), (30, 26, 1)])
def test_a_volume_of_one_slice_stored_backwards_has_plain_strides(tmp_path, shape):
    save(np.random.default_rng(1).normal(size=shape), tmp_path / "t2w.nii.gz", stored="LPI")
    assert min(volumes.read_volume(tmp_path / "t2w.nii.gz").array.strides) > 0


# ---------------------------------------------------------------- bad files


def damaged(folder: Path, kind: str) -> None:
    volumes = anatomy()
    path = folder / "t2w.nii.gz"
    mask = folder / "t2w_roi.nii.gz"
    if kind == "missing":
        path.unlink()
    elif kind == "twice":
        save(volumes["t2w"], folder / "t2w.nii")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "text":
        path.write_text("no volume", encoding="utf-8")
    elif kind == "NaN":
        array = volumes["t2w"].astype(np.float32)
        array[3, 4, 5] = np.nan
        save(array, path)
    elif kind == "constant":
        save(np.full(SHAPE, 7, dtype=np.int16), path)
    elif kind == "empty mask":
        save(np.zeros(SHAPE, dtype=np.uint8), mask)
    elif kind == "mis-sized mask":
        save(volumes["t2w_roi"][:, :, :-2], mask)
    elif kind == "moved mask":
        save(volumes["t2w_roi"], mask, affine=AFFINE + np.pad([[2.0]], ((0, 3), (3, 0))))
    elif kind == "fractional mask":
        save(volumes["t2w_roi"] * np.float32(0.5), mask)
    elif kind == "sagittal":
        across = AFFINE[[2, 1, 0, 3]][:, [2, 1, 0, 3]]
        save(volumes["t2w"], path, affine=across)
        save(volumes["t2w_roi"], mask, affine=across)


BAD = {
    "missing": (
        "t2w.nii.gz: the volume is missing",
        "t2w.nii.gz, t2w.nii, t2w.dcm or a folder t2w",
        "Put the volume there",
    ),
    "twice": ("t2w.nii.gz: the volume is there more than once (t2w.nii.gz, t2w.nii)", "one of them", "Remove"),
    "truncated": (
        "t2w.nii.gz: the volume cannot be read (EOFError)",
        "a readable three-dimensional volume",
        "copy it again",
    ),
    "text": ("t2w.nii.gz: ", "a readable three-dimensional volume", "copy it again"),
    "NaN": (
        "t2w.nii.gz: the volume has no number everywhere: 1 of 18720 voxels",
        "a readable",
        "write background as 0",
    ),
    "constant": ("t2w.nii.gz: the volume has no contrast: every voxel has the value 7", "a readable", "copy it again"),
    "empty mask": ("t2w_roi.nii.gz: the mask is empty", "at least one voxel above 0", "Draw the ROI"),
    "mis-sized mask": ("t2w_roi.nii.gz: the grid has 30 x 26 x 22 voxels", "30 x 26 x 24", "Draw or resample it"),
    "moved mask": (
        "t2w_roi.nii.gz: the grid lies up to 2.00 mm away",
        "the same affine, to within 0.08 mm",
        "Draw or resample it",
    ),
    "fractional mask": ("t2w_roi.nii.gz: the mask holds", "whole numbers, 0 outside", "nearest neighbour only"),
    "sagittal": ("t2w.nii.gz: slices are 0.80 mm apart from foot to head", "an axial series", "Give the axial series"),
}


@pytest.mark.parametrize("kind", BAD)
def test_every_bad_file_is_named_with_what_was_found_expected_and_to_do(cohort, tmp_path, kind):
    shutil.copytree(cohort / "images" / "P001", tmp_path / "images" / "P001")
    damaged(tmp_path / "images" / "P001", kind)
    found, expected, remedy = BAD[kind]
    with pytest.raises(InputError) as error:
        volumes.read_sequence(tmp_path / "images" / "P001", "T2W")
    message = str(error.value)
    assert message.startswith("images/P001/" + found)
    assert f"expected {expected}" in message and remedy in message
    with pytest.raises(InputError) as error:
        cropping.build_boxes(tmp_path, table("P001"), tmp_path / "boxes", sequences=["T2W"], jobs=1, progress=False)
    message = str(error.value)
    assert message.startswith("images/(patient of row 2)/" + found) and "P001" not in message


def test_header_checks_find_what_headers_tell_without_reading_voxels(cohort, tmp_path):
    shutil.copytree(cohort / "images" / "P002", tmp_path / "P002")
    assert volumes.check_images(tmp_path / "P002", "T2W") == volumes.check_images(tmp_path / "P002", "ADC") == ""
    damaged(tmp_path / "P002", "mis-sized mask")
    assert "expected 30 x 26 x 24" in volumes.check_images(tmp_path / "P002", "T2W")
    (tmp_path / "P002" / "dwi_b0.nii.gz").write_bytes(b"")
    found = volumes.check_images(tmp_path / "P002", "ADC")
    assert "dwi_b0.nii.gz: the volume is an empty file (0 bytes): copy it again" in found
    whole = (tmp_path / "P002" / "dwi_b1000.nii.gz").read_bytes()
    (tmp_path / "P002" / "dwi_b0.nii.gz").write_bytes(whole[:12] + b"\xff" * 40 + whole[52:])  # corrupt from the start
    assert "dwi_b0.nii.gz: the file's header cannot be read" in volumes.check_images(tmp_path / "P002", "ADC")


# ---------------------------------------------------------------- a whole cohort


def build(cohort: Path, out: Path, names=("P001", "P002", "P003", "P004"), **options) -> pd.DataFrame:
    return cropping.build_boxes(cohort, table(*names), out, **{"jobs": 1, "progress": False, **options})


@pytest.fixture(scope="module")
def built(cohort, tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    out = tmp_path_factory.mktemp("run") / "interim" / "boxes"
    return out, build(cohort, out)


def test_the_index_describes_every_box(cohort, built):
    out, index = built
    assert index[["patient_id", "sequence"]].values.tolist() == [
        [f"P{n:03d}", s] for n in range(1, 5) for s in ("T2W", "ADC")
    ]
    assert index["file"][0] == "boxes/T2W/P001.npy"
    for row in index.itertuples():
        box = np.load(out.parent / row.file)
        assert box.shape == (20, 112, 112) and box.dtype == np.float32 and sha256(out.parent / row.file) == row.sha256
    first = index.iloc[0]
    assert (first["n_roi_slices"], first["n_box_slices"], first["n_dropped_slices"]) == (22, 20, 2)
    assert (first["n_padded_slices"], first["n_constant_slices"], first["n_volume_slices"]) == (0, 0, 24)
    roi = anatomy()["t2w_roi"].sum()
    assert first["roi_voxels"] == roi and first["roi_volume_mm3"] == pytest.approx(roi * 0.8 * 0.8 * 4, rel=1e-5)
    assert index["orientation"].tolist() == [o for o in ("RAS", "LPS", "PIR", "RAS") for _ in range(2)]
    assert index["spacing_z_mm"].to_numpy() == pytest.approx(4.0)
    assert not index.isna().any().any() and index.attrs["n_built"] == 8


def test_nonpositive_signals_are_counted_in_the_rectangles_and_in_the_volume(tmp_path):
    volumes = anatomy()
    inside = np.argwhere(volumes["dwi_roi"])[0]
    volumes["dwi_b1000"][tuple(inside)] = 0
    volumes["dwi_b0"][0, 0, :] = 0
    save_patient(tmp_path / "images" / "P001", volumes)
    index = build(tmp_path, tmp_path / "boxes", ["P001"])
    assert index["n_nonpositive_volume"].tolist() == [0, 1 + SHAPE[2]]
    # that voxel lies in the lowest of the 22 slices with ROI, which is not among the 20 largest
    chosen = cropping.select_slices(volumes["dwi_roi"] > 0)
    assert index["n_nonpositive"].tolist() == [0, int(inside[2] in chosen)]


def test_the_same_anatomy_in_any_orientation_gives_the_same_box(tmp_path):
    for number, stored in enumerate(["RAS", "LPS", "PIR"], start=1):
        save_patient(tmp_path / "images" / f"P00{number}", anatomy(), stored=stored)
    index = build(tmp_path, tmp_path / "boxes", ["P001", "P002", "P003"])
    assert index.groupby("sequence")["sha256"].nunique().tolist() == [1, 1]


def modified(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted((out / "T2W").glob("*.npy"))}


def test_a_second_run_does_nothing_and_a_changed_file_only_redoes_its_patient(cohort, tmp_path):
    copy = shutil.copytree(cohort, tmp_path / "cohort")
    first = build(copy, tmp_path / "boxes")
    before = modified(tmp_path / "boxes")
    second = build(copy, tmp_path / "boxes")
    assert second.attrs["n_built"] == 0 and modified(tmp_path / "boxes") == before
    pd.testing.assert_frame_equal(first, second)
    volumes = anatomy(2)
    volumes["t2w"][15, 12, 11] += 1
    save(volumes["t2w"], copy / "images" / "P002" / "t2w.nii.gz", stored="LPS")
    third = build(copy, tmp_path / "boxes")
    assert third.attrs["n_built"] == 1
    changed = {name for name, stamp in modified(tmp_path / "boxes").items() if stamp != before[name]}
    assert changed == {"P002.npy"}
    assert build(copy, tmp_path / "boxes", zscore="box").attrs["n_built"] == 8  # other options are other boxes
    (tmp_path / "boxes" / "T2W" / "P001.npy").write_bytes(b"cut short")
    assert build(copy, tmp_path / "boxes", zscore="box").attrs["n_built"] == 1


def test_a_cache_folder_serves_another_run_and_other_options_at_once(cohort, tmp_path):
    cache = tmp_path / "cache"
    first = build(cohort, tmp_path / "one" / "boxes", ["P001"], cache_dir=cache)
    build(cohort, tmp_path / "one" / "boxes", ["P001"], cache_dir=cache, zscore="box")
    again = build(cohort, tmp_path / "two" / "boxes", ["P001"], cache_dir=cache)
    assert again.attrs["n_built"] == 0
    pd.testing.assert_frame_equal(first, again)
    assert sha256(tmp_path / "two" / again["file"][0]) == first["sha256"][0]


def test_one_bad_patient_does_not_lose_the_others_and_is_listed_with_its_row(cohort, tmp_path, capsys):
    copy = shutil.copytree(cohort, tmp_path / "cohort")
    damaged(copy / "images" / "P002", "truncated")
    damaged(copy / "images" / "P004", "empty mask")
    with pytest.raises(InputError) as error:
        build(copy, tmp_path / "boxes", progress=True)
    message = str(error.value)
    assert message.startswith("images/(patient of row 3)/t2w.nii.gz: the volume cannot be read (EOFError)")
    assert "1 of 2 problems in 2 of 4 patients" in message and "\n" not in message
    problems = pd.read_csv(tmp_path / "boxes" / "problems.csv")
    assert problems[["row", "patient_id", "sequence"]].values.tolist() == [[3, "P002", "T2W"], [5, "P004", "T2W"]]
    assert "the mask is empty" in problems["problem"][1]
    printed = capsys.readouterr()
    assert "P00" not in printed.out + printed.err + message
    save_patient(copy / "images" / "P002", anatomy(2))
    save_patient(copy / "images" / "P004", anatomy(4))
    # P002 has other files for both sequences, P004's DWI is as it was, and the two sound patients are kept.
    assert build(copy, tmp_path / "boxes").attrs["n_built"] == 3
    assert not (tmp_path / "boxes" / "problems.csv").exists()


def test_headers_are_checked_before_any_box_is_made(cohort, tmp_path):
    copy = shutil.copytree(cohort, tmp_path / "cohort")
    damaged(copy / "images" / "P004", "mis-sized mask")
    with pytest.raises(InputError, match=r"images/\(patient of row 5\)/t2w_roi.nii.gz: the grid has 30 x 26 x 22"):
        build(copy, tmp_path / "boxes")
    assert not (tmp_path / "boxes" / "T2W").exists()


def test_an_roi_that_vanishes_is_an_error(cohort, tmp_path):
    with pytest.raises(InputError, match="nothing is left of the ROI after grow_mm=-50.0"):
        build(cohort, tmp_path / "boxes", ["P001"], sequences=["T2W"], grow_mm=-50.0)


def test_boxes_of_a_changed_roi_differ_and_are_kept_apart(cohort, built, tmp_path):
    grown = build(cohort, tmp_path / "boxes", ["P001"], grow_mm=1.0, shift_mm=(0.8, 0.0))
    assert (grown["roi_voxels"].to_numpy() > built[1]["roi_voxels"].to_numpy()[:2]).all()
    assert not set(grown["sha256"]) & set(built[1]["sha256"])


@pytest.mark.slow
def test_processes_give_the_same_as_one_and_the_notebook_never_loads_torch(cohort, built, tmp_path):
    code = (
        "import sys, pandas as pd; from pathlib import Path; from dlrs.imaging import cropping\n"
        "if __name__ == '__main__':\n"
        "    patients = pd.DataFrame({'patient_id': ['P001', 'P002', 'P003', 'P004']})\n"
        "    cohort, out = map(Path, sys.argv[1:])\n"
        "    index = cropping.build_boxes(cohort, patients, out, jobs=2)\n"
        "    samples = cropping.read_samples(cohort, patients, jobs=2)\n"
        "    assert not {'torch', 'monai'} & set(sys.modules)\n"
        "    index.to_csv(out / 'index.csv', index=False)\n"
        "    print(len(samples), [s.images[0].shape == s.rois[0].shape for s in samples])\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script, cohort, tmp_path / "boxes"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "P00" not in done.stdout + done.stderr and "boxes: 100%" in done.stderr
    index = pd.read_csv(tmp_path / "boxes" / "index.csv")
    assert index["sha256"].tolist() == built[1]["sha256"].tolist()


def alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="follows processes through /proc")
def test_a_killed_run_leaves_no_process_and_goes_on_where_it_was(tmp_path):
    names = [f"P{n:03d}" for n in range(1, 61)]
    for name in names:
        save_patient(tmp_path / "images" / name, anatomy())
    code = (
        "import multiprocessing, os, signal, sys, pandas as pd; from dlrs.imaging import cropping\n"
        "from multiprocessing.forkserver import _forkserver\n"
        "def killed(results, bar):\n"
        "    for number, result in enumerate(results, start=1):\n"
        "        yield result\n"
        "        if number == 6:\n"
        "            pids = [p.pid for p in multiprocessing.active_children()] + [_forkserver._forkserver_pid]\n"
        "            print(*pids, flush=True)\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    cropping._counted = killed\n"
        "    patients = pd.DataFrame({'patient_id': [f'P{n:03d}' for n in range(1, 61)]})\n"
        "    cropping.build_boxes(sys.argv[1], patients, sys.argv[2], jobs=2)\n"
    )
    script, out = tmp_path / "run.py", tmp_path / "boxes"
    script.write_text(code, encoding="utf-8")
    # Output goes to a file: a pipe would stay open, and be waited for, as long as an orphan holds it.
    with open(tmp_path / "pids", "w", encoding="utf-8") as said:
        done = subprocess.run(
            [sys.executable, script, tmp_path, out], stdout=said, stderr=subprocess.DEVNULL, check=False
        )
    assert done.returncode == -signal.SIGKILL
    family = [int(pid) for pid in (tmp_path / "pids").read_text(encoding="utf-8").split()]
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in family) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(family) == 3 and not any(alive(pid) for pid in family)
    done = len(list(out.glob("*/*.json")))
    assert 6 <= done < 120
    index = build(tmp_path, out, names)
    assert index.attrs["n_built"] == 120 - done
    assert index.groupby("sequence")["sha256"].nunique().tolist() == [1, 1]


# ---------------------------------------------------------------- quality sheet


def test_the_quality_sheet_has_a_row_per_sample_and_shows_padding_pale(cohort, built):
    out, index = built
    samples = cropping.read_samples(cohort, table("P001", "P002"), n_views=2, jobs=1)
    assert [s.sequence for s in samples] == ["T2W", "ADC"] * 2
    assert all(len(s.images) == 2 and s.rois[0].any() and s.aspect == pytest.approx(1) for s in samples)
    boxes = [np.load(out.parent / file) for file in index["file"][:4]]
    boxes[0][15:] = 0
    figure = cropping.quality_sheet(samples, boxes, ["row 2\nT2W", "row 2\nADC", "row 3\nT2W", "row 3\nADC"])
    axes = np.reshape(figure.axes, (4, 3))
    assert axes[0, 0].get_ylabel() == "row 2\nT2W"
    montage = axes[0, 2].images[0].get_array()
    assert montage.shape == (2 * 118, 10 * 118)  # 20 squares of 112 with a frame of 3
    padding = montage[118 + 3 : 118 + 115, 5 * 118 + 3 : 5 * 118 + 115]
    assert np.allclose(padding, 0.93) and montage[3:115, 3:115].std() > 0.1
    figure.canvas.draw()
