"""Versions are those of what is installed."""

from __future__ import annotations

import sys

import pytest
import torch

from lightning_jointprune.record.versions import check_installed, installed


def test_what_is_installed_has_its_version_and_what_is_not_is_left_out() -> None:
    assert installed(["torch", "no-such-distribution"]) == {"torch": torch.__version__}


def test_the_first_module_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_installed("data", "reads files", "json", "json.decoder")
    monkeypatch.setitem(sys.modules, "torch", None)
    said = r"^Expected torch, which reads files, but it .*\. Run pip install '.*prune\[data\]'\.$"
    with pytest.raises(ModuleNotFoundError, match=said):
        check_installed("data", "reads files", "json", "torch", "torch.nn")
