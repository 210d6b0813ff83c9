"""Recordings and hooks over the API: attacks first."""

import hashlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from stagedoor.admin import roles
from stagedoor.admin import service as admin
from stagedoor.admin.recording_service import RecordingService
from stagedoor.admin.recordings import Recorded
from stagedoor.admin.requests.access_requests import add_rule, begin_request, make_request
from stagedoor.admin.sessions import list_entries
from stagedoor.api.service import AdmittedRequest
from stagedoor.authz.step_up import StepUpRules
from stagedoor.model.access_request import RequestRule
from stagedoor.model.event import Event, EventKind
from stagedoor.model.identity import Identity, Method
from stagedoor.model.permission import Permission
from stagedoor.model.role import Role, RoleRule
from stagedoor.model.target import Target
from stagedoor.store.journal import Filter, StoreJournal
from tests.api.world import World
from tests.store.sample import opened

WEB, SECRET, GONE = (f"0199{letter * 4}111122223333444455" for letter in "abc")
REPLAY = frozenset({Permission.REPLAY})


@pytest.fixture
def folder(world: World) -> Path:
    """Two recordings with their sessions, and one whose session the store no longer has."""
    journal = StoreJournal(world.database)
    for session, target in ((WEB, "a-web.ssh"), (SECRET, "secret.ssh")):
        journal.append([replace(opened(session, at=world.now, who="nick"), target=target)])
    folder = world.service.data_dir / "recordings"
    folder.mkdir()
    for session in (WEB, SECRET, GONE):
        (folder / f"{session}.1.cast").write_text(f"what was typed in {session}")
    return folder


def viewed(world: World) -> list[tuple[str | None, object]]:
    return [
        (entry.event.identity, entry.event.fields["actor"])
        for entry in list_entries(world.service, Filter(kinds=(EventKind.RECORDING_VIEWED,)))
    ]


@pytest.mark.usefixtures("folder")
async def test_who_may_see_no_recording_makes_the_gateway_read_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every user may ask, and each recording costs a row of the store."""
    monkeypatch.setattr("stagedoor.admin.recordings.list_recordings", None)
    assert (await world.ask("nick", "GET /recordings")).said["items"] == []
    assert (await world.ask("nick", f"GET /recordings/{WEB}.1")).status == 404
    assert (await world.ask("nick", f"GET /recordings/{WEB}.1/file")).status == 404


@pytest.mark.usefixtures("folder")
async def test_a_recording_is_seen_by_an_approved_request(world: World) -> None:
    permissions = frozenset({Permission.ENTER, Permission.REPLAY})
    rule = add_rule(
        world.service, RequestRule(0, "user:nick", "a-*", permissions=permissions, approvals=0)
    )
    made = make_request(world.service, "nick", [Target("a-web")], rule, "INC-42")
    begin_request(world.service, made.id)
    world.now = made.created_at + 60
    listed = await world.ask("nick", "GET /recordings")
    assert [entry["id"] for entry in listed.said["items"]] == [f"{WEB}.1"]


@pytest.mark.usefixtures("folder")
async def test_a_recording_exists_for_the_auditors_of_its_app_alone(world: World) -> None:
    for who, ids in (
        ("nick", []),
        ("ansel", [f"{WEB}.1"]),
        ("ann", [f"{session}.1" for session in (WEB, SECRET, GONE)]),
    ):
        listed = await world.ask(who, "GET /recordings")
        assert [entry["id"] for entry in listed.said["items"]] == ids
    for session in (SECRET, GONE):
        hidden = await world.ask("ansel", f"GET /recordings/{session}.1")
        nothing = await world.ask("ansel", "GET /recordings/0199dddd.1")
        assert hidden.status == 404
        assert hidden.said["detail"].replace(session, "0199dddd") == nothing.said["detail"]
    assert (await world.ask("ansel", f"GET /recordings/{WEB[:8]}")).said["user"] == "nick"


@pytest.mark.usefixtures("folder")
async def test_what_was_typed_is_for_people_with_a_grant_to_replay(world: World) -> None:
    for who in ("nick", "ansel", "ann", "ada"):
        refused = await world.ask(who, f"GET /recordings/{WEB}.1/file")
        assert refused.status == 404, "a role alone opens no recording"
        admin.add_grant(world.service, f"user:{who}", "a-*", permissions=REPLAY)
        assert (await world.ask(who, f"GET /recordings/{WEB}.1/file")).status == 200
        assert (await world.ask(who, f"GET /recordings/{SECRET}.1/file")).status == 404
        program = world.token(who, "api:read", "api:write")
        assert (await world.ask(program, f"GET /recordings/{WEB}.1/file")).status == 403
        stale = world.person(who, fresh=False)
        assert (await world.ask(stale, f"GET /recordings/{WEB}.1/file")).status == 403
    names = ("nick", "ansel", "ann", "ada")
    assert viewed(world) == [(name, f"{name} (api)") for name in names]


@pytest.mark.usefixtures("folder")
async def test_a_download_ends_with_the_right_to_it(world: World) -> None:
    rule = admin.add_grant(world.service, "user:nick", "a-*", permissions=REPLAY)
    admitted = await world.api.admit(world.person("nick"), "GET", f"/recordings/{WEB}.1/file")
    assert isinstance(admitted, AdmittedRequest)
    file = (await world.api.answer(admitted, {}, {}, b"")).file
    assert file is not None
    assert file.is_still_allowed()
    admin.remove_grant(world.service, rule.id)
    assert not file.is_still_allowed()
    admin.add_grant(world.service, "user:nick", "a-*", permissions=REPLAY)
    assert file.is_still_allowed()
    await world.ask("otto", "POST /users/nick/disable")
    assert not file.is_still_allowed()


@pytest.mark.usefixtures("folder")
async def test_a_page_plays_no_further_once_the_password_was_reset(world: World) -> None:
    """The thief of a password who plays a long recording is stopped by its reset."""
    password_hash = admin.set_password(world.service, "ann", "a long first password")
    admin.add_grant(world.service, "user:ann", "*", permissions=REPLAY)
    viewer = Identity("ann", frozenset(), Method.PASSWORD, password_hash=password_hash)
    service = RecordingService(world.make_context(world.service.data_dir), StepUpRules())
    recording = await service.find(viewer, f"{WEB}.1")
    assert isinstance(recording, Recorded)
    assert service.may_play(viewer, recording)
    admin.set_password(world.service, "ann", "a long second password")
    assert not service.may_play(viewer, recording)


async def test_a_recording_has_the_digest_of_the_audit(world: World, folder: Path) -> None:
    content = (folder / f"{WEB}.1.cast").read_bytes()
    assert (await world.ask("ann", f"GET /recordings/{WEB}.1")).said["sha256"] is None
    digest = hashlib.sha256(content).hexdigest()
    fields = {"recording": f"{WEB}.1.cast", "sha256": digest}
    ended = Event(world.now, EventKind.RECORDING_ENDED, "one", WEB, "nick", fields=fields)
    StoreJournal(world.database).append([ended])
    assert (await world.ask("ann", f"GET /recordings/{WEB}.1")).said["sha256"] == digest


async def test_hooks_are_for_all_apps_roles(world: World) -> None:
    roles.add_role(world.service, RoleRule(0, "user:nick", Role.OWNER, "a-*"))
    assert (await world.ask("nick", "GET /hooks")).status == 403
    assert (await world.ask("ann", "GET /hooks")).said == {"items": [], "next_page_token": None}
    assert (await world.ask("ann", "POST /hooks/chat/test")).status == 403
    assert (await world.ask("ada", "POST /hooks/chat/test")).status == 404
