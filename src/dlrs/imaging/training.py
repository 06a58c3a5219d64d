"""Training on boxes: hold-out, augmentation, the loop, prediction."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import nn
from tqdm import tqdm

from dlrs.config import InputError, display_path, resolve, sha256, stream, whole_file
from dlrs.imaging.resnet import autocast, generator
from dlrs.imaging.volumes import SEQUENCES
from dlrs.stats import resample

MIN_EVENTS = 5  # patients of each class without whom a network is not trained


def load_boxes(index: str | Path, sequence: str, patient_ids: Sequence[str]) -> torch.Tensor:
    """Read the boxes of some patients, checked, in the order asked for.

    Parameters
    ----------
    index
        `boxes.csv` of the preprocessing: patient_id, sequence, file (relative
        to the table's folder), sha256.
    sequence
        T2W or ADC.
    patient_ids
        One box is returned for each.

    Returns
    -------
    tensor of shape (n, slices, height, width), float32

    Raises
    ------
    InputError
        The table, a patient or a box is missing; a box has another hash than
        the table says, cannot be read, has another shape than the first, or
        holds NaN or infinity. Messages name the table's row, never the patient.
    """
    index = resolve(index)
    file = display_path(index)
    remedy = "Run notebook 02 (`python3 run.py reproduce` does), or delete the table so that the boxes are made again."
    if sequence not in SEQUENCES:
        raise ValueError(f"sequence must be one of {', '.join(SEQUENCES)}; found {sequence!r}")
    if not index.is_file():
        raise InputError(file, "the file is missing", expected="the table of boxes", remedy=remedy)
    table = pd.read_csv(index, dtype={"patient_id": str})
    absent = [name for name in ("patient_id", "sequence", "file", "sha256") if name not in table]
    if absent:
        raise InputError(file, f"no column {', '.join(absent)}", expected="the table of boxes", remedy=remedy)
    rows = table["sequence"].eq(sequence)
    rows = pd.Series(table.index[rows], index=table.loc[rows, "patient_id"])
    boxes = None
    for place, patient in enumerate(patient_ids):
        if patient not in rows.index:
            found = f"no {sequence} box for included patient {place + 1} of {len(patient_ids)}"
            raise InputError(file, found, expected="a box for every included patient", remedy=remedy)
        row = int(rows[patient])

        def wrong(found, expected, row=row):
            return InputError(file, found, expected=expected, remedy=remedy, row=row + 2, column="file")

        path = index.parent / table.at[row, "file"]
        if not path.is_file():
            raise wrong("the box is missing", "a .npy file")
        if sha256(path) != table.at[row, "sha256"]:
            raise wrong("the box is not the one that was indexed", "the hash in column sha256")
        try:
            box = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise wrong("the box cannot be read", "a .npy file") from error
        if boxes is None:
            if box.ndim != 3:
                raise wrong(f"the box has shape {box.shape}", "slices, height, width")
            boxes = torch.empty((len(patient_ids), *box.shape))
        if box.shape != tuple(boxes.shape[1:]):
            raise wrong(f"the box has shape {box.shape}", f"{tuple(boxes.shape[1:])} as in the others")
        if not np.isfinite(box).all():
            raise wrong("the box holds NaN or infinite values", "finite intensities")
        boxes[place] = torch.from_numpy(np.ascontiguousarray(box, dtype=np.float32))
    if boxes is None:
        raise ValueError("patient_ids must have at least one row; found none")
    return boxes


def hold_out(target: ArrayLike, *, share: float, seed: int) -> np.ndarray:
    """Mark the patients that early stopping watches and the network does not learn from.

    Parameters
    ----------
    target : array of shape (n,)
        1 for metastasis within the horizon, 0 for none, of patients whose status is known.
    share
        Share held out of each of the two classes, rounded, at least one.
    seed
        Draws who is held out.

    Returns
    -------
    boolean array of shape (n,)

    Raises
    ------
    ValueError
        Too few patients of a class to train and to stop early, or a share outside (0, 1).
    """
    target = np.asarray(target, dtype=float)
    if not np.isin(target, (0, 1)).all():
        row = int(np.argmin(np.isin(target, (0, 1))))
        raise ValueError(f"target must be 0 or 1; found {target[row]} at row {row}")
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1; found {share}")
    held = np.zeros(target.size, dtype=bool)
    for value, name in ((1, "with metastasis"), (0, "without metastasis")):
        rows = np.flatnonzero(target == value)
        if rows.size < MIN_EVENTS:
            raise ValueError(
                f"target must hold at least {MIN_EVENTS} patients {name} within the horizon to train and stop early; "
                f"found {rows.size} of {target.size}"
            )
        size = min(max(round(share * rows.size), 1), rows.size - 1)
        held[stream(seed, "held out", value).choice(rows, size, replace=False)] = True
    return held


def folds(target: ArrayLike, n_folds: int, *, seed: int) -> np.ndarray:
    """Divide patients into folds, each held out in turn.

    Parameters
    ----------
    target : array of shape (n,)
        1 for metastasis within the horizon, 0 for none, NaN where the status is not known.
    n_folds
        Number of folds, 2 or more.
    seed
        Draws the folds.

    Returns
    -------
    integer array of shape (n,)
        1 to n_folds. Each fold has the same number, to one patient, of those
        with metastasis, without and of unknown status.

    Raises
    ------
    ValueError
        Fewer than two folds, or fewer patients of a class than `MIN_EVENTS` or than folds.
    """
    target = np.asarray(target, dtype=float)
    for value, name in ((1, "with metastasis"), (0, "without metastasis")):
        n, least = int((target == value).sum()), max(MIN_EVENTS, n_folds)
        if n < least:
            found = f"within the horizon to train in {n_folds} folds; found {n} of {target.size}"
            raise ValueError(f"target must hold at least {least} patients {name} {found}")
    return resample.folds(np.where(np.isnan(target), 2, target), n_folds, seed=stream(seed, "folds"))


def augment(
    boxes: torch.Tensor,
    draws: torch.Generator,
    *,
    flip: float = 0.5,
    shift: int = 6,
    slices: int = 2,
    gain: float = 0.1,
) -> torch.Tensor:
    """Return a batch of boxes as another examination of the same tumours might have shown them.

    Parameters
    ----------
    boxes : tensor of shape (n, slices, height, width)
    draws
        Where the random numbers come from; the same state gives the same batch.
    flip
        Probability of a mirror image in each of the two directions, and
        across the diagonal where boxes are square.
    shift, slices
        Pixels, and slices, that a box may move by to either side; what moves in is 0.
    gain
        Standard deviation of the factor on the intensities, around 1.
    """

    def moved(steps, size):  # where a stretch of this size goes to, and where it comes from
        return slice(max(steps, 0), size + min(steps, 0)), slice(max(-steps, 0), size - max(steps, 0))

    result = torch.zeros_like(boxes)
    n, *size = boxes.shape
    coins = (torch.rand(n, 3, generator=draws) < flip).tolist()
    reach = torch.tensor([slices, shift, shift])
    steps = torch.floor(torch.rand(n, 3, generator=draws) * (2 * reach + 1)).int() - reach
    factors = 1 + gain * torch.randn(n, generator=draws)
    for i, (vertical, horizontal, diagonal) in enumerate(coins):
        box = boxes[i].transpose(1, 2) if diagonal and size[1] == size[2] else boxes[i]
        box = box.flip([axis for axis, turn in ((1, vertical), (2, horizontal)) if turn])
        to, source = zip(*(moved(*pair) for pair in zip(steps[i].tolist(), size, strict=True)), strict=True)
        result[i][to] = box[source] * factors[i]
    return result


class Fitted(NamedTuple):
    """What a training leaves besides the network's weights."""

    history: pd.DataFrame  # epoch, learning_rate, train_loss, heldout_loss
    best_epoch: int  # the epoch whose weights the network now has


def fit(
    network: nn.Module,
    boxes: torch.Tensor,
    target: ArrayLike,
    held_out: ArrayLike,
    *,
    loss: Callable,
    optimiser: torch.optim.Optimizer,
    schedule,
    augment: Callable,
    max_epochs: int,
    patience: int | None,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> Fitted:
    """Train a network: until those held out do no better, as published, or to the end of the schedule.

    Parameters
    ----------
    network
        Boxes to log odds of shape (n, 1); trained in place.
    boxes : tensor of shape (n, slices, height, width)
        The primary cohort's patients with a known status, and nobody else.
    target : array of shape (n,)
        1 for metastasis within the horizon, 0 for none.
    held_out : boolean array of shape (n,)
        The early-stopping set, which the network is not trained on; `hold_out` draws them.
    loss, optimiser, schedule
        torch's own, built on this network; the schedule steps once a batch.
    augment
        Function of (boxes, generator) that returns the boxes to train on.
    max_epochs, patience
        Stop after so many epochs, or so many without a lower loss on those
        held out, whose best epoch is then chosen. Without patience the last
        epoch is, when the rate has fallen: the held-out patients choose
        nothing, and their probabilities are out-of-fold.
    batch_size
        Boxes a step at most; an epoch's batches are of equal size, give or take one.
    seed
        Order, augmentation and dropout are drawn from it.
    device
        Where to train, from `repeatable`.

    Returns
    -------
    Fitted
        The losses by epoch, and the epoch chosen: the last, or with patience
        the first with the lowest loss on the patients held out.
    """
    target = torch.as_tensor(np.asarray(target), dtype=torch.float32)
    held_out = torch.as_tensor(np.asarray(held_out, dtype=bool))
    learn, watch = torch.where(~held_out)[0], torch.where(held_out)[0]
    draws = generator(seed, "order and augmentation")
    torch.manual_seed(seed)  # dropout's
    network.to(device, memory_format=torch.channels_last)  # the order in which processors and GPUs convolve fastest
    history, best, best_loss = [], {}, math.inf
    bar = tqdm(range(1, max_epochs + 1), desc="training", unit="epoch")
    for epoch in bar:
        network.train()
        train_loss, batches = 0.0, math.ceil(len(learn) / batch_size)
        for rows in learn[torch.randperm(len(learn), generator=draws)].tensor_split(batches):
            x = augment(boxes[rows], draws).to(device, memory_format=torch.channels_last)
            with autocast(device):
                logit = network(x)
            value = loss(logit.float().squeeze(1), target[rows].to(device))
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
            train_loss += value.item() * len(rows) / len(learn)
        watched = loss(_outputs(network, boxes[watch], batch_size, device).squeeze(1), target[watch]).item()
        history.append((epoch, schedule.get_last_lr()[-1], train_loss, watched))
        bar.set_postfix_str(f"loss {train_loss:.3f}, held out {watched:.3f}")
        if not math.isfinite(watched + train_loss):
            raise ValueError(f"loss must stay finite; found {train_loss} and {watched} held out at epoch {epoch}")
        if patience is None or watched < best_loss:
            best_loss, best_epoch = watched, epoch
            best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        elif epoch - best_epoch >= patience:
            break
    network.load_state_dict(best)
    columns = ["epoch", "learning_rate", "train_loss", "heldout_loss"]
    return Fitted(pd.DataFrame(history, columns=columns), best_epoch)


def _outputs(network: nn.Module, boxes: torch.Tensor, batch_size: int, device: str | torch.device) -> torch.Tensor:
    """Return what a network puts out in float32, so that it hardly depends on batch size or machine."""
    network = network.to(device, memory_format=torch.channels_last).eval()
    layout = torch.channels_last if boxes.ndim == 4 else torch.preserve_format
    with torch.inference_mode():
        return torch.cat([network(x.to(device, memory_format=layout)).float().cpu() for x in boxes.split(batch_size)])


def predict(
    network: nn.Module, boxes: torch.Tensor, *, batch_size: int = 32, device: torch.device, each: bool = False
) -> np.ndarray:
    """Return each patient's probability of metastasis within the horizon, in [0, 1].

    It is the sigmoid of the network's log odds, or the mean of the sigmoids
    where it has several. On patients it was trained on it is too sure of
    itself, and it is not calibrated: the Cox model that follows takes it as a
    score.

    Parameters
    ----------
    network
        Boxes to log odds of shape (n, networks).
    boxes : tensor of shape (n, slices, height, width)
    batch_size, device
        How many boxes at a time, and where.
    each
        Return the probabilities of each network, shape (n, networks), not their mean, shape (n,).
    """
    prob = torch.sigmoid(_outputs(network, boxes, batch_size, device).double()).numpy()
    return prob if each else prob.mean(axis=1)


def features(
    reader: nn.Module,
    boxes: torch.Tensor,
    *,
    batch_size: int = 8,
    device: str | torch.device = "cpu",
    cache_dir: str | Path | None = None,
) -> np.ndarray:
    """Return what a network's layers before the last see of each patient.

    Parameters
    ----------
    reader
        Boxes to features of shape (n, features), such as `resnet.MeanOfSlices`; used as in evaluation, in float32.
    boxes : tensor of shape (n, slices, height, width)
    batch_size, device
        How many boxes at a time, and where.
    cache_dir
        Keep the features here under a hash of weights and boxes, and take them from there when it is called again:
        trainings that differ in outcomes or folds only read the images once. The file appears whole or not at all.

    Returns
    -------
    float32 array of shape (n, features)
    """
    if cache_dir is None:
        return _outputs(reader, boxes, batch_size, device).numpy()
    digest = hashlib.sha256(f"{reader} {tuple(boxes.shape)} {torch.device(device).type}".encode())
    for tensor in (*reader.state_dict().values(), boxes):
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()))
    path = resolve(cache_dir) / f"features-{digest.hexdigest()[:16]}.npy"
    if not path.is_file():
        with whole_file(path) as partial:
            np.save(partial, _outputs(reader, boxes, batch_size, device).numpy())
    return np.load(path)


def fit_heads(features: ArrayLike, target: ArrayLike, held_out: Sequence[ArrayLike], *, penalty: float) -> nn.Linear:
    """Fit a penalised logistic regression on features for each set of patients held out.

    Parameters
    ----------
    features : array of shape (n, p)
        From `features`, of patients with a known status. They are standardised by mean and SD of those a head is
        fitted to; the layer returned takes them as they are.
    target : array of shape (n,)
        1 for metastasis within the horizon, 0 for none.
    held_out : sequence of boolean arrays of shape (n,)
        A head for each is fitted to all others.
    penalty
        Weight of half the sum of squared coefficients beside the sum of the patients' cross-entropies.

    Returns
    -------
    Linear
        p features to the log odds of each head. scikit-learn's `LogisticRegression`, `C` = 1 / penalty.
    """
    from sklearn.linear_model import LogisticRegression

    features, target = np.asarray(features, dtype=float), np.asarray(target)
    layer = nn.Linear(features.shape[1], len(held_out))
    for head, left_out in enumerate(held_out):
        x = features[~np.asarray(left_out)]
        mean, sd = x.mean(axis=0), x.std(axis=0)
        sd = np.where(sd > 0, sd, 1.0)
        fitted = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-8)
        fitted.fit((x - mean) / sd, target[~np.asarray(left_out)])
        weights = fitted.coef_[0] / sd
        with torch.no_grad():
            layer.weight[head] = torch.as_tensor(weights)
            layer.bias[head] = float(fitted.intercept_[0] - weights @ mean)
    return layer


def data_hash(index: str | Path, sequence: str, patient_ids: Sequence[str], target: ArrayLike) -> str:
    """Return a hash of what a network was trained on: each patient's box (its hash in `boxes.csv`) and target."""
    table = pd.read_csv(resolve(index), dtype=str).query("sequence == @sequence").set_index("patient_id")
    lines = [
        f"{table.at[p, 'sha256']} {t:g}" for p, t in zip(patient_ids, np.asarray(target, dtype=float), strict=True)
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
