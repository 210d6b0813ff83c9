"""Copying the SQLite store of one machine to the store that the settings name."""

from pathlib import Path

from stagedoor.admin.service import AdminService
from stagedoor.model.errors import RefusedError
from stagedoor.store.copy import copy_rows
from stagedoor.store.database import open_database
from stagedoor.store.liveness.instances import LockState, find_instances_folder, lock_state


def migrate_store(service: AdminService, file: Path) -> dict[str, int]:
    """Copy the SQLite store in `file`. Return how many rows were copied, by table. Audited.

    Raises StoreError, and RefusedError if a gateway still uses `file` or the service's store is not empty.
    """
    folder = find_instances_folder(file.parent)
    for lock in sorted(folder.glob("*.lock")):
        if lock_state(folder, lock.stem) is LockState.LIVES:
            raise RefusedError(f"a gateway runs on {file}; stop it first, so that nothing is lost")
    source = open_database(file, create=False)
    try:
        with service.change("store.copy") as change:
            copied = copy_rows(source, change.transaction)
            change.fields |= {"from": str(file), **copied}
    finally:
        source.close()
    return copied
