"""Calling administration functions from a listener: in a thread, with errors as denials."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError, StoreError
from stagedoor.store.database import Transaction

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


async def call_blocking(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Denial:
    """Call `function` in a thread and return its result. Store failures and refusals become a Denial."""
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except StoreError as error:
        return Denial(
            Reason.AUDIT_UNAVAILABLE,
            f"the gateway cannot use its store ({error.public}); try again",
            retry_after_s=5,
        )
    except (RefusedError, NotFoundError, ConflictError) as error:
        return Denial(Reason.BAD_REQUEST, str(error), person_message=error.public)


def run_in_thread(
    method: Callable[Concatenate[S, P], T],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T | Denial]]:
    """Turn a blocking method into a coroutine method that returns as `call_blocking` does."""

    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T | Denial:
        return await call_blocking(method, self, *args, **kwargs)

    update_wrapper(call, method)
    return call


async def call_in_transaction(
    begin: Callable[[], AbstractContextManager[Transaction]],
    function: Callable[Concatenate[Transaction, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T | Denial:
    """Call `function` in a thread with a transaction, as `call_blocking` does.

    `begin` is `Database.read` or `Database.write`.
    """

    def call() -> T:
        with begin() as transaction:
            return function(transaction, *args, **kwargs)

    return await call_blocking(call)
