"""Spec strings: grammar, conversion by signature, and the sentences of refusal."""

from __future__ import annotations

from typing import Literal

import pytest

from netassay.errors import BadInput, UnknownName
from netassay.spec import Spec, call, parse


def factory(*sizes: int, input: int = 224, skip: Literal["residual", "none"] = "residual", bias: bool = False):
    return sizes, input, skip, bias


@pytest.mark.parametrize(
    "text",
    [
        "mlp",
        "resnet[3,4,6,3]",
        "resnet[1,1]:input=32,skip=none",
        "noise:uniform,n=8",
        "my.models:make,width=3",
        "parquet:/data/year=2024/images.parquet,n=3",
    ],
)
def test_canonical_form_is_stable(text):
    """A canonical spec prints as it was written, and parses to itself."""
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)


def test_a_path_with_an_equals_sign_is_an_item():
    """Only what begins with a name can be an option."""
    assert parse("parquet:/data/year=2024/images.parquet,n=3").items == ("/data/year=2024/images.parquet",)


def test_including_keeps_what_was_said():
    """Defaults join a spec without overruling it."""
    assert str(parse("digits:size=8").including(size=16, split="test")) == "digits:size=8,split=test"


def test_call_converts_by_annotation():
    """Sizes, integers, choices and truth values arrive as the factory's types."""
    assert call(factory, parse("f[2,2]:input=32,skip=none,bias=true")) == ((2, 2), 32, "none", True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("resnet[1,1", "not of the form"),
        ("f:input=32,input=8", "'input' is given twice"),
        ("f:inptu=32", "closest: 'input'"),
        ("f:input=big", "'big' is no int"),
        ("f:skip=nnone", "closest: 'none'"),
        ("f:imagenet", "'imagenet' stands alone"),
    ],
)
def test_bad_specs_are_refused_with_a_sentence(text, sentence):
    """Each refusal says what was found."""
    with pytest.raises(BadInput) as caught:
        call(factory, parse(text))
    assert sentence in str(caught.value)


def test_unknown_name_says_what_to_type():
    """The next step names the nearest known option."""
    with pytest.raises(UnknownName, match="use 'input'"):
        call(factory, Spec("f", options={"inputs": "3"}))
