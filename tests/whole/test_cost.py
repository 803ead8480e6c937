"""The callback adds nothing to a training step that waits for a device, and little memory."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import cross_entropy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from lightning_jointprune import MetricFloor, Price
from lightning_jointprune.run.first_batches import KEPT_FRAMES, ROWS
from lightning_jointprune.search.search import LOOKED_AT
from tests.runs import BATCHES, SHORT_RUNS, Classifier, fit, pruning

pytestmark = SHORT_RUNS


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lightning_jointprune.report.write_report", lambda record, path: path)


class Opens(pl.Callback):
    """The first of the callbacks: a training step begins."""

    def __init__(self, watch: Any) -> None:
        self.watch = watch

    def on_train_batch_start(self, trainer: Any, model: Any, batch: Any, batch_idx: int) -> None:
        self.watch.begin([*batch, *model.parameters()])


class Closes(Opens):
    """The last of the callbacks: a training step is over."""

    def on_train_batch_start(self, *args: Any) -> None:
        pass

    def on_train_batch_end(self, *args: Any) -> None:
        self.watch.end()


# --- what waits for a device ---------------------------------------------------------------------

# On a CPU some of these do nothing that a dispatch mode would see.
BY_NAME = {"cpu", "numpy", "tolist", "item", "nonzero", "__bool__", "__float__", "__int__"}
BY_NAME |= {"__index__", "__array__", "__format__", "__repr__"}
IN_ATEN = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim"}


class Waits:
    """Counts in every training step what makes the host wait for values on a device."""

    def __init__(self) -> None:
        self.steps: list[Counter[str]] = []
        self.inside = False

    def begin(self, given: Any) -> None:
        self.steps.append(Counter())
        self.inside = True

    def end(self) -> None:
        self.inside = False

    def note(self, name: str) -> None:
        if self.inside:
            self.steps[-1][name] += 1


class ByName(TorchFunctionMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in BY_NAME:
            self.waits.note(func.__name__)
        return func(*args, **(kwargs or {}))


class InAten(TorchDispatchMode):
    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        if name in IN_ATEN:
            self.waits.note(name)
        if name in ("_to_copy", "copy_"):
            devices = {value.device.type for value in args if isinstance(value, Tensor)}
            if len(devices | {torch.device(kwargs.get("device") or "cpu").type}) > 1:
                self.waits.note(name)
        if name in ("index", "index_put", "index_put_") and any(
            value is not None and value.dtype == torch.bool for value in args[1]
        ):
            self.waits.note(f"{name} by a mask")
        return func(*args, **kwargs)


class Momentum(Classifier):
    """Not Adam, which reads a count of steps that it keeps on the host."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


def waits(*callbacks: Any, **settings: Any) -> list[Counter[str]]:
    watch, model = Waits(), Momentum()
    with ByName(watch), InAten(watch):
        fit(model, Opens(watch), *callbacks, Closes(watch), **settings)
    return watch.steps


@pytest.mark.parametrize(
    ("pruned", "settings"),
    [
        ({"budget": Price("auto")}, {}),
        ({"budget": Price("auto"), "lr": None}, {}),
        ({"budget": 3}, {"gradient_clip_val": 1.0}),
        ({"budget": MetricFloor("val_acc", 0.5)}, {}),
        ({"fill": "mean", "keep": [0]}, {"accumulate_grad_batches": 2}),
        ({"gate": "hard_concrete", "groups": {"a": [0, 1], "b": [2, 3]}}, {}),
    ],
    ids=["price", "rate for SGD", "target", "floor", "mean", "groups"],
)
def test_no_step_but_the_first_ones_of_a_phase_waits_for_a_device(
    pruned: dict[str, Any], settings: dict[str, Any]
) -> None:
    callback = pruning(**pruned)
    without, within = waits(**settings), waits(callback, **settings)
    assert len(within) == len(without) == 5 * BATCHES
    firsts = {1 * BATCHES, 3 * BATCHES}  # where the price is read, and the mask is decided
    if callback._search.controller.covers and "groups" not in pruned:  # near-copies are looked for
        firsts.add(1 * BATCHES + math.ceil(0.15 * 2 * BATCHES))
    reads = {
        step: dict(here - there)
        for step, (here, there) in enumerate(zip(within, without, strict=True))
        if here - there and step not in firsts
    }
    loss_is_looked_at = range(3 * BATCHES + 1, 3 * BATCHES + LOOKED_AT)
    assert reads.keys() == set(loss_is_looked_at)
    assert all(read == {"__bool__": 1, "_local_scalar_dense": 1} for read in reads.values())


# --- memory --------------------------------------------------------------------------------------

SIZE, C = 8, 2  # of a batch


class Sized(pl.LightningModule):
    """A linear layer over a skeleton of any size."""

    def __init__(self, frames: int, joints: int) -> None:
        super().__init__()
        self.head = nn.Linear(frames * joints * C, 4)
        self.x = torch.randn(SIZE, frames, joints, C)

    def data(self) -> Any:
        return DataLoader([(self.x, torch.arange(SIZE) % 4)] * BATCHES, batch_size=None)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))

    def training_step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any) -> None:
        self.training_step(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters())


class Saved:
    """Bytes that autograd keeps alive in each step, besides the batch and the parameters."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def begin(self, given: Any) -> None:
        alive = {tensor.untyped_storage().data_ptr() for tensor in given}
        self.kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in alive:
                self.kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        self.hooks = saved_tensors_hooks(pack, lambda tensor: tensor)
        self.hooks.__enter__()

    def end(self) -> None:
        self.hooks.__exit__(None, None, None)
        self.steps.append(sum(self.kept.values()))


def saved(frames: int, joints: int, *callbacks: Any) -> list[int]:
    watch, model = Saved(), Sized(frames, joints)
    data = model.data()
    fit(model, Opens(watch), *callbacks, Closes(watch), train=data, val=data)
    return watch.steps


@pytest.mark.parametrize("frames", [4, 40])
@pytest.mark.parametrize("joints", [8, 80])
def test_autograd_keeps_a_gated_copy_of_the_skeleton_and_the_gates(
    frames: int, joints: int
) -> None:
    without = saved(frames, joints)
    within = saved(frames, joints, pruning(Price("auto"), num_joints=joints))
    added = [here - there for here, there in zip(within, without, strict=True)]
    copy = 4 * SIZE * frames * joints * C
    gates = 4 * SIZE * joints * (1 + C)  # before and after they are spread over the coordinates
    penalty = 4 * joints * 4
    assert set(added[1:BATCHES]) == {0}
    assert max(added[BATCHES : 3 * BATCHES]) <= copy + gates + penalty + 64
    assert max(added[3 * BATCHES :]) <= copy + 4 * joints  # the first step decides the mask


def tensors(value: Any, found: dict[int, Tensor]) -> None:
    """The tensors that something of ours holds, and their gradients."""
    if isinstance(value, Tensor):
        found[id(value)] = value
        tensors(value.grad, found)
    elif isinstance(value, dict):
        for part in value.values():
            tensors(part, found)
    elif isinstance(value, list | tuple):
        for part in value:
            tensors(part, found)
    elif type(value).__module__.startswith("lightning_jointprune"):
        tensors(vars(value), found)


def stored(found: dict[int, Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())


def bytes_held(frames: int, joints: int) -> tuple[int, int]:
    """Bytes of the callback's tensors and of the optimizer's for the logits, at most.

    Returns:
        All but those of the frames that tell redundant joints, and these.
    """
    most = kept = 0

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            nonlocal most, kept
            found: dict[int, Tensor] = {}
            apart: dict[int, Tensor] = {}
            tensors(callback, found)
            tensors(callback._recorder.redundancy, apart)
            kept = max(kept, stored(apart))
            tensors(
                [trainer.optimizers[0].state[logit] for logit in callback._search.logits], found
            )
            most = max(most, stored({of: found[of] for of in found.keys() - apart.keys()}))

    model = Sized(frames, joints)
    callback = pruning(Price("auto"), num_joints=joints)
    fit(model, callback, Watch(), train=model.data(), val=model.data())
    return most, kept


def test_the_callback_holds_a_hundred_bytes_per_joint_whatever_the_clips() -> None:
    runs = [bytes_held(4, joints) for joints in (10, 20, 40)]
    few, more, most = (held for held, _ in runs)
    assert most - more == 2 * (more - few)
    assert (more - few) / 10 <= 100
    long, frames = bytes_held(40, 10)
    assert long == few
    for kept, joints in zip((frames, *(kept for _, kept in runs)), (10, 10, 20, 40), strict=True):
        assert kept <= (KEPT_FRAMES + 2 * ROWS) * joints * C * 4
