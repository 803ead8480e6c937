"""What is installed, and what of it is known not to go together: for bug reports."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata

from packaging.requirements import Requirement

PACKAGE = "lightning-jointprune"
OTHERS = ("pytorch-lightning", "numpy", "jsonargparse", "kaleido", "transformers")


def requirements() -> list[Requirement]:
    """What the installed package asks for, that of its extras too; of a bare checkout nothing."""
    if not installed([PACKAGE]):
        return []
    return [Requirement(line) for line in metadata.requires(PACKAGE) or ()]


def installed(names: Iterable[str]) -> dict[str, str]:
    """The versions of those distributions that are installed, by name."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def surroundings() -> dict[str, str]:
    """Versions of this package, Python and what matters beside it, and what it runs on."""
    import torch

    needed = [one.name for one in requirements() if one.marker is None]
    devices = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {
        **installed([PACKAGE]),
        "python": f"{platform.python_version()} on {platform.platform()}",
        **installed(sorted({*needed, *OTHERS})),
        "accelerator": ", ".join(devices) or "none",
    }


def conflicts(versions: Mapping[str, str], required: Iterable[Requirement]) -> list[str]:
    """What is known not to go together, each with what to type.

    Args:
        versions: of what is installed, by name.
        required: what is asked for; of extras only what is installed counts.

    >>> conflicts({"torch": "2.3.1"}, [Requirement("torch>=2.4"), Requirement("einops>=0.8")])
    ["Expected torch>=2.4 but got 2.3.1. Run `pip install 'torch>=2.4'`.",
     "Expected einops>=0.8 but got none. Run `pip install 'einops>=0.8'`."]
    """
    found = []
    for one in required:
        wanted, version = f"{one.name}{one.specifier}", versions.get(one.name)
        missing = version is None and one.marker is None
        if missing or (version and not one.specifier.contains(version, prereleases=True)):
            got = version or "none"
            found.append(f"Expected {wanted} but got {got}. Run `pip install '{wanted}'`.")
    twins = [versions.get(name) for name in ("lightning", "pytorch-lightning")]
    if all(twins) and twins[0] != twins[1]:
        found.append(
            f"Expected lightning and pytorch-lightning of one version but got {twins[0]} and "
            f"{twins[1]}. Run `pip install pytorch-lightning=={twins[0]}`, or remove it."
        )
    return found
