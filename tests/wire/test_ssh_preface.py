"""A shell's sshd that says a line in SSH's place: which lines are a refusal, and what a client is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.denial import Denial
from stagedoor.model.target import Target
from stagedoor.wire.ssh.blob import Reader
from stagedoor.wire.ssh.preface import MAX_BYTES, SshPreface


def refusal(*pieces: bytes) -> Denial | None:
    preface = SshPreface(Target("app01"))
    if all(preface.feed(piece) for piece in pieces):
        return preface.find_refusal()
    return None


@pytest.mark.parametrize(
    ("line", "setting", "advice"),
    [
        (b"Not allowed at this time\r\n", "PerSourcePenaltyExemptList", "try again later, or ask"),
        (b"Exceeded MaxStartups\r\n", "raise MaxStartups", "try again in a moment"),
        (b"Go away\n", "its own log", "ask an administrator"),
    ],
)
def test_a_line_in_place_of_ssh_is_a_refusal_whose_remedy_is_named(
    line: bytes, setting: str, advice: str
) -> None:
    """The administrator reads the server's setting, the developer what they can do."""
    whole = refusal(line)
    assert whole is not None
    assert setting in whole.message
    assert advice in whole.line
    assert "sshd_config" not in whole.line
    assert "app01-ssh" in whole.line
    assert refusal(*(bytes([byte]) for byte in line)) == whole


@pytest.mark.parametrize(
    "heard",
    [
        b"SSH-2.0-OpenSSH_10.0\r\n",
        b"welcome\r\nSSH-2.0-x\r\n",
        b"",
        b"no end of line",
        b"\r\n",
        b"x" * 600 + b"\n",
    ],
)
def test_ssh_and_what_is_no_line_of_text_are_none(heard: bytes) -> None:
    assert refusal(heard) is None


@given(st.lists(st.binary(max_size=MAX_BYTES + 100), max_size=5))
def test_any_bytes_are_heard_within_the_bound_and_explained_in_one_printable_line(
    pieces: list[bytes],
) -> None:
    preface = SshPreface(Target("app01"))
    for piece in pieces:
        if not preface.feed(piece):
            return
        assert len(preface._received) <= MAX_BYTES
    why = preface.find_refusal()
    assert why is None or why.message.isprintable()


@given(st.text(max_size=400))
def test_the_farewell_is_a_line_an_identification_and_a_disconnect(why: str) -> None:
    why = why.replace("\n", " ")
    farewell = SshPreface(Target("app01")).make_farewell(why)
    line, _, rest = farewell.partition(b"\r\nSSH-2.0-Stagedoor\r\n")
    assert line == b"stagedoor: " + why.encode()
    packet = Reader(rest)
    body = Reader(packet.read_string())
    packet.end()
    assert len(rest) % 8 == 0
    padding = body.read_byte()
    assert padding >= 4
    assert (body.read_byte(), body.read_uint32(), body.read_string()) == (1, 12, why.encode())


@pytest.mark.parametrize(
    "said", [b"\xd7nZ+\n", b"two\nlines\n", b"a line\nand more", b"\x1b[31m\n", b"\n"]
)
def test_what_is_not_one_line_of_text_is_no_refusal(said: bytes) -> None:
    """Bytes of another protocol must reach the other end as they are."""
    preface = SshPreface(Target("app01"))
    assert preface.feed(said)
    assert preface.find_refusal() is None


def test_empty_lines_after_it_are_no_more_text() -> None:
    why = refusal(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert why is not None
    assert "refused ('HTTP/1.1 400 Bad Request')" in why.message
