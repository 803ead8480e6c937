"""Each phase shows the model the joints that it should, and lasts as long as was asked."""

from __future__ import annotations

import math

import pytest

from lightning_jointprune import JointPruningCallback, Price
from tests.callback.watched import kinds, masks
from tests.runs import BATCHES, INFORMATIVE, SHORT_RUNS, Classifier, J, clips, fit, pruning, trainer

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


def test_the_sanity_check_and_the_warmup_see_all_joints() -> None:
    model = Classifier()
    fit(model, pruning())

    assert set(kinds(model, "sanity_check").values()) == {"open"}
    assert [kinds(model, "train")[step] for step in range(BATCHES)] == ["open"] * BATCHES
    assert kinds(model, "validate")[BATCHES] == "open"


def test_the_search_trains_noisy_gates_and_validates_the_hard_mask() -> None:
    model, callback = Classifier(), pruning(Price(1.0))
    fit(model, callback)

    assert [kinds(model, "train")[step] for step in range(8, 24)] == ["sampled"] * 16
    assert kinds(model, "validate")[16] == kinds(model, "validate")[24] == "masked"
    in_search = [call.kept for call in model.of("validate") if call.step == 24]
    assert sum(in_search[0]) == callback.record.history[2].active_joints < J


def test_the_final_phase_trains_and_validates_on_exactly_the_frozen_mask() -> None:
    model, callback = Classifier(), pruning()
    fit(model, callback)

    assert [kinds(model, "train")[step] for step in range(24, 40)] == ["masked"] * 16
    late = {tuple(call.kept) for call in model.of("validate") if call.step > 24}
    assert masks(model, "train") == late == {callback.selection.mask}
    assert sum(callback.selection.mask) == 3


@pytest.mark.parametrize("phases", [(0.0, 0.5), (0.1, 0.9), (0.19, 0.41)])
def test_phases_begin_where_they_were_asked_to(phases: tuple[float, float]) -> None:
    model = Classifier()
    fit(model, pruning(phases=phases))

    seen = [kinds(model, "train")[step] for step in range(40)]
    warm, end = math.ceil(phases[0] * 40 - 1e-9), math.ceil(phases[1] * 40 - 1e-9)
    warm = max(1, warm)  # the first batch shows where the joints are
    assert seen == ["open"] * warm + ["sampled"] * (end - warm) + ["masked"] * (40 - end)


def test_the_informative_joints_are_the_ones_that_are_kept() -> None:
    callback = JointPruningCallback(num_joints=J)
    fit(Classifier(), callback, train=clips(32), max_epochs=15)

    assert callback.selection.indices == INFORMATIVE
    assert callback.selection.metrics["val_acc"] >= callback.selection.metrics_all_joints["val_acc"]


def test_phases_share_what_a_resumed_plain_checkpoint_has_left() -> None:
    run = trainer(max_epochs=5)
    run.fit(Classifier(), clips(), clips(2))
    run.save_checkpoint("plain.ckpt")
    model, callback = Classifier(), pruning()
    trainer(callback, max_epochs=10).fit(model, clips(), clips(2), ckpt_path="plain.ckpt")
    epochs = [call.kind for call in model.of("train")[::BATCHES]]
    assert epochs == ["open", "sampled", "sampled", "masked", "masked"]
