"""Gradient flow: its law and verdicts, which switch it is, what helps, and what two runs differ in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netassay.figures import figures
from netassay.report.sections.section import Section, notes, of_study, when
from netassay.result import Result, Verdict
from netassay.store import Run


def flow(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell how gradient flows through a network, as it stands or while it trains."""
    named = of_study(results, "flow")
    if not named:
        return None
    last = list(named.values())[-1]
    return Section(
        key="flow",
        title="Gradient flow",
        lead=_lead(last),
        verdicts=_verdicts(named),
        notes=notes(named),
        figures=tuple(sorted(figures(named), key=lambda one: one.name != "law_start")),
        tables={
            when(told, name): one.tables[table]
            for table, told in SHOWN.items()
            for name, one in named.items()
            if len(one.tables.get(table, ()))
        },
        definitions=FLOW_WORDS,
    )


def _verdicts(named: Mapping[str, Result]) -> tuple[Verdict, ...]:
    """Return what is wrong now, each once: of the start only where there is nothing later."""
    later = [one for when, one in named.items() if when != "start" or len(named) == 1]
    return tuple({(said.rule, said.layer): said for one in later for said in one.verdicts}.values())


SHOWN = {
    "law": "law",
    "layers": "layers",
    "parameters": "parameters",
    "norms": "norms of whole batches",
    "channels": "channels",
    "dismissed": "considered and dismissed",
}
"""Tables under the figures, and what they are called there."""


def _lead(result: Result) -> str:
    """Say what was read."""
    told, steps = result.provenance, len(result.tables["steps"])
    assumed = dict(told.get("assumed", {}))
    where = f" of {told['model']} on {told['data']}" if {"model", "data"} <= set(told) else ""
    what = f"What each layer's output and gradient were in {steps:,} steps or batches that were read{where}."
    if not assumed:
        return what
    scaler = f"a {assumed['scaler']}, whose scale is divided out" if assumed.get("scaler") else "no gradient scaler"
    return f"{what} Taken for granted: the loss is a {assumed.get('reduction')} over samples, under {scaler}."


FLOW_WORDS = {
    "gradient of a layer": "The root of the mean over samples of the squared norm of the gradient of each sample's own "
    "loss at the layer's output; neither the size of the batch nor a loss scale changes it.",
    "chi": "The factor of the squared gradient from one layer to the one before it, towards the input: 1 keeps it, "
    "less vanishes, more explodes (Schoenholz et al. 2017, arXiv 1611.01232). Fitted to the logarithm against depth.",
    "attenuation": "The gradient at the output end of the fit over that at the input end, chi^(-D/2) over D layers: "
    "above 1 it vanishes.",
    "mean-field prediction": "What theory expects of chi in wide layers for the initialisation and activation found.",
    "update ratio": "Norm of what a step added to a parameter over the norm of the parameter.",
    "Adam's factor": "sqrt(v) / (sqrt(v) + eps), averaged over entries: 1 where the step is what Adam promises, near 0 "
    "where the gradient is so small that epsilon decides.",
    "lost update": "An entry whose gradient was not 0 and which the step left bit for bit as it was.",
    "considered and dismissed": "What looks like a fault and is none, such as a bias without gradient before a "
    "BatchNorm, and why.",
}


def switches(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell which switch of a network it is that makes gradient vanish, or keeps it from learning."""
    named = of_study(results, "flow_study")
    if not named:
        return None
    last = list(named.values())[-1]
    told = last.provenance
    what = f"{told['model']} on {told['data']}, every combination of {_listed(told.get('switches', {}))}, "
    return Section(
        key="switches",
        title="Which switch it is",
        lead=what + f"{len(told.get('seeds', ()))} seeds each.",
        claims=last.claims,
        notes=notes(named),
        figures=tuple(figures(named)),
        tables={name: last.tables[name] for name in ("effects", "cells", "runs") if name in last.tables},
        definitions=SWITCH_WORDS,
    )


def _listed(switches: Mapping[str, Any]) -> str:
    """List switches with their levels.

    >>> _listed({"skip": ["residual", "none"], "norm": ["batch", "none"]})
    'skip (residual, none) and norm (batch, none)'
    """
    *others, final = [f"{name} ({', '.join(map(str, levels))})" for name, levels in switches.items()] or ["switches"]
    return " and ".join(filter(None, (", ".join(others), final)))


def remedies(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell which remedies help, each tried on a copy."""
    named = of_study(results, "prescribe")
    if not named:
        return None
    last = list(named.values())[-1]
    return Section(
        key="remedies",
        title="What helps",
        lead="Every remedy was tried on a copy of the network: its law at the start, and the loss of its first steps. "
        "The network itself was not touched.",
        verdicts=last.verdicts,
        claims=last.claims,
        notes=notes(named),
        figures=tuple(figures(named)),
        tables={name: last.tables[name] for name in ("remedies", "before_after") if name in last.tables},
        definitions=REMEDY_WORDS,
    )


def comparison(run: Run, results: Mapping[str, Result]) -> Section | None:
    """Tell what two runs differ in."""
    named = of_study(results, "compare")
    if not named:
        return None
    last = list(named.values())[-1]
    return Section(
        key="comparison",
        title="What is different",
        lead=f"a: {last.provenance.get('a', '')}; b: {last.provenance.get('b', '')}. Findings are those of b "
        "that a has not.",
        verdicts=last.verdicts,
        claims=last.claims,
        notes=notes(named),
        figures=tuple(figures(named)),
        tables={name: last.tables[name] for name in COMPARED if len(last.tables.get(name, ()))},
        definitions=COMPARISON_WORDS,
    )


COMPARED = ("setup", "overview", "largest", "verdicts", "claims")
"""Tables of a comparison on the page; those of every number are in the run."""
SWITCH_WORDS = {
    "main effect": "What a level of a switch does, less its reference level, averaged over all levels of the others.",
    "interaction": "What changing several switches together does beyond what each does alone: a difference of "
    "differences.",
    "decades": "log10 of the attenuation at the start: 3 decades are a factor of 1000.",
    "learned": "Nats by which the loss of the last tenth of the steps lies below that of guessing, or 0.",
}
REMEDY_WORDS = {
    "remedy": "One change, tried on a copy: another initialisation, LSUV, input scaling, learning rate, Adam's "
    "epsilon, and for networks of the zoo normalisation and skips.",
    "fall of the loss": "Loss at the start less that at the end of the first steps.",
}
COMPARISON_WORDS = {
    "difference": "b less a, with its 95 % interval: from the limits of the two numbers, from replicates such as "
    "seeds, or from stretches of a series.",
    "size": "The difference over the reach of its interval towards 0: above 1 the interval excludes 0.",
}
