"""The endpoints of resumable tunnels that a worker reaches."""

from stagedoor.authn.kept import pack_identity
from stagedoor.listeners.resume_endpoints import ResumeEndpoints
from stagedoor.recording.channel_audit import Note
from stagedoor.resume.control import EndpointControl
from stagedoor.serve.parts.direct import build_upstream
from stagedoor.serve.parts.shells import resume_folder
from stagedoor.settings.settings import Settings
from stagedoor.upstream.connect import TcpConnector
from stagedoor.upstream.shell_endpoint import ShellEndpoints


def resume_endpoints(
    settings: Settings, note: Note, connector: TcpConnector
) -> ResumeEndpoints | None:
    """Return the endpoints, or None if tunnels do not resume. Raises StagedoorError."""
    if not settings.tunnel.resume_s:
        return None
    away_s, idle_s = settings.tunnel.resume_s, settings.relay.idle_timeout_s
    in_shells = None
    if settings.kubernetes.is_used or any(shell.resume_port for shell in settings.shells.static):
        login = build_upstream(settings, note)
        dials = connector.connect_again, connector.connect_endpoint
        in_shells = ShellEndpoints(login, *dials, idle_s)
    here = EndpointControl(resume_folder(settings), away_s, idle_s)
    return ResumeEndpoints(here, pack_identity, in_shells)
