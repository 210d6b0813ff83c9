"""Requests to the gateway's web: any answer is bounded, and says what is wrong with it."""

import socket
from contextlib import closing

import pytest

from stagedoor.client.attach.secret_prompt import AttachError, request_once
from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.laptop.tunnel.options import Options
from stagedoor.laptop.web import BODY_LIMIT, WebConnection
from tests.laptop.scripted_gateway import Script, ScriptedGateway, answering

BODY = b'{"target": "app01"}'


def to_body(*pieces: bytes) -> Script:
    """Answer once the request's body has come: a server that hangs up before it resets the connection."""

    def script(conn: socket.socket, target: str) -> None:
        assert conn.recv(len(BODY), socket.MSG_WAITALL) == BODY
        answering(*pieces)(conn, target)

    return script


def ask(gateway: ScriptedGateway) -> tuple[int, bytes]:
    options = Options({"--gateway": gateway.address, "--user": "anna"}, ["app01"], {})
    with closing(WebConnection(options, "/prefix")) as connection:
        answer = connection.ask("ticket", {"target": "app01"}, "anna", "s3cret")
        return answer.status, answer.body


def test_a_request_has_the_path_the_user_and_the_body() -> None:
    with ScriptedGateway(
        [to_body(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", b"}")]
    ) as gateway:
        assert ask(gateway) == (200, b"{}")
    head, _, _ = gateway.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /prefix/api/ticket HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Basic YW5uYTpzM2NyZXQ=" in head


@pytest.mark.parametrize(
    "fields", [b"", b"Content-Length: x\r\n", b"Content-Length: %d\r\n" % (BODY_LIMIT + 1)]
)
def test_a_body_without_a_length_or_too_long_is_not_read(fields: bytes) -> None:
    with ScriptedGateway(
        [to_body(b"HTTP/1.1 502 Bad Gateway\r\n" + fields + b"\r\n<html>")]
    ) as gateway:
        assert ask(gateway) == (502, b"")


@pytest.mark.parametrize(
    ("answer", "code", "line"),
    [
        (b"", errors.NO_ANSWER, "hung up without an answer"),
        (b"HTTP/1.1 200 OK\r\n", errors.NO_ANSWER, "hung up in the middle of its answer"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
            errors.NO_ANSWER,
            "before its answer was complete",
        ),
        (b"SSH-2.0-OpenSSH\r\n", errors.NOT_PROXY, "an SSH server answers there"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, errors.NOT_PROXY, "a header of more than"),
    ],
)
def test_an_answer_that_is_none_says_why(answer: bytes, code: int, line: str) -> None:
    with ScriptedGateway([to_body(answer)]) as gateway, pytest.raises(TunnelError) as caught:
        ask(gateway)
    assert caught.value.code == code
    assert line in caught.value.line


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("502 Bad Gateway", "a proxy answers 502 for Stagedoor's web; try again in a minute"),
        ("404 Not Found", "the server that answered 404 is not Stagedoor's web; check the address"),
    ],
)
def test_what_another_server_answers_is_told_from_a_proxy_that_waits(
    status: str, line: str
) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 6\r\n\r\n<html>".encode()
    with ScriptedGateway([to_body(answer)]) as gateway:
        options = Options({"--gateway": gateway.address, "--user": "anna"}, ["app01"], {})
        with pytest.raises(AttachError) as caught:
            request_once(options, "/prefix", "ticket", {"target": "app01"}, "app01")
    assert str(caught.value) == line
