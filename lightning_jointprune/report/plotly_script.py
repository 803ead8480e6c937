"""Puts Plotly's script into a page: inside it, from Plotly's server, or from a file beside it."""

from __future__ import annotations

import base64
import hashlib

from markupsafe import Markup

PLOTLY_FILE = "plotly.min.js"
# The places of the script, each with what a page may load from there.
SOURCES = {"inline": "", "cdn": " https://cdn.plot.ly", "directory": " file: 'self'"}
PLOTLY = tuple(SOURCES)


def script_text() -> str:
    """Return the script, about 5 MB."""
    from plotly.offline import get_plotlyjs

    text: str = get_plotlyjs()
    return text


def script_element(plotly: str) -> Markup:
    """Return the element of a page that brings the script.

    Args:
        plotly: the place of the script, out of `PLOTLY`.
    """
    if plotly == "directory":
        return Markup(f'<script src="{PLOTLY_FILE}"></script>')
    if plotly == "inline":
        return Markup(f"<script>{script_text()}</script>")
    from plotly.offline import get_plotlyjs_version

    digest = base64.b64encode(hashlib.sha256(script_text().encode()).digest()).decode()
    address = f"https://cdn.plot.ly/plotly-{get_plotlyjs_version()}.min.js"
    return Markup(
        f'<script src="{address}" integrity="sha256-{digest}" crossorigin="anonymous"></script>'
    )
