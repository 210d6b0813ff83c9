"""What the WebShell's benchmarks share: one gateway, one sshd, one ttyd, one Chromium."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from acceptance.chromium import Browser
from load.web_browser import Page, browser, ours, ttyds
from load.web_socket import Visit, until_shown
from measure import cpu_s, tree
from peers import MissingError, sshd, ttyd, web_gateway
from peers.process import StartError
from peers.ttyd import Ttyd
from peers.web_gateway import WebGateway
from stage import Stage
from web_subjects import ATTACH, LOGIN, OURS, SSH, TTYD

SHELL = "PS1='ready> ' exec /bin/sh"


@dataclass
class House:
    """Whatever is there of it."""

    gateway: WebGateway | None = None
    server: sshd.Sshd | None = None
    ttyd: Ttyd | None = None
    chromium: Browser | None = None

    def commands(self) -> dict[str, list[str]]:
        """For each program on a terminal, its beginning; one argument follows, for `sh -c`."""
        found = {}
        if self.server is not None:
            found[SSH] = ["ssh", "-tt", "-F", str(self.server.client_settings), *_at(self.server)]
        if self.gateway is not None:
            found[LOGIN] = [*self.gateway.ssh[:1], "-tt", *self.gateway.ssh[1:]]
            found[ATTACH] = [*self.gateway.attach, "--", "sh", "-c"]
        return found

    def cpu_s(self, subject: str) -> float:
        """CPU seconds of what stands between the developer and the shell; 0 for plain ssh."""
        if subject.startswith(OURS) and self.gateway is not None:
            return cpu_s(tree(self.gateway.process.pid))
        if subject.startswith("ttyd") and self.ttyd is not None:
            return cpu_s(tree(self.ttyd.process.pid)[:1])
        return 0.0

    def page(self, subject: str, terminal: str) -> Page | None:
        """A page with a shell that asks with `PROMPT`, in a terminal of that name."""
        if self.chromium is None:
            return None
        if subject == TTYD:
            return None if self.ttyd is None else ttyds(self.chromium, self.ttyd)
        if self.gateway is None:
            return None
        visit = Visit(self.gateway.web, terminal, SHELL).open()
        until_shown(visit, b"ready>")
        visit.leave()
        return ours(self.chromium, self.gateway, terminal)


def _at(server: sshd.Sshd) -> list[str]:
    return ["-p", str(server.port), "127.0.0.1"]


@contextlib.contextmanager
def house(stage: Stage) -> Iterator[House]:
    """What is missing is noted, and left out."""
    with contextlib.ExitStack() as stack:
        found = House()
        with _noting(stage, "stagedoor"):
            found.gateway = web_gateway.start(stage.new_folder("web"))
            stack.callback(found.gateway.stop)
            stage.result.machine["WebShell"] = found.gateway.version
        with _noting(stage, "ssh"):
            found.server = sshd.start(stage.new_folder("sshd"))
            stack.callback(found.server.process.stop)
        with _noting(stage, "ttyd"):
            found.ttyd = ttyd.start(stage.new_folder("ttyd"), "/bin/sh", "-c", SHELL)
            stack.callback(found.ttyd.process.stop)
            stage.result.machine["peer ttyd"] = f"{found.ttyd.version}; {_TTYD}"
        with _noting(stage, "the browser"):
            found.chromium = stack.enter_context(browser(stage.new_folder("chromium")))
        yield found


_TTYD = "nobody signs in, nothing is written down, and a cut line ends the shell"


@contextlib.contextmanager
def _noting(stage: Stage, what: str) -> Iterator[None]:
    try:
        yield
    except (MissingError, StartError) as error:
        stage.note(f"{what} is left out: {error}")


def text_file(folder: Path, size: int) -> Path:
    """Lines as a log has them, of 51 to 110 characters; `size` bytes in all."""
    words = b" the quick brown fox jumps over the lazy dog "
    lines = b"".join(b"%05d%s%s\n" % (i, words, b"x" * (i % 60)) for i in range(1000))
    path = folder / "text"
    path.write_bytes((lines * (size // len(lines) + 1))[:size])
    path.chmod(0o644)
    return path
