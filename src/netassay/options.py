"""Options: what several commands of the shell share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from torch import nn

from netassay.errors import BadInput
from netassay.store import vacant
from netassay.zoo import build, placed

FailOn = Literal["finding", "warning"] | None
# Several values may follow one option: --input-size 1 3 32 32.
Numbers = Annotated[tuple[int, ...], Parameter(consume_multiple=True)]
Patterns = Annotated[tuple[str, ...], Parameter(consume_multiple=True)]
OF_WHAT = (
    "What is differentiated: cross_entropy, mse, true_logit, true_score, predicted_logit, entropy, module:function."
)
Differentiated = Annotated[str, Parameter(help=OF_WHAT)]
AtOnce = Annotated[int, Parameter(help="Samples to run at once.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Shown:
    """How the outcome is shown, and what the exit code says.

    Parameters
    ----------
    json
        One JSON document on standard output.
    csv
        The main table as CSV on standard output.
    fail_on
        Exit with 1 if there is a verdict of this severity or a worse one.
    out
        Folder in which to keep a run with its page.
    """

    json: Annotated[bool, Parameter(negative="")] = False
    csv: Annotated[bool, Parameter(negative="")] = False
    fail_on: FailOn = None
    out: Path | None = None

    def check(self) -> None:
        """Refuse what could not be shown, before anything is measured."""
        if self.json and self.csv:
            raise BadInput("--json with --csv", "one standard output for two formats", "ask for one, and run twice")
        if self.out is not None:
            vacant(self.out)


@Parameter(name="*")
@dataclass(frozen=True)
class Made:
    """The model: how it is made.

    Parameters
    ----------
    weights
        File with weights: .safetensors, or what torch.load reads without running code.
    seed
        Seed of everything that is drawn.
    device
        Where to run, e.g. cuda.
    """

    weights: Path | None = None
    seed: int = 0
    device: str | None = None

    def model(self, spec: str) -> nn.Module:
        """Build the model of a spec."""
        return placed(build(spec, weights=self.weights, seed=self.seed), self.device)


SHOWN, MADE = Shown(), Made()
