"""Testing: checks that ship, for netassay's own entry points and for those of its users."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from netassay.rules import blocks


@contextmanager
def check_quiet(model: nn.Module, *, gradients: bool = True) -> Iterator[None]:
    """Assert that what runs inside leaves `model`, its gradients and every random generator bit by bit as they were.

    Compared before and after, also when the body raises: `state_dict`, buffers that are not saved, each module's own
    training flag, every hook, the names of modules' and parameters' attributes, `requires_grad` and `.grad` (unless
    `gradients=False`), the states of Python's, numpy's and torch's generators, and torch's global switches.

    Raises `AssertionError` naming the first thing that differs.

    >>> with check_quiet(nn.Linear(2, 2)):
    ...     _ = torch.rand(1)
    Traceback (most recent call last):
    AssertionError: looking touched torch's random generator
    """
    before = {name: look(model) for name, look in _LOOKS.items()}
    try:
        yield
    finally:
        for name, look in _LOOKS.items():
            if name != "the gradients" or gradients:
                _compare(name, before[name], look(model))


def check_stream(kind: Any, values: np.ndarray, cuts: list[int]) -> None:
    """Assert the algebra of a stream: parts of `values` along axis 0 merge to the whole, the empty one is nothing.

    `kind` has `of(values)`, `empty()` and `merge`; `cuts` are where the parts begin. Raises `AssertionError`.
    """
    parts = [kind.of(part) for part in np.split(values, sorted(cuts))]
    merged = kind.empty()
    for part in reversed(parts):
        merged = merged.merge(part)
    whole = kind.of(values)
    for name, value in vars(whole).items():
        np.testing.assert_allclose(vars(merged)[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
        np.testing.assert_array_equal(vars(whole.merge(kind.empty()))[name], value, err_msg=name)
        np.testing.assert_array_equal(vars(kind.empty().merge(whole))[name], value, err_msg=name)


def check_rule(layer: nn.Module, x: torch.Tensor, gy: torch.Tensor | None = None, *, axis: int = 1) -> None:
    """Assert that the rule for `layer` gives the blocks of the definition, output channel by output channel.

    `x` is an input with samples in front, `gy` the gradient at the output, by default drawn from a normal distribution
    with seed 0; `axis` is that of the channels in both. The definition: with `gy` set to 0 except at output channel o,
    autograd's gradient at input channel i is the local gradient, and its norm the block. Checked to 1e-4 (float64:
    1e-8) of each block, or of 1e-9 of the sample's largest.

    Raises `AssertionError` naming the worst block.

    >>> check_rule(nn.Conv2d(2, 3, 3, padding=1), torch.ones(1, 2, 4, 4))
    """
    leaf = x.detach().clone().requires_grad_()
    y = layer(leaf)
    if gy is None:
        gy = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(y)
    found = blocks(layer, x, gy)
    wanted = torch.zeros_like(found)
    for o in range(y.shape[axis]):
        alone = torch.zeros_like(gy)
        alone.select(axis, o).copy_(gy.select(axis, o))
        (local,) = torch.autograd.grad(y, leaf, alone, retain_graph=True)
        wanted[:, o] = (
            local.double().movedim(axis, 1).flatten(2).norm(dim=2) if local.dim() > 2 else local.double().abs()
        )
    least = 1e-9 * wanted.amax((1, 2), keepdim=True)
    error = (found - wanted).abs() / torch.maximum(wanted, least).clamp(min=1e-300)
    worst = int(error.argmax())
    if not error.max() <= (1e-8 if x.dtype == torch.float64 else 1e-4):
        n, o, i = (int(one) for one in np.unravel_index(worst, tuple(error.shape)))
        told = f"is {found[n, o, i]:.6g}, by the definition {wanted[n, o, i]:.6g}"
        raise AssertionError(f"the rule for {type(layer).__name__}: block (n={n}, o={o}, i={i}) {told}")


def _compare(name: str, before: Any, after: Any) -> None:
    if isinstance(before, dict):
        for key in {**before, **after}:
            if key not in before or key not in after or not _same(before[key], after[key]):
                raise AssertionError(f"looking touched {name}: {key}")
    elif not _same(before, after):
        raise AssertionError(f"looking touched {name}")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        kinds = (a.dtype, a.shape, a.device) == (b.dtype, b.shape, b.device)
        return kinds and torch.equal(_bits(a), _bits(b))
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """View a tensor as bytes, so that NaN equals NaN and -0 differs from 0."""
    plain = tensor.detach().cpu().contiguous()
    return plain.view(torch.uint8) if plain.dim() else plain.reshape(1).view(torch.uint8)


def _state(model: nn.Module) -> dict[str, Any]:
    values = {**model.state_dict(), **dict(model.named_buffers())}
    return {name: value.clone() for name, value in values.items() if isinstance(value, torch.Tensor)}


def _gradients(model: nn.Module) -> dict[str, Any]:
    return {
        name: (p.requires_grad, None if p.grad is None else (id(p.grad), p.grad.clone()))
        for name, p in model.named_parameters()
    }


def _hooks(model: nn.Module) -> dict[str, Any]:
    return {
        f"{name}.{attribute}": list(value)
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if attribute.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called"))
    }


def _attributes(model: nn.Module) -> dict[str, Any]:
    modules = {name: sorted(vars(module)) for name, module in model.named_modules()}
    parameters = {name: sorted(vars(p)) for name, p in model.named_parameters()}
    leaves = {name: list(p._backward_hooks or ()) for name, p in model.named_parameters()}
    return {"modules": modules, "parameters": parameters, "parameter hooks": leaves}


def _switches(model: nn.Module) -> dict[str, Any]:
    return {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "attention fast path": torch.backends.mha.get_fastpath_enabled(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "autocast": [torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")],
    }


_LOOKS: dict[str, Callable[[nn.Module], Any]] = {
    "the state": _state,
    "the training flags": lambda model: {name: module.training for name, module in model.named_modules()},
    "the gradients": _gradients,
    "the hooks": _hooks,
    "the attributes": _attributes,
    "torch's random generator": lambda model: torch.get_rng_state(),
    "numpy's random generator": lambda model: np.random.get_state(legacy=True),
    "Python's random generator": lambda model: random.getstate(),
    "the switches of torch": _switches,
}
