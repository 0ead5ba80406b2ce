"""Quiet: run a model and leave it, and every source of chance, as they were found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from netassay.seeds import as_found

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


@contextmanager
def modes(model: nn.Module, training: bool | None) -> Iterator[None]:
    """Put every module into one mode (None: leave them) and restore each one's own."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        if training is not None:
            model.train(training)
        yield
    finally:
        for module, flag in flags:
            module.training = flag


@contextmanager
def quiet(model: nn.Module, *, training: bool | None = False) -> Iterator[None]:
    """Put `model` into eval mode (train mode; None: neither) and restore, whatever happens, what running it may change.

    Restored: each module's own training flag, buffers and embeddings with `max_norm` (bit by bit), and the states of
    Python's, numpy's and torch's random generators. `.grad` is not touched, since studies use `torch.autograd.grad`.
    """
    eager = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
    buffers = [(module, dict(module._buffers)) for module in eager]
    written = [b for _, named in buffers for b in named.values() if b is not None]
    # With a largest norm, an embedding's forward pass scales the rows that it reads.
    written += [one.weight for one in eager if isinstance(one, EMBEDDINGS) and one.max_norm is not None]
    copies = {id(b): (b, b.detach().clone()) for b in written}
    with as_found(), modes(model, training):
        try:
            yield
        finally:
            for module, named in buffers:
                module._buffers.clear()
                module._buffers.update(named)
            for buffer, copy in copies.values():
                # Through .data: a graph that was made before this look may still need the buffer's version.
                if buffer.shape != copy.shape:
                    buffer.resize_(copy.shape)
                buffer.data.copy_(copy)


def state_hash(model: nn.Module) -> str:
    """Hash names, dtypes, shapes and bytes of a model's parameters and buffers; the first 16 hex digits of SHA-256.

    >>> state_hash(nn.ReLU())
    'e3b0c44298fc1c14'
    """
    digest = hashlib.sha256()
    for name, value in {**model.state_dict(), **dict(model.named_buffers())}.items():
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
