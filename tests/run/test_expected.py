"""What a run is held to: exact statistics, bands for trainings, and what `accept` writes."""

import json

import numpy as np
import pytest

from dlrs_run import expected

ENTRY = {"value": 0.75, "ci": [0.6, 0.9], "p": None, "method": "Harrell", "class": "SYNTHETIC"}


def test_equal_results_have_no_differences():
    # 0.75 * (1 + 5e-9) is within 1e-8 of 0.75; 1e-13 is within 1e-12 of nothing.
    found = {"k": {**ENTRY, "value": 0.75 * (1 + 5e-9)}, "zero": {"value": 1e-13}}
    assert expected.differences({"k": ENTRY, "zero": {"value": 0.0}}, found) == []


@pytest.mark.parametrize(
    ("found", "moved"),
    [
        ({"k": {**ENTRY, "value": 0.75 * (1 + 2e-8)}}, [("k/value", 0.75, 0.75 * (1 + 2e-8))]),
        ({"k": {**ENTRY, "ci": [0.6, 0.91]}}, [("k/ci/1", 0.9, 0.91)]),
        ({"k": {**ENTRY, "p": 0.5}}, [("k/p", None, 0.5)]),
        ({"k": {**ENTRY, "method": "Uno"}}, [("k/method", "Harrell", "Uno")]),
        ({"k": ENTRY, "l": {"value": 1}}, [("l/value", "new", 1)]),
        (
            {"k": {"value": 0.75, "ci": [0.6, 0.9], "p": None, "method": "Harrell"}},
            [("k/class", "SYNTHETIC", "missing")],
        ),
    ],
)
def test_what_moved_is_named(found, moved):
    assert expected.differences({"k": ENTRY}, found) == moved


def runs(*values, key="table2.cindex.DLRS.validation"):
    return [{key: {"value": value}, "table1.age": {"value": 54.8}} for value in values]


def test_a_band_reaches_as_far_as_any_seed_lies_from_the_others():
    # 0.70, 0.72, 0.74: mean 0.72, sd 0.02. Without 0.70 the others have mean 0.73 and sd 0.02 / sqrt(2), so that 0.70
    # is 0.03 / (0.014142 * sqrt(1 + 1/2)) = sqrt(3) away; 0.72 is at the others' mean.
    # half a band: sqrt(3) * 0.02 * sqrt(1 + 1/3) = 0.04
    band = expected.bands(runs(0.70, 0.72, 0.74))["table2.cindex.DLRS.validation"]
    assert band["low"] == pytest.approx(0.68) and band["high"] == pytest.approx(0.76)
    assert band["knows_nothing"] == 0.5 and band["n"] == 3


def test_one_more_training_is_stopped_by_chance_no_more_often_than_is_said_and_hardly_less():
    # eight seeds, four numbers of which two go together, with the heavy tails of Student's t with 3 degrees of freedom
    rng = np.random.default_rng(3)
    names = [f"fig1.auc.{name}.validation" for name in "abcd"]
    stopped, n = 0, 8
    for _ in range(1500):
        drawn = 0.7 + 0.02 * rng.standard_t(3, size=(n + 1, 4))
        drawn[:, 1] = drawn[:, 0] + 0.3 * drawn[:, 1]
        *seeds, one_more = [{k: {"value": x} for k, x in zip(names, row, strict=True)} for row in drawn]
        outside = [b for k, b in expected.bands(seeds).items() if not b["low"] <= one_more[k]["value"] <= b["high"]]
        stopped += bool(outside)
    assert 0.5 / (n + 1) < stopped / 1500 < 1 / (n + 1)


def test_numbers_that_training_does_not_move_have_no_band():
    assert expected.bands(runs(0.6, 0.6, 0.6)) == {}
    assert expected.bands(runs(0.6, 0.6 + 1e-16, 0.6 - 1e-16)) == {}
    with pytest.raises(ValueError, match="found the same table2.cindex.DLRS.validation in all but one of 3"):
        expected.bands(runs(0.6, 0.6, 0.7))
    with pytest.raises(ValueError, match="at least three for a band; found 2"):
        expected.bands(runs(0.6, 0.7))


def test_a_number_is_inside_outside_or_not_checked():
    key = "table2.cindex.DLRS.validation"
    narrow = {key: {"low": 0.70, "high": 0.80, "knows_nothing": 0.5}}
    wide = {key: {"low": 0.45, "high": 0.95, "knows_nothing": 0.5}}
    for bands, value, verdict in [
        (narrow, 0.75, "inside"),
        (narrow, 0.81, "outside"),
        (narrow, None, "outside"),
        (wide, 0.75, "no check"),
        (wide, 0.99, "no check"),
    ]:
        assert [v for _, v, _ in expected.hold_to_bands(bands, {key: {"value": value}})] == [verdict]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setattr(expected, "resolve", lambda path: tmp_path / path)
    for name in ("statistics", "default", "seed-1", "seed-2", "seed-3"):
        (tmp_path / name / "interim").mkdir(parents=True)
        value = {"seed-1": 0.70, "seed-2": 0.71, "seed-3": 0.72}.get(name, 0.71)
        content = {"table2.cindex.DLRS.validation": {**ENTRY, "value": value}}
        (tmp_path / name / "results.json").write_text(json.dumps(content))
        (tmp_path / name / "interim" / "dl_prob.csv").write_text(name)
    return tmp_path


def test_accepting_then_checking_passes_until_a_number_moves(repository, capsys):
    statistics, default = str(repository / "statistics"), str(repository / "default")
    seeds = [str(repository / f"seed-{n}") for n in (1, 2, 3)]
    assert expected.freeze(default) == 0 and expected.accept(statistics, *seeds) == 0
    assert (repository / "data_synthetic" / "dl_prob.csv").read_text() == "default"
    assert expected.check(statistics, default) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and said[2].startswith("1 numbers: 0 moved, 0 new, 0 missing. 0 table pages: 0 faults.")
    assert said[2].endswith(
        "1 numbers inside their bands, 0 outside (by chance at most one training in 4), 0 bands too wide to check."
    )

    assert expected.accept(statistics) == 0  # without seeds the bands stay
    moved = {"table2.cindex.DLRS.validation": {**ENTRY, "value": 0.99}}
    (repository / "statistics" / "results.json").write_text(json.dumps(moved))
    assert expected.check(statistics, default) == 1
    assert (
        "moved    table2.cindex.DLRS.validation  0.710 (0.600 to 0.900) -> 0.990 (0.600 to 0.900)"
        in capsys.readouterr().out
    )
    assert "found" in (repository / "statistics" / "check.csv").read_text()

    assert expected.accept(statistics) == 0
    (repository / "default" / "results.json").write_text(json.dumps(moved))
    assert expected.check(statistics, default) == 1
    said = capsys.readouterr().out
    assert "outside  table2.cindex.DLRS.validation: 0.99 in 0.6900 to 0.7300" in said and "1 outside (by chance" in said


def test_a_check_of_much_that_moved_is_ten_lines(repository, capsys):
    statistics, default = str(repository / "statistics"), str(repository / "default")
    expected.freeze(default)
    before = {f"k{n}": {**ENTRY} for n in range(40)}
    (repository / "statistics" / "results.json").write_text(json.dumps(before))
    expected.accept(statistics)
    now = {k: {**e, "value": 0.76} for k, e in before.items()} | {f"n{n}": ENTRY for n in range(9)}
    now.pop("k3")
    now["k0"] = {**ENTRY, "p": 0.5}
    (repository / "statistics" / "results.json").write_text(json.dumps(now))
    capsys.readouterr()
    assert expected.check(statistics, default) == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) <= 12 and "39 moved, 9 new, 1 missing" in said[0]
    assert said[1] == "moved    k0  0.750 (0.600 to 0.900) -> 0.750 (0.600 to 0.900), P 0.5000"
    assert "new      n0, n1, n2 and 6 more" in said and "missing  k3" in said
    assert "accept" in said[-1] and "git checkout" in said[-1] and "check.csv" in said[-2]
    assert len((repository / "statistics" / "check.csv").read_text().splitlines()) == 50


def test_a_figure_that_is_gone_or_of_another_size_fails_the_check(repository, capsys):
    from PIL import Image

    statistics, default = str(repository / "statistics"), str(repository / "default")
    figures = repository / "statistics" / "figures"
    figures.mkdir()
    for name in ("fig1", "fig2"):
        Image.new("RGB", (40, 30)).save(figures / f"{name}.png")
        (figures / f"{name}.svg").write_text("<svg></svg>")
    expected.freeze(default)
    expected.accept(statistics)
    assert expected.check(statistics, default) == 0
    Image.new("RGB", (41, 30)).save(figures / "fig1.png")
    (figures / "fig2.svg").unlink()
    assert expected.check(statistics, default) == 1
    said = capsys.readouterr().out
    assert "figure   fig1: expected [40, 30], found [41, 30]" in said
    assert "figure   fig2: expected [40, 30], found [0, 0]" in said


def test_frozen_probabilities_that_moved_fail_the_check(repository, capsys):
    statistics, default = str(repository / "statistics"), str(repository / "default")
    expected.freeze(default)
    expected.accept(statistics)
    (repository / "data_synthetic" / "dl_prob.csv").write_text("edited")
    assert expected.check(statistics, default) == 1
    assert "moved    data_synthetic/dl_prob.csv" in capsys.readouterr().out


def test_an_unfinished_run_is_not_frozen(repository, capsys):
    (repository / "default" / "results.json").unlink()
    assert expected.freeze(str(repository / "default")) == 0
    assert not (repository / "data_synthetic").exists() and "is not complete" in capsys.readouterr().out
