"""The skeleton as a picture, for loggers that show no page."""

from __future__ import annotations

import torch
from plotly.colors import sample_colorscale
from torch import Tensor

from lightning_jointprune.record.record import PruningRecord
from lightning_jointprune.report.figures import CERTAINTY, GREY
from lightning_jointprune.report.numbers import COLOURS, skeleton_numbers

WIDTH, MARGIN = 640, 24  # in pixels


def skeleton_picture(record: PruningRecord) -> Tensor | None:
    """What `plot_skeleton` draws, on white: kept joints filled, dropped ones hollow.

    Returns:
        Bytes of red, green and blue, shape `(height, 640, 3)`; None if no place is known.

    Raises:
        ImportError: Pillow is not installed; TensorBoard brings it.
    """
    from PIL import Image, ImageDraw

    drawing = skeleton_numbers(record)
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
    scale_of = [*map(list, CERTAINTY)]
    for joint in sorted(drawing.joints, key=lambda one: one.kept):  # kept ones on top
        [colour] = sample_colorscale(scale_of, [joint.probability])
        fill = colour if joint.kept else "white"
        brush.circle(places[joint.number], radius, fill, colour if joint.kept else GREY)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(height, WIDTH, 3)
