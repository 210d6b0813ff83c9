"""How many may be at a terminal, by those who are there."""

from stagedoor.admin.presence import (
    MAX_PER_SHARE,
    MAX_TYPING_PER_USER,
    MAX_WATCHING,
    MAX_WATCHING_PER_USER,
    explain_crowd,
)
from stagedoor.model.denial import Reason
from stagedoor.model.presence import PresenceEntry


def visits(
    count: int, name: str = "", *, looks: bool = True, share: str | None = None
) -> list[PresenceEntry]:
    """So many, each of another person unless there is a `name`."""
    return [
        PresenceEntry(f"{name}{share}{looks}{n}", name or f"p{share}{n}", "::1", "t", "m", looks, 0, share)
        for n in range(count)
    ]  # fmt: skip


def why(present: list[PresenceEntry]) -> str | None:
    """Why the last of these is refused."""
    denial = explain_crowd(present, present[-1].session)
    assert denial is None or denial.reason is Reason.OVERLOADED
    return denial and denial.message


def test_one_person_watches_so_often_and_others_still_can() -> None:
    own = visits(MAX_WATCHING_PER_USER, "guest", share="a")
    assert why(own) is None
    more = visits(MAX_WATCHING_PER_USER + 1, "guest", share="a")
    assert "guest watches this terminal 8 times" in str(why(more))
    assert why([*own, *visits(1, "other", share="a")]) is None
    assert why([*own, *visits(1, "guest", looks=False)]) is None, "typing is counted by itself"


def test_one_link_leaves_places_for_others_who_watch() -> None:
    by_link = visits(MAX_PER_SHARE, share="a")
    assert why(by_link) is None
    assert "this link" in str(why(visits(MAX_PER_SHARE + 1, share="a")))
    assert why([*by_link, *visits(MAX_WATCHING - MAX_PER_SHARE)]) is None
    assert "is watched 32 times" in str(why([*by_link, *visits(MAX_WATCHING - MAX_PER_SHARE + 1)]))


def test_those_who_watch_never_keep_one_out_who_types() -> None:
    assert why([*visits(100), *visits(MAX_TYPING_PER_USER, "host", looks=False)]) is None
    assert "host is at" in str(why(visits(MAX_TYPING_PER_USER + 1, "host", looks=False)))


def test_one_who_has_gone_meanwhile_is_not_refused() -> None:
    assert explain_crowd(visits(100), "gone") is None
