"""Pages that somebody follows are short; they and the code are in plain words."""

import re
from pathlib import Path

import pytest

from tests.docs import pages
from tests.docs.pages import ROOT

HOW_TOS = sorted((ROOT / "docs/how-to").glob("*.md"))
READ = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(one for one in pages.PAGES if one.is_relative_to(ROOT / "docs")),
]
"""All but the changelog; decisions are a record of their day."""
MAX_WORDS = 900
"""Of a how-to, without its commands."""
NOT_PLAIN = re.compile(
    r"\b((?!(?-i:HE))he|him|his|whoever|anew|knocks?|of ours|comes and goes|ways? in|to be had)\b",
    re.IGNORECASE,
)
"""A person is *they* or their role; a field's word takes the place of the others."""
SOURCES = [
    *sorted((ROOT / "src").rglob("*.py")),
    *sorted((ROOT / "acceptance").rglob("*.py")),
    *sorted((ROOT / "web/src").rglob("*.ts")),
]
NOT_PLAIN_IN_CODE = re.compile(
    r"\b([Hh]e|[Hh]im|[Ww]hoever|[Aa]new|[Kk]nocks?|to be had|fault of ours)\b"
)


@pytest.mark.parametrize("page", HOW_TOS, ids=pages.name)
def test_a_how_to_is_short(page: Path) -> None:
    assert len(pages.prose(page).split()) <= MAX_WORDS


@pytest.mark.parametrize("page", [p for p in READ if p.parent.name != "decisions"], ids=pages.name)
def test_a_page_is_in_plain_words(page: Path) -> None:
    assert NOT_PLAIN.findall(pages.prose(page)) == []


def test_the_code_is_in_plain_words() -> None:
    found = {
        str(file.relative_to(ROOT)): words
        for file in SOURCES
        if (words := NOT_PLAIN_IN_CODE.findall(file.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_the_readme_fits_on_two_screens() -> None:
    assert len(pages.text(ROOT / "README.md").splitlines()) <= 120
