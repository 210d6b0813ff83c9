"""A shell that misbehaves: raw sockets before the login, a real SSH server that floods after it.

Each manner is a server of its own on loopback. What the gateway shows is believed, whatever it is: only its
own behaviour is at test.
"""

import asyncio
import json
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncssh
from asyncssh import kex_dh

from stagedoor.wire.ssh.blob import encode_string
from tests.waiting import BOUND_S

UNSENT = 1 << 20
"""A flood waits while so much of it is unsent: the gateway's memory is at test, and not ours."""
PIECE = b"x" * 16384

Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Flood = Callable[["Server"], Awaitable[None]]
Session = Callable[["Server", Any], Awaitable[None]]


# Before there is SSH: raw sockets.


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def banner_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"welcome to this shell\r\n" * 1000)
        await writer.drain()


async def banner_without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(PIECE)
        await writer.drain()


async def byte_a_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"SSH-2.0-" + b"slow" * 1000:
        writer.write(bytes([byte]))
        await asyncio.sleep(1)


async def half_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-half\r\n")
    writer.write_eof()
    await asyncio.Event().wait()


async def huge_first_packet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-huge\r\n" + b"\xff\xff\xff\x00")
    await banner_without_end(reader, writer)


async def not_ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"Not allowed at this time\r\n")
    writer.close()


RAW: dict[str, Raw] = {
    "silent": silent,
    "banner-lines": banner_lines,
    "banner-without-end": banner_without_end,
    "byte-a-second": byte_a_second,
    "half-open": half_open,
    "huge-first-packet": huge_first_packet,
    "not-ssh": not_ssh,
}


# Once SSH is up: one connection, flooded from its login on.


async def endless(server: "Server", kind: int, *parts: bytes, many: int = 100) -> None:
    while server.up:
        for _ in range(many):
            server.packet(kind, *parts)
        await server.room()


async def ignores(server: "Server") -> None:
    await endless(server, 2, encode_string(b"x" * 100))


async def debugs(server: "Server") -> None:
    await endless(server, 4, b"\1", encode_string(b"look at me"), encode_string(b""))


async def unknown_messages(server: "Server") -> None:
    server.deaf()
    await endless(server, 250, b"x" * 100)


async def global_requests(server: "Server") -> None:
    server.deaf()
    await endless(server, 80, encode_string(b"nobody@example.com"), b"\1")


async def host_keys(server: "Server") -> None:
    server.deaf()
    await endless(
        server, 80, encode_string(b"hostkeys-00@openssh.com"), b"\1", encode_string(b"k" * 2000)
    )


async def channel_opens(server: "Server") -> None:
    server.deaf()
    await endless(
        server, 90, encode_string(b"auth-agent@openssh.com"), struct.pack(">III", 7, 1 << 30, 32768)
    )


async def rekeys(server: "Server") -> None:
    while server.up:
        if server.conn._kex_complete:
            server.conn._send_kexinit()
            server.conn._kexinit_sent = True
        await asyncio.sleep(0)


async def rekey_without_end(server: "Server") -> None:
    server.conn._send_kexinit()
    server.deaf()


async def login_banners(server: "Server") -> None:
    await endless(server, 53, encode_string(b"welcome " * 10), encode_string(b""))


FLOODS: dict[str, Flood] = {
    "ignores": ignores,
    "debugs": debugs,
    "unknown-messages": unknown_messages,
    "global-requests": global_requests,
    "host-keys": host_keys,
    "channel-opens": channel_opens,
    "rekeys": rekeys,
    "rekey-without-end": rekey_without_end,
}


# What runs in a session: whatever was asked for, it is this.


async def output(server: "Server", chan: Any) -> None:
    await printing(server, chan, PIECE)


async def errors(server: "Server", chan: Any) -> None:
    await printing(server, chan, PIECE, 1)


async def crumbs(server: "Server", chan: Any) -> None:
    """Print as the window allows, two bytes at a time: what one costs must not be a hundred."""
    while server.up:
        for _ in range(200):
            if chan._send_window >= 2:
                chan._send_window -= 2
                chan.send_packet(95, struct.pack(">I", 1), encode_string(b"er"))
        await server.room()


async def beyond_the_window(server: "Server", chan: Any) -> None:
    while server.up:
        chan.send_packet(94, encode_string(PIECE))
        await server.room()


async def one_byte(server: "Server", chan: Any) -> None:
    while server.up:
        chan.write(b"x")
        await asyncio.sleep(1)


async def silence(server: "Server", chan: Any) -> None:
    await asyncio.Event().wait()


async def no_exit_status(server: "Server", chan: Any) -> None:
    chan.write(b"main\n")
    chan.close()


async def eof_without_close(server: "Server", chan: Any) -> None:
    chan.write(b"main\n")
    chan.write_eof()


async def huge_exit_signal(server: "Server", chan: Any) -> None:
    parts = (
        encode_string(b"exit-signal"),
        b"\0",
        encode_string(b"SEGV"),
        b"\0",
        encode_string(b"\x1b[2J" * 8000),
        encode_string(b""),
    )
    chan.send_packet(98, *parts)
    chan.close()


async def window_adjusts(server: "Server", chan: Any) -> None:
    while server.up:
        for _ in range(100):
            chan.send_packet(93, struct.pack(">I", 1 << 20))
        await server.room()


async def channel_requests(server: "Server", chan: Any) -> None:
    server.deaf()
    while server.up:
        for _ in range(100):
            chan.send_packet(98, encode_string(b"what"), b"\1")
        await server.room()


async def huge_frames(server: "Server", chan: Any) -> None:
    """Send a frame of the terminal's protocol, and of sftp alike, that has a length and never ends."""
    chan.write(b"\xff\xff\xff\xf0")
    await printing(server, chan, PIECE)


async def empty_frames(server: "Server", chan: Any) -> None:
    await printing(server, chan, b"\0\0\0\0" * 4096)


SESSIONS: dict[str, Session] = {
    "output": output,
    "errors": errors,
    "crumbs": crumbs,
    "beyond-the-window": beyond_the_window,
    "one-byte": one_byte,
    "silence": silence,
    "no-exit-status": no_exit_status,
    "eof-without-close": eof_without_close,
    "huge-exit-signal": huge_exit_signal,
    "window-adjusts": window_adjusts,
    "channel-requests": channel_requests,
    "huge-frames": huge_frames,
    "empty-frames": empty_frames,
}


async def printing(server: "Server", chan: Any, piece: bytes, datatype: int | None = None) -> None:
    while server.up and not chan.is_closing():
        if chan.get_write_buffer_size() < UNSENT:
            chan.write(piece, datatype)
        await server.room()


# sftp that answers, and how.


def attributes(mode: int = 0o100644, size: int = 1 << 40) -> bytes:
    return struct.pack(">IQI", 1 | 4, size, mode)


def name_of(path: bytes) -> bytes:
    return struct.pack(">I", 1) + encode_string(path) + encode_string(path) + attributes(0)


class Sftp:
    """A server of just so much sftp that a file is looked at and read; what it answers is a manner's."""

    def __init__(self, chan: Any, manner: str) -> None:
        self.chan = chan
        self.manner = manner
        self.got = b""

    def say(self, kind: int, request: bytes, *parts: bytes) -> None:
        self.chan.write(encode_string(bytes([kind]) + request + b"".join(parts)))

    def data(self, data: bytes) -> None:
        self.got += data
        while len(self.got) >= 4 and len(self.got) >= 4 + int.from_bytes(self.got[:4], "big"):
            end = 4 + int.from_bytes(self.got[:4], "big")
            packet, self.got = self.got[4:end], self.got[end:]
            self.asked(packet[0], packet[1:5])

    def asked(self, kind: int, request: bytes) -> None:
        if kind == 1:
            bytewise = self.manner == "sftp-one-byte-reads"
            limits = encode_string(b"limits@openssh.com") + encode_string(b"1") if bytewise else b""
            self.chan.write(encode_string(bytes([2]) + struct.pack(">I", 3) + limits))
        elif kind == 16:  # REALPATH
            long = self.manner == "sftp-long-name"
            self.say(104, request, name_of(b"/" + b"n" * (3_000_000 if long else 9)))
        elif kind in (8, 17):
            self.say(105, request, attributes())
        elif kind == 3:
            self.say(102, request, encode_string(b"h"))
        elif kind == 5:
            self.read(request)
        elif kind == 200:  # what its limits are: a byte a packet, a read and a write
            self.say(201, request, struct.pack(">QQQQ", 1, 1, 1, 1))
        else:
            self.say(101, request, struct.pack(">I", 0), encode_string(b""), encode_string(b""))

    def read(self, request: bytes) -> None:
        if self.manner == "sftp-more-than-asked":
            self.say(103, request, encode_string(b"y" * 2_000_000))
        elif self.manner == "sftp-one-byte-reads":
            self.say(103, request, encode_string(b"y"))
        elif self.manner == "sftp-complaint":
            said = b"\x1b]0;owned\x07" * 20_000
            self.say(101, request, struct.pack(">I", 4), encode_string(said), encode_string(b""))
        # "sftp-stalls" says nothing more.


SFTP = (
    "sftp-long-name",
    "sftp-more-than-asked",
    "sftp-one-byte-reads",
    "sftp-complaint",
    "sftp-stalls",
)
LATE = (
    "open-unanswered",
    "exec-unanswered",
    "open-refused-at-length",
    "gex-huge-group",
    "takes-nothing",
    "login-banners",
)
MANNERS = (*RAW, *FLOODS, *SESSIONS, *SFTP, *LATE)


class Server(asyncssh.SSHServer):
    """One connection to a shell of that manner."""

    conn: Any

    def __init__(self, manner: str) -> None:
        self.manner = manner
        self.tasks: set[asyncio.Task[None]] = set()
        self.up = True

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.conn = conn

    def connection_lost(self, exc: Exception | None) -> None:
        self.up = False
        for task in self.tasks:
            task.cancel()

    def begin_auth(self, username: str) -> bool:
        if self.manner != "login-banners":
            return False  # every client is in at once
        self.run(login_banners(self))
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        await asyncio.Event().wait()
        raise AssertionError

    def auth_completed(self) -> None:
        if self.manner in FLOODS:
            self.run(FLOODS[self.manner](self))

    def session_requested(self) -> Any:
        if self.manner == "open-unanswered":
            return asyncio.get_running_loop().create_future()
        if self.manner == "open-refused-at-length":
            raise asyncssh.ChannelOpenError(2, "\x1b[2J no, and again no" * 1500)
        return Sitting(self)

    def run(self, work: Any) -> None:
        task = asyncio.ensure_future(self._quietly(work))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _quietly(self, work: Any) -> None:
        with suppress(OSError, AttributeError, asyncssh.Error):  # the gateway has hung up
            await work

    def packet(self, kind: int, *parts: bytes) -> None:
        self.conn.send_packet(kind, *parts)

    def deaf(self) -> None:
        """From now on nothing is read any more."""
        self.conn._transport.pause_reading()

    async def room(self) -> None:
        await asyncio.sleep(0)
        while self.up and self.conn._transport.get_write_buffer_size() > UNSENT:
            await asyncio.sleep(0.01)


class Sitting(asyncssh.SSHServerSession[bytes]):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._sftp: Sftp | None = None

    def connection_made(self, chan: Any) -> None:
        self.chan = chan
        if self._server.manner == "exec-unanswered":
            chan._report_response = lambda result: None

    def pty_requested(self, *_: object) -> bool:
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        return True

    def session_started(self) -> None:
        manner = self._server.manner
        if manner in SFTP:
            self._sftp = Sftp(self.chan, manner)
        elif manner in SESSIONS:
            self._server.run(SESSIONS[manner](self._server, self.chan))
        elif manner == "takes-nothing":
            # As much as one may ever send, and not a byte is read.
            self.chan.send_packet(93, struct.pack(">I", 0xF0000000))
            self._server.deaf()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._sftp is not None:
            with suppress(OSError):
                self._sftp.data(data)

    def eof_received(self) -> bool:
        return True


class HostileShells:
    """All manners, each on its `ports[manner]`, in a process of their own; all have the same `host_key`."""

    def __enter__(self) -> "HostileShells":
        command = [sys.executable, "-m", "tests.ssh.hostile"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        self.ports: dict[str, int] = answer["ports"]
        self.host_key: str = answer["host_key"]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(BOUND_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


async def serve() -> None:
    """Serve until it is killed."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    ports: dict[str, int] = {}
    kept = []
    for manner in MANNERS:
        if manner in RAW:
            raw = await asyncio.start_server(RAW[manner], "127.0.0.1", 0)
            ports[manner] = raw.sockets[0].getsockname()[1]
            kept.append(raw)
            continue
        gex = ["diffie-hellman-group-exchange-sha256"] if manner == "gex-huge-group" else ()
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda manner=manner: Server(manner),
            server_host_keys=[key],
            encoding=None,
            line_editor=False,
            kex_algs=gex,
        )
        ports[manner] = server.get_port()
    host_key = " ".join(key.export_public_key().decode().split()[:2])
    print(json.dumps({"ports": ports, "host_key": host_key}), flush=True)
    await asyncio.Event().wait()


def huge_group(self: Any, kind: int, number: int, packet: Any) -> None:
    """Answer, in place of asyncssh's own, a group of 200,000 bits, by which one power takes minutes."""
    self._gex_data = packet.get_remaining_payload()
    self._init_group(2, (1 << 200_000) - 1)
    self.send_packet(
        kex_dh.MSG_KEX_DH_GEX_GROUP, asyncssh.packet.MPInt(self._p), asyncssh.packet.MPInt(2)
    )


if __name__ == "__main__":
    kex_dh._KexDHGex._packet_handlers[kex_dh.MSG_KEX_DH_GEX_REQUEST] = huge_group  # type: ignore[index]  # a dict
    asyncio.run(serve())
