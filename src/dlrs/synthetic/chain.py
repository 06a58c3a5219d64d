"""Controls of the whole chain, networks included, as notebooks read them.

A control is a training of the networks on something that should, or should not, be informative. Its folder names
patients, so it lies under `interim/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata, t

from dlrs import cohort
from dlrs.config import resolve, stream
from dlrs.stats import checks, concordance, roc, survival


def control_folder(run_dir: str | Path, name: str) -> Path:
    """Return the folder of one control."""
    return resolve(run_dir) / "interim" / "controls" / name


def with_control(patients: pd.DataFrame, run_dir: str | Path, name: str) -> pd.DataFrame:
    """Return the patients with the probabilities of one control."""
    return cohort.with_probabilities(patients, control_folder(run_dir, name) / "interim" / "dl_prob.csv")


def fold_of(base_dir: str | Path, patient_id: pd.Series) -> np.ndarray:
    """Return the fold whose network did not learn from each patient: 1, 2, ...; 0 for the validation cohort."""
    table = pd.read_csv(resolve(base_dir) / "interim" / "prob_T2W.csv", dtype={"patient_id": str})
    return table.set_index("patient_id")["fold"].loc[patient_id].to_numpy()


def concordance_within(
    time: ArrayLike, event: ArrayLike, prediction: ArrayLike, stratum: ArrayLike
) -> tuple[float, float, float]:
    """Return Harrell's C over the pairs of patients of the same stratum, with its 95 % interval.

    C = sum n_s C_s / sum n_s, with n_s the comparable pairs of a stratum; strata are independent, so that the variance
    is sum n_s^2 SE_s^2 / (sum n_s)^2, SE_s the infinitesimal jackknife's. A stratum without a comparable pair, or with
    too few patients for `concordance.concordance`, adds nothing.
    """
    time, event, prediction, stratum = (np.asarray(values) for values in (time, event, prediction, stratum))
    c, se, pairs = [], [], []
    for value in np.unique(stratum):
        rows = stratum == value
        if not event[rows].any() or time[rows][event[rows].astype(bool)].min() >= time[rows].max():
            continue
        found = concordance.concordance(time[rows], event[rows], prediction[rows])
        c.append(found.c)
        se.append(found.se)
        pairs.append(found.concordant + found.discordant + found.tied_prediction)
    share = np.array(pairs) / np.sum(pairs)
    pooled, half = float(share @ c), checks.critical_value(0.95) * float(np.sqrt((share**2) @ np.square(se)))
    return pooled, max(pooled - half, 0.0), min(pooled + half, 1.0)


def permuted_rows(patients: pd.DataFrame, seed: int, *, horizon_months: float) -> tuple[np.ndarray, np.ndarray]:
    """Return whose outcome was each patient's label when notebook 03 permuted the target.

    Returns
    -------
    rows, of : arrays
        Rows of the primary patients with a known outcome, and for each the row whose outcome was its label.
    """
    outcome = survival.binary_outcome(patients["time_months"], patients["event"], horizon=horizon_months)
    rows = np.flatnonzero((patients["cohort"] == "primary").to_numpy() & ~np.isnan(outcome))
    return rows, rows[stream(seed, "permuted target").permutation(rows.size)]


def exchange_images(patients: pd.DataFrame, seed: int, *, horizon_months: float) -> pd.DataFrame:
    """Give the images of a control with permuted target to the patients whose outcomes were their labels.

    Outcomes and clinical factors then belong together, and the images to neither: a study of the whole chain with
    uninformative images and overfitted networks. In the validation cohort images are exchanged at random.

    Parameters
    ----------
    patients
        A run's patients with the control's probabilities.
    seed
        The control's, with which notebook 03 permuted.
    horizon_months
        Of the outcome that was permuted.
    """
    columns = [name for name in patients if name.removesuffix("_oof") in ("t2w_prob", "adc_prob", "dl_prob")]
    exchanged, source = patients.copy(), np.arange(len(patients))
    rows, sources = permuted_rows(patients, seed, horizon_months=horizon_months)
    source[sources] = rows
    others = np.flatnonzero((patients["cohort"] == "validation").to_numpy())
    source[others] = stream(seed, "exchanged images").permutation(others)
    exchanged[columns] = patients[columns].to_numpy()[source]
    return exchanged


def permuted_files(run_dir: str | Path) -> list[Path]:
    """Return the files with the probabilities of the networks trained on permuted labels."""
    return sorted(control_folder(run_dir, "").glob("permuted-*/interim/prob_*.csv"))


def permuted_controls(run_dir: str | Path, *, horizon_months: float) -> pd.DataFrame:
    """Return the AUCs of each network trained on permuted labels.

    Returns
    -------
    DataFrame
        ``control``, ``seed``, ``sequence``; ``training_auc`` in the primary cohort against the permuted labels,
        ``auc`` in the validation cohort against the true outcomes.
    """
    rows = []
    for folder in sorted(control_folder(run_dir, "").glob("permuted-*")):
        if not (folder / "interim" / "patients.csv").is_file():
            continue
        patients, seed = cohort.read_patients(folder / "interim" / "patients.csv"), int(folder.name.split("-")[1])
        outcome = survival.binary_outcome(patients["time_months"], patients["event"], horizon=horizon_months)
        judged = np.flatnonzero((patients["cohort"] == "validation").to_numpy() & ~np.isnan(outcome))
        trained, sources = permuted_rows(patients, seed, horizon_months=horizon_months)
        probs = {}
        for sequence in ("T2W", "ADC"):
            path = folder / "interim" / f"prob_{sequence}.csv"
            if path.is_file():
                table = pd.read_csv(path, dtype={"patient_id": str}).set_index("patient_id")
                probs[sequence] = table.loc[patients["patient_id"], "prob"].to_numpy()
        if len(probs) == 2:
            probs["DL-prob"] = sum(probs.values())
        for sequence, prob in probs.items():
            areas = roc.delong(outcome[sources], prob[trained]).auc, roc.delong(outcome[judged], prob[judged]).auc
            rows.append((folder.name, seed, sequence, *areas))
    found = pd.DataFrame(rows, columns=["control", "seed", "sequence", "training_auc", "auc"])
    return found.astype({"training_auc": float, "auc": float})  # also where there is no control


class Criterion(NamedTuple):
    """Mean AUC of controls against 0.5, and how well that would show a leak.

    `null_sd` is the mean's standard deviation over permutations of the outcomes, `se` its standard error over controls
    (NaN for one), `p` the two-sided P, `power` the chance of P < 0.05 where a leak moves the mean AUC to the one asked
    for, `detectable` the mean AUC that is found in 80 %.
    """

    mean: float
    null_sd: float
    se: float
    p: float
    power: float
    detectable: float


def permutation_criterion(
    outcome: ArrayLike,
    predictions: Sequence[ArrayLike],
    *,
    seed: int,
    leak: float = 0.64,
    n_permutations: int = 5000,
) -> Criterion:
    """Test whether controls trained on permuted labels predict the outcome on average.

    The mean AUC varies by chance in two ways, and each has a test that knows of one alone. What all controls have in
    common (one backbone) is judged on one sample of outcomes: a permutation of the outcomes changes all AUCs at once,
    and the standard error over controls does not see it. A network that reads a true pattern has an AUC far from 0.5,
    to either side, as its permuted labels happen to agree with the pattern: the AUCs spread around 0.5 over controls,
    and permuted outcomes, unrelated to any score, do not show it; a t test over controls does. P is the larger of both,
    so that the level holds whichever source there is.

    Parameters
    ----------
    outcome : array of shape (n,)
        Of the patients that no control was trained on, both classes present.
    predictions : sequence of arrays of shape (n,)
        One a control.
    seed, n_permutations
        Of the permutations.
    leak : float
        Mean AUC at which the power is given.

    Returns
    -------
    Criterion
        The P by permutation counts the observed outcomes as one, so that it is never 0. One control has no t test.
        Power and detectable AUC are by the normal approximation with the test that needs the larger deviation.

    References
    ----------
    Phipson B, Smyth GK. Stat Appl Genet Mol Biol 2010;9:39; Ojala M, Garriga GC. J Mach Learn Res 2010;11:1833-1863.
    """
    outcome = checks.outcome(outcome)
    each = np.array([rankdata(checks.prediction(x, outcome.size, "predictions")) for x in predictions])
    ranks = each.mean(axis=0)
    n_events = int(outcome.sum())
    least, pairs = n_events * (n_events + 1) / 2, n_events * (outcome.size - n_events)
    generator = stream(seed, "permutation gate")
    drawn = np.array([ranks[generator.permutation(outcome.size)[:n_events]].sum() for _ in range(n_permutations)])
    null, mean = (drawn - least) / pairs, (ranks[outcome].sum() - least) / pairs
    extreme = (np.abs(null - 0.5) >= abs(mean - 0.5) - 1e-12).sum()
    by_permutation, null_sd = (1 + extreme) / (1 + n_permutations), float(null.std())
    n, tests = len(predictions), [(by_permutation, null_sd, ndtri(0.975))]
    se = float(each[:, outcome].sum(axis=1).std(ddof=1) / pairs / np.sqrt(n)) if n > 1 else np.nan
    if se > 0:
        tests.append((2 * t.sf(abs(mean - 0.5) / se, n - 1), se, t.ppf(0.975, n - 1)))
    p = max(test[0] for test in tests)
    _, sd, critical = max(tests, key=lambda test: test[1] * test[2])
    away_at_leak = (abs(leak - 0.5) / sd if sd else np.inf) - critical
    detectable = 0.5 + (critical + ndtri(0.8)) * sd
    return Criterion(float(mean), null_sd, se, float(p), float(ndtr(away_at_leak)), float(detectable))
