"""Draws numbers as Plotly figures, for the page and for notebooks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lightning_jointprune.record.evaluation import JointEvaluation
from lightning_jointprune.record.intervals import Estimate
from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.record.selection import show
from lightning_jointprune.record.tables import named
from lightning_jointprune.report.comparison import Comparison, compare
from lightning_jointprune.report.curve import Frontier, Point, frontier_numbers
from lightning_jointprune.report.numbers import (
    COLOURS,
    Bars,
    Classes,
    Drawing,
    History,
    Joint,
    Numbers,
    Part,
    bar_numbers,
    class_numbers,
    history_numbers,
    importance_numbers,
    part_numbers,
    short,
    skeleton_numbers,
)

Lines = dict[str, Sequence[float | None]]

GREY = "#8a919e"
# Colours from undecided to certain; both ends can be seen on white and on black.
CERTAINTY = ((0.0, "#D55E00"), (0.5, "#E69F00"), (0.8, "#56B4E9"), (1.0, "#1F7FBF"))
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up")
SHADES = {"warmup": "#8a919e", "search": "#E69F00", "compare": "#56B4E9", "final": "#009E73"}
HOVER = (
    "<b>%{customdata[0]}</b> (joint %{customdata[1]})<br>%{customdata[2]}<br>"
    "keep probability %{customdata[3]}, mean over the search %{customdata[4]}"
    "%{customdata[5]}%{customdata[6]}<extra></extra>"
)
THIN_SPACE = "\u2009"  # between a bar's end, or its whisker's, and its value
WIDE = 100  # largest number of joints of an axis that is not logarithmic
# The buttons that no figure has: those that send it to a server, by their names in all versions of
# Plotly, and selections, which nothing here answers to.
REMOVED = ("sendChartToCloud", "sendDataToCloud", "editInChartStudio", "select2d", "lasso2d")
LAYOUT = {
    "template": "plotly_white",
    "margin": {"l": 10, "r": 10, "t": 40, "b": 40},
    "modebar": {"remove": list(REMOVED)},
}


def plot_importance(record: PruningRecord, evaluation: JointEvaluation | None = None) -> go.Figure:
    """Draw the joints by rank and body part.

    Bars are keep probabilities, pale where a joint is dropped. With an evaluation that measured
    what dropping joints costs, they are those costs, with their intervals.
    """
    joints = importance_numbers(record, evaluation)
    return draw_importance(joints, part_numbers(joints), bar_numbers(joints, evaluation))


def draw_importance(joints: Sequence[Joint], parts: Iterable[Part], bars: Bars) -> go.Figure:
    """Draw the figure of `plot_importance` from joints by rank, their parts and their bars."""
    figure = go.Figure(layout=LAYOUT)
    for part in parts:
        ranks = [rank for rank, joint in enumerate(joints) if joint.part == part.name]
        shown = [joints[rank] for rank in ranks]
        figure.add_bar(
            x=[bars.values[rank] if rank < len(bars.values) else None for rank in ranks],
            y=ranks,
            orientation="h",
            name=_label(part.name or "joints"),
            width=0.75,
            marker={"color": part.colour, "opacity": [1 if j.kept else 0.35 for j in shown]},
            marker_line_width=0,
            marker_pattern={"shape": part.pattern, "fgcolor": "#fff", "fgopacity": 0.6, "size": 7},
            error_x=_whiskers([bars.ends[rank] for rank in ranks if rank < len(bars.values)]),
            customdata=[_hover(joint) for joint in shown],
            hovertemplate=HOVER,
        )
    figure.add_scatter(  # beside bars and whiskers, where no edge cuts them
        x=[
            max(0, value, value + up) for value, (_, up) in zip(bars.values, bars.ends, strict=True)
        ],
        y=list(range(len(bars.values))),
        mode="text",
        text=[f"{THIN_SPACE}{value:.{bars.decimals}f}" for value in bars.values],
        textposition="middle right",
        textfont_size=10,
        cliponaxis=False,
        hoverinfo="skip",
    )
    figure.add_vline(x=bars.axis.line, line={"color": GREY, "dash": "dot", "width": 1})
    _name_ranks(figure, joints)
    figure.update_yaxes(range=[len(bars.values) - 0.4, -0.6])
    figure.update_xaxes(range=bars.axis.span, side="top", title_text=_label(bars.axis.title))
    figure.update_layout(height=100 + 17 * len(bars.values), barmode="overlay")
    figure.update_layout(hovermode="y", showlegend=False, margin_r=44)
    return figure


def _whiskers(ends: Sequence[tuple[float, float]]) -> dict[str, Any] | None:
    """Return bars of error, from how far the ends are below and above each value; or None."""
    if not any(map(any, ends)):
        return None
    down, up = zip(*ends, strict=True)
    look = {"color": GREY, "thickness": 1.5, "width": 3}
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, **look}


def plot_skeleton(record: PruningRecord, evaluation: JointEvaluation | None = None) -> go.Figure:
    """Draw the skeleton, kept joints coloured, dropped ones hollow; empty if no place is known."""
    return draw_skeleton(skeleton_numbers(record, importance_numbers(record, evaluation)))


class Canvas(NamedTuple):
    """Says where a skeleton is drawn, and how large.

    Attributes:
        size: diameter of a kept joint, in pixels.
        across: left and right end of x.
        down: top and bottom end of y, which grows downwards.
    """

    size: int
    across: tuple[float, float]
    down: tuple[float, float]

    @property
    def aspect(self) -> float:
        """Return its height over its width."""
        return (self.down[1] - self.down[0]) / (self.across[1] - self.across[0])

    @property
    def height(self) -> float:
        """Return the height of the figure, in pixels, with the colour bar below the skeleton."""
        return min(80 + 900 * self.aspect, 860 if self.size < 11 else 620)

    @property
    def dropped_size(self) -> float:
        """Return the diameter of a dropped joint, in pixels."""
        return self.size * 0.6

    def lines(self, drawing: Drawing) -> tuple[tuple[Sequence[tuple[int, int]], str, float], ...]:
        """Return the edges that look alike, with their colour and their width in pixels."""
        kept_width = max(2, self.size / 5)
        return (drawing.other_edges, GREY, 1), (drawing.kept_edges, COLOURS[0], kept_width)


def canvas_of(drawing: Drawing) -> Canvas:
    """Return a canvas with room for all joints and labels."""
    size = 15 if len(drawing.joints) < 60 else 11 if len(drawing.joints) < 200 else 8
    bottom = max(max(drawing.y) + 0.03, *(y + 0.08 for *_, y in drawing.labels), 0)
    across = min(drawing.x) - 0.03, max(drawing.x) + 0.03
    return Canvas(size, across, (min(drawing.y) - 0.03, bottom))


def draw_skeleton(drawing: Drawing | None) -> go.Figure:
    """Draw the figure of `plot_skeleton`; empty without a drawing."""
    figure = go.Figure(layout=LAYOUT)
    if drawing is None:
        return figure
    canvas = canvas_of(drawing)
    for edges, colour, width in canvas.lines(drawing):
        figure.add_scatter(
            x=[v for a, b in edges for v in (drawing.x[a], drawing.x[b], None)],
            y=[v for a, b in edges for v in (drawing.y[a], drawing.y[b], None)],
            mode="lines",
            line={"color": colour, "width": width},
            opacity=0.55,
            hoverinfo="skip",
        )
    hollow = {"size": canvas.dropped_size, "symbol": "circle-open", "color": GREY}
    bar = {"title": {"text": "keep probability", "side": "top"}, "orientation": "h", "y": 0}
    bar |= {"yanchor": "top", "thickness": 8, "len": 0.5, "outlinewidth": 0}
    filled = {"size": canvas.size, "colorscale": CERTAINTY, "cmin": 0, "cmax": 1, "colorbar": bar}
    for kept, look in ((False, hollow), (True, filled)):
        shown = [joint for joint in drawing.joints if joint.kept == kept]
        figure.add_scatter(
            x=[drawing.x[joint.number] for joint in shown],
            y=[drawing.y[joint.number] for joint in shown],
            mode="markers",
            name="kept" if kept else "dropped",
            marker={"color": [joint.probability for joint in shown], **look},
            customdata=[_hover(joint) for joint in shown],
            hovertemplate=HOVER,
        )
    for text, x, y in drawing.labels:
        figure.add_annotation(text=text, x=x, y=y + 0.05, showarrow=False, font={"size": 12})
    figure.update_xaxes(visible=False, range=canvas.across)
    figure.update_yaxes(visible=False, range=canvas.down[::-1], scaleanchor="x")
    figure.update_layout(showlegend=False, meta={"aspect": canvas.aspect}, margin_t=0)
    figure.update_layout(height=canvas.height, margin_b=72)
    return figure


def plot_history(record: PruningRecord, evaluation: JointEvaluation | None = None) -> go.Figure:
    """Draw the run over optimizer steps; empty with fewer than two snapshots.

    With an evaluation that has it, the metric with gates drawn as in the search is shown beside
    that with the hard mask, at the end.
    """
    return draw_history(history_numbers(record, importance_numbers(record), evaluation))


def draw_history(numbers: History | None) -> go.Figure:
    """Draw the figure of `plot_history`; empty without a history."""
    if numbers is None:
        return go.Figure(layout=LAYOUT)
    rows = _history_rows(numbers)
    heights = [min(max(13 * len(numbers.joints), 200), 520), *(110 for _ in rows)]  # pixels
    figure = make_subplots(
        rows=len(heights),
        cols=1,
        shared_xaxes=True,
        row_heights=heights,
        vertical_spacing=46 / (sum(heights) + 46 * len(rows)),
        subplot_titles=["keep probability of each joint, by rank", *map(_row_title, rows)],
    )
    figure.update_annotations(x=0, xanchor="left", align="left", font_size=13)
    _add_heat(figure, numbers)
    few = len(numbers.steps) < 60
    for row, lines in enumerate(rows, start=2):
        for place, (name, values) in enumerate(lines.items()):
            figure.add_scatter(
                x=numbers.steps,
                y=values,
                name=_label(name),
                mode="markers"
                if (lone := _is_lone(values))
                else "lines+markers"
                if few
                else "lines",
                line={"color": COLOURS[place % len(COLOURS)], "dash": _dash(place)},
                marker={"size": 10 if lone else 4},
                cliponaxis=not lone,
                connectgaps=True,
                customdata=numbers.epochs,
                hovertemplate="%{y}, step %{x}, epoch %{customdata}",
                row=row,
                col=1,
            )
    _add_phases(figure, numbers, len(heights))
    figure.update_xaxes(range=[numbers.steps[0], numbers.steps[-1]])
    figure.update_xaxes(title_text="optimizer steps", row=len(heights), col=1)
    height = sum(heights) + 46 * len(rows) + 130
    figure.update_layout(LAYOUT)
    figure.update_layout(height=height, showlegend=False, margin_t=70, margin_b=60)
    return figure


def plot_comparison(records: Mapping[str, PruningRecord]) -> go.Figure:
    """Draw the keep probability of each joint in each run, with a dot where it is kept.

    Joints that no run keeps are left out.

    Args:
        records: a name for each run, and its record; at least two, of the same joints.
    """
    return draw_comparison(compare(records))


def draw_comparison(numbers: Comparison) -> go.Figure:
    """Draw the figure of `plot_comparison`."""
    rows = [row for row in numbers.rows if row.votes]
    figure = go.Figure(layout=LAYOUT)
    figure.add_heatmap(
        z=[row.probabilities for row in rows],
        customdata=[[_label(run) for run in numbers.runs]] * len(rows),
        zmin=0,
        zmax=1,
        colorscale="Cividis",
        colorbar={"title": {"text": "keep probability", "side": "right"}, "outlinewidth": 0},
        hovertemplate="%{y}<br>%{customdata}: %{z:.3f}<extra></extra>",
    )
    marks = [(run, place) for place, row in enumerate(rows) for run, k in enumerate(row.kept) if k]
    figure.add_scatter(
        x=[run for run, _ in marks],
        y=[place for _, place in marks],
        mode="markers",
        marker={"color": COLOURS[5], "size": 7, "line": {"color": "#fff", "width": 1}},
        hoverinfo="skip",
    )
    labels = [f"{_label(row.name)} ({row.votes}/{len(numbers.runs)})" for row in rows]
    places = list(range(len(rows)))
    figure.update_yaxes(tickvals=places, ticktext=labels, range=[len(rows) - 0.5, -0.5])
    runs = [*map(_label, numbers.runs)]
    figure.update_xaxes(tickvals=list(range(len(runs))), ticktext=runs)
    figure.update_xaxes(side="top", range=[-0.5, len(runs) - 0.5])
    figure.update_layout(showlegend=False, height=120 + 18 * len(rows))
    return figure


def plot_frontier(
    records: PruningRecord | Mapping[str, PruningRecord], points: Iterable[Point] = ()
) -> go.Figure:
    """Draw the metric against the number of joints, with intervals; empty below two points.

    Args:
        records: a run's record, or several with a name for each.
        points: other values of the same metric; points of one label are a line.
    """
    return draw_frontier(frontier_numbers(records, points))


def draw_frontier(numbers: Frontier | None) -> go.Figure:
    """Draw the figure of `plot_frontier`; empty without points."""
    figure = go.Figure(layout=LAYOUT)
    if numbers is None:
        return figure
    looks = zip(itertools.cycle(COLOURS), itertools.cycle(SYMBOLS), strict=False)
    for (label, line), (colour, symbol) in zip(numbers.lines.items(), looks, strict=False):
        up = [0 if p.high is None else p.high - p.value for p in line]
        down = [0 if p.low is None else p.value - p.low for p in line]
        bars = {"type": "data", "array": up, "arrayminus": down, "symmetric": False, "width": 3}
        figure.add_scatter(
            x=[point.joints for point in line],
            y=[point.value for point in line],
            name=_label(label),
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": "solid" if label in numbers.runs else "dot"},
            marker={"size": 9, "symbol": symbol},
            error_y=bars if any(up) or any(down) else None,
            customdata=[str(Estimate(point.value, point.low, point.high)) for point in line],
            hovertemplate="%{x} joints: %{customdata}<extra>%{fullData.name}</extra>",
        )
    counts = [point.joints for line in numbers.lines.values() for point in line]
    wide = max(counts) > WIDE and min(counts) > 0
    _mark_runs(figure, numbers, (min(counts) if wide else 0, max(counts)))
    axis = {"type": "log"} if wide else {"rangemode": "tozero"}
    figure.update_xaxes(title_text="joints that the model sees", **axis)
    figure.update_yaxes(title_text=_label(numbers.metric))
    figure.update_layout(height=380, margin_t=60, showlegend=True)
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    return figure


def _mark_runs(figure: go.Figure, numbers: Frontier, ends: tuple[int, int]) -> None:
    """Mark what runs chose, and what they reach without pruning between two numbers of joints."""
    colours = dict(zip(numbers.lines, itertools.cycle(COLOURS), strict=False))
    whose = {run: f"{_label(run)}, " if len(numbers.runs) > 1 else "" for run in numbers.runs}
    for run, point in numbers.chosen.items():
        figure.add_scatter(
            x=[point.joints],
            y=[point.value],
            name=f"{whose[run]}chosen",
            mode="markers",
            marker={"size": 20, "symbol": "circle-open", "color": colours[run]},
            marker_line_width=3,
            hoverinfo="skip",
        )
    for run, value in numbers.baselines.items():
        figure.add_scatter(
            x=ends,
            y=[value, value],
            name=f"{whose[run]}without pruning",
            mode="lines",
            line={"color": colours[run], "width": 1.5, "dash": "dash"},
            hovertemplate=f"{show(value)}<extra>%{{fullData.name}}</extra>",
        )


def plot_classes(evaluation: JointEvaluation) -> go.Figure:
    """Draw what each class loses when a kept joint goes; empty if that was not measured."""
    return draw_classes(class_numbers(evaluation))


def draw_classes(numbers: Classes | None) -> go.Figure:
    """Draw the figure of `plot_classes`; empty without classes."""
    figure = go.Figure(layout=LAYOUT)
    if numbers is None:
        return figure
    few = len(numbers.names) <= 60
    joints = [_label(name) for _, name in numbers.joints]
    classes = [_label(name) for name in numbers.names]
    figure.add_heatmap(
        z=[[short(lost) for lost in row] for row in numbers.lost],
        customdata=[[(joint, name) for joint in joints] for name in classes],
        zmin=0,
        zmax=max(0.01, *(lost for row in numbers.lost for lost in row)),
        colorscale="Cividis",
        colorbar={
            "title": {"text": "accuracy lost", "side": "right"},
            "thickness": 10,
            "outlinewidth": 0,
        },
        hovertemplate="class %{customdata[1]} without %{customdata[0]}: %{z} lost<extra></extra>",
    )
    rows, columns = list(range(len(classes))), list(range(len(joints)))
    figure.update_yaxes(tickvals=rows, ticktext=classes, range=[len(rows) - 0.5, -0.5])
    figure.update_yaxes(showticklabels=few, showgrid=False, title_text="" if few else "classes")
    figure.update_xaxes(
        tickvals=columns, ticktext=joints, side="top", showgrid=False, tickangle=-50
    )
    figure.update_layout(height=200 + (18 * len(rows) if few else 430), margin_b=10)
    figure.update_layout(meta={"joints": [number for number, _ in numbers.joints]})
    return figure


def for_paper(figure: go.Figure, width: float = 88.0) -> go.Figure:
    """Return a copy in the size of a paper's column, to save by `write_image("figure.pdf")`.

    Text has 7 points, and nothing is higher than a page.

    Args:
        figure: any figure of the report.
        width: in millimetres; a column has about 88, a page 180.
    """
    copy, pixels = go.Figure(figure), 96 / 25.4  # in a millimetre
    text = {"size": 7 / 0.75, "family": "Helvetica, Arial, Liberation Sans, sans-serif"}
    text["color"] = "#000"
    meta, height = copy.layout.meta or {}, 0.62 * (copy.layout.height or 450)
    if "aspect" in meta:  # a skeleton, whose height follows from its width
        height = 60 + width * pixels * meta["aspect"]
    copy.update_layout(width=round(width * pixels), height=round(min(height, 230 * pixels)))
    right = max(4, (copy.layout.margin.r or 0) - 10)  # where values beside bars need it
    copy.update_layout(font=text, margin={"l": 4, "r": right, "t": 36, "b": 32})
    copy.update_annotations(font=text)
    copy.update_traces(marker_size=4, selector={"type": "scatter", "mode": "lines+markers"})
    for trace in copy.select_traces({"type": "scatter", "mode": "markers"}):
        if isinstance(trace.marker.size, int | float):
            trace.marker.size *= 0.5
    return copy


def report_figures(numbers: Numbers) -> dict[str, go.Figure]:
    """Return the figures of a report, by the id of their place in the page."""
    return {
        "skeleton": draw_skeleton(numbers.drawing),
        "importance": draw_importance(numbers.joints, numbers.parts, numbers.bars),
        "history": draw_history(numbers.history),
        "frontier": draw_frontier(numbers.frontier),
        "classes": draw_classes(numbers.classes),
    }


def as_json(figures: Mapping[str, go.Figure]) -> dict[str, str]:
    """Return the figures that are not empty, as JSON that Plotly's script reads."""
    return {name: figure.to_json(engine="json") for name, figure in figures.items() if figure.data}


def _history_rows(numbers: History) -> list[Lines]:
    """Return the rows under the heat map, as lines by name; unknown lines are left out."""
    counts: Lines = {"expected joints": numbers.expected, "active joints": numbers.active}
    metrics: tuple[Lines, Lines] = ({}, {})  # metrics in [0, 1], and others
    for name, values in numbers.metrics.items():
        metrics[any(not 0 <= value <= 1 for value in values if value is not None)][name] = values
    rows: list[Lines] = [counts, *metrics, {"training loss": numbers.loss}]
    rows += [{"price": numbers.price}, {"temperature": numbers.temperature}]
    known = [{n: v for n, v in row.items() if any(x is not None for x in v)} for row in rows]
    return [row for row in known if row]


def _dash(place: int) -> str:
    """Return a line's dash: dots for every second one, and others once colours come again."""
    return ("solid", "dot", "dash", "dashdot")[2 * (place // len(COLOURS) % 2) + place % 2]


def _is_lone(values: Sequence[float | None]) -> bool:
    """Return whether a line is a single point."""
    return sum(value is not None for value in values) == 1


LINE = 36  # characters of a row's title that a phone has room for, in at most two lines


def _row_title(lines: Iterable[str]) -> str:
    """Return the names of a row's lines, each behind a square of its line's colour."""
    text, names, taken = "", list(lines), 0
    for place, (name, colour) in enumerate(zip(names, itertools.cycle(COLOURS), strict=False)):
        label = f'<span style="color:{colour}">■</span> {_label(name)}'
        taken += min(len(name), 28) + 4
        if taken <= LINE or place == 0:
            text += ("  " if text else "") + label
        elif "<br>" not in text:
            text, taken = f"{text}<br>{label}", min(len(name), 28) + 4
        else:
            return f"{text} and {len(names) - place} more"
    return text


def _add_heat(figure: go.Figure, numbers: History) -> None:
    figure.add_heatmap(
        x=numbers.steps,
        z=numbers.heat,
        zmin=0,
        zmax=1,
        colorscale="Cividis",
        colorbar={
            "thickness": 10,
            "lenmode": "pixels",
            "len": 200,
            "y": 1,
            "yanchor": "top",
            "outlinewidth": 0,
        },
        hovertemplate="%{y}<br>step %{x}: %{z}<extra></extra>",
        row=1,
        col=1,
    )
    _name_ranks(figure, numbers.joints, row=1, col=1, showticklabels=len(numbers.joints) <= 40)


def _add_phases(figure: go.Figure, numbers: History, rows: int) -> None:
    for phase, start, end in numbers.phases:
        look = {"fillcolor": SHADES[phase], "opacity": 0.1, "line_width": 0, "layer": "below"}
        for row in range(1, rows + 1):
            figure.add_vrect(x0=start, x1=end, row=row, col=1, **look)
        middle, word = (start + end) / 2, "warm-up" if phase == "warmup" else phase
        figure.add_annotation(x=middle, y=1, yref="paper", yshift=38, text=word, showarrow=False)


def _name_ranks(figure: go.Figure, joints: Sequence[Joint], **more: Any) -> None:
    labels = [_label(joint.name) for joint in joints]
    labels = [f"<b>{x}</b>" if j.kept else x for x, j in zip(labels, joints, strict=True)]
    places, limits = list(range(len(joints))), [len(joints) - 0.4, -0.6]
    figure.update_yaxes(tickvals=places, ticktext=labels, range=limits, showgrid=False, **more)
    figure.update_yaxes(ticklabeloverflow="allow")  # else Plotly measures all pairs of 543 labels


def _label(name: str) -> str:
    """Return a name that Plotly shows as it is, and that leaves room for the figure."""
    return escape(name if len(name) <= 28 else f"{name[:18]}…{name[-9:]}", quote=False)


def _hover(joint: Joint) -> tuple[str | int, ...]:
    name, part = escape(joint.name, quote=False), escape(joint.part, quote=False)
    cost = "" if joint.cost is None else f"<br>dropping it costs {joint.cost}"
    others = f"<br>or {escape(named(joint.stand_ins), quote=False)}" if joint.stand_ins else ""
    return name, joint.number, part, f"{joint.probability:.3f}", f"{joint.mean:.3f}", cost, others
