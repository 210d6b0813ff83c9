"""`tests.run`: which outcome of a run is green, on small test suites of its own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.run import MAX_FLAKY, MAX_RERUNS, ROOT, Outcome, judge, to_rerun
from tests.waiting import BOUND_S, wait_until

FLAKY = """
    import os, pathlib, sys
    def test_flaky():
        seen = pathlib.Path(__file__).with_name("seen")
        print("with" if pathlib.Path(sys.orig_argv[-1]).is_dir() else "without", "other tests")
        if not seen.exists():
            seen.touch()
            {fail}
    def test_passes(): pass
"""


ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""No plugins: they cost each of these runs half a second."""


@dataclass
class Run:
    status: int
    out: str


def start(folder: Path, tests: str, *arguments: str, ci: str = "") -> "subprocess.Popen[str]":
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(textwrap.dedent(tests))
    # This test may run in a worker itself, which its own pytest must not take for its own.
    outside = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    outside |= ALONE
    return subprocess.Popen(
        [sys.executable, "-m", "tests.run", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**outside, "PYTHONPATH": str(ROOT), "CI": ci},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, tests: str, *arguments: str, ci: str = "") -> Run:
    process = start(folder, tests, *arguments, ci=ci)
    out, _ = process.communicate()
    return Run(process.returncode, out)


@pytest.mark.parametrize("fail", ["assert False, 'by chance'", "os._exit(11)"])
def test_what_passes_alone_is_green_and_shown(tmp_path: Path, fail: str) -> None:
    done = run(tmp_path, FLAKY.format(fail=fail), "--workers=2", ".", ci="true")
    assert done.status == 0, done.out
    last = done.out[done.out.index("=== FLAKY: test_it.py::test_flaky") :]
    assert ("by chance" if "chance" in fail else "crashed") in last
    assert "--- again, alone: passed" in last
    assert "without other tests" in last.partition("--- again, alone: passed")[2]
    assert "--- flaky: test_it.py::test_flaky\n" in last
    assert "green, with 1 FLAKY" in last


def test_an_error_in_a_fixture_is_run_again_too(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import pathlib, pytest
        @pytest.fixture
        def thing():
            seen = pathlib.Path(__file__).with_name("seen")
            yield
            if not seen.exists():
                seen.touch()
                raise OSError("busy")
        def test_it(thing): pass
        """,
    )
    assert done.status == 0, done.out
    assert "busy" in done.out.partition("=== FLAKY: test_it.py::test_it")[2]


def test_what_fails_twice_is_red(tmp_path: Path) -> None:
    done = run(tmp_path, "def test_wrong(): assert 1 == 2\ndef test_right(): pass\n")
    assert done.status == 1
    assert "FLAKY" not in done.out
    assert done.out.count("1 == 2") >= 2
    assert done.out.rstrip().endswith("=== RED: 1 failed")


@pytest.mark.parametrize("count", [MAX_FLAKY, MAX_FLAKY + 1])
def test_too_many_flaky_ones_are_red(count: int) -> None:
    first = Outcome(1, failed=dict.fromkeys(map(str, range(count)), ""))
    again = dict.fromkeys(to_rerun(first), Outcome(0, passed=1))
    verdict = judge(first, again, skips_fail=True)
    assert len(verdict.flaky) == count
    assert verdict.status == (count > MAX_FLAKY)
    assert ("were flaky; at most 3 may be" in verdict.why) == (count > MAX_FLAKY)


def test_skipped_tests_are_red_in_ci_alone(tmp_path: Path) -> None:
    """A module that is skipped whole counts as well."""
    tests = """
        import pytest
        def test_skipped(): pytest.skip("no cluster")
        def test_passes(): pass
    """
    other = "import pytest\npytest.skip('no', allow_module_level=True)\n"
    (tmp_path / "test_other.py").write_text(other)
    assert run(tmp_path, tests).status == 0
    done = run(tmp_path, tests, ci="true")
    assert done.status == 1
    assert done.out.rstrip().endswith("=== RED: CI=true: 2 skipped tests fail the run")


def test_what_cannot_be_collected_is_red_at_once(tmp_path: Path) -> None:
    done = run(tmp_path, "import nothing_of_that_name\n")
    assert done.status != 0
    assert "again, alone" not in done.out
    assert "=== RED:" in done.out


def test_a_usage_error_keeps_its_status(tmp_path: Path) -> None:
    done = run(tmp_path, "def test_passes(): pass\n", "--no-such-option")
    assert done.status == 4
    assert done.out.rstrip().endswith("=== RED: pytest ended with status 4")


def test_no_tests_are_not_green(tmp_path: Path) -> None:
    assert run(tmp_path, "").status == 5


def test_a_broken_product_is_not_run_again() -> None:
    failed = {str(number): "" for number in range(MAX_RERUNS + 1)}
    first = Outcome(1, failed=failed)
    assert to_rerun(first) == ()
    assert judge(first, {}, skips_fail=False).status == 1


@pytest.mark.parametrize(
    "again", [Outcome(0), Outcome(0, passed=1, skipped=1), Outcome(5), Outcome(1, passed=1)]
)
def test_only_a_whole_pass_makes_a_test_flaky(again: Outcome) -> None:
    verdict = judge(Outcome(1, failed={"a": ""}), {"a": again}, skips_fail=False)
    assert verdict.status == 1
    assert verdict.flaky == {}


def test_the_processors_time_is_told_of_children_too(tmp_path: Path) -> None:
    tests = """
        import subprocess, sys, time
        def test_waits(): time.sleep(0.5)
        def test_works():
            subprocess.run([sys.executable, "-c", "sum(range(10_000_000))"], check=True)
    """
    times = tmp_path / "times.json"
    assert run(tmp_path, tests, f"--times={times}", "--workers=1").status == 0
    took = json.loads(times.read_text())
    assert took["wall_s"] > 0.5
    wall_s, cpu_s = took["tests"]["test_it.py::test_waits"]
    assert wall_s >= 0.5
    assert cpu_s < 0.4
    assert took["tests"]["test_it.py::test_works"][1] > 0.05


LEAVES = """
    import os, pathlib, subprocess, time, pytest
    @pytest.fixture(scope="session")
    def tree():
        # In a session of its own, as a browser is, and with a child.
        program = "sleep 300 & echo $$ $! >pids; wait"
        subprocess.Popen(["sh", "-c", program], start_new_session=True)
        while not pathlib.Path("pids").exists() or not pathlib.Path("pids").read_text(): pass
        yield
        pathlib.Path("ended").touch()
    def test_it(tree):
        pathlib.Path("waits").touch()
        {act}
"""


def left_of(folder: Path) -> list[str]:
    return [pid for pid in (folder / "pids").read_text().split() if Path("/proc", pid).exists()]


@pytest.mark.parametrize(
    ("whom", "number"),
    [(os.kill, signal.SIGTERM), (os.killpg, signal.SIGINT)],
    ids=["first-SIGTERM", "all-SIGINT"],
)
def test_a_run_that_is_ended_clears_away_and_leaves_no_process(
    tmp_path: Path, whom: Callable[[int, int], None], number: signal.Signals
) -> None:
    """The fixture forgets its processes: the run ends them all the same."""
    tests = LEAVES.format(act="time.sleep(100)")
    with start(tmp_path, tests, "--workers=2", ".") as process:
        wait_until((tmp_path / "waits").exists)
        whom(process.pid, number)
        out, _ = process.communicate(timeout=BOUND_S)
    assert process.returncode == 128 + number, out
    assert (tmp_path / "ended").exists(), out
    assert left_of(tmp_path) == []
    assert "again, alone" not in out


@pytest.mark.parametrize("act", ["pass", "os._exit(11)"])
def test_a_run_leaves_no_process_and_names_those_that_it_ended(tmp_path: Path, act: str) -> None:
    done = run(tmp_path, LEAVES.format(act=act), "--workers=2", ".")
    assert left_of(tmp_path) == [], done.out
    assert "=== left behind, and ended: sleep 300" in done.out
