"""A client's proposal for a key exchange (RFC 4253 §7.1): its guess and its ciphers."""

from stagedoor.wire.ssh.blob import Reader, TruncatedError

_COOKIE_BYTES = 16
_LISTS_AFTER_THE_FIRST_TWO = 8


def is_wrong_guess(client: bytes, server: bytes) -> bool:
    """Return True if the client has sent a guessed first packet that the server must ignore.

    Both arguments are a whole SSH_MSG_KEXINIT that begins with the message's number. A guess is wrong
    if the first choices of the two sides differ, for the key exchange or for the host key algorithm,
    whatever they finally agree on.
    """
    try:
        client_choices, follows = _read(client)
        server_choices, _ = _read(server)
    except TruncatedError:
        return False
    return follows and client_choices != server_choices


def parse_ciphers(kexinit: bytes) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Return the ciphers in an SSH_MSG_KEXINIT, to the server and to the client; none if it is damaged."""
    reader = Reader(kexinit)
    try:
        reader.take(1 + _COOKIE_BYTES)
        reader.read_string()
        reader.read_string()
        to_server, to_client = reader.read_string(), reader.read_string()
    except TruncatedError:
        return frozenset(), frozenset()
    return frozenset(to_server.split(b",")), frozenset(to_client.split(b","))


def _read(kexinit: bytes) -> tuple[tuple[bytes, bytes], bool]:
    """Return the first key exchange and host key algorithms, and first_kex_packet_follows."""
    reader = Reader(kexinit)
    reader.take(1 + _COOKIE_BYTES)
    first = (_first(reader.read_string()), _first(reader.read_string()))
    for _ in range(_LISTS_AFTER_THE_FIRST_TWO):
        reader.read_string()
    return first, bool(reader.read_byte())


def _first(names: bytes) -> bytes:
    return names.partition(b",")[0]
