"""A model that was pruned wears its mask until its owner takes it off, wherever it goes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from lightning_jointprune import JointPruningCallback, analyze_pruning
from lightning_jointprune.attach import attached_layers
from tests.runs import QUIET, SHORT_RUNS, Classifier, J, clips, pruning, trainer

pytestmark = [
    *SHORT_RUNS,
    pytest.mark.usefixtures("run_folder"),
    pytest.mark.filterwarnings("ignore:The model was pruned before"),
]


def reaching(model: nn.Module) -> tuple[int, ...]:
    """The joints that the output depends on."""
    x = next(iter(clips(1, seed=7)))[0]
    with torch.no_grad():
        plain = model.eval()(x)
        return tuple(
            joint
            for joint in range(J)
            if not torch.allclose(model(x.index_fill(2, torch.tensor(joint), 3.0)), plain)
        )


def pruned(model: Classifier, callback: JointPruningCallback) -> tuple[int, ...]:
    """The selection of a run with this callback."""
    trainer(callback, max_epochs=3).fit(model, clips(2), clips(1, seed=1))
    return callback.selection.indices


OPERATIONS = [
    "fit a new model",
    "fit again",
    "test",
    "validate",
    "predict",
    "test with a fresh callback",
    "predict with a fresh callback",
    "test without one",
    "train on without one",
    "deepcopy",
    "pickle",
    "callback from now on",
]
CHOSEN = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 3)), max_size=6)


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHOSEN)
def test_the_output_depends_on_the_models_own_selection_whatever_happens(
    operations: list[tuple[str, int]],
) -> None:
    callback = pruning()
    model = Classifier()
    worn: list[tuple[nn.Module, tuple[int, ...]]] = [(model, pruned(model, callback))]
    for what, place in operations:
        chosen, selection = worn[place % len(worn)]
        data = clips(1, seed=place)
        if what == "fit a new model":
            other = Classifier()
            worn.append((other, pruned(other, callback)))
        elif what == "fit again":
            worn[place % len(worn)] = (chosen, pruned(chosen, callback))
        elif what in ("test", "validate", "predict"):
            getattr(trainer(callback), what)(chosen, data)
        elif what.endswith("fresh callback"):
            getattr(trainer(pruning()), what.split()[0])(chosen, data)
        elif what == "test without one":
            trainer().test(chosen, data)
        elif what == "train on without one":
            trainer(max_epochs=1).fit(chosen, data)
        elif what == "deepcopy":
            worn.append((copy.deepcopy(chosen), selection))
        elif what == "pickle":
            chosen.calls.clear()
            worn.append((pickle.loads(pickle.dumps(chosen)), selection))
        else:
            callback = pruning()
        for worn_model, kept in worn:
            assert reaching(worn_model) == kept
            assert analyze_pruning(worn_model).indices == kept


def test_a_fresh_callback_adopts_what_a_model_wears() -> None:
    model = Classifier()
    kept = pruned(model, pruning())
    fresh = JointPruningCallback(num_joints=J)
    trainer(fresh).test(model, clips(1))
    assert fresh.selection.indices == kept
    fresh.detach()
    assert not attached_layers(model)
    assert type(model) is Classifier


def test_one_trainer_of_a_callback_prunes_two_models() -> None:
    callback = pruning()
    both = trainer(callback, max_epochs=3)
    first, second = Classifier(), Classifier()
    both.fit(first, clips(2), clips(1, seed=1))
    kept = callback.selection.indices
    both.fit_loop.epoch_progress.reset()
    trainer(callback, max_epochs=3).fit(second, clips(2, seed=3), clips(1, seed=1))
    assert reaching(first) == kept
    assert reaching(second) == callback.selection.indices


def test_a_checkpoint_of_a_model_of_before_has_its_mask_though_another_was_trained(
    tmp_path: Any,
) -> None:
    callback, model = pruning(), Classifier()
    kept = pruned(model, callback)
    pruned(Classifier(), callback)
    without = trainer(max_epochs=1, **{**QUIET, "enable_checkpointing": False})
    without.fit(model, clips(1))
    without.save_checkpoint(tmp_path / "on.ckpt")
    from lightning_jointprune import load_pruned

    assert analyze_pruning(load_pruned(Classifier, tmp_path / "on.ckpt")).indices == kept


def test_a_new_search_on_a_pruned_model_says_that_its_mask_goes() -> None:
    model = Classifier()
    pruned(model, pruning())
    with pytest.warns(UserWarning, match="was pruned before, to 3 of 8 joints. The search begins"):
        pruned(model, pruning())


def test_a_callback_of_other_joints_takes_no_mask_away_in_a_test() -> None:
    model = Classifier()
    kept = pruned(model, pruning())
    trainer(JointPruningCallback(num_joints=5)).test(model, clips(1))
    assert reaching(model) == kept
