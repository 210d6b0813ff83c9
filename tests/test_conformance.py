"""Every line of the conformance list is held by a test that names its number."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_each_line_of_the_list_has_a_test_and_each_test_a_line() -> None:
    page = (ROOT / "docs/reference/connect-conformance.md").read_text(encoding="utf-8")
    listed = {int(n) for n in re.findall(r"^(\d+)\. ", page, re.MULTILINE)}
    assert listed == set(range(1, 39))
    named: set[int] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        for numbers in re.findall(r"mark\.line\(([\d, ]+)\)", file.read_text(encoding="utf-8")):
            named |= {int(n) for n in numbers.split(",")}
    assert named == listed
