"""The command line that scripts share refuses data that are not there, before any cell runs."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "script", ["another_seed", "asl_study", "asl_words", "how_few", "last_phase", "selection"]
)
def test_data_that_are_not_there_are_said_in_a_line(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module(f"benchmarks.{script}").main
    wrong = [tmp_path / "nowhere", *([tmp_path] if script == "asl_study" else [])]
    for path in wrong:
        monkeypatch.setattr("sys.argv", [script, "--data", str(path)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "error: argument --data: Expected " in said
        assert str(path) in said
