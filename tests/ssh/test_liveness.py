"""The sessions that go on, those that are ended with a message, and those whose client has gone."""

import contextlib
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stagedoor.admin import service as admin
from stagedoor.admin.person import set_disabled
from stagedoor.listeners.limits import LIMITS, ClientLimits
from stagedoor.listeners.ssh.options import ALIVE_COUNT
from tests.fixtures.gateway import EchoServer, static
from tests.fixtures.laptop import Laptop, new_key, open_laptop, public
from tests.ports import free_port
from tests.stopped import killed
from tests.waiting import BOUND_S, wait_until
from tests.web.relay import CuttingRelay

SETTINGS = """
[ssh]
addresses = ["127.0.0.1:0"]
[workers]
count = 1
drain_timeout_s = 60
"""
HURRIED = ClientLimits(login_grace_s=3, alive_interval_s=1)
"""For those alone who wait for the end of such a time: on a busy machine an honest login may take it."""


def flood(sock: socket.socket) -> None:
    """Talk without end, as a shell."""
    block = b"\0" * 65536
    while True:
        sock.sendall(block)


@pytest.fixture
def flooding() -> Iterator[EchoServer]:
    server = EchoServer(flood)
    yield server
    server.close()


@pytest.fixture
def timed_laptop(
    tmp_path: Path, echo: EchoServer, flooding: EchoServer, request: pytest.FixtureRequest
) -> Iterator[Laptop]:
    settings = SETTINGS + static("echo", echo.port) + static("flood", flooding.port)
    limits = getattr(request, "param", None)
    with open_laptop(tmp_path / "gw", settings, ("echo", "flood"), limits=limits) as one:
        yield one


@contextlib.contextmanager
def talking(
    laptop: Laptop, *words: str, config: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Open a session over a raw channel to `echo`, and yield its process."""
    command = ["ssh", "-F", config or laptop.config(), *(words or ("-W", "echo.ssh:22", "gw"))]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with killed(process):
        assert said(process, b"hello\n") == b"hello\n"
        yield process


def said(process: "subprocess.Popen[bytes]", line: bytes) -> bytes:
    assert process.stdin
    assert process.stdout
    process.stdin.write(line)
    process.stdin.flush()
    return process.stdout.readline()


def last_words(process: "subprocess.Popen[bytes]") -> str:
    process.wait(BOUND_S)
    assert process.stderr
    return process.stderr.read().decode()


def remove_grants(service: admin.AdminService) -> None:
    for rule in admin.read_policy(service).grants:
        admin.remove_grant(service, rule.id)


def remove_keys(service: admin.AdminService) -> None:
    for fingerprint in admin.read_policy(service).keys:
        admin.remove_key(service, fingerprint)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (remove_grants, "no grant for 'dev' to enter echo"),
        (remove_keys, "was removed"),
        (lambda service: admin.remove_user(service, "dev"), "there is no user 'dev' any more"),
        (
            lambda service: set_disabled(service, "dev", disabled=True),
            "the user 'dev' is disabled",
        ),
    ],
    ids=["grant", "key", "user", "disabled"],
)
def test_a_session_that_is_no_longer_allowed_is_ended_with_the_reason(
    timed_laptop: Laptop, change: Callable[[admin.AdminService], object], reason: str
) -> None:
    with talking(timed_laptop) as inside:
        with timed_laptop.gateway.changed() as service:
            change(service)
        assert f"Received disconnect from 127.0.0.1 port {timed_laptop.port}:11: " in (
            words := last_words(inside)
        ), words
        assert reason in words
    wait_until(lambda: timed_laptop.gateway.sessions("revoked"))


def test_a_login_that_has_nothing_open_ends_with_its_user_too(
    timed_laptop: Laptop, sockets: Path
) -> None:
    config = timed_laptop.config(f"ControlPath {sockets}/%C")
    idle = subprocess.Popen(["ssh", "-F", config, "-M", "-N", "gw"], stderr=subprocess.PIPE)
    with killed(idle):
        wait_until(lambda: timed_laptop.ssh("-O", "check", "gw", config=config).returncode == 0)
        with talking(timed_laptop), timed_laptop.gateway.changed() as service:
            admin.remove_user(service, "dev")
        assert "there is no user 'dev' any more" in last_words(idle)


def test_losing_one_app_closes_its_channel_and_leaves_the_others(
    timed_laptop: Laptop, sockets: Path
) -> None:
    config = timed_laptop.config(
        f"ControlPath {sockets}/%C", "ControlMaster auto", "ControlPersist 30"
    )
    with (
        talking(timed_laptop, config=config) as first,
        talking(timed_laptop, config=config) as second,
    ):
        session = timed_laptop.gateway.audit()[-1]["session"]
        timed_laptop.gateway.command("session", "close", str(session))
        wait_until(lambda: timed_laptop.gateway.sessions("evicted"))
        wait_until(lambda: [first.poll(), second.poll()].count(None) == 1)
        left = first if first.poll() is None else second
        assert said(left, b"still here\n") == b"still here\n"
        timed_laptop.ssh("-O", "exit", "gw", config=config)


def test_an_administrator_closes_a_session_and_its_reason_is_shown(timed_laptop: Laptop) -> None:
    with talking(timed_laptop) as inside:
        session = str(timed_laptop.gateway.audit()[-1]["session"])
        timed_laptop.gateway.command("session", "close", session, "--reason", "maintenance at noon")
        assert "maintenance at noon" in last_words(inside)


def test_a_stop_lets_what_is_open_finish_and_takes_nothing_new(
    timed_laptop: Laptop, sockets: Path
) -> None:
    config = timed_laptop.config(
        f"ControlPath {sockets}/%C", "ControlMaster auto", "ControlPersist 30"
    )
    with talking(timed_laptop, config=config) as inside:
        timed_laptop.gateway.signal(signal.SIGTERM)
        timed_laptop.gateway.wait_for(lambda line: line["event"] == "draining")
        wait_until(
            lambda: b"open refused by peer" in timed_laptop.ssh("gw", "ls", config=config).stderr
        )
        assert said(inside, b"still here\n") == b"still here\n"
        assert inside.stdin
        inside.stdin.close()
        inside.stdin = None
        assert inside.wait(BOUND_S) == 0
        timed_laptop.ssh("-O", "exit", "gw", config=config)
    assert timed_laptop.gateway.process is not None
    assert timed_laptop.gateway.process.wait(BOUND_S) == 0
    timed_laptop.gateway.stop()  # its log is read to the end
    assert len(timed_laptop.gateway.sessions("closed")) == 1


def test_a_second_stop_ends_every_session_with_a_message(timed_laptop: Laptop) -> None:
    with talking(timed_laptop) as inside:
        timed_laptop.gateway.signal(signal.SIGTERM)
        timed_laptop.gateway.wait_for(lambda line: line["event"] == "draining")
        timed_laptop.gateway.signal(signal.SIGTERM)
        assert "the gateway is stopping" in last_words(inside)
    timed_laptop.gateway.wait_for(lambda line: line.get("outcome") == "drained")


def silence(sock: socket.socket) -> None:
    """Take connections, as a shell, and never say a word."""
    while sock.recv(1000):
        pass


def test_who_is_still_being_let_in_as_it_stops_is_closed_in_the_audit(tmp_path: Path) -> None:
    with contextlib.closing(EchoServer(silence)) as silent:
        settings = SETTINGS + static("silent", silent.port)
        with open_laptop(tmp_path / "gw", settings, ("silent",)) as laptop:
            coming = subprocess.Popen(["ssh", "-F", laptop.config(), "silent@gw", "true"])
            with killed(coming):
                wait_until(
                    lambda: any(e["kind"] == "session.opened" for e in laptop.gateway.audit())
                )
                laptop.gateway.stop()
                (closed,) = [e for e in laptop.gateway.audit() if e["kind"] == "session.closed"]
                assert (closed["reason"], closed["fields"]["detail"]) == (
                    "unreached",
                    "the gateway stopped",
                )


@pytest.mark.parametrize("timed_laptop", [HURRIED], indirect=True, ids=["hurried"])
def test_a_client_that_vanished_is_found_and_its_session_closed(timed_laptop: Laptop) -> None:
    with CuttingRelay(timed_laptop.port) as relay:
        config = timed_laptop.config()
        config.write_text(
            config.read_text().replace(f"Port {timed_laptop.port}", f"Port {relay.port}")
        )
        with talking(timed_laptop, config=config):
            relay.hold()  # as a laptop's lid does: no end hears of it
            wait_until(lambda: timed_laptop.gateway.sessions("downstream_lost"))


def test_it_is_found_within_90_s() -> None:
    assert LIMITS.alive_interval_s * (ALIVE_COUNT + 1) <= 90


@pytest.mark.parametrize("timed_laptop", [HURRIED], indirect=True, ids=["hurried"])
def test_a_client_that_only_listens_is_asked_and_stays(timed_laptop: Laptop) -> None:
    with talking(timed_laptop) as inside:
        # More than three of the questions after which a silent client is cut off.
        with pytest.raises(subprocess.TimeoutExpired):
            inside.wait(6)
        assert said(inside, b"still here\n") == b"still here\n"


def test_a_client_that_is_killed_leaves_no_session_behind(timed_laptop: Laptop) -> None:
    with talking(timed_laptop) as inside:
        inside.kill()
        wait_until(lambda: timed_laptop.gateway.sessions("downstream_reset"))


@pytest.mark.parametrize("timed_laptop", [HURRIED], indirect=True, ids=["hurried"])
def test_a_client_that_does_not_log_in_in_time_is_cut_off(timed_laptop: Laptop) -> None:
    with socket.create_connection(("127.0.0.1", timed_laptop.port), BOUND_S) as sock:
        assert sock.recv(100).startswith(b"SSH-2.0-")
        assert sock.recv(100) == b""


def login_s(laptop: Laptop) -> float:
    began = time.monotonic()
    assert laptop.ssh("gw", "ls").returncode == 0
    return time.monotonic() - began


def test_two_thousand_clients_that_do_not_log_in_keep_no_other_out(timed_laptop: Laptop) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3000:
        pytest.skip(f"this account may open only {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))
    alone_s = min(login_s(timed_laptop) for _ in range(3))
    with contextlib.ExitStack() as stack:
        for number in range(2000):
            # Each source has a hundred handshakes at once.
            source = (f"127.0.1.{number // 100}", 0)
            sock = stack.enter_context(
                socket.create_connection(("127.0.0.1", timed_laptop.port), BOUND_S, source)
            )
            if number % 2:
                with contextlib.suppress(OSError):  # it was one of those that were dropped
                    sock.sendall(b"SSH-2.0-half-open\r\n")
            if number % 400 == 399:
                assert timed_laptop.ssh("gw", "ls").returncode == 0
        # Under a second on a machine that has nothing else to do, and no test has that at each moment.
        wait_until(
            lambda: login_s(timed_laptop) < max(1.0, 3 * alone_s), what="a login as fast as alone"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert any(line["reason"] == "overloaded" for line in timed_laptop.gateway.sessions("denied"))


def resident_kib(laptop: Laptop) -> int:
    (worker,) = laptop.gateway.worker_pids()
    status = Path(f"/proc/{worker}/status").read_text()
    return int(next(x for x in status.splitlines() if x.startswith("VmRSS:")).split()[1])


def test_a_slow_reader_holds_up_neither_the_other_channels_nor_the_memory(
    timed_laptop: Laptop, sockets: Path
) -> None:
    config = timed_laptop.config(f"ControlPath {sockets}/%C")
    slow, quick = free_port(), free_port()
    master = subprocess.Popen(
        ["ssh", "-F", config, "-M", "-N", "-L", f"{slow}:flood.ssh:22", "-L",
         f"{quick}:echo.ssh:22", "gw"]
    )  # fmt: skip
    with killed(master):  # a SIGTERM it may mind only with the next packet
        wait_until(lambda: timed_laptop.ssh("-O", "check", "gw", config=config).returncode == 0)
        before = resident_kib(timed_laptop)
        with socket.create_connection(("127.0.0.1", slow), BOUND_S) as stuck:
            assert stuck.recv(1) == b"\0"  # and not a byte more
            for _ in range(50):
                with socket.create_connection(("127.0.0.1", quick), BOUND_S) as sock:
                    sock.sendall(b"hello" * 1000)
                    sock.shutdown(socket.SHUT_WR)
                    assert len(b"".join(iter(lambda s=sock: s.recv(9999), b""))) == 5000
            assert resident_kib(timed_laptop) - before < 16 * 1024


def test_a_shell_that_takes_nothing_holds_up_no_other_channel(
    tmp_path: Path, echo: EchoServer, sockets: Path
) -> None:
    release = threading.Event()
    stuck = EchoServer(lambda _: release.wait(60) and None)
    settings = SETTINGS + static("stuck", stuck.port) + static("echo", echo.port)
    with open_laptop(tmp_path / "gw", settings, ("stuck", "echo")) as laptop:
        config = laptop.config(
            f"ControlPath {sockets}/%C", "ControlMaster auto", "ControlPersist 9"
        )
        try:
            command = ["ssh", "-F", config, "-W", "stuck.ssh:22", "gw"]
            full = subprocess.Popen(command, stdin=subprocess.PIPE)
            assert full.stdin is not None
            sender = threading.Thread(target=_send_much, args=(full.stdin,), daemon=True)
            sender.start()
            for _ in range(20):
                done = laptop.ssh("-W", "echo.ssh:22", "gw", config=config, input=b"hello")
                assert done.stdout == b"hello"
        finally:
            laptop.ssh("-O", "exit", "gw", config=config)
            release.set()
            full.kill()
            full.wait(BOUND_S)
            sender.join(BOUND_S)
            with contextlib.suppress(OSError):  # that end is read no more
                full.stdin.close()
            stuck.close()


def _send_much(stdin: object) -> None:
    with contextlib.suppress(OSError, ValueError):
        for _ in range(600):
            stdin.write(b"\0" * 65536)  # type: ignore[attr-defined]  # a pipe


@pytest.mark.parametrize("timed_laptop", [ClientLimits(max_channels=4)], indirect=True, ids=["4"])
def test_there_may_be_only_so_many_channels_and_the_next_is_refused(
    timed_laptop: Laptop, sockets: Path
) -> None:
    config = timed_laptop.config(
        f"ControlPath {sockets}/%C", "ControlMaster auto", "ControlPersist 30"
    )
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(talking(timed_laptop, config=config))
        done = timed_laptop.ssh("-W", "echo.ssh:22", "gw", config=config)
        assert done.returncode != 0
        timed_laptop.ssh("-O", "exit", "gw", config=config)


def test_keys_are_exchanged_again_under_load_and_no_byte_is_lost(timed_laptop: Laptop) -> None:
    config = timed_laptop.config("RekeyLimit 1M")
    sent = bytes(range(256)) * (64 << 10)
    done = timed_laptop.ssh("-W", "echo.ssh:22", "gw", config=config, input=sent)
    assert done.stdout == sent


def test_strangers_see_not_a_byte_of_us(tmp_path: Path) -> None:
    settings = SETTINGS + '[listen]\nnetworks = ["192.0.2.0/24"]\n'
    with open_laptop(tmp_path / "gw", settings, ()) as laptop:
        with (
            contextlib.suppress(ConnectionResetError),  # connect(2) itself may raise it
            socket.create_connection(("127.0.0.1", laptop.port), BOUND_S) as sock,
        ):
            assert sock.recv(100) == b""
        wait_until(
            lambda: any(
                line["reason"] == "source_not_allowed" for line in laptop.gateway.sessions("denied")
            )
        )


def test_behind_a_load_balancer_the_announced_source_is_the_one_that_counts(
    tmp_path: Path, echo: EchoServer
) -> None:
    settings = SETTINGS + (
        '[listen]\nproxy_protocol_from = ["127.0.0.1/32"]\nnetworks = ["192.0.2.0/24"]\n'
    )
    settings += static("echo", echo.port)
    with open_laptop(tmp_path / "gw", settings, ("echo",)) as laptop:
        for source, let_in in (("192.0.2.7", True), ("198.51.100.1", False)):
            header = f"PROXY TCP4 {source} 192.0.2.1 4711 22\r\n".encode()
            with socket.create_connection(("127.0.0.1", laptop.port), BOUND_S) as sock:
                # The client's version in one segment with the header: neither may be lost.
                sock.sendall(header + b"SSH-2.0-test\r\n")
                with contextlib.suppress(ConnectionResetError):
                    assert (sock.recv(7) == b"SSH-2.0") is let_in


def test_a_key_that_is_added_while_the_gateway_runs_lets_in_at_once(
    timed_laptop: Laptop, tmp_path: Path
) -> None:
    key = new_key(tmp_path / "new")
    with timed_laptop.gateway.changed() as service:
        admin.add_keys(service, "dev", [public(key)])
    assert timed_laptop.ssh("gw", "ls", config=timed_laptop.config(key=key)).returncode == 0
