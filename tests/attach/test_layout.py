"""Test the meaning of axes strings, which ones are refused, and that splitting can be undone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_jointprune.attach.layout import (
    Layout,
    composed_axes,
    exact_axes,
    readings,
    uneven_axes,
    uneven_parts,
    usual_axes,
)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[str, tuple[int, ...], int, int]:
    """Draw a pattern, a shape, J, and the number of a tensor's elements that belong to a joint."""
    joints = draw(st.integers(2, 5))
    words = draw(st.permutations(draw(st.sampled_from(["bj", "bjc", "btjc", "btjcm", "btsjcm"]))))
    sizes = {word: joints if word == "j" else draw(st.integers(1, 4)) for word in words}
    partner = draw(st.sampled_from([*(w for w in words if w != "j"), None]))
    axes, shape = [], []
    for word in words:
        if word == partner:
            continue
        if word == "j" and partner:
            pair = draw(st.permutations(["j", partner]))
            axes.append(f"({' '.join(pair)})")
            shape.append(joints * sizes[partner])
        else:
            axes.append(word)
            shape.append(sizes[word])
    return " ".join(axes), tuple(shape), joints, torch.Size(shape).numel() // joints


@given(layouts())
def test_splitting_can_be_undone_and_finds_the_joints(case: tuple[str, tuple[int, ...], int, int]):
    pattern, shape, joints, each = case
    layout = Layout.parse(pattern)
    assert layout.pattern == str(layout) == pattern
    x = torch.randn(shape)
    split, words = layout.split(x, joints)
    assert split.ndim == len(words) == len(set(words))
    assert words[0] == "b"
    assert split.shape[words.index("j")] == joints
    assert torch.equal(layout.merge(split), x)
    # A joint is a slice of the split tensor, and its elements are the joint's in the whole one.
    split = torch.zeros_like(split)
    split.select(words.index("j"), joints - 1).fill_(1)
    assert layout.merge(split).sum() == each


def test_composed_axes_keep_their_order() -> None:
    x = torch.arange(6).view(1, 6)  # 2 joints, 3 channels
    assert Layout.parse("b (j c)").split(x, 2)[0].tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert Layout.parse("b (c j)").split(x, 2)[0].tolist() == [[[0, 1], [2, 3], [4, 5]]]


def test_nothing_is_copied_where_nothing_is_composed() -> None:
    x = torch.randn(2, 3, 4)
    layout = Layout.parse(" b  t (j) ")
    assert layout.pattern == "b t j"
    split, words = layout.split(x, 4)
    assert split is x
    assert words == ("b", "t", "j")
    assert layout.merge(x) is x


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("b t c", "Expected exactly one axis j in axes but got 0 in 'b t c'"),
        ("b j j", "Expected exactly one axis j in axes but got 2"),
        ("b t t j", "Expected different words in axes but got 'b t t j'"),
        ("t j c", "Expected a batch axis b in axes but got 't j c'"),
        ("(b t) j c", r"at most one word of unknown length in parentheses but got \(b t\)"),
        ("b b j c", "Expected different words in axes but got 'b b j c'"),
        ("j", "Expected a batch axis b in axes"),
        ("b (t s) j", r"at most one word of unknown length in parentheses but got \(t s\)"),
        ("b (t j c)", r"at most one word of unknown length in parentheses but got \(t j c\)"),
        ("b (j c", "Expected words and simple parentheses in axes but got"),
        ("b ((j c))", "Expected words and simple parentheses in axes but got"),
        ("b () j", r"Expected words of letters and digits in axes but got \(\)"),
        ("b t j 3", "Expected words of letters and digits in axes but got '3'"),
        ("b ... j", r"Expected words of letters and digits in axes but got '\.\.\.'"),
        ("b,t,j", "Expected words of letters and digits in axes but got 'b,t,j'"),
        ("", "Expected exactly one axis j in axes but got 0"),
    ],
)
def test_a_malformed_pattern_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Layout.parse(pattern)


def test_a_shape_that_does_not_fit_is_refused() -> None:
    layout, composed = Layout.parse("b t j c"), Layout.parse("b t (j c)")
    with pytest.raises(
        ValueError,
        match=r"Expected 75 joints on axis j of 'b t j c' but got 543 in input "
        r"`skeleton_keypoints` of shape \(8, 16, 543, 3\)\. Pass num_joints=543",
    ):
        layout.check((8, 16, 543, 3), 75, "skeleton_keypoints")
    with pytest.raises(ValueError, match="Expected 4 axes 'b t j c' but got 3"):
        layout.check((8, 16, 543), 75)
    with pytest.raises(
        ValueError, match=r"Expected a multiple of 75 joints on axis \(j c\) of 'b t \(j c\)' but"
    ):
        composed.check((8, 16, 226), 75)
    assert composed.fits((8, 16, 225), 75)
    assert composed.fits((8, 16, 75), 75)
    assert not composed.fits((8, 16, 0), 75)


# --- parts with channels of their own -----------------------------------------------------------


@st.composite
def uneven(draw: st.DrawFn) -> tuple[str, tuple[int, ...], list[tuple[int, int]]]:
    """A pattern of parts, a shape, and the joints and channels of each part."""
    pair = st.tuples(st.integers(1, 4), st.integers(1, 4))
    blocks = draw(st.lists(pair, min_size=1, max_size=4))
    written = " + ".join(f"{joints}*{channels}" for joints, channels in blocks)
    words = draw(st.permutations(["b", "t", f"({written})"]))
    size = sum(joints * channels for joints, channels in blocks)
    shape = tuple(size if "*" in word else draw(st.integers(1, 3)) for word in words)
    return " ".join(words), shape, blocks


@given(uneven())
def test_parts_with_channels_of_their_own_are_split_joint_by_joint_and_merged_again(
    case: tuple[str, tuple[int, ...], list[tuple[int, int]]],
) -> None:
    pattern, shape, blocks = case
    layout, joints = Layout.parse(pattern), sum(count for count, _ in blocks)
    assert layout.pattern == pattern
    x = torch.randn(shape)
    split, words = layout.split(x, joints)
    assert (words[0], split.ndim, split.shape[words.index("j")]) == ("b", 4, joints)
    assert split.shape[words.index("c")] == max(channels for _, channels in blocks)
    assert torch.equal(layout.merge(split), x)
    axis = pattern.split("(")[0].split()  # how many words are before
    values = [channels for count, channels in blocks for _ in range(count)]
    for joint in range(joints):  # exactly its own values change with it, and it has no others
        changed = split.clone()
        changed.select(words.index("j"), joint).add_(1.0)
        moved = (layout.merge(changed) != x).movedim(len(axis), -1).flatten(0, -2)
        places = [place for place in range(moved.shape[-1]) if moved[0, place]]
        start = sum(values[:joint])
        assert places == list(range(start, start + values[joint])) == layout.places([joint])
        assert torch.equal(moved, moved[:1].expand_as(moved))
    for missing in (0.0, torch.nan):  # a joint that is missing is so in all its channels
        assert layout.split(torch.full(shape, missing), joints)[0].isnan().all() == (missing != 0.0)


def test_of_parts_some_joints_are_parts_again() -> None:
    layout = Layout.parse("b t (33*4 + 468*3 + 42 * 3)")
    assert layout.pattern == "b t (33*4 + 468*3 + 42*3)"
    assert layout.of(range(33, 501)).pattern == "b t (468*3)"
    assert layout.of([0, 1, 542]).pattern == "b t (2*4 + 1*3)"
    assert layout.of([542]).split(torch.zeros(2, 8, 3), 1)[0].shape == (2, 8, 1, 4)
    assert layout.of(None) is layout
    even = Layout.parse("b t (j c)")
    assert even.of(range(3)) is even


@pytest.mark.parametrize(
    ("pattern", "shape", "joints", "message"),
    [
        (
            "b (33*4 + 42*3)",
            (2, 258),
            76,
            r"Expected 76 joints in the parts .* got 75\.",
        ),
        ("b (33*4 + 42*3)", (2, 225), 75, r"Expected 258 values on axis \(33\*4 \+ 42\*3\) .* 225"),
        ("b (33*4 + 42*3)", (2, 8, 258), 75, "Expected 2 axes"),
    ],
)
def test_parts_that_do_not_add_up_are_refused(
    pattern: str, shape: tuple[int, ...], joints: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Layout.parse(pattern).check(shape, joints)


@pytest.mark.parametrize("pattern", ["b (0*3 + 2*3)", "b (2*3) (2*3)", "b c (2*3)", "b (2*3 + 2)"])
def test_malformed_parts_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="Expected"):
        Layout.parse(pattern)


def test_the_sizes_of_parts_are_counted_where_one_choice_fits() -> None:
    assert uneven_axes((2, 258), 75) == ["b (33*4 + 42*3)"]
    assert uneven_axes((2, 8, 9, 258), 75) == uneven_axes((2, 259), 75) == []
    assert uneven_parts((33 * 4, 468 * 3, 63, 63), 543) == [[(33, 4), (468, 3), (21, 3), (21, 3)]]
    assert uneven_parts((7, 63), 75) == []


def test_the_usual_words() -> None:
    assert exact_axes((4, 8, 42, 3), 42) == ["b t j c"]
    assert exact_axes((4, 3, 8, 42), 42) == ["b c t j"]
    assert exact_axes((4, 3, 8, 42, 2), 42) == ["b c t j m"]
    assert exact_axes((42, 42, 42), 42) == ["b j c", "b t j"]
    assert exact_axes((42, 3), 42) == []
    assert exact_axes((4, 1, 2, 3, 42, 5), 42) == ["b d1 d2 d3 j d5"]
    assert composed_axes((4, 8, 126), 42) == ["b t (j c)", "b t (c j)"]
    assert composed_axes((4, 126), 42) == ["b (j c)", "b (c j)"]
    assert composed_axes((4, 126, 8), 42) == ["b (j c) t", "b (c j) t", "b (t j) c"]
    assert composed_axes((4, 8, 42), 42) == []
    for ndim in range(2, 8):
        for axis in range(1, ndim):
            layout = Layout.parse(usual_axes([1] * ndim, axis))
            assert layout.words.index("j") == axis
            assert len(layout.words) == ndim
            for reading in readings([1] * ndim, axis):
                assert Layout.parse(reading).words.index("j") == axis
    # People stand before the joints, or after them; the channels have few values.
    assert exact_axes((4, 30, 2, 42, 3), 42) == ["b t m j c"]
    assert readings((4, 30, 2, 42, 3), 3) == ["b t m j c", "b m t j c", "b c t j m"]
    assert readings((4, 2, 30, 42, 3), 3)[0] == readings((4, 1, 30, 42, 2), 3)[0] == "b m t j c"
    assert readings((4, 3, 30, 42, 2), 3) == ["b c t j m", "b m t j c", "b t m j c"]
    assert readings((4, 30, 3, 42), 3) == ["b t c j", "b c t j"]
    for shape in [(4, 42), (4, 42, 42), (4, 42, 42, 42), (4, 42, 42, 42, 42, 42)]:
        for axes in composed_axes(shape, 21):
            assert Layout.parse(axes).fits(shape, 21)
