"""The sign-in that a login gets once its user has approved it in a browser."""

from stagedoor.admin.asking import web_service
from stagedoor.admin.sign_ins import shown_id
from stagedoor.model import pending_login
from stagedoor.model.errors import RefusedError
from stagedoor.model.pending_login import PendingLogin
from stagedoor.model.webpass import WebPass
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database
from stagedoor.store.sign_in import logins, pending_logins


def open_approved(
    settings: Settings,
    database: Database,
    login: PendingLogin,
    session_s: float,
    now: float,
    changed: str,
) -> tuple[str, WebPass]:
    """Spend an approved login: open a sign-in bound to its key, and return the sign-in with its secret.

    The sign-in expires `session_s` seconds after its last use. It blocks. Raises NotFoundError, StoreError,
    and RefusedError with the text `changed` if the login has changed meanwhile.
    """
    assert login.sign_in is not None, "an approved login has it"
    service = web_service(settings, database, login.wanted_user or "")
    with service.change("login") as change:
        if not pending_logins.change(change.transaction, login, pending_login.spend(login)):
            raise RefusedError(changed)
        secret, opened = logins.open_login(
            change.transaction,
            login.sign_in,
            key_fingerprint=login.fingerprint,
            public_key=login.public_key,
            label=login.label,
            source=login.source,
            session_s=session_s,
            now=now,
        )
        assert opened.sign_in is not None, "a sign-in names itself"
        change.fields |= {
            "user": opened.name,
            "sign_in": shown_id(opened.sign_in.id),
            "key": login.fingerprint,
            "label": login.label,
            "from": login.source,
            "expires_at": opened.expires_at,
        }
    return secret, opened
