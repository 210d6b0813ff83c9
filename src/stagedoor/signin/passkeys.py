"""Listing passkeys, and removing them for their users and for administrators. Audited."""

from stagedoor.admin.service import AdminService
from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Method
from stagedoor.model.passkey import PasskeyRecord
from stagedoor.store.sign_in import passes
from stagedoor.store.sign_in import passkeys as stored


def list_passkeys(service: AdminService, user: str | None = None) -> list[PasskeyRecord]:
    """List the passkeys of all users, or of `user`. Raises StoreError."""
    with service.database.read() as transaction:
        return stored.list_passkeys(transaction, user)


def remove_passkey(service: AdminService, id_: str, owner: str | None = None) -> PasskeyRecord:
    """Remove a passkey, end the sign-ins that it opened, and return it.

    With `owner`, a passkey of another user counts as unknown. Raises NotFoundError, StoreError.
    """
    with service.change("passkey.remove", revokes=True) as change:
        passkey = stored.find_passkey(change.transaction, id_)
        if passkey is None or owner not in (None, passkey.user):
            whose = "there is no passkey" if owner is None else f"{owner} has no passkey"
            raise NotFoundError(f"{whose} {id_[:64]!r}")
        stored.remove_passkey(change.transaction, id_)
        ended = passes.end_sign_ins(change.transaction, passkey.user, Method.PASSWORD, id_)
        change.unchanged = not ended
        change.fields |= {"user": passkey.user, "passkey": id_, "name": passkey.name}
    return passkey
