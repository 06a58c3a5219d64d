"""Volumes of a patient: NIfTI or DICOM, in one orientation, with their ROI and the ADC map."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt2axcodes
from nibabel.spatialimages import HeaderDataError

from dlrs.config import InputError, display_path
from dlrs.imaging import dicom, nifti
from dlrs.imaging.dicom import Unusable

SEQUENCES = ("T2W", "ADC")
SIGNALS = ("dwi_b0", "dwi_b1000")  # the two signals' names, whatever the pair of b-values
ENDINGS = (".nii.gz", ".nii", ".dcm", "")  # of a volume's file; the last is a folder with a DICOM series
B_VALUES = (0.0, 1000.0)  # s/mm2 (paper)
MAX_TILT_DEGREES = 65.0  # of an axial slice against the scanner's axis
MAX_ACROSS_MM = 600.0  # of one slice: wider than any scanner's bore
LABEL_TOLERANCE = 1e-3  # of a mask's label that was stored with a scale
READABLE = "a readable three-dimensional volume (NIfTI, a DICOM multi-frame file, or a folder with one DICOM series)"
EXPORT_AGAIN = "Export or copy it again; make DICOM of another kind NIfTI first."
HEADER_ERRORS = (Unusable, ImageFileError, HeaderDataError, OSError, EOFError, zlib.error)


class Volume(NamedTuple):
    """A volume in RAS; `affine` and `spacing_mm` belong to the array as it is, `stored` says how it lay in the file."""

    array: np.ndarray
    affine: np.ndarray
    spacing_mm: tuple[float, float, float]
    stored: str


class SequenceImage(NamedTuple):
    """One sequence of one patient, ready to be boxed."""

    volume: Volume
    roi: np.ndarray  # boolean, same axes as the volume's array
    nonpositive: np.ndarray  # boolean: no ADC could be computed here; all False for T2W
    source: str  # NIfTI or DICOM


def find_volume(folder: str | Path, stem: str, *, name: str | None = None) -> Path:
    """Return the file `stem.nii.gz`, `stem.nii` or `stem.dcm`, or the DICOM folder `stem`, in a patient's folder.

    Parameters
    ----------
    folder
        The patient's folder.
    stem
        t2w, dwi (both b-values in one), dwi_b0, dwi_b1000, adc, t2w_roi or dwi_roi.
    name
        How messages call the folder, `images/<folder's name>` if not given.

    Raises
    ------
    InputError
        None is there, or more than one.
    """
    folder = Path(folder)
    place = f"{name or f'images/{folder.name}'}/{stem}.nii.gz"
    found = [folder / f"{stem}{ending}" for ending in ENDINGS if (folder / f"{stem}{ending}").exists()]
    if not found:
        expected = f"{stem}.nii.gz, {stem}.nii, {stem}.dcm or a folder {stem} with one DICOM series"
        remedy = "Put the volume there, or leave the patient out of clinical.csv."
        others = misnamed(folder, stem)
        problem = "the volume is missing" + (f" ({others[0]} is of a kind or name that is not read)" if others else "")
        raise InputError(place, problem, expected=expected, remedy=remedy)
    if len(found) > 1:
        problem = "the volume is there more than once (" + ", ".join(path.name for path in found) + ")"
        raise InputError(place, problem, expected="one of them", remedy="Remove those that are not meant.")
    return found[0]


def misnamed(folder: Path, stem: str) -> list[str]:
    """List files that a volume's name begins, in whatever case: of another kind, or named otherwise."""
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    begins = (stem + ".", stem + " ")
    return sorted(n for n in names if f"{n} ".casefold().startswith(begins) and not n.endswith(nifti.SIDECARS))


def _canonical(shape: Sequence[int], affine: np.ndarray) -> tuple[np.ndarray, tuple[int, ...], np.ndarray]:
    """Return the orientation of a stored array, and its shape and affine once turned to RAS."""
    if len(shape) != 3 or min(shape) < 1:
        raise Unusable(f"has shape {tuple(map(int, shape))}, not three dimensions", "image-dimensions")
    sizes = nib.affines.voxel_sizes(affine)
    if not (np.isfinite(affine).all() and (sizes > 0).all() and abs(np.linalg.det(affine[:3, :3] / sizes)) > 1e-3):
        raise Unusable("has an affine that does not place it in the patient", "image-affine")
    orientation = orientation_of(affine)
    turned = np.empty(3, dtype=int)
    turned[orientation[:, 0].astype(int)] = shape
    return orientation, tuple(int(n) for n in turned), affine @ inv_ornt_aff(orientation, shape)


def orientation_of(affine: np.ndarray) -> np.ndarray:
    """Return a volume's orientation (nibabel's form): which axis runs to the right, to the front, to the head.

    Thick slices count as axial up to a tilt of `MAX_TILT_DEGREES`, as rectal
    protocols tilt them across the tumour; the nearest axis would be another
    one from 45 degrees on.
    """
    orientation, sizes = io_orientation(affine), nib.affines.voxel_sizes(affine)
    ways, slices = affine[:3, :3] / sizes, int(sizes.argmax())
    first, second = (axis for axis in range(3) if axis != slices)
    thick = sizes[slices] >= 1.5 * max(sizes[first], sizes[second])
    if orientation[slices, 0] == 2 or not thick or abs(ways[2, slices]) < np.cos(np.radians(MAX_TILT_DEGREES)):
        return orientation
    if abs(ways[0, first]) + abs(ways[1, second]) < abs(ways[1, first]) + abs(ways[0, second]):
        first, second = second, first
    for place, axis in enumerate((first, second, slices)):
        orientation[axis] = place, -1 if ways[place, axis] < 0 else 1  # a damaged header may have 0 there
    return orientation


def _three_dimensional(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape without the trailing axes of length 1 that some writers add."""
    shape = tuple(shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def is_dicom(path: Path) -> bool:
    """Say whether a volume's path is DICOM: a folder of a series, or one file, named .dcm or without ending."""
    return path.is_dir() or path.suffix in (".dcm", "")


def read_stored(
    path: Path, *, b_value: float | None = None, on: Volume | None = None, remarks: list | None = None
) -> Volume:
    """Read a volume, or the mask drawn on the volume `on`, and turn it to RAS: the one reader of study and doctor.

    Parameters
    ----------
    path
        See `read_volume` and `read_roi`.
    b_value
        Of a diffusion signal, in s/mm2.
    on
        The image that a mask belongs to; None reads a volume.
    remarks
        Takes (code, message) of what is read and doubtful.

    Raises
    ------
    Unusable
        Whatever makes the study refuse it, with the doctor's code.
    """
    remarks = [] if remarks is None else remarks
    try:
        segmentation = dicom.segmentation_file(path) if on and is_dicom(path) else None
        if segmentation:
            array, affine = dicom.read_segmentation(segmentation, on.array.shape, on.affine)
        elif is_dicom(path):
            array, affine = dicom.read(path, b_value=b_value, named=path.name.startswith("dwi_b"), remarks=remarks)
        else:
            array, affine = nifti.read(path, b_value, remarks=remarks)
        array = array.reshape(_three_dimensional(array.shape))
        orientation, _, affine = _canonical(array.shape, affine)
        if array.dtype.kind not in "iufb":
            kind = "in colours" if array.dtype.names else f"of type {array.dtype}"
            raise Unusable(f"has voxels {kind}, not single numbers", "image-dimensions")
        array = own_copy(apply_orientation(array, orientation))
    except (MemoryError, Unusable):
        raise
    except Exception as error:  # a damaged file makes the readers raise a dozen different kinds
        raise Unusable(f"cannot be read ({type(error).__name__})", "image-unreadable") from error
    missing = array.size - int(np.isfinite(array).sum())
    if missing:
        fault = f"has no number everywhere: {missing} of {array.size} voxels are NaN or infinite; write background as 0"
        raise Unusable(fault, "image-nan")
    if on is None and array.shape[2] == 1:
        across = max(n * size for n, size in zip(array.shape[:2], nib.affines.voxel_sizes(affine), strict=False))
        if across > MAX_ACROSS_MM:
            problem = f"is one slice of {across:.0f} mm across, as a mosaic of all slices on one picture"
            raise Unusable(f"{problem}: convert it from DICOM with dcm2niix, which unfolds it", "series-mosaic")
        remarks.append(("image-one-slice", "the volume has one slice"))
    if on is None and array.min() == array.max():
        raise Unusable(f"has no contrast: every voxel has the value {array.flat[0]:g}", "image-constant")
    stored = on.stored if segmentation else "".join(ornt2axcodes(orientation))
    volume = Volume(array, affine, tuple(float(x) for x in nib.affines.voxel_sizes(affine)), stored)
    return volume if on is None else _uncropped(volume, on)


def _uncropped(mask: Volume, on: Volume) -> Volume:
    """Put a mask that was cropped to the tumour back on its image's grid; others stay as they are."""
    start = _cropped_at(mask.array.shape, mask.affine, on.array.shape, on.affine)
    if start is None:
        return mask
    array = np.zeros(on.array.shape, dtype=np.float32)
    array[tuple(slice(a, a + n) for a, n in zip(start, mask.array.shape, strict=True))] = mask.array
    return on._replace(array=array, stored=mask.stored)


def _cropped_at(shape: tuple, affine: np.ndarray, like_shape: tuple, like_affine: np.ndarray) -> np.ndarray | None:
    """Return where in its image a mask begins that was cropped to the tumour, as 3D Slicer saves masks; None if not.

    It must lie within the image along every axis that is shorter: one that
    starts or ends where the image does was more likely saved with its header.
    """
    step = np.linalg.inv(like_affine) @ affine
    start, part, full = np.round(step[:3, 3]), np.array(shape), np.array(like_shape)
    inside = (start > 0) & (start + part < full) | (part == full) & (start == 0)
    exact = np.eye(4)
    exact[:3, 3] = start
    if tuple(shape) == tuple(like_shape) or not inside.all():
        return None
    apart = nifti.corners_apart(shape, like_affine @ exact, affine)
    return start.astype(int) if apart <= _tolerance_mm(like_affine) else None


def _tolerance_mm(affine: np.ndarray) -> float:
    return nifti.TOLERANCE_VOXELS * nib.affines.voxel_sizes(affine).min()


def read_volume(path: str | Path, *, name: str | None = None, b_value: float | None = None) -> Volume:
    """Read a NIfTI file or a DICOM series and turn it to RAS.

    The voxels are only reordered, never resampled: an oblique volume keeps
    its grid and its affine says where it lies.

    Parameters
    ----------
    path
        `.nii`, `.nii.gz`, `.dcm` (multi-frame), or a folder that holds one
        DICOM series.
    name
        How messages call it; the path if not given.
    b_value
        Of DICOM with b-values in its headers: the one to read, in s/mm2.

    Returns
    -------
    Volume
        float32 array with axes (x, y, z), affine to millimetres, spacing in
        mm, and the orientation in the file, such as `LPS`.

    Raises
    ------
    InputError
        The volume cannot be read or is cut short, is not three-dimensional,
        holds NaN or infinity, or has one value everywhere.

    Notes
    -----
    DICOM slices are ordered by their position along the stack, whatever
    their instance numbers; rescale slope and intercept are applied, and a
    diffusion coefficient whose header names its unit comes in 1e-6 mm2/s.

    Examples
    --------
    >>> volume = read_volume("data_synthetic/images/P001/t2w.nii.gz")  # doctest: +SKIP
    >>> volume.spacing_mm, volume.stored  # doctest: +SKIP
    ((0.6, 0.6, 3.5), 'LPS')
    """
    return _read(Path(path), name or display_path(path), b_value)


def _read(path: Path, name: str, b_value: float | None = None, on: Volume | None = None) -> Volume:
    """Read a volume, or the mask drawn on `on`; what cannot be used is an InputError."""
    try:
        return read_stored(path, b_value=b_value, on=on)
    except Unusable as error:
        problem = f"the {'mask' if on else 'volume'} {error}"
        raise InputError(name, problem, expected=READABLE, remedy=EXPORT_AGAIN) from error


def read_roi(path: str | Path, volume: Volume, *, name: str | None = None) -> np.ndarray:
    """Read the mask that belongs to a volume; every voxel above 0 is ROI.

    Parameters
    ----------
    path
        The mask, in any orientation: NIfTI, a DICOM segmentation, or a DICOM series of labels.
    volume
        The volume it was drawn on.
    name
        How messages call the mask; the path if not given.

    Returns
    -------
    array of bool
        Same axes as `volume.array`.

    Raises
    ------
    InputError
        The mask cannot be read, lies on another grid than the volume, holds
        fractions or negative numbers (a mask that was interpolated), or is empty.
    """
    name = name or display_path(path)
    mask = _read(Path(path), name, on=volume)
    _same_grid(name, mask.array.shape, mask.affine, volume.array.shape, volume.affine)
    odd = no_labels(mask.array)
    if odd.any():
        problem = f"the mask holds {int(odd.sum())} voxels that are no label, such as {mask.array[odd][0]:g}"
        remedy = "Save it as labels; resample masks with nearest neighbour only."
        raise InputError(name, problem, expected="whole numbers, 0 outside the ROI", remedy=remedy)
    drawn = mask.array > 0.5
    if not drawn.any():
        remedy = "Draw the ROI, or leave the patient out of clinical.csv."
        raise InputError(name, "the mask is empty", expected="at least one voxel above 0", remedy=remedy)
    return drawn


def no_labels(values: np.ndarray) -> np.ndarray:
    """Mark the values of a mask that are no label: fractions and negative numbers, but for the rounding of a scale."""
    return (np.abs(values - np.round(values)) > LABEL_TOLERANCE) | (values < -LABEL_TOLERANCE)


def _same_grid(name: str, shape: tuple, affine: np.ndarray, like_shape: tuple, like_affine: np.ndarray) -> None:
    """Raise when a volume in RAS does not share the grid of the one it belongs to."""
    remedy = "Draw or resample it on that image (nearest neighbour for a mask)."
    if tuple(shape) != tuple(like_shape):
        problem = f"the grid has {_times(shape)} voxels"
        expected = f"{_times(like_shape)}, as the image it belongs to has (both turned to RAS)"
        raise InputError(name, problem, expected=expected, remedy=remedy)
    apart = nifti.corners_apart(shape, affine, like_affine)
    limit = _tolerance_mm(like_affine)
    if apart > limit:
        problem = f"the grid lies up to {apart:.2f} mm away from the image it belongs to"
        raise InputError(name, problem, expected=f"the same affine, to within {limit:.2f} mm", remedy=remedy)


def _times(shape: tuple) -> str:
    return " x ".join(str(int(n)) for n in shape)


def adc_map(
    low: np.ndarray,
    high: np.ndarray,
    *,
    b_low: float = 0.0,
    b_high: float = 1000.0,
    nonpositive_value: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the apparent diffusion coefficient and where it could not be computed.

    Water that moves freely loses signal quickly between the two b-values and
    has a high ADC; cell-dense tumour has a low one.

    Parameters
    ----------
    low, high
        Signals at `b_low` and `b_high`, same shape, any intensity scale.
    b_low, b_high
        b-values in s/mm2 (paper: 0 and 1000).
    nonpositive_value
        What a voxel becomes when either signal is zero or negative, where no
        logarithm exists: rounding to 0 in fluid at the high b-value, air.
        0 is what scanners write there.

    Returns
    -------
    adc : array of float32
        In 1e-6 mm2/s. Noise can make `high` exceed `low`; the negative ADC
        that follows is kept as it is.
    nonpositive : array of bool
        Voxels set to `nonpositive_value`.

    Raises
    ------
    ValueError
        The shapes differ, or `b_high` does not exceed `b_low`.

    Notes
    -----
    ADC = -ln(S_high / S_low) / (b_high - b_low), times 1e6.

    Examples
    --------
    >>> adc, nonpositive = adc_map(np.array([1000.0, 500.0]), np.array([np.exp(-1.2) * 1000, 0.0]))
    >>> [round(float(x)) for x in adc], nonpositive.tolist()
    ([1200, 0], [False, True])
    """
    if np.shape(low) != np.shape(high):
        raise ValueError(f"high must have the shape of low, {np.shape(low)}; found {np.shape(high)}")
    if not b_high > b_low:
        raise ValueError(f"b_high must exceed b_low ({b_low:g}); found {b_high:g}")
    nonpositive = ~((low > 0) & (high > 0))
    ratio = np.divide(low, high, out=np.ones(np.shape(low)), where=~nonpositive, dtype=float)
    adc = np.log(ratio) * (1e6 / (b_high - b_low))
    adc[nonpositive] = nonpositive_value
    return adc.astype(np.float32), nonpositive


def adc_fit(
    signals: Sequence[np.ndarray], b_values: Sequence[float], *, nonpositive_value: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ADC of two or more b-values: `adc_map` of a pair, the log-linear fit of more.

    Parameters
    ----------
    signals
        One array a b-value, of one shape, any intensity scale.
    b_values
        Of the signals, in s/mm2, ascending.
    nonpositive_value
        See `adc_map`; a voxel of which one signal is not positive is set to it.

    Returns
    -------
    adc : array of float32
        In 1e-6 mm2/s.
    nonpositive : array of bool

    Notes
    -----
    The fit is ordinary least squares of ln S on b, each b-value weighted
    alike; its slope times -1e6 is the ADC.

    Examples
    --------
    >>> b = [50.0, 400.0, 800.0]
    >>> adc, _ = adc_fit([np.array([900 * np.exp(-0.0012 * value)]) for value in b], b)
    >>> round(float(adc[0]))
    1200
    """
    if len(signals) != len(b_values) or len(b_values) < 2:
        raise ValueError(f"b_values must be two or more, one a signal; found {len(b_values)} for {len(signals)}")
    if len(b_values) == 2:
        low, high = b_values
        return adc_map(*signals, b_low=low, b_high=high, nonpositive_value=nonpositive_value)
    nonpositive = ~np.all([signal > 0 for signal in signals], axis=0)
    away = np.asarray(b_values, dtype=float) - np.mean(b_values)
    adc = np.zeros(nonpositive.shape)
    for signal, distance in zip(signals, away, strict=True):
        adc -= distance * np.log(np.where(nonpositive, 1.0, signal), dtype=float)
    adc *= 1e6 / (away**2).sum()
    adc[nonpositive] = nonpositive_value
    return adc.astype(np.float32), nonpositive


def _there(folder: Path, stem: str) -> bool:
    return any((folder / f"{stem}{ending}").exists() for ending in ENDINGS)


def signal_stems(folder: Path, b_values: Sequence[float] = B_VALUES) -> list[str]:
    """Return the names of the signals, one a b-value: `dwi_b800`; of a pair also `dwi_b0` and `dwi_b1000`."""
    by_b_value = [f"dwi_b{b:g}" for b in b_values]
    if len(by_b_value) != 2:
        return by_b_value
    return [stem if _there(folder, stem) else usual for stem, usual in zip(by_b_value, SIGNALS, strict=True)]


def stems_of(folder: Path, sequence: str, b_values: Sequence[float] = B_VALUES) -> list[str]:
    """Return what a sequence is read from, ROI last: every b-value, else the series of all, else the ADC map."""
    if sequence == "T2W":
        return ["t2w", "t2w_roi"]
    signals = signal_stems(folder, b_values)
    # The paper copies the ROI on ADC from the DWI slices, so it has no ROI of its own.
    for stem in ("dwi", "adc"):
        if _there(folder, stem) and not any(_there(folder, signal) for signal in signals):
            return [stem, "dwi_roi"]
    return [*signals, "dwi_roi"]


def read_sequence(
    folder: str | Path,
    sequence: str,
    *,
    name: str | None = None,
    nonpositive_value: float = 0.0,
    b_values: Sequence[float] = B_VALUES,
) -> SequenceImage:
    """Read one sequence of one patient with its ROI.

    Parameters
    ----------
    folder
        The patient's folder: `t2w` and `t2w_roi`; `dwi_b0`, `dwi_b1000` and
        `dwi_roi`; in place of the signals `dwi`, a DICOM series whose
        headers tell the b-values, or `adc` (in 1e-6 mm2/s). The ROI
        on ADC is the DWI ROI, voxel for voxel.
    sequence
        `T2W` or `ADC`.
    name
        How messages call the folder, `images/<folder's name>` if not given.
    nonpositive_value
        See `adc_map`; a finished ADC map is left as it is and its voxels at
        or below 0 are counted.
    b_values
        Of the signals, in s/mm2, as cohort.yaml says them; see `adc_fit`.

    Raises
    ------
    InputError
        A volume or mask is missing, damaged, empty or on another grid.
    """
    folder = Path(folder)
    name = name or f"images/{folder.name}"
    stems = stems_of(folder, sequence, b_values)
    if stems[0] == "dwi":
        stems = ["dwi"] * len(b_values) + stems[1:]
    paths = [find_volume(folder, stem, name=name) for stem in stems]
    wanted = b_values if len(stems) > 2 else (None,)
    volumes = [
        read_volume(path, name=f"{name}/{path.name}", b_value=b) for path, b in zip(paths[:-1], wanted, strict=True)
    ]
    first = volumes[0]
    for path, other in zip(paths[1:-1], volumes[1:], strict=True):
        _same_grid(f"{name}/{path.name}", other.array.shape, other.affine, first.array.shape, first.affine)
    if not is_axial(first):
        problem = "slices are {} mm apart from foot to head, voxels up to {} mm across".format(
            *(f"{size:.2f}" for size in (first.spacing_mm[2], max(first.spacing_mm)))
        )
        remedy = "Give the axial series; boxes are cut from axial slices."
        raise InputError(f"{name}/{paths[0].name}", problem, expected="an axial series", remedy=remedy)
    roi = read_roi(paths[-1], first, name=f"{name}/{paths[-1].name}")
    source = "DICOM" if is_dicom(paths[0]) else "NIfTI"
    if sequence == "T2W":
        return SequenceImage(first, roi, np.zeros_like(roi), source)
    if len(volumes) == 1:
        return SequenceImage(first, roi, first.array <= 0, source)
    adc, nonpositive = adc_fit([v.array for v in volumes], b_values, nonpositive_value=nonpositive_value)
    return SequenceImage(first._replace(array=adc), roi, nonpositive, source)


def is_axial(volume: Volume) -> bool:
    """Say whether a volume's slices are stacked from foot to head: nowhere are voxels much larger than along there."""
    return volume.spacing_mm[2] >= 0.67 * max(volume.spacing_mm)


def own_copy(array: np.ndarray) -> np.ndarray:
    """Return a float32 copy with its axes in C order, for libraries that refuse a mirrored view.

    `np.ascontiguousarray` is not enough: a view with one element along an
    axis counts as contiguous and keeps that axis's negative stride.
    """
    return np.array(array, dtype=np.float32, order="C", copy=True)


def axial(array: np.ndarray, z: int) -> np.ndarray:
    """Return one slice as a radiologist sees it: front at the top, the patient's right at the left."""
    return array[::-1, ::-1, z].T


def check_images(
    folder: str | Path, sequence: str, *, name: str | None = None, b_values: Sequence[float] = B_VALUES
) -> str:
    """Return what is wrong with a patient's sequence as far as file names and NIfTI headers tell, in milliseconds.

    Voxels are not read: a truncated volume or an empty mask shows only in
    `read_sequence`.

    Returns
    -------
    str
        The message of the first `InputError`; empty when nothing is wrong.
    """
    folder = Path(folder)
    name = name or f"images/{folder.name}"
    first = None
    try:
        for stem in stems_of(folder, sequence, b_values):
            path = find_volume(folder, stem, name=name)
            grid = _header(path, f"{name}/{path.name}")
            cropped = bool(grid and first) and stem.endswith("_roi") and _cropped_at(*grid, *first) is not None
            if grid and first and not cropped:
                _same_grid(f"{name}/{path.name}", *grid, *first)
            first = first or grid
    except InputError as error:
        return str(error)
    return ""


def _header(path: Path, name: str) -> tuple[tuple[int, ...], np.ndarray] | None:
    """Return shape and affine in RAS from a NIfTI header; None for a DICOM folder, which is read whole later."""
    if is_dicom(path):
        return None
    try:
        image = nifti.opened(path)
        shape = _three_dimensional(image.shape)
        several = len(shape) == 4 and nifti.stem_of(path) == "dwi"
        return _canonical(shape[:3] if several else shape, image.affine)[1:]
    except HEADER_ERRORS as error:
        problem = f"the volume {error}" if isinstance(error, Unusable) else "the file's header cannot be read"
        raise InputError(name, problem, expected=READABLE, remedy=EXPORT_AGAIN) from error
