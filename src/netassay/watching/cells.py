"""Cells: what is read of one call of a layer, in one forward pass and over those that count in a step."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from netassay.layers import Layer
from netassay.watching.pulse import COUNTS, Pulse

Key = tuple[str, int]
"""Layer name and number of the call; the model's input is ("", 0)."""
SPREAD = COUNTS.index("spread")
PLACES = COUNTS.index("places")


@dataclass
class Cell:
    """One call in one forward pass, waiting for its gradient."""

    key: Key
    layer: Layer | None
    channel: int
    samples: int
    entries: int
    pulse: Pulse | None
    twins: list[Cell] = field(default_factory=list)
    hooked: bool = False
    arrived: bool = False
    start: int = 0
    home: Pass | None = None

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.key[0]


@dataclass
class Pass:
    """One forward pass; it counts once a gradient has come back to it."""

    samples: int
    round: int
    cells: list[Cell] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    reached: bool = False
    counted: bool = False
    weights: int = 0


class Side:
    """Sums over micro-batches of one side of a call: its output, or the gradient there."""

    def __init__(self) -> None:
        self.counts: Tensor | None = None
        self.channels: dict[str, Tensor] = {}
        self.mean: Tensor | None = None
        self.samples = self.entries = 0

    def add(self, pulse: Pulse, samples: int, entries: int) -> None:
        """Join with a further micro-batch; variances by Chan, Golub & LeVeque 1983, equation 2.1."""
        counts, channels = pulse.counts, pulse.channels
        if self.counts is None:
            self.counts, self.channels, self.mean = counts.clone(), dict(channels), pulse.mean
        else:
            between = self._between(pulse, samples)
            self.counts = self.counts + counts
            fits = len(self.channels["squares"]) == len(channels["squares"])
            self.channels = {name: self.channels[name] + one for name, one in channels.items()} if fits else {}
            if between is not None:
                self.counts[SPREAD] += between.sum()
                if fits:
                    self.channels["spread"] = self.channels["spread"] + between
        self.samples += samples
        self.entries += entries

    def _between(self, pulse: Pulse, samples: int) -> Tensor | None:
        if self.mean is None or pulse.mean is None or self.mean.shape != pulse.mean.shape:
            return None
        both = self.samples + samples
        apart = pulse.mean.double() - self.mean.double()
        self.mean = self.mean.double() + apart * (samples / both)
        return apart.square().sum((0, 2)) * (self.samples * samples / both)


class Column:
    """Both sides of a call over a step."""

    def __init__(self) -> None:
        self.y, self.gy = Side(), Side()

    def vector(self, device: torch.device) -> Tensor:
        """Return both sides' counts one after the other."""
        nothing = torch.zeros(len(COUNTS), dtype=torch.float64, device=device)
        sides = [nothing if one.counts is None else one.counts.to(device) for one in (self.y, self.gy)]
        return torch.cat(sides)


Mark = tuple[Callable[[], Tensor | None], int] | None


class Received:
    """Whether gradients have come to parameters since the last look, from `.grad` alone, of which none is kept alive.

    A gradient that is added in place counts its changes in `_version`, one for each backward pass.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.parameters: list[Tensor] = []
        self.seen: list[Mark] = []
        self.came = self.changed = self.touched = False

    def look(self, expected: int) -> None:
        """Compare with the last look, after which so many changes in place are backward passes' own."""
        first = not self.parameters
        self.parameters = self.parameters or [one for one in self.model.parameters() if one.is_leaf]
        now = [_mark(one.grad) for one in self.parameters]
        pairs = [] if first else [(a, b) for a, b in zip(now, self.seen, strict=True) if not _same(a, b)]
        self.seen, self.changed = now, bool(pairs)
        self.came = any(a is not None for a, _ in pairs)
        self.touched = any(a is not None and a[1] > _version(a, b, expected) for a, b in pairs)

    @property
    def thrown(self) -> bool:
        """Whether all gradients are gone: None, or zero after something else than a backward pass changed them."""
        if not any(self.seen):
            return True
        some = (one.grad for one in self.parameters if self.touched and one.grad is not None)
        return self.touched and not any(one.is_sparse or bool(one.any()) for one in some)


def _mark(gradient: Tensor | None) -> Mark:
    return None if gradient is None else (weakref.ref(gradient), gradient._version)


def _same(a: Mark, b: Mark) -> bool:
    return a is b if a is None or b is None else a[0] is b[0] and a[1] == b[1]


def _version(a: Mark, b: Mark, expected: int) -> int:
    return b[1] + expected if a is not None and b is not None and a[0] is b[0] else 0


class Tally:
    """What counts in a step: passes to which a gradient came back that went on to parameters, and was not thrown away.

    What a backward pass brings waits until the next pass, forward or backward, or the step shows what became of it.
    """

    def __init__(self, model: nn.Module, fault: Callable[[str, str], None]) -> None:
        self.columns: dict[Key, Column] = {}
        self.samples = 0
        self.nested = False
        self._received, self._fault = Received(model), fault
        self._waiting: list[tuple[Cell, Pulse]] = []
        self._task = -1

    def begin(self) -> None:
        """A forward pass begins."""
        self._settle()
        self.nested = False

    def arrive(self, cell: Cell, home: Pass, told: Pulse) -> None:
        """A gradient came back to a call."""
        task = torch._C._current_graph_task_id()
        if task != self._task and not self.nested:  # Reentrant checkpointing is one backward pass inside another.
            self._settle(again=home.counted)
        self._task, home.reached = task, True
        self._waiting.append((cell, told))

    def finish(self) -> None:
        """The step is made: without a better, the last backward pass is its own."""
        self._settle(final=True)

    def _settle(self, *, again: bool = False, final: bool = False) -> None:
        received = self._received
        received.look(int(bool(self._waiting)))
        if received.came or (final and (received.changed or not self.columns)):
            for cell, told in self._waiting:
                self._count(cell, told)
        self._waiting.clear()
        if self.columns and not (again or final) and received.thrown:
            self.columns, self.samples = {}, 0

    def _count(self, cell: Cell, told: Pulse) -> None:
        home = cell.home
        if home is not None and not home.counted:
            home.counted = True
            self.samples += home.samples
            for one in home.cells:
                if one.pulse is not None:
                    self.column(one.key).y.add(one.pulse, one.samples, one.entries)
                one.pulse = None
            home.cells.clear()
        if cell.arrived:
            self._fault("gradient", "several backward passes through one forward pass: their squares add up")
        for one in (cell, *cell.twins):
            one.arrived = True
            self.column(one.key).gy.add(told, one.samples, one.entries)

    def column(self, key: Key) -> Column:
        """Return the sums of a call."""
        return self.columns.setdefault(key, Column())
