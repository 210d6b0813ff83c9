"""The end of a sign-in is heard at every gateway of a PostgreSQL store, by all four access methods."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stagedoor.settings.store_location import StoreServer
from tests.login.everywhere import BY_SSH, SignIn, two_gateways
from tests.store.server import PostgresqlHere
from tests.waiting import wait_until

METHODS = (*BY_SSH, "web")


@pytest.mark.identity(27)
def test_the_end_of_a_sign_in_closes_what_it_opened_by_each_method_at_both(
    tmp_path: Path, postgresql: PostgresqlHere
) -> None:
    """Some 15 s: two gateways start, and shells at both of them. That it takes no more than five seconds is
    measured by `bench/sign_in.py`, since a busy machine's share is in it."""
    server: StoreServer = postgresql.filled()
    try:
        with two_gateways(tmp_path, server) as gateways:
            with closing(SignIn(tmp_path / "mine", gateways[0])) as mine:
                for gateway in gateways:
                    gateway.wait_for_policy()
                    mine.open_at(gateway)
                took = mine.end()
            assert set(took) == {f"{way} gateway{n}" for way in METHODS for n in range(2)}
            for name, said in mine.said.items():
                # CONNECT and a jump carry SSH from end to end: what the client hears is a line cut.
                if name.split()[0] in ("direct", "web"):
                    assert "laptop stolen" in said, name

            def closed() -> list[dict[str, Any]]:
                return [e for e in gateways[0].audit() if e["kind"] == "session.closed"]

            # Each gateway writes its own a moment after the line is cut.
            wait_until(lambda: len(closed()) >= len(took), costly=True)
            assert len(closed()) == len(took)
            for event in closed():
                assert event["reason"] == "revoked"
                assert "laptop stolen" in event["fields"]["detail"]
    finally:
        postgresql.drop(server)
