"""Skeleton encoders by name: what they return, what they must not see, which graph they follow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import networkx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from examples.autsl.encoders import STGCN, FollowKept, bridge, build_encoder, normalized_adjacency
from examples.autsl_fusion import SignFusion
from lightning_jointprune import JointPruningLayer, analyze_pruning, compact
from lightning_jointprune.attach.hooks import attach
from lightning_jointprune.attach.target import Target
from lightning_jointprune.skeletons import get_skeleton

NAMES = ("bert", "gru", "st-gcn", "joint-tokens")
EDGES = get_skeleton("mediapipe_hands").edges


@pytest.mark.parametrize("name", NAMES)
def test_padding_does_not_reach_the_features_and_every_weight_is_trained(name: str) -> None:
    encoder = build_encoder(name, 42, 3, 32, 2, 8, 0.0, EDGES)
    clips, mask = torch.randn(4, 8, 42, 3), torch.arange(8) < torch.tensor([[8], [5], [3], [1]])
    features = encoder(clips, mask)
    assert features.shape == (4, encoder.width) == (4, 32)
    padded = torch.where(mask[:, :, None, None], clips, 1e3)
    torch.testing.assert_close(encoder(padded, mask), features, atol=1e-5, rtol=1e-5)
    features.square().sum().backward()
    unused = [k for k, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused


@pytest.mark.parametrize("name", NAMES)
def test_model_trains_with_the_encoder_of_this_name(name: str) -> None:
    model = SignFusion(
        num_signs=3, modalities=["skeleton"], encoder=name, skeleton="mediapipe_hands"
    )
    assert model(torch.randn(2, 16, 42, 3)).shape == (2, 3)


def test_unknown_encoder_and_graph_without_edges_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected bert, gru, .* but got 'lstm'"):
        SignFusion(encoder="lstm")
    with pytest.raises(ValueError, match=r"Pass --datamodule\.skeleton NAME"):
        SignFusion(encoder="st-gcn")


def test_adjacency_is_that_of_networkx() -> None:
    graph = networkx.Graph(EDGES)
    graph.add_edges_from((joint, joint) for joint in range(42))
    ones = torch.tensor(networkx.to_numpy_array(graph, range(42)), dtype=torch.float32)
    degree = ones.sum(dim=1).diag().pow(-0.5).nan_to_num(posinf=0.0)
    torch.testing.assert_close(normalized_adjacency(42, EDGES), degree @ ones @ degree)


@given(st.integers(0, 10_000))
def test_kept_joints_are_joined_where_a_path_of_dropped_ones_joins_them(seed: int) -> None:
    graph = networkx.gnp_random_graph(9, 0.25, seed=seed)
    kept = torch.rand(9, generator=torch.Generator().manual_seed(seed)) > 0.5
    names = kept.nonzero().flatten().tolist()
    expected = set()
    for a in names:
        for b in names:
            between = graph.subgraph([a, b, *(~kept).nonzero().flatten().tolist()])
            if a < b and networkx.has_path(between, a, b):
                expected.add((a, b))
    assert bridge(9, graph.edges, kept) == expected


def test_graph_follows_the_kept_joints_and_forgets_the_others() -> None:
    encoder = STGCN(42, 3, 32, 2, 0.0, EDGES).eval()
    kept = torch.zeros(42, dtype=torch.bool)
    kept[[0, 4, 8, 21]] = True  # a wrist, two tips of its hand, the other wrist
    encoder.follow(kept)
    assert not encoder.adjacency[~kept][:, kept].any()
    assert encoder.adjacency[0, 4] > 0
    assert encoder.adjacency[0, 21] == 0
    clips, mask = torch.randn(2, 8, 42, 3), torch.ones(2, 8, dtype=torch.bool)
    changed = torch.where(kept[None, None, :, None], clips, torch.randn_like(clips))
    assert torch.equal(encoder(clips, mask), encoder(changed, mask))
    again = STGCN(42, 3, 32, 2, 0.0, EDGES)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.adjacency, encoder.adjacency)


def test_graph_of_a_run_follows_when_its_joints_are_frozen_and_not_before() -> None:
    graph = STGCN(42, 3, 32, 2, 0.0, EDGES)
    whole = graph.adjacency.clone()
    kept = tuple(joint in (0, 4, 8, 21) for joint in range(42))
    widest, last = SimpleNamespace(mask=kept), SimpleNamespace(mask=(True,) + (False,) * 41)
    record = SimpleNamespace(phase="search", rungs=(widest, last), selection=last)
    follower = FollowKept(SimpleNamespace(record=record))
    follower.on_train_epoch_start(SimpleNamespace(current_epoch=3), graph)
    assert torch.equal(graph.adjacency, whole)
    record.phase = "final"
    follower.on_train_epoch_start(SimpleNamespace(current_epoch=4), graph)
    assert graph.kept.tolist() == list(kept)
    assert not torch.equal(graph.adjacency, whole)


def test_frozen_branch_is_not_trained_and_an_unknown_one_is_refused() -> None:
    model = SignFusion(num_signs=3, freeze=["rgb"])
    assert not any(p.requires_grad for p in model.branches["rgb"].parameters())
    trained = {id(p) for group in model.parameter_groups() for p in group["params"]}
    assert not trained & {id(p) for p in model.branches["rgb"].parameters()}
    with pytest.raises(ValueError, match="to freeze but got 'sound'"):
        SignFusion(freeze=["sound"])


@pytest.mark.parametrize("name", ["st-gcn", "joint-tokens"])
def test_an_encoder_that_follows_ignores_dropped_joints_and_is_compacted_to_the_kept(
    name: str,
) -> None:
    kept = torch.arange(42) % 4 == 0
    encoder: Any = build_encoder(name, 42, 3, 32, 2, 6, 0.1, EDGES)
    if name == "st-gcn":
        nn.init.normal_(encoder.place)
    encoder.eval().follow(kept)
    x, frames = torch.randn(2, 6, 42, 3), torch.ones(2, 6, dtype=torch.bool)
    other = torch.where(kept[:, None], x, torch.randn_like(x))
    torch.testing.assert_close(encoder(x, frames), encoder(other, frames))
    layer = JointPruningLayer(42)
    layer.freeze(kept)
    attach(encoder, Target.parse("keypoints", "b t j c"), layer)
    small: Any = compact(encoder, analyze_pruning(encoder), (x, frames))
    assert len(small.kept) == kept.sum()
    frames[:, 4:] = False
    torch.testing.assert_close(small(x[:, :, kept], frames), encoder(x, frames))
