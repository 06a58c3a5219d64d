"""The statistics equal R's: every number of every reference file (REFERENCE_DIR, or tests/reference) that is used."""

from __future__ import annotations

import copy
from dataclasses import asdict
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import parity
from dlrs.stats import concordance, resample

CASES = [(name, section) for name in parity.datasets() for section in parity.sections(parity.reference(name))]
LEAST = 0.97  # share that must be checked of what a section holds beside parity/not_used.yaml
REFERENCE = Path(__file__).parent / "reference"

read = cache(parity.context)


def test_reference_folder_holds_data():
    assert CASES, f"no NAME.json with a NAME.csv beside it in {parity.reference_dir()}"


@pytest.mark.parametrize(("name", "section"), CASES, ids=[f"{n}-{s}" for n, s in CASES])
def test_equals_r(name, section, record_property):
    result = parity.compare(read(name), parity.reference(name), section)
    record_property("parity", asdict(result))
    assert not result.disagreements, "\n".join(result.disagreements[:50])
    assert result.checked >= LEAST * result.numbers, "\n".join(result.missing[:50])


def test_the_comparison_notices_what_is_wrong_and_what_is_unknown():
    name = parity.datasets()[0]
    stored = copy.deepcopy(parity.reference(name))
    right = parity.compare(read(name), stored, "counts")
    stored["counts"]["primary"]["n"] += 1
    stored["counts"]["validation"]["something"] = {"new": 3}
    wrong = parity.compare(read(name), stored, "counts")
    assert (wrong.numbers, wrong.checked) == (right.numbers + 1, right.checked - 1)
    assert wrong.disagreements[0].startswith("counts/primary/n: R ")
    assert wrong.missing == ["counts/validation/something/new: no row says what this is"]
    stored["first_row_risk_at_times"]["clinical"][0] *= 1 + 1e-6
    assert len(parity.compare(read(name), stored, "first_row_risk_at_times").disagreements) == 1
    unknown = parity.compare(read(name), {"no_such_section": {"a": [1, 2], "b": "word"}}, "no_such_section")
    assert (unknown.numbers, unknown.checked) == (2, 0)


def test_what_is_not_used_is_neither_compared_nor_missing():
    name = parity.datasets(REFERENCE)[0]
    data, stored = parity.context(name, REFERENCE), parity.reference(name, REFERENCE)
    before = parity.compare(data, stored, "cindex")
    stored["cindex"]["primary"]["markers"]["clinical"]["survC1_uno_tau_max"]["c"] += 1
    after = parity.compare(data, stored, "cindex")
    assert after == before and not after.disagreements
    assert after.not_used["*/markers/*/survC1_*/c"] == 2 * 2 * len(data.markers)
    curve = parity.compare(data, stored, "decision_curve")
    assert curve.not_used["*/none/FNR/0"] == 2  # one position of a list in either split


def test_the_list_of_what_is_not_used_is_short_and_holds_nothing_idle():
    found, numbers = set(), 0
    for name in parity.datasets(REFERENCE):
        data, stored = parity.context(name, REFERENCE), parity.reference(name, REFERENCE)
        for section in parity.sections(stored):
            result = parity.compare(data, stored, section)
            found |= {(section, path) for path, count in result.not_used.items() if count}
            numbers += result.numbers - 19 * sum(result.not_used.values())
    listed = parity.not_used()
    assert {(entry.section, entry.path) for entry in listed} == found
    assert all(len(entry.reason) > 20 for entry in listed)
    assert numbers > 0, "more than one number in twenty is left out"


@pytest.mark.parametrize("section", sorted({section for _, section in CASES}))
def test_what_a_row_names_exists(section):
    code = parity.module(section)
    for row in code.ROWS if code else []:
        for part in row.ours.split(", "):
            module, _, function = part.partition("(")[0].partition(".")
            if function and module not in ("numpy", "pandas"):
                assert hasattr(import_module(f"dlrs.stats.{module.removeprefix('as ')}"), function), row


@pytest.mark.parametrize("name", parity.datasets())
def test_bootstrap_of_concordance_agrees_within_monte_carlo_error(name):
    random = parity.reference(name).get("bootstrap", {})
    data = read(name)
    rows = data.splits["validation"]
    x = np.column_stack([data.marker(rows, m) for m in ("combined", "clinical")])
    weights = resample.bootstrap_weights(len(rows), 4000, seed=1)
    c = concordance.concordance_bootstrap(rows["time"], rows["event"], x, weights)
    ours = {"combined": c[:, 0], "clinical": c[:, 1], "difference": c[:, 0] - c[:, 1]}
    for model, theirs in random.get("harrell_c_validation", {}).items():
        sd, samples = theirs["sd"], random["B"]
        assert abs(ours[model].mean() - theirs["mean"]) < 5 * sd / np.sqrt(samples)
        assert abs(ours[model].std() / sd - 1) < 5 / np.sqrt(2 * samples)
        lower, upper = np.quantile(ours[model], [0.025, 0.975])
        # a 2.5 % quantile of B draws has a standard error of about 2.7 sd / sqrt(B)
        assert max(abs(lower - theirs["lower"]), abs(upper - theirs["upper"])) < 5 * 2.7 * sd / np.sqrt(samples)
