"""What a client proposes in a key exchange (RFC 4253 §7.1): its guess, and its ciphers."""

from stagedoor.wire.blob import Reader, TruncatedError

_COOKIE_BYTES = 16
_LISTS_AFTER_THE_FIRST_TWO = 8


def wrong_guess(client: bytes, server: bytes) -> bool:
    """Whether the client has sent a first packet of a key exchange that must be passed over.

    Both are SSH_MSG_KEXINIT, whole, with the message's number in front. A guess is wrong if the two
    sides differ in what they would like best, be it the key exchange or the host key algorithm,
    whatever they agree on in the end.
    """
    try:
        wanted, follows = _read(client)
        offered, _ = _read(server)
    except TruncatedError:
        return False
    return follows and wanted != offered


def ciphers(kexinit: bytes) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """The ciphers in an SSH_MSG_KEXINIT, to the server and to the client; none if it is damaged."""
    reader = Reader(kexinit)
    try:
        reader.take(1 + _COOKIE_BYTES)
        reader.string()
        reader.string()
        to_server, to_client = reader.string(), reader.string()
    except TruncatedError:
        return frozenset(), frozenset()
    return frozenset(to_server.split(b",")), frozenset(to_client.split(b","))


def _read(kexinit: bytes) -> tuple[tuple[bytes, bytes], bool]:
    """The first key exchange and host key algorithms, and first_kex_packet_follows."""
    reader = Reader(kexinit)
    reader.take(1 + _COOKIE_BYTES)
    first = (_first(reader.string()), _first(reader.string()))
    for _ in range(_LISTS_AFTER_THE_FIRST_TWO):
        reader.string()
    return first, bool(reader.byte())


def _first(names: bytes) -> bytes:
    return names.partition(b",")[0]
