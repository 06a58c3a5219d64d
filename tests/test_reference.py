"""The statistics equal R's: every number of every reference file (REFERENCE_DIR, or tests/reference)."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache

import pytest

import parity

CASES = [(name, section) for name in parity.datasets() for section in parity.sections(parity.reference(name))]
LEAST = 0.97  # share of a section that must be checked; the rest needs a written reason

read = cache(parity.context)


def test_reference_folder_holds_data():
    assert CASES, f"no NAME.json with a NAME.csv beside it in {parity.reference_dir()}"


@pytest.mark.parametrize(("name", "section"), CASES, ids=[f"{n}-{s}" for n, s in CASES])
def test_equals_r(name, section, record_property):
    result = parity.compare(read(name), parity.reference(name), section)
    record_property("parity", asdict(result))
    assert not result.disagreements, "\n".join(result.disagreements[:50])
    assert result.checked >= LEAST * result.numbers, "\n".join(result.missing[:50])
