"""Layers: patterns, labels, and the place of a call in the graph that ran."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

import netassay as na
from netassay.capturing import visit
from netassay.errors import BadInput, LayerNotFound


def net():
    return nn.ModuleDict(
        {
            "conv1": nn.Conv2d(1, 1, 1),
            "layer1": nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()),
            "layer2": nn.Sequential(nn.Conv2d(1, 1, 1), nn.Linear(1, 1)),
        }
    )


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("conv*", ["conv1"]),
        ("layer*.*", ["layer1.0", "layer1.1", "layer2.0", "layer2.1"]),
        ("*1*", ["conv1", "layer1", "layer1.0", "layer1.1", "layer2.1"]),
        ("re:layer[12]\\.0", ["layer1.0", "layer2.0"]),
        ("type:Conv*", ["conv1", "layer1.0", "layer2.0"]),
        (["layer2.1", "conv1"], ["conv1", "layer2.1"]),
    ],
)
def test_patterns(pattern, names):
    """fnmatch on the whole dotted name, regular expressions, types; in order of definition, each layer once."""
    assert [layer.name for layer in na.select(net(), pattern)] == names


def test_a_type_matches_its_subclasses():
    """PyTorch's own subclasses count as what they are."""
    attention = nn.MultiheadAttention(2, 1)
    assert [layer.name for layer in na.select(attention, "type:Linear")] == ["out_proj"]


def test_order_of_execution_comes_first_where_given():
    """Labels of a capture order the selection; layers that did not run follow."""
    order = ["layer2.0", "conv1#0", "conv1#1"]
    names = [layer.name for layer in na.select(net(), "type:Conv*", order=order)]
    assert names == ["layer2.0", "conv1", "layer1.0"]


def test_a_pattern_without_match_is_answered_with_near_names():
    """The sentence counts the layers, names the nearest, and says what to type."""
    with pytest.raises(LayerNotFound) as caught:
        na.select(net(), "layer1.convo")
    assert str(caught.value).startswith("asked: layer 'layer1.convo' of ModuleDict\n")
    assert "7 layers, none matches; closest: 'layer1" in str(caught.value)


def test_a_bad_expression_and_a_bad_model_are_refused():
    """Broken regular expressions and things that are no module get a sentence."""
    with pytest.raises(BadInput, match="no regular expression"):
        na.select(net(), "re:layer[")
    with pytest.raises(BadInput, match=r"list, which is no torch\.nn\.Module"):
        na.select([nn.Linear(1, 1)], "*")


class Graph(nn.Module):
    """A net of linear layers wired by a list of edges; node 0 is the input, the last node the output."""

    def __init__(self, edges, size):
        super().__init__()
        self.edges, self.size = edges, size
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(size))

    def forward(self, x):
        values = [x]
        for i in range(self.size):
            values.append(self.layers[i](sum(values[a] for a, b in self.edges if b == i + 1)))
        return values[-1]


def ways(edges, last):
    """All ways from 0 to `last`, by walking them one by one."""
    stack, found = [[0]], []
    while stack:
        way = stack.pop()
        if way[-1] == last:
            found.append(way)
        stack += [[*way, b] for a, b in edges if a == way[-1]]
    return found


@pytest.mark.parametrize("extra", [(), *itertools.combinations([(0, 2), (1, 3), (0, 4), (2, 4)], 2)])
def test_places_equal_a_walk_over_all_ways(extra):
    """Depth is the longest way, trunk what lies on every way; both as a walk over all ways finds them."""
    edges, size = [(0, 1), (1, 2), (2, 3), (3, 4), *extra], 4
    model, x = Graph(edges, size), torch.randn(3, 2, requires_grad=True)
    with visit(model, "layers.*") as watch:
        found = watch.places(model(x), [x])
    all_ways = ways(edges, size)
    for i in range(size):
        node = i + 1
        place = found[(f"layers.{i}", 0)]
        assert place.depth == max(way.index(node) for way in all_ways + ways(edges, node) if node in way)
        assert (place.path == "trunk") == all(node in way for way in all_ways)


def test_place_is_unknown_without_a_graph():
    """Where autograd kept nothing, a call has no place."""
    model = nn.Sequential(nn.Linear(2, 2))
    with visit(model) as watch, torch.no_grad():
        assert watch.places(model(torch.ones(1, 2)), []) == {}


@pytest.mark.parametrize("pattern", [5, [5]])
def test_what_is_no_pattern_is_refused(pattern):
    """A number is no pattern, alone or in a list."""
    with pytest.raises(BadInput, match=r'asked: layers 5\n  found: a int, not a pattern\n  next:  e\.g\. "layer1\.\*"'):
        na.select(nn.Sequential(nn.ReLU()), pattern)
