"""Faults to put into a net, and where things stand in it: what runs before, after, and upstream of a place."""

from __future__ import annotations

import torch
from torch import nn

BREAKS = {
    "log": lambda x: x + 0 * torch.log(x - x.detach().amax()),
    "division": lambda x: x + 0 * (x / (x - x)),
    "overflow": lambda x: x * 1e30 * 1e30,
}


class Broken(nn.Module):
    """Passes its input on, from a call on with NaN or Inf."""

    def __init__(self, how, start):
        super().__init__()
        self.how, self.left = how, start

    def forward(self, x):
        self.left -= 1
        return x if self.left >= 0 else BREAKS[self.how](x)


class Root(nn.Module):
    """A square root that is finite forward and meets 0, where its slope is infinite."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x):
        if self.how == "nan":
            positive = x * (x > 0)
            return (positive * positive).sqrt().clone()
        return (x - x.detach().amin(-1, keepdim=True)).sqrt().clone()


class Detach(nn.Module):
    """Lets no gradient through."""

    def forward(self, x):
        return x.detach()


class _Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return (gradient * 1e-8).half().to(gradient.dtype)


class Half(nn.Module):
    """Lets the gradient through in half precision, too small for it."""

    def forward(self, x):
        return _Half.apply(x)


def put(model, place, fault):
    """Put a fault behind a module, in a sequence of the two; return the names that it may be called by."""
    model.set_submodule(place, nn.Sequential(model.get_submodule(place), fault))
    return {place, f"{place}.0", f"{place}.1"}


def chosen(draw, model, kinds, but=()):
    """Draw the name of a module of some kinds; those inside torch's attention are never called as modules."""
    found = [n for n, m in model.named_modules() if isinstance(m, kinds) and n not in but and "mha" not in n]
    return draw.choice(found)


def named_leaves(model):
    """Name the modules without children; torch's attention counts as one, since it calls none of its own."""
    own = [(m, n) for n, m in model.named_modules() if not list(m.children()) or isinstance(m, nn.MultiheadAttention)]
    return {module: name for module, name in own if not name.endswith("out_proj")}


def order(training):
    """Names of the leaves in the order in which they first run; nothing is changed by it."""
    names, model = [], training.model
    leaves = named_leaves(model)
    hooks = [m.register_forward_hook(lambda m, x, y: names.append(leaves[m])) for m in leaves]
    x, _ = training.data(0)
    kept, state = model.training, torch.get_rng_state()
    with torch.no_grad():
        model.eval()(x)
    model.train(kept)
    torch.set_rng_state(state)
    for hook in hooks:
        hook.remove()
    return list(dict.fromkeys(names))


def after(training, place):
    """The layer, and the leaf that runs next."""
    names = order(training)
    return set(names[names.index(place) :][:2])


def before(model, place, training=None):
    """The leaf that is defined, or with a training the one that runs, before a place."""
    names = order(training) if training else [n for n, m in model.named_modules() if not list(m.children())]
    return set(names[max(0, names.index(place) - 1) :][:1])


def upstream(training):
    """Modules that run and at whose outputs no gradient arrives, or only zeros, and those of parameters without any."""
    model, reached = training.model, set()
    leaves = named_leaves(model)
    calls = [(m, m.left) for m in model.modules() if hasattr(m, "left")]

    def look(module, x, y):
        y = y[0] if isinstance(y, tuple) else y
        if y.requires_grad:
            y.register_hook(lambda g: reached.add(leaves[module]) if g.any() else None)

    hooks, random = [m.register_forward_hook(look) for m in leaves], torch.get_rng_state()
    x, y = training.data(0)
    training.loss(model.eval()(x), y).backward()
    model.train().zero_grad()
    torch.set_rng_state(random)
    for hook in hooks:
        hook.remove()
    for module, left in calls:
        module.left = left
    return set(order(training)) - reached
