"""What a developer's side may say, a guest's above all: decided before it reaches the shell. Pure."""

from dataclasses import replace

from stagedoor.holder import attachments as roster
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant, Guest
from stagedoor.wire.terminal import Downstream, Hello, In, InAck, Mode, Resize

SHARE = "share:"
WATCH = "watch:"
"""What a guest's ticket is good for: one share, or one session to watch."""


def held_to(hello: Hello, guest: Guest) -> Hello | Denial:
    """The first frame as it may go on: that terminal and no other, and nothing to be started.

    A guest who may not type watches; one who may does not take the terminal over from its host.
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


def for_holder(hello: Hello, grant: Grant) -> Hello:
    """The first frame for the holder: in the place of the ticket stands for whom it is.

    The holder lets nobody go on in an attachment of somebody else, nor one and the same person as a
    guest in what they have by their own right.
    """
    guest = grant.guest
    owner = roster.GUEST
    if guest is None:
        owner = roster.USER
    elif guest.share is None:
        owner = roster.WATCH
    return replace(hello, ticket=owner + grant.identity.name)


def passed_over(frame: Downstream) -> tuple[bool, InAck | None]:
    """Of a guest who may not type: whether a frame stays here, and what they are told.

    Their input counts as dealt with, as the holder has it, so that an honest program waits for nothing.
    """
    match frame:
        case In(at, data):
            return True, InAck(at + len(data))
        case Resize():
            return True, None
        case _:
            return False, None
