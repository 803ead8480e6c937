"""Where finished measurements are kept, so that a run can be stopped, resumed and shared.

A *cell* is one training run, described by its settings. Each finished cell is a line of JSON with
its result, how long it took, on what, and with which versions and state of the code.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
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

from benchmarks.machine import cpu

Settings = dict[str, Any]  # what JSON can hold; "script", "seed" and "pruned" are always there
Result = dict[str, Any]
Record = dict[str, Any]  # settings, result, seconds, date, versions, cpu, code

HERE = Path(__file__).parent
DISTRIBUTIONS = ("torch", "lightning", "transformers", "numpy")
# Modules that read what a training run has left; they can not change its figures.
READERS = {"__init__", "__main__", "agreement", "compaction", "evaluate"}
READERS |= {"evaluation", "follow", "products", "record", "report", "rules", "surgery", "tracing"}
# What the cells of a script come from, besides the models and the data.
CHOICES = {
    "subset": ["joint_data.py"],
    "asl_study": ["study_models.py", "../examples/autsl_encoders.py"],
} | {
    script: ["joint_data.py", "selectors/training.py", f"selectors/{script}.py"]
    for script in ("ours", "penalties", "scores")
}


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
    """A short digest of the code that the cell's figures come from."""
    return _state(settings["script"], settings["pruned"])


@functools.cache
def _state(script: str, pruned: bool) -> str:
    files = [HERE / name for name in ("models.py", "data.py", *CHOICES.get(script, ()))]
    examples = sorted((HERE.parent / "examples").glob("*.py"))
    if script == "demo":
        files = examples
    if script == "compaction":
        folder = HERE.parent / "lightning_jointprune"
        files = [HERE / "compaction.py", HERE.parent / "examples" / "autsl_encoders.py"]
        files += [folder / name for name in ("layer.py", "selecting.py", "attach.py")]
        files += sorted((folder / "compaction").glob("*.py"))
        pruned = False  # nothing is searched
    if script == "data_wait":
        files = [HERE / "data_wait.py", *examples]
    if script == "listing":
        checked = ("check", "files", "labels", "synthetic")
        files = [HERE / "listing.py"]
        files += [HERE.parent / "examples" / f"autsl_{name}.py" for name in checked]
    if script == "overhead":
        files += [HERE / "overhead.py", HERE.parent / "tests" / "twins.py", *examples]
    if script in ("import_time", "soak"):
        files.append(HERE / f"{script}.py")
    if pruned:
        package = package_folder()
        files += [
            path for path in sorted(package.glob("**/*.py")) if not _reads_only(package, path)
        ]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\n{_logic(path)}\n".encode())
    return digest.hexdigest()[:12]


def _reads_only(package: Path, path: Path) -> bool:
    return path.relative_to(package).parts[0].removesuffix(".py") in READERS


def _logic(path: Path) -> str:
    """A file without its comments, docstrings and layout."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.unparse(tree)


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
