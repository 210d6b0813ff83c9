"""Keys in a shell end by themselves, unnoticed as long as a controller works."""

import asyncio
import re
from base64 import b64decode
from dataclasses import replace

import pytest

from stagedoor.model.cluster import Kind
from stagedoor.model.denial import Denial
from stagedoor.model.grant import Admission
from stagedoor.model.shell import Shell
from stagedoor.model.units import HOUR_S, MINUTE_S
from stagedoor.shells.authorized import KEYS_LEASE_S, drop_expired
from stagedoor.shells.kubernetes.derive import objects
from stagedoor.shells.kubernetes.derive.annotations import AppSettings
from stagedoor.wire.ssh.krl import encode_revoked_serials
from tests.controller.test_stories import APP01, SETTLED_S, Story, now, story
from tests.virtual_time import in_virtual_time

ALICE, BOB = (Admission(name, (f"ssh-ed25519 AAAA{name}",)) for name in ("alice", "bob"))
CONFIG = (Kind.CONFIG_MAP, "apps", "app01-ssh")


def good(it: Story) -> set[str]:
    """Whose key the shell's sshd takes now, by either file."""
    data = it.cluster.objects[CONFIG]["data"]
    by_key = drop_expired(data["authorized_keys"], now())
    by_name = drop_expired(data["authorized_principals"], now())
    principals = {line.split()[-1] for line in by_key.splitlines()}
    assert principals == {line.split()[-1] for line in by_name.splitlines()}
    return principals


@in_virtual_time
async def test_keys_are_good_while_a_controller_works_and_end_without_one() -> None:
    async with story() as it:
        it.admitted[:] = [ALICE]
        await it.come()
        writes = len(it.cluster.asked)
        for _ in range(12 * 4):
            await asyncio.sleep(5 * MINUTE_S)
            assert good(it) == {"alice"}
        # Three times an hour: the ConfigMap, the pod, the Deployment.
        renewals = [
            request for request in it.cluster.asked[writes:] if request == "apply ConfigMap"
        ]
        assert len(renewals) in (11, 12, 13)
        it.lead_no_more()
        await asyncio.sleep(HOUR_S)
        assert good(it) == {"alice"}
        await asyncio.sleep(KEYS_LEASE_S - HOUR_S)
        assert good(it) == set()


@in_virtual_time
async def test_who_comes_to_a_shell_whose_keys_have_ended_is_told_so() -> None:
    async with story() as it:
        it.admitted[:] = [ALICE]
        await it.come()
        it.lead_no_more()
        await asyncio.sleep(KEYS_LEASE_S - 1)
        assert isinstance(await it.shells.start_without_grant(APP01, lambda step: None), Shell)
        await asyncio.sleep(2)
        refused = await it.shells.start_without_grant(APP01, lambda step: None)
        assert isinstance(refused, Denial)
        assert "no controller has renewed them" in refused.message
        it.lead(AppSettings())
        await asyncio.sleep(SETTLED_S)
        assert good(it) == {"alice"}
        assert isinstance(await it.shells.start_without_grant(APP01, lambda step: None), Shell)


@in_virtual_time
async def test_an_hour_without_the_api_ends_no_keys() -> None:
    async with story() as it:
        it.admitted[:] = [ALICE]
        await it.come()
        for _ in range(6):
            it.cluster.down = True
            await asyncio.sleep(HOUR_S)
            assert good(it) == {"alice"}
            it.cluster.down = False
            await asyncio.sleep(7 * MINUTE_S)
            assert good(it) == {"alice"}


@in_virtual_time
async def test_an_end_that_somebody_wrote_by_hand_is_put_right() -> None:
    async with story() as it:
        it.admitted[:] = [ALICE]
        await it.come()
        config = it.cluster.objects[CONFIG]
        for_ever = {name: re.sub("2027", "9999", text) for name, text in config["data"].items()}
        it.cluster.put({**config, "data": for_ever})
        await asyncio.sleep(SETTLED_S)
        it.lead_no_more()
        await asyncio.sleep(KEYS_LEASE_S + 1)
        assert good(it) == set()


@in_virtual_time
async def test_who_loses_a_right_loses_it_in_a_shell_that_could_not_be_made_now() -> None:
    async with story() as it:
        it.admitted[:] = [ALICE, BOB]
        await it.come()
        it.app(volumes="nonsense")
        it.admitted[:] = [ALICE]
        await asyncio.sleep(HOUR_S)
        assert good(it) == {"alice"}


@pytest.mark.identity(23)
@pytest.mark.parametrize("volumes", [None, "nonsense"], ids=["as ever", "could not be made now"])
@in_virtual_time
async def test_the_certificates_of_a_sign_in_that_has_ended_are_listed(volumes: str | None) -> None:
    async with story() as it:
        it.admitted[:] = [ALICE]
        await it.come()
        if volumes:
            it.app(volumes=volumes)

        def listed() -> bytes:
            return b64decode(it.cluster.objects[CONFIG]["binaryData"][objects.REVOKED])

        assert listed() == encode_revoked_serials(b"", [], 0)
        it.admitted[:] = [replace(ALICE, revoked=(7,))]
        await asyncio.sleep(HOUR_S)
        assert listed() == encode_revoked_serials(b"", [7], 0)
        it.admitted[:] = [ALICE]
        await asyncio.sleep(HOUR_S)
        assert listed() == encode_revoked_serials(b"", [], 0)


@in_virtual_time
async def test_nobody_new_logs_in_where_no_shell_is_offered_any_more() -> None:
    async with story() as it:
        it.admitted[:] = [ALICE]
        pod = await it.come()
        app = it.cluster.objects[Kind.DEPLOYMENT, "apps", "app01"]
        it.cluster.put({**app, "metadata": {**app["metadata"], "labels": {}}})
        await asyncio.sleep(SETTLED_S)
        assert good(it) == set()
        assert it.pods() == [pod], "who is inside stays"
