"""Similarity, gathered: one pass of the data through every network, each layer's features handed on while they live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Protocol

import torch
from torch import Tensor

from netassay.axes import NOWHERE
from netassay.capturing import visit
from netassay.data import Batch, Data
from netassay.errors import BadInput, NetassayError
from netassay.measures.features import features, policies, told
from netassay.progress import track
from netassay.quiet import quiet
from netassay.records import Record
from netassay.studies.forward import checked, device_of, forward
from netassay.studies.provenance import Seen
from netassay.studies.similarity_asked import Asked, Run, Tap
from netassay.studies.similarity_diagnoses import paired
from netassay.studies.survey import Call, Key, survey

FEW = 2
"""Samples that are enough to learn order, places and axes of every layer."""


class Sink(Protocol):
    """What takes features while they live. `take` may keep no view of them; `end` closes a batch of `n` samples."""

    def take(self, tap: int, x: Tensor) -> None:
        """Take features `(n, d)` of a tap, raw."""
        ...

    def end(self, n: int) -> None:
        """Close a batch."""
        ...


@dataclass(frozen=True)
class Policy:
    """What is made of positions and tokens."""

    positions: str
    tokens: str

    def __post_init__(self) -> None:
        """Refuse a name that there is not, also where no layer would ask for it."""
        policies(self.positions, self.tokens)

    def read(self, y: Tensor | None, call: Call, batch: Batch) -> Tensor | None:
        """Return the features of a call's output; None where it has no sample axis or no numbers."""
        if y is None or call.sample_axis == NOWHERE or not y.is_floating_point():
            return None
        return features(y, **self._asked(call, batch))

    def told(self, y: Tensor, call: Call, batch: Batch) -> str:
        """Say what is made of them."""
        return told(tuple(y.shape), **self._asked(call, batch))

    def _asked(self, call: Call, batch: Batch) -> dict[str, Any]:
        axes = {"axis": call.axis, "sample_axis": call.sample_axis or 0, "samples": len(batch.x)}
        return {"positions": self.positions, "tokens": self.tokens, "mask": batch.mask, **axes}


@dataclass
class Gathered:
    """What a pass found: the taps, what was left out and why, and the samples that went by."""

    taps: list[Tap]
    notes: list[str]
    seen: list[Seen]
    ids: list[list[Tensor]] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    batches: int = 0
    surplus: Counter[tuple[str, str]] = field(default_factory=Counter)

    def classes(self) -> Tensor | None:
        """Return the class of each sample, where every batch told."""
        return torch.cat(self.labels) if self.labels and len(self.labels) == self.batches else None


def gather(
    asked: Asked, policy: Policy, plan: Callable[[list[Tap]], Sequence[Sink]], task: str = "similarity"
) -> Gathered:
    """Run every batch through every network once, in eval mode and without gradient; `plan` makes the sinks."""
    with ExitStack() as stack:
        for model in {id(run.model): run.model for run in asked.runs}.values():
            stack.enter_context(quiet(model))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        found: Gathered | None = None
        sinks: Sequence[Sink] = ()
        for number, batches in enumerate(track(_paired(asked.data), task, _length(asked.data))):
            if found is None:
                found = _surveyed(asked, policy, batches)
                sinks = plan(found.taps)
            for run in asked.runs:
                _through(run, batches[run.data], number, policy, found, sinks)
            for sink in sinks:
                sink.end(len(batches[0].x))
            _note(found, batches)
    if found is None:
        raise BadInput(f"data {asked.data[0].spec}", "no batch in it", "give data with samples")
    found.notes.extend(
        f"left out: {count} calls of {name} of {model} beyond those of the first batch"
        for (name, model), count in found.surplus.items()
    )
    paired(asked.data, [torch.cat(ids) for ids in found.ids])
    return found


def _through(run: Run, given: Batch, number: int, policy: Policy, found: Gathered, sinks: Sequence[Sink]) -> None:
    batch = checked(given, number, device_of(run.model))
    waiting = {tap.key: i for i, tap in enumerate(found.taps) if tap.run is run}
    surplus: Counter[str] = Counter()

    def take(record: Record) -> None:
        at = waiting.pop(record.key, None)
        if record.key not in run.outcome.calls:
            surplus[record.key[0]] += 1
        if at is not None:
            x = policy.read(record.y, found.taps[at].call, batch)
            assert x is not None
            _fits(found.taps[at], x, len(batch.x), number)
            for sink in sinks:
                sink.take(at, x)

    with visit(run.model, run.layers, on_forward=take):
        forward(run.model, batch.x.clone(), batch)
    if waiting:
        missing = next(iter(waiting))
        asked, seen = f"layer {missing[0]!r} of {run.name}", f"call {missing[1]} of it in the first batch"
        raise BadInput(asked, f"{seen}, and none in batch {number}", "leave it out of layers=")
    found.surplus.update({(name, run.name): count for name, count in surplus.items()})


def _fits(tap: Tap, x: Tensor, samples: int, number: int) -> None:
    """Refuse features of another length than those of the first batch, which nothing could be made of together."""
    known = {"features": (x.shape[1], tap.d), "positions": (len(x) // max(samples, 1), tap.rows)}
    for what, (count, first) in known.items():
        if count != first:
            found = f"batch {number} gives {count} {what} where the first gave {first}"
            next = "take positions='pool', or inputs of one size; or leave it out of layers="
            raise BadInput(f"layer {tap.call.label} of {tap.run.name}", found, next)


def _surveyed(asked: Asked, policy: Policy, batches: Sequence[Batch]) -> Gathered:
    """Learn from a few samples what runs, in which order, and how many features each call has."""
    found = Gathered([], [], [Seen() for _ in asked.data], [[] for _ in asked.data])
    for run in asked.runs:
        batch = checked(batches[run.data], 0, device_of(run.model))
        few = Batch._make(None if part is None else part[:FEW] for part in batch)
        try:
            made = _learned(run, few)
        except NetassayError:  # a model made for one batch size
            few, made = batch, _learned(run, batch)
        _sized(run, policy, few, made, found)
    return found


def _learned(run: Run, batch: Batch) -> dict[Key, Tensor | str]:
    """Survey a run; return an empty output of every call, in order of execution, or the type of what is no tensor."""
    made: dict[Key, Tensor | str] = {}

    def note(record: Record) -> None:  # the survey's second pass is of one sample more
        made.setdefault(record.key, record.returned if record.y is None else torch.empty_like(record.y))

    with torch.enable_grad(), visit(run.model, run.layers, on_forward=note):
        survey(run.model, batch, run.layers, run.outcome)
    return made


def _sized(run: Run, policy: Policy, batch: Batch, made: dict[Key, Tensor | str], found: Gathered) -> None:
    for key, y in made.items():
        call = run.outcome.calls[key]
        x = None if isinstance(y, str) else policy.read(y, call, batch)
        if x is None or isinstance(y, str):
            why = f"returns {y}" if isinstance(y, str) else "its output has no axis for samples, or no real numbers"
            found.notes.append(f"left out: {call.label} of {run.name} ({why})")
        else:
            how = policy.told(y, call, batch)
            found.taps.append(Tap(run, key, x.shape[1], len(x) // len(batch.x), x.element_size(), how))
    found.notes.extend(f"asked for but never ran: {name} of {run.name}" for name in run.outcome.never_ran)


def _paired(data: Sequence[Data]) -> Iterator[tuple[Batch, ...]]:
    """Pass over one data set, or over two side by side."""
    for number, batches in enumerate(zip_longest(*data)):
        sizes = [0 if one is None else len(one.x) for one in batches]
        if len(set(sizes)) > 1:
            found = f"batch {number} holds {sizes[0]} samples of the one and {sizes[1]} of the other"
            raise BadInput("pair two data sets", found, "give the same samples in the same order to both sides")
        yield batches


def _length(data: Sequence[Data]) -> int | None:
    return None if data[0].n is None and data[0].batches is None else len(data[0])


def _note(found: Gathered, batches: Sequence[Batch]) -> None:
    for seen, ids, batch in zip(found.seen, found.ids, batches, strict=True):
        seen.add(batch)
        assert batch.ids is not None  # as_batch numbers what came without
        ids.append(batch.ids.cpu())
    if batches[0].y is not None and batches[0].y.dim() == 1 and not batches[0].y.is_floating_point():
        found.labels.append(batches[0].y.cpu())
    found.batches += 1
