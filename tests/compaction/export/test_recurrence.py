"""Test that a GRU and an LSTM are one operation each in a trace, with unchanged results."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.nn.utils.rnn import pack_sequence

from lightning_jointprune.compaction.export.recurrence import in_one_operation, with_own_operations


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_program_is_of_any_length_and_has_pytorchs_own_operation(
    kind: type[nn.RNNBase], bidirectional: bool
) -> None:
    model = kind(3, 4, 2, batch_first=True, bidirectional=bidirectional).eval()
    sizes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, None)
    with in_one_operation(), torch.no_grad():
        program = torch.export.export(
            model, (torch.rand(2, 5, 3),), dynamic_shapes=sizes[:1], strict=False
        )
    names = {str(node.target) for node in with_own_operations(program).graph.nodes}
    assert f"aten.{kind.__name__.lower()}.input" in names
    assert not any(name.startswith("jointprune") for name in names)
    x = torch.rand(1, 9, 3)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), model(x))


def test_sequences_of_several_lengths_go_as_before_and_pytorch_is_as_before() -> None:
    before, model = torch._VF.gru, nn.GRU(3, 4)
    packed = pack_sequence([torch.rand(n, 3) for n in (4, 2)])
    expected = model(packed)[0].data
    with in_one_operation():
        assert torch._VF.gru is not before
        assert torch.equal(model(packed)[0].data, expected)
    assert torch._VF.gru is before
