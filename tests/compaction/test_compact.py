"""Test that a smaller model equals the masked one, or that the error names the layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_jointprune.attach.hooks import attach, attached_layers
from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.attach.target import part_targets
from lightning_jointprune.compaction.compact import compact
from lightning_jointprune.compaction.request import compaction_of
from lightning_jointprune.compaction.tracing import CompactionError
from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.run.load import analyze_pruning
from tests.zoo.skeleton_models import (
    AXES,
    COMPACTED,
    KEPT,
    REFUSED,
    FlatLinear,
    J,
    NumberInForward,
    example,
    masked,
    picked,
)

# --- bad input -----------------------------------------------------------------------------------


def linear() -> Any:
    return masked(FlatLinear())


def test_names_both_sides_where_the_selection_is_of_another_skeleton_order_or_rung() -> None:
    model = linear()
    own = analyze_pruning(model)
    other = JointSelection((0, 1), 3, ("a", "b", "c"), (0.9, 0.9, 0.1))
    with pytest.raises(ValueError, match=r"model's 9 joints but got one out of 3"):
        compact(model, other, example("linear"))
    with pytest.raises(ValueError, match=r"keeps, \[1, 3, 4, 8\], but got \[1, 3\]"):
        compact(model, replace(own, indices=(1, 3)), example("linear"))
    layer = attached_layers(model)[0][1]
    layer.joint_names = tuple(f"joint_{n}" for n in (1, 0, *range(2, J)))
    with pytest.raises(ValueError, match=r"'joint_1' as joint 0, but got 'joint_0'"):
        compact(model, own, example("linear"))


def test_refuses_a_model_without_a_frozen_mask() -> None:
    model = linear()
    selection, layer = analyze_pruning(model), attached_layers(model)[0][1]
    layer.mode = "sampled"
    with pytest.raises(ValueError, match="frozen mask but got gates in the mode 'sampled'"):
        compact(model, selection, example("linear"))
    with pytest.raises(ValueError, match=r"in front of it but got 0 for FlatLinear.*load_pruned"):
        compact(FlatLinear(), selection, example("linear"))
    layer.mode, layer.mask = None, None
    with pytest.raises(ValueError, match=r"trained yourself .* layer\.freeze\("):
        compact(model, selection, example("linear"))


def test_refuses_a_model_that_is_compacted_already() -> None:
    model = linear()
    small = compact(model, analyze_pruning(model), example("linear"))
    with pytest.raises(ValueError, match="all 9 joints but got one that is compacted to 4"):
        compact(small, analyze_pruning(model), example("linear"))


def test_refuses_fills_with_which_dropped_joints_still_reach_the_model() -> None:
    for fill in ("hold", torch.zeros_like):
        model = masked(FlatLinear(), fill=fill)
        with pytest.raises(CompactionError, match="same for every input"):
            compact(model, analyze_pruning(model), example("linear"))


def test_refuses_an_example_with_padding_where_the_fill_is_not_what_padding_is() -> None:
    x = example("linear")
    x[:, -2:] = 0
    model = masked(FlatLinear(), fill=0.5)
    with pytest.raises(CompactionError, match="frames are no padding"):
        compact(model, analyze_pruning(model), x)
    model = masked(FlatLinear())
    assert compact(model, analyze_pruning(model), x)


def test_refuses_what_is_not_equal_whatever_the_reason() -> None:
    class Sly(FlatLinear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * (2 if x.shape[2] == J else 1)

    model = masked(Sly())
    with pytest.raises(CompactionError, match=r"differs by 0\.5 of the largest output"):
        compact(model, analyze_pruning(model), example("linear"))


# --- the result ----------------------------------------------------------------------------------


def test_has_exactly_its_share_of_the_first_layer_under_the_same_names() -> None:
    model = linear()
    small = compact(model, analyze_pruning(model), example("linear"))
    assert small.embed.weight.numel() * J == model.embed.weight.numel() * len(KEPT)
    assert small.embed.in_features == 3 * len(KEPT)
    assert list(small.state_dict()) == list(model.state_dict())
    assert model.embed.in_features == 3 * J, "the model itself stays as it is"
    done = compaction_of(small)
    assert done.cut == {"embed.weight": (8, 27)}
    assert done.error < 1e-12


def test_takes_all_joints_with_their_selection_in_front() -> None:
    model, x = linear(), example("linear")
    small = compact(model, analyze_pruning(model), x, takes="all")
    x[:, :, 0] = torch.nan
    torch.testing.assert_close(small(x), model(x))
    with pytest.raises(ValueError, match='"kept" or "all" but got'):
        compact(model, analyze_pruning(model), x, takes="both")


def test_folds_means_of_joints_and_channels() -> None:
    model, x = masked(FlatLinear(), fill="mean"), example("linear")
    small = compact(model, analyze_pruning(model), x)
    torch.testing.assert_close(small(x[:, :, list(KEPT)]), model(x), rtol=1e-4, atol=1e-5)


def test_changes_the_number_of_joints_where_the_forward_asks_for_it() -> None:
    model = masked(NumberInForward())
    small = compact(model, analyze_pruning(model), example("linear"))
    assert (small.num_joints, model.num_joints) == (len(KEPT), J)
    assert compaction_of(small).numbers == (("", "num_joints"),)


def test_parts_of_a_skeleton_are_compacted_each() -> None:
    class Parts(FlatLinear):
        def forward(self, body: torch.Tensor, hand: torch.Tensor) -> torch.Tensor:
            return super().forward(torch.cat([body, hand], dim=2))

    model = Parts().eval()
    layer = JointPruningLayer(J)
    layer.freeze(torch.tensor([joint in KEPT for joint in range(J)]))
    for target in part_targets([("", ("body",)), ("", ("hand",))], Layout.parse("b t j c"), (4, 5)):
        attach(model, target, layer)
    x = example("linear")
    body, hand = x[:, :, :4], x[:, :, 4:]
    small = compact(model, analyze_pruning(model), (body, hand))
    torch.testing.assert_close(small(body[:, :, [1, 3]], hand[:, :, [0, 4]]), model(body, hand))


# --- the whole network behind the kept joints ----------------------------------------------------


@pytest.mark.parametrize("fill", [0.0, 0.7])
@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_way_out_which_is_exact(name: str, fill: Any) -> None:
    axes, x = AXES.get(name, "b t j c"), example(name)
    model = masked(REFUSED[name][0](), axes, fill=fill)
    with pytest.raises(CompactionError, match="whole=True for a model that takes the kept joints"):
        compact(model, analyze_pruning(model), x)
    whole = compact(model, analyze_pruning(model), x, whole=True)
    other = 2 * example(name)
    with torch.no_grad():
        assert torch.equal(whole(picked(other, axes)), model(other))
    assert [p.shape for p in whole.parameters()] == [p.shape for p in model.parameters()]
    assert compaction_of(whole).fill is not None
    with pytest.raises(ValueError, match="all 9 joints but got one that is compacted to 4"):
        compact(whole, analyze_pruning(model), x)


def test_the_whole_network_sees_padding_as_the_masked_one_does() -> None:
    model, x = masked(FlatLinear(), fill=0.5), example("linear")
    whole = compact(model, analyze_pruning(model), x, whole=True)
    x[0, -2:], x[1, -1:] = 0.0, torch.nan
    torch.testing.assert_close(
        whole(picked(x, "b t j c")), model(x), rtol=0, atol=0, equal_nan=True
    )


def test_the_whole_network_is_refused_where_it_would_not_be_what_was_asked_for() -> None:
    class Random(FlatLinear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x + torch.rand(()))

    model = masked(Random())
    with pytest.raises(CompactionError, match="may draw no random numbers"):
        compact(model, analyze_pruning(model), example("linear"), whole=True)
    model = linear()
    with pytest.raises(ValueError, match=r'takes="kept" with whole=True but got takes=.all'):
        compact(model, analyze_pruning(model), example("linear"), takes="all", whole=True)


# --- other entrances -----------------------------------------------------------------------------


class Gated(FlatLinear):
    """Calls a gate of its own, after the channels are put first."""

    def __init__(self, calls: int = 1) -> None:
        super().__init__()
        self.gates = JointPruningLayer(J)
        self.calls = calls

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 3, 1, 2)
        for _ in range(self.calls):
            x = self.gates(x, axes=("b", "c", "t", "j"))
        return super().forward(x.permute(0, 2, 3, 1))

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        return self(x).square().mean() + 0.1 * self.gates.expected_l0()


def gated(**how: Any) -> Gated:
    model = Gated(**how).eval()
    model.gates.freeze(torch.tensor([joint in KEPT for joint in range(J)]))
    return model


def test_a_layer_in_the_models_own_forward_becomes_what_picks_the_joints_out() -> None:
    model, x = gated(), example("linear")
    small = compact(model, analyze_pruning(model), x, takes="all")
    x[:, :, 0] = torch.nan
    torch.testing.assert_close(small(x), model(x))
    assert small.embed.in_features == 3 * len(KEPT)
    assert "gates.joint_logits" in model.state_dict()
    assert not any(name.startswith("gates") for name in small.state_dict())
    small.loss(x).backward()
    with pytest.raises(ValueError, match=r'enter in the model.s own forward but got gates.*"all"'):
        compact(model, analyze_pruning(model), x)


def test_a_layer_in_a_forward_that_does_not_call_it_is_refused() -> None:
    model = gated(calls=0)
    with pytest.raises(ValueError, match=r"calls `gates` on one kind of axes but got one that"):
        compact(model, analyze_pruning(model), example("linear"), takes="all")


@given(
    kept=st.sets(st.integers(0, J - 1), min_size=1, max_size=J - 1),
    name=st.sampled_from(["linear", "conv1d", "joint_tokens", "mean_of_tokens"]),
    fill=st.sampled_from([0.0, -1.5]),
)
@settings(max_examples=15, deadline=None)
def test_any_selection_is_equal(kept: set[int], name: str, fill: float) -> None:
    model = masked(COMPACTED[name](), kept=kept, fill=fill)
    small, x = compact(model, analyze_pruning(model), example(name)), example(name, batch=2)
    with torch.no_grad():
        got = small(picked(x, "b t j c", sorted(kept)))
        torch.testing.assert_close(got, model(x), rtol=1e-4, atol=1e-5)
