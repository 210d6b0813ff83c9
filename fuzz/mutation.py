"""Make SSH packets that no honest client sends: changed ones and invented ones. Pure, by a given `Random`.

A packet is its number and what follows it (RFC 4253 §6, RFC 4250 §4.1).
"""

from random import Random

Packet = tuple[int, bytes]

_LENGTHS = (0, 1, 2, 4, 255, 32767, 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_TEXTS = (
    b"", b"x", b"\0", b"\xff\xfe", b"%s%n", b"a,b,,c", b"../../etc/passwd", b"app01.ssh", b"app01",
    b"127.0.0.1", b"::1", b"localhost", b"app01.ssh\0", b"\r\nHTTP/1.1", b"A" * 300, b"A" * 20000,
)  # fmt: skip
_CHANNELS = (
    b"session", b"direct-tcpip", b"forwarded-tcpip", b"x11", b"auth-agent@openssh.com",
    b"tun@openssh.com", b"direct-streamlocal@openssh.com", b"forwarded-streamlocal@openssh.com", b"",
)  # fmt: skip
_GLOBAL = (
    b"tcpip-forward", b"cancel-tcpip-forward", b"streamlocal-forward@openssh.com",
    b"cancel-streamlocal-forward@openssh.com", b"hostkeys-prove-00@openssh.com",
    b"hostkeys-00@openssh.com", b"keepalive@openssh.com", b"no-more-sessions@openssh.com", b"\xff",
)  # fmt: skip
_REQUESTS = (
    b"pty-req", b"env", b"shell", b"exec", b"subsystem", b"window-change", b"signal", b"xon-xoff",
    b"break", b"exit-status", b"exit-signal", b"x11-req", b"auth-agent-req@openssh.com",
    b"eow@openssh.com", b"keepalive@openssh.com", b"\xff",
)  # fmt: skip
_METHODS = (b"none", b"password", b"publickey", b"keyboard-interactive", b"hostbased", b"\xff")
_KEY_TYPES = (
    b"ssh-ed25519", b"ssh-rsa", b"rsa-sha2-256", b"ecdsa-sha2-nistp256", b"ssh-dss",
    b"ssh-ed25519-cert-v01@openssh.com", b"sk-ssh-ed25519@openssh.com",
    b"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", b"",
)  # fmt: skip


def several(rng: Random, count: int, wildness: float) -> list[Packet]:
    """Return packets as after a login, in no sensible order.

    Most nonsense ends a connection, as RFC 4253 §11 wants, and hides what comes after it. So
    `wildness` is the share of packets that may be anything; the rest are such as may stand together.
    """
    made: list[Packet] = []
    for _ in range(count):
        if rng.random() >= wildness:
            made.append(_likely(rng))
            continue
        packet = request(rng)
        made += mutated(rng, packet, tuple(made[-8:])) if rng.random() < 0.4 else [packet]
    return made


def _likely(rng: Random) -> Packet:
    """Return a strange packet that breaks no rule where channels 0 to 2 are open."""
    channel = rng.randrange(3).to_bytes(4, "big")
    match rng.randrange(8):
        case 0 | 1:
            name = rng.choice(_GLOBAL[:-1])
            about = _string(b"127.0.0.1") + _number(rng) if b"tcpip" in name else b""
            return 80, _string(name) + _bool(rng) + about
        case 2 | 3:
            return _open(rng, likely=True)
        case 4 | 5:
            return _channel_request(rng, channel)
        case 6:
            return 94, channel + _string(rng.randbytes(rng.choice((1, 30, 1000))))
    return 93, channel + rng.randrange(100_000).to_bytes(4, "big")


def mutated(rng: Random, packet: Packet, earlier: tuple[Packet, ...]) -> list[Packet]:
    """Return the packets to send in the place of `packet`: none, one or several."""
    kind, body = packet
    match rng.randrange(9):
        case 0:
            return []
        case 1:
            return [packet, packet]
        case 2:
            return [request(rng), packet]
        case 3:
            return [rng.choice(earlier or (packet,)), packet]
        case 4:
            return [(rng.choice((rng.randrange(256), *range(1, 8), *range(20, 42))), body)]
        case 5:
            return [packet, request(rng)]
    return [(kind, mutated_bytes(rng, body))]


def mutated_bytes(rng: Random, text: bytes) -> bytes:
    """Return `text` with one to four changes."""
    changed = bytearray(text)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(8):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << rng.randrange(8)
            case 1 if changed:
                changed[at % len(changed)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                changed[at : at + 4] = _number(rng)
            case 3:
                del changed[at:]
            case 4:
                del changed[at : at + rng.randint(1, 40)]
            case 5:
                changed[at:at] = rng.randbytes(rng.choice((1, 4, 16, 300)))
            case 6:
                changed[at:at] = changed[at : at + rng.randint(1, 64)]
            case _:
                changed[at:at] = _text(rng, _TEXTS)
    return bytes(changed)


def request(rng: Random) -> Packet:
    """Return an invented packet of any phase, as a rule well formed."""
    return rng.choice((
        _disconnect, _transport, _kexinit, _authentication, _global, _global, _open, _open, _open,
        _channel, _channel, _channel, _channel_request, _channel_request, _channel_request,
    ))(rng)  # fmt: skip


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


def _text(rng: Random, known: tuple[bytes, ...]) -> bytes:
    """Return a string of SSH, mostly one of `known`."""
    return _string(rng.choice(known) if rng.random() < 0.9 else rng.randbytes(rng.randrange(64)))


def _number(rng: Random) -> bytes:
    return (rng.choice(_LENGTHS) if rng.random() < 0.5 else rng.randrange(64)).to_bytes(4, "big")


def _bool(rng: Random) -> bytes:
    return rng.choice((b"\0", b"\1", b"\1", b"\xff"))


def _own_channel(rng: Random) -> bytes:
    """Return the number of a channel of the gateway, which counts from 0."""
    return rng.randrange(4).to_bytes(4, "big") if rng.random() < 0.9 else _number(rng)


def _disconnect(rng: Random) -> Packet:
    if rng.random() < 0.8:  # it ends everything
        return _transport(rng)
    return 1, _number(rng) + _text(rng, _TEXTS) + _text(rng, _TEXTS)


def _transport(rng: Random) -> Packet:
    """Return IGNORE, UNIMPLEMENTED, DEBUG, SERVICE_*, EXT_INFO (RFC 4253 §11, RFC 8308), PING."""
    match rng.randrange(6):
        case 0:
            return 2, _text(rng, _TEXTS)
        case 1:
            return 3, _number(rng)
        case 2:
            return 4, _bool(rng) + _text(rng, _TEXTS) + _text(rng, _TEXTS)
        case 3:
            return rng.choice((5, 6)), _text(rng, (b"ssh-userauth", b"ssh-connection"))
        case 4:
            return 7, _number(rng) + _text(rng, (b"server-sig-algs",)) + _text(rng, _KEY_TYPES)
    return rng.choice((192, 193)), _text(rng, _TEXTS)


def _kexinit(rng: Random) -> Packet:
    """Return a new key exchange, or a piece of one (RFC 4253 §7)."""
    if rng.random() < 0.5:
        return rng.choice((21, 30, 31, 32, 33, 34)), rng.randbytes(rng.randrange(80))
    names = (b"curve25519-sha256", b"ssh-ed25519", b"aes128-gcm@openssh.com", b"none", b"", b",,")
    return 20, rng.randbytes(16) + b"".join(_text(rng, names) for _ in range(10)) + _bool(
        rng
    ) + bytes(4)


def _authentication(rng: Random) -> Packet:
    """Return a message of authentication (RFC 4252 §5 to §8, RFC 4256)."""
    if rng.random() < 0.2:
        return rng.randrange(51, 80), _number(rng) + _text(rng, _TEXTS)
    users = (b"dev", b"app01", b"nobody", b"", b"\xff", b"dev\0")
    method = rng.choice(_METHODS)
    body = (
        _text(rng, users) + _text(rng, (b"ssh-connection", b"ssh-userauth", b"")) + _string(method)
    )
    if method == b"password":
        body += _bool(rng) + _text(rng, _TEXTS)
    elif method == b"publickey":
        named = _text(rng, _KEY_TYPES)
        blob = _string(named + b"".join(_text(rng, _TEXTS) for _ in range(rng.randrange(4))))
        body += _bool(rng) + named + blob + _string(named + _text(rng, _TEXTS))
    else:
        body += _text(rng, _TEXTS) + _text(rng, _TEXTS)
    return 50, body


def _global(rng: Random) -> Packet:
    """Return a global request (RFC 4254 §4), or an unrequested answer."""
    if rng.random() < 0.1:
        return rng.choice((81, 82)), _number(rng)
    return 80, _text(rng, _GLOBAL) + _bool(rng) + _text(rng, _TEXTS) + _number(rng)


def _open(rng: Random, *, likely: bool = False) -> Packet:
    """Return a request to open a channel (RFC 4254 §5.1); a `likely` one has a valid size and texts."""
    kind = (
        rng.choice(_CHANNELS) if rng.random() < 0.3 else rng.choice((b"session", b"direct-tcpip"))
    )
    window = rng.choice((0, 1, 32768, 2 << 20, 0xFFFFFFFF)).to_bytes(4, "big")
    packet = rng.choice((1, 256, 32768) if likely else (0, 1, 32768, 0xFFFFFFFF)).to_bytes(4, "big")
    body = _string(kind) + rng.randrange(6).to_bytes(4, "big") + window + packet
    if kind == b"direct-tcpip":
        hosts = (b"app01.ssh", b"app01-ssh", b"127.0.0.1", b"localhost", b"a\0", b"A" * 300)
        host = _string(rng.choice(hosts)) if likely else _text(rng, hosts + _TEXTS)
        port = rng.choice((22, 22, 22, 0, 80, 65536, 0xFFFFFFFF)).to_bytes(4, "big")
        body += host + port + _string(b"127.0.0.1") + _number(rng)
    elif kind not in (b"session", b"auth-agent@openssh.com"):
        body += _text(rng, _TEXTS) + _number(rng) + _text(rng, _TEXTS) + _number(rng)
    return 90, body


def _channel(rng: Random) -> Packet:
    """Return data, a window, EOF, CLOSE or an answer (RFC 4254 §5.2 to §5.4)."""
    channel = _own_channel(rng)
    match rng.randrange(8):
        case 0 | 1 | 2:
            return 94, channel + _string(rng.randbytes(rng.choice((0, 1, 100, 33000))))
        case 3:
            return 95, channel + _number(rng) + _text(rng, _TEXTS)
        case 4:
            return 93, channel + _number(rng)
        case 5:
            return rng.choice((96, 96, 97)), channel
        case 6:
            return 91, channel + _number(rng) + _number(rng) + _number(rng)
    return rng.choice((92, 99, 100)), channel + _number(rng) + _text(rng, _TEXTS) + _text(
        rng, _TEXTS
    )


def _channel_request(rng: Random, channel: bytes | None = None) -> Packet:
    """Return a request of a channel (RFC 4254 §6); with a `channel` it is one of an RFC."""
    name = rng.choice(_REQUESTS[:-1] if channel else _REQUESTS)
    body = (channel or _own_channel(rng)) + _string(name) + _bool(rng)
    match name:
        case b"pty-req":
            modes = rng.choice((b"", b"\0", b"\x01\0\0\0\3\0", b"\x80\0\0\x96\0\x81", b"\xa0\1"))
            body += _text(rng, (b"xterm", b"", b"A" * 300))
            body += b"".join(_number(rng) for _ in range(4)) + _string(modes)
        case b"env":
            body += _text(rng, (b"LANG", b"LC_ALL", b"LD_PRELOAD", b"", b"\xff=")) + _text(
                rng, _TEXTS
            )
        case b"exec" | b"subsystem" | b"signal":
            names = (b"ls", b"ls --json", b"sftp", b"TERM", b"KILL", b"'", b"", b"A" * 20000)
            body += _text(rng, names)
        case b"window-change":
            body += b"".join(_number(rng) for _ in range(4))
        case b"break" | b"exit-status":
            body += _number(rng)
        case b"xon-xoff":
            body += _bool(rng)
        case b"x11-req":
            body += _bool(rng) + _text(rng, _TEXTS) + _text(rng, _TEXTS) + _number(rng)
        case b"exit-signal":
            body += _text(rng, _TEXTS) + _bool(rng) + _text(rng, _TEXTS) + _text(rng, _TEXTS)
    return 98, body
