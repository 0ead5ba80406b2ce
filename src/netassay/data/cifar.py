"""CIFAR-10 and CIFAR-100 in their binary version: records of label bytes and 3 x 32 x 32 pixels, read one by one.

A. Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images. The version for Python is pickled, and
reading a pickle runs whatever code is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from netassay.data.batches import Batch
from netassay.data.images import NORMALIZE, Normalize, scaled
from netassay.data.passes import Data
from netassay.data.rows import Split, indexed, kept
from netassay.errors import BadInput, listing

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32


class Version(NamedTuple):
    """How a version is kept: files of each split, those of its pickled form, and label bytes before the pixels."""

    files: dict[str, tuple[str, ...]]
    pickled: tuple[str, ...]
    archive: str
    label_bytes: int


class Labels(NamedTuple):
    """One kind of label: its byte in the record, how many classes there are, and the file of their names."""

    byte: int
    classes: int
    names: str


@dataclass(frozen=True)
class Shelf:
    """The files that are read, and the number of the first record in each, with the total at the end."""

    asked: str
    files: tuple[Path, ...]
    first: tuple[int, ...]
    record: int
    labels: Labels


TEN = Version(
    {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
    ("data_batch_1", "test_batch", "batches.meta"),
    "cifar-10-binary.tar.gz",
    1,
)
HUNDRED = Version(
    {"train": ("train.bin",), "test": ("test.bin",)}, ("train", "test", "meta"), "cifar-100-binary.tar.gz", 2
)
FINE, COARSE = Labels(1, 100, "fine_label_names.txt"), Labels(0, 20, "coarse_label_names.txt")


def cifar10(path: str, *, split: Split = "all", normalize: Normalize = "none", n: int | None = None) -> Data:
    """Read CIFAR-10 as x (N, 3, 32, 32) in [0, 1], normalised by name, and y 0 to 9; ids are row numbers.

    `path` is the folder with data_batch_1.bin to data_batch_5.bin (train) and test_batch.bin (test). `split=all`
    numbers the train rows first. Memory holds one batch.
    """
    return _data(f"cifar10:{path}", path, TEN, Labels(0, 10, "batches.meta.txt"), split, normalize, n)


def cifar100(
    path: str,
    *,
    label: Literal["fine", "coarse"] = "fine",
    split: Split = "all",
    normalize: Normalize = "none",
    n: int | None = None,
) -> Data:
    """Read CIFAR-100 as x (N, 3, 32, 32) in [0, 1], normalised by name, and y; ids are row numbers.

    `path` is the folder with train.bin and test.bin. `label=fine` has 100 classes, `coarse` 20. `split=all` numbers
    the train rows first. Memory holds one batch.
    """
    return _data(f"cifar100:{path}", path, HUNDRED, FINE if label == "fine" else COARSE, split, normalize, n)


def _data(
    asked: str, path: str, version: Version, labels: Labels, split: Split, normalize: Normalize, n: int | None
) -> Data:
    folder = Path(path).expanduser()
    shelf = _opened(asked, _files(asked, folder, version, split), PIXELS + version.label_bytes, labels)
    rows = kept(asked, shelf.first[-1], "all", n)
    passes = indexed(partial(_at, shelf, normalize), rows)
    return Data("", passes, len(rows), labels.classes, SHAPE, _names(folder / labels.names, labels.classes))


def _files(asked: str, folder: Path, version: Version, split: Split) -> list[Path]:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise BadInput(asked, found, "give the folder that holds the .bin files")
    parts = ("train", "test") if split == "all" else (split,)
    files = [folder / name for part in parts for name in version.files[part]]
    missing = [file.name for file in files if not file.is_file()]
    pickled = [name for name in version.pickled if (folder / name).is_file()]
    if missing and pickled:
        found = f"the pickled version ({listing(pickled)}), which is not read, since a pickle can run code"
        raise BadInput(asked, found, f"fetch https://www.cs.toronto.edu/~kriz/{version.archive}, and give its folder")
    if missing:
        raise BadInput(asked, f"a folder without {listing(missing)}", f"give the folder of {version.archive}")
    return files


def _opened(asked: str, files: list[Path], record: int, labels: Labels) -> Shelf:
    first = [0]
    for file in files:
        size = file.stat().st_size
        if not size or size % record:
            found = f"{file.name} has {size:,} bytes, no multiple of a record's {record:,}" if size else "no record"
            raise BadInput(f"{asked}: {file.name}", found, "fetch the file again")
        first.append(first[-1] + size // record)
    return Shelf(asked, tuple(files), tuple(first), record, labels)


def _names(file: Path, classes: int) -> tuple[str, ...] | None:
    if not file.is_file():
        return None
    names = tuple(line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip())
    if len(names) != classes:
        raise BadInput(f"class names in {file.name}", f"{len(names)} for {classes} classes", "fetch the file again")
    return names


def _at(shelf: Shelf, normalize: str, rows: Tensor) -> Batch:
    records = _records(shelf, rows.numpy())
    y = records[:, shelf.labels.byte]
    if (y >= shelf.labels.classes).any():
        place = int((y >= shelf.labels.classes).argmax())
        found = f"row {int(rows[place])} has label {y[place]}, of {shelf.labels.classes} classes"
        raise BadInput(shelf.asked, found, "fetch the files again, or give the folder of the other data set")
    pixels = torch.from_numpy(records[:, shelf.record - PIXELS :]).reshape(-1, *SHAPE)
    return Batch(scaled(pixels, NORMALIZE[normalize]), torch.from_numpy(y).long(), None, rows)


def _records(shelf: Shelf, rows: np.ndarray) -> np.ndarray:
    # Read, not memory-mapped: pages of a map stay in resident memory until someone else needs it.
    records = np.empty((len(rows), shelf.record), np.uint8)
    for file, first, end in zip(shelf.files, shelf.first[:-1], shelf.first[1:], strict=True):
        places = np.flatnonzero((rows >= first) & (rows < end)).tolist()
        try:
            _fill(records, file, {place: (int(rows[place]) - first) * shelf.record for place in places})
        except OSError as error:
            found = f"{file.name} cannot be read any more: {error.strerror or error}"
            raise BadInput(shelf.asked, found, "leave the files as they are while they are in use") from error
    return records


def _fill(records: np.ndarray, file: Path, offsets: dict[int, int]) -> None:
    if not offsets:
        return
    with file.open("rb", buffering=0) as source:
        for place, offset in offsets.items():
            source.seek(offset)
            if source.readinto(records[place].data) != records.shape[1]:
                raise OSError("it has become shorter")
