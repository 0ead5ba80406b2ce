"""Data that the caller holds: tensors, lists of batches, and loaders, whose generators stay as they were."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from netassay.data.batches import Batch, as_batch
from netassay.data.passes import Data, Order
from netassay.data.rows import indexed
from netassay.errors import BadInput
from netassay.seeds import apart, generator, mixed

END = object()


def tensors(item: Any) -> Data:
    """Pass over tensors or arrays that hold a whole data set: x, (x, y), ... or a dict."""
    whole = as_batch(item, 0)
    shape = tuple(whole.x.shape[1:])
    spec = f"<tensors of {len(whole.x)} samples, {shape}>"
    return Data(spec, indexed(partial(_taken, whole), torch.arange(len(whole.x))), len(whole.x), input_shape=shape)


def _taken(whole: Batch, rows: Tensor) -> Batch:
    # Indexing copies, so a model that works in place cannot change the caller's tensors.
    x, y, mask, ids = (None if part is None else part[rows.to(part.device)] for part in whole)
    assert x is not None
    return Batch(x, y, mask, ids)


def batches(items: list[Any]) -> Data:
    """Pass over a list of batches."""
    dims = {item.ndim for item in items if isinstance(item, Tensor)}
    if len(dims) > 1:
        found = f"tensors of {' and '.join(map(str, sorted(dims)))} axes"
        raise BadInput("data from a list of batches", found, "give one pair as a tuple: (x, y)")
    made: list[Batch] = []
    n = 0
    for item in items:
        made.append(as_batch(item, n))
        n += len(made[-1].x)
    shape = tuple(made[0].x.shape[1:]) if made else None
    return Data(f"<list of {len(made)} batches>", partial(_listed, made), n, input_shape=shape, batches=len(made))


def _listed(made: list[Batch], batch_size: int, order: Order) -> Iterator[Batch]:
    rows: Iterable[int] = range(len(made))
    if order is not None:
        rows = torch.randperm(len(made), generator=generator(*order)).tolist()
    return (made[row] for row in rows)


def loader(source: Any) -> Data:
    """Pass over a DataLoader, or any object that starts a new loop over batches each time.

    The loader draws from random states of its own: the global generators, the loader's and its sampler's
    are where they were, between batches and after the loop, however it ends.
    """
    name = type(source).__name__
    if isinstance(source, Iterator):
        raise BadInput(f"data from a {name}", "it can be passed over only once", "give list(...) or a DataLoader")
    if not isinstance(source, Iterable):
        found = f"a {name} is no spec, tensor, (x, y), list of batches or loader"
        raise BadInput(
            "data",
            found,
            "a Dataset of samples goes into torch.utils.data.DataLoader(dataset, batch_size=128)",
        )
    shuffles = isinstance(source, DataLoader) and isinstance(source.sampler, RandomSampler)
    note = "the loader shuffles: unless its batches bring ids, ids are places in the pass" if shuffles else ""
    return Data(f"<{name}>", partial(_looped, source), _samples(source), note=note, batches=_length(source))


def _looped(source: Iterable[Any], batch_size: int, order: Order) -> Iterator[Any]:
    inside = apart(*_generators(source), seed=None if order is None else mixed(*order))
    with inside():
        items = iter(source)
    while True:
        with inside():
            item = next(items, END)
        if item is END:
            return
        yield item


def _generators(source: Any) -> list[torch.Generator]:
    sampler, by_batch = getattr(source, "sampler", None), getattr(source, "batch_sampler", None)
    places = (source, sampler, by_batch, getattr(by_batch, "sampler", None))
    found = [getattr(place, "generator", None) for place in places]
    return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())


def _length(source: Any) -> int | None:
    try:
        return len(source)
    except TypeError:
        return None


def _samples(source: Any) -> int | None:
    if not isinstance(source, DataLoader) or source.batch_size is None:
        return None
    n = _length(source.sampler)
    return n // source.batch_size * source.batch_size if n is not None and source.drop_last else n
