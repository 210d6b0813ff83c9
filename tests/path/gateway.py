"""A whole gateway for a test: the real program in its own process, with its own folder and ports."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from stagedoor.admin import service as admin
from stagedoor.cli.app import stagedoor
from stagedoor.model.errors import StagedoorError
from stagedoor.model.permission import Permission
from stagedoor.serve.parts.shells import stop_local_shells
from stagedoor.settings.file import load_settings
from tests import hashing
from tests.pace import allow

PATIENCE_S = allow(90.0)
PASSWORD = "correct horse battery staple"


def _is_of_serve(pid: str) -> bool:
    """Return whether it is a worker or the controller, not a template of one (`tests.template`)."""
    try:
        return b"stagedoor.serve." in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False  # it has just gone


class Gateway:
    """`stagedoor serve` with the settings given, and the `stagedoor` command beside it.

    `lines` are its log lines, parsed; `wait_for` returns the first that fits, past or to come.
    """

    program: tuple[str, ...] = ("serve",)

    def __init__(self, folder: Path, settings: str = "", *, workers: int = 1) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.file = folder / "stagedoor.toml"
        self.workers = workers
        self.lines: list[dict[str, Any]] = []
        self.process: subprocess.Popen[str] | None = None
        self._news = threading.Condition()
        self._reader: threading.Thread | None = None
        self.write_settings(settings)

    def write_settings(self, settings: str, *, workers: int | None = None) -> None:
        """`settings` is TOML; what a test does not name is set for a test."""
        self.workers = workers or self.workers
        head = [f'data_dir = "{self.data_dir}"']
        tables = [
            ("[tunnel]", 'addresses = ["127.0.0.1:0"]'),
            ("[workers]", f"count = {self.workers}\ndrain_timeout_s = 10"),
            ("[log]", 'format = "json"\nlevel = "debug"'),
        ]
        body = [settings]
        body += [f"{name}\n{text}" for name, text in tables if name not in settings]
        self.file.write_text("\n".join([*head, *body]) + "\n")

    def __enter__(self) -> "Gateway":
        """Return it, running or not; at the end of the block it and its local shells are stopped."""
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.stop_shells()

    def start(self) -> "Gateway":
        """Return once it serves."""
        self.launch()
        self.wait_for(lambda line: line["event"] == "serving")
        return self

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stagedoor", "--config", self.file, *self.program],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr as stderr:
            for text in stderr:
                try:
                    line = json.loads(text)
                except ValueError:
                    line = {"event": "not json", "text": text}
                with self._news:
                    self.lines.append(line)
                    self._news.notify_all()
        with self._news:
            if process is self.process:
                self.lines.append({"event": "end of log"})
                self._news.notify_all()

    def wait_for(
        self,
        fits: Callable[[dict[str, Any]], bool],
        *,
        after: int = 0,
        within_s: float = PATIENCE_S,
    ) -> dict[str, Any]:
        """Return the first log line from index `after` on that fits."""
        deadline = time.monotonic() + within_s
        seen = after
        with self._news:
            while True:
                for line in self.lines[seen:]:
                    if fits(line):
                        return line
                seen = len(self.lines)
                left = deadline - time.monotonic()
                if left <= 0 or (seen and self.lines[-1]["event"] == "end of log"):
                    raise AssertionError(f"no such log line in {within_s} s: {self.lines[-20:]}")
                self._news.wait(left)

    def wait_for_denial(self, *, after: int) -> dict[str, Any]:
        """Return the canonical line of the next denial; others' sessions may end meanwhile."""
        return self.wait_for(
            lambda line: line["event"] == "session" and line["outcome"] == "denied", after=after
        )

    def wait_for_session(self, source: str, *, after: int = 0) -> dict[str, Any]:
        """Return the canonical line of the session that came from there."""
        return self.wait_for(
            lambda line: line["event"] == "session" and line["source"] == source, after=after
        )

    def sessions(self, outcome: str | None = None) -> list[dict[str, Any]]:
        """Return the canonical lines so far."""
        return [
            line
            for line in self.lines
            if line["event"] == "session" and outcome in (None, line["outcome"])
        ]

    def port(self, kind: str = "tunnel") -> int:
        line = self.wait_for(lambda line: line["event"] == "listening" and line["kind"] == kind)
        return int(line["addresses"][0].rpartition(":")[2])

    def command(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run `stagedoor …` on this gateway's store. Return once a running gateway knows what it changed."""
        running = self.process is not None and self.process.poll() is None
        before = self._policy_version() if running else None
        done = subprocess.run(
            [sys.executable, "-m", "stagedoor", "--config", self.file, *arguments],
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            # What `ssh-config` sets up is not for the person who runs the tests.
            env={**os.environ, "HOME": str(self.file.parent)},
        )
        assert not check or done.returncode == 0, (arguments, done.returncode, done.stderr)
        if before is not None and self._policy_version() not in (None, before):
            self.wait_for_policy()
        return done

    @contextlib.contextmanager
    def service(self) -> Iterator[admin.AdminService]:
        """Open the store as the administrator's commands do, without the time that a new process takes."""
        cheap = hashing.using(hashing.CHEAP)  # also in bench/, which has no conftest.py
        with cheap, admin.open_service(load_settings(self.file)) as service:
            yield service

    @contextlib.contextmanager
    def changed(self) -> Iterator[admin.AdminService]:
        """Open the store to change it; at the end of the block, a gateway that runs knows the change."""
        with self.service() as service:
            yield service
        if self.process is not None and self.process.poll() is None:
            self.wait_for_policy()

    def wait_for_policy(self) -> None:
        """Wait until every worker has read what has been changed since the gateway started."""
        version = self._policy_version()
        assert version is not None, "the store cannot be read"
        workers: set[str] = set()

        def all_have(line: dict[str, Any]) -> bool:
            if line["event"] == "policy changed" and line["version"] >= version:
                workers.add(line.get("instance", ""))
            # The nameless one is a controller beside the workers, and none of them.
            return len(workers - {""}) >= self.workers

        self.wait_for(all_have)

    def _policy_version(self) -> int | None:
        """None while the store cannot be read, as a test may have it.

        It is asked for very often, so a file is read as it is.
        """
        with contextlib.suppress(StagedoorError, sqlite3.Error):
            place = load_settings(self.file).place
            if isinstance(place, Path):
                query = "SELECT value FROM meta WHERE name = 'policy_version'"
                with contextlib.closing(
                    sqlite3.connect(f"{place.as_uri()}?mode=ro", uri=True)
                ) as file:
                    return int(file.execute(query).fetchone()[0])
            with self.service() as service:
                return admin.policy(service).version
        return None

    def add_user(self, name: str = "dev", *apps: str) -> None:
        """Add a user with PASSWORD who may enter these apps; return once a gateway that runs knows it."""
        with self.changed() as service:
            admin.add_user(service, name, password=PASSWORD)
            for app in apps:
                admin.add_grant(service, f"user:{name}", app)

    def permit(self, subject: str, app: str, *permissions: Permission) -> None:
        """Add a grant of these alone; return once a gateway that runs knows it."""
        with self.changed() as service:
            admin.add_grant(service, subject, app, permissions=frozenset(permissions))

    def token(self, name: str = "dev") -> str:
        """Create a token, and return it once a gateway that runs knows it."""
        with self.changed() as service:
            return admin.create_token(service, name).text

    def look(self, *arguments: str) -> str:
        """Return what a `stagedoor …` that changes nothing prints. It runs in this process, since tests that
        wait for something ask again and again."""
        command = ["--config", str(self.file), *arguments]
        done = CliRunner().invoke(stagedoor, command, standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return done.stdout

    def audit(self) -> list[dict[str, Any]]:
        """Return every audit event, oldest first, as `stagedoor audit --json` has it."""
        return [json.loads(text) for text in self.look("audit", "--json").splitlines()]

    def worker_pids(self) -> list[int]:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split() if _is_of_serve(pid)]

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self) -> int:
        """Ask twice to stop, so that nothing is waited for; the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
        assert self._reader is not None
        self._reader.join(PATIENCE_S)
        return code

    def stop_shells(self) -> None:
        """End the local shells, which a gateway that stops leaves to their sessions."""
        with contextlib.suppress(StagedoorError):  # a test may leave settings that cannot be read
            stop_local_shells(load_settings(self.file))


@contextlib.contextmanager
def running(folder: Path, settings: str = "", *, workers: int = 1) -> Iterator[Gateway]:
    """Yield a gateway that serves; it is stopped at the end, with its local shells."""
    with Gateway(folder, settings, workers=workers) as gateway:
        yield gateway.start()
