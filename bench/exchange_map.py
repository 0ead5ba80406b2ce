"""What the exchange map costs: ratios to the plain forward and backward of the same batch, interleaved, medians.

Absorption, emission and coherence of every channel of every convolution, on this machine's CPU; beside the time the
counted multiply-adds and bytes, so that the distance to the floor is seen. Promise: ResNet-18 (224, batch 8) at most
1.3, ResNet-34 (32, batch 64) at most 1.4 times the plain pass; peak memory of a fresh process at most 1.3 times the
plain one; at least 100 times as fast as one convolution for each channel and sample, one layer a pass.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import nn

import netassay as na
from netassay.capturing import visit
from netassay.objectives import cross_entropy
from netassay.quiet import quiet
from netassay.rules import find
from netassay.rules.convolution import fitted
from netassay.rules.taps import forward_axis, plan
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
        axes = forward_axes(layer, record)
        planned = plan(axes, lags=True)
        width = sum(len(planned.families[family]) ** 2 for family, _ in planned.products)
        work["products of taps"] += n * o * space * width
        work["blocks"] += n * o * i * len(planned.terms) + o * i * len(planned.terms)
        work["bytes"] += 4 * (n * o * space * (1 + 2 * len(planned.families[0])) + o * i * taps + 2 * n * o * i)

    with quiet(model), torch.no_grad(), visit(model, "type:Conv2d", on_forward=count):
        model(x)
    return work


def forward_axes(layer, record):
    linear = fitted(layer, torch.empty(record.x_shape, device="meta"), record.y)
    spans = zip(layer.kernel_size, layer.stride, layer.dilation, linear.padding, linear.size, linear.out, strict=True)
    return tuple(forward_axis(k, s, d, before, n, out) for k, s, d, (before, _), n, out in spans)


def original(samples=2, channels=8):
    """One layer the original way, a convolution for each channel and sample; all by counted work beside the rule."""
    layer, n, size = nn.Conv2d(64, 64, 3, padding=1, bias=False), 8, 56
    x, gy = torch.randn(n, 64, size, size), torch.randn(n, 64, size, size)
    weight = layer.weight.detach()

    def one_by_one():
        for s in range(samples):
            for o in range(channels):
                torch.nn.grad.conv2d_input((1, 64, size, size), weight[o : o + 1], gy[s : s + 1, o : o + 1], padding=1)

    def at_once():
        with torch.no_grad():
            na.emission(na.blocks(layer, x, gy))

    slow = statistics.median(timed(one_by_one) for _ in range(5)) * (n / samples) * (64 / channels)
    fast = statistics.median(timed(at_once) for _ in range(9))
    return slow, fast, find(layer)


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
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


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
    slow, fast, _ = original()
    print(f"Conv2d(64, 64, 3), 56x56, batch 8: one convolution for each channel and sample {slow:.2f} s,", end="")
    print(f" at once {fast:.4f} s: {slow / fast:.0f} times; {20 * slow / fast:.0f} over a network of 20 layers,")
    print("  which the original way passes once a layer")


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
