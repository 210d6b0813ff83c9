"""Strangers' logins that wait for an approver, as many as there may be: all others log in as before."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.requests import access_requests as requests
from stagedoor.admin.requests.request_service import MAX_WAITING, MAX_WAITING_PER_USER
from stagedoor.model.access_request import RequestRule
from tests.fixtures.gateway import PASSWORD, SSH_TABLE, EchoServer, local, static
from tests.fixtures.laptop import Laptop, open_laptop
from tests.listeners.wire import basic, dialled, head, read_answer, said
from tests.pace import allow
from tests.waiting import wait_until

STRANGERS = [f"user{number}" for number in range(MAX_WAITING // MAX_WAITING_PER_USER)]
RULE = RequestRule(0, "group:strangers", "*", approvers=("group:sre",))
LOGINS_S = 5.0
"""What two logins take at most: they take 0.5 s without a flood."""


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    echo = EchoServer()
    settings = SSH_TABLE + static("jumped", echo.port) + local("own")
    with open_laptop(tmp_path, settings, ("jumped", "own")) as laptop:
        with laptop.gateway.changed() as service:
            for name in (*STRANGERS, "late"):
                admin.add_user(service, name, groups=["strangers"], password=PASSWORD)
            requests.add_rule(service, RULE)
        yield laptop
    echo.close()


def request(name: str) -> bytes:
    return head("jumped.ssh:22", basic(name, PASSWORD), "Stagedoor-Progress: 1")


def wait_there(stack: ExitStack, port: int, name: str) -> bool:
    """Open a connection until the end of `stack`, and return whether it waits; otherwise it was refused."""
    peer = stack.enter_context(dialled(port))
    peer.send(request(name))
    received = b""
    while b"This login waits" not in received and b" 403 " not in received:
        part = peer.read(1)
        assert part, received
        received += part
    return b" 403 " not in received


@pytest.mark.access(21)
def test_a_user_with_a_grant_logs_in_while_strangers_wait_at_their_limits(laptop: Laptop) -> None:
    """It takes more than five seconds on a busy machine, for 200 connections of 40 users."""
    port = laptop.gateway.port("tunnel")
    with ExitStack() as flood:
        for name in STRANGERS * MAX_WAITING_PER_USER:
            assert wait_there(flood, port, name)
        for name in (STRANGERS[0], "late"):
            crowded = said(port, request(name))
            assert (crowded.status, "jumped is open on request" in crowded.message) == (403, True)
        began = time.monotonic()
        with dialled(port) as peer:
            peer.send(head("jumped.ssh:22", basic("dev", PASSWORD)))
            assert read_answer(peer).status == 200
        assert laptop.ssh("own@gw", "echo in").stdout == b"in\n"
        assert time.monotonic() - began < allow(LOGINS_S)
    with ExitStack() as stack:
        wait_until(lambda: wait_there(stack, port, "late"), what="their places are free")
