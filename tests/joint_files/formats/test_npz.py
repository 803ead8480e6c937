"""Test that of an npz file as little is read as its compression allows."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from lightning_jointprune.joint_files.formats.npz import keys_of, member
from tests.joint_files.written import Counted, noise


def test_of_a_stored_member_as_little_is_read_and_a_compressed_one_is_read_whole(
    tmp_path: Path,
) -> None:
    x, kept = noise(40, 3000, 2), [0, 5, 6, 39]
    for save, limit in ((np.savez, 0.11), (np.savez_compressed, 1.1)):
        save(tmp_path / "x.npz", labels=np.arange(9), x=x)
        with Counted(tmp_path / "x.npz") as file, zipfile.ZipFile(file) as archive:
            assert keys_of(archive) == ["labels", "x"]
            got = member(archive, file, "x").pick(0, kept)
        assert np.array_equal(got, x[kept])
        assert file.bytes <= limit * (tmp_path / "x.npz").stat().st_size
