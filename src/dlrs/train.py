"""The network of one MRI sequence: its pre-training, one-screen loop, prediction, and the saved model.

A box is 20 slices of 112x112 pixels, a batch of them a tensor of shape
(n, 20, 112, 112). The network gives one number per patient, the log odds of
distant metastasis within the horizon; higher means higher risk.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import nn
from tqdm import tqdm

from dlrs.config import InputError, display_path, resolve, sha256, stream, whole_file
from dlrs.images import SEQUENCES

TEXTURES = {
    "images": 16_000,  # seen once each; a minute and a half on two cores with bfloat16 instructions
    "size": 56,  # pixels; half a box, so that a step costs a quarter
    "batch_size": 64,
    "learning_rate": 2e-3,
    "weight_decay": 0.05,
    "seed": 1,
}
TEXTURE_TARGETS = ("scale", "bandwidth", "along", "across", "contrast", "skewness", "patchiness", "grain")


# ---------------------------------------------------------------- the machine


def repeatable(seed: int, *, threads: int = 1, device: str = "auto") -> torch.device:
    """Set seed, thread count and deterministic arithmetic, and return the device to train on.

    The same seed, machine and thread count then give the same network bit for
    bit. Another processor or thread count sums in another order and does not.

    Parameters
    ----------
    seed
        Seed of torch's own random numbers (weights, dropout).
    threads
        Processor threads; T2W and ADC train side by side with one each.
    device
        `auto` takes a CUDA device when there is one, else the processor; any
        name that torch knows, such as `cpu` or `cuda:1`, takes that.

    Raises
    ------
    ValueError
        A CUDA device was asked for and there is none.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts; without it sums vary
    cuda = torch.cuda.is_available()
    if device.startswith("cuda") and not cuda:
        raise ValueError(f"device must be there; found {device!r} asked for on a machine without a usable CUDA device")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    return torch.device(("cuda" if cuda else "cpu") if device == "auto" else device)


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """Return bfloat16 where the device multiplies it in hardware, else None for plain float32.

    Processors without such instructions emulate bfloat16 more slowly than
    they compute float32.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        found = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        fast = found.get("avx512_bf16", False) or found.get("amx_tile", False)
    return torch.bfloat16 if fast else None


def autocast(device: torch.device) -> torch.autocast:
    """Return the context in which a training step runs: `mixed_precision` where it is fast."""
    kind = mixed_precision(device)
    return torch.autocast(device.type, dtype=kind or torch.bfloat16, enabled=kind is not None)


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Return torch's random generator for a purpose, as `config.stream` does for NumPy's."""
    return torch.Generator().manual_seed(int(stream(seed, *names).integers(2**63 - 1)))


# ---------------------------------------------------------------- generated textures


def textures(n: int, size: int, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw random textures and the parameters they were made with.

    Three independent fields with one anisotropic log-normal power spectrum are
    squashed towards two phases, skewed, made patchy by a smooth amplitude and
    covered with white noise. Nothing here knows of tumours, scanners or the
    synthetic cohort.

    Parameters
    ----------
    n, size
        Number of textures, and their width and height in pixels.
    draws
        Where the random numbers come from.

    Returns
    -------
    images : tensor of shape (n, 3, size, size)
        Mean 0 and a standard deviation between 0.5 and 2.
    parameters : tensor of shape (n, 8)
        `TEXTURE_TARGETS`, each uniform in [-1, 1].
    """
    parameters = 2 * torch.rand(n, len(TEXTURE_TARGETS), generator=draws) - 1
    scale, bandwidth, along, across, contrast, skewness, patchiness, grain = parameters[..., None, None, None].unbind(1)
    down, right = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]

    def bump(radius, centre, octaves):
        return torch.exp(-0.5 * (torch.log2(radius.clamp_min(1e-6) / centre) / octaves) ** 2)

    def field(amplitude, channels):
        noise = torch.randn(n, channels, size, size // 2 + 1, 2, generator=draws)
        return standard(torch.fft.irfft2(torch.view_as_complex(noise) * amplitude, s=(size, size)))

    def standard(x):
        return (x - x.mean((-2, -1), keepdim=True)) / x.std((-2, -1), keepdim=True)

    angle = torch.atan2(across, along) / 2  # a half turn gives the same texture
    stretch = 2 ** torch.hypot(along, across).clamp_max(1)
    first = (down * angle.cos() + right * angle.sin()) * stretch
    second = (right * angle.cos() - down * angle.sin()) / stretch
    x = field(bump(torch.hypot(first, second), 0.08 * 4**scale, 0.7 * 2.3**bandwidth), 3)
    x = standard(torch.tanh(x * 4**contrast))
    x = torch.sinh(0.6 * (x + 1.5 * skewness))
    x = standard(x * torch.exp(0.6 * (1 + patchiness) * field(bump(torch.hypot(down, right), 0.03, 0.5), 1)))
    x = standard(x + 0.3 * (1 + grain) * torch.randn(x.shape, generator=draws))
    return x * 2 ** (2 * torch.rand(n, 1, 1, 1, generator=draws) - 1), parameters


def textures_file(cache_dir: str | Path, parameters: Mapping = TEXTURES) -> Path:
    """Return where the backbone with these pre-training parameters is cached.

    The name holds a hash of the parameters and of the source that makes the
    textures and learns them, so that a changed recipe never meets an old file.
    """
    source = inspect.getsource(textures) + inspect.getsource(_learn_textures)
    asked = json.dumps({**TEXTURES, **parameters}, sort_keys=True)
    return resolve(cache_dir) / f"textures-{hashlib.sha256((asked + source).encode()).hexdigest()[:16]}.safetensors"


def pretrain_textures(
    cache_dir: str | Path, parameters: Mapping = TEXTURES, *, device: str = "auto", threads: int | None = None
) -> Path:
    """Train a ResNet18 to read the parameters of generated textures, once, and return the cached file.

    What such a backbone transfers is a sense of scale, direction and
    contrast, learnt without a download and without any patient. The file
    appears whole or not at all; two processes that make it at once
    both write the same.

    Parameters
    ----------
    cache_dir
        Folder of the cache.
    parameters
        Any of `TEXTURES`; those left out keep their value there.
    device, threads
        As in `repeatable`; all of the processor's cores if not said.

    Raises
    ------
    ValueError
        An unknown parameter.
    """
    from safetensors.torch import save

    unknown = sorted(set(parameters) - set(TEXTURES))
    if unknown:
        raise ValueError(f"parameters must be among {', '.join(TEXTURES)}; found {', '.join(unknown)}")
    path = textures_file(cache_dir, parameters)
    if path.is_file():
        return path
    threads_before = torch.get_num_threads()
    with torch.random.fork_rng():  # what is drawn after this call must not depend on whether the cache was full
        state, about = _learn_textures({**TEXTURES, **parameters}, device, threads or os.cpu_count() or 1)
    torch.set_num_threads(threads_before)
    with whole_file(path) as partial:
        partial.write_bytes(save(state, {"about": json.dumps(about)}))  # save_file would make it unreadable to others
    return path


def _learn_textures(p: Mapping, device: str, threads: int) -> tuple[dict[str, torch.Tensor], dict]:
    """Train the backbone of `pretrain_textures`; return its weights and how well it reads textures never seen."""
    from torchvision.models import resnet18

    device = repeatable(p["seed"], threads=threads, device=device)
    draws = generator(p["seed"], "textures")
    network = resnet18(num_classes=len(TEXTURE_TARGETS)).to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=p["weight_decay"], fused=True)
    steps = math.ceil(p["images"] / p["batch_size"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, p["learning_rate"], total_steps=steps, pct_start=0.2)
    bar = tqdm(range(steps), desc="textures", unit="step", mininterval=2)
    for _ in bar:
        images, truth = (x.to(device) for x in textures(p["batch_size"], p["size"], draws))
        with autocast(device):
            read = network(images.contiguous(memory_format=torch.channels_last))
        loss = nn.functional.mse_loss(read.float(), truth) * 3  # 1 is what guessing the mean scores
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        bar.set_postfix_str(f"unexplained {loss.item():.2f}", refresh=False)
    network.eval()
    images, truth = textures(256, p["size"], generator(p["seed"], "textures never seen"))
    with torch.inference_mode():
        explained = 1 - ((network(images.to(device)).cpu() - truth) ** 2).mean(0) * 3
    about = {
        "parameters": dict(p),
        "explained_variance": dict(zip(TEXTURE_TARGETS, np.round(explained.tolist(), 3).tolist(), strict=True)),
        "torch": torch.__version__,
    }
    weights = {k: v.cpu().contiguous() for k, v in network.state_dict().items() if not k.startswith("fc.")}
    return weights, about


# ---------------------------------------------------------------- the network


def _imagenet() -> dict[str, torch.Tensor]:
    """Load torchvision's ResNet18 weights through torchvision's own loader and cache."""
    from torchvision.models import ResNet18_Weights

    weights = ResNet18_Weights.IMAGENET1K_V1
    name = weights.url.rsplit("/", 1)[1]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    remedy = (
        f"Fetch {weights.url} on a machine with network and put it at {path} "
        "(TORCH_HOME moves that folder), or set weights to textures."
    )
    expected = "torchvision's ResNet18 weights"
    if path.is_file() and not sha256(path).startswith(path.stem.rsplit("-", 1)[1]):
        raise InputError(path, "the file's hash is not the one in its name", expected=expected, remedy=remedy)
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, HTTPException, RuntimeError) as error:  # no network, a broken transfer, a wrong hash
        found = f"the file is not there and could not be downloaded ({error})"
        raise InputError(path, found, expected=expected, remedy=remedy) from error


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict without running any code that the file may hold."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    expected, remedy = "a state dict as .safetensors, .pt or .pth", "Give the path of such a file."
    if not path.is_file():
        raise InputError(display_path(path), "the file is missing", expected=expected, remedy=remedy)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        found = f"cannot be read ({str(error).splitlines()[0][:120]})"
        raise InputError(display_path(path), found, expected=expected, remedy=remedy) from error
    if not (isinstance(state, Mapping) and state and all(isinstance(v, torch.Tensor) for v in state.values())):
        raise InputError(display_path(path), "holds something else than tensors", expected=expected, remedy=remedy)
    return dict(state)


def backbone(
    weights: str | Path = "textures",
    *,
    cache_dir: str | Path = "cache",
    textures: Mapping = TEXTURES,
    device: str = "auto",
    threads: int | None = None,
) -> nn.Module:
    """Return torchvision's ResNet18 without its last layer: three channels in, 512 features out.

    Parameters
    ----------
    weights
        `textures`, pre-trained here on generated textures and cached;
        `imagenet`, torchvision's own weights, downloaded once by torchvision
        (the paper's choice); `none`, random; or the path of a state dict of a
        ResNet18 (.safetensors, .pt, .pth), whose last layer is left out.
    cache_dir, textures
        Folder and parameters of the textures' cache, as in `pretrain_textures`.
    device, threads
        Where pre-training runs when the cache is empty.

    Raises
    ------
    InputError
        The file is missing, cannot be read or downloaded, or holds another network.
    """
    from torchvision.models import resnet18

    if weights == "none":
        state, source = None, ""
    elif weights == "imagenet":
        state, source = _imagenet(), "torchvision's cache"
    else:
        path = pretrain_textures(cache_dir, textures, device=device, threads=threads) if weights == "textures" else None
        path = path or resolve(weights)
        state, source = _read_weights(path), display_path(path)
    network = resnet18()
    network.fc = nn.Identity()
    if state is not None:
        state = {name: value for name, value in state.items() if not name.startswith("fc.")}
        _load_state(network, state, source, remedy="Save network.state_dict() of torchvision.models.resnet18.")
    return network


def _load_state(network: nn.Module, state: Mapping[str, torch.Tensor], source, *, remedy: str) -> None:
    """Give a network its weights; refuse those of another one."""
    ours = network.state_dict()
    wrong = [
        k for k in ours.keys() | state.keys() if k not in ours or k not in state or ours[k].shape != state[k].shape
    ]
    if wrong:
        found = f"{len(wrong)} tensors do not fit, first {min(wrong)}"
        raise InputError(source, found, expected=f"the {len(ours)} tensors of this ResNet18", remedy=remedy)
    network.load_state_dict(state)


def slice_mix(n_slices: int = 20) -> nn.Conv2d:
    """Return the 1x1 convolution from a box's slices to the backbone's three channels.

    Each channel starts as a weighted sum of a few neighbouring slices, a
    tenth, a quarter and two fifths up the box, where nearly every tumour has
    some: a random sum of all slices would blur the texture that the backbone
    knows how to read. Training moves the weights from there.
    """
    mix = nn.Conv2d(n_slices, 3, kernel_size=1)
    centres = n_slices * torch.tensor([[0.1], [0.25], [0.4]])
    weights = torch.exp(-0.5 * (torch.arange(n_slices) - centres) ** 2)
    with torch.no_grad():
        mix.weight.copy_((weights / weights.norm(dim=1, keepdim=True))[..., None, None])
        mix.bias.zero_()
    return mix


def build_network(features: nn.Module | None = None, *, n_slices: int = 20, dropout: float = 0.5) -> nn.Sequential:
    """Put the slices' 1x1 convolution before a backbone, and dropout and one logit behind it.

    Parameters
    ----------
    features
        The backbone, from three channels to 512 features; random weights if None.
    n_slices
        Slices of a box.
    dropout
        Share of the 512 features left out at each training step.

    Returns
    -------
    Sequential
        Boxes of shape (n, n_slices, 112, 112) to log odds of shape (n, 1).
    """
    parts = {
        "mix": slice_mix(n_slices),
        "backbone": backbone("none") if features is None else features,
        "dropout": nn.Dropout(dropout),
        "logit": nn.Linear(512, 1),
    }
    return nn.Sequential(OrderedDict(parts))


# ---------------------------------------------------------------- the patients


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
    shown = display_path(index)
    remedy = "Run notebook 02 (python3 run.py reproduce does), or delete the table so that the boxes are made again."
    if sequence not in SEQUENCES:
        raise ValueError(f"sequence must be one of {', '.join(SEQUENCES)}; found {sequence!r}")
    if not index.is_file():
        raise InputError(shown, "the file is missing", expected="the table of boxes", remedy=remedy)
    table = pd.read_csv(index, dtype={"patient_id": str})
    absent = [name for name in ("patient_id", "sequence", "file", "sha256") if name not in table]
    if absent:
        raise InputError(shown, f"no column {', '.join(absent)}", expected="the table of boxes", remedy=remedy)
    rows = table["sequence"].eq(sequence)
    rows = pd.Series(table.index[rows], index=table.loc[rows, "patient_id"])
    boxes = None
    for place, patient in enumerate(patient_ids):
        if patient not in rows.index:
            found = f"no {sequence} box for included patient {place + 1} of {len(patient_ids)}"
            raise InputError(shown, found, expected="a box for every included patient", remedy=remedy)
        row = int(rows[patient])

        def wrong(found, expected, row=row):
            return InputError(shown, found, expected=expected, remedy=remedy, row=row + 2, column="file")

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


def hold_out(target: ArrayLike, *, share: float, seed: int, min_events: int = 5) -> np.ndarray:
    """Mark the patients that early stopping watches and the network does not learn from.

    Parameters
    ----------
    target : array of shape (n,)
        1 for metastasis within the horizon, 0 for none, of patients whose status is known.
    share
        Share held out of each of the two classes, rounded, at least one.
    seed
        Draws who is held out.
    min_events
        The fewest patients that each class must have.

    Returns
    -------
    boolean array of shape (n,)

    Raises
    ------
    ValueError
        Too few patients of a class to learn from and to watch, or a share outside (0, 1).
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
        if rows.size < min_events:
            raise ValueError(
                f"target must hold at least {min_events} patients {name} within the horizon to train and stop early; "
                f"found {rows.size} of {target.size}"
            )
        size = min(max(round(share * rows.size), 1), rows.size - 1)
        held[stream(seed, "held out", value).choice(rows, size, replace=False)] = True
    return held


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
        to, of = zip(*(moved(*pair) for pair in zip(steps[i].tolist(), size, strict=True)), strict=True)
        result[i][to] = box[of] * factors[i]
    return result


# ---------------------------------------------------------------- training


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
    patience: int,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> Fitted:
    """Train a network, and leave it with the weights of the epoch that did best on the patients held out.

    Parameters
    ----------
    network
        Boxes to log odds of shape (n, 1); trained in place.
    boxes : tensor of shape (n, slices, height, width)
        The primary cohort's patients with a known status, and nobody else.
    target : array of shape (n,)
        1 for metastasis within the horizon, 0 for none.
    held_out : boolean array of shape (n,)
        Patients that are watched and not learnt from; `hold_out` draws them.
    loss, optimiser, schedule
        torch's own, built on this network; the schedule steps once a batch.
    augment
        Function of (boxes, generator) that returns the boxes to train on.
    max_epochs, patience
        Stop after so many epochs, or so many without a lower loss on those held out.
    batch_size
        Boxes a step at most; an epoch's batches are of equal size, give or take one.
    seed
        Order, augmentation and dropout are drawn from it.
    device
        Where to train, from `repeatable`.

    Returns
    -------
    Fitted
        The losses by epoch, and the epoch chosen: the first with the lowest
        loss on the patients held out.
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
        watched = loss(_logits(network, boxes[watch], batch_size, device), target[watch]).item()
        history.append((epoch, schedule.get_last_lr()[-1], train_loss, watched))
        bar.set_postfix_str(f"loss {train_loss:.3f}, held out {watched:.3f}")
        if not math.isfinite(watched + train_loss):
            raise ValueError(f"loss must stay finite; found {train_loss} and {watched} held out at epoch {epoch}")
        if watched < best_loss:
            best_loss, best_epoch = watched, epoch
            best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        elif epoch - best_epoch >= patience:
            break
    network.load_state_dict(best)
    columns = ["epoch", "learning_rate", "train_loss", "heldout_loss"]
    return Fitted(pd.DataFrame(history, columns=columns), best_epoch)


def _logits(network: nn.Module, boxes: torch.Tensor, batch_size: int, device: torch.device) -> torch.Tensor:
    """Return log odds in float32, so that they hardly depend on batch size or machine."""
    network = network.to(device, memory_format=torch.channels_last).eval()
    with torch.inference_mode():
        parts = [
            network(x.to(device, memory_format=torch.channels_last)).float().squeeze(1).cpu()
            for x in boxes.split(batch_size)
        ]
    return torch.cat(parts)


def predict(network: nn.Module, boxes: torch.Tensor, *, batch_size: int = 32, device: torch.device) -> np.ndarray:
    """Return each patient's probability of metastasis within the horizon, in [0, 1].

    It is the network's sigmoid output. On patients it was trained on it is
    too sure of itself, and it is not calibrated: the Cox model that follows
    takes it as a score.
    """
    return torch.sigmoid(_logits(network, boxes, batch_size, device).double()).numpy()


# ---------------------------------------------------------------- the saved model


def data_hash(index: str | Path, sequence: str, patient_ids: Sequence[str], target: ArrayLike) -> str:
    """Return a hash of what a network learnt from: each patient's box (its hash in `boxes.csv`) and target."""
    table = pd.read_csv(resolve(index), dtype=str).query("sequence == @sequence").set_index("patient_id")
    lines = [
        f"{table.at[p, 'sha256']} {t:g}" for p, t in zip(patient_ids, np.asarray(target, dtype=float), strict=True)
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def save_model(network: nn.Module, folder: str | Path, about: Mapping) -> None:
    """Write `model.safetensors` and `model.json`: the weights, and how they came about.

    Parameters
    ----------
    network
        As `build_network` makes it.
    folder
        Where the two files go; each appears whole or not at all.
    about
        What JSON can hold: parameters, data hash, chosen epoch. The network's
        shape, the weights' hash and the versions of torch and torchvision are added.
    """
    from safetensors.torch import save

    folder = resolve(folder)
    with whole_file(folder / "model.safetensors") as partial:
        partial.write_bytes(save({name: x.cpu().contiguous() for name, x in network.state_dict().items()}))
        digest = sha256(partial)
    shape = {"n_slices": network.mix.in_channels, "dropout": network.dropout.p}
    versions = {name: version(name) for name in ("torch", "torchvision", "dlrs")}
    content = {**about, "network": shape, "versions": versions, "weights_sha256": digest}
    with whole_file(folder / "model.json") as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def load_model(folder: str | Path, *, device: str | torch.device = "cpu") -> tuple[nn.Sequential, dict]:
    """Return a saved network, ready to predict, and what was saved about it.

    Raises
    ------
    InputError
        A file is missing or damaged, or the weights are not those that the JSON describes.
    """
    folder = resolve(folder)
    weights, described = folder / "model.safetensors", folder / "model.json"
    expected, remedy = "a model as notebook 03 saves it", "Train it again, or give the folder of a whole model."
    if not described.is_file():
        raise InputError(display_path(described), "the file is missing", expected=expected, remedy=remedy)
    try:
        about = json.loads(described.read_text(encoding="utf-8"))
        digest, network = about["weights_sha256"], build_network(**about["network"])
    except (ValueError, KeyError, TypeError) as error:
        found = "does not describe a network"
        raise InputError(display_path(described), found, expected=expected, remedy=remedy) from error
    state = _read_weights(weights)
    if sha256(weights) != digest:
        found = "the weights are not those that model.json describes"
        raise InputError(display_path(weights), found, expected=expected, remedy=remedy)
    _load_state(network, state, display_path(weights), remedy=remedy)
    return network.to(device).eval(), about


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the textures' backbone from the command line: `python -m dlrs.train textures --cache cache`."""
    parser = argparse.ArgumentParser(prog="python -m dlrs.train", description=__doc__.splitlines()[0])
    command = parser.add_subparsers(required=True).add_parser("textures", help="pre-train on generated textures")
    command.add_argument("--cache", default="cache", help="folder of the cache")
    command.add_argument("--threads", type=int, help="processor threads, all if not said")
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.add_argument("--receipt", help="write a JSON file here that says which cached file was made")
    for name, value in TEXTURES.items():
        command.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    asked = parser.parse_args(arguments)
    parameters = {name: getattr(asked, name) for name in TEXTURES}
    path = pretrain_textures(asked.cache, parameters, device=asked.device, threads=asked.threads)
    print(f"backbone: {display_path(path)}")
    if asked.receipt:
        receipt = {"file": display_path(path), "sha256": sha256(path), "parameters": parameters}
        with whole_file(resolve(asked.receipt)) as partial:
            partial.write_text(json.dumps(receipt, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
