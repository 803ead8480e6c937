"""The places of joints are held against the anatomy of a named skeleton."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_jointprune.measure.anatomy import (
    FEWEST,
    Anatomy,
    anatomy_of,
    disagreements,
    mean_distances,
    order_doubt,
    shortest_tree,
)
from lightning_jointprune.skeletons import Skeleton, get_skeleton, skeleton_names, skeleton_parts
from tests.people import person

JOINED = [name for name in skeleton_names() if len(skeleton_parts(name)) > 2]
ORDERS = ["mediapipe_holistic", "mediapipe_body_face_hands", "mediapipe_face_body_hands"]


def moving(name: str, frames: int = 40, seed: int = 0) -> Tensor:
    """The drawing of a skeleton as a body that moves: turned, shifted, its parts a little apart."""
    random = torch.Generator().manual_seed(seed)
    skeleton = get_skeleton(name)
    drawing = torch.tensor(skeleton.drawing) - 0.5
    angle = torch.randn(frames, generator=random) * 0.2
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    x = drawing @ turn + torch.randn(frames, 1, 2, generator=random) * 0.3
    for of in skeleton_parts(skeleton.name).values():
        x[:, of.start : of.stop] += torch.randn(frames, 1, 2, generator=random) * 0.05
    return x + torch.randn(x.shape, generator=random) * 0.005


def arranged(x: Tensor, skeleton: Skeleton, order: tuple[str, ...]) -> Tensor:
    """The parts of a skeleton in another order."""
    parts = skeleton_parts(skeleton.name)
    return torch.cat([x[:, parts[part].start : parts[part].stop] for part in order], dim=1)


def by_part(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Skeleton], Tensor]:
    def changed(x: Tensor, skeleton: Skeleton) -> Tensor:
        parts = skeleton_parts(skeleton.name).values()
        return torch.cat([change(x[:, of.start : of.stop]) for of in parts], dim=1)

    return changed


PREPARED: dict[str, Callable[[Tensor, Skeleton], Tensor]] = {
    "as they come": lambda x, skeleton: x,
    "mirrored": lambda x, skeleton: x * torch.tensor([-1.0, 1.0]),
    "another unit": lambda x, skeleton: 1000 * x + 500,
    "standardised by joint": lambda x, skeleton: (x - x.mean(0)) / x.std(0),
    "centred": lambda x, skeleton: x - x.mean(1, keepdim=True),
    "centred by part": by_part(lambda x: x - x.mean(1, keepdim=True)),
    "scaled by part": by_part(lambda x: (x - x[:, :1]) / x.std((1, 2), keepdim=True)),
    "velocities": lambda x, skeleton: x.diff(dim=0),
    "noise": lambda x, skeleton: torch.randn_like(x),
    "half are missing": lambda x, skeleton: torch.where(
        torch.rand(x.shape[:2]).unsqueeze(-1) < 0.5, x, torch.nan
    ),
    "no hands": lambda x, skeleton: torch.where(
        torch.tensor(["hand" in name for name in skeleton.joints])[:, None], torch.nan, x
    ),
}


@pytest.mark.parametrize("prepared", PREPARED)
@pytest.mark.parametrize("name", skeleton_names())
def test_joints_of_a_skeleton_are_never_doubted_however_they_were_prepared(
    name: str, prepared: str
) -> None:
    skeleton = get_skeleton(name)
    assert order_doubt(PREPARED[prepared](moving(name), skeleton), skeleton) is None


@pytest.mark.parametrize(
    "prepared", ["as they come", "mirrored", "another unit", "half are missing", "centred"]
)
@pytest.mark.parametrize("name", JOINED)
def test_parts_in_another_order_are_told_with_what_was_measured(name: str, prepared: str) -> None:
    skeleton = get_skeleton(name)
    first, *others = skeleton_parts(skeleton.name)
    order = (*others, first)
    x = arranged(PREPARED[prepared](moving(name), skeleton), skeleton, order)
    doubt = order_doubt(x, skeleton)
    assert doubt is not None
    assert doubt.clear
    assert f"Expected joints in the order of skeleton '{name}'" in doubt.text
    assert "times as far apart as with the order" in doubt.text


@pytest.mark.parametrize("saved", ORDERS)
@pytest.mark.parametrize("named", ORDERS)
def test_of_the_orders_of_the_same_joints_the_right_one_is_proposed(saved: str, named: str) -> None:
    doubt = order_doubt(moving(saved), get_skeleton(named))
    if saved == named:
        assert doubt is None
    else:
        assert doubt is not None
        assert doubt.clear
        assert f'Pass skeleton="{saved}";' in doubt.text


def test_exchanged_hands_are_told_by_the_wrists() -> None:
    skeleton = get_skeleton("mediapipe_body_hands")
    x = torch.from_numpy(person("pose-left-right")[..., :2]).repeat(2, 1, 1)
    doubt = order_doubt(arranged(x, skeleton, ("pose", "right_hand", "left_hand")), skeleton)
    assert doubt is not None
    assert doubt.clear
    assert "the left wrist is not where the left hand begins" in doubt.text
    assert "with the order pose, right_hand, left_hand. Bring the joints into" in doubt.text


@pytest.mark.parametrize("name", ["mediapipe_pose", "mediapipe_hand", "coco_17", "ntu_25"])
def test_names_of_another_body_are_doubted_weakly(name: str) -> None:
    skeleton = get_skeleton(name)
    order = torch.randperm(skeleton.num_joints, generator=torch.Generator().manual_seed(3))
    doubt = order_doubt(moving(name)[:, order], skeleton)
    assert doubt is not None
    assert not doubt.clear
    assert f"jointprune skeletons {name}" in doubt.text


def test_little_is_no_ground_for_a_doubt() -> None:
    skeleton = get_skeleton("mediapipe_body_hands")
    wrong = arranged(moving(skeleton.name), skeleton, ("left_hand", "pose", "right_hand"))
    assert order_doubt(wrong[:FEWEST], skeleton) is not None
    assert order_doubt(wrong[: FEWEST - 1], skeleton) is None
    assert order_doubt(torch.full_like(wrong, torch.nan), skeleton) is None


def test_the_anatomy_is_read_out_of_the_names() -> None:
    assert anatomy_of(get_skeleton("coco_wholebody_133").joints) == Anatomy(
        ((5, 7, 9), (6, 8, 10)), (91, 112), range(23, 91)
    )
    assert anatomy_of(get_skeleton("ntu_25").joints) == Anatomy(((4, 5, 6), (8, 9, 10)))
    assert anatomy_of(get_skeleton("mediapipe_hands").joints) is None


def test_limbs_of_two_lengths_and_a_body_without_shoulders_disagree() -> None:
    skeleton = get_skeleton("mediapipe_body_hands")
    anatomy = anatomy_of(skeleton.joints)
    assert anatomy is not None
    x = torch.from_numpy(person("pose-left-right")[..., :2])
    assert disagreements(x, anatomy) == []
    x[:, 13] = x[:, 11] + 0.01
    assert disagreements(x, anatomy) == ["the upper arms differ in length"]
    assert disagreements(torch.full_like(x, torch.nan), anatomy) == ["no frame has both shoulders"]


@given(st.integers(2, 12), st.integers(0, 10))
def test_the_shortest_tree_is_that_of_kruskal(joints: int, seed: int) -> None:
    x = torch.randn(1, joints, 2, generator=torch.Generator().manual_seed(seed)).double()
    distances, tree = mean_distances(x), {joint: {joint} for joint in range(joints)}
    pairs = [(float(distances[a, b]), a, b) for a in range(joints) for b in range(a)]
    total = 0.0
    for length, a, b in sorted(pairs):
        if tree[a] is not tree[b]:
            total += length
            tree[a] |= tree[b]
            for joint in tree[b]:
                tree[joint] = tree[a]
    assert shortest_tree(distances) == pytest.approx(total / (joints - 1))


def test_distances_are_those_of_frames_that_have_both() -> None:
    x = torch.tensor([[[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0], [torch.nan, 0.0]]])
    assert mean_distances(x)[0, 1] == 5.0
    assert mean_distances(x[1:])[0, 1].isnan()
