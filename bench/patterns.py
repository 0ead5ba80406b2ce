"""At what size does the pattern of a layer by layer map change? Residual, dense and VGG networks, three seeds each.

Digits of 16 pixels (32 for VGG, which pools five times), narrow networks, 200 steps of Adam; seed against seed by
debiased CKA of all activations. Started again with the same folder, what is done is not run again. Give --data
parquet:PATH for images of your own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from netassay.studies.similarity_trend import similarity_trend

BLOCKS = ("1,1,1,1", "1,2,2,1", "2,2,2,2", "2,3,3,2", "2,3,5,2", "3,4,6,3")
DENSE = ("1,1,1", "2,2,2", "4,4,4")
QUESTIONS = {
    "resnet": ([f"resnet[{blocks}]:width=8" for blocks in BLOCKS], 16),
    "densenet": (
        [f"densenet[{layers}]:growth=6,skip={skip}" for skip in ("all", "end", "none") for layers in DENSE],
        16,
    ),
    "vgg": ([f"{name}:width=4,hidden=32,norm=batch" for name in ("vgg11", "vgg13", "vgg16", "vgg19", "vgg38")], 32),
}
PATTERNS = ("diagonal", "triangle", "block", "flat")


def row(told):
    """Return one size as text."""
    known = [f"{told[one]:6.2f} ({told[f'{one}_low']:5.2f} to {told[f'{one}_high']:5.2f})" for one in PATTERNS]
    chance = min(told[f"{one}_p"] for one in PATTERNS)
    named = f"{told['told']}{', ' + told['side'] if told['side'] else ''}"
    return f"{told['spec']:<40} {told['size']:4d} {'  '.join(known)}  {chance:6.3f}  {told['accuracy']:.3f}  {named}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", nargs="*", default=list(QUESTIONS), help=", ".join(QUESTIONS))
    parser.add_argument("--data", help="a spec, instead of digits")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--measure", default="cka")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ledgers", type=Path, help="a folder that keeps what is done")
    parser.add_argument("--figures", type=Path, help="a folder for the figures")
    options = parser.parse_args()
    for name in options.questions:
        specs, size = QUESTIONS[name]
        data = options.data or f"digits:size={size},normalize=half"
        ledger = options.ledgers and options.ledgers / f"{name}.db"
        asked = {key: getattr(options, key) for key in ("steps", "seeds", "samples", "measure", "workers")}
        result = similarity_trend(specs, data, **asked, permutations=100, ledger=ledger)
        print(f"{name} on {data}, {options.steps} steps, {options.seeds} seeds, {options.measure}\n")
        print(f"{'spec':<40} size {'  '.join(f'{one:<23}' for one in PATTERNS)}  {'p':>6}  acc.   told")
        print(*map(row, result.table("sizes")), "", sep="\n")
        for one in result.table("trends"):
            slope = f"{one['slope']:6.2f} ({one['low']:.2f} to {one['high']:.2f}) per doubling"
            print(f"{one['family']:<24} {one['pattern']:<9} {slope}; changes between: {one['changes_between']}")
        print("", *result.claims, "", *result.notes, "", sep="\n")
        if options.figures:
            options.figures.mkdir(parents=True, exist_ok=True)
            for drawn in ("trend", "maps"):
                result.plot(drawn).savefig(options.figures / f"{name}-{drawn}.png", dpi=150)
