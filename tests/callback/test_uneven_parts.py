"""Parts whose joints have channels of their own, in one flat frame or as several inputs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, fx, nn
from torch.utils.data import DataLoader

from lightning_jointprune import (
    JointPruningCallback,
    JointPruningLayer,
    SelectJoints,
    compact,
    evaluate_joints,
    load_pruned,
)
from lightning_jointprune.attach import Target, attach, detach
from lightning_jointprune.compaction.tracing import CompactionError
from tests.runs import (
    INFORMATIVE,
    SHORT_RUNS,
    SIGNS,
    Classifier,
    J,
    T,
    clips,
    fit,
    pruning,
    trainer,
)

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]

AXES = "b t (3*3 + 5*2)"  # the first 3 joints of 8 have a third channel
WIDTH = 3 * 3 + 5 * 2
START = [0, 3, 6, 9, 11, 13, 15, 17, 19]  # of each joint's values


def flat(batches: int = 8, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    made = []
    for x, sign in clips(batches, seed=seed):
        seen = torch.full_like(x[:, :, :3, :1], 0.5)  # a visibility
        first = torch.cat([x[:, :, :3], seen], dim=3).flatten(2)
        made.append((torch.cat([first, x[:, :, 3:].flatten(2)], dim=2), sign))
    return made


def given(batches: Any) -> Any:
    return DataLoader(batches, batch_size=None)


class Flat(Classifier):
    """A classifier of flat frames."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(T * WIDTH, SIGNS)


class InParts(Flat):
    """The same with the first 3 joints and the other 5 as two arguments."""

    def forward(self, body: Tensor, hand: Tensor) -> Tensor:
        return super().forward(torch.cat([body, hand], dim=2))

    def __call__(self, x: Tensor) -> Tensor:
        found: Tensor = super().__call__(x[:, :, :9], x[:, :, 9:])
        return found


def used(model: nn.Module) -> list[int]:
    """The joints whose values the output depends on."""
    x = flat(1)[0][0]
    with torch.no_grad():
        before = model.eval()(x)
        changes = []
        for first, last in pairwise(START):
            changed = x.clone()
            changed[:, :, first:last] += 1.0
            changes.append(not torch.equal(model(changed), before))
    return [joint for joint, change in enumerate(changes) if change]


@pytest.mark.compatibility("Models", "parts with channels of their own: `b t (33*4 + 42*3)`")
@pytest.mark.parametrize("fill", [0.0, -1.0, "mean"])
@pytest.mark.parametrize(("kind", "place"), [(Flat, None), (InParts, "body + hand")])
def test_joints_of_parts_are_found_kept_and_dropped_whole(
    kind: type[Flat], place: str | None, fill: Any
) -> None:
    model, callback = kind(), pruning(budget=2, axes=AXES, input=place, fill=fill)
    fit(model, callback, train=given(flat()), val=given(flat(2, seed=1)))
    assert callback.selection.indices == INFORMATIVE
    assert used(model) == list(INFORMATIVE)


@pytest.mark.parametrize(("kind", "place"), [(Flat, None), (InParts, "body + hand")])
def test_a_run_of_parts_is_loaded_and_resumed(
    kind: type[Flat], place: str | None, tmp_path: Path
) -> None:
    saves = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    whole, resumed = (pruning(budget=2, axes=AXES, input=place) for _ in range(2))
    data = given(flat()), given(flat(2, seed=1))
    fit(kind(), whole, saves, train=data[0], val=data[1], enable_checkpointing=True)
    trainer(resumed).fit(kind(), *data, ckpt_path=tmp_path / "epoch=2.ckpt")
    assert resumed.selection.keep_probabilities == whole.selection.keep_probabilities
    assert used(load_pruned(kind, tmp_path / "epoch=4.ckpt")) == list(INFORMATIVE)


def test_a_pruned_model_of_parts_is_evaluated_recorded_and_not_compacted(tmp_path: Path) -> None:
    model, callback = Flat(), pruning(budget=2, axes=AXES)
    fit(model, callback, train=given(flat()), val=given(flat(2, seed=1)))
    worth = evaluate_joints(model, given(flat(4, seed=2)), how=("drop", "permute"), progress=False)
    assert {*worth.drop} == {*worth.permute} == {f"joint_{joint}" for joint in INFORMATIVE}
    assert all(cost.value > 0.2 for cost in worth.drop.values())
    x = flat(1)[0][0]
    picked = SelectJoints(callback.selection, AXES)(x)
    kept = [place for j in INFORMATIVE for place in range(START[j], START[j + 1])]
    assert torch.equal(picked, x[:, :, kept])
    with pytest.raises(CompactionError, match=r"one number of channels .*export_model"):
        compact(model, callback.selection, x)


def test_what_torch_fx_records_is_gated_too() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(T * WIDTH, 1)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.head(x.flatten(1))
            return found

    model, layer, x = Head().eval(), JointPruningLayer(J), flat(1)[0][0]
    layer.freeze(torch.tensor([joint in INFORMATIVE for joint in range(J)]))
    attach(model, Target.parse("x", AXES), layer.eval())
    assert used(model) == list(INFORMATIVE)
    assert torch.equal(fx.symbolic_trace(model)(x), model(x))
    detach(model)


def test_what_a_refusal_offers_can_be_pasted() -> None:
    class Frames(Flat):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(T * 258, SIGNS)

    batch = torch.randn(4, T, 258), torch.arange(4)
    model = Frames()
    advice = JointPruningCallback.inspect(model, batch, skeleton="mediapipe_body_hands").advice
    axes = "b t (33*4 + 42*3)"
    assert f'axes="{axes}"' in advice
    found = JointPruningCallback.inspect(model, batch, skeleton="mediapipe_body_hands", axes=axes)
    assert (found.input, found.axes) == ("x", axes)
    with pytest.raises(MisconfigurationException, match=r'pass axes="b t \(3\*3 \+ 5\*2\)"'):
        fit(InParts(), pruning(input="body + hand"), train=given(flat()), num_sanity_val_steps=0)


def test_parts_in_another_order_than_a_named_skeletons_are_refused_at_once() -> None:
    axes = "b t (33*4 + 468*3 + 21*3 + 21*3)"
    with pytest.raises(MisconfigurationException, match='skeleton="mediapipe_body_face_hands"'):
        JointPruningCallback(skeleton="mediapipe_holistic", axes=axes)
    JointPruningCallback(skeleton="mediapipe_body_face_hands", axes=axes)
