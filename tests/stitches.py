"""Small trained networks to stitch, kept as files, so that worker processes can build them."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import save_model

from netassay.data import splits
from netassay.training import train
from netassay.zoo import built

TIMES = ("seconds",)


def kept(folder, spec, seed, epochs):
    """Train a network on digits and return a spec that loads it; options are written out, since files have no data."""
    learn, _ = splits("digits:size=8", batch_size=64)
    model = built(spec, learn.input_shape, learn.classes, seed=seed)
    train(model, learn, epochs=epochs, lr=1e-2, seed=seed)
    file = folder / f"{spec.split('[')[0]}-{seed}.safetensors"
    save_model(model, str(file))
    return f"{spec}{',' if ':' in spec else ':'}weights={file}"


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Two perceptrons that learned their task and a ResNet that began to, by name."""
    folder = tmp_path_factory.mktemp("nets")
    specs = {"a": ("mlp[12,10,8]", 0, 20), "b": ("mlp[12,10,8]", 1, 20), "r": ("resnet[1,1]:width=4", 0, 2)}
    return {name: kept(folder, *how) for name, how in specs.items()}


def same(one, other):
    """Assert that two grids have the same numbers, bit for bit, but for the seconds."""
    assert one.tables.keys() == other.tables.keys()
    assert one.arrays.keys() == other.arrays.keys()
    for name, table in one.tables.items():
        for column, values in table.columns.items():
            if column not in TIMES:
                np.testing.assert_array_equal(values, other.tables[name].columns[column], err_msg=f"{name} {column}")
    for name, values in one.arrays.items():
        np.testing.assert_array_equal(np.asarray(values), np.asarray(other.arrays[name]), err_msg=name)
    assert [str(claim) for claim in one.claims] == [str(claim) for claim in other.claims]
