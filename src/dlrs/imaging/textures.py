"""Generated textures and a backbone trained on them, where there are no ImageNet weights."""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dlrs.config import display_path, resolve, sha256, whole_file

TEXTURES = {
    "images": 16_000,  # seen once each; a minute and a half on two cores with bfloat16 instructions
    "size": 56,  # pixels; half a box, so that a step costs a quarter
    "batch_size": 64,
    "learning_rate": 2e-3,
    "weight_decay": 0.05,
    "seed": 1,
}
TEXTURE_TARGETS = ("scale", "bandwidth", "along", "across", "contrast", "skewness", "patchiness", "grain")


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
    settings = json.dumps({**TEXTURES, **parameters}, sort_keys=True)
    return resolve(cache_dir) / f"textures-{hashlib.sha256((settings + source).encode()).hexdigest()[:16]}.safetensors"


def pretrain_textures(
    cache_dir: str | Path, parameters: Mapping = TEXTURES, *, device: str = "auto", threads: int | None = None
) -> Path:
    """Train a ResNet18 to read the parameters of generated textures, once, and return the cached file.

    No download and no patient is needed. Which parameters the backbone reads
    is measured on textures that it was not trained on and kept in the file,
    see `explained_variance`: with the default recipe scale, direction,
    skewness, patchiness and, less well, grain, but neither contrast nor
    bandwidth. The file appears whole or not at all; two processes that make
    it at once both write the same.

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
        state, description = _learn_textures({**TEXTURES, **parameters}, device, threads or os.cpu_count() or 1)
    torch.set_num_threads(threads_before)
    with whole_file(path) as partial:
        partial.write_bytes(
            save(state, {"about": json.dumps(description)})
        )  # save_file would make it unreadable to others
    return path


def explained_variance(cache_dir: str | Path, parameters: Mapping = TEXTURES) -> dict[str, float]:
    """Return how much of each texture parameter's variance the cached backbone's training explained.

    Returns
    -------
    dict
        By `TEXTURE_TARGETS`: 1 - mean squared error over variance, on 256
        textures that it was not trained on. 0 is what the mean scores, and
        a parameter near or below 0 was not learned.
    """
    from safetensors import safe_open

    with safe_open(textures_file(cache_dir, parameters), "pt") as file:
        return json.loads(file.metadata()["about"])["explained_variance"]


def _learn_textures(p: Mapping, device: str, threads: int) -> tuple[dict[str, torch.Tensor], dict]:
    """Train the backbone of `pretrain_textures`; return its weights and how well it reads textures never seen."""
    from torchvision.models import resnet18

    from dlrs.imaging.resnet import autocast, generator, repeatable  # which builds networks on these textures

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
    description = {
        "parameters": dict(p),
        "explained_variance": dict(zip(TEXTURE_TARGETS, np.round(explained.tolist(), 3).tolist(), strict=True)),
        "torch": torch.__version__,
    }
    weights = {k: v.cpu().contiguous() for k, v in network.state_dict().items() if not k.startswith("fc.")}
    return weights, description


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the textures' backbone from the command line: `python -m dlrs.imaging.textures textures --cache cache`."""
    parser = argparse.ArgumentParser(prog="python -m dlrs.imaging.textures", description=__doc__.splitlines()[0])
    command = parser.add_subparsers(required=True).add_parser("textures", help="pre-train on generated textures")
    command.add_argument("--cache", default="cache", help="folder of the cache")
    command.add_argument("--threads", type=int, help="processor threads, all if not said")
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.add_argument("--receipt", help="write a JSON file here that says which cached file was made")
    for name, value in TEXTURES.items():
        command.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    args = parser.parse_args(arguments)
    parameters = {name: getattr(args, name) for name in TEXTURES}
    path = pretrain_textures(args.cache, parameters, device=args.device, threads=args.threads)
    print(f"backbone: {display_path(path)}")
    found = ", ".join(f"{name} {value:.2f}" for name, value in explained_variance(args.cache, parameters).items())
    print(f"explained variance: {found}")
    if args.receipt:
        receipt = {"file": display_path(path), "sha256": sha256(path), "parameters": parameters}
        with whole_file(resolve(args.receipt)) as partial:
            partial.write_text(json.dumps(receipt, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
