"""Test that layers are attached to a model's input and taken away, over the zoo of models."""

from __future__ import annotations

import copy
import inspect
import io
import math
import pickle
import re
from typing import Any, ClassVar

import lightning.pytorch as pl
import pytest
import torch
from einops import repeat
from torch import Tensor, fx, nn
from torch.optim.swa_utils import AveragedModel

from lightning_jointprune import JointPruningLayer
from lightning_jointprune.attach.hooks import (
    Target,
    attach,
    attached_layers,
    detach,
    hook_saving,
    unhook_saving,
)
from lightning_jointprune.attach.target import read_targets
from tests.zoo import models
from tests.zoo.models import ZOO, B, C, J, T

NAMES = [row[0] for row in ZOO]
BY_NAME = {row[0]: row for row in ZOO}


class Zeroing:
    """Zeroes every joint but the first, and counts its calls."""

    def __init__(self, num_joints: int = J) -> None:
        self.num_joints = num_joints
        self.calls = 0
        self.axes: tuple[str, ...] = ()

    def __call__(self, x: Tensor, axes: tuple[str, ...]) -> Tensor:
        self.calls += 1
        self.axes = axes
        assert x.shape[axes.index("j")] == self.num_joints
        first = torch.arange(self.num_joints) == 0
        return x * first.to(x).view([-1 if word == "j" else 1 for word in axes])


class Nothing(nn.Module):
    """Zeroes everything, without a side effect."""

    num_joints = J

    def forward(self, x: Tensor, axes: tuple[str, ...]) -> Tensor:
        return x * 0


def of_zoo(name: str) -> tuple[Any, Target, Zeroing]:
    _, factory, where, axes = BY_NAME[name]
    model = factory()
    return model, Target.parse(where, axes), Zeroing(model.joints)


def states(model: nn.Module) -> dict[str, dict[str, Any]]:
    return {name: dict(module.__dict__) for name, module in model.named_modules()}


def gated_by_hand(x: Tensor, axes: str, joints: int) -> Tensor:
    """Return the input that the encoder should get, written without the package."""
    kept = torch.zeros(joints)
    kept[0] = 1
    sizes = {word: 1 for word in re.findall(r"\w+", axes) if word != "j"}
    for group, size in zip(re.findall(r"\(.*?\)|\w+", axes)[::-1], x.shape[::-1], strict=False):
        if "j" in group and group != "j":  # such as (j c)
            sizes[group.strip("j() ")] = size // joints
    mask = repeat(kept, f"j -> {axes}", **sizes)
    return x * mask.view(mask.shape[-x.ndim :]).to(x)  # packed frames have no batch axis


class OneInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(C, 2)

    def forward(self, x: Any, scale: float = 1.0) -> Any:
        return x if not isinstance(x, Tensor) else self.linear(x) * scale


X = Target.parse("x", "b j c")


@pytest.mark.parametrize("step", ["training_step", "validation_step"])
@pytest.mark.parametrize("name", NAMES)
def test_the_layer_is_applied_to_the_skeleton_and_to_nothing_else(name: str, step: str) -> None:
    model, target, layer = of_zoo(name)
    batch = model.batch()
    before = model.skeleton(batch).clone()
    plain = getattr(model, step)(batch, 0)
    ungated = list(model.got)
    model.got.clear()

    attach(model, target, layer)
    loss = getattr(model, step)(batch, 0)

    assert layer.calls == len(ungated) >= 1
    assert layer.axes == target.layout.words
    for got, whole in zip(model.got, ungated, strict=True):
        assert torch.equal(got, gated_by_hand(whole, target.axes, layer.num_joints))
    assert not torch.equal(loss, plain)
    assert torch.equal(model.skeleton(batch), before)


@pytest.mark.parametrize("name", ["lifting", "reconstruction", "autoencoder", "diffusion"])
def test_a_target_is_never_masked_even_if_it_is_the_input(name: str) -> None:
    model, target, layer = of_zoo(name)
    by_hand = copy.deepcopy(model)
    batch = model.batch()
    attach(model, target, layer)
    encode = by_hand.encoder.forward
    by_hand.encoder.forward = lambda x: encode(gated_by_hand(x, target.axes, J))
    assert torch.equal(model.training_step(batch, 0), by_hand.training_step(batch, 0))


@pytest.mark.parametrize("name", NAMES)
def test_detach_gives_back_the_module_as_it_was(name: str) -> None:
    model, target, layer = of_zoo(name)
    batch = model.batch()
    plain, before = model.training_step(batch, 0), states(model)
    keys, modules = list(model.state_dict()), list(model.modules())

    attach(model, target, layer)
    assert list(model.state_dict()) == keys
    assert list(model.modules()) == modules
    detach(model)

    after = states(model)
    assert after == before
    assert [list(state) for state in after.values()] == [list(s) for s in before.values()]
    assert torch.equal(model.training_step(batch, 0), plain)
    assert layer.calls == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_deep_copy_shares_the_layer_and_has_its_own_weights(name: str) -> None:
    model, target, layer = of_zoo(name)
    batch = model.batch()
    keys = list(model.state_dict())
    attach(model, target, layer)
    twin = copy.deepcopy(model)
    assert list(twin.state_dict()) == keys
    assert attached_layers(twin) == [(target, layer)]

    model.got.clear()
    twin.got.clear()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    twin.training_step(batch, 0)
    assert not model.got  # the copy runs itself, not the original
    assert layer.calls == len(twin.got)
    detach(model)
    assert attached_layers(twin)  # an average outlives the run


def test_an_averaged_model_is_gated_too() -> None:
    model, layer, x = OneInput(), Zeroing(), torch.randn(B, J, C)
    attach(model, X, layer)
    average = AveragedModel(model)
    assert torch.equal(average(x), model(x))
    assert layer.calls == 2


def test_positional_keyword_default_missing_and_none() -> None:
    model, layer = OneInput(), Zeroing()
    x = torch.randn(B, J, C)
    attach(model, X, layer)
    gated = model(x)
    assert torch.equal(model(x=x), gated)
    assert torch.equal(model(scale=1.0, x=x), gated)
    assert torch.equal(model(x, 1.0), gated)
    assert layer.calls == 4
    assert model(None) is None
    assert model(x=None) is None
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        model()
    assert layer.calls == 4


def test_positional_only_keyword_only_and_variable_arguments() -> None:
    class Odd(nn.Module):
        def forward(self, a: Any, /, b: Any = None, *rest: Any, c: Any = None, **more: Any) -> Any:
            return {"a": a, "b": b, "rest": rest, "c": c, **more}

    x = torch.ones(B, J, C)
    for where, args, kwargs in [
        ("a", (x,), {}),
        ("b", (None, x), {}),
        ("b", (None,), {"b": x}),
        ("rest.1", (None, None, None, x), {}),
        ("c", (None,), {"c": x}),
        ("more_of_it", (None,), {"more_of_it": x}),
    ]:
        model, layer = Odd(), Zeroing()
        attach(model, Target.parse(where, "b j c"), layer)
        got = model(*args, **kwargs)
        got = got["rest"][1] if where == "rest.1" else got[where]
        assert layer.calls == 1, where
        assert got.sum() == B * C, where
        assert x.sum() == B * J * C


def test_a_forward_of_the_instance_is_called_and_given_back() -> None:
    model, calls = OneInput(), []
    own = model.forward

    def patched(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return own(*args, **kwargs)

    model.forward = patched  # type: ignore[method-assign]
    before, layer, x = dict(model.__dict__), Zeroing(), torch.randn(B, J, C)
    attach(model, Target.parse("x", "b j c"), layer)
    model(x)
    model(x=x)
    assert len(calls) == layer.calls == 2  # though `patched` does not tell its arguments' names
    detach(model)
    assert model.__dict__ == before


def test_a_patch_over_ours_stays_and_passes_through_after_detach() -> None:
    model, layer, x = OneInput(), Zeroing(), torch.randn(B, J, C)
    plain = model(x)
    attach(model, X, layer)
    ours = model.forward
    model.forward = lambda *args: ours(*args)  # type: ignore[method-assign]
    assert not torch.equal(model(x), plain)
    detach(model)
    assert torch.equal(model(x), plain)
    assert attached_layers(model) == []
    attach(model, X, layer)
    assert not torch.equal(model(x), plain)


def test_several_inputs_of_one_module_and_detaching_one() -> None:
    class Hands(nn.Module):
        def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
            return left, right

    root = nn.ModuleDict({"hands": Hands()})
    left, right = (Target.parse(f"hands:{side}", "b j c") for side in ("left", "right"))
    first, two, x = Zeroing(), Zeroing(), torch.ones(B, J, C)
    attach(root, left, first)
    attach(root, right, two)
    assert attached_layers(root) == [(left, first), (right, two)]
    assert attached_layers(root["hands"])[0][0].input == "left"
    assert [y.sum() for y in root["hands"](x, right=x)] == [B * C, B * C]
    detach(root, left)
    assert [y.sum() for y in root["hands"](x, x)] == [B * J * C, B * C]
    detach(root, right)
    assert "forward" not in root["hands"].__dict__
    detach(root)  # nothing left to do


def test_a_second_layer_on_an_input_is_refused() -> None:
    model = OneInput()
    attach(model, X, Zeroing())
    with pytest.raises(ValueError, match="Expected no layer on input `x` but got a second one"):
        attach(model, X, Zeroing())


def test_a_later_call_with_other_joints_is_refused() -> None:
    model = OneInput()
    attach(model, X, Zeroing(J))
    with pytest.raises(
        ValueError,
        match=r"Expected 21 joints on axis j of 'b j c' but got 22 in input `x` of shape "
        r"\(4, 22, 3\)\. Pass num_joints=22",
    ):
        model(torch.ones(B, 22, C))
    with pytest.raises(ValueError, match=r"Expected 3 axes 'b j c' but got 4 in input `x`"):
        model(torch.ones(B, T, J, C))


def test_what_is_no_tensor_is_refused() -> None:
    model = OneInput()
    attach(model, X, Zeroing())
    with pytest.raises(ValueError, match=r"Expected a tensor in input `x` but got list.*x\.key"):
        model([1.0])


def test_the_signature_of_forward_stays() -> None:
    model = OneInput()
    before = inspect.signature(model.forward)
    attach(model, X, Zeroing())
    assert inspect.signature(model.forward) == before


@pytest.mark.compatibility("Checkpoints", "`torch.save(model)` of the whole model")
def test_a_saved_model_keeps_its_layer() -> None:
    model, layer, x = OneInput(), Zeroing(), torch.randn(B, J, C)
    attach(model, X, layer)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for loaded in (torch.load(file, weights_only=False), pickle.loads(pickle.dumps(model))):
        assert torch.equal(loaded(x), model(x))
        assert attached_layers(loaded)[0][1] is not layer
        detach(loaded)
        assert torch.equal(loaded(x), OneInput.forward(model, x))


@pytest.mark.parametrize("attach_first", [True, False])
def test_a_compiled_model_is_gated(attach_first: bool) -> None:
    model = nn.Sequential(OneInput(), nn.ReLU())
    x = torch.randn(B, J, C)
    compiled = torch.compile(model, backend="eager")
    plain = compiled(x)
    if attach_first:
        torch._dynamo.reset()
    target = Target.parse("0:x", "b j c")
    attach(model, target, Zeroing())
    assert torch.equal(compiled(x), model(x))
    assert not torch.equal(compiled(x), plain)
    detach(model)
    assert torch.equal(compiled(x), plain)


@pytest.mark.parametrize(("where", "axes"), [("x", "b j c"), ("x", "b (j c)"), ("x.k", "b j c")])
def test_a_gate_compiles_into_the_graph(where: str, axes: str) -> None:
    class Add(nn.Module):
        def forward(self, x: Any) -> Tensor:
            return (x if isinstance(x, Tensor) else x["k"]) + 1

    model, x = Add(), torch.ones(B, J, C)
    x = x.flatten(1) if "(" in axes else x
    attach(model, Target.parse(where, axes), Nothing())
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert (compiled(x if where == "x" else {"k": x}) == 1).all()


def test_a_compiled_submodule_is_gated_and_so_is_its_copy() -> None:
    model = nn.Module()
    model.encoder = torch.compile(OneInput(), backend="eager")
    x, layer, target = torch.randn(B, J, C), Zeroing(), Target.parse("encoder:x", "b j c")
    plain = model.encoder(x)
    attach(model, target, layer)
    gated = model.encoder(x)
    assert not torch.equal(gated, plain)
    assert attached_layers(model) == [(target, layer)]
    assert torch.equal(copy.deepcopy(model).encoder(x), gated)
    detach(model)
    assert torch.equal(model.encoder(x), plain)


def test_lightning_trains_the_gated_model(tmp_path: Any) -> None:
    model = models.StubbornBatch()
    layer = Zeroing()
    attach(model, Target.parse("batch.skeleton", "b t j c"), layer)
    trainer = pl.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, models.loader(model, 2))
    assert layer.calls == 2
    assert torch.equal(model.got[0][:, :, 1:], torch.zeros(B, T, J - 1, C))


# --- a module by its name ------------------------------------------------------------------------


# --- parts of one skeleton -----------------------------------------------------------------------


def test_one_layer_is_in_front_of_every_part() -> None:
    model, batch = models.Parts(), models.Parts().batch()
    before, plain = states(model), model.training_step(batch, 0)
    layer = JointPruningLayer(J).eval()
    layer.freeze(torch.arange(J) % 3 == 0)
    targets = read_targets({"input": "body + left + right", "axes": "b t j c", "sizes": [5, 8, 8]})
    for target in targets:
        attach(model, target, layer)
    assert attached_layers(model) == [(target, layer) for target in targets]
    twin = copy.deepcopy(model)
    assert [target for target, _ in attached_layers(twin)] == list(targets)
    own = {id(copied): copied for _, copied in attached_layers(twin)}
    assert len(own) == 1
    assert layer not in own.values()
    for gated in (model, twin):
        gated.got.clear()
        gated.training_step(batch, 0)
        assert torch.equal(gated.got[0], model.skeleton(batch) * layer.mask[:, None])
    detach(model, targets[1])
    model.training_step(batch, 0)
    assert torch.equal(model.got[-1][:, :, 5:13], batch["left"])
    detach(model)
    assert states(model) == before
    assert torch.equal(model.training_step(batch, 0), plain)


def test_a_part_that_is_missing_passes() -> None:
    class Both(nn.Module):
        def forward(self, body: Any, hand: Any = None) -> Any:
            return body, hand

    model, layer = Both(), JointPruningLayer(3).eval()
    layer.freeze(torch.tensor([False, False, True]))
    for target in read_targets({"input": "body + hand", "axes": "b j c", "sizes": [2, 1]}):
        attach(model, target, layer)
    assert model(torch.ones(1, 2, 1))[1] is None
    body, hand = model(torch.ones(1, 2, 1), torch.ones(1, 1, 1))
    assert (float(body.sum()), float(hand.sum())) == (0.0, 1.0)


# --- what is saved -------------------------------------------------------------------------------


class Saved(torch.nn.Module):
    """Has Lightning's hook for checkpoints."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["own"] = (*checkpoint.get("own", ()), id(self))


def write(checkpoint: dict[str, Any]) -> None:
    checkpoint["ours"] = "own" not in checkpoint


def also(checkpoint: dict[str, Any]) -> None:
    checkpoint["another"] = True


def saved_by(module: Any) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    return checkpoint


def test_what_is_hooked_is_saved_once_and_before_what_the_module_saves() -> None:
    module = Saved()
    for save in (write, also, write):
        hook_saving(module, save)
    assert saved_by(module) == {"ours": True, "another": True, "own": (id(module),)}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_saves_what_is_its_own(copied: Any) -> None:
    module = Saved()
    hook_saving(module, lambda checkpoint: None)
    other = copied(module)
    assert saved_by(other) == {"own": (id(other),)}


def test_the_last_to_be_unhooked_leaves_no_trace() -> None:
    module = Saved()
    before = dict(module.__dict__)
    hook_saving(module, write)
    hook_saving(module, also)
    unhook_saving(module, write)
    assert saved_by(module) == {"another": True, "own": (id(module),)}
    unhook_saving(module, also)
    unhook_saving(module, also)
    assert module.__dict__ == before


def test_a_hook_that_was_set_on_the_module_itself_is_called_and_given_back() -> None:
    module = Saved()
    module.on_save_checkpoint = also  # type: ignore[method-assign, assignment]
    hook_saving(module, write)
    assert saved_by(module) == {"ours": True, "another": True}
    unhook_saving(module)
    assert module.__dict__["on_save_checkpoint"] is also


class TwoInputs(nn.Module):
    """Takes its joints before or after the channels, or on one axis with them."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.head = nn.Linear(math.prod(shape[1:]), 3)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return scale * self.head(x.flatten(1))


def pruned(axes: str, shape: tuple[int, ...], **settings: Any) -> tuple[nn.Module, Tensor]:
    """Return a model that keeps the joints 1 and 3 of 4, and clips for it."""
    model, layer = TwoInputs(shape).eval(), JointPruningLayer(4, **settings).eval()
    layer.freeze(torch.tensor([False, True, False, True]))
    attach(model, Target.parse("x", axes), layer)
    return model, torch.randn(shape)


LAYOUTS = [("b t j c", (2, 3, 4, 2)), ("b c t j", (2, 2, 3, 4)), ("b t (j c)", (2, 3, 8))]
LAYOUTS += [("t b j c", (3, 2, 4, 2)), ("(b j) c", (8, 2))]
LAYOUTS += [("b (t j) c", (2, 12, 2)), ("b (c j)", (2, 8))]


FILLS: dict[str, Any] = {"0": 0.0, "-2": -2.0, "hold": "hold", "mean": lambda x, _: x.mean()}


@pytest.mark.parametrize(("axes", "shape"), LAYOUTS, ids=[axes for axes, _ in LAYOUTS])
@pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS)
@pytest.mark.compatibility("Pruned models", "`torch.fx`")
def test_what_fx_records_has_the_mask(axes: str, shape: tuple[int, ...], fill: Any) -> None:
    if fill == "hold" and "t" not in axes:
        fill = 0.5
    model, x = pruned(axes, shape, fill=fill)
    recorded = fx.symbolic_trace(model)
    torch.testing.assert_close(recorded(x), model(x))
    detach(model)
    assert not torch.allclose(recorded(x), model(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Please use quant_min and quant_max")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, torch.quantize_per_channel")
@pytest.mark.compatibility("Pruned models", "FX quantization")
def test_what_is_quantized_by_fx_has_the_mask() -> None:
    quantization = pytest.importorskip("torch.ao.quantization")  # PyTorch is to give it up
    by_fx = pytest.importorskip("torch.ao.quantization.quantize_fx")
    model, x = nn.Sequential(nn.Flatten(1), nn.Linear(24, 3)).eval(), torch.randn(2, 3, 4, 2)
    layer = JointPruningLayer(4).eval()
    layer.freeze(torch.tensor([False, True, False, True]))
    attach(model, Target.parse("input", "b t j c"), layer)
    mapping = quantization.get_default_qconfig_mapping("fbgemm")
    prepared = by_fx.prepare_fx(copy.deepcopy(model), mapping, (x,))
    prepared(x)
    quantized = by_fx.convert_fx(prepared)
    torch.testing.assert_close(quantized(x), model(x), atol=0.05, rtol=0.0)
    other = x.index_fill(2, torch.tensor([0, 2]), 1.0)
    assert torch.equal(quantized(other), quantized(x))


@pytest.mark.compatibility("Pruned models", "`torch.fx` in the course of a search", refused=True)
def test_fx_refuses_gates_that_are_still_drawn() -> None:
    model = TwoInputs((2, 3, 4, 2))
    attach(model, Target.parse("x", "b t j c"), JointPruningLayer(4))
    with pytest.raises(ValueError, match=r"for torch.fx but got gates.*model.eval\(\)"):
        fx.symbolic_trace(model)


def test_the_forward_of_the_class_is_gated_and_its_subclass_leaves_no_trace() -> None:
    model, x = pruned("b t j c", (2, 3, 4, 2))
    assert torch.equal(type(model).forward(model, x), model(x))
    assert isinstance(model, TwoInputs)
    assert (type(model).__name__, type(model).__module__) == ("TwoInputs", __name__)
    assert inspect.signature(type(model).forward) == inspect.signature(TwoInputs.forward)
    detach(model)
    assert type(model) is TwoInputs


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_of_a_gated_class_too(copied: Any) -> None:
    model, x = pruned("b t j c", (2, 3, 4, 2))
    other = copied(model)
    assert torch.equal(type(other).forward(other, x), model(x))
    detach(other)
    assert type(other) is TwoInputs


class Registered(nn.Module):
    """Lists its subclasses by a name that they need, as in a registry of models."""

    known: ClassVar[list[str]] = []

    def __init_subclass__(cls, *, name: str) -> None:
        cls.known.append(name)


class Named(Registered, name="named"):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum()


def test_a_registry_of_classes_does_not_see_the_gated_one() -> None:
    model = Named()
    attach(model, Target.parse("x", "b t j c"), Zeroing(4))
    assert Registered.known == ["named"]
    assert type(model).forward is not Named.forward


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.compatibility("Pruned models", "`torch.jit.script`", refused=True)
def test_torchscript_is_refused_with_what_to_use_instead() -> None:
    model, x = pruned("b t j c", (2, 3, 4, 2))
    for root in (model, nn.Sequential(model)):
        with pytest.raises(ValueError, match=r"TwoInputs.*`x`.*export_model"):
            torch.jit.script(root)
    traced = torch.jit.trace(model, x)
    torch.testing.assert_close(traced(x), model(x))
