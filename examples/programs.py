"""Ends a program with a line that says what is wrong with its input, or missing here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def check_installed(extra: str, *modules: str) -> None:
    """Check that modules can be imported, before the first of them is.

    Args:
        extra: of `lightning-jointprune`, which brings them.
        modules: names of the modules.

    Raises:
        ModuleNotFoundError: one is missing; a program in this folder ends with a line instead.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if not missing:
        return
    said = (
        f"Expected {', '.join(missing)} but got none installed. Run "
        f"pip install 'lightning-jointprune[{extra}]', or '.[{extra}]' in a checkout."
    )
    if sys.argv[0] == "-m" or Path(sys.argv[0]).resolve().is_relative_to(FOLDER):
        _end(said)
    raise ModuleNotFoundError(said)


@contextmanager
def one_line() -> Iterator[None]:
    """End with status 2 after one line, where an error says itself what was expected.

    Other errors keep their traceback: they are no one's input.
    """
    try:
        yield
    except Exception as error:
        if not str(error).startswith("Expected "):
            raise
        _end(str(error))


def _end(said: str) -> None:
    print(" ".join(said.split()), file=sys.stderr)
    raise SystemExit(2)
