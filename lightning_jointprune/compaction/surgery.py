"""Changes the sizes of a model's parameters and buffers, and the layers in front of its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from lightning_jointprune.attach.modules import named_modules
from lightning_jointprune.compaction.follow import Plan
from lightning_jointprune.gates.fills import padding


class SelectLayer(nn.Module):
    """Picks the kept joints out of all of them, in the place of a `JointPruningLayer`.

    Args:
        mask: the kept joints, shape `(joints,)`, bool.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.num_joints = len(mask)
        self.register_buffer("mask", mask.clone())

    def forward(self, x: Tensor, axes: tuple[str, ...], joints: range | None = None) -> Tensor:
        """Return the kept joints of all, or of those in the range `joints`."""
        mask = self.mask if joints is None else self.mask[joints.start : joints.stop]
        return x.index_select(axes.index("j"), mask.nonzero().flatten().to(x.device))


class PutBackLayer(nn.Module):
    """Puts the values of dropped joints between kept ones, in front of a model of all joints.

    Args:
        mask: the kept joints, shape `(joints,)`, bool.
        fill: value of dropped joints: a number, or a tensor that broadcasts to all joints.
    """

    places: Tensor
    fill: Tensor

    def __init__(self, mask: Tensor, fill: Tensor) -> None:
        super().__init__()
        self.num_joints, self.all_joints = int(mask.sum()), len(mask)
        self.pads = self.num_joints > 0 and bool(fill.any())  # known before a trace asks for it
        behind = self.num_joints + torch.arange(len(mask))
        self.register_buffer("places", torch.where(mask, mask.cumsum(0) - 1, behind))
        self.register_buffer("fill", fill.clone())

    def forward(self, x: Tensor, axes: tuple[str, ...]) -> Tensor:
        """Return all joints; frames of padding stay padding where `fill` is not 0."""
        dim = axes.index("j")
        shape = [self.all_joints if place == dim else size for place, size in enumerate(x.shape)]
        filled = self.fill.to(x).expand(shape)
        if self.pads:
            filled = torch.where(padding(x, axes), x.narrow(dim, 0, 1), filled)
        return torch.cat([x, filled], dim).index_select(dim, self.places.to(x.device))


def resized(model: nn.Module, plan: Plan) -> dict[str, Tensor]:
    """Return the tensors that a plan changes, as they are in the compact model."""
    tensors = {name: tensor for _, _, name, tensor in named_tensors(model)}
    changed: dict[str, Tensor] = {}
    for name in {*plan.cuts, *plan.scales}:
        tensor = tensors[name].detach()
        if name in plan.scales:
            factor = plan.scales[name].to(tensor)
            tensor = tensor * factor.view(1, -1, *[1] * (tensor.ndim - 2))
        for dim, mask in plan.cuts.get(name, {}).items():
            tensor = tensor.index_select(dim, mask.nonzero().flatten().to(tensor.device))
        changed[name] = tensor.clone()
    for name, added in plan.biases.items():
        weight = tensors.get(name, tensors.get(f"{name.removesuffix('bias')}weight"))
        assert weight is not None  # a bias is known by its own name or its weight's
        before = changed.get(name, tensors.get(name, torch.zeros_like(added)))
        changed[name] = (before.detach().to(added) + added).to(weight)
    return changed


def fit(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a model's parameters and buffers other sizes, and its layers the new numbers.

    Args:
        model: the model; its other tensors stay as they are.
        tensors: the new tensors by name; a bias that a layer lacks is made.

    Raises:
        ValueError: if the model has no such tensor.
    """
    made: dict[int, nn.Parameter] = {}  # parameters that are shared stay shared
    missing = dict(tensors)
    for owner, word, name, old in list(named_tensors(model)):
        if name not in tensors and id(old) not in made:
            continue
        new = missing.pop(name, None)
        if isinstance(old, nn.Parameter):
            if id(old) not in made:
                assert new is not None
                made[id(old)] = nn.Parameter(new.to(old.device), old.requires_grad)
            setattr(owner, word, made[id(old)])
        else:
            setattr(owner, word, new)
        renumber(owner)
    for name, new in missing.items():
        path, _, word = name.rpartition(".")
        layer = dict(model.named_modules()).get(path)
        if layer is None or word not in layer._parameters:
            raise ValueError(
                f"Expected a model with `{name}` but {type(model).__name__} has none. Pass the "
                "class, and the arguments, of the model that was compacted."
            )
        setattr(layer, word, nn.Parameter(new))


def renumber(layer: nn.Module) -> None:
    """Set a layer's attributes of sizes by its weights."""
    if isinstance(layer, nn.Linear):
        layer.in_features = layer.weight.shape[1]
    elif isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        layer.in_channels = layer.weight.shape[1] * layer.groups
        layer.kernel_size = tuple(layer.weight.shape[2:])
    elif isinstance(layer, nn.modules.batchnorm._NormBase):
        for tensor in (*layer._parameters.values(), layer.running_mean):
            layer.num_features = layer.num_features if tensor is None else len(tensor)
    elif isinstance(layer, nn.RNNBase):
        layer.input_size = layer.get_parameter("weight_ih_l0").shape[1]
    elif isinstance(layer, nn.Embedding):
        layer.num_embeddings = layer.weight.shape[0]


def named_tensors(model: nn.Module) -> Iterator[tuple[nn.Module, str, str, Tensor]]:
    """Yield owner, name there, name in the model, and tensor; shared ones under each name."""
    for path, owner in model.named_modules(remove_duplicate=False):
        for held in (owner._parameters, owner._buffers):
            for word, tensor in held.items():
                if tensor is not None:
                    yield owner, word, f"{path}.{word}" if path else word, tensor


def numbers_of(model: nn.Module, joints: int) -> list[tuple[str, str]]:
    """Return path and name of each attribute of the user's modules that is the number of joints."""
    return [
        (path, word)
        for path, module in named_modules(model)
        if not type(module).__module__.startswith("torch.")
        for word, value in vars(module).items()
        if type(value) is int and value == joints and not word.startswith("_")
    ]
