"""Initialisation studies made up for the tests of figures and page: seven schemes, three seeds, ten parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from netassay.result import Array, Result, Table

SCHEMES = ("kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform", "orthogonal", "ones", "zeros")
LAYERS = {"conv1": 27, "conv2": 144, "conv3": 144, "fc1": 1024, "fc2": 512}
PARAMETERS = tuple(f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias"))
PLACES = (("conv1", "before"), ("conv1", "after"), ("fc1", "penultimate"))
INPUTS = ("train", "valid", "noise")
QUANTILES = {"q01": 0.01, "q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95, "q99": 0.99}
BINS = 60
ASKED = {"model": "cnn", "data": "digits", "epochs": 5, "batch_size": 64, "optimizer": "adam", "lr": 1e-4}


def study(schemes: Sequence[str] = SCHEMES, seeds: int = 3, parameters: Sequence[str] = PARAMETERS) -> Result:
    """Return a made-up study; `ones` and `zeros` begin constant, and `zeros` does not move but in its last bias."""
    draw = np.random.default_rng(0)
    when = ("start", "epoch 3", "end")
    tables, arrays = {}, {}
    cells = {(s, p): [_weights(draw, s, p, one) for one in when] for s in schemes for p in parameters}
    tables["weights"], made = _measured(cells, seeds, when, lambda s, p: {"scheme": s, "parameter": p})
    arrays |= _arrays("weights", made, {"scheme": schemes, "parameter": parameters}, when)
    spots = {(s, f"{layer} {at}"): (layer, at) for s in schemes for layer, at in PLACES}
    cells = {
        (*key, kind): [_features(draw, key[0], spot[1], kind, one) for one in when]
        for key, spot in spots.items()
        for kind in INPUTS
    }

    def named(scheme, place, kind):
        layer, where = spots[scheme, place]
        return {"scheme": scheme, "layer": layer, "place": where, "input": kind}

    tables["features"], made = _measured(cells, seeds, when, named)
    labels = [f"{layer} {at}" for layer, at in PLACES]
    arrays |= _arrays("features", made, {"scheme": schemes, "place": labels, "input": INPUTS}, when)
    tables["curves"] = Table.of([row for s in schemes for row in _curves(draw, s, seeds)])
    tables["signal"] = Table.of([row for s in schemes for row in _signal(draw, s)])
    tables["schemes"] = Table.of([_scheme(draw, s) for s in schemes])
    tables["shift"] = Table.of([_shift(draw, s, p) for s in schemes for p in parameters])
    told = {**ASKED, "schemes": list(schemes), "seeds": list(range(seeds))}
    return Result("init_study", tables, arrays, provenance=told)


def study_of_two() -> Result:
    """Return a small study: two schemes, two seeds, three parameters."""
    return study(("kaiming_normal", "zeros"), 2, PARAMETERS[:2] + PARAMETERS[-1:])


def oddly(result: Result) -> Result:
    """Return a result whose first owner is nothing but NaN, and whose tables of numbers say so."""
    arrays, tables = {}, {}
    for name, array in result.arrays.items():
        values = np.array(array)
        values[0] = np.nan
        arrays[name] = Array(values, **array.axes)
    for name, table in result.tables.items():
        first = next(iter(table.columns.values()))
        held = {key: values.copy() for key, values in table.columns.items()}
        for values in held.values():
            if values.dtype.kind == "f" and name != "shift":
                values[first == first[0]] = np.nan
        tables[name] = Table(held)
    return replace(result, arrays=arrays, tables=tables)


def profile(parameters: Sequence[str] = PARAMETERS) -> Result:
    """Return a made-up comparison of a model with its own initialisation."""
    draw = np.random.default_rng(1)
    cells = {(p,): [_weights(draw, "kaiming_uniform", p, one) for one in ("start", "end")] for p in parameters}
    table, made = _measured(cells, 1, ("start", "end"), lambda p: {"parameter": p})
    arrays = _arrays("weights", made, {"parameter": parameters}, ("start", "end"))
    ratios = Table.of([_shift(draw, "kaiming_uniform", p) for p in parameters]).columns
    kept = {name: ratios[name] for name in ("parameter", "wasserstein", "log_variance_ratio", "n")}
    return Result("init_profile", {"weights": table, "shift": Table(kept)}, arrays)


def _weights(draw, scheme, parameter, when):
    """Return values of one parameter at one time: what the scheme draws, with what training adds."""
    layer, _, kind = parameter.rpartition(".")
    fan = LAYERS.get(layer, 100)
    gain = 1.0 if "xavier" in scheme else np.sqrt(2)
    std, size = gain / np.sqrt(fan), 2000
    values = np.zeros(size)
    if kind == "weight" and scheme not in ("ones", "zeros"):
        values = (
            draw.uniform(-np.sqrt(3) * std, np.sqrt(3) * std, size)
            if "uniform" in scheme
            else draw.normal(0, std, size)
        )
    if kind == "weight" and scheme == "ones":
        values = values + 1
    still = scheme == "zeros" and parameter != "fc2.bias"
    moved = 0.0 if still else {"start": 0.0, "epoch 3": 0.5, "end": 1.0}[when]
    return values + moved * (draw.normal(0, 0.6 * std if kind == "weight" else 0.01, size) - 0.1 * std)


def _features(draw, scheme, place, kind, when):
    if scheme == "zeros":
        return np.zeros(2000)
    spread = {"train": 1.0, "valid": 1.05, "noise": 0.4}[kind] * (2.5 if when == "end" else 1.0)
    values = draw.normal(0.1, spread, 2000) * (40 if scheme == "ones" else 1)
    return np.maximum(values, 0) if place != "before" else values


def _measured(cells, seeds, when, named):
    """Return the table of numbers, a row for each cell, time and seed, and each cell's edges and densities."""
    rows, made = [], {}
    for key, values in cells.items():
        edges = np.histogram_bin_edges(np.concatenate(values), BINS)
        made[key] = edges, [np.histogram(one, edges, density=True)[0] for one in values]
        rows += [
            {**named(*key), "seed": seed, "when": told, **numbers(one[seed::seeds])}
            for told, one in zip(when, values, strict=True)
            for seed in range(seeds)
        ]
    return Table.of(rows), made


def numbers(values: np.ndarray) -> dict[str, float]:
    """Return the numbers that a study keeps of a distribution."""
    mean, std = values.mean(), values.std()
    centred = (values - mean) / std if std > 1e-12 else np.full(len(values), np.nan)
    return {
        "n": len(values), "mean": mean, "std": std if std > 1e-12 else 0.0, "skewness": (centred**3).mean(),
        "kurtosis": (centred**4).mean() - 3, "minimum": values.min(),
        **{name: np.quantile(values, share) for name, share in QUANTILES.items()},
        "maximum": values.max(), "gaussian": 0.01, "nan": 0, "inf": 0,
    }  # fmt: skip


def _arrays(name, made, axes, when):
    edges, densities = np.array([one[0] for one in made.values()]), np.array([one[1] for one in made.values()])
    sizes = [len(labels) for labels in axes.values()]
    bins, ends = list(map(str, range(BINS))), list(map(str, range(BINS + 1)))
    return {
        f"{name}/density": Array(densities.reshape(*sizes, len(when), BINS), **axes, when=when, bin=bins),
        f"{name}/edges": Array(edges.reshape(*sizes, BINS + 1), **axes, edge=ends),
    }


def _curves(draw, scheme, seeds, steps=600):
    x = np.arange(steps)
    place = SCHEMES.index(scheme) if scheme in SCHEMES else 3
    for seed in range(seeds):
        fall = 2.303 * np.exp(-x / (150 + 60 * place)) + 0.4 + 0.06 * place
        level = {"zeros": np.full(steps, 2.303), "ones": 2.303 + 30 * np.exp(-x / 30)}.get(scheme, fall)
        noisy = level * np.exp(draw.normal(0, 0.05, steps)) * np.exp(draw.normal(0, 0.04))
        yield from ({"scheme": scheme, "seed": seed, "step": int(i), "loss": float(v)} for i, v in enumerate(noisy))


def _signal(draw, scheme):
    place = SCHEMES.index(scheme) if scheme in SCHEMES else 3
    for depth, layer in enumerate(LAYERS):
        told = {"ones": 30.0 ** (depth + 1), "zeros": 0.0}.get(scheme, 0.7 ** (place * depth) + 0.05 * place)
        seen = told * np.exp(draw.normal(0, 0.2))
        yield {
            "scheme": scheme, "layer": layer, "depth": depth, "measured": seen, "low": 0.75 * seen, "high": 1.3 * seen,
            "predicted": told,
        }  # fmt: skip


def _shift(draw, scheme, parameter):
    constant = parameter.endswith("bias") or scheme in ("ones", "zeros")
    ratio = np.inf if constant else draw.normal(0.4, 0.25)
    return {
        "scheme": scheme, "parameter": parameter, "wasserstein": 0.1, "wasserstein_low": 0.08, "wasserstein_high": 0.12,
        "log_variance_ratio": ratio, "log_variance_ratio_low": ratio - 0.1, "log_variance_ratio_high": ratio + 0.1,
        "n": 3,
    }  # fmt: skip


def _scheme(draw, scheme):
    """Return how well one scheme learned; `ones` and `zeros` stay at chance."""
    mean = 0.1 if scheme in ("ones", "zeros") else draw.uniform(0.5, 0.6)
    return {"scheme": scheme, "accuracy": mean, "accuracy_low": mean - 0.03, "accuracy_high": mean + 0.03, "n": 3}
