"""The reading of the last lines of a container's log."""

from stagedoor.kube import paths
from stagedoor.kube.answers import ApiRequest
from stagedoor.kube.api_client import ApiClient
from stagedoor.kube.http import Request
from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.model.units import KIB

LIMIT_BYTES = 64 * KIB
"""The most bytes that are taken from the kubelet: lines can be long."""


async def read(client: ApiClient, namespace: str, pod: str, container: str, lines: int) -> str:
    """Return the last lines of a log, "" while there are none.

    Raises ClusterError, of reason NotFound if the pod does not exist.
    """
    text = await _read(client, namespace, pod, container, lines, previous=False)
    if text:
        return text
    # The container has not started, or was just restarted: the log of the one before shows what went wrong.
    return await _read(client, namespace, pod, container, lines, previous=True) or ""


async def _read(
    client: ApiClient, namespace: str, pod: str, container: str, lines: int, *, previous: bool
) -> str | None:
    operation = ApiRequest.about("get", Kind.POD, namespace, pod, "log")
    query: dict[str, str | int | bool] = {
        "container": container,
        "tailLines": lines,
        "limitBytes": LIMIT_BYTES,
        "previous": previous,
    }
    path = paths.with_query(paths.item(Kind.POD, namespace, pod, "log"), query)
    try:
        answer = await client.answer(operation, Request("GET", path, accept="*/*"))
    except ClusterError as error:
        # 400: "container … is waiting to start", "previous terminated container … not found".
        if error.status == 400:
            return None
        raise
    return answer.body[:LIMIT_BYTES].decode("utf-8", "replace")
