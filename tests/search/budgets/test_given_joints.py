"""`GivenJoints` has its mask from the first step on, and is refused where it contradicts others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lightning_jointprune.gates.layer import JointPruningLayer
from lightning_jointprune.gates.relaxations import GATES, make_gate
from lightning_jointprune.search.budgets import make_controller
from lightning_jointprune.search.budgets.given_joints import GivenJoints
from lightning_jointprune.search.search import JointSearch


def search_of(joints: Any, **settings: Any) -> JointSearch:
    layer = JointPruningLayer(4, **settings)
    layer.joint_names = ("wrist", "thumb", "index", "ring")
    return JointSearch(layer, make_controller(GivenJoints(joints), layer), (0.1, 0.6))


@pytest.mark.parametrize(
    "joints",
    [
        [0, 2],
        (2, 0),
        {0, 2},
        np.array([0, 2]),
        torch.tensor([2, 0]),
        ["wrist", "index"],
        ["index", 0],
    ],
)
def test_joints_are_given_by_index_or_name_in_any_order(joints: Any) -> None:
    search = search_of(joints)
    assert search.advance(0.0) == "final"
    assert search.mask() == [True, False, True, False]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("groups", [{}, {"groups": {"hand": [0, 1], "rest": [2, 3]}}])
def test_the_gates_are_open_and_closed_to_the_last_digit_shown(gate: str, groups: Any) -> None:
    search = search_of([0, 1], gate=make_gate(gate), **groups)
    search.advance(0.0)
    assert search.probabilities() == pytest.approx([1.0, 1.0, 0.0, 0.0], abs=1e-12)


def test_the_run_is_its_final_phase_whatever_step_it_begins_at() -> None:
    for progress in (0.0, 0.3, 0.99):
        search = search_of([1])
        assert (search.phase, search.settles) == ("warmup", 0.0)
        assert search.advance(progress) == "final"
        assert search.advance(progress) is None
        assert (search.done, search.changes, search.frozen) == (1.0, False, True)
        assert (search.course()["began"], search.course()["steps"]) == (None, 0)
        search.check_learning("x")  # no gate is to be trained
        assert "1 of 4 joints are given" in search.announcement()


def test_means_of_dropped_joints_are_those_of_the_batches_so_far() -> None:
    search = search_of([0], fill="mean")
    batches = torch.randn(3, 5, 2, 4, 3)
    for number, batch in enumerate(batches, start=1):
        search.advance(0.1 * number)
        got = search.layer(batch)
        mean = batches[:number].mean(dim=(0, 1, 2))
        torch.testing.assert_close(got[..., 1:, :], mean[1:].expand(5, 2, 3, 3))
        assert torch.equal(got[..., 0, :], batch[..., 0, :])
    search.evaluate()
    torch.testing.assert_close(search.layer(batches[0])[..., 1:, :], mean[1:].expand(5, 2, 3, 3))


def test_a_validation_has_the_means_of_the_first_process_in_all() -> None:
    first, second = (search_of([0], fill="mean") for _ in range(2))
    assert not first.gathers
    for search in (first, second):
        search.advance(0.1)
        search.layer(torch.randn(5, 2, 4, 3))
    assert first.gathers
    second.share(lambda _: first.layer.export_state())
    assert torch.equal(first.layer.fill_mean, second.layer.fill_mean)  # type: ignore[arg-type]
    second.evaluate()
    assert not second.gathers


@pytest.mark.parametrize(
    ("joints", "settings", "message"),
    [
        ([], {}, r"different joints to keep but got \[\]"),
        ("wrist", {}, "list of different joints to keep but got 'wrist'"),
        ([1, 1], {}, r"but got \[1, 1\]. Pass GivenJoints"),
        ([0.5], {}, r"but got \[0\.5\]"),
        ([True, False], {}, r"but got \[True, False\]. Pass GivenJoints"),
        (4, {}, "but got 4. Pass GivenJoints"),
        (["wrist", 0], {}, "got wrist by its name and by its index, 0. Leave one out"),
        ([4], {}, "joints of 0 to 3, or their names, but got 4. The names begin with wrist"),
        ([-1], {}, "but got -1"),
        (["elbow"], {}, "but got 'elbow'"),
        ([0, 1], {"drop": [1]}, "without those of drop but got thumb in both"),
        ([0, 1], {"keep": [3]}, "with those of keep but ring is not given"),
        (
            [0, 1],
            {"groups": {"hand": [1, 2]}, "tied": True},
            "all or none of a tied group to be given but got one of index and thumb",
        ),
    ],
)
def test_what_cannot_be_given_is_refused(joints: Any, settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search_of(joints, **settings)
