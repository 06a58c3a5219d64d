"""Each kind of damage, planted in a copy of a good folder, is caught by its name, alone, and nothing else is lost."""

import base64
import gzip
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import accessibility
from dlrs import cohort
from dlrs.imaging import volumes
from dlrs_site import doctor, intake
from dlrs_site import settings as settings_model
from notebook_cells import run_cells

N_PRIMARY, N_VALIDATION = 10, 6
T2W_AFFINE = np.array([[-2.0, 0, 0, 35], [0, -2.0, 0, 31], [0, 0, 4.0, -18], [0, 0, 0, 1]])  # stored as LPS
DWI_AFFINE = np.array([[2.5, 0, 0, -30], [0, 2.5, 0, -28], [0, 0, 5.0, -20], [0, 0, 0, 1]])
FILES = ("t2w", "dwi_b0", "dwi_b1000", "t2w_roi", "dwi_roi")


def ellipsoid(shape, radius, centre=(0, 0, 0)):
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return sum(((axis - c) / r) ** 2 for axis, r, c in zip(axes, radius, centre, strict=True)) < 1


def write(path, array, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def write_patient(folder, seed):
    """Write five small volumes: a body with a tumour of ADC 1100, noise of its own."""
    rng = np.random.default_rng(seed)
    radii = rng.uniform(0.3, 0.45, 2)
    for stem, shape, affine in (("t2w", (36, 32, 10), T2W_AFFINE), ("dwi", (24, 24, 8), DWI_AFFINE)):
        body = ellipsoid(shape, (0.9, 0.8, 3))
        tumour = ellipsoid(shape, (*radii, 0.7), rng.uniform(-0.15, 0.15, 3))
        signal = np.where(tumour, 400.0, np.where(body, 700.0, 5.0))
        write(folder / f"{stem}_roi.nii.gz", tumour.astype(np.uint8), affine)
        weights = {"t2w": 1.0} if stem == "t2w" else {"dwi_b0": 1.0, "dwi_b1000": np.exp(-1.1)}
        for name, weight in weights.items():
            noisy = np.abs(signal * weight + rng.normal(0, 5, shape)) + 1
            write(folder / f"{name}.nii.gz", noisy.astype(np.int16), affine)


def table():
    rng = np.random.default_rng(7)
    rows = []
    for number in range(N_PRIMARY + N_VALIDATION):
        primary = number < N_PRIMARY
        row = {
            "patient_id": f"P{number:02d}",
            "centre": "AB"[number % 2] if primary else "C",
            "cohort": "primary" if primary else "validation",
            "time_months": f"{rng.uniform(12, 60):.1f}",
            "event": str(int(number % 3 == 0)),
            "age": str(rng.integers(40, 80)),
        }
        rows.append(row | {name: rng.choice(levels) for name, levels in cohort.LEVELS.items() if name != "cohort"})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    (folder / "cohort.yaml").write_text("name: Test\nclass: COHORT\n", encoding="utf-8")
    table().to_csv(folder / "clinical.csv", index=False)
    for number, patient in enumerate(table()["patient_id"]):
        write_patient(folder / "images" / patient, number)
    return folder


def places(report):
    return [(finding.code, finding.file, finding.row) for finding in report.findings]


@pytest.fixture(scope="module")
def before(good):
    return places(doctor.check(good, jobs=1))


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / "cohort")


def test_a_good_folder_has_the_warnings_of_a_small_one(before):
    assert sorted(code for code, _, _ in before) == ["few-events", "few-events", "few-patients", "few-patients"]


# ---------------------------------------------------------------- damage


def cells(**changes):
    """Change cells of the table: column=(rows in the file, value)."""

    def damage(folder):
        frame = pd.read_csv(folder / "clinical.csv", dtype=str)
        for column, (rows, value) in changes.items():
            frame.loc[[row - 2 for row in np.atleast_1d(rows)], column] = value
        frame.to_csv(folder / "clinical.csv", index=False)

    return damage


def text(name, change):
    """Change a file's text."""

    def damage(folder):
        path = folder / name
        path.write_bytes(change(path.read_text(encoding="utf-8")).encode("utf-8"))

    return damage


def settings(**changes):
    def damage(folder):
        said = {"name": "Test", "class": "COHORT"} | changes
        (folder / "cohort.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")

    return damage


def voxels(stem, change, *, affine=None, patient="P03", kind=None):
    """Change a volume's voxels, and perhaps its affine."""

    def damage(folder):
        path = folder / "images" / patient / f"{stem}.nii.gz"
        image = nib.load(path)
        array = change(np.asarray(image.dataobj).copy())
        write(path, array.astype(kind or array.dtype), image.affine if affine is None else affine(image.affine))

    return damage


def same(array):
    return array


def put(change, *where):
    """Return a change that sets a part of the voxels."""

    def changed(array):
        array[where] = change
        return array

    return changed


def dates(**changes):
    """Give the table dates in place of time and event, some of them wrong."""

    def damage(folder):
        frame = pd.read_csv(folder / "clinical.csv", dtype=str)
        surgery = pd.Timestamp("2014-01-15")
        last = [surgery + pd.Timedelta(days=round(float(t) * 30.4375)) for t in frame["time_months"]]
        frame = frame.assign(
            op=surgery, last=last, dm=[d if e == "1" else pd.NaT for d, e in zip(last, frame["event"], strict=True)]
        )
        for name in ("op", "last", "dm"):
            frame[name] = frame[name].dt.strftime(changes.get("form", "%Y-%m-%d")).astype(object)
        for column in changes.keys() - {"form"}:
            row, value = changes[column]
            frame.loc[row - 2, column] = value
        frame.drop(columns=["time_months", "event"]).to_csv(folder / "clinical.csv", index=False)
        settings(dates={"surgery": "op", "metastasis": "dm", "last_contact": "last"})(folder)

    return damage


def file(action):
    return lambda folder: action(folder / "images" / "P03")


def copy_patient(stems, source="P02", target="P03"):
    def damage(folder):
        for stem in stems:
            shutil.copy(folder / "images" / source / f"{stem}.nii.gz", folder / "images" / target / f"{stem}.nii.gz")

    return damage


def resave(folder):
    """The same voxels as float, in another orientation and uncompressed, under another name."""
    image = nib.load(folder / "images" / "P02" / "t2w.nii.gz")
    other = nib.Nifti1Image(np.asarray(image.dataobj, dtype=np.float64), image.affine)
    other = other.as_reoriented(nib.orientations.axcodes2ornt("SRA"))
    mask = nib.load(folder / "images" / "P02" / "t2w_roi.nii.gz")
    target = folder / "images" / "P03"
    (target / "t2w.nii.gz").unlink()
    nib.save(other, target / "t2w.nii")
    nib.save(mask.as_reoriented(nib.orientations.axcodes2ornt("SRA")), target / "t2w_roi.nii.gz")


def duplicate_row(**changes):
    def damage(folder):
        frame = pd.read_csv(folder / "clinical.csv", dtype=str)
        frame.loc[5] = frame.loc[4].to_dict() | changes
        frame.to_csv(folder / "clinical.csv", index=False)
        if "patient_id" not in changes:
            shutil.rmtree(folder / "images" / "P05")

    return damage


def both(*damages):
    def damage(folder):
        for one in damages:
            one(folder)

    return damage


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_affine(path):
    """Set the first row of the affine in the header to 0."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[280:296] = bytes(16)
    path.write_bytes(gzip.compress(raw))


def adc(value):
    """Give an ADC map in place of the b-values."""

    def damage(path):
        image = nib.load(path / "dwi_b0.nii.gz")
        array = np.full(image.shape, value, np.float32) * np.random.default_rng(1).normal(1, 0.05, image.shape)
        write(path / "adc.nii.gz", array.astype(np.float32), image.affine)
        (path / "dwi_b0.nii.gz").unlink()
        (path / "dwi_b1000.nii.gz").unlink()

    return file(damage)


def mirrored(affine):
    """The header of an image whose first axis runs the other way, on voxels that do not."""
    return affine @ np.diag([-1.0, 1, 1, 1])


def swap(path):
    shutil.move(path / "dwi_b0.nii.gz", path / "keep.nii.gz")
    shutil.move(path / "dwi_b1000.nii.gz", path / "dwi_b0.nii.gz")
    shutil.move(path / "keep.nii.gz", path / "dwi_b1000.nii.gz")


T2W, T2W_ROI, DWI_ROI = (f"images/P03/{stem}.nii.gz" for stem in ("t2w", "t2w_roi", "dwi_roi"))
B0, B1000 = "images/P03/dwi_b0.nii.gz", "images/P03/dwi_b1000.nii.gz"
TABLE, ABOUT, P03 = "clinical.csv", "cohort.yaml", 5  # P03 stands in row 5
# Where no event is known, nothing can be said of the cohort's size.
WITHOUT_OUTCOME = [(f"-few-{what}", TABLE, None) for what in ("events", "patients") for _ in range(2)]
EVERY_ROW = range(2, N_PRIMARY + N_VALIDATION + 2)
# Name of the damage: what is done to the folder, and the findings (code, file, row) that it must add, no more, no less.
DAMAGE = {
    "no description": (lambda f: (f / ABOUT).unlink(), [("settings-missing", ABOUT, None)]),
    "description is no YAML": (text(ABOUT, lambda t: t + "a: ["), [("settings-unreadable", ABOUT, None)]),
    "unknown class": (settings(**{"class": "PUBLISHED"}), [("settings-class", ABOUT, None)]),
    "cohort without a name": (settings(name=None), [("settings-name", ABOUT, None)]),
    "mapping to an unknown column": (settings(columns={"x": "Age"}), [("settings-mapping", ABOUT, None)]),
    "misspelt setting": (settings(colums={"x": "age"}), [("settings-unknown", ABOUT, None)]),
    "dates lack metastasis": (
        settings(dates={"surgery": "op", "last_contact": "last"}),
        [("settings-mapping", ABOUT, None)],
    ),
    "both CSV and XLSX": (
        lambda f: pd.read_csv(f / TABLE).to_excel(f / "clinical.xlsx", index=False),
        [("table-twice", TABLE, None)],
    ),
    "no table": (lambda f: (f / TABLE).unlink(), [("table-missing", TABLE, None)]),
    "table is not text": (lambda f: (f / TABLE).write_bytes(b"\x89PNG\x00\xff"), [("table-unreadable", TABLE, None)]),
    "separator not clear": (text(TABLE, lambda t: "a,b;c\n1,2;3\n"), [("table-separator", TABLE, None)]),
    "table without patients": (text(TABLE, lambda t: t.split("\n")[0]), [("table-empty", TABLE, None)]),
    "column missing": (text(TABLE, lambda t: t.replace("cea", "CEA ng/ml", 1)), [("table-columns", TABLE, None)]),
    "row with too few cells": (
        text(TABLE, lambda t: t.rstrip().rsplit(",", 1)[0] + "\n"),
        [("table-row", TABLE, 17), ("covariate-missing", TABLE, 17)],
    ),
    "decimal mark not clear": (cells(time_months=([2, 3], ["40,5", "12.5"])), [("table-decimal", TABLE, None)]),
    "event unknown": (cells(event=(5, "")), [("cell-empty", TABLE, 5)]),
    "age unknown": (cells(age=(5, "")), [("covariate-missing", TABLE, 5)]),
    "unknown level": (cells(ct_stage=(5, "T4")), [("cell-value", TABLE, 5)]),
    "negative time": (cells(time_months=(5, "-3")), [("cell-value", TABLE, 5)]),
    "event is no code": (cells(event=(5, "2")), [("cell-value", TABLE, 5)]),
    "identifier is a path": (
        cells(patient_id=(5, "../../etc")),
        [("patient-id", TABLE, 5), ("unexpected-folder", "images/P03", None)],
    ),
    "an absolute path as an identifier": (
        cells(patient_id=(5, "/etc/passwd")),
        [("patient-id", TABLE, 5), ("unexpected-folder", "images/P03", None)],
    ),
    "a path with a folder as an identifier": (
        cells(patient_id=(5, "a/b")),
        [("patient-id", TABLE, 5), ("unexpected-folder", "images/P03", None)],
    ),
    "a drive as an identifier": (
        cells(patient_id=(5, "C:\\x")),
        [("patient-id", TABLE, 5), ("unexpected-folder", "images/P03", None)],
    ),
    "a formula as an identifier": (
        cells(patient_id=(5, "=cmd|' /C calc'!A0")),
        [("patient-id", TABLE, 5), ("unexpected-folder", "images/P03", None)],
    ),
    "dots as an identifier": (
        cells(patient_id=(5, "..")),
        [("patient-id", TABLE, 5), ("unexpected-folder", "images/P03", None)],
    ),
    "sharing is neither": (settings(share="perhaps"), [("settings-mapping", "cohort.yaml", None)]),
    "semicolons that nobody declared": (
        text(TABLE, lambda t: t.replace(",", ";")),
        [("table-assumed", TABLE, None)],
    ),
    "small cells of one": (settings(share=True, small_cell=1), [("settings-mapping", "cohort.yaml", None)]),
    "a NUL in an identifier": (
        text("clinical.csv", lambda t: t.replace("P03", "P0\0", 1)),
        [("table-unreadable", TABLE, None)],
    ),
    "patient twice": (
        duplicate_row(age="79"),
        [("patient-twice", TABLE, 7)],
    ),
    "patient in both cohorts": (
        duplicate_row(cohort="validation", age="79", centre="C"),
        [("patient-in-both-cohorts", TABLE, 7)],
    ),
    "one patient under two names": (duplicate_row(patient_id="P05"), [("row-repeated", TABLE, 7)]),
    "children": (cells(age=(5, "12")), [("age-implausible", TABLE, 5)]),
    "no follow-up": (cells(time_months=(5, "0")), [("follow-up-zero", TABLE, 5)]),
    "follow-up of decades": (cells(time_months=(5, "400")), [("follow-up-implausible", TABLE, 5)]),
    "times in years": (
        cells(time_months=(list(EVERY_ROW), [f"{n / 4 + 1}" for n in range(16)])),
        [("time-units", TABLE, None)],
    ),
    "times in days": (
        cells(time_months=(list(EVERY_ROW), [f"{n * 40 + 700}" for n in range(16)])),
        [("time-units", TABLE, None)]
        + [(code, TABLE, row) for row in EVERY_ROW for code in ("cell-value", "follow-up-implausible")],
    ),
    "event and censoring exchanged": (
        cells(event=(list(EVERY_ROW), ["0" if n in (0, 1, 12) else "1" for n in range(16)])),
        [("event-coding", TABLE, None)],
    ),
    "event coded 1 and 2": (
        cells(event=(list(EVERY_ROW), ["1" if n % 3 else "2" for n in range(16)])),
        [("cell-value", TABLE, row) for row in range(2, 18, 3)],
    ),
    "centre tells the outcome": (
        cells(event=(list(range(2, 12)), ["1", "0"] * 5)),
        [("centre-nested-in-outcome", TABLE, None)],
    ),
    "one centre without events": (
        cells(
            centre=(list(range(2, 18)), ["A"] * 8 + ["B"] * 2 + ["C"] * 6),
            cohort=(list(range(2, 18)), ["primary"] * 16),
            event=(list(range(2, 18)), ["0"] * 16),
        ),
        [("single-cohort", TABLE, None), ("-few-patients", TABLE, None), ("-few-events", TABLE, None)],
    ),
    "a centre of ten without events": (
        cells(centre=(list(range(2, 12)), ["A"] * 10), event=(list(range(2, 12)), ["0"] * 10)),
        [("centre-one-outcome", TABLE, None)],
    ),
    "validation is not external": (cells(centre=(13, "A")), [("centre-in-both-cohorts", TABLE, None)]),
    "one centre": (
        cells(centre=(list(EVERY_ROW), ["A"] * 16)),
        [("one-centre", TABLE, None), ("centre-in-both-cohorts", TABLE, None)],
    ),
    "example left in": (
        both(
            cells(patient_id=(5, "EXAMPLE3")),
            lambda f: (f / "images" / "P03").rename(f / "images" / "EXAMPLE3"),
        ),
        [("example-patient", TABLE, 5)],
    ),
    "day and month not told apart": (dates(form="%m/%m/%Y"), [("date-ambiguous", TABLE, None)]),
    "no date": (dates(op=(5, "2014-02-30")), [("date-unreadable", TABLE, 5)]),
    "a date to come": (dates(last=(6, "2199-01-01")), [("date-implausible", TABLE, 6)]),
    "last contact before surgery": (dates(last=(6, "2013-01-01")), [("date-order", TABLE, 6)]),
    "event after last contact": (dates(dm=(5, "2020-01-01")), [("event-after-last-contact", TABLE, 5)]),
    "no images": (lambda f: shutil.rmtree(f / "images"), [("images-missing", "images", None)]),
    "patient without images": (file(shutil.rmtree), [("patient-without-images", "images/P03", P03)]),
    "empty patient folder": (
        file(lambda p: [x.unlink() for x in p.iterdir()]),
        [("patient-without-images", "images/P03", P03)],
    ),
    "file missing": (file(lambda p: (p / "dwi_roi.nii.gz").unlink()), [("image-missing", DWI_ROI, P03)]),
    "file misnamed": (
        file(lambda p: (p / "t2w.nii.gz").rename(p / "T2_W.nii.gz")),
        [("image-missing", T2W, P03), ("unexpected-file", "images/P03/T2_W.nii.gz", P03)],
    ),
    "volume twice": (
        file(lambda p: nib.save(nib.load(p / "t2w.nii.gz"), p / "t2w.nii")),
        [("image-twice", "images/P03/t2w", P03)],
    ),
    "truncated file": (file(lambda p: truncate(p / "t2w.nii.gz")), [("image-unreadable", T2W, P03)]),
    "damaged mask": (
        file(lambda p: (p / "dwi_roi.nii.gz").write_bytes(b"no gzip")),
        [("image-unreadable", DWI_ROI, P03)],
    ),
    "empty file": (file(lambda p: (p / "dwi_b0.nii.gz").write_bytes(b"")), [("image-unreadable", B0, P03)]),
    "four dimensions": (
        voxels("t2w", lambda a: np.stack([a, a], axis=3)),
        [("image-dimensions", T2W, P03)],
    ),
    "affine without meaning": (
        file(lambda p: without_affine(p / "t2w.nii.gz")),
        [("image-affine", T2W, P03)],
    ),
    "NaN": (
        voxels("t2w", lambda a: put(np.nan, 3, 3, 3)(a.astype(np.float32)), kind=np.float32),
        [("image-nan", T2W, P03)],
    ),
    "constant volume": (voxels("dwi_b0", lambda a: a * 0 + 7), [("image-constant", B0, P03)]),
    "not axial": (
        both(
            voxels("t2w", same, affine=lambda a: np.diag([4.0, 2, 2, 1])),
            voxels("t2w_roi", same, affine=lambda a: np.diag([4.0, 2, 2, 1])),
        ),
        [("image-not-axial", T2W, P03)],
    ),
    "voxel size in metres": (
        both(
            voxels("t2w", same, affine=lambda a: a @ np.diag([0.001, 0.001, 0.001, 1])),
            voxels("t2w_roi", same, affine=lambda a: a @ np.diag([0.001, 0.001, 0.001, 1])),
        ),
        [("spacing-units", T2W, P03), ("spacing-units", T2W_ROI, P03), ("roi-tiny", T2W_ROI, P03)],
    ),
    "voxels of three centimetres": (
        both(*(voxels(s, same, affine=lambda a: a @ np.diag([1, 1, 8.0, 1])) for s in ("t2w", "t2w_roi"))),
        [("spacing-implausible", T2W, P03), ("spacing-implausible", T2W_ROI, P03)],
    ),
    "mask of another shape": (voxels("t2w_roi", lambda a: a[:-2]), [("grid-shape", T2W_ROI, P03)]),
    "mask moved": (
        voxels("t2w_roi", same, affine=lambda a: a + np.array([[0, 0, 0, 9.0]] + [[0] * 4] * 3)),
        [("grid-affine", T2W_ROI, P03)],
    ),
    "b-values on two grids": (voxels("dwi_b1000", lambda a: a[:, :-3]), [("grid-shape", B1000, P03)]),
    "mask mirrored": (voxels("t2w_roi", same, affine=mirrored), [("grid-orientation", T2W_ROI, P03)]),
    "mask stored in another order": (
        file(
            lambda p: nib.save(
                nib.load(p / "t2w_roi.nii.gz").as_reoriented(nib.orientations.axcodes2ornt("SRA")),
                p / "t2w_roi.nii.gz",
            )
        ),
        [("grid-stored-otherwise", T2W_ROI, P03)],
    ),
    "empty mask": (voxels("t2w_roi", lambda a: a * 0), [("roi-empty", T2W_ROI, P03)]),
    "interpolated mask": (
        voxels("t2w_roi", lambda a: a * 0.5, kind=np.float32),
        [("roi-fractions", T2W_ROI, P03)],
    ),
    "mask with two labels": (voxels("t2w_roi", put(2, 18, 16, 5)), [("roi-several-labels", T2W_ROI, P03)]),
    "stray click": (voxels("t2w_roi", put(1, 3, 3, 5)), [("roi-fragmented", T2W_ROI, P03)]),
    "mask on one slice": (
        voxels("t2w_roi", put(0, slice(None), slice(None), [0, 1, 2, 3, 4, 6, 7, 8, 9])),
        [("roi-one-slice", T2W_ROI, P03)],
    ),
    "mask of a few voxels": (
        voxels("t2w_roi", lambda a: put(1, 18, 16, slice(4, 7))(a * 0)),
        [("roi-tiny", T2W_ROI, P03)],
    ),
    "mask at the border": (
        voxels("t2w_roi", put(1, slice(18, 36), 16, 5)),
        [("roi-touches-border", T2W_ROI, P03)],
    ),
    "mask inside out": (
        voxels("t2w_roi", lambda a: 1 - a),
        [(f"roi-{what}", T2W_ROI, P03) for what in ("covers-image", "touches-border")]
        + [("roi-on-background", T2W, P03)],
    ),
    "mask in the air": (
        voxels("t2w_roi", lambda a: np.roll(a, (16, 14), axis=(0, 1))),
        [("roi-on-background", T2W, P03), ("roi-fragmented", T2W_ROI, P03), ("roi-touches-border", T2W_ROI, P03)],
    ),
    "b-values swapped": (file(swap), [("b-values-swapped", B1000, P03)]),
    "one b-value under both names": (
        file(lambda p: shutil.copy(p / "dwi_b0.nii.gz", p / "dwi_b1000.nii.gz")),
        [("b-values-identical", B1000, P03)],
    ),
    "ADC in mm2/s": (adc(1.1e-3), [("adc-units", "images/P03/adc.nii.gz", P03)]),
    "ADC off by a thousand": (adc(1.1), [("adc-units", "images/P03/adc.nii.gz", P03)]),
    "ADC of no tissue": (adc(9000.0), [("adc-implausible", "images/P03/adc.nii.gz", P03)]),
    "b-value of 4000": (
        voxels("dwi_b1000", lambda a: (a // 60).astype(np.int16) + 1),
        [("adc-implausible", B1000, P03)],
    ),
    "no signal at b=1000": (
        voxels("dwi_b1000", put(0, slice(None), slice(None, 12), slice(None))),
        [("adc-undefined", B1000, P03)],
    ),
    "images of another patient": (copy_patient(["t2w"]), [("image-repeated", T2W, P03)]),
    "images of another patient, saved anew": (
        resave,
        [("image-repeated", "images/P03/t2w.nii", P03), ("roi-repeated", T2W_ROI, P03)],
    ),
    "mask of another patient": (copy_patient(["t2w_roi"]), [("roi-repeated", T2W_ROI, P03)]),
    "folder of nobody": (
        lambda f: shutil.copytree(f / "images" / "P03", f / "images" / "P99"),
        [("unexpected-folder", "images/P99", None)],
    ),
    "stray file": (
        lambda f: (f / "images" / "notes.txt").write_text("x"),
        [("unexpected-file", "images/notes.txt", None)],
    ),
    "link to somewhere else": (
        lambda f: (
            shutil.move(f / "images" / "P03", f.parent / "elsewhere"),
            (f / "images" / "P03").symlink_to(f.parent / "elsewhere"),
        ),
        [("link-leaves-folder", "images/P03", P03)],
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_caught_by_name_and_nothing_is_lost(folder, before, name):
    damage, expected = DAMAGE[name]
    damage(folder)
    report = doctor.check(folder, jobs=1)
    found = places(report)
    if report.facts["n_patients"] < N_PRIMARY + N_VALIDATION:  # without a table nothing is said of its size
        before = []
        assert expected[0][0].startswith("table-")
    gone = [(code[1:], file, row) for code, file, row in expected if code.startswith("-")]
    added = [place for place in expected if not place[0].startswith("-")]
    assert sorted(map(repr, [*found, *gone])) == sorted(map(repr, [*before, *added]))
    if name != "no images":
        assert report.facts["n_volumes"] >= 5 * (N_PRIMARY + N_VALIDATION - 2)
    for finding in report.findings:
        assert finding.severity in ("error", "warning") and finding.message and finding.remedy
    assert doctor.as_text(report)


def test_every_code_is_planted():
    """What is not in the list above is planted by the tests below."""
    planted = {code.removeprefix("-") for _, expected in DAMAGE.values() for code, _, _ in expected}
    elsewhere = {"folder-missing", "image-refused", "few-events", "few-patients"}
    elsewhere |= {"series-not-placed", "series-mixed", "series-overlap", "series-gap"}  # tests/test_dicom.py
    elsewhere |= {"b-value-missing", "b-value-other"}
    elsewhere |= {"images-not-there", "nobody-complete", "probabilities-unused"}  # tests/test_own_cohort.py
    other_files = (Path(__file__).parent / "test_other_files.py").read_text(encoding="utf-8")
    elsewhere |= {code for code in doctor.FINDINGS if f'"{code}"' in other_files}
    assert planted >= doctor.FINDINGS.keys() - elsewhere
    assert len(planted) >= 70


def test_many_kinds_of_damage_at_once_are_all_said(folder, before):
    """Sixteen patients, eleven of them damaged, and a wrong cell: one report holds all of it."""
    plan = {
        "P00": lambda p: truncate(p / "t2w.nii.gz"),
        "P01": lambda p: (p / "dwi_roi.nii.gz").unlink(),
        "P02": swap,
        "P04": lambda p: truncate(p / "dwi_roi.nii.gz"),
        "P05": lambda p: without_affine(p / "t2w.nii.gz"),
        "P06": shutil.rmtree,
    }
    expected = {
        ("image-unreadable", "images/P00/t2w.nii.gz", 2),
        ("image-missing", "images/P01/dwi_roi.nii.gz", 3),
        ("b-values-swapped", "images/P02/dwi_b1000.nii.gz", 4),
        ("image-unreadable", "images/P04/dwi_roi.nii.gz", 6),
        ("image-affine", "images/P05/t2w.nii.gz", 7),
        ("patient-without-images", "images/P06", 8),
        ("image-repeated", "images/P07/t2w.nii.gz", 9),
        ("roi-empty", "images/P08/t2w_roi.nii.gz", 10),
        ("roi-fragmented", "images/P08/dwi_roi.nii.gz", 10),
        ("grid-shape", "images/P09/t2w_roi.nii.gz", 11),
        ("image-constant", "images/P10/dwi_b0.nii.gz", 12),
        ("cell-value", "clinical.csv", 13),
        ("settings-unknown", "cohort.yaml", None),
    }
    for patient, action in plan.items():
        action(folder / "images" / patient)
    copy_patient(["t2w"], source="P03", target="P07")(folder)
    voxels("t2w_roi", lambda a: a * 0, patient="P08")(folder)
    voxels("dwi_roi", put(1, 2, 2, 4), patient="P08")(folder)
    voxels("t2w_roi", lambda a: a[1:], patient="P09")(folder)
    voxels("dwi_b0", lambda a: a * 0 + 9, patient="P10")(folder)
    cells(cea=(13, "high"))(folder)
    settings(contact="somebody")(folder)
    report = doctor.check(folder, jobs=2)  # in two processes, as it is run
    assert set(places(report)) - set(before) == expected
    assert set(before) <= set(places(report))
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities)  # errors first
    # A picture of everybody concerned of whom there is one, the twin of P07 too.
    assert set(report.pictures) == {"P00", "P01", "P02", "P03", "P04", "P05", "P07", "P08", "P09", "P10"}


def test_a_folder_that_is_not_there(tmp_path):
    report = doctor.check(tmp_path / "nowhere")
    assert [finding.code for finding in report.findings] == ["folder-missing"]


def test_what_the_study_would_refuse_is_an_error(folder, monkeypatch):
    """The reader has the last word: what it stops at is never only a warning here."""
    refusal = "images/P03/t2w.nii.gz: something new; expected nothing."
    monkeypatch.setattr(volumes, "check_images", lambda path, sequence, **_: refusal if path.name == "P03" else "")
    found = [finding for finding in doctor.check(folder, jobs=1).findings if finding.code == "image-refused"]
    assert [(f.severity, f.file, f.row, f.message) for f in found] == [("error", "images/P03", 5, refusal)]


@pytest.mark.parametrize("b_values", [[0, 800], [50, 800], [0, 400, 800]])
def test_the_check_uses_the_b_values_of_the_cohort(folder, before, b_values):
    """An ADC of 500 is tissue; taken at another pair of b-values the same signals would be none, or missing."""
    for patient in (folder / "images").iterdir():
        base = nib.load(patient / "dwi_b0.nii.gz")
        signal = np.asarray(base.dataobj, dtype=float) + 4000
        for stem in ("dwi_b0", "dwi_b1000"):
            (patient / f"{stem}.nii.gz").unlink()
        for b in b_values:
            write(patient / f"dwi_b{b}.nii.gz", (signal * np.exp(-b * 3300e-6)).astype(np.float32), base.affine)
    with (folder / "cohort.yaml").open("a") as file:
        file.write(f"b_values: {b_values}\n")
    assert places(doctor.check(folder, jobs=1)) == before
    (folder / "cohort.yaml").write_text("name: Test\nclass: COHORT\nb_values: [800, 0]\n")
    assert ("settings-mapping", "cohort.yaml", None) in places(doctor.check(folder, jobs=1))


# ---------------------------------------------------------------- what is written


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found, self.images, self.text = set(), [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.add(tag)
        self.images += [value for name, value in attributes if name == "src"]

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_escaped(folder, tmp_path):
    bad = "<script>alert(1)</script>"
    cells(centre=(list(range(2, 12)), [bad] * 10), event=(list(range(2, 12)), ["0"] * 10), cea=(4, bad))(folder)
    settings(name=bad)(folder)
    (folder / "images" / "<img src=x onerror=alert(1)>").mkdir()
    report = doctor.check(folder, jobs=1)
    doctor.write_report(report, tmp_path / "out")
    page = (tmp_path / "out" / "doctor.html").read_text(encoding="utf-8")
    tags = Tags(page)
    assert "script" not in tags.found and tags.text.count(bad) >= 3
    assert all(source.startswith("data:image/jpeg;base64,") for source in tags.images)
    assert "http://" not in page and "https://" not in page
    text_page = (tmp_path / "out" / "doctor.txt").read_text(encoding="utf-8")
    for finding in report.findings:
        assert finding.message in tags.text and finding.message in text_page
    listed = json.loads((tmp_path / "out" / "doctor.json").read_text(encoding="utf-8"))
    assert listed == [finding._asdict() for finding in report.findings]
    assert set(listed[0]) == {"severity", "code", "file", "row", "message", "remedy"}


def test_pictures_show_the_mask(folder):
    voxels("t2w_roi", put(1, 3, 3, slice(None)))(folder)
    report = doctor.check(folder, jobs=1)
    row, pictures = report.pictures["P03"]
    assert row == 5
    assert [caption for caption, _ in pictures] == ["t2w.nii.gz", "dwi_b0.nii.gz", "dwi_b1000.nii.gz"]
    for _, picture in pictures:
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture)))).astype(int)
        orange = (image[..., 0] > 200) & (image[..., 2] < 80)
        assert orange.sum() > 50
    # As a radiologist sees it: an LPS file starts at the patient's right and front, which is the upper left.
    t2w = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[0][1])))).astype(int)
    height, width = t2w.shape[:2]
    corner = t2w[: height // 5, : width // 5]
    assert ((corner[..., 0] > 200) & (corner[..., 2] < 80)).any()


def run(*words):
    done = subprocess.run([sys.executable, "-m", "dlrs_site.doctor", *map(str, words)], capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_exit_statuses(folder, tmp_path, capsys):
    assert run("check", folder, "--out", tmp_path / "out", "--jobs", 1).returncode == 0  # warnings only
    swap(folder / "images" / "P03")
    done = run("check", folder, "--out", tmp_path / "out", "--jobs", 2)
    assert done.returncode == 1
    assert "b-values-swapped" in done.stdout and "P03" not in done.stdout + done.stderr  # a log names no patient
    assert (tmp_path / "out" / "doctor.html").is_file()
    assert doctor.main(["check", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 1
    with pytest.raises(SystemExit, match="2"):
        doctor.main(["check", str(folder)])
    with pytest.raises(SystemExit, match="2"):
        doctor.main(["check", str(folder), "--out", str(tmp_path / "out"), "--jobs", "0"])
    capsys.readouterr()


@pytest.mark.parametrize("words", [["check", "own", "--out"], ["new"]])
def test_a_folder_that_cannot_be_written_to_is_one_sentence(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "check", lambda *_, **__: pytest.fail("minutes of reading for nothing"))
    (tmp_path / "file").write_text("")
    assert doctor.main([*words, str(tmp_path / "file" / "pages")]) == 2
    said = capsys.readouterr().err
    assert "cannot be written to: Not a directory; give another folder" in said and said.count("\n") == 1


def test_a_folder_is_checked_once_as_long_as_it_stays_the_same(folder, tmp_path, monkeypatch):
    asked, real = [], doctor.check
    monkeypatch.setattr(doctor, "check", lambda *words, **options: asked.append(words) or real(*words, **options))
    out = tmp_path / "out"
    first = doctor.check_once(folder, out, jobs=1)
    assert first == ("0 errors, 4 warnings", 0) == doctor.check_once(folder, out, jobs=1) and len(asked) == 1
    path = folder / "images" / "P03" / "t2w.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])
    assert doctor.check_once(folder, out, jobs=1)[1] == 1 and len(asked) == 2
    (out / "doctor.html").unlink()
    assert doctor.main(["check", str(folder), "--out", str(out), "--once", "--jobs", "1"]) == 1 and len(asked) == 3
    settings(**{"class": "SYNTHETIC"})(folder)
    assert doctor.main(["check", str(folder), "--out", str(out), "--once"]) == 0 and len(asked) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_the_page_has_no_serious_fault_of_access(browser, folder, tmp_path, scheme, width):
    (folder / "images" / "P03" / "t2w.nii.gz").write_bytes(b"no image")
    (folder / "clinical.csv").write_text((folder / "clinical.csv").read_text().replace("cT3", "T3"))
    page = doctor.write_report(doctor.check(folder, jobs=1), tmp_path / "out")
    assert accessibility.serious(browser, page, scheme=scheme, width=width) == []


# ---------------------------------------------------------------- a new folder


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return doctor.new(tmp_path_factory.mktemp("new") / "cohort")


def test_the_example_passes(example):
    report = doctor.check(example, jobs=1)
    codes = [finding.code for finding in report.findings]
    assert {finding.severity for finding in report.findings} == {"warning"}
    assert set(codes) == {"example-patient", "few-patients", "few-events"}
    assert report.facts["n_volumes"] == 15
    assert len(intake.read_cohort(example).patients) == 3
    # Real volumes: T2W and diffusion on grids of their own, a mask on its image's.
    t2w, dwi, mask = (nib.load(example / f"images/EXAMPLE1/{s}.nii.gz") for s in ("t2w", "dwi_b0", "t2w_roi"))
    assert t2w.shape != dwi.shape and t2w.shape == mask.shape and (t2w.affine == mask.affine).all()
    assert sum(path.stat().st_size for path in example.rglob("*")) < 3e6


def test_the_example_runs_through_notebook_01_which_says_what_one_patient_cannot_tell(example, tmp_path):
    intake.stage(tmp_path / "run", example)
    run_cells("01_cohort", tmp_path / "run", cohort_dir=str(example))
    entries = json.loads((tmp_path / "run" / "results" / "01_cohort.json").read_text())["entries"]
    sd = entries["table1.age.validation.sd"]
    assert sd["value"] is None and "one patient" in sd["reason"]
    assert entries["table1.age.primary.sd"]["value"] == pytest.approx(49**0.5 / 2**0.5)
    assert "nan" not in (tmp_path / "run" / "tables" / "table1.html").read_text()


def test_a_folder_that_is_there_is_left_alone(example, capsys):
    content = sorted(path.name for path in example.rglob("*"))
    assert doctor.main(["new", str(example)]) == 1
    assert "it is there already" in capsys.readouterr().err
    assert sorted(path.name for path in example.rglob("*")) == content


def test_the_command_writes_the_same(tmp_path, example):
    done = run("new", tmp_path / "cohort")
    assert done.returncode == 0
    for path in example.rglob("*.*"):
        assert (tmp_path / "cohort" / path.relative_to(example)).read_bytes() == path.read_bytes()


def test_the_dictionary_holds_every_column_and_level(example):
    words = (example / "data_dictionary.md").read_text(encoding="utf-8")
    for name in cohort.COLUMNS:
        levels = ", ".join(cohort.LEVELS.get(name, []))
        assert f"| {name} | {levels}" in words, name
    assert (
        pd.read_csv(example / "clinical.csv").columns.tolist()
        == pd.read_csv(example.parents[0] / "cohort" / "clinical.csv").columns.tolist()
    )


def test_every_setting_that_the_example_explains_works(example, tmp_path):
    """Uncommented, the example's lines read a hospital's table with these columns, codes, units and dates."""
    lines = (example / "cohort.yaml").read_text(encoding="utf-8").splitlines()
    settings_lines = [line.removeprefix("# ") for line in lines if yaml_like(line)]
    said = yaml.safe_load("\n".join(settings_lines))
    assert set(said) == {*settings_model.SETTINGS} - {"seed", "signal", "size_signal", "exact_counts", "n_patients"}
    assert set(said["table"]) == set(settings_model.TABLE_OPTIONS) and set(said["dates"]) == set(settings_model.DATES)
    folder = tmp_path / "cohort"
    folder.mkdir()
    frame = pd.read_csv(example / "clinical.csv", dtype=str).rename(columns={"patient_id": "Patient", "age": "Alter"})
    frame = frame.drop(columns=["centre", "cohort", "time_months", "event"]).assign(
        gender=["m", "w", "m"],
        cea=["0", "1", "9"],
        date_of_surgery=["01.02.2014", "02.02.2014", "03.02.2014"],
        date_of_metastasis=["", "01.02.2015", ""],
        date_of_last_contact=["01.02.2017", "01.02.2017", "01.02.2018"],
        crm=["clear", "n/a", "involved"],
        emvi=["negative", "positive", "unknown"],
    )
    frame.to_csv(folder / "clinical.csv", index=False, sep=";")
    (folder / "cohort.yaml").write_text("\n".join(settings_lines), encoding="utf-8")
    patients = intake.read_cohort(folder).patients
    assert patients["event"].tolist() == [False, True, False]
    assert patients["emvi"].isna().tolist() == [False, False, True] and "ypt_stage" not in patients
    assert patients["gender"].tolist() == ["Male", "Female", "Male"] and patients["cea"].isna().tolist()[2]
    assert patients["centre"].eq("My hospital").all() and patients["crm"].tolist()[0] == "clear"


def yaml_like(line):
    """Say whether a line of the example is a setting, perhaps commented out, and not an explanation."""
    words = line.removeprefix("# ")
    return bool(re.match(r"(  )?[a-z_]+:( |$)|  [A-Z]\w+: ", words)) and not words.endswith(".")
