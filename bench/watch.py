"""What watching a training costs: ratios to the same steps without it, interleaved, medians with bootstrap intervals.

ResNet-18 for 32x32 images, batch 32, all layers, Adam, on this machine's CPU. Promise: every step read at most 1.25
times the plain step, every tenth at most 1.04. Then a budget of 1 % over 500 steps of a smaller net: what hooks took
of the wall clock, by the watch's own account and from outside. Promise: at most 1.5 %.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import netassay as na
from netassay.watching import Monitor

PROMISES = {1: 1.25, 10: 1.04}
SHARE = 0.015


class Loop:
    """Steps of one training on one batch, and what each took."""

    def __init__(self, spec, size, batch=32):
        self.model = na.build(spec).train()
        self.x, self.y = torch.randn(batch, 3, size, size), torch.arange(batch) % 10
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def step(self, monitor=None):
        begun = time.perf_counter()
        self.optimizer.zero_grad()
        loss = cross_entropy(self.model(self.x), self.y)
        loss.backward()
        self.optimizer.step()
        if monitor is not None:
            monitor.step(loss.item())
        return time.perf_counter() - begun


def interval(ratios, draws=2000):
    """95 % bootstrap interval of the median."""
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (draws, len(ratios))), axis=1)
    return np.quantile(medians, [0.025, 0.975])


def cost(every, rounds):
    """Time `every` plain steps, then as many watched ones, in turn; the first round warms up."""
    loop = Loop("resnet18:input=32,classes=10", 32)
    monitor = Monitor(loop.model, loop.optimizer, every=every)
    pairs = []
    for _ in range(rounds + 1):
        plain = sum(loop.step() for _ in range(every))
        with monitor:
            pairs.append((plain, sum(loop.step(monitor) for _ in range(every))))
    assert not monitor.faults, monitor.faults
    return np.array(pairs[1:])


def costs(rounds):
    print(f"{'':28s}{'ms':>8s}{'ratio':>8s}{'95 % interval':>18s}")
    for every, promise in PROMISES.items():
        spent = cost(every, max(rounds // every, 3))
        ratios = spent[:, 1] / spent[:, 0]
        low, high = interval(ratios)
        name = "every step" if every == 1 else f"every {every}th step"
        each = 1e3 * np.median(spent[:, 1]) / every
        print(f"{name:28s}{each:8.1f}{np.median(ratios):8.3f}{low:10.3f} to{high:6.3f}   promised {promise}")


def budget(steps, rounds):
    """Train with a budget of 1 %; the share by the watch's clock, and the ratio to the steps without it."""
    loop = Loop("resnet[1,1]:input=32,width=16,classes=10", 32)
    [loop.step() for _ in range(5)]
    shares, ratios, read = [], [], []
    for _ in range(rounds):
        plain = sum(loop.step() for _ in range(steps))
        monitor = Monitor(loop.model, loop.optimizer, budget="1%")
        with monitor:
            watched = sum(loop.step(monitor) for _ in range(steps))
            shares.append(monitor.guard.spent / watched)
        assert not monitor.faults, monitor.faults
        ratios.append(watched / plain)
        read.append(len(monitor.series.rows))
    told = f"{100 * np.median(shares):.2f} % inside the hooks (at most {100 * max(shares):.2f} %)"
    low, high = interval(np.array(ratios))
    print(f"budget 1 %, {steps} steps: {told}, {np.median(read):.0f} read   promised {100 * SHARE} %")
    print(f"{'':4s}beside the same steps without: {np.median(ratios):.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=500)
    chosen = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    costs(chosen.rounds)
    budget(chosen.steps, 3)
