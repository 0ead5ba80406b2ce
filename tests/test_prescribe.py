"""Prescribing: trainings and laws against slow twins, what is tried when, ranks and claims, and what is refused."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import netassay as na
from netassay.data import load_data
from netassay.errors import BadInput, UnknownName
from netassay.studies.prescribe_tables import UNKNOWN, Law, Trial, tables
from netassay.studies.remedies import AS_IT_IS, Case, Remedy, statistics
from netassay.studies.remedies_offered import as_it_is, chosen, offered
from netassay.testing import check_quiet
from tests.reference import compare as twin

NET, DATA = "mlp[16,16]", "digits:n=200"
DEEP = "mlp[32,32,32,32,32,32,32,32]:init=default"
SHORT = {"steps": 12, "seeds": 2}


def by_name(found, table="remedies"):
    return {row["remedy"]: row for row in found.table(table)}


def curves(found):
    losses = {}
    for row in found.table("curves"):
        losses.setdefault((row["remedy"], row["seed"]), []).append(row["loss"])
    return losses


@pytest.fixture(scope="module")
def deep():
    """A network that learns nothing as it is, and with a scheme that keeps the gradient."""
    names = ["kaiming_normal", "lr / 10", "eps=1e-15"]
    return na.prescribe(DEEP, "digits", steps=40, seeds=3, lr=3e-3, remedies=names)


# Trainings and laws


@pytest.mark.parametrize(
    ("remedy", "algorithm"),
    [
        (AS_IT_IS, lambda p: torch.optim.Adam(p, lr=1e-3)),
        ("lr x 10", lambda p: torch.optim.Adam(p, lr=1e-2)),
        ("eps=1e-15", lambda p: torch.optim.Adam(p, lr=1e-3, eps=1e-15)),
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    ],
)
def test_a_module_is_trained_as_a_plain_loop_does(remedy, algorithm):
    """Losses before each step, epoch after epoch; the order of the data is the seed's."""
    net = na.build(NET + ":input=64,classes=10", seed=7)
    found = na.prescribe(net, DATA, steps=9, seeds=[3], remedies=[remedy])
    learn = load_data(DATA + ",split=train", batch_size=32)
    batches = [(b.x, b.y) for epoch in (0, 1) for b in learn.shuffled(3, epoch)][:9]
    expected = twin.trained(net, batches, algorithm(net.parameters()))
    assert curves(found)[remedy, 3] == pytest.approx(expected, rel=1e-5)


def test_a_spec_is_drawn_by_every_seed_and_by_every_scheme():
    """As it is: what build gives; a scheme: what initialize gives, with the same seed."""
    losses = curves(na.prescribe(NET, DATA, steps=2, seeds=[0, 5], remedies=["orthogonal"]))
    for seed in (0, 5):
        batch = next(iter(load_data(DATA + ",split=train", batch_size=32).shuffled(seed, 0)))
        for name in (AS_IT_IS, "orthogonal"):
            net = na.build(NET + ":input=64,classes=10", seed=seed)
            if name != AS_IT_IS:
                na.initialize(net, name, seed)
            expected = nn.functional.cross_entropy(net(batch.x), batch.y).item()
            assert losses[name, seed][0] == pytest.approx(expected, rel=1e-6)


def test_the_gradient_before_is_that_of_each_sample_alone():
    """Every layer's row against one backward pass for each sample, without a batch."""
    net = na.build(NET + ":input=64,classes=10", seed=1)
    x, y = (part[:8] for part in (torch.randn(8, 64), torch.arange(8) % 10))
    found = na.prescribe(net, (x, y), steps=2, seeds=1, batch_size=8, remedies=["lr x 10"])
    rows = {row["layer"]: row for row in found.table("before_after") if row["remedy"] == AS_IT_IS}
    for name in ("fc1", "fc2", "head"):
        expected = twin.gradient(net, x, y, net.get_submodule(name))
        assert rows[name]["gradient"] == pytest.approx(expected, rel=1e-5)
    assert [row["depth"] for row in rows.values() if row["layer"] in ("fc1", "fc2", "head")] == [1, 2, 3]


def test_the_law_is_what_theory_says_of_wide_networks():
    """torch's own scheme keeps a sixth of the squared gradient a layer, Kaiming's all; the rate has no say."""
    net = "mlp[256,256,256,256,256,256,256,256,256,256]:init=default"
    found = by_name(na.prescribe(net, DATA, steps=2, seeds=3, remedies=["kaiming_normal", "lr x 10"]))
    assert found[AS_IT_IS]["chi"] == pytest.approx(1 / 6, rel=0.1)
    assert found["kaiming_normal"]["chi"] == pytest.approx(1, abs=0.05)
    assert found["lr x 10"]["chi"] == found[AS_IT_IS]["chi"]
    for row in found.values():
        assert row["chi_low"] < row["chi"] < row["chi_high"]
        assert row["attenuation"] == pytest.approx(row["chi"] ** (-10 / 2), rel=1e-6)


def test_the_same_call_gives_the_same_bits():
    """Twice the same tables, whatever the global generator holds; dropout draws from the seed."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 10))
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(na.prescribe(net, DATA, **SHORT, remedies=["orthogonal", "lsuv"]).to_dict())
    assert found[0] == found[1]


# Ranks, claims, advice


def test_ends_and_falls_are_those_of_the_curves(deep):
    """Means over seeds of the last tenth, and the fall from the start of the network as it is, by Student's t."""
    losses, rows = curves(deep), by_name(deep)
    start = np.mean([each[0] for (name, _), each in losses.items() if name == AS_IT_IS])
    for name, row in rows.items():
        mine = [each for (one, _), each in losses.items() if one == name]
        falls = [start - twin.end(each) for each in mine]
        assert row["loss_start"] == pytest.approx(np.mean([each[0] for each in mine]))
        assert row["loss_end"] == pytest.approx(np.mean([twin.end(each) for each in mine]))
        ends = (row["loss_fall"], row["loss_fall_low"], row["loss_fall_high"])
        assert ends == pytest.approx(twin.student(falls), rel=1e-9, abs=1e-12)
    assert [row["rank"] for row in rows.values()] == [1, 2, 3, 4]
    assert [row["loss_end"] for row in rows.values()] == sorted(row["loss_end"] for row in rows.values())


def test_what_overlaps_the_best_is_together_with_it():
    """The interval of the fall reaches that of the best: 1.5 of 2 with a reach of 0.5, and of 0.25."""
    ends = {AS_IT_IS: [2.0, 2.0, 2.0], "best": [0.0, 0.1, 0.2], "near": [0.4, 0.6, 0.8], "far": [0.9, 0.95, 1.0]}
    law = Law("trunk", UNKNOWN, UNKNOWN, [])
    trials = [
        Trial(Remedy(name, "", "adam", {}), seed, law, [2.0, end], [0.5, 0.5])
        for name, each in ends.items()
        for seed, end in enumerate(each)
    ]
    rows = {row["remedy"]: row for row in tables(trials)["remedies"].rows()}
    assert {name: row["together"] for name, row in rows.items()} == {
        "best": True,
        "near": True,
        "far": False,
        AS_IT_IS: False,
    }
    assert rows["near"]["loss_fall"] < rows["best"]["loss_fall_low"] < rows["near"]["loss_fall_high"]


def test_claims_pair_seeds_and_pay_for_their_number(deep):
    """Each remedy against the network as it is, seed by seed, at 1 - 0.05 / 3."""
    losses = curves(deep)
    assert len(deep.claims) == 3
    for claim in deep.claims:
        name = claim.statement.removeprefix("With ").removesuffix(" the loss falls further than as it is")
        falls = [twin.end(losses[AS_IT_IS, seed]) - twin.end(losses[name, seed]) for seed in range(3)]
        expected = twin.student(falls, 1 - 0.05 / 3)
        assert (claim.effect, *claim.interval) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert (claim.tests, claim.correction, claim.n) == (3, "Bonferroni", 3)


def test_what_surely_helps_is_advised(deep):
    """A deep network that learns nothing as it is: the scheme that keeps the gradient is what to type."""
    assert {claim.statement.split()[1]: claim.decision for claim in deep.claims}["kaiming_normal"] == "holds"
    assert deep.notes[0].startswith('Type `na.initialize(model, "kaiming_normal")`: the loss falls by ')
    assert deep.table("remedies")[0]["remedy"] == "kaiming_normal"


def test_a_start_that_a_remedy_made_worse_is_no_fall():
    """The fall is from the start of the network as it is: weights of ones start far above, and fall far."""
    found = by_name(
        na.prescribe(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), DATA, **SHORT, remedies=["xavier_normal"])
    )
    start = found[AS_IT_IS]["loss_start"]
    for row in found.values():
        assert row["loss_fall"] == pytest.approx(start - row["loss_end"])


def test_nothing_is_advised_where_nothing_is_sure():
    """One seed decides nothing, and the notes say so."""
    found = na.prescribe(NET, DATA, steps=3, seeds=1, remedies=["lr / 10"])
    assert found.notes[0].startswith("No remedy is told apart from the network as it is")
    assert "fewer than 3 seeds: no claim can hold" in found.notes
    assert [claim.decision for claim in found.claims] == ["undecided"]


def test_a_remedy_that_diverges_says_so_and_is_last():
    """A rate of 1e30: the loss is not finite, the curve ends there, and the rank is the last."""
    found = na.prescribe("mlp[16]", DATA, optimizer="sgd", lr=1e29, steps=6, seeds=3, remedies=["adam"])
    rows = by_name(found)
    assert list(rows) == ["adam", AS_IT_IS]
    assert (rows[AS_IT_IS]["diverged"], rows["adam"]["diverged"]) == (3, 0)
    assert math.isnan(rows[AS_IT_IS]["loss_end"])
    assert f"{AS_IT_IS}: the loss was not finite in 3 of 3 seeds" in found.notes
    assert len(curves(found)[AS_IT_IS, 0]) < 6


# What is tried


def case(model, data=DATA, optimizer="adam"):
    learn = load_data(data, batch_size=32)
    return Case(model, learn, optimizer, 1e-3, None, statistics(learn))


def test_a_network_of_the_zoo_gets_switches():
    """Norms and skips that it does not have, of the norms that fit its width; others get none."""
    bare = "resnet[1,1]:width=8,skip=none,norm=none"
    both = {"skip=residual,norm=batch", "skip=residual, branches from 0"}
    assert {"norm=batch", "norm=layer", "skip=residual"} | both <= set(offered(case(bare, "digits")))
    wide = set(offered(case("resnet[1]:width=32", "digits")))
    assert "norm=group" in wide
    assert not ({"norm=batch", "norm=layer", "skip=residual"} | both) & wide
    for model in (na.build("resnet[1]:width=8,norm=none,input=8,channels=1"), "resnet[1]:width=8,norm=none"):
        remedy = offered(case(model, "digits"))["norm=batch"]
        made = case(model, "digits").network(remedy, 0)
        assert any(isinstance(module, nn.BatchNorm2d) for module in made.modules())
    foreign = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert not any("=" in name.replace("eps=", "") for name in offered(case(foreign)))


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_branches_from_0_leave_the_skips_alone(block):
    """The network computes what its stem, shortcuts and head do: branches end in 0, shortcuts do not."""
    asked = case(f"resnet[2,1]:width=8,skip=none,norm=none,block={block},input=8,channels=1", "digits")
    net = asked.network(offered(asked)["skip=residual, branches from 0"], 0)
    zeros = [name for name, weight in net.named_parameters() if weight.dim() == 4 and not weight.any()]
    ends = "conv3" if block == "bottleneck" else "conv2"
    assert zeros == [f"layer{one}.{ends}.weight" for one in ("1.0", "1.1", "2.0")]
    x = torch.randn(3, 1, 8, 8)
    y = net.relu(net.conv1(x))
    for one in (*net.layer1, *net.layer2):
        y = torch.relu(y if one.downsample is None else one.downsample(y))
    assert torch.equal(net(x), net.fc(net.avgpool(y).flatten(1)))


def test_a_network_that_was_changed_since_it_was_built_is_not_built_again():
    """Its spec no longer says what it is."""
    net = na.build("resnet[1]:width=8,norm=none,input=8,channels=1,classes=10")
    net.fc = nn.Linear(8, 3)
    assert "norm=batch" not in offered(case(net, "digits"))


def test_what_to_type_can_be_typed():
    """Every sentence but "nothing" runs as Python where model and x are, and does what it says."""
    net = na.build("resnet[1,1]:width=8,skip=none,norm=none,input=8,channels=1,classes=10")
    learn = "digits:normalize=none"
    asked = case(net, learn)
    for name, remedy in offered(asked).items():
        model, x = copy.deepcopy(net), next(iter(load_data(learn, batch_size=2000))).x
        names = {"na": na, "torch": torch, "model": model, "x": x}
        if name != AS_IT_IS:
            exec(remedy.what, names)
        if name == "standardised input":
            assert float(names["x"].mean()) == pytest.approx(0, abs=1e-3)
            assert float(names["x"].std()) == pytest.approx(1, abs=1e-3)
            assert torch.allclose(names["x"], asked.inputs(x, remedy), atol=1e-3)
        if remedy.scheme not in ("", "lsuv"):
            made = asked.network(remedy, 0).state_dict()
            assert all(torch.equal(value, made[key]) for key, value in names["model"].state_dict().items())


def test_inputs_are_standardised_channel_by_channel():
    """Three channels of other scales; one that is constant becomes 0; integers and standardised data have no remedy."""
    x = torch.randn(50, 3, 4, 4) * torch.tensor([2.0, 0.1, 0.0])[:, None, None] + 5
    given = load_data((x, torch.arange(50) % 3))
    asked = case(nn.Linear(1, 1), given)
    made = asked.inputs(x, offered(asked)["standardised input"])
    assert made.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-4)
    assert made.std((0, 2, 3), correction=0).tolist() == pytest.approx([1, 1, 0], abs=1e-4)
    assert statistics(load_data((torch.randint(0, 9, (20, 4)), torch.zeros(20, dtype=torch.long)))) is None
    assert "standardised input" not in offered(case(nn.Linear(1, 1), (torch.randn(5000, 1, 4, 4), torch.zeros(5000))))


def test_sgd_is_offered_adam_and_no_epsilon():
    """Epsilons are Adam's."""
    names = set(offered(case(NET, optimizer="sgd")))
    assert "adam" in names
    assert not any(name.startswith("eps") for name in names)


def test_a_remedy_that_cannot_run_is_told_of_and_left_out():
    """Batch norm over one value a channel fails in train mode; the others are tried all the same."""
    net, data = "resnet[1,1]:width=8,norm=none", (torch.randn(6, 3, 2, 2), torch.arange(6) % 3)
    found = na.prescribe(f"{net},input=2,channels=3,classes=3", data, **SHORT, batch_size=1, remedies=["norm=batch"])
    assert list(by_name(found)) == [AS_IT_IS]
    assert any(note.startswith("norm=batch could not be tried: ValueError") for note in found.notes)


def test_another_objective_is_trained_and_measured():
    """Squared errors of a network of one output; there is no accuracy."""
    x = torch.randn(64, 5)
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1))

    def loss(output, y):
        return (output[:, 0] - y).square()

    with check_quiet(net):
        found = na.prescribe(net, (x, x.sum(1)), objective=loss, steps=20, seeds=2, remedies=["lr x 10"])
    row = by_name(found)["lr x 10"]
    assert row["loss_fall"] > 0
    assert math.isnan(row["accuracy"])


# Refusals


def test_what_there_is_not_is_refused():
    """Names are answered with those that there are, numbers with ones that would do."""
    with pytest.raises(UnknownName, match="remedy 'ortogonal'") as told:
        na.prescribe(NET, DATA, remedies=["ortogonal"])
    assert told.value.next == "use 'orthogonal'"
    with pytest.raises(UnknownName, match="optimizer 'adamw'"):
        na.prescribe(NET, DATA, optimizer="adamw")
    with pytest.raises(BadInput, match="the rate must be positive and finite"):
        na.prescribe(NET, DATA, lr=0)
    with pytest.raises(BadInput, match="no whole number from 2 on"):
        na.prescribe(NET, DATA, steps=1)


def test_what_cannot_be_trained_or_copied_is_refused():
    """A frozen network, one that keeps a tensor of an earlier pass, and data that does not fit."""
    frozen = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)
    with pytest.raises(BadInput, match="no parameter that takes a gradient"):
        na.prescribe(frozen, DATA)
    keeps = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    keeps.last = keeps(torch.zeros(1, 64))
    with pytest.raises(BadInput, match="it cannot be copied") as told:
        na.prescribe(keeps, DATA)
    assert told.value.next == "drop tensors of earlier passes that it keeps, or give a spec"
    with pytest.raises(BadInput, match="forward pass of Linear"):
        na.prescribe(nn.Linear(3, 2), DATA)


def test_one_network_has_its_own_weights_as_it_is():
    """Seeds then order the data alone; a note says so."""
    net = na.build(NET + ":input=64,classes=10")
    x, y = torch.randn(16, 64), torch.arange(16) % 10
    found = na.prescribe(net, (x, y), steps=2, seeds=3, batch_size=16, remedies=["orthogonal"])
    starts = {
        name: {round(each[0], 5) for (one, _), each in curves(found).items() if one == name} for name in by_name(found)
    }
    assert (len(starts[AS_IT_IS]), len(starts["orthogonal"])) == (1, 3)
    assert "one network was given: as it is, seeds order the data alone" in found.notes
    assert chosen(case(net), None)[0] == as_it_is(case(net))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_deep_net_without_skips_and_norms_is_cured():
    """ResNet-50's shape, narrow: gradient that vanishes by 19 decades; one remedy keeps it and lets the loss fall."""
    net = "resnet[3,4,6,3]:block=bottleneck,input=32,width=8,skip=none,norm=none,init=default,classes=10,channels=1"
    cure = "skip=residual, branches from 0"
    found = na.prescribe(net, "digits:size=32", remedies=["kaiming_normal", "eps=1e-15", cure])
    rows = by_name(found)
    assert rows[AS_IT_IS]["attenuation"] > 1e18
    assert max(rows[name]["loss_fall_high"] for name in (AS_IT_IS, "kaiming_normal", "eps=1e-15")) < 0.1
    assert rows[cure]["chi"] == pytest.approx(1, abs=0.05)
    assert rows[cure]["loss_fall_low"] > 0.5
    assert {claim.statement: claim.decision for claim in found.claims}[
        f"With {cure} the loss falls further than as it is"
    ] == "holds"
    assert found.notes[0].startswith("Type `model = na.build(")
