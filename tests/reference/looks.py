"""What the study of initialisations looks at, in plain torch and numpy: every number kept, then reduced."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn


def shape(values):
    """Mean, population standard deviation, skewness, kurtosis, smallest and largest number of an array."""
    x = np.asarray(values, dtype=np.float64).ravel()
    mean = math.fsum(x) / len(x)
    second, third, fourth = (math.fsum((x - mean) ** p) / len(x) for p in (2, 3, 4))
    return {
        "n": len(x),
        "mean": mean,
        "std": math.sqrt(second),
        "skewness": third / second**1.5 if second else math.nan,
        "kurtosis": fourth / second**2 if second else math.nan,
        "minimum": x.min(),
        "maximum": x.max(),
    }


def chain_features(chain, x):
    """All features of a plain chain of modules on x, by "layer place"; the last weight layer makes the logits."""
    weighted = [name for name, one in chain.named_children() if isinstance(one, nn.Linear | nn.Conv2d)]
    found = {}
    with torch.no_grad():
        for name, module in chain.named_children():
            before, x = x, module(x)
            if name == weighted[-1]:
                found[f"{name} penultimate"], found[f"{name} logits"] = before, x
            elif name in weighted:
                found[f"{name} before"] = x
            elif isinstance(module, nn.ReLU):
                found[f"{name} after"] = x
    return {name: value.numpy().copy() for name, value in found.items()}


def drawn_stds(densities, edges):
    """The standard deviations of densities over shared edges, their mass in the middle of each bin."""
    widths, middles = np.diff(edges), (np.asarray(edges)[1:] + np.asarray(edges)[:-1]) / 2
    found = []
    for density in np.asarray(densities):
        mass = density * widths / (density * widths).sum()
        mean = (mass * middles).sum()
        found.append(math.sqrt((mass * (middles - mean) ** 2).sum()))
    return found


def distinct_rows(weight, bias, tolerance=1e-5):
    """How many rows of (weight, bias) differ from all rows before them, by their distance over the typical norm."""
    rows = np.column_stack([np.asarray(weight, dtype=np.float64).reshape(len(weight), -1), np.asarray(bias)])
    reach = tolerance * math.sqrt((rows**2).sum(1).mean())
    kept = []
    for row in rows:
        if all(math.sqrt(((row - other) ** 2).sum()) > reach for other in kept):
            kept.append(row)
    return len(kept)
