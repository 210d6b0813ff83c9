"""The second connection: which shell the gateway believes, as which user it logs in, what it carries."""

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from stagedoor.keys.ca import CertificateAuthority
from stagedoor.keys.files import load_or_create
from stagedoor.listeners.ssh.direct import driver
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.event import EventKind
from stagedoor.model.permission import Permission
from stagedoor.model.session import EndReason
from stagedoor.upstream.login import ShellAccount
from tests.shells.host import ShellHost
from tests.ssh.direct_gateway import Client, DirectGateway, Policy, direct_gateway, moved, ok
from tests.waiting import wait_until

TO = "app01@gw"


class Sshd(asyncssh.SSHServer):
    """A shell of the test's own, which writes down what reaches it."""

    def __init__(self, shells: "Sshds") -> None:
        self._shells = shells

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn

    def auth_completed(self) -> None:
        self._shells.connections.append(self._conn)

    def begin_auth(self, username: str) -> bool:
        self._shells.names.append(username)
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        return self._shells.session()


class Session(asyncssh.SSHServerSession[bytes]):
    """Accepts all, says nothing, writes down everything."""

    def __init__(self, seen: list[tuple[object, ...]]) -> None:
        self.seen = seen

    def connection_made(self, chan: "asyncssh.SSHServerChannel[bytes]") -> None:
        self.chan = chan

    def pty_requested(self, term_type: str, term_size: object, term_modes: object) -> bool:
        self.seen.append(("pty", term_type, term_size, dict(term_modes)))  # type: ignore[call-overload]  # a mapping
        return True

    def shell_requested(self) -> bool:
        self.seen.append(("shell",))
        return True

    def exec_requested(self, command: str) -> bool:
        self.seen.append(("exec", command))
        return command != "refused"

    def subsystem_requested(self, subsystem: str) -> bool:
        self.seen.append(("subsystem", subsystem))
        return subsystem == "known"

    def session_started(self) -> None:
        self.seen.append(("env", dict(self.chan.get_environment())))
        self.chan.write(b"started\n")

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self.seen.append(("data", data))
        self.chan.write(data.upper())
        if b"signal me" in data:
            self.chan.exit_with_signal("SEGV", True, "core", "en")
        elif b"close me" in data:
            self.chan.close()
        elif b"drop me" in data:
            self.chan.get_connection().abort()

    def eof_received(self) -> bool:
        self.seen.append(("eof",))
        self.chan.write_stderr(b"bye")
        self.chan.exit(9)
        return True

    def signal_received(self, signal: str) -> None:
        self.seen.append(("signal", signal))

    def break_received(self, msec: int) -> bool:
        self.seen.append(("break", msec))
        return True

    def terminal_size_changed(self, *size: int) -> None:
        self.seen.append(("size", size))


class Sshds:
    """Such shells on loopback."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.connections: list[asyncssh.SSHServerConnection] = []
        """Those that have logged in."""
        self.seen: list[tuple[object, ...]] = []
        self.port = 0

    def session(self) -> Session:
        return Session(self.seen)

    async def listen(
        self, host: ShellHost, host_ca: CertificateAuthority | None, user_ca: str
    ) -> asyncssh.SSHAcceptor:
        key = asyncssh.generate_private_key("ssh-ed25519")
        self.host_key = " ".join(key.export_public_key().decode().split()[:2])
        keys: list[object] = [key]
        if host_ca is not None:
            line = host_ca.sign_host(self.host_key, ["app01.ssh"], 60)
            keys = [(key, asyncssh.import_certificate(line))]
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: Sshd(self),
            server_host_keys=keys,
            authorized_client_keys=asyncssh.import_authorized_keys(
                f'cert-authority,principals="dev" {user_ca}'
            ),
            encoding=None,
            line_editor=False,
        )
        self.port = server.get_port()
        return server


@pytest.fixture
def host(tmp_path: Path) -> ShellHost:
    return ShellHost(tmp_path / "host")


@contextlib.contextmanager
def shell(
    gateway: DirectGateway, *, host_ca: str = "ours", user_ca: str = "ours"
) -> Iterator[Sshds]:
    """app01 is a shell of the test's own now."""
    other = CertificateAuthority(load_or_create(gateway.host.folder / "other_ca"), time.time)
    signs = {"ours": gateway.host.host_ca, "other": other, "none": None}[host_ca]
    trusts = (gateway.host.user_ca if user_ca == "ours" else other).format_public_line()
    shells = Sshds()
    server = gateway.call(shells.listen(gateway.host, signs, trusts))
    gateway.policy.shell = moved(port=shells.port)
    try:
        yield shells
    finally:
        gateway.do(server.close)


def test_the_shell_learns_who_it_is_by_a_certificate_good_for_minutes(host: ShellHost) -> None:
    with direct_gateway(host) as gateway, shell(gateway) as shells:
        Client.of(gateway).ssh(TO, "true", input=b"")
        assert shells.names == ["dev"]
        name = shells.connections[0].get_extra_info("username")
        assert name == "dev"
        # asyncssh keeps the options of the certificate that logged in.
        assert shells.connections[0].get_certificate_option("permit-pty") is not None
        assert not shells.connections[0].check_certificate_permission("port-forwarding")
        assert not shells.connections[0].check_certificate_permission("agent-forwarding")


def test_the_certificate_allows_the_forwards_that_are_granted_and_no_more(host: ShellHost) -> None:
    policy = Policy(permissions=frozenset({Permission.FORWARD}))
    with direct_gateway(host, policy) as gateway, shell(gateway) as shells:
        Client.of(gateway).ssh(TO, "true", input=b"")
        assert shells.connections[0].check_certificate_permission("port-forwarding")
        assert not shells.connections[0].check_certificate_permission("agent-forwarding")


@pytest.mark.parametrize("host_ca", ["other", "none"])
def test_a_shell_that_is_not_who_it_should_be_gets_nothing(host: ShellHost, host_ca: str) -> None:
    """An impostor in the shell's place would read all that is typed."""
    with direct_gateway(host) as gateway, shell(gateway, host_ca=host_ca) as shells:
        done = Client.of(gateway).ssh(TO, "true", input=b"secret")
        assert done.returncode == 255
        assert b"shows no host key that the gateway knows" in done.stderr
        assert b"shows no host key that the gateway knows" in done.stderr
        assert (shells.names, shells.seen) == ([], [])
        _, ended = gateway.seen.wait(lambda: gateway.seen.ended and gateway.seen.ended[0])
        assert ended.end is EndReason.UNREACHED


def test_a_host_key_that_the_settings_name_is_believed(host: ShellHost) -> None:
    with direct_gateway(host) as gateway, shell(gateway, host_ca="none") as shells:
        gateway.policy.account = ShellAccount("deploy", (shells.host_key,))
        done = Client.of(gateway).ssh(TO, "x", input=b"")
        assert done.returncode == 9
        assert shells.names == ["deploy"]


def test_a_shell_that_does_not_believe_us_says_what_to_mend(host: ShellHost) -> None:
    with direct_gateway(host) as gateway, shell(gateway, user_ca="other"):
        done = Client.of(gateway).ssh(TO, "true")
        assert done.returncode == 255
        assert b"does not accept the gateway's certificate for 'dev'" in done.stderr
        assert b"ask an administrator" in done.stderr
        assert b"TrustedUserCAKeys" not in done.stderr


def test_a_shell_that_speaks_no_ssh_ends_the_login_in_words(host: ShellHost) -> None:
    with direct_gateway(host) as gateway, socket.create_server(("127.0.0.1", 0)) as server:
        gateway.policy.shell = moved(port=server.getsockname()[1])

        def serve() -> None:
            sock, _ = server.accept()
            with sock:
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        done = Client.of(gateway).ssh(TO, "true")
        thread.join()
        assert done.returncode == 255
        assert b"of the shell app01-ssh refused ('HTTP/1.1 400 Bad Request')" in done.stderr


def test_who_is_on_the_way_to_his_shell_is_counted_until_he_is_there_or_refused(
    host: ShellHost,
) -> None:
    with direct_gateway(host) as gateway, socket.create_server(("127.0.0.1", 0)) as server:
        gateway.policy.shell = moved(port=server.getsockname()[1])
        conn = talk(gateway)

        def entering() -> int:
            return sum(driver.is_entering for driver in gateway.drivers)

        async def come() -> "asyncio.Task[object]":
            return asyncio.create_task(session_of(conn))

        assert gateway.do(entering) == 0
        gateway.call(come())
        wait_until(lambda: gateway.do(entering) == 1, what="a drain would wait for them")
        server.accept()[0].close()
        wait_until(lambda: gateway.do(entering) == 0)
        gateway.do(conn.close)


def test_a_denial_is_written_on_the_channel_and_the_next_try_is_judged_again(
    host: ShellHost,
) -> None:
    policy = Policy(denial=Denial(Reason.NO_GRANT, "no grant for 'dev' to enter app01"))
    with direct_gateway(host, policy) as gateway:
        client = Client.of(gateway)
        done = client.ssh(TO, "true")
        assert (done.returncode, done.stderr) == (
            255,
            b"stagedoor: no grant for 'dev' to enter app01\n",
        )
        policy.denial = None
        ok(client.ssh(TO, "true"))


def talk(gateway: DirectGateway) -> "asyncssh.SSHClientConnection":
    async def connect() -> asyncssh.SSHClientConnection:
        return await asyncssh.connect(
            "127.0.0.1",
            gateway.port,
            username="app01",
            config=None,
            known_hosts=None,
            client_keys=[str(gateway.host.folder / "id")],
            agent_path=None,
        )

    return gateway.call(connect())


async def session_of(
    conn: asyncssh.SSHClientConnection, **asked: object
) -> "asyncssh.SSHClientProcess[bytes]":
    return await conn.create_process(encoding=None, **asked)  # type: ignore[arg-type]  # as given


def test_the_transcript_of_a_terminal_is_the_same_on_both_sides(
    host: ShellHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine they would read, after two seconds, what they wait for.
    monkeypatch.setattr(driver, "SHOW_PROGRESS_AFTER_S", 3600.0)
    with direct_gateway(host) as gateway, shell(gateway) as shells:
        conn = talk(gateway)

        async def play() -> tuple[object, object]:
            process = await session_of(
                conn,
                term_type="vt220",
                term_size=(100, 50, 800, 600),
                term_modes={
                    asyncssh.PTY_ECHO: 0,
                    asyncssh.PTY_VINTR: 3,
                    asyncssh.PTY_OP_ISPEED: 9600,
                },
                env={"LC_ALL": "C", "LD_PRELOAD": "/evil.so"},
            )
            assert await process.stdout.readline() == b"started\n"
            process.change_terminal_size(132, 43, 1, 2)
            process.send_signal("INT")
            process.send_break(250)
            process.stdin.write(b"hello\n")
            assert await process.stdout.readline() == b"HELLO\n"
            process.stdin.write_eof()
            done = await process.wait()
            return done.exit_status, done.stderr

        assert gateway.call(play()) == (9, b"bye")
        gateway.do(conn.close)
        modes = {asyncssh.PTY_ECHO: 0, asyncssh.PTY_VINTR: 3, asyncssh.PTY_OP_ISPEED: 9600}
        assert shells.seen == [
            ("pty", "vt220", (100, 50, 800, 600), modes),
            ("shell",),
            ("env", {"LC_ALL": "C"}),
            ("size", (132, 43, 1, 2)),
            ("signal", "INT"),
            ("break", 250),
            ("data", b"hello\n"),
            ("eof",),
        ]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"command": "do it"}, ("exec", "do it")),
        ({"subsystem": "known"}, ("subsystem", "known")),
        ({}, ("shell",)),
    ],
    ids=["exec", "subsystem", "shell"],
)
def test_each_kind_of_session_arrives_as_it_was_asked_for(
    host: ShellHost, asked: dict[str, str], said: tuple[str, ...]
) -> None:
    with direct_gateway(host) as gateway, shell(gateway) as shells:
        conn = talk(gateway)

        async def play() -> object:
            process = await session_of(conn, **asked)
            process.stdin.write_eof()
            return (await process.wait()).exit_status

        assert gateway.call(play()) == 9
        gateway.do(conn.close)
        assert shells.seen[0] == said


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"command": "refused"}, "refused this command"),
        ({"subsystem": "unknown"}, "refused this subsystem unknown"),
    ],
)
def test_what_the_shell_refuses_is_refused_by_name_and_the_connection_stays(
    host: ShellHost, asked: dict[str, str], words: str
) -> None:
    with direct_gateway(host) as gateway, shell(gateway):
        conn = talk(gateway)

        async def play(**asked: str) -> tuple[object, object]:
            process = await session_of(conn, **asked)
            process.stdin.write_eof()
            done = await process.wait()
            return done.exit_status, done.stderr

        status, said = gateway.call(play(**asked))
        assert status == 255
        assert isinstance(said, bytes)
        assert words in said.decode()
        assert gateway.call(play(command="fine"))[0] == 9
        gateway.do(conn.close)


def test_a_signal_that_ended_it_arrives_whole(host: ShellHost) -> None:
    with direct_gateway(host) as gateway, shell(gateway):
        conn = talk(gateway)

        async def play() -> object:
            process = await session_of(conn)
            process.stdin.write(b"signal me")
            done = await process.wait()
            return done.exit_signal

        assert gateway.call(play()) == ("SEGV", True, "core", "en")
        gateway.do(conn.close)


def test_a_shell_that_closes_without_a_word_is_reported_as_that(host: ShellHost) -> None:
    with direct_gateway(host) as gateway, shell(gateway):
        conn = talk(gateway)

        async def play() -> object:
            process = await session_of(conn)
            process.stdin.write(b"close me")
            done = await process.wait()
            return done.exit_status, done.exit_signal, done.stderr

        assert gateway.call(play()) == (None, None, b"")
        gateway.do(conn.close)


def test_a_shell_that_drops_the_connection_ends_the_session_and_can_be_entered_again(
    host: ShellHost,
) -> None:
    with direct_gateway(host) as gateway, shell(gateway) as shells:
        conn = talk(gateway)

        async def play(said: bytes) -> object:
            process = await session_of(conn)
            process.stdin.write(said)
            process.stdin.write_eof()
            done = await process.wait()
            return done.exit_status, done.stderr

        status, said = gateway.call(play(b"drop me"))
        assert status is None
        assert b"the shell app01-ssh hung up" in said
        _, ended = gateway.seen.wait(lambda: gateway.seen.ended and gateway.seen.ended[0])
        assert ended.end is EndReason.UPSTREAM_LOST
        assert gateway.call(play(b"again")) == (9, b"bye"), "the developer's connection lives on"
        assert len(shells.connections) == 2
        gateway.do(conn.close)


def test_a_forced_command_runs_whatever_was_asked_for(host: ShellHost) -> None:
    policy = Policy(force_command="only this")
    with direct_gateway(host, policy) as gateway, shell(gateway) as shells:
        client = Client.of(gateway)
        for words in ([TO, "rm -rf /"], [TO], ["-s", TO, "sftp"]):
            client.ssh(*words)
        asked = [request for request in shells.seen if request[0] in ("exec", "shell", "subsystem")]
        assert asked == [("exec", "only this")] * 3
        (first, *_) = [request[1] for request in shells.seen if request[0] == "env"]
        assert first == {"SSH_ORIGINAL_COMMAND": "rm -rf /"}
        (opened, *_) = gateway.seen.of(EventKind.CHANNEL_OPENED)
        assert (opened["what"], opened["original"]) == ("only this", "rm -rf /")


def test_a_certificate_without_a_terminal_gets_none(host: ShellHost) -> None:
    policy = Policy(permitted_extensions=frozenset())
    with direct_gateway(host, policy) as gateway, shell(gateway) as shells:
        done = Client.of(gateway).ssh("-tt", TO, "x", input=b"")
        assert b"PTY allocation request failed" in done.stderr
        done = Client.of(gateway).ssh("-T", TO, "x", input=b"")
        assert done.returncode == 9, done.stderr[-500:]
        assert not [request for request in shells.seen if request[0] == "pty"]
        assert not shells.connections[-1].check_certificate_permission("pty")


def test_an_empty_command_is_no_shell(host: ShellHost) -> None:
    with direct_gateway(host) as gateway, shell(gateway) as shells:
        conn = talk(gateway)

        async def play() -> None:
            chan, _ = await conn.create_session(asyncssh.SSHClientSession, " ", encoding=None)
            chan.write_eof()
            await chan.wait_closed()

        gateway.call(play())
        gateway.do(conn.close)
        assert shells.seen[0] == ("exec", " ")


def test_a_session_that_moves_nothing_is_closed_when_its_time_is_up(host: ShellHost) -> None:
    with direct_gateway(host, idle_timeout_s=0.3) as gateway, shell(gateway):
        conn = talk(gateway)

        async def play() -> object:
            process = await session_of(conn)
            return (await process.wait()).exit_status

        with pytest.raises((asyncssh.DisconnectError, AssertionError)):
            assert gateway.call(play()) is not None
        _, ended = gateway.seen.wait(lambda: gateway.seen.ended and gateway.seen.ended[0])
        assert ended.end is EndReason.IDLE
        assert re.search(r"no data passed", ended.detail)


def test_who_goes_in_the_middle_of_coming_leaves_no_session(host: ShellHost) -> None:
    with direct_gateway(host) as gateway, shell(gateway):
        ok_or_9 = Client.of(gateway).ssh(TO, "x", input=b"").returncode
        assert ok_or_9 == 9, "the shell has been started"

        async def come_and_go(turns: int) -> None:
            conn = await asyncssh.connect(
                "127.0.0.1",
                gateway.port,
                username="app01",
                config=None,
                known_hosts=None,
                client_keys=[str(host.folder / "id")],
                agent_path=None,
            )
            asking = asyncio.create_task(conn.create_session(asyncssh.SSHClientSession, "x"))
            for _ in range(turns):
                await asyncio.sleep(0)
            conn.abort()
            with contextlib.suppress(asyncssh.Error, OSError):
                await asking

        for turns in range(0, 60, 2):
            gateway.call(come_and_go(turns))

        def all_have_ended() -> bool:
            inside = len(gateway.registry) + len(gateway.direct.tasks)
            return not inside and len(gateway.seen.ended) == len(gateway.seen.opened)

        wait_until(lambda: gateway.do(all_have_ended))
