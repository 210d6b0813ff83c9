"""The WebShell's parts: access to terminals in shells, sign-ins, and passes in the store."""

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stagedoor import __version__
from stagedoor.admin.access.console import ConsoleService
from stagedoor.admin.access.views import HealthReport
from stagedoor.admin.account import AccountService
from stagedoor.admin.certificates.revocation import RefusedKeys, RevocationList, RevokedKeysFile
from stagedoor.admin.presence import PresenceService
from stagedoor.admin.recording_service import RecordingService
from stagedoor.api.call import AppSource
from stagedoor.api.service import ApiService
from stagedoor.keys.sealing import KEY_BYTES, SealingKey, load_or_create_sealing_key
from stagedoor.laptop.onefile import build_client_file
from stagedoor.listeners.limits import ClientLimits
from stagedoor.listeners.web.admin_api import ApiParts
from stagedoor.listeners.web.app import WebApp, WebServices
from stagedoor.listeners.web.guard import Brand, WebListenerSettings
from stagedoor.listeners.web.listener import WebListener
from stagedoor.listeners.web.login_api import LoginParts
from stagedoor.listeners.web.shell_access import ShellAccess
from stagedoor.model.identity import Identity
from stagedoor.net.tls import ServerTls, read_names
from stagedoor.serve.parts.direct import build_upstream, plan_recording
from stagedoor.serve.parts.listener import ListenerParts
from stagedoor.serve.parts.listening import make_accept_rules
from stagedoor.serve.parts.shells import make_holder_finder
from stagedoor.serve.status import list_lines, list_problems, read_status
from stagedoor.settings.logo import read_logo
from stagedoor.settings.settings import Settings, parse_networks
from stagedoor.signin.credentials import CredentialService
from stagedoor.signin.login.approval import LoginApproval
from stagedoor.signin.login.machine_logins import MachineLoginService
from stagedoor.signin.login.service import LoginService
from stagedoor.signin.login.well_known import describe
from stagedoor.signin.passes import PassService
from stagedoor.signin.passkey_checks import PasskeyChecks
from stagedoor.signin.passkeys import PasskeyRegistry
from stagedoor.signin.provider_logout import ProviderLogout
from stagedoor.signin.provider_sign_in import ProviderSignIns
from stagedoor.signin.providers import open_clients
from stagedoor.signin.refresh import RefreshService
from stagedoor.signin.site import read_step_up_rules
from stagedoor.wire.check import run_checks

if TYPE_CHECKING:
    from stagedoor.shells.kubernetes.adapter import KubernetesShells


def read_health(settings: Settings, checks: bool) -> HealthReport:
    """Read the state once, and with `checks` do everything that the doctor does. Blocks."""
    status = read_status(settings)
    lines = [("version", __version__), *list_lines(status)]
    findings = [("status", finding) for finding in list_problems(status)]
    if checks:
        # Imported here, since it loads every protocol.
        from stagedoor.serve.doctor.gateway import list_checks

        findings += run_checks(list_checks(settings, None)[1:])
    return HealthReport(lines, findings)


def build_web_listener(
    parts: ListenerParts,
    tls: ServerTls | None,
    cluster: "KubernetesShells | None",
    on_sign_in: Callable[[Identity], None],
) -> tuple[WebListener, RefreshService]:
    """Return the WebShell's listener, and the task that checks sign-ins at their identity providers.

    `on_sign_in` gets the identity of each new session. Raises StagedoorError.
    """
    context, flow, settings = parts.context, parts.flow, parts.settings
    refused = RevokedKeysFile(settings.ssh.revoked_keys_file).explain_refusal
    rules = read_step_up_rules(settings)
    passes = PassService(context, flow.judge_with_newest_policy, on_sign_in)
    sign_ins, logout, refresh = _build_single_sign_on(parts)
    access = ShellAccess(
        flow,
        build_upstream(settings, parts.note),
        make_holder_finder(settings),
        plan_recording(settings, parts.recorder),
        PresenceService(context),
    )
    services = WebServices(
        passes,
        sign_ins,
        logout,
        _build_logins(parts, passes, refused),
        AccountService(context),
        CredentialService(context, refused),
        PasskeyRegistry(context),
        PasskeyChecks(context),
        parts.step_ups,
        parts.requests,
        RecordingService(context, rules),
        parts.runs,
        _build_api(parts, refused, cluster),
        ConsoleService(context, rules, flow.shells.list_targets, partial(read_health, settings)),
    )
    own = _make_listener_settings(settings, parts.client_limits)
    return WebListener(WebApp(access, own, services), tls), refresh


def _build_logins(parts: ListenerParts, passes: PassService, refused: RefusedKeys) -> LoginParts:
    context = parts.context
    logins = LoginService(context, passes, parts.certificates, refused)
    return LoginParts(
        logins,
        LoginApproval(context),
        MachineLoginService(context, parts.certificates, refused),
        partial(describe, parts.settings, logins=logins.is_possible),
        RevocationList(context).encode,
        build_client_file(),
    )


def _build_api(
    parts: ListenerParts, refused: RefusedKeys, cluster: "KubernetesShells | None"
) -> ApiParts:
    settings, shells = parts.settings, parts.flow.shells
    open_cluster = None
    if cluster is not None:
        # Imported here, since its libraries are an extra.
        from stagedoor.admin.apps import open_running_apps

        open_cluster = partial(open_running_apps, settings, cluster)
    service = ApiService(
        parts.context,
        read_step_up_rules(settings),
        AppSource(shells.list_targets, shells.observe, open_cluster),
        refused,
        parts.requests,
    )
    return ApiParts(service, parse_networks(settings.api.networks))


def _make_listener_settings(settings: Settings, client_limits: ClientLimits) -> WebListenerSettings:
    return WebListenerSettings(
        make_accept_rules(settings, parse_networks(settings.web.forwarded_from)),
        list_host_names(settings),
        frozenset(settings.web.origins),
        settings.web.domain,
        settings.web.path,
        settings.web.tmux,
        settings.web.share_s,
        Brand(
            settings.web.company or "Stagedoor",
            None if settings.web.logo_file is None else read_logo(settings.web.logo_file),
            settings.web.help_url,
        ),
        client_limits,
    )


def _build_single_sign_on(
    parts: ListenerParts,
) -> tuple[ProviderSignIns, ProviderLogout, RefreshService]:
    """Return the sign-ins and logouts at identity providers, and the task that checks the sign-ins.

    Raises StagedoorError.
    """
    context, settings = parts.context, parts.settings
    # Without a provider there is nothing to seal, so no key file is created.
    key = SealingKey(os.urandom(KEY_BYTES))
    if settings.sso:
        key = load_or_create_sealing_key(settings.sign_in_key_file)
    clients = open_clients(settings, context.now)
    apps = parts.flow.shells.list_targets
    return (
        ProviderSignIns(context, key, clients.signing_in, os.urandom, apps),
        ProviderLogout(context, clients.signing_in),
        RefreshService(context, key, clients.refreshing),
    )


def list_host_names(settings: Settings) -> frozenset[str]:
    """Return the host names under which the WebShell answers.

    They are `web.host_names`, the name in `web.public_url`, and, if the WebShell itself serves TLS, the
    names in its certificate.
    """
    names = frozenset(settings.web.host_names)
    public = urlsplit(settings.web.public_url or "").hostname
    if public is not None:
        names |= {public}
    if not settings.web.tls_addresses or settings.tunnel.certificate_file is None:
        return names
    return names | read_names(settings.tunnel.certificate_file)
