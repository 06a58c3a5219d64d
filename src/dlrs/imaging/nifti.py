"""NIfTI files as other programs write them: what nibabel refuses without need, and what it reads without a warning."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from dlrs.imaging.dicom import Unusable, near_b_value

SIDECARS = (".bval", ".bvec", ".json")  # what dcm2niix writes beside a volume
GZIP = b"\x1f\x8b"
# ITK-SNAP and DICOM converters round an affine; a tenth of a voxel is beyond rounding and below anything visible.
TOLERANCE_VOXELS = 0.1
MAX_VOXELS = 2**29  # more is a damaged header, and memory
JSON_B_VALUES = ("DiffusionBValue", "BValue", "b_value")


def _shorten(header: nib.Nifti1Header) -> nib.Nifti1Header:
    """Shorten a header's quaternion that rounding made a little longer than 1, as ITK does."""
    xyz = np.array([header[f"quatern_{axis}"] for axis in "bcd"], dtype=float)
    length = np.sqrt(xyz @ xyz)
    if 1 < length < 1 + 1e-4:
        for axis, value in zip("bcd", xyz / length, strict=True):
            header[f"quatern_{axis}"] = value
    return header


class _RoundedHeader(nib.Nifti1Header):
    def get_qform_quaternion(self):
        _shorten(self)
        return super().get_qform_quaternion()


class _RoundedImage(nib.Nifti1Image):
    header_class = _RoundedHeader


def stem_of(path: Path) -> str:
    """Return a NIfTI file's name without .nii or .nii.gz."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def sidecars(path: Path) -> list[Path]:
    """Return the files beside a NIfTI volume that say its b-values."""
    return [file for ending in SIDECARS if (file := path.with_name(stem_of(path) + ending)).is_file()]


def opened(path: Path) -> nib.spatialimages.SpatialImage:
    """Open a NIfTI file, voxels not yet read.

    Raises
    ------
    Unusable
        It is not compressed as its name says, or says not where it lies.
    """
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM":
        raise Unusable("is DICOM, though its name says NIfTI: let its name end in .dcm", "image-unreadable")
    start = start[:2]
    if not start:
        raise Unusable("is an empty file (0 bytes): copy it again", "image-unreadable")
    if path.suffix == ".gz" and start != GZIP:
        raise Unusable("is not compressed, though its name ends in .gz: name it .nii", "image-unreadable")
    if path.suffix == ".nii" and start == GZIP:
        raise Unusable("is compressed, though its name ends in .nii: name it .nii.gz", "image-unreadable")
    try:
        image = nib.load(path)
    except ValueError as error:
        if "w2 should be positive" not in str(error):
            raise
        image = _RoundedImage.from_filename(path)
    header = image.header
    if "sform_code" in header and not header["sform_code"] and not header["qform_code"]:
        problem = "says not where it lies (sform and qform codes are 0): spacing and sides are unknown"
        raise Unusable(problem, "image-affine")
    if is_array_order(image.shape, image.affine):
        problem = (
            f"has the identity for affine and its shortest axis first ({' x '.join(map(str, image.shape))} voxels): "
            "an array in the order slice, row, column saved without its header"
        )
        raise Unusable(problem, "image-affine")
    return image


def has_identity(affine: np.ndarray) -> bool:
    """Say whether an affine is that of an array saved without spacing, position and sides."""
    return bool(np.allclose(np.abs(affine), np.eye(4)))


def is_array_order(shape: Sequence[int], affine: np.ndarray) -> bool:
    """Say whether an array lies in SimpleITK's order (slice, row, column) below an identity affine."""
    return len(shape) == 3 and has_identity(affine) and 1 < shape[0] < 0.67 * min(shape[1:])


def corners_apart(shape: Sequence[int], first: np.ndarray, second: np.ndarray) -> float:
    """Return how far apart (mm) two affines place the corners of a grid, the largest distance."""
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*(n - 1 for n in shape), 1]
    return float(np.linalg.norm(((first - second) @ corners.T)[:3], axis=0).max())


def places_differ(image: nib.spatialimages.SpatialImage) -> float:
    """Return how far apart (mm) sform and qform place a volume's corners; 0 where one of them is not given."""
    header = image.header
    if "sform_code" not in header or not (header["sform_code"] and header["qform_code"]):
        return 0.0
    return corners_apart(image.shape[:3], header.get_sform(), _shorten(header.copy()).get_qform())


def b_values_beside(path: Path) -> list[float] | None:
    """Return the b-values (s/mm2) that a .bval or .json file beside a volume says, None where none does.

    Raises
    ------
    Unusable
        A file is there and cannot be read, or two say different b-values.
    """
    found = {}
    for file in sidecars(path):
        try:
            if file.suffix == ".bval":
                found[file.name] = [float(word) for word in file.read_text(encoding="utf-8").split()]
            elif file.suffix == ".json":
                sidecar = json.loads(file.read_text(encoding="utf-8"))
                b_values = next((sidecar[key] for key in JSON_B_VALUES if key in sidecar), None)
                if b_values is not None:
                    found[file.name] = [float(b) for b in (b_values if isinstance(b_values, list) else [b_values])]
        except (ValueError, TypeError, UnicodeError) as error:
            problem = (
                f"has a file {file.name} that says no b-values (numbers with blanks between them, or DiffusionBValue)"
            )
            raise Unusable(problem, "b-value-missing") from error
    first, *others = found.items() or [(None, None)]
    for name, b_values in others:
        if len(b_values) != len(first[1]) or not all(map(near_b_value, b_values, first[1])):
            raise Unusable(f"has other b-values by {name} than by {first[0]}", "b-values-contradict")
    return first[1]


def volume(path: Path, b_value: float | None = None) -> nib.spatialimages.SpatialImage:
    """Open one volume: the file's, or of several that of one b-value.

    Parameters
    ----------
    path
        A NIfTI file; `dwi.nii.gz` holds all b-values, with `dwi.bval` beside it.
    b_value
        In s/mm2; None for what is no diffusion signal.

    Raises
    ------
    Unusable
        See `opened`; or the b-value is not there, or there more than once.
    """
    image = opened(path)
    if b_value is None:
        return image
    b_values, n = b_values_beside(path), image.shape[3] if len(image.shape) == 4 else 1
    if stem_of(path) == "dwi" and b_values is None:
        problem = f"holds {n} volumes" if n > 1 else "is one volume, and dwi is the name of a series of all b-values"
        remedy = "put dwi.bval beside it, or give each b-value as a file of its own (dwi_b0, dwi_b1000)"
        raise Unusable(f"{problem}: {remedy}", "b-value-missing")
    if b_values is None:
        return image
    if len(b_values) != n:
        raise Unusable(f"holds {n} volumes, the file beside it {len(b_values)} b-values", "b-value-other")
    hits = [place for place, b in enumerate(b_values) if near_b_value(b, b_value)]
    if not hits:
        known = ", ".join(f"{b:g}" for b in sorted(set(b_values)))
        raise Unusable(f"has the b-values {known} s/mm2 by the file beside it, not {b_value:g}", "b-value-other")
    if len(hits) > 1:
        reason = "directions?): give their trace image" if b_value > 5 else "repetitions?): give their mean"
        problem = f"holds {len(hits)} volumes of b = {b_value:g} ({reason}"
        raise Unusable(problem, "series-overlap")
    return image.slicer[..., hits[0]] if len(image.shape) == 4 else image


def check_whole(path: Path) -> None:
    """Read a compressed file to its end, where its checksum stands; nibabel stops after the last voxel.

    Raises
    ------
    Unusable
        The file is cut short or its content is not what was written.
    """
    if path.suffix != ".gz":
        return
    try:
        with gzip.open(path) as file:
            while file.read(1 << 22):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise Unusable(f"is damaged: the compressed file fails its checksum ({error})", "image-unreadable") from error


def read(path: Path, b_value: float | None = None, *, remarks: list) -> tuple[np.ndarray, np.ndarray]:
    """Read one volume: (array as stored, affine to RAS millimetres); see `volume`.

    `remarks` takes (code, message) of what is doubtful about where the header places the voxels.
    """
    image = volume(path, b_value)
    if has_identity(np.asarray(image.affine)):
        message = "voxels of 1 x 1 x 1 mm that start at 0, 0, 0: an array saved without header?"
        remarks.append(("affine-identity", message))
    unit = image.header.get_xyzt_units()[0] if hasattr(image.header, "get_xyzt_units") else ""
    if unit in ("meter", "micron"):
        remarks.append(("spacing-implausible", f"the header gives its voxel size in {unit}s; it is taken for mm"))
    apart = places_differ(image)
    if apart > TOLERANCE_VOXELS * nib.affines.voxel_sizes(image.affine).min():
        remarks.append(("places-differ", f"sform and qform place the corners up to {apart:.1f} mm apart"))
    if np.prod(image.shape, dtype=float) > MAX_VOXELS:
        problem = f"has {' x '.join(map(str, image.shape))} voxels, more than any scanner makes: the header is damaged"
        raise Unusable(problem, "image-dimensions")
    array = np.asanyarray(image.dataobj)
    check_whole(path)
    return array, np.asarray(image.affine, dtype=float)
