"""Reads and writes the JSON of selections, records and evaluations, and checks its numbers.

The arguments of a run are in it, too: they are written as JSON, and read as Python code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from numbers import Real
from typing import Any, SupportsIndex, TypeVar, cast

from lightning_jointprune.record.files import PathLike, file_at, write_text

SCHEMA = 1
RECORD_FILE, SELECTION_FILE = "pruning_record.json", "selection.json"
D = TypeVar("D")


# --- numbers --------------------------------------------------------------------------------------


def whole(value: Any, name: str) -> int:
    """Return an integer, or raise ValueError with the name of what is none."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex) or abs(int(value)) > 2**63:
        raise ValueError(f"Expected an integer as {name} but got {value!r}. Pass `int(value)`.")
    return int(value)


def real(value: Any, name: str) -> float:
    """Return a float, nan for None, or raise ValueError with the name of what is no number."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
        raise ValueError(f"Expected a number as {name} but got {value!r}. Pass `float(value)`.")
    return math.nan if value is None else float(value)  # JSON's null stands for an unknown number


def set_fields(instance: object, **values: object) -> None:
    """Set fields of a frozen dataclass, which only its `__post_init__` may."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)


# --- writing --------------------------------------------------------------------------------------


def plain(value: Any, sort: bool = True) -> Any:
    """Return what JSON can hold: None for what is not finite, text for what JSON does not know.

    Args:
        value: anything; mappings and sequences are copied.
        sort: whether mappings are sorted by their keys.
    """
    if isinstance(value, Mapping):
        texts = {str(key): plain(item, sort) for key, item in value.items()}
        return {key: texts[key] for key in (sorted(texts) if sort else texts)}
    if isinstance(value, list | tuple):
        return [plain(item, sort) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | bool | int) else str(value)


def by_field(value: Any, margin: str = "\n") -> str:
    """Return JSON with a line for each field, and for each dataclass in a sequence."""
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        items = [
            f"{json.dumps(key)}: {by_field(item, margin + ' ')}" for key, item in value.items()
        ]
    elif isinstance(value, tuple) and value and is_dataclass(value[0]):
        items = [json.dumps(plain(vars(item)), allow_nan=False) for item in value]
    else:
        return json.dumps(plain(value), allow_nan=False)
    start, end = "{}" if isinstance(value, Mapping) else "[]"
    return start + ",".join(f"{margin} {item}" for item in items) + margin * bool(items) + end


def by_item(value: Any) -> str:
    """Return JSON with a line for each item, in the order that mappings have."""
    return json.dumps(plain(value, sort=False), indent=1, allow_nan=False)


def write_json(
    instance: Any,
    kind: str,
    path: PathLike | None,
    file: str,
    layout: Callable[[Any], str] = by_field,
) -> str:
    """Return a dataclass as JSON; also write it to a file, or into a folder.

    Args:
        instance: the dataclass.
        kind: what its JSON is called.
        path: a file or a folder; None writes nothing.
        file: name of the file in a folder.
        layout: turns plain data into JSON.
    """
    text = layout({"schema": SCHEMA, "kind": kind, **vars(instance)}) + "\n"
    if path is not None:
        write_text(file_at(path, file), text)
    return text


# --- reading --------------------------------------------------------------------------------------


def is_text(path_or_text: PathLike) -> bool:
    """Return whether JSON was given as text, and not by its place."""
    return isinstance(path_or_text, str) and path_or_text.lstrip().startswith(("{", "["))


def content_of(path_or_text: PathLike, file: str) -> tuple[bytes, str]:
    """Return JSON that was given as text, as a file or as a folder with `file`, and its source."""
    if is_text(path_or_text):
        return str(path_or_text).encode("utf-8", "replace"), "the given text"
    path = file_at(path_or_text, file)
    return path.read_bytes(), str(path)


def read_json(path_or_text: PathLike, kind: str, file: str) -> tuple[dict[str, Any], str]:
    """Return the data of a record or a selection, and the name of its source for messages.

    Raises:
        ValueError: if it is no JSON, of another kind or of another schema.
        OSError: if it cannot be read.
    """
    content, source = content_of(path_or_text, file)
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected JSON in {source}, but it is damaged: {error}.") from error
    found = data.get("kind") if isinstance(data, dict) else type(data).__name__
    if found != kind:
        raise ValueError(
            f"Expected the kind {kind} in {source} but got {found}. "
            f"Pass {RECORD_FILE} for a PruningRecord and {SELECTION_FILE} for a JointSelection."
        )
    if data.get("schema") != SCHEMA:
        versions = data.get("versions")
        wrote = versions.get("lightning-jointprune") if isinstance(versions, dict) else None
        raise ValueError(
            f"Expected schema {SCHEMA} in {source} but got schema {data.get('schema')}. Read it "
            f"with lightning-jointprune {wrote or 'in the version that wrote it'}, or a newer one."
        )
    return data, source


def build(cls: type[D], data: Any, source: str, **inner: Callable[[Any], Any]) -> D:
    """Return a dataclass of data; keys that it does not know are passed over.

    Args:
        cls: the dataclass.
        data: its fields, by name.
        source: where the data are from, for the message.
        inner: builds the value of a field, by the field's name.

    Raises:
        ValueError: if a field is missing or does not fit.
    """
    try:
        known = {item.name: data[item.name] for item in fields(cast(Any, cls)) if item.name in data}
        known |= {name: make(known[name]) for name, make in inner.items() if name in known}
        return cls(**known)
    except (TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"Expected a {cls.__name__} in {source} but got: {error}") from error


# --- arguments of a run ---------------------------------------------------------------------------


def as_argument(value: Any, unknown: Callable[[Any], Any]) -> Any:
    """Return an argument as a record holds it, such as `{"Price": {"price": 0.003}}`.

    Args:
        value: plain, a dataclass, or of these.
        unknown: makes a plain value of what JSON does not know.

    >>> as_argument(range(3), unknown=list)
    [0, 1, 2]
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = {type(value).__name__: asdict(value)}
    return json.loads(json.dumps(value, default=unknown))


def class_of(argument: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the class of an argument in a record, and its own arguments; `("", {})` if plain."""
    if isinstance(argument, Mapping) and len(argument) == 1:
        ((name, given),) = argument.items()
        if isinstance(given, Mapping):
            return name, given
    return "", {}


def as_code(argument: Any, used: list[str]) -> str:
    """Return an argument in a record as Python code.

    Args:
        argument: as `as_argument` returned it.
        used: takes in the names of the classes in it.

    >>> as_code({"Price": {"price": 0.003, "groups": None}}, [])
    'Price(price=0.003)'
    """
    name, arguments = class_of(argument)
    if name.isidentifier():  # nothing else in a record is a mapping in a mapping
        used.append(name)
        told = {key: value for key, value in arguments.items() if value not in (None, {})}
        return f"{name}({', '.join(f'{key}={as_code(told[key], used)}' for key in told)})"
    if isinstance(argument, Mapping):
        items = [f"{as_code(k, used)}: {as_code(v, used)}" for k, v in argument.items()]
        return f"{{{', '.join(items)}}}"
    if isinstance(argument, list):
        return f"[{', '.join(as_code(item, used) for item in argument)}]"
    return json.dumps(argument) if isinstance(argument, str) else repr(argument)
