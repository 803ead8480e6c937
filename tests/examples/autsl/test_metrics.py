"""A test's figures of a model agree with counts by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.autsl.metrics import TestDetail, scores, write_results

SIGNS = 4


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, SIGNS - 1), st.integers(0, SIGNS - 1)), min_size=1),
    st.integers(1, 5),
)
def test_detail_is_that_of_counting_by_hand(pairs: list[tuple[int, int]], batch: int) -> None:
    signs, answers = torch.tensor(pairs).T
    detail = TestDetail(SIGNS)
    places = torch.arange(len(pairs)).flip(0)
    for rows in places.split(batch):
        detail.update(torch.eye(SIGNS)[answers[rows]], signs[rows], rows)
    detail.update(torch.eye(SIGNS)[answers[places[:1]]], signs[places[:1]], places[:1])  # twice
    names = [f"signer{place % 3}_sample{place}" for place in range(len(pairs))]
    found = detail.results(names, [name.split("_")[0] for name in names])
    assert (found["clips"], found["signs"], found["answers"]) == (
        names,
        signs.tolist(),
        answers.tolist(),
    )
    counts = np.zeros((SIGNS, SIGNS), int)
    np.add.at(counts, tuple(np.array(pairs).T), 1)
    assert {(sign, answer): count for sign, answer, count in found["confusion"]} == {
        tuple(map(int, at)): int(counts[tuple(at)]) for at in np.argwhere(counts)
    }
    right = np.array(pairs)[:, 0] == np.array(pairs)[:, 1]
    for sign, share in found["per_class"].items():
        assert share == pytest.approx(right[signs.numpy() == int(sign)].mean())
    assert set(found["per_class"]) == {str(sign) for sign in signs.tolist()}
    for signer, share in found["per_signer"].items():
        assert share == pytest.approx(right[int(signer.removeprefix("signer")) :: 3].mean())


def test_detail_forgets_what_was_before_and_knows_no_signer_of_arrays() -> None:
    detail = TestDetail(SIGNS)
    detail.update(torch.eye(SIGNS), torch.zeros(4, dtype=torch.long), torch.arange(4))
    detail.reset()
    detail.update(torch.eye(SIGNS)[:1], torch.tensor([0]), torch.tensor([2]))
    found = detail.results(["a", "b", "c"], None)
    assert found["clips"] == ["c"]
    assert "signers" not in found
    assert "per_signer" not in found


def test_results_are_a_file_of_json(tmp_path: Path) -> None:
    write_results({"signs": [1]}, tmp_path / "new" / "test_results.json")
    assert json.loads((tmp_path / "new" / "test_results.json").read_text()) == {"signs": [1]}


def test_top_five_of_three_signs_is_all_of_them() -> None:
    found = scores(3, "test_")(torch.eye(3)[[0, 1, 1]], torch.tensor([0, 1, 2]))
    assert found["test_acc"] == pytest.approx(2 / 3)
    assert found["test_top5"] == 1.0
    assert found["test_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
