"""TLS against Python's and OpenSSL's own clients."""

import asyncio
import os
import shutil
import socket
import ssl
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from stagedoor.model.errors import SettingsError
from stagedoor.net import aio
from stagedoor.net.tcp import TcpStream
from stagedoor.net.tls import TlsStream, make_client_context, make_server_context
from tests.net.peers import Peer, TlsPeer, tcp_pair, write_certificate

Ends = tuple[TlsPeer, TlsStream]


def ends(certificate: tuple[Path, Path], context: ssl.SSLContext | None = None) -> Ends:
    sock, ours = tcp_pair()
    stream = TlsStream(TcpStream(ours), make_server_context(*certificate), b"")
    return TlsPeer(sock, context or make_client_context(certificate[0])), stream


@pytest.fixture
async def shaken(certificate: tuple[Path, Path]) -> AsyncIterator[Ends]:
    peer, stream = ends(certificate)
    await asyncio.gather(asyncio.to_thread(peer.handshake), stream.complete_handshake())
    yield peer, stream
    peer.close()
    stream.close()


async def test_bytes_pass_both_ways(shaken: Ends) -> None:
    peer, stream = shaken
    peer.send(b"CONNECT")
    assert await aio.read(stream, 100) == b"CONNECT"
    large = os.urandom(3 << 20)
    _, got = await asyncio.gather(
        aio.write_all(stream, large), asyncio.to_thread(peer.read_exactly, len(large))
    )
    assert got == large
    assert peer.tls.selected_alpn_protocol() is None


@pytest.mark.line(30, 38)
async def test_our_half_close_leaves_the_peer_free_to_send(shaken: Ends) -> None:
    peer, stream = shaken
    peer.send(b"sent before, read after")
    await aio.wait_readable(stream.fileno())
    await aio.write_all(stream, b"last")
    stream.shutdown_write()
    assert await asyncio.to_thread(peer.read_to_end) == b"last"
    peer.send(b" and late")
    peer.half_close()
    got = b""
    while data := await aio.read(stream, 5):
        got += data
    assert got == b"sent before, read after and late"


@pytest.mark.line(30, 38)
async def test_the_peers_half_close_leaves_us_free_to_send(shaken: Ends) -> None:
    peer, stream = shaken
    peer.send(b"request")
    peer.half_close()
    assert await aio.read(stream, 100) == b"request"
    assert await aio.read(stream, 100) == b""
    await aio.write_all(stream, b"late answer")
    stream.shutdown_write()
    assert await asyncio.to_thread(peer.read_to_end) == b"late answer"


async def test_an_end_without_close_notify_is_no_end(shaken: Ends) -> None:
    """A man in the middle can forge a FIN, and so make a part look like the whole."""
    peer, stream = shaken
    peer.send(b"rm -rf /tmp/x")
    peer.sock.shutdown(socket.SHUT_WR)
    assert await aio.read(stream, 100) == b"rm -rf /tmp/x"
    with pytest.raises(ConnectionResetError, match="close_notify"):
        await aio.read(stream, 100)


async def test_a_changed_record_is_an_error_and_never_bytes(shaken: Ends) -> None:
    peer, stream = shaken
    peer.tls.write(b"secret")
    record = bytearray(peer._out.read())
    record[-1] ^= 1
    peer.sock.sendall(record)
    with pytest.raises(ssl.SSLError):
        await aio.read(stream, 100)
    with pytest.raises(ssl.SSLError):  # the alert said why
        await asyncio.to_thread(peer.read)


async def test_a_reset_is_a_reset(shaken: Ends) -> None:
    peer, stream = shaken
    peer.reset()
    with pytest.raises(ConnectionResetError):
        await aio.read(stream, 100)


async def test_what_the_socket_does_not_take_is_at_most_a_record(shaken: Ends) -> None:
    _, stream = shaken
    taken = 0
    while True:
        more = stream.send(bytes(1 << 20))
        taken += more
        if not more:
            break
    assert not stream.flush()
    assert stream.send(b"x") == 0
    assert 0 < stream._out.pending <= 17 * 1024


async def test_bytes_read_before_tls_began_are_its_first(certificate: tuple[Path, Path]) -> None:
    """A ClientHello that came in one read with a PROXY header."""
    sock, ours = tcp_pair()
    peer = TlsPeer(sock, make_client_context(certificate[0]))
    shaking = asyncio.create_task(asyncio.to_thread(peer.handshake))
    plain = TcpStream(ours)
    hello = await aio.read(plain, 50)
    stream = TlsStream(plain, make_server_context(*certificate), hello)
    await asyncio.gather(shaking, stream.complete_handshake())
    peer.send(b"hi")
    assert await aio.read(stream, 10) == b"hi"
    peer.close()
    stream.close()


@pytest.mark.parametrize("junk", [b"CONNECT app01.ssh:22 HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n"])
async def test_a_peer_that_speaks_no_tls_is_refused(
    certificate: tuple[Path, Path], junk: bytes
) -> None:
    sock, ours = tcp_pair()
    stream = TlsStream(TcpStream(ours), make_server_context(*certificate), b"")
    sock.sendall(junk)
    with pytest.raises(ssl.SSLError):
        await stream.complete_handshake()
    stream.close()
    sock.close()


async def test_a_peer_that_leaves_in_the_handshake_is_noticed(
    certificate: tuple[Path, Path],
) -> None:
    sock, ours = tcp_pair()
    stream = TlsStream(TcpStream(ours), make_server_context(*certificate), b"")
    shaking = asyncio.create_task(stream.complete_handshake())
    await asyncio.sleep(0)
    sock.close()
    with pytest.raises(ConnectionResetError):
        await shaking
    stream.close()


async def test_an_old_tls_is_refused(certificate: tuple[Path, Path]) -> None:
    context = make_client_context(certificate[0])
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    peer, stream = ends(certificate, context)
    shaking = asyncio.create_task(asyncio.to_thread(peer.handshake))
    with pytest.raises(ssl.SSLError):
        await stream.complete_handshake()
    with pytest.raises(ssl.SSLError):
        await shaking
    peer.close()
    stream.close()


async def test_http_1_1_is_chosen_where_the_client_offers_it(
    certificate: tuple[Path, Path],
) -> None:
    context = make_client_context(certificate[0])
    context.set_alpn_protocols(["h2", "http/1.1"])
    peer, stream = ends(certificate, context)
    await asyncio.gather(asyncio.to_thread(peer.handshake), stream.complete_handshake())
    assert peer.tls.selected_alpn_protocol() == "http/1.1"
    assert peer.tls.compression() is None
    peer.close()
    stream.close()


@pytest.mark.line(38)
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_openssls_client_gets_an_echo_and_a_clean_end(
    certificate: tuple[Path, Path], version: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        client = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-quiet", "-verify_return_error", version),
            *("-CAfile", str(certificate[0]), "-connect", f"127.0.0.1:{port}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        sock, _ = await asyncio.to_thread(listening.accept)
    sock.setblocking(False)
    stream = TlsStream(TcpStream(sock), make_server_context(*certificate), b"")
    await stream.complete_handshake()
    assert client.stdin is not None
    client.stdin.write(b"hello\n")
    assert await aio.read(stream, 100) == b"hello\n"
    await aio.write_all(stream, b"echo: hello\n")
    stream.shutdown_write()
    out, err = await asyncio.wait_for(client.communicate(), 20)
    assert out == b"echo: hello\n"
    assert b"unexpected eof" not in err.lower()
    assert await aio.read(stream, 100) == b""
    stream.close()


def test_a_good_pair_gives_a_context(certificate: tuple[Path, Path]) -> None:
    context = make_server_context(*certificate)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_each_wrong_file_is_named_with_its_setting(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert_file, key_file = certificate
    missing = tmp_path / "none.pem"
    with pytest.raises(SettingsError, match=r"none\.pem: No such file.*tunnel\.certificate_file"):
        make_server_context(missing, key_file)
    with pytest.raises(SettingsError, match=r"none\.pem: No such file.*tunnel\.key_file"):
        make_server_context(cert_file, missing)
    with pytest.raises(SettingsError, match=r"holds no certificate in PEM"):
        make_server_context(key_file, key_file)
    with pytest.raises(SettingsError, match=r"holds no private key in PEM"):
        make_server_context(cert_file, cert_file)
    _, other_key = write_certificate(tmp_path, "other")
    with pytest.raises(SettingsError, match="does not belong to the certificate"):
        make_server_context(cert_file, other_key)


def test_a_key_with_a_passphrase_is_refused_with_the_command_that_helps(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert_file, key_file = certificate
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hunter2"),
        )
    )
    with pytest.raises(SettingsError, match=r"encrypted.*openssl pkey"):
        make_server_context(cert_file, locked)
    assert stat.S_ISREG(locked.stat().st_mode)


def test_a_broken_certificate_is_reported(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.crt"
    cut.write_bytes(certificate[0].read_bytes()[:200])
    with pytest.raises(SettingsError, match=r"cut\.crt"):
        make_server_context(cut, certificate[1])


def test_a_plain_peer_is_closed_with_rst_by_abort() -> None:
    sock, ours = tcp_pair()
    stream = TcpStream(ours)
    stream.abort()
    stream.abort()  # twice is no error
    with pytest.raises(ConnectionResetError):
        Peer(sock).read()
    sock.close()


def test_a_companys_ca_is_taken_that_python_alone_would_refuse(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    """One without key identifiers, since Python 3.13; everything else is asked for."""
    context = make_client_context(certificate[0])
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    with pytest.raises(OSError, match="No such file"):
        make_client_context(tmp_path / "none")
