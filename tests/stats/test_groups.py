"""Tests between groups of patients."""

from __future__ import annotations

import json
from itertools import product
from math import factorial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from dlrs.stats import groups

TABLE1 = json.loads((Path(__file__).parents[1] / "reference" / "table1_pvalues.json").read_text(encoding="utf-8"))
ROWS = {name: row for name, row in TABLE1.items() if "levels" in row}


@pytest.mark.parametrize("name", ROWS)
def test_table_1_of_the_paper_equals_r(name):
    row = ROWS[name]
    table = np.column_stack([row["primary"], row["validation"]])
    codes = [np.repeat(np.arange(len(table)), column) for column in table.T]
    pearson, ratio = groups.chi_square(table), groups.likelihood_ratio(table)
    ours = {
        "min_expected": pearson.min_expected,
        "df": pearson.df,
        "chi2": pearson.chi2,
        "p_chi2": pearson.p,
        "p_chi2_exact_conditional": groups.exact_chi_square(table),
        "p_fisher": groups.fisher_freeman_halton(table),
        "G": ratio.chi2,
        "p_likelihood_ratio_G": ratio.p,
        "p_mann_whitney_on_ordinal_codes_correct": groups.mann_whitney(*codes).p,
        "p_mann_whitney_on_ordinal_codes_nocorrect": groups.mann_whitney(*codes, correction=False).p,
    }
    if len(table) == 2:
        yates = groups.chi_square(table, correction=True)
        ours |= {"chi2_yates": yates.chi2, "p_chi2_yates": yates.p}
    words = ("levels", "primary", "validation", "published", "matches_to_3_decimals", "closest")
    assert ours.keys() == {key for key in row if "simulated" not in key and key not in words}
    for key, value in ours.items():
        assert value == pytest.approx(row[key], rel=1e-7, abs=1e-12), key
    # R's simulated P values lie around the exact ones
    for key, p in (
        ("p_fisher_simulated_B1e6_seed1", "p_fisher"),
        ("p_chi2_simulated_B1e5_seed1", "p_chi2_exact_conditional"),
    ):
        draws = 1e6 if "1e6" in key else 1e5
        error = np.sqrt(ours[p] * (1 - ours[p]) / draws)
        assert abs(row[key] - ours[p]) < 5 * error + 2 / draws


def brute_force(table, keep):
    """Probability of all tables with the same margins that `keep`, by listing every one."""
    table = np.asarray(table)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    total = 0.0
    for inner in product(range(columns.max() + 1), repeat=(len(rows) - 1) * (len(columns) - 1)):
        inner = np.reshape(inner, (len(rows) - 1, len(columns) - 1))
        other = np.column_stack([inner, rows[:-1] - inner.sum(axis=1)])
        other = np.vstack([other, columns - other.sum(axis=0)])
        if (other >= 0).all() and keep(other):
            total += probability(other)
    return total


def probability(table):
    up = np.prod([float(factorial(k)) for k in (*table.sum(axis=1), *table.sum(axis=0))])
    return up / factorial(int(table.sum())) / np.prod([float(factorial(k)) for k in table.ravel()])


def test_fisher_by_hand():
    # margins 4, 4 / 4, 4: the tables have a = 0..4 with probability 1, 16, 36, 16, 1 over 70;
    # a = 3 has 16, so all but a = 2 count: (1 + 16 + 16 + 1) / 70.
    assert groups.fisher_freeman_halton([[3, 1], [1, 3]]) == pytest.approx(34 / 70)


def test_exact_chi_square_by_hand():
    # rows 2, 2, 2 against columns 3, 3: the first column is 1 1 1 (8 of 20 draws, chi-square 0)
    # or 2 1 0 in one of six orders (2 of 20 draws each, chi-square 4).
    assert groups.exact_chi_square([[2, 0], [1, 1], [0, 2]]) == pytest.approx(12 / 20)
    assert groups.exact_chi_square([[1, 1], [1, 1], [1, 1]]) == pytest.approx(1)


@pytest.mark.parametrize("table", [[[3, 1, 0], [1, 2, 4]], [[4, 0, 1], [1, 3, 2]], [[2, 1], [0, 3], [1, 1], [2, 2]]])
def test_exact_tests_against_every_table(table):
    table = np.array(table)
    least = probability(table) * (1 + 1e-7)
    chi2 = groups.chi_square(table).chi2 - 1e-9
    assert groups.fisher_freeman_halton(table) == pytest.approx(brute_force(table, lambda t: probability(t) <= least))
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    exact = brute_force(table, lambda t: ((t - expected) ** 2 / expected).sum() >= chi2)
    assert groups.exact_chi_square(table) == pytest.approx(exact)


tables = arrays(np.int64, st.tuples(st.integers(2, 5), st.just(2)), elements=st.integers(0, 6)).filter(
    lambda t: t.sum(axis=0).all() and t.sum(axis=1).all()
)


@settings(deadline=None, max_examples=40)
@given(table=tables, seed=st.integers(0, 1000))
def test_order_of_rows_and_columns_never_matters(table, seed):
    generator = np.random.default_rng(seed)
    other = generator.permutation(generator.permutation(table, axis=0), axis=1)
    for test in (groups.fisher_freeman_halton, groups.exact_chi_square):
        assert test(other) == pytest.approx(test(table), rel=1e-9)
        assert test(table.T) == pytest.approx(test(table), rel=1e-9)
        assert 0 < test(table) <= 1
    assert groups.chi_square(other).chi2 == pytest.approx(groups.chi_square(table).chi2)


@settings(deadline=None, max_examples=40)
@given(table=arrays(np.int64, (2, 2), elements=st.integers(1, 30)))
def test_fisher_2x2_equals_scipy(table):
    assert groups.fisher_freeman_halton(table) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-6)


def test_exact_tests_reach_beyond_what_listing_every_table_can():
    table = np.random.default_rng(1).multinomial(235, np.ones(10) / 10).reshape(5, 2)
    assert groups.exact_chi_square(table) == pytest.approx(groups.chi_square(table).p, abs=0.02)
    large = np.random.default_rng(1).multinomial(2000, np.ones(6) / 6).reshape(3, 2)
    assert groups.fisher_freeman_halton(large) == pytest.approx(groups.chi_square(large).p, abs=0.01)


def test_mann_whitney_by_hand():
    # 1 2 2 | 2 3: pairs (first larger) 0, ties 2 x 1/2, so W = 1; midranks 1 3 3 3 5, one block of 3;
    # variance 3 * 2 / 12 * (6 - 24 / 20) = 2.4; z = (1 - 3 + 0.5) / sqrt(2.4)
    found = groups.mann_whitney([1, 2, 2], [2, 3])
    assert found.w == 1
    assert found.z == pytest.approx(-1.5 / np.sqrt(2.4))
    assert groups.mann_whitney([1, 2, 2], [2, 3], correction=False).z == pytest.approx(-2 / np.sqrt(2.4))


def test_mann_whitney_limits():
    assert groups.mann_whitney([3, 3], [3, 3, 3]) == (3.0, 0.0, 1.0)
    assert groups.mann_whitney([1], [1]) == (0.5, 0.0, 1.0)
    assert groups.mann_whitney([1, 4], [2, 3]).p == 1


values = st.lists(st.integers(0, 8), min_size=1, max_size=12)


@given(first=values, second=values, correction=st.booleans())
def test_mann_whitney_properties(first, second, correction):
    there = groups.mann_whitney(first, second, correction=correction)
    back = groups.mann_whitney(second, first, correction=correction)
    assert there.w + back.w == len(first) * len(second)
    assert there.z == pytest.approx(-back.z)
    assert groups.mann_whitney(first[::-1], second, correction=correction) == pytest.approx(there)
    if len(set(first + second)) > 1:
        scipys = stats.mannwhitneyu(first, second, use_continuity=correction, method="asymptotic")
        assert there.w == scipys.statistic
        assert there.p == pytest.approx(scipys.pvalue)


def test_spearman_by_hand():
    # ranks 1 2 3 4 and 2 1 4 3: squared differences 1 1 1 1, rho = 1 - 6 * 4 / 60
    found = groups.spearman([1, 2, 3, 4], [20, 10, 40, 30])
    assert found.rho == pytest.approx(0.6)
    assert found.s == pytest.approx(4)
    assert groups.spearman([1, 2, 3], [1, 4, 9]).p == pytest.approx(2 / 6)  # two of the six orders
    assert groups.spearman([1, 2, 3], [9, 4, 1]).rho == pytest.approx(-1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: groups.mann_whitney([1, np.nan], [2]), "first must hold finite numbers; found nan at row 1"),
        (lambda: groups.mann_whitney([1], []), "second must have at least one row"),
        (lambda: groups.chi_square([[1, 2]]), r"two rows and two columns; found shape \(1, 2\)"),
        (lambda: groups.chi_square([[1, 2], [3, -4]]), "must hold counts; found -4 at row 1, column 1"),
        (lambda: groups.chi_square([[1, 2], [3, 0.5]]), "must hold counts; found 0.5 at row 1, column 1"),
        (lambda: groups.chi_square([[1, 2], ["a", 3]]), "table must hold counts"),
        (lambda: groups.exact_chi_square([[1, 2], [0, 0]]), "a patient in every row; found none in row 1"),
        (lambda: groups.likelihood_ratio([[1, 0], [2, 0]]), "a patient in every column; found none in column 1"),
        (
            lambda: groups.exact_chi_square(np.full((3, 4), 9)),
            r"two rows or two columns for an exact test; found shape \(3, 4\): join levels",
        ),
        (
            lambda: groups.fisher_freeman_halton(np.full((5, 2), 100)),
            "small enough for an exact test; found more than 2000000 ways to fill rows of 200, 200, 200 patients",
        ),
        (lambda: groups.spearman([1, 2], [1, 2]), "x must have at least three rows; found 2"),
        (lambda: groups.spearman([1, 2, 3], [1, 2]), "y must have one value per row"),
        (lambda: groups.spearman([1, 2, 3], [4, 4, 4]), "y must vary; found 4 in every row"),
    ],
)
def test_error_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_holm_by_hand():
    # ordered 0.01 0.02 0.03 times 3 2 1: 0.03 0.04 0.03, and never below the one before
    assert groups.holm([0.03, 0.01, np.nan, 0.02]).tolist() == pytest.approx([0.04, 0.03, np.nan, 0.04], nan_ok=True)
    assert groups.holm([0.9, 0.8]).tolist() == [1, 1]


def test_standardised_difference_by_hand():
    # two levels: (p - q) / sqrt((p (1 - p) + q (1 - q)) / 2)
    expected = 0.2 / np.sqrt((0.4 * 0.6 + 0.2 * 0.8) / 2)
    assert groups.standardised_difference([[40, 20], [60, 80]]) == pytest.approx(expected)
    assert groups.standardised_difference([[4, 40], [6, 60], [0, 0]]) == pytest.approx(0)
    three = [[10, 20], [30, 20], [60, 60]]
    assert groups.standardised_difference(three) == pytest.approx(groups.standardised_difference(three[::-1]))
    assert np.isnan(groups.standardised_difference([[3, 4]])) and np.isnan(
        groups.standardised_difference([[3, 0], [2, 0]])
    )
    assert groups.standardised_difference([[3, 0], [0, 4]]) == np.inf
