"""Development cohorts: which recipe of notebook 03 reads the images best, and what it costs.

    python benchmarks/bench_network.py [--seeds 101-110] [--folder runs/development]

Ten synthetic cohorts of other seeds than the committed one, each drawn, rendered, cut into boxes and read. Every recipe
is fitted to a primary cohort and judged in its validation cohort. The rule: the recipe with the highest mean AUC of
DL-prob in validation, as a share of the way from 0.5 to the mean AUC of the expected latent risk given both views
(`image_score`, the best that any reader of the images could know); of recipes that differ by less than one standard
error of the mean, the cheaper.

What takes long is kept in the folder, so that the command can be stopped and started again; from nothing it takes about
two hours on two cores. Writes `network_tries.csv`, `network_repeats.csv`, `network_phantoms.csv` and
`network_permuted.csv` beside this file.
"""

import argparse
import copy
import shutil
import time
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import kurtosis, skew, spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from dlrs.config import ROOT, resolve, whole_file
from dlrs.imaging import cropping, resnet, training
from dlrs.stats import calibration, roc
from dlrs.stats.survival import binary_outcome
from dlrs.synthetic import cohort_folder, studies

HORIZON, FOLDS, STUDY_SEED = 36.0, 5, 20210621
DESIGN = studies.Design(("ct_stage", "cea", "ypn_stage"), HORIZON)
PENALTIES = [100.0, 300.0, 1000.0, 3000.0, 10000.0]
LAGS = [2, 4, 8, 12, 18, 26]  # pixels of a slice of 112
# How a frozen backbone reads: pixels of a slice, in how many orientations, weights, and the seed of their pre-training.
READINGS = {
    "slices of 112": (112, 1, "textures", 1),
    "slices of 56": (56, 1, "textures", 1),
    "slices of 56, four orientations": (56, 4, "textures", 1),
    "the same, other textures": (56, 4, "textures", 2),
    "the same, random weights": (56, 4, "none", 1),
    "the same, pixels of each slice shuffled": (56, 4, "textures", 1),
}
CHOSEN, CHOSEN_PENALTY = "slices of 56, four orientations", 1000.0


def kept(path: Path, make) -> dict[str, np.ndarray]:
    """Return the arrays of a file, made and written whole where it is missing."""
    if not path.is_file():
        started = time.process_time()
        arrays = make()
        with whole_file(path) as partial_file:
            np.savez(partial_file, **arrays)
        print(f"{path.parent.name} {path.stem}: {time.process_time() - started:.0f} s of processor time", flush=True)
    with np.load(path) as file:
        return dict(file)


class Cohort:
    """One development cohort: its table, the truth, and its boxes on demand."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.seed = folder / str(seed), seed
        if not (self.folder / "boxes.csv").is_file():
            cohort_folder.write_cohort(self.folder / "cohort", seed=seed)
            patients = pd.read_csv(self.folder / "cohort/clinical.csv", dtype={"patient_id": str})
            patients["row"] = np.arange(len(patients)) + 2
            index = cropping.build_boxes(self.folder / "cohort", patients, self.folder / "boxes", b_values=(0, 1000))
            index.to_csv(self.folder / "boxes.csv", index=False)
            shutil.rmtree(self.folder / "cohort/images")
        tables = [
            pd.read_csv(self.folder / f"cohort/{n}.csv", dtype={"patient_id": str}) for n in ("clinical", "truth")
        ]
        self.patients, self.truth = tables
        self.target = binary_outcome(self.patients["time_months"], self.patients["event"], horizon=HORIZON)
        self.primary = (self.patients["cohort"] == "primary").to_numpy()
        self.known = self.primary & ~np.isnan(self.target)
        self.judged = ~self.primary & ~np.isnan(self.target)

    def boxes(self, sequence: str) -> torch.Tensor:
        return training.load_boxes(self.folder / "boxes.csv", sequence, self.patients["patient_id"])

    def folds(self, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Each patient's fold, 0 in validation, and who of the known primary patients is held out in turn."""
        fold = np.zeros(len(self.target), dtype=int)
        fold[self.primary] = training.folds(self.target[self.primary], FOLDS, seed=seed)
        return fold, [fold[self.known] == number for number in range(1, FOLDS + 1)]


# ---------------------------------------------------------------- readings


def read(of: Cohort, name: str) -> dict[str, np.ndarray]:
    size, turns, weights, seed = READINGS[name]
    torch.manual_seed(of.seed)
    backbone = resnet.backbone(weights, cache_dir=ROOT / "cache", textures={"seed": seed}, device="cpu").eval()
    found = {}
    for sequence in ("T2W",) if "shuffled" in name else ("T2W", "ADC"):
        rows, draws = [], torch.Generator().manual_seed(of.seed)
        for box in of.boxes(sequence):
            slices = box[resnet.with_tissue(box[None])[0]]
            if "shuffled" in name:
                slices = torch.stack(
                    [x.flatten()[torch.randperm(x.numel(), generator=draws)].view_as(x) for x in slices]
                )
            pictures = nn.functional.adaptive_avg_pool2d(slices[:, None], size)
            pictures = torch.cat(resnet.orientations(pictures)[:turns]).expand(-1, 3, -1, -1)
            with torch.inference_mode():
                rows.append(backbone(pictures.contiguous(memory_format=torch.channels_last)).mean(dim=0).numpy())
        found[sequence] = np.stack(rows)
    return found


def by_hand(of: Cohort) -> dict[str, np.ndarray]:
    """Histogram and autocorrelation features of every other slice, inside the ellipse that the tumour fills."""
    i, j = np.mgrid[:112, :112] - 55.5
    inside, found = i**2 + j**2 <= 46**2, {}
    for sequence in ("T2W", "ADC"):
        histograms, patterns = [], []
        for box in of.boxes(sequence).numpy():
            slices = box[box.any(axis=(1, 2))][::2]
            values = [x[inside] for x in slices]
            quantiles = [np.quantile(x, [0.05, 0.25, 0.5, 0.75, 0.95]) for x in values]
            shape = [[x.mean(), x.std(), skew(x), kurtosis(x), *q] for x, q in zip(values, quantiles, strict=True)]
            histograms.append(np.mean(shape, axis=0))
            patterns.append(np.mean([autocorrelation(x, inside) for x in slices], axis=0))
        found |= {f"{sequence}_histogram": np.stack(histograms), f"{sequence}_pattern": np.stack(patterns)}
    return found


def autocorrelation(picture: np.ndarray, inside: np.ndarray) -> list[float]:
    """Mean over four directions, and how much it differs between them, at each lag."""
    x = np.where(inside, picture - picture[inside].mean(), 0)
    found = []
    for lag in LAGS:
        pairs = [(x[lag:], x[:-lag], inside[lag:] & inside[:-lag])]
        pairs += [(x[:, lag:], x[:, :-lag], inside[:, lag:] & inside[:, :-lag])]
        pairs += [(x[lag:, lag:], x[:-lag, :-lag], inside[lag:, lag:] & inside[:-lag, :-lag])]
        pairs += [(x[lag:, :-lag], x[:-lag, lag:], inside[lag:, :-lag] & inside[:-lag, lag:])]
        along = [(a * b)[both].mean() / x[inside].var() for a, b, both in pairs]
        found += [np.mean(along), abs(along[0] - along[1]), abs(along[2] - along[3])]
    return found


# ---------------------------------------------------------------- probabilities


def from_features(of: Cohort, features: dict[str, np.ndarray], penalty: float, seed: int = 1) -> pd.DataFrame:
    """Mean and out-of-fold probability of every patient, by heads on features."""
    fold, held_out = of.folds(seed)
    each = {}
    for sequence in ("T2W", "ADC"):
        x = features[sequence]
        heads = training.fit_heads(x[of.known], of.target[of.known], held_out, penalty=penalty)
        each[sequence] = training.predict(heads, torch.as_tensor(x).float(), device=torch.device("cpu"), each=True)
    return probabilities(of, each, fold)


def probabilities(of: Cohort, each: dict[str, np.ndarray], fold: np.ndarray) -> pd.DataFrame:
    table = of.patients[["cohort", "time_months", "event", *DESIGN.clinical]].copy()
    for sequence, prob in each.items():
        own = prob[np.arange(len(prob)), fold - 1] if fold.any() else np.full(len(prob), np.nan)
        table[f"{sequence.lower()}_prob"] = prob.mean(axis=1)
        table[f"{sequence.lower()}_prob_oof"] = np.where(of.primary, own, prob.mean(axis=1))
    for ending in ("", "_oof"):
        table[f"dl_prob{ending}"] = table[f"t2w_prob{ending}"] + table[f"adc_prob{ending}"]
    return table


def trained(of: Cohort, kind: str) -> dict[str, np.ndarray]:
    """Networks trained whole: one stopped early at 112 pixels, or one a fold to its last epoch at 56."""
    device, found = resnet.repeatable(STUDY_SEED, device="cpu"), {}
    labels = of.target[of.known]
    fold, held_out = of.folds(STUDY_SEED)
    if kind == "published":
        fold, held_out = 0 * fold, [training.hold_out(labels, share=0.2, seed=STUDY_SEED)]
    for sequence in ("T2W", "ADC"):
        boxes = of.boxes(sequence) if kind == "published" else nn.functional.avg_pool2d(of.boxes(sequence), 2)
        backbone = resnet.backbone("textures", cache_dir=ROOT / "cache", device="cpu")
        each = []
        for number, left in enumerate(held_out):
            parts = dict(
                mix=resnet.slice_mix(boxes.shape[1]), backbone=copy.deepcopy(backbone), dropout=nn.Dropout(0.5)
            )
            network = nn.Sequential(OrderedDict(parts, logit=nn.Linear(512, 1)))
            nn.init.constant_(network.logit.bias, np.log(labels.mean() / (1 - labels.mean())))
            new = [p for name, p in network.named_parameters() if not name.startswith("backbone.")]
            groups = [dict(params=network.backbone.parameters(), lr=1e-4), dict(params=new, lr=1e-3)]
            optimiser = torch.optim.AdamW(groups, weight_decay=0.05, fused=True)
            steps = 20 * int(np.ceil((~left).sum() / 16))
            options = dict(
                loss=nn.BCEWithLogitsLoss(),
                optimiser=optimiser,
                schedule=torch.optim.lr_scheduler.OneCycleLR(optimiser, [1e-4, 1e-3], total_steps=steps, pct_start=0.2),
                augment=partial(training.augment, flip=0.5, shift=boxes.shape[2] // 18, slices=2, gain=0.1),
                patience=10 if kind == "published" else None,
            )
            options |= dict(max_epochs=20, batch_size=16, seed=STUDY_SEED + number, device=device)
            training.fit(network, boxes[of.known], labels, left, **options)
            each.append(training.predict(network, boxes, device=device))
        found[sequence] = np.stack(each, axis=1)
    return {**found, "fold": fold}


# ---------------------------------------------------------------- judged


def judge(of: Cohort, table: pd.DataFrame) -> dict[str, float]:
    """What a recipe reaches in one cohort."""
    target, ceiling = of.target[of.judged], of.truth["image_score"].to_numpy()[of.judged]
    row = dict(seed=of.seed, auc=roc_auc_score(target, table["dl_prob"][of.judged]))
    row |= dict(ceiling=roc_auc_score(target, ceiling))
    row |= {f"auc_{s}": roc_auc_score(target, table[f"{s}_prob"][of.judged]) for s in ("t2w", "adc")}
    row |= {
        f"r_{s}": np.corrcoef(table[f"{s}_prob"][~of.primary], of.truth[f"{s}_view"][~of.primary])[0, 1]
        for s in ("t2w", "adc")
    }
    if table["dl_prob_oof"].notna().all():
        row["auc_oof"] = roc_auc_score(of.target[of.known], table["dl_prob_oof"][of.known])
        own = table.assign(dl_prob=table["dl_prob_oof"])
        groups = studies.by_cohort(own[["cohort", "time_months", "event", "dl_prob", *DESIGN.clinical]])
        judged = studies.judge(studies.fit_models(groups["primary"], DESIGN), groups["validation"])
        row["slope_oof"] = calibration.calibration_slope(judged.time, judged.event, judged.lp["Nomogram"]).slope
    return row


def repeated(of: Cohort, one: pd.DataFrame, other: pd.DataFrame) -> dict[str, float]:
    """How alike two full repeats are: rank correlation in validation, and who changes risk group."""
    groups = []
    for table in (one, other):
        cutoff = roc.youden_cutoff(of.target[of.known], table["dl_prob"][of.known]).threshold
        groups.append((table["dl_prob"] >= cutoff)[~of.primary])
    rho = spearmanr(one["dl_prob"][~of.primary], other["dl_prob"][~of.primary]).statistic
    return dict(seed=of.seed, rank_correlation=rho, changed_group=float((groups[0] != groups[1]).mean()))


def on_permuted_labels(of: Cohort, features: dict[str, np.ndarray], penalty: float, n: int = 20) -> list[dict]:
    """AUC in validation of heads that are fitted to permuted labels."""
    found, draws, x = [], np.random.default_rng(of.seed), {s: torch.as_tensor(f).float() for s, f in features.items()}
    for seed in range(n):
        labels, status = draws.permutation(of.target[of.known]), np.where(of.primary, of.target, np.nan)
        status[of.known] = labels
        fold = np.zeros(len(status), dtype=int)
        fold[of.primary] = training.folds(status[of.primary], FOLDS, seed=seed)
        held_out = [fold[of.known] == number for number in range(1, FOLDS + 1)]
        prob = 0.0
        for sequence, values in features.items():
            heads = training.fit_heads(values[of.known], labels, held_out, penalty=penalty)
            prob = prob + training.predict(heads, x[sequence], device=torch.device("cpu"))
        found.append(dict(seed=of.seed, auc=roc_auc_score(of.target[of.judged], prob[of.judged])))
    return found


def phantom_row(of: Cohort, hand: dict[str, np.ndarray], shuffled: np.ndarray) -> dict[str, float]:
    """What the phantoms give away: correlation with the view of predictions in patients left out, and AUC."""
    row, view = dict(seed=of.seed), of.truth["t2w_view"].to_numpy()
    for kind in ("histogram", "pattern"):
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11)))
        row[f"r_{kind}"] = np.corrcoef(cross_val_predict(ridge, hand[f"T2W_{kind}"], view, cv=10), view)[0, 1]
    sources = {"histogram": (hand["T2W_histogram"], 10.0), "pattern": (hand["T2W_pattern"], 10.0)}
    for kind, (x, penalty) in (sources | {"shuffled": (shuffled, 1000.0)}).items():
        heads = training.fit_heads(x[of.known], of.target[of.known], of.folds(1)[1], penalty=penalty)
        prob = training.predict(heads, torch.as_tensor(x).float(), device=torch.device("cpu"))
        row[f"auc_{kind}"] = roc_auc_score(of.target[of.judged], prob[of.judged])
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="101-110", help="first and last seed of the cohorts (101-110)")
    parser.add_argument("--folder", default="runs/development", help="where cohorts and readings are kept")
    parser.add_argument("--published", type=int, default=10, help="in how many cohorts one network is trained (10)")
    parser.add_argument("--fine-tuned", type=int, default=3, help="in how many cohorts a network is trained a fold (3)")
    parser.add_argument("--random", type=int, default=5, help="in how many cohorts random weights are read (5)")
    asked = parser.parse_args()
    first, last = map(int, asked.seeds.split("-"))
    torch.set_num_threads(1)
    rows, repeats, phantoms, permuted = [], [], [], []
    for number, seed in enumerate(range(first, last + 1)):
        of = Cohort(resolve(asked.folder), seed)
        tables = {}
        for name in READINGS:
            if name.endswith("random weights") and number >= asked.random:
                continue
            features = kept(of.folder / f"{name.replace(' ', '_')}.npz", partial(read, of, name))
            if "shuffled" in name:
                shuffled = features["T2W"]
                continue
            if name == CHOSEN:
                permuted += on_permuted_labels(of, features, CHOSEN_PENALTY)
            for penalty in PENALTIES:
                tables[f"frozen, {name}", penalty] = from_features(of, features, penalty)
            if name == "the same, other textures":
                again = {penalty: from_features(of, features, penalty, seed=2) for penalty in PENALTIES}
        hand = kept(of.folder / "by_hand.npz", partial(by_hand, of))
        both = {s: np.c_[hand[f"{s}_histogram"], hand[f"{s}_pattern"]] for s in ("T2W", "ADC")}
        for penalty in (1.0, 10.0, 100.0):
            tables["histogram and autocorrelation", penalty] = from_features(of, both, penalty)
        for kind in [
            k for k, n in {"published": asked.published, "fine-tuned": asked.fine_tuned}.items() if number < n
        ]:
            found = kept(of.folder / f"{kind}.npz", partial(trained, of, kind))
            tables[kind, np.nan] = probabilities(of, {s: found[s] for s in ("T2W", "ADC")}, found["fold"])
        rows += [dict(recipe=r, penalty=p, **judge(of, table)) for (r, p), table in tables.items()]
        for penalty in PENALTIES:
            pair = tables[f"frozen, {CHOSEN}", penalty], again[penalty]
            repeats.append(dict(penalty=penalty, **repeated(of, *pair)))
        phantoms.append(phantom_row(of, hand, shuffled))
    report(pd.DataFrame(rows), pd.DataFrame(repeats), pd.DataFrame(phantoms), pd.DataFrame(permuted))


def report(rows: pd.DataFrame, repeats: pd.DataFrame, phantoms: pd.DataFrame, permuted: pd.DataFrame) -> None:
    """Print the tables and write them beside this file."""
    rows["share"] = (rows["auc"] - 0.5) / (rows["ceiling"] - 0.5)
    of_recipe = rows.groupby(["recipe", "penalty"], dropna=False, sort=False)
    tries = of_recipe.mean(numeric_only=True).drop(columns="seed")
    tries["cohorts"], tries["auc_se"] = of_recipe.size(), of_recipe["auc"].sem()
    # the share of the mean, since the ceiling of a single cohort may lie near one half
    tries["share"] = (tries["auc"] - 0.5) / (tries["ceiling"] - 0.5)
    of_repeats = repeats.groupby("penalty").mean().drop(columns="seed")
    of_phantoms = phantoms.drop(columns="seed").agg(["mean", "min", "max"]).T
    # given the images, the AUCs of a cohort are independent, each with its own permutation
    cohorts = permuted.groupby("seed")["auc"].agg(n="size", mean="mean", sd="std", lowest="min", highest="max")
    cohorts.loc["all"] = [len(permuted), *permuted["auc"].agg(["mean", "std", "min", "max"])]
    found = {"network_tries": tries, "network_repeats": of_repeats, "network_phantoms": of_phantoms}
    for name, table in (found | {"network_permuted": cohorts}).items():
        table.round(4).to_csv(ROOT / "benchmarks" / f"{name}.csv")
        print(f"\n{name}\n{table.round(3).to_string()}")


if __name__ == "__main__":
    main()
