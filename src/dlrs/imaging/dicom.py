"""Scanner files in DICOM: series of single slices, multi-frame files, several b-values in one, segmentations."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RTStructureSetStorage, SegmentationStorage

# Where the makers keep the b-value when the standard's (0018,9087) is not there: group, private creator, element.
PRIVATE_B_VALUES = (
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x2001, "Philips Imaging DD 001", 0x03),
    (0x0065, "Image Private Header", 0x09),  # United Imaging
)
PHILIPS_SCALE = (0x2005, "Philips MR Imaging DD 001", 0x0E)  # stored value per unit of signal
SIEMENS_TILES = (0x0019, "SIEMENS MR HEADER", 0x0A)  # slices on one picture
SEQUENCE_B_VALUE = re.compile(r"ep_b(\d+)(?![\d_])")  # Siemens' name of the sequence, where nothing else is left
# Units of a diffusion coefficient, written without blanks and signs, in 1e-6 mm2/s.
DIFFUSION_UNITS = {
    "um2/s": 1.0,
    "10-6mm2/s": 1.0,
    "1e-6mm2/s": 1.0,
    "10-3mm2/s": 1e3,
    "1e-3mm2/s": 1e3,
    "um2/ms": 1e3,
    "mm2/s": 1e6,
}
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"  # a segmentation too, newer than pydicom knows
SEGMENTATIONS = (SegmentationStorage, LABEL_MAP)
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
OTHER_SCANNERS = {"CT", "PT", "NM", "US", "CR", "DX", "MG", "XA"}  # maps computed from MR are often of modality OT
MAX_SHIFT = 0.1  # of a pixel, by which a slice may lie beside the one before
PLACED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Unusable(ValueError):
    """A file that can be opened is no volume that we can use; the text ends the sentence "the volume ..."."""

    def __init__(self, found: str, code: str = "image-refused"):
        super().__init__(found)
        self.code = code  # as the doctor calls it


class Frame(NamedTuple):
    """One slice: a file of its own, or a frame of a multi-frame file."""

    data: Dataset  # the file, whose pixels are decoded when they are asked for
    index: int | None  # which of its frames; None for a file of one slice
    sources: list[Dataset]  # where its attributes stand, the frame's own before those that all frames share

    def get(self, tag: str):
        """Return an attribute, None where it is missing or empty."""
        return next((s[tag].value for s in self.sources if tag in s and s[tag].value not in (None, "")), None)

    @property
    def b_values(self) -> dict[str, float]:
        """The b-value in s/mm2 by each place that says one, the most trusted first, the sequence's name last."""
        values = {"DiffusionBValue": self.get("DiffusionBValue")}
        for group, creator, element in PRIVATE_B_VALUES:
            value = self.private(group, creator, element)
            # GE adds 1e9 to say that a flag is set
            values[creator] = value % 100_000 if value is not None and creator.startswith("GEMS") else value
        name = SEQUENCE_B_VALUE.search(str(self.get("SequenceName") or ""))
        values["SequenceName"] = name[1] if name else None  # such as *ep_b1000t
        said = {place: float(value) for place, value in values.items() if value is not None}
        return said or ({"DiffusionDirectionality": 0.0} if self.get("DiffusionDirectionality") == "NONE" else {})

    @property
    def b_value(self) -> float | None:
        """The b-value in s/mm2, None where nothing says it."""
        return next(iter(self.b_values.values()), None)

    def private(self, group: int, creator: str, element: int) -> float | None:
        """Return a maker's own number, None where it is missing or blanked."""
        for source in self.sources:
            try:
                value = _first_number(source.private_block(group, creator)[element].value)
            except (KeyError, TypeError, ValueError, IndexError, struct.error):
                continue
            return value
        return None

    @property
    def pixels(self) -> np.ndarray:
        """The slice, rows by columns, in the header's own scale; a diffusion coefficient in 1e-6 mm2/s."""
        try:
            stored = self.data.pixel_array if self.index is None else self.data.pixel_array[self.index]
        except (RuntimeError, NotImplementedError) as error:  # of a decoder
            _refuse_syntax(self.data.file_meta.TransferSyntaxUID, error)
        except ValueError as error:
            problem = "holds a slice whose pixels do not fit its header (cut short?): copy it again"
            raise Unusable(problem, "image-unreadable") from error
        slope, intercept, unit = self.scale
        return (_without_overlays(stored, self.data) * slope + intercept) * unit

    @property
    def scale(self) -> tuple[float, float, float]:
        """Slope, intercept, and the unit in 1e-6 mm2/s where the header names a diffusion coefficient's, else 1."""
        codes = self.get("MeasurementUnitsCodeSequence")
        unit = _unit(codes[0].get("CodeValue")) if codes else None
        if unit and self.get("RealWorldValueSlope") is not None:
            return float(self.get("RealWorldValueSlope")), float(self.get("RealWorldValueIntercept") or 0), unit
        slope, intercept = self.get("RescaleSlope"), self.get("RescaleIntercept")
        slope, intercept = float(1 if slope is None else slope), float(intercept or 0)
        philips = self.private(*PHILIPS_SCALE)
        unit = _unit(self.get("RescaleType"))
        # Philips scales every image to its own range; only divided by this are two b-values on one scale.
        return slope, intercept, unit or (1 / (slope * philips) if philips and slope else 1.0)


def _without_overlays(stored: np.ndarray, data: Dataset) -> np.ndarray:
    """Return pixels without the bits above BitsStored, where old files keep overlays."""
    bits, kept = int(data.get("BitsAllocated") or 0), int(data.get("BitsStored") or 0)
    if stored.dtype.kind not in "iu" or not 0 < kept < bits:
        return stored
    stored = stored & ((1 << kept) - 1)
    signed = int(data.get("PixelRepresentation") or 0) == 1
    return np.where(stored >> (kept - 1) & 1, stored - (1 << kept), stored) if signed else stored


def _unit(text) -> float | None:
    plain = str(text or "").lower().replace("²", "2").replace("µ", "u").replace("μ", "u")
    return DIFFUSION_UNITS.get("".join(sign for sign in plain if sign not in " ^*.·"))


def _first_number(value) -> float:
    """Return the first number of a private value, which may have come as bytes: text, or a float of four or eight."""
    if isinstance(value, bytes):
        try:
            return float(value.decode("ascii").split("\\")[0].strip(" \0"))
        except ValueError:
            return float(
                struct.unpack("<d" if len(value) == 8 else "<f", value[:8] if len(value) == 8 else value[:4])[0]
            )
    if isinstance(value, str):
        return float(value.split("\\")[0])
    return float(value[0] if isinstance(value, Sequence) or type(value).__name__ == "MultiValue" else value)


def _items(group: Dataset) -> list[Dataset]:
    """Return the first item of each of a group's sequences, in which a multi-frame file keeps its attributes."""
    return [element.value[0] for element in group if element.VR == "SQ" and element.value]


def near_b_value(found: float, wanted: float) -> bool:
    """Say whether two b-values (s/mm2) are one: two percent and 5 s/mm2 apart at most."""
    return abs(found - wanted) <= 0.02 * wanted + 5


def opened(file: Path) -> Dataset | None:
    """Open a DICOM file, with or without its preamble; None for what is no DICOM.

    Raises
    ------
    Unusable
        The file is empty, or DICOM that is damaged.
    """
    with file.open("rb") as stream:
        start = stream.read(132)
    if not start:
        raise Unusable("holds an empty file (0 bytes): copy it again", "image-unreadable")
    marked = start[128:] == b"DICM"
    try:
        data = pydicom.dcmread(file, force=not marked)
        complete = "SOPClassUID" in data and ("Rows" in data or marked or _is_image(data))
        syntax = getattr(data.file_meta, "TransferSyntaxUID", None)
        if complete and syntax is None:  # as old nodes wrote it
            implicit = data.original_encoding[0] is not False
            data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # a damaged file makes the reader raise a dozen different kinds
        if marked or not any(start[:128]):
            raise Unusable(
                f"holds a damaged file ({type(error).__name__}): copy it again", "image-unreadable"
            ) from error
        return None
    if not (complete or marked) and not any(start[:128]):  # an empty preamble whose mark is damaged
        raise Unusable("holds a damaged file (no DICOM mark): copy it again", "image-unreadable")
    return data if complete or marked else None


def _is_image(data: Dataset) -> bool:
    """Say whether a file is of a class of images; one that names no class was cut short, and counts as an image."""
    kind = data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID")
    return kind is None or "Image Storage" in UID(kind).name


def files_of(path: Path) -> list[Path]:
    """Return a DICOM file, or all files in a series' folder."""
    if not path.is_dir():
        return [path]
    return [file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith(".")]


def frames(path: str | Path) -> list[Frame]:
    """Return every slice in a DICOM file or folder; what is no picture (a DICOMDIR, a report) is passed over.

    Raises
    ------
    Unusable
        Nothing there is DICOM, or a picture that says where it lies; or a file is damaged.
    """
    found, n_dicom, kinds = [], 0, set()
    for file in files_of(Path(path)):
        data = opened(file)
        if data is None:
            continue
        n_dicom += 1
        kinds.add(data.get("SOPClassUID"))
        if data.get("SOPClassUID") in SEGMENTATIONS:
            continue
        if not {"Rows", *PIXELS} & set(data.dir()) and not _is_image(data):  # a directory, a report
            continue
        if "Rows" not in data or not set(PIXELS) & set(data.dir()):
            raise Unusable("holds a slice that was cut short: copy it again", "image-unreadable")
        _refuse_unreadable(data)
        shared = [data[tag][0] for tag in ("RealWorldValueMappingSequence", "MRDiffusionSequence") if data.get(tag)]
        shared = [*shared, data]
        if data.get("SharedFunctionalGroupsSequence"):
            shared = [*_items(data.SharedFunctionalGroupsSequence[0]), *shared]
        if data.get("PerFrameFunctionalGroupsSequence"):
            groups = data.PerFrameFunctionalGroupsSequence
            n = int(data.get("NumberOfFrames") or 1)
            if n != len(groups):
                raise Unusable(f"says {n} frames and describes {len(groups)}", "series-not-placed")
            several = n > 1
            found += [Frame(data, i if several else None, [*_items(g), *shared]) for i, g in enumerate(groups)]
        else:
            found.append(Frame(data, None, shared))
    if not n_dicom:
        raise Unusable("cannot be read: it holds no DICOM file", "image-unreadable")
    if not found and RTStructureSetStorage in kinds:
        problem = "is a structure set (RTSTRUCT), not a mask: convert it to a DICOM segmentation or a NIfTI mask "
        raise Unusable(problem + "on its image's grid, for instance in 3D Slicer", "roi-structure-set")
    lone = [f for f in found if f.index is None and int(f.data.get("NumberOfFrames") or 1) > 1]
    if not found or lone or any(f.get(tag) is None for f in found for tag in PLACED):
        raise Unusable("is not a series of slices with position, orientation and pixel spacing", "series-not-placed")
    if any(int(f.data.get("SamplesPerPixel") or 1) > 1 or "PALETTE" in _kind_of_pixels(f) for f in found):
        raise Unusable("is in colours", "image-dimensions")
    return found


def _kind_of_pixels(frame: Frame) -> str:
    return str(frame.data.get("PhotometricInterpretation") or "")


def _refuse_unreadable(data: Dataset) -> None:
    """Refuse pixels that cannot be decoded here, and mosaics: many slices on one picture."""
    syntax = data.file_meta.get("TransferSyntaxUID")
    if syntax is not None and syntax.is_compressed and syntax.is_encapsulated and not _decodable(syntax):
        _refuse_syntax(syntax)
    kind = data.get("ImageType") or []
    tiles = Frame(data, None, [data]).private(*SIEMENS_TILES) or 1
    if tiles > 1 or "MOSAIC" in ([kind] if isinstance(kind, str) else kind):
        problem = "is a Siemens mosaic, all slices on one picture: convert it with dcm2niix, which unfolds it"
        raise Unusable(problem, "series-mosaic")


def _refuse_syntax(syntax, error: Exception | None = None) -> NoReturn:
    problem = f"is compressed as {syntax.name}, which cannot be decoded here: store it uncompressed (gdcmconv --raw)"
    raise Unusable(problem, "image-compressed") from error


def _decodable(syntax) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def with_b_value(found: list[Frame], wanted: float, *, named: bool = False) -> list[Frame]:
    """Choose the slices of one b-value by what the header says.

    Parameters
    ----------
    found
        From `frames`.
    wanted
        b-value in s/mm2; two percent and 5 s/mm2 off are taken for it.
    named
        True when the folder's name says the b-value, so that a header need not.

    Raises
    ------
    Unusable
        No header says a b-value (and `named` is False), none says this one, or one says two.
    """
    for places in (frame.b_values for frame in found):
        (place, first), *others = places.items() or [("", 0.0)]
        for other, value in others:
            if not near_b_value(value, first):
                problem = f"says b = {first:g} s/mm2 by {place} and {value:g} by {other}"
                raise Unusable(problem, "b-values-contradict")
    b_values = [frame.b_value for frame in found]
    if named and all(b is None for b in b_values):
        return found
    chosen = [f for f, b in zip(found, b_values, strict=True) if b is not None and near_b_value(b, wanted)]
    if not chosen:
        known = ", ".join(f"{b:g}" for b in sorted({b for b in b_values if b is not None}))
        if not known:
            makers = "the standard's attribute, those of Siemens, GE, Philips and United Imaging, the sequence's name"
            raise Unusable(f"has no b-value in its headers (looked for: {makers})", "b-value-missing")
        silent = sum(b is None for b in b_values)
        problem = f"has the b-values {known} s/mm2 in its headers, not {wanted:g}"
        problem += f"; {silent} slices say none: give them as a folder of their own, dwi_b{wanted:g}" if silent else ""
        raise Unusable(problem, "b-value-other")
    traces = [f for f in chosen if f.get("DiffusionDirectionality") not in ("DIRECTIONAL", "BMATRIX")]
    return traces or chosen


def stack(found: list[Frame]) -> tuple[np.ndarray, np.ndarray]:
    """Put slices on one another by their place in the patient, whatever their numbers.

    Returns
    -------
    array, shape (columns, rows, slices)
    affine
        From the array's indices to RAS millimetres.

    Raises
    ------
    Unusable
        The slices do not form one stack of parallel, evenly spaced images.
    """
    for tag in ("SeriesInstanceUID", "Rows", "Columns"):
        if len({frame.data.get(tag) for frame in found}) > 1:
            raise Unusable(f"holds slices that differ in {tag}", "series-mixed")
    position, orientation, spacing = (np.array([f.get(tag) for f in found], dtype=float) for tag in PLACED)
    for tag, values in (("ImageOrientationPatient", orientation), ("PixelSpacing", spacing)):
        if np.ptp(values, axis=0).max() > 1e-3:
            raise Unusable(f"holds slices that differ in {tag}", "series-mixed")
    across, down = orientation[0][:3], orientation[0][3:]
    normal = np.cross(across, down)
    places = position @ normal
    order = np.argsort(places)
    gaps = np.diff(places[order])
    if gaps.size and gaps.min() < 1e-3:
        numbers = [(f.data.get("SOPInstanceUID"), f.index) for f in found]
        if len(set(numbers)) < len(numbers):
            raise Unusable(
                "holds two slices at one place that are one (a copy of a file?): remove the copies", "series-overlap"
            )
        raise Unusable("holds two slices at one place (two b-values, directions or echoes in one?)", "series-overlap")
    if gaps.size and np.ptp(gaps) > 0.05 * np.median(gaps):
        problem = f"has gaps from {gaps.min():.2f} to {gaps.max():.2f} mm between slices (one missing?)"
        raise Unusable(problem, "series-gap")
    first, last = position[order[0]], position[order[-1]]
    thickness = found[0].get("SpacingBetweenSlices") or found[0].get("SliceThickness") or 1.0
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across * spacing[0][1], down * spacing[0][0]
    affine[:3, 2] = (last - first) / len(gaps) if gaps.size else normal * float(thickness)
    affine[:3, 3] = first
    return np.stack([found[place].pixels.T for place in order], axis=-1), TO_RAS @ affine


def read(
    path: str | Path, *, b_value: float | None = None, named: bool = False, remarks: list | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read one volume from a DICOM file or folder: (array, affine to RAS millimetres); see `with_b_value`, `stack`.

    `remarks` takes (code, message) of what is read and doubtful.
    """
    found = frames(path)
    chosen = found if b_value is None else with_b_value(found, b_value, named=named)
    named_only = any(list(frame.b_values) == ["SequenceName"] for frame in chosen)
    if remarks is not None and b_value is not None and named_only:
        remarks.append(("b-value-named", f"b = {b_value:g} stands in the sequence's name only"))
    if remarks is not None and any(_kind_of_pixels(frame) == "MONOCHROME1" for frame in chosen):
        remarks.append(("image-inverted", "its headers say that low values are bright (MONOCHROME1)"))
    others = sorted({str(frame.data.get("Modality")) for frame in chosen} & OTHER_SCANNERS)
    if remarks is not None and others:
        remarks.append(("image-modality", f"the modality is {', '.join(others)}, not MR"))
    array, affine = stack(chosen)
    across, down, step = affine[:3, :3].T
    normal = np.cross(across, down)
    aside = np.linalg.norm(np.cross(normal, step)) / np.linalg.norm(normal)  # mm from one slice to the next
    if remarks is not None and aside > MAX_SHIFT * min(np.linalg.norm(across), np.linalg.norm(down)):
        remarks.append(("series-sheared", f"each slice lies {aside:.2f} mm beside the one before (a tilted gantry?)"))
    return array, affine


def segmentation_file(path: str | Path) -> Path | None:
    """Return the DICOM segmentation that a path is or holds, None where it is something else.

    Raises
    ------
    Unusable
        It holds more than one.
    """
    found = []
    for file in files_of(Path(path)):
        try:
            kind = pydicom.dcmread(file, specific_tags=["SOPClassUID"], stop_before_pixels=True).get("SOPClassUID")
        except Exception:  # damaged, or no DICOM: `frames` says which
            continue
        if kind in SEGMENTATIONS:
            found.append(file)
    if len(found) > 1:
        raise Unusable(f"holds {len(found)} segmentations: keep the tumour's", "roi-several-files")
    return found[0] if found else None


def read_segmentation(file: str | Path, shape: Sequence[int], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read a DICOM segmentation through highdicom onto the grid of the image that it was drawn on.

    A segmentation file may leave out slices that it marks nothing on; these
    come back empty. All segments together are the ROI.

    Parameters
    ----------
    file
        From `segmentation_file`.
    shape, affine
        The image's array and its affine to RAS millimetres.

    Returns
    -------
    array of whole numbers, shape `shape`
        The segment's number inside, 0 outside.
    affine
        As the file places it; it may differ from the image's by rounding.

    Raises
    ------
    Unusable
        The file holds probabilities, lies on another grid, or reaches beyond the image.
    """
    import highdicom

    seg = highdicom.seg.segread(file)
    try:
        drawn = seg.get_volume(combine_segments=True, skip_overlap_checks=True, allow_missing_positions=True)
    except ValueError as error:
        if seg.segmentation_type != highdicom.seg.SegmentationTypeValues.FRACTIONAL:
            raise
        raise Unusable("is a fractional segmentation that holds fractions, not a mask", "roi-fractions") from error
    target = highdicom.VolumeGeometry(TO_RAS @ affine, spatial_shape=tuple(shape), coordinate_system="PATIENT")
    placed, array = drawn.affine.copy(), drawn.array
    direction = drawn.unit_vectors()[0]
    along = [abs(way @ direction) > 0.999 for way in target.unit_vectors()]
    step = next((size for size, same in zip(target.spacing, along, strict=True) if same), drawn.spacing[0])
    # A lone slice has no neighbour to tell the gap, and of every second slice the gap is twice the image's.
    times = 1 if len(array) == 1 else max(round(drawn.spacing[0] / step), 1)
    if len(array) == 1 or times > 1:
        placed[:3, 0] = direction * (step if len(array) == 1 else drawn.spacing[0] / times)
        spread = np.zeros(((len(array) - 1) * times + 1, *array.shape[1:]), dtype=array.dtype)
        spread[::times] = array
        array = spread
    volume = highdicom.Volume(array, placed, coordinate_system="PATIENT")
    try:
        matched = volume.match_geometry(target, tol=0.05)
    except (RuntimeError, ValueError) as error:
        raise Unusable("lies on another grid than the image that it belongs to", "grid-affine") from error
    if matched.array.sum() != array.sum():
        raise Unusable("reaches beyond the image that it belongs to", "grid-affine")
    return matched.array, TO_RAS @ matched.affine
