"""Development cohorts: what grey values inside the ROI say of the T2W view, without their pattern.

    python benchmarks/bench_phantoms.py [--seeds 101-110] [--jobs 2]

The cohorts of `bench_network.py`. Each patient's T2W image is painted anew. Of the voxels inside the reader's ROI 16
numbers are taken: mean, SD, skewness, kurtosis and five percentiles of the values as they are, and the last seven of
the values z-scored inside the ROI, as boxes are. r is that of the view, in validation, with a ridge regression
fitted to the primary cohort; the AUC is that, in validation, of five penalised heads fitted as in notebook 03.
Writes `phantoms_roi.csv` beside this file; about a quarter of an hour on two cores.
"""

import argparse

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from scipy.stats import kurtosis, skew
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from dlrs.config import ROOT
from dlrs.imaging import training
from dlrs.stats.survival import binary_outcome
from dlrs.synthetic import phantoms, simulate

HORIZON, FOLDS, PENALTY = 36.0, 5, 10.0


def numbers_of(patient_id: str, centre: str, parameters: dict[str, float], seed: int) -> np.ndarray:
    """The 16 numbers of one patient's ROI."""
    painted = phantoms.render_patient(patient_id, centre, parameters, seed=seed)
    x = painted["t2w.nii.gz"].data[painted["t2w_roi.nii.gz"].data > 0].astype(float)
    z = (x - x.mean()) / x.std()
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    return np.r_[x.mean(), x.std(), np.quantile(x, quantiles), skew(z), kurtosis(z), np.quantile(z, quantiles)]


def judge(seed: int, jobs: int) -> dict[str, float]:
    """What the numbers of one cohort's ROIs reach."""
    clinical, truth = simulate.draw_cohort(seed)
    rendered = list(phantoms.rendered_parameters(truth))
    patients = zip(clinical["patient_id"], clinical["centre"], truth[rendered].to_dict("records"), strict=True)
    tasks = [delayed(numbers_of)(patient, centre, views, seed) for patient, centre, views in patients]
    found = Parallel(n_jobs=jobs, return_as="generator")(tasks)
    x = np.stack([*tqdm(found, total=len(tasks), desc=f"cohort {seed}", unit="patient", mininterval=1)])
    view = truth["t2w_view"].to_numpy()
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11)))
    target = binary_outcome(clinical["time_months"], clinical["event"], horizon=HORIZON)
    primary, known = (clinical["cohort"] == "primary").to_numpy(), ~np.isnan(target)
    predicted = ridge.fit(x[primary], view[primary]).predict(x[~primary])
    row = dict(seed=seed, r=np.corrcoef(predicted, view[~primary])[0, 1])
    row["r_of_one_number"] = max(abs(np.corrcoef(column, view)[0, 1]) for column in x.T)
    fold = training.folds(target[primary], FOLDS, seed=1)[known[primary]]
    held_out = [fold == number for number in range(1, FOLDS + 1)]
    heads = training.fit_heads(x[primary & known], target[primary & known], held_out, penalty=PENALTY)
    prob = training.predict(heads, torch.as_tensor(x).float(), device=torch.device("cpu"))
    return row | dict(auc=roc_auc_score(target[~primary & known], prob[~primary & known]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="101-110", help="first and last seed of the cohorts (101-110)")
    parser.add_argument("--jobs", type=int, default=2, help="processes that paint (2)")
    asked = parser.parse_args()
    first, last = map(int, asked.seeds.split("-"))
    rows = pd.DataFrame([judge(seed, asked.jobs) for seed in range(first, last + 1)])
    table = pd.concat([rows.assign(seed=rows["seed"].astype(str)), rows.mean().to_frame().T.assign(seed="mean")])
    table.round(4).to_csv(ROOT / "benchmarks" / "phantoms_roi.csv", index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
