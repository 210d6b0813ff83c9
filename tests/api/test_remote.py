"""Commands over the store and over the API of a gateway that runs: the same words, JSON and audit."""

import base64
import json
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from stagedoor.admin import roles
from stagedoor.admin.requests import access_requests as requests
from stagedoor.admin.service import AdminService, add_grant, add_user, open_service
from stagedoor.admin.sessions import list_entries
from stagedoor.cli.app import stagedoor
from stagedoor.model.access_request import RequestRule
from stagedoor.model.errors import SettingsError, StagedoorError
from stagedoor.model.event import EventKind
from stagedoor.model.identity import Identity, Method, SignIn
from stagedoor.model.permission import DEFAULT, Permission
from stagedoor.model.role import Role, RoleRule
from stagedoor.model.target import Target
from stagedoor.store.journal import Filter, StoreJournal
from stagedoor.store.sign_in.passes import record_step_up
from stagedoor.store.sign_in.tables import step_ups
from stagedoor.wire.terminal.asciicast import (
    AsciicastEvent,
    AsciicastHeader,
    encode_event,
    encode_header,
)
from tests.fixtures.gateway import PASSWORD, Gateway, sso
from tests.fixtures.people import Answer, PlainBrowser, log_in
from tests.fixtures.people import sign_in as sign_in_at
from tests.pace import allow
from tests.store.sample import opened
from tests.waiting import wait_until
from tests.web.conftest import SETTINGS

KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice@laptop"
)
OTHER_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHlykjqJm6QWo9sV/cI+zcW1Z8c6cmH+q5yaukCip5TK alice@desk"
)
FINGERPRINT = "SHA256:6k6iNNefwY6V0/fg3zsJJc/70mv4lk7crCPcEpgtoDc"
STORY: tuple[tuple[str, ...], ...] = (
    ("user", "add", "alice", "--group", "dev", "--no-password"),
    ("user", "group", "alice", "--add", "ops", "--remove", "dev"),
    ("user", "list", "--group", "ops", "--json"),
    ("grant", "add", "user:alice", "app01", "--allow", "forward", "--json"),
    ("grant", "add", "user:alice", "app01", "--json"),
    ("grant", "add", "user:absent", "app01"),
    ("grant", "add", "user:alice", "A_1"),
    ("grant", "change", "1", "--without", "files", "--resume", "15m", "--json"),
    ("grant", "list", "--user", "alice", "--json"),
    ("grant", "list"),
    ("grant", "remove", "1"),
    ("grant", "remove", "1"),
    ("key", "add", "alice", "{FOLDER}/keys"),
    ("key", "add", "alice", "{FOLDER}/keys"),
    ("key", "add", "absent", "{FOLDER}/keys"),
    ("key", "list", "alice", "--json"),
    ("key", "remove", FINGERPRINT),
    ("key", "remove", FINGERPRINT),
    ("user", "password", "alice", "--password-stdin"),
    ("user", "password", "alice", "--remove"),
    ("user", "password", "absent", "--remove"),
    ("token", "create", "alice", "--scope", "connect:app*", "--expires", "never", "--json"),
    ("token", "list", "alice", "--json"),
    ("token", "revoke", "TOKEN"),
    ("token", "revoke", "aaaaaaaaaa"),
    ("user", "show", "alice", "--json"),
    ("user", "show", "alice"),
    ("user", "show", "absent"),
    ("user", "invite", "bob", "--group", "dev"),
    ("user", "invite", "alice", "--group", "dev"),
    ("user", "invite", "alice", "--expires", "30d"),
    ("role", "add", "user:alice", "owner", "a-*", "--json"),
    ("role", "list"),
    ("role", "remove", "2"),
    ("access", "explain", "alice", "app01", "--json"),
    ("access", "explain", "absent", "app01"),
    ("access", "who", "app01"),
    ("request", "rule", "add", "group:dev", "a*", "--approver", "group:sre", "--json"),
    ("request", "rule", "add", "group:dev", "a*", "--approvals", "0", "--approver", "group:sre"),
    ("request", "rule", "list"),
    ("request", "rule", "remove", "3"),
    ("request", "rule", "remove", "3"),
    ("request", "approve", "1", "--for", "10m"),
    ("request", "approve", "1"),
    ("request", "approve", "2", "--for", "2h"),
    ("request", "deny", "2", "--why", "use staging"),
    ("request", "deny", "2"),
    ("request", "end", "1"),
    ("request", "end", "1"),
    ("request", "end", "3"),
    ("request", "review", "4"),
    ("request", "review", "4"),
    ("request", "review", "3"),
    ("request", "list"),
    ("request", "list", "--all", "--json"),
    ("request", "show", "2"),
    ("request", "show", "7"),
    ("session", "list", "--json"),
    ("recording", "list"),
    ("recording", "play", "0199aaaa"),
    ("hook", "list", "--json"),
    ("passkey", "list", "alice", "--json"),
    ("passkey", "remove", "0123456789abcdef"),
    ("share", "list", "--json"),
    ("share", "end", "0123456789ab"),
    ("share", "create", "alice", "app01", "--for", "30m", "--typing", "--json"),
    ("share", "create", "alice", "app01", "--name", "A b"),
    ("share", "create", "alice", "app01", "--for", "300d"),
    ("share", "create", "alice", "app01", "--url", "ftp://x"),
    ("share", "create", "absent", "app01"),
    ("web-link", "alice", "--app", "app01"),
    ("web-link", "alice", "--app", "not an app"),
    ("web-link", "absent"),
    ("sso", "list"),
    ("sso", "link", "alice", "00/1 x", "--provider", "Company"),
    ("sso", "link", "ada", "00/1 x"),
    ("sso", "link", "absent", "002"),
    ("sso", "link", "alice", "002", "--provider", "Other"),
    ("sso", "list", "--json"),
    ("sso", "list"),
    ("sso", "unlink", "00/1 x"),
    ("sso", "unlink", "00/1 x"),
    ("hook", "test", "chat"),
    ("session", "close", "0123456789ab"),
    ("sign-in", "list", "--user", "erin", "--json"),
    ("sign-in", "end", "SIGN-IN", "--reason", "laptop stolen"),
    ("sign-in", "end", "--user", "erin", "--yes"),
    ("sign-in", "end", "0123456789ab"),
    ("app", "list"),
    ("app", "list", "--json"),
    ("app", "explain", "app01"),
    ("app", "explain", "none"),
    ("app", "logs", "app01"),
    ("app", "start", "app01"),
    ("app", "stop", "app01", "--yes"),
    ("user", "disable", "alice"),
    ("user", "disable", "alice"),
    ("user", "enable", "alice"),
    ("user", "remove", "alice", "--yes"),
    ("user", "remove", "alice", "--yes"),
)
RULES = (
    RequestRule(0, "user:erin", "*", approvers=("user:ada",)),
    RequestRule(
        *(0, "user:erin", "*"),
        longest_s=900,
        approvers=("user:ada",),
        approvals=0,
        is_break_glass=True,
    ),
)
LISTS = {
    "TOKEN": ("token", "list", "alice", "--json"),
    "SIGN-IN": ("sign-in", "list", "--user", "erin", "--json"),
}
"""Words of STORY that stand for an id, which differs each time: that of the first row of a list."""
FILES = """
set = "platform"
users = [{name = "carol", groups = ["dev"]}]
grants = [{subject = "group:dev", app = "a*"}, {subject = "user:carol", app = "wiki"}]
request_rules = [{subject = "group:dev", app = "b*", approvals = 0}]
"""
CHANGING = re.compile(
    r"\b\d{10}\.\d+|#[\w-]{20,}|\b[0-9a-f]{12}\b|sdt_[\w-]+|\b[a-z2-9]{10}\b|\d{4}-\d\d-\d\d[T ][\d:.]+Z?"
)


@dataclass
class Outcome:
    """What a command printed and how it ended, without what differs each time."""

    argv: tuple[str, ...]
    stdout: str
    stderr: str
    error: str


def run(argv: tuple[str, ...], environment: Mapping[str, str], *options: str) -> Outcome:
    words = [find_id(word, environment, *options) if word in LISTS else word for word in argv]
    result = CliRunner().invoke(
        stagedoor, [*options, *words], PASSWORD, dict(environment), standalone_mode=False
    )
    error = result.exception
    assert error is None or isinstance(error, StagedoorError | SystemExit), (argv, error)
    said = f"{error.exit_code} {error}" if isinstance(error, StagedoorError) else str(error or "")
    return Outcome(
        argv, *(CHANGING.sub("…", text) for text in (result.stdout, result.stderr, said))
    )


def find_id(word: str, environment: Mapping[str, str], *options: str) -> str:
    """Return the id that stands for a word in LISTS."""
    result = CliRunner().invoke(stagedoor, [*options, *LISTS[word]], env=dict(environment))
    return str(json.loads(result.stdout)[0]["id"])


def seed(service: AdminService) -> int:
    """Add what only users make: requests, and a sign-in. Return the number of changes."""
    add_user(service, "ada")
    add_user(service, "erin")
    roles.add_role(service, RoleRule(0, "user:ada", Role.ADMINISTRATOR))
    asks, glass = [requests.add_rule(service, rule) for rule in RULES]
    for app, rule in (("app01", asks), ("app02", asks), ("app03", asks), ("app04", glass)):
        requests.make_request(service, "erin", [Target(app)], rule, "INC-1")
    sign_in_at(service.database, Identity("erin", frozenset(), Method.PASSWORD), service.clock())
    return sum(1 for _ in list_entries(service, Filter()))


def changes(events: list[dict[str, Any]], *actors: str) -> list[tuple[str, str]]:
    """Return what the actors have changed, with all fields but secrets of that time."""
    return [
        (e["kind"], CHANGING.sub("…", json.dumps(e["fields"])))
        for e in events
        if e["identity"] in actors
    ]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    (tmp_path / "gateway").mkdir()
    # The page at which a proof is given has this address.
    settings = SETTINGS.replace("[web]\n", '[web]\npublic_url = "http://gw.example"\n')
    settings += sso(tmp_path / "gateway")
    with Gateway(tmp_path / "gateway", settings) as gateway:
        with gateway.service() as service:
            seed(service)
        yield gateway.start()


def prove(gateway: Gateway, sign_in: SignIn) -> None:
    """Store that the person of a sign-in is there, as the page of the proof does."""
    with gateway.changed() as service, service.change("test") as change:
        record_step_up(change.transaction, sign_in.id, service.clock())


@pytest.fixture
def sign_in(gateway: Gateway, tmp_path: Path) -> SignIn:
    """Log in as an administrator."""
    with gateway.changed() as service:
        secret, sign_in = log_in(service, "ada", KEY)
    (tmp_path / "secret").write_text(secret)
    (tmp_path / "secret").chmod(0o600)
    return sign_in


@pytest.fixture
def remote(gateway: Gateway, sign_in: SignIn, tmp_path: Path) -> Mapping[str, str]:
    """Return the environment of the commands of an administrator who was there a moment ago."""
    prove(gateway, sign_in)
    return environment_of(gateway, tmp_path)


def environment_of(gateway: Gateway, tmp_path: Path) -> Mapping[str, str]:
    file = tmp_path / "secret"
    environment = {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "STAGEDOOR_USER": "ada",
        "STAGEDOOR_TOKEN_FILE": str(file),
    }
    url = f"http://127.0.0.1:{gateway.port('web')}"
    assert not run(("context", "add", "test", url), environment).error
    return environment


@pytest.mark.access(27)
def test_commands_say_and_do_the_same_over_the_api(
    gateway: Gateway, remote: Mapping[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "local.toml"
    file.write_text(gateway.file.read_text().replace(str(gateway.data_dir), str(tmp_path / "own")))
    (tmp_path / "keys").write_text(OTHER_KEY)
    with open_service(tmp_path / "own") as service:
        seeded, account = seed(service), service.actor
    (tmp_path / "files").mkdir()
    (tmp_path / "files/access.toml").write_text(FILES)
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong/access.json").write_text('{"grants": [{"subject": "user:x", "app": "a"}]}')
    applied = [
        ("apply", str(tmp_path / "files"), "--diff"),
        ("apply", str(tmp_path / "files"), "--json"),
        ("apply", str(tmp_path / "files"), "--diff"),
        ("apply", str(tmp_path / "wrong"), "--set", "platform"),
        ("user", "group", "carol", "--add", "ops"),
        ("grant", "remove", "2"),
    ]
    story = [tuple(word.replace("{FOLDER}", str(tmp_path)) for word in argv) for argv in STORY]
    for argv in (*story, *applied):
        by_store = run(argv, {}, "--config", str(file))
        by_api = run(argv, remote)
        by_store.stdout = by_store.stdout.replace(account, "ada")
        assert by_api == by_store
    audit = CliRunner().invoke(stagedoor, ["--config", str(file), "audit", "--json"])
    own = [json.loads(line) for line in audit.stdout.splitlines()]
    theirs = changes(gateway.audit(), "ada (api)", "ada (request)")
    assert theirs == changes(own[seeded:], account)


def test_a_change_waits_until_its_person_proves_that_they_are_there(
    gateway: Gateway, sign_in: SignIn, tmp_path: Path
) -> None:
    environment = environment_of(gateway, tmp_path)
    assert not run(("user", "list"), environment).error, "reading wants no proof"
    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(run, ("user", "add", "alice", "--no-password"), environment)

        def is_asked() -> bool:
            with gateway.service() as service, service.database.read() as transaction:
                return transaction.execute(select(step_ups.c.target)).first() is not None

        wait_until(lambda: is_asked() or adding.done())
        assert not adding.done(), adding.result()
        prove(gateway, sign_in)
        outcome = adding.result(60)
    assert not outcome.error
    assert "administration: step-up: open " in outcome.stderr
    assert "Added alice." in outcome.stderr


def test_a_request_that_prefers_to_wait_is_answered_after_the_proof(
    gateway: Gateway, sign_in: SignIn, tmp_path: Path
) -> None:
    secret = (tmp_path / "secret").read_text()
    basic = "Basic " + base64.b64encode(f"ada:{secret}".encode()).decode()
    extra = {"Authorization": basic, "Content-Type": "application/json"}
    client = PlainBrowser(gateway.port("web"), host="gw.example", origin=None, extra=extra)

    def add(preference: str) -> Answer:
        body = '{"name": "alice", "groups": [], "password": null}'
        return client.send("POST", "/api/v1/users", body, Prefer=preference)

    for preference, least_s in (("", 0), ("respond-async", 0), ("wait=x", 0), ("wait=1", 1)):
        began = time.monotonic()
        refused = json.loads(add(preference).text)
        assert (refused["reason"], refused["status"]) == ("step_up_needed", 403)
        assert refused["step"].startswith("step-up: open http://gw.example/")
        assert least_s <= time.monotonic() - began < allow(5), preference
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(add, "respond-async, wait=15")
        assert wait([waiting], 0.5).not_done
        prove(gateway, sign_in)
        assert waiting.result(allow(10)).status == 201


def test_a_user_asks_for_access_over_the_api(gateway: Gateway, remote: Mapping[str, str]) -> None:
    wide = replace(RULES[0], subject="user:ada", permissions=DEFAULT | {Permission.FORWARD})
    with gateway.changed() as service:
        requests.add_rule(service, wide)
    ask = ("request", "ask", "app01", "app02", "INC-9", "--for", "30m", "--allow", "forward")
    asked = run((*ask, "--from", "2h"), remote)
    assert re.fullmatch(r"Request \d+ for app01, app02 is pending\.\n", asked.stderr), asked
    with gateway.service() as service:
        made = requests.list_requests(service, open_only=True)[0]
    assert (made.user, made.reason, made.lasts_s) == ("ada", "INC-9", 1800)
    assert Permission.FORWARD in made.permissions
    assert made.starts_at is not None
    assert abs(made.starts_at - time.time() - 7200) < allow(60)


def test_the_audit_is_read_over_the_api(gateway: Gateway, remote: Mapping[str, str]) -> None:
    def read(*options: str) -> list[Any]:
        result = CliRunner().invoke(stagedoor, ["audit", "--json", *options], env=dict(remote))
        return [json.loads(line) for line in result.stdout.splitlines()]

    assert not run(("grant", "add", "user:ada", "app01"), {}, "--config", str(gateway.file)).error
    events = gateway.audit()
    assert read() == events
    changes = [event for event in events if event["kind"] == "policy.changed"]
    assert read("--kind", "policy.changed", "--lines", "2") == changes[-2:]
    assert read(*(word for kind in EventKind for word in ("--kind", kind.value))) == events
    assert read("--since", "2000-01-01", "--until", "2000-01-02") == []
    assert read("--lines", "0") == []
    assert "Error" not in run(("audit", "--app", "app01", "--user", "ada"), remote).error


def test_recordings_are_played_over_the_api(gateway: Gateway, remote: Mapping[str, str]) -> None:
    session = "0199aaaa111122223333444455"
    events = [AsciicastEvent(0.5, "o", "hello \N{SNOWMAN}\r\n")]
    header = AsciicastHeader(80, 24, 1_760_000_000, title="alice in app01.ssh")
    with gateway.changed() as service:
        StoreJournal(service.database).append([opened(session)])
    folder = gateway.data_dir / "recordings"
    folder.mkdir(exist_ok=True)
    content = encode_header(header) + b"".join(map(encode_event, events))
    (folder / f"{session}.1.cast").write_bytes(content)
    local = ("--config", str(gateway.file))
    for argv in (("recording", "list", "--json"), ("recording", "list", "--user", "alice")):
        assert run(argv, remote) == run(argv, {}, *local)
    export = ("recording", "export", session[:8])
    refused = run(export, remote)
    assert "there is no recording" in refused.error, "a role alone opens none"
    with gateway.changed() as service:
        add_grant(service, "user:ada", "*", permissions=frozenset({Permission.REPLAY}))
    exported = run(export, remote)
    assert exported == run(export, {}, *local)
    assert exported.stdout.encode() == content
    viewers = [e["identity"] for e in gateway.audit() if e["kind"] == "recording.viewed"]
    assert viewers == ["ada", None]
    (folder / f"{session}.1.cast").unlink()
    assert run(export, remote).error.startswith("3 there is no recording")


def test_a_command_of_the_machine_says_that_it_is_one(remote: Mapping[str, str]) -> None:
    result = CliRunner().invoke(stagedoor, ["status"], env=dict(remote), standalone_mode=False)
    assert isinstance(result.exception, SettingsError)
    assert "stagedoor context use local" in str(result.exception)


def test_contexts_are_added_used_and_removed(tmp_path: Path) -> None:
    home = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert "plain http" in run(("context", "add", "x", "http://gw.example"), home).error
    assert (
        "is not a valid name" in run(("context", "add", "local", "https://gw.example"), home).error
    )
    run(("context", "add", "prod", "https://gw.example"), home)
    run(("context", "add", "lab", "https://lab.example:8443/s"), home)
    listed = json.loads(run(("context", "list", "--json"), home).stdout)
    assert [(c["name"], c["in_use"]) for c in listed] == [("prod", False), ("lab", True)]
    run(("context", "use", "prod"), home)
    assert "not logged in at https://gw.example" in run(("user", "list"), home).error
    assert run(("context", "use", "other"), home).error.startswith("3 there is no context")
    run(("context", "remove", "prod"), home)
    assert json.loads(run(("context", "list", "--json"), home).stdout)[0]["in_use"] is False
    assert (tmp_path / "stagedoor/contexts.json").stat().st_mode & 0o777 == 0o600
    elsewhere = {**home, "STAGEDOOR_CONTEXT": "gone"}
    assert run(("user", "list"), elsewhere).error.startswith("3 there is no context 'gone'")
