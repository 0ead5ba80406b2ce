"""Channel profiles from their definitions: plain autograd over written-out steps, then numpy, channel by channel."""

from __future__ import annotations

import numpy as np
import torch

from tests.reference.streams import finite, moments, quantile, spread

FEWEST, DORMANT, SPARSE, FLAT, CONSTANT = 10, 0.025, 0.01, 0.5, 1e-12


def passed(steps, x, loss):
    """Run `steps`, (label, function) pairs, one after the other; return each one's output and its gradient.

    `loss` maps the last output to one value per sample; the gradients are those of its sum.
    """
    outputs = []
    for _, step in steps:
        x = step(x)
        outputs.append(x if x.requires_grad else x.requires_grad_())
    gradients = torch.autograd.grad(loss(outputs[-1]).sum(), outputs, allow_unused=True)
    labels = [label for label, _ in steps]
    pairs = [(y.detach(), torch.zeros_like(y) if g is None else g) for y, g in zip(outputs, gradients, strict=True)]
    return dict(zip(labels, pairs, strict=True))


def sided(tensor, axis):
    """Turn a tensor with samples first and channels at `axis` into float64 `(N, C, P)`."""
    array = np.moveaxis(tensor.double().numpy(), axis, 1)
    return array.reshape(*array.shape[:2], -1)


def column(x, c, keep):
    """Return the entries of channel `c`, sample by sample; `keep` `(N, P)` tells which of them exist."""
    keep = np.ones(x[:, c].shape, dtype=bool) if keep is None else keep
    return [row[there] for row, there in zip(x[:, c], keep, strict=True)]


def entries(x, keep):
    """Return the entries of all channels."""
    return np.concatenate([np.concatenate(column(x, c, keep)) for c in range(x.shape[1])])


def side(x, keep=None):
    """Return the columns of one side of the channel table, `x` `(N, C, P)`; a dict for each channel."""
    rows = []
    for c in range(x.shape[1]):
        samples = column(x, c, keep)
        values = np.concatenate(samples)
        n, mean, m2, m3, m4 = moments(values)
        ordinary = finite(values)
        norms = [np.sqrt(sum(v * v for v in finite(sample))) for sample in samples]
        rows.append(
            {
                "mean": mean if n else np.nan,
                "std": np.sqrt(m2 / n) if n else np.nan,
                "skewness": m3 / n / (m2 / n) ** 1.5 if m2 else np.nan,
                "kurtosis": m4 / n / (m2 / n) ** 2 if m2 else np.nan,
                "rms": np.sqrt(sum(v * v for v in ordinary) / n) if n else np.nan,
                "low": min(ordinary, default=np.nan),
                "high": max(ordinary, default=np.nan),
                "norm_q25": quantile(norms, 0.25),
                "norm_median": quantile(norms, 0.5),
                "norm_q75": quantile(norms, 0.75),
                "zero_share": sum(v == 0 for v in ordinary) / n if n else np.nan,
                "nan": sum(np.isnan(values)),
                "inf": sum(np.isinf(values)),
            }
        )
    return rows


def across(x, keep=None):
    """Return each channel's variance across samples, position by position; unknown where positions are missing."""
    return [np.nan if keep is not None else spread(x[:, c]) for c in range(x.shape[1])]


def layer(y, gy, keep=None):
    """Return what the layer table says of both sides."""
    out, back = entries(y, keep), entries(gy, keep)
    return {
        "channels": y.shape[1],
        "samples": len(y),
        "y_rms": np.sqrt(np.mean(out**2)),
        "gy_rms": np.sqrt(np.mean(back**2)),
        "gy_norm": np.sqrt(np.sum(back**2) / len(gy)),
        "y_mean_square": np.mean([np.mean(np.concatenate(column(y, c, keep)) ** 2) for c in range(y.shape[1])]),
        "y_variance_across_samples": np.mean(across(y, keep)),
        "y_zero_share": np.mean(out == 0),
        "gy_zero_share": np.mean(back == 0),
    }


def quantiles(x, q, keep=None):
    """Return the layer's order statistics of rank ceil(q n), over all channels."""
    values = entries(x, keep)
    return [quantile(values, one) for one in q]


def states(y, gy, activation, slopes=None):
    """Name each channel's state: the first definition of DESIGN that applies.

    An activation fires where its output is not 0, any other layer where gradient arrives; `slopes` are those of a
    bounded activation, entry by entry.
    """
    judged = y if activation else gy
    reached = activation or bool((gy != 0).any())
    sizes = np.abs(y).mean((0, 2))
    named = []
    for c in range(y.shape[1]):
        there = None if slopes is None else slopes[:, c][gy[:, c] != 0]
        if len(y) < FEWEST or not reached:
            named.append("unobserved")
        elif not any((sample != 0).any() for sample in judged[:, c]):
            named.append("dead")
        elif (y[:, c] ** 2).mean() > 0 and spread(y[:, c]) <= CONSTANT * (y[:, c] ** 2).mean():
            named.append("constant")
        elif there is not None and len(there) and (np.abs(there) < 0.05).mean() > FLAT:
            named.append("saturated")
        elif activation and sizes[c] <= DORMANT * sizes.mean():
            named.append("dormant")
        elif (judged[:, c] != 0).mean() < SPARSE:
            named.append("sparse")
        else:
            named.append("healthy")
    return named
