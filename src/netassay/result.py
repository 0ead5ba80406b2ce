"""What a study hands over: Result, Claim, Verdict. numpy only; torch ends here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from netassay.errors import BadInput, UnknownName

Decision = Literal["holds", "does not hold", "undecided"]
Severity = Literal["finding", "warning", "note"]
T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """A statement that was put to the test, with its evidence.

    `effect` is in `unit`; `interval` is the 95 % interval of the effect; `n` counts what `counted` names;
    `tests` is the number of claims the interval or p-value was corrected for, by `correction`.
    """

    statement: str
    effect: float
    interval: tuple[float, float]
    n: int
    counted: str
    decision: Decision
    unit: str = ""
    tests: int = 1
    correction: str = "none"

    @classmethod
    def above(cls, null: float, /, **fields: Any) -> Claim:
        """Decide a claim "the effect is above `null`" by where its interval lies.

        >>> Claim.above(0, statement="a > b", effect=2.0, interval=(1.0, 3.0), n=9, counted="layers").decision
        'holds'
        """
        low, high = fields["interval"]
        decision: Decision = "undecided"
        if low > null:
            decision = "holds"
        elif high < null:
            decision = "does not hold"
        return cls(decision=decision, **fields)

    def __str__(self) -> str:
        low, high = self.interval
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"{self.statement}: {self.decision} "
            f"({self.effect:.4g}{unit}, 95 % interval {low:.4g} to {high:.4g}, n = {self.n} {self.counted})"
        )


@dataclass(frozen=True)
class Verdict:
    """A finding about a model or a training: where, why, on what evidence, and what would make it wrong.

    `rule` names the row of the verdict table, `numbers` what it was judged by against `threshold`, which `source`
    gives; `n` is the number of samples seen; `next` says what to look at.

    >>> told = dict(threshold="any", source="netassay", n=8, wrong_if="never", next="look at its input")
    >>> str(Verdict("not finite", "conv1", "3 NaN in its output", "finding", {"nan": 3}, **told))
    'conv1: 3 NaN in its output'
    """

    rule: str
    layer: str
    cause: str
    severity: Severity
    numbers: Mapping[str, float]
    threshold: str
    source: str
    n: int
    wrong_if: str
    next: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.cause}" if self.layer else self.cause


class Array(np.ndarray):
    """A numpy array whose axes have names and labels.

    >>> a = Array([[1.0, 2.0]], layer=["conv1"], quantile=["q25", "q75"])
    >>> a.axes
    {'layer': ('conv1',), 'quantile': ('q25', 'q75')}
    """

    axes: dict[str, tuple[str, ...]]

    def __new__(cls, values: Any, **axes: Sequence[str]) -> Array:
        """View `values` as an array with the given labels, axis by axis."""
        self = np.asarray(values).view(cls)
        named = {name: tuple(labels) for name, labels in axes.items()}
        if self.shape != tuple(len(labels) for labels in named.values()):
            sizes = {name: len(labels) for name, labels in named.items()}
            raise ValueError(f"axes {sizes} do not fit an array of shape {self.shape}")
        self.axes = named
        return self

    def __array_finalize__(self, source: Any) -> None:
        same = isinstance(source, Array) and source.shape == self.shape
        self.axes = getattr(source, "axes", {}) if same else {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _array, (np.asarray(self), dict(self.axes))


def _array(values: Any, axes: dict[str, tuple[str, ...]]) -> Array:
    return Array(values, **axes) if axes else values.view(Array)


@dataclass(frozen=True)
class Table:
    """Named columns of one length; a column holds numbers, truth values or strings."""

    columns: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of one table differ in length: {lengths}")

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Table:
        """Turn rows with equal keys into columns."""
        names = list(rows[0]) if rows else []
        return cls({name: np.array([row[name] for row in rows]) for name in names})

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows as dicts of plain Python values."""
        values = [column.tolist() for column in self.columns.values()]
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*values, strict=True)]


class Mergeable(Protocol):
    """What a result of a part keeps, so that parts of a data set can be joined afterwards."""

    def merge(self, other: Any) -> Any:
        """Join with another part."""
        ...

    def result(self) -> Result:
        """Name the axes again."""
        ...


@dataclass(frozen=True)
class Result:
    """The outcome of a study: tables, arrays, claims, verdicts, and where they came from.

    `source` is what the tables were read from; with it, results of parts of a data set merge exactly.

    >>> result = Result("demo", {"layers": Table.of([{"layer": "conv1", "channels": 16}])})
    >>> result.table("layers"), result.findings
    ([{'layer': 'conv1', 'channels': 16}], ())
    """

    study: str
    tables: Mapping[str, Table] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    source: Mergeable | None = field(default=None, repr=False, compare=False)

    def table(self, name: str) -> list[dict[str, Any]]:
        """Return a table as rows, each a dict from column to value."""
        return _named(f"table of {self.study}", self.tables, name).rows()

    def array(self, name: str) -> Array:
        """Return an array; its `.axes` maps each axis to its labels, in order."""
        return _named(f"array of {self.study}", self.arrays, name)

    @property
    def findings(self) -> tuple[Verdict, ...]:
        """The verdicts that call for action."""
        return tuple(verdict for verdict in self.verdicts if verdict.severity == "finding")

    def merge(self, other: Result) -> Result:
        """Join the results of two parts of one data set; equal to one pass over both, up to rounding."""
        if self.source is None or type(self.source) is not type(other.source):
            raise BadInput(
                f"merge {self.study!r} with {other.study!r}",
                "results that were read back from disk, or of different studies, keep no sums to join",
                "merge the results in the process that made them, before storing",
            )
        joined: Mergeable = self.source.merge(other.source)
        return joined.result()

    def plot(self, name: str | None = None) -> Any:
        """Draw a figure of this result and return the matplotlib figure (`.savefig("figure.pdf")`)."""
        from netassay import plots

        return plots.draw(self, name)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can carry; NaN and infinities become strings."""
        return {
            "study": self.study,
            "claims": [plain(vars(claim)) for claim in self.claims],
            "verdicts": [plain(vars(verdict)) for verdict in self.verdicts],
            "tables": {name: plain(table.rows()) for name, table in self.tables.items()},
            "arrays": {
                name: {"axes": plain(array.axes), "values": plain(array.tolist())}
                for name, array in self.arrays.items()
            },
            "notes": list(self.notes),
            "provenance": plain(self.provenance),
        }

    def _repr_html_(self) -> str:
        from netassay.report.notebook import fragment

        return fragment(self)


def _named(kind: str, known: Mapping[str, T], name: str) -> T:
    if name not in known:
        raise UnknownName(kind, name, known)
    return known[name]


def plain(value: Any) -> Any:
    """Turn numpy scalars, tuples and non-finite floats into what strict JSON can carry.

    >>> plain({"a": (1, float("nan")), "b": float("-inf")})
    {'a': [1, 'NaN'], 'b': '-Infinity'}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Iterator | list | tuple | set):
        return [plain(item) for item in value]
    return value
