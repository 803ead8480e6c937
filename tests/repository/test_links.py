"""Every link between the files of the repository leads somewhere, down to the heading."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
PAGES += [ROOT / "benchmarks" / "RESULTS.md"]
SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`+[^`\n]*`+")
LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
HEADING = re.compile(r"^#{1,6} +(.+?)[ #]*$", re.MULTILINE)


def written(page: Path) -> str:
    """A page's text without its blocks of code, with what it includes."""
    text = page.read_text(encoding="utf-8")
    text = SNIPPET.sub(lambda found: (ROOT / found[1]).read_text(encoding="utf-8"), text)
    return FENCE.sub("", text)


@cache
def anchors(page: Path) -> set[str]:
    """Return GitHub's names of a page's headings: of two that are alike, the second ends in -1."""
    found: list[str] = []
    for heading in HEADING.findall(written(page)):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.append(re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-"))
    before = [found[:place].count(anchor) for place, anchor in enumerate(found)]
    return {
        f"{anchor}-{count}" if count else anchor
        for anchor, count in zip(found, before, strict=True)
    }


def dead(text: str, page: Path) -> list[str]:
    """The relative links in a text of a page that lead nowhere."""
    links = [inline or reference for inline, reference in LINK.findall(CODE.sub("", text))]
    return [link for link in links if not re.match(r"[a-z]+:", link) and not leads(link, page)]


def leads(link: str, page: Path) -> bool:
    place, _, anchor = unquote(link).partition("#")
    target = (page.parent / place).resolve() if place else page
    if not target.exists() or ROOT not in target.parents:
        return False
    return not anchor or (target.suffix == ".md" and anchor in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert dead(FENCE.sub("", page.read_text(encoding="utf-8")), page) == []


@pytest.mark.parametrize(
    "link", ["nowhere.md", "docs/faq.md#nowhere", "../README.md", "/README.md", "LICENSE#text"]
)
def test_a_link_that_leads_nowhere_is_found(link: str) -> None:
    text = (
        f"a [word]({link}), a [way](docs/faq.md#λ-does-nothing), `[code](x.md)`, [out](https://x.y)"
    )
    assert dead(text, ROOT / "README.md") == [link]


def test_headings_that_are_alike_are_told_apart(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Use `it`\n\n## In [a](b.md) – c?\n\n# Use it\n\n```\n# code\n```\n")
    assert anchors(page) == {"use-it", "in-a--c", "use-it-1"}
