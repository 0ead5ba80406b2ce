"""Rows of a data set: which of them belong to a split, and in what order and chunks they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from netassay.data.batches import Batch
from netassay.data.passes import Order, Pass
from netassay.errors import BadInput
from netassay.seeds import generator

Split = Literal["train", "test", "all"]
EVERY = 5


def kept(asked: str, rows: int, split: Split, n: int | None) -> Tensor:
    """Return the first `n` row numbers of a split: rows divisible by five are test, the rest are train.

    >>> kept("digits", 11, "test", None), kept("digits", 11, "train", 3)
    (tensor([ 0,  5, 10]), tensor([1, 2, 3]))
    """
    ids = torch.arange(rows)
    chosen = {"train": ids % EVERY != 0, "test": ids % EVERY == 0, "all": ids >= 0}[split]
    ids = ids[chosen]
    if n is not None and not 1 <= n <= len(ids):
        raise BadInput(f"{asked} with n={n}", f"{len(ids)} samples in split={split}", f"n from 1 to {len(ids)}")
    return ids[:n]


def indexed(at: Callable[[Tensor], Batch], rows: Tensor) -> Pass:
    """Make passes over `rows`; `at` makes the batch of some of them."""
    return partial(_chunks, at, rows)


def _chunks(at: Callable[[Tensor], Batch], rows: Tensor, batch_size: int, order: Order) -> Iterator[Batch]:
    if order is not None:
        rows = rows[torch.randperm(len(rows), generator=generator(*order))]
    for first in range(0, len(rows), batch_size):
        yield at(rows[first : first + batch_size])
