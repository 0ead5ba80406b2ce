"""The registry: which layers have a rule, what is refused and how to go on, rules of users, and their check."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from netassay.errors import BadInput
from netassay.rules import blocks, find, known, rule
from netassay.testing import check_quiet, check_rule
from tests import gradients
from tests.gradients import far


class Scale(nn.Module):
    """Multiplies each channel."""

    def __init__(self, n):
        super().__init__()
        self.factors = nn.Parameter(torch.arange(1.0, n + 1))

    def forward(self, x):
        return x * self.factors


class Mix(nn.Linear):
    """A linear layer that does something of its own."""

    def forward(self, x):
        return super().forward(x) + x.sum(-1, keepdim=True)


class Lora(nn.Conv2d):
    """A convolution whose own part is hidden one method deeper."""

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight, bias) + x.mean()


class Named(nn.Conv2d):
    """A subclass that only adds a method."""

    def describe(self):
        return "mine"


@pytest.mark.parametrize(("name", "skip"), [("", "skip='Softmax'"), ("head.act", "skip='head.act'")])
def test_a_class_without_a_rule_is_refused_with_two_ways_out(name, skip):
    """The sentence has the class, where it stands, how to write a rule, and how to leave it out."""
    with pytest.raises(BadInput) as caught:
        find(nn.Softmax(1), name)
    told = str(caught.value)
    assert "no rule for Softmax" in told
    assert "netassay.rules.rule" in told
    assert skip in told
    assert name in caught.value.asked
    with pytest.raises(BadInput, match="no rule for Softmax"):
        blocks(nn.Softmax(1), torch.ones(1, 2), torch.ones(1, 2))


@pytest.mark.parametrize("layer", [Mix(3, 3), Lora(2, 2, 1), nn.SyncBatchNorm(2)])
def test_a_subclass_with_a_forward_of_its_own_is_refused(layer):
    """What it computes is not what the rule was written for; the method is named."""
    assert not known(layer)
    method = "_conv_forward" if isinstance(layer, Lora) else "forward"
    with pytest.raises(BadInput, match=f"its own {method}, while the rule was written for that of"):
        find(layer)


@pytest.mark.parametrize("method", ["forward", "_conv_forward"])
def test_an_instance_with_a_patched_forward_is_refused(method):
    """A method in the instance hides that of the class."""
    layer = nn.Conv2d(2, 2, 1)
    assert known(layer)
    setattr(layer, method, getattr(layer, method))
    assert not known(layer)
    with pytest.raises(BadInput, match=f"its own {method}"):
        find(layer)


@pytest.mark.parametrize("layer", [Named(3, 4, 3, padding=1), nn.LazyConv2d(4, 3, padding=1)])
def test_a_subclass_that_computes_the_same_has_the_rule(layer):
    """Also a lazy layer, once it has seen a batch."""
    x = torch.randn(2, 3, 5, 5)
    layer(x)
    gy = torch.randn(2, 4, 5, 5)
    assert far(blocks(layer, x, gy), layer, x, gy) <= 1


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d", "Linear"])
def test_a_computed_weight_counts_as_it_multiplies(wrap, name):
    """With weight or spectral norm, blocks are those of the weight that is used, which is no other than before."""
    layer, x, gy = gradients.family(name)
    plain, _, _ = gradients.family(name)
    layer = wrap(layer).eval()
    if wrap is parametrizations.weight_norm:
        layer.parametrizations.weight.original0.data *= 3
    plain.weight.data.copy_(layer.weight)
    assert not torch.equal(plain.weight, gradients.family(name)[0].weight)
    assert far(blocks(layer, x, gy), plain, x, gy) <= 1


@pytest.mark.parametrize("layout", ["first", "last"])
def test_a_rule_of_a_user_is_found_and_has_its_layout(layout):
    """A decorated function makes the blocks of its class and of subclasses that compute the same."""

    class Own(Scale):
        pass

    class Again(Own):
        pass

    class Other(Own):
        def forward(self, x):
            return x

    assert not known(Own(2))

    @rule(Own, layout=layout)
    def own(layer, x, gy):
        return torch.diag_embed((gy * layer.factors).abs())

    gy = torch.tensor([[1.0, -2.0]])
    for layer in (Own(2), Again(2)):
        made = blocks(layer, gy, gy)
        assert made.tolist() == [[[1.0, 0.0], [0.0, 4.0]]]
        assert (made.dtype, made.requires_grad) == (torch.float64, False)
    assert (find(Own(2)).layout, find(Own(2)).kind) == (layout, Own)
    assert not known(Other(2))
    assert own(Own(2), gy, gy).shape == (1, 2, 2)


def test_a_rule_for_a_subclass_goes_before_that_of_its_base():
    """A layer that is refused gets a rule without losing its base's."""

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    @rule(Doubled, layout="last")
    def doubled(layer, x, gy):
        return 2 * (gy[:, :, None] * layer.weight).abs()

    layer, x, gy = Doubled(3, 4), torch.randn(2, 3), torch.randn(2, 4)
    check_rule(layer, x, gy)
    plain = nn.Linear(3, 4)
    plain.weight = layer.weight
    torch.testing.assert_close(blocks(layer, x, gy), 2 * blocks(plain, x, gy))


RIGHT = [name for name in gradients.FAMILIES if name != "attention"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", RIGHT)
def test_right_rules_pass_their_check(name, dtype):
    """A layer of each family, with a gradient or the one that is drawn; weights and generators stay as they are."""
    layer, x, gy = gradients.family(name, dtype)
    axis = -1 if gradients.last(layer) else 1
    with check_quiet(layer):
        check_rule(layer, x, gy, axis=axis)
        check_rule(layer, x, axis=axis)


def planted(change):
    """A class of layers with a rule that `change` has been at."""

    class Wrong(nn.Linear):
        pass

    @rule(Wrong, layout="last")
    def wrong(layer, x, gy):
        made = gy[:, :, None].double() * layer.weight.detach().double()
        change(made.abs_())
        return made

    return Wrong


@pytest.mark.parametrize("factor", [1.01, 1 - 3e-4, torch.nan, 0.0, -1.0])
def test_a_wrong_rule_is_told_with_its_worst_block(factor):
    """The sentence has the class, the place of the block, and both numbers; a smaller error elsewhere is not named."""

    def change(made):
        made[1, 2, 0] *= factor
        made[0, 1, 1] *= 1 + 2e-4

    layer = planted(change)(3, 4)
    with pytest.raises(AssertionError, match=r"the rule for Wrong: block \(n=1, o=2, i=0\) is .*, by the definition"):
        check_rule(layer, torch.randn(2, 3))


@pytest.mark.parametrize(("dtype", "factor", "passes"), [
    (torch.float32, 1 + 5e-5, True), (torch.float32, 1 + 2e-4, False),
    (torch.float64, 1 + 5e-9, True), (torch.float64, 1 + 2e-8, False),
])  # fmt: skip
def test_a_rule_may_be_off_by_as_much_as_is_promised(dtype, factor, passes):
    """1e-4 of each block, in float64 1e-8."""
    layer = planted(lambda made: made[0, 0, 0].mul_(factor))(3, 4).to(dtype)
    x, gy = torch.randn(2, 3, dtype=dtype), torch.randn(2, 4, dtype=dtype)
    if passes:
        check_rule(layer, x, gy)
    else:
        with pytest.raises(AssertionError, match="n=0, o=0, i=0"):
            check_rule(layer, x, gy)
