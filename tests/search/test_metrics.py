"""A metric's name tells which values are better."""

from __future__ import annotations

import pytest

from lightning_jointprune.search.metrics import contradicts, higher_is_better


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
    assert not contradicts(metric, higher)


@pytest.mark.parametrize(
    ("metric", "higher", "surely"),
    [
        ("val_acc", False, True),
        ("val/F1", False, True),
        ("val_loss", True, True),
        ("val_wrong", False, False),
        ("val_wrong", True, False),
        ("acc_error", False, False),
        ("acc_error", True, True),
        ("vaccine", False, False),
    ],
)
def test_a_mode_is_contradicted_by_a_name_that_surely_says_the_other(
    metric: str, higher: bool, surely: bool
) -> None:
    assert contradicts(metric, higher) == surely
