"""Softmax regression by SGD with momentum, weight decay, warm-up and half cosine, in numpy."""

from __future__ import annotations

import numpy as np


def fitted(
    W: np.ndarray, b: np.ndarray, batches: list[tuple[np.ndarray, np.ndarray]], epochs: int, lr: float
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Train W (K, D) and b (K,) on batches in the order given; also return the loss before each step."""
    W, b, losses = W.copy(), b.copy(), []
    velocity = [np.zeros_like(W), np.zeros_like(b)]
    total = epochs * len(batches)
    warm = max(1, round(total / 20))
    for step in range(total):
        x, y = batches[step % len(batches)]
        z = x @ W.T + b
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        losses.append(float(-np.log(p[np.arange(len(y)), y]).mean()))
        error = (p - np.eye(len(b))[y]) / len(y)
        gradients = [error.T @ x + 5e-4 * W, error.sum(0) + 5e-4 * b]
        rise, fall = (step + 1) / warm, np.cos(np.pi * (step - warm) / (total - warm))
        now = lr * (rise if step < warm else (1 + fall) / 2)
        velocity = [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
        W, b = W - now * velocity[0], b - now * velocity[1]
    return W, b, losses
