"""Guard: nothing that fails while watching reaches the training; it is noted once, and soon switched off."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch

MOST = 3
"""Failures in a row after which a part runs no more."""


class Guard:
    """Runs a part without gradient, times it, and keeps what it failed of; parts that go on failing run no more.

    >>> guard = Guard()
    >>> guard("halves", lambda: 1 / 0)
    >>> guard.faults
    ['halves: ZeroDivisionError: division by zero']
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.off: set[str] = set()
        self.failed: dict[str, int] = {}
        self.blank = 0
        self.spent = 0.0
        self.differentiable = True
        self._depth = 0

    def __call__(self, part: str, run: Callable[..., Any], *args: Any) -> None:
        """Run a part, unless it has failed `MOST` times in a row."""
        if part in self.off:
            return
        begun, self._depth = perf_counter(), self._depth + 1
        if self._depth == 1:
            self.differentiable = torch.is_grad_enabled()
        try:
            with torch.no_grad():
                run(*args)
            if self.failed:
                self.failed.pop(part, None)
        except Exception as error:
            self.failed[part] = self.failed.get(part, 0) + 1
            if self.failed[part] == MOST:
                self.off.add(part)
            self.fault(part, f"{type(error).__name__}: {error}")
        finally:
            self._depth -= 1
            if not self._depth:
                self.spent += perf_counter() - begun

    def fault(self, part: str, told: str) -> None:
        """Note what failed, once."""
        sentence = f"{part}: {told}"
        if sentence not in self.faults:
            self.faults.append(sentence)

    def unread(self) -> None:
        """Note one more step in which no gradient was read; the sentence counts them."""
        if self.blank:
            self.faults.remove(f"gradient: {_blank(self.blank)}")
        self.blank += 1
        self.fault("gradient", _blank(self.blank))


def _blank(steps: int) -> str:
    return (
        f"no gradient was read in {steps} step{'s' * (steps > 1)}: the model was compiled before it was watched, or "
        "runs in another thread than the watch, in torch.func, on complex or packed input, or on empty batches"
    )
