"""Exported results: a finished run searched for patients' identifiers and the personal fields of image headers."""

from __future__ import annotations

import argparse
import base64
import binascii
import html
import io
import json
import os
import re
import sys
import urllib.parse
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from dlrs.config import ROOT, InputError, display_path, in_words, resolve
from dlrs.results import save_json
from dlrs_site.intake import Survey, survey

# Folders of a run that stay where they are: they hold patient-level files, or copies of such files.
PRIVATE = ("interim", "models", "kept", "doctor", "cohort")
# Tags that tell who somebody is, where, and by whose hand; their values must not be in what leaves.
PERSONAL = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientBirthName", "PatientMotherBirthName", "PatientAddress",
    "PatientTelephoneNumbers", "OtherPatientIDs", "OtherPatientNames", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "ReferringPhysicianName", "PerformingPhysicianName", "PhysiciansOfRecord",
    "RequestingPhysician", "OperatorsName", "AccessionNumber", "StudyID", "StudyInstanceUID", "SeriesInstanceUID",
    "SOPInstanceUID",
)  # fmt: skip
NIFTI_TEXTS = ("descrip", "aux_file", "db_name", "intent_name")
FIELD = re.compile(rf"\b({'|'.join(PERSONAL)})\b|\((?:0010, ?[0-9a-f]{{4}}|0008, ?00(?:80|81|90|50))\)", re.IGNORECASE)
COLUMN = re.compile(r"<th[^>]*>\s*patient[_ ]?id\s*</th>", re.IGNORECASE)
BLOB = re.compile(r"data:[\w/+.-]*(?:;[\w=-]+)*;base64,([A-Za-z0-9+/=\s%]+)")
PICTURE = re.compile(r"[A-Za-z0-9+/\s]{64,}=*\s*")  # of a notebook, as base64
TOKEN = re.compile(r"[^\W_]+")
IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
BETWEEN = re.compile(rf"(?<={IDEOGRAPH.pattern})[\s\u00b7\u30fb^=,]+(?={IDEOGRAPH.pattern})")  # family and given name
SHORT_NUMBER = 6  # digits: a shorter number is found everywhere


class Secret(NamedTuple):
    """A text that must not be found, and what it is."""

    kind: str
    text: str
    anywhere: bool = True  # False: only where a patient is meant (a path, after the word patient, a column of patients)


class Leak(NamedTuple):
    """Where something private was found; what it is, not what it says."""

    file: str  # relative to the folder searched
    kind: str
    n: int


def _study_words() -> set[str]:
    """Return the words of the study's own texts: an identifier among them cannot be told from those."""
    files = [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("paper/*.yaml"), *ROOT.glob("src/*/templates/*.html")]
    return {word for path in files for word in re.findall(r"[\w.-]+", path.read_text(encoding="utf-8").casefold())}


def _name_forms(value: str) -> Iterator[str]:
    """Yield a DICOM value as it may be written: `DOE^JANE` as `DOE JANE` and `JANE DOE`, 19550312 as a date.

    A name may have a Latin, an ideographic and a phonetic form, parted by
    `=`; its middle names may be left out, and ideographs are looked for
    without what stands between them.
    """
    yield value
    for form in value.split("=") if "=" in value or "^" in value else ():
        parts = [part for part in re.split(r"[\^ ]+", form) if part]
        for used in (parts, parts[:2]) if parts else ():
            for order in (used, [*used[1:], used[0]]):
                yield ("" if IDEOGRAPH.search(form) else " ").join(order)
    if re.fullmatch(r"(19|20)\d{6}", value):
        year, month, day = value[:4], value[4:6], value[6:]
        yield from (f"{year}-{month}-{day}", f"{day}.{month}.{year}", f"{month}/{day}/{year}", f"{day}/{month}/{year}")


def _joined(text: str) -> str:
    """Return a text without blanks, dots and carets between ideographs."""
    return BETWEEN.sub("", text)


def _header_texts(files: list[Path]) -> list[tuple[str, str]]:
    """Return (field, value) of the personal fields of the first of a series' files that has any."""
    return next(filter(None, map(_texts_of_header, files)), [])


def _texts_of_header(path: Path) -> list[tuple[str, str]]:
    """Return (field, value) of the personal fields of one file's header; what cannot be read holds none."""
    import nibabel as nib
    import pydicom

    found = []
    try:
        if path.name.endswith((".nii", ".nii.gz")):
            image = nib.load(path)
            found = [(name, image.header[name].item().decode("latin-1")) for name in NIFTI_TEXTS]
            found += [("extension", str(part.get_content())) for part in image.header.extensions]
        elif path.suffix == ".json":  # beside a NIfTI file, as dcm2niix writes it
            sidecar = json.loads(path.read_text(encoding="utf-8"))
            found = [(name, str(sidecar[name])) for name in PERSONAL if name in sidecar]
        else:  # without its mark too, as old nodes wrote DICOM
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(PERSONAL), force=True)
            found = [(tag, str(part)) for tag in PERSONAL for part in _several(header.get(tag))]
    except Exception:  # whatever is damaged is the doctor's matter
        return []
    return [(name, " ".join(value.split())) for name, value in found]


def _several(value) -> list:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue" else [value]


def _headers(folder: Path) -> list[list[Path]]:
    """List each series' files, of which the first that names somebody stands for all."""
    found = []
    for patient in sorted(folder.iterdir()) if folder.is_dir() else ():
        for path in sorted(patient.iterdir()) if patient.is_dir() else ():
            found.append([p for p in sorted(path.rglob("*")) if p.is_file()] if path.is_dir() else [path])
    return found


def _tells(value: str) -> bool:
    """Say whether a value is long enough to be somebody's: four letters, or two ideographs."""
    return len(value) > 3 or len(IDEOGRAPH.findall(value)) > 1


def secrets_of(cohort_dir: str | Path, *, jobs: int = 2, found: Survey | None = None) -> list[Secret]:
    """Collect what must not be found in the results made from a cohort folder; `found` is its survey, if made.

    Returns
    -------
    list of Secret
        The patients' identifiers, from the table and the folders' names;
        the personal fields of one header a series (DICOM), and the free
        texts of NIfTI headers.

    Notes
    -----
    A number below six digits, a single letter, and an identifier that the
    study's own texts hold (`T2W`) are everywhere; they are looked for only
    where a patient is meant. A header's value that cohort.yaml or the table
    gives as the cohort's or a centre's name is meant to be shown.
    """
    folder = Path(cohort_dir)
    found = found or survey(folder)
    names = set(found.patients["patient_id"].dropna().astype(str)) if "patient_id" in found.patients else set()
    names |= {path.name for path in (folder / "images").glob("*") if path.is_dir()}
    words = _study_words()

    def anywhere(text: str) -> bool:
        return len(text) > 1 and not re.fullmatch(rf"\d{{1,{SHORT_NUMBER - 1}}}", text) and text.casefold() not in words

    secrets = [Secret("a patient's identifier", name, anywhere(name)) for name in sorted(names)]
    public = {str(found.settings.get("name", "")).casefold()}
    public |= {str(c).casefold() for c in found.patients.get("centre", [])}
    with ThreadPoolExecutor(jobs) as pool:
        for fields in pool.map(_header_texts, _headers(folder / "images")):
            for field, value in fields:
                if value.casefold() not in public and value not in names and _tells(value) and anywhere(value):
                    secrets += [
                        Secret(f"the header field {field}", form) for form in _name_forms(value) if _tells(form)
                    ]
    return list(dict.fromkeys(secrets))


def kinds_of(secrets: Iterable[Secret]) -> dict[str, int]:
    """Return what is searched for by kind: how many spellings of it, never what they say."""
    return dict(sorted(Counter(secret.kind for secret in secrets).items()))


def texts_of(name: str, content: bytes) -> Iterator[str]:
    """Yield all that a file says in words: also inside pictures' text fields, archives, notebooks and data addresses.

    Parameters
    ----------
    name
        The file's name, for its ending.
    content
        Its bytes.
    """
    if content[:8] == b"\x89PNG\r\n\x1a\n" or content[:3] == b"\xff\xd8\xff":
        yield from _picture_texts(content)
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield member
                yield from texts_of(member, archive.read(member))
    elif name.endswith((".ipynb", ".json")):
        try:
            yield from _strings(json.loads(content))
        except ValueError:
            yield from _plain_texts(content.decode("utf-8", "replace"))
    else:
        yield from _plain_texts(content.decode("utf-8", "replace"))


def _picture_texts(content: bytes) -> Iterator[str]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            fields = picture.info
    except Exception:  # no picture after all
        return
    for key, value in fields.items():
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if isinstance(text, str) and key != "icc_profile":
            yield f"{key} {text}"


def _strings(value) -> Iterator[str]:
    """Yield every text of a JSON value; the lines of a notebook's cell are one text."""
    if isinstance(value, str):
        if PICTURE.fullmatch(value):
            yield from _decoded(value)
        else:
            yield from _plain_texts(value)
    elif isinstance(value, list):
        if value and all(isinstance(line, str) for line in value):
            yield from _strings("".join(value) if any("\n" in line for line in value) else "\n".join(value))
        else:
            for part in value:
                yield from _strings(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield "<th>patient_id</th>" if key == "patient_id" else key
            if isinstance(part, (str, int)) and not PICTURE.fullmatch(str(part)):
                yield from _plain_texts(f"{key}: {part}")
            else:
                yield from _strings(part)
    elif value is not None:
        yield str(value)


def _plain_texts(text: str) -> Iterator[str]:
    for blob in BLOB.findall(text):
        yield from _decoded(urllib.parse.unquote(blob))
    text = BLOB.sub(" ", text)
    if "%" in text:
        text = urllib.parse.unquote(text)
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), text)
    yield html.unescape(text)


def _decoded(text: str) -> Iterator[str]:
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        yield text
        return
    yield from texts_of("", content)


class Search:
    """All that must not be found, ready to be looked for in texts.

    Parameters
    ----------
    secrets
        From `secrets_of`.
    folder
        The cohort's folder; a path below its `images/` is found whatever it names.
    """

    def __init__(self, secrets: Iterable[Secret], folder: str | Path | None = None):
        self.by_token: dict[str, list[tuple[Secret, re.Pattern]]] = {}
        self.unspaced: list[tuple[Secret, str]] = []  # ideographs have no blanks between words
        for secret in secrets:
            text = secret.text.casefold()
            if IDEOGRAPH.search(text):
                self.unspaced.append((secret, _joined(text)))
                continue
            tokens = TOKEN.findall(text)
            words = r"[\W_]+".join(map(re.escape, tokens)) if " " in text else re.escape(text)
            if secret.anywhere:
                # 481234 is no part of 0.481234, nor of 481234.5
                before, after = (r"(?<!\d\.)", r"(?!\.\d)") if text.isdigit() else ("", "")
            else:
                place = r"[/\\]" if text.isdigit() else r"images[/\\]"
                before = rf"(?:{place}|patient(?:[_ ]?id)?['\"]?\s*[:=#]?\s*['\"]?)"
                after = r"(?=[/\\]|\.(?:npy|nii|json|dcm|csv)\b|['\"\s,;)<]|$)"
            pattern = re.compile(rf"{before}(?<![^\W_]){words}(?![^\W_]){after}")
            if tokens:  # kept under its longest word, which is rarer in a text than the `1` of a UID
                self.by_token.setdefault(max(tokens, key=len), []).append((secret, pattern))
        places = {
            str(place) for path in filter(None, [folder]) for place in (Path(path).absolute(), Path(path).resolve())
        }
        inside = "|".join(map(re.escape, sorted(places)))
        self.path = re.compile(rf"(?:{inside})/images/(?!manifest\.json)[^\s\"'<>]") if inside else None

    def kinds(self, text: str) -> list[str]:
        """Return the kind of everything private that a text holds, once for each time."""
        low, found = text.casefold(), []
        for token in self.by_token.keys() & set(TOKEN.findall(low)):
            found += [secret.kind for secret, pattern in self.by_token[token] for _ in pattern.finditer(low)]
        low = _joined(low) if self.unspaced else low
        for secret, name in self.unspaced:
            found += [secret.kind] * low.count(name)
        found += ["the name of a personal header field"] * len(FIELD.findall(text))
        found += ["a column of patients"] * len(COLUMN.findall(text))
        if self.path:
            found += ["a path into the cohort folder"] * len(self.path.findall(text))
        return found


def scan(folder: str | Path, cohort_dir: str | Path, *, jobs: int = 2) -> tuple[list[Leak], dict]:
    """Search everything in a run's folder that may be exported.

    Parameters
    ----------
    folder
        A finished run; `PRIVATE` folders and hidden files are left out.
    cohort_dir
        The cohort folder that the run was made from.
    jobs
        Threads that read headers.

    Returns
    -------
    leaks : list of Leak
        By file and kind; empty when nothing was found. Values are not told.
    facts : dict
        n_files, n_identifiers, n_unsearchable (identifiers looked for only
        in paths and columns of patients), n_header_values.

    Notes
    -----
    Text that is drawn in a picture is not read: figures are made from what
    tables and notebooks say, and SVG figures hold their text beside the
    drawing.
    """
    folder, cohort_dir = Path(folder), Path(cohort_dir)
    secrets = secrets_of(cohort_dir, jobs=jobs)
    search, leaks, n_files = Search(secrets, cohort_dir), [], 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_dir() or name.parts[0] in PRIVATE or any(part.startswith(".") for part in name.parts):
            continue
        n_files += 1
        content = path.read_bytes()
        texts = [str(name), *texts_of(path.name, content)]
        if path.suffix == ".csv" and re.match(rb"(?:[^\n]*,)?\"?patient_id\"?[,\r\n]", content):
            texts.append("<th>patient_id</th>")
        kinds = [kind for text in texts for kind in search.kinds(text)]
        leaks += [Leak(str(name), kind, kinds.count(kind)) for kind in sorted(set(kinds))]
    people = [secret for secret in secrets if secret.kind == "a patient's identifier"]
    weak = sum(not secret.anywhere for secret in people)
    n_header = len(secrets) - len(people)
    return leaks, dict(n_files=n_files, n_identifiers=len(people), n_unsearchable=weak, n_header_values=n_header)


def check(folder: str | Path, cohort_dir: str | Path, *, jobs: int = 2) -> dict:
    """Search a run's folder and raise when anything private is in it.

    Returns
    -------
    dict
        The counts of `scan`.

    Raises
    ------
    InputError
        Names files and kinds, not values.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(display_path(folder), "there is no such folder", expected="a run", remedy="Correct the name.")
    leaks, facts = scan(folder, cohort_dir, jobs=jobs)
    if leaks:
        lines = [f"{leak.file}: {leak.kind}{f' ({leak.n} times)' if leak.n > 1 else ''}" for leak in leaks]
        more = f"\n  and {len(lines) - 30} more" if len(lines) > 30 else ""
        remedy = "Hand nothing of this folder on before these are gone:\n  " + "\n  ".join(lines[:30]) + more
        files = len({leak.file for leak in leaks})
        problem = f"private things in {files} of {facts['n_files']} files"
        raise InputError(display_path(folder), problem, expected="rows instead of patients", remedy=remedy)
    return facts


def told(facts: dict) -> str:
    """Return the counts of a search in a sentence."""
    weak = facts["n_unsearchable"]
    unsaid = f" ({weak} of them, short numbers or words of the study, only in paths and columns of patients)"
    return (
        f"{facts['n_files']} files hold none of {facts['n_identifiers']} identifiers{unsaid if weak else ''} "
        f"nor of {facts['n_header_values']} values of image headers"
    )


def stage(run_dir: str | Path, cohort_dir: str | Path) -> None:
    """Search a finished run, as the last stage of a hospital's study; note in `interim/` what was searched."""
    run_dir = resolve(run_dir)
    facts = check(run_dir, resolve(cohort_dir), jobs=os.cpu_count() or 1)
    print(told(facts))
    save_json(facts, run_dir / "interim" / "privacy.json")


@in_words
def main(arguments: list[str] | None = None) -> int:
    """Run the command line: `python -m dlrs_site.privacy RUN --cohort FOLDER`."""
    parser = argparse.ArgumentParser(prog="python3 run.py check-private", description=__doc__)
    parser.add_argument("folder", help="a finished run, or what is to be handed on of it")
    parser.add_argument("--cohort", required=True, help="the cohort folder that it was made from")
    args = parser.parse_args(arguments)
    print(told(check(args.folder, args.cohort)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
