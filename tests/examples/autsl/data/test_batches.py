"""The order of an epoch, and batches of clips."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from examples.autsl.data.batches import EpochOrder, collate, share_storage

DTYPES = (torch.bool, torch.uint8, torch.float16, torch.float32, torch.int64, torch.float64)
SHAPES = st.lists(st.integers(0, 5), max_size=3)


def test_order_of_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    torch.manual_seed(3)
    order = EpochOrder(range(50), 0)
    first, orders = list(order), {}
    for epoch in range(3):
        order.set_epoch(epoch)
        torch.rand(1)
        orders[epoch] = list(order)
    assert orders[0] == first
    assert orders[1] != orders[2]
    torch.manual_seed(3)
    assert list(EpochOrder(range(50), 2)) == orders[2]
    torch.manual_seed(4)
    assert list(EpochOrder(range(50), 2)) != orders[2]


def test_batch_of_nothing_is_passed_over_or_refused() -> None:
    assert collate([None, None]) is None
    with pytest.raises(ValueError, match=r"got none in a batch of 2.*look frames"):
        collate([None, None], skip=False)


@given(st.lists(st.tuples(st.sampled_from(DTYPES), SHAPES), max_size=6), st.integers(0, 99))
def test_one_storage_changes_no_tensor(kinds: list, seed: int) -> None:
    torch.manual_seed(seed)
    batch = {
        str(place): (9 * torch.randn(shape)).to(dtype) for place, (dtype, shape) in enumerate(kinds)
    }
    shared = share_storage(batch)
    assert list(shared) == list(batch)
    torch.testing.assert_close(shared, batch, rtol=0, atol=0)


def test_small_tensors_share_a_storage_and_large_ones_have_their_own() -> None:
    """Else a class that is kept would keep all frames of its batch."""
    batch = share_storage(
        {
            "frames": torch.zeros(2**16 + 1, dtype=torch.uint8),
            "mask": torch.ones(3, dtype=torch.bool),
            "sign": torch.arange(4),
        }
    )
    places = {name: tensor.untyped_storage().data_ptr() for name, tensor in batch.items()}
    assert places["mask"] == places["sign"] != places["frames"]
    assert batch["sign"].untyped_storage().nbytes() == 4 * 8 + 3
