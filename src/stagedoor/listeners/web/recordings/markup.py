"""The pages of recordings as HTML: the list needs no JavaScript, the player does."""

from collections.abc import Sequence

from stagedoor.admin.recordings.service import UserRecording
from stagedoor.listeners.web.pages.markup import PagePath

SPEEDS = ("0.5", "1", "2", "4", "8")


def recordings(place: PagePath, takes: Sequence[UserRecording], wanted: str, more: str) -> str:
    """The list, the newest first. `more` is the path of the next page, empty for none."""
    return place.page("recordings.html", takes=takes, wanted=wanted, more=more)


def sealed_line(take: UserRecording) -> str:
    """Why an encrypted one is not played here, and how it is. One line."""
    return (
        f"This recording is encrypted, and the gateway has no key to it. With a key, play it by: "
        f"stagedoor recording play {take.id} --identity FILE"
    )


def sealed(place: PagePath, take: UserRecording) -> str:
    """The page of an encrypted one."""
    return place.page("sealed.html", take=take, line=sealed_line(take))


def player(place: PagePath, take: UserRecording, source: str, nonce: str) -> str:
    """The player's page; its script reads `source`."""
    return place.page("player.html", take=take, source=source, nonce=nonce, speeds=SPEEDS)
