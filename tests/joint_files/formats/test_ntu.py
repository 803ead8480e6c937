"""Test that `.skeleton` files of NTU RGB+D are read as their text says, and rewritten to npz."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lightning_jointprune.joint_files.labels import KEY
from lightning_jointprune.joint_files.rewrite import outputs_of, rewrite
from lightning_jointprune.joint_files.select import SelectJoints
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import get_skeleton
from tests.clips import BODY, joints, text_of

NAMES = get_skeleton("ntu_25").joints
KEPT = (0, 3, 11, 24)
SELECTION = JointSelection(KEPT, 25, NAMES, tuple(0.9 if j in KEPT else 0.1 for j in range(25)))
OTHER = "72057594037931368"


def test_a_body_keeps_its_place_among_the_people(tmp_path: Path) -> None:
    frames = [{BODY: joints(1)}, {OTHER: joints(2), BODY: joints(3)}, {}, {OTHER: joints(4)}]
    path = tmp_path / "S001C001P001R001A001.skeleton"
    path.write_text(text_of(frames))
    wanted = np.zeros((4, 2, 25, 4), np.float32)
    for frame, bodies in enumerate(frames):
        for body, values in bodies.items():
            wanted[frame, int(body == OTHER)] = values[:, [0, 1, 2, 11]]
    pick = SelectJoints(SELECTION, "t m j c")
    assert np.array_equal(pick.read(path), wanted[:, :, KEPT])
    ((source, target),) = outputs_of([path], tmp_path / "small").items()
    assert target.name == "S001C001P001R001A001.npz"
    assert rewrite(source, target, SELECTION).made
    assert not rewrite(source, target, SELECTION).made
    assert np.array_equal(np.load(target)["skeleton"], wanted[:, :, KEPT])
    assert json.loads(str(np.load(target)[KEY]))["joints"] == list(SELECTION.names)
    assert np.array_equal(pick.read(target), pick.read(path))


def test_one_body_needs_no_axis(tmp_path: Path) -> None:
    (tmp_path / "a.skeleton").write_text(text_of([{BODY: joints(1)}]))
    pick = SelectJoints(SELECTION, "c t j")
    assert np.array_equal(
        pick.read(tmp_path / "a.skeleton")[:, 0].T,
        joints(1)[list(KEPT)][:, [0, 1, 2, 11]].astype(np.float32),
    )


GOOD = text_of([{BODY: joints(1)}, {BODY: joints(2)}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD[:-120], "it is cut short or damaged: .* numbers are missing at its end"),
        ("", "1 numbers are missing"),
        (GOOD + "1\r\n", "Expected 2 frames .* but got more behind them, '1'"),
        (text_of([{}, {}]), "Expected a body in .* but got none in 2 frames"),
        (text_of([{BODY: joints(1, 20)}]), "a body has 20 joints and not 25"),
        (GOOD.replace("0.02764709", "?").replace("1 1 1 1 0", "x"), "cut short or damaged"),
        ("\u20ac", "cut short or damaged"),
    ],
    ids=["cut short", "empty", "more", "nobody", "of Kinect 1", "damaged", "no text"],
)
def test_a_bad_file_has_an_error_of_its_own_and_leaves_nothing(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.skeleton"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        rewrite(path, tmp_path / "small" / "a.npz", SELECTION)
    assert not (tmp_path / "small").exists()


def test_a_selection_of_another_skeleton_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.skeleton").write_text(GOOD)
    other = JointSelection((0,), 25, NAMES[::-1], (0.9, *[0.1] * 24))
    with pytest.raises(ValueError, match=r"in another order: .*skeleton=\"ntu_25\""):
        SelectJoints(other, "t j c").read(tmp_path / "a.skeleton")
