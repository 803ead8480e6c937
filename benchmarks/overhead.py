"""Measure what the callback costs in time.

    MALLOC_ARENA_MAX=1 python -m benchmarks.overhead      all rows, a quarter of an hour
    python -m benchmarks.overhead --rows gru --seeds 1    one of them, once

Rows: gru, stgcn, fusion. Four models are trained at once in one process: without gates, with the
callback, with the gates of `tests/zoo/twins.py`, which are written into the forward by hand and
give the same losses as the callback, and without gates again, which tells how far the clock can be
trusted. They take turns of a few steps, so what slows the machine down slows all of them. A turn's
time is the processor time of its thread, which does all of the work; a figure is the median over
the turns of the ratio between two models. Epoch ends are not measured. Nothing else should run on
the machine, and all threads should share one arena of glibc's memory, hence the variable.
`python -m benchmarks.report_results` writes the results into RESULTS.md.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import fmean, median
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.shared.models import Classifier, GRUClassifier, Recipe, quiet_trainer
from benchmarks.shared.rows import Figure, Row, at_most, measure, parser, product, results, spread
from benchmarks.shared.store import Result, Settings, Store
from tests.zoo.twins import ByHand, Gated

KINDS = ("plain", "callback", "twin", "again")
PAIRS = ("callback / plain", "twin / plain", "callback / twin", "again / plain")
PHASES = {"warm-up": 0.1, "search": 0.5, "final": 0.4}  # the default ones, as shares of the run
SIGNS = 16


# --- the models ----------------------------------------------------------------------------------


class GraphBlock(nn.Module):
    """A graph convolution over the joints and one over time, as in ST-GCN (arXiv:1801.07455)."""

    adjacency: Tensor

    def __init__(self, joints: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        ring = torch.eye(joints).roll(1, 0)
        self.register_buffer("adjacency", torch.stack([torch.eye(joints), ring, ring.T]))
        self.importance = nn.Parameter(torch.ones(3, joints, joints))
        self.space = nn.Conv2d(inputs, 3 * outputs, 1)
        self.time = nn.Sequential(
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, (9, 1), (stride, 1), (4, 0)),
            nn.BatchNorm2d(outputs),
        )
        self.residual = nn.Conv2d(inputs, outputs, 1, (stride, 1))

    def forward(self, x: Tensor) -> Tensor:
        per_part = self.space(x).unflatten(1, (3, -1))
        mixed = torch.einsum("bkctv,kvw->bctw", per_part, self.adjacency * self.importance)
        return torch.relu(self.time(mixed) + self.residual(x))


class GraphClassifier(Classifier):
    """Three blocks on `(batch, coordinates, frames, joints)`, mean over frames and joints."""

    def __init__(self, joints: int, coordinates: int, classes: int, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.blocks = nn.Sequential(
            GraphBlock(joints, coordinates, 32, 1),
            GraphBlock(joints, 32, 32, 1),
            GraphBlock(joints, 32, 64, 2),
        )
        self.head = nn.Linear(64, classes)

    def forward(self, keypoints: Tensor) -> Tensor:
        return self.head(self.blocks(keypoints).mean(dim=(2, 3)))


class Twin(Gated):
    """The logits in a group of their own, whatever groups the model lists."""

    def configure_optimizers(self) -> Any:
        return super(Gated, self).configure_optimizers()

    def parameter_groups(self, *weight_decay: float) -> list[dict[str, Any]]:
        self.logits.requires_grad_(False)  # the model lists what is trained
        groups = super().parameter_groups(*weight_decay)
        self.logits.requires_grad_(True)
        return [*groups, {"params": [self.logits], "lr": self.rate, "weight_decay": 0.0}]


class GRUTwin(Twin, GRUClassifier):
    joints = 75

    def forward(self, keypoints: Tensor) -> Tensor:
        return super().forward(self.gate(keypoints))


class GraphTwin(Twin, GraphClassifier):
    joints = 27

    def forward(self, keypoints: Tensor) -> Tensor:
        return super().forward(self.gate(keypoints, axis=3))


def fusion(gated: bool) -> Any:
    from examples.autsl_fusion import SignFusion

    class FusionTwin(Twin, SignFusion):
        joints = 42

        def forward(self, skeleton_keypoints: Tensor, *others: Any, **named: Any) -> Tensor:
            return super().forward(self.gate(skeleton_keypoints), *others, **named)

    return (FusionTwin if gated else SignFusion)(num_signs=SIGNS)


def clips(*shape: int) -> list[Tensor]:
    return [torch.randn(shape), torch.randint(SIGNS, shape[:1])]


def fusion_clips(batch: int, frames: int) -> dict[str, Tensor]:
    """Return a batch as `examples/autsl/data/module.py` gives it."""

    def video(channels: int) -> Tensor:
        return torch.randint(256, (batch, frames, channels, 32, 32), dtype=torch.uint8)

    return {
        "skeleton_keypoints": torch.randn(batch, frames, 42, 3),
        "frame_mask": torch.ones(batch, frames, dtype=torch.bool),
        "rgb_frames": video(3),
        "depth_frames": video(1),
        "sign": torch.randint(SIGNS, (batch,)),
    }


class Case(NamedTuple):
    """A model to be measured.

    Attributes:
        make: makes it, with gates in its forward or without.
        batch: makes a batch.
        pruning: the callback's arguments.
        turn: steps of a turn.
        turns: turns of a run, a multiple of 10.
    """

    make: Callable[[bool], pl.LightningModule]
    batch: Callable[[], Any]
    pruning: dict[str, Any]
    turn: int
    turns: int


RECIPE = Recipe(batch_size=16)
CASES = {
    "gru": Case(
        lambda gated: (GRUTwin if gated else GRUClassifier)(75, 3, SIGNS, RECIPE),
        partial(clips, 16, 32, 75, 3),
        {"num_joints": 75},
        turn=10,
        turns=100,
    ),
    "stgcn": Case(
        lambda gated: (GraphTwin if gated else GraphClassifier)(27, 3, SIGNS, RECIPE),
        partial(clips, 16, 3, 150, 27),
        {"num_joints": 27},
        turn=1,
        turns=60,
    ),
    "fusion": Case(fusion, partial(fusion_clips, 32, 16), {"num_joints": 42}, turn=2, turns=100),
}


# --- taking turns --------------------------------------------------------------------------------


class Turns:
    """Lets one of several threads go on at a time, in the order of their places."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.current = 0
        self.failed = False
        self.changed = threading.Condition()
        self.over = threading.Barrier(threads)

    def wait(self, place: int) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.failed or self.current == place)
        if self.failed:
            raise RuntimeError("another model failed")

    def pass_on(self) -> None:
        with self.changed:
            self.current = (self.current + 1) % self.threads
            self.changed.notify_all()

    def fail(self) -> None:
        self.over.abort()
        with self.changed:
            self.failed = True
            self.changed.notify_all()


class Turn(pl.Callback):
    """Trains in turn and takes the time; the first of the callbacks, so all others are in it."""

    def __init__(self, turns: Turns, place: int, steps: int) -> None:
        self.turns = turns
        self.place = place
        self.steps = steps
        self.seconds: list[float] = []
        self.start: float | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % self.steps == 0:
            self._end()
            self.turns.wait(self.place)
            self.start = time.thread_time()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._end()
        self.turns.over.wait()  # what ends a run is not to disturb the others' last turn

    def _end(self) -> None:
        if self.start is not None:
            self.seconds.append(time.thread_time() - self.start)
            self.turns.pass_on()


def train(case: Case, kind: str, turns: Turns, folder: str) -> list[float]:
    """Return the seconds of every turn."""
    from lightning_jointprune import JointPruningCallback

    torch.set_num_threads(1)
    turn = Turn(turns, KINDS.index(kind), case.turn)
    gates: dict[str, list[pl.Callback]] = {
        "plain": [],
        "callback": [JointPruningCallback(**case.pruning, dirpath=folder)],
        "twin": [ByHand()],
        "again": [],
    }
    try:
        model = case.make(kind == "twin")
        steps = [case.batch() for _ in range(8)] * (case.turn * case.turns)
        data = DataLoader(steps[: case.turn * case.turns], batch_size=None)
        quiet_trainer(1, folder, [turn, *gates[kind]]).fit(model, data)
    except BaseException:
        turns.fail()
        raise
    return turn.seconds


def run(settings: Settings) -> Result:
    case = CASES[settings["model"]]
    pl.seed_everything(settings["seed"], verbose=False)
    turns = Turns(len(KINDS))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(KINDS)) as pool:
        runs = [pool.submit(train, case, kind, turns, folder) for kind in KINDS]
        seconds = {kind: running.result() for kind, running in zip(KINDS, runs, strict=True)}
    result: Result = {"milliseconds": 1000 * median(seconds["plain"]) / case.turn}
    for pair in PAIRS:
        ours, theirs = pair.split(" / ")
        both = zip(seconds[ours], seconds[theirs], strict=True)
        result[pair] = by_phase([a / b for a, b in both])
    return result


def by_phase(ratios: Sequence[float]) -> dict[str, float]:
    """Return each phase's median, and their mean over a run; the first turn is a warm-up."""
    medians, start = {}, 0
    for phase, share in PHASES.items():
        end = start + round(share * len(ratios))
        medians[phase] = median(ratios[max(1, start) : end])
        start = end
    return {**medians, "run": sum(share * medians[phase] for phase, share in PHASES.items())}


# --- figures and rows ----------------------------------------------------------------------------


def cell(model: str, seed: int) -> Settings:
    steps = {"turn": CASES[model].turn, "turns": CASES[model].turns}
    return {"script": "overhead", "model": model, "seed": seed, "pruned": True, **steps}


def figures(model: str, target: float, store: Store, seeds: int) -> list[Figure]:
    found = results(store, product(partial(cell, model), seeds))
    if not found:
        return []

    def ratios(pair: str, phase: str) -> list[float]:
        return [result[pair][phase] for result in found]

    milliseconds = [result["milliseconds"] for result in found]
    rows = [Figure("a step without gates, ms", "", spread(milliseconds, 1))]
    for pair in ("callback / plain", "twin / plain"):
        label = f"step time, {pair.replace('plain', 'without')}"
        rows += [Figure(f"{label}: {phase}", "", spread(ratios(pair, phase))) for phase in PHASES]
        values = ratios(pair, "run")
        if pair == "callback / plain":
            rows.append(at_most(f"{label}: a run", target, fmean(values), values))
        else:
            rows.append(Figure(f"{label}: a run", "", spread(values)))
    values, again = ratios("callback / twin", "run"), ratios("again / plain", "run")
    return [
        *rows,
        at_most("step time, callback / twin: a run", 1.01, fmean(values), values),
        Figure("step time, without / without: a run", "", spread(again)),
    ]


def row(model: str, title: str, setting: str, target: float) -> Row:
    def cells(_store: Store, seeds: int) -> list[Settings]:
        return product(partial(cell, model), seeds)

    return Row(f"step time: {title}", setting, 3, cells, partial(figures, model, target))


TWIN = (
    "The twin has its gates written into the forward by hand, and the same losses. In the search "
    "both need the gradient of the input, which the model alone does not compute."
)
ROWS = {
    "gru": row(
        "gru",
        "a small GRU",
        f"16 sequences of 32 frames, 75 joints and 3 coordinates; 128 units. {TWIN}",
        1.03,
    ),
    "stgcn": row(
        "stgcn",
        "graph convolutions",
        "16 sequences of 3 coordinates, 150 frames and 27 joints; three blocks as in ST-GCN, of "
        "32, 32 and 64 channels.",
        1.03,
    ),
    "fusion": row(
        "fusion",
        "the example's model at the size of its demo",
        "`SignFusion` of `examples/autsl_fusion.py`: skeleton, RGB and depth, batches of 32 clips "
        "of 16 frames.",
        1.01,
    ),
}


def main() -> None:
    args = parser(__doc__, ROWS).parse_args()
    if args.workers != 1:
        raise SystemExit("Expected one worker, since others would disturb the clock.")
    measure("overhead", ROWS, run, args)


if __name__ == "__main__":
    main()
