"""The file with which a gateway shows commands and other gateways what it is doing.

Like a worker (`store.liveness.instances`), each gateway keeps a locked file in `data_dir`. It contains a
`GatewayNote`, possibly of a gateway of an earlier or later version.
"""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

import stagedoor
from stagedoor.model.errors import StoreError
from stagedoor.serve.prepare import VerifiedSettings
from stagedoor.settings.safe_files import hold_open, open_unplanted
from stagedoor.store.liveness.instances import (
    InstanceLock,
    LockState,
    hold_instance,
    list_live,
    lock_state,
    make_instance_id,
    remove_lock,
)

GATEWAYS = "gateways"
"""The folder of the files in `data_dir`."""
_NOTE_BYTES = 1 << 14
_TEXT_CHARACTERS = 1000


class UpgradeNote(msgspec.Struct, frozen=True):
    """The last requested upgrade. `number` counts them from 1.

    `state` is `running`, `done` or `failed`. `text` is the step that the new program has begun, or why it did
    not take over.
    """

    number: int = 0
    state: str = "done"
    text: str = ""


class GatewayNote(msgspec.Struct, frozen=True):
    """The contents of the file. Fields that an older gateway does not write have their defaults.

    `settings` is a digest of the settings, `file` their file, and `program` marks the program on the disk
    (`read_program_mark`). A gateway that is `retired` has handed over, and runs until its last session is
    over. `predecessor` is the process that handed over to this one, or 0.
    """

    settings: str
    file: str
    pid: int = 0
    version: str = ""
    program: str = ""
    predecessor: int = 0
    retired: bool = False
    sessions: int = 0
    upgrade: UpgradeNote = UpgradeNote()


def read_program_mark() -> str:
    """Return a mark of the program on the disk, which changes at each replacement of the program."""
    status = Path(stagedoor.__file__).stat()
    return f"{status.st_dev}-{status.st_ino}-{status.st_ctime_ns}"


def read_notes(data_dir: Path) -> Mapping[str, GatewayNote]:
    """Return the notes of the running gateways, by the names of their files. Raises StoreError.

    The gateway's account can write anything there, so other accounts must not trust a note.
    """
    folder = data_dir / GATEWAYS
    notes = {name: _read(folder / f"{name}.lock") for name in list_live(folder)}
    return {name: note for name, note in notes.items() if note is not None}


class GatewayFile:
    """The file of this gateway."""

    def __init__(self) -> None:
        self._held: InstanceLock | None = None
        self._file = Path()
        self._size = 0
        self.note = GatewayNote("", "")
        self._program = read_program_mark()
        """As it was when this process started."""

    def announce(self, checked: VerifiedSettings, predecessor: int = 0) -> list[str]:
        """Write which settings this gateway uses, and warn of other gateways.

        `predecessor` is the process that handed over to this one. Returns one line for each gateway that has
        other settings. Raises StoreError.
        """
        folder = checked.settings.data_dir / GATEWAYS
        if self._held is None:
            self._held = hold_instance(folder, make_instance_id())
            self._file = folder / f"{self._held.instance}.lock"
        digest = hashlib.sha256(repr(checked.settings).encode()).hexdigest()
        self.write(
            settings=digest,
            file=checked.name,
            pid=os.getpid(),
            version=stagedoor.__version__,
            program=self._program,
            predecessor=predecessor,
        )
        return [
            f"the gateway {file.stem} serves from the same data_dir by other settings ({name}): users, "
            "grants and keys are the same for both; stop one of them, or give it a data_dir of its own"
            for file in sorted(folder.glob("*.lock"))
            if file != self._file and (name := _find_other(file, digest)) is not None
        ]

    def write(self, **changes: object) -> None:
        """Change fields of the note, and write it if the gateway has been announced."""
        self.note = msgspec.structs.replace(self.note, **changes)
        if self._held is not None:
            text = msgspec.json.encode(self.note)
            # Never shorter, so that a reader sees either note in full.
            self._size = max(self._size, len(text))
            # A full disk: commands and other gateways see the older note.
            with suppress(OSError), self._file.open("r+b", buffering=0) as file:
                file.write(text.ljust(self._size))

    def write_upgrade(self, **changes: object) -> None:
        """Change fields of the note on the upgrade."""
        upgrade = msgspec.structs.replace(self.note.upgrade, **changes)
        text = upgrade.text[:_TEXT_CHARACTERS]
        self.write(upgrade=msgspec.structs.replace(upgrade, text=text))

    def remove(self) -> None:
        """Remove the file, if there is one."""
        if self._held is not None:
            self._held.release()
            self._held = None


def _read(file: Path) -> GatewayNote | None:
    try:
        with hold_open(open_unplanted(file, os.O_RDONLY | os.O_NONBLOCK)) as fd:
            return msgspec.json.decode(os.read(fd, _NOTE_BYTES), type=GatewayNote)
    except (OSError, msgspec.DecodeError):
        return None  # it is just starting or writing, or the file belongs to another account


def _find_other(file: Path, digest: str) -> str | None:
    """Return the settings file of a running gateway if its settings differ, else None.

    The file of a dead gateway is removed. The note is read first: a gateway writes it only while it holds the
    lock, so an unlocked file that had a note before is not that of a gateway which just starts.
    """
    note = _read(file)
    if note is None:
        return None
    try:
        if lock_state(file.parent, file.stem) is not LockState.LIVES:
            remove_lock(file.parent, file.stem)
            return None
    except (OSError, StoreError):
        return None
    if note.retired or note.settings == digest:
        return None
    return note.file
