"""Test that `.pose` files keep what they hold of the kept joints, bit for bit, or are refused."""

from __future__ import annotations

import io
import os
import signal
import struct
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeaderComponent

from lightning_jointprune.joint_files.rewrite import rewrite
from lightning_jointprune.joint_files.select import SelectJoints
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.skeletons import Skeleton, get_skeleton
from tests.poses import COMPONENTS, header_of, pose_of, read_pose, write_pose


def keeping(pose: Any, kept: Any) -> JointSelection:
    """Return a selection of the joints of a clip, or of a named skeleton."""
    skeleton = get_skeleton(pose) if isinstance(pose, str) else Skeleton.from_pose(pose)
    kept = tuple(sorted(kept))
    probabilities = tuple(0.9 if j in kept else 0.1 for j in range(skeleton.num_joints))
    return JointSelection(kept, skeleton.num_joints, skeleton.joints, probabilities)


def every(number: int, pose: Any, start: int = 0) -> JointSelection:
    return keeping(pose, range(start, pose.header.total_points(), number))


def limbs_by_name(header: Any) -> set[tuple[str, str, str]]:
    """Return each limb by its component and its points."""
    return {
        (part.name, part.points[a], part.points[b])
        for part in header.components
        for a, b in part.limbs
    }


@pytest.mark.parametrize("detector", COMPONENTS)
@pytest.mark.parametrize("people", [1, 2])
def test_of_a_file_by_pose_format_the_kept_points_are_left_bit_for_bit(
    detector: str, people: int, tmp_path: Path
) -> None:
    pose = pose_of(detector, people=people)
    selection = every(3, pose, start=1)
    source = write_pose(tmp_path / "clip.pose", pose)
    small = read_pose(rewrite(source, tmp_path / "small" / "clip.pose", selection).path)
    kept = list(selection.indices)
    assert small.body.data.data.tobytes() == pose.body.data.data[:, :, kept].tobytes()
    assert small.body.confidence.tobytes() == pose.body.confidence[:, :, kept].tobytes()
    assert np.array_equal(small.body.data.mask, pose.body.data.mask[:, :, kept])
    assert small.body.fps == read_pose(source).body.fps
    assert vars(small.header.dimensions) == vars(pose.header.dimensions)
    assert Skeleton.from_pose(small).joints == selection.names
    points = [(part.name, point) for part in pose.header.components for point in part.points]
    left = [(part.name, point) for part in small.header.components for point in part.points]
    assert left == [points[joint] for joint in kept]
    assert limbs_by_name(small.header) == {
        (part, a, b)
        for part, a, b in limbs_by_name(pose.header)
        if {(part, a), (part, b)} <= {*left}
    }
    assert {part.name: part.format for part in small.header.components}.items() <= {
        part.name: part.format for part in pose.header.components
    }.items()


def test_limbs_and_their_colours_are_those_among_the_kept(tmp_path: Path) -> None:
    limbs, colors = [(0, 1), (1, 3), (3, 2), (0, 3)], [(n, n, n) for n in range(4)]
    part = PoseHeaderComponent("PART", ["a", "b", "c", "d"], limbs, colors, "XYC")
    other = PoseHeaderComponent("OTHER", ["a"], [], [], "XYZC")
    pose = pose_of([other, part])
    source = write_pose(tmp_path / "clip.pose", pose)
    small = read_pose(rewrite(source, tmp_path / "b" / "clip.pose", keeping(pose, (1, 3, 4))).path)
    (left,) = small.header.components
    assert left.points == ["a", "c", "d"]
    assert left.limbs == [(2, 1), (0, 2)]
    assert np.asarray(left.colors).tolist() == [[2, 2, 2], [3, 3, 3]]
    assert small.body.data.shape[-1] == 2  # the format XYZC is no longer there
    assert np.array_equal(small.body.data.data, pose.body.data.data[:, :, [1, 3, 4], :2])


@given(kept=st.sets(st.integers(0, 132), min_size=1))
def test_read_is_what_pose_format_reads(
    kept: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    pose = pose_of("mmpose_133", frames=3)
    path = write_pose(tmp_path_factory.getbasetemp() / "read" / "clip.pose", pose)
    selection = keeping(pose, kept)
    x = SelectJoints(selection, "t j c").read(path)
    assert np.array_equal(x[..., :2], pose.body.data.data[:, 0, sorted(kept)])
    assert np.array_equal(x[..., 2], pose.body.confidence[:, 0, sorted(kept)])


def test_a_model_gives_the_same_of_the_file_and_of_the_rewritten_one(tmp_path: Path) -> None:
    pose = pose_of("holistic_576")
    selection = every(7, pose)
    source = write_pose(tmp_path / "clip.pose", pose)
    small = rewrite(source, tmp_path / "small" / "clip.pose", selection).path
    pick = SelectJoints(selection, "c t j")
    assert pick.read(source).tobytes() == pick.read(small).tobytes()
    with pytest.raises(ValueError, match="which has the 83 of 576 that the selection keeps"):
        rewrite(small, tmp_path / "again.pose", selection)


def test_all_of_a_component_are_known_beside_the_bare_names_of_a_pose_alone(tmp_path: Path) -> None:
    pose = pose_of("holistic_543")
    selection = keeping(pose, range(33))
    source = write_pose(tmp_path / "clip.pose", pose)
    small = rewrite(source, tmp_path / "small" / "clip.pose", selection).path
    assert Skeleton.from_pose(small) == get_skeleton("mediapipe_pose")
    assert SelectJoints(selection, "t j c").read(small).shape == (5, 33, 4)
    alone = write_pose(tmp_path / "alone.pose", pose_of([pose.header.components[0]]))
    assert SelectJoints(keeping("mediapipe_pose", (0, 1)), "t j c").read(alone).shape == (5, 2, 4)


def test_several_people_need_an_axis(tmp_path: Path) -> None:
    pose = pose_of("openpose_137", people=2)
    path = write_pose(tmp_path / "clip.pose", pose)
    with pytest.raises(ValueError, match=r"one person in `.*clip\.pose` .* but got 2"):
        SelectJoints(every(9, pose), "t j c").read(path)
    assert SelectJoints(every(9, pose), "t m j c").read(path).shape == (5, 2, 16, 3)


def test_a_selection_of_another_order_is_refused_with_the_files_own_skeleton(
    tmp_path: Path,
) -> None:
    path = write_pose(tmp_path / "clip.pose", pose_of("holistic_543"))
    selection = keeping("mediapipe_holistic", (0, 500))
    for act in (
        lambda: rewrite(path, tmp_path / "small" / "clip.pose", selection),
        lambda: SelectJoints(selection, "t j c").read(path),
    ):
        with pytest.raises(ValueError, match="the same joints in another order") as told:
            act()
        assert 'skeleton="mediapipe_body_face_hands"' in str(told.value)
    assert not (tmp_path / "small").exists()


def of_version_0_1(pose: Any) -> bytes:
    """Return a clip as pose-format wrote it before version 0.2."""
    content = pose_bytes(pose)
    end = len(content) - 4 * (pose.body.data.size + pose.body.confidence.size) - 10
    fps, frames, people = struct.unpack("<fIH", content[end : end + 10])
    return (
        struct.pack("<f", 0.1)
        + content[4:end]
        + struct.pack("<HHH", round(fps), frames, people)
        + content[end + 10 :]
    )


def pose_bytes(pose: Any) -> bytes:
    buffer = io.BytesIO()
    pose.write(buffer)
    return buffer.getvalue()


def test_an_older_version_is_rewritten_to_what_pose_format_writes(tmp_path: Path) -> None:
    pose = pose_of("mmpose_133")
    source = tmp_path / "clip.pose"
    source.write_bytes(of_version_0_1(pose))
    assert round(Pose.read(source.read_bytes()).header.version, 1) == 0.1
    small = read_pose(rewrite(source, tmp_path / "b" / "clip.pose", every(5, pose)).path)
    assert np.array_equal(small.body.data.data, pose.body.data.data[:, :, ::5])
    assert (round(small.header.version, 1), small.body.fps) == (0.2, 30)


def of_version_0_0(pose: Any) -> bytes:
    """Return a clip in the first version, which has a person's components one by one."""
    content = pose_bytes(pose)
    end = len(content) - 4 * (pose.body.data.size + pose.body.confidence.size) - 10
    written = [struct.pack("<f", 0.0), content[4:end], struct.pack("<HH", 25, len(pose.body.data))]
    for data, confidence in zip(pose.body.data.data, pose.body.confidence, strict=True):
        points = np.concatenate([data[0], confidence[0][:, None]], -1).astype("<f4")
        written += [struct.pack("<Hh", 1, 0), points.tobytes()]
    return b"".join(written)


def test_the_first_version_is_rewritten_to_what_pose_format_writes(tmp_path: Path) -> None:
    pose, source = pose_of("openpose_137"), tmp_path / "clip.pose"
    source.write_bytes(of_version_0_0(pose))
    small = read_pose(rewrite(source, tmp_path / "b" / "clip.pose", every(5, pose)).path)
    assert np.array_equal(small.body.data.data, pose.body.data.data[:, :, ::5])
    assert np.array_equal(small.body.confidence, pose.body.confidence[:, :, ::5])
    source.write_bytes(of_version_0_0(pose)[:-5])
    with pytest.raises(ValueError, match="cut short or damaged"):
        rewrite(source, tmp_path / "c" / "clip.pose", every(5, pose))


def nan_in(pose: Any, confidence: float) -> bytes:
    pose.body.data.data[2, 0, 10] = np.nan
    pose.body.confidence[2, 0, 10] = confidence
    return pose_bytes(pose)


BAD = {
    "cut short": (lambda pose: pose_bytes(pose)[:-7], "is cut short or damaged"),
    "cut in the header": (lambda pose: pose_bytes(pose)[:60], "header of .* is cut short"),
    "older and cut short": (lambda pose: of_version_0_1(pose)[:-7], "it is cut short, or two were"),
    "two in one": (
        lambda pose: pose_bytes(pose) + pose_bytes(pose),
        "or two were written into one",
    ),
    "of a newer version": (
        lambda pose: struct.pack("<f", 0.9) + pose_bytes(pose)[4:],
        r"version 0\.0, 0\.1, 0\.2 but got version 0\.9",
    ),
    "empty": (lambda pose: b"", "but got 0 bytes"),
    "without frames": (lambda pose: pose_bytes(pose_of("mmpose_133", 0)), "got 0 frames with 1"),
    "without people": (lambda pose: pose_bytes(pose_of("mmpose_133", 2, 0)), "got 2 frames with 0"),
    "not a number": (lambda pose: nan_in(pose, 0.5), "got NaN or infinity for '.*' in frame 2"),
    "of another detector": (
        lambda pose: pose_bytes(pose_of("openpose_137")),
        "other joints, without nose, .* and with pose_Nose",
    ),
    "without some points": (
        lambda pose: pose_bytes(pose_of(header_of("mmpose_133").components[:2])),
        "without left_hand_root, left_thumb1, left_thumb2 and 39 more",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_has_an_error_of_its_own_and_leaves_nothing(kind: str, tmp_path: Path) -> None:
    make, message = BAD[kind]
    pose = pose_of("mmpose_133")
    selection = every(2, pose)
    (tmp_path / "bad.pose").write_bytes(make(pose))
    with pytest.raises(ValueError, match=message) as told:
        rewrite(tmp_path / "bad.pose", tmp_path / "small" / "bad.pose", selection)
    assert "bad.pose" in str(told.value)
    assert not [*tmp_path.rglob("small/*")]
    with pytest.raises(ValueError, match=message):
        SelectJoints(selection, "t j c").read(tmp_path / "bad.pose")


def test_what_was_not_found_may_be_no_number(tmp_path: Path) -> None:
    pose = pose_of("mmpose_133")
    (tmp_path / "clip.pose").write_bytes(nan_in(pose, 0.0))
    small = rewrite(tmp_path / "clip.pose", tmp_path / "b" / "clip.pose", every(2, pose)).path
    data = read_pose(small).body.data.data
    assert data.tobytes() == pose.body.data.data[:, :, ::2].tobytes()
    assert rewrite(tmp_path / "clip.pose", tmp_path / "c.pose", every(2, pose, start=1)).made


@pytest.mark.parametrize("left", [0, 30, -50])
def test_what_a_power_cut_left_is_made_again(left: int, tmp_path: Path) -> None:
    pose = pose_of("mmpose_133")
    source, target = write_pose(tmp_path / "clip.pose", pose), tmp_path / "small" / "clip.pose"
    rewrite(source, target, every(2, pose))
    content, state = target.read_bytes(), target.stat()
    assert not rewrite(source, target, every(2, pose)).made
    target.write_bytes(content[:left])
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert rewrite(source, target, every(2, pose)).made
    assert target.read_bytes() == content


def test_a_finished_file_is_made_again_if_its_input_or_the_selection_has_changed(
    tmp_path: Path,
) -> None:
    pose = pose_of("mmpose_133")
    source, target = write_pose(tmp_path / "clip.pose", pose), tmp_path / "small" / "clip.pose"
    for step in (2, 3):
        assert rewrite(source, target, every(step, pose)).made
        assert not rewrite(source, target, every(step, pose)).made
        assert read_pose(target).header.total_points() == len(range(0, 133, step))
    os.utime(source, ns=(0, 1))
    assert rewrite(source, target, every(3, pose)).made
    assert not rewrite(source, target, every(3, pose)).made
    assert [path.name for path in target.parent.iterdir()] == ["clip.pose"]


@pytest.mark.parametrize("other", ["mmpose_133", "openpose_137", None])
def test_a_file_that_select_did_not_write_is_not_replaced(
    other: str | None, tmp_path: Path
) -> None:
    pose, target = pose_of("mmpose_133"), tmp_path / "small" / "clip.pose"
    source = write_pose(tmp_path / "clip.pose", pose)
    write_pose(target, pose_of(other or "mmpose_133"))
    if other is None:
        target.write_bytes(b"no pose file")
    content = target.read_bytes()
    with pytest.raises(ValueError, match="is there and was not written by jointprune select"):
        rewrite(source, target, every(2, pose))
    assert target.read_bytes() == content


def _dies_at(count: int, sources: list[Path], folder: Path, selection: Any) -> None:
    """Rewrite files in a process that is killed while it writes one of them."""
    write, calls = NumPyPoseBody.write, []

    def dying(body: Any, version: float, buffer: Any) -> None:
        calls.append(body)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        write(body, version, buffer)

    NumPyPoseBody.write = dying
    for source in sources:
        rewrite(source, folder / source.name, selection)


@pytest.mark.skipif(os.name != "posix", reason="signals and forks are those of POSIX")
def test_a_killed_run_leaves_nothing_half_written_and_goes_on_where_it_was(tmp_path: Path) -> None:
    clips = [pose_of("mmpose_133", seed=n) for n in range(5)]
    sources = [write_pose(tmp_path / f"{n}.pose", clip) for n, clip in enumerate(clips)]
    selection, small = every(4, clips[0]), tmp_path / "small"
    process = get_context("fork").Process(target=_dies_at, args=(3, sources, small, selection))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    there = [path for path in small.iterdir() if path.suffix == ".pose"]
    assert {path.name for path in there} == {"0.pose", "1.pose"}
    done = [rewrite(source, small / source.name, selection) for source in sources]
    assert [result.made for result in done] == [False, False, True, True, True]
    for result, clip in zip(done, clips, strict=True):
        kept = clip.body.data.data[:, :, list(selection.indices)]
        assert read_pose(result.path).body.data.data.tobytes() == kept.tobytes()


def test_an_axis_is_refused(tmp_path: Path) -> None:
    pose = pose_of("mmpose_133")
    source = write_pose(tmp_path / "clip.pose", pose)
    with pytest.raises(ValueError, match=r"no axis for a \.pose file, .* but got 2"):
        rewrite(source, tmp_path / "small.pose", every(2, pose), axis=2)
