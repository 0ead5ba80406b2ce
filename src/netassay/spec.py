"""Spec strings: a model or a data set as one line that rebuilds it in another process.

Grammar: `name`, `name[3,4,6,3]`, `name:item,key=value`, `package.module:factory,key=value`. The factory's
own signature is the list of what may be said: sizes fill `*args: int`, items fill positional parameters,
`key=value` fills keyword-only ones, and annotations convert the text.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from netassay.errors import BadInput, UnknownName

PATTERN = re.compile(r"(?P<name>[A-Za-z_][\w.\-]*)(\[\s*(?P<sizes>\d+(\s*,\s*\d+)*)?\s*\])?(:(?P<rest>.*))?", re.DOTALL)
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Spec:
    """A parsed spec string; `str(spec)` is its canonical form.

    >>> str(parse("resnet[1,1,1,1]: input=32,  skip=none"))
    'resnet[1,1,1,1]:input=32,skip=none'
    """

    name: str
    sizes: tuple[int, ...] = ()
    items: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        sizes = "[" + ",".join(map(str, self.sizes)) + "]" if self.sizes else ""
        rest = ",".join([*self.items, *(f"{key}={value}" for key, value in self.options.items())])
        return self.name + sizes + (":" + rest if rest else "")

    def including(self, **options: Any) -> Spec:
        """Return this spec with further options; those already there win."""
        return replace(
            self, options={**self.options, **{k: str(v) for k, v in options.items() if k not in self.options}}
        )

    def without(self, *names: str) -> Spec:
        """Return this spec without some options."""
        return replace(self, options={key: value for key, value in self.options.items() if key not in names})


def parse(text: str) -> Spec:
    """Parse a spec string.

    Raises `BadInput` with the place that cannot be read.
    """
    match = PATTERN.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"spec {text!r}", "not of the form name[sizes]:key=value,...", "e.g. resnet[1,1,1,1]:input=32")
    sizes = tuple(int(size) for size in (match["sizes"] or "").split(",") if size.strip())
    items: list[str] = []
    options: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in (match["rest"] or "").split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip().isidentifier():
            # A path may hold an equals sign: /data/year=2024/images.parquet.
            items.append(part)
        elif key.strip() in options:
            raise BadInput(f"spec {text!r}", f"{key.strip()!r} is given twice", "leave one of them out")
        else:
            options[key.strip()] = value.strip()
    return Spec(match["name"], sizes, tuple(items), options)


def call(factory: Callable[..., Any], spec: Spec) -> Any:
    """Call `factory` with what `spec` says, converted by the factory's annotations."""
    parameters = inspect.signature(factory).parameters.values()
    hints = get_type_hints(factory)
    keywords = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_sizes = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    _check_counts(spec, positional, takes_sizes)
    for key in spec.options:
        if key not in keywords:
            raise UnknownName(f"option of {spec.name!r}", key, keywords)
    items = [
        convert(text, hints.get(p.name, str), spec, p.name) for text, p in zip(spec.items, positional, strict=False)
    ]
    options = {key: convert(text, hints.get(key, str), spec, key) for key, text in spec.options.items()}
    return factory(*items, *spec.sizes, **options)


def _check_counts(spec: Spec, positional: list[inspect.Parameter], takes_sizes: bool) -> None:
    needed = [p.name for p in positional if p.default is p.empty]
    if spec.sizes and not takes_sizes:
        raise BadInput(f"spec '{spec}'", f"{spec.name!r} takes no sizes in brackets", f"use {spec.name!r}")
    if len(spec.items) > len(positional):
        extra = spec.items[len(positional)]
        raise BadInput(f"spec '{spec}'", f"{extra!r} stands alone where key=value is needed", f"e.g. {extra}=...")
    if len(spec.items) < len(needed):
        missing = needed[len(spec.items)].upper()
        raise BadInput(f"spec '{spec}'", f"{missing} is missing", f"{spec.name}:{missing}")


def convert(text: str, kind: Any, spec: Spec, key: str) -> Any:
    """Turn the text of one option into the type its factory asks for."""
    origin, choices = get_origin(kind), get_args(kind)
    if origin is Literal:
        if text in choices:
            return text
        raise UnknownName(f"{key} of '{spec}'", text, choices, f"use {key}={'|'.join(map(str, choices))}")
    if origin in (Union, types.UnionType):
        return None if text == "none" else convert(text, next(c for c in choices if c is not type(None)), spec, key)
    try:
        return TRUTH[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise BadInput(
            f"{key}={text} in '{spec}'", f"{text!r} is no {kind.__name__}", f"give {key} a {kind.__name__}"
        ) from None
