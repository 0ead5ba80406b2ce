"""Gram: inner products of what a kernel's taps make of an output gradient, for each sample and output channel."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from netassay.rules.taps import Axis, Copies, Plan

LONGEST = 1 << 14
"""Positions that are summed in the gradient's own precision; what these sums add up to is float64."""
WORKING = 1 << 19
"""Entries of copies that are worked on at a time: they stay in a processor's cache."""


ABROAD = 1 << 8
"""How many times as much is worked on at a time elsewhere than on a CPU, where it is the launches that cost."""


def gram(gy: Tensor, plan: Plan) -> Tensor:
    """Return `<U_a, U_b>` for the pairs of `plan`, twice that where a is not b: `(B, pairs)` for `gy` `(B, *space)`.

    `U_a` is the gradient as tap a places it on the layer's input, cropped there. With w the kernel in the plan's order,
    the sum over pairs of the product and `w_a w_b` is the squared norm of the local gradient (twice off the diagonal,
    since a pair stands for both orders).
    """
    if not len(gy):
        return gy.new_zeros(0, len(plan.terms))
    spaces = [space(gy, family) for family in plan.families]
    step = min(len(gy), max(1, WORKING // max(1, *map(prod, spaces))) * (1 if gy.device.type == "cpu" else ABROAD))
    # What no entry reaches stays zero, so that one piece of memory serves every part.
    memory = [gy.new_zeros(step, *one) for one in spaces]
    longest = max([0, *((run.stop - run.start) * prod(spaces[family][2:]) for family, run in plan.products)])
    dtype = torch.float64 if longest > LONGEST else gy.dtype
    made = gy.new_zeros(len(gy), len(plan.terms), dtype=dtype)
    places = _chosen(plan, gy.device, dtype)
    for part, out in zip(torch.split(gy, step), torch.split(made, step), strict=True):
        copies = [copy_into(one[: len(part)], part, family) for one, family in zip(memory, plan.families, strict=True)]
        for (family, run), chosen in zip(plan.products, places, strict=True):
            one = copies[family]
            rows = max(1, LONGEST // max(1, prod(one.shape[3:])))
            for start in range(run.start, run.stop, rows):
                stop = min(run.stop, start + rows)
                left, right = (one[:, :, start + lag : stop + lag].flatten(2) for lag in (0, run.lag))
                # As a product with ones and twos in their places, which beats gathering a few columns of short rows.
                out.addmm_(torch.bmm(left, right.mT).flatten(1).to(dtype), chosen)
    return made.to(gy.dtype)


def space(gy: Tensor, family: tuple[Copies, ...]) -> tuple[int, ...]:
    """Return the shape of a family's copies: copies, rows, lengths. The axes that it does not speak of are rows."""
    lengths = [length for length, *_ in family[0]]
    return len(family), prod(gy.shape[1 : gy.dim() - len(lengths)]), *lengths


def copy_into(memory: Tensor, gy: Tensor, family: tuple[Copies, ...]) -> Tensor:
    """Copy `gy` `(B, *axes)` as each member of a family asks, into `memory` `(B, copies, rows, *lengths)`."""
    gy = gy.reshape(len(gy), memory.shape[2], *gy.shape[gy.dim() - len(family[0]) :])
    for i, copies in enumerate(family):
        cuts = [_cut(copy, gy.shape[2 + axis]) for axis, copy in enumerate(copies)]
        into = memory[:, i][:, :, *(one for one, _ in cuts)]
        into.copy_(gy[:, :, *(one for _, one in cuts)])
    return memory


def reached(gy: Tensor, axes: tuple[Axis, ...]) -> Tensor:
    """Return `gy` `(N, C, *space)` without what no tap puts on the input: it must not set the scale."""
    for at, axis in enumerate(axes):
        keep = _reached(axis)
        if not all(keep):
            mask = torch.tensor(keep, device=gy.device).view(-1, *(1 for _ in axes[at + 1 :]))
            gy = torch.where(mask, gy, torch.zeros((), dtype=gy.dtype, device=gy.device))
    return gy


@lru_cache(maxsize=1024)
def _reached(axis: Axis) -> tuple[bool, ...]:
    """Tell which entries of the gradient some tap puts on the input."""
    cuts = [_cut(tap.copy, axis.source)[1] for tap in axis.taps]
    entries = {r for cut in cuts for r in range(cut.start, cut.stop, cut.step)}
    return tuple(r in entries for r in range(axis.source))


def _cut(copy: tuple[int, int, int, int], source: int) -> tuple[slice, slice]:
    """Return what is written of a copy, and what of the gradient is written there."""
    length, first, step, shift = copy
    entries = max(0, -(-(source - first) // step))
    start = max(0, shift)
    stop = max(start, min(length, shift + entries))
    begin = first + (start - shift) * step
    return slice(start, stop), slice(begin, begin + (stop - start) * step, step)


@lru_cache(maxsize=256)
def _chosen(plan: Plan, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return for each product of copies which of its entries is which pair, `(copies^2, pairs)`: once, or twice."""
    pairs = [(a, b) for a, end in enumerate(plan.ends) for b in range(a, end)]
    made = {one: torch.zeros(len(plan.families[one[0]]) ** 2, len(pairs), dtype=dtype) for one in plan.products}
    for column, ((a, b), term) in enumerate(zip(pairs, plan.terms, strict=True)):
        if term is not None:
            row = term.left * len(plan.families[term.family]) + term.right
            made[term.family, term.run][row, column] = 1.0 if a == b else 2.0
    return tuple(one.to(device) for one in made.values())
