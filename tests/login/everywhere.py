"""One sign-in, and a session of it by each access method at each gateway, until it ends."""

import base64
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from stagedoor.admin.sign_ins import end_sign_ins, list_sign_ins
from stagedoor.settings.store_location import StoreServer
from stagedoor.wire.ssh.key import KeyRefused, parse_public_key
from tests.fixtures.gateway import Gateway
from tests.fixtures.terminal import WebTerminal, ticket
from tests.login.conftest import settings
from tests.login.machine import Key, Machine, Person
from tests.waiting import BOUND_S

TUNNEL = "{python} -m stagedoor tunnel --gateway http://127.0.0.1:{tunnel} --user dev --token-file"
SSH = f"""
Host gw
  HostName 127.0.0.1
  Port {{ssh}}
Host connect
  HostName app01.ssh
  ProxyCommand {TUNNEL} {{secret}} -- %h %p
Host jump
  HostName app01.ssh
  ProxyJump gw
Host direct
  HostName 127.0.0.1
  Port {{ssh}}
  User app01
Host *
  User dev
  IdentityFile {{key}}
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
"""
BY_SSH = ("connect", "jump", "direct")


@contextmanager
def two_gateways(folder: Path, server: StoreServer, web: str = "") -> Iterator[list[Gateway]]:
    """Yield two gateways on one PostgreSQL store, with the user dev, who may enter app01 at both.

    `web` has more lines for the table of that name.
    """
    store = f'\n[store]\nurl = "{server.url}"\npassword_file = "{server.password_file}"\n'
    with ExitStack() as stack:
        gateways = []
        for number in range(2):
            place = folder / f"gateway{number}"
            place.mkdir()
            toml = settings().replace("[web]\n", f"[web]\n{web}")
            gateways.append(stack.enter_context(Gateway(place, toml + store)))
        gateways[0].add_user("dev", "app01")
        for gateway in gateways:
            gateway.start()
        yield gateways


@dataclass
class SignIn:
    """Made at `gateway`, as `stagedoor login` does. `open_at` may be any that shares its store."""

    folder: Path
    gateway: Gateway
    key: Key = field(init=False)
    closed_at: dict[str, float] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    """The last output of the client, by method and gateway."""
    _threads: list[threading.Thread] = field(default_factory=list)
    _running: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.key = Key(self.folder)
        base = f"http://127.0.0.1:{self.gateway.port('web')}"
        machine = Machine(base, self.key)
        _, begun = machine.start()
        status, _ = (
            Person(base)
            .sign_in()
            .post(f"/login/{begun['id']}/approve", letters=machine.letters(begun["id"]))
        )
        assert status == 200
        status, got = machine.poll(begun["id"])
        assert (status, got["state"]) == (200, "logged-in")
        self.secret = self.folder / "secret"
        self.secret.touch(0o600)
        self.secret.write_text(got["secret"])

    def open_at(self, gateway: Gateway) -> None:
        """Open one session by each method; return once each is open."""
        config = self.folder / f"{gateway.folder.name}.conf"
        config.write_text(
            SSH.format(
                key=self.key.file,
                secret=self.secret,
                python=sys.executable,
                ssh=gateway.port("ssh"),
                tunnel=gateway.port(),
            )
        )
        config.chmod(0o600)
        for method in BY_SSH:
            process = subprocess.Popen(
                ["ssh", "-F", config, method, "echo up; cat"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            self._running.callback(_end, process)
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n", process.communicate()
            self._watch(f"{method} {gateway.folder.name}", partial(_until_ended, process))
        port = gateway.port("web")
        client = WebTerminal(port).hello(
            ticket(port, headers=self.shown), terminal=self.folder.name
        )
        self._running.callback(client.close)
        self._watch(f"web {gateway.folder.name}", partial(_until_gone, client))

    @property
    def shown(self) -> dict[str, str]:
        pair = f"dev:{self.secret.read_text()}".encode()
        return {"Authorization": "Basic " + base64.b64encode(pair).decode()}

    def _watch(self, name: str, last_words: Callable[[], str]) -> None:
        def watch() -> None:
            said = last_words()
            self.closed_at[name] = time.monotonic()
            self.said[name] = said

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        self._threads.append(thread)

    def end(self) -> dict[str, float]:
        """End it, as an administrator does at its gateway; after how many seconds each session was closed."""
        with self.gateway.service() as service:
            key = parse_public_key(self.key.file.with_suffix(".pub").read_text())
            assert not isinstance(key, KeyRefused)
            of_user = list_sign_ins(service, "dev")
            mine = [sign_in for sign_in in of_user if sign_in.key_fingerprint == key.fingerprint]
            began = time.monotonic()
            assert end_sign_ins(service, mine, "laptop stolen") == 1
        for thread in self._threads:
            thread.join(BOUND_S)
            assert not thread.is_alive(), "it goes on"
        return {name: at - began for name, at in self.closed_at.items()}

    def close(self) -> None:
        self._running.close()


def _until_ended(process: subprocess.Popen[str]) -> str:
    process.wait()
    assert process.stderr is not None
    return process.stderr.read()


def _until_gone(client: WebTerminal) -> str:
    client.until(lambda: client.ended)
    return client.notices[-1].text


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
