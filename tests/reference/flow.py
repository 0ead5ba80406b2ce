"""Gradient flow from its definition: every sample alone, its own loss, a double for every square."""

from __future__ import annotations

import math

import torch
from torch import nn


def caught(model, names):
    """Hook the outputs of modules as they are made; return the handles and the list each gradient is put in."""
    found = {name: [] for name in names}

    def catch(name):
        def hook(module, args, output):
            output.register_hook(lambda gradient: found[name].append(gradient.detach().clone()))

        return hook

    handles = [model.get_submodule(name).register_forward_hook(catch(name)) for name in names]
    return handles, found


def gradient(model, x, y, names):
    """Root of the mean over samples of the squared norm of each sample's own gradient, sample by sample."""
    squares = dict.fromkeys(names, 0.0)
    for n in range(len(x)):
        handles, found = caught(model, names)
        nn.functional.cross_entropy(model(x[n : n + 1]), y[n : n + 1]).backward()
        for handle in handles:
            handle.remove()
        for name in names:
            squares[name] += sum(float(value) ** 2 for value in found[name][0].double().flatten().tolist())
    model.zero_grad(set_to_none=True)
    return {name: math.sqrt(square / len(x)) for name, square in squares.items()}


def whole_batch(model, x, y, names):
    """Norm of the whole batch's gradient under a mean loss, in float64 of the float32 tensors, and torch's own norm."""
    handles, found = caught(model, names)
    nn.functional.cross_entropy(model(x), y).backward()
    for handle in handles:
        handle.remove()
    model.zero_grad(set_to_none=True)
    exact = {name: float(torch.linalg.vector_norm(found[name][0].double())) for name in names}
    return exact, {name: float(found[name][0].norm()) for name in names}
