"""Sign clips for Lightning: synthetic, a folder in AUTSL's layout, or an `.npz` file.

A batch is a dict:

====================  ======================================  ================================
`skeleton_keypoints`  `(batch, frames, joints, coordinates)`  float32, standardised per joint
`frame_mask`          `(batch, frames)`                       bool, False where a clip is padded
`rgb_frames`          `(batch, frames, 3, height, width)`     uint8; only with modality `rgb`
`depth_frames`        `(batch, frames, 1, height, width)`     uint8; only with modality `depth`
`sign`                `(batch,)`                              int64
`clip`                `(batch,)`                              int64, the clip's number in its part
====================  ======================================  ================================
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.utils.data import DataLoader

from examples.autsl.data.batches import EpochOrder, collate, share_by_name
from examples.autsl.data.clips import (
    AS_IT_IS,
    MODALITIES,
    ArrayClips,
    Arrays,
    FolderClips,
    sample_frames,
)
from examples.autsl.data.files import Depth
from examples.autsl.data.labels import SPLITS, read_labels, signer_of
from examples.autsl.data.orders import check_anatomy, get_order, order_doubt, saved_order
from examples.autsl.data.pose_clips import header_order
from examples.autsl.data.preprocess import Preprocess, Standardizer
from examples.autsl.data.synthetic import (
    JOINT_NAMES,
    SyntheticSettings,
    make_synthetic,
    read_planted,
)
from examples.autsl.data.usable import usable_clips
from lightning_jointprune.skeletons import get_skeleton, resolve_joints, skeleton_names


class SignData(pl.LightningDataModule):
    """Sign clips for training, validation and test.

    Args:
        source: `synthetic` makes a small data set with a known answer; else a folder in AUTSL's
            layout, or an `.npz` file with the keys x, y and test.
        modalities: any of skeleton, rgb, depth, separated by commas; None takes all there are.
        skeleton: name of the joints' skeleton; None recognises it by the joints' names.
        num_signs: number of classes; None counts them in the labels.
        num_frames: frames per clip; longer clips are sampled evenly, shorter ones padded.
        image_size: width and height of the videos, in pixels.
        batch_size: clips per batch.
        num_workers: processes that read clips; 0 reads in the training process. None takes up to
            four, and none where all clips fit into memory.
        memory_mb: clips are kept in memory once read if all of them fit into this many MiB, and
            no other process reads them.
        val_fraction: share of the training part to hold out where the data has no validation part.
        seed: seed of that choice.
        allow_unlabelled: whether clips that are in no label file are left out in silence.
        strict: whether a clip that cannot be read is an error; else it is named and left out.
        look: how far to look into the files before training: `files` only lists them, `packets`
            finds those that were cut off, `frames` decodes every frame.
        cache: folder to keep sampled and resized frames in; None decodes them every time.
        skeletons: a folder's joints, where `examples.autsl.extract` has not written them into it:
            arrays, or `.pose` files, `signer0_sample1_skeleton.pose`.
        order: order the joints were saved in, a name out of `examples.autsl.data.orders`; None
            takes the one that `examples.autsl.extract` has written beside them, else as they are.
        zeros_missing: whether a joint at exactly 0 was not found, as some extractors write it.
        longest_gap: frames of the longest gap of a joint that is filled by a straight line.
        mark_gaps: whether each joint has a coordinate more, 1 where it is missing.
        reference: joints to centre and scale a clip by, names or indices, such as the shoulders;
            `FusionCLI` has the pruning keep them. None leaves the clips where they are.
        kept: joints that are read, names or indices: the others are missing in every clip, and the
            statistics are those of these joints alone. None reads all. See also `keep_only`.
        folder: where synthetic data is written, in a folder of its own.
        synthetic: what the synthetic data looks like; None takes its defaults.
    """

    def __init__(
        self,
        source: str = "synthetic",
        modalities: str | None = None,
        skeleton: str | None = None,
        num_signs: int | None = None,
        num_frames: int = 16,
        image_size: int = 32,
        batch_size: int = 32,
        num_workers: int | None = None,
        memory_mb: int = 1024,
        val_fraction: float = 0.15,
        seed: int = 0,
        allow_unlabelled: bool = False,
        strict: bool = False,
        look: Depth = "packets",
        cache: str | None = None,
        skeletons: str | None = None,
        order: str | None = None,
        zeros_missing: bool = False,
        longest_gap: int = 0,
        mark_gaps: bool = False,
        reference: list[int | str] | None = None,
        kept: list[int | str] | None = None,
        folder: str = "data",
        synthetic: SyntheticSettings | None = None,
    ) -> None:
        super().__init__()
        self.source = source
        self.wanted_modalities = modalities
        self.wanted_skeleton = skeleton
        self.wanted_signs = num_signs
        self.num_frames = num_frames
        self.image_size = image_size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.memory_mb = memory_mb
        self.val_fraction = val_fraction
        self.seed = seed
        self.allow_unlabelled = allow_unlabelled
        self.strict = strict
        self.look: Depth = look
        self.cache = cache
        self.skeletons = None if skeletons is None else Path(skeletons).expanduser()
        self.wanted_order = order
        self.zeros_missing = zeros_missing
        self.longest_gap = longest_gap
        self.mark_gaps = mark_gaps
        self.reference = reference or []
        self.kept = kept
        self.folder = folder
        self.synthetic = synthetic or SyntheticSettings()
        self.parts: dict[str, FolderClips | ArrayClips] = {}

    # What the model and the callback have to know. Everything is read once, when first asked for.

    @cached_property
    def root(self) -> Path:
        """The folder or file the clips come from; synthetic data is made here if need be."""
        if self.source == "synthetic":
            return make_synthetic(Path(self.folder), self.synthetic)
        path = Path(self.source).expanduser()
        if not path.exists() or (path.is_file() and path.suffix != ".npz"):
            raise ValueError(
                "Expected a folder in AUTSL's layout or an .npz file but got "
                f"{path if path.exists() else f'nothing at {path}'}. "
                "Pass --data PATH, or --data synthetic."
            )
        return path

    @property
    def title(self) -> str:
        """The data's name, for print."""
        return "synthetic AUTSL" if self.source == "synthetic" else self.root.stem

    @cached_property
    def modalities(self) -> tuple[str, ...]:
        """The modalities in use, in the order of `MODALITIES`."""
        there = ("skeleton",) if self.root.is_file() else MODALITIES
        if self.wanted_modalities is None:
            return there
        wanted = {name.strip() for name in self.wanted_modalities.split(",")}
        if "skeleton" not in wanted or not wanted <= set(there):
            raise ValueError(
                f"Expected modalities out of {', '.join(there)}, with skeleton among them, but got "
                f"{self.wanted_modalities!r} for {self.root}. Pass --modalities {','.join(there)}."
            )
        return tuple(name for name in there if name in wanted)

    @cached_property
    def arrays(self) -> Arrays | None:
        """The clips of an `.npz` file; None for a folder."""
        if not self.root.is_file():
            return None
        return Arrays.read(self.root, self.val_fraction, self.seed)

    @cached_property
    def labels(self) -> dict[str, dict[str, int]]:
        """A folder's checked labels: split to clip name to class; empty for an `.npz` file."""
        if self.arrays is not None:
            return {}
        return {
            split: usable_clips(
                self.root / split,
                read_labels(self.root, split),
                self.modalities,
                self.look,
                self.strict,
                self.allow_unlabelled,
                self.num_workers or 1,
                self.skeletons and self.skeletons / split,
            )
            for split in SPLITS
        }

    @cached_property
    def num_signs(self) -> int:
        """Number of classes."""
        parts = self.arrays.parts if self.arrays is not None else {}
        seen = [int(signs.max()) for _, signs in parts.values()]
        seen += [max(labels.values()) for labels in self.labels.values()]
        if self.wanted_signs is None:
            return max(seen) + 1
        if max(seen) >= self.wanted_signs:
            raise ValueError(
                f"Expected classes 0 to {self.wanted_signs - 1} but got class {max(seen)} in "
                f"{self.root}. Pass --datamodule.num_signs {max(seen) + 1} or leave it out."
            )
        return self.wanted_signs

    @cached_property
    def joint_shape(self) -> tuple[int, int]:
        """Joints and coordinates on disk, in the named skeleton's order, of the first clip."""
        clips = self._clips("train", prepare=Preprocess(self.order))
        joints, coordinates = clips.skeleton(0).shape[1:]
        return joints, coordinates

    @property
    def num_joints(self) -> int:
        """Number of joints."""
        return self.joint_shape[0]

    @property
    def num_coordinates(self) -> int:
        """Coordinates per joint: 2 or 3, and one more with `mark_gaps`."""
        return self.joint_shape[1] + self.mark_gaps

    @property
    def planted(self) -> tuple[str, ...]:
        """The joints that carry the sign, where the data was made so; else empty."""
        return read_planted(self.root) if self.root.is_dir() else ()

    @property
    def joint_names(self) -> tuple[str, ...] | None:
        """The joints' names in tensor order, where the data says them."""
        if self.arrays is not None:
            return self.arrays.joint_names
        return JOINT_NAMES if self.planted else None

    @cached_property
    def order(self) -> str | None:
        """The order of the joints on disk: the one given, else the one that the data says.

        The header of a `.pose` file names its joints, and no other order is taken.
        """
        if not self.root.is_dir():
            return self.wanted_order
        there = self.skeletons or self.root
        said, header = self.wanted_order or saved_order(there), header_order(there)
        if header is not None and said not in (None, header):
            raise ValueError(
                f"Expected joints in the order {said} but the .pose files in {there} name them in "
                f"the order {header}. Leave --datamodule.order out, or pass {header}."
            )
        return header or said

    @cached_property
    def skeleton(self) -> str | None:
        """The skeleton's name: the one given, else the one whose joints have the data's names."""
        if self.wanted_skeleton is not None:
            return self.wanted_skeleton
        if self.order is not None:
            return get_order(self.order).skeleton
        for name in skeleton_names():
            if self.joint_names == get_skeleton(name).joints:
                return name
        return None

    @cached_property
    def preprocess(self) -> Preprocess:
        """Return what is done to a clip's joints before they are standardised."""
        names = self.joint_names
        if self.skeleton is not None:
            names = get_skeleton(self.skeleton).joints
        names = names or [f"joint_{index}" for index in range(self.num_joints)]
        return Preprocess(
            self.order,
            self.zeros_missing,
            self.longest_gap,
            resolve_joints(self.reference, names),
            self.mark_gaps,
            None if self.kept is None else resolve_joints(self.kept, names),
        )

    def keep_only(self, joints: Sequence[int | str]) -> None:
        """Read no joints but these from now on, such as those of a run that has frozen them.

        The statistics are fitted again when a trainer next asks for data. They were those of each
        joint by itself, so the kept joints stay as they are, bit for bit.
        """
        self.kept = list(joints)
        self.__dict__.pop("preprocess", None)
        self.parts = {}

    def clip_names(self, split: str) -> list[str]:
        """Return the clips of a part, in its order."""
        return self.parts[split].names

    def signers(self, split: str) -> list[str] | None:
        """Return who signs each clip of a part, by the clips' names; None for arrays."""
        if isinstance(self.parts[split], ArrayClips):
            return None
        return [signer_of(name) for name in self.clip_names(split)]

    # Lightning's hooks.

    def prepare_data(self) -> None:
        """Make the synthetic data, once per machine."""
        _ = self.root

    def setup(self, stage: str) -> None:
        """Fit the standardisation on the training clips and open the splits, once."""
        if self.parts:
            return
        train = self._clips("train", joint_shape=self.joint_shape)
        if self.order is not None:
            check_anatomy(self._some_as_saved(), self.order)
        elif not self.arrays and (doubt := order_doubt(self._some_as_saved(), self.skeleton)):
            rank_zero_warn(doubt)
        # A few thousand clips settle a mean; reading all 28,142 of AUTSL's would take minutes.
        some = np.random.default_rng(self.seed).permutation(len(train))[:3000]
        standardize = Standardizer.fit(train.skeleton(index) for index in some)
        self.parts = {split: self._clips(split, self.joint_shape, standardize) for split in SPLITS}
        sizes = ", ".join(f"{len(clips)} {split}" for split, clips in self.parts.items())
        rank_zero_info(
            f"{self.title}: {self.num_signs} signs, {self.num_joints} joints "
            f"({self.skeleton or 'no named skeleton'}), {' + '.join(self.modalities)}; {sizes}"
        )

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return shuffled batches of the training clips."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return batches of the validation clips."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Return batches of the test clips."""
        return self._loader("test")

    def _clips(
        self,
        split: str,
        joint_shape: tuple[int, int] | None = None,
        standardize: Standardizer | None = None,
        prepare: Preprocess | None = None,
    ) -> FolderClips | ArrayClips:
        prepare = prepare or self.preprocess
        if self.arrays is not None:
            clips, signs = self.arrays.parts[split]
            return ArrayClips(clips, signs, self.num_frames, standardize, prepare)
        return FolderClips(
            self.root / split,
            self.labels[split],
            self.modalities,
            self.num_frames,
            self.image_size,
            joint_shape,
            standardize,
            keep=standardize is not None and self.workers == 0 and self._fits_in_memory(),
            cache=None if self.cache is None else Path(self.cache),
            strict=self.strict,
            prepare=prepare,
            skeletons=self.skeletons and self.skeletons / split,
        )

    def _some_as_saved(self) -> list[np.ndarray]:
        """Return up to 50 training clips as they are on disk, evenly spread."""
        clips = self._clips("train", prepare=AS_IT_IS)
        return [clips.skeleton(index) for index in sample_frames(len(clips), min(50, len(clips)))]

    @cached_property
    def workers(self) -> int:
        """Processes that read clips."""
        if self.num_workers is not None:
            return self.num_workers
        return 0 if self._fits_in_memory() else min(4, os.cpu_count() or 1)

    def _fits_in_memory(self) -> bool:
        channels = 3 * ("rgb" in self.modalities) + ("depth" in self.modalities)
        bytes_per_frame = self.image_size**2 * channels + 4 * math.prod(self.joint_shape)
        bytes_per_clip = self.num_frames * bytes_per_frame
        clips = sum(len(labels) for labels in self.labels.values())
        return clips * bytes_per_clip <= self.memory_mb * 2**20

    def _loader(self, split: str, shuffle: bool = False) -> DataLoader[dict[str, Any]]:
        clips = self.parts[split]
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        together = self.trainer is not None and self.trainer.world_size > 1
        return DataLoader(
            clips,
            batch_size=self.batch_size,
            sampler=EpochOrder(clips, epoch) if shuffle else None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            prefetch_factor=4 if self.workers else None,
            collate_fn=partial(collate, skip=not (shuffle and together)),
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=share_by_name,
        )
