"""Runs pytest, and decides whether the run is green: `python -m tests.run [OPTION…] [PYTEST ARGUMENT…]`.

`--workers=N` is for N processes (`tests.workers`), `--whole` for all tests in the shares of `tests.plan`,
`--quick` for the tests of `tests.plan.QUICK`, and `--lowest` for those of `LOWEST` unless others are named.
`--built=without` leaves out the tests that need a program to be built, and `--built=only` the others.
`--times=FILE` writes what each test took, for `bench/suite.py`.

A test that failed runs again, once and alone, when the rest is over. If it passes then, it is
flaky: the run stays green, and both outputs are printed last. More than `MAX_FLAKY` of them fail
the run all the same, and so does a skipped test with CI=true. (CPython's `regrtest --rerun` does
the same, without a limit.)
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest

from tests.cluster.place import cache
from tests.leftovers import adopt_orphans, end_leftovers, wait_for
from tests.plan import (
    BARE,
    BUILT,
    LOWEST,
    PROVIDERS,
    QUICK,
    Share,
    divided,
    needs_of,
    paths,
    rank,
    whole,
)
from tests.workers import ENDING, Workers, end_by_signals

MAX_FLAKY = 3
SECOND_SIGNAL_S = 2.0
MAX_RERUNS = 20
"""With more failures than this something is broken, and nothing is run again."""
DURATIONS = ("--durations=20", "--durations-min=10")
_ENDED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
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
        self.restart()

    def restart(self) -> None:
        """What was used so far is no test's."""
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
    parser.addoption(
        "--built",
        choices=("without", "only"),
        help="tests that need no program to be built, or the others",
    )
    parser.addoption("--outcome-file", metavar="FILE", help="write the outcome here, as JSON")
    parser.addoption("--workers", metavar="N", type=int, default=0, help="run tests in N processes")
    parser.addoption("--shares", action="store_true", help="run them in the shares of tests.plan")


def pytest_configure(config: pytest.Config) -> None:
    end_by_signals()
    file = config.getoption("--outcome-file")
    meter = Meter()
    if file:
        config.pluginmanager.register(meter)
        config.pluginmanager.register(Recorder(Path(file)), "outcome")
    count = config.getoption("--workers")
    if config.getoption("--shares"):
        config.pluginmanager.register(Workers(_in_shares, meter.restart))
    elif count:
        config.pluginmanager.register(Workers(lambda files: [(count, [*files])], meter.restart))


def _in_shares(files: Iterable[Path]) -> list[tuple[int, list[Path]]]:
    return [(share.workers, theirs) for share, theirs in divided(_shares(), files)]


def _shares() -> tuple[Share, ...]:
    return whole(os.cpu_count() or 1, cache())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if built := config.getoption("--built"):
        wanted = [
            item for item in items if needs_of(item).isdisjoint(BUILT) == (built == "without")
        ]
        kept = set(wanted)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = wanted
    items.sort(key=lambda item: rank(item.path))


def run(arguments: Sequence[str]) -> Outcome:
    """Run one pytest process, with this process's stdout and stderr, and end whatever it leaves.

    SIGTERM, SIGHUP and Ctrl-C interrupt it: its fixtures are torn down. Another one, seconds later, kills it.

    Raises:
        SystemExit: this process got such a signal; the status says which, as in a shell.
    """
    imports = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "pytest", "-p", "tests.run"]
    signals: list[tuple[int, float]] = []

    def end(number: int, _: object) -> None:
        # At once after the first comes the same one, from the script or for the whole group.
        signals.append((number, time.monotonic()))
        again = signals[-1][1] - signals[0][1] > SECOND_SIGNAL_S
        process.send_signal(signal.SIGKILL if again else signal.SIGTERM)

    with tempfile.TemporaryDirectory(prefix="stagedoor-tests-") as folder:
        file = Path(folder) / "outcome.json"
        adopt_orphans()
        process = subprocess.Popen(
            [*command, f"--outcome-file={file}", *arguments],
            env={**os.environ, "PYTHONPATH": imports},
        )
        heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, end) for number in heard}
        try:
            status = wait_for(process)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for left in end_leftovers():
                say(f"=== left behind, and ended: {left}")
        if signals:
            sys.exit(128 + signals[0][0])
        try:
            return Outcome(**{**json.loads(file.read_text("utf-8")), "status": status})
        except FileNotFoundError:  # a usage error, or a crash
            return Outcome(status or int(pytest.ExitCode.INTERNAL_ERROR))


def cause(output: str) -> str:
    """The first line in which pytest says what was wrong (`E   …`), short enough for a list."""
    said = (line[1:].strip() for line in output.splitlines() if line.startswith("E  "))
    return next(said, "see its output")[:200]


def say(text: str) -> None:
    print(text, flush=True)


def run_whole(arguments: Sequence[str]) -> Outcome:
    """All tests that are due. A share with a stamp gets it if it was green and nothing was left out."""
    left = []
    for share in _shares():
        if not share.is_due:
            say(f"=== not run: {share.name}, which has not changed since it was green")
            left += share.paths
    say(f"=== not run: {BARE}, the how-tos on bare machines; script/test --fast {BARE} does")
    say("=== not run: Keycloak, Dex and Canaille; script/test --idp keycloak|dex|canaille does")
    ignored = [f"--ignore={path}" for path in (*left, BARE, *PROVIDERS)]
    found = run(("--shares", *DURATIONS, *ignored, *arguments))
    for share in _shares():
        red = any(test.startswith(share.paths) for test in found.failed)
        if found.status in _ENDED and not (red or found.skipped or arguments) and share.is_due:
            share.was_green()
    return found


def main(arguments: Sequence[str]) -> int:
    """The exit status. What is no option of ours goes to pytest as it is."""
    began = time.monotonic()
    times = [one.removeprefix("--times=") for one in arguments if one.startswith("--times=")]
    options = {"--whole", "--quick", "--lowest"} & set(arguments)
    rest = [one for one in arguments if one not in options and not one.startswith("--times=")]
    if "--quick" in options:
        rest = [f"--workers={os.cpu_count() or 1}", *QUICK, *rest]
    if "--lowest" in options and not paths(rest):
        rest = [*LOWEST, *rest]
    in_parts = any(word.startswith("--built=") for word in rest)
    first = run_whole(rest) if "--whole" in options else run(rest)
    if in_parts and first.status == pytest.ExitCode.NO_TESTS_COLLECTED:
        return 0  # all are in the other part
    for file in () if in_parts else times:
        took = {"wall_s": time.monotonic() - began, "tests": first.times}
        Path(file).write_text(json.dumps(took), encoding="utf-8")
    again: dict[str, Outcome] = {}
    for test in to_rerun(first):
        say(f"\n=== again, alone: {test}")
        again[test] = run(["-p", "no:cacheprovider", test])
    verdict = judge(first, again, skips_fail=os.environ.get("CI") == "true")
    for test, (before, after) in verdict.flaky.items():
        say(f"\n=== FLAKY: {test}\n{before.strip()}\n--- again, alone: {after}")
    # A log that is cut still has its end.
    for test, (before, _) in verdict.flaky.items():
        say(f"\n--- flaky: {test}\n    {cause(before)}")
    if len(first.failed) > MAX_RERUNS:
        say(f"\n=== {len(first.failed)} tests failed; past {MAX_RERUNS} none is run again")
    if verdict.why:
        say(f"\n=== RED: {verdict.why}")
    elif verdict.flaky:
        say(f"\n=== green, with {len(verdict.flaky)} FLAKY: each is a bug to mend")
    return verdict.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
