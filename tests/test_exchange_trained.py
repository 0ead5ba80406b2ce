"""Exchange on a trained network and real images: what it claims of one half of the data it claims of the other."""

from __future__ import annotations

import numpy as np
import pytest

import netassay as na
from netassay.data.images import NORMALIZE, normalized
from tests.test_weights import DATA

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def halves():
    """ResNet-20 on 1,000 test images, on 1,000 others, and on all of them."""
    weights, images = DATA / "resnet20" / "resnet20.safetensors", DATA / "cifar10-jpeg" / "test.parquet"
    if not (weights.exists() and images.exists()):
        pytest.skip(f"needs {weights.name} and {images.name}")
    net, batches = na.build("resnet20", weights=weights), []
    for batch in na.load_data(f"parquet:{images}", batch_size=250):
        batches.append((normalized(batch.x, NORMALIZE["imagenet"]), batch.y))
        if len(batches) == 8:
            break
    return [na.exchange_map(net, part) for part in (batches[:4], batches[4:], batches)]


def test_no_block_of_a_trained_network_has_to_be_made_again(halves):
    """On real images float32 vouches for every block."""
    assert sum(row["again_share"] for row in halves[2].table("layers")) == 0


def test_both_halves_claim_the_same(halves):
    """Channels differ in absorption and in emission, and emission varies more: on each half and on all."""
    decisions = [[claim.decision for claim in half.claims] for half in halves]
    assert decisions == [["holds"] * 3] * 3
    assert [claim.n for claim in halves[2].claims] == [2000] * 3
    first, second = (
        [(row["layer"], row["statement"], row["decision"]) for row in half.table("claims")] for half in halves[:2]
    )
    assert np.mean([a == b for a, b in zip(first, second, strict=True)]) > 0.9


def difference(a, b, name):
    """Interval of the difference of medians from the intervals of both (Donner & Zou 2012, eq. 4)."""
    (m, low, high), (w, under, over) = (
        [half[f"{name}_{part}"] for part in ("median", "median_low", "median_high")] for half in (a, b)
    )
    return m - w - np.hypot(m - low, over - w), m - w + np.hypot(high - m, w - under)


@pytest.mark.parametrize(
    ("table", "name"), [("inputs", "absorption"), ("outputs", "emission"), ("inputs", "coherence")]
)
def test_intervals_of_medians_agree_between_halves(halves, table, name):
    """At least 93 % of the channels' 95 % intervals for the difference of medians contain 0."""
    low, high = difference(*(half.tables[table].columns for half in halves[:2]), name)
    held = np.mean((low <= 0) & (high >= 0))
    print(f"{name}: {held:.3f} of {len(low)} channels")
    assert held >= 0.93
