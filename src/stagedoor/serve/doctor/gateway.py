"""The checks on a gateway's machine. They measure, and `judge` decides."""

import asyncio
import os
import resource
import shlex
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from stagedoor.admin.certificates.authorities import load_user_ca, read_host_ca
from stagedoor.authz.decide import list_matching
from stagedoor.keys.ca import read_certificate_end
from stagedoor.keys.files import format_public_line, load, read_public_line
from stagedoor.model.errors import SettingsError, StagedoorError, StoreError
from stagedoor.model.target import Target
from stagedoor.net.greeting import is_listening, read_greeting
from stagedoor.net.listen import bind
from stagedoor.net.notify import reload_command
from stagedoor.net.tls import read_names, read_validity
from stagedoor.oidc.errors import OidcError, UnavailableError
from stagedoor.serve.doctor import judge
from stagedoor.serve.prepare import check
from stagedoor.settings.file import parse_settings, read_settings
from stagedoor.settings.form import split_address
from stagedoor.settings.settings import Settings
from stagedoor.settings.shells import StaticShellSettings
from stagedoor.settings.sso import SingleSignOnSettings
from stagedoor.signin.provider_states import list_states
from stagedoor.signin.providers import open_client
from stagedoor.store.database import Database, open_database, read_server_time
from stagedoor.store.liveness.instances import list_live
from stagedoor.store.policy import load_policy
from stagedoor.store.sign_in.sign_ins import list_sign_ins
from stagedoor.upstream.probe import fetch_host_key, find_certificate_fault, is_certificate_accepted
from stagedoor.wire.check import Check
from stagedoor.wire.finding import Finding, Level, fail, ok, warn

ANSWER_S = 3.0
"""How long a static shell may take to answer."""
FSYNCS = 5


def diagnose_settings(file: Path | None) -> tuple[Settings | None, Finding]:
    """Read the settings, and return them with a finding, or None with the wrong line."""
    try:
        text, name = read_settings(file)
        return parse_settings(text, name), ok(f"{name} can be read")
    except SettingsError as error:
        fix = "correct it there; docs/reference/settings.md lists every setting"
        return None, fail(str(error), fix)


def list_checks(settings: Settings, file: Path | None) -> list[Check]:
    """Return the checks of everything that a gateway with these settings needs."""
    checks = [
        Check("settings", partial(_named_files, file)),
        Check("data folder", partial(check_data_folder, settings)),
        Check("keys", partial(_check_keys, settings)),
        Check("certificates", partial(_check_certificates, settings)),
        Check("store", partial(_check_store, settings)),
        Check("disk", partial(_check_disk, settings)),
        Check("limits", _check_limits),
        Check("sockets", partial(_check_sockets, settings)),
        Check("tunnels", partial(_check_tunnels, settings)),
    ]
    checks += [
        Check(f"shell {entry.app}", partial(_static_shell, settings, entry))
        for entry in settings.shells.static
    ]
    checks += [
        Check(f"sso {provider.name}", partial(check_provider, settings, provider))
        for provider in settings.sso
    ]
    if settings.kubernetes.is_used:
        checks.append(Check("cluster", partial(_check_cluster, settings)))
    return checks


def _named_files(file: Path | None) -> Iterator[Finding]:
    """Check the files that `serve` checks before it starts."""
    yield ok(f"the files that {check(file).name} names can be used")


def check_data_folder(settings: Settings) -> Iterator[Finding]:
    """Check that only the gateway's account may enter the data folder, and that it can be written."""
    folder = settings.data_dir
    try:
        status = folder.stat()
    except FileNotFoundError:
        yield warn(
            f"{folder} does not exist yet", "`stagedoor serve` creates it at its first start"
        )
        return
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        yield fail(
            f"{folder} has mode {mode:04o}: other accounts can enter it", f"chmod 700 {folder}"
        )
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield fail(
            f"{folder} cannot be written by this account", "run the doctor as the gateway's account"
        )
    else:
        yield ok(f"{folder} has mode {mode:04o}")


def _check_keys(settings: Settings) -> Iterator[Finding]:
    started = isinstance(settings.store_location, Path) and settings.store_location.exists()
    for what, path in (
        ("user CA", settings.user_ca_file),
        ("host CA", settings.host_ca_file),
        *((("SSH host key", settings.ssh_host_key_file),) if settings.ssh.addresses else ()),
    ):
        if not path.exists():
            if started and what != "SSH host key":
                fix = "restore it from a backup: no client trusts a new one"
                yield fail(f"the {what} {path} is missing, and there is a store", fix)
            else:
                yield ok(f"the {what} {path} is created at the first start")
            continue
        if path.suffix == ".pub":
            read_host_ca(settings)
        else:
            line, public = format_public_line(load(path)), path.with_name(f"{path.name}.pub")
            if public.exists() and read_public_line(public) != line:
                fix = (
                    f"ssh-keygen -y -f {path} > {public}; give it to servers that trust the old one"
                )
                yield fail(f"{public} is not the public half of the {what} {path}", fix)
                continue
        yield ok(f"the {what} {path} can be used")


def _check_certificates(settings: Settings) -> Iterator[Finding]:
    now = time.time()
    reload = reload_command()
    if (file := settings.tunnel.certificate_file) is not None:
        try:
            begins_at, ends_at = read_validity(file)
        except (OSError, ValueError, IndexError) as error:
            yield fail(
                f"{file} (tunnel.certificate_file) cannot be read: {error}", "write the file again"
            )
        else:
            fix = f"renew {file} (tunnel.certificate_file), then: {reload}"
            yield judge.check_certificate(str(file), begins_at, ends_at, now, fix)
            if (public := urlsplit(settings.web.public_url or "")).scheme == "https":
                yield judge.check_certificate_name(
                    str(file), public.hostname or "", read_names(file)
                )
    if (file := settings.ssh.host_certificate_file) is not None:
        try:
            end = read_certificate_end(file.read_bytes())
        except (OSError, ValueError) as error:
            yield fail(f"{file} (ssh.host_certificate_file): {error}", "stagedoor ca sign-host")
        else:
            fix = f"stagedoor ca sign-host, write it to {file}, then: {reload}"
            yield judge.check_certificate(str(file), 0.0, end or float("inf"), now, fix)
    if settings.tunnel.certificate_file is None and settings.ssh.host_certificate_file is None:
        yield ok("no certificate is read from a file")


@contextmanager
def _open_store(settings: Settings) -> Iterator[Database | None]:
    """Open the store as it is, without a change; None if there is none yet. Raises StoreError."""
    location = settings.store_location
    if isinstance(location, Path) and not location.exists():
        yield None
        return
    with closing(open_database(location, create=False, upgrade=False)) as database:
        yield database


def _check_store(settings: Settings) -> Iterator[Finding]:
    with _open_store(settings) as database:
        if database is None:
            fix = "`stagedoor serve` creates it at its first start"
            yield warn(f"there is no store {settings.store_location} yet", fix)
            yield judge.judge_clock(time.time(), None)
            return
        began = time.monotonic()
        policy = load_policy(database)
        yield judge.judge_store_time(time.monotonic() - began, database.name)
        yield judge.judge_clock(time.time(), read_server_time(database))
        try:
            with database.write():
                pass  # this is the lock that each login waits for
        except StoreError as error:
            yield fail(str(error), "all logins are refused until it can be written")
        if not policy.users:
            yield warn("the store has no user", "stagedoor user add NAME")


def _check_disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    if not folder.exists():
        return
    free = os.statvfs(folder)
    yield judge.judge_space(free.f_bavail * free.f_frsize, str(folder))
    yield judge.judge_fsync(_fsync_times(folder), str(folder))


def _fsync_times(folder: Path) -> list[float]:
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(FSYNCS):
            file.write(os.urandom(4096))
            file.flush()
            began = time.monotonic()
            os.fsync(file.fileno())
            took.append(time.monotonic() - began)
    return took


def _check_limits() -> Iterator[Finding]:
    yield judge.judge_descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _check_sockets(settings: Settings) -> Iterator[Finding]:
    gateways = [int(name.rsplit("-", 2)[1]) for name in list_live(settings.data_dir / "gateways")]
    health = () if settings.health.address is None else (settings.health.address,)
    for setting, texts in (
        ("tunnel.addresses", settings.tunnel.addresses),
        ("tunnel.tls_addresses", settings.tunnel.tls_addresses),
        ("ssh.addresses", settings.ssh.addresses),
        ("web.addresses", settings.web.addresses),
        ("web.tls_addresses", settings.web.tls_addresses),
        ("health.address", health),
    ):
        for text in texts:
            yield _check_socket(setting, text, gateways)


def _check_tunnels(settings: Settings) -> Iterator[Finding]:
    apps = {entry.app for entry in settings.shells.local}
    apps |= {entry.app for entry in settings.shells.static if not entry.resume_port}
    if settings.tunnel.resume_s and apps:
        yield ok(f"the gateway keeps the tunnels of {judge.join_apps(apps)}")


def _check_socket(setting: str, text: str, gateways: Sequence[int]) -> Finding:
    host, port = split_address(text)
    if any(is_listening(pid, port) for pid in gateways):
        return ok(f"{text} ({setting}) is the running gateway's")
    try:
        bind(host, port, setting=setting).close_sockets()
    except StagedoorError as error:
        return fail(str(error), f"`ss -ltnp sport = :{port}` shows which program has it")
    return ok(f"{text} ({setting}) is free")


def _static_shell(settings: Settings, entry: StaticShellSettings) -> Iterator[Finding]:
    shell = f"{entry.app} at {entry.host}"
    try:
        banner = read_greeting(entry.host, entry.port, ANSWER_S)
    except OSError as error:
        why = error.strerror or str(error)
        fix = f"start its sshd, or correct host and port of the [[shells.static]] entry {entry.app}"
        yield fail(f"{shell} port {entry.port} cannot be reached: {why}", fix)
        return
    finding = judge.judge_ssh_greeting(shell, banner)
    yield finding
    if finding.level is not Level.OK:
        return
    place = (entry.host, entry.port)
    if entry.host_keys:
        types = tuple(dict.fromkeys(line.split()[0] for line in entry.host_keys))
        shown = asyncio.run(fetch_host_key(*place, types, ANSWER_S))
        yield judge.judge_host_key(shell, entry.host_keys, shown)
    elif settings.host_ca_file.exists():
        name = Target(entry.app, entry.environment).host_name
        fault = find_certificate_fault(*place, name, read_host_ca(settings), ANSWER_S)
        yield judge.judge_host_certificate(shell, name, asyncio.run(fault))
    yield from _user_ca(settings, entry, shell)
    if settings.web.addresses or settings.web.tls_addresses:
        yield judge.check_holder(shell, entry.holder)
    if entry.resume_port:
        yield _tunnel_endpoint(shell, entry, entry.resume_port)


def _user_ca(settings: Settings, entry: StaticShellSettings, shell: str) -> Iterator[Finding]:
    """Offer a certificate for one of the app's users to the account that they share, if there are users."""
    if not entry.login_name:
        return
    with _open_store(settings) as database:
        if database is None:
            return
        policy = load_policy(database)
    target = Target(entry.app, entry.environment)
    users = [
        name
        for name, user in policy.users.items()
        if list_matching(policy, user, target, time.time())
    ]
    if users:
        accepts = is_certificate_accepted(
            (entry.host, entry.port), entry.login_name, users, load_user_ca(settings), ANSWER_S
        )
        yield judge.judge_user_ca(shell, entry.login_name, is_accepted=asyncio.run(accepts))


def _tunnel_endpoint(shell: str, entry: StaticShellSettings, port: int) -> Finding:
    async def connect() -> None:
        async with asyncio.timeout(ANSWER_S):
            _, writer = await asyncio.open_connection(entry.host, port)
        writer.close()

    try:
        asyncio.run(connect())
    except OSError as error:
        return warn(
            f"{shell} port {port}, its resume_port, cannot be reached: {error.strerror or error}; the "
            "gateway keeps its tunnels",
            f"start stagedoor-tunnels@{entry.login_name} there, and let the gateway through its firewall",
        )
    return ok(f"{shell} keeps its tunnels at port {port}")


def _check_cluster(settings: Settings) -> Iterator[Finding]:
    # Imported here, since its libraries are an extra.
    from stagedoor.serve.doctor.cluster import check_cluster

    yield from check_cluster(settings)


def check_provider(settings: Settings, provider: SingleSignOnSettings) -> Iterator[Finding]:
    """Ask the provider for its discovery document and its keys, and read its last answers from the store.

    Raises StoreError.
    """
    test = f"stagedoor sso test {shlex.quote(provider.name)}"
    try:
        asyncio.run(open_client(provider, time.time).get_provider())
    except SettingsError as error:
        yield fail(str(error), "correct it in the settings' [[sso]] table")
    except UnavailableError as error:
        yield fail(
            f"{provider.name} does not answer: {error}", "look for a firewall or a proxy on the way"
        )
    except OidcError as error:
        yield fail(f"{provider.name}: {error}", f"correct the [[sso]] table, then: {test}")
    else:
        yield ok(f"{provider.name} answers at {provider.issuer}")
    with _open_store(settings) as database:
        if database is None:
            return
        records = list_sign_ins(database, time.time())
    [state] = list_states([provider.name], records)
    if state.is_failing:
        yield warn(f"{provider.name} does not confirm sign-ins: {state.failure}", test)
    else:
        yield ok(f"{provider.name}: {state}")
