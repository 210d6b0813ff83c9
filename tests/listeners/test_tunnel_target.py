"""Lines 15 to 22: which names may be asked for, and which addresses may be dialled."""

import contextlib
import socket
from pathlib import Path

import pytest

from tests.fixtures.gateway import static
from tests.listeners.conftest import Spied
from tests.listeners.wire import Answer, Upstream, dialled, head, read_answer, said
from tests.listeners.worker import GatewayWorker, open_worker

NAMES = {
    # 15: ASCII, as a whole, one spelling of the port.
    15: [
        "app01-ssh:+22",
        "app01-ssh:2_2",
        "app01-ssh:２２",
        "app01-ssh:١٢",
        "app01-ssh:22\n",
        "app０１-ssh:22",
        "app01-ſsh:22",
        "app01。ssh:22",
        "app01-ssh\x0b:22",
        "app_01-ssh:22",
        "-app-ssh:22",
    ],
    # 16: case is folded; no dot at the end, none doubled.
    16: ["app01.ssh.:22", "app01-ssh.:22", "app01..ssh:22", ".app01.ssh:22", "..:22"],
    # 17
    17: [
        "http://app01-ssh:22/",
        "dev@app01-ssh:22",
        "dev:pw@app01-ssh:22",
        "app01%2essh:22",
        "app01-ssh%eth0:22",
        "*:22",
        "app01-ssh:",
        "app01-ssh",
        ":22",
        "app01-ssh:0",
        "app01-ssh:022",
        "app01-ssh:65558",
        "app01-ssh:4294967318",
        "app01-ssh:23",
        "app01-ssh:22:22",
        "app01-ssh:-22",
    ],
    # 18
    18: ["[app01-ssh]:22", "[[app01-ssh]]:22", "[127.0.0.1]:22", "[::1]:22", "[::ffff:7f00:1]:22"],
    # 19
    19: [
        "127.0.0.1:22",
        "127.1:22",
        "0177.0.0.1:22",
        "2130706433:22",
        "0x7f.1:22",
        "0x7f000001:22",
        "0:22",
        "::1:22",
        "169.254.169.254:22",
        "localhost:22",
        "shell.test:22",
        "127.0.0.1.nip.io:22",
        "kubernetes.default.svc:22",
        "app01.ssh.evil.example:22",
        "evil.example#.ssh:22",
    ],
}


@pytest.mark.line(15, 16, 17, 18, 19)
@pytest.mark.parametrize("authority", [name for names in NAMES.values() for name in names])
def test_no_other_name_is_looked_up_or_dialled(
    worker: GatewayWorker, upstream: Upstream, spied: Spied, authority: str
) -> None:
    spied.answers = [["127.0.0.1"]] * 9
    answer = ask_raw(worker, authority)
    assert answer.status in (400, 403)
    assert answer.message
    worker.empty()
    assert spied.lookups == []
    assert spied.dials == []
    assert not upstream.dialled()


@pytest.mark.line(15, 16)
@pytest.mark.parametrize(
    "authority", ["app01-ssh:22", "app01.ssh:22", "APP01-SSH:22", "App01.Ssh:22"]
)
def test_every_spelling_of_a_target_gets_in(
    worker: GatewayWorker, upstream: Upstream, spied: Spied, authority: str
) -> None:
    assert ask_raw(worker, authority).status == 200
    assert spied.dials == ["127.0.0.1"]


def ask_raw(worker: GatewayWorker, authority: str) -> Answer:
    request = f"CONNECT {authority} HTTP/1.1\r\nHost: x\r\n{worker.auth}\r\n\r\n"
    with dialled(worker.port) as client:
        client.send(request.encode())
        return read_answer(client)


@pytest.mark.line(20)
def test_a_name_is_looked_up_once_and_the_address_that_was_checked_is_dialled(
    worker: GatewayWorker, upstream: Upstream, spied: Spied
) -> None:
    spied.answers = [["127.0.0.1"], ["169.254.169.254"]]  # rebinding: the second would be evil
    assert said(worker.port, head("named-ssh:22", worker.auth)).status == 200
    assert upstream.dialled()
    assert spied.lookups == ["shell.test"]
    assert spied.dials == ["127.0.0.1"]


@pytest.mark.line(20)
def test_a_name_that_turns_evil_at_the_second_login_is_refused_then(
    worker: GatewayWorker, upstream: Upstream, spied: Spied
) -> None:
    spied.answers = [["127.0.0.1"], ["169.254.169.254"]]
    assert said(worker.port, head("named-ssh:22", worker.auth)).status == 200
    assert said(worker.port, head("named-ssh:22", worker.auth)).status == 403
    assert spied.dials == ["127.0.0.1"]


FORBIDDEN = [
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "0.0.0.0",
    "::",
    "169.254.1.1",
    "169.254.169.254",
    "fe80::1",
    "fd00:ec2::254",
    "100.100.100.200",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "224.0.0.1",
    "255.255.255.255",
    "ff02::1",
]


@pytest.mark.line(21)
@pytest.mark.parametrize("address", FORBIDDEN)
def test_a_shells_name_that_leads_to_a_forbidden_address_is_refused_without_a_dial(
    worker: GatewayWorker, upstream: Upstream, spied: Spied, address: str
) -> None:
    spied.answers = [[address]]
    answer = said(worker.port, head("public-ssh:22", worker.auth))
    assert answer.status == 403
    assert "networks" in answer.message, "it names the setting"
    assert spied.dials == []
    assert not upstream.dialled()
    worker.empty()
    last = worker.lines[-1]
    assert (last["event"], last["outcome"]) == ("session", "unreached")


@pytest.mark.line(21)
@pytest.mark.parametrize("app", ["own", "own2"])
def test_the_gateway_never_dials_itself(worker: GatewayWorker, spied: Spied, app: str) -> None:
    """The shell's address is allowed; it is our own port there that is not."""
    assert said(worker.port, head(f"{app}-ssh:22", worker.auth)).status == 403
    assert spied.dials == []


@pytest.mark.line(21)
def test_an_administrator_can_allow_a_network_for_one_shell(
    worker: GatewayWorker, upstream: Upstream, spied: Spied
) -> None:
    spied.answers = [["127.0.0.1"]]
    assert said(worker.port, head("named-ssh:22", worker.auth)).status == 200


@pytest.mark.line(22)
def test_the_race_runs_among_checked_addresses_only(
    worker: GatewayWorker, upstream: Upstream, spied: Spied
) -> None:
    spied.answers = [["::1", "169.254.169.254", "127.0.0.1", "fe80::1"]]
    assert said(worker.port, head("named-ssh:22", worker.auth)).status == 200
    assert spied.dials == ["127.0.0.1"]


@pytest.mark.line(22)
def test_where_ipv4_refuses_ipv6_is_taken(tmp_path: Path, spied: Spied) -> None:
    if not socket.has_ipv6:  # nothing to race with
        pytest.skip("this machine has no IPv6")
    with contextlib.closing(Upstream("::1")) as six:
        settings = static("both", six.port, host="shell.test").replace(
            '["127.0.0.0/8"]', '["127.0.0.0/8", "::1/128"]'
        )
        with open_worker(tmp_path, settings) as worker, dialled(worker.port) as client:
            spied.answers = [["127.0.0.1", "::1"]]
            client.send(head("both-ssh:22", worker.auth))
            assert read_answer(client).status == 200
            assert spied.dials == ["127.0.0.1", "::1"]
            far = six.accept()
            far.send(b"six")
            assert client.read_exactly(3) == b"six"
