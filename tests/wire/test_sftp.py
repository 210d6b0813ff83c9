"""The sftp that is watched is never disturbed, and never understood wrongly."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.wire.ssh.sftp import FileEvent, SftpWatch


def text(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def packet(kind: int, request: int, *parts: bytes) -> bytes:
    body = bytes([kind]) + struct.pack(">I", request) + b"".join(parts)
    return text(body)


def opens(request: int, path: bytes) -> bytes:
    return packet(3, request, text(path), struct.pack(">II", 2, 0))


def handle(request: int, name: bytes) -> bytes:
    return packet(102, request, text(name))


def writes(request: int, name: bytes, size: int) -> bytes:
    return packet(6, request, text(name), struct.pack(">Q", 0), text(b"x" * size))


def reads(request: int, name: bytes) -> bytes:
    return packet(5, request, text(name), struct.pack(">QI", 0, 32768))


def gives(request: int, size: int) -> bytes:
    return packet(103, request, text(b"y" * size))


def status(request: int, code: int = 0) -> bytes:
    return packet(101, request, struct.pack(">I", code), text(b""), text(b""))


def closes(request: int, name: bytes) -> bytes:
    return packet(4, request, text(name))


INIT = text(bytes([1]) + struct.pack(">I", 3))
VERSION = text(bytes([2]) + struct.pack(">I", 3))


def test_a_file_that_was_sent_is_told_with_its_name_and_size() -> None:
    watch = SftpWatch()
    assert watch.take_sent(INIT + opens(1, b"/srv/\xc3\xa4")) == []
    assert watch.take_received(VERSION + handle(1, b"\0\0")) == []
    assert watch.take_sent(writes(2, b"\0\0", 100_000) + writes(3, b"\0\0", 17)) == []
    assert watch.take_received(status(2) + status(3)) == []
    assert watch.take_sent(closes(4, b"\0\0")) == [FileEvent("transfer", "/srv/ä", sent=100_017)]
    assert watch.end() == []


def test_files_that_were_received_at_once_are_kept_apart() -> None:
    watch = SftpWatch()
    watch.take_sent(INIT + opens(1, b"a") + opens(2, b"b"))
    watch.take_received(VERSION + handle(2, b"B") + handle(1, b"A"))
    watch.take_sent(reads(3, b"A") + reads(4, b"B") + reads(5, b"A"))
    watch.take_received(gives(5, 5) + gives(3, 30000) + gives(4, 4))
    assert watch.take_sent(closes(6, b"B")) == [FileEvent("transfer", "b", received=4)]
    assert watch.end() == [FileEvent("transfer", "a", received=30005, whole=False)]


def test_removals_and_renames_are_told_once_they_are_done() -> None:
    watch = SftpWatch()
    posix = packet(200, 3, text(b"posix-rename@openssh.com"), text(b"c"), text(b"d"))
    watch.take_sent(packet(13, 1, text(b"gone")) + packet(18, 2, text(b"a"), text(b"b")) + posix)
    watch.take_sent(packet(13, 4, text(b"kept")))
    done = watch.take_received(status(1) + status(2) + status(4, code=3) + status(3))
    assert done == [
        FileEvent("remove", "gone"),
        FileEvent("rename", "a", "b"),
        FileEvent("rename", "c", "d"),
    ]


def test_a_file_that_could_not_be_opened_is_not_told() -> None:
    watch = SftpWatch()
    watch.take_sent(opens(1, b"/etc/shadow"))
    watch.take_received(status(1, code=3))
    assert watch.end() == []


@given(st.integers(1, 50), st.integers(0, 200), st.integers(0, 3000))
def test_packets_may_be_split_anywhere(step: int, size: int, more: int) -> None:
    watch = SftpWatch()
    there = INIT + opens(1, b"p" * size)
    back = VERSION + handle(1, b"H")
    then = writes(2, b"H", more) + closes(3, b"H")
    events = []
    for data, feed in (
        (there, watch.take_sent),
        (back, watch.take_received),
        (then, watch.take_sent),
    ):
        for at in range(0, len(data), step):
            events += feed(data[at : at + step])
    assert events == [FileEvent("transfer", "p" * size, sent=more)]


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=200)), max_size=20))
def test_any_bytes_either_way_raise_nothing(data: list[tuple[bool, bytes]]) -> None:
    watch = SftpWatch()
    for client, piece in data:
        (watch.take_sent if client else watch.take_received)(piece)
    watch.end()


@given(st.integers(1, 255), st.binary(max_size=64), st.binary(max_size=64))
def test_any_packet_of_any_kind_raises_nothing(kind: int, asked: bytes, answered: bytes) -> None:
    watch = SftpWatch()
    watch.take_sent(packet(kind, 1, asked))
    watch.take_received(packet(kind, 1, answered))
    watch.take_sent(packet(kind, 1, answered))


def test_a_client_that_asks_without_end_costs_no_memory_without_end() -> None:
    watch = SftpWatch()
    for number in range(20_000):
        watch.take_sent(opens(number, b"x" * 100))
        watch.take_received(handle(number, str(number).encode()))
    assert len(watch.end()) == 4096


def attributes(mode: int) -> bytes:
    return struct.pack(">II", 4, mode)


def extended(request: int, name: bytes, *parts: bytes) -> bytes:
    return packet(200, request, text(name), *parts)


def test_every_change_that_sftp_knows_is_told() -> None:
    """Links, folders and attributes were not."""
    watch = SftpWatch()
    watch.take_sent(
        packet(20, 1, text(b"/etc/passwd"), text(b"link"))
        + extended(2, b"hardlink@openssh.com", text(b"a"), text(b"b"))
        + packet(14, 3, text(b"folder"), attributes(0o755))
        + packet(15, 4, text(b"old"))
        + packet(9, 5, text(b"tool"), attributes(0o104755))
        + extended(6, b"lsetstat@openssh.com", text(b"l"), struct.pack(">III", 2, 0, 0))
    )
    assert watch.take_received(b"".join(status(number) for number in range(1, 7))) == [
        FileEvent("symlink", "/etc/passwd", "link"),
        FileEvent("hardlink", "a", "b"),
        FileEvent("mkdir", "folder"),
        FileEvent("rmdir", "old"),
        FileEvent("setstat", "tool", attributes="mode=4755"),
        FileEvent("setstat", "l", attributes="uid=0 gid=0"),
    ]


def test_what_is_set_on_an_open_file_is_told_with_it() -> None:
    watch = SftpWatch()
    watch.take_sent(opens(1, b"file"))
    watch.take_received(handle(1, b"H"))
    watch.take_sent(packet(10, 2, text(b"H"), struct.pack(">IQI", 5, 0, 0o600)))
    (event,) = watch.take_sent(closes(3, b"H"))
    assert event == FileEvent("transfer", "file", attributes="size=0 mode=0600")


def test_a_copy_within_the_shell_is_told() -> None:
    watch = SftpWatch()
    watch.take_sent(opens(1, b"secret") + opens(2, b"public"))
    watch.take_received(handle(1, b"A") + handle(2, b"B"))
    place = struct.pack(">QQ", 0, 0)
    watch.take_sent(extended(3, b"copy-data", text(b"A"), place, text(b"B"), struct.pack(">Q", 0)))
    assert watch.take_received(status(3)) == [FileEvent("copy", "secret", "public")]


def test_what_is_not_answered_before_the_channel_ends_is_told_as_asked() -> None:
    """A client that hangs up at once has removed it all the same."""
    watch = SftpWatch()
    watch.take_sent(packet(13, 1, text(b"gone")) + opens(2, b"late"))
    assert watch.end() == [
        FileEvent("remove", "gone", whole=False),
        FileEvent("transfer", "late", whole=False),
    ]


def test_a_number_that_is_used_twice_hides_nothing() -> None:
    """The answer to a removal passed for that to the file that was opened by the same number."""
    watch = SftpWatch()
    events = watch.take_sent(packet(13, 1, text(b"x")) + opens(1, b"taken"))
    events += watch.take_received(status(1) + handle(1, b"H"))
    events += watch.take_sent(reads(2, b"H"))
    events += watch.take_received(gives(2, 100))
    events += watch.take_sent(closes(3, b"H")) + watch.end()
    assert {event.path for event in events} == {"x", "taken"}


def test_more_requests_at_once_than_are_kept_hide_nothing() -> None:
    watch = SftpWatch()
    events = watch.take_sent(b"".join(packet(13, n, text(b"%d" % n)) for n in range(5000)))
    events += watch.take_received(b"".join(status(n) for n in range(5000)))
    events += watch.end()
    assert {event.path for event in events} == {str(n) for n in range(5000)}


def test_a_long_packet_or_an_empty_one_hides_nothing_after_it() -> None:
    watch = SftpWatch()
    watch.take_sent(
        INIT + packet(99, 1, b"x" * 3_000_000) + text(b"") + packet(13, 2, text(b"gone"))
    )
    assert watch.take_received(status(2)) == [FileEvent("remove", "gone")]


def test_an_sftp_of_another_version_is_told_not_to_be_understood() -> None:
    watch = SftpWatch()
    assert watch.take_received(text(bytes([2]) + struct.pack(">I", 6))) == [
        FileEvent("lost", "", whole=False)
    ]


def test_long_names_without_end_are_told_and_not_collected() -> None:
    watch = SftpWatch()
    events = []
    for n in range(500):  # many more than it keeps
        events += watch.take_sent(
            packet(18, n, text(b"%d" % n + b"\xff" * 4000), text(b"\xff" * 4000))
        )
        assert sum(len(event.path) for event in watch._pending.values()) < 1_100_000
    assert len(events) + len(watch.end()) == 500
