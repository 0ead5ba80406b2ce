"""How often the watch is right: trainings that are healthy, and trainings with one fault, each told from the other.

Every net is drawn from the seed (architecture, width, depth, optimizer, rate, order of the data, place of the fault),
really trained for 30 to 150 steps, and watched. A net that is to be healthy must learn, and no ReLU layer may lose half
of its channels, by the bench's own measure; else it is drawn again, which is counted. Promises: no healthy net of the
published seeds 0, 1, 2 with a finding or a warning; of the sabotaged ones at least 95 % found, 90 % with the right
layer, 85 % with the right cause, the last two by the first verdict. A fault without one place (a rate, a precision) is
not counted for its layer.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from labelled import scoring
from labelled.trial import SIDES, trial

from netassay.engine import grid


def cells(seed, nets, only):
    """List the cells: each side's kinds in turn, until there are `nets` of it."""
    for side, kinds in SIDES.items():
        for i in range(nets or 4 * len(kinds)):
            kind = list(kinds)[i % len(kinds)]
            if only in (None, kind, side):
                yield {"side": side, "kind": kind, "seed": seed, "number": i // len(kinds)}


def report(seed, outcomes, seconds):
    """Write everything in Markdown."""
    healthy, sabotaged = ([one for one in outcomes if one["side"] == side] for side in SIDES)
    parts = [f"## Seed {seed}: {len(healthy)} healthy and {len(sabotaged)} sabotaged nets, {seconds:.0f} s"]
    parts += [scoring.healthy_table(healthy)] * bool(healthy) + [scoring.sabotaged_table(sabotaged)] * bool(sabotaged)
    parts += [scoring.failures(healthy, sabotaged)]
    return "\n\n".join(parts) + "\n", scoring.kept(healthy, sabotaged)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nets", type=int, help="nets of each side; four of each kind unless given")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each; 0: this one")
    parser.add_argument("--only", metavar="KIND", help="a kind, or healthy, or sabotaged")
    parser.add_argument("--ledger", type=Path, help="a file from which a run that was broken off goes on")
    parser.add_argument("--markdown", type=Path, help="write the tables there as well")
    parser.add_argument("--json", type=Path, help="write every outcome there")
    options = parser.parse_args()
    begun = time.perf_counter()
    asked = list(cells(options.seed, options.nets, options.only))
    outcomes = [
        json.loads(str(payload["outcome"]))
        for payload in grid(trial, asked, workers=options.workers, ledger=options.ledger, task="health")
    ]
    text, good = report(options.seed, outcomes, time.perf_counter() - begun)
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    if options.json:
        options.json.write_text(json.dumps(outcomes, indent=1))
    sys.exit(not good)
