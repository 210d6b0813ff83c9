"""The gateway of the demo: a folder with settings and keys, a user with grants for two apps, ssh files."""

import asyncio
import json
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from stagedoor.admin.certificates.authorities import ensure_user_key, load_host_ca
from stagedoor.admin.requests.access_requests import add_rule
from stagedoor.admin.service import (
    AdminService,
    add_grant,
    add_keys,
    add_user,
    create_token,
    open_service,
)
from stagedoor.admin.sessions import request_close, wait_closed
from stagedoor.demo.clients import (
    APPS,
    DEVELOPER,
    USER,
    ClientFiles,
    DemoLogin,
    DemoUser,
    write_configs,
)
from stagedoor.demo.network import DemoNetwork
from stagedoor.demo.provider import GROUP, DemoProvider, run_provider
from stagedoor.model.access_request import RequestRule
from stagedoor.model.errors import StagedoorError
from stagedoor.model.permission import Permission
from stagedoor.serve import log
from stagedoor.serve.parts.shells import stop_local_shells
from stagedoor.serve.prepare import VerifiedSettings, check, prepare
from stagedoor.serve.supervisor.supervisor import Supervisor
from stagedoor.settings.settings import LogSettings, Settings
from stagedoor.signin.links import make_link
from stagedoor.store.sessions import list_sessions

HOST = "127.0.0.1"
PORT = 8022
"""The usual port, which is easy to type. If it is taken, the demo uses any other."""
CLOSE_S = 3.0
"""How long the demo's end waits for the ends of its sessions, which take about a second."""

_SETTINGS = """\
# Written by `stagedoor demo`.
data_dir = {data_dir}

[tunnel]
addresses = ["{host}:{port}"]
{public_url}
[ssh]
addresses = ["{host}:0"]

[web]
addresses = ["{host}:{web_port}"]

[workers]
drain_timeout_s = 1

[log]
level = "error"

[[shells.local]]
app = "app01"
env = {{ APP_NAME = "app01", DATABASE_URL = "postgres://app01@db.example/app01", GREETING = "你好 ☕" }}

[[shells.local]]
app = "app02"
env = {{ APP_NAME = "app02", FEATURE_FLAGS = "new-checkout,dark-mode" }}
"""
_NO_PROVIDER = DemoProvider("", 0)


@dataclass(frozen=True)
class DemoGateway(ClientFiles):
    """A running gateway on this machine, and all that its clients need.

    `moved` is True if another program has the usual port. `web` is the URL for browsers. `sso` is True if
    browsers sign in at an identity provider. `network` lies between ssh and the gateway, if there is one.
    """

    settings_file: Path
    settings: Settings
    moved: bool
    web: str
    sso: bool
    network: DemoNetwork | None = None

    def make_web_link(self, app: str | None = None) -> str:
        """Make a link that signs the developer in once. Raises StagedoorError."""
        with open_service(self.settings, create=False) as service:
            return make_link(self.settings, service, USER, app=app, url=self.web).url


def find_command() -> tuple[str, ...]:
    """Return the command of this installation: `stagedoor` beside this Python, else this Python with `-m`."""
    program = Path(sys.executable).with_name("stagedoor")
    return (str(program),) if program.exists() else (sys.executable, "-m", "stagedoor")


class StoppedError(StagedoorError):
    """A signal stopped the demo during its start."""


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end the demo. On SIGHUP, which means that its terminal is closed, a supervisor alone would
reload its settings."""


class _EndSignals:
    """The handler of the signals that end the demo. It calls `act`, which the owner may replace."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.received = False

    def listen(self) -> None:
        """Handle the signals from now on, instead of the present handler."""
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            loop.add_signal_handler(number, self._handle)

    def stop_listening(self) -> None:
        """Handle the signals no longer."""
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            loop.remove_signal_handler(number)

    def _handle(self) -> None:
        self.received = True
        self.act()


@asynccontextmanager
async def run_demo(
    *others: DemoUser, sso: bool = False, cuts: bool = False, settings: str = ""
) -> AsyncIterator[tuple[DemoGateway, Supervisor]]:
    """Run a gateway in a temporary folder until the block ends, and then stop and remove everything.

    `others` are further users besides the developer, who alone has an ssh key. With `sso`, an identity
    provider runs too, whose users may log in. With `cuts`, ssh reaches the gateway by a network that can be
    cut. `settings` are added to the demo's own. SIGINT, SIGTERM and SIGHUP stop the supervisor; a second
    signal does not wait for open sessions. Raises StoppedError on a signal before the gateway serves,
    StagedoorError if it cannot start.
    """
    log.configure(LogSettings(level="error"))
    task = asyncio.current_task()
    assert task is not None, "a context manager is entered by a task"
    signals = _EndSignals(task.cancel)
    async with AsyncExitStack() as stack:
        signals.listen()
        stack.callback(signals.stop_listening)
        folder = _new_folder()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            context = run_provider(folder, HOST)
            provider = await stack.enter_async_context(context) if sso else _NO_PROVIDER
            setup = _Setup(folder, provider, cuts, settings)
            demo, supervisor = await _start(stack, signals, setup, (DEVELOPER, *others))
        except (asyncio.CancelledError, StagedoorError):
            if signals.received:
                raise StoppedError("stopped before it served") from None
            raise
        yield demo, supervisor


@dataclass(frozen=True)
class _Setup:
    """The values for the demo's settings."""

    folder: Path
    provider: DemoProvider
    cuts: bool
    settings: str


async def _start(
    stack: AsyncExitStack, signals: _EndSignals, setup: _Setup, users: tuple[DemoUser, ...]
) -> tuple[DemoGateway, Supervisor]:
    """Write the folder, and start the gateway on the usual port, or on any other if that is taken."""
    folder, port = setup.folder, free_port()
    network = _open_network(stack, port) if setup.cuts else None
    if network is not None:
        port = 0
    checked = _prepare(setup, port, network)
    # Before the start, so that the users can log in from the first moment.
    secrets_of = _add_users(folder, checked.settings, users)
    try:
        supervisor = await _serve(stack, signals, checked)
    except StagedoorError:
        if signals.received or not port:
            raise
        # Another program may have taken the port in the meantime. After any other error, the second attempt
        # fails too.
        checked = _prepare(setup, 0, network)
        supervisor = await _serve(stack, signals, checked)
    host, port = supervisor.list_addresses()["tunnel"][0]
    if network is not None:
        network.to, port = port, network.port
    client = (*find_command(), "tunnel")
    logins = {
        name: DemoLogin(host, port, name, password, token_file, token_file.parent, client)
        for name, (password, token_file) in secrets_of.items()
    }
    return _describe(setup, checked.settings, logins, supervisor, network), supervisor


def _open_network(stack: AsyncExitStack, port: int) -> DemoNetwork:
    """Open a network on `port`, or on any other if that is taken, until the stack is unwound."""
    try:
        network = DemoNetwork(port=port)
    except OSError:
        network = DemoNetwork()
    stack.callback(network.close_network)
    return network


def _new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="stagedoor-demo-")).resolve()


async def _serve(
    stack: AsyncExitStack, signals: _EndSignals, checked: VerifiedSettings
) -> Supervisor:
    command = (*find_command(), "--config", checked.name, "serve")
    supervisor = Supervisor(checked, lambda: check(Path(checked.name)), command)

    async def end() -> None:
        ending.begin()
        await supervisor.wait()
        await asyncio.to_thread(stop_local_shells, checked.settings)

    ending = _GatewayEnd(supervisor, checked.settings)
    stack.push_async_callback(end)
    starting = asyncio.create_task(supervisor.start())
    await asyncio.sleep(0)  # the supervisor's first step sets its handlers, which are replaced here
    signals.act = supervisor.stop_gateway
    signals.listen()
    await starting
    if signals.received:
        raise StoppedError("stopped before it served")
    signals.act = ending.begin
    return supervisor


class _GatewayEnd:
    """The end of the demo's sessions, and then of its gateway.

    The clients of sessions that are not ended would wait for this gateway to return.
    """

    def __init__(self, supervisor: Supervisor, settings: Settings) -> None:
        self._supervisor = supervisor
        self._settings = settings
        self._count = 0
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """End all. After a second call, the gateway does not wait for open sessions."""
        self._count += 1
        if self._task is None:
            self._task = asyncio.create_task(self._end())
        elif self._task.done():
            self._supervisor.stop_gateway()

    async def _end(self) -> None:
        try:
            with suppress(StagedoorError), open_service(self._settings, create=False) as service:
                ids = [session.id for session in list_sessions(service.database, limit=None)]
                if ids:
                    await asyncio.to_thread(request_close, service, ids, "the demo ends")
                    await wait_closed(service, ids, CLOSE_S)
        finally:
            for _ in range(self._count):
                self._supervisor.stop_gateway()


def free_port() -> int:
    """Return the usual port, or 0 for any port if another program has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, PORT))
        except OSError:
            return 0
    return PORT


def _prepare(setup: _Setup, port: int, network: DemoNetwork | None) -> VerifiedSettings:
    """Write the settings, the store and the keys. Clients reach `network` and not `port`, if there is one."""
    file = setup.folder / "stagedoor.toml"
    text = _SETTINGS.format(
        data_dir=json.dumps(str(setup.folder / "data")),
        host=HOST,
        port=port,
        public_url=f'public_url = "http://{HOST}:{network.port}"\n' if network else "",
        web_port=setup.provider.web_port,
    )
    text += setup.provider.settings + setup.settings
    file.write_text(text, encoding="utf-8")
    checked = check(file)
    prepare(checked.settings)
    return checked


def _add_users(
    folder: Path, settings: Settings, users: tuple[DemoUser, ...]
) -> dict[str, tuple[str, Path]]:
    """Add the users to the store, and return the password and the token file of each by name."""
    credentials = {}
    with open_service(settings) as service:
        for user in users:
            password = secrets.token_urlsafe(12)
            add_user(service, user.name, password=password)
            for app in user.apps:
                add_grant(service, f"user:{user.name}", app)
            for app in user.on_request:
                _add_rule(service, f"user:{user.name}", app)
            if user is DEVELOPER:
                more = frozenset({Permission.REPLAY, Permission.RUN})
                add_grant(service, f"user:{USER}", "*", permissions=more)
            own = folder / user.name
            own.mkdir()
            token_file = own / "token"
            token_file.touch(mode=0o600)
            token = create_token(service, user.name)
            token_file.write_text(token.text + "\n", encoding="utf-8")
            credentials[user.name] = (password, token_file)
        add_keys(service, USER, [ensure_user_key(folder / "id_ed25519")])
        if settings.sso:
            add_grant(service, f"group:{GROUP}", APPS[0])
            _add_rule(service, f"group:{GROUP}", APPS[1])
    return credentials


def _add_rule(service: AdminService, subject: str, app: str) -> None:
    """Let the users of `subject` ask for access to an app; the developer decides."""
    add_rule(service, RequestRule(0, subject, app, approvers=(f"user:{USER}",)))


def _describe(
    setup: _Setup,
    settings: Settings,
    logins: Mapping[str, DemoLogin],
    supervisor: Supervisor,
    network: DemoNetwork | None,
) -> DemoGateway:
    ssh_host, ssh_port = supervisor.list_addresses()["ssh"][0]
    folder, login = setup.folder, logins[USER]
    ca = load_host_ca(settings).format_public_line()
    return DemoGateway(
        folder=folder,
        logins=logins,
        configs=write_configs(folder, login, ca, f"{ssh_host}:{ssh_port}"),
        near=True,
        settings_file=folder / "stagedoor.toml",
        settings=settings,
        moved=login.port != PORT,
        web="http://{}:{}".format(*supervisor.list_addresses()["web"][0]),
        sso=bool(settings.sso),
        network=network,
    )
