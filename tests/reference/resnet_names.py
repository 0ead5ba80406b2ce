"""The names in torchvision's ResNet state dicts, written from the naming rule, and their shapes."""

from __future__ import annotations

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def names(blocks: list[int], convs: int, expansion: int) -> dict[str, tuple[int, ...]]:
    """Map every name to its shape, in order, for a network of 1000 classes and `convs` per block."""
    found: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    C = 64
    for stage, count in enumerate(blocks):
        width = 64 * 2**stage
        for block in range(count):
            at = f"layer{stage + 1}.{block}"
            wide = width * expansion
            if convs == 2:
                sizes = [(width, C, 3, 3), (width, width, 3, 3)]
            else:
                sizes = [(width, C, 1, 1), (width, width, 3, 3), (wide, width, 1, 1)]
            for i, size in enumerate(sizes, 1):
                found |= {f"{at}.conv{i}.weight": size, **norm(f"{at}.bn{i}", size[0])}
            if block == 0 and (stage > 0 or wide != C):
                found |= {f"{at}.downsample.0.weight": (wide, C, 1, 1), **norm(f"{at}.downsample.1", wide)}
            C = wide
    return {**found, "fc.weight": (1000, C), "fc.bias": (1000,)}


def norm(at: str, C: int) -> dict[str, tuple[int, ...]]:
    """Map a BatchNorm's five entries to their shapes."""
    return {f"{at}.{name}": () if name == "num_batches_tracked" else (C,) for name in NORM}
