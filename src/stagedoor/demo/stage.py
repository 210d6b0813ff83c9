"""The demo's stage: a folder with settings, keys, one user with a grant for two apps, an ssh config."""

import asyncio
import json
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from stagedoor.admin.certificates.authorities import host_ca, user_key
from stagedoor.admin.service import add_grant, add_keys, add_user, create_token, open_service
from stagedoor.admin.sign_in.links import make_link
from stagedoor.demo.client_files import (
    APPS,
    DEVELOPER,
    USER,
    ClientFiles,
    DemoUser,
    write_configs,
)
from stagedoor.demo.clients import Login
from stagedoor.demo.provider import GROUP, DemoProvider, provider_beside
from stagedoor.model.errors import StagedoorError
from stagedoor.model.permission import Permission
from stagedoor.serve import log
from stagedoor.serve.parts.shells import stop_local_shells
from stagedoor.serve.prepare import VerifiedSettings, check, prepare
from stagedoor.serve.supervisor.supervisor import Supervisor
from stagedoor.settings.settings import Log, Settings

HOST = "127.0.0.1"
PORT = 8022
"""Taken if it is free: people type it. Otherwise any other."""

_SETTINGS = """\
# Written by `stagedoor demo`.
data_dir = {data_dir}

[tunnel]
addresses = ["{host}:{port}"]

[ssh]
addresses = ["{host}:0"]

[web]
addresses = ["{host}:{web_port}"]

[workers]
drain_timeout_s = 1

[log]
level = "{log_level}"

[[shells.local]]
app = "app01"
env = {{ APP_NAME = "app01", DATABASE_URL = "postgres://app01@db.example/app01", GREETING = "你好 ☕" }}

[[shells.local]]
app = "app02"
env = {{ APP_NAME = "app02", FEATURE_FLAGS = "new-checkout,dark-mode" }}
"""
_NO_PROVIDER = DemoProvider("", 0)


@dataclass(frozen=True)
class Stage(ClientFiles):
    """The way into a gateway on this machine. `moved`: somebody else has the usual port.

    `web` is where browsers come in, `sso` whether they sign in at an identity provider.
    """

    settings_file: Path
    settings: Settings
    moved: bool
    web: str
    sso: bool

    def web_link(self, app: str | None = None) -> str:
        """A link that signs the developer in, once. Raises StagedoorError."""
        with open_service(self.settings, create=False) as service:
            return make_link(self.settings, service, USER, app=app, url=self.web).url


def stagedoor_command() -> tuple[str, ...]:
    """How this very Stagedoor is started: the program beside this Python, else this Python."""
    program = Path(sys.executable).with_name("stagedoor")
    return (str(program),) if program.exists() else (sys.executable, "-m", "stagedoor")


class StoppedError(StagedoorError):
    """Somebody stopped it while it started."""


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGHUP: its terminal is gone. A supervisor would read its settings again."""


class _Ear:
    """Hears the signals that end a demo, and does what is to be done about them now."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.heard = False

    def listen(self) -> None:
        """Take the signals over from the present handler."""
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            loop.add_signal_handler(number, self._hear)

    def stop_listening(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            loop.remove_signal_handler(number)

    def _hear(self) -> None:
        self.heard = True
        self.act()


@asynccontextmanager
async def staged(
    log_level: str, *others: DemoUser, sso: bool = False
) -> AsyncIterator[tuple[Stage, Supervisor]]:
    """A gateway that serves, in a folder of its own; at the end everything is stopped and gone.

    `others` are let in besides the developer, who alone has an ssh key; with `sso` those who sign in at the
    identity provider beside it. SIGINT, SIGTERM and SIGHUP stop the supervisor; a second one does not wait
    for those inside. Raises StoppedError when one comes before it serves, StagedoorError when it cannot
    start.
    """
    log.configure(Log(level=log_level))  # type: ignore[arg-type]  # callers pass the literals
    task = asyncio.current_task()
    assert task is not None, "a context manager is entered by a task"
    ear = _Ear(task.cancel)
    async with AsyncExitStack() as stack:
        ear.listen()
        stack.callback(ear.stop_listening)
        folder = _new_folder()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            beside = provider_beside(folder, HOST)
            provider = await stack.enter_async_context(beside) if sso else _NO_PROVIDER
            place = _Place(folder, log_level, provider)
            stage, supervisor = await _start(stack, ear, place, (DEVELOPER, *others))
        except (asyncio.CancelledError, StagedoorError):
            if ear.heard:
                raise StoppedError("stopped before it served") from None
            raise
        yield stage, supervisor


@dataclass(frozen=True)
class _Place:
    """What the settings are written from."""

    folder: Path
    log_level: str
    provider: DemoProvider


async def _start(
    stack: AsyncExitStack, ear: _Ear, place: _Place, people: tuple[DemoUser, ...]
) -> tuple[Stage, Supervisor]:
    """All that lies in the folder, and the gateway on the usual port, or on any if that is taken."""
    port, folder = free_port(), place.folder
    checked = _prepared(place, port)
    # Before the start, so that all of it is in force from the first moment.
    secrets_of = _let_in(folder, checked.settings, people)
    try:
        supervisor = await _serving(stack, ear, checked)
    except StagedoorError:
        if ear.heard or not port:
            raise
        # Somebody has taken the port since, who may have given it back by now; any other trouble
        # comes again.
        checked = _prepared(place, 0)
        supervisor = await _serving(stack, ear, checked)
    host, port = supervisor.addresses()["tunnel"][0]
    client = (*stagedoor_command(), "tunnel")
    logins = {
        name: Login(host, port, name, password, token_file, token_file.parent, client)
        for name, (password, token_file) in secrets_of.items()
    }
    return _with_ssh_config(folder, checked.settings, logins, supervisor), supervisor


async def _serving(stack: AsyncExitStack, ear: _Ear, checked: VerifiedSettings) -> Supervisor:
    supervisor = Supervisor(checked, lambda: check(Path(checked.name)))

    async def end() -> None:
        supervisor.stop()
        await supervisor.wait()
        await asyncio.to_thread(stop_local_shells, checked.settings)

    stack.push_async_callback(end)
    starting = asyncio.create_task(supervisor.start())
    await asyncio.sleep(0)  # by the end of its first step it has taken the signals
    ear.act = supervisor.stop
    ear.listen()
    await starting
    if ear.heard:
        raise StoppedError("stopped before it served")
    return supervisor


def _new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="stagedoor-demo-")).resolve()


def free_port() -> int:
    """The usual port, or 0, which takes any, if somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, PORT))
        except OSError:
            return 0
    return PORT


def _prepared(place: _Place, port: int) -> VerifiedSettings:
    """Settings, store and keys."""
    file = place.folder / "stagedoor.toml"
    text = _SETTINGS.format(
        data_dir=json.dumps(str(place.folder / "data")),
        host=HOST,
        port=port,
        web_port=place.provider.web_port,
        log_level=place.log_level,
    )
    text += place.provider.settings
    file.write_text(text, encoding="utf-8")
    checked = check(file)
    prepare(checked.settings)
    return checked


def _let_in(
    folder: Path, settings: Settings, people: tuple[DemoUser, ...]
) -> dict[str, tuple[str, Path]]:
    """Write everybody into the store; each one's password and token file by name."""
    found = {}
    with open_service(settings) as service:
        for person in people:
            password = secrets.token_urlsafe(12)
            add_user(service, person.name, password=password)
            for app in person.apps:
                add_grant(service, f"user:{person.name}", app)
            if person is DEVELOPER:
                add_grant(service, f"user:{USER}", "*", permissions=frozenset({Permission.REPLAY}))
            own = folder / person.name
            own.mkdir()
            token_file = own / "token"
            token_file.touch(mode=0o600)
            token = create_token(service, person.name)
            token_file.write_text(token.text + "\n", encoding="utf-8")
            found[person.name] = (password, token_file)
        add_keys(service, USER, [user_key(folder / "id_ed25519")])
        for app in APPS if settings.sso else ():
            add_grant(service, f"group:{GROUP}", app)
    return found


def _with_ssh_config(
    folder: Path, settings: Settings, logins: Mapping[str, Login], supervisor: Supervisor
) -> Stage:
    ssh_host, ssh_port = supervisor.addresses()["ssh"][0]
    login = logins[USER]
    ca = host_ca(settings).public_line()
    return Stage(
        folder=folder,
        logins=logins,
        configs=write_configs(folder, login, ca, f"{ssh_host}:{ssh_port}"),
        near=True,
        settings_file=folder / "stagedoor.toml",
        settings=settings,
        moved=login.port != PORT,
        web="http://{}:{}".format(*supervisor.addresses()["web"][0]),
        sso=bool(settings.sso),
    )
