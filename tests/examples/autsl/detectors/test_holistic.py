"""Test that what Holistic finds becomes arrays, and that an installation without it is said."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from examples.autsl.detectors.holistic import Holistic, read_results


def test_results_of_mediapipe_are_read_block_by_block() -> None:
    def marks(size: int, at: float) -> SimpleNamespace:
        points = [SimpleNamespace(x=at, y=i, z=-at, visibility=0.25) for i in range(size)]
        return SimpleNamespace(landmark=points)

    nothing = dict.fromkeys(
        ["face_landmarks", "left_hand_landmarks", "pose_landmarks", "right_hand_landmarks"]
    )
    some = {"pose_landmarks": marks(33, 1.0), "right_hand_landmarks": marks(21, 2.0)}
    results = [SimpleNamespace(**nothing), SimpleNamespace(**{**nothing, **some})]
    found = read_results(results, "x 1")
    assert np.isnan(found.joints[0]).all()
    assert np.isnan(found.joints[1, :489]).all()
    np.testing.assert_array_equal(found.joints[1, 489:522, 1], np.arange(33))
    np.testing.assert_array_equal(found.joints[1, 522], [2, 0, -2])
    np.testing.assert_array_equal(found.found, [[False] * 4, [False, False, True, True]])
    assert np.isnan(found.visibility[0]).all()
    assert (found.visibility[1] == 0.25).all()


def test_model_for_holistic_and_a_mediapipe_without_it_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match=r"Expected no model for .* but got a\.task\. Leave"):
        Holistic((Path("a.task"),))
    monkeypatch.setitem(sys.modules, "mediapipe", SimpleNamespace(__version__="1.2.3"))
    with pytest.raises(
        ValueError, match=r"up to 0\.10\.21, .* but got 1\.2\.3\. .*--detector mediap"
    ):
        Holistic().load()
