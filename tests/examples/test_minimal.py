from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import examples.minimal
from lightning_jointprune import PruningRecord


def test_the_smallest_example_finds_the_planted_joints(tmp_path: Path) -> None:
    program = [sys.executable, examples.minimal.__file__]
    run = subprocess.run(program, cwd=tmp_path, check=True, capture_output=True, text=True)

    folder = tmp_path / "lightning_logs" / "version_0"
    assert PruningRecord.from_json(folder).selection.indices == examples.minimal.PLANTED
    assert "Kept: joint_3, joint_7" in run.stdout
    assert f"Report: {folder / 'joint_importance.html'}" in run.stdout
    assert (folder / "joint_importance.html").stat().st_size > 100_000
