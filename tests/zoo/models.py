"""A zoo of small LightningModules that know nothing of pruning, each awkward in its own way.

`ZOO` has one row per module: its name, a factory, the input that holds the skeleton, its axes.
Every module makes its own batches (`batch()`), says which tensor in them is the skeleton
(`skeleton(batch)`) and keeps what reached its encoder (`got`). `loader(model)` is for a Trainer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence
from torch.utils.data import DataLoader

B, T, J, C, SIGNS = 4, 8, 21, 3, 5


def skeletons(*shape: int) -> Tensor:
    """Coordinates away from zero, so that a zeroed joint can be told."""
    return torch.randn(*shape) + 10


def loader(model: Any, batches: int = 4) -> DataLoader[Any]:
    """Some of the model's own batches, as they are."""
    return DataLoader([model.batch() for _ in range(batches)], batch_size=None)


def signs() -> Tensor:
    return torch.arange(B) % SIGNS


class Encoder(nn.Module):
    """One linear layer over everything: `(b, ...)` to `(b, out)`."""

    def __init__(self, features: int = T * J * C, out: int = SIGNS) -> None:
        super().__init__()
        self.head = nn.Linear(features, out)
        self.got: list[Tensor] = []  # what reached forward, for the tests

    def forward(self, x: Tensor) -> Tensor:
        self.got.append(x.detach().clone())
        return self.head(x.flatten(1))


class Model(pl.LightningModule):
    """Share what all models have in common. `step` is the loss of a batch; subclasses write it."""

    features = T * J * C
    joints = J

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(self.features)

    @property
    def got(self) -> list[Tensor]:
        return self.encoder.got

    def batch(self) -> Any:
        return {"skeleton": skeletons(B, T, J, C), "sign": signs()}

    def skeleton(self, batch: Any) -> Tensor:
        return batch["skeleton"]

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch["skeleton"]), batch["sign"])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.step(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class CallsItself(Model):
    """`self(x)`."""


class CallsForward(Model):
    """`self.forward(x)`, which skips hooks."""

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self.forward(batch["skeleton"]), batch["sign"])


class CallsByKeyword(Model):
    """`self(x=x)`."""

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(x=batch["skeleton"]), batch["sign"])


class NoForward(pl.LightningModule):
    """The step calls a submodule and nothing else; there is no forward."""

    joints = J
    batch = Model.batch
    skeleton = Model.skeleton
    training_step = Model.training_step
    validation_step = Model.validation_step
    configure_optimizers = Model.configure_optimizers

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()

    @property
    def got(self) -> list[Tensor]:
        return self.encoder.got

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self.encoder(batch["skeleton"]), batch["sign"])


class NoForwardNested(NoForward):
    """The step calls a submodule's submodule, by its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = nn.ModuleDict({"body": nn.ModuleList([self.encoder])})
        del self.encoder

    @property
    def got(self) -> list[Tensor]:
        return self.stream["body"][0].got

    def step(self, batch: Any) -> Tensor:
        encoder = self.stream["body"][0]
        return cross_entropy(encoder.forward(batch["skeleton"]), batch["sign"])


class OneForwardEach(NoForward):
    """Training through `encoder(x)`, validation through `encoder.forward(x=x)`."""

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        return cross_entropy(self.encoder.forward(x=batch["skeleton"]), batch["sign"])


class OneMethodEach(NoForward):
    """Training through a method of its own, validation through forward; both call the encoder."""

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x).softmax(-1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return cross_entropy(self.encode(batch["skeleton"]), batch["sign"])

    def step(self, batch: Any) -> Tensor:
        return 1 - self(batch["skeleton"])[torch.arange(B), batch["sign"]].mean()


class WholeBatch(Model):
    """`self(batch)` with the dict as it comes."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.encoder(batch["skeleton"])

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch), batch["sign"])


class UnpackedBatch(Model):
    """`self(**batch)` into `**kwargs`."""

    def forward(self, **inputs: Tensor) -> Tensor:
        return self.encoder(inputs["skeleton"])

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(**batch), batch["sign"])


class TupleBatch(Model):
    """`self(*batch)` into `*args`, the skeleton second."""

    def batch(self) -> Any:
        return torch.randn(B, 2), skeletons(B, T, J, C), signs()

    def skeleton(self, batch: Any) -> Tensor:
        return batch[1]

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.encoder(inputs[1])

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(*batch), batch[-1])


@dataclass(frozen=True)
class Clip:
    """A batch as a frozen dataclass."""

    keypoints: Tensor
    sign: Tensor


class DataclassBatch(Model):
    """`self(batch)` with a frozen dataclass."""

    def batch(self) -> Any:
        return Clip(skeletons(B, T, J, C), signs())

    def skeleton(self, batch: Any) -> Tensor:
        return batch.keypoints

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return batch  # Lightning moves no frozen dataclass

    def forward(self, clip: Clip) -> Tensor:
        return self.encoder(clip.keypoints)

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch), batch.sign)


class Sample:
    """A batch as an object of its own, such as those of graph libraries."""

    def __init__(self, pos: Tensor, y: Tensor) -> None:
        self.pos = pos
        self.y = y

    def to(self, device: Any, **_: Any) -> Sample:
        return Sample(self.pos.to(device), self.y.to(device))


class ObjectBatch(Model):
    """`self(batch)` with an object that keeps its tensors as attributes."""

    def batch(self) -> Any:
        return Sample(skeletons(B, T, J, C), signs())

    def skeleton(self, batch: Any) -> Tensor:
        return batch.pos

    def forward(self, data: Sample) -> Tensor:
        return self.encoder(data.pos)

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch), batch.y)


class Modalities(NamedTuple):
    """Inputs as a named tuple."""

    rgb: Tensor | None
    pose: dict[str, Tensor]


class NestedBatch(Model):
    """A dict in a named tuple in a list; the other modality is missing."""

    def batch(self) -> Any:
        return [Modalities(None, {"hands": skeletons(B, T, J, C)}), signs()]

    def skeleton(self, batch: Any) -> Tensor:
        return batch[0].pose["hands"]

    def forward(self, batch: Any) -> Tensor:
        return self.encoder(batch[0].pose["hands"])

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch), batch[1])


class OptionalModalities(Model):
    """Positional and keyword, video and depth optional and absent."""

    def forward(
        self, rgb: Tensor | None, skeleton: Tensor | None = None, depth: Tensor | None = None
    ) -> Tensor:
        return sum(self.encoder(x) for x in (rgb, skeleton, depth) if x is not None)

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(None, skeleton=batch["skeleton"], depth=None), batch["sign"])


class CalledTwice(Model):
    """Two views per step, one of them mirrored."""

    def step(self, batch: Any) -> Tensor:
        x, sign = batch["skeleton"], batch["sign"]
        return cross_entropy(self(x), sign) + cross_entropy(self(-x), sign)


class TwoStreams(pl.LightningModule):
    """`forward` takes video and skeleton; the encoders are two levels down."""

    joints = 2 * J
    training_step = Model.training_step
    validation_step = Model.validation_step
    configure_optimizers = Model.configure_optimizers

    def __init__(self) -> None:
        super().__init__()
        self.streams = nn.ModuleDict({"rgb": Encoder(T * 16, 7), "pose": Encoder(T * 2 * J * C, 7)})
        self.head = nn.Linear(14, SIGNS)

    @property
    def got(self) -> list[Tensor]:
        return self.streams["pose"].got

    def batch(self) -> Any:
        return {"rgb": torch.rand(B, T, 4, 4), "keypoints": skeletons(B, T, 2 * J, C), "y": signs()}

    def skeleton(self, batch: Any) -> Tensor:
        return batch["keypoints"]

    def forward(self, rgb: Tensor, keypoints: Tensor) -> Tensor:
        both = [self.streams["rgb"](rgb), self.streams["pose"](keypoints)]
        return self.head(torch.cat(both, -1))

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch["rgb"], keypoints=batch["keypoints"]), batch["y"])


class SeveralSkeletons(Model):
    """Joints and bones, of one shape; only the joints are to be pruned, so it must be told."""

    def batch(self) -> Any:
        return {**super().batch(), "bones": torch.ones(B, T, J, C)}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.encoder(batch["skeleton"]) + batch["bones"].mean()

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch), batch["sign"])


class Parts(Model):
    """Body, left hand and right hand are arguments of their own; together they are one skeleton."""

    sizes = (5, 8, 8)

    def batch(self) -> Any:
        parts = [skeletons(B, T, size, C) for size in self.sizes]
        return {**dict(zip(("body", "left", "right"), parts, strict=True)), "sign": signs()}

    def skeleton(self, batch: Any) -> Tensor:
        return torch.cat([batch["body"], batch["left"], batch["right"]], dim=2)

    def forward(self, body: Tensor, left: Tensor, right: Tensor | None = None) -> Tensor:
        return self.encoder(torch.cat([body, left, right], dim=2))

    def step(self, batch: Any) -> Tensor:
        logits = self(batch["body"], batch["left"], right=batch["right"])
        return cross_entropy(logits, batch["sign"])


class Lifting(Model):
    """The target is a skeleton too, compared by a loss module; it is never the input."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(out=J * C)
        self.criterion = nn.MSELoss()

    def batch(self) -> Any:
        return skeletons(B, T, J, C), skeletons(B, J, C)

    def skeleton(self, batch: Any) -> Tensor:
        return batch[0]

    def step(self, batch: Any) -> Tensor:
        x, target = batch
        return self.criterion(self(x).unflatten(1, (J, C)), target)


class Reconstruction(Model):
    """The input is the target as well."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(out=J * C)

    def step(self, batch: Any) -> Tensor:
        x = batch["skeleton"]
        return mse_loss(self(x).unflatten(1, (J, C)), x.mean(1))


class Autoencoder(Model):
    """Every joint of the input is to come out again, also one that did not go in."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder(out=T * J * C)

    def step(self, batch: Any) -> Tensor:
        x = batch["skeleton"]
        return mse_loss(self(x), x.flatten(1))


class Diffusion(Autoencoder):
    """The input is the skeleton with noise, the target is that noise, or the skeleton."""

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        return self.encoder(noisy) * step[:, None]

    def step(self, batch: Any) -> Tensor:
        x = batch["skeleton"]
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        share = torch.linspace(0.1, 0.9, len(x))
        mixed = torch.lerp(x, noise, share.view(-1, 1, 1, 1))
        predicted = self(mixed, share)
        return mse_loss(predicted, noise.flatten(1)) + mse_loss(predicted, x.flatten(1))


class Padded(Model):
    """Sequences of several lengths, padded with 0, with a mask of what is padding."""

    features = J * C
    lengths = torch.tensor([8, 3, 5, 1])

    def batch(self) -> Any:
        padded = torch.arange(T) >= self.lengths[:, None]
        x = skeletons(B, T, J, C).masked_fill(padded[:, :, None, None], 0.0)
        return {"skeleton": x, "padded": padded, "sign": signs()}

    def forward(self, x: Tensor, padded: Tensor) -> Tensor:
        kept = ~padded
        assert torch.equal((x != 0).flatten(2).any(2), kept)  # as many models find it
        frames = self.encoder(x.flatten(0, 1)).unflatten(0, (B, T))
        return (frames * kept[:, :, None]).sum(1) / kept.sum(1, keepdim=True)

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch["skeleton"], batch["padded"]), batch["sign"])


class Packed(Padded):
    """The same sequences as a PackedSequence of flat frames."""

    def batch(self) -> Any:
        frames = [skeletons(length, J * C) for length in self.lengths.tolist()]
        return pack_sequence(frames, enforce_sorted=False), signs()

    def skeleton(self, batch: Any) -> Tensor:
        return batch[0].data

    def forward(self, packed: PackedSequence) -> Tensor:
        frames = packed._replace(data=self.encoder(packed.data))
        sequences, lengths = pad_packed_sequence(frames, batch_first=True)
        return sequences.sum(1) / lengths[:, None]

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch[0]), batch[1])


class MaskedPose(NoForward):
    """A `MaskedTensor` of pose-format, whose missing points the step fills with 0."""

    def batch(self) -> Any:
        from pose_format.torch.masked import MaskedTensor  # an extra

        there = torch.ones(B, T, J, C, dtype=torch.bool)
        there[1, -2:] = False
        return {"pose": MaskedTensor(skeletons(B, T, J, C), there), "sign": signs()}

    def skeleton(self, batch: Any) -> Tensor:
        return batch["pose"].zero_filled()

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self.encoder(batch["pose"].zero_filled()), batch["sign"])


class NoSkeleton(Model):
    """Features and images: nothing of which has joints. It is in no zoo, as it is refused."""

    features = 512

    def batch(self) -> Any:
        return {"features": torch.randn(B, 512), "images": torch.rand(B, 3, 32, 32), "y": signs()}

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        return self.encoder(features) + images.mean()

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch["features"], batch["images"]), batch["y"])


class Double(Model):
    """float64 data, cast inside the step."""

    def batch(self) -> Any:
        return {"skeleton": skeletons(B, T, J, C).double(), "sign": signs()}

    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self(batch["skeleton"].float()), batch["sign"])


class Shaped(Model):
    """A model that takes one tensor of the given shape."""

    def __init__(self, *shape: int, joints: int = J) -> None:
        self.features = torch.Size(shape[1:]).numel()
        super().__init__()
        self.shape, self.joints = shape, joints

    def batch(self) -> Any:
        return {"skeleton": skeletons(*self.shape), "sign": signs()}


class Stubborn:
    """Tensor-like metadata that raises at every touch."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")

    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("no copy")


class StubbornBatch(WholeBatch):
    """The batch holds an object that cannot be looked into or copied."""

    def batch(self) -> Any:
        return {"meta": Stubborn(), **super().batch()}


def shaped(*shape: int, joints: int = J) -> Callable[[], Shaped]:
    return lambda: Shaped(*shape, joints=joints)


# 13 joints, 12 bones and 16 motions on one axis, as a joint and what is computed from it.
NODES = {
    f"part{joint}": [
        joint,
        *([12 + joint] if joint else []),
        25 + joint,
        *([28 + joint] if joint >= 10 else []),
    ]
    for joint in range(13)
}


ZOO: list[tuple[str, Callable[[], Any], str, str]] = [
    ("calls_itself", CallsItself, "x", "b t j c"),
    ("calls_forward", CallsForward, "x", "b t j c"),
    ("calls_by_keyword", CallsByKeyword, "x", "b t j c"),
    ("no_forward", NoForward, "encoder:x", "b t j c"),
    ("no_forward_nested", NoForwardNested, "stream.body.0:x", "b t j c"),
    ("one_forward_each", OneForwardEach, "encoder:x", "b t j c"),
    ("one_method_each", OneMethodEach, "encoder:x", "b t j c"),
    ("whole_batch", WholeBatch, "batch.skeleton", "b t j c"),
    ("unpacked_batch", UnpackedBatch, "skeleton", "b t j c"),
    ("tuple_batch", TupleBatch, "inputs.1", "b t j c"),
    ("dataclass_batch", DataclassBatch, "clip.keypoints", "b t j c"),
    ("object_batch", ObjectBatch, "data.pos", "b t j c"),
    ("nested_batch", NestedBatch, "batch.0.pose.hands", "b t j c"),
    ("optional_modalities", OptionalModalities, "skeleton", "b t j c"),
    ("called_twice", CalledTwice, "x", "b t j c"),
    ("two_streams", TwoStreams, "keypoints", "b t j c"),
    ("several_skeletons", SeveralSkeletons, "batch.skeleton", "b t j c"),
    ("lifting", Lifting, "x", "b t j c"),
    ("reconstruction", Reconstruction, "x", "b t j c"),
    ("autoencoder", Autoencoder, "x", "b t j c"),
    ("diffusion", Diffusion, "noisy", "b t j c"),
    ("padded", Padded, "x", "b t j c"),
    ("packed", Packed, "packed.data", "b (j c)"),
    *([("masked_pose", MaskedPose, "encoder:x", "b t j c")] if find_spec("pose_format") else []),
    ("double", Double, "x", "b t j c"),
    ("stubborn_batch", StubbornBatch, "batch.skeleton", "b t j c"),
    ("channels_first", shaped(B, C, T, J), "x", "b c t j"),
    ("persons_last", shaped(B, C, T, J, 2), "x", "b c t j m"),
    ("streams", shaped(B, T, 2, J, C), "x", "b t s j c"),
    ("joints_and_channels", shaped(B, T, J * C), "x", "b t (j c)"),
    ("channels_and_joints", shaped(B, T, C * J), "x", "b t (c j)"),
    ("flat", shaped(B, C * J), "x", "b (c j)"),
    ("time_and_joints", shaped(B, T * J, C), "x", "b (t j) c"),
    ("frames", shaped(B, J, C), "x", "b j c"),
    ("hands_42", shaped(B, T, 2 * J, C, joints=2 * J), "x", "b t j c"),
    ("nodes_41", shaped(B, T, 41, C, joints=41), "x", "b t j c"),
]
