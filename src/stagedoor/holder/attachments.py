"""The attachments of a terminal's clients, connected or cut off, with their offsets and limits.

Pure: time is an argument.

A single shared link can bring many clients that only watch. They have places of their own, so that clients
which type can reconnect however many watch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from stagedoor.wire.terminal.frames import Hello, Mode, Size

MAX_LINKS = 64
"""The most connections at once. Some are spare, for clients that have not sent HELLO or are hanging up."""
MAX_WATCHING = 40
"""The most connections of clients that watch."""
MAX_TYPING = 20
"""The most connections of clients that type."""
MAX_OWNER_BYTES = 128
MAX_REMEMBERED = 64
"""The most attachments that are remembered. Beyond it, those longest without a connection are forgotten."""
RESUME_GRACE_S = 60.0
"""For this many seconds after a cut connection, the program is blocked rather than its output dropped, if no
other client types. A reconnect takes seconds, a change of networks some more."""


@dataclass(eq=False, slots=True)
class TerminalAttachment:
    """The offsets of a client.

    Input was received up to the offset `received_to`, and the program has taken it up to `taken_to`.
    `link` is None while the client has no connection, since `lost_at`.
    """

    name: str
    owner: str
    mode: Mode
    link: int | None
    size: Size
    sent: int
    acked: int
    received_to: int = 0
    taken_to: int = 0
    lost_at: float = 0.0
    detached: bool = False
    exit_sent: bool = False
    other_size_sent: bool = False
    """True if the last SIZE sent to it is not that of its own window."""


@dataclass(slots=True)
class AttachmentRegister:
    """All attachments by name, and those of connected clients by link. Times are monotonic, in seconds."""

    by_name: dict[str, TerminalAttachment] = field(default_factory=dict)
    by_link: dict[int, TerminalAttachment] = field(default_factory=dict)

    def find_resumed(self, hello: Hello) -> TerminalAttachment | None:
        """Return the attachment to resume. Only its owner can do so, even if others know its name."""
        attachment = self.by_name.get(hello.attachment)
        if attachment is None or attachment.owner != hello.owner or hello.seen > attachment.sent:
            return None
        return attachment

    def list_holding_back(self, now: float, kept_from: int) -> list[TerminalAttachment]:
        """Return the clients that hold the program back: it waits for them, and their output is kept.

        A client without a connection does not hold up others that type. Once it has missed output, it holds
        up no one: the bytes before the offset `kept_from` are dropped.
        """
        connected = [client for client in self.by_link.values() if client.mode is not Mode.WATCH]
        return connected or [
            client for client in self.list_reconnectable(now) if client.acked >= kept_from
        ]

    def list_reconnectable(self, now: float) -> Iterator[TerminalAttachment]:
        """Yield the clients that type and have lost their connection so recently that they may reconnect."""
        return (
            client
            for client in self.by_name.values()
            if client.mode is not Mode.WATCH
            and client.link is None
            and not client.detached
            and now - client.lost_at < RESUME_GRACE_S
        )

    def cut(self, attachment: TerminalAttachment, now: float) -> None:
        """Note that a client has lost its connection."""
        if attachment.link is not None:
            del self.by_link[attachment.link]
        attachment.link = None
        attachment.lost_at = now

    def forget_oldest(self) -> None:
        """Drop the attachments beyond `MAX_REMEMBERED` that were first to lose their connection."""
        gone = sorted(
            (client for client in self.by_name.values() if client.link is None),
            # Clients that watch go first. They may be many, and lose nothing that they cannot see again.
            key=lambda client: (client.mode is not Mode.WATCH, client.lost_at),
        )
        for client in gone[: max(len(self.by_name) - MAX_REMEMBERED, 0)]:
            del self.by_name[client.name]


def describe_full(hello: Hello, watching: int, typing: int) -> str | None:
    """Return why there is no room for a client among so many others, or None if there is."""
    if len(hello.owner.encode()) > MAX_OWNER_BYTES:
        return f"a HELLO with a user name of more than {MAX_OWNER_BYTES} bytes"
    match hello.mode:
        case Mode.WATCH if watching >= MAX_WATCHING:
            return (
                f"this terminal is watched {MAX_WATCHING} times already, which is the limit; try again "
                "when another user has left"
            )
        case Mode.MIRROR if typing >= MAX_TYPING:
            return (
                f"this terminal is open {MAX_TYPING} times already, which is the limit; take it over, or "
                "try again when another user has left"
            )
    return None  # a client that takes over sends the others away
