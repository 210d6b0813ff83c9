"""A machine with the client that a gateway serves, and what its person does in a browser."""

import os
import re
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

import pytest

from stagedoor.laptop.onefile import build_client_file
from tests.login.machine import Person
from tests.pace import allow
from tests.waiting import BOUND_S, wait_until

ENOUGH_S = allow(90.0)


@dataclass
class BareLaptop:
    """A bare home with nothing in it but the client, and no desktop."""

    home: Path
    base: str

    @property
    def env(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "LOGNAME": "somebody"}

    @property
    def folder(self) -> Path:
        return self.home / ".config/stagedoor" / self.base.split("/")[2].replace(":", "_")

    def start(self, *arguments: str, **env: str) -> "Running":
        return self._start(
            [sys.executable, "-I", str(self.home / "stagedoor"), *arguments], self.env | env
        )

    def start_as_ssh(self, **env: str) -> "Running":
        """Start the command of `Match exec` in its configuration, which each ssh runs."""
        config = (self.folder / "ssh_config").read_text()
        [line] = re.findall(r'^Match host .* exec "(.*)"$', config, re.MULTILINE)
        return self._start(["/bin/sh", "-c", "exec " + line.replace("%%", "%")], self.env | env)

    def _start(self, command: list[str], env: dict[str, str]) -> "Running":
        return Running(
            subprocess.Popen(
                command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # so without a terminal
            )
        )

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.start(*arguments, **env).end()

    def ssh(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run ssh as it would run here: it takes the home from the account, not from $HOME."""
        config = self.home / ".ssh/config"
        return subprocess.run(
            ["ssh", "-F", config, *arguments],
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ENOUGH_S,
            start_new_session=True,
        )

    def log_in(self, person: Person, *arguments: str) -> "Running":
        """Log in by a click in a browser of this machine."""
        running = self.start("login", self.base, *arguments)
        come_back(person, running.login_id(self.base))
        assert running.end().returncode == 0, running.stderr
        return running

    def files(self) -> set[Path]:
        return {path.relative_to(self.home) for path in self.home.rglob("*")}


class Desktop:
    """One whose browser notes what it is to show."""

    def __init__(self, folder: Path) -> None:
        self._tabs, program = folder / "tabs", folder / "browser"
        self._tabs.touch()
        program.write_text(f'#!/bin/sh\necho "$1" >> {self._tabs}\n')
        program.chmod(0o755)
        self.env = {"DISPLAY": ":99", "BROWSER": f"{program} %s"}

    @property
    def tabs(self) -> list[str]:
        """The addresses."""
        return self._tabs.read_text().splitlines()


class Running:
    """A client that waits for its person; its stderr as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.stderr = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stderr:
            for line in stderr:
                self.stderr += line

    def login_id(self, base: str) -> str:
        wait_until(lambda: "type:" in self.stderr or self.process.poll() is not None)
        match = re.search(re.escape(base) + r"/login/(\S+)", self.stderr)
        assert match, self.stderr
        return match.group(1)

    @property
    def letters(self) -> str:
        match = re.search(r"type: +(\S+)", self.stderr)
        assert match, self.stderr
        return match.group(1)

    def kill(self) -> None:
        """Unless it has ended before."""
        assert self.process.stdout is not None
        if not self.process.stdout.closed:
            self.process.kill()
            self.end()

    def end(self) -> subprocess.CompletedProcess[str]:
        code = self.process.wait(ENOUGH_S)
        self._reader.join(BOUND_S)
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            out = stdout.read()
        return subprocess.CompletedProcess([], code, out, self.stderr)


def come_back(person: Person, id_: str) -> None:
    """Click, and go where the browser is sent: to the port of the client."""
    request = urllib.request.Request(person.onward(id_))

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    with pytest.raises(HTTPError, match="303") as answered:
        urllib.request.build_opener(NoRedirect).open(request, timeout=BOUND_S)
    with answered.value as answer:
        assert answer.headers["location"] == f"{person.base}/login/{id_}"


def new_laptop(folder: Path, base: str) -> BareLaptop:
    home = folder / "home"
    home.mkdir()
    (home / "stagedoor").write_bytes(build_client_file())
    return BareLaptop(home, base)
