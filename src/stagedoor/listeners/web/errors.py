"""How the web says no, and the end of a developer's side, whatever it was doing."""

from collections.abc import Sequence

from starlette.responses import JSONResponse, Response

from stagedoor.model.denial import Denial, Reason
from stagedoor.model.shell import StartStep
from stagedoor.wire.answer import status_of

_WHO = (Reason.CREDENTIAL_MISSING, Reason.CREDENTIAL_WRONG)


class ClientClosedError(Exception):
    """The developer's side has gone, or fell silent."""


def refusal(denial: Denial, steps: Sequence[StartStep] = (), *, logins: bool = False) -> Response:
    """Make the answer to what was denied: JSON, with the status of its reason.

    It says what the person can do about it, where that is one of the `steps` or `stagedoor login`
    (`logins`).
    """
    status = 401 if denial.reason in _WHO else status_of(denial.reason)
    headers = {"Cache-Control": "no-store"}
    if denial.retry_after_s is not None:
        headers["Retry-After"] = str(denial.retry_after_s)
    if status == 401:
        # Not Basic, though that is taken too: a browser would ask for a password itself, in the middle of
        # a page whose session is over, and keep the page waiting meanwhile.
        headers["WWW-Authenticate"] = 'Bearer realm="Stagedoor"'
    said: dict[str, object] = {"reason": denial.reason.value, "message": denial.line}
    if status == 401 and logins:
        said["login"] = True
    for step in steps:
        said["step_up"] = step.detail
    return JSONResponse(said, status, headers)
