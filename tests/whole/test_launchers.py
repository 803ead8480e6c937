"""Strategies that train in other processes are refused; an evaluation there has the mask."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import DDPStrategy
from torch.multiprocessing import ProcessRaisedException

from lightning_jointprune import JointPruningCallback, analyze_pruning
from tests.runs import SHORT_RUNS, Classifier, J, clips, fit, pruning, trainer

pytestmark = [
    *SHORT_RUNS,
    pytest.mark.usefixtures("run_folder"),
    pytest.mark.filterwarnings("ignore:It is recommended to use `self.log"),
]


def metrics(model: Classifier, *callbacks: Any, **settings: Any) -> Any:
    """The metrics of a test."""
    return trainer(*callbacks, **settings).test(model, clips(2, seed=3), verbose=False)


@contextmanager
def raised_there() -> Iterator[None]:
    """Raise the error of another process here, out of its traceback."""
    try:
        yield
    except ProcessRaisedException as error:
        kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
        assert kind.endswith("MisconfigurationException")
        raise MisconfigurationException(message) from error


@pytest.fixture(scope="module")
def selected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, Any, Path]:
    """A pruned model, its callback and its checkpoint."""
    model, callback = Classifier(), pruning(dirpath=tmp_path_factory.mktemp("run"))
    run = fit(model, callback, max_epochs=3, train=clips(2))
    checkpoint = tmp_path_factory.mktemp("checkpoint") / "last.ckpt"
    run.save_checkpoint(checkpoint)
    model.calls.clear()
    return model, callback, checkpoint


@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp_spawn", "ddp_notebook"])
@pytest.mark.compatibility("Trainer", 'strategy="{strategy}", training', refused=True)
def test_training_in_other_processes_is_refused(strategy: str) -> None:
    refusal = r'DDPStrategy \((fork|spawn)\).*strategy="ddp"'
    with pytest.raises(MisconfigurationException, match=refusal), raised_there():
        fit(Classifier(), pruning(), strategy=strategy, train=clips(2))


def test_so_is_a_callback_that_the_model_makes_there() -> None:
    class Own(Classifier):
        def configure_callbacks(self) -> list[Any]:
            return [pruning()]

    refusal = "trains copies in processes of their own"
    with pytest.raises(MisconfigurationException, match=refusal), raised_there():
        fit(Own(), strategy=DDPStrategy(start_method="fork"), train=clips(2))


@pytest.mark.parametrize("strategy", ["ddp_fork", "ddp_spawn"])
@pytest.mark.compatibility("Trainer", 'strategy="{strategy}", evaluation of a pruned model')
def test_an_evaluation_in_other_processes_is_of_the_kept_joints(
    strategy: str, selected: tuple[Classifier, JointPruningCallback, Path]
) -> None:
    model, callback, _ = selected
    kept, expected = callback.selection, metrics(model)
    assert metrics(model, callback, strategy=strategy) == expected
    if strategy == "ddp_fork":  # another spawn takes seconds
        assert metrics(model, strategy=strategy) == expected
    assert callback.selection == kept
    assert analyze_pruning(model).indices == kept.indices


@pytest.mark.parametrize("saved", [False, True])
def test_a_callback_that_learns_the_mask_there_says_that_it_does_not_bring_it_back(
    saved: bool,
    selected: tuple[Classifier, JointPruningCallback, Path],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def show(message: Any, *_: Any) -> None:
        sys.stderr.write(f"{message}\n")

    warnings.simplefilter("always")
    monkeypatch.setattr(warnings, "showwarning", show)  # pytest hears nothing of other processes
    model, callback, checkpoint = selected
    fresh = JointPruningCallback(num_joints=J)
    run = trainer(fresh, strategy="ddp_fork")
    what = {"ckpt_path": checkpoint, "weights_only": False} if saved else {}
    found = run.test(Classifier() if saved else model, clips(2, seed=3), verbose=False, **what)
    assert found == metrics(model, callback)
    assert "does not bring these back" in capfd.readouterr().err
    assert fresh.selection.indices == tuple(range(J))
