"""The scp that is watched is never disturbed, and never understood wrongly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.wire.ssh.scp import ScpDirection, ScpWatch, parse_scp_direction
from stagedoor.wire.ssh.sftp import FileEvent


@pytest.mark.parametrize(
    ("command", "direction"),
    [
        ("scp -t /tmp/x", ScpDirection.TO_SHELL),
        ("scp -f -- '/tmp/with space'", ScpDirection.FROM_SHELL),
        ("scp -v -r -p -d -t .", ScpDirection.TO_SHELL),
        ("/usr/bin/scp -rpt x", ScpDirection.TO_SHELL),
        ("scp /tmp/f /tmp/t", None),
        ("scp -- -t", None),
        ("scpx -t /tmp/x", None),
        ("cat 'scp -t", None),
        ("", None),
    ],
)
def test_only_what_an_scp_runs_at_the_other_end_is_watched(
    command: str, direction: ScpDirection | None
) -> None:
    assert parse_scp_direction(command) is direction


def test_a_file_that_was_sent_is_told_with_its_name_and_size() -> None:
    watch = ScpWatch(ScpDirection.TO_SHELL)
    watch.take_received(b"\0")
    assert watch.take_sent(b"T1700000000 0 1700000000 0\n") == []
    watch.take_received(b"\0")
    assert watch.take_sent("C0644 5 ä b\n".encode()) == []
    watch.take_received(b"\0")
    assert watch.take_sent(b"hel") == []
    assert watch.take_sent(b"lo\0") == [FileEvent("transfer", "ä b", sent=5)]
    assert watch.end() == []


def test_a_tree_that_was_fetched_is_told_with_its_folders() -> None:
    watch = ScpWatch(ScpDirection.FROM_SHELL)
    events: list[FileEvent] = []
    for line, answer in [
        (b"D0755 0 top\n", b"\0"),
        (b"C0644 0 empty\n", b"\0"),
        (b"\0", b"\0"),
        (b"D0755 0 sub\n", b"\0"),
        (b"C0644 3 file\n", b"\0"),
        (b"abc\0", b"\0"),
        (b"E\n", b"\0"),
        (b"E\n", b"\0"),
    ]:
        events += watch.take_received(line)
        events += watch.take_sent(answer)
    assert events == [
        FileEvent("transfer", "top/empty"),
        FileEvent("transfer", "top/sub/file", received=3),
    ]


def test_a_file_that_the_other_end_refuses_is_none_and_the_next_is_seen() -> None:
    watch = ScpWatch(ScpDirection.TO_SHELL)
    watch.take_sent(b"C0644 3 no\n")
    watch.take_received(b"\1scp: no: Permission denied\n")
    watch.take_sent(b"C0644 3 yes\n")
    watch.take_received(b"\0")
    assert watch.take_sent(b"abc\0") == [FileEvent("transfer", "yes", sent=3)]


def test_a_file_that_was_not_finished_is_told_as_that() -> None:
    watch = ScpWatch(ScpDirection.TO_SHELL)
    watch.take_sent(b"C0644 10 half\n")
    watch.take_received(b"\0")
    watch.take_sent(b"12345")
    assert watch.end() == [FileEvent("transfer", "half", sent=5, whole=False)]


def test_a_file_that_could_not_be_read_to_its_end_is_not_whole() -> None:
    watch = ScpWatch(ScpDirection.FROM_SHELL)
    watch.take_received(b"C0644 2 broken\n")
    watch.take_sent(b"\0")
    (event,) = watch.take_received(b"\0\0\1scp: broken: Input/output error\n")
    assert not event.whole
    watch.take_received(b"C0644 1 next\n")
    watch.take_sent(b"\0")
    assert watch.take_received(b"x\0") == [FileEvent("transfer", "next", received=1)]


def test_what_is_no_scp_is_left_alone_and_not_collected() -> None:
    watch = ScpWatch(ScpDirection.TO_SHELL)
    lost = [FileEvent("lost", "", whole=False)]
    assert watch.take_sent(b"GET / HTTP/1.1\r\n" + b"x" * 100_000) == lost
    assert watch.take_sent(b"C0644 1 late\n") == []
    assert watch.end() == []
    watch = ScpWatch(ScpDirection.TO_SHELL)
    for _ in range(100):
        watch.take_sent(b"C" * 1000)
    assert len(watch._line) < 20_000


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.one_of(
                st.binary(max_size=40),
                st.sampled_from(
                    [
                        b"\0",
                        b"\1no\n",
                        b"E\n",
                        b"D0755 0 d\n",
                        b"C0644 3 f\n",
                        b"abc\0",
                        b"C0644 0 g\n",
                    ]
                ),
            ),
        ),
        max_size=40,
    ),
    st.sampled_from(list(ScpDirection)),
)
def test_any_bytes_are_borne_and_each_file_is_at_most_as_large_as_it_said(
    turns: list[tuple[bool, bytes]], direction: ScpDirection
) -> None:
    watch = ScpWatch(direction)
    events: list[FileEvent] = []
    for by_client, data in turns:
        events += watch.take_sent(data) if by_client else watch.take_received(data)
    events += watch.end()
    if events and events[-1].did == "lost":
        del events[-1]
    for event in events:
        assert event.did == "transfer"
        assert 0 <= (event.sent if direction is ScpDirection.TO_SHELL else event.received) < 10**20


@given(st.lists(st.integers(1, 60), max_size=10))
def test_how_it_is_split_changes_nothing(places: list[int]) -> None:
    whole = b"C0644 5 one\n" + b"hello\0" + b"D0755 0 d\n" + b"C0600 0 two\n" + b"\0" + b"E\n"
    watch = ScpWatch(ScpDirection.TO_SHELL)
    events: list[FileEvent] = []
    at = 0
    for place in [*places, len(whole)]:
        events += watch.take_sent(whole[at : at + place])
        at += place
    assert [(event.path, event.sent) for event in events] == [("one", 5), ("d/two", 0)]


def test_a_size_with_zeros_before_it_hides_nothing() -> None:
    """scp takes them; a watch that does not would see nothing from there on."""
    watch = ScpWatch(ScpDirection.TO_SHELL)
    events = watch.take_sent(
        b"C0644 " + b"0" * 30 + b"2 first\n" + b"ab\0" + b"C0644 1 second\n" + b"c\0"
    )
    assert events == [
        FileEvent("transfer", "first", sent=2),
        FileEvent("transfer", "second", sent=1),
    ]
