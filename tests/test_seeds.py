"""Seeds: global generators come back as they were, and private ones repeat."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from netassay.seeds import apart, as_found, generator, mixed, seeded


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def _fail_after(expected: tuple[float, float, float]) -> None:
    with seeded(1):
        assert drawn() == expected
        raise KeyError


def states() -> tuple[object, list[int], list[int]]:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_seeded_repeats_and_restores_even_after_an_error():
    """A seeded block repeats for all generators, and an error inside leaves the states as they were."""
    before = states()
    with seeded(1):
        first = drawn()
    with pytest.raises(KeyError):
        _fail_after(first)
    with seeded(2):
        assert all(a != b for a, b in zip(drawn(), first, strict=True))
    assert states() == before


def test_as_found_draws_from_where_the_caller_is():
    """Without a seed the block draws what the caller would have drawn, and the caller still draws it."""
    with as_found():
        inside = drawn()
    assert drawn() == inside


def test_blocks_apart_share_one_state_of_their_own():
    """Draws in blocks apart are one sequence, whatever the caller draws or seeds between them."""
    own = torch.Generator().manual_seed(3)
    with seeded(7):
        expected = [drawn() for _ in range(3)]
        of_own = torch.rand(3, generator=torch.Generator().manual_seed(3)).tolist()
    found, owns = [], []
    with seeded(7):
        inside, before = apart(own), own.get_state()
        for _ in range(3):
            with inside():
                found.append(drawn())
                owns.append(float(torch.rand((), generator=own)))
            torch.manual_seed(0)
            assert torch.equal(own.get_state(), before)
    assert found == expected
    assert owns == pytest.approx(of_own)


def test_blocks_apart_may_have_a_seed():
    """With a seed the blocks begin there, the given generators too; the caller's states do not move."""
    own, before, found = torch.Generator(), states(), []
    for start in (3, 4):
        of_own = own.manual_seed(start).get_state()
        with apart(own, seed=11)():
            found.append((*drawn(), float(torch.rand((), generator=own))))
        assert torch.equal(own.get_state(), of_own)
    assert found[0] == found[1]
    assert states() == before


def test_private_generators_differ_by_every_number():
    """Each sequence of integers, negative and large ones too, gives a generator of its own."""
    keys = [(0,), (0, 0), (0, 1), (1, 0), (-1,), (2**32,), (2**40, 5)]
    assert len({mixed(*key) for key in keys}) == len(keys)
    assert torch.equal(torch.rand(3, generator=generator(4, 2)), torch.rand(3, generator=generator(4, 2)))
