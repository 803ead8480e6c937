"""Small encoders that use the joints' axis in one way each, written as their users write them.

`COMPACTED` can be made smaller for fewer joints and stay equal; `REFUSED` cannot, with a word of
the reason. All take `(batch, frames, joints, 3)` unless `AXES` says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_jointprune.attach.hooks import attach
from lightning_jointprune.attach.layout import Layout
from lightning_jointprune.attach.target import Target
from lightning_jointprune.gates.layer import JointPruningLayer

B, T, J, C, SIGNS = 3, 7, 9, 3, 4
KEPT = (1, 3, 4, 8)
AXES = {
    "conv2d_over_all_joints": "b c t j",
    "gcn_without_bias": "b c t j",
    "gcn_of_the_input": "b c t j",
    "gcn_with_bias": "b c t j",
    "st_gcn": "b c t j",
    "pooled_frames_and_joints": "b c t j",
    "channels_then_joints": "b t (c j)",
    "two_stream_agcn": "b c t j",
    "ctr_gcn": "b c t j",
    "persons": "b c t j m",
}


class Encoder(nn.Module):
    """Parts by name, and a head of a fitting size."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


class FlatLinear(Encoder):
    def __init__(self, bias: bool = True) -> None:
        super().__init__(embed=nn.Linear(J * C, 8, bias=bias), head=nn.Linear(8, SIGNS))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.embed(x.flatten(2))).mean(1))


class ChannelsThenJoints(FlatLinear):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.embed(x)).amax(1))


class NumberInForward(FlatLinear):
    def __init__(self) -> None:
        super().__init__()
        self.num_joints = J

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(len(x), -1, self.num_joints * C)
        return self.head(torch.relu(self.embed(flat)).mean(1))


class NumberWrittenOut(FlatLinear):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.embed(x.reshape(len(x), -1, 27))).mean(1))


class DataNorm(Encoder):
    """Batch norm over (joint, channel), as ST-GCN has in front."""

    def __init__(self) -> None:
        super().__init__(norm=nn.BatchNorm1d(J * C), rnn=nn.GRU(J * C, 6, 2, batch_first=True))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        return self.rnn(self.norm(flat.transpose(1, 2)).transpose(1, 2))[0].mean(1)


class BothWays(Encoder):
    def __init__(self) -> None:
        super().__init__(rnn=nn.LSTM(J * C, 5, bidirectional=True), head=nn.Linear(10, SIGNS))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.flatten(2).transpose(0, 1))[0][-1])


class Conv1d(Encoder):
    """Convolutions over time; with padding the constants of dropped joints differ at the ends."""

    def __init__(self, padding: int = 0) -> None:
        super().__init__(conv=nn.Conv1d(J * C, 6, 3, padding=padding))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x.flatten(2).transpose(1, 2))).mean(2)


class Conv2d(Encoder):
    """One window over all joints."""

    def __init__(self) -> None:
        super().__init__(conv=nn.Conv2d(C, 6, (3, J)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x)).mean((2, 3))


class JointTokens(Encoder):
    """A token per joint and frame, over time by itself, then all joints in one linear layer."""

    def __init__(self) -> None:
        super().__init__(
            embed=nn.Linear(C, 6),
            which=nn.Embedding(J, 6),
            when=nn.Parameter(torch.randn(T, 1, 6)),
            norm=nn.LayerNorm(6),
            time=nn.TransformerEncoderLayer(6, 2, 12, batch_first=True),
            head=nn.Linear(J * 6, SIGNS),
        )

    def forward(self, x: Tensor) -> Tensor:
        joints = torch.arange(x.shape[2], device=x.device)
        tokens = self.norm(self.embed(x) + self.which(joints) + self.when)
        frames = tokens.transpose(1, 2).flatten(0, 1)
        pooled = self.time(frames).mean(1).unflatten(0, (len(x), -1))
        return self.head(pooled.flatten(1))


class MeanOfTokens(Encoder):
    """The mean over joints: its factor and its constant go into the head."""

    def __init__(self) -> None:
        super().__init__(
            embed=nn.Linear(C, 6), which=nn.Parameter(torch.randn(J, 6)), head=nn.Linear(6, SIGNS)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.embed(x) + self.which).mean((1, 2)))


class SumOfTokens(MeanOfTokens):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.embed(x) + self.which).sum(2)).mean(1)


class FramesOfJoints(Encoder):
    """A GRU that reads each joint by itself."""

    def __init__(self) -> None:
        super().__init__(rnn=nn.GRU(C, 5, batch_first=True), head=nn.Linear(J * 5, SIGNS))

    def forward(self, x: Tensor) -> Tensor:
        states = self.rnn(x.transpose(1, 2).flatten(0, 1))[0]
        return self.head(states[:, -1].reshape(len(x), -1))


class PooledFramesAndJoints(Encoder):
    """Convolutions over time, joint by joint, and `avg_pool2d` over all, as ST-GCN ends."""

    def __init__(self) -> None:
        super().__init__(
            conv=nn.Sequential(
                nn.Conv2d(C, 6, (3, 1), padding=(1, 0)), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout()
            ),
            head=nn.Conv2d(6, SIGNS, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        pooled = functional.avg_pool2d(x, x.shape[2:])
        return self.head(pooled).flatten(1)


class Persons(Encoder):
    """Persons beside the batch, as NTU's models have them, and a class token beside the joints."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__(
            norm=nn.BatchNorm1d(2 * J * C) if norm else nn.Identity(),
            embed=nn.Linear(C, 6),
            token=nn.Parameter(torch.randn(1, 1, 1, 6)),
            head=nn.Linear((J + 1) * 6, SIGNS),
        )

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, v, m = x.shape
        x = self.norm(x.permute(0, 4, 3, 1, 2).reshape(n, m * v * c, t))
        x = x.view(n, m, v, c, t).permute(0, 1, 4, 2, 3).reshape(n * m, t, v, c)
        tokens = torch.cat([self.token.expand(n * m, t, 1, 6), self.embed(x)], dim=2)
        return self.head(tokens.flatten(2)).view(n, m, t, -1).mean((1, 2))


class Streams(Encoder):
    """Joints and motions of their own embeddings, concatenated; frames of padding are left out."""

    def __init__(self) -> None:
        super().__init__(embed=nn.Linear(2 * J * C, 8), head=nn.Linear(8 + 2, SIGNS))

    def forward(self, x: Tensor, rgb: Tensor | None = None) -> Tensor:
        seen = (x != 0).flatten(2).any(2)
        motion = functional.pad((x[:, 1:] - x[:, :-1]).flatten(2), (0, 0, 1, 0)).view_as(x)
        both = torch.cat([x.flatten(2), motion.flatten(2)], dim=-1)
        mean = (torch.relu(self.embed(both)) * seen[..., None]).sum(1)
        return self.head(torch.cat([mean, x.new_ones(len(x), 2)], dim=-1))


class GraphConvolution(Encoder):
    """One graph convolution with learned edge masks and adaptive edges, as in 2s-AGCN."""

    adjacency: Tensor

    def __init__(self, bias: bool = False) -> None:
        super().__init__(space=nn.Conv2d(C, 2 * 6, 1, bias=bias), head=nn.Linear(6, SIGNS))
        self.register_buffer("adjacency", torch.rand(2, J, J))
        self.importance = nn.Parameter(torch.rand(2, J, J))
        self.added = nn.Parameter(torch.rand(2, J, J))

    def forward(self, x: Tensor) -> Tensor:
        edges = self.adjacency * self.importance + self.added
        parts = self.space(x).unflatten(1, (2, -1))
        mixed = torch.einsum("nkctv,kvw->nctw", parts, edges)
        return self.head(torch.relu(mixed).mean((2, 3)))


class GraphOfInput(Encoder):
    """The graph convolution by `matmul`, before any weights."""

    def __init__(self) -> None:
        super().__init__(conv=nn.Conv2d(C, 6, 1), head=nn.Linear(6, SIGNS))
        self.edges = nn.Parameter(torch.rand(J, J))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(x @ self.edges)).amax((2, 3)))


class GraphBlock(nn.Module):
    """A block of ST-GCN: space by a graph, time by a convolution, and a residual."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.space = nn.Conv2d(inputs, 2 * outputs, 1, bias=bias)
        self.time = nn.Sequential(
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, (3, 1), padding=(1, 0), bias=bias),
            nn.BatchNorm2d(outputs),
        )
        self.residual = nn.Conv2d(inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        parts = self.space(x).unflatten(1, (2, -1))
        mixed = torch.einsum("nkctv,kvw->nctw", parts, edges)
        return torch.relu(self.time(mixed) + self.residual(x))


class STGCN(Encoder):
    """Yan et al. 2018: batch norm over joints, then blocks of graph and temporal convolutions."""

    adjacency: Tensor

    def __init__(self, blocks: int = 2) -> None:
        super().__init__(norm=nn.BatchNorm1d(J * C), head=nn.Conv2d(6, SIGNS, 1))
        self.blocks = nn.ModuleList(GraphBlock(6 if n else C, 6, True) for n in range(blocks))
        self.register_buffer("adjacency", torch.rand(2, J, J))
        self.importance = nn.ParameterList(torch.rand(2, J, J) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, v = x.shape
        x = self.norm(x.permute(0, 3, 1, 2).reshape(n, v * c, t))
        x = x.view(n, v, c, t).permute(0, 2, 3, 1)
        for block, importance in zip(self.blocks, self.importance, strict=True):
            x = block(x, self.adjacency * importance)
        pooled = functional.avg_pool2d(x, x.shape[2:])
        return self.head(pooled).flatten(1)


class AdaptiveGraph(Encoder):
    """2s-AGCN, Shi et al. 2019: a fixed graph, a learned one, and one of each clip."""

    adjacency: Tensor

    def __init__(self) -> None:
        super().__init__(
            theta=nn.Conv2d(C, 4, 1),
            phi=nn.Conv2d(C, 4, 1),
            space=nn.Conv2d(C, 6, 1, bias=False),
            head=nn.Linear(6, SIGNS),
        )
        self.register_buffer("adjacency", torch.rand(J, J))
        self.learned = nn.Parameter(torch.rand(J, J))

    def forward(self, x: Tensor) -> Tensor:
        theta = self.theta(x).permute(0, 3, 1, 2).flatten(2)
        phi = self.phi(x).flatten(1, 2)
        own = torch.softmax(theta @ phi / theta.shape[-1], dim=-2)
        edges = self.adjacency + self.learned + own
        mixed = self.space(x).flatten(1, 2) @ edges
        return self.head(torch.relu(mixed.unflatten(1, (6, -1))).mean((2, 3)))


class RefinedTopology(Encoder):
    """CTR-GCN, Chen et al. 2021: a graph for each channel, of differences between joints."""

    def __init__(self) -> None:
        super().__init__(
            source=nn.Conv2d(C, 4, 1),
            target=nn.Conv2d(C, 4, 1),
            refine=nn.Conv2d(4, 6, 1),
            space=nn.Conv2d(C, 6, 1),
            head=nn.Linear(6, SIGNS),
        )
        self.shared = nn.Parameter(torch.rand(J, J))

    def forward(self, x: Tensor) -> Tensor:
        source, target = self.source(x).mean(2), self.target(x).mean(2)
        refined = self.refine(torch.tanh(source[..., :, None] - target[..., None, :]))
        mixed = torch.einsum("ncuv,nctv->nctu", refined + self.shared, self.space(x))
        return self.head(torch.relu(mixed).mean((2, 3)))


class Bert(Encoder):
    """A token per frame of all joints, a class token, learned positions, two layers."""

    def __init__(self) -> None:
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        super().__init__(
            embed=nn.Linear(J * C, 8),
            norm=nn.LayerNorm(8),
            encoder=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
            head=nn.Linear(8, SIGNS),
        )
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 64, 8))

    def forward(self, x: Tensor) -> Tensor:
        frames = self.embed(x.flatten(2))
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), frames], dim=1)
        tokens = self.norm(tokens + self.positions[:, : tokens.shape[1]])
        return self.head(self.encoder(tokens)[:, 0])


class JointAttention(Encoder):
    def __init__(self) -> None:
        super().__init__(
            embed=nn.Linear(C, 6),
            attention=nn.MultiheadAttention(6, 2, batch_first=True),
            head=nn.Linear(6, SIGNS),
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(0, 1)
        mixed = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(mixed.mean(1)).unflatten(0, (len(x), -1)).mean(1)


class NormOverJoints(FlatLinear):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm([J, C])

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x))


class Centred(FlatLinear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x[:, :, :1])


class CentredOnMean(FlatLinear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(2, keepdim=True))


class MaxOverJoints(MeanOfTokens):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.embed(x) + self.which).amax((1, 2)))


class SoftmaxOverJoints(MeanOfTokens):
    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x)
        share = tokens.sum(-1, keepdim=True).softmax(2)
        return self.head((tokens * share).sum(2)).mean(1)


class Neighbours(Encoder):
    def __init__(self) -> None:
        super().__init__(conv=nn.Conv2d(C, 6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.permute(0, 3, 1, 2)).mean((2, 3))


class PerJoint(Encoder):
    def __init__(self) -> None:
        super().__init__(embed=nn.Linear(C, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x)


class AsksForValues(FlatLinear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.mean() > 0 else -x)


class TiedWeight(FlatLinear):
    """The weights of the joints are used as a whole elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.embed.weight.square().mean()


class GraphOfKept(Encoder):
    """A graph in which kept joints get nothing from dropped ones; padding is left out."""

    adjacency: Tensor
    kept: Tensor

    def __init__(self) -> None:
        super().__init__(
            embed=nn.Linear(C, 6),
            mix=nn.Linear(6, 6),
            norm=nn.LayerNorm(6),
            head=nn.Linear(6, SIGNS),
        )
        kept = torch.tensor([joint in KEPT for joint in range(J)])
        self.register_buffer("kept", kept)
        self.register_buffer("adjacency", torch.rand(J, J) * ~(kept[:, None] & ~kept))

    def forward(self, x: Tensor) -> Tensor:
        seen = (x[..., :1] != 0).any(2, keepdim=True)
        states = self.embed(x) * seen
        mixed = torch.einsum("jk,btkc->btjc", self.adjacency, self.mix(self.norm(states)))
        return self.head(self.pooled(states + mixed.relu()).mean(1))

    def pooled(self, states: Tensor) -> Tensor:
        weights = self.kept.to(states.dtype)
        return torch.einsum("btjc,j->btc", states, weights) / weights.sum()


class MeanOfAllNodes(GraphOfKept):
    def pooled(self, states: Tensor) -> Tensor:
        return states.mean(2)


class AttentionToKept(GraphOfKept):
    """Two layers with a token per joint, in which nobody attends to dropped ones."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.TransformerEncoderLayer(6, 2, 12, batch_first=True) for _ in range(2)]
        )

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(0, 1)
        unread = (~self.kept).expand(len(tokens), -1)
        for layer in self.layers:
            tokens = layer(tokens, src_key_padding_mask=unread)
        return self.head(self.pooled(tokens.unflatten(0, (len(x), -1))).mean(1))


class MeanOfAllTokens(AttentionToKept):
    def pooled(self, states: Tensor) -> Tensor:
        return states.mean(2)


COMPACTED: dict[str, Callable[[], nn.Module]] = {
    "linear": FlatLinear,
    "linear_without_bias": lambda: FlatLinear(bias=False),
    "channels_then_joints": ChannelsThenJoints,
    "number_in_forward": NumberInForward,
    "data_norm_and_gru": DataNorm,
    "lstm_both_ways": BothWays,
    "conv1d": Conv1d,
    "conv2d_over_all_joints": Conv2d,
    "bert": Bert,
    "joint_tokens": JointTokens,
    "mean_of_tokens": MeanOfTokens,
    "sum_of_tokens": SumOfTokens,
    "frames_of_joints": FramesOfJoints,
    "pooled_frames_and_joints": PooledFramesAndJoints,
    "persons": Persons,
    "attention_to_kept": AttentionToKept,
}
ONLY_WITH_0: dict[str, Callable[[], nn.Module]] = {
    "streams": Streams,
    "conv1d_with_padding": lambda: Conv1d(padding=1),
    "gcn_without_bias": GraphConvolution,
    "gcn_of_the_input": GraphOfInput,
    "graph_of_kept": GraphOfKept,
}
REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "st_gcn": (STGCN, "add a constant"),
    "two_stream_agcn": (AdaptiveGraph, "joints meet joints along another axis"),
    "ctr_gcn": (RefinedTopology, "joints meet others along another axis"),
    "gcn_with_bias": (lambda: GraphConvolution(bias=True), "add a constant"),
    "persons": (lambda: Persons(norm=True), "add a constant"),  # another one for each person
    "mean_of_all_nodes": (MeanOfAllNodes, "take on what depends on the input"),
    "mean_of_all_tokens": (MeanOfAllTokens, "take on what depends on the input"),
    "joint_attention": (JointAttention, r"layer `attention`.*attend"),
    "norm_over_joints": (NormOverJoints, r"layer `norm`.*mean and variance"),
    "centred": (Centred, "picked by number"),
    "centred_on_mean": (CentredOnMean, "add a constant"),
    "max_over_joints": (MaxOverJoints, "share in the amax"),
    "softmax_over_joints": (SoftmaxOverJoints, "share in what is computed"),
    "neighbours": (Neighbours, r"layer `conv`.*neighbours"),
    "per_joint": (PerJoint, "makes of each joint"),
    "asks_for_values": (AsksForValues, "torch.export"),
    "tied_weight": (TiedWeight, "needs all of `embed.weight`"),
    "number_written_out": (NumberWrittenOut, "written into the forward"),
}


def example(name: str, batch: int = B) -> Tensor:
    """A skeleton that the model of this name takes."""
    shape = {
        "b c t j": (batch, C, T, J),
        "b t (c j)": (batch, T, C * J),
        "b c t j m": (batch, C, T, J, 2),
    }.get(AXES.get(name, ""), (batch, T, J, C))
    return torch.randn(shape)


def masked(
    model: nn.Module, axes: str = "b t j c", kept: Any = KEPT, fill: Any = 0.0, joints: int = J
) -> Any:
    """The model as it is after a run that kept these joints, with statistics of its own."""
    layer = JointPruningLayer(joints, fill=fill)
    if fill == "mean":
        layer.fill_mean = torch.randn(1, 1, joints, 3)
    layer.freeze(torch.tensor([joint in kept for joint in range(joints)]))
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    attach(model.eval(), Target.parse("x", axes), layer)
    return model


def picked(x: Tensor, axes: str, kept: Any = KEPT) -> Tensor:
    """The kept joints of a skeleton."""
    layout = Layout.parse(axes)
    split, words = layout.split(x, J)
    return layout.merge(split.index_select(words.index("j"), torch.tensor(kept)))
