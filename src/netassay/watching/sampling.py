"""Sampling: which steps are read, every so many or as many as a budget of time allows."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from netassay.errors import BadInput


class Sampler:
    """Decides at the start of each step whether it is read; the first one always is.

    `every=k` reads steps 0, k, 2k and so on. `budget` is the share of the wall clock since the start that may be
    spent in watching (0.01 or "1%"): a step is read once the time for it, as the last one took, fits in. What counts is
    the time of this thread: on an accelerator, work that is queued there and not waited for is not in it.

    >>> sampler = Sampler(every=3)
    >>> [step for step in range(7) if sampler.wants(step)]
    [0, 3, 6]
    """

    def __init__(
        self, every: int = 1, budget: str | float | None = None, clock: Callable[[], float] = perf_counter
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise BadInput(f"every={every!r}", "no whole number from 1 up", "every=10 reads each tenth step")
        self.every, self.budget, self.clock = every, None if budget is None else share(budget), clock
        self.began, self._before = clock(), 0.0
        self._asked_at = self._last = 0.0
        self._reading = False

    def start(self, spent: float = 0.0) -> None:
        """Time runs from here, and so does what goes into watching; `spent` seconds have gone before."""
        self.began, self._before = self.clock(), spent
        self._asked_at, self._reading = spent, False

    def wants(self, step: int, spent: float = 0.0) -> bool:
        """Tell whether a step is to be read, `spent` seconds having gone into watching so far."""
        if self.budget is None:
            return step % self.every == 0
        if self._reading:
            self._last = spent - self._asked_at
        fits = spent - self._before + self._last <= self.budget * (self.clock() - self.began)
        self._reading, self._asked_at = step == 0 or fits, spent
        return self._reading


def share(budget: str | float) -> float:
    """Read a share of time, "1%" or 0.01.

    >>> share("1%"), share(0.05)
    (0.01, 0.05)
    """
    try:
        value = float(budget.rstrip("% ")) / 100 if isinstance(budget, str) and "%" in budget else float(budget)
    except (TypeError, ValueError):
        value = 0.0
    if isinstance(budget, bool) or not 0 < value <= 1:
        raise BadInput(f"budget={budget!r}", "no share of time", 'budget="1%", or budget=0.01')
    return value
