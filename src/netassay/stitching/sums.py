"""Sums: the normal equations of a sender and all receivers with the same positions, streamed, in float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from netassay.errors import BadInput, NoMatch, UnknownName
from netassay.stitching.forms import Arrange, Form, Shape, form, opened, rows

FOLDS = 3


@dataclass(frozen=True)
class Sums:
    """Sums over `n` rows x `(C,)` and y `(D,)` about their means: `xx` `(C, C)`, `xy` `(C, D)`, `yy` `(D,)`; float64.

    Source: Chan, Golub & LeVeque 1979, in its two-variable form (Pébay 2008, eq. 3.12).

    >>> x = torch.tensor([[0.0], [2.0], [7.0]])
    >>> Sums.of(x[:1], -x[:1]).merge(Sums.of(x[1:], -x[1:])).xy
    tensor([[-26.]], dtype=torch.float64)
    """

    n: int
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, *, gram: bool = True) -> Sums:
        """Take the sums of rows x `(M, C)` and y `(M, D)`; without `gram`, `xx` is 0."""
        x, y = x.double(), y.double()
        mean_x, mean_y = x.mean(0), y.mean(0)
        x, y = x - mean_x, y - mean_y
        xx = x.T @ x if gram else x.new_zeros(x.shape[1], x.shape[1])
        return cls(len(x), mean_x, mean_y, xx, x.T @ y, y.square().sum(0))

    def merge(self, other: Sums) -> Sums:
        """Join with further rows."""
        n = self.n + other.n
        weight = other.n / n
        x, y = self.x + weight * (other.x - self.x), self.y + weight * (other.y - self.y)
        a, b = self.about(x, y), other.about(x, y)
        return Sums(n, x, y, a.xx + b.xx, a.xy + b.xy, a.yy + b.yy)

    def about(self, x: Tensor, y: Tensor) -> Sums:
        """Return the sums about other centres."""
        gap_x, gap_y = self.x - x, self.y - y
        xx, xy = self.xx + self.n * torch.outer(gap_x, gap_x), self.xy + self.n * torch.outer(gap_x, gap_y)
        return Sums(self.n, x, y, xx, xy, self.yy + self.n * gap_y.square())

    def taking(self, columns: slice) -> Sums:
        """Return the sums of some of y's columns; those of x are shared."""
        return Sums(self.n, self.x, self.y[columns], self.xx, self.xy[:, columns], self.yy[columns])


class NormalEquations:
    """What closed-form matching needs to know of a sender and its receivers: sums, a set for each fold of samples.

    `sender` and the values of `receivers` are shapes without samples; all receivers have the same positions (see
    `Form.places`), so that the sender's positions are arranged, and its products with itself summed, once. Every
    position is a row; all rows of a sample are in one fold. `patches` as in `Arrange`, and as the adapter's recipe has
    it. `madds` counts multiply-adds. `grams` are those of other equations with the same sender, samples, positions and
    folds: they are not summed again.

    >>> equations = NormalEquations((3, 8, 8), {"conv1": (4, 4, 4), "conv2": (5, 4, 4)})
    >>> y = torch.randn(10, 3, 8, 8)
    >>> equations.add(y, {"conv1": torch.randn(10, 4, 4, 4), "conv2": torch.randn(10, 5, 4, 4)})
    >>> len(equations.of("conv2")), equations.of("conv2")[0].xy.shape
    (3, torch.Size([3, 5]))
    """

    def __init__(
        self, sender: Shape, receivers: Mapping[str, Shape], *, patches: bool = False, folds: int = FOLDS,
        grams: Iterable[Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.forms = {name: form(shape) for name, shape in receivers.items()}
        _same_places(self.forms)
        if folds < 1:
            raise BadInput(f"normal equations with folds={folds}", "nothing to sum in", f"folds={FOLDS}")
        ends = [0, *accumulate(at.channels for at in self.forms.values())]
        self.columns = {name: slice(*ends[i : i + 2]) for i, name in enumerate(self.forms)}
        self.arrange = Arrange(form(sender), next(iter(self.forms.values())), patches=patches)
        self.folds: list[Sums | None] = [None] * folds
        self.known = None if grams is None else tuple(grams)
        self.seen = 0
        self.madds = 0

    def add(self, sent: Tensor, expected: Mapping[str, Tensor]) -> None:
        """Add a batch: the sender's activations, and those of each receiver, of the same samples in the same order.

        A sample's fold is its number among all that were added, modulo the folds.
        """
        numbers = torch.arange(self.seen, self.seen + len(sent))
        x = _double(self.arrange(sent))
        y = torch.cat([_double(opened(expected[name], at)).flatten(2) for name, at in self.forms.items()], 1)
        for fold in range(len(self.folds)):
            chosen = torch.nonzero(numbers % len(self.folds) == fold)[:, 0].to(x.device)
            if len(chosen):
                sums, kept = Sums.of(rows(x[chosen]), rows(y[chosen]), gram=self.known is None), self.folds[fold]
                self.folds[fold] = sums if kept is None else kept.merge(sums)
                self.madds += sums.n * len(sums.x) * (len(sums.x) * (self.known is None) + len(sums.y))
        self.seen += len(sent)

    def of(self, name: str) -> tuple[Sums, ...]:
        """Return the sums of the sender and one receiver, by fold."""
        if name not in self.forms:
            raise UnknownName("receiver", name, self.forms)
        kept = tuple(sums.taking(self.columns[name]) for sums in self.folds if sums is not None)
        if not kept:
            raise NoMatch(f"a match to {name!r}", "no sample", "add activations first")
        return tuple(replace(sums, xx=xx) for sums, xx in zip(kept, self.grams, strict=True))

    @property
    def grams(self) -> tuple[Tensor, ...]:
        """Return the sender's products with itself about its means, `(C, C)`, for each fold that has samples."""
        if self.known is not None:
            return self.known
        return tuple(sums.xx for sums in self.folds if sums is not None)


def _double(x: Tensor) -> Tensor:
    # Not every device has float64.
    return (x.cpu() if x.device.type == "mps" else x).detach().double()


def _same_places(forms: Mapping[str, Form]) -> None:
    if not forms:
        raise BadInput("normal equations", "no receiver", "give one shape at least")
    first, *others = forms.items()
    for name, at in others:
        if at.places != first[1].places:
            found = f"{first[0]!r} is {first[1]}, {name!r} is {at}"
            raise BadInput("receivers that share a sum", found, "sum those with other positions by themselves")
