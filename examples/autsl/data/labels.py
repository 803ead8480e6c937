"""AUTSL's label files and clip names: `signer0_sample1,41`, no header, one file per split."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")
NUM_SIGNS = 226
SUFFIXES = {"skeleton": "_skeleton.npy", "rgb": "_color.mp4", "depth": "_depth.mp4"}
CLIP_NAME = re.compile(r"signer(\d+)_sample\d+")
SIGN_LIST = "SignList_ClassId_TR_EN.csv"
LABEL_FILES = {"val": ("val_labels.csv", "validation_labels.csv")}  # where there are other names
CLASS = re.compile(r"[0-9]{1,9}")  # a number that is short enough to be one
OTHER_SEPARATOR = re.compile(r"[^,]*[;\t][^,]*")
LONGEST = 60  # characters of a row that are shown
USE_COMMAS = "Separate the columns by commas, in every row."
TAKE_AGAIN = "Take the file from AUTSL's archive again."


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the data.

    Args:
        kind: what it is, in one word of `examples.autsl.check.KINDS`.
        where: the file, and the line in it.
        text: what was found, what was expected, and what to do.
    """

    kind: str
    where: str
    text: str


def clip_of(file: str) -> str:
    """Return the clip that a file belongs to.

    >>> clip_of("signer12_sample3_color.mp4")
    'signer12_sample3'
    """
    return file.rsplit("_", 1)[0]


def signer_of(clip: str) -> str:
    """Return who signs a clip.

    >>> signer_of("signer12_sample3")
    'signer12'
    """
    return clip.split("_", 1)[0]


def find_labels(root: Path, split: str) -> Path | None:
    """Return the label file of a split, beside its folder or in it; None where there is none.

    The challenge's own archives call the file `ground_truth.csv` for val and test; that of val is
    also found as `validation_labels.csv`.
    """
    names = LABEL_FILES.get(split, (f"{split}_labels.csv",))
    paths = [folder / name for name in names for folder in (root, root / split)]
    return next((p for p in (*paths, root / split / "ground_truth.csv") if p.is_file()), None)


def scan_labels(path: Path, num_signs: int | None) -> tuple[dict[str, int], list[Problem]]:
    """Read a label file as far as it can be read, and say what is wrong with the rest.

    Each line is read by itself, so that a quote that is not closed costs one row and no more. Of a
    file with another separator no row is read, and one problem says so.

    Args:
        path: the file.
        num_signs: number of classes; None takes any.

    Returns:
        Clip name to class of the good rows, in their order, and the problems of the others.
    """
    raw = path.read_bytes()
    problems: list[Problem] = []
    if raw.startswith(b"\xef\xbb\xbf"):
        problems.append(Problem("bom", str(path), "a byte-order mark at the start; it is ignored."))
    if b"\r\n" in raw:
        problems.append(Problem("crlf", str(path), "Windows line ends; they are ignored."))
    labels: dict[str, int] = {}
    lines = _lines(raw.decode("utf-8-sig", "replace"))
    others = [line for line in lines if OTHER_SEPARATOR.fullmatch(line)]
    if 2 * len(others) > len([line for line in lines if line]):
        text = f"Expected rows like signer0_sample1,41 but got {_short(others[-1])}. {USE_COMMAS}"
        return {}, [*problems, Problem("separator", str(path), text)]
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        row = _cells(line)
        kind, why = _row_problem(line, row, number, labels, num_signs)
        if kind:
            problems.append(Problem(kind, f"{path}, line {number}", why))
        else:
            labels[row[0]] = int(row[1])
    return labels, problems


def _lines(text: str) -> list[str]:
    return io.StringIO(text, newline=None).read().split("\n")


def _cells(line: str) -> list[str]:
    """Return a line's cells; empty where its quotes are not in pairs, or it is far too long."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return []


def _short(line: str) -> str:
    return repr(line if len(line) <= LONGEST else f"{line[:LONGEST]}...")


def _row_problem(
    line: str, row: list[str], number: int, labels: dict[str, int], num_signs: int | None
) -> tuple[str, str]:
    """Return kind and text of what is wrong with one row; both empty where nothing is."""
    shown = _short(line)
    expected = f"Expected a row like signer0_sample1,41 but got {shown}"
    if not row and '"' in line:
        return "row", f"{expected}. Correct the row: a quote opens in it that does not close."
    if "/" in line or "\\" in line or ".." in line:
        return "path", f"{expected}: a name may not lead out of its folder. Correct the row."
    well_formed = len(row) == 2 and CLIP_NAME.fullmatch(row[0])
    if (
        number == 1
        and len(row) > 1
        and not well_formed
        and not any(cell.strip().isdecimal() for cell in row)
    ):
        return "header", f"{expected}. Delete the row: the file has no header."
    if not well_formed or not CLASS.fullmatch(row[1].strip()):
        return "row", f"{expected}. Correct the row; the file has no header."
    if num_signs is not None and int(row[1]) >= num_signs:
        return "class", f"Expected a class from 0 to {num_signs - 1} but got {shown}. Correct it."
    if row[0] in labels:
        other = "" if labels[row[0]] == int(row[1]) else f", once with class {labels[row[0]]}"
        return "duplicate", f"Expected each clip once but got {shown} again{other}. Delete one."
    return "", ""


def read_labels(root: Path, split: str) -> dict[str, int]:
    """Read the labels of a split, clip name to class, in the file's order.

    Raises:
        ValueError: if there is no such file, or a row that is not a clip name and a class number,
            or a clip that is there twice.
    """
    path = find_labels(root, split)
    if path is None:
        raise ValueError(
            f"Expected {split}_labels.csv in {root} but got no such file. "
            f"Put AUTSL's labels of the {split} part there (rows like signer0_sample1,41)."
        )
    labels, problems = scan_labels(path, None)
    for problem in problems:
        if problem.kind not in ("bom", "crlf"):
            raise ValueError(f"{problem.text} It is in {problem.where}.")
    if not labels:
        raise ValueError(f"Expected labels but got an empty file: {path}. Fill it.")
    return labels


def read_sign_names(root: Path) -> dict[int, str] | None:
    """Return the classes' English names from AUTSL's sign list; None where there is no such file.

    Raises:
        ValueError: the file is not UTF-8, has no row, or has one that is not a class number and two
            names.
    """
    path = root / SIGN_LIST
    if not path.is_file():
        return None
    try:
        lines = _lines(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected UTF-8 but got the byte {error.object[error.start]:#x} in {path}. Save it as "
            f"UTF-8; a file of Turkish Windows: `iconv -f cp1254 -t utf-8 {SIGN_LIST}`."
        ) from error
    names: dict[int, str] = {}
    for number, line in enumerate(lines, start=1):
        row = _cells(line)
        if not line or (number == 1 and row[:1] == ["ClassId"]):
            continue
        if len(row) != 3 or not CLASS.fullmatch(row[0].strip()):
            raise ValueError(
                f"Expected a row like 0,abla,sister but got {_short(line)} in {path}, line "
                f"{number}. {_sign_fix(line, row, number)}"
            )
        names[int(row[0])] = row[2].strip()
    if not names:
        raise ValueError(f"Expected signs but got no row in {path}. {TAKE_AGAIN}")
    return names


def _sign_fix(line: str, row: list[str], number: int) -> str:
    """Return what to do about a row of the sign list that cannot be read."""
    if not row and '"' in line:
        return "Close the quote in it."
    if OTHER_SEPARATOR.fullmatch(line):
        return USE_COMMAS
    if len(row) > 3:
        return "Put a name that has a comma in it between quotes."
    return "Call the columns ClassId,TR,EN." if number == 1 else TAKE_AGAIN
