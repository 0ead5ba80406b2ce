"""Cells: what is read of one call of a layer, in one forward pass and over all micro-batches of a step."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

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
