"""Keep finished measurements, so that a run can be stopped, resumed and shared.

A *cell* is one training run, described by its settings. Each finished cell is a line of JSON with
its result, how long it took, on what, and with which versions and state of the code.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import json
import multiprocessing
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.shared.digest import digest
from benchmarks.shared.machine import cpu

Settings = dict[str, Any]  # what JSON can hold; "script", "seed" and "pruned" are always there
Result = dict[str, Any]
Record = dict[str, Any]  # settings, result, seconds, date, versions, cpu, code

BENCHMARKS = Path(__file__).parents[1]
ROOT = BENCHMARKS.parent
DISTRIBUTIONS = ("torch", "lightning", "transformers", "numpy")
# Rooms that read what a training run has left; they can not change its figures.
READERS = {"cli", "compaction", "joint_files", "measure", "record", "report"}
MODELS = ("benchmarks/shared/models.py", "benchmarks/shared/data.py")
SELECTORS = ("benchmarks/shared/joint_data.py", "benchmarks/selectors/training.py")
WATCHED = ("benchmarks/shared/held_out.py", "benchmarks/shared/watched.py")
FIRST_RUN = (*WATCHED, "benchmarks/shared/ways.py")
EXAMPLE = ("examples/autsl_fusion.py", "examples/autsl/**/*.py")
# What the cells of a script come from, besides the package where they are pruned; globs.
SCRIPTS = {
    "another_seed": (*MODELS, "benchmarks/shared/joint_data.py", "benchmarks/another_seed.py"),
    "asl_study": (*MODELS, "benchmarks/shared/study_models.py", "examples/autsl/encoders.py"),
    "asl_words": MODELS,
    "compaction": (
        "benchmarks/compaction.py",
        "examples/autsl/encoders.py",
        "lightning_jointprune/gates/*.py",
        "lightning_jointprune/joint_files/select.py",
        "lightning_jointprune/attach/*.py",
        "lightning_jointprune/compaction/**/*.py",
    ),
    "data_wait": ("benchmarks/data_wait.py", *EXAMPLE),
    "demo": EXAMPLE,
    "how_few": (*MODELS, *FIRST_RUN, "lightning_jointprune/report/doubts.py"),
    "held_out": (*MODELS, "benchmarks/shared/held_out.py"),
    "import_time": (*MODELS, "benchmarks/import_time.py"),
    "last_phase": MODELS,
    "listing": (
        "benchmarks/listing.py",
        "examples/autsl/check.py",
        "examples/autsl/data/files.py",
        "examples/autsl/data/labels.py",
        "examples/autsl/data/synthetic.py",
    ),
    "ours": (*MODELS, *SELECTORS, "benchmarks/selectors/ours.py"),
    "overhead": (*MODELS, "benchmarks/overhead.py", "tests/zoo/twins.py", *EXAMPLE),
    "penalties": (*MODELS, *SELECTORS, "benchmarks/selectors/penalties.py"),
    "planted": MODELS,
    "pose_files": (
        "benchmarks/pose_files.py",
        "lightning_jointprune/joint_files/**/*.py",
        "lightning_jointprune/skeletons/*.py",
    ),
    "run_cost": (*MODELS, *FIRST_RUN, "lightning_jointprune/report/*.py"),
    "scores": (*MODELS, *SELECTORS, "benchmarks/selectors/scores.py"),
    "soak": (*MODELS, "benchmarks/soak.py"),
    "subset": (*MODELS, "benchmarks/shared/joint_data.py"),
    "validated": (*MODELS, *WATCHED),
}
UNSEARCHED = ("compaction",)  # scripts in which nothing is searched, though joints are dropped


class Store:
    """The finished cells of one script.

    Args:
        folder: where the files are.
        script: name of the script, and of its file.
        any_code: whether results count that an earlier state of the code gave.
    """

    def __init__(self, folder: Path, script: str, any_code: bool = False) -> None:
        self.path = folder / f"{script}.jsonl"
        self.any_code = any_code
        self.records: dict[str, Record] = {}
        for line in self.path.read_text("utf-8").splitlines() if self.path.is_file() else ():
            with contextlib.suppress(json.JSONDecodeError):  # a line cut short by a crash
                self._remember(json.loads(line))

    def find(self, settings: Settings) -> Record | None:
        record = self.records.get(_key(settings))
        if record is None or self.any_code or record["code"] == code_state(settings):
            return record
        return None

    def result(self, settings: Settings) -> Result | None:
        record = self.find(settings)
        return None if record is None else record["result"]

    def add(self, record: Record) -> None:
        self._remember(record)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _remember(self, record: Record) -> None:
        self.records[_key(record["settings"])] = record


def _key(settings: Settings) -> str:
    return json.dumps(settings, sort_keys=True)


# --- states and versions -------------------------------------------------------------------------


def code_state(settings: Settings) -> str:
    """Return a short digest of the code that the cell's figures come from."""
    return _state(settings["script"], settings["pruned"])


@functools.cache
def _state(script: str, pruned: bool) -> str:
    files = [path for pattern in SCRIPTS[script] for path in sorted(ROOT.glob(pattern))]
    if pruned and script not in UNSEARCHED:
        package = package_folder()
        files += [path for path in package.rglob("*.py") if not _reads_only(package, path)]
    return digest(files)


def _reads_only(package: Path, path: Path) -> bool:
    """Return whether a module cannot change a run's figures, as what lists names or commands."""
    room = path.relative_to(package).parts[0]
    return room in READERS or path.stem.startswith("__")


@functools.cache
def package_folder() -> Path:
    spec = importlib.util.find_spec("lightning_jointprune")
    if spec is None or spec.origin is None:
        raise SystemExit("Expected lightning_jointprune but it is not installed: pip install -e .")
    return Path(spec.origin).parent


@functools.cache
def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    with contextlib.suppress(ImportError, AttributeError):
        import lightning_jointprune

        found["lightning_jointprune"] = lightning_jointprune.__version__
    return found


# --- running -------------------------------------------------------------------------------------


def run_cells(
    cells: Iterable[Settings], run: Callable[[Settings], Result], store: Store, workers: int
) -> int:
    """Run the cells that the store does not have yet, and return how many failed.

    Args:
        cells: settings of the cells; duplicates are run once.
        run: runs one of them. It has to be importable where there are several workers.
        store: gets each result as soon as it is there.
        workers: processes, one thread each.
    """
    missing = list({_key(cell): cell for cell in cells if store.find(cell) is None}.values())
    failed = 0
    with _progress() as progress, _pool(workers) as submit:
        task = progress.add_task(store.path.stem, total=len(missing))
        for cell, record, error in submit(functools.partial(_measure, run), missing):
            if error:
                failed += 1
                progress.console.print(f"failed: {_key(cell)}\n{error}", markup=False)
            else:
                store.add(record)
            progress.advance(task)
    return failed


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))


def _measure(run: Callable[[Settings], Result], cell: Settings) -> tuple[Settings, Record, str]:
    """Run one cell; a failure is returned as text, so that the others go on."""
    code = code_state(cell)
    start = time.perf_counter()
    try:
        result = run(cell)
    except Exception:
        return cell, {}, traceback.format_exc()
    record = {
        "settings": cell,
        "result": result,
        "seconds": round(time.perf_counter() - start, 1),
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "cpu": cpu(),
        "code": code,
    }
    return cell, record, ""


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Yield a map that gives results in the order in which they are finished."""
    if workers == 1:
        _one_thread()
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:

        def unordered(call: Callable[[Any], Any], items: list[Any]) -> Iterator[Any]:
            futures: list[Future[Any]] = [pool.submit(call, item) for item in items]
            for future in as_completed(futures):
                yield future.result()

        try:
            yield unordered
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one_thread() -> None:
    torch.set_num_threads(1)
