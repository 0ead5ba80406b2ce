"""Recomputed: calls whose graph comes from a second run."""

from __future__ import annotations

from torch import Tensor

from netassay.watching.cells import Cell

MOST = 4096


class Waiting:
    """Calls that had no graph, in order, until checkpointing runs them again.

    Without reentry the graph is that of the first run: nothing waits, and the second run is passed over. With reentry
    the first run has none. Of a segment that is run again, the first call is known by its input, which is the same
    memory, and the others follow it in the order of the first run.
    """

    def __init__(self) -> None:
        self.cells: list[Cell] = []
        self._cursor = -1

    def next(self, name: str, x: Tensor | None) -> Cell | None:
        """Return the call that is being run again, None where there is none."""
        mine = [i for i, cell in enumerate(self.cells) if cell.name == name and not cell.hooked]
        start = 0 if x is None else x.data_ptr()
        following = [i for i in mine if i == self._cursor + 1]
        same = [i for i in mine if self.cells[i].start == start]
        if not mine:
            return None
        self._cursor = (following or same or mine)[-1]
        return self.cells[self._cursor]

    def settle(self) -> None:
        """Keep those that still wait, and not without end."""
        self.cells = [cell for cell in self.cells if not cell.hooked][-MOST:]
