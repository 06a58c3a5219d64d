"""The network: backbone, slice mixing, head; saved and loaded with all that its prediction depends on."""

from __future__ import annotations

import inspect
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from dlrs.config import InputError, display_path, resolve, sha256, stream, whole_file


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
    textures: Mapping | None = None,
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
        Folder and parameters of the textures' cache, as in `pretrain_textures`; None for its own.
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
        path = resolve(weights)
        if weights == "textures":
            from dlrs.imaging.textures import TEXTURES, pretrain_textures  # which trains with what is above

            path = pretrain_textures(cache_dir, textures or TEXTURES, device=device, threads=threads)
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


class MeanOfSlices(nn.Module):
    """A backbone that reads each slice of a box by itself, in four orientations; a box's features are the mean.

    Every slice is brought to the size that the backbone was pre-trained at and repeated to its three channels. It is
    read as it is, mirrored, transposed, and both, which averages out the direction that a pattern happens to have.
    Slices of zeros are padding and have no part in the mean; a box that is all padding has features of 0.

    Parameters
    ----------
    backbone
        Three channels in, features out.
    size
        Height and width in pixels to which a slice is averaged; a smaller slice stays as it is.
    """

    def __init__(self, backbone: nn.Module, size: int = 56):
        super().__init__()
        self.backbone, self.size = backbone, size

    def forward(self, boxes: torch.Tensor) -> torch.Tensor:
        """Return features of shape (n, features) of boxes of shape (n, slices, height, width)."""
        there = with_tissue(boxes)
        slices = boxes[there].unsqueeze(1)
        if min(slices.shape[2:]) > self.size:
            slices = nn.functional.adaptive_avg_pool2d(slices, self.size)
        pictures = torch.cat(orientations(slices)).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        features = self.backbone(pictures).unflatten(0, (4, -1)).mean(dim=0).split(there.sum(dim=1).tolist())
        return torch.stack([part.mean(dim=0) if len(part) else part.sum(dim=0) for part in features])


def with_tissue(boxes: torch.Tensor) -> torch.Tensor:
    """Return which slices of boxes are not padding, which is zeros: boolean of shape (n, slices)."""
    return boxes.ne(0).any(dim=3).any(dim=2)


def orientations(pictures: torch.Tensor) -> list[torch.Tensor]:
    """Return pictures of shape (..., height, width) as they are, mirrored, transposed, and transposed and mirrored."""
    turned = pictures.transpose(-2, -1)
    return [pictures, pictures.flip(-1), turned, turned.flip(-1)]


def turned_back(pictures: torch.Tensor) -> torch.Tensor:
    """Return pictures of shape (4, ..., height, width), one of each of the `orientations`, in the first one's."""
    plain, mirrored, turned, both = pictures
    return torch.stack([plain, mirrored.flip(-1), turned.transpose(-2, -1), both.flip(-1).transpose(-2, -1)])


class Ensemble(nn.Module):
    """Networks side by side: boxes to the log odds of each, of shape (n, networks)."""

    def __init__(self, *networks: nn.Module):
        super().__init__()
        for number, network in enumerate(networks, 1):
            self.add_module(str(number), network)

    def forward(self, boxes: torch.Tensor) -> torch.Tensor:
        """Return the log odds of every network."""
        return torch.cat([network(boxes) for network in self.children()], dim=1)


HOLDERS = {"Sequential": nn.Sequential, "MeanOfSlices": MeanOfSlices, "Ensemble": Ensemble}


def architecture(network: nn.Module) -> dict:
    """Return a network's layers as JSON can hold them: class, settings, and the layers inside.

    It is read from the network itself, so what is saved is what was trained.

    Parameters
    ----------
    network
        torch.nn layers and torchvision's ResNets in `nn.Sequential`, `MeanOfSlices` and `Ensemble`.

    Returns
    -------
    dict
        `layer` (the class's name), `settings` (of its constructor) and, of
        what holds others, `parts` by name; of a ResNet, what stands for its last layer.

    Raises
    ------
    ValueError
        The network holds a layer that these settings would not give again.

    Examples
    --------
    >>> architecture(nn.Dropout(0.5))
    {'layer': 'Dropout', 'settings': {'p': 0.5, 'inplace': False}}
    """
    described = _described(network)
    if repr(_assembled(described)) != repr(network):
        expected = "network must hold torch.nn layers in nn.Sequential and torchvision's ResNets to be saved"
        raise ValueError(f"{expected}; found a {type(network).__name__} that is not made again from its settings")
    return described


def _described(module: nn.Module) -> dict:
    from torchvision.models.resnet import ResNet

    name = type(module).__name__
    if type(module) in HOLDERS.values():
        parts = {part: _described(child) for part, child in module.named_children()}
        settings = {"settings": {"size": module.size}} if type(module) is MeanOfSlices else {}
        return {"layer": name, **settings, "parts": parts}
    if type(module) is ResNet:
        blocks = [getattr(module, f"layer{place}") for place in (1, 2, 3, 4)]
        shape = {"groups": module.groups, "width_per_group": module.base_width}
        settings = {"block": type(blocks[0][0]).__name__, "layers": [len(block) for block in blocks], **shape}
        return {"layer": name, "settings": settings, "parts": {"fc": _described(module.fc)}}
    if getattr(nn, name, None) is not type(module) or list(module.children()):
        expected = "network must hold torch.nn layers in nn.Sequential and torchvision's ResNets to be saved"
        raise ValueError(f"{expected}; found a {name}")
    signature = inspect.signature(type(module)).parameters
    settings = {key: getattr(module, key) for key in signature if hasattr(module, key)}
    if "bias" in settings:
        settings["bias"] = module.bias is not None
    return {"layer": name, "settings": settings}


def _assembled(described: Mapping) -> nn.Module:
    """Return the untrained network that `architecture` describes."""
    from torchvision.models import resnet

    name, settings = described["layer"], dict(described.get("settings", {}))
    parts = {part: _assembled(inside) for part, inside in described.get("parts", {}).items()}
    if name in HOLDERS:
        held = [OrderedDict(parts)] if name == "Sequential" else parts.values()
        return HOLDERS[name](*held, **settings)
    if name == "ResNet":
        block = {"BasicBlock": resnet.BasicBlock, "Bottleneck": resnet.Bottleneck}[settings.pop("block")]
        network = resnet.ResNet(block, **settings)
        network.fc = parts["fc"]
        return network
    kind = getattr(nn, name)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ValueError(f"layer must be one of torch.nn; found {name!r}")
    return kind(**settings)


def save_model(network: nn.Module, folder: str | Path, description: Mapping) -> None:
    """Write `model.safetensors` and `model.json`: the weights, and how they came about.

    Parameters
    ----------
    network
        Of layers that `architecture` can describe.
    folder
        Where the two files go; each appears whole or not at all.
    description
        What JSON can hold: parameters, data hash, chosen epoch. The network's
        layers, the weights' hash and the versions of torch and torchvision are added.

    Raises
    ------
    ValueError
        The network holds a layer that cannot be described; nothing is written.
    """
    from safetensors.torch import save

    folder, layers = resolve(folder), architecture(network)
    with whole_file(folder / "model.safetensors") as partial:
        partial.write_bytes(save({name: x.cpu().contiguous() for name, x in network.state_dict().items()}))
        digest = sha256(partial)
    versions = {name: version(name) for name in ("torch", "torchvision", "dlrs")}
    content = {**description, "network": layers, "versions": versions, "weights_sha256": digest}
    with whole_file(folder / "model.json") as partial:
        partial.write_text(json.dumps(content, indent=1), encoding="utf-8")


def load_model(folder: str | Path, *, device: str | torch.device = "cpu") -> tuple[nn.Module, dict]:
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
        description = json.loads(described.read_text(encoding="utf-8"))
        digest, network = description["weights_sha256"], _assembled(description["network"])
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        found = "does not describe a network"
        raise InputError(display_path(described), found, expected=expected, remedy=remedy) from error
    state = _read_weights(weights)
    if sha256(weights) != digest:
        found = "the weights are not those that model.json describes"
        raise InputError(display_path(weights), found, expected=expected, remedy=remedy)
    _load_state(network, state, display_path(weights), remedy=remedy)
    return network.to(device).eval(), description
