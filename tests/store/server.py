"""A real PostgreSQL server for tests: Debian's, under an account of its own, fsync on."""

import atexit
import base64
import contextlib
import functools
import hashlib
import hmac
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg

from stagedoor.settings.store_location import StoreServer
from stagedoor.store.database import open_database
from tests.missing import missing

ROLE = "stagedoor"
PASSWORD = "s3cret: of the role's"


def programs() -> Path | None:
    """Return the folder of the newest installed server's programs; Debian keeps them off the PATH."""
    candidates = [*Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if candidates:
        return max(candidates, key=lambda path: float(path.parent.parent.name)).parent
    initdb = shutil.which("initdb")
    return Path(initdb).parent if initdb else None


class PostgresqlHere:
    """A server in a folder of its own, reached by a Unix socket there; `options` are its settings.

    From the next start on it also listens on TCP at `listen`:`port`, if that is set.

    `role` logs in with a password and owns each database that `database` makes; `admin` is the
    superuser, let in by the kernel's word for who asks.
    """

    def __init__(self, *options: str, port: int = 5432) -> None:
        """`port` names the socket; nothing listens on TCP unless an option says so."""
        bin_ = programs()
        if bin_ is None:
            missing("PostgreSQL is not installed; as root: apt-get install postgresql")
        self._bin = bin_
        self._options = options
        self.port = port
        self.listen = ""
        # A socket's path is short, unix(7), and pytest's folders are closed to other accounts.
        self.folder = Path(tempfile.mkdtemp(prefix="stagedoor-pg-"))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.process: subprocess.Popen[bytes] | None = None
        self._store = ""
        """The name of the database that `filled` copies."""
        account = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self._as: tuple[str, ...] = ()
        if os.geteuid() == 0:  # which initdb refuses
            self._as = ("setpriv", f"--reuid={account}", f"--regid={account}", "--clear-groups")
            shutil.chown(self.folder, account)
        self.superuser = account

    def make(self) -> "PostgresqlHere":
        """initdb, start, and the role."""
        subprocess.run(
            ["cp", "-a", _new_data(self._as, self._bin, self.superuser), self.data], check=True
        )
        (self.data / "pg_hba.conf").write_text(
            f"local all {self.superuser} trust\n"
            "local all all scram-sha-256\n"
            "host all all 127.0.0.1/32 scram-sha-256\n"
        )
        self.start()
        self.admin(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{_verifier(PASSWORD)}'")
        return self

    def start(self) -> None:
        """Start, and return once it answers."""
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [
                *(*self._as, self._bin / "postgres", "-D", self.data),
                *("-k", self.folder, "-p", str(self.port)),
                *("-c", f"listen_addresses={self.listen}", "-c", "fsync=on"),
                *("-c", "shared_buffers=16MB", "-c", "max_connections=60"),
                *(part for option in self._options for part in ("-c", option)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()
        self.wait_until_up()

    def wait_until_up(self) -> None:
        while True:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
            with contextlib.suppress(psycopg.OperationalError), self.superusers():
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)  # a pause, and at once aware of its death

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast, cutting every client off; SIGQUIT: as a crash does
        (https://www.postgresql.org/docs/current/server-shutdown.html)."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.postmaster(), number)
            self.process.wait(60)

    def postmaster(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split("\n")[0])

    def pids(self) -> list[int]:
        """The server's processes."""
        first = self.postmaster()
        children = Path(f"/proc/{first}/task/{first}/children").read_text()
        return [first, *map(int, children.split())]

    def destroy(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def superusers(self, database: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            host=str(self.folder),
            port=self.port,
            dbname=database,
            user=self.superuser,
            autocommit=True,
        )

    def admin(self, sql: str, database: str = "postgres") -> None:
        with self.superusers(database) as link:
            link.execute(sql.encode())

    def database(self, *options: str, owner: str = ROLE) -> StoreServer:
        """A new, empty database, with the password in a file."""
        name = f"d{secrets.token_hex(6)}"
        self.admin(f"CREATE DATABASE {name} OWNER {owner} {' '.join(options)}")
        password_file = self.folder / f"{name}.password"
        password_file.touch(mode=0o600)
        password_file.write_text(PASSWORD + "\n")
        host = str(self.folder).replace("/", "%2F")
        return StoreServer(f"postgresql://{ROLE}@{host}:{self.port}/{name}", password_file)

    def filled(self) -> StoreServer:
        """A new database with the tables in it, as a copy of one that the program has filled. The program
        would take five times as long, at each of its migrations."""
        if not self._store:
            server = self.database()
            open_database(server).close()
            self._store = name_of(server)
        return self.database(f"TEMPLATE {self._store}")

    def drop(self, server: StoreServer) -> None:
        self.admin(f"DROP DATABASE IF EXISTS {name_of(server)} WITH (FORCE)")

    def raw(self, server: StoreServer) -> "psycopg.Connection[tuple[object, ...]]":
        """The superuser, in that database."""
        return self.superusers(name_of(server))


@functools.cache
def _new_data(as_: tuple[str, ...], bin_: Path, superuser: str) -> Path:
    """Run initdb, which takes a second of the processor: once in this process, for copies."""
    folder = Path(tempfile.mkdtemp(prefix="stagedoor-pg-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if as_:
        shutil.chown(folder, superuser)
    done = subprocess.run(
        [
            *(*as_, bin_ / "initdb", "-D", folder / "data", "-U", superuser, "-E", "UTF8"),
            *("--locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder / "data"


def _verifier(password: str) -> str:
    """Return what the server keeps of a password (RFC 5803), of one round: each connection takes so many of
    both ends, and of the usual 4,096 several milliseconds."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))
    return "SCRAM-SHA-256$1:{}${}:{}".format(*(base64.b64encode(part).decode() for part in parts))


def name_of(server: StoreServer) -> str:
    """The database's name."""
    return server.url.partition("?")[0].rpartition("/")[2]


@contextlib.contextmanager
def server_here(*options: str, port: int = 5432) -> Iterator[PostgresqlHere]:
    """A server of one's own, to be hurt."""
    made = PostgresqlHere(*options, port=port)
    try:
        yield made.make()
    finally:
        made.destroy()
