"""Bilinear enlargement from its definition, pixel by pixel: half-pixel centres, edges repeated."""

from __future__ import annotations

import numpy as np


def enlarged(image: np.ndarray, size: int) -> np.ndarray:
    """Enlarge a square image (S, S) to (size, size)."""
    side = len(image)
    result = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            y, x = (max((k + 0.5) * side / size - 0.5, 0.0) for k in (i, j))
            top, left = int(y), int(x)
            for row, at_row in ((top, 1 - (y - top)), (top + 1, y - top)):
                for column, at_column in ((left, 1 - (x - left)), (left + 1, x - left)):
                    result[i, j] += at_row * at_column * image[min(row, side - 1), min(column, side - 1)]
    return result
