"""The kit's holder among peers that send whatever they like: sanitizers watch it, and one honest peer."""

import os
import random
import socket
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from stagedoor.holder.folder import connect
from stagedoor.wire.terminal.codec import encode_framed
from stagedoor.wire.terminal.frames import (
    MAX_DATA_BYTES,
    MAX_FRAME_BYTES,
    Ack,
    Detach,
    Frame,
    Gap,
    Hello,
    In,
    Mode,
    Out,
    Ping,
    Resize,
    Size,
)
from tests.fixtures.terminal import Place
from tests.holder.compiled import compiled
from tests.holder.conftest import kill_programs_of
from tests.holder.test_process import holder_of

LINKS = int(os.environ.get("STAGEDOOR_HOSTILE_LINKS", "150"))
"""How many connections each test makes; more for a longer search."""


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The holder with the address and undefined-behaviour sanitizers; a finding ends it."""
    folder = tmp_path_factory.mktemp("sanitized")
    return compiled(folder, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture
def terminal(sanitized: Path, tmp_path: Path) -> Place:
    folder = tmp_path / "t"
    folder.mkdir(mode=0o700)
    return Place(folder, (str(sanitized),), {"ASAN_OPTIONS": "detect_leaks=0"})


def some_frame(chance: random.Random, attachment: str) -> Frame:
    size = Size(chance.randrange(1, 500), chance.randrange(1, 300))
    offset = chance.choice((0, 1, 100, chance.randrange(1 << 20), (1 << 53) - 1))
    data = chance.randbytes(chance.choice((1, 5, 3000, MAX_DATA_BYTES)))
    hello = Hello(
        chance.choice(("", "", "user:a", "x" * 128, "x" * 129)), "main",
        chance.choice((attachment, "", "x" * 32)), offset * chance.randrange(2), size,
        chance.choice(tuple(Mode)), "xterm", "C", "",
    )  # fmt: skip
    return chance.choice(
        (hello, In(0, data), In(offset, data), Ack(offset), Resize(size), Ping(offset), Detach(),
         Out(0, data), Gap(0, 1))
    )  # fmt: skip


def mutated(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((0, 1, 3))):
        at = chance.randrange(len(changed))
        match chance.randrange(5):
            case 0:
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                changed[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del changed[at : at + chance.randrange(20)]
            case 3:
                changed[at:at] = chance.randbytes(chance.randrange(20))
            case 4:
                length = chance.choice(
                    (0, 1, MAX_FRAME_BYTES, MAX_FRAME_BYTES + 1, 2**31, 2**32 - 1)
                )
                changed[:4] = struct.pack("!I", length)
        if not changed:
            return b"\0"
    return bytes(changed)


def attack(chance: random.Random, place: Place, attachment: str) -> None:
    connection = connect(place.folder / "main.terminal")
    assert connection is not None, f"the holder has gone: {place.faults()}"
    with connection, suppress(ConnectionError, TimeoutError):
        connection.settimeout(0.2)
        hello = Hello("", "main", "", 0, Size(80, 24), chance.choice(tuple(Mode)))
        stream = encode_framed(hello) if chance.random() < 0.8 else b""
        for _ in range(chance.randrange(1, 12)):
            stream += mutated(chance, encode_framed(some_frame(chance, attachment)))
        while stream:
            piece = chance.choice((1, 7, 4096, len(stream)))
            connection.sendall(stream[:piece])
            stream = stream[piece:]
            if piece < 10:
                stream = stream[: 2 * 4096]
        if chance.random() < 0.5:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_the_holder_lives_and_the_terminal_stays(terminal: Place, seed: int) -> None:
    chance = random.Random(seed)
    try:
        with terminal.peer() as honest:
            honest.hello("stty raw -echo; printf ready; exec cat")
            honest.shows(b"ready")
            assert honest.welcome is not None
            held = holder_of(terminal)
            attachment = honest.welcome.attachment
            for _ in range(LINKS):
                attack(chance, terminal, attachment if chance.random() < 0.1 else "")
            assert holder_of(terminal) == held
        with terminal.peer() as after:
            after.hello(mode=Mode.TAKE_OVER)
            after.catch_up()
        assert terminal.faults() == ""
    finally:
        kill_programs_of(terminal.folder)


def test_one_who_says_that_he_has_read_what_he_has_not_costs_no_memory(terminal: Place) -> None:
    """Acknowledges at once, asks and asks again, and reads nothing."""
    try:
        with terminal.peer() as honest:
            honest.hello("stty raw -echo; printf ready; exec cat /dev/zero")
            honest.shows(b"ready")
            held = holder_of(terminal)
            liar = connect(terminal.folder / "main.terminal")
            assert liar is not None
            with liar:
                liar.setblocking(False)
                liar.send(encode_framed(Hello("", "main", "", 0, Size(80, 24), Mode.WATCH)))
                before = private_kib(held)
                for number in range(100_000):
                    try:
                        liar.send(encode_framed(Ping(number)))
                    except BlockingIOError:
                        break  # it is read no more
                else:
                    pytest.fail("the holder reads on and on for one who does not")
                honest.until(lambda: honest.seen > 20_000_000)
                # A mebibyte is kept; the rest is what AddressSanitizer holds back of what was freed.
                assert private_kib(held) - before < 8192
        assert terminal.faults() == ""
    finally:
        kill_programs_of(terminal.folder)


def private_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def test_more_than_can_look_at_once_are_turned_away(terminal: Place) -> None:
    try:
        with terminal.peer() as honest:
            honest.hello("stty raw -echo; printf ready; exec cat")
            honest.shows(b"ready")
            many = [connect(terminal.folder / "main.terminal") for _ in range(80)]
            honest.catch_up()
            honest.type(b"still here")
            honest.shows(b"still here")
            for connection in many:
                assert connection is not None
                connection.close()
    finally:
        kill_programs_of(terminal.folder)
