"""A gateway that means harm, or an impostor: what it says is for one login, and nothing else."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stagedoor.keys.ca import CertificateAuthority
from stagedoor.laptop import login, login_approve, login_attended, login_renew
from stagedoor.laptop import main as laptop
from stagedoor.laptop.if_needed import FRESH
from stagedoor.laptop.keygen import run_with_input
from stagedoor.laptop.login_approve import wait_for_approval
from stagedoor.laptop.login_files import KEY, SECRET, STATE, check_login, find_folder
from stagedoor.laptop.login_result import format_end
from stagedoor.laptop.login_web import GatewayWeb
from stagedoor.laptop.loopback import LoopbackListener
from stagedoor.laptop.tunnel.errors import INTERRUPTED, UNREACHABLE, TunnelError
from tests.login.machine import Key
from tests.login.test_files import GOOD
from tests.waiting import BOUND_S

Says = Callable[[str, dict[str, object]], dict[str, object] | None]
PROGRAM = ["/usr/bin/python3", "/usr/local/bin/stagedoor"]


@contextmanager
def hostile(says: Says) -> Iterator[str]:
    """Its URL. `says` gets a path and what was sent to it; None: a proxy before it says that it is away."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"] or 0))
            said = says(self.path, json.loads(sent or b"{}"))
            body = b"<html>Bad Gateway</html>" if said is None else json.dumps(said).encode()
            self.send_response(502 if said is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    "more",
    [
        "\r\nContent-Length: 25\r\n\r\n<script>alert(1)</script>",
        "\r\nX: y",
        "?a=b",
        "/..",
        "é",
        "\nx",
    ],
)
def test_its_page_adds_nothing_to_what_our_port_answers(home: Path, more: str) -> None:
    """Our port is of the origin of all that this person runs on 127.0.0.1."""
    answers: list[bytes] = []
    browsers: list[threading.Thread] = []

    def says(path: str, sent: dict[str, object]) -> dict[str, object]:
        if path == "/.well-known/stagedoor":
            return GOOD
        if path == "/login/start":
            # Here, while the port surely listens: it closes as soon as the address below is refused.
            browser = socket.create_connection(("127.0.0.1", sent["port"]), BOUND_S)  # type: ignore[arg-type]
            browsers.append(
                threading.Thread(target=lambda: answers.append(answer_to_code(browser)))
            )
            browsers[-1].start()
            return {"id": f"x{more}"}
        return {"state": "denied" if "code" in sent else "waiting"}

    with hostile(says) as url, pytest.raises(TunnelError):
        login.log_in(url, browser=False, program=PROGRAM)
    for thread in browsers:
        thread.join(BOUND_S)
    assert len(answers) == 1
    assert not any(b"script" in answer or b"X: y" in answer for answer in answers)


def answer_to_code(sock: socket.socket) -> bytes:
    """Return the answer to a browser that brings a code."""
    with closing(sock):
        try:
            sock.sendall(b"GET /?code=0123456789abcdef&iss=x HTTP/1.1\r\n\r\n")
            return b"".join(iter(lambda: sock.recv(4096), b""))
        except ConnectionError:
            return b""


@pytest.mark.parametrize(
    "lie",
    [
        {"user": "\x1b]52;c;cm0gLXJm\x07alice"},
        {"user": "alice\nbob at https://good"},
        {"user": 5},
        {"ends_at": float("inf")},
        {"ends_at": 1e300},
        {"ends_at": "tomorrow"},
    ],
)
def test_what_it_says_at_a_renewal_is_checked_as_at_the_login(
    home: Path, capsys: pytest.CaptureFixture[str], lie: dict[str, object]
) -> None:
    """It runs in every ssh, and `whoami` shows what is kept."""
    key = Key(home, "id")
    authority = CertificateAuthority(Ed25519PrivateKey.generate(), time.time)
    public = " ".join(Path(f"{key.file}.pub").read_text().split()[:2])
    answer: dict[str, object] = {
        "state": "logged-in", "user": "alice", "ends_at": 4e9,
        "certificate": authority.sign_user(public, "alice", ["alice"], 3600),
    }  # fmt: skip
    with hostile(lambda *_: answer) as url:
        folder = find_folder(url.removeprefix("http://"))
        folder.mkdir(parents=True)
        key.file.rename(folder / KEY)
        state = {"gateway": url, "user": "alice", "ends_at": 4e9, "label": "here"}
        (folder / STATE).write_text(json.dumps(state))
        (folder / SECRET).write_text("sgl_x\n")
        laptop.ensure_certificate(str(folder), time.time())
        (folder / FRESH).unlink()
        answer |= lie
        with pytest.raises(TunnelError, match=r"the gateway sent (an invalid user name|no expiry)"):
            laptop.ensure_certificate(str(folder), time.time())
    laptop.print_whoami(None, as_json=False)
    said = capsys.readouterr()
    assert said.out == f"alice at {url} until {format_end({'ends_at': 4e9})}\n"
    assert "\x1b" not in said.err


@pytest.mark.parametrize("lie", [{"certificate": "x"}, {"user": "a b"}, {"ends_at": -1}])
def test_a_login_whose_answer_is_refused_is_ended_there(home: Path, lie: dict[str, object]) -> None:
    ended: list[object] = []

    def says(path: str, sent: dict[str, object]) -> dict[str, object]:
        if path == "/.well-known/stagedoor":
            return GOOD
        if path == "/login/end":
            ended.append(sent["secret"])
        login = {"user": "alice", "ends_at": 4e9, "secret": "sgl_x", "no_grant": True}
        return {"id": "x", "state": "logged-in", **login, **lie}

    with hostile(says) as url, pytest.raises(TunnelError, match=r"the gateway sent|given the user"):
        login.log_in(url, browser=False, program=PROGRAM)
    assert ended == ["sgl_x"]


def test_a_login_that_ssh_started_is_ended_too_if_its_answer_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"user": "a b", "ends_at": 4e9, "secret": "sgl_x"}
    monkeypatch.setattr(login_renew, "renew", lambda *_: (401, {}))
    monkeypatch.setattr(login_attended, "find_reason_not_to_ask", lambda: "")
    monkeypatch.setattr(login_approve, "log_in_by_browser", lambda *_: answer)
    sent_to: list[tuple[str, object]] = []

    def says(path: str, sent: dict[str, object]) -> dict[str, object]:
        sent_to.append((path, sent["secret"]))
        return {}

    with hostile(says) as url:
        folder = keep_login(url).parent
        with pytest.raises(TunnelError, match="the gateway sent"):
            laptop.ensure_certificate(str(folder), time.time())
    assert sent_to == [("/login/end", "sgl_x")]


def test_an_end_that_is_a_whole_number_is_shown() -> None:
    answer: dict[str, object] = {"user": "alice", "ends_at": 4_000_000_000}
    check_login(answer)
    assert format_end(answer) == format_end({"ends_at": 4e9})


def keep_login(url: str) -> Path:
    """Write the files of a login at `url`, and return its secret's file."""
    folder = find_folder(url.removeprefix("http://"))
    folder.mkdir(parents=True)
    (folder / STATE).write_text(json.dumps({"gateway": url, "user": "alice", "ends_at": 4e9}))
    (folder / SECRET).write_text("sgl_x\n")
    return folder / SECRET


def test_a_logout_goes_on_after_a_gateway_that_is_away(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[object] = []

    def says(_path: str, sent: dict[str, object]) -> dict[str, object]:
        ended.append(sent["secret"])
        return {}

    with hostile(says) as url:
        secrets = [keep_login(gateway) for gateway in ("http://127.0.0.1:1", url)]
        code = laptop.report_errors(
            lambda: laptop.run_command("logout", {"gateway": None, "forget": False}, PROGRAM)
        )
    assert code == UNREACHABLE
    assert ended == ["sgl_x"]
    assert not any(secret.exists() for secret in secrets)
    first, second = capsys.readouterr().err.splitlines()
    assert "127.0.0.1:1" in first
    assert "Logged out" in second


def test_an_interrupted_logout_says_that_the_login_may_be_valid(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(GatewayWeb, "post", interrupt)
    keep_login("http://127.0.0.1:1")
    keep_login("http://127.0.0.1:2")
    code = laptop.report_errors(
        lambda: laptop.run_command("logout", {"gateway": None, "forget": False}, PROGRAM)
    )
    assert code == INTERRUPTED
    line = "stagedoor: interrupted; the login at http://127.0.0.1:1 may still be valid\n"
    assert capsys.readouterr().err == line


def test_a_proxy_whose_gateway_is_away_ends_no_login(home: Path) -> None:
    """It says so with a page of its own."""
    answers: list[dict[str, object] | None] = [None, None, {"state": "denied"}]
    with hostile(lambda *_: answers.pop(0)) as url:
        gateway = GatewayWeb(url)
        refused = pytest.raises(TunnelError, match="denied in the browser")
        with closing(LoopbackListener(url)) as back, refused:
            wait_for_approval(gateway, {}, back)
        assert answers == []
        answers += [None]
        assert gateway.post("/login/renew", {}) == (502, {})


def test_a_program_that_fails_or_is_not_there_is_named(home: Path) -> None:
    assert run_with_input(["sh", "-c", "cat; echo to >&2"], "from") == "from"
    for command, said in (
        (["sh", "-c", "echo why >&2; exit 3"], "sh failed: why"),
        (["sh", "-c", "exec <&-; echo why >&2; exit 3"], "sh failed: why"),
        (["sh", "-c", "kill -9 $$"], "sh failed"),
        (["/nowhere/keygen"], "could not be run .No such file.*install OpenSSH"),
    ):
        with pytest.raises(TunnelError, match=said):
            run_with_input(command, "text")
    open_now = len(list(Path("/proc/self/fd").iterdir()))
    run_with_input(["true"])
    assert len(list(Path("/proc/self/fd").iterdir())) == open_now
