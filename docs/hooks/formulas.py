"""Formulas as MathML, which browsers draw by themselves, without a script of another server."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Put MathML in the place of what `pymdownx.arithmatex` found."""
    return FORMULA.sub(_mathml, content)


def _mathml(found: re.Match[str]) -> str:
    display = "inline" if found[2] == "(" else "block"
    return convert(html.unescape(found[3]), display=display)
