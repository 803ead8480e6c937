"""The layer passes kept joints, replaces others, and tells its probabilities and its mask."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_jointprune import HardConcrete, JointPruningLayer, StochasticGate
from lightning_jointprune.gates.layer import LayerCall
from lightning_jointprune.gates.relaxations import Gate, GumbelSigmoid


def trained_layer(**settings) -> JointPruningLayer:
    """Return a layer that keeps joints 0 and 3 of 4."""
    layer = JointPruningLayer(4, **settings)
    layer.joint_logits.data = torch.tensor([4.0, -4.0, -1.0, 2.0])
    return layer


def test_evaluation_applies_the_hard_mask() -> None:
    x = torch.randn(2, 5, 4, 3)
    out = trained_layer().eval()(x)
    expected = x * torch.tensor([1.0, 0.0, 0.0, 1.0])[:, None]
    assert torch.equal(out, expected)


def test_training_draws_gates_of_their_own_for_every_sample_but_not_every_frame() -> None:
    layer = trained_layer()
    out = layer(torch.ones(64, 5, 4, 3))
    assert torch.equal(out, out[:, :1, :, :1].expand_as(out))
    assert len(out[:, 0, 2, 0].unique()) == 64


def test_calls_within_a_step_share_their_gates_and_steps_do_not() -> None:
    layer, x = JointPruningLayer(5, groups={"a": [0, 1]}), torch.ones(3, 4, 5, 2)
    layer.begin_step()
    first, second = layer(x), layer(x)
    layer.begin_step()
    assert torch.equal(first, second)
    assert not torch.equal(first, layer(x))


def test_hard_layer_draws_zeros_and_ones_and_still_learns() -> None:
    layer = trained_layer(hard=True)
    out = layer(torch.ones(64, 1, 4, 1))
    assert set(out.unique().tolist()) == {0.0, 1.0}
    out.sum().backward()
    assert (layer.joint_logits.grad > 0).all()


def test_temperature_sharpens_the_gates() -> None:
    layer = trained_layer()
    x = torch.ones(2000, 1, 4, 1)
    spread = []
    for temperature in (2.0, 0.1):
        layer.temperature = temperature
        gates = layer(x).detach()
        spread.append(float((gates * (1 - gates)).mean()))
    assert spread[1] < 0.3 * spread[0]


@pytest.mark.parametrize("axes", ["b t j c", "b c t j", "b j c", "b c t j m", "b j"])
def test_the_joint_axis_may_be_anywhere(axes: str) -> None:
    words = axes.split()
    sizes = {"b": 2, "t": 3, "j": 4, "c": 5, "m": 2}
    x = torch.randn([sizes[word] for word in words])
    out = trained_layer().eval()(x, words)
    at = words.index("j")
    expected = x.movedim(at, 0).clone()
    expected[[1, 2]] = 0.0
    assert torch.equal(out.movedim(at, 0), expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_in_a_dropped_joint_does_not_spread(bad: float) -> None:
    x = torch.ones(2, 5, 4, 3)
    x[:, :, 1:3] = bad
    assert trained_layer().eval()(x).isfinite().all()


def test_fill_replaces_dropped_joints_by_a_number() -> None:
    out = trained_layer(fill=-7.0).eval()(torch.randn(2, 5, 4, 3))
    assert (out[:, :, 1:3] == -7.0).all()


def test_fill_mean_is_the_mean_of_the_finite_training_values() -> None:
    layer = trained_layer(fill="mean")
    batches = [torch.randn(size, 6, 4, 3) + 5.0 for size in (3, 8, 2)]
    batches[1][0, 0, 1] = math.nan
    for batch in batches:
        layer(batch)
    everything = torch.cat(batches)
    expected = torch.nanmean(everything.flatten(0, 1), dim=0)
    layer.eval()
    layer(torch.full((1, 1, 4, 3), 100.0))  # evaluation does not count
    out = layer(torch.randn(2, 5, 4, 3))
    torch.testing.assert_close(out[:, :, 1:3], expected[1:3].expand(2, 5, 2, 3))


def test_fill_mean_without_training_is_refused() -> None:
    with pytest.raises(ValueError, match="no training batch was seen"):
        trained_layer(fill="mean").eval()(torch.randn(2, 5, 4, 3))


def test_kept_joints_are_always_open() -> None:
    layer = trained_layer(keep=[1])
    assert layer.keep_probabilities()[1] == 1.0
    assert (layer(torch.ones(50, 1, 4, 1))[:, 0, 1] == 1.0).all()
    assert layer.get_active_joints() == [0, 1, 3]


@pytest.mark.parametrize("mode", ["open", "sampled", "masked"])
def test_a_joint_of_drop_is_gone_in_every_mode(mode) -> None:
    layer = trained_layer(drop=[3], fill=-7.0)
    layer.mode = mode
    x = torch.ones(50, 1, 4, 1)
    x[:, :, 3] = math.nan
    assert (layer(x)[:, 0, 3] == -7.0).all()
    assert layer.keep_probabilities()[3] == 0.0
    assert layer.get_active_joints() == [0]


def test_what_is_settled_on_a_ladder_stays_closed() -> None:
    layer = JointPruningLayer(4)
    layer.narrow(torch.tensor([True, False, True, True]))
    assert layer.keep_probabilities()[1] == 0.0
    assert (layer(torch.ones(50, 1, 4, 1))[:, 0, 1] == 0.0).all()
    layer.expected_l0().backward()
    assert layer.joint_logits.grad[1] == 0.0


def test_on_a_ladder_every_sample_of_a_step_sees_one_rung_and_all_get_their_share() -> None:
    rungs = torch.tensor([[1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 1, 0]]).bool()
    layer = JointPruningLayer(4)
    for rung in rungs[:2]:
        layer.narrow(rung)
    layer.freeze(rungs[2])
    layer.mode = "rungs"
    layer.begin_step()
    seen = layer(torch.ones(3000, 2, 4, 1)) != 0
    assert torch.equal(seen[:, 0], seen[:, 1])
    assert torch.equal(layer(torch.ones(3000, 2, 4, 1)) != 0, seen)
    kinds, counts = seen[:, 0, :, 0].unique(dim=0, return_counts=True)
    assert {tuple(kind) for kind in kinds.tolist()} == {tuple(rung) for rung in rungs.tolist()}
    assert (counts - 1000).abs().max() < 150
    layer.mode = "masked"
    assert torch.equal(layer(torch.ones(1, 1, 4, 1))[0, 0, :, 0] != 0, rungs[2])


def test_tied_groups_stand_and_fall_together() -> None:
    layer = JointPruningLayer(4, groups={"a": [0, 2]}, tied=True)
    gates = layer.sample_gates(100)
    assert torch.equal(gates[:, 0], gates[:, 2])
    assert not torch.equal(gates[:, 0], gates[:, 1])
    layer.expected_l0().backward()
    grad = layer.joint_logits.grad
    assert grad[0] == pytest.approx(2 * grad[1].item())  # the price of both its joints
    assert layer.keep_probabilities()[0] == layer.keep_probabilities()[2]


def test_a_joint_in_a_group_is_open_when_both_gates_are() -> None:
    layer = JointPruningLayer(4, groups={"a": [0, 1], "b": [2]})
    layer.joint_logits.data = torch.tensor([2.0, -1.0, 3.0, 0.5])
    layer.group_logits.data = torch.tensor([1.0, -3.0])
    joint, group = torch.sigmoid(layer.joint_logits), torch.sigmoid(layer.group_logits)
    expected = torch.stack(
        [joint[0] * group[0], joint[1] * group[0], joint[2] * group[1], joint[3]]
    )
    torch.testing.assert_close(layer.keep_probabilities(), expected)
    torch.testing.assert_close(layer.expected_l0(), expected.sum())


@pytest.mark.parametrize("gate", [GumbelSigmoid(), HardConcrete(), StochasticGate()])
def test_gates_start_at_the_initial_keep_probability(gate: Gate) -> None:
    layer = JointPruningLayer(5, gate=gate)
    torch.testing.assert_close(layer.keep_probabilities(), torch.full((5,), 0.9))


@given(st.lists(st.floats(-6, 6), min_size=1, max_size=20), st.floats(0.05, 0.95))
def test_active_joints_are_those_above_the_threshold(logits: list[float], threshold: float) -> None:
    layer = JointPruningLayer(len(logits))
    layer.joint_logits.data = torch.tensor(logits)
    probabilities = torch.sigmoid(layer.joint_logits).tolist()
    expected = [i for i, p in enumerate(probabilities) if p > threshold]
    if threshold != 0.5:
        assert layer.get_active_joints(threshold) == expected
    if any(p > 0.5 for p in probabilities):
        active = [i for i, p in enumerate(probabilities) if p > 0.5]
        assert layer.get_active_joints() == active
        assert layer.get_pruning_ratio() == pytest.approx(1 - len(active) / len(logits))


def test_frozen_mask_outlives_the_logits() -> None:
    layer = trained_layer()
    layer.freeze(torch.tensor([False, True, False, False]))
    layer.joint_logits.data.fill_(9.0)
    assert layer.get_active_joints() == [1]
    assert not layer.joint_logits.requires_grad


def test_state_round_trip_gives_the_same_noise_and_numbers() -> None:
    layer = trained_layer(fill="mean", groups={"a": [0, 1]})
    layer.generator = torch.Generator().manual_seed(3)
    x = torch.randn(4, 2, 4, 3)
    layer(x)
    state = layer.export_state()
    expected = layer(x)
    other = JointPruningLayer(4, fill="mean", groups={"a": [0, 1]})
    other.generator = torch.Generator()
    other.import_state(state)
    assert torch.equal(other(x), expected)


def test_precision_of_the_input_is_kept() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        x = torch.randn(2, 3, 4, 3, dtype=dtype)
        assert trained_layer()(x).dtype == dtype
        assert trained_layer().eval()(x).dtype == dtype


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.ones(2, 3, 5, 3), r"Expected 4 joints .* b t j c but got shape \(2, 3, 5, 3\)"),
        (torch.ones(2, 4, 3), r"but got shape \(2, 4, 3\)"),
        (torch.ones(2, 3, 4, 3, dtype=torch.long), r"floating tensor but got torch.int64.*\.float"),
    ],
)
def test_input_of_another_form_is_refused(x: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trained_layer()(x)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_joints": 0}, "at least 1 but got 0"),
        ({"num_joints": 4, "temperature": 0.0}, r"temperature above 0 but got 0\.0"),
        ({"num_joints": 4, "fill": "median"}, "\"mean\".* but got 'median'"),
        ({"num_joints": 4, "keep": [4]}, r"joints from 0 to 3 but got \[4\]"),
        ({"num_joints": 4, "keep": [1, 1]}, r"different joints .* but got \[1, 1\]"),
        ({"num_joints": 4, "groups": {"a": [0], "b": [0]}}, "'a' and 'b', which both have"),
        ({"num_joints": 4, "groups": {"a": []}}, "not empty"),
    ],
)
def test_bad_settings_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JointPruningLayer(**settings)


def test_a_tied_group_with_a_joint_that_is_always_kept_stands_as_a_whole() -> None:
    layer = JointPruningLayer(4, groups={"a": [0, 2]}, tied=True, keep=[2])
    layer.joint_logits.data.fill_(-9.0)
    assert layer.get_active_joints() == [0, 2]


def test_a_frozen_layer_is_frozen_in_training_too() -> None:
    layer = trained_layer()
    layer.freeze(torch.tensor([True, True, False, False]))
    out = layer.train()(torch.ones(3, 1, 4, 1))
    assert out[:, 0, :, 0].tolist() == [[1.0, 1.0, 0.0, 0.0]] * 3


def test_mask_and_mean_travel_in_the_state_dict() -> None:
    layer = trained_layer(fill="mean")
    x = torch.randn(4, 2, 4, 3)
    layer(x)
    layer.freeze(torch.tensor([True, True, False, False]))
    other = JointPruningLayer(4, fill="mean")
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.eval()(x), layer.eval()(x))
    assert other.get_active_joints() == [0, 1]


def test_the_layer_follows_its_input_to_another_device() -> None:
    out = trained_layer().eval()(torch.ones(1, 1, 4, 1, device="meta"))
    assert out.device.type == "meta"


PARTS = [range(1), range(1, 3), range(3, 4)]


def in_parts(layer: JointPruningLayer, x: torch.Tensor) -> torch.Tensor:
    axes = ("b", "t", "j", "c")
    return torch.cat([layer(x[:, :, part.start : part.stop], axes, part) for part in PARTS], dim=2)


@pytest.mark.parametrize(
    "settings",
    [{}, {"groups": {"a": [0, 1]}}, {"groups": {"a": [0, 3]}, "tied": True}, {"fill": "hold"}],
)
@pytest.mark.parametrize("mode", ["open", "sampled", "masked"])
def test_parts_of_a_skeleton_are_gated_as_the_whole_is(settings: dict, mode) -> None:
    layer = trained_layer(**settings)
    layer.mode = mode
    layer.begin_step()
    x = torch.randn(5, 6, 4, 2)
    assert torch.equal(in_parts(layer, x), layer(x))


def test_parts_have_the_means_of_the_whole() -> None:
    whole, layer = trained_layer(fill="mean"), trained_layer(fill="mean")
    whole.mode = layer.mode = "open"
    for size in (3, 8):
        x = torch.randn(size, 6, 4, 2)
        whole(x)
        in_parts(layer, x)
    torch.testing.assert_close(layer.fill_mean, whole.fill_mean)
    whole.mode = layer.mode = "sampled"
    layer.begin_step()
    in_parts(layer, x).square().sum().backward()  # the means of one call outlive the next
    layer.eval().mode = whole.eval().mode = "masked"
    whole.fill_mean = layer.fill_mean
    assert torch.equal(in_parts(layer, x), whole(x))


def test_means_of_parts_with_other_channels_are_refused() -> None:
    layer = JointPruningLayer(4, fill="mean")
    layer(torch.ones(2, 3, 1, 2), joints=range(1))
    with pytest.raises(ValueError, match=r"one kind of channels for fill=\"mean\".*\(1, 1, 3, 3\)"):
        layer(torch.ones(2, 3, 3, 3), joints=range(1, 4))


def test_a_part_of_another_number_of_joints_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected 2 joints .* got shape \(2, 3, 3, 3\)"):
        JointPruningLayer(4)(torch.ones(2, 3, 3, 3), joints=range(2))


def test_a_layer_that_was_reset_is_a_new_one_and_learns_again() -> None:
    new, layer = (JointPruningLayer(3, groups={"a": [0]}, fill="mean") for _ in range(2))
    layer(torch.ones(2, 1, 3, 1))
    layer.joint_logits.data.fill_(-3.0)
    layer.freeze(torch.tensor([True, False, False]))
    layer.reset()
    before, after = new.export_state(), layer.export_state()
    assert before.keys() == after.keys()
    assert all(torch.equal(v, after[k]) for k, v in before.items() if v is not None)
    assert [k for k, v in before.items() if v is None] == [k for k, v in after.items() if v is None]
    assert all(parameter.requires_grad for parameter in layer.parameters())


def test_joints_without_names_have_their_numbers() -> None:
    layer = JointPruningLayer(2)
    assert layer.names == ("joint_0", "joint_1")
    layer.joint_names = ("wrist", "thumb")
    assert layer.names == ("wrist", "thumb")


def test_a_released_layer_samples_in_training_and_masks_in_evaluation() -> None:
    layer = JointPruningLayer(3)
    layer.mode = "open"
    layer.generator = torch.Generator()
    layer.begin_step()
    layer.release()
    x = torch.ones(2, 1, 3, 1)
    assert not torch.equal(layer(x), x)
    assert not torch.equal(layer(x), layer(x))
    layer.joint_logits.data[0] = -3.0
    assert layer.eval()(x)[0].flatten().tolist() == [0.0, 1.0, 1.0]


FILLS = {
    "number": 0.7,
    "hold": "hold",
    "the mean of the other joints": lambda x, axes: x.mean(axes.index("j"), keepdim=True),
    "the frame before": lambda x, axes: x.roll(1, axes.index("t")),
}


@pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS)
@pytest.mark.parametrize("mode", ["sampled", "masked"])
def test_the_gradient_of_the_joints_is_that_of_finite_differences_whatever_fills(
    fill: Any, mode: str
) -> None:
    """It trains the layers in front of the gates."""
    layer = JointPruningLayer(4, fill=fill)
    layer.joint_logits.data = torch.tensor([1.0, -1.0, 2.0, -2.0])
    layer.mode, layer.generator = mode, torch.Generator()
    x = torch.randn(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)

    def gated(x: Tensor) -> Tensor:
        layer.generator.manual_seed(0)
        return layer(x)

    assert torch.autograd.gradcheck(gated, x)


@pytest.mark.parametrize("mode", ["sampled", "masked"])
def test_a_fill_that_is_learned_has_the_gradient_of_the_closed_gates(mode: str) -> None:
    token = torch.zeros(1, 1, 4, 2, requires_grad=True)
    layer = JointPruningLayer(4, fill=lambda x, axes: token)
    layer.joint_logits.data = torch.tensor([1.0, -1.0, 2.0, -2.0])
    layer.mode, layer.generator = mode, torch.Generator().manual_seed(0)
    x, weights = torch.randn(5, 3, 4, 2), torch.randn(5, 3, 4, 2)
    (layer(x) * weights).sum().backward()
    layer.generator.manual_seed(0)
    open_ = layer.sample_gates(5) if mode == "sampled" else layer.current_mask()[None].float()
    wanted = (weights * (1 - open_[:, None, :, None])).sum((0, 1), keepdim=True)
    torch.testing.assert_close(token.grad, wanted)


# --- a call of the layer --------------------------------------------------------------------------


def test_the_arguments_of_a_call_are_those_of_forward() -> None:
    forward, bound = (inspect.signature(call) for call in (JointPruningLayer.forward, LayerCall))
    expected = [(item.name, item.default) for item in list(forward.parameters.values())[1:]]
    assert [(item.name, item.default) for item in bound.parameters.values()] == expected


def test_a_call_is_bound_by_place_and_by_name() -> None:
    calls: list[LayerCall] = []
    layer = JointPruningLayer(5).eval()
    layer.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append(LayerCall(*args, **kwargs)), with_kwargs=True
    )
    x = torch.zeros(2, 2, 4)
    layer(x, ("b", "j", "c"), range(2))
    layer(joints=range(2), x=x, axes=("b", "j", "c"))
    layer(torch.zeros(2, 3, 5, 4))
    assert [call[1:] for call in calls] == [
        (("b", "j", "c"), range(2)),
        (("b", "j", "c"), range(2)),
        (("b", "t", "j", "c"), None),
    ]
    assert calls[0].x is x


@pytest.mark.parametrize("mode", ["open", "sampled", "masked", "rungs"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_is_in_no_run(copied: Callable[[Any], Any], mode: Any) -> None:
    layer = JointPruningLayer(3)
    layer.joint_logits.data = torch.tensor([5.0, -5.0, 5.0])
    layer.mode, layer.generator = mode, torch.Generator()
    layer.begin_step()
    other = copied(layer).eval()
    assert (other.mode, other.generator) == (None, None)
    assert other(torch.ones(4, 2, 3, 1)).sum((0, 1, 3)).tolist() == [8.0, 0.0, 8.0]
    assert layer.mode == mode
