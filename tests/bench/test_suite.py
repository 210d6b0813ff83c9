"""`bench/suite.py`: what a run cost, as the contributors' page shows it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

from suite import BEGIN, END, PAGE, report, unlisted, written

TIMES = {
    "wall_s": 90.0,
    "tests": {
        "tests/wire/test_a.py::test_1": [1.0, 0.9],
        "tests/kube/api/test_b.py::test_2[a|b]": [60.0, 3.0],
        "tests/wire/test_a.py::test_3": [0.04, 0.0],
    },
}


def test_the_cost_is_told_by_folder_and_by_test_the_slowest_first() -> None:
    lines = report(TIMES, 2).splitlines()
    assert lines[0] == "3 tests in 1.5 minutes on 2 cores; 0.1 minutes of the processor."
    rows = [line for line in lines if line.startswith("| `")]
    assert rows[:2] == ["| `tests/kube` | 1 | 60 | 3 |", "| `tests/wire` | 2 | 1 | 1 |"]
    assert rows[2] == r"| `kube/api/test_b.py::test_2[a\|b]` | 60.0 | 3.0 |"


def test_a_file_that_takes_long_and_does_not_begin_first_is_named() -> None:
    assert unlisted(TIMES, ["tests/other.py"]) == [("tests/kube/api/test_b.py", 60.0)]
    assert unlisted(TIMES, ["tests/kube/api/test_b.py"]) == []


def test_only_the_section_of_the_page_is_written() -> None:
    page = f"# Tests\n{BEGIN}\nold\n{END}\nmore\n"
    assert written(page, "new") == f"# Tests\n{BEGIN}\nnew\n{END}\nmore\n"
    assert "new" in written(PAGE.read_text("utf-8"), "new")
    with pytest.raises(ValueError, match="missing"):
        written("# Tests\n", "new")
