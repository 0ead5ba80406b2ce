"""What a similarity map costs: ratios to the plain forward passes of both networks, interleaved, medians.

Every convolution of ResNet-18 against every one of ResNet-34 (32 x 32, batches of 128), debiased CKA by batches, with
and without the null; beside it two packages that compute the same, where they are installed. Promise: at most 1.25
times the two plain passes, 1.4 with the null of 200 orders, and faster than both packages. Peak memory is that of a
fresh process.

The packages go into a folder of their own:
pip install --no-deps --target peers pytorch-cka==1.1.3 torch-cka==0.21
python bench/similarity.py --peers peers
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
import types
import warnings
from functools import partial

import torch

import netassay as na
from netassay.progress import hushed
from netassay.studies.similarity_map import similarity_map

SPECS = ("resnet18:input=32,classes=10", "resnet34:input=32,classes=10")
N, ORDERS = 128, 200
LIMITS = {"netassay": 1.25, "netassay, 200 orders": 1.4}


def made(batches):
    """Both networks in eval mode, and batches of noise, which cost what images cost."""
    torch.manual_seed(0)
    return [na.build(spec).eval() for spec in SPECS], [torch.randn(N, 3, 32, 32) for _ in range(batches)]


def plain(models, batches):
    with torch.no_grad():
        for x in batches:
            for model in models:
                model(x)


def ours(models, batches, permutations=0):
    options = {"layers": "type:Conv2d", "mode": "minibatch", "permutations": permutations}
    with hushed():
        return similarity_map(*models, batches, **options).array("cka")


def names(model):
    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Conv2d)]


def loader(batches):
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.cat(batches)), batch_size=N)


def pytorch_cka(models, batches):
    from cka import compute_cka

    named = {"layers": names(models[0]), "model2_layers": names(models[1])}
    return compute_cka(*models, loader(batches), **named, device="cpu", progress=False)[0]


def torch_cka(models, batches):
    from torch_cka import CKA

    named = {"model1_layers": names(models[0]), "model2_layers": names(models[1])}
    with warnings.catch_warnings(), torch.no_grad():  # without no_grad it keeps every graph
        warnings.simplefilter("ignore")
        cka = CKA(*models, **named)
        cka.compare(loader(batches))
    for model in models:  # it leaves its hooks behind
        for module in model.modules():
            module._forward_hooks.clear()
    return cka.hsic_matrix


WAYS = {
    "plain": plain,
    "netassay": ours,
    "netassay, 200 orders": partial(ours, permutations=ORDERS),
    "pytorch-cka 1.1.3": pytorch_cka,
    "torch-cka 0.21": torch_cka,
}


def there(name):
    """Whether a way can be gone here; a sentence where not."""
    # Both draw a bar with it, which costs nothing and is not worth a package.
    sys.modules.setdefault("tqdm", types.SimpleNamespace(tqdm=lambda items, **options: items))
    module = {"pytorch-cka 1.1.3": "cka", "torch-cka 0.21": "torch_cka"}.get(name)
    try:
        __import__(module or "torch")
    except ImportError as error:
        print(f"left out: {name} ({error}); pip install --no-deps --target peers pytorch-cka==1.1.3 torch-cka==0.21")
        return False
    return True


def timed(way, models, batches, clock):
    begun = clock()
    way(models, batches)
    return clock() - begun


def peak(name, batches):
    """MiB that a fresh process held at most."""
    command = [sys.executable, __file__, "--peak", name, "--batches", str(batches), "--peers", sys.path[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def interval(values):
    """Median and the range of the middle half."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else 3 * values
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--peers", default="", help="the folder the packages were installed into")
    parser.add_argument("--only", nargs="*", help="ways to go, beside plain")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--cpu", action="store_true", help="count processor time: for one thread, on a busy machine")
    asked = parser.parse_args()
    clock = time.process_time if asked.cpu else time.perf_counter
    sys.path.insert(0, asked.peers)
    if asked.peak:
        there(asked.peak)
        WAYS[asked.peak](*made(asked.batches))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return 0
    ways = [name for name in WAYS if name == "plain" or ((not asked.only or name in asked.only) and there(name))]
    # Before anything else is held: a process begins with the peak of the one that made it.
    peaks = {name: "" if asked.no_memory else f"  peak {peak(name, asked.batches):7.0f} MiB" for name in ways}
    models, batches = made(asked.batches)
    plain(models, batches[:1])
    spent = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name in ways:
            spent[name].append(timed(WAYS[name], models, batches, clock))
    ratios = {name: [a / b for a, b in zip(spent[name], spent["plain"], strict=True)] for name in ways}
    print(f"{torch.get_num_threads()} threads, {asked.rounds} rounds of {asked.batches} batches of {N}")
    for name in ways:
        print(f"{name:22} {statistics.median(spent[name]):8.2f} s  times plain {interval(ratios[name])}{peaks[name]}")
    middle = {name: statistics.median(values) for name, values in ratios.items()}
    peers = [middle[name] for name in middle if name.endswith(("1.1.3", "0.21"))]
    late = [name for name, most in LIMITS.items() if name in middle and middle[name] > most]
    return int(bool(late) or ("netassay" in middle and any(one <= middle["netassay"] for one in peers)))


if __name__ == "__main__":
    sys.exit(main())
