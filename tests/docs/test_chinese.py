"""The Chinese pages are in step with the English ones: headings, commands, links, tables."""

import posixpath
import re
from pathlib import Path

import pytest

from tests.docs import pages
from tests.docs.pages import ROOT

PAIRS = {
    "README.zh-CN.md": "README.md",
    "docs/zh/tutorial.md": "docs/tutorial.md",
    "docs/zh/security.md": "docs/security.md",
    **{
        f"docs/zh/{name}.md": f"docs/how-to/{name}.md"
        for name in (
            *("install", "administrator", "users-and-grants"),
            *("single-sign-on", "operate", "troubleshooting", "upgrade"),
            *("developer", "other-clients", "connect-messages", "access-on-request"),
            *("log-in", "jump-host"),
            *("install-kubernetes", "kubernetes-networks", "maintain-kubernetes"),
            "operate-kubernetes",
            *("webshell", "terminals", "share-terminals", "webshell-files"),
        )
    },
}
"""A Chinese page, and the English one that it says."""
_PAIR = pytest.mark.parametrize(("chinese", "english"), PAIRS.items())
HEADING = re.compile(r"^(#{1,6}) ", re.MULTILINE)


def linked(page: Path) -> list[str]:
    """Return where the links of a page lead, as English pages and pictures, sorted.

    An anchor is in the language of the page.
    """
    found = []
    for link in pages.links(page):
        path, _, anchor = link.partition("#")
        folder = page.parent.relative_to(ROOT).as_posix()
        target = posixpath.normpath(posixpath.join(folder, path)) if path else pages.name(page)
        target = PAIRS.get(target, target.replace("docs/zh/webshell/", "docs/how-to/webshell/"))
        found.append(target + ("#" if anchor else ""))
    return sorted(found)


@_PAIR
def test_the_headings_are_as_many_and_as_deep(chinese: str, english: str) -> None:
    ours, theirs = (HEADING.findall(pages.prose(ROOT / one)) for one in (chinese, english))
    assert ours == theirs


@_PAIR
def test_the_commands_are_the_same(chinese: str, english: str) -> None:
    ours, theirs = (pages.FENCE.findall(pages.text(ROOT / one)) for one in (chinese, english))
    assert ours == theirs


@_PAIR
def test_the_links_lead_to_the_same_pages(chinese: str, english: str) -> None:
    assert linked(ROOT / chinese) == linked(ROOT / english)


@_PAIR
def test_the_tables_have_as_many_rows(chinese: str, english: str) -> None:
    ours, theirs = (
        [line.count(" | ") for line in pages.prose(ROOT / one).splitlines() if line[:1] == "|"]
        for one in (chinese, english)
    )
    assert ours == theirs


@_PAIR
def test_no_paragraph_and_no_item_is_missing(chinese: str, english: str) -> None:
    """Under each heading there are as many of both, so that no warning is left out."""
    ours, theirs = (sections(ROOT / page) for page in (chinese, english))
    assert ours == theirs


def sections(page: Path) -> list[tuple[int, int]]:
    """Count the paragraphs and the list items of a page under each of its headings."""
    text = pages.FENCE.sub("```\n", pages.text(page))
    counts = []
    for section in re.split(r"^#{1,6} .*$", text, flags=re.MULTILINE)[1:]:
        items = len(re.findall(r"^ *(?:- |\d+\. )", section, re.MULTILINE))
        blocks = [block.strip() for block in re.split(r"\n{2,}|```", section)]
        paragraphs = [block for block in blocks if block and not re.match(r"\||- |\d+\. ", block)]
        counts.append((len(paragraphs), items))
    return counts


@_PAIR
def test_it_is_in_chinese(chinese: str, english: str) -> None:
    """A paragraph that was left in English has many words in a row."""
    words = r"(?:[A-Za-z']+[ ,]+){12}"
    prose = re.sub(r"`[^`]*`|\([^()]*\)", "", pages.prose(ROOT / chinese))
    assert re.findall(words, prose) == []


def test_every_chinese_page_has_its_english_one() -> None:
    found = {pages.name(page) for page in (ROOT / "docs/zh").glob("*.md")}
    assert found - {"docs/zh/glossary.md"} == {one for one in PAIRS if one.startswith("docs/")}
