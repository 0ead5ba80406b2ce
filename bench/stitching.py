"""What stitches of Tiny-10 nets from other seeds are worth, in closed form and trained, layer by layer.

The closed form is affine least squares with intercept, positions as samples, in float64, without a penalty, on the
first 1,000 training images; every stitch is scored on the first 2,000 test images. Beside it, with --trained, the same
stitch trained on by task loss, and the paired difference in standard errors: it should not be below -2.

Needs the weights and the re-encoded images that tests on real input use; says so where they are missing.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

import netassay as na
from netassay.stitching import Expected, NormalEquations, Samples, adapter, fit, judge, stitched

PAIRS, LAYERS = ((0, 1), (1, 0), (2, 3)), [f"relu{i}" for i in range(1, 9)]
# Accuracy and R2 of the closed form, relu1 to relu8, made by numpy from the definition (tests/reference/stitching.py).
ACCURACY = {
    (0, 1): (0.7440, 0.4965, 0.6730, 0.6115, 0.6490, 0.7045, 0.7460, 0.7575),
    (1, 0): (0.7305, 0.5130, 0.6740, 0.6140, 0.6285, 0.7015, 0.7345, 0.7515),
    (2, 3): (0.7440, 0.4740, 0.6710, 0.6060, 0.6310, 0.7010, 0.7335, 0.7450),
}
R2 = {
    (0, 1): (0.8178, 0.6500, 0.5662, 0.4370, 0.4083, 0.3915, 0.3594, 0.4268),
    (1, 0): (0.8581, 0.6186, 0.5790, 0.4472, 0.4070, 0.3922, 0.3485, 0.4263),
    (2, 3): (0.8413, 0.6236, 0.5981, 0.4282, 0.4189, 0.3935, 0.3539, 0.4289),
}


def images(folder, part, n):
    """The first rows of a file, decoded once."""
    path, x, y = folder / "cifar10-jpeg" / f"{part}.parquet", [], []
    for batch in na.load_data(f"parquet:{path},normalize=cifar10,split=all", batch_size=250):
        x.append(batch.x)
        y.append(batch.y)
        if sum(map(len, x)) >= n:
            return torch.cat(x)[:n], torch.cat(y)[:n]
    raise SystemExit(f"{path} has fewer than {n} rows")


def net(folder, number):
    return na.build(f"tiny10:weights={folder / 'tiny10' / f'tiny10-{number}.safetensors'}").eval()


def halves(model, layer):
    """A chain of modules, up to a layer and behind it."""
    names = [name for name, _ in model.named_children()]
    at = names.index(layer) + 1
    return torch.nn.Sequential(*list(model)[:at]), torch.nn.Sequential(*list(model)[at:])


@torch.no_grad()
def run(half, x):
    return [half(part) for part in x.split(250)]


def closed_form(sender, receiver, layer, x, ridge=0.0):
    """Match on images; return the adapter, what was found, and both sides' activations."""
    sent, own = run(halves(sender, layer)[0], x), run(halves(receiver, layer)[0], x)
    equations = NormalEquations(sent[0].shape[1:], {layer: own[0].shape[1:]})
    for a, b in zip(sent, own, strict=True):
        equations.add(a, {layer: b})
    made = adapter("affine", sent[0].shape[1:], own[0].shape[1:])
    return made, made.solve(equations.of(layer), ridge), torch.cat(sent), own


def right(made, rest, sent, y):
    return torch.cat([stitched(made, rest, part) for part in sent]).argmax(1) == y


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--trained", action="store_true", help="train each stitch, too")
    parser.add_argument("--epochs", type=int, default=5)
    asked = parser.parse_args()
    if not (asked.data / "tiny10").is_dir():
        print(f"skipped: no tiny10 nets in {asked.data}; give --data FOLDER")
        return 0
    (x, y), (test, labels) = images(asked.data, "train", 1000), images(asked.data, "test", 2000)
    nets, failed = {i: net(asked.data, i) for i in range(4)}, 0
    print("pair layer  accuracy  asked      R2  asked     mse   corr    cka    ood  seconds  trained  in errors")
    for pair in PAIRS:
        for i, layer in enumerate(LAYERS):
            begun = time.perf_counter()
            made, found, sent, own = closed_form(nets[pair[0]], nets[pair[1]], layer, x)
            rest, shape = halves(nets[pair[1]], layer)[1], own[0].shape[1:]
            tests = run(halves(nets[pair[0]], layer)[0], test)
            expected = Expected(rest, own, run(halves(nets[pair[1]], layer)[0], test), labels, shape)
            judged = judge(made, tests, expected)
            took = time.perf_counter() - begun
            far = (abs(judged.accuracy - ACCURACY[pair][i]) > 0.005, abs(found.r2 - R2[pair][i]) > 0.003)
            told = trained(made, rest, Samples(sent, y), tests, labels, asked.epochs) if asked.trained else (0, 0)
            failed += any(far) or told[1] < -2
            print(
                f"{pair[0]}->{pair[1]} {layer}    {judged.accuracy:.4f} {ACCURACY[pair][i]:.4f}  {found.r2:.4f} "
                f"{R2[pair][i]:.4f}  {judged.mse:.4f} {judged.correlation:.4f} {judged.cka:.4f} {judged.ood:.4f} "
                f"{took:7.1f}  {told[0]:7.4f}  {told[1]:7.1f}",
                flush=True,
            )
    print("failed" if failed else "every number as asked")
    return int(failed > 0)


def trained(made, rest, data, tests, labels, epochs):
    """Train on from the closed form; return the accuracy and the paired difference in standard errors."""
    before = right(made, rest, tests, labels).double()
    # A fifth of the fitting images says whether training pays.
    part, held = torch.arange(len(data)) % 5 != 0, torch.arange(len(data)) % 5 == 0
    fit(made, rest, data.at(part), epochs=epochs, validation=data.at(held))
    after = right(made, rest, tests, labels).double()
    gap = after - before
    return float(after.mean()), float(gap.mean() / (gap.std() / len(gap) ** 0.5).clamp(min=1e-12))


if __name__ == "__main__":
    sys.exit(main())
