"""Exchange streams: what a sweep leaves of each call of a layer: emission, absorption, coherence, mean blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netassay.data import Batch
from netassay.errors import BadInput
from netassay.exchange import coherence, exchanged
from netassay.records import Record
from netassay.rules import Rule
from netassay.rules.exactly import exactly
from netassay.rules.levels import norms
from netassay.streams.blocks import scratch
from netassay.streams.rows import Rows, make, observe, read
from netassay.studies.arranged import Arranged
from netassay.studies.survey import Call, Outcome

FOLDS = 100
"""Parts into which samples are dealt at random, so that intervals need no more than each part's sums."""
FOLD_IN = 128
"""Samples whose numbers wait until they are folded into rows: rows cost as much for one as for these."""
LARGEST = 1 << 22
"""Entries of a layer's mean blocks beyond which they are not kept."""
WIDEST = 1 << 14
"""Channels of a call, of all quantities together, beyond which quartiles are not kept: each takes 8 kB."""
STREAMS = ("moments", "extremes", "counts", "sample_norms")
ALSO = ("blocks", "share", "around", "emission_norm", "gradient_norm")
"""What can be asked for beside emission, absorption and coherence."""


@dataclass(frozen=True)
class Exchange:
    """One call of a layer. Its rows speak of the quantities in `columns`, one after the other; `sums` are only added.

    Of `sums`, by fold: "emission" `(FOLDS, O)` and "absorption" `(FOLDS, I)`, beside the sample's mean over channels,
    and "samples" `(FOLDS,)`. Over samples: "passed" and "arrived" `(I,)`, norms of gx and absorption where both were
    seen; "blocks" `(O, I)` and "counted" `(O,)`, of how many samples; "overlap" `(O, I)` and "square" `(I,)`, see
    `exchange.share`; "around" `(3,)`: norms of what comes through a branch, around it, and in all; "made" `(2,)`:
    blocks, and those made once more; "seen" `(2,)`: samples, and those whose gx was not. `mixes`: whether channels
    meet at all.
    """

    label: str
    kind: str
    depth: int
    path: str
    columns: Mapping[str, int]
    mixes: bool
    rows: Rows | Mapping[str, Any]
    sums: Mapping[str, np.ndarray]

    def read(self) -> Mapping[str, Any]:
        """Return the value forms; they take many times the rows' memory, and are not kept."""
        return read(self.rows) if isinstance(self.rows, Rows) else self.rows

    @property
    def large(self) -> bool:
        """Whether there are too many blocks to keep their mean."""
        return self.columns["emission"] * self.columns["absorption"] > LARGEST

    def merge(self, other: Exchange) -> Exchange:
        """Join with the same call's exchange over further samples."""
        mine, theirs = self.read(), other.read()
        streams = {name: stream.merge(theirs[name]) for name, stream in mine.items()}
        sums = {name: value + other.sums[name] for name, value in self.sums.items()}
        return replace(self, rows=streams, sums=sums)


@dataclass
class Tally:
    """What is added up of one call on its device, while the sweep goes by."""

    columns: dict[str, int]
    memory: Tensor
    sums: dict[str, Tensor] = field(default_factory=dict)
    waiting: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    rows: Rows | None = None

    def add(self, name: str, value: Tensor) -> None:
        """Add to a sum."""
        self.sums[name] = self.sums[name].add_(value) if name in self.sums else value.clone()

    def wait(self, values: Tensor, passed: Tensor, fold: Tensor) -> None:
        """Keep the numbers of a batch, `(N, columns)`, norms of gx and folds, until there are enough."""
        # The first batch is folded at once, so that memory is from then on what it will be.
        first = self.rows is None
        if self.rows is None:
            streams = STREAMS if values.shape[1] <= WIDEST else STREAMS[:-1]
            self.rows = make(streams, values[..., None], memory=self.memory)
        self.waiting.append((values, passed, fold))
        if first or sum(len(one) for one, _, _ in self.waiting) >= FOLD_IN:
            self.fold()

    def fold(self) -> None:
        """Fold what waits into the rows and the sums."""
        if not self.waiting or self.rows is None:
            return
        values, passed, fold = (torch.cat(one) for one in zip(*self.waiting, strict=True))
        self.waiting = []
        observe(self.rows, values[..., None])
        sides = dict(zip(self.columns, torch.split(values, list(self.columns.values()), 1), strict=True))
        known = passed.isfinite().all(1) & sides["absorption"].isfinite().all(1)
        self.add("passed", passed[known].sum(0))
        self.add("arrived", sides["absorption"][known].sum(0))
        self.add("seen", torch.stack([torch.ones_like(known).sum(), (~known).sum()]))
        relative = {name: sides[name] / sides[name].mean(1, keepdim=True) for name in ("emission", "absorption")}
        counted = torch.stack([one.isfinite().all(1) for one in relative.values()]).all(0)
        for name, one in relative.items():
            parts = one.new_zeros(FOLDS, one.shape[1])
            self.add(name, parts.index_add_(0, fold[counted], one[counted]))
        self.add("samples", torch.bincount(fold[counted], minlength=FOLDS))


class Look:
    """Takes each call's blocks as its gradient comes by, and keeps what they add up to."""

    def __init__(self, rules: Mapping[str, Rule], also: frozenset[str], strict: bool) -> None:
        self.rules, self.also, self.strict = rules, also, strict
        self.left_out: dict[str, str] = {}
        self.tallies: dict[str, Tally] = {}
        self.inputs: dict[str, Tensor] = {}
        self.passed: dict[str, Tensor] = {}
        self.generator = torch.Generator().manual_seed(0)
        self.batch: Batch | None = None
        self.memory: Tensor | None = None

    def forward(self, call: Call, record: Record, batch: Batch) -> None:
        """Keep the input of layers whose rule needs its values; not one that the layer overwrites."""
        if self.rules[call.layer.name].reads_x and record.x is not None:
            self.inputs[call.label] = record.x

    def backward(self, call: Call, record: Record, batch: Batch) -> None:
        """Make a call's blocks, and add up what they say."""
        if record.gy is None or record.x_shape is None:
            return
        x, rule = self.inputs.pop(call.label, None), self.rules[call.layer.name]
        try:
            with exactly():
                self._exchange(Arranged.of(call, record, record.gy, batch, rule, x))
        except BadInput as error:
            if self.strict:
                raise
            self.left_out[call.label] = f"{call.label} is left out: {error.found}"
        if "around" in self.also and call.place.path == "branch" and record.gx is not None:
            self.passed[call.label] = record.gx

    def total(self, call: Call, record: Record, batch: Batch) -> None:
        """Compare what came back through a branch with what the tensor it began at received in all."""
        through, total = self.passed.pop(call.label, None), record.gx_total
        if through is None or total is None or call.label not in self.tallies:
            return
        with exactly():
            first, both = (one.movedim(call.sample_axis or 0, 0) for one in (through, total))
            sizes = [norms(one.reshape(len(batch.x), 1, -1)).sum() for one in (first, both - first, both)]
            self.tallies[call.label].add("around", torch.stack(sizes))

    def _exchange(self, seen: Arranged) -> None:
        few = seen.shape[1] * seen.shape[2] <= LARGEST
        sums = exchanged(
            seen.tiles(),
            seen.shape,
            total="blocks" in self.also and few,
            norm="emission_norm" in self.also,
        )
        passed = seen.passed()
        values = {"emission": sums.emission, "absorption": sums.absorption}
        values["coherence"] = coherence(passed, sums.absorption)
        if sums.emission_norm is not None:
            values["emission_norm"] = sums.emission_norm
        if "gradient_norm" in self.also:
            values["gradient_norm"] = norms(seen.by_channel(seen.gy))
        label = seen.call.label
        if label not in self.tallies:
            self.tallies[label] = Tally({name: value.shape[1] for name, value in values.items()}, self._scratch(passed))
        tally = self.tallies[label]
        tally.wait(torch.cat(list(values.values()), 1), passed, self._folds(seen.batch).to(passed.device))
        tally.add("made", torch.tensor([sums.blocks, sums.again]))
        if sums.total is not None:
            tally.add("blocks", sums.total)
            tally.add("counted", sums.emission.isfinite().sum(0))
        overlap = seen.overlap() if "share" in self.also and few else None
        if overlap is not None:
            tally.add("overlap", overlap)
            tally.add("square", passed[passed.isfinite().all(1)].square().sum(0))

    def _scratch(self, like: Tensor) -> Tensor:
        """Return memory to fold in, one for all calls."""
        self.memory = scratch(like.device) if self.memory is None else self.memory
        return self.memory

    def _folds(self, batch: Batch) -> Tensor:
        """Deal the samples of a batch to folds; the same for every layer."""
        if batch is not self.batch:
            self.batch = batch
            self.fold = torch.randint(FOLDS, (len(batch.x),), generator=self.generator)
        return self.fold

    def read(self, outcome: Outcome) -> tuple[Exchange, ...]:
        """Bring every call to its value form, in order of execution."""
        return tuple(
            self._exchanged(call, self.tallies[call.label])
            for call in outcome.calls.values()
            if call.label in self.tallies
        )

    def _exchanged(self, call: Call, tally: Tally) -> Exchange:
        tally.fold()
        sums = {name: value.cpu().numpy() for name, value in tally.sums.items()}
        rows: Rows | Mapping[str, Any] = {} if tally.rows is None else tally.rows
        at, mixes = call.place, not self.rules[call.layer.name].diagonal
        return Exchange(call.label, call.layer.kind, at.depth, at.path, tally.columns, mixes, rows, sums)
