"""The errors for the API's unsuccessful answers, each one sentence that names the operation. Pure.

The API explains an error in a Status object (Kubernetes API conventions, "Response Status Kind").
"""

import re
from dataclasses import dataclass

import msgspec

from stagedoor.kube.wire import Head
from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.wire.oneline import fold

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
"""apimachinery's StatusReason for each status, for a Status object without one. 404 is left out: only the API
itself may say that an object does not exist. Otherwise a proxy's error page would remove shells."""

_NO_RIGHT = re.compile(
    r'\bcannot (?P<verb>\w+) resource "(?P<resource>[\w./-]+)"(?: in API group "(?P<group>[\w.-]*)")?'
)
"""A refusal by RBAC (apiserver's `responsewriters.Forbidden`); quotas and admission word theirs differently.
It names the missing right, which for an apply may be `create` although the request was a `patch`."""

NO_ANSWER = "NoAnswer"
"""`ClusterError.reason` for a request without an answer."""

_SENTENCE_LIMIT = 1500
"""The most characters of a message, since an admission webhook may return very long ones."""


class _Status(msgspec.Struct):
    """The fields of a Status object that are used here."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """An operation on the API, for messages and for counting requests."""

    verb: str
    """An RBAC verb: get, list, watch, create, patch or delete."""
    what: str
    """A kind, or a kind and a subresource: `Pod`, `Pod/log`."""
    namespace: str = ""
    name: str = ""

    @classmethod
    def of_kind(
        cls, verb: str, kind: Kind, namespace: str, name: str = "", part: str = ""
    ) -> "ApiRequest":
        """Create one for a known kind; `part` is the subresource."""
        return cls(verb, f"{kind}/{part}" if part else str(kind), namespace, name)

    def __str__(self) -> str:
        words = f"{self.verb} {self.what}"
        if self.name:
            words += f" {self.name}"
        if self.namespace:
            words += f" in namespace {self.namespace}"
        return words


def report_no_answer(operation: ApiRequest, why: str) -> ClusterError:
    """Return the error for a request that got no answer, or none that is HTTP."""
    return ClusterError(
        f"cannot {operation}: no answer of the Kubernetes API: {why}",
        status=None,
        reason=NO_ANSWER,
        retry=True,
    )


def refusal(operation: ApiRequest, head: Head, body: bytes) -> ClusterError:
    """Return the error for an answer with a status of 300 or more."""
    status_object, status = _status(head, body), head.status
    if status_object is None:
        return report_not_kubernetes(operation, head)
    reason = status_object.reason or _REASONS.get(status, "Unknown")
    sentence = fold(status_object.message) or f"{status} {reason}"
    if len(sentence) > _SENTENCE_LIMIT:
        sentence = sentence[:_SENTENCE_LIMIT] + "…"
    return ClusterError(
        f"cannot {operation}: {sentence}{_remedy(operation, status, sentence)}",
        status=status,
        reason=reason,
        retry=_may_retry(status, reason),
    )


def report_not_kubernetes(operation: ApiRequest, head: Head) -> ClusterError:
    """Return the error for an answer that comes from a proxy instead of the API."""
    status, kind = head.status, head.content_type.partition(";")[0].strip()[:80] or "no type"
    return ClusterError(
        f"cannot {operation}: the answer ({status}, {kind}) is not one of a Kubernetes API but of "
        "something on the way to it, as a proxy or load balancer; check the server's address",
        status=status,
        reason=_REASONS.get(status, "NotKubernetes") if status >= 500 else "NotKubernetes",
        # A proxy may also answer 404 or 403 while it does not know its backend yet.
        retry=True,
    )


def _may_retry(status: int, reason: str) -> bool:
    if status == 409:
        return reason != "AlreadyExists"
    # 401: a token or certificate is renewed in time. 410: the list is started again.
    return status in (401, 408, 410, 429) or status >= 500


def read_watch_error(body: bytes) -> tuple[int, str]:
    """Return the status and the message of an ERROR event's object; 0 and "" if it is no Status."""
    status_object = _decode_status(body)
    if status_object is None:
        return 0, ""
    return status_object.code, fold(status_object.message)[:_SENTENCE_LIMIT]


def _status(head: Head, body: bytes) -> _Status | None:
    if "json" in head.content_type:
        return _decode_status(body)
    # The API server's filters, before and after its handlers, send plain text.
    if not head.content_type.startswith("text/plain") or head.status == 404:
        return None
    return _Status(kind="Status", message=body[:_SENTENCE_LIMIT].decode("utf-8", "replace"))


def _decode_status(body: bytes) -> _Status | None:
    try:
        status_object = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        return None
    return status_object if status_object.kind == "Status" else None


def _remedy(operation: ApiRequest, status: int, sentence: str) -> str:
    """Return advice for the reader, as the end of a sentence; "" if there is none."""
    if status == 401:
        return (
            "; the API does not know our credential: check the service account's token, or the "
            "user in the kubeconfig"
        )
    if status == 403 and (refused := _NO_RIGHT.search(sentence)):
        group, resource, verb = refused["group"], refused["resource"], refused["verb"]
        where = (
            f"a Role in namespace {operation.namespace}" if operation.namespace else "a ClusterRole"
        )
        return (
            f'; allow it by {where} with the rule apiGroups: ["{group or ""}"], '
            f'resources: ["{resource}"], verbs: ["{verb}"]'
        )
    return ""
