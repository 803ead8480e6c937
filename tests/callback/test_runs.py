"""Several runs, of one model or of several, do not mix."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_jointprune import Price, load_pruned
from lightning_jointprune.attach.layers import worn_layers
from tests.callback.watched import kinds, masks
from tests.runs import SHORT_RUNS, Classifier, clips, fit, pruning, trainer

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


def test_a_second_model_starts_from_nothing_and_the_first_keeps_its_mask() -> None:
    callback, model = pruning(), Classifier()
    first = Classifier()
    fit(first, callback)
    fit(model, callback)

    assert len(worn_layers(first)) == 1
    assert callback._search.layer not in worn_layers(first)
    callback.detach(first)
    assert "forward" not in first.__dict__  # it has its own forward back
    assert kinds(model, "train")[0] == "open"
    assert [snapshot.step for snapshot in callback.record.history] == [8, 16, 24, 32, 40]
    assert masks(model, "train") == {callback.selection.mask}


def test_the_same_model_in_a_new_trainer_starts_from_nothing() -> None:
    callback, model = pruning(), Classifier()
    fit(model, callback)
    model.calls.clear()
    fit(model, callback)
    assert [kinds(model, "train")[step] for step in (0, 8, 24)] == ["open", "sampled", "masked"]


def test_a_continued_run_keeps_its_mask() -> None:
    callback, model = pruning(), Classifier()
    run = fit(model, callback)
    mask = callback.selection.mask
    model.calls.clear()
    run.fit_loop.max_epochs += 2
    run.fit(model, clips(), clips(2))

    assert set(kinds(model, "sanity_check").values()) == {"open"}
    assert set(kinds(model, "train").values()) == {"masked"}
    assert masks(model, "train") == {mask} == {callback.selection.mask}
    assert [snapshot.step for snapshot in callback.record.history][-2:] == [48, 56]


def test_validation_alone_before_any_training_sees_all_joints() -> None:
    model = Classifier()
    trainer(pruning()).validate(model, clips(2), verbose=False)
    assert set(kinds(model, "validate").values()) == {"open"}


@pytest.mark.compatibility("Checkpoints", "arguments of numpy's numbers")
def test_settings_from_numpy_leave_a_checkpoint_that_loads() -> None:
    callback = pruning(Price(np.float64(0.01)), lr=np.float64(0.5), fill=np.float32(0.25))
    fit(Classifier(), callback).save_checkpoint("last.ckpt")
    assert load_pruned(Classifier, "last.ckpt")
