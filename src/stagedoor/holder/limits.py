"""How many may be at one terminal, and who is refused a place there. Pure.

Those who only watch can be many, by one link that was handed on. So they have places of their own, and
however many connect, those who type at the terminal can reconnect.
"""

from stagedoor.wire.terminal import Hello, Mode

MAX_LINKS = 64
"""Connections at a time. Some are left over for those that have not said HELLO, or that hang up."""
WATCHING = 40
TYPING = 20
"""Of them, by those who watch and by those who type."""
MAX_OWNER_BYTES = 128
REMEMBERED = 64
"""Attachments that are remembered; beyond it those that have been gone longest are forgotten."""


def refusal(hello: Hello, watching: int, typing: int) -> str | None:
    """Why there is no place for one more where so many are; None where there is one."""
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
    return None  # who takes over sends the others away
