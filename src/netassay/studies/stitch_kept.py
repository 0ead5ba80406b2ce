"""Kept: activations by name, in memory up to a budget and on disk beyond it."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import IO

import numpy as np
import torch
from torch import Tensor

from netassay.errors import BadInput


class Kept:
    """Batches that can be passed over again and again; none of them may be changed in place."""

    def __init__(self) -> None:
        self._held: list[Tensor] = []
        self._file: IO[bytes] | None = None
        self._shapes: list[tuple[torch.dtype, torch.Size]] = []

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return sum(batch.nbytes for batch in self._held)

    def add(self, batch: Tensor) -> None:
        """Take in a batch."""
        self._shapes.append((batch.dtype, batch.shape))
        if self._file is None:
            self._held.append(batch)
        else:
            self._write(batch)

    def spill(self) -> None:
        """Move all to a file without a name: the system takes it back whatever ends this process."""
        self._file = tempfile.TemporaryFile(prefix="netassay-")  # noqa: SIM115
        for batch in self._held:
            self._write(batch)
        self._held = []

    def _write(self, batch: Tensor) -> None:
        assert self._file is not None
        try:
            self._file.write(batch.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            self._file.flush()
        except OSError as error:
            found = f"{tempfile.gettempdir()} takes no more ({error.strerror})"
            raise BadInput("activations beyond the budget", found, "a larger memory=, or TMPDIR on a disk") from error

    def __iter__(self) -> Iterator[Tensor]:
        if self._file is None:
            yield from self._held
            return
        start = 0
        for dtype, shape in self._shapes:
            size = dtype.itemsize * shape.numel()
            self._file.seek(start)
            read = np.frombuffer(bytearray(self._file.read(size)), np.uint8)
            start += size
            yield torch.from_numpy(read).view(dtype).reshape(shape)


class Store:
    """Activations made once each; the ones used last stay in memory, at most `budget` bytes of them."""

    def __init__(self, budget: int) -> None:
        self.budget, self.peak = budget, 0
        self._known: dict[Hashable, Kept] = {}
        self._inside: OrderedDict[Hashable, Kept] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Iterable[Tensor]]) -> Kept:
        """Return what was kept under a name; make it at the first time."""
        if key not in self._known:
            kept = self._inside[key] = Kept()
            for batch in make():
                kept.add(batch)
                self._shrink()
            self._known[key] = kept
        if key in self._inside:
            self._inside.move_to_end(key)
        return self._known[key]

    def _shrink(self) -> None:
        while self._inside and (held := sum(kept.held for kept in self._inside.values())) > self.budget:
            self._inside.popitem(last=False)[1].spill()
        self.peak = max(self.peak, held if self._inside else 0)
