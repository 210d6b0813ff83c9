"""`stagedoor passkey`."""

import click
import pytest

from stagedoor.admin.service import AdminService
from stagedoor.cli.complete import passkey_ids
from stagedoor.model.errors import NotFoundError
from stagedoor.model.passkey import PasskeyRecord
from stagedoor.store.sign_in import passkeys
from tests.cli.conftest import Desk

LAPTOP = PasskeyRecord(
    "5f3a91c0e2b74d18", "alice", "laptop", "gw.example", b"key", 3, 1_800_000_000.0
)


@pytest.mark.identity(36)
def test_passkeys_are_listed_completed_and_removed(alice: Desk, service: AdminService) -> None:
    with service.change("passkey.add") as change:
        passkeys.add_passkey(change.transaction, LAPTOP, 1)
    (one,) = alice.json("passkey", "list", "alice")
    assert one == {
        "id": LAPTOP.id,
        "user": "alice",
        "name": "laptop",
        "for": "gw.example",
        "created_at": "2027-01-15T08:00:00.000Z",
        "used_at": None,
    }
    assert alice.out("passkey", "list").splitlines()[1].split()[:4] == [
        LAPTOP.id,
        "alice",
        "laptop",
        "gw.example",
    ]
    root = click.Context(click.Command("stagedoor"), info_name="stagedoor")
    root.params["settings_file"] = alice.settings_file
    offered = passkey_ids(root, click.Argument(["id"]), LAPTOP.id[:3])
    assert [item.value for item in offered] == [LAPTOP.id]
    alice.out("passkey", "remove", LAPTOP.id)
    assert alice.json("passkey", "list") == []
    with pytest.raises(NotFoundError, match="there is no passkey"):
        alice.out("passkey", "remove", LAPTOP.id)
    with pytest.raises(NotFoundError, match="mallory"):
        alice.out("passkey", "list", "mallory")
