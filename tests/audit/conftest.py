from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedoor.audit.ledger import AuditLedger
from tests.audit.sample import Disk
from tests.store.server import PostgresqlHere


@pytest.fixture(params=["sqlite", "postgresql"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """Yield a store, once of each kind: the tests of the audit hold on all of them."""
    if request.param == "sqlite":
        made = Disk(tmp_path / "disk" / "stagedoor.db")
        yield made
        made.database.close()
        return
    here: PostgresqlHere = request.getfixturevalue("postgresql")
    server = here.filled()
    made = Disk(server)
    yield made
    made.database.close()
    here.drop(server)


@pytest.fixture
def ledger(disk: Disk) -> Iterator[AuditLedger]:
    made = AuditLedger(
        disk, "worker-1", retry_s=(0.01, 0.02), group_commit_s=0.01, open_timeout_s=10
    )
    made.start()
    yield made
    disk.recover()
    made.stop(20)
