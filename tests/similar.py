"""Similarity made up for the tests of figures and page: maps with a diagonal, and a family whose pattern changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from netassay.result import Array, Claim, Result, Table, Verdict

PATTERNS = ("diagonal", "triangle", "block", "flat")
LAYERS = tuple(f"layer{i // 2 + 1}.{i % 2}.conv1" for i in range(8))
DIRECTIONS = {"procrustes": "distance"}


def many(count: int) -> tuple[str, ...]:
    """Return layer labels of a deep network."""
    return tuple(f"layer{1 + 4 * i // count}.{i}.conv{1 + i % 2}" for i in range(count))


def similarity_map(
    a: Sequence[str] = LAYERS, b: Sequence[str] | None = None, *, measures: Sequence[str] = ("cka",),
    sides: tuple[Sequence[str], Sequence[str]] = (("a net",), ("b net",)), twin: bool = False, seed: int = 0,
) -> Result:  # fmt: skip
    """Return a made-up map: a bright diagonal over a chance level that grows with depth, and its tables.

    With several models a side, each has the layers `a` (of `b`), and labels have the model in front.
    """
    draw = np.random.default_rng(seed)
    names = (tuple(a), tuple(b if b is not None else a))
    labels = [_labels(models, layers) for models, layers in zip(sides, names, strict=True)]
    at = [
        np.tile((np.arange(len(layers)) + 0.5) / len(layers), len(models))
        for models, layers in zip(sides, names, strict=True)
    ]
    made: dict[str, Array] = {}
    best: list[dict] = []
    for measure in measures:
        arrays = _arrays(draw, *at, DIRECTIONS.get(measure, "similarity"), twin)
        axes = {"layer of a": labels[0], "layer of b": labels[1]}
        made |= {f"{measure}{name}": Array(values, **axes) for name, values in arrays.items()}
        for side in (0, 1):
            best += _best(arrays, measure, side, sides, names, at)
    told = {"a": ", ".join(sides[0]), "b": ", ".join(sides[1]), "data": "made up", "samples": 512, "seed": seed}
    told |= {"positions": "flatten", "tokens": "mean", "permutations": 200, "level": 0.95}
    tables = {
        "layers": Table.of([row for side in (0, 1) for row in _layers("ab"[side], sides[side], names[side])]),
        "best": Table.of(best),
        "patterns": Table.of([row for pair in _pairs(sides) for m in measures for row in _patterns(pair, m)]),
        "measures": Table.of([_measure(measure) for measure in measures]),
    }
    claim = Claim("a and b share more than chance allows", 0.8, (0.7, 0.9), 512, "samples", "holds", "debiased CKA")
    return Result("similarity_map", tables, made, (claim,), (dominated(),), ("positions: flattened",), told)


def dominated(layer: str = "layer1.0.conv1") -> Verdict:
    """Return a warning about a layer."""
    return Verdict("one direction dominates", layer, "one direction has 97 % of the variance", "warning",
                   {"first_share": 0.97}, "first share above 0.9", "Davari et al. 2023 (arXiv 2210.16156)", 512,
                   "the direction is what is asked about", "compare with measure='procrustes' too")  # fmt: skip


def _labels(models: Sequence[str], layers: Sequence[str]) -> list[str]:
    return [f"{model}/{layer}" if len(models) > 1 else layer for model in models for layer in layers]


def _arrays(draw, rows, columns, direction, twin):
    away = np.abs(rows[:, None] - columns[None])
    score = 0.15 + 0.75 * np.exp(-5 * away) + draw.normal(0, 0.02, away.shape)
    null = 0.02 + 0.3 * rows[:, None] * columns[None]
    threshold = null + 0.08
    calibrated = np.maximum((score - threshold) / (1 - threshold), 0)
    made = {"": score, "/null": null, "/threshold": threshold, "/low": score - 0.05, "/high": score + 0.05}
    if direction == "distance":
        made = {name: 1.5 * (1 - values) for name, values in made.items()}
        made["/low"], made["/high"] = made["/high"], made["/low"]
    made |= {"/calibrated": calibrated, "/p": np.where(score > threshold, 0.005, 0.3)}
    return made | ({"/untrained": made["/null"] * 1.1} if twin else {})


def _layers(side, models, layers):
    return [
        {
            "side": side, "model": model, "layer": layer, "kind": "Conv2d", "depth": i + 1,
            "position": (i + 0.5) / len(layers), "n": 512, "d": 1024, "effective_rank": 20.5, "first_share": 0.3,
            "leverage": 0.02, "dead": 0, "note": "",
        }
        for model in models
        for i, layer in enumerate(layers)
    ]  # fmt: skip


def _best(arrays, measure, side, sides, names, at):
    """Return the best match of each layer of one side in each model of the other."""
    score = np.where(np.isfinite(arrays["/calibrated"]), arrays["/calibrated"], -1)
    values, told = (score, arrays) if side == 0 else (score.T, {name: array.T for name, array in arrays.items()})
    mine, other = names[side], names[1 - side]
    rows = []
    for m, model in enumerate(sides[side]):
        for o, opposite in enumerate(sides[1 - side]):
            for i, layer in enumerate(mine):
                row = values[m * len(mine) + i, o * len(other) : (o + 1) * len(other)]
                order = np.argsort(-row, kind="stable")
                first, second = int(order[0]), int(order[min(1, len(order) - 1)])
                place = (m * len(mine) + i, o * len(other) + first)
                own, found = (model, layer), (opposite, other[first])
                shift = ((first + 0.5) / len(other) - (i + 0.5) / len(mine)) * (1 if side == 0 else -1)
                a, b = (own, found) if side == 0 else (found, own)
                rows.append({
                    "of": "ab"[side], "model_a": a[0], "layer_a": a[1], "model_b": b[0], "layer_b": b[1],
                    "measure": measure, "score": told[""][place], "calibrated": told["/calibrated"][place],
                    "low": told["/low"][place], "high": told["/high"][place],
                                        "p": told["/p"][place] if i else 0.4, "second": other[second],
                    "second_score": told[""][place[0], o * len(other) + second], "shift": shift,
                })  # fmt: skip
    return rows


def _pairs(sides):
    return [(a, b) for a in sides[0] for b in sides[1]]


def _patterns(pair, measure):
    index = dict(zip(PATTERNS, (0.62, 0.3, 0.12, 0.05), strict=True))
    return [
        {
            "model_a": pair[0], "model_b": pair[1], "measure": measure, "pattern": name, "index": value,
            "low": value - 0.05, "high": value + 0.05, "p": 0.005 if name == "diagonal" else 0.5,
            "told": name == "diagonal",
        }
        for name, value in index.items()
    ]  # fmt: skip


def _measure(name):
    return {
        "measure": name, "title": {"cka": "debiased linear CKA", "procrustes": "Procrustes distance"}.get(name, name),
        "direction": DIRECTIONS.get(name, "similarity"), "lowest": -1.0, "highest": 1.0, "invariances": "offset, scale",
        "metric": False, "smallest_n": 4, "estimator": "full Gram", "why": "n is smaller than d", "source": "made up",
    }  # fmt: skip


def unlike(made: Result) -> Result:
    """Return a map in which nothing is told from chance."""
    arrays = dict(made.arrays)
    for measure in made.tables["measures"].columns["measure"]:
        for name, value in {"/calibrated": 0.0, "/p": 0.4}.items():
            old = made.arrays[measure + name]
            arrays[measure + name] = Array(np.full(old.shape, value), **old.axes)
    return replace(made, arrays=arrays)


def undefined(made: Result, layer: str) -> Result:
    """Return a map in which a layer of a has no similarity, since it is constant."""
    arrays = {}
    for name, old in made.arrays.items():
        values = np.array(old)
        values[old.axes["layer of a"].index(layer)] = np.nan
        arrays[name] = Array(values, **old.axes)
    return replace(made, arrays=arrays)


SIZES = {"resnet": {f"resnet[{','.join(4 * [str(k)])}]:input=8": 8 * k for k in (1, 2, 3, 4)}}


def trend(families: Mapping[str, Mapping[str, int]] = SIZES, layers: int | None = None) -> Result:
    """Return a made-up trend: small nets show a triangle, large ones a diagonal."""
    rows, trends, arrays = [], [], {}
    for family, sizes in families.items():
        for i, (spec, size) in enumerate(sizes.items()):
            share = i / max(1, len(sizes) - 1)
            index = {"diagonal": 0.2 + 0.5 * share, "triangle": 0.6 - 0.4 * share, "block": 0.2, "flat": 0.1}
            told = {
                name: v
                for one, value in index.items()
                for name, v in zip(_three(one), (value, value - 0.06, value + 0.06), strict=True)
            }
            rows.append(
                {
                    "family": family,
                    "spec": spec,
                    "size": size,
                    "pairs": 3,
                    **told,
                    "side": "",
                    "accuracy": 0.9,
                    "told": "triangle" if share < 0.5 else "diagonal",
                }
            )
            names = many(layers or size)
            arrays[f"map/{spec}"] = similarity_map(names, seed=i).array("cka/calibrated")
        first, final = next(iter(sizes)), list(sizes)[-1]
        for one in PATTERNS:
            between = f"{first} and {final}" if one in ("diagonal", "triangle") else "none"
            trends.append(
                {"family": family, "pattern": one, "slope": 0.2, "low": 0.1, "high": 0.3, "changes_between": between}
            )
    claims = tuple(
        Claim(f"{family}: the pattern changes from triangle to diagonal", 0.2, (0.1, 0.3), len(sizes), "sizes", "holds")
        for family, sizes in families.items()
    )
    told = {"data": "made up", "seed": 0, "measure": "cka"}
    tables = {"sizes": Table.of(rows), "trends": Table.of(trends)}
    return Result("similarity_trend", tables, arrays, claims, (), ("three seeds each",), told)


def stitch_trend() -> Result:
    """Return a made-up trend of stitches."""
    made = trend()
    rows = [{**row, "stitched": 0.5, "random_receiver": 0.2} for row in made.table("sizes")]
    arrays = {
        name: Array(np.asarray(old), **dict(zip(("sender layer", "receiver layer"), old.axes.values(), strict=True)))
        for name, old in made.arrays.items()
    }
    return replace(made, study="stitch_trend", tables={**made.tables, "sizes": Table.of(rows)}, arrays=arrays)


def _three(name):
    return name, f"{name}_low", f"{name}_high"
