"""Flow: nodes in columns joined by links with a width, and the way of each link past the columns between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

Tone = Literal["end", "emission", "absorption", "around", "cancelled"]
"""What a node stands for, which decides its colour."""


@dataclass(frozen=True)
class Node:
    """A node: its name, the column it stands in, how it is labelled below the column's head, and what it stands for."""

    name: str
    stage: int
    label: str
    tone: Tone


@dataclass(frozen=True)
class Flow:
    """What a sankey joins: nodes from left to right and from top to bottom, links from name to name, heads of columns.

    >>> ways = Flow((Node("a", 0, "a", "end"), Node("b", 1, "b", "end"), Node("c", 2, "c", "end")), (("a", "c"),))
    >>> [node.stage for node in ways.routed(np.ones(1))[0]]
    [0, 1, 1, 2]
    """

    nodes: tuple[Node, ...]
    links: tuple[tuple[str, str], ...]
    heads: tuple[str, ...] = ()

    def routed(self, widths: np.ndarray) -> tuple[list[Node], list[Piece]]:
        """Return nodes and pieces of links, where a link that passes columns has a nameless node in each of them."""
        at = {node.name: node for node in self.nodes}
        passing: list[Node] = []
        pieces: list[tuple[Node, Node, float, int]] = []
        for i, ((start, end), width) in enumerate(zip(self.links, widths.tolist(), strict=True)):
            before, after = at[start], at[end]
            tone = after.tone if before.tone == "end" else before.tone
            between = [Node(f"{i}/{k}", k, "", tone) for k in range(before.stage + 1, after.stage)]
            passing += between
            way = [before, *between, after]
            pieces += [(a, b, width, i) for a, b in pairwise(way)]
        nodes = sorted([*passing, *self.nodes], key=lambda node: node.stage)  # stable: who passes keeps to the edge
        place = {id(node): i for i, node in enumerate(nodes)}
        return nodes, [Piece(place[id(a)], place[id(b)], width, i) for a, b, width, i in pieces]


@dataclass(frozen=True)
class Piece:
    """A link between neighbouring columns: the places of its nodes, its width, and which link it is a piece of."""

    start: int
    end: int
    width: float
    link: int


def heights(nodes: Sequence[Node], pieces: Sequence[Piece]) -> np.ndarray:
    """Return each node's height: what enters or what leaves, whichever is more."""
    sides = np.zeros((2, len(nodes)))
    for piece in pieces:
        sides[0, piece.end] += piece.width
        sides[1, piece.start] += piece.width
    return np.asarray(sides.max(0))
