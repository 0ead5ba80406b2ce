"""Healthy trainings by kind: ordinary ones, and all in which something is zero, tiny or missing on purpose."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import nn

import netassay as na
from labelled import nets
from labelled.training import Training, images, sentences

OPTIMIZERS = {
    "sgd": (lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9), (0.02, 0.08)),
    "plain sgd": (lambda p, lr: torch.optim.SGD(p, lr), (0.05, 0.2)),
    "adam": (lambda p, lr: torch.optim.Adam(p, lr), (1e-3, 4e-3)),
    "adamw": (lambda p, lr: torch.optim.AdamW(p, lr, weight_decay=0.05), (1e-3, 4e-3)),
    "rmsprop": (lambda p, lr: torch.optim.RMSprop(p, lr), (5e-4, 1.5e-3)),
    "nadam": (lambda p, lr: torch.optim.NAdam(p, lr), (1e-3, 3e-3)),
    "adagrad": (lambda p, lr: torch.optim.Adagrad(p, lr), (1e-2, 3e-2)),
}
"""How each is made, and the range of its rate, as people use them on small nets."""
ADAPTIVE = ("adam", "adamw", "nadam", "rmsprop")
WORDS = {"words": 120, "tokens": 12, "classes": 5}


def log_uniform(draw, low, high):
    return math.exp(draw.uniform(math.log(low), math.log(high)))


def stepped(draw, parameters, *names, factor=1.0):
    """Draw an optimizer and its rate."""
    make, bounds = OPTIMIZERS[draw.choice(names or tuple(OPTIMIZERS))]
    return make(parameters, factor * log_uniform(draw, *bounds))


def training(draw, model, *names, factor=1.0, data=None, **settings):
    """Draw what every training needs."""
    settings = {"steps": draw.randint(60, 110), "every": draw.randint(1, 4), **settings}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizers = settings.pop("optimizers", None) or [stepped(draw, trained, *names, factor=factor)]
    return Training(model, data or images(draw, draw.choice((32, 48, 64))), optimizers, **settings)


def spoken(draw, model, *names, factor=1.0, **settings):
    """Draw a training on sentences."""
    data = sentences(draw, draw.choice((32, 64)), **WORDS)
    return training(draw, model, *(names or ADAPTIVE), factor=factor, data=data, **settings)


def mlp_relu(draw):
    model = nets.mlp(draw.randint(2, 6), draw.choice((32, 64, 128)), "relu", inplace=draw.random() < 0.5)
    return training(draw, model, factor=0.5)


def mlp_smooth(draw):
    name, init = draw.choice((("tanh", "xavier"), ("tanh", "lecun"), ("gelu", "he"), ("silu", "he"), ("elu", "lecun")))
    init = draw.choice((init, "orthogonal"))
    depth = draw.randint(2, 4) if init == "orthogonal" and name in ("gelu", "silu") else draw.randint(2, 7)
    return training(draw, nets.mlp(depth, draw.choice((32, 64, 128)), name, init=init), factor=0.7)


def mlp_default(draw):
    activation = draw.choice(("relu", "tanh", "leaky"))
    model = nets.mlp(draw.randint(1, 3), draw.choice((32, 64, 128)), activation, init="default")
    return training(draw, model, "sgd", *ADAPTIVE)


def mlp_sigmoid(draw):
    return training(draw, nets.mlp(1, draw.choice((32, 64)), "sigmoid", init="xavier"), "sgd", *ADAPTIVE, factor=2.0)


def mlp_norm(draw):
    depth, norm = draw.randint(2, 8), draw.choice(("batch", "layer"))
    dropout = draw.choice((0.0, 0.1, 0.3) if depth < 4 else (0.0, 0.05))
    model = nets.mlp(depth, draw.choice((48, 64, 128)), draw.choice(("relu", "gelu")), norm, "he", dropout)
    return training(draw, model, steps=110)


def cnn_plain(draw):
    depth, init = draw.choice(((2, "default"), (2, "he"), (3, "he"), (4, "he"), (5, "he")))
    shape = {"init": init, "inplace": draw.random() < 0.5, "hidden": draw.choice((0, 64)), "pools": (1, depth)}
    model = nets.cnn(depth, draw.choice((8, 16, 24)), draw.choice(("relu", "leaky")), **shape)
    return training(draw, model, "sgd", *ADAPTIVE, factor=0.5)


def cnn_norm(draw):
    depth = draw.randint(2, 7)
    shape = {"inplace": draw.random() < 0.5, "bias": draw.random() < 0.7, "pools": (2, depth)}
    norm = draw.choice(("batch", "batch", "group"))
    return training(draw, nets.cnn(depth, draw.choice((8, 16, 24)), "relu", norm, **shape))


def resnet_norm(draw):
    ends = draw.choice(("drawn", "zero_gamma"))
    norm = draw.choice(("batch", "group"))
    model = nets.ResNet(draw.randint(2, 5), draw.choice((8, 16)), norm, ends, inplace=draw.random() < 0.5)
    return training(draw, model, "sgd", *ADAPTIVE, factor=2.0, steps=draw.randint(100, 140))


def resnet_zoo(draw):
    norm = draw.choice(("batch", "group"))
    width = draw.choice((8, 16)) if norm == "batch" else 32
    stages, shortcut = f"1,{draw.randint(1, 2)}", draw.choice("AB")
    spec = f"resnet[{stages}]:input=8,channels=1,classes=10,width={width},norm={norm},shortcut={shortcut}"
    return training(draw, na.build(spec, seed=draw.getrandbits(31)), "sgd", *ADAPTIVE, steps=60)


def resnet_free(draw):
    end = draw.choice(("fixup", "rezero", "scale", "scaled"))
    model = nets.ResNet(draw.randint(2, 5), draw.choice((8, 16)), None, end, inplace=draw.random() < 0.5)
    return training(draw, model, *ADAPTIVE, factor=2.0, steps=150)


def densenet(draw):
    layers = f"{draw.randint(2, 3)},{draw.randint(2, 3)}"
    model = na.build(f"densenet[{layers}]:input=16,channels=1,classes=10,growth={draw.choice((6, 8))},bottleneck=none")
    data = images(draw, 32, change=lambda x: nn.functional.interpolate(x, size=16, mode="bilinear"))
    return training(draw, model, "sgd", *ADAPTIVE, factor=3.0, data=data, steps=80)


def vgg(draw):
    depth, norm = draw.randint(6, 8), draw.choice((None, "batch"))
    model = nets.cnn(depth, draw.choice((16, 24)), "relu", norm, inplace=True, hidden=64, pools=(2, 4, depth))
    return training(draw, model, "sgd" if norm else "adam", *ADAPTIVE, factor=1 if norm else 0.5, steps=100)


def transformer(draw, pre=True, attention=nets.Attention, **more):
    worded = draw.random() < 0.5
    shape = {"dropout": draw.choice((0.0, 0.1)), "activation": draw.choice(("relu", "gelu"))}
    shape |= WORDS if worded else {}
    blocks, width = draw.randint(1, 4), draw.choice((32, 48))
    model = nets.Transformer(blocks, width, 4, pre=pre, attention=attention, **shape, **more)
    names = ("adam", "adamw", "nadam")
    return (spoken if worded else training)(draw, model, *names, factor=0.7, steps=draw.randint(100, 150))


def transformer_post(draw):
    return transformer(draw, pre=False)


def transformer_torch(draw):
    whole = draw.random() < 0.5
    return transformer(draw, pre=draw.random() < 0.6, attention=nets.Torch, whole=whole)


def embeddings(draw):
    model = nets.Bag(WORDS["words"], draw.choice((16, 32)), WORDS["classes"], bag=draw.random() < 0.5)
    return spoken(draw, model, factor=3.0, steps=120)


def recurrent(draw):
    model = nets.Recurrent(draw.choice((nn.LSTM, nn.GRU)), draw.choice((32, 64)), draw.randint(1, 2))
    return training(draw, model, *ADAPTIVE, factor=2.0, steps=120)


def autoencoder(draw):
    """Its code is linear, as it mostly is."""
    wide, code, activation = draw.choice((32, 48)), draw.choice((8, 12)), draw.choice(("relu", "tanh", "gelu"))
    widths = (64, wide, code, wide)
    layers = {"flatten": nn.Flatten()}
    for i, (features, width) in enumerate(pairwise(widths), 1):
        layers |= {f"fc{i}": nn.Linear(features, width)} | ({f"act{i}": nets.act(activation)} if i != 2 else {})
    layers |= {"head": nn.Linear(wide, 64)}
    model = nets.drawn(nets.named(layers), "xavier" if activation == "tanh" else "he")
    data = images(draw, 64)
    own = training(draw, model, *ADAPTIVE, steps=150, data=lambda step: (data(step)[0],) * 2)
    own.loss = lambda out, x: nn.functional.mse_loss(out, x.flatten(1))
    return own


def frozen(draw):
    """Frozen on purpose: the first layers of a net that was trained before, or all but its head."""
    model = nets.cnn(draw.randint(2, 4), 16, "relu", draw.choice((None, "batch")))
    kept = draw.choice((("head",), ("conv2", "norm2", "conv3", "norm3", "conv4", "norm4", "head")))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in kept)
    return training(draw, model, "sgd", "adam", factor=1.5)


def reused(draw):
    model = nets.Reused(draw.choice((32, 64)), draw.randint(2, 4), draw.choice(("relu", "tanh")))
    return training(draw, model, "sgd", *ADAPTIVE, factor=0.7)


def checkpointed(draw):
    if draw.random() < 0.5:
        return transformer(draw, again=True)
    norm = draw.choice(("batch", "group"))
    model = nets.ResNet(draw.randint(2, 4), 16, norm, "drawn", inplace=True, again=True)
    return training(draw, model, "sgd", *ADAPTIVE, factor=2.0, steps=120)


def ordinary(draw):
    """One of the ordinary kinds, to be trained in some special way."""
    return draw.choice((mlp_relu, mlp_smooth, mlp_norm, cnn_plain, cnn_norm, resnet_norm, transformer))(draw)


def autocast(draw):
    own = ordinary(draw)
    own.autocast = True
    return own


def accumulated(draw):
    own = ordinary(draw)
    own.accumulate = draw.choice((2, 4))
    return own


def scaled(draw):
    own = ordinary(draw)
    own.scaler, own.autocast = torch.amp.GradScaler("cpu", init_scale=2.0 ** draw.randint(8, 16)), draw.random() < 0.5
    return own


def clipped(draw):
    own = ordinary(draw)
    own.clip = draw.choice((0.5, 1.0, 5.0))
    return own


def two_optimizers(draw):
    model = draw.choice((nets.cnn(3, 16, "relu", "batch"), nets.mlp(3, 64, "gelu")))
    *body, head = model.children()
    parts = [[p for module in body for p in module.parameters()], list(head.parameters())]
    if draw.random() < 0.5:
        rates = [{"params": parts[0]}, {"params": parts[1], "lr": 3e-3, "weight_decay": 0.0}]
        return training(draw, model, optimizers=[torch.optim.AdamW(rates, 1e-3, weight_decay=0.01)])
    return training(draw, model, optimizers=[stepped(draw, parts[0], "sgd"), stepped(draw, parts[1], "adam")])


def scheduled(draw):
    """Weight decay with a rate that warms up and falls to zero; before norms it only scales the weights."""
    model = draw.choice((nets.cnn(4, 16, "relu", "batch", bias=False), nets.ResNet(3, 8, "batch")))
    rate, steps = log_uniform(draw, 0.05, 0.2), draw.randint(90, 120)
    sgd = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=draw.choice((5e-4, 5e-3)), nesterov=True)
    curve = lambda step: min(1, step / 10) * 0.5 * (1 + math.cos(math.pi * min(1, step / steps)))  # noqa: E731
    schedule = torch.optim.lr_scheduler.LambdaLR(sgd, curve)
    return training(draw, model, optimizers=[sgd], schedules=[schedule], steps=steps)


def fitted(draw):
    """Trained until hardly any loss is left, on few samples."""
    models = nets.mlp(3, 128, "relu"), nets.cnn(3, 16, "relu", "batch"), nets.mlp(4, 64, "tanh", init="xavier")
    data = images(draw, 32, n=draw.choice((32, 64)))
    return training(draw, draw.choice(models), "sgd", "adam", data=data, steps=150)


def spare(draw):
    """A module that the training does not use."""
    model = nets.Spare(draw.choice((mlp_relu, cnn_norm))(draw).model)
    return training(draw, model, "sgd", "adam", factor=0.7)


KINDS = {
    one.__name__.replace("_", " "): one
    for one in (
        mlp_relu, mlp_smooth, mlp_default, mlp_sigmoid, mlp_norm, cnn_plain, cnn_norm, resnet_norm, resnet_zoo,
        resnet_free, densenet, vgg, transformer, transformer_post, transformer_torch, embeddings, recurrent,
        autoencoder, frozen, reused, checkpointed, autocast, accumulated, scaled, clipped, two_optimizers, scheduled,
        fitted, spare,
    )
}  # fmt: skip
