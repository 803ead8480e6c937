"""The cells of one data set: what every method chooses, and new models on what it chose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np

from benchmarks.selectors import OURS, SCRIPT_OF
from benchmarks.selectors.training import EPOCHS, RECIPE
from benchmarks.shared.joint_data import HAND_PICKED, PARTS, PLANTED
from benchmarks.shared.store import Result, Settings, Store

RANDOM, MATCHED = "random", "random, matched"
RECORDINGS = {"hand_static": 21, "uiprmd_vicon": 39, "asl_words": 75}  # to their joints
DRAWS = 20  # random sets of each number, shared out among the seeds
SEEDS = 3
POINT = 0.01

Curve = Mapping[int, float]  # number of joints to accuracy, all joints the last


class Plan:
    """The cells of one data set.

    Args:
        name: of the planted set or the recording.
        joints: J.
        counts: the numbers of joints that are asked for, ascending, all below J.
        encoder: of all models.
    """

    def __init__(self, name: str, joints: int, counts: Sequence[int], encoder: str = "gru") -> None:
        self.name = name
        self.joints = joints
        self.counts = list(counts)
        self.encoder = encoder

    def choice(self, method: str, seed: int) -> Settings:
        """Return the cell of a method's joints, for all numbers."""
        script = SCRIPT_OF[method]
        return {
            "script": script,
            "method": method,
            "data": self.name,
            "encoder": self.encoder,
            "counts": self.counts,
            "seed": seed,
            "pruned": script == "ours",
        }

    def subset(self, joints: Sequence[int], seed: int) -> Settings:
        """Return the cell of a new model on these joints alone."""
        return {
            "script": "subset",
            "data": self.name,
            "encoder": self.encoder,
            "recipe": RECIPE.changed(),
            "epochs": EPOCHS,
            "joints": sorted(int(joint) for joint in joints),
            "seed": seed,
            "pruned": False,
        }

    def held_out(self, joints: Sequence[int], seed: int) -> Settings:
        """Return the cell of a model on these joints that is scored on a validation.

        The validation is a part of what other models are trained on, of other subjects or sessions.
        """
        return {**self.subset(joints, seed), "script": "held_out"}

    def choices(self, seeds: int) -> list[Settings]:
        return [self.choice(method, seed) for seed in range(seeds) for method in SCRIPT_OF]

    def chosen(self, store: Store, method: str, seed: int, count: int) -> list[Sequence[int]]:
        """Return the subsets that a method has for a number of joints, as far as they are known."""
        if method in (RANDOM, MATCHED):
            draws = range(seed, DRAWS, SEEDS)
            if method == RANDOM:
                return [self._drawn([range(self.joints)], [count], draw) for draw in draws]
            own = self.chosen(store, OURS, seed, count)
            parts = list(PARTS[self.name].values())
            shares = [len({*own[0]} & {*part}) for part in parts] if own else []
            return [self._drawn(parts, shares, draw) for draw in draws] if own else []
        result = store.result(self.choice(method, seed))
        return [result["joints"][str(count)]] if result else []

    def _drawn(self, parts: Sequence[Sequence[int]], shares: Sequence[int], draw: int) -> list[int]:
        """Return so many joints at random out of each part."""
        rng = np.random.default_rng([draw, *shares])
        drawn = zip(parts, shares, strict=True)
        return [int(j) for part, share in drawn for j in rng.choice(part, share, replace=False)]

    def cells(self, store: Store, seeds: int) -> list[Settings]:
        """Return choices first; then, of a recording, new models on what was chosen."""
        found = self.choices(seeds)
        if self.name in PLANTED:
            return found
        for seed in range(seeds):
            found.append(self.subset(range(self.joints), seed))
            found += [self.subset(j, seed) for j in HAND_PICKED.get(self.name, {}).values()]
            for count in self.counts:
                for method in (*SCRIPT_OF, RANDOM, MATCHED):
                    for joints in self.chosen(store, method, seed, count):
                        found.append(self.subset(joints, seed))
                        found += [self.held_out(joints, seed)] if method == RANDOM else []
        return found

    def best_random(self, store: Store, seeds: int, count: int) -> tuple[float, int] | None:
        """Return the accuracy of the random set that does best on the validation, and of how many.

        The accuracy is on the test part, of a model that was trained on all the training part.
        """
        found = []
        for seed in range(seeds):
            for joints in self.chosen(store, RANDOM, seed, count):
                score = store.result(self.held_out(joints, seed))
                test = store.result(self.subset(joints, seed))
                if score and test:
                    found.append((score["accuracy"], test["accuracy"]))
        best = max(found, key=lambda scores: scores[0], default=None)
        return None if best is None else (best[1], len(found))

    def accuracies(self, store: Store, method: str, seed: int, count: int) -> list[float]:
        subsets = [range(self.joints)]
        if count < self.joints:
            subsets = self.chosen(store, method, seed, count)
        found = (store.result(self.subset(joints, seed)) for joints in subsets)
        return [result["accuracy"] for result in found if result]

    def curve(self, store: Store, method: str, seed: int) -> dict[int, float]:
        """Map the number of joints to the accuracy of a new model on them, all joints the last."""
        counts = [*self.counts, self.joints]
        found = {count: self.accuracies(store, method, seed, count) for count in counts}
        return {count: fmean(values) for count, values in found.items() if values}

    def curves(self, store: Store, method: str, seeds: int) -> dict[int, dict[int, float]]:
        """Map a seed to its curve, of those that are complete."""
        found = {seed: self.curve(store, method, seed) for seed in range(seeds)}
        full = len(self.counts) + 1
        return {seed: curve for seed, curve in found.items() if len(curve) == full}

    def results(self, store: Store, method: str, seeds: Iterable[int]) -> list[Result]:
        found = (store.result(self.choice(method, seed)) for seed in seeds)
        return [result for result in found if result]


def area(curve: Curve) -> float:
    """Return the mean accuracy over the logarithm of the number of joints, fewest to all."""
    counts = sorted(curve)
    values = [curve[count] for count in counts]
    return float(np.trapezoid(values, np.log2(counts)) / np.log2(counts[-1] / counts[0]))


def enough(curve: Curve) -> float:
    """Return how many joints are within a point of all.

    Between two numbers that were asked for, it is on the straight line over their logarithm. It is
    never less than the fewest that were asked for.
    """
    counts = sorted(curve)
    level = curve[counts[-1]] - POINT
    first = next(n for n, count in enumerate(counts) if curve[count] >= level)
    if first == 0:
        return float(counts[0])
    low, high = counts[first - 1], counts[first]
    share = (level - curve[low]) / (curve[high] - curve[low])
    return float(low * (high / low) ** share)


def mean_curve(curves: Mapping[int, Curve]) -> dict[int, float]:
    counts = next(iter(curves.values()))
    return {count: fmean(curve[count] for curve in curves.values()) for count in counts}
