"""JSON that is written is read back, and what does not fit is refused by name."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lightning_jointprune
from lightning_jointprune import Groups, HardConcrete, MetricFloor, Price, TargetJoints
from lightning_jointprune.record.stored import (
    as_argument,
    as_code,
    build,
    by_field,
    by_item,
    class_of,
    content_of,
    plain,
    read_json,
    real,
    whole,
    write_json,
)


@dataclass(frozen=True)
class Thing:
    name: str
    values: tuple[float, ...] = ()
    inner: tuple[Thing, ...] = ()


@pytest.mark.parametrize("value", [True, 1.5, "1", 2**63 + 1])
def test_what_is_no_integer_is_refused_by_name(value: Any) -> None:
    with pytest.raises(ValueError, match="Expected an integer as age but got"):
        whole(value, "age")


def test_null_is_a_number_that_is_not_known() -> None:
    assert math.isnan(real(None, "age"))
    with pytest.raises(ValueError, match="Expected a number as age but got 'old'"):
        real("old", "age")


def test_mappings_are_sorted_unless_their_order_counts() -> None:
    data = {"b": math.nan, "a": (1, Path("x"))}
    assert list(plain(data).items()) == [("a", [1, "x"]), ("b", None)]
    assert list(plain(data, sort=False)) == ["b", "a"]


def test_a_line_is_a_field_or_one_of_several_things() -> None:
    thing = Thing("whole", (1.0, 2.0), (Thing("first"), Thing("second")))
    lines = by_field(thing).splitlines()
    assert lines[1:3] == [' "name": "whole",', ' "values": [1.0, 2.0],']
    assert [line.strip()[:1] for line in lines[4:6]] == ["{", "{"]
    assert json.loads(by_field(thing)) == json.loads(by_item(json.loads(by_field(thing))))


def test_what_is_written_is_read_from_text_a_file_or_a_folder(tmp_path: Path) -> None:
    text = write_json(Thing("a"), "thing", tmp_path, "thing.json")
    assert (tmp_path / "thing.json").read_text(encoding="utf-8") == text
    for given in (text, tmp_path, str(tmp_path / "thing.json")):
        data, _ = read_json(given, "thing", "thing.json")
        assert build(Thing, data, "here", values=tuple, inner=tuple) == Thing("a")
    assert content_of(text, "thing.json") == (text.encode(), "the given text")


def test_a_field_that_is_missing_is_named_with_its_source() -> None:
    with pytest.raises(ValueError, match=r"Expected a Thing in here but got: .*name"):
        build(Thing, {"values": []}, "here")


def test_text_that_is_damaged_names_its_source() -> None:
    with pytest.raises(ValueError, match="Expected JSON in the given text, but it is damaged"):
        read_json("[", "thing", "thing.json")


# --- arguments of a run ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argument",
    [
        Price(0.003, groups={"face": 2.0}),
        TargetJoints(4),
        MetricFloor("val_acc", 0.9),
        HardConcrete(),
        Groups({"left": [0, 1]}, tied=True),
        {"left": [0, 1], "right": [2]},
        {"Price": 3},
        {},
        [1, "nose", 0.5],
        None,
        'a "word"',
    ],
)
def test_an_argument_is_written_and_read_back_as_code(argument: Any) -> None:
    used: list[str] = []
    written = as_argument(argument, unknown=float)
    code = as_code(json.loads(json.dumps(written)), used)
    assert eval(code, {name: getattr(lightning_jointprune, name) for name in used}) == argument
    assert used == ([type(argument).__name__] if is_dataclass(argument) else [])


def test_what_json_does_not_know_is_made_plain() -> None:
    assert as_argument({"a": np.float32(0.5), "b": [np.int64(3)]}, unknown=float) == {
        "a": 0.5,
        "b": [3.0],
    }


@pytest.mark.parametrize("argument", [None, 3, [], {}, {"a": 1}, {"a": {}, "b": {}}])
def test_a_plain_argument_has_no_class(argument: Any) -> None:
    assert class_of(argument) == ("", {})


def test_a_mapping_whose_key_is_no_name_of_a_class_is_no_code_but_a_mapping() -> None:
    assert as_code({"print()": {"a": 1}}, used := []) == '{"print()": {"a": 1}}'
    assert used == []
