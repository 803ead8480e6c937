"""Hold what the scripts share: the store and its digest, rows, data and models."""

from __future__ import annotations
