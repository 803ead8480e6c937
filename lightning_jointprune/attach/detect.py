"""Finds a model's skeleton input among the tensors of a training step, or refuses.

`resolve` picks the tensor that is the skeleton, or the tensors that are its parts. It never guesses
between two: its errors list what was seen and what to pass.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from itertools import combinations
from typing import Any

import torch
from torch import nn

from lightning_jointprune.attach.layout import (
    CHANNELS,
    Layout,
    composed_axes,
    exact_axes,
    flat_axes,
    uneven_axes,
    uneven_parts,
    usual_axes,
)
from lightning_jointprune.attach.modules import module_at, signature_of
from lightning_jointprune.attach.probe import Seen, tensors_in
from lightning_jointprune.attach.samples import batch_elsewhere, check_samples
from lightning_jointprune.attach.target import (
    LISTED,
    Target,
    alternatives,
    input_string,
    parse_input,
    part_targets,
    parts_of,
)
from lightning_jointprune.skeletons import skeletons_of

MOST = 12  # values of a joint in a flat frame: coordinates, velocities, accelerations and more
NOT_CALLED = (
    "The training step does not call the model's own forward, only what is listed. If the skeleton "
    "enters a plain method, move that into the forward of an nn.Module, or put a JointPruningLayer "
    "into it."
)
_FEW = 4  # most arguments that are named because they were None


def resolve(
    seen: list[Seen],
    num_joints: int,
    input: str | None = None,  # noqa: A002 -- the users' word
    axes: str | None = None,
    labels: Collection[int] = (),
) -> Target:
    """Return the target of the tensor that is the skeleton.

    Without `input`, the calls are searched level by level from the outermost. A candidate is a
    floating tensor with J joints (on an axis other than the batch, or as `axes` says) that the
    model has not computed, and whose module has parameters or is called before one that has.
    The outermost level with a candidate decides: it must have exactly one, and no tensor beside it
    that may be the same skeleton with its channels on the joints' axis.

    Args:
        seen: what a `Probe` saw in a training step.
        num_joints: J, at least 1.
        input: `[module path:]argument[.key…]`; a bare name may also be a key inside an argument,
            where only one is called so.
        axes: where the joints are, see `Layout.parse`; `None` finds the one axis of length J and
            calls the others what they usually are.
        labels: how many labels the batch may have, see `label_counts`; empty where nobody knows.

    Raises:
        ValueError: no tensor fits, or several do, or one that is not floating, or an empty batch,
            or several axes could be the joints', or another than the first the batch's. The message
            lists what was seen and what to pass.
    """
    layout = None if axes is None else Layout.parse(axes)
    ranked = _likelier_first(seen, num_joints, layout)
    fitting = [s for s in ranked if not _rank(s, num_joints, layout)]
    if input:
        chosen = _named(ranked, input, [s.input for s in fitting])
    else:
        chosen = _only_candidate(seen, num_joints, layout, labels)
    better = [s.input for s in fitting if s != chosen]
    _check_gateable(chosen, better)
    if layout is None:
        layout = Layout.parse(_inferred_axes(chosen, num_joints, labels, better))
        check_samples(layout.pattern, chosen.shape, labels, chosen.input)
    layout.check(chosen.shape, num_joints, chosen.input)
    return Target(chosen.module, chosen.path, layout)


def resolve_parts(
    seen: list[Seen],
    num_joints: int,
    input: str | None = None,  # noqa: A002 -- the users' word
    axes: str | None = None,
    labels: Collection[int] = (),
) -> tuple[Target, ...]:
    """`resolve` an input that may be several, which hold the joints together.

    Args:
        seen: what a `Probe` saw in a training step.
        num_joints: J, of all parts together.
        input: as in `resolve`, or such inputs with `+` between them, in the order of the joints.
        axes: the axes of every part; `None` finds the one axis on which the parts add up to J.
        labels: as in `resolve`.

    Returns:
        One target, or one for each part.

    Raises:
        ValueError: as in `resolve`, or the parts do not add up to J.
    """
    names = parts_of(input or "")
    if len(names) == 1:
        return (resolve(seen, num_joints, input, axes, labels),)
    ranked = _likelier_first(seen, num_joints, None)
    parts = [_named(ranked, name) for name in names]
    for part in parts:
        _check_gateable(part)
    if len(set(parts)) < len(parts):
        raise ValueError(f"Expected different parts but got {input!r}. Name each of them once.")
    fitting = _fitting_parts(parts, num_joints, axes)
    if len(fitting) == 1:
        ((pattern, sizes),) = fitting.items()
        if axes is None:
            check_samples(pattern, parts[0].shape, labels, parts[0].input)
        places = [(part.module, part.path) for part in parts]
        return part_targets(places, Layout.parse(pattern), sizes)
    if fitting:
        fix = f"Pass {alternatives('axes', list(fitting))}"
    else:
        fix = "Pass num_joints= with the sum of theirs, or axes= with j where the joints are"
        if uneven := _uneven(parts, num_joints):
            fix = f"If the parts have channels of their own, pass {alternatives('axes', uneven)}"
    raise ValueError(
        f"Expected parts that hold {num_joints} joints together on one axis but got "
        f"{'several such axes' if fitting else 'none'}:\n{_listed(parts)}\n{fix}."
    )


def _fitting_parts(
    parts: list[Seen], num_joints: int, axes: str | None = None
) -> dict[str, list[int]]:
    """Return the axes under which parts have J joints together, and how many each part has.

    Frames may add up to J as well. Parts have equally many frames, so if they differ on an axis,
    only such axes are returned; of channels they may have different ones.
    """
    ndim = len(parts[0].shape)
    if any(len(part.shape) != ndim for part in parts):
        return {}
    sizes = list(zip(*(part.shape for part in parts), strict=True))
    apart = [len(set(lengths)) > 1 and max(lengths) > CHANNELS for lengths in sizes]
    fitting: dict[str, list[int]] = {}
    for pattern in (
        [usual_axes(parts[0].shape, place) for place in range(1, ndim)] if axes is None else [axes]
    ):
        layout = Layout.parse(pattern)
        groups = layout.groups
        if len(groups) != ndim:
            continue
        place = next(place for place, group in enumerate(groups) if "j" in group)
        lengths = sizes[place]
        if axes is None and any(apart) and not apart[place]:
            continue
        if layout.blocks:
            fitting |= {pattern: counts} if (counts := _whole_blocks(layout, lengths)) else {}
            continue
        each = sum(lengths) // num_joints if len(groups[place]) > 1 else 1  # values of a joint
        if sum(lengths) == each * num_joints and not any(length % each for length in lengths):
            fitting[pattern] = [length // each for length in lengths]
    differing = {pattern: counts for pattern, counts in fitting.items() if len(set(counts)) > 1}
    return differing or fitting


def _uneven(parts: list[Seen], num_joints: int) -> list[str]:
    """Return the axes under which flat parts have channels of their own and J joints together."""
    if len({part.shape[:-1] for part in parts}) > 1 or len(parts[0].shape) not in (2, 3):
        return []
    before = "b t"[: 2 * len(parts[0].shape) - 3]
    found = uneven_parts([part.shape[-1] for part in parts], num_joints)
    written = [" + ".join(f"{joints}*{channels}" for joints, channels in each) for each in found]
    return [f"{before} ({each})" for each in written]


def _whole_blocks(layout: Layout, lengths: Sequence[int]) -> list[int]:
    """Return how many joints each part has if parts take whole blocks in turn, else nothing."""
    blocks, sizes = list(layout.blocks), []
    for length in lengths:
        joints = values = 0
        while blocks and values < length:
            count, channels = blocks.pop(0)
            joints, values = joints + count, values + count * channels
        sizes += [joints] if values == length else []
    return sizes if len(sizes) == len(lengths) and not blocks else []


def _check_gateable(chosen: Seen, better: Sequence[str] = ()) -> None:
    """Make sure that a tensor can be gated; `better` are inputs that have the joints and can be."""
    if not chosen.floating:
        cast = "cast it with .float() before it reaches the model"
        instead = f"Pass {alternatives('input', better)}"
        if better and chosen.dtype == torch.bool:  # a mask
            fix = instead
        else:
            fix = f"{instead}, or {cast}" if better else cast.capitalize()
        raise ValueError(
            f"Expected a floating tensor in input `{chosen.input}` but got {chosen.dtype}. {fix}."
        )
    if 0 in chosen.shape:
        raise ValueError(
            f"Expected at least one sample in input `{chosen.input}` but got an empty batch of "
            f"shape {chosen.shape}. Leave empty batches out of the dataloader."
        )


def _inferred_axes(
    chosen: Seen, num_joints: int, labels: Collection[int], better: Sequence[str]
) -> str:
    shape = chosen.shape
    exact, composed = exact_axes(shape, num_joints), composed_axes(shape, num_joints)
    # A frame of features may be as wide as several kinds of coordinates of all joints.
    flat = flat_axes(shape, num_joints, MOST if len(shape) == 3 else CHANNELS)
    flat = flat or uneven_axes(shape, num_joints)
    if len(exact) == 1 and not flat:
        return exact[0]
    where = f"input `{chosen.input}` of shape {shape}"
    if exact:
        likely = [*flat, *exact] if len(shape) == 3 else [*exact, *flat]
        also = f", or {num_joints} frames of joints that share an axis," if flat else ""
        raise ValueError(
            f"Expected one axis of {num_joints} joints but got {len(exact)}{also} in {where}. "
            f"Pass {_axes_to_pass(likely, shape, labels)}."
        )
    instead = f"Pass {alternatives('input', better)}. " if better else ""
    if composed:
        shared = [*uneven_axes(shape, num_joints), *composed]
        raise ValueError(
            f"Expected an axis of {num_joints} joints but got a multiple of it in {where}. "
            f"{instead}If the joints share an axis, pass {_axes_to_pass(shared, shape, labels)}."
        )
    if uneven := uneven_axes(shape, num_joints):
        raise ValueError(
            f"Expected an axis of {num_joints} joints but got {shape[-1]} values in {where}. "
            f"{instead}{_of_their_own(uneven, shape, labels)}."
        )
    usual = shape[{4: 2, 5: 3}.get(len(shape), -1)] if len(shape) > 1 else None
    fix = f"how many it has, perhaps num_joints={usual}" if usual else "the skeleton's input="
    fix = _number_to_pass(number) if (number := likely_joints(shape)) else fix
    raise ValueError(
        f"Expected an axis of {num_joints} joints but got none in {where}. "
        f"{instead or f'Pass {fix}.'}".rstrip()
    )


def likely_joints(shape: Sequence[int]) -> int | None:
    """Return how many joints a tensor seems to have; None where its shape does not say.

    A named skeleton's number counts on each axis, or on the last one with a few channels of each
    joint; any other number before the channels alone.

    >>> likely_joints((8, 20, 75, 3)), likely_joints((8, 16, 225)), likely_joints((8, 3, 64, 64))
    (75, 75, None)
    """
    if len(shape) < 2:
        return None
    before = len(shape) - 2  # the axis that is usually before the channels
    channels = len(shape) in (3, 4) and shape[-1] <= CHANNELS
    flat = [shape[-1] // each for each in (3, 2, 4) if not shape[-1] % each]
    places = sorted(range(1, len(shape)), key=lambda place: (place != before, place))
    sizes = flat if len(shape) in (2, 3) and not channels else []
    sizes = [*sizes, *(shape[place] for place in places)]
    named = next((size for size in sizes if skeletons_of(size)), None)
    return named or (shape[before] if channels else None)


def _number_to_pass(num_joints: int) -> str:
    named = alternatives("skeleton", skeletons_of(num_joints))
    return f"num_joints={num_joints}{f' or {named}' if named else ''}"


def _only_candidate(
    seen: list[Seen], num_joints: int, layout: Layout | None, labels: Collection[int]
) -> Seen:
    fitting = [s for s in seen if _fits(s, num_joints, layout)]
    # Beside a tensor of J joints, one of J times 2 to 4 values may be the skeleton, flattened.
    flat = [s for s in seen if layout is None and s not in fitting and _is_flat(s, num_joints)]
    for depth in sorted({s.depth for s in fitting}):
        level = [s for s in seen if s in fitting or s in flat]
        level = [s for s in level if s.depth == depth and s.floating and s.enters]
        # Losses and metrics come after what trains: a target there is not an input.
        last = max((place for place, s in enumerate(level) if s.trains), default=-1)
        level = level[: last + 1]
        if not any(s in fitting for s in level):
            continue
        if len(level) == 1:
            return level[0]
        raise ValueError(
            f"Expected one input with {num_joints} joints but got {len(level)}:\n"
            f"{_listed(level)}\nPass {alternatives('input', [s.input for s in level])}."
        )
    whole = [s for s in fitting if not s.floating and s.dtype != torch.bool]
    if whole and not any(_may_share(s, num_joints) for s in seen):
        return whole[0]  # which `resolve` refuses for its dtype
    raise ValueError(_nothing_fits(seen, fitting, num_joints, layout, labels))


def may_come(
    seen: list[Seen],
    absent: Sequence[str],
    batch: Any,
    num_joints: int,
    input: str | None = None,  # noqa: A002 -- the users' word
    axes: str | None = None,
) -> bool:
    """Return whether a skeleton that `resolve` did not find is missing in this step alone.

    An `input` that has a name may be. One that has none may be where an argument was None and the
    batch has the joints, but nothing like them reached a forward. Either may have no samples in
    this step though the batch has some.

    Args:
        seen: what a `Probe` saw in a training step.
        absent: the arguments that were None in it.
        batch: what the step was given.
        num_joints: J, at least 1.
        input: as in `resolve_parts`.
        axes: as in `resolve`.
    """
    layout = None if axes is None else Layout.parse(axes)
    ranks = [_rank(s, num_joints, layout) for s in seen]
    fitting = [s for s, rank in zip(seen, ranks, strict=True) if rank == 0]
    if any(0 in s.shape for s in fitting) and any(x.numel() for _, x in tensors_in(batch)):
        return True
    if input is None:
        return bool(absent) and _has_joints(batch, num_joints) and not {0, 1}.intersection(ranks)
    names, inputs = [name for name in parts_of(input) if not _among(seen, name)], {*absent}
    known = inputs.intersection(name.removeprefix(":") for name in names)
    typo = any(get_close_matches(name, [s.input for s in seen], n=1, cutoff=0.8) for name in names)
    return bool(names) and (bool(known) or not (typo or 0 in ranks))


def _has_joints(batch: Any, num_joints: int) -> bool:
    given = [x for _, x in tensors_in(batch) if x.is_floating_point()]
    return any(exact_axes(x.shape, num_joints) for x in given)


def or_absent(
    seen: list[Seen],
    absent: Sequence[str],
    batch: Any,
    num_joints: int,
    axes: str | None = None,
) -> str:
    """Return what to pass where a skeleton that no tensor may be was left out of the step.

    Args:
        seen: what a `Probe` saw in a training step.
        absent: the arguments that were None in it.
        batch: what the step was given.
        num_joints: J, at least 1.
        axes: as in `resolve`.
    """
    layout, names = (None if axes is None else Layout.parse(axes)), list(dict.fromkeys(absent))
    if any(_rank(s, num_joints, how) < 2 for s in seen for how in (layout, None)):
        return ""
    if 0 < len(names) <= _FEW:
        return f" If the skeleton is what was None here, pass {alternatives('input', names)}."
    if seen and _has_joints(batch, num_joints):
        return (
            f" The batch has {num_joints} joints. If some steps leave them out, pass input= with "
            "the argument that they are."
        )
    return ""


def also_fitting(seen: list[Seen], targets: Sequence[Target], num_joints: int) -> tuple[str, ...]:
    """Return the inputs that have the joints too, beside those that were found.

    A tensor counts that was not computed from parameters, though its call may have others that
    were, and that no found one is around.

    Args:
        seen: what a `Probe` saw in a training step.
        targets: what `resolve_parts` found there.
        num_joints: J, at least 1.
    """
    places = {(target.module, target.path) for target in targets}
    depth = min((s.depth for s in seen if (s.module, s.path) in places), default=0)
    return tuple(
        s.input
        for s in seen
        if (s.module, s.path) not in places
        and s.depth <= depth
        and s.floating
        and s.trains
        and not s.requires_grad
        and exact_axes(s.shape, num_joints)
    )


def beside(inputs: Sequence[str], num_joints: int) -> str:
    """Return a remark on inputs that `also_fitting` found."""
    return f"Not pruned, though of {num_joints} joints too: {', '.join(inputs)}"


def _fits(s: Seen, num_joints: int, layout: Layout | None) -> bool:
    if layout is None:
        return bool(exact_axes(s.shape, num_joints))
    return layout.fits(s.shape, num_joints)


def _is_flat(s: Seen, num_joints: int) -> bool:
    return len(s.shape) in (2, 3) and bool(flat_axes(s.shape, num_joints))


def _may_share(s: Seen, num_joints: int) -> bool:
    """Return whether the joints may share an axis of an input with something else."""
    return s.floating and s.depth == 0 and s.enters and bool(composed_axes(s.shape, num_joints))


def _likelier_first(seen: list[Seen], num_joints: int, layout: Layout | None) -> list[Seen]:
    return sorted(seen, key=lambda s: _rank(s, num_joints, layout))


def _rank(s: Seen, num_joints: int, layout: Layout | None) -> int:
    """Return how far a tensor is from a skeleton's: 0 for one that enters with the joints."""
    if s.dtype == torch.bool:  # a mask
        return 5
    if not s.enters:
        return 4
    if not s.floating:
        return 3
    if s.trains and _fits(s, num_joints, layout):
        return 0
    return 1 if s.trains and layout is None and _may_share(s, num_joints) else 2


def _is_stacked(s: Seen, num_joints: int) -> bool:
    """Return whether the first axis may hold the joints of all samples, as in graph batches."""
    return (
        s.floating
        and s.depth == 0
        and len(s.shape) in (2, 3)
        and s.shape[0] > num_joints
        and s.shape[0] % num_joints == 0
    )


def _nothing_fits(
    seen: list[Seen],
    fitting: list[Seen],
    num_joints: int,
    layout: Layout | None,
    labels: Collection[int],
) -> str:
    wanted = f"{num_joints} joints" + (f" under axes {layout.pattern!r}" if layout else "")
    if not seen:
        return (
            f"Expected an input with {wanted} but got no tensor in any forward of the model in a "
            "training step. Call a submodule with the skeleton, then pass its input=."
        )
    ranked = _likelier_first(seen, num_joints, layout)
    fix = _fix(seen, ranked, fitting, num_joints, layout, labels)
    around = "" if any(s.module == "" for s in seen) else f" {NOT_CALLED}"
    return f"Expected an input with {wanted} but got none. Seen:\n{_listed(ranked)}\n{fix}.{around}"


def _fix(
    seen: list[Seen],
    ranked: list[Seen],
    fitting: list[Seen],
    num_joints: int,
    layout: Layout | None,
    labels: Collection[int],
) -> str:
    """Return what to pass where nothing fits."""
    outer = [s for s in ranked if s.floating and s.depth == 0 and s.enters]
    near = [s for s in outer if _may_share(s, num_joints)]
    near = [s for s in near if _is_flat(s, num_joints)] or near
    late = [s.input for s in fitting if s.floating]  # beside or behind what the model computed
    computed = f"If one is the skeleton, pass {alternatives('input', late)}"
    if layout and (other := [s for s in outer if exact_axes(s.shape, num_joints)]):
        return f"Pass {_axes_to_pass(exact_axes(other[0].shape, num_joints), other[0].shape, ())}"
    if parts := _parts_among(seen, num_joints, layout):
        return f"If these are its parts, pass {alternatives('input', parts)}"
    if near:
        fix = f"If joints share an axis, pass {_shared_axes(near, num_joints, labels)}"
        return fix + (f". {computed}" if late else "")
    if uneven := [s for s in outer if uneven_axes(s.shape, num_joints)]:
        return _of_their_own(uneven_axes(uneven[0].shape, num_joints), uneven[0].shape, labels)
    if late:
        return computed
    if layout is None and (stacked := [s for s in seen if _is_stacked(s, num_joints)]):
        pattern = f"(b j){''.join(f' {word}' for word in ('t', 'c')[-len(stacked[0].shape) + 1 :])}"
        return f'If the joints of all samples share the first axis, pass axes="{pattern}"'
    if likely := [s for s in outer if s.trains and likely_joints(s.shape)]:
        joints = likely_joints(likely[0].shape) or 0
        return f"If {likely[0].input} is the skeleton, pass {_number_to_pass(joints)}"
    sizes = {str(size): None for s in seen if s.depth == 0 for size in s.shape[1:]}
    has = f", which has axes of {', '.join(sizes)}" if sizes else ""
    return f"Pass the num_joints= or skeleton= of the data{has}"


def _of_their_own(choices: list[str], shape: Sequence[int], labels: Collection[int]) -> str:
    """Return what to pass where parts that share the last axis have channels of their own."""
    return (
        f"If parts have channels of their own, and the pose with its visibility comes first, pass "
        f"{_axes_to_pass(choices, shape, labels)}; in another order, each part's joints times its "
        "channels likewise"
    )


def _shared_axes(near: list[Seen], num_joints: int, labels: Collection[int]) -> str:
    """Return what to pass where the joints share an axis of one of several inputs."""
    choices = [
        _axes_to_pass(
            [*uneven_axes(s.shape, num_joints), *composed_axes(s.shape, num_joints)],
            s.shape,
            labels,
        )
        for s in near[:LISTED]
    ]
    if len(near) == 1:
        return choices[0]
    if len(set(choices)) == 1:
        return f"{choices[0]} and {alternatives('input', [s.input for s in near])}"
    return "; ".join(
        f'input="{s.input}" and {axes}' for s, axes in zip(near, choices, strict=False)
    )


def _parts_among(seen: list[Seen], num_joints: int, layout: Layout | None) -> list[str]:
    """Return consecutive inputs of a forward that have J joints together, and are else alike."""
    found, axes = [], None if layout is None else layout.pattern
    entering = [s for s in seen if s.floating and s.enters]
    for module in dict.fromkeys(s.module for s in entering):
        row = [s for s in entering if s.module == module]
        for first, last in combinations(range(len(row) + 1), 2):
            parts = row[first:last]
            if len(parts) > 1 and _fitting_parts(parts, num_joints, axes):
                sizes = zip(*(s.shape for s in parts), strict=True)
                wide = [lengths for lengths in sizes if max(lengths) > CHANNELS]
                if sum(len(set(lengths)) > 1 for lengths in wide) <= 1:
                    found.append(" + ".join(part.input for part in parts))
    return found


def _among(seen: list[Seen], text: str) -> list[Seen]:
    """Return the outermost tensors that an input's name may mean."""
    module, path = parse_input(text)
    scope = [s for s in seen if s.module == module] if ":" in text else seen
    exact = [s for s in scope if s.module == module and s.path == path]
    below = [s for s in scope if s.path[-len(path) :] == path]
    outermost = min((s.depth for s in below), default=0)
    found = exact or [s for s in below if s.depth == outermost]
    return [s for s in found if s.floating] or found


def _named(seen: list[Seen], text: str, fitting: Sequence[str] = ()) -> Seen:
    """Return the tensor that an input's name means, or raise ValueError.

    Args:
        seen: likelier ones first.
        text: as users write it.
        fitting: the inputs to offer before any others, since they have the joints.
    """
    found = _among(seen, text)
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"Expected one input called {text!r} but got {len(found)}:\n{_listed(found)}\n"
            f"Pass {alternatives('input', [s.input for s in found])}."
        )
    module, path = parse_input(text)
    scope = [s for s in seen if s.module == module] if ":" in text else seen
    inside = [s for s in scope if s.path[: len(path)] == path]
    others = inside or seen
    names = [s.input for s in others if s.floating and s.enters]
    names = [name for name in names if name in fitting] or names
    close = get_close_matches(text, names, n=1, cutoff=0.5)
    choice = names if inside else list(dict.fromkeys([*close, *names[:1]])) or ["…"]
    raise ValueError(
        f"Expected a tensor in input {text!r} in a training step but got none. Seen:\n"
        f"{_listed(others)}\nPass {alternatives('input', choice)}."
    )


def _axes_to_pass(choices: list[str], shape: Sequence[int], labels: Collection[int]) -> str:
    """Return the axes to paste, those first whose batch has as many samples as there are labels."""
    elsewhere = [moved for axes in choices for moved in batch_elsewhere(axes, shape, labels)]
    return alternatives("axes", [*elsewhere, *choices])


def _listed(seen: list[Seen]) -> str:
    lines = [f"  {s}" for s in seen[:LISTED]]
    more = len(seen) - len(lines)
    return "\n".join([*lines, f"  … and {more} more"] if more else lines) or "  nothing"


def check_input(module: nn.Module, input: str | None) -> None:  # noqa: A002 -- the users' word
    """Refuse an `input` that cannot be right, before there is any data.

    A bare name that is no argument is left to `resolve`: it may be a key inside one.

    Args:
        module: the root.
        input: `[module path:]argument[.key…]`, or such parts with `+` between them; None is found
            later.

    Raises:
        ValueError: it is malformed, or there is no such submodule or argument.
    """
    for part in parts_of(input) if input is not None else ():
        _check_part(module, part)


def _check_part(module: nn.Module, text: str) -> None:
    path, argument = parse_input(text)
    signature = signature_of(module_at(module, path))
    parameters = signature.parameters.values() if signature else ()
    names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    open_ended = signature is None or any(p.kind is p.VAR_KEYWORD for p in parameters)
    if open_ended or argument[0] in names or (names and len(argument) == 1):
        return
    close = get_close_matches(argument[0], names, n=1, cutoff=0.5) or names
    choice = [input_string(path, (name, *argument[1:])) for name in close]
    raise ValueError(
        f"Expected input to start with an argument of that forward but got {argument[0]!r}; it "
        f"takes {', '.join(names) or 'none'}. "
        f"Pass {alternatives('input', choice or ['<submodule>:<argument>'])}."
    )
