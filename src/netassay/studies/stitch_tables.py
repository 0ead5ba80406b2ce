"""Stitch tables: the cells of a grid as rows, as arrays with layers for axes, and what is said of each network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from netassay.cutting import Cut
from netassay.engine import Payload
from netassay.patterns import middles
from netassay.result import Array, Table
from netassay.studies.stitch_asked import Net, Question
from netassay.studies.stitch_controls import CONTROLS, ITSELF, NONE

SENDER, RECEIVER = "sender layer", "receiver layer"
MAPS = ("accuracy", "penalty", "penalty_self", "agreement", "mse", "cka", "correlation", "ood", "r2", "low", "high")
COLUMNS = ("own", "accuracy", "low", "high", "agreement", "mse", "cka", "correlation", "ood", "r2", "madds")
BESIDE = tuple(name for name, one in CONTROLS.items() if one.beside and name != NONE)
ORDER = (
    "sender", "sender_layer", "receiver", "receiver_layer", "control", "draw", "accuracy", "claim", "low", "high",
    "penalty", "penalty_low", "penalty_high", "penalty_self", "agreement", "mse", "cka", "correlation", "ood", "r2",
    "adapter", "matching", "madds", "seconds", "seed", "n_fit", "n_test", "note",
)  # fmt: skip
"""Columns of the table of cells."""
PLACE = ("sender", "sender_layer", "receiver", "receiver_layer")
Row = dict[str, Any]
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Grid:
    """The networks, and a row for each stitch."""

    senders: Sequence[Net]
    receivers: Sequence[Net]
    rows: list[Row]
    pictures: Mapping[tuple[str, str, str], np.ndarray]

    @property
    def nets(self) -> list[Net]:
        """Every network once."""
        return list(dict.fromkeys([*self.senders, *self.receivers]))

    @cached_property
    def _controls(self) -> dict[str, dict[Key, list[Row]]]:
        found: dict[str, dict[Key, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in self.rows:
            found[row["control"]][tuple(row[name] for name in PLACE)].append(row)
        return found

    def draws(self, control: str) -> Mapping[Key, list[Row]]:
        """Return the rows of one control by their place in the grid, one for each draw."""
        return self._controls.get(control, {})

    def of(self, control: str) -> dict[Key, Row]:
        """Return the rows of what is there once at each place, or of the first draw."""
        return {key: rows[0] for key, rows in self.draws(control).items()}

    def map(self, name: str, control: str, sender: Net, receiver: Net) -> np.ndarray:
        """Return a number, the mean of draws, of one pair of networks, (sender layer, receiver layer); or NaN."""
        rows = self.draws(control)
        places = [[(sender.name, i, receiver.name, j) for j in receiver.layers] for i in sender.layers]
        nothing = [{name: np.nan}]
        return np.array([[np.mean([row[name] for row in rows.get(at, nothing)]) for at in line] for line in places])


def gathered(
    senders: Sequence[Net], receivers: Sequence[Net], asked: Sequence[Question], found: Sequence[Payload]
) -> Grid:
    """Turn cells and what they gave into rows; penalties are against the receiver as it is."""
    names = {tuple(net.named): net.name for net in (*senders, *receivers)}
    rows: list[Row] = []
    pictures = {}
    for cell, given in zip(asked, found, strict=True):
        sender, receiver = (names[tuple(cell[side])] for side in ("sender", "receiver"))
        each = float(given["seconds"]) / len(cell["receiver_layers"])
        for k, layer in enumerate(cell["receiver_layers"]):
            told = {
                "sender": sender,
                "sender_layer": cell["sender_layer"],
                "receiver": receiver,
                "receiver_layer": layer,
            }
            how = {name: cell[name] for name in ("control", "draw", "adapter", "matching")}
            numbers = {name: given[name][k].item() for name in COLUMNS}
            counted = {
                "seconds": each,
                "seed": cell["seed"],
                **{name: int(given[name]) for name in ("n_fit", "n_test")},
            }
            rows.append({**told, **how, **numbers, **counted, "claim": "", "note": str(given["note"][k])})
        if "pictures" in given and cell["control"] == NONE:
            pictures[sender, cell["sender_layer"], receiver] = given["pictures"]
    _penalties(rows)
    return Grid(senders, receivers, rows, pictures)


def _penalties(rows: list[Row]) -> None:
    """Add what is lost against the receiver, and against its own front with the same adapter; to each row in place."""
    judged = [row for row in rows if CONTROLS[row["control"]].receiver == ITSELF and not np.isnan(row["own"])]
    own = {row["receiver"]: row["own"] for row in judged}
    itself = {(row["receiver"], row["receiver_layer"]): row["accuracy"] for row in rows if row["control"] == "self"}
    for row in rows:
        del row["own"]
        row["penalty"] = own.get(row["receiver"], np.nan) - row["accuracy"]
        row["penalty_self"] = itself.get((row["receiver"], row["receiver_layer"]), np.nan) - row["accuracy"]


def labels(nets: Sequence[Net]) -> list[str]:
    """Name rows or columns; by network too where there are several."""
    return [f"{net.name}/{layer}" if len(nets) > 1 else layer for net in nets for layer in net.layers]


def arrays(grid: Grid, x: np.ndarray) -> dict[str, Array]:
    """Return the maps, those of each control, the self-stitches, and pictures, those of the samples x among them."""
    axes = {SENDER: labels(grid.senders), RECEIVER: labels(grid.receivers)}
    controls = {row["control"] for row in grid.rows}
    wanted = {name: (name, NONE) for name in MAPS}
    wanted |= {f"accuracy/{control}": ("accuracy", control) for control in BESIDE if control in controls}
    made = {key: Array(_whole(grid, *what), **axes) for key, what in wanted.items()}
    if "self" in controls:
        found = {
            (row["receiver"], row["receiver_layer"]): row["accuracy"] for row in grid.rows if row["control"] == "self"
        }
        values = [found[net.name, layer] for net in grid.receivers for layer in net.layers]
        made["self"] = Array(np.array(values), **{RECEIVER: labels(grid.receivers)})
    return made | _pictures(grid, x)


def _whole(grid: Grid, name: str, control: str) -> np.ndarray:
    return np.block([[grid.map(name, control, one, other) for other in grid.receivers] for one in grid.senders])


def _pictures(grid: Grid, x: np.ndarray) -> dict[str, Array]:
    """Return what stitches into a receiver's input made of the first samples, an array for each receiver; and these."""
    made = {}
    for receiver in grid.receivers:
        found = {key[:2]: values for key, values in grid.pictures.items() if key[2] == receiver.name}
        if found:
            values = np.stack(list(found.values()))
            axes = {SENDER: [f"{one}/{layer}" if len(grid.senders) > 1 else layer for one, layer in found]}
            each = {f"axis {k}" if k else "sample": list(map(str, range(n))) for k, n in enumerate(values.shape[1:])}
            made[f"decoded/{receiver.name}"] = Array(values, **axes, **each)
            made["samples"] = Array(x, **each)
    return made


def cut_table(grid: Grid) -> Table:
    """One row for each layer asked for of each network: where it stands, or why it is no place to cut at."""
    rows = []
    for net in grid.nets:
        for one in net.found:
            if isinstance(one, Cut):
                place = float(middles(len(net.layers))[net.layers.index(one.layer)])
                shape, why = " x ".join(map(str, one.shape)), one.skips and f"allowed: {one.skips} goes around"
                rows.append((net.name, one.layer, one.kind, shape, place, True, why, one.multiply_adds))
            else:
                rows.append((net.name, one.layer, "", "", np.nan, False, str(one), 0))
    names = ("net", "layer", "kind", "shape", "position", "clean", "why", "madds")
    return Table.of([dict(zip(names, row, strict=True)) for row in rows])


def net_table(grid: Grid) -> Table:
    """One row for each network: what it is made from, and its accuracy on the samples judged on."""
    sends, receives = ({net.name for net in side} for side in (grid.senders, grid.receivers))
    layers: dict[str, set[str]] = defaultdict(set)
    for net in grid.nets:
        layers[net.name].update(net.layers)
    return Table.of(
        [
            {
                "net": net.name,
                "spec": net.spec,
                "hash": net.hash,
                "sends": net.name in sends,
                "receives": net.name in receives,
                "layers": len(layers[net.name]),
                "accuracy": net.accuracy,
            }
            for net in {net.name: net for net in grid.nets}.values()
        ]
    )


def capacity_table(grid: Grid) -> Table:
    """One row for each rank that an adapter was held to."""
    names = ("sender", "sender_layer", "receiver", "receiver_layer", "accuracy", "low", "high", "penalty", "r2")
    rows = [row for row in grid.rows if row["control"] == "capacity"]
    return Table.of(
        [{"rank": int(row["adapter"].split("=")[1]), **{name: row[name] for name in names}} for row in rows]
    )
