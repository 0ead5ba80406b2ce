"""Patterns: ideal maps, noise, smooth noise, and what must not change an index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netassay.errors import BadInput
from netassay.inference import binomial_tail, seed_interval
from netassay.patterns import PATTERNS, pattern
from netassay.patterns.asked import gridded
from netassay.patterns.fitting import fitted, indices
from netassay.patterns.intervals import independent
from netassay.patterns.null import fields
from netassay.patterns.pattern import adjusted
from tests.reference import patterns as reference

IDEALS = {
    "narrow": ("diagonal", lambda u, v: np.exp(-abs(u - v) / 0.125)),
    "wide": ("diagonal", lambda u, v: np.exp(-abs(u - v))),
    "lower": ("triangle", lambda u, v: 1.0 * (v <= u)),
    "upper": ("triangle", lambda u, v: 1.0 * (v >= u)),
    "halves": ("block", lambda u, v: 1.0 * ((u < 0.5) == (v < 0.5))),
    "thirds": ("block", lambda u, v: 1.0 * (np.digitize(u, [1 / 3, 2 / 3]) == np.digitize(v, [1 / 3, 2 / 3]))),
    "middle": ("block", lambda u, v: 1.0 * (abs(u - 0.5) < 0.25) * (abs(v - 0.5) < 0.25)),
}
OTHERS = {  # shapes that no template has: named right all the same
    "bell": ("diagonal", lambda u, v: np.exp(-(((u - v) / 0.2) ** 2))),
    "cone": ("diagonal", lambda u, v: -abs(u - v)),
    "soft": ("triangle", lambda u, v: np.tanh((u - v) / 0.15)),
    "uneven": ("block", lambda u, v: 1.0 * ((u < 0.4) == (v < 0.4))),
}


def made(name, rows=12, columns=12):
    """Return an ideal map."""
    u, v = ((np.arange(size) + 0.5) / size for size in (rows, columns))
    return {**IDEALS, **OTHERS}[name][1](u[:, None], v[None]) + 0 * (u[:, None] + v[None])


def inner(map):
    """Return a map without row and column effects, of standard deviation 1."""
    map = map - map.mean(0) - map.mean(1)[:, None] + map.mean()
    return map / map.std()


def walk(draw, size, step):
    """Return a field of autoregressions along both axes."""
    root = np.linalg.cholesky(step ** abs(np.subtract.outer(np.arange(size), np.arange(size))))
    return root @ draw.standard_normal((size, size)) @ root.T


def found(map, positions=None):
    """Return the four indices of a map."""
    grid = gridded(np.asarray(map), positions, False)
    return indices(grid, grid.cells)[0]


@pytest.mark.parametrize("name", IDEALS)
@pytest.mark.parametrize("shape", [(12, 12), (24, 12), (36, 36)])
def test_an_ideal_map_has_its_own_index_alone(name, shape):
    """1 for its own pattern and 0 for the others, whatever else is fitted."""
    own, _ = IDEALS[name]
    expected = [float(one == own) for one in PATTERNS]
    assert abs(found(made(name, *shape))) == pytest.approx(expected, abs=1e-9)


def test_sides_of_a_triangle():
    """The index is positive where columns come before rows; the map turned over has the other sign."""
    lower, upper = (pattern(made(name)) for name in ("lower", "upper"))
    assert (lower.side, lower.row("triangle")["index"] > 0) == ("columns before rows", True)
    assert (upper.side, upper.row("triangle")["index"] > 0) == ("rows before columns", False)
    assert pattern(made("narrow")).side == ""


@given(st.integers(3, 8), st.integers(3, 8), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1]))
@settings(max_examples=40)
def test_indices_are_those_of_the_definition(rows, columns, seed, missing):
    """Against loops over cells and scipy's non-negative least squares, with and without missing cells."""
    draw = np.random.default_rng(seed)
    map = draw.normal(size=(rows, columns))
    map[draw.random(map.shape) < missing] = np.nan
    if min(np.isfinite(map).all(0).sum(), np.isfinite(map).all(1).sum()) >= 3:
        assert found(map) == pytest.approx(np.clip(reference.indices(map), -1, 1), abs=1e-7)


@given(st.integers(3, 9), st.integers(3, 9), st.integers(0, 2**32 - 1), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
@settings(max_examples=60)
def test_scale_and_offset_say_nothing(rows, columns, seed, offset, scale):
    """a + b * map has the indices of the map, in [0, 1], the triangle in [-1, 1]; turned over it changes side."""
    map = np.random.default_rng(seed).random((rows, columns))
    seen = found(map)
    assert found(offset + scale * map) == pytest.approx(seen, abs=1e-6)
    assert (abs(seen) <= 1).all()
    assert (seen[[0, 2, 3]] >= 0).all()
    assert found(map.T) == pytest.approx(seen * [1, -1, 1, 1], abs=1e-6)


@pytest.mark.parametrize("name", [*IDEALS, *OTHERS])
def test_a_finer_grid_has_nearly_the_same_indices(name):
    """The same shape drawn on twice as many layers; or of each cell four, which are blocks in a narrow diagonal."""
    assert found(np.kron(made(name), np.ones((2, 2)))) == pytest.approx(found(made(name)), abs=0.2)
    assert found(made(name, 24, 24)) == pytest.approx(found(made(name)), abs=0.12)


def test_effects_of_rows_and_columns_are_no_pattern():
    """Nor is their sum, nor their product: late layers that are unlike everything make no diagonal."""
    u = np.linspace(1, 0.3, 10)
    for map in (u[:, None] + 0 * u, u[:, None] + u**2, np.outer(u, u**2)):
        told = pattern(0.2 + map)
        assert (told.name, told.row("flat")["index"]) == ("flat", pytest.approx(1, abs=1e-6))
    with_effects = made("narrow", 10, 10) + 3 * u[:, None] - 2 * u
    assert found(with_effects)[0] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", [*IDEALS, *OTHERS])
def test_a_noisy_map_is_named_right(name):
    """Noise as large as the pattern, twelve layers: nine times of ten at least (all ten in most)."""
    own, draw = {**IDEALS, **OTHERS}[name][0], np.random.default_rng(1)
    maps = [inner(made(name)) + draw.standard_normal((12, 12)) for _ in range(10)]
    assert sum(pattern(map, permutations=99, seed=k).name == own for k, map in enumerate(maps)) >= 9


@pytest.mark.parametrize("maps", [100, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("step", [0.0, 0.5, 0.9])
def test_noise_is_flat(step, maps):
    """Of white and of smooth noise 1 in 20 maps has a pattern, by a one-sided binomial test."""
    draw = np.random.default_rng(2)
    names = [pattern(walk(draw, 7, step), permutations=99, seed=k).name for k in range(maps)]
    assert binomial_tail(sum(name != "flat" for name in names), maps, 0.05) > 0.005


def test_exchanged_positions_would_call_smooth_noise_a_pattern():
    """Why the null is smooth: against a white one, most smooth maps have a pattern."""
    draw, wrong = np.random.default_rng(3), 0
    for _ in range(20):
        grid = gridded(walk(draw, 9, 0.9), None, False)
        null = indices(grid, np.stack([draw.permutation(grid.cells[0]) for _ in range(99)]))[:, :3]
        wrong += adjusted(indices(grid, grid.cells)[0, :3], null).min() <= 0.05
    assert wrong >= 10


def test_fields_are_as_smooth_as_the_map():
    """Neighbours of the drawn fields are correlated as those of the map, along either axis."""
    draw = np.random.default_rng(4)
    long = np.linalg.cholesky(0.9 ** abs(np.subtract.outer(np.arange(30), np.arange(30))))
    map = long @ draw.standard_normal((30, 30))  # smooth down the rows, rough along the columns
    drawn = fields(gridded(map, None, False), 200, draw, itself=False).reshape(200, 30, 30)
    bare = drawn - drawn.mean(1, keepdims=True) - drawn.mean(2, keepdims=True) + drawn.mean((1, 2), keepdims=True)
    down, along = (bare[:, 1:] * bare[:, :-1]).mean(), (bare[:, :, 1:] * bare[:, :, :-1]).mean()
    own = inner(map)
    assert down / bare.var() == pytest.approx((own[1:] * own[:-1]).mean(), abs=0.03)
    assert along / bare.var() == pytest.approx(max((own[:, 1:] * own[:, :-1]).mean(), -1 / 29), abs=0.03)


def test_missing_cells_and_dead_layers():
    """A few NaN cells and a row of them leave an ideal map what it is."""
    for name, (own, _) in IDEALS.items():
        map = made(name)
        map[3, 4] = map[7, 2] = np.nan
        map[5] = np.nan
        told = pattern(map)
        assert told.name == own
        assert abs(told.row(own)["index"]) == pytest.approx(1, abs=1e-9)


def test_a_map_of_equal_cells_is_flat():
    """Also where rounding is all that differs."""
    for map in (np.full((6, 6), 0.9), 0.9 + 1e-16 * np.arange(36.0).reshape(6, 6) % 3):
        told = pattern(map)
        assert (told.name, told.row("flat")["index"], told.row("flat")["p"]) == ("flat", 1.0, 1.0)


def test_a_map_against_itself_leaves_its_diagonal_out():
    """That each layer is like itself is no pattern; that neighbours are alike is, and the test is symmetric too."""
    draw = np.random.default_rng(5)
    noise = draw.standard_normal((10, 10))
    alone = 5 * np.eye(10) + noise + noise.T
    assert pattern(alone).name == "diagonal"
    assert pattern(alone, itself=True).name == "flat"
    assert pattern(inner(made("narrow", 10, 10)) + 0.3 * (noise + noise.T), itself=True).name == "diagonal"
    wrong = [pattern((one := walk(draw, 7, 0.7)) + one.T, itself=True, permutations=99).name for _ in range(60)]
    assert binomial_tail(sum(name != "flat" for name in wrong), 60, 0.05) > 0.005


def test_positions_are_where_layers_stand():
    """A diagonal over uneven depths is one when the depths are told."""
    depths = np.linspace(0.05, 1, 12) ** 3
    map = np.exp(-abs(depths[:, None] - depths) / 0.25)
    assert found(map, positions=(depths, depths))[0] == pytest.approx(1, abs=1e-9)
    assert found(map)[0] < 0.95


def test_several_maps():
    """The index is the mean over maps; the interval leaves out network by network, whatever the order of maps."""
    draw = np.random.default_rng(6)
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    maps = [inner(made("narrow", 8, 8)) + draw.standard_normal((8, 8)) for _ in pairs]
    told = pattern(maps, pairs=pairs)
    each = np.array([found(map) for map in maps])
    assert [row["index"] for row in told.rows] == pytest.approx(each.mean(0))
    for k, row in enumerate(told.rows):  # of three networks, one pair is left without each
        pseudo = [3 * each[:, k].mean() - 2 * each[left, k] for left in (2, 1, 0)]
        assert (row["low"], row["high"]) == pytest.approx(np.clip(seed_interval(pseudo)[1:], -(k == 1), 1))
        assert [one[k] for one in told.values] == pytest.approx(pseudo)
    again = pattern(maps[::-1], pairs=pairs[::-1])
    assert again.row("diagonal")["low"] == pytest.approx(told.row("diagonal")["low"])
    assert (told.how, told.name) == ("3 networks", "diagonal")
    assert pattern(maps).how == "3 maps"
    assert np.isnan(pattern(maps[:2], pairs=[("a", "b"), ("b", "a")]).row("flat")["low"])


def test_maps_that_share_networks_count_for_less():
    """Between n networks n - 1 maps are independent; a list without pairs, all."""
    six = [(a, b) for a in range(4) for b in range(a)]
    assert (independent(6, six), independent(6, None), independent(1, [(0, 1)])) == (3, 6, 1)
    draw = np.random.default_rng(7)
    maps = [0.5 * inner(made("cone", 7, 7)) + draw.standard_normal((7, 7)) for _ in range(3)]
    alone, shared = (pattern(maps, pairs=of) for of in (None, [(0, 1), (0, 2), (1, 2)]))
    assert alone.row("flat")["p"] < shared.row("flat")["p"]


def test_adjusted_chances_are_those_of_the_definition():
    """The share of draws whose smallest p is no larger, the one seen among them; signs do not count."""
    draw = np.random.default_rng(8)
    seen, null = draw.normal(size=3), draw.normal(size=(40, 3))
    every = np.abs([seen, *null])
    p = np.array([[np.mean([one[k] >= row[k] for one in every]) for k in range(3)] for row in every])
    assert adjusted(seen, null).tolist() == [np.mean([row.min() <= p[0, k] for row in p]) for k in range(3)]


def test_weights_are_not_below_zero():
    """Where two templates are one, the first is taken."""
    twice = np.array([[[1.0, 1.0], [1.0, 1.0]]])
    assert fitted(twice, np.array([[0.8, 0.8]])).tolist() == [[0.8, 0.0]]
    assert fitted(np.array([[[1.0, 0.6], [0.6, 1.0]]]), np.array([[0.5, 0.1]])).tolist() == [[0.5, 0.0]]


def test_one_map_has_an_interval_over_stretches():
    """Of no width where the pattern is even, wide where it is only in one half."""
    even = pattern(made("halves", 24, 24)).row("block")
    assert (even["low"], even["high"]) == pytest.approx((1, 1))
    half = np.where(np.arange(20)[:, None] < 10, made("narrow", 20, 20), 0)
    row = pattern(half).row("diagonal")
    without = [half.copy() for _ in range(10)]
    for k, one in enumerate(without):
        one[2 * k : 2 * k + 2] = one[:, 2 * k : 2 * k + 2] = np.nan
    left = np.array([found(one)[0] for one in without])
    reach = 2.262157 * np.sqrt(9 / 10 * ((left - left.mean()) ** 2).sum())
    assert (row["low"], row["high"]) == pytest.approx((max(row["index"] - reach, 0), min(row["index"] + reach, 1)))
    assert pattern(half).how == "10 stretches of positions"


def test_the_same_call_gives_the_same_bits():
    """And another seed another test, but the same indices."""
    map = np.random.default_rng(9).normal(size=(8, 8))
    assert pattern(map) == pattern(map)
    assert pattern(map).rows != pattern(map, seed=1).rows
    same = [[row["index"] for row in pattern(map, seed=seed).rows] for seed in (0, 1)]
    assert same[0] == same[1]


@pytest.mark.parametrize(("size", "itself"), [(3, False), (4, False), (4, True)])
def test_a_small_map_has_no_interval(size, itself):
    """A few stretches do not say how even a pattern is: NaN, not a width of zero."""
    map = np.random.default_rng(1).normal(size=(size, size))
    for row in pattern(map + map.T, itself=itself).rows:
        assert np.isnan([row["low"], row["high"]]).all()
        assert np.isfinite(row["index"])


def test_intervals_stay_within_what_an_index_can_be():
    """Of one map and of several, from 0 to 1, of a triangle from -1."""
    maps = np.random.default_rng(2).normal(size=(3, 7, 7)) + made("narrow", 7, 7)
    for told in (pattern(maps[0]), pattern(list(maps))):
        for row in told.rows:
            assert (-1 if row["pattern"] == "triangle" else 0) <= row["low"] <= row["high"] <= 1


@pytest.mark.parametrize(
    ("maps", "how", "told"),
    [
        (np.eye(3), {"itself": True}, "give 4 rows and 4 columns or more"),
        (np.ones((1, 7)), {}, "a map of 1 x 7 cells"),
        (np.ones((2, 7)), {}, "give 3 rows and 3 columns or more"),
        (np.ones(7), {}, "a map of 7 cells"),
        (np.where(np.eye(5)[:1] > 0, np.ones((5, 5)), np.nan), {}, "fewer than 3 rows or columns with a number"),
        ([], {}, "no map"),
        (np.ones((4, 5)), {"itself": True}, "4 x 5 cells"),
        ([np.eye(4)], {"pairs": []}, "0 pairs for 1 maps"),
        (np.eye(4), {"positions": (np.ones(3), np.ones(4))}, r"positions \(3,\) and \(4,\) for 4 x 4 cells"),
        (np.eye(4), {"positions": (np.arange(4), np.arange(4))}, "some outside"),
        (np.eye(4), {"permutations": 0}, "permutations=0"),
        (np.eye(4), {"level": 1.0}, "level=1"),
    ],
)
def test_what_is_no_map_is_refused(maps, how, told):
    """With a sentence that says what was found."""
    with pytest.raises(BadInput, match=told):
        pattern(maps, **how)
