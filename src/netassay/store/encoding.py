"""How a Result becomes text and bytes and comes back the same: NaN stays NaN, every dtype bit for bit.

Text is strict JSON. A number that JSON lacks is `{"$": "NaN"}`, `"Infinity"` or `"-Infinity"`; a user's own
key that begins with "$" gets one more. Tuples come back as lists, keys as strings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from netassay.errors import BadInput
from netassay.result import Array, Claim, Result, Table, Verdict

NUMBERS = "biuf"  # numpy's letters for truth values, integers and floats
WIDEST = 8  # bytes of one number: beyond, a dtype means another thing on another machine
WORDS = "str"
MOST = 10**9  # bytes SQLite takes in one value (sqlite.org/limits.html, 1)


class Tensor(NamedTuple):
    """One array, or one column of a table: `data` little-endian in C order, or `words` a flat JSON list."""

    kind: str
    name: str
    column: str
    dtype: str
    shape: str
    data: bytes | None
    words: str | None


def dumps(value: Any, place: str) -> str:
    """Write strict JSON; `place` names the value in a refusal.

    >>> dumps({"lr": float("nan")}, "meta")
    '{"lr": {"$": "NaN"}}'
    """
    return json.dumps(_encoded(value, place), allow_nan=False)


def loads(text: str) -> Any:
    """Read what `dumps` wrote.

    >>> loads('{"lr": {"$": "NaN"}}')
    {'lr': nan}
    """
    return json.loads(text, object_hook=_decoded)


def _encoded(value: Any, place: str) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {_escaped(str(key)): _encoded(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(item, f"{place}[{index}]") for index, item in enumerate(value)]
    kind = type(value).__name__
    raise BadInput(f"store {place}", f"a {kind}, which JSON cannot carry", "give text, numbers or lists")


def _escaped(key: str) -> str:
    return "$" + key if key.startswith("$") else key


def _decoded(items: dict[str, Any]) -> Any:
    if set(items) == {"$"}:
        return float(items["$"])
    return {key[1:] if key.startswith("$$") else key: item for key, item in items.items()}


def document(result: Result) -> str:
    """Write everything of a result but the numbers in its tables and arrays."""
    parts = {
        "claims": [vars(claim) for claim in result.claims],
        "verdicts": [vars(verdict) for verdict in result.verdicts],
        "notes": result.notes,
        "provenance": result.provenance,
        "tables": {name: list(table.columns) for name, table in result.tables.items()},
        "arrays": {name: getattr(array, "axes", {}) for name, array in result.arrays.items()},
    }
    return dumps(parts, result.study)


def tensors(result: Result) -> Iterator[Tensor]:
    """Yield every column and every array of a result, ready to be stored."""
    for name, table in result.tables.items():
        for column, values in table.columns.items():
            yield _tensor("table", name, column, np.asarray(values))
    for name, array in result.arrays.items():
        yield _tensor("array", name, "", np.asarray(array))


def _tensor(kind: str, name: str, column: str, values: np.ndarray) -> Tensor:
    place = f"{kind} {name!r}" + (f", column {column!r}" if column else "")
    if kind == "table" and values.ndim != 1:
        found = f"shape {values.shape} where one value a row is needed"
        raise BadInput(f"store {place}", found, "use an array")
    shape = json.dumps(values.shape)
    if values.dtype.kind in NUMBERS and values.dtype.itemsize <= WIDEST:
        data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        _check_size(place, len(data))
        return Tensor(kind, name, column, values.dtype.name, shape, data, None)
    flat = values.ravel().tolist()
    if all(isinstance(word, str) for word in flat):
        words = json.dumps(flat)
        _check_size(place, len(words))
        return Tensor(kind, name, column, WORDS, shape, None, words)
    odd = next(type(word).__name__ for word in flat if not isinstance(word, str))
    found = f"dtype {values.dtype} holding {odd}"
    raise BadInput(f"store {place}", found, "use numbers up to 64 bits, truth values or strings")


def _check_size(place: str, size: int) -> None:
    if size > MOST:
        raise BadInput(f"store {place}", f"{size:,} bytes; SQLite takes {MOST:,}", "store it in parts")


def claims(parts: Mapping[str, Any]) -> tuple[Claim, ...]:
    """Read the claims out of a document."""
    return tuple(Claim(**{**claim, "interval": tuple(claim["interval"])}) for claim in parts["claims"])


def verdicts(parts: Mapping[str, Any]) -> tuple[Verdict, ...]:
    """Read the verdicts out of a document."""
    return tuple(Verdict(**verdict) for verdict in parts["verdicts"])


def result(study: str, parts: Mapping[str, Any], rows: Iterable[Tensor]) -> Result:
    """Put a result together again from its document and its tensors."""
    values = {(row.kind, row.name, row.column): _values(row) for row in rows}
    return Result(
        study,
        tables={
            name: Table({column: values["table", name, column] for column in columns})
            for name, columns in parts["tables"].items()
        },
        arrays={name: _array(values["array", name, ""], axes) for name, axes in parts["arrays"].items()},
        claims=claims(parts),
        verdicts=verdicts(parts),
        notes=tuple(parts["notes"]),
        provenance=parts["provenance"],
    )


def _values(row: Tensor) -> np.ndarray:
    shape = json.loads(row.shape)
    if row.words is not None:
        return np.array(json.loads(row.words), dtype=str).reshape(shape)
    dtype = np.dtype(row.dtype)
    # frombuffer cannot be changed and is little-endian; astype copies it into this machine's own
    return np.frombuffer(row.data or b"", dtype.newbyteorder("<")).reshape(shape).astype(dtype)


def _array(values: np.ndarray, axes: Mapping[str, Any]) -> Array:
    return Array(values, **axes) if axes else values.view(Array)
