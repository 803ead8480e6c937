"""Label files are read as far as they can be, and what is wrong in them is said, never raised."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.autsl.data.labels import (
    SIGN_LIST,
    find_labels,
    read_labels,
    read_sign_names,
    scan_labels,
)
from examples.autsl.data.module import SignData
from examples.autsl.data.synthetic import SyntheticSettings, make_synthetic
from tests.runs import SHORT_RUNS

pytestmark = SHORT_RUNS
ANY_FILE = st.one_of(
    st.binary(max_size=200),
    st.text("signer_sample019,;\t\"'\r\n \ufeff\0ğ", max_size=200).map(str.encode),
)
ROWS = [f"signer{n % 31}_sample{n},{n % 226}" for n in range(10_000)]


@given(content=ANY_FILE)
def test_any_bytes_are_scanned_and_refused_in_words(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for file in ("train_labels.csv", SIGN_LIST):
            (root / file).write_bytes(content)
        labels, problems = scan_labels(root / "train_labels.csv", 226)
        assert all(problem.text and problem.where for problem in problems)
        assert all(0 <= sign < 226 for sign in labels.values())
        for read in (lambda: read_labels(root, "train"), lambda: read_sign_names(root)):
            try:
                assert read()
            except ValueError as error:
                assert str(error).startswith("Expected ")  # noqa: PT017 -- it may be read, too


@given(line=st.integers(0, len(ROWS) - 1), at=st.integers(0, 20))
def test_quote_that_is_not_closed_costs_its_row_alone(line: int, at: int) -> None:
    rows = [*ROWS]
    start = min(at, rows[line].index(","))
    rows[line] = rows[line][:start] + ('"' if start == 0 else ',"') + rows[line][start:]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "train_labels.csv"
        path.write_text("\n".join(rows))
        labels, (problem,) = scan_labels(path, 226)
    assert [f"{clip},{sign}" for clip, sign in labels.items()] == ROWS[:line] + ROWS[line + 1 :]
    assert (problem.kind, problem.where) == ("row", f"{path}, line {line + 1}")
    assert len(problem.text) < 200


def test_row_in_quotes_and_blank_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "train_labels.csv"
    path.write_text('"signer0_sample1","41"\n\nsigner0_sample2, 7\n')
    assert scan_labels(path, 226) == ({"signer0_sample1": 41, "signer0_sample2": 7}, [])


@pytest.mark.parametrize(
    "name",
    [
        "val_labels.csv",
        "val/val_labels.csv",
        "validation_labels.csv",
        "val/validation_labels.csv",
        "val/ground_truth.csv",
    ],
)
def test_labels_of_val_are_found_under_each_of_their_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "val").mkdir()
    assert find_labels(tmp_path, "val") is None
    (tmp_path / name).write_text("signer0_sample1,41\n")
    assert read_labels(tmp_path, "val") == {"signer0_sample1": 41}
    assert find_labels(tmp_path, "train") is None
    assert find_labels(tmp_path, "test") is None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SyntheticSettings(signs=2, clips=(4, 2, 2), signers=(2, 1, 1), size=32)
    return make_synthetic(tmp_path_factory.mktemp("made"), settings)


def test_training_names_the_separator_and_the_quote(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made, tmp_path / "copy")
    path = folder / "train_labels.csv"
    good = path.read_text()
    path.write_text(good.replace(",", ";"))
    with pytest.raises(ValueError, match=r"Separate the columns by commas.* in .*train_labels"):
        SignData(str(folder), "skeleton").setup("fit")
    path.write_text('"' + good)
    with pytest.raises(ValueError, match=r"a quote opens in it that does not close.* line 1\."):
        SignData(str(folder), "skeleton").setup("fit")


@pytest.mark.parametrize("content", ["0;abla;sister", '0,abla,"sister', "0,ağaç,tree"])
def test_training_goes_on_without_a_list_of_signs_that_can_be_read(
    made: Path, tmp_path: Path, content: str
) -> None:
    folder = shutil.copytree(made, tmp_path / "copy")
    (folder / SIGN_LIST).write_bytes(content.encode("cp1254"))
    data = SignData(str(folder), "skeleton", num_frames=8, batch_size=2)
    data.setup("fit")
    assert len(next(iter(data.train_dataloader()))["sign"]) == 2
