"""A real kube-apiserver with its etcd and nothing else, that can be stopped, killed and compacted."""

import base64
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stagedoor.net.tls import make_client_context
from tests.cluster.programs import program
from tests.missing import missing
from tests.pace import allow
from tests.ports import free_port

START_LIMIT_S = allow(60.0)
ADMIN, UNPRIVILEGED = "admin", "nobody"


def why_not() -> str | None:
    """Why it cannot run here; None if it can."""
    if not program("kube-apiserver").exists():
        return "kube-apiserver is not built: script/cluster up builds it"
    if shutil.which("etcd") is None:
        return "etcd is not installed: apt-get install etcd-server"
    return None


class Program:
    """A program of ours, with its output in `FOLDER/NAME.log`. It ends with us, however we end."""

    def __init__(self, folder: Path, name: str, *command: str) -> None:
        with (folder / f"{name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                # A stray SIGINT of a terminal is for pytest, not for it.
                start_new_session=True,
                env={**os.environ, "ETCD_UNSUPPORTED_ARCH": os.uname().machine},
            )
        # Reads until we are gone. prctl(2)'s PR_SET_PDEATHSIG would go by our thread.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", f"read _; kill -9 {self._process.pid}"],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> None:
        """SIGKILL, also if it is stopped; returns when it is gone."""
        self._guard.kill()
        self._guard.communicate()
        self._process.kill()
        self._process.wait()


class LoneApi:
    """One API server. `kubeconfig(name)` is for the administrator, or for one with no rights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self._etcd_port, peer = (free_port() for _ in range(3))
        self._etcd_url = f"http://127.0.0.1:{self._etcd_port}"
        self._tokens = {name: secrets.token_urlsafe(24) for name in (ADMIN, UNPRIVILEGED)}
        self._certificates()
        self._etcd = Program(
            folder,
            "etcd",
            *("etcd", "--unsafe-no-fsync", f"--data-dir={folder / 'data'}"),
            *(
                f"--listen-client-urls={self._etcd_url}",
                f"--advertise-client-urls={self._etcd_url}",
            ),
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
        )
        self._api: Program | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def token(self, name: str = ADMIN) -> str:
        return self._tokens[name]

    def start(self) -> None:
        """Start the API server, and wait until all of it is there."""
        if self._api is None:
            self._api = Program(self.folder, "kube-apiserver", *self._command())
        context = make_client_context(self.folder / "ca.crt")
        request = urllib.request.Request(f"{self.url}/readyz")
        request.add_header("Authorization", f"Bearer {self.token()}")
        end = time.monotonic() + START_LIMIT_S
        while time.monotonic() < end:
            if self._api.has_ended():
                break
            try:
                with urllib.request.urlopen(request, timeout=2, context=context) as answer:
                    if answer.read() == b"ok":
                        return
            except OSError:
                time.sleep(0.05)  # there is no event for a port that opens
        log = (self.folder / "kube-apiserver.log").read_text(errors="replace")
        raise AssertionError(f"the API server does not start:\n{log[-3000:]}")

    def kill(self) -> None:
        """SIGKILL: every connection breaks."""
        if self._api is not None:
            self._api.end()
            self._api = None

    def freeze(self) -> None:
        """SIGSTOP: connections stay, and nothing comes."""
        assert self._api is not None
        self._api.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._api is not None
        self._api.signal(signal.SIGCONT)

    def compact(self) -> None:
        """Let etcd forget everything but the present."""
        now = self._etcd_ask("/v3/kv/range", {"key": base64.b64encode(b"none").decode()})
        revision = now["header"]["revision"]
        self._etcd_ask("/v3/kv/compaction", {"revision": revision, "physical": True})

    def put(self, items: Sequence[tuple[str, Any]]) -> None:
        """Write objects into etcd in one transaction, each by its key below `/registry/`, as JSON.

        The API server reads that as well as its own encoding.
        """
        puts = [
            {"requestPut": {"key": _base64(f"/registry/{key}"), "value": _base64(json.dumps(item))}}
            for key, item in items
        ]
        if puts:
            self._etcd_ask("/v3/kv/txn", {"success": puts})

    def write_and_compact(self) -> None:
        """As `compact`, after a write, so that every moment that was read so far is forgotten."""
        for _ in range(2):
            pair = {"key": base64.b64encode(b"/lone").decode(), "value": ""}
            self._etcd_ask("/v3/kv/put", pair)
        self.compact()

    def close(self) -> None:
        self.kill()
        self._etcd.end()

    def kubeconfig(self, name: str = ADMIN, **user: Any) -> Path:
        """A kubeconfig file; `user` replaces the token."""
        entry = user or {"token": self.token(name)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lone",
            "contexts": [{"name": "lone", "context": {"cluster": "lone", "user": "me"}}],
            "clusters": [
                {
                    "name": "lone",
                    "cluster": {
                        "server": self.url,
                        "certificate-authority": str(self.folder / "ca.crt"),
                    },
                }
            ],
            "users": [{"name": "me", "user": entry}],
        }
        path = self.folder / f"{secrets.token_hex(4)}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(content))
        return path

    def _etcd_ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(self._etcd_url + path, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=allow(10.0)) as answer:
            document: dict[str, Any] = json.loads(answer.read())
            return document

    def _command(self) -> list[str]:
        folder = self.folder
        return [
            str(program("kube-apiserver")),
            f"--etcd-servers={self._etcd_url}",
            *(f"--secure-port={self.port}", "--bind-address=127.0.0.1"),
            f"--cert-dir={folder}",
            *(
                f"--tls-cert-file={folder / 'api.crt'}",
                f"--tls-private-key-file={folder / 'api.key'}",
            ),
            f"--client-ca-file={folder / 'ca.crt'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--allow-privileged",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://lone.test",
            f"--service-account-key-file={folder / 'accounts.key'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            # No controller is here to make the accounts that it waits for.
            "--disable-admission-plugins=ServiceAccount",
            # On by default from 1.35.
            "--feature-gates=ImageVolume=true",
        ]

    def _certificates(self) -> None:
        lines = [
            f'{self._tokens[ADMIN]},admin,1,"system:masters"',
            f"{self._tokens[UNPRIVILEGED]},nobody,2",
        ]
        (self.folder / "tokens.csv").write_text("\n".join(lines) + "\n")
        make_ca(self.folder)
        accounts = str(self.folder / "accounts.key")
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", accounts)
        sign(self.folder, "api", "/CN=kube-apiserver", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        sign(
            self.folder,
            "admin",
            "/O=system:masters/CN=by-certificate",
            "extendedKeyUsage=clientAuth",
        )


@pytest.fixture(scope="session")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneApi]:
    """One for all tests of this process, wherever they are. A test that stops it starts it again."""
    if reason := why_not():
        missing(reason)
    made = LoneApi(tmp_path_factory.mktemp("api"))
    yield made
    made.close()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def make_ca(folder: Path) -> None:
    """`ca.crt` and `ca.key`, as many clusters have it: without key identifiers."""
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.crt"), "-days", "30"),
        *("-subj", "/CN=lone-ca", "-addext", "subjectKeyIdentifier=none"),
    )


def sign(folder: Path, name: str, subject: str, extension: str) -> None:
    """`name.crt` and `name.key`, signed by that CA."""
    request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
    openssl(
        *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", str(folder / f"{name}.key"), "-out", str(request), "-subj", subject),
    )
    extensions.write_text(extension + "\n")
    openssl(
        *("x509", "-req", "-in", str(request), "-days", "30", "-extfile", str(extensions)),
        *("-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key"), "-CAcreateserial"),
        *("-out", str(folder / f"{name}.crt")),
    )


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
