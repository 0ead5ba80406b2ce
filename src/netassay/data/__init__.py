"""Data sets by name, and whatever the caller holds: batches that can be passed over again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from netassay import spec as specs
from netassay.data import held
from netassay.data.batches import Batch, as_batch
from netassay.data.cifar import cifar10, cifar100
from netassay.data.digits import digits
from netassay.data.folder import imagefolder
from netassay.data.noise import noise
from netassay.data.parquet import parquet
from netassay.data.passes import Data
from netassay.errors import BadInput, UnknownName

__all__ = ["DATA", "Batch", "Data", "as_batch", "load_data", "splits"]

DATA: dict[str, Callable[..., Data]] = {
    "digits": digits,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "parquet": parquet,
    "imagefolder": imagefolder,
    "noise": noise,
}


def load_data(source: Any, *, batch_size: int = 128) -> Data:
    """Make a Data of a spec string, a Data, tensors, a list of batches, or a loader.

    `source`: "digits:split=test", a tensor or array x, a tuple (x, y), (x, y, mask) or (x, y, mask, ids), a
    dict of these, a list of batches, a DataLoader or any object that loops over batches anew each time.
    `batch_size` is for specs and tensors; the others have their own.

    >>> data = load_data("digits:split=test", batch_size=100)
    >>> data.n, data.input_shape, next(iter(data)).x.shape
    (360, (1, 8, 8), torch.Size([100, 1, 8, 8]))
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise BadInput(f"batch_size={batch_size!r}", "a batch holds one sample or more", "batch_size=128")
    if isinstance(source, Data):
        return source
    if isinstance(source, str | Path):
        return replace(_named(str(source)), batch_size=batch_size)
    if isinstance(source, Tensor | np.ndarray | tuple | Mapping):
        return replace(held.tensors(source), batch_size=batch_size)
    return held.batches(source) if isinstance(source, list) else held.loader(source)


def splits(text: str, *, batch_size: int = 128) -> tuple[Data, Data]:
    """Return a data set's train and test split; the whole twice where it has none, or a split was asked for.

    >>> [part.n for part in splits("digits")]
    [1437, 360]
    """
    spec = specs.parse(text) if text in DATA or not os.path.exists(text) else None
    whole = spec is None or spec.name not in DATA or "split" in spec.options
    if spec is None or whole or "split" not in signature(DATA[spec.name]).parameters:
        data = load_data(text, batch_size=batch_size)
        return data, data
    learn, test = (load_data(str(spec.including(split=part)), batch_size=batch_size) for part in ("train", "test"))
    return learn, test


def _named(text: str) -> Data:
    if os.path.exists(text) and text not in DATA:
        raise BadInput(f"data {text!r}", "a path, where a spec is needed", f"parquet:{text}")
    spec = specs.parse(text)
    if spec.name not in DATA:
        raise UnknownName("data set", spec.name, DATA)
    data: Data = specs.call(DATA[spec.name], spec)
    return replace(data, spec=str(spec))
