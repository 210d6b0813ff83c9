"""The chain of the audit's lines: any edit of what was exported is found, with its place."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.audit.chain import (
    NAMESPACE,
    Chain,
    ChainLink,
    Line,
    make_checkpoint_event,
    make_statement,
)
from stagedoor.audit.verify import Report, read_checkpoints, verify
from stagedoor.keys.files import format_public_line, load_or_create, make_key
from stagedoor.keys.signing import find_signer, sign
from stagedoor.model.event import Event, EventKind

KEY = make_key()
KEY_NAME = sign(KEY, "", NAMESPACE)[1]


def check(message: str, signature: str) -> str | None:
    return find_signer(message, signature, NAMESPACE)


def chain_of(events: Sequence[Event], *, each: int, gap: int = 1, key: object = KEY) -> list[Line]:
    """Lines with a checkpoint after so many events, and one at the end."""
    chain = Chain()
    lines = []
    for number, event in enumerate(events, 1):
        lines.append(chain.add(chain.link.seq + gap, event))
        if number % each == 0 or number == len(events):
            signature, name = sign(key, make_statement(chain.link), NAMESPACE)  # type: ignore[arg-type]
            mark = make_checkpoint_event(chain.link, signature, name, "one", event.at)
            lines.append(chain.add(chain.link.seq + 1, mark))
    return lines


def look(texts: Sequence[str | bytes], against: Sequence[ChainLink] = ()) -> Report:
    raw = [text if isinstance(text, bytes) else text.encode() for text in texts]
    numbered = (("f", number, text) for number, text in enumerate(raw, 1))
    return verify(numbered, check, trusted=frozenset({KEY_NAME}), against=against)


def event(
    number: int = 0, kind: EventKind = EventKind.SESSION_OPENED, **fields: str | int | None
) -> Event:
    return Event(1000.5 + number, kind, "one", f"s{number}", "alice", fields=fields)


EVENTS = st.builds(
    event,
    st.integers(0, 10**6),
    st.sampled_from([kind for kind in EventKind if not kind.value.startswith("audit.")]),
    what=st.sampled_from(["", "ls", "\ud83d\ude00\x1b[2J", "\ud800"]),
    sent=st.sampled_from([0, 7, 2**70]),
)


@st.composite
def exports(draw: st.DrawFn) -> list[str]:
    events = draw(st.lists(EVENTS, min_size=2, max_size=8))
    each, gap = draw(st.integers(1, 5)), draw(st.sampled_from([1, 1, 3]))
    return [line.text for line in chain_of(events, each=each, gap=gap)]


@settings(max_examples=40)
@given(exports(), st.integers(1, 20))
def test_what_the_gateway_wrote_is_confirmed_from_any_line_on(texts: list[str], cut: int) -> None:
    report = look(texts)
    assert report.fault is None
    assert (report.lines, report.from_start) == (len(texts), True)
    assert report.confirmed == json.loads(texts[-1])["fields"]["through"]
    rest = texts[cut % (len(texts) - 1) :]
    later = look(rest)
    assert later.fault is None
    assert (later.lines, later.first) == (len(rest), json.loads(rest[0])["seq"])


@settings(max_examples=40)
@given(exports(), st.data())
def test_a_changed_byte_is_found_at_its_line(texts: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(texts) - 2))
    raw = bytearray(texts[at].encode())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    fault = look([*texts[:at], bytes(raw), *texts[at + 1 :]]).fault
    assert fault is not None
    # Where the last line before the checkpoint has another `prev`, it may as well be the one before
    # that was changed, since only the checkpoint is left to compare with.
    assert fault.line in (at + 1, at) if at == len(texts) - 2 else fault.line in (at + 1, at + 2)


@settings(max_examples=40)
@given(exports(), st.data())
def test_a_changed_value_is_found_at_its_line(texts: list[str], data: st.DataObject) -> None:
    """The attacker writes the line as the gateway would."""
    at = data.draw(st.integers(0, len(texts) - 2))
    document = json.loads(texts[at])
    name = data.draw(st.sampled_from(sorted(document.keys() - {"seq", "prev"})))
    document[name] = data.draw(st.sampled_from(["mallory", None, {}, 7]))
    changed = json.dumps(document)
    if changed == texts[at]:
        return
    report = look([*texts[:at], changed, *texts[at + 1 :]])
    assert report.fault is not None
    # Where numbers are left out, as PostgreSQL does, lines may as well be missing.
    gap = json.loads(texts[at + 1])["seq"] - json.loads(texts[at])["seq"] > 1
    assert report.fault.line in ((at + 1, at + 2) if gap else (at + 1,))
    assert report.confirmed < json.loads(texts[at])["seq"]


@settings(max_examples=40)
@given(exports(), st.data())
def test_a_removed_line_is_found(texts: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(texts) - 2))
    fault = look([*texts[:at], *texts[at + 1 :]]).fault
    assert fault is not None
    assert fault.line == at + 1
    assert "missing" in fault.what


@settings(max_examples=40)
@given(exports(), st.data())
def test_an_inserted_line_is_found(texts: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(texts) - 2))
    forged = json.loads(texts[at]) | {"identity": "mallory"}
    if data.draw(st.booleans()):  # by an attacker who does not know how
        forged["prev"] = "1" * 64
    fault = look([*texts[:at], json.dumps(forged), *texts[at:]]).fault
    assert fault is not None
    assert (fault.line, "inserted" in fault.what) == (at + 1, True)


@settings(max_examples=40)
@given(exports(), st.data())
def test_two_lines_in_the_wrong_order_are_found(texts: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(texts) - 2))
    texts[at], texts[at + 1] = texts[at + 1], texts[at]
    fault = look(texts).fault
    assert fault is not None
    assert fault.line == at + 1
    assert "out of order" in fault.what


@settings(max_examples=40)
@given(exports(), st.data())
def test_a_line_that_was_delivered_twice_is_no_fault(texts: list[str], data: st.DataObject) -> None:
    """A sink that was cut off goes back."""
    at = data.draw(st.integers(1, len(texts)))
    back = data.draw(st.integers(0, at))
    report = look([*texts[:at], *texts[at - back : at], *texts[at:]])
    assert (report.fault, report.repeated, report.lines) == (None, back, len(texts))


@settings(max_examples=40)
@given(exports(), st.data())
def test_an_end_that_is_cut_off_is_told_by_a_checkpoint_of_another_copy(
    texts: list[str], data: st.DataObject
) -> None:
    marks = read_checkpoints([("g", 1, text.encode()) for text in texts], check)
    assert look(texts, marks).fault is None
    # The checkpoint itself may go: it is not signed yet.
    kept = data.draw(st.integers(1, len(texts) - 2))
    assert look(texts[:kept]).fault is None
    fault = look(texts[:kept], marks).fault
    assert fault is not None
    assert "cut off" in fault.what


def test_a_forged_chain_is_told_by_its_signatures() -> None:
    """Every line after the one that is changed is made again, and signed by another key or by none."""
    honest = [event(number) for number in range(5)]
    forged = [event(number, what="nothing") for number in range(5)]
    mallory = look([line.text for line in chain_of(forged, each=5, key=make_key())])
    assert mallory.fault is not None
    assert "not by a key given" in mallory.fault.what
    lines = chain_of(forged, each=5)
    real = chain_of(honest, each=5)[-1].event
    chain = Chain()
    texts = [chain.add(record.link.seq, record.event).text for record in [*lines[:-1]]]
    replayed = look([*texts, chain.add(6, real).text])
    assert replayed.fault is not None
    assert "not those that the checkpoint seq 6 signs" in replayed.fault.what
    assert chain.contradicted == 6


def test_what_has_no_checkpoint_after_it_is_not_confirmed() -> None:
    texts = [line.text for line in chain_of([event(n) for n in range(4)], each=2)]
    report = look(texts[:-1])
    assert (report.confirmed, report.last) == (2, 5)
    assert look([]).confirmed == 0


def test_a_checkpoint_in_the_store_that_is_not_of_its_lines_is_noticed_as_lines_are_made() -> None:
    lines = chain_of([event(n) for n in range(3)], each=3)
    chain = Chain()
    for line in lines:
        what = event(9) if line.link.seq == 2 else line.event
        chain.add(line.link.seq, what)
    assert chain.contradicted == 4


def test_ssh_keygen_agrees_on_the_signature(tmp_path: Path) -> None:
    key = load_or_create(tmp_path / "audit_key")
    mark = chain_of([event()], each=1, key=key)[-1].event
    claim = f"{mark.fields['through']} {mark.fields['sha256']}\n"
    (tmp_path / "sig").write_text(str(mark.fields["signature"]))
    (tmp_path / "signers").write_text(f"gateway {format_public_line(key)}\n")
    argv = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "gateway", "-n", NAMESPACE]
    for message, code in ((claim, 0), (claim.replace("1", "2", 1), 255)):
        done = subprocess.run(
            [*argv, "-s", "sig"], input=message, text=True, capture_output=True, cwd=tmp_path
        )
        assert done.returncode == code, done.stderr + done.stdout
    (tmp_path / "message").write_text(claim)
    made = ["ssh-keygen", "-q", "-Y", "sign", "-f", "audit_key", "-n", NAMESPACE, "message"]
    subprocess.run(made, check=True, cwd=tmp_path, capture_output=True)
    assert check(claim, (tmp_path / "message.sig").read_text()) == mark.fields["key"]
    assert find_signer(claim, (tmp_path / "message.sig").read_text(), "file") is None


@pytest.mark.parametrize("text", ["", "{}", "[" * 100_000, '{"seq": true, "prev": "0"}', "\xff"])
def test_anything_may_be_in_a_file(text: str) -> None:
    report = look([text.encode("latin-1")])
    assert report.fault is not None
    assert report.fault.line == 1


@settings(max_examples=40)
@given(st.text(alphabet="ABC=\n", max_size=80))
def test_anything_may_be_a_signature(text: str) -> None:
    head, tail = "-----BEGIN SSH SIGNATURE-----\n", "\n-----END SSH SIGNATURE-----\n"
    assert check("1 x\n", head + text + tail) is None
    assert check("1 x\n", text) is None


def test_hashes_are_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stagedoor.audit.verify.REMEMBERED", 20)
    chain = Chain()
    texts = [chain.add(number, event()).text for number in range(1, 30)]
    assert look(texts).fault is None
    assert look([*texts, texts[-1], texts[0]]).fault is not None
