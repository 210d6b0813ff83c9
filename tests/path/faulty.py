"""A gateway in its own process, in front of a server of the test's own, for tests of misfortune."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stagedoor.admin import service as admin
from stagedoor.admin import sessions as admin_sessions
from stagedoor.store.journal import Filter
from stagedoor.store.sessions import list_sessions
from tests.fixtures.gateway import Gateway, static
from tests.listeners.wire import Answer, Upstream, bearer, dialled, head, read_answer
from tests.net.peers import Peer
from tests.ports import free_port
from tests.waiting import wait_until

END = {"event": "end of log"}
LISTEN = '[tunnel]\naddresses = ["127.0.0.1:{port}"]\n'


class Faulty(Gateway):
    """The harness, with `dev` who may enter `app01`, whose shell is `upstream`.

    The port is fixed, so that a second gateway may want the same.
    """

    def __init__(
        self, folder: Path, settings: str = "", *, workers: int = 1, drain_timeout_s: float = 20
    ) -> None:
        self.upstream = Upstream()
        self.own_port = free_port()
        self.drain_timeout_s = drain_timeout_s
        super().__init__(folder, self.all(settings, workers), workers=workers)
        self.settle()

    def settle(self) -> None:
        """Bring in `dev`."""
        with self.service() as service:
            admin.add_user(service, "dev")
            self.grant = admin.add_grant(service, "user:dev", "*").id
            self.secret = admin.create_token(service, "dev").text

    def all(self, settings: str = "", workers: int = 1) -> str:
        """Return the settings that every test needs, with `settings` added."""
        text = static("app01", self.upstream.port) + settings
        if "[tunnel]" not in settings:
            text += LISTEN.format(port=self.own_port)
        if "[workers]" not in settings:
            text += f"[workers]\ncount = {workers}\ndrain_timeout_s = {self.drain_timeout_s}\n"
        return text

    @property
    def auth(self) -> str:
        return bearer(self.secret)

    def _read(self, process: "subprocess.Popen[str]") -> None:
        """Read on after the process has died, since its workers still write to its log."""
        super()._read(process)
        assert process.stderr is not None
        process.stderr.close()

    def restart(self, *, after: int) -> None:
        """Start again in place of a supervisor that has died; its workers may still write, but they
        no longer listen."""
        wait_until(self._may_listen, what=f"nobody listens on {self.own_port}")
        with self._news:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stagedoor", "--config", self.file, "serve"],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                cwd=self.folder,
            )
            if END in self.lines:
                self.lines.remove(END)
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        self.wait_for(lambda line: line["event"] == "serving", after=after)

    def _may_listen(self) -> bool:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", self.own_port)):
            return True
        return False

    def answer(self, *fields: str, authority: str = "app01-ssh:22") -> Answer:
        """Return the answer to one login, which hangs up at once."""
        with dialled(self.own_port) as client:
            client.send(head(authority, *(fields or (self.auth,))))
            answer = read_answer(client)
            if answer.status == 200:
                self.upstream.accept().close()
            return answer

    def ask(self, authority: str = "app01-ssh:22", *fields: str) -> int:
        """Return its status."""
        return self.answer(*fields, authority=authority).status

    @contextlib.contextmanager
    def entered(self, *fields: str) -> Iterator["Inside"]:
        """Open a session, try it, and yield it."""
        with dialled(self.own_port) as client:
            client.send(head("app01-ssh:22", *(fields or (self.auth,))))
            answer = read_answer(client)
            assert answer.status == 200, (answer, self.lines[-5:])
            with contextlib.closing(self.upstream.accept()) as far:
                inside = Inside(answer.one("Stagedoor-Session") or "", client, far)
                inside.works()
                yield inside

    def spread(self, stack: contextlib.ExitStack, *fields: str) -> dict[str, list["Inside"]]:
        """Sessions in two workers at least, by worker (the instance in the store)."""
        by_id: dict[str, Inside] = {}
        while True:
            for _ in range(3):
                inside = stack.enter_context(self.entered(*fields))
                by_id[inside.session] = inside
            with self.service() as service:
                by_worker: dict[str, list[Inside]] = {}
                for session in list_sessions(service.database):
                    if session.id in by_id:
                        by_worker.setdefault(session.instance, []).append(by_id[session.id])
            if len(by_worker) > 1:
                return by_worker

    def audit(self) -> list[dict[str, Any]]:
        """Return the events of `stagedoor audit --json`, without a process of its own."""
        with self.service() as service:
            return [
                {
                    "kind": entry.event.kind.value,
                    "session": entry.event.session,
                    "identity": entry.event.identity,
                    "target": entry.event.target,
                    "source": entry.event.source,
                    "reason": entry.event.reason,
                    "fields": dict(entry.event.fields),
                }
                for entry in admin_sessions.list_entries(service, Filter())
            ]

    def wait_for_event(self, name: str, *, after: int = 0) -> dict[str, object]:
        return self.wait_for(lambda line: line["event"] == name, after=after)

    def wait_for_ends(self, *sessions: "Inside") -> dict[str, str]:
        """Return the outcome of each session, in the log, once it is over."""
        return {
            inside.session: self.wait_for(
                lambda line, inside=inside: line.get("session") == inside.session
            )["outcome"]
            for inside in sessions
        }

    def closed(self) -> dict[str, tuple[str, str]]:
        """Reason and detail of each session that the audit says is closed; each once, unless it goes on."""
        ends: dict[str, tuple[str, str]] = {}
        for event in self.audit():
            if event["kind"] in ("session.resumed", "session.found"):
                ends.pop(str(event["session"]), None)
            if event["kind"] == "session.closed":
                session = str(event["session"])
                assert session not in ends, "closed twice"
                ends[session] = (event["reason"], event["fields"].get("detail", ""))
        return ends

    def assert_clean(self) -> None:
        """Check that every line of the log is one, and none is a traceback."""
        for line in self.lines:
            assert line["event"] != "not json", line
            assert "exception" not in line, line["exception"]


class Inside:
    """The two ends of a running session."""

    def __init__(self, session: str, client: Peer, far: Peer) -> None:
        self.session = session
        self.client = client
        self.far = far

    def works(self) -> None:
        """Bytes pass both ways."""
        self.client.send(b"ping")
        assert self.far.read_exactly(4) == b"ping"
        self.far.send(b"pong")
        assert self.client.read_exactly(4) == b"pong"

    def wait_until_cut(self) -> None:
        """Wait until the developer's end has read the end of the stream, or a reset."""
        with contextlib.suppress(ConnectionResetError):
            assert self.client.read_to_end() == b""

    def end(self) -> None:
        """Both hang up in order."""
        self.client.half_close()
        assert self.far.read_to_end() == b""
        self.far.half_close()
        assert self.client.read_to_end() == b""


@contextlib.contextmanager
def serving(
    folder: Path, settings: str = "", *, workers: int = 1, drain_timeout_s: float = 20
) -> Iterator[Faulty]:
    """Serves; at the end it is stopped, and its log has to be clean."""
    gateway = Faulty(folder, settings, workers=workers, drain_timeout_s=drain_timeout_s)
    try:
        gateway.start()
        yield gateway
        gateway.upstream.hang_up()
        gateway.stop()
        gateway.assert_clean()
    finally:
        gateway.upstream.close()
        gateway.stop()
        gateway.stop_shells()


def gone(pid: int) -> bool:
    """Return whether a process has ended, whichever process has to reap it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in "ZX"
