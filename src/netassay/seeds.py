"""Seeded randomness, and the global generators left as they were found.

`seeded` runs a block on a seed, `as_found` on none, `apart` runs blocks on a random state beside the
caller's, `generator` makes a private generator. Global generators are Python's `random`, numpy's legacy one,
torch's on the CPU and, where CUDA is in use already, one per CUDA device.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch

from netassay.errors import BadInput

State = list[tuple[Callable[[Any], Any], Any]]
WORD = 2**32


@contextmanager
def as_found(*own: torch.Generator) -> Iterator[None]:
    """Leave the global generators, and those given, as they were found, also after an error."""
    before = _states(*own)
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run the block on `seed`, and leave the global generators as they were found.

    >>> with seeded(0):
    ...     first = torch.rand(())
    >>> with seeded(0):
    ...     bool(torch.rand(()) == first)
    True
    """
    with as_found():
        _seed(seed)
        yield


def apart(*own: torch.Generator, seed: int | None = None) -> Callable[[], AbstractContextManager[None]]:
    """Return an opener of blocks that share one random state, kept apart from the caller's.

    Each block goes on where the last one stopped; between blocks the global generators, and those given,
    are as the caller left them. The shared state begins at `seed`, or where the generators are now.

    >>> torch.manual_seed(0).initial_seed(), torch.rand(()).item()
    (0, 0.49625658988952637)
    >>> inside, before = apart(), torch.get_rng_state()
    >>> with inside():
    ...     a = torch.rand(())
    >>> with inside():
    ...     b = torch.rand(())
    >>> bool(a == b), bool((torch.get_rng_state() == before).all())
    (False, True)
    """
    inner = _states(*own)
    if seed is not None:
        with as_found(*own):
            _seed(seed, *own)
            inner = _states(*own)

    @contextmanager
    def block() -> Iterator[None]:
        nonlocal inner
        with as_found(*own):
            _restore(inner)
            try:
                yield
            finally:
                inner = _states(*own)

    return block


def generator(seed: int, *more: int) -> torch.Generator:
    """Make a CPU generator of its own for each sequence of integers.

    >>> bool((torch.rand(3, generator=generator(0, 1)) == torch.rand(3, generator=generator(0, 2))).any())
    False
    """
    return torch.Generator().manual_seed(mixed(seed, *more))


def mixed(*numbers: int) -> int:
    """Mix integers into a seed of 32 bits; torch's CPU generator reads no more of a seed than that."""
    words = [word for number in numbers for word in divmod(number % WORD**2, WORD)]
    # The count goes first: numpy pads with zeros, and (0,) and (0, 0) would be one seed.
    return int(np.random.SeedSequence([len(numbers), *words]).generate_state(1)[0])


def _states(*own: torch.Generator) -> State:
    python = [(random.setstate, random.getstate()), (np.random.set_state, np.random.get_state())]
    return python + [(one.set_state, one.get_state()) for one in (*_global(), *own)]


def _restore(states: State) -> None:
    for put, state in states:
        put(state)


def check(seed: int) -> None:
    """Refuse a seed that one of the generators would refuse."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < WORD**2:
        raise BadInput(f"seed={seed}", "a seed is a whole number from 0 to 2**64 - 1", "seed=0")


def _seed(seed: int, *own: torch.Generator) -> None:
    check(seed)
    random.seed(seed)
    np.random.seed(seed % WORD)
    for one in (*_global(), *own):
        one.manual_seed(seed)


def _global() -> tuple[torch.Generator, ...]:
    # torch.manual_seed would queue a seed for a CUDA that starts later, and so reach beyond the block.
    devices = torch.cuda.default_generators if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    return (torch.default_generator, *devices)
