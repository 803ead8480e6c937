"""Real signs: how many joints each encoder of the example needs.

    python -m benchmarks.asl_study --data FOLDER
    python -m benchmarks.asl_study --data FOLDER --encoders gru --seeds 1 --score heldout

FOLDER holds `asl_words.npz`: MediaPipe Holistic without the face (75 joints), 16 ASL words, split
by recording session. The encoders are those of `examples/autsl/encoders.py`, 32 units wide with two
layers. Every run has the same recipe (`benchmarks/shared/study_models.py`), the same number of
epochs and, seed by seed, the same seed. A model with 75 joints has no callback; one with fewer is
the model that the callback ends with, which no other training follows. `each` is a run for each
number of joints, `TargetJoints(K)`; `ladder` is one run for all of them. An ST-GCN takes twenty
times as long as a GRU. The test sessions are scored once, at the end; `--score heldout` holds out
training sessions instead and never reads the test sessions: use it to choose anything.
Finished runs are kept in `--cache` and not repeated: start the same command after a crash.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.shared.data import read_words
from benchmarks.shared.rows import Figure, Row, existing_in, measure, parser, spread
from benchmarks.shared.store import Result, Settings, Store
from benchmarks.shared.study_models import EVERY, RECIPE, train_and_score

EPOCHS = 12
JOINTS = 75
COUNTS = (42, 24, 10, 5)
EACH, LADDER = "each", "ladder"
ENCODERS = {  # to how its joints are chosen, the cheapest encoder first
    "bert": (EACH, LADDER),
    "gru": (EACH, LADDER),
    "joint-tokens": (EACH, LADDER),
    "st-gcn": (EACH, LADDER),
}


def run(folder: Path, settings: Settings) -> Result:
    words = read_words(folder / "asl_words.npz", settings["score"])
    return train_and_score(
        settings["encoder"], words, settings["counts"], settings["epochs"], settings["seed"]
    )


# --- cells ---------------------------------------------------------------------------------------


class Plan:
    """The cells of the study.

    Args:
        encoders: their names.
        score: `test` or `heldout`.
    """

    def __init__(self, encoders: Sequence[str] = tuple(ENCODERS), score: str = "test") -> None:
        self.encoders = list(encoders)
        self.score = score

    def cell(self, encoder: str, seed: int, counts: Sequence[int]) -> Settings:
        """Return one run; no `counts` is all joints, without the callback."""
        return {
            "script": "asl_study",
            "score": self.score,
            "encoder": encoder,
            "recipe": RECIPE.changed(),
            "every": EVERY,
            "epochs": EPOCHS,
            "seed": seed,
            "counts": list(counts),
            "pruned": bool(counts),
        }

    def of(self, encoder: str, how: str, joints: int, seed: int) -> Settings:
        """Return the run that has so many joints."""
        counts = () if joints == JOINTS else COUNTS if how == LADDER else (joints,)
        return self.cell(encoder, seed, counts)

    def cells(self, store: Store, seeds: int) -> list[Settings]:
        """Return all encoders of a seed before the next, so that what is done is a whole table."""
        every = [
            self.of(encoder, how, joints, seed)
            for seed in range(seeds)
            for encoder in self.encoders
            for how in ENCODERS[encoder]
            for joints in (JOINTS, *COUNTS)
        ]
        return [cell for place, cell in enumerate(every) if cell not in every[:place]]

    def found(self, store: Store, encoder: str, how: str, joints: int, seeds: int) -> list[Result]:
        """Return `accuracy` and `kept` with so many joints, of the seeds that are finished."""
        results = [store.result(self.of(encoder, how, joints, seed)) for seed in range(seeds)]
        return [
            {key: by_joints[str(joints)] for key, by_joints in result.items()}
            for result in results
            if result
        ]


# --- figures -------------------------------------------------------------------------------------


def side_by_side(plan: Plan, store: Store, seeds: int) -> list[list[str]]:
    """Return the accuracy of every encoder with every number of joints."""
    lines = [["encoder", "joints chosen by", *map(str, (JOINTS, *COUNTS))]]
    for encoder in plan.encoders:
        for how in ENCODERS[encoder]:
            row = [plan.found(store, encoder, how, k, seeds) for k in (JOINTS, *COUNTS)]
            if any(row):
                values = [spread([r["accuracy"] for r in found]) if found else "" for found in row]
                lines.append([encoder, how, *values])
    return lines if len(lines) > 1 else []


def figures(plan: Plan, store: Store, seeds: int) -> list[Figure]:
    """Return what fewer joints cost, seed by seed, and which joints are kept."""
    found = []
    for encoder in plan.encoders:
        for how in ENCODERS[encoder]:
            for joints in COUNTS:
                gains = differences(plan, store, encoder, how, joints, seeds)
                if gains:
                    measured = f"{encoder}, {how}: {joints} joints minus all {JOINTS}, same seed"
                    found.append(Figure(measured, "", spread(gains)))
    return found + [figure for joints in COUNTS[-2:] for figure in kept(plan, store, joints, seeds)]


def differences(
    plan: Plan, store: Store, encoder: str, how: str, joints: int, seeds: int
) -> list[float]:
    gains = []
    for seed in range(seeds):
        fewer = store.result(plan.of(encoder, how, joints, seed))
        everything = store.result(plan.of(encoder, how, JOINTS, seed))
        if fewer and everything:
            gains.append(fewer["accuracy"][str(joints)] - everything["accuracy"][str(JOINTS)])
    return gains


def kept(plan: Plan, store: Store, joints: int, seeds: int) -> list[Figure]:
    """Return in how many runs of all encoders each body part has how many joints."""
    parts: Counter[str] = Counter()
    runs = 0
    for encoder in plan.encoders:
        for how in ENCODERS[encoder]:
            for result in plan.found(store, encoder, how, joints, seeds):
                runs += 1
                parts.update(part_of(joint) for joint in result["kept"])
    value = ", ".join(f"{part} {count / runs:.1f}" for part, count in parts.most_common())
    return [Figure(f"of {joints} joints, mean of {runs} runs", "", value)] if runs else []


def part_of(joint: int) -> str:
    """Return the body part of a joint of MediaPipe Holistic without the face."""
    ends = {11: "face", 23: "arms", 33: "legs and hips", 54: "left hand", 75: "right hand"}
    return next(part for end, part in ends.items() if joint < end)


# --- rows ----------------------------------------------------------------------------------------


def make_rows(encoders: Sequence[str] = tuple(ENCODERS), score: str = "test") -> dict[str, Row]:
    plan = Plan(encoders, score)
    return {
        "study": Row(
            f"asl_words, 16 words, {score} by session: four encoders and fewer joints",
            f"Every second frame, 32 units, 2 layers, AdamW with a one-cycle rate up to "
            f"{RECIPE.lr:g}, {EPOCHS} epochs for every model. {JOINTS} is a model without the "
            "callback; *each* is a run for each number, *ladder* one run for all numbers. The "
            "scores are of the models that these runs end with.",
            3,
            plan.cells,
            partial(figures, plan),
            partial(side_by_side, plan),
        )
    }


ROWS = make_rows()


def main() -> None:
    arguments = parser(__doc__, ROWS)
    arguments.add_argument(
        "--data", type=existing_in("asl_words.npz"), required=True, help="folder of asl_words.npz"
    )
    arguments.add_argument(
        "--encoders", nargs="+", choices=list(ENCODERS), default=list(ENCODERS), metavar="ENCODER"
    )
    arguments.add_argument("--score", choices=("test", "heldout"), default="test")
    args: argparse.Namespace = arguments.parse_args()
    rows = make_rows(args.encoders, args.score)
    measure("asl_study", rows, partial(run, args.data.resolve()), args)


if __name__ == "__main__":
    main()
