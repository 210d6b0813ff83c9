"""Resumable tunnels through a whole gateway: what survives, who may return, and what ends a session."""

import os
import random
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.sign_ins import end_sign_ins, list_sign_ins
from stagedoor.store.sessions import list_sessions
from stagedoor.wire.tunnel.stream import TunnelStream
from tests.fixtures.laptop import new_key, public
from tests.fixtures.people import log_in
from tests.listeners.wire import Answer, basic, dialled, eventually, head, read_answer
from tests.net.peers import Peer
from tests.pace import allow
from tests.path.faulty import Faulty, serving

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    with serving(tmp_path_factory.mktemp("resume"), workers=2) as one:
        yield one


class Client:
    """A client's end of a tunnel."""

    def __init__(self, gateway: Faulty, auth: str | None = None) -> None:
        self.gateway = gateway
        self.auth = auth or gateway.auth
        self.key = os.urandom(16).hex()
        self.attempt = 0
        self.stream = TunnelStream(watches=True)
        self.sessions: list[str] = []

    @contextmanager
    def asked(self, attempt: int) -> Iterator[tuple[Answer, Peer]]:
        """Send a CONNECT, and yield its answer and its connection."""
        with dialled(self.gateway.own_port) as peer:
            peer.send(head("app01-ssh:22", self.auth, f"Stagedoor-Resume: 1 {self.key} {attempt}"))
            yield read_answer(peer), peer

    @contextmanager
    def connected(self) -> Iterator[Peer]:
        """Connect, for as long as the block lasts; the next one returns to the session."""
        with self.asked(self.attempt) as (answer, peer):
            assert answer.status == 200, answer
            assert answer.one("Stagedoor-Resume") == "1"
            self.sessions.append(answer.one("Stagedoor-Session") or "")
            self.attempt += 1
            self.stream.connect(0.0)
            yield peer
        self.stream.cut()

    def open(self) -> Peer:
        """Open the session, try it, and go away; return its other end."""
        with self.connected() as peer:
            far = self.gateway.upstream.accept()
            self.works(peer, far)
        return far

    def write(self, peer: Peer) -> None:
        while output := self.stream.peek_output(0.0):
            peer.send(bytes(output))
            self.stream.note_sent(len(output))

    def turn(self, peer: Peer) -> bool:
        """Receive once, and write all output before and after. Return False at the connection's end."""
        self.write(peer)
        data = peer.read()
        self.stream.receive(data, 0.0)
        self.write(peer)
        return bool(data)

    def hears(self, peer: Peer, wanted: bytes) -> None:
        while wanted:
            if part := bytes(self.stream.deliverable[: len(wanted)]):
                assert wanted.startswith(part)
                self.stream.note_delivered(len(part), 0.0)
                wanted = wanted[len(part) :]
            else:
                assert self.turn(peer), self.stream.ended

    def works(self, peer: Peer, far: Peer) -> None:
        """Pass bytes both ways."""
        self.stream.take(b"ping")
        far.send(b"pong")
        self.hears(peer, b"pong")
        self.write(peer)
        assert far.read_exactly(4) == b"ping"

    def wait_for_end(self, peer: Peer) -> tuple[int, str]:
        while self.stream.ended is None:
            assert self.turn(peer)
        return self.stream.ended


@pytest.mark.continuity(19)
def test_a_session_is_one_over_all_its_connections(gateway: Faulty) -> None:
    client = Client(gateway)
    far = client.open()
    for _ in range(5):
        client.stream.take(b"typed while away")
        far.send(b"shown while away")
        with client.connected() as peer:
            client.hears(peer, b"shown while away")
            assert far.read_exactly(16) == b"typed while away"
            client.works(peer, far)
    with client.connected() as peer:
        client.works(peer, far)
        client.stream.take_end()
        far.half_close()
        while not client.stream.end_is_deliverable:
            assert client.turn(peer)
        client.stream.note_delivered_end(0.0)
        assert client.wait_for_end(peer) == (0, "")
    assert far.read_to_end() == b""
    (session,) = set(client.sessions)
    eventually("it is closed", lambda: session in gateway.closed())
    assert gateway.closed()[session][0] == "closed"
    events = [event for event in gateway.audit() if event["session"] == session]
    kinds = ["session.opened", *["session.resumed"] * 6, "session.closed"]
    assert [event["kind"] for event in events] == kinds
    assert events[-1]["fields"]["sent"] == len(b"ping") * 7 + 16 * 5, "without frames and repeats"
    assert events[-1]["fields"]["received"] == len(b"pong") * 7 + 16 * 5
    assert all(event["fields"]["away_s"] >= 0 for event in events[1:-1])
    assert len({event["source"] for event in events[:-1]}) == 7, "each connection has its own"


@pytest.mark.continuity(19)
def test_a_session_that_comes_back_is_one_in_the_list(gateway: Faulty) -> None:
    client = Client(gateway)
    for _ in range(3):
        with client.connected() as peer:
            if client.attempt == 1:
                far = gateway.upstream.accept()
            client.works(peer, far)
            with gateway.service() as service:
                (row,) = [s for s in list_sessions(service.database) if s.id in client.sessions]
            assert row.source == "{}:{}".format(*peer.sock.getsockname()[:2])
    far.close()


@pytest.mark.continuity(6)
def test_a_worker_that_dies_ends_no_tunnel(gateway: Faulty) -> None:
    client = Client(gateway)
    with client.connected() as peer:
        far = gateway.upstream.accept()
        client.works(peer, far)
        for pid in gateway.worker_pids():
            os.kill(pid, signal.SIGKILL)
        while peer.sock.recv(1000):
            pass
    eventually("workers are there again", lambda: len(gateway.worker_pids()) == 2)
    with client.connected() as peer:
        client.works(peer, far)
        far.close()


@pytest.mark.continuity(6)
def test_a_gateway_that_is_killed_and_started_again_ends_no_tunnel(tmp_path: Path) -> None:
    with serving(tmp_path) as gateway:
        client = Client(gateway)
        with client.connected() as peer:
            far = gateway.upstream.accept()
            client.works(peer, far)
            before = len(gateway.lines)
            kill(gateway)
            with suppress(ConnectionResetError):
                while peer.read():
                    pass
        far.send(b"shown while no gateway ran")
        gateway.restart(after=before)
        with client.connected() as peer:
            client.hears(peer, b"shown while no gateway ran")
            client.works(peer, far)
            far.close()
        (session,) = set(client.sessions)
        eventually("it is closed", lambda: session not in open_sessions(gateway))
        kinds = [event["kind"] for event in gateway.audit() if event["session"] == session]
        # A worker that is up before the client has come back finds the session.
        assert [kind for kind in kinds if kind != "session.found"] == [
            "session.opened",
            *("session.closed", "session.resumed", "session.closed"),
        ]


def join(gateway: Faulty, name: str) -> int:
    """Add a user with PASSWORD who may enter `app01`, and return their grant."""
    with gateway.changed() as service:
        admin.add_user(service, name, password=PASSWORD)
        return admin.add_grant(service, f"user:{name}", "app01").id


def kill(gateway: Faulty) -> None:
    """Kill a gateway with its workers."""
    workers = gateway.worker_pids()
    gateway.signal(signal.SIGKILL)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    gateway.process.wait()  # type: ignore[union-attr]


def open_sessions(gateway: Faulty) -> set[str]:
    with gateway.service() as service:
        return {session.id for session in list_sessions(service.database)}


def check_shell_end(far: Peer, since: float) -> None:
    """Check that the shell's side hangs up within five seconds."""
    assert far.read_to_end() == b""
    took_s = time.monotonic() - since
    print(f"the shell's end after {took_s:.1f} s")
    assert took_s < allow(5)


@pytest.mark.continuity(8)
def test_a_session_whose_worker_died_while_its_client_is_away_is_revoked(gateway: Faulty) -> None:
    grant = join(gateway, "zoe")
    client = Client(gateway, basic("zoe", PASSWORD))
    far = client.open()
    (session,) = client.sessions
    for pid in gateway.worker_pids():
        os.kill(pid, signal.SIGKILL)
    gateway.wait_for(
        lambda line: line.get("session") == session and line.get("outcome") == "adopted"
    )
    eventually("it is open again", lambda: session in open_sessions(gateway))
    with gateway.changed() as service:
        admin.remove_grant(service, grant)
    assert far.read_to_end() == b""
    eventually("it is closed", lambda: session not in open_sessions(gateway))
    ends = [event["reason"] for event in gateway.audit() if event["session"] == session]
    assert ends[-1] == "revoked"
    with client.asked(1) as (answer, _):
        assert answer.status == 403


@pytest.mark.continuity(8)
def test_a_grant_that_was_removed_while_no_gateway_ran_ends_the_session(tmp_path: Path) -> None:
    with serving(tmp_path) as gateway:
        client = Client(gateway)
        far = client.open()
        before = len(gateway.lines)
        kill(gateway)
        with gateway.service() as service:
            admin.remove_grant(service, gateway.grant)
        gateway.restart(after=before)
        assert far.read_to_end() == b""
        eventually(
            "the reason is in the audit",
            lambda: any(event["reason"] == "no_grant" for event in gateway.audit()),
        )


def test_a_session_goes_on_through_a_restart_with_its_client_away(tmp_path: Path) -> None:
    with serving(tmp_path, drain_timeout_s=0.2) as gateway:
        client = Client(gateway)
        far = client.open()
        (session,) = client.sessions
        before = len(gateway.lines)
        gateway.signal(signal.SIGTERM)
        gateway.process.wait()  # type: ignore[union-attr]
        assert gateway.closed()[session][0] == "drained"
        gateway.restart(after=before)
        gateway.wait_for(
            lambda line: line.get("session") == session and line.get("outcome") == "adopted",
            after=before,
        )
        gateway.command("session", "close", session)
        assert far.read_to_end() == b""
        with client.asked(1) as (answer, _):
            assert answer.status == 410


@pytest.mark.continuity(8)
def test_a_removed_grant_ends_a_session_whose_client_is_away(gateway: Faulty) -> None:
    grant = join(gateway, "eve")
    client = Client(gateway, basic("eve", PASSWORD))
    far = client.open()
    with gateway.changed() as service:
        removed_at = time.monotonic()
        admin.remove_grant(service, grant)
    check_shell_end(far, removed_at)
    eventually("it is closed", lambda: client.sessions[0] in gateway.closed())
    assert gateway.closed()[client.sessions[0]][0] == "revoked"
    with client.asked(1) as (answer, _):
        assert answer.status == 403
        assert "no grant" in answer.message


@pytest.mark.continuity(8)
def test_a_revocation_reaches_a_session_whose_client_hung_up_as_it_came_back(
    gateway: Faulty,
) -> None:
    """The hang-up at the right moment left the session to no worker. Each try hits it with some luck."""
    grant = join(gateway, "hal")
    clients = [Client(gateway, basic("hal", PASSWORD)) for _ in range(8)]
    ends = [(client, client.open()) for client in clients]
    for client, _ in ends:
        for _ in range(20):
            with dialled(gateway.own_port) as peer:
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                resume = f"Stagedoor-Resume: 1 {client.key} {client.attempt}"
                peer.send(head("app01-ssh:22", client.auth, resume))
                client.attempt += 1
                time.sleep(random.random() * 0.03)
    listed = {client.sessions[0] for client in clients}
    eventually("all are listed", lambda: listed <= open_sessions(gateway))
    with gateway.changed() as service:
        admin.remove_grant(service, grant)
    for _, far in ends:
        assert far.read_to_end() == b""


@pytest.mark.continuity(8)
@pytest.mark.parametrize("is_token", [True, False], ids=["token", "user"])
def test_a_revocation_ends_a_session_whose_client_is_away(gateway: Faulty, is_token: bool) -> None:
    name = f"revoked-{is_token}".lower()
    join(gateway, name)
    with gateway.changed() as service:
        secret = admin.create_token(service, name).text
    client = Client(gateway, basic(name, secret))
    far = client.open()
    with gateway.changed() as service:
        revoked_at = time.monotonic()
        if is_token:
            admin.revoke_token(service, secret)
        else:
            admin.remove_user(service, name)
    check_shell_end(far, revoked_at)
    eventually("it is closed", lambda: client.sessions[0] in gateway.closed())
    assert gateway.closed()[client.sessions[0]][0] == "revoked"
    with client.asked(1) as (answer, _):
        assert answer.status == 407


@pytest.mark.continuity(8)
def test_a_sign_in_that_ends_ends_a_session_whose_client_is_away(
    gateway: Faulty, tmp_path: Path
) -> None:
    join(gateway, "dora")
    with gateway.changed() as service:
        secret, _ = log_in(service, "dora", public(new_key(tmp_path / "key")))
    client = Client(gateway, basic("dora", secret))
    far = client.open()
    with gateway.changed() as service:
        ended_at = time.monotonic()
        end_sign_ins(service, list_sign_ins(service, "dora"), "laptop stolen")
    check_shell_end(far, ended_at)
    eventually("it is closed", lambda: client.sessions[0] in gateway.closed())
    assert gateway.closed()[client.sessions[0]][0] == "revoked"
    with client.asked(1) as (answer, _):
        assert answer.status == 407
        assert "laptop stolen" in answer.message


@pytest.mark.continuity(8)
def test_a_grant_that_is_limited_to_no_return_ends_a_session_whose_client_is_away(
    gateway: Faulty,
) -> None:
    grant = join(gateway, "fred")
    client = Client(gateway, basic("fred", PASSWORD))
    far = client.open()
    with gateway.changed() as service:
        admin.change_grant(service, grant, resume_s=0.0, limits_resume=True)
    assert far.read_to_end() == b""
    eventually("it is closed", lambda: client.sessions[0] in gateway.closed())
    with client.asked(1) as (answer, _):
        assert answer.status == 410
        assert "does not permit resuming" in answer.message


@pytest.mark.continuity(8)
def test_a_removed_grant_is_read_by_a_client_that_is_connected(gateway: Faulty) -> None:
    grant = join(gateway, "mallory")
    client = Client(gateway, basic("mallory", PASSWORD))
    with client.connected() as peer:
        far = gateway.upstream.accept()
        client.works(peer, far)
        with gateway.changed() as service:
            admin.remove_grant(service, grant)
        code, why = client.wait_for_end(peer)
    assert code == 2
    assert "no grant" in why
    assert far.read_to_end() == b""


@pytest.mark.continuity(9)
def test_others_with_the_key_are_refused_and_audited(gateway: Faulty) -> None:
    join(gateway, "bob")
    client = Client(gateway)
    far = client.open()
    stranger = Client(gateway, basic("dev", "a guess"))
    stranger.key = client.key
    with stranger.asked(7) as (answer, peer):
        assert answer.status == 407
        source = "{}:{}".format(*peer.sock.getsockname()[:2])
    eventually(
        "the stranger is in the audit",
        lambda: any(
            (event["kind"], event["source"]) == ("session.denied", source)
            for event in gateway.audit()
        ),
    )
    thief = Client(gateway, basic("bob", PASSWORD))
    thief.key = client.key
    with thief.asked(7) as (answer, _):
        assert answer.status == 410
        assert "has ended" in answer.message
    eventually(
        "the refusal is in the audit",
        lambda: any(
            (event["identity"], event["reason"]) == ("bob", "session_over")
            for event in gateway.audit()
        ),
    )
    assert all(client.key not in str(event) for event in gateway.audit())
    assert all(client.key not in str(line) for line in gateway.lines)
    with client.connected() as peer:
        client.works(peer, far)
        far.close()


@pytest.mark.continuity(8)
def test_an_administrator_closes_a_session_whose_client_is_away(gateway: Faulty) -> None:
    client = Client(gateway)
    far = client.open()
    gateway.command("session", "close", client.sessions[0])
    check_shell_end(far, time.monotonic())
    with client.asked(1) as (answer, _):
        assert answer.status == 410
        assert "the session has ended" in answer.message


@pytest.mark.continuity(8, 19)
def test_a_return_that_fails_leaves_the_session_as_it_was(gateway: Faulty) -> None:
    """It can still be closed, and the audit has its real end and bytes."""
    client = Client(gateway)
    far = client.open()
    (session,) = client.sessions
    data = gateway.data_dir / "resume" / "data"
    data.rename(data.with_name("hidden"))
    for attempt in range(1, 5):  # by both workers, with some luck
        with client.asked(attempt) as (answer, _):
            assert answer.status == 503
            assert "could not be reached" in answer.message
    data.with_name("hidden").rename(data)
    eventually(
        "each has left the session",
        lambda: sum(e["kind"] == "session.found" for e in of_session(gateway, session)) == 4,
    )
    gateway.command("session", "close", session)
    check_shell_end(far, time.monotonic())
    eventually("it is closed", lambda: session not in open_sessions(gateway))
    last = of_session(gateway, session)[-1]
    assert (last["kind"], last["reason"]) == ("session.closed", "evicted")
    assert (last["fields"]["sent"], last["fields"]["received"]) == (4, 4)


def of_session(gateway: Faulty, session: str) -> list[dict[str, Any]]:
    return [event for event in gateway.audit() if event["session"] == session]
