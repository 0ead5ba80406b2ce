"""A run for other tools: CSV, Parquet, pandas."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from netassay.errors import BadInput
from netassay.result import Array, Result, Table, plain
from netassay.store.series import Series, joined


def to_csv(folder: Path, results: Mapping[str, Result], series: Mapping[Series, Table]) -> list[Path]:
    """Write every table, array, series, claim and verdict as CSV; return the files."""
    return [_write_csv(folder / f"{name}.csv", table) for name, table in _tables(results, series)]


def to_parquet(folder: Path, results: Mapping[str, Result], series: Mapping[Series, Table]) -> list[Path]:
    """Write the same tables as Parquet; return the files."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise _missing("pyarrow", "write Parquet", "netassay[data]") from error
    files = []
    for name, table in _tables(results, series):
        columns = {key: pyarrow.array(column) for key, column in table.columns.items()}
        with _written(folder / f"{name}.parquet") as file:
            parquet.write_table(pyarrow.table(columns), file)
        files.append(file)
    return files


def frame(table: Table) -> Any:
    """Return a pandas DataFrame."""
    try:
        import pandas
    except ImportError as error:
        raise _missing("pandas", "make a DataFrame", "pandas") from error
    return pandas.DataFrame(dict(table.columns))


def series_json(result: Result) -> str:
    """Return the series of a flow as JSON: of each layer, step by step, the norm of the batch's gradient.

    It is that of the whole batch under a mean loss: the gradient of the layer over the root of the samples' number.
    NaN is null, infinity is "Infinity"; layers that never had a gradient are left out.
    """
    if "gradient" not in result.arrays or "steps" not in result.tables:
        raise BadInput(f"series of {result.study!r}", "it holds no gradient step by step", "give the result of a flow")
    gradient = result.array("gradient")
    norms = np.asarray(gradient) / np.sqrt(result.tables["steps"].columns["samples"])[:, None]
    told = {layer: norms[:, i].tolist() for i, layer in enumerate(gradient.axes["layer"]) if _any(norms[:, i])}
    known = {layer: [None if one != one else one for one in values] for layer, values in told.items()}
    return json.dumps(plain(known), allow_nan=False)


def _any(norms: np.ndarray) -> bool:
    return not bool(np.isnan(norms).all())


def _missing(module: str, asked: str, package: str) -> BadInput:
    return BadInput(asked, f"{module} is not installed", f"pip install '{package}', or use to_csv")


def _tables(results: Mapping[str, Result], series: Mapping[Series, Table]) -> Iterator[tuple[str, Table]]:
    """Yield every file's name, without its ending, and its contents; what is empty of columns is left out."""
    named = [("series", joined(series))] if series else []
    for kind in ("claims", "verdicts"):
        rows = [{"result": label} | _flat(vars(each)) for label, of in results.items() for each in getattr(of, kind)]
        named.append((kind, Table.of(rows)))
    for label, result in results.items():
        named += [(f"tables/{_safe(label, name)}", table) for name, table in result.tables.items()]
        named += [(f"arrays/{_safe(label, name)}", _long(array)) for name, array in result.arrays.items()]
    return ((name, table) for name, table in named if table.columns)


def _safe(label: str, name: str) -> str:
    """Return one file name that no other pair shares: the first dot parts label from name."""
    return quote(label, safe=" ").replace(".", "%2E") + "." + quote(name, safe=" ")


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    low_high = dict(zip(("low", "high"), fields.get("interval", ()), strict=False))
    rest = {key: value for key, value in fields.items() if key != "interval"}
    texts = {key: json.dumps(plain(value)) for key, value in rest.items() if isinstance(value, Mapping)}
    return rest | texts | low_high


def _long(array: Array) -> Table:
    axes = array.axes or {f"axis {i}": tuple(map(str, range(size))) for i, size in enumerate(array.shape)}
    columns = {}
    for place, (axis, labels) in enumerate(axes.items()):
        shape = [-1 if i == place else 1 for i in range(array.ndim)]
        columns[axis] = np.broadcast_to(np.array(labels, dtype=str).reshape(shape), array.shape).ravel()
    value = "value" if "value" not in axes else "value of the array"
    return Table(columns | {value: np.asarray(array).ravel()})


def _write_csv(file: Path, table: Table) -> Path:
    rows = zip(*(map(_text, column.tolist()) for column in table.columns.values()), strict=True)
    with _written(file), file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows(rows)
    return file


def _text(value: Any) -> Any:
    return "NaN" if value != value else value


@contextmanager
def _written(file: Path) -> Iterator[Path]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield file
    except OSError as error:
        raise BadInput(f"write {str(file)!r}", str(error.strerror), "give a folder you can write to") from error
