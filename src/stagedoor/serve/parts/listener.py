"""The parts of a worker from which its listeners are built."""

from dataclasses import dataclass

from stagedoor.admin.certificates.user_signer import UserCertificates
from stagedoor.admin.context import WorkerContext
from stagedoor.admin.requests.request_service import RequestService
from stagedoor.listeners.limits import ClientLimits
from stagedoor.recording.channel_audit import Note
from stagedoor.recording.recorder import Recorder
from stagedoor.session.flow import Flow
from stagedoor.session.runs import RunService
from stagedoor.settings.settings import Settings
from stagedoor.signin.step_up import StepUpService


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerParts:
    """The parts that the SSH listener and the WebShell share. If `certificates` is None, none are signed."""

    context: WorkerContext
    flow: Flow
    note: Note
    recorder: Recorder
    step_ups: StepUpService
    requests: RequestService
    runs: RunService
    certificates: UserCertificates | None
    client_limits: ClientLimits

    @property
    def settings(self) -> Settings:
        """Return the settings of the worker."""
        return self.context.settings
