"""Local shells do what every kind of shell must."""

from collections.abc import Iterator

import pytest

from stagedoor.shells.local.adapter import LocalShells
from stagedoor.shells.local.settings import LocalShell
from tests.fixtures.people import APP01
from tests.shells.conformance import *  # noqa: F403 - the suite
from tests.shells.conformance import Kind
from tests.shells.host import ShellHost


@pytest.fixture
def kind(host: ShellHost) -> Iterator[Kind]:
    made: list[LocalShells] = []
    signed: list[str] = []

    def sign(key: str, names: tuple[str, ...]) -> str:
        signed.append(key)
        return host.host_ca.sign_host(key, names, 3600)

    def make() -> LocalShells:
        made.append(host.shells(sign_host=sign))
        return made[-1]

    def broken() -> LocalShells:
        made.append(host.shells(LocalShell("app01", directory="/no/such/directory")))
        return made[-1]

    yield Kind(APP01, make, lambda: len(signed), True, broken)
    host.shells().stop_all()
