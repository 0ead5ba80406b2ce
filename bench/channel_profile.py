"""What the channel profile costs: ratios to the same forward and backward without it, interleaved, medians.

ResNet-18 for 32x32 images, batch 32, all convolutions, y and gy, on this machine's CPU. Promise: everything but
quantiles at most 1.5 times the plain pass, everything at most 2.2 times; memory flat over 1,000 batches.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import torch

import netassay as na
from netassay.axes import by_channel
from netassay.capturing import visit
from netassay.objectives import cross_entropy
from netassay.quiet import quiet
from netassay.streams.blocks import scratch
from netassay.streams.rows import make, observe
from netassay.studies.channel_streams import BACKWARD, FORWARD

SETS = {
    "hooks alone": ((), ()),
    **{name: ((name,), (name,) if name in BACKWARD else ()) for name in FORWARD},
    "quantiles": (("quantiles",), ("quantiles",)),
    "everything but quantiles": (FORWARD, BACKWARD),
    "everything": ((*FORWARD, "quantiles"), (*BACKWARD, "quantiles")),
}
PROMISES = {"everything but quantiles": 1.5, "everything": 2.2}


class Variant:
    """One pass under hooks that fill the rows of some streams."""

    def __init__(self, model, x, y, streams):
        self.model, self.x, self.y, self.streams, self.rows = model, x, y, streams, {}
        self.memory = scratch(x.device)

    def __call__(self):
        with visit(self.model, "type:Conv2d", on_forward=self.forward, on_backward=self.backward):
            plain(self.model, self.x, self.y)

    def forward(self, record):
        self.fold(record.key, record.y, self.streams[0])

    def backward(self, record):
        self.fold((*record.key, "gy"), record.gy, self.streams[1])

    def fold(self, key, tensor, streams):
        if not streams:
            return
        view = by_channel(tensor, 1, len(self.x), "conv")
        if key not in self.rows:
            self.rows[key] = make(streams, view, memory=self.memory)
        observe(self.rows[key], view)


def plain(model, x, y):
    leaf = x.detach().requires_grad_()
    torch.autograd.grad(cross_entropy(model(leaf.clone()), y).sum(), leaf)


def timed(function):
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def pairs(without, with_it, rounds, model):
    """Time the two in turn; the first two rounds warm up."""
    with quiet(model):
        return [(timed(without), timed(with_it)) for _ in range(rounds + 2)][2:]


def costs(rounds):
    model = na.build("resnet18:input=32,classes=10")
    x, y = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))
    variants = {name: Variant(model, x, y, streams) for name, streams in SETS.items()}
    times = {name: pairs(lambda: plain(model, x, y), run, rounds, model) for name, run in variants.items()}
    print(f"{'':28s}{'ms':>8s}{'ratio':>8s}{'quartiles of the ratio':>26s}")
    for name, spent in times.items():
        ratios = sorted(with_it / without for without, with_it in spent)
        low, high = ratios[len(ratios) // 4], ratios[-len(ratios) // 4]
        promise = f"   promised {PROMISES[name]}" if name in PROMISES else ""
        middle = statistics.median(ratios)
        cost = 1e3 * statistics.median(s[1] for s in spent)
        print(f"{name:28s}{cost:8.1f}{middle:8.2f}{low:16.2f}{high:10.2f}{promise}")


def memory(batches):
    """Peak resident memory after the first tenth of the batches, and after all of them."""
    model, x, y = (
        na.build("resnet[1,1]:input=16,width=16,classes=10"),
        torch.randn(32, 3, 16, 16),
        torch.randint(0, 10, (32,)),
    )
    run = Variant(model, x, y, SETS["everything"])
    peaks = []
    with quiet(model):
        for i in range(batches):
            run()
            if i in (batches // 10, batches - 1):
                peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(f"peak memory after {batches // 10} batches {peaks[0]:.1f} MiB, after {batches} {peaks[1]:.1f} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, default=1000)
    chosen = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    memory(chosen.batches)  # first: the peak is that of the process
    costs(chosen.rounds)
