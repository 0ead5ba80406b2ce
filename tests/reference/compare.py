"""Slow twins of netassay.comparing and netassay.studies.prescribe, from the definitions; none imports netassay."""

from __future__ import annotations

import math
import statistics

import scipy.stats
import torch


def mover(a, a_low, a_high, b, b_low, b_high):
    """Zou and Donner's limits of b - a: variance estimates recovered from each limit, z cancelling."""
    z = 1.959963984540054
    variance = {
        "low of b": ((b - b_low) / z) ** 2,
        "high of b": ((b_high - b) / z) ** 2,
        "low of a": ((a - a_low) / z) ** 2,
        "high of a": ((a_high - a) / z) ** 2,
    }
    low = b - a - z * math.sqrt(variance["low of b"] + variance["high of a"])
    high = b - a + z * math.sqrt(variance["high of b"] + variance["low of a"])
    return b - a, low, high


def welch(a, b, level=0.95):
    """Welch's interval of mean(b) - mean(a)."""
    v, w = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    difference = statistics.fmean(b) - statistics.fmean(a)
    freedom = (v + w) ** 2 / (v**2 / (len(a) - 1) + w**2 / (len(b) - 1))
    half = scipy.stats.t.ppf((1 + level) / 2, freedom) * math.sqrt(v + w)
    return difference, difference - half, difference + half


def paired(a, b, level=0.95):
    """Student's interval of the mean of the differences."""
    each = [y - x for x, y in zip(a, b, strict=True)]
    half = scipy.stats.t.ppf((1 + level) / 2, len(each) - 1) * statistics.stdev(each) / math.sqrt(len(each))
    return statistics.fmean(each), statistics.fmean(each) - half, statistics.fmean(each) + half


def stretches(values, most=10):
    """Means of ten stretches, the first ones longer by a step where it does not divide; of at least two steps each."""
    count = max(1, min(most, len(values) // 2))
    size, more = divmod(len(values), count)
    found, at = [], 0
    for i in range(count):
        step = size + (i < more)
        finite = [value for value in values[at : at + step] if math.isfinite(value)]
        found.append(sum(finite) / len(finite) if finite else math.nan)
        at += step
    return found


def trained(model, batches, optimizer):
    """Mean cross-entropy of each batch before the step that it gives, in train mode."""
    model.train()
    losses = []
    for x, y in batches:
        logits = model(x)
        loss = -logits.log_softmax(1)[range(len(y)), y].mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def end(losses):
    """Mean of the last tenth."""
    tail = max(len(losses) // 10, 1)
    return sum(losses[-tail:]) / tail


def student(values, level=0.95):
    """Mean and Student's interval."""
    half = scipy.stats.t.ppf((1 + level) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return mean, mean - half, mean + half


def gradient(model, x, y, layer):
    """Root of the mean over samples of the squared norm of each sample's own gradient at a layer's output."""
    total = 0.0
    for one, label in zip(x, y, strict=True):
        seen = []
        handle = layer.register_forward_hook(lambda module, args, out, seen=seen: seen.append(out))
        logits = model(one[None])
        (found,) = torch.autograd.grad(-logits.log_softmax(1)[0, label], seen[-1])
        total += float(found.double().square().sum())
        handle.remove()
    return math.sqrt(total / len(x))
