"""One worker for the tests of a module, with a server of the test's own as the shell of app01."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.net import dial, resolve
from tests.fixtures.gateway import static
from tests.listeners.wire import Upstream
from tests.listeners.worker import OWN_PORT, GatewayWorker, open_worker
from tests.net.peers import write_certificate
from tests.ports import free_port

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def shell() -> Iterator[Upstream]:
    with contextlib.closing(Upstream()) as server:
        yield server


@pytest.fixture
def upstream(shell: Upstream, worker: GatewayWorker) -> Iterator[Upstream]:
    """The shell of app01; it hangs up after each test, which leaves no session in the worker, nor a line
    of its log to come."""
    yield shell
    shell.hang_up()
    worker.empty()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gw")


@pytest.fixture(scope="module")
def certificate(folder: Path) -> Path:
    return write_certificate(folder)[0]


@pytest.fixture(scope="module")
def worker(shell: Upstream, folder: Path, certificate: Path) -> Iterator[GatewayWorker]:
    closed = free_port()
    with full() as silent:
        settings = (
            f'[tunnel]\ncertificate_file = "{certificate}"\n'
            f'key_file = "{certificate.with_suffix(".key")}"\n'
            + static("app01", shell.port)
            + static("closed", closed)
            + static("silent", silent)
            + static("named", shell.port, host="shell.test")
            + static("public", shell.port, host="shell.test", networks="192.0.2.0/24")
            + static("own", OWN_PORT)
            + static("own2", OWN_PORT, host="127.0.0.2")
        )
        with open_worker(folder, settings) as one:
            with admin.open_service(one.data_dir) as service:
                admin.set_password(service, "dev", PASSWORD)
                admin.add_user(service, "other", password=PASSWORD)
                admin.add_grant(service, "user:other", "app01")
            one.gateway.watch.poll()
            yield one


@contextlib.contextmanager
def full() -> Iterator[int]:
    """Yield a port that answers nothing: its accept queue is full, so the kernel drops what comes."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


@dataclass
class Spied:
    """Every name that was looked up and every address that was dialled, in order.

    `answers` is what `shell.test` resolves to: the first, and from then on each time the next.
    """

    lookups: list[str] = field(default_factory=list)
    dials: list[str] = field(default_factory=list)
    answers: list[list[str] | OSError] = field(default_factory=list)


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> Spied:
    spy = Spied()
    attempt: Callable[..., object] = dial._attempt

    def look_up(host: str) -> list[str]:
        spy.lookups.append(host)
        answer = spy.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def try_one(address: object, *rest: object) -> object:
        spy.dials.append(str(address))
        return attempt(address, *rest)  # type: ignore[arg-type]  # as the dialler calls it

    monkeypatch.setattr(resolve, "_look_up", look_up)
    monkeypatch.setattr(dial, "_attempt", try_one)
    return spy
