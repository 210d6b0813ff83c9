"""The namespaces whose apps may have shells: those in the settings, or those that a label selects."""

from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stagedoor.model.cluster import ClusterError, Kind, Object
from stagedoor.model.target import is_valid_environment
from stagedoor.shells.kubernetes.live.mirror import ALL_NAMESPACES, Mirror, select_metadata
from stagedoor.shells.kubernetes.names import ENVIRONMENT
from stagedoor.shells.kubernetes.ports import Cluster


@dataclass(frozen=True, slots=True)
class NamespaceSelector:
    """The namespaces that the label selector `labels` selects, except the installation's `own`."""

    labels: str
    own: str = ""


Namespaces = Mapping[str | None, str] | NamespaceSelector
"""The namespaces by environment, or a selector."""


@dataclass(frozen=True, slots=True)
class NamespaceDecision:
    """The namespaces by environment, and the reason for each selected namespace that is not served."""

    by_environment: Mapping[str | None, str]
    refused: Mapping[str, str]


def choose_namespaces(selected: Iterable[Object], own: str = "") -> NamespaceDecision:
    """Decide which of the namespaces that the label selects are served. Pure.

    The environment of a namespace is its label ENVIRONMENT, or else its name; an empty label stands for names
    without an environment. If two namespaces have the same environment, neither is served, so that a label of
    one namespace cannot take over the apps of another.
    """
    refused: dict[str, str] = {}
    claims = defaultdict[str, list[str]](list)
    for namespace in selected:
        metadata = namespace["metadata"]
        name = str(metadata["name"])
        environment = str((metadata.get("labels") or {}).get(ENVIRONMENT, name))
        if name == own:
            refused[name] = "Stagedoor itself is in it"
        elif metadata.get("deletionTimestamp"):
            refused[name] = "it is being deleted"
        elif environment and not is_valid_environment(environment):
            refused[name] = (
                f"{environment!r} is not a name for an environment: give the namespace another label "
                f"{ENVIRONMENT} (lower-case letters, digits and inner hyphens, and not ssh alone)"
            )
        else:
            claims[environment].append(name)
    for environment, names in claims.items():
        if len(names) > 1:
            words = (
                f"the environment {environment!r}"
                if environment
                else "names without an environment"
            )
            for name in names:
                other = min(other for other in names if other != name)
                refused[name] = (
                    f"the namespace {other} has {words} as well: change a label {ENVIRONMENT}"
                )
    served = {key or None: names[0] for key, names in claims.items() if len(names) == 1}
    return NamespaceDecision(served, refused)


class NamespaceDirectory:
    """The namespaces that are served now.

    If a label selects them, the owner keeps the coroutines of `list_coroutines` running, and `on_change` is
    called in the event loop after each change.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespaces: Namespaces,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_change = on_change
        self._mirror: Mirror | None = None
        self._own = ""
        if isinstance(namespaces, NamespaceSelector):
            self._own = namespaces.own
            self._labels = namespaces.labels
            self._mirror = Mirror(
                cluster,
                Kind.NAMESPACE,
                [ALL_NAMESPACES],
                namespaces.labels,
                select_metadata,
                metadata_only=True,
            )
            self._mirror.listen(lambda _: self._choose())
            namespaces = {}
        self.by_environment: Mapping[str | None, str] = dict(namespaces)
        """The served namespaces by environment."""
        self.refused: Mapping[str, str] = {}
        """The reason for each selected namespace that is not served."""

    @property
    def is_fixed(self) -> bool:
        """Return whether the settings name the namespaces."""
        return self._mirror is None

    def find(self, name: str) -> Object | None:
        """Return the metadata of a selected namespace, or None."""
        return None if self._mirror is None else self._mirror.get(ALL_NAMESPACES, name)

    @property
    def problem(self) -> str | None:
        """Return why the namespaces are not known, in one line; None if they are."""
        if self._mirror is None or self._mirror.is_synced(ALL_NAMESPACES):
            return None
        problem: ClusterError | None = self._mirror.find_problem(ALL_NAMESPACES)
        why = problem.message if problem is not None else "no answer of the Kubernetes API yet"
        return f"the namespaces with the label {self._labels} are not known: {why}"

    def explain_absence(self, environment: str | None) -> str:
        """Return why no selected namespace is served under the name of an environment."""
        refused = self.refused.get(environment or "")
        why = self.problem or refused or "no namespace with the label has it"
        return f"no environment {environment or ''} is served: {why}"

    def list_coroutines(self) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield the coroutines that follow the cluster."""
        if self._mirror is not None:
            yield self._mirror.run()

    async def wait_until_synced(self, *, or_refused: bool = False) -> None:
        """Wait, without a time limit, until the namespaces are known; `or_refused` is as in `Mirror`."""
        if self._mirror is not None:
            await self._mirror.wait_until_synced(ALL_NAMESPACES, or_refused=or_refused)

    def _choose(self) -> None:
        assert self._mirror is not None, "only a mirror reports changes"
        chosen = choose_namespaces(self._mirror.list_objects(ALL_NAMESPACES).values(), self._own)
        if chosen != NamespaceDecision(self.by_environment, self.refused):
            self.by_environment, self.refused = chosen.by_environment, chosen.refused
            self._on_change()
