"""How a listener asks an administrator's function: in a thread, and with a denial where it fails."""

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
    """What `function` returns, called in a thread; a store that fails or a refusal is a Denial."""
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except StoreError as error:
        return unavailable(error)
    except (RefusedError, NotFoundError, ConflictError) as error:
        return Denial(Reason.BAD_REQUEST, str(error))


def on_the_web(settings: Settings, database: Database, name: str) -> AdminService:
    """For somebody who is signed in on the web; the audit names them with `(web)`."""
    return AdminService(database, settings.data_dir, f"{name} (web)", time.time)


def by_provider_itself(
    settings: Settings, database: Database, provider: str, now: Callable[[], float]
) -> AdminService:
    """For what an identity provider changes; the audit names it with `(sso)`."""
    return AdminService(database, settings.data_dir, f"{provider} (sso)", now)


def unavailable(error: StoreError) -> Denial:
    """Why nothing can be looked up now."""
    return Denial(
        Reason.AUDIT_UNAVAILABLE,
        f"the gateway cannot use its store, so nobody is let in ({error.public}); try again",
        retry_after_s=5,
    )
