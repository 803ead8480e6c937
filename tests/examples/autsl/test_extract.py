"""Videos become arrays that can be trained on, also over a crash and beside broken videos."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import examples
from examples.autsl.check import main as check
from examples.autsl.data.module import SignData
from examples.autsl.data.orders import ORDER_FILE, get_order, save_order, saved_order
from examples.autsl.data.synthetic import SyntheticSettings, make_synthetic, write_video
from examples.autsl.detectors.holistic import COMPONENTS, ORDER, Holistic
from examples.autsl.detectors.landmarks import Landmarks
from examples.autsl.extract import DETECTORS, Extracted, extract, run
from examples.autsl.study.study import main as study
from lightning_jointprune.skeletons import get_skeleton
from tests.examples.autsl.test_check import cut, cut_after_index, without_frames, write_sound
from tests.people import StandIn
from tests.runs import SHORT_RUNS

pytestmark = SHORT_RUNS
ROOT = Path(examples.__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    settings = SyntheticSettings(signs=2, clips=(4, 2, 2), signers=(2, 1, 1), size=32)
    return without_arrays(make_synthetic(tmp_path, settings))


def without_arrays(folder: Path) -> Path:
    """The folder as AUTSL comes: videos and labels."""
    for path in folder.glob("*/*.npy"):
        path.unlink()
    (folder / "synthetic.json").unlink()
    return folder


def quick(folder: Path, *args: object, **settings: object) -> Extracted:
    return extract(folder, *args, detector=StandIn(), **settings)


def arrays(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*_skeleton.npy")}


def videos(folder: Path) -> list[Path]:
    return sorted((folder / "train").glob("*_color.mp4"))


# --- what is written -----------------------------------------------------------------------------


def test_clip_becomes_coordinates_flags_visibility_and_its_order(tmp_path: Path) -> None:
    light = np.array([10, 120, 240], np.uint8)
    write_video(
        tmp_path / "a_color.mp4", np.broadcast_to(light[:, None, None, None], (3, 32, 32, 3))
    )
    quick(tmp_path)
    joints = np.load(tmp_path / "a_skeleton.npy", allow_pickle=False)
    assert (joints.shape, joints.dtype) == ((3, 543, 3), np.float32)
    np.testing.assert_allclose(joints[:, 0, 2], light, atol=4)  # every frame once, in its place
    with np.load(tmp_path / "a_found.npz", allow_pickle=False) as more:
        assert more["order"] == saved_order(tmp_path) == ORDER
        assert tuple(more["components"]) == COMPONENTS
        assert more["detector"] == "stand-in"
        assert more["visibility"].shape == (3, 33)
        np.testing.assert_array_equal(more["found"][:, 1], [True, False, True])
        left = get_order(ORDER).start("left")
        seen = np.isfinite(joints[:, left : left + 21]).all(axis=(1, 2))
        np.testing.assert_array_equal(more["found"][:, 1], seen)


def test_components_are_those_of_the_named_skeleton_in_its_order() -> None:
    names = get_skeleton("mediapipe_holistic").joints
    assert len(names) == get_order(ORDER).num_joints == 543
    start = get_order(ORDER).start
    assert names[start("left")] == "left_hand_wrist"
    assert names[start("right")] == "right_hand_wrist"
    assert names[start("pose") + 11] == "pose_left_shoulder"


def test_folder_of_its_own_can_be_trained_on_in_the_order_it_names(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    quick(folder, out)
    assert not arrays(folder)
    data = SignData(str(out), "skeleton", num_frames=8, batch_size=2)
    data.setup("fit")
    assert (data.order, data.skeleton, data.joint_shape) == (ORDER, "mediapipe_holistic", (543, 3))
    (batch, _) = data.train_dataloader()
    assert batch["skeleton_keypoints"].shape == (2, 8, 543, 3)
    (out / ORDER_FILE).write_text(json.dumps({"order": "pose-face-left-right"}))
    with pytest.raises(ValueError, match=rf"Expected joints in the order pose-.*Is it {ORDER}"):
        SignData(str(out), "skeleton").setup("fit")
    assert SignData(str(out), "skeleton", order=ORDER).order == ORDER


# --- crashes -------------------------------------------------------------------------------------


def test_finished_clips_are_not_computed_again(folder: Path) -> None:
    quick(folder)
    before, clips = arrays(folder), StandIn.clips
    assert len(before) == 8
    gone = folder / "train" / sorted(before)[0]
    next(folder.rglob(gone.name)).unlink()
    again = quick(folder)
    assert (len(again.outcomes), again.finished, StandIn.clips) == (1, 7, clips + 1)
    after = arrays(folder)
    assert {name for name in before if before[name] != after[name]} == {gone.name}


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from examples.autsl.extract import extract
from tests.people import StandIn

save = np.save
def half(file, array, **settings):
    if len(list(Path(sys.argv[1]).rglob("*_skeleton.npy"))) == 3:
        file.write(array.tobytes()[:1000])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    save(file, array, **settings)
np.save = half
extract(Path(sys.argv[1]), detector=StandIn())
"""


def test_run_killed_while_it_writes_leaves_whole_files_and_goes_on_where_it_was(
    folder: Path,
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder)], cwd=ROOT)
    assert killed.returncode == -9
    before = arrays(folder)
    assert len(before) == 3
    assert list(folder.rglob("*.tmp"))
    assert quick(folder).finished == 3
    after = arrays(folder)
    assert len(after) == 8
    assert {name: after[name] for name in before} == before
    assert not list(folder.rglob("*.tmp"))
    assert all(np.load(path).shape[1:] == (543, 3) for path in folder.rglob("*_skeleton.npy"))


PARALLEL = """
import sys
from pathlib import Path
from examples.autsl.extract import extract
from tests.people import Killer

if __name__ == "__main__":
    extract(Path(sys.argv[1]), workers=2, detector=Killer())
"""


def test_processes_end_with_the_one_that_started_them(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "parallel.py"
    script.write_text(PARALLEL)
    # The pipe is at its end when nobody has it open: not the run, and none of its processes.
    command = [sys.executable, str(script), str(folder)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)
    assert killed.returncode == -9
    quick(folder)
    assert len(arrays(folder)) == 8


def test_several_processes_write_what_one_writes(folder: Path, tmp_path: Path) -> None:
    alone, two = tmp_path / "one", tmp_path / "two"
    quick(folder, alone)
    assert len(quick(folder, two, workers=2).outcomes) == 8
    for path in alone.rglob("*.npy"):
        np.testing.assert_array_equal(np.load(path), np.load(two / path.relative_to(alone)))


# --- what cannot be extracted --------------------------------------------------------------------

BROKEN: dict[str, tuple[str, Callable[[Path], object]]] = {
    "index cut off": ("Expected a readable video but got", cut),
    "data cut off": ("Expected a readable video but got", cut_after_index),
    "zero bytes": ("Expected a video but got zero bytes", lambda path: path.write_bytes(b"")),
    "sound alone": ("got sound alone", write_sound),
    "no frames": ("Expected at least one frame", without_frames),
    "no video at all": ("Expected a readable video", lambda path: path.write_text("<html>")),
    "wrong extension": (
        "Expected .mp4 but got .avi",
        lambda path: path.rename(path.with_suffix(".avi")),
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_video_is_named_and_the_others_are_extracted(folder: Path, case: str) -> None:
    text, damage = BROKEN[case]
    broken = videos(folder)[1]
    damage(broken)
    extracted = quick(folder)
    (problem,) = extracted.problems
    assert problem.video.stem == broken.stem
    assert re.search(text, problem.problem)
    assert len(arrays(folder)) == 7
    assert not list(folder.rglob(f"{broken.stem.removesuffix('_color')}_*.np?"))


def test_broken_video_fails_a_strict_run_after_the_others_are_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(DETECTORS, "mediapipe-legacy", lambda models: StandIn())
    videos(folder)[0].write_bytes(b"")
    out = folder.parent / "out"
    assert run([str(folder), "-o", str(out), "--workers=1"]) == 0
    shown = capsys.readouterr().out
    assert "7 clips extracted, 0 were finished before, 1 left out." in shown
    assert "face 100%" in shown
    assert f"{videos(folder)[0]}: Expected a video but got zero bytes." in shown
    assert run([str(folder), "-o", str(out), "--workers=1", "--strict=true"]) == 1
    assert "0 clips extracted, 7 were finished before, 1 left out." in capsys.readouterr().out


class AfraidOfTheDark(StandIn):
    """Fails in a dark clip, and has no use after that, as a graph of MediaPipe that has failed."""

    def __init__(self) -> None:
        self.failed = False

    def __call__(self, frames: Iterable[np.ndarray]) -> Landmarks:
        frames = list(frames)
        self.failed = self.failed or frames[0].mean() < 60
        if self.failed:
            raise RuntimeError("no such packet")
        return super().__call__(frames)


def lit(folder: Path, dark: list[bool]) -> None:
    """Clips of two frames, each dark or light."""
    folder.mkdir(exist_ok=True)
    for number, is_dark in enumerate(dark):
        frames = np.full((2, 32, 32, 3), 20 if is_dark else 200, np.uint8)
        write_video(folder / f"signer0_sample{number}_color.mp4", frames)


@given(dark=st.lists(st.booleans(), min_size=1, max_size=5))
def test_clip_on_which_the_detector_fails_is_named_and_the_others_have_a_new_one(
    dark: list[bool],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lit(folder, dark)
        for attempt in range(2):  # a second run tries the failed ones, and those alone
            extracted = extract(folder, detector=AfraidOfTheDark())
            failed = [f"signer0_sample{n}_color.mp4" for n, is_dark in enumerate(dark) if is_dark]
            assert [outcome.video.name for outcome in extracted.problems] == failed
            assert extracted.finished == attempt * (len(dark) - len(failed))
        assert {outcome.problem.partition(". ")[0] for outcome in extracted.problems} <= {
            "Expected joints but got RuntimeError from the detector: no such packet"
        }
        assert len(arrays(folder)) == len(dark) - len(failed)
        assert len(list(folder.iterdir())) == len(dark) + 2 * len(arrays(folder)) + 1


def test_detector_that_fails_in_another_process_stops_no_other_clip(tmp_path: Path) -> None:
    lit(tmp_path, [False, True, False, True, False, False])
    extracted = extract(tmp_path, workers=2, detector=AfraidOfTheDark())
    assert [outcome.video.name[14] for outcome in extracted.problems] == ["1", "3"]
    assert len(arrays(tmp_path)) == 4


@pytest.mark.parametrize(("dark", "alike"), [([True] * 3, True), ([True, True, False], False)])
def test_summary_says_when_all_videos_were_left_out_for_one_reason(
    dark: list[bool],
    alike: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(DETECTORS, "mediapipe-legacy", lambda models: AfraidOfTheDark())
    lit(tmp_path, dark)
    assert run([str(tmp_path), "--workers=1", "--strict=true"]) == 1
    shown = capsys.readouterr().out
    assert "signer0_sample0_color.mp4: Expected joints but got RuntimeError" in shown
    same = "All 3 videos of this run were left out for one reason: Expected joints"
    assert (same in shown) == alike


def test_folder_without_videos_and_pattern_that_leads_out_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected a folder with videos but got nothing at"):
        quick(tmp_path / "none")
    with pytest.raises(ValueError, match=r"Expected videos called \*_color.mp4 below"):
        quick(tmp_path)
    for pattern in ("../*.mp4", "/etc/*.mp4", "train/*.mp4"):
        with pytest.raises(ValueError, match=r"which leads to other folders.*'\*\.mp4'"):
            quick(tmp_path, pattern=pattern)


def test_two_videos_of_one_array_and_a_folder_in_another_order_are_refused(folder: Path) -> None:
    video = videos(folder)[0]
    other = video.with_name(video.name.replace("_color", ""))
    other.touch()
    with pytest.raises(
        ValueError, match=rf"{other.name} and {video.name}, which would both become"
    ):
        quick(folder, pattern="*.mp4")
    other.unlink()
    save_order(folder, "pose-left-right")
    with pytest.raises(ValueError, match=r"but got pose-left-right in its landmarks\.json"):
        quick(folder)
    assert saved_order(folder) == "pose-left-right"
    assert not arrays(folder)


def test_models_are_given_to_the_detector_and_said_where_they_are_missing(folder: Path) -> None:
    args = [str(folder), "--detector", "rtmpose", "--models", "a.onnx", "b.onnx"]
    with pytest.raises(ValueError, match=r"Expected a model but got no file at a\.onnx\. It takes"):
        run(args)
    with pytest.raises(ValueError, match=r"Expected no model for mediapipe-legacy but got a\.onnx"):
        run([str(folder), "--models", "a.onnx"])


class OnlyHands(StandIn):
    """Finds the hands alone."""

    name, order = "hands", "left-right"

    def __call__(self, frames: Iterable[np.ndarray]) -> Landmarks:
        found = super().__call__(frames)
        joints = np.concatenate([found.joints[:, 468:489], found.joints[:, -21:]], axis=1)
        return Landmarks(joints, found.visibility, found.found[:, 1::2], self.name)


def test_hands_alone_can_be_trained_on_and_another_detector_is_not_mixed_in(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    extract(folder, out, detector=OnlyHands())
    data = SignData(str(out), "skeleton", num_frames=8, batch_size=2)
    data.setup("fit")
    assert (data.order, data.skeleton, data.joint_shape) == (
        "left-right",
        "mediapipe_hands",
        (42, 3),
    )
    with pytest.raises(
        ValueError, match=r"in the order face-left-pose-right at .* but got left-rig"
    ):
        quick(folder, out)

    class OtherHands(OnlyHands):
        name = "other hands"

    with pytest.raises(
        ValueError, match=r"Expected joints of other hands at .* got those of hands,"
    ):
        extract(folder, out, detector=OtherHands())
    assert extract(folder, out, detector=OnlyHands()).finished == 8


class Unloadable(StandIn):
    """Lacks a package or a model."""

    name, order = "unloadable", "pose"

    def load(self) -> StandIn:
        raise ValueError("Expected a model")


def test_detector_that_can_not_be_loaded_leaves_the_folder_to_another(folder: Path) -> None:
    with pytest.raises(ValueError, match="Expected a model"):
        extract(folder, detector=Unloadable())
    assert saved_order(folder) is None
    assert len(quick(folder).outcomes) == 8


def test_missing_mediapipe_is_named_with_what_to_type(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "lightning-jointprune\[extract\]"'):
        extract(folder)


def test_module_needs_neither_mediapipe_nor_torch_to_be_imported() -> None:
    code = "import sys, examples.autsl.extract; print({'mediapipe', 'torch'} & {*sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert shown.stdout.strip() == b"set()"


# --- the real detector, and all commands in a row ------------------------------------------------


def needs_holistic() -> None:
    mediapipe = pytest.importorskip("mediapipe", reason="the extra `extract` is not installed")
    if not hasattr(mediapipe, "solutions"):
        pytest.skip("this MediaPipe brings no models along")


def test_mediapipe_writes_what_this_module_says_and_starts_anew_in_every_clip(
    folder: Path,
) -> None:
    needs_holistic()
    extracted = extract(folder / "val")
    assert len(extracted.outcomes) == 2
    assert extracted.problems == []
    for path in (folder / "val").glob("*_skeleton.npy"):
        joints = np.load(path, allow_pickle=False)
        with np.load(path.with_name(path.name.replace("_skeleton.npy", "_found.npz"))) as more:
            assert joints.shape[1:] == (543, 3)
            assert more["found"].shape == (len(joints), 4)
            assert more["visibility"].shape == (len(joints), 33)
            assert str(more["detector"]).startswith("MediaPipe Holistic 0.")
            assert more["order"] == saved_order(folder / "val") == ORDER
    before = arrays(folder)
    assert extract(folder / "val").finished == 2
    assert arrays(folder) == before


def walking(frames: int, start: int) -> np.ndarray:
    """A real person who walks sideways, shape `(frames, 256, 256, 3)`."""
    data = pytest.importorskip("skimage.data", reason="scikit-image has the picture of a person")
    person = data.astronaut()[::2, ::2]
    return np.stack([np.roll(person, start + 2 * frame, axis=1) for frame in range(frames)])


def test_mediapipe_finds_a_real_person_where_she_is(tmp_path: Path) -> None:
    needs_holistic()
    for name, start in (("a", 0), ("b", 24)):
        write_video(tmp_path / f"{name}.mp4", walking(4, start))
    extracted = extract(tmp_path, pattern="*.mp4")
    assert [outcome.found[::2] for outcome in extracted.outcomes] == [(1.0, 1.0)] * 2  # face, pose
    a, b = (np.load(tmp_path / f"{name}_skeleton.npy") for name in "ab")
    moved = np.nanmedian(b[:, :468, 0] - a[:, :468, 0])
    assert moved == pytest.approx(24 / 256, abs=0.02)
    (tmp_path / "a_skeleton.npy").unlink()
    extract(tmp_path, pattern="*.mp4")
    np.testing.assert_array_equal(np.load(tmp_path / "a_skeleton.npy"), a)


@pytest.mark.slow
@pytest.mark.parametrize("detector", [StandIn, Holistic])
def test_forty_videos_are_checked_extracted_trained_on_studied_and_reported(
    detector: type, tmp_path: Path
) -> None:
    settings = SyntheticSettings(signs=2, clips=(24, 8, 8), signers=(3, 2, 2), size=32)
    folder = without_arrays(make_synthetic(tmp_path, settings))
    if detector is Holistic:
        needs_holistic()
        for number, path in enumerate(sorted(folder.rglob("*_color.mp4"))):
            write_video(path, walking(2, number))  # MediaPipe takes its time
    assert check(folder, None, published=False, workers=1, strict=True) == 0
    out = tmp_path / "skeletons"
    extracted = extract(folder, out, detector=detector())
    assert (len(extracted.outcomes), extracted.problems) == (40, [])

    args = [
        f"--data={out}",
        "--modalities=skeleton",
        "--datamodule.num_frames=4",
        "--datamodule.batch_size=8",
        "--model.hidden_size=32",
        "--model.num_layers=1",
        "--trainer.max_epochs=5",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
    ]
    study(tmp_path / "study", [42, 10], ["bert"], [0], args)
    (cell,) = (tmp_path / "study" / "cells").iterdir()
    results = json.loads(cell.read_text())["results"]
    assert [len(result["kept"]) for result in results] == [42, 10]
    names = get_skeleton("mediapipe_holistic").joints
    assert {*results[1]["kept"]} < {*results[0]["kept"]} < {*range(len(names))}
    (report,) = (tmp_path / "study").rglob("joint_importance.html")
    assert names[results[1]["kept"][0]] in report.read_text()
    assert "bert,ladder,10,1" in (tmp_path / "study" / "study.csv").read_text()
