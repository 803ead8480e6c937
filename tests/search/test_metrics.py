"""A metric's name tells which values are better."""

from __future__ import annotations

import pytest

from lightning_jointprune.search.metrics import higher_is_better


@pytest.mark.parametrize(
    ("metric", "higher"),
    [
        ("val_acc", True),
        ("val/f1", True),
        ("AUROC", True),
        ("answer_accuracy", True),
        ("certainty", True),
        ("val_loss", False),
        ("valLoss", False),
        ("losses/total", False),
        ("rmse", False),
        ("MPJPE_mm", False),
        ("val.wer", False),
        ("error_rate", False),
        ("test-perplexity", False),
        ("nll_epoch", False),
    ],
)
def test_a_metrics_name_tells_which_values_are_better(metric: str, higher: bool) -> None:
    assert higher_is_better(metric) == higher
