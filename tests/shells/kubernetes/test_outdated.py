"""The notice about a shell that runs while its app has moved on."""

from typing import Any

import pytest

from stagedoor.shells.kubernetes.live.outdated import describe_outdated, read_outdated
from stagedoor.shells.kubernetes.names import (
    IMAGE_NAME,
    NEW_IMAGE_NAME,
    STALE,
    STALE_SINCE,
    TEMPLATE,
)

MOVED = "app01 changed to shop:2 at 2026-11-27 17:36 UTC; this shell still runs shop:1"


def shell(replicas: int = 1, **annotations: str) -> dict[str, Any]:
    said = {TEMPLATE: "old", IMAGE_NAME: "shop:1", STALE: "new", NEW_IMAGE_NAME: "shop:2"}
    said |= {STALE_SINCE: "2026-11-27T17:36:12Z"} | annotations
    return {
        "metadata": {"name": "app01-ssh", "annotations": {k: v for k, v in said.items() if v}},
        "spec": {"replicas": replicas},
    }


@pytest.mark.parametrize(
    ("inside", "when"),
    [
        ((), "it has no open sessions"),
        (("bob",), "bob has left"),
        (("bob", "bob", "alice"), "alice and bob have left"),
        (("a", "b", "c", "d", "e"), "a, b, c and 2 others have left"),
    ],
)
def test_it_says_what_runs_and_when_that_ends(inside: tuple[str, ...], when: str) -> None:
    reason = read_outdated(shell())
    assert reason is not None
    assert describe_outdated("app01", reason, inside) == f"{MOVED} and is replaced when {when}"


def test_a_change_of_settings_alone_names_no_image() -> None:
    reason = read_outdated(shell(**{NEW_IMAGE_NAME: "shop:1"}))
    assert reason is not None
    assert describe_outdated("app01", reason) == (
        "app01 has changed at 2026-11-27 17:36 UTC; this shell still has the old version and is "
        "replaced when it has no open sessions"
    )


def test_a_shell_that_somebody_changed_is_not_said_to_be_behind_its_app() -> None:
    reason = read_outdated(shell(**{STALE: "old"}))
    assert reason is not None
    assert describe_outdated("app01", reason).startswith(
        "the Deployment of app01's shell was changed"
    )


def test_only_a_shell_that_runs_and_is_marked_is_outdated() -> None:
    assert read_outdated(None) is None
    assert read_outdated(shell(0)) is None
    assert read_outdated(shell(**{STALE: ""})) is None


def test_marks_of_an_older_controller_and_odd_ones_are_no_fault() -> None:
    reason = read_outdated(shell(**{NEW_IMAGE_NAME: "", IMAGE_NAME: "", STALE_SINCE: "soon"}))
    assert reason is not None
    assert describe_outdated("app01", reason) == (
        "app01 has changed; this shell still has the old version and is replaced when it has no open sessions"
    )


def test_what_an_author_writes_as_an_image_is_one_line() -> None:
    reason = read_outdated(shell(**{NEW_IMAGE_NAME: "shop:2\x1b[2J\nroot:"}))
    assert reason is not None
    assert describe_outdated("app01", reason).isprintable()
