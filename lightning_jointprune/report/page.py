"""Writes figures as one HTML page, which needs no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
)
from markupsafe import Markup, escape

from lightning_jointprune.measure.baseline import baseline_of
from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.files import PathLike, Place, file_at, place, write_text
from lightning_jointprune.record.record import REPORT_FILE, PruningRecord
from lightning_jointprune.record.selection import show
from lightning_jointprune.record.tables import NAMED, named
from lightning_jointprune.report.comparison import compare
from lightning_jointprune.report.curve import (
    TEST_PART,
    Point,
    chosen_of,
    frontier_numbers,
    given_of,
    number_trained,
    sentence_of,
)
from lightning_jointprune.report.doubts import NO_BASELINE, findings, verdict
from lightning_jointprune.report.figures import (
    as_json,
    draw_comparison,
    draw_frontier,
    report_figures,
)
from lightning_jointprune.report.numbers import (
    PROBABILITY,
    History,
    Joint,
    Numbers,
    Rung,
    report_numbers,
    short,
    skeleton_of,
)
from lightning_jointprune.report.picture import skeleton_sketch
from lightning_jointprune.report.plotly_script import (
    PLOTLY,
    PLOTLY_FILE,
    SOURCES,
    script_element,
    script_text,
)
from lightning_jointprune.report.usage import (
    MEASURE_CODE,
    callback_code,
    idle_components,
    load_code,
    papers,
)


def write_report(
    record: PruningRecord,
    path: PathLike,
    title: str | None = None,
    plotly: str = "inline",
    evaluation: JointEvaluation | None = None,
    points: Sequence[Point] = (),
    seeds: Mapping[str, PruningRecord] | Sequence[PruningRecord] = (),
    joints: int | None = None,
) -> Place:
    """Write the report as one HTML file that needs no other, and return its path.

    Args:
        record: the record of the run.
        path: the file, or a folder for `joint_importance.html`.
        title: the data set or task, for the sentence at the top.
        plotly: the place of Plotly's script. `"inline"` puts it in the page (5 MB). `"cdn"` loads
            it from Plotly's server, so that the page needs a network. `"directory"` writes the file
            `plotly.min.js` beside the page, for many reports in one folder.
        evaluation: the result of `evaluate_joints`. It adds the cost of dropping each joint,
            sections on classes and signers, and findings on how far to trust the run.
        points: other values of the record's metric, such as those of published sets of joints, for
            the section on accuracy against joints.
        seeds: records of runs that differ in their seed, for their agreement; of finished ones
            also the joints. They may have names, such as their folders.
        joints: a number of joints that was measured, which the page shows first; None shows the
            one that the run ended with.

    Raises:
        OSError: it cannot be written.
        ValueError: `plotly` is another word, the evaluation or the seeds are of other joints, or
            the number of joints was not measured.
    """
    target = file_at(path, REPORT_FILE)
    text = render(record, title, plotly, evaluation, points, seeds, joints)
    return _write(target, text, plotly)


def write_comparison(
    records: Mapping[str, PruningRecord], path: PathLike, plotly: str = "inline"
) -> Place:
    """Write runs side by side as one HTML file: joints, overlaps, and frontiers together.

    Args:
        records: a name for each run, and its record; at least two, of the same joints.
        path: the file.
        plotly: as in `write_report`.

    Raises:
        OSError: it cannot be written.
        ValueError: `plotly` is another word, or the runs are fewer than two or of other joints.
    """
    numbers, frontier = compare(records), frontier_numbers(records)
    text = fill_page(
        "comparison.html",
        {"comparison": draw_comparison(numbers), "frontier": draw_frontier(frontier)},
        plotly,
        numbers=numbers,
        selections=[record.selection for record in records.values()],
        names=next(iter(records.values())).selection.joint_names,
        baselines=[baseline_of(record) for record in records.values()],
        always=sum(row.votes == len(records) for row in numbers.rows),
        frontier=frontier,
    )
    return _write(place(path), text, plotly)


def render(
    record: PruningRecord,
    title: str | None = None,
    plotly: str = "inline",
    evaluation: JointEvaluation | None = None,
    points: Sequence[Point] = (),
    seeds: Mapping[str, PruningRecord] | Sequence[PruningRecord] = (),
    joints: int | None = None,
) -> str:
    """Return the report as HTML, always the same for a record; see `write_report`."""
    if not isinstance(seeds, Mapping):
        seeds = {f"run {number}": seed for number, seed in enumerate(seeds, start=2)}
    found = findings(record, [*seeds.values()], evaluation)  # refuses seeds of other joints
    ended = {name: seed for name, seed in seeds.items() if seed.phase == record.phase == "final"}
    numbers = report_numbers(record, evaluation, points, [*ended.values()])
    measured = [rung.kept for rung in numbers.rungs]
    if joints is not None and joints not in measured:
        known = ", ".join(map(str, measured)) or "none"
        raise ValueError(
            f"Expected a number of joints that was measured, {known}, but got {joints}. Pass one "
            "of these, or leave it out."
        )
    shown = [numbers.joints, *(rung.joints for rung in (*numbers.rungs, *numbers.seeds))]
    shorter = numbers._replace(history=numbers.history and _in_thousandths(numbers.history))
    return fill_page(
        "report.html",
        report_figures(shorter),
        plotly,
        record=record,
        selection=record.selection,
        sentence=sentence_of(record, title),
        asked=TEST_PART if chosen_of(record) else "",
        given=given_of(record),
        numbers=numbers,
        runs=["this run", *ended],
        trained=number_trained(record),
        drawn_by_name=skeleton_of(record) is not None,
        stand_ins=any(joint.stand_ins for ranked in shown for joint in ranked),
        evaluation=evaluation,
        findings=found,
        verdict=verdict(found),
        idle=idle_components(record),
        code=callback_code(record),
        papers=papers(record),
        sketch=skeleton_sketch(numbers.drawing) if numbers.drawing else "",
        page_data=_for_script(
            json.dumps(
                _page_data(record, numbers, ended)
                | {"first": None if joints is None else measured.index(joints)},
                separators=(",", ":"),
            )
        ),
        load=load_code(record, len(record.selection.indices)),
        measure=MEASURE_CODE,
        baseline=baseline_of(record),
        no_baseline=NO_BASELINE,
        settings={name: json.dumps(value) for name, value in record.settings.items()},
    )


def _in_thousandths(history: History) -> History:
    """Return a history with keep probabilities in thousandths; the page's script divides them."""
    return history._replace(heat=[[round(1000 * p) for p in row] for row in history.heat])


def _write(path: Place, text: str, plotly: str) -> Place:
    """Write a page, and Plotly's script if it has to stand beside it."""
    write_text(path, text)
    if plotly == "directory":
        write_text(path.with_name(PLOTLY_FILE), script_text())
    return path


def fill_page(
    template: str,
    figures: Mapping[str, Any],
    plotly: str = "inline",
    folder: Path | None = None,
    **values: Any,
) -> str:
    """Return a page: a template with values, figures that are not empty and Plotly's script.

    Args:
        template: its file name; it includes `head.html`, and `figures.js` where it has figures.
        figures: by the id of their place in the page.
        plotly: as in `write_report`.
        folder: of templates beside those of this package.
        values: that the template names.
    """
    if plotly not in PLOTLY:
        raise ValueError(f"Expected plotly to be one of {', '.join(PLOTLY)} but got {plotly!r}.")
    loaders: list[BaseLoader] = [PackageLoader("lightning_jointprune.report")]
    pages = Environment(
        loader=ChoiceLoader([FileSystemLoader(folder), *loaders] if folder else loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    pages.filters |= {"show": show, "coded": _coded, "named": named}
    return pages.get_template(template).render(
        figures={name: _for_script(text) for name, text in as_json(figures).items()},
        plotly=script_element(plotly),
        script_sources=SOURCES[plotly],
        **values,
    )


def _page_data(
    record: PruningRecord, numbers: Numbers, seeds: Mapping[str, PruningRecord]
) -> dict[str, Any]:
    """Return the data of the page's own script.

    They are the joints by rank, the moments to replay, and what changes with the number of joints
    or the run that is shown.
    """
    history, columns = numbers.history, ("steps", "epochs", "phase_names", "active", "expected")
    moments = zip(*(getattr(history, name) for name in columns), strict=True) if history else ()
    places = {joint.name: joint.number for joint in numbers.joints}

    def instead(joint: Joint) -> tuple[str, list[int]] | None:
        """Return a joint's stand-ins in words, and the numbers of those that are named."""
        if not joint.stand_ins:
            return None
        return named(joint.stand_ins), [places[name] for name in list(joint.stand_ins)[:NAMED]]

    costs = [j.cost and [short(value) for value in j.cost] for j in numbers.joints]
    rows = zip(numbers.joints, costs, strict=True)
    shown = [
        (j.number, j.name, j.part, j.probability, j.kept, cost, instead(j)) for j, cost in rows
    ]

    def view(rung: Rung, of: PruningRecord) -> dict[str, Any]:
        """Return what the page shows of a number of joints of a run."""
        return {
            "value": "" if rung.value is None else show(rung.value),
            "order": [joint.number for joint in rung.joints],
            "probabilities": [short(joint.probability) for joint in rung.joints],
            "kept": [joint.number for joint in rung.joints if joint.kept],
            "instead": [instead(joint) for joint in rung.joints],
            "load": load_code(of, rung.kept),
        }

    rungs = [view(rung, record) for rung in numbers.rungs]
    runs = [view(*run) for run in zip(numbers.seeds, (record, *seeds.values()), strict=False)]
    for run, name in zip(runs[1:], seeds, strict=True):
        run |= {"name": name, "load": f"# in the folder of {name}\n{run['load']}"}
    drawing = numbers.drawing if rungs or runs else None
    edges = (*drawing.kept_edges, *drawing.other_edges) if drawing else ()
    axes = {"probability": PROBABILITY, "cost": numbers.bars.axis}
    return {
        "joints": shown,
        "axes": {name: axis._asdict() for name, axis in axes.items()},
        "moments": list(moments),
        "metric": record.selection.metric,
        "rungs": rungs,
        "runs": runs,
        "edges": edges,
    }


def _for_script(text: str) -> Markup:
    """Return JSON without characters that could end its script element."""
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _coded(text: str) -> Markup:
    """Return text as HTML, with code where it has backticks."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:  # a name has a backtick
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if place % 2 else escape(piece)
        for place, piece in enumerate(pieces)
    )
