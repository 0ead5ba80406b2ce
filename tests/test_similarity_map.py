"""Similarity map: the right layers under the right names, whatever the networks, their modes and their data do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import netassay as na
from netassay.errors import BadInput, UnknownName
from netassay.measures import named, similarity
from netassay.studies import similarity_tables
from netassay.studies.similarity_asked import asked, twins
from netassay.studies.similarity_gathering import Policy
from netassay.studies.similarity_look import Ask, Look, bonferroni
from netassay.studies.similarity_map import similarity_map
from netassay.testing import check_quiet
from tests import similar
from tests.reference import maps as twin

N = 14
IMAGES = torch.randn(N, 3, 6, 6, generator=torch.Generator().manual_seed(0)) + 2
QUICK = {"permutations": 9}


def conv(inplace=False, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace), nn.Conv2d(4, 5, 3), nn.ReLU(inplace)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(20, 3))
    model[1].running_mean.normal_()
    return model.eval()


def steps(model, x):
    """What each layer of a sequence makes, copied."""
    made = {}
    for name, layer in model.named_children():
        x = layer(x)
        made[name] = x.detach().flatten(1).double().numpy().copy()
    return made


class Shared(nn.Module):
    """Defined in another order than it runs in, one activation used twice, one layer not at all."""

    def __init__(self):
        super().__init__()
        self.head, self.second, self.first = nn.Linear(5, 3), nn.Linear(6, 5), nn.Linear(4, 6)
        self.act, self.unused = nn.Tanh(), nn.Linear(2, 2)

    def forward(self, x):
        return {"logits": self.head(self.act(self.second(self.act(self.first(x))))), "hidden": [x]}


def values(result, name="cka"):
    return np.asarray(result.array(name))


@pytest.mark.parametrize("mode", ["full Gram", "feature space", "minibatch"])
def test_a_layer_before_an_activation_in_place_is_itself(mode):
    """Rows of a norm are those of the norm, not of the ReLU that overwrites it, in every mode (peers: 0.18 off)."""
    plain, inplace = conv(), conv(inplace=True)
    names = list("0123456")
    found = similarity_map(inplace, conv(seed=1), IMAGES, layers="*", mode=mode, batch_size=N, **QUICK)
    made, other = steps(plain, IMAGES), steps(conv(seed=1), IMAGES)
    assert found.array("cka").axes == {"layer of a": tuple(names), "layer of b": tuple(names)}
    wanted = [[twin.cka(made[i], other[j]) for j in names] for i in names]
    np.testing.assert_allclose(values(found), wanted, rtol=0, atol=1e-5)


def test_labels_are_in_order_of_execution_and_calls_of_a_shared_module_apart():
    """Rows are filled and named in one order, a module called twice has two, an unused one is told and has none."""
    model, x = Shared(), torch.randn(N, 4)
    found = similarity_map(model, data=x, layers="*", **QUICK)
    labels = ("first", "act#0", "second", "act#1", "head")
    assert found.array("cka").axes["layer of a"] == labels
    assert found.notes[1:-1] == ("asked for but never ran: unused of Shared",)
    made = [model.first(x)]
    for step in (torch.tanh, model.second, torch.tanh, model.head):
        made.append(step(made[-1]))
    made = [one.detach().double().numpy() for one in made]
    np.testing.assert_allclose(values(found), [[twin.cka(a, b) for b in made] for a in made], atol=1e-6)
    assert [row["depth"] for row in found.table("layers")[:5]] == [1, 1, 2, 2, 3]
    assert [row["position"] for row in found.table("layers")[:5]] == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert np.isfinite(values(found)).all()


def test_containers_are_rows_of_their_own():
    """Layers inside and around one another keep their own names and numbers."""
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 5), nn.Tanh()), nn.Linear(5, 3))
    found = similarity_map(model, data=torch.randn(N, 4), layers="*", **QUICK)
    assert found.array("cka").axes["layer of a"] == ("0.0", "0.1", "0", "1")
    assert values(found)[1, 2] == pytest.approx(1)
    assert values(found)[0, 2] != pytest.approx(1, abs=1e-4)


def test_equal_names_do_not_make_channels_samples():
    """A copy whose channels are permuted, under the same layer names, is as similar as can be."""
    model, other = conv(), conv()
    order = torch.tensor([2, 0, 3, 1])
    for name in ("weight", "bias"):
        getattr(other[0], name).data = getattr(other[0], name).data[order]
        getattr(other[1], name).data = getattr(other[1], name).data[order]
    other[1].running_mean, other[1].running_var = other[1].running_mean[order], other[1].running_var[order]
    found = similarity_map(model, other, IMAGES, layers=["0", "1", "2"], **QUICK)
    np.testing.assert_allclose(np.diag(values(found)), 1, atol=1e-6)


@pytest.mark.parametrize("mode", ["full Gram", "minibatch"])
def test_memory_format_does_not_matter(mode):
    """Channels last on one side: the same numbers."""
    model = conv()
    found = similarity_map(model, conv().to(memory_format=torch.channels_last), IMAGES, layers="*", mode=mode, **QUICK)
    np.testing.assert_allclose(np.diag(values(found)), 1, atol=1e-5)


@pytest.mark.parametrize("sizes", [(5, 5, 4), (6, 6, 2), (13, 1)])
def test_minibatch_of_a_net_with_itself_is_one_for_any_batches(sizes):
    """Not 2 and not 0.5, tails of three or fewer left out and told."""
    batches = list(IMAGES.split(sizes))
    found = similarity_map(conv(), data=batches, mode="minibatch", **QUICK)
    np.testing.assert_allclose(np.diag(values(found)), 1, atol=1e-6)
    least = sizes[-1] if sizes[-1] < 4 else 0
    assert any(f"{least} samples of smaller ones are left out" in note for note in found.notes) == bool(least)


def test_only_batches_too_small_are_refused():
    """Three samples a batch give nothing to take off."""
    with pytest.raises(BadInput, match="fewer than 4 samples"):
        similarity_map(conv(), data=IMAGES, mode="minibatch", batch_size=3, **QUICK)
    with pytest.raises(BadInput, match="tells nothing with fewer than 4"):
        similarity_map(conv(), data=IMAGES[:3], **QUICK)


def test_networks_in_training_mode_are_measured_in_eval_mode_and_left_as_they_were():
    """Norms do not drift, dropout drops nothing, no hook, gradient or random state is touched."""
    models = [nn.Sequential(conv(seed=i).train(), nn.Dropout(0.5)) for i in (0, 1)]
    models[0](IMAGES).sum().backward()
    with check_quiet(models[0]), check_quiet(models[1]):
        first = similarity_map(*models, IMAGES, twin=True, measures=["cka", "cka_biased"], **QUICK)
    second = similarity_map(*[model.eval() for model in models], IMAGES, **QUICK)
    np.testing.assert_array_equal(values(first), values(second))
    wrong = torch.randn(N, 2, 6, 6)
    with check_quiet(models[0]), pytest.raises(BadInput, match="forward pass"):
        similarity_map(models[0], data=wrong, **QUICK)


def test_a_loader_that_shuffles_is_paired():
    """Both sides see one pass: a net and itself agree exactly (a peer: -0.078)."""
    model, data = conv(), TensorDataset(IMAGES, torch.arange(N))
    loader = DataLoader(data, batch_size=5, shuffle=True)
    for mode in ("full Gram", "minibatch"):
        np.testing.assert_allclose(np.diag(values(similarity_map(model, model, loader, mode=mode, **QUICK))), 1)
    with pytest.raises(BadInput, match="the loader shuffles"):
        similarity_map(model, data=loader, data_b=loader, **QUICK)


def test_two_data_sets_go_through_one_model_row_by_row():
    """Columns are layers on the second data set; rows that are not the same samples are refused by their ids."""
    model, noisy = conv(), IMAGES + torch.randn(IMAGES.shape)
    found = similarity_map(model, data=IMAGES, data_b=noisy, layers="*", **QUICK)
    made, other = steps(model, IMAGES), steps(model, noisy)
    wanted = [[twin.cka(made[i], other[j]) for j in other] for i in made]
    np.testing.assert_allclose(values(found), wanted, atol=1e-6)
    ids = torch.arange(N)
    pairs = [(IMAGES, ids, None, ids), (noisy, ids, None, ids.flip(0))]
    with pytest.raises(BadInput, match="the same samples in another order"):
        similarity_map(model, data=pairs[0], data_b=pairs[1], **QUICK)
    with pytest.raises(BadInput, match="batch 0 holds 14 samples of the one and 9 of the other"):
        similarity_map(model, data=IMAGES, data_b=noisy[:9], **QUICK)


def test_classes_that_lie_together_are_warned_of():
    """Sorted labels, and a single class; none for a random order."""
    x, y = torch.randn(60, 3, 6, 6), torch.arange(60) % 3

    def rules(labels):
        verdicts = similarity_map(conv(), data=(x, labels), positions="pool", **QUICK).verdicts
        return {verdict.rule for verdict in verdicts}

    assert "sorted classes" in rules(y.sort().values)
    assert "one class only" in rules(torch.zeros(60, dtype=torch.int64))
    assert not {"sorted classes", "one class only"} & rules(y[torch.randperm(60)])


def test_a_layer_that_never_changes_is_nan_with_a_reason():
    """Dead features have no similarity; the verdict names the layer, and others keep their numbers."""
    model = conv()
    model[3].bias.data.fill_(-100)
    for mode in ("full Gram", "feature space", "minibatch"):
        found = similarity_map(model, conv(seed=1), IMAGES, mode=mode, batch_size=7, **QUICK)
        rows = dict(zip(found.array("cka").axes["layer of a"], values(found), strict=True))
        assert np.isnan(rows["4"]).all()
        assert np.isfinite(rows["3"]).all()
        assert [verdict.layer for verdict in found.verdicts if verdict.rule == "dead layer"] == ["a: 4, 6"]
        assert "4" not in {row["layer_a"] for row in found.table("best")}


def test_layers_that_correspond_are_counted_where_both_have_a_value():
    """A dead layer is no hit and no miss, rows alone are trials, and pairs of networks share the level."""
    dead, again = conv(), conv()
    for one in (dead, again):
        one[3].weight.data.zero_()

    def told(*sides, layers=("0", "1", "3", "6")):
        every = similarity_map(*sides, IMAGES, layers=list(layers), **QUICK).claims
        return [one for one in every if "relative depth" in one.statement]

    (one,) = told(dead, again)
    assert (one.effect, one.n, one.counted, one.tests) == (1, 2, "layers of a", 1)
    assert told(dead, conv(), layers=("3", "6")) == []
    three = told([conv(), conv(seed=1), conv(seed=2)], None)
    assert [(one.tests, one.level, one.n) for one in three] == 3 * [(3, pytest.approx(1 - 0.05 / 3), 4)]


def test_a_layer_that_overflows_is_nan_and_the_others_keep_their_numbers():
    """Where no features are kept, too: neither its map nor its chance is told, and nothing is raised."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight.data.fill_(1e38)
    found = similarity_map(model, None, 9 * torch.randn(40, 4), mode="feature space", memory=1000)
    assert np.isnan(values(found)[1]).all()
    assert np.isnan(np.asarray(found.array("cka/p"))[1]).all()
    assert found.array("cka")[0, 0] == pytest.approx(1)


def test_few_batches_have_no_interval_and_a_note():
    """Of four batches nothing is said; of five, with Student's t, it is."""
    for batches, told in ((4, True), (5, False)):
        found = similarity_map(conv(), None, IMAGES.repeat(2, 1, 1, 1)[: 5 * batches], mode="minibatch", batch_size=5)
        assert bool(np.isnan(np.asarray(found.array("cka/low"))[0, 1])) == told
        assert any("no intervals, which take 5 batches or more; there are 4" in note for note in found.notes) == told


class Varying(nn.Module):
    """As many positions as the input has, and a layer called as often."""

    def __init__(self):
        super().__init__()
        self.conv, self.again = nn.Conv1d(2, 3, 1), nn.Linear(3, 3)

    def forward(self, x):
        y = self.conv(x)
        for _ in range(x.shape[-1]):
            y = y + self.again(y.mean(2))[:, :, None]
        return y


@pytest.mark.parametrize("mode", ["full Gram", "feature space", "minibatch"])
def test_a_batch_of_other_sizes_is_refused_and_calls_beyond_the_first_batch_are_counted(mode):
    """Features of another number cannot be compared; pooled they can, and what is dropped is told."""
    batches = [torch.randn(8, 2, 4), torch.randn(8, 2, 6)]
    with pytest.raises(BadInput, match="batch 1 gives 18 features where the first gave 12"):
        similarity_map(Varying(), None, batches, layers="conv", mode=mode, **QUICK)
    found = similarity_map(Varying(), None, batches, layers="*", positions="pool", mode=mode, **QUICK)
    assert any(note.startswith("left out: 2 calls of again of Varying beyond") for note in found.notes)


def test_one_network_under_two_names_keeps_both():
    """Rows and columns are named as asked for."""
    model = conv()
    found = similarity_map({"x": model, "y": model}, {"z": model}, IMAGES, layers="0", **QUICK)
    assert list(found.array("cka").axes["layer of a"]) == ["x/0", "y/0"]
    assert {row["model"] for row in found.table("layers")} == {"x", "y", "z"}
    assert values(found) == pytest.approx(1)


def test_a_policy_that_there_is_not_is_refused_where_no_layer_asks_for_it():
    """A slip of the pen in tokens= is no policy, though the network has none; positions do not concern tokens."""
    with pytest.raises(UnknownName, match="mena"):
        similarity_map(conv(), None, IMAGES, tokens="mena")
    found = similarity_map(nn.Sequential(nn.Linear(4, 3)), None, torch.randn(9, 5, 4), positions="samples", **QUICK)
    assert any("positions='samples' does not concern tokens" in str(row) for row in found.table("layers"))


def test_several_networks_are_named_and_matched_pair_by_pair():
    """Labels begin with the model where a side holds several; best matches never cross models, nor are oneself."""
    models = {"x": conv(), "y": conv(seed=1)}
    found = similarity_map(models, data=IMAGES, **QUICK)
    labels = found.array("cka").axes["layer of b"]
    assert labels[:2] == ("x/0", "x/2")
    assert labels[-1] == "y/6"
    both = similarity_map(models["x"], models["y"], IMAGES, **QUICK)
    half = len(labels) // 2
    np.testing.assert_allclose(values(found)[:half, half:], values(both), rtol=0, atol=1e-14)
    own = [row for row in found.table("best") if row["model_a"] == row["model_b"]]
    assert own
    assert all(row["layer_a"] != row["layer_b"] for row in own)
    one = next(row for row in found.table("best") if (row["model_a"], row["model_b"]) == ("x", "y"))
    assert one["score"] == pytest.approx(values(both)[0].max())
    assert {(row["model_a"], row["model_b"]) for row in found.table("patterns")} == {("x", "x"), ("x", "y"), ("y", "y")}


def test_each_part_of_a_map_is_cut_out_and_judged_once(monkeypatch):
    """Patterns, claims and best matches share it; of a map of one pair the part is the whole."""
    counted = []
    for name in ("part", "judged"):
        plain = getattr(similarity_tables, name)
        monkeypatch.setattr(
            similarity_tables, name, lambda *a, name=name, plain=plain: counted.append(name) or plain(*a)
        )
    similarity_map({"x": conv(), "y": conv(seed=1)}, data=IMAGES, **QUICK)
    assert [counted.count(name) for name in ("part", "judged")] == [4, 4]
    counted.clear()
    similarity_map(conv(), conv(seed=1), IMAGES, **QUICK)
    assert counted == []


def test_a_folder_of_checkpoints_is_a_side(tmp_path):
    """A pattern in a spec's weights: one model a file, step2 before step10, named by the files."""
    from safetensors.torch import save_file

    for step in (10, 2):
        save_file(na.build("mlp[8]", seed=step).state_dict(), tmp_path / f"step{step}.safetensors")
    found = similarity_map(f"mlp[8]:weights={tmp_path}/*.safetensors", "mlp[8]", torch.randn(N, 64), **QUICK)
    assert found.array("cka").axes["layer of a"][::3] == ("step2/fc1", "step10/fc1")
    for step in (10, 2):
        (tmp_path / f"run{step}").mkdir()
        (tmp_path / f"step{step}.safetensors").rename(tmp_path / f"run{step}" / "last.safetensors")
    runs = similarity_map(f"mlp[8]:weights={tmp_path}/run*/last.safetensors", "mlp[8]", torch.randn(N, 64), **QUICK)
    names = [f"{tmp_path}/run{step}/last.safetensors/fc1" for step in (2, 10)]
    assert list(runs.array("cka").axes["layer of a"][::3]) == names
    with pytest.raises(BadInput, match="no file of that name"):
        similarity_map(f"mlp[8]:weights={tmp_path}/*.nothing", "mlp[8]", torch.randn(N, 64))


def test_the_best_match_is_the_largest_of_its_row_with_its_own_chance():
    """Both directions, the runner-up, the shift in depth, and p of a maximum that is no smaller than that of one."""
    found = similarity_map(conv(), conv(seed=1), IMAGES, permutations=49)
    map, p = values(found), np.asarray(found.array("cka/p"))
    for of, axis in (("a", 0), ("b", 1)):
        rows = [row for row in found.table("best") if row["of"] == of]
        labels = found.array("cka").axes[f"layer of {of}"]
        assert [row[f"layer_{of}"] for row in rows] == list(labels)
        ends = [np.asarray(found.array(f"cka/{end}"))[map == row["score"]] for row in rows for end in ("low", "high")]
        assert [end for row in rows for end in (row["low"], row["high"])] == np.concatenate(ends).tolist()
        for k, row in enumerate(rows):
            line = np.sort(map.take(k, axis))[::-1]
            assert (row["score"], row["second_score"]) == (line[0], line[1])
            assert row["p"] >= p.take(k, axis)[map.take(k, axis).argmax()]
    first = found.table("best")[0]
    assert first["shift"] == pytest.approx((labels.index(first["layer_b"]) + 0.5) / 5 - 0.1)


def test_distances_have_their_best_match_where_they_are_smallest():
    """A measure that is a distance is read from below, in the table of best matches and in the claims."""
    found = similarity_map(
        conv(), data=IMAGES, b=conv(), positions="pool", measures="procrustes:normalised=true", **QUICK
    )
    rows = found.table("best")
    assert all(row["layer_a"] == row["layer_b"] and row["score"] < 1e-5 for row in rows)
    assert found.claims[0].effect < 1e-5
    assert found.claims[1].effect == 1


def test_related_layers_are_told_from_chance_and_unrelated_ones_are_not():
    """Two nets on the same images share more than chance; on independent noise for each they do not."""
    x = torch.randn(60, 3, 6, 6)
    shared = similarity_map(conv(), conv(seed=1), x, permutations=99)
    assert shared.claims[0].decision == "holds"
    assert shared.array("cka/p")[0, 0] == pytest.approx(0.01)
    held = 0
    for mode in ("full Gram", "feature space", "minibatch"):
        for _ in range(4):
            sides = {"data": torch.randn(60, 3, 6, 6), "data_b": torch.randn(60, 3, 6, 6)}
            ask = {"positions": "pool", "mode": mode, "batch_size": 30, "permutations": 99}
            noise = similarity_map(conv(), conv(seed=1), **sides, **ask)
            held += noise.claims[0].decision == "holds"
            assert np.abs(np.asarray(noise.array("cka/null"))).max() < 0.1
            assert (np.asarray(noise.array("cka/calibrated")) == 0).mean() > 0.5
    assert held <= 2


def test_chance_without_features_is_what_orders_say():
    """In feature space beyond the budget: the law over all orders, skewed as it is for one feature a side."""
    models, x = [nn.Sequential(nn.Linear(3, 1)) for _ in range(2)], torch.randn(300, 3)
    ask = {"mode": "feature space"}
    shuffled = similarity_map(*models, x, permutations=4000, **ask)
    known = similarity_map(*models, x, memory=1000, **ask)
    assert any("gamma law" in note for note in known.notes)
    assert not any("gamma law" in note for note in shuffled.notes)
    near = np.asarray(known.array("cka/threshold")), np.asarray(shuffled.array("cka/threshold"))
    np.testing.assert_allclose(near[0], near[1], rtol=0.08)
    assert known.claims[0].decision == "holds"


def test_the_untrained_twin_stands_beside():
    """Drawn anew, of both networks, under the same labels; not the networks themselves."""
    models = na.build("mlp[8]", seed=5), na.build("mlp[8]", seed=6)
    found = similarity_map(*models, torch.randn(N, 64), twin=True, **QUICK)
    assert found.array("cka/untrained").axes == found.array("cka").axes
    assert not np.allclose(values(found, "cka/untrained"), values(found))
    assert "untrained" in found.notes[-1]


def test_the_same_seed_gives_the_same_bits():
    """Everything, the null included; another seed gives another null and the same map."""
    one, two, three = (similarity_map(conv(), conv(seed=1), IMAGES, seed=seed, **QUICK) for seed in (3, 3, 4))
    assert one.to_dict() == two.to_dict()
    np.testing.assert_array_equal(values(one), values(three))
    assert not np.array_equal(values(one, "cka/null"), values(three, "cka/null"))


@pytest.mark.parametrize("name", ["cka", "cka_biased", "mutual_knn:k=1", "rsa", "nbs"])
@pytest.mark.parametrize("positions", ["flatten", "samples"])
def test_a_map_of_two_layers_is_their_similarity(name, positions):
    """Value, p and interval: ties are seen, and orders and the jackknife move whole samples, not their positions."""
    model, (x, y) = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh()), torch.randn(2, 30, 3, 2, 2)
    other = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh())
    ask = {"positions": positions, "permutations": 39 if name == "nbs" else 199}
    found = similarity_map(model, other, x, data_b=y, measures=name, layers=["0", "1"], mode="full Gram", **ask)
    first, second = model(x).detach(), other(y).detach()
    alone = similarity(first, second, name, **ask)
    told = [found.array(name + key)[1, 1] for key in ("", "/p", "/low", "/high")]
    np.testing.assert_allclose(told, [float(alone), alone.p, *alone.interval], rtol=1e-6, atol=1e-6)
    assert told[1] == alone.p


def test_minibatches_see_ties_in_single_precision():
    """Two samples of five are alike, and so are the rest: one order in ten gives the value back, in other digits."""
    model, x = nn.Sequential(nn.Identity(), nn.Tanh()), torch.zeros(5, 3)
    for mode in ("full Gram", "minibatch"):
        for x[:2] in torch.rand(5, 3):
            p = np.asarray(similarity_map(model, data=x, mode=mode, layers="*", permutations=199).array("cka/p"))
            assert np.ptp(p) == 0
            assert 0.04 < p.mean() < 0.18


def test_twins_are_settled_on_the_data_of_their_side():
    """Norms of a twin of b see what b sees, though a takes images of another kind."""
    other = nn.Sequential(nn.BatchNorm2d(1))
    wanted = asked(conv(), other, IMAGES, IMAGES[:, :1] + 7, "*", N)
    found = twins(wanted, "*").b[0].model[0]
    assert float(found.running_mean) == pytest.approx(float(IMAGES[:, :1].mean()) + 7, rel=1e-5)


def test_positions_as_samples_need_layers_of_one_resolution():
    """Every position is a row; without kept features chance is not known; layers of several sizes are refused."""
    found = similarity_map(conv(), data=IMAGES, layers=["0", "1"], positions="samples", **QUICK)
    assert found.table("layers")[0]["n"] == N * 16
    space = {"mode": "feature space", "memory": 1000, "positions": "samples"}
    known = similarity_map(conv(), data=IMAGES, layers=["0", "1"], **space, **QUICK)
    np.testing.assert_allclose(values(known), values(found), atol=1e-6)
    assert np.isnan(np.asarray(known.array("cka/p"))).all()
    assert any("positions of a sample depend on each other" in note for note in known.notes)
    with pytest.raises(BadInput, match="16 positions in 0, 4 in 3"):
        similarity_map(conv(), data=IMAGES, positions="samples", **QUICK)


def test_what_is_asked_is_checked():
    """Sentences for no data, no network, an unknown measure, mode and layer, and a layer without samples."""
    with pytest.raises(BadInput, match="without data"):
        similarity_map(conv())
    with pytest.raises(BadInput, match="no network"):
        similarity_map([], data=IMAGES)
    with pytest.raises(UnknownName, match="closest: 'cka"):
        similarity_map(conv(), data=IMAGES, measures=["ckaa"])
    with pytest.raises(UnknownName, match="mode 'fast'"):
        similarity_map(conv(), data=IMAGES, mode="fast")
    with pytest.raises(BadInput, match="layer 'conv9'"):
        similarity_map(conv(), data=IMAGES, layers="conv9")
    with pytest.raises(BadInput, match="no layer that was asked for ran"):
        similarity_map(Shared(), data=torch.randn(N, 4), layers="unused")


def test_a_map_says_how_it_was_made():
    """Policies, the estimator and why, in notes and table; what a minibatch estimates is said to be something else."""
    found = similarity_map(conv(), conv(seed=1), IMAGES, memory=1000, positions="pool", tokens="cls", **QUICK)
    assert found.notes[0].startswith("positions='pool', tokens='cls'")
    row = found.table("measures")[0]
    assert row["estimator"] == "minibatch"
    assert "a different estimator" in row["why"]
    assert row["why"] in found.notes[1]
    assert found.table("layers")[0]["note"] == "mean over 4 x 4 positions of 4 channels"
    assert found.provenance["positions"] == "pool"
    told = [found.provenance[key] for key in ("samples", "level", "permutations", "network_mode")]
    assert told == [N, 0.95, 9, "eval"]


def test_tokens_are_read_by_their_policy():
    """Transformers' outputs (N, T, C): the first token, or the mean of those that the mask keeps."""
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 5))
    x = torch.randint(9, (N, 6))
    mask = torch.arange(6) < torch.randint(1, 7, (N, 1))
    y = model[0](x).detach().double(), model(x).detach().double()
    cls = [one[:, 0].numpy() for one in y]
    mean = [((one * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)).numpy() for one in y]
    for tokens, made in (("cls", cls), ("masked", mean)):
        found = similarity_map(model, data=(x, torch.zeros(N), mask), layers="*", tokens=tokens, **QUICK)
        assert values(found)[0, 1] == pytest.approx(twin.cka(*made), abs=1e-6)


def test_each_concern_is_told_once_a_side_with_its_measures():
    """Not once a layer: from which to which, of which network, by which measures."""
    ask = {"layers": "*", "measures": ["cka", "nbs"], "positions": "flatten"}
    found = similarity_map(conv(), conv(seed=1), IMAGES, **ask, **QUICK)
    many = [one for one in found.verdicts if one.rule == "many features for few samples"]
    assert [one.layer for one in many] == ["a: 0 ... 6 (7 layers)", "b: 0 ... 6 (7 layers)"]
    assert "features a sample: nbs tells" in many[0].cause
    own = similarity_map(conv(), data=IMAGES, **ask, **QUICK)
    assert [one.layer for one in own.verdicts if one.rule == many[0].rule] == ["0 ... 6 (7 layers)"]


def test_what_no_map_can_be_made_with_is_refused_before_the_pass():
    """One sentence each, naming what was given."""
    for odd in ({"permutations": 2.5}, {"permutations": -1}, {"seed": -1}, {"level": 1}, {"memory": -1}):
        with pytest.raises(BadInput, match="=".join(map(str, *odd.items()))):
            similarity_map(conv(), data=[], **odd)
    with pytest.raises(BadInput, match=r"measures=\[\]"):
        similarity_map(conv(), data=IMAGES, measures=[])


def test_measures_of_outputs_take_outputs():
    """Layers of other widths are refused with what to name instead; two heads are compared."""
    with pytest.raises(BadInput, match="layers='6'"):
        similarity_map(conv(), conv(seed=1), IMAGES, measures="jsd", **QUICK)
    found = similarity_map(conv(), conv(seed=1), IMAGES, measures="jsd", layers="6", **QUICK)
    wanted = similarity(conv()(IMAGES), conv(seed=1)(IMAGES), "jsd", permutations=0)
    assert values(found, "jsd")[0, 0] == pytest.approx(float(wanted), abs=1e-6)


def test_memory_counts_matrices_of_samples_and_none_is_made_for_warnings():
    """Measures that compare samples pair by pair need n x n; in feature space nothing does."""
    x = torch.randn(300, 3, 6, 6)
    ask = {"positions": "pool", "memory": 1 << 20}
    with pytest.raises(BadInput, match="keep the features of every sample"):
        similarity_map(conv(), data=x, measures="rsa", **ask, **QUICK)
    whole = Ask(Policy("pool", "mean"), {"cka": named("cka")}, "feature space", 9, 0, 0.95, 1 << 24)
    look = Look(asked(conv(), None, x, None, None, 128), whole)
    told = look.diagnosed()
    assert look.features
    assert not look.grams
    assert all(np.isfinite(one["leverage"]) for one in told.values())


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_features_of_any_scale_have_a_value(scale):
    """Squares of squares neither vanish nor overflow."""
    x = torch.randn(30, 5, dtype=torch.float64)
    model = nn.Sequential(nn.Identity(), nn.Linear(5, 4, bias=False).double())
    plain, scaled = (similarity_map(model, data=one, layers="*", mode="full Gram", **QUICK) for one in (x, scale * x))
    wanted = similarity(x * scale, model(x * scale), permutations=0)
    assert values(scaled)[0, 1] == pytest.approx(float(wanted), abs=1e-10)
    assert values(plain)[0, 0] == pytest.approx(1)
    rows = scaled.table("layers")
    assert rows[0]["leverage"] == pytest.approx(plain.table("layers")[0]["leverage"])


def test_samples_left_out_are_not_counted():
    """Of 35 in batches of 32, three are too few for a batch of their own."""
    found = similarity_map(conv(), conv(seed=1), torch.randn(35, 3, 6, 6), mode="minibatch", batch_size=32, **QUICK)
    assert {row["n"] for row in found.table("layers")} == {32}
    assert found.claims[0].n == 32


def test_positions_as_samples_of_tokens_are_said_to_be_none():
    """Tokens are taken by their own policy; that is a note, not silence."""
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 5))
    x = torch.randint(9, (N, 6))
    noted = {name: similarity_map(model, data=x, positions=name, **QUICK).notes for name in ("samples", "pool")}
    told = [any("changes nothing" in one for one in notes) for notes in noted.values()]
    assert told == [True, False]


def test_maxima_without_orders_count_what_is_defined():
    """The smallest p times how many there are; none, and it is NaN."""
    p = np.array([[0.01, np.nan, 0.5], [np.nan, np.nan, np.nan]])
    told = bonferroni(p, p, p)
    np.testing.assert_allclose(told.p_row_max, [0.02, np.nan])
    np.testing.assert_allclose(told.p_col_max, [0.01, np.nan, 0.5])
    assert told.p_max == 0.02
    assert np.isnan(bonferroni(p[1:], p[1:], p[1:]).p_max)


def test_a_made_up_map_has_the_columns_and_arrays_of_a_real_one():
    """What figures and page are tested with is what they are given."""
    real, made = similarity_map(conv(), conv(seed=1), IMAGES, twin=True, **QUICK), similar.similarity_map(twin=True)
    assert {name: set(table.columns) for name, table in made.tables.items()} == {
        name: set(table.columns) for name, table in real.tables.items()
    }
    assert set(made.arrays) == set(real.arrays)
    assert set(made.provenance) <= set(real.provenance)
