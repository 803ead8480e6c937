"""Tests whether a set of joints is better than another on the same samples, with a correction."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_jointprune.record.intervals import Estimate, difference

RESAMPLES = 10_000


class PairedTest(NamedTuple):
    """Holds the comparison of two sets of joints on the same samples.

    Attributes:
        first: name of the first set.
        second: name of the second set.
        difference: accuracy of the first less that of the second, with its 95 % interval.
        p: how likely so large a difference is, either way, if the two were interchangeable.
        p_holm: the same, corrected for the number of tests.
    """

    first: str
    second: str
    difference: Estimate
    p: float
    p_holm: float


def paired_tests(
    right: Mapping[str, Tensor | Sequence[bool]],
    *,
    reference: str | None = None,
    signers: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> tuple[PairedTest, ...]:
    """Compare sets of joints, or models, by which samples each of them got right.

    Samples are compared by McNemar's exact test (1947) and Bonett and Price's interval (2012).
    The clips of one signer are alike, though. Pass `signers` for a conclusion about signers who
    were not in the data. The test then interchanges the two sets for whole signers and stays
    exact. The interval is then that of a bootstrap over signers (percentiles of 10,000 draws),
    which is too narrow for few signers. With S signers no p is below `2 ** (1 - S)`.

    Args:
        right: name to whether each sample was right, shape `(samples,)`, the samples in one order.
        reference: what each of the others is compared with; None compares every pair.
        signers: who made each sample, shape `(samples,)`, any values.
        seed: of the bootstrap; torch's own random numbers stay as they are.

    Returns:
        The tests, with Holm's correction (1979) for all of them.

    Raises:
        ValueError: if lengths differ, there are fewer than two sets or signers, or there is no such
            reference.

    >>> right = {"ours": [True] * 9 + [False], "theirs": [True] * 3 + [False] * 7}
    >>> [(test.first, test.second, test.p) for test in paired_tests(right)]
    [('ours', 'theirs', 0.03125)]
    """
    rights = {name: torch.as_tensor(found, dtype=torch.bool).cpu() for name, found in right.items()}
    _check(rights, reference, signers)
    if reference is None:
        pairs = list(combinations(rights, 2))
    else:
        pairs = [(name, reference) for name in rights if name != reference]
    tests = [_test(rights[a], rights[b], signers, seed) for a, b in pairs]
    corrected = holm([p for _, p in tests])
    return tuple(
        PairedTest(a, b, estimate, p, p_holm)
        for (a, b), (estimate, p), p_holm in zip(pairs, tests, corrected, strict=True)
    )


def swap_test(differences: Sequence[int]) -> float:
    """Return the two-sided p of a sum of differences if a coin decided the sign of each.

    It is exact, since it uses the whole distribution of that sum. For differences of 1 and -1 it
    is McNemar's test.

    Args:
        differences: in the number of right samples, per signer or per sample.

    >>> swap_test([1, 1, 1, 1, -1]), swap_test([5, 3, 2]), swap_test([0])
    (0.375, 0.25, 1.0)
    """
    moves = [abs(move) for move in differences if move]
    most = sum(moves)
    chance = torch.zeros(2 * most + 1, dtype=torch.float64)  # probabilities of -most to most
    chance[most] = 1.0
    for move in moves:
        chance = (chance.roll(move) + chance.roll(-move)) / 2  # nothing is rolled over an end
    sums = torch.arange(-most, most + 1).abs()
    return min(1.0, chance[sums >= abs(sum(differences))].sum().item())


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, in the same order (Holm 1979).

    >>> holm([0.25, 0.0625, 0.5])
    [0.5, 0.1875, 0.5]
    """
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[number]))
        corrected[number] = least
    return corrected


def _test(
    first: Tensor, second: Tensor, signers: Sequence[Hashable] | None, seed: int
) -> tuple[Estimate, float]:
    won = first.long() - second.long()
    if signers is None:
        return difference(first, second), swap_test(won.tolist())
    number = {signer: index for index, signer in enumerate(dict.fromkeys(signers))}
    of = torch.tensor([number[signer] for signer in signers])
    wins = torch.zeros(len(number), dtype=torch.long).index_add_(0, of, won)
    return _between_signers(wins, of.bincount(), seed), swap_test(wins.tolist())


def _between_signers(wins: Tensor, samples: Tensor, seed: int) -> Estimate:
    """Return the difference with its interval by a bootstrap that draws whole signers."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(wins), (RESAMPLES, len(wins)), generator=generator)
    found = wins[drawn].sum(1).double() / samples[drawn].sum(1)
    ends = found.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(int(wins.sum()) / int(samples.sum()), *ends)


def _check(
    rights: Mapping[str, Tensor], reference: str | None, signers: Sequence[Hashable] | None
) -> None:
    if len(rights) < 2:
        raise ValueError(f"Expected at least two sets to compare but got {len(rights)}. Add one.")
    if reference is not None and reference not in rights:
        raise ValueError(f"Expected one of {', '.join(rights)} but got reference={reference!r}.")
    lengths = {name: tuple(found.shape) for name, found in rights.items()}
    samples = next(iter(rights.values())).shape
    if len(set(lengths.values())) > 1 or len(samples) != 1 or samples[0] == 0:
        raise ValueError(
            f"Expected the same samples in every set but got shapes {lengths}. Measure all sets on "
            "the same data, in the same order."
        )
    if signers is not None and (len(signers) != samples[0] or len(set(signers)) < 2):
        raise ValueError(
            f"Expected the signer of each of {samples[0]} samples, at least two signers, but got "
            f"{len(signers)} with {len(set(signers))} different. Name one per sample, in the order "
            "of the data, or leave signers out."
        )
