"""Readings made by hand: a chain of layers that is healthy, and ways to make it sick."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from netassay.flow import SIGNALS, UPDATES, Readings


def chain(
    depth=8, steps=12, chi=1.0, forward=1.0, activation="ReLU", norm=None, samples=32, width=64, noise=0.02, seed=0
):
    """Readings of a perceptron: "input", then "fc1", ("norm1",) "act1", ... up to "fc<depth>"; chi per weight layer.

    A healthy SGD training: ratio of updates 1e-3, half of what a ReLU puts out is 0, no Adam, nothing lost.
    """
    rng = np.random.default_rng(seed)
    calls = [("input", "input", "Input", "input", 0)]
    for i in range(1, depth + 1):
        calls.append((f"fc{i}", f"fc{i}", "Linear", "weight", i))
        if i < depth:
            calls += [(f"norm{i}", f"norm{i}", norm, "norm", i)] if norm else []
            calls.append((f"act{i}", f"act{i}", activation, "activation", i))
    names = ("layer", "name", "kind", "role", "depth")
    facts = {name: np.array(column) for name, column in zip(names, zip(*calls, strict=True), strict=True)}
    facts["path"] = np.array(["trunk"] * len(calls))
    facts["into"] = np.array([*facts["kind"][1:], ""])
    S, L, at = steps, len(calls), facts["depth"]
    jitter = lambda *shape: np.exp(noise * rng.standard_normal(shape))  # noqa: E731
    signals = {name: np.zeros((S, L)) for name in SIGNALS}
    signals["gradient"] = 0.5 * chi ** ((depth - at) / 2) * jitter(S, L)
    signals["second_moment"] = forward ** at.astype(float) * jitter(S, L)
    signals["variance"] = 0.4 * signals["second_moment"]
    signals["entries"] = signals["gradient_entries"] = np.full((S, L), float(samples * width))
    active = facts["role"] == "activation"
    bounded = activation in ("Tanh", "Sigmoid")
    signals["zero"] = np.where(active & (not bounded), 0.5, 0.0) * signals["entries"]
    signals["flat"] = np.where(active & bounded, 0.05, np.nan) * np.ones((S, 1))
    given = np.flatnonzero(facts["role"] == "input")
    for name in [name for name in SIGNALS if name.startswith("gradient")]:
        signals[name][:, given] = np.nan if name == "gradient" else 0.0
    parameters, updates = of_parameters(calls, S, width, jitter)
    return Readings(
        steps=np.arange(S) * 10,
        epochs=np.zeros(S, int),
        loss=np.linspace(2.3, 1.0, S),
        samples=np.full(S, samples),
        calls=facts,
        signals=signals,
        parameters=parameters,
        updates=updates,
        first={name: healthy(width, activation) for name in facts["layer"][active].tolist()},
        latest={name: healthy(width, activation) for name in facts["layer"][active].tolist()},
        assumed={"reduction": "mean", "scaler": False},
        told={"steps": 10 * S, "skipped": 0, "faults": (), "never_ran": ()},
    )


def of_parameters(calls, steps, width, jitter):
    rows = []
    for _, name, kind, role, _ in calls:
        if role in ("weight", "norm"):
            rows.append((f"{name}.weight", name, kind, "matrix" if role == "weight" else "gain"))
            rows.append((f"{name}.bias", name, kind, "bias"))
    facts = {
        name: np.array(column)
        for name, column in zip(("parameter", "layer", "kind", "role"), zip(*rows, strict=True), strict=True)
    }
    P, matrix = len(rows), facts["role"] == "matrix"
    facts["size"] = np.where(matrix, width * width, width)
    facts["dtype"] = np.array(["float32"] * P)
    facts["trained"], facts["optimizer"] = np.ones(P, bool), np.zeros(P, int)
    facts["symmetric"] = np.where(matrix, 0, -1)
    updates = {name: np.zeros((steps, P)) for name in UPDATES}
    updates["gradient"] = 0.1 * jitter(steps, P)
    updates["weight"] = np.where(matrix, 8.0, 0.1) * jitter(steps, P)
    updates["update"] = 1e-3 * updates["weight"]
    updates["adam"] = np.full((steps, P), np.nan)
    updates["radial"] = 0.05 * jitter(steps, P)
    updates["rate"] = np.full((steps, P), 0.01)
    return facts, updates


def healthy(channels, activation="ReLU", samples=320):
    """Numbers of channels by which every one is healthy."""
    ones = np.ones(channels)
    flat = 0.05 if activation in ("Tanh", "Sigmoid") else np.nan
    return {
        "samples": samples * ones,
        "firing": samples / 2 * ones,
        "open": 0.5 * ones,
        "size": ones,
        "spread": 0.5 * ones,
        "flat": flat * ones,
    }


def silenced(channels, which, samples=320, activation="ReLU"):
    """Numbers of channels of which some never fire."""
    numbers = healthy(channels, activation, samples)
    for name in ("firing", "open", "size"):
        numbers[name][which] = 0.0
    return numbers


def call(readings, layer):
    return readings.calls["layer"].tolist().index(layer)


def parameter(readings, name):
    return readings.parameters["parameter"].tolist().index(name)


def put(readings, layer, rows=slice(None), **signals):
    """Return readings in which signals of a layer, or of several, are replaced."""
    layers = [layer] if isinstance(layer, str) else layer
    changed = {name: values.copy() for name, values in readings.signals.items()}
    for name, value in signals.items():
        for one in layers:
            changed[name][rows, call(readings, one)] = value
    return replace(readings, signals=changed)


def step(readings, name, rows=slice(None), **updates):
    """Return readings in which updates of a parameter, or of several, are replaced."""
    names = [name] if isinstance(name, str) else name
    changed = {key: values.copy() for key, values in readings.updates.items()}
    for key, value in updates.items():
        for one in names:
            changed[key][rows, parameter(readings, one)] = value
    return replace(readings, updates=changed)


def fact(readings, name, **facts):
    """Return readings in which facts of a parameter are replaced."""
    changed = {key: values.copy() for key, values in readings.parameters.items()}
    for key, value in facts.items():
        if changed[key].dtype.kind == "U":
            changed[key] = changed[key].astype(object)
        changed[key][parameter(readings, name)] = value
    return replace(readings, parameters=changed)


def channels(readings, layer, latest, first=None):
    """Return readings in which the channels of a layer are others."""
    return replace(
        readings,
        latest={**readings.latest, layer: latest},
        first=readings.first if first is None else {**readings.first, layer: first},
    )


def scaled(readings, k):
    """Return readings as under a loss times 2**k, had nobody told: gradients of calls and parameters grow alike."""
    signals = {**readings.signals, "gradient": readings.signals["gradient"] * 2.0**k}
    updates = {**readings.updates, "gradient": readings.updates["gradient"] * 2.0**k}
    return replace(readings, signals=signals, updates=updates)
