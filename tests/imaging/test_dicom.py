"""DICOM in all the forms that scanners write gives the voxels, grids and boxes of its NIfTI twin."""

import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest

import dicom_files as made
from dlrs.config import InputError
from dlrs.imaging import cropping, dicom, volumes
from dlrs.synthetic import phantoms
from dlrs_site import doctor

STEMS = ("t2w", "t2w_roi", "dwi_b0", "dwi_b1000", "dwi_roi")


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Three patients of the synthetic cohort, one a centre, as NIfTI and as three kinds of DICOM."""
    root = tmp_path_factory.mktemp("twins")
    middle = pd.DataFrame({"t2w_view": [0.0], "adc_view": [0.0]})
    parameters = {name: float(values[0]) for name, values in phantoms.rendered_parameters(middle).items()}
    for centre in "ABC":
        patient, volumes = f"P{centre}", {}
        for name, phantom in phantoms.render_patient(f"P{centre}", centre, parameters, seed=7).items():
            path = root / "nifti" / "images" / patient / name
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(phantom.data, phantom.affine), path)
            volumes[name.removesuffix(".nii.gz")] = nib.load(path)
        write_twin(root / "dicom" / "images" / patient, patient, volumes, centre)
    return root


def write_twin(folder, patient, volumes, centre):
    """A: one DWI series of single slices; B: one enhanced file with directions too; C: a folder for each b-value."""
    signals = {0: volumes["dwi_b0"], 1000: volumes["dwi_b1000"]}
    t2w = made.single_slices({None: volumes["t2w"]}, patient, "t2w")
    b0 = made.single_slices({0: signals[0]}, patient, "dwi_b0")
    made.save(t2w, folder / "t2w")
    if centre == "A":
        made.save(made.single_slices(signals, patient, "dwi"), folder / "dwi")
    elif centre == "B":
        made.save(made.multi_frame(signals, patient, "dwi", directions=True), folder / "dwi.dcm")
    else:
        made.save(b0, folder / "dwi_b0")
        made.save(made.multi_frame({1000: signals[1000]}, patient, "dwi_b1000"), folder / "dwi_b1000.dcm")
    made.save(made.segmentation(volumes["t2w_roi"], t2w, patient, "t2w_roi"), folder / "t2w_roi.dcm")
    made.save([made.segmentation(volumes["dwi_roi"], b0, patient, "dwi_roi")], folder / "dwi_roi")


def test_a_dicom_cohort_gives_exactly_the_boxes_of_its_nifti_twin(twins, tmp_path):
    patients = pd.DataFrame({"patient_id": ["PA", "PB", "PC"], "row": [2, 3, 4]})
    index = {}
    for kind in ("nifti", "dicom"):
        options = dict(jobs=1, progress=False)
        index[kind] = cropping.build_boxes(twins / kind, patients, tmp_path / kind / "boxes", **options)
        index[kind] = index[kind].set_index(["patient_id", "sequence"])
    assert index["nifti"]["source"].eq("NIfTI").all() and index["dicom"]["source"].eq("DICOM").all()
    pd.testing.assert_series_equal(index["nifti"]["sha256"], index["dicom"]["sha256"])
    for column in ("roi_volume_mm3", "n_roi_slices", "n_nonpositive", "spacing_x_mm", "spacing_z_mm"):
        np.testing.assert_allclose(index["dicom"][column], index["nifti"][column], rtol=1e-6)


def test_the_doctor_finds_nothing_wrong_with_them(twins, tmp_path):
    folder = tmp_path / "cohort"
    shutil.copytree(twins / "dicom" / "images", folder / "images")
    (folder / "cohort.yaml").write_text("name: Test\nclass: COHORT\n", encoding="utf-8")
    report = doctor.check(folder, jobs=1)
    found = [(f.severity, f.code, f.file) for f in report.findings if f.file.startswith("images/")]
    places = [("warning", "roi-places-differ", f"images/{name}/dwi_roi") for name in ("PA", "PB", "PC")]
    assert found == places  # the phantoms lie elsewhere on DWI
    assert report.facts["n_volumes"] == 15


@pytest.mark.parametrize("say", [made.standard, made.siemens, made.ge, made.philips])
def test_b_values_are_read_where_each_maker_writes_them(tmp_path, say):
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3) + 1, np.diag([2.0, 2.0, 5.0, 1.0]))
    other = nib.Nifti1Image(np.asarray(image.dataobj)[:, :, ::-1], image.affine)
    series = made.single_slices({0: image, 1000: other}, "P", "dwi", say=say)
    made.save(series, tmp_path / "dwi")
    for implicit in (False, True):
        if implicit:  # private values then come without their type
            for path in (tmp_path / "dwi").iterdir():
                data = pydicom.dcmread(path)
                data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
                data.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=True)
        assert {frame.b_value for frame in dicom.frames(tmp_path / "dwi")} == {0.0, 1000.0}
        low, high = (volumes.read_volume(tmp_path / "dwi", b_value=b) for b in volumes.B_VALUES)
        np.testing.assert_array_equal(low.array, nib.as_closest_canonical(image).get_fdata())
        np.testing.assert_array_equal(high.array, nib.as_closest_canonical(other).get_fdata())
        np.testing.assert_allclose(low.affine, high.affine)


@pytest.mark.parametrize(
    ("value", "first"), [(b"1000\\8\\0", 1000.0), (b"\x00\x00\x7a\x44", 1000.0), ("50\\1", 50.0), (800, 800.0)]
)
def test_private_values_of_unknown_type(value, first):
    assert dicom._first_number(value) == first


@pytest.mark.parametrize(
    ("unit", "slope", "where"),
    [("um2/s", 1.0, "map"), ("10-3.mm2/s", 1e-3, "map"), ("mm2/s", 1e-6, "map"), ("10^-6 mm²/s", 1.0, "rescale")],
)
def test_a_scanners_adc_map_comes_in_millionths_whatever_its_unit(tmp_path, unit, slope, where):
    image = nib.Nifti1Image(np.full((5, 4, 3), 900, dtype=np.int16) + np.arange(3, dtype=np.int16), np.eye(4))
    series = made.single_slices({None: image}, "P", "adc")
    for data in series:
        if where == "map":
            code, item = pydicom.Dataset(), pydicom.Dataset()
            code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = unit, "UCUM", unit
            item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, 0.0
            item.MeasurementUnitsCodeSequence = [code]
            data.RealWorldValueMappingSequence = [item]
        else:
            data.RescaleSlope, data.RescaleIntercept, data.RescaleType = "1", "0", unit
    volume = volumes.read_volume(made.save(series, tmp_path / "adc"))
    np.testing.assert_allclose(volume.array[0, 0], [900, 901, 902], rtol=1e-6)


def test_a_segmentation_of_one_slice_takes_the_gap_from_its_image(tmp_path):
    image = nib.Nifti1Image(np.arange(360, dtype=np.int16).reshape(6, 6, 10), np.diag([2.0, 2.0, 4.0, 1.0]))
    mask = np.zeros((6, 6, 10), dtype=np.uint8)
    mask[1:3, 2:5, 7] = 1
    series = made.single_slices({None: image}, "P", "t2w")
    for data in series:
        data.SliceThickness = "3"  # slices of 3 mm, 4 mm apart
    made.save(series, tmp_path / "t2w")
    drawn = made.segmentation(nib.Nifti1Image(mask, image.affine), series, "P", "t2w_roi")
    made.save(drawn, tmp_path / "t2w_roi.dcm")
    volume = volumes.read_volume(tmp_path / "t2w")
    np.testing.assert_array_equal(volumes.read_roi(tmp_path / "t2w_roi.dcm", volume), mask > 0)


def other_b(series):
    for data in series:
        data.DiffusionBValue = 0.0 if data.DiffusionBValue == 0 else 600.0
    return series


def without_b(series):
    for data in series:
        del data.DiffusionBValue
    return series


def of_two_series(series):
    series[0].SeriesInstanceUID = made.uid("another")
    return series


def lacking(series):
    return [data for data in series if data.ImagePositionPatient[2] != series[4].ImagePositionPatient[2]]


def repeated(series):
    return [*series, series[-1]]


def unplaced(series):
    del series[2].ImagePositionPatient
    return series


WRONG = {
    "b-value-other": (other_b, "has the b-values 0, 600 s/mm2 in its headers, not 1000"),
    "b-value-missing": (without_b, "has no b-value"),
    "series-mixed": (of_two_series, "differ in SeriesInstanceUID"),
    "series-gap": (lacking, "mm between slices"),
    "series-overlap": (repeated, "two slices at one place"),
    "series-not-placed": (unplaced, "is not a series of slices with position"),
}


@pytest.mark.parametrize("code", WRONG)
def test_a_series_that_cannot_be_used_is_named_by_reader_and_doctor(tmp_path, code):
    spoil, found = WRONG[code]
    array = np.random.default_rng(1).integers(100, 900, (8, 8, 10), dtype=np.int16)
    image = nib.Nifti1Image(array, np.diag([2.0, 2.0, 5.0, 1.0]))
    folder = tmp_path / "images" / "P1"
    made.save(spoil(made.single_slices({0: image, 1000: image}, "P1", "dwi")), folder / "dwi")
    (tmp_path / "cohort.yaml").write_text("name: Test\nclass: COHORT\n", encoding="utf-8")
    codes = {f.code for f in doctor.check(tmp_path, jobs=1).findings if f.file == "images/P1/dwi"}
    assert codes == {code}
    with pytest.raises(InputError, match=found):
        for b in volumes.B_VALUES:
            volumes.read_volume(folder / "dwi", b_value=b)


def test_masks_that_do_not_belong_are_refused(tmp_path):
    image = nib.Nifti1Image(np.arange(640, dtype=np.int16).reshape(8, 8, 10), np.diag([2.0, 2.0, 4.0, 1.0]))
    mask = nib.Nifti1Image((np.asarray(image.dataobj) % 7 == 0).astype(np.uint8), image.affine)
    series = made.single_slices({None: image}, "P", "t2w")
    path = made.save(made.segmentation(mask, series, "P", "roi"), tmp_path / "t2w_roi.dcm")
    volume = volumes.read_volume(made.save(series, tmp_path / "t2w"))
    assert (volumes.read_roi(path, volume) == np.asarray(mask.dataobj)).all()
    moved = volume._replace(affine=volume.affine + np.pad([[1.0]], ((0, 3), (3, 0))))
    with pytest.raises(InputError, match="another grid"):
        volumes.read_roi(path, moved)
    with pytest.raises(InputError, match="beyond the image"):
        volumes.read_roi(path, volume._replace(array=volume.array[:, :, :6]))
