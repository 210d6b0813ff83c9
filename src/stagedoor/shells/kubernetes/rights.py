"""Asking the cluster as well whether somebody may enter: a SubjectAccessReview of his name and groups."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from stagedoor.model.cluster import ClusterError
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.shells.kubernetes.ports import Cluster

REMEMBERED_S = 10.0
"""How long a yes is good for: a login asks more than once, and people come again."""
ASK_S = 5.0

AUTHENTICATED = "system:authenticated"
"""The group that the cluster itself would put him in. No group of ours has a colon in its name."""


@dataclass
class Rights:
    """Our own grants come first, and both must say yes. `resource` is such as `pods/exec`.

    While the cluster cannot be asked nobody gets in: it has not said yes.
    """

    cluster: Cluster
    resource: str = "pods/exec"
    clock: Callable[[], float] = time.monotonic
    _allowed: dict[tuple[str, frozenset[str], str], float] = field(default_factory=dict)

    async def judge(self, grant: Grant, namespace: str) -> Denial | None:
        """None if the cluster lets the identity `create` the resource in the app's namespace."""
        identity = grant.identity
        key = (identity.name, identity.groups, namespace)
        until = self._allowed.get(key)
        if until is not None and self.clock() < until:
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
