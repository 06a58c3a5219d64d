"""The synthetic cohort reproduces every count of the paper and every printed P of Table 1 but age's."""

import json
import os

import papermill
import pytest

from dlrs.config import ROOT, published
from dlrs_site import intake


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """Run notebook 01 on the committed cohort and return its numbers."""
    run = tmp_path_factory.mktemp("run")
    intake.stage(run, "data_synthetic")
    papermill.execute_notebook(
        ROOT / "notebooks" / "01_cohort.ipynb",
        run / "01_cohort.ipynb",
        parameters={"run_dir": os.fspath(run), "cohort_dir": "data_synthetic"},
        cwd=ROOT / "notebooks",
        progress_bar=False,
    )
    return json.loads((run / "results" / "01_cohort.json").read_text(encoding="utf-8"))["entries"]


def leaves(tree, path):
    """Yield (key, printed value) as the results spell them: two-element lists are primary and validation."""
    for name, value in tree.items():
        here = f"{path}.{name}"
        if isinstance(value, dict):
            yield from leaves(value, here)
        elif isinstance(value, list) and path.endswith("levels"):
            yield from zip([f"{here}.primary", f"{here}.validation"], value, strict=True)
        elif name != "where":
            yield here, value


def test_every_count_of_table_1_is_the_papers(entries):
    printed = {key: value for key, value in leaves(published()["table1"], "table1") if ".levels." in key}
    assert len(printed) == 58
    assert {key: entries[key]["value"] for key in printed} == printed


def test_age_is_the_papers_to_two_decimals(entries):
    for which in ["primary", "validation"]:
        printed = published()["table1"]["age"][which]
        assert round(entries[f"table1.age.{which}.mean"]["value"], 2) == printed["mean"]
        assert round(entries[f"table1.age.{which}.sd"]["value"], 2) == printed["sd"]


def test_every_printed_p_of_table_1_is_reproduced(entries):
    rows = {name: row["p"] for name, row in published()["table1"].items() if isinstance(row, dict)}
    assert len(rows) == 13
    for name, printed in rows.items():
        p = entries[f"table1.{name}.p"]["value"]
        if name != "age":  # its P needs the patients' ages, which are private
            assert p < 0.001 if printed == "<0.001" else round(p, 3) == printed, name


def test_the_counts_of_the_text_are_the_papers(entries):
    said = published()["cohort"]
    keys = {key: value for key, value in leaves(said, "cohort") if not isinstance(value, (list, str))}
    for key, value in keys.items():
        if ".treatment." in key or key == "cohort.minimum_follow_up_months":
            continue  # not a result; and the paper's own minimum is contradicted by its excluded patients
        digits = len(str(value).partition(".")[2])
        assert round(entries[key]["value"], digits) == value, key
    assert entries["cohort.minimum_follow_up_months"]["value"] < said["minimum_follow_up_months"]
