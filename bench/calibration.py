"""Does chance pass for similarity 5 times in 100, and no more often? Independent features, tested many times.

Debiased CKA of independent features, Gaussian or heavy-tailed (Student's t, 3 degrees of freedom), against 200 orders
of the samples: 1,000 trials for 128 and 512 samples, 200 for 2,048 (`--slow`). Promise: no cell above 0.05 by an exact
binomial test at 0.005, all together at most 0.06. Then the best of up to 128 layers: the raw maximum grows with their
number, the calibrated one does not.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from netassay.inference import binomial_tail
from netassay.measures import calibrate, named, orders, under_orders

LAYERS = (1, 2, 4, 8, 16, 32, 64, 128)
LEVEL, PERMUTATIONS, PER_CELL, POOLED = 0.05, 200, 0.005, 0.06


def gaussian(source, *shape):
    return torch.randn(*shape, generator=source)


def heavy(source, *shape):
    """Student's t with 3 degrees of freedom: a Gaussian over the root of chi-squared / 3."""
    squares = sum(torch.randn(*shape, generator=source).square_() for _ in range(3))
    return torch.randn(*shape, generator=source) / (squares / 3).sqrt_()


LAWS = {"gaussian": gaussian, "heavy-tailed": heavy}


def cell(law, n, d, trials, measure="cka"):
    """How many of so many independent pairs are told similar."""
    kernel, found = named(measure), 0
    source = torch.Generator().manual_seed(n * 10007 + d)
    for trial in range(trials):
        # Single precision orders the values as well, in half the time.
        x, y = (kernel.prepare(LAWS[law](source, n, d)).float() for _ in range(2))
        null = under_orders(kernel, x, y, orders(n, PERMUTATIONS, trial))
        judged = calibrate([[kernel.compare(x, y, None)]], null[:, None, None], "similarity", 1.0, LEVEL)
        found += bool(judged.calibrated[0, 0] > 0)
    return found


def maxima(trials, n=128, d=1024, layers=LAYERS, measure="cka_biased"):
    """For each number of layers: mean raw maximum, mean calibrated maximum, and how often it is above 0."""
    kernel, source, rows = named(measure), torch.Generator().manual_seed(1), []
    for trial in range(trials):
        first, *others = (kernel.prepare(gaussian(source, n, d)) for _ in range(1 + max(layers)))
        chosen, others = [torch.arange(n), *orders(n, PERMUTATIONS, trial)], torch.stack(others).flatten(1).T
        seen, *null = torch.stack([first[order][:, order].flatten() @ others for order in chosen]).numpy()
        null = np.array(null)
        best = [(seen[:count].max(), null[:, :count].max(1)) for count in layers]
        judged = [calibrate([[s]], k[:, None, None], "similarity", 1.0, LEVEL).calibrated[0, 0] for s, k in best]
        rows.append([(s, c, c > 0) for (s, _), c in zip(best, judged, strict=True)])
    return np.array(rows, dtype=float).mean(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slow", action="store_true", help="2,048 samples too")
    parser.add_argument("--sizes", type=int, nargs="*", default=[128, 512])
    parser.add_argument("--features", type=int, nargs="*", default=[128, 2048])
    parser.add_argument("--laws", nargs="*", choices=LAWS, default=[*LAWS])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--max-trials", type=int, default=200)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    plan = [(n, asked.trials) for n in asked.sizes] + [(2048, 200)] * asked.slow
    cells = [(law, n, d, trials) for n, trials in plan for d in asked.features for law in asked.laws]
    total = np.zeros(2, dtype=int)
    print("law           n     d     trials  told  rate    p of so many  seconds")
    for law, n, d, trials in cells:
        start = time.perf_counter()
        found = cell(law, n, d, trials)
        tail = float(np.squeeze(binomial_tail(found, trials, LEVEL)))
        total += (found, trials)
        verdict = "" if tail >= PER_CELL else "  TOO MANY"
        seconds = time.perf_counter() - start
        print(
            f"{law:13} {n:<5} {d:<5} {trials:<7} {found:<5} {found / trials:.4f}  {tail:<13.3g} {seconds:.0f}{verdict}",
            flush=True,
        )
    rate = total[0] / max(total[1], 1)
    print(f"together {total[0]} of {total[1]}: {rate:.4f} (at most {POOLED}){'' if rate <= POOLED else '  TOO MANY'}")
    if asked.max_trials:
        print("\nbest of L layers, biased CKA, n = 128, d = 1,024\nlayers  raw     calibrated  told similar")
        for count, (raw, calibrated, told) in zip(LAYERS, maxima(asked.max_trials), strict=True):
            print(f"{count:<7} {raw:.4f}  {calibrated:.5f}     {told:.3f}", flush=True)


if __name__ == "__main__":
    main()
