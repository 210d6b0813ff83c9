"""Calling administration functions from a listener: in a thread, with errors as denials."""

import asyncio
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from stagedoor.admin.service import AdminService
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError, StoreError
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database

P = ParamSpec("P")
T = TypeVar("T")


async def ask(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Denial:
    """Call `function` in a thread and return its result. A store that fails or a refusal is a Denial."""
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except StoreError as error:
        return store_unavailable(error)
    except (RefusedError, NotFoundError, ConflictError) as error:
        return Denial(Reason.BAD_REQUEST, str(error))


def web_service(settings: Settings, database: Database, name: str) -> AdminService:
    """Return a service for a user who is signed in on the web; the audit names the user with `(web)`."""
    return AdminService(database, settings.data_dir, f"{name} (web)", time.time)


def provider_service(
    settings: Settings, database: Database, provider: str, now: Callable[[], float]
) -> AdminService:
    """Return a service for the changes of an identity provider; the audit names it with `(sso)`."""
    return AdminService(database, settings.data_dir, f"{provider} (sso)", now)


def store_unavailable(error: StoreError) -> Denial:
    """Return the denial for a store that fails."""
    return Denial(
        Reason.AUDIT_UNAVAILABLE,
        f"the gateway cannot use its store, so nobody is let in ({error.public}); try again",
        retry_after_s=5,
    )
