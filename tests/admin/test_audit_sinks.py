import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.admin.audit import sinks as audit_sinks
from stagedoor.admin.audit.sinks import read_last_seq, split_into_bodies
from stagedoor.audit.chain import Chain
from stagedoor.model.event import Event, EventKind

CHAIN = Chain()
LINES = [CHAIN.add(n, Event(float(n), EventKind.SESSION_OPENED, "one")) for n in range(1, 6)]
TEXT = "".join(f"{line.text}\n" for line in LINES).encode()


@given(st.integers(0, len(TEXT)), st.integers(0, 5000))
def test_a_file_that_was_cut_anywhere_ends_with_its_last_whole_line(cut: int, nul: int) -> None:
    seq, whole = read_last_seq(TEXT[:cut] + b"\0" * nul)
    assert whole == TEXT.rfind(b"\n", 0, cut) + 1
    assert seq == (TEXT[:whole].count(b"\n") or None)


@pytest.mark.parametrize(
    "text",
    [b"x", b"\n", b"{}\n", b"[1]\n", b'{"seq": true}\n', b'{"seq": 1}\nabc', b"\xff\n", b"x\0\0"],
)
def test_what_is_no_audit_is_not_cut(text: bytes) -> None:
    with pytest.raises(ValueError, match="no "):
        read_last_seq(text)


def test_requests_have_a_bound_and_lose_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_sinks, "REQUEST_BYTES", 2 * len(LINES[0].text) + 10)
    parts = list(split_into_bodies(LINES))
    assert b"".join(parts) == TEXT
    assert [part.count(b"\n") for part in parts] == [2, 2, 1]
    monkeypatch.setattr(audit_sinks, "REQUEST_BYTES", 1)
    assert list(split_into_bodies(LINES)) == [f"{line.text}\n".encode() for line in LINES]
    assert list(split_into_bodies([])) == []
