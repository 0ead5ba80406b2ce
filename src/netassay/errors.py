"""Every sentence netassay refuses with: what was asked, what was found, what to type next.

A class here builds its sentence from values, so that a call site stays one line. `BadInput` and its
children are the user's to mend (exit code 2); `InternalError` is netassay's own (exit code 3).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NetassayError(Exception):
    """An error in three fields.

    >>> print(NetassayError("open 'runs/7'", "no such folder", "netassay runs"))
    asked: open 'runs/7'
      found: no such folder
      next:  netassay runs
    """

    exit_code = 3

    def __init__(self, asked: str, found: str, next: str) -> None:
        super().__init__(asked, found, next)
        self.asked, self.found, self.next = asked, found, next

    def __str__(self) -> str:
        return f"asked: {self.asked}\n  found: {self.found}\n  next:  {self.next}"


class BadInput(NetassayError):
    """The request cannot be met as it stands; the sentence says how it can be."""

    exit_code = 2


class UnknownName(BadInput, KeyError):
    """A name outside a known set, answered with the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], next: str | None = None) -> None:
        names = list(known)
        near = closest(name, names)
        found = f"known: {listing(names)}" if not near else f"closest: {listing(near)}"
        use = f"use {near[0]!r}" if near else f"use one of {listing(names)}" if names else "leave it out"
        super().__init__(f"{kind} {name!r}", found, next or use)

    __str__ = NetassayError.__str__


class LayerNotFound(UnknownName):
    """No layer matches a pattern."""

    def __init__(self, pattern: str, model: str, layers: Iterable[str]) -> None:
        names = list(layers)
        near = closest(pattern, names) or names[:3]
        BadInput.__init__(
            self,
            f"layer {pattern!r} of {model}",
            f"{len(names)} layers, none matches; closest: {listing(near)}",
            f"use {near[0]!r}, or list all with `netassay summary`" if near else "give a model with layers",
        )


class NothingToDraw(BadInput):
    """A figure is known, and the results hold nothing for it."""

    def __init__(self, figure: str, found: str, next: str) -> None:
        super().__init__(f"figure {figure!r}", found, next)


class NoMatch(BadInput):
    """Two layers that nothing of what was asked for can stand between; a grid goes on without them."""


class InternalError(NetassayError):
    """netassay itself failed; the model, the data and what was stored are as they were."""


def closest(name: str, names: Iterable[str]) -> list[str]:
    """Return at most three known names near `name`, the nearest first.

    >>> closest("layer3.conv1", ["fc", "layer3.0.conv1", "layer1.bn"])[0]
    'layer3.0.conv1'
    """
    return difflib.get_close_matches(str(name), list(names), n=3, cutoff=0.4)


def listing(names: Iterable[str], most: int = 8) -> str:
    """Quote names for a sentence, cut after `most`."""
    names = list(names)
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "") if names else "nothing"
