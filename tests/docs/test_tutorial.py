"""The tutorial, by the letter: each block in its order, with what it prints, against a real sshd.

This machine stands for the tutorial's. So names, ports and folders are replaced by the test's own, the sshd
is one that runs beside the machine's, and `sudo` is left out.

It takes twelve seconds of the processor: it starts `stagedoor` a dozen times, as the reader does, and
Chromium once.
"""

import getpass
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from acceptance.chromium import chromium, find_chromium
from stagedoor.holder.folder import end_all
from stagedoor.shells.local import tmux
from tests.docs import pages
from tests.fixtures.laptop import new_key
from tests.ports import free_port
from tests.waiting import BOUND_S, wait_until

PAGE = pages.ROOT / "docs/tutorial.md"
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
ANSI = re.compile(r"\x1b\[[0-9;]*m")
PORTS = ("8443", "2222", "8444")
NOT_HERE = ("apt-get install", "python3 -m venv", "sudo rm")
"""What the blocks begin with that are not run: the installation, which `tests/bare` does, and the end."""


class Machine:
    """The tutorial's one machine: its home folder, its sshd, and the gateway once it is started."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "gateway"
        self.etc = home / "etc/ssh"
        self.etc.mkdir(parents=True)
        self.terminals = home / "terminals"
        self.ports = {port: str(free_port()) for port in PORTS}
        self.sshd_port = free_port()
        self.gateway: subprocess.Popen[bytes] | None = None
        self.shown = ""
        self._sshd: subprocess.Popen[bytes] | None = None
        new_key(self.etc / "ssh_host_ed25519_key")
        (self.etc / "sshd_config.d").mkdir()
        (self.etc / "sshd_config").write_text(
            f"Port {self.sshd_port}\nListenAddress 127.0.0.1\nPidFile none\nStrictModes no\n"
            f"UsePAM no\nHostKey {self.etc}/ssh_host_ed25519_key\nAuthorizedKeysFile none\n"
            f"PasswordAuthentication no\nSetEnv HOME={home} {tmux.VARIABLE}={tmux.make_folder(home)}\n"
            f"Include {self.etc}/sshd_config.d/*.conf\n"
        )

    def here(self, text: str) -> str:
        """The page's text, with this machine's names, ports and folders."""
        for port, ours in self.ports.items():
            text = text.replace(port, ours)
        text = text.replace("port = 22\n", f"port = {self.sshd_port}\n")
        text = text.replace("sudo ", "").replace("/etc/ssh", str(self.etc))
        held = f"env STAGEDOOR_TERMINALS={self.terminals} {Path(sys.executable).parent}"
        text = text.replace("/opt/stagedoor/bin", held)
        text = text.replace("gw.example", "localhost").replace("deploy", getpass.getuser())
        return text.replace("sshd -t", f"{SSHD} -t -f {self.etc}/sshd_config")

    def type(self, block: str) -> str:
        """What a block of shell prints."""
        if block.startswith("stagedoor serve"):
            return self._serve()
        if "systemctl reload ssh" in block:
            self._start_sshd()
            block = block.replace("sudo systemctl reload ssh\n", "")
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1\n{self.here(block)}"],
            cwd=self.folder if self.folder.exists() else self.home,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=BOUND_S,
        )
        return done.stdout

    @property
    def policy_changes(self) -> int:
        """How many the gateway has seen."""
        return self.shown.count("policy changed")

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin"
        settings = str(self.folder / "stagedoor.toml")
        return {**kept, "PATH": path, "HOME": str(self.home), "STAGEDOOR_CONFIG": settings}

    def _serve(self) -> str:
        ours, theirs = pty.openpty()
        self.gateway = subprocess.Popen(
            ["stagedoor", "serve"], cwd=self.folder, env=self._environment(), stderr=theirs
        )
        os.close(theirs)

        def read() -> None:
            with os.fdopen(ours, "rb", buffering=0) as terminal:
                try:
                    while data := terminal.read(65536):
                        self.shown += data.decode()
                except OSError:  # EIO: the gateway has ended, see pty(7)
                    return

        threading.Thread(target=read, daemon=True).start()

        def serves() -> bool:
            return " serving" in ANSI.sub("", self.shown)

        gateway = self.gateway
        try:
            wait_until(lambda: serves() or gateway.poll() is not None)
            assert serves()
        except AssertionError:
            pytest.fail(f"it does not serve (status {gateway.poll()}): {self.shown!r}")
        return self.shown

    def _start_sshd(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        log = self.home / "sshd.log"
        self._sshd = subprocess.Popen([SSHD, "-D", "-f", self.etc / "sshd_config", "-E", log])
        wait_until(lambda: log.exists() and "listening" in log.read_text())

    def close(self) -> None:
        for process in (self.gateway, self._sshd):
            if process is not None:
                process.terminate()
                process.wait(BOUND_S)
        with suppress(FileNotFoundError):
            end_all(self.terminals)
        tmux.end(self.home)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if not Path(SSHD).exists() or shutil.which("openssl") is None:
        pytest.skip("needs openssh-server and openssl")
    with closing(Machine(tmp_path)) as machine:
        yield machine


def pattern(expected: str) -> str:
    """A regular expression for what the page shows: `…` stands for anything in a line."""
    lines = [" ".join(line.split()) for line in expected.strip().splitlines()]
    return "\n".join(r"[^\n]*".join(map(re.escape, line.split("…"))) for line in lines)


def plain(printed: str) -> str:
    lines = ANSI.sub("", printed).replace("\r", "").strip().splitlines()
    return "\n".join(" ".join(line.split()) for line in lines)


@pytest.mark.timeout(300)
def test_every_step_prints_what_the_page_shows(machine: Machine) -> None:
    printed = ""
    for language, text in pages.FENCE.findall(pages.text(PAGE)):
        if language == "sh" and not text.startswith(NOT_HERE):
            changes = machine.policy_changes
            printed = machine.type(text)
            if text.startswith("stagedoor grant remove"):
                # What takes a right away holds within a second; the reader needs longer to type.
                wait_until(lambda before=changes: machine.policy_changes > before)
        elif language == "toml":
            (machine.folder / "stagedoor.toml").write_text(machine.here(text))
        elif language == "sshd-config":
            file = machine.etc / "sshd_config.d/stagedoor.conf"
            file.write_text(machine.here(text))
        elif language == "text":
            wanted = pattern(machine.here(text))
            assert re.search(wanted, plain(printed)), f"{text}\nis not in\n{printed}"
        if text.startswith("stagedoor web-link"):
            opens(machine, next(line for line in printed.split() if "/link#" in line))


def opens(machine: Machine, link: str) -> None:
    """Sign in by the link, and type into the terminal of app01."""
    if find_chromium() is None:
        return
    with chromium(machine.home / "chromium", "--ignore-certificate-errors") as browser:
        tab = browser.tab(link)
        tab.until("!document.querySelector('#link button').disabled")
        tab.ask("document.querySelector('#link button').click()")
        tab.until("document.getElementById('status')?.dataset.state === 'open'")
        tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
        tab.type("echo in=$((40+2))")
        tab.enter()
        tab.until("document.querySelector('.xterm-rows').textContent.includes('in=42')")
        tab.close()
