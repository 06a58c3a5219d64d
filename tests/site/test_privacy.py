"""What the search finds in a finished run, wherever it is hidden, and what it leaves alone."""

import base64
import io
import json
import re
import zipfile

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from dlrs import cohort
from dlrs.config import InputError
from dlrs_run import pages
from dlrs_site import privacy

IDS = ["HOSP-0017", "Q7741", "481234", "12", "T2W"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cohort of five with images of which two carry a header that says too much."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    folder = tmp_path_factory.mktemp("cohort")
    (folder / "cohort.yaml").write_text("name: Test house\nclass: COHORT\n", encoding="utf-8")
    columns = {name: levels[0] for name, levels in cohort.LEVELS.items()}
    rows = [dict(patient_id=name, centre="Test centre", time_months=40, event=0, age=60, **columns) for name in IDS]
    pd.DataFrame(rows).to_csv(folder / "clinical.csv", index=False)
    image = nib.Nifti1Image(np.zeros((2, 2, 2), dtype=np.int16), np.eye(4))
    image.header["descrip"] = b"Erika Beispiel 1955"
    (folder / "images" / "Q7741").mkdir(parents=True)
    nib.save(image, folder / "images" / "Q7741" / "t2w.nii.gz")
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = MRImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = generate_uid()
    header.PatientName, header.PatientID, header.PatientBirthDate = "Müller-O'Neil^Jane", "MRN5550123", "19550312"
    header.InstitutionName = "St. Elsewhere Hospital"
    header.SpecificCharacterSet = "ISO_IR 192"
    series = folder / "images" / "HOSP-0017" / "t2w"
    series.mkdir(parents=True)
    header.save_as(series / "1.dcm", enforce_file_format=True)
    return folder


@pytest.fixture
def run(tmp_path):
    """A run's folder with nothing private outside `interim/`."""
    run = tmp_path / "run"
    for name in ("tables", "figures", "notebooks", "logs", "interim", "models"):
        (run / name).mkdir(parents=True)
    (run / "interim" / "patients.csv").write_text("patient_id\nHOSP-0017\n")
    (run / "tables" / "table1.csv").write_text("characteristic,n,percent\nage,12,0.481234\nT2W,12,481234.5\n")
    (run / "results.json").write_text(json.dumps({"table2.cindex.T2W.primary": {"value": 12, "n": 12}}))
    (run / "figures" / "fig1.svg").write_text("<svg><!-- T2W --><path d='M 481234.25 12'/></svg>")
    (run / "logs" / "02.log").write_text("images/(patient of row 12)/t2w.nii.gz: the mask is empty\n")
    return run


def found(run, folder):
    return {(leak.file, leak.kind) for leak in privacy.scan(run, folder)[0]}


def test_a_run_that_names_nobody_passes(run, folder):
    facts = privacy.check(run, folder)
    assert (facts["n_files"], facts["n_identifiers"], facts["n_unsearchable"]) == (4, 5, 2)
    assert "2 of them" in privacy.told(facts)


def png(**fields):
    about = PngImagePlugin.PngInfo()
    for key, value in fields.items():
        about.add_text(key, value, zip=True)
    content = io.BytesIO()
    Image.new("L", (4, 4)).save(content, "PNG", pnginfo=about)
    return content.getvalue()


def docx(text):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("word/document.xml", f"<w:t>{text}</w:t>")
    return content.getvalue()


def notebook(**data):
    output = {"output_type": "display_data", "data": data, "metadata": {}}
    return json.dumps({"cells": [{"cell_type": "code", "source": [], "outputs": [output]}], "nbformat": 4}).encode()


def base64_of(content):
    return base64.b64encode(content).decode()


IDENTIFIER, COLUMN, FIELD = "a patient's identifier", "a column of patients", "the name of a personal header field"
PLANTED = {
    "a cell of a table": ("tables/x.csv", b"who,n\nhosp-0017,3\n", IDENTIFIER),
    "a number as a whole cell": ("tables/x.csv", b"who,n\n481234,3\n", IDENTIFIER),
    "a column": ("tables/x.csv", b"n,patient_id\n3,12\n", COLUMN),
    "a column of a page": ("report.html", b'<th class="x">patient_id</th><td>12</td>', COLUMN),
    "a short number in a path": ("logs/x.log", b"boxes/T2W/12.npy", IDENTIFIER),
    "a short number after the word": ("logs/x.log", b"ADC map of patient 12 is empty", IDENTIFIER),
    "a word of the study in a path": ("logs/x.log", b"/data/images/T2W/t2w.nii.gz", IDENTIFIER),
    "a short number in JSON": ("results/01.json", b'{"patient_id": "12"}', IDENTIFIER),
    "a file's name": ("figures/overlay_Q7741.png", png(), IDENTIFIER),
    "a comment of an SVG": ("figures/x.svg", b"<svg><!-- Q7741 --></svg>", IDENTIFIER),
    "a picture inside an SVG": (
        "figures/x.svg",
        f'<image href="data:image/png;base64,{base64_of(png(Title="Q7741"))}"/>'.encode(),
        IDENTIFIER,
    ),
    "a field of a PNG": ("figures/x.png", png(Comment="from HOSP-0017"), IDENTIFIER),
    "a table to download": ("report.html", f'href="data:text/csv;base64,{base64_of(b"Q7741,1")}"'.encode(), IDENTIFIER),
    "a document to download": (
        "report.html",
        f'"data:application/x;base64,{base64_of(docx("Q7741"))}"'.encode(),
        IDENTIFIER,
    ),
    "an SVG written out": ("report.html", b"src='data:image/svg+xml,%3Ctext%3EQ7741%3C/text%3E'", IDENTIFIER),
    "a notebook's text": ("notebooks/x.ipynb", notebook(**{"text/plain": ["row\n", "Q7741"]}), IDENTIFIER),
    "a notebook's picture": (
        "notebooks/x.ipynb",
        notebook(**{"image/png": base64_of(png(Title="Q7741"))}),
        IDENTIFIER,
    ),
    "a path into the cohort": ("logs/x.log", "FOLDER/images/elsewhere/t2w.nii", "a path into the cohort folder"),
    "a header's name": ("report.html", "von Jane  Müller-O&#39;Neil".encode(), "the header field PatientName"),
    "a header's name as stored": (
        "results.json",
        json.dumps("MÜLLER-O'NEIL^JANE").encode(),
        "the header field PatientName",
    ),
    "a date of birth": ("deviations.md", b"born 12.03.1955", "the header field PatientBirthDate"),
    "a number of the hospital": ("nomogram.html", b"<p>mrn5550123</p>", "the header field PatientID"),
    "an institution": ("tables/x.html", b"<td>ST. ELSEWHERE HOSPITAL</td>", "the header field InstitutionName"),
    "a NIfTI's description": ("notebooks/x.html", b"descrip: Erika Beispiel 1955", "the header field descrip"),
    "a printed header": ("logs/x.log", b"(0010, 0030) Patient's Birth Date DA: '19000101'", FIELD),
    "a field by name": ("logs/x.log", b"AttributeError: PatientBirthDate", FIELD),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_private_is_found_by_kind_wherever_it_is(run, folder, name):
    file, content, kind = PLANTED[name]
    content = content.replace("FOLDER", str(folder)).encode() if isinstance(content, str) else content
    (run / file).parent.mkdir(exist_ok=True)
    (run / file).write_bytes(content)
    assert (file, kind) in found(run, folder)
    assert {leak[0] for leak in found(run, folder)} == {file}


def test_the_message_names_files_and_kinds_and_no_value(run, folder, capsys):
    (run / "tables" / "x.csv").write_text("who\nQ7741\nQ7741\n")
    assert privacy.main([str(run), "--cohort", str(folder)]) == 1
    said = capsys.readouterr().err
    assert "tables/x.csv: a patient's identifier (2 times)" in said and "Q7741" not in said
    (run / "tables" / "x.csv").unlink()
    assert privacy.main([str(run), "--cohort", str(folder)]) == 0
    assert re.search(r"4 files hold none of 5 identifiers .* nor of \d+ values", capsys.readouterr().out)
    with pytest.raises(InputError, match="no such folder"):
        privacy.check(run / "nowhere", folder)


def test_private_folders_and_what_cohort_yaml_calls_itself_are_left_alone(run, folder):
    for name in privacy.PRIVATE:
        (run / name).mkdir(exist_ok=True)
        (run / name / "x.csv").write_text("patient_id\nQ7741\n")
    (run / "tables" / "x.csv").write_text("centre\nTest centre\nTest house\n")
    assert not found(run, folder)


def test_a_real_report_page_is_read_whole(run, folder):
    """Tables and pictures of a page lie in it as data; what is planted in one of each is found."""
    table = pages.Table("Caption", "Notes of Q7741", ["a"], [["1"]])
    content = pages.docx(table, stamp="stamp")
    (run / "report.html").write_text(f'<a href="{pages.data_uri(content, "application/docx")}">x</a>')
    assert found(run, folder) == {("report.html", IDENTIFIER)}
