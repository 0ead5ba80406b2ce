"""Parquet: files of encoded images and labels as data hubs keep them, decoded batch by batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from netassay.data.batches import Batch
from netassay.data.images import NORMALIZE, Normalize, check_channels, decode, stacked
from netassay.data.passes import Data, Order
from netassay.data.rows import Split, kept
from netassay.errors import BadInput, UnknownName, closest
from netassay.seeds import generator

# Rows read at once, bytes read at once, and encoded images that a shuffled pass draws from.
READ = 256
BUFFER_BYTES = 1 << 20
MIX = 4096

Picture = tuple[int, Any]


class Group(NamedTuple):
    """A row group: its file, its number there, the row it begins with in the data set, its length."""

    file: Path
    number: int
    first: int
    rows: int


@dataclass(frozen=True)
class Shelf:
    """What is read of the files beforehand: where rows are, the labels, and the names of classes."""

    asked: str
    image: str
    groups: tuple[Group, ...]
    y: torch.Tensor | None
    names: tuple[str, ...] | None


def parquet(
    path: str,
    *,
    split: Split = "all",
    image: str = "img",
    label: str | None = "label",
    normalize: Normalize = "none",
    channels: int = 3,
    n: int | None = None,
) -> Data:
    """Read images as x (N, channels, H, W) in [0, 1], normalised by name; ids are row numbers.

    `path` is a file, of which the rows divisible by five are test and the others train, or a folder of
    train*.parquet and test*.parquet. The image column holds bytes, or structs with `bytes`; label=none reads
    no labels. Memory holds the labels and one batch; a shuffled pass takes the row groups in random order
    and draws from the next 4,096 encoded images.
    """
    asked, place = f"parquet:{path}", Path(path).expanduser()
    check_channels(asked, channels, normalize)
    shelf = _opened(asked, _files(asked, place, split), image, label)
    total = sum(group.rows for group in shelf.groups)
    rows = kept(asked, total, split if place.is_file() else "all", n)
    passes = partial(_pass, shelf, rows.numpy(), channels, normalize)
    shape = tuple(next(passes(1, None)).x.shape[1:])
    classes = None if shelf.y is None else len(shelf.names or ()) or int(shelf.y.max()) + 1
    return Data("", passes, len(rows), classes, shape, shelf.names)


def _files(asked: str, place: Path, split: Split) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise BadInput(asked, "no such file or folder", "check the path")
    parts = ("train", "test") if split == "all" else (split,)
    files = [file for part in parts for file in sorted(place.glob(f"{part}*.parquet"))]
    if not files:
        found = f"a folder without {' or '.join(f'{part}*.parquet' for part in parts)}"
        raise BadInput(asked, found, "give the folder that holds them, or one file")
    return files


def _opened(asked: str, files: list[Path], image: str, label: str | None) -> Shelf:
    groups: list[Group] = []
    labels: list[np.ndarray] = []
    names = None
    for path in files:
        with _reading(path) as file:
            _check_image(path, file.schema_arrow, image)
            first = sum(group.rows for group in groups)
            for number in range(file.num_row_groups):
                length = file.metadata.row_group(number).num_rows
                groups.append(Group(path, number, first, length))
                first += length
            if label is not None:
                labels.append(_labels(path, file, label))
                names = names or _names(file.schema_arrow.metadata, label)
    y = torch.from_numpy(np.concatenate(labels)) if labels else None
    if not sum(group.rows for group in groups):
        raise BadInput(asked, "no rows", "give a file with images")
    return Shelf(asked, image, tuple(groups), y, names)


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    asked = f"parquet file {str(path)!r}"
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise BadInput(asked, "pyarrow is not installed", "pip install 'netassay[data]'") from None
    try:
        # Without these two, a whole row group would be in memory at once.
        with ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInput(asked, "not a whole parquet file", "write or fetch it again") from error


def _check_image(path: Path, schema: Any, image: str) -> None:
    from pyarrow import types

    kind = _column(path, schema, "image", image)
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (types.is_binary(kind) or types.is_large_binary(kind)):
        found = f"{kind}, not the bytes of encoded images"
        raise BadInput(f"column {image!r} of {path.name}", found, "image=NAME of the column with the bytes")


def _labels(path: Path, file: Any, label: str) -> np.ndarray:
    from pyarrow import types

    kind = _column(path, file.schema_arrow, "label", label)
    column = file.read(columns=[label]).column(0)
    if not types.is_integer(kind) or column.null_count:
        found = f"{column.null_count} empty labels" if types.is_integer(kind) else f"{kind}, not integers"
        raise BadInput(f"column {label!r} of {path.name}", found, "label=NAME of a column of integers, or label=none")
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _column(path: Path, schema: Any, option: str, name: str) -> Any:
    if name not in schema.names:
        near = closest(name, schema.names) or schema.names[:1]
        raise UnknownName(f"{option} column of {path.name}", name, schema.names, f"{option}={near[0]}")
    return schema.field(name).type


def _names(metadata: dict[bytes, bytes] | None, label: str) -> tuple[str, ...] | None:
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _pass(
    shelf: Shelf, rows: np.ndarray, channels: int, normalize: str, batch_size: int, order: Order
) -> Iterator[Batch]:
    pictures = _encoded(shelf, rows, None)
    if order is not None:
        pictures = _mixed(_encoded(shelf, rows, order), order)
    decoded = _decoded(pictures, shelf.asked, channels)
    while some := list(islice(decoded, batch_size)):
        ids = torch.tensor([row for row, _ in some])
        x = stacked([pixels for _, pixels in some], NORMALIZE[normalize])
        yield Batch(x, None if shelf.y is None else shelf.y[ids], None, ids)


def _decoded(pictures: Iterable[Picture], asked: str, channels: int) -> Iterator[tuple[int, np.ndarray]]:
    first: tuple[int, tuple[int, ...]] | None = None
    for row, encoded in pictures:
        pixels = decode(encoded, channels, f"row {row} of {asked}")
        first = first or (row, pixels.shape)
        if pixels.shape != first[1]:
            sizes = [f"row {r} is {shape[1]}x{shape[0]}" for r, shape in (first, (row, pixels.shape))]
            raise BadInput(asked, " and ".join(sizes) + " pixels", "write the file with images of one size")
        yield row, pixels


def _encoded(shelf: Shelf, rows: np.ndarray, order: Order) -> Iterator[Picture]:
    groups = shelf.groups
    if order is not None:
        places = torch.randperm(len(groups), generator=generator(*order))
        groups = tuple(groups[place] for place in places.tolist())
    for group in groups:
        wanted = rows[(rows >= group.first) & (rows < group.first + group.rows)]
        if len(wanted):
            yield from _of_group(shelf, group, wanted)


def _of_group(shelf: Shelf, group: Group, wanted: np.ndarray) -> Iterator[Picture]:
    first = group.first
    with _reading(group.file) as file:
        for part in file.iter_batches(READ, row_groups=[group.number], columns=[shelf.image]):
            column = part.column(0)
            column = column.field("bytes") if hasattr(column, "field") else column
            inside = wanted[(wanted >= first) & (wanted < first + len(column))]
            yield from ((row, column[row - first].as_py()) for row in inside.tolist())
            first += len(column)
            if first > wanted[-1]:
                return


def _mixed(pictures: Iterable[Picture], order: tuple[int, int]) -> Iterator[Picture]:
    random = generator(*order, MIX)
    held: list[Picture] = []
    for picture in pictures:
        held.append(picture)
        if len(held) > MIX:
            place = int(torch.randint(len(held), (), generator=random))
            held[place], held[-1] = held[-1], held[place]
            yield held.pop()
    yield from (held[place] for place in torch.randperm(len(held), generator=random).tolist())
