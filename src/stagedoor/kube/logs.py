"""The logs of containers, which the API gets from the kubelet."""

from collections.abc import AsyncGenerator

from stagedoor.kube import answers, paths
from stagedoor.kube.answers import ApiRequest
from stagedoor.kube.api_client import ApiClient
from stagedoor.kube.http import HttpRequest
from stagedoor.kube.wire import NoApiAnswerError
from stagedoor.model.cluster import ClusterError, Kind
from stagedoor.model.units import KIB

LOG_LIMIT_BYTES = 64 * KIB
"""The most bytes of a log that are kept, its end. `limitBytes` of the API would keep the beginning."""


async def read_log(client: ApiClient, namespace: str, pod: str, container: str, lines: int) -> str:
    """Return the last lines of a log, LOG_LIMIT_BYTES at most, "" while there are none.

    Raises ClusterError, of reason NotFound if the pod does not exist.
    """
    text = await _read_once(client, namespace, pod, container, lines, previous=False)
    if text:
        return text
    # The container has not started or was just restarted, so the previous one's log shows what went wrong.
    return await _read_once(client, namespace, pod, container, lines, previous=True) or ""


async def _read_once(
    client: ApiClient, namespace: str, pod: str, container: str, lines: int, *, previous: bool
) -> str | None:
    operation = ApiRequest.of_kind("get", Kind.POD, namespace, pod, "log")
    query: dict[str, str | int | bool] = {
        "container": container,
        "tailLines": lines,
        "previous": previous,
    }
    path = paths.with_query(paths.build_item_path(Kind.POD, namespace, pod, "log"), query)
    request = HttpRequest("GET", path, accept="*/*", kept_bytes=LOG_LIMIT_BYTES + 1)
    try:
        body = (await client.answer(operation, request)).body
    except ClusterError as error:
        # 400: "container … is waiting to start", "previous terminated container … not found".
        if error.status == 400:
            return None
        raise
    if len(body) > LOG_LIMIT_BYTES:
        # The first line has lost its beginning.
        body = body.partition(b"\n")[2] or body[-LOG_LIMIT_BYTES:]
    return body.decode("utf-8", "replace")


FOLLOW_SILENCE_S = 3600.0
"""The longest silence of a followed log. Then it is requested again, since the connection may be dead."""


async def follow_log(
    client: ApiClient, namespace: str, pod: str, container: str
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a log, whose lines begin with their times, as they come. Raises ClusterError."""
    operation = ApiRequest.of_kind("get", Kind.POD, namespace, pod, "log")
    query: dict[str, str | int | bool] = {
        "container": container,
        "follow": True,
        "timestamps": True,
    }
    path = paths.with_query(paths.build_item_path(Kind.POD, namespace, pod, "log"), query)
    await client.pace()
    try:
        request = HttpRequest("GET", path, accept="*/*")
        async with client.http.open_stream(request, client.limits.request_s) as stream:
            head = stream.head
            client.tally[operation.verb, operation.what, head.status] += 1
            if head.status >= 300:
                body = await stream.read(client.limits.request_s)
                raise answers.refusal(operation, head, body)
            while data := await stream.read(FOLLOW_SILENCE_S):
                yield data
    except NoApiAnswerError as error:
        raise answers.report_no_answer(operation, str(error)) from None
