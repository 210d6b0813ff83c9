"""The controller's process and a store that is away."""

import asyncio
import json
import os
import signal
from pathlib import Path

from stagedoor.admin import service as admin
from stagedoor.admin.certificates.authorities import ensure_cas, ensure_user_key
from stagedoor.serve.controller import ControllerManager
from stagedoor.serve.prepare import prepare
from stagedoor.settings.file import parse_settings
from stagedoor.store.database import open_database
from stagedoor.store.watch import PolicyWatch
from stagedoor.wire.target import parse_login
from tests.ports import free_port
from tests.waiting import BOUND_S

KUBECONFIG = {
    "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {}}],
}


async def test_a_store_that_is_away_takes_nobody_out_of_a_shell_s_keys(tmp_path: Path) -> None:
    """Else each shell that is looked at after 30 s of outage loses its keys, with people in it."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(KUBECONFIG))
    settings = parse_settings(
        f'data_dir = "{tmp_path}/data"\n[controller]\nkit_image = "kit:1"\nnamespace = "x"\n'
        f'[kubernetes]\nnamespaces = {{ "" = "x" }}\nkubeconfig = "{kubeconfig}"\n'
        '[keys]\nprincipal_prefix = "sd:"\n',
        "test",
    )
    prepare(settings)
    with admin.open_service(settings) as service:
        admin.add_user(service, "ann")
        admin.add_keys(service, "ann", [ensure_user_key(tmp_path / "key")])
        admin.add_grant(service, "user:ann", "app01")
    target = parse_login("app01")
    assert target is not None
    process = ControllerManager(settings, health=False)
    process.database = open_database(settings.store_location)
    process.watch = PolicyWatch(
        process.database,
        "one",
        on_change=lambda _: None,
        on_close_requests=lambda _: None,
        on_problem=lambda _: None,
        fail_closed_after_s=-1.0,  # unread for too long, whenever it was read
    )
    try:
        assert not process.watch.policy.users
        assert [admission.principal for admission in process.list_admissions(target)] == ["sd:ann"]
    finally:
        await process.close_parts()


async def test_one_that_starts_while_the_store_is_away_waits_inside(tmp_path: Path) -> None:
    """To end and be started again costs more than the outage: the cluster waits longer each time."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(KUBECONFIG))
    settings = parse_settings(
        f'data_dir = "{tmp_path}/data"\n[controller]\nkit_image = "kit:1"\nnamespace = "x"\n'
        f'[kubernetes]\nnamespaces = {{ "" = "x" }}\nkubeconfig = "{kubeconfig}"\n'
        f'[store]\nurl = "postgresql://x@127.0.0.1:{free_port()}/x"\n',
        "test",
    )
    ensure_cas(settings)
    process = ControllerManager(settings, health=False)
    running = asyncio.create_task(process.run())
    async with asyncio.timeout(BOUND_S):
        while not process._waits_for_store:
            await asyncio.sleep(0.05)
        assert not running.done()
        assert process.watch is None
        os.kill(os.getpid(), signal.SIGTERM)
        await running
