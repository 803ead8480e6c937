"""Exports a model as a program that runs without its class: ONNX, or `torch.export`'s `.pt2`.

The program is compared with the model before it is written, on other batch sizes and lengths too.
Its file says which joints it takes.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lightning_jointprune.attach.hooks import argument_at, attached_layers
from lightning_jointprune.attach.layers import layer_of
from lightning_jointprune.attach.modules import module_at
from lightning_jointprune.attach.target import Target
from lightning_jointprune.compaction.export.recurrence import (
    in_one_operation,
    onnx_operations,
    with_own_operations,
)
from lightning_jointprune.compaction.export.sizes import SIZES, Input, read_inputs
from lightning_jointprune.compaction.proof import relative_difference
from lightning_jointprune.compaction.request import (
    Joints,
    called_by_users,
    compaction_of,
    joints_of_compact,
    joints_of_example,
    masked_entrance,
    read_call,
)
from lightning_jointprune.compaction.tracing import Called, ready_to_trace
from lightning_jointprune.joint_files.labels import digest_of
from lightning_jointprune.record.files import PathLike, Place, place, write_bytes
from lightning_jointprune.record.selection import JointSelection
from lightning_jointprune.record.versions import check_installed

TOLERANCE = 1e-4  # largest difference from the model, over its largest output
FORMATS = ("onnx", "torch")
ONNX = ("onnx", "onnxruntime", "onnxscript")  # modules that write ONNX, and compare it
KEY, SCHEMA = "joints", 1  # under which a program says what its joints are
Run = Callable[[Sequence[Tensor]], list[Tensor]]


class Export(NamedTuple):
    """Describes a file that was written.

    Attributes:
        path: the file.
        inputs: names of the program's inputs, in their order.
        dynamic: which of `"batch"` and `"time"` may be of any size.
        error: largest difference from the model, over its largest output.
    """

    path: Place
    inputs: tuple[str, ...]
    dynamic: tuple[str, ...]
    error: float


def export_model(
    model: nn.Module,
    path: PathLike,
    example_inputs: Any,
    to: str = "onnx",
    *,
    dynamic: Collection[str] = ("batch", "time"),
) -> Export:
    """Write a compact or masked model as a program that runs without its class.

    Before it is written, the program is run beside the model. Both get the example, one clip, three
    more clips, and three more frames, or one fewer where the model takes no more. The file says
    which joints the program takes, as JSON under `joints`: in the `metadata_props` of ONNX, or in
    the extra file of that name of a `.pt2`. There, `names` are the joints of the input in their
    order. `digest` is the SHA-256 of `names` as JSON, by which to know the order again.

    Args:
        model: a model of `compact`, `from_compact` or `load_pruned`.
        path: the file, such as `small.onnx` or `small.pt2`; written whole or not at all.
        example_inputs: what the model's forward takes, at least 2 clips of 2 frames; as in
            `compact`. Values that are no tensors become part of the program.
        to: `"onnx"`, or `"torch"` for a file that `torch.export.load` reads.
        dynamic: which of the skeleton's `"batch"` and `"time"` are to be of any size. Sizes that
            the model's forward fixes are as in the example, with a warning.

    Returns:
        The file, its inputs, and its largest difference from the model.

    Raises:
        ModuleNotFoundError: if ONNX is asked for and one of its packages is not installed.
        ValueError: if the model has no joints, if it cannot be exported, or if the program is not
            equal to it (within 1e-4 of the largest output).
    """
    wanted, target = _checked(to, dynamic), place(path)
    model = copy.deepcopy(model).cpu().eval()
    targets, said = _described(model)
    called = called_by_users(model, targets)
    entered = [joints for joints in _expected(model, targets) if joints.target.module == called]
    tried = module_at(copy.deepcopy(model), called)
    given = read_call(tried, example_inputs, entered)
    plain = _Plain()
    names = {
        id(plain(argument_at(tried, at.target.path, *given))): at.target.path for at in entered
    }
    call = given.opened(plain)
    traced = Called(model, called, call)
    inputs = read_inputs(model, traced.called, targets, call, names)
    program, free = _traced(
        traced, inputs, wanted & {w for entry in inputs for w in entry.words.values()}
    )
    said |= {
        "inputs": [entry.name for entry in inputs],
        "dynamic": [SIZES[w] for w in sorted(free)],
    }
    content, run = _written(to, program, inputs, json.dumps({**said}))
    error = _compared(traced, run, inputs, free, target)
    write_bytes(target, content)
    _warn_of_fixed(target, inputs, wanted - free)
    return Export(target, tuple(said["inputs"]), tuple(said["dynamic"]), error)


class _Plain:
    """Gives every tensor of an example as PyTorch exports it: on the CPU and no view of another."""

    def __init__(self) -> None:
        self._given: dict[int, tuple[Tensor, Tensor]] = {}  # with the tensor, so that its id stays

    def __call__(self, x: Tensor) -> Tensor:
        return self._given.setdefault(id(x), (x, x.cpu().contiguous()))[1]


# --- what is asked for ---------------------------------------------------------------------------


def check_format(to: str) -> None:
    """Check that programs of a format can be written.

    Raises:
        ValueError: if there is no such format.
        ModuleNotFoundError: if a package is missing that writes or runs ONNX.
    """
    if to not in FORMATS:
        raise ValueError(f'Expected to="onnx" or "torch" but got {to!r}.')
    if to == "onnx":
        check_installed("export", "writes ONNX or runs it", *ONNX)


def _checked(to: str, dynamic: Collection[str]) -> set[str]:
    """Return the words of the axes that are to be dynamic."""
    check_format(to)
    words = {name: word for word, name in SIZES.items()}
    unknown = [name for name in dynamic if name not in words]
    if unknown or isinstance(dynamic, str):
        raise ValueError(
            f'Expected dynamic as a choice of ("batch", "time") but got {dynamic!r}. Pass '
            'dynamic=("batch",) for clips of one length.'
        )
    return {words[name] for name in dynamic}


def _described(model: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return where the skeleton enters a model, and the description of its joints."""
    done = compaction_of(model)
    if done is not None:
        targets, takes, selection = done.targets, done.takes, done.selection
    elif attached_layers(model):
        layer, targets = masked_entrance(model)
        kept = tuple(layer.get_active_joints())
        chances = tuple(layer.keep_probabilities().tolist())
        takes, selection = "all", JointSelection(kept, layer.num_joints, layer.names, chances)
    else:
        raise ValueError(
            f"Expected a model that says which joints it takes but got {type(model).__name__}, "
            "which has none. Pass what compact, from_compact or load_pruned returns."
        )
    names = tuple(selection.names if takes == "kept" else selection.joint_names)
    return targets, {
        "schema": SCHEMA,
        "model": f"{type(model).__module__}.{type(model).__qualname__}",
        "takes": takes,
        "axes": targets[0].axes,
        "names": list(names),
        "digest": digest_of(names),
        "selection": json.loads(selection.to_json()),
    }


def _expected(model: nn.Module, targets: Sequence[Target]) -> list[Joints]:
    """Return the joints that a compact or masked model takes."""
    done = compaction_of(model)
    if done is not None:
        return joints_of_compact(done)
    return joints_of_example(targets, layer_of(model, inside=False).num_joints)


def _warn_of_fixed(path: Place, inputs: Sequence[Input], fixed: set[str]) -> None:
    for word in sorted(fixed):
        size = next((x.tensor.shape[a] for x in inputs for a, w in x.words.items() if w == word), 0)
        of, what = ("clips", "batch") if word == "b" else ("frames", "time")
        if not size:
            continue
        rest = tuple(name for name in SIZES.values() if name != what)
        warnings.warn(
            f"{path} takes exactly {size} {of}, as in the example: the model's forward fixes "
            f"their number. Pass as many each time, or take it from x.shape in the forward; with "
            f"dynamic={rest} it is fixed without this warning.",
            stacklevel=3,
        )


# --- the program ---------------------------------------------------------------------------------


def _traced(
    traced: Called, inputs: Sequence[Input], wanted: set[str]
) -> tuple[ExportedProgram, set[str]]:
    """Return the program with most of the wanted sizes dynamic, and which of them are."""
    strict = False
    program, free = _exported(traced, inputs, wanted, strict)
    if free != wanted:
        try:  # reads Python's `len(x)` as a size, but not every forward
            other = _exported(traced, inputs, wanted, strict=True)
        except ValueError:
            other = program, free
        if len(other[1]) > len(free):
            strict, (program, free) = True, other
    while free != wanted:  # what came out as a number has to be one from the start
        wanted = free
        program, free = _exported(traced, inputs, wanted, strict)
    return program, free


def _exported(
    traced: Called, inputs: Sequence[Input], wanted: set[str], strict: bool
) -> tuple[ExportedProgram, set[str]]:
    axes = [{axis: Dim.AUTO for axis, w in entry.words.items() if w in wanted} for entry in inputs]
    try:
        with ready_to_trace(), in_one_operation():
            program = torch.export.export(
                traced, traced.tensors, dynamic_shapes={"tensors": tuple(axes)}, strict=strict
            )
    except Exception as error:
        raise ValueError(
            f"Expected a forward that torch.export can trace but got {type(error).__name__}: "
            f"{str(error).strip().splitlines()[0][:200]} A forward that asks for values "
            "(`if x.any():`) cannot be traced."
        ) from error
    fixed = {
        word
        for entry, shape in zip(inputs, _shapes(program), strict=True)
        for axis, word in entry.words.items()
        if str(shape[axis]).isdigit()  # a symbol that turned out to be a number still is one
    }
    return program, wanted - fixed


def _shapes(program: ExportedProgram) -> list[Any]:
    """Return the shapes of a program's inputs, with symbols where they are dynamic."""
    taken = set(program.graph_signature.user_inputs)
    return [node.meta["val"].shape for node in program.graph.nodes if node.name in taken]


def _written(
    to: str, program: ExportedProgram, inputs: Sequence[Input], said: str
) -> tuple[bytes, Run]:
    """Return the content of a program's file, and a runner of it.

    Raises:
        ValueError: if PyTorch cannot write the program, or not read what it wrote.
    """
    try:
        content = (_as_onnx if to == "onnx" else _as_torch)(program, inputs, said)
        return content, _onnx_runner(content) if to == "onnx" else _torch_runner(content)
    except Exception as error:
        other = next(name for name in FORMATS if name != to)
        raise ValueError(
            f"Expected a program that can be written for {to!r} but got {type(error).__name__}: "
            f"{str(error).strip().splitlines()[0][:200]} Pass to={other!r}, or dynamic=() for the "
            "sizes of the example alone."
        ) from error


def _as_torch(program: ExportedProgram, inputs: Sequence[Input], said: str) -> bytes:  # noqa: ARG001
    written = io.BytesIO()
    torch.export.save(with_own_operations(program), written, extra_files={KEY: said})
    return written.getvalue()


def _as_onnx(program: ExportedProgram, inputs: Sequence[Input], said: str) -> bytes:
    import onnx

    outputs = len(program.graph_signature.user_outputs)
    names = ["output", *(f"output_{number}" for number in range(1, outputs))]
    with _quiet():
        converted = torch.onnx.export(
            program,
            (),
            dynamo=True,
            verbose=False,
            custom_translation_table=onnx_operations(),
            input_names=[entry.name for entry in inputs],
            output_names=names,
        )
    assert converted is not None  # it is with dynamo=True
    proto = converted.model_proto
    symbols = {
        str(shape[axis]): SIZES[word]
        for entry, shape in zip(inputs, _shapes(program), strict=True)
        for axis, word in entry.words.items()
    }
    graph = proto.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in symbols:
                dim.dim_param = symbols[dim.dim_param]
    onnx.helper.set_model_props(proto, {KEY: said})
    content: bytes = proto.SerializeToString()
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence PyTorch's warnings about what is not installed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


# --- the proof -----------------------------------------------------------------------------------


def _onnx_runner(content: bytes) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        given = {name: x.numpy() for name, x in zip(names, tensors, strict=True)}
        return [torch.from_numpy(y) for y in session.run(None, given)]

    return run


def _torch_runner(content: bytes) -> Run:
    module = torch.export.load(io.BytesIO(content)).module()

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            returned: list[Tensor] = module(*tensors)
        return returned

    return run


def _compared(
    traced: Called, run: Run, inputs: Sequence[Input], free: set[str], path: Place
) -> float:
    """Return how far a program is from the model, on the example and on other sizes of it."""
    sizes = {w: entry.tensor.shape[axis] for entry in inputs for axis, w in entry.words.items()}
    others = [{w: _another(traced, inputs, w, sizes[w])} for w in sorted(free)]
    worst = 0.0
    for other in ({}, *others, *[{"b": 1}] * ("b" in free)):
        tensors = [entry.resized(other).contiguous() for entry in inputs]
        with torch.no_grad():
            expected = traced(*tensors)
        try:
            error = relative_difference(expected, run(tensors))
        except Exception as failed:
            error, said = float("inf"), str(failed).strip().splitlines()[0][:200]
        else:
            said = f"it differs by {error:.2g} of the largest output"
        if not error <= TOLERANCE:
            at = ", ".join(f"{SIZES[word]} {size}" for word, size in other.items()) or "the example"
            raise ValueError(
                f"Expected a program that equals the model but got one that does not, at {at}: "
                f"{said}. {path} was not written."
            )
        worst = max(worst, error)
    return worst


def _another(traced: Called, inputs: Sequence[Input], word: str, size: int) -> int:
    """Return another number of clips or frames that a model takes: more, or else fewer."""
    tensors = [entry.resized({word: size + 3}) for entry in inputs]
    try:
        with torch.no_grad():
            traced(*tensors)
    except Exception:  # such as a table of positions that ends
        return size - 1
    return size + 3
