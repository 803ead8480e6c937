"""Test that the skeleton input is found in one training step, or refused with what to pass."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.attach.detect import check_input, resolve, resolve_parts
from lightning_jointprune.attach.hooks import Target
from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.attach.probe import Seen
from tests.attach.test_probe import seen_in, states
from tests.zoo.models import ZOO, B, C, J, Parts, T, TwoStreams, WholeBatch

# Models of the zoo that need their axes or their input to be told.
AXES_NEEDED = {row[0] for row in ZOO if "(" in row[3]} | {"streams"}
INPUT_NEEDED = {"several_skeletons"}


def saw(
    *shape: int, path: tuple[str, ...] = ("x",), dtype: torch.dtype = torch.float32, **more: Any
) -> Seen:
    return Seen(more.pop("module", ""), path, shape, dtype, **more)


@pytest.mark.parametrize(("name", "factory", "where", "axes"), ZOO, ids=[row[0] for row in ZOO])
def test_the_skeleton_of_every_model_is_found(
    name: str, factory: Any, where: str, axes: str
) -> None:
    model = factory()
    batch, before = model.batch(), states(model)
    seen = seen_in(model, lambda: model.training_step(batch, 0))
    assert states(model) == before
    target = resolve(
        seen,
        model.joints,
        where if name in INPUT_NEEDED else None,
        axes if name in AXES_NEEDED else None,
    )
    assert (target.input, target.axes) == (where, axes)
    assert resolve(seen, model.joints, where, axes) == target
    check_input(model, where)


def test_the_outermost_call_decides() -> None:
    outer, inner = saw(B, T, J, C), saw(B, C, T, J, module="net", depth=1)
    assert resolve([outer, inner], J).input == "x"
    assert resolve([saw(B, T, J * C), inner], J) == Target.parse("net:x", "b c t j")


def test_what_the_model_computed_is_no_input() -> None:
    hidden = saw(B, T, J, module="head", downstream=True, requires_grad=True)
    deep = saw(B, T, J, module="a.b", depth=1, requires_grad=True)
    with pytest.raises(
        ValueError, match=r"(?s)Expected an input with 21 joints but got none.*head:x"
    ):
        resolve([hidden], J)
    with pytest.raises(ValueError, match=r'If one is the skeleton, pass input="a\.b:x"'):
        resolve([deep], J)
    assert resolve([saw(B, T, J, requires_grad=True)], J).axes == "b t j"  # a leaf of the user's
    assert resolve([hidden], J, "head:x").input == "head:x"


def test_it_is_said_that_a_training_step_passes_the_models_forward_by() -> None:
    """As one does that calls a method of the model, and no module."""
    flat = saw(B, T, J * C + 1, module="gru")
    with pytest.raises(ValueError, match=r"does not call the model's own forward.*nn\.Module"):
        resolve([flat], J)
    with pytest.raises(ValueError, match=r"but got none") as caught:
        resolve([flat, saw(B, 3)], J)
    assert "own forward" not in str(caught.value)


def test_a_target_that_reaches_a_loss_or_metric_is_no_input() -> None:
    x = saw(B, T, J, C, module="net")
    target = saw(B, T, J, C, module="metric", path=("target",), trains=False)
    assert resolve([x, target], J).input == "net:x"
    with pytest.raises(ValueError, match='pass input="metric:target"'):
        resolve([target], J)
    before = saw(B, T, J, C, module="normalise", trains=False)
    with pytest.raises(
        ValueError, match=r'(?s)but got 2:\n.*\nPass input="normalise:x" or input="net:x"'
    ) as caught:
        resolve([before, x], J)
    assert "  normalise:x  (4, 8, 21, 3)  float32\n" in str(caught.value)


def test_several_candidates_are_refused_with_what_to_paste() -> None:
    seen = [saw(B, T, J, C, path=("batch", name)) for name in ("joints", "bones")]
    with pytest.raises(
        ValueError,
        match=r"Expected one input with 21 joints but got 2:\n"
        r"  batch\.joints  \(4, 8, 21, 3\)  float32\n  batch\.bones  \(4, 8, 21, 3\)  float32\n"
        r'Pass input="batch\.joints" or input="batch\.bones"\.',
    ):
        resolve(seen, J)
    assert resolve(seen, J, "joints").input == "batch.joints"


def test_a_flat_skeleton_beside_its_confidences_is_not_overlooked() -> None:
    seen = [saw(B, T, J * C), saw(B, T, J, path=("confidence",))]
    with pytest.raises(ValueError, match=r'but got 2:\n[^"]*Pass input="x" or input="confidence"'):
        resolve(seen, J)
    assert resolve(seen, J, "confidence").axes == "b t j"
    # A flat target of a loss is not an input, and video is not a flat skeleton.
    loss = saw(B, J * C, module="criterion", path=("target",), trains=False)
    assert resolve([saw(B, T, J, C), loss, saw(B, 3, T, 2 * J, 2 * J)], J).input == "x"


def test_a_bare_name_may_be_a_key_where_it_is_unique() -> None:
    one_key = saw(B, T, J, C, path=("batch", "pose", "keypoints"))
    again = saw(B, T, J, C, path=("batch", "face", "keypoints"))
    deeper = saw(B, T, J, C, module="net", path=("keypoints",), depth=1)
    assert resolve([one_key, deeper], J, "keypoints").input == "batch.pose.keypoints"
    assert resolve([one_key, again], J, "pose.keypoints").input == "batch.pose.keypoints"
    assert resolve([one_key, deeper], J, "net:keypoints").input == "net:keypoints"
    with pytest.raises(
        ValueError,
        match=r"(?s)Expected one input called 'keypoints' but got 2:.*"
        r'Pass input="batch\.pose\.keypoints" or input="batch\.face\.keypoints"',
    ):
        resolve([one_key, again], J, "keypoints")
    # An argument of the root's forward comes first.
    assert resolve([saw(B, J, C, path=("keypoints",)), again], J, "keypoints").path == (
        "keypoints",
    )


def test_a_named_input_that_got_no_tensor_is_refused() -> None:
    seen = [saw(B, T, J, C, path=("batch", "pose")), saw(B, 3, path=("rgb",))]
    with pytest.raises(
        ValueError, match=r"(?s)Expected a tensor in input 'bach\.pose'.*Pass input=\"batch\.pose\""
    ):
        resolve(seen, J, "bach.pose")
    with pytest.raises(
        ValueError, match=r"(?s)input 'batch' .*Pass input=\"batch\.pose\""
    ) as caught:
        resolve(seen, J, "batch")
    assert "rgb" not in str(caught.value)
    with pytest.raises(ValueError, match=r"(?s)Expected a tensor in input 'x'.*nothing"):
        resolve([], J, "x")


def test_several_axes_of_that_length_are_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"Expected one axis of 8 joints but got 2 in input `x` of shape \(4, 8, 8, 3\)\. "
        r'Pass axes="b t j c" or axes="b j t c"\.',
    ):
        resolve([saw(B, 8, 8, C)], 8)
    assert resolve([saw(B, 8, 8, C)], 8, axes="b t j c").axes == "b t j c"
    assert resolve([saw(8, 8, C)], 8).axes == "b j c"  # the batch is never the joints


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    """Draw shapes in which any axis may be as long as there are joints or flat coordinates."""
    length = st.sampled_from([1, 2, 3, 5, J, J + 1, 2 * J, 3 * J, 4 * J, 6 * J])
    return (B, *draw(st.lists(length, min_size=1, max_size=4)))


@given(shapes())
def test_between_two_axes_that_could_be_the_joints_none_is_guessed(shape: tuple[int, ...]) -> None:
    alone = [place for place in range(1, len(shape)) if shape[place] == J]
    flat = shape[-1] in [c * J for c in range(2, 13 if len(shape) == 3 else 5)]
    if len(alone) == 1 and not flat:
        target = resolve([saw(*shape)], J)
        assert target.layout.groups.index(("j",)) == alone[0]
        return
    with pytest.raises(ValueError, match="Expected") as caught:
        resolve([saw(*shape)], J, "x")
    if not alone and not flat:
        return
    for axes in re.findall(r'axes="([^"]+)"', str(caught.value)):  # each can be pasted
        assert resolve([saw(*shape)], J, axes=axes).axes == axes
    offered = [Layout.parse(axes) for axes in re.findall(r'axes="([^"]+)"', str(caught.value))]
    assert {layout.groups.index(("j",)) for layout in offered if ("j",) in layout.groups} >= {
        *alone
    }
    assert not flat or any("j" in layout.groups[-1] for layout in offered)


def test_of_frames_as_many_as_joints_and_flat_coordinates_the_likelier_comes_first() -> None:
    with pytest.raises(ValueError, match=r'got 1, or 21 frames .* axes="b t \(j c\)" or .*"b j c"'):
        resolve([saw(B, J, 3 * J)], J)


def test_a_composed_axis_is_never_guessed() -> None:
    for where in (None, "x"):
        with pytest.raises(ValueError, match=r'pass axes="b t \(j c\)" or axes="b t \(c j\)"'):
            resolve([saw(B, T, J * C)], J, where)
    with pytest.raises(ValueError, match=r'axes="b t \(c j\)" and input="y"'):
        resolve([saw(B, T, J * C, path=("y",)), saw(B, T, J * C, path=("z",))], J)
    assert resolve([saw(B, T, J * C), saw(B, 7, path=("y",))], J, axes="b t (c j)").input == "x"


def test_a_wrong_number_of_joints_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"Expected an axis of 75 joints but got none in input `x` of shape "
        r"\(8, 16, 543, 3\)\. Pass num_joints=543 or skeleton=\"mediapipe_holistic\"",
    ):
        resolve([saw(8, 16, 543, 3)], 75, "x")
    with pytest.raises(
        ValueError, match=r"(?s)Expected an input with 75 joints.*\(8, 16, 543, 3\)"
    ):
        resolve([saw(8, 16, 543, 3)], 75)
    with pytest.raises(ValueError, match=r"Expected 75 joints on axis j of 'b t j c' but got 543"):
        resolve([saw(8, 16, 543, 3)], 75, "x", "b t j c")
    with pytest.raises(ValueError, match=r"Expected an input with 75 joints under axes 'b t j c'"):
        resolve([saw(8, 16, 543, 3)], 75, axes="b t j c")
    with pytest.raises(ValueError, match="but got none in input `x` of shape"):
        resolve([saw(8)], 75, "x")


def test_integers_empty_batches_and_silence_are_refused() -> None:
    whole = saw(B, T, J, C, dtype=torch.int64)
    for where in (None, "x"):
        with pytest.raises(
            ValueError, match=r"Expected a floating tensor in input `x` but got torch.int64\. Cast"
        ):
            resolve([whole], J, where)
    assert resolve([whole, saw(B, J, path=("y",))], J).input == "y"
    with pytest.raises(
        ValueError, match="Expected at least one sample in input `x` but got an emp"
    ):
        resolve([saw(0, T, J, C)], J)
    with pytest.raises(ValueError, match="but got no tensor in any forward of the model"):
        resolve([], J)


def test_a_long_list_is_cut() -> None:
    seen = [saw(B, T, path=(f"x{n}",)) for n in range(40)]
    with pytest.raises(ValueError, match="… and 28 more"):
        resolve(seen, J)


def test_an_input_that_cannot_be_is_refused_before_there_is_data() -> None:
    model = TwoStreams()
    for fine in ("keypoints", "any_key", "streams.pose:x", ":rgb", "keypoints.0"):
        check_input(model, fine)
    check_input(WholeBatch(), "batch.skeleton.0")
    with pytest.raises(
        ValueError,
        match=r"Expected input to name a submodule but got `streams.poes`; TwoStreams has "
        r"`streams`.*Did you mean input=\"streams.pose:…\"\?",
    ):
        check_input(model, "streams.poes:x")
    with pytest.raises(
        ValueError,
        match=r"Expected input to start with an argument of that forward but got 'keypoint'; it "
        r'takes rgb, keypoints\. Pass input="keypoints\.0"\.',
    ):
        check_input(model, "keypoint.0")
    with pytest.raises(ValueError, match=r"Expected input as \[module path:\]argument"):
        check_input(model, "streams:")


# --- parts ---------------------------------------------------------------------------------------


def parts(
    *sizes: int, before: tuple[int, ...] = (B, T), after: tuple[int, ...] = (C,)
) -> list[Seen]:
    return [
        saw(*before, size, *after, path=(name,)) for name, size in zip("xyz", sizes, strict=False)
    ]


@pytest.mark.parametrize("text", ["body + left + right", "body+left+right", " body+ :left +right "])
def test_parts_are_numbered_through_in_their_order(text: str) -> None:
    model = Parts()
    check_input(model, text)
    seen = seen_in(model, lambda: model.training_step(model.batch(), 0))
    found = resolve_parts(seen, J, text)
    assert [target.input for target in found] == ["body", "left", "right"]
    assert [target.joints for target in found] == [range(5), range(5, 13), range(13, 21)]
    assert {target.axes for target in found} == {"b t j c"}
    turned = resolve_parts(seen, J, "right + body + left")
    assert [target.joints for target in turned] == [range(8), range(8, 13), range(13, 21)]


def test_one_input_has_no_parts() -> None:
    seen = [saw(B, T, J, C)]
    assert resolve_parts(seen, J) == resolve_parts(seen, J, "x") == (resolve(seen, J),)


def test_parts_may_have_channels_of_their_own_and_joints_on_any_axis() -> None:
    seen = [saw(B, 4, T, 5, path=("x",)), saw(B, 3, T, 16, path=("y",))]
    assert {t.axes for t in resolve_parts(seen, J, "x + y")} == {"b c t j"}


@pytest.mark.parametrize(
    ("axes", "before", "lengths"),
    [("b t (j c)", (B, T), (15, 48)), ("b t (c j)", (B, T), (15, 48)), ("b (j c)", (B,), (15, 48))],
)
def test_parts_may_share_an_axis_with_their_channels(
    axes: str, before: tuple[int, ...], lengths: tuple[int, int]
) -> None:
    seen = parts(*lengths, before=before, after=())
    assert [t.joints for t in resolve_parts(seen, J, "x + y", axes)] == [range(5), range(5, 21)]


def test_parts_that_do_not_add_up_are_refused_with_the_shape_of_each() -> None:
    seen = parts(5, 8, 9)
    with pytest.raises(
        ValueError,
        match=r"Expected parts that hold 21 joints together on one axis but got none:\n"
        r"  x  \(4, 8, 5, 3\)  float32\n  y  \(4, 8, 8, 3\).*\n  z  \(4, 8, 9, 3\).*\nPass num_jo",
    ):
        resolve_parts(seen, J, "x + y + z")
    for axes in ("b t j c", "b t (j c)", "b t j"):
        with pytest.raises(ValueError, match="but got none"):
            resolve_parts(seen, J, "x + y + z", axes)
    with pytest.raises(ValueError, match="but got none"):  # of another number of axes
        resolve_parts([*parts(5), saw(B, 16, C, path=("y",))], J, "x + y")


def test_parts_that_add_up_on_several_axes_are_refused() -> None:
    seen = [saw(B, 8, 8, C, path=(name,)) for name in "xy"]
    with pytest.raises(
        ValueError, match=r'several such axes:.*\n.*\n.*\nPass axes="b j t c" or axe'
    ):
        resolve_parts(seen, 16, "x + y")
    assert resolve_parts(seen, 16, "x + y", "b t j c")[1].joints == range(8, 16)
    frames = parts(5, 11)  # 8 + 8 frames as well, but those are no parts
    assert resolve_parts(frames, 16, "x + y")[0].axes == "b t j c"


def test_frames_that_add_up_are_not_joints_where_flat_parts_differ() -> None:
    flat = [saw(B, 4, 9, path=("x",)), saw(B, 4, 10, path=("y",))]  # 3 joints of 3, 5 of 2
    with pytest.raises(ValueError, match=r'channels of their own, pass axes="b t \(3\*3 \+ 5\*2\)'):
        resolve_parts(flat, 8, "x + y")
    found = resolve_parts(flat, 8, "x + y", "b t (3*3 + 5*2)")
    assert [target.joints for target in found] == [range(3), range(3, 8)]


def test_a_part_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected a tensor in input 'w'"):
        resolve_parts(parts(5, 16), J, "x + w")
    with pytest.raises(ValueError, match=r"Expected different parts but got 'x \+ x'"):
        resolve_parts(parts(5, 16), 10, "x + x")
    with pytest.raises(ValueError, match=r"floating tensor in input `y` but got torch\.int64"):
        resolve_parts([*parts(5), saw(B, T, 16, C, path=("y",), dtype=torch.int64)], J, "x + y")
    with pytest.raises(ValueError, match="start with an argument of that forward but got 'lift'"):
        check_input(Parts(), "body + lift.0")
    with pytest.raises(ValueError, match=r"Expected input as \[module path:\]argument"):
        check_input(Parts(), "body + ")


def test_parts_are_proposed_where_no_tensor_fits_but_several_do_together() -> None:
    rgb = saw(B, T, 4, 4, path=("rgb",))
    seen = [rgb, *parts(5, 8, 8), saw(B, path=("y",))]
    with pytest.raises(ValueError, match=r'If these are its parts, pass input="x \+ y \+ z"\.'):
        resolve_parts(seen, J)
    with pytest.raises(ValueError, match=r'input="x \+ y \+ z"'):
        resolve_parts(seen, J, axes="b t j c")
    model = Parts()  # where a submodule gets them as one, that is the input
    seen = seen_in(model, lambda: model.training_step(model.batch(), 0))
    assert [target.input for target in resolve_parts(seen, J)] == ["encoder:x"]
    with pytest.raises(ValueError, match="none") as caught:
        resolve_parts([*parts(5, 8), saw(B, T, 8, C, module="head", path=("z",))], J)
    assert "parts" not in str(caught.value)  # not of one call


def test_a_wrong_number_of_joints_is_answered_with_the_sizes_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"skeleton= of the data, which has axes of 60, 27, 8\.$"):
        resolve([saw(16, 60, 27, 8)], 26)
