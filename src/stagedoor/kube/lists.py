"""Lists, page by page, all of one moment (API concepts, "Retrieving large results sets in chunks")."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from stagedoor.kube import answers, paths
from stagedoor.kube.answers import ApiRequest
from stagedoor.kube.api_client import ApiClient, decoded
from stagedoor.kube.http import Request
from stagedoor.model.cluster import ClusterError, Kind, Object

Trim = Callable[[Object], Object]
"""Makes an object smaller: it must keep its `metadata.name` (and `namespace`)."""


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What to list: a kind, in a namespace ("" is all), by label and field selectors ("" is all)."""

    kind: Kind
    namespace: str
    labels: str = ""
    fields: str = ""


class _Meta(msgspec.Struct):
    resource_version: str = msgspec.field(name="resourceVersion", default="")
    next: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    """A list of any kind. Its items are read one by one: five hundred pods as Python objects take
    ten times what their bytes take, and of most of them little is kept."""

    items: list[msgspec.Raw] | None = None
    metadata: _Meta = msgspec.field(default_factory=_Meta)


async def snapshot(
    asking: ApiClient, selection: ListOptions, trim: Trim | None = None
) -> tuple[Sequence[Object], str]:
    """All of the selection, and the resourceVersion at which it was so. Raises ClusterError.

    When reading takes longer than etcd keeps the moment, it is read again in one piece.
    """
    try:
        return await _pages(asking, selection, trim, asking.limits.page)
    except ClusterError as error:
        if error.status != 410:
            raise
    return await _pages(asking, selection, trim, 0)


async def _pages(
    asking: ApiClient, selection: ListOptions, trim: Trim | None, page: int
) -> tuple[Sequence[Object], str]:
    kind = selection.kind
    asked = ApiRequest.about("list", kind, selection.namespace)
    collection = paths.collection(kind, selection.namespace)
    api_version = paths.RESOURCES[kind].api_version
    found: list[Object] = []
    more = ""
    while True:
        query: dict[str, str | int | bool] = {
            "labelSelector": selection.labels,
            "fieldSelector": selection.fields,
            "limit": page or "",
            "continue": more,
        }
        request = Request("GET", paths.with_query(collection, query))
        answer = await asking.answer(asked, request, asking.limits.list_s)
        part = decoded(asked, answer, _List)
        for raw in part.items or ():
            item = read_object(asked, raw)
            # The items of a list do not say what they are; the rest of the house asks them.
            item.setdefault("apiVersion", api_version)
            item.setdefault("kind", str(kind))
            found.append(trim(item) if trim else item)
        more = part.metadata.next
        if not more:
            return found, part.metadata.resource_version


def read_object(asked: ApiRequest, raw: msgspec.Raw) -> dict[str, Any]:
    """An object as lists and watches give it: without `metadata.managedFields`, which is often half
    of it, and which nobody but the API server reads. Raises ClusterError for what is no object."""
    try:
        found: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
        found["metadata"]["name"]
    except (msgspec.DecodeError, KeyError, TypeError):
        raise answers.silence(asked, "it has something that is no object") from None
    found["metadata"].pop("managedFields", None)
    return found
