"""Refusals as HTTP answers, and the exception for a client that has disconnected."""

from collections.abc import Sequence

from starlette.responses import JSONResponse, Response

from stagedoor.listeners.web.pages.language import translate
from stagedoor.model.denial import Denial
from stagedoor.model.shell import ProgressStep
from stagedoor.wire.http.answer import choose_server_status


class ClientClosedError(Exception):
    """Raised when the client has closed its connection or stopped sending."""


def answer_refusal(
    denial: Denial, steps: Sequence[ProgressStep] = (), *, logins: bool = False
) -> Response:
    """Return a denial as JSON, with the HTTP status of its reason.

    The answer includes any instructions for a person in `steps`. With `logins`, it names `stagedoor login` as
    the way to get a credential.
    """
    status = choose_server_status(denial.reason)
    headers = {}
    if denial.retry_after_s is not None:
        headers["Retry-After"] = str(denial.retry_after_s)
    if status == 401:
        # Basic is accepted too, but not named here: otherwise the browser would show its own password dialog
        # on a page whose session is over, and the page would wait for it.
        headers["WWW-Authenticate"] = 'Bearer realm="Stagedoor"'
    body: dict[str, object] = {"reason": denial.reason.value, "message": translate(denial.line)}
    if status == 401 and logins:
        body["login"] = True
    for step in steps:
        body["step"] = translate(step.line)
    return JSONResponse(body, status, headers)
