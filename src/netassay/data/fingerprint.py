"""Fingerprint: which samples were seen, as one number that neither their order nor their batches change."""

from __future__ import annotations

import hashlib

import torch

from netassay.data.batches import Batch

MODULUS = 2**64


def fingerprint(batch: Batch) -> int:
    """Add up, modulo 2**64, the 64-bit BLAKE2b of each sample's inputs, target and mask; ids do not count.

    Fingerprints of the parts of a data set add up, modulo 2**64, to that of the whole.

    >>> x = torch.arange(6.0).reshape(3, 2)
    >>> (fingerprint(Batch(x[2:])) + fingerprint(Batch(x[:2]))) % MODULUS == fingerprint(Batch(x))
    True
    """
    parts = [part.detach().cpu() for part in (batch.x, batch.y, batch.mask) if part is not None]
    header = " ".join(f"{part.dtype} {tuple(part.shape[1:])}" for part in parts).encode()
    rows = [part.reshape(len(part), part[:1].numel()).contiguous().view(torch.uint8).numpy() for part in parts]
    total = 0
    for sample in zip(*rows, strict=True):
        digest = hashlib.blake2b(header, digest_size=8)
        for values in sample:
            digest.update(values.data)
        total += int.from_bytes(digest.digest(), "big")
    return total % MODULUS
