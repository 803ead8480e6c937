"""Exports a model as ONNX or `.pt2`, and compares them before anything is written."""

from __future__ import annotations

from lightning_jointprune.compaction.export.export import FORMATS, Export, export_model

__all__ = ["FORMATS", "Export", "export_model"]
