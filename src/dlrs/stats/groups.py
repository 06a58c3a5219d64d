"""Tests between groups of patients: those of a Table 1, each under its own name.

Which test a table uses is decided in the notebook; nothing here picks one by itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import gammaln

from dlrs.stats import checks

MOST_WAYS = 8_000_000  # what an exact test may hold at once (about 1 GB) before it says that a table is too big


class MannWhitney(NamedTuple):
    """Mann-Whitney test: `w` is U of the first group, as R's wilcox.test prints it."""

    w: float
    z: float
    p: float


class TTest(NamedTuple):
    """Student's or Welch's t test; `t` is positive when the first group's mean is larger."""

    t: float
    df: float
    p: float


class ChiSquare(NamedTuple):
    """A chi-square statistic of a table; `min_expected` is its smallest expected count."""

    chi2: float
    df: int
    p: float
    min_expected: float


class FisherExact(NamedTuple):
    """Fisher's exact test of a 2x2 table with the conditional odds ratio and its interval."""

    p: float
    odds_ratio: float
    lower: float
    upper: float


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


def t_test(first: ArrayLike, second: ArrayLike, *, equal_variances: bool = False) -> TTest:
    """Return Welch's t test, or Student's with pooled variance.

    Parameters
    ----------
    first, second : array
        The two groups' values, at least two in each.
    equal_variances : bool
        False is Welch's test, which stays valid when the groups' spreads differ; True pools.

    Returns
    -------
    TTest

    Raises
    ------
    ValueError
        With fewer than two values in a group, or when no value varies within either group.

    Notes
    -----
    Welch: variance ``s1^2/n + s2^2/m``, degrees of freedom by Satterthwaite.
    Equals ``t.test(first, second, var.equal = equal_variances)`` and ``scipy.stats.ttest_ind``, which
    warns when one of the groups is constant.

    References
    ----------
    Welch BL. Biometrika 1947;34:28-35.

    Examples
    --------
    >>> round(t_test([1, 2, 3], [2, 3, 5]).df, 3)
    3.448
    """
    first, second = checks.prediction(first, None, "first"), checks.prediction(second, None, "second")
    for name, values in (("first", first), ("second", second)):
        if values.size < 2:
            raise ValueError(f"{name} must have at least two values; found {values.size}")
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        raise ValueError(
            f"first and second must vary within at least one group; found only {first[0]:g} and {second[0]:g}"
        )
    n, m = first.size, second.size
    a, b = first.var(ddof=1) / n, second.var(ddof=1) / m
    if equal_variances:
        df = n + m - 2
        variance = (a * n * (n - 1) + b * m * (m - 1)) / df * (1 / n + 1 / m)
    else:
        df = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1))
        variance = a + b
    t = (first.mean() - second.mean()) / np.sqrt(variance)
    return TTest(float(t), float(df), float(2 * stats.t.sf(abs(t), df)))


def _table(table: ArrayLike) -> np.ndarray:
    """Return a table of counts without an empty row or column, or say what is wrong with it."""
    try:
        array = np.asarray(table, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"table must hold counts; found {table!r}") from error
    if array.ndim != 2 or min(array.shape) < 2:
        raise ValueError(f"table must have at least two rows and two columns; found shape {array.shape}")
    bad = ~(np.isfinite(array) & (array >= 0) & (array == np.floor(array)))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"table must hold counts; found {array[row, column]:g} at row {row}, column {column} (both from 0)"
        )
    for axis, what in ((1, "row"), (0, "column")):
        sums = array.sum(axis=axis)
        if (sums == 0).any():
            raise ValueError(f"table must have a patient in every {what}; found none in {what} {int(sums.argmin())}")
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
    array = _table(table)
    found = stats.chi2_contingency(array, correction=correction)
    return ChiSquare(float(found.statistic), int(found.dof), float(found.pvalue), float(found.expected_freq.min()))


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
    array = _table(table)
    found = stats.chi2_contingency(array, correction=False, lambda_="log-likelihood")
    return ChiSquare(float(found.statistic), int(found.dof), float(found.pvalue), float(found.expected_freq.min()))


def fisher_exact(table: ArrayLike, *, level: float = 0.95, precision: str = "exact") -> FisherExact:
    """Return Fisher's exact test of a 2x2 table, with the conditional odds ratio and its interval.

    Parameters
    ----------
    table : array of shape (2, 2)
        Counts; the odds ratio is above 1 when the diagonal dominates.
    level : float
        Coverage of the interval.
    precision : {"exact", "R"}
        "R" stops the root finding where R's ``fisher.test`` does: odds ratio and limits (their
        inverses when above 1) are then off by up to 1e-4; P is the same.

    Returns
    -------
    FisherExact
        P: probability, given the margins, of all tables no more probable than the observed one.
        `odds_ratio`: conditional maximum-likelihood estimate (not ad/bc), 0 or infinite when a
        diagonal is empty; limits invert the two one-sided exact tests.

    Raises
    ------
    ValueError
        When the table is not 2x2, holds something else than counts, or an empty row or column.

    Notes
    -----
    P is `fisher_freeman_halton`'s; odds ratio and limits are
    ``scipy.stats.contingency.odds_ratio(kind="conditional")``.

    References
    ----------
    Fisher RA. J R Stat Soc 1935;98:39-82. Cornfield J. Proc 3rd Berkeley Symp 1956;4:135-148.

    Examples
    --------
    >>> round(fisher_exact([[3, 1], [1, 3]]).p, 4)
    0.4857
    """
    array = _table(table)
    if array.shape != (2, 2):
        raise ValueError(f"table must be 2x2; found shape {array.shape}: use fisher_freeman_halton")
    if not 0 < level < 1:
        raise ValueError(f"level must lie inside (0, 1); found {level!r}")
    p = fisher_freeman_halton(array)
    if precision == "R":
        return FisherExact(p, *_odds_ratio_as_r(array, level))
    if precision != "exact":
        raise ValueError(f'precision must be "exact" or "R"; found {precision!r}')
    found = stats.contingency.odds_ratio(array, kind="conditional")
    limits = found.confidence_interval(level)
    return FisherExact(p, float(found.statistic), float(limits.low), float(limits.high))


def _odds_ratio_as_r(table: np.ndarray, level: float) -> tuple[float, float, float]:
    """Return odds ratio and limits as R's fisher.test finds them: roots within 2^-13 of an odds ratio or its inverse.

    R searches in (0, 1) for the odds ratio, or for its inverse where that is below 1.
    """
    (a, b), (c, d) = table
    possible = np.arange(max(0, a - d), min(a + b, a + c) + 1)
    log_density = stats.hypergeom(table.sum(), a + c, a + b).logpmf(possible)

    def probabilities(odds):
        weight = log_density + np.log(odds) * possible if odds > 0 else np.where(possible == possible[0], 0.0, -np.inf)
        density = np.exp(weight - weight.max())
        return density / density.sum()

    def root(excess):
        """`excess` of the odds ratio is monotone and zero at the answer."""
        at_one, at_zero = excess(1.0), excess(0.0)
        if at_one == 0:
            return 1.0
        if (at_one > 0) != (at_zero > 0):
            return _brent(excess, 0.0, 1.0)
        return 1 / _brent(lambda inverse: excess(1 / inverse), np.finfo(float).eps, 1.0)

    tail = (1 - level) / 2
    at_low, at_high = a == possible[0], a == possible[-1]
    estimate = 0.0 if at_low else np.inf if at_high else root(lambda odds: possible @ probabilities(odds) - a)
    lower = 0.0 if at_low else root(lambda odds: probabilities(odds)[possible >= a].sum() - tail)
    upper = np.inf if at_high else root(lambda odds: probabilities(odds)[possible <= a].sum() - tail)
    return float(estimate), float(lower), float(upper)


def _brent(f, low: float, high: float, tolerance: float = np.finfo(float).eps ** 0.25) -> float:
    """Return a root of `f` in [low, high] by Brent's method, stopping where his tolerance says so.

    scipy's ``brentq`` orders the same steps differently, so it stops elsewhere at a coarse tolerance.
    Brent RP. Algorithms for Minimization without Derivatives. Prentice-Hall, 1973, chapter 4.
    """
    a, best, f_a, f_best = low, high, f(low), f(high)
    if f_a == 0:
        return a
    c, f_c = a, f_a
    while True:
        last_step = best - a
        if abs(f_c) < abs(f_best):
            a, best, c = best, c, best
            f_a, f_best, f_c = f_best, f_c, f_best
        close = 2 * np.finfo(float).eps * abs(best) + tolerance / 2
        step = (c - best) / 2
        if abs(step) <= close or f_best == 0:
            return best
        if abs(last_step) >= close and abs(f_a) > abs(f_best):
            ratio = f_best / f_a
            if a == c:  # secant
                p, q = 2 * step * ratio, 1 - ratio
            else:  # inverse quadratic interpolation
                q, r = f_a / f_c, f_best / f_c
                p = ratio * (2 * step * q * (q - r) - (best - a) * (r - 1))
                q = (q - 1) * (r - 1) * (ratio - 1)
            p, q = (p, -q) if p > 0 else (-p, q)
            if p < 1.5 * step * q - abs(close * q) / 2 and p < abs(last_step * q / 2):
                step = p / q
        if abs(step) < close:
            step = close if step > 0 else -close
        a, f_a = best, f_best
        best += step
        f_best = f(best)
        if (f_best > 0) == (f_c > 0):
            c, f_c = a, f_a


def fisher_freeman_halton(table: ArrayLike) -> float:
    """Return the P value of Fisher's exact test of any r x c table.

    Parameters
    ----------
    table : array of shape (r, c)
        Counts.

    Returns
    -------
    float
        Probability, given the margins, of all tables no more probable than the observed one
        (relative tolerance 1e-7, as R's ``fisher.test``).

    Raises
    ------
    ValueError
        When the table holds something else than counts, an empty row or column, or is too big to
        be enumerated.

    Notes
    -----
    Network algorithm: rows are filled one after the other, and what a partly filled table can
    still come to is known from its remaining column sums, so that most tables are counted or
    dropped in bulk.

    References
    ----------
    Freeman GH, Halton JH. Biometrika 1951;38:141-149. Mehta CR, Patel NR. JASA 1983;78:427-434.

    Examples
    --------
    >>> round(fisher_freeman_halton([[24, 7], [14, 3], [26, 11], [94, 39], [12, 5]]), 4)
    0.8418
    """

    def log_probability(cells, columns, total):
        # up to a constant that all tables with these margins share
        return -gammaln(cells + 1).sum(axis=1)

    return _exact(_table(table), log_probability, slack=1e-7)


def exact_chi_square(table: ArrayLike) -> float:
    """Return the exact conditional P value of Pearson's chi-square of any r x c table.

    Parameters
    ----------
    table : array of shape (r, c)
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

    A state is what is left of the column sums after some rows have been filled. Backwards, the
    smallest and the largest score that the remaining rows can add are found for every state;
    forwards, partial scores that are decided by them are counted or dropped, the rest goes on.
    """
    if table.shape[1] > table.shape[0]:
        table = table.T
    # the largest rows go last, where states are few: the last row is whatever is left
    table = table[np.argsort(table.sum(axis=1), kind="stable")]
    rows, columns, total = table.sum(axis=1), table.sum(axis=0), int(table.sum())
    limit = float(row_score(table, columns, total).sum()) + slack
    layers = _layers(rows, columns, row_score, total)

    counted = 0.0
    scores, chances = [np.zeros(1)], [np.ones(1)]  # per state of the current layer: partial scores and their weight
    for layer in layers:
        next_scores = [[] for _ in range(layer.n_next)]
        next_chances = [[] for _ in range(layer.n_next)]
        undecided = 0
        for state, (partial, chance) in enumerate(zip(scores, chances, strict=True)):
            if not partial.size:
                continue
            arcs = slice(layer.start[state], layer.start[state + 1])
            below = np.concatenate([[0.0], np.cumsum(chance)])
            # partial scores are sorted: a first stretch is surely within the limit, a last one surely beyond
            sure = np.searchsorted(partial, limit - layer.score[arcs] - layer.most[arcs], side="right")
            open_to = np.searchsorted(partial, limit - layer.score[arcs] - layer.least[arcs], side="right")
            counted += float(layer.chance[arcs] @ below[sure])
            undecided += int(np.maximum(open_to - sure, 0).sum())
            if undecided > MOST_WAYS:
                raise ValueError(_too_big("partly filled tables that are still undecided"))
            for arc in np.flatnonzero(open_to > sure):
                place, target = arcs.start + arc, layer.target[arcs.start + arc]
                next_scores[target].append(partial[sure[arc] : open_to[arc]] + layer.score[place])
                next_chances[target].append(chance[sure[arc] : open_to[arc]] * layer.chance[place])
        merged = [_merge(s, c) for s, c in zip(next_scores, next_chances, strict=True)]
        scores, chances = [s for s, _ in merged], [c for _, c in merged]
    return min(1.0, counted)


class _Layer(NamedTuple):
    start: np.ndarray  # where each state's arcs begin
    target: np.ndarray  # state of the next layer that an arc leads to
    score: np.ndarray  # what the arc's row adds
    chance: np.ndarray  # probability of the arc's row, given what is left
    least: np.ndarray  # smallest and largest score that can follow
    most: np.ndarray
    n_next: int


def _layers(rows: np.ndarray, columns: np.ndarray, row_score, total: int) -> list[_Layer]:
    """Return the network: every state of the remaining column sums, and every row that can come next."""
    states = columns[None, :]
    layers = []
    for row in rows:
        owner, cells = _splits(states, int(row))
        left = states[owner] - cells
        key = left @ np.cumprod(np.concatenate([[1], columns[:-1] + 1]))
        _, first, target = np.unique(key, return_index=True, return_inverse=True)
        # multivariate hypergeometric probability of the row, given the state
        chance = gammaln(states[owner] + 1) - gammaln(cells + 1) - gammaln(left + 1)
        amount = states[0].sum()
        whole = gammaln(amount + 1) - gammaln(row + 1) - gammaln(amount - row + 1)
        layers.append(
            _Layer(
                start=np.searchsorted(owner, np.arange(len(states) + 1)),
                target=target,
                score=row_score(cells.astype(float), columns, total),
                chance=np.exp(chance.sum(axis=1) - whole),
                least=np.empty(0),
                most=np.empty(0),
                n_next=first.size,
            )
        )
        states = left[first]
    least = most = np.zeros(1)
    for k in range(len(layers) - 1, -1, -1):
        layer = layers[k] = layers[k]._replace(least=least[layers[k].target], most=most[layers[k].target])
        least = np.minimum.reduceat(layer.score + layer.least, layer.start[:-1])
        most = np.maximum.reduceat(layer.score + layer.most, layer.start[:-1])
    return layers


def _splits(states: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Return every way to fill a row of `row` patients from what each state has left, and whose it is."""
    behind = states[:, ::-1].cumsum(axis=1)[:, ::-1] - states  # what the later columns can still take
    owner, missing = np.arange(len(states)), np.full(len(states), row)
    cells = np.empty((len(states), 0), dtype=np.int64)
    for column in range(states.shape[1]):
        low = np.maximum(0, missing - behind[owner, column])
        ways = np.minimum(missing, states[owner, column]) - low + 1
        if ways.sum() > MOST_WAYS:
            raise ValueError(_too_big(f"ways to fill a row of {row} patients"))
        parent = np.repeat(np.arange(owner.size), ways)
        value = low[parent] + np.arange(parent.size) - np.repeat(np.cumsum(ways) - ways, ways)
        owner, missing = owner[parent], missing[parent] - value
        cells = np.column_stack([cells[parent], value])
    return owner, cells


def _too_big(what: str) -> str:
    return (
        f"table must be small enough for an exact test; found more than {MOST_WAYS} {what}: "
        "join rare levels, or estimate P with scipy.stats.chi2_contingency(method=MonteCarloMethod())"
    )


def _merge(scores: list[np.ndarray], chances: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return one state's partial scores in order, equal ones (up to rounding) added up."""
    if not scores:
        return np.empty(0), np.empty(0)
    score, chance = np.concatenate(scores), np.concatenate(chances)
    order = np.argsort(score, kind="stable")
    score, chance = score[order], chance[order]
    new = np.concatenate([[True], np.diff(score) > 1e-12 * np.maximum(1.0, np.abs(score[1:]))])
    first = np.flatnonzero(new)
    return score[first], np.add.reduceat(chance, first)


def spearman(x: ArrayLike, y: ArrayLike) -> Spearman:
    """Return Spearman's rank correlation with the P value of the t approximation.

    Parameters
    ----------
    x, y : array of shape (n,)
        Two measurements of the same patients, at least three, neither constant.

    Returns
    -------
    Spearman
        `rho` in [-1, 1] from midranks; `p` two-sided.

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
    y = checks.prediction(y, x.size, "y")
    if x.size < 3:
        raise ValueError(f"x must have at least three rows; found {x.size}")
    for name, values in (("x", x), ("y", y)):
        if np.ptp(values) == 0:
            raise ValueError(f"{name} must vary; found {values[0]:g} in every row")
    found = stats.spearmanr(x, y)
    rho, n = float(found.statistic), x.size
    return Spearman(rho, (n**3 - n) * (1 - rho) / 6, n - 2, float(found.pvalue))
