"""Tests between groups of patients: those of a Table 1, each under its own name.

Which test a table uses is decided in the notebook; nothing here picks one by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import gammaln

from dlrs.stats import checks

MOST_WAYS = 2_000_000  # to fill half of a table's rows: some seconds and 200 MB


class MannWhitney(NamedTuple):
    """Mann-Whitney test: `w` is U of the first group, as R's wilcox.test prints it."""

    w: float
    z: float
    p: float


class ChiSquare(NamedTuple):
    """A chi-square statistic of a table; `min_expected` is its smallest expected count."""

    chi2: float
    df: int
    p: float
    min_expected: float


class Spearman(NamedTuple):
    """Spearman's rank correlation; `s` is the sum of squared rank differences that R prints."""

    rho: float
    s: float
    df: int
    p: float


def mann_whitney(first: ArrayLike, second: ArrayLike, *, correction: bool = True) -> MannWhitney:
    """Return the Mann-Whitney (Wilcoxon rank sum) test by the normal approximation.

    Asks whether a patient of one group tends to have larger values than one of the other.

    Parameters
    ----------
    first, second : array
        The two groups' values.
    correction : bool
        Whether the difference from the mean of U is moved 0.5 towards it (continuity correction).

    Returns
    -------
    MannWhitney
        `w`: pairs in which the first group is larger, ties as half; `z` positive when it tends to be larger.

    Notes
    -----
    With N patients of which n and m in the groups, and tied blocks of sizes t,
    ``var(U) = n m / 12 (N + 1 - sum(t^3 - t) / (N (N - 1)))``. When all values are equal U is
    exactly its mean and p is 1 (R gives NaN).
    Equals ``wilcox.test(first, second, exact = FALSE, correct = correction)`` and
    ``scipy.stats.mannwhitneyu(method="asymptotic")``; computed here for the sign of z.

    References
    ----------
    Mann HB, Whitney DR. Ann Math Stat 1947;18:50-60.

    Examples
    --------
    >>> mann_whitney([1, 2, 3], [4, 5, 6]).w
    0.0
    """
    first, second = checks.prediction(first, None, "first"), checks.prediction(second, None, "second")
    n, m = first.size, second.size
    ranks = stats.rankdata(np.concatenate([first, second]))
    w = ranks[:n].sum() - n * (n + 1) / 2
    _, tied = np.unique(ranks, return_counts=True)
    total, tied = n + m, tied.astype(float)
    variance = n * m / 12 * (total + 1 - (tied**3 - tied).sum() / (total * (total - 1)))
    away = w - n * m / 2
    away -= np.sign(away) * min(0.5, abs(away)) * correction
    z = away / np.sqrt(variance) if tied.size > 1 else 0.0
    return MannWhitney(float(w), float(z), float(2 * stats.norm.sf(abs(z))))


def _table(table: ArrayLike) -> np.ndarray:
    """Return a table of counts without an empty row or column, or say what is wrong with it."""
    array = _counts(table)
    if min(array.shape) < 2:
        raise ValueError(f"table must have at least two rows and two columns; found shape {array.shape}")
    for axis, line in ((1, "row"), (0, "column")):
        sums = array.sum(axis=axis)
        if (sums == 0).any():
            raise ValueError(f"table must have a patient in every {line}; found none in {line} {int(sums.argmin())}")
    return array


def _counts(table: ArrayLike) -> np.ndarray:
    try:
        array = np.ma.filled(np.ma.asanyarray(table, dtype=float), np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"table must hold counts; found {table!r}") from error
    if array.ndim != 2:
        raise ValueError(f"table must have at least two rows and two columns; found shape {array.shape}")
    bad = ~(np.isfinite(array) & (array >= 0) & (array == np.floor(array)))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"table must hold counts; found {array[row, column]:g} at row {row}, column {column} (both from 0)"
        )
    return array.astype(np.int64)


def chi_square(table: ArrayLike, *, correction: bool = False) -> ChiSquare:
    """Return Pearson's chi-square test of a table, or Yates's for a 2x2 one.

    Parameters
    ----------
    table : array of shape (r, c)
        Counts, for instance levels in rows and groups in columns (``pandas.crosstab``).
    correction : bool
        Whether each |observed - expected| of a 2x2 table is made 0.5 smaller (Yates); it changes
        nothing in a larger one.

    Returns
    -------
    ChiSquare

    Raises
    ------
    ValueError
        When the table holds something else than counts, or an empty row or column.

    Notes
    -----
    ``scipy.stats.chi2_contingency``; equals R's ``chisq.test(table, correct = correction)``.

    References
    ----------
    Pearson K. Philos Mag 1900;50:157-175. Yates F. J R Stat Soc Suppl 1934;1:217-235.

    Examples
    --------
    >>> round(chi_square([[130, 29], [40, 36]]).chi2, 4)
    21.8062
    """
    return _chi_square(table, correction=correction)


def likelihood_ratio(table: ArrayLike) -> ChiSquare:
    """Return the likelihood-ratio test (G) of a table.

    Parameters
    ----------
    table : array of shape (r, c)
        Counts.

    Returns
    -------
    ChiSquare
        `chi2` is ``G = 2 sum O log(O / E)``, an empty cell counting 0.

    Notes
    -----
    ``scipy.stats.chi2_contingency(lambda_="log-likelihood", correction=False)``; SPSS prints it as
    "Likelihood Ratio".

    References
    ----------
    Agresti A. Categorical Data Analysis. Wiley, 3rd ed 2013, section 3.2.

    Examples
    --------
    >>> round(likelihood_ratio([[130, 29], [40, 36]]).chi2, 4)
    20.9662
    """
    return _chi_square(table, correction=False, lambda_="log-likelihood")


def _chi_square(table: ArrayLike, **options) -> ChiSquare:
    found = stats.chi2_contingency(_table(table), **options)
    return ChiSquare(float(found.statistic), int(found.dof), float(found.pvalue), float(found.expected_freq.min()))


def fisher_freeman_halton(table: ArrayLike) -> float:
    """Return the P value of Fisher's exact test of a table with two rows or two columns.

    Parameters
    ----------
    table : array of shape (r, 2) or (2, c)
        Counts.

    Returns
    -------
    float
        Probability, given the margins, of all tables no more probable than the observed one
        (relative tolerance 1e-7, as R's ``fisher.test``).

    Raises
    ------
    ValueError
        When the table holds something else than counts, an empty row or column, more than two rows and columns, or
        is too big to be enumerated.

    Notes
    -----
    Every table with these margins is counted; see `_exact`.

    References
    ----------
    Fisher RA. J R Stat Soc 1935;98:39-82. Freeman GH, Halton JH. Biometrika 1951;38:141-149.

    Examples
    --------
    >>> round(fisher_freeman_halton([[3, 1], [1, 3]]), 4)
    0.4857
    >>> round(fisher_freeman_halton([[24, 7], [14, 3], [26, 11], [94, 39], [12, 5]]), 4)
    0.8418
    """

    def log_probability(cells, columns, total):
        # up to a constant that all tables with these margins share
        return -gammaln(cells + 1).sum(axis=1)

    return _exact(_table(table), log_probability, slack=1e-7)


def exact_chi_square(table: ArrayLike) -> float:
    """Return the exact conditional P value of Pearson's chi-square of a table with two rows or two columns.

    Parameters
    ----------
    table : array of shape (r, 2) or (2, c)
        Counts.

    Returns
    -------
    float
        Probability, given the margins, of all tables whose chi-square is at least the observed one.

    Raises
    ------
    ValueError
        As `fisher_freeman_halton`.

    Notes
    -----
    What SPSS prints as "Pearson Chi-Square, Exact Sig. (2-sided)" and what R's
    ``chisq.test(simulate.p.value = TRUE)`` estimates. It orders tables by chi-square, Fisher's
    test by probability, so the two differ unless the table is balanced.

    References
    ----------
    Agresti A. Stat Sci 1992;7:131-153.

    Examples
    --------
    >>> round(exact_chi_square([[113, 34], [35, 25], [22, 6]]), 4)
    0.0211
    """

    def minus_chi_square(cells, columns, total):
        expected = cells.sum(axis=1, keepdims=True) * columns / total
        return -((cells - expected) ** 2 / expected).sum(axis=1)

    array = _table(table)
    return _exact(array, minus_chi_square, slack=1e-11 * (1 + chi_square(array).chi2))


def _exact(table: np.ndarray, row_score, *, slack: float) -> float:
    """Return the probability of all tables whose summed row scores do not exceed those of `table` by more than `slack`.

    The rows are dealt into two halves. For each half every way to fill it is listed; a table is a way to fill either
    half, their first column sums adding up. Of the ways of one half, sorted by score, those that fit a way of the other
    are a first stretch, whose probability is known at once.
    """
    table = table if table.shape[1] == 2 else table.T
    if table.shape[1] != 2:
        raise ValueError(
            f"table must have two rows or two columns for an exact test; found shape {table.shape[::-1]}: "
            "join levels, or estimate P with scipy.stats.chi2_contingency(method=MonteCarloMethod())"
        )
    columns, total = table.sum(axis=0), int(table.sum())
    limit = float(row_score(table, columns, total).sum()) + slack
    halves = [], []
    for row in sorted(table.sum(axis=1).tolist(), reverse=True):  # to the half with fewer ways so far
        min(halves, key=lambda rows: np.prod(np.add(rows, 1.0))).append(row)
    first, second = (_ways(rows, columns, total, row_score) for rows in halves)
    counted = 0.0
    for in_first, (score, chance) in first.items():
        if (in_second := columns[0] - in_first) in second:
            other, other_chance = second[in_second]
            below = np.concatenate([[0.0], np.cumsum(other_chance)])
            counted += float(chance @ below[np.searchsorted(other, limit - score, side="right")])
    return min(1.0, counted / float(stats.binom.pmf(columns[0], total, columns[0] / total)))


def _ways(rows: list[int], columns: np.ndarray, total: int, row_score) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """List every way to fill rows of two cells, by the sum of their first cells: scores, ascending, and probabilities.

    The probability is that of binomial cells, each patient falling into the first column by its share.
    """
    if np.prod(np.add(rows, 1.0)) > MOST_WAYS:
        raise ValueError(
            f"table must be small enough for an exact test; found more than {MOST_WAYS} ways to fill rows of "
            f"{', '.join(map(str, rows))} patients: join rare levels, or estimate P with "
            "scipy.stats.chi2_contingency(method=MonteCarloMethod())"
        )
    place, score, chance = np.zeros(1, dtype=int), np.zeros(1), np.ones(1)
    for row in rows:
        cell = np.arange(row + 1)
        more = row_score(np.column_stack([cell, row - cell]).astype(float), columns, total)
        place = np.add.outer(place, cell).ravel()
        score = np.add.outer(score, more).ravel()
        chance = np.multiply.outer(chance, stats.binom.pmf(cell, row, columns[0] / total)).ravel()
    order = np.lexsort([score, place])
    sums, starts = np.unique(place[order], return_index=True)
    parts = zip(np.split(score[order], starts[1:]), np.split(chance[order], starts[1:]), strict=True)
    return dict(zip(sums.tolist(), parts, strict=True))


@checks.aligned
def spearman(x: ArrayLike, y: ArrayLike) -> Spearman:
    """Return Spearman's rank correlation with the P value of the t approximation.

    Parameters
    ----------
    x, y : array of shape (n,)
        Two measurements of the same patients, at least three, neither constant.

    Returns
    -------
    Spearman
        `rho` in [-1, 1] from midranks; `p` two-sided, exact where rho is 1 or -1.

    Raises
    ------
    ValueError
        When one does not vary, or fewer than three patients are given.

    Notes
    -----
    ``scipy.stats.spearmanr``: ``t = rho sqrt((n - 2) / (1 - rho^2))`` on n - 2 degrees of freedom.
    Equals R's ``cor.test(x, y, method = "spearman", exact = FALSE)``, with ``S = (n^3 - n)(1 - rho) / 6``.

    References
    ----------
    Spearman C. Am J Psychol 1904;15:72-101.

    Examples
    --------
    >>> round(spearman([1, 2, 3, 4], [1, 3, 2, 4]).rho, 3)
    0.8
    """
    x = checks.prediction(x, None, "x")
    y = checks.prediction(y, x.size, "y", like="x")
    if x.size < 3:
        raise ValueError(f"x must have at least three rows; found {x.size}")
    for name, values in (("x", x), ("y", y)):
        if np.ptp(values) == 0:
            raise ValueError(f"{name} must vary; found {values[0]:g} in every row")
    found = stats.spearmanr(x, y)
    rho, n, p = float(found.statistic), x.size, float(found.pvalue)
    if abs(rho) > 1 - 1e-12:  # t is infinite: the exact share of orders that agree, or disagree, as completely
        tied = np.unique(x, return_counts=True)[1]
        p = min(1.0, float(2 * np.exp(gammaln(tied + 1).sum() - gammaln(n + 1))))
    return Spearman(rho, (n**3 - n) * (1 - rho) / 6, n - 2, p)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Adjust P values of a family of tests by Holm's step-down method; NaN (a test that was not made) stays NaN.

    Each adjusted P below 0.05 keeps the chance of a single false rejection in the family at 5 %, whatever the tests'
    dependence. Equals R's ``p.adjust(method = "holm")``.

    References
    ----------
    Holm S. Scand J Stat 1979;6:65-70.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    cells = np.ma.filled(np.ma.asanyarray(p_values, dtype=object), np.nan)
    untested = pd.isna(cells)
    p = checks.risk(np.where(untested, 0, cells), None, "p_values") if cells.size else np.empty(0)
    tested = np.flatnonzero(~untested)
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(order.size, 0, -1)), 1)
    return adjusted


def standardised_difference(table: ArrayLike) -> float:
    """Return the standardised mean difference of a characteristic with levels between two groups.

    Parameters
    ----------
    table : array of shape (r, 2)
        Counts, levels in rows and the groups in columns.

    Returns
    -------
    float
        Mahalanobis distance of the two groups' level shares, 0 when they are the same; unlike P it does not depend on
        the number of patients. Above 0.1 (Austin 2009) groups are often called unbalanced. NaN without a second group
        or level; infinite where two groups share no level.

    Notes
    -----
    sqrt(d' S^-1 d), d the differences of all shares but the last level's, S the mean of the two multinomial
    covariances: R's ``tableone`` and ``stddiff``.

    References
    ----------
    Yang D, Dalton JE. SAS Global Forum 2012, paper 335; Austin PC. Commun Stat Simul Comput 2009;38:1228-1234.

    Examples
    --------
    >>> round(standardised_difference([[40, 20], [60, 80]]), 3)
    0.447
    """
    counts = _counts(table)
    counts = counts[counts.sum(axis=1) > 0]
    if counts.shape[1] != 2 or counts.shape[0] < 2 or (counts.sum(axis=0) == 0).any():
        return float("nan")
    shares = (counts / counts.sum(axis=0))[:-1].T
    spread = sum(np.diag(s) - np.outer(s, s) for s in shares) / 2
    difference = shares[0] - shares[1]
    if np.linalg.matrix_rank(spread) < difference.size:
        return float("inf")
    return float(np.sqrt(difference @ np.linalg.solve(spread, difference)))
