"""Named: arrays whose axes have labels, tables of named columns, and both as plain values. numpy only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


class Array(np.ndarray):
    """A numpy array whose axes have names and labels.

    >>> a = Array([[1.0, 2.0]], layer=["conv1"], quantile=["q25", "q75"])
    >>> a.axes
    {'layer': ('conv1',), 'quantile': ('q25', 'q75')}
    """

    axes: dict[str, tuple[str, ...]]

    def __new__(cls, values: Any, **axes: Sequence[str]) -> Array:
        """View `values` as an array with the given labels, axis by axis."""
        self = np.asarray(values).view(cls)
        named = {name: tuple(labels) for name, labels in axes.items()}
        if self.shape != tuple(len(labels) for labels in named.values()):
            sizes = {name: len(labels) for name, labels in named.items()}
            raise ValueError(f"axes {sizes} do not fit an array of shape {self.shape}")
        self.axes = named
        return self

    def __array_finalize__(self, source: Any) -> None:
        same = isinstance(source, Array) and source.shape == self.shape
        self.axes = getattr(source, "axes", {}) if same else {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _array, (np.asarray(self), dict(self.axes))


def _array(values: Any, axes: dict[str, tuple[str, ...]]) -> Array:
    return Array(values, **axes) if axes else values.view(Array)


@dataclass(frozen=True)
class Table:
    """Named columns of one length; a column holds numbers, truth values or strings."""

    columns: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of one table differ in length: {lengths}")

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Table:
        """Turn rows with equal keys into columns."""
        names = list(rows[0]) if rows else []
        return cls({name: np.array([row[name] for row in rows]) for name in names})

    @classmethod
    def stacked(cls, parts: Sequence[Mapping[str, np.ndarray]]) -> Table:
        """Put columns of several parts, of equal names, one below the other."""
        names = parts[0] if parts else {}
        return cls({name: np.concatenate([part[name] for part in parts]) for name in names})

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows as dicts of plain Python values."""
        values = [column.tolist() for column in self.columns.values()]
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*values, strict=True)]


def plain(value: Any) -> Any:
    """Turn numpy scalars, tuples and non-finite floats into what strict JSON can carry.

    >>> plain({"a": (1, float("nan")), "b": float("-inf")})
    {'a': [1, 'NaN'], 'b': '-Infinity'}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Iterator | list | tuple | set):
        return [plain(item) for item in value]
    return value
