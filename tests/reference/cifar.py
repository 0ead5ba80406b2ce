"""CIFAR's binary records, byte by byte, as the data set's page describes them."""

from __future__ import annotations

from pathlib import Path


def records(files: list[Path], label_bytes: int, label: int) -> tuple[list[list[list[list[float]]]], list[int]]:
    """Return images as [row][channel][y][x] in [0, 1], and one label of each."""
    images, labels = [], []
    for file in files:
        rest = file.read_bytes()
        while rest:
            labels.append(rest[label])
            rest = rest[label_bytes:]
            planes = []
            for channel in range(3):
                plane = []
                for y in range(32):
                    at = channel * 1024 + y * 32
                    plane.append([byte / 255 for byte in rest[at : at + 32]])
                planes.append(plane)
            images.append(planes)
            rest = rest[3072:]
    return images, labels
