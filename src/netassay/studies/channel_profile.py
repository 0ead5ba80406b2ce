"""Channel profile: what every channel of every layer carries forward, and what gradient comes back to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from netassay.data import Data, load_data
from netassay.errors import BadInput, listing
from netassay.layers import Layer, exactly, select
from netassay.objectives import Objective, find
from netassay.result import Result
from netassay.studies.channel_streams import Channels, Look, telling
from netassay.studies.channel_tables import tables
from netassay.studies.provenance import describe_pass, joined, state_hash
from netassay.studies.sweep import sweep
from netassay.studies.twins import fresh_norms, settle, untrained
from netassay.verdicts import SILENT_LAYER
from netassay.zoo import build

SAME = ("model_hash", "objective", "mode", "dtype")
"""What parts of one profile share."""
TWINS = (1001, 1002, 1003)
"""Seeds of the untrained networks that a suspicious layer is compared with: with one, 6 dead of 8 could be chance."""


@dataclass(frozen=True)
class Profile:
    """Every call's channels over some samples; profiles of parts of a data set merge."""

    layers: tuple[Channels, ...]
    never_ran: tuple[str, ...]
    samples: int
    made: Mapping[str, Any]
    before: Mapping[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def merge(self, other: Profile) -> Profile:
        """Join with the profile of further samples of the same layers."""
        mine, theirs = [layer.label for layer in self.layers], [layer.label for layer in other.layers]
        if mine != theirs:
            raise BadInput("merge two profiles", f"layers {mine[:3]}... and {theirs[:3]}...", "profile the same layers")
        for fact in SAME:
            if self.made[fact] != other.made[fact]:
                found = f"{fact} {self.made[fact]} and {other.made[fact]}"
                raise BadInput("merge two profiles", found, "merge parts of one data set, of one model, asked alike")
        layers = tuple(a.merge(b) for a, b in zip(self.layers, other.layers, strict=True))
        samples = self.samples + other.samples
        return replace(self, layers=layers, samples=samples, made=joined(self.made, other.made))

    def result(self) -> Result:
        """Name the axes."""
        return replace(tables(self), source=self)


def channel_profile(
    model: nn.Module | str,
    data: Any,
    layers: str | Sequence[str] | None = None,
    *,
    objective: str | Objective = "cross_entropy",
    baseline: Result | None = None,
    quantiles: bool = True,
    training: bool = False,
    batch_size: int = 128,
) -> Result:
    """Profile every channel: outputs `y` and the gradients `gy` that arrive there, over all of `data`.

    `layers` are patterns (see `select`); by default every layer with a weight matrix and every activation.
    Gradients are of the objective's sum over samples, per sample; a mean loss over N would give 1/N of them. The
    model runs in eval mode unless `training`. `baseline` is the profile of the same layers at initialisation, by
    which silent channels are judged; without it, a layer with suspiciously many is compared with untrained twins.
    `quantiles=False` leaves out the histogram of all entries, the costliest stream. `model` may be a spec.

    Tables "layers" and "channels" (`docs/words.md` has the columns), arrays "y_quantiles" and "gy_quantiles"
    (layer, quantile). Results over parts of the data merge exactly.

    >>> import torch, netassay as na
    >>> r = channel_profile(na.build("mlp[8]"), (torch.randn(20, 64), torch.arange(20) % 10))
    >>> [(row["layer"], row["channels"], row["samples"]) for row in r.table("layers")]
    [('fc1', 8, 20), ('act1', 8, 20), ('head', 10, 20)]
    """
    model = build(model) if isinstance(model, str) else model
    loaded = load_data(data, batch_size=batch_size)
    ask = Ask(loaded, objective, training, strict=layers is not None)
    profile = ask.profile(model, _chosen(model, layers), quantiles=quantiles)
    if baseline is not None and baseline.study != "channel_profile":
        raise BadInput("baseline", f"a result of {baseline.study}", "give what channel_profile returned")
    if baseline is not None:
        return replace(profile, before=_states([baseline])).result()
    result = profile.result()
    names = dict(model.named_modules())
    labels = [verdict.layer for verdict in result.verdicts if verdict.rule == SILENT_LAYER]
    suspects = {label if label in names else label.rpartition("#")[0] for label in labels}
    return ask.beside_twins(profile, model, sorted(suspects)) if suspects else result


@dataclass(frozen=True)
class Ask:
    """What is asked of every network alike: by which data, objective and mode."""

    data: Data
    objective: str | Objective
    training: bool
    strict: bool
    """Whether an output without a sample axis is refused; else its layer is left out, and the notes say so."""

    def profile(self, model: nn.Module, layers: list[Layer], *, quantiles: bool, task: str = "channels") -> Profile:
        """Pass the data by, and read what it left."""
        look = Look(quantiles, self.strict)
        outcome = sweep(
            model,
            self.data,
            layers,
            objective=find(self.objective),
            on_forward=look.forward,
            on_backward=look.backward,
            training=self.training,
            task=task,
        )
        if not outcome.calls:
            asked = f"channels of {listing(outcome.never_ran)}"
            raise BadInput(asked, "the forward pass calls none of them", "choose layers that `netassay summary` shows")
        made = describe_pass(model, self.data, outcome.seen, objective=self.objective, training=self.training)
        notes = (*look.left_out.values(), *(() if self.training else _unsettled(model)))
        return Profile(look.read(outcome), tuple(outcome.never_ran), outcome.seen.samples, made, notes=notes)

    def beside_twins(self, profile: Profile, model: nn.Module, suspects: list[str]) -> Result:
        """Judge the suspects by what untrained twins of `model` do there."""
        found: list[Result] = []
        known: list[str] = []
        told = ""
        for seed in TWINS:
            twin, told = untrained(model, seed, known)
            known.append(state_hash(twin))
            if not self.training:
                settle(twin, self.data)
            layers = select(twin, [exactly(name) for name in suspects])
            found.append(self.profile(twin, layers, quantiles=False, task=f"untrained twin {len(known)}").result())
        notes = (*profile.notes, f"initialisation: untrained twins with seeds {TWINS[0]} to {TWINS[-1]}, {told}")
        return replace(profile, before=_states(found), notes=notes).result()


def _chosen(model: nn.Module, layers: str | Sequence[str] | None) -> list[Layer]:
    if layers is not None:
        return select(model, layers)
    chosen = telling(model)
    if not chosen:
        raise BadInput(f"channels of {type(model).__name__}", "no layer with a weight", "name layers: layers='*'")
    return chosen


def _unsettled(model: nn.Module) -> tuple[str, ...]:
    """Say which layers normalise by statistics that no batch has gone into: they hand their input through."""
    fresh = list(fresh_norms(model))
    if not fresh:
        return ()
    return (f"{len(fresh)} batch norms (first: {fresh[0]}) have seen no batch, and scale nothing in eval mode",)


def _states(results: Sequence[Result]) -> dict[str, np.ndarray]:
    """Put together, layer by layer, the states of the channels of several networks."""
    states: dict[str, list[np.ndarray]] = {}
    for table in (result.tables["channels"].columns for result in results):
        for label in dict.fromkeys(table["layer"].tolist()):
            states.setdefault(str(label), []).append(table["state"][table["layer"] == label])
    return {label: np.concatenate(parts) for label, parts in states.items()}
