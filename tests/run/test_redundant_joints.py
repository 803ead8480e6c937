"""Frames that pass anyway say which joints are redundant, and looking at them changes nothing."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightning_jointprune import JointPruningCallback, JointSelection, PruningRecord
from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.measure.redundancy import redundancy
from lightning_jointprune.run import first_batches
from lightning_jointprune.run.first_batches import KEPT_FRAMES, ROWS, Redundancy
from tests.runs import SHORT_RUNS, C, Classifier, J, T, clips, fit, pruning, trainer

pytestmark = SHORT_RUNS
COPIES, FOLLOWER = (0, 2, 3, 5), 7  # of joint 1, and a joint with correlation 0.8 to joint 4
TRUTH = 1 / (1 + 0.3**2)  # R² with which joint 1 foretells a copy


# --- looking ------------------------------------------------------------------------------------


def watched(joints: int = 3) -> tuple[Redundancy, JointPruningLayer]:
    seen, layer = Redundancy(joints), JointPruningLayer(joints)
    layer.mode = "open"
    seen.watch(layer)
    return seen, layer


def step(seen: Redundancy, layer: JointPruningLayer, x: Tensor, warm: bool = True) -> None:
    seen.begin_step(warm)
    layer(x)


def batch(seed: int, samples: int = 16, frames: int = 20) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, frames, 3, 2, generator=random)
    x[:, :, 2] += 2 * x[:, :, 0]
    return x


def test_few_frames_of_steps_all_over_the_warm_up_are_kept() -> None:
    seen, layer = watched()
    steps = 5 * KEPT_FRAMES // ROWS
    for number in range(steps):
        step(seen, layer, torch.full((16, 20, 3, 2), 1.0 + number))
    seen.begin_step(warm=True)
    kept = [int(frames[0, 0, 0]) - 1 for frames in seen.frames]
    assert KEPT_FRAMES / 2 < sum(map(len, seen.frames)) <= KEPT_FRAMES
    assert kept == list(range(0, steps, seen.stride))
    seen.begin_step(warm=False)
    layer(batch(0))
    assert (seen.frames, seen._parts, len(layer._forward_pre_hooks)) == ([], {}, 0)


def test_a_run_without_a_warm_up_goes_on_until_there_are_enough() -> None:
    seen, layer = watched()
    layer.mode = "sampled"
    for number in range(KEPT_FRAMES // ROWS // 2):
        assert not seen.over
        step(seen, layer, batch(number), warm=False)
    seen.state_dict(), seen.percent()  # asked for between two steps
    seen.begin_step(warm=False)
    assert seen.over
    assert (seen.percent() is not None, seen.frames) == (True, [])


@pytest.mark.parametrize(
    ("samples", "frames"), [(16, 128), (128, 16), (64, 64), (1, 500), (499, 1)]
)
def test_the_frames_of_a_step_are_spread_over_samples_and_time(samples: int, frames: int) -> None:
    seen, layer = watched(1)
    place = torch.stack(
        torch.meshgrid(torch.arange(samples), torch.arange(frames), indexing="ij"), -1
    )
    for turn in range(3):
        step(seen, layer, 1.0 + place.view(samples, frames, 1, 2))
        seen.begin_step(warm=True)
        found = seen.frames[turn][:, 0] - 1
        assert len(found.unique(dim=0)) == len(found) == ROWS
        for axis, size in enumerate((samples, frames)):
            counts = found[:, axis].long().bincount(minlength=size)
            quarters = torch.stack([part.sum() for part in counts.tensor_split(min(size, 4))])
            assert quarters.min() >= 0.6 * ROWS / min(size, 4)
    assert not torch.equal(seen.frames[0], seen.frames[1])


def test_parts_with_axes_and_channels_of_their_own_are_put_together() -> None:
    seen, layer = watched()
    x = batch(0)
    seen.begin_step(warm=True)
    for _ in range(2):  # a model may read the skeleton twice in a step
        layer(x[:, :, :2].permute(0, 3, 1, 2), ("b", "c", "t", "j"), range(2))
        layer(x[:, :, 2:, :1], joints=range(2, 3))
    whole = x.clone()
    whole[:, :, 2, 1] = 0.0
    expected = redundancy(whole.flatten(0, 1)[first_batches._spread(320, ROWS, 0, x.device)])
    seen.begin_step(warm=True)
    assert torch.equal(seen.percent(), (100 * expected).round().to(torch.uint8))


def test_a_part_that_is_not_in_every_step_is_missing_there() -> None:
    seen, layer = watched()
    for number in range(6):
        x = batch(number)
        seen.begin_step(warm=True)
        layer(x[:, :, :2], joints=range(2))
        if number % 2:
            layer(x[:, :, 2:], joints=range(2, 3))
    seen.begin_step(warm=True)
    percent: Any = seen.percent()
    assert percent[2, 0].item() == pytest.approx(80, abs=5)
    assert percent[2, 1].item() < 5
    layer(torch.randn(4, 9, 2, 2), joints=range(2))  # frames that do not belong to each other
    layer(torch.randn(4, 8, 1, 2), joints=range(2, 3))
    seen.begin_step(warm=True)
    assert len(seen.frames) == 6


def test_it_goes_on_where_its_state_was_saved() -> None:
    seen, layer = watched()
    for number in range(5):
        step(seen, layer, batch(number))
    again, resumed = watched()
    again.load_state_dict(copy.deepcopy(seen.state_dict()))
    for watcher, gates in ((seen, layer), (again, resumed)):
        for number in range(5, 50):
            step(watcher, gates, batch(number))
        watcher.begin_step(warm=False)
    assert seen.over
    assert torch.equal(seen.percent(), again.percent())
    last: Any = Redundancy(3)
    last.load_state_dict(seen.state_dict())
    assert last.state_dict()["frames"] == []
    assert torch.equal(last.percent(), seen.percent())


def test_what_cannot_be_measured_costs_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Tensor) -> Tensor:
        raise RuntimeError("no memory")

    monkeypatch.setattr(first_batches, "redundancy", fail)
    seen, layer = watched()
    step(seen, layer, batch(0))
    seen.begin_step(warm=True)
    with pytest.warns(UserWarning, match="no memory"):
        assert seen.percent() is None
    assert seen.percent() is None
    assert not layer._forward_pre_hooks


# --- a run --------------------------------------------------------------------------------------


class Run(NamedTuple):
    """Hold a run with planted redundant joints, and where it was."""

    callback: JointPruningCallback
    model: Classifier
    path: Path


def redundant() -> DataLoader[Any]:
    """Return clips with copies of joint 1 and a follower of joint 4, in the order that they had."""
    x, sign = clips(size=64).dataset.tensors
    random = torch.Generator().manual_seed(3)
    deviation = x[:, :, 1].std((0, 1))
    for copied in COPIES:
        noise = 0.3 * deviation * torch.randn(len(x), T, C, generator=random)
        x[:, :, copied] = x[:, :, 1] + noise
    own = torch.randn(len(x), T, C, generator=random)
    x[:, :, FOLLOWER] = 0.8 * x[:, :, 4] / x[:, :, 4].std((0, 1)) + 0.6 * own
    return DataLoader(TensorDataset(x, sign), batch_size=64)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("run")
    callback = pruning(keep=[1, 4], budget=2, dirpath=path)
    saving = ModelCheckpoint(path, "{epoch}", save_top_k=-1)
    torch.manual_seed(0)
    model = Classifier()
    fit(model, callback, saving, train=redundant(), enable_checkpointing=True)
    return Run(callback, model, path)


def test_every_copy_is_named_with_its_r2(run: Run) -> None:
    found = run.callback.selection.stand_ins
    assert set(found) == {"joint_1", "joint_4"}
    copies = {f"joint_{joint}": pytest.approx(TRUTH, abs=0.05) for joint in COPIES}
    assert found["joint_1"] == copies
    assert found["joint_4"] == {f"joint_{FOLLOWER}": pytest.approx(0.64, abs=0.05)}
    assert list(found["joint_1"].values()) == sorted(found["joint_1"].values(), reverse=True)
    r2 = torch.tensor(run.callback.record.redundancy)
    assert r2[6, [0, 1, 2, 3, 4, 5, 7]].max() < 0.05
    assert r2[0, 2].item() == pytest.approx(TRUTH**2, abs=0.05)  # of one copy by another


def test_record_and_selection_in_the_files_have_them(run: Run) -> None:
    record = PruningRecord.from_json(run.path)
    assert record == run.callback.record
    assert JointSelection.from_json(run.path).stand_ins == record.selection.stand_ins


@pytest.mark.parametrize("epoch", [0, 3])
def test_a_run_that_is_resumed_names_the_same(epoch: int, run: Run, tmp_path: Path) -> None:
    callback = pruning(keep=[1, 4], budget=2, dirpath=tmp_path)
    saved = run.path / f"epoch={epoch}.ckpt"
    trainer(callback).fit(Classifier(), redundant(), clips(2, seed=1), ckpt_path=saved)
    assert callback.record.redundancy == run.callback.record.redundancy
    assert callback.selection.stand_ins == run.callback.selection.stand_ins


def test_the_training_is_bit_for_bit_that_of_a_run_that_does_not_look(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Redundancy, "watch", lambda *_: None)
    callback = pruning(keep=[1, 4], budget=2, dirpath=tmp_path)
    torch.manual_seed(0)
    model = Classifier()
    fit(model, callback, train=redundant())
    assert callback.selection.stand_ins == {}
    assert callback.record.redundancy == ()
    assert callback.selection.keep_probabilities == run.callback.selection.keep_probabilities
    assert all(map(torch.equal, model.losses, run.model.losses))
    assert all(map(torch.equal, model.parameters(), run.model.parameters()))


def test_a_ladders_smaller_selection_has_its_own(run: Run) -> None:
    record = run.callback.record
    smaller = JointSelection((4,), J, record.selection.joint_names, (0.5,) * J)
    found = PruningRecord(
        record.selection, rungs=(record.selection, smaller), redundancy=record.redundancy
    ).selection_of(1)
    assert found.stand_ins == {"joint_4": record.selection.stand_ins["joint_4"]}
