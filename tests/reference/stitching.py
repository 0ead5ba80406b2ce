"""Stitching from its definitions: rows, least squares, patches, distances; numpy, slowly, one thing after another."""

from __future__ import annotations

import itertools

import numpy as np

from tests.reference import adam


def rows(y):
    """Every position of every sample a row: images (N, C, H, W), tokens (N, T, C), vectors (N, C)."""
    if y.ndim == 4:
        return np.array([y[n, :, i, j] for n in range(len(y)) for i in range(y.shape[2]) for j in range(y.shape[3])])
    return np.array([y[n, t] for n in range(len(y)) for t in range(y.shape[1])]) if y.ndim == 3 else y


def affine(x, y, ridge=0.0):
    """Least squares with intercept; the penalty by rows of zeros below, in units of the mean variance of x."""
    mx, my = x.mean(0), y.mean(0)
    weight = np.sqrt(len(x) * ridge * ((x - mx) ** 2).mean())
    above = np.concatenate([x - mx, weight * np.eye(x.shape[1])])
    below = np.concatenate([y - my, np.zeros((x.shape[1], y.shape[1]))])
    w = np.linalg.lstsq(above, below, rcond=None)[0]
    return w.T, my - w.T @ mx


def r2(x, y, weight, bias):
    """One less the squared error over that of the means, rows and channels pooled."""
    return 1 - ((y - x @ weight.T - bias) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()


def held_out(x, y, numbers, folds, ridge):
    """Squared error and squared distance from the training means, of rows whose fold was left out."""
    wrong, about = 0.0, 0.0
    for fold in range(folds):
        out = numbers % folds == fold
        weight, bias = affine(x[~out], y[~out], ridge)
        wrong += ((y[out] - x[out] @ weight.T - bias) ** 2).sum()
        about += ((y[out] - y[~out].mean(0)) ** 2).sum()
    return wrong, about


def low_rank(x, y, rank, ridge=0.0):
    """The full fit, then the best approximation of what it foretells, rows of the penalty included."""
    weight, _ = affine(x, y, ridge)
    mx, my = x.mean(0), y.mean(0)
    below = np.sqrt(len(x) * ridge * ((x - mx) ** 2).mean()) * np.eye(x.shape[1])
    fitted = np.concatenate([x - mx, below]) @ weight.T
    _, _, v = np.linalg.svd(fitted, full_matrices=False)
    weight = v[:rank].T @ v[:rank] @ weight
    return weight, my - weight @ mx


def paired(x, y):
    """The pairing of channels with the least squared error about the means, tried one by one."""
    x, y = x - x.mean(0), y - y.mean(0)
    orders = itertools.permutations(range(x.shape[1]))
    return min(orders, key=lambda order: ((y - x[:, list(order)]) ** 2).sum())


def resized(y, grid):
    """Means of torch's adaptive blocks downwards, nearest value upwards; each dimension by itself."""
    for axis, to in ((2, grid[0]), (3, grid[1])):
        size, parts = y.shape[axis], []
        for i in range(to):
            low, high = i * size // to, -(-(i + 1) * size // to)
            block = range(low, high) if to <= size else range(low, low + 1)
            parts.append(np.take(y, list(block), axis).mean(axis))
        y = np.stack(parts, axis)
    return y


def convolved(y, weight, bias, grid):
    """A convolution whose stride is the whole part of the ratio of sizes and whose kernel covers the rest."""
    out = np.zeros((len(y), len(weight), *grid))
    stride = [y.shape[2 + i] // grid[i] for i in (0, 1)]
    size = [y.shape[2 + i] - (grid[i] - 1) * stride[i] for i in (0, 1)]
    for n, o, i, j in itertools.product(*map(range, out.shape)):
        a, b = i * stride[0], j * stride[1]
        out[n, o, i, j] = bias[o] + (weight[o] * y[n, :, a : a + size[0], b : b + size[1]]).sum()
    return out


def distances(pooled, own, shrink):
    """Mahalanobis' distances to a set of rows, each variance widened by a share of the mean one."""
    mean = own.mean(0)
    covariance = (own - mean).T @ (own - mean) / len(own)
    covariance += shrink * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    inverse = np.linalg.inv(covariance)
    return np.array([np.sqrt((one - mean) @ inverse @ (one - mean)) for one in pooled])


def farther(far, own):
    """Share of pairs in which the first is larger, ties counted half."""
    return np.mean([(a > b) + (a == b) / 2 for a in far for b in own])


def onward(z, layers):
    """What a perceptron makes behind a cut: every ReLU's output, then the scores; layers are (weight, bias)."""
    made = []
    for weight, bias in layers:
        made.append(z @ weight.T + bias)
        z = np.maximum(made[-1], 0)
    return [*(np.maximum(one, 0) for one in made[:-1]), made[-1]]


def latent_variances(own, layers):
    """The mean variance of what the receiver itself has at all that `onward` gives."""
    return [((one - one.mean(0)) ** 2).mean() for one in onward(own, layers)]


def latent_slopes(weight, bias, x, own, layers, variances):
    """Gradients of an affine adapter: at all that `onward` gives, the mean squared error over the variance there,
    summed where that is not 0."""
    made, wanted = onward(x @ weight.T + bias, layers), onward(own, layers)
    slope = np.zeros_like(made[-1])
    for i in reversed(range(len(layers))):
        if variances[i] > 0:
            slope = slope + 2 * (made[i] - wanted[i]) / made[i].size / variances[i]
        # A ReLU is between all but the scores and what they came from.
        slope = (slope if i == len(layers) - 1 else slope * (made[i] > 0)) @ layers[i][0]
    return slope.T @ x, slope.sum(0)


def trained_by_latents(x, own, layers, batches, held, y, ridge, rate):
    """Least squares, then Adam epoch by epoch: the weights with most hits on samples left out, the first of these.

    `batches` are the samples of each batch of each epoch. It ends with the first epoch without more hits, and where
    there are as many as the receiver itself has. Returns weights, bias, and how many epochs they have had.
    """

    def hits(weight, bias):
        return (onward(held[0] @ weight.T + bias, layers)[-1].argmax(1) == y).sum()

    start, variances = affine(x, own, ridge), latent_variances(own, layers)
    best, most, kept = start, hits(*start), 0
    for epoch in range(len(batches)):
        if most >= (onward(held[1], layers)[-1].argmax(1) == y).sum():
            break
        seen = [(x[chosen], own[chosen]) for each in batches[: epoch + 1] for chosen in each]

        def slopes(weight, bias, x, own):
            return latent_slopes(weight, bias, x, own, layers, variances)

        found = adam.fitted(*start, seen, 1, alpha=rate, slopes=slopes)
        if hits(*found) <= most:
            break
        best, most, kept = found, hits(*found), epoch + 1
    return *best, kept
