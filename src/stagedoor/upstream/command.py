"""A command in a shell, with a limit on the output that is read."""

import asyncio
from dataclasses import dataclass

import asyncssh


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a command in a shell.

    `exit_status` is None where the shell sent none. `too_long`: the output was cut at the limit.
    """

    exit_status: int | None
    output: bytes
    errors: bytes
    too_long: bool


async def run_command(
    shell: asyncssh.SSHClientConnection, command: str, limit_bytes: int
) -> CommandResult:
    """Run a command to its end, or until it has printed more than `limit_bytes` to stdout or to stderr.

    Raises asyncssh.Error and OSError. The caller bounds the time.
    """
    collected = _Collected(limit_bytes)
    await shell.create_session(lambda: collected, command, encoding=None)
    await collected.over.wait()
    if collected.lost is not None:
        raise collected.lost
    return CommandResult(
        collected.exit_status, bytes(collected.output), bytes(collected.errors), collected.too_long
    )


class _Collected(asyncssh.SSHClientSession[bytes]):
    def __init__(self, limit_bytes: int) -> None:
        self.exit_status: int | None = None
        self.output = bytearray()
        self.errors = bytearray()
        self.too_long = False
        self.over = asyncio.Event()
        self.lost: Exception | None = None
        self._limit = limit_bytes
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        into = self.output if datatype is None else self.errors
        room = self._limit - len(into)
        into += data[:room]
        if len(data) > room:
            self.too_long = True
            self.over.set()
            if self._channel is not None:
                self._channel.abort()

    def exit_status_received(self, status: int) -> None:
        self.exit_status = status

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc
        self.over.set()
