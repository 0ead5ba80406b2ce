"""Protocol: how a stitch is matched where nothing else is asked for, by grids, the command and benches alike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from netassay.stitching.adapters import Adapter
from netassay.stitching.fitting import Fit, fit
from netassay.stitching.losses import Later, Run, Samples

CLOSED = "closed_form"


class Protocol(NamedTuple):
    """The closed form of an adapter first; then training where that pays, by `matching`, as far as it pays.

    One of `validation` samples is left out of both, and decides: nothing is trained where the closed form has as many
    hits there as the receiver itself, training ends where it has, or after `patience` epochs without more hits; the
    best weights are kept.
    """

    adapter: str = "conv"
    matching: str = "task"
    epochs: int = 3
    lr: float = 5e-3
    batch: int = 32
    patience: int = 1
    validation: int = 5


DEFAULT = Protocol()


def held_out(n: int) -> Tensor:
    """Tell which of `n` samples matching leaves out, to decide by.

    >>> held_out(6).tolist()
    [False, False, False, False, True, False]
    """
    return torch.arange(n) % DEFAULT.validation == DEFAULT.validation - 1


def trained_on(
    adapter: Adapter, rest: Run, data: Samples, held: Samples, enough: int, *, loss: str = DEFAULT.matching,
    later: Later | None = None, epochs: int = DEFAULT.epochs, lr: float = DEFAULT.lr, batch: int = DEFAULT.batch,
    seed: int = 0,
) -> Fit:  # fmt: skip
    """Train an adapter on from its closed form, where that pays; `enough` are the receiver's own hits on `held`.

    As `fit`, with the stopping of `Protocol`.
    """
    return fit(
        adapter, rest, data, loss=loss, later=later, epochs=epochs, lr=lr, batch=batch, seed=seed, validation=held,
        patience=DEFAULT.patience, enough=enough,
    )  # fmt: skip
