"""Objectives: one value per sample, and sentences for everything else."""

from __future__ import annotations

import pytest
import torch

from netassay import objectives
from netassay.errors import BadInput, UnknownName


def values(name, output, y):
    return objectives.values(objectives.find(name), output.requires_grad_(), y, len(output))


def test_cross_entropy_equals_its_definition():
    """Minus the log of the softmax at the true class, sample by sample; positions are summed."""
    output, y = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    expected = [-torch.log(row.exp()[c] / row.exp().sum()) for row, c in zip(output, y, strict=True)]
    torch.testing.assert_close(values("cross_entropy", output, y), torch.stack(expected))
    tokens, marks = torch.randn(2, 4, 3, dtype=torch.float64), torch.tensor([[0, 1, -100, 2], [1, 1, 1, 1]])
    got = values("cross_entropy", tokens, marks)
    by_hand = [
        sum(-torch.log_softmax(t, 0)[c] for t, c in zip(a, b, strict=True) if c >= 0)
        for a, b in zip(tokens, marks, strict=True)
    ]
    torch.testing.assert_close(got, torch.stack(by_hand))
    torch.testing.assert_close(values("cross_entropy", tokens.movedim(1, 2), marks), got)


def test_mse_and_true_logit():
    """Mean squared error over a sample's entries; the logit of the true class."""
    output = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert values("mse", output, torch.tensor([[1.0, 0.0], [0.0, 5.0]])).tolist() == [2.0, 4.5]
    assert values("true_logit", output, torch.tensor([1, 0])).tolist() == [2.0, 3.0]


def test_functions_by_name():
    """module:function finds any importable function."""
    found = objectives.find("netassay.objectives:true_logit")
    assert found is objectives.true_logit


def test_logits_are_found_in_what_models_return():
    """A tensor, a dict or object with logits, or the first floating tensor of a tuple."""
    tensor = torch.ones(2, 2)
    for output in (tensor, {"loss": torch.ones(1), "logits": tensor}, (torch.ones(1, dtype=torch.int64), tensor)):
        assert objectives.logits(output) is tensor
    with pytest.raises(BadInput, match="without a floating tensor"):
        objectives.logits((1, 2))


@pytest.mark.parametrize(
    ("name", "output", "y", "sentence"),
    [
        ("cross_entropy", (2, 3), None, "data without labels"),
        ("cross_entropy", (2, 3), [0, 3], "label 3, outside 0 to 2"),
        ("cross_entropy", (2, 3), [0, -1], "label -1"),
        ("cross_entropy", (2, 3), [0.0, 1.0], "labels of type float32"),
        ("cross_entropy", (2, 3), [[0, 1], [1, 1]], "labels (2, 2)"),
        ("mse", (2, 3), [1.0, 2.0], "output (2, 3) and target (2,)"),
        ("netassay.objectives:mean_loss", (2, 3), [0, 1], "has no attribute 'mean_loss'"),
    ],
)
def test_what_does_not_fit_is_refused(name, output, y, sentence):
    """Each refusal says what was found."""
    with pytest.raises(BadInput) as caught:
        values(name, torch.randn(*output), None if y is None else torch.tensor(y))
    assert sentence in str(caught.value)


def test_a_mean_loss_is_refused():
    """An objective must give one value per sample, and depend on the input."""
    with pytest.raises(BadInput, match=r"one value per sample, shape \(2,\), is needed"):
        objectives.values(lambda output, y: output.mean(), torch.ones(2, 3), None, 2)
    with pytest.raises(BadInput, match="does not depend on the input"):
        objectives.values(lambda output, y: output.sum(1), torch.ones(2, 3), None, 2)
    with pytest.raises(UnknownName, match="closest: 'cross_entropy'"):
        objectives.find("crossentropy")


def test_objectives_that_ask_what_the_network_thinks():
    """Score of the true class, largest logit, and entropy in nats; the last two take no label."""
    output = torch.tensor([[1.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    scores = output.double().exp() / output.double().exp().sum(1, keepdim=True)
    torch.testing.assert_close(values("true_score", output, torch.tensor([1, 2])), scores[[0, 1], [1, 2]].float())
    assert values("predicted_logit", output, None).tolist() == [3.0, 0.0]
    torch.testing.assert_close(values("entropy", output, None), -(scores * scores.log()).sum(1).float())
    with pytest.raises(BadInput, match="data without labels"):
        values("true_score", output, None)
