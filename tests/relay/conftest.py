"""The relay by splice and by the pump."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.net.peers import write_certificate
from tests.relay.harness import RelayHarness


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["splice", pytest.param("tls", marks=pytest.mark.line(38))])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_harness(
    kind: str, certificate: tuple[Path, Path]
) -> Iterator[Callable[..., RelayHarness]]:
    harnesses: list[RelayHarness] = []

    def make(**options: Any) -> RelayHarness:
        harnesses.append(RelayHarness(kind, certificate, **options))
        return harnesses[-1]

    yield make
    for harness in harnesses:
        harness.close()


@pytest.fixture
def harness(make_harness: Callable[..., RelayHarness]) -> RelayHarness:
    return make_harness()
