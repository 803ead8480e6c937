"""Hands a run's report to its loggers: TensorBoard, Weights & Biases and MLflow.

They are recognised by the name of their class, as Lightning comes as two packages, and only what
the logger has loaded itself is used.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from lightning_jointprune.record.files import Place, local_copy
from lightning_jointprune.record.selection import JointSelection

TAG, IMAGE_TAG = "joint_pruning/report", "joint_pruning/skeleton"


def hand_over(
    loggers: Iterable[Any],
    report: Place,
    selection: JointSelection,
    step: int,
    picture: Callable[[], Tensor | None],
) -> None:
    """Give the report to every logger that can show it.

    TensorBoard gets the answer as text with the KEEP / PRUNE table and the skeleton as an image,
    W&B the page as a panel, MLflow the page as an artefact. What fails costs a warning, never the
    run.

    Args:
        loggers: the trainer's.
        report: the HTML file.
        selection: what is in it.
        step: optimizer steps taken.
        picture: draws the skeleton, as bytes of shape `(height, width, 3)`; None if it cannot.
    """
    for logger in loggers:
        for parent in type(logger).__mro__:
            if give := KINDS.get(parent.__name__):
                try:
                    give(logger, report, selection, step, picture)
                except Exception as error:  # the model is trained: no failure here may lose it
                    warnings.warn(
                        f"The report could not be logged by {type(logger).__name__}: {error!r}. "
                        f"The training is not affected, and the report is at {report}.",
                        stacklevel=4,
                    )
                break


def _text_and_image(
    logger: Any,
    report: Place,
    selection: JointSelection,
    step: int,
    picture: Callable[[], Tensor | None],
) -> None:
    logger.experiment.add_text(TAG, markdown(selection, report), step)
    if (drawn := picture()) is not None:
        logger.experiment.add_image(IMAGE_TAG, drawn, step, dataformats="HWC")


def _panel(logger: Any, report: Place, _: JointSelection, step: int, *__: object) -> None:
    run = logger.experiment  # which has loaded the package
    page = io.StringIO(report.read_text(encoding="utf-8"))
    html = sys.modules["wandb"].Html(page, inject=False)
    run.log({TAG: html, "trainer/global_step": step})


def _artefact(logger: Any, report: Place, *_: object) -> None:
    with local_copy(report) as path:
        logger.experiment.log_artifact(logger.run_id, str(path), "joint_pruning")


def markdown(selection: JointSelection, report: Place) -> str:
    """Return the sentence, where the report is, and the KEEP / PRUNE table as Markdown."""
    probabilities, mask = selection.keep_probabilities, selection.mask
    order = sorted(range(selection.num_joints), key=lambda joint: (-probabilities[joint], joint))
    rows = [
        f"| {joint} | {_escaped(selection.joint_names[joint])} | {probabilities[joint]:.3f} "
        f"| {'KEEP' if mask[joint] else 'PRUNE'} |"
        for joint in order
    ]
    head = ["| index | joint | keep probability | verdict |", "|---:|---|---:|---|"]
    said = [_escaped(selection.sentence()), "", f"The report: {_escaped(str(report))}", ""]
    return "\n".join([*said, *head, *rows])


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is."""
    signs = {c: f"\\{c}" for c in "\\`*_{}[]()#+-!"} | {c: f"&#{ord(c)};" for c in "<>&|~"}
    return "".join(signs.get(c, c) if c.isprintable() else "?" for c in text)


KINDS: dict[str, Callable[..., None]] = {
    "TensorBoardLogger": _text_and_image,
    "WandbLogger": _panel,
    "MLFlowLogger": _artefact,
}
