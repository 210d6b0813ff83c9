"""Local shells do what every kind of shell must."""

from collections.abc import Iterator

import pytest

from stagedoor.shells.local import LocalShell, LocalShells
from tests.shells.conformance import *  # noqa: F403 - the suite
from tests.shells.conformance import Kind
from tests.shells.world import APP01, World


@pytest.fixture
def kind(world: World) -> Iterator[Kind]:
    made: list[LocalShells] = []
    signed: list[str] = []

    def sign(key: str, names: tuple[str, ...]) -> str:
        signed.append(key)
        return world.host_ca.sign_host(key, names, 3600)

    def make() -> LocalShells:
        made.append(world.shells(sign_host=sign))
        return made[-1]

    def broken() -> LocalShells:
        made.append(world.shells(LocalShell("app01", directory="/no/such/directory")))
        return made[-1]

    yield Kind(APP01, make, lambda: len(signed), True, broken)
    world.shells().stop_all()
