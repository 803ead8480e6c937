"""The report reaches the loggers that can show it, and none of them can cost the run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import Logger

from lightning_jointprune.record.files import place, write_text
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.run.loggers import hand_over, markdown
from tests.records import HOSTILE
from tests.runs import SHORT_RUNS, Classifier, fit, pruning

pytestmark = SHORT_RUNS
SELECTION = JointSelection((0, 2), 3, ("wrist", "a|b", "<b>"), (0.99, 0.02, 0.97))


class Fake(Logger):
    """Stands in for the three loggers, and keeps the calls that its `experiment` gets."""

    run_id = "run 7"

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.fails = fails

    @property
    def name(self) -> str:
        return "fake"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        pass

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    @property
    def experiment(self) -> Any:
        return self

    def _call(self, *args: Any) -> None:
        if self.fails:
            raise ConnectionError("no server")
        self.calls.append(args)

    add_text = log = log_artifact = _call

    def add_image(self, *args: Any, dataformats: str) -> None:
        self._call(*args, dataformats)


class TensorBoardLogger(Fake):
    pass


class WandbLogger(Fake):
    pass


class MLFlowLogger(Fake):
    pass


class MyTensorBoardLogger(TensorBoardLogger):
    pass


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a report, with W&B's class of HTML panels in place."""

    def html(page: Any, inject: bool) -> tuple[str, bool]:
        return page.read(), inject

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Html=html))
    path = tmp_path / "joint_importance.html"
    path.write_text("<p>é</p>", encoding="utf-8")
    return path


def test_each_logger_gets_the_report_in_its_own_way(report: Path) -> None:
    loggers = [TensorBoardLogger(), WandbLogger(), MLFlowLogger(), Fake(), MyTensorBoardLogger()]
    picture = torch.zeros(4, 6, 3, dtype=torch.uint8)
    hand_over(loggers, report, SELECTION, 40, lambda: picture)
    board, wandb, mlflow, other, derived = (logger.calls for logger in loggers)
    assert board == derived
    text, image = board
    assert text == ("joint_pruning/report", markdown(SELECTION, report), 40)
    assert image[1] is picture
    assert (image[0], *image[2:]) == ("joint_pruning/skeleton", 40, "HWC")
    panel = ("<p>é</p>", False)
    assert wandb == [({"joint_pruning/report": panel, "trainer/global_step": 40},)]
    assert mlflow == [("run 7", str(report), "joint_pruning")]
    assert other == []


def test_loggers_get_a_report_at_an_address_as_a_local_file(report: Path) -> None:
    address = place("memory://bucket/run/joint_importance.html")
    write_text(address, report.read_text(encoding="utf-8"))
    wandb, mlflow = loggers = [WandbLogger(), MLFlowLogger()]
    read: list[str] = []
    mlflow.log_artifact = lambda *given: read.append(Path(given[1]).read_text(encoding="utf-8"))
    hand_over(loggers, address, SELECTION, 40, lambda: None)
    assert wandb.calls[0][0]["joint_pruning/report"] == ("<p>é</p>", False)
    assert read == ["<p>é</p>"]


@pytest.mark.parametrize("kind", [TensorBoardLogger, WandbLogger, MLFlowLogger])
def test_a_logger_that_fails_is_a_warning_and_the_others_get_theirs(
    kind: type[Fake], report: Path
) -> None:
    other = MLFlowLogger()
    with pytest.warns(UserWarning, match=rf"by {kind.__name__}: .*no server.* not affected"):
        hand_over([kind(fails=True), other], report, SELECTION, 40, lambda: None)
    assert len(other.calls) == 1


def test_the_text_is_the_sentence_and_the_table_of_keep_and_prune() -> None:
    lines = markdown(SELECTION, Path("a_b.html")).splitlines()
    assert lines[0].startswith("2 of 3 joints are kept, with 33.3 % of the joints removed;")
    assert lines[2] == r"The report: a\_b.html"
    assert lines[4:] == [
        "| index | joint | keep probability | verdict |",
        "|---:|---|---:|---|",
        "| 0 | wrist | 0.990 | KEEP |",
        "| 2 | &#60;b&#62; | 0.970 | KEEP |",
        "| 1 | a&#124;b | 0.020 | PRUNE |",
    ]


def test_names_are_no_markdown_and_no_html() -> None:
    text = markdown(JointSelection((0,), 5, HOSTILE, (0.9,) * 5), Path("x"))
    assert not re.search(r"(?<!\\)[<`*_\[]", text)


def test_a_run_hands_its_report_to_its_loggers(tmp_path: Path, blank_report: None) -> None:
    logger = TensorBoardLogger()
    callback = pruning(dirpath=tmp_path)
    trainer = fit(Classifier(), callback, logger=logger)
    (call,) = logger.calls
    assert call == (
        "joint_pruning/report",
        markdown(callback.selection, callback.report_path),
        trainer.global_step,
    )
