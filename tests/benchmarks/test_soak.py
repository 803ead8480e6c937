"""benchmarks/soak.py: a run that is killed and resumed ends as one that is left alone."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch

from benchmarks.soak import EPOCH, SAVED, Soak, Stream, compare, drawn, equal, whole
from lightning_jointprune import JointSelection

FORKS = "fork" in multiprocessing.get_all_start_methods()


@pytest.mark.skipif(not FORKS, reason="a new interpreter for each process would take a minute")
@pytest.mark.filterwarnings("ignore:The search had .* steps")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_run_that_is_killed_three_times_ends_as_one_that_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(record: object, path: Path) -> Path:
        path.write_text("<html></html>")
        return path

    monkeypatch.setattr("lightning_jointprune.report.write_report", short)  # as for the children
    found = compare(tmp_path, seed=0, steps=4 * EPOCH, kills=3, start="fork")
    assert found["same"] == {"gates": True, "weights": True, "optimizer": True}
    assert found["same_record"]
    assert len(found["resumed"]) == 3
    assert (found["checked"] > 0, found["damaged"]) == (True, [])


def test_half_of_the_kills_are_drawn_where_a_checkpoint_is_saved(tmp_path: Path) -> None:
    kills = drawn(Soak(tmp_path, 2000, 0), 20)
    steps = [step for step, _ in kills]
    assert steps == sorted(set(steps))
    assert (len(steps), sum((step + 1) % SAVED == 0 for step in steps)) == (20, 10)
    assert kills == drawn(Soak(tmp_path, 2000, 0), 20) != drawn(Soak(tmp_path, 2000, 1), 20)


def test_a_file_that_was_cut_short_is_not_whole(tmp_path: Path) -> None:
    saved, selection, page = (tmp_path / name for name in ("1.ckpt", "selection.json", "a.html"))
    torch.save({"weights": torch.ones(100)}, saved)
    JointSelection((0,), 2, ("a", "b"), (0.9, 0.1)).to_json(selection)
    page.write_text("<html>text</html>\n")
    for path in (saved, selection, page):
        assert whole(path)
        path.write_bytes(path.read_bytes()[:-9])
        assert not whole(path)


def test_equal_values_are_the_same_in_every_bit() -> None:
    state = {"a": [torch.ones(2), 1.0], "b": (True, "x")}
    assert equal(state, {"a": [torch.ones(2), 1.0], "b": (True, "x")})
    assert not equal(state, {"a": [torch.tensor([1.0, 1.0 + 1e-7]), 1.0], "b": (True, "x")})
    assert not equal(state, {"a": [torch.ones(2)], "b": (True, "x")})


def test_a_stream_goes_on_where_it_was(tmp_path: Path) -> None:
    stream, other = Stream(0, 5), Stream(0, 5)
    batches = [sign for _, sign in stream]
    before = iter(other)
    next(before), next(before)
    again = Stream(0, 5)
    again.load_state_dict(other.state_dict())
    assert all(torch.equal(*pair) for pair in zip((y for _, y in again), batches[2:], strict=True))
