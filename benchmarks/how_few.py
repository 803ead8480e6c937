"""Does a first run, with no argument but the number of joints, say how few of them will do?

    python -m benchmarks.how_few                                 the planted sets
    python -m benchmarks.how_few --data FOLDER                   the recordings in FOLDER, too
    python -m benchmarks.how_few --data FOLDER --part 1/2        one of two processes that share it
    python -m benchmarks.how_few --data FOLDER --show            only what is finished

Rows: planted42, planted543, crowd, weak, hand_static, uiprmd_vicon, asl_words, curve, late. Beside
the default run stand one with `Price("auto")` and models without the callback: on all joints, on
the joints that were kept, on those that carry the class, on those of a point of the curve. All have
the same data, seed, recipe and number of steps. A number of joints is chosen on a validation; each
model is scored once, on a test part of other subjects or sessions. Seed 0 of every row is run
first, then seed 1. Finished cells are kept in `--cache` and not repeated, so a run can be stopped
and goes on where it was.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from benchmarks import planted
from benchmarks.selectors.plan import RECORDINGS
from benchmarks.selectors.training import RECIPE
from benchmarks.shared.data import Planted
from benchmarks.shared.held_out import Parts, planted_parts, recorded_parts
from benchmarks.shared.models import Recipe
from benchmarks.shared.rows import (
    Figure,
    Row,
    at_most,
    f1,
    interval,
    recordings_parser,
    show,
    spread,
)
from benchmarks.shared.store import Result, Settings, Store, run_cells
from benchmarks.shared.watched import METRIC, in_steps, spent, train
from benchmarks.shared.ways import defaults_or_price

SCRIPT, PLAIN = "how_few", "validated"  # of cells with the callback, and without
SETS = {
    "planted42": planted.SMALL,
    "planted543": planted.LARGE,
    "crowd": planted.CROWD,
    "weak": planted.WEAK,
}
LENGTHS = (12, 24, 48)  # epochs
POINTS = (2, 4, 8, 16)  # numbers of joints at which the curve is held against new models
ALIKE = 1.5  # largest ratio of a number of joints that was measured to the one that is asked for
LATE = (0.1, 0.3, 0.45, 0.6)  # shares of the run in which the model hardly learns
LEAST = -0.01  # of the metric: what a model may be behind another
DEARER = 1.05  # steps and validations of a run, in those of one without the callback
NEAR = 0.02  # of the metric: what the curve may be away from new models, from 8 joints on
DOUBTS = ("check", "bad")  # levels of findings that say that something is wrong


class Family(NamedTuple):
    """Name the runs that belong together: the same data, length and seed.

    Attributes:
        data: name of the planted set or the recording.
        epochs: of all runs.
        seed: of the models and, of a planted set, the data.
        late: share of the run in which the model hardly learns, 0 to 1.
    """

    data: str
    epochs: int
    seed: int
    late: float = 0.0

    @property
    def settings(self) -> Settings:
        made = SETS.get(self.data)
        return {
            "data": self.data,
            **({"planted": made.changed()} if made else {}),
            "recipe": recipe_of(self.data).changed(),
            "encoder": "gru",
            "epochs": self.epochs,
            "seed": self.seed,
            **({"late": self.late} if self.late else {}),
        }

    def pruned(self, way: str = "default") -> Settings:
        """Return the cell of a run with the callback: `default` or `price`."""
        return {"script": SCRIPT, **self.settings, "way": way, "pruned": True}

    def plain(self, joints: Sequence[int] | None = None) -> Settings:
        """Return the cell of a run without the callback, on some joints alone or on all."""
        chosen = None if joints is None else sorted(int(joint) for joint in joints)
        return {"script": PLAIN, **self.settings, "joints": chosen, "pruned": False}


def recipe_of(data: str) -> Recipe:
    return Recipe() if data in SETS else RECIPE


# --- a run ---------------------------------------------------------------------------------------


def run(folder: Path | None, settings: Settings) -> Result:
    data = load(folder, settings)
    how = recipe_of(settings["data"]), settings["epochs"], settings["seed"]
    late = settings.get("late", 0.0)
    if not settings["pruned"]:
        joints = settings["joints"]
        return train(data if joints is None else data.subset(joints), *how, late=late)
    pruning = defaults_or_price(data.joints, settings["way"])
    result = train(data, *how, pruning, late)
    truth = {"informative": data.informative, "copies": data.copies, "weak": data.weak}
    return {**result, **learned(pruning), **(truth if settings["data"] in SETS else {})}


def load(folder: Path | None, settings: Settings) -> Parts:
    name = settings["data"]
    if name in SETS:
        return planted_parts(Planted(**settings["planted"]), settings["seed"])
    if folder is None:
        raise ValueError(f"Expected --data, the folder of {name}.npz, but got none.")
    return recorded_parts(folder / f"{name}.npz")


def learned(pruning: Any) -> Result:
    """Return the joints that were kept, the curve, and what the run says against itself."""
    from lightning_jointprune.report.doubts import findings

    record = pruning.record
    curve = {len(rung.indices): rung.metrics.get(METRIC) for rung in record.rungs}
    measured = [count for count, value in curve.items() if value is not None]
    points = {asked: nearest(measured, asked) for asked in POINTS}
    doubts = [doubt for doubt in findings(record) if doubt.level in DOUBTS]
    return {
        "kept": [int(joint) for joint in record.selection.indices],
        "curve": sorted(curve.items()),
        "points": {
            str(asked): [int(joint) for joint in record.selection_of(count).indices]
            for asked, count in points.items()
            if count is not None
        },
        "doubts": [[doubt.level, doubt.title] for doubt in doubts],
    }


def nearest(counts: Iterable[int], asked: int) -> int | None:
    """Return the number that is nearest to another, as a ratio; None if none is near."""
    ratios = {count: max(count / asked, asked / count) for count in counts}
    near = [count for count, ratio in ratios.items() if ratio <= ALIKE]
    return min(near, key=lambda count: (ratios[count], count), default=None)


# --- the cells of a row --------------------------------------------------------------------------


def planted_cells(family: Family, store: Store) -> list[Settings]:
    """Return our runs, all joints and, once they are known, those that carry the class."""
    default = store.result(family.pruned())
    known = [family.plain(default["informative"])] if default else []
    return [family.pruned(), family.pruned("price"), family.plain(), *known]


def pruned_cells(family: Family, store: Store) -> list[Settings]:
    del store
    return [family.pruned(), family.pruned("price")]


def recording_cells(family: Family, store: Store) -> list[Settings]:
    """Return our runs, all joints and, once they are known, the joints that were kept."""
    default = store.result(family.pruned())
    known = [family.plain(default["kept"])] if default else []
    return [family.pruned(), family.pruned("price"), family.plain(), *known]


def curve_cells(family: Family, store: Store) -> list[Settings]:
    default = store.result(family.pruned())
    known = default["points"].values() if default else ()
    return [family.pruned(), family.plain(), *map(family.plain, known)]


def late_cells(family: Family, store: Store) -> list[Settings]:
    del store
    return [family.pruned(), family.plain()]


# --- figures -------------------------------------------------------------------------------------

Found = list[tuple[Family, Result]]  # families with what a run of each gave


def finished(store: Store, families: Iterable[Family], way: str = "default") -> Found:
    found = ((family, store.result(family.pruned(way))) for family in families)
    return [(family, result) for family, result in found if result]


def gains(found: Found, store: Store, cell: Callable[[Family, Result], Settings]) -> list[float]:
    """Return how far the runs' own models are ahead of those without the callback."""
    others = ((result, store.result(cell(family, result))) for family, result in found)
    return [result["test"] - other["test"] for result, other in others if other]


def values_of(cells: Iterable[Settings], store: Store, key: str = "test") -> list[Any]:
    return [result[key] for cell in cells if (result := store.result(cell))]


def ahead(measured: str, differences: Sequence[float]) -> list[Figure]:
    """Return by how much a model is ahead of another; it may be behind by `LEAST` in mean."""
    if not differences:
        return []
    return [Figure(measured, f"≥ {LEAST}", interval(differences), fmean(differences) >= LEAST)]


def all_joints(family: Family, result: Result) -> Settings:
    del result
    return family.plain()


def its_own(family: Family, result: Result) -> Settings:
    return family.plain(result["kept"])


def the_true(family: Family, result: Result) -> Settings:
    return family.plain(result["informative"])


def planted_figures(
    off: int, misses: int, families: Sequence[Family], store: Store
) -> list[Figure]:
    """Return what a default run says of a planted set.

    Args:
        off: by how many joints the number may be missed.
        misses: runs that may miss it by more.
        families: one for each seed.
        store: of the results.
    """
    found = finished(store, families)
    if not found:
        return []
    true = len(found[0][1]["informative"])
    close = sum(abs(len(result["kept"]) - true) <= off for _, result in found)
    kept = [len(result["kept"]) for _, result in found]
    right = [len({*result["kept"]} & {*result["informative"]}) for _, result in found]
    enough = close >= len(found) - misses
    figures = [
        Figure(
            f"runs that keep {true} joints, within {off}",
            "all" if not misses else f"all but {misses}",
            f"{close} of {len(found)}",
            enough,
        ),
        Figure("joints kept", "", spread(kept, 1)),
        Figure("of these, joints that carry the class", "", spread(right, 1)),
    ]
    for way, name in (("default", "default"), ("price", '`Price("auto")`')):
        if scores := [
            f1(result["kept"], result["informative"])
            for _, result in finished(store, families, way)
        ]:
            figures.append(Figure(f"F1 of the kept joints, {name}", "", spread(scores)))
    figures += accuracies(found, store, the_true, "on the joints that carry the class")
    return [
        *figures,
        *ahead(
            "the run's own model minus a new one on the joints that carry the class",
            gains(found, store, the_true),
        ),
        *few_beat_all(found),
    ]


def accuracies(
    found: Found, store: Store, other: Callable[[Family, Result], Settings], name: str
) -> list[Figure]:
    """Return accuracies on the test part: of the run's model, and of new ones."""
    compared = {
        "default": [result["test"] for _, result in found],
        '`Price("auto")`': values_of([family.pruned("price") for family, _ in found], store),
        "all joints (no callback)": values_of([family.plain() for family, _ in found], store),
        f"a new model {name}": values_of([other(*pair) for pair in found], store),
    }
    return [
        Figure(f"accuracy on the test part, {label}", "", spread(values))
        for label, values in compared.items()
        if values
    ]


def few_beat_all(found: Found) -> list[Figure]:
    """Return how far the curve is higher at the number that was chosen than at all joints."""
    rises = []
    for _, result in found:
        curve = measured_of(result)
        if len(result["kept"]) in curve:
            rises.append(curve[len(result["kept"])] - curve[max(curve)])
    return (
        [Figure("the curve: chosen number minus all joints", "", interval(rises))] if rises else []
    )


def cost_figures(found: Found, store: Store) -> list[Figure]:
    """Return what the runs cost in training steps, in those of runs without the callback."""
    both = [(result, store.result(family.plain())) for family, result in found]
    cost = [in_steps(ours, plain, RECIPE.batch_size) for ours, plain in both if plain]
    if not cost:
        return []
    return [at_most("steps and validations, in those of a plain run", DEARER, fmean(cost), cost)]


def measured_of(result: Result) -> dict[int, float]:
    """Map numbers of joints to the metric, of the points that were measured."""
    return {count: value for count, value in result["curve"] if value is not None}


def as_today(figures: Callable[[Sequence[Result]], list[Figure]]) -> Callable[..., list[Figure]]:
    """Return figures of the default beside those of the price."""

    def both(families: Sequence[Family], store: Store) -> list[Figure]:
        return [
            figure._replace(measured=f"{name}: {figure.measured}")
            for way, name in (("default", "default"), ("price", '`Price("auto")`'))
            if (found := [result for _, result in finished(store, families, way)])
            for figure in figures(found)
        ]

    return both


def crowd_figures(found: Sequence[Result]) -> list[Figure]:
    unique = [len({*r["kept"]} & {*r["informative"]}) for r in found]
    copies = [len({*r["kept"]} & {*r["copies"]}) for r in found]
    noise = [len({*r["kept"]} - {*r["copies"]} - {*r["informative"]}) for r in found]
    few = min(copies) >= 1 and max(copies) <= 6
    return [
        Figure("unique joints kept, of 8", "8 on every seed", spread(unique, 1), min(unique) == 8),
        Figure("copies kept, of 100", "1 to 6 on every seed", spread(copies, 1), few),
        Figure("noise joints kept, of 92", "", spread(noise, 1)),
        Figure("accuracy on the test part", "", spread([r["test"] for r in found])),
    ]


def weak_figures(found: Sequence[Result]) -> list[Figure]:
    strong = [len({*r["kept"]} & {*r["informative"]}) for r in found]
    weak = [len({*r["kept"]} & {*r["weak"]}) for r in found]
    noise = [len(r["kept"]) - a - b for r, a, b in zip(found, strong, weak, strict=True)]
    return [
        Figure("strong joints kept, of 8", "8", spread(strong, 1), min(strong) == 8),
        Figure("weak joints kept, of 100", "not lost", spread(weak, 1), min(weak) >= 1),
        Figure("noise joints kept, of 60", "", spread(noise, 1)),
        Figure("accuracy on the test part", "", spread([r["test"] for r in found])),
    ]


def by_length(families: Sequence[Family]) -> dict[int, list[Family]]:
    lengths: dict[int, list[Family]] = {}
    for family in families:
        lengths.setdefault(family.epochs, []).append(family)
    return lengths


def recording_figures(families: Sequence[Family], store: Store) -> list[Figure]:
    figures = []
    for epochs, those in by_length(families).items():
        found = finished(store, those)
        label = f"{epochs} epochs: the run's own model minus"
        figures += ahead(f"{label} one without the callback", gains(found, store, all_joints))
        figures += ahead(f"{label} a new one on its joints", gains(found, store, its_own))
        figures += [
            figure._replace(measured=f"{epochs} epochs, {figure.measured}")
            for figure in (*few_beat_all(found), *cost_figures(found, store))
        ]
    return figures


HEAD = ["epochs", "kept", "price", "steps"]  # joints, and steps of the search
HEAD += ["own", "plain", "new", "price's"]  # accuracies
HEAD += ["s", "s price", "s plain", "doubts"]  # seconds of the processor, and runs


def recording_table(families: Sequence[Family], store: Store) -> list[list[str]]:
    """Return joints, accuracies on the test part and cost, by length."""
    lines = [HEAD]
    for epochs, those in by_length(families).items():
        found = finished(store, those)
        if not found:
            continue
        default = [result for _, result in found]
        price = [result for _, result in finished(store, those, "price")]
        plain = [result for family in those if (result := store.result(family.plain()))]
        new = values_of([its_own(*pair) for pair in found], store)
        doubts = sum(bool(result["doubts"]) for result in default)
        lines.append(
            [
                str(epochs),
                listed(len(result["kept"]) for result in default),
                listed(len(result["kept"]) for result in price),
                listed({result["steps"].get("search", 0) for result in default}),
                *map(mean, ([r["test"] for r in default], [r["test"] for r in plain], new)),
                mean([r["test"] for r in price]),
                *(mean([spent(r) for r in runs], 1) for runs in (default, price, plain)),
                f"{doubts} of {len(default)}",
            ]
        )
    return lines if len(lines) > 1 else []


def listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(values)))


def mean(values: Sequence[float], digits: int = 3) -> str:
    return f"{fmean(values):.{digits}f}" if values else ""


def distances(found: Found, store: Store, asked: int | None) -> list[tuple[int, float]]:
    """Return points of the curves, each as a number of joints and how far it is above a new model.

    Args:
        found: families and their default runs.
        store: of the results.
        asked: the number of joints that a point was to be nearest to; None are all.
    """
    away = []
    for family, result in found:
        joints = None if asked is None else result["points"].get(str(asked))
        curve, other = measured_of(result), store.result(family.plain(joints))
        count = max(curve, default=0) if joints is None else len(joints)
        if other and count in curve and (asked is None or joints):
            away.append((count, curve[count] - other["validation"]))
    return away


def curve_figures(families: Sequence[Family], store: Store) -> list[Figure]:
    figures = []
    for name, joints in RECORDINGS.items():
        found = finished(store, [family for family in families if family.data == name])
        for asked in (*POINTS, None):
            if away := distances(found, store, asked):
                differences = [distance for _, distance in away]
                met = abs(fmean(differences)) <= NEAR
                judged = (asked or joints) >= 8
                figures.append(
                    Figure(
                        f"{name}, {listed({count for count, _ in away})} joints: the curve minus "
                        "a new model, on the validation",
                        f"within {NEAR}" if judged else "",
                        interval(differences),
                        met if judged else None,
                    )
                )
    return figures


def tells(result: Result) -> bool:
    """Return whether a run keeps all that carries the class, or says that it could not tell.

    That some joints are undecided does not say so: others are then taken for decided.
    """
    said = [*(title for _, title in result["doubts"]), *result["said"]]
    doubted = any("undecided" not in text for text in said)
    return doubted or {*result["informative"]} <= {*result["kept"]}


def by_lateness(families: Sequence[Family]) -> dict[float, list[Family]]:
    return {late: [family for family in families if family.late == late] for late in LATE}


def late_figures(families: Sequence[Family], store: Store) -> list[Figure]:
    figures = []
    for late, those in by_lateness(families).items():
        if found := finished(store, those):
            good = sum(tells(result) for _, result in found)
            value = f"{good} of {len(found)}"
            measured = f"the rate near 0 for {late:.0%}: runs that keep all that counts, or say so"
            figures.append(Figure(measured, "all", value, good == len(found)))
    return figures


def late_table(families: Sequence[Family], store: Store) -> list[list[str]]:
    lines = [["rate near 0", "kept", "of these, true", "accuracy", "without", "doubts"]]
    for late, those in by_lateness(families).items():
        found = finished(store, those)
        if not found:
            continue
        default = [result for _, result in found]
        titles = {title: None for result in default for _, title in result["doubts"]}
        lines.append(
            [
                f"{late:.0%}",
                listed(len(result["kept"]) for result in default),
                listed(len({*r["kept"]} & {*r["informative"]}) for r in default),
                mean([result["test"] for result in default]),
                mean(values_of([family.plain() for family in those], store)),
                f"{sum(bool(r['doubts']) for r in default)} of {len(default)}: " + " ".join(titles),
            ]
        )
    return lines if len(lines) > 1 else []


# --- rows ----------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """Describe a row by its families.

    Attributes:
        families: those of a seed.
        cells: the cells of a family, as far as the results so far settle them.
        row: the row.
    """

    families: Callable[[int], list[Family]]
    cells: Callable[[Family, Store], list[Settings]]
    row: Row


def make_plan(
    title: str,
    setting: str,
    seeds: int,
    families: Callable[[int], list[Family]],
    cells: Callable[[Family, Store], list[Settings]],
    figures: Callable[[Sequence[Family], Store], list[Figure]],
    table: Callable[[Sequence[Family], Store], list[list[str]]] | None = None,
) -> Plan:
    def ordered(seeds: int) -> list[Family]:
        of_all = [family for seed in range(seeds) for family in families(seed)]
        return sorted(of_all, key=lambda family: (family.late, family.epochs))

    def of_row(store: Store, seeds: int) -> list[Settings]:
        return [cell for family in ordered(seeds) for cell in cells(family, store)]

    def drawn(store: Store, seeds: int) -> list[list[str]]:
        return [] if table is None else table(ordered(seeds), store)

    def measured(store: Store, seeds: int) -> list[Figure]:
        return figures(ordered(seeds), store)

    side_by_side = None if table is None else drawn
    return Plan(families, cells, Row(title, setting, seeds, of_row, measured, side_by_side))


def of_planted(name: str, seed: int) -> list[Family]:
    return [Family(name, planted.EPOCHS[SETS[name]], seed)]


def of_recording(name: str, seed: int) -> list[Family]:
    return [Family(name, epochs, seed) for epochs in LENGTHS]


def of_curve(seed: int) -> list[Family]:
    return [Family(name, LENGTHS[1], seed) for name in RECORDINGS]


def of_late(seed: int) -> list[Family]:
    return [Family("planted42", planted.EPOCHS[planted.SMALL], seed, late) for late in LATE]


PARTS = (
    "No argument but `num_joints`. The number of joints is chosen on a validation of other "
    "sequences than those of the test part."
)
RECORDED = (
    f"{PARTS} The recipe is that of `benchmarks/selection.py`. *Kept*, *price*: the joints of each "
    'seed, by default and with `Price("auto")`; *steps* of the search. Mean accuracy on the test '
    "part of the run's *own* model, of a *plain* one without the callback, of a *new* one on the "
    "kept joints alone, and of the *price's*. *s*: seconds of the processor. *Doubts*: runs that "
    "say that something is wrong."
)
PLANS = {
    "planted42": make_plan(
        "how few will do: planted truth, 42 joints, 8 informative, 30 epochs",
        f"As in row planted42 of `benchmarks/planted.py`. {PARTS}",
        10,
        partial(of_planted, "planted42"),
        planted_cells,
        partial(planted_figures, 1, 1),
    ),
    "planted543": make_plan(
        "how few will do: planted truth, 543 joints, 24 informative, 25 epochs",
        f"As in row planted543 of `benchmarks/planted.py`. {PARTS}",
        5,
        partial(of_planted, "planted543"),
        planted_cells,
        partial(planted_figures, 2, 0),
    ),
    "crowd": make_plan(
        "how few will do: 8 unique signals, 100 noisy copies of a ninth, 92 joints of noise",
        f"As in row crowd of `benchmarks/planted.py`. {PARTS}",
        5,
        partial(of_planted, "crowd"),
        pruned_cells,
        as_today(crowd_figures),
    ),
    "weak": make_plan(
        "how few will do: 100 weak joints, 8 strong ones, 60 joints of noise",
        f"As in row weak of `benchmarks/planted.py`. {PARTS}",
        3,
        partial(of_planted, "weak"),
        pruned_cells,
        as_today(weak_figures),
    ),
    **{
        name: make_plan(
            f"how few will do: {name}, {joints} joints, by length of the run",
            RECORDED,
            5,
            partial(of_recording, name),
            recording_cells,
            recording_figures,
            recording_table,
        )
        for name, joints in RECORDINGS.items()
    },
    "curve": make_plan(
        "how few will do: the curve of a run beside new models on the same joints",
        f"Runs of {LENGTHS[1]} epochs. A point of the curve is the validation of a network that "
        "is trained on all numbers of joints together; beside it stands a new model of as many "
        "steps in total, trained on these joints alone and validated on the same sequences.",
        5,
        of_curve,
        curve_cells,
        curve_figures,
    ),
    "late": make_plan(
        "how few will do: models that learn late",
        "As planted42, with a thousandth of the learning rate for the first part of the run and "
        "the usual schedule after it. A run that loses a joint has to say that something is wrong.",
        5,
        of_late,
        late_cells,
        late_figures,
        late_table,
    ),
}
ROWS = {name: plan.row for name, plan in PLANS.items()}


# --- the command line ----------------------------------------------------------------------------


def share(text: str) -> tuple[int, int]:
    """Return which part of how many, such as `1/2`."""
    if not (found := re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)):
        raise argparse.ArgumentTypeError(f"Expected a part such as 1/2 but got {text!r}.")
    part, parts = map(int, found.groups())
    if part > parts:
        raise argparse.ArgumentTypeError(f"Expected a part of at most {parts} but got {part}.")
    return part, parts


def in_turn(rows: Sequence[str], seeds: int | None) -> Iterator[tuple[str, Family]]:
    """Yield rows and their families: seed 0 of every row, then seed 1 of those that have it."""
    most = {name: seeds or PLANS[name].row.seeds for name in rows}
    for seed in range(max(most.values(), default=0)):
        for name in rows:
            if seed < most[name]:
                for family in PLANS[name].families(seed):
                    yield name, family


def is_of(family: Family, part: tuple[int, int]) -> bool:
    """Return whether a process runs a family: all of its cells, in whichever row they are."""
    families = [f for plan in PLANS.values() for f in plan.families(family.seed)]
    place = list(dict.fromkeys(families)).index(family)
    return (place + family.seed) % part[1] == part[0] - 1


def parse_args() -> argparse.Namespace:
    result = recordings_parser(__doc__, ROWS, required=False)
    result.add_argument("--epochs", type=int, nargs="+", help="only runs of these lengths")
    result.add_argument("--sets", nargs="+", choices=[*SETS, *RECORDINGS], help="only these data")
    result.add_argument("--part", type=share, default=(1, 1), help="such as 1/2 of two processes")
    result.add_argument("--show", action="store_true", help="run nothing")
    args = result.parse_args()
    if args.workers != 1:
        raise SystemExit("Expected one worker. Start this twice, with --part 1/2 and --part 2/2.")
    if args.data is None and not args.show:
        args.rows = [name for name in args.rows if name not in (*RECORDINGS, "curve")]
    return args


def main() -> None:
    args = parse_args()
    store = Store(args.cache, SCRIPT, args.any_code)
    measure = partial(run, args.data and args.data.resolve())
    failed = missing = 0
    for name, family in () if args.show else in_turn(args.rows, args.seeds):
        chosen = args.sets is None or family.data in args.sets
        chosen &= args.epochs is None or family.epochs in args.epochs
        if not (chosen and is_of(family, args.part)):
            continue
        known, failures = -1, 0
        while not failures and known != (known := len(PLANS[name].cells(family, store))):
            cells = PLANS[name].cells(family, store)
            left = [cell for cell in cells if store.find(cell) is None]
            if args.dry_run or not left:
                missing += len(left)
                continue
            print(f"{name}: {family}", flush=True)
            failures += run_cells(left, measure, store, 1)
        failed += failures
    if args.dry_run:
        print(f"{missing} cells are missing, and those that wait for them")
        return
    store = Store(args.cache, SCRIPT, args.any_code)  # with what other processes added
    for name in args.rows:
        show(name, ROWS[name], store, args.seeds or ROWS[name].seeds)
    if failed:
        raise SystemExit(f"{failed} runs failed")


if __name__ == "__main__":
    main()
