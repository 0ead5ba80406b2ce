"""Figures of an exchange map: how channels emit and absorb gradient, how much survives, and who gives to whom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from netassay.errors import NothingToDraw, UnknownName
from netassay.figures.figure import Figure
from netassay.figures.layers import Results, along_layers, by_layer, column, last
from netassay.result import Array, Result

FIVE = ("low", "q25", "median", "q75", "high")
UNIT = "norm of gradient per sample"
SHOWN, COLUMNS, CELLS, FLOOR = 15, 4, 64, -4.0
"""Channels and layers of a panel, cells along a side of a heat map, and decades below the largest block."""


def coherence_by_layer(results: Results) -> Figure:
    """Draw how much of the gradient that arrives at each layer's inputs survives interference."""
    return by_layer(
        results,
        "coherence",
        name="coherence",
        title="Gradient that survives interference",
        healthy="Healthy: a level band. At 1, everything that the output channels send back adds up; near 0, it "
        "interferes away. Hollow points lie on a branch, which a skip connection bypasses.",
        wide=True,
        y_label="coherence: norm of what comes out / absorption",
        limits=(0.0, 1.0),
    )


def variation_by_layer(results: Results) -> Figure:
    """Draw how unevenly the channels of each layer emit and absorb."""
    result = last(results)
    sides = {side: column(result, "layers", f"{side}_variation") for side in ("emission", "absorption")}
    return along_layers(
        result,
        sides,
        name="variation",
        title="How unevenly channels emit and absorb",
        healthy="Healthy: below one or so. At 0, all channels of a layer take an equal part; above 1, a few of them "
        "exchange most of the gradient.",
        y_label="standard deviation / mean",
    )


def panel(results: Results, layers: Sequence[str] | None = None, channels: Sequence[int] | None = None) -> Figure:
    """Draw what channels absorb above what they emit, for a few layers; by default first, last and two in between."""
    result = last(results)
    mixing = mixes(result)
    if not mixing:
        raise NothingToDraw("panel", "no layer has input and output channels", "map layers with channels: layers=")
    named = _spread(mixing) if layers is None else [_known(result, layer) for layer in layers]
    picked = range(SHOWN) if channels is None else channels
    which = f"Channels 0 to {SHOWN - 1}, where there are more. " if channels is None else ""
    parts = [_boxes(result, side, layer, picked) for side in ("absorption", "emission") for layer in named]
    return Figure(
        name="panel",
        title="What channels absorb, and what they emit",
        healthy="Healthy: boxes of similar height across a layer. A channel far below its neighbours takes no part; "
        "long boxes are samples that differ. Norm of gradient per sample: whiskers low to high, boxes the middle half. "
        f"{which}A box that reaches down to zero is left out.",
        kind="panel",
        wide=True,
        x=(),
        series={},
        x_label="channel",
        y_label=UNIT,
        parts=tuple(parts),
        columns=len(named),
    )


def mixes(result: Result) -> list[str]:
    """Return the layers whose channels exchange gradient; norms and pointwise layers only pass it on.

    Where no layer does, all that have channels.
    """
    layers, told = column(result, "layers", "layer"), column(result, "layers", "mixes")
    owners = [set(column(result, table, "layer").tolist()) for table in ("inputs", "outputs")]
    having = [label for label in layers.tolist() if all(label in one for one in owners)]
    mixing = [label for label in layers[told.astype(bool)].tolist() if label in having]
    return mixing or having


def _spread(labels: Sequence[str]) -> list[str]:
    """Choose the first, the last, and some evenly in between."""
    return [labels[i] for i in np.unique(np.linspace(0, len(labels) - 1, COLUMNS).round().astype(int))]


def _known(result: Result, layer: str) -> str:
    labels = column(result, "layers", "layer").tolist()
    if layer not in labels:
        raise UnknownName("layer of exchange_map", layer, labels)
    return layer


def _boxes(result: Result, side: str, layer: str, channels: Sequence[int]) -> Figure:
    table = result.tables["inputs" if side == "absorption" else "outputs"].columns
    rows = np.flatnonzero((table["layer"] == layer) & np.isin(table["channel"].astype(int), list(channels)))
    return Figure(
        name=f"{layer} {side}",
        title=layer,
        healthy="",
        kind="boxes",
        x=table["channel"][rows].astype(str).tolist(),
        series={side: np.stack([table[f"{side}_{number}"][rows] for number in FIVE], axis=1)},
        x_label="input channel" if side == "absorption" else "output channel",
        y_label=side,
        log=True,
        five=FIVE,
    )


def blocks(results: Results, layer: str | None = None) -> Figure:
    """Draw a layer's mean blocks, outputs by inputs; by default those of the layer with the least coherence."""
    result = last(results)
    label = _least_coherent(result) if layer is None else _known(result, layer)
    made = mean_blocks(result, label)
    if made is None:
        raise NothingToDraw(
            "blocks",
            f"no blocks {f'of {label} ' if label else ''}were kept",
            "map with also=('blocks',), or name a smaller layer: layer=",
        )
    cells, rows, columns = binned(np.asarray(made, dtype=float))
    top = np.nanmax(cells, initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        shades = np.fmax(np.log10(cells / top), FLOOR) if top > 0 else np.full(cells.shape, FLOOR)
    return Figure(
        name="blocks",
        title=f"Who sends gradient to whom: {label}",
        healthy="Healthy: an even texture. A dark row is an output channel that emits nothing, a dark column an input "
        "channel at which nothing arrives.",
        kind="heat",
        x=columns,
        series=dict(zip(rows, np.where(np.isnan(cells), np.nan, shades), strict=True)),
        x_label="input channel",
        y_label="output channel",
        limits=(FLOOR, 0.0),
        ends=("≤ 1/10 000", "largest block"),
        cell="output {y}, input {x}\nlog10 of mean block / largest: {value}",
        unit="log10 of mean block / largest",
    )


def _least_coherent(result: Result) -> str:
    """Return the layer that has blocks and the least coherence; the first that has blocks if none is known."""
    labels, shares = (column(result, "layers", name) for name in ("layer", "coherence"))
    kept = [i for i, label in enumerate(labels.tolist()) if mean_blocks(result, label) is not None]
    known = [i for i in kept if np.isfinite(shares[i])]
    chosen = min(known, key=lambda i: shares[i]) if known else next(iter(kept), None)
    return "" if chosen is None else str(labels[chosen])


def mean_blocks(result: Result, layer: str) -> Array | None:
    """Return a layer's mean blocks, `(output, input)`, or nothing where they were not kept."""
    made = result.arrays.get(f"blocks/{layer}")
    return made if made is not None and made.size else None


def binned(values: np.ndarray, most: int = CELLS) -> tuple[np.ndarray, list[str], list[str]]:
    """Return means over bins of neighbouring channels, at most so many a side, and what the bins are called.

    >>> binned(np.array([[1.0, 3.0, 5.0]]), most=2)[0].tolist(), binned(np.ones((1, 3)), most=2)[2]
    ([[2.0, 5.0]], ['0–1', '2'])
    """
    rows, columns = (bins(size, most) for size in values.shape)
    sums = np.add.reduceat(np.add.reduceat(values, [b[0] for b in rows], 0), [b[0] for b in columns], 1)
    counts = np.outer([len(b) for b in rows], [len(b) for b in columns])
    return sums / counts, [called(b) for b in rows], [called(b) for b in columns]


def bins(size: int, most: int) -> list[np.ndarray]:
    """Part channels into at most `most` groups of neighbours, as equal as can be."""
    return np.array_split(np.arange(size), min(size, most))


def called(group: np.ndarray) -> str:
    """Name a group of channels by its first and last."""
    return str(group[0]) if len(group) == 1 else f"{group[0]}–{group[-1]}"
