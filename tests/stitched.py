"""Stitching made up for the tests of figures and page: grids with a triangle, their controls, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from netassay.result import Array, Claim, Result, Table

LAYERS = ("conv1", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0")
INSIDE = "layer1.0.conv1"
"""A layer that no grid can stitch at, since a skip goes around it."""
CONTROLS = ("random_sender", "random_receiver", "noise", "shuffled")
CHANCE, OWN = 0.1, 0.95
PICTURE = ("sample", "axis 1", "axis 2", "axis 3")
PATTERNS = {"diagonal": 0.3, "triangle": 0.5, "block": 0.1, "flat": 0.4}


def stitch_grid(
    layers: Sequence[str] = LAYERS, below: Sequence[str] | None = None, *, controls: Sequence[str] = CONTROLS,
    nets: tuple[Sequence[str], Sequence[str]] = (("a net",), ("b net",)), pictures: int = 0, seed: int = 0,
) -> Result:  # fmt: skip
    """Return a made-up grid: a late layer serves all earlier ones, far from what they expect the deeper it is.

    With several nets a side, each has the same layers, and labels have the net in front. Of a layer that a skip goes
    around there is nothing but a row of "cuts".
    """
    draw = np.random.default_rng(seed)
    asked = (tuple(layers), tuple(below if below is not None else layers))
    names = tuple(tuple(layer for layer in own if not layer.endswith(INSIDE)) for own in asked)
    labels = [_labels(side, own) for side, own in zip(nets, names, strict=True)]
    at = [np.tile((np.arange(len(own)) + 1) / len(own), len(side)) for side, own in zip(nets, names, strict=True)]
    values = _values(draw, at[0][:, None], at[1][None], controls)
    axes = {"sender layer": labels[0], "receiver layer": labels[1]}
    arrays = {name: Array(one, **axes) for name, one in values.items()}
    arrays["self"] = Array(np.full(len(labels[1]), OWN), **{"receiver layer": labels[1]})
    if pictures:
        shape = (len(labels[0]), pictures, 1, 8, 8)
        counts = {name: tuple(map(str, range(n))) for name, n in zip(PICTURE, shape[1:], strict=True)}
        arrays[f"decoded/{nets[1][0]}"] = Array(draw.normal(size=shape), **{"sender layer": labels[0]}, **counts)
    tables = {
        "cells": Table.of([*_itself(nets, names), *_cells(values, nets, names)]),
        "cuts": Table.of([row for net, own in _owners(nets, asked) for row in _cuts(net, own)]),
        "nets": Table.of([_net(net, nets) for net, _ in _owners(nets, names)]),
        "patterns": Table.of([row for a in nets[0] for b in nets[1] for row in _patterns(a, b)]),
        "capacity": Table.of([{"rank": rank, "accuracy": 0.1 * rank} for rank in (1, 2, 4)]),
    }
    told = {"data": "made up", "samples": 400, "seed": seed, "adapter": "affine", "matching": "closed_form"}
    told |= {"cells": 99, "controls": list(controls)}
    return Result("stitch_grid", tables, arrays, _claims(values), (), ("made up",), told)


def refused(layers: Sequence[str] = (*LAYERS[:2], INSIDE, *LAYERS[2:])) -> Result:
    """Return a grid of which one layer is no place to cut at."""
    return stitch_grid(layers)


def undone(made: Result) -> Result:
    """Return a grid of which one cell has no number, and another lies below chance."""
    arrays = dict(made.arrays)
    for name in ("accuracy", "penalty", "mse"):
        values = np.array(made.arrays[name])
        values[0, 0] = np.nan
        arrays[name] = Array(values, **made.arrays[name].axes)
    return replace(made, arrays=arrays)


def _labels(nets, layers):
    return tuple(f"{net}/{layer}" if len(nets) > 1 else layer for net in nets for layer in layers)


def _owners(nets, names):
    return list({net: own for side, own in zip(nets, names, strict=True) for net in side}.items())


def _values(draw, rows, columns, controls) -> dict[str, np.ndarray]:
    """Return arrays of a triangle: what is relatively earlier is served, and farther the earlier it is."""
    late = np.clip(1 - 3 * (columns - rows), 0, 1)
    accuracy = np.clip(CHANCE + (OWN - CHANCE) * late + draw.normal(0, 0.02, late.shape), 0, 1)
    far = 0.2 + 2.2 * np.abs(rows - columns)
    made = {
        "accuracy": accuracy, "low": accuracy - 0.03, "high": np.minimum(accuracy + 0.03, 1),
        "penalty": OWN - accuracy, "penalty_self": OWN - accuracy, "agreement": accuracy, "mse": far,
        "cka": 1 / (1 + far), "correlation": 1 / (1 + far), "ood": np.clip(0.5 + far / 4, 0, 1), "r2": 1 - far / 3,
    }  # fmt: skip
    level = {"random_sender": 0.45, "random_receiver": 0.1, "noise": 0.4, "shuffled": 0.12}
    for name in controls:
        made[f"accuracy/{name}"] = CHANCE + (accuracy - CHANCE) * level[name]
    return made


def _cells(values: Mapping[str, np.ndarray], nets, names):
    """Return the rows of a grid's cells, those of its controls after them."""
    controls = {"none": "accuracy"} | {name.partition("/")[2]: name for name in values if "/" in name}
    places = [[(net, layer) for net in side for layer in own] for side, own in zip(nets, names, strict=True)]
    for control, name in controls.items():
        for i, sender in enumerate(places[0]):
            for j, receiver in enumerate(places[1]):
                if np.isfinite(values[name][i, j]):
                    yield _cell(values, control, float(values[name][i, j]), sender, receiver, (i, j))


def _cell(values, control, accuracy, sender, receiver, at):
    more = {name: float(values[name][at]) for name in ("mse", "cka", "correlation", "ood", "r2")}
    word = "compatible" if accuracy > 0.6 else "undecided" if accuracy > 0.2 else "not compatible"
    said = f"{word} (penalty {OWN - accuracy:.3f}; random_sender 0.4)" if control == "none" else ""
    no = control == "none" and word == "compatible" and more["mse"] > 0.5
    note = "affine map of channels; positions as they are"
    return _row(
        sender, receiver, control, accuracy, more, said, f"the representation says no (mse); {note}" if no else note
    )


def _row(sender, receiver, control, accuracy, more, claim, note):
    told = {"sender": sender[0], "sender_layer": sender[1], "receiver": receiver[0], "receiver_layer": receiver[1]}
    told |= {"control": control, "adapter": "affine", "matching": "closed_form", "accuracy": accuracy}
    told |= {"low": accuracy - 0.03, "high": accuracy + 0.03, "penalty": OWN - accuracy, "penalty_self": OWN - accuracy}
    told |= {"agreement": accuracy, **more, "madds": 123456, "seconds": 0.1, "seed": 0, "n_fit": 800, "n_test": 400}
    return {**told, "claim": claim, "note": note}


def _itself(nets, names):
    """Return the rows of every net with itself, which a grid puts first."""
    near = {"mse": 0.0, "cka": 1.0, "correlation": 1.0, "ood": 0.5, "r2": 1.0}
    return [
        _row((net, layer), (net, layer), "identity", OWN, near, "", "")
        for net, own in _owners(nets, names) for layer in own
    ]  # fmt: skip


def _cuts(net, layers):
    clean = [layer for layer in layers if not layer.endswith(INSIDE)]
    for layer in layers:
        why = "" if layer in clean else f"{layer}: the skip of layer1.0 goes around it, from conv1; cut at layer1.0"
        place = (clean.index(layer) + 0.5) / len(clean) if layer in clean else np.nan
        told = {"net": net, "layer": layer, "kind": "image" if layer in clean else "", "shape": "16 x 8 x 8"}
        yield {**told, "position": place, "clean": layer in clean, "why": why, "madds": 1000}


def _net(net, nets):
    told = {"net": net, "spec": f"{net}:input=8", "hash": "0" * 16, "sends": net in nets[0], "receives": net in nets[1]}
    return {**told, "layers": 6, "accuracy": OWN}


def _patterns(a, b):
    return [
        {
            "sender": a, "receiver": b, "pattern": name, "index": value, "low": value - 0.05,
            "high": value + 0.05, "p": 0.005 if name == "triangle" else 0.5, "told": name == "triangle", "side": "",
        }
        for name, value in PATTERNS.items()
    ]  # fmt: skip


def _claims(values):
    told = {"interval": (0.2, 0.4), "n": values["accuracy"].size, "counted": "samples", "unit": "penalty"}
    return (
        Claim("a into b: some layers are compatible (6 of 36 cells)", 0.3, decision="holds", **told),
        Claim("a into b: accuracy says compatible and representation distance says no", 0.3, decision="holds", **told),
    )
