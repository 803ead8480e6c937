"""The kept joints are picked out of every layout, as einops would, and out of nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.record import JointSelection
from lightning_jointprune.selecting import SelectJoints

NAMES = ("wrist", "thumb", "index", "ring")
SIZES = {"b": 2, "t": 3, "j": 4, "c": 2, "m": 1, "s": 2}
LAYOUTS = ["b t j c", "b c t j", "b c t j m", "b t s j c", "b t (j c)", "b (c j)", "b (t j) c"]
LAYOUTS += ["b j c", "b (j t) c", "t j c", "t (j c)", "c t j"]


def selection_of(*kept: int) -> JointSelection:
    return JointSelection(kept, 4, NAMES, tuple(0.9 if j in kept else 0.1 for j in range(4)))


@pytest.mark.parametrize("axes", LAYOUTS)
@pytest.mark.parametrize("array", [False, True])
@given(kept=st.sets(st.integers(0, 3), min_size=1))
def test_the_kept_joints_are_picked(axes: str, array: bool, kept: set[int]) -> None:
    words = axes.replace("(", "").replace(")", "").split()
    x = torch.arange(np.prod([SIZES[word] for word in words])).view(*(SIZES[w] for w in words))
    indices = sorted(kept)
    wanted = rearrange(
        x.index_select(words.index("j"), torch.tensor(indices)), f"{' '.join(words)} -> {axes}"
    )
    whole: Any = rearrange(x, f"{' '.join(words)} -> {axes}")
    got = SelectJoints(selection_of(*indices), axes)(whole.numpy() if array else whole)
    assert isinstance(got, np.ndarray) == array
    assert torch.equal(torch.as_tensor(got), wanted)


def test_of_a_file_that_is_mapped_an_array_comes_back(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(5, 4, 2)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    got = SelectJoints(selection_of(1, 3), "t j c")(mapped)
    assert np.array_equal(got, x[:, [1, 3]])


def test_it_is_a_layer_in_front_of_a_model_of_so_many_joints() -> None:
    model = torch.nn.Sequential(SelectJoints(selection_of(0, 2), "b (j c)"), torch.nn.Linear(4, 1))
    x = torch.randn(3, 8)
    assert torch.equal(model(x), model[1](x[:, [0, 1, 4, 5]]))
    assert "2 of 4, axes='b (j c)'" in repr(model)
    assert list(model.state_dict()) == ["1.weight", "1.bias"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("wrist", "index", "thumb", "ring"), r"the 4 joints .* got 4, which differ from joint 1"),
        (NAMES[:3], r"the 4 joints of the selection but got 3, which differ from joint 3 on"),
    ],
)
def test_data_of_other_joints_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelectJoints(selection_of(0), joint_names=names)
    SelectJoints(selection_of(0), joint_names=list(NAMES))


def test_a_shape_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected 4 joints on axis j of 't j c' but got 5"):
        SelectJoints(selection_of(0), "t j c")(torch.zeros(3, 5, 2))
    with pytest.raises(ValueError, match="Expected 3 axes 't j c' but got 2"):
        SelectJoints(selection_of(0), "t j c")(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="axes"):
        SelectJoints(selection_of(0), "b t c")
