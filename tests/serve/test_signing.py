"""Certificates over the control channel: a worker asks, the supervisor answers, no request waits for ever."""

import asyncio
from pathlib import Path

import pytest

from stagedoor.admin.certificates.user_signer import CertificateError, TooManyCertificatesError
from stagedoor.model.errors import StagedoorError, StoreError
from stagedoor.serve.parts import certificates
from stagedoor.serve.parts.certificates import SupervisorCertificates
from stagedoor.serve.supervisor import signing
from stagedoor.serve.supervisor.control import (
    Sign,
    Signed,
    encode_line,
    read_from_worker,
    read_to_worker,
)
from stagedoor.serve.supervisor.signing import SigningService
from stagedoor.settings.settings import Settings


class Scripted:
    """A signer that answers, or raises, what `says` has for a key."""

    def __init__(self, **says: str | Exception) -> None:
        self.says = says
        self.closed = 0

    def sign(self, user: str, number: int, public_key: str, ends_at: float) -> str:
        said = self.says[public_key]
        if isinstance(said, Exception):
            raise said
        return f"{said} {user} {number} {ends_at:g}"

    def close_store(self) -> None:
        self.closed += 1


def channel(service: SigningService) -> SupervisorCertificates:
    """A worker's end, whose lines reach `service` as over the pipes."""
    tasks: set[asyncio.Task[None]] = set()

    async def carry(request: Sign) -> None:
        asked = read_from_worker(encode_line(request))
        assert isinstance(asked, Sign)
        answer = read_to_worker(encode_line(await service.answer(asked)))
        assert isinstance(answer, Signed)
        asking.resolve(answer)

    def send(request: Sign) -> None:
        task = asyncio.get_running_loop().create_task(carry(request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    asking = SupervisorCertificates(send)
    return asking


async def test_answers_reach_whoever_asked() -> None:
    signer = Scripted(one="first", two="second")
    service = SigningService(lambda _: signer)  # type: ignore[arg-type, return-value]  # a script
    service.apply_settings(Settings())
    asking = channel(service)
    both = await asyncio.gather(
        asking.sign("alice", 2**63 - 1, "one", 9.0), asking.sign("bob", 2, "two", 8.5)
    )
    assert both == [f"first alice {2**63 - 1} 9", "second bob 2 8.5"]
    await asyncio.to_thread(service.close_store)
    assert signer.closed == 1


@pytest.mark.identity(26)
async def test_what_goes_wrong_is_told_by_its_kind_and_without_our_insides() -> None:
    signer = Scripted(
        over=CertificateError("your sign-in is over"),
        often=TooManyCertificatesError("in 7 s", 7),
        store=StoreError("/secret/place is full", "no audit"),
        agent=StagedoorError("the agent at /secret/place is gone"),
        fault=ValueError("/secret/place"),
    )
    service = SigningService(lambda _: signer)  # type: ignore[arg-type, return-value]  # a script
    service.apply_settings(Settings())
    asking = channel(service)
    for key, words in (
        ("over", "your sign-in is over"),
        ("often", "in 7 s"),
        ("store", "no audit"),
        ("agent", "does not sign now"),
        ("fault", "a fault"),
    ):
        with pytest.raises(CertificateError, match=words) as refused:
            await asking.sign("alice", 1, key, 9.0)
        assert "/secret" not in str(refused.value)
        assert isinstance(refused.value, TooManyCertificatesError) == (key == "often")
    await asyncio.to_thread(service.close_store)


async def test_a_reload_takes_the_new_store_and_ca_and_closes_the_old_one() -> None:
    made: list[Scripted] = []

    def open_signer(settings: Settings) -> Scripted:
        made.append(Scripted(key=str(settings.data_dir)))
        return made[-1]

    service = SigningService(open_signer)  # type: ignore[arg-type]  # a script
    asking = channel(service)
    for folder in ("/one", "/one", "/two"):
        service.apply_settings(Settings(data_dir=Path(folder)))
        assert (await asking.sign("alice", 1, "key", 9.0)).startswith(folder)
    await asyncio.to_thread(service.close_store)
    await asyncio.to_thread(service.close_store)
    assert [entry.closed for entry in made] == [1, 1]


async def test_a_flood_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "WAITING", 2)
    service = SigningService(lambda _: Scripted(key="done"))  # type: ignore[arg-type, return-value]  # a script
    service.apply_settings(Settings())
    asking = channel(service)
    many = [asking.sign("alice", 1, "key", 9.0) for _ in range(5)]
    outcomes = await asyncio.gather(*many, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, TooManyCertificatesError)]
    assert len(refused) == 3
    assert refused[0].retry_after_s == signing.BUSY_S
    await asyncio.to_thread(service.close_store)


async def test_nobody_waits_for_a_supervisor_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    asking = SupervisorCertificates(lambda _: None)
    waiting = asyncio.create_task(asking.sign("alice", 1, "key", 9.0))
    await asyncio.sleep(0)
    asking.fail_all()
    with pytest.raises(CertificateError, match="stopping"):
        await waiting
    with pytest.raises(CertificateError, match="stopping"):
        await asking.sign("alice", 1, "key", 9.0)
    asking.resolve(Signed(1, "late"))
    monkeypatch.setattr(certificates, "ANSWER_S", 0.01)
    with pytest.raises(CertificateError, match="not signed in time"):
        await SupervisorCertificates(lambda _: None).sign("alice", 1, "key", 9.0)
