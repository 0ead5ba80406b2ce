"""Recomputed: calls whose graph comes from a second run."""

from __future__ import annotations

from torch import Tensor

from netassay.watching.cells import Cell

MOST = 4096
AWAY = -2
"""A place that none follows."""


class Waiting:
    """Calls that had no graph, in order, until checkpointing runs them again.

    Without reentry the graph is that of the first run: nothing waits, and the second run is passed over. With reentry
    the first run has none. Of a segment that is run again, the first call is known by its input, which is the same
    memory, and the others follow it in the order of the first run.
    """

    def __init__(self) -> None:
        self.cells: list[Cell] = []
        self._named: dict[str, dict[int, None]] = {}
        self._cursor = AWAY

    def add(self, cell: Cell) -> None:
        """Take up a call that has no graph."""
        self._named.setdefault(cell.name, {})[len(self.cells)] = None
        self.cells.append(cell)

    def next(self, name: str, x: Tensor | None) -> Cell | None:
        """Return the call that is being run again, None where there is none; it waits no longer."""
        mine = self._named.get(name)
        if not mine:
            return None
        start = 0 if x is None else x.data_ptr()
        if self._cursor + 1 in mine:
            self._cursor += 1
        else:
            same = (i for i in reversed(mine) if self.cells[i].start == start)
            self._cursor = next(same, next(reversed(mine)))
        del mine[self._cursor]
        return self.cells[self._cursor]

    def settle(self) -> None:
        """Keep those that still wait, and not without end."""
        kept = [self.cells[i] for i in sorted(i for mine in self._named.values() for i in mine)][-MOST:]
        self.cells, self._named, self._cursor = [], {}, AWAY
        for cell in kept:
            self.add(cell)
