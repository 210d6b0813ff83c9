"""The limits on a client's frames, above all a guest's, before they reach the shell. Pure."""

from dataclasses import replace

from stagedoor.holder import attachments as roster
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant, Guest
from stagedoor.wire.terminal.frames import Downstream, Hello, In, InAck, Mode, Resize

SHARE = "share:"
WATCH = "watch:"
"""The purpose of a guest's ticket: one share, or one session to watch."""


def restrict_hello(hello: Hello, guest: Guest) -> Hello | Denial:
    """Return a guest's first frame limited to the guest's terminal, without a command to start.

    A guest who may not type only watches. One who may type cannot take the terminal over from its host.
    """
    if hello.terminal not in ("", guest.terminal):
        return Denial(Reason.NO_GRANT, "you are let to another terminal than this one")
    mode = hello.mode if guest.may_type and hello.mode is not Mode.TAKE_OVER else Mode.MIRROR
    return replace(
        hello,
        terminal=guest.terminal,
        mode=mode if guest.may_type else Mode.WATCH,
        command="",
    )


def hello_for_holder(hello: Hello, grant: Grant) -> Hello:
    """Return the first frame for the holder, with the attachment's owner in place of the ticket.

    The holder resumes an attachment only for the same owner: another user gets none, nor does the same
    user as a guest get the attachment that they have by their own grant.
    """
    guest = grant.guest
    owner = roster.GUEST
    if guest is None:
        owner = roster.USER
    elif guest.share is None:
        owner = roster.WATCH
    return replace(hello, ticket=owner + grant.identity.name)


def withhold(frame: Downstream) -> tuple[bool, InAck | None]:
    """Return whether a watching guest's frame is dropped here, and the answer to send.

    Input is acknowledged as the holder would, so that an honest client does not wait for it.
    """
    match frame:
        case In(at, data):
            return True, InAck(at + len(data))
        case Resize():
            return True, None
        case _:
            return False, None
