"""Phantoms: the synthetic patients' volumes, rendered from their parameters."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from scipy.ndimage import gaussian_filter, map_coordinates, zoom
from scipy.special import ndtr, ndtri

from dlrs.config import display_path, resolve, sha256, stream, whole_file

RENDERER = 2  # part of every patient's parameters: raise it when the same parameters would give other volumes
B_VALUES = (0, 1000)
FILES = ("t2w.nii.gz", "dwi_b0.nii.gz", "dwi_b1000.nii.gz", "t2w_roi.nii.gz", "dwi_roi.nii.gz")
PHANTOMS = yaml.safe_load(Path(__file__).with_name("phantoms.yaml").read_text(encoding="utf-8"))
ACQUISITION, RENDERING, TISSUES, READER, GREY = (
    PHANTOMS[name] for name in ("acquisition", "rendering", "tissues", "reader", "tumour_t2w")
)


class Phantom(NamedTuple):
    """A phantom volume in memory: `data` (x, y, z) and its 4 x 4 `affine` to millimetres (RAS+)."""

    data: np.ndarray
    affine: np.ndarray


def write_if_changed(path: Path, text: str) -> None:
    """Write a text file whole, and leave it untouched where it already says the same."""
    if path.is_file() and path.read_bytes() == text.encode():
        return
    with whole_file(path) as partial:
        partial.write_bytes(text.encode())


def rendered_parameters(truth: pd.DataFrame, *, size_signal: float = 0.0) -> dict[str, np.ndarray]:
    """Return what is painted for given views: all of it increases with the view, and so with risk.

    Parameters
    ----------
    truth
        The columns t2w_view and adc_view; latent_risk where size tells of it.
    size_signal
        How much the tumour's length tells of the latent risk: 0 for nothing; at 1 a latent risk one SD higher goes
        with a length greater by a factor of exp(0.3), as much as the SD of lengths otherwise.

    Returns
    -------
    dict
        `texture_scale` (correlation length of the T2W texture, as a fraction of the tumour's mean diameter in plane),
        `texture_elongation` (correlation length along the rectal wall over that across it), `texture_clustering`
        (how far bright spots gather: the share of the pattern's variance that varies slowly), `core_extent` (radius
        of the core of restricted diffusion, as a fraction of the tumour's), `core_depth` (by how much ADC is lower
        there, as a fraction), `tumour_size` (factor on the tumour's length).

    Notes
    -----
    The T2W view decides where grey values lie, never which ones there are: every tumour of a patient has the same
    histogram whatever its view (`_tumour_grey`). ADC carries the view in its values as well.
    """
    # Clipped so that no tumour is one flat patch or mere noise; 1.2 % of the patients lie beyond.
    texture, diffusion = (np.clip(np.asarray(truth[name]), -2.5, 2.5) for name in ("t2w_view", "adc_view"))
    one = np.ones_like(texture)
    return {
        "texture_scale": 0.06 * np.exp(0.25 * texture),
        "texture_elongation": np.exp(0.30 * texture),
        "texture_clustering": 0.75 * ndtr(0.9 * texture - 0.2),
        "core_extent": 0.48 * np.exp(0.18 * diffusion),
        "core_depth": 0.26 + 0.10 * diffusion,
        "tumour_size": np.exp(0.30 * size_signal * np.asarray(truth["latent_risk"])) if size_signal else one,
    }


def _anatomy(rng: np.random.Generator) -> dict[str, float]:
    """Draw one pelvis and its tumour, in millimetres; none of it knows anything of the risk."""
    u = rng.uniform
    length = float(np.clip(50 * np.exp(0.30 * rng.standard_normal()), 28, 100))
    return {
        "body_x": u(158, 185), "body_y": u(98, 120), "rectum_x": u(15, 19), "rectum_y": u(14, 18), "wall": u(2.6, 3.8),
        "sway": u(-4, 4), "bend": u(0.001, 0.004), "mesorectum_x": u(36, 44), "mesorectum_y": u(31, 38),
        "prostate_x": u(21, 27), "prostate_y": u(15, 20), "bladder": u(26, 42), "lumen": u(0.08, 0.9),
        "lumen_adc": u(1900, 2500), "length": length, "tangential": u(14, 22), "radial": u(9.5, 14.5),
        "angle": u(0, 2 * math.pi), "tumour_t2w": u(0.42, 0.50), "tumour_b0": u(0.60, 0.75),
        "tumour_adc": float(np.clip(1280 + 80 * rng.standard_normal(), 1100, 1460)),
        "core_x": u(-0.25, 0.25), "core_y": u(-0.25, 0.25),
    }  # fmt: skip


class _Grid(NamedTuple):
    """Anatomical coordinates of every voxel: x (ni, 1, 1), y and z (1, nj, nk), for a tilt about x alone."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    affine: np.ndarray


def _grid(rng: np.random.Generator, sequence: dict, length: float) -> _Grid:
    """Lay a centre's field of view round the tumour, where this patient happened to lie in the scanner."""
    pitch = sequence["slice_thickness_mm"] + sequence["slice_gap_mm"]
    # A long tumour gets the slices it needs: the technician sees it too.
    slices = max(int(rng.integers(*sequence["slices"], endpoint=True)), math.ceil((length + 16) / pitch))
    shape = np.array([*sequence["matrix"], slices])
    tilt = math.radians(rng.uniform(*sequence["oblique_degrees"]))
    rotation = np.array(
        [[1, 0, 0], [0, math.cos(tilt), -math.sin(tilt)], [0, math.sin(tilt), math.cos(tilt)]]
    ) @ np.diag([*sequence["voxel_mm"], pitch])
    # Rectal protocols centre a little in front of the rectum.
    corner = np.array([rng.uniform(-5, 5), rng.uniform(8, 18), rng.uniform(-4, 4)]) - rotation @ ((shape - 1) / 2)
    i, j, k = (np.arange(n) for n in shape)
    x = (rotation[0, 0] * i + corner[0])[:, None, None]
    y = (rotation[1, 1] * j[:, None] + rotation[1, 2] * k + corner[1])[None]
    z = (rotation[2, 1] * j[:, None] + rotation[2, 2] * k + corner[2])[None]
    affine = np.eye(4)
    affine[:3, :3] = rotation
    affine[:3, 3] = corner + rng.uniform(-40, 40, 3).round(1)
    return _Grid(*(a.astype(np.float32) for a in (x, y, z)), affine)


def _near(grid: _Grid, centre, reach) -> tuple:
    """Return the slices of the smallest block that holds a box round `centre`, or None where it misses the grid."""
    within = [abs(axis - c) <= r for axis, c, r in zip(grid[:3], centre, reach, strict=True)]
    found = [within[0].any(axis=(1, 2)), *((within[1] & within[2]).any(axis=axis) for axis in ((0, 2), (0, 1)))]
    edges = [np.flatnonzero(hit) for hit in found]
    return tuple(slice(e[0], e[-1] + 1) for e in edges) if all(len(e) for e in edges) else None


def _paint(canvas: list[np.ndarray], grid: _Grid, centre, radii, values, *, edge: float = 1.5) -> None:
    """Blend an ellipsoid (an infinite radius makes a tube) with a soft edge of `edge` mm into every channel."""
    reach = [radius + edge for radius in radii]
    # A centre that moves along z is an array: search its block with the largest excursion.
    spread = [float(np.ptp(c)) if np.ndim(c) else 0.0 for c in centre]
    middle = [float(np.mean(c)) if np.ndim(c) else c for c in centre]
    block = _near(grid, middle, [r + s for r, s in zip(reach, spread, strict=True)])
    if block is None:
        return
    plane = (slice(None), *block[1:])
    x, y, z = grid.x[block[0]], grid.y[plane], grid.z[plane]
    cx, cy, cz = (c[plane] if np.ndim(c) else np.float32(c) for c in centre)
    flat = ((y - cy) / radii[1]) ** 2 + ((z - cz) / radii[2]) ** 2
    distance = np.sqrt(((x - cx) / radii[0]) ** 2 + flat)
    weight = np.clip(0.5 + (1 - distance) * (min(radii) / edge), 0, 1).astype(np.float32)
    for channel, value in zip(canvas, values, strict=True):
        channel[block] += weight * (np.float32(value) - channel[block])


def _pelvis(canvas: list[np.ndarray], grid: _Grid, body: dict, rng: np.random.Generator, channels: slice) -> tuple:
    """Paint everything but the tumour and return the rectum's centre line, x and y over (1, nj, nk)."""

    def paint(tissue, centre, radii, edge=1.5):
        _paint(canvas, grid, centre, radii, TISSUES[tissue][channels], edge=edge)

    tube = np.inf
    line = (body["sway"] * np.sin(grid.z / 30), -body["bend"] * grid.z**2)
    paint("fat", (0, 25, 0), (body["body_x"], body["body_y"], tube), edge=5)
    for side in (-1, 1):
        paint("muscle", (side * 74, -46, 0), (57, 30, tube), edge=3)
        paint("muscle", (side * 62, 14, 0), (13, 37, tube), edge=2)
        paint("muscle", (side * 30, 112, 0), (32, 8, tube), edge=2)
        paint("bone", (side * 98, 26, -5), (25, 28, 60), edge=2)
        paint("marrow", (side * 98, 26, -5), (22, 25, 57), edge=2)
    for tissue, cut in (("bone", 0), ("marrow", 2.5)):
        paint(tissue, (0, -54, 0), (27 - cut, 12 - cut, tube), edge=2)
        paint(tissue, (0, 92, -18), (15 - cut, 11 - cut, 28 - cut), edge=2)
    around = (line[0], line[1] - 3, 0)
    for tissue, cut in (("fascia", 0), ("mesorectum", 1.6)):
        paint(tissue, around, (body["mesorectum_x"] - cut, body["mesorectum_y"] - cut, tube), edge=1.2)
    paint("bladder", (0, 66, 44), (1.25 * body["bladder"], 0.8 * body["bladder"], body["bladder"]), edge=2)
    paint("prostate", (0, 47, -14), (body["prostate_x"], body["prostate_y"], 26), edge=2)
    for angle, ring, size, height in rng.uniform([0, 0.6, 1, 4], [6.28, 0.9, 2.2, 12], (14, 4)):
        x, y = ring * body["mesorectum_x"] * math.cos(angle), ring * body["mesorectum_y"] * math.sin(angle) - 3
        paint("vessel", (x, y, rng.uniform(-45, 45)), (size, size, height), edge=1)
    # Strands and septa: a few per cent of slow variation, one map turning into another along z.
    plane = np.array(canvas[0].shape[:2])
    coarse = rng.standard_normal((2, *(plane // 8)), dtype=np.float32)
    first, second = (zoom(m, plane / m.shape, order=1, grid_mode=True, mode="nearest")[:, :, None] for m in coarse)
    canvas[0] *= 1 + 0.05 * (first * np.cos(grid.z / 12) + second * np.sin(grid.z / 12))
    paint("wall", (*line, 0), (body["rectum_x"], body["rectum_y"], tube), edge=1.2)
    filled = (body["lumen"], max(0.2, body["lumen"]), body["lumen_adc"])[channels]
    inner = (body["rectum_x"] - body["wall"], body["rectum_y"] - body["wall"], tube)
    _paint(canvas, grid, (*line, 0), inner, filled, edge=1.2)
    return line


def _field(rng: np.random.Generator, shape: tuple, sigma: float | tuple) -> np.ndarray:
    """Return a periodic Gaussian random field of unit variance; correlation length `sigma` voxels, or one an axis."""
    field = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
    return (field - field.mean()) / field.std()


def _sample(field: np.ndarray, where: list[np.ndarray], per_unit: float) -> np.ndarray:
    """Read a periodic field at tumour coordinates, `per_unit` voxels to the unit."""
    return map_coordinates(field, [per_unit * axis for axis in where], order=1, mode="grid-wrap")


class _Tumour(NamedTuple):
    """A tumour on one grid: where it and its rim lie, and for each of those voxels its place in the tumour.

    `where` is in units of the mean radius, `scaled` in units of the tumour's own radii; `inside` is positive within.
    """

    block: tuple
    near: np.ndarray
    where: list[np.ndarray]
    scaled: list[np.ndarray]
    inside: np.ndarray

    def blend(self, canvas: np.ndarray, value, sharpness: float) -> None:
        """Paint `value` into a canvas with a soft edge."""
        weight = np.clip(0.5 + sharpness * self.inside, 0, 1)
        part = canvas[self.block]
        part[self.near] += weight * (value - part[self.near])


def _tumour(grid: _Grid, line: tuple, body: dict, lumps: np.ndarray) -> _Tumour:
    """Place the tumour on a grid: a lumpy, bent plate on the rectal wall, blunt at both ends."""
    reach = 1.3 * body["tangential"] + 0.7 * body["rectum_x"]
    block = _near(grid, (0, 0, 0), (reach + 4, reach + 8, 0.6 * body["length"]))
    plane = (slice(None), *block[1:])
    dx, dy = grid.x[block[0]] - line[0][plane], grid.y[plane] - line[1][plane]
    c, s = math.cos(body["angle"]), math.sin(body["angle"])
    along, height = dy * c - dx * s, np.broadcast_to(grid.z[plane], np.broadcast_shapes(dx.shape, dy.shape))
    # Bent round the lumen, so that its bounding rectangle holds some of it.
    across = dx * c + dy * s - 0.7 * body["rectum_x"] + 0.35 * along**2 / (2 * body["rectum_x"])
    radii = body["tangential"], body["radial"], body["length"] / 2
    oval = (along / radii[0]) ** 2 + (across / radii[1]) ** 2
    distance = (oval**2 + (height / radii[2]) ** 4) ** 0.25
    near = distance < 1.5
    unit, local = math.sqrt(radii[0] * radii[1]), [axis[near] for axis in (along, across, height)]
    where = [axis / unit for axis in local]
    scaled = [axis / radius for axis, radius in zip(local, radii, strict=True)]
    return _Tumour(block, near, where, scaled, 1 - distance[near] + 0.08 * _sample(lumps, where, 5))


def _outline(tumour: _Tumour, shape: tuple, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Return a reader's mask: generous or sparing all round, and off by a little here and there."""
    margin = READER["margin_sd_mm"] * float(np.clip(rng.standard_normal(), -2, 2)) / radius
    wobble = READER["wobble_sd_mm"] / radius * _sample(_field(rng, (20, 20, 24), 1.5), tumour.where, 5)
    mask = np.zeros(shape, np.uint8)
    mask[tumour.block][tumour.near] = tumour.inside + margin + wobble > 0
    area = mask.sum(axis=(0, 1))
    mask[:, :, area < 0.15 * area.max()] = 0  # nobody outlines the last grazed slice
    return mask


def _measured(signal: np.ndarray, rng: np.random.Generator, *, counts: int, noise: float) -> np.ndarray:
    """Return stored integers of a magnitude image: Rician noise of SD `noise`, a signal of 1 stored as `counts`."""
    real, imaginary = (rng.standard_normal(signal.shape, dtype=np.float32) for _ in range(2))
    real *= noise * counts
    real += counts * signal
    imaginary *= noise * counts
    np.sqrt(real * real + imaginary * imaginary, out=real)
    return np.rint(real, out=real).astype(np.int16)


def _bias(shape: tuple, depth: float, rng: np.random.Generator) -> np.ndarray:
    """Return a smooth coil profile around 1."""
    i, j, k = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    a, b, c, d = rng.uniform(-1, 1, 4).astype(np.float32)
    return (1 + depth * (a * i - 0.5 * i**2))[:, None, None] * (
        1 + depth * (b * j[:, None] - 0.5 * j[:, None] ** 2 + 0.3 * c * k + 0.3 * d * k * j[:, None])
    )


def _tumour_grey(pattern: np.ndarray, inside: np.ndarray, base: float) -> np.ndarray:
    """Return T2W signal that follows `pattern` in rank alone: the tumour's voxels have one fixed histogram.

    A normal body of `spread` round `base` and a bright tail (mucin-like islands): the same values in every tumour of
    that base signal, so that neither a histogram nor shuffled voxels can tell one pattern from another.
    """
    order = np.sort(pattern[inside > 0])
    rank = (np.searchsorted(order, pattern, side="right") - 0.5) / len(order)
    z = ndtri(np.clip(rank, 0.5 / len(order), 1 - 0.5 / len(order)))
    grey = base * (1 + GREY["spread"] * z)
    island = np.clip(0.5 + 2.0 * (z - ndtri(1 - GREY["island_share"])), 0, 1)
    return grey + 0.8 * island * (GREY["island_signal"] - grey)


def render_patient(patient_id: str, centre: str, parameters: dict[str, float], *, seed: int) -> dict[str, Phantom]:
    """Paint one patient's five volumes.

    Parameters
    ----------
    patient_id, centre : str
        Name the patient's random streams and the scanner ("A", "B" or "C").
    parameters : dict
        Those of `rendered_parameters`; nothing else of the truth reaches the pixels.
    seed : int
        The cohort's seed. Anatomy, fields and noise come from it and from `patient_id` alone.

    Returns
    -------
    dict
        File name -> `Phantom`: int16 images (arbitrary units; DWI at b = 0 and 1000 s/mm2) and uint8 masks, in the
        order left-right, back-front, bottom-top; `write_cohort` stores them in the centre's own axis order.
    """
    if centre not in ACQUISITION:
        raise ValueError(f"centre must be one of {', '.join(ACQUISITION)}; found {centre!r}")
    body, look = _anatomy(stream(seed, "anatomy", patient_id)), RENDERING[centre]
    body["length"] = min(body["length"] * parameters["tumour_size"], 120.0)
    radius = math.sqrt(body["tangential"] * body["radial"])
    rng = stream(seed, "fields", patient_id)
    lumps = _field(rng, (20, 20, 24), 2.0)
    volumes = {}

    # T2W: a pattern in units of the tumour's mean diameter, which survives resizing to a fixed box; 20 voxels of the
    # field to the mean radius, axes along the wall, across it, and along the rectum.
    length, ratio = 40 * parameters["texture_scale"], math.sqrt(parameters["texture_elongation"])
    fine = _field(rng, (80, 80, 96), (length * ratio, length / ratio, length))
    slow = _field(rng, (80, 80, 96), 40 * GREY["cluster_scale"])
    share = parameters["texture_clustering"]
    field = math.sqrt(1 - share) * fine + math.sqrt(share) * slow
    rng = stream(seed, "t2w", patient_id)
    grid = _grid(rng, ACQUISITION[centre]["t2w"], body["length"])
    signal = np.zeros(np.broadcast_shapes(*(axis.shape for axis in grid[:3])), np.float32)
    line = _pelvis([signal], grid, body, rng, slice(0, 1))
    tumour = _tumour(grid, line, body, lumps)
    base = body["tumour_t2w"] * look["tumour_t2w"]
    inner = _tumour_grey(_sample(field, tumour.where, 20), tumour.inside, base)
    tumour.blend(signal, inner, body["radial"] / 1.5)
    signal *= _bias(signal.shape, look["bias"], rng)
    counts, noise = look["t2w_counts"], look["t2w_noise"]
    volumes["t2w.nii.gz"] = Phantom(_measured(signal, rng, counts=counts, noise=noise), grid.affine)
    volumes["t2w_roi.nii.gz"] = Phantom(_outline(tumour, signal.shape, radius, rng), grid.affine)

    # DWI: its own grid, shifted a little as echo-planar images are; restricted diffusion in a core.
    rng = stream(seed, "dwi", patient_id)
    grid = _grid(rng, ACQUISITION[centre]["dwi"], body["length"])
    grid = grid._replace(y=grid.y + np.float32(rng.uniform(-2.5, 2.5)))
    b0, adc = (np.zeros(np.broadcast_shapes(*(axis.shape for axis in grid[:3])), np.float32) for _ in range(2))
    line = _pelvis([b0, adc], grid, body, rng, slice(1, 3))
    tumour = _tumour(grid, line, body, lumps)
    # Long along the tumour, so that most slices cut it.
    along, across, height = tumour.scaled
    off = np.sqrt((along - body["core_x"]) ** 2 + (across - body["core_y"]) ** 2 + (0.6 * height) ** 2)
    core = np.clip(0.5 + (parameters["core_extent"] - off + 0.08 * _sample(lumps, tumour.where, 7)) / 0.2, 0, 1)
    ripple = 1 + 0.04 * _sample(_field(rng, (40, 40, 48), 1.5), tumour.where, 10)
    inner_adc = body["tumour_adc"] * ripple * (1 - parameters["core_depth"] * core)
    tumour.blend(b0, body["tumour_b0"], body["radial"] / 2)
    tumour.blend(adc, inner_adc, body["radial"] / 2)
    b0 *= _bias(b0.shape, look["bias"], rng)
    counts, noise = look["dwi_counts"], look["dwi_noise"]
    for b in B_VALUES:
        weighted = b0 * np.exp(-1e-6 * b * adc)
        volumes[f"dwi_b{b}.nii.gz"] = Phantom(_measured(weighted, rng, counts=counts, noise=noise), grid.affine)
    volumes["dwi_roi.nii.gz"] = Phantom(_outline(tumour, b0.shape, radius, rng), grid.affine)
    return volumes


def _nifti(volume: Phantom, axes: str) -> bytes:
    """Return a NIfTI file's gzipped bytes in the given axis order; no time and no name inside, so bytes repeat."""
    from nibabel import Nifti1Image
    from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

    image = Nifti1Image(volume.data, volume.affine)
    image = image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(axes)))
    image.set_qform(image.affine, code="scanner")
    image.set_sform(image.affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"SYNTHETIC phantom"
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


RECORD = ".rendered.json"


def _digest(patient_id: str, centre: str, parameters: dict[str, float], seed: int) -> str:
    """Return a hash of everything that a patient's pixels depend on."""
    painted = ACQUISITION[centre], RENDERING[centre], TISSUES, READER, GREY
    inputs = [RENDERER, seed, patient_id, centre, parameters, *painted]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _render_folder(images: Path, patient_id: str, centre: str, parameters: dict[str, float], seed: int) -> None:
    """Write one patient's folder under a temporary name, with a record of its files, and rename it when whole."""
    partial, target, files = images / f".partial-{os.getpid()}-{patient_id}", images / patient_id, {}
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, volume in render_patient(patient_id, centre, parameters, seed=seed).items():
        data = _nifti(volume, ACQUISITION[centre][name[:3]]["axes"])
        (partial / name).write_bytes(data)
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    record = {"parameters_sha256": _digest(patient_id, centre, parameters, seed), "files": files}
    (partial / RECORD).write_text(json.dumps(record, indent=1))
    if target.exists():
        shutil.rmtree(target)
    os.replace(partial, target)


def _record_if_whole(folder: Path, digest: str, verified_ns: int) -> dict | None:
    """Return a patient's record if the folder is what `digest` asks for; hash the files changed since `verified_ns`."""
    try:
        record = json.loads((folder / RECORD).read_text())
        if record["parameters_sha256"] != digest or set(record["files"]) != set(FILES):
            return None
        for name, file in record["files"].items():
            found = (folder / name).stat()
            if found.st_size != file["bytes"]:
                return None
            if found.st_mtime_ns > verified_ns and sha256(folder / name) != file["sha256"]:
                return None
    except (OSError, ValueError, KeyError):
        return None
    return record


def _clear_leftovers(images: Path, patient_ids: set[str]) -> None:
    """Remove what killed runs left half-written and phantoms of patients no longer in the cohort."""
    for folder in images.iterdir():
        half_written = folder.name.startswith(".partial-") and time.time() - folder.stat().st_mtime > 3600
        if folder.name.startswith(".partial-") and not half_written:
            try:
                os.kill(int(folder.name.split("-")[1]), 0)
            except ProcessLookupError:
                half_written = True
            except PermissionError:
                pass  # another person's process, alive
        if half_written or (folder.name not in patient_ids and (folder / RECORD).is_file()):
            shutil.rmtree(folder)


def write_images(images: str | Path, clinical: pd.DataFrame, truth: pd.DataFrame, *, seed: int, jobs: int = 2) -> int:
    """Render the phantoms that are not there yet, and write `manifest.json` when all are.

    A folder that is whole and was rendered from the same parameters is left alone: sizes are compared, and files
    changed since the manifest was written are hashed. A patient's folder appears under its name only when it is whole.

    Returns
    -------
    int
        How many patients were rendered.
    """
    images = resolve(images)
    images.mkdir(parents=True, exist_ok=True)
    manifest = images / "manifest.json"
    names = list(rendered_parameters(truth))
    table = clinical[["patient_id", "centre"]].merge(truth[["patient_id", *names]], validate="one_to_one")
    patients = {row.patient_id: (row.centre, {n: float(getattr(row, n)) for n in names}) for row in table.itertuples()}
    _clear_leftovers(images, set(patients))

    def records():
        verified = manifest.stat().st_mtime_ns if manifest.is_file() else -1
        return {p: _record_if_whole(images / p, _digest(p, *views, seed), verified) for p, views in patients.items()}

    todo = [patient for patient, record in records().items() if record is None]
    if todo:
        from joblib import Parallel, delayed
        from tqdm import tqdm

        tasks = (delayed(_render_folder)(images, patient, *patients[patient], seed) for patient in todo)
        done = Parallel(n_jobs=min(jobs, len(todo)), return_as="generator_unordered")(tasks)
        for _ in tqdm(done, total=len(todo), desc="phantoms", unit="patient", mininterval=1):
            pass
    found = records() if todo else None
    if found and None in found.values():
        raise RuntimeError(f"{sum(r is None for r in found.values())} phantoms in {display_path(images)} are not whole")
    if found or not manifest.is_file():
        write_if_changed(manifest, json.dumps({"seed": seed, "patients": found or records()}, indent=1))
    os.utime(manifest)  # everything older has just been verified
    return len(todo)
