"""benchmarks/selection.py: planted sets have the truth they claim, and the table's figures."""

from __future__ import annotations

import copy
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.selection import ROWS, off_target
from benchmarks.selectors import OURS, penalties, scores
from benchmarks.selectors.penalties import HardConcreteGates, StochasticGates, swept
from benchmarks.selectors.plan import MATCHED, RANDOM, RECORDINGS, Plan, area, enough
from benchmarks.shared.joint_data import PARTS, PLANTED, JointData, make_set, recall
from benchmarks.shared.store import Settings, Store, code_state
from lightning_jointprune import HardConcrete, StochasticGate


def flat(data: JointData) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of shape `(N, J, T * C)`, and their classes."""
    x, y = data.train.tensors
    return x.transpose(1, 2).flatten(2).double().numpy(), y.numpy()


def signal(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return how far the classes' means differ, `(J,)`: near 1 for joints that carry nothing."""
    counts = np.bincount(y)
    means = np.stack([x[y == label].mean(0) for label in range(len(counts))])
    between = (counts[:, None, None] * (means - x.mean(0)) ** 2).sum(0) / (len(counts) - 1)
    return (between / x.var(0)).mean(-1)


def truth_of(data: JointData) -> list[int]:
    return [joint for joints in data.truth for joint in joints]


@pytest.mark.parametrize("kind", ["independent", "crowd", "class-specific"])
def test_exactly_the_joints_of_the_truth_carry_the_class(kind: str) -> None:
    data = make_set(kind, 0)
    carries = signal(*flat(data)) > 2.0
    assert np.flatnonzero(carries).tolist() == sorted(truth_of(data))


@pytest.mark.parametrize("kind", PLANTED)
def test_as_many_joints_have_to_be_kept_as_the_methods_are_asked_for(kind: str) -> None:
    assert len(make_set(kind, 0).truth) == PLANTED[kind]


def test_a_joint_that_follows_carries_the_class_but_nothing_beside_the_one_it_follows() -> None:
    data = make_set("correlated", 0)
    x, y = flat(data)
    truth = truth_of(data)
    followers = [j for j in np.flatnonzero(signal(x, y) > 2.0) if j not in truth]
    assert len(followers) == 2 * len(truth)
    for joint in followers:
        residuals = x.copy()
        nearest = max(truth, key=lambda candidate: (x[:, candidate] * x[:, joint]).mean())
        residuals[:, joint] -= 0.8 * x[:, nearest]
        assert signal(residuals, y)[joint] < 2.0


def test_a_joint_of_a_pair_says_nothing_alone_and_both_say_a_bit() -> None:
    data = make_set("pairs", 0)
    x, y = flat(data)
    assert signal(x, y).max() < 2.0
    truth = truth_of(data)
    # The sign of a joint: along the direction in which it varies most.
    signs = {}
    for joint in truth:
        direction = np.linalg.svd(x[:, joint], full_matrices=False)[2][0]
        signs[joint] = np.sign(x[:, joint] @ direction)
    bits = (y[:, None] >> np.arange(3)) & 1
    agree = {
        pair: max(abs(np.corrcoef(signs[pair[0]] * signs[pair[1]], bit)[0, 1]) for bit in bits.T)
        for pair in combinations(truth, 2)
    }
    assert sum(value > 0.8 for value in agree.values()) == 3
    assert sum(value < 0.2 for value in agree.values()) == len(agree) - 3


def test_of_a_crowd_any_one_joint_counts() -> None:
    assert recall([0, 5], [(0,), (1,), (4, 5, 6)]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("gates", "reference"),
    [(StochasticGates, StochasticGate()), (HardConcreteGates, HardConcrete())],
)
def test_published_gates_have_the_expected_number_of_the_package_s(
    gates: type[StochasticGates | HardConcreteGates], reference: StochasticGate | HardConcrete
) -> None:
    gate = gates(4)
    values = torch.tensor([-2.0, 0.0, 0.4, 3.0])
    next(gate.parameters()).data.copy_(values)
    logits = values / 0.5 if gates is StochasticGates else values
    expected = reference.keep_probability(logits).sum()
    torch.testing.assert_close(gate.expected(), expected)


def test_a_number_is_answered_by_the_run_with_the_fewest_open_that_are_enough() -> None:
    runs = [
        (torch.tensor([0.9, 0.8, 0.7, 0.6]), 10.0),
        (torch.tensor([0.1, 0.9, 0.8, -0.1]), 10.0),
        (torch.tensor([-0.3, -0.2, 0.5, -0.1]), 10.0),
    ]
    choice = swept(runs, [1, 2, 4])
    assert choice.joints == {1: [2], 2: [1, 2], 4: [0, 1, 2, 3]}
    assert choice.open == {1: 1, 2: 3, 4: 4}
    assert choice.steps == 30.0


class Reads(nn.Module):
    """Knows the class by the first coordinates of joints 1 and 3."""

    def forward(self, x: Tensor) -> Tensor:
        score = 4.0 * x[:, 0, 1, 0] + 2.0 * x[:, 0, 3, 0]
        return torch.stack([-score, score], dim=1)


def test_backward_elimination_keeps_the_joints_that_the_model_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scores, "new_model", lambda *_: Reads())
    monkeypatch.setattr(scores, "fit", lambda *_: 7.0)
    x = torch.randn(100, 2, 6, 3, generator=torch.Generator().manual_seed(0))
    y = (4.0 * x[:, 0, 1, 0] + 2.0 * x[:, 0, 3, 0] > 0).long()
    part = torch.utils.data.TensorDataset(x, y)
    choice = scores.elimination(JointData(part, part, 2), "gru", [1, 2], 0)
    assert choice.joints == {2: [1, 3], 1: [1]}
    # 20 sequences, 6 + 5 + 4 + 3 + 2 passes over each.
    assert choice.steps == pytest.approx(7.0 + 20 * 20 / 64 / 3)


def test_group_lasso_sees_the_weights_of_the_flattened_joints() -> None:
    weight = penalties.first_weight(nn.GRU(6 * 3, 5))
    assert weight.shape == (15, 18)


def test_group_prox_is_that_of_lassonet() -> None:
    lassonet = pytest.importorskip("lassonet")
    reference = pytest.importorskip("lassonet.prox").inplace_group_prox
    groups = [[joint + 6 * feature for feature in range(4)] for joint in range(6)]
    torch.manual_seed(0)
    model = lassonet.model.LassoNet(24, 5, 3, groups=groups)
    other = copy.deepcopy(model)
    reference(groups, model.skip, model.layers[0], lambda_=0.3, lambda_bar=0.0, M=10.0)
    penalties.group_prox(groups, other.skip, other.layers[0], 0.3, 0.0, 10.0)
    torch.testing.assert_close(other.skip.weight, model.skip.weight)
    torch.testing.assert_close(other.layers[0].weight, model.layers[0].weight)


# --- the table -----------------------------------------------------------------------------------


def remember(store: Store, settings: Settings, **result: object) -> None:
    store.add({"settings": settings, "result": result, "code": code_state(settings)})


def test_new_models_wait_for_the_choices_and_equal_subsets_are_trained_once(tmp_path: Path) -> None:
    plan = Plan("hand_static", 21, [2])
    store = Store(tmp_path, "selection")
    before = len(plan.cells(store, 1))
    for method in (OURS, "LassoNet"):
        remember(store, plan.choice(method, 0), joints={"2": [8, 4]}, open={"2": 3}, runs=1.0)
    chosen = [cell for cell in plan.cells(store, 1) if cell.get("joints") == [4, 8]]
    assert len(chosen) == 2
    assert chosen[0] == chosen[1]
    assert len(plan.cells(store, 1)) > before
    remember(store, chosen[0], accuracy=0.75)
    assert plan.accuracies(store, OURS, 0, 2) == [0.75]
    assert plan.accuracies(store, "LassoNet", 0, 2) == [0.75]


def test_matched_random_sets_have_as_many_of_each_part_as_ours(tmp_path: Path) -> None:
    plan = Plan("asl_words", 75, [4])
    store = Store(tmp_path, "selection")
    own = [0, 60, 61, 74]  # one of the face, three of the right hand
    remember(store, plan.choice(OURS, 0), joints={"4": own}, open={"4": 4}, runs=1.0)
    drawn = plan.chosen(store, MATCHED, 0, 4)
    for joints in drawn:
        assert len({*joints}) == 4
        assert len({*joints} & {*PARTS["asl_words"]["right hand"]}) == 3
        assert len({*joints} & {*PARTS["asl_words"]["face"]}) == 1
    assert len({tuple(joints) for joints in drawn}) > 1
    assert all(len({*joints}) == 4 for joints in plan.chosen(store, RANDOM, 0, 4))


def test_the_best_random_set_is_chosen_on_the_validation_and_quoted_on_the_test_part(
    tmp_path: Path,
) -> None:
    plan = Plan("hand_static", 21, [4])
    store = Store(tmp_path, "selection")
    assert plan.best_random(store, 1, 4) is None
    drawn = plan.chosen(store, RANDOM, 0, 4)
    validations, tests = (0.5, 0.9, 0.7), (0.99, 0.6, 0.8)
    for joints, validation, test in zip(drawn, validations, tests, strict=False):
        remember(store, plan.held_out(joints, 0), accuracy=validation)
        remember(store, plan.subset(joints, 0), accuracy=test)
    remember(store, plan.held_out(drawn[3], 0), accuracy=1.0)  # of which no test is known
    assert plan.best_random(store, 1, 4) == (0.6, 3)


@pytest.mark.parametrize("name", RECORDINGS)
def test_body_parts_share_all_joints_out(name: str) -> None:
    joints = [joint for part in PARTS[name].values() for joint in part]
    assert sorted(joints) == list(range(RECORDINGS[name]))


def test_area_is_the_mean_over_the_logarithm_of_the_number() -> None:
    assert area({2: 0.5, 8: 0.5, 32: 0.5}) == pytest.approx(0.5)
    assert area({2: 0.0, 4: 1.0, 16: 1.0}) == pytest.approx((0.5 + 2.0) / 3)


def test_enough_joints_are_on_the_line_between_two_numbers() -> None:
    assert enough({2: 0.5, 8: 0.89, 32: 0.9}) == pytest.approx(8.0)
    assert enough({2: 0.69, 8: 1.09, 32: 0.9}) == pytest.approx(4.0)
    assert enough({2: 0.95, 8: 0.9}) == 2.0


def test_a_number_is_missed_in_either_direction() -> None:
    assert off_target({"open": {"2": 5, "8": 7}}) == [3, 1]


def test_rows_without_results_have_no_figures(tmp_path: Path) -> None:
    store = Store(tmp_path, "selection")
    for row in ROWS.values():
        assert row.figures(store, 3) == []
        assert row.side_by_side is None or row.side_by_side(store, 3) == []
