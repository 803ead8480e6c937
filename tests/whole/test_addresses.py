"""Files go where they were asked: at `memory://`, `s3://`, `gs://` and `file://` as on a disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_jointprune import (
    JointEvaluation,
    JointSelection,
    PruningRecord,
    SelectJoints,
    analyze_pruning,
    compact,
    export_model,
    from_compact,
    load_pruned,
    save_compact,
)
from lightning_jointprune.cli.main import main
from lightning_jointprune.record.files import Address, place, write_bytes
from lightning_jointprune.report import write_comparison, write_report
from tests.joint_files.written import write_parquet
from tests.records import evaluated, record_of
from tests.remote import Bucket, bucket_at
from tests.runs import SHORT_RUNS, C, Classifier, J, T, fit, pruning

pytestmark = SHORT_RUNS
FILES = ["joint_importance.html", "pruning_record.json", "selection.json"]


@pytest.fixture
def bucket() -> Iterator[type[Bucket]]:
    """An object store at `s3://` and `gs://`, and nothing at `memory://`."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    with bucket_at("s3", "gs") as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_local(
    bucket: type[Bucket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Nothing is written into the working directory, such as a folder `s3:`."""
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    assert list(folder.iterdir()) == []


@pytest.mark.compatibility("File systems", "`dirpath` at `{scheme}://`")
@pytest.mark.parametrize("scheme", ["memory", "s3", "gs"])
def test_a_run_writes_the_same_files_at_an_address_as_on_a_disk(
    scheme: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    local = pruning(dirpath=tmp_path / "run")
    fit(Classifier(), local)
    torch.manual_seed(0)
    there = pruning(dirpath=f"{scheme}://bucket/run")
    fit(Classifier(), there)
    folder = place(f"{scheme}://bucket/run")
    assert sorted(path.name for path in folder.glob("*")) == FILES
    assert there.report_path == folder / FILES[0]
    for name in FILES:
        assert (folder / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


@pytest.mark.compatibility("File systems", "`default_root_dir` at `{scheme}://`")
@pytest.mark.parametrize("scheme", ["memory", "s3", "gs"])
def test_a_run_writes_beside_lightnings_own_checkpoints(scheme: str) -> None:
    root = f"{scheme}://bucket/run"
    callback = pruning()
    fit(Classifier(), callback, default_root_dir=root, enable_checkpointing=True)
    assert {path.name for path in place(root).glob("*")} == set(FILES)
    (checkpoint,) = place(root).glob("**/*.ckpt")
    assert str(checkpoint).startswith(f"{root}/checkpoints/")


@pytest.mark.compatibility("File systems", "a logger's folder at `memory://`")
def test_a_run_writes_into_the_folder_of_its_logger() -> None:
    logger = CSVLogger("memory://bucket/logs")
    callback = pruning()
    fit(Classifier(), callback, logger=logger, enable_checkpointing=True)
    version = place("memory://bucket/logs/lightning_logs/version_0")
    assert {path.name for path in version.glob("*")} == {*FILES, "metrics.csv", "hparams.yaml"}
    assert callback.report_path == version / FILES[0]


@pytest.mark.compatibility("File systems", "`file://`, as `dirpath` and `default_root_dir`")
@pytest.mark.parametrize("ours", [True, False])
def test_an_address_of_this_machine_is_a_local_path(ours: bool, tmp_path: Path) -> None:
    address = f"file://{tmp_path}/a run"
    callback = pruning(dirpath=address if ours else None)
    fit(Classifier(), callback, **({} if ours else {"default_root_dir": address}))
    assert callback.report_path == tmp_path / "a run" / FILES[0]
    assert sorted(path.name for path in (tmp_path / "a run").iterdir()) == FILES


# --- what reads them -----------------------------------------------------------------------------


@pytest.mark.compatibility("File systems", "`load_pruned`, `compact` and `export_model` at `s3://`")
def test_models_are_read_and_written_at_an_address(tmp_path: Path) -> None:
    callback = pruning()
    saved = ModelCheckpoint("s3://bucket/run", "last")
    trained = Classifier()
    fit(trained, callback, saved, default_root_dir="s3://bucket/run", enable_checkpointing=True)
    x = torch.randn(3, T, J, C, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = trained.eval()(x)
        for path in ("s3://bucket/run/last.ckpt", place("s3://bucket/run/last.ckpt")):
            loaded = load_pruned(Classifier, path)
            assert torch.equal(loaded(x), expected)
    selection = JointSelection.from_json("s3://bucket/run")
    assert selection == callback.selection
    assert selection.indices == analyze_pruning(loaded).indices
    small = compact(loaded, selection, x)
    save_compact(small, "s3://bucket/run/small.safetensors")
    again = from_compact("s3://bucket/run/small.safetensors", Classifier)
    kept = x[:, :, list(selection.indices)]
    with torch.no_grad():
        assert torch.equal(again(kept), small(kept))
    written = export_model(again, "s3://bucket/run/small.pt2", kept, "torch", dynamic=("batch",))
    assert written.path == place("s3://bucket/run/small.pt2")
    assert isinstance(written.path, Address)
    program = tmp_path / "small.pt2"
    program.write_bytes(written.path.read_bytes())
    (found,) = torch.export.load(program).module()(kept)
    torch.testing.assert_close(found, again(kept).detach())


def test_what_was_measured_is_written_and_read_at_an_address() -> None:
    found = evaluated(record_of("coco_17", (0, 2)))
    found.to_json("s3://bucket/run/")
    assert [path.name for path in place("s3://bucket/run").glob("*")] == ["joint_evaluation.json"]
    assert JointEvaluation.from_json("s3://bucket/run").to_json() == found.to_json()


@pytest.mark.compatibility(
    "File systems", "`jointprune show`, `report` and `compare` at `{scheme}://`"
)
@pytest.mark.parametrize("scheme", ["memory", "s3"])
def test_commands_read_and_write_at_an_address(
    scheme: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed: dict[str, list[str]] = {}
    for root in (str(tmp_path), f"{scheme}://bucket"):
        for number, kept in enumerate([(0, 2), (1, 2)]):
            chances = tuple(0.99 if joint in kept else 0.01 for joint in range(3))
            selection = JointSelection(kept, 3, ("a", "b", "c"), chances)
            PruningRecord(selection).to_json(f"{root}/run_{number}/pruning_record.json")
        assert main(["show", f"{root}/run_0"]) == 0
        assert main(["report", f"{root}/run_0", "--plotly", "directory"]) == 0
        assert main(["compare", f"{root}/run_0", f"{root}/run_1", "-o", f"{root}/page.html"]) == 0
        assert main(["show", root]) == 2
        found = capsys.readouterr()
        printed[root] = [said.replace(root, "ROOT") for said in found]
        names = {path.name for path in place(f"{root}/run_0").glob("*")}
        assert names == {"pruning_record.json", "joint_importance.html", "plotly.min.js"}
        assert place(f"{root}/page.html").is_file()
    local, remote = printed.values()
    assert remote == local
    assert "Pass ROOT/run_1." in local[1]


def test_pages_say_where_they_are() -> None:
    record = PruningRecord(JointSelection((0,), 2, ("a", "b"), (0.9, 0.1)))
    assert write_report(record, "s3://bucket/a/") == place("s3://bucket/a/joint_importance.html")
    other = write_comparison({"a": record, "b": record}, "s3://bucket/page.html")
    assert other == place("s3://bucket/page.html")


@pytest.mark.compatibility("File systems", "`jointprune select` and `SelectJoints.read` at `s3://`")
@pytest.mark.parametrize("ending", ["npy", "npz", "parquet"])
def test_joints_are_picked_out_of_files_at_an_address(
    ending: str, bucket: type[Bucket], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    selection = JointSelection((0, 2), 3, ("a", "b", "c"), (0.9, 0.1, 0.9))
    selection.to_json("s3://bucket/run/selection.json")
    x = numpy.arange(24, dtype="f4").reshape(4, 3, 2)
    local, kept = tmp_path / f"clip.{ending}", x[:, [0, 2]]
    if ending == "parquet":
        write_parquet(local, x, ("a", "b", "c"))
    else:
        (numpy.save if ending == "npy" else numpy.savez)(local, x)
    source = f"s3://bucket/data/clip.{ending}"
    write_bytes(source, local.read_bytes())
    assert numpy.array_equal(SelectJoints(selection, "t j c").read(source), kept)
    words = ["select", source, "--joints", "s3://bucket/run", "-o", "s3://bucket/small"]
    assert main(words) == 0
    small = f"s3://bucket/small/clip.{ending}"
    assert numpy.array_equal(SelectJoints(selection, "t j c").read(small), kept)
    written = dict(bucket.objects)
    assert main(words) == 0  # what is finished is not made again
    assert bucket.objects == written
    assert main([*words[:-1], "s3://bucket/data"]) == 2
    said = capsys.readouterr()
    assert "is the file itself. Pass -o another" in said.err


def test_a_report_of_a_record_that_is_only_read_goes_elsewhere(
    bucket: type[Bucket], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PruningRecord(JointSelection((0,), 2, ("a", "b"), (0.9, 0.1))).to_json("s3://bucket/run/")
    bucket.fails_to_write = NotImplementedError()
    assert main(["report", "s3://bucket/run/"]) == 2
    said = capsys.readouterr().err
    assert "joint_importance.html cannot be used in this way, which MadeBucket has not." in said
    assert main(["report", "s3://bucket/run/", "-o", str(tmp_path / "page.html")]) == 0


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.compatibility("File systems", "`dirpath` whose package is missing", refused=True)
def test_a_missing_package_is_said_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    model = Classifier()
    with pytest.raises(MisconfigurationException, match=r"not installed: .*`pip install adlfs`"):
        fit(model, pruning(dirpath="az://container/run"))
    assert model.losses == []


def test_a_path_that_lost_a_slash_is_refused_before_training() -> None:
    model = Classifier()
    with pytest.raises(MisconfigurationException, match="Pass the text 's3://bucket/run'"):
        fit(model, pruning(dirpath=Path("s3://bucket/run")))
    assert model.losses == []


@pytest.mark.parametrize("error", [PermissionError("forbidden"), RuntimeError("no credentials")])
def test_what_cannot_be_written_costs_no_run(error: Exception, bucket: type[Bucket]) -> None:
    trained = Classifier()
    fit(trained, pruning(dirpath="memory://bucket/run"))
    torch.manual_seed(0)
    other = Classifier()
    bucket.fails = error
    callback = pruning(dirpath="s3://bucket/run")
    with (
        pytest.warns(UserWarning, match="s3://bucket/run cannot be read: .*training goes on"),
        pytest.warns(UserWarning, match="could not be written to s3://bucket/run: .*not affected"),
    ):
        fit(other, callback)
    assert callback.report_path is None
    assert torch.equal(other.head.weight, trained.head.weight)


def test_a_command_that_cannot_reach_an_address_says_so_in_a_line(
    bucket: type[Bucket], capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.fails = RuntimeError("no credentials")
    assert main(["show", "s3://bucket/run"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("jointprune: s3://bucket/run cannot be reached: RuntimeError('no cred")
    assert said.count("\n") == 1
