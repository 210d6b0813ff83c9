"""Access to an API, in a pod or by a kubeconfig: its address, its certificates, and the credentials."""

import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from stagedoor.kube.credentials import Credential, Impersonation, TokenFile
from stagedoor.kube.plugin import KeyPair
from stagedoor.model.errors import SettingsError
from stagedoor.model.source import join_host_port

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""The folder in a pod where the kubelet puts `token`, `ca.crt` and `namespace`."""

Material = Path | bytes
"""PEM, either in a file, which is read again when it changes, or in the kubeconfig itself."""


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """The address of the API."""

    host: str
    port: int
    tls: bool
    prefix: str = ""
    """The part of each path before `/api`, for example behind Rancher's proxy."""

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host_header}{self.prefix}"

    @property
    def host_header(self) -> str:
        """The value of the Host header (RFC 9110 §7.2)."""
        return join_host_port(self.host, self.port)


@dataclass(slots=True)
class ApiTrust:
    """The TLS settings of an API. The context is built again when one of the files is replaced."""

    ca: Material | None = None
    """The only CA that is trusted; None trusts the system's certificates."""
    certificate: Material | None = None
    key: Material | None = field(default=None, repr=False)
    server_name: str = ""
    """The name to expect in the certificate if it is not the host's (`tls-server-name`)."""
    insecure: bool = False
    _context: ssl.SSLContext | None = field(default=None, repr=False)
    _stamp: tuple[object, ...] = field(default=(), repr=False)

    def make_context(self) -> ssl.SSLContext:
        """Return the TLS context for the next connection.

        Raises SettingsError, which names the file and what is wrong with it.
        """
        files = (self.ca, self.certificate, self.key)
        stamp = tuple(_stamp(material) for material in files)
        if self._context is None or stamp != self._stamp:
            self._context = self._make()
            self._stamp = stamp
        return self._context

    def use(self, pair: KeyPair) -> None:
        """Present the certificate of `pair` from the next connection on."""
        self.certificate = pair.certificate.encode()
        self.key = pair.key.encode()
        self._context = None

    def _make(self) -> ssl.SSLContext:
        # Not ssl.create_default_context: since Python 3.13 it requires RFC 5280 (VERIFY_X509_STRICT), and the
        # CAs of many clusters lack the key identifiers. Go does not require them, and so no other client of
        # these clusters does.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca is None:
            context.load_default_certs()
        else:
            # Only this CA: a public CA has no business vouching for a cluster.
            _load_ca(context, self.ca)
        if self.certificate is not None and self.key is not None:
            _load_key_pair(context, self.certificate, self.key)
        return context


@dataclass(frozen=True, slots=True)
class Access:
    """Everything that is needed to talk to one API."""

    address: ApiAddress
    trust: ApiTrust
    credential: Credential
    namespace: str
    """The namespace of our pod, or the one in the kubeconfig's context; `default` if there is none."""
    source: str
    """Where the access comes from, for messages: a path, or `the pod's service account`."""
    impersonation: Impersonation = field(default_factory=Impersonation)


def load_service_account(
    folder: Path = SERVICE_ACCOUNT, environment: Callable[[str], str | None] = os.environ.get
) -> Access:
    """Return the access of a pod's service account. Raises SettingsError."""
    host, port = environment("KUBERNETES_SERVICE_HOST"), environment("KUBERNETES_SERVICE_PORT")
    if not host or not port or not port.isdigit():
        raise SettingsError(
            "this is not a pod (KUBERNETES_SERVICE_HOST and _PORT are not set): "
            "name a kubeconfig (kubernetes.kubeconfig)"
        )
    if not (folder / "token").exists():
        raise SettingsError(
            f"this pod has no service account token ({folder / 'token'}): set "
            "automountServiceAccountToken: true in its spec, or name a kubeconfig "
            "(kubernetes.kubeconfig)"
        )
    trust = ApiTrust(ca=folder / "ca.crt")
    trust.make_context()
    try:
        namespace = (folder / "namespace").read_text().strip()
    except OSError:
        namespace = "default"
    return Access(
        ApiAddress(host, int(port), tls=True),
        trust,
        TokenFile(folder / "token"),
        namespace,
        "the pod's service account",
    )


def parse_address(url: str, where: str) -> ApiAddress:
    """Parse `https://host:port/prefix`. Raises SettingsError, whose message names `where`."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"the server {url!r} in {where} is no URL: {error}") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise SettingsError(
            f"the server {url!r} in {where} is no URL of an API: it must be https://HOST[:PORT]"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise SettingsError(f"the server in {where} has more in its URL than host, port and path")
    tls = parts.scheme == "https"
    return ApiAddress(parts.hostname, port or (443 if tls else 80), tls, parts.path.rstrip("/"))


def _stamp(material: Material | None) -> object:
    if not isinstance(material, Path):
        return material
    try:
        status = material.stat()
    except OSError:
        return None  # the file is being replaced; the version that was read stays in use
    return (status.st_mtime_ns, status.st_ino, status.st_size)


def _name(material: Material | None) -> str:
    return str(material) if isinstance(material, Path) else "in the kubeconfig"


def _load_ca(context: ssl.SSLContext, ca: Material) -> None:
    pem = _pem(ca, "the cluster's CA certificate")
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise SettingsError(
            f"the cluster's CA certificate ({_name(ca)}) is not a certificate: {error}"
        ) from None


def _pem(material: Material, what: str) -> str:
    try:
        content = material.read_bytes() if isinstance(material, Path) else material
    except OSError as error:
        raise SettingsError(f"cannot read {what} ({_name(material)}): {error.strerror}") from None
    if b"-----BEGIN" not in content:
        raise SettingsError(f"{what} ({_name(material)}) is not in PEM")
    return content.decode("utf-8", "replace")


def _load_key_pair(context: ssl.SSLContext, certificate: Material, key: Material) -> None:
    names = (_name(certificate), _name(key))
    with _as_file(certificate) as certificate_file, _as_file(key) as key_file:
        try:
            context.load_cert_chain(certificate_file, key_file, password=lambda: "")
        except OSError as error:  # ssl.SSLError is one
            why = getattr(error, "reason", None) or error.strerror or str(error)
            raise SettingsError(
                f"the client certificate ({names[0]}) and its key ({names[1]}) cannot be used: {why}"
            ) from None


@contextmanager
def _as_file(material: Material) -> Iterator[str]:
    """Yield the path of a file with `material`, since the ssl module loads key pairs only from files.

    If the system supports that, the file is in memory, so that a private key from a kubeconfig is not written
    to a disk (memfd_create(2)).
    """
    if isinstance(material, Path):
        yield str(material)
        return
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        with os.fdopen(os.memfd_create("pem", os.MFD_CLOEXEC), "wb") as memory:
            memory.write(material)
            memory.flush()
            yield f"/proc/self/fd/{memory.fileno()}"
        return
    with tempfile.NamedTemporaryFile() as file:  # mode 0600, gone at the end of the block
        file.write(material)
        file.flush()
        yield file.name
