"""The state in a checkpoint is found, and refused where it is of another run."""

from __future__ import annotations

import pytest

from lightning_jointprune.run.checkpoint import STATE_KEY, STATE_SCHEMA, check_state, find_state
from lightning_jointprune.search.budgets.given_joints import GivenJoints
from tests.run.test_settings import checked


def test_a_state_is_found_by_its_key_or_where_it_is_the_only_one() -> None:
    first, second = ({"schema": STATE_SCHEMA, "mask": [kept]} for kept in (True, False))
    x, y = f"{STATE_KEY}{{input='x'}}", f"{STATE_KEY}{{input='y'}}"
    both = {"callbacks": {"EarlyStopping": {}, x: first, y: second}}
    assert find_state(both, x) is first
    assert find_state(both, y) is second
    assert find_state({"callbacks": {"EarlyStopping": {}, x: first}}, y) is first
    assert find_state({"callbacks": {"EarlyStopping": {}}}, x) is None
    assert find_state({}, x) is None


@pytest.mark.parametrize("schema", [{}, {"schema": STATE_SCHEMA + 1}])
def test_a_state_of_another_schema_is_refused_with_both_sides_named(schema: dict) -> None:
    found = schema.get("schema")
    with pytest.raises(ValueError, match=rf"schema {STATE_SCHEMA} but got {found}\. Read it with"):
        find_state({"callbacks": {STATE_KEY: {**schema, "mask": [True]}}}, STATE_KEY)


def test_of_several_states_none_is_guessed() -> None:
    keys = [f"{STATE_KEY}{{input={name!r}}}" for name in ("x", "y", "z")]
    checkpoint = {"callbacks": {key: {} for key in keys[:2]}}
    with pytest.raises(ValueError, match=r"input='z'\}.* but got .*'x'.*'y'.*the same input="):
        find_state(checkpoint, keys[2])


def test_a_state_of_the_same_joints_is_accepted_whatever_holds_their_names() -> None:
    check_state({"joint_names": ["a", "b"]}, ("a", "b"), resumed=None)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (["a", "b"], r"3 joints \(a \.\.\. c\) but got one of 2 \(a \.\.\. b\)"),
        (["k", "l", "m"], r"3 joints \(a \.\.\. c\) but got one of 3 \(k \.\.\. m\)"),
        (["a", "x", "c"], r"one of 3 \(a \.\.\. c\), in which joint 1 is x, not b"),
    ],
)
def test_a_state_of_other_joints_is_refused_with_both_sides_named(saved, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_state({"joint_names": saved}, ("a", "b", "c"), resumed=None)


@pytest.mark.parametrize(
    ("then", "name"),
    [({"budget": 2}, "budget"), ({"gate": "hard_concrete"}, "gate"), ({"fill": "mean"}, "fill")],
)
def test_resuming_another_search_is_refused_but_its_mask_can_be_evaluated(then, name: str) -> None:
    now, other = checked(num_joints=4), checked(num_joints=4, **then)
    state = {"joint_names": list(now.joint_names), "journal": {"settings": other.as_plain()}}
    check_state(state, now.joint_names, resumed=None)
    with pytest.raises(ValueError, match=f"a search with {name}=.* but got one with {name}="):
        check_state(state, now.joint_names, resumed=now.as_plain())


def test_the_place_of_the_input_may_be_said_in_other_words_when_resuming() -> None:
    now, other = checked(num_joints=4), checked(num_joints=4, input="x", axes="b t j c")
    state = {"joint_names": list(now.joint_names), "journal": {"settings": other.as_plain()}}
    check_state(state, now.joint_names, resumed=now.as_plain())


def test_the_file_that_joints_are_from_may_be_another_when_resuming_and_the_joints_may_not() -> (
    None
):
    now = checked(num_joints=4, budget=GivenJoints([1], "here.json"))
    for other in (GivenJoints([1], "there.json"), GivenJoints([1])):
        then = checked(num_joints=4, budget=other).as_plain()
        state = {"joint_names": list(now.joint_names), "journal": {"settings": then}}
        check_state(state, now.joint_names, resumed=now.as_plain())
    then = checked(num_joints=4, budget=GivenJoints([2], "here.json")).as_plain()
    state = {"joint_names": list(now.joint_names), "journal": {"settings": then}}
    with pytest.raises(ValueError, match="a search with budget="):
        check_state(state, now.joint_names, resumed=now.as_plain())
