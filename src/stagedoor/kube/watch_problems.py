"""Which watches fail at the moment, as few lines for the log: one for a silent API, one for each
namespace that refuses."""

from collections.abc import Callable

from stagedoor.kube.answers import NO_ANSWER, ApiRequest
from stagedoor.model.cluster import ClusterError

API = "the cluster's API"


class WatchProblems:
    """Reports a part of the cluster (`API`, `namespace apps`) when the first of its watches fails,
    with the reason, and None when all of them work again."""

    def __init__(self, on_problem: Callable[[str, str | None], None]) -> None:
        self._on_problem = on_problem
        self._failing: dict[ApiRequest, str] = {}
        """The part in which each failing watch is counted."""

    def report(self, watch: ApiRequest, problem: ClusterError | None) -> None:
        """Take note that a watch fails, or works again with None."""
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
