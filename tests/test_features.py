"""Features: what a policy takes of an output, by entries that are looked up one at a time."""

from __future__ import annotations

import pytest
import torch

from netassay.errors import BadInput, UnknownName
from netassay.measures.features import features, rows, told

IMAGES = torch.randn(5, 3, 4, 6)
WORDS = torch.randn(5, 7, 3)
MASK = torch.arange(7) < torch.tensor([7, 1, 3, 5, 2])[:, None]


def entries(n, d, value):
    return torch.tensor([[float(value(i, j)) for j in range(d)] for i in range(n)])


@pytest.mark.parametrize(
    ("positions", "d", "value"),
    [
        ("flatten", 72, lambda n, j: IMAGES[n, j // 24, j // 6 % 4, j % 6]),
        ("pool", 3, lambda n, c: IMAGES[n, c].double().mean()),
        ("resize:2", 12, lambda n, j: IMAGES[n, j // 4, j // 2 % 2 * 2 :, j % 2 * 3 :][:2, :3].double().mean()),
        ("resize:9", 72, lambda n, j: IMAGES[n, j // 24, j // 6 % 4, j % 6]),
    ],
)
def test_positions_are_taken_as_asked(positions, d, value):
    """A feature is a channel at a position, its mean over all, or over a part of the grid."""
    made = features(IMAGES, positions=positions)
    assert made.shape == (5, d)
    torch.testing.assert_close(made.float(), entries(5, d, value))


def test_positions_as_samples_keep_those_of_a_sample_together():
    """Channels are features and never samples; an order of samples takes their positions along."""
    made = features(IMAGES, positions="samples")
    torch.testing.assert_close(made, entries(120, 3, lambda i, c: IMAGES[i // 24, c, i % 24 // 6, i % 6]))
    order = torch.tensor([3, 1, 4, 0, 2])
    assert torch.equal(made[rows(order, 120)], features(IMAGES[order], positions="samples"))


@pytest.mark.parametrize(
    ("tokens", "value"),
    [
        ("mean", lambda n, c: WORDS[n, :, c].double().mean()),
        ("masked", lambda n, c: WORDS[n, MASK[n], c].double().mean()),
        ("cls", lambda n, c: WORDS[n, 0, c]),
        ("last", lambda n, c: WORDS[n, MASK[n], c][-1]),
    ],
)
def test_tokens_are_taken_as_asked(tokens, value):
    """What the mask leaves out counts for nothing, not even as NaN."""
    torch.testing.assert_close(features(WORDS, tokens=tokens, mask=MASK).float(), entries(5, 3, value))
    if tokens in ("masked", "last"):
        padded = WORDS.masked_fill(~MASK[:, :, None], torch.nan)
        assert torch.equal(features(padded, tokens=tokens, mask=MASK), features(WORDS, tokens=tokens, mask=MASK))


@pytest.mark.parametrize(
    ("shape", "where", "made"),
    [
        ((5, 3), {}, (5, 3)),
        ((5,), {}, (5, 1)),
        ((5, 7, 3), {}, (5, 3)),
        ((5, 3, 7), {"axis": 1}, (5, 21)),
        ((5, 3, 2, 2, 2), {}, (5, 24)),
        ((5, 4, 6, 3), {"axis": 3}, (5, 72)),
        ((7, 5, 3), {"axis": 2, "sample_axis": 1}, (5, 3)),
        ((20, 7, 3), {"axis": 2, "samples": 5}, (5, 84)),
    ],
    ids=["plain", "one number", "tokens", "1-D", "3-D", "channels last", "time first", "windows"],
)
def test_an_output_of_any_layer_becomes_a_matrix(shape, where, made):
    """Shapes decide where the channel axis does not; what was done is told of the same shapes."""
    assert features(torch.randn(shape), **where).shape == made
    assert told(shape, **where)


def test_channels_last_and_first_give_the_same_features():
    """A policy is about channels and positions, wherever the memory has them."""
    last = features(IMAGES.movedim(1, -1), axis=3, positions="resize:2")
    assert torch.equal(last, features(IMAGES, positions="resize:2"))


def test_means_of_features_far_from_zero_keep_their_digits():
    """In float32, a mean of entries near 10 000 would lose four of seven digits."""
    far = IMAGES.double() + 1e4
    assert torch.equal(features(far.float(), positions="pool"), far.float().double().mean((2, 3)))


@pytest.mark.parametrize(
    ("y", "options", "sentence"),
    [
        (torch.ones(5, 3, dtype=torch.int64), {}, r"torch\.int64.*real numbers"),
        (torch.ones(5, 3, dtype=torch.complex64), {}, r"torch\.complex64.*y\.abs\(\)"),
        (torch.tensor(1.0), {}, "a single number"),
        (WORDS, {"tokens": "masked"}, r"no mask.*\(N, T\)"),
        (WORDS, {"tokens": "masked", "mask": MASK[:, :4]}, r"a mask \(5, 4\)"),
        (WORDS, {"tokens": "masked", "mask": MASK & (MASK.sum(1, keepdim=True) > 1)}, "keeps no token"),
        (IMAGES, {"positions": "resize:0"}, "resize:4"),
        (IMAGES, {"samples": 4}, "no axis for the batch's 4 samples"),
        (IMAGES, {"sample_axis": -1}, "no axis for samples"),
    ],
)
def test_what_has_no_features_is_refused(y, options, sentence):
    """The sentence says what to give instead."""
    with pytest.raises(BadInput, match=f"(?s){sentence}"):
        features(y, **options)


@pytest.mark.parametrize(("y", "options"), [(IMAGES, {"positions": "polo"}), (WORDS, {"tokens": "polo"})])
def test_an_unknown_policy_lists_those_there_are(y, options):
    """In `features` and in what is told of it."""
    for ask in (features, lambda y, **options: told(tuple(y.shape), **options)):
        with pytest.raises(UnknownName, match="'polo'"):
            ask(y, **options)


def test_what_was_done_is_told_with_numbers():
    """Padding that a mean counted is named."""
    assert told((5, 7, 3), mask=MASK) == "mean over 7 tokens of 3 channels, padding among them"
    assert told((5, 3, 4, 6), positions="resize:2") == (
        "means over at most 2 positions a dimension, of 4 x 6 positions of 3 channels"
    )
