"""The cluster's own check of a login: a SubjectAccessReview of the user's name and groups."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stagedoor.model.cluster import ClusterError
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.grant import Grant
from stagedoor.shells.kubernetes.ports import Cluster

REMEMBERED_S = 10.0
"""Seconds for which a yes is remembered, as each login asks more than once, and users log in repeatedly."""
REVIEW_S = 5.0
MAX_CONCURRENT = 8
"""The most reviews at the same time."""

AUTHENTICATED = "system:authenticated"
"""The group that the cluster adds to every authenticated user. Stagedoor's groups have no colon."""


@dataclass
class ClusterAccess:
    """The cluster's check, which a login has to pass besides its grant. `resource` may be `pods/exec`.

    If the cluster cannot be asked, all logins are refused.
    """

    cluster: Cluster
    resource: str = "pods/exec"
    clock: Callable[[], float] = time.monotonic
    _allowed: dict[tuple[str, frozenset[str], str], float] = field(default_factory=dict)

    async def judge(
        self, grant: Grant, namespace: str, *, remembered: bool = True
    ) -> Denial | None:
        """Return None if the cluster lets the identity `create` the resource in the app's namespace.

        Return the reason otherwise. If `remembered` is false, ask the cluster even if it said yes before.
        """
        identity = grant.identity
        key = (identity.name, identity.groups, namespace)
        until = self._allowed.get(key)
        if remembered and until is not None and self.clock() < until:
            return None
        try:
            async with asyncio.timeout(REVIEW_S):
                groups = (*sorted(identity.groups), AUTHENTICATED)
                allowed = await self.cluster.may(
                    identity.name, groups, namespace, "create", self.resource
                )
        except (ClusterError, TimeoutError) as error:
            why = (
                error.message if isinstance(error, ClusterError) else f"no answer in {REVIEW_S:g} s"
            )
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
        self._allowed = {key: until for key, until in self._allowed.items() if until > now}
        self._allowed[key] = now + REMEMBERED_S
        return None

    async def find_denials(self, grants: Mapping[str, tuple[Grant, str]]) -> dict[str, Denial]:
        """Return the denials of the sessions that the cluster no longer allows, by session.

        `grants` maps a session to its grant and its app's namespace. The cluster is asked once for each user
        and namespace. While it cannot be asked, no session is denied.
        """
        slots = asyncio.Semaphore(MAX_CONCURRENT)

        async def judge(grant: Grant, namespace: str) -> Denial | None:
            async with slots:
                return await self.judge(grant, namespace, remembered=False)

        users = {
            (grant.identity.name, grant.identity.groups, namespace): (grant, namespace)
            for grant, namespace in grants.values()
        }
        answers = await asyncio.gather(*(judge(*user) for user in users.values()))
        verdicts = dict(zip(users, answers, strict=True))
        denials = {}
        for session_id, (grant, namespace) in grants.items():
            denial = verdicts[grant.identity.name, grant.identity.groups, namespace]
            if denial is not None and denial.reason is Reason.NO_GRANT:
                denials[session_id] = denial
        return denials
