"""The reporting of failing watches in few lines: one for a silent API, one for each refusing namespace."""

from collections.abc import Callable

from stagedoor.kube.answers import NO_ANSWER, ApiRequest
from stagedoor.model.cluster import ClusterError

API = "the cluster's API"


class WatchProblems:
    """A reporter of the parts of the cluster (`API`, `namespace apps`) that cannot be watched.

    It reports a part with the reason when the first of its watches fails, and with None once all of them work
    again.
    """

    def __init__(self, on_problem: Callable[[str, str | None], None]) -> None:
        self._on_problem = on_problem
        self._failing: dict[ApiRequest, str] = {}
        """The failing watches, each with the part that it is counted in."""

    def report(self, watch: ApiRequest, problem: ClusterError | None) -> None:
        """Take note that a watch fails, or works again (None)."""
        before = self._failing.pop(watch, None)
        part = _part(watch, problem) if problem is not None else None
        is_first = part is not None and part not in self._failing.values() and part != before
        if part is not None:
            self._failing[watch] = part
        if before is not None and before not in self._failing.values():
            self._on_problem(before, None)
        if is_first and part is not None and problem is not None:
            self._on_problem(part, problem.message)


def _part(watch: ApiRequest, problem: ClusterError) -> str:
    if problem.reason == NO_ANSWER:
        return API
    return f"namespace {watch.namespace}" if watch.namespace else str(watch)
