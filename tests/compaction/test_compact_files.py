"""Test that a file gives back the same compact model, which goes on to train the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from lightning_jointprune import analyze_pruning, compact, from_compact, save_compact
from lightning_jointprune.compaction.request import compaction_of
from tests.compaction.test_compact import Gated, gated
from tests.zoo.skeleton_models import (
    AXES,
    COMPACTED,
    KEPT,
    REFUSED,
    FlatLinear,
    GraphConvolution,
    example,
    masked,
    picked,
)


def small_one(name: str, **how: Any) -> Any:
    axes = AXES.get(name, "b t j c")
    model = masked(COMPACTED[name](), axes, fill=how.pop("fill", 0.5))
    return compact(model, analyze_pruning(model), example(name), **how)


def step(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Do a training step without dropout, so that each gives the same result."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(x).square().mean().backward()
    optimizer.step()
    return model.eval()(x)


@pytest.mark.parametrize(
    ("name", "how"),
    [("linear", {}), ("linear_without_bias", {"bias": False}), ("number_in_forward", {})],
)
def test_goes_on_to_train_as_if_it_had_not_been_saved(
    name: str, how: dict[str, Any], tmp_path: Path
) -> None:
    small, x = small_one(name), picked(example(name), "b t j c")
    save_compact(small, tmp_path / "small.safetensors")
    again = from_compact(tmp_path / "small.safetensors", type(small), **how)
    assert not again.training
    assert compaction_of(again) == compaction_of(small)
    assert torch.equal(again(x), small(x))
    assert torch.equal(step(again, x), step(small, x))
    save_compact(again, tmp_path / "trained.safetensors")
    trained = from_compact(tmp_path / "trained.safetensors", type(small), **how)
    assert torch.equal(trained(x), again(x))


@pytest.mark.parametrize("name", ["data_norm_and_gru", "joint_tokens", "conv2d_over_all_joints"])
def test_gives_back_each_kind_of_layer(name: str, tmp_path: Path) -> None:
    small = small_one(name)
    x = picked(example(name), AXES.get(name, "b t j c"))
    save_compact(small, tmp_path / "small.safetensors")
    assert torch.equal(from_compact(tmp_path / "small.safetensors", type(small))(x), small(x))


def test_keeps_the_selection_in_front_and_in_its_metadata(tmp_path: Path) -> None:
    small, x = small_one("linear", takes="all"), example("linear")
    save_compact(small, tmp_path / "small.safetensors")
    again = from_compact(tmp_path / "small.safetensors", FlatLinear)
    assert torch.equal(again(x), small(x))
    with safe_open(tmp_path / "small.safetensors", framework="pt") as file:
        said = json.loads(file.metadata()["compact_model"])
        assert list(file.keys()) == sorted(FlatLinear().state_dict())
    assert said["selection"]["indices"] == list(KEPT)
    assert said["selection"]["joint_names"][3] == "joint_3"
    assert said["class"] == "tests.zoo.skeleton_models.FlatLinear"


class Unsaved(GraphConvolution):
    """Has a graph that is not in its state_dict."""

    def __init__(self) -> None:
        super().__init__()
        graph = self.adjacency
        del self.adjacency
        self.register_buffer("adjacency", graph, persistent=False)


def test_has_cut_buffers_that_state_dict_leaves_out(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = masked(Unsaved(), "b c t j")
    small = compact(model, analyze_pruning(model), example("gcn_without_bias"))
    save_compact(small, tmp_path / "small.safetensors")
    again = from_compact(tmp_path / "small.safetensors", Unsaved)
    x = picked(example("gcn_without_bias"), "b c t j")
    assert torch.equal(again(x), small(x))


@pytest.mark.parametrize("fill", [0.0, -0.3, "mean"])
def test_gives_back_a_whole_network_with_what_it_puts_between_the_joints(
    fill: Any, tmp_path: Path
) -> None:
    model = masked(REFUSED["joint_attention"][0](), fill=fill)
    whole = compact(model, analyze_pruning(model), example("joint_attention"), whole=True)
    save_compact(whole, tmp_path / "whole.safetensors")
    again, x = from_compact(tmp_path / "whole.safetensors", type(model)), example("joint_attention")
    assert compaction_of(again) == compaction_of(whole)
    assert torch.equal(again(picked(x, "b t j c")), model(x))
    assert torch.equal(step(again, picked(x, "b t j c")), step(whole, picked(x, "b t j c")))


def test_gives_back_a_model_that_had_a_layer_of_its_own(tmp_path: Path) -> None:
    model, x = gated(), example("linear")
    small = compact(model, analyze_pruning(model), x, takes="all")
    save_compact(small, tmp_path / "small.safetensors")
    again = from_compact(tmp_path / "small.safetensors", Gated)
    assert torch.equal(again(x), small(x))
    assert torch.equal(step(again, x), step(small, x))


class WithHyperparameters(pl.LightningModule):
    def __init__(self, width: int, callback: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.embed = nn.Linear(27, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embed(x.flatten(2)).mean(1)


def test_knows_the_hyperparameters_that_lightning_saved(tmp_path: Path) -> None:
    model = masked(WithHyperparameters(5, callback=print))
    small = compact(model, analyze_pruning(model), example("linear"))
    save_compact(small, tmp_path / "small.safetensors")
    again = from_compact(tmp_path / "small.safetensors", WithHyperparameters)
    assert again.hparams.width == 5
    with pytest.raises(ValueError, match=r"`embed.weight` of shape \[5, 27\].* but got \(6, 27\)"):
        from_compact(tmp_path / "small.safetensors", WithHyperparameters, width=6)


def test_refuses_what_is_no_compact_model(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="compact model but got FlatLinear, which has all"):
        save_compact(FlatLinear(), tmp_path / "small.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"schema 1 in .* but got no compact model"):
        from_compact(tmp_path / "other.safetensors", FlatLinear)
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(ValueError, match="Expected a safetensors file but got"):
        from_compact(tmp_path / "text", FlatLinear)
    save_compact(small_one("linear"), tmp_path / "small.safetensors")
    with pytest.raises(ValueError, match=r"`embed.weight` .*in Identity but got None"):
        from_compact(tmp_path / "small.safetensors", nn.Identity)
