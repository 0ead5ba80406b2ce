"""What a watch must read, by definition: one sample after another, autograd of its own loss, float64 numpy."""

from __future__ import annotations

import numpy as np
import torch


class Outputs:
    """The outputs of named modules in one forward pass, each asked for its gradient."""

    def __init__(self, model, names):
        self.kept, modules = {}, dict(model.named_modules())
        self.handles = [modules[name].register_forward_hook(self.keeper(name)) for name in names]

    def keeper(self, name):
        def keep(module, args, output):
            self.kept.setdefault(name, []).append(output)

        return keep

    def close(self):
        for handle in self.handles:
            handle.remove()


def layers(model, x, y, loss, names):
    """Return of each layer the RMS of per-sample gradients, second moment, variance and zeros at its output.

    The model is one without batch statistics, and changes nothing in place: each sample has a pass of its own.
    """
    squares, values = {name: [] for name in names}, {name: [] for name in names}
    for n in range(len(x)):
        outputs = Outputs(model, names)
        one = loss(model(x[n : n + 1]), y[n : n + 1]).sum()
        outputs.close()
        tensors = [outputs.kept[name][0] for name in names]
        for name, tensor, gradient in zip(names, tensors, torch.autograd.grad(one, tensors), strict=True):
            squares[name].append(np.square(gradient.double().numpy()).sum())
            values[name].append(tensor.detach().double().numpy()[0])
    return {name: numbers(np.array(values[name]), squares[name]) for name in names}


def numbers(values, squares):
    """Return the signals of one layer from `(N, ...)` values and each sample's squared gradient norm."""
    finite = np.isfinite(values)
    return {
        "gradient": float(np.sqrt(np.mean(squares))),
        "second_moment": float(np.mean(np.square(values[finite]))),
        "variance": float(np.mean(values.var(axis=0))),
        "entries": values.size,
        "zero": int((values == 0).sum()),
        "subnormal": int(((values != 0) & (np.abs(values) < np.finfo(np.float32).tiny)).sum()),
        "nan": int(np.isnan(values).sum()),
        "inf": int(np.isinf(values).sum()),
    }


def update(before, after, gradient):
    """Return what a step did to one parameter, `gradient` None where there was none."""
    w, v = before.double().numpy().ravel(), after.double().numpy().ravel()
    told = {"weight": np.linalg.norm(w), "update": np.linalg.norm(v - w), "unchanged": np.mean(v == w)}
    if gradient is not None:
        g = gradient.double().numpy().ravel()
        told |= {
            "gradient": np.sqrt(np.sum(g**2)),
            "gradient_zero": np.sum(g == 0),
            "lost": np.mean((g != 0) & (v == w)),
            "radial": np.dot(w, g) / (np.linalg.norm(w) * np.sqrt(np.sum(g**2))),
        }
    return told
