"""The limits on the clients of one terminal. Pure.

Clients that only watch can be many, by one link that was passed on. They have places of their own, so that
clients that type can reconnect however many watch.
"""

from stagedoor.wire.terminal.frames import Hello, Mode

MAX_LINKS = 64
"""Connections at once. Some are spare for clients that have not sent HELLO, or that hang up."""
WATCHING = 40
"""Connections of clients that watch."""
TYPING = 20
"""Connections of clients that type."""
MAX_OWNER_BYTES = 128
REMEMBERED = 64
"""Attachments that are remembered; beyond it, those without a connection for longest are forgotten."""


def refusal(hello: Hello, watching: int, typing: int) -> str | None:
    """Return why there is no place for a client beside so many others, or None if there is one."""
    if len(hello.ticket.encode()) > MAX_OWNER_BYTES:
        return f"a HELLO for somebody with a name of more than {MAX_OWNER_BYTES} bytes"
    match hello.mode:
        case Mode.WATCH if watching >= WATCHING:
            return (
                f"this terminal is watched {WATCHING} times already, which is the limit; try again "
                "when somebody has left"
            )
        case Mode.MIRROR if typing >= TYPING:
            return (
                f"this terminal is open {TYPING} times already, which is the limit; take it over, or "
                "try again when somebody has left"
            )
    return None  # a client that takes over sends the others away
