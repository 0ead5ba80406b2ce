"""Which layers of small networks are compatible: triangle or diagonal, controls and distances side by side.

Digits of 8 pixels, narrow networks, three seeds of each, trained until they are right, each seed into the next, block
by block, matched in closed form or, with --matching task --adapter conv, as grids are by default. A triangle on the
side "columns before rows" is that of Hernandez et al. 2022: a layer goes into every receiver's layer that is
proportionally earlier, j/J <= i/I. Of the deepest network a part of the blocks is stitched. Started again with the same
folder, what is done is not run again; --data parquet:PATH takes images of your own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.torch import save_model

from netassay.data import splits
from netassay.patterns import pattern
from netassay.studies.stitch_claims import SAYS_NO
from netassay.studies.stitch_grid import stitch_grid
from netassay.training import evaluate, train
from netassay.zoo import built

RESIDUAL = ["relu", r"re:layer\d\.\d+", "avgpool"]
DEEP = ["relu", "layer[14].?", r"re:layer2\.[02]", r"re:layer3\.[024]", "avgpool"]
DENSE = ["features.conv0", "features.denseblock?", "features.transition?", "features.norm5", "avgpool"]
NETS = {
    "resnet[1,1,1,1]:width=8": (RESIDUAL, 10, 1e-2),
    "resnet[1,2,2,2]:width=8": (RESIDUAL, 10, 1e-2),
    "resnet[2,2,2,2]:width=8": (RESIDUAL, 10, 1e-2),
    "resnet[2,2,2,2]:width=8,skip=none": (RESIDUAL, 10, 1e-2),
    "densenet[3,3,3]:growth=8,compression=1,skip=all": (DENSE, 20, 5e-2),
    "densenet[3,3,3]:growth=8,compression=1,skip=end": (DENSE, 20, 5e-2),
    "densenet[3,3,3]:growth=8,compression=1,skip=none": (DENSE, 20, 5e-2),
    "resnet[2,3,5,2]:width=8": (DEEP, 10, 1e-2),
}
"""Layers that are stitched, and epochs and learning rate of training: dense networks need more of both."""
BESIDE = ("random_sender", "random_receiver", "noise", "shuffled")


def trained(folder, spec, data, seed, epochs, lr):
    """Train a network, or take it from where it lies; return a spec that loads it, and its accuracy."""
    learn, test = splits(data, batch_size=64)
    model = built(spec, learn.input_shape, learn.classes, seed=seed)
    file = folder / f"{spec.translate(str.maketrans('[]:,=', '-----'))}-{seed}.safetensors"
    whole = f"{spec},weights={file}"
    if not file.exists():
        train(model, learn, epochs=epochs, lr=lr, schedule="cosine", seed=seed)
        save_model(model, str(file))
    return whole, evaluate(built(whole, learn.input_shape, learn.classes), test).accuracy


def told(results, pairs):
    """Return the pattern over pairs of seeds, and what is beside it, as numbers."""
    cells = [row for result in results for row in result.table("cells")]
    rows = [row for row in cells if row["control"] == "none"]
    hits = [row for row in rows if row["claim"].startswith("compatible")]
    maps = [np.asarray(result.array("accuracy")) for result in results]
    found = pattern(maps, pairs=pairs)
    u = (np.arange(len(maps[0])) + 1) / len(maps[0])
    early = u[None, :] <= u[:, None]
    return {
        "layers": len(u),
        "patterns": found.rows,
        "name": found.name,
        "side": found.side,
        "earlier": float(np.mean([one[early] for one in maps])),
        "later": float(np.mean([one[~early] for one in maps])),
        "map": np.mean(maps, 0),
        "beside": {name: mean(cells, name) for name in BESIDE if any(row["control"] == name for row in cells)},
        "means": {one: float(np.nanmean([row[one] for row in rows])) for one in ("mse", "cka", "ood", "penalty")},
        "cells": len(rows),
        "compatible": len(hits),
        "against": sum(SAYS_NO in row["note"] for row in hits),
    }


def mean(cells, control):
    return float(np.mean([row["accuracy"] for row in cells if row["control"] == control]))


def shown(one, seconds):
    """Print one specification."""
    print(f"    {one['layers']} layers, {one['cells']} cells, {seconds:.0f} s")
    print(*("    " + " ".join(f"{value:.2f}" for value in row) for row in one["map"]), sep="\n")
    for row in one["patterns"]:
        mark = f"  <- {one['side'] or 'told'}" if row["told"] else ""
        interval = f"{row['index']:7.3f} ({row['low']:6.3f} to {row['high']:6.3f})"
        print(f"    {row['pattern']:<9}{interval}, p {row['p']:.3f}{mark}")
    controls = ", ".join(f"{name} {value:.3f}" for name, value in one["beside"].items())
    print(f"    accuracy into earlier layers {one['earlier']:.3f}, into later {one['later']:.3f}; controls: {controls}")
    distances = ", ".join(f"{name} {value:.3f}" for name, value in one["means"].items())
    print(f"    mean {distances}")
    hits = f"compatible {one['compatible']} of {one['cells']} cells"
    print(f"    {hits}; at {one['against']} of these {SAYS_NO}\n", flush=True)


def table(found):
    """Return all of it in Markdown, a row for each network."""
    ran = list(next(iter(found.values()))["beside"])
    controls = " | ".join(name.replace("_", " ") for name in ran)
    rows = [f"| network | accuracy | pattern | earlier | later | {controls} | compatible | says no | mse | cka |"]
    rows.append("| --- |" + " --- |" * (8 + len(ran)))
    for spec, one in found.items():
        told = next(row for row in one["patterns"] if row["pattern"] == one["name"])
        name = f"{one['name']}{' (' + one['side'] + ')' if one['side'] else ''}"
        shape = f"{name} {told['index']:.2f} ({told['low']:.2f} to {told['high']:.2f}), p {told['p']:.3f}"
        beside = " | ".join(f"{one['beside'][control]:.2f}" for control in ran)
        numbers = f"{one['earlier']:.2f} | {one['later']:.2f} | {beside} | {one['compatible']} of {one['cells']}"
        means = f"{one['against']} | {one['means']['mse']:.2f} | {one['means']['cka']:.2f}"
        rows.append(f"| `{spec}` | {one['accuracy']:.3f} | {shape} | {numbers} | {means} |")
    return "\n".join(rows)


def said(found, matching):
    """Say in one paragraph what holds."""
    kinds = {spec: f"a {one['name']}{' (' + one['side'] + ')' if one['side'] else ''}" for spec, one in found.items()}
    kinds |= {spec: "no pattern told from chance" for spec, one in found.items() if one["name"] == "flat"}
    listed = "; ".join(f"{spec}: {kind}" for spec, kind in kinds.items())
    upper = sum(one["earlier"] > one["later"] for one in found.values())
    cells, hits, no = (sum(one[name] for one in found.values()) for name in ("cells", "compatible", "against"))
    best = max(value for one in found.values() for name, value in one["beside"].items() if name != "noise")
    return (
        f"By accuracy of stitches between seeds ({matching}): {listed}. In {upper} of {len(found)} kinds of network a "
        f"layer goes into proportionally earlier layers (j/J <= i/I) with a higher accuracy than into later ones. Of "
        f"{cells} cells {hits} are compatible: beyond the controls (the highest mean of one is {best:.3f}), at a "
        f"penalty of at most 0.1 by the end of its interval; at {no} of these the distance to what the receiver "
        f"expects says no: accuracy alone would have called them compatible."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specs", nargs="*", default=list(NETS))
    parser.add_argument("--data", default="digits:size=8")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fit", type=int, default=500)
    parser.add_argument("--samples", type=int, default=360)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--adapter", default="affine")
    parser.add_argument("--matching", default="closed_form")
    parser.add_argument("--controls", nargs="*", default=list(BESIDE))
    parser.add_argument("--ledgers", type=Path, help="a folder that keeps networks and what is done")
    options = parser.parse_args()
    folder, found = options.ledgers or Path(tempfile.mkdtemp(prefix="stitch-")), {}
    names = ("fit", "samples", "workers", "adapter", "matching", "data", "controls")
    how = {name: getattr(options, name) for name in names}
    print(f"{options.data}, {options.seeds} seeds, {options.adapter}, {options.matching}\n")
    for spec in options.specs:
        layers, epochs, lr = NETS[spec]
        made = [trained(folder, spec, options.data, seed, epochs, lr) for seed in range(options.seeds)]
        print(f"{spec}: {epochs} epochs at {lr}, accuracy", *(f"{accuracy:.3f}" for _, accuracy in made), flush=True)
        begin, file = time.perf_counter(), folder / f"{list(NETS).index(spec)}.db"
        nets = [{str(seed): whole} for seed, (whole, _) in enumerate(made)]
        pairs = [(seed, (seed + 1) % options.seeds) for seed in range(options.seeds)]
        grids = [stitch_grid(nets[a], nets[b], layers=layers, ledger=file, **how) for a, b in pairs]
        found[spec] = told(grids, pairs) | {"accuracy": float(np.mean([accuracy for _, accuracy in made]))}
        shown(found[spec], time.perf_counter() - begin)
    print(table(found), said(found, options.matching), sep="\n\n")
