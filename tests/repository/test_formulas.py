"""Formulas of the documentation become MathML when it is built."""

from __future__ import annotations

from xml.etree import ElementTree

from docs.hooks.formulas import on_page_content

MATHML = "{http://www.w3.org/1998/Math/MathML}"


def test_a_formula_in_a_line_becomes_mathml_and_the_line_stays() -> None:
    page = on_page_content(r'<p>Joint <span class="arithmatex">\(x_j\)</span> stays.</p>')
    before, math, after = (page[:9], page[9 : page.index("</math>") + 7], page[-10:])
    assert (before, after) == ("<p>Joint ", "stays.</p>")
    root = ElementTree.fromstring(math)
    assert root.get("display") == "inline"
    assert [part.text for part in root.find(f".//{MATHML}msub") or ()] == ["x", "j"]


def test_a_formula_of_its_own_is_a_block_and_its_signs_are_signs() -> None:
    page = on_page_content('<div class="arithmatex">\\[\np &gt; 0\n\\]</div>')
    root = ElementTree.fromstring(page)
    assert root.get("display") == "block"
    assert [part.text for part in root.iter() if part.text] == ["p", ">", "0"]


def test_text_that_only_looks_like_a_formula_is_left() -> None:
    page = r"<code>\(x\)</code> and $5"
    assert on_page_content(page) == page
