"""Small networks and loops that the tests of watching share."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from netassay.watching import Monitor


class Residual(nn.Module):
    def __init__(self, width, inplace=False, norm=False):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.relu = nn.ReLU(inplace)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.out = nn.ReLU(inplace)

    def forward(self, x):
        return self.out(self.conv2(self.relu(self.norm(self.conv1(x)))) + x)


class Net(nn.Module):
    """A stem, residual blocks, a head; `check` runs the blocks under checkpointing, "reentrant" or "plain"."""

    def __init__(self, width=4, inplace=False, norm=False, check=None):
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, width, 3, padding=1), nn.ReLU(inplace)
        self.blocks = nn.ModuleList(Residual(width, inplace, norm) for _ in range(2))
        self.head, self.check = nn.Linear(width, 5), check

    def forward(self, x):
        x = self.act(self.stem(x))
        for block in self.blocks:
            x = block(x) if self.check is None else checkpoint(block, x, use_reentrant=self.check == "reentrant")
        return self.head(x.mean((2, 3)))


class Tokens(nn.Module):
    """Embedding, attention, feed-forward and norm over `(N, T)` integers."""

    def __init__(self, width=8):
        super().__init__()
        self.embed = nn.Embedding(11, width)
        self.attend = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm, self.up, self.act = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU()
        self.down, self.head = nn.Linear(2 * width, width), nn.Linear(width, 5)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.attend(x, x, x, need_weights=False)[0]
        x = x + self.down(self.act(self.up(self.norm(x))))
        return self.head(x.mean(1))


def seeded(make, *args, **options):
    """Make a network with seed 0."""
    torch.manual_seed(0)
    return make(*args, **options)


def images(n=6, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 6, 6, generator=g), torch.randint(0, 5, (n,), generator=g)


def words(n=6, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 11, (n, 7), generator=g), torch.randint(0, 5, (n,), generator=g)


def sgd(model, lr=0.01, **options):
    return torch.optim.SGD(model.parameters(), lr=lr, **options)


def train(model, optimizer, x, y, steps=1, *, parts=1, factor=1.0, reduction="mean", watch=True, **options):
    """Train on one batch, cut into micro-batches, and return the monitor."""
    monitor = Monitor(model, optimizer, **{"every": 1, "reduction": reduction, **options})
    if watch:
        monitor.open()
    for _ in range(steps):
        optimizer.zero_grad()
        for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
            share = parts if reduction == "mean" else 1
            loss = factor * cross_entropy(model(a), b, reduction=reduction) / share
            loss.backward()
        optimizer.step()
        monitor.step(loss.item())
    monitor.close()
    assert monitor.faults == []
    return monitor


def own(monitor):
    """Return what failed in watching itself, not in judging."""
    return [one for one in monitor.faults if not one.startswith("verdicts")]


def signals(monitor, step=-1):
    """Return what was read of the calls at a step: label -> name -> number."""
    r = monitor.readings()
    return {
        label: {name: float(column[step, i]) for name, column in r.signals.items()}
        for i, label in enumerate(r.calls["layer"].tolist())
    }


def updates(monitor, step=-1):
    r = monitor.readings()
    return {
        name: {key: float(column[step, i]) for key, column in r.updates.items()}
        for i, name in enumerate(r.parameters["parameter"].tolist())
    }
