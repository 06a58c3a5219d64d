"""Paths, random streams, hashes, whole-file writes, and the versions of what ran."""

from __future__ import annotations

import difflib
import errno
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[2]
CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


class InputError(ValueError):
    """A file that a person gave is not what was expected.

    The message names file, row and column where they apply, what was found,
    what was expected, and what to do about it. `row` is the row's number in
    the file as a spreadsheet shows it (the header is row 1).
    """

    def __init__(
        self, file, found: str, *, expected: str, remedy: str, row: int | None = None, column: str | None = None
    ):
        place = [str(file)]
        if row is not None:
            place.append(f"row {row}")
        if column is not None:
            place.append(f"column {column}")
        super().__init__(f"{', '.join(place)}: {found}; expected {expected}. {remedy}")

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows below the cell: the message, without the lines of code that it came through."""
        return [str(self)]

    def __reduce__(self):
        """Let the message cross from a worker process; only it is kept."""
        return _input_error, (str(self),)


class Usage(Exception):
    """The words of a command make no sense together."""


def _input_error(message: str) -> InputError:
    error = InputError.__new__(InputError)
    error.args = (message,)
    return error


def resolve(path: str | Path) -> Path:
    """Return an absolute path; a relative one is taken from the repository's root, wherever the notebook runs."""
    path = Path(path)
    return path if path.is_absolute() else ROOT / path


def made_by(notebook: str) -> str:
    """Return which command makes what a notebook reads and runs it, by the notebook's number."""
    others = {"02": "reproduce", "03": "reproduce", "08": "reproduce", "09": "validity", "11": "validate"}
    return others.get(notebook[:2], "statistics")


def run_folder(run_dir: str | Path = "", *, command: str = "statistics") -> Path:
    """Return a run's folder; without a name that of the newest finished run, the last whose numbers were joined.

    Parameters
    ----------
    run_dir
        The folder, from the repository's root.
    command
        What makes a run where none is finished.

    Raises
    ------
    InputError
        No run below `runs/` is finished, or the folder that was named is missing.
    """
    if str(run_dir):
        if resolve(run_dir).is_dir():
            return resolve(run_dir)
        name = display_path(resolve(run_dir))
        makes = {"runs/default": "reproduce", "runs/statistics": "statistics", "runs/validity": "validity"}.get(name)
        remedy = f"`python3 run.py {makes}` makes it." if makes else "Correct run_dir."
        raise InputError(name, "there is no such folder", expected="a run", remedy=remedy)
    finished = [
        path for path in ROOT.glob("runs/*/results.json") if (path.parent / "interim" / "patients.csv").is_file()
    ]
    if not finished:
        remedy = f"`python3 run.py {command}` makes one."
        raise InputError("runs", "no run is finished", expected="a run with results.json", remedy=remedy)
    newest = max(finished, key=lambda path: path.stat().st_mtime_ns).parent
    print(f"run_dir is empty: {display_path(newest)}, the newest finished run")
    return newest


def display_path(path: str | Path) -> str:
    """Return a path as it may be printed: relative to the repository's root where it lies inside."""
    path = Path(path)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Ask for the known word that is nearest to an unknown one, or say something else."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]}?" if close else otherwise


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the random generator that belongs to a purpose.

    Every purpose (`"times"`, `"noise", "P017"`) gets its own stream from the
    one seed, so that drawing more of one thing never shifts another.
    """
    words = [zlib.crc32(str(name).encode()) for name in names]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))


def sha256(path: str | Path) -> str:
    """Return a file's SHA-256 as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def in_words(main: Callable) -> Callable:
    """Let a command say in one sentence what is wrong, and return its exit status.

    1 for an input (`InputError`), 2 for its own words (`Usage`), a full disk or a file that may not be touched.
    """

    @functools.wraps(main)
    def command(arguments: Sequence[str] | None = None) -> int:
        try:
            return main(arguments)
        except (InputError, Usage) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1 if isinstance(error, InputError) else 2
        except OSError as error:
            if error.errno not in CANNOT_WRITE:
                raise
            place = error.filename2 or error.filename
            place = f"{place}: " if place else ""
            remedy = "Free some space, or give another folder; nothing half-written is taken for whole."
            print(f"error: {place}{error.strerror}. {remedy}", file=sys.stderr)
            return 2

    return command


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, moved there only when the block ends well.

    A process killed half-way leaves the old file or none, never half of one.
    The temporary name keeps the file's ending, since many writers go by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a file of text in UTF-8, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def copy_file(source: str | Path, path: str | Path) -> None:
    """Copy a file's content, whole or not at all."""
    with whole_file(path) as partial:
        shutil.copyfile(source, partial)


def published(path: str | Path = "paper/paper_results.yaml") -> dict:
    """Return the paper's printed numbers, the only place where they are typed."""
    return yaml.safe_load(resolve(path).read_text(encoding="utf-8"))


def session_information(*packages: str) -> dict[str, str]:
    """Return commit, Python, platform and the versions of `packages`, for the last cell of a notebook."""
    git = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    commit = git.stdout.strip() or "not in a git checkout"
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return {
        "commit": commit,
        "python": platform.python_version(),
        "machine": machine,
        **{p: version(p) for p in packages},
    }
