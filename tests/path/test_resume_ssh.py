"""The real ssh over `stagedoor tunnel`, through a wire that is cut again and again: ssh notices nothing."""

import hashlib
import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from acceptance import features
from stagedoor.admin.sessions import list_sessions
from stagedoor.demo.clients import TUNNEL, DemoClient, DemoLogin, ProxyCommand, make_tunnel_command
from stagedoor.laptop.tunnel.onefile import build_tunnel_file
from stagedoor.model.units import MIB
from tests.path.conftest import GatewayEntry, here
from tests.path.wire_cut import cutting
from tests.waiting import wait_until

BULK_BYTES = 24 * MIB


def new_seed() -> int:
    seed = int(os.environ.get("STAGEDOOR_CUTS", random.randrange(1 << 30)))
    print(f"STAGEDOOR_CUTS={seed}")
    return seed


def in_one_file(login: DemoLogin) -> ProxyCommand:
    """Return the ProxyCommand of a laptop that has the client as one file."""
    file = login.folder / "tun.py"
    file.write_bytes(build_tunnel_file())
    return ProxyCommand(make_tunnel_command(replace(login, tunnel=(sys.executable, str(file)))))


ONE_FILE = DemoClient("the tunnel's one file", None, None, in_one_file)


@pytest.mark.parametrize("client", [TUNNEL, ONE_FILE], ids=["installed", "one file"])
def test_a_counter_counts_on_through_cuts(
    entry: GatewayEntry, tmp_path: Path, client: DemoClient
) -> None:
    def drive() -> None:
        with cutting(entry.gateway.port(), new_seed(), most=4000) as wire:
            reach = entry.through(client, tmp_path, wire.port)
            done = reach.ssh("i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done; exit 7")
            assert done.code == 7, done.said
            assert done.stdout.split() == [str(number).encode() for number in range(3000)]
            assert wire.cuts >= 3

    here(drive)


@pytest.mark.parametrize(
    "feature",
    [
        features.scp,
        features.scp_legacy,
        features.sftp,
        features.rsync,
        features.sshfs,
        features.control_master,
        features.tmux,
        features.git_clone,
    ],
)
def test_what_developers_do_works_through_cuts(
    entry: GatewayEntry, tmp_path: Path, feature: features.Feature
) -> None:
    def drive() -> None:
        with cutting(entry.gateway.port(), new_seed(), most=20_000) as wire:
            feature(entry.through(TUNNEL, tmp_path, wire.port), tmp_path)

    here(drive)


def test_bulk_both_ways_at_once_arrives_whole_through_cuts(
    entry: GatewayEntry, tmp_path: Path
) -> None:
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(random.Random(3).randbytes(BULK_BYTES))

    def drive() -> None:
        with cutting(entry.gateway.port(), new_seed(), most=4 * MIB) as wire:
            reach = entry.through(TUNNEL, tmp_path, wire.port)
            done = reach.run(
                reach.argv("ssh", reach.host, "tee >(sha256sum >&2)"),
                stdin=sent, stdout=back, timeout_s=100,
            )  # fmt: skip
            assert done.code == 0, done.stderr
            assert digest(sent) in done.stderr
            assert digest(back) == digest(sent)
            assert wire.cuts >= 10

    here(drive)


def test_a_connection_that_falls_silent_is_replaced(entry: GatewayEntry, tmp_path: Path) -> None:
    def drive() -> None:
        with cutting(entry.gateway.port(), 1, most=9000, modes=("silence",), cuts=1) as wire:
            reach = entry.through(TUNNEL, tmp_path, wire.port)
            typed = b"typed" * 40_000
            done = reach.ssh("cat; exit 7", stdin=typed)
            assert done.code == 7, done.said
            assert done.stdout == typed
            assert wire.cuts == 1

    here(drive)


def test_a_session_ends_with_its_ssh(entry: GatewayEntry, tmp_path: Path) -> None:
    """ssh hangs up on its ProxyCommand as it exits (SIGHUP), whatever is still on its way."""

    def drive() -> None:
        reach = entry.through(TUNNEL, tmp_path, entry.gateway.port())
        done = reach.ssh("true")
        assert done.code == 0, done.said

    def sessions() -> set[str]:
        with entry.gateway.service() as service:
            return {session.id for session in list_sessions(service)}

    before = sessions()
    here(drive)
    wait_until(lambda: sessions() <= before, what="the session is still open")


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
