"""The acceptance lines for continuity that tests stand for (`@pytest.mark.continuity`)."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
LINES = 20


def marked(source: str) -> Iterator[int]:
    """Yield the numbers of the marks in a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.continuity":
            yield from (number.value for number in node.args if isinstance(number, ast.Constant))


def test_each_line_has_a_test() -> None:
    found = {
        number
        for path in TESTS.rglob("test_*.py")
        if "mark.continuity" in (source := path.read_text())
        for number in marked(source)
    }
    assert found == set(range(1, LINES + 1))
