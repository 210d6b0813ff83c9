"""The chain of a store of each kind: numbers that are left out, checkpoints of several, removals."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from stagedoor.admin.audit.chain import ChainReader, Checkpoints, remove_delivered
from stagedoor.audit.chain import NAMESPACE
from stagedoor.audit.verify import Report, verify
from stagedoor.keys.files import make_key
from stagedoor.keys.signing import find_signer
from stagedoor.store.database import Database, open_database
from stagedoor.store.deliveries import read_position, set_position
from stagedoor.store.journal import StoreJournal, append
from tests.store.sample import denied, opened


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    if request.param == "sqlite":
        made = open_database(request.getfixturevalue("tmp_path") / "stagedoor.db")
        yield made
        made.close()
        return
    here = request.getfixturevalue("postgresql")
    server = here.filled()
    made = open_database(server)
    yield made
    made.close()
    here.drop(server)


def lines_after(database: Database, after: int = 0) -> list[str]:
    reader, found = ChainReader(database, after), []
    while lines := reader.read():
        found += [line.text for line in lines]
    return found


def report(lines: list[str]) -> Report:
    numbered = [("f", number, line.encode()) for number, line in enumerate(lines, 1)]
    return verify(numbered, lambda message, sig: find_signer(message, sig, NAMESPACE))


def fail(database: Database) -> None:
    """An event whose number is never seen on PostgreSQL."""
    with database.write() as transaction:
        append(transaction, [denied()])
        raise ZeroDivisionError


def test_everybody_makes_the_same_lines_wherever_they_begin(database: Database) -> None:
    first = Checkpoints(database, make_key, "one")
    second = Checkpoints(database, make_key, "two")
    assert not first.write(1.0), "there is nothing to sign"
    journal = StoreJournal(database)
    for turn in range(3):
        journal.append([opened(f"s-{turn}-{number}") for number in range(150)])
        with pytest.raises(ZeroDivisionError):
            fail(database)
        assert first.write(2.0)
        assert not second.write(3.0), "it is signed already"
    assert second.read_chain().contradicted is None
    whole = lines_after(database)
    result = report(whole)
    assert (result.fault, result.lines, sum(result.keys.values())) == (None, 453, 3)
    assert result.confirmed > 0
    for count in (1, 149, 151, 300, 452):
        seq = int(whole[count - 1].partition('"seq": ')[2].partition(",")[0])
        assert lines_after(database, seq) == whole[count:]

    seq = int(whole[199].partition('"seq": ')[2].partition(",")[0])
    assert remove_delivered(database, through=seq, before=1e9, instance="x", now=4.0) == 200
    assert remove_delivered(database, through=seq, before=1e9, instance="x", now=4.0) == 0
    rest = lines_after(database)
    assert rest[:-1] == whole[200:]
    assert '"audit.removed"' in rest[-1]
    assert remove_delivered(database, through=10**6, before=50.0, instance="x", now=5.0) == 0
    assert first.write(6.0)
    assert report(whole + lines_after(database)[len(whole) - 200 :]).fault is None


def test_how_far_a_sink_has_come_is_kept(database: Database) -> None:
    for seq in (3, 4):
        set_position(database, "a", seq)
    with database.read() as transaction:
        assert (read_position(transaction, "a"), read_position(transaction, "b")) == (4, None)
        assert transaction.execute(text("SELECT count(*) FROM meta")).scalar() == 5
