"""The table of the API's operations: routes, checks, OpenAPI, client and reference are made from it."""

from collections.abc import Mapping, Sequence

from stagedoor.wire.api.access_operations import ACCESS
from stagedoor.wire.api.operation import Operation
from stagedoor.wire.api.people_operations import PEOPLE

PREFIX = "/api/v1"
MAX_PAGE = 1000
PAGE = 100
"""The items of a page if the request does not say."""
OPERATIONS: Sequence[Operation] = (*PEOPLE, *ACCESS)
BY_NAME: Mapping[str, Operation] = {operation.name: operation for operation in OPERATIONS}


def find_operation(method: str, path: str) -> tuple[Operation, Mapping[str, str]] | list[str]:
    """Return the operation of a request and the parameters in its path, or the methods that the path has.

    There are none for a path that does not exist.
    """
    methods = []
    literal = [operation for operation in OPERATIONS if operation.path == path]
    for operation in literal or OPERATIONS:
        parameters = operation.parse_path(path)
        if parameters is None:
            continue
        if operation.method == method:
            return operation, parameters
        methods.append(operation.method)
    return sorted(set(methods))
