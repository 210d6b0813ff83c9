"""Every stock ProxyCommand client and ours, through a wire that delays every write by 20 ms."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance import features
from acceptance.clients import CLIENTS, ProxyClient
from stagedoor.model.units import MIB
from tests.path.conftest import GatewayEntry, here
from tests.path.wire_delay import Wire, delaying
from tests.web.mover import digest_of

BULK_BYTES = 24 * MIB
"""Far more than all that lies between the ends can hold; how fast it goes is not tested here."""

each_client = pytest.mark.parametrize("client", CLIENTS, ids=[client.name for client in CLIENTS])


@pytest.fixture(scope="module")
def wire(entry: GatewayEntry) -> Iterator[Wire]:
    with delaying(entry.gateway.port()) as wire:
        yield wire


@pytest.mark.continuity(13)
@each_client
def test_a_login_s_exit_code_comes_back_over_a_long_wire(
    entry: GatewayEntry, wire: Wire, client: ProxyClient, tmp_path: Path
) -> None:
    before = wire.chunks
    here(lambda: features.login(entry.through(client, tmp_path, wire.port), tmp_path))
    assert wire.chunks - before >= 10, "it did not go over the wire"


@pytest.mark.continuity(13)
@each_client
def test_bulk_both_ways_at_once_arrives_whole_over_a_long_wire(
    entry: GatewayEntry, wire: Wire, client: ProxyClient, tmp_path: Path
) -> None:
    """It goes up and comes back at the same time, each way with its own sum."""
    sent, back = tmp_path / "sent", tmp_path / "back"
    block = os.urandom(MIB)
    with sent.open("wb") as file:
        for number in range(BULK_BYTES // MIB):
            file.write(number.to_bytes(8, "big") + block[8:])

    def drive() -> None:
        reach = entry.through(client, tmp_path, wire.port)
        # The sum on stderr is the shell's own, so that each way is judged by itself.
        command = "tee >(sha256sum >&2)"
        done = reach.run(
            reach.argv("ssh", reach.host, f"bash -c '{command}'"),
            stdin=sent, stdout=back, timeout_s=100,
        )  # fmt: skip
        assert done.code == 0, done.stderr
        assert digest_of(sent) in done.stderr
        assert digest_of(back) == digest_of(sent)

    here(drive)
