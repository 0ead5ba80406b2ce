"""Adapters and closed-form matching: positions, sums, solutions, against the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netassay.errors import BadInput, UnknownName
from netassay.stitching import ADAPTERS, RIDGES, Arrange, NormalEquations, Sums, adapter, explained, form
from netassay.stitching import solving as solve
from tests.reference import stitching as reference


def drawn(*shape, seed=0):
    """Activations."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def related(n=60, c=5, d=4, seed=0, noise=0.5):
    """Rows x and y, float64, y an affine map of x and noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, c)) * np.logspace(0, 1.5, c) + 3
    return x, x @ rng.normal(size=(c, d)) - 7 + noise * rng.normal(size=(n, d))


def sums(x, y, folds=1):
    """Sums by fold, rows numbered."""
    numbers = np.arange(len(x)) % folds
    parts = [(x[numbers == fold], y[numbers == fold]) for fold in range(folds)]
    return [Sums.of(torch.from_numpy(a), torch.from_numpy(b)) for a, b in parts]


# ------------------------------------------------------------------------------------------------- positions


@pytest.mark.parametrize(
    ("sender", "receiver"),
    [((3, 8, 8), (5, 4, 4)), ((3, 7, 6), (5, 3, 4)), ((3, 2, 4), (5, 6, 2)), ((3, 4, 4), (5, 4, 4))],
)
def test_images_are_resized_as_stated(sender, receiver):
    """Means of blocks downwards, nearest values upwards, each dimension by itself, also where sizes do not divide."""
    y = drawn(2, *sender)
    found = Arrange(form(sender), form(receiver))(y)
    np.testing.assert_allclose(found.numpy(), reference.resized(y.numpy(), receiver[1:]), atol=1e-6)


@pytest.mark.parametrize(("sender", "grid"), [((3, 8, 8), (4, 4)), ((2, 6, 9), (3, 3)), ((4, 3, 3), (1, 1))])
def test_patches_are_what_a_convolution_looks_at(sender, grid):
    """An affine map of patches is a convolution whose stride is the ratio of sizes."""
    made, y = adapter("conv", sender, (5, *grid)), drawn(2, *sender)
    weight = made.core.weight.detach().double().numpy()
    kernel = [sender[1 + i] // grid[i] for i in (0, 1)]
    weight = weight.reshape(5, sender[0], *kernel)
    wanted = reference.convolved(y.double().numpy(), weight, made.core.bias.detach().numpy(), grid)
    np.testing.assert_allclose(made(y).detach().numpy(), wanted, atol=1e-5)


def test_patches_have_a_largest_number_of_values():
    """Means come first where a layer is wide, or sizes do not divide; upwards and beside class tokens none are kept."""
    arrange = Arrange(form((200, 8, 8)), form((3, 2, 4)), patches=True)
    assert (arrange.kernel, arrange.channels) == ((1, 2), 400)
    y = drawn(2, 200, 8, 8)
    means = torch.from_numpy(reference.resized(y.double().numpy(), (2, 8))).float()
    wanted = torch.stack([means[..., ::2], means[..., 1::2]], 2).flatten(1, 2)
    torch.testing.assert_close(arrange(y), wanted)
    assert arrange.told.endswith("means of equal blocks, patches of 1 x 2 values")
    assert Arrange(form((3, 7, 2)), form((3, 3, 4)), patches=True).kernel == (2, 1)
    assert Arrange(form((17, 3)), form((3, 2, 2)), patches=True).kernel == (1, 1)


def test_a_vector_is_an_image_of_one_position():
    """It is made as the global mean, and broadcast."""
    y = drawn(2, 3, 4, 6)
    torch.testing.assert_close(Arrange(form((3, 4, 6)), form((9,)))(y)[:, :, 0, 0], y.mean((2, 3)))
    assert torch.equal(Arrange(form((3,)), form((9, 4, 6)))(y[:, :, 0, 0]), y[:, :, :1, :1].expand_as(y))
    tokens = drawn(2, 5, 3)
    # Five tokens are a class token and four others.
    torch.testing.assert_close(Arrange(form((5, 3)), form((9,)))(tokens)[:, :, 0, 0], tokens[:, 1:].mean(1))


def test_tokens_and_images_exchange_positions_and_the_class_token():
    """Row by row; the class token goes to a class token, is left out, or is the mean over positions."""
    y, tokens = drawn(2, 3, 4, 4), drawn(2, 17, 3)
    into = Arrange(form((3, 4, 4)), form((17, 9)))(y)
    torch.testing.assert_close(into[:, :, 0, 0], y.mean((2, 3)))
    assert torch.equal(into[:, :, 1:, 0], y.flatten(2))
    back = Arrange(form((17, 3)), form((9, 4, 4)))(tokens)
    assert torch.equal(back, tokens[:, 1:].movedim(-1, 1).unflatten(2, (4, 4)))
    smaller = Arrange(form((17, 3)), form((5, 9)))(tokens)
    assert torch.equal(smaller[:, :, 0, 0], tokens[:, 0])
    wanted = reference.resized(back.numpy(), (2, 2))
    np.testing.assert_allclose(smaller[:, :, 1:, 0].numpy(), wanted.reshape(2, 3, 4), atol=1e-6)
    words = drawn(2, 6, 3)
    made = adapter("identity", (6, 3), (6, 3))(words)
    assert torch.equal(made, words)


def test_what_has_no_place_is_refused():
    """A sequence in a picture; a shape that is none."""
    with pytest.raises(BadInput, match=r"(?s)tokens of 3 at 6 into image of 5 at 4 x 4.*no place in a picture"):
        adapter("affine", (6, 3), (5, 4, 4))
    with pytest.raises(BadInput, match=r"(?s)shape \(2, 3, 4, 5\).*neither an image"):
        form((2, 3, 4, 5))
    with pytest.raises(BadInput, match="neither an image"):
        form((3, 0, 4))


# -------------------------------------------------------------------------------------------------- adapters

SHAPES = [(6, 8, 8), (4, 4, 4), (17, 6), (16, 5), (7,), (3, 5, 3)]


@pytest.mark.parametrize("name", [name for name in ADAPTERS if name != "identity"])
@pytest.mark.parametrize("sender", SHAPES)
@pytest.mark.parametrize("receiver", SHAPES)
def test_adapters_give_the_receivers_shape_and_say_how(name, sender, receiver):
    """Every adapter between every two kinds, or a sentence; the same weights for the same seed."""
    if name == "bn_conv_bn" and 2 in (len(sender), len(receiver)):
        with pytest.raises(BadInput, match=r"(?s)bn_conv_bn.*tokens.*adapter='tokens', or 'affine'"):
            adapter(name, sender, receiver)
        return
    made, again = (adapter(name, sender, receiver, seed=3) for _ in range(2))
    y = drawn(2, *sender)
    assert made.eval()(y).shape == (2, *receiver)
    assert torch.equal(made(y), again.eval()(y))
    assert made.told.count(";") == 1
    if name not in ("identity", "orthogonal", "permutation"):
        assert not torch.equal(made(y), adapter(name, sender, receiver, seed=4).eval()(y))


def test_the_identity_copies_and_needs_equal_shapes():
    """What follows may work in place."""
    y = drawn(2, 3, 4, 4)
    made = adapter("identity", (3, 4, 4), (3, 4, 4))
    made(y).zero_()
    assert y.abs().min() > 0
    with pytest.raises(BadInput, match=r"(?s)identity.*shapes differ.*adapter='affine'"):
        adapter("identity", (3, 4, 4), (3, 2, 2))


def test_batchnorm_convolution_batchnorm_as_described():
    """Downwards a k x k convolution of stride k between two norms; upwards the nearest value and a 1x1 convolution."""
    down = adapter("bn_conv_bn", (3, 8, 8), (5, 2, 2)).core
    assert [type(one).__name__ for one in down] == ["BatchNorm2d", "Conv2d", "BatchNorm2d"]
    assert (down[1].kernel_size, down[1].stride) == ((4, 4), (4, 4))
    same = adapter("bn_conv_bn", (3, 8, 8), (5, 8, 8)).core
    assert (same[1].kernel_size, same[1].stride) == ((1, 1), (1, 1))
    y, up = drawn(2, 3, 2, 2), adapter("bn_conv_bn", (3, 2, 2), (5, 4, 4))
    weight, bias = up.core[1].weight, up.core[1].bias
    wanted = torch.einsum("dc,nchw->ndhw", weight, y.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(up(y), wanted + bias[:, None, None])


def test_what_an_adapter_cannot_do_is_said():
    """Unknown names, no rank, no closed form, sums of another adapter."""
    with pytest.raises(UnknownName, match=r"(?s)adapter 'afine'.*'affine'"):
        adapter("afine", (3,), (3,))
    with pytest.raises(BadInput, match=r"(?s)low_rank:rank=0.*low_rank:rank=8"):
        adapter("low_rank:rank=0", (3,), (3,))
    with pytest.raises(BadInput, match=r"(?s)'bn_conv_bn' in closed form.*train it"):
        adapter("bn_conv_bn", (3,), (3,)).solve([])
    x, y = related()
    with pytest.raises(BadInput, match=r"(?s)weight \(4, 20\).*give \(4, 5\).*patches=True"):
        adapter("conv", (5, 2, 2), (4, 1, 1)).solve(sums(x, y, 2))


# ------------------------------------------------------------------------------------------------------ sums


def fields(one):
    return (one.n, one.x, one.y, one.xx, one.xy, one.yy)


@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 99), st.sampled_from([0.0, 1e6]))
def test_sums_of_parts_are_the_sums_of_all(parts, seed, offset):
    """In any order, and however far the means are from zero."""
    rng = np.random.default_rng(seed)
    x, y = (torch.from_numpy(rng.normal(size=(sum(parts), k)) + offset) for k in (3, 2))
    each = [Sums.of(a, b) for a, b in zip(x.split(parts), y.split(parts), strict=True)]
    forwards, backwards = each[0], each[-1]
    for one, other in zip(each[1:], each[-2::-1], strict=True):
        forwards, backwards = forwards.merge(one), backwards.merge(other)
    wanted = Sums.of(x, y)
    centred = (x - x.mean(0)).T @ (y - y.mean(0))
    torch.testing.assert_close(wanted.xy, centred)
    for merged in (forwards, backwards):
        for a, b in zip(fields(merged), fields(wanted), strict=True):
            torch.testing.assert_close(a, b, atol=1e-9 if not offset else 1e-4, rtol=1e-9)


@pytest.mark.parametrize("patches", [False, True])
def test_receivers_share_a_senders_sums(patches):
    """Streamed in batches, each receiver has the sums of its own rows; folds are of samples."""
    n, shapes = 23, {"a": (4, 3, 3), "b": (9, 2), "c": (6, 3, 3)}
    sent = drawn(n, 2, 6, 6)
    expected = {name: drawn(n, *shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    equations = NormalEquations((2, 6, 6), shapes, patches=patches, folds=4)
    for part in torch.arange(n).split(5):
        equations.add(sent[part], {name: own[part] for name, own in expected.items()})
    x = reference.rows(Arrange(form((2, 6, 6)), form(shapes["a"]), patches=patches)(sent).double().numpy())
    assert x.shape == (9 * n, 8 if patches else 2)
    numbers = np.repeat(np.arange(n), 9)
    for name, own in expected.items():
        y = reference.rows(own.double().numpy())
        assert equations.seen == n
        assert equations.madds == 9 * n * x.shape[1] * (x.shape[1] + 12)
        for fold, found in enumerate(equations.of(name)):
            chosen = numbers % 4 == fold
            wanted = Sums.of(torch.from_numpy(x[chosen]), torch.from_numpy(y[chosen]))
            for a, b in zip(fields(found), fields(wanted), strict=True):
                torch.testing.assert_close(a, b)


def test_a_senders_own_products_serve_other_receivers():
    """Sums for a second receiver are the same bits with the first one's Gram matrices, at the cost of the rest only."""
    sent, own, shapes = drawn(20, 3, 4, 4), drawn(20, 5, 4, 4, seed=1), [{"a": (2, 4, 4)}, {"b": (5, 4, 4)}]
    first, alone = (NormalEquations((3, 4, 4), shape) for shape in shapes)
    first.add(sent, {"a": drawn(20, 2, 4, 4, seed=2)})
    shared = NormalEquations((3, 4, 4), shapes[1], grams=first.grams)
    for equations in (alone, shared):
        for part in torch.arange(20).split(20):
            equations.add(sent[part], {"b": own[part]})
    for found, wanted in zip(shared.of("b"), alone.of("b"), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(fields(found)[1:], fields(wanted)[1:], strict=True))
    assert (alone.madds, shared.madds) == (20 * 16 * 3 * (3 + 5), 20 * 16 * 3 * 5)


def test_sums_refuse_what_cannot_share_them():
    """Other positions, no receiver, an unknown one, no sample."""
    with pytest.raises(BadInput, match=r"(?s)'a' is image of 4 at 2 x 2, 'b' is vector of 4"):
        NormalEquations((3, 4, 4), {"a": (4, 2, 2), "b": (4,)})
    with pytest.raises(BadInput, match="no receiver"):
        NormalEquations((3,), {})
    with pytest.raises(BadInput, match=r"folds=0"):
        NormalEquations((3,), {"a": (3,)}, folds=0)
    equations = NormalEquations((3,), {"a": (4,)})
    with pytest.raises(UnknownName, match="receiver 'b'"):
        equations.of("b")
    with pytest.raises(BadInput, match="no sample"):
        equations.of("a")


# ------------------------------------------------------------------------------------------------- solutions


def close(found, wanted, atol=1e-8):
    np.testing.assert_allclose(found.weight.numpy(), wanted[0], atol=atol)
    np.testing.assert_allclose(found.bias.numpy(), wanted[1], atol=10 * atol)


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 1.0])
def test_affine_is_least_squares_with_intercept(ridge):
    """With a penalty, too; and R2 is that of its rows, pooled over channels."""
    x, y = related()
    found = solve.affine(sums(x, y, 3), ridge)
    close(found, reference.affine(x, y, ridge))
    assert found.r2 == pytest.approx(reference.r2(x, y, *reference.affine(x, y, ridge)), abs=1e-12)
    assert (found.n, found.ridge) == (60, ridge)


def test_the_penalty_is_the_best_on_folds_left_out():
    """Among 0 and the grid, as trying each of them finds; few rows and much noise want one."""
    chosen = set()
    for seed, noise, n in ((0, 0.1, 60), (1, 40.0, 30), (2, 10.0, 14), (3, 300.0, 40)):
        x, y = related(n=n, c=8, d=3, noise=noise, seed=seed)
        tried = {ridge: reference.held_out(x, y, np.arange(n), 4, ridge) for ridge in (0.0, *RIDGES)}
        best = min(tried, key=lambda ridge: tried[ridge][0])
        found = solve.affine(sums(x, y, 4))
        assert found.ridge == best
        close(found, reference.affine(x, y, best))
        chosen.add(best)
    assert len(chosen) > 2


def test_no_penalty_is_not_chosen_where_a_direction_does_not_vary():
    """A copied and a dead channel: the cross-validated fit has a penalty, ridge=0 the least map."""
    x, y = related(noise=1e-3)
    x = np.concatenate([x, x[:, :1], np.full((60, 1), 2.0)], 1)
    assert solve.affine(sums(x, y, 3)).ridge > 0
    found = solve.affine(sums(x, y), 0.0)
    close(found, reference.affine(x, y), atol=1e-6)
    np.testing.assert_allclose(found.weight[:, 0].numpy(), found.weight[:, 5].numpy(), atol=1e-8)
    assert found.weight[:, 6].abs().max() < 1e-12
    few, many = related(n=9, c=12, d=2)
    assert solve.affine(sums(few, many, 3)).ridge > 0


@pytest.mark.parametrize("ridge", [0.0, 0.1])
@pytest.mark.parametrize("rank", [1, 2, 9])
def test_low_rank_is_reduced_rank_regression(rank, ridge):
    """The best fit of a rank; that rank after it is loaded, too."""
    x, y = related(c=6, d=5)
    found = solve.low_rank(sums(x, y, 2), rank, ridge)
    close(found, reference.low_rank(x, y, rank, ridge))
    assert np.linalg.matrix_rank(found.weight.numpy(), tol=1e-8) == min(rank, 5)
    made = adapter(f"low_rank:rank={rank}", (6,), (5,))
    made.solve(sums(x, y, 2), ridge)
    wanted = torch.from_numpy(x) @ found.weight.T + found.bias
    torch.testing.assert_close(made(torch.from_numpy(x).float()), wanted.float(), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("c", "d"), [(4, 4), (3, 5), (5, 3)])
def test_orthogonal_is_the_best_rotation(c, d):
    """A rotated copy is found; a partial isometry otherwise, best in the gain it maximises."""
    x, y = related(c=c, d=d)
    found = solve.orthogonal(sums(x, y, 2))
    product = found.weight @ found.weight.T if d <= c else found.weight.T @ found.weight
    torch.testing.assert_close(product, torch.eye(min(c, d), dtype=torch.float64))
    centred = (x - x.mean(0)).T @ (y - y.mean(0))
    gain = np.trace(found.weight.numpy() @ centred)
    rng = np.random.default_rng(0)
    for _ in range(50):
        other, _ = np.linalg.qr(rng.normal(size=(max(c, d), min(c, d))))
        assert np.trace((other if d >= c else other.T) @ centred) < gain
    turn, _ = np.linalg.qr(rng.normal(size=(c, c)))
    again = solve.orthogonal(sums(x, x @ turn.T + 5))
    close(again, (turn, np.full(c, 5.0)))
    assert again.r2 == pytest.approx(1.0)


def test_permutation_is_the_best_pairing():
    """As trying all of them finds; a permuted copy is found, and a channel left over gets its mean."""
    pytest.importorskip("scipy")
    x, y = related(c=5, d=5, noise=5.0)
    order = reference.paired(x, y)
    found = solve.permutation(sums(x, y, 2))
    np.testing.assert_array_equal(found.weight.numpy(), np.eye(5)[list(order)])
    assert solve.permutation(sums(x, x[:, [2, 0, 1, 4, 3]] - 1)).r2 == pytest.approx(1.0)
    wide = np.concatenate([x[:, [1, 0]], np.random.default_rng(1).normal(size=(60, 5))], 1)
    left = solve.permutation(sums(x[:, :2], wide))
    assert left.weight.sum() == 2
    np.testing.assert_allclose(left.bias[2:].numpy(), wide.mean(0)[2:])


@pytest.mark.parametrize("name", ["affine", "conv", "orthogonal", "permutation", "low_rank:rank=2", "identity"])
def test_an_adapter_takes_its_solution_over(name):
    """What comes out of it is the map of rows, and R2 is what the map explains."""
    pytest.importorskip("scipy")
    shape = (4, 6, 6) if name == "conv" else (4, 3, 3)
    sent, own = drawn(30, *shape), drawn(30, 4, 3, 3, seed=1)
    made = adapter(name, shape, (4, 3, 3))
    equations = NormalEquations(shape, {"at": (4, 3, 3)}, patches=made.recipe.patches)
    equations.add(sent, {"at": own})
    found = made.solve(equations.of("at"))
    x, y = reference.rows(made.arrange(sent).double().numpy()), reference.rows(own.double().numpy())
    wanted = x @ found.weight.numpy().T + found.bias.numpy()
    np.testing.assert_allclose(reference.rows(made(sent).detach().numpy()), wanted, atol=1e-5)
    assert found.r2 == pytest.approx(reference.r2(x, y, found.weight.numpy(), found.bias.numpy()), abs=1e-9)
    assert made(sent).dtype == torch.float32


def test_what_is_not_defined_is_nan_and_what_is_not_finite_refused():
    """A constant receiver; NaN; a penalty below 0; folds that are not there."""
    x, y = related()
    assert math.isnan(solve.affine(sums(x, np.ones_like(y), 2), 0.0).r2)
    assert math.isnan(explained(sums(x, np.ones_like(y))[0], torch.zeros(4, 5).double(), torch.zeros(4).double()))
    y[3, 2] = np.nan
    with pytest.raises(BadInput, match=r"(?s)closed form.*NaN or Inf"):
        solve.affine(sums(x, y), 0.0)
    with pytest.raises(BadInput, match=r"(?s)ridge=-1.*0 or more"):
        solve.affine(sums(*related()), -1.0)
    with pytest.raises(BadInput, match=r"(?s)cross-validation.*one fold only"):
        solve.affine(sums(*related()))
