"""Cox models: fit, tests of terms, proportional hazards, baseline hazard and risk at a horizon.

Every Cox model of the study is fitted by `cox_fit`. It gives what lifelines' ``CoxPHFitter`` does not: the per-term
likelihood-ratio test, R's stopping rule and limits, and refits by the thousand; lifelines' baseline hazard is Breslow's
whatever the ties. Tests compare both fitters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtr

from dlrs.stats import checks
from dlrs.stats.survival import Test, chi2_test, kaplan_meier, step

Ties = Literal["efron", "breslow"]
MOST_STEPS = 50  # of Newton's method; five are usual
AT_LIMIT = 20.0  # difference in linear predictor that stands for an infinite one: a hazard of 2e-9 of the reference's


class _RiskSets(NamedTuple):
    """Rows sorted by time; `first` is each row's first row of the same time, `events` the rows with the event."""

    order: np.ndarray
    first: np.ndarray
    last: np.ndarray
    event: np.ndarray
    events: np.ndarray
    fraction: np.ndarray
    block: np.ndarray


def _risk_sets(time: np.ndarray, event: np.ndarray, ties: Ties) -> _RiskSets:
    checks.choice(ties, "ties", ("efron", "breslow"))
    if not event.any():
        raise ValueError(f"event must be true in at least one row; found none in {event.size} rows")
    order = np.argsort(time, kind="stable")
    sorted_time, sorted_event = time[order], event[order]
    first = np.searchsorted(sorted_time, sorted_time, side="left")
    last = np.searchsorted(sorted_time, sorted_time, side="right")
    events = np.flatnonzero(sorted_event)
    _, block, tied = np.unique(first[events], return_inverse=True, return_counts=True)
    nth = np.arange(events.size) - np.searchsorted(block, block)
    fraction = nth / tied[block] if ties == "efron" else np.zeros(events.size)
    return _RiskSets(order, first, last, sorted_event, events, fraction, block)


def _event_sums(sets: _RiskSets, values: np.ndarray) -> np.ndarray:
    """Per event: the risk set's sum of `values` less Efron's share of the tied events' sum (A_m of the formulas)."""
    suffix = np.cumsum(values[::-1], axis=0)[::-1]
    tied = np.zeros((sets.block[-1] + 1, *values.shape[1:]))
    np.add.at(tied, sets.block, values[sets.events])
    fraction = sets.fraction.reshape(-1, *([1] * (values.ndim - 1)))
    return suffix[sets.first[sets.events]] - fraction * tied[sets.block]


def _exposure(sets: _RiskSets, per_event: np.ndarray) -> np.ndarray:
    """Per row: the sum of `per_event` over the events whose risk set holds the row, Efron's share taken off."""
    jumps = np.zeros(sets.order.size)
    jumps[sets.events] = per_event
    total = np.cumsum(jumps)[sets.last - 1]
    share = np.bincount(sets.block, weights=sets.fraction * per_event)
    total[sets.events] -= share[sets.block]
    return total


class _Moments(NamedTuple):
    log_likelihood: float
    score: np.ndarray
    a0: np.ndarray
    mean: np.ndarray
    risk: np.ndarray


def _moments(sets: _RiskSets, x: np.ndarray, lp: np.ndarray) -> _Moments:
    shift = lp.max()
    risk = np.exp(lp - shift)
    a0 = _event_sums(sets, risk)
    mean = _event_sums(sets, risk[:, None] * x) / a0[:, None]
    log_likelihood = lp[sets.events].sum() - (np.log(a0) + shift).sum()
    return _Moments(float(log_likelihood), (x[sets.events] - mean).sum(axis=0), a0, mean, risk)


def _information(sets: _RiskSets, x: np.ndarray, m: _Moments, weight: np.ndarray | None = None) -> np.ndarray:
    """Sum over events of weight times the covariance of x in the risk set, without a matrix per event."""
    weight = np.ones(m.a0.size) if weight is None else weight
    exposure = m.risk * _exposure(sets, weight / m.a0)
    return x.T @ (exposure[:, None] * x) - m.mean.T @ (weight[:, None] * m.mean)


def _terms(terms: Sequence[str] | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the variable that each column belongs to."""
    if terms is not None and (isinstance(terms, str) or len(terms) != len(names)):
        raise ValueError(f"terms must name a variable for each of {len(names)} columns; found {terms!r}")
    return names if terms is None else tuple(map(str, terms))


class CoxFit(NamedTuple):
    """A fitted Cox model; `terms` names the variable that each column belongs to."""

    names: tuple[str, ...]
    terms: tuple[str, ...]
    coefficients: np.ndarray
    covariance: np.ndarray
    log_likelihood: float
    log_likelihood_null: float
    likelihood_ratio: Test
    wald: Test
    score: Test
    aic: float
    n: int
    n_events: int
    iterations: int


@checks.aligned
def cox_fit(
    time: ArrayLike,
    event: ArrayLike,
    covariates: ArrayLike | pd.DataFrame,
    *,
    ties: Ties = "efron",
    terms: Sequence[str] | None = None,
    offset: ArrayLike | None = None,
    tolerance: float = 1e-12,
    at_limit: bool = False,
) -> CoxFit:
    """Fit Cox's proportional hazards model by Newton's method.

    A coefficient is the log hazard ratio of one unit more of the covariate, the others held.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    covariates : DataFrame or array of shape (n, p) or (n,)
        Numbers only: code factors as 0/1 columns first.
    ties : {"efron", "breslow"}
        Treatment of events at the same time. Efron's is R's and lifelines' default and the closer one to the exact
        likelihood; Breslow's is scikit-survival's default.
    terms : sequence of p names, optional
        The variable that each column belongs to, for `cox_term_tests`; by default each column is its own.
    offset : array of shape (n,), optional
        Part of the linear predictor with coefficient 1.
    tolerance : float
        Stop when the log-likelihood changes by less than this share: R's ``coxph`` stops at 1e-9 and rms's ``cph``
        at 1e-4, which leaves the last digits, or the fourth one, to the stopping rule. Use theirs to equal them.
    at_limit : bool
        What to do when a covariate separates the events (a level without an event), so that the likelihood rises
        for ever with its coefficient: refuse, or return the limit, with this coefficient infinite and its variance NaN.

    Returns
    -------
    CoxFit
        Coefficients, covariance (inverse information), log-likelihoods and the three global tests. See
        `cox_table` for hazard ratios with intervals. At a limit the log-likelihoods, the likelihood-ratio test and
        the other coefficients are those that R's ``coxph`` returns with its warning "coefficient may be infinite"; the
        Wald test is NaN.

    Raises
    ------
    ValueError
        On bad arguments, no event, columns that say the same thing, or, without `at_limit`, a likelihood without a
        maximum (a covariate that separates the events).

    Notes
    -----
    Equals ``survival::coxph(ties =)``. Efron's log-likelihood: sum over event times of sum_D x'b -
    sum_{k < D} log(sum_R r - k/D sum_D r), r = exp(x'b); Breslow's has k/D = 0.

    References
    ----------
    Cox, J R Stat Soc B 1972; Efron, J Am Stat Assoc 1977; Breslow, Biometrics 1974.

    Examples
    --------
    >>> fit = cox_fit([1, 2, 3, 4], [1, 1, 1, 0], [1, 0, 1, 0])
    >>> round(float(fit.coefficients[0]), 4)
    0.9406
    """
    time, event = checks.survival(time, event)
    x, names = checks.columns(covariates, time.size)
    terms, tolerance = _terms(terms, names), checks.inside(tolerance, "tolerance", 0, 1)
    offset = np.zeros(time.size) if offset is None else checks.prediction(offset, time.size, "offset")
    sets = _risk_sets(time, event, ties)
    # centring changes no coefficient and keeps exp() in range
    x, offset = (x - x.mean(axis=0))[sets.order], offset[sets.order]
    beta = np.zeros(x.shape[1])
    now = null = _moments(sets, x, offset)
    information = null_information = _information(sets, x, null)
    _full_rank(null_information, x, names)
    for iterations in range(1, MOST_STEPS + 1):  # noqa: B007
        move = np.linalg.solve(information, now.score)
        new = _moments(sets, x, offset + x @ (beta + move))
        while new.log_likelihood < now.log_likelihood - abs(now.log_likelihood) * 1e-10:
            move /= 2
            new = _moments(sets, x, offset + x @ (beta + move))
        beta = beta + move
        converged = abs(1 - now.log_likelihood / new.log_likelihood) <= tolerance if new.log_likelihood else True
        now, information = new, _information(sets, x, new)
        if converged or _flat(information, null_information).any():
            break
    runs_off = _runs_off(x, now.score, information, null_information)
    if not converged and not runs_off.any():
        raise ValueError(f"tolerance must be reached; the likelihood still rises after {MOST_STEPS} Newton steps")
    if runs_off.any() and not at_limit:
        name = names[int((runs_off * np.abs(beta * np.sqrt(np.diag(null_information)))).argmax())]
        raise ValueError(
            f"covariates must not separate the events; found no maximum of the likelihood, {name!r} runs off"
        )
    covariance = np.full(information.shape, np.nan)
    finite = np.ix_(~runs_off, ~runs_off)
    covariance[finite] = np.linalg.inv(information[finite])
    wald = np.nan if runs_off.any() else beta @ information @ beta
    beta = np.where(runs_off, np.copysign(np.inf, beta), beta)
    df, rise = beta.size, 2 * (now.log_likelihood - null.log_likelihood)
    return CoxFit(
        names=names,
        terms=terms,
        coefficients=beta,
        covariance=covariance,
        log_likelihood=now.log_likelihood,
        log_likelihood_null=null.log_likelihood,
        likelihood_ratio=chi2_test(rise, df),
        wald=chi2_test(wald, df),
        score=chi2_test(null.score @ np.linalg.solve(null_information, null.score), df),
        aic=2 * df - 2 * now.log_likelihood,
        n=time.size,
        n_events=int(event.sum()),
        iterations=iterations,
    )


def score_and_information(time: np.ndarray, event: np.ndarray, covariate: np.ndarray, at: float) -> tuple[float, float]:
    """Return the slope of one covariate's log partial likelihood at a coefficient, and the information there.

    Ties are Efron's. Their sums over strata are those of the stratified model.
    """
    sets = _risk_sets(time, event, "efron")
    x = (covariate - covariate.mean())[sets.order, None]
    moments = _moments(sets, x, at * x[:, 0])
    return float(moments.score[0]), float(_information(sets, x, moments)[0, 0])


def _flat(information: np.ndarray, null_information: np.ndarray) -> np.ndarray:
    """Per column: whether next to none of the information at coefficient 0 is left."""
    return np.diag(information) < 1e-9 * np.diag(null_information)


def _runs_off(x: np.ndarray, score: np.ndarray, information: np.ndarray, null_information: np.ndarray) -> np.ndarray:
    """Per column: whether the likelihood rises for ever with its coefficient.

    At a maximum the next Newton step is nothing. Where a level has no event, each step moves the linear predictor of
    its patients by about 1 for ever, however flat the likelihood is (R's ``coxph`` warns by the same step).
    """
    flat = _flat(information, null_information)
    step = np.zeros(flat.size)
    step[~flat] = np.linalg.solve(information[np.ix_(~flat, ~flat)], score[~flat])
    moves = np.ptp(x @ step) > 0.5
    return flat | (moves & (np.abs(step) * np.ptp(x, axis=0) > 0.5))


def _full_rank(information: np.ndarray, x: np.ndarray, names: tuple[str, ...]) -> None:
    scale = np.sqrt(np.diag(information).clip(min=0))
    flat = np.flatnonzero(scale <= 1e-9 * np.abs(x).max(axis=0, initial=0) + 1e-300)
    if flat.size:
        raise ValueError(f"covariates must vary among those at risk; found no variation in {names[flat[0]]!r}")
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    if values[0] < 1e-10:
        same = [n for n, v in zip(names, vectors[:, 0], strict=True) if abs(v) > 1e-6]
        raise ValueError(f"covariates must not repeat each other; found a linear dependence among {', '.join(same)}")


def cox_table(fit: CoxFit, *, level: float = 0.95) -> pd.DataFrame:
    """List a Cox model's coefficients and hazard ratios with Wald intervals.

    Returns
    -------
    DataFrame
        ``name``, ``term``, ``coef``, ``se``, ``hr``, ``hr_lower``, ``hr_upper``, ``z``, ``p`` (two-sided).
    """
    se = np.sqrt(np.diag(fit.covariance))
    z, c = fit.coefficients / se, checks.critical_value(level)
    with np.errstate(over="ignore"):  # a ratio beyond the largest number is infinite
        ratios = np.exp([fit.coefficients, fit.coefficients - c * se, fit.coefficients + c * se])
    return pd.DataFrame(
        {
            "name": fit.names,
            "term": fit.terms,
            "coef": fit.coefficients,
            "se": se,
            "hr": ratios[0],
            "hr_lower": ratios[1],
            "hr_upper": ratios[2],
            "z": z,
            "p": 2 * ndtr(-np.abs(z)),
        }
    )


@checks.aligned
def cox_term_tests(
    time: ArrayLike,
    event: ArrayLike,
    covariates: ArrayLike | pd.DataFrame,
    *,
    terms: Sequence[str] | None = None,
    **options,
) -> pd.DataFrame:
    """Test each variable of a Cox model by leaving it out: the per-term likelihood-ratio test.

    A factor's columns are left out together, so that a variable with three levels gets one P with 2 df.

    Parameters
    ----------
    time, event, covariates, terms
        As in `cox_fit`; columns with the same term are one variable.
    **options
        Passed on to `cox_fit`.

    Returns
    -------
    DataFrame
        ``term``, ``chi2`` = 2 (l_full - l_without), ``df``, ``p``. Equals R's ``drop1(fit, test = "Chisq")``. A level
        without an event has no hazard ratio but the test exists: the likelihoods are their limits. A column in which
        all rows are alike (a level that nobody has) is left out, and the degrees of freedom with it; a term that has
        no other column has none, and NaN.
    """
    time, event = checks.survival(time, event)
    x, names = checks.columns(covariates, time.size)
    all_terms = np.array(_terms(terms, names))
    somebody = np.ptp(x, axis=0) > 0
    x, of_term = x[:, somebody], all_terms[somebody]

    if not somebody.any():
        raise ValueError("covariates must vary between the rows; found the same values in all")
    fit = cox_fit(time, event, x, at_limit=True, **options)
    rows = []
    for term in dict.fromkeys(all_terms.tolist()):
        rest = of_term != term
        without = (
            cox_fit(time, event, x[:, rest], at_limit=True, **options).log_likelihood
            if rest.any()
            else fit.log_likelihood_null
        )
        df = (~rest).sum()
        test = chi2_test(2 * (fit.log_likelihood - without), df) if df else Test(np.nan, 0, np.nan)
        rows.append((term, *test))
    return pd.DataFrame(rows, columns=["term", "chi2", "df", "p"])


class AddedValue(NamedTuple):
    """What a variable adds to a linear predictor: likelihood-ratio test, and hazard ratio with Wald limits."""

    chi2: float
    df: int
    p: float
    hr: float
    lower: float
    upper: float


@checks.aligned
def added_value(
    time: ArrayLike,
    event: ArrayLike,
    linear_predictor: ArrayLike,
    addition: ArrayLike,
    *,
    level: float = 0.95,
) -> AddedValue:
    """Test whether a variable adds to a model that was fitted on other patients.

    A Cox model of these patients has the linear predictor as one covariate, so that the old model is allowed its
    slope here, and the addition as the other. The test is sound only where neither was fitted on these patients: in
    the patients that trained it, an addition looks strong whatever it is worth.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up of patients that neither the model nor the addition has seen.
    linear_predictor : array of shape (n,)
        Of the old model, as fitted elsewhere; higher means higher risk. Its centre does not matter.
    addition : array of shape (n,)
        The variable to test. The hazard ratio is per unit of it: divide it by the development cohort's standard
        deviation to get one per SD.
    level : float
        Coverage of the hazard ratio's interval.

    Returns
    -------
    AddedValue
        ``chi2``, ``df`` (1) and ``p`` of the likelihood-ratio test of the model with the addition against the one
        without; ``hr`` above 1 when higher values go with earlier events at the same linear predictor.

    Raises
    ------
    ValueError
        As `cox_fit`: no event, no variation, or a covariate that separates the events.

    Notes
    -----
    Efron's ties. Equals R's ``drop1(coxph(Surv(time, event) ~ linear_predictor + addition), test = "Chisq")``.

    References
    ----------
    Harrell, Regression Modeling Strategies, 2nd ed. 2015, for the likelihood-ratio test of added information; Royston
    and Altman, BMC Med Res Methodol 2013;13:33, for the linear predictor as a covariate of the validation cohort.

    Examples
    --------
    >>> added = added_value([1, 2, 3, 4, 5, 6], [1, 1, 0, 1, 1, 0], [0, 1, 0, 2, 0, 1], [1, 0, 1, 1, 0, 0])
    >>> round(added.chi2, 3), round(added.p, 3), round(added.hr, 3)
    (0.905, 0.341, 3.354)
    """
    n = np.size(time)
    old, addition = (
        checks.prediction(linear_predictor, n, "linear_predictor"),
        checks.prediction(addition, n, "addition"),
    )
    fit = cox_fit(time, event, np.column_stack([old, addition]))
    without = cox_fit(time, event, old)
    effect = cox_table(fit, level=level).iloc[1]
    test = chi2_test(2 * (fit.log_likelihood - without.log_likelihood), 1)
    return AddedValue(*test, *map(float, effect[["hr", "hr_lower", "hr_upper"]]))


@checks.aligned
def baseline_hazard(
    time: ArrayLike, event: ArrayLike, linear_predictor: ArrayLike, *, ties: Ties = "efron"
) -> pd.DataFrame:
    """Estimate the cumulative hazard of a patient whose linear predictor is 0.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up of the patients on whom the model was fitted.
    linear_predictor : array of shape (n,)
        Sum of coefficient times covariate for the same patients, centred or not, as those given to `risk_at`.
    ties : {"efron", "breslow"}
        Must be the ties of the fit. lifelines' own baseline is Breslow's whatever the fit.

    Returns
    -------
    DataFrame
        ``time`` (every distinct time), ``hazard`` (the jump), ``cumulative_hazard`` (right-continuous); 0 throughout
        where nobody had the event.

    Notes
    -----
    Jump at u: sum_{k < D} 1/(sum_R r - k/D sum_D r). Equals ``basehaz(coxph(ties =), centered = FALSE)``.

    Examples
    --------
    >>> baseline_hazard([1, 2], [1, 1], [0.0, 0.0])["cumulative_hazard"].tolist()
    [0.5, 1.5]
    """
    time, event = checks.survival(time, event)
    lp = checks.prediction(linear_predictor, time.size, "linear_predictor")
    if not event.any():
        return pd.DataFrame({"time": np.unique(time), "hazard": 0.0, "cumulative_hazard": 0.0})
    sets = _risk_sets(time, event, ties)
    shift = lp.max()
    jumps = np.zeros(time.size)
    jumps[sets.events] = np.exp(-shift) / _event_sums(sets, np.exp(lp[sets.order] - shift))
    starts = np.unique(sets.first)
    hazard = np.add.reduceat(jumps, starts)
    return pd.DataFrame({"time": time[sets.order][starts], "hazard": hazard, "cumulative_hazard": np.cumsum(hazard)})


def risk_at(linear_predictor: ArrayLike, baseline: pd.DataFrame, horizon: float) -> np.ndarray:
    """Turn a Cox model's linear predictor into the probability of the event by a horizon.

    Parameters
    ----------
    linear_predictor : array of shape (n,)
        On the same scale (centring) as the one `baseline` was made with; any patients.
    baseline : DataFrame
        From `baseline_hazard`, made on the patients of the fit.
    horizon : float
        Within the follow-up of those patients.

    Returns
    -------
    array of shape (n,)
        1 - exp(-H0(horizon) exp(linear_predictor)), in [0, 1].
    """
    lp = checks.prediction(linear_predictor, None, "linear_predictor")
    last = float(baseline["time"].iloc[-1])
    checks.number(horizon, "horizon")
    horizon = checks.times(horizon, "horizon", baseline["time"])[0]
    if not 0 <= horizon <= last:
        raise ValueError(f"horizon must lie within the baseline's follow-up (0 to {last:g}); found {horizon:g}")
    h0 = step(baseline["time"], baseline["cumulative_hazard"], horizon, start=0.0)
    with np.errstate(over="ignore"):  # so far outside the data that the risk is 1
        hazard = h0 * np.exp(lp) if h0 else np.zeros(lp.size)
    return -np.expm1(-hazard)


class HazardError(NamedTuple):
    """Parts of the variance of a patient's log cumulative hazard: variance + (x - center)' covariance (x - center)."""

    variance: float
    center: np.ndarray
    covariance: np.ndarray


@checks.aligned
def hazard_error(
    time: ArrayLike, event: ArrayLike, covariates: ArrayLike | pd.DataFrame, fit: CoxFit, *, horizon: float
) -> HazardError:
    """Return what the standard error of a Cox model's cumulative hazard at a horizon takes.

    Parameters
    ----------
    time, event, covariates
        Those of the fit, with Efron's ties.
    fit : CoxFit
        With a finite covariance.
    horizon : float
        Time of the hazard, not before the first event.

    Returns
    -------
    HazardError
        `variance`, that of the baseline over its square; `center`, the mean of each covariate in the risk sets of the
        events by the horizon, weighted by their jumps; `covariance` of the coefficients.

    Notes
    -----
    Equals the `std.err` of ``survfit(coxph(), newdata)`` over its cumulative hazard (Tsiatis, Ann Stat 1981): with
    jumps h and weighted means m at the events by the horizon, var H(x) = r(x)^2 (sum h^2 + q' V q), q = sum h (x - m).
    The limits of a risk on the log cumulative hazard's scale are ``1 - (1 - risk)**exp(-/+ 1.96 standard error)``.
    """
    time, event = checks.survival(time, event)
    x, _ = checks.columns(covariates, time.size)
    checks.inside(horizon, "horizon", 0, np.inf)
    sets, middle = _risk_sets(time, event, "efron"), x.mean(axis=0)
    x = (x - middle)[sets.order]
    moments = _moments(sets, x, x @ fit.coefficients)
    until = time[sets.order][sets.events] <= horizon
    if not until.any():
        raise ValueError(f"horizon must not lie before the first event; found {horizon:g}")
    share = 1 / moments.a0[until] / (1 / moments.a0[until]).sum()
    return HazardError(float((share**2).sum()), middle + share @ moments.mean[until], fit.covariance)


def with_risks(patients: pd.DataFrame, models: Mapping[str, Mapping], horizon: float) -> pd.DataFrame:
    """Return patients with every model's risk at a horizon, whatever horizon their risks were of before.

    Parameters
    ----------
    patients : DataFrame
        ``lp_<model>``, the linear predictor, for each of the models.
    models : mapping of names to mappings
        `baseline` of each: ``time`` and ``cumulative_hazard`` on the scale of its linear predictor.
    horizon : float
        Within the follow-up of the patients that the models were fitted on.

    Returns
    -------
    DataFrame
        A copy in which ``risk_<model>`` is the probability of the event by `horizon`.

    Examples
    --------
    >>> models = {"A": {"baseline": {"time": [12, 24], "cumulative_hazard": [0.1, 0.2]}}}
    >>> with_risks(pd.DataFrame({"lp_A": [0.0]}), models, 24)["risk_A"].round(4).tolist()
    [0.1813]
    """
    risks = {
        f"risk_{name}": risk_at(patients[f"lp_{name}"], pd.DataFrame(model["baseline"]), horizon)
        for name, model in models.items()
    }
    return patients.assign(**risks)


class Predicted(NamedTuple):
    """A model's predictions of patients, and all that applying it elsewhere takes; see `predict`."""

    linear_predictor: np.ndarray
    risk: np.ndarray
    saved: dict


def predict(fit: CoxFit | None, columns: pd.DataFrame, fitted_on: pd.DataFrame, *, horizon: float) -> Predicted:
    """Apply a fitted Cox model to patients.

    Parameters
    ----------
    fit : CoxFit or None
        None where the model cannot be estimated: every coefficient is then 0, and everybody has the risk of all. An
        infinite coefficient (a level without an event) is applied as one by which the linear predictor differs by 20.
    columns : DataFrame
        The model's columns of all patients, as `design` makes them.
    fitted_on : DataFrame
        The patients of the fit, with `time_months` and `event`, whose rows are among those of `columns` by index.
    horizon : float
        Months within which the risk is one of the event.

    Returns
    -------
    Predicted
        `linear_predictor`, centred at the mean of the patients of the fit and rounded to ten decimals so that ties
        stay ties on any machine; `risk`, the probability of the event by `horizon`; `saved`, plain coefficients, means
        and Efron's baseline hazard on that scale. The risk does not depend on the centre.
    """
    x = columns.loc[fitted_on.index]
    means, spread = x.mean(), (x.max() - x.min()).replace(0.0, 1.0)
    coefficients = pd.Series(0.0 if fit is None else fit.coefficients, index=x.columns)
    coefficients = coefficients.where(np.isfinite(coefficients), np.sign(coefficients) * AT_LIMIT / spread)
    lp = ((columns - means) @ coefficients).round(10)
    baseline = baseline_hazard(fitted_on["time_months"], fitted_on["event"], lp[fitted_on.index])
    saved = {"coefficients": coefficients.to_dict(), "means": means.to_dict(), "baseline": baseline.to_dict("list")}
    return Predicted(lp.to_numpy(), risk_at(lp, baseline, horizon), saved)


def design(
    formula: str, fitted_on: pd.DataFrame, patients: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns of a model's formula without the intercept, and the term that each belongs to.

    Parameters
    ----------
    formula : str
        Right-hand side in formulaic's grammar.
    fitted_on : DataFrame
        The patients of the fit; levels, and what a transform such as ``scale(age)`` learns, are theirs.
    patients : DataFrame, optional
        Whose columns are returned; by default those of the patients of the fit.

    Examples
    --------
    >>> patients = pd.DataFrame({"cea": pd.Categorical(["Normal", "Elevated"], ["Normal", "Elevated"])})
    >>> columns, variables = design("cea", patients)
    >>> columns.columns.tolist(), variables
    (['cea[T.Elevated]'], ['cea'])
    """
    from formulaic import model_matrix

    columns = model_matrix(formula, fitted_on)
    if patients is not None:
        columns = columns.model_spec.get_model_matrix(patients)
    of_column = {place: str(term) for term, places in columns.model_spec.term_indices.items() for place in places}
    terms = [of_column[place] for place, name in enumerate(columns) if name != "Intercept"]
    return pd.DataFrame(columns).drop(columns="Intercept"), terms


def columns_named(names: Iterable[str], patients: pd.DataFrame) -> np.ndarray:
    """Return the columns of a model whose coefficients have these names, as `design` names them, without its formula.

    Parameters
    ----------
    names : iterable of str
        A variable (`age`), or a variable and a level of it (`cea[T.Elevated]`).
    patients : DataFrame
        The variables, levels spelt as in the names.

    Returns
    -------
    array of shape (n, p)

    Examples
    --------
    >>> columns_named(["age", "cea[T.Elevated]"], pd.DataFrame({"age": [62.0], "cea": ["Elevated"]})).tolist()
    [[62.0, 1.0]]
    """
    columns = []
    for name in names:
        variable, _, level = name.partition("[T.")
        columns.append(patients[variable] == level.removesuffix("]") if level else patients[variable])
    return np.column_stack([np.asarray(values, dtype=float) for values in columns])


@checks.aligned
def ph_test(
    time: ArrayLike,
    event: ArrayLike,
    covariates: ArrayLike | pd.DataFrame,
    *,
    terms: Sequence[str] | None = None,
    ties: Ties = "efron",
    tolerance: float = 1e-12,
) -> pd.DataFrame:
    """Test whether hazard ratios stay the same over time (proportional hazards).

    A small P says that the effect of the variable changes with time, so that one hazard ratio is an average.

    Parameters
    ----------
    time, event, covariates, terms, ties, tolerance
        As in `cox_fit`.

    Returns
    -------
    DataFrame
        ``term`` (the variables, then ``GLOBAL``), ``chi2``, ``df``, ``p``; NaN in all of them where a covariate
        separates the events, so that a hazard ratio does not exist.

    Notes
    -----
    Score test of added covariates g(t) x at coefficient 0, with g = 1 - S(t-) centred over the events: the test of
    R's ``cox.zph(transform = "km")`` since survival 3.0. lifelines' ``proportional_hazard_test`` is the older
    approximate one.

    References
    ----------
    Grambsch and Therneau, Biometrika 1994.
    """
    fit = cox_fit(time, event, covariates, terms=terms, ties=ties, tolerance=tolerance, at_limit=True)
    members = {term: np.array([term in (t, "GLOBAL") for t in fit.terms]) for term in [*fit.terms, "GLOBAL"]}
    if not np.isfinite(fit.coefficients).all():
        rows = [(term, *chi2_test(np.nan, j.sum())) for term, j in members.items()]
        return pd.DataFrame(rows, columns=["term", "chi2", "df", "p"])
    time, event = checks.survival(time, event)
    x, _ = checks.columns(covariates, time.size)
    sets = _risk_sets(time, event, ties)
    x = (x - x.mean(axis=0))[sets.order]
    curve = kaplan_meier(time, event)
    event_times = time[sets.order][sets.events]
    g = 1 - step(curve["time"], curve["survival"], event_times, start=1.0, before=True)
    g = g - g.mean()
    m = _moments(sets, x, x @ fit.coefficients)
    score = g @ (x[sets.events] - m.mean)
    i11, i12, i22 = (_information(sets, x, m, w) for w in (None, g, g**2))
    rows = []
    for term, j in members.items():
        schur = i22[np.ix_(j, j)] - i12[j] @ np.linalg.solve(i11, i12[:, j])
        if not schur.any():
            raise ValueError("event must happen at different times to show a change over time; found one time only")
        rows.append((term, *chi2_test(score[j] @ np.linalg.solve(schur, score[j]), j.sum())))
    return pd.DataFrame(rows, columns=["term", "chi2", "df", "p"])


class TwoGroups(NamedTuple):
    """Patients above a cut-off against those below it; NaN where not estimable."""

    hr: float
    lower: float
    upper: float
    survival_high: float
    survival_low: float


@checks.aligned
def compare_groups(time: ArrayLike, event: ArrayLike, high: ArrayLike, *, horizon: float) -> TwoGroups:
    """Return the hazard ratio of patients at high risk against low, and the survival of both at a horizon.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    high : array of shape (n,)
        Who is in the group at high risk.
    horizon : float
        In the units of `time`.

    Returns
    -------
    TwoGroups
        Cox's hazard ratio with Wald limits, and each group's Kaplan-Meier survival; NaN where a group is empty, has no
        event (a hazard ratio of 0 or infinity) or was not followed to the horizon.

    Examples
    --------
    >>> found = compare_groups([1, 2, 3, 4, 5, 6], [1, 1, 0, 1, 0, 1], [1, 1, 0, 0, 1, 0], horizon=3)
    >>> round(found.hr, 2), round(found.survival_high, 2), found.survival_low
    (3.05, 0.33, 1.0)
    """
    time, event = checks.survival(time, event)
    high = checks.flag(high, "high", time.size)
    checks.inside(horizon, "horizon", 0, np.inf)
    fit, _ = checks.estimate_or_reason(cox_fit, time, event, high)
    ratio = cox_table(fit).iloc[0][["hr", "hr_lower", "hr_upper"]] if fit else [np.nan] * 3
    curves = [
        checks.estimate_or_reason(kaplan_meier, time[group], event[group], at=horizon)[0] for group in (high, ~high)
    ]
    survivals = [np.nan if curve is None else curve["survival"].iloc[0] for curve in curves]
    return TwoGroups(*map(float, (*ratio, *survivals)))


@checks.aligned
def interaction(time: ArrayLike, event: ArrayLike, high: ArrayLike, factor: ArrayLike) -> Test:
    """Test whether a group's hazard ratio differs between the levels of a factor.

    The likelihood-ratio test of the products of group and level in a Cox model that has both; a small P says that the
    group separates patients better in some levels than in others. Significance in one level and not in another
    is no evidence of that.

    Parameters
    ----------
    time, event : arrays of shape (n,)
        Follow-up time and whether the event was observed.
    high : array of shape (n,)
        Who is in the group.
    factor : array of shape (n,)
        Levels; one in which all or none are in the group has no product of its own.

    Raises
    ------
    ValueError
        As `cox_fit`, and where no level but one has patients in and out of the group.

    Notes
    -----
    Where a level has no event the likelihoods are their limits, as in `cox_term_tests`.
    """
    time, event = checks.survival(time, event)
    high = checks.flag(high, "high", time.size).astype(float)
    factor = checks.labels(factor, "factor", time.size)
    levels = pd.get_dummies(pd.Series(factor).astype(str)).to_numpy(dtype=float)
    inside = (levels * high[:, None]).sum(axis=0)
    both = (inside > 0) & (inside < levels.sum(axis=0))
    if both.sum() < 2:
        raise ValueError("factor must have two levels with patients in and out of the group; found fewer")
    main = np.column_stack([high, levels[:, 1:]])
    products = levels[:, np.flatnonzero(both)[1:]] * high[:, None]
    without = cox_fit(time, event, main, at_limit=True)
    full = cox_fit(time, event, np.column_stack([main, products]), at_limit=True)
    return chi2_test(2 * (full.log_likelihood - without.log_likelihood), products.shape[1])
