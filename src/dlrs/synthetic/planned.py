"""A study that is planned: its settings, the data-generating model with its numbers, and what it would find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from scipy.optimize import brentq

from dlrs.config import InputError, display_path, resolve, stream
from dlrs.stats import calibration, concordance, cox, decision, resample, sample_size
from dlrs.synthetic import simulate, studies

KINDS = ("time-to-event", "binary")
# Setting -> whole number?, least, most; the bounds themselves are allowed. Those of NEEDED have to be there.
NUMBERS = {
    "patients": (True, 20, 1_000_000),
    "events": (True, 1, 1_000_000),
    "candidate_parameters": (True, 1, 10_000),
    "anticipated_c": (False, 0.5, 0.995),
    "anticipated_r2": (False, 0, 1),
    "events_per_year": (False, 0, 10),
    "mean_follow_up_months": (False, 0.1, 1200),
    "horizon_months": (False, 0.1, 1200),
    "risk_at_horizon": (False, 0.001, 0.999),
    "validation_patients": (True, 20, 1_000_000),
    "lost_per_year": (False, 0, 2),
    "signal": (False, 0, 1),
    "threshold": (False, 0.001, 0.999),
}
NEEDED = ("outcome", "patients", "candidate_parameters", "horizon_months", "risk_at_horizon", "validation_patients")
MAPPINGS = {"follow_up_months": ("development", "validation"), "training_auc_of_noise": studies.VIEWS}
MAPPINGS |= {"widths": ("observed_expected", "slope", "c", "net_benefit")}
DEFAULTS = {"lost_per_year": 0.0, "signal": 1.0, "threshold": 0.2, "training_auc_of_noise": {}}
DEFAULTS |= {"widths": {"observed_expected": 0.2, "slope": 0.2, "c": 0.1, "net_benefit": 0.2}}


class Plan(NamedTuple):
    """The settings of a planned study; times in months, rates per year as they were given."""

    outcome: str
    patients: int
    events: float
    candidate_parameters: int
    c: float  # that of r2, where R2 was given
    r2: float  # Cox-Snell; that of c, where C was given
    rate: float  # events per patient and month, over all follow-up; NaN for a binary outcome
    mean_follow_up_months: float
    horizon_months: float
    risk_at_horizon: float
    validation_patients: int
    follow_up_months: dict[str, tuple[float, float]]
    lost_per_year: float
    signal: float
    threshold: float
    training_auc_of_noise: dict[str, float]
    widths: dict[str, float]


def read(path: str | Path) -> Plan:
    """Read the settings of a planned study.

    Parameters
    ----------
    path
        YAML, as `paper/plan_example.yaml`.

    Raises
    ------
    InputError
        The first setting that is unknown, missing or impossible, and what it could be.
    """
    path = resolve(path)

    def stop(found, expected, remedy):
        raise InputError(display_path(path), found, expected=expected, remedy=remedy)

    if not path.is_file():
        stop("the file is missing", "a file of settings", "Start from a copy of paper/plan_example.yaml.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f" at line {line + 1}"
        stop(f"it is no YAML{where}", "a line `name: value` for each setting", "Compare with paper/plan_example.yaml.")
    known = ["outcome", *NUMBERS, *MAPPINGS]
    if not isinstance(content, dict):
        stop("it holds no settings", "a line `name: value` for each setting", "Compare with paper/plan_example.yaml.")
    content = {name: value for name, value in content.items() if value is not None}
    for name in content:
        if name not in known:
            stop(f"there is no setting {name}", f"one of {', '.join(known)}", "Correct or remove it.")
    for name in NEEDED:
        if name not in content:
            stop(f"{name} is missing", "a value", "Add it; paper/plan_example.yaml says what it means.")
    if content["outcome"] not in KINDS:
        stop(f"outcome is {content['outcome']!r}", f"one of {', '.join(KINDS)}", "Correct it.")
    for name, bounds in NUMBERS.items():
        if name in content:
            _number(content[name], name, bounds, stop)
    for name, inside in MAPPINGS.items():
        _mapping(content.get(name, {}), name, inside, stop)
    return _plan(DEFAULTS | content | {"widths": DEFAULTS["widths"] | content.get("widths", {})}, stop)


def _number(value, name, bounds, stop):
    integer, low, high = bounds
    wanted = f"a {'whole ' * integer}number from {low:g} to {high:g}"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (integer and value != int(value)) or not low <= value <= high:
        stop(f"{name} is {value!r}", wanted, "Correct it.")


def _mapping(value, name, inside, stop):
    if not isinstance(value, dict) or set(value) - set(inside):
        stop(f"{name} is {value!r}", f"values for {', '.join(inside)}", "Correct it.")
    for key, found in value.items():
        if name == "follow_up_months":
            if not isinstance(found, list) or len(found) != 2:
                stop(f"{name}, {key}: {found!r}", "the shortest and the longest, as in [36, 67]", "Correct it.")
            for entry in found:
                _number(entry, f"{name}, {key}", (False, 0.1, 1200), stop)
            if found[0] > found[1]:
                stop(
                    f"{name}, {key}: {found[0]:g} comes before {found[1]:g}", "the shorter one first", "Turn it round."
                )
        else:
            bounds = (False, 0.5, 0.999) if name == "training_auc_of_noise" else (False, 0.01, 5)
            _number(found, f"{name}, {key}", bounds, stop)


def _plan(content: dict, stop) -> Plan:
    n, horizon, binary = content["patients"], content["horizon_months"], content["outcome"] == "binary"
    if ("anticipated_c" in content) == ("anticipated_r2" in content):
        stop("anticipated_c and anticipated_r2", "exactly one of them", "Name what earlier models reached.")
    if binary and {"events", "events_per_year"} & set(content):
        stop("events with a binary outcome", "risk_at_horizon alone", "Leave them out: it is the share of events.")
    if not binary and ("events" in content) == ("events_per_year" in content):
        stop("events and events_per_year", "exactly one of them", "Name the events of all follow-up, or their rate.")
    if content.get("events", 0) > n:
        stop(f"events is {content['events']}, patients {n}", "no more events than patients", "Correct one of them.")
    mean = horizon if binary else content.get("mean_follow_up_months")
    if mean is None:
        stop("mean_follow_up_months is missing", "a value for a time-to-event outcome", "Add it.")
    follow_up = {name: tuple(map(float, pair)) for name, pair in content.get("follow_up_months", {}).items()}
    if binary:
        follow_up = dict.fromkeys(MAPPINGS["follow_up_months"], (horizon, horizon))
    for name in MAPPINGS["follow_up_months"]:
        if name not in follow_up:
            stop(f"follow_up_months has no {name}", "its shortest and longest", "Add it, as in [36, 67].")
        if follow_up[name][1] < horizon:
            longest = f"follow_up_months, {name}: the longest is {follow_up[name][1]:g}"
            stop(longest, f"at least the horizon, {horizon:g}", "Plan a longer follow-up, or an earlier horizon.")
    risk = content["risk_at_horizon"]
    rate = np.nan if binary else content.get("events_per_year", np.nan) / 12
    if "events" in content and not binary:
        rate = content["events"] / (n * mean)
    if not binary and rate <= 0:
        stop(f"events_per_year is {12 * rate:g}", "a rate above 0", "Correct it.")
    if not binary and rate * mean >= 1:
        stop(f"{rate * mean:.2f} events per patient", "fewer than one", "Correct the rate or mean_follow_up_months.")
    c = content.get("anticipated_c", np.nan)
    if c == 0.5:
        stop("anticipated_c is 0.5", "a value above it", "A model that is no better than chance needs no plan.")
    most = sample_size.max_r2_binary(risk) if binary else sample_size.max_r2_survival(rate, mean)
    r2 = content.get("anticipated_r2")

    def r2_of(c):
        return sample_size.r2_of_c_binary(c, risk) if binary else sample_size.r2_of_c_survival(c, rate, mean)

    r2 = r2_of(c) if r2 is None else r2
    if not 0 < r2 < min(most, 0.9):
        stop(f"anticipated_r2 is {r2:g}", f"between 0 and {min(most, 0.9):.3f}, its maximum", "Name Cox-Snell's R2.")
    if not r2_of(0.501) < r2 < r2_of(0.995):
        stop(f"anticipated_r2 is {r2:g}", "that of a C-index between 0.501 and 0.995", "Name Cox-Snell's R2.")
    c = brentq(lambda c: r2_of(c) - r2, 0.5001, 0.9951) if np.isnan(c) else c
    if content["candidate_parameters"] >= n:
        stop(f"{content['candidate_parameters']} parameters", f"fewer than the {n} patients", "Correct one of them.")
    events = content.get("events", n * (risk if binary else rate * mean))
    names = ("outcome", "patients", "candidate_parameters", "horizon_months", "risk_at_horizon", "validation_patients")
    names += ("lost_per_year", "signal", "threshold", "training_auc_of_noise", "widths")
    found = dict(events=events, c=c, r2=r2, rate=rate, mean_follow_up_months=mean, follow_up_months=follow_up)
    return Plan(**{name: content[name] for name in names}, **found)


def rates(plan: Plan, *, n: int = 200_000, seed: int = 1) -> simulate.Rates:
    """Return the data-generating model with the plan's risk at the horizon, losses and follow-up.

    The baseline is the one at which `n` development patients have that risk on average.
    """
    drawn = simulate.draw_studies(seed, 1, n_primary=n, n_validation=2)
    hazard = np.exp(drawn.loc[drawn["cohort"] == "primary", "linear_predictor"].to_numpy())

    def too_many(log_baseline):
        return -np.expm1(-plan.horizon_months * np.exp(log_baseline) * hazard).mean() - plan.risk_at_horizon

    follow_up = {simulated: plan.follow_up_months[name] for simulated, name in COHORTS.items()}
    if plan.outcome == "binary":  # everybody is seen just past the horizon
        follow_up = dict.fromkeys(follow_up, (plan.horizon_months + 0.05, plan.horizon_months + 0.05))
    lost = 0.0 if plan.outcome == "binary" else plan.lost_per_year / 12
    return simulate.Rates(float(np.exp(brentq(too_many, -25, 10))), lost, follow_up)


COHORTS = {"primary": "development", "validation": "validation"}


def development(plan: Plan) -> pd.DataFrame:
    """Return the patients that each of Riley's criteria for the development asks for.

    Returns
    -------
    DataFrame
        ``criterion``, ``n``, ``events``, ``events_per_parameter``.
    """
    p, r2 = plan.candidate_parameters, plan.r2
    rows = {"shrinkage of at least 0.9": sample_size.shrinkage_size(p, r2)}
    if plan.outcome == "binary":
        most, per_patient = sample_size.max_r2_binary(plan.risk_at_horizon), plan.risk_at_horizon
        overall = sample_size.overall_risk_size_binary(plan.risk_at_horizon)
        error = {"mean absolute error of the risks of at most 0.05": sample_size.mean_error_size(per_patient, p)}
    else:
        most, per_patient = sample_size.max_r2_survival(plan.rate, plan.mean_follow_up_months), None
        per_patient = plan.rate * plan.mean_follow_up_months
        overall = sample_size.overall_risk_size_survival(plan.rate, plan.mean_follow_up_months, plan.horizon_months)
        error = {}
    rows["optimism in Nagelkerke's R2 of at most 0.05"] = sample_size.optimism_size(p, r2, most)
    rows["overall risk within 0.05"] = overall
    frame = pd.DataFrame((rows | error).items(), columns=["criterion", "n"]).astype({"n": float})
    return frame.assign(events=frame["n"] * per_patient, events_per_parameter=frame["n"] * per_patient / p)


def normal_hazards(c: float) -> float:
    """Return the standard deviation of a normal log hazard whose C-index, uncensored, is `c`."""
    z, weight = np.polynomial.hermite_e.hermegauss(80)

    def too_high(sd):
        return weight @ (1 / (1 + np.exp(-sd * np.sqrt(2) * np.abs(z)))) / weight.sum() - c

    return float(brentq(too_high, 1e-4, 50))


def validation_cohort(plan: Plan, n: int, *, seed: int) -> pd.DataFrame:
    """Draw validation patients with a calibrated normal log hazard of the anticipated C-index.

    Returns
    -------
    DataFrame
        ``time``, ``event``, ``lp``, ``risk`` by the horizon. For O/E, slope, C and net benefit as Riley et al. 2022
        ask for: the distribution of the linear predictor, survival and censoring that are expected.
    """
    draw = stream(seed, "plan", "validation")
    lp = normal_hazards(plan.c) * draw.standard_normal(n)
    horizon = plan.horizon_months

    def too_many(log_baseline):
        return -np.expm1(-horizon * np.exp(log_baseline + lp)).mean() - plan.risk_at_horizon

    hazard = np.exp(brentq(too_many, -40, 20) + lp)
    until = draw.exponential(size=n) / hazard
    lost = draw.exponential(size=n) * (12 / plan.lost_per_year if plan.lost_per_year else np.inf)
    seen = np.minimum(draw.uniform(*plan.follow_up_months["validation"], n), lost)
    frame = dict(time=np.minimum(until, seen), event=until <= seen, lp=lp, risk=-np.expm1(-horizon * hazard))
    return pd.DataFrame(frame)


MEASURES = {"observed_expected": "O/E", "slope": "Calibration slope", "c": "C-index"}
MEASURES |= {"net_benefit": "Standardised net benefit"}


def _errors_survival(plan: Plan, n: int, n_boot: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return estimate and standard error for one patient, that in a cohort of n times sqrt(n)."""
    j = validation_cohort(plan, n, seed=seed)
    data, horizon = (j["time"].to_numpy(), j["event"].to_numpy()), plan.horizon_months
    ratio = calibration.observed_expected_at(*data, j["risk"], horizon=horizon)
    slope, c = calibration.calibration_slope(*data, j["lp"]), concordance.concordance(*data, j["lp"])
    weights = resample.bootstrap_weights(n, n_boot, seed=stream(seed, "plan", "net benefit"))
    at = dict(horizon=horizon, thresholds=[plan.threshold], quantities=["standardized_net_benefit"])
    both = [np.ones((1, n)), weights]
    benefit, resampled = (
        decision.decision_curve_censored_bootstrap(*data, j["risk"], w, **at)["standardized_net_benefit"] for w in both
    )
    half = 2 * sample_size.Z
    found = {"observed_expected": (1.0, (ratio.upper - ratio.lower) / half)}
    found |= {"slope": (1.0, (slope.upper - slope.lower) / half), "c": (c.c, c.se)}
    found |= {"net_benefit": (float(benefit[0, 0]), float(resampled.std(ddof=1)))}
    return {name: (value, se * np.sqrt(n)) for name, (value, se) in found.items()}


def _errors_binary(plan: Plan) -> dict[str, tuple[float, float]]:
    """Return the same from the formulas, by the size that a very narrow interval would need."""
    narrow, predictor = 0.001, sample_size.predictor_of(plan.risk_at_horizon, plan.c)
    case, control = predictor.groups()
    high = predictor.risk >= plan.threshold
    p, odds = plan.risk_at_horizon, plan.threshold / (1 - plan.threshold)
    benefit = case[high].sum() - odds * (1 - p) / p * control[high].sum()
    sizes = {
        "observed_expected": (1.0, sample_size.oe_size(p, width=narrow)),
        "slope": (1.0, sample_size.slope_size(predictor, width=narrow)),
        "c": (plan.c, sample_size.c_size(plan.c, p, width=narrow)),
        "net_benefit": (
            float(benefit),
            sample_size.net_benefit_size(predictor, threshold=plan.threshold, width=narrow),
        ),
    }
    return {name: (value, narrow / (2 * sample_size.Z) * np.sqrt(n)) for name, (value, n) in sizes.items()}


def validation(plan: Plan, *, n: int = 10_000, n_boot: int = 200, seed: int) -> pd.DataFrame:
    """Return the validation size that each measure needs, and its expected interval at the planned size.

    Parameters
    ----------
    plan
        Anticipated C-index, risk, follow-up and the widest acceptable intervals.
    n, n_boot
        Time-to-event: patients of the simulated cohort in which the standard errors are measured, to be scaled by the
        size (Riley et al., Stat Med 2022;41:1280), and resamples for the net benefit. Binary: formulas.

    Returns
    -------
    DataFrame
        ``measure``, ``estimate``, what a well calibrated model of the anticipated C-index has; ``lower`` and ``upper``
        in the planned number of patients, ``width`` that is wanted, ``n`` patients and ``events`` by the horizon
        that give it.
    """
    binary = plan.outcome == "binary"
    errors = _errors_binary(plan) if binary else _errors_survival(plan, n, n_boot, seed)
    rows = []
    for name, (value, se) in errors.items():
        half, width = sample_size.Z * se / np.sqrt(plan.validation_patients), plan.widths[name]
        on_log = name == "observed_expected"
        limits = np.exp([-half, half]) if on_log else np.array([value - half, value + half])
        target = sample_size.oe_se(width) if on_log else width / (2 * sample_size.Z)
        needed = int(np.ceil((se / target) ** 2))
        rows.append((MEASURES[name], value, *map(float, limits), width, needed, needed * plan.risk_at_horizon))
    return pd.DataFrame(rows, columns=["measure", "estimate", "lower", "upper", "width", "n", "events"])


def optimism(plan: Plan, n_replicates: int, *, clinical: Sequence[str], n_large: int = 4000, seed: int) -> pd.DataFrame:
    """Return apparent and true performance of Cox models with the planned number of parameters, by simulation.

    Each study is drawn from the data-generating model with the plan's numbers. Its model holds DL-prob of networks that
    were trained on other patients, the clinical factors, and as many columns of noise as the plan has more parameters.

    Returns
    -------
    DataFrame
        One row a study with a maximum of the likelihood: ``apparent`` and ``true`` C-index, ``slope``, the calibration
        slope in `n_large` new patients of the same kind: what the coefficients should be multiplied by.
    """
    options, rows = dict(signal=plan.signal, rates=rates(plan)), []
    [new] = _columns(plan, n_large, 1, clinical, stream(seed, "plan", "large"), options)
    for time, event, x in _columns(plan, plan.patients, n_replicates, clinical, stream(seed, "plan", "fit"), options):
        try:
            fit = cox.cox_fit(time, event, x, tolerance=1e-9)
            slope = calibration.calibration_slope(*new[:2], new[2] @ fit.coefficients).slope
        except ValueError:  # no event, or a likelihood without a maximum
            continue
        c = [concordance.concordance(*data[:2], data[2] @ fit.coefficients).c for data in ((time, event, x), new)]
        rows.append((*c, slope))
    return pd.DataFrame(rows, columns=["apparent", "true", "slope"])


def _columns(plan: Plan, n: int, n_studies: int, clinical: Sequence[str], draw: np.random.Generator, options: Mapping):
    """Yield time, event and the model's columns of the development patients of each study."""
    drawn = simulate.draw_studies(int(draw.integers(2**31)), n_studies, n_primary=n, n_validation=2, **options)
    drawn = drawn[(drawn["cohort"] == "primary").to_numpy()]
    drawn = drawn.assign(dl_prob=drawn["t2w_view"] + drawn["adc_view"])
    columns = cox.design(" + ".join(["dl_prob", *clinical]), drawn)[0].to_numpy(float)[:, : plan.candidate_parameters]
    noise = draw.standard_normal((len(drawn), plan.candidate_parameters - columns.shape[1]))
    x, time, event = np.hstack([columns, noise]), drawn["time_months"].to_numpy(), drawn["event"].to_numpy(bool)
    for rows in np.split(np.arange(len(drawn)), n_studies):
        yield time[rows], event[rows], x[rows]
