"""The first batches may lack the skeleton: it is found when it comes, or refused in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.nn.functional import cross_entropy

from lightning_jointprune import JointPruningCallback
from lightning_jointprune.attach.entrance import PATIENCE
from tests.runs import INFORMATIVE, SHORT_RUNS, Classifier, J, clips, fit, pruning

pytestmark = [*SHORT_RUNS, pytest.mark.usefixtures("run_folder")]


class Dropout(Classifier):
    """A classifier of video and skeleton, of which some steps lack the skeleton."""

    def __init__(self) -> None:
        super().__init__()
        self.lacks: Callable[[int], bool] = lambda step: False
        self.video = torch.nn.Linear(5, 4)

    def forward(self, video: Tensor, skeleton: Tensor | None = None) -> Tensor:
        told = self.video(video)
        return told if skeleton is None else told + super().forward(skeleton)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, sign = batch
        self.losses.append(torch.zeros(()))
        lacks = self.lacks(len(self.losses) - 1)
        return cross_entropy(self(torch.zeros(len(x), 5), None if lacks else x), sign)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, sign = batch
        self.log("val_loss", cross_entropy(self(torch.zeros(len(x), 5), x), sign))


class InADict(Dropout):
    """The same of one dict, in which the skeleton has no key where it is missing."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(batch["video"], batch.get("skeleton"))

    def __call__(self, video: Tensor, skeleton: Tensor | None) -> Tensor:
        batch = {"video": video} | ({} if skeleton is None else {"skeleton": skeleton})
        found: Tensor = super().__call__(batch)
        return found


def lacking(lacks: Callable[[int], bool], kind: type[Dropout] = Dropout) -> Dropout:
    model = kind()
    model.lacks = lacks
    return model


@pytest.mark.compatibility("Models", "modality dropout: the first batches lack the skeleton")
@pytest.mark.parametrize("steps", [1, 3, 7])
@pytest.mark.parametrize("given", [None, "skeleton"])
def test_a_skeleton_that_is_missing_at_first_is_found_when_it_comes(
    given: str | None, steps: int
) -> None:
    callback = pruning(budget=2, input=given)
    fit(lacking(lambda step: step < steps or step % 4 == 3), callback)
    assert callback.selection.indices == INFORMATIVE


def test_a_key_that_is_missing_at_first_is_found_where_it_is_named() -> None:
    callback = pruning(budget=2, input="batch.skeleton")
    fit(lacking(lambda step: step < 2, InADict), callback)
    assert callback.selection.indices == INFORMATIVE


def test_a_skeleton_that_never_comes_is_refused_with_what_was_seen() -> None:
    model = lacking(lambda step: True)
    with pytest.raises(
        MisconfigurationException,
        match=r"(?s)'skeleton' in a training step but.*"
        rf"video  \(8, 5\).*This is what {PATIENCE} training steps showed\.",
    ):
        fit(model, pruning(input="skeleton"))
    assert len(model.losses) == PATIENCE


@pytest.mark.parametrize(("steps", "told"), [(1, "a training step showed"), (2, "2 training ste")])
def test_a_run_that_ends_before_is_refused_as_well(steps: int, told: str) -> None:
    with pytest.raises(MisconfigurationException, match=told):
        fit(lacking(lambda step: True), pruning(), fast_dev_run=steps)


def test_what_cannot_come_is_refused_before_a_weight_is_changed() -> None:
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (Dropout(), {"num_joints": J + 1}, "If skeleton is the skeleton, pass num_joints=8"),
        (Dropout(), {"input": "skelton"}, 'Pass input="skeleton"'),
        (InADict(), {"input": "batch.skelton"}, 'Pass input="batch.skeleton"'),
        (
            lacking(lambda step: True),
            {"num_joints": J + 1},
            r'was None here, pass input="skeleton"\.',
        ),
    ]
    for model, settings, message in wrong:
        before = model.video.weight.clone()
        with pytest.raises(MisconfigurationException, match=message):
            fit(model, pruning(**settings))
        assert torch.equal(model.video.weight, before)


def test_a_skeleton_of_no_sample_at_first_is_waited_for() -> None:
    class Subset(Dropout):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, sign = batch
            self.losses.append(torch.zeros(()))
            has = torch.arange(len(x)) < (0 if len(self.losses) < 3 else 6)
            told = self(torch.zeros(int(has.sum()), 5), x[has])
            return (told - torch.eye(4)[sign[has]]).square().sum()

    callback = pruning(budget=2)
    fit(Subset(), callback)
    assert callback.selection.indices == INFORMATIVE


def test_who_leaves_the_skeleton_out_of_kwargs_is_told_to_name_it() -> None:
    class Left(Dropout):
        def forward(self, video: Tensor, **others: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(video, others.get("skeleton"))

        def __call__(self, video: Tensor, skeleton: Tensor | None) -> Tensor:
            others = {} if skeleton is None else {"skeleton": skeleton}
            found: Tensor = super().__call__(video, **others)
            return found

    with pytest.raises(MisconfigurationException, match="pass input= with the argument that they"):
        fit(lacking(lambda step: step < 2, Left), pruning())
    fit(lacking(lambda step: step < 2, Left), pruning(input="skeleton"))


def test_inspect_names_an_argument_that_was_none() -> None:
    batch = next(iter(clips()))
    advice = JointPruningCallback.inspect(lacking(lambda step: True), batch, num_joints=J).advice
    assert advice.endswith('If the skeleton is what was None here, pass input="skeleton".')
