"""The statistics equal R's: every number of every reference file (REFERENCE_DIR, or tests/reference)."""

from __future__ import annotations

import copy
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest

import parity
from dlrs.stats import concordance, resample

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
