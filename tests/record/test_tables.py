"""Tables lose no name, fit their width, and print names without running them."""

from __future__ import annotations

import builtins

import pytest
from rich.cells import cell_len
from rich.table import Table

from lightning_jointprune.record.tables import as_text, joint_table


def test_the_likeliest_joints_come_first_and_equals_by_index() -> None:
    text = joint_table(("a", "b", "c"), (0.5, 0.9, 0.5), (False, True, False), 80)
    rows = [line.replace("|", " ").split() for line in text.splitlines()[2:]]
    assert rows == [
        ["1", "0.900", "b", "KEEP"],
        ["0", "0.500", "a", "PRUNE"],
        ["2", "0.500", "c", "PRUNE"],
    ]


def test_the_table_of_543_joints_holds_them_all_in_the_width() -> None:
    names = [f"joint_{joint}" for joint in range(543)]
    text = joint_table(names, [0.1] * 543, [joint < 24 for joint in range(543)], 120)
    assert all(f"{name} " in text for name in names)
    assert max(map(len, text.splitlines())) <= 120
    assert len(text.splitlines()) < 300
    assert text.count("KEEP") == 24


def test_a_narrow_table_loses_no_name() -> None:
    name = "-".join(f"part{number}" for number in range(20))
    lines = joint_table((name,), (0.2,), (False,), 50).splitlines()
    assert max(map(len, lines)) <= 50
    assert "".join(line.split("|")[2].strip() for line in lines[2:]) == name


def test_the_table_prints_names_and_runs_none_of_them() -> None:
    names = ("[red]x[/red]", "\x1b[31mred", "line\nbreak")
    text = joint_table(names, (0.1, 0.1, 0.1), (False,) * 3, 80)
    assert "[red]x[/red]" in text
    assert "\x1b" not in text
    assert "line?break" in text


def test_text_has_no_blanks_at_the_ends_of_lines() -> None:
    table = Table("a", "b", box=None)
    table.add_row("x", "")
    assert all(line == line.rstrip() for line in as_text(table, 40).splitlines())


def test_the_blocks_of_wide_names_leave_each_name_in_one_line() -> None:
    names = [f"右手の人差し指の先 {joint}" for joint in range(60)]  # each sign is two cells wide
    lines = joint_table(names, [0.1] * 60, [False] * 60, 120).splitlines()
    assert max(map(cell_len, lines)) <= 120
    assert all(any(f"{name} " in line for line in lines) for name in names)


def test_a_notebook_gets_the_table_that_a_terminal_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    table = (("wrist", "thumb"), (0.9, 0.1), (True, False), 80)
    in_a_terminal = joint_table(*table)
    assert "wrist" in in_a_terminal
    shell = type("ZMQInteractiveShell", (), {})()  # rich knows a notebook by this name
    monkeypatch.setattr(builtins, "get_ipython", lambda: shell, raising=False)
    assert joint_table(*table) == in_a_terminal
