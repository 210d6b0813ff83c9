"""Sign-ins of machines as an approved login leaves them, made in the store of a gateway that runs."""

import time
from pathlib import Path

from stagedoor.admin.service import AdminService
from stagedoor.authn.passes import Lifetimes, pass_for
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.webpass import PassKind
from stagedoor.store.sign_in import passes
from stagedoor.store.sign_in.logins import open_login
from stagedoor.wire.ssh.key import PublicKey, parse_public_key
from tests.ssh.world import World, public


def signed_in(world: World, user: str, key: Path, session_s: float = 12 * 3600.0) -> SignIn:
    """`user` signed in by single sign-on and approved the login of a machine with `key`."""
    with world.service() as service:
        return log_in(service, user, public(key), session_s)


def log_in(service: AdminService, user: str, line: str, session_s: float) -> SignIn:
    return log_in_with_secret(service, user, line, session_s)[1]


def log_in_with_secret(
    service: AdminService, user: str, line: str, session_s: float
) -> tuple[str, SignIn]:
    """Log in, and return the secret that its client keeps, too."""
    now = time.time()
    identity = Identity(user, frozenset(), Method.SSO, "Company")
    browser = pass_for(PassKind.SESSION, identity, now, Lifetimes(session_s=session_s))
    shown = passes.find(
        service.database, PassKind.SESSION, passes.issue(service.database, browser, now)
    )
    assert shown is not None
    assert shown.sign_in is not None
    key = parse_public_key(line)
    assert isinstance(key, PublicKey)
    with service.change("login") as change:
        secret, login = open_login(
            change.transaction,
            shown.sign_in.id,
            key_fingerprint=key.fingerprint,
            public_key=key.line,
            label="laptop",
            source="192.0.2.7",
            session_s=session_s,
            now=now,
        )
    assert login.sign_in is not None
    return secret, login.sign_in
