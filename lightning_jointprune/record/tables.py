"""Prints tables as plain text, for terminals and logs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, cast

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

SCREEN = 48  # largest number of joints whose table fits a screen in one block


def joint_table(
    names: Sequence[str], probabilities: Sequence[float], mask: Sequence[bool], width: int
) -> str:
    """Return the KEEP / PRUNE table, the likeliest joints first; of many joints in several blocks.

    Args:
        names: names of the joints, shape `(J,)`.
        probabilities: their keep probabilities, shape `(J,)`, each in [0, 1].
        mask: whether each is kept, shape `(J,)`.
        width: in characters.
    """
    verdicts = ["KEEP" if kept else "PRUNE" for kept in mask]
    names = [printable(name) for name in names]
    order = sorted(range(len(names)), key=lambda joint: (-probabilities[joint], joint))
    blocks = max(1, width // (33 + max(map(cell_len, names)))) if len(order) > SCREEN else 1
    table = Table(box=box.ASCII2, show_edge=False, pad_edge=False)
    for _ in range(blocks):
        for title in ("index", "keep prob.", "joint", ""):
            name = title == "joint"
            side = cast(Any, "left" if name else "right")
            table.add_column(title, justify=side, overflow="fold", no_wrap=not name)
    for row in range(rows := -(-len(order) // blocks)):
        cells: list[str | Text] = []
        for joint in order[row::rows]:
            probability = f"{probabilities[joint]:.3f}"
            cells += [str(joint), probability, Text(names[joint]), verdicts[joint]]
        table.add_row(*cells)
    return as_text(table, width)


def as_text(table: Table, width: int | None = None) -> str:
    """Return a table as text without colours, as wide as the terminal or `width` characters."""
    file = io.StringIO()  # a console on stdout ends the program once nobody reads it
    # In a notebook, rich would write to the cell instead of the file.
    how: dict[str, Any] = {"color_system": None, "force_terminal": False, "force_jupyter": False}
    Console(file=file, width=width, **how).print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def printable(text: str) -> str:
    """Return text that cannot move a terminal's cursor or change its colours."""
    return "".join(character if character.isprintable() else "?" for character in text)
