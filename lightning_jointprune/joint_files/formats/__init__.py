"""Lists the kinds of files with joints: a module each, which can be tried on any file."""

from __future__ import annotations

from lightning_jointprune.joint_files.format import Format, Opened
from lightning_jointprune.joint_files.formats.detector_json import DetectorJson
from lightning_jointprune.joint_files.formats.long_parquet import LongParquetFile
from lightning_jointprune.joint_files.formats.npy import NpyFile
from lightning_jointprune.joint_files.formats.npz import NpzFile
from lightning_jointprune.joint_files.formats.ntu import NtuFile
from lightning_jointprune.joint_files.formats.parquet import ParquetFile
from lightning_jointprune.joint_files.formats.pose import PoseFile

FORMATS: tuple[Format, ...] = (  # the first that a file fits
    NpyFile(),
    NpzFile(),
    LongParquetFile(),
    ParquetFile(),
    PoseFile(),
    DetectorJson(),
    NtuFile(),
)
SUFFIXES = tuple(dict.fromkeys(format_.suffix for format_ in FORMATS))


def new_name(name: str) -> str:
    """Return the name of a file with the kept joints of one of this name."""
    found = next((format_ for format_ in FORMATS if name.endswith(format_.suffix)), None)
    return name if found is None else found.new_name(name)


def format_of(opened: Opened) -> Format:
    """Return the kind of a file, by its first bytes or by its name.

    Raises:
        ValueError: if it is none that is known.
    """
    found = next((format_ for format_ in FORMATS if format_.fits(opened)), None)
    if found is None:
        raise ValueError(
            f"Expected a file of {', '.join(SUFFIXES)} but got {opened.name}, which begins with "
            f"{opened.head!r}. Save the skeletons by np.save, np.savez, pyarrow.parquet."
            "write_table or pose-format, under a name that ends so."
        )
    return found
