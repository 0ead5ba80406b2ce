"""What a bench is worth: false alarms of healthy nets, what was found of the sabotaged ones, by kind, one by one."""

from __future__ import annotations

import re

PROMISED = {"found": 0.95, "layer": 0.90, "cause": 0.85}
FALL, HITS, SILENT = 0.8, 0.4, 0.5
"""A healthy net must bring its loss below this share of the start, its accuracy above this (chance: 0.1 or 0.2), and
keep the share of silent channels of every ReLU layer below this."""
OF_PARAMETER = re.compile(r"(#\d+|\.(in_proj_)?(weight|bias)(_\w+)?)$")


def alarms(net, severities=("finding", "warning")):
    return [verdict for verdict in net["verdicts"] if verdict[0] in severities]


def learned(net):
    """Say whether a net that was drawn as healthy is: it learns, and no layer has lost half of its channels."""
    return net["fell"] < FALL and not net["accuracy"] < HITS and not net["silent"] >= SILENT


def place(name):
    return OF_PARAMETER.sub("", name)


def right_layer(net, verdict):
    return place(verdict[2]) in net["layers"]


def right_cause(net, verdict):
    return verdict[1] in net["rules"]


def marks(net):
    """Say of a sabotaged net what was right: found; layer and cause by the first verdict and by any. None: no place."""
    said = alarms(net)
    marks = {"found": bool(said)}
    for name, right in (("layer", right_layer), ("cause", right_cause)):
        known = name == "cause" or net["layers"] is not None
        marks[name] = bool(said) and right(net, said[0]) if known else None
        marks[f"any {name}"] = any(right(net, one) for one in said) if known else None
    return marks


def share(nets, name):
    """Return hits and tries of a mark."""
    given = [marks(net)[name] for net in nets]
    return sum(mark is True for mark in given), sum(mark is not None for mark in given)


def ratio(hits, tries):
    return f"{hits} of {tries}" + (f" ({hits / tries:.1%})" if tries > 40 else "")


def kinds(nets):
    """Group by kind, in order."""
    found = {}
    for net in nets:
        found.setdefault(net["kind"], []).append(net)
    return found


def rows(names, lines):
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in (names, ["---"] * len(names), *lines))


def healthy_table(nets):
    def line(kind, some):
        with_finding = sum(bool(alarms(net, ("finding",))) for net in some)
        with_warning = sum(bool(alarms(net, ("warning",))) for net in some)
        hits = [net["accuracy"] for net in some if net["accuracy"] == net["accuracy"]]
        falls = max(net["fell"] for net in some)
        worst = f"{min(hits):.2f}" if hits else "-"
        again = sum(net["again"] for net in some)
        return kind, len(some), with_finding, with_warning, worst, f"{falls:.2f}", again

    heads = ("lowest accuracy", "highest loss, end / start", "drawn again")
    names = ("healthy nets", "n", "with a finding", "with a warning", *heads)
    return rows(names, [*(line(*one) for one in kinds(nets).items()), line("all", nets)])


def sabotaged_table(nets):
    names = ("found", "layer", "any layer", "cause", "any cause")

    def line(kind, some):
        return kind, *(ratio(*share(some, name)) for name in names)

    heads = ("sabotage", "found", "layer (first)", "layer (any)", "cause (first)", "cause (any)")
    return rows(heads, [*(line(*one) for one in kinds(nets).items()), line("all", nets)])


def told(net):
    said = "; ".join(f"{severity} [{rule}] {layer}: {cause}" for severity, rule, layer, cause in alarms(net)[:3])
    return f"- {net['kind']} {net['number']} of seed {net['seed']} ({net['about'] or 'healthy'}): {said or 'nothing'}"


def failures(healthy, sabotaged):
    """List false alarms, misses, wrong places and wrong causes, one by one."""
    wrong = {name: [net for net in sabotaged if marks(net)[name] is False] for name in ("found", "layer", "cause")}
    lists = {
        "False alarms": [net for net in healthy if alarms(net)],
        "Missed": wrong["found"],
        "Wrong layer": [net for net in wrong["layer"] if net not in wrong["found"]],
        "Wrong cause": [net for net in wrong["cause"] if net not in wrong["found"]],
        "Faults of the watch": [
            {**net, "about": "; ".join(net["faults"])} for net in healthy + sabotaged if net["faults"]
        ],
        "Drawn as healthy, and not (a mistake of the bench)": [net for net in healthy if not learned(net)],
    }
    return "\n\n".join("\n".join([f"{name}: {len(some)}", *map(told, some)]) for name, some in lists.items())


def kept(healthy, sabotaged):
    """Say whether the promises hold: no false alarm, and the shares of sabotage."""
    shares = {name: share(sabotaged, name) for name in PROMISED} if sabotaged else {}
    enough = all(hits >= PROMISED[name] * tries for name, (hits, tries) in shares.items())
    return enough and not any(alarms(net) or not learned(net) for net in healthy)
