"""Exchange tables: streams of an exchange map as rows per layer, per input channel and per output channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from netassay.exchange import share
from netassay.result import Array, Result, Table
from netassay.streams import LogHistogram
from netassay.streams.moments import ratio
from netassay.studies.exchange_claims import SIDES, by_layer, claims, variation
from netassay.studies.exchange_streams import WIDEST, Exchange

if TYPE_CHECKING:
    from netassay.studies.exchange_map import Exchanges

Columns = Mapping[str, np.ndarray]
STARVED = 0.1
"""Share of its layer's mean gradient below which an input channel is quiet: starved or cancelled."""
WITHIN = 1 / 129
"""How far a quantile may be off: half a bin of its histogram. The interval of a median is widened by it."""
STATES = ("fed", "starved", "cancelled", "unreached", "unknown")
ROUNDING = 1e-6
"""Gradient around a layer, beside all of it, that is no more than rounding."""
UNEVEN = 0.98
"""Half-width of the 95 % interval of a median in ranks, beside the root of n: 1.96 standard errors of a coin."""


def tables(made: Exchanges) -> Result:
    """Read an exchange map into tables, arrays and claims."""
    read = [_channels(layer) for layer in made.layers]
    tested = by_layer(made.layers)
    residual = _residual(made.layers)
    found = {
        "layers": Table.of([_layer_row(layer, *one) for layer, one in zip(made.layers, read, strict=True)]),
        "inputs": Table.stacked([inputs for inputs, _ in read]),
        "outputs": Table.stacked([outputs for _, outputs in read]),
        **({"claims": Table.of(tested)} if tested else {}),
        **({"residual": Table.of(residual)} if residual else {}),
    }
    return Result(
        study="exchange_map",
        tables=found,
        arrays=dict(_arrays(made.layers)),
        claims=claims(made.layers),
        notes=(*made.notes, *_notes(made.layers)),
        provenance=made.made,
    )


def _channels(layer: Exchange) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the columns of a layer's input channels and of its output channels."""
    numbers = _numbers(layer)
    inputs: dict[str, np.ndarray] = {}
    outputs: dict[str, np.ndarray] = {}
    start = 0
    for name, width in layer.columns.items():
        side = inputs if name in ("absorption", "coherence") else outputs
        if not side:
            side |= {"layer": np.full(width, layer.label), "channel": np.arange(width)}
        side |= {f"{name}_{column}": values[start : start + width] for column, values in numbers.items()}
        start += width
    inputs |= _fate(layer, inputs)
    return inputs, outputs


def _numbers(layer: Exchange) -> dict[str, np.ndarray]:
    """Return what is told of every channel and quantity: samples, moments, five numbers, and how sure the median is."""
    streams = layer.read()
    moments, extremes, counts = (streams[name] for name in ("moments", "extremes", "counts"))
    seen = moments.n > 0
    low, high = (np.where(seen, end, np.nan) for end in (extremes.low, extremes.high))
    reach = UNEVEN / np.sqrt(np.maximum(moments.n, 1))
    levels = np.stack([0 * reach + 0.25, 0 * reach + 0.5, 0 * reach + 0.75, 0.5 - reach, 0.5 + reach], axis=1)
    quantiles = np.full(levels.shape, np.nan)
    if "sample_norms" in streams:
        histogram = _without(streams["sample_norms"], counts.nan + counts.inf)
        quantiles = histogram.quantile(np.clip(levels, 0, 1)) * (1, 1, 1, 1 - WITHIN, 1 + WITHIN)
        quantiles = np.clip(quantiles, low[:, None], high[:, None])
    q25, median, q75, median_low, median_high = quantiles.T
    return {
        "samples": moments.n.astype(np.int64),
        "mean": np.where(seen, moments.mean, np.nan),
        "std": moments.std,
        "low": low,
        "q25": q25,
        "median": median,
        "q75": q75,
        "high": high,
        "median_low": median_low,
        "median_high": median_high,
        "undefined": counts.nan + counts.inf,
    }


def _without(histogram: LogHistogram, missing: np.ndarray) -> LogHistogram:
    """Take what was not finite out of the zeros, where a norm over nothing was counted."""
    counts = histogram.counts.copy()
    counts[:, np.flatnonzero(histogram.keys == 0)] -= missing[:, None]
    return LogHistogram(histogram.keys, counts)


def _fate(layer: Exchange, inputs: Columns) -> dict[str, np.ndarray]:
    """Say what became of the gradient at each input channel, and why little of it came out where little did.

    Beside the layer's means: `received` is what comes out, `arrival` what arrived, `survival` which part of that was
    left by interference; `received = arrival * survival`.
    """
    arrived, passed = layer.sums["arrived"], layer.sums["passed"]
    arrival = ratio(arrived, np.full(len(arrived), arrived.mean()))
    received = ratio(passed, np.full(len(passed), passed.mean()))
    survival = ratio(received, arrival)
    quiet = received < STARVED
    state = np.where(quiet, np.where(arrival <= survival, "starved", "cancelled"), "fed")
    reached = np.nan_to_num(inputs["absorption_mean"]).sum() > 0
    state = np.where(np.isnan(received), "unknown" if reached else "unreached", state)
    return {"state": state, "received": received, "arrival": arrival, "survival": survival}


def _layer_row(layer: Exchange, inputs: Columns, outputs: Columns) -> dict[str, Any]:
    arrived = float(layer.sums["arrived"].sum())
    blocks, again = layer.sums["made"]
    sides = {side: variation(layer.sums[side].astype(float), layer.sums["samples"].astype(float)) for side in SIDES}
    return {
        "layer": layer.label,
        "kind": layer.kind,
        "depth": layer.depth,
        "path": layer.path,
        "mixes": layer.mixes,
        "outputs": layer.columns["emission"],
        "inputs": layer.columns["absorption"],
        "samples": int(outputs["emission_samples"].max(initial=0)),
        "exchanged": float(np.nansum(outputs["emission_mean"])),
        "coherence": float(layer.sums["passed"].sum() / arrived) if arrived else float("nan"),
        **{f"{side}_variation": value for side, value in sides.items()},
        **{state: int((inputs["state"] == state).sum()) for state in STATES},
        "again_share": float(again / blocks) if blocks else 0.0,
    }


def _arrays(layers: Sequence[Exchange]) -> list[tuple[str, Array]]:
    """Return mean blocks over samples, and pooled shares, with channels as labels."""
    found = []
    for layer in layers:
        sums = layer.sums
        labels = {
            name: [str(i) for i in range(layer.columns[side])]
            for name, side in (("output", "emission"), ("input", "absorption"))
        }
        if "blocks" in sums:
            found.append(
                (f"blocks/{layer.label}", Array(sums["blocks"] / np.maximum(sums["counted"], 1)[:, None], **labels))
            )
        if "overlap" in sums:
            pooled = share(torch.from_numpy(sums["overlap"]), torch.from_numpy(sums["square"])).numpy()
            found.append((f"share/{layer.label}", Array(pooled, **labels)))
    return found


def _residual(layers: Sequence[Exchange]) -> list[dict[str, Any]]:
    """List where a branch leaves the trunk: what comes back through it, around it, and both together."""
    rows = []
    for i, layer in enumerate(layers):
        if _leaves(layer):
            samples = max(int(layer.sums["seen"][0]), 1)
            through, around, total = (layer.sums["around"] / samples).tolist()
            told = {"layer": layer.label, "members": ",".join(_branch(layers[i:]))}
            rows.append({**told, "through": through, "around": around, "total": total})
    return rows


def _leaves(layer: Exchange) -> bool:
    """Tell whether something beside this layer used its input."""
    return "around" in layer.sums and bool(layer.sums["around"][1] > ROUNDING * layer.sums["around"][2])


def _branch(layers: Sequence[Exchange]) -> list[str]:
    """Follow a branch from its first layer, one weight layer after the other, until it ends or another begins."""
    labels = [layers[0].label]
    for before, layer in pairwise(layers):
        if layer.path != "branch" or layer.depth != before.depth + 1 or _leaves(layer):
            break
        labels.append(layer.label)
    return labels


def _notes(layers: Sequence[Exchange]) -> list[str]:
    notes = []
    for layer in layers:
        if layer.kind == "MultiheadAttention":
            notes.append(f"{layer.label}: blocks of its out_proj; those of its in_proj cannot be observed")
        unseen = int(layer.sums["seen"][1])
        if unseen:
            notes.append(f"{layer.label}: gx not to be had, or not finite, for {unseen} samples")
        if sum(layer.columns.values()) > WIDEST:
            notes.append(f"{layer.label}: quartiles are not kept, there are too many channels")
        if layer.large:
            notes.append(f"{layer.label}: mean blocks are not kept, there are too many")
    return notes
