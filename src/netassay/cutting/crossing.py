"""Crossing: what goes around a layer, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile


@dataclass(frozen=True)
class Crossing:
    """Something that is made before a cut and used behind it: by which layer, in which module, and is it a tensor."""

    maker: str
    user: str
    tensor: bool = True


def around(layer: str, crossings: Sequence[Crossing]) -> str:
    """Name the module whose skip goes around a layer: the innermost that holds the layer and all that is joined.

    >>> around("layer1.0.conv1", [Crossing("relu", "layer1.0.downsample.0")])
    'layer1.0'
    """
    ways = [layer.split(".")[:-1], *(one.user.split(".") for one in crossings)]
    shared = takewhile(lambda names: len(set(names)) == 1, zip(*ways, strict=False))
    return ".".join(names[0] for names in shared)


def makers(crossings: Sequence[Crossing], most: int = 3) -> str:
    """Name what crosses, cut after `most`.

    >>> makers([Crossing("relu", "layer1.0"), Crossing("relu", "layer1.1")])
    'relu'
    """
    names = list(dict.fromkeys(one.maker for one in crossings))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
