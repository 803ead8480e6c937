"""Run the cells of a study: here, one after the other, as a SLURM array, or on Ray.

Each runs commands and returns when all have ended. A command that fails stops no other; what failed
is said at the end. SLURM needs submitit, Ray needs ray: `pip install '.[study]'`.
"""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Commands = Mapping[str, Sequence[str]]  # name to program and arguments
ROOT = Path(__file__).parents[3]


def run_commands(
    engine: str, commands: Commands, folder: Path, settings: Mapping[str, Any] | None = None
) -> None:
    """Run commands and wait for them.

    Args:
        engine: `local`, `slurm` or `ray`.
        commands: name to program and arguments; they can run side by side.
        folder: for SLURM's files and its output; every machine sees it.
        settings: for `slurm`, those of submitit's `update_parameters`, such as `timeout_min`,
            `slurm_partition` and `slurm_array_parallelism`; for `ray`, those of `ray.remote`, such
            as `num_gpus`, and `address`, that of the cluster.

    Raises:
        ValueError: there is no such engine, or its package is not installed.
        RuntimeError: commands failed.
    """
    if engine not in ("local", "slurm", "ray"):
        raise ValueError(f"Expected an engine out of local, slurm, ray but got {engine!r}.")
    if not commands:
        return
    if engine == "local":
        failed = _local(commands)
    elif engine == "slurm":
        failed = _slurm(commands, folder / "slurm", dict(settings or {}))
    else:
        failed = _ray(commands, dict(settings or {}))
    if failed:
        raise RuntimeError(
            f"Expected {len(commands)} cells to finish but {len(failed)} failed: "
            f"{', '.join(failed)}. See above why, or in {folder / 'slurm'}; the same study again "
            "runs only what is missing."
        )


def _local(commands: Commands) -> list[str]:
    failed = []
    for number, (name, command) in enumerate(commands.items(), start=1):
        print(f"Cell {number} of {len(commands)}: {name}", flush=True)
        if subprocess.call(command, cwd=ROOT):
            failed.append(name)
    return failed


def _slurm(commands: Commands, folder: Path, settings: dict[str, Any]) -> list[str]:
    """Run an array, here without SLURM if the settings say `cluster: local`."""
    submitit = _imported("submitit", "slurm")
    executor = submitit.AutoExecutor(folder, cluster=settings.pop("cluster", "slurm"))
    executor.update_parameters(**settings)
    with executor.batch():
        jobs = [
            executor.submit(submitit.helpers.CommandFunction([*command], cwd=ROOT))
            for command in commands.values()
        ]
    return [name for name, job in zip(commands, jobs, strict=True) if job.exception()]


def _ray(commands: Commands, settings: dict[str, Any]) -> list[str]:
    ray = _imported("ray", "ray")
    ray.init(settings.pop("address", None), ignore_reinit_error=True, include_dashboard=False)
    try:
        # A program of its own, so that a worker needs nothing of this process.
        call = ray.remote(**{"num_cpus": 1, **settings})(subprocess.call)
        codes = ray.get([call.remote([*line], cwd=str(ROOT)) for line in commands.values()])
    finally:
        ray.shutdown()
    return [name for name, code in zip(commands, codes, strict=True) if code]


def _imported(package: str, engine: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ValueError(
            f"Expected {package} for the engine {engine} but it is not installed: "
            f"pip install {package}, or take the engine local."
        ) from error
