"""Boxes around the tumour: cut from the volumes, normalised, resized, written once per patient and sequence."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt
from tqdm import tqdm

from dlrs.config import InputError, display_path, sha256, whole_file
from dlrs.imaging import nifti
from dlrs.imaging.volumes import (
    B_VALUES,
    SEQUENCES,
    axial,
    check_images,
    find_volume,
    is_dicom,
    own_copy,
    read_sequence,
    stems_of,
)

CODE_VERSION = 2  # part of every cache key: raise it when the same input would give another box
INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
ZSCORES = ("slice", "box", "roi")
BOX_OPTIONS = ("box_size", "n_slices", "interpolation", "zscore", "keep_outside_roi")


class Box(NamedTuple):
    """The network's input and what was done to make it."""

    array: np.ndarray  # float32, (n_slices, box_size, box_size)
    slices: np.ndarray  # z of each box slice, from the feet up; shorter than n_slices when padded
    n_roi_slices: int  # slices that hold ROI, boxed or not
    n_constant: int  # box slices without contrast, set to 0


class Sample(NamedTuple):
    """What the quality sheet shows of one sequence of one patient: a few slices, windowed by nothing yet."""

    sequence: str
    images: list[np.ndarray]
    rois: list[np.ndarray]
    aspect: float  # height of a pixel over its width


def adjust_roi(
    roi: np.ndarray,
    spacing_mm: Sequence[float],
    *,
    grow_mm: float = 0.0,
    shift_mm: Sequence[float] = (0.0, 0.0),
) -> np.ndarray:
    """Return the ROI as another reader might have drawn it: larger, smaller or beside, slice by slice.

    Parameters
    ----------
    roi
        Boolean mask, axes (x, y, z).
    spacing_mm
        Voxel size along x, y and z.
    grow_mm
        Distance by which the outline, which runs half a voxel outside the
        centres of the outermost ones, moves outwards in the slice, rounded to
        voxels; negative moves it inwards, and a slice may lose its ROI.
    shift_mm
        Movement to the patient's right and to the front, rounded to whole
        voxels; what leaves the image is cut off.

    Returns
    -------
    array of bool
        The new mask, perhaps empty.
    """
    out = np.zeros_like(roi)
    steps = [round(move / size) for move, size in zip(shift_mm, spacing_mm, strict=False)]
    into = [slice(max(s, 0), n + min(s, 0)) for s, n in zip(steps, roi.shape, strict=False)]
    start = [slice(max(-s, 0), n - max(s, 0)) for s, n in zip(steps, roi.shape, strict=False)]
    half = sum(spacing_mm[:2]) / 4
    for z in np.flatnonzero(roi.any(axis=(0, 1))):
        mask = roi[:, :, z]
        if grow_mm > 0:
            mask = distance_transform_edt(~mask, sampling=spacing_mm[:2]) - half <= grow_mm
        elif grow_mm < 0:
            mask = distance_transform_edt(mask, sampling=spacing_mm[:2]) - half > -grow_mm
        out[(*into, z)] = mask[tuple(start)]
    return out


def select_slices(roi: np.ndarray, n_slices: int = 20) -> np.ndarray:
    """Return the z of the slices with the largest ROI area, from the feet up.

    Of slices with equal area the one nearer the feet is taken first.
    """
    areas = roi.sum(axis=(0, 1))
    largest = np.argsort(-areas, kind="stable")[:n_slices]
    return np.sort(largest[areas[largest] > 0])


def rectangle(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the smallest rectangle (rows, columns) that holds every True of a two-dimensional mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def resize(patch: np.ndarray, size: int, interpolation: str = "bilinear") -> np.ndarray:
    """Resize a patch to size x size, in pixel areas (corners of the pixels, not their centres, are matched).

    Bilinear and bicubic are smoothed beforehand where the patch shrinks, so
    that no fine texture turns into a coarse one.
    """
    import torch
    from torch.nn.functional import interpolate

    smooth = interpolation != "nearest"
    mode = interpolation if smooth else "nearest-exact"
    image = torch.from_numpy(own_copy(patch))[None, None]
    return interpolate(image, size=(size, size), mode=mode, antialias=smooth)[0, 0].numpy()


def make_box(
    image: np.ndarray,
    roi: np.ndarray,
    *,
    box_size: int = 112,
    n_slices: int = 20,
    interpolation: str = "bilinear",
    zscore: str = "slice",
    keep_outside_roi: bool = True,
) -> Box:
    """Cut the tumour out of a volume: the network's input, as in the paper's section 2.3.

    Of the (at most) `n_slices` slices with the largest ROI area, from the
    feet up, the smallest rectangle around the ROI is resized to a square and
    z-scored; slices of zeros fill the end. A tumour of any size fills its
    square, so size and aspect ratio are not in the box, but the number of
    empty slices is.

    Parameters
    ----------
    image
        Volume with axes (x, y, z), RAS.
    roi
        Boolean mask of the same shape, not empty.
    box_size
        Side of the square, in pixels (paper: 112).
    n_slices
        Slices in the box (paper: 20).
    interpolation
        bilinear, bicubic or nearest (paper: not said). Bilinear adds no value
        that the patch does not hold; see `resize`.
    zscore
        Whose mean and standard deviation bring the values to 0 and 1 (paper:
        "all ROIs were normalized with z-score", then boxes were built from
        them). `slice`: each resized rectangle by its own, which is that order
        of work and the default; `box`: all rectangles together, which keeps
        differences between slices; `roi`: all ROI voxels before resizing.
    keep_outside_roi
        True keeps what the rectangle holds beside the ROI (paper: the
        rectangle is extracted). False sets it to 0 after the z-score, whose
        mean and standard deviation then come from inside the ROI.

    Returns
    -------
    Box
        `array` float32 (n_slices, box_size, box_size), rows from front to
        back, columns from the patient's right; and what was done. Standard
        deviations divide by n. A slice without contrast becomes 0 and is counted.

    Raises
    ------
    ValueError
        The ROI is empty or of another shape, or an option is not one of those above.
    """
    check_options(box_size=box_size, n_slices=n_slices, interpolation=interpolation, zscore=zscore)
    if np.shape(image) != np.shape(roi) or not roi.any():
        problem = "an empty one" if np.shape(image) == np.shape(roi) else f"shape {np.shape(roi)}"
        raise ValueError(f"roi must have the image's shape {np.shape(image)} and hold a voxel; found {problem}")
    slices = select_slices(roi, n_slices)
    windows = [rectangle(axial(roi, z)) for z in slices]
    patches = [resize(axial(image, z)[w], box_size, interpolation) for z, w in zip(slices, windows, strict=True)]
    inside = [np.ones((box_size, box_size), dtype=bool)] * len(slices)
    if not keep_outside_roi:
        inside = [resize(axial(roi, z)[w], box_size, "nearest") > 0.5 for z, w in zip(slices, windows, strict=True)]
    if zscore == "slice":
        reference = [patch[kept] for patch, kept in zip(patches, inside, strict=True)]
    elif zscore == "box":
        reference = [np.concatenate([patch[kept] for patch, kept in zip(patches, inside, strict=True)])] * len(slices)
    else:
        reference = [image[:, :, slices][roi[:, :, slices]]] * len(slices)
    array = np.zeros((n_slices, box_size, box_size), dtype=np.float32)
    n_constant = 0
    for place, (patch, kept, values) in enumerate(zip(patches, inside, reference, strict=True)):
        mean, deviation = values.mean(dtype=float), values.std(dtype=float)
        if deviation > 1e-6 * max(abs(mean), 1e-30):  # less is the rounding of float32, not contrast
            array[place] = np.where(kept, (patch - mean) / deviation, 0.0)
        else:
            n_constant += 1
    return Box(array, slices, int(roi.any(axis=(0, 1)).sum()), n_constant)


def check_options(*, box_size: int, n_slices: int, interpolation: str, zscore: str) -> None:
    """Raise ValueError for an option that no box can be made with."""
    for name, value in {"box_size": box_size, "n_slices": n_slices}.items():
        if value != int(value) or value < 1:
            raise ValueError(f"{name} must be a whole number from 1 on; found {value!r}")
    for name, value, allowed in (("interpolation", interpolation, INTERPOLATIONS), ("zscore", zscore, ZSCORES)):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}; found {value!r}")


def _digest(task: dict) -> str:
    """Return the key of a box: a hash of the files it is made from, the options and the code's version."""
    folder, sequence = task["folder"], task["sequence"]
    total = hashlib.sha256(json.dumps([CODE_VERSION, sequence, task["options"]], sort_keys=True).encode())
    for stem in stems_of(folder, sequence, task["options"]["b_values"]):
        path = find_volume(folder, stem)
        sidecars = [] if is_dicom(path) else nifti.sidecars(path)
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path, *sidecars]:
            total.update(f"{stem} {sha256(file)}\n".encode())
    return total.hexdigest()


def _write_box(task: dict) -> None:
    """Make one box on disk, then the record that declares it finished."""
    options, sequence = task["options"], task["sequence"]
    given = {name: options[name] for name in ("nonpositive_value", "b_values")}
    image = read_sequence(task["folder"], sequence, name=task["name"], **given)
    volume, roi = image.volume, image.roi
    change = {name: options[name] for name in ("grow_mm", "shift_mm")}
    if options["grow_mm"] or any(options["shift_mm"]):
        roi = adjust_roi(roi, volume.spacing_mm, **change)
        if not roi.any():
            problem = "nothing is left of the ROI after " + ", ".join(f"{k}={v}" for k, v in change.items())
            remedy = "Choose a smaller change, or leave the patient out."
            raise InputError(
                f"{task['name']}/{stems_of(task['folder'], sequence, options['b_values'])[-1]}",
                problem,
                expected="a voxel or more",
                remedy=remedy,
            )
    box = make_box(volume.array, roi, **{name: options[name] for name in BOX_OPTIONS})
    with whole_file(task["box"]) as unfinished:
        np.save(unfinished, box.array)
    windows = [(z, rectangle(axial(roi, z))) for z in box.slices]
    record = {
        "key": task["key"],
        "sha256": sha256(task["box"]),
        "n_volume_slices": volume.array.shape[2],
        "n_roi_slices": box.n_roi_slices,
        "n_box_slices": len(box.slices),
        "n_dropped_slices": box.n_roi_slices - len(box.slices),
        "n_padded_slices": len(box.array) - len(box.slices),
        "n_constant_slices": box.n_constant,
        "n_nonpositive": sum(int(axial(image.nonpositive, z)[window].sum()) for z, window in windows),
        "n_nonpositive_volume": int(image.nonpositive.sum()),
        "roi_voxels": int(roi.sum()),
        "roi_volume_mm3": float(roi.sum() * np.prod(volume.spacing_mm)),
        **{f"spacing_{axis}_mm": size for axis, size in zip("xyz", volume.spacing_mm, strict=True)},
        "orientation": volume.stored,
        "source": image.source,
    }
    with whole_file(task["record"]) as unfinished:
        unfinished.write_text(json.dumps(record), encoding="utf-8")


def _finished(task: dict) -> bool:
    """Say whether box and record are there, belong together, and come from these files and options."""
    try:
        record = json.loads(task["record"].read_text(encoding="utf-8"))
        return record["key"] == task["key"] and record["sha256"] == sha256(task["box"])
    except (FileNotFoundError, json.JSONDecodeError):
        return False


def _start_worker() -> None:
    """Give a worker one thread, and let it end when the process that feeds it is killed."""
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _attempt(function: Callable, task: dict) -> tuple[object, str]:
    """Return (result, "") or (None, message): an InputError does not survive the way between processes."""
    try:
        return function(task), ""
    except InputError as error:
        return None, str(error)


def _each(function: Callable, tasks: list[dict], *, jobs: int, label: str, progress: bool) -> list[tuple]:
    """Apply a function to every task, in order, in `jobs` processes with a progress bar.

    The processes are forked from one small server that has imported this
    module once for all of them.
    """
    attempt = partial(_attempt, function)
    if not tasks:
        return []
    with tqdm(total=len(tasks), desc=label, disable=not progress, mininterval=0.5) as bar:
        if jobs == 1:
            return list(_counted(map(attempt, tasks), bar))
        forked = "forkserver" in multiprocessing.get_all_start_methods()  # not on Windows
        context = multiprocessing.get_context("forkserver" if forked else "spawn")
        if forked:
            context.set_forkserver_preload(["dlrs.imaging.cropping"])
        with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=context, initializer=_start_worker) as pool:
            return list(_counted(pool.map(attempt, tasks), bar))


def _counted(results: Iterable, bar: tqdm) -> Iterator:
    for result in results:
        yield result
        bar.update()


def _tasks(cohort_dir: Path, patients: pd.DataFrame, sequences: Sequence[str], **more) -> list[dict]:
    """List what is to be done per patient and sequence; messages call a patient by the row in clinical.csv."""
    rows = patients["row"] if "row" in patients else pd.Series(np.arange(len(patients)) + 2)
    return [
        {
            "folder": cohort_dir / "images" / patient,
            "name": f"images/(patient of row {row})",
            "patient_id": patient,
            "row": int(row),
            "sequence": sequence,
            **more,
        }
        for patient, row in zip(patients["patient_id"].astype(str), rows, strict=True)
        for sequence in sequences
    ]


def _refuse(tasks: list[dict], messages: list[str], out_dir: Path, n_patients: int) -> None:
    """Write the list of problems, which names patients, and raise the first of them, which does not."""
    bad = [(task, message) for task, message in zip(tasks, messages, strict=True) if message]
    path = out_dir / "problems.csv"
    if not bad:
        path.unlink(missing_ok=True)
        return
    columns = [{**{k: task[k] for k in ("row", "patient_id", "sequence")}, "problem": text} for task, text in bad]
    with whole_file(path) as unfinished:
        pd.DataFrame(columns).to_csv(unfinished, index=False)
    n_bad = len({task["patient_id"] for task, _ in bad})
    more = f" This is 1 of {len(bad)} problems in {n_bad} of {n_patients} patients; all" if len(bad) > 1 else " It"
    tell = f"{more} {'are' if len(bad) > 1 else 'is'} listed in {display_path(path)}; finished boxes are kept."
    raise InputError.__new__(InputError, bad[0][1] + tell)  # the message was composed where the file was read


def build_boxes(
    cohort_dir: str | Path,
    patients: pd.DataFrame,
    out_dir: str | Path,
    *,
    sequences: Sequence[str] = SEQUENCES,
    box_size: int = 112,
    n_slices: int = 20,
    interpolation: str = "bilinear",
    zscore: str = "slice",
    keep_outside_roi: bool = True,
    nonpositive_value: float = 0.0,
    b_values: Sequence[float] = B_VALUES,
    grow_mm: float = 0.0,
    shift_mm: Sequence[float] = (0.0, 0.0),
    jobs: int = 2,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Make the boxes of every patient, in parallel, redoing only what has changed.

    All file names and headers are checked first. A patient whose volumes
    then turn out damaged does not stop the others; when all are through, one
    error says what was wrong. A box is kept with a hash of the files, the
    options and the code it came from, so a second run, also after a kill,
    does only what is missing or changed.

    Parameters
    ----------
    cohort_dir
        The cohort folder, with `images/<patient_id>/`.
    patients
        `patient_id`, and `row` (the row in clinical.csv, by which messages
        call a patient; counted from 2 if there is no such column).
    out_dir
        Where the boxes go: `<sequence>/<patient_id>.npy`.
    sequences
        T2W, ADC or both.
    box_size, n_slices, interpolation, zscore, keep_outside_roi
        See `make_box`.
    nonpositive_value
        See `adc_map`.
    b_values
        Of the diffusion signals, in s/mm2: `b_values` of cohort.yaml.
    grow_mm, shift_mm
        Change of every ROI before it is boxed, see `adjust_roi`; 0 is the paper's.
    jobs
        Processes; 1 works in this one. The result does not depend on it.
    cache_dir
        A folder that keeps boxes of any options and cohort for several runs;
        without it `out_dir` holds those of the last options only.
    progress
        Show a progress bar; it names no patient.

    Returns
    -------
    DataFrame
        One row a patient and sequence: patient_id, sequence, file (relative
        to the folder above `out_dir`), sha256 of the box, n_volume_slices,
        n_roi_slices, n_box_slices, n_dropped_slices, n_padded_slices,
        n_constant_slices, n_nonpositive (voxels without ADC inside the
        rectangles), n_nonpositive_volume, roi_voxels, roi_volume_mm3,
        spacing_x_mm, spacing_y_mm, spacing_z_mm, orientation in the file,
        source. `attrs["n_built"]` counts the boxes that were not kept from before.

    Raises
    ------
    InputError
        Names file, finding, expectation and remedy of the first problem;
        `problems.csv` in `out_dir` lists all of them, with patients' names.
    ValueError
        An option is unknown or out of range.
    """
    cohort_dir, out_dir = Path(cohort_dir), Path(out_dir)
    options = {
        "box_size": box_size,
        "n_slices": n_slices,
        "interpolation": interpolation,
        "zscore": zscore,
        "keep_outside_roi": keep_outside_roi,
        "nonpositive_value": nonpositive_value,
        "b_values": [float(b) for b in b_values],
        "grow_mm": grow_mm,
        "shift_mm": [float(move) for move in shift_mm],
    }
    check_options(**{name: options[name] for name in BOX_OPTIONS if name != "keep_outside_roi"})
    tasks = _tasks(cohort_dir, patients, sequences, options=options)

    def look(task):
        return check_images(task["folder"], task["sequence"], name=task["name"], b_values=b_values)

    with ThreadPoolExecutor(jobs) as pool:  # headers and hashes: reading files, which threads do side by side
        headers = list(pool.map(look, tasks))
        _refuse(tasks, headers, out_dir, len(patients))
        keys = tqdm(pool.map(_digest, tasks), total=len(tasks), desc="files", disable=not progress, mininterval=0.5)
        for task, key in zip(tasks, keys, strict=True):
            target = out_dir / task["sequence"] / task["patient_id"]
            kept = Path(cache_dir) / key if cache_dir else target
            task.update(key=key, box=Path(f"{kept}.npy"), record=Path(f"{kept}.json"), target=Path(f"{target}.npy"))
        finished = list(pool.map(_finished, tasks))
    todo = [task for task, done in zip(tasks, finished, strict=True) if not done]
    results = _each(_write_box, todo, jobs=jobs, label="boxes", progress=progress)
    _refuse(todo, [message for _, message in results], out_dir, len(patients))
    rows = []
    for task in tasks:
        if cache_dir:
            with whole_file(task["target"]) as unfinished:
                shutil.copyfile(task["box"], unfinished)
        file = task["target"].relative_to(out_dir.parent).as_posix()
        record = json.loads(task["record"].read_text(encoding="utf-8"))
        del record["key"]
        rows.append({"patient_id": task["patient_id"], "sequence": task["sequence"], "file": file, **record})
    index = pd.DataFrame(rows)
    index.attrs["n_built"] = len(todo)
    return index


def _surroundings(mask: np.ndarray, sizes: Sequence[float]) -> tuple[slice, slice]:
    """Return a square (in mm) around a slice's ROI, twice as wide as the ROI's longer side."""
    window = rectangle(mask)
    reach = max((w.stop - w.start) * size for w, size in zip(window, sizes, strict=True))
    centres = [(w.start + w.stop) / 2 for w in window]
    return tuple(slice(max(round(c - reach / s), 0), round(c + reach / s)) for c, s in zip(centres, sizes, strict=True))


def _read_sample(task: dict) -> Sample:
    """Read a few of the boxed slices, cut to the tumour and as much again around it."""
    image = read_sequence(task["folder"], task["sequence"], name=task["name"], b_values=task["b_values"])
    volume, roi = image.volume, image.roi
    slices = select_slices(roi, task["n_slices"])
    chosen = slices[np.linspace(0, len(slices) - 1, task["n_views"] + 2).round().astype(int)[1:-1]]
    sizes = volume.spacing_mm[1], volume.spacing_mm[0]
    windows = [_surroundings(axial(roi, z), sizes) for z in chosen]
    images = [axial(volume.array, z)[window].copy() for z, window in zip(chosen, windows, strict=True)]
    rois = [axial(roi, z)[window].copy() for z, window in zip(chosen, windows, strict=True)]
    return Sample(task["sequence"], images, rois, sizes[0] / sizes[1])


def read_samples(
    cohort_dir: str | Path,
    patients: pd.DataFrame,
    *,
    sequences: Sequence[str] = SEQUENCES,
    n_slices: int = 20,
    n_views: int = 3,
    b_values: Sequence[float] = B_VALUES,
    jobs: int = 2,
) -> list[Sample]:
    """Read what the quality sheet shows of some patients: `n_views` of the boxed slices with their ROI.

    `b_values` as in `build_boxes`.

    Returns
    -------
    list of Sample
        Patient by patient, in each the sequences in the order given.

    Raises
    ------
    InputError
        A volume or mask cannot be used.
    """
    tasks = _tasks(Path(cohort_dir), patients, sequences, n_slices=n_slices, n_views=n_views, b_values=b_values)
    results = _each(_read_sample, tasks, jobs=jobs, label="samples", progress=False)
    for _, message in results:
        if message:
            raise InputError.__new__(InputError, message)
    return [sample for sample, _ in results]


def quality_sheet(samples: Sequence[Sample], boxes: Sequence[np.ndarray], labels: Sequence[str]):
    """Draw slices with the ROI's outline and rectangle, and beside them every slice of the box.

    Parameters
    ----------
    samples
        From `read_samples`.
    boxes
        The box of each sample, (n_slices, size, size).
    labels
        What stands to the left of each: rows, never patients.

    Returns
    -------
    matplotlib Figure
        A row per sample. Box slices run from the feet (upper left) to the
        head in two lines, black at -2.5 and white at 2.5; padding is pale.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    n_views, columns = len(samples[0].images), -(-len(boxes[0]) // 2)
    ratios = {"width_ratios": [1] * n_views + [columns / 2]}
    size = (n_views + columns / 2 + 0.8, 1.03 * len(samples) + 0.6)
    figure, axes = plt.subplots(
        len(samples), n_views + 1, figsize=size, gridspec_kw=ratios, squeeze=False, layout="constrained"
    )
    for row, sample, box, label in zip(axes, samples, boxes, labels, strict=True):
        for ax, image, roi in zip(row, sample.images, sample.rois, strict=False):
            low, high = np.percentile(image, [1, 99])
            ax.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=sample.aspect, interpolation="nearest")
            fine = np.kron(roi, np.ones((8, 8)))  # so that the outline follows the voxels' edges
            height, width = roi.shape
            ax.contour(fine, [0.5], extent=(-0.5, width - 0.5, -0.5, height - 0.5), colors="#E69F00", linewidths=0.9)
            rows, cols = rectangle(roi)
            corner = (cols.start - 0.5, rows.start - 0.5)
            ax.add_patch(
                Rectangle(corner, cols.stop - cols.start, rows.stop - rows.start, fill=False, color="#56B4E9", lw=0.9)
            )
        grey = np.clip((box + 2.5) / 5, 0, 1)
        grey[~box.any(axis=(1, 2))] = 0.93  # padding
        frame = ((0, 2 * columns - len(box)), (3, 3), (3, 3))
        tiles = np.pad(grey, frame, constant_values=1.0)
        montage = np.concatenate([np.concatenate(list(line), axis=1) for line in np.split(tiles, 2)], axis=0)
        row[-1].imshow(montage, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        row[0].set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    axes[0, 0].set_title("Slices with ROI and rectangle", fontsize=9, loc="left")
    axes[0, -1].set_title("The box: from the feet to the head, padding pale", fontsize=9, loc="left")
    return figure
