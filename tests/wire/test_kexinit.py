import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.wire.ssh.blob import encode_string
from stagedoor.wire.ssh.kexinit import is_wrong_guess, parse_ciphers


def kexinit(kex: bytes, host_key: bytes, *, follows: bool = False) -> bytes:
    lists = [kex, host_key, *[b"none"] * 8]
    return b"\x14" + bytes(16) + b"".join(map(encode_string, lists)) + bytes([follows]) + bytes(4)


SERVER = kexinit(b"b,a", b"x,y")


@pytest.mark.parametrize(
    ("kex", "host_key", "wrong"),
    [
        (b"b", b"x", False),
        (b"b,c", b"x,z", False),
        (b"a,b", b"x", True),  # RFC 4253 §7.1, though both agree on what was guessed
        (b"b", b"y,x", True),
    ],
)
def test_a_guess_is_right_only_if_both_like_the_same_best(
    kex: bytes, host_key: bytes, wrong: bool
) -> None:
    assert is_wrong_guess(kexinit(kex, host_key, follows=True), SERVER) is wrong
    assert not is_wrong_guess(kexinit(kex, host_key), SERVER), "nothing follows"


@given(st.binary(), st.binary())
def test_any_bytes_raise_nothing(client: bytes, server: bytes) -> None:
    is_wrong_guess(client, server)
    parse_ciphers(client)
    is_wrong_guess(kexinit(b"a", b"b", follows=True)[: len(client)], SERVER)


def test_the_ciphers_of_each_direction_are_read() -> None:
    lists = [b"k", b"h", b"a,b", b"b,c", *[b"none"] * 6]
    whole = b"\x14" + bytes(16) + b"".join(map(encode_string, lists)) + bytes(5)
    assert parse_ciphers(whole) == ({b"a", b"b"}, {b"b", b"c"})
    assert parse_ciphers(whole[:30]) == (frozenset(), frozenset())
