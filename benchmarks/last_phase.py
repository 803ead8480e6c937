"""Is the model that a run ends with as good as a new one on the joints that it kept?

    python -m benchmarks.last_phase --data FOLDER
    python -m benchmarks.last_phase --data FOLDER --rows hand_static --seeds 2

FOLDER holds the recordings of `benchmarks/selection.py`. Each cell is a run with `TargetJoints(K)`,
no other argument, and then a new model trained from scratch on the kept joints alone: the same
recipe, seed and number of steps in total. Both are scored once, on the test part. Finished cells
are kept in `--cache` and not repeated, so a run can be stopped and goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from einops import rearrange
from torch import Tensor, nn

from benchmarks.selectors.plan import RECORDINGS
from benchmarks.selectors.training import EPOCHS, RECIPE
from benchmarks.shared.joint_data import read_recording
from benchmarks.shared.models import ENCODERS, Classifier, Recipe, fit_and_score
from benchmarks.shared.rows import (
    Figure,
    Row,
    interval,
    measure,
    product,
    recordings_parser,
    spread,
)
from benchmarks.shared.store import Result, Settings, Store

COUNTS = (2, 8)
SEEDS = 5
SHORT, LONG = 6, 36  # epochs, beside the 12 of all other runs
LEAST = -0.005


class TCNClassifier(Classifier):
    """Two convolutions over time with batch normalisation, mean over time, dropout 0.3, head."""

    def __init__(
        self, joints: int, coordinates: int, classes: int, recipe: Recipe, hidden: int = 128
    ) -> None:
        super().__init__(recipe)
        widths = (joints * coordinates, hidden, hidden)
        layers = [
            layer
            for before, after in pairwise(widths)
            for layer in (nn.Conv1d(before, after, 5, padding=2), nn.BatchNorm1d(after), nn.ReLU())
        ]
        self.convolutions = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(hidden, classes))

    def forward(self, keypoints: Tensor) -> Tensor:
        return self.head(
            self.convolutions(rearrange(keypoints, "b t j c -> b (j c) t")).mean(dim=2)
        )


ENCODERS["tcn"] = TCNClassifier


def run(folder: Path, settings: Settings) -> Result:
    from lightning_jointprune import JointPruningCallback, TargetJoints

    data = read_recording(folder / f"{settings['data']}.npz")
    callback = JointPruningCallback(num_joints=data.joints, budget=TargetJoints(settings["count"]))
    train = partial(fit_and_score, settings["encoder"])
    shared = (data.classes, RECIPE, settings["epochs"], settings["seed"])
    final = train(data.train, data.unseen, *shared, callback)
    joints = [int(joint) for joint in callback.record.selection.indices]
    chosen = data.subset(joints)
    return {"final": final, "new": train(chosen.train, chosen.unseen, *shared), "joints": joints}


# --- cells and figures ---------------------------------------------------------------------------


def cell(seed: int, data: str, encoder: str, epochs: int, count: int) -> Settings:
    return {
        "script": "last_phase",
        "data": data,
        "encoder": encoder,
        "recipe": RECIPE.changed(),
        "epochs": epochs,
        "count": count,
        "seed": seed,
        "pruned": True,
    }


KINDS = [(encoder, EPOCHS) for encoder in ("gru", "bert", "tcn")] + [("gru", SHORT), ("gru", LONG)]


def cells(data: str, store: Store, seeds: int) -> list[Settings]:
    del store
    return [
        settings
        for encoder, epochs in KINDS
        for settings in product(
            cell, seeds, data=[data], encoder=[encoder], epochs=[epochs], count=COUNTS
        )
    ]


def found(data: str, store: Store, seeds: int) -> dict[tuple[str, int, int], list[Result]]:
    """Map encoder, epochs and number of joints to the finished cells."""
    by_kind: dict[tuple[str, int, int], list[Result]] = {}
    for settings in cells(data, store, seeds):
        if result := store.result(settings):
            kind = settings["encoder"], settings["epochs"], settings["count"]
            by_kind.setdefault(kind, []).append(result)
    return by_kind


def side_by_side(data: str, store: Store, seeds: int) -> list[list[str]]:
    lines = [["encoder", "epochs", "joints", "the run's own model", "a new one"]]
    for (encoder, epochs, count), results in found(data, store, seeds).items():
        both = (spread([result[key] for result in results]) for key in ("final", "new"))
        lines.append([encoder, str(epochs), str(count), *both])
    return lines if len(lines) > 1 else []


def figures(data: str, store: Store, seeds: int) -> list[Figure]:
    made = []
    for (encoder, epochs, count), results in found(data, store, seeds).items():
        gains = gains_of(results)
        measured = (
            f"{encoder}, {epochs} epochs, {count} joints: the run's own model minus a new one"
        )
        made.append(Figure(measured, f"≥ {LEAST}", interval(gains), fmean(gains) >= LEAST))
    return made


def gains_of(results: Sequence[Result]) -> list[float]:
    return [result["final"] - result["new"] for result in results]


def make_rows() -> dict[str, Row]:
    setting = (
        "Accuracy on the test part after a run with `TargetJoints(K)`, and of a new model trained "
        "on its joints alone for as many steps in total, with the same seed."
    )
    return {
        data: Row(
            f"the last phase beside training anew: {data}, {joints} joints",
            setting,
            SEEDS,
            partial(cells, data),
            partial(figures, data),
            partial(side_by_side, data),
        )
        for data, joints in RECORDINGS.items()
    }


ROWS = make_rows()


def main() -> None:
    args = recordings_parser(__doc__, ROWS).parse_args()
    measure("last_phase", ROWS, partial(run, args.data.resolve()), args)


if __name__ == "__main__":
    main()
