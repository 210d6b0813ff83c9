"""Runs pytest, and decides whether the run is green: `python -m tests.run [OPTION…] [PYTEST ARGUMENT…]`.

Without an option there is one pytest process. `--whole` runs all tests in the shares of `tests.plan`, which
run beside each other; the first one's output is shown at once, the others' when all is over. `--quick`
runs the tests of `tests.plan.QUICK`. `--times=FILE` writes what each test took, for `bench/suite.py`.

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
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import pytest

from tests.cluster.place import cache
from tests.plan import BARE, KEYCLOAK, QUICK, Share, rank, whole

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
    times: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """By node id: seconds by the clock, and of the processor by the test's process and its children
    that ended. A fixture counts for the test that it is made for."""


@dataclass(frozen=True)
class Verdict:
    """The exit status, the flaky tests (node id: both outputs), and why the run is red ("": green)."""

    status: int
    flaky: Mapping[str, tuple[str, str]]
    why: str = ""


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Several processes' outcome as one. One that collected nothing does not count beside others."""
    every = tuple(outcomes)
    nothing = pytest.ExitCode.NO_TESTS_COLLECTED
    ran = tuple(one for one in every if one.status != nothing) or every
    return Outcome(
        # A process that broke (its status is negative after a signal) outweighs a test that failed.
        max((one.status for one in ran), key=abs),
        sum(one.passed for one in every),
        sum(one.skipped for one in every),
        {test: said for one in every for test, said in one.failed.items()},
        times={test: took for one in every for test, took in one.times.items()},
    )


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
        self._times: dict[str, tuple[float, float]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        printed = "\n".join(f"--- {name}\n{text}" for name, text in report.sections)
        wall_s, cpu_s = self._times.get(report.nodeid, (0.0, 0.0))
        cpu_s += getattr(report, "cpu_s", 0.0)
        self._times[report.nodeid] = (wall_s + report.duration, cpu_s)
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
        outcome = Outcome(
            int(exitstatus), self._passed, self._skipped, self._failed, self._printed, self._times
        )
        self._file.write_text(json.dumps(asdict(outcome)), encoding="utf-8")


class Meter:
    """The pytest plugin of every process that runs tests: puts the processor's seconds into each report."""

    def __init__(self) -> None:
        self._before_s = _cpu_s()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self,
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        now_s = _cpu_s()
        report.cpu_s = now_s - self._before_s  # type: ignore[attr-defined]
        self._before_s = now_s
        return report


def _cpu_s() -> float:
    return sum(os.times()[:4])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcome-file", metavar="FILE", help="write the outcome here, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("--outcome-file")
    if file:
        config.pluginmanager.register(Meter())
        if not hasattr(config, "workerinput"):
            config.pluginmanager.register(Recorder(Path(file)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank(item.path))


class Process:
    """One pytest process. Its stdout and stderr are this process's, or go to `shown`."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, shown: IO[bytes] | None = None
    ) -> None:
        self._file = folder / "outcome.json"
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "pytest", "-p", "tests.run"]
        self._process = subprocess.Popen(
            [*command, f"--outcome-file={self._file}", *arguments],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=shown,
            stderr=None if shown is None else subprocess.STDOUT,
        )

    def end(self) -> None:
        """Stop it, if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def outcome(self) -> Outcome:
        """Wait for its end."""
        status = self._process.wait()
        try:
            return Outcome(**{**json.loads(self._file.read_text("utf-8")), "status": status})
        except FileNotFoundError:  # a usage error, or a crash
            return Outcome(status or int(pytest.ExitCode.INTERNAL_ERROR))


def run(arguments: Sequence[str]) -> Outcome:
    """One pytest process, with this process's stdout and stderr."""
    return run_shares((Share("", ()),), arguments)[0]


def run_shares(shares: Sequence[Share], arguments: Sequence[str]) -> list[Outcome]:
    """Each share in a process, all at once; the first is shown while it runs, the others afterwards."""
    with ExitStack() as stack:
        processes, outputs = [], []
        for number, share in enumerate(shares):
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="stagedoor-tests-"))
            )
            shown = stack.enter_context((folder / "output").open("w+b")) if number else None
            process = Process((*share.arguments, *arguments), folder, shown)
            stack.callback(process.end)
            processes.append(process)
            outputs.append(shown)
        outcomes = []
        for share, process, shown in zip(shares, processes, outputs, strict=True):
            outcomes.append(process.outcome())
            if shown is not None:
                shown.seek(0)
                say(
                    f"\n=== {share.name}, which ran beside:\n{shown.read().decode(errors='replace')}"
                )
        return outcomes


def say(text: str) -> None:
    print(text, flush=True)


def first_run(arguments: Sequence[str], *, in_shares: bool) -> Outcome:
    """The run of all that is asked for, before anything is run again."""
    if not in_shares:
        return run(arguments)
    shares = whole(os.cpu_count() or 1, cache())
    for share in shares:
        if not share.is_due:
            say(f"=== not run: {share.name}, which has not changed since it was green")
    say(f"=== not run: {BARE}, the how-tos on bare machines; script/test --fast {BARE} does")
    say(f"=== not run: {KEYCLOAK}; script/test --idp keycloak does")
    due = [share for share in shares if share.is_due]
    outcomes = run_shares(due, arguments)
    for share, outcome in zip(due, outcomes, strict=True):
        if outcome.status == 0 and not outcome.skipped and not arguments:
            share.was_green()
    return together(outcomes)


def main(arguments: Sequence[str]) -> int:
    """The exit status. What is no option of ours goes to pytest as it is."""
    began = time.monotonic()
    times = [one.removeprefix("--times=") for one in arguments if one.startswith("--times=")]
    options = {"--whole", "--quick"} & set(arguments)
    rest = [one for one in arguments if one not in options and not one.startswith("--times=")]
    if "--quick" in options:
        rest = ["-n", str(os.cpu_count() or 1), "--dist", "worksteal", *QUICK, *rest]
    first = first_run(rest, in_shares="--whole" in options)
    for file in times:
        took = {"wall_s": time.monotonic() - began, "tests": first.times}
        Path(file).write_text(json.dumps(took), encoding="utf-8")
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
