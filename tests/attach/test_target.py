"""Inputs as they are written, and targets that come back from that."""

from __future__ import annotations

import json

import pytest

from lightning_jointprune.attach.target import Target, parse_input, read_targets, written


@pytest.mark.parametrize(
    ("text", "module", "path"),
    [
        ("x", "", ("x",)),
        (":x", "", ("x",)),
        ("encoder.stgcn:x", "encoder.stgcn", ("x",)),
        (" encoder : batch.pose.0 ", "encoder", ("batch", "pose", "0")),
    ],
)
def test_an_input_is_read(text: str, module: str, path: tuple[str, ...]) -> None:
    assert parse_input(text) == (module, path)
    target = Target.parse(text, "b t (j c)")
    assert (target.module, target.path) == (module, path)
    assert Target.parse(target.input, target.axes) == target


@pytest.mark.parametrize("text", ["", "encoder:", "batch..x", "batch."])
def test_a_malformed_input_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expected input as \[module path:\]argument"):
        parse_input(text)


@pytest.mark.parametrize(
    ("where", "sizes"), [("x", []), ("enc.body:x + batch.left+right", [33, 21, 21])]
)
def test_targets_come_back_from_what_was_written(where: str, sizes: list[int]) -> None:
    state = {"input": where, "axes": "b t (j c)", "sizes": sizes}
    targets = read_targets(state)
    again = written(targets)
    assert again == {**state, "input": where.replace("t+r", "t + r")}
    assert read_targets(json.loads(json.dumps(again))) == targets
    assert [t.joints for t in targets] == (
        [range(33), range(33, 54), range(54, 75)] if sizes else [None]
    )


def test_no_targets_are_written_as_none() -> None:
    assert written(()) == {"input": None, "axes": None, "sizes": []}
    assert read_targets(written(())) == ()
