"""How a listener calls an administrator's function: every failure that a user may meet is a denial."""

import threading

import pytest

from stagedoor.admin.blocking import call_blocking
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.errors import ConflictError, NotFoundError, RefusedError, StoreError


async def test_what_the_function_returns_comes_back_from_a_thread_of_its_own() -> None:
    def add(one: int, *, other: int) -> tuple[int, str]:
        return one + other, threading.current_thread().name

    total, thread = await call_blocking(add, 1, other=2)  # type: ignore[misc]  # no denial here
    assert total == 3
    assert thread != threading.current_thread().name


async def test_a_store_that_fails_lets_nobody_in_and_says_when_to_try_again() -> None:
    def fail() -> None:
        raise StoreError("the disk is full")

    denial = await call_blocking(fail)
    assert isinstance(denial, Denial)
    assert denial.reason is Reason.AUDIT_UNAVAILABLE
    assert "the disk is full" in denial.message
    assert denial.retry_after_s == 5


@pytest.mark.parametrize("error", [RefusedError, NotFoundError, ConflictError])
async def test_what_cannot_be_done_is_refused_in_its_own_words(error: type[Exception]) -> None:
    def fail() -> None:
        raise error("alice has no key 'x'")

    denial = await call_blocking(fail)
    assert isinstance(denial, Denial)
    assert (denial.reason, denial.message) == (Reason.BAD_REQUEST, "alice has no key 'x'")
    assert denial.line == denial.message


async def test_the_command_that_mends_it_is_for_administrators() -> None:
    def fail() -> None:
        raise NotFoundError.with_fix("there is no user x", "see `stagedoor user list`")

    denial = await call_blocking(fail)
    assert isinstance(denial, Denial)
    assert denial.message == "there is no user x; see `stagedoor user list`"
    assert denial.line == "there is no user x"


async def test_a_fault_of_ours_is_no_denial() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await call_blocking(fail)
