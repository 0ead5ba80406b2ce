"""Tape: one forward pass, written down call by call, with a prediction of what each call makes of the signal.

Every function that torch is asked for goes by a `TorchFunctionMode`; `tape_rules` says what each does to a `Field`.
Where no rule fits, the field is measured: the prediction is anchored there anew, and the tape says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from netassay.studies.directions import field_of
from netassay.studies.tape_rules import RULES
from netassay.studies.tape_step import Field, Made, Step, unknown

CONSTANT, UNSEEN = -1, -2
HIDDEN = "what torch functions do not show"


@dataclass(frozen=True)
class Node:
    """A tensor that was made: by what, what is predicted of it, and how gradient goes from it to what it was made of.

    `sources` are nodes, each with the factor from this node's gradient second moment to what comes to that one;
    `roots` the linear layers and measurements that the tensor varies with; `slope` what activations and norms since
    the last linear layer do to a gradient; `loose` whether something since then was measured.
    """

    name: str
    made: Made
    sources: tuple[tuple[int, float], ...] = ()
    roots: frozenset[int] = frozenset()
    slope: float = 1.0
    loose: bool = False


class Tape(TorchFunctionMode):
    """The nodes of a pass over `samples` samples, in order; `model` tells constants from what was made out of sight.

    `anchors` and `correlations` count, by function, the calls after which the signal, or its correlation alone, was
    measured; `notes` is what rules had to say.
    """

    def __init__(self, model: nn.Module, samples: int) -> None:
        super().__init__()
        self.samples = samples
        self.nodes: list[Node] = []
        self.anchors: Counter[str] = Counter()
        self.correlations: Counter[str] = Counter()
        self.notes: dict[int, str] = {}
        # By identity and weakly: activations are let go when the model lets go of them.
        self.places: Any = WeakIdKeyDictionary()
        for constant in (*model.parameters(), *model.buffers()):
            self._put(constant, CONSTANT)

    def begin(self, x: Tensor) -> None:
        """Write down the input, which is given and not predicted."""
        self._add(x, Node("input", Made(field_of(x, self.samples), measured=True), roots=frozenset([0])))

    def at(self, tensor: Tensor) -> int:
        """Return the node of a tensor, that of what it was detached from; below 0 where there is none."""
        place = self._place(tensor)
        while place >= 0 and self.nodes[place].name == "detach":
            place = self.nodes[place].sources[0][0]
        return place

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function, and write down what it made."""
        kwargs = kwargs or {}
        # Before the call, which may write to what it is given. What it writes to beside its output is known by its
        # version when it is next read.
        given = [(one, self._place(one)) for one in _tensors((args, kwargs))]
        out = func(*args, **kwargs)
        varying = [(one, place) for one, place in given if place != CONSTANT and _counts(one, place)]
        fresh = str(getattr(func, "__name__", ""))
        for made in _tensors(out):
            if varying and not (fresh.endswith("_like") or fresh.startswith("new_")):
                self._write(func, args, kwargs, made, varying)
            else:
                self._put(made, CONSTANT)
        return out

    def _write(self, func: Any, args: Any, kwargs: Any, out: Tensor, varying: list[tuple[Tensor, int]]) -> None:
        places = [self._resolved(one, out) if place == UNSEEN else place for one, place in varying]
        sources = [self.nodes[place] for place in places]
        roots = [source.roots for source in sources]
        together = frozenset[int]().union(*roots)
        step = Step(
            func,
            args,
            kwargs,
            out,
            tuple(one for one, _ in varying),
            tuple(source.made for source in sources),
            tuple(source.name for source in sources),
            independent=len(together) == sum(map(len, roots)),
            same=len(set(places)) == 1,
        )
        made = self._known(step)
        index = len(self.nodes)
        if made.note:
            self.notes[index] = made.note
        node = Node(
            step.name,
            made,
            tuple(zip(places, made.gains, strict=True)),
            roots=frozenset([index]) if made.linear else together | ({index} if made.measured else set()),
            slope=1.0 if made.linear else made.slope * (sources[0].slope if len(set(places)) == 1 else math.nan),
            loose=made.measured or any(source.loose and not source.made.linear for source in sources),
        )
        self._add(out, node)

    def _known(self, step: Step) -> Made:
        made: Made = unknown(step)
        if not step.out.is_floating_point():
            return made.measured_as(Field())
        # A rule may meet arguments that it does not know; then the signal is measured.
        with suppress(Exception):
            ruled = RULES.get(step.name, unknown)(step)
            made = ruled if len(ruled.gains) == len(step.given) else made
        if made.field is None or math.isnan(made.field.q):
            self.anchors[step.name] += 1
            return made.measured_as(field_of(step.out, self.samples))
        if math.isnan(made.field.p):
            self.correlations[step.name] += 1
            return made.correlated_as(field_of(step.out, self.samples))
        return made

    def _resolved(self, tensor: Tensor, out: Tensor) -> int:
        """Measure what no function that was seen made, or what was written to since."""
        place = self._place(tensor)
        if place >= 0 and tensor is not out:
            return place
        # What the call has just overwritten cannot be measured any more.
        there = Field() if tensor is out else field_of(tensor, self.samples)
        self.anchors[HIDDEN] += 1
        self._add(tensor, Node(HIDDEN, Made(there, measured=True), roots=frozenset([len(self.nodes)]), loose=True))
        return len(self.nodes) - 1

    def _add(self, tensor: Tensor, node: Node) -> None:
        self.nodes.append(node)
        self._put(tensor, len(self.nodes) - 1)

    def _put(self, tensor: Tensor, place: int) -> None:
        self.places[tensor] = place, _version(tensor)

    def _place(self, tensor: Tensor) -> int:
        place, version = self.places.get(tensor, (UNSEEN, 0))
        return place if version == _version(tensor) else UNSEEN

    def backward(self, ends: Iterable[int], layers: Mapping[int, float]) -> dict[int, tuple[float, bool]]:
        """Predict the gradient's second moment at each of `layers`, from the outputs `ends` back to the input.

        `layers` holds what was measured at each. Returns what is predicted, and whether it is what was measured: where
        the objective, or a call without a rule, lies between a layer and those after it.
        """
        arriving = dict.fromkeys(ends, math.nan)
        found: dict[int, tuple[float, bool]] = {}
        for i in range(len(self.nodes) - 1, -1, -1):
            here = arriving.get(i, math.nan if i in layers else None)
            if here is None:
                continue
            if i in layers:
                found[i] = (layers[i], True) if math.isnan(here) else (here, False)
                here = found[i][0]
            for source, gain in self.nodes[i].sources:
                if gain != 0:
                    arriving[source] = arriving.get(source, 0.0) + gain * here
        return found


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _counts(tensor: Tensor, place: int) -> bool:
    """Tell whether a tensor carries signal: a floating one, or integers that came from the input."""
    return place >= 0 or tensor.is_floating_point()


def _version(tensor: Tensor) -> int:
    try:
        return tensor._version
    except RuntimeError:  # inference tensors have none
        return 0
