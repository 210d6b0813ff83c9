"""Which certificates are revoked, on every kind of store."""

import pytest

from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.store import people
from stagedoor.store.database import Database
from stagedoor.store.sign_in import certified, passes
from stagedoor.store.sign_in.tables import certified_sign_ins
from tests.fixtures.people import open_machine, sign_in
from tests.store.sample import change

NOW = 1_700_000_000.0


def signed_in(database: Database, key: str) -> SignIn:
    carol = Identity("carol", frozenset(), Method.SSO, "Company")
    by = sign_in(database, carol, NOW)
    with change(database, "login") as made:
        _, login = open_machine(made.transaction, by, NOW, fingerprint=key, session_s=3600.0)
    return login.sign_in


@pytest.mark.identity(23)
def test_those_whose_sign_in_is_over_until_they_expire(database: Database) -> None:
    with database.write() as transaction:
        people.add_user(transaction, "carol", frozenset(), None, NOW)
    one, two = signed_in(database, "SHA256:one"), signed_in(database, "SHA256:two")
    highest = 2**63 - 1  # a sign-in that is not even remembered
    with database.write() as transaction:
        certified.keep(transaction, "dave", 7, NOW + 600, NOW)  # no user of that name is left
        for number, end in (
            (one.number, NOW + 60),
            (one.number, NOW + 600),
            (one.number, NOW + 300),
            (two.number, NOW + 600),
            (highest, NOW + 10),
        ):
            certified.keep(transaction, "carol", number, end, NOW)
    dave = {"dave": [7]}
    assert certified.list_revoked(database, NOW) == {"carol": [highest], **dave}
    assert certified.list_revoked(database, NOW + 10) == dave
    assert certified.list_revoked(database, NOW + 10, {"SHA256:two"}) == {
        "carol": [two.number],
        **dave,
    }
    with change(database, "end") as made:
        passes.end_sign_in(made.transaction, one.id, "laptop stolen", NOW)
    assert certified.list_revoked(database, NOW + 599) == {"carol": [one.number], **dave}
    assert certified.list_revoked(database, NOW + 600) == {}


def test_a_row_of_a_program_that_wrote_no_user_is_listed_all_the_same(database: Database) -> None:
    """Such a program may run beside this one while an installation is upgraded."""
    row = certified_sign_ins.insert().values(number=7, valid_before=NOW + 60)
    with database.write() as transaction:
        transaction.execute(row)
    assert certified.list_revoked(database, NOW) == {"": [7]}
    with database.write() as transaction:
        certified.keep(transaction, "carol", 7, NOW + 30, NOW)
    assert certified.list_revoked(database, NOW + 59) == {"": [7]}, (
        "an earlier end takes nothing back"
    )
    with database.write() as transaction:
        certified.keep(transaction, "carol", 7, NOW + 90, NOW)
    assert certified.list_revoked(database, NOW + 60) == {"carol": [7]}
