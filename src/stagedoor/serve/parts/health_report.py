"""The state of the installation for administrators' pages: what `status` and `doctor` say."""

from stagedoor import __version__
from stagedoor.admin.access.views import HealthReport
from stagedoor.serve.status import list_lines, list_problems, read_status
from stagedoor.settings.settings import Settings
from stagedoor.wire.check import run_checks


def read_health(settings: Settings, checks: bool) -> HealthReport:
    """Read the state once, and with `checks` do all that the doctor does. Blocks."""
    status = read_status(settings)
    lines = [("version", __version__), *list_lines(status)]
    findings = [("status", finding) for finding in list_problems(status)]
    if checks:
        # Imported here, since it loads every protocol.
        from stagedoor.serve.doctor.gateway import list_checks

        findings += run_checks(list_checks(settings, None)[1:])
    return HealthReport(lines, findings)
