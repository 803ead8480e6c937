"""Does the callback find the joints that are known to carry the class?

    python -m benchmarks.planted                       all rows, hours on one core
    python -m benchmarks.planted --rows planted42 --seeds 3 --workers 2

Rows: planted42, loss, losses, optimizers, crossed, planted543, crowd, weak, gates. One run takes a
quarter of a minute with 42 joints and a minute with 543. Finished runs are kept in `--cache` and
are not repeated; `python -m benchmarks.report_results` writes them into RESULTS.md.

The data is `make_planted` in `benchmarks/shared/data.py`. How hard it is was settled by unpruned
runs alone: the strength of the class's paths is such that the GRU of row planted42 reaches about
0.88 on unseen sequences with all joints, and that of planted543 about 0.92. The seed draws the
data, too. During training nothing is looked at but the training part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from benchmarks.shared.data import Planted, make_planted
from benchmarks.shared.losses import LOSSES
from benchmarks.shared.models import Recipe, fit_and_score
from benchmarks.shared.rows import (
    Figure,
    Row,
    at_least,
    f1,
    measure,
    pairs,
    parser,
    product,
    results,
    selected,
    spread,
)
from benchmarks.shared.store import Result, Settings, Store
from lightning_jointprune.gates.relaxations import GATES, GumbelSigmoid

SMALL = Planted(joints=42, informative=8, strength=0.22)
LARGE = Planted(joints=543, informative=24, strength=0.2)
CROWD = Planted(joints=200, informative=8, copies=100, strength=0.22)
FIVE = Planted(joints=42, informative=8, strength=0.22, classes=5)
HUNDRED = Planted(joints=42, informative=8, strength=0.3, classes=100, train=6000)
WEAK = Planted(joints=168, informative=8, strength=0.1, weak=100, weak_strength=0.04)
EPOCHS = {SMALL: 30, LARGE: 25, CROWD: 30, FIVE: 30, HUNDRED: 15, WEAK: 25}
SCALES = (0.01, 100.0)
OTHER_GATES = tuple(gate.__name__ for gate in GATES.values() if gate is not GumbelSigmoid)


def cell(
    data: Planted,
    seed: int,
    pruned: bool = True,
    gate: str | None = None,
    optimizer: str = "adamw",
    scale: float = 1.0,
    loss: str = "cross_entropy",
    group: bool = False,
) -> Settings:
    """Return a run's settings; `gate` None leaves the argument out, `group` gates weak joints."""
    return {
        "script": "planted",
        "data": data.changed(),
        "recipe": Recipe(optimizer=optimizer, loss_scale=scale, loss=loss).changed(),
        "epochs": EPOCHS[data],
        "seed": seed,
        "pruned": pruned,
        "gate": gate,
        **({"group": True} if group else {}),
    }


def run(settings: Settings) -> Result:
    planted = Planted(**settings["data"])
    data = make_planted(planted, settings["seed"])
    groups = {"weak": data.weak} if settings.get("group") else None
    callback = None
    if settings["pruned"]:
        callback = make_callback(planted.joints, settings["gate"], groups)
    accuracy = fit_and_score(
        "gru",
        data.train,
        data.unseen,
        planted.classes,
        Recipe(**settings["recipe"]),
        settings["epochs"],
        settings["seed"],
        callback,
    )
    truth = {"informative": data.informative, "copies": data.copies, "weak": data.weak}
    result: Result = {"accuracy": accuracy, **truth}
    return result if callback is None else {**result, **selected(callback)}


def make_callback(joints: int, gate: str | None, groups: dict[str, list[int]] | None) -> Any:
    """Return the callback with `num_joints` alone, or with another gate or groups."""
    import lightning_jointprune

    gates = {} if gate is None else {"gate": getattr(lightning_jointprune, gate)()}
    return lightning_jointprune.JointPruningCallback(num_joints=joints, groups=groups, **gates)


# --- figures -------------------------------------------------------------------------------------


def f1_of(result: Result) -> float:
    return f1(result["kept"], result["informative"])


def undecided(result: Result) -> float:
    """Share of the keep probabilities in (0.1, 0.9)."""
    probabilities = result["keep_probabilities"]
    return fmean(0.1 < p < 0.9 for p in probabilities)


def f1_figure(label: str, found: Sequence[Result], target: float) -> list[Figure]:
    """Return the mean F1; `label` is empty or ends in a colon and a space."""
    if not found:
        return []
    scores = [f1_of(result) for result in found]
    measured = f"{label}F1 of the kept joints, mean"
    return [at_least(measured, target, fmean(scores), scores)]


def kept_figure(found: Sequence[Result]) -> list[Figure]:
    kept = [len(result["kept"]) for result in found]
    return [Figure("joints kept", "", spread(kept, 1))] if kept else []


def against_unpruned(data: Planted, store: Store, seeds: int, strictly: bool) -> list[Figure]:
    """Return accuracies on unseen sequences, pruned and not, and their differences by seed."""
    unpruned = product(partial(cell, data, pruned=False), seeds)
    pruned = product(partial(cell, data), seeds)
    figures = []
    names = ("accuracy with all joints (no callback)", "accuracy under the hard mask")
    for name, cells in zip(names, (unpruned, pruned), strict=True):
        if found := [result["accuracy"] for result in results(store, cells)]:
            figures.append(Figure(name, "", spread(found)))
    both = pairs(store, pruned, unpruned)
    if gains := [a["accuracy"] - b["accuracy"] for a, b in both]:
        met = min(gains) > 0 if strictly else min(gains) >= 0
        target = "> 0 on every seed" if strictly else "≥ 0 on every seed"
        figures.append(Figure("difference, same seed", target, spread(gains), met))
    return figures


def planted42_figures(store: Store, seeds: int) -> list[Figure]:
    found = results(store, product(partial(cell, SMALL), seeds))
    figures = f1_figure("", found, 0.98)
    if scores := [f1_of(result) for result in found]:
        worst = f"{min(scores):.3f} (n = {len(scores)})"
        figures.append(Figure("F1 of the kept joints, worst", "≥ 0.9", worst, min(scores) >= 0.90))
    return figures + kept_figure(found) + against_unpruned(SMALL, store, seeds, strictly=False)


def planted543_figures(store: Store, seeds: int) -> list[Figure]:
    found = results(store, product(partial(cell, LARGE), seeds))
    figures = f1_figure("", found, 0.98) + kept_figure(found)
    if shares := [undecided(result) for result in found]:
        measured = "share of keep probabilities in (0.1, 0.9)"
        figures.append(Figure(measured, "≤ 0.02", spread(shares), max(shares) <= 0.02))
    return figures + against_unpruned(LARGE, store, seeds, strictly=True)


def crowd_figures(store: Store, seeds: int) -> list[Figure]:
    found = results(store, product(partial(cell, CROWD), seeds))
    if not found:
        return []
    unique = [len({*r["kept"]} & {*r["informative"]}) for r in found]
    copies = [len({*r["kept"]} & {*r["copies"]}) for r in found]
    noise = [len({*r["kept"]} - {*r["copies"]} - {*r["informative"]}) for r in found]
    every = min(unique) == CROWD.informative
    few = min(copies) >= 1 and max(copies) <= 6
    return [
        Figure("unique joints kept, of 8", "8 on every seed", spread(unique, 1), every),
        Figure("copies kept, of 100", "1 to 6 on every seed", spread(copies, 1), few),
        Figure("noise joints kept, of 92", "", spread(noise, 1)),
        Figure("accuracy under the hard mask", "", spread([r["accuracy"] for r in found])),
    ]


def weak_figures(store: Store, seeds: int) -> list[Figure]:
    figures = []
    for group, label in ((False, "no argument but `num_joints`"), (True, "the 100 as a group")):
        found = results(store, product(partial(cell, WEAK, group=group), seeds))
        if not found:
            continue
        strong = [len({*r["kept"]} & {*r["informative"]}) for r in found]
        weak = [len({*r["kept"]} & {*r["weak"]}) for r in found]
        noise = [len(r["kept"]) - a - b for r, a, b in zip(found, strong, weak, strict=True)]
        every, some = min(strong) == WEAK.informative, min(weak) >= 1
        figures += [
            Figure(f"{label}: strong joints kept, of 8", "8", spread(strong, 1), every),
            Figure(f"{label}: weak joints kept, of 100", "not lost", spread(weak, 1), some),
            Figure(f"{label}: noise joints kept, of 60", "", spread(noise, 1)),
            Figure(
                f"{label}: accuracy under the hard mask", "", spread([r["accuracy"] for r in found])
            ),
        ]
    unpruned = results(store, product(partial(cell, WEAK, pruned=False), seeds))
    if unpruned:
        accuracy = spread([result["accuracy"] for result in unpruned])
        figures.append(Figure("accuracy with all joints (no callback)", "", accuracy))
    return figures


def variants_figures(
    variants: dict[str, dict[str, Any]], target: float, store: Store, seeds: int
) -> list[Figure]:
    """Return F1 and accuracy for each variant of the first row."""
    figures = []
    for label, variant in variants.items():
        found = results(store, product(partial(cell, **{"data": SMALL, **variant}), seeds))
        figures += f1_figure(f"{label}: ", found, target)
        if found and "loss" not in variant:  # others do not make the outputs a class's score
            accuracy = spread([result["accuracy"] for result in found])
            figures.append(Figure(f"{label}: accuracy under the hard mask", "", accuracy))
    return figures


# --- rows ----------------------------------------------------------------------------------------


def with_unpruned(data: Planted) -> Callable[[Store, int], list[Settings]]:
    return lambda _, seeds: product(partial(cell, data), seeds, pruned=(False, True))


def variants_row(
    title: str, setting: str, variants: dict[str, dict[str, Any]], seeds: int = 10
) -> Row:
    def cells(_store: Store, seeds: int) -> list[Settings]:
        makes = [partial(cell, **{"data": SMALL, **variant}) for variant in variants.values()]
        return [settings for make in makes for settings in product(make, seeds)]

    return Row(title, setting, seeds, cells, partial(variants_figures, variants, 0.98))


def scaled(optimizer: str, scale: float) -> tuple[str, dict[str, Any]]:
    return f"{optimizer}, loss × {scale:g}", {"optimizer": optimizer, "scale": scale}


FIRST = "planted truth, 42 joints, 8 informative"
ROWS = {
    "planted42": Row(
        f"{FIRST}, 30 epochs",
        "GRU with explicit parameter groups, AdamW, LambdaLR per step; unit noise on all joints. "
        "No argument but `num_joints`. The seed also draws the data.",
        10,
        with_unpruned(SMALL),
        planted42_figures,
    ),
    "loss": variants_row(
        f"{FIRST}: the loss × 0.01 and × 100",
        "As planted42, with the module's loss multiplied.",
        dict(scaled("adamw", scale) for scale in SCALES),
    ),
    "losses": variants_row(
        f"{FIRST}: other losses, other numbers of classes",
        "As planted42, with the module's loss replaced (`benchmarks/shared/losses.py`); 100 "
        "classes with stronger paths and 6,000 sequences, in 15 epochs.",
        {
            **{name: {"loss": name} for name in LOSSES if name != "cross_entropy"},
            "5 classes": {"data": FIVE},
            "100 classes": {"data": HUNDRED},
        },
        seeds=3,
    ),
    "optimizers": variants_row(
        f"{FIRST}: other optimizers",
        "As planted42 (AdamW), with Adam and with SGD with momentum.",
        {"adam": {"optimizer": "adam"}, "sgd with momentum": {"optimizer": "sgd"}},
    ),
    "crossed": variants_row(
        f"{FIRST}: other optimizers and other losses at once",
        "As planted42. With SGD the module's rate is divided by the loss's factor, since the "
        "module would not train otherwise.",
        dict(scaled(optimizer, scale) for optimizer in ("adam", "sgd") for scale in SCALES),
    ),
    "planted543": Row(
        "planted truth, 543 joints, 24 informative, 25 epochs",
        "As planted42, with the joints of a holistic skeleton.",
        5,
        with_unpruned(LARGE),
        planted543_figures,
    ),
    "crowd": Row(
        "a crowd: 8 unique signals, 100 noisy copies of a ninth, 92 joints of noise",
        "As planted42. A copy is the ninth joint, unit noise included, plus noise of its own with "
        "half that deviation.",
        5,
        lambda _, seeds: product(partial(cell, CROWD), seeds),
        crowd_figures,
    ),
    "weak": Row(
        "100 weak joints that count only together, 8 strong ones, 60 joints of noise, 25 epochs",
        "As planted42. The paths of the strong joints have coefficients of deviation 0.1, those of "
        "the weak ones of 0.04. As a group the weak joints have a gate above their own.",
        3,
        lambda _, seeds: [
            *product(partial(cell, WEAK), seeds, group=(False, True)),
            *product(partial(cell, WEAK, pruned=False), seeds),
        ],
        weak_figures,
    ),
    "gates": Row(
        f"{FIRST}: the other gates",
        "As planted42 (GumbelSigmoid), with each other gate at its own defaults.",
        10,
        lambda _, seeds: product(partial(cell, SMALL), seeds, gate=OTHER_GATES),
        partial(variants_figures, {gate: {"gate": gate} for gate in OTHER_GATES}, 0.95),
    ),
}


def main() -> None:
    args = parser(__doc__, ROWS).parse_args()
    measure("planted", ROWS, run, args)


if __name__ == "__main__":
    main()
