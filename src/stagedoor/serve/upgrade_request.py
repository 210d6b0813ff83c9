"""The request of `stagedoor upgrade` to the gateway that runs on this machine."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stagedoor.model.errors import NotFoundError, StagedoorError
from stagedoor.serve.supervisor.gateway_file import (
    GATEWAYS,
    GatewayNote,
    UpgradeNote,
    read_notes,
    read_program_mark,
)

POLL_S = 0.05
BEGIN_WITHIN_S = 20.0
"""How long the gateway may take to begin: a reload in progress comes first."""
GONE_WITHIN_S = 3.0
"""A note may be unreadable for a moment, while the gateway writes it."""
RESTART = "restart it: systemctl restart stagedoor"


@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """The result of an upgrade: the gateway that has retired, its sessions, and the one that serves."""

    old: GatewayNote
    new: GatewayNote
    sessions: int
    took_s: float


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway that can hand over: the name of its file, and the note in it."""

    data_dir: Path
    name: str
    note: GatewayNote

    @property
    def is_this_program(self) -> bool:
        """Return whether it runs the very program that is on the disk now."""
        return self.note.program == read_program_mark()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal. Raises StagedoorError."""
        # Its account wrote the process id. Root must not be led to signal the process of another account.
        try:
            if Path(f"/proc/{self.note.pid}").stat().st_uid != self.data_dir.stat().st_uid:
                raise StagedoorError(
                    f"{self.data_dir / GATEWAYS / self.name}.lock names the process {self.note.pid}, "
                    f"which belongs to another account than {self.data_dir}"
                )
            os.kill(self.note.pid, number)
        except OSError as error:
            raise StagedoorError(
                f"the gateway (process {self.note.pid}) cannot be signalled: {error.strerror}"
            ) from None


def find_gateway(data_dir: Path, settings_name: str) -> RunningGateway:
    """Return the gateway to upgrade: the one that runs by these settings, if there are several.

    Raises NotFoundError if none can hand over.
    """
    notes = {name: note for name, note in read_notes(data_dir).items() if not note.retired}
    if not notes:
        raise NotFoundError("no gateway runs on this machine; start it: systemctl start stagedoor")
    if len(notes) > 1:
        notes = {name: note for name, note in notes.items() if note.file == settings_name}
    if len(notes) != 1:
        raise NotFoundError(f"several gateways use {data_dir}; send SIGUSR2 to the one to upgrade")
    [(name, note)] = notes.items()
    if not note.pid:
        raise NotFoundError(
            f"the gateway that runs is too old to hand over its sessions; {RESTART}"
        )
    return RunningGateway(data_dir, name, note)


def request_upgrade(gateway: RunningGateway, on_progress: Callable[[str], None]) -> UpgradeResult:
    """Have the gateway hand over to the program on the disk, and wait until it has.

    `on_progress` is called with each step. Blocks. Raises StagedoorError with the reason if the new program
    does not take over; nothing has changed then.
    """
    began = seen_at = time.monotonic()
    before, step = gateway.note.upgrade.number, ""
    gateway.signal(signal.SIGUSR2)
    while True:
        notes, now = read_notes(gateway.data_dir), time.monotonic()
        old = notes.get(gateway.name)
        upgrade = UpgradeNote() if old is None else old.upgrade
        new = next((note for note in notes.values() if note.predecessor == gateway.note.pid), None)
        if new is not None and (old is None or upgrade.state == "done"):
            sessions = sum(note.sessions for note in notes.values() if note.retired)
            return UpgradeResult(gateway.note, new, sessions, now - began)
        if old is not None:
            seen_at = now
        elif now - seen_at > GONE_WITHIN_S:
            raise StagedoorError("the gateway ended during the upgrade; its log says why")
        if upgrade.number > before:
            if upgrade.state == "failed":
                raise StagedoorError(upgrade.text)
            if upgrade.text != step:
                step = upgrade.text
                on_progress(step)
        elif now - began > BEGIN_WITHIN_S:
            raise StagedoorError("the gateway does not begin the upgrade; its log says why")
        time.sleep(POLL_S)
