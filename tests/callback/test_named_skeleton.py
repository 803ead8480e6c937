"""A named skeleton is held against the bodies in the first batches."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_jointprune import JointPruningCallback, Skeleton
from lightning_jointprune.skeletons import get_skeleton
from tests.measure.test_anatomy import arranged, moving
from tests.runs import SHORT_RUNS, SIGNS, Classifier, fit

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]

NAME = "mediapipe_body_hands"
T = 5


def clips(x: Tensor, change: Any = None) -> Any:
    """Ten batches of four clips, of 200 frames."""
    x = x.view(40, T, *x.shape[1:])
    x = x if change is None else change(x)
    return DataLoader([(x[at : at + 4], torch.arange(4) % SIGNS) for at in range(0, 40, 4)], None)


class Bodies(Classifier):
    def __init__(self, values: int = 75 * 2) -> None:
        super().__init__()
        self.head = nn.Linear(T * values, SIGNS)


class InParts(Bodies):
    def forward(self, body: Tensor, hands: Tensor) -> Tensor:
        return super().forward(torch.cat([body, hands], dim=2))

    def __call__(self, x: Tensor) -> Tensor:
        found: Tensor = super().__call__(x[:, :, :33], x[:, :, 33:])
        return found


def run(model: Any, data: Any, skeleton: Any = NAME, **settings: Any) -> JointPruningCallback:
    callback = JointPruningCallback(
        skeleton=skeleton, phases=(0.5, 0.75), budget=20, lr=0.5, **settings
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Joints that an edge")
        fit(model, callback, train=data, val=data, max_epochs=2, num_sanity_val_steps=0)
    return callback


@pytest.mark.parametrize(
    "change",
    [
        None,
        lambda x: x - x[:, :, :1],  # centred on the nose
        lambda x: torch.where(torch.rand(x.shape[:2])[..., None, None] < 0.3, 0.0, x),
        torch.randn_like,
    ],
    ids=["as they come", "centred on a joint", "padded", "noise"],
)
def test_bodies_in_the_skeletons_order_are_pruned(change: Any) -> None:
    assert len(run(Bodies(), clips(moving(NAME, 200), change)).selection.indices) == 20
    parts = run(InParts(), clips(moving(NAME, 200), change), input="body + hands")
    assert len(parts.selection.indices) == 20


@pytest.mark.compatibility(
    "Models", "joints in another order than the named skeleton", refused=True
)
@pytest.mark.parametrize(("kind", "place"), [(Bodies, None), (InParts, "body + hands")])
def test_parts_in_another_order_are_refused_in_the_warm_up(kind: Any, place: str | None) -> None:
    wrong = arranged(moving(NAME, 200), get_skeleton(NAME), ("left_hand", "pose", "right_hand"))
    model = kind()
    with pytest.raises(MisconfigurationException, match=r"in the order of skeleton .* left_hand, "):
        run(model, clips(wrong), input=place)
    assert len(model.losses) < 10


def test_pose_before_face_does_not_pass_with_the_face_dropped() -> None:
    right, wrong = "mediapipe_body_face_hands", "mediapipe_holistic"
    data = clips(moving(right, 200))
    with pytest.raises(MisconfigurationException, match=f'Pass skeleton="{right}"'):
        run(Bodies(543 * 2), data, wrong, drop=["face"])
    kept = run(Bodies(543 * 2), data, right, drop=["face"]).selection.names
    assert not any(name.startswith("face") for name in kept)


def test_other_bodies_are_warned_of_and_a_skeleton_of_ones_own_is_held_against_nothing() -> None:
    order = torch.randperm(75, generator=torch.Generator().manual_seed(0))
    data, known = clips(moving(NAME, 200)[:, order]), get_skeleton(NAME)
    with pytest.raises(UserWarning, match=f"Compare the order with `jointprune skeletons {NAME}`"):
        run(Bodies(), data)
    own = Skeleton("mine", known.joints, known.groups, known.edges)
    assert len(run(Bodies(), data, own).selection.indices) == 20
