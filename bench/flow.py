"""Which switch makes gradient vanish: the missing skip, the missing normalisation, or the initialisation? Or depth?

Two factorials on images of 32 pixels in [0, 1], Adam at 1e-3, batches of 16: networks of ResNet-50's shape with and
without skip, batch norm and He's initialisation, and VGG19 against VGG38. Started again with the same folder, what is
done is not run again. Give --data parquet:PATH for images of your own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import netassay as na

QUESTIONS = {
    "resnet50": {
        "model": "resnet[3,4,6,3]:block=bottleneck,input=32,width=8",
        "switches": {"skip": ["residual", "none"], "norm": ["batch", "none"], "init": ["he", "default"]},
    },
    "vgg": {
        "model": "vgg19:width=8,hidden=64,input=32",
        "switches": {"depth": ["vgg19", "vgg38"], "init": ["he", "default"], "norm": ["none", "batch"]},
    },
}
CELLS = ("cell", "decades", "decades_low", "decades_high", "chi", "learned", "learned_low", "learned_high", "accuracy")
EFFECTS = ("outcome", "kind", "change", "within", "effect", "low", "high", "decision")


def show(rows, columns):
    """Print some columns of a table."""
    shown = [
        [f"{row[name]:.3g}" if isinstance(row[name], float) else str(row[name]) for name in columns] for row in rows
    ]
    wide = [max(map(len, column)) for column in zip(columns, *shown, strict=True)]
    for line in (columns, *shown):
        print("  ".join(cell.ljust(size) for cell, size in zip(line, wide, strict=True)))
    print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", nargs="*", default=list(QUESTIONS), help=", ".join(QUESTIONS))
    parser.add_argument("--data", default="digits:size=32,normalize=none")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ledgers", type=Path, help="a folder that keeps what is done")
    options = parser.parse_args()
    for name in options.questions:
        ledger = options.ledgers and options.ledgers / f"{name}.db"
        asked = {key: getattr(options, key) for key in ("data", "steps", "batches", "seeds", "workers")}
        result = na.flow_study(**QUESTIONS[name], **asked, ledger=ledger)
        print(f"{name} on {options.data}, {options.steps} steps, {options.seeds} seeds\n")
        show(result.table("cells"), CELLS)
        show([row for row in result.table("effects") if row["outcome"] in ("decades", "learned")], EFFECTS)
        print(*result.claims, "", *result.notes, "", sep="\n")
