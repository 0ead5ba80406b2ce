"""Data: a data set that can be passed over again and again, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from netassay.data.batches import Batch, as_batch
from netassay.errors import BadInput

Order = tuple[int, int] | None
Pass = Callable[[int, Order], Iterable[Any]]


@dataclass(frozen=True)
class Data:
    """Batches, and what is known about them before the first one.

    Each `for` is a fresh pass. `spec` rebuilds the data set in another process where it came from a spec;
    what stands in angle brackets cannot be rebuilt. `n` counts samples; `passes(batch_size, order)` makes the
    batches of one pass; `batches` is their number where `batch_size` has no say in it.
    """

    spec: str
    passes: Pass = field(repr=False, compare=False)
    n: int | None = None
    classes: int | None = None
    input_shape: tuple[int, ...] | None = None
    labels: tuple[str, ...] | None = None
    note: str = ""
    batches: int | None = None
    batch_size: int = 128
    order: Order = None

    def __iter__(self) -> Iterator[Batch]:
        start = 0
        item = None
        for item in self.passes(self.batch_size, self.order):
            batch = as_batch(item, start)
            start += len(batch.x)
            yield batch
        if item is None:
            raise BadInput(
                f"data {self.spec!r}",
                "no batch came out",
                "give data that is not empty and starts anew each time",
            )

    def __len__(self) -> int:
        if self.batches is not None:
            return self.batches
        if self.n is None:
            raise TypeError(f"data {self.spec!r} does not know its number of batches")
        return -(-self.n // self.batch_size)

    def shuffled(self, seed: int, epoch: int) -> Data:
        """Return this data in another order, the same for the same `seed` and `epoch`.

        Tensors and named data sets are shuffled whole, or as their factory says; lists by batches; a loader
        shuffles as it does itself, its generators seeded for this pass.
        """
        return replace(self, order=(seed, epoch))

    def first(self, samples: int) -> Data:
        """Return the first `samples` of this data, all where there are fewer."""
        n = samples if self.n is None else min(self.n, samples)
        return replace(self, passes=partial(_cut, self.passes, samples), n=n, batches=None)


def _cut(passes: Pass, samples: int, batch_size: int, order: Order) -> Iterator[Batch]:
    seen = 0
    for item in passes(batch_size, order):
        batch = as_batch(item, seen)
        batch = Batch._make(None if part is None else part[: samples - seen] for part in batch)
        seen += len(batch.x)
        yield batch
        if seen >= samples:
            return
