"""Lists what is installed, and known conflicts among it, for bug reports."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata

from packaging.requirements import Requirement

from lightning_jointprune.record.versions import installed

PACKAGE = "lightning-jointprune"
OTHERS = ("pytorch-lightning", "tensorboard")  # packages of many runs that no extra asks for
WORKSHOP = {"benchmarks", "dev", "docs"}  # extras for work on this package
STRICT = ("mediapipe",)  # packages that accept few releases of others, so that these are checked


def requirements(package: str = PACKAGE) -> list[Requirement]:
    """Return the requirements of an installed package here, with those of its users' extras."""
    if not installed([package]):
        return []
    extras = {"", *(metadata.metadata(package).get_all("Provides-Extra") or ())} - WORKSHOP
    return [
        requirement
        for requirement in map(Requirement, metadata.requires(package) or ())
        if requirement.marker is None
        or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
    ]


def surroundings() -> dict[str, str]:
    """Return the versions of this package, of Python and of what it uses, and the accelerator."""
    import torch

    needed = [requirement.name for requirement in requirements()]
    devices = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {
        **installed([PACKAGE]),
        "python": f"{platform.python_version()} on {platform.platform()}",
        **installed(sorted({*needed, *OTHERS})),
        "accelerator": ", ".join(devices) or "none",
    }


def known_conflicts() -> list[str]:
    """Return the known conflicts of what is installed; see `conflicts`."""
    required = requirements()
    versions = installed({*OTHERS, *STRICT, *(requirement.name for requirement in required)})
    return conflicts(versions, required, {name: requirements(name) for name in STRICT})


def conflicts(
    versions: Mapping[str, str],
    required: Iterable[Requirement],
    others: Mapping[str, Iterable[Requirement]] | None = None,
) -> list[str]:
    """Return a sentence for each conflict, with what to type.

    Args:
        versions: versions of what is installed, by name.
        required: the requirements; those of extras count only for what is installed, and where
            several ask for one package, what one of them accepts is enough.
        others: requirements of other packages, by name; they count only for what is installed.

    >>> conflicts({"torch": "2.3.1"}, [Requirement("torch>=2.4"), Requirement("einops>=0.8")])
    ["Expected torch>=2.4 but got 2.3.1. Run `pip install 'torch>=2.4'`.",
     "Expected einops>=0.8 but got none. Run `pip install 'einops>=0.8'`."]
    """
    required = list(required)
    accepted = {
        requirement.name
        for requirement in required
        if requirement.marker is not None
        and not _unmet(requirement, "", versions.get(requirement.name))
    }
    found = [
        _unmet(requirement, "", versions.get(requirement.name))
        for requirement in required
        if requirement.marker is None or requirement.name in {*versions} - accepted
    ]
    for name, asked in (others or {}).items():
        for requirement in asked:
            if name in versions and requirement.name in versions:
                found.append(
                    _unmet(requirement, f" for {name} {versions[name]}", versions[requirement.name])
                )
    twins = [versions.get(name) for name in ("lightning", "pytorch-lightning")]
    if all(twins) and twins[0] != twins[1]:
        found.append(
            f"Expected lightning and pytorch-lightning of one version but got {twins[0]} and "
            f"{twins[1]}. Run `pip install pytorch-lightning=={twins[0]}`, or remove it."
        )
    return list(dict.fromkeys(filter(None, found)))


def _unmet(requirement: Requirement, whose: str, version: str | None) -> str | None:
    """Return a sentence on a requirement that a version, or its lack, does not meet, or None."""
    if version is not None and requirement.specifier.contains(version, prereleases=True):
        return None
    wanted = f"{requirement.name}{requirement.specifier}"
    return f"Expected {wanted}{whose} but got {version or 'none'}. Run `pip install '{wanted}'`."
