"""Each argument that a user may well type gets an error that says what to type instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_jointprune import (
    Fewest,
    GivenJoints,
    HardConcrete,
    JointPruningCallback,
    MetricFloor,
    Price,
    Skeleton,
    TargetJoints,
    load_pruned,
)
from tests.runs import Classifier, fit

HANDS = "mediapipe_hands"
BODY = "mediapipe_body_hands"
JOINTS = 75
BARE = Skeleton("arm", ("elbow", "wrist"))


def made(**arguments: Any) -> Callable[[], object]:
    joints = {} if {"skeleton", "num_joints"} & arguments.keys() else {"num_joints": 42}
    return lambda: JointPruningCallback(**{**joints, **arguments})


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        # Joints and skeletons.
        (made(num_joints="42"), "Pass num_joints=42"),
        (made(num_joints="mediapipe_hand"), 'Pass skeleton="mediapipe_hand"'),
        (made(num_joints=42.0), "Pass num_joints=42"),
        (made(num_joints=33, skeleton=HANDS), 'or pass skeleton="mediapipe_pose"'),
        (made(num_joints=7, skeleton=HANDS), "or name another skeleton"),
        (made(skeleton=42), "Pass num_joints=42"),
        (made(skeleton="mediapipe_hand_body"), "Did you mean 'mediapipe_body_hands'?"),
        (made(skeleton="MediaPipe Holistic"), "Did you mean 'mediapipe_holistic'?"),
        (made(skeleton="mediapipe-hands"), "Did you mean 'mediapipe_hands'?"),
        (made(skeleton="coco17"), "Did you mean 'coco_17'?"),
        (made(skeleton="wholebody"), "Did you mean 'coco_wholebody_133'?"),
        (made(skeleton="openpose"), "Expected one of mediapipe_hand,"),
        (lambda: Skeleton("mine", 42), "Name every joint once"),
        (lambda: Skeleton("mine", ("a", "b"), [(0, 1)]), "groups={'left_hand': (0, 1)}"),
        (
            lambda: Skeleton("mine", ("nose", "neck", "hip"), {"up": (0, 1), "low": (1, 2)}),
            "'up' and 'low', which both have 'neck'",
        ),
        # Joints that are kept, dropped or grouped.
        (made(skeleton=HANDS, keep=["wrist"]), "'left_hand_wrist' or 'right_hand_wrist'?"),
        (made(skeleton=HANDS, keep=["wirst"]), "'left_hand_wrist' or 'right_hand_wrist'?"),
        (made(skeleton=HANDS, keep=["LeftHandWrist"]), "Did you mean 'left_hand_wrist'?"),
        (made(skeleton=HANDS, keep=["left_hand_wirst"]), "Did you mean 'left_hand_wrist'?"),
        (
            made(skeleton=BODY, keep=["tip_index_left"]),
            "Did you mean 'left_hand_index_finger_tip'?",
        ),
        (made(skeleton=BODY, drop=["hand"]), "Did you mean 'left_hand' or 'right_hand'?"),
        (made(skeleton=HANDS, drop="left_hand"), "Pass ['left_hand']"),
        (made(num_joints=33, keep=["nose"]), 'Pass skeleton="mediapipe_pose", or an index'),
        (made(num_joints=7, keep=["nose"]), "Pass skeleton=Skeleton(name, joints), or an index"),
        (made(keep=3), "Pass [3]"),
        (made(keep=None), "Expected a list of joints but got None"),
        (made(keep=[[0, 1]]), "Expected a joint's index or name but got [0, 1], a list"),
        (made(keep=[-1]), "Count from 0, and not from the end"),
        (
            made(skeleton=HANDS, keep=["left_hand_wrist"], drop=["left_hand"]),
            "left_hand_wrist in both of keep and drop",
        ),
        (made(num_joints=2, drop=[0, 1]), "got all of them in drop. Shorten drop"),
        (made(groups="left_hand"), 'Pass groups="hierarchical"'),
        (made(groups=["left_hand"]), 'groups={"left_hand": range(21)}'),
        (made(groups={"thumb": 4}), "Pass [4]"),
        (made(groups={"a": [0, 1], "b": [1, 2]}), "'a' and 'b', which both have 'joint_1'"),
        (
            made(skeleton=BARE, groups="hierarchical"),
            "Give it some, Skeleton('arm', joints, groups=",
        ),
        (made(skeleton=BARE, groups="tied"), "got 'arm', which has none"),
        # Budgets.
        (made(skeleton=HANDS, keep=["right_hand"], budget=12), "Raise it to 21, or keep fewer"),
        (made(skeleton=HANDS, drop=["right_hand"], budget=22), "Lower it to 21, or drop fewer"),
        (made(budget=43), "Lower it to 42."),
        (made(skeleton=HANDS, keep=["right_hand"], budget=[30, 12]), "Raise it to 21"),
        (made(budget="fewest"), 'The only word is "auto"'),
        (made(budget="12"), "Pass budget=12, without quotes"),
        (made(budget=12.0), "Pass budget=12."),
        (made(budget=0.5), "Pass Price(0.5) for a price, or a whole number of joints"),
        (made(budget=Fewest), "Pass Fewest()"),
        (made(budget="selection.jsn"), "no selection is in a file of this name"),
        (lambda: GivenJoints(5), "Pass GivenJoints([0, 4, 8])"),
        (made(budget=None), 'Pass "auto", 12, '),
        (made(budget=("val_acc", 0.9)), 'MetricFloor("val_acc", 0.85)'),
        (lambda: TargetJoints("12"), "Pass TargetJoints(12)"),
        (lambda: MetricFloor(0.85), 'Pass MetricFloor("val_acc", 0.85)'),
        (lambda: MetricFloor("val_acc", "0.8"), "Pass MetricFloor('val_acc', 0.85)"),
        (lambda: MetricFloor("val_acc", drop="1 %"), "got '1 %'"),
        (lambda: Price("0.003"), "a number such as Price(0.003)"),
        (lambda: Price(None), 'Pass Price("auto")'),
        (lambda: Price(groups=["face"]), 'Pass Price(groups={"face": 50})'),
        (lambda: Price(groups={"face": "50"}), "got {'face': '50'}"),
        (lambda: Fewest(0.85), 'Pass Fewest("val_acc")'),
        # The others.
        (made(phases=0.5), "Pass a pair such as phases=(0.1, 0.5)"),
        (made(phases=(10, 60)), "phases=(0.1, 0.6)"),
        (made(phases=(0.6, 0.1)), "phases=(0.1, 0.6)"),
        (made(phases=None), "Pass a pair"),
        (made(phases="0.1, 0.6"), "got '0.1, 0.6'"),
        (made(lr="0.05"), "pass lr=0.05"),
        (made(lr=float("inf")), "Expected a learning rate above 0"),
        (made(gate=HardConcrete), "Pass HardConcrete()"),
        (made(gate="HardConcrete"), "Expected a gate out of gumbel_sigmoid"),
        (made(gate=None), "Pass one of these names"),
        (made(fill=None), "Pass fill=0.0"),
        (made(fill="zero"), "Pass fill=0.0"),
        (made(axes="N C T V M"), 'Pass axes="b c t j m"'),
        (made(axes="btjc"), 'Pass axes="b t j c"'),
        (made(axes="b, t, j, c"), 'Pass axes="b t j c"'),
        (made(axes="batch t joints c"), 'Pass axes="b t j c"'),
        (made(axes=["b", "t", "j", "c"]), 'Pass axes="b t j c"'),
        (made(axes=3), 'Pass axes="b t j c"'),
        (made(input="batch['pose']"), 'Pass input="batch.pose"'),
        (made(input=["body", "hands"]), 'Pass input="body + hands"'),
        (made(input=0), "Expected input as a string"),
        (made(input="batch..pose"), 'input="batch.keypoints"'),
    ],
)
def test_what_is_typed_is_refused_at_once_with_what_to_type(
    typed: Callable[[], object], said: str
) -> None:
    with pytest.raises((ValueError, MisconfigurationException)) as refused:
        typed()
    assert said in str(refused.value)
    assert str(refused.value).startswith("Expected ")


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_joints": np.int64(42), "budget": np.int64(12)},
        {"num_joints": 42, "budget": [np.int32(12), 6], "phases": np.array([0.1, 0.6])},
        {
            "num_joints": 42,
            "lr": torch.tensor(0.05),
            "budget": MetricFloor("acc", torch.tensor(0.8)),
        },
        {"skeleton": HANDS, "groups": {"left": ["left_hand"], "right": ["right_hand"]}},
    ],
)
def test_what_can_only_mean_one_thing_is_taken(arguments: dict[str, Any]) -> None:
    settings = JointPruningCallback(**arguments).record.settings
    assert settings["groups"] in (None, {"left": [*range(21)], "right": [*range(21, 42)]})
    assert settings["phases"] == [0.1, 0.6]


def test_joints_that_can_be_read_once_are_kept() -> None:
    callback = JointPruningCallback(4, keep=(joint for joint in (1, 3)), drop=iter([0]))
    assert (callback.record.settings["keep"], callback.record.settings["drop"]) == ([1, 3], [0])


class Signs(Classifier):
    """A model whose batch is a mapping, of keypoints and a mask."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.head.weight.mean() * batch["keypoints"].mean() * batch["seen"].float().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self(batch[0])


KEYPOINTS = torch.randn(4, 4, JOINTS, 2)


@pytest.mark.parametrize(
    ("arguments", "keypoints", "said"),
    [
        ({"num_joints": 75, "input": "batch.kp"}, KEYPOINTS, 'Pass input="batch.keypoints".'),
        ({"num_joints": 75, "input": "batch.seen"}, KEYPOINTS, 'Pass input="batch.keypoints".'),
        ({"num_joints": 75, "axes": "b j t c"}, KEYPOINTS, 'Pass axes="b t j c".'),
        ({"num_joints": 75, "axes": "b t j"}, KEYPOINTS, 'Pass axes="b t j c".'),
        (
            {"num_joints": 75, "axes": "b j t c", "input": "batch.keypoints"},
            KEYPOINTS,
            'Pass axes="b t j c".',
        ),
        (
            {"num_joints": 75, "axes": "b t j c"},
            KEYPOINTS.flatten(2),
            'pass axes="b t (j c)" or axes="b t (c j)".',
        ),
        ({"num_joints": 42}, KEYPOINTS, f'pass num_joints=75 or skeleton="{BODY}".'),
        ({"skeleton": HANDS}, KEYPOINTS, f'pass num_joints=75 or skeleton="{BODY}".'),
        (
            {"num_joints": 42, "input": "batch.keypoints"},
            KEYPOINTS,
            f'Pass num_joints=75 or skeleton="{BODY}".',
        ),
        (
            {"num_joints": 42},
            torch.randn(4, 20, 3 * 75),
            f'pass num_joints=75 or skeleton="{BODY}".',
        ),
        ({"num_joints": 42}, torch.randn(4, 4, 31, 2), "pass num_joints=31."),
        (
            {"num_joints": 42},
            torch.tensor(0.5),
            "num_joints= or skeleton= of the data, which has axes of 4, 75.",
        ),
    ],
)
@pytest.mark.usefixtures("run_folder")
def test_what_does_not_fit_the_data_is_refused_in_the_first_step(
    arguments: dict[str, Any], keypoints: Tensor, said: str
) -> None:
    seen = torch.ones(4, 4, JOINTS, dtype=torch.bool)
    data = DataLoader([[{"keypoints": keypoints, "seen": seen}]], batch_size=None)
    with pytest.raises(MisconfigurationException, match=r"^Expected ") as refused:
        fit(Signs(), JointPruningCallback(**arguments), train=data, limit_val_batches=0)
    assert str(refused.value).endswith(said)


def test_what_is_no_checkpoint_is_refused_with_what_to_pass(tmp_path: Path) -> None:
    selection = tmp_path / "selection.json"
    selection.write_text("{}")
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 cut off")
    for arguments, said in (
        (("best.ckpt", Classifier), "the class first"),
        ((Classifier(), "best.ckpt"), "Pass load_pruned(Classifier,"),
        ((Classifier, tmp_path), "last.ckpt', say"),
        ((Classifier, selection), "Pass what Lightning saved"),
        ((Classifier, tmp_path / "last.ckpt"), "which is none, or cut off"),
    ):
        wrong: Any = load_pruned
        with pytest.raises(ValueError, match=r"^Expected ") as refused:
            wrong(*arguments)
        assert said in str(refused.value)
