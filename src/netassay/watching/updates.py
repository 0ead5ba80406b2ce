"""Updates: what the optimizers' steps do to the parameters, on the steps that are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netassay.flow import UPDATES
from netassay.hooks import at_steps
from netassay.watching.parameters import listed, renew
from netassay.watching.steps import NUMBERS, Step
from netassay.watching.together import together

SHARED = ("gradient_zero", "gradient_subnormal", "gradient_nan", "gradient_inf", "weight_nan", "weight_inf")


class Updates:
    """Reads each parameter before and after the step of its optimizer, while `on`; `take` hands the step over.

    Gradients are read after the step, as the optimizer met them: clipped, accumulated, and unscaled, since fused
    optimizers that do that themselves write it back. `began(number)` and `ended(number)` are
    called around the step of an optimizer, read or not.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        guard: Callable[..., None],
        began: Callable[[int], object] = lambda number: None,
        ended: Callable[[int], object] = lambda number: None,
    ) -> None:
        self.optimizers, self.guard, self.began, self.ended = list(optimizers), guard, began, ended
        self.model, self.parameters = model, listed(model, self.optimizers)
        self.on, self._begun = True, False
        self._handles: list[Any] = []
        self._before: dict[int, Tensor] = {}
        self._rows: dict[int, Tensor] = {}
        self._rates: dict[int, float] = {}

    def open(self) -> None:
        """Register the hooks."""
        for number, optimizer in enumerate(self.optimizers):
            self._handles += at_steps(optimizer, number, self)

    def close(self) -> None:
        """Remove the hooks."""
        while self._handles:
            self._handles.pop().remove()
        self.drop()

    def before(self, number: int) -> None:
        """Keep what the step will overwrite; before the first, what is only true at the start."""
        self.began(number)
        if self.on:
            self.guard("parameters", renew, self.parameters, self.model, self.optimizers)
        if not self._begun:
            self._begun = True
            self.guard("parameters", self.facts)
        for i in self._mine(number) if self.on else ():
            self.guard(self.parameters[i].name, self._keep, i)

    def after(self, number: int) -> None:
        """Read what the step did."""
        if self.on:
            optimizer = self.optimizers[number]
            groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
            steps: dict[int, Step] = {}
            for i in self._mine(number):
                self.guard(self.parameters[i].name, self._made, i, optimizer, groups, steps)
            self.guard("small parameters", self._together, steps)
            for i, one in steps.items():
                self.guard(self.parameters[i].name, self._read, i, one)
        self.ended(number)

    def _mine(self, number: int) -> list[int]:
        return [i for i, one in enumerate(self.parameters) if one.optimizer == number]

    def _keep(self, i: int) -> None:
        self._before[i] = self.parameters[i].tensor.detach().clone()

    def _made(
        self, i: int, optimizer: torch.optim.Optimizer, groups: Mapping[int, Any], steps: dict[int, Step]
    ) -> None:
        before = self._before.pop(i, None)
        if before is None:
            return
        one = self.parameters[i]
        group = groups[id(one.tensor)]
        steps[i] = Step(one.tensor, before, one.tensor.grad, group, optimizer)
        self._rates[i] = float(group["lr"]) if "lr" in group else float("nan")

    def _together(self, steps: dict[int, Step]) -> None:
        """Read the small ones, and leave the others; where that fails, all are left."""
        few = {i: one for i, one in steps.items() if one.small}
        if few:
            self._rows |= zip(few, together(list(few.values())), strict=True)
        for i in few:
            del steps[i]

    def _read(self, i: int, step: Step) -> None:
        self._rows[i] = step.numbers()

    def take(self) -> dict[str, np.ndarray]:
        """Return `UPDATES` of the last step, `(P,)`, and forget them; one transfer from the device."""
        told = {name: np.full(len(self.parameters), np.nan) for name in NUMBERS}
        if self._rows:
            rows = torch.stack([row.to(next(iter(self._rows.values())).device) for row in self._rows.values()])
            for name, column in zip(NUMBERS, rows.cpu().numpy().T, strict=True):
                told[name][list(self._rows)] = column
        rates = np.full(len(self.parameters), np.nan)
        rates[list(self._rates)] = list(self._rates.values())
        self.drop()
        return _updates(told, np.array([one.size for one in self.parameters], dtype=float), rates)

    def drop(self) -> None:
        """Forget what was read since the last `take`."""
        self._before.clear()
        self._rows.clear()
        self._rates.clear()

    def facts(self) -> dict[str, np.ndarray]:
        """Return the facts of every parameter, each `(P,)`; see `Readings`."""
        rows = [one.facts() for one in self.parameters]
        return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else {})}


def _updates(told: dict[str, np.ndarray], sizes: np.ndarray, rates: np.ndarray) -> dict[str, np.ndarray]:
    with np.errstate(invalid="ignore", divide="ignore"):
        norms = {"gradient": "gradient_squares", "weight": "weight_squares", "update": "update_squares"}
        out = {name: np.sqrt(told[squares]) for name, squares in norms.items()}
        out |= {name: told[name] for name in SHARED}
        out |= {"unchanged": told["unchanged"] / sizes, "lost": told["lost"] / sizes, "adam": told["adam"]}
        out |= {"radial": told["product"] / (out["gradient"] * out["weight"]), "state_nan": told["state_nan"]}
    return {name: {**out, "rate": rates}[name] for name in UPDATES}
