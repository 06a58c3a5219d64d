"""Checking a cohort folder before anything is computed from it: everything at once, in words that can be acted on.

The page that comes of it may name patients: it stays where it was written.
"""

from __future__ import annotations

import argparse
import base64
import errno
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import yaml
from scipy import ndimage

from dlrs.cohort import Variable, columns
from dlrs.config import InputError, display_path, in_words, sha256, write_text
from dlrs.imaging import nifti, volumes
from dlrs.imaging.volumes import Volume
from dlrs.templates import template
from dlrs_site import privacy
from dlrs_site.intake import PROBABILITIES, Problem, survey, survey_probabilities

TEMPLATES = Path(__file__).parent / "templates"
VOLUME_STEMS = ("t2w", "dwi", "dwi_b0", "dwi_b1000", "adc")
ROI_STEMS = ("t2w_roi", "dwi_roi")
# What a hospital's own numbers are held against. Tissue: from dense fibrous tissue to a little above free water at
# body temperature, in 1e-6 mm2/s. Spacings: from high-resolution pelvic MRI to a survey scan, in mm.
ADC_RANGE = (300.0, 3500.0)
SPACING_RANGE_MM = (0.1, 20.0)
MIN_ROI_VOXELS, MIN_ROI_MM3 = 20, 200.0
MAX_ROI_SHARE = 0.3  # of the volume: more is a mask turned inside out
DARK_SHARE = 0.05  # ROI signal over the brightest tissue: less is air
OUTLINE_SHARE = 1.5  # voxels of the filled ROI over those drawn: more is an outline without its inside, or a ring
MAX_OUTLINE_SHIFT_MM = 10.0  # of one tumour's box between T2W and DWI: more than motion and distortion
MAX_OUTLINE_RATIO = 2.0  # of one tumour's volume on T2W and on DWI, where none of these says why it is so
SAYS_SIZE = (
    "roi-tiny", "roi-one-slice", "roi-covers-image", "roi-outline-only", "spacing-units", "spacing-implausible",
)  # fmt: skip
SAYS_PLACE = ("affine-identity", "spacing-units", "spacing-implausible", "image-not-axial")
MAX_UNDEFINED_ADC = 0.1  # share of ROI voxels without a positive signal
FEW_PATIENTS = {"primary": 100, "validation": 50}
FEW_EVENTS = {"primary": 40, "validation": 20}  # ten per factor of the nomogram; half of it to judge one
EVENTS_PER_COEFFICIENT = 10  # of a Cox model (Peduzzi et al. 1995)
MIN_FOR_LEVELS = 20  # patients: of fewer, every factor lacks a level
MAX_FOLLOW_UP_MONTHS = 240.0
FINDINGS = yaml.safe_load(Path(__file__).with_name("findings.yaml").read_text(encoding="utf-8"))


class Finding(NamedTuple):
    """One thing that is wrong or doubtful; `row` is the patient's row in the table, or the wrong cell's."""

    severity: str  # error or warning
    code: str
    file: str  # relative to the cohort folder
    row: int | None
    message: str
    remedy: str


class Examined(NamedTuple):
    """What came of one patient's images."""

    findings: list[Finding]
    digests: list[tuple[str, str, bool]]  # hash of the voxels in RAS, file, whether it is a mask
    pictures: list[tuple[str, str]]  # caption, JPEG as base64
    n_volumes: int  # volumes and masks that could be read


class Outline(NamedTuple):
    """Size and place of an ROI."""

    mm3: float
    box: np.ndarray  # first and last place (mm, RAS), shape (2, 3)


class Report(NamedTuple):
    """All findings on a cohort folder, errors first, with pictures of the patients that they concern."""

    findings: list[Finding]
    pictures: dict[str, tuple[int | None, list[tuple[str, str]]]]  # patient -> row, pictures
    facts: dict  # name, class, n_patients, n_volumes, searched_for


def _finding(code: str, file: str, row: int | None, message: str) -> Finding:
    known = FINDINGS[code]
    return Finding(known["severity"], code, file, row, message, known["remedy"])


def _of_problem(problem: Problem) -> Finding:
    column = f"column {problem.column}: " if problem.column else ""
    message = f"{column}{problem.found}; expected {problem.expected}."
    return Finding("error", problem.code, problem.file, problem.row, message, problem.remedy)


def _level_findings(patients: pd.DataFrame, variables: Mapping[str, Variable]) -> list[tuple[str, str]]:
    """Say which factors the primary cohort, in which models are fitted, cannot estimate: (code, message)."""
    primary = patients[patients["cohort"] == "primary"]
    if len(primary) < MIN_FOR_LEVELS:
        return []
    absent, without, scarce = [], [], []
    n_events = int(primary["event"].sum())
    for name, variable in variables.items():
        if variable.role != "covariate" or name not in primary:
            continue
        by_level = primary.groupby(name)["event"].agg(["size", "sum"]) if variable.kind == "levels" else None
        n_coefficients = 1 if by_level is None else len(by_level) - 1
        if n_coefficients and n_events < EVENTS_PER_COEFFICIENT * n_coefficients:
            scarce.append(f"{name} ({n_events / n_coefficients:.1f})")
        if by_level is not None:
            elsewhere = patients.loc[patients["cohort"] != "primary", name].value_counts()
            for level in [level for level in variable.categories if level not in by_level.index]:
                n = int(elsewhere.get(level, 0))
                absent.append(f"{name} {level}" + (f" ({n} in the validation cohort)" if n else ""))
            without += [f"{name} {level} ({row['size']:g})" for level, row in by_level.iterrows() if row["sum"] == 0]
    found = [
        ("level-absent", "no patient of the primary cohort has ", absent),
        ("level-without-events", "no event among the primary patients with ", without),
        ("factor-few-events", f"fewer than {EVENTS_PER_COEFFICIENT} events a coefficient: ", scarce),
    ]
    return [(code, message + ", ".join(texts)) for code, message, texts in found if texts]


def _row_findings(patients: pd.DataFrame, file: str, variables: Mapping[str, Variable]) -> list[Finding]:
    """Point out cells and rows that are allowed and doubtful."""
    found = []

    def say(code: str, rows: pd.Series, message: str) -> None:
        found.extend(_finding(code, file, int(row), message) for row in rows)

    row, known = patients["row"], patients.columns
    names = [name for name, variable in variables.items() if variable.role in ("covariate", "cohort")]
    for name in [name for name in names if name in known]:
        say("covariate-missing", row[patients[name].isna()], f"{name} is unknown")
    if "patient_id" in known:
        say("example-patient", row[patients["patient_id"].astype(str).str.startswith("EXAMPLE")], "an example's row")
        named = patients.dropna(subset="patient_id").drop_duplicates("patient_id")
        for _, alike in named.groupby(named["patient_id"].astype(str).map(_alike), sort=False):
            message = f"the name differs from that of row {alike['row'].iloc[0]} by case, width or zeros only"
            say("patient-ids-alike", alike["row"].iloc[1:], message)
    if "age" in known:
        age = pd.to_numeric(patients["age"], errors="coerce")
        say("age-implausible", row[(age < 18) | age.between(100, 120, inclusive="right")], "age below 18 or above 100")
    if "time_months" in known:
        time = pd.to_numeric(patients["time_months"], errors="coerce")
        say("follow-up-zero", row[time == 0], "follow-up ends on the day of surgery")
        long = f"follow-up beyond {MAX_FOLLOW_UP_MONTHS:g} months"
        say("follow-up-implausible", row[time > MAX_FOLLOW_UP_MONTHS], long)
        middle = time.dropna().median() if time.notna().any() else MAX_FOLLOW_UP_MONTHS
        if middle > MAX_FOLLOW_UP_MONTHS or (middle < 8 and time.max() <= 15):
            unit = "days" if middle > MAX_FOLLOW_UP_MONTHS else "years"
            found.append(_finding("time-units", file, None, f"half of the times exceed {middle:.4g}: are they {unit}?"))
    named = [c for c in known if c not in ("patient_id", "row")]
    for _, rows_alike in (
        () if not named else patients[patients[named].duplicated(keep=False)].groupby(named, dropna=False, sort=False)
    ):
        first = rows_alike["row"].iloc[0]
        say("row-repeated", rows_alike["row"].iloc[1:], f"everything but the name equals row {first}")
    return found


def _design_findings(patients: pd.DataFrame, file: str, variables: Mapping[str, Variable]) -> list[Finding]:
    """Point out what the cohort as a whole cannot show: size, events, centres."""
    if not {"cohort", "centre", "event"} <= set(patients.columns):
        return []
    found = []

    def say(code: str, message: str) -> None:
        found.append(_finding(code, file, None, message))

    event = pd.to_numeric(patients["event"], errors="coerce")
    frame = patients.assign(event=event.where(event.isin([0, 1])))
    # where other codes are named by row a share of events says nothing: coded 1 and 2, everybody left has the event
    coded = frame["event"].notna().equals(event.notna())
    cohorts = {name: part for name, part in frame.groupby("cohort") if name in FEW_PATIENTS}
    if len(cohorts) == 1:
        say("single-cohort", f"every patient is in the {next(iter(cohorts))} cohort")
    needed = [name for name in columns(variables, "covariate") if name in frame]
    for name, part in cohorts.items():
        if not part[needed].notna().all(axis=1).any():
            empty = [column for column in needed if part[column].isna().all()]
            never = f": {', '.join(empty)} is empty in all of them" if empty else ""
            say("nobody-complete", f"no patient of the {name} cohort has every covariate{never}")
        events = int(part["event"].sum())
        if len(part) < FEW_PATIENTS[name]:
            say("few-patients", f"the {name} cohort has {len(part)} of at least {FEW_PATIENTS[name]} patients")
        if events < FEW_EVENTS[name]:
            say("few-events", f"the {name} cohort has {events} of at least {FEW_EVENTS[name]} events")
        rates = part.groupby("centre")["event"].agg(["mean", "size"])
        pure = rates[rates["mean"].isin([0, 1])]
        if coded and len(part) >= 8 and len(rates) > 1 and len(pure) == len(rates) and pure["mean"].nunique() == 2:
            say("centre-nested-in-outcome", f"in the {name} cohort the centre alone tells who has the event")
        else:
            for centre, rate in pure[coded & (pure["size"] >= 10)].iterrows():
                people = "everybody" if rate["mean"] else "nobody"
                say("centre-one-outcome", f"{people} of the {rate['size']:g} patients of centre {centre} has the event")
    for code, message in _level_findings(frame, variables):
        say(code, message)
    if coded and frame["event"].mean() > 0.7:
        say("event-coding", f"{frame['event'].mean():.0%} of the patients have the event")
    if frame["centre"].nunique() == 1:
        say("one-centre", f"every patient is from centre {frame['centre'].iloc[0]}")
    if len(cohorts) == 2:
        for centre in sorted(
            set(cohorts["primary"]["centre"].dropna()) & set(cohorts["validation"]["centre"].dropna())
        ):
            say("centre-in-both-cohorts", f"centre {centre} has patients in the primary and the validation cohort")
    return found


def _read(
    path: Path, is_roi: bool, b_value: float | None, on: Volume | None
) -> tuple[Volume | None, list[tuple[str, str]]]:
    """Read a volume or mask as the study does; return it, None where it is refused, and (code, message)."""
    remarks: list[tuple[str, str]] = []
    try:
        volume = volumes.read_stored(path, b_value=b_value, on=on if is_roi else None, remarks=remarks)
    except volumes.Unusable as error:
        return None, [*remarks, (error.code, f"the {'mask' if is_roi else 'volume'} {error}")]
    spacing, (low, high) = np.array(volume.spacing_mm), SPACING_RANGE_MM
    if not ((spacing >= low) & (spacing <= high)).all():
        off = [f for f in (1000, 0.001) if ((spacing * f >= low) & (spacing * f <= high)).all()]
        code = "spacing-units" if off else "spacing-implausible"
        remarks.append((code, f"the voxel size is {' x '.join(f'{s:.4g}' for s in spacing)} mm"))
    return volume, remarks


def _grid_findings(stored: Volume, like: Volume) -> list[tuple[str, str]]:
    """Compare the grid of a mask or second volume with that of the image it belongs to, both turned to RAS."""
    shapes = [" x ".join(map(str, grid.array.shape)) for grid in (stored, like)]
    if shapes[0] != shapes[1]:
        return [("grid-shape", f"{shapes[0]} voxels, and {shapes[1]} in the image that it belongs to")]
    apart = nifti.corners_apart(stored.array.shape, stored.affine, like.affine)
    axes, turned = f"stored as {stored.stored}, its image as {like.stored}", stored.stored != like.stored
    if apart > nifti.TOLERANCE_VOXELS * min(like.spacing_mm):
        message = f"its corners lie up to {apart:.1f} mm away from those of its image"
        return [("grid-orientation" if turned else "grid-affine", f"{message}; {axes}" if turned else message)]
    return [("grid-stored-otherwise", axes)] if turned else []


def _label_findings(mask: np.ndarray) -> tuple[list[tuple[str, str]], bool]:
    """Say whether a mask's voxels are labels, and whether there is an ROI to go on with."""
    values = np.unique(mask)
    odd = values[volumes.no_labels(values)]
    if odd.size:
        return [("roi-fractions", f"the mask holds {odd[0]:g}, which is no label")], False
    values = np.unique(np.round(values))
    if not (values > 0).any():
        return [("roi-empty", "no voxel is above 0")], False
    labels = ", ".join(f"{value:g}" for value in values[values > 0][:5])
    return [("roi-several-labels", f"the labels are {labels}")] if "," in labels else [], True


def _roi_findings(roi: np.ndarray, spacing: Sequence[float]) -> list[tuple[str, str]]:
    """Say what is doubtful about a boolean ROI's size, shape and place."""
    found = []
    held = [np.flatnonzero(roi.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    windows = tuple(slice(int(places[0]), int(places[-1]) + 1) for places in held)
    n_voxels = int(roi[windows].sum())
    volume = n_voxels * float(np.prod(spacing))
    if n_voxels < MIN_ROI_VOXELS or volume < MIN_ROI_MM3:
        found.append(("roi-tiny", f"{n_voxels} voxels, {volume / 1000:.2g} ml"))
    if n_voxels > MAX_ROI_SHARE * roi.size:
        found.append(("roi-covers-image", f"{n_voxels / roi.size:.0%} of the volume"))
    if windows[2].stop - windows[2].start == 1:
        found.append(("roi-one-slice", "the ROI is on one slice only"))
    edges = [
        name
        for window, n, name in zip(windows, roi.shape, ("side", "front or back", "first or last slice"), strict=True)
        if window.start == 0 or window.stop == n
    ]
    inside = roi[windows]
    filled = sum(int(ndimage.binary_fill_holes(inside[:, :, z]).sum()) for z in range(inside.shape[2]))
    if filled > OUTLINE_SHARE * n_voxels:
        found.append(("roi-outline-only", f"holes inside the ROI have {filled - n_voxels} voxels, the ROI {n_voxels}"))
    if edges:
        found.append(("roi-touches-border", f"the ROI touches the volume's {', '.join(edges)}"))
    pieces, n_pieces = ndimage.label(roi[windows], structure=np.ones((3, 3, 3)))
    if n_pieces > 1:
        apart = n_voxels - int(np.bincount(pieces.ravel())[1:].max())
        message = f"{n_pieces} pieces that do not touch; {apart} of {n_voxels} voxels lie outside the largest"
        found.append(("roi-fragmented", message))
    return found


def _adc_findings(values: np.ndarray) -> list[tuple[str, str]]:
    """Hold the ADC of the ROI's voxels against what tissue can have, in 1e-6 mm2/s."""
    low, high = ADC_RANGE
    middle = float(np.median(values))
    if low <= middle <= high:
        return []
    factor = next((f for f in (1e3, 1e6, 1e-3, 1e-6) if low <= middle * f <= high), None)
    if factor:
        return [("adc-units", f"the median in the ROI is {middle:.4g}: in units {factor:g} times larger?")]
    return [("adc-implausible", f"the median in the ROI is {middle:.4g}, outside {low:g} to {high:g} (1e-6 mm2/s)")]


def _signal_findings(
    signals: Sequence[np.ndarray], b_values: Sequence[float], where: np.ndarray
) -> list[tuple[str, str]]:
    """Compare the signals at all b-values in the ROI, or in the body where there is no ROI."""
    for (low, b_low), (high, b_high) in itertools.pairwise(zip(signals, b_values, strict=True)):
        if np.array_equal(low, high):
            return [("b-values-identical", f"b = {b_low:g} and b = {b_high:g} hold the same voxels")]
        first, second = float(np.median(low[where])), float(np.median(high[where]))
        if second > first:
            found = f"the median signal is {first:.4g} at b = {b_low:g} and {second:.4g} at b = {b_high:g}"
            return [("b-values-swapped", found)]
    adc, undefined = volumes.adc_fit([signal[where].astype(float) for signal in signals], b_values)
    findings = []
    if undefined.mean() > MAX_UNDEFINED_ADC:
        findings.append(("adc-undefined", f"{undefined.mean():.0%} of the ROI's voxels have no positive signal"))
    return findings + (_adc_findings(adc[~undefined]) if not undefined.all() else [])


def _body(array: np.ndarray) -> np.ndarray:
    """Mark roughly what is patient and not air."""
    return array > 0.1 * np.percentile(array[::2, ::2, ::2], 99)


def _digest(array: np.ndarray) -> str:
    """Return a hash of a volume's voxels that neither the file's type, compression nor orientation changes."""
    return f"{hashlib.sha256(np.ascontiguousarray(array, dtype=np.float32)).hexdigest()} {array.shape}"


def _span(held: np.ndarray) -> np.ndarray:
    """Return the first and last place along the first axis that each column of a mask holds, shape (2, columns)."""
    return np.stack([held.argmax(axis=0), held.shape[0] - 1 - held[::-1].argmax(axis=0)])


def _picture(array: np.ndarray, roi: np.ndarray | None, spacing: Sequence[float], height: int = 260) -> str:
    """Draw the slice whose ROI needs the largest rectangle, outlined, as a radiologist sees it: a JPEG as base64.

    A stray click shows there, since it stretches the rectangle.
    """
    from PIL import Image

    z = array.shape[2] // 2
    if roi is not None:
        reach = [
            np.where(held.any(axis=0), np.ptp(_span(held), axis=0), 0) for held in (roi.any(axis=1), roi.any(axis=0))
        ]
        z = int(((reach[0] + 1) * (reach[1] + 1) * roi.any(axis=(0, 1))).argmax())
    slice_ = volumes.axial(array, z).astype(float)
    low, high = np.percentile(slice_, [1, 99])
    grey = np.clip((slice_ - low) / max(high - low, 1e-12), 0, 1) * 255
    width = max(1, round(height * slice_.shape[1] * spacing[0] / (slice_.shape[0] * spacing[1])))
    size = (min(width, 2 * height), height)
    picture = np.array(Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR).convert("RGB"))
    if roi is not None:
        mask = Image.fromarray(volumes.axial(roi, z).astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
        inside = np.asarray(mask) > 30  # of a voxel smaller than a pixel too
        picture[ndimage.binary_dilation(inside, iterations=2) & ~inside] = (255, 140, 0)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()


def _there(folder: Path, stem: str) -> list[Path]:
    return [folder / f"{stem}{end}" for end in volumes.ENDINGS if (folder / f"{stem}{end}").exists()]


@contextmanager
def _unlogged():
    """Keep nibabel from logging what it mends in a damaged header; what matters of it is found here."""
    before, nib.imageglobals.logger.disabled = nib.imageglobals.logger.disabled, True
    try:
        yield
    finally:
        nib.imageglobals.logger.disabled = before


def _examine_patient(folder: Path, row: int | None, b_values: Sequence[float] = volumes.B_VALUES) -> Examined:
    """Read all of one patient's volumes and masks and say everything that is wrong or doubtful about them."""
    place = f"images/{folder.name}"
    out = Examined([], [], [], 0)

    def say(code: str, file: str, message: str) -> None:
        finding = _finding(code, f"{place}/{file}" if file else place, row, message)
        if finding not in out.findings:  # a series of two b-values is read twice
            out.findings.append(finding)

    if not folder.is_dir():
        near = [path.name for path in sorted(folder.parent.iterdir()) if _alike(path.name) == _alike(folder.name)]
        say("patient-without-images", "", "the folder is missing" + (f"; is it {near[0]!r}?" if near else ""))
        return out
    if folder.is_symlink() and not folder.resolve().is_relative_to(folder.parent.resolve()):
        say("link-leaves-folder", "", "the folder is a link to somewhere else")
    signals = volumes.signal_stems(folder, b_values)
    expected = {path.name for stem in (*VOLUME_STEMS, *signals, *ROI_STEMS) for path in _there(folder, stem)}
    for path in sorted(folder.iterdir()):
        is_sidecar = path.name.endswith(nifti.SIDECARS) and any(
            path.name == stem + ending for stem in (*VOLUME_STEMS, *signals) for ending in nifti.SIDECARS
        )
        if path.name not in expected and not path.name.startswith(".") and not is_sidecar:
            say("unexpected-file", path.name, "no volume of the study has this name")
    if not expected:
        say("patient-without-images", "", "the folder holds none of the volumes")
        return out
    n_volumes, outlines = 0, {}
    for sequence in volumes.SEQUENCES:
        *stems, roi_stem = volumes.stems_of(folder, sequence, b_values)
        files = {}
        for stem in (*stems, roi_stem):
            present = _there(folder, stem)
            if len(present) == 1:
                files[stem] = present[0]
            elif present:
                say("image-twice", stem, "the volume is there as " + ", ".join(path.name for path in present))
            else:
                others = volumes.misnamed(folder, stem)
                seen = (
                    f"; {others[0]} is of a kind or name that is not read: save it as {stem}.nii.gz" if others else ""
                )
                if stem in signals and (others := sorted({*folder.glob("dwi_b*")} - {folder / n for n in expected})):
                    named = ", ".join(path.name for path in others)
                    seen = f"; {named}: say its b-values in cohort.yaml (`b_values: [0, 800]`)"
                say("image-missing", f"{stem}.nii.gz", f"the volume is missing{seen}")
        for stem in ("dwi", "adc") if sequence == "ADC" and stems == signals and len(files) > 1 else ():
            for path in _there(folder, stem):
                say("volume-not-used", path.name, f"{' and '.join(signals)} are there too, and read in its place")
        n_before = len(out.findings)
        complete = len(files) == len(stems) + 1
        if "dwi" in files:  # one series for all
            stems, series = signals, files.pop("dwi")
            files = {**dict.fromkeys(stems, series), **files}
        b_of = dict(zip(signals, b_values, strict=True)) if stems == signals else {}
        n_volumes += _examine_sequence(files, b_of, stems, roi_stem, say, out, outlines)
        if complete and all(f.severity == "warning" for f in out.findings[n_before:]):
            refused = volumes.check_images(
                folder, sequence, b_values=b_values
            )  # the study's own reader has the last word
            if refused:
                say("image-refused", "", refused)
    for code, message in _outline_findings(outlines, {finding.code for finding in out.findings}):
        say(code, "dwi_roi", message)
    return out._replace(n_volumes=n_volumes)


def _examine_quietly(folder: Path, row: int | None, b_values: Sequence[float]) -> Examined:
    with _unlogged():
        return _examine_patient(folder, row, b_values)


def _examine_sequence(
    files: dict[str, Path],
    b_of: dict[str, float],
    stems: Sequence[str],
    roi_stem: str,
    say,
    out: Examined,
    outlines: dict[str, Outline],
) -> int:
    """Examine one sequence, volumes first; return how many volumes and masks could be read.

    `b_of` says the b-value (s/mm2) of each diffusion signal among `stems`;
    `outlines` takes the ROI's size and place.
    """
    stored: dict[str, Volume] = {}
    for stem, path in files.items():
        is_roi, on = stem == roi_stem, next((stored[name] for name in stems if name in stored), None)
        if is_roi and on is None and volumes.is_dicom(path):  # a segmentation lies on its image's grid
            continue
        volume, findings = _read(path, is_roi, b_of.get(stem), on)
        for code, message in findings:
            say(code, path.name, message)
        if volume is not None:
            stored[stem] = volume
    readable = {stem: stored[stem] for stem in stems if stem in stored}
    first = next(iter(readable), None)
    fits = {}
    for stem, volume in stored.items():
        if first and stem != first:
            findings = _grid_findings(volume, readable[first])
            fits[stem] = all(FINDINGS[code]["severity"] == "warning" for code, _ in findings)
            for code, message in findings:
                say(code, files[stem].name, message)
    for stem, volume in readable.items():
        if not volumes.is_axial(volume):
            sizes = " x ".join(f"{s:.2f}" for s in volume.spacing_mm)
            say("image-not-axial", files[stem].name, f"{sizes} mm from side to side, back to front, foot to head")
        out.digests.append((_digest(volume.array), files[stem].name, False))
    roi = None
    if roi_stem in stored:
        mask = stored[roi_stem]
        findings, usable = _label_findings(mask.array)
        if usable:
            drawn = mask.array > 0.5
            out.digests.append((_digest(drawn), files[roi_stem].name, True))
            findings = findings + _roi_findings(drawn, mask.spacing_mm)
            roi = drawn if first and fits[roi_stem] else None
            if roi is not None:
                places = nib.affines.apply_affine(mask.affine, np.argwhere(roi))
                box = np.array([places.min(axis=0), places.max(axis=0)])
                outlines[roi_stem] = Outline(roi.sum() * float(np.prod(mask.spacing_mm)), box)
        for code, message in findings:
            say(code, files[roi_stem].name, message)
    for code, message in _contrast_findings(readable, b_of, roi, fits):
        say(code, files[stems[0] if code == "roi-on-background" else stems[-1]].name, message)
    without = "" if roi is not None else " (no ROI drawn: there is none that fits)"
    for stem, volume in readable.items():
        seen = roi if stem == first or fits[stem] else None
        name = files[stem].name if stem in files[stem].name else f"{files[stem].name}, {stem}"
        out.pictures.append((f"{name}{without}", _picture(volume.array, seen, volume.spacing_mm)))
    return len(stored)


def _contrast_findings(
    volumes: dict[str, Volume], b_of: dict[str, float], roi: np.ndarray | None, fits: dict
) -> list[tuple[str, str]]:
    """Say whether the values where the ROI lies can be tissue, and whether the diffusion values make sense."""
    found, first = [], next(iter(volumes), None)
    if first is None:
        return found
    array = volumes[first].array
    for stem, volume in volumes.items():
        if volume.array.min() < 0 and stem != "adc":
            n, inside = int((volume.array < 0).sum()), int((volume.array[roi] < 0).sum()) if roi is not None else 0
            found.append(("signal-negative", f"{stem}: {n} voxels are negative, {inside} of them in the ROI"))
        n_equal = _equal_neighbours(volume.array)
        if n_equal:
            found.append(("slices-repeated", f"{stem}: {n_equal} slices equal the one below them, voxel by voxel"))
    if roi is not None and first != "adc":
        middle, bright = float(np.median(array[roi])), float(np.percentile(array[::2, ::2, ::2], 99))
        if middle < DARK_SHARE * bright:
            found.append(
                ("roi-on-background", f"the median signal in the ROI is {middle:.4g}, of tissue up to {bright:.4g}")
            )
    if first == "adc":
        inside = array[roi] if roi is not None else array[array > 0]
        without = int((inside <= 0).sum())
        if without:
            found.append(("adc-undefined", f"{without} of the ROI's {inside.size} voxels have an ADC of 0 or below"))
        return found + (_adc_findings(inside.astype(float)) if inside.size else [])
    if b_of and set(volumes) == set(b_of) and all(fits[stem] for stem in list(b_of)[1:]):
        signals = [volumes[stem].array for stem in b_of]
        where = roi if roi is not None else _body(signals[0]) | _body(signals[-1])
        found += _signal_findings(signals, list(b_of.values()), where)
    return found


def _equal_neighbours(array: np.ndarray) -> int:
    """Count slices that hold the same picture as the slice below them."""
    return sum(
        bool(np.array_equal(array[:, :, z], array[:, :, z - 1]) and np.ptp(array[:, :, z]) > 0)
        for z in range(1, array.shape[2])
    )


def _outline_findings(outlines: dict[str, Outline], explained: set[str]) -> list[tuple[str, str]]:
    """Compare size and place of a patient's two outlines, T2W and DWI, where no other finding explains it."""
    if len(outlines) < 2:
        return []
    findings, (t2w, dwi) = [], outlines.values()
    sizes = f"the outlines hold {t2w.mm3 / 1000:.2g} ml on T2W and {dwi.mm3 / 1000:.2g} ml on DWI"
    if max(t2w.mm3, dwi.mm3) > MAX_OUTLINE_RATIO * min(t2w.mm3, dwi.mm3) and not explained & set(SAYS_SIZE):
        findings.append(("roi-sizes-differ", sizes))
    ends = dwi.box - t2w.box  # where one outline has more slices than the other, only one end moves
    moved = np.where(np.sign(ends[0]) == np.sign(ends[1]), np.abs(ends).min(axis=0), 0)
    if np.linalg.norm(moved) > MAX_OUTLINE_SHIFT_MM and not explained & set(SAYS_PLACE):
        ways = " and ".join(
            f"{size:.0f} mm {way}"
            for size, way in zip(moved, ("side to side", "back to front", "foot to head"), strict=True)
            if size > 5
        )
        findings.append(("roi-places-differ", f"the outline on DWI lies away from that on T2W: {ways}"))
    return findings


def _places_of_most(findings: list[Finding], n_patients: int) -> list[Finding]:
    """Say once, of the cohort, that outlines lie apart where they do in most patients: no slip of single masks."""
    apart = [finding for finding in findings if finding.code == "roi-places-differ"]
    if len(apart) <= max(5, n_patients / 2):
        return findings
    message = (
        f"the outlines on T2W and DWI lie apart in {len(apart)} of {n_patients} patients: "
        "either all masks lie upside down, or the sequences' headers do not share the scanner's axes"
    )
    once = _finding("roi-places-differ", "images", None, message)
    return [*(finding for finding in findings if finding.code != "roi-places-differ"), once]


def _repeated(examined: dict[str, tuple[int | None, Examined]]) -> tuple[list[Finding], set[str]]:
    """Point out volumes and masks that equal those of a patient further up, voxel by voxel; name both patients."""
    found, concerned, first = [], set(), {}
    for patient, (row, result) in examined.items():
        for digest, file, is_mask in result.digests:
            other, other_row, other_file = first.setdefault((digest, is_mask), (patient, row, file))
            if (other, other_file) == (patient, file) or (other == patient and is_mask):
                continue
            if other == patient and file.startswith("dwi_b") and other_file.startswith("dwi_b"):
                continue  # said as b-values-identical
            patient_text = "the same patient" if other == patient else f"{other} (row {other_row})"
            code = "roi-repeated" if is_mask else "image-repeated"
            message = f"the voxels are those of {other_file} of {patient_text}"
            found.append(_finding(code, f"images/{patient}/{file}", row, message))
            concerned |= {patient, other}
    return found, concerned


def _alike(name: str) -> str:
    """Return what is left of a name without case, blanks, wide letters, leading zeros and the exponent of 1E5."""
    if re.fullmatch(r"\d+[eE]\d{1,2}", name.strip()):
        name = str(int(float(name)))
    return unicodedata.normalize("NFKC", name).casefold().strip().lstrip("0")


def _folder_findings(folder: Path, patients: set[str]) -> list[Finding]:
    """Point out what lies in images/ and belongs to no patient of the table."""
    found = []
    for path in sorted((folder / "images").iterdir()):
        if path.name.startswith(".") or path.name in patients or path.name == "manifest.json":
            continue
        code = "unexpected-folder" if path.is_dir() else "unexpected-file"
        near = [name for name in sorted(patients) if _alike(name) == _alike(path.name)]
        near = near or get_close_matches(path.name, patients, 1, 0.8)
        message = "no patient of the table has this name" + (f"; is it {near[0]}?" if near else "")
        found.append(_finding(code, f"images/{path.name}", None, message))
    return found


def check(folder: str | Path, *, jobs: int = 2, progress: bool = False, statistics: bool = False) -> Report:
    """Read a whole cohort folder and list everything that is wrong or doubtful.

    Nothing stops at the first error: a damaged file, row or setting leaves
    the others to be looked at.

    Parameters
    ----------
    folder
        The cohort folder.
    jobs
        Processes that read images; 1 works in this one.
    progress
        Show a progress bar; it names no patient.
    statistics
        The study starts from the folder's own `dl_prob.csv`: that is looked at, and no image. So it is where there
        are no images.

    Returns
    -------
    Report
        `findings` with `severity` error (the study would stop, or its
        results would be wrong) or warning; pictures of the patients that
        findings concern. It names patients.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    folder = Path(folder)
    facts = {"name": folder.name, "class": None, "n_patients": 0, "n_volumes": 0, "searched_for": {}}
    if not folder.is_dir():
        return Report([_finding("folder-missing", str(folder), None, "there is no such folder")], {}, facts)
    surveyed = survey(folder)
    facts |= {"name": str(surveyed.settings.get("name", folder.name)), "class": surveyed.settings.get("class")}
    findings = [_of_problem(problem) for problem in surveyed.problems]
    findings += [_finding(p.code, p.file, p.row, p.found) for p in surveyed.remarks]
    if surveyed.assumed:
        options = ", ".join(f"{name}: '{value}'" for name, value in surveyed.assumed.items())
        findings.append(_finding("table-assumed", surveyed.file, None, f"was read as `table: {{{options}}}`"))
    findings += _row_findings(surveyed.patients, surveyed.file, surveyed.variables)
    findings += _design_findings(surveyed.patients, surveyed.file, surveyed.variables)
    table = {}
    if "patient_id" in surveyed.patients:
        named = surveyed.patients[surveyed.patients["patient_id"].notna()].drop_duplicates("patient_id")
        table = dict(zip(named["patient_id"].astype(str), named["row"].astype(int), strict=True))
    facts["n_patients"] = len(surveyed.patients)
    no_images = not (folder / "images").is_dir()
    if statistics or (no_images and (folder / PROBABILITIES).is_file()):
        probabilities = survey_probabilities(folder, surveyed.patients)
        findings += [_of_problem(problem) for problem in probabilities.problems]
        findings += [_finding(p.code, p.file, p.row, p.found) for p in probabilities.remarks]
        if not statistics:
            findings.append(_finding("images-not-there", "images", None, f"no images; {PROBABILITIES} is there"))
        return Report(_sorted(findings), {}, facts)
    if no_images:
        findings.append(_finding("images-missing", "images", None, "the folder is missing"))
        return Report(_sorted(findings), {}, facts)
    facts["searched_for"] = privacy.kinds_of(privacy.secrets_of(folder, jobs=jobs, found=surveyed))
    # A name that looks like a path is no name of a folder here; without a table every folder is looked at.
    rows = {name: row for name, row in table.items() if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)}
    if table:
        findings += _folder_findings(folder, set(table))
    else:
        rows = {path.name: None for path in sorted((folder / "images").iterdir()) if path.is_dir()}
    b_values = [float(b) for b in surveyed.settings.get("b_values") or volumes.B_VALUES]  # a wrong one is a finding
    tasks = (delayed(_examine_quietly)(folder / "images" / name, row, b_values) for name, row in rows.items())
    results = Parallel(n_jobs=min(jobs, max(len(rows), 1)), return_as="generator")(tasks)
    with_progress = tqdm(results, total=len(rows), desc="patients", disable=not progress, mininterval=0.5)
    examined = {name: (rows[name], result) for name, result in zip(rows, with_progress, strict=True)}
    repeated, suspicious = _repeated(examined)
    findings += [finding for _, result in examined.values() for finding in result.findings] + repeated
    findings = _places_of_most(findings, len(rows))
    facts["n_volumes"] = sum(result.n_volumes for _, result in examined.values())
    suspicious |= {finding.file.split("/")[1] for finding in findings if finding.file.startswith("images/")}
    pictures = {
        name: (row, result.pictures)
        for name, (row, result) in examined.items()
        if name in suspicious and result.pictures
    }
    return Report(_sorted(findings), pictures, facts)


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: (f.severity, f.row or 0, f.file, f.code, f.message))


def _counted(report: Report) -> str:
    numbers = [sum(f.severity == severity for f in report.findings) for severity in ("error", "warning")]
    return ", ".join(
        f"{n} {word}{'' if n == 1 else 's'}" for n, word in zip(numbers, ("error", "warning"), strict=True)
    )


def _groups(findings: Iterable[Finding]) -> list[tuple[Finding, list[Finding]]]:
    """Put findings of one code and remedy together, in the order of the first of each."""
    groups: dict = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.code, finding.remedy), []).append(finding)
    return [(group[0], group) for group in groups.values()]


def as_text(report: Report) -> str:
    """Return the findings as plain text, grouped by code."""
    facts = report.facts
    read = f"{facts['n_patients']} patients, {facts['n_volumes']} volumes and masks read"
    lines = [f"{facts['name']}: {read}; {_counted(report)}", ""]
    for first, group in _groups(report.findings):
        lines.append(f"{first.severity.upper()} {first.code} ({len(group)}): {first.remedy}")
        for finding in group:
            place = finding.file + (f", row {finding.row}" if finding.row else "")
            lines.append(f"    {place}: {finding.message}")
        lines.append("")
    lines += [] if report.findings else ["Nothing was found."]
    if facts["searched_for"]:
        kinds = ", ".join(f"{kind} ({n})" for kind, n in facts["searched_for"].items())
        lines.append(f"Results will be searched for (kind, number of spellings): {kinds}.")
    return "\n".join(lines) + "\n"


def as_page(report: Report) -> str:
    """Return the findings with their pictures as one HTML page that loads nothing."""
    by_patient: dict[str, list[Finding]] = {}
    for finding in report.findings:
        if finding.file.startswith("images/"):
            by_patient.setdefault(finding.file.split("/")[1], []).append(finding)
    return template(TEMPLATES / "doctor.html").render(
        facts=report.facts,
        counted=_counted(report),
        groups=_groups(report.findings),
        pictures=report.pictures,
        by_patient=by_patient,
    )


def write_report(report: Report, out: str | Path) -> Path:
    """Write doctor.html, doctor.txt and doctor.json into a folder; they may name patients. Return the page's path."""
    out = Path(out)
    texts = {
        "doctor.json": json.dumps([finding._asdict() for finding in report.findings], indent=1, ensure_ascii=False),
        "doctor.txt": as_text(report),
        "doctor.html": as_page(report),
    }
    for name, text in texts.items():
        write_text(out / name, text)
    return out / "doctor.html"


def fingerprint(folder: str | Path, *, jobs: int = 2, images: bool = True) -> str:
    """Return a hash of everything in a cohort folder, or of its tables alone, and of the code that judges it."""
    files = sorted(path for path in Path(folder).glob("**/*" if images else "*") if path.is_file())
    rooms = Path(__file__).parent, Path(volumes.__file__).parent
    code = sorted(path for room in rooms for kind in ("*.py", "*.yaml") for path in room.glob(kind))
    with ThreadPoolExecutor(jobs) as pool:
        hashes = list(pool.map(sha256, [*code, *files]))
    listed = [str(path.relative_to(folder)) for path in files]
    return hashlib.sha256(json.dumps([images, listed, hashes]).encode()).hexdigest()


def check_once(
    folder: str | Path, out: str | Path, *, jobs: int = 2, progress: bool = False, statistics: bool = False
) -> tuple[str, int]:
    """Check a folder and write the pages, unless those of the same content are there already.

    Returns
    -------
    counted : str
        How many errors and warnings, in words.
    n_errors : int
    """
    note = Path(out) / "checked.json"
    made_from = fingerprint(folder, jobs=jobs, images=not statistics) if Path(folder).is_dir() else ""
    if note.is_file() and (Path(out) / "doctor.html").is_file():
        before = json.loads(note.read_text(encoding="utf-8"))
        if before["made_from"] == made_from:
            return before["counted"], before["n_errors"]
    report = check(folder, jobs=jobs, progress=progress, statistics=statistics)
    write_report(report, out)
    n_errors = sum(finding.severity == "error" for finding in report.findings)
    content = dict(made_from=made_from, counted=_counted(report), n_errors=n_errors)
    write_text(note, json.dumps(content, indent=1))
    return content["counted"], n_errors


def _example_images(folder: Path, number: int) -> None:
    """Write one example patient's volumes: a phantom, coarsened in the slice."""
    from dlrs.synthetic import phantoms

    middle = pd.DataFrame({"t2w_view": [0.0], "adc_view": [0.0]})
    parameters = {name: float(values[0]) for name, values in phantoms.rendered_parameters(middle).items()}
    folder.mkdir(parents=True)
    rendered = phantoms.render_patient(folder.name, "ABC"[number % 3], parameters, seed=number)
    t2w, dwi = (
        nib.affines.apply_affine(rendered[name].affine, np.argwhere(rendered[name].data)).mean(axis=0)
        for name in ("t2w_roi.nii.gz", "dwi_roi.nii.gz")
    )
    for name, volume in rendered.items():
        step = 3 if name.startswith("t2w") else 2
        affine = volume.affine @ np.diag([step, step, 1.0, 1.0])
        affine[:3, 3] += 0 if name.startswith("t2w") else t2w - dwi  # one patient, the same axes for both sequences
        nib.save(nib.Nifti1Image(np.ascontiguousarray(volume.data[::step, ::step]), affine), folder / name)


def new(folder: str | Path) -> Path:
    """Write a cohort folder to start from: description, table, data dictionary and three example patients.

    Raises
    ------
    InputError
        The folder is there and not empty.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        remedy = "Give another name: nothing was written."
        raise InputError(display_path(folder), "it is there already", expected="a new folder", remedy=remedy)
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((TEMPLATES / "new_cohort").iterdir()):
        shutil.copyfile(path, folder / path.name)
    for number, name in enumerate(pd.read_csv(folder / "clinical.csv")["patient_id"]):
        _example_images(folder / "images" / name, number)
    return folder


@in_words
def main(arguments: list[str] | None = None) -> int:
    """Run the command line: `python -m dlrs_site.doctor check FOLDER --out FOLDER`, or `new FOLDER`."""
    parser = argparse.ArgumentParser(
        prog="python -m dlrs_site.doctor", description="Check a cohort folder, or start one."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser(
        "check", help="read everything in a cohort folder and write doctor.html, .txt, .json"
    )
    checking.add_argument("folder")
    checking.add_argument("--out", required=True, help="folder for the pages; private, since they may name patients")
    checking.add_argument("--once", action="store_true", help="keep the pages of a folder that has not changed since")
    checking.add_argument("--jobs", type=int, default=2, help="processes that read images (default: 2)")
    checking.add_argument("--statistics", action="store_true", help=f"look at {PROBABILITIES} instead of the images")
    commands.add_parser("new", help="write a commented example folder").add_argument("folder")
    args = parser.parse_args(arguments)
    if args.command == "check" and args.jobs < 1:
        parser.error(f"--jobs must be 1 or more; found {args.jobs}")
    try:
        if args.command == "new":
            print(f"{display_path(new(args.folder))}: fill in cohort.yaml and clinical.csv, then check the folder")
            return 0
        Path(args.out).mkdir(parents=True, exist_ok=True)  # before minutes of reading
        if not os.access(args.out, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), args.out)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename} cannot be written to: {error.strerror}; give another folder", file=sys.stderr)
        return 2
    if args.once:
        generated = survey(args.folder).settings.get("class") == "SYNTHETIC"
        if generated and not args.statistics:  # generated patients need no doctor, probabilities do
            return 0
        options = dict(jobs=args.jobs, progress=sys.stderr.isatty(), statistics=args.statistics)
        counted, n_errors = check_once(args.folder, args.out, **options)
        print(f"The cohort folder: {counted}. {display_path(args.out)}/doctor.html says where and what to do.")
        return int(n_errors > 0)
    report = check(args.folder, jobs=args.jobs, progress=sys.stderr.isatty(), statistics=args.statistics)
    page = write_report(report, args.out)
    for first, group in _groups(report.findings):
        print(f"{first.severity:<8} {first.code:<26} {len(group):>5}")
    print(f"{_counted(report)}; {display_path(page)} says where and what to do (it may name patients)")
    return int(any(finding.severity == "error" for finding in report.findings))


if __name__ == "__main__":
    sys.exit(main())
