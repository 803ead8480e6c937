"""The cells of a study: which encoder, with which joints, chosen how, and from which seed.

Selections, by name:

=============  =====================================================================
`learned`      a run for each number of joints, `TargetJoints(K)`
`ladder`       one run for all numbers of joints; each rung is a row
`random`       K joints at random
`matched`      K joints at random, as many of each body part as were chosen by
               `learned` or, where the study has none, `ladder`, with the same seed
`all`          all joints, without the callback
a published    such as `openhands_27`: a set out of `published_subsets`, the skeleton's
=============  =====================================================================

All but the first two train a new model that never sees another joint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from examples.autsl.study.engines import ROOT
from lightning_jointprune import JointSelection
from lightning_jointprune.measure.agreement import random_masks
from lightning_jointprune.skeletons import get_skeleton, published_subsets, resolve_joints

LEARNED, LADDER, RANDOM, MATCHED, ALL = "learned", "ladder", "random", "matched", "all"
CHOSEN = (LEARNED, LADDER)  # by the callback
Cell = dict[str, Any]


def cells_of(
    encoders: Sequence[str],
    joints: Sequence[int],
    seeds: Sequence[int],
    selections: Sequence[str],
    args: Sequence[str],
    encoder_args: Mapping[str, Sequence[str]] | None = None,
) -> list[Cell]:
    """Return the training runs of a study, in their order; each is plain data.

    What others wait for comes first: a matched selection needs the learned one. The arguments of
    an encoder come after those of all cells.

    Raises:
        ValueError: no selection has such a name, a matched one has nothing to match, or the study
            has no such encoder.
    """
    _check(selections)
    own = encoder_args or {}
    if unknown := [name for name in own if name not in encoders]:
        raise ValueError(
            f"Expected encoders out of {', '.join(encoders)} but got {unknown[0]!r} in "
            "encoder_args. Add it to the study's encoders, or leave its arguments out."
        )
    given = {name: _given([*args, *own.get(name, ())]) for name in encoders}
    ordered = sorted(selections, key=lambda name: name == MATCHED)
    found = []
    for name in ordered:
        for seed in seeds:
            for encoder in encoders:
                for counts in _counts(name, joints):
                    cell = {"encoder": encoder, "seed": seed, "selection": name, "joints": counts}
                    if name == MATCHED:
                        like = _model_cell(encoder, counts, seed, selections, joints)
                        cell["like"] = {**like, **given[encoder]}
                    found.append({**cell, **given[encoder]})
    return found


def _given(args: Sequence[str]) -> Cell:
    """Return the arguments, and what the files of `--config` among them hold now."""
    flags = ("--config", "-c")
    names = [name for flag, _, name in (arg.partition("=") for arg in args) if flag in flags]
    names += [name for flag, name in pairwise(args) if flag in flags]
    files = {name: ROOT / name for name in names}  # cells run there
    digests = {
        name: hashlib.sha256(file.read_bytes()).hexdigest()
        for name, file in files.items()
        if file.is_file()
    }
    return {"args": [*args], **({"configs": digests} if digests else {})}


def path_of(cell: Cell, folder: Path) -> Path:
    """Return a finished cell's file; its name changes with every setting, also in `--config`'s."""
    text = json.dumps(cell, sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:12]
    numbers = "-".join(map(str, cell["joints"]))
    name = "_".join(filter(None, [cell["encoder"], cell["selection"], numbers]))
    return folder / "cells" / f"{name}_seed{cell['seed']}_{key}.json"


def _counts(name: str, joints: Sequence[int]) -> list[list[int]]:
    """Return the numbers of joints of a selection's runs; published sets and all have their own."""
    descending = sorted(joints, reverse=True)
    if name == LADDER:
        return [descending]
    if name in (LEARNED, RANDOM, MATCHED):
        return [[count] for count in descending]
    return [[]]


def _model_cell(
    encoder: str,
    counts: list[int],
    seed: int,
    selections: Sequence[str],
    joints: Sequence[int],
) -> Cell:
    """Return the cell whose joints a matched one has to match."""
    name = LEARNED if LEARNED in selections else LADDER
    if name == LADDER:
        counts = sorted(joints, reverse=True)
    return {"encoder": encoder, "seed": seed, "selection": name, "joints": counts}


def _check(selections: Sequence[str]) -> None:
    published = list(published_subsets())
    known = [*CHOSEN, RANDOM, MATCHED, ALL, *published]
    if unknown := [name for name in selections if name not in known]:
        raise ValueError(f"Expected selections out of {', '.join(known)} but got {unknown[0]!r}.")
    if MATCHED in selections and not {*CHOSEN} & {*selections}:
        raise ValueError(
            "Expected learned or ladder among the selections, for matched to match, but got "
            f"{', '.join(selections)}. Add one."
        )


# --- the joints of a cell ------------------------------------------------------------------------


def joints_of(
    cell: Cell, folder: Path, num_joints: int, skeleton: str | None, always: Sequence[int] = ()
) -> list[int]:
    """Return the joints that a cell's model sees from the start, if the callback chooses none.

    Args:
        cell: of one of the other selections.
        folder: of the study, where the cell is that a matched one matches.
        num_joints: J.
        skeleton: the data's skeleton, which published sets and body parts need.
        always: joints that the clips are centred by, so that a model sees them through all others:
            they are among the K, and are added to a published set.

    Raises:
        ValueError: the skeleton does not fit, the cell to match is not finished, or K is less than
            the joints that are always there.
    """
    name = cell["selection"]
    if name == ALL:
        return list(range(num_joints))
    if name in (RANDOM, MATCHED):
        return _drawn(cell, folder, num_joints, skeleton, always)
    fitting = {} if skeleton is None else published_subsets(skeleton)
    if skeleton is None or name not in fitting:
        raise ValueError(
            f"Expected a skeleton with the joints of {name}, that of "
            f"{published_subsets()[name].skeleton}, but got {skeleton}, which fits "
            f"{', '.join(fitting) or 'none'}. Leave {name} out of the selections."
        )
    published = resolve_joints(fitting[name].joints, get_skeleton(skeleton).joints)
    return sorted({*published, *always})


def _drawn(
    cell: Cell, folder: Path, num_joints: int, skeleton: str | None, always: Sequence[int]
) -> list[int]:
    (count,) = cell["joints"]
    if count < len(always):
        raise ValueError(
            f"Expected at least the {len(always)} joints that clips are centred by but got {count}."
            " Ask for more joints, or name fewer as --datamodule.reference."
        )
    names = tuple(f"joint_{joint}" for joint in range(num_joints))
    others = [joint for joint in range(num_joints) if joint not in always]
    chosen, parts = [*always, *others[: count - len(always)]], {}
    if cell["selection"] == MATCHED:
        if skeleton is None:
            raise ValueError(
                "Expected a named skeleton, whose body parts matched needs, but got none. "
                "Pass --datamodule.skeleton in args, or leave matched out of the selections."
            )
        parts = get_skeleton(skeleton).groups
        chosen = _matched(cell, folder, count)
    groups = {part: [j for j in joints if j not in always] for part, joints in parts.items()}
    like = JointSelection(tuple(sorted(chosen)), num_joints, names, (1.0,) * num_joints)
    # Another number for each, so that fewer joints are no part of more.
    seed = 1000 * cell["seed"] + count
    (mask,) = random_masks(like, 1, seed, {**groups, "what clips are centred by": [*always]})
    return mask.nonzero().flatten().tolist()


def _matched(cell: Mapping[str, Any], folder: Path, count: int) -> list[int]:
    path = path_of(cell["like"], folder)
    if not path.is_file():
        raise ValueError(
            f"Expected the finished cell {path.name}, which this one matches, but got no such "
            "file. Run it first, or the whole study."
        )
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    return next(result["kept"] for result in results if result["joints"] == count)
