"""Softmax regression by Adam at a constant rate, in numpy: Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

ALPHA, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def fitted(
    W: np.ndarray,
    b: np.ndarray,
    batches: list[tuple[np.ndarray, np.ndarray]],
    epochs: int,
    *,
    alpha: float = ALPHA,
    decay: float = 0.0,
    slopes: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Train W (K, D) and b (K,) on batches in the order given; `decay` times a parameter joins its gradient.

    `slopes` of W, b and a batch are by default those of the cross-entropy.
    """
    theta = [W.copy(), b.copy()]
    m, v = [np.zeros_like(one) for one in theta], [np.zeros_like(one) for one in theta]
    t = 0
    for _ in range(epochs):
        for x, y in batches:
            t = t + 1
            for p, g in enumerate((slopes or gradients)(*theta, x, y)):
                g = g + decay * theta[p]
                m[p] = BETA1 * m[p] + (1 - BETA1) * g
                v[p] = BETA2 * v[p] + (1 - BETA2) * g**2
                m_hat = m[p] / (1 - BETA1**t)
                v_hat = v[p] / (1 - BETA2**t)
                theta[p] = theta[p] - alpha * m_hat / (np.sqrt(v_hat) + EPSILON)
    return theta[0], theta[1]


def gradients(W: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differentiate the mean cross-entropy."""
    z = x @ W.T + b
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    error = (p - np.eye(len(b))[y]) / len(y)
    return error.T @ x, error.sum(0)
