"""The fingerprint of data: what changes it, and what must not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import netassay as na
from netassay.data.fingerprint import MODULUS, fingerprint
from tests.reference import fingerprint as twin

N = 12


def batch(**changes):
    x, y = torch.randn(N, 2, 3, generator=torch.Generator().manual_seed(1)), torch.arange(N) % 3
    return na.Batch(**{"x": x, "y": y, "mask": torch.ones(N, 3, dtype=torch.bool), **changes})


def test_it_is_the_sum_of_the_hashes_of_the_samples():
    """Number by number, as the twin packs them."""
    x, y, mask, _ = batch()
    samples = [
        [
            ("torch.float32", "f", (2, 3), x[n].flatten().tolist()),
            ("torch.int64", "q", (), [int(y[n])]),
            ("torch.bool", "?", (3,), mask[n].tolist()),
        ]
        for n in range(N)
    ]
    assert fingerprint(batch()) == twin.fingerprint(samples)


@given(st.permutations(range(N)), st.integers(0, N))
def test_neither_order_nor_batches_change_it(order, cut):
    """Any two parts of the samples in any order add up to the whole, an empty part included."""
    x, y, mask, _ = (None if part is None else part[list(order)] for part in batch())
    parts = [na.Batch(x[at], y[at], mask[at]) for at in (slice(cut), slice(cut, None))]
    assert sum(map(fingerprint, parts)) % MODULUS == fingerprint(batch())


@pytest.mark.parametrize(
    "changes",
    [
        {"x": batch().x + 1e-6},
        {"x": batch().x.double()},
        {"x": batch().x.reshape(N, 3, 2)},
        {"y": batch().y.flip(0)},
        {"y": None},
        {"mask": None},
        {"mask": torch.zeros(N, 3, dtype=torch.bool)},
    ],
)
def test_what_the_samples_are_changes_it(changes):
    """One entry, dtype, shape, target or mask: another number."""
    assert fingerprint(batch(**changes)) != fingerprint(batch())


def test_ids_memory_order_and_odd_types_do_not_matter():
    """Ids are names; a transposed view is the same numbers; bfloat16 has bytes too."""
    assert fingerprint(batch(ids=torch.arange(N) + 5)) == fingerprint(batch())
    flat = batch().x.flatten(1)
    assert fingerprint(na.Batch(flat.T.contiguous().T)) == fingerprint(na.Batch(flat))
    assert fingerprint(na.Batch(torch.ones(2, 3, dtype=torch.bfloat16))) > 0


def test_a_result_says_which_samples_it_is_of():
    """Batch sizes do not change the hash of the data; parts merge to that of the whole."""
    model, (x, y, *_) = na.build("mlp[8]:input=6,classes=3"), batch()
    whole = na.channel_profile(model, (x, y))
    assert whole.provenance["data_hash"] == f"{fingerprint(na.Batch(x, y)):016x}"
    assert na.channel_profile(model, (x, y), batch_size=5).provenance["data_hash"] == whole.provenance["data_hash"]
    first, second = (na.channel_profile(model, (x[at], y[at])) for at in (slice(5), slice(5, None)))
    assert first.merge(second).provenance["data_hash"] == whole.provenance["data_hash"]
