"""Does a run that is killed again and again end as the one that is left alone?

    MALLOC_ARENA_MAX=1 python -m benchmarks.soak      twice 2,000 steps, most of an hour

A model is trained in a process of its own, with a validation every 20 steps, the report written
anew after each of them, and a checkpoint every 50. One process is left alone; the other is killed
by SIGKILL 20 times, at steps that the seed draws, half of them where a checkpoint is written, and a
new one resumes each time from the newest checkpoint. After each kill every file has to be whole.
`python -m benchmarks.report_results` writes the results into RESULTS.md.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import random
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.shared.models import GRUClassifier, Recipe
from benchmarks.shared.rows import Figure, Row, at_most, measure, parser, product, results, spread
from benchmarks.shared.store import Result, Settings, Store
from lightning_jointprune import JointPruningCallback, JointSelection, PruningRecord
from lightning_jointprune.record.stored import SELECTION_FILE
from lightning_jointprune.run import recorder
from lightning_jointprune.run.checkpoint import STATE_KEY

VALIDATED, SAVED = 20, 50  # steps
# Checkpoints are saved after epochs. From others Lightning 2.6 does not go on exactly, without the
# callback either: from the middle of an epoch with validations in it, and a second time from one
# that was saved with the last batch of an epoch.
EPOCH = SAVED
JOINTS, FRAMES, SIGNS, BATCH = 42, 8, 4, 16
INFORMATIVE = (3, 20)  # joints that carry half of the sign each
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
MEMORY = Path("/proc/self/statm")


class Soak(NamedTuple):
    """A run.

    Attributes:
        folder: of its files.
        steps: how many there are, a multiple of `EPOCH`.
        seed: draws weights, data and noise.
    """

    folder: Path
    steps: int
    seed: int


# --- the process that is killed -------------------------------------------------------------------


class Stream:
    """Batches that depend on their place alone, and that a checkpoint remembers the place of."""

    def __init__(self, seed: int, batches: int) -> None:
        self.seed, self.batches, self.at = seed, batches, 0

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[Tensor]]:
        self.at %= self.batches
        while self.at < self.batches:
            self.at += 1
            yield self.batch(self.at)

    def batch(self, place: int) -> list[Tensor]:
        noise = torch.Generator().manual_seed(self.seed * 1_000_003 + place)
        sign = torch.randint(SIGNS, (BATCH,), generator=noise)
        x = torch.randn(BATCH, FRAMES, JOINTS, 2, generator=noise)
        for joint, bit in zip(INFORMATIVE, (sign % 2, sign // 2), strict=True):
            x[:, :, joint] += bit[:, None, None] - 0.5
        return [x, sign]

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


class Steps(pl.Callback):
    """Says each step to the process that waits for it, with the memory in use."""

    def __init__(self, say: Connection) -> None:
        self.say = say

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.say.send((trainer.global_step, memory() if trainer.global_step % EPOCH == 1 else None))


def memory() -> float | None:
    """Return this process's memory in MB, where the system says it."""
    if not MEMORY.is_file():
        return None
    gc.collect()  # what is only waiting to be collected does not count
    return int(MEMORY.read_text().split()[1]) * PAGE / 2**20


def newest(folder: Path) -> Path | None:
    """Return the checkpoint with the most steps."""
    return max(folder.glob("*.ckpt"), key=lambda path: int(path.stem), default=None)


def train(run: Soak, say: Connection) -> None:
    """Train to the end, from the newest checkpoint if there is one."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*(does not have many workers|LeafSpec|not empty).*")
    # Files are written after every validation, not in a hundredth of the time: more to tear apart.
    recorder.REFRESH_SHARE, recorder.REFRESH_COST = 1e9, 0.0
    pl.seed_everything(run.seed, verbose=False)
    model = GRUClassifier(JOINTS, 2, SIGNS, Recipe(batch_size=BATCH), hidden=32)
    model.dropout.p = 0.0  # its random numbers are not in Lightning's checkpoints
    saver = ModelCheckpoint(
        run.folder,
        "{step}",
        save_on_train_epoch_end=True,
        save_top_k=-1,
        auto_insert_metric_name=False,
    )
    pruning = JointPruningCallback(JOINTS, dirpath=run.folder)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=run.steps // EPOCH,
        val_check_interval=VALIDATED,
        callbacks=[Steps(say), pruning, saver],
        default_root_dir=run.folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    validation = DataLoader([*Stream(run.seed + 1, 4)], batch_size=None)
    trainer.fit(model, Stream(run.seed, EPOCH), validation, ckpt_path=newest(run.folder))


# --- the process that kills -----------------------------------------------------------------------


class Killed(NamedTuple):
    """Hold what a run went through.

    Attributes:
        memory: MB in use at the beginning of each epoch.
        resumed: the steps at which a new process began.
        checked: files that were looked at after a kill.
        damaged: names of those that could not be read.
    """

    memory: list[float]
    resumed: list[int]
    checked: list[str]
    damaged: list[str]


def drawn(run: Soak, kills: int) -> list[tuple[int, float]]:
    """Draw steps to kill at, ascending, and how many seconds later; half in a checkpoint."""
    chance = random.Random(run.seed)
    saving = [step for step in range(1, run.steps) if (step + 1) % SAVED == 0]
    others = [step for step in range(1, run.steps) if (step + 1) % SAVED]
    steps = chance.sample(saving, kills // 2) + chance.sample(others, kills - kills // 2)
    return [(step, chance.uniform(0.0, 0.05)) for step in sorted(steps)]


def carry_out(run: Soak, kills: list[tuple[int, float]], start: str = "spawn") -> Killed:
    """Train to the end, with a kill at each of the steps.

    Args:
        run: what is trained.
        kills: steps to kill at, ascending, and how many seconds later.
        start: how a process is started, see `multiprocessing`.

    Raises:
        RuntimeError: if a process fails by itself.
    """
    seen = Killed([], [], [], [])
    for kill in [*kills, None]:
        began = live(run, kill, start, seen.memory)
        seen.resumed.append(began)
        if kill is not None:
            files = sorted(run.folder.glob("[!.]*"))
            seen.checked.extend(path.name for path in files)
            seen.damaged.extend(path.name for path in files if not whole(path))
    return seen._replace(resumed=seen.resumed[1:])


def live(run: Soak, kill: tuple[int, float] | None, start: str, used: list[float]) -> int:
    """Run one process until it is killed or ends, and return the step at which it began."""
    context = multiprocessing.get_context(start)
    hear, say = context.Pipe(duplex=False)
    process = context.Process(target=train, args=(run, say))
    process.start()
    say.close()  # here, so that the pipe ends with the other process
    steps = []
    with contextlib.suppress(EOFError):
        while kill is None or not steps or steps[-1] < kill[0]:
            step, megabytes = hear.recv()
            steps.append(step)
            used.extend(() if megabytes is None else (megabytes,))
        time.sleep(kill[1])
        process.kill()
    process.join()
    hear.close()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"Expected a run that ends well but got exit code {process.exitcode}.")
    return steps[0] if steps else run.steps  # a kill may come after the last checkpoint


def whole(path: Path) -> bool:
    """Return whether a file can be read to its end."""
    try:
        if path.suffix == ".html":
            return path.read_text(encoding="utf-8").rstrip().endswith("</html>")
        if path.suffix == ".ckpt":
            return bool(torch.load(path, weights_only=True))
        kind = JointSelection if path.name == SELECTION_FILE else PruningRecord
        return bool(kind.from_json(path))
    except Exception:  # however a damaged file fails
        return False


# --- what is compared -----------------------------------------------------------------------------


def learned(run: Soak) -> dict[str, Any]:
    """Return the last checkpoint's gates, weights and optimizer."""
    saved = torch.load(run.folder / f"{run.steps}.ckpt", weights_only=True)
    (pruning,) = (state for key, state in saved["callbacks"].items() if key.startswith(STATE_KEY))
    return {
        "gates": [pruning["search"], pruning["mask"], pruning["keep_probabilities"]],
        "weights": saved["state_dict"],
        "optimizer": saved["optimizer_states"],
    }


def equal(found: Any, expected: Any) -> bool:
    """Return whether two nested values are the same, tensors bit for bit."""
    if isinstance(found, Tensor):
        return isinstance(expected, Tensor) and torch.equal(found, expected)
    if isinstance(found, dict):
        return found.keys() == expected.keys() and all(
            equal(found[key], expected[key]) for key in found
        )
    if isinstance(found, list | tuple):
        return len(found) == len(expected) and all(map(equal, found, expected))
    return bool(found == expected)


def compare(folder: Path, seed: int, steps: int, kills: int, start: str = "spawn") -> Result:
    """Train twice, once without a kill and once with, and compare what is left."""
    alone, broken = (Soak(folder / name, steps, seed) for name in ("alone", "broken"))
    for run in (alone, broken):
        run.folder.mkdir()
    undisturbed = carry_out(alone, [], start)
    seen = carry_out(broken, drawn(broken, kills), start)
    records = [PruningRecord.from_json(run.folder) for run in (alone, broken)]
    pairs = zip(learned(alone).items(), learned(broken).values(), strict=True)
    return {
        "same": {name: equal(ours, theirs) for (name, ours), theirs in pairs},
        "same_record": records[0] == records[1],
        "kept": len(records[0].selection.indices),
        "resumed": seen.resumed,
        "checked": len(seen.checked),
        "damaged": seen.damaged,
        "unfinished": len(list(broken.folder.glob(".*"))),
        "memory": [round(value, 2) for value in undisturbed.memory],
    }


def run(settings: Settings) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        return compare(Path(folder), settings["seed"], settings["steps"], settings["kills"])


# --- figures and rows ----------------------------------------------------------------------------


def cell(seed: int) -> Settings:
    return {"script": "soak", "seed": seed, "pruned": True, "steps": 2000, "kills": 20}


def figures(store: Store, seeds: int) -> list[Figure]:
    found = results(store, product(cell, seeds))
    if not found:
        return []
    wrong = [sum(not same for same in result["same"].values()) for result in found]
    records = [int(not result["same_record"]) for result in found]
    damaged = [len(result["damaged"]) for result in found]
    used = [result["memory"] for result in found]
    grown = [memory[-1] - memory[len(memory) // 4] for memory in used]
    kills = [len(result["resumed"]) for result in found]
    return [
        Figure("times killed and resumed", "", spread(kills, 0)),
        at_most("of gates, weights, optimizer: those that differ", 0, max(wrong), wrong),
        at_most("records that differ", 0, max(records), records),
        at_most("damaged files after a kill", 0, max(damaged), damaged),
        Figure("files looked at", "", spread([result["checked"] for result in found], 0)),
        Figure(
            "hidden files that writings left unfinished",
            "",
            spread([result["unfinished"] for result in found], 0),
        ),
        Figure("memory in use, MB", "", spread([memory[-1] for memory in used], 0)),
        at_most("memory gained after the first quarter of a run, MB", 5, max(grown), grown),
    ]


def cells(_store: Store, seeds: int) -> list[Settings]:
    return product(cell, seeds)


ROWS = {
    "soak": Row(
        "killed 20 times in 2,000 steps, and resumed",
        "A GRU on 42 joints, one process left alone and one that SIGKILL ends at steps that the "
        "seed draws, half of them where a checkpoint is written. Record, selection and report are "
        "written after every validation (20 steps), a checkpoint every 50 steps. Dropout is off: "
        "Lightning's checkpoints do not hold its random numbers.",
        1,
        cells,
        figures,
    )
}


def main() -> None:
    args = parser(__doc__, ROWS).parse_args()
    measure("soak", ROWS, run, args)


if __name__ == "__main__":
    main()
