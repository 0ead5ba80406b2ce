"""Initialisation profile: a network beside its own start: which scheme drew it, what training made of its weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from netassay.inits import identify_init
from netassay.result import Result, Table
from netassay.shape import Distribution, shift
from netassay.studies.init_looks import parameters
from netassay.studies.init_payload import END, START
from netassay.studies.init_symmetry import distinct
from netassay.studies.init_tables import densities, numbers
from netassay.studies.provenance import describe

OWNER = ("layer", "parameter", "kind")
"""Whose weights they are; attention has three matrices in one parameter."""


def init_profile(start: nn.Module, end: nn.Module) -> Result:
    """Compare a network's parameters with those of another, its start: shapes of distributions and how they shifted.

    Tables "weights" (parameter, when, and the shape of its distribution), "shift" (parameter, Wasserstein distance in
    the weights' unit and in standard deviations of the start, ln of the variance ratio, difference of means), "schemes"
    (which initialisations predict each layer's weights, start and end) and "symmetry" (how many different channels).
    Arrays "weights/density" (parameter, when, bin) and "weights/edges". Parameters only one of the two has are left out
    and noted.
    """
    found = {START: parameters(start), END: parameters(end)}
    both = [name for name in found[START] if name in found[END]]
    odd = sorted({*found[START], *found[END]} - {*both})
    tables = {
        "weights": [{"parameter": name, "when": when, **numbers(found[when][name])} for name in both for when in found],
        "shift": [{"parameter": name, **shift(found[START][name], found[END][name])} for name in both],
        "schemes": _schemes(start, end),
        "symmetry": _symmetry(start, end),
    }

    def pair(name: str) -> list[Distribution]:
        return [found[when][name] for when in (START, END)]

    notes = (f"parameters of only one of the two, left out: {', '.join(odd)}",) if odd else ()
    made = {name: Table.of(rows) for name, rows in tables.items() if rows}
    arrays = densities("weights", {"parameter": both}, pair)
    return Result("init_profile", made, arrays, notes=notes, provenance=describe(end))


def _schemes(start: nn.Module, end: nn.Module) -> list[dict[str, Any]]:
    """Put the schemes that predict each layer's weights side by side."""
    before, after = (identify_init(model).tables["layers"] for model in (start, end))
    later = {tuple(row[name] for name in OWNER): row["schemes"] for row in after.rows()}
    rows = []
    for row in before.rows():
        owner = {name: row[name] for name in OWNER}
        rows.append({**owner, START: row["schemes"], END: later.get(tuple(owner.values()), "")})
    return rows


def _symmetry(start: nn.Module, end: nn.Module) -> list[dict[str, Any]]:
    one, other = (distinct(model, when) for model, when in ((start, START), (end, END)))
    columns = {name.partition("/")[2]: values for name, values in {**one, **other}.items()}
    same = len({len(values) for values in columns.values()}) == 1
    return Table(columns).rows() if same else []
