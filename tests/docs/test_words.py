"""Pages that somebody follows are short, and in plain words."""

import re
from pathlib import Path

import pytest

from tests.docs import pages
from tests.docs.pages import ROOT

HOW_TOS = sorted((ROOT / "docs/how-to").glob("*.md"))
FOLLOWED = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/tutorial.md", "docs/faq.md")),
    *(ROOT / f"docs/explanation/{name}.md" for name in ("access-methods", "comparison")),
    *HOW_TOS,
]
MAX_WORDS = 900
"""Of a how-to, without its commands."""
NOT_PLAIN = re.compile(
    r"\b(he|him|his|whoever|anew|comes and goes|ways? in|to be had)\b",
    re.IGNORECASE,
)
"""A person is *they* or their role; a field's word takes the place of the others."""


@pytest.mark.parametrize("page", HOW_TOS, ids=pages.name)
def test_a_how_to_is_short(page: Path) -> None:
    assert len(pages.prose(page).split()) <= MAX_WORDS


@pytest.mark.parametrize("page", FOLLOWED, ids=pages.name)
def test_a_page_that_is_followed_is_in_plain_words(page: Path) -> None:
    assert NOT_PLAIN.findall(pages.prose(page)) == []


def test_the_readme_fits_on_two_screens() -> None:
    assert len(pages.text(ROOT / "README.md").splitlines()) <= 120
