"""Patterns of a map, written from the definition: loops, one cell at a time."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from scipy.optimize import nnls

WIDTHS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)


def middles(size):
    return [(i + 0.5) / size for i in range(size)]


def bare(map, there):
    """Take row and column effects out of the cells that are there, and bring what is left to norm 1."""
    cells = list(zip(*np.nonzero(there), strict=True))
    design = np.zeros((len(cells), sum(map.shape)))
    for k, (i, j) in enumerate(cells):
        design[k, i] = design[k, map.shape[0] + j] = 1
    y = np.array([map[cell] for cell in cells], dtype=float)
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    norm = math.sqrt(sum(left**2))
    return left / norm if norm > 1e-9 * math.sqrt(sum(y**2)) else 0 * left


def filled(shape, value):
    rows, columns = middles(shape[0]), middles(shape[1])
    return np.array([[float(value(u, v)) for v in columns] for u in rows])


def group(place, edges):
    return sum(place > edge + 1e-9 for edge in edges)


def blocks(shape):
    found = []
    for count in range(1, 5):
        for edges in combinations([k / 12 for k in range(1, 12)], count):
            sizes = [[[group(x, edges) for x in middles(n)].count(g) for g in range(count + 1)] for n in shape]
            if min(map(min, sizes)) < 2:
                continue
            found.append(filled(shape, lambda u, v, edges=edges: group(u, edges) == group(v, edges)))
            if count == 2:
                found.append(filled(shape, lambda u, v, edges=edges: group(u, edges) == group(v, edges) == 1))
    return found


def product(map, there):
    rows = [np.mean([map[i, j] for j in range(map.shape[1]) if there[i, j]]) for i in range(map.shape[0])]
    columns = [np.mean([map[i, j] for i in range(map.shape[0]) if there[i, j]]) for j in range(map.shape[1])]
    return np.array([[(r - np.mean(rows)) * (c - np.mean(columns)) for c in columns] for r in rows])


def indices(map):
    """Return diagonal, triangle (signed), block, and the share that none of them explains."""
    there = np.isfinite(map)
    target = bare(map, there)
    families = [
        [filled(map.shape, lambda u, v, w=w: math.exp(-abs(u - v) / w)) for w in WIDTHS],
        [filled(map.shape, lambda u, v: v <= u + 1e-9), filled(map.shape, lambda u, v: v >= u - 1e-9)],
        blocks(map.shape) or [np.zeros(map.shape)],
        [product(map, there), -product(map, there)],
    ]
    chosen, sign = [], 1
    for number, family in enumerate(families):
        made = [bare(one, there) for one in family]
        alike = [float(target @ one) for one in made]
        best = int(np.argmax(np.round(alike, 12)))
        chosen.append(made[best])
        if number == 1:
            sign = 1 if best == 0 else -1
    weights, _ = nnls(np.array(chosen).T, target)
    left = target - weights[:3] @ np.array(chosen[:3])
    return np.array([weights[0], sign * weights[1], weights[2], sum(left**2)])
