"""What an answer that is no success says, as one sentence with what was asked. Pure.

The API's own words stand in a Status object (Kubernetes API conventions, "Response Status Kind").
"""

import re
from dataclasses import dataclass

import msgspec

from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.wire.oneline import folded

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
"""apimachinery's StatusReason for each status, where a Status object did not say it. 404 is left out:
only the API itself may say that an object is not there, or a proxy's page would make shells go."""

_NO_RIGHT = re.compile(
    r'\bcannot (?P<verb>\w+) resource "(?P<resource>[\w./-]+)"(?: in API group "(?P<group>[\w.-]*)")?'
)
"""How RBAC refuses (apiserver's `responsewriters.Forbidden`); quotas and admission say otherwise. It
names the right that is missing, which for an apply may be `create` where `patch` was asked for."""

NO_ANSWER = "NoAnswer"
"""`ClusterError.reason` where nothing came back."""

_SENTENCE_LIMIT = 1500
"""An admission webhook may say a book."""


class _Status(msgspec.Struct):
    """The parts of a Status object that we read."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """What was asked of the API, for messages and for the tally of requests."""

    verb: str
    """An RBAC verb: get, list, watch, create, patch, delete."""
    what: str
    """A kind, or a kind and its part: `Pod`, `Pod/log`."""
    namespace: str = ""
    name: str = ""

    @classmethod
    def about(
        cls, verb: str, kind: Kind, namespace: str, name: str = "", part: str = ""
    ) -> "ApiRequest":
        """For one of the kinds that we deal with."""
        return cls(verb, f"{kind}/{part}" if part else str(kind), namespace, name)

    def __str__(self) -> str:
        words = f"{self.verb} {self.what}"
        if self.name:
            words += f" {self.name}"
        if self.namespace:
            words += f" in namespace {self.namespace}"
        return words


def silence(asked: ApiRequest, why: str) -> ClusterError:
    """No answer came, or none that is HTTP."""
    return ClusterError(
        f"cannot {asked}: no answer of the Kubernetes API: {why}",
        status=None,
        reason=NO_ANSWER,
        retry=True,
    )


def refusal(asked: ApiRequest, status: int, content_type: str, body: bytes) -> ClusterError:
    """The error that an answer of 300 or more is."""
    said = _status(status, content_type, body)
    if said is None:
        return not_kubernetes(asked, status, content_type)
    reason = said.reason or _REASONS.get(status, "Unknown")
    sentence = folded(said.message) or f"{status} {reason}"
    if len(sentence) > _SENTENCE_LIMIT:
        sentence = sentence[:_SENTENCE_LIMIT] + "…"
    return ClusterError(
        f"cannot {asked}: {sentence}{_remedy(asked, status, sentence)}",
        status=status,
        reason=reason,
        retry=may_pass(status, reason),
    )


def not_kubernetes(asked: ApiRequest, status: int, content_type: str) -> ClusterError:
    """Something on the way has answered in the API's stead."""
    kind = content_type.partition(";")[0].strip()[:80] or "no type"
    return ClusterError(
        f"cannot {asked}: the answer ({status}, {kind}) is not one of a Kubernetes API but of "
        "something on the way to it, as a proxy or load balancer; check the server's address",
        status=status,
        reason=_REASONS.get(status, "NotKubernetes") if status >= 500 else "NotKubernetes",
        # A proxy says 404 or 403 where it has not found its way yet, too.
        retry=True,
    )


def may_pass(status: int, reason: str) -> bool:
    """Whether the same call may work later (`ClusterError.retry`)."""
    if status == 409:
        return reason != "AlreadyExists"
    # 401: a token or certificate is renewed in time; 410: the list begins again.
    return status in (401, 408, 410, 429) or status >= 500


def watch_error(body: bytes) -> tuple[int, str]:
    """The status and the sentence of an ERROR event's object."""
    said = _status(0, "application/json", body)
    return (said.code, folded(said.message)[:_SENTENCE_LIMIT]) if said else (0, "")


def _status(status: int, content_type: str, body: bytes) -> _Status | None:
    if "json" not in content_type:
        return _plain(status, content_type, body)
    try:
        said = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        return None
    return said if said.kind == "Status" else None


def _plain(status: int, content_type: str, body: bytes) -> _Status | None:
    """The API server speaks plain text where it is too early or too late for a Status (its filters)."""
    if not content_type.startswith("text/plain") or status == 404:
        return None
    return _Status(kind="Status", message=body[:_SENTENCE_LIMIT].decode("utf-8", "replace"))


def _remedy(asked: ApiRequest, status: int, sentence: str) -> str:
    """What to do about it, where we know."""
    if status == 401:
        return (
            "; the API does not know our credential: check the service account's token, or the "
            "user in the kubeconfig"
        )
    if status == 403 and (refused := _NO_RIGHT.search(sentence)):
        group, resource, verb = refused["group"], refused["resource"], refused["verb"]
        where = f"a Role in namespace {asked.namespace}" if asked.namespace else "a ClusterRole"
        return (
            f'; allow it by {where} with the rule apiGroups: ["{group or ""}"], '
            f'resources: ["{resource}"], verbs: ["{verb}"]'
        )
    return ""
