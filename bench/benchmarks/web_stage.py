"""The programs that the WebShell's benchmarks share: a gateway, an sshd, other web terminals, a Chromium."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from acceptance.chromium import Browser
from load.web_browser import Page, browser, others, ours
from load.web_socket import WebClient, until_shown
from measure import cpu_s, tree
from peers import MissingError, gotty, sshd, terminado, ttyd, web_gateway, wetty, zellij
from peers.process import StartError
from peers.web_gateway import WebGateway
from peers.web_peer import WebPeer
from stage import Stage
from web_subjects import ATTACH, BROWSER, GOTTY, LOGIN, OURS, SSH, TERMINADO, TTYD, WETTY, ZELLIJ

SHELL = "PS1='ready> ' exec /bin/sh"
OTHERS = {
    TTYD: ttyd.start,
    GOTTY: gotty.start,
    WETTY: wetty.start,
    TERMINADO: terminado.start,
    ZELLIJ: zellij.start,
}


@dataclass
class Programs:
    """The programs that are available on this machine."""

    gateway: WebGateway | None = None
    server: sshd.Sshd | None = None
    others: dict[str, WebPeer] = field(default_factory=dict)
    """The other web terminals by their row in the tables."""
    chromium: Browser | None = None

    @property
    def ttyd(self) -> WebPeer | None:
        """The ttyd, if it is available."""
        return self.others.get(TTYD)

    def browsers(self) -> list[str]:
        """Return the rows of terminals whose page is in a browser."""
        if self.chromium is None:
            return []
        return [*([BROWSER] if self.gateway is not None else []), *self.others]

    def port(self, subject: str) -> int:
        """Return the port of a subject's page."""
        if subject in self.others:
            return self.others[subject].port
        assert self.gateway is not None, "it is a subject"
        return self.gateway.web

    def servers(self, subject: str) -> list[int]:
        """Return the processes between the developer and the shell, without the programs in terminals."""
        if subject.startswith(OURS) and self.gateway is not None:
            return tree(self.gateway.process.pid)
        kind = subject.partition(",")[0]
        return [
            pid
            for row, each in self.others.items()
            if row.startswith(kind)
            for pid in (each.process.pid, *each.more())
        ]

    def commands(self) -> dict[str, list[str]]:
        """Return the beginning of each command-line client's command; a command for `sh -c` follows."""
        commands = {}
        if self.server is not None:
            commands[SSH] = [
                "ssh",
                "-tt",
                "-F",
                str(self.server.client_settings),
                *_at(self.server),
            ]
        if self.gateway is not None:
            commands[LOGIN] = [*self.gateway.ssh[:1], "-tt", *self.gateway.ssh[1:]]
            commands[ATTACH] = [*self.gateway.attach, "--", "sh", "-c"]
        return commands

    def cpu_s(self, subject: str) -> float:
        """Return the CPU seconds of the processes between the developer and the shell; 0 for plain ssh."""
        return cpu_s(self.servers(subject))

    def page(self, subject: str, terminal: str, port: int = 0) -> Page | None:
        """Open a page with a shell that has the prompt `PROMPT`, in a terminal of this name.

        `port` is that of a relay on the way, if not 0. None if the subject is not available.
        """
        if self.chromium is None:
            return None
        if subject in self.others:
            return others(self.chromium, self.others[subject], port or self.port(subject), terminal)
        if self.gateway is None:
            return None
        client = WebClient(self.gateway.web, terminal, SHELL).open()
        until_shown(client, b"ready>")
        client.leave()
        return ours(self.chromium, port or self.gateway.web, terminal)


def _at(server: sshd.Sshd) -> list[str]:
    return ["-p", str(server.port), "127.0.0.1"]


@contextlib.contextmanager
def programs(stage: Stage) -> Iterator[Programs]:
    """Start the programs; leave out the missing ones with a note."""
    with contextlib.ExitStack() as stack:
        running = Programs()
        with _noting(stage, "stagedoor"):
            running.gateway = web_gateway.start(stage.new_folder("web"))
            stack.callback(running.gateway.stop)
            stage.result.machine["WebShell"] = running.gateway.version
        with _noting(stage, "ssh"):
            running.server = sshd.start(stage.new_folder("sshd"))
            stack.callback(running.server.process.stop)
        shell = stage.new_folder("shell") / "sh"
        shell.write_text(f"#!/bin/sh\n{SHELL}\n")
        shell.chmod(0o755)
        for row, start in OTHERS.items():
            name = row.partition(",")[0]
            with _noting(stage, name):
                peer = start(stage.new_folder(name), str(shell))
                stack.callback(peer.process.stop)
                running.others[row] = peer
                stage.result.machine[name] = f"{peer.version}; {peer.what}"
        with _noting(stage, "the browser"):
            running.chromium = stack.enter_context(browser(stage.new_folder("chromium")))
        yield running


@contextlib.contextmanager
def _noting(stage: Stage, what: str) -> Iterator[None]:
    try:
        yield
    except (MissingError, StartError) as error:
        stage.note(f"{what} is left out: {error}")


def text_file(folder: Path, size: int) -> Path:
    """Write a file of `size` bytes, with lines of 51 to 110 characters as in a log; return its path."""
    words = b" the quick brown fox jumps over the lazy dog "
    lines = b"".join(b"%05d%s%s\n" % (i, words, b"x" * (i % 60)) for i in range(1000))
    path = folder / "text"
    path.write_bytes((lines * (size // len(lines) + 1))[:size])
    path.chmod(0o644)
    return path
