"""The bytes themselves: any answer in any pieces, both directions to their ends, TLS, the file alone."""

import contextlib
import datetime
import hashlib
import ipaddress
import os
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

import stagedoor
from stagedoor.laptop.tunnel import errors
from stagedoor.laptop.tunnel.connect import read_answer
from stagedoor.laptop.tunnel.errors import TunnelError, clean
from stagedoor.laptop.tunnel.help import render_help
from stagedoor.laptop.tunnel.onefile import build_tunnel_file
from stagedoor.laptop.tunnel.options import OPTIONS, Options, parse_argv
from stagedoor.laptop.tunnel.wire import TcpWire
from tests.laptop.conftest import PATIENCE_S, TUNNEL, Tunnel
from tests.laptop.scripted_gateway import (
    OPENED,
    ScriptedGateway,
    answering,
    echoing,
    relaying,
)

MIB = 1024 * 1024
LOTS = random.Random(3).randbytes(20 * MIB)


# ---- any answer, in any pieces -----------------------------------------------------------------


class InPieces(TcpWire):
    """A wire on which the answer arrives in pieces of the sizes given, then all the rest."""

    def __init__(self, sock: socket.socket, sizes: list[int]) -> None:
        super().__init__(sock, "the gateway gw:1")
        self.sizes = sizes

    def peek(self, limit: int) -> bytes:
        return super().peek(min(limit, self.sizes.pop(0)) if self.sizes else limit)


def outcome(answer: bytes, sizes: list[int]) -> tuple[object, ...]:
    """Return what an answer comes to: opened with what follows, a refusal, or an exit code."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        try:
            got = read_answer(InPieces(ours, sizes), time.monotonic() + PATIENCE_S)
        except TunnelError as error:
            return (errors.EXITS[error.code],)
        if not got.is_success:
            return got.status, got.reason
        rest = b""
        with contextlib.suppress(BlockingIOError):
            while more := ours.recv(65536):
                rest += more
        return got.status, rest


LINES = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b" ", b":", b"SSH-2.0-x"),
        *(b"HTTP/1.1 200 OK", b"HTTP/1.1 100 Continue", b"HTTP/1.0 407 No", b"HTTP/1.1 503 Busy"),
        *(b"Content-Length: 3", b"Content-Type: text/plain"),
    ]
)
ANSWERS = st.one_of(
    st.binary(max_size=200),
    st.lists(st.one_of(LINES, st.binary(max_size=6)), max_size=12).map(b"".join),
    st.binary(max_size=60).map(lambda rest: b"HTTP/1.1 " + rest),
    st.binary(max_size=60).map(lambda rest: OPENED + rest),
)
SIZES = st.lists(st.integers(1, 7), max_size=60)


@settings(deadline=None, max_examples=100)
@given(ANSWERS, SIZES)
def test_any_bytes_in_any_pieces_come_to_the_same_documented_outcome(
    answer: bytes, sizes: list[int]
) -> None:
    assert outcome(answer, sizes) == outcome(answer, [])


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300), SIZES, st.sampled_from([b"", b"HTTP/1.1 102 P\r\n\r\n"]))
def test_what_follows_the_header_is_delivered_to_the_byte(
    early: bytes, sizes: list[int], interim: bytes
) -> None:
    assert outcome(interim + OPENED + early, sizes) == (200, early)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=200))
def test_a_line_for_a_person_is_one_printable_line(text: str) -> None:
    assert clean(text).isprintable()


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=8),
            st.sampled_from([*OPTIONS, "--gateway=gw:1", "--", "-h", "http://[::1]", "a"]),
        ),
        max_size=6,
    )
)
def test_any_command_line_is_understood_or_refused_in_words(argv: list[str]) -> None:
    try:
        given_options, words = parse_argv(argv)
        Options(given_options, words, {"USER": "anna"})
    except TunnelError as error:
        refused = error
    else:
        return
    assert refused.code == errors.USAGE
    assert clean(refused.line)


@pytest.mark.parametrize("seed", range(12))
def test_the_whole_program_never_shows_a_traceback(tunnel_to: Tunnel, seed: int) -> None:
    chance = random.Random(seed)
    start = chance.choice([b"", b"HTTP/1.1 ", b"HTTP/1.1 407 x\r\n", b"HTTP/1.1 503 x\r\n", OPENED])
    answer = start + chance.randbytes(chance.randrange(400))
    with ScriptedGateway([answering(answer)]) as gateway:
        done = tunnel_to(gateway.address, stdin=b"SSH-2.0-x\r\n")
    assert done.returncode in errors.EXITS
    assert done.returncode != errors.INTERNAL
    assert b"Traceback" not in done.stderr
    if start == OPENED:
        assert done.stdout == answer[len(OPENED) :]


# ---- both directions to their ends -------------------------------------------------------------


def digesting(conn: socket.socket, _target: str) -> None:
    """Take everything up to its end, then say its SHA-256: late data after a half-close."""
    conn.sendall(OPENED)
    digest = hashlib.sha256()
    while data := conn.recv(65536):
        digest.update(data)
    conn.sendall(digest.hexdigest().encode())
    conn.shutdown(socket.SHUT_WR)


def pouring(conn: socket.socket, _target: str) -> None:
    """Send everything and the end of it, then take what is still sent and keep it open for that."""
    conn.sendall(OPENED + LOTS)
    conn.shutdown(socket.SHUT_WR)
    while conn.recv(65536):
        pass


def test_20_mib_up_then_a_late_answer_after_the_half_close(tunnel_to: Tunnel) -> None:
    with ScriptedGateway([digesting]) as gateway:
        done = tunnel_to(gateway.address, stdin=LOTS)
    assert (done.returncode, done.stderr) == (errors.OK, b"")
    assert done.stdout.decode() == hashlib.sha256(LOTS).hexdigest()


def test_20_mib_down_and_20_mib_up_after_the_gateways_half_close(tunnel_to: Tunnel) -> None:
    with ScriptedGateway([pouring]) as gateway:
        done = tunnel_to(gateway.address, stdin=LOTS)
    assert (done.returncode, done.stderr) == (errors.OK, b"")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(LOTS).digest()


def test_20_mib_both_ways_at_once(tunnel_to: Tunnel) -> None:
    with ScriptedGateway([echoing]) as gateway:
        done = tunnel_to(gateway.address, stdin=LOTS)
    assert (done.returncode, done.stderr) == (errors.OK, b"")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(LOTS).digest()


@pytest.mark.parametrize("blocking", [True, False])
def test_one_socket_as_stdin_and_stdout_works_and_its_flags_are_put_back(
    env: dict[str, str], blocking: bool
) -> None:
    """As when ssh was built to use a socket pair; the other side then ends by half-close."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(blocking)
    with ScriptedGateway([echoing]) as gateway, ours, theirs:
        ours.settimeout(PATIENCE_S)
        process = subprocess.Popen(
            [*TUNNEL, "--gateway", gateway.address, "app01.ssh"],
            stdin=theirs,
            stdout=theirs,
            env=env,
        )
        sender = threading.Thread(
            target=lambda: (ours.sendall(LOTS), ours.shutdown(socket.SHUT_WR))
        )
        sender.start()
        digest = hashlib.sha256()
        while data := ours.recv(65536):
            digest.update(data)
        sender.join()
        assert process.wait(PATIENCE_S) == errors.OK
        assert digest.digest() == hashlib.sha256(LOTS).digest()
        assert os.get_blocking(theirs.fileno()) is blocking


def test_it_ends_when_ssh_has_gone_though_the_gateway_says_nothing(env: dict[str, str]) -> None:
    """ssh was killed: no process reads or writes, and the gateway keeps its end open."""
    released = threading.Event()

    def holding(conn: socket.socket, _target: str) -> None:
        conn.sendall(OPENED + b"!")
        released.wait(PATIENCE_S)

    with ScriptedGateway([holding]) as gateway:
        process = subprocess.Popen(
            [*TUNNEL, "--gateway", gateway.address, "app01.ssh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdin, process.stdout, process.stderr:
            assert process.stdout.read(1) == b"!"
            process.stdout.close()
            process.stdin.close()
            assert process.wait(PATIENCE_S) == errors.OK
            assert process.stderr.read() == b""
        released.set()


# ---- the socket itself is handed over ----------------------------------------------------------


def received_socket(env: dict[str, str], gateway: str, *options: str) -> tuple[int, socket.socket]:
    """Do as ssh's ssh_proxy_fdpass_connect: one pair as stdin and stdout, one message, then wait."""
    ours, theirs = socket.socketpair()
    with ours:
        process = subprocess.Popen(
            [*TUNNEL, "--gateway", gateway, *options, "--fdpass", "app01.ssh"],
            stdin=theirs,
            stdout=theirs,
            env=env,
        )
        theirs.close()
        ours.settimeout(PATIENCE_S)
        message, fds, _flags, _address = socket.recv_fds(ours, 1, 1)
        assert (len(message), len(fds)) == (1, 1)
        return process.wait(PATIENCE_S), socket.socket(fileno=fds[0])


def test_fdpass_hands_over_a_blocking_socket_right_behind_the_header(env: dict[str, str]) -> None:
    early = b"\r\nSSH-2.0-early\r\n"
    with ScriptedGateway([answering(OPENED + early)]) as gateway:
        code, sock = received_socket(env, gateway.address)
        with sock:
            assert code == errors.OK
            assert os.get_blocking(sock.fileno())
            assert sock.getpeername() == ("127.0.0.1", gateway.port)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.recv(100) == early


# ---- TLS ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A fresh CA's certificate file, and a context with a certificate of it for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)

    purposes = ("digital_signature", "content_commitment", "key_encipherment")
    purposes += ("data_encipherment", "key_agreement", "encipher_only", "decipher_only")
    key_usage = x509.KeyUsage(key_cert_sign=True, crl_sign=True, **dict.fromkeys(purposes, False))

    def certificate(
        name: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
    ) -> bytes:
        is_ca = key is signer
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
            )
        )
        if is_ca:  # RFC 5280 §4.2.1.3; Python 3.13 insists on it
            builder = builder.add_extension(key_usage, critical=True)
        else:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            names = x509.SubjectAlternativeName([address, x509.DNSName("gw.example")])
            builder = builder.add_extension(names, critical=False)
        signed = builder.sign(signer, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    (folder / "ca.pem").write_bytes(certificate("test CA", ca_key, ca_key))
    (folder / "gateway.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate("gateway", key, ca_key)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "gateway.pem")
    return folder / "ca.pem", context


def tls_digesting(conn: socket.socket, _target: str) -> None:
    """As `digesting`, over TLS: the end is a close_notify, and late data follows it."""
    conn.sendall(OPENED)
    digest = hashlib.sha256()
    while data := conn.recv(65536):
        digest.update(data)
    conn.sendall(digest.hexdigest().encode())


def tls_pouring(conn: socket.socket, _target: str) -> None:
    """Send everything, then wait for the other side's end: bytes unread at a close cause an RST."""
    conn.sendall(OPENED + LOTS)
    while conn.recv(65536):
        pass


def test_over_tls_20_mib_arrive_and_late_data_follows_the_half_close(
    tunnel_to: Tunnel, tls: tuple[Path, ssl.SSLContext]
) -> None:
    with ScriptedGateway([tls_digesting], tls[1]) as gateway:
        done = tunnel_to(
            f"https://{gateway.address}", "--ca-file", str(tls[0]), stdin=LOTS, STAGEDOOR_TOKEN="t"
        )
    assert (done.returncode, done.stderr) == (errors.OK, b"")
    assert done.stdout.decode() == hashlib.sha256(LOTS).hexdigest()
    assert b"Proxy-Authorization: Basic" in gateway.requests[0]


def test_over_tls_20_mib_come_down_behind_a_fused_header(
    tunnel_to: Tunnel, tls: tuple[Path, ssl.SSLContext]
) -> None:
    with ScriptedGateway([tls_pouring], tls[1]) as gateway:
        done = tunnel_to(f"https://{gateway.address}", STAGEDOOR_CA_FILE=str(tls[0]))
    assert (done.returncode, done.stderr) == (errors.OK, b"")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(LOTS).digest()


def test_tls_runs_inside_a_corporate_proxys_tunnel(
    tunnel_to: Tunnel, tls: tuple[Path, ssl.SSLContext]
) -> None:
    with (
        ScriptedGateway([relaying]) as corporate,
        ScriptedGateway([tls_digesting], tls[1]) as gateway,
    ):
        via = f"http://{corporate.address}"
        done = tunnel_to(f"https://{gateway.address}", "--ca-file", str(tls[0]), "--via", via)
    assert (done.returncode, done.stderr) == (errors.OK, b"")
    assert done.stdout.decode() == hashlib.sha256().hexdigest()


def test_with_fdpass_a_tls_gateway_is_carried_in_the_background(
    env: dict[str, str], tls: tuple[Path, ssl.SSLContext]
) -> None:
    with ScriptedGateway([tls_digesting], tls[1]) as gateway:
        code, sock = received_socket(env, f"https://{gateway.address}", "--ca-file", str(tls[0]))
        with sock:
            sock.settimeout(PATIENCE_S)
            sock.sendall(LOTS)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while more := sock.recv(1024):
                answer += more
    assert code == errors.OK
    assert answer.decode() == hashlib.sha256(LOTS).hexdigest()


def test_an_untrusted_certificate_gets_no_credential(
    tunnel_to: Tunnel, tls: tuple[Path, ssl.SSLContext]
) -> None:
    with ScriptedGateway([echoing], tls[1]) as gateway:
        done = tunnel_to(f"https://{gateway.address}", STAGEDOOR_TOKEN="s3cret")
    assert done.returncode == errors.TLS
    assert b"is not trusted" in done.stderr
    assert b"--ca-file" in done.stderr
    assert gateway.requests == []


def test_a_certificate_for_another_name_is_refused(
    tunnel_to: Tunnel, tls: tuple[Path, ssl.SSLContext]
) -> None:
    with ScriptedGateway([tls_digesting], tls[1]) as gateway:
        place, ca = f"https://{gateway.address}", str(tls[0])
        wrong = tunnel_to(place, "--ca-file", ca, "--server-name", "evil.example")
        right = tunnel_to(place, "--ca-file", ca, "--server-name", "gw.example")
    assert wrong.returncode == errors.TLS
    assert b"evil.example" in wrong.stderr
    assert right.returncode == errors.OK


@pytest.mark.parametrize("content", [None, "no certificate\n"])
def test_an_unusable_ca_file_is_named(
    tunnel_to: Tunnel, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with ScriptedGateway([echoing]) as gateway:
        done = tunnel_to(f"https://{gateway.address}", "--ca-file", str(file))
    assert done.returncode == errors.USAGE
    assert f"cannot use the CA file {file}" in done.stderr.decode()


def test_https_to_a_plain_gateway_and_http_to_a_tls_one_say_which_it_is(
    tunnel_to: Tunnel, tls: tuple[Path, ssl.SSLContext]
) -> None:
    def plainly(conn: socket.socket) -> None:
        with conn:
            conn.recv(65536)
            conn.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=lambda: plainly(listener.accept()[0]))
        server.start()
        done = tunnel_to(f"https://127.0.0.1:{listener.getsockname()[1]}")
        server.join(PATIENCE_S)
    assert done.returncode == errors.TLS
    assert b"does not speak TLS; give its address as http://" in done.stderr
    with ScriptedGateway([echoing], tls[1]) as gateway:
        done = tunnel_to(gateway.address)
    assert done.returncode in (errors.NOT_PROXY, errors.NO_ANSWER)


# ---- the file alone ----------------------------------------------------------------------------


def test_the_printed_script_runs_alone(env: dict[str, str], tmp_path: Path) -> None:
    printed = subprocess.run([*TUNNEL, "--print-script"], capture_output=True, check=True, env=env)
    script = tmp_path / "elsewhere" / "tun.py"
    script.parent.mkdir()
    script.write_bytes(printed.stdout)
    with ScriptedGateway([echoing]) as gateway:
        done = subprocess.run(
            [sys.executable, "-I", "-S", script, "--gateway", gateway.address, "app01.ssh", "22"],
            input=b"hello",
            capture_output=True,
            env=env,
            cwd=tmp_path,
            timeout=PATIENCE_S,
        )
    assert (done.returncode, done.stdout, done.stderr) == (errors.OK, b"hello", b"")
    again = subprocess.run(
        [sys.executable, script, "--print-script"], capture_output=True, check=True
    )
    assert again.stdout == printed.stdout


def test_an_installed_package_takes_no_module_s_place(env: dict[str, str], tmp_path: Path) -> None:
    """The file runs with the person's own packages, which may hold another Stagedoor."""
    (tmp_path / "stagedoor").mkdir()
    (tmp_path / "stagedoor" / "__init__.py").write_text("raise SystemExit(3)\n")
    script = tmp_path / "tun.py"
    script.write_bytes(build_tunnel_file())
    done = subprocess.run(
        [sys.executable, script, "--help"],
        capture_output=True,
        env=env | {"PYTHONPATH": str(tmp_path)},
        check=True,
    )
    assert done.stdout.startswith(b"Usage: stagedoor tunnel")


def test_a_person_can_read_the_printed_script() -> None:
    """It is text, and each module is in it as it is in the package."""
    text = build_tunnel_file().decode()
    for name in ("relay", "secret", "tls"):
        source = (Path(stagedoor.__file__).parent / f"laptop/tunnel/{name}.py").read_text()
        assert f"SOURCES[\"stagedoor.laptop.tunnel.{name}\"] = r'''{source}'''" in text


def test_a_run_loads_only_what_it_needs(env: dict[str, str]) -> None:
    slow = {"asyncio", "argparse", "ssl", "re", "socket", "typing", "subprocess", "threading"}
    slow |= {"pathlib", "contextlib", "base64", "urllib", "encodings.idna", "getpass", "logging"}
    slow |= {f"stagedoor.laptop.tunnel.{name}" for name in ("fdpass", "help", "prompt", "tls")}
    code = (
        f"import sys; sys.path.insert(0, {str(Path(stagedoor.__file__).parent.parent)!r})\n"
        f"sys.argv.insert(1, 'tunnel')\n"
        f"from stagedoor.cli.main import main\n"
        f"try: main()\n"
        f"except SystemExit as end: sys.stderr.write(f'{{end.code}} ' + ' '.join(sys.modules))"
    )
    with ScriptedGateway([echoing]) as gateway:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, "--gateway", gateway.address, "app01.ssh"],
            input=b"x",
            capture_output=True,
            env=env | {"STAGEDOOR_TOKEN": "t"},
            timeout=PATIENCE_S,
        )
    status, *modules = done.stderr.decode().split()
    assert (status, done.stdout) == ("0", b"x")
    assert set(modules) & slow == set()
    ours = {name for name in modules if name.startswith("stagedoor.")}
    assert {name for name in ours if not name.startswith("stagedoor.laptop")} == {
        *("stagedoor.cli", "stagedoor.cli.main")
    }


def test_the_help_names_every_option_and_every_exit_code() -> None:
    text = render_help()
    for name in OPTIONS:
        assert name in text
    for code in errors.EXITS:
        assert f"  {code:4} " in text
