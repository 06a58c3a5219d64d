"""The synthetic cohort reproduces every count of the paper and every printed P of Table 1 but age's."""

import pytest

import executed
from dlrs.config import published


@pytest.fixture(scope="module")
def entries(cohort_read):
    """Return the numbers of notebook 01 on the committed cohort."""
    return executed.entries(cohort_read, "01_cohort")


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
