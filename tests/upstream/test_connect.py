"""A shell that we started may have moved since: it is looked for again, while there is time."""

import asyncio
import re
from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.session import ReadyShell
from stagedoor.model.shell import Shell
from stagedoor.model.source import Address
from stagedoor.model.target import Target
from stagedoor.upstream import connect
from stagedoor.upstream.connect import TcpConnector
from tests.session.stages import GRANT, Script, Upstream

APP01 = Target("app01")
OLD = Shell(APP01, "10.0.0.1", 2222, started_by_us=True)
NEW = Shell(APP01, "10.0.0.2", 2222, started_by_us=True)


@dataclass
class Pods:
    """Pods of which only those in `alive` answer. `found` are the results of look-ups; the last one repeats.

    A dial to any other pod raises `error`, or waits for its whole time if `is_silent`.
    """

    alive: set[str]
    found: list[Shell | None]
    error: type[OSError] = ConnectionRefusedError
    is_silent: bool = False
    dialled: list[str] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)

    async def resolve(self, host: str) -> tuple[Address, ...]:
        raise AssertionError("an address needs no look-up")

    async def dial(self, addresses: tuple[Address, ...], port: int, timeout_s: float) -> Upstream:
        self.dialled += [str(address) for address in addresses]
        self.timeouts.append(timeout_s)
        if str(addresses[0]) not in self.alive:
            if self.is_silent:
                await asyncio.sleep(timeout_s)
                raise TimeoutError
            raise self.error
        return Upstream(Script())

    async def find(self, target: Target) -> Shell | None:
        return self.found.pop(0) if len(self.found) > 1 else self.found[0]

    def connector(self, timeout_s: float = 5.0) -> TcpConnector:
        return TcpConnector(
            self.resolve, self.dial, lambda a, _: str(a) == "10.0.0.66", timeout_s, self.find
        )


def ready(shell: Shell) -> ReadyShell:
    return ReadyShell(GRANT, shell)


async def test_a_pod_that_was_replaced_is_found_at_its_new_address() -> None:
    pods = Pods({"10.0.0.2"}, [OLD, None, NEW], TimeoutError)
    async with asyncio.timeout(60):
        reached = await pods.connector(60).connect(ready(OLD))
    assert isinstance(reached, Upstream)
    assert pods.dialled == ["10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2"]


async def test_a_silent_pod_is_left_early_for_its_successor() -> None:
    """A login must not wait two seconds for a pod that was stopped when another one is ready."""
    pods = Pods({"10.0.0.2"}, [OLD, NEW], is_silent=True)
    async with asyncio.timeout(60):
        reached = await pods.connector(60).connect(ready(OLD))
    assert isinstance(reached, Upstream)
    assert pods.dialled == ["10.0.0.1", "10.0.0.1", "10.0.0.2"]
    assert pods.timeouts[:2] == [connect.FIRST_TRY_S, 2 * connect.FIRST_TRY_S], (
        "a shell behind a slow network needs more time"
    )


async def test_only_a_tunnel_that_is_resumed_has_the_whole_time_for_its_endpoint() -> None:
    pods = Pods(set(), [None])
    shell = Shell(APP01, "10.0.0.1", 2222, started_by_us=True, resume_port=2223)
    for is_required in (False, True):
        denial = await pods.connector().connect_endpoint(shell, is_required=is_required)
        assert isinstance(denial, Denial)
    assert pods.timeouts == [connect.ENDPOINT_TIMEOUT_S, connect.DIAL_TIMEOUT_S]


async def test_a_refusal_names_the_time_that_was_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "ENDPOINT_TIMEOUT_S", 0.2)
    pods = Pods(set(), [OLD], is_silent=True)
    static = Shell(APP01, "10.0.0.1", 2222, started_by_us=True, resume_port=2223)
    assert (
        0.2 <= waited_s(await pods.connector(60).connect_endpoint(static, is_required=False)) < 30
    )
    assert 0.9 <= waited_s(await pods.connector(0.9).connect(ready(OLD))) < 30, "with all its tries"
    assert len(pods.timeouts) > 2


def waited_s(denial: object) -> float:
    assert isinstance(denial, Denial)
    words = re.fullmatch(r"the shell app01-ssh did not answer within ([\d.]+) s", denial.message)
    assert words is not None, denial.message
    return float(words[1])


async def test_when_time_is_up_the_last_failure_is_given() -> None:
    pods = Pods(set(), [OLD])
    reached = await pods.connector(0.5).connect(ready(OLD))
    assert isinstance(reached, Denial)
    assert reached.reason is Reason.UPSTREAM_REFUSED
    assert len(pods.dialled) > 1


async def test_a_new_address_passes_the_filter_like_the_first() -> None:
    gateway = Shell(APP01, "10.0.0.66", 2222, started_by_us=True)
    pods = Pods({"10.0.0.66"}, [gateway])
    reached = await pods.connector().connect(ready(OLD))
    assert isinstance(reached, Denial)
    assert reached.reason is Reason.ADDRESS_NOT_ALLOWED
    assert pods.dialled == ["10.0.0.1"]


async def test_what_we_did_not_start_is_dialled_once() -> None:
    pods = Pods(set(), [NEW])
    static = Shell(APP01, "10.0.0.1", 22)

    async def resolve(host: str) -> tuple[Address, ...]:
        from ipaddress import ip_address

        return (ip_address(host),)

    pods.resolve = resolve  # type: ignore[method-assign]
    reached = await pods.connector().connect(ready(static))
    assert isinstance(reached, Denial)
    assert pods.dialled == ["10.0.0.1"]


STATIC = Shell(APP01, "shell.internal", 22)


class Server(Pods):
    """A source of one static server, by name."""

    async def resolve(self, host: str) -> tuple[Address, ...]:
        return (ip_address("10.0.0.9"),)


async def test_whether_a_server_answers_is_looked_at_once_for_all_who_ask() -> None:
    server = Server({"10.0.0.9"}, [None])
    looking = server.connector()
    assert await asyncio.gather(*(looking.is_answering(STATIC) for _ in range(20))) == [True] * 20
    assert server.dialled == ["10.0.0.9"]


async def test_a_server_that_was_stopped_is_seen_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server({"10.0.0.9"}, [None])
    looking = server.connector()
    assert await looking.is_answering(STATIC)
    server.alive.clear()
    assert await looking.is_answering(STATIC), "for a while, what was seen holds"
    monkeypatch.setattr(connect, "PROBE_AGAIN_S", 0.0)
    assert not await looking.is_answering(STATIC)


async def test_a_login_that_was_refused_is_known_at_once() -> None:
    """A listing said "ready", and the login before it that nothing listens there."""
    server = Server({"10.0.0.9"}, [None])
    looking = server.connector()
    assert await looking.is_answering(STATIC)
    server.alive.clear()
    assert isinstance(await looking.connect(ready(STATIC)), Denial)
    assert not await looking.is_answering(STATIC)
    server.alive.add("10.0.0.9")
    assert isinstance(await looking.connect(ready(STATIC)), Upstream)
    assert await looking.is_answering(STATIC)


async def test_a_look_goes_past_no_filter_of_addresses() -> None:
    server = Server({"127.0.0.1"}, [None])
    server.resolve = lambda host: loopback()  # type: ignore[method-assign]
    assert not await server.connector().is_answering(STATIC)
    assert server.dialled == []


async def loopback() -> tuple[Address, ...]:
    return (ip_address("127.0.0.1"),)
