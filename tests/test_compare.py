"""Comparing: intervals against slow twins and scipy, rows found again, signs, and what is said of two runs."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import netassay as na
from netassay.cli import main
from netassay.comparing.intervals import mover, paired, stretched, welch
from netassay.comparing.rows import identifying, matched, series
from netassay.errors import BadInput
from netassay.result import Array, Claim, Result, Table, Verdict
from netassay.store import create
from tests.reference import compare as twin

numbers = st.floats(-1e6, 1e6)
samples = st.lists(numbers, min_size=2, max_size=8)


def column(values):
    return np.array(values, dtype=float)[:, None]


def single(found):
    return found.difference.item(), found.low.item(), found.high.item()


@given(*[st.tuples(numbers, st.floats(0, 1e5), st.floats(0, 1e5))] * 2)
def test_limits_give_movers_interval(a, b):
    """Variances recovered from each limit, added; a number without spread leaves the other's limits, moved."""
    ends = [(one, one - down, one + up) for one, down, up in (a, b)]
    found = mover(*(np.array([value]) for one in ends for value in one))
    assert single(found) == pytest.approx(twin.mover(*ends[0], *ends[1]), rel=1e-9, abs=1e-6)
    exact = mover(*(np.array([value]) for value in (a[0], a[0], a[0], *ends[1])))
    assert single(exact)[1:] == pytest.approx([end - a[0] for end in ends[1][1:]], rel=1e-9, abs=1e-6)


def test_movers_interval_of_two_shares():
    """Zou and Donner's equation with limits of two shares, 56 of 70 and 48 of 80: 0.0524 to 0.3339 (Newcombe 1998)."""
    wilson = [scipy.stats.binomtest(k, n).proportion_ci(method="wilson") for k, n in ((48, 80), (56, 70))]
    a, b = ((k / n, ends.low, ends.high) for (k, n), ends in zip(((48, 80), (56, 70)), wilson, strict=True))
    found = mover(*(np.array([value]) for value in (*a, *b)))
    assert single(found) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@given(samples, samples)
def test_replicates_give_welchs_interval(a, b):
    """The definition and scipy; the degrees of freedom are no whole number."""
    found = single(welch(column(a), column(b)))
    if np.var(a) + np.var(b) > 1e-6:
        assert found == pytest.approx(twin.welch(a, b), rel=1e-7, abs=1e-5)


def test_welchs_interval_is_scipys():
    """Six against nine values of other spread, and two against three."""
    rng = np.random.default_rng(2)
    for a, b in ((rng.normal(size=6), 3 * rng.normal(size=9)), (rng.normal(size=2), rng.normal(size=3))):
        ends = scipy.stats.ttest_ind(b, a, equal_var=False).confidence_interval()
        assert single(welch(column(a), column(b)))[1:] == pytest.approx((ends.low, ends.high), rel=1e-10)


def test_tiny_replicates_keep_their_interval():
    """The squares of variances of what is as small as 1e-100 vanish in float64; the interval does not."""
    a, b = [1.0, 2.0, 4.0], [3.0, 3.5, 5.0]
    scaled = welch(column(a) * 1e-100, column(b) * 1e-100)
    assert single(scaled) == pytest.approx([value * 1e-100 for value in twin.welch(a, b)], rel=1e-9, abs=0)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=8))
def test_pairs_give_students_interval(pairs):
    """The definition, and the same as for the list of differences."""
    a, b = zip(*pairs, strict=True)
    assert single(paired(column(a), column(b))) == pytest.approx(twin.paired(a, b), rel=1e-9, abs=1e-5)


@given(st.lists(st.one_of(numbers, st.just(math.nan)), min_size=1, max_size=60))
def test_stretches_are_means_of_equal_parts(values):
    """Ten of them, fewer below twenty steps; what is not finite is left out."""
    np.testing.assert_allclose(stretched(column(values))[:, 0], twin.stretches(values), rtol=1e-9, atol=1e-9)


def test_one_of_each_has_no_interval():
    """One replicate on a side tells nothing of others."""
    for one in (welch(column([1.0]), column([2.0, 3.0])), paired(column([1.0]), column([2.0]))):
        assert math.isnan(one.low.item())


def test_intervals_of_unsteady_series_hold_their_share():
    """Steps that hang together (AR(1), 0.7): stretches cover the true difference in 95 % of 400, steps do not."""
    rng = np.random.default_rng(0)
    shocks = rng.normal(size=(2, 500, 400))
    walks = np.zeros_like(shocks)
    for t in range(1, 500):
        walks[:, t] = 0.7 * walks[:, t - 1] + shocks[:, t]
    found, naive = paired(*map(stretched, walks)), paired(*walks)
    assert 0.92 <= np.mean((found.low < 0) & (found.high > 0)) <= 0.98
    assert np.mean((naive.low < 0) & (naive.high > 0)) < 0.8


# Rows


def test_rows_are_identified_by_as_few_columns_as_will_do():
    """Text and whole numbers in order; a text that varies, a count and a seed identify nothing."""
    rows = [
        {"kind": "conv", "layer": layer, "channel": channel, "state": "dead" if channel else "open", "n": 5, "rms": 1.0}
        for layer in ("a", "b")
        for channel in (0, 1)
    ]
    table = Table.of(rows)
    assert identifying(table, table) == ("layer", "channel")
    law = Table.of([{"path": "trunk", "layers": 5, "when": when, "chi": 1.0} for when in ("start", "end")])
    assert identifying(law, law) == ("path", "when")
    paths = [("trunk", 5), ("branch", 7)]
    law = Table.of([{"path": p, "layers": n, "when": when} for p, n in paths for when in ("start", "end")])
    assert identifying(law, law) == ("path", "when")
    curves = Table.of([{"seed": seed, "step": step, "loss": 1.0} for seed in (0, 1) for step in (0, 1)])
    assert identifying(curves, curves, "seed") == ("step",)
    assert identifying(Table.of([{"n": 3}]), Table.of([{"n": 4}])) == ()


def test_whole_numbers_identify_only_where_text_does_not():
    """A law is known by path and stretch, whatever its counts; another whole number comes after all text."""
    law = [{"batches": 1 + i, "left_out": i, "path": "trunk", "when": w} for i, w in enumerate(("start", "end", "all"))]
    other = Table.of([{**row, "batches": 9 - row["batches"]} for row in law])
    assert matched(Table.of(law), other).keys == ("path", "when")
    sizes = Table.of([{"depth": 9 - i, "n": i, "role": role} for i, role in enumerate("abc")])
    assert identifying(sizes, sizes) == ("role",)
    grid = Table.of([{"role": role, "n": n, "side": n} for role in "ab" for n in (1, 2)])
    assert identifying(grid, grid) == ("role", "side")
    one, other = (Table.of([{"layer": layer, "rms": 1.0}]) for layer in ("fc", "conv"))
    assert (identifying(one, one), len(matched(one, other).table)) == (("layer",), 0)


def test_rows_of_another_kind_are_not_compared():
    """A layer that is a convolution in one and linear in the other is counted in a note, and in no number."""
    one = Table.of([{"layer": "fc1", "kind": "Linear", "rms": 1.0}, {"layer": "0", "kind": "Conv2d", "rms": 1.0}])
    two = Table.of([{"layer": "fc1", "kind": "Linear", "rms": 2.0}, {"layer": "0", "kind": "ReLU", "rms": 9.0}])
    found = matched(one, two)
    assert (found.table.columns["layer"].tolist(), found.unlike, found.only_a) == (["fc1"], 1, ())
    notes = na.compare(*(Result("demo", {"layers": table}) for table in (one, two))).notes
    assert "demo/layers: 1 rows of one name are of another kind, and not compared" in notes
    bare = Table.of([{"layer": "0", "rms": 9.0}])
    assert len(matched(one, bare).table) == 1


@pytest.mark.parametrize("name", ["seed", "model_hash"])
def test_channels_of_networks_drawn_apart_are_not_among_the_largest(name):
    """Channel 3 of another seed is another channel; with one seed it is the same."""

    def channels(told, shift):
        row = {"layer": "fc", "rms": shift, "rms_low": shift - 0.1, "rms_high": shift + 0.1}
        tables = {"channels": Table.of([{**row, "channel": i} for i in (0, 1)]), "layers": Table.of([row])}
        return Result("demo", tables, provenance={name: told})

    apart, same = (na.compare(channels("0", 1.0), channels(told, 2.0)) for told in ("1", "0"))
    assert {row["table"] for row in apart.table("largest")} == {"demo/layers"}
    assert {row["table"] for row in same.table("largest")} == {"demo/layers", "demo/channels"}
    assert [any("no common order" in note for note in one.notes) for one in (apart, same)] == [True, False]
    assert len(apart.table("demo/channels")) == 2
    known = [next(note for note in one.notes if "have an interval" in note) for one in (apart, same)]
    assert [note.split()[0] for note in known] == ["1", "3"]


def seeded_table(values, seeds=None):
    rows = [
        {"layer": layer, "seed": seed, "rms": value}
        for layer, each in values.items()
        for seed, value in zip(seeds or range(len(each)), each, strict=True)
    ]
    return Table.of(rows)


def test_the_same_seeds_are_pairs_and_others_are_not():
    """Paired where both have the same seeds, whatever the order of rows; Welch where not."""
    a, b = [1.0, 2.0, 4.0], [2.5, 3.0, 6.0]
    one, two = seeded_table({"fc": a}), seeded_table({"fc": b[::-1]}, [2, 1, 0])
    row = matched(one, two).table.rows()[0]
    assert (row["evidence"], row["n"]) == ("paired replicates", 3)
    assert (row["difference"], row["difference_low"], row["difference_high"]) == pytest.approx(twin.paired(a, b))
    row = matched(one, seeded_table({"fc": b}, [5, 6, 7])).table.rows()[0]
    assert row["evidence"] == "replicates"
    assert (row["difference"], row["difference_low"], row["difference_high"]) == pytest.approx(twin.welch(a, b))
    assert row["ratio"] == pytest.approx(np.mean(b) / np.mean(a))


def test_rows_that_nothing_identifies_are_repetitions():
    """Several rows of one layer: Welch over them."""
    one, two = (Table.of([{"layer": "fc", "rms": v} for v in values]) for values in ([1.0, 2.0, 1.0], [5.0, 6.0]))
    (row,) = matched(one, two).table.rows()
    assert (row["a"], row["b"], row["n"], row["evidence"]) == (pytest.approx(4 / 3), 5.5, 2, "replicates")


def test_limits_in_columns_are_evidence_and_no_numbers():
    """`<name>_low` and `<name>_high` in both make the interval; without them there is none, and the row says so."""
    one = Table.of([{"layer": "fc", "chi": 1.0, "chi_low": 0.9, "chi_high": 1.2, "rms": 2.0}])
    two = Table.of([{"layer": "fc", "chi": 2.0, "chi_low": 1.5, "chi_high": 2.1, "rms": 0.0}])
    chi, rms = matched(one, two).table.rows()
    assert (chi["quantity"], chi["evidence"]) == ("chi", "limits")
    expected = twin.mover(1.0, 0.9, 1.2, 2.0, 1.5, 2.1)
    assert (chi["difference"], chi["difference_low"], chi["difference_high"]) == pytest.approx(expected)
    assert (rms["quantity"], rms["evidence"], rms["ratio"], rms["n"]) == ("rms", "none", 0.0, 0)
    assert math.isnan(rms["difference_low"])


def test_series_are_compared_over_common_steps_and_layers():
    """Differences of the logarithms of means of stretches; a layer with a zero stretch is compared as it is."""
    rng = np.random.default_rng(1)
    values = np.exp(rng.normal(size=(45, 3)))
    values[:, 2] = 0
    values[5:9, 2] = 2
    a = Array(values, step=[str(i) for i in range(45)], layer=["conv1", "fc", "dead"])
    b = Array(3 * values[5:, [1, 2]], step=[str(i) for i in range(5, 45)], layer=["fc", "dead"])
    found = series(a, b, "gradient")
    fc, dead = found.table.rows()
    ends = [[math.log(one) for one in twin.stretches(k * values[5:, 1])] for k in (1, 3)]
    assert fc["quantity"] == "log gradient"
    assert (fc["layer"], fc["n"], fc["evidence"]) == ("fc", 10, "stretches")
    assert (fc["a"], fc["b"]) == pytest.approx(tuple(np.mean(one) for one in ends))
    assert (fc["difference"], fc["ratio"]) == pytest.approx((math.log(3), 3.0))
    assert (dead["quantity"], dead["a"]) == ("gradient", pytest.approx(0.2))
    assert (dead["difference"], dead["ratio"]) == pytest.approx((0.4, 3.0))
    assert ("conv1",) in found.only_a
    assert len(found.only_a) == 6


# Results and runs


def result(shift=0.0, flipped=False, more=(), seeds=3):
    rng = np.random.default_rng(4)
    layers = [{"layer": f"l{i}", "rms": rng.random() + shift * i, "dead": i} for i in range(4)]
    layers = layers[::-1] if flipped else layers
    scores = [{"scheme": s, "seed": n, "loss": rng.random() + shift} for s in "ab" for n in range(seeds)]
    limits = [
        {"path": p, "chi": 1.0 + shift, "chi_low": 0.9 + shift, "chi_high": 1.3 + shift} for p in ("trunk", "branch")
    ]
    tables = {"layers": layers, "scores": scores[::-1] if flipped else scores, "law": limits}
    gradient = Array(np.exp(rng.normal(size=(40, 2)) + shift), step=[str(i) for i in range(40)], layer=["l0", "l1"])
    claim = Claim.above(0.5, statement="it learns", effect=shift, interval=(shift, shift), n=3, counted="seeds")
    told = {"threshold": "", "source": "", "n": 1, "wrong_if": "", "next": ""}
    given = tuple(Verdict("dead", layer, "no gradient", severity, {}, **told) for layer, severity in more)
    made = {name: Table.of(rows) for name, rows in tables.items()}
    return Result("demo", made, {"gradient": gradient}, (claim,), given, provenance={"seed": 0, "model": "mlp"})


def long(compared):
    return {name: table for name, table in compared.tables.items() if name.startswith("demo/")}


def numbers_of(compared, sign=1):
    """Every row by what identifies it: its difference, and the limits of that."""
    found = {}
    for name, table in long(compared).items():
        for row in table.rows():
            key = (name, *(row.get(one) for one in ("layer", "scheme", "path", "quantity")))
            ends = sorted([sign * row["difference_low"], sign * row["difference_high"]])
            found[key] = (sign * row["difference"], *ends)
    return found


def test_a_result_does_not_differ_from_itself():
    """All differences are 0, no interval excludes it, and nothing is in one alone."""
    found = na.compare(result(), result(flipped=True))
    assert set(long(found)) == {f"demo/{name}" for name in ("layers", "scores", "law", "gradient")}
    assert all((table.columns["difference"] == 0).all() for table in long(found).values())
    assert len(found.tables["largest"]) == 0
    assert not any("only in" in note for note in found.notes)
    assert all(row["differ"] == 0 for row in found.table("overview"))


@pytest.mark.parametrize("seeds", [3, 4])
def test_changing_sides_changes_signs(seeds):
    """compare(a, b) is -compare(b, a), the intervals turned round; with the same seeds, and with others."""
    a, b = result(), result(0.3, seeds=seeds)
    there, back = numbers_of(na.compare(a, b)), numbers_of(na.compare(b, a), -1)
    assert there.keys() == back.keys()
    for key, value in there.items():
        assert value == pytest.approx(back[key], nan_ok=True, abs=1e-12)


def test_the_order_of_rows_has_no_say():
    """Rows are found again by what identifies them."""
    there, flipped = (numbers_of(na.compare(result(), result(0.3, flipped=one))) for one in (False, True))
    assert there == {key: pytest.approx(value, nan_ok=True, rel=1e-9) for key, value in flipped.items()}


def test_what_differs_most_comes_first():
    """Largest: the rows whose interval excludes 0, by how often their reach they are away."""
    found = na.compare(result(), result(1.0))
    rows = found.table("largest")
    known = [r for t in long(found).values() for r in t.rows() if r["difference_low"] > 0 or r["difference_high"] < 0]
    assert len(rows) == len(known) > 2
    assert [row["size"] for row in rows] == sorted((row["size"] for row in rows), reverse=True)
    assert all(row["size"] > 1 for row in rows)
    law = next(row for row in rows if row["quantity"] == "chi")
    assert (law["table"], law["where"]) == ("demo/law", "path=trunk")
    assert law["size"] == pytest.approx(1.0 / math.hypot(0.1, 0.3))


def test_verdicts_claims_and_setup_stand_side_by_side():
    """A verdict of a, of b, of both; a claim with two decisions; what was done otherwise."""
    a = result(more=[("l0", "finding"), ("l1", "warning")])
    b = result(1.0, more=[("l1", "warning"), ("l2", "finding")])
    found = na.compare(a, Result(**{**vars(b), "provenance": {"seed": 1, "model": "mlp", "versions": {"torch": "2"}}}))
    given = {row["layer"]: row["given"] for row in found.table("verdicts")}
    assert given == {"l0": "only a", "l1": "both", "l2": "only b"}
    assert [verdict.layer for verdict in found.verdicts] == ["l2"]
    (claim,) = found.table("claims")
    assert (claim["a"], claim["b"], claim["differs"]) == ("does not hold", "holds", True)
    setup = {row["name"]: (row["a"], row["b"], row["differs"]) for row in found.table("setup")}
    expected = {"model": ("mlp", "mlp", False), "seed": ("0", "1", True), "versions.torch": ("", "2", True)}
    assert setup == expected


def test_what_is_in_one_only_is_said():
    """A table, a row and a word that differ are in the notes."""
    row = {"layer": "fc", "state": "open", "rms": 1.0}
    one = Result("demo", {"layers": Table.of([row, {**row, "layer": "head"}]), "more": Table.of([row])})
    two = Result("demo", {"layers": Table.of([{**row, "state": "dead"}])})
    notes = na.compare(one, two).notes
    assert "only in a: tables of demo: 'more'" in notes
    assert "only in a: 1 rows of demo/layers: 'head'" in notes
    assert "demo/layers: 'state' differs in 1 rows" in notes
    assert notes[-1] == "no number has limits, replicates or steps: no difference has an interval"


def kept(folder, results, loss=1.0, **meta):
    with create(folder, **meta) as writer:
        for step in range(20):
            writer.log(step, {"loss": loss / (step + 1)})
        for label, one in results.items():
            writer.add(label, one)
    return folder


def test_runs_are_compared_by_label_then_by_study(tmp_path):
    """Equal labels first; what is left by study, in order; series by their ends."""
    a = kept(tmp_path / "a", {"demo": result(), "end": result(1.0)}, model="mlp", seed=0)
    b = kept(tmp_path / "b", {"end": result(1.0), "other": result()}, loss=2.0, model="mlp", seed=1)
    found = na.compare(a, na.open_run(b))
    assert (found.table("end/layers")[1]["difference"], found.table("demo/layers")[1]["difference"]) == (0, 0)
    assert "demo of a is compared with other of b" in found.notes
    ends = {row["quantity"]: (row["a"], row["b"], row["ratio"]) for row in found.table("series")}
    assert ends["last"] == pytest.approx((1 / 20, 2 / 20, 2))
    assert ends["last_tenth"] == pytest.approx((np.mean([1 / 19, 1 / 20]), 2 * np.mean([1 / 19, 1 / 20]), 2))
    assert {row["name"]: row["differs"] for row in found.table("setup")}["seed"]


def test_runs_of_other_studies_are_refused(tmp_path):
    """The sentence says what each has."""
    one, two = result(), Result("summary")
    with pytest.raises(BadInput) as told:
        na.compare(one, two)
    assert told.value.found == "<result of demo> has demo; <result of summary> has summary"
    assert told.value.next == "give two runs of one study"
    with pytest.raises(BadInput, match="no such folder"):
        na.compare(one, tmp_path / "none")
    with pytest.raises(BadInput, match="a dict"):
        na.compare(one, {})


def test_every_study_of_an_examination_can_be_compared(tmp_path):
    """Two examinations of one network that differ in their seed alone: every table is there, and a page is written."""
    for seed in (0, 1):
        na.examine("mlp[8]", "digits:n=200", epochs=1, seed=seed, out=tmp_path / f"{seed}")
    found = na.compare(tmp_path / "0", tmp_path / "1")
    told = {row["name"]: row["differs"] for row in found.table("setup")}
    assert (told["model"], told["data"], told["seed"]) == (False, False, True)
    tables = {row["table"]: row for row in found.table("overview")}
    assert tables["channels/end/channels"]["identified_by"] == "layer, channel"
    assert tables["exchange/end/inputs"]["with_interval"] > 0
    assert "initialisation/weights/density" not in tables
    json.dumps(found.to_dict(), allow_nan=False)


def test_fail_on_counts_what_is_new_in_b(tmp_path, capsys):
    """Exit 1 where b has a finding that a has not, 0 the other way round; the document is strict JSON."""
    a = str(kept(tmp_path / "a", {"demo": result()}))
    b = str(kept(tmp_path / "b", {"demo": result(more=[("l0", "finding")])}))
    assert main(["compare", a, b, "--fail-on", "finding"]) == 1
    assert "finding: l0: no gradient" in capsys.readouterr().out
    assert main(["compare", b, a, "--fail-on", "finding"]) == 0
    assert main(["compare", b, b, "--fail-on", "finding"]) == 0
    assert "No finding in b that a has not." in capsys.readouterr().out
    assert main(["compare", a, b, "--json", "--out", str(tmp_path / "kept")]) == 0
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["study"] == "compare"
    assert na.open_run(tmp_path / "kept").page.exists()
    assert main(["compare", a, str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_terminal_shows_the_beginning_of_what_is_long(tmp_path, capsys):
    """Thirty rows of the largest differences, and a word on the rest; --csv has all."""
    rows = [{"layer": f"l{i}", "chi": 1.0, "chi_low": 0.9, "chi_high": 1.1} for i in range(40)]
    far = [{**row, "chi": 3.0, "chi_low": 2.9, "chi_high": 3.1} for row in rows]
    a, b = (
        str(kept(tmp_path / n, {"demo": Result("demo", {"law": Table.of(r)})})) for n, r in (("a", rows), ("b", far))
    )
    assert main(["compare", a, b]) == 0
    shown = capsys.readouterr().out
    assert shown.count("layer=l") == 30
    assert "and 10 more rows; --csv prints all of them" in shown
    assert main(["compare", a, b, "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 41
