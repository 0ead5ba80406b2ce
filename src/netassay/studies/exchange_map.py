"""Exchange map: how much gradient every channel of every layer absorbs and emits, and how much of it survives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from netassay.capturing import watchable
from netassay.data import load_data
from netassay.errors import BadInput, UnknownName, listing
from netassay.layers import Layer, has_weight, named_layers, select
from netassay.objectives import Objective, find
from netassay.result import Result
from netassay.rules import find as find_rule
from netassay.rules import known
from netassay.studies.exchange_streams import ALSO, Exchange, Look
from netassay.studies.exchange_tables import tables
from netassay.studies.provenance import describe_pass, joined
from netassay.studies.sweep import sweep
from netassay.zoo import build

SAME = ("model_hash", "objective", "mode", "dtype", "also")
"""What parts of one map share."""
NO_INPUT = (nn.Embedding, nn.EmbeddingBag)
"""Layers whose inputs are integers, which take no gradient."""


@dataclass(frozen=True)
class Exchanges:
    """Every call's exchange over some samples; those of parts of a data set merge."""

    layers: tuple[Exchange, ...]
    made: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def merge(self, other: Exchanges) -> Exchanges:
        """Join with the exchange of further samples of the same layers."""
        mine, theirs = [layer.label for layer in self.layers], [layer.label for layer in other.layers]
        if mine != theirs:
            raise BadInput(
                "merge two exchange maps", f"layers {mine[:3]}... and {theirs[:3]}...", "map the same layers"
            )
        for fact in SAME:
            if self.made[fact] != other.made[fact]:
                found = f"{fact} {self.made[fact]} and {other.made[fact]}"
                raise BadInput(
                    "merge two exchange maps", found, "merge parts of one data set, of one model, asked alike"
                )
        layers = tuple(a.merge(b) for a, b in zip(self.layers, other.layers, strict=True))
        return replace(self, layers=layers, made=joined(self.made, other.made))

    def result(self) -> Result:
        """Name the axes."""
        return replace(tables(self), source=self)


def exchange_map(
    model: nn.Module | str,
    data: Any,
    layers: str | Sequence[str] | None = None,
    *,
    objective: str | Objective = "cross_entropy",
    skip: str | Sequence[str] = (),
    also: Sequence[str] = ("blocks",),
    training: bool = False,
    batch_size: int = 128,
) -> Result:
    """Map how channels exchange gradient: emission, absorption and coherence of every channel, over all of `data`.

    For every sample, emission of an output channel is the sum over input channels of the norm of the gradient that goes
    from the one to the other; absorption of an input channel the sum over output channels; coherence the part of
    what is absorbed that interference leaves. Exact, by one pass backward (see `netassay.rules`). Gradients are of the
    objective's sum over samples; a mean loss over N would give 1/N of them. The model runs in eval mode unless
    `training`.

    `layers` are patterns (see `select`); by default every layer with a weight matrix. `skip` leaves layers out, by
    pattern: a layer without a rule is refused otherwise. `also` asks for more: "blocks" (the mean over samples for each
    pair of channels), "share" (of each output in what each input receives, pooled), "around" (what comes around each
    branch), and what the script of the original study computed in the place of emission and absorption:
    "emission_norm" (the norm over inputs, not the sum) and "gradient_norm" (of the gradient at each output channel).
    `model` may be a spec.

    Tables "layers", "inputs", "outputs", "claims" (layer by layer) and "residual"; arrays "blocks/LAYER" and
    "share/LAYER" (output, input); `docs/words.md` has the columns; figures "coherence", "variation", "panel", "blocks"
    and "sankey". Results over parts of the data merge exactly, but for claims and variations: samples are dealt to
    folds anew.

    >>> import torch, netassay as na
    >>> r = exchange_map(na.build("mlp[8]"), (torch.randn(40, 64), torch.arange(40) % 10))
    >>> [(row["layer"], row["outputs"], row["inputs"]) for row in r.table("layers")]
    [('fc1', 8, 64), ('head', 10, 8)]
    """
    model = build(model) if isinstance(model, str) else model
    wanted = frozenset([also] if isinstance(also, str) else map(str, also or ()))
    for name in sorted(wanted - set(ALSO)):
        raise UnknownName("exchange", name, ALSO, "use also=" + listing(ALSO))
    loaded = load_data(data, batch_size=batch_size)
    chosen, left_out = _chosen(watchable(model), layers, skip)
    rules = {layer.name: find_rule(layer.module, layer.name) for layer in chosen}
    look = Look(rules, wanted, strict=layers is not None)
    outcome = sweep(
        model,
        loaded,
        chosen,
        objective=find(objective),
        on_forward=look.forward if any(rule.reads_x for rule in rules.values()) else None,
        on_backward=look.backward,
        on_total=look.total if "around" in wanted else None,
        training=training,
        task="exchange",
    )
    found = look.read(outcome)
    if not found:
        asked = f"exchange of {listing([layer.name for layer in chosen])}"
        why = "; ".join(look.left_out.values()) or "no gradient came by any of them"
        raise BadInput(asked, why, "choose layers that `netassay summary` shows")
    never = [f"asked for but never ran: {name}" for name in outcome.never_ran]
    reached = {layer.label for layer in found}
    odd = look.left_out
    never += [f"no gradient came by: {c.label}" for c in outcome.calls.values() if c.label not in {*reached, *odd}]
    made = describe_pass(model, loaded, outcome.seen, objective=objective, training=training)
    notes = (*(f"left out: {name}" for name in left_out), *odd.values(), *never)
    return Exchanges(found, {**made, "also": ", ".join(sorted(wanted))}, notes).result()


def by_rule(model: nn.Module, layers: str | Sequence[str] | None) -> tuple[list[Layer], list[Layer]]:
    """List the layers of a map that have a rule, and those it would refuse."""
    wanted = _wanted(model, layers)
    return [one for one in wanted if known(one.module)], [one for one in wanted if not known(one.module)]


def _chosen(
    model: nn.Module, layers: str | Sequence[str] | None, skip: str | Sequence[str]
) -> tuple[list[Layer], list[str]]:
    """Return the layers to look at, and the names of those left out."""
    chosen = _wanted(model, layers)
    skipped = {layer.name for layer in select(model, skip)} if skip else set()
    kept = [layer for layer in chosen if layer.name not in skipped]
    if not kept:
        raise BadInput(
            f"exchange of {type(model).__name__}", "no layer with a weight is left", "name layers: layers='*'"
        )
    return kept, [layer.name for layer in chosen if layer.name in skipped]


def _wanted(model: nn.Module, layers: str | Sequence[str] | None) -> list[Layer]:
    """Return the layers asked for; by default those with a weight matrix whose inputs can take a gradient."""
    if layers is not None:
        # A pattern takes containers, too, which multiply by nothing of their own.
        return [one for one in select(model, layers) if known(one.module) or not list(one.module.children())]
    # Attention multiplies by its projections' weights without calling them: the module stands for them.
    inside = tuple(f"{one.name}." for one in named_layers(model) if isinstance(one.module, nn.MultiheadAttention))
    weighted = [layer for layer in named_layers(model) if has_weight(layer.module)]
    return [one for one in weighted if not one.name.startswith(inside) and not isinstance(one.module, NO_INPUT)]
