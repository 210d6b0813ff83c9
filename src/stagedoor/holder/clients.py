"""The clients of one terminal, connected or cut: their offsets and limits. Pure: time is an argument.

One shared link can bring many clients that only watch. They have places of their own, so that clients that
type can reconnect however many watch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from stagedoor.wire.terminal.frames import Hello, Mode, Size

MAX_LINKS = 64
"""Connections at once. Some are spare for clients that have not sent HELLO, or that hang up."""
WATCHING = 40
"""Connections of clients that watch."""
TYPING = 20
"""Connections of clients that type."""
MAX_OWNER_BYTES = 128
REMEMBERED = 64
"""Attachments that are remembered; beyond it, those without a connection for longest are forgotten."""
RESUME_GRACE_S = 60.0
"""How long after a cut connection the program is blocked instead of its output dropped, if no other client
types, seconds. A reconnect takes seconds, a change of networks some more."""


@dataclass(eq=False, slots=True)
class TerminalAttachment:
    """The offsets of a client. Input was received up to `in_at`; the program has taken it up to `taken_at`.

    `link` is None while the client has no connection, since `lost_at`.
    """

    name: str
    owner: str
    mode: Mode
    link: int | None
    size: Size
    sent: int
    acked: int
    in_at: int = 0
    taken_at: int = 0
    lost_at: float = 0.0
    detached: bool = False
    exit_sent: bool = False
    other_size_sent: bool = False
    """Whether the last SIZE sent to it is not that of its own window."""


@dataclass(slots=True)
class ClientRegister:
    """All attachments by name, and those of connected clients by link. Times are monotonic, in seconds."""

    by_name: dict[str, TerminalAttachment] = field(default_factory=dict)
    by_link: dict[int, TerminalAttachment] = field(default_factory=dict)

    def find_resumed(self, hello: Hello) -> TerminalAttachment | None:
        """Return the attachment to resume. Only its owner can resume it, even if others know its name."""
        attachment = self.by_name.get(hello.attachment)
        if attachment is None or attachment.owner != hello.ticket or hello.seen > attachment.sent:
            return None
        return attachment

    def list_waited_for(self, now: float, kept_from: int) -> list[TerminalAttachment]:
        """Return the clients for which output is kept, and for which the program has to wait.

        A client without a connection does not hold up others that type, and holds up none once it has missed
        output: the bytes before offset `kept_from` are dropped.
        """
        connected = [client for client in self.by_link.values() if client.mode is not Mode.WATCH]
        return connected or [
            client for client in self.list_awaited(now) if client.acked >= kept_from
        ]

    def list_awaited(self, now: float) -> Iterator[TerminalAttachment]:
        """Yield clients that type and lost their connection so recently that they may come back."""
        return (
            client
            for client in self.by_name.values()
            if client.mode is not Mode.WATCH
            and client.link is None
            and not client.detached
            and now - client.lost_at < RESUME_GRACE_S
        )

    def cut(self, attachment: TerminalAttachment, now: float) -> None:
        """Note that a client has no connection any more."""
        if attachment.link is not None:
            del self.by_link[attachment.link]
        attachment.link = None
        attachment.lost_at = now

    def forget_oldest(self) -> None:
        """Drop the attachments beyond `REMEMBERED` that lost their connection first."""
        gone = sorted(
            (client for client in self.by_name.values() if client.link is None),
            # Clients that watch go first: they may be many, and lose nothing that they cannot see again.
            key=lambda client: (client.mode is not Mode.WATCH, client.lost_at),
        )
        for client in gone[: max(len(self.by_name) - REMEMBERED, 0)]:
            del self.by_name[client.name]


def describe_full(hello: Hello, watching: int, typing: int) -> str | None:
    """Return why there is no place for a client beside so many others, or None if there is one."""
    if len(hello.ticket.encode()) > MAX_OWNER_BYTES:
        return f"a HELLO for somebody with a name of more than {MAX_OWNER_BYTES} bytes"
    match hello.mode:
        case Mode.WATCH if watching >= WATCHING:
            return (
                f"this terminal is watched {WATCHING} times already, which is the limit; try again "
                "when another user has left"
            )
        case Mode.MIRROR if typing >= TYPING:
            return (
                f"this terminal is open {TYPING} times already, which is the limit; take it over, or "
                "try again when another user has left"
            )
    return None  # a client that takes over sends the others away
