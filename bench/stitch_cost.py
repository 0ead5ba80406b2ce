"""What a stitch costs: closed form, then a little training where that pays, against a search over 24 trainings.

Digits at 8 x 8, one pair of `resnet[1,1,1,1]` trained here, 12 pairs of layers drawn by seed. The search: adapter
`bn_conv_bn`, task loss, Adam, learning rates 1e-2, 1e-3, 1e-4, batches of 32 and 256, 1, 2, 5 and 10 epochs, the best
on a validation part. Runs of one rate and batch share a seed, so that the shorter are the beginning of the longest:
they are trained once, and counted as often as the protocol trains them; seconds are scaled alike. The default is that
of `stitch_grid` (`netassay.stitching.protocol`): adapter `conv` in closed form, then trained on from there by task loss
for at most three epochs, until one has no more hits on the same validation part, or as many as the receiver itself; the
best is kept, no epoch among them.

Multiply-adds are those of all that ran, forward and backward, validation included; what the sender makes is computed
once and kept, for both alike; so is what the receiver answers to the validation part. Accuracies are of test images;
their paired difference has Student's interval over pairs of layers. It should be above -1 point, at a twentieth of the
multiply-adds or less.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from itertools import product

import torch

import netassay as na
from netassay.inference import seed_interval
from netassay.stitching import DEFAULT, Meter, NormalEquations, Samples, adapter, fit, stitched, trained_on
from netassay.training import evaluate, train

SPEC = "resnet[1,1,1,1]:input=8,channels=1,classes=10,width={width}"
LAYERS, PAIRS = ("relu", "layer1", "layer2", "layer3", "layer4"), 12
PARTS = ("fit", "validation")
SEARCH, EPOCHS = tuple(product((1e-2, 1e-3, 1e-4), (32, 256))), (1, 2, 5, 10)


class Side:
    """One network in two at each layer, and what it makes of the three parts of the data there."""

    def __init__(self, model, parts):
        chain = [*list(model.children())[:-1], torch.nn.Flatten(), model.fc]
        names = [*[name for name, _ in model.named_children()][:-1], "flatten", "fc"]
        self.made, self.madds, self.rest, self.shapes = {}, {}, {}, {}
        for layer, (part, (x, _)) in product(LAYERS, parts.items()):
            at, meter = names.index(layer) + 1, Meter()
            self.rest[layer] = torch.nn.Sequential(*chain[at:]).eval()
            with torch.no_grad():
                self.made[layer, part] = meter.run("front", torch.nn.Sequential(*chain[:at]).eval(), x)
            self.madds[layer, part], self.shapes[layer] = meter.madds, tuple(self.made[layer, part].shape[1:])


def right(made, rest, sent, y):
    return float((stitched(made, rest, sent).argmax(1) == y).double().mean())


def samples(side, layer, parts, part):
    return Samples(side.made[layer, part], parts[part][1])


def search(a, b, pair, parts):
    """Run the search; return the test accuracy of the best, the multiply-adds of all 24, and their share that ran."""
    rest, shapes = b.rest[pair[1]], (a.shapes[pair[0]], b.shapes[pair[1]])
    data, held, test = (samples(a, pair[0], parts, part) for part in ("fit", "validation", "test"))
    runs, madds, ran = [], 0, 0
    for number, (lr, batch) in enumerate(SEARCH):
        made = adapter("bn_conv_bn", *shapes, seed=number)
        found = fit(made, rest, data, epochs=max(EPOCHS), lr=lr, batch=batch, seed=number, validation=held)
        runs += [(found.hits[epochs], -epochs, number) for epochs in EPOCHS]
        meter = Meter()
        meter.run("held", stitched, made, rest, held.sent)
        epoch = (found.madds - (1 + max(EPOCHS)) * meter.madds) / max(EPOCHS)
        madds, ran = madds + sum(EPOCHS) * epoch + len(EPOCHS) * meter.madds, ran + found.madds
    _, epochs, number = max(runs)
    made = adapter("bn_conv_bn", *shapes, seed=number)
    again = fit(made, rest, data, epochs=-epochs, lr=SEARCH[number][0], batch=SEARCH[number][1], seed=number)
    sender = a.madds[pair[0], "fit"] + a.madds[pair[0], "validation"]
    return right(made, rest, test.sent, test.y), madds + sender, (ran + again.madds) / madds


def default(a, b, pair, parts, name, lr, batch, epochs):
    """Match, then train on; return test accuracies of the closed form and of what was kept, and multiply-adds."""
    rest, shapes = b.rest[pair[1]], (a.shapes[pair[0]], b.shapes[pair[1]])
    data, held, test = (samples(a, pair[0], parts, part) for part in ("fit", "validation", "test"))
    made = adapter(name, *shapes)
    equations = NormalEquations(shapes[0], {pair[1]: shapes[1]}, patches=made.recipe.patches)
    equations.add(data.sent, {pair[1]: b.made[pair[1], "fit"]})
    solved = made.solve(equations.of(pair[1]))
    closed = right(made, rest, test.sent, test.y)
    with torch.no_grad():
        answers = (meter := Meter()).run("own", rest, b.made[pair[1], "validation"]).argmax(1)
    enough = int((answers == held.y).sum())
    found = trained_on(made, rest, data, held, enough, epochs=epochs, lr=lr, batch=batch)
    madds = sum(side.madds[layer, part] for side, layer in zip((a, b), pair, strict=True) for part in PARTS)
    madds += meter.madds + equations.madds + solved.madds + found.madds
    return closed, right(made, rest, test.sent, test.y), madds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--adapter", default=DEFAULT.adapter)
    parser.add_argument("--lr", type=float, default=DEFAULT.lr)
    parser.add_argument("--batch", type=int, default=DEFAULT.batch)
    parser.add_argument("--epochs", type=int, default=DEFAULT.epochs)
    parser.add_argument("--without-search", action="store_true", help="the default only")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    parts = split()
    sides = [Side(network(asked.width, seed, parts), parts) for seed in (2 * asked.seed, 2 * asked.seed + 1)]
    pairs = random.Random(asked.seed).sample(list(product(LAYERS, LAYERS)), asked.pairs)
    print("sender  receiver   search  default  closed  of the multiply-adds  of the seconds")
    rows = []
    for pair in pairs:
        begun = time.perf_counter()
        closed, ours, cheap = default(*sides, pair, parts, asked.adapter, asked.lr, asked.batch, asked.epochs)
        middle = time.perf_counter()
        theirs, dear, share = (float("nan"),) * 3 if asked.without_search else search(*sides, pair, parts)
        took = middle - begun, (time.perf_counter() - middle) / share
        rows.append((theirs, ours, closed, cheap, dear, *took))
        print(
            f"{pair[0]:7} {pair[1]:8}  {theirs:7.4f}  {ours:7.4f} {closed:7.4f}  {cheap / dear:20.4f}  "
            f"{took[0] / took[1]:14.4f}",
            flush=True,
        )
    return told(torch.tensor(rows, dtype=torch.float64))


def told(rows):
    means, gaps = rows.mean(0), 100 * (rows[:, 1] - rows[:, 0])
    print(f"mean             {means[0]:7.4f}  {means[1]:7.4f} {means[2]:7.4f}")
    _, low, high = seed_interval(gaps.tolist())
    ratio, seconds = rows[:, 3].sum() / rows[:, 4].sum(), rows[:, 5].sum() / rows[:, 6].sum()
    print(f"default less search: {gaps.mean():.2f} points, {low:.2f} to {high:.2f} at 95 %")
    print(f"multiply-adds: {means[3]:.3g} of {means[4]:.3g} a pair, 1/{1 / ratio:.1f}; seconds 1/{1 / seconds:.1f}")
    return int(bool(gaps.mean() < -1) or bool(ratio > 1 / 20))


def network(width, seed, parts):
    model = na.build(SPEC.format(width=width), seed=seed)
    train(model, na.load_data(parts["fit"], batch_size=64), epochs=15, seed=seed)
    print(f"network {seed}: accuracy {evaluate(model, na.load_data(parts['test'])).accuracy:.4f}")
    return model


def split():
    """Test images as the digits have them; of the others, each fifth is for validation."""
    kinds = {}
    for part in ("train", "test"):
        batches = list(na.load_data(f"digits:size=8,split={part}"))
        kinds[part] = torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches])
    held = torch.arange(len(kinds["train"][0])) % 5 == 0
    fitted, validation = (tuple(one[chosen] for one in kinds["train"]) for chosen in (~held, held))
    return {"fit": fitted, "validation": validation, "test": kinds["test"]}


if __name__ == "__main__":
    sys.exit(main())
