"""One cell of a study: it goes on where it was killed, and sees the joints that it should."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from filelock import FileLock

from examples.autsl.data.module import SignData
from examples.autsl.data.synthetic import SyntheticSettings, make_synthetic
from examples.autsl.study.cell import _flags, run_cell, see_only
from examples.autsl.study.selections import Cell, path_of
from examples.autsl_fusion import FusionCLI, SignFusion
from tests.examples.autsl.study.test_study import ROOT, flags
from tests.runs import SHORT_RUNS

pytestmark = SHORT_RUNS

KILLED = """
import json, os, signal, sys
from pathlib import Path
from lightning.pytorch.callbacks import ModelCheckpoint
from examples.autsl.study.cell import run_cell

folder, cell, last = sys.argv[1:]
del sys.argv[1:]
save = ModelCheckpoint.on_train_epoch_end

def save_and_die(self, trainer, module):
    save(self, trainer, module)
    if trainer.current_epoch == int(last):
        os.kill(os.getpid(), signal.SIGKILL)

ModelCheckpoint.on_train_epoch_end = save_and_die
run_cell(json.loads(cell), Path(folder))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SyntheticSettings(signs=2, clips=(24, 8, 8), signers=(3, 2, 2), size=16)
    return make_synthetic(tmp_path_factory.mktemp("synthetic"), settings)


def written(cell: Cell, folder: Path) -> Cell:
    return json.loads(path_of(cell, folder).read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("selection", "joints", "last"), [("ladder", [8, 3], 2), ("random", [5], 4)]
)
def test_killed_cell_ends_as_if_it_had_not_been(
    tmp_path: Path, folder: Path, selection: str, joints: list[int], last: int
) -> None:
    cell = {"encoder": "bert", "seed": 1, "selection": selection, "joints": joints}
    cell["args"] = flags(folder)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), json.dumps(cell), str(last)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, env={**os.environ})
    assert killed.returncode == -signal.SIGKILL
    target = path_of(cell, tmp_path / "killed")
    assert not target.exists()
    checkpoint = tmp_path / "killed" / "runs" / target.stem / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["epoch"] == last

    for name in ("whole", "killed"):
        run_cell(cell, tmp_path / name)
    whole, resumed = (written(cell, tmp_path / name) for name in ("whole", "killed"))
    assert resumed == whole
    assert [len(result["kept"]) for result in whole["results"]] == joints
    assert {*whole["results"][-1]["kept"]} <= {*whole["results"][0]["kept"]}
    weights = [
        torch.load(tmp_path / name / "runs" / target.stem / "last.ckpt", weights_only=True)
        for name in ("whole", "killed")
    ]
    torch.testing.assert_close(weights[1]["state_dict"], weights[0]["state_dict"], rtol=0, atol=0)


def spoil(folder: Path, joints: list[int]) -> None:
    for path in folder.rglob("*_skeleton.npy"):
        clip = np.load(path)
        clip[:, joints] = 7.0 * clip[:, joints] + 3.0
        np.save(path, clip)


@pytest.mark.parametrize("reference", [[], [1, 5]])
def test_model_of_fixed_joints_sees_no_other(tmp_path: Path, reference: list[int]) -> None:
    """Neither by itself nor through what the clips are centred by."""
    made = SyntheticSettings(signs=2, clips=(6, 4, 4), signers=(2, 1, 1), size=16)
    folder = make_synthetic(tmp_path, made)
    batches = []
    for _ in range(2):
        data = SignData(str(folder), "skeleton", reference=reference, mark_gaps=True)
        see_only(SignFusion(2, 42, 4, ("skeleton",), hidden_size=32), data, [1, 3, 5])
        data.setup("fit")
        batches.append(next(iter(data.val_dataloader()))["skeleton_keypoints"])
        spoil(folder, [joint for joint in range(42) if joint not in (1, 3, 5)])
    assert batches[0][:, :, [1, 3, 5], :3].std() > 0
    assert torch.equal(*batches)


def test_reference_that_a_model_would_see_without_its_counting_is_refused(folder: Path) -> None:
    data = SignData(str(folder), "skeleton", reference=[1, 5])
    see_only(SignFusion(2, modalities=("skeleton",)), data, [1, 3])
    with pytest.raises(ValueError, match=r"reference joints \[1, 5\] to be kept"):
        data.setup("fit")


@pytest.mark.parametrize("encoder", ["st-gcn", "joint-tokens"])
def test_graph_and_attention_are_those_of_the_fixed_joints(folder: Path, encoder: str) -> None:
    model = SignFusion(2, modalities=("skeleton",), encoder=encoder, skeleton="mediapipe_hands")
    see_only(model, SignData(str(folder), "skeleton"), [1, 3])
    assert model.branches["skeleton"].kept.nonzero().flatten().tolist() == [1, 3]


def cell_of(folder: Path, **changes: object) -> Cell:
    args = [*flags(folder), "--trainer.max_epochs=2"]
    return {"encoder": "gru", "seed": 0, "selection": "all", "joints": [], "args": args} | changes


def test_checkpoint_that_was_cut_off_is_left_and_the_run_begins_anew(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = cell_of(folder)
    run = tmp_path / "runs" / path_of(cell, tmp_path).stem
    for _ in range(2):
        run_cell(cell, tmp_path)
        results = written(cell, tmp_path)
        path_of(cell, tmp_path).unlink()
        last = run / "last.ckpt"
        last.write_bytes(last.read_bytes()[:-100])
    assert "last.ckpt is cut off; the run begins anew" in capsys.readouterr().err
    run_cell(cell, tmp_path)
    assert written(cell, tmp_path) == results


def test_cell_that_another_process_runs_is_left_to_it(tmp_path: Path, folder: Path) -> None:
    cell = cell_of(folder)
    run = tmp_path / "runs" / path_of(cell, tmp_path).stem
    run.mkdir(parents=True)
    with FileLock(run / "running.lock"), pytest.raises(SystemExit, match="another process runs it"):
        run_cell(cell, tmp_path)


def test_cell_that_was_finished_meanwhile_is_not_run_again(tmp_path: Path, folder: Path) -> None:
    cell = cell_of(folder)
    path_of(cell, tmp_path).parent.mkdir()
    path_of(cell, tmp_path).write_text("{}")
    run_cell(cell, tmp_path)
    assert written(cell, tmp_path) == {}


def test_all_selections_are_tested_in_the_precision_they_were_trained_in(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested, test = [], pl.Trainer.test

    def spy(self: pl.Trainer, *args: object, **keywords: object) -> object:
        tested.append(self.precision)
        return test(self, *args, **keywords)

    monkeypatch.setattr(pl.Trainer, "test", spy)
    args = [*flags(folder), "--trainer.max_epochs=5", "--trainer.precision=bf16-mixed"]
    run_cell(cell_of(folder, args=args), tmp_path)
    run_cell(cell_of(folder, args=args, selection="ladder", joints=[8, 3]), tmp_path)
    assert tested == 3 * ["bf16-mixed"]


def test_cell_is_one_process_unless_it_is_told_otherwise(tmp_path: Path, folder: Path) -> None:
    """Lightning would start others with this one's command, which has no cell any more."""
    assert FusionCLI(_flags(cell_of(folder), tmp_path)).trainer.num_devices == 1
    two = cell_of(folder, args=[*flags(folder), "--trainer.devices=2"])
    assert FusionCLI(_flags(two, tmp_path)).config.trainer.devices == "2"
