"""Test that a refusal names an input that has the joints first, and never only a wrong one."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_jointprune.attach.detect import also_fitting, check_input, resolve, resolve_parts
from lightning_jointprune.attach.probe import Seen
from tests.attach.test_detect import saw
from tests.attach.test_probe import seen_in

B, T, J, C = 4, 8, 21, 3
SKELETON = saw(B, T, J, C, path=("batch", "joints"))
FLAT = saw(B, T, J * C, path=("batch", "flat"))
WRONG = {
    "mask": saw(B, T, J, path=("batch", "mask"), dtype=torch.bool),
    "counts": saw(B, T, J, path=("batch", "counts"), dtype=torch.int64),
    "hidden": saw(B, T, J, module="head", requires_grad=True, downstream=True),
    "video": saw(B, 3, 16, 16, path=("batch", "video")),
    "features": saw(B, T, 8 * J, path=("batch", "features")),
    "target": saw(B, T, J, C, module="metric", path=("target",), trains=False),
}


def refused(seen: list[Seen], *how: Any) -> list[str]:
    """The inputs that the refusal offers, in their order."""
    with pytest.raises(ValueError, match="Expected") as caught:
        resolve(seen, J, *how)
    return re.findall(r'input="([^"]+)"', str(caught.value))


@given(st.lists(st.sampled_from(sorted(WRONG)), unique=True, min_size=1), st.booleans())
def test_beside_wrong_tensors_a_skeleton_is_found_and_a_flat_one_offered(
    names: list[str], first: bool
) -> None:
    others = [WRONG[name] for name in names]
    at = 0 if first else len(others)
    if "target" in names[:at]:  # a module without parameters may prepare the input
        assert "batch.joints" in refused([*others[:at], SKELETON, *others[at:]])
        return
    assert resolve([*others[:at], SKELETON, *others[at:]], J).input == "batch.joints"
    seen = [*others[:at], FLAT, *others[at:]]
    with pytest.raises(ValueError, match=r'pass axes="b t \(j c\)" or axes="b t \(c j\)"') as told:
        resolve(seen, J)
    assert "batch.mask" not in re.findall(r'input="([^"]+)"', str(told.value))
    assert "features" not in str(told.value).rpartition("\n")[2]


@pytest.mark.parametrize("name", ["mask", "counts", "hidden", "video", "features"])
def test_who_names_a_wrong_input_is_told_the_right_one(name: str) -> None:
    wrong = WRONG[name]
    if name == "hidden":  # which may be meant
        assert resolve([SKELETON, wrong], J, wrong.input).input == wrong.input
        return
    assert refused([wrong, SKELETON], wrong.input)[0] == "batch.joints"


def test_of_a_container_without_the_named_key_what_can_be_gated_is_offered_likelier_first() -> None:
    inside = [WRONG["mask"], WRONG["counts"], WRONG["video"], SKELETON]
    assert refused(inside, "batch") == ["batch.joints"]
    assert refused(inside, "pose")[0] == "batch.joints"
    assert refused(inside, "batch.jonts") == ["batch.joints"]
    assert refused([WRONG["mask"]], "pose") == ["…"]
    masks = [saw(B, T, path=("a", "x"), dtype=torch.bool), saw(B, T, J, C, path=("b", "x"))]
    assert resolve(masks, J, "x").input == "b.x"


def test_several_flat_inputs_are_all_offered() -> None:
    again = saw(B, J * C, path=("batch", "again"))
    assert refused([FLAT, again, WRONG["features"]]) == ["batch.flat", "batch.again"]


def test_an_argument_that_is_none_is_answered_with_all_there_are() -> None:
    class Two(nn.Module):
        def forward(self, video: Tensor, keypoints: Tensor) -> Tensor:
            return video

    with pytest.raises(ValueError, match=r'Pass input="video\.0" or input="keypoints\.0"\.'):
        check_input(Two(), "q.0")


def test_an_input_beside_the_one_that_was_found_is_told() -> None:
    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.denoise = nn.Linear(J, 4), nn.Bilinear(J, 4, J)

        def step(self, x: Tensor) -> Tensor:
            noisy = x[:, 1] + torch.randn_like(x[:, 1])
            found: Tensor = self.denoise(noisy, self.encode(x[:, 0]))
            return found

    model = Step()
    seen = seen_in(model, lambda: model.step(torch.randn(B, 2, J)))
    targets = resolve_parts(seen, J)
    assert [target.input for target in targets] == ["encode:input"]
    assert also_fitting(seen, targets, J) == ("denoise:input1",)
    inner = saw(B, T, J, C, module="encoder", depth=1)  # of which the outer is the source
    assert also_fitting([SKELETON, inner, *WRONG.values()], resolve_parts([SKELETON], J), J) == ()
