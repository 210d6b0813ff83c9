"""The last lines of a container's log."""

from stagedoor.kube import paths
from stagedoor.kube.answers import ApiRequest
from stagedoor.kube.api_client import ApiClient
from stagedoor.kube.http import Request
from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.model.units import KIB

LIMIT_BYTES = 64 * KIB
"""Of what the kubelet sends: lines can be long."""


async def read(asking: ApiClient, namespace: str, pod: str, container: str, lines: int) -> str:
    """ "" while there is none. Raises ClusterError, of reason NotFound when the pod is not there."""
    text = await _read(asking, namespace, pod, container, lines, previous=False)
    if text:
        return text
    # It has not begun, or has just begun again; what the one before it said is what went wrong.
    return await _read(asking, namespace, pod, container, lines, previous=True) or ""


async def _read(
    asking: ApiClient, namespace: str, pod: str, container: str, lines: int, *, previous: bool
) -> str | None:
    asked = ApiRequest.about("get", Kind.POD, namespace, pod, "log")
    query: dict[str, str | int | bool] = {
        "container": container,
        "tailLines": lines,
        "limitBytes": LIMIT_BYTES,
        "previous": previous,
    }
    path = paths.with_query(paths.item(Kind.POD, namespace, pod, "log"), query)
    try:
        answer = await asking.answer(asked, Request("GET", path, accept="*/*"))
    except ClusterError as error:
        # 400: "container … is waiting to start", "previous terminated container … not found".
        if error.status == 400:
            return None
        raise
    return answer.body[:LIMIT_BYTES].decode("utf-8", "replace")
