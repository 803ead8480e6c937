"""Test that Plotly's script is in the page, on a server that cannot change it, or beside it."""

from __future__ import annotations

import base64
import hashlib

from lightning_jointprune.report.plotly_script import PLOTLY, script_element, script_text


def test_the_script_is_brought_from_where_it_was_asked_for() -> None:
    elements = {place: script_element(place) for place in PLOTLY}
    assert elements["inline"] == f"<script>{script_text()}</script>"
    assert elements["directory"] == '<script src="plotly.min.js"></script>'
    assert 'src="https://cdn.plot.ly/plotly-' in elements["cdn"]


def test_a_server_can_only_send_the_script_that_is_installed() -> None:
    digest = base64.b64encode(hashlib.sha256(script_text().encode()).digest()).decode()
    assert f'integrity="sha256-{digest}"' in script_element("cdn")
