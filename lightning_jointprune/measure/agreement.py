"""Compares runs: the stability of selections, stand-ins, metrics, random joints, other seeds."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.intervals import Estimate, Z
from lightning_jointprune.record.selection import STAND_IN, JointSelection

NO_WIDTH = 1e-9  # half of an interval that is nothing but rounding


class FrontierPoint(NamedTuple):
    """Holds what runs with this many joints reach.

    Attributes:
        joints: the number of kept joints.
        runs: the number of runs.
        value: the mean of their metric with Student's 95 % interval; a single run has no interval.
    """

    joints: int
    runs: int
    value: Estimate


class SeedAgreement(NamedTuple):
    """Holds how far the kept joints of runs are the same.

    Attributes:
        across: mean Jaccard index of all pairs of runs with different seeds, in [0, 1].
        same_seed: the mean over all pairs with the same seed; None without such pairs. These runs
            differ only by what hardware and software leave to chance, so it bounds `across`.
    """

    across: float
    same_seed: float | None


class Exchange(NamedTuple):
    """Holds how often runs keep one of two redundant joints in place of the other.

    Attributes:
        joints: both, by index.
        similarity: R² with which each foretells the other, as `similarity_of` has it.
        kept: the number of runs that keep the first and not the second, and the reverse.
        both: the number of runs that keep both.
    """

    joints: tuple[int, int]
    similarity: float
    kept: tuple[int, int]
    both: int


def stability(selections: Sequence[JointSelection] | Tensor) -> Estimate:
    """Return how far the selections of several runs agree: 1 if equal, about 0 if at random.

    The stability is `1 - mean(s²) / (k/J (1 - k/J))`. Here `s²` is the unbiased variance of
    whether a joint is kept, and k the mean number of kept joints (Nogueira, Sechidis and Brown
    2018, JMLR 18:174, definition 4). The interval is that of their corollary 9, for many runs, from
    how much each run changes the stability. Two runs change it alike, and so do runs that all keep
    the same joints: there is no interval.

    Args:
        selections: of at least two runs, with the same joints; or their masks, shape
            `(runs, joints)`, bool.

    Returns:
        The stability, in `[-1 / (runs - 1), 1]`, with its 95 % confidence interval, if any.

    Raises:
        ValueError: for a single run, for other joints, or where every run kept all or none.

    >>> masks = torch.tensor([[True, True, False, False], [True, False, True, False]])
    >>> stability(masks).value
    0.0
    """
    z = _indicators(selections)
    runs, frequency, share = len(z), z.mean(0), z.mean(1)
    mean = share.mean()
    chance = mean * (1 - mean)
    value = 1 - runs / (runs - 1) * (frequency * (1 - frequency)).mean() / chance
    together = (z * frequency).mean(1) - share * mean
    influence = (together + value / 2 * (2 * share * mean - share - mean + 1)) / chance
    error = Z * 2 / runs * (influence - influence.mean()).square().sum().sqrt()
    if runs == 2 or error < NO_WIDTH:
        return Estimate(value.item())
    return Estimate(value.item(), (value - error).item(), (value + error).item())


def effective_stability(selections: Sequence[JointSelection] | Tensor, similarity: Tensor) -> float:
    """Return the stability of several runs that counts a joint and its stand-in as agreement.

    It is `1 - tr(C S) / tr(C S0)`, the effective stability of Sechidis et al. 2019 (ECML PKDD,
    doi:10.1007/978-3-030-46150-8_20). C are the similarities, S is the unbiased covariance, over
    the runs, of whether joints are kept, and S0 that of random sets of the same sizes: with k the
    number of kept joints, `mean(k)/J (1 - mean(k)/J)` for a joint, and
    `mean(k² - k)/(J² - J) - (mean(k)/J)²` for two. With the unit matrix it is `stability`.

    Args:
        selections: as in `stability`.
        similarity: of all pairs of joints, in [0, 1], shape `(J, J)`; see `similarity_of`.

    Returns:
        The stability, at most about 1; about 0 for random sets.

    Raises:
        ValueError: as in `stability`, for a similarity that does not fit, or where all joints are
            so similar that no two sets differ.

    >>> masks = torch.tensor([[True, True, False, False], [True, False, True, False]])
    >>> alike = torch.eye(4)
    >>> alike[1, 2] = alike[2, 1] = 0.6
    >>> stability(masks).value, round(effective_stability(masks, alike), 3)
    (0.0, 0.556)
    """
    z, c = _indicators(selections), similarity.double()
    joints = z.shape[1]
    symmetric = c.shape == (joints, joints) and torch.equal(c, c.T)
    if not (symmetric and (c.diagonal() == 1).all() and ((c >= 0) & (c <= 1)).all()):
        raise ValueError(
            f"Expected a symmetric similarity of {joints} joints, in [0, 1] and with ones on its "
            f"diagonal, but got shape {tuple(c.shape)}. Pass similarity_of(redundancies)."
        )
    sizes = z.sum(1)
    share = sizes.mean() / joints
    other = (sizes.square() - sizes).mean() / max(joints**2 - joints, 1) - share.square()
    alone = joints * share * (1 - share)
    by_chance = alone + other * (c.sum() - joints)
    if by_chance < 1e-6 * alone:
        raise ValueError(
            "Expected joints of which some differ but got a similarity by which any set is as "
            "good as another. Centre the joints on the body, so that they do not move as one."
        )
    return 1 - ((c * z.T.cov()).sum() / by_chance).item()


def similarity_of(redundancies: Sequence[Sequence[Sequence[float]]]) -> Tensor:
    """Return the similarity of all pairs of joints that several runs saw, shape `(J, J)`, double.

    It is the R² with which either joint foretells the other, the lower of both ways, in the mean
    over the runs; 0 below `STAND_IN`, where neither could stand in for the other, and 1 for a
    joint and itself.

    Args:
        redundancies: `PruningRecord.redundancy` of the runs, each of shape `(J, J)`.
    """
    mean = torch.tensor(redundancies, dtype=torch.float64).mean(0)
    similarity = torch.minimum(mean, mean.T)
    similarity = torch.where(similarity >= STAND_IN, similarity, 0.0)
    return similarity.fill_diagonal_(1.0)


def exchanges(
    selections: Sequence[JointSelection] | Tensor, similarity: Tensor
) -> tuple[Exchange, ...]:
    """Return the pairs of similar joints of which some runs keep one, and some the other.

    Args:
        selections: as in `stability`.
        similarity: as `similarity_of` returns it.

    Returns:
        The pairs, those first that were exchanged most often, then the most similar.
    """
    z = _indicators(selections)
    alone = z.T @ (1 - z)  # row: runs that keep this joint, column: and drop that one
    pairs = ((alone > 0) & (alone.T > 0) & (similarity > 0)).triu(1).nonzero().tolist()
    both = z.T @ z
    found = [
        Exchange(
            (first, second),
            similarity[first, second].item(),
            (int(alone[first, second]), int(alone[second, first])),
            int(both[first, second]),
        )
        for first, second in pairs
    ]
    return tuple(sorted(found, key=lambda pair: (-min(pair.kept), -pair.similarity, pair.joints)))


def seed_agreement(
    selections: Sequence[JointSelection], seeds: Sequence[Hashable]
) -> SeedAgreement:
    """Return the Jaccard index of runs with different seeds, beside that of runs with the same.

    Args:
        selections: of the runs, with the same joints.
        seeds: of the runs, in the same order, at least two different.

    Raises:
        ValueError: if the joints or the numbers differ, or all seeds are the same.
    """
    _check_joints(selections)
    if len(seeds) != len(selections) or len(set(seeds)) < 2:
        raise ValueError(
            f"Expected the seeds of {len(selections)} runs, at least two different, but got "
            f"{list(seeds)}. Name the seed of each run."
        )
    across: list[float] = []
    same: list[float] = []
    for (first, a), (second, b) in combinations(zip(selections, seeds, strict=True), 2):
        (same if a == b else across).append(jaccard(first.indices, second.indices))
    return SeedAgreement(statistics.fmean(across), statistics.fmean(same) if same else None)


def jaccard(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the number of joints that both keep over the number that either keeps, in [0, 1].

    Jaccard 1901: |A ∩ B| / |A ∪ B|. Of two empty selections it is 1.
    """
    both, either = set(first) & set(second), {*first, *second}
    return len(both) / len(either) if either else 1.0


def frontier(
    runs: Iterable[JointSelection | JointEvaluation], metric: str | None = None
) -> tuple[FrontierPoint, ...]:
    """Return a metric against the number of kept joints, as the mean of runs with other seeds.

    Args:
        runs: selections or evaluations of runs.
        metric: name of one of the selections' metrics; None takes the one that each quotes.

    Returns:
        A point for each number of joints, fewest first.

    Raises:
        ValueError: if a run has no such metric, or they have different ones.
    """
    values: dict[int, list[float]] = {}
    names = set()
    for run in runs:
        name, value = _reached(run, metric)
        names.add(name)
        values.setdefault(len(run.indices), []).append(value)
    if len(names) > 1:
        raise ValueError(
            f"Expected runs with one metric but got {', '.join(sorted(names))}. Pass metric, and "
            "evaluations apart from selections."
        )
    return tuple(
        FrontierPoint(joints, len(values[joints]), mean_of_runs(values[joints]))
        for joints in sorted(values)
    )


def mean_of_runs(values: Sequence[float]) -> Estimate:
    """Return the mean of independent runs with Student's 95 % interval, if they are several.

    >>> mean_of_runs([0.9])
    Estimate(value=0.9, low=None, high=None)
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Estimate(mean)
    half = _student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)


def random_masks(
    like: JointSelection,
    n: int,
    seed: int,
    groups: Mapping[str, Sequence[int | str]] | None = None,
) -> Tensor:
    """Return random sets of joints to compare a selection with, each as large as it.

    Args:
        like: the selection.
        n: number of masks.
        seed: of the random numbers; torch's own stay as they are.
        groups: body part to its joints, by index or name, no joint in two. Each part then has as
            many joints as in the selection; so have the joints that are in no part.

    Returns:
        The masks, shape `(n, joints)`, bool.

    Raises:
        ValueError: if a joint is in two groups, or there is no such joint.
    """
    parts = list(indices_of(groups or {}, like.joint_names).values())
    grouped = [joint for part in parts for joint in part]
    if len(set(grouped)) < len(grouped):
        raise ValueError(
            "Expected groups that share no joint but got one twice. Leave out what is in two."
        )
    parts.append([joint for joint in range(like.num_joints) if joint not in grouped])
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(n, like.num_joints, dtype=torch.bool)
    for part in parts:
        count = len(set(part) & set(like.indices))
        chosen = torch.rand(n, len(part), generator=generator).argsort(1)[:, :count]
        masks.scatter_(1, torch.tensor(part, dtype=torch.long)[chosen], True)
    return masks


def indices_of(
    groups: Mapping[str, Sequence[int | str]], names: Sequence[str]
) -> dict[str, list[int]]:
    """Return the joints of groups by index, given their indices or names.

    Raises:
        ValueError: if there is no such joint.
    """
    numbers: dict[int | str, int] = {name: index for index, name in enumerate(names)}
    numbers.update({index: index for index in range(len(names))})
    for group, joints in groups.items():
        if isinstance(joints, str):
            raise ValueError(
                f"Expected a list of joints in group {group!r} but got {joints!r}. "
                f"Pass [{joints!r}]."
            )
        if unknown := [joint for joint in joints if joint not in numbers]:
            raise ValueError(
                f"Expected joints of 0 to {len(names) - 1}, or their names, in group {group!r} but "
                f"got {unknown[0]!r}."
            )
    return {group: [numbers[joint] for joint in joints] for group, joints in groups.items()}


def _reached(run: JointSelection | JointEvaluation, metric: str | None) -> tuple[str, float]:
    """Return the name and the value of the metric of a run."""
    if isinstance(run, JointEvaluation):
        return run.metric, run.kept.value
    name = metric or run.metric
    if name is None or name not in run.metrics:
        raise ValueError(
            f"Expected a run with a value of {name!r} but got {', '.join(run.metrics) or None}. "
            'Pass a metric that was logged when the run validated, such as metric="val_acc".'
        )
    return name, run.metrics[name]


def _indicators(selections: Sequence[JointSelection] | Tensor) -> Tensor:
    """Return whether each joint is kept in each run, shape `(runs, J)`, double, or raise."""
    if not isinstance(selections, Tensor):
        _check_joints(selections)
        selections = torch.tensor([selection.mask for selection in selections])
    if selections.ndim != 2 or len(selections) < 2:
        raise ValueError(
            f"Expected selections of at least two runs but got masks of shape "
            f"{tuple(selections.shape)}. Train with more seeds."
        )
    z = selections.double()
    if z.mean() in (0, 1):
        raise ValueError(
            "Expected runs that drop some joints and keep some but got all or none in every run, "
            "of which no stability is defined."
        )
    return z


def _check_joints(selections: Sequence[JointSelection]) -> None:
    if len({selection.joint_names for selection in selections}) > 1:
        raise ValueError(
            "Expected selections of the same joints but got other joint names. Compare runs "
            "with one skeleton."
        )


def _student(freedom: int) -> float:
    """Return the 0.975 quantile of Student's distribution, by bisection of its closed form.

    Abramowitz and Stegun 1972, eq. 26.7.3 and 26.7.4, with `t = sqrt(freedom) tan(angle)`.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        odd, cosine = freedom % 2, math.cos(angle)
        term = cosine if odd else 1.0
        total = 0.0 if freedom == 1 else term
        for power in range(2 + odd, freedom, 2):
            term *= (power - 1) / power * cosine**2
            total += term
        inside = math.sin(angle) * total
        inside = 2 / math.pi * (angle + inside) if odd else inside
        low, high = (angle, high) if inside < 0.95 else (low, angle)
    return math.sqrt(freedom) * math.tan(low)


# --- from one run ---------------------------------------------------------------------------------

# Logit of the chance that another run keeps a joint: a constant, and weights of whether this run
# keeps it, of the log of its place, and of the share of the joints that are kept. They were fitted
# to ten seeds each of three recordings and two planted sets by `benchmarks/another_seed.py`.
AGAIN = (-1.03, 1.7, 1.49, 0.26)


def kept_again(
    mask: Sequence[bool], keep_probabilities: Sequence[float], fixed: Collection[int] = ()
) -> tuple[float, ...]:
    """Return the chance of each joint that a run with another seed keeps it, from one run alone.

    It is for runs that keep as many joints, and whose joints are ranked by `Evidence`. What decides
    is whether this run keeps the joint, and how far its place in the order of keep probabilities is
    from K: `logit P = a + b kept + c log((K + 1/2) / place) + d logit(K / J)`.

    Args:
        mask: whether this run keeps each joint, shape `(J,)`.
        keep_probabilities: of the joints, shape `(J,)`, each in [0, 1].
        fixed: joints that all such runs keep, or drop, by index.

    Returns:
        Shape `(J,)`; empty where nothing is chosen, since all joints are kept, dropped or fixed.
    """
    free = [joint for joint in range(len(mask)) if joint not in fixed]
    count, total = sum(mask[joint] for joint in free), len(free)
    if not 0 < count < total:
        return ()
    order = sorted(keep_probabilities[joint] for joint in free)
    constant, if_kept, of_place, of_share = AGAIN
    chances = [float(kept) for kept in mask]
    for joint in free:
        chance = keep_probabilities[joint]
        first, last = total - bisect_right(order, chance) + 1, total - bisect_left(order, chance)
        logit = constant + if_kept * mask[joint] + of_share * math.log(count / (total - count))
        logit += of_place * math.log((count + 0.5) / ((first + last) / 2))
        chances[joint] = 1 / (1 + math.exp(-logit))
    return tuple(chances)
