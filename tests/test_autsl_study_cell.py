"""One cell of a study: it goes on where it was killed, and sees the joints that it should."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from examples.autsl_encoders import GRUEncoder
from examples.autsl_selections import Cell, path_of
from examples.autsl_study_cell import KeepOnly, run_cell
from examples.autsl_synthetic import SyntheticSettings, make_synthetic
from tests.runs import SHORT_RUNS
from tests.test_autsl_study import ROOT, flags

pytestmark = SHORT_RUNS

KILLED = """
import json, os, signal, sys
from pathlib import Path
from lightning.pytorch.callbacks import ModelCheckpoint
from examples.autsl_study_cell import run_cell

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


def test_model_of_fixed_joints_sees_no_other() -> None:
    model = pl.LightningModule()
    model.branches = torch.nn.ModuleDict({"skeleton": GRUEncoder(4, 3, 32, 1, 0.0)})
    x, frames = torch.randn(2, 5, 4, 3), torch.ones(2, 5, dtype=torch.bool)
    before = model.branches["skeleton"](x, frames)
    only = KeepOnly([1, 3], 4)
    only.setup(None, model, "fit")
    seen = model.branches["skeleton"](x, frames)
    x[:, :, [0, 2]] = torch.nan
    torch.testing.assert_close(model.branches["skeleton"](x, frames), seen)
    x[:, :, [0, 2]] = 0.0
    only.teardown(None, model, "fit")
    torch.testing.assert_close(model.branches["skeleton"](x, frames), seen)
    assert not torch.equal(before, seen)
