"""What the exchange map costs: ratios to the plain forward and backward of the same batch, interleaved, medians.

Absorption, emission and coherence of every channel of every convolution, on this machine's CPU; beside the time the
counted multiply-adds and bytes, so that the distance to the floor is seen. Promise: ResNet-18 (224, batch 8) at most
1.3, ResNet-34 (32, batch 64) at most 1.4 times the plain pass; peak memory of a fresh process at most 1.3 times the
plain one; at least 100 times as fast as one convolution for each channel and sample, one layer a pass.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import netassay as na
from netassay.capturing import visit
from netassay.objectives import cross_entropy
from netassay.quiet import quiet
from netassay.rules.convolution import fitted
from netassay.rules.taps import plan
from netassay.studies.exchange_map import exchange_map

SIZES = {
    "ResNet-18, 224, batch 8": ("resnet18:classes=10", 8, 224, 1.3),
    "ResNet-34, 32, batch 64": ("resnet34:input=32,classes=10", 64, 32, 1.4),
}
MEMORY = 1.3


def made(name):
    spec, n, size, _ = SIZES[name]
    torch.manual_seed(0)
    return na.build(spec), torch.randn(n, 3, size, size), torch.arange(n) % 10


def plain(model, x, y):
    """What a training step does: the loss, and back to every weight."""
    model.zero_grad()
    cross_entropy(model(x), y).sum().backward()


def inwards(model, x, y):
    """Forward, and back to the input alone."""
    leaf = x.clone().requires_grad_()
    torch.autograd.grad(cross_entropy(model(leaf), y).sum(), leaf)


class Clocked:
    """Batches that note when each was asked for: what lies between is the work on the one before."""

    def __init__(self, x, y, times, between):
        self.x, self.y, self.times, self.between, self.spent = x, y, times, between, []

    def __iter__(self):
        for _ in range(self.times):
            self.between()
            begun = time.perf_counter()
            yield self.x, self.y
            self.spent.append(time.perf_counter() - begun)


def timed(function):
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def cost(name, rounds, also):
    """Run the map batch by batch, and before each batch the plain passes: pairs that lie side by side in time."""
    model, x, y = made(name)
    apart = []

    def between():
        with torch.enable_grad():
            apart.append((timed(lambda: plain(model, x, y)), timed(lambda: inwards(model, x, y))))

    model.eval()
    batches = Clocked(x, y, rounds + 2, between)
    result = exchange_map(model, batches, "type:Conv2d", also=also)
    pairs = list(zip(apart, batches.spent, strict=True))[2:]  # the first batch is surveyed, too
    ratios = sorted(spent / before for (before, _), spent in pairs)
    again = max(row["again_share"] for row in result.table("layers"))
    inward = statistics.median(there / before for (before, there), _ in pairs)
    return statistics.median(before for (before, _), _ in pairs), inward, ratios, again


def counted(name):
    """Count multiply-adds and bytes of the map beside those of the plain pass: what no machine can save."""
    model, x, _ = made(name)
    work = {"plain": 0, "products of taps": 0, "blocks": 0, "bytes": 0}

    def count(record):
        layer, n = record.layer.module, len(x)
        o, i, taps = layer.out_channels, layer.in_channels // layer.groups, layer.weight[0, 0].numel()
        space = record.y[0, 0].numel()
        work["plain"] += 3 * n * o * i * taps * space
        mapped = fitted(layer, torch.empty(record.x_shape, device="meta"), record.y)
        planned = plan(mapped.axes, lags=True)
        width = sum(len(planned.families[family]) ** 2 for family, _ in planned.products)
        work["products of taps"] += n * o * space * width
        work["blocks"] += n * o * i * len(planned.terms) + o * i * len(planned.terms)
        work["bytes"] += 4 * (n * o * space * (1 + 2 * len(planned.families[0])) + o * i * taps + 2 * n * o * i)

    with quiet(model), torch.no_grad(), visit(model, "type:Conv2d", on_forward=count):
        model(x)
    return work


def original(name="ResNet-18, 224, batch 8", layer="layer2.1.conv1", images=2, channels=16):
    """Time the original way on one layer, and extrapolate by calls to all of its channels, all images and all layers.

    One layer a pass, one image a batch, one convolution for each output channel: all blocks of that channel. Kindest:
    absorption is read off the same convolutions; as written, it takes another for each input channel.
    """
    model, x, y = made(name)
    model.eval()
    records = []
    for k in range(images):
        with na.capture(model, layer) as record:
            spent = timed(lambda k=k: plain(model, x[k : k + 1], y[k : k + 1]))
        records.append((spent, record[layer]))
    convolution = model.get_submodule(layer)
    weight, steps = convolution.weight.detach(), (convolution.stride, convolution.padding)
    out, into = [], []
    for _, record in records:
        size = (1, *record.x.shape[1:])
        for c in range(channels):
            out.append(timed(lambda c=c, r=record, s=size: sizes(weight[c : c + 1], r.gy[:, c : c + 1], s, steps)))
            into.append(timed(lambda c=c, r=record, s=size: grouped(weight[:, c : c + 1], r.gy, s, steps)))
    a_pass, a_call, another = (statistics.median(one) for one in ([s for s, _ in records], out, into))
    layers = [one.module for one in na.select(model, "type:Conv2d")]
    calls = sum(one.out_channels for one in layers)
    kindest = len(x) * (len(layers) * a_pass + calls * a_call)
    return kindest, kindest + len(x) * sum(one.in_channels for one in layers) * another


def sizes(weight, gy, size, steps):
    torch.nn.grad.conv2d_input(size, weight, gy, *steps).flatten(2).norm(dim=2)


def grouped(weight, gy, size, steps):
    size = (1, len(weight), *size[2:])
    torch.nn.grad.conv2d_input(size, weight, gy, *steps, groups=len(weight)).flatten(2).norm(dim=2).sum()


def peak(name, mapped, batches):
    """Return the peak resident memory of a fresh process, in MiB."""
    command = [
        sys.executable,
        __file__,
        "--process",
        name,
        "--batches",
        str(batches),
        *(["--mapped"] if mapped else []),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def process(name, mapped, batches):
    model, x, y = made(name)
    if mapped:
        exchange_map(model, [(x, y)] * batches, "type:Conv2d", also=())
    else:
        model.eval()
        for _ in range(batches):
            plain(model, x, y)
    # Not ru_maxrss, which a process takes over from the one that started it.
    print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024)


def report(rounds):
    for name, (*_, promise) in SIZES.items():
        work = counted(name)
        more = (work["products of taps"] + work["blocks"]) / work["plain"]
        print(f"{name}: counted beside the plain pass {100 * more:.1f} % of its multiply-adds, ", end="")
        print(f"{work['bytes'] / 1e6:.0f} MB moved at least")
        for also in ((), ("blocks",), ("blocks", "share", "around")):
            before, inward, ratios, again = cost(name, rounds, also)
            low, middle, high = (ratios[int(q * (len(ratios) - 1))] for q in (0.25, 0.5, 0.75))
            told = f"promised {promise}" if not also else ""
            label = "+ " + ", ".join(also) if also else "Ab, Em, coherence"
            print(f"  {label:28s}{middle:6.2f} ({low:.2f} to {high:.2f}) times {before:.3f} s  {told}", end="")
            print(f"  back to the input alone {inward:.2f}; made again {again:.4%}")
        alone, mapped, longer = peak(name, False, 4), peak(name, True, 4), peak(name, True, 40)
        print(
            f"  peak memory {alone:.0f} MiB plain, {mapped:.0f} mapped ({mapped / alone:.2f} times, promised {MEMORY});"
        )
        print(f"  ten times the samples {longer:.0f} MiB ({longer / mapped:.3f} times)")
    kindest, written = original()
    _, _, ratios, _ = cost("ResNet-18, 224, batch 8", rounds, ())
    spent = statistics.median(ratios) * statistics.median(timed_plain(rounds))
    print(f"ResNet-18 the original way: {kindest:.1f} s, absorption read off its emission; {written:.1f} s as written;")
    print(f"  mapped {spent:.2f} s: {kindest / spent:.0f} and {written / spent:.0f} times as fast, promised 100")


def timed_plain(rounds):
    model, x, y = made("ResNet-18, 224, batch 8")
    model.eval()
    return [timed(lambda: plain(model, x, y)) for _ in range(rounds + 2)][2:]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--process")
    parser.add_argument("--mapped", action="store_true")
    parser.add_argument("--batches", type=int, default=4)
    chosen = parser.parse_args()
    if chosen.process:
        process(chosen.process, chosen.mapped, chosen.batches)
    else:
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
        report(chosen.rounds)
