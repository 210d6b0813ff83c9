"""People change what they sign in by over stock OpenSSH; attacks first, then what it is for."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stagedoor.admin import service as admin
from stagedoor.authn.passes import on_password_of
from stagedoor.cli.app import stagedoor
from stagedoor.model.identity import Identity, Method
from stagedoor.model.passkey import PasskeyRecord
from stagedoor.store.sign_in import passkeys
from tests.path.gateway import PASSWORD
from tests.ssh.signed_in import signed_in
from tests.ssh.test_direct_gateway import Terminal
from tests.ssh.world import SSH_TABLE, World, local, new_key, open_world, public, wait_until

SETTINGS = (
    SSH_TABLE
    + "passwords = true\n"
    + local("app01")
    + '[accounts]\nself_service = ["password", "tokens", "keys"]\ntoken_max_days = 60\n'
    + '[web]\npublic_url = "https://shell.example"\n[throttle]\nfree_tries = 3\n'
)
NEW = "another horse, another battery"
NO_PERSON = b"stagedoor: an account is for people, and you came by a"
CHANGES = (
    "account",
    "account --json",
    "token list",
    "token create",
    "token revoke x",
    "key challenge",
    "key add",
    "key remove x",
    "passkey remove x",
    "sign-in end --others",
    "password --password-stdin",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """`alice` and `bob` have passwords; `dev` has a registered key besides, and `ci` nothing."""
    with open_world(tmp_path_factory.mktemp("account"), SETTINGS) as one:
        with one.service() as service:
            for name in ("alice", "bob"):
                admin.add_user(service, name, password=PASSWORD)
                admin.add_grant(service, f"user:{name}", "app01")
            admin.add_user(service, "ci")
        yield one


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return new_key(tmp_path / "laptop")


@pytest.fixture
def alice(world: World, key: Path) -> Path:
    """How alice comes, by the key of her sign-in."""
    signed_in(world, "alice", key)
    return world.config(key=key, user="alice")


def by_password(world: World, user: str, secret: str) -> Path:
    """How somebody comes whom ssh asks for a password, or a token in its place."""
    program = world.folder / f"askpass.{os.urandom(4).hex()}"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' '{secret}'\n")
    program.chmod(0o700)
    config = world.config("PubkeyAuthentication no", user=user)
    config.write_text(config.read_text().replace("  BatchMode yes\n", ""))
    # Read by `ssh` below, since it is not of ssh's configuration.
    config.with_name(f"{config.name}.askpass").symlink_to(program)
    return config


def ssh(
    world: World, config: Path, *words: str, input: bytes = b""
) -> "subprocess.CompletedProcess[bytes]":
    program = config.with_name(f"{config.name}.askpass")
    asking = {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
    return subprocess.run(
        ["ssh", "-F", config, *words],
        input=input,
        capture_output=True,
        timeout=100,
        env={**os.environ, **(asking if program.exists() else {})},
    )


def said(world: World, config: Path, *words: str, input: bytes = b"") -> str:
    """What a command that succeeds prints."""
    done = ssh(world, config, "gw", *words, input=input)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def held(world: World, config: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(world, config, "account --json"))
    return found


def state_of(world: World) -> object:
    with world.gateway.service() as service:
        policy = admin.policy(service)
        return policy.users, set(policy.tokens), set(policy.keys), policy.signed_out


# Who is no person, or is one no more.


def test_what_a_program_may_hold_changes_nothing(world: World, key: Path, tmp_path: Path) -> None:
    """Sixteen logins by stock ssh: some six seconds."""
    machine = new_key(tmp_path / "machine")
    signed_in(world, "ci", machine, by=Identity("ci", frozenset(), Method.MACHINE, "CI"))
    limited = new_key(tmp_path / "limited")
    one_app = Identity("ci", frozenset(), Method.SSO, "Company", ("connect:app01",))
    signed_in(world, "ci", limited, by=one_app)
    ca = world.gateway.data_dir / "keys" / "user_ca"
    sign = ["ssh-keygen", "-q", "-s", ca, "-I", "ops", "-n", "dev", f"{key}.pub"]
    subprocess.run(sign, check=True)
    strangers = {
        "a registered key": world.config(),
        "a token": by_password(world, "dev", world.gateway.token()),
        "a certificate of an administrator's": world.config(
            f"CertificateFile {key}-cert.pub", key=key
        ),
        "a machine's login": world.config(key=machine, user="ci"),
        "a credential for some apps alone": world.config(key=limited, user="ci"),
    }
    before = state_of(world)
    for came_by, config in strangers.items():
        done = ssh(world, config, "gw", "account")
        assert (done.returncode, done.stdout) == (1, b"")
        assert NO_PERSON in done.stderr
        assert came_by.encode() in done.stderr
        assert b"PubkeyAuthentication=no" in done.stderr
        assert b"https://shell.example/account" in done.stderr
    for command in CHANGES:
        done = ssh(world, world.config(), "gw", command, input=b"x\ny\n")
        assert (done.returncode, done.stdout) == (1, b""), command
        assert NO_PERSON in done.stderr, command
    assert state_of(world) == before
    wait_until(
        lambda: (
            {"dev", "ci"}
            <= {one["identity"] for one in world.gateway.audit() if one["kind"] == "session.denied"}
        )
    )


def test_a_connection_whose_sign_in_has_ended_changes_nothing(
    world: World, key: Path, tmp_path: Path
) -> None:
    sign_in = signed_in(world, "alice", key)
    config = world.config(f"ControlPath {tmp_path / 'c'}", key=key, user="alice")
    with subprocess.Popen(["ssh", "-F", config, "-MN", "gw"], stderr=subprocess.PIPE) as master:
        try:
            wait_until((tmp_path / "c").exists)
            assert held(world, config)["user"] == "alice"
            before = state_of(world)
            world.gateway.command("sign-in", "end", sign_in.id.hex(), "--yes")
            for command in ("token create", "account", "sign-in end --others"):
                done = ssh(world, config, "gw", command)
                assert done.returncode in (1, 255)  # 255: the connection itself was closed by then
                assert done.stdout == b""
        finally:
            master.kill()
    after = state_of(world)
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    assert after[:3] == before[:3]


def test_nobody_takes_what_is_anothers(world: World, alice: Path) -> None:
    with world.service() as service:
        token = admin.create_token(service, "bob").id
        bobs = new_key(world.folder / f"bob.{os.urandom(4).hex()}")
        [theirs] = admin.add_keys(service, "bob", [public(bobs)])
        with service.change("passkey.add") as change:
            made = PasskeyRecord("b0b", "bob", "phone", "gw.example", b"key", 0, time.time())
            passkeys.add_passkey(change.transaction, made, 20)
    other = signed_in(world, "bob", new_key(bobs.with_name(f"{bobs.name}.laptop")))
    before = state_of(world)
    for command in (
        f"token revoke {token}",
        f"key remove {theirs.fingerprint}",
        "passkey remove b0b",
        f"sign-in end {other.id.hex()}",
        f"sign-in end {other.id.hex()[:12]}",
    ):
        done = ssh(world, alice, "gw", command)
        assert done.returncode == 1, command
        assert b"bob" not in done.stdout + done.stderr
    # bob's signature over alice's line would be bob's own doing; over another line it is worth nothing.
    sign = ["ssh-keygen", "-Y", "sign", "-n", "key@stagedoor", "-f", bobs]
    made_here = subprocess.run(
        sign, input=b"key-of:alice@127.0.0.1:0\n", capture_output=True, check=True
    )
    done = ssh(world, alice, "gw", "key add", input=made_here.stdout)
    assert done.returncode == 1
    assert b"no signature of the line" in done.stderr
    assert ssh(world, alice, "gw", "key add", input=public(bobs).encode()).returncode == 1
    assert state_of(world) == before


@pytest.mark.parametrize("command", ["key add", "password --password-stdin", "account"])
def test_an_input_of_any_size_costs_nothing(world: World, alice: Path, command: str) -> None:
    done = ssh(world, alice, "gw", command, input=b"x" * 10_000_000)
    if command == "account":
        assert done.returncode == 0
    else:
        assert done.returncode == 1
        assert b"nothing was changed: more than 16 KiB came on stdin" in done.stderr


def test_wrong_commands_are_told_and_a_password_is_in_no_answer(world: World, alice: Path) -> None:
    done = ssh(world, alice, "gw", "password hunter2")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"never written behind the command" in done.stderr
    assert b"hunter2" not in done.stderr
    done = ssh(world, alice, "gw", "token")
    assert done.returncode == 2
    assert b"token create [APP" in done.stderr
    done = ssh(world, alice, "gw", "passkey add")
    assert done.returncode == 1
    assert b"add one on your account's page (https://shell.example/account)" in done.stderr
    assert "token create" in said(world, alice, "help")


# What it is for.


@pytest.mark.identity(36)
def test_the_lists_are_those_of_an_administrator(world: World, alice: Path) -> None:
    evil = "\x1b[31mred"
    with world.service() as service:
        admin.create_token(
            service, "alice", scopes=["connect:app01"], expires_at=time.time() + 86_400
        )
        admin.add_keys(service, "alice", [public(new_key(world.folder / "listed"))])
        with service.change("passkey.add") as change:
            made = PasskeyRecord("a11ce", "alice", evil, "gw.example", b"key", 0, time.time())
            passkeys.add_passkey(change.transaction, made, 20)
    everything = held(world, alice)
    assert everything["user"] == "alice"
    for noun, listed in (
        ("token", ("token", "list", "alice")),
        ("key", ("key", "list", "alice")),
        ("passkey", ("passkey", "list", "alice")),
        ("sign-in", ("sign-in", "list", "--user", "alice")),
    ):
        command = ["--config", str(world.gateway.file), *listed, "--json"]
        theirs = json.loads(CliRunner().invoke(stagedoor, command, standalone_mode=False).stdout)
        ours = json.loads(said(world, alice, f"{noun} list --json"))
        assert ours == everything[f"{noun.replace('-', '_')}s"]
        assert theirs
        assert [{k: v for k, v in one.items() if k != "this"} for one in ours] == theirs
    text = said(world, alice, "account")
    assert "\x1b" not in text
    assert "\\x1b[31mred" in text
    assert "(this one)" in text
    done = ssh(world, alice, "gw", "passkey remove a11ce")
    assert done.returncode == 0
    assert held(world, alice)["passkeys"] == []


@pytest.mark.identity(36)
def test_a_token_is_shown_once_opens_no_more_than_it_says_and_is_revoked(
    world: World, alice: Path
) -> None:
    for refused, why in (
        ("token create nowhere", b"is not within what alice may enter"),
        ("token create '*'", b"is not within what alice may enter"),
        ("token create --expires 61d", b"up to 60 days (accounts.token_max_days)"),
        ("token create --expires never", b"--expires is how long it lasts"),
    ):
        done = ssh(world, alice, "gw", refused)
        assert (done.returncode, done.stdout) == (1, b"")
        assert why in done.stderr
    done = ssh(world, alice, "gw", "token create app01 --expires 8h")
    assert done.returncode == 0
    token = done.stdout.decode().strip()
    [made] = [one for one in held(world, alice)["tokens"] if one["scopes"] == ["connect:app01"]
              and str(one["id"]) in token]  # fmt: skip
    by_token = by_password(world, "alice", token)
    assert ssh(world, by_token, "gw", "whoami").stdout.startswith(b"alice\n")
    secret = token.partition(str(made["id"]))[2]
    assert secret
    for kept in (repr(world.gateway.audit()), repr(world.gateway.lines)):
        assert secret not in kept
    assert ssh(world, alice, "gw", f"token revoke {made['id']}").returncode == 0
    wait_until(lambda: ssh(world, by_token, "gw", "whoami").returncode == 255)
    actors = [one["identity"] for one in world.gateway.audit() if one["kind"] == "policy.changed"]
    assert actors[-2:] == ["alice (ssh)", "alice (ssh)"]


@pytest.mark.identity(36)
def test_a_key_is_added_by_its_signature_and_removed(
    world: World, alice: Path, tmp_path: Path
) -> None:
    mine = new_key(tmp_path / "mine")
    gw, sign = f"ssh -F {alice} gw", f"ssh-keygen -q -Y sign -n key@stagedoor -f {mine}"
    pipe = f"{gw} key challenge | {sign} | {gw} key add --comment \"'my laptop'\""
    done = subprocess.run(["sh", "-c", pipe], capture_output=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    [added] = [one for one in held(world, alice)["keys"] if one["comment"] == "my laptop"]
    config = world.config(key=mine, user="alice")
    assert ssh(world, config, "gw", "whoami").stdout.splitlines()[2].startswith(b"by: SHA256:")
    # It lets in, and changes nothing by itself.
    assert NO_PERSON in ssh(world, config, "gw", "token create").stderr
    assert ssh(world, alice, "gw", f"key remove {added['fingerprint']}").returncode == 0
    wait_until(lambda: ssh(world, config, "gw", "whoami").returncode == 255)


def test_a_person_without_a_sign_in_adds_a_key_by_their_password(
    world: World, tmp_path: Path
) -> None:
    mine = new_key(tmp_path / "bobs")
    bob = by_password(world, "bob", PASSWORD)
    line = tmp_path / "line"
    line.write_text(said(world, bob, "key challenge"))
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "key@stagedoor", "-f", mine, line],
        check=True, capture_output=True,
    )  # fmt: skip
    signature = Path(f"{line}.sig").read_bytes()
    assert said(world, bob, "key add --comment bobs", input=signature) == ""
    assert "bobs" in said(world, bob, "key list")


@pytest.mark.identity(36)
def test_sign_ins_are_seen_and_ended(world: World, alice: Path, tmp_path: Path) -> None:
    assert ssh(world, alice, "gw", "sign-in end --others").returncode == 0
    assert [one["this"] for one in held(world, alice)["sign_ins"]] == [True]
    other = new_key(tmp_path / "other")
    sign_in = signed_in(world, "alice", other)
    config = world.config(key=other, user="alice")
    assert ssh(world, config, "gw", "whoami").returncode == 0
    done = ssh(world, alice, "gw", f"sign-in end {sign_in.id.hex()[:12]}")
    assert done.stderr == b"Ended 1 sign-in.\n"
    wait_until(lambda: ssh(world, config, "gw", "whoami").returncode == 255)
    done = ssh(world, alice, "gw", f"sign-in end {sign_in.id.hex()[:12]}")
    assert b"this sign-in is over already" in done.stderr


# The password.


@pytest.fixture
def carol(world: World) -> str:
    name = f"carol-{os.urandom(3).hex()}"
    with world.service() as service:
        admin.add_user(service, name, password=PASSWORD)
    return name


@contextlib.contextmanager
def asked(world: World, config: Path) -> Iterator[Terminal]:
    """`ssh -t gw password`, at its first question."""
    one = Terminal(world, "-F", str(config), "gw", "password")
    try:
        one.shows(b"Present password of ")
        yield one
    finally:
        one.close()


@pytest.mark.identity(36)
def test_a_password_is_changed_at_a_terminal_and_ends_what_the_old_one_opened(
    world: World, carol: str, key: Path
) -> None:
    with world.service() as service:
        user = admin.policy(service).users[carol]
    signed_in(world, carol, key, by=on_password_of(user))
    config = world.config(key=key, user=carol)
    with asked(world, config) as terminal:
        terminal.type(PASSWORD.encode() + b"\r")
        terminal.shows(b"New password of ")
        terminal.type(b"x\x15" + NEW.encode() + b"y\x7f\r")
        terminal.shows(b"The same again: ")
        terminal.type(NEW.encode() + b"\r")
        terminal.shows(b"The password is changed.")
        terminal.ends()
        for secret in (PASSWORD, NEW):
            assert secret.encode() not in terminal.text
    wait_until(lambda: ssh(world, config, "gw", "whoami").returncode == 255)
    assert said(world, by_password(world, carol, NEW), "whoami").startswith(f"{carol}\n")
    assert NEW not in repr(world.gateway.audit())


@pytest.mark.identity(36)
def test_a_password_is_changed_by_a_script(world: World, carol: str) -> None:
    config = by_password(world, carol, PASSWORD)
    lines = f"{PASSWORD}\n{NEW}\n".encode()
    done = ssh(world, config, "gw", "password", input=lines)
    assert done.returncode == 1
    assert b"there is no terminal to ask for a password: ssh -t" in done.stderr
    for wrong, why in (
        (f"{PASSWORD}\n".encode(), b"the new password, the second line is missing"),
        (f"{PASSWORD}\nshort\n".encode(), b"a password has 8 to 1024 characters"),
        (f"{PASSWORD}\nwith\x07a bell\n".encode(), b"no control characters"),
        (b"\xff\xfe\nx\n", b"not UTF-8"),
    ):
        done = ssh(world, config, "gw", "password --password-stdin", input=wrong)
        assert (done.returncode, done.stdout) == (1, b"")
        assert why in done.stderr
    done = ssh(world, config, "gw", "password --password-stdin", input=lines)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"this connection too" in done.stderr
    assert said(world, by_password(world, carol, NEW), "whoami").startswith(f"{carol}\n")


def test_wrong_passwords_are_counted_and_a_break_changes_nothing(
    world: World, carol: str, key: Path
) -> None:
    signed_in(world, carol, key)
    config = world.config(key=key, user=carol)
    before = state_of(world)
    with asked(world, config) as terminal:
        terminal.type(PASSWORD.encode()[:7] + b"\x03")
        terminal.shows(b"nothing was changed: broken off")
        assert terminal.ends() == 130
    with asked(world, config) as terminal:
        terminal.type(PASSWORD.encode() + b"\r")
        terminal.shows(b"New password of ")
        terminal.type(NEW.encode() + b"\r")
        terminal.shows(b"The same again: ")
        terminal.type(NEW.encode()[1:] + b"\r")
        terminal.shows(b"typed in two ways")
        assert terminal.ends() == 1
    with asked(world, config) as terminal:
        terminal.type(b"half")
    # Each wrong one doubles the wait: soon it is longer than an ssh takes on any machine.
    for guess in range(14):
        lines = f"wrong {guess}\n{NEW}\n".encode()
        done = ssh(world, config, "gw", "password --password-stdin", input=lines)
        assert done.returncode == 1
        if b"too many wrong passwords" in done.stderr:
            break
    else:
        raise AssertionError("nobody counts")
    assert state_of(world) == before
