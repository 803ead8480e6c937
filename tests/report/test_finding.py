"""How a finding writes its values and its joints."""

from __future__ import annotations

import pytest

from lightning_jointprune.report.trust import NAMED, names_of, show
from tests.records import unnamed


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (0.12345, "0.123"), (-1.5, "-1.500"), (0.00012345, "0.000123")],
)
def test_a_value_has_three_decimals_or_as_many_digits(value: float, text: str) -> None:
    assert show(value) == text


def test_joints_are_named_with_their_probabilities_up_to_a_number() -> None:
    record = unnamed((0.6,) * 30)
    assert names_of(record, [2, 5]) == "joint_2 (0.60), joint_5 (0.60)"
    assert names_of(record, range(NAMED + 3)).endswith(f"joint_{NAMED - 1} (0.60) and 3 more")
