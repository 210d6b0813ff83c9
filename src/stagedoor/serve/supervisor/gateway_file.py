"""The detection of other gateways that serve from the same `data_dir` by other settings.

Each gateway keeps a locked file there, as workers do (`store.liveness.instances`).
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from stagedoor.model.errors import StoreError
from stagedoor.serve.prepare import VerifiedSettings
from stagedoor.store.liveness.instances import (
    InstanceLock,
    LockState,
    hold_instance,
    lock_state,
    make_instance_id,
    remove_lock,
)

_NOTE_BYTES = 4096


class GatewayFile:
    """The file by which this gateway shows its settings to other gateways."""

    def __init__(self) -> None:
        self._held: InstanceLock | None = None

    def announce(self, checked: VerifiedSettings) -> list[str]:
        """Write which settings this gateway serves by, and warn of other gateways.

        Returns one line for each gateway that has other settings. Raises StoreError.
        """
        folder = checked.settings.data_dir / "gateways"
        if self._held is None:
            self._held = hold_instance(folder, make_instance_id())
        digest = hashlib.sha256(repr(checked.settings).encode()).hexdigest()
        own = folder / f"{self._held.instance}.lock"
        with suppress(OSError):  # a full disk: other gateways just do not warn
            own.write_text(json.dumps({"settings": digest, "file": checked.name}))
        return [
            f"the gateway {file.stem} serves from the same data_dir by other settings ({name}): users, "
            "grants and keys are the same for both; stop one of them, or give it a data_dir of its own"
            for file in sorted(folder.glob("*.lock"))
            if file != own and (name := _other(file, digest)) is not None
        ]

    def remove(self) -> None:
        """Remove the file, if there is one."""
        if self._held is not None:
            self._held.release()
            self._held = None


def _other(file: Path, digest: str) -> str | None:
    """Return the settings file of a running gateway if its settings differ, else None."""
    try:
        if lock_state(file.parent, file.stem) is not LockState.LIVES:
            remove_lock(file.parent, file.stem)
            return None
        with file.open(encoding="utf-8") as text:
            note = json.loads(text.read(_NOTE_BYTES))
        return None if note["settings"] == digest else str(note["file"])
    except (OSError, StoreError, ValueError, KeyError, TypeError):
        return None  # it is just starting, or the file belongs to another account
