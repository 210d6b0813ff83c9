"""A real gateway that answers SSH, and stock OpenSSH set up as a developer would."""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from stagedoor.admin import service as admin
from stagedoor.model.permission import Permissions
from tests.openssh import KEX
from tests.pace import allow
from tests.path.gateway import PASSWORD, Gateway
from tests.waiting import BOUND_S as BOUND_S
from tests.waiting import wait_until as wait_until

SSH_TABLE = '[ssh]\naddresses = ["127.0.0.1:0"]\n'


def new_key(path: Path, *options: str) -> Path:
    """Make a key as a developer would; returns `path`."""
    command = ["ssh-keygen", "-q", "-N", "", "-C", path.name, "-f", path]
    subprocess.run([*command, *(options or ("-t", "ed25519"))], check=True)
    return path


def public(key: Path) -> str:
    """Return the public half, as it is registered or signed."""
    return key.with_name(key.name + ".pub").read_text()


Permits = Sequence[tuple[str, str, Permissions]]


class World:
    """A gateway with `dev`, who has a key and may enter `apps`; made before it starts.

    `permits` are grants besides, each of a subject, an app and permissions.
    """

    def __init__(
        self, folder: Path, settings: str, apps: tuple[str, ...] = ("app01",), permits: Permits = ()
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.gateway = Gateway(folder, settings)
        self.key = new_key(folder / "id")
        with admin.open_service(self.gateway.data_dir) as service:
            admin.add_user(service, "dev", password=PASSWORD)
            for app in apps:
                admin.add_grant(service, "user:dev", app)
            admin.add_keys(service, "dev", [public(self.key)])
        for subject, app, permissions in permits:
            self.gateway.permit(subject, app, *permissions)

    @contextlib.contextmanager
    def service(self) -> Iterator[admin.AdminService]:
        """Change the policy as an administrator, and return once the worker has it."""
        with self.gateway.changed() as service:
            yield service

    @property
    def port(self) -> int:
        return self.gateway.port("ssh")

    def config(self, *lines: str, key: Path | None = None, user: str = "dev") -> Path:
        """Return an ssh_config; a question about a host key would be a failure."""
        known = self.folder / "known_hosts"
        authority = (self.gateway.data_dir / "keys" / "host_ca.pub").read_text()
        path = self.folder / f"config.{os.urandom(4).hex()}"
        anew = self.folder / f"{path.name}.known"
        anew.write_text(f"@cert-authority * {authority}")
        anew.replace(known)  # another ssh may be reading it
        path.write_text(
            f"Host gw\n  HostName 127.0.0.1\n  Port {self.port}\n  User {user}\n"
            "Host *.ssh *-ssh\n  ProxyJump gw\n"
            "Host *\n"
            + "".join(f"  {line}\n" for line in lines)
            + f"  UserKnownHostsFile {known}\n"
            "  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n"
            f"  IdentityFile {key or self.key}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  BatchMode yes\n  ConnectTimeout 60\n  {KEX}\n"
        )
        return path

    def ssh(
        self, *words: str, config: Path | None = None, input: bytes = b"", check: bool = False
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run ssh to its end."""
        command = ["ssh", "-F", config or self.config(), *words]
        done = subprocess.run(command, input=input, capture_output=True, timeout=allow(100))
        assert not check or done.returncode == 0, done.stderr.decode()
        return done

    def sessions(self) -> list[dict[str, object]]:
        return self.gateway.sessions()


@contextlib.contextmanager
def open_world(
    folder: Path, settings: str, apps: tuple[str, ...] = ("app01",), permits: Permits = ()
) -> Iterator[World]:
    world = World(folder, settings, apps, permits)
    try:
        world.gateway.start()
        yield world
    finally:
        world.gateway.stop()
        world.gateway.stop_shells()


class Echo:
    """A TCP server of the test's own, as the shell of an app; `serve` by default says all back."""

    def __init__(self, serve: Callable[[socket.socket], None] | None = None) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listening.getsockname()[1]
        self._serve = serve or echo
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            self._serve(sock)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


def echo(sock: socket.socket) -> None:
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def static(app: str, port: int) -> str:
    return (
        f'[[shells.static]]\napp = "{app}"\nhost = "127.0.0.1"\nport = {port}\n'
        'networks = ["127.0.0.0/8"]\n'
    )


def local(app: str, options: str = "") -> str:
    return f'[[shells.local]]\napp = "{app}"\nlogin_shell = "/bin/bash"\n{options}'
