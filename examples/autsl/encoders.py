"""Encoders of a skeleton clip, `bert`, `gru`, `st-gcn` and `joint-tokens`, and of a video.

Those of skeletons map `(batch, frames, joints, coordinates)` and a frame mask to `(batch, width)`.
Each puts the joints into `num_joints` places that never move, so that the pruning's gates can stand
in front. All say their width as `width`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel, VideoMAEConfig, VideoMAEModel

from lightning_jointprune import JointPruningCallback


def masked_mean(states: Tensor, frame_mask: Tensor) -> Tensor:
    """Return the mean over the frames that are there.

    Args:
        states: shape `(batch, frames, width)`.
        frame_mask: shape `(batch, frames)`, False where a clip is padded.
    """
    seen = frame_mask.unsqueeze(-1).to(states.dtype)
    return (states * seen).sum(dim=1) / seen.sum(dim=1).clamp(min=1.0)


def mean_of_kept(axes: str, states: Tensor, kept: Tensor) -> Tensor:
    """Return the mean over the kept joints.

    Args:
        axes: an einsum over the joints.
        states: a state for each joint.
        kept: which joints are kept, bool, shape `(joints,)`.
    """
    weights = kept.to(states.dtype)
    return torch.einsum(axes, states, weights) / weights.sum().clamp(min=1.0)


def bert(width: int, num_layers: int, longest: int, dropout: float) -> BertModel:
    """Return a BERT that reads embeddings; its word table is never read."""
    config = BertConfig(
        vocab_size=1,
        hidden_size=width,
        num_hidden_layers=num_layers,
        num_attention_heads=width // 32,
        intermediate_size=2 * width,
        max_position_embeddings=longest,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    model = BertModel(config, add_pooling_layer=False)
    model.get_input_embeddings().requires_grad_(False)
    return model


class BertEncoder(nn.Module):
    """BERT that reads a skeleton frame by frame, as it would read words."""

    def __init__(
        self,
        joints: int,
        coordinates: int,
        width: int,
        num_layers: int,
        num_frames: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(joints * coordinates, width)
        self.backbone = bert(width, num_layers, num_frames, dropout)

    def forward(self, keypoints: Tensor, frame_mask: Tensor) -> Tensor:
        """Map `(batch, frames, joints, coordinates)` to `(batch, width)`."""
        frames = self.embed(keypoints.flatten(2))
        states = self.backbone(inputs_embeds=frames, attention_mask=frame_mask.long())
        return masked_mean(states.last_hidden_state, frame_mask)


class GRUEncoder(nn.Module):
    """A bidirectional GRU over frames."""

    def __init__(
        self, joints: int, coordinates: int, width: int, num_layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(joints * coordinates, width)
        self.backbone = nn.GRU(
            width,
            width // 2,
            num_layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if num_layers > 1 else 0.0,
        )

    def forward(self, keypoints: Tensor, frame_mask: Tensor) -> Tensor:
        """Map `(batch, frames, joints, coordinates)` to `(batch, width)`."""
        frames = self.embed(keypoints.flatten(2))
        lengths = frame_mask.sum(dim=1).clamp(min=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            frames, lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(
            self.backbone(packed)[0], batch_first=True, total_length=frames.shape[1]
        )
        return masked_mean(states, frame_mask)


class JointTokens(nn.Module):
    """BERT with a token per joint: its coordinates over time, and an embedding of its own.

    After `follow(kept)` no token attends to those of dropped joints.
    """

    kept: Tensor

    def __init__(
        self,
        joints: int,
        coordinates: int,
        width: int,
        num_layers: int,
        num_frames: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("kept", torch.ones(joints, dtype=torch.bool))
        self.embed = nn.Linear(num_frames * coordinates, width)
        self.backbone = bert(width, num_layers, joints, dropout)

    @torch.no_grad()
    def follow(self, kept: Tensor) -> None:
        """Leave the tokens of dropped joints unread.

        Args:
            kept: bool, shape `(joints,)`.
        """
        self.kept.copy_(kept)

    def forward(self, keypoints: Tensor, frame_mask: Tensor) -> Tensor:
        """Map `(batch, frames, joints, coordinates)` to `(batch, width)`."""
        there = keypoints * frame_mask[:, :, None, None].to(keypoints.dtype)
        tokens = self.embed(there.transpose(1, 2).flatten(2))
        states = self.backbone(inputs_embeds=tokens, attention_mask=self.kept[None, None, None])
        return mean_of_kept("bjc,j->bc", states.last_hidden_state, self.kept)


def normalized_adjacency(joints: int, edges: Iterable[tuple[int, int]]) -> Tensor:
    """Return `D^-1/2 (A + I) D^-1/2` of an undirected graph (Kipf & Welling 2017, eq. 2).

    >>> normalized_adjacency(2, [(0, 1)])
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    graph = torch.eye(joints)
    for first, second in edges:
        graph[first, second] = graph[second, first] = 1.0
    degree = graph.sum(dim=1).rsqrt()
    return degree[:, None] * graph * degree


def bridge(joints: int, edges: Iterable[tuple[int, int]], kept: Tensor) -> set[tuple[int, int]]:
    """Return edges among kept joints: two are joined if a path over dropped ones alone joins them.

    Args:
        joints: number of joints, J.
        edges: pairs of indices.
        kept: which joints are kept, bool, shape `(J,)`.

    >>> sorted(bridge(4, [(0, 1), (1, 2), (2, 3)], torch.tensor([True, False, True, True])))
    [(0, 2), (2, 3)]
    """
    near: dict[int, set[int]] = {joint: set() for joint in range(joints)}
    for first, second in edges:
        near[first].add(second)
        near[second].add(first)
    for joint in (~kept).nonzero().flatten().tolist():
        around = near.pop(joint)
        for other in around:
            near[other] = (near[other] | around) - {joint, other}
    return {(a, b) for a, others in near.items() for b in others if a < b}


class STGCN(nn.Module):
    """Spatial then temporal convolutions (Yan et al. 2018, arXiv:1801.07455), over one graph.

    `follow(kept)` takes the dropped joints out of the graph, and joins those that they joined.
    """

    adjacency: Tensor
    kept: Tensor

    def __init__(
        self,
        joints: int,
        coordinates: int,
        width: int,
        num_layers: int,
        dropout: float,
        edges: Iterable[tuple[int, int]],
    ) -> None:
        super().__init__()
        self.width = width
        self.edges = tuple(edges)
        self.register_buffer("adjacency", normalized_adjacency(joints, self.edges))
        self.register_buffer("kept", torch.ones(joints, dtype=torch.bool))
        # A joint's place is learned: hands of the same shape are different hands.
        self.place = nn.Parameter(torch.zeros(joints, width))
        self.embed = nn.Linear(coordinates, width)
        self.mix = nn.ModuleList([nn.Linear(width, width) for _ in range(num_layers)])
        self.time = nn.ModuleList(
            [nn.Conv1d(width, width, 5, padding=2) for _ in range(num_layers)]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2 * num_layers)])
        self.dropout = nn.Dropout(dropout)

    @torch.no_grad()
    def follow(self, kept: Tensor) -> None:
        """Make the graph that of the kept joints.

        Args:
            kept: bool, shape `(joints,)`.
        """
        edges = bridge(len(kept), self.edges, kept.cpu())
        self.adjacency.copy_(normalized_adjacency(len(kept), edges))
        self.kept.copy_(kept)

    def forward(self, keypoints: Tensor, frame_mask: Tensor) -> Tensor:
        """Map `(batch, frames, joints, coordinates)` to `(batch, width)`."""
        seen = frame_mask[:, :, None, None].to(keypoints.dtype)
        states = self.embed(keypoints) + self.place
        layers = zip(self.mix, self.time, self.norms[::2], self.norms[1::2], strict=True)
        for mix, time, before, between in layers:
            spread = torch.einsum("jk,btkc->btjc", self.adjacency, mix(before(states)))
            states = states + self.dropout(spread.relu())
            line = (between(states) * seen).permute(0, 2, 3, 1).flatten(0, 1)
            moved = time(line).unflatten(0, (len(states), -1)).permute(0, 3, 1, 2)
            states = states + self.dropout(moved.relu())
        return masked_mean(mean_of_kept("btjc,j->btc", states, self.kept), frame_mask)


FOLLOWERS = (STGCN, JointTokens)  # whose `follow` takes dropped joints out of them


def build_encoder(
    name: str,
    joints: int,
    coordinates: int,
    width: int,
    num_layers: int,
    num_frames: int,
    dropout: float,
    edges: Sequence[tuple[int, int]] = (),
) -> nn.Module:
    """Return the encoder of this name.

    Args:
        name: bert, gru, st-gcn or joint-tokens.
        joints: joints per frame, J.
        coordinates: coordinates per joint, C.
        width: width of the encoder, a multiple of 32.
        num_layers: number of its layers.
        num_frames: frames of the longest clip.
        dropout: dropout rate, 0 to 1.
        edges: pairs of joints; only `st-gcn` reads them, and needs some.

    Raises:
        ValueError: no encoder has this name, or `st-gcn` has no edges.
    """
    if name == "bert":
        return BertEncoder(joints, coordinates, width, num_layers, num_frames, dropout)
    if name == "joint-tokens":
        return JointTokens(joints, coordinates, width, num_layers, num_frames, dropout)
    if name == "gru":
        return GRUEncoder(joints, coordinates, width, num_layers, dropout)
    if name != "st-gcn":
        raise ValueError(f"Expected bert, gru, st-gcn or joint-tokens but got {name!r}.")
    if not edges:
        raise ValueError(
            "Expected a skeleton whose edges st-gcn can follow but got none. "
            "Pass --datamodule.skeleton NAME, such as mediapipe_hands."
        )
    return STGCN(joints, coordinates, width, num_layers, dropout, edges)


def video_config(
    channels: int,
    hidden_size: int,
    num_layers: int,
    num_frames: int,
    image_size: int,
    patch_size: int,
) -> VideoMAEConfig:
    """Return the configuration of a VideoMAE that is trained from scratch; sizes in pixels."""
    return VideoMAEConfig(
        image_size=image_size,
        patch_size=patch_size,
        num_channels=channels,
        num_frames=num_frames,
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=hidden_size // 32,
        intermediate_size=2 * hidden_size,
    )


class VideoBranch(nn.Module):
    """VideoMAE's encoder (Tong et al. 2022, arXiv:2203.12602), mean over its tokens.

    Args:
        config: a VideoMAE configuration, for training from scratch; unused with `pretrained`.
        pretrained: name on a model hub or local folder to load weights from.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: VideoMAEConfig, pretrained: str | None = None) -> None:
        super().__init__()
        if pretrained is None:
            self.backbone = VideoMAEModel(config)
        else:
            # Pretrained models arrive in evaluation mode and in the precision they were saved in.
            self.backbone = VideoMAEModel.from_pretrained(pretrained).float().train()
        size = self.backbone.config.image_size
        self.image_size = (size, size) if isinstance(size, int) else tuple(size)
        self.num_frames = self.backbone.config.num_frames
        self.width = self.backbone.config.hidden_size
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, video: Tensor) -> Tensor:
        """Map `(batch, frames, channels, height, width)`, 0 to 255, to `(batch, hidden)`."""
        wanted = torch.linspace(0, video.shape[1] - 1, self.num_frames, device=video.device)
        video = video[:, wanted.round().long()]
        pixels = video.flatten(0, 1).to(self.mean.dtype) / 255
        if pixels.shape[-2:] != self.image_size:
            pixels = functional.interpolate(pixels, self.image_size, mode="bilinear")
        rgb = pixels.shape[1] == 3
        pixels = (pixels - self.mean) / self.std if rgb else 2 * pixels - 1
        states = self.backbone(pixel_values=pixels.unflatten(0, video.shape[:2]))
        return states.last_hidden_state.mean(dim=1)


class FollowKept(pl.Callback):
    """Takes dropped joints out of graphs and attention, when the final phase has begun.

    Args:
        pruning: decides which joints are kept; of a ladder, those of its first rung.
    """

    def __init__(self, pruning: JointPruningCallback) -> None:
        self.pruning = pruning

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        graphs = [module for module in pl_module.modules() if isinstance(module, FOLLOWERS)]
        if not graphs or trainer.current_epoch == 0:
            return
        record = self.pruning.record
        if record.phase == "final":
            widest = record.rungs[0] if record.rungs else record.selection
            for graph in graphs:
                graph.follow(torch.tensor(widest.mask))
