"""Many clients of resumable tunnels at once, and clients and gateways of other versions."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from stagedoor.store.sessions import list_sessions
from tests.listeners.wire import dialled, head, read_answer
from tests.path.faulty import Faulty, serving
from tests.path.test_resume import Client

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
    with ExitStack() as again, ThreadPoolExecutor(40) as pool:
        peers = list(pool.map(lambda client: again.enter_context(client.connected()), clients))
        for number, (client, peer) in enumerate(zip(clients, peers, strict=True)):
            client.far.send(f"shell {number}\n".encode())
            client.hears(peer, f"shell {number}\n".encode())
            assert (
                client.far.read_exactly(len(f"client {number}\n")) == f"client {number}\n".encode()
            )
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
