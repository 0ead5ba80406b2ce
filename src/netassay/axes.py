"""Axes: which axis of a layer's output holds samples, and which channels."""

from __future__ import annotations

from torch import Tensor, nn

from netassay.errors import BadInput
from netassay.records import Record

FIRST: tuple[type[nn.Module], ...] = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
)
"""Layers whose channels are axis 1, whatever comes after."""
LAST: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Bilinear,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.Embedding,
    nn.EmbeddingBag,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)
"""Layers whose channels are the last axis, as with tokens `(N, T, C)`."""


class Axes:
    """Finds the channel axis of every output of a forward pass, and turns outputs into `(N, C, P)`.

    Convolutions and norms have channels at axis 1, linear layers and attention at the last. Any other layer has
    its input's: an activation after a Linear over tokens has channels last. Where its input came from something
    that is no layer, the number of axes decides: 1 for images, and for three axes what such outputs had before.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self._made: list[tuple[Tensor, int]] = []

    def note(self, record: Record) -> int:
        """Return the channel axis of a record's output, counted from the front; call in order of execution."""
        y = record.y
        if y is None:
            return 1
        axis = self._find(record, y)
        self._made.append((y, axis))
        return axis

    def _find(self, record: Record, y: Tensor) -> int:
        last = max(y.dim() - 1, 0)
        if isinstance(record.layer.module, LAST):
            return last
        if isinstance(record.layer.module, FIRST):
            return min(1, last)
        for made, axis in reversed(self._made):
            # In place, or of the same memory: the layer's input is that output.
            if record.x is not None and made.data_ptr() == record.x.data_ptr() and made.shape == record.x.shape:
                return axis if axis < made.dim() - 1 else last
        for made, axis in reversed(self._made):
            if made.shape == y.shape:
                return axis
        return (
            last
            if y.dim() == 3 and not any(made.dim() == 3 and axis == 1 for made, axis in self._made)
            else min(1, last)
        )


NOWHERE = -1
"""The sample axis of an output that is the same for any batch, such as a positional embedding."""


def grown(shape: tuple[int, ...], more: tuple[int, ...], samples: int) -> int | None:
    """Find the sample axis of an output: the one that grows from `shape` to `more` with one sample more.

    >>> grown((7, 7, 5), (7, 8, 5), samples=7), grown((7, 5), (7, 5), samples=7)
    (1, -1)
    """
    if shape == more:
        return NOWHERE
    pairs = list(zip(shape, more, strict=False))
    axes = [i for i, (a, b) in enumerate(pairs) if a != b and a * (samples + 1) == b * samples]
    return axes[0] if len(axes) == 1 and len(shape) == len(more) else None


def by_channel(y: Tensor, axis: int, samples: int, layer: str, sample_axis: int | None = None) -> Tensor:
    """View an output as `(N, C, P)`: samples, channels, everything else.

    Where `sample_axis` is not known, it is the first of the first two whose length is the batch's. A multiple of it
    (windows, heads) counts as positions. Raises `BadInput` where there is none.
    """
    among = (0, 1) if sample_axis is None else (sample_axis,)
    if y.dim() < 2:
        y, axis = y.reshape(-1, 1), 1
    first = next((i for i in among if i != NOWHERE and y.shape[i] == samples and i != axis), None)
    if first is None and 0 in among and samples and y.shape[0] % samples == 0 and axis != 0:
        y, first, axis = y.reshape(samples, -1, *y.shape[1:]), 0, axis + 1
    if first is None:
        raise BadInput(
            f"channels of layer {layer!r}",
            f"output {tuple(y.shape)} has no axis for the batch's {samples} samples",
            "leave the layer out, or batch the model's inputs along their first axis",
        )
    return y.movedim((first, axis), (0, 1)).flatten(2) if y.dim() > 2 else y.movedim((first, axis), (0, 1)).unsqueeze(2)
