"""The pages of figures: each names the version measured, at the oldest the release before the last."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("performance-*.md"))
_MEASURED = re.compile(r"^(?:\| stagedoor +\| |Measured with Stagedoor )(\d+)\.(\d+)\.(\d+)", re.M)
_RELEASES = re.compile(r"^## \[(\d+)\.(\d+)\.(\d+)\]", re.M)


def versions(pattern: re.Pattern[str], text: str) -> list[tuple[int, ...]]:
    return [tuple(map(int, parts)) for parts in pattern.findall(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_figures_are_not_older_than_the_release_before_the_last(page: Path) -> None:
    """Figures are taken of commits on the way to a release, which still have the version before it."""
    _, before = sorted(versions(_RELEASES, (ROOT / "CHANGELOG.md").read_text("utf-8")))[:-3:-1]
    measured = versions(_MEASURED, page.read_text("utf-8"))
    assert measured, "the page names the version that was measured"
    assert min(measured) >= before, "measure it again: the page says how"
