"""Which other gateways serve from the same `data_dir`, and whether by the same settings.

Each keeps a locked file there, as workers do (`store.liveness.instances`).
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from stagedoor.model.errors import StoreError
from stagedoor.serve.prepare import VerifiedSettings
from stagedoor.store.liveness.instances import (
    InstanceLock,
    Sign,
    hold_instance,
    new_instance_id,
    sign_of,
    take_down,
)

_NOTE_BYTES = 4096


class GatewayFile:
    """One gateway's file among the others'."""

    def __init__(self) -> None:
        self._held: InstanceLock | None = None

    def announce(self, checked: VerifiedSettings) -> list[str]:
        """Show by what settings this gateway serves now; one line for each other one with others.

        Raises StoreError.
        """
        folder = checked.settings.data_dir / "gateways"
        if self._held is None:
            self._held = hold_instance(folder, new_instance_id())
        digest = hashlib.sha256(repr(checked.settings).encode()).hexdigest()
        own = folder / f"{self._held.instance}.lock"
        with suppress(OSError):  # a full disk: the others are not told, and that is all
            own.write_text(json.dumps({"settings": digest, "file": checked.name}))
        return [
            f"the gateway {file.stem} serves from the same data_dir by other settings ({name}): users, "
            "grants and keys are the same for both; stop one of them, or give it a data_dir of its own"
            for file in sorted(folder.glob("*.lock"))
            if file != own and (name := _other(file, digest)) is not None
        ]

    def close(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None


def _other(file: Path, digest: str) -> str | None:
    """Of which file a gateway that lives has its settings, if they are others."""
    try:
        if sign_of(file.parent, file.stem) is not Sign.LIVES:
            take_down(file.parent, file.stem)
            return None
        with file.open(encoding="utf-8") as text:
            note = json.loads(text.read(_NOTE_BYTES))
        return None if note["settings"] == digest else str(note["file"])
    except (OSError, StoreError, ValueError, KeyError, TypeError):
        return None  # it is just starting, or somebody else's
