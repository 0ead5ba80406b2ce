"""Data: batches of every form, digits, noise, parquet files, loaders that stay as they were, and refusals."""

from __future__ import annotations

import hashlib
import io
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from netassay.data import Batch, Data, as_batch, digits, load_data, splits
from netassay.data.rows import kept
from netassay.errors import BadInput, UnknownName
from tests.reference.bilinear import enlarged

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "cifar10-jpeg"
X, Y = torch.arange(20.0).reshape(10, 2), torch.arange(10) % 3


def refused(source: object, **options: int) -> BadInput:
    with pytest.raises(BadInput) as caught:
        list(load_data(source, **options))
    return caught.value


def joined(data: Data) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    batches = list(data)
    y = None if batches[0].y is None else torch.cat([batch.y for batch in batches])
    return torch.cat([batch.x for batch in batches]), y, torch.cat([batch.ids for batch in batches])


# Batches


@pytest.mark.parametrize(
    "item",
    [
        (X, Y),
        [X, Y],
        {"x": X, "y": Y},
        {"pixel_values": X, "labels": Y.to(torch.int32), "path": "elsewhere"},
        {"input_ids": X, "targets": Y.tolist()},
        {"inputs": X.numpy(), "target": Y.numpy().astype(np.uint8)},
        Batch(X, Y),
    ],
)
def test_a_batch_is_read_whatever_its_form(item):
    """Tuples, lists, dicts and arrays give the same x, int64 labels, and running numbers as ids."""
    batch = as_batch(item, start=7)
    assert torch.equal(batch.x, X)
    assert torch.equal(batch.y, Y)
    assert batch.y.dtype == torch.int64
    assert batch.mask is None
    assert batch.ids.tolist() == list(range(7, 17))


def test_a_batch_may_be_bare_or_full():
    """x alone is enough; mask and ids are taken as given; float labels stay floats."""
    for item in (X, X.numpy(), (X,), {"input": X}):
        assert as_batch(item, 0).y is None
    mask, ids = torch.ones(10, 2), torch.arange(10).flip(0)
    full = as_batch((X, X, mask, ids), 0)
    assert full.y.dtype == torch.float32
    assert full.mask is mask
    assert torch.equal(full.ids, ids)
    named = as_batch({"x": X, "attention_mask": mask, "id": ids.tolist()}, 3)
    assert named.mask is mask
    assert torch.equal(named.ids, ids)


def test_numpys_default_becomes_torchs_default():
    """float64 arrays become float32; float64 tensors stay what they are; read-only arrays are copied."""
    array = np.zeros((2, 2))
    array.setflags(write=False)
    assert as_batch(array, 0).x.dtype == torch.float32
    assert as_batch(torch.zeros(2, dtype=torch.float64), 0).x.dtype == torch.float64


@pytest.mark.parametrize(
    ("item", "found", "next"),
    [
        ((X, Y[:9]), "x is (10, 2) float32 and y is (9,) int64", "one entry of y per sample"),
        ((X, None, X[:3]), "mask is (3, 2)", "one entry of mask per sample"),
        ((X, None, None, Y[:3]), "ids is (3,)", "one entry of ids per sample"),
        ((X, Y, None, X), "ids are (10, 2) float32", "one integer per sample"),
        ((X, torch.tensor(1)), "y is () int64", "one entry of y per sample"),
        ((), "a tuple of 0", "give x, (x, y)"),
        ((X, Y, None, None, None), "a tuple of 5", "give x, (x, y)"),
        ("x", "a str", "give x, (x, y)"),
        (torch.tensor(1.0), "x is a single number", "along its first axis"),
        ((["a", "b"],), "x is a list that is no tensor", "one tensor or numpy array"),
        (([X, X[:3]],), "x is a list that is no tensor", "one tensor or numpy array"),
        ((None, Y), "x is a NoneType", "one tensor or numpy array"),
        ({"y": Y}, "only 'y'", "name the input 'x'"),
        ({"x": X, "input_ids": X}, "'x', 'input_ids' could all be x", "keep one as 'x'"),
    ],
)
def test_what_is_no_batch_is_refused(item, found, next):
    """Each refusal names the part and its shape, and says what to give."""
    with pytest.raises(BadInput) as caught:
        as_batch(item, 0)
    assert found in caught.value.found
    assert next in caught.value.next


# What the caller holds


@given(n=st.integers(1, 30), size=st.integers(1, 40), seed=st.integers(0, 5), epoch=st.integers(0, 5))
def test_batches_of_tensors_partition_them(n, size, seed, epoch):
    """Whatever the batch size and order, every sample passes once, with its own label and id."""
    x, y = torch.arange(n).float()[:, None], torch.arange(n) * 2
    data = load_data((x, y), batch_size=size)
    assert len(data) == len(list(data))
    for one in (data, data.shuffled(seed, epoch)):
        xs, ys, ids = joined(one)
        assert torch.equal(xs[:, 0].long(), ids)
        assert torch.equal(ys, 2 * ids)
        assert ids.sort().values.tolist() == list(range(n))
    assert joined(data)[2].tolist() == list(range(n))


def test_shuffled_passes_differ_by_seed_and_epoch_and_repeat():
    """An order belongs to its seed and epoch; nothing of the data itself changes."""
    data = load_data((X, Y), batch_size=4)
    orders = {(s, e): tuple(joined(data.shuffled(s, e))[2].tolist()) for s in range(3) for e in range(3)}
    assert len(set(orders.values())) == 9
    assert tuple(joined(data.shuffled(1, 2))[2].tolist()) == orders[1, 2]
    assert joined(data)[2].tolist() == list(range(10))


def test_a_model_that_works_in_place_cannot_change_the_callers_tensors():
    """Batches of tensors are copies."""
    x = X.clone()
    for batch in load_data(x):
        batch.x.zero_()
    assert torch.equal(x, X)


def test_data_stays_data_and_knows_what_it_can():
    """A Data passes through unchanged; tensors know their number and shape, loaders only their number."""
    data = load_data((X, Y))
    assert load_data(data) is data
    assert (data.n, data.input_shape, data.spec) == (10, (2,), "<tensors of 10 samples, (2,)>")
    loader = load_data(DataLoader(TensorDataset(X, Y), batch_size=4))
    assert (loader.n, len(loader), loader.input_shape, loader.note) == (10, 3, None, "")
    assert load_data(DataLoader(TensorDataset(X), batch_size=4, drop_last=True)).n == 8
    assert "ids are places" in load_data(DataLoader(TensorDataset(X), batch_size=4, shuffle=True)).note


def test_a_list_of_batches_counts_on():
    """Batches in a list keep their order and number their samples through; shuffled, the ids go along."""
    data = load_data([(X[:4], Y[:4]), [X[4:], Y[4:]]])
    assert [batch.ids.tolist() for batch in data] == [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9]]
    assert (data.n, len(data), data.input_shape) == (10, 2, (2,))
    seen = {tuple(map(tuple, (b.ids.tolist() for b in data.shuffled(s, 0)))) for s in range(8)}
    assert len(seen) == 2


class Loop:
    """Loops over batches anew each time, as a user's own loader does."""

    def __iter__(self):
        yield X[:3]
        yield X[3:]


def test_any_object_that_loops_anew_is_data():
    """A user's own loader passes twice, its samples numbered; its length is unknown."""
    data = load_data(Loop())
    assert joined(data)[2].tolist() == joined(data)[2].tolist() == list(range(10))
    with pytest.raises(TypeError, match="number of batches"):
        len(data)


@pytest.mark.parametrize(
    ("source", "found", "next"),
    [
        (iter([X]), "passed over only once", "give list(...)"),
        ((x for x in [X]), "passed over only once", "give list(...)"),
        (3, "a int is no spec", "DataLoader"),
        (TensorDataset(X), "a TensorDataset is no spec", "DataLoader(dataset"),
        ([X, Y], "tensors of 1 and 2 axes", "give one pair as a tuple"),
        ([], "no batch came out", "not empty"),
        (DataLoader([]), "no batch came out", "not empty"),
        ((X, Y[:2]), "x is (10, 2) float32 and y is (2,) int64", "one entry of y"),
        ([(X, Y[:2])], "x is (10, 2) float32 and y is (2,) int64", "one entry of y"),
        (torch.zeros(0, 3), "no batch came out", "not empty"),
        ("digts", "closest: 'digits'", "use 'digits'"),
        ("digits:size=4", "8 pixels wide", "size=8"),
        ("digits:n=0", "1797 samples in split=all", "n from 1 to 1797"),
        ("digits:split=test,n=361", "360 samples in split=test", "n from 1 to 360"),
        ("noise", "KIND is missing", "noise:KIND"),
        ("noise:normla", "closest: 'normal'", "uniform|normal"),
        ("noise:normal,size=0", "size must be 1 or more", "size=1"),
    ],
)
def test_what_is_no_data_is_refused(source, found, next):
    """Each refusal says what was found and what to give instead."""
    error = refused(source)
    assert found in error.found
    assert next in error.next


def test_batch_sizes_and_bare_paths_are_refused(tmp_path):
    """A batch holds at least one sample; a path is answered with the spec that reads it."""
    assert "one sample or more" in refused(X, batch_size=0).found
    assert refused(str(tmp_path)).next == f"parquet:{tmp_path}"


# Loaders stay as they were


class Noisy(IterableDataset):
    """Draws from every global generator, as augmentation does, and may fail."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails

    def __iter__(self):
        for i in range(6):
            if self.fails and i == 3:
                raise OSError("disk")
            yield torch.rand(2) + random.random() + float(np.random.rand())


def loaders() -> dict[str, DataLoader]:
    one, two = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    sampler = torch.utils.data.RandomSampler(X, generator=two)
    batched = torch.utils.data.BatchSampler(sampler, 3, drop_last=False)
    return {
        "global": DataLoader(X, batch_size=3, shuffle=True),
        "own": DataLoader(X, batch_size=3, shuffle=True, generator=one),
        "sampler": DataLoader(X, batch_size=3, sampler=sampler, generator=one),
        "batch sampler": DataLoader(X, batch_sampler=batched),
        "augmented": DataLoader(Noisy(), batch_size=2),
        "failing": DataLoader(Noisy(fails=True), batch_size=2),
    }


def random_state(loader: DataLoader) -> list[object]:
    places = (loader, loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None))
    own = [getattr(place, "generator", None) for place in places]
    return [
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
        *(one.get_state().tolist() for one in own if one is not None),
    ]


@pytest.mark.parametrize("kind", loaders())
@pytest.mark.parametrize("stop", [1, 2, 99])
def test_a_pass_leaves_every_generator_as_it_was(kind, stop):
    """After a pass, whole, abandoned or failed, no generator has moved; nor has one between batches."""
    loader = loaders()[kind]
    data, before = load_data(loader), random_state(loader)
    try:
        for i, _ in enumerate(data):
            assert random_state(loader) == before
            if i == stop:
                break
    except OSError:
        assert kind == "failing"
    assert random_state(loader) == before


@pytest.mark.parametrize("kind", [kind for kind in loaders() if kind != "failing"])
def test_a_loader_gives_what_it_would_have_given(kind):
    """A pass has the loader's own order and draws, again on every pass, whatever the caller draws."""
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    expected = list(loaders()[kind])
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    data = load_data(loaders()[kind])
    for _ in range(2):
        torch.manual_seed(0), random.seed(0), np.random.seed(0)
        for batch, same in zip(data, expected, strict=True):
            assert torch.equal(batch.x, same)
            torch.rand(5), random.random()


def test_passes_over_one_loader_may_interleave():
    """Two passes at once are the same as two passes one after the other."""
    data = load_data(loaders()["own"])
    alone = [batch.x for batch in data]
    for a, b, c in zip(data, data, alone, strict=True):
        assert torch.equal(a.x, c)
        assert torch.equal(b.x, c)


@pytest.mark.parametrize("kind", ["global", "own", "sampler", "batch sampler"])
def test_shuffled_passes_of_a_loader_differ_by_epoch(kind):
    """A loader that shuffles takes another order for each epoch, the same for the same seed and epoch."""
    data = load_data(loaders()[kind])
    orders = [joined(data.shuffled(3, epoch))[0] for epoch in (0, 1, 0)]
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])


def test_workers_leave_the_generators_too():
    """With worker processes the pass is complete and the generators stay."""
    loader = DataLoader(TensorDataset(X, Y), batch_size=3, shuffle=True, num_workers=1)
    before = random_state(loader)
    assert sorted(joined(load_data(loader))[0][:, 0].tolist()) == X[:, 0].tolist()
    assert random_state(loader) == before


# Digits


def test_digits_are_the_published_ones():
    """All 1,797 images and labels are, byte for byte, those that scikit-learn ships."""
    with np.load(Path(digits.__code__.co_filename).with_name("digits.npz"), allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    assert images.shape == (1797, 8, 8)
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == "8f26b2bd9d135c25"
    assert hashlib.sha256(labels.tobytes()).hexdigest()[:16] == "8ba4f891220f5e4c"
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_are_normalised_on_their_train_split():
    """The train split has mean 0 and standard deviation 1; train and test share no image and miss none."""
    train, test = load_data("digits:split=train"), load_data("digits:split=test")
    x, _, ids = joined(train)
    assert x.mean().item() == pytest.approx(0, abs=2e-4)
    assert x.std().item() == pytest.approx(1, abs=2e-4)
    others = joined(test)[2]
    assert (others % 5 == 0).all()
    assert sorted([*ids.tolist(), *others.tolist()]) == list(range(1797))
    assert (train.n, test.n, train.classes, train.labels[9]) == (1437, 360, 10, "9")


def test_digits_are_enlarged_bilinearly():
    """Above 8 pixels each image is what the definition of bilinear enlargement gives, in any batch size."""
    small, large = (load_data(f"digits:size={size},n=3,normalize=none", batch_size=2) for size in (8, 20))
    x, big = joined(small)[0], joined(large)[0]
    assert (x.min(), x.max()) == (0, 1)
    assert large.input_shape == tuple(big.shape[1:]) == (1, 20, 20)
    for image, twin in zip(big, x, strict=True):
        np.testing.assert_allclose(image[0], enlarged(twin[0].numpy(), 20), atol=1e-6)


def test_digits_normalise_by_half():
    """normalize=half maps [0, 1] to [-1, 1]."""
    x = joined(load_data("digits:normalize=half"))[0]
    assert (x.min(), x.max()) == (-1, 1)


# Noise


@pytest.mark.parametrize(("kind", "mean", "std"), [("uniform", 0.5, 12**-0.5), ("normal", 0.0, 1.0)])
def test_noise_has_its_moments(kind, mean, std):
    """Uniform noise is U[0, 1), normal noise N(0, 1), to five standard errors; labels reach every class."""
    data = load_data(f"noise:{kind},n=100,size=16,classes=4")
    x, y, _ = joined(data)
    assert x.shape == (100, 3, 16, 16)
    assert x.mean().item() == pytest.approx(mean, abs=5 * std / x.numel() ** 0.5)
    assert x.std().item() == pytest.approx(std, rel=0.02)
    assert set(y.tolist()) == {0, 1, 2, 3}
    assert "labels are random" in data.note


def test_a_noise_image_belongs_to_its_id():
    """Batch size, order and n leave an image as it is; another id or seed gives an unrelated one."""
    x, y, _ = joined(load_data("noise:normal,n=40,size=8", batch_size=7))
    for other in (load_data("noise:normal,n=9,size=8"), load_data("noise:normal,n=40,size=8").shuffled(1, 1)):
        xs, ys, ids = joined(other)
        assert torch.equal(xs, x[ids])
        assert torch.equal(ys, y[ids])
    again = joined(load_data("noise:normal,n=40,size=8,seed=1"))[0]
    both = torch.cat([x, again]).flatten(1)
    correlations = torch.corrcoef(both).fill_diagonal_(0)
    assert correlations.abs().max() < 0.4


# Parquet


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


PIXELS = np.random.default_rng(0).integers(0, 256, (23, 6, 5, 3), dtype=np.uint8)


def table(pixels: np.ndarray = PIXELS, first: int = 0) -> pa.Table:
    rows = [{"bytes": encoded(one), "path": None} for one in pixels]
    return pa.table({"img": rows, "label": [(first + i) % 4 for i in range(len(rows))]})


@pytest.fixture
def file(tmp_path):
    """A file of 23 random images of 6 x 5 pixels in row groups of 4."""
    pq.write_table(table(), tmp_path / "images.parquet", row_group_size=4)
    return tmp_path / "images.parquet"


def test_parquet_gives_images_labels_and_row_numbers(file):
    """Images come as (N, 3, H, W) in [0, 1], with their labels and row numbers, in any batch size."""
    for size in (1, 5, 100):
        data = load_data(f"parquet:{file}", batch_size=size)
        x, y, ids = joined(data)
        np.testing.assert_allclose(x, PIXELS.transpose(0, 3, 1, 2) / 255, atol=1e-7)
        assert torch.equal(y, ids % 4)
        assert ids.tolist() == list(range(23))
        assert (data.n, data.classes, data.input_shape, len(data)) == (23, 4, (3, 6, 5), -(-23 // size))


@pytest.mark.parametrize("split", ["train", "test", "all"])
@pytest.mark.parametrize("n", [None, 1, 4])
def test_parquet_splits_a_single_file_by_rows(file, split, n):
    """Rows divisible by five are test, the others train; n takes the first ones, shuffled or not."""
    rows = {"train": [i for i in range(23) if i % 5], "test": [0, 5, 10, 15, 20], "all": list(range(23))}
    data = load_data(f"parquet:{file},split={split}" + (f",n={n}" if n else ""), batch_size=3)
    x, _, ids = joined(data)
    assert ids.tolist() == rows[split][:n]
    np.testing.assert_allclose(x, PIXELS[ids.numpy()].transpose(0, 3, 1, 2) / 255, atol=1e-7)
    mixed = joined(data.shuffled(0, 0))
    assert sorted(mixed[2].tolist()) == ids.tolist()
    np.testing.assert_allclose(mixed[0], PIXELS[mixed[2].numpy()].transpose(0, 3, 1, 2) / 255, atol=1e-7)


def test_parquet_shuffles_across_row_groups(file, monkeypatch):
    """A shuffled pass mixes rows of different row groups, by seed and epoch, with any buffer."""
    data = load_data(f"parquet:{file}")
    for buffer in (4096, 5):
        monkeypatch.setattr(sys.modules["netassay.data.parquet"], "MIX", buffer)
        orders = [joined(data.shuffled(seed, 0))[2].tolist() for seed in (0, 1, 0)]
        assert orders[0] == orders[2] != orders[1]
        assert sorted(orders[0]) == list(range(23))
        assert len({row // 4 for row in orders[0][:4]}) > 1


def test_parquet_reads_a_folder_by_split(tmp_path):
    """In a folder, files named train* and test* are the splits, in order of their names."""
    for name, part in (("test", slice(0, 3)), ("train-0", slice(3, 10)), ("train-1", slice(10, 23))):
        pq.write_table(table(PIXELS[part], part.start), tmp_path / f"{name}.parquet")
    sizes = {split: load_data(f"parquet:{tmp_path},split={split}").n for split in ("train", "test", "all")}
    assert sizes == {"train": 20, "test": 3, "all": 23}
    x, y, ids = joined(load_data(f"parquet:{tmp_path},split=train"))
    np.testing.assert_allclose(x, PIXELS[3:].transpose(0, 3, 1, 2) / 255, atol=1e-7)
    assert y.tolist() == [i % 4 for i in range(3, 23)]
    assert ids.tolist() == list(range(20))


def test_parquet_reads_other_columns_and_names(tmp_path):
    """Raw bytes, other column names, grey images and the hub's class names are read, and labels or none."""
    features = {"info": {"features": {"digit": {"names": ["zero", "one", "two"], "_type": "ClassLabel"}}}}
    made = pa.table({"image": [encoded(one) for one in PIXELS], "digit": pa.array([0, 1] * 11 + [0], pa.uint8())})
    made = made.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(made, tmp_path / "a.parquet")
    spec = f"parquet:{tmp_path}/a.parquet,image=image,channels=1,normalize=half"
    data = load_data(f"{spec},label=digit")
    assert (data.input_shape, data.classes, data.labels) == ((1, 6, 5), 3, ("zero", "one", "two"))
    grey = np.stack([np.asarray(Image.fromarray(one).convert("L")) for one in PIXELS])[:, None]
    np.testing.assert_allclose(joined(data)[0], grey / 127.5 - 1, atol=1e-6)
    bare = load_data(f"{spec},label=none")
    assert (joined(bare)[1], bare.classes) == (None, None)


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("half", [0.5] * 3, [0.5] * 3),
        ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("cifar10", [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    ],
)
def test_parquet_normalises_channel_by_channel(file, name, mean, std):
    """Each channel loses its mean and is divided by its standard deviation."""
    x = joined(load_data(f"parquet:{file},normalize={name}"))[0]
    expected = (PIXELS / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(x, expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_parquet_keeps_memory_constant(tmp_path):
    """A pass over one large row group holds a small part of it at a time."""
    one = encoded(np.random.default_rng(1).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    made = pa.table({"img": [one] * 1500, "label": [0] * 1500})
    pq.write_table(made, tmp_path / "a.parquet", write_batch_size=16, use_dictionary=False, compression=None)
    size = (tmp_path / "a.parquet").stat().st_size
    assert size > 15e6
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in load_data(f"parquet:{tmp_path}/a.parquet", batch_size=64)]
    assert max(held) < size / 3


def broken(kind: str, folder: Path) -> str:
    """Write a file that is wrong in one way, and return the spec that reads it."""
    path = folder / "a.parquet"
    rows = {
        "empty bytes": [{"bytes": encoded(PIXELS[0]), "path": None}, {"bytes": None, "path": "x.png"}],
        "no image": [{"bytes": encoded(PIXELS[0]), "path": None}, {"bytes": b"GIF89a", "path": None}],
        "cut image": [
            {"bytes": encoded(PIXELS[0]), "path": None},
            {"bytes": encoded(PIXELS[1])[:60], "path": None},
        ],
        "sizes": [{"bytes": encoded(one), "path": None} for one in (PIXELS[0], PIXELS[1], PIXELS[2][:4])],
        "text": ["no", "images"],
    }.get(kind, table()["img"].to_pylist())
    labels = {"float": [0.5], "string": ["cat"], "hole": [None]}.get(kind, [1])
    pq.write_table(pa.table({"img": rows, "label": (labels * len(rows))[: len(rows)]}), path)
    if kind == "empty":
        pq.write_table(table().slice(0, 0), path)
    if kind == "hole":
        pq.write_table(pa.table({"img": rows, "label": [1, None] + [1] * (len(rows) - 2)}), path)
    whole = path.read_bytes()
    if kind == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    if kind == "garbage":
        path.write_bytes(whole[:400] + b"\xff" * 800 + whole[1200:])
    if kind == "no parquet":
        path.write_text("hello")
    return f"parquet:{path}"


@pytest.mark.parametrize(
    ("kind", "options", "found", "next"),
    [
        ("cut", "", "not a whole parquet file", "fetch it again"),
        ("garbage", "", "not a whole parquet file", "fetch it again"),
        ("no parquet", "", "not a whole parquet file", "fetch it again"),
        ("empty", "", "no rows", "a file with images"),
        ("fine", ",image=imgs", "closest: 'img'", "image=img"),
        ("fine", ",label=lable", "closest: 'label'", "label=label"),
        ("fine", ",image=label", "int64, not the bytes", "image=NAME"),
        ("text", "", "string, not the bytes", "image=NAME"),
        ("float", "", "double, not integers", "label=none"),
        ("string", "", "string, not integers", "label=none"),
        ("hole", "", "1 empty labels", "label=none"),
        ("empty bytes", "", "no bytes there", "encoded images"),
        ("no image", "", "6 bytes that are no whole image", "leave it out"),
        ("cut image", "", "60 bytes that are no whole image", "leave it out"),
        ("sizes", "", "row 0 is 5x6 and row 2 is 5x4 pixels", "one size"),
        ("fine", ",n=24", "23 samples", "n from 1 to 23"),
        ("fine", ",channels=2", "3 channels or 1", "channels=3"),
        ("fine", ",channels=1,normalize=imagenet", "3 constants for 1 channel", "normalize=half"),
        ("fine", ",normalize=imagnet", "closest: 'imagenet'", "normalize=none|half|imagenet|cifar10"),
    ],
)
def test_bad_parquet_is_refused(tmp_path, kind, options, found, next):
    """Damaged files, wrong columns and wrong images each have a sentence."""
    error = refused(broken(kind, tmp_path) + options)
    assert found in error.found
    assert next in error.next


def test_missing_parquet_is_refused(tmp_path):
    """No file, a folder without splits, and no path at all are sentences."""
    assert "no such file or folder" in refused(f"parquet:{tmp_path}/none.parquet").found
    assert "a folder without test*.parquet" in refused(f"parquet:{tmp_path},split=test").found
    assert refused("parquet").next == "parquet:PATH"


@pytest.mark.parametrize(("module", "next"), [("pyarrow", "netassay[data]"), ("PIL", "netassay[data]")])
def test_missing_libraries_are_named(file, monkeypatch, module, next):
    """Without pyarrow or pillow the sentence says what to install, and digits still work."""
    monkeypatch.setitem(sys.modules, module, None)
    error = refused(f"parquet:{file}")
    assert "is not installed" in error.found
    assert next in error.next
    assert load_data("digits").n == 1797


def test_real_images_are_read_whole():
    """The 4,000 real test images come as 3 x 32 x 32 with ten classes, in order and shuffled alike."""
    if not REAL.exists():
        pytest.skip(f"needs the CIFAR-10 images in {REAL.name}")
    data = load_data(f"parquet:{REAL},split=test,n=600", batch_size=100)
    assert (data.n, data.classes, data.input_shape) == (600, 10, (3, 32, 32))
    x, y, ids = joined(data)
    xs, ys, mixed = joined(data.shuffled(0, 0))
    assert not torch.equal(ids, mixed)
    assert torch.equal(xs, x[mixed])
    assert torch.equal(ys, y[mixed])
    assert 0 <= x.min() < 0.1
    assert 0.9 < x.max() <= 1


@pytest.mark.parametrize("spec", ["digits:split=test,n=9", "noise:uniform,n=9,size=4,seed=2"])
def test_a_spec_rebuilds_its_data(spec):
    """A data set's spec is the string it came from, and gives the same bits again."""
    data = load_data(f" {spec} ")
    assert data.spec == spec
    assert torch.equal(joined(load_data(data.spec))[0], joined(data)[0])


def test_splits_are_disjoint_and_whole():
    """For any number of rows, train and test share none and make up all."""
    for rows in (1, 4, 5, 6, 100):
        parts = [kept("x", rows, split, None).tolist() for split in ("train", "test") if rows > 1 or split == "test"]
        assert sorted(row for part in parts for row in part) == list(range(rows))


def test_importing_loads_nothing_optional():
    """In a fresh process, zoo, data and training import nothing but torch and numpy; the check can fail."""
    heavy = "{'pyarrow', 'PIL', 'safetensors', 'torchvision', 'timm', 'pandas', 'scipy'}"
    code = f"import sys, netassay.zoo, netassay.data, netassay.training; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, PIL; print({heavy} & set(sys.modules))"],
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "{'PIL'}"


def test_unknown_data_has_the_nearest_name():
    """An unknown data set is an UnknownName."""
    with pytest.raises(UnknownName):
        load_data("nois:uniform")


def test_a_folder_named_like_a_data_set_does_not_take_its_place(tmp_path, monkeypatch):
    """Beside a file called digits, the digits still have a train and a test split."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert [part.n for part in splits("digits")] == [1437, 360]
