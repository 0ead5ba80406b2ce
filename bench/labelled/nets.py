"""Networks of the bench, small enough to train in a second; every leaf that matters is a module with a name."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

ACTS = {
    "relu": nn.ReLU, "leaky": partial(nn.LeakyReLU, 0.1), "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU,
    "tanh": nn.Tanh, "sigmoid": nn.Sigmoid,
}  # fmt: skip
INITS = {
    "he": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "lecun": lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"),
    "xavier": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
}
WEIGHTED = (nn.Linear, nn.Conv2d)


def drawn(model, init):
    """Draw all weight matrices by a scheme and set their biases to zero; `default` leaves torch's own."""
    if init == "default":
        return model
    for module in model.modules():
        if isinstance(module, WEIGHTED):
            INITS[init](module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


def act(name, inplace=False):
    return nn.ReLU(inplace=True) if inplace and name == "relu" else ACTS[name]()


def norm1d(name, width):
    return {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[name](width)


def norm2d(name, width):
    return {"batch": nn.BatchNorm2d, "group": partial(nn.GroupNorm, min(4, width))}[name](width)


def mlp(depth, width, activation="relu", norm=None, init="he", dropout=0.0, inplace=False, out=10):
    """`depth` hidden layers fc1, norm1, act1, drop1, ... and a head."""
    layers, features = {"flatten": nn.Flatten()}, 64
    for i in range(1, depth + 1):
        layers[f"fc{i}"] = nn.Linear(features, width)
        if norm:
            layers[f"norm{i}"] = norm1d(norm, width)
        layers[f"act{i}"] = act(activation, inplace)
        if dropout:
            layers[f"drop{i}"] = nn.Dropout(dropout)
        features = width
    layers["head"] = nn.Linear(features, out)
    return drawn(named(layers), init)


def named(layers):
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    return model


def cnn(depth, width, activation="relu", norm=None, init="he", inplace=False, bias=True, hidden=0, pools=(2,)):
    """`depth` 3x3 convolutions conv1, norm1, act1, ..., pooled after those named, a hidden layer or none, a head."""
    layers, channels, size = {}, 1, 8
    for i in range(1, depth + 1):
        layers[f"conv{i}"] = nn.Conv2d(channels, width, 3, padding=1, bias=bias)
        if norm:
            layers[f"norm{i}"] = norm2d(norm, width)
        layers[f"act{i}"] = act(activation, inplace)
        if i in pools:
            layers[f"pool{i}"], size = nn.MaxPool2d(2), size // 2
        channels = width
    layers["flatten"], features = nn.Flatten(), channels * size * size
    if hidden:
        layers["fc"], layers["act"], features = nn.Linear(features, hidden), act(activation, inplace), hidden
    layers["head"] = nn.Linear(features, 10)
    return drawn(named(layers), init)


class Scale(nn.Module):
    """One trained factor: the end of a branch."""

    def __init__(self, start):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(start))

    def forward(self, x):
        return self.factor * x


class Block(nn.Module):
    """A residual block; `end` says how its branch begins: as drawn, or zero (zero_gamma, fixup; rezero, and scale, a
    module of its own)."""

    def __init__(self, channels, width, stride, norm, end, inplace):
        super().__init__()
        make = partial(norm2d, norm) if norm else lambda width: nn.Identity()
        self.conv1, self.norm1 = nn.Conv2d(channels, width, 3, stride, 1, bias=not norm), make(width)
        self.act1 = nn.ReLU(inplace=inplace)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, 1, 1, bias=not norm), make(width)
        self.gain = {"scale": lambda: Scale(0.0), "fixup": lambda: Scale(1.0)}.get(end, nn.Identity)()
        self.factor = nn.Parameter(torch.zeros(())) if end == "rezero" else 1.0
        self.skip = nn.Identity() if (channels, stride) == (width, 1) else nn.Conv2d(channels, width, 1, stride)
        self.act2, self.end = nn.ReLU(inplace=inplace), end

    def forward(self, x):
        y = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        return self.act2(self.factor * self.gain(y) + self.skip(x))


class ResNet(nn.Module):
    """Stem, residual blocks, means over quarters of the image, a head; blocks are checkpointed where `again`."""

    def __init__(self, blocks, width, norm, end="drawn", inplace=False, again=False):
        super().__init__()
        self.again = again
        self.stem, self.norm = nn.Conv2d(1, width, 3, padding=1), norm2d(norm, width) if norm else nn.Identity()
        self.act = nn.ReLU(inplace=inplace)
        wide = [width * (1 + i // 2) for i in range(blocks)]
        pairs = zip([width, *wide], wide, strict=False)
        self.blocks = nn.ModuleList(Block(i, o, 1 + (i != o), norm, end, inplace) for i, o in pairs)
        self.pool, self.flatten, self.head = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * wide[-1], 10)
        drawn(self, "he")
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="linear")
        for block in self.blocks:
            begin(block, blocks)

    def forward(self, x):
        x = self.act(self.norm(self.stem(x)))
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.again and self.training else block(x)
        return self.head(self.flatten(self.pool(x)))


def begin(block, blocks):
    """Set the start of a branch's end: Fixup as Zhang et al. 2019, zero-gamma as Goyal et al. 2017."""
    with torch.no_grad():
        if block.end == "fixup":
            block.conv1.weight.mul_(blocks**-0.5)
            block.conv2.weight.zero_()
        elif block.end == "zero_gamma":
            block.norm2.weight.zero_()
        elif block.end == "scaled":
            block.conv2.weight.mul_(blocks**-0.5)


class Attention(nn.Module):
    """Self-attention with queries, keys and values apart, each with a bias."""

    def __init__(self, width, heads):
        super().__init__()
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))
        self.heads = heads

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        shares = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1)
        return self.proj((shares @ v).transpose(1, 2).flatten(2))


class Torch(nn.Module):
    """`nn.MultiheadAttention`, whose `out_proj` is never called as a module."""

    def __init__(self, width, heads):
        super().__init__()
        self.mha = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x):
        return self.mha(x, x, x, need_weights=False)[0]


class Encoder(nn.Module):
    """An encoder block, normed before its branches or after them."""

    def __init__(self, width, heads, activation, attention, pre, dropout):
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(width), attention(width, heads), nn.LayerNorm(width)
        self.fc1, self.act, self.fc2 = nn.Linear(width, 4 * width), act(activation), nn.Linear(4 * width, width)
        self.drop, self.pre = nn.Dropout(dropout), pre

    def forward(self, x):
        if self.pre:
            x = x + self.drop(self.attention(self.norm1(x)))
            return x + self.drop(self.fc2(self.act(self.fc1(self.norm2(x)))))
        x = self.norm1(x + self.drop(self.attention(x)))
        return self.norm2(x + self.drop(self.fc2(self.act(self.fc1(x)))))


class Transformer(nn.Module):
    """Tokens, or the rows of an image, through encoder blocks; the mean over tokens, a head."""

    def __init__(
        self, blocks, width, heads=4, activation="gelu", attention=Attention, pre=True, dropout=0.0, words=0, tokens=8,
        classes=10, again=False, whole=False,
    ):  # fmt: skip
        super().__init__()
        self.embed = nn.Embedding(words, width) if words else nn.Linear(8, width)
        self.place, self.again = nn.Parameter(0.02 * torch.randn(tokens, width)), again
        if whole:
            make = partial(nn.TransformerEncoderLayer, width, heads, 4 * width, dropout, batch_first=True)
            self.blocks = nn.ModuleList(make(norm_first=pre) for _ in range(blocks))
        else:
            parts = (width, heads, activation, attention, pre, dropout)
            self.blocks = nn.ModuleList(Encoder(*parts) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width) if pre else nn.Identity(), nn.Linear(width, classes)

    def forward(self, x):
        x = self.embed(x if x.dim() == 2 else x.squeeze(1)) + self.place
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.again and self.training else block(x)
        return self.head(self.norm(x).mean(1))


class Bag(nn.Module):
    """Embeddings, averaged over the tokens, a hidden layer, a head."""

    def __init__(self, words, width, classes, bag):
        super().__init__()
        self.embed = nn.EmbeddingBag(words, width, mode="mean") if bag else nn.Embedding(words, width)
        self.fc, self.act, self.head = nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, classes)

    def forward(self, x):
        x = self.embed(x)
        return self.head(self.act(self.fc(x if x.dim() == 2 else x.mean(1))))


class Recurrent(nn.Module):
    """The rows of an image through an LSTM or a GRU; a head on the last state."""

    def __init__(self, kind, width, layers):
        super().__init__()
        self.rnn, self.head = kind(8, width, layers, batch_first=True), nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.rnn(x.squeeze(1))[0][:, -1])


class Reused(nn.Module):
    """One hidden layer and one activation, used again and again."""

    def __init__(self, width, times, activation):
        super().__init__()
        self.flatten, self.stem, self.cell = nn.Flatten(), nn.Linear(64, width), nn.Linear(width, width)
        self.act, self.head, self.times = act(activation), nn.Linear(width, 10), times
        drawn(self, "he" if activation == "relu" else "xavier")

    def forward(self, x):
        x = self.act(self.stem(self.flatten(x)))
        for _ in range(self.times):
            x = self.act(self.cell(x))
        return self.head(x)


class Spare(nn.Module):
    """A network with a second head that its training does not use."""

    def __init__(self, model):
        super().__init__()
        self.main, self.auxiliary = model, nn.Linear(64, 10)

    def forward(self, x):
        return self.main(x)
