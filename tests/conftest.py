"""Put the comparison with R on the path, and show at the end of a run what it came to."""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Two processes test at a time, and each may start others: threads that wait for one another would only take turns.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "site")]

# the same examples on every machine, and no verdict on how busy it is
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# What a file imports or calls says whether its tests need torch or MONAI, which `run.py test --quick` does not install.
NEEDS_TORCH = re.compile(
    r"^\s*(?:import|from) (?:torch|torchvision|monai)\b"
    r"|^\s*from dlrs\.imaging import .*\b(?:cropping|gradcam|resnet|textures|training)\b"
    r"|\bread_(?:sequence|volume)\(",
    re.MULTILINE,
)


@functools.cache
def needs_torch(path: Path) -> bool:
    return bool(NEEDS_TORCH.search(path.read_text(encoding="utf-8")))


if importlib.util.find_spec("torch") is None:
    collect_ignore = ["imaging/test_explain.py", "imaging/test_train.py"]

WHOLE_FILE_SLOW = re.compile(r"^pytestmark = pytest\.mark\.slow$", re.MULTILINE)


def pytest_ignore_collect(collection_path, config):
    """Leave a file unread all of whose tests `-m` leaves out: reading it imports torch, MONAI or papermill."""
    if not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
        return None
    chosen = config.option.markexpr
    slow = "not slow" in chosen and WHOLE_FILE_SLOW.search(collection_path.read_text(encoding="utf-8"))
    return True if slow or ("not imaging" in chosen and needs_torch(collection_path)) else None


def pytest_collection_modifyitems(items):
    for item in items:
        if needs_torch(item.path):
            item.add_marker(pytest.mark.imaging)


CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


@pytest.fixture(scope="session")
def browser():
    """Start a headless Chromium of this machine; without one a test skips, or fails where DLRS_BROWSER=required."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not found:
        missing = f"no browser to open pages in: none of {', '.join(CHROMIUM)} is on the PATH"
        (pytest.fail if os.environ.get("DLRS_BROWSER") == "required" else pytest.skip)(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield started
        started.close()


def once_for_all_workers(tmp_path_factory, name: str, make) -> Path:
    """Return a folder that the first of pytest's processes to ask for it makes; nobody may write in it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            make(partial)
            partial.rename(folder)
    return folder


@pytest.fixture(scope="session")
def cohort_read(tmp_path_factory):
    """A run of notebook 01 on the committed cohort, with the committed probabilities; copy it to go on."""
    from dlrs.config import ROOT
    from dlrs_site import intake
    from executed import execute
    from figure_faults import drawn_and_noted

    def make(run):
        intake.stage(run, "data_synthetic")
        shutil.copy(ROOT / "data_synthetic" / "dl_prob.csv", run / "interim")
        execute("01_cohort", run, draw=drawn_and_noted(run / "figure_faults.json"), cohort_dir="")

    return once_for_all_workers(tmp_path_factory, "cohort_read", make)


@pytest.fixture(scope="session")
def statistics(cohort_read, tmp_path_factory):
    """A run of notebooks 00, 01 and 04 to 07 as they are, on the committed cohort; copy it to go on."""
    from executed import execute
    from figure_faults import drawn_and_noted

    def make(run):
        shutil.copytree(cohort_read, run)
        for name in ["00_paper_audit", "04_signature", "05_nomogram", "06_evaluation", "07_subgroups"]:
            execute(name, run, draw=drawn_and_noted(run / "figure_faults.json"))

    return once_for_all_workers(tmp_path_factory, "statistics", make)


def pytest_terminal_summary(terminalreporter):
    """Print the parity lines and write the two reports.

    The tests hand their results over as report properties, which reach the controlling process
    from every worker, so that the lines and files are the same with one process and with many.
    """
    reports = [r for outcome in ("passed", "failed") for r in terminalreporter.stats.get(outcome, [])]
    found = [value for r in reports for key, value in getattr(r, "user_properties", []) if key == "parity"]
    if not found:
        return
    from parity import report

    terminalreporter.section("agreement with R")
    for line in report.lines(found):
        terminalreporter.line(line)
    if report.complete(found):
        try:
            report.write(found)
        except OSError as error:  # a checkout that cannot be written to still shows its lines
            terminalreporter.line(f"reports/parity.csv and PARITY.md were not written: {error}", red=True)
