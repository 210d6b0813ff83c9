"""The parts of direct login: the gateway's own login to shells, its limits, and the recorder."""

import time
from collections.abc import Sequence

import structlog

from stagedoor.admin.certificates.authorities import load_user_ca, read_host_ca
from stagedoor.authn.packed_identity import pack_identity
from stagedoor.keys.age import AgeSeal
from stagedoor.listeners.resume_endpoints import ResumeEndpoints
from stagedoor.listeners.ssh.direct.driver import DirectParts
from stagedoor.model.errors import SettingsError
from stagedoor.model.event import EventKind
from stagedoor.model.session import OpenedSession
from stagedoor.model.target import Target
from stagedoor.model.units import DAY_S, GIB
from stagedoor.recording.channel_audit import Note, RecordingPlan
from stagedoor.recording.folder import RecordingFolder
from stagedoor.recording.recorder import Recorder, RecordingEnded
from stagedoor.recording.retention import FolderRetention, Removal, Retention
from stagedoor.resume.control import EndpointControl
from stagedoor.serve.parts.listener import ListenerParts
from stagedoor.serve.parts.shells import resume_folder
from stagedoor.settings.settings import Settings
from stagedoor.upstream.connect import TcpConnector
from stagedoor.upstream.login import GatewayLogin, ShellAccount
from stagedoor.upstream.shell_endpoint import ShellEndpoints
from stagedoor.wire.ssh.key import KeyRefused, parse_public_key


def build_direct_login(parts: ListenerParts) -> DirectParts:
    """Return the parts that serve `ssh app01@gateway`. Raises StagedoorError."""
    settings = parts.settings
    return DirectParts(
        build_upstream(settings, parts.note),
        plan=plan_recording(settings, parts.recorder),
        environment_patterns=settings.ssh.accept_env,
        idle_timeout_s=settings.relay.idle_timeout_s,
        now=time.time,
    )


def plan_recording(settings: Settings, recorder: Recorder) -> RecordingPlan:
    """Return the plan for users whose sessions are recorded, from `[recording]`."""
    return RecordingPlan(
        recorder,
        continues_unrecorded=settings.recording.on_failure == "continue",
        record_input=settings.recording.record_input,
    )


def build_recorder(settings: Settings, note: Note) -> Recorder:
    """Return a recorder that writes to `recordings` in the data folder. Raises StagedoorError."""
    log = structlog.get_logger()

    def record_end(opened: OpenedSession, ended: RecordingEnded) -> None:
        fields: dict[str, str | int] = {
            "recording": ended.name,
            "size": ended.size,
            "sha256": ended.sha256,
        }
        if ended.why is None:
            note(opened, EventKind.RECORDING_ENDED, fields)
            return
        log.error(
            "recording failed",
            recording=ended.name,
            session=opened.id,
            identity=opened.ready.grant.identity.name,
            reason=ended.why,
            then=settings.recording.on_failure,
        )
        note(opened, EventKind.RECORDING_FAILED, {**fields, "why": ended.why})

    def log_removed(removed: Sequence[Removal]) -> None:
        for old in removed:
            log.info(
                "recording removed", recording=old.file.path.name, size=old.file.size, why=old.why
            )

    retention = FolderRetention(
        settings.recordings_folder,
        read_retention(settings),
        log_removed,
        lambda problem: log.error("old recordings cannot be removed", reason=problem),
    )
    recipients = settings.recording.recipients
    return Recorder(
        RecordingFolder(settings.recordings_folder),
        AgeSeal(recipients) if recipients else None,
        record_end,
        retention=retention,
    )


def read_retention(settings: Settings) -> Retention:
    """Return how long and how many recordings are kept, from `[recording]`."""
    days, gib = settings.recording.keep_days, settings.recording.keep_gib
    return Retention(
        None if days is None else days * DAY_S, None if gib is None else int(gib * GIB)
    )


def build_upstream(settings: Settings, note: Note) -> GatewayLogin:
    """Return the gateway's login to shells, by its own user CA and the accounts of the settings.

    Raises StagedoorError.
    """
    accounts = {
        Target(entry.app, entry.environment): ShellAccount(entry.login_name, entry.host_keys)
        for entry in settings.shells.static
    }
    for entry in settings.shells.static:
        for line in entry.host_keys:
            key = parse_public_key(line)
            if isinstance(key, KeyRefused):
                raise SettingsError(f"host_keys of the shell {entry.app}: {key.reason}")
    default = ShellAccount()
    return GatewayLogin(
        load_user_ca(settings).sign_user,
        (read_host_ca(settings),),
        lambda target: accounts.get(target, default),
        note,
    )


def build_endpoints(
    settings: Settings, note: Note, connector: TcpConnector
) -> ResumeEndpoints | None:
    """Return the endpoints, or None if tunnels do not resume. Raises StagedoorError."""
    if not settings.tunnel.resume_s:
        return None
    away_s, idle_s = settings.tunnel.resume_s, settings.relay.idle_timeout_s
    in_shells = None
    if settings.kubernetes.is_used or any(shell.resume_port for shell in settings.shells.static):
        in_shells = ShellEndpoints(
            build_upstream(settings, note), connector.connect, connector.connect_endpoint, idle_s
        )
    local = EndpointControl(resume_folder(settings), away_s, idle_s)
    return ResumeEndpoints(local, pack_identity, in_shells)
