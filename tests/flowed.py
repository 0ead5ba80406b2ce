"""Gradient flow made up for the tests of figures and page: a residual network that learns, or one that vanishes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np

from netassay.flow import SIGNALS, UPDATES, Readings, result
from netassay.result import Result, Table, Verdict

LAYERS = ("conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.0", "layer2.0.conv1", "layer2.0.conv2", "layer2.0", "fc")
DEPTHS = (1, 2, 3, 3, 4, 5, 5, 6)
ROLES = ("weight", "weight", "weight", "block", "weight", "weight", "block", "weight")
PATHS = ("trunk", "branch", "branch", "trunk", "branch", "branch", "trunk", "trunk")
PREDICTED = {"trunk": (0.9, 0.9 ** (-5 / 2))}


def chain(depth: int) -> tuple[tuple, tuple, tuple, tuple]:
    """Return layers, depths, roles and paths of a plain chain."""
    names = (*(f"features.{i}" for i in range(depth - 1)), "head")
    return names, tuple(range(1, depth + 1)), ("weight",) * depth, ("trunk",) * depth


def readings(
    steps: int = 60, epochs: int = 6, chi: float = 0.8, shape: Sequence[Sequence] = (LAYERS, DEPTHS, ROLES, PATHS),
    trained: bool = True, seed: int = 0,
) -> Readings:  # fmt: skip
    """Return readings whose squared gradient falls by chi a layer, less and less as training goes on."""
    draw = np.random.default_rng(seed)
    layers, depths, roles, paths = (np.array(one) for one in shape)
    size = (steps, len(layers))
    away = depths.max() - depths
    rates = np.log(chi) * np.linspace(1.0, 0.6, steps)[:, None] / 2
    gradient = 0.5 * np.exp(rates * away + 0.2 * draw.standard_normal(size)) * np.linspace(1, 0.2, steps)[:, None]
    signals = {name: np.zeros(size) for name in SIGNALS} | {"gradient": gradient}
    signals |= {name: draw.uniform(0.5, 1.5, size) for name in ("second_moment", "variance")}
    signals |= {
        "entries": np.full(size, 1000.0),
        "gradient_entries": np.full(size, 1000.0),
        "zero": np.full(size, 300.0),
    }
    calls = {
        "layer": layers, "name": layers, "kind": np.full(len(layers), "Conv2d"), "role": roles, "depth": depths,
        "path": paths, "into": np.full(len(layers), ""),
    }  # fmt: skip
    at = np.arange(steps) * 10 + 3
    return Readings(
        steps=at,
        epochs=np.arange(steps) * epochs // steps,
        loss=np.linspace(2.3, 0.4, steps),
        samples=np.full(steps, 16),
        calls=calls,
        signals=signals,
        **(_parameters(draw, steps, layers[roles == "weight"]) if trained else {}),
        assumed={"reduction": "mean", "scale": 1.0},
        told={"steps": int(at[-1])},
    )


def _parameters(draw, steps, layers):
    count = len(layers)
    size = (steps, 2 * count)
    updates = {name: np.zeros(size) for name in UPDATES}
    updates |= {"weight": np.full(size, 10.0), "gradient": draw.uniform(0.1, 1, size), "rate": np.full(size, 1e-3)}
    fall = np.linspace(1, 0.3, steps)[:, None]
    updates["update"] = 10 * fall * np.exp(draw.normal(np.log(2e-3), 0.3, size) - 3 * (np.arange(2 * count) == 1))
    parameters = {
        "parameter": np.array([f"{layer}.{kind}" for kind in ("weight", "bias") for layer in layers]),
        "layer": np.tile(layers, 2),
        "kind": np.full(2 * count, "Conv2d"),
        "role": np.repeat(["matrix", "bias"], count),
        "size": np.full(2 * count, 900),
        "dtype": np.full(2 * count, "float32"),
        "trained": np.full(2 * count, True),
        "optimizer": np.zeros(2 * count, int),
        "symmetric": np.zeros(2 * count),
    }
    return {"parameters": parameters, "updates": updates}


def verdict(layer: str = "conv1") -> Verdict:
    """Return a finding about a layer."""
    told = {"chi": 0.1, "attenuation": 1e21}
    source, wrong = "Schoenholz et al. 2017 (arXiv 1611.01232)", "the loss does not depend on the first layers"
    return Verdict("vanishing", layer, "the gradient shrinks by 1e21 on its way here", "finding", told, "chi below 0.9",
                   source, 60, wrong, "add skip connections, or another initialisation")  # fmt: skip


def flow(made: Readings | None = None, verdicts: Sequence[Verdict] = ()) -> Result:
    """Return readings as a result, with a line of what was considered and dismissed."""
    dismissed = {"what": "bias without gradient", "where": "conv1.bias", "why": "BatchNorm follows", "numbers": "0"}
    told = {"model": "resnet", "data": "made up", "optimizer": "Adam", "seed": 0}
    channels = Table.of([{"layer": "conv1", "channels": 16, "dead": 1, "dormant": 0}])
    return result(made or readings(), verdicts, [dismissed], ["made up"], told, PREDICTED, channels)


def broken() -> Result:
    """Return a flow with zeros, NaN and infinities in its gradients."""
    made = readings()
    gradient = made.signals["gradient"]
    gradient[20:, 1], gradient[40:, 2], gradient[:, 3], gradient[45:, 0] = 0.0, np.nan, 0.0, np.inf
    return flow(made)


def study(seeds: int = 3, switches: dict[str, Sequence[str]] | None = None) -> Result:
    """Return a made-up factorial: gradient is lost without skip, more so without norm, and learning with it."""
    draw = np.random.default_rng(2)
    switches = switches or {"skip": ("residual", "none"), "norm": ("batch", "none"), "init": ("he", "default")}
    made, curves = [], []
    for levels in product(*switches.values()):
        told = dict(zip(switches, levels, strict=True))
        name = ", ".join(f"{key}={level}" for key, level in told.items())
        lost = 8.0 * ("none" in levels) + 6.0 * (levels.count("none") > 1)
        row = {"cell": name, **told}
        for measure, value in {"decades": lost, "learned": max(2.0 - lost / 5, 0)}.items():
            row |= {measure: value, f"{measure}_low": value - 0.3, f"{measure}_high": value + 0.3}
        made.append({**row, "diverged": 0, "n": seeds})
        for seed in range(seeds):
            fall = 2.3 - row["learned"] * (1 - np.exp(-np.arange(40) / 10)) * draw.uniform(0.8, 1.2)
            curves += [{"cell": name, **told, "seed": seed, "step": i, "loss": one} for i, one in enumerate(fall)]
    tables = {"effects": Table.of(_effects(switches)), "cells": Table.of(made), "curves": Table.of(curves)}
    told = {"model": "resnet[1,1,1]", "data": "made up", "switches": switches, "seeds": list(range(seeds))}
    return Result("flow_study", tables, notes=("The skip matters most.",), provenance=told)


def _effects(switches):
    changes = [f"{name}={level}" for name, levels in switches.items() for level in levels[1:]]
    changes += [", ".join(pair) for pair in combinations(changes, 2)]
    rows = []
    for outcome, scale in {"decades": 4.0, "learned": -0.8}.items():
        for i, change in enumerate(changes):
            kind, effect = "interaction" if "," in change else "main", scale / (i + 1)
            row = {"outcome": outcome, "kind": kind, "factor": "f", "change": change, "reference": "r", "within": ""}
            rows.append({**row, "effect": effect, "low": effect - 0.5, "high": effect + 0.5, "n": 3})
    return rows


REMEDIES = ("as it is", "skip=residual", "norm=batch", "LSUV", "init=orthogonal", "lr=0.0001", "eps=1e-16")


def prescription(remedies: Sequence[str] = REMEDIES) -> Result:
    """Return a made-up prescription: remedies rank in their order, after the network as it is."""
    rows, gradients, curves = [], [], []
    for i, remedy in enumerate(remedies):
        chi, fall = (0.4, 0.01) if i == 0 else (1 - 0.1 * (i - 1), 1.5 / i)
        rows.append({
            "remedy": remedy, "chi": chi, "chi_low": chi - 0.02, "chi_high": chi + 0.02, "attenuation": chi**-10,
            "loss_fall": fall, "loss_fall_low": fall - 0.2, "loss_fall_high": fall + 0.2,
            "rank": i or len(remedies),
        })  # fmt: skip
        gradients += [
            {
                "remedy": remedy,
                "layer": f"conv{j}",
                "depth": j,
                "path": "trunk",
                "gradient": g,
                "low": g / 2,
                "high": 2 * g,
            }
            for j, g in ((j, 0.5 * chi ** ((20 - j) / 2)) for j in range(1, 21))
        ]
        curves += [
            {"remedy": remedy, "seed": seed, "step": j, "loss": 2.3 - (1 + seed / 9) * fall * (1 - np.exp(-j / 8))}
            for seed in range(2)
            for j in range(20)
        ]
    tables = {"remedies": Table.of(rows), "before_after": Table.of(gradients), "curves": Table.of(curves)}
    said = "Type `skip=residual`: the loss falls. It is so."
    return Result(
        "prescribe", tables, notes=(said,), provenance={"model": "resnet[1,1,1]:skip=none,norm=none", "data": "made up"}
    )


def comparison(layers: Sequence[str] = LAYERS) -> Result:
    """Return a made-up comparison: every layer's gradient differs, the first the most; one for certain."""
    rows = []
    for i, layer in enumerate(layers):
        size, reach = 9.0 / (i + 1) + 1, 0.1 * (i + 1)
        difference = (-1) ** i * size * reach
        told = {"table": "flow/layers", "where": f"layer={layer}", "size": size, "quantity": "gradient", "a": 1.0}
        ends = {"difference_low": difference - reach, "difference_high": difference + reach}
        rows.append({**told, "b": 1.0 + difference, "difference": difference, **ends, "n": 3, "evidence": "limits"})
    rows.append({**rows[0], "quantity": "entries", "size": np.inf})
    overview = {"table": "flow/layers", "numbers": 20, "differ": 8, "exclude_0": 8}
    tables = {"overview": Table.of([overview]), "largest": Table.of(rows)}
    return Result("compare", tables, provenance={"a": "runs/a", "b": "runs/b"})


EXTRA = {
    "study": lambda: {"flow_study": study()},
    "prescribe": lambda: {"prescribe": prescription()},
    "compare": lambda: {"compare": comparison()},
}
