"""The shell's end of a session channel."""

from typing import TYPE_CHECKING

import asyncssh

from stagedoor.upstream.connection import SAID_CHARS
from stagedoor.wire.oneline import one_line

if TYPE_CHECKING:
    from stagedoor.listeners.ssh.direct.channel import DirectChannel


class ShellEnd(asyncssh.SSHClientSession[bytes]):
    """The shell's end of a channel, which passes all events on to the developer's end."""

    def __init__(self, channel: "DirectChannel") -> None:
        self._channel = channel

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        """Report the shell's channel."""
        self._channel.far_made(chan)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Pass on the shell's bytes."""
        self._channel.far_data(data, datatype)

    def eof_received(self) -> bool:
        """Report the shell's EOF. The other direction stays open."""
        self._channel.far_ended()
        return True

    def pause_writing(self) -> None:
        """Hold the developer's bytes back."""
        self._channel.inward.hold("shell")

    def resume_writing(self) -> None:
        """Let the developer's bytes pass again."""
        self._channel.inward.release("shell")

    def exit_status_received(self, status: int) -> None:
        """Report the exit status."""
        self._channel.far_exited(status)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """Report the signal that ended the program, in texts of one short line."""
        message = one_line(msg, SAID_CHARS)
        self._channel.far_exited(
            (one_line(signal, SAID_CHARS), core_dumped, message, lang[:SAID_CHARS])
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Report that the shell's channel is closed."""
        self._channel.far_lost(exc)
