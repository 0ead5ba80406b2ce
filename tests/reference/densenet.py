"""DenseNet's forward pass in eval mode, pixel by pixel in numpy, from arXiv 1608.06993, section 3; and its names."""

from __future__ import annotations

import numpy as np

State = dict[str, np.ndarray]


def logits(state: State, x: np.ndarray, blocks: list[int], *, skip: str, bottleneck: bool, large: bool) -> np.ndarray:
    """Map x (N, C, H, W) to (N, classes)."""
    x = conv(x, state["features.conv0.weight"], 2 if large else 1, 3 if large else 1)
    if large:
        x = largest(rectified(x, state, "features.norm0"))
    for b, count in enumerate(blocks, 1):
        parts = [x]
        for i in range(1, count + 1):
            at = f"features.denseblock{b}.denselayer{i}"
            seen = np.concatenate(parts, 1) if skip == "all" else parts[-1]
            parts.append(layer(seen, state, at, bottleneck))
        x = parts[-1] if skip == "none" else np.concatenate(parts, 1)
        if b < len(blocks):
            at = f"features.transition{b}"
            x = halved(conv(rectified(x, state, f"{at}.norm"), state[f"{at}.conv.weight"], 1, 0))
    x = rectified(x, state, "features.norm5").mean((2, 3))
    return x @ state["classifier.weight"].T + state["classifier.bias"]


def layer(x: np.ndarray, state: State, at: str, bottleneck: bool) -> np.ndarray:
    """BN-ReLU-Conv(3x3), behind BN-ReLU-Conv(1x1) in a bottleneck."""
    x = rectified(x, state, f"{at}.norm1")
    if not bottleneck:
        return conv(x, state[f"{at}.conv1.weight"], 1, 1)
    x = conv(x, state[f"{at}.conv1.weight"], 1, 0)
    return conv(rectified(x, state, f"{at}.norm2"), state[f"{at}.conv2.weight"], 1, 1)


def rectified(x: np.ndarray, state: State, at: str) -> np.ndarray:
    """Batch norm by running statistics, then the positive part."""
    mean, var, a, b = (
        state[f"{at}.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return np.maximum((x - mean) / np.sqrt(var + 1e-5) * a + b, 0)


def conv(x: np.ndarray, W: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """Cross-correlate, output pixel by output pixel."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k = W.shape[2]
    size = (x.shape[2] - k) // stride + 1
    y = np.zeros((len(x), len(W), size, size))
    for i in range(size):
        for j in range(size):
            window = x[:, :, i * stride : i * stride + k, j * stride : j * stride + k]
            y[:, :, i, j] = np.tensordot(window, W, ([1, 2, 3], [1, 2, 3]))
    return y


def largest(x: np.ndarray) -> np.ndarray:
    """Take the maximum of 3x3 windows, every second pixel; outside there is nothing."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    size = (x.shape[2] - 3) // 2 + 1
    rows = [[x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((2, 3)) for j in range(size)] for i in range(size)]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def halved(x: np.ndarray) -> np.ndarray:
    """Take the mean of 2x2 windows; an odd last row or column is dropped."""
    size = x.shape[2] // 2
    x = x[:, :, : 2 * size, : 2 * size]
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def names(blocks: list[int], growth: int, stem: int) -> dict[str, tuple[int, ...]]:
    """Map every name in torchvision's state dict to its shape, in order, for a network of 1000 classes."""
    found: dict[str, tuple[int, ...]] = {"features.conv0.weight": (stem, 3, 7, 7), **norm("features.norm0", stem)}
    C = stem
    for b, count in enumerate(blocks, 1):
        for i in range(1, count + 1):
            at = f"features.denseblock{b}.denselayer{i}"
            found |= {**norm(f"{at}.norm1", C), f"{at}.conv1.weight": (4 * growth, C, 1, 1)}
            found |= {**norm(f"{at}.norm2", 4 * growth), f"{at}.conv2.weight": (growth, 4 * growth, 3, 3)}
            C += growth
        if b < len(blocks):
            at = f"features.transition{b}"
            found |= {**norm(f"{at}.norm", C), f"{at}.conv.weight": (C // 2, C, 1, 1)}
            C //= 2
    return {**found, **norm("features.norm5", C), "classifier.weight": (1000, C), "classifier.bias": (1000,)}


def norm(at: str, C: int) -> dict[str, tuple[int, ...]]:
    """Map a BatchNorm's five entries to their shapes."""
    entries = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{at}.{name}": (C,) for name in entries}, f"{at}.num_batches_tracked": ()}
