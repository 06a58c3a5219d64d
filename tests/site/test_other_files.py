"""Files as scanners, other programs and spreadsheets write them: read as their sound twin, or refused in words."""

import gzip
import io
import json
import random
import shutil
import unicodedata
import zipfile
from pathlib import Path

import gdcm
import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import HTJ2KLossless, ImplicitVRLittleEndian, JPEGExtended12Bit, generate_uid

from dicom_files import ge, multi_frame, philips, save, segmentation, siemens, single_slices, standard
from dlrs import cohort
from dlrs.config import InputError
from dlrs.imaging import dicom, nifti, volumes
from dlrs_site import doctor, intake, privacy

SHAPE = (24, 20, 10)
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def image(array, affine=AFFINE):
    return nib.Nifti1Image(array, affine)


def phantom_volumes(seed=1):
    """A patient's volumes: a body around a tumour of ADC 1100, every slice with noise of its own."""
    draw, roi = np.random.default_rng(seed), np.zeros(SHAPE, dtype=np.uint8)
    roi[8:16, 6:14, 2:8] = 1
    b0 = draw.integers(700, 900, SHAPE)
    b1000 = np.round(b0 * np.exp(-1.1))
    t2w = draw.integers(100, 900, SHAPE)
    made = {"t2w": t2w, "dwi_b0": b0, "dwi_b1000": b1000, "t2w_roi": roi, "dwi_roi": roi}
    return {name: image(array.astype(np.int16)) for name, array in made.items()}


@pytest.fixture
def patient(tmp_path):
    folder = tmp_path / "images" / "P1"
    folder.mkdir(parents=True)
    for name, volume in phantom_volumes().items():
        nib.save(volume, folder / f"{name}.nii.gz")
    return folder


def instead(patient, stem, data, name=None):
    """Put DICOM in the place of a NIfTI file."""
    (patient / f"{stem}.nii.gz").unlink()
    return save(data, patient / (name or stem))


def codes(patient, b_values=volumes.B_VALUES):
    return {f.code for f in doctor._examine_patient(patient, 2, b_values).findings} - {"grid-stored-otherwise"}


def same_as_twin(patient, sequence="T2W", **options):
    found = volumes.read_sequence(patient, sequence, **options)
    twin = patient.parent / "twin"
    twin.mkdir()
    for name, volume in phantom_volumes().items():
        nib.save(volume, twin / f"{name}.nii.gz")
    sound = volumes.read_sequence(twin, sequence)
    np.testing.assert_array_equal(found.volume.array, sound.volume.array)
    np.testing.assert_array_equal(found.roi, sound.roi)


def test_a_sound_patient_has_no_finding(patient):
    assert codes(patient) == set()


# ---------------------------------------------------------------- b-values


def no_private(data, b):
    data.Manufacturer, data.SequenceName = "SIEMENS", f"*ep_b{b}t"


def united_imaging(data, b):
    data.private_block(0x0065, "Image Private Header", create=True).add_new(0x09, "FD", float(b))


@pytest.mark.parametrize(("say", "found"), [(united_imaging, set()), (no_private, {"b-value-named"})])
def test_b_values_of_other_makers_and_of_the_sequences_name(patient, say, found):
    made = phantom_volumes()
    save(single_slices({0: made["dwi_b0"], 1000: made["dwi_b1000"]}, "P1", "dwi", say=say), patient / "dwi")
    for stem in volumes.SIGNALS:
        (patient / f"{stem}.nii.gz").unlink()
    same_as_twin(patient, "ADC")
    assert codes(patient) == found


TRUTH = 1100.0  # 1e-6 mm2/s
PAIRS = [[0, 1000], [50, 800], [0, 800], [50, 400, 800]]


def signals_of(b_values):
    """Signals of one ADC everywhere, bright enough that rounding to whole numbers does not matter."""
    draw = np.random.default_rng(3).integers(20_000, 30_000, SHAPE)
    return {b: image(np.round(draw * np.exp(-b * TRUTH / 1e6)).astype(np.uint16)) for b in b_values}


def as_series(patient, made, say):
    save(single_slices(made, "P1", "dwi", say=say), patient / "dwi")


def as_enhanced(patient, made, _):
    save(multi_frame(made, "P1", "dwi"), patient / "dwi.dcm")


def as_folders(patient, made, say):
    for b, volume in made.items():
        save(single_slices({b: volume}, "P1", f"dwi_b{b}", say=say), patient / f"dwi_b{b}")


def as_one_nifti(patient, made, _):
    nib.save(image(np.stack([np.asarray(v.dataobj) for v in made.values()], axis=3)), patient / "dwi.nii.gz")
    (patient / "dwi.bval").write_text(" ".join(map(str, made)))


def as_niftis(patient, made, _):
    for b, volume in made.items():
        nib.save(volume, patient / f"dwi_b{b}.nii.gz")
        (patient / f"dwi_b{b}.json").write_text(json.dumps({"DiffusionBValue": b}))


WAYS = [(as_series, say) for say in (standard, siemens, ge, philips, united_imaging, no_private)]
WAYS += [(way, None) for way in (as_enhanced, as_one_nifti, as_niftis)] + [(as_folders, siemens)]


@pytest.mark.parametrize("b_values", PAIRS, ids=str)
def test_the_adc_of_every_pair_and_of_the_fit_is_the_phantoms(patient, b_values):
    for path in patient.glob("dwi_b*"):
        path.unlink()
    more = signals_of(sorted({*b_values, 200}))  # the pair that is asked for is taken of three
    for way, say in WAYS:
        way(patient, signals_of(b_values) if way in (as_niftis, as_folders) else more, say)
        found = volumes.read_sequence(patient, "ADC", b_values=b_values)
        assert np.abs(found.volume.array[found.roi] / TRUTH - 1).max() < 0.01, (way, say)
        assert codes(patient, b_values) <= {"b-value-named"}, (way, say)
        with pytest.raises(InputError, match="b-value|missing"):
            volumes.read_sequence(patient, "ADC", b_values=[b_values[0], 1500])
        for path in patient.glob("dwi*"):
            if "roi" not in path.name:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_sources_of_a_b_value_that_contradict_each_other_are_refused(patient):
    def both(data, b):
        standard(data, b)
        no_private(data, 800 if b else 0)

    for stem in volumes.SIGNALS:
        (patient / f"{stem}.nii.gz").rename(patient / f"_{stem}.nii.gz")
    made = phantom_volumes()
    as_series(patient, {0: made["dwi_b0"], 1000: made["dwi_b1000"]}, both)
    assert "b-values-contradict" in codes(patient)
    with pytest.raises(InputError, match="b = 1000 s/mm2 by DiffusionBValue and 800 by SequenceName"):
        volumes.read_sequence(patient, "ADC")
    shutil.rmtree(patient / "dwi")
    as_one_nifti(patient, {0: made["dwi_b0"], 1000: made["dwi_b1000"]}, None)
    (patient / "dwi.json").write_text(json.dumps({"DiffusionBValue": [0, 800]}))
    with pytest.raises(InputError, match=r"other b-values by dwi.json than by dwi.bval"):
        volumes.read_sequence(patient, "ADC")


def test_a_private_b_value_that_no_dictionary_knows_is_eight_bytes():
    assert dicom._first_number(np.float64(800).tobytes()) == 800
    assert dicom._first_number(np.float32(800).tobytes()) == 800


def no_b_of_unweighted(data, b):
    data.DiffusionDirectionality = "ISOTROPIC" if b else "NONE"
    if b:
        standard(data, b)


def united_imaging_text(data, b):
    data.private_block(0x0065, "Image Private Header", create=True).add_new(0x09, "LO", str(b))


def ge_bytes(data, b):
    text = f"{1_000_000_000 + b}\\8\\0\\0"
    data.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x39, "UN", (text + " " * (len(text) % 2)).encode())


@pytest.mark.parametrize("say", [no_b_of_unweighted, united_imaging_text, ge_bytes])
def test_b_values_as_text_as_bytes_and_of_pictures_without_diffusion_weighting(patient, say):
    made = phantom_volumes()
    as_series(patient, {0: made["dwi_b0"], 1000: made["dwi_b1000"]}, say)
    for stem in volumes.SIGNALS:
        (patient / f"{stem}.nii.gz").unlink()
    same_as_twin(patient, "ADC")
    assert codes(patient) == set()


def test_b_values_that_only_some_slices_or_the_description_say_are_asked_for(patient):
    made = phantom_volumes()
    for stem in volumes.SIGNALS:
        (patient / f"{stem}.nii.gz").rename(patient / f"_{stem}.nii.gz")
    as_series(patient, {0: made["dwi_b0"], 1000: made["dwi_b1000"]}, lambda data, b: standard(data, b) if b else None)
    with pytest.raises(InputError, match="10 slices say none: give them as a folder of their own, dwi_b0"):
        volumes.read_sequence(patient, "ADC")
    shutil.rmtree(patient / "dwi")
    described = lambda data, b: setattr(data, "SeriesDescription", f"ep2d_diff_b{b}")  # noqa: E731
    as_series(patient, {0: made["dwi_b0"], 1000: made["dwi_b1000"]}, described)
    with pytest.raises(InputError, match="has no b-value in its headers"):
        volumes.read_sequence(patient, "ADC")
    shutil.rmtree(patient / "dwi")
    as_one_nifti(patient, {0: made["dwi_b0"], 1000: made["dwi_b1000"]}, None)
    (patient / "dwi.bval").write_text("0, 1000")
    with pytest.raises(InputError, match="dwi.bval that says no b-values .numbers with blanks between them"):
        volumes.read_sequence(patient, "ADC")


def test_signals_of_another_pair_are_named_until_cohort_yaml_says_it(patient):
    (patient / "dwi_b1000.nii.gz").rename(patient / "dwi_b800.nii.gz")
    said = {f.code: f.message for f in doctor._examine_patient(patient, 2).findings}
    assert "dwi_b800.nii.gz: say its b-values in cohort.yaml" in said["image-missing"]
    assert codes(patient, [0, 800]) == set()


def test_an_outline_that_lies_upside_down_is_warned_of(patient):
    for stem in (*volumes.SIGNALS, "dwi_roi"):  # the field of view reaches further up than on T2W
        array = np.asarray(phantom_volumes()[stem].dataobj)
        above = np.zeros((*SHAPE[:2], 3), dtype=array.dtype) if stem == "dwi_roi" else array[:, :, 2::-1]
        nib.save(image(np.concatenate([array, above], axis=2)), patient / f"{stem}.nii.gz")
    assert codes(patient) == set()
    mask = nib.load(patient / "dwi_roi.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj)[:, :, ::-1], mask.affine), patient / "dwi_roi.nii.gz")
    [finding] = [f for f in doctor._examine_patient(patient, 2).findings if f.code == "roi-places-differ"]
    assert finding.message == "the outline on DWI lies away from that on T2W: 15 mm foot to head"


def test_outlines_that_lie_apart_in_most_patients_are_said_once():
    apart = [doctor._finding("roi-places-differ", f"images/P{n}/dwi_roi", n, "apart") for n in range(20)]
    [once] = doctor._places_of_most(apart, 24)
    assert once.message.startswith("the outlines on T2W and DWI lie apart in 20 of 24 patients")
    assert doctor._places_of_most(apart[:3], 3) == apart[:3] and doctor._places_of_most(apart[:9], 24) == apart[:9]


def test_a_blanked_b_value_counts_as_not_said(patient):
    series = single_slices({0: phantom_volumes()["dwi_b0"]}, "P1", "dwi_b0", say=siemens)
    for data in series:
        data[0x0019, 0x100C].value = None
    instead(patient, "dwi_b0", series)
    same_as_twin(patient, "ADC")


def test_a_four_dimensional_nifti_is_read_by_its_bval_in_any_order(patient):
    made = phantom_volumes()
    arrays = [np.asarray(made[name].dataobj) for name in ("dwi_b1000", "dwi_b0")]
    nib.save(image(np.stack(arrays, axis=3)), patient / "dwi.nii.gz")
    (patient / "dwi.bval").write_text("1000 0\n")
    for stem in volumes.SIGNALS:
        (patient / f"{stem}.nii.gz").unlink()
    assert volumes.check_images(patient, "ADC") == "" and codes(patient) == set()
    same_as_twin(patient, "ADC")
    with pytest.raises(InputError, match="has the b-values 0, 1000 s/mm2 by the file beside it, not 800"):
        volumes.read_sequence(patient, "ADC", b_values=[0, 800])
    (patient / "dwi.bval").unlink()
    with pytest.raises(InputError, match="holds 2 volumes: put dwi.bval beside it"):
        volumes.read_sequence(patient, "ADC")
    nib.save(made["dwi_b1000"], patient / "dwi.nii.gz")
    assert "b-value-missing" in codes(patient)  # one volume is not both b-values


def test_a_sidecar_that_contradicts_the_cohort_is_refused(patient):
    (patient / "dwi_b1000.json").write_text(json.dumps({"DiffusionBValue": 800}))
    assert codes(patient) == {"b-value-other"}
    with pytest.raises(InputError, match="has the b-values 800 s/mm2 by the file beside it, not 1000"):
        volumes.read_sequence(patient, "ADC")


# ---------------------------------------------------------------- DICOM


def test_an_empty_file_among_the_slices_is_refused(patient):
    folder = instead(patient, "t2w", single_slices({None: phantom_volumes()["t2w"]}, "P1", "t2w"))
    (folder / "IM0099").write_bytes(b"")
    assert codes(patient) == {"image-unreadable"}
    with pytest.raises(InputError, match="holds an empty file"):
        volumes.read_sequence(patient, "T2W")


@pytest.mark.parametrize("size", [200, 500, 900, -1])
def test_a_slice_at_the_end_that_was_cut_short_is_not_passed_over(patient, size):
    """A segmentation does not need the last slice: without a word the stack would be one shorter."""
    seg = t2w_with_segmentation(patient, phantom_volumes()["t2w_roi"])
    assert seg.SOPClassUID
    by_place = sorted((patient / "t2w").iterdir(), key=lambda f: float(pydicom.dcmread(f).ImagePositionPatient[2]))
    whole = by_place[-1].read_bytes()
    by_place[-1].write_bytes(whole[:size] if size > 0 else whole[: whole.index(b"\xe0\x7f\x10\x00")])
    assert codes(patient) == {"image-unreadable"}
    by_place[-1].write_bytes(whole[:128] + b"DICL" + whole[132:])  # one bit of the mark
    assert codes(patient) == {"image-unreadable"}


def test_files_that_are_no_picture_and_a_segmentation_are_passed_over(patient):
    made = phantom_volumes()
    series = single_slices({None: made["t2w"]}, "P1", "t2w")
    folder = instead(patient, "t2w", series)
    for name, content in {"Thumbs.db": b"\xd0\xcf" * 300, "notes.txt": b"seen", "report.pdf": b"%PDF-1.4" * 40}.items():
        (folder / name).write_bytes(content)
    save(segmentation(made["t2w_roi"], series, "P1", "t2w_roi"), folder / "SEG001")
    same_as_twin(patient)


def test_files_without_preamble_are_read(patient):
    folder = instead(patient, "t2w", single_slices({None: phantom_volumes()["t2w"]}, "P1", "t2w"))
    for file in sorted(folder.iterdir()):
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        bare = Dataset()
        bare.update(data)
        bare.save_as(file, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert file.read_bytes()[128:132] != b"DICM"
    same_as_twin(patient)


def test_a_multi_frame_file_without_ending_is_read(patient):
    instead(patient, "t2w", multi_frame({None: phantom_volumes()["t2w"]}, "P1", "t2w"))
    assert (patient / "t2w").is_file()
    same_as_twin(patient)


def test_overlays_in_the_high_bits_are_cut_off(patient):
    series = single_slices({None: phantom_volumes()["t2w"]}, "P1", "t2w")
    for data in series:
        data.BitsStored, data.HighBit = 12, 11
        data.PixelData = (np.frombuffer(data.PixelData, np.uint16) | 0x1000).tobytes()
    instead(patient, "t2w", series)
    same_as_twin(patient)


def test_philips_own_scale_puts_two_b_values_on_one_scale(patient):
    """Stored pixels of b = 1000 are twice as large; Philips' scale slope says so, the rescale slope does not."""
    made = phantom_volumes()
    for stem, b, factor in (("dwi_b0", 0, 1), ("dwi_b1000", 1000, 2)):
        series = single_slices({b: image(np.asarray(made[stem].dataobj) * factor)}, "P1", stem)
        for data in series:
            data.RescaleSlope, data.RescaleIntercept = 1, 0
            block = data.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
            block.add_new(0x0E, "FL", float(factor))
        instead(patient, stem, series)
    same_as_twin(patient, "ADC")


def compressed(file, syntax):
    """Store a DICOM file's pixels compressed, as an archive does."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(file))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(file))
    assert writer.Write()


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14_1", "JPEGLosslessProcess14", "JPEG2000Lossless"])
def test_compressed_slices_are_read_without_what_lies_above_their_bits(patient, syntax):
    series = single_slices({None: phantom_volumes()["t2w"]}, "P1", "t2w")
    for data in series:
        data.BitsStored, data.HighBit = 12, 11
        data.PixelData = (np.frombuffer(data.PixelData, np.uint16) | 0x1000).tobytes()
    folder = instead(patient, "t2w", series)
    for file in folder.iterdir():
        compressed(file, getattr(gdcm.TransferSyntax, syntax))
    same_as_twin(patient)


def test_a_mosaic_and_an_unreadable_compression_are_named(patient):
    series = single_slices({None: phantom_volumes()["t2w"]}, "P1", "t2w")[:1]
    series[0].ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    folder = instead(patient, "t2w", series)
    assert codes(patient) == {"series-mosaic"}
    shutil.rmtree(folder)
    series = single_slices({None: phantom_volumes()["t2w"]}, "P1", "t2w")
    for data in series:
        data.file_meta.TransferSyntaxUID = HTJ2KLossless
        data.compress = None
        data.PixelData = b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x04\x00\x00\x00\xff\xd8\xff\xd9"
        data["PixelData"].is_undefined_length = True
    save(series, folder)
    assert codes(patient) == {"image-compressed"}
    with pytest.raises(InputError, match="is compressed as High-Throughput JPEG 2000"):
        volumes.read_sequence(patient, "T2W")
    for data in series:  # a decoder is there, and refuses twelve bits
        data.file_meta.TransferSyntaxUID, data.BitsStored, data.HighBit = JPEGExtended12Bit, 12, 11
    shutil.rmtree(folder)
    save(series, folder)
    assert codes(patient) == {"image-compressed"}


def palette(data):
    data.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(data, f"{colour}PaletteColorLookupTableData", bytes(512))


def inverted(data):
    data.PhotometricInterpretation = "MONOCHROME1"


def tiled(data):
    data.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 25)


def cut_short(data):
    data.PixelData = data.PixelData[:-100]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (palette, "image-dimensions"),
        (inverted, "image-inverted"),
        (tiled, "series-mosaic"),
        (cut_short, "image-unreadable"),
    ],
)
def test_pixels_that_are_no_signal_are_named(patient, change, code):
    series = single_slices({None: phantom_volumes()["t2w"]}, "P1", "t2w")
    for data in series:
        change(data)
    instead(patient, "t2w", series)
    assert codes(patient) == {code}


@pytest.mark.parametrize("b_value", [0, 1000])
@pytest.mark.parametrize("stripped", [(), ("ImageType",), ("ImageType", "private")])
def test_a_scanners_own_mosaic_is_refused_whatever_an_anonymiser_left_of_its_header(tmp_path, b_value, stripped):
    file = Path(nib.__file__).parent / "nicom" / "tests" / "data" / f"siemens_dwi_{b_value}.dcm.gz"
    data = pydicom.dcmread(io.BytesIO(gzip.decompress(file.read_bytes())))
    if "ImageType" in stripped:
        data.ImageType = ["DERIVED", "SECONDARY"]
    if "private" in stripped:
        data.remove_private_tags()
    save(data, tmp_path / "t2w" / "IM1")
    with pytest.raises(volumes.Unusable, match="mosaic") as refused:
        volumes.read_stored(tmp_path / "t2w")
    assert refused.value.code == "series-mosaic"


def test_one_slice_is_warned_of_and_refused_where_it_is_as_wide_as_a_mosaic(patient):
    for stem in ("t2w", "t2w_roi"):
        nib.save(phantom_volumes()[stem].slicer[:, :, 4:5], patient / f"{stem}.nii.gz")
    assert "image-one-slice" in codes(patient)
    for stem in ("t2w", "t2w_roi"):
        array = np.tile(np.asarray(phantom_volumes()[stem].dataobj)[:, :, 4:5], (16, 16, 1))
        nib.save(image(array), patient / f"{stem}.nii.gz")
    assert "series-mosaic" in codes(patient)
    with pytest.raises(InputError, match="is one slice of 768 mm across, as a mosaic of all slices on one picture"):
        volumes.read_sequence(patient, "T2W")


def test_a_copy_of_a_slice_is_told_from_two_b_values(patient):
    folder = instead(patient, "t2w", single_slices({None: phantom_volumes()["t2w"]}, "P1", "t2w"))
    shutil.copy(folder / "IM0003", folder / "IM0003 copy")
    with pytest.raises(InputError, match="holds two slices at one place that are one"):
        volumes.read_sequence(patient, "T2W")


@pytest.mark.parametrize("degrees", [10, 50, 60])
def test_tilted_slices_are_axial_up_to_their_limit(patient, degrees):
    turn, angle = np.eye(4), np.radians(degrees)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for stem in ("t2w", "t2w_roi"):
        nib.save(image(np.asarray(phantom_volumes()[stem].dataobj), turn @ AFFINE), patient / f"{stem}.nii.gz")
    same_as_twin(patient)
    assert codes(patient) <= {"roi-places-differ"}  # turned about the scanner, not about the tumour


@pytest.mark.parametrize(("shift", "modality", "code"), [(1.2, "MR", "series-sheared"), (0.0, "CT", "image-modality")])
def test_a_tilted_gantry_and_another_modality_are_named(patient, shift, modality, code):
    series = single_slices({None: phantom_volumes()["t2w"]}, "P1", "t2w")
    for data in series:
        x, y, z = map(float, data.ImagePositionPatient)
        data.ImagePositionPatient, data.Modality = [x, f"{y + shift * z / AFFINE[2, 2]:.6f}", z], modality
    instead(patient, "t2w", series)
    examined = codes(patient)
    assert code in examined and examined <= {code, "grid-orientation"}  # the straight mask fits no sheared grid


def test_axes_of_a_damaged_header_have_a_direction_each():
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0.1, 0.995], [0, 1, 0], [4.5, 0, 2.2]]).T
    assert set(volumes.orientation_of(affine)[:, 1]) <= {-1.0, 1.0}


def test_coronal_slices_stay_refused(patient):
    turn = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    for stem in ("t2w", "t2w_roi"):
        nib.save(image(np.asarray(phantom_volumes()[stem].dataobj), turn @ AFFINE), patient / f"{stem}.nii.gz")
    with pytest.raises(InputError, match="Give the axial series"):
        volumes.read_sequence(patient, "T2W")


# ---------------------------------------------------------------- segmentations


def t2w_with_segmentation(patient, mask, change=lambda seg: None):
    series = single_slices({None: phantom_volumes()["t2w"]}, "P1", "t2w")
    instead(patient, "t2w", series)
    seg = segmentation(mask, series, "P1", "t2w_roi")
    change(seg)
    instead(patient, "t2w_roi", seg, "t2w_roi.dcm")
    return seg


def test_a_segmentation_of_every_second_slice_without_its_gap_lies_where_it_was_drawn(patient):
    drawn = np.asarray(phantom_volumes()["t2w_roi"].dataobj).copy()
    drawn[:, :, 1::2] = 0

    def gapless(seg):
        measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        if "SpacingBetweenSlices" in measures:
            del measures.SpacingBetweenSlices

    t2w_with_segmentation(patient, image(drawn), gapless)
    np.testing.assert_array_equal(volumes.read_sequence(patient, "T2W").roi, drawn > 0)


def test_two_segmentations_and_a_structure_set_are_refused(patient):
    seg = t2w_with_segmentation(patient, phantom_volumes()["t2w_roi"])
    (patient / "t2w_roi.dcm").unlink()
    for number in range(2):
        seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        save(seg, patient / "t2w_roi" / f"{number}.dcm")
    assert codes(patient) == {"roi-several-files"}
    shutil.rmtree(patient / "t2w_roi")
    structure = Dataset()
    structure.file_meta = seg.file_meta
    structure.SOPClassUID = structure.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    structure.SOPInstanceUID, structure.Modality = seg.SOPInstanceUID, "RTSTRUCT"
    save(structure, patient / "t2w_roi.dcm")
    assert codes(patient) == {"roi-structure-set"}
    with pytest.raises(InputError, match="is a structure set"):
        volumes.read_sequence(patient, "T2W")


def test_cuts_and_flips_of_dicom_are_refused_or_read_and_never_fall_over(patient):
    seg = t2w_with_segmentation(patient, phantom_volumes()["t2w_roi"])
    assert seg.SOPClassUID
    draw = random.Random(7)
    for file in (patient / "t2w" / "IM0002", patient / "t2w_roi.dcm"):
        good = file.read_bytes()
        for turn in range(20):
            damaged = bytearray(good)
            if turn % 2:
                damaged = damaged[: draw.randrange(min(len(good), 3000))]
            else:
                damaged[draw.randrange(min(len(good), 3000))] ^= 1 << draw.randrange(8)
            file.write_bytes(damaged)
            assert isinstance(codes(patient), set)
            try:
                volumes.read_sequence(patient, "T2W")
            except InputError as error:
                assert "images/P1/t2w" in str(error)
        file.write_bytes(good)


# ---------------------------------------------------------------- NIfTI


def test_a_damaged_checksum_is_refused_though_every_voxel_is_there(patient):
    path = patient / "t2w.nii.gz"
    path.write_bytes(path.read_bytes()[:-6])
    assert codes(patient) == {"image-unreadable"}
    with pytest.raises(InputError, match="fails its checksum"):
        volumes.read_sequence(patient, "T2W")


def test_a_file_that_is_not_compressed_as_its_name_says_is_named(patient):
    path = patient / "t2w.nii.gz"
    path.write_bytes(gzip.decompress(path.read_bytes()))
    with pytest.raises(InputError, match="is not compressed, though its name ends in .gz: name it .nii"):
        volumes.read_sequence(patient, "T2W")


def test_dicom_under_a_nifti_name_and_another_unit_of_length_are_named(patient):
    made = phantom_volumes()["t2w"]
    made.header.set_xyzt_units("meter")
    nib.save(made, patient / "t2w.nii.gz")
    assert codes(patient) == {"spacing-implausible"}
    (patient / "t2w.nii.gz").unlink()
    save(single_slices({None: made}, "P1", "t2w")[0], patient / "t2w.nii")
    with pytest.raises(InputError, match="is DICOM, though its name says NIfTI: let its name end in .dcm"):
        volumes.read_sequence(patient, "T2W")


def test_an_array_saved_without_its_header_is_refused_or_warned_of(patient):
    for stem in ("t2w", "t2w_roi"):
        array = np.asarray(phantom_volumes()[stem].dataobj)
        nib.save(image(array.transpose(2, 1, 0), np.eye(4)), patient / f"{stem}.nii.gz")
    assert codes(patient) == {"image-affine"}
    with pytest.raises(InputError, match="an array in the order slice, row, column saved without its header"):
        volumes.read_sequence(patient, "T2W")
    header = nib.load(patient / "dwi_b0.nii.gz")
    header.header["sform_code"] = header.header["qform_code"] = 0
    nib.save(nib.Nifti1Image(np.asarray(header.dataobj), None, header.header), patient / "t2w.nii.gz")
    with pytest.raises(InputError, match="says not where it lies"):
        volumes.read_sequence(patient, "T2W")


def test_a_quaternion_rounded_beyond_1_is_shortened(patient):
    for stem in ("t2w", "t2w_roi"):
        array = np.asarray(phantom_volumes()[stem].dataobj)
        header = nib.Nifti1Image(array, None).header
        header["pixdim"][:4] = 1, 2, 2, 5
        header["qform_code"], header["sform_code"], header["vox_offset"] = 1, 0, 352
        header["quatern_b"], header["quatern_d"] = 0, np.float32(1 + 4e-6)
        with gzip.open(patient / f"{stem}.nii.gz", "wb") as file:
            file.write(header.binaryblock + bytes(4) + array[::-1, ::-1].tobytes(order="F"))
    same_as_twin(patient)


def test_a_label_stored_with_a_scale_is_a_label(patient):
    mask = phantom_volumes()["t2w_roi"]
    scaled = nib.Nifti1Image(np.asarray(mask.dataobj).astype(np.uint8) * 255, AFFINE)
    scaled.header.set_slope_inter(1 / 255, 0)
    nib.save(scaled, patient / "t2w_roi.nii.gz")
    assert 0 < abs(np.asarray(nib.load(patient / "t2w_roi.nii.gz").dataobj).max() - 1) < 1e-3
    assert codes(patient) == set()
    same_as_twin(patient)


def test_sform_and_qform_that_differ_are_warned_of(patient):
    volume = phantom_volumes()["t2w"]
    other = AFFINE.copy()
    other[2, 3] = 12
    volume.set_qform(other, 1)
    nib.save(volume, patient / "t2w.nii.gz")
    assert codes(patient) == {"places-differ"}
    assert nifti.places_differ(volume) == pytest.approx(12)


def test_a_file_of_another_kind_is_named(patient):
    (patient / "t2w_roi.nii.gz").rename(patient / "t2w_roi.seg.nrrd")
    with pytest.raises(InputError, match="t2w_roi.seg.nrrd is of a kind or name that is not read"):
        volumes.read_sequence(patient, "T2W")


def test_a_mask_cropped_to_the_tumour_is_put_back_where_its_origin_says(patient):
    whole = phantom_volumes()["t2w_roi"]
    nib.save(whole.slicer[6:18, 4:16, 1:9], patient / "t2w_roi.nii.gz")
    assert codes(patient) == set()
    same_as_twin(patient)
    nib.save(image(np.asarray(whole.dataobj)[1:]), patient / "t2w_roi.nii.gz")  # with the image's own header
    with pytest.raises(InputError, match="the grid has 23 x 20 x 10 voxels"):
        volumes.read_sequence(patient, "T2W")


def test_what_is_named_otherwise_or_not_used_is_said(patient):
    (patient / "t2w_roi.nii.gz").rename(patient / "T2W_ROI.nii.gz")
    nib.save(phantom_volumes()["t2w"], patient / "adc.nii.gz")
    said = {f.code: f.message for f in doctor._examine_patient(patient, 2).findings}
    assert "T2W_ROI.nii.gz is of a kind or name that is not read: save it as t2w_roi.nii.gz" in said["image-missing"]
    assert said["volume-not-used"] == "dwi_b0 and dwi_b1000 are there too, and read in its place"
    (patient / "t2w.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match="is an empty file"):
        volumes.read_volume(patient / "t2w.nii.gz")


# ---------------------------------------------------------------- doubtful pictures and outlines


def changed(patient, stem, change):
    volume = nib.load(patient / f"{stem}.nii.gz")
    array = np.asarray(volume.dataobj).copy()
    array = change(array)
    nib.save(nib.Nifti1Image(array if array is not None else volume.dataobj, AFFINE), patient / f"{stem}.nii.gz")


def negative(array):
    array[9, 8, 4] = -32000
    return array


def repeated(array):
    array[:, :, 5] = array[:, :, 4]
    return array


def outline(array):
    array[9:15, 7:13] = 0
    return array


def halved(array):
    array[:, :, :6] = 0
    return array


@pytest.mark.parametrize(
    ("stem", "change", "code"),
    [
        ("dwi_b1000", negative, "signal-negative"),
        ("t2w", repeated, "slices-repeated"),
        ("t2w_roi", outline, "roi-outline-only"),
        ("dwi_roi", halved, "roi-sizes-differ"),
    ],
)
def test_doubtful_pictures_and_outlines_are_warned_of(patient, stem, change, code):
    changed(patient, stem, change)
    assert code in codes(patient)


def test_zeros_of_an_adc_map_inside_the_roi_are_counted(patient):
    for stem in volumes.SIGNALS:
        (patient / f"{stem}.nii.gz").unlink()
    adc = np.random.default_rng(1).integers(900, 1300, SHAPE).astype(np.int16)
    adc[10, 10, 4] = 0
    nib.save(image(adc), patient / "adc.nii.gz")
    assert codes(patient) == {"adc-undefined"}


# ---------------------------------------------------------------- tables


ROWS = {name: levels[0] for name, levels in cohort.LEVELS.items()}
ROWS = {"patient_id": "001", "centre": "A", "time_months": "40", "event": "0", "age": "61"} | ROWS


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "cohort"
    (folder / "images").mkdir(parents=True)
    (folder / "cohort.yaml").write_text("name: Test\nclass: COHORT\n")
    return folder


def lines(folder, *more, separator=","):
    table = [separator.join(ROWS), separator.join(ROWS.values())]
    (folder / "clinical.csv").write_text("\n".join([*more, *table]) + "\n", encoding="utf-8")


def found(folder):
    return [(f.code, f.row, f.message) for f in doctor.check(folder, jobs=1).findings if f.severity == "error"]


def test_a_table_of_which_no_column_is_known_is_a_finding(folder):
    lines(folder)
    text = (folder / "clinical.csv").read_text()
    (folder / "clinical.csv").write_text("\n".join([",".join(f"X{n}" for n in range(len(ROWS))), text.split("\n")[1]]))
    assert "table-columns" in {code for code, _, _ in found(folder)}


def test_two_patients_whose_names_differ_by_case_or_zeros_only_are_named(folder):
    lines(
        folder,
        *[
            ",".join({**ROWS, "patient_id": name, "age": age}.values())
            for name, age in (("H1-a", "50"), ("h1-A", "51"))
        ],
    )
    text = (folder / "clinical.csv").read_text().splitlines()
    (folder / "clinical.csv").write_text("\n".join([text[2], *text[:2], text[3]]))
    said = [
        (f.severity, f.row, f.message) for f in doctor.check(folder, jobs=1).findings if f.code == "patient-ids-alike"
    ]
    assert said == [("warning", 3, "the name differs from that of row 2 by case, width or zeros only")]


def test_excels_own_first_line_says_the_separator_and_rows_keep_their_numbers(folder):
    lines(folder, "sep=;", separator=";")
    assert intake.read_cohort(folder).patients["row"].tolist() == [3]


def test_a_heading_above_the_columns_is_named(folder):
    lines(folder, "Rectal cancer study" + "," * (len(ROWS) - 1))
    with pytest.raises(InputError, match="the columns' names are in row 2; expected them in row 1. Remove what stands"):
        intake.read_cohort(folder)


def test_a_word_for_unknown_is_told_how_to_be_declared(folder):
    lines(folder)
    path = folder / "clinical.csv"
    path.write_text(path.read_text().replace("Normal", "N/A"))
    with pytest.raises(InputError, match=r"declare it in cohort.yaml: `missing: \['N/A'\]`"):
        intake.read_cohort(folder)


def test_remedies_of_cells_and_of_a_table_of_another_kind(folder):
    lines(folder)
    path = folder / "clinical.csv"
    path.write_text(path.read_text().replace(",40,0,", ",,yes,"))
    said = {(f.code, f.message.split(":")[0]): f.remedy for f in doctor.check(folder, jobs=1).findings}
    assert "`codes: {event: {'yes': ...}}`" in said["cell-value", "column event"]
    assert "missing" not in said["cell-empty", "column time_months"]
    path.rename(folder / "clinical.xls")
    with pytest.raises(InputError, match=r"there is clinical.xls; .*Save it as .xlsx or .csv"):
        intake.read_cohort(folder)


def table_of(folder, *rows, names=ROWS):
    text = "\n".join(",".join(row) for row in (names, *(({**ROWS} | row).values() for row in rows)))
    (folder / "clinical.csv").write_text(text + "\n", encoding="utf-8")


def test_a_column_that_is_not_needed_may_be_there_twice_and_a_needed_one_may_not(folder):
    more = {"x": "seen", "y": "again"}
    table_of(folder, more, names=[*ROWS, "Note", "Note"])
    assert len(intake.read_cohort(folder).patients) == 1
    table_of(folder, more, names=[*ROWS, "age", "Note"])
    with pytest.raises(InputError, match="column 'age' is there twice"):
        intake.read_cohort(folder)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_headings_and_codes_are_the_same_in_both_forms_of_an_umlaut_and_with_any_blanks(folder, form):
    (folder / "cohort.yaml").write_text(
        unicodedata.normalize("NFD" if form == "NFC" else "NFC", "name: T\nclass: COHORT\ncolumns: {Höhe (J): age}\n")
        + unicodedata.normalize("NFD" if form == "NFC" else "NFC", "codes: {gender: {männlich: Male}}\n"),
        encoding="utf-8",
    )
    names = [unicodedata.normalize(form, "Höhe  (J)") if name == "age" else name for name in ROWS]
    table_of(folder, {"gender": unicodedata.normalize(form, "männlich")}, names=names)
    assert intake.read_cohort(folder).patients["gender"].tolist() == ["Male"]


def test_an_event_of_other_codes_is_no_share_and_its_remedy_names_all_codes(folder):
    table_of(folder, *({"patient_id": f"P{n}", "event": "12"[n > 0]} for n in range(5)))
    report = doctor.check(folder, jobs=1).findings
    assert "event-coding" not in {f.code for f in report}
    assert {f.remedy for f in report if "column event" in f.message} == {
        "Correct it, or say in cohort.yaml what it means: `codes: {event: {'1': ..., '2': ...}}`."
    }
    table_of(folder, *({"patient_id": f"P{n}", "event": "1"} for n in range(5)))
    assert "100% of the patients have the event" in {f.message for f in doctor.check(folder, jobs=1).findings}


def test_names_in_two_rows_and_a_file_that_is_no_workbook_are_named(folder):
    lines(folder, "patient_id,Baseline" + "," * (len(ROWS) - 2))
    with pytest.raises(InputError, match="names are in rows 1 to 2; .*Give each its name in one row"):
        intake.read_cohort(folder)
    (folder / "clinical.csv").unlink()
    (folder / "clinical.xlsx").write_text("<html><table></table></html>")
    with pytest.raises(InputError, match="is no XLSX workbook: an old .xls, a web page or a file with a password"):
        intake.read_cohort(folder)


def test_an_identifier_that_became_a_number_is_told_its_folder(folder):
    table_of(folder, {"patient_id": "100000"})
    (folder / "images" / "1E5").mkdir()
    assert ("patient-without-images", 2, "the folder is missing; is it '1E5'?") in found(folder)


def test_an_identifier_of_more_digits_than_excel_keeps_is_refused(folder):
    def long(sheet):
        sheet.cell(2, 1).value = 12345678901234567890

    workbook(folder, long)
    assert ("patient-id", 2) in [(code, row) for code, row, _ in found(folder)]


def workbook(folder, change):
    import openpyxl

    book = openpyxl.Workbook()
    for row in (list(ROWS), list(ROWS.values()), list((ROWS | {"patient_id": "002"}).values())):
        book.active.append(row)
    change(book.active)
    book.save(folder / "clinical.xlsx")


@pytest.mark.slow
def test_a_stray_cell_in_the_last_row_costs_no_memory(folder):
    def stray(sheet):
        sheet.cell(1_048_576, 1).number_format = "0.00"

    workbook(folder, stray)
    import tracemalloc

    tracemalloc.start()
    rows = intake.survey(folder).patients["row"].tolist()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == [2, 3] and peak < 50e6


def test_hidden_rows_are_said_and_formulas_without_value_are_named(folder):
    def hidden(sheet):
        sheet.row_dimensions[3].hidden = True

    workbook(folder, hidden)
    [remark] = intake.survey(folder).remarks
    assert remark.found == "1 rows are hidden by a filter or by hand, the first is row 3"
    assert "rows-hidden" in {f.code for f in doctor.check(folder, jobs=1).findings}

    def sheet_hidden(sheet):
        sheet.parent.create_sheet("new")
        sheet.sheet_state, sheet.parent.active = "hidden", 1

    workbook(folder, sheet_hidden)
    [remark] = intake.survey(folder).remarks
    assert remark.found == "2 rows are hidden by a filter or by hand, the first is row 2"

    def formula(sheet):
        sheet.cell(2, list(ROWS).index("age") + 1).value = "=2014-1953"

    workbook(folder, formula)
    assert ("cell-formula", 2) in [(code, row) for code, row, _ in found(folder)]


def test_a_folder_that_differs_by_case_or_lost_zeros_is_named(folder):
    lines(folder)
    path = folder / "clinical.csv"
    path.write_text(path.read_text().replace("\n001,", "\n1,"))
    (folder / "images" / "001").mkdir()
    assert ("patient-without-images", 2, "the folder is missing; is it '001'?") in found(folder)


def test_a_workbook_that_is_no_archive_is_refused(folder):
    (folder / "clinical.xlsx").write_bytes(b"PK\x03\x04 no archive")
    assert not zipfile.is_zipfile(folder / "clinical.xlsx")
    assert pd.Series([code for code, _, _ in found(folder)]).isin(["table-unreadable", "patient-without-images"]).any()


def test_levels_without_patients_or_events_and_factors_of_few_events_are_said_before_training(folder):
    rows = [ROWS | {"patient_id": f"{n:03d}", "cohort": "primary", "event": str(int(n < 12))} for n in range(60)]
    for n, row in enumerate(rows):
        row["gender"], row["cea"] = ["Male", "Female"][n % 2], ["Normal", "Elevated"][n > 30]
        row["ypt_stage"] = cohort.LEVELS["ypt_stage"][n % 3]
    rows.append(rows[0] | {"patient_id": "900", "cohort": "validation", "ypt_stage": cohort.LEVELS["ypt_stage"][3]})
    pd.DataFrame(rows).to_csv(folder / "clinical.csv", index=False)
    said = {f.code: f.message for f in doctor.check(folder, jobs=1).findings}
    assert f"ypt_stage {cohort.LEVELS['ypt_stage'][3]} (1 in the validation cohort)" in said["level-absent"]
    assert "gender" not in said["level-absent"]
    assert "cea Elevated (29)" in said["level-without-events"] and "Male" not in said["level-without-events"]
    assert "ypt_stage (6.0)" in said["factor-few-events"] and "gender" not in said["factor-few-events"]


def test_b_values_are_in_table_s1_only_where_they_are_given(folder, tmp_path):
    lines(folder)
    for settings, given in (("", None), ("b_values: [50, 800]\n", [50, 800])):
        (folder / "cohort.yaml").write_text("name: Test\nclass: COHORT\n" + settings)
        intake.stage(tmp_path / "run", folder)
        assert cohort.read_settings(tmp_path / "run").get("b_values") == given


def test_an_identity_affine_is_warned_of(patient):
    for stem in ("t2w", "t2w_roi"):
        nib.save(image(np.asarray(phantom_volumes()[stem].dataobj), np.eye(4)), patient / f"{stem}.nii.gz")
    assert codes(patient) >= {"affine-identity", "roi-sizes-differ"}


@pytest.mark.parametrize(
    "text",
    ["Wang XiaoDong", "XiaoDong Wang", "\u738b\u5c0f\u4e1c", "\u738b \u5c0f\u4e1c", "seen\u738b\u5c0f\u4e1cagain"],
)
def test_names_in_two_scripts_are_found_though_the_first_file_is_no_dicom(tmp_path, patient, text):
    series = single_slices({None: phantom_volumes()["t2w"]}, "P1", "t2w")
    for data in series:
        data.SpecificCharacterSet = "GB18030"
        data.PatientName = "Wang^XiaoDong=\u738b^\u5c0f\u4e1c"
    folder = instead(patient, "t2w", series)
    (folder / "A_notes.txt").write_text("no picture")
    run = tmp_path / "run"
    run.mkdir()
    (run / "note.csv").write_text(f"who\n{text}\n", encoding="utf-8")
    leaks, _ = privacy.scan(run, tmp_path)
    assert [(leak.file, leak.kind) for leak in leaks] == [("note.csv", "the header field PatientName")]


def test_a_name_is_learnt_behind_a_directory_and_without_a_preamble_and_beside_a_nifti(tmp_path, patient):
    series = single_slices({None: phantom_volumes()["t2w"]}, "P1", "t2w")
    bare = Dataset()
    bare.update(series[0])
    bare.PatientName = "Beispiel^Erika^Maria"
    folder = patient / "t2w"
    folder.mkdir()
    bare.save_as(folder / "IM1", implicit_vr=True, little_endian=True, enforce_file_format=False)
    directory = Dataset()
    directory.file_meta = series[0].file_meta
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.FileSetID = "CD"
    directory.save_as(folder / "DICOMDIR", enforce_file_format=True)
    (patient / "dwi.json").write_text(json.dumps({"PatientName": "\u963f\u535c\u675c\u62c9\u00b7\u4e70\u4e70\u63d0"}))
    secrets = privacy.secrets_of(tmp_path)
    search = privacy.Search(secrets)
    for text in ("Erika Beispiel", "beispiel erika maria", "\u963f\u535c\u675c\u62c9 \u4e70\u4e70\u63d0"):
        assert set(search.kinds(f"of {text}:")) == {"the header field PatientName"}


def test_the_page_says_what_is_searched_for_by_kind_and_never_by_value(folder, patient):
    save(single_slices({None: phantom_volumes()["t2w"]}, "P1", "t2w"), patient / "t2w")
    lines(folder)
    shutil.copytree(patient, folder / "images" / "001")
    report = doctor.check(folder, jobs=1)
    for page in (doctor.as_page(report), doctor.as_text(report)):
        assert "the header field PatientName" in page and "Doe P1" not in page and "MRN-P1" not in page
