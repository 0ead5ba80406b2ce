"""The page itself: findings, sections, definitions and provenance in one file that asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from netassay.errors import BadInput
from netassay.figures.density import ends
from netassay.figures.figure import oddities
from netassay.report.charts import cells, charts
from netassay.report.headline import headline
from netassay.report.notebook import cell
from netassay.report.sections import Section, sections
from netassay.result import Result, Table
from netassay.store import Run


def write_page(run: Run, path: str | Path | None = None) -> Path:
    """Write the page of a run, by default into its folder, and return where it is."""
    target = run.page if path is None else Path(path)
    half = target.with_name(f".{target.name}.part")  # so that a full disk leaves the page that was there
    try:
        half.write_text(render(run), encoding="utf-8", newline="\n")
        half.replace(target)
    except OSError as error:
        with suppress(OSError):
            half.unlink(missing_ok=True)
        raise BadInput(
            f"page {target}", str(error.strerror or error), "name a folder that can be written: --out"
        ) from error
    return target


def render(run: Run) -> str:
    """Return the page of a run; the same folder gives the same bytes on any day."""
    results = run.results
    built = sections(run, results)
    scripts = [_asset(name) for name in ("vendor/echarts.min.js", "grid.js", "page.js")]
    style = _asset("page.css")
    template = _environment().from_string(_asset("page.html.j2"))
    return template.render(
        run=run,
        subject=[str(run.meta[key]) for key in ("model", "data") if key in run.meta] or ["a run"],
        sections=built,
        words=_words(built),
        headline=headline(built, results),
        tiles=tiles(results),
        provenance=_provenance(run, results),
        charts=charts(built),
        cells=cells(built),
        scripts=[Markup(script) for script in scripts],
        style=Markup(style),
        policy=_policy(scripts, [style]),
    )


def _words(built: Sequence[Section]) -> dict[str, str]:
    """Return the words of all sections in their order, each once."""
    words: dict[str, str] = {}
    for section in built:
        words |= {term: meaning for term, meaning in section.definitions.items() if term not in words}
    return words


def tiles(results: Mapping[str, Result]) -> list[tuple[str, str, str]]:
    """Return the few numbers worth a glance: value, what it is, what to compare it with."""
    shown: list[tuple[str, str, str]] = []
    if "examine" in results and "scores" in results["examine"].tables:
        scores = results["examine"].table("scores")
        first, last = scores[0], scores[-1]
        note = f"{100 * last['low']:.3g} to {100 * last['high']:.3g} %; at the start {100 * first['accuracy']:.3g} %"
        shown.append((f"{100 * last['accuracy']:.3g} %", "accuracy", note))
    for label, result in list(results.items())[::-1]:
        if result.study == "channel_profile":
            state = result.tables["channels"].columns["state"]
            healthy = f"{100 * float((state == 'healthy').mean()):.3g} %"
            note = ", ".join(filter(None, (f"of {len(state):,}", label.partition("/")[2])))
            shown.append((healthy, "channels healthy", note))
            break
    if "summary" in results:
        totals = results["summary"].table("totals")[0]
        shown.append((_short(totals["parameters"]), "parameters", f"{totals['parameter_megabytes']:.3g} MB"))
        shown.append((_short(totals["multiply_adds"]), "multiply-adds", "for one sample"))
    return shown


def _short(number: float) -> str:
    """Shorten a count: 21.3 M."""
    power = min(int(math.log10(max(number, 1)) // 3), 4)
    return f"{number / 1000**power:.3g}{' kMGT'[power].strip() and ' ' + ' kMGT'[power]}"


def _provenance(run: Run, results: Mapping[str, Result]) -> dict[str, str]:
    examined = list(results.values())[-1:] or [Result("")]
    told = {**run.meta, **examined[0].provenance}
    versions = told.pop("versions", {})
    told |= {key: ", ".join(map(str, value)) for key, value in told.items() if isinstance(value, list)}
    flat = {key: value for key, value in told.items() if value != "" and not isinstance(value, dict)}
    return {key: str(value) for key, value in {**flat, **versions}.items() if key not in HIDDEN and value is not None}


HIDDEN = ("host", "locked", "how")
"""Facts about the machine, and what the page says elsewhere."""


def _policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """Return the content-security policy: nothing from anywhere, these scripts and styles by hash."""
    hashes = [" ".join(f"'sha256-{_hash(text)}'" for text in texts) for texts in (scripts, styles)]
    return f"default-src 'none'; script-src {hashes[0]}; style-src {hashes[1]}; img-src data:"


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return files("netassay.report").joinpath(name).read_text(encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = cell
    environment.filters["ends"] = ends
    environment.filters["oddities"] = oddities
    environment.filters["json"] = _json
    environment.filters["rows"] = Table.rows
    environment.filters["short"] = lambda spec: spec.partition(":")[0] if "=" in spec else spec
    return environment


def _json(value: Any) -> Markup:
    """Write JSON that no HTML parser can leave: a layer named </script> stays a name."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
