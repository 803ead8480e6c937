"""How far the selections of several runs agree, and random ones to compare them with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_jointprune.evaluation import Estimate, Z
from lightning_jointprune.record import JointSelection


def stability(selections: Sequence[JointSelection] | Tensor) -> Estimate:
    """How far the selections of several runs agree: 1 if all are equal, about 0 if at random.

    `1 - mean(s²) / (k/J (1 - k/J))`, with `s²` the unbiased variance of each joint's being kept and
    k the mean number of kept joints (Nogueira, Sechidis and Brown 2018, JMLR 18:174, definition 4;
    the interval is that of their corollary 9, which holds for many runs).

    Args:
        selections: of at least two runs, with the same joints; or their masks, shape
            `(runs, joints)`, bool.

    Returns:
        The stability, in `[-1 / (runs - 1), 1]`, with its 95 % confidence interval.

    Raises:
        ValueError: for a single run, for other joints, or where every run kept all or none.

    >>> masks = torch.tensor([[True, True, False, False], [True, False, True, False]])
    >>> stability(masks).value
    0.0
    """
    if not isinstance(selections, Tensor):
        if len({selection.joint_names for selection in selections}) > 1:
            raise ValueError(
                "Expected selections of the same joints but got other joint names. Compare runs "
                "with one skeleton."
            )
        selections = torch.tensor([selection.mask for selection in selections])
    if selections.ndim != 2 or len(selections) < 2:
        raise ValueError(
            f"Expected selections of at least two runs but got masks of shape "
            f"{tuple(selections.shape)}. Train with more seeds."
        )
    z = selections.double()
    runs, frequency, share = len(z), z.mean(0), z.mean(1)
    mean = share.mean()
    chance = mean * (1 - mean)
    if chance == 0:
        raise ValueError(
            "Expected runs that drop some joints and keep some but got all or none in every run, "
            "of which no stability is defined."
        )
    value = 1 - runs / (runs - 1) * (frequency * (1 - frequency)).mean() / chance
    together = (z * frequency).mean(1) - share * mean
    influence = (together + value / 2 * (2 * share * mean - share - mean + 1)) / chance
    error = Z * 2 / runs * (influence - influence.mean()).square().sum().sqrt()
    return Estimate(value.item(), (value - error).item(), (value + error).item())


def random_masks(
    like: JointSelection,
    n: int,
    seed: int,
    groups: Mapping[str, Sequence[int | str]] | None = None,
) -> Tensor:
    """Random joints to compare a selection with: as many as it kept.

    Args:
        like: the selection.
        n: number of masks.
        seed: of the random numbers; torch's own stay as they are.
        groups: body part to its joints, by index or name, no joint in two: each part, and what is
            in none, then has as many joints as in the selection.

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
    """Joints of groups by index, out of their indices or names.

    Raises:
        ValueError: if there is no such joint.
    """
    numbers: dict[int | str, int] = {name: index for index, name in enumerate(names)}
    numbers.update({index: index for index in range(len(names))})
    for group, joints in groups.items():
        if unknown := [joint for joint in joints if joint not in numbers]:
            raise ValueError(
                f"Expected joints of 0 to {len(names) - 1}, or their names, in group {group!r} but "
                f"got {unknown[0]!r}."
            )
    return {group: [numbers[joint] for joint in joints] for group, joints in groups.items()}
