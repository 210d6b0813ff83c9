"""The gateway's health listener, as a kubelet meets it: from the start to the end of a drain."""

import http.client
import signal
import socket
from pathlib import Path

import pytest

from tests.fixtures.gateway import static
from tests.listeners.wire import dialled, head, read_answer
from tests.path.faulty import serving
from tests.ports import free_port

HEALTH = '[health]\naddress = "127.0.0.1:0"\n'


def asked(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body


def test_ready_until_it_drains_and_alive_until_the_last_session_has_gone(tmp_path: Path) -> None:
    with serving(tmp_path, HEALTH) as gateway, gateway.entered() as inside:
        port = gateway.port("health")
        assert asked(port, "/readyz") == (200, "ready, 1 of 1 workers\n")
        gateway.signal(signal.SIGTERM)
        gateway.wait_for(lambda line: line["event"] == "sessions left" and line["sessions"] == 1)
        assert asked(port, "/readyz") == (503, "draining, 1 sessions left\n")
        assert asked(port, "/healthz") == (200, "alive\n")
        assert "stagedoor_gateway_sessions_draining 1\n" in asked(port, "/metrics")[1]
        inside.far.half_close()
        inside.client.half_close()
        assert gateway.process is not None
        assert gateway.process.wait(60) == 0
        with pytest.raises(ConnectionRefusedError):
            asked(port, "/healthz")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("health", '[health]\naddress = "127.0.0.1:{port}"\n'),
        ("ssh", '[ssh]\naddresses = ["127.0.0.1:{port}"]\n'),
        ("web", '[web]\naddresses = ["127.0.0.1:{port}"]\n'),
    ],
)
def test_no_shell_can_be_one_of_our_own_listeners(tmp_path: Path, kind: str, settings: str) -> None:
    """A developer who may enter `loop` would ask the health listener in the gateway's name."""
    port = free_port()
    entry = static("loop", port) + settings.format(port=port)
    with serving(tmp_path, entry) as gateway:
        assert gateway.port(kind) == port
        with dialled(gateway.own_port) as client:
            client.send(head("loop-ssh:22", gateway.auth))
            assert read_answer(client).status == 403


def test_a_reload_moves_it_and_one_that_is_refused_does_not(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    with serving(tmp_path, HEALTH.replace(":0", f":{first}")) as gateway:
        gateway.write_settings(gateway.all(HEALTH.replace(":0", f":{second}")))
        gateway.signal(signal.SIGHUP)
        gateway.wait_for(lambda line: line["event"] == "reloaded")
        assert asked(second, "/readyz")[0] == 200
        with pytest.raises(ConnectionRefusedError):
            asked(first, "/healthz")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f":{taken.getsockname()[1]}"
            gateway.write_settings(gateway.all(HEALTH.replace(":0", address)))
            gateway.signal(signal.SIGHUP)
            refused = gateway.wait_for(lambda line: line["event"].startswith("reload refused"))
        assert "health.address" in refused["reason"]
        assert asked(second, "/readyz")[0] == 200
