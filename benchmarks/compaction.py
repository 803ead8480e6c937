"""Measure how much faster a model of fewer joints is.

    python -m benchmarks.compaction                        both rows, two or three minutes
    python -m benchmarks.compaction --rows stgcn --seeds 1

Rows: tokens, stgcn. Five models answer the same batches in turn, one after the other, so
that what slows the machine down slows all of them: the full model; the masked one, whose graph or
attention follows the kept joints; what `compact` makes of it, which equals it; a model that was
made for K joints, with `SelectJoints` in front; and the full model again, which tells how far the
clock can be trusted. A figure is the median, over the turns, of the ratio to the full model. The
time that no joint has a part in is taken to be that of a model of one joint.
`python -m benchmarks.report_results` writes the results into RESULTS.md.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.shared.rows import Figure, Row, at_most, measure, parser, product, results, spread
from benchmarks.shared.store import Result, Settings, Store

KINDS = ("full", "masked", "compact", "made for K", "one joint", "full again")
PAIRS = ("masked", "compact", "made for K", "full again")
JOINTS, COORDINATES, FRAMES = 60, 3, 32
BATCH = {"joint-tokens": 16, "st-gcn": 2}  # clips; a graph convolution has a state per frame
SHARES = (0.5, 0.25, 0.1)
TURNS = 31
LIMIT = 1.25  # of the share K/J, for the part of the time that joints have a part in


def model_of(name: str, joints: int) -> nn.Module:
    from examples.autsl.encoders import build_encoder

    edges = [(joint, joint + 1) for joint in range(joints - 1)] or [(0, 0)]
    return build_encoder(name, joints, COORDINATES, 128, 2, FRAMES, 0.0, edges)


def models_of(name: str, kept: Tensor, example: tuple[Tensor, ...]) -> dict[str, nn.Module]:
    """Return the models by kind, all in evaluation mode."""
    from lightning_jointprune import JointPruningLayer, SelectJoints, analyze_pruning, compact
    from lightning_jointprune.attach.hooks import attach
    from lightning_jointprune.attach.target import Target

    full = model_of(name, len(kept)).eval()
    masked: Any = copy.deepcopy(full)
    if hasattr(masked, "follow"):
        masked.follow(kept)
    layer = JointPruningLayer(len(kept))
    layer.freeze(kept)
    attach(masked, Target.parse("keypoints", "b t j c"), layer)
    selection = analyze_pruning(masked)

    class Picking(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.pick, self.model = SelectJoints(selection, "b t j c"), model

        def forward(self, keypoints: Tensor, frame_mask: Tensor) -> Tensor:
            return self.model(self.pick(keypoints), frame_mask)

    small = compact(masked, selection, example, takes="kept")
    found = {
        "full": full,
        "masked": masked,
        "compact": Picking(small),
        "made for K": Picking(model_of(name, int(kept.sum()))),
        "one joint": model_of(name, 1),
    }
    return {kind: model.eval() for kind, model in found.items()}


def run(settings: Settings) -> Result:
    torch.manual_seed(settings["seed"])
    joints = settings["joints"]
    kept = torch.zeros(joints, dtype=torch.bool)
    kept[torch.randperm(joints)[: round(settings["share"] * joints)]] = True
    clips = settings["batch"]
    batch = (
        torch.randn(clips, FRAMES, joints, COORDINATES),
        torch.ones(clips, FRAMES, dtype=torch.bool),
    )
    models = models_of(settings["model"], kept, batch)
    with torch.inference_mode():
        error = (models["compact"](*batch) - models["masked"](*batch)).abs().max()
        seconds = interleaved(models, batch)
    return {
        "milliseconds": {kind: 1000 * median(times) for kind, times in seconds.items()},
        "error": float(error),
        **{
            kind: median(a / b for a, b in zip(seconds[kind], seconds["full"], strict=True))
            for kind in PAIRS
        },
        **{
            f"{kind} of the joints' part": median(
                (a - c) / (b - c)
                for a, b, c in zip(
                    seconds[kind], seconds["full"], seconds["one joint"], strict=True
                )
            )
            for kind in ("compact", "made for K")
        },
    }


def interleaved(models: dict[str, nn.Module], batch: tuple[Tensor, ...]) -> dict[str, list[float]]:
    """Return the seconds of processor time of each model in each turn; the first turns warm up."""
    single = (batch[0][:, :, :1], batch[1])
    calls: dict[str, Callable[[], Any]] = {
        kind: partial(model, *(single if kind == "one joint" else batch))
        for kind, model in models.items()
    }
    calls["full again"] = calls["full"]
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(TURNS + 3):
        first = turn % len(KINDS)
        for kind in KINDS[first:] + KINDS[:first]:
            calls[kind]()  # else a small model that follows a large one starts with cold caches
            start = time.thread_time()
            calls[kind]()
            if turn >= 3:
                found[kind].append(time.thread_time() - start)
    return found


# --- figures and rows ----------------------------------------------------------------------------


def cell(model: str, share: float, seed: int) -> Settings:
    return {
        "script": "compaction",
        "model": model,
        "joints": JOINTS,
        "batch": BATCH[model],
        "share": share,
        "seed": seed,
        "pruned": True,
    }


def figures(model: str, store: Store, seeds: int) -> list[Figure]:
    rows: list[Figure] = []
    for share in SHARES:
        found = results(store, product(partial(cell, model), seeds, share=[share]))
        if not found:
            continue
        at = f"K/J = {share}"
        times = [result["milliseconds"]["full"] for result in found]
        rows.append(Figure(f"{at}: full model, ms a batch", "", spread(times, 1)))
        rows += [
            Figure(f"{at}: {kind} / full", "", spread([result[kind] for result in found]))
            for kind in PAIRS
        ]
        for kind in ("compact", "made for K"):
            values = [result[f"{kind} of the joints' part"] for result in found]
            label = f"{at}: {kind}, of the joints' part"
            rows.append(at_most(label, LIMIT * share, fmean(values), values))
    return rows


def row(model: str, title: str, setting: str) -> Row:
    def cells(_store: Store, seeds: int) -> list[Settings]:
        return product(partial(cell, model), seeds, share=SHARES)

    return Row(f"latency: {title}", f"{setting} {SETTING}", 1, cells, partial(figures, model))


SETTING = (
    f"{JOINTS} joints, clips of {FRAMES} frames, one thread, medians of {TURNS} "
    "turns in which the models follow one another, each called once before its clock starts. "
    "*masked* has the frozen mask in front, and its "
    "graph or attention follows the kept joints; *compact* is what `compact` makes of it, equal to "
    "it and with the kept joints picked in front; *made for K* is a model of K joints with "
    "`SelectJoints` in front, which has to be trained as such. *The joints' part* is the time "
    "beyond that of the same model with one joint."
)
ROWS = {
    "tokens": row(
        "joint-tokens",
        "a token per joint",
        "`JointTokens` of the example: BERT, 2 layers of 128; 16 clips.",
    ),
    "stgcn": row(
        "st-gcn", "graph convolutions", "`STGCN` of the example: 2 layers of 128; 2 clips."
    ),
}


def main() -> None:
    args = parser(__doc__, ROWS).parse_args()
    if args.workers != 1:
        raise SystemExit("Expected one worker, since others would disturb the clock.")
    measure("compaction", ROWS, run, args)


if __name__ == "__main__":
    main()
