"""Names in the callback's arguments are resolved, and what does not fit is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from lightning_jointprune.attach.target import Target
from lightning_jointprune.gates.membership import Groups
from lightning_jointprune.gates.relaxations import GumbelSigmoid, HardConcrete
from lightning_jointprune.run.settings import Settings
from lightning_jointprune.search.budgets import make_controller
from lightning_jointprune.search.budgets.price import Price
from lightning_jointprune.search.budgets.target_joints import TargetJoints
from lightning_jointprune.search.controller import Controller
from lightning_jointprune.skeletons import Skeleton, get_skeleton

DEFAULTS: dict[str, Any] = {
    "num_joints": None,
    "skeleton": None,
    "input": None,
    "axes": None,
    "budget": Price("auto"),
    "gate": GumbelSigmoid(),
    "groups": None,
    "keep": (),
    "drop": (),
    "phases": (0.1, 0.6),
    "lr": None,
    "fill": 0.0,
}


def checked(**settings: Any) -> Settings:
    return Settings.checked(**{**DEFAULTS, **settings})


def made(**settings: Any) -> Controller:
    """Make the layer and the budget at work, which refuse what does not fit together."""
    asked = checked(**settings)
    return make_controller(asked.budget, asked.new_layer())


# --- joints --------------------------------------------------------------------------------------


def test_joints_have_the_skeletons_names_or_numbers() -> None:
    hands = get_skeleton("mediapipe_hands")
    assert checked(skeleton="mediapipe_hands").joint_names == hands.joints
    assert checked(skeleton="mediapipe_hands", num_joints=42).joint_names == hands.joints
    assert checked(num_joints=3).joint_names == ("joint_0", "joint_1", "joint_2")


@pytest.mark.parametrize("keep", [["left_hand_wrist", 8], [0, "left_hand_index_finger_tip"]])
def test_joints_to_keep_are_found_by_index_or_name_and_never_dropped(keep: list) -> None:
    settings = checked(skeleton="mediapipe_hands", keep=keep)
    assert settings.keep == (0, 8)
    layer = settings.new_layer()
    layer.joint_logits.data.fill_(-5.0)
    assert layer.get_active_joints() == [0, 8]


def test_a_skeleton_of_ones_own_brings_names_and_body_parts() -> None:
    mine = Skeleton("mine", ("hip", "knee", "foot"), {"leg": (1, 2)})
    settings = checked(skeleton=mine, groups="tied", keep=["hip"])
    assert (settings.joint_names, settings.skeleton) == (mine.joints, mine)
    assert (settings.groups, settings.tied, settings.keep) == ({"leg": (1, 2)}, True, (0,))
    with pytest.raises(ValueError, match=r"3 joints \(skeleton 'mine'\) but got num_joints=4"):
        checked(skeleton=mine, num_joints=4)
    with pytest.raises(ValueError, match=r"a skeleton with groups but got 'bare'.* Give it some"):
        checked(skeleton=Skeleton("bare", mine.joints), groups="hierarchical")


def test_joints_without_a_skeleton_are_named_by_their_numbers_too() -> None:
    assert checked(num_joints=4, keep=["joint_3"]).keep == (3,)


# --- groups --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "groups",
    [
        {"wrists": ["left_hand_wrist", 21], "thumb": range(1, 5)},
        Groups({"wrists": (0, "right_hand_wrist"), "thumb": [1, 2, 3, 4]}),
    ],
)
def test_groups_of_ones_own_may_mix_names_and_indices(groups: Any) -> None:
    settings = checked(skeleton="mediapipe_hands", groups=groups)
    assert settings.groups == {"wrists": (0, 21), "thumb": (1, 2, 3, 4)}
    assert not settings.tied
    assert settings.new_layer().group_logits.shape == (2,)


@pytest.mark.parametrize(
    ("groups", "tied"),
    [("hierarchical", False), ("tied", True), (Groups(), False), (Groups(tied=True), True)],
)
def test_a_skeleton_brings_its_body_parts(groups: Any, tied: bool) -> None:
    settings = checked(skeleton="mediapipe_hands", groups=groups)
    assert settings.groups == get_skeleton("mediapipe_hands").groups
    assert settings.tied == tied


def test_a_tied_group_stands_or_falls_with_one_gate() -> None:
    layer = checked(num_joints=4, groups=Groups({"a": [0, 2]}, tied=True)).new_layer()
    layer.joint_logits.data = torch.tensor([3.0, 3.0, -3.0, -3.0])
    assert layer.get_active_joints() == [0, 1, 2]


def test_the_nodes_of_a_tied_group_are_named_by_it() -> None:
    groups = Groups({"wrist": [0, 3], "knee": ["joint_1", 4]}, tied=True)
    settings = checked(num_joints=6, groups=groups, keep=["joint_4"])
    assert settings.joint_names == ("wrist.0", "knee.0", "joint_2", "wrist.1", "knee.1", "joint_5")
    assert settings.keep == (4,)
    hands = checked(skeleton="mediapipe_hands", groups="tied")
    assert hands.joint_names == get_skeleton("mediapipe_hands").joints


def test_no_groups_are_no_groups() -> None:
    assert checked(num_joints=4).groups is None
    assert checked(num_joints=4).new_layer().group_logits is None


# --- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"the number of joints but got num_joints=None. Pass num_joints=42 or skeleton="),
        ({"num_joints": 0}, r"the number of joints but got num_joints=0"),
        ({"num_joints": 2.5}, r"got num_joints=2\.5"),
        ({"num_joints": True}, r"got num_joints=True"),
        (
            {"skeleton": "mediapipe_hand", "num_joints": 42},
            r"21 joints .*'mediapipe_hand'.* got nu",
        ),
        (
            {"skeleton": "mediapipe_hans"},
            r"got 'mediapipe_hans'\. Did you mean 'mediapipe_hands'\?",
        ),
        ({"num_joints": 4, "axes": "b t c"}, r"b t c"),
        ({"num_joints": 4, "gate": "soft"}, r"a gate out of .* but got 'soft'"),
        ({"num_joints": 4, "budget": 0.5}, r"Price, TargetJoints.* but got 0\.5"),
        ({"num_joints": 4, "budget": 5}, r"TargetJoints from 1 .* to 4 .* but got 5"),
        ({"num_joints": 4, "budget": 1, "keep": [0, 1]}, r"from 2 \(joints always kept\).* got 1"),
        ({"num_joints": 4, "keep": [4]}, r"0 to 3, but got 4"),
        ({"num_joints": 4, "drop": [4]}, r"0 to 3, but got 4"),
        ({"num_joints": 4, "drop": [1], "keep": [1]}, r"got joint_1 in both of keep and drop"),
        ({"num_joints": 4, "drop": [0, 1, 2, 3]}, r"drop to leave a joint"),
        (
            {"num_joints": 4, "drop": [1], "groups": Groups({"a": [0, 1]}, tied=True)},
            r"all or none",
        ),
        ({"num_joints": 4, "drop": [1], "budget": 4}, r"to 3 \(all usable joints\) but got 4"),
        (
            {"num_joints": 4, "budget": Price("auto", groups={"face": 5.0}), "groups": {"a": [0]}},
            r"prices of groups out of a but got 'face'\. Pass .*Callback\(groups=\{'face'",
        ),
        ({"num_joints": 4, "budget": [3, 5]}, r"to 4 .* but got 5"),
        ({"num_joints": 4, "budget": [3, 3]}, r"different ones, .* but got \[3, 3\]"),
        ({"num_joints": 4, "budget": []}, r"a number of joints"),
        (
            {"num_joints": 4, "budget": [3, 2], "groups": Groups({"a": [0, 1]}, tied=True)},
            r"groups of one size .* but got groups of \[1, 2\]",
        ),
        ({"num_joints": 4, "keep": [-1]}, r"0 to 3, but got -1"),
        ({"num_joints": 4, "keep": [1, "joint_1"]}, r"each joint once but got 1 and 'joint_1'"),
        ({"num_joints": 4, "keep": "joint_1"}, r"a list of joints but got 'joint_1'"),
        ({"skeleton": "mediapipe_hand", "keep": ["thumb_tap"]}, r"'thumb_tap'\. Did you mean"),
        ({"num_joints": 4, "phases": (0.6, 0.1)}, r"two fractions of the run in order"),
        ({"num_joints": 4, "lr": 0.0}, r"learning rate above 0 but got lr=0\.0"),
        ({"num_joints": 4, "lr": float("nan")}, r"learning rate above 0 but got lr=nan"),
        ({"num_joints": 4, "fill": "median"}, r"\"mean\".* but got 'median'"),
        ({"num_joints": 4, "groups": "tied"}, r"a skeleton whose groups to take but got none"),
        ({"num_joints": 4, "groups": Groups()}, r"a skeleton whose groups .*Groups\(\{"),
        ({"num_joints": 4, "groups": "fingers"}, r"\"hierarchical\", \"tied\".* got 'fingers'"),
        ({"num_joints": 4, "groups": [[0, 1]]}, r"Groups or a mapping but got \[\[0, 1\]\]"),
        (
            {"num_joints": 4, "groups": {"a": [0, 1], "b": [1]}},
            r"but got 'a' and 'b', which both have 'joint_1'",
        ),
        ({"num_joints": 4, "groups": {"a": [7]}}, r"0 to 3, but got 7"),
        ({"num_joints": 4, "groups": {"a": ["nose"]}}, r"4 joints but got 'nose'"),
        ({"num_joints": 4, "groups": {"a": []}}, r"not empty"),
    ],
)
def test_settings_that_do_not_fit_are_refused_at_once(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**settings)


# --- what is made of them ------------------------------------------------------------------------


def test_a_layer_is_made_of_the_settings() -> None:
    settings = checked(num_joints=4, gate="hard_concrete", fill="mean")
    layer = settings.new_layer()
    assert (layer.num_joints, layer.fill) == (4, "mean")
    assert layer.gate == HardConcrete()
    assert float(layer.temperature) == pytest.approx(2 / 3)
    assert settings.new_layer() is not layer


def test_settings_are_written_as_plain_values() -> None:
    settings = checked(
        num_joints=4,
        input="x",
        axes="b t j c",
        budget=TargetJoints(2),
        gate=HardConcrete(0.8),
        groups={"a": [0, "joint_1"]},
        keep=["joint_3"],
        lr=0.1,
        fill="mean",
    )
    assert json.loads(json.dumps(settings.as_plain())) == {
        "axes": "b t j c",
        "budget": {"TargetJoints": {"count": 2}},
        "drop": [],
        "fill": "mean",
        "gate": {
            "HardConcrete": {
                "initial_keep_probability": 0.8,
                "temperature": 2 / 3,
                "low": -0.1,
                "high": 1.1,
            }
        },
        "groups": {"a": [0, 1]},
        "input": "x",
        "keep": [3],
        "lr": 0.1,
        "phases": [0.1, 0.6],
        "tied": False,
    }


def test_a_count_that_tied_groups_cannot_add_up_to_is_refused() -> None:
    groups = Groups({"a": [0, 1], "b": [2, 3]}, tied=True)
    with pytest.raises(ValueError, match="add up to but got 3"):
        made(num_joints=4, groups=groups, budget=3)
    with pytest.raises(ValueError, match="shorten keep"):
        made(
            num_joints=5,
            groups=Groups({"a": [0, 1], "b": [2, 3, 4]}, tied=True),
            budget=3,
            keep=[0],
        )


def test_a_held_joint_needs_frames_in_the_axes() -> None:
    with pytest.raises(ValueError, match=r"Expected an axis t .* got 'b j c'"):
        checked(num_joints=4, fill="hold", axes="b j c")
    with pytest.raises(ValueError, match=r"Expected an axis t .* got 'b j c'"):
        checked(num_joints=4, fill="hold").check_target(Target.parse("x", "b j c"))
    checked(num_joints=4, fill="hold", axes="b t (j c)")
    for axes, shape in (("b t (j c)", (2, 1, 8)), ("b (t j) c", (2, 4, 3))):
        with pytest.raises(ValueError, match=r"Expected several frames on axis t"):
            checked(num_joints=4, fill="hold", axes=axes).check_target(
                Target.parse("x", axes), shape
            )


def test_the_axes_of_people_are_offered_in_the_likelier_order_and_can_be_pasted() -> None:
    shape, unsure = (2, 8, 1, 4, 2), Target.parse("x", "b t m j c")
    with pytest.raises(ValueError, match=r"Pass axes='b t m j c' or .* axes='b c t j m'"):
        checked(num_joints=4, fill="hold").check_target(unsure, shape)
    checked(num_joints=4, fill="hold", axes="b t m j c").check_target(unsure, shape)
    wrong = Target.parse("x", "b c t j m")
    with pytest.raises(ValueError, match=r"Expected several frames on axis t .* got one"):
        checked(num_joints=4, fill="hold", axes="b c t j m").check_target(wrong, shape)


@pytest.mark.parametrize("fill", [-1.0, "mean", "hold", torch.zeros_like])
def test_axes_that_were_inferred_have_to_be_certain_for_a_fill(fill: Any) -> None:
    message = r"Expected axes for fill=.* which could be 'b c t j'\. Pass axes='b c t j'"
    unsure = Target.parse("x", "b c t j")
    with pytest.raises(ValueError, match=message):
        checked(num_joints=4, fill=fill).check_target(unsure)
    checked(num_joints=4, fill=fill, axes="b c t j").check_target(unsure)
    checked(num_joints=4, fill=fill).check_target(Target.parse("x", "b t j c"))
    checked(num_joints=4).check_target(unsure)


def test_a_function_that_fills_is_written_by_its_name() -> None:
    def pose(x: torch.Tensor, axes: tuple[str, ...]) -> torch.Tensor:
        return x.new_zeros(())

    settings = checked(num_joints=4, fill=pose)
    assert settings.as_plain()["fill"] == f"{__name__}.{pose.__qualname__}"
    assert settings.new_layer().fill is pose


@pytest.mark.parametrize("fill", [None, "median", float("nan")])
def test_a_fill_that_is_no_number_is_refused(fill) -> None:
    with pytest.raises(ValueError, match="Expected fill to be a finite number"):
        checked(num_joints=4, fill=fill)


def test_body_parts_of_the_skeleton_and_of_groups_are_dropped_by_name() -> None:
    holistic = get_skeleton("mediapipe_holistic")
    dropped = checked(skeleton="mediapipe_holistic", drop=["face"]).drop
    assert {holistic.joints[joint].partition("_")[0] for joint in dropped} == {"face"}
    assert len(dropped) == 468
    assert checked(num_joints=5, groups={"thumb": [1, 2]}, keep=["thumb", 0]).keep == (1, 2, 0)
