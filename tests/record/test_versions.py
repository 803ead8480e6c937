"""Versions are those of what is installed."""

from __future__ import annotations

import torch

from lightning_jointprune.record.versions import installed


def test_what_is_installed_has_its_version_and_what_is_not_is_left_out() -> None:
    assert installed(["torch", "no-such-distribution"]) == {"torch": torch.__version__}
