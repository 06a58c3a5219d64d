"""Images per second of a training step: ours against a plain float32 PyTorch loop over the same network.

    python benchmarks/bench_training.py [--threads 1] [--batch 16] [--rounds 15]

The two take turns, step by step, so that a busy machine slows both. Ours is what notebook 03 runs where it trains a
network whole (recipes `published` and `fine-tuned`), and what pre-trains its backbone: channels-last memory, bfloat16
autocast where the processor has such instructions, AdamW in one fused kernel. The plain loop is PyTorch as it comes.
Bound on a processor with bfloat16 instructions: 1.7 times.
"""

import argparse
import os
import platform
import time
from statistics import median

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dlrs.imaging import resnet, training

BOUND = 1.7


def plain_step(network, optimiser, boxes, target):
    logit = network(boxes).squeeze(1)
    loss = nn.functional.binary_cross_entropy_with_logits(logit, target)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def our_step(network, optimiser, boxes, target, device):
    x = boxes.to(device, memory_format=torch.channels_last)
    with resnet.autocast(device):
        logit = network(x)
    loss = nn.functional.binary_cross_entropy_with_logits(logit.float().squeeze(1), target)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def seconds(function, *arguments):
    """Return wall and processor seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function(*arguments)
    return time.perf_counter() - wall, time.process_time() - cpu


def most(kind):
    """Return the most Gflop per processor-second a core reaches: in a large matrix product or a large convolution."""
    a, b = torch.randn(1536, 1536).to(kind), torch.randn(1536, 1536).to(kind)
    x = torch.randn(16, 256, 28, 28).to(kind, memory_format=torch.channels_last)
    layer = nn.Conv2d(256, 256, 3, padding=1).to(kind, memory_format=torch.channels_last)
    with torch.inference_mode():
        product, convolution = (min(seconds(*call)[1] for _ in range(10)) for call in ((torch.mm, a, b), (layer, x)))
    return 2e-9 * max(1536**3 / product, 9 * 256**2 * 16 * 28**2 / convolution)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    boxes = torch.randn(asked.batch, 20, 112, 112)
    target = (torch.rand(asked.batch) < 0.2).float()

    torch.set_num_threads(asked.threads)  # the plain loop has torch's own settings but for the threads
    plain, ours = (
        torch.nn.Sequential(resnet.slice_mix(20), resnet.backbone("none"), torch.nn.Dropout(), torch.nn.Linear(512, 1))
        for _ in range(2)
    )
    ours.load_state_dict(plain.state_dict())
    ours.to(memory_format=torch.channels_last)
    plain_optimiser = torch.optim.AdamW(plain.parameters(), 1e-4)
    our_optimiser = torch.optim.AdamW(ours.parameters(), 1e-4, fused=True)
    with FlopCounterMode(display=False) as counter:
        plain_step(plain, plain_optimiser, boxes, target)
    gflop = counter.get_total_flops() / 1e9 / asked.batch

    times = {"plain": [], "ours": [], "augmentation": []}
    draws = resnet.generator(1)
    device = torch.device("cpu")
    for _ in range(asked.rounds + 2):
        torch.use_deterministic_algorithms(False)
        times["plain"].append(seconds(plain_step, plain, plain_optimiser, boxes, target))
        resnet.repeatable(1, threads=asked.threads, device="cpu")
        times["ours"].append(seconds(our_step, ours, our_optimiser, boxes, target, device))
        times["augmentation"].append(seconds(training.augment, boxes, draws))
    wall, cpu = ({name: median(t[i] for t in values[2:]) for name, values in times.items()} for i in (0, 1))

    kind = resnet.mixed_precision(device) or torch.float32
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(f"{asked.threads} thread(s), batches of {asked.batch}, medians of {asked.rounds} steps\n")
    print("| step | images/s | images per processor-second | Gflop per processor-second |\n|---|---|---|---|")
    for name, label in {"plain": "plain loop, float32", "ours": f"ours, {str(kind).removeprefix('torch.')}"}.items():
        rate = asked.batch / cpu[name]
        print(f"| {label} | {asked.batch / wall[name]:.1f} | {rate:.1f} | {rate * gflop:.0f} |")
    by_clock, by_processor = (taken["plain"] / taken["ours"] for taken in (wall, cpu))
    print(f"\nours / plain: {by_clock:.2f} by the clock, {by_processor:.2f} in processor time")
    print(f"bound on a processor with bfloat16 instructions: {BOUND}")
    print(f"augmentation, in neither: {1e3 * cpu['augmentation'] / asked.batch:.1f} ms of processor time an image")
    torch.set_num_threads(1)
    peak = {name: most(name) for name in (torch.float32, torch.bfloat16)}
    limit = peak[kind] / gflop
    reached = asked.batch / cpu["ours"] / limit
    print(f"\nThe limit: an image costs {gflop:.2f} Gflop forwards and backwards. Of a large product and a convolution")
    print(f"the better has, per processor-second, {peak[torch.float32]:.0f} Gflop in float32 and")
    print(f"{peak[torch.bfloat16]:.0f} in bfloat16. At that rate {limit:.0f} images; ours is at {reached:.0%} of that.")


if __name__ == "__main__":
    main()
