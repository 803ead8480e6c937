"""A consensus of runs, against counts and bounds that were worked out by hand."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.report.comparison import (
    NO_BOUND,
    Bound,
    consensus,
    expected_wrong,
    wrong_by_ladder,
)
from tests.records import snapshot

NAMES = tuple("abcde")


def run(kept: str, *probabilities: float, **more: Any) -> PruningRecord:
    """Return a run that kept these joints."""
    indices = tuple(NAMES.index(name) for name in kept)
    known = probabilities or tuple(0.9 if name in kept else 0.1 for name in NAMES)
    return PruningRecord(JointSelection(indices, 5, NAMES, known), **more)


def told(record: PruningRecord, **more: Any) -> PruningRecord:
    return replace(record, selection=replace(record.selection, **more))


FOUR = {
    "1": run("ab", 0.9, 0.7, 0.2, 0.0, 0.0),
    "2": run("ac", 0.9, 0.4, 0.6, 0.1, 0.0),
    "3": run("ab", 0.8, 0.6, 0.1, 0.2, 0.0),
    "4": run("ad", 0.7, 0.1, 0.3, 0.6, 0.0),
}


def test_four_runs_of_five_joints_worked_out_by_hand() -> None:
    found = consensus(FOUR)
    assert found.votes == (4, 2, 1, 1, 0)
    assert found.selection.names == ("a", "b")  # all runs keep two
    assert found.selection.keep_probabilities == pytest.approx((0.825, 0.45, 0.3, 0.225, 0.0))
    # Variances 0, 1/3, 1/4, 1/4, 0 have the mean 1/6, where chance has 2/5 of 3/5.
    assert found.stability is not None
    assert found.stability.value == pytest.approx(1 - (1 / 6) / (6 / 25))
    # Wilson's interval of a half of four: 1/2 plus or minus z sqrt(4 + z²) / (2 (4 + z²)).
    z = 1.959963985
    half = z * (4 + z**2) ** 0.5 / (2 * (4 + z**2))
    assert found.shares[1] == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    assert found.bounds == ()
    assert found.words() == NO_BOUND


@pytest.mark.parametrize(
    ("joints", "kept"), [(1, "a"), (2, "ab"), (3, "abc"), (4, "abcd"), (5, "abcde")]
)
def test_ties_are_decided_by_the_mean_keep_probability(joints: int, kept: str) -> None:
    assert consensus(FOUR, joints).selection.names == tuple(kept)


def test_what_is_tied_there_as_well_is_decided_by_the_index() -> None:
    runs = [run("a", 0.9, 0.5, 0.5, 0.0, 0.0), run("a", 0.9, 0.5, 0.5, 0.0, 0.1)]
    assert consensus(runs, 2).selection.names == ("a", "b")


@pytest.mark.parametrize(("sizes", "joints"), [((1, 2), 1), ((1, 3, 4), 3), ((1, 2, 4, 5), 2)])
def test_the_number_is_the_median_of_those_that_the_runs_found(
    sizes: tuple[int, ...], joints: int
) -> None:
    runs = [run("abcde"[:size], baseline={"runs": float(size)}) for size in sizes]
    assert len(consensus(runs).selection.indices) == joints


def test_a_selection_says_which_runs_it_is_from() -> None:
    source = consensus(FOUR).selection.source
    assert source["runs"] == ["1", "2", "3", "4"]
    assert source["kept_by"] == [4, 2, 1, 1, 0]
    assert source["stability"] == pytest.approx(11 / 36)
    assert consensus(list(FOUR.values())).selection.source["runs"][0] == "run 1"
    assert JointSelection.from_json(consensus(FOUR).selection.to_json()).source == source


# --- the bound ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("joints", "alpha"), [(42, 1.0), (543, 0.05)])
def test_the_bound_is_that_of_the_paper(joints: int, alpha: float) -> None:
    """Meinshausen and Bühlmann 2010, after theorem 1: q = sqrt(0.8 α p) and π = 0.9 give α."""
    assert expected_wrong((0.8 * alpha * joints) ** 0.5, joints, 0.9) == pytest.approx(alpha)
    assert expected_wrong(3.0, 9, 1.0) == 1.0  # all runs: q² / p


@pytest.mark.parametrize(
    ("runs", "joints", "threshold", "wrong"),
    [(2, 4, 1.0, 1.0), (2, 5, 1.0, 0.8), (4, 4, 0.75, 1.25), (4, 4, 1.0, 0.25)],
)
def test_where_no_joint_is_worth_anything_all_are_wrong_and_no_more_than_the_bound(
    runs: int, joints: int, threshold: float, wrong: float
) -> None:
    """Runs keep two joints by chance: all that they can keep, counted. For a pair it is exact."""
    choices = list(itertools.combinations(range(joints), 2))
    counts = [
        sum(sum(joint in kept for kept in drawn) >= threshold * runs for joint in range(joints))
        for drawn in itertools.product(choices, repeat=runs)
    ]
    assert sum(counts) / len(counts) == pytest.approx(wrong)
    bound = expected_wrong(2.0, joints, threshold)
    assert wrong == pytest.approx(bound) if runs == 2 else wrong <= bound


def test_pairs_of_runs_on_halves_of_the_data_have_a_bound() -> None:
    found = consensus(FOUR, halves=True)
    # q = 2 of p = 5: 4 / (0.2 * 5), 4 / (0.5 * 5) and 4 / (0.8 * 5).
    assert found.bounds == (
        Bound(0.6, (0,), pytest.approx(4.0)),
        Bound(0.75, (0,), pytest.approx(1.6)),
        Bound(0.9, (0,), pytest.approx(1.0)),
    )
    words = found.words()
    assert "Of the 1 joints that at least 75 % of the runs kept, at most 1.6 are expected" in words
    assert "tells nothing" in words


def test_joints_that_are_always_or_never_kept_do_not_count_for_the_bound() -> None:
    asked = {"keep": [0], "drop": [4]}
    runs = {name: replace(record, settings=asked) for name, record in FOUR.items()}
    _, bound, _ = consensus(runs, halves=True).bounds
    assert bound == (0.75, (), pytest.approx(1 / (0.5 * 3)))  # q = 1 of p = 3


@given(
    pairs=st.integers(1, 4), counts=st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True)
)
@settings(max_examples=8, deadline=None)
def test_the_mean_of_a_ladder_is_p_times_the_expected_score_of_a_joint_without_worth(
    pairs: int, counts: list[int]
) -> None:
    """Each half keeps a joint with the probability q / p; what pairs can do is enumerated."""
    p, counts = 40, sorted(counts)
    expected = 0.0
    for count in counts:
        both = (count / p) ** 2  # 2π - 1 is at most the share of the pairs that keep it twice
        expected += sum(
            math.comb(pairs, n) * both**n * (1 - both) ** (pairs - n) * (n / pairs) ** 3
            for n in range(pairs + 1)
        )
    shares = [[1.0] * count + [0.0] * (p - count) for count in counts]
    best = wrong_by_ladder(shares, pairs)[0]  # kept by all runs with all numbers: a score of 1
    used = len(counts)
    while p * expected / used > 0.05 and used > 1:  # the large numbers are left out
        count, used = counts[used - 1], used - 1
        both = (count / p) ** 2
        expected -= sum(
            math.comb(pairs, n) * both**n * (1 - both) ** (pairs - n) * (n / pairs) ** 3
            for n in range(pairs + 1)
        )
    assert best == pytest.approx(p * expected / used)


def test_joints_that_all_ladders_keep_have_few_wrong_ones_among_them() -> None:
    def laddered(seed: int) -> PruningRecord:
        order = [0, 1, *random.Random(seed).sample(range(2, 40), 38)]
        names = tuple(map(str, range(40)))
        rungs = tuple(
            JointSelection(
                tuple(sorted(order[:n])),
                40,
                names,
                tuple(0.9 - 0.02 * order.index(j) for j in range(40)),
            )
            for n in (8, 4, 2)
        )
        return PruningRecord(rungs[0], rungs=rungs)

    runs = [laddered(seed) for seed in range(6)]
    assert consensus(runs).by_ladder == ()
    found = consensus(runs, halves=True)
    assert [(bound.wrong, bound.joints) for bound in found.by_ladder] == [
        (0.1, (0, 1)),
        (0.5, (0, 1)),
        (1.0, (0, 1)),
    ]
    assert (
        "- 2 joints stand out so far that 0.5 of them or fewer are expected to be wrong."
        in found.words()
    )
    tied = [replace(record, settings={"groups": {"x": [0, 1]}, "tied": True}) for record in runs]
    assert consensus(tied, halves=True).by_ladder == ()


def test_tied_groups_have_no_bound() -> None:
    asked = {"groups": {"x": [0, 1]}, "tied": True}
    runs = [replace(run(kept), settings=asked) for kept in ("ab", "abc")]
    assert consensus(runs, halves=True).bounds == ()


def test_a_bound_is_for_whole_pairs() -> None:
    runs = {name: FOUR[name] for name in "123"}
    with pytest.raises(ValueError, match=r"pairs of runs.*got 3 runs. Name the missing"):
        consensus(runs, halves=True)


# --- what any runs have in common -----------------------------------------------------------------

masks = st.integers(1, 6).flatmap(
    lambda joints: st.lists(
        st.tuples(
            st.lists(st.booleans(), min_size=joints, max_size=joints),
            st.lists(st.floats(0, 1), min_size=joints, max_size=joints),
        ),
        min_size=2,
        max_size=5,
    )
)


@settings(max_examples=25)
@given(masks, st.randoms(), st.data())
def test_a_consensus_of_any_runs(
    drawn: list[tuple[list[bool], list[float]]], order: random.Random, data: st.DataObject
) -> None:
    runs: dict[str, PruningRecord] = {}
    for place, (mask, probabilities) in enumerate(drawn):
        names = tuple(f"joint_{joint}" for joint in range(len(mask)))
        kept = tuple(joint for joint, is_kept in enumerate(mask) if is_kept) or (0,)
        moment = snapshot(place, "final", tuple(probabilities))  # no two are the same
        selection = JointSelection(kept, len(names), names, tuple(probabilities))
        runs[str(place)] = PruningRecord(selection, (moment,))
    count = data.draw(st.none() | st.integers(1, len(names)))
    found = consensus(runs, count)
    kept = found.selection.indices

    dropped = set(range(len(names))) - set(kept)
    least = min(found.votes[joint] for joint in kept)
    assert all(found.votes[joint] <= least for joint in dropped)
    assert count in (None, len(kept))

    mixed = list(runs.items())
    order.shuffle(mixed)
    again = consensus(dict(mixed), count)
    assert again.selection.indices == kept
    assert again.shares == found.shares

    first = next(iter(runs.values()))
    same = [replace(first, history=record.history) for record in runs.values()]
    assert consensus(same).selection.indices == first.selection.indices
    if first.selection.ratio > 0.0:
        assert consensus(same).stability == (1.0, None, None)


@pytest.mark.parametrize("halves", [False, True])
def test_it_is_said_where_some_runs_chose_joints_that_stand_for_others(halves: bool) -> None:
    covering = {name: replace(run, course={"cover": True}) for name, run in FOUR.items()}
    said = consensus({**FOUR, "2": covering["2"]}, halves=halves).words()
    assert "In 1 of the 4 runs the kept joints also stand for others" in said
    for alike in (FOUR, covering):
        assert "stand for others" not in consensus(alike, halves=halves).words()


def test_whole_groups_are_taken_of_tied_ones() -> None:
    asked = {"groups": {"x": [0, 1], "y": [2, 3]}, "tied": True}
    runs = [replace(run(kept), settings=asked) for kept in ("abcd", "ab", "cde")]
    assert consensus(runs).selection.names == ("a", "b", "e")
    assert consensus(runs, 2).selection.names == ("a", "b")
    assert consensus(runs, 4).selection.names == ("a", "b", "c", "d")
    runs = [replace(record, settings={**asked, "drop": [4]}) for record in runs[:2]]
    with pytest.raises(ValueError, match="whole groups add up to but got 3"):
        consensus(runs, 3)


def test_joints_that_the_runs_had_to_keep_are_kept() -> None:
    runs = [
        replace(run("abcde"[place:], baseline={"x": place}), settings={"keep": [4]})
        for place in range(2)
    ]
    assert consensus(runs, 1).selection.names == ("e",)


def test_joints_that_no_run_may_use_are_not_kept() -> None:
    runs = [
        replace(run("c", 0.0, 0.0, 0.9, 0.0, place / 10), settings={"drop": [0, 1]})
        for place in range(2)
    ]
    assert consensus(runs, 3).selection.names == ("c", "d", "e")


# --- refusals -------------------------------------------------------------------------------------


def beside(**others: Any) -> Mapping[str, PruningRecord]:
    """Two runs that agree, and a third that is changed."""
    return {"a": FOUR["1"], "b": FOUR["2"], "c": replace(FOUR["3"], **others)}


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"a": FOUR["1"]}, "at least 2 runs for a consensus but got 1"),
        ({"a": FOUR["1"], "b": FOUR["1"]}, "a and b are the same to the last digit.*Name it once"),
        (beside(phase="search"), "but c was in its search phase when it was written. Let it"),
        (beside(course={"steps": 0}), "searched for their joints but those of c were given"),
        (beside(skeleton="coco_17"), "one skeleton but got None in a and 'coco_17' in c"),
        (
            beside(settings={"budget": {"TargetJoints": {"count": 3}}}),
            r"with one budget but got None in a and TargetJoints\(count=3\) in c. Leave one out",
        ),
        (beside(settings={"drop": [4]}), r"with one drop but got None in a and \[4\] in c"),
        (
            {"a": FOUR["1"], "b": told(FOUR["2"], joint_names=tuple("abxde"))},
            "joint 2 is 'c', not 'x', in b. Compare runs of one skeleton",
        ),
        (
            {"a": told(FOUR["1"], metric="val_acc"), "b": told(FOUR["2"], metric="val_f1")},
            "one data set but got the metric val_acc in a and val_f1 in b",
        ),
        (
            {"a": told(FOUR["1"], samples=200), "b": told(FOUR["2"], samples=431)},
            "one data set but got 200 validation samples in a and 431 in b. Leave one out",
        ),
    ],
)
def test_runs_that_answer_another_question_are_refused_by_name(
    runs: Mapping[str, PruningRecord], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        consensus(runs)


def test_folds_of_one_data_set_differ_by_a_sample() -> None:
    runs = [told(FOUR[name], samples=samples) for name, samples in (("1", 200), ("2", 201))]
    assert consensus(runs).votes[0] == 2


def test_stand_ins_are_those_of_the_runs_in_the_mean() -> None:
    rows = [[float(k == d) for d in range(5)] for k in range(5)]
    first, second = ([[*row] for row in rows] for _ in range(2))
    first[0][2], second[0][2], first[1][4] = 0.9, 0.75, 0.99
    runs = [
        replace(FOUR[n], redundancy=known)
        for n, known in zip("123", (first, second, ()), strict=True)
    ]
    assert consensus(runs).selection.stand_ins == {"a": {"c": pytest.approx(0.825, abs=0.006)}}
    assert consensus(FOUR).selection.stand_ins == {}


@pytest.mark.parametrize("junk", [None, "x", {}, [None], [99], {"a": {"b": [1]}}, {"a": [99]}, 3])
def test_settings_that_no_run_has_are_passed_over(junk: Any) -> None:
    asked = {"keep": junk, "drop": junk, "groups": junk, "tied": True, "budget": junk}
    runs = [replace(FOUR[name], settings=asked) for name in "12"]
    assert consensus(runs).selection.names == ("a", "b")


@pytest.mark.parametrize("joints", [0, 6, -1])
def test_a_number_of_joints_that_there_cannot_be_is_refused(joints: int) -> None:
    with pytest.raises(ValueError, match=f"from 1 to 5 joints.*but got {joints}"):
        consensus(FOUR, joints)
    runs = [replace(FOUR[name], settings={"keep": [0, 1], "drop": [4]}) for name in "12"]
    with pytest.raises(ValueError, match="from 2 to 4 joints"):
        consensus(runs, 1)
