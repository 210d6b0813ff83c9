"""A grant, key or token made a moment ago lets in at the first try, by each access method."""

import base64
import http.client
import itertools
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.admin.certificates.authorities import ensure_user_key
from stagedoor.admin.service import (
    AdminService,
    add_grant,
    add_keys,
    add_user,
    create_token,
)
from stagedoor.settings.file import load_settings
from stagedoor.signin.links import make_link
from tests.fixtures.gateway import PASSWORD, Gateway
from tests.path.conftest import APP

SETTINGS = f"""
[ssh]
addresses = ["127.0.0.1:0"]
[web]
addresses = ["127.0.0.1:0"]
{APP}"""
NAMES = (f"dev{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("made"), SETTINGS) as gateway:
        yield gateway.start()


def person(service: AdminService, password: str | None = None) -> str:
    """Add a user who may enter app01, and return the name."""
    name = next(NAMES)
    add_user(service, name, password=password)
    add_grant(service, f"user:{name}", "app01")
    return name


def connect(gateway: Gateway, name: str, secret: str) -> int:
    """Return the status of a CONNECT."""
    shown = base64.b64encode(f"{name}:{secret}".encode()).decode()
    with socket.create_connection(("127.0.0.1", gateway.port()), 60) as sock:
        sock.settimeout(60)
        sock.sendall(
            f"CONNECT app01.ssh:22 HTTP/1.1\r\nHost: app01.ssh:22\r\n"
            f"Proxy-Authorization: Basic {shown}\r\n\r\n".encode()
        )
        return int(sock.recv(1000).split()[1])


def ticket(gateway: Gateway, token: str) -> int:
    """Return the status for a program that asks for a terminal."""
    asked = http.client.HTTPConnection("127.0.0.1", gateway.port("web"), timeout=60)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    asked.request("POST", "/api/ticket", json.dumps({"target": "app01"}), headers)
    try:
        return asked.getresponse().status
    finally:
        asked.close()


def test_a_token_and_a_grant_by_connect(gateway: Gateway) -> None:
    with gateway.service() as service:
        name = person(service)
        assert connect(gateway, name, create_token(service, name).text) == 200


def test_a_password_by_connect(gateway: Gateway) -> None:
    with gateway.service() as service:
        name = person(service, password=PASSWORD)
        assert connect(gateway, name, PASSWORD) == 200


def test_a_token_and_a_grant_on_the_web(gateway: Gateway) -> None:
    with gateway.service() as service:
        name = person(service)
        assert ticket(gateway, create_token(service, name).text) == 200


def test_a_grant_alone(gateway: Gateway) -> None:
    with gateway.service() as service:
        name = next(NAMES)
        add_user(service, name)
        token = create_token(service, name).text
        assert ticket(gateway, token) == 403
        add_grant(service, f"user:{name}", "app01")
        assert ticket(gateway, token) == 200


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        pytest.param(["-W", "app01.ssh:22", "{name}@127.0.0.1"], "SSH-2.0-", id="jump"),
        pytest.param(["app01@127.0.0.1", "echo in $((40+2))"], "in 42", id="direct"),
    ],
)
def test_a_key_and_a_grant_by_ssh(
    gateway: Gateway, tmp_path: Path, words: list[str], begins: str
) -> None:
    key = tmp_path / "id_ed25519"
    with gateway.service() as service:
        name = person(service)
        add_keys(service, name, [ensure_user_key(key)])
    done = subprocess.run(
        ["ssh", "-F", "none", "-i", key, "-p", str(gateway.port("ssh")), "-o", "BatchMode=yes",
         "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
         "-o", "IdentitiesOnly=yes", *(word.format(name=name) for word in words)],
        input="", capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith(begins), done.stderr


def test_a_link_for_a_new_user_is_not_used_up_for_nothing(gateway: Gateway) -> None:
    with gateway.service() as service:
        name = person(service)
        link = make_link(load_settings(gateway.file), service, name, url="http://gw")
    at = f"127.0.0.1:{gateway.port('web')}"
    asked = http.client.HTTPConnection(at, timeout=60)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"http://{at}"}
    asked.request("POST", "/sign-in/link", "secret=" + link.url.partition("#")[2], headers)
    try:
        answer = asked.getresponse()
        assert answer.status == 303, answer.read()
    finally:
        asked.close()
