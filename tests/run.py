"""Runs pytest, and decides whether the run is green: `python -m tests.run [PYTEST ARGUMENT…]`.

A test that failed runs again, once and alone, when the rest is over. If it passes then, it is
flaky: the run stays green, and both outputs are printed last. More than `MAX_FLAKY` of them fail
the run all the same, and so does a skipped test with CI=true. (CPython's `regrtest --rerun` does
the same, without a limit.)
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

MAX_FLAKY = 3
MAX_RERUNS = 20
"""With more failures than this something is broken, and nothing is run again."""
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Outcome:
    """What one pytest process saw. `failed` maps a test's node id to its output."""

    status: int
    passed: int = 0
    skipped: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    printed: str = ""
    """What the last test that passed printed."""


@dataclass(frozen=True)
class Verdict:
    """The exit status, the flaky tests (node id: both outputs), and why the run is red ("": green)."""

    status: int
    flaky: Mapping[str, tuple[str, str]]
    why: str = ""


def to_rerun(first: Outcome) -> tuple[str, ...]:
    """The tests to run again: none if pytest was stopped, failed itself, or failed too often."""
    if first.status != pytest.ExitCode.TESTS_FAILED or len(first.failed) > MAX_RERUNS:
        return ()
    return tuple(first.failed)


def judge(first: Outcome, again: Mapping[str, Outcome], *, skips_fail: bool) -> Verdict:
    """`again` has the second outcome of each test of `to_rerun`."""
    flaky = {
        test: (first.failed[test], f"passed\n{outcome.printed}".strip())
        for test, outcome in again.items()
        if outcome.status == 0 and outcome.passed and not outcome.skipped
    }
    red = first.status or pytest.ExitCode.TESTS_FAILED
    still = len(first.failed) - len(flaky)
    if still:
        return Verdict(red, flaky, f"{still} failed")
    if first.status and not first.failed:
        return Verdict(red, flaky, f"pytest ended with status {first.status}")
    if len(flaky) > MAX_FLAKY:
        return Verdict(red, flaky, f"{len(flaky)} tests were flaky; at most {MAX_FLAKY} may be")
    if skips_fail and first.skipped:
        return Verdict(red, flaky, f"CI=true: {first.skipped} skipped tests fail the run")
    return Verdict(0, flaky)


class Recorder:
    """The pytest plugin: writes the process's `Outcome` to a file when the session ends."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._passed = 0
        self._skipped = 0
        self._failed: dict[str, str] = {}
        self._printed = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        printed = "\n".join(f"--- {name}\n{text}" for name, text in report.sections)
        if report.failed:
            before = self._failed.get(report.nodeid, "")
            self._failed[report.nodeid] = "\n".join([before, report.longreprtext, printed])
        elif report.skipped:
            self._skipped += 1
        elif report.when == "call":
            self._passed += 1
            self._printed = printed

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._skipped += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        outcome: dict[str, Any] = {
            "status": int(exitstatus),
            "passed": self._passed,
            "skipped": self._skipped,
            "failed": self._failed,
            "printed": self._printed,
        }
        self._file.write_text(json.dumps(outcome), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcome-file", metavar="FILE", help="write the outcome here, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("--outcome-file")
    if file and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(Path(file)))


def run(arguments: Sequence[str]) -> Outcome:
    """One pytest process, with this process's stdout and stderr."""
    with tempfile.TemporaryDirectory(prefix="stagedoor-tests-") as folder:
        file = Path(folder) / "outcome.json"
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "pytest", "-p", "tests.run", f"--outcome-file={file}"]
        done = subprocess.run([*command, *arguments], env={**os.environ, "PYTHONPATH": paths})
        try:
            return Outcome(**{**json.loads(file.read_text("utf-8")), "status": done.returncode})
        except FileNotFoundError:  # a usage error, or a crash
            return Outcome(done.returncode or int(pytest.ExitCode.INTERNAL_ERROR))


def say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str]) -> int:
    """The exit status for `arguments`, which go to pytest as they are."""
    first = run(arguments)
    again: dict[str, Outcome] = {}
    for test in to_rerun(first):
        say(f"\n=== again, alone: {test}")
        again[test] = run(["-p", "no:cacheprovider", "-n", "0", test])
    verdict = judge(first, again, skips_fail=os.environ.get("CI") == "true")
    for test, (before, after) in verdict.flaky.items():
        say(f"\n=== FLAKY: {test}\n{before.strip()}\n--- again, alone: {after}")
    if len(first.failed) > MAX_RERUNS:
        say(f"\n=== {len(first.failed)} tests failed; past {MAX_RERUNS} none is run again")
    if verdict.why:
        say(f"\n=== RED: {verdict.why}")
    elif verdict.flaky:
        say(f"\n=== green, with {len(verdict.flaky)} FLAKY: each is a bug to mend")
    return verdict.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
