"""Find how few joints suffice, against every other way to choose them.

    python -m benchmarks.selection                              the planted sets
    python -m benchmarks.selection --data FOLDER                the recordings in FOLDER, too
    python -m benchmarks.selection --data FOLDER --rows hand_static --seeds 2

Needs `pip install '.[benchmarks]'`. A planted set says which joints have to be kept: the methods
are asked for as many, and what counts is how many of these they find. On a recording (`NAME.npz`
with x, y and test) they are asked for 2, 4, 8, 16, 24 and 48 joints, and a new model is trained on
each subset, from scratch, on its joints alone: GRU of 128 units, Adam with a one-cycle rate up to
4e-3, 12 epochs of batches of 64, the recipe of all runs here. The seed is that of the choice and of
the new model. Nobody sees the test part but the new model, once. No method may cost more than six
training runs; the table says what each did cost. Finished choices and subsets are kept in `--cache`
and not repeated, so a run can be stopped and goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

import torch

from benchmarks.selectors import METHODS, MORE_OF_OURS, OURS, PEERS, SCRIPT_OF
from benchmarks.selectors.plan import (
    DRAWS,
    MATCHED,
    RANDOM,
    RECORDINGS,
    SEEDS,
    Curve,
    Plan,
    area,
    enough,
    mean_curve,
)
from benchmarks.selectors.training import EPOCHS, RECIPE, RUNS, steps_of_a_run
from benchmarks.shared.held_out import Parts, recorded_parts
from benchmarks.shared.joint_data import (
    HAND_PICKED,
    PLANTED,
    JointData,
    make_set,
    read_recording,
    recall,
)
from benchmarks.shared.models import fit_and_score
from benchmarks.shared.rows import (
    Figure,
    Row,
    interval,
    measure,
    recordings_parser,
    results,
    spread,
)
from benchmarks.shared.store import Result, Settings, Store

ASKED = (2, 4, 8, 16, 24, 48)
STABLE = {
    "hand_static": 10,
    "uiprmd_vicon": 10,
    "asl_words": 10,
}  # to the seeds that stability is measured over
FEWER = 0.8  # joints within a point of all, in those of the best peer
DEARER = 1.05  # training runs
LONGER = 30  # epochs


def run(folder: Path | None, settings: Settings) -> Result:
    if settings["script"] == "held_out":
        assert folder is not None  # of a recording
        return validated(recorded_parts(folder / f"{settings['data']}.npz"), settings)
    data = load(folder, settings["data"], settings["seed"])
    if settings["script"] == "subset":
        chosen = data.subset(settings["joints"])
        seed, epochs = settings["seed"], settings["epochs"]
        accuracy = fit_and_score(
            settings["encoder"], chosen.train, chosen.unseen, data.classes, RECIPE, epochs, seed
        )
        return {"accuracy": accuracy}
    method = METHODS[settings["script"]][settings["method"]]
    longer = {"epochs": settings["epochs"]} if "epochs" in settings else {}
    choice = method(data, settings["encoder"], settings["counts"], settings["seed"], **longer)
    return {
        "joints": {str(count): joints for count, joints in choice.joints.items()},
        "open": {str(count): number for count, number in choice.open.items()},
        "final": {str(count): value for count, value in choice.final.items()},
        "runs": choice.steps / steps_of_a_run(data.train),
        "recall": [recall(joints, data.truth) for joints in choice.joints.values() if data.truth],
    }


def validated(data: Parts, settings: Settings) -> Result:
    """Return the accuracy of a model on the validation, of other subjects or sessions."""
    parts, seed = data.subset(settings["joints"]), settings["seed"]
    how = settings["encoder"], parts.train, parts.validation, data.classes
    return {"accuracy": fit_and_score(*how, RECIPE, settings["epochs"], seed)}


def load(folder: Path | None, name: str, seed: int) -> JointData:
    if name in PLANTED:
        return make_set(name, seed)
    if folder is None:
        raise ValueError(f"Expected --data, the folder of {name}.npz, but got none.")
    return read_recording(folder / f"{name}.npz")


# --- statistics -----------------------------------------------------------------------------------


def off_target(result: Result) -> list[int]:
    """Return by how many joints each number was missed."""
    return [abs(number - int(count)) for count, number in result["open"].items()]


def agreement(plan: Plan, found: Sequence[Result]) -> float | None:
    """Return the stability over seeds, mean over numbers of joints (Nogueira et al. 2018)."""
    from lightning_jointprune import stability

    if len(found) < 2:
        return None
    values = []
    for count in plan.counts:
        masks = torch.zeros(len(found), plan.joints, dtype=torch.bool)
        for mask, result in zip(masks, found, strict=True):
            mask[result["joints"][str(count)]] = True
        values.append(stability(masks).value)
    return fmean(values)


def stability_of(plan: Plan, store: Store, method: str, seeds: int) -> float | None:
    return agreement(plan, plan.results(store, method, for_stability(plan, seeds)))


def for_stability(plan: Plan, seeds: int) -> range:
    """Return more seeds of a recording than new models are trained for: a choice costs less."""
    return range(max(seeds, STABLE.get(plan.name, 0)))


# --- tables and figures --------------------------------------------------------------------------


def common(found: Sequence[Result]) -> list[str]:
    """Return by how many joints methods that choose miss the number, and their cost."""
    if not found:
        return ["", ""]
    off = [number for result in found for number in off_target(result)]
    cost = fmean(result["runs"] for result in found)
    return [f"{fmean(off):.1f}" if off else "–", f"{cost:.2f}"]


COMMON = ["joints off", "cost in runs"]


def planted_table(plan: Plan, store: Store, seeds: int) -> list[list[str]]:
    lines = [["method", "recall", "worst", *COMMON, "seeds"]]
    for method in SCRIPT_OF:
        if found := plan.results(store, method, range(seeds)):
            values = [result["recall"][0] for result in found]
            recalls = [f"{fmean(values):.3f}", f"{min(values):.3f}"]
            lines.append([method, *recalls, *common(found), str(len(found))])
    return lines if len(lines) > 1 else []


def planted_figures(plan: Plan, store: Store, seeds: int) -> list[Figure]:
    found = plan.results(store, OURS, range(seeds))
    if not found:
        return []
    values = [result["recall"][0] for result in found]
    value = f"{fmean(values):.3f} (n = {len(values)})"
    return [Figure(f"recall, {OURS}", "1", value, min(values) == 1.0), *own_figures(found)]


def longer(kind: str, seeds: int) -> list[Settings]:
    """Return our runs on a planted set with as many epochs as in `benchmarks/planted.py`."""
    plan = Plan(kind, 42, [PLANTED[kind]])
    return [plan.choice(OURS, seed) | {"epochs": LONGER} for seed in range(seeds)]


def longer_figures(store: Store, seeds: int) -> list[Figure]:
    figures = []
    for kind in PLANTED:
        if found := results(store, longer(kind, seeds)):
            values = [result["recall"][0] for result in found]
            measured = f"{kind}: recall of the {PLANTED[kind]}, {OURS}"
            figures.append(Figure(measured, "1", spread(values), min(values) == 1.0))
    return figures


def recording_cells(plan: Plan, store: Store, seeds: int) -> list[Settings]:
    """Return the plan's cells, and then choices with more seeds, for the stability."""
    more = plan.choices(len(for_stability(plan, seeds)))
    return plan.cells(store, seeds) + [cell for cell in more if cell["seed"] >= seeds]


def recording_table(plan: Plan, store: Store, seeds: int) -> list[list[str]]:
    counts = [*plan.counts, plan.joints]
    lines = [["method", *map(str, counts), "area", "within 1 point", "stability", *COMMON]]
    for method in (*SCRIPT_OF, RANDOM, MATCHED):
        by_count = {
            count: [v for s in range(seeds) for v in plan.accuracies(store, method, s, count)]
            for count in counts
        }
        if not any(by_count[count] for count in plan.counts):
            continue
        cells = [f"{fmean(values):.3f}" if values else "" for values in by_count.values()]
        curves = plan.curves(store, method, seeds)
        summary = ["", ""]
        if curves:
            mean = mean_curve(curves)
            summary = [f"{area(mean):.3f}", f"{enough(mean):.1f}"]
        found = plan.results(store, method, range(seeds)) if method in SCRIPT_OF else []
        stable = stability_of(plan, store, method, seeds) if found else None
        summary.append("" if stable is None else f"{stable:.2f}")
        lines.append([f"{method} (n = {len(curves)})", *cells, *summary, *common(found)])
        if method == RANDOM:
            best = [plan.best_random(store, seeds, count) for count in plan.counts]
            number = max((found[1] for found in best if found), default=0)
            accuracies = ["" if found is None else f"{found[0]:.3f}" for found in best]
            name = f"the best of {number} random, on a validation"
            lines += [[name, *accuracies, *[""] * 6]] if number else []
    return lines if len(lines) > 1 else []


def recording_figures(plan: Plan, store: Store, seeds: int) -> list[Figure]:
    found = plan.results(store, OURS, range(seeds))
    own = plan.curves(store, OURS, seeds)
    if not own:
        return []
    figures = [*area_figures(plan, store, seeds, own), *enough_figures(plan, store, seeds, own)]
    figures += small_figures(plan, store, seeds, own)
    figures += hand_picked_figures(plan, store, own)
    return [
        *figures,
        *stability_figures(plan, store, seeds),
        *final_figures(plan, store, own),
        *own_figures(found),
    ]


def area_figures(plan: Plan, store: Store, seeds: int, own: Mapping[int, Curve]) -> list[Figure]:
    figures = []
    ways = {OURS: own} | {way: plan.curves(store, way, seeds) for way in MORE_OF_OURS}
    for method in (*PEERS, RANDOM, MATCHED):
        peer = plan.curves(store, method, seeds)
        for way, curves in ways.items():
            gains = [area(curves[seed]) - area(peer[seed]) for seed in curves if seed in peer]
            if gains:
                met = fmean(gains) > 0
                figures.append(Figure(f"area: {way} minus {method}", "> 0", interval(gains), met))
    return figures


def enough_figures(plan: Plan, store: Store, seeds: int, own: Mapping[int, Curve]) -> list[Figure]:
    peers = {}
    for method in PEERS:
        if curves := plan.curves(store, method, seeds):
            peers[method] = enough(mean_curve(curves))
    if not peers:
        return []
    few, best = enough(mean_curve(own)), min(peers, key=peers.__getitem__)
    value = f"{few:.1f} against {peers[best]:.1f} ({best})"
    measured = f"joints within a point of all {plan.joints}, {OURS} against the best peer"
    return [Figure(measured, f"≤ {FEWER} of the peer's", value, few <= FEWER * peers[best])]


def small_figures(plan: Plan, store: Store, seeds: int, own: Mapping[int, Curve]) -> list[Figure]:
    figures = []
    for count in (2, 4, 8):
        if found := plan.best_random(store, seeds, count):
            mean, (best, number) = fmean(curve[count] for curve in own.values()), found
            measured = (
                f"accuracy with {count} joints, {OURS} against the best of {number} random on a "
                "validation"
            )
            figures.append(Figure(measured, "above", f"{mean:.3f} against {best:.3f}", mean > best))
    return figures


def hand_picked_figures(plan: Plan, store: Store, own: Mapping[int, Curve]) -> list[Figure]:
    figures = []
    for name, joints in HAND_PICKED.get(plan.name, {}).items():
        results = {seed: store.result(plan.subset(joints, seed)) for seed in own}
        picked = {seed: result["accuracy"] for seed, result in results.items() if result}
        if picked:
            level = f"{fmean(picked.values()):.3f} (n = {len(picked)})"
            figures.append(Figure(f"accuracy, {name}, {len(joints)} joints", "", level))
            for count in (count for count in plan.counts if 8 <= count <= 24):
                gains = [own[seed][count] - accuracy for seed, accuracy in picked.items()]
                measured = f"{OURS} with {count} joints minus {name}"
                figures.append(Figure(measured, "> 0", interval(gains), fmean(gains) > 0))
    return figures


def stability_figures(plan: Plan, store: Store, seeds: int) -> list[Figure]:
    found = {method: stability_of(plan, store, method, seeds) for method in SCRIPT_OF}
    known = {method: value for method, value in found.items() if value is not None}
    if OURS not in known or not {*known} & {*PEERS}:
        return []
    best = max((method for method in known if method in PEERS), key=known.__getitem__)
    figures = []
    for way in (OURS, *MORE_OF_OURS):
        if way in known:
            runs = len(plan.results(store, way, for_stability(plan, seeds)))
            value = f"{known[way]:.2f} against {known[best]:.2f} ({best})"
            measured = f"stability over {runs} seeds, {way} against the best peer"
            figures.append(Figure(measured, "at least", value, known[way] >= known[best]))
    return figures


def final_figures(plan: Plan, store: Store, own: Mapping[int, Curve]) -> list[Figure]:
    gains = []
    for seed, curve in own.items():
        final = plan.results(store, OURS, [seed])[0]["final"]
        gains += [final[str(count)] - curve[count] for count in plan.counts if str(count) in final]
    measured = f"{OURS}: its own final model minus a new one on its joints, all numbers"
    return [Figure(measured, "≥ -0.005", interval(gains), fmean(gains) >= -0.005)] if gains else []


def own_figures(found: Sequence[Result]) -> list[Figure]:
    kept = [len(joints) - int(k) for result in found for k, joints in result["joints"].items()]
    cost = fmean(result["runs"] for result in found)
    return [
        Figure(
            f"{OURS}: joints kept minus joints asked for",
            "0",
            str(max(kept, key=abs)),
            not any(kept),
        ),
        Figure(f"{OURS}: cost in training runs", f"≤ {DEARER}", f"{cost:.2f}", cost <= DEARER),
    ]


# --- rows ----------------------------------------------------------------------------------------


def make_rows() -> dict[str, Row]:
    rows = {}
    for kind, count in PLANTED.items():
        plan = Plan(kind, 42, [count])
        title = f"choosing joints, planted: {kind}, {count} of 42"
        setting = (
            "Recall of the joints that have to be kept, with that number asked for. "
            f"{EPOCHS} epochs a run, at most {RUNS} runs a method. The seed also draws the data. "
            "*Joints off*: by how many a method missed the number before its order of the joints "
            "made it up."
        )
        figures, table = partial(planted_figures, plan), partial(planted_table, plan)
        rows[kind] = Row(title, setting, SEEDS, plan.cells, figures, table)
    rows["longer"] = Row(
        f"choosing joints, planted: all of these, {LONGER} epochs",
        "As above, with a run of the usual length.",
        SEEDS,
        lambda _, seeds: [cell for kind in PLANTED for cell in longer(kind, seeds)],
        longer_figures,
    )
    for name, joints in RECORDINGS.items():
        plan = Plan(name, joints, [count for count in ASKED if count < joints])
        setting = (
            "Accuracy on the test part of new models trained on the chosen joints alone; *area* "
            "under accuracy over the logarithm of the number of joints, as a mean; the fewest "
            f"joints *within 1 point* of all. {EPOCHS} epochs a run, at most {RUNS} runs a method; "
            f"{DRAWS} random sets of each number, uniform and with as many of each body part as "
            "ours has. The best of the random sets is the best on a validation of other subjects "
            "or sessions, with models that are trained on the rest. Stability is over as many "
            "seeds as were run, ten at most."
        )
        figures, table = partial(recording_figures, plan), partial(recording_table, plan)
        title = f"choosing joints: {name}, {joints} joints"
        cells = partial(recording_cells, plan)
        rows[name] = Row(title, setting, SEEDS, cells, figures, table)
    return rows


ROWS = make_rows()


def parse_args() -> argparse.Namespace:
    result = recordings_parser(__doc__, ROWS, required=False)
    args = result.parse_args()
    if args.data is None:
        args.rows = [name for name in args.rows if name not in RECORDINGS]
    return args


def main() -> None:
    args = parse_args()
    measure("selection", ROWS, partial(run, args.data and args.data.resolve()), args)


if __name__ == "__main__":
    main()
