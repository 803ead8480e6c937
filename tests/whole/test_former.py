"""Files of earlier states of the package load: a pickled model, a checkpoint, a record.

The files in `former` are of one run: ten joints in two channels, of which three are kept.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from lightning_jointprune import PruningRecord, from_compact, load_pruned
from lightning_jointprune.attach import attached_layers

FORMER = Path(__file__).parent / "former"
KEPT = (1, 3, 6)


class Toy(pl.LightningModule):
    """The model of that run: a linear classifier of 8 frames of 10 joints."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8 * 10 * 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


@pytest.fixture
def clips() -> Tensor:
    return torch.linspace(-1.0, 1.0, 4 * 8 * 10 * 2).view(4, 8, 10, 2)


EXPECTED = torch.tensor(  # by the state that wrote the files
    [
        [1.642444133758545, -1.389240026473999],
        [0.7181984186172485, -0.6457328796386719],
        [-0.20604711771011353, 0.09777461737394333],
        [-1.130292534828186, 0.8412819504737854],
    ]
)


def test_a_pickled_model_of_before_loads_with_its_mask(clips: Tensor) -> None:
    model = torch.load(FORMER / "model.pt", weights_only=False)
    torch.testing.assert_close(model(clips), EXPECTED)
    ((_, layer),) = attached_layers(model)
    assert tuple(layer.get_active_joints()) == KEPT


def test_a_checkpoint_of_before_gives_the_pruned_model(clips: Tensor, tmp_path: Path) -> None:
    checkpoint = shutil.copy(FORMER / "run_ckpt.pt", tmp_path / "run.ckpt")
    torch.testing.assert_close(load_pruned(Toy, checkpoint)(clips), EXPECTED)


def test_a_record_of_before_is_read() -> None:
    assert PruningRecord.from_json(FORMER / "pruning_record.json").selection.indices == KEPT


def test_a_compact_model_of_before_loads(clips: Tensor) -> None:
    model = from_compact(FORMER / "small.safetensors", Toy)
    torch.testing.assert_close(model(clips[:, :, list(KEPT)]), EXPECTED)
