"""Step: what a rule of the tape is given of one call, and what it says about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor


class Field(NamedTuple):
    """A signal in the mean: second moment of an entry, product of two samples' entries, and mean of an entry."""

    q: float = math.nan
    p: float = math.nan
    m: float = math.nan

    @property
    def c(self) -> float:
        """The correlation of two samples, about 0."""
        return self.p / self.q if self.q else math.nan

    def scaled(self, square: float, mean: float | None = None) -> Field:
        """Multiply by a constant, given by its mean square and its mean."""
        return Field(self.q * square, self.p * square, self.m * (math.sqrt(square) if mean is None else mean))

    def plus(self, other: Field, factor: float = 1.0) -> Field:
        """Add `factor` times an independent signal."""
        both = 2 * factor * self.m * other.m
        square = factor**2
        return Field(self.q + square * other.q + both, self.p + square * other.p + both, self.m + factor * other.m)


@dataclass(frozen=True)
class Made:
    """What a call makes: a field (None: to be measured; p NaN: its correlation is), and how gradient goes back.

    `gains` hold for each tensor given the factor from the second moment of the gradient at the output to what comes
    to that tensor; NaN where it is not known. `slope` is the part of it that is the call's own, without counts of
    entries. `linear`: a product with weights, of variance times fan-in `sigma_w2`.
    """

    field: Field | None
    gains: tuple[float, ...] = ()
    slope: float = 1.0
    linear: bool = False
    sigma_w2: float = math.nan
    measured: bool = False
    note: str = ""

    def measured_as(self, there: Field) -> Made:
        """Take the field as it was measured."""
        return replace(self, field=there, measured=True)

    def correlated_as(self, there: Field) -> Made:
        """Take the correlation as it was measured, and keep what is known of the size."""
        assert self.field is not None
        return replace(self, field=self.field._replace(p=there.c * self.field.q))


@dataclass(frozen=True)
class Step:
    """One call of a function of torch: arguments, one output, and the tensors given that vary, with what is known.

    `independent`: no two of those vary with the same weights; `same`: all are one tensor.
    """

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Tensor
    given: tuple[Tensor, ...]
    made: tuple[Made, ...]
    names: tuple[str, ...]
    independent: bool
    same: bool

    @property
    def name(self) -> str:
        """The function's name, without what marks it as in place or as a method."""
        name = str(getattr(self.func, "__name__", "") or type(self.func).__name__)
        return name if name.startswith("__") and name != "__rsub__" else name.strip("_")

    @property
    def field(self) -> Field:
        """What is known of the first tensor given."""
        known = self.made[0].field
        assert known is not None
        return known

    @property
    def fields(self) -> list[Field]:
        """What is known of every tensor given."""
        return [made.field for made in self.made if made.field is not None]

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """Return an argument that may be given by place or by name."""
        return self.args[place] if place < len(self.args) else self.kwargs.get(name, default)

    def share(self, i: int = 0) -> float:
        """Return entries of the output for each entry of a tensor given."""
        return self.out.numel() / max(self.given[i].numel(), 1)


def moment(value: Any) -> Field:
    """Return the field of a constant, a number or a tensor: all samples have the same."""
    if isinstance(value, Tensor):
        values = value.detach().double()
        square = float(values.square().mean())
        return Field(square, square, float(values.mean()))
    return Field(float(value) ** 2, float(value) ** 2, float(value))


def unknown(step: Step) -> Made:
    """Know nothing: the signal is measured, and the gradient is where it is next seen."""
    return Made(None, (math.nan,) * len(step.given), slope=math.nan)
