"""What a study hands over: Result, Claim, Verdict. numpy only; torch ends here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar

from netassay.errors import BadInput, UnknownName
from netassay.named import Array, Table, plain

__all__ = ["Array", "Claim", "Decision", "Result", "Table", "Verdict", "plain"]

Decision = Literal["holds", "does not hold", "undecided"]
Severity = Literal["finding", "warning", "note"]
T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """A statement that was put to the test, with its evidence.

    `effect` is in `unit`; `interval` holds it with confidence `level`; `n` counts what `counted` names; `tests` is the
    number of claims that `level` was corrected for, by `correction`, so that 95 % is for all of them together.
    """

    statement: str
    effect: float
    interval: tuple[float, float]
    n: int
    counted: str
    decision: Decision
    unit: str = ""
    level: float = 0.95
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

    @classmethod
    def below(cls, null: float, /, **fields: Any) -> Claim:
        """Decide a claim "the effect is below `null`" by where its interval lies.

        >>> Claim.below(0, statement="a < b", effect=2.0, interval=(1.0, 3.0), n=9, counted="layers").decision
        'does not hold'
        """
        opposite: dict[Decision, Decision] = {"holds": "does not hold", "does not hold": "holds"}
        claim = cls.above(null, **fields)
        return replace(claim, decision=opposite.get(claim.decision, claim.decision))

    def __str__(self) -> str:
        low, high = self.interval
        unit = f" {self.unit}" if self.unit else ""
        interval = f"{100 * self.level:.4g} % interval {low:.4g} to {high:.4g}"
        evidence = f"{self.effect:.4g}{unit}, {interval}, n = {self.n} {self.counted}"
        return f"{self.statement}: {self.decision} ({evidence})"


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

    def __repr__(self) -> str:
        """Say in a line what there is; printing every number would flood a terminal."""
        sizes = ", ".join(f"{name} ({len(table)} rows)" for name, table in self.tables.items())
        arrays = ", ".join(f"{name} {array.shape}" for name, array in self.arrays.items())
        parts = [f"tables {sizes}" if sizes else "", f"arrays {arrays}" if arrays else ""]
        parts += [f"{len(getattr(self, name))} {name}" for name in ("findings", "claims", "notes")]
        return f"Result({self.study}: {'; '.join(filter(None, parts))})"

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

    def plot(self, name: str | None = None, **options: Any) -> Any:
        """Draw a figure of this result and return the matplotlib figure (`.savefig("figure.pdf")`).

        The study's first figure by default; an unknown name is answered with those there are. Some take options: of an
        exchange map, "panel" `layers` and `channels`, "blocks" `layer`, "sankey" `block`.
        """
        from netassay import plots

        return plots.draw(self, name, **options)

    def animate(self, name: str, path: Any) -> Any:
        """Write a figure that has frames, such as "histograms" of a flow, as a GIF, and return its path.

        Other figures, and other endings than .gif, are refused. Needs matplotlib and Pillow.
        """
        from netassay import plots

        return plots.animate(self, name, path)

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
