"""The page of what works is made from the tests' outcomes, and has to be up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.zoo.compatibility import page

ROOT = Path(__file__).parents[2]
INI = f"""
[pytest]
testpaths = .
pythonpath = {ROOT}
markers =
    compatibility
    slow
"""
CONFTEST = 'pytest_plugins = ["tests.zoo.compatibility"]'
SUITE = """
import pytest

@pytest.mark.compatibility("Callbacks", "EMA")
@pytest.mark.parametrize("first", [True, False])
def test_ema(first):
    pass

@pytest.mark.compatibility("Trainer", "{settings}, {id}")
@pytest.mark.parametrize("settings", [{"precision": 16, "devices": 2}], ids=["both"])
def test_settings(settings):
    pass

@pytest.mark.compatibility("Trainer", "FSDP", refused=True)
def test_fsdp():
    with pytest.raises(ValueError, match="Expected"):
        raise ValueError("Expected one | two but\\n  got FSDP.")

@pytest.mark.compatibility
def test_measured(record_property):
    record_property("compatibility", ("Encoders", "linear", ("compacted", "a|b")))

@pytest.mark.compatibility("Checkpoints", "weights alone")
@pytest.mark.xfail(reason="nobody is asked")
def test_weights():
    assert False
"""
ROWS = [  # sections come in the page's order
    "| FSDP | refused: Expected one \\| two but got FSDP. |",
    "| precision=16, devices=2, both | works |",
    "| EMA | works |",
    "| weights alone | does not work: nobody is asked |",
]


@pytest.fixture
def written(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the place of the page, in a folder with a suite of its own."""
    path = pytester.path / "page.md"
    monkeypatch.setattr("tests.zoo.compatibility.PAGE", path)
    monkeypatch.setattr("tests.zoo.compatibility.SMALLER_PAGE", pytester.path / "smaller.md")
    pytester.makeini(INI)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_suite=SUITE)
    return path


def run(pytester: pytest.Pytester, *arguments: str) -> int:
    return pytester.runpytest_inprocess(*arguments).ret


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "workers"])
def test_the_page_holds_what_passed_was_refused_and_is_known_to_fail(
    pytester: pytest.Pytester, written: Path, workers: list[str]
) -> None:
    assert run(pytester, "--write-compatibility", *workers) == 0
    lines = [line for line in written.read_text("utf-8").splitlines() if line.startswith("| ")]
    assert [line for line in lines if line != "| feature | result |"] == ROWS
    measured = written.with_name("smaller.md").read_text("utf-8").splitlines()
    assert "| linear | compacted | a\\|b |" in measured


@pytest.mark.parametrize("complete", [[], ["-m", "not slow"]], ids=["all", "all but slow"])
def test_a_complete_suite_fails_where_the_page_is_out_of_date(
    pytester: pytest.Pytester, written: Path, complete: list[str]
) -> None:
    assert run(pytester, *complete) == 1
    run(pytester, "-m", "compatibility", "--write-compatibility")
    assert run(pytester, *complete) == 0
    written.write_text(written.read_text().replace("| EMA |", "| SWA |"))
    assert run(pytester, *complete) == 1


@pytest.mark.parametrize(
    "arguments",
    [["-k", "ema"], ["-m", "slow or compatibility"], ["test_suite.py"], ["--deselect", "test_ema"]],
)
def test_a_part_of_the_suite_neither_fails_nor_writes(
    pytester: pytest.Pytester, written: Path, arguments: list[str]
) -> None:
    assert run(pytester, *arguments) == 0
    assert run(pytester, *arguments, "--write-compatibility") == 0
    assert not written.exists()


@pytest.mark.parametrize(
    ("mark", "complaint"),
    [
        ('"Trainer", "DDP", refused=True', "*marked refused=True but saw none*"),
        ('"Trainers", "DDP"', "*Expected a section out of Models, *but got 'Trainers'*"),
    ],
)
def test_a_mark_that_cannot_be_right_fails_its_test(
    pytester: pytest.Pytester, written: Path, mark: str, complaint: str
) -> None:
    pytester.makepyfile(
        test_suite=f"import pytest\n\n@pytest.mark.compatibility({mark})\ndef test_it(): pass"
    )
    result = pytester.runpytest_inprocess("--write-compatibility")
    assert result.ret == 1
    result.stdout.fnmatch_lines([complaint])
    assert not written.exists()


def test_a_row_of_the_page_can_not_come_from_a_test_that_is_left_out(
    pytester: pytest.Pytester, written: Path
) -> None:
    pytester.makepyfile(
        test_suite="import pytest\n\n@pytest.mark.slow\n"
        '@pytest.mark.compatibility("Trainer", "DDP")\ndef test_it(): pass'
    )
    assert run(pytester) == pytest.ExitCode.USAGE_ERROR


def test_features_are_in_the_order_of_their_names() -> None:
    rows = {("Optimizers", name): {("works",)} for name in ("SGD", "adam", "Adam W")}
    text = page(rows)
    assert text.index("| adam |") < text.index("| Adam W |") < text.index("| SGD |")
