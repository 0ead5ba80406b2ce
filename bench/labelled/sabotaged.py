"""Trainings with one fault each, by kind: what was done, which rules name it rightly, and where it is."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

import netassay as na
from labelled import faults, nets
from labelled.faults import after, before, chosen, order, put, upstream
from labelled.healthy import ADAPTIVE, WORDS, log_uniform, spoken, training
from labelled.training import Truth, images

NOT_FINITE, SYMMETRY = {"not finite"}, {"symmetry not broken"}
VANISHING, EXPLODING, LOST_INPUT = {"vanishing gradient"}, {"exploding gradient"}, {"input dependence lost"}
DEAD, CONSTANT, SATURATED = {"dead channels"}, {"constant channels"}, {"saturated", "saturated channels"}
RATIO, LOST, EPSILON = {"update ratio"}, {"lost update"}, {"epsilon swallows the update"}
FORGOTTEN, UNUSED = {"forgotten parameters"}, {"unused parameters"}
ZERO, UNDERFLOW, STAYS = {"zero gradient"}, {"underflow"}, {"weights stay zero"}


def truth(training, rules, layers, about):
    training.truth, training.about = Truth(frozenset(rules), None if layers is None else frozenset(layers)), about
    return training


def chain(draw, activation="relu", low=3, high=6, norm=None, init="he", inplace=None):
    """Draw a plain perceptron or convolutional net."""
    depth, inplace = draw.randint(low, high), draw.random() < 0.5 if inplace is None else inplace
    if draw.random() < 0.5:
        return nets.mlp(depth, draw.choice((32, 64, 96)), activation, norm and "batch", init, inplace=inplace)
    shape = {"inplace": inplace, "hidden": draw.choice((0, 48)), "pools": (1, depth)}
    return nets.cnn(depth, draw.choice((8, 16)), activation, norm, init, **shape)


def resnet(draw):
    return nets.ResNet(
        draw.randint(2, 4), draw.choice((8, 16)), draw.choice(("batch", "group")), inplace=draw.random() < 0.5
    )


def transformer(draw, activation="relu"):
    attention = draw.choice((nets.Attention, nets.Torch))
    return nets.Transformer(draw.randint(1, 3), 32, 4, activation, attention, pre=draw.random() < 0.7)


def host(draw, *among):
    """Draw a net that would be healthy: a chain with or without norms, a residual one or a transformer on rows."""
    makers = {
        "chain": chain, "normed": lambda draw: chain(draw, norm="batch"), "resnet": resnet, "transformer": transformer,
    }  # fmt: skip
    return makers[draw.choice(among or tuple(makers))](draw)


def started(draw, model, *names, **settings):
    """Draw the training; rates are those at which the net would be healthy."""
    return training(
        draw, model, *(names or ("sgd", *ADAPTIVE)), factor=0.7, **{"steps": draw.randint(40, 60), **settings}
    )


def nan_forward(draw):
    model, how, start = host(draw), draw.choice(("log", "division", "overflow")), draw.randint(0, 30)
    own = started(draw, model, every=1)
    place = chosen(draw, model, (*nets.WEIGHTED, nn.ReLU, nn.LayerNorm))
    names = put(model, place, faults.Broken(how, start))
    return truth(own, NOT_FINITE, names, f"{how} after {place} from step {start}")


def nan_backward(draw):
    model, how = host(draw), draw.choice(("nan", "inf"))
    own = started(draw, model)
    place = chosen(draw, model, nets.WEIGHTED, but=("head",))
    names = put(model, place, faults.Root(how))
    return truth(own, NOT_FINITE, {*names, *before(model, f"{place}.1")}, f"square root at 0 ({how}) after {place}")


def nan_loss(draw):
    own, start = started(draw, host(draw), every=1), draw.randint(0, 30)
    plain, calls = own.loss, iter(range(10**6))
    own.loss = lambda out, y: plain(out, y) + (0 * (out - out).sum().log() if next(calls) >= start else 0)
    last = order(own)[-1]
    return truth(own, NOT_FINITE, {last, "loss", "output"}, f"a loss that is NaN from step {start}")


def nan_data(draw):
    own, start = started(draw, host(draw), every=1), draw.randint(0, 30)
    value, clean = draw.choice((float("nan"), float("inf"))), own.data

    def data(step):
        x, y = clean(step)
        if step >= start:
            x[draw.randrange(len(x)), 0, draw.randrange(8), draw.randrange(8)] = value
        return x, y

    own.data = data
    return truth(own, NOT_FINITE, {"input", *order(own)[:2]}, f"{value} in the data from step {start}")


def state_poked(draw):
    own, start = started(draw, host(draw), "sgd", "adam", "adamw", every=1), draw.randint(3, 30)
    place = chosen(draw, own.model, nets.WEIGHTED)
    weight, value = own.model.get_submodule(place).weight, draw.choice((float("nan"), float("inf")))

    def poke(step):
        if step == start:
            state = own.optimizers[0].state[weight]
            state["momentum_buffer" if "momentum_buffer" in state else "exp_avg"].view(-1)[3] = value

    own.before = poke
    return truth(own, NOT_FINITE, {place}, f"{value} in the optimizer's state of {place} before step {start}")


def weight_poked(draw):
    own, start = started(draw, host(draw), every=1), draw.randint(1, 30)
    place = chosen(draw, own.model, nets.WEIGHTED)
    weight, value = own.model.get_submodule(place).weight, draw.choice((float("nan"), float("inf")))

    def poke(step):
        if step == start:
            weight.data.view(-1)[3] = value

    own.before = poke
    return truth(own, NOT_FINITE, after(own, place), f"{value} in the weight of {place} before step {start}")


def overflow(draw):
    model, rate = chain(draw, low=2), log_uniform(draw, 30, 1e5)
    own = started(draw, model, optimizers=[torch.optim.SGD(model.parameters(), rate, momentum=0.9)])
    return truth(own, NOT_FINITE | EXPLODING | RATIO | DEAD, None, f"SGD at {rate:.2g}")


def scaled_weights(model, factor, places=None):
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nets.WEIGHTED) and name != "head" and places in (None, name):
                module.weight.mul_(factor)


def hidden(own):
    return {name for name in order(own) if name not in ("head", "flatten")}


def small_weights(draw):
    factor = draw.uniform(0.05, 0.3)
    low = 10 if factor > 0.2 else 8
    activation = draw.choice(("relu", "tanh", "gelu", "leaky"))
    model = chain(draw, activation, low, low + 4, init="lecun" if activation == "tanh" else "he")
    scaled_weights(model, factor)
    own = started(draw, model)
    return truth(own, VANISHING | LOST_INPUT, hidden(own), f"all hidden weights x {factor:.2f}")


def large_weights(draw):
    factor = log_uniform(draw, 3, 10)
    model = chain(draw, draw.choice(("relu", "leaky", "gelu")), 8, 12)
    scaled_weights(model, factor)
    own = started(draw, model)
    return truth(own, EXPLODING | NOT_FINITE, None, f"all hidden weights x {factor:.1f}")


def saturated(draw):
    activation = draw.choice(("tanh", "sigmoid"))
    model = chain(draw, activation, 4, 8, init="xavier")
    factor = draw.uniform(15, 30)
    if draw.random() < 0.5:
        scaled_weights(model, factor)
        own = started(draw, model)
        return truth(own, SATURATED | VANISHING | EXPLODING, hidden(own), f"all hidden weights x {factor:.0f}")
    own = started(draw, model)
    place = chosen(draw, model, nets.WEIGHTED, but=("head",))
    scaled_weights(model, 2 * factor, place)
    return truth(own, SATURATED, after(own, place), f"weights of {place} x {2 * factor:.0f}")


def raw_input(draw):
    model = chain(draw, draw.choice(("tanh", "sigmoid")), 2, 4, init="xavier")
    names = ("0 to 255", "an offset of 1e4")
    about = draw.choice(names)
    change = (lambda x: (x - x.min()) * 255 / 2.65) if about == names[0] else (lambda x: x + 1e4)
    own = started(draw, model, data=images(draw, 48, change=change))
    first = next(name for name in order(own) if name.startswith(("fc", "conv")))
    return truth(own, SATURATED | CONSTANT | LOST_INPUT, {"input", "flatten", *after(own, first)}, about)


def biased(own, place, share, draw):
    """Push the given share of a layer's channels far below zero; return how many."""
    module = own.model.get_submodule(place)
    channels = torch.randperm(len(module.bias), generator=torch.Generator().manual_seed(draw.getrandbits(32)))
    with torch.no_grad():
        module.bias[channels[: round(share * len(channels))]] = -10.0 if hasattr(module, "eps") else -40.0
    return round(share * len(channels))


def before_relu(own, draw):
    """Draw a layer with a bias that is directly before a ReLU."""
    names, modules = order(own), dict(own.model.named_modules())
    found = [
        a
        for a, b in pairwise(names)
        if isinstance(modules[b], nn.ReLU) and getattr(modules[a], "bias", None) is not None
    ]
    return draw.choice(found)


def dead_layer(draw):
    own = started(draw, host(draw))
    place = before_relu(own, draw)
    biased(own, place, 1.0, draw)
    return truth(
        own, DEAD, after(own, place) | before(own.model, place, own), f"all channels of {place} pushed below zero"
    )


def dead_part(draw):
    own = started(draw, host(draw))
    place, share = before_relu(own, draw), draw.uniform(0.6, 0.75)
    count = biased(own, place, share, draw)
    names = after(own, place) | before(own.model, place, own)
    return truth(own, DEAD, names, f"{count} channels ({share:.0%}) of {place} pushed below zero")


def left_out(draw):
    model = host(draw)
    place = chosen(draw, model, nets.WEIGHTED)
    left = {id(p) for p in model.get_submodule(place).parameters()}
    rest = [p for p in model.parameters() if id(p) not in left]
    optimizer = draw.choice((lambda: torch.optim.Adam(rest, 1e-3), lambda: torch.optim.SGD(rest, 0.03, momentum=0.9)))()
    return truth(started(draw, model, optimizers=[optimizer]), FORGOTTEN, {place}, f"{place} is not in the optimizer")


def detached(draw):
    own = started(draw, host(draw))
    places = [name for name in order(own)[1:-1] if isinstance(own.model.get_submodule(name), (*nets.WEIGHTED, nn.ReLU))]
    place = draw.choice(places)
    names = put(own.model, place, faults.Detach())
    return truth(own, UNUSED, names | upstream(own), f"detached after {place}")


def zero_layer(draw):
    own = started(draw, host(draw, "chain", "normed"))
    place = before_zeroable(own, draw)
    for name, parameter in own.model.get_submodule(place).named_parameters():
        nn.init.zeros_(parameter) if name in ("weight", "bias") else None
    rules = DEAD | SYMMETRY | LOST_INPUT | CONSTANT | ZERO | STAYS
    return truth(own, rules, after(own, place) | following(own, place), f"{place} starts at zero, before a ReLU")


def before_zeroable(own, draw):
    names = order(own)
    return draw.choice([n for n in names if n.startswith(("fc", "conv")) and n != names[0]])


def following(own, place):
    """The norm and the activation behind a layer."""
    names = order(own)
    at = names.index(place)
    return {name for name in names[at : at + 3] if name == place or name.startswith(("norm", "act"))}


def constant(draw):
    model = chain(draw, draw.choice(("relu", "tanh", "gelu")), 2, 4, inplace=False)
    own = started(draw, model)
    layers = [name for name in order(own) if isinstance(model.get_submodule(name), nets.WEIGHTED)]
    first = draw.randrange(len(layers) - 1)
    for name in layers[first : first + 2]:
        weight = model.get_submodule(name).weight
        nn.init.constant_(weight, draw.choice((1.0, 0.5)) / weight[0].numel())
    names = set().union(*(after(own, name) for name in layers[first : first + 2]))
    return truth(own, SYMMETRY, names, f"{' and '.join(layers[first : first + 2])} constant")


def lost_updates(draw):
    model = chain(draw, norm=draw.choice((None, "batch"))).bfloat16()
    make = draw.choice(
        (lambda p: torch.optim.Adam(p, 1e-5), lambda p: torch.optim.SGD(p, 1e-5), lambda p: torch.optim.AdamW(p, 3e-6))
    )
    own = started(draw, model, optimizers=[make(model.parameters())])
    clean = own.data
    own.data = lambda step: (clean(step)[0].bfloat16(), clean(step)[1])
    return truth(own, LOST | RATIO, None, "weights in bfloat16 and a small rate")


def epsilon(draw):
    model = host(draw)
    if draw.random() < 0.5:
        eps = log_uniform(draw, 0.1, 10)
        own = started(draw, model, optimizers=[torch.optim.Adam(model.parameters(), 1e-3, eps=eps)])
        return truth(own, EPSILON | RATIO, None, f"Adam with epsilon {eps:.2g}")
    factor = log_uniform(draw, 1e-11, 1e-9)
    own = started(draw, model, "adam", "adamw")
    plain = own.loss
    own.loss = lambda out, y: factor * plain(out, y)
    return truth(own, EPSILON | RATIO, None, f"the loss x {factor:.0e} under Adam")


def tiny_rate(draw):
    model, rate = host(draw), log_uniform(draw, 1e-9, 1e-7)
    if draw.random() < 0.5:
        made = draw.choice((torch.optim.Adam, torch.optim.SGD))(model.parameters(), rate)
        return truth(started(draw, model, optimizers=[made]), RATIO | LOST, None, f"a rate of {rate:.0e}")
    place = chosen(draw, model, nets.WEIGHTED)
    slow = list(model.get_submodule(place).parameters())
    rest = [p for p in model.parameters() if all(p is not q for q in slow)]
    made = torch.optim.Adam([{"params": rest}, {"params": slow, "lr": rate}], 1e-3)
    return truth(
        started(draw, model, optimizers=[made]), RATIO | LOST | FORGOTTEN, {place}, f"a rate of {rate:.0e} for {place}"
    )


def gain_zero(draw):
    own = started(draw, chain(draw, norm="batch"))
    place = draw.choice([name for name in order(own) if name.startswith("norm")])
    nn.init.zeros_(own.model.get_submodule(place).weight)
    with torch.no_grad():
        own.model.get_submodule(place).bias.fill_(draw.choice((0.0, 0.5)))
    own.model.get_submodule(place).weight.requires_grad_(False)
    names = after(own, place)
    return truth(own, LOST_INPUT | CONSTANT | DEAD, names, f"the gain of {place} is zero, and stays")


def deep_default(draw):
    model = nets.mlp(draw.randint(16, 24), draw.choice((32, 64)), draw.choice(("relu", "leaky")), init="default")
    own = started(draw, model)
    return truth(
        own, VANISHING | LOST_INPUT, hidden(own), "a deep perceptron with biases in torch's own initialisation"
    )


def plain_deep(draw):
    blocks, width = draw.choice(("[3,3,3]", "[4,4]", "[3,4,3]")), draw.choice((8, 16))
    spec = f"resnet{blocks}:input=8,channels=1,classes=10,width={width},skip=none,norm=none,init=default"
    if blocks != "[4,4]":
        spec = spec.replace("input=8", "input=16")
    model = na.build(spec, seed=draw.getrandbits(31))
    size = 8 if blocks == "[4,4]" else 16
    data = images(draw, 16, change=lambda x: nn.functional.interpolate(x, size=size))
    own = started(draw, model, "adam", data=data, steps=30)
    return truth(
        own, VANISHING | LOST_INPUT, {n for n in order(own) if n != "fc"}, "a deep net without skips and norms"
    )


def underflow(draw):
    own = started(draw, host(draw))
    places = [name for name in order(own)[1:-1] if isinstance(own.model.get_submodule(name), (*nets.WEIGHTED, nn.ReLU))]
    place = draw.choice(places)
    names = put(own.model, place, faults.Half())
    return truth(own, ZERO | UNDERFLOW, names | upstream(own), f"gradients underflow to 0 after {place}")


def words_dead(draw):
    """A fault in a net on sentences: its hidden layer is dead, or its embedding left out of the optimizer."""
    model = nets.Bag(WORDS["words"], 16, WORDS["classes"], bag=False)
    if draw.random() < 0.5:
        own = spoken(draw, model, steps=40)
        biased(own, "fc", 1.0, draw)
        return truth(own, DEAD, {"fc", "act"}, "all channels of fc pushed below zero")
    rest = [p for name, p in model.named_parameters() if not name.startswith("embed")]
    own = spoken(draw, model, steps=40, optimizers=[torch.optim.Adam(rest, 1e-3)])
    return truth(own, FORGOTTEN, {"embed"}, "the embedding is not in the optimizer")


KINDS = {
    one.__name__.replace("_", " "): one
    for one in (
        nan_forward, nan_backward, nan_loss, nan_data, state_poked, weight_poked, overflow, small_weights,
        large_weights, saturated, raw_input, dead_layer, dead_part, left_out, detached, zero_layer, constant,
        lost_updates, epsilon, tiny_rate, gain_zero, deep_default, plain_deep, underflow, words_dead,
    )
}  # fmt: skip
