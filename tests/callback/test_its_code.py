"""The callback's class reads in the order of a run, and its state is where one looks for it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_jointprune import JointPruningCallback
from tests.runs import SHORT_RUNS, Classifier, clips, fit, pruning, trainer

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]
CLASS = ast.parse(textwrap.dedent(inspect.getsource(JointPruningCallback))).body[0]
assert isinstance(CLASS, ast.ClassDef)
METHODS = {node.name: node for node in CLASS.body if isinstance(node, ast.FunctionDef)}
HOOKS = [name for name in METHODS if name == "setup" or name.startswith("on_")]


def assigned(method: ast.FunctionDef) -> set[str]:
    """The attributes of `self` that a method sets."""
    return {
        node.attr
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and getattr(node.value, "id", None) == "self"
    }


def test_every_attribute_is_born_in_init() -> None:
    born = assigned(METHODS["__init__"])
    late = {name: assigned(method) - born for name, method in METHODS.items()}
    assert {name: found for name, found in late.items() if found} == {}


def run(callback: JointPruningCallback, folder: Path) -> None:
    """A run that goes on from a checkpoint, and its test."""
    saving = ModelCheckpoint(folder, filename="run", save_on_train_epoch_end=True)
    settings: dict[str, Any] = {"enable_checkpointing": True, "num_sanity_val_steps": 0}
    fit(Classifier(), pruning(2), saving, max_epochs=2, **settings)
    fitted = trainer(callback, saving, **settings)
    fitted.fit(Classifier(), clips(), clips(2, seed=1), ckpt_path=folder / "run.ckpt")
    fitted.test(Classifier(), clips(2, seed=1), verbose=False)


def test_a_whole_run_adds_no_attribute(tmp_path: Path) -> None:
    callback = pruning(2)
    born = set(vars(callback))
    run(callback, tmp_path)
    assert set(vars(callback)) - {"log", "log_dict"} == born  # which are Lightning's


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_does_no_arithmetic(hook: str) -> None:
    assert [
        ast.unparse(node) for node in ast.walk(METHODS[hook]) if isinstance(node, ast.BinOp)
    ] == []


def test_the_hooks_stand_in_the_order_in_which_a_run_calls_them(tmp_path: Path) -> None:
    called: list[str] = []

    def listening(hook: str) -> Any:
        def listen(self: JointPruningCallback, *args: Any, **kwargs: Any) -> Any:
            called.append(hook)
            return getattr(JointPruningCallback, hook)(self, *args, **kwargs)

        return listen

    callback = pruning(2)
    callback.__class__ = type(
        "Listening", (JointPruningCallback,), {hook: listening(hook) for hook in HOOKS}
    )
    run(callback, tmp_path)
    assert list(dict.fromkeys(called)) == [hook for hook in HOOKS if hook != "on_exception"]
