"""Reads kubeconfig files (`kubectl config view`; the v1 Config of client-go's `clientcmd`).

Several files are merged as by kubectl: of entries with the same name, the first one counts.
"""

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from stagedoor.kube import access
from stagedoor.kube.access import Access, ApiTrust, Material
from stagedoor.kube.credentials import (
    Credential,
    CredentialError,
    Header,
    Impersonation,
    StaticCredential,
    TokenFile,
    make_bearer,
)
from stagedoor.kube.plugin import VERSIONS, Plugin, Program
from stagedoor.model.errors import SettingsError, install_extra

T = TypeVar("T")

SIZE_LIMIT = 4 * 1024 * 1024


class ClusterEntry(msgspec.Struct, rename="kebab"):
    """A cluster's address and CA."""

    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class Variable(msgspec.Struct):
    """An environment variable for a credential plugin."""

    name: str
    value: str = ""


class Exec(msgspec.Struct, rename="camel"):
    """A credential plugin."""

    command: str
    api_version: str = ""
    args: list[str] | None = None
    env: list[Variable] | None = None
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = ""


class KubeUser(msgspec.Struct, rename="kebab"):
    """A user's credentials."""

    token: str = ""
    token_file: str = msgspec.field(name="tokenFile", default="")
    username: str = ""
    password: str = ""
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    exec: Exec | None = None
    auth_provider: Any = None
    impersonate: str = msgspec.field(name="as", default="")
    impersonate_uid: str = msgspec.field(name="as-uid", default="")
    impersonate_groups: list[str] | None = msgspec.field(name="as-groups", default=None)
    impersonate_extra: dict[str, list[str]] | None = msgspec.field(
        name="as-user-extra", default=None
    )


class KubeContext(msgspec.Struct):
    """A context: a cluster, a user and a namespace."""

    cluster: str = ""
    user: str = ""
    namespace: str = ""


class NamedCluster(msgspec.Struct):
    """An entry of `clusters`."""

    name: str
    cluster: ClusterEntry


class NamedUser(msgspec.Struct):
    """An entry of `users`."""

    name: str
    user: KubeUser = msgspec.field(default_factory=KubeUser)


class NamedContext(msgspec.Struct):
    """An entry of `contexts`."""

    name: str
    context: KubeContext


class Config(msgspec.Struct, rename="kebab"):
    """The content of one file."""

    current_context: str = ""
    clusters: list[NamedCluster] | None = None
    users: list[NamedUser] | None = None
    contexts: list[NamedContext] | None = None


def load(kubeconfig: Path | None = None) -> Access:
    """Return the access to an API.

    This is the access of the named file; or, in a pod, of the service account; or else of $KUBECONFIG or
    ~/.kube/config, in the current context. Raises SettingsError, which says what is wrong, where, and what to
    set.
    """
    if kubeconfig is not None:
        return from_files([kubeconfig])
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return access.load_service_account()
    named = [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return from_files([Path(part) for part in named] or [Path.home() / ".kube" / "config"])


def from_files(paths: Sequence[Path]) -> Access:
    """Return the access according to one file, or to several that are merged. Raises SettingsError.

    Missing files are skipped, as long as one exists.
    """
    present = [path for path in paths if path.exists()]
    if not present:
        names = ", ".join(str(path) for path in paths)
        raise SettingsError(
            f"there is no kubeconfig at {names}: name one (kubernetes.kubeconfig), "
            "or run in a pod with a service account"
        )
    return _choose([(path, parse(path, _read(path))) for path in present])


def parse(path: Path, content: bytes) -> Config:
    """Parse one file's content. Raises SettingsError, which shows none of it."""
    try:
        return msgspec.yaml.decode(content, type=Config)
    except ImportError:
        raise SettingsError(
            f"to read a kubeconfig, install what Kubernetes needs: {install_extra('kubernetes')}"
        ) from None
    except msgspec.ValidationError as error:
        # The error names types and places, never values.
        raise SettingsError(f"{path} is not a kubeconfig: {error}") from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise SettingsError(f"{path} is not a kubeconfig: it is not YAML") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise SettingsError(f"cannot read the kubeconfig {path}: {error.strerror}") from None
    if len(content) > SIZE_LIMIT:
        raise SettingsError(f"{path} is not a kubeconfig: it is larger than 4 MiB")
    return content


def _choose(files: Sequence[tuple[Path, Config]]) -> Access:
    names = ", ".join(str(path) for path, _ in files)
    contexts: dict[str, KubeContext] = {}
    clusters: dict[str, tuple[Path, ClusterEntry]] = {}
    users: dict[str, tuple[Path, KubeUser]] = {}
    for path, config in files:
        for named in config.contexts or ():
            contexts.setdefault(named.name, named.context)
        for named_cluster in config.clusters or ():
            clusters.setdefault(named_cluster.name, (path, named_cluster.cluster))
        for named_user in config.users or ():
            users.setdefault(named_user.name, (path, named_user.user))
    name = next((c.current_context for _, c in files if c.current_context), "")
    if not name:
        raise SettingsError(
            f"{names} has no current-context: set it: kubectl config use-context NAME"
        )
    context = _named(contexts, name, "context", names)
    at, cluster = _named(clusters, context.cluster, "cluster", names)
    user_at, user = _named(users, context.user, "user", names) if context.user else (at, KubeUser())
    where = f"{names} (context {name})"
    if cluster.proxy_url:
        raise SettingsError(f"proxy-url in {where} is not supported: name the API's own address")
    trust = ApiTrust(
        ca=_material(at, cluster.certificate_authority, cluster.certificate_authority_data, where),
        certificate=_material(
            user_at, user.client_certificate, user.client_certificate_data, where
        ),
        key=_material(user_at, user.client_key, user.client_key_data, where),
        server_name=cluster.tls_server_name,
        insecure=cluster.insecure_skip_tls_verify,
    )
    address = access.parse_address(cluster.server, where)
    if not address.tls and (user.token or user.token_file or user.exec or user.password):
        raise SettingsError(
            f"{where} would send a credential in the clear: the server must be https"
        )
    trust.make_context()
    return Access(
        address,
        trust,
        _credential(user_at, user, cluster, trust, where),
        context.namespace or "default",
        where,
        _impersonation(user, where),
    )


def _named(entries: Mapping[str, T], name: str, kind: str, where: str) -> T:
    if name not in entries:
        names = ", ".join(sorted(entries)[:20]) or "none"
        raise SettingsError(f"{where} has no {kind} {name!r}; it has: {names}")
    return entries[name]


def _material(kubeconfig: Path, path: str, data: str, where: str) -> Material | None:
    """Return PEM from a kubeconfig, or None, as client-go does.

    Data takes precedence over a file, and a path is relative to the kubeconfig.
    """
    if data:
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise SettingsError(f"a *-data entry of {where} is not base64") from None
    return kubeconfig.absolute().parent / path if path else None


def _credential(
    kubeconfig: Path, user: KubeUser, cluster: ClusterEntry, trust: ApiTrust, where: str
) -> Credential:
    if user.auth_provider is not None:
        raise SettingsError(
            f"auth-provider in {where} was given up by Kubernetes 1.26: use exec with the program "
            "that your platform has for it"
        )
    if user.exec is not None:
        return Plugin(_program(kubeconfig, user.exec, cluster, where), on_key_pair=trust.use)
    if user.token_file:
        return TokenFile(kubeconfig.absolute().parent / user.token_file)
    if user.token:
        try:
            return StaticCredential(make_bearer(user.token, f"the token in {where}"))
        except CredentialError as error:
            raise SettingsError(str(error)) from None
    if user.username:
        pair = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        return StaticCredential(Header(f"Basic {pair}"))
    return StaticCredential()


def _program(kubeconfig: Path, exec_: Exec, cluster: ClusterEntry, where: str) -> Program:
    if exec_.api_version not in VERSIONS:
        raise SettingsError(
            f"exec in {where} has apiVersion {exec_.api_version!r}: it must be {VERSIONS[0]}"
        )
    if exec_.interactive_mode == "Always":
        raise SettingsError(
            f"exec in {where} has interactiveMode: Always, and the gateway cannot answer a prompt"
        )
    command = exec_.command
    if "/" in command:
        command = str(kubeconfig.absolute().parent / command)
    cluster_info: dict[str, object] | None = None
    if exec_.provide_cluster_info:
        cluster_info = {"server": cluster.server, "config": None}
        if cluster.tls_server_name:
            cluster_info["tls-server-name"] = cluster.tls_server_name
        if cluster.insecure_skip_tls_verify:
            cluster_info["insecure-skip-tls-verify"] = True
        authority = _material(
            kubeconfig, cluster.certificate_authority, cluster.certificate_authority_data, where
        )
        if authority is not None:
            pem = authority.read_bytes() if isinstance(authority, Path) else authority
            cluster_info["certificate-authority-data"] = base64.b64encode(pem).decode()
    return Program(
        command,
        tuple(exec_.args or ()),
        {variable.name: variable.value for variable in exec_.env or ()},
        exec_.api_version,
        cluster_info,
        exec_.install_hint,
    )


def _impersonation(user: KubeUser, where: str) -> Impersonation:
    extra = [(k, v) for k, values in (user.impersonate_extra or {}).items() for v in values]
    impersonation = Impersonation(
        user.impersonate, user.impersonate_uid, tuple(user.impersonate_groups or ()), tuple(extra)
    )
    if not impersonation.user and impersonation.make_headers():
        raise SettingsError(f"{where} has as-groups, as-uid or as-user-extra without as")
    for key, value in impersonation.make_headers():
        if not (key + value).isascii() or not (key + value).isprintable():
            raise SettingsError(f"{where} impersonates with letters that no HTTP header can hold")
    return impersonation
