"""Keeps docs/compatibility.md and docs/compaction.md what the tests say: a plugin, in conftest.

A test that shows that a feature works, or is refused, is marked with its section and its name:

    @pytest.mark.compatibility("Callbacks", "EarlyStopping")
    @pytest.mark.compatibility("Schedulers", "{scheduler}")  # a parameter of the test, or {id}
    @pytest.mark.compatibility("Trainer", "FSDP", refused=True)  # with the error it expects

Marks of several tests may name one feature. A test that measures what a line says has the bare mark
and passes section, feature and cells to `record_property`, under the mark's name. When all marked
tests have passed (in the complete suite, or with `-m compatibility`), the pages that their outcomes
make have to be those that are there, or are written with `--write-compatibility`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
MARK = "compatibility"
HEAD = """# Compatibility

What works with `JointPruningCallback`, and what is refused with which error. Each line is the
outcome of tests, with the versions in `constraints.txt`: the page is written by
`python -m pytest -m compatibility --write-compatibility`, and the complete suite fails where it is
out of date.
"""
SECTIONS = {
    "Models": "How a module may take its skeletons. Each was trained with the callback and, beside "
    "it, with the gates written into the module by hand: every loss is the same, bit for bit.",
    "Optimizers": "The gates are trained beside the module's parameters, which move as they do "
    "without; also with `foreach`, `fused` and `momentum`, where an optimizer has them.",
    "Schedulers": "The rates of the module's parameters are those of a run without the callback.",
    "Trainer": "What a run, its data and its training step may be like.",
    "Callbacks": "Beside ours, listed before or after it.",
    "Checkpoints": "What is saved can be loaded, tested and resumed.",
    "Pruned models": "What may be done with a model once it was pruned: it keeps its mask.",
    "Examples for `compact` and `export_model`": "Ways to give what a forward takes. Each "
    "compact model has the outputs of one that was written by hand for the kept joints, with the "
    "same weights, bit for bit.",
    "File systems": "Where records, reports and models are written and read.",
}
SMALLER_PAGE = PAGE.with_name("compaction.md")
SMALLER_HEAD = """# What can be smaller

What `compact` makes of models, and what it refuses with which layer and reason. Each line is the
outcome of a test: the compact model was compared with the masked one in float64, and the ONNX file
of it with the compact model, on clips that neither was made with. A refused model can still take
the kept joints alone, with `whole=True`. The page is written by
`python -m pytest -m compatibility --write-compatibility`, and the complete suite fails where it is
out of date.
"""
SMALLER = {
    "Ways to take a skeleton": "One linear layer over all frames, joints and coordinates, called "
    "as modules are called; 7 of 21 joints are kept. That layer fixes the number of frames.",
    "Encoders": "What happens to the joints' axis; 4 of 9 joints are kept, and dropped ones are 0.",
}
SMALLER_CELLS = ("pattern", "outcome", "first layer of joints", "equal within, or why not", "ONNX")
PARTIAL = ("keyword", "lf", "deselect", "ignore", "ignore_glob", "collectonly")
Rows = dict[tuple[str, str], set[tuple[str, ...]]]  # the cells of each section and feature


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-compatibility", action="store_true", help="write the pages in docs")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Outcomes(config), "compatibility outcomes")


# --- in the process that runs a test -------------------------------------------------------------


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Make sure that what `make test` leaves out has no line in the pages."""
    both = [item for item in items if item.get_closest_marker(MARK)]
    both = [item.nodeid for item in both if item.get_closest_marker("slow")]
    if both:
        raise pytest.UsageError(f"Expected tests marked {MARK} not to be slow but got {both}.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note what the test shows in its report, which is all that other processes hear of it."""
    marks, errors = [mark for mark in item.iter_markers(MARK) if mark.args], []
    try:
        with noting_errors(errors) if marks else contextlib.nullcontext():
            yield
    finally:
        item.user_properties += [(MARK, shown(item, mark, errors)) for mark in marks]
    if not errors and any(mark.kwargs.get("refused") for mark in marks):
        pytest.fail("Expected pytest.raises in a test that is marked refused=True but saw none.")


@contextlib.contextmanager
def noting_errors(errors: list[str]) -> Iterator[None]:
    """Note the errors that a test expects by `pytest.raises`."""
    original = pytest.raises

    @contextlib.contextmanager
    def raises(*args: Any, **kwargs: Any) -> Iterator[pytest.ExceptionInfo[BaseException]]:
        with original(*args, **kwargs) as caught:
            yield caught
        errors.append(" ".join(str(caught.value).split()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytest, "raises", raises)
        yield


def shown(item: Any, mark: pytest.Mark, errors: Sequence[str]) -> tuple[Any, ...]:
    """Section, feature and cells, should the test pass."""
    section, feature = mark.args
    if section not in SECTIONS:
        raise ValueError(f"Expected a section out of {', '.join(SECTIONS)} but got {section!r}.")
    if hasattr(item, "callspec"):
        values = {name: written(value) for name, value in item.callspec.params.items()}
        feature = feature.format(**values, id=item.callspec.id)
    refused = mark.kwargs.get("refused", False)
    return section, feature, (f"refused: {''.join(errors[-1:])}" if refused else "works",)


def written(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={value[name]!r}" for name in value)
    return getattr(value, "__name__", str(value))


# --- in the process that sees all reports --------------------------------------------------------


class Outcomes:
    """Collect what the tests of a session have shown, and write the page."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.rows: Rows = {}
        self.note = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" or report.failed:
            return
        for name, row in report.user_properties:
            if name == MARK:
                section, feature, cells = row
                if hasattr(report, "wasxfail"):
                    cells = (f"does not work: {report.wasxfail}",)
                self.rows.setdefault((section, feature), set()).add(tuple(cells))

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        wanted = self.config.getoption("write_compatibility")
        if hasattr(self.config, "workerinput"):  # of several processes, the first sees all reports
            return
        if exitstatus != pytest.ExitCode.OK or not is_complete(self.config):
            if wanted:
                self.note = "The pages are as they were: all marked tests have to pass first."
            return
        for path, text in pages(self.rows).items():
            if wanted:
                path.write_text(text, encoding="utf-8")
                self.note += f"{path.name} is written. "
            elif not path.exists() or path.read_text(encoding="utf-8") != text:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
                self.note += (
                    f"docs/{path.name} is not what the tests say. Run python -m pytest -m {MARK} "
                    "--write-compatibility, look at the difference and commit it. "
                )

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.note:
            terminalreporter.write_line(self.note)


def is_complete(config: pytest.Config) -> bool:
    """Return whether no marked test was left out on the command line."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    whole = whole and config.getoption("markexpr") in ("", MARK, "not slow")
    return whole and not any(config.getoption(name, None) for name in PARTIAL)


def pages(rows: Rows) -> dict[Path, str]:
    """The pages of which there are rows, and their text."""
    texts = {
        PAGE: page(rows),
        SMALLER_PAGE: page(rows, SMALLER_HEAD, SMALLER, SMALLER_CELLS),
    }
    sections = {section for section, _ in rows}
    return {
        path: text
        for (path, text), of in zip(texts.items(), (SECTIONS, SMALLER), strict=True)
        if sections & set(of)
    }


def page(
    rows: Rows,
    head: str = HEAD,
    sections: Mapping[str, str] = SECTIONS,
    columns: Sequence[str] = ("feature", "result"),
) -> str:
    """A page: sections in their order, features by name."""
    parts = [head]
    for section, sentence in sections.items():
        parts.append(f"\n## {section}\n\n{sentence}\n\n{line(columns)}|{'---|' * len(columns)}\n")
        features = sorted((row for row in rows if row[0] == section), key=lambda it: it[1].lower())
        for feature in features:
            cells = ("; ".join(sorted(set(some))) for some in zip(*rows[feature], strict=True))
            parts.append(line([feature[1], *cells]))
    return "".join(parts)


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |\n"


def escaped(text: str) -> str:
    return text.replace("|", "\\|")
