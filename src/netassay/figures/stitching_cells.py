"""Figures of the cells of a stitch grid: accuracy against distance from what is expected, and decoded pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from netassay.errors import NothingToDraw
from netassay.figures.figure import Figure
from netassay.figures.layers import Results, last
from netassay.figures.similarity import Line
from netassay.figures.stitching import called, stitched
from netassay.result import Array, Result

FAR, WIDEST, TOP = 0.5, 3.0, 1.12
"""Distance from which on the error says no (half of the variance is missed), the largest one drawn; room for a word."""
SAYS_NO = "the representation says no"
"""What a grid notes of a compatible cell of which a distance says so."""
SERIES: Mapping[str, int] = {
    "compatible": 0,
    "compatible, representation says no": 7,
    "beyond chance": 4,
    "not told from controls": 12,
    "not judged": 11,
    "random sender": 1,
}
"""What a cell is called, and its place among the colours."""
LAYERS, PIXELS = 24, 64
"""Decoded pictures: layers that are drawn, and pixels that stand beside each other."""


def warning(results: Results) -> Figure:
    """Draw accuracy against representation distance, a point for each stitch and for each of its random control."""
    result = stitched(last(results), "warning")
    cells = [row for row in result.table("cells") if row["control"] in ("none", "random_sender")]
    rows = sorted(
        (row for row in cells if np.isfinite([row["mse"], row["accuracy"]]).all()), key=lambda row: row["mse"]
    )
    kinds = [_kind(row) for row in rows]
    hits = [row["accuracy"] for row, kind in zip(rows, kinds, strict=True) if kind.startswith("compatible")]
    x = np.array([min(row["mse"], WIDEST) for row in rows])
    beyond = sum(row["mse"] > WIDEST for row in rows)
    off = f" {beyond} that lie farther than {WIDEST:g} are drawn there." if beyond else ""
    return Figure(
        name="warning",
        title="Compatible by accuracy, and how far from what is expected",
        healthy="Healthy: points at the upper left, right and near. In the shaded corner accuracy says compatible, "
        "while the receiver gets something else than it expects: the stitch has found another way to the answer, and "
        "the layers need not carry the same. Distances are error, CKA and how unusual it is; drawn is the error, the "
        f"others may say no at a small one.{off}",
        kind="scatter",
        wide=True,
        x=x,
        series={
            kind: np.array([row["accuracy"] if own == kind else np.nan for row, own in zip(rows, kinds, strict=True)])
            for kind in SERIES
            if kind in kinds
        },
        x_label="representation distance: error over that of a constant",
        y_label="accuracy",
        limits=(0.0, TOP),
        corner=(FAR, min(hits), 1.03 * max(2 * FAR, x.max()), TOP) if hits else None,
        said=("compatible by accuracy alone",) if hits else (),
        tones={kind: tone for kind, tone in SERIES.items() if kind in kinds},
        notes=tuple(map(_told, rows)),
    )


def _kind(row: Mapping[str, Any]) -> str:
    """Return the series of a cell, by what the grid claims of it."""
    if row["control"] != "none":
        return "random sender"
    word = str(row["claim"]).partition(" (")[0]
    if word == "compatible" and SAYS_NO in str(row["note"]):
        return "compatible, representation says no"
    return word if word in SERIES else "not told from controls"


def _told(row: Mapping[str, Any]) -> str:
    ends = [f"{row[side]}/{row[f'{side}_layer']}" for side in ("sender", "receiver")]
    who = " into ".join(ends) + (" (random sender)" if row["control"] != "none" else "")
    return f"{who}: accuracy {row['accuracy']:.3g}, distance {row['mse']:.3g}"


def decoded(results: Results, receiver: str | None = None) -> Figure:
    """Draw the pictures that stitches into a receiver's input make of the samples, layer by layer."""
    result = last(results)
    made = {name.partition("/")[2]: array for name, array in result.arrays.items() if name.startswith("decoded/")}
    made = {name: array for name, array in made.items() if array.ndim == 5}
    if not made or (receiver is not None and receiver not in made):
        asked = "no stitch went into the input" if not made else f"{receiver!r} has none; known: {', '.join(made)}"
        raise NothingToDraw("decoded", asked, 'stitch into it: receiver_layers=["", ...]')
    name = receiver or next(iter(made))
    return _decoded(result, name, made[name])


def _decoded(result: Result, receiver: str, array: Array) -> Figure:
    pictures = np.asarray(array, dtype=float).mean(2)
    still = np.ptp(pictures, axis=(2, 3)).max(1) <= 1e-6 * np.ptp(pictures)
    labels = list(map(called, next(iter(array.axes.values()))))
    flat = f" From {labels[still.argmax()]} comes one value a picture: it has no positions." if still.any() else ""
    if "samples" in result.arrays:
        own = np.asarray(result.arrays["samples"], dtype=float).mean(1)
        labels, pictures = ["the samples", *labels], np.concatenate([own[None], pictures])
    tall, wide = pictures.shape[2:]
    across = max(1, min(pictures.shape[1] // 2 or 1, PIXELS // wide))
    count = across * min(2, pictures.shape[1] // across)
    low, high = np.nanquantile(pictures[:, :count], (0.01, 0.99)).tolist()
    more = f" The first {LAYERS} of {len(labels)} layers are drawn." if len(labels) > LAYERS else ""
    return Figure(
        name="decoded",
        title="What stitches into an input make of the same samples",
        healthy=f"Into the input of {receiver}. Healthy: early layers give back the picture. A picture that is "
        "another, while the receiver still gives the right answer, is one that the stitch has made up. "
        "Mean over channels, in the units of the data; the "
        f"darkest and the brightest hundredth are cut.{flat}{more}",
        kind="maps",
        wide=True,
        x=(),
        series={},
        x_label="",
        y_label=f"into {receiver}",
        limits=(low, high) if high > low else (low, low + 1),
        ends=("low", "high"),
        unit="value of a pixel",
        parts=tuple(
            Figure(
                name=label,
                title=label,
                healthy="",
                kind="map",
                x=[str(i) for i in range(across * wide)],
                series={str(i): row for i, row in enumerate(_beside(one[:count], across))},
                x_label="",
                y_label="",
                limits=(low, high) if high > low else (low, low + 1),
                lines=_parted(tall, wide, count // across, across),
                cell="row {y}, column {x}: {value}",
                apart=("not defined", "not defined"),
            )
            for label, one in zip(labels[:LAYERS], pictures, strict=False)
        ),
        columns=min(3, len(labels)),
    )


def _beside(pictures: np.ndarray, across: int) -> np.ndarray:
    """Return pictures (sample, row, column) as one, so many beside each other."""
    return np.vstack([np.hstack(list(pictures[i : i + across])) for i in range(0, len(pictures), across)])


def _parted(tall: int, wide: int, down: int, across: int) -> tuple[Line, ...]:
    """Return the lines between pictures that stand beside and below each other."""
    upright = [(k * wide - 0.5, -0.5, k * wide - 0.5, down * tall - 0.5) for k in range(1, across)]
    return (*upright, *((-0.5, k * tall - 0.5, across * wide - 0.5, k * tall - 0.5) for k in range(1, down)))
