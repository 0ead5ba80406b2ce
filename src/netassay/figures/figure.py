"""Figure: what one figure draws, says and calls healthy, and its numbers as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from netassay.figures.flow import Flow
from netassay.result import Table

BOX = ("q05", "q25", "q50", "q75", "q95")


@dataclass(frozen=True)
class Figure:
    """One figure. `series` maps a name to values along `x`; boxes have five columns, a heat map one row each.

    `x` holds labels, or numbers for a numeric axis. `marks` are x labels to be set apart, such as calls on a branch.
    `five` names the numbers of a box. A heat map's `ends` say what its lowest and highest shade mean, `cell` what one
    cell does; a wide one grows with its rows. A panel has `parts` instead of series, row by row in `columns`; each
    part's title and series are the layer and the quantity. A sankey has its nodes along `x` and its links in `flow`.

    `bands` are low and high around a series: a shade around a line, whiskers on bars. A `dashed` series is a
    prediction; "a predicted" is that of "a", and has its colour. A grid has `parts` too, of kind density: histograms
    over the edges `x`, what is `said` below them, and the `numbers` of each series; a part's title heads its column,
    its `y_label` its row; without those it is wrapped after `columns` and each part has its title.

    A heat map's `unit` says what its shades measure; a cell of NaN, and one of minus infinity, are set apart. Series of
    a `ramp` are coloured by their order. Those in `points` are not joined; "a fitted" is a line through those of "a".
    `tones` are the places among the colours of some series, or of bars of one series, the others of which are grey.
    `filled` lines are steps over bins, `flat` bars lie beside their names, `healthy_range` is a shaded part of the
    axis. `frames` have one part after another in time, drawn alike, each under its title.

    `maps` are heat maps beside each other on one scale, each with its title: parts of kind map, whose rows go down from
    the first, with thin `lines` (x, y, x, y in cells) over them. `limits` that fall make small numbers bright. `apart`
    says what cells of minus infinity and NaN are. `notes` are a line about each x, `said` of lines a word for it on
    top; their `whiskers` stand beside each other where bands would cover one another. Maps that have a `unit` of their
    own have a scale of their own, too; cells of `written` ones have their numbers in them.

    A scatter has points at numbers `x`, those of another series NaN, and a `corner` (left, bottom, right, top) that is
    set apart, with what is `said` in it.
    """

    name: str
    title: str
    healthy: str
    kind: Literal[
        "lines", "bars", "boxes", "heat", "panel", "sankey", "grid", "density", "frames", "maps", "map", "scatter"
    ]
    x: Sequence[str] | np.ndarray
    series: Mapping[str, np.ndarray]
    x_label: str
    y_label: str
    log: bool = False
    limits: tuple[float, float] | None = None
    wide: bool = False
    marks: frozenset[str] = field(default_factory=frozenset)
    five: tuple[str, ...] = BOX
    ends: tuple[str, str] = ("never", "always")
    cell: str = "{y}\n{x} of channels: fires in {value}"
    parts: tuple[Figure, ...] = ()
    columns: int = 1
    flow: Flow | None = None
    bands: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    dashed: frozenset[str] = field(default_factory=frozenset)
    said: tuple[str, ...] = ()
    numbers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    unit: str = ""
    ramp: bool = False
    points: frozenset[str] = field(default_factory=frozenset)
    filled: bool = False
    flat: bool = False
    healthy_range: tuple[float, float] | None = None
    tones: Mapping[str, int] = field(default_factory=dict)
    lines: tuple[tuple[float, float, float, float], ...] = ()
    apart: tuple[str, str] = ("of zero", "not known")
    notes: tuple[str, ...] = ()
    whiskers: bool = False
    corner: tuple[float, float, float, float] | None = None
    written: bool = False

    def table(self) -> Table:
        """Return the figure's numbers: a row for each x, row of a heat map, link of a sankey, or series of a cell."""
        if self.kind in ("heat", "map"):
            columns = {str(x): np.array([row[i] for row in self.series.values()]) for i, x in enumerate(self.x)}
            return Table({self.y_label: np.array(list(self.series)), **columns})
        if self.flow is not None:
            names = {"from": [link[0] for link in self.flow.links], "to": [link[1] for link in self.flow.links]}
            return Table({name: np.array(values) for name, values in names.items()} | dict(self.series))
        if self.kind == "maps":
            return _mapped(self)
        if self.kind == "panel" and self.parts[0].kind == "lines":
            return Table.stacked([{self.x_label: np.full(len(p.x), p.title), **p.table().columns} for p in self.parts])
        if self.kind == "panel":
            return _stacked(self.parts)
        if self.kind == "grid":
            return _celled(self)
        if self.kind == "frames":
            return Table.stacked([{"frame": np.full(len(p.x), p.title), **p.table().columns} for p in self.parts])
        columns = {self.x_label: np.asarray(self.x)}
        for name, values in self.series.items():
            if self.kind == "boxes":
                columns |= {f"{name} {q}".strip(): values[:, i] for i, q in enumerate(self.five)}
            else:
                columns[name] = values
            for i, side in enumerate(("low", "high")[: 2 * (name in self.bands)]):
                columns[f"{name} {side}"] = self.bands[name][i]
        return Table(columns | ({"note": np.array(self.notes)} if self.notes else {}))


def _stacked(parts: Sequence[Figure]) -> Table:
    """Join the tables of parts, each row led by its layer and its quantity."""
    rows = []
    for part in parts:
        for quantity, values in part.series.items():
            lead = {"layer": part.title, "quantity": quantity}
            table = replace(part, x_label="channel", series={"": values}).table()
            rows += [{**lead, **row} for row in table.rows()]
    return Table.of(rows)


def _mapped(one: Figure) -> Table:
    """Return the rows of several maps, each led by its map; columns are counted where maps have not the same."""
    alike = all(list(part.x) == list(one.parts[0].x) for part in one.parts)
    heads = list(map(str, one.parts[0].x if alike else range(1, 1 + max(len(part.x) for part in one.parts))))
    rows = []
    for part in one.parts:
        for name, values in part.series.items():
            padded = [*map(float, values), *[np.nan] * (len(heads) - len(values))]
            rows.append({"map": part.name, one.y_label: name, **dict(zip(heads, padded, strict=True))})
    return Table.of(rows)


def _celled(one: Figure) -> Table:
    """Return the numbers of a grid's cells, each row led by the heads of its row and column, and its series."""
    rows = []
    for part in one.parts:
        heads = {one.y_label: part.y_label} if part.y_label else {}
        rows += [{**heads, one.x_label: part.title, "series": name, **told} for name, told in part.numbers.items()]
    return Table.of(rows)


def oddities(one: Figure) -> list[str]:
    """Return what the cells of maps that are set apart are, where there are any: minus infinity, and NaN."""
    cells = np.concatenate([np.ravel(row) for part in one.parts for row in part.series.values()])
    there = (np.isneginf(cells).any(), np.isnan(cells).any())
    return [word for word, seen in zip(one.apart, there, strict=True) if seen]


def base(one: Figure, name: str) -> str:
    """Return the series whose colour a series has: of a prediction or a fit, the one that it is of.

    >>> told = {"a": np.ones(1), "a predicted": np.ones(1)}
    >>> base(Figure("n", "t", "h.", "lines", ["x"], told, "x", "y", dashed=frozenset(["a predicted"])), "a predicted")
    'a'
    """
    told = name.removesuffix(" predicted") if name in one.dashed else name.removesuffix(" fitted")
    return told if told in one.series and (name in one.dashed or told in one.points) else name


def places(one: Figure) -> dict[str, int]:
    """Return the place of each series among the colours."""
    own = list(dict.fromkeys(base(one, name) for name in one.series))
    return {name: one.tones.get(base(one, name), own.index(base(one, name))) for name in one.series}
