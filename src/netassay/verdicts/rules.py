"""Rules for trainings, one table: what a rule is called, needs and finds, where its line is and why, what to do next.

Causes come before what they lead to, forward before backward before updates: among findings, the first row that
applies stands first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from netassay.flow import Readings
from netassay.verdicts import passing, signalling, updating
from netassay.verdicts import thresholds as at
from netassay.verdicts.evidence import Found

Needs = Literal["calls", "updates", "channels", "told"]


@dataclass(frozen=True)
class Rule:
    """A row: `find` looks at readings that have what it `needs`; the rest is what a verdict says of it."""

    name: str
    needs: Needs
    find: Callable[[Readings], Iterable[Found]]
    threshold: str
    source: str
    wrong_if: str
    next: str


NOT_FINITE = Rule(
    "not finite",
    "calls",
    lambda readings: (),
    "any NaN or Inf; the first tensor in the order in which a step makes them",
    "Amazon SageMaker Debugger, rule ExplodingTensor; the order: netassay",
    "never where every step was read; else the first bad step may lie before",
    "look at the size of the layer's input and weights in the steps before; lower the rate, or clip",
)
"""Not in the table: it is looked for first, and what comes after it is judged by the steps before it."""

RULES: tuple[Rule, ...] = (
    Rule(
        "forgotten parameters",
        "updates",
        updating.forgotten,
        "requires_grad, and in no optimizer that is watched",
        "netassay",
        "another optimizer, not watched, has them",
        "give the optimizer all of model.parameters(), or set requires_grad to False",
    ),
    Rule(
        "unused parameters",
        "updates",
        updating.unused,
        "grad is None at every step of the optimizer",
        "torch.autograd: None is not 0",
        "the steps that were read are not those that use them",
        "look for a detach(), torch.no_grad(), or an output that nobody takes",
    ),
    Rule(
        "weights stay zero",
        "updates",
        updating.unmoved,
        "exactly 0 at the first step read and in the latest",
        "netassay",
        "the layer is closed on purpose",
        "start one side of a product of weights at other than 0",
    ),
    Rule(
        "symmetry not broken",
        "updates",
        updating.symmetric,
        f"copies are {at.SYMMETRIC:g} of the channels or more",
        "Goodfellow et al. 2016, Deep Learning, 8.4",
        "the layer behind tells the channels apart by random weights of its own",
        "initialise the weights at random",
    ),
    Rule(
        "saturated",
        "calls",
        signalling.saturated,
        f"slope below 0.05 at more than {at.SATURATED:g} of the entries",
        "netassay; after DeepDiagnosis (Wardat et al. 2022), more than half of a layer's units",
        "the layer is a gate or a switch, which is meant to be open or shut",
        "make weights or inputs smaller, or put a norm before it",
    ),
    Rule(
        "vanishing gradient",
        "calls",
        passing.vanishing,
        f"chi's band below 1 and attenuation above {at.ATTENUATION:g}",
        "1e3: AutoTrainer (Zhang et al. 2021); chi: Schoenholz et al. 2017; band: netassay",
        "the rate of each layer is set to make up for it",
        "initialise for the activation (He for ReLU), add skips or norms; compare with prescribe()",
    ),
    Rule(
        "dead channels",
        "channels",
        signalling.dead,
        f"more than {at.DEAD_SOME:g} of a layer's channels; a finding from {at.DEAD_BORN:g} on where they began dead,"
        f" from {at.DEAD_MADE:g} on where they died, in {at.DEAD_SAMPLES} samples or more, the layer's input varying",
        "rule of three: Hanley & Lippman-Hand 1983; the shares: netassay, on healthy trainings",
        "the samples are not those the network is for",
        "look at the bias and the norm's gain of these channels, at the rate, and at the size of the layer's input",
    ),
    Rule(
        "input dependence lost",
        "calls",
        signalling.independent,
        f"variance across samples at most {at.DEPENDENCE:g} of the mean square, up to the output",
        "netassay; Schoenholz et al. 2017 on correlations of inputs",
        "the samples of a step are alike",
        "look at the weights' size beside the biases', and at what the layer before puts out",
    ),
    Rule(
        "zero gradient",
        "calls",
        passing.zero,
        "every entry exactly 0 in the latest steps, and not at the next call",
        "netassay; TorchAudit counts 1e-24 as exactly 0",
        "a branch is closed on purpose",
        "look at the layer named behind it: its bias, its weights, its input's size",
    ),
    Rule(
        "exploding gradient",
        "calls",
        passing.exploding,
        f"chi's band above 1 and attenuation below {1 / at.ATTENUATION:g}",
        "1e3: AutoTrainer (Zhang et al. 2021); chi: Schoenholz et al. 2017; band: netassay",
        "the rate of each layer is set to make up for it",
        "make the initial weights smaller, add norms, or clip; compare with prescribe()",
    ),
    Rule(
        "underflow",
        "calls",
        passing.underflow,
        f"more than {at.SUBNORMAL:g} of the entries that are not 0 are subnormal in their dtype",
        "Micikevicius et al. 2018 (arXiv 1710.03740), loss scaling",
        "the number format keeps subnormal numbers exactly enough",
        "use a GradScaler, bfloat16 or float32",
    ),
    Rule(
        "epsilon swallows the update",
        "updates",
        updating.swallowed,
        f"Adam's sqrt(v) / (sqrt(v) + eps) below {at.ADAM:g} in both halves of the steps read",
        "Kingma & Ba 2015; Wortsman et al. 2023 (arXiv 2309.14322)",
        "epsilon is large on purpose, and the rate with it",
        "make epsilon smaller, or the loss larger",
    ),
    Rule(
        "lost update",
        "updates",
        updating.lost,
        f"more than {at.LOST:g} of the entries with gradient unchanged, in both halves of the steps read",
        "rounding to nearest: half a unit in the last place, 2**-9 of a weight in bfloat16",
        "the optimizer keeps weights of its own in float32",
        "keep the weights in float32 (autocast), or round at random",
    ),
    Rule(
        "update ratio",
        "updates",
        updating.ratio,
        f"update over weight below {at.RATIO_LOW:g}, or above {at.RATIO_HIGH:g} while the loss does not fall, or above"
        f" {at.RATIO_WILD:g}, in both halves of the steps read",
        "TheDeepChecker (1e-4, 1e-1); SageMaker WeightUpdateRatio (1e-8, 10); CS231n: about 1e-3",
        "the matrix is tiny, or a schedule of rates is only at its beginning",
        "change the learning rate by the factor that is missing",
    ),
    Rule(
        "steps skipped",
        "told",
        updating.skipped,
        f"more than {at.SKIPPED:g} of the steps after the first {at.SETTLING}",
        "netassay; torch.amp.GradScaler",
        "only the first steps were watched",
        "look for what is not finite in the backward pass; use bfloat16",
    ),
    Rule(
        "constant channels",
        "channels",
        partial(signalling.monotonous, "constant"),
        "more than a quarter of the channels",
        "netassay",
        "the samples do not vary in what this layer looks at",
        "look at the size of the layer's input and at its bias",
    ),
    Rule(
        "saturated channels",
        "channels",
        partial(signalling.monotonous, "saturated"),
        "more than a quarter of the channels",
        "netassay; after DeepDiagnosis (Wardat et al. 2022)",
        "the samples do not vary in what this layer looks at",
        "look at the size of the layer's input and at its bias",
    ),
)
