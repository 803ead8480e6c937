"""Hand-written twins of the zoo: the same modules with the gates coded into them.

This is what the callback spares a researcher, in plain PyTorch; nothing here uses the package.
`Gated` is the gate and its parameter group, `ByHand` the schedule, the price and the frozen mask.
A twin inherits from a module of the zoo and has one line more: the one that calls the gate.
`TWINS` has one for each row of `ZOO`.
"""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import PackedSequence

from tests.zoo import models
from tests.zoo.models import C, J, T

WARMUP_END, SEARCH_END = 0.1, 0.6
TEMPERATURES = (1.0, 0.3)


class Gated:
    """A gate per joint, for a `forward` to call; goes before the module's class."""

    joints = J
    fill = 0.0
    rate = 0.05

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logits = nn.Parameter(torch.full((self.joints,), math.log(0.9 / (1.0 - 0.9))))
        self.mode = "open"
        self.temperature = TEMPERATURES[0]
        self.mask = torch.ones(self.joints, dtype=torch.bool)
        self.generator = torch.Generator()
        self.noise: Tensor | None = None  # drawn once in a step, however often it reads a skeleton

    def gate(self, x: Tensor, axis: int = 2) -> Tensor:
        """Gate a skeleton; the first axis is the batch."""
        if self.mode == "open":
            return x
        one_per_joint = (*[1] * (axis - 1), -1, *[1] * (x.ndim - axis - 1))
        if self.mode == "masked":
            return torch.where(self.mask.view(1, *one_per_joint), x, self.fill)
        if self.noise is None:
            self.noise = torch.rand(len(x), self.joints, generator=self.generator)
        z = torch.sigmoid((self.logits + torch.logit(self.noise, 1e-6)) / self.temperature)
        z = z.view(len(x), *one_per_joint)
        # One for each coordinate: a broadcast along a last axis of two or three is slow.
        z = z.expand(*z.shape[: axis + 1], *x.shape[axis + 1 :]).contiguous()
        return self.fill + z * (x - self.fill) if self.fill else z * x

    def configure_optimizers(self) -> Any:
        """The optimizer of the zoo, with the logits in a group of their own."""
        users = [p for name, p in self.named_parameters() if name != "logits"]
        ours = {"params": [self.logits], "lr": self.rate, "weight_decay": 0.0}
        return torch.optim.AdamW([{"params": users}, ours], lr=1e-3)


class ByHand(pl.Callback):
    """The rest of the recipe, in a Trainer of `max_epochs`."""

    def setup(self, trainer: Any, twin: Any, stage: str) -> None:
        self.phase = "warmup"
        self.done = 0.0  # of the search
        self.first: list[Tensor] = []  # losses of the first ten batches
        self.recent = torch.zeros(())  # running mean of the losses
        twin.generator.manual_seed(torch.initial_seed() + 1)

    def on_train_batch_start(self, trainer: Any, twin: Any, batch: Any, batch_idx: int) -> None:
        epochs = trainer.current_epoch + batch_idx / trainer.num_training_batches
        progress = round(epochs / trainer.max_epochs, 9)
        if progress < WARMUP_END:
            twin.mode = "open"
        elif progress < SEARCH_END:
            self.phase, twin.mode = "search", "sampled"
        else:
            if self.phase == "search":
                decide(twin)
            self.phase, twin.mode = "final", "masked"
        self.done = min(1.0, max(0.0, (progress - WARMUP_END) / (SEARCH_END - WARMUP_END)))
        start, end = TEMPERATURES
        twin.temperature = start * (end / start) ** self.done
        twin.noise = None

    def on_before_optimizer_step(self, trainer: Any, twin: Any, optimizer: Any) -> None:
        if self.phase != "search":
            return
        first = sum(self.first) / len(self.first)
        removed = torch.maximum(first - self.recent, 0.001 * abs(first))
        price = min(1.0, self.done / (1 / 3)) * (0.3 / twin.joints * removed)
        p = torch.sigmoid(twin.logits.detach())
        slope = price * (1.0 + self.done * (p.rsqrt() - 1.0))  # of p + done (2 sqrt(p) - p)
        twin.logits.grad += slope * (1.0 - p) * p

    def on_train_batch_end(
        self, trainer: Any, twin: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"].detach()
        if len(self.first) < 10:
            self.first.append(loss)
            self.recent = sum(self.first) / len(self.first)
        elif self.phase != "final":
            self.recent = self.recent + 0.02 * (loss - self.recent)

    def on_validation_start(self, trainer: Any, twin: Any) -> None:
        if self.phase == "search":
            decide(twin)
        twin.mode = "open" if self.phase == "warmup" else "masked"


def decide(twin: Any) -> None:
    """Keep what is likelier kept than dropped, and the likeliest joint in any case."""
    p = torch.sigmoid(twin.logits.detach())
    twin.mask = p > 0.5
    twin.mask[p.argmax()] = True


# --- the zoo, with the line that calls the gate --------------------------------------------------


class CallsItself(Gated, models.CallsItself):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x))


class CallsForward(Gated, models.CallsForward):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x))


class CallsByKeyword(Gated, models.CallsByKeyword):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x))


class NoForward(Gated, models.NoForward):
    def step(self, batch: Any) -> Tensor:
        return cross_entropy(self.encoder(self.gate(batch["skeleton"])), batch["sign"])


class NoForwardNested(Gated, models.NoForwardNested):
    def step(self, batch: Any) -> Tensor:
        return super().step({**batch, "skeleton": self.gate(batch["skeleton"])})


class OneForwardEach(Gated, models.OneForwardEach):
    def step(self, batch: Any) -> Tensor:
        return super().step({**batch, "skeleton": self.gate(batch["skeleton"])})

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        x = self.gate(batch["skeleton"])
        return cross_entropy(self.encoder.forward(x=x), batch["sign"])


class OneMethodEach(Gated, models.OneMethodEach):
    def encode(self, x: Tensor) -> Tensor:
        return super().encode(self.gate(x))


class WholeBatch(Gated, models.WholeBatch):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.encoder(self.gate(batch["skeleton"]))


class UnpackedBatch(Gated, models.UnpackedBatch):
    def forward(self, **inputs: Tensor) -> Tensor:
        return self.encoder(self.gate(inputs["skeleton"]))


class TupleBatch(Gated, models.TupleBatch):
    def forward(self, *inputs: Tensor) -> Tensor:
        return self.encoder(self.gate(inputs[1]))


class DataclassBatch(Gated, models.DataclassBatch):
    def forward(self, clip: models.Clip) -> Tensor:
        return self.encoder(self.gate(clip.keypoints))


class ObjectBatch(Gated, models.ObjectBatch):
    def forward(self, data: models.Sample) -> Tensor:
        return self.encoder(self.gate(data.pos))


class NestedBatch(Gated, models.NestedBatch):
    def forward(self, batch: Any) -> Tensor:
        return self.encoder(self.gate(batch[0].pose["hands"]))


class OptionalModalities(Gated, models.OptionalModalities):
    def forward(self, rgb: Any, skeleton: Any = None, depth: Any = None) -> Tensor:
        return super().forward(rgb, self.gate(skeleton), depth)


class CalledTwice(Gated, models.CalledTwice):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x))


class TwoStreams(Gated, models.TwoStreams):
    joints = 2 * J

    def forward(self, rgb: Tensor, keypoints: Tensor) -> Tensor:
        return super().forward(rgb, self.gate(keypoints))


class SeveralSkeletons(Gated, models.SeveralSkeletons):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.encoder(self.gate(batch["skeleton"])) + batch["bones"].mean()


class Lifting(Gated, models.Lifting):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x))


class Reconstruction(Gated, models.Reconstruction):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x))


class Autoencoder(Gated, models.Autoencoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x))


class Diffusion(Gated, models.Diffusion):
    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        return super().forward(self.gate(noisy), step)


class MaskedPose(Gated, models.MaskedPose):
    def step(self, batch: Any) -> Tensor:
        x = self.gate(batch["pose"].zero_filled())
        return cross_entropy(self.encoder(x), batch["sign"])


class Padded(Gated, models.Padded):
    def forward(self, x: Tensor, padded: Tensor) -> Tensor:
        return super().forward(self.gate(x), padded)


class Packed(Gated, models.Packed):
    def forward(self, packed: PackedSequence) -> Tensor:
        frames = self.gate(packed.data.unflatten(1, (J, C)), axis=1).flatten(1)
        return super().forward(packed._replace(data=frames))


class Double(Gated, models.Double):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x))


class StubbornBatch(Gated, models.StubbornBatch):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.encoder(self.gate(batch["skeleton"]))


class ThirdAxis(Gated, models.Shaped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x, axis=3))


class JointsAndChannels(Gated, models.Shaped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x.unflatten(2, (J, C))).flatten(2))


class ChannelsAndJoints(Gated, models.Shaped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x.unflatten(2, (C, J)), axis=3).flatten(2))


class Flat(Gated, models.Shaped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x.unflatten(1, (C, J))).flatten(1))


class TimeAndJoints(Gated, models.Shaped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x.unflatten(1, (T, J))).flatten(1, 2))


class Frames(Gated, models.Shaped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x, axis=1))


class SecondAxis(Gated, models.Shaped):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x))


TWINS: dict[str, type[Gated]] = {
    "calls_itself": CallsItself,
    "calls_forward": CallsForward,
    "calls_by_keyword": CallsByKeyword,
    "no_forward": NoForward,
    "no_forward_nested": NoForwardNested,
    "one_forward_each": OneForwardEach,
    "one_method_each": OneMethodEach,
    "whole_batch": WholeBatch,
    "unpacked_batch": UnpackedBatch,
    "tuple_batch": TupleBatch,
    "dataclass_batch": DataclassBatch,
    "object_batch": ObjectBatch,
    "nested_batch": NestedBatch,
    "optional_modalities": OptionalModalities,
    "called_twice": CalledTwice,
    "two_streams": TwoStreams,
    "several_skeletons": SeveralSkeletons,
    "lifting": Lifting,
    "reconstruction": Reconstruction,
    "autoencoder": Autoencoder,
    "diffusion": Diffusion,
    "padded": Padded,
    "packed": Packed,
    "masked_pose": MaskedPose,
    "double": Double,
    "stubborn_batch": StubbornBatch,
    "channels_first": ThirdAxis,
    "persons_last": ThirdAxis,
    "streams": ThirdAxis,
    "joints_and_channels": JointsAndChannels,
    "channels_and_joints": ChannelsAndJoints,
    "flat": Flat,
    "time_and_joints": TimeAndJoints,
    "frames": Frames,
    "hands_42": SecondAxis,
    "nodes_41": SecondAxis,
}
