"""Holds what each joint is worth, as plain data: costs with intervals, a table, JSON in and out."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from lightning_jointprune.record.confounds import Confounds, JointInput, confounds
from lightning_jointprune.record.files import PathLike
from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.record.stored import SCHEMA, by_item, content_of, write_json
from lightning_jointprune.record.tables import as_text

KIND = "joint_evaluation"
EVALUATION_FILE = "joint_evaluation.json"


@dataclass(frozen=True)
class JointEvaluation:
    """Holds what each joint is worth to a model, in units of its metric.

    A cost is how much worse the metric becomes, a gain how much better, whichever way the metric
    counts. Both are of this model as it is: trained again, it may do without a joint it uses now.

    Args:
        joint_names: names of all joints, shape `(J,)`.
        indices: the kept joints, ascending.
        metric: name of the metric.
        samples: how many samples it was measured on.
        kept: the metric with the kept joints.
        drop: the cost of each kept joint that goes, by name.
        add: the gain of each dropped joint that comes back, by name. The model was not trained with
            it, so this says whether it disturbs, not what it could be worth.
        permute: the cost of each kept joint when samples swap it among them, by name.
        groups: the cost of each group whose kept joints go together, by name.
        per_class: accuracy on each class with the kept joints, by label; empty if not classes.
        per_class_drop: the accuracy that each class loses when a kept joint goes, by name and in
            the order of `per_class`.
        soft: the gain when gates are drawn as in the search instead of the hard mask: near 0 if
            the search decided on each joint, None if not asked for.
        inputs: what reached the gate of each joint, by name; empty if not measured.
        class_names: names of the classes, by label; empty if they have none.
        per_signer: the metric with the kept joints on the samples of each signer, by name; empty if
            the signers are not known.
        higher_is_better: whether more of the metric is better.
    """

    joint_names: tuple[str, ...]
    indices: tuple[int, ...]
    metric: str
    samples: int
    kept: Estimate
    drop: Mapping[str, Estimate] = field(default_factory=dict)
    add: Mapping[str, Estimate] = field(default_factory=dict)
    permute: Mapping[str, Estimate] = field(default_factory=dict)
    groups: Mapping[str, Estimate] = field(default_factory=dict)
    per_class: Mapping[int, float] = field(default_factory=dict)
    per_class_drop: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    soft: Estimate | None = None
    inputs: Mapping[str, JointInput] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    per_signer: Mapping[str, Estimate] = field(default_factory=dict)
    higher_is_better: bool = True

    def confounds(self, importance: Mapping[str, float] | None = None) -> Confounds:
        """Compare the importance of joints with their motion and their detection.

        Args:
            importance: what to compare, by name; None takes the cost of each kept joint that goes.
                Keep probabilities may be compared, too, and are no importance.

        Raises:
            ValueError: if there is no importance, the inputs were not measured, or a name is
                unknown.
        """
        given = {name: cost.value for name, cost in (self.drop or self.permute).items()}
        given = given if importance is None else dict(importance)
        unknown = [name for name in given if name not in self.inputs]
        if not given or unknown:
            raise ValueError(
                f"Expected the importance of joints that were measured but got {unknown or None}. "
                'Evaluate with how=("drop",), or pass importance by joint name.'
            )
        return confounds(given, self.inputs, [self.joint_names[index] for index in self.indices])

    def summary(self, width: int | None = None) -> str:
        """Return a table, as wide as the terminal or `width` characters; dear joints first."""
        kept = f"{len(self.indices)} of {len(self.joint_names)} joints kept"
        title = f"{self.metric} {self.kept} on {self.samples} samples, {kept}"
        width = width or shutil.get_terminal_size((100, 24)).columns
        return f"{title}\n{_table(self, max(width, 40))}"

    def to_json(self, path: PathLike | None = None) -> str:
        """Return the evaluation as JSON; also write it to a file, or into a folder.

        In a folder it is `joint_evaluation.json`. What is not finite is written as null.
        """
        return write_json(self, KIND, path, EVALUATION_FILE, layout=by_item)

    @classmethod
    def from_json(cls, path_or_text: PathLike) -> JointEvaluation:
        """Read an evaluation from a file, from a folder with `joint_evaluation.json`, or from text.

        Raises ValueError for what is no evaluation or a newer one, OSError for what can't be read.
        """
        return _read(path_or_text)

    def __str__(self) -> str:
        return self.summary()


# --- text -----------------------------------------------------------------------------------------


TITLES = ("joint", "drop costs", "most in class", "permuting costs", "adding gains")
BRIEFER = (4, 3, 1)  # columns that lose their intervals, one after the other
ELSEWHERE = "Intervals that are not shown need a wider terminal; the JSON has all."


def _table(evaluation: JointEvaluation, width: int) -> str:
    """Return the table; the last columns lose their intervals first if it is too wide with them."""
    kept = [evaluation.joint_names[index] for index in evaluation.indices]
    dearest = evaluation.drop or evaluation.permute
    rows = sorted(kept, key=lambda name: -dearest[name].value if name in dearest else 0.0)
    rows += sorted(evaluation.add, key=lambda name: -evaluation.add[name].value)
    lines = [_cells(evaluation, name) for name in rows]
    lines += [(f"group {name}", cost, "", "", "") for name, cost in evaluation.groups.items()]
    used = [at for at in range(len(TITLES)) if at == 0 or any(line[at] for line in lines)]
    brief: set[int] = set()
    for at in (None, *(at for at in BRIEFER if at in used)):
        brief |= set() if at is None else {at}
        columns = [[TITLES[at], *(_text(line[at], at in brief) for line in lines)] for at in used]
        if sum(3 + max(map(cell_len, column)) for column in columns) - 3 <= width:
            break
    (*titles,), *rest = zip(*columns, strict=True)
    table = as_text(_filled(titles, rest), width)
    lost = [line[at] for line in lines for at in brief]
    hidden = any(isinstance(cell, Estimate) and cell.low is not None for cell in lost)
    return f"{table}\n{ELSEWHERE}" if hidden else table


def _cells(evaluation: JointEvaluation, name: str) -> tuple[str | Estimate | None, ...]:
    """Return what was measured of a joint, a cell for each title."""
    losses = evaluation.per_class_drop.get(name, ())
    lost = dict(zip(evaluation.per_class, losses, strict=False))
    most = max(lost, key=lambda label: lost[label], default=None)
    return (
        name,
        evaluation.drop.get(name),
        "" if most is None else f"{lost[most]:.3f} ({most})",
        evaluation.permute.get(name),
        evaluation.add.get(name),
    )


def _text(cell: str | Estimate | None, brief: bool) -> str:
    if isinstance(cell, Estimate) and brief:
        return str(Estimate(cell.value))
    return "" if cell is None else str(cell)


def _filled(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """Return the table of these lines, in which no name is broken as long as others can be."""
    table = Table(box=box.ASCII2, show_edge=False, pad_edge=False)
    for at, title in enumerate(titles):
        side: Any = "right" if at else "left"
        table.add_column(title, justify=side, overflow="fold", no_wrap=not at)
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def _read(path_or_text: PathLike) -> JointEvaluation:
    content, source = content_of(path_or_text, EVALUATION_FILE)
    try:
        data = json.loads(content)
        found = data.pop("kind", None), data.pop("schema", None)
        if found != (KIND, SCHEMA):
            raise ValueError(f"kind {found[0]} of schema {found[1]}")
        for name in ("drop", "add", "permute", "groups"):
            data[name] = {key: _estimate(item) for key, item in data[name].items()}
        data["kept"] = _estimate(data["kept"])
        data["soft"] = _estimate(data["soft"]) if data.get("soft") else None
        data["inputs"] = {key: JointInput(*item) for key, item in data.get("inputs", {}).items()}
        data["per_class"] = {int(label): _real(share) for label, share in data["per_class"].items()}
        data["per_class_drop"] = {
            name: tuple(map(_real, lost)) for name, lost in data["per_class_drop"].items()
        }
        signers = data.get("per_signer", {})
        data["per_signer"] = {name: _estimate(item) for name, item in signers.items()}
        data["class_names"] = tuple(data.get("class_names", ()))
        data["joint_names"], data["indices"] = tuple(data["joint_names"]), tuple(data["indices"])
        return JointEvaluation(**data)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Expected a {KIND} of schema {SCHEMA} in {source} but got: {error}. Pass "
            f"what JointEvaluation.to_json wrote, with this version or an older one."
        ) from error


def _estimate(item: list[float | None]) -> Estimate:
    value, low, high = item
    return Estimate(_real(value), low, high)


def _real(value: float | None) -> float:
    return math.nan if value is None else value  # JSON's null is a number not known
