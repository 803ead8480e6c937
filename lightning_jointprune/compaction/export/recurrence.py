"""Traces GRU and LSTM into a program of any length.

`torch.export` follows a GRU frame by frame, and so fixes the number of frames. Here a GRU is one
operation while a model is traced, which needs its shapes alone. Afterwards it is PyTorch's again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

# Schemas are written out, since PyTorch 2.4 cannot read annotations that are strings.
HOW = "bool has_biases, SymInt num_layers, float dropout, bool train, bool bidirectional, "
HOW += "bool batch_first"


@torch.library.custom_op(
    "jointprune::gru",
    mutates_args=(),
    schema=f"(Tensor x, Tensor hx, Tensor[] params, {HOW}) -> (Tensor, Tensor)",
)
def gru(x: Tensor, hx: Tensor, params: list[Tensor], *how: Any) -> tuple[Tensor, Tensor]:
    """Return what `aten::gru.input` returns."""
    states, last = torch.gru(x, hx, params, *how)
    return states.clone(), last.clone()


@gru.register_fake
def _(x: Tensor, hx: Tensor, *how: Any) -> tuple[Tensor, Tensor]:
    return _states(x, hx, bidirectional=how[5]), torch.empty_like(hx)


@torch.library.custom_op(
    "jointprune::lstm",
    mutates_args=(),
    schema=f"(Tensor x, Tensor[] hx, Tensor[] params, {HOW}) -> (Tensor, Tensor, Tensor)",
)
def lstm(
    x: Tensor, hx: list[Tensor], params: list[Tensor], *how: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `aten::lstm.input` returns."""
    states, last, cell = torch.lstm(x, hx, params, *how)
    return states.clone(), last.clone(), cell.clone()


@lstm.register_fake
def _(x: Tensor, hx: list[Tensor], *how: Any) -> tuple[Tensor, Tensor, Tensor]:
    last, cell = (torch.empty_like(state) for state in hx)
    return _states(x, hx[0], bidirectional=how[5]), last, cell


def _states(x: Tensor, hx: Tensor, bidirectional: bool) -> Tensor:
    return x.new_empty(*x.shape[:-1], hx.shape[-1] * (2 if bidirectional else 1))


@contextmanager
def in_one_operation() -> Iterator[None]:
    """Trace GRU and LSTM as one operation each, within the block."""
    names: dict[str, Callable[..., Any]] = {"gru": gru, "lstm": lstm}
    own = {name: getattr(torch._VF, name) for name in names}

    def instead(name: str) -> Callable[..., Any]:
        def called(*args: Any) -> Any:
            # A call on a PackedSequence has the sizes of its batches as second argument.
            packed = isinstance(args[1], Tensor) and isinstance(args[3], (list, tuple))
            return own[name](*args) if packed else names[name](*args)

        return called

    try:
        for name in names:
            setattr(torch._VF, name, instead(name))
        yield
    finally:
        for name, function in own.items():
            setattr(torch._VF, name, function)


def with_own_operations(program: ExportedProgram) -> ExportedProgram:
    """Put PyTorch's own GRU and LSTM back into a program, in place, and return it."""
    own = {
        torch.ops.jointprune.gru.default: torch.ops.aten.gru.input,
        torch.ops.jointprune.lstm.default: torch.ops.aten.lstm.input,
    }
    for node in program.graph.nodes:
        node.target = own.get(node.target, node.target)
    return program


def onnx_operations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the translations of GRU and LSTM to ONNX."""
    from onnxscript.function_libs.torch_lib.ops.core import aten_gru, aten_lstm

    return {
        torch.ops.jointprune.gru.default: aten_gru,
        torch.ops.jointprune.lstm.default: aten_lstm,
    }
