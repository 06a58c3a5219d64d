"""How many patients a new prediction model needs: Riley's criteria for its development and its validation.

Sizes are rounded up to whole patients. Formulas: those of R's pmsampsize and pmvalsampsize, whose simulated steps
(C-index to R2, distribution of the linear predictor) are done here by quadrature.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from dlrs.stats.checks import inside, whole_number

Z = 1.96  # of 95 % intervals, rounded as in the published criteria
MOST_PARAMETERS = 30  # up to which the formula of the mean error was found


def _events(rate: float, mean_follow_up: float) -> float:
    return inside(rate, "rate", 0, np.inf) * inside(mean_follow_up, "mean_follow_up", 0, np.inf)


def max_r2_binary(prevalence: float) -> float:
    """Return the largest possible Cox-Snell R2 of a binary outcome: 1 - (p^p (1 - p)^(1 - p))^2."""
    p = inside(prevalence, "prevalence", 0, 1)
    return float(1 - np.exp(2 * (p * np.log(p) + (1 - p) * np.log(1 - p))))


def max_r2_survival(rate: float, mean_follow_up: float) -> float:
    """Return the largest possible Cox-Snell R2 of a time-to-event outcome, by an exponential model without predictors.

    Parameters
    ----------
    rate, mean_follow_up
        Events per unit of time, and the mean follow-up in that unit; their product is the events per patient.

    Notes
    -----
    1 - exp(2 l / n), l = E ln(E / n) - E for E events of n patients (Riley et al., Stat Med 2019;38:1276).
    """
    events = inside(_events(rate, mean_follow_up), "rate times mean_follow_up", 0, 1)
    return float(1 - np.exp(2 * (events * np.log(events) - events)))


def shrinkage_size(parameters: int, r2: float, *, shrinkage: float = 0.9) -> int:
    """Return the patients needed for a uniform shrinkage of at least `shrinkage` (criterion 1).

    Parameters
    ----------
    parameters
        Candidate predictor parameters: a factor of k levels has k - 1.
    r2
        Anticipated Cox-Snell R2, already allowing for optimism.
    shrinkage
        Expected calibration slope of the model in new patients of the same kind.

    Notes
    -----
    n = P / ((S - 1) ln(1 - R2 / S)). Riley et al., BMJ 2020;368:m441.

    Examples
    --------
    >>> shrinkage_size(30, 0.051)
    5143
    """
    whole_number(parameters, "parameters")
    inside(r2, "r2", 0, inside(shrinkage, "shrinkage", 0, 1))
    return int(np.ceil(parameters / ((shrinkage - 1) * np.log1p(-r2 / shrinkage))))


def optimism_size(parameters: int, r2: float, max_r2: float, *, difference: float = 0.05) -> int:
    """Return the patients needed for a small optimism in Nagelkerke's R2 (criterion 2): S = R2 / (R2 + d max R2)."""
    room = inside(difference, "difference", 0, 1) * inside(max_r2, "max_r2", 0, 1)
    return shrinkage_size(parameters, r2, shrinkage=inside(r2, "r2", 0, 1) / (r2 + room))


def expected_shrinkage(parameters: int, r2: float, n: int) -> float:
    """Return the shrinkage that `n` patients give: the S at which criterion 1 needs them.

    Examples
    --------
    >>> round(expected_shrinkage(30, 0.051, 5143), 3)
    0.9
    """
    whole_number(parameters, "parameters"), inside(r2, "r2", 0, 1), inside(n, "n", 0, np.inf)

    def missing(shrinkage):
        return parameters / ((shrinkage - 1) * np.log1p(-r2 / shrinkage)) - n

    return float(brentq(missing, r2 * (1 + 1e-9), 1 - 1e-12))


def overall_risk_size_binary(prevalence: float, *, margin: float = 0.05) -> int:
    """Return the patients needed to estimate the overall risk within `margin` (criterion 3, binary)."""
    p = inside(prevalence, "prevalence", 0, 1)
    return int(np.ceil((Z / inside(margin, "margin", 0, 1)) ** 2 * p * (1 - p)))


def overall_risk_survival(rate: float, mean_follow_up: float, horizon: float, n: int) -> tuple[float, float, float]:
    """Return the overall risk by the horizon at a constant rate, with its 95 % limits in a study of `n` patients."""
    _events(rate, mean_follow_up), inside(horizon, "horizon", 0, np.inf), inside(n, "n", 0, np.inf)
    half = Z * np.sqrt(rate / (n * mean_follow_up))
    rates = np.array([rate, max(rate - half, 0.0), rate + half])
    return tuple(float(x) for x in -np.expm1(-rates * horizon))


def overall_risk_size_survival(rate: float, mean_follow_up: float, horizon: float, *, margin: float = 0.05) -> int:
    """Return the patients needed to estimate the risk by the horizon within `margin` (criterion 3, time-to-event)."""
    inside(margin, "margin", 0, 1)

    def too_wide(n):
        risk, lower, upper = overall_risk_survival(rate, mean_follow_up, horizon, n)
        return max(risk - lower, upper - risk) - margin

    high = 1.0
    while too_wide(high) > 0:
        high *= 2
    return int(np.ceil(brentq(too_wide, high / 2, high))) if high > 1 else 1


def mean_error_size(prevalence: float, parameters: int, *, error: float = 0.05) -> int | None:
    """Return the patients needed for a small mean absolute error of the risks (criterion 4, binary); None above 30.

    Notes
    -----
    ln(MAPE) = -0.508 - 0.544 ln(n) + 0.259 ln(prevalence) + 0.504 ln(P), found by simulation for up to 30 parameters
    (van Smeden et al., Stat Methods Med Res 2019;28:2455).
    """
    if whole_number(parameters, "parameters") > MOST_PARAMETERS:
        return None
    inside(error, "error", 0, 1)
    p = inside(prevalence, "prevalence", 0, 1)
    rest = -0.508 + 0.259 * np.log(min(p, 1 - p)) + 0.504 * np.log(parameters) - np.log(error)
    return int(np.ceil(np.exp(rest / 0.544)))


def r2_of_c_binary(c: float, prevalence: float) -> float:
    """Return the Cox-Snell R2 that goes with a C-index when the linear predictor is normal in both outcome groups.

    Notes
    -----
    Riley, Van Calster and Collins, Stat Med 2021;40:859, by quadrature instead of simulated patients.
    """
    apart = np.sqrt(2) * norm.ppf(inside(c, "c", 0.5, 1))
    p = inside(prevalence, "prevalence", 0, 1)
    z = np.linspace(-9, 9, 4001)
    weight = norm.pdf(z) / norm.pdf(z).sum()
    # Bayes: the model that is true has slope `apart` and this log odds at z in each group
    log_odds = np.log(p / (1 - p)) - apart**2 / 2 + apart * np.array([z + apart, z])
    fitted = p * (weight @ -np.logaddexp(0, -log_odds[0])) + (1 - p) * (weight @ -np.logaddexp(0, log_odds[1]))
    null = p * np.log(p) + (1 - p) * np.log(1 - p)
    return float(1 - np.exp(2 * (null - fitted)))


def r2_of_c_survival(c: float, rate: float, mean_follow_up: float) -> float:
    """Return the Cox-Snell R2 that goes with Harrell's C of a time-to-event model.

    Notes
    -----
    C to Royston and Sauerbrei's D (Jinks et al., BMC Med Res Methodol 2015;15:82): D = 5.50 (C - 0.5) + 10.26
    (C - 0.5)^3; R2_D = (pi/8) D^2 / (pi^2/6 + (pi/8) D^2); O'Quigley's R2 = -(pi^2/6) R2_D / ((1 - pi^2/6) R2_D - 1);
    Cox-Snell's 1 - (1 - R2_OQ)^(E/n) (Riley et al., Stat Med 2019;38:1276).
    """
    away = inside(c, "c", 0.5, 1) - 0.5
    d2 = (5.50 * away + 10.26 * away**3) ** 2 * np.pi / 8
    var = np.pi**2 / 6
    r2_d = d2 / (var + d2)
    r2_oq = -var * r2_d / ((1 - var) * r2_d - 1)
    return float(1 - (1 - r2_oq) ** _events(rate, mean_follow_up))


class Predictor(NamedTuple):
    """A normal linear predictor of a well calibrated logistic model, on a grid: values, weights and risks."""

    lp: np.ndarray
    weight: np.ndarray
    risk: np.ndarray

    @property
    def prevalence(self) -> float:
        """The share of events."""
        return float(self.weight @ self.risk)

    def groups(self) -> tuple[np.ndarray, np.ndarray]:
        """The weights of those with the event and of those without."""
        return self.weight * self.risk / self.prevalence, self.weight * (1 - self.risk) / (1 - self.prevalence)

    @property
    def c(self) -> float:
        """The C-index."""
        case, control = self.groups()
        return float(case @ (np.cumsum(control) - control / 2))


def normal_predictor(mean: float, sd: float) -> Predictor:
    """Return the predictor whose log odds are normal with this mean and standard deviation."""
    z = np.linspace(-9, 9, 4001)
    weight = norm.pdf(z) / norm.pdf(z).sum()
    return Predictor(mean + sd * z, weight, expit(mean + sd * z))


def predictor_of(prevalence: float, c: float) -> Predictor:
    """Return the normal predictor with this share of events and this C-index."""
    inside(c, "c", 0.5, 0.995)
    inside(prevalence, "prevalence", 0.001, 0.999)

    def with_sd(sd):
        mean = brentq(lambda mean: normal_predictor(mean, sd).prevalence - prevalence, -60, 60)
        return normal_predictor(mean, sd)

    return with_sd(brentq(lambda sd: with_sd(sd).c - c, 1e-3, 20))


def oe_se(width: float) -> float:
    """Return the standard error of ln(O/E) at which the 95 % interval of O/E has this width.

    >>> round(oe_se(0.2), 4)
    0.0509
    """
    return float(np.arcsinh(inside(width, "width", 0, np.inf) / 2) / Z)


def oe_size(prevalence: float, *, width: float) -> int:
    """Return the patients needed for O/E (binary): SE(ln O/E)^2 = (1 - p) / (n p)."""
    p = inside(prevalence, "prevalence", 0, 1)
    return int(np.ceil((1 - p) / (p * oe_se(width) ** 2)))


def slope_size(predictor: Predictor, *, width: float) -> int:
    """Return the patients needed for the calibration slope (binary), from the information of a calibrated model."""
    inside(width, "width", 0, np.inf)
    variance = predictor.weight * predictor.risk * (1 - predictor.risk)
    a, ab, b = (float(variance @ predictor.lp**k) for k in (0, 1, 2))
    return int(np.ceil(a / ((width / (2 * Z)) ** 2 * (a * b - ab**2))))


def c_size(c: float, prevalence: float, *, width: float) -> int:
    """Return the patients needed for the C-index (binary), with the standard error of Hanley and McNeil.

    Notes
    -----
    Newcombe's form: C (1 - C) (1 + (n/2 - 1) (1 - C)/(2 - C) + (n/2 - 1) C/(1 + C)) / (n^2 p (1 - p)).

    Examples
    --------
    >>> c_size(0.8, 0.018, width=0.1)
    4252
    """
    inside(c, "c", 0.5, 1), inside(width, "width", 0, 1)
    p = inside(prevalence, "prevalence", 0, 1)

    def too_wide(n):
        more = (n / 2 - 1) * ((1 - c) / (2 - c) + c / (1 + c))
        return 2 * Z * np.sqrt(c * (1 - c) * (1 + more) / (n**2 * p * (1 - p))) - width

    return int(np.ceil(brentq(too_wide, 2, 1e9)))


def net_benefit_size(predictor: Predictor, *, threshold: float, width: float) -> int:
    """Return the patients needed for the standardised net benefit at a threshold (binary).

    Notes
    -----
    n SE^2 = se (1 - se)/p + w^2 sp (1 - sp)/(1 - p) + w^2 (1 - sp)^2/(p (1 - p)), w = (1 - p)/p t/(1 - t), with
    sensitivity se and specificity sp at threshold t (Marsh et al., Biometrics 2020; Riley et al., Stat Med 2021).
    """
    inside(width, "width", 0, np.inf)
    p, high = predictor.prevalence, predictor.risk >= inside(threshold, "threshold", 0, 1)
    case, control = predictor.groups()
    se, sp = case[high].sum(), control[~high].sum()
    w = (1 - p) / p * threshold / (1 - threshold)
    variance = se * (1 - se) / p + w**2 * (sp * (1 - sp) / (1 - p) + (1 - sp) ** 2 / (p * (1 - p)))
    return int(np.ceil(variance / (width / (2 * Z)) ** 2))
