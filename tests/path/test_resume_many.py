"""Many clients of resumable tunnels at once, and tunnels that do not resume."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.store.sessions import list_sessions
from tests.listeners.wire import Answer, basic, dialled, head, read_answer
from tests.net.peers import Peer
from tests.pace import allow
from tests.path.faulty import Faulty, serving
from tests.path.test_resume import PASSWORD, Client, join
from tests.ports import free_port

MANY = 200


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    with serving(tmp_path_factory.mktemp("many"), workers=2) as one:
        yield one


@pytest.mark.continuity(11)
def test_200_clients_that_come_back_at_once_all_go_on(gateway: Faulty) -> None:
    clients = [Client(gateway) for _ in range(MANY)]
    with ExitStack() as first:
        for number, client in enumerate(clients):
            peer = first.enter_context(client.connected())
            client.far = gateway.upstream.accept()
            client.stream.take(f"client {number}\n".encode())
            client.write(peer)
    began = time.monotonic()
    with ExitStack() as again, ThreadPoolExecutor(40) as pool:
        peers = list(pool.map(lambda client: again.enter_context(client.connected()), clients))
        for number, (client, peer) in enumerate(zip(clients, peers, strict=True)):
            client.far.send(f"shell {number}\n".encode())
            client.hears(peer, f"shell {number}\n".encode())
            assert (
                client.far.read_exactly(len(f"client {number}\n")) == f"client {number}\n".encode()
            )
        took_s = time.monotonic() - began
        print(f"{MANY} clients are back after {took_s:.1f} s")
        assert took_s < allow(5)
        with gateway.service() as service:
            ids = {session.id for session in list_sessions(service.database)}
        assert ids == {client.sessions[0] for client in clients}
        assert all(len(set(client.sessions)) == 1 for client in clients)
        for client in clients:
            client.far.close()


@pytest.mark.continuity(15)
def test_a_client_that_does_not_ask_gets_a_plain_tunnel(gateway: Faulty) -> None:
    with gateway.entered() as inside:
        inside.works()
    with dialled(gateway.own_port) as peer:
        peer.send(head("app01-ssh:22", gateway.auth))
        answer = read_answer(peer)
        assert answer.one("Stagedoor-Resume") is None
        gateway.upstream.accept().close()


@pytest.mark.continuity(15)
@pytest.mark.parametrize("wish", ["2 " + "0" * 32 + " 0", "1 x 0", "1"])
def test_a_wish_of_another_version_gets_a_plain_tunnel(gateway: Faulty, wish: str) -> None:
    with gateway.entered(gateway.auth, f"Stagedoor-Resume: {wish}") as inside:
        inside.works()


def test_a_grant_without_return_opens_a_plain_tunnel(gateway: Faulty) -> None:
    join(gateway, "gina")
    with gateway.changed() as service:
        admin.add_grant(service, "user:gina", "app0*", resume_s=0.0)
    with Client(gateway, basic("gina", PASSWORD)).asked(0) as (answer, peer):
        ends_with_its_connection(gateway, answer, peer)


def test_a_gateway_that_keeps_nothing_opens_plain_tunnels(tmp_path: Path) -> None:
    settings = f'[tunnel]\naddresses = ["127.0.0.1:{free_port()}"]\nresume_s = 0\n'
    with serving(tmp_path, settings) as gateway:
        gateway.own_port = gateway.port()
        with Client(gateway).asked(0) as (answer, peer):
            ends_with_its_connection(gateway, answer, peer)


def ends_with_its_connection(gateway: Faulty, answer: Answer, peer: Peer) -> None:
    """Check that a tunnel has no frames, and that its session ends with the client's connection."""
    assert answer.status == 200
    assert answer.one("Stagedoor-Resume") is None
    far = gateway.upstream.accept()
    peer.send(b"ping")
    assert far.read_exactly(4) == b"ping"
    peer.half_close()
    assert far.read_to_end() == b""
    far.close()
