"""What a cell gives: named arrays of numbers, truth values or text, as bytes and back, bit for bit.

Raw little-endian bytes in C order beside dtype and shape: NaN keeps its bits, and nothing that is read can run code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from netassay.errors import BadInput

Payload = dict[str, np.ndarray]
"""Named arrays."""

KINDS = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16, "U": 2**31}
"""numpy's letters for truth values, integers, floats, complex and text; bytes an entry may have on every machine."""
MOST = 512 * 2**20
"""Bytes of one payload: SQLite takes 10^9 in a value, and a payload is several times in memory on its way."""


class Packed(NamedTuple):
    """One array of a payload, ready to be sent and stored."""

    name: str
    dtype: str
    shape: str
    data: bytes


def pack(payload: Any) -> tuple[Packed, ...]:
    """Turn a payload into bytes; refuse what would not come back the same.

    >>> pack({"loss": np.array([0.5])})
    (Packed(name='loss', dtype='<f8', shape='[1]', data=b'\\x00\\x00\\x00\\x00\\x00\\x00\\xe0?'),)
    """
    if not isinstance(payload, Mapping):
        raise BadInput("a payload", f"a {type(payload).__name__}", "return a dict of named numpy arrays")
    arrays = dict(_checked(payload))
    size = sum(values.nbytes for values in arrays.values())
    if size > MOST:
        found = f"{size:,} bytes; {MOST:,} is the most"
        raise BadInput("a payload", found, "return statistics, or write a file and return its name")
    return tuple(_packed(key, values) for key, values in arrays.items())


def unpack(arrays: Iterable[Packed]) -> Payload:
    """Turn bytes into arrays again, in their order, of this machine's byte order and free to be changed."""
    return {packed.name: _array(packed) for packed in arrays}


def _checked(payload: Mapping[Any, Any]) -> Iterator[tuple[str, np.ndarray]]:
    for key, values in payload.items():
        # half a surrogate is text to Python and to nobody else
        if not isinstance(key, str) or key.encode(errors="ignore").decode() != key:
            raise BadInput("a payload", f"the name {key!r}", "give text as names")
        if not isinstance(values, np.ndarray | np.generic) or isinstance(values, np.ma.MaskedArray):
            raise BadInput(f"array {key!r} of a payload", f"a {type(values).__name__}", "return numpy arrays")
        if not _carried(values.dtype):
            found = f"dtype {values.dtype}"
            raise BadInput(f"array {key!r} of a payload", found, "use numbers up to 64 bits, truth values or text")
        yield key, np.asarray(values)


def _carried(dtype: np.dtype[Any]) -> bool:
    return dtype.itemsize <= KINDS.get(dtype.kind, -1)


def _packed(key: str, values: np.ndarray) -> Packed:
    little = values.dtype.newbyteorder("<")
    return Packed(key, little.str, json.dumps(values.shape), values.astype(little, copy=False).tobytes())


def _array(packed: Packed) -> np.ndarray:
    dtype = np.dtype(packed.dtype)
    if not _carried(dtype):
        raise ValueError(f"dtype {packed.dtype}")
    shape = json.loads(packed.shape)
    if dtype.itemsize == 0:  # only empty texts: they have no bytes
        return np.zeros(shape, dtype)
    # frombuffer cannot be changed and is little-endian; astype copies it into this machine's own
    return np.frombuffer(packed.data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
