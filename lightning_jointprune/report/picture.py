"""Draws the skeleton without Plotly, as SVG for the page and as a picture for loggers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from markupsafe import Markup
from plotly.colors import sample_colorscale
from torch import Tensor

from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.report.figures import CERTAINTY, GREY, canvas_of
from lightning_jointprune.report.numbers import (
    COLOURS,
    Drawing,
    Joint,
    importance_numbers,
    skeleton_numbers,
)

WIDTH, MARGIN = 640, 24  # width and margin of a picture, in pixels


def skeleton_sketch(drawing: Drawing) -> Markup:
    """Return the skeleton as SVG, which is seen until Plotly's script runs."""
    canvas = canvas_of(drawing)
    (left, right), (top, _) = canvas.across, canvas.down
    scale = 1000 / (right - left)
    places = [
        (round((x - left) * scale), round((y - top) * scale))
        for x, y in zip(drawing.x, drawing.y, strict=True)
    ]
    drawn = []
    for edges, colour, width in canvas.lines(drawing):
        ends = [(*places[first], *places[second]) for first, second in edges]
        path = "".join(f"M{a} {b}L{c} {d}" for a, b, c, d in ends)
        look = f'stroke="{colour}" stroke-width="{width:g}" opacity=".55"'
        drawn.append(f'<path d="{path}" {look}/>')
    colours = _certainty_colours(drawing.joints)
    for joint in sorted(drawing.joints, key=lambda joint: joint.kept):  # kept ones on top
        x, y = places[joint.number]
        size = canvas.size if joint.kept else canvas.dropped_size
        fill = f'fill="{colours[joint.number]}"' if joint.kept else f'fill="none" stroke="{GREY}"'
        drawn.append(f'<circle cx="{x}" cy="{y}" r="{size / 2:g}" {fill}/>')
    style = f"aspect-ratio: {1 / canvas.aspect:.4f}; max-height: {canvas.height - 80:.0f}px"
    box = f'viewBox="0 0 1000 {1000 * canvas.aspect:.0f}" style="{style}"'
    return Markup(f'<svg class="sketch" {box} aria-hidden="true">{"".join(drawn)}</svg>')


def skeleton_picture(record: PruningRecord) -> Tensor | None:
    """Return the figure of `plot_skeleton` on white: kept joints filled, dropped ones hollow.

    Returns:
        Bytes of red, green and blue, shape `(height, 640, 3)`; None if no place is known.

    Raises:
        ImportError: if Pillow is not installed; TensorBoard brings it.
    """
    from PIL import Image, ImageDraw

    drawing = skeleton_numbers(record, importance_numbers(record))
    if drawing is None:
        return None
    left, top = min(drawing.x), min(drawing.y)
    scale = (WIDTH - 2 * MARGIN) / max(max(drawing.x) - left, 1e-6)
    scale = min(scale, 2 * WIDTH / max(max(drawing.y) - top, 1e-6))
    height = round(scale * (max(drawing.y) - top)) + 2 * MARGIN
    places = [
        (MARGIN + scale * (x - left), MARGIN + scale * (y - top))
        for x, y in zip(drawing.x, drawing.y, strict=True)
    ]
    image = Image.new("RGB", (WIDTH, height), "white")
    brush, radius = ImageDraw.Draw(image), 6 if len(places) < 60 else 4 if len(places) < 200 else 3
    for edges, colour in ((drawing.other_edges, GREY), (drawing.kept_edges, COLOURS[0])):
        for first, second in edges:
            brush.line([places[first], places[second]], fill=colour, width=2)
    colours = _certainty_colours(drawing.joints)
    for joint in sorted(drawing.joints, key=lambda joint: joint.kept):  # kept ones on top
        colour = colours[joint.number]
        fill = colour if joint.kept else "white"
        brush.circle(places[joint.number], radius, fill, colour if joint.kept else GREY)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(height, WIDTH, 3)


def _certainty_colours(joints: Sequence[Joint]) -> list[str]:
    """Return the colour of each joint's keep probability, as `rgb(...)`."""
    probabilities = [joint.probability for joint in joints]
    colours: list[str] = sample_colorscale([*map(list, CERTAINTY)], probabilities)
    return colours
