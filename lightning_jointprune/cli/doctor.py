"""What is installed, and what of it is known not to go together: for bug reports."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata

from packaging.requirements import Requirement

from lightning_jointprune.record.versions import installed

PACKAGE = "lightning-jointprune"
OTHERS = ("pytorch-lightning", "tensorboard")  # asked for by no extra, and yet in many runs
WORKSHOP = {"benchmarks", "dev", "docs"}  # extras of who works on the package
STRICT = ("mediapipe",)  # about others' releases, so that what they ask for counts too


def requirements(package: str = PACKAGE) -> list[Requirement]:
    """What an installed package asks for here, that of its users' extras too; else nothing."""
    if not installed([package]):
        return []
    extras = {"", *(metadata.metadata(package).get_all("Provides-Extra") or ())} - WORKSHOP
    return [
        one
        for one in map(Requirement, metadata.requires(package) or ())
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras)
    ]


def surroundings() -> dict[str, str]:
    """Versions of this package, Python and what matters beside it, and what it runs on."""
    import torch

    needed = [one.name for one in requirements()]
    devices = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {
        **installed([PACKAGE]),
        "python": f"{platform.python_version()} on {platform.platform()}",
        **installed(sorted({*needed, *OTHERS})),
        "accelerator": ", ".join(devices) or "none",
    }


def known_conflicts() -> list[str]:
    """What is known not to go together of what is installed, see `conflicts`."""
    required = requirements()
    versions = installed({*OTHERS, *STRICT, *(one.name for one in required)})
    return conflicts(versions, required, {name: requirements(name) for name in STRICT})


def conflicts(
    versions: Mapping[str, str],
    required: Iterable[Requirement],
    others: Mapping[str, Iterable[Requirement]] | None = None,
) -> list[str]:
    """What is known not to go together, each once, with what to type.

    Args:
        versions: of what is installed, by name.
        required: what is asked for; of extras only what is installed counts.
        others: what installed packages ask for, by name; only what is in `versions` counts.

    >>> conflicts({"torch": "2.3.1"}, [Requirement("torch>=2.4"), Requirement("einops>=0.8")])
    ["Expected torch>=2.4 but got 2.3.1. Run `pip install 'torch>=2.4'`.",
     "Expected einops>=0.8 but got none. Run `pip install 'einops>=0.8'`."]
    """
    found = [
        _unmet(one, "", versions.get(one.name))
        for one in required
        if one.name in versions or one.marker is None
    ]
    for name, asked in (others or {}).items():
        for one in asked:
            if name in versions and one.name in versions:
                found.append(_unmet(one, f" for {name} {versions[name]}", versions[one.name]))
    twins = [versions.get(name) for name in ("lightning", "pytorch-lightning")]
    if all(twins) and twins[0] != twins[1]:
        found.append(
            f"Expected lightning and pytorch-lightning of one version but got {twins[0]} and "
            f"{twins[1]}. Run `pip install pytorch-lightning=={twins[0]}`, or remove it."
        )
    return list(dict.fromkeys(filter(None, found)))


def _unmet(one: Requirement, whose: str, version: str | None) -> str | None:
    """What to say of a requirement that a version, or its lack, does not meet."""
    if version is not None and one.specifier.contains(version, prereleases=True):
        return None
    wanted = f"{one.name}{one.specifier}"
    return f"Expected {wanted}{whose} but got {version or 'none'}. Run `pip install '{wanted}'`."
