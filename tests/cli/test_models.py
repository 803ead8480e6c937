"""Test `jointprune compact` and `export`, from a checkpoint to a smaller model and a program."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import onnxruntime
import pytest
import torch

from lightning_jointprune import (
    JointPruningCallback,
    JointSelection,
    SelectJoints,
    analyze_pruning,
    from_compact,
    load_pruned,
)
from lightning_jointprune.cli.main import main
from tests.runs import QUIET, SHORT_RUNS
from tests.zoo.models import CallsItself, J, WholeBatch, loader

pytestmark = [
    *SHORT_RUNS,
    pytest.mark.usefixtures("run_folder", "one_table_of_operations"),
    pytest.mark.filterwarnings("ignore:.*takes exactly"),
]
MODEL = ["--model", "tests.zoo.models:CallsItself"]
SHAPE = ["--shape", f"3,8,{J},3"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return the checkpoint of a short run, in a folder of its own."""
    model = CallsItself()
    callback = JointPruningCallback(J, lr=0.5, dirpath=tmp_path / "run")
    trainer = pl.Trainer(max_epochs=10, callbacks=[callback], **QUIET)
    trainer.fit(model, loader(model), loader(model, 2))
    path = tmp_path / "run" / "last.ckpt"
    trainer.save_checkpoint(path)
    return path


def test_from_a_runs_folder_to_a_compact_model_and_a_program(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compact", str(checkpoint.parent), *MODEL, *SHAPE, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    small = from_compact(said["file"], CallsItself)
    model, x = load_pruned(CallsItself, checkpoint), torch.randn(2, 8, J, 3)
    (layer,) = said["cut"]
    assert layer == "encoder.head.weight"
    kept = said["cut"][layer]["after"][1] // 24
    assert 0 < kept < J
    assert main(["export", said["file"], *MODEL, *SHAPE, "--fixed"]) == 0
    assert "any batch;" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(checkpoint.with_name("small.onnx"))
    picked = x[:, :, model.__dict__["_joint_gates"][0].layer.get_active_joints()]
    got = torch.from_numpy(session.run(None, {"x": picked.numpy()})[0])
    torch.testing.assert_close(got, model(x).detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(small(picked), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("more", [["--all"], ["--whole"]])
def test_a_checkpoint_is_exported_as_it_is_asked_for(
    checkpoint: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(checkpoint), *MODEL, *SHAPE, "--to", "torch", "--json", "--fixed"]
    assert main([*words, *more]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["path"].endswith("small.pt2")
    joints = {"joints": ""}
    torch.export.load(said["path"], extra_files=joints)
    assert (len(json.loads(joints["joints"])["names"]) == J) == (more == ["--all"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compact", "nowhere", *MODEL], "checkpoint or a run's folder but got nowhere"),
        (["compact", ".", *MODEL], "folder with one checkpoint but got . with 0: none"),
        (["export", "a.safetensors", *MODEL, "--joints", "3", "--all"], "for --joints, --all but"),
        (
            ["compact", "a.ckpt", "--model", "tests.zoo.models"],
            "package.module:Class but got tests",
        ),
        (["compact", "a.ckpt", "--model", "tests.nope:A"], "No module named 'tests.nope'"),
        (["compact", "a.ckpt", "--model", "tests.zoo.models:B"], "a module's class as"),
        (["compact", "a.ckpt", "--model", ":A"], "package.module:Class but got :A"),
        (["compact", "a.ckpt", "--model", ".models:A"], "package.module:Class but got .models:A"),
        (["compact", "a.ckpt", "--model", "broken:A"], "broken:A: SyntaxError: "),
        (["compact", "a.ckpt", "--model", "failing:A"], "failing:A: ZeroDivisionError: "),
        (["compact", "a.ckpt", *MODEL], "a.ckpt, which is none, or cut off"),
    ],
)
def test_says_in_one_line_what_to_type_instead(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.ckpt").touch() if "a.ckpt" in words else None
    (tmp_path / "broken.py").write_text("class A(")
    (tmp_path / "failing.py").write_text("1 / 0")
    assert main(words) == 2
    found = capsys.readouterr().err
    assert said in found
    assert found.count("\n") == 1


class Larger(CallsItself):
    """Has a layer that the checkpoint has not."""

    def __init__(self) -> None:
        super().__init__()
        self.more = torch.nn.Linear(2, 2)


class Told(CallsItself):
    """Needs an argument that the checkpoint has not."""

    def __init__(self, width: int) -> None:
        super().__init__()


def test_a_class_that_was_not_trained_is_said_in_one_line(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, said in (("Larger", "RuntimeError: "), ("Told", "'width'. Pass that class")):
        assert main(["compact", str(checkpoint), "--model", f"{__name__}:{name}", *SHAPE]) == 2
        found = capsys.readouterr().err
        assert found.startswith(
            f"jointprune: Expected the class that was trained but got {__name__}"
        )
        assert said in found
        assert found.count("\n") == 1


class WithExample(WholeBatch):
    """Takes a dict batch of which it needs more than the skeleton."""

    def __init__(self) -> None:
        super().__init__()
        self.example_input_array = {"skeleton": torch.randn(3, 8, J, 3), "scale": torch.ones(3)}

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return super().forward(batch) * batch["scale"][:, None]


@pytest.mark.parametrize(
    ("name", "words"), [("tests.zoo.models:WholeBatch", SHAPE), (f"{__name__}:WithExample", [])]
)
def test_a_model_of_a_dict_batch_is_made_smaller_and_exported(
    name: str, words: list[str], checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = torch.load(checkpoint, weights_only=True)
    (state,) = (state for key, state in saved["callbacks"].items() if "JointPruning" in key)
    state["input"] = "batch.skeleton"
    torch.save(saved, checkpoint)
    words = ["--model", name, *words]
    assert main(["compact", str(checkpoint), *words, "--json"]) == 0
    file = json.loads(capsys.readouterr().out)["file"]
    kind = {"WholeBatch": WholeBatch, "WithExample": WithExample}[name.split(":")[1]]
    model, small = load_pruned(kind, checkpoint), from_compact(file, kind)
    x, more = torch.randn(2, 8, J, 3), {"scale": torch.rand(2)}
    kept = SelectJoints(analyze_pruning(model))(x)
    torch.testing.assert_close(small({"skeleton": kept, **more}), model({"skeleton": x, **more}))
    for source in (str(checkpoint), file):
        assert main(["export", source, *words, "--fixed"]) == 0
        session = onnxruntime.InferenceSession(checkpoint.with_name("small.onnx"))
        given = {"batch.skeleton": kept.numpy(), "batch.scale": more["scale"].numpy()}
        names = [entry.name for entry in session.get_inputs()]
        assert names == ["batch.skeleton", "batch.scale"][: len(names)]
        (got,) = session.run(None, {name: given[name] for name in names})
        torch.testing.assert_close(
            torch.from_numpy(got), small({"skeleton": kept, **more}), rtol=1e-4, atol=1e-4
        )


def test_a_shape_alone_is_no_batch_of_more_than_a_skeleton(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = torch.load(checkpoint, weights_only=True)
    (state,) = (state for key, state in saved["callbacks"].items() if "JointPruning" in key)
    state["input"] = "batch.skeleton"
    torch.save(saved, checkpoint)
    words = ["--model", f"{__name__}:WithExample", *SHAPE]
    assert main(["compact", str(checkpoint), *words]) == 2
    said = capsys.readouterr().err
    assert "WithExample.forward runs on but it raised KeyError: 'scale'. Pass" in said
    assert "as its example_input_array" in said
    assert said.count("\n") == 1


class TakesTwo(CallsItself):
    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * scale


def test_names_the_inputs_of_a_model_that_takes_more_than_a_skeleton(
    checkpoint: Path, capsys: Any
) -> None:
    taking_two = ["--model", "tests.cli.test_models:TakesTwo"]
    assert main(["compact", str(checkpoint), *taking_two, *SHAPE]) == 2
    assert "TakesTwo takes x, scale. Do it from Python" in capsys.readouterr().err


def test_asks_for_a_shape_where_the_model_has_no_example(checkpoint: Path, capsys: Any) -> None:
    assert main(["compact", str(checkpoint), *MODEL]) == 2
    assert "all joints (b t j c)" in capsys.readouterr().err
    assert main(["compact", str(checkpoint), *MODEL, "--shape", "2,x"]) == 2
    assert "whole numbers such as 2,16,42,3 but got 2,x" in capsys.readouterr().err
    assert main(["compact", str(checkpoint), *MODEL, "--shape", "2,-1,4,3"]) == 2
    assert "whole numbers such as 2,16,42,3 but got 2,-1,4,3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        (["compact", "a.ckpt", *MODEL, *SHAPE], "safetensors", "compact"),
        (["export", "a.safetensors", *MODEL, *SHAPE, "--to", "torch"], "safetensors", "compact"),
        (["export", "a.ckpt", *MODEL, *SHAPE], "onnx", "export"),
        (["export", "a.ckpt", *MODEL, *SHAPE], "onnxruntime", "export"),
        (["export", "a.ckpt", *MODEL, *SHAPE], "onnxscript", "export"),
        (["select", "a.parquet", "--joints", "run", "-o", "out"], "pyarrow", "data"),
    ],
)
def test_a_missing_extra_is_said_in_a_line(
    command: list[str],
    missing: str,
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a.ckpt", "a.safetensors", "a.parquet"):
        (tmp_path / name).write_bytes(b"PAR1")
    JointSelection((0,), 2, ("a", "b"), (0.9, 0.1)).to_json("run/selection.json")
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"jointprune: Expected {missing}, which ")
    assert said.endswith(f"Run pip install 'lightning-jointprune[{extra}]'.\n")
    assert said.count("\n") == 1
