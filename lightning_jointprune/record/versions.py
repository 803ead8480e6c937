"""Reads which versions of distributions are installed, and says what to install."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed, by name."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_installed(extra: str, use: str, *modules: str) -> None:
    """Check that modules can be imported, before anything else is done for which they are needed.

    Args:
        extra: of this package, which brings them.
        use: what they do, such as `"reads parquet files"`.
        modules: names of the modules.

    Raises:
        ModuleNotFoundError: if one is missing; says what to install.
    """
    missing = next((name for name in modules if find_spec(name) is None), None)
    if missing is not None:
        raise ModuleNotFoundError(
            f"Expected {missing}, which {use}, but it is not installed. Run "
            f"pip install 'lightning-jointprune[{extra}]'.",
            name=missing,
        )
