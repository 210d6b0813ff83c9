"""The WebShell's WebSocket, against a real gateway, a real shell and a real holder."""

import json
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from stagedoor.model.permission import Permission
from stagedoor.wire.terminal.frames import Detach, Exit, Notice, NoticeKind
from tests.fixtures.gateway import Gateway, open_gateway
from tests.fixtures.terminal import END_S, WebTerminal, basic, post, ticket
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS


@contextmanager
def attached(port: int, command: str = "", **options: object) -> Iterator[WebTerminal]:
    with closing(WebTerminal(port)) as client:
        client.hello(ticket(port), command, **options)  # type: ignore[arg-type]
        yield client


def test_a_terminal_in_the_shell_of_the_app(gateway: Gateway, port: int) -> None:
    with attached(port, terminal="first") as client:
        client.type(b"echo app=$APP_NAME; exit 3\r")
        client.shows(b"\napp=app01")
        client.until(lambda: client.exit)
        assert client.exit == Exit(3)
        client.send(Detach())
        client.until(lambda: client.ended)
    line = gateway.wait_for_session(client.source)
    assert line["identity"] == "dev"
    assert line["target"] == "app01.ssh"
    assert line["outcome"] == "closed"
    assert line["sent"] == len(b"echo app=$APP_NAME; exit 3\r")
    assert line["received"] == len(client.output)


def test_the_terminal_is_there_for_whoever_comes_back(port: int) -> None:
    with attached(port, terminal="stay") as client:
        client.type(b"here=still; echo marked\r")
        client.shows(b"\nmarked")
    with attached(port, terminal="stay") as again:
        again.type(b"echo $here\r")
        again.shows(b"\nstill")
        assert b"marked" in again.snapshot


def test_who_detaches_and_goes_at_once_is_not_waited_for(port: int) -> None:
    """As a page does: its last word must reach the holder, though no client waits for an answer."""
    for _ in range(5):
        with attached(port, terminal="brief") as client:
            client.type(b"exit\r")
            client.until(lambda v=client: v.exit)
            client.send(Detach())

        def begins_anew() -> bool:
            with attached(port, terminal="brief") as again:
                with suppress(ConnectionClosed):  # it ended as they came
                    again.send(Detach())
                return again.welcome is not None and again.welcome.out_at == 0

        # Far less than the minute for which one is waited for whose line was cut.
        wait_until(begins_anew, 20)


def test_who_detaches_in_the_middle_of_output_is_not_waited_for(port: int, tmp_path: Path) -> None:
    """Output that they are not shown any more must not keep their last word back."""
    done = tmp_path / "done"
    command = f"head -c 3000000 /dev/zero; touch {done}; exec sleep 600"
    with attached(port, command, terminal="parting") as client:
        client.until(lambda: client.seen > 100_000)
        client.send(Detach())
    wait_until(done.exists, END_S)  # less than the minute for which a cut line is waited for


def test_terminals_of_two_apps_are_apart(port: int) -> None:
    with attached(port, terminal="same") as client:
        client.type(b"echo one\r")
        client.shows(b"\none")
        other = WebTerminal(port)
        other.hello(ticket(port, "app02"), terminal="same")
        assert other.snapshot == b""
        other.close()


def test_an_administrator_who_closes_it_is_named_and_the_terminal_lives_on(
    gateway: Gateway, port: int
) -> None:
    with attached(port, terminal="evicted") as client:
        client.type(b"kept=yes; echo ready\r")
        client.shows(b"\nready")
        rows = json.loads(gateway.command("session", "list", "--json").stdout)
        (mine,) = [row["id"] for row in rows if row["source"] == client.source]
        gateway.command("session", "close", mine, "--reason", "for a test")
        client.until(lambda: client.notices)
        assert client.notices[0].kind is NoticeKind.REVOKED
        assert "for a test" in client.notices[0].text
    with attached(port, terminal="evicted") as again:
        again.type(b"echo $kept\r")
        again.shows(b"\nyes")


def test_whoever_loses_his_grant_is_sent_out_within_seconds(gateway: Gateway, port: int) -> None:
    at = len(gateway.lines)
    gateway.command("grant", "add", "user:dev", "secret")
    gateway.wait_for(lambda line: line["event"] == "policy changed", after=at)
    client = WebTerminal(port)
    client.hello(ticket(port, "secret"))
    rows = json.loads(gateway.command("grant", "list", "--json").stdout)
    number = next(str(row["id"]) for row in rows if row["app"] == "secret")
    gateway.command("grant", "remove", number)
    client.until(lambda: client.notices, END_S)
    assert client.notices[0].kind is NoticeKind.REVOKED
    client.close()


# Who gets in.


def test_a_ticket_is_good_once(port: int) -> None:
    given = ticket(port)
    one = WebTerminal(port).hello(given, terminal="once")
    assert one.welcome is not None
    two = WebTerminal(port)
    two.hello(given, terminal="once")
    assert two.welcome is None
    assert [notice.kind for notice in two.notices] == [NoticeKind.DENIED]
    assert "used up" in two.notices[0].text
    one.close()


@pytest.mark.parametrize(
    "given", ["", "nonsense", "A" * 43, "ünïcödé", "'; DROP TABLE web_passes --"]
)
def test_what_is_no_ticket_is_refused_and_audited(gateway: Gateway, port: int, given: str) -> None:
    at = len(gateway.lines)
    client = WebTerminal(port)
    client.hello(given)
    assert [notice.kind for notice in client.notices] == [NoticeKind.DENIED]
    line = gateway.wait_for_denial(after=at)
    assert line["way"] == "web"
    if len(given) > 8:
        assert given not in json.dumps(gateway.lines)


@pytest.mark.parametrize(
    ("headers", "body", "status", "reason"),
    [
        ({}, {"target": "app01"}, 401, "credential_missing"),
        (basic(secret="wrong"), {"target": "app01"}, 401, "credential_wrong"),
        (basic("nobody"), {"target": "app01"}, 401, "credential_wrong"),
        ({"Authorization": "Basic %%%"}, {"target": "app01"}, 400, "bad_request"),
        (basic(), {"target": "secret"}, 403, "no_grant"),
        (basic(), {"target": "127.0.0.1"}, 403, "target_not_allowed"),
        (basic(), {"target": "app01.ssh:23"}, 403, "target_not_allowed"),
        (basic(), {"target": 7}, 400, "bad_request"),
        (basic(), {}, 400, "bad_request"),
        (basic(), {"target": "a" * 9000}, 400, "bad_request"),
    ],
)
def test_who_gets_no_ticket_is_told_why(
    gateway: Gateway,
    port: int,
    headers: dict[str, str],
    body: dict[str, object],
    status: int,
    reason: str,
) -> None:
    at = len(gateway.lines)
    got, answer, shown = post(port, "/api/ticket", json.dumps(body).encode(), headers)
    assert (got, answer["reason"]) == (status, reason)
    assert shown["cache-control"] == "no-store"
    assert shown.get("www-authenticate") == ('Bearer realm="Stagedoor"' if status == 401 else None)
    gateway.wait_for_denial(after=at)


def test_a_page_of_another_site_is_refused_before_it_is_a_websocket(port: int) -> None:
    for origin in ("https://evil.example", "null", f"https://127.0.0.1:{port}"):
        with pytest.raises(InvalidStatus) as refused:
            WebTerminal(port).open(origin=Origin(origin))
        assert refused.value.response.status_code == 403
    WebTerminal(port).open(origin=Origin(f"http://127.0.0.1:{port}")).close()


def test_what_is_no_frame_and_what_is_not_his_to_say_ends_it_with_a_word(port: int) -> None:
    for sent in (b"", b"\x00junk", b"\x82" + b"\0" * 8 + b"x"):
        with attached(port, terminal="rude") as client:
            assert client.socket is not None
            client.socket.send(sent)
            client.until(lambda v=client: v.notices)
            assert client.notices[0].kind is NoticeKind.FAULT
    with attached(port, terminal="rude") as client:
        assert client.socket is not None
        client.socket.send("text")
        client.until(lambda: client.notices)
        assert client.notices == [Notice(NoticeKind.FAULT, "a text message; frames are binary")]


RECORDED = SETTINGS + "\n[recording]\nrecord_input = true\n"


def test_a_terminal_that_has_to_be_recorded_is_and_its_person_is_told(tmp_path: Path) -> None:
    with open_gateway(tmp_path, RECORDED, "app01") as gateway:
        gateway.permit("user:dev", "*", Permission.RECORD)
        with attached(gateway.port("web")) as client:
            client.type(b"echo shown; exit 4\r")
            client.until(lambda: client.exit)
            assert client.notices[0].kind is NoticeKind.RECORDED
            source = client.source
        gateway.wait_for_session(source)
        (row,) = json.loads(gateway.command("recording", "list", "--json").stdout)
        assert row["user"] == "dev"
        cast = gateway.command("recording", "export", row["id"]).stdout
        first, *events = [json.loads(line) for line in cast.splitlines()]
        assert (first["width"], first["height"]) == (80, 24)
        shown = "".join(data for _, code, data in events if code == "o")
        typed = "".join(data for _, code, data in events if code == "i")
        assert shown == client.output.decode()
        assert typed == "echo shown; exit 4\r"
        wanted = {"channel.opened", "recording.ended"}
        wait_until(lambda: wanted <= {event["kind"] for event in gateway.audit()})


def test_what_has_to_be_recorded_and_cannot_be_does_not_happen(tmp_path: Path) -> None:
    with open_gateway(tmp_path, RECORDED, "app01") as gateway:
        gateway.permit("user:dev", "*", Permission.RECORD)
        recordings = gateway.data_dir / "recordings"
        if recordings.is_dir():
            recordings.rmdir()
        recordings.write_text("in the way")
        client = WebTerminal(gateway.port("web")).hello(ticket(gateway.port("web")))
        assert client.welcome is None
        assert "has to be recorded and cannot be" in client.notices[-1].text
        client.close()
        assert gateway.wait_for_session(client.source)["outcome"] == "unrecorded"


@pytest.mark.parametrize("name", ["", "Main", "a/b", "ü", "x" * 60])
def test_what_is_no_name_of_a_terminal_is_told_as_such(port: int, name: str) -> None:
    client = WebTerminal(port).hello(ticket(port), terminal=name)
    assert client.welcome is None
    assert client.notices[-1].kind is NoticeKind.DENIED
    assert "is not a name for a terminal" in client.notices[-1].text
    client.close()


def test_a_gateway_that_stops_says_so_and_its_successor_has_the_terminal(tmp_path: Path) -> None:
    with open_gateway(tmp_path, SETTINGS, "app01") as gateway:
        with attached(gateway.port("web")) as client:
            client.type(b"kept=yes; echo ready\r")
            client.shows(b"\nready")
            assert client.welcome is not None
            attachment = client.welcome.attachment
            gateway.signal(signal.SIGTERM)
            gateway.wait_for(lambda line: line["event"] == "draining")
            gateway.signal(signal.SIGTERM)
            client.until(lambda: client.notices)
            assert client.notices[0].kind is NoticeKind.DRAINED
        assert gateway.process is not None
        gateway.process.wait(30)
        gateway.wait_for(lambda line: line["event"] == "end of log")  # or it would come later
        gateway.lines.clear()
        gateway.start()
        port = gateway.port("web")
        again = WebTerminal(port)
        again.hello(ticket(port), attachment=attachment, seen=client.seen)
        assert again.welcome is not None
        assert again.welcome.attachment == attachment
        again.type(b"echo $kept\r")
        again.shows(b"\nyes")
        again.close()


def test_a_worker_that_drains_keeps_no_line_that_others_would_answer(tmp_path: Path) -> None:
    with open_gateway(tmp_path, SETTINGS, "app01") as gateway:
        port = gateway.port("web")
        with attached(port), closing(HTTPConnection("127.0.0.1", port)) as kept:

            def status() -> int:
                kept.request("GET", "/sign-in")
                with kept.getresponse() as answer:
                    answer.read()
                    return answer.status

            assert status() == 200
            gateway.signal(signal.SIGHUP)
            gateway.wait_for(lambda line: line["event"] == "reloaded")

            def left() -> bool:
                try:
                    status()
                except (HTTPException, ConnectionError):
                    kept.close()
                    return True
                return False

            wait_until(left)
            assert status() == 200


def test_frames_that_come_in_pieces_of_the_socket_are_whole(port: int) -> None:
    with attached(port, "head -c 300000 /dev/zero | tr '\\0' x", terminal="long") as client:
        client.until(lambda: client.exit)
        assert bytes(client.output) == b"x" * 300_000
