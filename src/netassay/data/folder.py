"""Image folders: one folder per class, with or without folders of splits above; decoded batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from netassay.data.batches import Batch
from netassay.data.images import NORMALIZE, Normalize, check_channels, decode, stacked
from netassay.data.passes import Data
from netassay.data.rows import Split, indexed, kept
from netassay.errors import BadInput

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
# What the folders of splits are called: the first that is there.
SPLITS = {"train": ("train",), "test": ("test", "val", "valid")}


@dataclass(frozen=True)
class Shelf:
    """Paths of the images below `root`, in order, the class of each, and how they are decoded."""

    asked: str
    root: Path
    paths: tuple[str, ...]
    y: Tensor
    channels: int
    size: int | None


def imagefolder(
    path: str,
    *,
    split: Split = "all",
    size: int | None = None,
    normalize: Normalize = "none",
    channels: int = 3,
    n: int | None = None,
) -> Data:
    """Read images as x (N, channels, H, W) in [0, 1], normalised by name; y numbers the sorted names of classes.

    `path` holds train/CLASS and test/CLASS (or val, or valid), or CLASS alone: every fifth file is then test.
    Images are the files in a class's folder and those below it, hidden ones and other endings left out; ids number
    their sorted paths. `size` resizes the shorter side (bilinear, antialiased) and keeps the middle; without it all
    images must be of one size. `n` spreads evenly over the paths, so over the classes. Memory holds the paths and
    one batch.
    """
    asked, root = f"imagefolder:{path}", Path(path).expanduser()
    check_channels(asked, channels, normalize)
    if size is not None and size < 1:
        raise BadInput(f"{asked} with size={size}", "size must be 1 or more", "size=224")
    tops = _tops(asked, root)
    names = sorted({name for top in tops.values() for name in _classes(top)})
    chosen = _chosen(asked, tops, split)
    paths, y, others = _listed(root, chosen, names)
    if not paths:
        raise BadInput(asked, "no image in any class's folder", f"files that end in {', '.join(sorted(ENDINGS))}")
    rows = _spread(asked, len(paths), split if "all" in tops else "all", n)
    shelf = Shelf(asked, root, tuple(paths), torch.tensor(y), channels, size)
    shape = _pixels(shelf, int(rows[0])).shape
    note = f"{others} files with other endings are left out" if others else ""
    at = partial(_at, shelf, normalize, int(rows[0]), shape)
    return Data("", indexed(at, rows), len(rows), len(names), (channels, *shape[:2]), tuple(names), note)


def _tops(asked: str, root: Path) -> dict[str, Path]:
    """Return the folders that hold classes: by split, or one under "all"."""
    if not root.is_dir():
        found = "a file" if root.exists() else "no such folder"
        raise BadInput(asked, found, "give the folder that holds one folder per class")
    there = {part: [root / name for name in names if _classes(root / name)] for part, names in SPLITS.items()}
    tops = {part: folders[0] for part, folders in there.items() if folders} or {"all": root}
    if not any(_classes(top) for top in tops.values()):
        raise BadInput(asked, "no folders of classes in it", "one folder per class: PATH/CLASS/*.jpg")
    return tops


def _chosen(asked: str, tops: dict[str, Path], split: Split) -> list[Path]:
    if "all" in tops or split == "all":
        return list(tops.values())
    if split not in tops:
        found = f"no {' or '.join(f'{name}/CLASS' for name in SPLITS[split])} in it"
        raise BadInput(f"{asked} with split={split}", found, f"split={next(iter(tops))}, or split=all")
    return [tops[split]]


def _classes(top: Path) -> list[str]:
    if not top.is_dir():
        return []
    above = _with_parents(top)
    return [entry.name for entry in _entries(top) if os.path.isdir(entry) and os.path.realpath(entry) not in above]


def _with_parents(folder: Path) -> tuple[str, ...]:
    real = Path(os.path.realpath(folder))
    return tuple(str(one) for one in (real, *real.parents))


def _listed(root: Path, tops: list[Path], names: list[str]) -> tuple[list[str], list[int], int]:
    paths: list[str] = []
    y: list[int] = []
    others = 0
    for top in tops:
        for number, name in enumerate(names):
            files = list(_files(top / name, _with_parents(top))) if (top / name).is_dir() else []
            images = sorted((file for file in files if file.suffix.lower() in ENDINGS), key=lambda file: file.parts)
            others += len(files) - len(images)
            if not images and (top / name).is_dir():
                raise BadInput(f"class {name!r} in {top}", "a folder without an image", "remove it, or fill it")
            paths += [str(image.relative_to(root)) for image in images]
            y += [number] * len(images)
    return paths, y, others


def _files(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """Go through a folder and those below it; a link to a folder that one is inside of is not followed."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in _entries(folder):
        if os.path.isdir(entry):
            yield from _files(Path(entry.path), (*above, real))
        else:
            yield Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise BadInput(f"folder {str(folder)!r}", f"{error.strerror}", "make it readable, or remove it") from error


def _spread(asked: str, total: int, split: Split, n: int | None) -> Tensor:
    rows = kept(asked, total, split, None)
    if not len(rows):
        raise BadInput(f"{asked} with split={split}", "one image is too few to split", "split=all")
    taken = len(kept(asked, total, split, n))
    return rows[torch.arange(taken) * len(rows) // taken]


def _at(shelf: Shelf, normalize: str, first: int, shape: tuple[int, ...], rows: Tensor) -> Batch:
    pictures = [_pixels(shelf, row) for row in rows.tolist()]
    for row, picture in zip(rows.tolist(), pictures, strict=True):
        if picture.shape != shape:
            sides = [f"{shelf.paths[r]} is {s[1]}x{s[0]}" for r, s in ((first, shape), (row, picture.shape))]
            next = "size=224, which resizes the shorter side to 224 pixels and keeps the middle"
            raise BadInput(shelf.asked, " and ".join(sides) + " pixels", next)
    return Batch(stacked(pictures, NORMALIZE[normalize]), shelf.y[rows], None, rows)


def _pixels(shelf: Shelf, row: int) -> np.ndarray:
    file = shelf.root / shelf.paths[row]
    try:
        encoded = file.read_bytes()
    except OSError as error:
        raise BadInput(f"decode {str(file)!r}", f"{error.strerror}", "leave it out, or write the file again") from error
    pixels = decode(encoded, shelf.channels, repr(str(file)))
    return pixels if shelf.size is None else _cropped(pixels, shelf.size)


def _cropped(pixels: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    H, W, C = pixels.shape
    # As torchvision's Resize and CenterCrop round: published weights were scored so.
    h, w = (size, int(size * W / H)) if H <= W else (int(size * H / W), size)
    image = Image.fromarray(pixels if C > 1 else pixels[..., 0]).resize((w, h), Image.Resampling.BILINEAR)
    left, top = round((w - size) / 2), round((h - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size))).reshape(size, size, C)
