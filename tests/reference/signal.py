"""Mean field from the definition: dense trapezoids over Gaussians, torch's own functions, loops over pairs and taps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

FUNCTIONS = {
    "linear": lambda z: z.clone(),
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "celu": lambda z: F.celu(z, 2.0),
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "erf": torch.erf,
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
}


def line(reach=10.0, n=40_001):
    """A line of numbers and the mass of a standard Gaussian at each."""
    x = torch.linspace(-reach, reach, n, dtype=torch.float64)
    return x, torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * (2 * reach / (n - 1))


def value_and_slope(phi, z):
    leaf = z.clone().requires_grad_()
    value = phi(leaf)
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), slope


def moments(phi, variance, mean=0.0):
    """E[phi], E[phi^2], E[phi'^2] for z ~ N(mean, variance)."""
    x, mass = line()
    value, slope = value_and_slope(phi, mean + math.sqrt(variance) * x)
    return [float((mass * each).sum()) for each in (value, value**2, slope**2)]


def pairs(phi, variance, c, mean=0.0):
    """E[phi(z1) phi(z2)] and E[phi'(z1) phi'(z2)] at correlation c, by the two independent parts of z2."""
    x, mass = line(7.0, 701)
    second = c * x[:, None] + math.sqrt(1 - c**2) * x
    weight = mass[:, None] * mass
    first, slope = value_and_slope(phi, mean + math.sqrt(variance) * x)
    other, slopes = value_and_slope(phi, mean + math.sqrt(variance) * second)
    return float((weight * first[:, None] * other).sum()), float((weight * slope[:, None] * slopes).sum())


def rest(phi, sigma_w2, sigma_b2, q=1.0, steps=3000):
    """Where the length map comes after many steps."""
    for _ in range(steps):
        x, mass = line(8.0, 2001)
        q = sigma_w2 * float((mass * phi(math.sqrt(q) * x) ** 2).sum()) + sigma_b2
    return q


def taps(size, kernel, stride, padding, dilation):
    """Pairs of an output and an input place that a convolution joins, one axis, counted one by one."""
    places = range((size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1)
    return sum(0 <= r * stride + j * dilation - padding < size for r in places for j in range(kernel)), len(places)


def measured(model, x, y, layers):
    """q, c and g of each call of named layers, from plain hooks and a loop over pairs; c is a mean of cosines."""
    seen, handles = [], []
    modules = dict(model.named_modules())

    def keep(module, args, output):
        output.retain_grad()
        seen.append((output, output.detach().clone()))

    for name in layers:
        handles.append(modules[name].register_forward_hook(keep))
    leaf = x.clone().requires_grad_()
    F.cross_entropy(model(leaf), y, reduction="sum").backward()
    for handle in handles:
        handle.remove()
    model.zero_grad(set_to_none=True)
    rows = []
    for output, value in seen:
        flat = value.double().numpy().reshape(len(x), -1)
        unit = [row / math.sqrt((row**2).sum()) for row in flat]
        cosines = [float(a @ b) for a, b in itertools.combinations(unit, 2)]
        rows.append((float((flat**2).mean()), float(np.mean(cosines)), float(output.grad.double().pow(2).mean())))
    return rows


def perceptron(weights, phi, q, c, g):
    """q, c and g at each linear layer of a perceptron without bias, from the input's q and c and the last g."""
    forward, slopes = [], []
    for weight in weights:
        square, fan_in = float(weight.double().pow(2).mean()), weight.shape[1]
        if forward:
            before, correlation = forward[-1]
            _, second, slope = moments(phi, before)
            both = pairs(phi, before, correlation)[0]
            q, c = second, both / second
            slopes.append(slope)
        forward.append((square * fan_in * q, c))
    back = [g]
    for weight, slope in zip(weights[:0:-1], slopes[::-1], strict=True):
        back.insert(0, back[0] * float(weight.double().pow(2).mean()) * weight.shape[0] * slope)
    return [(*pair, gradient) for pair, gradient in zip(forward, back, strict=True)]
