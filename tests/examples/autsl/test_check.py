"""Each thing that can be wrong with a download is named, and nothing else is."""

from __future__ import annotations

import itertools
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

import examples
from examples.autsl.check import HARMLESS, KINDS, PUBLISHED, Checked, check, endings_of, main
from examples.autsl.data.files import video_problem
from examples.autsl.data.labels import NUM_SIGNS, SIGN_LIST, read_sign_names
from examples.autsl.data.synthetic import SyntheticSettings, make_synthetic, write_video

ROOT = Path(examples.__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    settings = SyntheticSettings(signs=2, clips=(4, 2, 2), signers=(2, 1, 1), size=32)
    return make_synthetic(tmp_path, settings)


def kinds(folder: Path, **settings: object) -> list[str]:
    found = check(folder, **{"size": 32, "published": False, **settings})
    return [problem.kind for problem in found.problems]


def first(folder: Path) -> Path:
    return min((folder / "train").glob("*_color.mp4"))


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "f4"), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def rewritten(path: Path, target: Path, **options: str) -> Path:
    """The same packets in another container, or with another place for the index."""
    with av.open(str(path)) as old, av.open(str(target), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    return target


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def cut_after_index(path: Path) -> None:
    """Cut off the end of a video whose index stands at its start."""
    new = rewritten(path, path.with_suffix(".new.mp4"), movflags="faststart")
    path.write_bytes(new.read_bytes()[:-200])
    new.unlink()


def without_frames(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width = stream.height = 32
        container.start_encoding()


FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "missing": ("missing", Path.unlink),
    "zero bytes": ("empty", lambda path: path.write_bytes(b"")),
    "index cut off": ("truncated", cut),
    "data cut off": ("truncated", cut_after_index),
    "no video at all": ("truncated", lambda path: path.write_text("<html>not found</html>")),
    "no frames": ("zero-frame", without_frames),
    "sound alone": ("audio-only", write_sound),
    "other size": ("wrong-size", lambda path: write_video(path, np.zeros((9, 48, 32, 3), "u1"))),
}


def test_good_folder_has_no_problem_at_any_depth(folder: Path) -> None:
    for depth in ("files", "packets", "frames"):
        assert kinds(folder, depth=depth) == []


@pytest.mark.parametrize("case", FILES)
def test_bad_video_is_named_and_only_its_clip_is_left_out(folder: Path, case: str) -> None:
    kind, damage = FILES[case]
    damage(first(folder))
    found = check(folder, size=32, published=False)
    (problem,) = found.problems
    assert (problem.kind, problem.where) == (kind, str(first_or_missing(folder, case)))
    assert {split: len(rows) for split, rows in found.usable.items()} == {
        "train": 3,
        "val": 2,
        "test": 2,
    }


def first_or_missing(folder: Path, case: str) -> Path:
    name = (folder / "train_labels.csv").read_text().split(",")[0]
    return folder / "train" / f"{name}_color.mp4" if case == "missing" else first(folder)


def test_damage_inside_a_video_is_found_by_decoding(folder: Path) -> None:
    write_video(first(folder), np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), "u1"))
    content = bytearray(first(folder).read_bytes())
    start = content.index(b"mdat") + 4
    content[start : start + 3000] = bytes(3000)
    first(folder).write_bytes(content)
    assert kinds(folder, depth="packets") == []
    assert kinds(folder, depth="frames") in (["truncated"], ["zero-frame"])


@pytest.mark.parametrize(
    "options", [{"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}, {}]
)
def test_video_is_good_wherever_its_index_is(
    folder: Path, tmp_path: Path, options: dict[str, str]
) -> None:
    name = "a.mp4" if options else "a.mkv"
    video = rewritten(first(folder), tmp_path / name, **options)
    for depth in ("packets", "frames"):
        assert video_problem(video, 32, depth) is None
        assert video_problem(video, 64, depth)[0] == "wrong-size"


def test_wrong_extension_is_named_beside_the_missing_file(folder: Path) -> None:
    first(folder).rename(first(folder).with_suffix(".avi"))
    assert sorted(kinds(folder)) == ["missing", "wrong-extension"]


def test_unlabelled_clip_is_named(folder: Path) -> None:
    first(folder).rename(folder / "train" / "signer9_sample9_color.mp4")
    assert sorted(kinds(folder)) == ["missing", "unlabelled"]


ROWS = {
    "header": (lambda text: f"name,label\n{text}", ["header"]),
    "bom": (lambda text: f"\ufeff{text}", ["bom"]),
    "crlf": (lambda text: text.replace("\n", "\r\n"), ["crlf"]),
    "class": (lambda text: f"{text}signer9_sample9,226\n", ["class"]),
    "row": (lambda text: f"{text}signer9_sample9\n", ["row"]),
    "digits of another script": (lambda text: f"{text}signer9_sample9,²\n", ["row"]),
    "duplicate": (lambda text: text + text.splitlines()[0] + "\n", ["duplicate"]),
    "path": (lambda text: f"{text}../val/signer9_sample9,1\n", ["path"]),
    "absolute path": (lambda text: f"{text}/etc/passwd,1\n", ["path"]),
    "quote that is not closed": (lambda text: f'{text}"signer9_sample9,1\n', ["row"]),
    "quote that is not closed, at first": (lambda text: f'"signer9_sample9,1\n{text}', ["row"]),
    "far too long": (lambda text: f"{text}signer9_sample9{'9' * 200_000},1\n", ["row"]),
    "class of far too many digits": (lambda text: f"{text}signer9_sample9,{'1' * 5000}\n", ["row"]),
    "semicolons": (lambda text: text.replace(",", ";"), ["separator", *["unlabelled"] * 8]),
    "tabs": (lambda text: text.replace(",", "\t"), ["separator", *["unlabelled"] * 8]),
    "one semicolon": (lambda text: f"{text}signer9_sample9;1\n", ["row"]),
    "nothing": (lambda text: "", ["labels", *["unlabelled"] * 8]),
}
UNREADABLE = ("semicolons", "tabs", "nothing")


@pytest.mark.parametrize("case", ROWS)
def test_label_file_of_another_form_is_named(folder: Path, case: str) -> None:
    change, expected = ROWS[case]
    path = folder / "train_labels.csv"
    path.write_bytes(change(path.read_text()).encode())
    found = check(folder, size=32, published=False)
    assert [problem.kind for problem in found.problems] == expected
    assert len(found.usable["train"]) == (0 if case in UNREADABLE else 4)


def test_missing_label_file_and_folder_are_named(folder: Path) -> None:
    (folder / "val_labels.csv").unlink()
    for path in (folder / "test").iterdir():
        path.unlink()
    (folder / "test").rmdir()
    found = kinds(folder)
    assert found.count("labels") == 1
    assert found.count("folder") == 1


def test_signer_in_two_splits_is_named(folder: Path) -> None:
    name = (folder / "train_labels.csv").read_text().split(",")[0]
    for ending in ("_color.mp4", "_depth.mp4"):
        (folder / "val" / f"{name}{ending}").write_bytes(
            (folder / "train" / f"{name}{ending}").read_bytes()
        )
    with (folder / "val_labels.csv").open("a") as file:
        file.write(f"{name},0\n")
    assert kinds(folder) == ["signer"]


def test_numbers_are_compared_with_the_published_ones(folder: Path) -> None:
    assert kinds(folder, published=True) == ["count"] * 3


def test_sign_list_says_which_classes_there_are(folder: Path) -> None:
    (folder / SIGN_LIST).write_text("ClassId,TR,EN\n0,abla,sister\n", encoding="utf-8-sig")
    assert read_sign_names(folder) == {0: "sister"}
    assert "class" in kinds(folder)


SIGN_LISTS = {
    "semicolons": ("ClassId;TR;EN\n0;abla;sister\n", "Separate the columns by commas"),
    "another header": ("Id,Turkish,English\n0,abla,sister\n", "Call the columns ClassId,TR,EN"),
    "a comma in a name": ("0,abla,sister, elder\n", "Put a name that has a comma in it between"),
    "a quote that is not closed": ('0,abla,"sister\n1,acele,hurry\n', "Close the quote"),
    "no row": ("ClassId,TR,EN\n", "Expected signs but got no row"),
    "a word for a class": ("ClassId,TR,EN\nzero,abla,sister\n", "Take the file from AUTSL's"),
    "a class of far too many digits": (f"{'1' * 5000},abla,sister\n", "Expected a row like"),
}


@pytest.mark.parametrize("case", [*SIGN_LISTS, "of Turkish Windows"])
def test_sign_list_of_another_form_is_named_and_autsl_has_its_226_signs(
    folder: Path, case: str
) -> None:
    text, fix = SIGN_LISTS.get(case, ("0,abla,sister\n1,ağaç,tree\n", "Save it as UTF-8.*cp1254"))
    (folder / SIGN_LIST).write_bytes(text.encode("utf-8" if case in SIGN_LISTS else "cp1254"))
    path = folder / "train_labels.csv"
    path.write_text(f"{path.read_text()}signer9_sample9,{NUM_SIGNS}\n")
    problem, of_class = check(folder, size=32, published=False).problems
    assert (problem.kind, problem.where) == ("signs", str(folder / SIGN_LIST))
    assert re.search(fix, problem.text)
    assert of_class.text.startswith("Expected a class from 0 to 225 but got")


def test_strict_fails_for_what_is_wrong_and_not_for_what_is_harmless(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "train_labels.csv"
    path.write_text("\ufeff" + path.read_text())
    assert main(folder, 32, published=False, workers=1, strict=True) == 0
    first(folder).write_bytes(b"")
    assert main(folder, 32, published=False, workers=1) == 0
    assert main(folder, 32, published=False, workers=2, strict=True) == 1
    shown = capsys.readouterr().out
    assert f"empty: {first(folder)}: Expected a video but got zero bytes." in shown


def modalities_of(folder: Path, modalities: str | None, **settings: object) -> Checked:
    return check(folder, 32, published=False, endings=endings_of(modalities), **settings)


def test_download_without_depth_is_good_where_it_is_not_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in folder.glob("*/*_depth.mp4"):
        path.unlink()
    found = modalities_of(folder, "rgb")
    assert (found.problems, len(found.usable["train"])) == ([], 4)
    assert {problem.kind for problem in modalities_of(folder, None).problems} == {"missing"}
    line = [sys.executable, "-m", "examples.autsl.check", str(folder), "--size=32"]
    line += ["--published=false", "--strict=true"]
    assert subprocess.run(line, cwd=ROOT, capture_output=True).returncode == 1
    assert subprocess.run([*line, "--modalities=rgb"], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("modalities", ["rgb,sound", "", "rgb,", "RGB"])
def test_unknown_modality_is_refused(folder: Path, modalities: str) -> None:
    with pytest.raises(ValueError, match=f"out of skeleton, rgb, depth but got '{modalities}'"):
        main(folder, modalities=modalities)


ARRAYS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "missing": ("missing", Path.unlink),
    "zero bytes": ("empty", lambda path: path.write_bytes(b"")),
    "cut off": ("array", cut),
    "no array at all": ("array", lambda path: path.write_text("<html>not found</html>")),
    "other joints": ("array", lambda path: np.save(path, np.zeros((9, 21, 3), np.float32))),
    "no frames": ("array", lambda path: np.save(path, np.zeros((0, 42, 3), np.float32))),
}


@pytest.mark.parametrize("case", ARRAYS)
@pytest.mark.parametrize("modalities", ["skeleton", "skeleton, rgb,skeleton"])
def test_bad_array_is_named_and_only_its_clip_is_left_out(
    folder: Path, case: str, modalities: str
) -> None:
    assert modalities_of(folder, modalities).problems == []
    clip = (folder / "train_labels.csv").read_text().split(",")[0]
    path = folder / "train" / f"{clip}_skeleton.npy"
    kind, damage = ARRAYS[case]
    damage(path)
    found = modalities_of(folder, modalities)
    (problem,) = found.problems
    assert (problem.kind, problem.where) == (kind, str(path))
    assert problem.text.startswith("Expected ")
    assert [len(rows) for rows in found.usable.values()] == [3, 2, 2]
    assert clip not in found.usable["train"]
    assert modalities_of(folder, "rgb,depth").problems == []
    seen = [problem.kind for problem in modalities_of(folder, modalities, depth="files").problems]
    assert seen == [kind] * (kind != "array")


def test_check_of_videos_loads_no_torch(folder: Path) -> None:
    code = "import sys; from pathlib import Path; from examples.autsl.check import main;"
    code += f"main(Path({str(folder)!r}), 32); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert shown.stdout.endswith(b"False\n")


def test_every_kind_has_a_test() -> None:
    tested = {kind for kind, _ in [*FILES.values(), *ARRAYS.values()]} | set(
        itertools.chain.from_iterable(found for _, found in ROWS.values())
    )
    others = {"folder", "wrong-extension", "signer", "count", "signs"}
    assert tested | others == set(KINDS)
    assert set(HARMLESS) < set(KINDS)


def test_index_of_the_size_of_autsl_is_checked_in_little_memory(tmp_path: Path) -> None:
    signer = 0
    for split, (clips, signers) in PUBLISHED.items():
        (tmp_path / split).mkdir()
        names = [f"signer{signer + clip % signers}_sample{clip}" for clip in range(clips)]
        signer += signers
        for name, ending in itertools.product(names, ("_color.mp4", "_depth.mp4")):
            (tmp_path / split / f"{name}{ending}").write_bytes(b"x")
        rows = "".join(f"{name},{clip % 226}\n" for clip, name in enumerate(names))
        (tmp_path / f"{split}_labels.csv").write_text(rows)
    before = peak_mb()
    found = check(tmp_path, depth="files")
    assert found.problems == []
    assert found.files == 2 * 36302
    assert peak_mb() - before < 500


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
