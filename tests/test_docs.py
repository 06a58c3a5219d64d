"""What the documents print of the benchmarks is what their files hold."""

import re

import pandas as pd
import pytest

from dlrs.config import ROOT


def printed(document, first_column):
    """The rows of the one table of a document whose first column has this heading."""
    text = (ROOT / document).read_text(encoding="utf-8")
    table = re.search(rf"^\| {first_column} \|.*\n\|[-|: ]+\n((?:\|.*\n?)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table[1].splitlines()]


def test_the_tries_of_the_networks_are_those_of_the_benchmark():
    tries = pd.read_csv(ROOT / "benchmarks" / "network_tries.csv")
    columns = ["cohorts", "auc", "auc_se", "share", "r_t2w", "r_adc", "auc_oof", "slope_oof"]
    rows = printed("docs/networks.md", "recipe")
    assert len(rows) > 5
    for recipe, penalty, *cells in rows:
        of = tries[(tries["recipe"] == recipe) & tries["penalty"].map(lambda p: f"{p:g}").eq(penalty or "nan")]
        assert len(of) == 1, (recipe, penalty)
        for name, cell in zip(columns, cells, strict=True):
            value = of[name].iloc[0]
            assert cell == ("" if pd.isna(value) else f"{value:.0f}" if name == "cohorts" else f"{value:.3f}"), name
    best = tries.loc[tries["auc"].idxmax()]
    assert any(row[0] == best["recipe"] and row[1] == f"{best['penalty']:g}" for row in rows)


@pytest.mark.parametrize("document, file", [("data_synthetic/data_dictionary.md", "network_phantoms")])
def test_what_the_phantoms_give_away_is_that_of_the_benchmark(document, file):
    found = pd.read_csv(ROOT / "benchmarks" / f"{file}.csv", index_col=0)
    rows = printed(document, "quantity")
    assert len(rows) == len(found)
    for (_, *cells), (_, row) in zip(rows, found.iterrows(), strict=True):
        assert cells == [f"{row[name]:.2f}" for name in ("mean", "min", "max")]


def test_what_grey_values_of_the_roi_give_away_is_that_of_the_benchmark():
    found = pd.read_csv(ROOT / "benchmarks" / "phantoms_roi.csv", index_col=0)
    mean, cohorts = found.loc["mean"], found.drop(index="mean")
    assert len(cohorts) == 10
    inside = {n: f"{mean[n]:.2f} ({cohorts[n].min():.2f} to {cohorts[n].max():.2f})" for n in ("r", "auc")}
    text = (ROOT / "data_synthetic" / "data_dictionary.md").read_text(encoding="utf-8")
    assert f"in validation {inside['r']}, AUC {inside['auc']}" in text
    (r, auc) = (
        row[2] for row in printed("docs/networks.md", "target") if " 16 " in row[0] or "these numbers" in row[0]
    )
    assert (r, auc) == (f"{mean['r']:.2f}", f"{mean['auc']:.2f}")
