"""Does one run say how surely a run with another seed keeps the same joints?

    python -m benchmarks.another_seed --data FOLDER

FOLDER holds the recordings of `benchmarks/selection.py`. Ten runs on each of three recordings and
two planted sets differ by their seed alone. Each is a ladder of `TargetJoints([K, ...])` with the
recipe of `benchmarks/selection.py`, without groups. Of each run, each number and each joint it is
foretold whether the other nine runs keep that joint, by the formula of `kept_again`. Its weights
are fitted to the other four sets, each of which counts alike. A set is held against a constant, the
share K / J of the joints. Finished runs are kept in `--cache` and not repeated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from benchmarks.selectors.plan import RECORDINGS
from benchmarks.selectors.training import EPOCHS, RECIPE
from benchmarks.shared.joint_data import PLANTED, JointData, make_set, read_recording
from benchmarks.shared.models import fit_and_score
from benchmarks.shared.rows import Figure, Row, measure, product, recordings_parser
from benchmarks.shared.store import Result, Settings, Store

SETS = (*RECORDINGS, "correlated", "crowd")
ASKED = (48, 24, 16, 8, 4, 2)  # numbers of joints
SEEDS = 10
BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # of the reliability
NEAR = 0.1  # that the package's weights may be away from a fit to all sets
Array = NDArray[np.float64]


def run(folder: Path, settings: Settings) -> Result:
    from lightning_jointprune import JointPruningCallback, TargetJoints

    data = load(folder, settings["data"])
    budget = TargetJoints([count for count in ASKED if count < data.joints])
    callback = JointPruningCallback(num_joints=data.joints, budget=budget)
    shared = (data.classes, RECIPE, EPOCHS, settings["seed"])
    fit_and_score("gru", data.train, data.unseen, *shared, callback)
    rungs = callback.record.rungs
    return {
        "joints": data.joints,
        "kept": [list(rung.indices) for rung in rungs],
        "places": [rankdata([-p for p in rung.keep_probabilities]).tolist() for rung in rungs],
    }


def load(folder: Path, name: str) -> JointData:
    """Return a recording, or a planted set, which is the same for all seeds of the runs."""
    return make_set(name, 0) if name in PLANTED else read_recording(folder / f"{name}.npz")


def cell(seed: int, data: str) -> Settings:
    return {"script": "another_seed", "data": data, "seed": seed, "pruned": True}


def cells(_store: Store, seeds: int) -> list[Settings]:
    return product(cell, seeds, data=SETS)


# --- what is foretold, and what was --------------------------------------------------------------


class Outcomes(NamedTuple):
    """Hold joints of runs: what a run says of each, and how many of the other runs keep it.

    Attributes:
        features: a constant, whether the run keeps the joint, log((K + 1/2) / place) and
            logit(K / J), shape `(N, 4)`.
        share: K / J, shape `(N,)`.
        votes: the share of the other runs that keep the joint, shape `(N,)`.
    """

    features: Array
    share: Array
    votes: Array


def outcomes(runs: Sequence[Result]) -> Outcomes:
    features, shares, votes = [], [], []
    joints, others = runs[0]["joints"], len(runs) - 1
    for rung, first in enumerate(runs[0]["kept"]):
        count = len(first)
        masks = [np.isin(np.arange(joints), run["kept"][rung]) for run in runs]
        total = np.sum(masks, axis=0)
        for mask, result in zip(masks, runs, strict=True):
            place = np.asarray(result["places"][rung])
            share = np.full(joints, count / joints)
            columns = (
                np.ones(joints),
                mask,
                np.log((count + 0.5) / place),
                np.full(joints, math.log(count / (joints - count))),
            )
            features.append(np.column_stack(columns))
            shares.append(share)
            votes.append((total - mask) / others)
    return Outcomes(*map(np.concatenate, (features, shares, votes)))


def fitted(sets: Sequence[Outcomes]) -> Array:
    """Return the weights of the highest likelihood, in which each set counts alike."""

    def loss(weights: Array) -> float:
        def of(outcome: Outcomes) -> float:
            logit = outcome.features @ weights
            return float(np.mean(np.logaddexp(0.0, logit) - outcome.votes * logit))

        return fmean(map(of, sets))

    return np.asarray(minimize(loss, np.zeros(4)).x)


def brier(chance: Array, votes: Array) -> float:
    """Return the mean squared error of a chance, over joints, runs and the other runs."""
    return float(np.mean(votes * (1 - chance) ** 2 + (1 - votes) * chance**2))


def found(store: Store, seeds: int) -> dict[str, Outcomes]:
    """Map the sets of which at least two runs are finished to their outcomes."""
    by_set: dict[str, list[Result]] = {}
    for settings in cells(store, seeds):
        if result := store.result(settings):
            by_set.setdefault(settings["data"], []).append(result)
    return {name: outcomes(runs) for name, runs in by_set.items() if len(runs) > 1}


def foretold(sets: Mapping[str, Outcomes], name: str) -> Array:
    """Return the chances of a set's joints, by a fit to the other sets."""
    weights = fitted([outcome for other, outcome in sets.items() if other != name])
    return np.asarray(expit(sets[name].features @ weights))


def figures(store: Store, seeds: int) -> list[Figure]:
    from lightning_jointprune.measure.agreement import AGAIN

    sets = found(store, seeds)
    if len(sets) < 2:
        return []
    made = []
    for name, outcome in sets.items():
        score, constant = (
            brier(foretold(sets, name), outcome.votes),
            brier(outcome.share, outcome.votes),
        )
        words = f"Brier score on {name}, foretold by the others"
        made.append(Figure(words, f"< {constant:.3f}, K / J", f"{score:.3f}", score < constant))
    weights = fitted([*sets.values()])
    away = float(np.abs(weights - np.asarray(AGAIN)).max())
    said = ", ".join(f"{weight:.2f}" for weight in weights)
    made.append(Figure("weights of a fit to all sets", "the package's", said, away <= NEAR))
    return made


def reliability(store: Store, seeds: int) -> list[list[str]]:
    """Return of each set the share of joints that was kept again, by what was foretold."""
    sets = found(store, seeds)
    lines = [
        [
            "foretold",
            *(f"{low:.1f} to {high:.1f}" for low, high in pairwise(BINS)),
        ]
    ]
    for name, outcome in sets.items() if len(sets) > 1 else ():
        chance, line = foretold(sets, name), [name]
        for low, high in pairwise(BINS):
            inside = (chance >= low) & (chance < high)
            line.append(
                f"{chance[inside].mean():.2f}, was {outcome.votes[inside].mean():.2f}"
                if inside.any()
                else ""
            )
        lines.append(line)
    return lines if len(lines) > 1 else []


ROWS = {
    "another-seed": Row(
        "how sure a run is: what a run with another seed keeps",
        "Ten ladders on each of three recordings and two planted sets, which differ by their seed. "
        "The table has, by the chance that was foretold, its mean and the share of the joints that "
        "other runs kept.",
        SEEDS,
        cells,
        figures,
        reliability,
    )
}


def main() -> None:
    args = recordings_parser(__doc__, ROWS).parse_args()
    measure("another_seed", ROWS, partial(run, args.data.resolve()), args)


if __name__ == "__main__":
    main()
