"""Consistent lists, read page by page (API concepts, "Retrieving large results sets in chunks")."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from stagedoor.kube import answers, paths
from stagedoor.kube.answers import ApiRequest
from stagedoor.kube.api_client import ApiClient, decoded
from stagedoor.kube.http import HttpRequest
from stagedoor.model.cluster import ClusterError, Kind, Object

Trim = Callable[[Object], Object]
"""A function that reduces an object. It must keep its `metadata.name` (and `namespace`)."""


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The selection of a list: a kind, a namespace, and label and field selectors; "" selects all."""

    kind: Kind
    namespace: str
    labels: str = ""
    fields: str = ""


class _Meta(msgspec.Struct):
    resource_version: str = msgspec.field(name="resourceVersion", default="")
    next: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    """A list of any kind, whose items are decoded one by one.

    Five hundred pods take ten times as much memory as Python objects as they do as bytes, and usually little
    of them is kept.
    """

    items: list[msgspec.Raw] | None = None
    metadata: _Meta = msgspec.field(default_factory=_Meta)


async def snapshot(
    client: ApiClient, selection: ListOptions, trim: Trim | None = None
) -> tuple[Sequence[Object], str]:
    """Return all objects of the selection, and the resourceVersion of the list. Raises ClusterError.

    If reading takes longer than etcd keeps that version, the list is read again in one piece.
    """
    try:
        return await _pages(client, selection, trim, client.limits.page)
    except ClusterError as error:
        if error.status != 410:
            raise
    return await _pages(client, selection, trim, 0)


async def _pages(
    client: ApiClient, selection: ListOptions, trim: Trim | None, page: int
) -> tuple[Sequence[Object], str]:
    kind = selection.kind
    operation = ApiRequest.about("list", kind, selection.namespace)
    collection = paths.collection(kind, selection.namespace)
    api_version = paths.RESOURCES[kind].api_version
    items: list[Object] = []
    more = ""
    while True:
        query: dict[str, str | int | bool] = {
            "labelSelector": selection.labels,
            "fieldSelector": selection.fields,
            "limit": page or "",
            "continue": more,
        }
        request = HttpRequest("GET", paths.with_query(collection, query))
        answer = await client.answer(operation, request, client.limits.list_s)
        part = decoded(operation, answer, _List)
        for raw in part.items or ():
            item = read_object(operation, raw)
            # Items of a list lack these two fields, which callers read.
            item.setdefault("apiVersion", api_version)
            item.setdefault("kind", str(kind))
            items.append(trim(item) if trim else item)
        more = part.metadata.next
        if not more:
            return items, part.metadata.resource_version


def read_object(operation: ApiRequest, raw: msgspec.Raw) -> dict[str, Any]:
    """Decode an object, without `metadata.managedFields`. Raises ClusterError if it is no object.

    That field is often half of the object, and only the API server reads it.
    """
    try:
        item: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
        item["metadata"]["name"]
    except (msgspec.DecodeError, KeyError, TypeError):
        raise answers.no_answer(operation, "it has something that is no object") from None
    item["metadata"].pop("managedFields", None)
    return item
