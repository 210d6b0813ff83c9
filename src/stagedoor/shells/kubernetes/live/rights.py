"""Asking the cluster as well whether a user may enter: a SubjectAccessReview of their name and groups."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stagedoor.model.cluster import ClusterError
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.shells.kubernetes.ports import Cluster

REMEMBERED_S = 10.0
"""How long a yes is good for: a login asks more than once, and people come again."""
ASK_S = 5.0
AT_ONCE = 8
"""Questions that are open at the same time."""

AUTHENTICATED = "system:authenticated"
"""The group that the cluster itself would put them in. No group of ours has a colon in its name."""


@dataclass
class ClusterAccess:
    """Our own grants come first, and both must say yes. `resource` is such as `pods/exec`.

    While the cluster cannot be asked nobody gets in: it has not said yes.
    """

    cluster: Cluster
    resource: str = "pods/exec"
    clock: Callable[[], float] = time.monotonic
    _allowed: dict[tuple[str, frozenset[str], str], float] = field(default_factory=dict)

    async def judge(
        self, grant: Grant, namespace: str, *, remembered: bool = True
    ) -> Denial | None:
        """None if the cluster lets the identity `create` the resource in the app's namespace; without
        `remembered` by what it says now."""
        identity = grant.identity
        key = (identity.name, identity.groups, namespace)
        until = self._allowed.get(key)
        if remembered and until is not None and self.clock() < until:
            return None
        try:
            async with asyncio.timeout(ASK_S):
                groups = (*sorted(identity.groups), AUTHENTICATED)
                allowed = await self.cluster.may(
                    identity.name, groups, namespace, "create", self.resource
                )
        except (ClusterError, TimeoutError) as error:
            why = error.message if isinstance(error, ClusterError) else f"no answer in {ASK_S:g} s"
            return Denial(
                Reason.SHELL_UNAVAILABLE,
                f"the cluster could not be asked whether {identity.name!r} may enter "
                f"{grant.target} ({why})",
                retry_after_s=5,
            )
        if not allowed:
            self._allowed.pop(key, None)
            return Denial(
                Reason.NO_GRANT,
                f"the cluster does not let {identity.name!r} create {self.resource} in the namespace "
                f"{namespace}, which entering {grant.target} needs (a RoleBinding gives it)",
            )
        now = self.clock()
        self._allowed = {one: at for one, at in self._allowed.items() if at > now}
        self._allowed[key] = now + REMEMBERED_S
        return None

    async def refused(self, grants: Mapping[str, tuple[Grant, str]]) -> dict[str, Denial]:
        """Of those who are inside, by session, each with the app's namespace: whom the cluster lets in no
        longer. While it cannot be asked nobody has to leave.

        A person is asked for once in each namespace, whatever they have open there.
        """
        places = asyncio.Semaphore(AT_ONCE)

        async def judged(grant: Grant, namespace: str) -> Denial | None:
            async with places:
                return await self.judge(grant, namespace, remembered=False)

        people = {
            (grant.identity.name, grant.identity.groups, namespace): (grant, namespace)
            for grant, namespace in grants.values()
        }
        said = dict(
            zip(
                people,
                await asyncio.gather(*(judged(*one) for one in people.values())),
                strict=True,
            )
        )
        found = {}
        for session_id, (grant, namespace) in grants.items():
            denial = said[grant.identity.name, grant.identity.groups, namespace]
            if denial is not None and denial.reason is Reason.NO_GRANT:
                found[session_id] = denial
        return found
