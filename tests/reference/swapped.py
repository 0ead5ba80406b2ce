"""Slow twin of a cut: a layer is a clean cut if its output alone decides the model's, whatever the input was."""

from __future__ import annotations

import torch


def outputs(model, x):
    """Run once; return (name, call) -> output for every call, in order, and the model's output."""
    made, handles, counts = {}, [], {}

    def keep(name):
        def hook(module, args, output):
            made[name, counts.setdefault(name, 0)] = output.clone() if isinstance(output, torch.Tensor) else None
            counts[name] += 1

        return hook

    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_hook(keep(name)))
    with torch.no_grad():
        result = model(x.clone())
    for handle in handles:
        handle.remove()
    return made, result


def swapped(model, x, name, call, y):
    """Run on x, with y in the place of what one call of a layer made."""
    seen = []

    def hook(module, args, output):
        seen.append(None)
        return y.clone() if len(seen) == call + 1 else None

    handle = model.get_submodule(name).register_forward_hook(hook)
    with torch.no_grad():
        result = model(x.clone())
    handle.remove()
    return result


def clean(model, x, other, name, call):
    """Tell whether the model's output for x is had from the layer's output for x and any other input."""
    made, result = outputs(model, x)
    return torch.equal(swapped(model, other, name, call, made[name, call]), result)
