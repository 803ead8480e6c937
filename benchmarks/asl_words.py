"""Real signs: is a model on the joints that the callback keeps as good as one on all of them?

    python -m benchmarks.asl_words --data asl_words.npz --workers 2
    python -m benchmarks.asl_words --data asl_words.npz --rows gru --seeds 1 --score heldout

The data is MediaPipe Holistic without the face (75 joints), 16 ASL words, split by recording
session. Rows: gru and bert, one encoder each. Every competitor has the same recipe, the same number
of epochs (`--epochs`) and, seed by seed, the same seed; subsets of the joints are trained from
scratch on these joints only. The callback has no argument but `num_joints`. Nothing is looked at
during training but the training sessions, and the test sessions are scored once, at the end.
`--score heldout` holds out training sessions instead and never reads the test sessions: use it to
choose anything. A run takes about half a minute (gru) or a minute and a half (bert).
`python -m benchmarks.report_results` writes the results into RESULTS.md.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks.shared.data import HANDS, JOINT_SETS, read_words
from benchmarks.shared.models import Recipe, fit_and_score
from benchmarks.shared.rows import (
    Figure,
    Row,
    at_least,
    existing,
    measure,
    pairs,
    parser,
    results,
    selected,
    spread,
)
from benchmarks.shared.store import Result, Settings, Store

EPOCHS = 40
JOINTS = 75
RANDOM_SETS = 2  # for each seed
RECIPES = {
    "gru": Recipe("adam", lr=4e-3, schedule="onecycle", weight_decay=0.0),
    "bert": Recipe("adamw", lr=1e-3, schedule="onecycle"),
}
# Targets: the mean of the data's own description (GRU, 12 epochs), and two margins in accuracy.
DESCRIBED = {"gru": 0.931}
ABOVE_RANDOM = 0.04
BELOW_RETRAINED = -0.01


def run(path: Path, settings: Settings) -> Result:
    from lightning_jointprune import JointPruningCallback

    words = read_words(path, settings["score"])
    if settings["joints"] is not None:
        words = words.subset(settings["joints"])
    callback = None
    if settings["pruned"]:
        callback = JointPruningCallback(num_joints=len(words.joint_names))
    accuracy = fit_and_score(
        settings["encoder"],
        words.train,
        words.unseen,
        words.classes,
        Recipe(**settings["recipe"]),
        settings["epochs"],
        settings["seed"],
        callback,
    )
    result: Result = {"accuracy": accuracy}
    if callback is not None:
        result |= selected(callback)
        result["names"] = [words.joint_names[joint] for joint in result["kept"]]
    return result


# --- cells ---------------------------------------------------------------------------------------


class Plan:
    """The cells of one encoder.

    Args:
        encoder: gru or bert.
        epochs: the same for all.
        score: `test` or `heldout`.
    """

    def __init__(self, encoder: str, epochs: int = EPOCHS, score: str = "test") -> None:
        self.encoder = encoder
        self.epochs = epochs
        self.score = score

    def cell(
        self, seed: int, joints: Sequence[int] | None = None, pruned: bool = False
    ) -> Settings:
        """Return one run; `joints` None is all of them."""
        return {
            "script": "asl_words",
            "score": self.score,
            "encoder": self.encoder,
            "recipe": RECIPES[self.encoder]._asdict(),
            "epochs": self.epochs,
            "seed": seed,
            "joints": None if joints is None else [int(joint) for joint in joints],
            "pruned": pruned,
        }

    def everything(self, seeds: int) -> list[Settings]:
        return [self.cell(seed) for seed in range(seeds)]

    def pruned(self, seeds: int) -> list[Settings]:
        return [self.cell(seed, pruned=True) for seed in range(seeds)]

    def fixed(self, name: str, seeds: int) -> list[Settings]:
        return [self.cell(seed, JOINT_SETS[name]) for seed in range(seeds)]

    def retrained(self, store: Store, seeds: int) -> list[tuple[Settings, Settings]]:
        """Return each pruned run, and a new model on the joints it kept."""
        kept = [(cell, store.result(cell)) for cell in self.pruned(seeds)]
        return [(cell, self.cell(cell["seed"], result["kept"])) for cell, result in kept if result]

    def random(self, store: Store, seeds: int) -> list[tuple[Settings, Settings]]:
        """Return each pruned run, and new models on random joints of the number it kept."""
        found = []
        for pruned, same in self.retrained(store, seeds):
            for draw in range(RANDOM_SETS):
                rng = np.random.default_rng([pruned["seed"], draw])
                joints = np.sort(rng.choice(JOINTS, len(same["joints"]), replace=False))
                found.append((pruned, self.cell(pruned["seed"], joints)))
        return found

    def cells(self, store: Store, seeds: int) -> list[Settings]:
        fixed = [cell for name in JOINT_SETS for cell in self.fixed(name, seeds)]
        then = [cell for _, cell in self.retrained(store, seeds) + self.random(store, seeds)]
        return self.pruned(seeds) + self.everything(seeds) + fixed + then


# --- figures -------------------------------------------------------------------------------------


def accuracy_figure(measured: str, found: Sequence[Result]) -> list[Figure]:
    return [Figure(measured, "", spread([r["accuracy"] for r in found]))] if found else []


def differences(
    store: Store, both: Sequence[tuple[Settings, Settings]]
) -> tuple[list[float], list[Result]]:
    """Return the pruned accuracies minus the others, pair by pair, and the others' results."""
    found = pairs(store, [pair[0] for pair in both], [pair[1] for pair in both])
    return [a["accuracy"] - b["accuracy"] for a, b in found], [b for _, b in found]


def compared(
    store: Store, name: str, both: Sequence[tuple[Settings, Settings]], target: float | None
) -> list[Figure]:
    """Return what the other models reach, and how far the pruned ones are above them."""
    gains, others = differences(store, both)
    if not gains:
        return []
    measured = f"final model minus {name}, same seed"
    if target is None:
        gain = Figure(measured, "", spread(gains))
    else:
        gain = at_least(measured, target, fmean(gains), gains)
    return [*accuracy_figure(f"accuracy, {name}", others), gain]


def own_figures(encoder: str, found: Sequence[Result]) -> list[Figure]:
    """Return the final models' accuracy, and how many joints they keep."""
    if not found:
        return []
    accuracy = [result["accuracy"] for result in found]
    figures = accuracy_figure("accuracy, final model (hard mask)", found)
    if encoder in DESCRIBED:
        figure = at_least(figures[0].measured, DESCRIBED[encoder], fmean(accuracy), accuracy)
        figures = [figure]
    kept = [len(result["kept"]) for result in found]
    return [*figures, Figure(f"joints kept, of {JOINTS}", "", spread(kept, 1))]


def which_figure(found: Sequence[Result]) -> list[Figure]:
    counts = Counter(name for result in found for name in result["names"])
    value = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    return [Figure(f"runs that keep a joint, of {len(found)}", "", value)] if found else []


def figures(plan: Plan, store: Store, seeds: int) -> list[Figure]:
    pruned = plan.pruned(seeds)
    found = results(store, pruned)
    if not found:
        return accuracy_figure(f"accuracy, all {JOINTS}", results(store, plan.everything(seeds)))
    everything = list(zip(pruned, plan.everything(seeds), strict=True))
    figures = own_figures(plan.encoder, found)
    figures += compared(store, f"all {JOINTS}", everything, 0.0)
    figures += compared(store, "random joints", plan.random(store, seeds), ABOVE_RANDOM)
    retrained = plan.retrained(store, seeds)
    figures += compared(store, "a new model on the kept joints", retrained, BELOW_RETRAINED)
    for name, label in (
        ("hands", f"both hands, {len(HANDS)}"),
        ("arms_hands", f"arms and both hands, {len(JOINT_SETS['arms_hands'])}"),
    ):
        both = list(zip(pruned, plan.fixed(name, seeds), strict=True))
        figures += compared(store, label, both, None)
    return figures + which_figure(found)


# --- rows ----------------------------------------------------------------------------------------


def make_rows(epochs: int = EPOCHS, score: str = "test") -> dict[str, Row]:
    rows = {}
    for encoder, name in (("gru", "GRU, 128 units"), ("bert", "BERT, 2 layers of 128")):
        plan = Plan(encoder, epochs, score)
        rows[encoder] = Row(
            f"asl_words, 16 words, {score} by session, {name}",
            f"{epochs} epochs for every model; no argument but `num_joints`; other joint sets are "
            f"trained from scratch on these joints; {RANDOM_SETS} random sets for each seed.",
            5,
            plan.cells,
            partial(figures, plan),
        )
    return rows


ROWS = make_rows()


def parse_args() -> argparse.Namespace:
    result = parser(__doc__, ROWS)
    result.add_argument("--data", type=existing, required=True, help="the file asl_words.npz")
    result.add_argument("--epochs", type=int, default=EPOCHS, help="of every model")
    result.add_argument("--score", choices=("test", "heldout"), default="test")
    return result.parse_args()


def main() -> None:
    args = parse_args()
    rows = make_rows(args.epochs, args.score)
    measure("asl_words", rows, partial(run, args.data.resolve()), args)


if __name__ == "__main__":
    main()
