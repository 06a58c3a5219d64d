"""A hospital's folder as scanners, drawing programs and a spreadsheet write it; what was drawn is kept as plain arrays.

Arrays have the axes (slices from the feet up, rows from front to back, columns from the patient's right to the left).
"""

from __future__ import annotations

import datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import openpyxl

from dicom_files import ge, save, segmentation, siemens, single_slices

B_VALUES = (0, 500, 1000)
NAMES = ["Müller^Jürgen", "Schröder^Ingeborg", "张^晓明", "Weiß^Gertrud", "欧阳^美玲", "Bärlauch^Ulrike"]
CENTRES = {"KMS": "Klinikum München-Süd", "USZ": "Universitätsspital Zürich", "SH6": "上海市第六人民医院"}
SETTINGS = """name: Rektum-Register München/Zürich/上海
class: COHORT
share: {share}
columns:
  {{Fallnr.: patient_id, Klinik: centre, Gruppe: cohort, Alter (J): age, Geschlecht: gender, Höhe: tumor_location,
    Histologie: histology, cT: ct_stage, cN: lymph_node_status, CEA erhöht: cea, Zugang: surgical_approach,
    ypT: ypt_stage, ypN: ypn_stage, adj. CTx: adjuvant_chemotherapy, adj. RTx: adjuvant_radiotherapy,
    Lokalrezidiv: locoregional_recurrence}}
codes:
  cohort: {{Training: primary, Validierung: validation}}
  gender: {{m: Male, w: Female}}
  tumor_location: {{oben: High, mitte: Mid, unten: Low}}
  histology: {{Adeno: adenocarcinoma, muzinös: mucinous, Siegelring: signet_ring}}
  ct_stage: {{T3: cT3, T4: cT4}}
  lymph_node_status: {{N+: positive, N0: negative}}
  cea: {{ja: Elevated, nein: Normal}}
  surgical_approach: {{offen: Laparotomy, lap.: Laparoscopy}}
  ypt_stage: {{0: ypT0, 1: ypT1, 2: ypT2, 3: ypT3, 4: ypT4}}
  ypn_stage: {{0: ypN0, 1: ypN1, 2: ypN2}}
  adjuvant_chemotherapy: {{ja: Yes, nein: No}}
  adjuvant_radiotherapy: {{ja: Yes, nein: No}}
  locoregional_recurrence: {{ja: Yes, nein: No}}
missing: [unbek.]
dates: {{surgery: OP-Datum, metastasis: Datum Fernmetastase, last_contact: Letzter Kontakt}}
table: {{file: Patientenliste.xlsx, sheet: Patienten}}
"""


def tumour(draw, shape, centre, half):
    """Return a lumpy ellipsoid; centre and half axes are shares of the volume."""
    places = np.indices(shape) / np.array(shape)[:, None, None, None]
    distance = sum(((place - c) / h) ** 2 for place, c, h in zip(places, centre, half, strict=True))
    return distance + draw.uniform(0, 0.15, shape) < 1


def oblique(tilt, origin, spacing):
    """Return a grid's affine in RAS millimetres: axial slices tilted about the x axis and about y, in degrees."""
    a, b = np.deg2rad(tilt)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_y * spacing
    affine[:3, 3] = origin
    return affine


def volume(array, affine):
    """Return an array as NIfTI in RAS, the order of its axes reversed."""
    return nib.Nifti1Image(np.ascontiguousarray(array[:, ::-1, ::-1].transpose(2, 1, 0)), affine)


def drawn_mask(array, affine, path):
    """Write a mask as drawing programs do that count as DICOM does: x to the left, y to the back."""
    axes = np.diag([-1.0, -1.0, 1.0, 1.0])
    axes[:2, 3] = array.shape[2] - 1, array.shape[1] - 1
    nib.save(nib.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine @ axes), path)


def images(folder, draw, german, person, risk, one_voxel):
    """Write a patient's series and outlines and return signals and outlines by sequence."""
    place = draw.uniform(0.42, 0.58, 3), draw.uniform([0.3, 0.12, 0.14], [0.4, 0.2, 0.22])
    t2w_roi, dwi_roi = (tumour(draw, shape, *place) for shape in ((10, 44, 52), (9, 30, 36)))
    if one_voxel:
        t2w_roi[np.flatnonzero(t2w_roi.any(axis=(1, 2)))[-1] + 1, 20, 20] = True  # a slip of the pencil
    t2w = draw.integers(150, 350, t2w_roi.shape) + 160 * t2w_roi
    adc = np.where(dwi_roi, draw.normal(950 - 80 * risk, 90, dwi_roi.shape), draw.normal(1600, 200, dwi_roi.shape))
    b0 = draw.uniform(9_000, 12_000, dwi_roi.shape)
    signals = {b: np.round(b0 * np.exp(-b * adc.clip(500, 3000) / 1e6)).astype(np.uint16) for b in B_VALUES}
    lying = draw.uniform([8, -5], [22, 5]), draw.uniform(-60, -30, 3)
    grids = {"t2w": oblique(*lying, (0.9, 0.9, 3.6)), "dwi": oblique(*lying, (1.3, 1.32, 4.0))}
    say, maker = (siemens, "SIEMENS") if german else (ge, "GE MEDICAL SYSTEMS")
    drawn_on = {
        "t2w": single_slices({None: volume(t2w.astype(np.uint16), grids["t2w"])}, folder.name, "t2w"),
        "dwi": single_slices({b: volume(s, grids["dwi"]) for b, s in signals.items()}, folder.name, "dwi", say=say),
    }
    for name, series in drawn_on.items():
        for data in series:
            data.SpecificCharacterSet, data.Manufacturer = "ISO_IR 192", maker
            for field, value in person.items():
                setattr(data, field, value)
        save(series, folder / name)
    masks, one = {"t2w": t2w_roi, "dwi": dwi_roi}, drawn_on["dwi"]
    drawn_on["dwi"] = one[: len(one) // len(B_VALUES)]  # each place once
    for name, mask in masks.items():
        if german:
            drawn_mask(mask.astype(np.uint8), grids[name], folder / f"{name}_roi.nii.gz")
        else:
            seg = segmentation(volume(mask.astype(np.uint8), grids[name]), drawn_on[name], folder.name, f"{name}_roi")
            save(seg, folder / f"{name}_roi.dcm")
    with_b = {0: signals[0].astype(float), 1000: signals[1000].astype(float)}
    found = np.log(with_b[0] / with_b[1000]) / 1000 * 1e6
    return {"T2W": (t2w.astype(float), t2w_roi), "ADC": (found, dwi_roi)}


def write(folder: Path, primary: int = 24, validation: int = 16, *, share: bool = False, with_images: bool = True):
    """Write a cohort of two centres and a third one and return patients' arrays, and what may be found nowhere else.

    Returns
    -------
    drawn
        Patient to sequence to image (for ADC of b 0 and 1000 in 1e-6 mm2/s) and outline.
    secrets
        Names, numbers and dates that no result may hold.
    """
    draw, drawn, secrets, rows = np.random.default_rng(7), {}, set(), []
    folder.mkdir(parents=True)
    for i in range(primary + validation):
        centre = list(CENTRES)[i % 2 if i < primary else 2]
        patient, german = f"{centre}-{1000 + 7 * i}", centre == "KMS"
        born = datetime.date(1940, 1, 1) + datetime.timedelta(days=int(draw.integers(14_000)))
        surgery = datetime.date(2013, 1, 1) + datetime.timedelta(days=int(draw.integers(900)))
        t4, n2, elevated = draw.random() < 0.4, int(draw.integers(3)), draw.random() < 0.4
        risk = 0.9 * t4 + 0.6 * n2 + 0.5 * elevated + draw.normal(0, 0.5)
        event = draw.random() < 1 / (1 + np.exp(1 - risk))
        seen = surgery + datetime.timedelta(
            days=int(30.4375 * (draw.uniform(4, 34) if event else draw.uniform(38, 70)))
        )
        name = NAMES[i % len(NAMES)] + chr(97 + i % 26)
        person = {"PatientName": name, "PatientID": f"47{110_000 + 37 * i}", "AccessionNumber": f"ACC{88_100 + i}"}
        person |= {"PatientBirthDate": f"{born:%Y%m%d}", "StudyDate": f"{surgery - datetime.timedelta(days=80):%Y%m%d}"}
        if with_images:
            drawn[patient] = images(folder / "images" / patient, draw, german, person, risk, i == 5)
        yes = lambda probability: "ja" if draw.random() < probability else "nein"  # noqa: E731
        rows.append({
            "Fallnr.": patient, "Nachname": name.split("^")[0], "Vorname": name.split("^")[1], "Geburtsdatum": born,
            "MRN": person["PatientID"], "Klinik": CENTRES[centre],
            "Gruppe": "Training" if i < primary else "Validierung", "OP-Datum": surgery,
            "Datum Fernmetastase": seen if event else None, "Letzter Kontakt": seen + datetime.timedelta(days=30),
            "Alter (J)": (surgery - born).days // 365, "Geschlecht": "mw"[i % 2],
            "Höhe": ("oben", "mitte", "unten")[draw.integers(3)], "Histologie": "Adeno" if i % 8 else "muzinös",
            "cT": "T4" if t4 else "T3", "cN": "N+" if draw.random() < 0.6 else "N0",
            "CEA erhöht": (None, "unbek.")[i // 10] if i in (3, 10) else "ja" if elevated else "nein",
            "Zugang": "offen" if draw.random() < 0.5 else "lap.", "ypT": int(draw.integers(5)), "ypN": n2,
            "adj. CTx": "ja", "adj. RTx": yes(0.2), "Lokalrezidiv": yes(0.1),
            "Bemerkung": f"Tel. 089/55{1000 + i}",
        })  # fmt: skip
        secrets |= {
            patient,
            *person.values(),
            f"{born}",
            f"{surgery}",
            f"{seen}",
            f"089/55{1000 + i}",
            name.replace("^", " "),
        }
    book = openpyxl.Workbook()
    book.active.title = "Patienten"
    for row in (list(rows[0]), *(list(row.values()) for row in rows)):
        book.active.append(row)
    book.create_sheet("Legende").append(["m = männlich, w = weiblich"])
    book.save(folder / "Patientenliste.xlsx")
    (folder / "cohort.yaml").write_text(SETTINGS.format(share=str(share).lower()), encoding="utf-8")
    return drawn, secrets


def box(image, roi, size, n_slices=20):
    """Cut a box with NumPy alone: rectangles of the largest slices, resized by their areas' overlap, z-scored."""
    areas = roi.sum(axis=(1, 2))
    kept = sorted(sorted(np.flatnonzero(areas), key=lambda z: (-areas[z], z))[:n_slices])
    out = np.zeros((n_slices, size, size))
    for place, z in enumerate(kept):
        rows, columns = np.flatnonzero(roi[z].any(axis=1)), np.flatnonzero(roi[z].any(axis=0))
        patch = image[z, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        resized = weights(patch.shape[0], size) @ patch @ weights(patch.shape[1], size).T
        if np.ptp(patch) > 0:
            out[place] = (resized - resized.mean()) / resized.std()
    return out


def weights(n, size):
    """Return the matrix of a linear interpolation from n pixels to `size`, smoothed where pixels shrink."""
    scale = n / size
    distance = np.abs(np.arange(n) + 0.5 - (np.arange(size)[:, None] + 0.5) * scale)
    triangle = np.clip(1 - distance / max(scale, 1), 0, None)
    return triangle / triangle.sum(axis=1, keepdims=True)
