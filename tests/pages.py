"""Small runs that the tests of figures, page, browser and command line look at."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

WEIRD = ("</script><b>", '"><img src=x onerror=alert(1)>', "a$\\frac$ {b|c} & 'd' " + 60 * "e")
X, Y = torch.randn(60, 64, generator=torch.Generator().manual_seed(7)), torch.arange(60) % 10


def net(*names: str, dead: bool = False, width: int = 8) -> nn.Sequential:
    """A perceptron of one hidden layer whose layers have these names; with a silent hidden layer if `dead`."""
    torch.manual_seed(1)
    first, act, last = names or ("fc1", "act1", "head")
    made = nn.Sequential(OrderedDict([(first, nn.Linear(64, width)), (act, nn.ReLU()), (last, nn.Linear(width, 10))]))
    if dead:
        nn.init.constant_(made[0].bias, -1e4)
    return made


def unlearned() -> nn.Sequential:
    """A model with a warning and no finding: no gradient comes through its last layer's zero weights."""
    made = nn.Sequential(nn.Flatten(), *net())
    nn.init.zeros_(made[-1].weight)
    return made
