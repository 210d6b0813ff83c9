"""The message that a developer reads and the bytes that ssh receives, for each answer of a gateway."""

import base64
import os
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.address import find_corporate_proxy, join_authority, parse_address
from stagedoor.laptop.tunnel.enter import warn_of_expiry
from stagedoor.laptop.tunnel.errors import TunnelError
from stagedoor.laptop.tunnel.options import Options
from tests.laptop.conftest import PATIENCE_S, TUNNEL, Tunnel
from tests.laptop.scripted_gateway import (
    OPENED,
    ScriptedGateway,
    answering,
    echoing,
    read_request,
    refusing,
    relaying,
)


def message_of(done: object) -> str:
    """The one line on stderr; more than one is a fault, and so is a byte on stdout."""
    stderr = done.stderr.decode()  # type: ignore[attr-defined] - a CompletedProcess
    assert stderr.startswith("stagedoor: ")
    assert stderr.count("\n") == 1
    assert stderr.endswith("\n")
    assert "Traceback" not in stderr
    assert done.stdout == b""  # type: ignore[attr-defined] - a CompletedProcess
    return stderr


def test_the_request_is_one_connect_with_host_and_credential(tunnel_to: Tunnel) -> None:
    with ScriptedGateway([echoing]) as gateway:
        done = tunnel_to(gateway.address, stdin=b"hello", STAGEDOOR_TOKEN="sd_secret")
    assert (done.returncode, done.stdout, done.stderr) == (errors.OK, b"hello", b"")
    basic = base64.b64encode(b"anna:sd_secret").decode()
    [request] = gateway.requests
    assert re.sub(rb"1 [0-9a-f]{32} 0", b"1 KEY 0", request) == (
        b"CONNECT app01.ssh:22 HTTP/1.1\r\nHost: app01.ssh:22\r\nUser-Agent: stagedoor-tunnel\r\n"
        b"Stagedoor-Progress: 1\r\nStagedoor-Resume: 1 KEY 0\r\n"
        + f"Proxy-Authorization: Basic {basic}\r\n\r\n".encode()
    )


def test_a_trace_of_the_environment_goes_on_at_the_gateway_and_not_at_the_proxy(
    tunnel_to: Tunnel,
) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with ScriptedGateway([relaying]) as corporate, ScriptedGateway([echoing] * 2) as gateway:
        via = f"http://{corporate.address}"
        tunnel_to(gateway.address, "--via", via, stdin=b"hi", TRACEPARENT=trace)
        tunnel_to(gateway.address, stdin=b"hi", TRACEPARENT=trace[:-2] + "\r\n")
    assert f"traceparent: {trace}\r\n".encode() in gateway.requests[0]
    assert b"traceparent" not in corporate.requests[0] + gateway.requests[1]


def test_how_far_a_start_has_come_is_told_once_it_takes_long(
    env: dict[str, str],
) -> None:
    notified = threading.Event()

    def slow(conn: socket.socket, _target: str) -> None:
        conn.sendall(b"HTTP/1.1 102 Processing\r\nStagedoor-Progress: scheduling\r\n\r\n")
        while not notified.wait(0.3):  # what is slow here is the clock of the client
            conn.sendall(
                b"HTTP/1.1 102 Processing\r\n"
                b"Stagedoor-Progress: pulling image\x1b[31m: a/b:1\r\n\r\n"
            )
        conn.sendall(OPENED + b"SSH-2.0-x\r\n")
        conn.close()

    with ScriptedGateway([slow]) as gateway:
        process = subprocess.Popen(
            [*TUNNEL, "--gateway", gateway.address, "app01.ssh", "22"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
        )
        assert process.stderr is not None
        first = process.stderr.readline()
        notified.set()
        stdout, more = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, stdout) == (errors.OK, b"SSH-2.0-x\r\n")
    assert {first, *more.splitlines(keepends=True)} == {
        b"stagedoor: app01.ssh:22: pulling image?[31m: a/b:1\n"
    }


@pytest.mark.parametrize(
    "answer",
    [
        OPENED,
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 204 Fine\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX: y\r\n\r\n" + OPENED,
        b"HTTP/1.1 200 OK\nVia: a proxy that knows no CR\n\n",
    ],
)
def test_any_2xx_opens_and_what_is_fused_behind_its_header_arrives(
    tunnel_to: Tunnel, answer: bytes
) -> None:
    early = b"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n"
    with ScriptedGateway([answering(answer + early)]) as gateway:
        done = tunnel_to(gateway.address)
    assert (done.returncode, done.stdout, done.stderr) == (errors.OK, early, b"")


def test_an_answer_split_at_every_byte_delivers_exactly_what_follows(tunnel_to: Tunnel) -> None:
    early = b"\r\nSSH-2.0-x\r\n"

    def dripping(conn: socket.socket, _target: str) -> None:
        for byte in OPENED + early:
            conn.sendall(bytes([byte]))
            time.sleep(0.002)  # so that the segments are not merged; nothing waits for it

    with ScriptedGateway([dripping]) as gateway:
        done = tunnel_to(gateway.address)
    assert (done.returncode, done.stdout) == (errors.OK, early)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, errors.FORBIDDEN, "is not open to anna: you have no grant for app01"),
        (404, errors.NO_SHELL, "app01.ssh:22 does not exist: you have no grant for app01"),
        (502, errors.NO_SHELL, "try again"),
        (504, errors.START_TIMEOUT, "did not answer in time"),
        (400, errors.REFUSED, "400 you have no grant"),
        (302, errors.REFUSED, "302"),
        (431, errors.REFUSED, "431"),
        (101, errors.REFUSED, "101"),
    ],
)
def test_a_refusal_tells_the_gateways_reason_and_has_its_own_exit_code(
    tunnel_to: Tunnel, status: int, code: int, words: str
) -> None:
    with ScriptedGateway([refusing(status, "you have no grant for app01")]) as gateway:
        done = tunnel_to(gateway.address)
    line = message_of(done)
    assert done.returncode == code
    assert words in line
    assert "you have no grant for app01" in line
    assert len(gateway.requests) == 1


def test_a_refusal_without_a_plain_text_body_tells_the_phrase(tunnel_to: Tunnel) -> None:
    page = b"HTTP/1.1 403 Blocked by policy\r\nContent-Type: text/html\r\n\r\n<html>no</html>"
    with ScriptedGateway([answering(page)]) as gateway:
        done = tunnel_to(gateway.address)
    assert "Blocked by policy" in message_of(done)
    assert "<html>" not in message_of(done)


def test_a_hostile_reason_cannot_write_to_the_terminal(tunnel_to: Tunnel) -> None:
    evil = "\x1b]0;owned\x07\x9b31m‮ red\x00 " + "x" * 3000
    with ScriptedGateway([refusing(403, evil)]) as gateway:
        done = tunnel_to(gateway.address)
    line = message_of(done)
    assert done.returncode == errors.FORBIDDEN
    assert all(c.isprintable() for c in line[:-1])
    assert len(line) < 1100


@pytest.mark.parametrize(
    ("junk", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH server answers there"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "give its address as https://"),
        (b"220 mail.example ESMTP\r\n", "got '220 mail.example ESMTP'"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "is not an HTTP proxy"),
        (b"HTTP/2 200\r\n\r\n", "is not an HTTP proxy"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 4000, "more than 16384 bytes"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 2000, "more than 16384 bytes"),
        (b"X", "got 'X'"),
    ],
)
def test_what_is_not_an_http_proxy_is_named(tunnel_to: Tunnel, junk: bytes, words: str) -> None:
    with ScriptedGateway([answering(junk)]) as gateway:
        done = tunnel_to(gateway.address)
    assert done.returncode == errors.NOT_PROXY
    assert words in message_of(done)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nVia: x\r\n"])
def test_a_gateway_that_hangs_up_early_is_told_from_a_refusal(
    tunnel_to: Tunnel, start: bytes
) -> None:
    with ScriptedGateway([answering(start)]) as gateway:
        done = tunnel_to(gateway.address)
    assert done.returncode == errors.NO_ANSWER
    assert "hung up" in message_of(done)


def test_a_silent_gateway_is_given_up_after_the_timeout(tunnel_to: Tunnel) -> None:
    def silent(conn: socket.socket, _target: str) -> None:
        assert conn.recv(1) == b""

    with ScriptedGateway([silent]) as gateway:
        done = tunnel_to(gateway.address, "--timeout", "0.3")
    assert done.returncode == errors.NO_ANSWER
    assert "gave no answer in time" in message_of(done)


def test_a_gateway_that_says_what_goes_on_is_waited_for(tunnel_to: Tunnel) -> None:
    step = b"HTTP/1.1 102 Processing\r\nStagedoor-Progress: scheduling: a node is added\r\n\r\n"

    def patient(conn: socket.socket, _target: str) -> None:
        for _ in range(4):  # as long as the client waits for an answer of which it hears nothing
            conn.sendall(step)
            time.sleep(0.6)
        conn.sendall(OPENED)

    with ScriptedGateway([patient]) as gateway:
        done = tunnel_to(gateway.address, "--timeout", "2")
    assert done.returncode == errors.OK


@pytest.mark.identity(35)
def test_what_a_person_has_to_do_is_told_at_once_and_once(tunnel_to: Tunnel) -> None:
    step = b"HTTP/1.1 102 Processing\r\nStagedoor-Progress: step-up: open https://gw\x1b[2J\r\n\r\n"

    def asking(conn: socket.socket, _target: str) -> None:
        for _ in range(3):
            conn.sendall(step)
        conn.sendall(OPENED)

    with ScriptedGateway([asking]) as gateway:
        done = tunnel_to(gateway.address)
    assert done.returncode == errors.OK
    assert done.stderr == b"stagedoor: app01.ssh:22: step-up: open https://gw?[2J\n"


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ("1800267840", "your token expires in 3 days; make another on your account's"),
        ("1800018060", "your token expires in 5 h; "),
        ("1", "your token expires in 0 h; "),
        ("", ""),
        ("9" * 40, ""),
        ("\x1b[2J", ""),
    ],
)
def test_a_person_is_told_when_their_token_ends_and_a_log_is_not(
    ends: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    for terminal in (True, False):
        monkeypatch.setattr(os, "isatty", lambda _, terminal=terminal: terminal)
        warn_of_expiry(ends)
        told_now = capsys.readouterr().err
        assert told_now.startswith(f"stagedoor: {said}" if terminal and said else "")
        assert bool(told_now) == (terminal and bool(said))


def test_nothing_listening_and_no_such_name_say_what_to_check(tunnel_to: Tunnel) -> None:
    with socket.socket() as bound:  # so that no other program listens there
        bound.bind(("127.0.0.1", 0))
        refused = tunnel_to(f"127.0.0.1:{bound.getsockname()[1]}")
    assert refused.returncode == errors.UNREACHABLE
    assert "Connection refused" in message_of(refused)
    unknown = tunnel_to("gateway.invalid:8022")
    assert unknown.returncode == errors.UNREACHABLE
    assert "does not resolve" in message_of(unknown)
    assert "check --gateway" in message_of(unknown)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_gateway_is_tried_again_after_its_retry_after(
    tunnel_to: Tunnel, status: int
) -> None:
    busy = refusing(status, "one moment", "Retry-After: 0")
    with ScriptedGateway([busy, busy, answering(OPENED + b"in")]) as gateway:
        done = tunnel_to(gateway.address)
    assert (done.returncode, done.stdout, done.stderr) == (errors.OK, b"in", b"")
    assert len(gateway.requests) == 3


def test_after_three_busy_answers_the_developer_is_told(tunnel_to: Tunnel) -> None:
    with ScriptedGateway([refusing(503, "drain", "Retry-After: 0")]) as gateway:
        done = tunnel_to(gateway.address)
    assert done.returncode == errors.BUSY
    assert "drain" in message_of(done)
    assert len(gateway.requests) == 3


@pytest.mark.parametrize("later", ["3600", "Fri, 31 Dec 2150 23:59:59 GMT"])
def test_a_long_retry_after_is_told_instead_of_waited_for(tunnel_to: Tunnel, later: str) -> None:
    with ScriptedGateway([refusing(429, "too many", f"Retry-After: {later}")]) as gateway:
        done = tunnel_to(gateway.address)
    assert done.returncode == errors.BUSY
    assert "too many; try again in" in message_of(done)
    assert len(gateway.requests) == 1


def test_a_reset_tunnel_is_lost_with_its_age(tunnel_to: Tunnel) -> None:
    def resetting(conn: socket.socket, _target: str) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\nStagedoor-Session: s-42\r\n\r\nhello")
        assert conn.recv(2) == b"hi"
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with ScriptedGateway([resetting]) as gateway:
        done = tunnel_to(gateway.address, stdin=b"hi")
    assert done.returncode == errors.LOST
    assert done.stdout == b"hello"
    lost = rb"was lost after \d+ s: Connection reset by peer \(session s-42\)"
    assert re.search(lost, done.stderr), done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--insecure"], "unknown option --insecure"),
        (["--user="], "--user needs a value"),
        (["--timeout", "soon"], "--timeout must be a number"),
        (["--user", "a:b"], "contains ':'"),
        (["--fdpass=yes"], "takes no value"),
        (["--gateway", "anna:pw@gw:1"], "must not hold a name or password"),
        (["--gateway", "ftp://gw"], "only http:// and https://"),
        (["--gateway", "gw"], "names no port"),
        (["--gateway", "gw:０80"], "is not a port"),
        (["--via", "http://anna:pw@corp:3128"], "must not hold a password"),
        (["--via", "https://corp"], "an https:// proxy"),
        (["--fdpass"], "ProxyUseFdpass"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    tunnel_to: Tunnel, options: list[str], words: str
) -> None:
    with ScriptedGateway([echoing]) as gateway:
        done = tunnel_to(gateway.address, *options)
    assert done.returncode == errors.USAGE
    assert words in message_of(done)
    assert "pw" not in message_of(done)


@pytest.mark.parametrize("target", ["app01.ssh\r\nX: y", "a b", "ä.ssh", "u@h", "", "h/../x"])
def test_a_target_cannot_smuggle_anything_into_the_request(tunnel_to: Tunnel, target: str) -> None:
    with pytest.raises(TunnelError) as caught:
        Options({}, [target, "22"], {"STAGEDOOR_GATEWAY": "gw:1", "USER": "anna"})
    assert caught.value.code == errors.USAGE


def test_an_ipv6_target_stands_in_brackets() -> None:
    options = Options({}, ["[::1]"], {"STAGEDOOR_GATEWAY": "[::1]:80", "USER": "anna"})
    assert join_authority(options.host, options.port) == "[::1]:22"
    assert str(options.gateway) == "[::1]:80"


# ---- a corporate proxy in front ----------------------------------------------------------------


def test_a_corporate_proxy_is_asked_first_and_both_headers_are_taken_exactly(
    tunnel_to: Tunnel,
) -> None:
    with ScriptedGateway([relaying]) as corporate, ScriptedGateway([echoing]) as gateway:
        done = tunnel_to(gateway.address, "--via", f"http://{corporate.address}", stdin=b"hi")
    assert (done.returncode, done.stdout, done.stderr) == (errors.OK, b"hi", b"")
    assert corporate.requests[0].startswith(f"CONNECT {gateway.address} HTTP/1.1\r\n".encode())
    assert gateway.requests[0].startswith(b"CONNECT app01.ssh:22 HTTP/1.1\r\n")


def test_the_gateways_credential_never_reaches_the_corporate_proxy(
    tunnel_to: Tunnel, home: Path
) -> None:
    (home / ".netrc").write_text("machine 127.0.0.1 login corp password c0rp\n")
    (home / ".netrc").chmod(0o600)
    with ScriptedGateway([relaying]) as corporate, ScriptedGateway([echoing]) as gateway:
        via = f"http://{corporate.address}"
        tunnel_to(gateway.address, "--via", via, STAGEDOOR_TOKEN="ours")
        tunnel_to(gateway.address, STAGEDOOR_VIA=f"http://u:p%40@{corporate.address}")
    assert base64.b64encode(b"corp:c0rp") in corporate.requests[0]
    assert base64.b64encode(b"u:p@") in corporate.requests[1]
    assert base64.b64encode(b"anna:ours") not in corporate.requests[0]
    assert base64.b64encode(b"anna:ours") in gateway.requests[0]


@pytest.mark.parametrize(("status", "fix"), [(407, "~/.netrc"), (403, "STAGEDOOR_VIA=direct")])
def test_a_corporate_proxy_that_refuses_is_named_as_the_one(
    tunnel_to: Tunnel, status: int, fix: str
) -> None:
    with ScriptedGateway([refusing(status, "not today")]) as corporate:
        done = tunnel_to("gw.example:8022", http_proxy=f"http://{corporate.address}/")
    assert done.returncode == errors.VIA
    line = message_of(done)
    assert f"the corporate proxy {corporate.address} (from http_proxy) refused" in line
    assert "not today" in line
    assert fix in line


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"http_proxy": "http://corp:1"}, "corp:1"),
        ({"HTTP_PROXY": "http://corp:1"}, None),
        ({"all_proxy": "corp:1"}, "corp:1"),
        ({"https_proxy": "http://corp:1"}, None),
        ({"http_proxy": "http://corp:1", "no_proxy": "other,.example"}, None),
        ({"http_proxy": "http://corp:1", "no_proxy": "gw.example:8022"}, None),
        ({"http_proxy": "http://corp:1", "no_proxy": "w.example"}, "corp:1"),
        ({"http_proxy": "http://corp:1", "no_proxy": "*"}, None),
        ({"http_proxy": "http://corp:1", "no_proxy": "10.0.0.0/8, ,"}, "corp:1"),
        ({"STAGEDOOR_VIA": "direct", "http_proxy": "http://corp:1"}, None),
    ],
)
def test_the_usual_proxy_variables_count_as_for_curl(
    env: dict[str, str], expected: str | None
) -> None:
    via = find_corporate_proxy(None, parse_address("gw.example:8022", "--gateway"), env)
    assert (via and str(via)) == expected


def test_a_network_in_no_proxy_spares_an_address_in_it() -> None:
    gateway = parse_address("10.1.2.3:8022", "--gateway")
    env = {"http_proxy": "http://corp:1", "no_proxy": "10.0.0.0/8"}
    assert find_corporate_proxy(None, gateway, env) is None


@pytest.mark.parametrize("host", ["127.evil.example", "127.0.0.1.example", "127.0.0.1000"])
def test_a_name_that_begins_like_a_loopback_address_is_another_machine(host: str) -> None:
    gateway = parse_address(f"{host}:8022", "--gateway")
    assert find_corporate_proxy(None, gateway, {"http_proxy": "http://corp:1"}) is not None


def test_read_request_is_exact() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"CONNECT a:1 HTTP/1.0\r\n\r\nrest")
        assert read_request(ours) == b"CONNECT a:1 HTTP/1.0\r\n\r\n"
        assert ours.recv(9) == b"rest"
