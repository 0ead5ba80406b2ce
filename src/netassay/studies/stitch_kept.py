"""Kept: activations by name, in memory up to a budget and on disk beyond it."""

from __future__ import annotations

import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from netassay.errors import BadInput


class Away(NamedTuple):
    """Where a batch lies in the file."""

    start: int
    dtype: torch.dtype
    shape: torch.Size


class Store:
    """Activations made once each; the ones used last stay in memory, at most `budget` bytes of them.

    The others go to one file without a name, which the system takes back whatever ends this process.
    """

    def __init__(self, budget: int) -> None:
        self.budget, self.held, self.peak = budget, 0, 0
        self._known: OrderedDict[Hashable, list[Tensor | Away]] = OrderedDict()
        self._file = tempfile.TemporaryFile(prefix="netassay-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def get(self, key: Hashable, make: Callable[[], Iterable[Tensor]]) -> Kept:
        """Return what was kept under a name; make it at the first time."""
        if key not in self._known:
            batches: list[Tensor | Away] = []
            try:
                for batch in make():
                    self._room(batch.nbytes, batches)
                    batches.append(batch if self.held + batch.nbytes <= self.budget else self._write(batch))
                    self.held += batch.nbytes if isinstance(batches[-1], Tensor) else 0
                    self.peak = max(self.peak, self.held)
            except BaseException:
                self.held -= sum(batch.nbytes for batch in batches if isinstance(batch, Tensor))
                raise
            self._known[key] = batches
        self._known.move_to_end(key)
        return Kept(self, self._known[key])

    def _room(self, size: int, mine: list[Tensor | Away]) -> None:
        """Move what was used longest ago to the file, until there is room; a batch that never fits needs none."""
        for batches in (*self._known.values(), mine):
            for k, batch in enumerate(batches):
                if self.held + size <= self.budget or size > self.budget:
                    return
                if isinstance(batch, Tensor):
                    batches[k] = self._write(batch)
                    self.held -= batch.nbytes

    def _write(self, batch: Tensor) -> Away:
        try:
            start = self._file.seek(0, 2)
            self._file.write(batch.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
            self._file.flush()
        except OSError as error:
            found = f"{tempfile.gettempdir()} takes no more ({error.strerror})"
            raise BadInput("activations beyond the budget", found, "a larger memory=, or TMPDIR on a disk") from error
        return Away(start, batch.dtype, batch.shape)

    def read(self, at: Away) -> Tensor:
        """Return a batch from the file."""
        self._file.seek(at.start)
        read = np.frombuffer(bytearray(self._file.read(at.dtype.itemsize * at.shape.numel())), np.uint8)
        return torch.from_numpy(read).view(at.dtype).reshape(at.shape)


class Kept:
    """Batches that can be passed over again and again; none of them may be changed in place."""

    def __init__(self, store: Store, batches: list[Tensor | Away], dtype: torch.dtype | None = None) -> None:
        self._store, self.batches, self._as = store, batches, dtype

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self.batches:
            yield (batch if isinstance(batch, Tensor) else self._store.read(batch)).to(self._as)

    @property
    def dtype(self) -> torch.dtype:
        """Their dtype, of which float32 is the least."""
        return torch.promote_types(self.batches[0].dtype, torch.float32)

    def to(self, dtype: torch.dtype) -> Kept:
        """Return the same batches in another dtype, each made when it is passed."""
        return Kept(self._store, self.batches, dtype)
