"""Passkeys as they are listed, and removed by their people and by administrators. Audited."""

from stagedoor.admin.service import AdminService
from stagedoor.model.errors import NotFoundError
from stagedoor.model.identity import Method
from stagedoor.model.passkey import PasskeyRecord
from stagedoor.store.sign_in import passes
from stagedoor.store.sign_in import passkeys as stored


def list_passkeys(service: AdminService, user: str | None = None) -> list[PasskeyRecord]:
    """Of all, or of `user`. Raises StoreError."""
    with service.database.read() as transaction:
        return stored.list_passkeys(transaction, user)


def remove_passkey(service: AdminService, id_: str, owner: str | None = None) -> PasskeyRecord:
    """Remove it, which is `owner`'s if one is named, and end the sign-ins that it opened; the passkey that it
    was. Raises NotFoundError,
    StoreError."""
    with service.change("passkey.remove", revokes=True) as change:
        found = stored.find_passkey(change.transaction, id_)
        if found is None or owner not in (None, found.user):
            whose = "there is no passkey" if owner is None else f"{owner} has no passkey"
            raise NotFoundError(f"{whose} {id_[:64]!r}")
        stored.remove_passkey(change.transaction, id_)
        ended = passes.end_sign_ins(change.transaction, found.user, Method.PASSWORD, id_)
        change.unchanged = not ended
        change.fields |= {"user": found.user, "passkey": id_, "name": found.name}
    return found
