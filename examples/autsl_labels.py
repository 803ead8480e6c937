"""AUTSL's label files and clip names: `signer0_sample1,41`, no header, one file per split."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")
NUM_SIGNS = 226
CLIP_NAME = re.compile(r"signer(\d+)_sample\d+")
SIGN_LIST = "SignList_ClassId_TR_EN.csv"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the data.

    Args:
        kind: what it is, in one word of `examples.autsl_check.KINDS`.
        where: the file, and the line in it.
        text: what was found, what was expected, and what to do.
    """

    kind: str
    where: str
    text: str


def signer_of(clip: str) -> str:
    """Who signs a clip.

    >>> signer_of("signer12_sample3")
    'signer12'
    """
    return clip.split("_", 1)[0]


def find_labels(root: Path, split: str) -> Path | None:
    """The label file of a split, beside its folder or in it; None where there is none.

    The challenge's own archives call the file `ground_truth.csv` for val and test.
    """
    names = (root / f"{split}_labels.csv", root / split / f"{split}_labels.csv")
    return next((p for p in (*names, root / split / "ground_truth.csv") if p.is_file()), None)


def scan_labels(path: Path, num_signs: int | None) -> tuple[dict[str, int], list[Problem]]:
    """Read a label file as far as it can be read, and say what is wrong with the rest.

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
    text = raw.decode("utf-8-sig", "replace")
    for number, row in enumerate(csv.reader(io.StringIO(text, newline="")), start=1):
        if not row:
            continue
        kind, why = _row_problem(row, number, labels, num_signs)
        if kind:
            problems.append(Problem(kind, f"{path}, line {number}", why))
        else:
            labels[row[0]] = int(row[1])
    return labels, problems


def _row_problem(
    row: list[str], number: int, labels: dict[str, int], num_signs: int | None
) -> tuple[str, str]:
    """Kind and text of what is wrong with one row; both empty where nothing is."""
    shown = ",".join(row)
    expected = f"Expected a row like signer0_sample1,41 but got {shown!r}"
    if "/" in shown or "\\" in shown or ".." in shown:
        return "path", f"{expected}: a name may not lead out of its folder. Correct the row."
    well_formed = len(row) == 2 and CLIP_NAME.fullmatch(row[0])
    if number == 1 and not well_formed and not any(cell.strip().isdecimal() for cell in row):
        return "header", f"{expected}. Correct the row; the file has no header."
    if not well_formed or not re.fullmatch(r"[0-9]+", row[1].strip()):
        return "row", f"{expected}. Correct the row; the file has no header."
    if num_signs is not None and int(row[1]) >= num_signs:
        return "class", f"Expected a class from 0 to {num_signs - 1} but got {shown!r}. Correct it."
    if row[0] in labels:
        other = "" if labels[row[0]] == int(row[1]) else f", once with class {labels[row[0]]}"
        return "duplicate", f"Expected each clip once but got {shown!r} again{other}. Delete one."
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
    """English names of the classes from AUTSL's sign list; None where the file is not there.

    Raises:
        ValueError: a row is not a class number and two names.
    """
    path = root / SIGN_LIST
    if not path.is_file():
        return None
    names: dict[int, str] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if not row or (number == 1 and row[0] == "ClassId"):
                continue
            if len(row) != 3 or not row[0].strip().isdecimal():
                raise ValueError(
                    f"Expected a row like 0,abla,sister but got {','.join(row)!r} in {path}, "
                    f"line {number}. Take the file from AUTSL's archive again."
                )
            names[int(row[0])] = row[2].strip()
    return names
