"""The codebook: every column of every CSV of a run has a label and, where it is a number, a unit."""

import pandas as pd
import pytest

from dlrs.config import ROOT
from dlrs_run import codebook

TABLES = [*(ROOT / "reports" / "tables").glob("*.csv"), *(ROOT / "reports" / "validity" / "tables").glob("*.csv")]


@pytest.mark.parametrize("path", sorted(TABLES), ids=lambda path: path.stem)
def test_each_column_of_each_table_is_described(path):
    unknown = [name for name in pd.read_csv(path, nrows=0) if codebook.describe(name) is None]
    assert not unknown, f"{path.name}: give {', '.join(unknown)} a label and a unit in paper/columns.yaml"


def test_a_column_is_built_from_what_is_known():
    limit = "Share of studies, scores overfitted in the primary cohort, lower limit of the 95% interval"
    assert codebook.describe("overfitted_lower") == (limit, "0 to 1")
    assert codebook.describe("univariate_p_holm") == (
        "P value, univariate Cox model, adjusted by Holm's method",
        "0 to 1",
    )
    assert codebook.describe("lp_Nomogram") == ("Linear predictor, Nomogram", "log hazard")
    assert codebook.describe("time_months")[1] == "months" and codebook.describe("emvi") is None


@pytest.mark.slow
def test_the_codebook_has_a_row_for_each_column_of_a_run_and_a_studys_own_by_its_name(statistics):
    book = codebook.of_run(statistics)
    files = [*statistics.glob("tables/*.csv"), *statistics.glob("interim/*.csv")]
    expected = [(str(p.relative_to(statistics)), name) for p in sorted(files) for name in pd.read_csv(p, nrows=0)]
    assert sorted(zip(book["file"], book["column"], strict=True)) == sorted(expected)
    assert book["label"].str.len().gt(0).all()
    numbers = book[(book["kind"] == "number") & ~book["column"].isin(["event"])]
    assert numbers["unit"].ne("").all(), numbers[numbers["unit"] == ""]


def test_a_cohorts_own_variable_has_the_label_and_unit_of_its_study(tmp_path):
    (tmp_path / "interim").mkdir()
    (tmp_path / "tables").mkdir()
    (tmp_path / "interim" / "study.json").write_text(
        '{"name": "Here", "class": "COHORT", "smallest_count": 0, "variables": '
        '{"psa": {"label": "PSA", "kind": "number", "role": "covariate", "unit": "ng/ml", "range": [0, 99]}}}'
    )
    (tmp_path / "interim" / "patients.csv").write_text("patient_id,psa\nA,1.5\n")
    (tmp_path / "tables" / "own.csv").write_text("psa,some_thing\n1.5,x\n")
    book = codebook.of_run(tmp_path).set_index(["file", "column"])
    assert tuple(book.loc[("tables/own.csv", "psa")]) == ("PSA", "ng/ml", "number")
    assert tuple(book.loc[("tables/own.csv", "some_thing")]) == ("Some thing", "", "text")
