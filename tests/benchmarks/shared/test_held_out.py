"""benchmarks/shared/held_out.py: no sequence is in two parts, and training is as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.shared.data import Planted, make_planted
from benchmarks.shared.held_out import SESSIONS, SUBJECTS, by_row, planted_parts, recorded_parts

CLASSES = 3


def recording(path: Path, **marks: np.ndarray) -> Path:
    """Write a recording whose sequences can be told apart by their first value."""
    x = np.zeros((24, 2, 4, 3), np.float32)
    x[:, 0, 0, 0] = np.arange(24)
    y = np.repeat(np.arange(CLASSES), 8)
    np.savez(path, x=x, y=y, test=np.arange(24) % 8 >= 6, **marks)
    return path


def order_of(part: torch.utils.data.TensorDataset) -> list[int]:
    """Return the sequences of a part by their first values, which standardising keeps in order."""
    return part.tensors[0][:, 0, 0, 0].tolist()


def test_rows_are_held_out_from_the_end_of_each_class() -> None:
    y, usable = np.repeat([0, 1], 8), np.tile(np.arange(8) < 4, 2)
    assert np.flatnonzero(by_row(y, usable)).tolist() == [3, 11]


def test_no_sequence_is_in_two_parts_and_none_is_lost(tmp_path: Path) -> None:
    parts = recorded_parts(recording(tmp_path / "rows.npz"))
    values = [order_of(part) for part in parts[:3]]
    assert [len(part) for part in values] == [12, 6, 6]
    assert len({value for part in values for value in part}) == 24
    assert parts.classes == CLASSES


def test_whole_subjects_and_sessions_are_held_out(tmp_path: Path) -> None:
    subject = np.array([SUBJECTS[0], "another"])[np.arange(24) % 2]
    by_subject = recorded_parts(recording(tmp_path / "subjects.npz", subject=subject))
    assert len(by_subject.validation) == 9  # of 18 that are not tested on
    session = np.array(["a", SESSIONS[0], "b"])[np.arange(24) % 3]
    by_session = recorded_parts(
        recording(tmp_path / "sessions.npz", subject=subject, session=session)
    )
    held = np.flatnonzero((session == SESSIONS[0]) & (np.arange(24) % 8 < 6))
    ranks = np.argsort(np.argsort([v for part in by_session[:3] for v in order_of(part)]))
    first = len(by_session.train)
    assert ranks[first : first + len(held)].tolist() == held.tolist()


def test_only_the_classes_with_a_clean_split_are_read(tmp_path: Path) -> None:
    word = np.repeat([True, False, True], 8)
    parts = recorded_parts(recording(tmp_path / "words.npz", word=word))
    assert parts.classes == 2
    assert sum(len(part) for part in parts[:3]) == 16


def test_a_planted_set_is_trained_on_as_elsewhere() -> None:
    settings = Planted(joints=5, informative=2, classes=3, frames=2, train=30)
    parts, other = planted_parts(settings, 1), make_planted(settings, 1)
    for ours, theirs in zip(parts.train.tensors, other.train.tensors, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert list(parts.informative) == other.informative
    assert (len(parts.validation), len(parts.test)) == (500, 1000)
    assert parts.subset([4, 1]).train.tensors[0].equal(parts.train.tensors[0][:, :, [4, 1]])
