"""Prints tables as plain text, for terminals and logs."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

NAMED = 3  # number of stand-ins of a joint that are named, at most
SCREEN = 48  # largest number of joints whose table fits a screen in one block


def ranked(probabilities: Sequence[float], costs: Mapping[int, float]) -> list[int]:
    """Return the joints by rank, for every table and figure.

    Joints whose cost is known are first, the dearest on top; the others follow by keep probability,
    the likeliest first. Where these are the same, the order is that of the joints.

    Args:
        probabilities: keep probabilities of all joints, shape `(J,)`.
        costs: of those joints whose drop was measured; empty before.

    >>> ranked([0.2, 0.99, 0.6], {})
    [1, 2, 0]
    >>> ranked([0.2, 0.99, 0.6], {2: 0.3, 1: 0.1})
    [2, 1, 0]
    """
    known = {joint: cost for joint, cost in costs.items() if math.isfinite(cost)}

    def key(joint: int) -> tuple[bool, float, float, int]:
        return joint not in known, -known.get(joint, 0.0), -probabilities[joint], joint

    return sorted(range(len(probabilities)), key=key)


def joint_table(
    names: Sequence[str],
    probabilities: Sequence[float],
    mask: Sequence[bool],
    width: int,
    costs: Mapping[int, float] | None = None,
) -> str:
    """Return the KEEP / PRUNE table by rank; of many joints in several blocks.

    Args:
        names: names of the joints, shape `(J,)`.
        probabilities: their keep probabilities, shape `(J,)`, each in [0, 1].
        mask: whether each is kept, shape `(J,)`.
        width: in characters.
        costs: of dropping joints, by their number; None leaves out the column.
    """
    verdicts = ["KEEP" if kept else "PRUNE" for kept in mask]
    names = [printable(name) for name in names]
    order = ranked(probabilities, costs or {})
    titles = ["index", *([] if costs is None else ["drop costs"]), "keep prob.", "joint", ""]
    taken = 33 + (0 if costs is None else 13) + max(map(cell_len, names))
    blocks = max(1, width // taken) if len(order) > SCREEN else 1
    table = Table(box=box.ASCII2, show_edge=False, pad_edge=False)
    for _ in range(blocks):
        for title in titles:
            name = title == "joint"
            side = cast(Any, "left" if name else "right")
            table.add_column(title, justify=side, overflow="fold", no_wrap=not name)
    for row in range(rows := -(-len(order) // blocks)):
        cells: list[str | Text] = []
        for joint in order[row::rows]:
            cells.append(str(joint))
            if costs is not None:
                cells.append(f"{costs[joint]:.3f}" if joint in costs else "")
            cells += [f"{probabilities[joint]:.3f}", Text(names[joint]), verdicts[joint]]
        table.add_row(*cells)
    return as_text(table, width)


def stand_in_table(stand_ins: Mapping[str, Mapping[str, float]], width: int) -> str:
    """Return the joints that could stand in for each kept one, under a title.

    Args:
        stand_ins: of each kept joint, the others, the best first, with their R².
        width: in characters.
    """
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(2):
        table.add_column(overflow="fold")
    for kept, others in stand_ins.items():
        table.add_row(*map(Text, map(printable, (kept, f"or {named(others)}"))))
    title = "Stand-ins, with the share of the kept joint's variance that each explains (R²)"
    return f"\n\n{title}\n{as_text(table, width)}"


def named(others: Mapping[str, float]) -> str:
    """Return stand-ins in words, the best first: at most three with their R², the rest counted.

    >>> named({"dip": 0.97, "pip": 0.91, "mcp": 0.8, "wrist": 0.6})
    'dip: 0.97, pip: 0.91, mcp: 0.80, and 1 more'
    """
    best = [f"{name}: {r2:.2f}" for name, r2 in list(others.items())[:NAMED]]
    more = len(others) - len(best)
    return ", ".join([*best, *([f"and {more} more"] if more else [])])


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
