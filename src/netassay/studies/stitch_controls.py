"""Stitch controls: what may come instead of a sender or a receiver, and proof that it was drawn anew."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from netassay.cutting import Cut
from netassay.cutting.frozen import same_bits
from netassay.errors import BadInput, listing
from netassay.quiet import state_hash
from netassay.seeds import generator, mixed
from netassay.studies.twins import untrained

ITSELF, RANDOM, NOISE, SHUFFLED = "itself", "random", "noise", "shuffled"
CENTRES, ORDER, DRAW, TWIN = 11, 12, 13, 14
"""Keep streams of one seed apart: centres of classes, the order of pairs, noise, twins."""

DRAWS = 5
"""Random senders at each place: the spread between them is part of what chance does."""


class Control(NamedTuple):
    """Who sends, who receives, and whether layers and adapter are the grid's own."""

    sender: str
    receiver: str
    beside: bool = True


NONE = "none"
CONTROLS = {
    NONE: Control(ITSELF, ITSELF),
    "random_sender": Control(RANDOM, ITSELF),
    "noise": Control(NOISE, ITSELF),
    "shuffled": Control(SHUFFLED, ITSELF),
    "random_receiver": Control(ITSELF, RANDOM),
    "identity": Control(ITSELF, ITSELF, beside=False),
    "self": Control(ITSELF, ITSELF, beside=False),
    "capacity": Control(ITSELF, ITSELF, beside=False),
}
"""What each control stitches; those beside a grid cover all its cells."""


def draws(control: str) -> range:
    """Number the cells of a control at one place: networks drawn anew may differ, and so several of them send."""
    return range(DRAWS if CONTROLS[control].sender == RANDOM else 1)


def redrawn(model: nn.Module, seed: int, draw: int = 0) -> nn.Module:
    """Return a twin, one of several, of which every parameter and every buffer was drawn anew.

    Proof: the same twin, bit by bit, is made of a copy in which every value is NaN. Raises `BadInput` that names what
    is not; integers, which count and point, are not drawn.

    The draw depends on `seed`, `draw` and the model's own weights and buffers, and on nothing else: networks of one
    spec that learned from other seeds have other twins, and a network has the same ones wherever it is stitched.
    """
    own = state_hash(model)
    seed, known = mixed(seed, TWIN, int(own, 16), draw), {own}
    twin, _ = untrained(model, seed, known)
    again, _ = untrained(_blank(model), seed, known)
    same = dict(_tensors(again))
    kept = [name for name, tensor in _tensors(twin) if not same_bits(tensor, same.get(name))]
    if kept:
        found = f"these keep what they held: {listing(kept)}"
        next = "controls=['noise', 'shuffled', 'self'], or give their modules a reset_parameters that draws them"
        raise BadInput(f"a random twin of {type(model).__name__}", found, next)
    return twin


def _blank(model: nn.Module) -> nn.Module:
    blank = copy.deepcopy(model)
    with torch.no_grad():
        for _, tensor in _tensors(blank):
            tensor.fill_(torch.nan)
    return blank


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    every = [*model.named_parameters(), *model.named_buffers()]
    return [(name, tensor) for name, tensor in every if tensor.is_floating_point() or tensor.is_complex()]


def noise(cut: Cut, y: Tensor, classes: int, seed: int, part: int, batch: int) -> Iterator[Tensor]:
    """Give, instead of activations, what knows nothing but the label: `c[label] + e`, in batches of a cut's shape.

    `c` is drawn once for each class and channel from N(0, 1), the same at all positions, so that an adapter that maps
    channels can read it; `e` is N(0, 1) in every element (after Smith, Mannering & Marcu 2025).
    """
    channels = cut.shape[0] if cut.kind == "image" else cut.shape[-1]
    wide = (channels, 1, 1) if cut.kind == "image" else (channels,)
    centres = torch.randn(classes, channels, generator=generator(seed, CENTRES)).reshape(-1, *wide)
    if cut.kind == "tokens":
        centres = centres[:, None]
    drawing = generator(seed, DRAW, part)
    for labels in torch.split(y, batch):
        yield centres[labels] + torch.randn(len(labels), *cut.shape, generator=drawing)


def shuffled(x: Tensor, seed: int) -> Tensor:
    """Return samples in another order: what is matched then belongs to other samples."""
    return x[torch.randperm(len(x), generator=generator(seed, ORDER))]
