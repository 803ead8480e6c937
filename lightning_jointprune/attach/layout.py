"""Reads the axes of a skeleton tensor, such as `"b t (j c)"`, and splits a tensor by them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange

from lightning_jointprune.gates.axes import is_recorded

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torch import Tensor

_TOKEN = re.compile(r"\s*(\(([^()]*)\)|[^\s()]+)")
_BLOCKS = re.compile(r"\s*\d+\s*\*\s*\d+\s*(\+\s*\d+\s*\*\s*\d+\s*)*")
_WORD = re.compile(r"[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?")

# The usual words for (number of axes, axis of the joints). Only the place of `j` matters to a gate.
_USUAL = {
    (2, 1): ("b j",),
    (3, 1): ("b j c",),
    (3, 2): ("b t j", "b c j"),
    (4, 1): ("b j t c", "b j c t"),
    (4, 2): ("b t j c",),
    (4, 3): ("b c t j", "b t c j"),
    (5, 1): ("b j t s c", "b j c t m"),
    (5, 2): ("b t j c m", "b m j t c"),
    (5, 3): ("b c t j m", "b m t j c", "b t m j c"),
    (5, 4): ("b s c t j", "b m t c j"),
}
_POSE = 33  # landmarks of MediaPipe's pose, which have a visibility beside their coordinates
_PARTS = 8  # the most parts whose joints are counted
LETTERS = 5  # the most letters of axes that are written without spaces
CHANNELS = 4  # largest number of values of a joint in a frame: three coordinates, a confidence


@dataclass(frozen=True)
class Layout:
    """Describes the axes of a skeleton tensor; make one with `Layout.parse`.

    >>> layout = Layout.parse("b t (j c)")
    >>> layout.words
    ('b', 't', 'j', 'c')
    >>> layout.groups
    (('b',), ('t',), ('j', 'c'))

    Args:
        groups: for each axis of the tensor, the words that it is composed of.
        blocks: of parts that share the joints' axis, the number of joints and of channels of each;
            empty where all joints have the same channels.
        width: number of channels after `split`, at least that of each of the blocks; 0: no more.
    """

    groups: tuple[tuple[str, ...], ...]
    blocks: tuple[tuple[int, int], ...] = ()
    width: int = 0

    @classmethod
    def parse(cls, pattern: str) -> Layout:
        """Read a pattern such as `"b t j c"` or `"b t (j c)"`.

        Args:
            pattern: one word per axis, parentheses around the words of a composed axis. `b` is
                the batch, `j` are the joints; the other words are free. `(33*4 + 42*3)` are 33
                joints of 4 channels, then 42 of 3, each joint's channels side by side.

        Returns:
            The layout; equal patterns give equal layouts.

        Raises:
            ValueError: a word is malformed or repeated, `b` or `j` is missing, or a composed axis
                has more than one word of unknown length.
        """
        _check_string(pattern)
        if _TOKEN.sub("", pattern).strip():
            raise ValueError(
                f"Expected words and simple parentheses in axes but got {pattern!r}. "
                'Write it like axes="b t (j c)".'
            )
        tokens = [match.groups() for match in _TOKEN.finditer(pattern)]
        written = [token[1] for token in tokens if _BLOCKS.fullmatch(token[1] or "")]
        groups = tuple(
            (token[0],)
            if token[1] is None
            else ("j", "c")
            if token[1] in written
            else tuple(token[1].split())
            for token in tokens
        )
        _validate(pattern, groups)
        numbers = [int(number) for number in re.findall(r"\d+", "".join(written))]
        if 0 in numbers:
            raise ValueError(
                f"Expected parts of at least one joint and one channel in axes but got {pattern!r}."
                " Leave the others out."
            )
        return cls(groups, tuple(zip(numbers[::2], numbers[1::2], strict=True)))

    @property
    def pattern(self) -> str:
        """Return the axes as a string that `Layout.parse` reads."""
        return " ".join(self._written(group) for group in self.groups)

    @property
    def words(self) -> tuple[str, ...]:
        """Return one word per axis after `split`, the batch first."""
        words = [word for group in self.groups for word in group]
        return tuple(sorted(words, key=lambda word: word != "b"))

    @property
    def plain(self) -> bool:
        """Return whether each axis is one word already, with the batch first."""
        return self.groups == tuple((word,) for word in self.words)

    def __str__(self) -> str:
        return self.pattern

    def of(self, joints: Collection[int] | None) -> Layout:
        """Return the layout of some of the joints, where these have a tensor of their own.

        >>> Layout.parse("b (33*4 + 42*3)").of(range(33, 54)).pattern
        'b (21*3)'
        """
        if joints is None or not self.blocks:
            return self
        inside = [sum(joint in joints for joint in block) for block in self._joints]
        channels = [channels for _, channels in self.blocks]
        pairs = zip(inside, channels, strict=True)
        return Layout(self.groups, tuple(pair for pair in pairs if pair[0]), max(channels))

    def places(self, joints: Sequence[int]) -> list[int]:
        """Return where the values of joints are on an axis of parts with channels of their own.

        >>> Layout.parse("b (2*1 + 2*3)").places([1, 2])
        [1, 2, 3, 4]
        """
        sizes = [channels for count, channels in self.blocks for _ in range(count)]
        starts = [0, *accumulate(sizes)]
        return [place for joint in joints for place in range(starts[joint], starts[joint + 1])]

    @property
    def _joints(self) -> list[range]:
        """The joints of each of the blocks."""
        ends = list(accumulate(count for count, _ in self.blocks))
        return [range(end - count, end) for end, (count, _) in zip(ends, self.blocks, strict=True)]

    def check(self, shape: Sequence[int], num_joints: int, name: str = "skeleton") -> None:
        """Check that a tensor of this shape has the expected joints.

        Args:
            shape: the shape of the tensor before `split`.
            num_joints: J, at least 1.
            name: the input, for the message.

        Raises:
            ValueError: if the number of axes differs, or the joints' axis does not fit J.
        """
        if len(shape) != len(self.groups):
            raise ValueError(
                f"Expected {len(self.groups)} axes {self.pattern!r} but got {len(shape)} in input "
                f"`{name}` of shape {tuple(shape)}. Pass axes= with one word for each axis."
            )
        for group, size in zip(self.groups, shape, strict=True):
            if self.blocks and "j" in group:
                self._check_blocks(size, num_joints, f"input `{name}` of shape {tuple(shape)}")
                continue
            if "j" not in group or size == num_joints:
                continue
            if len(group) == 1:
                found = " or ".join(f'axes="{axes}"' for axes in exact_axes(shape, num_joints))
                raise ValueError(
                    f"Expected {num_joints} joints on axis j of {self.pattern!r} but got {size} in "
                    f"input `{name}` of shape {tuple(shape)}. Pass "
                    f"{found or f'num_joints={size}, or axes= with j where the joints are'}."
                )
            if size % num_joints or not size:
                raise ValueError(
                    f"Expected a multiple of {num_joints} joints on axis {self._written(group)} of "
                    f"{self.pattern!r} but got {size} in input `{name}` of shape {tuple(shape)}. "
                    f"Pass num_joints= with a divisor of {size}, or axes= with j where the joints "
                    "are."
                )

    def _check_blocks(self, size: int, num_joints: int, where: str) -> None:
        joints = sum(count for count, _ in self.blocks)
        values = sum(count * channels for count, channels in self.blocks)
        if joints != num_joints:
            raise ValueError(
                f"Expected {num_joints} joints in the parts of axes {self.pattern!r} but got "
                f"{joints}. Pass num_joints={joints}, or parts of {num_joints} joints together."
            )
        if values != size:
            raise ValueError(
                f"Expected {values} values on axis {self._written(('j', 'c'))} of {self.pattern!r} "
                f"but got {size} in {where}. Pass the joints times the channels of each part."
            )

    def fits(self, shape: Sequence[int], num_joints: int) -> bool:
        """Return whether `check` passes."""
        try:
            self.check(shape, num_joints)
        except ValueError:
            return False
        return True

    def split(
        self, x: Tensor, num_joints: int, name: str = "skeleton"
    ) -> tuple[Tensor, tuple[str, ...]]:
        """Give every word an axis of its own.

        Args:
            x: a tensor with one axis per group.
            num_joints: J, at least 1.
            name: the input, for the message.

        Returns:
            The tensor with one axis per word (a view where that is possible), and the words.

        Raises:
            ValueError: the shape does not fit, see `check`.
        """
        recorded = is_recorded(x)  # then it has no shape to check
        if not recorded:
            self.check(x.shape, num_joints, name)
        if self.blocks:
            return self._even.split(self._apart(x), num_joints, name)
        if recorded:
            return self._split_recorded(x, num_joints), self.words
        words = self.words
        if not self.plain:
            x = rearrange(x, f"{self.pattern} -> {' '.join(words)}", j=num_joints)
        return x, words

    def merge(self, x: Tensor) -> Tensor:
        """Undo `split`: compose the axes again."""
        if self.blocks:
            whole: Tensor = self._together(self._even.merge(x))
            return whole
        if self.plain:
            return x
        if is_recorded(x):
            merged: Tensor = self._merge_recorded(x)
            return merged
        return rearrange(x, f"{' '.join(self.words)} -> {self.pattern}")

    @property
    def _place(self) -> int:
        """The axis that the joints are on."""
        return next(place for place, group in enumerate(self.groups) if "j" in group)

    @property
    def _even(self) -> Layout:
        """The layout in which parts with channels of their own have axes j and c; else itself."""
        if not self.blocks:
            return self
        at = self._place
        return Layout((*self.groups[:at], ("j",), ("c",), *self.groups[at + 1 :]))

    def _apart(self, x: Any) -> Any:
        """Give joints and channels of the parts an axis each; a joint's last channel is repeated.

        So what is 0 or NaN in all its channels is that in all, as padding is.
        """
        most = max(self.width, *(channels for _, channels in self.blocks))
        at, start, parts = self._place, 0, []
        for count, channels in self.blocks:
            part = x.narrow(at, start, count * channels).unflatten(at, (count, channels))
            last = [part.narrow(at + 1, channels - 1, 1)] * (most - channels)
            parts.append(torch.cat([part, *last], at + 1) if last else part)
            start += count * channels
        return torch.cat(parts, at)

    def _together(self, x: Any) -> Any:
        """Undo `_apart`."""
        at, start, parts = self._place, 0, []
        for count, channels in self.blocks:
            part = x.narrow(at, start, count).narrow(at + 1, 0, channels)
            parts.append(part.flatten(at, at + 1))
            start += count
        return torch.cat(parts, at)

    def _written(self, group: tuple[str, ...]) -> str:
        if self.blocks and "j" in group:
            return f"({' + '.join(f'{count}*{channels}' for count, channels in self.blocks)})"
        return _written(group)

    @property
    def _batch(self) -> int:
        """Return the place of the batch among all words in the order of the tensor."""
        return [word for group in self.groups for word in group].index("b")

    def _split_recorded(self, x: Any, num_joints: int) -> Any:
        """Split what `torch.fx` records in place of a tensor, by operations that it knows."""
        for axis, group in reversed(list(enumerate(self.groups))):
            if len(group) > 1:
                sizes = [num_joints if word == "j" else -1 for word in group]
                x = x.unflatten(axis, sizes)
        return x.movedim(self._batch, 0) if self._batch else x

    def _merge_recorded(self, x: Any) -> Any:
        x = x.movedim(0, self._batch) if self._batch else x
        for axis, group in enumerate(self.groups):
            if len(group) > 1:
                x = x.flatten(axis, axis + len(group) - 1)
        return x


def _written(group: tuple[str, ...]) -> str:
    return group[0] if len(group) == 1 else f"({' '.join(group)})"


def _check_string(pattern: Any) -> None:
    if not isinstance(pattern, str):
        words = [str(word) for word in pattern] if isinstance(pattern, list | tuple) else []
        raise ValueError(
            f"Expected axes as a string but got {pattern!r}. "
            f'Pass axes="{" ".join(words) or "b t j c"}".'
        )


def _validate(pattern: str, groups: tuple[tuple[str, ...], ...]) -> None:
    words = [word for group in groups for word in group]
    wrong = [word for word in words if not _WORD.fullmatch(word)]
    if wrong or not all(groups):
        found = f"{wrong[0]!r}" if wrong else "()"
        raise ValueError(
            f"Expected words of letters and digits in axes but got {found} in {pattern!r}. "
            f"{_respelled(pattern) or 'Name every axis by a word.'}"
        )
    if words.count("j") != 1:
        raise ValueError(
            f"Expected exactly one axis j in axes but got {words.count('j')} in {pattern!r}. "
            f"{_respelled(pattern) or 'Call the axis of the joints j, and no other.'}"
        )
    if len(set(words)) < len(words):
        raise ValueError(
            f"Expected different words in axes but got {pattern!r}. Give each axis its own."
        )
    if "b" not in words:
        raise ValueError(
            f"Expected a batch axis b in axes but got {pattern!r}. "
            + (_respelled(pattern) or "Call the axis of the samples b, wherever it stands.")
        )
    for group in groups:
        if len(group) - ("j" in group) > 1:
            raise ValueError(
                f"Expected at most one word of unknown length in parentheses but got "
                f"{_written(group)} in {pattern!r}. Only the length of j is known."
            )


def _respelled(pattern: str) -> str:
    """Return what to pass where a pattern is spelled in another way, as `"N C T V M"`; else "".

    >>> _respelled("NCTVM"), _respelled("b,t,j,c"), _respelled("b t c")
    ('Pass axes="b c t j m".', 'Pass axes="b t j c".', '')
    """
    text = re.sub(r"\s*[,;/]\s*", " ", pattern).strip().lower()
    words = list(text) if text.isalpha() and len(text) <= LETTERS else text.split()
    for word, others in (("j", ("v", "k", "joints", "joint", "keypoints")), ("b", ("n", "batch"))):
        if word not in words and (known := [other for other in others if other in words]):
            words[words.index(known[0])] = word
    plain = all(word.isidentifier() for word in words) and len({*words}) == len(words)
    found = " ".join(words)
    if not plain or found == pattern or not {"b", "j"}.issubset(words):
        return ""
    return f'Pass axes="{found}".'


def readings(shape: Sequence[int], place: int) -> list[str]:
    """Return the usual words for a tensor whose joints are on one axis, likelier ones first.

    Readings of which an axis `c` has more than four values come last, before them those of which
    `m` has more people than there are channels.

    >>> readings((8, 16, 42, 3), 2), readings((8, 16, 1, 42, 3), 3)
    (['b t j c'], ['b t m j c', 'b m t j c', 'b c t j m'])

    Args:
        shape: the shape of the tensor, of at least 2 axes.
        place: the joints' axis, 1 to the number of axes - 1.
    """
    others = ["j" if axis == place else f"d{axis}" for axis in range(1, len(shape))]
    usual = _USUAL.get((len(shape), place)) or (" ".join(["b", *others]),)
    return sorted(usual, key=lambda axes: _oddness(axes, shape))


def _oddness(axes: str, shape: Sequence[int]) -> tuple[bool, bool]:
    """Return whether a reading has many channels, and more people than channels."""
    sizes = dict(zip(axes.split(), shape, strict=True))
    channels = sizes.get("c", 0)
    return channels > CHANNELS, sizes.get("m", 0) > channels


def usual_axes(shape: Sequence[int], place: int) -> str:
    """Return the likeliest words for a tensor whose joints are on one axis, see `readings`."""
    return readings(shape, place)[0]


def exact_axes(shape: Sequence[int], num_joints: int) -> list[str]:
    """Return the axes strings with J joints on an axis of their own, likelier ones first."""
    usual = {4: 2, 5: 3}.get(len(shape))
    places = sorted(range(1, len(shape)), key=lambda place: (place != usual, place))
    return [usual_axes(shape, place) for place in places if shape[place] == num_joints]


def flat_axes(shape: Sequence[int], num_joints: int, most: int = CHANNELS) -> list[str]:
    """Return the axes strings under which the last axis has a few channels of each of J joints.

    >>> flat_axes((8, 21, 63), num_joints=21), flat_axes((8, 16, 126), num_joints=21)
    (['b t (j c)', 'b t (c j)'], [])

    Args:
        shape: the shape of a tensor.
        num_joints: J, at least 1.
        most: the largest number of channels; two are the fewest.
    """
    if not shape or shape[-1] not in [channels * num_joints for channels in range(2, most + 1)]:
        return []
    last = [axes for axes in composed_axes(shape, num_joints) if axes.endswith(")")]
    return [axes for axes in last if "(t" not in axes]


def composed_axes(shape: Sequence[int], num_joints: int) -> list[str]:
    """Return the axes strings under which a shape has J joints composed with something else.

    >>> composed_axes((8, 16, 126), num_joints=42)
    ['b t (j c)', 'b t (c j)']
    """
    found = []
    for place in range(1, len(shape)):
        if shape[place] <= num_joints or shape[place] % num_joints:
            continue
        free = iter(["t", "s", "m", *(f"d{n}" for n in range(len(shape)))])
        words = ["b", *("" if n == place else next(free) for n in range(1, len(shape)))]
        for group in ("(j c)", "(c j)"):
            words[place] = group
            found.append(" ".join(words))
    if len(shape) == 3 and found and shape[1] > num_joints and not shape[1] % num_joints:
        found.append("b (t j) c")
    return found


def uneven_axes(shape: Sequence[int], num_joints: int) -> list[str]:
    """Return the axes strings under which joints on the last axis have other channels in parts.

    These are three of each joint and a fourth, the visibility, of MediaPipe's pose, which is first.

    >>> uneven_axes((8, 30, 1662), num_joints=543), uneven_axes((8, 30, 1629), num_joints=543)
    (['b t (33*4 + 510*3)'], [])
    """
    if len(shape) not in (2, 3) or num_joints <= _POSE or shape[-1] != 3 * num_joints + _POSE:
        return []
    parts = f"({_POSE}*4 + {num_joints - _POSE}*3)"
    return [f"b {parts}" if len(shape) == 2 else f"b t {parts}"]


def uneven_parts(lengths: Sequence[int], num_joints: int) -> list[list[tuple[int, int]]]:
    """Return the joints and channels with which flat parts have J joints together.

    >>> uneven_parts((132, 63, 63), num_joints=75)
    [[(33, 4), (21, 3), (21, 3)]]

    Args:
        lengths: of the last axis of each part.
        num_joints: J, of all of them.
    """
    choices = [
        [(length // channels, channels) for channels in (2, 3, 4) if not length % channels]
        for length in lengths[:_PARTS]
    ]
    found = [list(parts) for parts in product(*choices)]
    return [parts for parts in found if sum(joints for joints, _ in parts) == num_joints]
