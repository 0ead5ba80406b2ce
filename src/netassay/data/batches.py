"""Batches: (x, y, mask, ids), whatever a loader, a tuple or a dict called them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from netassay.errors import BadInput, listing

# What data sets and model hubs call the parts of a batch; other keys of a dict are left alone.
NAMES = {
    "x": ("x", "input", "inputs", "pixel_values", "input_ids", "image", "images"),
    "y": ("y", "label", "labels", "target", "targets"),
    "mask": ("mask", "attention_mask"),
    "ids": ("ids", "id"),
}


class Batch(NamedTuple):
    """Samples along the first axis of every part; `ids` are unique in a data set.

    `x` holds the inputs, `y` the targets, `mask` `(N, T)` is true where a token exists.

    >>> Batch(torch.zeros(2, 3), torch.tensor([0, 1])).mask is None
    True
    """

    x: Tensor
    y: Tensor | None = None
    mask: Tensor | None = None
    ids: Tensor | None = None


def as_batch(item: Any, start: int) -> Batch:
    """Read a tensor, (x,), (x, y), (x, y, mask), (x, y, mask, ids) or a dict as a batch.

    Missing ids become running numbers from `start`. Integer labels become int64; numpy's default, float64,
    becomes torch's default, float32, while tensors keep their type.

    >>> as_batch({"pixel_values": torch.zeros(2, 3), "labels": [1, 0]}, start=10).ids
    tensor([10, 11])
    """
    parts = _parts(item)
    x = _tensor(parts.get("x"), "x")
    if not x.ndim:
        raise BadInput("a batch", "x is a single number", "give x with the samples along its first axis")
    y, mask, ids = (None if parts.get(name) is None else _tensor(parts[name], name) for name in ("y", "mask", "ids"))
    if ids is not None and (ids.is_floating_point() or ids.ndim != 1):
        raise BadInput("a batch with ids", f"ids are {_shaped(ids)}", "give one integer per sample")
    if y is not None and not y.is_floating_point():
        y = y.long()
    ids = torch.arange(start, start + len(x)) if ids is None else ids.long()
    batch = Batch(x, y, mask, ids)
    _check_lengths(batch)
    return batch


def _parts(item: Any) -> dict[str, Any]:
    if isinstance(item, Mapping):
        return _from_mapping(item)
    if isinstance(item, Tensor | np.ndarray):
        return {"x": item}
    if isinstance(item, tuple | list) and 1 <= len(item) <= len(NAMES):
        return dict(zip(NAMES, item, strict=False))
    size = f" of {len(item)}" if isinstance(item, tuple | list) else ""
    raise BadInput(
        "a batch",
        f"a {type(item).__name__}{size}",
        "give x, (x, y), (x, y, mask), (x, y, mask, ids) or a dict with 'x' and 'y'",
    )


def _from_mapping(item: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part, names in NAMES.items():
        keys = [name for name in names if item.get(name) is not None]
        if len(keys) > 1:
            raise BadInput("a batch from a dict", f"{listing(keys)} could all be {part}", f"keep one as {part!r}")
        if keys:
            found[part] = item[keys[0]]
    if "x" not in found:
        keys = [str(key) for key in item]
        raise BadInput("a batch from a dict", f"only {listing(keys)}", f"name the input {listing(NAMES['x'])}")
    return found


def _tensor(value: Any, part: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    try:
        array = np.asarray(value)
        made = torch.from_numpy(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError, RuntimeError):
        found = f"{part} is a {type(value).__name__} that is no tensor"
        raise BadInput("a batch", found, f"give {part} as one tensor or numpy array") from None
    return made.to(torch.get_default_dtype()) if made.dtype == torch.float64 else made


def _check_lengths(batch: Batch) -> None:
    for part, value in zip(batch._fields[1:], batch[1:], strict=True):
        if value is not None and (not value.ndim or len(value) != len(batch.x)):
            found = f"x is {_shaped(batch.x)} and {part} is {_shaped(value)}"
            raise BadInput(f"a batch with {part}", found, f"give one entry of {part} per sample of x")


def _shaped(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
