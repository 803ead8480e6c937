"""Holds the joints that a search kept, as plain data, with the sentence to cite them by."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lightning_jointprune.record.files import PathLike
from lightning_jointprune.record.intervals import Estimate, wilson
from lightning_jointprune.record.stored import (
    SELECTION_FILE,
    build,
    is_text,
    plain,
    read_json,
    real,
    set_fields,
    whole,
    write_json,
)
from lightning_jointprune.record.tables import NAMED, joint_table, printable, stand_in_table

KIND = "joint_selection"
NEVER = 0.005  # chance below which a joint is not named as near
STAND_IN = 0.5  # least R² with which a dropped joint foretells a kept one that it can stand in for
LIKELY = "\nDropped joints above 0.5 are those that a larger number of joints would keep."
WHOLE = 2e-3  # error of single precision in whole numbers up to some 10,000, in samples


def is_undecided(probability: float) -> bool:
    """Return whether a keep probability lies strictly between 0.1 and 0.9."""
    return 0.1 < probability < 0.9


@dataclass(frozen=True)
class JointSelection:
    """Holds the joints that a search kept, with the figures to cite them by.

    Args:
        indices: the kept joints, ascending, each in `[0, num_joints)`.
        num_joints: J, the number of joints the model was given.
        joint_names: names of all joints, shape `(J,)`, each once.
        keep_probabilities: P(gate open) of all joints, shape `(J,)`, each in [0, 1].
        metrics: finite values of the final phase's last validation, with the kept joints only.
        metrics_all_joints: what the last validation of the warm-up measured, with all joints.
        metric: the metric that `sentence` quotes; a key of `metrics` when it was measured.
        floor: the value that `metric` was asked to stay at or above, in units of `metric`.
        higher_is_better: whether more of `metric` is better; where it is not, `floor` is a ceiling.
        samples: how many samples that validation had; None if not known.
        stand_ins: of each kept joint, the dropped joints that could stand in for it, by name, with
            the R² in [0, 1] with which each foretells the kept joint's coordinates in the training
            frames, the best first. A kept joint that has none is left out.
        source: where the joints are from, as far as it is known: `"file"`, that they were read
            from; of a consensus `"runs"`, their folders, and `"kept_by"`, how many of the runs kept
            each joint; of a run that was not finished `"phase"`, the one it was in. Selections from
            other sources are equal where all else is.
        again: the chance that a run with another seed, which keeps as many, keeps each joint, too,
            shape `(J,)`, each in [0, 1], as `kept_again` has it; empty where it is not known.

    Raises:
        ValueError: a length, index, name, probability or R² that does not fit.

    >>> selection = JointSelection((0, 2), 3, ("wrist", "thumb", "index"), (0.99, 0.02, 0.97))
    >>> selection.sentence()
    '2 of 3 joints are kept, with 33.3 % of the joints removed; no metric was measured with them.'
    """

    indices: tuple[int, ...]
    num_joints: int
    joint_names: tuple[str, ...]
    keep_probabilities: tuple[float, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    metrics_all_joints: Mapping[str, float] = field(default_factory=dict)
    metric: str | None = None
    floor: float | None = None
    higher_is_better: bool = True
    samples: int | None = None
    stand_ins: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict, compare=False)
    again: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        count = whole(self.num_joints, "num_joints")
        names = tuple(map(str, self.joint_names))
        if len(names) != count or len(set(names)) != count:
            raise ValueError(
                f"Expected {count} different joint names but got {len(names)} names, "
                f"{len(set(names))} of them different. Name every joint once, dropped ones too."
            )
        floor = None if self.floor is None else real(self.floor, "floor")
        if floor is not None and (self.metric is None or not math.isfinite(floor)):
            raise ValueError(
                f"Expected a finite floor but got {floor} of {self.metric}. Pass both."
            )
        samples = None if self.samples is None else whole(self.samples, "samples")
        set_fields(self, num_joints=count, joint_names=names, floor=floor, samples=samples)
        set_fields(self, indices=indices_below(self.indices, count))
        set_fields(self, keep_probabilities=probabilities_of(self.keep_probabilities, count))
        set_fields(self, metrics=finite(self.metrics), metric=self.metric and str(self.metric))
        set_fields(self, metrics_all_joints=finite(self.metrics_all_joints))
        set_fields(self, stand_ins=_checked_stand_ins(self.stand_ins, set(names)))
        set_fields(self, again=probabilities_of(self.again, count) if self.again else ())
        set_fields(self, source=plain(dict(self.source)))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the kept joints, in the order of `indices`."""
        return tuple(self.joint_names[joint] for joint in self.indices)

    @property
    def mask(self) -> tuple[bool, ...]:
        """Return True for each joint that is kept, shape `(J,)`."""
        kept = set(self.indices)
        return tuple(joint in kept for joint in range(self.num_joints))

    @property
    def ratio(self) -> float:
        """Return the pruning ratio: the fraction of joints removed, in [0, 1]."""
        return 1 - len(self.indices) / self.num_joints

    @property
    def interval(self) -> Estimate | None:
        """Return `metric` with the kept joints and Wilson's 95 % interval, or None.

        It is known where the metric is a share of the validation's samples, such as their accuracy:
        a whole number of samples over all of them. The interval does not count that the joints were
        chosen on the same samples, nor that the best of several checkpoints was taken.
        """
        value = self.metrics.get(self.metric or "", math.nan)
        share = self.higher_is_better and 0 <= value <= 1
        if self.samples is None or self.samples < 1 or not share:
            return None
        right = value * self.samples
        return wilson(value, self.samples) if abs(right - round(right)) < WHOLE else None

    @property
    def undecided(self) -> int:
        """Count the keep probabilities strictly between 0.1 and 0.9."""
        return sum(map(is_undecided, self.keep_probabilities))

    def summary(self, width: int | None = None, costs: Mapping[int, float] | None = None) -> str:
        """Return the KEEP / PRUNE table and the stand-ins, as wide as the terminal or `width`.

        The order is by keep probability, or by what dropping joints costs, if `costs` has that.
        """
        counts = f"{len(self.indices)} of {self.num_joints} joints kept, {self.undecided} undecided"
        width = max(width or shutil.get_terminal_size((100, 24)).columns, 40)
        table = joint_table(self.joint_names, self.keep_probabilities, self.mask, width, costs)
        dropped = zip(self.mask, self.keep_probabilities, strict=True)
        likely = LIKELY if any(not kept and chance > 0.5 for kept, chance in dropped) else ""
        others = stand_in_table(self.stand_ins, width) if self.stand_ins else ""
        sure = f"\n\n{printable(self.how_sure())}" if self.again else ""
        return f"{counts}, {100 * self.ratio:.1f} % removed\n{table}{likely}{others}{sure}"

    def how_sure(self) -> str:
        """Return in words which joints a run with another seed would keep; empty if not known.

        It is foretold from this run alone, see `again`.
        """
        if not self.again:
            return ""
        kept = sorted(self.indices, key=lambda joint: self.again[joint])
        out = [
            joint
            for joint, keeps in enumerate(self.mask)
            if not keeps and self.again[joint] > NEVER
        ]
        out.sort(key=lambda joint: -self.again[joint])
        least, nearest = (
            ", ".join(f"{self.joint_names[joint]} {self.again[joint]:.2f}" for joint in some)
            for some in (self._apart(kept), self._apart(out))
        )
        expected, number = sum(self.again[joint] for joint in kept), len(kept)
        return (
            f"A run with another seed that keeps {number} joint{'' if number == 1 else 's'} is "
            f"expected to keep {expected:.1f} of {'it' if number == 1 else 'these'}."
            + (f" Least sure: {least}." if least else "")
            + (f" Nearest of the others: {nearest}." if nearest else "")
        )

    def _apart(self, ordered: list[int]) -> list[int]:
        """Return the first few of these joints, none of which has the chance of one left out."""
        named, left = ordered[:NAMED], ordered[NAMED:]
        level = self.again[left[0]] if left else None
        return [joint for joint in named if self.again[joint] != level]

    def sentence(self, title: str | None = None) -> str:
        """Return one sentence for a paper, of measured values only; `title` names the data.

        Of a run that was not finished, another one before it says so.
        """
        said, phase = _sentence(self, f" on {title}" if title else ""), self.source.get("phase")
        early = f"Not a result yet: this was written in the {phase} phase. "
        return f"{early}{said}" if phase else said

    def to_json(self, path: PathLike | None = None) -> str:
        """Return the selection as JSON; also write it to a file, or into a folder.

        In a folder it is `selection.json`. The file that it was read from is left out.
        """
        source = {name: value for name, value in self.source.items() if name != "file"}
        return write_json(replace(self, source=source), KIND, path, SELECTION_FILE)

    @classmethod
    def from_json(cls, path_or_text: PathLike) -> JointSelection:
        """Read a selection from a file, from a folder with `selection.json`, or from JSON text.

        It may be the `budget` of a run that trains with its joints, and `source["file"]` is its
        path there.

        Raises ValueError for what is no selection or a newer one, OSError for what cannot be read.
        """
        data, file = read_json(path_or_text, KIND, SELECTION_FILE)
        selection = build(cls, data, file)
        if is_text(path_or_text):
            return selection
        return replace(selection, source={**selection.source, "file": file})

    def __str__(self) -> str:
        return self.summary()


def check_finished(selection: JointSelection, where: str) -> None:
    """Refuse the joints of a run that was not finished, before something is done with them.

    Args:
        selection: the joints.
        where: they are from.

    Raises:
        ValueError: if their run was not in its final phase.
    """
    if phase := selection.source.get("phase"):
        raise ValueError(
            f"Expected the joints of a finished run but got {where} from the {phase} phase. Let "
            "the run finish."
        )


def _sentence(selection: JointSelection, where: str) -> str:
    """Return one sentence, of measured values only.

    Args:
        selection: the joints.
        where: such as `" on AUTSL"`, or empty.
    """
    kept, total, metric = len(selection.indices), selection.num_joints, selection.metric
    share = f"{kept} of {total} joints" if kept < total else f"all {total} joints"
    percent = f"{100 * selection.ratio:.1f}".removesuffix(".0")
    cut = f"with {percent} % of the joints removed" if kept < total else "with none removed"
    are = "is" if kept == 1 else "are"
    plain = f"{share[0].upper()}{share[1:]} {are} kept{where}, {cut}"
    value = selection.metrics.get(metric or "")
    if value is None:
        missing = f"{metric} was not measured" if metric else "no metric was measured"
        return f"{plain}; {missing} with them." if metric or not selection.metrics else f"{plain}."
    floor, better = selection.floor, selection.higher_is_better
    above, below = ("above", "below") if better else ("below", "above")
    if floor is not None:
        got, asked = beside_floor(value, floor, better)
        if value < floor if better else value > floor:
            limit = f"{below} the {'floor' if better else 'ceiling'} of {asked}"
            return f"{plain}, but with those joints alone {metric} is {got}, {limit}."
        if kept < total:
            stay = f"{'at' if value == floor else above} {asked} {metric}{where}"
            alone = f"({got} with those joints alone)"
            suffice = "suffices" if kept == 1 else "suffice"
            return f"{share} {suffice} to stay {stay} {alone}, {cut}."
    return f"With {share} the model reaches {metric} {show(value)}{where}, {cut}."


def show(value: float) -> str:
    """Return three decimals, or as many digits where these would be zeros."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.3g}"


def beside_floor(value: float, floor: float, better: bool) -> tuple[str, str]:
    """Return a metric and its floor as text, with enough digits to see that they differ.

    Args:
        value: the metric.
        floor: in its units.
        better: whether higher values are better; then fractions are shown in per cent.
    """
    percent = better and 0 <= floor <= 1 and 0 <= value <= 1
    scale, digits, unit = (100, 1, " %") if percent else (1, 3, "")
    for more in range(9):
        got, asked = round(scale * value, digits + more), float(f"{scale * floor:.{5 + more}g}")
        if (got > asked, got < asked) == (value > floor, value < floor):
            break
    return f"{got:.{digits + more}f}{unit}", f"{asked:.9g}{unit}"


def stand_ins_of(
    selection: JointSelection, redundancy: Sequence[Sequence[float]]
) -> dict[str, dict[str, float]]:
    """Return the dropped joints that could stand in for each kept joint, the best first.

    Args:
        selection: the joints.
        redundancy: R² with which joint d foretells joint k, shape `(J, J)`, row k, column d; empty
            where it is not known.
    """
    names, mask = selection.joint_names, selection.mask
    found = {
        names[kept]: {
            names[joint]: r2
            for joint, r2 in enumerate(redundancy[kept])
            if r2 >= STAND_IN and not mask[joint]
        }
        for kept in (selection.indices if redundancy else ())
    }
    return _checked_stand_ins(found, set(names))


def _checked_stand_ins(
    stand_ins: Mapping[str, Mapping[str, float]], names: set[str]
) -> dict[str, dict[str, float]]:
    """Return stand-ins, the best first, without joints that have none; or raise ValueError."""
    found: dict[str, dict[str, float]] = {}
    for kept, others in stand_ins.items():
        values = {str(joint): real(r2, "R²") for joint, r2 in others.items()}
        if not {str(kept), *values} <= names or not all(0 <= r2 <= 1 for r2 in values.values()):
            raise ValueError(
                f"Expected stand-ins of joint_names, each with an R² in [0, 1], but got {values} "
                f"for {kept!r}. Name other joints of the selection, or none."
            )
        if values:
            found[str(kept)] = dict(sorted(values.items(), key=lambda item: -item[1]))
    return found


def indices_below(values: Iterable[int], count: int) -> tuple[int, ...]:
    """Return joints as ascending integers in `[0, count)`, or raise ValueError."""
    indices = tuple(whole(value, "index") for value in values)
    if list(indices) != sorted(set(indices) & set(range(count))):
        raise ValueError(f"Expected ascending joints in [0, {count}) but got {indices}. Sort them.")
    return indices


def probabilities_of(values: Iterable[float], count: int | None) -> tuple[float, ...]:
    """Return keep probabilities in [0, 1], of so many joints if `count` is given, or raise."""
    numbers = tuple(real(value, "keep probability") for value in values)
    if count is not None and len(numbers) != count:
        raise ValueError(f"Expected {count} keep probabilities but got {len(numbers)}. Pass all.")
    wrong = [number for number in numbers if not 0 <= number <= 1]
    if wrong:
        raise ValueError(f"Expected keep probabilities in [0, 1] but got {wrong[0]}; no logits.")
    return numbers


def finite(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return those metrics that are finite, sorted by name; a value that is no number raises."""
    numbers = {str(name): real(value, str(name)) for name, value in metrics.items()}
    return {name: numbers[name] for name in sorted(numbers) if math.isfinite(numbers[name])}
