"""Healthy networks: trained or not, they give no finding. False alarms are the worst that a check can do."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
import torch
from torch import nn

import netassay as na
from netassay import training
from netassay.data import splits

SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] * (seed >= 2)) for seed in range(10)]


def profiles(start, end, data):
    """Profiles of a network at initialisation, trained, and trained with the first as its baseline."""
    first = na.channel_profile(start, data, quantiles=False)
    found = na.channel_profile(end, data, quantiles=False)
    return first, found, na.channel_profile(end, data, quantiles=False, baseline=first)


def alarms(results):
    return [str(verdict) for result in results for verdict in result.verdicts if verdict.severity != "note"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_perceptron_in_training_gives_no_finding(seed):
    """Four He-initialised layers of 256 after 60 steps on the digits, far above chance: half of its units are zero."""
    learn, test = splits("digits")
    start, end = (na.build("mlp[256,256,256,256]", seed=seed) for _ in range(2))
    passes = (batch for epoch in range(9) for batch in learn.shuffled(seed, epoch))
    training.train(end, list(islice(passes, 60)), epochs=1, seed=seed)
    assert training.evaluate(end, test).accuracy > 0.8
    assert alarms(profiles(start, end, test)) == []


def convolutional(seed):
    torch.manual_seed(seed)
    parts = [(nn.Conv2d(i, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()) for i, o in pairwise((1, 16, 16, 32))]
    layers = [layer for part in parts for layer in part]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_trained_convolutional_net_gives_no_finding(seed):
    """Three convolutions with batch norm, trained on the digits to 95 %."""
    learn, test = splits("digits")
    start, end = convolutional(seed), convolutional(seed)
    training.train(end, learn, epochs=6, lr=0.1, seed=seed)
    assert training.evaluate(end, test).accuracy >= 0.95
    assert alarms(profiles(start, end, test)) == []
