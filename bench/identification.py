"""Which measures find corresponding layers: six Tiny-10 nets from other seeds, eight ReLU layers, 240 trials.

Kornblith et al. 2019 (arXiv 1905.00414), section 6.1: for each ordered pair of nets and each layer of the first, the
most similar layer of the second should have the same index. Five draws of 1,000 CIFAR-10 test images; beside each
measure what the paper's table 2 has, on ten nets and the original images. Debiased CKA has to reach 95.5 % on average.

Needs the weights and the re-encoded images that tests on real input use; says so where they are missing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch

import netassay as na
from netassay.data import Batch, load_data
from netassay.studies.similarity_map import similarity_map

NETS, LAYERS, DRAWS, IMAGES = range(6), 8, 5, 1000
FLAT = {  # measure: what Kornblith's table 2 has
    "cka": "99.3 (biased)",
    "cka_biased": "99.3",
    "cka_rbf:bandwidth=0.2": "80.6",
    "cka_rbf:bandwidth=0.4": "99.1",
    "cka_rbf:bandwidth=0.8": "99.3",
    "rsa": "-",
    "rsa:dissimilarity=correlation,comparator=pearson": "-",
    "mutual_knn": "-",
}
POOLED = {  # these need more samples than features: a channel's mean, not every position
    "cka": "-",
    "cca": "1.4",
    "cca_squared": "10.6",
    "svcca": "9.9",
    "pwcca": "11.1",
    "regression": "45.4",
    "mse": "-",
    "correlation": "-",
    "procrustes": "-",
    "angular_procrustes": "-",
    "nbs": "-",
    "permutation": "-",
    "soft_matching": "-",
}
LEAST = 0.955


def nets(folder):
    files = [folder / "tiny10" / f"tiny10-{i}.safetensors" for i in NETS]
    return {f"net{i}": na.build(f"tiny10:weights={file}") for i, file in zip(NETS, files, strict=True)}


def images(folder):
    """All test images, decoded once."""
    path = folder / "cifar10-jpeg" / "test.parquet"
    batches = list(load_data(f"parquet:{path},normalize=cifar10", batch_size=500))
    return Batch(torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches]))


def identified(result, measure):
    """Share of trials that are right, and a count of the layers that were taken for another."""
    values = np.asarray(result.array(measure)).reshape(len(NETS), LAYERS, len(NETS), LAYERS)
    distance = next(row for row in result.table("measures") if row["measure"] == measure)["direction"] == "distance"
    found = (values.argmin(3) if distance else values.argmax(3)).transpose(0, 2, 1)
    own = ~np.eye(len(NETS), dtype=bool)
    hits = found[own] == np.arange(LAYERS)
    wrong = Counter(
        (f"relu{i + 1}", f"relu{found[a, b, i] + 1}") for a, b, i in np.argwhere(found != np.arange(LAYERS)) if a != b
    )
    return hits.mean(), wrong


def draw(models, batch, number, positions, measures, memory):
    order = torch.randperm(len(batch.x), generator=torch.Generator().manual_seed(number))[:IMAGES]
    data = (batch.x[order], batch.y[order])
    options = {"layers": "relu*", "positions": positions, "permutations": 0, "memory": memory, "mode": "full Gram"}
    return similarity_map(models, data=data, measures=measures, **options)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    home = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=home)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--measures", nargs="*", help="only these")
    asked = parser.parse_args()
    if not (asked.data / "tiny10").is_dir():
        print(f"skipped: no tiny10 nets in {asked.data}; give --data FOLDER")
        return 0
    models, batch, failed = nets(asked.data), images(asked.data), False
    print(f"{'measure':52} {'features':9} {'mean %':>7} {'least':>6} {'most':>6}  paper  seconds  confused most")
    for positions, table in (("flatten", FLAT), ("pool", POOLED)):
        for measure in table if asked.measures is None else [one for one in table if one in asked.measures]:
            begun, shares, wrong = time.perf_counter(), [], Counter()
            for number in range(asked.draws):
                share, confused = identified(draw(models, batch, number, positions, [measure], 4 << 30), measure)
                shares.append(100 * share)
                wrong += confused
            took = (time.perf_counter() - begun) / asked.draws
            most = ", ".join(f"{a} for {b} {n}" for (a, b), n in wrong.most_common(4))
            spread = f"{np.mean(shares):7.1f} {min(shares):6.1f} {max(shares):6.1f}"
            print(f"{measure:52} {positions:9} {spread}  {table[measure]:>13} {took:6.1f}  {most}", flush=True)
            if measure == "cka" and positions == "flatten":
                failed = np.mean(shares) < 100 * LEAST
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
