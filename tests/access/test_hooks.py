"""Hooks: the attacks first, then signatures, order, and what a hook misses while it is down."""

import base64
import contextlib
import json
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from stagedoor.admin.audit.chain import ChainReader
from stagedoor.admin.hooks.delivery import HookSink, load_hook_key, read_code
from stagedoor.admin.hooks.messages import BODIES, make_message
from stagedoor.admin.requests import access_requests as requests
from stagedoor.audit.chain import Line
from stagedoor.keys.webhook import show_webhook_key
from stagedoor.model.access_request import REQUEST_PENDING_S, RequestRule
from stagedoor.model.errors import SettingsError, StagedoorError
from stagedoor.model.target import Target
from stagedoor.net import resolve
from stagedoor.serve.doctor.bundle import withhold_secrets
from stagedoor.serve.supervisor import audit_output, sink_writer
from stagedoor.serve.supervisor.audit_output import AuditOutput
from stagedoor.settings.file import parse_settings
from stagedoor.settings.settings import Settings
from stagedoor.store.deliveries import read_position
from tests.access.test_requests import Desk, desk
from tests.audit.receivers import HttpServer, http_server
from tests.cli.conftest import Desk as Terminal
from tests.cli.conftest import desk as terminal_desk
from tests.fixtures.gateway import EchoServer
from tests.net.peers import write_certificate
from tests.waiting import BOUND_S, wait_until

__all__ = ["desk", "terminal_desk"]
SITE = "https://shell.example"
HERE = 'networks = ["127.0.0.0/8", "::1/128"]'
ANY = RequestRule(0, "group:dev", "*", approvers=("group:sre",))


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with http_server() as started:
        yield started


def settings_of(desk: Desk, url: str, *lines: str, kind: str = "json") -> Settings:
    rows = [f'data_dir = "{desk.folder}"', 'web.public_url = "https://shell.example"']
    rows += ["[[hooks]]", 'name = "chat"', f'kind = "{kind}"', f'url = "{url}"', *lines]
    return parse_settings("\n".join(rows), "test")


def open_hook(desk: Desk, settings: Settings) -> HookSink:
    return HookSink(settings.hooks[0], settings, SITE, lambda: desk.now)


def read(desk: Desk) -> list[Line]:
    return ChainReader(desk.database).read()


def has_begun(desk: Desk, hook: str = "chat") -> bool:
    with desk.database.read() as transaction:
        return read_position(transaction, f"hook {hook}") is not None


def url_of(server: HttpServer) -> str:
    return f"http://127.0.0.1:{server.server_port}/hook"


def test_a_hook_reaches_no_address_of_our_network_unless_it_is_named(
    desk: Desk, server: HttpServer
) -> None:
    desk.make(desk.rule())
    for host in ("127.0.0.1", "localhost"):
        settings = settings_of(desk, f"http://{host}:{server.server_port}/hook")
        with pytest.raises(StagedoorError, match="is not public, and in none of the named"):
            open_hook(desk, settings).send(read(desk))
    assert server.headers == []
    hook = open_hook(desk, settings_of(desk, "https://hooks.example/x", 'networks = ["0.0.0.0/0"]'))
    never = ("169.254.169.254", "fd00:ec2::254", "0.0.0.0", "::ffff:10.0.0.1", "100.100.100.200")
    assert hook.choose([ip_address(text) for text in never]) == []
    hook = open_hook(desk, settings_of(desk, "https://hooks.example/x"))
    inside = ("10.0.0.1", "192.168.1.1", "172.16.0.1", "fd00::1", "fe80::1", "100.64.0.1", "::1")
    assert hook.choose([ip_address(text) for text in inside]) == []
    outside = [ip_address("93.184.215.14"), ip_address("2606:2800:21f::1")]
    assert hook.choose(outside) == outside
    named = open_hook(desk, settings_of(desk, "https://x.example", 'networks = ["10.1.0.0/16"]'))
    assert named.choose([ip_address("10.1.2.3"), ip_address("10.2.2.3")]) == [
        ip_address("10.1.2.3")
    ]


def test_a_hook_tries_each_address_of_its_server(
    desk: Desk, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`localhost` is ::1 first on many machines, and the server listens on 127.0.0.1 alone."""
    monkeypatch.setattr(resolve, "_look_up", lambda host: ["::1", "127.0.0.1"])
    desk.make(desk.rule())
    settings = settings_of(desk, f"http://localhost:{server.server_port}/hook", HERE)
    open_hook(desk, settings).send(read(desk))
    assert server.headers != []


def test_a_reason_is_no_markup_in_any_chat(desk: Desk) -> None:
    evil = "<!channel> <https://evil.example|INC-42> [x](https://evil.example) <at id=all></at>"
    requests.make_request(desk.service, "dev", [Target("app09", "production")], desk.rule(), evil)
    message = make_message(read(desk)[-1].event, SITE)
    assert message is not None
    slack = json.loads(BODIES["slack"](message))
    assert slack["blocks"][0]["text"] == {
        "type": "plain_text",
        "text": f"dev asks for app09.production, 1 h: {evil}",
        "emoji": False,
    }
    assert slack["blocks"][1]["text"]["text"] == "<https://shell.example/requests/1>"
    assert "<" not in slack["text"]
    card = json.loads(BODIES["teams"](message))["attachments"][0]["content"]
    assert card["body"][0]["inlines"][0]["type"] == "TextRun"
    assert [action["url"] for action in card["actions"]] == ["https://shell.example/requests/1"]
    line = json.loads(BODIES["feishu"](message))["content"]["post"]["zh_cn"]["content"][0]
    assert [part["tag"] for part in line] == ["text", "a"]
    assert line[1]["href"] == "https://shell.example/requests/1"


def test_the_address_of_a_chat_is_kept_a_secret(desk: Desk) -> None:
    settings = settings_of(desk, "https://hooks.slack.com/services/T0/SECRET", kind="slack")
    assert "SECRET" not in json.dumps(withhold_secrets(settings), default=str)
    assert settings.hooks[0].shown_url == "https://hooks.slack.com/…"
    for url in ("http://chat.example/x", "https://a:b@chat.example/", "smtp://mail.example"):
        with pytest.raises(SettingsError, match=r"hooks\.url"):
            settings_of(desk, url)
    with pytest.raises(SettingsError, match=r"needs hooks\.sender"):
        settings_of(desk, "smtp://mail.example", kind="smtp")


def test_a_message_is_signed_by_standard_webhooks(desk: Desk, server: HttpServer) -> None:
    """Verified as the specification says: the package of PyPI knows only the symmetric `v1`."""
    settings = settings_of(desk, url_of(server), HERE)
    desk.make(desk.rule())
    lines = read(desk)
    open_hook(desk, settings).send(lines)
    (headers,), (body,) = server.headers, server.lines
    assert headers["webhook-id"] == f"audit-{lines[-1].link.seq}"
    assert headers["webhook-timestamp"] == str(int(desk.now))
    version, _, signature = headers["webhook-signature"].partition(",")
    assert version == "v1a"
    public = base64.b64decode(show_webhook_key(load_hook_key(settings)).removeprefix("whpk_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(signature), signed)
    document = json.loads(body)
    assert document["type"] == "request.make"
    assert document["data"] == {
        "request": 1,
        "user": "dev",
        "apps": ["app09.production"],
        "reason": "INC-42 stuck",
        "lasts_s": 3600,
        "state": "pending",
        "break_glass": False,
        "by": "root@here",
        "url": "https://shell.example/requests/1",
        "text": "dev asks for app09.production, 1 h: INC-42 stuck",
    }


@pytest.mark.parametrize("code", ['"\\u001b]0;x\\u0007"', '["a"]', '{"a": "\\u001b"}'])
def test_a_chat_writes_nothing_of_its_own_into_the_log(code: str) -> None:
    answer = f'{{"code": {code}}}'.encode()
    assert read_code(answer) == "that is not a number"
    assert read_code(b'{"code": 19001}') == 19001
    assert not read_code(b'{"msg": "success"}')


@pytest.mark.access(18)
def test_after_an_hour_without_an_answer_all_arrive_in_their_order(
    desk: Desk, server: HttpServer
) -> None:
    settings = settings_of(desk, url_of(server), HERE)
    rule = desk.rule(ANY)
    server.status = 503
    for number in range(4):
        desk.make(rule, "dev", Target(f"app{number}"))
    desk.decide(requests.list_requests(desk.service, open_only=True)[-1])
    with pytest.raises(StagedoorError, match="it answered 503"):
        open_hook(desk, settings).send(read(desk))
    server.status, desk.now = 200, desk.now + REQUEST_PENDING_S
    open_hook(desk, settings).send(read(desk))
    said = [json.loads(line) for line in server.lines]
    assert [(s["type"], s["data"]["request"]) for s in said] == [
        *(("request.make", number) for number in (1, 2, 3, 4)),
        ("request.approve", 1),
    ]
    desk.now += 1
    server.lines.clear()
    open_hook(desk, settings).send(read(desk))
    assert [json.loads(line)["type"] for line in server.lines] == ["request.approve"], "not lapsed"


def test_a_running_gateway_sends_what_comes_and_nothing_twice_to_a_server_that_answered(
    desk: Desk, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_writer, "POLL_S", 0.02)
    monkeypatch.setattr(sink_writer, "RETRY_S", (0.02, 0.05))
    monkeypatch.setattr(audit_output, "TICK_S", 0.05)
    monkeypatch.setattr("stagedoor.admin.hooks.delivery.is_over", lambda event, now: False)
    settings = settings_of(desk, url_of(server), HERE)
    rule = desk.rule(ANY)
    desk.make(rule, "dev", Target("before"))
    problems: list[tuple[str, str | None]] = []
    output = AuditOutput(lambda part, problem: problems.append((part, problem)))
    output.apply_settings(settings)
    try:
        wait_until(lambda: has_begun(desk))
        desk.make(rule, "dev", Target("first"))
        wait_until(lambda: len(server.lines) == 1)
        server.status = 500
        desk.make(rule, "dev", Target("second"))
        wait_until(lambda: any("it answered 500" in (why or "") for _, why in problems))
        desk.make(rule, "eve", Target("third"))
        server.status = 200
        wait_until(lambda: len(server.lines) == 3)
    finally:
        output.stop()
    apps = [json.loads(line)["data"]["apps"] for line in server.lines]
    assert apps == [["first"], ["second"], ["third"]]
    ids = [headers["webhook-id"] for headers in server.headers]
    assert len(set(ids)) == 3, "each attempt has the same id"


@pytest.mark.access(16)
def test_a_use_of_break_glass_reaches_every_hook_within_three_seconds(desk: Desk) -> None:
    rule = desk.rule(replace(ANY, approvals=0, is_break_glass=True, longest_s=1800))
    with http_server() as chat, http_server() as leads:
        settings = settings_of(
            *(desk, url_of(chat), HERE, "[[hooks]]", 'name = "leads"', 'kind = "slack"'),
            *(f'url = "{url_of(leads)}"', HERE),
        )
        output = AuditOutput(lambda part, problem: None)
        output.apply_settings(settings)
        try:
            wait_until(lambda: has_begun(desk, "chat") and has_begun(desk, "leads"))
            desk.make(rule)
            wait_until(lambda: bool(chat.lines and leads.lines), 3)
        finally:
            output.stop()
    line = "dev uses break-glass for app09.production, 30 min: INC-42 stuck"
    data = json.loads(chat.lines[0])["data"]
    assert (data["text"], data["break_glass"], data["state"]) == (line, True, "approved")
    assert json.loads(leads.lines[0])["text"] == line


class Mail(socketserver.StreamRequestHandler):
    """A mail server for one client: STARTTLS, and a login."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # a client that does not trust the certificate
            self.talk()
        self.connection.close()

    def talk(self) -> None:
        self.say("220 mail")
        is_secret = False
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            if verb == "EHLO":
                self.say("250-mail", "250 AUTH PLAIN" if is_secret else "250 STARTTLS")
            elif verb == "STARTTLS":
                self.say("220 go on")
                self.connection = self.server.context.wrap_socket(self.connection, server_side=True)  # type: ignore[attr-defined]
                self.rfile, self.wfile = (
                    self.connection.makefile("rb"),
                    self.connection.makefile("wb"),
                )  # type: ignore[assignment]
                is_secret = True
            elif verb == "DATA":
                self.say("354 go on")
                for part in iter(self.rfile.readline, b".\r\n"):
                    self.server.mails.append(part.decode().strip())  # type: ignore[attr-defined]
                self.say("250 taken")
            else:
                self.say("235 in" if verb == "AUTH" else "250 ok")

    def say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())
        self.wfile.flush()


def test_mail_goes_over_tls_alone(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = write_certificate(tmp_path)
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("s3cret\n")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        server.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)  # type: ignore[attr-defined]
        server.context.load_cert_chain(certificate, key)  # type: ignore[attr-defined]
        server.mails = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mail = ('sender = "gw@example.com"', 'to = ["sre@example.com"]', HERE)
        login = ('username = "gw"', f'password_file = "{password}"')
        url = f"smtp://localhost:{server.server_address[1]}"
        monkeypatch.setattr(resolve, "_look_up", lambda host: ["::1", "127.0.0.1"])
        desk.make(desk.rule())
        untrusted = settings_of(desk, url, *mail, kind="smtp")
        with pytest.raises(StagedoorError, match="smtp://localhost"):
            open_hook(desk, untrusted).send(read(desk))
        assert server.mails == []  # type: ignore[attr-defined]
        trusted = settings_of(desk, url, *mail, *login, f'ca_file = "{certificate}"', kind="smtp")
        open_hook(desk, trusted).send(read(desk))
        server.shutdown()
        text = server.mails  # type: ignore[attr-defined]
    assert "To: sre@example.com" in text
    assert "dev asks for app09.production, 1 h: INC-42 stuck" in text
    assert "https://shell.example/requests/1" in text


@pytest.mark.parametrize(
    ("pause_s", "why"),
    [(0.1, "had not taken the mail after 0.5 s"), (0.0, "does not take the mail")],
)
def test_a_mail_server_that_never_ends_its_greeting_holds_no_hook(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, pause_s: float, why: str
) -> None:
    def greet(line: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                # Without a pause, as many bytes at once as any answer may have.
                line.sendall(b"220-and so on\r\n" * (1 if pause_s else 4096))
                time.sleep(pause_s)

    server = EchoServer(greet)
    monkeypatch.setattr("stagedoor.admin.hooks.delivery.SEND_LIMIT_S", 0.5 if pause_s else BOUND_S)
    mail = ('sender = "gw@example.com"', 'to = ["sre@example.com"]', HERE)
    desk.make(desk.rule())
    settings = settings_of(desk, f"smtp://127.0.0.1:{server.port}", *mail, kind="smtp")
    try:
        with pytest.raises(StagedoorError, match=why):
            open_hook(desk, settings).send(read(desk))
    finally:
        server.close()


def test_an_approver_and_a_rule_that_approves_at_once_are_named(desk: Desk) -> None:
    rule = desk.rule(replace(ANY, approvers=(), approvals=0))
    desk.make(rule)
    message = make_message(read(desk)[-1].event, None)
    assert message is not None
    assert message.text == "dev has, approved at once, app09.production, 1 h: INC-42 stuck"
    assert message.url is None


def test_hooks_are_listed_and_tested(terminal_desk: Terminal, server: HttpServer) -> None:
    desk = terminal_desk
    desk.out("user", "add", "alice", "--no-password")
    with pytest.raises(StagedoorError, match="no hook"):
        desk.out("hook", "test", "ci")
    text = f'[[hooks]]\nname = "ci"\nkind = "json"\nurl = "{url_of(server)}"\n{HERE}\n'
    desk.settings_file.write_text(desk.settings_file.read_text() + text)
    listed = desk.json("hook", "list")
    assert listed[0]["backlog"] == 0
    assert listed[0]["key"].startswith("whpk_")
    assert desk.out("hook", "test", "ci") == "ci: works\n"
    assert json.loads(server.lines[0])["type"] == "hook.test"
    server.status = 410
    result = desk.run("hook", "test")
    assert "it answered 410" in result.stderr
