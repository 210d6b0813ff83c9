"""Tests in several processes, all forked of the one that collected them: `--workers=N`, or `--shares`.

Eight thousand tests take twenty seconds of the processor to collect; pytest-xdist does it in each process. A
worker takes a file at a time, and asks for another when it is through: what a file sets up is set up once,
and nobody is left with two long files while others have none. What it sees of a test goes to the first
process by a pipe, as pytest's reports (pytest_report_to_serializable), and there to all plugins.

A worker that breaks fails the test that it ran; another one goes on with the rest of its file.
"""

import atexit
import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.pace import allow

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a run before its time: fixtures are torn down first."""
END_S = allow(60.0)
"""So long a worker may take to clear away what its tests share, once it was told to stop."""

_processes = multiprocessing.get_context("fork")
_Files = deque[list[int]]
"""Of each file its tests, by their number in the session's items."""


@dataclass(eq=False)
class _Worker:
    process: ForkProcess
    line: "Connection[Any, Any]"
    files: _Files
    """Of its share; it takes the next of these."""
    left: list[int] = field(default_factory=list)
    """Tests of its file whose end it has not told."""


class Workers:
    """The plugin. `crews`: how many processes run which files, all at the same time. Those whose own files
    are through help the crew that has most files left; one of a single process does its own alone.

    `forked` is called in each of them, for other plugins that have to know.
    """

    def __init__(
        self,
        crews: Callable[[Iterable[Path]], Sequence[tuple[int, Sequence[Path]]]],
        forked: Callable[[], None],
    ) -> None:
        self._crews = crews
        self._forked = forked
        self._number = 0
        self._workers: list[_Worker] = []
        self._helped: list[_Files] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.testsfailed or session.config.option.collectonly:
            return None  # pytest says so itself
        files: dict[Path, list[int]] = {}
        for number, item in enumerate(session.items):
            files.setdefault(item.path, []).append(number)
        try:
            for count, paths in self._crews(files):
                theirs = deque(files[path] for path in paths)
                if count > 1:
                    self._helped.append(theirs)
                for _ in range(min(count, len(theirs))):
                    self._start(session, theirs)
            while self._workers:
                self._hear(session)
        finally:
            self._stop()
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        return True

    def _start(self, session: pytest.Session, files: _Files) -> None:
        ours, theirs = _processes.Pipe()
        self._number += 1
        others = [ours, *(worker.line for worker in self._workers)]
        process = _processes.Process(
            target=_work, args=(session, theirs, self._number, others, self._forked)
        )
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours, files))

    def _hear(self, session: pytest.Session) -> None:
        by_line = {worker.line: worker for worker in self._workers}
        for line in wait(list(by_line)):
            worker = by_line[line]  # type: ignore[index]
            try:
                said = worker.line.recv()
            except (EOFError, OSError):
                self._gone(session, worker)
            else:
                self._told(session, worker, said)

    def _told(self, session: pytest.Session, worker: _Worker, said: object) -> None:
        hook = session.config.hook
        match said:
            case "next":
                over = session.shouldfail or session.shouldstop
                files = worker.files or max(self._helped, key=len, default=worker.files)
                worker.left = files.popleft() if files and not over else []
                worker.line.send(worker.left)
            case int(number):
                worker.left = [one for one in worker.left if one != number]
                item = session.items[number]
                hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
            case report:
                self._report(
                    session,
                    hook.pytest_report_from_serializable(config=session.config, data=report),
                )

    def _report(self, session: pytest.Session, report: object) -> None:
        session.config.hook.pytest_runtest_logreport(report=report)
        if session.shouldfail or session.shouldstop:
            for each in self._workers:
                _interrupt(each.process)

    def _gone(self, session: pytest.Session, worker: _Worker) -> None:
        """It has ended. If that was in the midst of a test, that one has failed."""
        self._workers.remove(worker)
        _end(worker)
        if not worker.left or session.shouldfail or session.shouldstop:
            return
        item = session.items[worker.left[0]]
        why = f"the process that ran it crashed, with status {worker.process.exitcode}"
        self._report(session, _failure(item, "call", why))
        if worker.left[1:]:
            worker.files.appendleft(worker.left[1:])
            self._start(session, worker.files)

    def _stop(self) -> None:
        """None is left at the end, whatever happened."""
        for worker in self._workers:
            _interrupt(worker.process)
        for worker in self._workers:
            _end(worker)
        self._workers.clear()


def _end(worker: _Worker) -> None:
    worker.line.close()
    worker.process.join(END_S)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _interrupt(process: ForkProcess) -> None:
    if process.is_alive() and process.pid:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)


def _failure(item: pytest.Item, when: Any, why: str) -> pytest.TestReport:
    return pytest.TestReport(
        item.nodeid, item.location, {}, outcome="failed", longrepr=why, when=when
    )


# In a worker.


class _Teller:
    """Tells the first process what is seen of a test."""

    def __init__(self, config: pytest.Config, line: "Connection[Any, Any]") -> None:
        self._config = config
        self._line = line

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook
        data: Mapping[str, Any] = hook.pytest_report_to_serializable(
            config=self._config, report=report
        )
        self._line.send(data)


@dataclass(frozen=True)
class _Later:
    """The next test is of another file, not yet known: what all tests of the process share stays."""

    session: pytest.Session

    def listchain(self) -> list[pytest.Session]:
        return [self.session]


def _work(
    session: pytest.Session,
    line: "Connection[Any, Any]",
    number: int,
    others: Sequence["Connection[Any, Any]"],
    forked: Callable[[], None],
) -> None:
    for other in others:
        other.close()
    end_by_signals()
    config = session.config
    _settle_in(config, number)
    forked()
    teller = _Teller(config, line)
    config.pluginmanager.register(teller)
    item: pytest.Item | None = None
    try:
        while not (session.shouldfail or session.shouldstop):
            line.send("next")
            numbers = line.recv()
            if not numbers:
                break
            items = [session.items[one] for one in numbers]
            for one, item, following in zip(
                numbers, items, [*items[1:], _Later(session)], strict=True
            ):
                config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                line.send(one)
                if session.shouldfail or session.shouldstop:
                    break
    except (KeyboardInterrupt, EOFError, ConnectionError):
        pass  # the first process has ended, or wants the end
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        _clear_away(session, teller, item)
        line.close()


def end_by_signals() -> None:
    """Let the signals of `ENDING` raise KeyboardInterrupt, but for those that are ignored, as by nohup(1)."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupted)


def _interrupted(_: int, frame: object) -> NoReturn:
    """Raise KeyboardInterrupt, once: the first process gets what a worker gets, and passes it on."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _settle_in(config: pytest.Config, number: int) -> None:
    """What a process has to itself; it shows nothing on the terminal."""
    atexit._clear()  # what the first process has to clear away
    capture = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    # Not unregistered: pytest-timeout writes by it.
    reporter._tw._file = Path(os.devnull).open("w")  # noqa: SIM115 - it stays open
    if config.pluginmanager.has_plugin("outcome"):
        config.pluginmanager.unregister(name="outcome")
    folders = config._tmp_path_factory  # type: ignore[attr-defined]
    folders._basetemp = folders.getbasetemp() / f"w{number}"
    folders._basetemp.mkdir(mode=0o700)


def _clear_away(session: pytest.Session, teller: _Teller, item: pytest.Item | None) -> None:
    """What all tests of this process share. Should that fail, its last test has."""
    try:
        session._setupstate.teardown_exact(None)
        session.config._ensure_unconfigure()
        atexit._run_exitfuncs()  # multiprocessing ends without them
    except BaseException:
        if item is not None:
            with suppress(OSError):
                teller.pytest_runtest_logreport(_failure(item, "teardown", traceback.format_exc()))
