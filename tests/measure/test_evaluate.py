"""Test what each joint is worth against a linear model in which every joint's part is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lightning_jointprune import JointPruningLayer, compare_subsets, evaluate_joints
from lightning_jointprune.attach.hooks import attach, attached_layers
from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.attach.target import Target
from lightning_jointprune.measure.evaluate import HOW
from lightning_jointprune.measure.significance import paired_tests

NAMES = ["unused", "class_0", "class_1", "class_2", "dropped", "noise"]
KEPT = torch.tensor([True, True, True, True, False, False])


class OneJointPerClass(nn.Module):
    """Reads class c from joint c + 1; joint 0 is not read, and joint 5 disturbs class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, 3))
        with torch.no_grad():
            self.weight[1:4] = torch.eye(3)
            self.weight[5, 1] = 2.0
            self.bias = torch.tensor([0.3, 0.2, 0.1])  # without its joint, a class loses to a prior
        self.norm = nn.BatchNorm1d(3, affine=False, eps=0.0, momentum=0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.mean(dim=(1, 3)) @ self.weight + self.bias)


def planted(counts: tuple[int, ...] = (4, 3, 1)) -> tuple[Tensor, Tensor]:
    """Return samples of each class, `b t j c`, in which the joint of the class is 1, others 0."""
    labels = torch.cat([torch.full((n,), label) for label, n in enumerate(counts)])
    x = torch.zeros(len(labels), 2, 6, 2)
    x[torch.arange(len(labels)), :, labels + 1] = 1.0
    x[:, :, 0] = torch.randn(len(labels), 2, 2, generator=torch.Generator().manual_seed(0))
    x[labels == 0, :, 5] = 1.0
    return x, labels


def pruned(model: nn.Module | None = None) -> nn.Module:
    model = OneJointPerClass() if model is None else model
    layer = JointPruningLayer(6)
    layer.freeze(KEPT)
    attach(model, Target("", ("x",), Layout.parse("b t j c")), layer)
    return model


def evaluate(model: nn.Module | None = None, data: Any = None, **settings: Any):
    settings = {"joint_names": NAMES, "progress": False, **settings}
    return evaluate_joints(model or pruned(), data or [planted()], **settings)


def compare(subsets: Any, data: Any = None, model: nn.Module | None = None, **settings: Any):
    settings = {"joint_names": NAMES, "progress": False, **settings}
    return compare_subsets(model or pruned(), data or [planted()], subsets, **settings)


def test_the_accuracy_on_each_signer_is_that_of_their_samples() -> None:
    model = OneJointPerClass()
    with torch.no_grad():
        model.weight[2] = 0.0  # class 1, the samples 4 to 6, is never found
    signers = ["a", "a", "b", "b", "b", "a", "c", "c"]
    found = evaluate(pruned(model), class_names=["x", "y", "z"], signers=signers)
    assert {name: accuracy.value for name, accuracy in found.per_signer.items()} == {
        "a": pytest.approx(2 / 3),
        "b": pytest.approx(2 / 3),
        "c": 0.5,
    }
    low, high = found.per_signer["c"][1:]
    assert low < 0.5 < high
    assert found.class_names == ("x", "y", "z")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"signers": ["a"] * 7}, "a signer for each of 8 samples that have a class but got 7"),
        ({"class_names": ["x", "y"]}, "a name for each label up to 2 but got 2 names"),
    ],
)
def test_signers_and_names_of_classes_have_to_fit(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(**settings)


# --- known costs ----------------------------------------------------------------------------------


def test_dropping_a_joint_costs_the_samples_that_only_it_tells_apart() -> None:
    found = evaluate()
    assert found.kept.value == 1.0
    # Without its joint, class 0 still has the highest bias; the others lose all their samples.
    costs = {name: cost.value for name, cost in found.drop.items()}
    assert costs == {"unused": 0.0, "class_0": 0.0, "class_1": 3 / 8, "class_2": 1 / 8}
    assert found.per_class == {0: 1.0, 1: 1.0, 2: 1.0}
    assert found.per_class_drop["class_1"] == (0.0, 1.0, 0.0)
    assert found.per_class_drop["unused"] == (0.0, 0.0, 0.0)


def test_adding_a_joint_that_disturbs_is_a_negative_gain() -> None:
    gains = {name: gain.value for name, gain in evaluate().add.items()}
    assert gains == {"dropped": 0.0, "noise": -4 / 8}


def test_a_group_is_left_out_as_a_whole() -> None:
    groups = {"both": ["class_1", 3], "gone": [4]}
    costs = {name: cost.value for name, cost in evaluate(groups=groups, how=()).groups.items()}
    assert costs == {"both": 4 / 8, "gone": 0.0}


def test_permuting_a_joint_that_nothing_reads_costs_nothing() -> None:
    found = evaluate(how=["permute"])
    assert found.permute["unused"].value == 0.0
    assert not found.drop
    assert not found.add


@pytest.mark.parametrize("seed", range(5))
def test_permuting_leaves_no_sample_its_own_joint(seed: int) -> None:
    # Two samples can only swap. The first loses joint 2 and falls to class 0, which has the highest
    # bias. The second has joint 2 beside its own joint 3, which is as strong, and falls to class 1.
    x, labels = planted((0, 1, 1))
    x[:, :, 1:4] *= 2.0
    found = evaluate(data=[(x, labels)], how=["permute"], seed=seed)
    assert found.permute["class_1"].value == 1.0
    assert found == evaluate(data=[(x, labels)], how=["permute"], seed=seed)


def test_batches_and_their_order_do_not_change_costs() -> None:
    x, labels = planted()
    batches = [(x[[at]], labels[[at]]) for at in range(8)]
    whole, parts = evaluate(how=["drop", "add"]), evaluate(data=batches[::-1], how=["drop", "add"])
    assert whole == parts


def test_a_stream_is_read_once() -> None:
    assert evaluate(data=iter([planted()])) == evaluate()


def test_dict_batches_and_predict_give_the_same() -> None:
    x, labels = planted()
    found = evaluate(data=[{"x": x, "label": labels, "signer": "ann"}])
    own = evaluate(
        data=[{"pose": (x, labels)}], predict=lambda m, b: (m(b["pose"][0]), b["pose"][1])
    )
    assert found == own == evaluate()


def test_a_layer_in_the_models_own_forward_is_measured() -> None:
    class Own(OneJointPerClass):
        def __init__(self) -> None:
            super().__init__()
            self.pruning = JointPruningLayer(6)
            self.pruning.freeze(KEPT)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.pruning(x))

    assert evaluate(Own()) == evaluate()


def test_joints_of_a_skeleton_in_parts_are_permuted_where_they_are() -> None:
    class Parts(OneJointPerClass):
        def forward(self, body: Tensor, hand: Tensor) -> Tensor:
            return super().forward(torch.cat([body, hand], dim=2))

    model, layer, layout = Parts(), JointPruningLayer(6), Layout.parse("b t j c")
    layer.freeze(KEPT)
    attach(model, Target("", ("body",), layout, range(2)), layer)
    attach(model, Target("", ("hand",), layout, range(2, 6)), layer)
    x, labels = planted()
    assert evaluate(model, [(x[:, :, :2], x[:, :, 2:], labels)]) == evaluate()


# --- sampled gates --------------------------------------------------------------------------------


def with_probabilities(*probabilities: float) -> nn.Module:
    model = pruned()
    attached_layers(model)[0][1].joint_logits.data = torch.tensor(probabilities).logit()
    return model


def test_gates_that_are_sure_of_the_mask_are_as_good_as_it() -> None:
    found = evaluate(with_probabilities(1, 1, 1, 1, 0, 0), how=["soft"])
    assert found.soft.value == 0.0
    assert evaluate().soft is None


def test_gates_that_are_mostly_closed_lose_what_their_joint_is_worth() -> None:
    found = evaluate(with_probabilities(1, 1, 0, 1, 0, 0), how=["soft"])
    assert found.soft.value == -3 / 8  # as without joint 2
    assert found.soft.low < -3 / 8 < found.soft.high


def test_half_open_gates_are_drawn_anew_for_each_batch_and_as_the_seed_says() -> None:
    x, labels = planted((0, 1, 0))
    batches = [(x, labels)] * 400
    attached = with_probabilities(1, 1, 0.3, 1, 0, 0)
    layer = attached_layers(attached)[0][1]
    layer.temperature = 1e-3  # open or closed
    layer.begin_step()  # leaves the noise of a training step in the gates
    found = evaluate(attached, batches, how=["soft"], seed=1)
    assert found.soft.value == pytest.approx(0.3 - 1, abs=0.07)
    assert found == evaluate(attached, batches, how=["soft"], seed=1)
    assert found != evaluate(attached, batches, how=["soft"], seed=2)


# --- what reaches the gates -----------------------------------------------------------------------


def test_the_inputs_of_all_joints_are_measured_before_anything_is_done_to_them() -> None:
    x, labels = planted()
    x[:, 0, 4], x[:, 1, 4] = 0.5, 2.5  # a dropped joint, which moves by 2 in each clip
    x[:6, 0, 1] = torch.nan
    found = evaluate(data=[(x[:3], labels[:3]), (x[3:], labels[3:])], frame=(0.0, 1.5))
    assert found.inputs["dropped"].motion == 2.0
    assert found.inputs["class_0"].detected < found.inputs["unused"].detected == 1.0
    assert found.inputs["dropped"].out_of_frame == 0.5
    assert evaluate().inputs["dropped"].out_of_frame is None


def test_importance_is_compared_with_motion() -> None:
    x, labels = planted()
    motions = [0.1, 0.2, 0.4, 0.3]
    x[:, :, 0] = 1.0
    for joint, motion in enumerate(motions):  # which leaves the mean of the frames
        x[:, 0, joint] += motion / 2
        x[:, 1, joint] -= motion / 2
    found = evaluate(data=[(x, labels)], how=["drop"])
    costs = {"unused": 0.0, "class_0": 0.0, "class_1": 3 / 8, "class_2": 1 / 8}
    assert {name: cost.value for name, cost in found.drop.items()} == costs
    expected = spearmanr(list(costs.values()), motions).statistic
    assert found.confounds().motion == pytest.approx(expected)


# --- subsets --------------------------------------------------------------------------------------


def test_subsets_are_compared_with_the_kept_joints_on_the_same_samples() -> None:
    mask = torch.tensor([False, True, True, True, False, True])
    found = compare({"no class 1": ["class_0", 3, 0], "noisy": mask})
    assert found.samples == 8
    assert found.joints == {"kept": 4, "no class 1": 3, "noisy": 4}
    values = {name: accuracy.value for name, accuracy in found.accuracy.items()}
    assert values == {"kept": 1.0, "no class 1": 5 / 8, "noisy": 4 / 8}
    labels = planted()[1]
    assert torch.equal(found.right["no class 1"], labels != 1)
    assert torch.equal(found.right["noisy"], labels != 0)
    assert found.tests == paired_tests(found.right, reference="kept")
    assert [(test.first, test.second, test.p) for test in found.tests] == [
        ("no class 1", "kept", 2 / 2**3),
        ("noisy", "kept", 2 / 2**4),
    ]


def test_a_comparison_prints_a_line_for_every_set() -> None:
    found = compare({"others": [0]})
    head, *lines = str(found).splitlines()
    assert head.split()[:3] == ["set", "joints", "accuracy"]
    assert [line.split()[0] for line in lines] == ["kept", "others"]
    assert str(found.tests[0].difference) in lines[1]


def test_subsets_are_compared_over_signers() -> None:
    signers = list("abcdabcd")
    found = compare({"none": []}, signers=signers, seed=3)
    assert found.tests == paired_tests(found.right, reference="kept", signers=signers, seed=3)


def test_retrained_models_are_compared_by_what_each_got_right() -> None:
    ours = compare({})
    assert ours.tests == ()
    other = OneJointPerClass()
    with torch.no_grad():
        other.weight[2] = 0.0
    right = {
        "ours": ours.right["kept"],
        "theirs": compare({}, model=pruned(other)).right["kept"],
    }
    assert paired_tests(right)[0].difference.value == 3 / 8


@pytest.mark.parametrize(
    ("subsets", "message"),
    [
        ({"kept": [1]}, "another name than 'kept'"),
        ({"hand": ["thumb"]}, "in group 'hand' but got 'thumb'"),
        ({"hand": torch.ones(5, dtype=torch.bool)}, r"a mask of 6 bools for 'hand' .* \(5,\)"),
        ({"hand": torch.tensor([1, 2])}, "a mask of 6 bools for 'hand' .* torch.int64"),
    ],
)
def test_subsets_have_to_fit(subsets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(subsets)


# --- metrics --------------------------------------------------------------------------------------


def test_the_default_is_the_accuracy_of_torchmetrics() -> None:
    metric = MulticlassAccuracy(num_classes=3, average="micro")
    ours, theirs = evaluate(), evaluate(metric=metric)
    for kind in ("drop", "add", "permute"):
        for name, effect in getattr(ours, kind).items():
            assert getattr(theirs, kind)[name].value == pytest.approx(effect.value)
            assert getattr(theirs, kind)[name].low is None
    assert theirs.metric == "MulticlassAccuracy"
    assert theirs.per_class_drop == ours.per_class_drop
    assert metric.update_count == 0


def test_a_cost_is_what_gets_worse_where_less_of_the_metric_is_better() -> None:
    def total(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        return model(batch[0])[:, 1], batch[0][:, 0, 2, 0] + 0.2

    found = evaluate(metric=MeanSquaredError(), predict=total)
    assert found.kept.value == pytest.approx(0.0, abs=1e-12)
    assert found.drop["class_1"].value == pytest.approx(3 / 8)
    assert found.add["noise"].value == pytest.approx(-4 * 2.0**2 / 8)
    assert not found.per_class


# --- what it leaves behind ------------------------------------------------------------------------


def state(model: nn.Module) -> list[Any]:
    layer = attached_layers(model)[0][1]
    modules = [*model.modules(), *layer.modules()]
    hooks = [len(module._forward_pre_hooks) for module in modules]
    values = [*model.state_dict().values(), *layer.parameters()]
    flags = [module.training for module in modules]
    noise = [layer.generator, layer._drawn]
    values = [value.tolist() for value in values]
    return [layer.mask, layer.mode, layer.used, hooks, flags, noise, values]


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_comes_back_as_it_was(fails: bool) -> None:
    model, calls = pruned(), []
    layer = attached_layers(model)[0][1]
    layer.mode = "open"
    model.train()
    model.norm.eval()  # a frozen part of a model in training mode
    before = state(model)

    def predict(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        calls.append((model.training, layer.training, torch.is_grad_enabled()))
        if fails and len(calls) == 3:
            raise RuntimeError("out of memory")
        return model(batch[0]), batch[1]

    random = torch.get_rng_state()
    if fails:
        with pytest.raises(RuntimeError, match="out of memory"):
            evaluate(model, predict=predict, how=HOW)
    else:
        evaluate(model, predict=predict, how=HOW)
    assert set(calls) == {(False, False, False)}
    assert state(model) == before
    assert state(model)[0] is before[0]
    assert torch.equal(torch.get_rng_state(), random)


def test_the_cost_is_said_beforehand(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(groups={"hand": [1]}, progress=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "12 passes over the data (1 kept + 4 drop + 2 add + 4 permute + 1 groups)" in said
    compare({"a": [1], "b": [2]}, progress=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "3 passes over the data (1 kept + 2 subsets)" in said


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"joint_names": ["a"]}, "Expected 6 different joint names but got 1"),
        ({"how": ["leave"]}, "Expected how to be out of drop, add, permute, soft but got 'leave'"),
        ({"how": "drop"}, r"Expected a list of .* as how but got 'drop'\. Pass \['drop'\]"),
        ({"groups": {"hand": ["thumb"]}}, "in group 'hand' but got 'thumb'"),
        ({"groups": {"hand": "thumb"}}, r"a list of joints in group 'hand' .* Pass \['thumb'\]"),
        ({"data": [planted()[0]]}, "Expected batches of inputs and labels but got Tensor"),
        ({"data": [{"x": planted()[0]}]}, "Expected one key out of label"),
        ({"data": [(planted()[0], planted()[0])]}, "Expected logits .* for the accuracy"),
        ({"data": iter([])}, "Expected at least one batch but got none"),
        ({"data": [planted((1,))]}, "at least two samples to permute"),
        ({"predict": lambda m, b: (b[0].mean((1, 3)), b[1])}, "Expected the gates to see"),
        ({"model": OneJointPerClass()}, "one JointPruningLayer but got 0"),
        ({"metric": MulticlassAccuracy(num_classes=3, average=None)}, "a metric with one value"),
    ],
)
def test_what_cannot_be_measured_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(**settings)


def test_a_metric_has_to_be_one() -> None:
    collection = MetricCollection([MeanSquaredError()])
    with pytest.raises(TypeError, match=r"Expected a torchmetrics\.Metric but got MetricColl"):
        evaluate(metric=collection)
