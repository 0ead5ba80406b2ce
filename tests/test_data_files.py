"""Data in folders: CIFAR's binary records and folders of images, written small, read by hand as well, and refusals."""

from __future__ import annotations

import os
import pickle
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from netassay.data import load_data, splits
from tests.reference.cifar import records
from tests.test_data import joined, refused

DRAW = np.random.default_rng(0)
TRAIN = [f"data_batch_{i}.bin" for i in range(1, 6)]


def ten(folder: Path, rows: tuple[int, ...] = (3, 2, 1, 2, 3, 4)) -> Path:
    """Write CIFAR-10 with some rows in each of its six files."""
    for name, count in zip([*TRAIN, "test_batch.bin"], rows, strict=True):
        content = DRAW.integers(0, 256, (count, 3073), dtype=np.uint8)
        content[:, 0] = DRAW.integers(0, 10, count)
        (folder / name).write_bytes(content.tobytes())
    return folder


def hundred(folder: Path) -> Path:
    """Write CIFAR-100 with seven rows to train on and four to test."""
    for name, count in (("train.bin", 7), ("test.bin", 4)):
        content = DRAW.integers(0, 256, (count, 3074), dtype=np.uint8)
        content[:, 0], content[:, 1] = DRAW.integers(0, 20, count), DRAW.integers(0, 100, count)
        (folder / name).write_bytes(content.tobytes())
    return folder


# CIFAR


@pytest.mark.parametrize(
    ("split", "files"),
    [("train", TRAIN), ("test", ["test_batch.bin"]), ("all", [*TRAIN, "test_batch.bin"])],
)
@pytest.mark.parametrize("size", [1, 4, 100])
def test_cifar10_is_read_as_it_is_written(tmp_path, split, files, size):
    """Images, labels and row numbers are those of a reading byte by byte, in any batch size."""
    data = load_data(f"cifar10:{ten(tmp_path)},split={split}", batch_size=size)
    images, labels = records([tmp_path / file for file in files], 1, 0)
    x, y, ids = joined(data)
    np.testing.assert_allclose(x, images, atol=1e-7)
    assert (x.dtype, y.dtype, y.tolist()) == (torch.float32, torch.int64, labels)
    assert ids.tolist() == list(range(len(labels)))
    assert (data.n, data.classes, data.input_shape, data.labels) == (len(labels), 10, (3, 32, 32), None)


@pytest.mark.parametrize(("label", "byte", "classes"), [("fine", 1, 100), ("coarse", 0, 20)])
def test_cifar100_has_two_kinds_of_labels(tmp_path, label, byte, classes):
    """The second byte of a record is the fine label, taken unless the coarse one is asked for."""
    data = load_data(f"cifar100:{hundred(tmp_path)}" + (",label=coarse" if label == "coarse" else ""))
    images, labels = records([tmp_path / "train.bin", tmp_path / "test.bin"], 2, byte)
    x, y, _ = joined(data)
    np.testing.assert_allclose(x, images, atol=1e-7)
    assert (y.tolist(), data.classes, data.n) == (labels, classes, 11)


def test_cifar_classes_have_their_names(tmp_path):
    """Names come from the file beside the records, empty lines left out."""
    (ten(tmp_path) / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    assert load_data(f"cifar10:{tmp_path}").labels == tuple("abcdefghij")
    (hundred(tmp_path) / "fine_label_names.txt").write_text("\n".join(f"f{i}" for i in range(100)))
    (tmp_path / "coarse_label_names.txt").write_text("\r\n".join(f"c{i}" for i in range(20)))
    assert load_data(f"cifar100:{tmp_path}").labels[99] == "f99"
    assert load_data(f"cifar100:{tmp_path},label=coarse").labels[19] == "c19"


def test_cifar_is_normalised_shuffled_and_cut(tmp_path):
    """Pixels are normalised by name, shuffled passes carry rows with their labels, and n takes the first rows."""
    x, y, _ = joined(load_data(f"cifar10:{ten(tmp_path)}"))
    half = load_data(f"cifar10:{tmp_path},normalize=half")
    assert torch.allclose(joined(half)[0], 2 * x - 1, atol=1e-6)
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2023, 0.1994, 0.2010])
    named = joined(load_data(f"cifar10:{tmp_path},normalize=cifar10"))[0]
    assert torch.allclose(named, (x - mean[:, None, None]) / std[:, None, None], atol=1e-5)
    xs, ys, ids = joined(load_data(f"cifar10:{tmp_path}", batch_size=4).shuffled(1, 2))
    assert ids.tolist() != sorted(ids.tolist())
    assert torch.equal(xs, x[ids])
    assert torch.equal(ys, y[ids])
    assert joined(load_data(f"cifar10:{tmp_path},n=7"))[2].tolist() == list(range(7))


def test_cifar_splits_by_its_files(tmp_path):
    """Train and test are the files of those names."""
    assert [part.n for part in splits(f"cifar10:{ten(tmp_path)}")] == [11, 4]
    assert [part.n for part in splits(f"cifar100:{hundred(tmp_path)}")] == [7, 4]


def test_a_pass_over_cifar_keeps_one_batch(tmp_path):
    """Of 20 MB of records, a shuffled pass holds some of its small batches at a time."""
    data = load_data(f"cifar10:{ten(tmp_path, (1300,) * 5 + (1,))}", batch_size=16)
    tracemalloc.start()
    try:
        assert sum(len(batch.x) for batch in data.shuffled(0, 0)) == 6501
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def broken_ten(kind: str, folder: Path) -> str:
    """Write CIFAR-10 that is wrong in one way, and return the spec that reads it."""
    if kind == "pickled":
        for name in ("data_batch_1", "test_batch", "batches.meta"):
            (folder / name).write_bytes(pickle.dumps({b"data": [1]}))
    elif kind != "nothing":
        ten(folder)
    if kind == "cut":
        (folder / "data_batch_3.bin").write_bytes(bytes(3100))
    if kind == "empty":
        (folder / "test_batch.bin").write_bytes(b"")
    if kind == "missing":
        (folder / "data_batch_4.bin").unlink()
    if kind == "label":
        (folder / "data_batch_2.bin").write_bytes(bytes(3073) + b"\x0a" + bytes(3072))
    if kind == "names":
        (folder / "batches.meta.txt").write_text("cat\ndog\n")
    return f"cifar10:{folder}" + ("/test_batch.bin" if kind == "file" else "/none" if kind == "no folder" else "")


@pytest.mark.parametrize(
    ("kind", "options", "found", "next"),
    [
        ("pickled", "", "the pickled version ('data_batch_1', 'test_batch', 'batches.meta')", "cifar-10-binary.tar.gz"),
        ("nothing", "", "a folder without 'data_batch_1.bin'", "cifar-10-binary.tar.gz"),
        ("missing", "", "a folder without 'data_batch_4.bin'", "cifar-10-binary.tar.gz"),
        ("cut", "", "data_batch_3.bin has 3,100 bytes, no multiple of a record's 3,073", "fetch the file again"),
        ("empty", "", "no record", "fetch the file again"),
        ("label", "", "row 4 has label 10, of 10 classes", "the other data set"),
        ("names", "", "2 for 10 classes", "fetch the file again"),
        ("file", "", "a file", "the folder"),
        ("no folder", "", "no such folder", "the folder"),
        ("fine", ",n=16", "15 samples", "n from 1 to 15"),
        ("fine", ",split=valid", "closest: 'all'", "split=train|test|all"),
        ("fine", ",normalize=cifar100", "closest: 'cifar10'", "normalize=none|half|imagenet|cifar10"),
    ],
)
def test_bad_cifar_is_refused(tmp_path, kind, options, found, next):
    """Pickles, missing, cut and foreign files each have a sentence."""
    error = refused(broken_ten(kind, tmp_path) + options)
    assert found in error.found
    assert next in error.next


def test_the_other_cifar_is_refused(tmp_path):
    """The pickled form of CIFAR-100 is named too; files that change under a pass are a sentence."""
    for name in ("train", "test", "meta"):
        (tmp_path / name).write_bytes(b"\x80\x02.")
    error = refused(f"cifar100:{tmp_path}")
    assert "the pickled version ('train', 'test', 'meta')" in error.found
    assert "cifar-100-binary.tar.gz" in error.next
    data = load_data(f"cifar100:{hundred(tmp_path)}")
    (tmp_path / "test.bin").write_bytes(bytes(3074))
    assert "test.bin cannot be read any more: it has become shorter" in refused(data).found
    (tmp_path / "test.bin").unlink()
    assert "test.bin cannot be read any more: No such file" in refused(data).found


# Folders of images


def picture(path: Path, height: int = 6, width: int = 5) -> np.ndarray:
    """Write random pixels without loss, and return them."""
    pixels = DRAW.integers(0, 256, (height, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


NAMES = ["ant/1.png", "ant/2.bmp", "bee/1.ppm", "bee/deep/9.PNG", "bee/z.tif", "cow/1.png", "cow/2.png"]


@pytest.fixture
def flat(tmp_path):
    """Seven images of three classes in several formats, and what was written."""
    return tmp_path, [picture(tmp_path / name) for name in reversed(NAMES)][::-1]


def test_a_folder_gives_images_classes_and_row_numbers(flat):
    """Images come in the order of their paths, with the places of their classes' sorted names, in any batch size."""
    root, pixels = flat
    for size in (1, 3, 100):
        data = load_data(f"imagefolder:{root}", batch_size=size)
        x, y, ids = joined(data)
        np.testing.assert_allclose(x, np.stack(pixels).transpose(0, 3, 1, 2) / 255, atol=1e-7)
        assert (y.tolist(), ids.tolist()) == ([0, 0, 1, 1, 1, 2, 2], list(range(7)))
        assert (data.n, data.classes, data.labels) == (7, 3, ("ant", "bee", "cow"))
        assert (data.input_shape, data.note) == ((3, 6, 5), "")
    mixed = joined(data.shuffled(0, 0))
    assert mixed[2].tolist() != ids.tolist()
    assert torch.equal(mixed[0], x[mixed[2]])
    assert torch.equal(mixed[1], y[mixed[2]])


def test_a_folder_without_splits_is_split_by_rows(flat):
    """Every fifth file is test; ids are the same in every split; n spreads over the classes."""
    root, _ = flat
    learn, test = splits(f"imagefolder:{root}")
    assert (joined(learn)[2].tolist(), joined(test)[2].tolist()) == ([1, 2, 3, 4, 6], [0, 5])
    assert joined(test)[1].tolist() == [0, 2]
    assert joined(load_data(f"imagefolder:{root},n=3"))[2].tolist() == [0, 2, 4]
    assert joined(load_data(f"imagefolder:{root},n=7"))[2].tolist() == list(range(7))


@pytest.mark.parametrize("name", ["test", "val", "valid"])
def test_a_folder_of_splits_is_split_by_them(tmp_path, name):
    """Below train and test, or val, are the classes, numbered alike though one split lacks some; train comes first."""
    written = {path: picture(tmp_path / path) for path in ("train/ant/1.png", "train/cow/1.png", f"{name}/bee/1.png")}
    picture(tmp_path / "other" / "x.png")
    learn, test = splits(f"imagefolder:{tmp_path}")
    assert (joined(learn)[1].tolist(), joined(test)[1].tolist()) == ([0, 2], [1])
    assert learn.labels == test.labels == ("ant", "bee", "cow")
    whole = joined(load_data(f"imagefolder:{tmp_path}"))
    assert whole[1].tolist() == [0, 2, 1]
    np.testing.assert_allclose(whole[0][2], written[f"{name}/bee/1.png"].transpose(2, 0, 1) / 255, atol=1e-7)


def test_a_class_may_be_called_train(tmp_path):
    """A folder `train` with images and no folders in it is a class."""
    picture(tmp_path / "train" / "1.png"), picture(tmp_path / "bus" / "1.png")
    assert load_data(f"imagefolder:{tmp_path}").labels == ("bus", "train")


def test_the_middle_is_cut_out_after_resizing(tmp_path):
    """The shorter side gets the size and the middle stays; at the size itself nothing is resized."""
    wide, tall = picture(tmp_path / "a" / "1.png", 4, 9), picture(tmp_path / "a" / "2.png", 7, 4)
    x = joined(load_data(f"imagefolder:{tmp_path},size=4"))[0]
    np.testing.assert_allclose(x[0], wide[:, 2:6].transpose(2, 0, 1) / 255, atol=1e-7)
    np.testing.assert_allclose(x[1], tall[2:6].transpose(2, 0, 1) / 255, atol=1e-7)
    Image.fromarray(np.repeat(np.arange(0, 240, 10, dtype=np.uint8)[None, :, None], 12, 0).repeat(3, 2)).save(
        tmp_path / "a" / "0.png"
    )
    data = load_data(f"imagefolder:{tmp_path},size=6,channels=1,normalize=half,n=1")
    assert data.input_shape == (1, 6, 6)
    # A ramp of 24 columns, halved: columns 3 to 8 of 12, each the mean about its place.
    np.testing.assert_allclose((joined(data)[0][0, 0, 0] + 1) * 127.5, np.arange(65, 185, 20), atol=1)


def test_grey_and_indexed_images_become_what_was_asked(tmp_path):
    """Palettes, grey levels and transparency are converted to the channels asked for."""
    grey = DRAW.integers(0, 256, (6, 5), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    Image.fromarray(grey).save(tmp_path / "a" / "1.png")
    Image.fromarray(np.dstack([grey, grey, grey, grey])).save(tmp_path / "a" / "2.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "a" / "3.png")
    for channels in (1, 3):
        x = joined(load_data(f"imagefolder:{tmp_path},channels={channels}"))[0]
        expected = np.broadcast_to(grey / 255, (3, channels, 6, 5))
        np.testing.assert_allclose(x, expected, atol=1e-7)


def test_what_is_no_image_is_left_out_and_counted(flat):
    """Hidden files and folders are passed over; files with other endings are left out and counted."""
    root, _ = flat
    for name in (".hidden/1.png", "ant/.1.png", ".DS_Store", "ant/Thumbs.db", "bee/deep/boxes.txt", "README.md"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"none")
    data = load_data(f"imagefolder:{root}")
    assert (data.n, data.labels, data.note) == (7, ("ant", "bee", "cow"), "2 files with other endings are left out")


def test_links_are_followed_and_loops_are_not(flat, monkeypatch):
    """A class or an image may be a link; links to a folder one is inside of, or to themselves, end nowhere."""
    root, _ = flat
    picture(root.parent / f"{root.name}-elsewhere" / "1.png")
    (root / "dog").symlink_to(root.parent / f"{root.name}-elsewhere")
    (root / "cow" / "3.png").symlink_to(root / "ant" / "1.png")
    for loop, target in (("loop", root), ("ant/loop", root), ("bee/deep/up", root / "bee"), ("cow/out", root.parent)):
        (root / loop).symlink_to(target)
    (root / "self").symlink_to(root / "self")
    monkeypatch.chdir(root)
    for place in (str(root), "."):
        data = load_data(f"imagefolder:{place}")
        assert (data.labels, data.n) == (("ant", "bee", "cow", "dog"), 9)
        assert joined(data)[1].tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3]


def broken_folder(kind: str, root: Path) -> str:
    """Write a folder that is wrong in one way, and return the spec that reads it."""
    for name in ("ant/1.png", "ant/2.png", "bee/1.png"):
        if kind != "nothing":
            picture(root / name)
    if kind == "garbage":
        (root / "bee" / "1.png").write_bytes(b"GIF89a")
    if kind == "cut":
        (root / "bee" / "1.png").write_bytes((root / "bee" / "1.png").read_bytes()[:60])
    if kind == "sizes":
        picture(root / "bee" / "2.png", 4, 9)
    if kind == "broken link":
        (root / "bee" / "2.png").symlink_to(root / "nowhere.png")
    if kind == "empty class":
        (root / "cow").mkdir()
    if kind == "images alone":
        picture(root / "sub" / "1.png")
        root = root / "sub"
    if kind == "only train":
        picture(root / "train" / "ant" / "1.png")
    if kind == "one":
        root = root / "x"
        picture(root / "ant" / "1.png")
    return f"imagefolder:{root}" + ("/ant/1.png" if kind == "file" else "/none" if kind == "no folder" else "")


@pytest.mark.parametrize(
    ("kind", "options", "asked", "found", "next"),
    [
        ("garbage", "", "bee/1.png", "6 bytes that are no whole image", "leave it out"),
        ("cut", "", "bee/1.png", "60 bytes that are no whole image", "leave it out"),
        ("broken link", "", "bee/2.png", "No such file", "leave it out"),
        ("sizes", "", "imagefolder:", "ant/1.png is 5x6 and bee/2.png is 9x4 pixels", "size=224"),
        ("empty class", "", "class 'cow'", "a folder without an image", "remove it"),
        ("nothing", "", "imagefolder:", "no folders of classes", "PATH/CLASS"),
        ("images alone", "", "imagefolder:", "no folders of classes", "PATH/CLASS"),
        ("only train", ",split=test", "split=test", "no test/CLASS or val/CLASS", "split=train"),
        ("one", ",split=train", "split=train", "one image is too few to split", "split=all"),
        ("file", "", "imagefolder:", "a file", "one folder per class"),
        ("no folder", "", "imagefolder:", "no such folder", "one folder per class"),
        ("fine", ",n=4", "n=4", "3 samples", "n from 1 to 3"),
        ("fine", ",size=0", "size=0", "size must be 1 or more", "size=224"),
        ("fine", ",channels=2", "channels=2", "3 channels or 1", "channels=3"),
        ("fine", ",channels=1,normalize=imagenet", "channels=1", "3 constants for 1 channel", "normalize=half"),
    ],
)
def test_bad_folders_are_refused(tmp_path, kind, options, asked, found, next):
    """What is no image, of another size or not there has a sentence with its path."""
    error = refused(broken_folder(kind, tmp_path) + options)
    assert asked.replace("/", os.sep) in error.asked
    assert found.replace("/", os.sep) in error.found.replace("/", os.sep)
    assert next in error.next


def test_a_folder_needs_pillow(flat, monkeypatch):
    """Without pillow the sentence says what to install."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "netassay[data]" in refused(f"imagefolder:{flat[0]}").next
