"""Checkpoints: one row for each file of weights, in the order in which training wrote them."""

from __future__ import annotations

from safetensors.torch import save_file

import netassay as na
from netassay.studies.checkpoints import over_checkpoints


def test_files_come_in_the_order_of_their_numbers(tmp_path):
    """step2 before step10; the provenance names the files, and no hash that only one of them has."""
    for step in (10, 2, 1):
        save_file(dict(na.build("mlp[16]", seed=step).state_dict()), tmp_path / f"step{step}.safetensors")
    build = lambda file: na.build("mlp[16]", weights=file)  # noqa: E731
    result = over_checkpoints(build, str(tmp_path / "*.safetensors"), na.channel_profile, "digits:n=50")
    rows = result.table("checkpoints")
    assert [row["checkpoint"].rpartition("step")[2] for row in rows] == [f"{n}.safetensors" for n in (1, 2, 10)]
    assert [row["channels"] for row in rows] == [16 + 16 + 10] * 3
    assert "model_hash" not in result.provenance
    assert len(result.provenance["weights"]) == 3


def test_an_exchange_map_has_a_row_for_each_file_too(tmp_path):
    """Means over layers and counts of quiet channels, as the map of each network has them."""
    for step in (2, 1):
        save_file(dict(na.build("mlp[16]", seed=step).state_dict()), tmp_path / f"step{step}.safetensors")
    build = lambda file: na.build("mlp[16]", weights=file)  # noqa: E731
    rows = over_checkpoints(build, str(tmp_path / "*"), na.exchange_map, "digits:n=50", also=()).table("checkpoints")
    for row, seed in zip(rows, (1, 2), strict=True):
        layers = na.exchange_map(na.build("mlp[16]", seed=seed), "digits:n=50", also=()).tables["layers"].columns
        assert row["coherence"] == layers["coherence"].mean()
        assert row["exchanged"] == layers["exchanged"].mean()
        assert (row["layers"], row["starved"]) == (2, layers["starved"].sum())
