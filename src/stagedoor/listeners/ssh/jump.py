"""How a jump channel says yes and no (`session.ports.Door`, RFC 4254 §5.1 and §7.2)."""

from typing import Protocol

import asyncssh

from stagedoor.listeners.ssh import relay
from stagedoor.listeners.ssh.relay import ChannelRelay
from stagedoor.model.denial import Denial
from stagedoor.model.session import Opened, Way
from stagedoor.model.shell import StartStep
from stagedoor.model.source import Source
from stagedoor.relay.ports import Stream
from stagedoor.session.ports import Link, OnEnd


class House(relay.House, Protocol):
    """The connection that the channel is asked for on."""

    @property
    def gone(self) -> bool: ...

    def channel_began(self, relay: ChannelRelay) -> None: ...

    def murmur(self, line: str) -> None:
        """Say a line to whoever listens closely: `ssh -v` does."""
        ...


class JumpDoor:
    """One `direct-tcpip` channel. After the flow, either `relay` or `denial` is set.

    Without a `house` it only says whose denial is written down: nobody has come so far as a channel.
    """

    way = Way.JUMP

    def __init__(
        self, source: Source, house: House | None = None, idle_timeout_s: float | None = None
    ) -> None:
        self.source = source
        self.relay: ChannelRelay | None = None
        self.denial: Denial | None = None
        self._house = house
        self._idle_timeout_s = idle_timeout_s

    def progress(self, step: StartStep) -> None:
        """A channel that is not open yet has no words, and a banner (RFC 4252 §5.4) is for before the
        login, when nobody has named a target. What is left is a debug message (RFC 4253 §11.3), which
        OpenSSH shows with -v alone, and hands on to the ssh of its -J."""
        if self._house is not None and not self._house.gone:
            self._house.murmur(f"stagedoor: {step.name}{': ' if step.detail else ''}{step.detail}")

    async def refuse(self, denial: Denial) -> None:
        self.denial = denial

    async def open(self, opened: Opened, upstream: Stream, on_end: OnEnd) -> Link:
        if self._house is None or self._house.gone:
            raise ConnectionResetError("the developer's side hung up")
        self.relay = ChannelRelay(self._house, upstream, on_end, self._idle_timeout_s)
        self._house.channel_began(self.relay)
        return self.relay


def refused(message: str) -> asyncssh.ChannelOpenError:
    """What OpenSSH prints as `open failed: administratively prohibited: MESSAGE`."""
    return asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, message)
