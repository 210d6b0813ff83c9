"""The doctor's check of an identity provider: whether it answers, and confirms sign-ins."""

import asyncio
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from stagedoor.model.errors import SettingsError
from stagedoor.oidc.errors import OidcError, UnavailableError
from stagedoor.settings.settings import Settings
from stagedoor.settings.sso import SingleSignOn
from stagedoor.signin.provider_states import provider_states
from stagedoor.signin.single_sign_on import open_client
from stagedoor.store.database import open_database
from stagedoor.store.sign_in.sign_ins import list_sign_ins
from stagedoor.wire.finding import Finding, fail, ok, warn


def provider_findings(settings: Settings, provider: SingleSignOn) -> Iterator[Finding]:
    """Ask the provider for its discovery document and its keys, and read its last answers from the store.

    Raises StoreError.
    """
    test = f"stagedoor sso test {shlex.quote(provider.name)}"
    try:
        asyncio.run(open_client(provider, time.time).provider())
    except SettingsError as error:
        yield fail(str(error), "correct it in the settings' [[sso]] table")
    except UnavailableError as error:
        yield fail(
            f"{provider.name} does not answer: {error}", "look for a firewall or a proxy on the way"
        )
    except OidcError as error:
        yield fail(f"{provider.name}: {error}", f"correct the [[sso]] table, then: {test}")
    else:
        yield ok(f"{provider.name} answers at {provider.issuer}")
    if isinstance(settings.place, Path) and not settings.place.exists():
        return
    database = open_database(settings.place, create=False, upgrade=False)
    try:
        records = list_sign_ins(database, time.time())
    finally:
        database.close()
    [state] = provider_states([provider.name], records)
    if state.is_failing:
        yield warn(f"{provider.name} does not confirm sign-ins: {state.failure}", test)
    else:
        yield ok(f"{provider.name}: {state}")
