"""Consistent lists, which are read page by page (API concepts, "Retrieving large results sets in chunks")."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from stagedoor.kube import answers, paths
from stagedoor.kube.answers import ApiRequest
from stagedoor.kube.api_client import ApiClient, decode_answer
from stagedoor.kube.http import HttpRequest
from stagedoor.model.cluster import ClusterError, Kind, Object, Trim

METADATA_PAGES = 4
"""A page of metadata has this many times as many items, since they are so much smaller than objects."""


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The selection of a list: a kind, a namespace, and label and field selectors; "" selects all."""

    kind: Kind
    namespace: str
    labels: str = ""
    fields: str = ""
    metadata_only: bool = False
    """Ask for the objects' metadata alone (API concepts, "Metadata-only fetches")."""
    cached: bool = False
    """Accept what the API server has in memory (`resourceVersion=0`), which may be a moment old.

    A page of a list is read from etcd, so a few labelled pods cost as much as all pods of the cluster.
    """

    def accept(self, *, of_list: bool) -> str:
        """Return the `Accept` header of a list, or of a watch."""
        if not self.metadata_only:
            return "application/json"
        kind = "PartialObjectMetadataList" if of_list else "PartialObjectMetadata"
        return f"application/json;as={kind};g=meta.k8s.io;v=v1"

    def set_kind(self, item: dict[str, Any]) -> dict[str, Any]:
        """Set the kind of an object, and return it. Items of a list have none, and metadata has its own."""
        item["apiVersion"] = paths.RESOURCES[self.kind].api_version
        item["kind"] = str(self.kind)
        return item


class _Meta(msgspec.Struct):
    resource_version: str = msgspec.field(name="resourceVersion", default="")
    next: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    """A list of any kind, whose items are decoded one by one.

    As Python objects, five hundred pods take ten times as much memory as they do as bytes, and usually little
    of them is kept.
    """

    items: list[msgspec.Raw] | None = None
    metadata: _Meta = msgspec.field(default_factory=_Meta)


async def list_objects(
    client: ApiClient, selection: ListOptions, trim: Trim | None = None
) -> tuple[Sequence[Object], str]:
    """Return all objects of the selection, and the resourceVersion of the list. Raises ClusterError.

    If reading takes longer than etcd keeps that version, the list is read again as a whole. A list from
    memory comes as a whole, and is read in pages if that is too large.
    """
    if selection.cached:
        try:
            return await _pages(client, selection, trim, 0)
        except ClusterError as error:
            if error.reason != answers.NO_ANSWER:
                raise
        selection = replace(selection, cached=False)
    try:
        page = client.limits.page * (METADATA_PAGES if selection.metadata_only else 1)
        return await _pages(client, selection, trim, page)
    except ClusterError as error:
        if error.status != 410:
            raise
    return await _pages(client, selection, trim, 0)


async def _pages(
    client: ApiClient, selection: ListOptions, trim: Trim | None, page: int
) -> tuple[Sequence[Object], str]:
    kind = selection.kind
    operation = ApiRequest.of_kind("list", kind, selection.namespace)
    collection = paths.build_collection_path(kind, selection.namespace)
    items: list[Object] = []
    more = ""
    while True:
        query: dict[str, str | int | bool] = {
            "labelSelector": selection.labels,
            "fieldSelector": selection.fields,
            "resourceVersion": "0" if selection.cached else "",
            "limit": page or "",
            "continue": more,
        }
        path = paths.with_query(collection, query)
        request = HttpRequest("GET", path, accept=selection.accept(of_list=True))
        answer = await client.answer(operation, request, client.limits.list_s)
        part = decode_answer(operation, answer, _List)
        for raw in part.items or ():
            item = selection.set_kind(read_object(operation, raw))
            items.append(trim(item) if trim else item)
        more = part.metadata.next
        if not more:
            return items, part.metadata.resource_version


def read_object(operation: ApiRequest, raw: msgspec.Raw) -> dict[str, Any]:
    """Decode an object, without `metadata.managedFields`. Raises ClusterError if it is no object.

    That field often makes up half of the object, and only the API server reads it.
    """
    try:
        item: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
        item["metadata"]["name"]
    except (msgspec.DecodeError, KeyError, TypeError):
        raise answers.report_no_answer(
            operation, "it has something that is not an object"
        ) from None
    item["metadata"].pop("managedFields", None)
    return item
