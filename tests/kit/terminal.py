"""A person at a terminal: `ssh -tt`, what comes, what is typed."""

import contextlib
import os
import select
import subprocess
import time
from types import TracebackType

from tests.kit.container import Container
from tests.waiting import BOUND_S


class Terminal:
    """One session with a pty, ended when the block is."""

    def __init__(
        self, container: Container, *command: str, person: str = "alice", term: str = "xterm"
    ) -> None:
        self.shown = b""
        self._seen = 0
        self.process = subprocess.Popen(
            ["ssh", "-tt", *container.ssh_options(person), "app01.ssh", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TERM": term},
        )

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def type(self, text: str) -> None:
        """Type it, with its line end."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def expect(self, text: str, bound_s: float = BOUND_S) -> str:
        """Wait until it is shown, after what was expected before; what came up to there."""
        wanted, end = text.encode(), time.monotonic() + bound_s
        while (found := self.shown.find(wanted, self._seen)) < 0:
            assert self._more(end - time.monotonic()), f"{text!r} is not in {self.shown.decode()}"
        before = self.shown[self._seen : found]
        self._seen = found + len(wanted)
        return before.decode(errors="replace")

    def wait(self, bound_s: float = BOUND_S) -> int:
        """Read until the session ends; ssh's exit status."""
        end = time.monotonic() + bound_s
        while self._more(end - time.monotonic()):
            pass
        return self.process.wait(max(0.1, end - time.monotonic()))

    def _more(self, bound_s: float) -> bool:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], max(0.0, bound_s))[0]:
            return False
        got = os.read(self.process.stdout.fileno(), 65536)
        self.shown += got
        return bool(got)
