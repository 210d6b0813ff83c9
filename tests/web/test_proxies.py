"""The WebShell behind reverse proxies (nginx, Caddy, Traefik), and through corporate ones."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from stagedoor.listeners.limits import ClientLimits
from tests.fixtures.gateway import PASSWORD, Gateway, open_gateway
from tests.fixtures.people import PlainBrowser
from tests.fixtures.terminal import basic, post
from tests.fixtures.worker import open_limited
from tests.net.peers import write_certificate
from tests.stopped import killed
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS
from tests.web.mover import MIB, Mover, Sent, content, digest, digest_of, trusting
from tests.web.outer import attach_command
from tests.web.proxies import MISSING, Corporate, Reverse, caddy, nginx, tinyproxy, traefik

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"as root: apt-get install {MISSING}")

ECHO = "stty raw -echo; printf ready; cat"
NAME = "shell.example.com"
TOO_LONG_S = 3
"""Traefik's bound on a request to come whole: 60 s by default."""
IDLE_S = 4
"""nginx's bound on a line without bytes: 60 s by default. Here less, to be waited for."""


def settings(**web: object) -> str:
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in web.items())
    return SETTINGS.replace("[web]", f"[web]\n{lines}")


NAMED = settings(forwarded_from=["127.0.0.1/32"], host_names=[NAME])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def below(
    tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> Iterator[tuple[Gateway, Reverse]]:
    """A gateway at a path of a foreign site, with TLS at nginx and an idle time of 4 s."""
    folder = tmp_path_factory.mktemp("below")
    web = settings(path="/stagedoor", forwarded_from=["127.0.0.1/32"], host_names=[NAME])
    with open_limited(folder, web, ClientLimits(ping_s=0.5), "app01") as gateway:
        more = f"proxy_read_timeout {IDLE_S}s; proxy_send_timeout {IDLE_S}s;"
        with nginx(
            folder / "nginx", gateway.port("web"), certificate, "/stagedoor/", more
        ) as proxy:
            yield gateway, proxy


def attached(
    folder: Path, url: str, *arguments: str, via: str = "direct", **environment: str
) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    command = attach_command(folder, 0)
    command[command.index("--url") + 1] = url
    if via:
        command[command.index("--via") + 1] = via
    else:
        del command[command.index("--via") : command.index("--via") + 2]
    process = subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm-256color", **environment},
    )
    return killed(process)


def log_of(folder: Path) -> str:
    file = folder / "attach.log"
    return file.read_text() if file.exists() else ""


def test_a_terminal_below_a_path_over_tls_at_the_proxy(
    below: tuple[Gateway, Reverse], certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    gateway, proxy = below
    url = f"wss://localhost:{proxy.tls_port}/stagedoor/"
    at = len(gateway.lines)
    with attached(
        tmp_path, url, "--ca-file", str(certificate[0]), "app01", "--",
        "sh", "-c", "echo via=$((40+2)); exit 3",
    ) as process:  # fmt: skip
        stdout, stderr = process.communicate(timeout=60)
    assert (stdout, process.returncode) == (b"via=42\r\n", 3), stderr
    gateway.wait_for(lambda line: line["event"] == "session" and "sent" in line, after=at)


def test_a_person_signs_in_there_and_his_cookie_is_for_tls_alone(
    below: tuple[Gateway, Reverse],
) -> None:
    _, proxy = below
    host = f"127.0.0.1:{proxy.tls_port}"
    line = http.client.HTTPSConnection("127.0.0.1", proxy.tls_port, context=trusting(), timeout=30)
    headers = {
        "Host": host,
        "Origin": f"https://{host}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    line.request(
        "POST", "/stagedoor/sign-in", f"name=dev&secret={PASSWORD.replace(' ', '+')}", headers
    )
    answer = line.getresponse()
    answer.read()
    assert answer.status == 303
    assert str(answer.getheader("Location")).startswith("/stagedoor/")
    cookie = str(answer.getheader("Set-Cookie"))
    assert cookie.startswith("__Host-stagedoor=")
    for word in ("HttpOnly", "Secure", "SameSite=strict"):
        assert word in cookie
    line.request("GET", "/stagedoor/", headers={"Host": host, "Cookie": cookie.partition(";")[0]})
    page = line.getresponse()
    assert page.status == 200
    assert "app01" in page.read().decode()
    line.close()


def test_an_idle_terminal_outlives_the_idle_time_of_the_proxy(
    below: tuple[Gateway, Reverse], tmp_path: Path
) -> None:
    _, proxy = below
    url = f"http://127.0.0.1:{proxy.port}/stagedoor"
    with attached(
        tmp_path, url, "app01", "--", "sh", "-c", "stty raw -echo; printf ready; cat"
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.read(5) == b"ready"
        time.sleep(3 * IDLE_S)  # nothing happens, which is what is tested
        process.stdin.write(b"still")
        process.stdin.flush()
        assert process.stdout.read(5) == b"still"
    assert "lost:" not in log_of(tmp_path)


def test_without_pings_the_proxy_would_cut_it_and_even_that_loses_nothing(
    below: tuple[Gateway, Reverse], certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    web = settings(forwarded_from=["127.0.0.1/32"])
    with open_limited(tmp_path, web, ClientLimits(ping_s=600), "app01") as gateway:
        more = f"proxy_read_timeout {IDLE_S}s;"
        with (
            nginx(tmp_path / "nginx", gateway.port("web"), certificate, "/", more) as proxy,
            attached(
                tmp_path, f"http://127.0.0.1:{proxy.port}", "app01", "--",
                "sh", "-c", ECHO,
            ) as process,
        ):  # fmt: skip
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.read(5) == b"ready"
            wait_until(lambda: "back after" in log_of(tmp_path))
            process.stdin.write(b"still")
            process.stdin.flush()
            assert process.stdout.read(5) == b"still"


def test_what_is_typed_and_shown_is_not_kept_back_by_the_proxy(
    below: tuple[Gateway, Reverse], tmp_path: Path
) -> None:
    """nginx buffers answers as a rule, and a WebSocket's bytes never."""
    _, proxy = below
    url = f"http://127.0.0.1:{proxy.port}/stagedoor"
    with attached(
        tmp_path, url, "app01", "--", "sh", "-c",
        "stty raw -echo; printf ready; head -c 50 | while read -r x; do :; done; head -c 3000000 /dev/zero",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.read(5) == b"ready"
        process.stdin.write(b"x" * 50)
        process.stdin.flush()
        assert process.stdout.read(3_000_000) == bytes(3_000_000)
    with attached(
        tmp_path, url, "app01", "--", "sh", "-c", "stty raw -echo; printf ready; cat"
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.read(5) == b"ready"
        for key in b"one key at a time":
            process.stdin.write(bytes([key]))
            process.stdin.flush()
            assert process.stdout.read(1) == bytes([key])


def denied_from(gateway: Gateway, port: int, *, address: str, claimed: str) -> str:
    """Return the source that the gateway writes down for a client at `address` that claims another."""
    at = len(gateway.lines)
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(address, 0))
    path = "/stagedoor/api/ticket"
    line.request("POST", path, b"{}", {"X-Forwarded-For": claimed, "X-Forwarded-Proto": "https"})
    line.getresponse().read()
    line.close()
    denial = gateway.wait_for_denial(after=at)
    return str(denial["source"]).rpartition(":")[0]


def test_who_forwarded_it_is_believed_only_from_proxies_that_are_named(
    below: tuple[Gateway, Reverse],
) -> None:
    gateway, proxy = below
    web = gateway.port("web")
    # By the proxy: its peer is the one it names, whatever that one claims.
    assert denied_from(gateway, proxy.port, address="127.0.0.7", claimed="10.9.9.9") == "127.0.0.7"
    # Past the proxy, from an address that is none.
    assert denied_from(gateway, web, address="127.0.0.7", claimed="10.9.9.9") == "127.0.0.7"


def test_a_claim_to_speak_tls_gives_no_page_an_origin(below: tuple[Gateway, Reverse]) -> None:
    gateway, _ = below
    port = gateway.port("web")
    for address, expected in (("127.0.0.1", 303), ("127.0.0.7", 403)):
        line = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=30, source_address=(address, 0)
        )
        headers = {
            "Host": NAME,
            "Origin": f"https://{NAME}",
            "X-Forwarded-Proto": "https",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        secret = PASSWORD.replace(" ", "+")
        line.request("POST", "/stagedoor/sign-in", f"name=dev&secret={secret}", headers)
        assert line.getresponse().status == expected
        line.close()


@pytest.mark.webshell(12)
def test_12_the_log_of_the_proxy_has_no_secret(
    below: tuple[Gateway, Reverse], tmp_path: Path
) -> None:
    gateway, proxy = below
    base = f"http://127.0.0.1:{proxy.port}/stagedoor"
    with attached(tmp_path, base, "app01", "--", "printf", "shown") as process:
        process.communicate(timeout=60)
    link = gateway.command("web-link", "dev", "--url", base).stdout.strip()
    person = PlainBrowser(proxy.port)
    person.get("/stagedoor" + link.partition("/stagedoor")[2].partition("#")[0])
    _, ticket, _ = post(proxy.port, "/stagedoor/api/ticket", b'{"target": "app01"}', basic())
    wait_until(lambda: "/stagedoor/terminal" in proxy.log.read_text())
    wait_until(lambda: "/stagedoor/link" in proxy.log.read_text())
    log = proxy.log.read_text()
    for secret in (
        PASSWORD,
        basic()["Authorization"][6:],
        ticket["ticket"],
        link.partition("#")[2],
    ):
        assert len(secret) > 10
        assert secret not in log


# Caddy and Traefik.


@pytest.mark.parametrize("proxied", [caddy, traefik])
def test_a_terminal_behind_it_and_no_headers_but_its_own(
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    proxied: Callable[..., AbstractContextManager[Reverse]],
) -> None:
    folder = tmp_path_factory.mktemp("named")
    ours = write_certificate(folder, NAME)
    with (
        open_gateway(folder, NAMED, "app01") as gateway,
        proxied(folder / "proxy", gateway.port("web"), ours) as reverse,
        echoing(tmp_path, reverse, ours[0]) as process,
    ):
        assert process.stdout is not None
        assert process.stdin is not None
        for key in b"one key at a time":
            process.stdin.write(bytes([key]))
            process.stdin.flush()
            assert process.stdout.read(1) == bytes([key])
        at = len(gateway.lines)
        line = http.client.HTTPSConnection(
            "127.0.0.1", reverse.tls_port, timeout=30, context=trusting(),
            source_address=("127.0.0.7", 0),
        )  # fmt: skip
        forged = {"Host": NAME, "X-Forwarded-For": "10.9.9.9", "X-Forwarded-Proto": "http"}
        line.request("POST", "/api/ticket", b"{}", forged)
        line.getresponse().read()
        line.close()
        denial = gateway.wait_for_denial(after=at)
        assert str(denial["source"]).startswith("127.0.0.7:")


@contextmanager
def echoing(folder: Path, reverse: Reverse, ca: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A terminal of a person whom only a proxy leads to that name, once its shell gives back what it gets."""
    with (
        Corporate({f"{NAME}:443": reverse.tls_port}) as corporate,
        attached(
            folder, f"https://{NAME}", "--ca-file", str(ca), "app01", "--", "sh", "-c", ECHO,
            via="", HTTPS_PROXY=f"http://127.0.0.1:{corporate.port}", https_proxy="", no_proxy="",
            NO_PROXY="",
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.read(5) == b"ready"
        yield process


def test_traefik_cuts_an_upload_that_takes_too_long_and_never_a_terminal(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    folder = tmp_path_factory.mktemp("slow")
    ours = write_certificate(folder, NAME)
    with open_gateway(folder, NAMED, "app01") as gateway:
        with (
            traefik(folder / "proxy", gateway.port("web"), ours, TOO_LONG_S) as reverse,
            echoing(tmp_path, reverse, ours[0]) as process,
        ):
            mover = Mover(reverse.tls_port, origin=f"https://{NAME}")
            sent = Sent(tmp_path, b"slow", 8 * MIB)
            began = time.monotonic()
            # The rest never comes, so Traefik hangs up; the gateway keeps what there was.
            mover.stall(sent, mover.offset(sent), 4 * MIB)
            assert time.monotonic() - began >= TOO_LONG_S - 1
            at = mover.offset(sent)
            assert 0 < at <= 4 * MIB
            assert mover.pour_on(sent, at).status == 200
            assert digest_of(tmp_path / "slow") == digest(content(sent.size))
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"still")
            process.stdin.flush()
            assert process.stdout.read(5) == b"still"
        assert "lost:" not in log_of(tmp_path)


# Corporate proxies, on the developer's side.


@pytest.fixture(scope="module")
def sealed(
    tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> Iterator[tuple[Gateway, Reverse]]:
    folder = tmp_path_factory.mktemp("sealed")
    with (
        open_gateway(folder, NAMED, "app01") as gateway,
        nginx(folder / "nginx", gateway.port("web"), certificate) as proxy,
    ):
        yield gateway, proxy


def test_attach_goes_through_the_proxy_that_the_environment_names(
    sealed: tuple[Gateway, Reverse], tmp_path: Path
) -> None:
    gateway, _ = sealed
    ours = write_certificate(tmp_path, NAME)
    with (
        nginx(tmp_path / "nginx", gateway.port("web"), ours) as reverse,
        # A name that this machine cannot resolve: only the proxy knows the way.
        Corporate({f"{NAME}:443": reverse.tls_port}) as corporate,
        attached(
            tmp_path, f"https://{NAME}", "--ca-file", str(ours[0]), "app01", "--", "printf", "through",
            via="", HTTPS_PROXY=f"http://127.0.0.1:{corporate.port}", https_proxy="", no_proxy="",
            NO_PROXY="",
        ) as process,
    ):  # fmt: skip
        stdout, stderr = process.communicate(timeout=60)
        assert stdout == b"through", stderr
        assert corporate.asked == [f"CONNECT {NAME}:443"]


@pytest.mark.parametrize("credential", [None, ("alice", "s3cret-of-the-proxy")])
def test_attach_goes_through_tinyproxy(
    sealed: tuple[Gateway, Reverse],
    certificate: tuple[Path, Path],
    tmp_path: Path,
    credential: tuple[str, str] | None,
) -> None:
    _, reverse = sealed
    url = f"https://localhost:{reverse.tls_port}"
    with ExitStack() as stack:
        corporate = stack.enter_context(tinyproxy(tmp_path, credential))
        name = f"{credential[0]}:{credential[1]}@" if credential else ""
        process = stack.enter_context(
            attached(
                tmp_path, url, "--ca-file", str(certificate[0]), "app01", "--", "printf", "through",
                via="", STAGEDOOR_VIA=f"http://{name}127.0.0.1:{corporate}",
            )
        )  # fmt: skip
        stdout, stderr = process.communicate(timeout=60)
        assert stdout == b"through", stderr
        assert "CONNECT" in (tmp_path / "tiny.log").read_text()


def test_a_proxy_that_wants_a_credential_and_gets_none_is_named(
    sealed: tuple[Gateway, Reverse], tmp_path: Path
) -> None:
    _, reverse = sealed
    url = f"https://localhost:{reverse.tls_port}"
    with (
        tinyproxy(tmp_path, ("alice", "s3cret-of-the-proxy")) as corporate,
        attached(
            tmp_path, url, "app01", via="", STAGEDOOR_VIA=f"http://127.0.0.1:{corporate}"
        ) as process,
    ):
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 255
    assert b"corporate proxy" in stderr
    assert b"STAGEDOOR_VIA" in stderr
    assert sys.executable.encode() not in stderr
